"""ICMP through ip_vs, and what the host answers for the VIP."""
from common import *
def nat(d): svc(d, "-u 10.9.9.9:53", servers=((1, ""),), rport=5353)
def quest(d, n=8, dport=53, **kw): return d.send("eth0", d.c(UDP(sport=41000, dport=dport) / pat(n), **kw))
def answer(d, n=8, rs=1, sport=5353, src=None, **kw): return d.send("eth1", d.r(rs, UDP(sport=sport, dport=41000) / pat(n), dst=C4, src=src, **kw))
def emb(src, dst, l4, n=8, **ip): b = raw(IP(src=src, dst=dst, id=0x77, **ip) / l4); return Raw(b[:(b[0] & 15) * 4 + n])

def case_icmp_nat_types(d):
    """Every type of ICMP error about a NATed datagram, from the server and from the client."""
    nat(d); e = Raw(inner(quest(d))); r = Raw(inner(answer(d)))
    for t, c in ((3, 0), (3, 1), (3, 3), (3, 13), (4, 0), (5, 1), (11, 0), (11, 1), (12, 0), (8, 0), (0, 0), (14, 0), (3, 200)): d.send("eth1", d.r(1, ICMP(type=t, code=c) / e, dst=C4)); d.send("eth0", d.c(ICMP(type=t, code=c) / r))
    d.send("eth1", d.r(1, ICMP(type=3, code=4, nexthopmtu=1400) / e, dst=C4, tos=0xc0, ttl=2)); d.send("eth0", d.c(ICMP(type=3, code=4, nexthopmtu=1400) / r, tos=0xc0, ttl=2)); d.show("-Lnc"); d.stats()
def case_icmp_nat_routers(d):
    """ICMP errors from routers on either side, with TTL 1, and with a wrong checksum; of no connection."""
    nat(d); e = Raw(inner(quest(d))); r = Raw(inner(answer(d)))
    d.send("eth1", Ether(src=RS_GW[2], dst=DIR1) / IP(src="172.16.0.254", dst=C4, id=9) / ICMP(type=11) / e); d.send("eth0", d.c(ICMP(type=11) / r, src="192.0.2.1")); d.send("eth0", d.c(ICMP(type=3, code=1) / r, src="192.0.2.1", ttl=1)); d.send("eth1", d.r(1, ICMP(type=3, code=1) / e, dst=C4, ttl=1))
    d.send("eth1", d.r(1, ICMP(type=3, code=1, chksum=0x1234) / e, dst=C4)); d.send("eth0", d.c(ICMP(type=3, code=1, chksum=0x1234) / r)); d.send("eth1", d.r(1, ICMP(type=3, code=3) / emb(C4, RS[1][0], UDP(sport=5, dport=5353) / pat(8)), dst=C4)); d.send("eth0", d.c(ICMP(type=3, code=3) / emb(VIP, C4, UDP(sport=53, dport=5) / pat(8)))); d.send("eth0", d.c(ICMP(type=3, code=3) / emb(VIP, C4, UDP(sport=99, dport=5) / pat(8)))); d.send("eth0", d.c(ICMP(type=3, code=3) / r, dst="10.0.0.1")); d.stats()
def case_icmp_nat_embedded(d):
    """What is quoted in the error: cut short, with options, of full length with a rightly summed UDP header, a later fragment, another protocol, another error."""
    nat(d); quest(d); q = UDP(sport=41000, dport=5353) / pat(8); a = UDP(sport=53, dport=41000) / pat(8)
    for n in (0, 2, 4, 8, 16): d.send("eth1", d.r(1, ICMP(type=3, code=3) / emb(C4, RS[1][0], q, n), dst=C4)); d.send("eth0", d.c(ICMP(type=3, code=3) / emb(VIP, C4, a, n)))
    d.send("eth1", d.r(1, ICMP(type=3, code=3) / emb(C4, RS[1][0], q, 16, options=[IPOption_NOP()] * 4), dst=C4)); d.send("eth0", d.c(ICMP(type=3, code=3) / emb(VIP, C4, a, 16, options=[IPOption_NOP()] * 4)))
    d.send("eth1", d.r(1, ICMP(type=3, code=3) / emb(C4, RS[1][0], q, 16, frag=100), dst=C4)); d.send("eth0", d.c(ICMP(type=3, code=3) / emb(VIP, C4, a, 16, frag=100))); d.send("eth0", d.c(ICMP(type=11, code=1) / emb(VIP, C4, a, 16, flags="MF")))
    d.send("eth1", d.r(1, ICMP(type=3, code=3) / emb(C4, RS[1][0], ICMP(type=8) / pat(8), 16), dst=C4)); d.send("eth0", d.c(ICMP(type=3, code=3) / emb(VIP, C4, ICMP(type=0) / pat(8), 16))); d.send("eth0", d.c(ICMP(type=3, code=2) / emb(VIP, C4, Raw(pat(16)), 16, proto=99))); d.send("eth1", d.r(1, ICMP(type=3, code=3) / Raw(raw(emb(C4, RS[1][0], q, 8))[:12]), dst=C4)); d.send("eth0", d.c(ICMP(type=3, code=3))); d.show("-Lnc")
