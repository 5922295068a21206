"""Fragments."""
from common import *
def u4(n, dport=53, sport=41000, id=100, chksum=None, **ip): return IP(src=C4, dst=VIP, id=id, **ip) / UDP(sport=sport, dport=dport, chksum=chksum) / pat(n - 8)
def ru4(n, sport=53, dport=41000, id=200, rs=1, **ip): return IP(src=RS[rs][0], dst=C4, id=id, **ip) / UDP(sport=sport, dport=dport) / pat(n - 8)
def u6(n, dport=53, sport=41000): return IPv6(src=C6, dst=VIP6) / UDP(sport=sport, dport=dport) / pat(n - 8)
def ru6(n, sport=53, dport=41000, rs=1): return IPv6(src=RS[rs][1], dst=C6) / UDP(sport=sport, dport=dport) / pat(n - 8)
def go(d, frames, order=None, dev="eth0"):
    for i in order or range(len(frames)): d.send(dev, frames[i])
def three(d):
    """NAT on port 53, DR on 54, a tunnel on 55."""
    svc(d, "-u 10.9.9.9:53", servers=((1, ""),), rport=5353); svc(d, "-u 10.9.9.9:54", servers=((2, ""),), rport=54, mode="-g"); svc(d, "-u 10.9.9.9:55", servers=((3, ""),), rport=55, mode="-i")

def case_frag_order(d):
    """Fragments in order, reversed, the middle one last, the first one last, and twice each, to a NAT service."""
    svc(d, "-u 10.9.9.9:53", servers=((1, ""),), rport=5353)
    for k, o in enumerate(((0, 1, 2), (2, 1, 0), (0, 2, 1), (1, 2, 0), (0, 0, 1, 1, 2, 2))): go(d, frag4(u4(2400, id=100 + k), (800, 1600), E0), o)
    d.show("-Lnc"); d.stats()
def case_frag_geometry(d):
    """Fragments of unequal size, small then large, large then small, and all small: by NAT, DR and tunnel."""
    three(d)
    for port in (53, 54, 55):
        for k, cuts in enumerate(((504,), (1400,), (8, 1304), (504, 1104, 1112), (1480,))): go(d, frag4(u4(1904, port, id=port * 16 + k), cuts, E0))
    d.stats()
def case_frag_geometry_mtu(d):
    """The same to a link of MTU 1300, some with DF on the fragments."""
    three(d)
    for port in (53, 54, 55):
        for k, cuts in enumerate(((504,), (1400,), (480, 960, 1440), (976,), (1272,), (1280,))): go(d, frag4(u4(1904, port, id=port * 16 + k), cuts, E0))
        for k, cuts in enumerate(((504,), (480, 960, 1440), (976,), (1280,))): go(d, frag4(u4(1904, port, id=port * 16 + 8 + k), cuts, E0, df=True))
case_frag_geometry_mtu.lab = {"mtu1": 1300}
def case_frag_df(d):
    """Fragments that carry DF (all, or only one of them), in a link of full MTU."""
    three(d)
    for port in (53, 54, 55):
        for k, cuts in enumerate(((504,), (1400,), (600, 1200), (1480,))): go(d, frag4(u4(1904, port, id=port * 16 + k), cuts, E0, df=True))
        a, b = frag4(u4(1904, port, id=port * 16 + 9), (1400,), E0); b[IP].flags |= "DF"; go(d, [a, b]); a, b = frag4(u4(1904, port, id=port * 16 + 10), (1400,), E0); a[IP].flags |= "DF"; go(d, [a, b])
    d.sysctl("pmtu_disc", 0); go(d, frag4(u4(1904, 55, id=900), (1400,), E0, df=True)); go(d, frag4(u4(1904, 55, id=901), (504,), E0))
def case_frag_whole_fits(d):
    """Fragments whose whole fits the link: the datagram goes on in one piece or in the pieces it came in?"""
    three(d)
    for port in (53, 54, 55):
        for k, cuts in enumerate(((304,), (304, 608), (1192,))): go(d, frag4(u4(1200, port, id=port * 16 + k), cuts, E0))
        go(d, frag4(u4(1480, port, id=port * 16 + 4), (744,), E0)); go(d, frag4(u4(1472, port, id=port * 16 + 5), (744,), E0)); go(d, frag4(u4(1460, port, id=port * 16 + 6), (744,), E0)); go(d, frag4(u4(1464, port, id=port * 16 + 7), (744,), E0))
