"""Tunnels, the rest: every type with every checksum option in every mix of families."""
from common import *
from scapy.all import IPv6ExtHdrRouting
GRE_OPT, GRES_OPT = "--tun-type gre", "--tun-type gre --tun-csum"
GUE_OPT, GUES_OPT, GUER_OPT = ("--tun-type gue --tun-port 6080" + o for o in ("", " --tun-csum", " --tun-remcsum"))
KINDS = (("", 0), (GRE_OPT, 4), (GRES_OPT, 8), (GUE_OPT, 12), (GUES_OPT, 12), (GUER_OPT, 12))
def v4s(n): return RS[n][0]
def v6s(n): return f"[{RS[n][1]}]"
def services(d, inner6, outer6, proto="-t", base=80):
    """A service for each kind of tunnel, on ports from `base`, with real server 1, 2, …"""
    for i, (opt, _) in enumerate(KINDS):
        port = base + i; v = "[fd99::9]" if inner6 else VIP; rs = v6s(i + 1) if outer6 else v4s(i + 1)
        d.adm(f"-A {proto} {v}:{port} -s rr"); d.adm(f"-a {proto} {v}:{port} -r {rs}:{port} -i {opt}")
def seg(d, inner6, f, port, data=b"", df=False, **ip):
    if inner6: return tcp6(d, f, dport=port, data=data, **ip)
    return tcp(d, f, dport=port, data=data, **({"flags": "DF"} if df else {}), **ip)
def fields(d, inner6, outer6):
    services(d, inner6, outer6); tos = "tc" if inner6 else "tos"; ttl = "hlim" if inner6 else "ttl"
    for i in range(len(KINDS)):
        seg(d, inner6, "S", 80 + i)
        for c in (0x01, 0x02, 0x03, 0xb8, 0xff): seg(d, inner6, "A", 80 + i, **{tos: c})
        for t in (0, 1, 2, 255): seg(d, inner6, "A", 80 + i, **{ttl: t})
        if not inner6: seg(d, False, "A", 80 + i, df=True); seg(d, False, "A", 80 + i, df=True, id=0); seg(d, False, "A", 80 + i, b"odd", id=0)
    d.show("-Lnc"); d.stats()
def case_tun_fields_v4_v4(d):
    """TOS with every ECN value, TTL 0, 1, 2, 255, DF and identification through every kind of tunnel: IPv4 in IPv4."""
    fields(d, False, False)
def case_tun_fields_v4_v6(d):
    """The same: IPv4 in IPv6."""
    fields(d, False, True)
def case_tun_fields_v6_v4(d):
    """The same: IPv6 in IPv4."""
    fields(d, True, False)
def case_tun_fields_v6_v6(d):
    """The same: IPv6 in IPv6."""
    fields(d, True, True)
def sizes(d, inner6, outer6, mtu=1500):
    services(d, inner6, outer6); own = 60 if inner6 else 40; outer = 40 if outer6 else 20
    for p in (1, 0):
        if not p: d.sysctl("pmtu_disc", 0)
        for i, (_, over) in enumerate(KINDS):
            if p: seg(d, inner6, "S", 80 + i)
            for n in (0, 1, 8, 9): 
                k = mtu - outer - over - own + n
                for df in ((False,) if inner6 else (True, False)): seg(d, inner6, "PA", 80 + i, pat(k), df, tos=0x22) if not inner6 else seg(d, True, "PA", 80 + i, pat(k))
    d.stats()
def case_tun_sizes_v4_v4(d):
    """Just within the MTU and just over it through every kind of tunnel, with DF and without, pmtu_disc on and off: IPv4 in IPv4."""
    sizes(d, False, False)
def case_tun_sizes_v4_v6(d):
    """The same: IPv4 in IPv6."""
    sizes(d, False, True)
def case_tun_sizes_v6_v4(d):
    """The same: IPv6 in IPv4."""
    sizes(d, True, False)
def case_tun_sizes_v6_v6(d):
    """The same: IPv6 in IPv6."""
    sizes(d, True, True)
def case_tun_sizes_1300_v4_v4(d):
    """The same over a link of MTU 1300: IPv4 in IPv4."""
    sizes(d, False, False, 1300)
