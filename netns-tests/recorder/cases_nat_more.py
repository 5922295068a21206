"""NAT, the corners: checksums, extension headers, ICMP errors and fragments both ways, TTL everywhere, what was deleted, bypass."""
from common import *
from scapy.all import IPv6ExtHdrRouting, RouterAlert, Jumbo
def both(d, rport=5353, extra=True):
    """NAT on UDP 53 and TCP 80, direct routing on 54, a tunnel on 55, of both families."""
    svc(d, "-u 10.9.9.9:53", servers=((1, ""),), rport=rport); svc(d, servers=((1, ""),), rport=8080); svc6(d, "-u [fd99::9]:53", servers=((1, ""),), rport=rport); svc6(d, servers=((1, ""),), rport=8080)
    if extra:
        for p, m in ((54, "-g"), (55, "-i")): svc(d, f"-u 10.9.9.9:{p}", servers=((p - 52, ""),), rport=p, mode=m); svc6(d, f"-u [fd99::9]:{p}", servers=((p - 52, ""),), rport=p, mode=m)
def q4(d, n=5, dport=53, sport=41000, **ip): return d.send("eth0", d.c(UDP(sport=sport, dport=dport) / pat(n), **ip))
def q6(d, n=5, dport=53, sport=41000, **ip): return d.send("eth0", d.c6(UDP(sport=sport, dport=dport) / pat(n), **ip))
def a4(d, n=5, rs=1, sport=5353, dport=41000, **ip): return d.send("eth1", d.r(rs, UDP(sport=sport, dport=dport) / pat(n), dst=C4, **ip))
def a6(d, n=5, rs=1, sport=5353, dport=41000, **ip): return d.send("eth1", d.r6(rs, UDP(sport=sport, dport=dport) / pat(n), dst=C6, **ip))
def x6(d, exts, l4, dev="eth0", rs=1, **ip):
    p = IPv6(src=C6, dst=VIP6, **ip) if dev == "eth0" else IPv6(src=RS[rs][1], dst=C6, **ip)
    for e in exts: p = p / e
    return d.send(dev, (E0 if dev == "eth0" else E1(rs)) / p / l4)
HBH, HBH_RA = IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(4))]), IPv6ExtHdrHopByHop(options=[RouterAlert()])
DST, DST_LONG = IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))]), IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(100))])
RT0, RT0_LEFT = IPv6ExtHdrRouting(type=0, segleft=0, addresses=["fd00::77"]), IPv6ExtHdrRouting(type=0, segleft=1, addresses=["fd00::77"])
RT2, RT9 = IPv6ExtHdrRouting(type=2, segleft=0, addresses=["fd00::77"]), IPv6ExtHdrRouting(type=9, segleft=0, addresses=["fd00::77"])
CHAINS = ([HBH], [DST], [DST_LONG], [HBH, DST], [DST, DST], [RT0], [RT2], [RT9], [HBH, RT2, DST], [DST, HBH])
def case_nat_ext_requests(d):
    """IPv6 requests with extension headers by NAT, direct routing and tunnel: hop-by-hop, destination options, routing headers, several."""
    both(d)
    for p in (53, 54, 55):
        q6(d, dport=p)
        for c in CHAINS: x6(d, c, UDP(sport=41000, dport=p) / b"hello")
    d.send("eth0", E0 / IPv6(src=C6, dst=VIP6) / DST / TCP(sport=40000, dport=80, flags="S", seq=1)); x6(d, [HBH], TCP(sport=40000, dport=80, flags="A", seq=2, ack=9)); x6(d, [DST], UDP(sport=41009, dport=53) / b"new"); x6(d, [DST], UDP(sport=41009, dport=99) / b"closed"); d.show("-Lnc"); d.stats()
def case_nat_ext_replies(d):
    """IPv6 replies with extension headers; such packets of no connection."""
    both(d, extra=False); q6(d); syn6(d, 40000)
    for c in CHAINS: x6(d, c, UDP(sport=5353, dport=41000) / b"hello", "eth1")
    for c in CHAINS: x6(d, c, UDP(sport=9999, dport=41000) / b"hello", "eth1")
    x6(d, [DST], TCP(sport=8080, dport=40000, flags="SA", seq=1, ack=2), "eth1"); d.show("-Lnc"); d.stats()
