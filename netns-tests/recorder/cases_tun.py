"""Tunnels."""
from common import *
def tsvc(d, opt, port=80, n=1, rs=None): d.adm(f"-A -t 10.9.9.9:{port} -s rr"); d.adm(f"-a -t 10.9.9.9:{port} -r {rs or RS[n][0]} -i {opt}")
def tsvc6(d, opt, port=80, n=1, rs=None): d.adm(f"-A -t [fd99::9]:{port} -s rr"); d.adm(f"-a -t [fd99::9]:{port} -r {rs or '[' + RS[n][1] + ']:' + str(port)} -i {opt}")
def edges(d, over, dport=80, v6=False, mtu=1500):
    """Segments just within and just over what fits under `over` bytes of outer headers, with DF and without."""
    n = mtu - over - (60 if v6 else 40)
    for k in (n, n + 1):
        if v6: tcp6(d, "PA", dport=dport, data=pat(k))
        else: tcp(d, "PA", dport=dport, data=pat(k), flags="DF"); tcp(d, "PA", dport=dport, data=pat(k))

def case_tun_ipip_fields(d):
    """IPIP: TTL, TOS with every ECN value, DF, ID, options, checksum 0 and wrong, padding of the frame; UDP."""
    tsvc(d, ""); d.adm("-A -u 10.9.9.9:53 -s rr"); d.adm(f"-a -u 10.9.9.9:53 -r {RS[2][0]} -i"); d.syn(40000)
    for tos in (0, 1, 2, 3, 0xb8, 0xbb, 0xff): tcp(d, "A", tos=tos)
    for ttl in (1, 2, 255): tcp(d, "A", ttl=ttl)
    tcp(d, "A", flags="DF"); tcp(d, "A", flags="DF", id=0); tcp(d, "A", id=0); tcp(d, "A", flags="evil"); tcp(d, "A", options=[IPOption_NOP()] * 4); d.send("eth0", d.c(TCP(sport=40000, dport=80, flags="A", chksum=1)))
    d.send("eth0", raw(d.c(UDP(sport=41000, dport=53, chksum=0) / b"no")) + bytes(16)); d.show("-Lnc"); d.show("-Ln"); d.stats()
def case_tun_ipip_mtu(d):
    """IPIP near the MTU, with DF and without, then with pmtu_disc off."""
    tsvc(d, ""); d.syn(40000); edges(d, 20); tcp(d, "PA", data=pat(1460), flags="DF", ttl=1, tos=3); d.sysctl("pmtu_disc", 0); edges(d, 20); tcp(d, "A", flags="DF"); d.stats()
def case_tun_small_mtu(d):
    """IPIP over a link of MTU 1300: DF, no DF, pmtu_disc off, a datagram of 1500 bytes in pieces."""
    tsvc(d, ""); d.adm("-A -u 10.9.9.9:53 -s rr"); d.adm(f"-a -u 10.9.9.9:53 -r {RS[2][0]} -i"); d.syn(40000); edges(d, 20, mtu=1300); d.send("eth0", d.c(UDP(sport=41000, dport=53) / pat(1472))); d.send("eth0", d.c(UDP(sport=41000, dport=53) / pat(1472), flags="DF")); d.sysctl("pmtu_disc", 0); d.send("eth0", d.c(UDP(sport=41000, dport=53) / pat(1472), flags="DF"))
case_tun_small_mtu.lab = {"mtu1": 1300}
def case_tun_gre(d):
    """GRE with and without a checksum: fields, sizes near the MTU, pmtu_disc off."""
    tsvc(d, "--tun-type gre"); tsvc(d, "--tun-type gre --tun-csum", 81, 2); tsvc(d, "--tun-type gre --tun-nocsum", 82, 3)
    for port, over in ((80, 24), (81, 28), (82, 24)): d.syn(40000, dport=port); tcp(d, "PA", dport=port, data=b"odd", tos=0xbb, ttl=9, flags="DF"); edges(d, over, port)
    d.sysctl("pmtu_disc", 0); edges(d, 28, 81); d.show("-Ln --tun-info"); d.stats()