def case_icmp_nat_tcp(d):
    """ICMP errors about NATed TCP, and a path MTU told by a router behind the director; the connection goes on."""
    svc(d, servers=((1, ""),), rport=8080); n = d.open_nat(40000, rport=8080); q = tcp(d, "PA", data=pat(1400), flags="DF"); a = rtcp(d, 1, "PA", sport=8080, data=pat(1400), flags="DF")
    d.send("eth1", d.r(1, ICMP(type=3, code=4, nexthopmtu=1300) / Raw(q[0][1][14:14 + 548]), dst=C4)); d.send("eth0", d.c(ICMP(type=3, code=4, nexthopmtu=1300) / Raw(a[0][1][14:14 + 548]))); d.send("eth0", d.c(ICMP(type=3, code=4, nexthopmtu=1300) / Raw(a[0][1][14:]))); d.send("eth1", d.r(1, ICMP(type=3, code=4, nexthopmtu=1300) / Raw(q[0][1][14:42]), dst="172.16.0.1"))
    tcp(d, "PA", data=pat(1400), flags="DF"); rtcp(d, 1, "PA", sport=8080, data=pat(1400), flags="DF"); d.send("eth1", d.r(1, ICMP(type=11) / Raw(q[0][1][14:42]), dst=C4)); d.send("eth0", d.c(ICMP(type=3, code=10) / Raw(a[0][1][14:42]))); d.show("-Lnc"); d.stats()
def case_icmp_nat_fragments(d):
    """ICMP errors in fragments, ones larger than the MTU, with DF and without."""
    svc(d, servers=((1, ""),)); d.open_nat(40000); q = tcp(d, "PA", data=pat(1300)); a = rtcp(d, 1, "PA", data=pat(1300))
    ic = ICMP(type=3, code=3) / Raw(a[0][1][14:]); ri = ICMP(type=3, code=3) / Raw(q[0][1][14:][:1300]); e1 = E1(1)
    for f in frag4(IP(src=C4, dst=VIP, id=1) / ic, (600,), E0): d.send("eth0", f)
    for f in frag4(IP(src=RS[1][0], dst=C4, id=2) / ri, (600,), e1): d.send("eth1", f)
    d.send("eth0", d.c(ic)); d.send("eth0", d.c(ic, flags="DF")); d.send("eth1", d.r(1, ri, dst=C4)); d.stats()
case_icmp_nat_fragments.lab = {"mtu1": 1360}
def case_icmp_dr_tun(d):
    """ICMP errors in direct routing and tunnels: the client's go to the server, whole; the server's are about the VIP."""
    svc(d, "-u 10.9.9.9:53", servers=((2, ""),), rport=53, mode="-g"); svc(d, "-u 10.9.9.9:54", servers=((3, ""),), rport=54, mode="-i"); svc(d, "-u 10.9.9.9:55", servers=((4, "--tun-type gre"),), rport=55, mode="-i")
    for p in (53, 54, 55): quest(d, dport=p)
    for p in (53, 54, 55):
        a = emb(VIP, C4, UDP(sport=p, dport=41000) / pat(8), 16)
        for t, c in ((3, 3), (11, 0), (4, 0), (12, 0), (5, 0)): d.send("eth0", d.c(ICMP(type=t, code=c) / a, tos=0xc0))
        d.send("eth0", d.c(ICMP(type=3, code=4, nexthopmtu=1300) / a)); d.send("eth0", d.c(ICMP(type=3, code=3) / a, ttl=1)); d.send("eth0", d.c(ICMP(type=3, code=3, chksum=7) / a))
        d.send("eth1", d.r(p - 51, ICMP(type=3, code=3) / emb(C4, VIP, UDP(sport=41000, dport=p) / pat(8), 16), dst=C4))
    d.show("-Lnc"); d.stats()