def case_nat_ext_refused(d):
    """Extension headers that are refused: a routing header with segments left, unknown options of each kind, a header that ends too early, no next header, hop-by-hop in the wrong place; both ways."""
    both(d, extra=False); q6(d); raw_opt = lambda cls, kind, n=4: cls(options=[PadN(otype=kind, optdata=bytes(n))])
    for dev, l4 in (("eth0", UDP(sport=41000, dport=53) / b"hello"), ("eth1", UDP(sport=5353, dport=41000) / b"hello")):
        x6(d, [RT0_LEFT], l4, dev)
        for kind in (0x3e, 0x7e, 0xbe, 0xfe): x6(d, [raw_opt(IPv6ExtHdrHopByHop, kind)], l4, dev); x6(d, [raw_opt(IPv6ExtHdrDestOpt, kind)], l4, dev)
        x6(d, [HBH_RA], l4, dev)
        p = IPv6(src=C6, dst=VIP6, nh=60) if dev == "eth0" else IPv6(src=RS[1][1], dst=C6, nh=60); e = E0 if dev == "eth0" else E1(1)
        d.send(dev, e / p / Raw(b"\x11\x09" + bytes(14))); d.send(dev, e / p / Raw(b"\x11")); d.send(dev, e / p / Raw(b"")); d.send(dev, e / p / Raw(b"\x3b\0" + bytes(6))); x6(d, [HBH, HBH], l4, dev)
    d.show("-Lnc"); d.stats()
def case_nat_ext_errors(d):
    """ICMP errors the director sends about IPv6 packets with extension headers: no server, closed port, hop limit, too big."""
    both(d); d.adm("-A -u [fd99::9]:56 -s rr"); q6(d)
    for c in ([HBH], [DST], [HBH, DST], [RT2], [DST_LONG]):
        x6(d, c, UDP(sport=41000, dport=56) / b"x"); x6(d, c, UDP(sport=41000, dport=99) / b"x"); x6(d, c, UDP(sport=41000, dport=53) / b"x", hlim=1); x6(d, c, UDP(sport=41000, dport=53) / pat(1300)); x6(d, c, UDP(sport=5353, dport=41000) / pat(10), "eth1", hlim=1)
        for p in (54, 55): x6(d, c, UDP(sport=41000, dport=p) / pat(1300)); x6(d, c, UDP(sport=41000, dport=p) / b"x", hlim=1)
case_nat_ext_errors.lab = {"mtu1": 1300}
def case_nat_ext_quoted(d):
    """ICMPv6 errors whose own headers, or those of what they quote, have extension headers, both ways."""
    both(d, extra=False); q6(d); a6(d); uq, ur = raw(UDP(sport=41000, dport=5353) / pat(8)), raw(UDP(sport=53, dport=41000) / pat(8)); un = ICMPv6DestUnreach(code=4)
    for c in ([], [HBH], [DST], [HBH, DST], [RT2], [DST_LONG]):
        def q(src, dst, nh, l4):
            p = IPv6(src=src, dst=dst)
            for e in c: p = p / e
            b = bytearray(raw(p / UDP(l4))); return Raw(bytes(b))
        qs, qc = q(C6, RS[1][1], 17, uq), q(VIP6, C6, 17, ur); x6(d, [], un / qs, "eth1"); x6(d, [], un / qc)
        x6(d, c, un / Raw(raw(IPv6(src=C6, dst=RS[1][1]) / UDP(uq))), "eth1"); x6(d, c, un / Raw(raw(IPv6(src=VIP6, dst=C6) / UDP(ur))))
    d.stats()
def case_nat_checksum_zero(d):
    """UDP without a checksum through NAT both ways, IPv4 and IPv6, with options, of odd length, in fragments; direct routing and tunnel leave it."""
    both(d); u = lambda s, p, n: UDP(sport=s, dport=p, chksum=0) / pat(n)
    for n in (0, 1, 7, 100, 1471): d.send("eth0", d.c(u(41000, 53, n))); d.send("eth1", d.r(1, u(5353, 41000, n), dst=C4)); d.send("eth0", d.c6(u(41000, 53, min(n, 1451)))); d.send("eth1", d.r6(1, u(5353, 41000, min(n, 1451)), dst=C6))
    d.send("eth0", d.c(u(41000, 53, 9), options=[IPOption_NOP()] * 4)); x6(d, [DST], u(41000, 53, 9)); x6(d, [DST], u(5353, 41000, 9), "eth1")
    for p in (54, 55): d.send("eth0", d.c(u(41000, p, 3))); d.send("eth0", d.c6(u(41000, p, 3)))
    for f in frag4(IP(src=RS[1][0], dst=C4, id=3) / u(5353, 41000, 1500), (800,), E1(1)): d.send("eth1", f)
    for f in frag6(IPv6(src=C6, dst=VIP6) / u(41000, 53, 1500), (800,), E0, 3): d.send("eth0", f)
    for f in frag6(IPv6(src=RS[1][1], dst=C6) / u(5353, 41000, 1500), (800,), E1(1), 4): d.send("eth1", f)
    d.send("eth0", d.c(UDP(sport=41000, dport=53, chksum=0, len=30) / b"x")); d.send("eth0", d.c(UDP(sport=41000, dport=53, chksum=0, len=9) / b"longer")); d.send("eth1", d.r(1, UDP(sport=5353, dport=41000, chksum=0, len=30) / b"x", dst=C4)); d.stats()
