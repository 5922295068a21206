"""Connection synchronisation: what a master sends, and what a backup makes of what it is sent."""
from common import *

GROUP, PORT = "224.0.0.81", 8848
DAEMON = "--mcast-interface eth1"
FLUSH = 3.6  # an entry leaves two to three seconds after it was made

# -- messages, written by hand
def quad(text): return socket.inet_aton(text)
def six(text): return socket.inet_pton(socket.AF_INET6, text)
def option(kind, data, length=None): return bytes([kind, len(data) if length is None else length]) + data
def seq(inbound=(0, 0, 0), outbound=(0, 0, 0)): return struct.pack("!IIIIII", *inbound, *outbound)
def e4(cport=40000, state=1, flags=0, client=C4, vip=VIP, vport=80, rs=RS[1][0], rport=80, proto=6, timeout=900, mark=0, options=b"", kind=0, version=0, size=None):
    """A version 1 entry."""
    b = struct.pack("!IHHHHII", flags, state, cport, vport, rport, mark, timeout) + quad(client) + quad(vip) + quad(rs) + options
    return bytes([kind, proto]) + struct.pack("!H", version << 12 | (len(b) + 4 if size is None else size)) + b
def e6(cport=40000, state=1, flags=0, client=C6, vip=VIP6, vport=80, rs=RS[1][1], rport=80, proto=6, timeout=900, mark=0, options=b"", kind=1, version=0, size=None):
    b = struct.pack("!IHHHHII", flags, state, cport, vport, rport, mark, timeout) + six(client) + six(vip) + six(rs) + options
    return bytes([kind, proto]) + struct.pack("!H", version << 12 | (len(b) + 4 if size is None else size)) + b
def v1(*entries, syncid=0, count=None, size=None, version=1, spare=0, first=0):
    """A version 1 message: each entry begins at a multiple of four."""
    body = b""
    for e in entries: body += b"\0" * (-len(body) % 4) + e
    return bytes([first, syncid]) + struct.pack("!HBBH", len(body) + 8 if size is None else size, len(entries) if count is None else count, version, spare) + body
def o4(cport=40000, state=1, flags=0, client=C4, vip=VIP, vport=80, rs=RS[1][0], rport=80, proto=6, extra=b""):
    """A version 0 entry."""
    return struct.pack("!BBHHH", 0, proto, cport, vport, rport) + quad(client) + quad(vip) + quad(rs) + struct.pack("!HH", flags, state) + extra
def v0(*entries, syncid=0, count=None, size=None):
    body = b"".join(entries)
    return bytes([len(entries) if count is None else count, syncid]) + struct.pack("!H", len(body) + 4 if size is None else size) + body
def hand(d, message, dev="eth1", group=GROUP, port=PORT, dst=None, src=None):
    """One message from another director on the servers' side."""
    if ":" in group:
        eth = Ether(src=RS_GW[2], dst="33:33:" + ":".join(f"{b:02x}" for b in six(group)[12:])); ip = IPv6(src=src or RS_GW[1], dst=group, hlim=1)
    else:
        eth = Ether(src=RS_GW[2], dst="01:00:5e:" + ":".join(f"{b:02x}" for b in (quad(group)[1] & 127, *quad(group)[2:]))); ip = IP(src=src or RS_GW[0], dst=group, ttl=1)
    d.send(dev, eth / ip / UDP(sport=45678, dport=port) / Raw(message), wait=0.06)
def burst(d, frames):
    """Frames as fast as they can be handed over; what each leads to comes at once."""
    frames = [raw(f) for f in frames]
    for f in frames:
        d.steps.append({"in": "eth0", "frame": f.hex()}); d.sock["eth0"].send(f)
        for dev in ("eth1", "eth0"):
            try:
                while True:
                    g, a = d.sock[dev].recvfrom(65535)
                    if a[2] != socket.PACKET_OUTGOING and (g[12:14] == b"\x08\0" and g[23] != 2 or g[12:14] == b"\x86\xdd" and g[38] != 255): d.steps.append({"out": dev, "frame": g.hex()})
            except BlockingIOError: pass
def master(d, more=""): d.adm(f"--start-daemon master {DAEMON} {more}")
def backup(d, more=""): d.adm(f"--start-daemon backup {DAEMON} {more}")
def acks(d, n, sport=40000, **kw):
    for _ in range(n): tcp(d, "A", sport, **kw)
def list_all(d): d.show("-Lnc"); d.show("-Ln")

# -- commands
def case_sync_daemons(d):
    """Starting and stopping: twice, together, other interfaces, every option, lengths at their bounds."""
    d.adm("-L --daemon"); bad = lambda a: d.adm(a, ok=False)
    bad("--stop-daemon master"); bad("--stop-daemon backup"); bad("--start-daemon master --mcast-interface nosuch0"); bad("--start-daemon master"); d.adm("-L --daemon"); bad("--stop-daemon master"); master(d); d.adm("-L --daemon")
    bad("--start-daemon master --mcast-interface eth1"); bad("--start-daemon master --mcast-interface eth0 --syncid 3"); bad("--start-daemon master --mcast-interface nosuch0"); bad("--stop-daemon backup")
    d.adm("--start-daemon backup --mcast-interface eth0 --syncid 255"); d.adm("-L --daemon"); bad("--start-daemon backup --mcast-interface eth0"); d.adm("--stop-daemon master"); d.adm("-L --daemon"); bad("--stop-daemon master"); d.adm("--stop-daemon backup"); d.adm("-L --daemon")
    for more in ("--sync-maxlen 1", "--sync-maxlen 1471", "--sync-maxlen 65507", "--mcast-group 239.1.2.3 --mcast-port 9000 --mcast-ttl 7", "--mcast-group ff05::51", "--mcast-group ff02::51 --sync-maxlen 65507", "--mcast-port 65535 --syncid 0", "--mcast-ttl 255"):
        for role in ("master", "backup"): d.adm(f"--start-daemon {role} --mcast-interface eth1 {more}"); 
        d.adm("-L --daemon"); d.adm("--stop-daemon backup"); d.adm("--stop-daemon master")
    d.adm("--start-daemon master --mcast-interface lo", ok=False); d.adm("-L --daemon"); d.adm("--stop-daemon master", ok=False)