def case_icmp_ipv6_nat(d):
    """ICMPv6 errors of NATed connections, both ways: unreachable, too big, time exceeded, parameter problem; unknown error and informational types; wrong checksums."""
    svc6(d, "-u [fd99::9]:53", servers=((1, ""),), rport=5353); q = udp6o(d); e = Raw(inner(q, 13)); a = d.send("eth1", d.r6(1, UDP(sport=5353, dport=41000) / b"answer", dst=C6)); r = Raw(inner(a, 14))
    for ic in (ICMPv6DestUnreach(code=4), ICMPv6DestUnreach(code=1), ICMPv6PacketTooBig(mtu=1400), ICMPv6TimeExceeded(code=0), ICMPv6ParamProblem(code=1, ptr=6)): d.send("eth1", d.r6(1, ic / e, dst=C6)); d.send("eth0", d.c6(ic / r))
    d.send("eth1", d.r6(1, ICMPv6DestUnreach(code=4, cksum=0x1234) / e, dst=C6)); d.send("eth0", d.c6(ICMPv6DestUnreach(code=4, cksum=0x1234) / r)); d.send("eth0", d.c6(ICMPv6DestUnreach(code=4) / r, hlim=1)); d.send("eth1", d.r6(1, ICMPv6DestUnreach(code=4) / e, dst=C6, hlim=1))
    d.send("eth1", Ether(src=RS_GW[2], dst=DIR1) / IPv6(src="fd01::fe", dst=C6) / ICMPv6TimeExceeded() / e); d.send("eth0", d.c6(ICMPv6TimeExceeded() / r, src="2001:db8::1")); d.send("eth0", d.c6(ICMPv6EchoRequest(id=1, seq=1, data=b"ping"))); d.send("eth1", d.r6(1, ICMPv6EchoRequest(id=1, seq=1, data=b"ping"), dst=C6)); d.show("-Lnc"); d.stats()
def udp6o(d, sport=41000, dport=53, n=5): return d.send("eth0", d.c6(UDP(sport=sport, dport=dport) / pat(n)))
def case_icmp_ipv6_dr_tun(d):
    """ICMPv6 errors in direct routing and in a tunnel."""
    svc6(d, "-u [fd99::9]:53", servers=((2, ""),), rport=53, mode="-g"); svc6(d, "-u [fd99::9]:54", servers=((3, ""),), rport=54, mode="-i"); udp6o(d); udp6o(d, dport=54)
    for p in (53, 54):
        a = Raw(raw(IPv6(src=VIP6, dst=C6) / UDP(sport=p, dport=41000) / pat(8)))
        for ic in (ICMPv6DestUnreach(code=4), ICMPv6PacketTooBig(mtu=1400), ICMPv6TimeExceeded(code=0)): d.send("eth0", d.c6(ic / a))
        d.send("eth1", d.r6(p - 51, ICMPv6DestUnreach(code=4) / Raw(raw(IPv6(src=C6, dst=VIP6) / UDP(sport=41000, dport=p) / pat(8))), dst=C6))
    d.stats()
def case_icmp_schedule(d):
    """schedule_icmp: an ICMP error of no connection makes one; NAT, DR, tunnel; no server; a persistent service."""
    svc(d, "-u 10.9.9.9:53", servers=((1, ""), (2, "")), rport=5353); svc(d, "-u 10.9.9.9:54", servers=((3, ""),), rport=54, mode="-g"); svc(d, "-u 10.9.9.9:55", servers=((4, ""),), rport=55, mode="-i"); d.adm("-A -u 10.9.9.9:56 -s rr"); svc(d, "-t 10.9.9.9:80", flags="-p 60", servers=((5, ""),)); svc(d, "-u 10.9.9.9:57", "sh", rport=57)
    err = lambda l4, **k: d.send("eth0", d.c(ICMP(type=3, code=k.pop("code", 3), nexthopmtu=k.pop("mtu", 0)) / emb(VIP, C4, l4, 16)))
    err(UDP(sport=53, dport=41000) / pat(8)); d.sysctl("schedule_icmp", 1)
    for p in (53, 53, 54, 55, 56, 99, 57): err(UDP(sport=p, dport=41001) / pat(8))
    err(UDP(sport=53, dport=41002) / pat(8), code=4, mtu=1300); err(TCP(sport=80, dport=40000, flags="A", seq=1, ack=1)); d.show("-Lnc"); quest(d); err(TCP(sport=81, dport=40000, flags="A")); d.show("-Ln"); d.stats()