def case_nat_checksum_ipv6(d):
    """IPv6: corrupt TCP and UDP checksums stay corrupt both ways; ones that come out as zero; 0xffff."""
    both(d, extra=False); syn6(d, 40000); q6(d)
    for ck in (0, 1, 0x1234, 0xffff):
        d.send("eth0", d.c6(TCP(sport=40000, dport=80, flags="PA", seq=2, ack=9, chksum=ck) / b"odd")); d.send("eth1", d.r6(1, TCP(sport=8080, dport=40000, flags="PA", seq=9, ack=2, chksum=ck) / b"odd", dst=C6))
        d.send("eth0", d.c6(UDP(sport=41000, dport=53, chksum=ck) / b"odd")); d.send("eth1", d.r6(1, UDP(sport=5353, dport=41000, chksum=ck) / b"odd", dst=C6))
    data = raw(IPv6(src=C6, dst=RS[1][1]) / UDP(sport=41000, dport=5353) / b"\0\0")[46:48]; d.send("eth0", d.c6(UDP(sport=41000, dport=53) / data)); data = raw(IPv6(src=VIP6, dst=C6) / UDP(sport=53, dport=41000) / b"\0\0")[46:48]; d.send("eth1", d.r6(1, UDP(sport=5353, dport=41000) / data, dst=C6)); d.stats()
def case_nat_options_replies(d):
    """IP options of replies and of packets that answer nothing: padding, record route (room for none, one, two), router alert, source routes, timestamps that are full, a broken one; end of options early."""
    both(d, extra=False); d.open_nat(40000, rport=8080)
    rr = lambda n, at: [IPOption_RR(routers=["0.0.0.0"] * n, pointer=at)]; o = ([IPOption_NOP()] * 4, rr(1, 4), rr(2, 4), rr(2, 8), rr(1, 8), rr(2, 5), [IPOption_Router_Alert()], [IPOption(b"\x83\x07\x04\x0a\x00\x00\x07\x00")], [IPOption(b"\x89\x07\x08\x0a\x00\x00\x07\x00")], [IPOption(b"\x89\x07\x04\x0a\x00\x00\x07\x00")],
        [IPOption(b"\x44\x08\x09\x00" + bytes(4))], [IPOption(b"\x44\x08\x09\xf0" + bytes(4))], [IPOption(b"\x44\x03\x05\x00")], [IPOption(b"\x07\x02\x04\x00")], [IPOption(b"\x9e\x09\x01\x02")], [IPOption(b"\x00\x9e\x01\x02")], [IPOption(b"\x94\x05\0\0\0\0\0\0")], [IPOption(b"\x86\x06\0\0\0\1\0\0")], [IPOption(b"\x82\x0b" + bytes(10))])
    for x in o: rtcp(d, 1, "A", sport=8080, options=x); tcp(d, "A", options=x); rtcp(d, 1, "A", sport=9999, options=x)
    for x in o: tcp(d, "A", dport=81, options=x)
    d.show("-Lnc"); d.stats()
def case_nat_options_timestamp(d):
    """Timestamp options with room: the director enters the time, which no two runs agree on."""
    both(d, extra=False); d.open_nat(40000, rport=8080); o = [IPOption(b"\x44\x08\x05\x10" + bytes(4))]; rtcp(d, 1, "A", sport=8080, options=o); tcp(d, "A", options=o); tcp(d, "A", dport=81, options=o)