def case_sync_daemons_mtu(d):
    """A backup's length follows the link's MTU, a master's does not."""
    for dev in ("eth0", "eth1"):
        for more in ("", "--mcast-group ff05::51"):
            for role in ("master", "backup"): d.adm(f"--start-daemon {role} --mcast-interface {dev} {more}")
            d.adm("-L --daemon"); d.adm("--stop-daemon backup"); d.adm("--stop-daemon master")
case_sync_daemons_mtu.lab = {"mtu0": 9000, "mtu1": 1300}
def case_sync_daemons_mixed(d):
    """No daemon beside a service with servers of another family, and no such server beside a daemon."""
    svc(d, servers=((1, ""),)); d.adm("-A -t 10.9.9.9:81 -s rr"); d.adm("-a -t 10.9.9.9:81 -r [fd01::11]:81 -i"); bad = lambda a: d.adm(a, ok=False)
    bad("--start-daemon master --mcast-interface eth1"); bad("--start-daemon backup --mcast-interface eth1"); bad("--start-daemon backup --mcast-interface nosuch0"); d.adm("-L --daemon")
    d.adm("-d -t 10.9.9.9:81 -r [fd01::11]:81"); master(d); bad("-a -t 10.9.9.9:81 -r [fd01::11]:81 -i"); bad("-a -t 10.9.9.9:81 -r [fd01::11]:81 -m"); bad("-a -t 10.9.9.9:82 -r [fd01::11]:81 -i"); bad("-e -t 10.9.9.9:81 -r [fd01::11]:81 -i"); bad("-d -t 10.9.9.9:81 -r [fd01::11]:81")
    d.adm("--stop-daemon master"); backup(d); bad("-a -t 10.9.9.9:81 -r [fd01::11]:81 -i"); d.adm("-C"); d.adm("-L --daemon"); d.adm("--stop-daemon backup"); d.adm("-A -t 10.9.9.9:81 -s rr"); d.adm("-a -t 10.9.9.9:81 -r [fd01::11]:81 -i"); d.adm("-Ln")

# -- what a master sends
def case_sync_master_tcp(d):
    """TCP by NAT with the defaults: first at the third packet, the end of a connection at once, resets, aborted ones never."""
    svc(d, rport=8080); master(d, "--syncid 7"); d.open_nat(40000, rport=8080); tcp(d, "PA", data=b"x"); d.sleep(FLUSH)
    n = d.open_nat(40001, rport=8080); d.sleep(FLUSH); tcp(d, "PA", 40001, data=b"x"); d.sleep(FLUSH); d.close_nat(n, 40001, rport=8080); d.sleep(FLUSH); tcp(d, "A", 40001); d.sleep(FLUSH)
    d.syn(40002); tcp(d, "A", 40002); tcp(d, "R", 40002); d.syn(40003); d.sleep(FLUSH); n = d.open_nat(40004, rport=8080); rtcp(d, n, "FA", 40004, 8080); tcp(d, "A", 40004); tcp(d, "FA", 40004); d.sleep(FLUSH); rtcp(d, n, "A", 40004, 8080); tcp(d, "R", 40004); d.sleep(FLUSH); list_all(d)
def case_sync_master_threshold(d):
    """sync_threshold of other values: the first number, the period, and period 0."""
    svc(d, servers=((1, ""),)); master(d); d.sysctl("sync_threshold", "2 4"); d.open_nat(40000)
    for _ in range(10): tcp(d, "A"); d.sleep(FLUSH) if _ in (3, 6) else None
    d.sleep(FLUSH); d.sysctl("sync_threshold", "5 0"); d.open_nat(40001); acks(d, 8, 40001); d.sleep(FLUSH); d.sysctl("sync_threshold", "0 3"); d.open_nat(40002); acks(d, 8, 40002); d.sleep(FLUSH); d.sysctl("sync_threshold", "0 1"); d.open_nat(40003); acks(d, 2, 40003); d.sleep(FLUSH); d.sysctl("sync_threshold", "0 0"); d.open_nat(40004); acks(d, 3, 40004); d.sleep(FLUSH)
def case_sync_master_period(d):
    """The default period: packets 3, 53 and 103."""
    svc(d, servers=((1, ""),)); master(d); d.open_nat(40000)
    for i in range(110):
        d.send("eth0", d.c(TCP(sport=40000, dport=80, flags="A", seq=1001 + i, ack=9001)), wait=0.003)
    d.sleep(FLUSH)
def case_sync_master_refresh(d):
    """sync_refresh_period: nothing while the peer's expiry is not far off, with a period and without."""
    svc(d, "-u 10.9.9.9:53", rport=53, servers=((1, ""),)); master(d); d.sysctl("sync_refresh_period", 8); d.sysctl("sync_threshold", "0 0"); d.udp(41000); d.udp(41000); d.sleep(FLUSH)
    for _ in range(8): d.udp(41000); d.sleep(2)
    d.sleep(FLUSH); d.sysctl("sync_threshold", "1 2"); d.udp(41001); d.udp(41001); d.sleep(FLUSH); d.udp(41001); d.udp(41001); d.sleep(9); d.udp(41001); d.udp(41001); d.sleep(FLUSH); d.adm("--set 0 0 6"); d.udp(41002); d.udp(41002); d.udp(41002); d.sleep(FLUSH); d.udp(41002); d.udp(41002); d.sleep(FLUSH)