def case_icmp_schedule_ipv6(d):
    """schedule_icmp with IPv6."""
    svc6(d, "-u [fd99::9]:53", servers=((1, ""), (2, "")), rport=5353); svc6(d, "-u [fd99::9]:54", servers=((3, ""),), rport=54, mode="-g"); svc6(d, "-t [fd99::9]:80", servers=((4, ""),)); d.sysctl("schedule_icmp", 1)
    for p in (53, 53, 54, 99): d.send("eth0", d.c6(ICMPv6DestUnreach(code=4) / Raw(raw(IPv6(src=VIP6, dst=C6) / UDP(sport=p, dport=41000 + p) / pat(8)))))
    d.send("eth0", d.c6(ICMPv6PacketTooBig(mtu=1300) / Raw(raw(IPv6(src=VIP6, dst=C6) / TCP(sport=80, dport=40000, flags="A") / pat(8))))); d.show("-Lnc"); d.stats()
def case_icmp_echo(d):
    """Pings of the VIP and of the director: sizes, TTL, TOS, DF, options, fragments, wrong checksums, broadcast; other queries."""
    nat(d)
    for n in (0, 1, 56, 57, 1472): d.send("eth0", d.c(ICMP(type=8, id=7, seq=n) / pat(n)))
    d.send("eth0", d.c(ICMP(type=8, id=7, seq=1) / pat(20), ttl=1, tos=0xb9, flags="DF")); d.send("eth0", d.c(ICMP(type=8, id=7, seq=1) / pat(20), options=[IPOption_NOP()] * 4)); d.send("eth0", d.c(ICMP(type=8, id=7, seq=1) / pat(20), options=[IPOption_RR(routers=["0.0.0.0"] * 3, pointer=4)]))
    for f in frag4(IP(src=C4, dst=VIP, id=3) / ICMP(type=8, id=7, seq=2) / pat(2000), (1480,), E0): d.send("eth0", f)
    for f in frag4(IP(src=C4, dst=VIP, id=4) / ICMP(type=8, id=7, seq=2) / pat(2000), (560,), E0): d.send("eth0", f)
    d.send("eth0", d.c(ICMP(type=8, id=7, seq=1, chksum=0x1111) / pat(20))); d.send("eth0", d.c(ICMP(type=8, id=7, seq=1, code=5) / pat(20))); d.send("eth0", d.c(ICMP(type=8, id=7, seq=1) / pat(8), dst="10.0.0.255")); d.send("eth0", d.c(ICMP(type=8, id=7, seq=1) / pat(8), dst="10.0.0.1")); d.send("eth0", d.c(ICMP(type=8, id=7, seq=1) / pat(8), src="192.0.2.7")); d.send("eth1", d.r(1, ICMP(type=8, id=7, seq=1) / pat(8), dst=VIP))
    for t in (0, 14, 15, 17, 9, 10, 42): d.send("eth0", d.c(ICMP(type=t, id=7, seq=1) / pat(20)))
    d.send("eth0", d.c(Raw(b"\x08\x00\xf7"), proto=1)); d.stats()
def case_icmp_echo_ipv6(d):
    """Pings of the IPv6 VIP: sizes, hop limit, traffic class, flow label, fragments, a wrong checksum, another informational type."""
    svc6(d, "-u [fd99::9]:53", servers=((1, ""),), rport=5353)
    for n in (0, 1, 56, 1452): d.send("eth0", d.c6(ICMPv6EchoRequest(id=7, seq=n, data=pat(n))))
    d.send("eth0", d.c6(ICMPv6EchoRequest(id=7, seq=1, data=pat(20)), hlim=1, tc=0xb9, fl=0x12345)); d.send("eth0", d.c6(ICMPv6EchoRequest(id=7, seq=1, data=pat(20), cksum=0x1111))); d.send("eth0", d.c6(ICMPv6EchoRequest(id=7, seq=1, data=pat(20), code=3))); d.send("eth0", d.c6(ICMPv6EchoRequest(id=7, seq=1, data=pat(20)), dst="fd00::1")); d.send("eth0", d.c6(ICMPv6EchoReply(id=7, seq=1, data=pat(20)))); d.send("eth0", d.c6(ICMPv6EchoRequest(type=200, id=7, seq=1, data=pat(20))))
    for f in frag6(IPv6(src=C6, dst=VIP6) / ICMPv6EchoRequest(id=7, seq=2, data=pat(2000)), (1400,), E0, 5): d.send("eth0", f)
    for f in frag6(IPv6(src=C6, dst=VIP6) / ICMPv6EchoRequest(id=7, seq=2, data=pat(2000)), (600,), E0, 6): d.send("eth0", f)
    d.send("eth0", E0 / IPv6(src=C6, dst=VIP6) / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))]) / ICMPv6EchoRequest(id=7, seq=3, data=pat(8))); d.stats()