def case_nat_icmp_route(d):
    """ICMP errors with options of several lengths in their own header: no-operations, routes with room and without, by NAT and direct routing, both ways."""
    both(d); q4(d); a4(d); q4(d, dport=54); ic = ICMP(type=3, code=3)
    for o in ([IPOption_NOP()] * 8, [IPOption_NOP()] * 12, [IPOption_RR(routers=["0.0.0.0"], pointer=4)], [IPOption_RR(routers=["1.2.3.4"], pointer=8)], [IPOption_RR(routers=["0.0.0.0"] * 2, pointer=8)], [IPOption_NOP(), IPOption_RR(routers=["0.0.0.0"] * 3, pointer=4)]):
        d.send("eth1", d.r(1, ic / IP(src=C4, dst=RS[1][0]) / UDP(sport=41000, dport=5353) / b"hello!", dst=C4, options=o)); d.send("eth0", d.c(ic / IP(src=VIP, dst=C4) / UDP(sport=53, dport=41000) / b"hello!", options=o)); d.send("eth0", d.c(ic / IP(src=VIP, dst=C4) / UDP(sport=54, dport=41000) / b"hello!", options=o))
        d.send("eth1", d.r(1, ic / IP(src=C4, dst=RS[1][0]) / UDP(sport=5, dport=5353) / b"hello!", dst=C4, options=o)); d.send("eth1", d.r(1, ICMP(type=8) / b"x", dst=C4, options=o))
    d.stats()
def case_nat_ttl_everywhere(d):
    """TTL and hop limit 0, 1 and 2 of everything: requests, replies, what answers nothing, ICMP errors both ways, pings, closed ports, no server, fragments."""
    both(d); d.adm("-A -u 10.9.9.9:56 -s rr"); d.adm("-A -u [fd99::9]:56 -s rr")
    for p in (53, 54, 55): q4(d, dport=p); q6(d, dport=p)
    for t in (0, 1, 2):
        for p in (53, 54, 55, 56, 99): q4(d, dport=p, ttl=t); q6(d, dport=p, hlim=t); q4(d, dport=p, sport=42000 + t, ttl=t); q6(d, dport=p, sport=42000 + t, hlim=t)
        a4(d, ttl=t); a6(d, hlim=t); a4(d, sport=9999, ttl=t); a6(d, sport=9999, hlim=t); d.send("eth0", d.c(ICMP(type=8, id=1, seq=t), ttl=t)); d.send("eth0", d.c6(ICMPv6EchoRequest(id=1, seq=t), hlim=t)); tcp(d, "S", dport=99, ttl=t); tcp6(d, "S", dport=99, hlim=t)
        d.send("eth1", d.r(1, ICMP(type=3, code=3) / IP(src=C4, dst=RS[1][0]) / UDP(sport=41000, dport=5353) / b"hello", dst=C4, ttl=t)); d.send("eth1", d.r6(1, ICMPv6DestUnreach(code=4) / IPv6(src=C6, dst=RS[1][1]) / UDP(sport=41000, dport=5353) / b"hello", dst=C6, hlim=t))
        for p in (53, 54, 55): d.send("eth0", d.c(ICMP(type=3, code=3) / IP(src=VIP, dst=C4) / UDP(sport=p, dport=41000) / b"hello", ttl=t)); d.send("eth0", d.c6(ICMPv6DestUnreach(code=4) / IPv6(src=VIP6, dst=C6) / UDP(sport=p, dport=41000) / b"hello", hlim=t))
        for f in frag4(IP(src=RS[1][0], dst=C4, id=60 + t, ttl=t) / UDP(sport=5353, dport=41000) / pat(1500), (800,), E1(1)): d.send("eth1", f)
        for f in frag6(IPv6(src=RS[1][1], dst=C6, hlim=t) / UDP(sport=5353, dport=41000) / pat(1500), (800,), E1(1), 60 + t): d.send("eth1", f)
    d.show("-Lnc"); d.stats()
def case_nat_icmp6_types(d):
    """ICMPv6 errors of every type and code and unknown ones, both ways, to a NAT, a direct-routing and a tunnel service."""
    both(d)
    for p in (53, 54, 55): q6(d, dport=p)
    a6(d); kinds = [(1, c) for c in range(7)] + [(2, 0), (2, 5), (3, 0), (3, 1), (4, 0), (4, 1), (4, 2), (5, 0), (100, 0), (127, 0), (0, 0)]
    for t, c in kinds:
        m = lambda q, src, dst: IPv6(src=src, dst=dst) / Raw(bytes([t, c, 0, 0, 0, 0, 5, 0x14]) + raw(q))
        def put(dev, eth, src, dst, q):
            from scapy.all import in6_chksum
            body = bytes([t, c, 0, 0, 0, 0, 5, 0x14]) + raw(q); ck = in6_chksum(58, IPv6(src=src, dst=dst), body); d.send(dev, eth / IPv6(src=src, dst=dst, nh=58) / Raw(body[:2] + ck.to_bytes(2, "big") + body[4:]))
        put("eth1", E1(1), RS[1][1], C6, IPv6(src=C6, dst=RS[1][1]) / UDP(sport=41000, dport=5353) / b"hello")
        for p in (53, 54, 55): put("eth0", E0, C6, VIP6, IPv6(src=VIP6, dst=C6) / UDP(sport=p, dport=41000) / b"hello")
    d.show("-Lnc"); d.stats()