def case_sync_master_retries(d):
    """sync_retries: so many repetitions, an eighth of the refresh period apart."""
    svc(d, "-u 10.9.9.9:53", rport=53, servers=((1, ""),)); master(d); d.sysctl("sync_refresh_period", 32); d.sysctl("sync_threshold", "0 0"); d.sysctl("sync_retries", 2); d.udp(41000); d.udp(41000); d.sleep(FLUSH)
    for _ in range(18): d.udp(41000); d.sleep(2.5)
    d.sleep(FLUSH)
def case_sync_master_persist(d):
    """A template goes with every packet of its connections."""
    svc(d, flags="-p 60", rport=8080); master(d); d.syn(40000); d.sleep(FLUSH); d.open_nat(40001, rport=8080); tcp(d, "A", 40001); d.sleep(FLUSH); tcp(d, "FA", 40001); d.syn(40002, client=2); d.sleep(FLUSH); list_all(d)
def case_sync_master_persist_mode(d):
    """sync_persist_mode 1: of persistent services the template alone; others as ever."""
    svc(d, flags="-p 60"); svc(d, "-t 10.9.9.9:81", servers=((4, ""),), rport=81); master(d); d.sysctl("sync_persist_mode", 1); d.open_nat(40000); acks(d, 3); d.open_nat(40001, dport=81); tcp(d, "FA"); d.sleep(FLUSH)
    d.sysctl("sync_persist_mode", 0); tcp(d, "A"); tcp(d, "R"); d.sleep(FLUSH)
def case_sync_master_persist_refresh(d):
    """Templates under sync_refresh_period are no longer sent with every packet."""
    svc(d, flags="-p 60"); master(d); d.sysctl("sync_refresh_period", 10); d.open_nat(40000); acks(d, 3); d.sleep(FLUSH); d.syn(40001); d.sleep(FLUSH); acks(d, 2); d.sleep(12); d.syn(40002); acks(d, 2, 40002); d.sleep(FLUSH)
def case_sync_master_netmask(d):
    """Templates carry the client's network; port 0 and FTP's catch-all too."""
    svc(d, flags="-p 60 -M 255.255.255.0"); svc(d, "-t 10.9.9.9:0", flags="-p 90", rport=None, mode="-g"); master(d); d.syn(40000); d.syn(40000, client=2); d.syn(40000, dport=443); d.syn(40001, dport=8443); tcp(d, "A", 40001, dport=8443); tcp(d, "A", 40001, dport=8443); d.sleep(FLUSH); list_all(d)
def case_sync_master_controller(d):
    """A template that outlives its time because of its connections is sent when it is kept."""
    svc(d, flags="-p 3", servers=((1, ""),)); master(d); d.syn(40000); d.sleep(FLUSH); d.sleep(8); d.show("-Lnc"); d.sleep(55); d.show("-Lnc")
def case_sync_master_udp(d):
    """UDP: from the third packet on; flows of one or two never."""
    svc(d, "-u 10.9.9.9:53", rport=5353); master(d, "--syncid 1"); d.udp(41000); d.udp(41001); d.udp(41001); [d.udp(41002) for _ in range(4)]; d.sleep(FLUSH); d.send("eth1", d.r(1, UDP(sport=5353, dport=41002) / b"answer", dst=C4)); d.udp(41002); d.sleep(FLUSH)
def case_sync_master_one_packet(d):
    """One-packet connections are never sent, the template that controls them is."""
    svc(d, "-u 10.9.9.9:53", flags="-o", rport=53); svc(d, "-u 10.9.9.9:54", flags="-o -p 60", rport=54); master(d); [d.udp(41000) for _ in range(4)]; d.sleep(FLUSH); [d.udp(41000, dport=54) for _ in range(3)]; d.sleep(FLUSH); d.sysctl("sync_version", 0); [d.udp(41000, dport=54) for _ in range(3)]; d.sleep(FLUSH); list_all(d)
def case_sync_master_sctp(d):
    """SCTP: established, and each step of the shutdown."""
    chunk = lambda kind, body=b"": bytes([kind, 0]) + struct.pack("!H", 4 + len(body)) + body
    svc(d, "--sctp-service 10.9.9.9:5000", rport=5000, servers=((1, ""),)); master(d)
    def c(kind, body=b"", sport=42000): d.send("eth0", d.c(SCTP(sport=sport, dport=5000, tag=7) / Raw(chunk(kind, body))))
    def r(kind, body=b"", dport=42000): d.send("eth1", d.r(1, SCTP(sport=5000, dport=dport, tag=8) / Raw(chunk(kind, body)), dst=C4))
    c(1, bytes(16)); r(2, bytes(16)); c(10, bytes(4)); r(11); c(0, bytes(12)); r(3, bytes(12)); c(3, bytes(12)); d.sleep(FLUSH); c(7, bytes(4)); r(8); c(14); d.sleep(FLUSH)
    c(1, bytes(16), 42001); c(6, b"", 42001); d.sleep(FLUSH); d.show("-Lnc")
def case_sync_master_ipv6(d):
    """IPv6 connections and templates between IPv4 ones, in one message."""
    svc6(d, rport=8080); svc6(d, "-u [fd99::9]:53", flags="-p 60 -M 64", rport=53); svc(d, servers=((1, ""),)); master(d); d.open_nat(40000)
    n = syn6(d, 40000); rtcp6(d, n, "SA", 40000, 8080); tcp6(d, "A"); tcp6(d, "A"); udp6(d, 41000); udp6(d, 41000, src="fd55::1:2:3:4"); d.open_nat(40001); d.sleep(FLUSH); tcp6(d, "FA"); d.sleep(FLUSH); list_all(d)
