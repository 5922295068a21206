"""ICMP errors about the outer packets of tunnels."""
from common import *
from cases_tun_more import KINDS, services, seg
def err(d, n, ic, quoted, dst="172.16.0.1", src=None, **ip): return d.send("eth1", d.r(n, ic / Raw(quoted), dst=dst, src=src, **ip))
def outer(out): return out[0][1][14:]
def case_tun_errors_kinds(d):
    """Errors about every kind of tunnel, with every checksum option: unreachable of several codes, time exceeded, source quench, and types that are not passed on."""
    services(d, False, False)
    for i in range(len(KINDS)):
        q = outer(seg(d, False, "S", 80 + i))
        for t, c in ((3, 0), (3, 1), (3, 2), (3, 3), (3, 13), (4, 0), (5, 1), (11, 0), (11, 1), (12, 0), (8, 0)): err(d, i + 1, ICMP(type=t, code=c), q)
        err(d, i + 1, ICMP(type=3, code=3), q, tos=0xc0, ttl=1); err(d, i + 1, ICMP(type=11, code=0), q, ttl=3, id=0)
    d.show("-Lnc"); d.stats()
def case_tun_errors_mtu(d):
    """Fragmentation needed about every kind of tunnel with MTUs that are absurd, small, fitting, and too large; then packets around what was learned."""
    services(d, False, False)
    for i, (_, over) in enumerate(KINDS):
        seg(d, False, "S", 80 + i); q = outer(seg(d, False, "PA", 80 + i, pat(1300), True))
        for mtu in (1600, 1500, 1490, 1400, 1399): err(d, i + 1, ICMP(type=3, code=4, nexthopmtu=mtu), q[:100]); seg(d, False, "PA", 80 + i, pat(1300), True)
        for mtu in (600, 552): err(d, i + 1, ICMP(type=3, code=4, nexthopmtu=mtu), q[:100]); seg(d, False, "PA", 80 + i, pat(600), True); seg(d, False, "PA", 80 + i, pat(600)); seg(d, False, "PA", 80 + i, pat(490), True)
        err(d, i + 1, ICMP(type=3, code=4, nexthopmtu=1450), q[:100]); seg(d, False, "PA", 80 + i, pat(1300), True)
    d.stats()
def case_tun_errors_mtu_least(d):
    """Fragmentation needed with MTUs below the least that is believed: 551, 100, 88, 68, 0."""
    services(d, False, False)
    for i, mtu in enumerate((551, 100, 88, 68, 0)):
        seg(d, False, "S", 80 + i); q = outer(seg(d, False, "PA", 80 + i, pat(1300), True)); err(d, i + 1, ICMP(type=3, code=4, nexthopmtu=mtu), q[:100])
        for n in (480, 492, 520, 1300): seg(d, False, "PA", 80 + i, pat(n), True)
        seg(d, False, "PA", 80 + i, pat(700))
    d.stats()
def case_tun_errors_forgotten(d):
    """A learned MTU is believed for ten minutes."""
    d.adm("--set 2000 0 0"); services(d, False, False); seg(d, False, "S", 80); seg(d, False, "A", 80); q = outer(seg(d, False, "PA", 80, pat(1300), True)); err(d, 1, ICMP(type=3, code=4, nexthopmtu=1200), q[:100])
    for s in (1, 500, 90): seg(d, False, "PA", 80, pat(1300), True); d.sleep(s)
    seg(d, False, "PA", 80, pat(1300), True); d.sleep(20); seg(d, False, "PA", 80, pat(1300), True); seg(d, False, "PA", 80, pat(1400), True)
def case_tun_errors_no_df(d):
    """Fragmentation needed about packets without DF: nothing is passed on, what was learned is used; pmtu_disc off."""
    services(d, False, False)
    for i in range(len(KINDS)):
        q = outer(seg(d, False, "S", 80 + i)); q = outer(seg(d, False, "PA", 80 + i, pat(1300))); err(d, i + 1, ICMP(type=3, code=4, nexthopmtu=1200), q[:100]); seg(d, False, "PA", 80 + i, pat(1300)); seg(d, False, "PA", 80 + i, pat(1300), True)
    d.sysctl("pmtu_disc", 0)
    for i in range(len(KINDS)): seg(d, False, "PA", 80 + i, pat(1300), True)
    d.stats()