def case_nat_icmp6_quotes(d):
    """ICMPv6 errors that quote too little, a fragment, another protocol, TCP; from routers, to other addresses of the director; of no connection."""
    both(d, extra=False); q6(d); a6(d); syn6(d, 40000); un = ICMPv6DestUnreach(code=4)
    qs, qc = raw(IPv6(src=C6, dst=RS[1][1]) / UDP(sport=41000, dport=5353) / pat(40)), raw(IPv6(src=VIP6, dst=C6) / UDP(sport=53, dport=41000) / pat(40))
    for n in (0, 20, 39, 40, 43, 44, 48, 60): d.send("eth1", d.r6(1, un / Raw(qs[:n]), dst=C6)); d.send("eth0", d.c6(un / Raw(qc[:n])))
    for off, m in ((0, 1), (0, 0), (9, 1), (9, 0)):
        f = IPv6ExtHdrFragment(nh=17, offset=off, m=m, id=7); d.send("eth1", d.r6(1, un / Raw(raw(IPv6(src=C6, dst=RS[1][1]) / f / UDP(sport=41000, dport=5353) / pat(8))), dst=C6)); d.send("eth0", d.c6(un / Raw(raw(IPv6(src=VIP6, dst=C6) / f / UDP(sport=53, dport=41000) / pat(8)))))
    d.send("eth1", d.r6(1, un / IPv6(src=C6, dst=RS[1][1]) / TCP(sport=40000, dport=8080, flags="S", seq=1000), dst=C6)); d.send("eth0", d.c6(un / IPv6(src=VIP6, dst=C6) / TCP(sport=80, dport=40000, flags="SA", seq=1000)))
    d.send("eth1", Ether(src=RS_GW[2], dst=DIR1) / IPv6(src="fd01::fe", dst=C6) / ICMPv6TimeExceeded() / Raw(qs)); d.send("eth0", d.c6(ICMPv6TimeExceeded() / Raw(qc), src="2001:db8::1")); d.send("eth0", d.c6(un / Raw(qc), dst="fd00::1")); d.send("eth1", d.r6(1, un / Raw(qs), dst="fd01::1")); d.send("eth1", d.r6(1, un / Raw(qs), dst=VIP6))
    d.send("eth1", d.r6(1, un / IPv6(src=C6, dst=RS[1][1]) / UDP(sport=5, dport=5353) / b"hello", dst=C6)); d.send("eth0", d.c6(un / IPv6(src=VIP6, dst=C6) / UDP(sport=53, dport=5) / b"hello")); d.send("eth0", d.c6(un / IPv6(src=VIP6, dst=C6) / ICMPv6EchoRequest())); d.send("eth0", d.c6(un / IPv6(src=VIP6, dst=C6) / ICMPv6DestUnreach() / Raw(qc[:48]))); d.stats()
def case_nat_icmp_sizes(d):
    """A client's ICMP errors longer than the servers' MTU, in fragments and whole, with DF and without, both families, by NAT, direct routing and tunnel."""
    both(d); uc = lambda p: UDP(sport=p, dport=41000) / pat(1400)
    for p in (53, 54, 55): q4(d, dport=p); q6(d, dport=p)
    for n in (1212, 1213, 1232, 1233, 1252, 1253, 1400):
        for p in (53, 54, 55): d.send("eth0", d.c(ICMP(type=3, code=3) / Raw(raw(IP(src=VIP, dst=C4) / uc(p))[:n]))); d.send("eth0", d.c(ICMP(type=3, code=3) / Raw(raw(IP(src=VIP, dst=C4) / uc(p))[:n]), flags="DF")); d.send("eth0", d.c6(ICMPv6DestUnreach(code=4) / Raw(raw(IPv6(src=VIP6, dst=C6) / uc(p))[:n])))
    for k, p in enumerate((53, 54, 55)):
        for n in (1200, 1400):
            for f in frag4(IP(src=C4, dst=VIP, id=n + k) / ICMP(type=3, code=3) / Raw(raw(IP(src=VIP, dst=C4) / uc(p))[:n]), (600,), E0): d.send("eth0", f)
            for f in frag6(IPv6(src=C6, dst=VIP6) / ICMPv6DestUnreach(code=4) / Raw(raw(IPv6(src=VIP6, dst=C6) / uc(p))[:n]), (600,), E0, n + k): d.send("eth0", f)
    d.stats()