def case_sync_master_group6(d):
    """An IPv6 group, another port and hop limit."""
    svc(d, servers=((1, ""),)); svc6(d, servers=((1, ""),)); master(d, "--mcast-group ff05::51 --mcast-port 9000 --mcast-ttl 4 --syncid 9"); d.open_nat(40000); [tcp6(d, f) for f in ("S", "A", "A")]; d.sleep(FLUSH)
def case_sync_master_group4(d):
    """Another IPv4 group, port and TTL, by eth0."""
    svc(d, servers=((1, ""),)); d.adm("--start-daemon master --mcast-interface eth0 --mcast-group 239.255.1.2 --mcast-port 1234 --mcast-ttl 9"); d.open_nat(40000); d.sleep(FLUSH)
def case_sync_master_fwmark(d):
    """Marks: of a mark service without persistence, with it, and of a packet whose service is another."""
    d.mark("ip daddr 10.9.9.9 tcp dport { 80, 443 }", 5); d.mark("ip daddr 10.9.9.9 tcp dport 81", 6); d.mark("ip daddr 10.9.9.9 tcp dport 82", 2863311530); d.mark("ip6 daddr fd99::9 tcp dport 80", 8)
    svc(d, "-f 5", flags="-p 120", rport=None, mode="-g"); svc(d, "-f 6", rport=None, servers=((4, ""),)); svc(d, "-t 10.9.9.9:82", servers=((5, ""),), rport=8282); d.adm("-A -f 8 -6 -s rr -p 60"); d.adm(f"-a -f 8 -6 -r [{RS[1][1]}]:0 -g"); master(d)
    for p in (80, 81, 82): d.syn(40000, dport=p); [tcp(d, "A", dport=p) for _ in range(3)]
    tcp6(d, "S"); [tcp6(d, "A") for _ in range(3)]; d.syn(40001, dport=443); d.sleep(FLUSH); list_all(d)
def case_sync_master_methods(d):
    """Direct routing, tunnels: the flags of connections of which no output is seen."""
    svc(d, servers=((1, ""),), mode="-g"); svc(d, "-t 10.9.9.9:81", servers=((2, ""),), rport=81, mode="-i"); svc(d, "-t 10.9.9.9:82", servers=((3, ""),), rport=82, flags="-p 60", mode="-g"); master(d)
    for p in (80, 81, 82): d.syn(40000, dport=p); [tcp(d, "A", dport=p) for _ in range(2)]
    d.sleep(FLUSH)
    for p in (80, 81, 82): tcp(d, "FA", dport=p)
    d.sleep(FLUSH); [tcp(d, "A", dport=p) for p in (80, 81, 82)]; d.sleep(FLUSH)
def case_sync_master_v0(d):
    """Version 0: no IPv6, no timeouts; templates and connections; then version 1 in the middle of a message."""
    d.sysctl("sync_version", 0); svc(d, flags="-p 60", rport=8080); svc6(d, servers=((1, ""),)); svc(d, "-u 10.9.9.9:53", rport=53, servers=((4, ""),), mode="-g"); master(d, "--syncid 200"); d.open_nat(40000, rport=8080); tcp(d, "A"); [tcp6(d, f) for f in ("S", "A", "A")]; [d.udp(41000) for _ in range(3)]; d.sleep(FLUSH)
    tcp(d, "FA"); d.sysctl("sync_version", 1); tcp(d, "A"); tcp(d, "R"); d.syn(40001, client=2); d.sysctl("sync_version", 0); d.syn(40001, client=3); d.sleep(FLUSH)
def case_sync_master_sip(d):
    """Templates of the sip engine carry the Call-ID; entries are padded."""
    sip = lambda call, method="INVITE": f"{method} sip:bob@example.org SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2\r\nCall-ID: {call}\r\nCSeq: 1 {method}\r\n\r\n".encode()
    svc(d, "-u 10.9.9.9:5060", flags="-p 60 --pe sip -o", rport=5060); master(d); d.udp(5060, dport=5060, data=sip("a")); d.udp(5061, dport=5060, data=sip("call-22@10.0.0.2")); d.udp(5062, dport=5060, data=sip("xyz")); d.udp(5060, dport=5060, client=2, data=sip("a")); d.sleep(FLUSH); d.show("-Lnc --persistent-conn")
def case_sync_master_full(d):
    """Small messages: a full one leaves after 20 ms, eight at once; the rest after two seconds."""
    svc(d, flags="-p 60"); master(d, "--sync-maxlen 100")
    for i in range(5): d.send("eth0", d.c(TCP(sport=40000 + i, dport=80, flags="S", seq=1)), wait=0.1)
    d.sleep(FLUSH)
    for i in range(30): d.send("eth0", d.c(TCP(sport=41000 + i, dport=80, flags="S", seq=1)), wait=0.002)
    d.sleep(FLUSH)
def case_sync_master_tiny(d):
    """A length smaller than an entry: one entry a message all the same."""
    svc(d, flags="-p 60"); svc6(d, servers=((1, ""),)); master(d, "--sync-maxlen 1")
    for i in range(4): d.send("eth0", d.c(TCP(sport=40000 + i, dport=80, flags="S", seq=1)), wait=0.1)
    [tcp6(d, f) for f in ("S", "A", "A")]; d.sleep(FLUSH); d.sysctl("sync_version", 0); d.syn(40010); d.syn(40011); d.sleep(FLUSH)
def case_sync_master_255(d):
    """More than 255 entries for one message."""
    svc(d, flags="-p 60"); master(d, "--sync-maxlen 65507")
    burst(d, [d.c(TCP(sport=40000 + i, dport=80, flags="S", seq=1)) for i in range(270)])
    d.sleep(FLUSH)
