"""Helpers shared by the case files of this folder (same style as cases_public.py)."""
import sys
from lab import *
from scapy.all import (IPOption_RR, IPOption_NOP, IPOption_Timestamp, IPOption_Router_Alert, IPOption, IPv6ExtHdrHopByHop, IPv6ExtHdrDestOpt, IPv6ExtHdrRouting,
                       PadN, ICMPv6TimeExceeded, ICMPv6ParamProblem, ICMPv6EchoReply, Dot1Q, GRE)
Lab.quiet = 0.04
C4, C6 = CLIENTS[1][0], CLIENTS[1][1]

def svc(d, kind="-t 10.9.9.9:80", sched="rr", flags="", servers=((1, ""), (2, ""), (3, "")), rport=80, mode="-m"):
    d.adm(f"-A {kind} -s {sched} {flags}")
    for n, opt in servers: d.adm(f"-a {kind} -r {RS[n][0]}{':' + str(rport) if rport is not None else ''} {mode} {opt}")
def svc6(d, kind="-t [fd99::9]:80", sched="rr", flags="", servers=((1, ""), (2, ""), (3, "")), rport=80, mode="-m"):
    d.adm(f"-A {kind} -s {sched} {flags}")
    for n, opt in servers: d.adm(f"-a {kind} -r [{RS[n][1]}]{':' + str(rport) if rport is not None else ''} {mode} {opt}")
def syns(d, n=6, src=None, base=40000, client=1, dport=80): return [d.syn(base + i, src=src, client=client, dport=dport) for i in range(n)]
def udps(d, n=6, src=None, base=41000, client=1, dport=53): return [d.udp(base + i, src=src, client=client, dport=dport) for i in range(n)]
def syn6(d, sport, src=None, dst=VIP6, dport=80, client=1, **kw): return d.which(d.send("eth0", d.c6(TCP(sport=sport, dport=dport, flags="S", seq=1000), src=src, dst=dst, client=client, **kw)))
def udp6(d, sport, src=None, dst=VIP6, dport=53, client=1, data=b"hello", **kw): return d.which(d.send("eth0", d.c6(UDP(sport=sport, dport=dport) / data, src=src, dst=dst, client=client, **kw)))
def syns6(d, n=6, base=40000, **kw): return [syn6(d, base + i, **kw) for i in range(n)]
def udps6(d, n=6, base=41000, **kw): return [udp6(d, base + i, **kw) for i in range(n)]
def tcp(d, f, sport=40000, dport=80, seq=1001, ack=9001, data=b"", **ip):
    """A client's segment."""
    return d.send("eth0", d.c(TCP(sport=sport, dport=dport, flags=f, seq=seq, ack=ack) / data if data else TCP(sport=sport, dport=dport, flags=f, seq=seq, ack=ack), **ip))
def rtcp(d, n, f, dport=40000, sport=80, seq=9001, ack=1001, data=b"", dst=C4, **ip):
    """A real server's segment."""
    t = TCP(sport=sport, dport=dport, flags=f, seq=seq, ack=ack)
    return d.send("eth1", d.r(n, t / data if data else t, dst=dst, **ip))
def tcp6(d, f, sport=40000, dport=80, seq=1001, ack=9001, data=b"", **ip):
    t = TCP(sport=sport, dport=dport, flags=f, seq=seq, ack=ack)
    return d.send("eth0", d.c6(t / data if data else t, **ip))
def rtcp6(d, n, f, dport=40000, sport=80, seq=9001, ack=1001, data=b"", dst=C6, **ip):
    t = TCP(sport=sport, dport=dport, flags=f, seq=seq, ack=ack)
    return d.send("eth1", d.r6(n, t / data if data else t, dst=dst, **ip))
def pat(n): return bytes((i * 7 + (i >> 8)) & 0xff for i in range(n))
def frag4(pkt, cuts, eth, **over):
    """Cut the IPv4 packet's payload at the given offsets (multiples of 8): the list of frames, in order."""
    b = raw(pkt); hl = (b[0] & 15) * 4; pay = b[hl:]; ends = [*cuts, len(pay)]; out, at = [], 0
    for e in ends:
        h = IP(b[:hl]); h.remove_payload(); h.len = None; h.chksum = None; h.frag = at // 8
        h.flags = ("MF" if e < len(pay) else 0)
        if over.get("df"): h.flags |= "DF"
        out.append(eth / h / Raw(pay[at:e])); at = e
    return out