def case_icmp_quote(d):
    """How much of the packet an ICMP error quotes: port unreachable for want of a server, at a closed port, time exceeded; sizes around 576."""
    d.adm("-A -t 10.9.9.9:80 -s rr"); d.adm("-A -u 10.9.9.9:53 -s rr"); svc(d, "-t 10.9.9.9:81", servers=((1, ""),), rport=81); d.syn(40000, dport=81)
    for n in (0, 100, 519, 520, 521, 600, 1472): quest(d, n); quest(d, n, 99)
    for n in (508, 509, 1460): tcp(d, "S", data=pat(n)); tcp(d, "PA", dport=81, data=pat(n), ttl=1)
    quest(d, 600, tos=0xff); quest(d, 600, 99, tos=0x1c, ttl=1); quest(d, 1400, options=[IPOption_NOP()] * 4); quest(d, 20, options=[IPOption_RR(routers=["0.0.0.0"] * 3, pointer=4)]); quest(d, 600, 99, options=[IPOption_NOP()] * 4); d.send("eth0", raw(d.c(UDP(sport=41000, dport=53) / b"pad")) + bytes(15)); d.stats()
def case_icmp_quote_ipv6(d):
    """The same with IPv6, sizes around 1280."""
    d.adm("-A -t [fd99::9]:80 -s rr"); d.adm("-A -u [fd99::9]:53 -s rr"); svc6(d, "-t [fd99::9]:81", servers=((1, ""),), rport=81); syn6(d, 40000, dport=81)
    for n in (0, 100, 1183, 1184, 1185, 1452): udp6o(d, n=n); udp6o(d, dport=99, n=n)
    for n in (1172, 1173, 1440): tcp6(d, "S", data=pat(n)); tcp6(d, "PA", dport=81, data=pat(n), hlim=1)
    d.send("eth0", d.c6(UDP(sport=41000, dport=53) / pat(8), tc=0xff, fl=0x12345)); d.send("eth0", d.c6(UDP(sport=41000, dport=99) / pat(8), tc=0xff, fl=0x12345)); tcp6(d, "S", tc=0x1c, fl=0x54321); d.send("eth0", E0 / IPv6(src=C6, dst=VIP6) / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))]) / UDP(sport=41000, dport=53) / pat(8)); d.stats()
def case_host_reset(d):
    """What a closed TCP port of the VIP answers to segments of every kind."""
    svc(d)
    for f in ("S", "A", "SA", "F", "FA", "PA", "", "R", "RA", "U", "SF", "SFPU", "P", "SEC"): tcp(d, f, dport=81, seq=1000, ack=9000); tcp(d, f, dport=81, seq=2000, ack=7000, data=b"hello")
    tcp(d, "A", dport=80); tcp(d, "PA", dport=80, data=b"hello"); tcp(d, "S", dport=81, seq=0xffffffff, ack=0); tcp(d, "SF", dport=81, seq=0xffffffff, ack=0, data=b"12345"); tcp(d, "A", dport=81, ttl=1, tos=0xff, flags="DF"); tcp(d, "S", dport=81, tos=0x28, id=0); tcp(d, "S", dport=81, options=[IPOption_NOP()] * 4)
    t = lambda **k: d.send("eth0", d.c(TCP(sport=40000, dport=81, flags="S", seq=1, **k))); t(chksum=0x1234); t(options=[("Timestamp", (77, 0)), ("MSS", 1460)]); t(dataofs=4); t(dataofs=15); d.send("eth0", raw(d.c(TCP(sport=40000, dport=81, flags="FA", seq=1, ack=1))) + bytes(6)); d.send("eth0", d.c(TCP(sport=40000, dport=0, flags="S", seq=1))); d.send("eth0", d.c(TCP(sport=0, dport=81, flags="S", seq=1))); d.send("eth0", d.c(TCP(sport=40000, dport=81, flags="S", seq=1), src="192.0.2.1")); d.send("eth1", d.r(1, TCP(sport=40000, dport=81, flags="S", seq=1), dst=VIP)); d.show("-Lnc")