def case_sync_master_queue(d):
    """sync_qlen_max: what does not fit into the queue is lost, the newest first; 0 loses all full messages."""
    d.sysctl("sync_qlen_max", 2); svc(d, flags="-p 60"); master(d, "--sync-maxlen 60")
    burst(d, [d.c(TCP(sport=40000 + i, dport=80, flags="S", seq=1), client=1 + i % 4) for i in range(6)])
    d.sleep(FLUSH)
def case_sync_master_restart(d):
    """Stopping throws away what was not sent; a new master knows what was sent of a connection before."""
    svc(d); master(d); n = d.open_nat(40000); d.adm("--stop-daemon master"); d.sleep(FLUSH); acks(d, 3); master(d, "--syncid 4"); d.close_nat(n, 40000); d.sleep(FLUSH); d.open_nat(40001); d.sleep(FLUSH); d.adm("--stop-daemon master"); n = d.syn(40002); d.open_nat(40003); d.close_nat(2, 40003); master(d); tcp(d, "A", 40003); d.sleep(FLUSH)
def case_sync_master_schedule_icmp(d):
    """Errors about connections are no packets to count."""
    svc(d, servers=((1, ""),)); master(d); d.syn(40000); out = tcp(d, "A"); e = IP(src=VIP, dst=C4, ttl=60) / TCP(sport=80, dport=40000, seq=9001); [d.send("eth0", d.c(ICMP(type=3, code=4, nexthopmtu=1400) / raw(e))) for _ in range(3)]; d.sleep(FLUSH); tcp(d, "A"); d.sleep(FLUSH)

# -- what a backup makes of it
def case_sync_backup_tcp(d):
    """Established connections by NAT go on: packets both ways, states, counters, their own expiry."""
    svc(d, rport=8080); backup(d); hand(d, v1(e4(rport=8080, timeout=900), e4(40001, rs=RS[2][0], rport=8080, timeout=100), e4(40002, 4, 0x100, rs=RS[3][0], rport=8080, timeout=20))); list_all(d)
    tcp(d, "PA", data=b"hello"); rtcp(d, 1, "PA", 40000, 8080, data=b"answer"); d.show("-Lnc"); tcp(d, "FA", 40001); list_all(d); d.sleep(22); list_all(d); d.syn(40005); d.syn(40006); d.stats(); hand(d, v1(e4(rport=8080, timeout=300))); list_all(d)
def case_sync_backup_v0(d):
    """Version 0 messages: timeouts by state, templates of 180 s, sequence data behind an entry."""
    svc(d); svc(d, "-t 10.9.9.9:81", flags="-p 60", rport=81); svc(d, "-u 10.9.9.9:53", rport=53, servers=((1, ""),)); backup(d, "--syncid 3")
    hand(d, v0(o4(), o4(40001, 5, 0x100), o4(0, 0, 0x1000, vport=81, rport=81), o4(41000, 0, 0x100, vport=53, rport=53, proto=17), syncid=3)); list_all(d); d.show("-Ln --persistent-conn")
    hand(d, v0(o4(40002, flags=0x200, extra=seq()), o4(40003), syncid=3)); hand(d, v0(o4(40004), syncid=4)); hand(d, v0(o4(40005), o4(40006), syncid=3, count=1)); hand(d, v0(o4(40007), syncid=3, count=2)); hand(d, v0(o4(40008), syncid=3, size=27)); hand(d, v0(o4(40009, 11), syncid=3)); hand(d, v0(o4(40010, proto=99), o4(40011), syncid=3)); hand(d, v0(syncid=3)); hand(d, v0(o4(40012, 12), o4(40013), syncid=3)); hand(d, v0(o4(40014, flags=0x600), syncid=3)); d.show("-Lnc"); tcp(d, "A"); tcp(d, "A", 40003); d.syn(42000, dport=81)
    list_all(d); d.send("eth0", d.c(UDP(sport=41000, dport=53) / b"q")); list_all(d)
def case_sync_backup_ipv6(d):
    """IPv6 entries beside IPv4 ones: connections, a template of a network, an entry cut short."""
    svc6(d, rport=8080); svc6(d, "-u [fd99::9]:53", flags="-p 60 -M 64", rport=53); svc(d, servers=((1, ""),)); backup(d)
    hand(d, v1(e6(rport=8080), e4(), e6(0, 0, 0x1000, client="fd55::", vport=53, rport=53, rs=RS[2][1], proto=17, timeout=60), e6(40001, 7, 0x100, rport=8080, rs=RS[3][1], timeout=60))); list_all(d); d.show("-Ln --persistent-conn"); tcp6(d, "A"); rtcp6(d, 1, "PA", 40000, 8080, data=b"x"); udp6(d, 41000, src="fd55::7"); udp6(d, 41000, src="fd56::7"); tcp6(d, "A", 40001); list_all(d)
def case_sync_backup_group6(d):
    """A backup on an IPv6 group hears nothing of the IPv4 one, nor of another port."""
    svc(d, servers=((1, ""),)); backup(d, "--mcast-group ff05::51 --mcast-port 9000"); hand(d, v1(e4()), group="ff05::51", port=9000); hand(d, v1(e4(40001))); hand(d, v1(e4(40002)), group="ff05::51"); hand(d, v1(e4(40003)), group="ff05::52", port=9000); hand(d, v1(e4(40004)), group="ff05::51", port=9001); hand(d, v1(e4(40005)), dev="eth0", group="ff05::51", port=9000); d.show("-Lnc")