case_nat_icmp_sizes.lab = {"mtu1": 1280}
def case_nat_icmp_sizes_replies(d):
    """The same of real servers' ICMP errors."""
    both(d, extra=False); q4(d); q6(d); us = lambda: UDP(sport=41000, dport=5353) / pat(1400)
    for n in (1212, 1232, 1233, 1252, 1253, 1400): d.send("eth1", d.r(1, ICMP(type=3, code=3) / Raw(raw(IP(src=C4, dst=RS[1][0]) / us())[:n]), dst=C4)); d.send("eth1", d.r(1, ICMP(type=3, code=3) / Raw(raw(IP(src=C4, dst=RS[1][0]) / us())[:n]), dst=C4, flags="DF")); d.send("eth1", d.r6(1, ICMPv6DestUnreach(code=4) / Raw(raw(IPv6(src=C6, dst=RS[1][1]) / us())[:n]), dst=C6))
    for n in (1200, 1400):
        for f in frag4(IP(src=RS[1][0], dst=C4, id=n) / ICMP(type=3, code=3) / Raw(raw(IP(src=C4, dst=RS[1][0]) / us())[:n]), (600,), E1(1)): d.send("eth1", f)
        for f in frag6(IPv6(src=RS[1][1], dst=C6) / ICMPv6DestUnreach(code=4) / Raw(raw(IPv6(src=C6, dst=RS[1][1]) / us())[:n]), (600,), E1(1), n): d.send("eth1", f)
    d.stats()
case_nat_icmp_sizes_replies.lab = {"mtu0": 1280}
def case_nat_icmp_options(d):
    """ICMP errors with IP options of their own, and in what they quote, both ways."""
    both(d, extra=False); q4(d); a4(d); ic = ICMP(type=3, code=3); rr = [IPOption_RR(routers=["0.0.0.0"] * 2, pointer=4)]
    for o in ([IPOption_NOP()] * 4, rr, [IPOption_Router_Alert()]):
        qs, qc = IP(src=C4, dst=RS[1][0], options=o) / UDP(sport=41000, dport=5353) / b"hello", IP(src=VIP, dst=C4, options=o) / UDP(sport=53, dport=41000) / b"hello"
        d.send("eth1", d.r(1, ic / Raw(raw(qs)), dst=C4)); d.send("eth0", d.c(ic / Raw(raw(qc)))); qs.options, qc.options = [], []; qs.ihl = qc.ihl = None
        d.send("eth1", d.r(1, ic / Raw(raw(IP(src=C4, dst=RS[1][0]) / UDP(sport=41000, dport=5353) / b"hello")), dst=C4, options=o)); d.send("eth0", d.c(ic / Raw(raw(IP(src=VIP, dst=C4) / UDP(sport=53, dport=41000) / b"hello")), options=o))
    d.stats()
def case_nat_deleted_ipv6(d):
    """IPv6: a server deleted under its connections, then the service, with another left and without: requests, replies, ICMP errors both ways; then all added again."""
    svc6(d, "-u [fd99::9]:53", servers=((1, ""),), rport=5353); svc6(d, "-u [fd99::9]:54", servers=((2, ""),), rport=54); svc(d, servers=((3, ""),))
    def round():
        q6(d); a6(d); d.send("eth1", d.r6(1, ICMPv6DestUnreach(code=4) / IPv6(src=C6, dst=RS[1][1]) / UDP(sport=41000, dport=5353) / b"hello", dst=C6)); d.send("eth0", d.c6(ICMPv6DestUnreach(code=4) / IPv6(src=VIP6, dst=C6) / UDP(sport=53, dport=41000) / b"hello")); d.show("-Lnc")
    round(); d.adm("-d -u [fd99::9]:53 -r [fd01::11]:5353"); round(); d.adm("-a -u [fd99::9]:53 -r [fd01::11]:5353 -m"); round(); d.adm("-D -u [fd99::9]:53"); round(); d.adm("-D -u [fd99::9]:54"); round(); svc6(d, "-u [fd99::9]:54", servers=((2, ""),), rport=54); round(); svc6(d, "-u [fd99::9]:53", servers=((1, ""),), rport=5353); round(); d.stats()