def case_host_reset_ipv6(d):
    """The same with IPv6."""
    svc6(d)
    for f in ("S", "A", "SA", "F", "FA", "PA", "", "R", "RA", "SF"): tcp6(d, f, dport=81, seq=1000, ack=9000); tcp6(d, f, dport=81, seq=2000, ack=7000, data=b"hello")
    tcp6(d, "A", dport=80); tcp6(d, "A", dport=81, hlim=1, tc=0xff, fl=0x12345); tcp6(d, "S", dport=81, tc=0x28, fl=0xfffff); t = lambda **k: d.send("eth0", d.c6(TCP(sport=40000, dport=81, flags="S", seq=1, **k))); t(chksum=0x1234); t(options=[("Timestamp", (77, 0))]); t(dataofs=4); d.send("eth0", E0 / IPv6(src=C6, dst=VIP6) / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))]) / TCP(sport=40000, dport=81, flags="S", seq=1)); d.send("eth0", d.c6(TCP(sport=40000, dport=81, flags="S", seq=1), src="2001:db8::1")); d.show("-Lnc")
def case_host_closed(d):
    """Closed UDP ports, unknown protocols and addresses that are nobody's, IPv4 and IPv6."""
    svc(d); svc6(d); quest(d, dport=99); d.send("eth0", d.c(UDP(sport=41000, dport=99, chksum=0) / b"x")); d.send("eth0", d.c(UDP(sport=41000, dport=99, chksum=0x1234) / b"x")); quest(d, dport=0); d.send("eth0", d.c(UDP(sport=0, dport=99) / b"x")); quest(d, dport=99, ttl=1, tos=0x28, flags="DF"); d.send("eth0", d.c(UDP(sport=41000, dport=99, len=30) / b"short")); d.send("eth0", d.c(UDP(sport=41000, dport=99, len=9) / b"longer")); quest(d, dport=99, src="192.0.2.1")
    for p in (2, 4, 41, 47, 50, 51, 89, 99, 132, 136, 255): d.send("eth0", d.c(Raw(pat(24)), proto=p)); d.send("eth0", d.c6(Raw(pat(24)), nh=p))
    udp6o(d, dport=99); d.send("eth0", d.c6(UDP(sport=41000, dport=99, chksum=0) / b"x")); d.send("eth0", d.c6(UDP(sport=41000, dport=99, chksum=0x1234) / b"x")); d.send("eth0", d.c6(Raw(b""), nh=59)); d.send("eth0", d.c(UDP(sport=41000, dport=99) / b"x", dst="10.9.9.8")); d.send("eth0", d.c6(UDP(sport=41000, dport=99) / b"x", dst="fd99::8")); d.send("eth0", d.c(UDP(sport=41000, dport=99) / b"x", dst="172.16.0.15")); d.send("eth0", d.c(UDP(sport=41000, dport=99) / b"x", dst="172.16.0.15", ttl=1)); d.send("eth0", d.c6(UDP(sport=41000, dport=99) / b"x", dst="fd01::15")); d.stats()
def case_host_sctp(d):
    """SCTP chunks to a VIP without such a service, and to a service without a server."""
    svc(d); d.send("eth0", d.c(SCTP(sport=5000, dport=9) / Raw(b"\x01\x00\x00\x14" + bytes(16)))); d.send("eth0", d.c(SCTP(sport=5000, dport=9) / Raw(b"\x00\x03\x00\x14" + bytes(16)))); d.adm("-A --sctp-service 10.9.9.9:9 -s rr"); d.send("eth0", d.c(SCTP(sport=5000, dport=9) / Raw(b"\x01\x00\x00\x14" + bytes(16)))); d.send("eth0", d.c(SCTP(sport=5000, dport=9) / Raw(b"\x00\x03\x00\x14" + bytes(16))))