def case_sync_backup_protocols(d):
    """UDP, SCTP, states at the end of their range and beyond, AH and ESP, protocols that are none."""
    svc(d, "-u 10.9.9.9:53", rport=53); svc(d, "--sctp-service 10.9.9.9:5000", rport=5000); svc(d); backup(d)
    u = dict(proto=17, vport=53, rport=53, timeout=300); s = dict(proto=132, vport=5000, rport=5000, timeout=61)
    hand(d, v1(*[e4(41000 + i, i, 0x100, **u) for i in range(3)], *[e4(42000 + k, i, 0x100 if i != 8 else 0, **s) for k, i in enumerate((0, 1, 8, 9, 13, 14, 15, 255, 256, 65535))], *[e4(40000 + i, i, **dict(timeout=60)) for i in range(13)])); list_all(d)
    hand(d, v1(*[e4(43000 + p, 0, 0x100, proto=p) for p in (0, 1, 4, 50, 51, 58, 255)], e4(43999))); d.show("-Lnc"); d.udp(41000); list_all(d)
def case_sync_backup_templates(d):
    """Templates: of a service, of a network, assured or not, of a state that is none; their server is used, and kept whatever later ones say."""
    svc(d, flags="-p 60", rport=8080); svc(d, "-t 10.9.9.9:81", flags="-p 60 -M 255.255.255.0", rport=81); backup(d); t = dict(flags=0x1000, timeout=60)
    hand(d, v1(e4(0, 0, rs=RS[2][0], rport=8080, **t), e4(0, 1, client=CLIENTS[2][0], rs=RS[2][0], rport=8080, **t), e4(0, 0, client="10.0.0.0", vport=81, rport=81, rs=RS[3][0], **t), e4(0, 0x1234, client="10.0.9.0", vport=81, rport=81, rs=RS[3][0], **t), e4(0, 0xffff, client="10.0.8.0", vport=81, rport=81, rs=RS[3][0], **t))); list_all(d); d.show("-Ln --persistent-conn")
    d.syn(40000); d.syn(40000, client=2); d.syn(40000, client=3); d.syn(40000, dport=81); d.syn(40001, dport=81, client=2); list_all(d); hand(d, v1(e4(0, 1, rs=RS[1][0], rport=8080, **t), e4(0, 0, client=CLIENTS[3][0], rs=RS[3][0], rport=8080, flags=0x1100, timeout=7))); d.syn(40002); d.syn(40002, client=3); list_all(d); d.show("-Ln --persistent-conn"); d.sleep(8); d.show("-Lnc")
def case_sync_backup_fwmark(d):
    """Marks: a template of a mark service, connections with a mark by NAT and not, a mark that no service has."""
    d.mark("ip daddr 10.9.9.9 tcp dport { 80, 443 }", 5); svc(d, "-f 5", flags="-p 120", rport=None, mode="-g"); svc(d, "-t 10.9.9.9:81", rport=81); svc(d, "-t 10.9.9.9:80", servers=((7, ""),)); d.mark("ip daddr 10.9.9.9 tcp dport 83", 6); svc(d, "-f 6", rport=8383); backup(d)
    hand(d, v1(e4(0, 0, 0x1003, vip="0.0.0.5", vport=0, rport=0, rs=RS[2][0], proto=0, timeout=120, mark=5), e4(40000, 1, 0x83, rs=RS[2][0], mark=5), e4(40001, 1, 0x83, vport=443, rport=443, rs=RS[2][0], mark=5), e4(40002, vport=81, rport=81, rs=RS[3][0], mark=9), e4(40003, vport=83, rport=8383, rs=RS[3][0], mark=6), e4(40004, rs=RS[7][0], mark=0), e4(40005, rs=RS[7][0], mark=5), e4(40006, vport=83, rport=8383, rs=RS[3][0], mark=0))); list_all(d); d.show("-Ln --persistent-conn")
    for p in range(40000, 40003): tcp(d, "A", p, dport={40000: 80, 40001: 443, 40002: 81}[p])
    d.syn(40009, dport=443); d.syn(40009, dport=80, client=2); list_all(d)
def case_sync_backup_unbound(d):
    """Without the service entries are kept and used all the same; a later message binds them."""
    backup(d); hand(d, v1(e4(), e4(40001, 1, 0x83), e4(40002, 1, 0x82), e4(40003, 4, 0x100), e4(0, 1, 0x1000, timeout=60))); list_all(d); tcp(d, "PA", data=b"one"); tcp(d, "PA", 40001, data=b"two"); rtcp(d, 1, "PA", data=b"back"); d.show("-Lnc")
    svc(d); tcp(d, "PA", data=b"one"); rtcp(d, 1, "PA", data=b"back"); list_all(d); hand(d, v1(e4(), e4(40001, 1, 0x83), e4(40002, 1, 0x82), e4(40003, 4, 0x100), e4(0, 1, 0x1000, timeout=60))); list_all(d); tcp(d, "PA", data=b"three"); tcp(d, "PA", 40001, data=b"four"); rtcp(d, 1, "PA", data=b"back"); d.stats(); d.adm(f"-d -t 10.9.9.9:80 -r {RS[1][0]}:80"); hand(d, v1(e4(), e4(40007))); d.syn(40008); tcp(d, "A"); tcp(d, "A", 40007); list_all(d); d.adm(f"-a -t 10.9.9.9:80 -r {RS[1][0]}:80 -m"); list_all(d); hand(d, v1(e4(40007))); list_all(d)
def case_sync_backup_other_server(d):
    """A known tuple with another server: an active message replaces the connection, an inactive one is ignored."""
    svc(d); backup(d); hand(d, v1(e4(), e4(40001), e4(40002, 4, 0x100))); hand(d, v1(e4(rs=RS[2][0]), e4(40001, 4, 0x100, rs=RS[2][0]), e4(40002, rport=81))); list_all(d); tcp(d, "A"); tcp(d, "A", 40001); n = d.syn(40003); hand(d, v1(e4(40003, rs=RS[(n % 3) + 1][0]))); d.sleep(1); list_all(d); tcp(d, "A", 40003); hand(d, v1(e4(40003, 7, 0x100, rs=RS[n][0]))); list_all(d)