def case_tun_gue(d):
    """GUE without a checksum, with one, and with the remote-checksum option: fields and sizes near the MTU."""
    tsvc(d, "--tun-type gue --tun-port 6080"); tsvc(d, "--tun-type gue --tun-port 6081 --tun-csum", 81, 2); tsvc(d, "--tun-type gue --tun-port 6082 --tun-remcsum", 82, 3)
    for port, over in ((80, 32), (81, 32), (82, 40)): d.syn(40000, dport=port); tcp(d, "PA", dport=port, data=b"odd", tos=0xbb, ttl=9, flags="DF"); edges(d, over, port)
    edges(d, 32, 82); d.show("-Ln --tun-info"); d.adm(f"-e -t 10.9.9.9:80 -r {RS[1][0]} -i --tun-type gre"); tcp(d, "A"); d.adm(f"-e -t 10.9.9.9:80 -r {RS[1][0]} -i"); tcp(d, "A"); d.show("-Sn")
def case_tun_v4_in_v6(d):
    """An IPv4 service whose servers have IPv6 addresses: IPIP, GRE, GUE."""
    for port, n, opt in ((80, 1, ""), (81, 2, "--tun-type gre --tun-csum"), (82, 3, "--tun-type gue --tun-port 6080 --tun-csum"), (83, 4, "--tun-type gue --tun-port 6080")): tsvc(d, opt, port, rs=f"[{RS[n][1]}]:{port}")
    for port, over in ((80, 40), (81, 48), (82, 52), (83, 52)): d.syn(40000, dport=port); tcp(d, "A", dport=port, tos=0xbb, ttl=5); edges(d, over, port)
    d.sysctl("pmtu_disc", 0); edges(d, 40); d.show("-Ln"); d.show("-Lnc"); d.show("-Ln --tun-info")
def case_tun_v6_in_v4(d):
    """An IPv6 service whose servers have IPv4 addresses: IPIP, GRE, GUE."""
    for port, n, opt in ((80, 1, ""), (81, 2, "--tun-type gre --tun-csum"), (82, 3, "--tun-type gue --tun-port 6080 --tun-csum"), (83, 4, "--tun-type gue --tun-port 6080")): tsvc6(d, opt, port, rs=f"{RS[n][0]}:{port}")
    for port, over in ((80, 20), (81, 28), (82, 32), (83, 32)): syn6(d, 40000, dport=port); tcp6(d, "A", dport=port, tc=0xbb, hlim=5, fl=0xabcde); edges(d, over, port, True)
    tcp6(d, "A", hlim=1); d.sysctl("pmtu_disc", 0); edges(d, 20, v6=True); d.show("-Ln"); d.show("-Lnc")
def case_tun_v6_in_v6(d):
    """IPv6 in IPv6: IPIP, GRE, GUE."""
    for port, n, opt in ((80, 1, ""), (81, 2, "--tun-type gre --tun-csum"), (82, 3, "--tun-type gue --tun-port 6080 --tun-csum"), (83, 4, "--tun-type gue --tun-port 6080"), (84, 5, "--tun-type gre")): tsvc6(d, opt, port, n)
    for port, over in ((80, 40), (81, 48), (82, 52), (83, 52), (84, 44)): syn6(d, 40000, dport=port); tcp6(d, "A", dport=port, tc=0xbb, hlim=5, fl=0xabcde); edges(d, over, port, True)
    for tc in (1, 2, 3): tcp6(d, "A", tc=tc)
    tcp6(d, "A", hlim=1); tcp6(d, "A", hlim=2); udp6(d, 41000); d.show("-Lnc"); d.stats()