def piece(pkt, at, end, eth, mf=True, **kw):
    """One fragment: bytes at..end of the IPv4 packet's payload."""
    b = raw(pkt); hl = (b[0] & 15) * 4; pay = b[hl:]
    h = IP(b[:hl]); h.remove_payload(); h.len = None; h.chksum = None; h.frag = at // 8; h.flags = "MF" if mf else 0
    return eth / h / Raw(pay[at:end])
def frag6(pkt, cuts, eth, fid=0x55667788):
    """Cut an IPv6 packet's payload (nothing between) at the offsets: frames with fragment headers."""
    b = raw(pkt); pay = b[40:]; nh = b[6]; ends = [*cuts, len(pay)]; out, at = [], 0
    for e in ends:
        h = IPv6(b[:40]); h.remove_payload(); h.plen = None; h.nh = 44
        out.append(eth / h / IPv6ExtHdrFragment(nh=nh, offset=at // 8, m=int(e < len(pay)), id=fid) / Raw(pay[at:e])); at = e
    return out
E0 = Ether(src=CLIENTS[1][2], dst=DIR0)
def E1(n): return Ether(src=RS[n][2], dst=DIR1)
def inner(out, n=8, off=14): 
    """The IP header and n more bytes of the first frame that came out, to embed in an ICMP error."""
    f = out[0][1][off:]; return f[:(f[0] & 15) * 4 + n] if f[0] >> 4 == 4 else f[:40 + n]

def _init(self, name, doc, mtu0=1500, mtu1=1500):
    """The same laboratory as Lab builds, with fewer processes started (the guest is slow)."""
    self.name, self.doc, self.steps = name, (doc or "").strip(), type(self)._steps()
    self.mtu = {"eth0": mtu0, "eth1": mtu1}
    sh("ip netns del dir; ip link del c0; ip link del r0", check=False); sh("ip netns add dir"); self.born = time.monotonic()
    devs = (("c0", "eth0", DIR0, "10.0.0.1/24", "fd00::1/64", mtu0), ("r0", "eth1", DIR1, "172.16.0.1/24", "fd01::1/64", mtu1))
    batch = lambda ns, lines: subprocess.run(f"ip {ns} -batch -", shell=True, input="\n".join(lines) + "\n", text=True, check=True, capture_output=True)
    batch("", [l for p, dev, *_ in devs for l in (f"link add {p} type veth peer name {dev}", f"link set {dev} netns dir")])
    sh("sysctl -qw net.ipv6.conf.c0.disable_ipv6=1 net.ipv6.conf.r0.disable_ipv6=1"); batch("", [f"link set {p} arp off up mtu 9000" for p, *_ in devs])
    sh("ip netns exec dir sysctl -qw " + " ".join(f"net.ipv6.conf.{dev}.{k}=0" for _, dev, *_ in devs for k in ("accept_dad", "router_solicitations")))
    batch("-n dir", ["link set lo up"] + [l for _, dev, mac, a4, a6, mtu in devs for l in (f"link set {dev} address {mac} mtu {mtu} up", f"addr add {a4} dev {dev}", *([f"addr add {a6} dev {dev} nodad"] if mtu >= 1280 else []))])
    sh("ip netns exec dir sh -c 'for d in eth0 eth1; do ethtool -K $d tx off rx off tso off gso off gro off >/dev/null 2>&1; done'; for d in c0 r0; do ethtool -K $d tx off rx off tso off gso off gro off >/dev/null 2>&1; done; true")
    six = mtu0 >= 1280 and mtu1 >= 1280  # A link with less has no IPv6.
    nb = lambda hosts, dev: [f"neigh replace {a} lladdr {c[2]} nud permanent dev {dev}" for c in hosts for a in c[:2 if six else 1]]
    batch("-n dir", [f"addr add {VIP}/32 dev lo", f"addr add {VIP6}/128 dev lo"] + nb([*CLIENTS.values(), CLIENT_GW], "eth0") + nb([*RS.values(), RS_GW], "eth1")
          + [f"route add default via {CLIENT_GW[0]}", f"route add 192.168.77.0/24 via {RS_GW[0]}", *([f"route add default via {CLIENT_GW[1]}", f"route add fd77::/64 via {RS_GW[1]}"] if six else [])])
    sh("ip netns exec dir sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0 net.ipv4.conf.eth1.rp_filter=0 "
       "net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0 net.ipv4.conf.eth1.send_redirects=0 net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0")
    self.sock = {}
    for peer, dev in (("c0", "eth0"), ("r0", "eth1")):
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); s.bind((peer, 0)); s.setblocking(False); self.sock[dev] = s
    time.sleep(0.3); self.drain()
import lab as _lab
Lab._steps, Lab.__init__ = _lab.Steps, _init