def case_sync_backup_inactive(d):
    """The inactive flag moves a connection between its server's counts; other flags of a known one stay."""
    svc(d); svc(d, "-t 10.9.9.9:81", rport=81, mode="-g"); backup(d); hand(d, v1(e4(), e4(40001, 1, 0x100), e4(40002, 1, 0x183, vport=81, rport=81), e4(40003, 1, 0, vport=81, rport=81))); list_all(d); hand(d, v1(e4(40000, 4, 0x100), e4(40001, 1, 0), e4(40002, 4, 0, vport=81, rport=81), e4(40003, 4, 0x100, vport=81, rport=81))); list_all(d)
    hand(d, v1(e4(40000, 4, 0x3100), e4(40001, 1, 0x800), e4(40005, 1, 0x12007), e4(40006, 1, 0x2000), e4(40007, 1, 0x4000 | 0x40 | 8), e4(40008, 1, 3), e4(40009, 1, 4))); list_all(d); tcp(d, "A"); tcp(d, "A", 40001); tcp(d, "A", 40003, dport=81); [tcp(d, "A", p) for p in range(40005, 40010)]; list_all(d)
def case_sync_backup_states(d):
    """States of a synchronised connection follow packets from where they are; timeouts of a message, none, and huge ones."""
    svc(d); backup(d); hand(d, v1(*[e4(40000 + s, s, timeout=0) for s in range(11)], e4(40020, timeout=1), e4(40021, timeout=86400), e4(40022, timeout=0x7fffffff), e4(40023, timeout=0xffffffff), e4(0, 1, 0x1000, timeout=0))); d.show("-Lnc"); d.sleep(2.6); d.show("-Lnc"); [tcp(d, "A", 40000 + s) for s in (1, 3, 4, 7, 8)]; d.show("-Lnc")
def case_sync_backup_malformed(d):
    """Messages that are none, entries that are none, options that are none; what is dropped with them."""
    svc(d); svc6(d, servers=((1, ""),)); backup(d); p = iter(range(43000, 44000)); ok = lambda: e4(next(p))
    def bad(message): hand(d, message); hand(d, v1(ok()))
    for m in (b"", b"\0", b"\0\0\0", b"\0\0\0\4", b"\1\0\0\4", b"\0\0\0\7\1\1\0", b"\0\0\0\10\0\1\0\0", b"\0\0\0\10\5\1\0\0"): bad(m)
    bad(v1(ok(), size=43)); bad(v1(ok(), size=45)); bad(v1(ok(), ok(), count=1)); bad(v1(ok(), count=2)); bad(v1(ok()) + b"\0"); bad(v1(ok(), ok(), count=0)); bad(v1(ok(), version=2)); bad(v1(ok(), spare=1)); bad(v1(ok(), first=1))
    bad(v1(ok(), e4(next(p), kind=2), ok())); bad(v1(ok(), e4(next(p), kind=3), ok())); bad(v1(ok(), e4(next(p), version=1), ok())); bad(v1(ok(), e4(next(p), size=35), ok())); bad(v1(ok(), e4(next(p), size=0), ok())); bad(v1(ok(), e4(next(p), size=400), ok())); bad(v1(ok(), e4(next(p), kind=1), ok())); bad(v1(ok(), e6(next(p), kind=0), ok())); bad(v1(ok(), e6(next(p), size=71), ok()))
def case_sync_backup_options(d):
    """Options: each kind well and badly formed, with the bit that lets them be ignored and without."""
    svc(d); svc(d, "-u 10.9.9.9:5060", flags="-p 60 --pe sip -o", rport=5060); backup(d); p = iter(range(43000, 44000)); ok = lambda: e4(next(p))
    def with_(options, flags=0): hand(d, v1(ok(), e4(next(p), flags=flags, options=options), ok()))
    with_(option(1, seq()), 0x600); with_(option(0x41, seq()), 0x600); with_(option(1, seq()[:23])); with_(option(1, seq() + b"\0")); with_(option(1, seq()) * 2); with_(option(1, seq())); with_(b"", 0x600); with_(option(1, b"")); with_(b"\1"); with_(option(1, seq(), 25)); with_(b"\0"); with_(b"\0\0"); with_(b"\0\0\0\0")
    with_(option(9, b"x")); with_(option(0x49, b"x")); with_(option(0x80, b"xy")); with_(option(0xc0, b"xy")); with_(option(0x40, b"x")); with_(option(4, b"abc") + option(1, seq()[:20])); with_(option(0x44, b"abcd") + option(1, seq()))
    with_(option(2, b"call")); with_(option(3, b"sip")); with_(option(2, b"call") + option(3, b"sip")); with_(option(3, b"sip") + option(2, b"call")); with_(option(2, b"call") + option(3, b"nosuch")); with_(option(2, b"call") + option(3, b"x" * 16)); with_(option(2, b"call") + option(3, b"x" * 17)); with_(option(2, b"c" * 255) + option(3, b"sip")); with_(option(2, b"a") * 2 + option(3, b"sip")); with_(option(2, b"a") + option(3, b"sip") * 2); with_(option(0x42, b"call") + option(0x43, b"sip")); with_(option(2, b"call") + option(3, b"sip\0"))
    d.show("-Lnc"); d.show("-Lnc --persistent-conn")