def case_nat_deleted_methods(d):
    """Direct routing and tunnels: a server deleted under its connections, then the service: requests, ICMP errors of the client, errors about the tunnel."""
    svc(d, "-u 10.9.9.9:54", servers=((2, ""),), rport=54, mode="-g"); svc(d, "-u 10.9.9.9:55", servers=((3, ""),), rport=55, mode="-i"); svc(d, servers=((4, ""),)); o = {}
    def round():
        for p in (54, 55): o[p] = q4(d, dport=p) or o[p]; d.send("eth0", d.c(ICMP(type=3, code=3) / IP(src=VIP, dst=C4) / UDP(sport=p, dport=41000) / b"hello"))
        d.send("eth1", d.r(3, ICMP(type=3, code=3) / Raw(o[55][0][1][14:]), dst="172.16.0.1")); d.send("eth1", d.r(2, ICMP(type=3, code=3) / IP(src=C4, dst=VIP) / UDP(sport=41000, dport=54) / b"hello", dst=C4)); d.show("-Lnc")
    round()
    for p, n in ((54, 2), (55, 3)): d.adm(f"-d -u 10.9.9.9:{p} -r {RS[n][0]}:{p}")
    round(); d.sysctl("expire_nodest_conn", 1); round(); d.sysctl("expire_nodest_conn", 0); d.adm("-a -u 10.9.9.9:54 -r 172.16.0.12:54 -g"); d.adm("-a -u 10.9.9.9:55 -r 172.16.0.13:55 -i"); round(); d.adm("-D -u 10.9.9.9:54"); d.adm("-D -u 10.9.9.9:55"); round(); d.adm("-D -t 10.9.9.9:80"); round(); d.stats()
def case_nat_deleted_icmp(d):
    """IPv4 NAT: ICMP errors both ways and stray replies once the server, then the service, then the last service are gone; nat_icmp_send meanwhile."""
    svc(d, "-u 10.9.9.9:53", servers=((1, ""),), rport=5353); svc(d, "-u 10.9.9.9:54", servers=((2, ""),), rport=54)
    def round(): q4(d); a4(d); d.send("eth1", d.r(1, ICMP(type=3, code=3) / IP(src=C4, dst=RS[1][0]) / UDP(sport=41000, dport=5353) / b"hello", dst=C4)); d.send("eth0", d.c(ICMP(type=3, code=3) / IP(src=VIP, dst=C4) / UDP(sport=53, dport=41000) / b"hello")); a4(d, dport=42000); a4(d, sport=9999)
    round(); d.sysctl("nat_icmp_send", 1); round(); d.adm("-d -u 10.9.9.9:53 -r 172.16.0.11:5353"); round(); d.adm("-D -u 10.9.9.9:53"); round(); d.adm("-D -u 10.9.9.9:54"); round(); d.stats()
def case_nat_icmp_send_ipv6(d):
    """nat_icmp_send with IPv6: strays of a NAT server, of TCP with RST and without, of others."""
    both(d); d.sysctl("nat_icmp_send", 1); a6(d, dport=42000); a6(d, sport=9999); rtcp6(d, 1, "SA", sport=8080, dport=50000); rtcp6(d, 1, "R", sport=8080, dport=50000); a6(d, rs=2, sport=54); a6(d, dport=42000, n=1400, tc=0x2c); x6(d, [DST], UDP(sport=5353, dport=42000) / b"x", "eth1"); a6(d, dport=42000, hlim=1)
def case_nat_no_way_back(d):
    """Replies to clients that no route leads to, or that are on the servers' own link or behind its router; and requests from there."""
    sh("ip -n dir route add unreachable 192.0.2.0/24; ip -n dir -6 route add unreachable fd66::/64"); d.note("192.0.2.0/24 and fd66::/64 are unreachable"); both(d, extra=False)
    q4(d, src="192.0.2.9"); q6(d, src="fd66::9"); d.send("eth1", d.r(1, UDP(sport=5353, dport=41000) / b"re", dst="192.0.2.9")); d.send("eth1", d.r6(1, UDP(sport=5353, dport=41000) / b"re", dst="fd66::9"))
    for src, n in (("192.168.77.9", 4), (RS[5][0], 4)): d.send("eth1", Ether(src=RS_GW[2], dst=DIR1) / IP(src=src, dst=VIP, id=5) / UDP(sport=41001, dport=53) / b"x"); d.send("eth1", d.r(1, UDP(sport=5353, dport=41001) / b"re", dst=src))
    for src in ("fd77::9", RS[5][1]): d.send("eth1", Ether(src=RS_GW[2], dst=DIR1) / IPv6(src=src, dst=VIP6) / UDP(sport=41001, dport=53) / b"x"); d.send("eth1", d.r6(1, UDP(sport=5353, dport=41001) / b"re", dst=src))
    d.show("-Lnc"); d.stats()