def case_tun_errors_quote(d):
    """Quotations of every length: outer header alone, part of the inner header, without ports, with them, whole; padded."""
    services(d, False, False)
    for i, (_, over) in enumerate(KINDS):
        q = outer(seg(d, False, "S", 80 + i)); q = outer(seg(d, False, "PA", 80 + i, pat(100)))
        for n in (20, 20 + over, 20 + over + 19, 20 + over + 20, 20 + over + 23, 20 + over + 24, 20 + over + 28, 20 + over + 40, len(q)): err(d, i + 1, ICMP(type=3, code=1), q[:n])
        err(d, i + 1, ICMP(type=3, code=4, nexthopmtu=1400), q[:20 + over + 20]); err(d, i + 1, ICMP(type=3, code=4, nexthopmtu=1400), q[:20 + over + 24])
    d.stats()
def case_tun_errors_where(d):
    """Errors about a tunnel from routers on either side, addressed to other addresses of the director, to the VIP, to nobody, in fragments, with a wrong checksum."""
    services(d, False, False)
    for i in (0, 2, 4):
        q = outer(seg(d, False, "S", 80 + i)); q = outer(seg(d, False, "PA", 80 + i, pat(1200)))
        d.send("eth1", Ether(src=RS_GW[2], dst=DIR1) / IP(src="172.16.0.254", dst="172.16.0.1") / ICMP(type=11) / Raw(q[:100])); d.send("eth0", Ether(src=CLIENT_GW[2], dst=DIR0) / IP(src="192.0.2.1", dst="172.16.0.1") / ICMP(type=3, code=1) / Raw(q[:100]))
        for dst in ("10.0.0.1", VIP, C4): err(d, i + 1, ICMP(type=3, code=1), q[:100], dst=dst)
        err(d, i + 1, ICMP(type=3, code=1, chksum=7), q[:100]); err(d, i + 1, ICMP(type=3, code=4, nexthopmtu=1300, chksum=7), q[:100]); seg(d, False, "PA", 80 + i, pat(1300), True)
        for f in frag4(IP(src=RS[i + 1][0], dst="172.16.0.1", id=7) / ICMP(type=3, code=1) / Raw(q), (600,), E1(i + 1)): d.send("eth1", f)
    d.stats()