def case_sync_backup_sip(d):
    """Templates of the sip engine: the Call-ID is what finds them."""
    sip = lambda call, method="INVITE": f"{method} sip:bob@example.org SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2\r\nCall-ID: {call}\r\nCSeq: 1 {method}\r\n\r\n".encode()
    svc(d, "-u 10.9.9.9:5060", flags="-p 60 --pe sip -o", rport=5060); backup(d); t = lambda call, n, **kw: e4(0, 0, 0x1000, vport=5060, rport=5060, rs=RS[n][0], proto=17, timeout=60, options=option(2, call) + option(3, b"sip"), **kw)
    hand(d, v1(t(b"abc", 2), t(b"call-22@10.0.0.2", 3))); d.show("-Lnc --persistent-conn"); d.show("-Ln --persistent-conn"); [d.udp(5060, dport=5060, data=sip(c)) for c in ("abc", "call-22@10.0.0.2", "new", "abc")]; d.show("-Lnc --persistent-conn"); hand(d, v1(t(b"abc", 1), t(b"", 1) if 0 else t(b"other", 1))); d.show("-Lnc --persistent-conn")
def case_sync_backup_client_port(d):
    """The flag that the client's port is not known yet: the first packet brings it."""
    svc(d); backup(d); hand(d, v1(e4(0, 1, 0x800), e4(0, 1, 0x800, client=CLIENTS[2][0], rs=RS[2][0]), e4(40001, 1, 0x800, client=CLIENTS[3][0]))); d.show("-Lnc"); tcp(d, "A", 40007); d.show("-Lnc"); tcp(d, "A", 40008); tcp(d, "A", 40001, client=3); d.send("eth1", d.r(2, TCP(sport=80, dport=45000, flags="A"), dst=CLIENTS[2][0])); list_all(d)
def case_sync_backup_length(d):
    """A message longer than the receiver's buffer is cut, and then of the wrong length."""
    svc(d, servers=((1, ""),)); backup(d, "--sync-maxlen 1"); d.adm("-L --daemon"); hand(d, v1(*[e4(40000 + i) for i in range(28)])); d.show("-Lnc"); hand(d, v1(*[e4(41000 + i) for i in range(29)])); d.show("-Lnc")
def case_sync_backup_syncid(d):
    """Sync ids: 0 takes all, another one only its own; the id of version 0 too."""
    svc(d, servers=((1, ""),)); backup(d, "--syncid 5"); hand(d, v1(e4(40000), syncid=5)); hand(d, v1(e4(40001), syncid=0)); hand(d, v1(e4(40002), syncid=6)); hand(d, v0(o4(40003), syncid=5)); hand(d, v0(o4(40004), syncid=6)); d.show("-Lnc"); d.adm("--stop-daemon backup"); hand(d, v1(e4(40005), syncid=5)); backup(d); hand(d, v1(e4(40006), syncid=5)); hand(d, v1(e4(40007))); hand(d, v0(o4(40008), syncid=255)); d.show("-Lnc")
def case_sync_backup_limits(d):
    """Thresholds and schedulers see synchronised connections."""
    svc(d, sched="wlc", servers=((1, "-x 3"), (2, ""))); backup(d); hand(d, v1(*[e4(40000 + i) for i in range(3)])); list_all(d); syns(d, 3, base=42000); hand(d, v1(*[e4(40000 + i, 4, 0x100, timeout=2) for i in range(3)])); d.sleep(3); list_all(d); syns(d, 3, base=42010); list_all(d)
def case_sync_backup_only(d):
    """backup_only: while the backup daemon runs packets are left to the host; not without it."""
    svc(d); svc6(d, servers=((1, ""),)); d.sysctl("backup_only", 1); d.syn(40000); backup(d); d.syn(40001); tcp(d, "A"); rtcp(d, 1, "SA", 40000); tcp6(d, "S"); hand(d, v1(e4(40005))); tcp(d, "A", 40005); rtcp(d, 1, "A", 40005); d.send("eth0", d.c(ICMP(type=8) / b"ping")); list_all(d); master(d); d.syn(40006); d.adm("--stop-daemon backup"); d.syn(40006); tcp(d, "A", 40005); backup(d); d.sysctl("backup_only", 0); d.syn(40007); list_all(d)
def case_sync_both(d):
    """Both roles: what was received is not sent on; after the takeover the connection's own packets count on from the threshold, and the flag says where it came from."""
    svc(d); master(d, "--syncid 1"); backup(d, "--syncid 2"); hand(d, v1(e4(), e4(40001, 4, 0x100, timeout=60), syncid=2)); d.sleep(FLUSH)
    for i in range(52): d.send("eth0", d.c(TCP(sport=40000, dport=80, flags="A", seq=1001 + i, ack=9001)), wait=0.003)
    tcp(d, "A", 40001); d.sleep(FLUSH); tcp(d, "FA"); tcp(d, "R", 40001); d.sleep(FLUSH); list_all(d)
def case_sync_takeover_sloppy(d):
    """sync_persist_mode on the other side: a template and sloppy_tcp carry a connection that no message mentioned."""
    svc(d, flags="-p 60"); backup(d); hand(d, v1(e4(0, 1, 0x1000, rs=RS[2][0], timeout=60))); tcp(d, "A", 40000); d.sysctl("sloppy_tcp", 1); tcp(d, "A", 40000); rtcp(d, 2, "PA", 40000, data=b"x"); list_all(d)
def case_sync_backup_ftp(d):
    """Entries of FTP data connections find the service by its fallbacks; so do those of port 0."""
    svc(d, "-t 10.9.9.9:21", rport=21, flags="-p 60"); svc(d, "-t 10.9.9.9:0", rport=None, servers=((4, ""),), flags="-p 60"); backup(d); hand(d, v1(e4(40000, vport=21, rport=21), e4(40001, vport=20, rport=20), e4(40002, vport=30000, rport=21), e4(40003, vport=30000, rport=30000, rs=RS[4][0]), e4(40004, vport=80, rport=80, rs=RS[4][0]), e4(40005, vport=80, rport=8080, rs=RS[4][0]), e4(40006, vport=80, rport=0, rs=RS[4][0]))); list_all(d)