case_tun_sizes_1300_v4_v4.lab = {"mtu1": 1300}
def case_tun_sizes_1300_v6_v4(d):
    """The same over a link of MTU 1300: IPv6 in IPv4, where less than 1280 is left."""
    sizes(d, True, False, 1300)
case_tun_sizes_1300_v6_v4.lab = {"mtu1": 1300}
def case_tun_sizes_1320_v4_v6(d):
    """The same over a link of MTU 1328: IPv4 in IPv6, where some kinds leave 1280 and some do not."""
    sizes(d, False, True, 1328)
case_tun_sizes_1320_v4_v6.lab = {"mtu1": 1328}
def case_tun_sizes_1328_v6_v6(d):
    """The same over a link of MTU 1328: IPv6 in IPv6."""
    sizes(d, True, True, 1328)
case_tun_sizes_1328_v6_v6.lab = {"mtu1": 1328}
def case_tun_tiny_mtu(d):
    """Links of MTU 96: what a tunnel leaves is about the least there may be (68): IPIP, GRE, GUE, with DF and without."""
    services(d, False, False)
    for i, (_, over) in enumerate(KINDS):
        seg(d, False, "S", 80 + i)
        for n in (0, 16, 28, 29, 60, 200): seg(d, False, "PA", 80 + i, pat(n)); seg(d, False, "PA", 80 + i, pat(n), True)
    d.sysctl("pmtu_disc", 0)
    for i in range(len(KINDS)): seg(d, False, "PA", 80 + i, pat(60), True)
    d.show("-Lnc"); d.stats()
case_tun_tiny_mtu.lab = {"mtu1": 96}
def case_tun_tiny_mtu_below(d):
    """A link of MTU 87: one byte too little for a tunnel; NAT and direct routing go on."""
    services(d, False, False); svc(d, "-t 10.9.9.9:90", servers=((1, ""),), rport=90); svc(d, "-t 10.9.9.9:91", servers=((2, ""),), rport=91, mode="-g")
    for p in (80, 81, 83, 90, 91): seg(d, False, "S", p); seg(d, False, "PA", p, pat(60)); seg(d, False, "PA", p, pat(60), True)
    d.show("-Lnc"); d.stats()
case_tun_tiny_mtu_below.lab = {"mtu1": 87}
def case_tun_options(d):
    """IP options of the packet inside (none of the outer one's), for every kind: padding, record route, router alert; and quoted in an error."""
    services(d, False, False)
    for i in range(len(KINDS)):
        seg(d, False, "S", 80 + i)
        for o in ([IPOption_NOP()] * 4, [IPOption_RR(routers=["0.0.0.0", "0.0.0.0"], pointer=4)], [IPOption_Router_Alert()]): seg(d, False, "A", 80 + i, options=o)
        seg(d, False, "PA", 80 + i, pat(1430), True, options=[IPOption_NOP()] * 4); seg(d, False, "A", 80 + i, ttl=1, options=[IPOption_RR(routers=["0.0.0.0", "0.0.0.0"], pointer=4)])
def case_tun_extension_headers(d):
    """IPv6 packets with extension headers through every kind of tunnel, in IPv6 and in IPv4."""
    services(d, True, True); services(d, True, False, base=180)
    for base in (80, 180):
        for i in range(len(KINDS)):
            p = base + i; seg(d, True, "S", p)
            for ext in (IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(4))]), IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(12))])): d.send("eth0", E0 / IPv6(src=C6, dst=VIP6, tc=0x13) / ext / TCP(sport=40000, dport=p, flags="A", seq=1001, ack=9001))
            d.send("eth0", E0 / IPv6(src=C6, dst=VIP6) / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(12))]) / TCP(sport=40000, dport=p, flags="PA", seq=1001, ack=9001) / pat(1424))
    d.stats()
def udp_in(d, inner6, port, n, id, cuts, df=False, order=None, sport=41000):
    if inner6: fr = frag6(IPv6(src=C6, dst=VIP6, tc=0x02) / UDP(sport=sport, dport=port) / pat(n - 8), cuts, E0, id)
    else: fr = frag4(IP(src=C4, dst=VIP, id=id, tos=0x02) / UDP(sport=sport, dport=port) / pat(n - 8), cuts, E0, df=df)
    for i in order or range(len(fr)): d.send("eth0", fr[i])