def case_tun_errors_wrong(d):
    """Errors about what is no tunnel of ours: another kind, another GUE port, a GRE key, GUE control and options, another server, no connection, a later fragment; a deleted server; a NAT connection."""
    services(d, False, False); svc(d, "-t 10.9.9.9:90", servers=((8, ""),), rport=90); seg(d, False, "S", 90)
    q = [outer(seg(d, False, "S", 80 + i)) for i in range(len(KINDS))]; inner4 = lambda port=80, sport=40000: raw(IP(src=C4, dst=VIP, id=1, ttl=63) / TCP(sport=sport, dport=port, flags="A"))
    o = lambda n, proto, payload, **ip: raw(IP(src="172.16.0.1", dst=RS[n][0], id=5, proto=proto, **ip) / Raw(payload)); ic = ICMP(type=3, code=1)
    for n, proto, payload in ((1, 47, b"\0\0\x08\0" + inner4()), (2, 4, inner4(81)), (2, 47, b"\x20\0\x08\0\0\0\0\1" + inner4(81)), (2, 47, b"\0\1\x08\0" + inner4(81)), (2, 47, b"\0\0\x86\xdd" + inner4(81)), (3, 47, b"\0\0\x08\0" + inner4(82)), (2, 47, b"\x80\0\x08\0\0\0\0\0" + inner4(81)),
                              (4, 17, raw(UDP(sport=5, dport=6081)) + b"\0\4\0\0" + inner4(83)), (4, 17, raw(UDP(sport=5, dport=6080)) + b"\x20\4\0\0" + inner4(83)), (4, 17, raw(UDP(sport=5, dport=6080)) + b"\1\4\0\0" + bytes(4) + inner4(83)), (4, 17, raw(UDP(sport=5, dport=6080)) + b"\0\x29\0\0" + inner4(83)), (4, 17, raw(UDP(sport=5, dport=6080)) + inner4(83)),
                              (7, 4, inner4()), (1, 4, inner4(80, 5)), (1, 4, inner4(81)), (8, 4, inner4(90)), (1, 4, raw(IP(src=C4, dst=VIP, id=1, frag=9) / TCP(sport=40000, dport=80))), (1, 4, raw(IP(src=C4, dst=VIP, id=1) / ICMP(type=8) / pat(8))), (1, 41, inner4())): err(d, n, ic, o(n, proto, payload))
    err(d, 1, ic, raw(IP(src="172.16.0.1", dst=RS[1][0], id=5, proto=4, frag=9) / Raw(inner4()))); err(d, 1, ic, raw(IP(src="172.16.0.9", dst=RS[1][0], id=5, proto=4) / Raw(inner4())))
    d.adm(f"-d -t 10.9.9.9:80 -r {RS[1][0]}:80"); err(d, 1, ic, q[0]); d.adm(f"-e -t 10.9.9.9:81 -r {RS[2][0]}:81 -i"); err(d, 2, ic, q[1]); d.adm("-D -t 10.9.9.9:82"); err(d, 3, ic, q[2]); d.show("-Lnc"); d.stats()
def case_tun_errors_udp(d):
    """Errors about tunnels that carry UDP: with and without the data quoted; TTL exceeded inside."""
    services(d, False, False, "-u", 53)
    for i in range(len(KINDS)):
        q = outer(d.send("eth0", d.c(UDP(sport=41000, dport=53 + i) / pat(700), tos=0xb9, flags="DF")))
        for n in (60, 100, 548, len(q)): err(d, i + 1, ICMP(type=3, code=3), q[:n])
        err(d, i + 1, ICMP(type=3, code=4, nexthopmtu=700), q); d.send("eth0", d.c(UDP(sport=41000, dport=53 + i) / pat(700), flags="DF"))
    d.stats()
def case_tun_errors_v6_outer(d):
    """ICMPv6 errors about IPv6 tunnels of every kind that carry IPv4 and IPv6: unreachable, time exceeded, too big; packets afterwards."""
    services(d, False, True); services(d, True, True, base=180)
    for base, i6 in ((80, False), (180, True)):
        for i in range(len(KINDS)):
            q = outer(seg(d, i6, "S", base + i))
            for ic in (ICMPv6DestUnreach(code=0), ICMPv6DestUnreach(code=4), ICMPv6TimeExceeded(), ICMPv6ParamProblem(code=1, ptr=6), ICMPv6PacketTooBig(mtu=1400)): d.send("eth1", d.r6(i + 1, ic / Raw(q), dst="fd01::1"))
            seg(d, i6, "PA", base + i, pat(1320), True); seg(d, i6, "PA", base + i, pat(1380), True); seg(d, i6, "PA", base + i, pat(1200), True)
    d.show("-Lnc"); d.stats()
def case_tun_errors_v6_inner(d):
    """ICMP errors about IPv4 tunnels of every kind that carry IPv6."""
    services(d, True, False)
    for i in range(len(KINDS)):
        q = outer(seg(d, True, "S", 80 + i))
        for t, c in ((3, 1), (3, 3), (11, 0), (4, 0)): err(d, i + 1, ICMP(type=t, code=c), q)
        err(d, i + 1, ICMP(type=3, code=4, nexthopmtu=1400), q); seg(d, True, "PA", 80 + i, pat(1330)); seg(d, True, "PA", 80 + i, pat(1400))
    d.show("-Lnc"); d.stats()