def case_nat_sctp_corners(d):
    """SCTP through NAT: checksums wrong and zero, with the port changed and not, both ways, ICMP errors both ways, fragments; IPv6."""
    svc(d, "--sctp-service 10.9.9.9:9", servers=((1, ""),), rport=9); svc(d, "--sctp-service 10.9.9.9:10", servers=((2, ""),), rport=1010); svc6(d, "--sctp-service [fd99::9]:10", servers=((2, ""),), rport=1010); init = Raw(b"\x01\x00\x00\x14" + bytes(16)); data = Raw(b"\x00\x03\x00\x14" + bytes(16))
    for p, rp, n in ((9, 9, 1), (10, 1010, 2)):
        for ck in (None, 0, 0x12345678):
            d.send("eth0", d.c(SCTP(sport=5000, dport=p, tag=1, chksum=ck) / init)); d.send("eth1", d.r(n, SCTP(sport=rp, dport=5000, tag=1, chksum=ck) / data, dst=C4)); d.send("eth0", d.c(SCTP(sport=5000, dport=p, tag=1, chksum=ck) / data, ttl=1))
        d.send("eth1", d.r(n, ICMP(type=3, code=3) / IP(src=C4, dst=RS[n][0]) / SCTP(sport=5000, dport=rp, tag=1) / init, dst=C4)); d.send("eth0", d.c(ICMP(type=3, code=3) / IP(src=VIP, dst=C4) / SCTP(sport=p, dport=5000, tag=1) / init))
        for f in frag4(IP(src=C4, dst=VIP, id=p) / SCTP(sport=5000, dport=p, tag=1) / Raw(b"\x00\x03\x04\x14" + pat(1040)), (600,), E0): d.send("eth0", f)
    for ck in (None, 0): d.send("eth0", d.c6(SCTP(sport=5000, dport=10, tag=1, chksum=ck) / init)); d.send("eth1", d.r6(2, SCTP(sport=1010, dport=5000, tag=1, chksum=ck) / data, dst=C6))
    d.show("-Lnc"); d.stats()
def case_bypass_corners(d):
    """cache_bypass: MTU with DF and without, fragments, TTL, ICMP errors, replies, IPv6; then with a local destination."""
    d.mark("ip daddr 192.168.77.0/24", 1); d.mark("ip6 daddr fd77::/64", 1); sh("ip -n dir rule add fwmark 1 lookup 100; ip -n dir route add local default dev lo table 100; ip -n dir -6 rule add fwmark 1 lookup 100; ip -n dir -6 route add local default dev lo table 100"); d.note("what carries mark 1 is local to the director, by a policy rule")
    d.adm("-A -f 1 -s rr"); d.adm("-A -f 1 -6 -s rr"); d.sysctl("cache_bypass", 1); B4, B6 = "192.168.77.7", "fd77::7"
    for n in (10, 1272, 1273, 1400): q4(d, n, dst=B4); q4(d, n, dst=B4, flags="DF"); q6(d, min(n, 1400), dst=B6)
    for t in (0, 2): q4(d, dst=B4, ttl=t); q6(d, dst=B6, hlim=t)
    for f in frag4(IP(src=C4, dst=B4, id=3) / UDP(sport=41000, dport=53) / pat(1500), (800,), E0): d.send("eth0", f)
    for f in frag6(IPv6(src=C6, dst=B6) / UDP(sport=41000, dport=53) / pat(1500), (800,), E0, 3): d.send("eth0", f)
    d.send("eth0", d.c(ICMP(type=3, code=3) / IP(src=B4, dst=C4) / UDP(sport=53, dport=41000) / b"hello", dst=B4)); d.send("eth0", d.c(ICMP(type=8), dst=B4)); tcp(d, "A", dst=B4); d.send("eth1", Ether(src=RS_GW[2], dst=DIR1) / IP(src=B4, dst=C4) / UDP(sport=53, dport=41000) / b"re"); d.show("-Lnc"); d.show("-Ln"); d.stats()
case_bypass_corners.lab = {"mtu1": 1300}