def pieces(d, inner6, outer6):
    services(d, inner6, outer6, "-u", 53)
    for i in range(len(KINDS)):
        p = 53 + i
        for k, (n, cuts) in enumerate(((1904, (504,)), (1904, (1400,)), (1200, (600,)), (4000, (1480, 2960) if not inner6 else (1432, 2864)), (1904, (504, 1104, 1112)))): udp_in(d, inner6, p, n, p * 16 + k, cuts)
        udp_in(d, inner6, p, 2400, p * 16 + 9, (800, 1600), order=(2, 0, 1))
        if not inner6: udp_in(d, False, p, 1904, p * 16 + 7, (1400,), True); udp_in(d, False, p, 1400, p * 16 + 8, (700,), True)
    if not inner6:
        d.sysctl("pmtu_disc", 0)
        for i in range(len(KINDS)): udp_in(d, False, 53 + i, 1904, (53 + i) * 16 + 10, (1400,), True); udp_in(d, False, 53 + i, 1904, (53 + i) * 16 + 11, (504,), True); udp_in(d, False, 53 + i, 1904, (53 + i) * 16 + 12, (504,))
    d.stats()
def case_tun_pieces_v4_v4(d):
    """Datagrams that come in fragments through every kind of tunnel, with DF and without, pmtu_disc on and off: IPv4 in IPv4."""
    pieces(d, False, False)
def case_tun_pieces_v4_v6(d):
    """The same: IPv4 in IPv6."""
    pieces(d, False, True)
def case_tun_pieces_v6_v4(d):
    """The same: IPv6 in IPv4."""
    pieces(d, True, False)
def case_tun_pieces_v6_v6(d):
    """The same: IPv6 in IPv6."""
    pieces(d, True, True)
def case_tun_pieces_1300(d):
    """Datagrams in fragments through every kind of tunnel over a link of MTU 1300."""
    pieces(d, False, False)
case_tun_pieces_1300.lab = {"mtu1": 1300}
def case_tun_udp(d):
    """UDP datagrams with no checksum, a wrong one and padding behind them, through every kind of tunnel and mix of families."""
    for k, (i6, o6) in enumerate(((False, False), (False, True), (True, False), (True, True))):
        services(d, i6, o6, "-u", 53 + 100 * k)
        for i in range(len(KINDS)):
            for ck in (0, 0x1234):
                u = UDP(sport=41000, dport=53 + 100 * k + i, chksum=ck) / b"odd"; d.send("eth0", raw(d.c6(u) if i6 else d.c(u)) + bytes(9))
def case_tun_related(d):
    """A client's ICMP errors about a tunnelled connection go to the server inside the tunnel, large ones too: every kind, IPv4 and IPv6."""
    services(d, False, False, "-u", 53); services(d, True, True, "-u", 153); services(d, False, True, "-u", 253); services(d, True, False, "-u", 353)
    for base, i6 in ((53, False), (153, True), (253, False), (353, True)):
        for i in range(len(KINDS)):
            p = base + i; u = UDP(sport=41000, dport=p) / b"hello"; b = UDP(sport=p, dport=41000) / pat(1430 if i6 else 1450); d.send("eth0", d.c6(u) if i6 else d.c(u))
            if i6:
                q = raw(IPv6(src=VIP6, dst=C6) / b)
                for n in (48, 200, 1232, 1420): d.send("eth0", d.c6(ICMPv6DestUnreach(code=4) / Raw(q[:n]), tc=0x03))
                d.send("eth0", d.c6(ICMPv6PacketTooBig(mtu=1300) / Raw(q[:100]))); d.send("eth0", d.c6(ICMPv6TimeExceeded() / Raw(q[:100]), hlim=1))
            else:
                q = raw(IP(src=VIP, dst=C4, id=9) / b)
                for n in (28, 200, 548, 1460): d.send("eth0", d.c(ICMP(type=3, code=3) / Raw(q[:n]), tos=0xc3)); d.send("eth0", d.c(ICMP(type=3, code=3) / Raw(q[:n]), flags="DF"))
                d.send("eth0", d.c(ICMP(type=3, code=4, nexthopmtu=1300) / Raw(q[:100]))); d.send("eth0", d.c(ICMP(type=11) / Raw(q[:100]), ttl=1))
    d.show("-Lnc"); d.stats()