def case_frag_gap_overlap(d):
    """Overlaps, a gap, a changed duplicate, a piece beyond the end, a piece of a length that is no multiple of 8, two datagrams mixed; what comes to nothing."""
    svc(d, "-u 10.9.9.9:53", servers=((1, ""),), rport=5353)
    P = lambda at, end, mf, id: piece(u4(1600, id=id), at, end, E0, mf)
    go(d, [P(0, 800, True, 1), P(400, 1600, False, 1)]); go(d, [P(0, 400, True, 2), P(800, 1600, False, 2)]); d.send("eth0", P(400, 800, True, 2)); go(d, [P(0, 800, True, 3), P(0, 400, True, 3), P(800, 1600, False, 3)])
    go(d, [P(0, 800, True, 4), P(800, 1600, False, 4), P(800, 1600, False, 4)]); go(d, [P(800, 1600, False, 5), P(1600, 1608, True, 5), P(0, 800, True, 5)]); go(d, [P(0, 804, True, 6), P(800, 1600, False, 6)])
    go(d, [P(0, 800, True, 7), P(0, 800, True, 8), P(800, 1600, False, 8), P(800, 1600, False, 7)]); other = frag4(u4(1600, id=9), (800,), E0); two = IP(src=CLIENTS[2][0], dst=VIP, id=9) / UDP(sport=41000, dport=53) / pat(1592); mix = frag4(two, (800,), E0); go(d, [other[0], mix[1], mix[0], other[1]]); d.stats()
def case_frag_first_small(d):
    """A first fragment without the whole transport header: UDP and TCP; first fragments of 8 bytes."""
    svc(d, "-u 10.9.9.9:53", servers=((1, ""),), rport=5353); svc(d, servers=((2, ""),), rport=8080)
    go(d, frag4(u4(200, id=1), (8,), E0)); s = IP(src=C4, dst=VIP, id=2) / TCP(sport=40000, dport=80, flags="S", seq=1000, options=[("MSS", 1460), ("NOP", None), ("WScale", 7)]); go(d, frag4(s, (8,), E0)); go(d, frag4(s, (8, 16, 24), E0), (3, 1, 0, 2)); rtcp(d, 2, "SA", sport=8080, seq=9000)
    p = IP(src=C4, dst=VIP, id=3) / TCP(sport=40000, dport=80, flags="PA", seq=1001, ack=9001) / pat(2000); go(d, frag4(p, (16, 1016), E0)); d.show("-Lnc"); d.stats()
def case_frag_tcp(d):
    """TCP segments in fragments: NAT, DR, tunnel; an ACK in fragments of no connection."""
    svc(d, servers=((1, ""),), rport=8080); svc(d, "-t 10.9.9.9:81", servers=((2, ""),), rport=81, mode="-g"); svc(d, "-t 10.9.9.9:82", servers=((3, ""),), rport=82, mode="-i")
    for port in (80, 81, 82):
        d.syn(40000, dport=port); p = IP(src=C4, dst=VIP, id=port, tos=0x28) / TCP(sport=40000, dport=port, flags="PA", seq=1001, ack=9001) / pat(2500); go(d, frag4(p, (1480,), E0)); p.id += 100; go(d, frag4(p, (504, 1904), E0))
    p = IP(src=C4, dst=VIP, id=9) / TCP(sport=40005, dport=80, flags="PA", seq=1001, ack=9001) / pat(1500); go(d, frag4(p, (800,), E0)); d.stats()
def case_frag_replies(d):
    """Fragmented replies of a NATed server: equal, unequal, reversed, larger than the client's MTU; fragments of no connection."""
    svc(d, "-u 10.9.9.9:53", servers=((1, ""),), rport=5353); d.udp(41000); e = E1(1)
    for k, (cuts, o) in enumerate((((1400,), None), ((504,), None), ((504, 1504), (2, 1, 0)), ((744,), (1, 0)))): go(d, frag4(ru4(1900, 5353, id=200 + k), cuts, e), o, "eth1")
    go(d, frag4(ru4(1900, 9999, id=220), (504,), e), None, "eth1"); go(d, frag4(ru4(1900, 9999, id=221), (1400,), e), (1, 0), "eth1"); go(d, frag4(ru4(1200, 5353, id=222), (600,), e, df=True), None, "eth1"); d.stats()
def case_frag_replies_mtu(d):
    """The same with an MTU of 1300 towards the client."""
    svc(d, "-u 10.9.9.9:53", servers=((1, ""),), rport=5353); d.udp(41000); e = E1(1)
    for k, (cuts, o) in enumerate((((1400,), None), ((504,), None), ((480, 960, 1440), None), ((744,), (1, 0)))): go(d, frag4(ru4(1900, 5353, id=200 + k), cuts, e), o, "eth1")
    for k, cuts in enumerate(((1400,), (504, 1008, 1512), (976,))): go(d, frag4(ru4(1900, 5353, id=240 + k), cuts, e, df=True), None, "eth1")
    go(d, frag4(ru4(1900, 9999, id=230), (1400,), e), None, "eth1"); go(d, frag4(ru4(1900, 9999, id=231), (504, 1008), e), None, "eth1"); d.stats()
