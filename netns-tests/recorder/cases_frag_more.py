"""Fragments, the rest: both directions, both families, in any order, with gaps, overlaps, duplicates, and too late."""
from common import *
import itertools
def services(d):
    svc(d, "-u 10.9.9.9:53", servers=((1, ""),), rport=5353); svc6(d, "-u [fd99::9]:53", servers=((1, ""),), rport=5353); d.udp(41000); udp6(d, 41000)
P4 = lambda id, n=2232: IP(src=C4, dst=VIP, id=id) / UDP(sport=41000, dport=53) / pat(n)
R4 = lambda id, n=2232: IP(src=RS[1][0], dst=C4, id=id) / UDP(sport=5353, dport=41000) / pat(n)
P6 = lambda n=2232: IPv6(src=C6, dst=VIP6) / UDP(sport=41000, dport=53) / pat(n)
R6 = lambda n=2232: IPv6(src=RS[1][1], dst=C6) / UDP(sport=5353, dport=41000) / pat(n)
def cut(d, way, id, at, end, mf):
    """Bytes at..end of a datagram of 2240 in one of four ways: client or server, IPv4 or IPv6."""
    if way in "cs": return d.send("eth0" if way == "c" else "eth1", piece(P4(id) if way == "c" else R4(id), at, end, E0 if way == "c" else E1(1), mf))
    p = P6() if way == "C" else R6(); h = IPv6(raw(p)[:40]); h.remove_payload(); h.plen, h.nh = None, 44
    return d.send("eth0" if way == "C" else "eth1", (E0 if way == "C" else E1(1)) / h / IPv6ExtHdrFragment(nh=17, offset=at // 8, m=int(mf), id=id) / Raw(raw(p)[40:][at:end]))
def odd(d, way):
    """Overlaps of every kind, duplicates, beyond the end, ends that contradict, empty pieces, odd lengths, late pieces."""
    c = lambda id, *pieces: [cut(d, way, id, *p) for p in pieces]; A, B, C, D = (0, 560, True), (560, 1120, True), (1120, 1680, True), (1680, 2240, False)
    for k, order in enumerate(((0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2), (2, 0, 3, 1))): c(100 + k, *((A, B, C, D)[i] for i in order))
    c(1, A, A, B, B, C, C, D, D); c(2, A, C, D, (552, 1120, True), B); c(3, A, C, D, (560, 1128, True), B); c(4, A, C, D, (640, 720, True), B); c(5, (0, 1120, True), B, C, D); c(6, (0, 1120, True), (8, 1112, True), C, D); c(7, (0, 1400, True), (1400, 2240, False)); c(8, A, D, (0, 1200, True), B, C)
    c(9, A, B, C, (1680, 2240, True), D); c(10, D, (2240, 2248, True), A, B, C); c(11, D, (2240, 2248, False), A, B, C); c(12, A, (1680, 2232, False), D, B, C); c(13, A, B, (1120, 1120, True), C, D); c(14, A, B, C, (2240, 2240, False), D); c(15, (0, 564, True), B, C, D); c(16, A, (560, 1116, True), (1112, 1680, True), D); c(17, (0, 4, True), A, B, C, D)
def case_frag_odd_requests(d):
    """IPv4 requests in fragments: any order, overlaps, duplicates, beyond the end, empty ones, odd lengths."""
    services(d); odd(d, "c"); d.stats()
def case_frag_odd_replies(d):
    """The same of replies."""
    services(d); odd(d, "s"); d.stats()
def case_frag_odd_requests_ipv6(d):
    """The same of IPv6 requests."""
    services(d); odd(d, "C"); d.stats()
def case_frag_odd_replies_ipv6(d):
    """The same of IPv6 replies. (No counters at the end: by then some datagrams may have timed out unseen.)"""
    services(d); odd(d, "S")
def case_frag_late(d):
    """Pieces that come after the time of their datagram, and datagrams that are never whole, in both directions and families; the first piece missing, the last, one between."""
    services(d); A, B, C, D = (0, 560, True), (560, 1120, True), (1120, 1680, True), (1680, 2240, False)
    for w in "csCS":
        for k, (ps, s, late) in enumerate((((A,), 5, ()), ((B,), 5, ()), ((D,), 5, ()), ((A, B, C), 20, (D,)), ((A, C, D), 33, (B,)), ((B, C, D), 65, (A,)), ((D, A), 59, (B, C)))):
            d.udp(41000); udp6(d, 41000); [cut(d, w, k + 1, *p) for p in ps]; d.sleep(s); [cut(d, w, k + 1, *p) for p in late]; d.sleep(70)
    d.stats()
def case_frag_same_id(d):
    """One identification for several datagrams at once: other protocols, other clients, the other direction; the identification used again at once."""
    services(d); svc(d, servers=((2, ""),)); d.syn(40000); t = IP(src=C4, dst=VIP, id=7) / TCP(sport=40000, dport=80, flags="PA", seq=1001, ack=9001) / pat(1580); two = IP(src=CLIENTS[2][0], dst=VIP, id=7) / UDP(sport=41000, dport=53) / pat(1592)
    a, b, c, e = (frag4(p, (800,), eth) for p, eth in ((P4(7), E0), (t, E0), (two, Ether(src=CLIENTS[2][2], dst=DIR0)), (R4(7), E1(1))))
    for f in (a[0], b[0], c[1]): d.send("eth0", f)
    d.send("eth1", e[1])
    for f in (b[1], a[1], c[0]): d.send("eth0", f)
    d.send("eth1", e[0]); [d.send("eth0", f) for f in a]; [d.send("eth0", f) for f in a[::-1]]
    t6 = IPv6(src=C6, dst=VIP6) / ICMPv6EchoRequest(id=1, seq=1, data=pat(1592)); a, b = frag6(P6(), (800,), E0, 7), frag6(t6, (800,), E0, 7)
    for f in (a[0], b[1], b[0], a[1]): d.send("eth0", f)
    d.stats()
def case_frag_longest(d):
    """Datagrams of 65507 bytes of data and more, and pieces beyond 64 KiB."""
    services(d); n = 65507; cuts = tuple(range(1480, n + 8, 1480))
    for f in frag4(P4(1, n), cuts, E0): d.send("eth0", f)
    for f in (piece(P4(2), 0, 800, E0), piece(P4(2), 800, 2240, E0, False)): f[IP].frag = f[IP].frag and 8100; d.send("eth0", f)
    f = piece(P4(3), 0, 800, E0); f[IP].frag = 8191; d.send("eth0", f); f = frag6(P6(), (800,), E0, 3)[0]; f[IPv6ExtHdrFragment].offset = 8191; d.send("eth0", f); f[IPv6].src = RS[1][1]; f[IPv6].dst = C6; f[Ether].src = RS[1][2]; f[Ether].dst = DIR1; d.send("eth1", f)
    for f in frag6(P6(65487), tuple(range(1448, 65495, 1448)), E0, 9): d.send("eth0", f)
    d.stats()
def case_frag_ext_ipv6(d):
    """IPv6 fragments with extension headers before the fragment header and behind it; headers that do not fit the first; requests and replies, by NAT, direct routing and tunnel."""
    services(d); svc6(d, "-u [fd99::9]:54", servers=((2, ""),), rport=54, mode="-g"); svc6(d, "-u [fd99::9]:55", servers=((3, ""),), rport=55, mode="-i"); DST, HBH = IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))]), IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(4))])
    def pieces(src, dst, eth, dev, u, before, behind, fid, cuts=(800,)):
        tail = raw(IPv6(src=src, dst=dst) / behind / u if behind is not None else IPv6(src=src, dst=dst) / u); nh, pay = tail[6], tail[40:]; at = 0
        for e in (*cuts, len(pay)):
            h = IPv6(src=src, dst=dst)
            if before is not None: h = h / before.copy()
            d.send(dev, eth / h / IPv6ExtHdrFragment(nh=nh, offset=at // 8, m=int(e < len(pay)), id=fid) / Raw(pay[at:e])); at = e
    for k, (before, behind) in enumerate(((HBH, None), (DST, None), (None, DST), (HBH, DST))):
        for p in (53, 54, 55): pieces(C6, VIP6, E0, "eth0", UDP(sport=41000, dport=p) / pat(1592), before, behind, 16 * p + k)
        pieces(RS[1][1], C6, E1(1), "eth1", UDP(sport=5353, dport=41000) / pat(1592), before, behind, 16 + k); pieces(C6, VIP6, E0, "eth0", UDP(sport=41000, dport=53) / pat(1592), before, behind, 32 + k, (8, 808)); pieces(C6, VIP6, E0, "eth0", UDP(sport=41000, dport=53) / pat(92), before, behind, 48 + k, ())
    d.show("-Lnc"); d.stats()
def case_frag_df_replies(d):
    """Replies in fragments with DF on all, on the largest, on a smaller one; the whole fits or not; UDP, TCP, of no connection; a DR service's."""
    services(d); svc(d, servers=((2, ""),)); d.open_nat(40000)
    for k, (n, cuts, which) in enumerate(((1192, (600,), (0, 1)), (1192, (600,), (0,)), (1192, (600,), (1,)), (1592, (800,), (0, 1)), (1592, (1000,), (0,)), (1592, (1000,), (1,)), (1592, (504, 1104), (0, 1, 2)))):
        for p in (R4(k + 1, n), IP(src=RS[2][0], dst=C4, id=k + 30) / TCP(sport=80, dport=40000, flags="PA", seq=9001, ack=1001) / pat(n - 12), IP(src=RS[1][0], dst=C4, id=k + 60) / UDP(sport=9999, dport=41000) / pat(n)):
            fs = frag4(p, cuts, E1(1))
            for i in which: fs[i][IP].flags |= "DF"
            for f in fs: d.send("eth1", f)
    d.show("-Lnc"); d.stats()