def case_tun_v6_small_mtu(d):
    """IPv6 services tunnelled over a link of MTU 1280: what no longer fits; IPv4 services over IPv6 there."""
    tsvc6(d, "", 80, 1); tsvc6(d, "", 81, rs=f"{RS[2][0]}:81"); tsvc(d, "", 82, rs=f"[{RS[3][1]}]:82"); syn6(d, 40000); syn6(d, 40000, dport=81); d.syn(40000, dport=82)
    tcp6(d, "PA", data=pat(1180)); tcp6(d, "PA", data=pat(1181)); edges(d, 20, 81, True, 1280); edges(d, 40, 82, mtu=1280)
case_tun_v6_small_mtu.lab = {"mtu1": 1280}
def case_tun_gateway(d):
    """Tunnels to servers behind routers: IPv4, IPv6, GUE, GRE; and the default route back out of eth0."""
    tsvc(d, "", 80, rs="192.168.77.5"); tsvc(d, "--tun-type gue --tun-port 6080", 81, rs="192.168.77.6"); tsvc(d, "--tun-type gre", 82, rs="192.168.77.7"); tsvc(d, "", 83, rs="203.0.113.9"); tsvc6(d, "", 80, rs="[fd77::5]:80"); tsvc6(d, "", 83, rs="[fd44::9]:83")
    for p in (80, 81, 82, 83): d.syn(40000, dport=p)
    syn6(d, 40000); syn6(d, 40000, dport=83); d.show("-Lnc"); d.show("-Ln --tun-info")
def case_tun_errors(d):
    """ICMP errors about the tunnel itself, from the server or a router: unreachable, time exceeded, frag-needed; the client hears of them."""
    tsvc(d, ""); tsvc(d, "--tun-type gre", 81, 2); tsvc(d, "--tun-type gue --tun-port 6080", 82, 3)
    for port, n in ((80, 1), (81, 2), (82, 3)):
        out = d.send("eth0", d.c(TCP(sport=40000, dport=port, flags="S", seq=1000)))
        for ic in (ICMP(type=3, code=3), ICMP(type=11, code=0), ICMP(type=3, code=4, nexthopmtu=1400), ICMP(type=4), ICMP(type=12), ICMP(type=3, code=3, chksum=1)): d.send("eth1", d.r(n, ic / Raw(out[0][1][14:]), dst="172.16.0.1"))
        out = tcp(d, "PA", dport=port, data=pat(1300), flags="DF")
        if out: d.send("eth1", d.r(n, ICMP(type=3, code=4, nexthopmtu=1200) / Raw(out[0][1][14:14 + 128]), dst="172.16.0.1")); d.send("eth1", Ether(src=RS_GW[2], dst=DIR1) / IP(src="172.16.0.254", dst="172.16.0.1") / ICMP(type=3, code=1) / Raw(out[0][1][14:14 + 28]))
        tcp(d, "PA", dport=port, data=pat(1300), flags="DF"); tcp(d, "PA", dport=port, data=pat(1300))
    d.show("-Lnc"); d.stats()
def case_tun_errors_ipv6(d):
    """ICMPv6 errors about a tunnel."""
    tsvc6(d, "", 80, 1); out = d.send("eth0", d.c6(TCP(sport=40000, dport=80, flags="S", seq=1000)))
    for ic in (ICMPv6DestUnreach(code=4), ICMPv6TimeExceeded(code=0), ICMPv6PacketTooBig(mtu=1400)): d.send("eth1", d.r6(1, ic / Raw(out[0][1][14:]), dst="fd01::1"))
    tcp6(d, "PA", data=pat(1300)); tcp6(d, "PA", data=pat(1440)); tcp6(d, "PA", data=pat(1200)); tsvc6(d, "", 81, rs=f"{RS[2][0]}:81"); out = d.send("eth0", d.c6(TCP(sport=40000, dport=81, flags="S", seq=1000))); d.send("eth1", d.r(2, ICMP(type=3, code=1) / Raw(out[0][1][14:]), dst="172.16.0.1")); d.send("eth1", d.r(2, ICMP(type=3, code=4, nexthopmtu=1300) / Raw(out[0][1][14:]), dst="172.16.0.1")); tcp6(d, "PA", dport=81, data=pat(1300)); d.show("-Lnc"); d.stats()