case_frag_replies_mtu.lab = {"mtu0": 1300}
def case_frag_ttl_checksum(d):
    """Fragments with different TTL and TOS, with TTL 1, a UDP checksum of 0 and a wrong one, options on the first, a closed port, no server."""
    svc(d, "-u 10.9.9.9:53", servers=((1, ""),), rport=5353); d.adm("-A -u 10.9.9.9:54 -s rr")
    a, b = frag4(u4(2000, id=1), (1000,), E0); a[IP].ttl, b[IP].ttl = 9, 30; go(d, [a, b]); a, b = frag4(u4(2000, id=2), (1000,), E0); a[IP].ttl = 1; go(d, [a, b]); a, b = frag4(u4(2000, id=3), (1000,), E0); b[IP].ttl = 1; go(d, [a, b])
    a, b = frag4(u4(2000, id=4), (1000,), E0); a[IP].tos, b[IP].tos = 2, 3; go(d, [a, b]); a, b = frag4(u4(2000, id=5), (1000,), E0); a[IP].tos, b[IP].tos = 0, 1; go(d, [a, b]); a, b = frag4(u4(2000, id=6), (1000,), E0); a[IP].tos, b[IP].tos = 0x28, 0xb8; go(d, [a, b])
    go(d, frag4(u4(2000, id=7, chksum=0), (1000,), E0)); go(d, frag4(u4(2000, id=8, chksum=0x1234), (1000,), E0)); p = u4(2000, id=9, options=[IPOption_NOP()] * 4); a, b = frag4(p, (1000,), E0); b[IP].options = []; b[IP].ihl = None; go(d, [a, b]); p.id = 12; go(d, frag4(p, (1000,), E0))
    go(d, frag4(u4(2000, 54, id=10), (1000,), E0)); go(d, frag4(u4(2000, 55, id=11), (1000,), E0)); d.stats()
def case_frag_many(d):
    """A datagram of 8000 bytes in six fragments, in and out."""
    three(d); go(d, frag4(u4(8000, id=1), (1480, 2960, 4440, 5920, 7400), E0)); go(d, frag4(ru4(8000, 5353, id=2), (1480, 2960, 4440, 5920, 7400), E1(1)), None, "eth1"); go(d, frag4(u4(8000, 54, id=3), (1480, 2960, 4440, 5920, 7400), E0)); go(d, frag4(u4(8000, 55, id=4), (1480, 2960, 4440, 5920, 7400), E0)); d.stats()
def case_frag_tun_types(d):
    """Fragmented datagrams into GRE, GUE and IPv6 tunnels."""
    for port, opt, rs in ((53, "--tun-type gre --tun-csum", RS[1][0]), (54, "--tun-type gue --tun-port 6080 --tun-csum", RS[2][0]), (55, "", f"[{RS[3][1]}]:55")): d.adm(f"-A -u 10.9.9.9:{port} -s rr"); d.adm(f"-a -u 10.9.9.9:{port} -r {rs} -i {opt}")
    for port in (53, 54, 55): go(d, frag4(u4(1904, port, id=port), (504,), E0)); go(d, frag4(u4(1904, port, id=port + 10), (1400,), E0)); go(d, frag4(u4(1200, port, id=port + 20), (600,), E0)); go(d, frag4(u4(1904, port, id=port + 30), (1400,), E0, df=True))
def case_frag_ipv6(d):
    """IPv6 fragments, in order, reversed, unequal, one that is whole, doubled, by NAT, DR and tunnel."""
    svc6(d, "-u [fd99::9]:53", servers=((1, ""),), rport=5353); svc6(d, "-u [fd99::9]:54", servers=((2, ""),), rport=54, mode="-g"); svc6(d, "-u [fd99::9]:55", servers=((3, ""),), rport=55, mode="-i")
    for port in (53, 54, 55):
        for k, (n, cuts, o) in enumerate(((2000, (1400,), None), (2000, (1400,), (1, 0)), (2000, (560,), None), (2400, (800, 1600), (0, 2, 1)), (300, (), None), (1200, (600,), None))): go(d, frag6(u6(n, port), cuts, E0, 0x100 * port + k), o)
    d.show("-Lnc"); d.stats()
def case_frag_ipv6_odd(d):
    """IPv6: overlap, a gap filled late, a duplicate, a length that is no multiple of 8, a small first fragment, TCP; hop limits."""
    svc6(d, "-u [fd99::9]:53", servers=((1, ""),), rport=5353); svc6(d, servers=((2, ""),), rport=8080)
    def P(at, end, mf, fid): h = frag6(u6(1600), (800,), E0, fid)[0]; h[IPv6ExtHdrFragment].offset = at // 8; h[IPv6ExtHdrFragment].m = int(mf); h[IPv6ExtHdrFragment].remove_payload(); return h / Raw(raw(u6(1600))[40:][at:end])
    go(d, [P(0, 800, True, 1), P(400, 1600, False, 1)]); go(d, [P(0, 400, True, 2), P(800, 1600, False, 2), P(400, 800, True, 2)]); go(d, [P(0, 800, True, 3), P(0, 800, True, 3), P(800, 1600, False, 3)]); go(d, [P(0, 804, True, 4), P(800, 1600, False, 4)]); go(d, [P(0, 8, True, 5), P(8, 800, True, 5), P(800, 1600, False, 5)])
    s = IPv6(src=C6, dst=VIP6) / TCP(sport=40000, dport=80, flags="S", seq=1000, options=[("MSS", 1440)]); go(d, frag6(s, (8,), E0, 6)); rtcp6(d, 2, "SA", sport=8080, seq=9000); p = IPv6(src=C6, dst=VIP6, tc=0x28, fl=0x777) / TCP(sport=40000, dport=80, flags="PA", seq=1001, ack=9001) / pat(2000); go(d, frag6(p, (1400,), E0, 7))
    a, b = frag6(u6(1600), (800,), E0, 8); a[IPv6].hlim, b[IPv6].hlim = 1, 64; go(d, [a, b]); a, b = frag6(u6(1600), (800,), E0, 9); a[IPv6].hlim, b[IPv6].hlim = 64, 1; go(d, [a, b]); go(d, frag6(u6(1600, 99), (800,), E0, 10)); d.show("-Lnc"); d.stats()
def case_frag_ipv6_mtu(d):
    """IPv6 fragments to a link of MTU 1300: larger pieces, smaller pieces; fragmented replies."""
    svc6(d, "-u [fd99::9]:53", servers=((1, ""),), rport=5353); svc6(d, "-u [fd99::9]:54", servers=((2, ""),), rport=54, mode="-g"); svc6(d, "-u [fd99::9]:55", servers=((3, ""),), rport=55, mode="-i")
    for port in (53, 54, 55):
        for k, cuts in enumerate(((1400,), (1200,), (1248,), (1256,), (560,))): go(d, frag6(u6(2000, port), cuts, E0, 0x100 * port + k))
    go(d, frag6(ru6(2000, 5353), (1200,), E1(1), 1), None, "eth1"); go(d, frag6(ru6(2000, 5353), (808,), E1(1), 2), (1, 0), "eth1"); d.stats()
case_frag_ipv6_mtu.lab = {"mtu1": 1300}
def case_frag_ipv6_replies(d):
    """IPv6 fragmented replies: equal, unequal, of no connection, larger than the client's MTU."""
    svc6(d, "-u [fd99::9]:53", servers=((1, ""),), rport=5353); udp6(d, 41000)
    for k, (cuts, o) in enumerate((((1200,), None), ((1200,), (1, 0)), ((560,), None), ((1400,), None), ((1248,), None))): go(d, frag6(ru6(2000, 5353), cuts, E1(1), k), o, "eth1"); go(d, frag6(ru6(2000, 9999), cuts, E1(1), 0x10 + k), o, "eth1")
    d.stats()
case_frag_ipv6_replies.lab = {"mtu0": 1300}
def case_frag_timeout(d):
    """Datagrams that stay incomplete: after thirty seconds (IPv4) or sixty (IPv6) the sender hears of it if the first fragment came."""
    svc(d, "-u 10.9.9.9:53", servers=((1, ""),), rport=5353); svc6(d, "-u [fd99::9]:53", servers=((1, ""),), rport=5353)
    a, b = frag4(u4(1600, id=1), (800,), E0); d.send("eth0", a); d.send("eth0", frag4(u4(1600, id=2), (800,), E0)[1]); d.send("eth0", frag6(u6(1600), (800,), E0, 1)[0]); d.send("eth0", frag6(u6(1600), (800,), E0, 2)[1]); d.sleep(33); d.send("eth0", b); d.send("eth0", a); d.sleep(32); d.stats()
