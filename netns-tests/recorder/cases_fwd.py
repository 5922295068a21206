"""Forwarding, byte by byte: NAT and DR."""
from common import *

def case_fwd_nat_mtu(d):
    """NAT to a link of MTU 1400: DF set (frag-needed to the client), DF clear (fragments), exactly the MTU, then a reply of full size."""
    svc(d, servers=((1, ""),)); d.open_nat(40000)
    for n in (1360, 1361, 1460): tcp(d, "PA", data=pat(n), flags="DF")
    for n in (1360, 1361, 1460): tcp(d, "PA", data=pat(n))
    tcp(d, "PA", data=pat(1460), flags="DF", tos=0x2b, ttl=1); tcp(d, "PA", data=pat(1460), tos=0x2b, ttl=2); tcp(d, "PA", data=pat(1400), flags="DF", options=[IPOption_NOP()] * 4); tcp(d, "PA", data=pat(1400), options=[IPOption_NOP()] * 4)
    rtcp(d, 1, "PA", data=pat(1360)); d.show("-Lnc"); d.stats()
case_fwd_nat_mtu.lab = {"mtu1": 1400}
def case_fwd_nat_mtu_reply(d):
    """Replies larger than the MTU towards the client, with DF and without, TCP and UDP."""
    svc(d, servers=((1, ""),)); svc(d, "-u 10.9.9.9:53", servers=((1, ""),), rport=53); d.open_nat(40000); d.udp(41000)
    for n in (1260, 1261, 1460): rtcp(d, 1, "PA", data=pat(n), flags="DF")
    for n in (1260, 1261, 1460): rtcp(d, 1, "PA", data=pat(n), tos=0x10)
    d.send("eth1", d.r(1, UDP(sport=53, dport=41000) / pat(1400), dst=C4)); d.send("eth1", d.r(1, UDP(sport=53, dport=41000) / pat(1400), dst=C4, flags="DF")); d.stats()
case_fwd_nat_mtu_reply.lab = {"mtu0": 1300}
def case_fwd_nat_ttl(d):
    """TTL 1 and 2 in both directions, TOS with ECN, the reserved flag, ID 0."""
    svc(d, servers=((1, ""),), rport=8080); d.open_nat(40000, rport=8080)
    for ttl in (1, 2, 255, 0): tcp(d, "PA", data=b"abc", ttl=ttl, tos=0x03)
    for ttl in (1, 2, 255): rtcp(d, 1, "PA", sport=8080, data=b"abcd", ttl=ttl, tos=0xb9)
    tcp(d, "A", id=0, flags="DF"); tcp(d, "A", flags="evil"); rtcp(d, 1, "A", sport=8080, id=0, flags="DF"); rtcp(d, 1, "A", sport=8080, flags="evil+DF")
    d.syn(40001); tcp(d, "S", 40002, ttl=1); d.show("-Lnc"); d.show("-Ln"); d.stats()
def case_fwd_nat_checksum(d):
    """Corrupt TCP and UDP checksums stay corrupt; UDP checksum 0 becomes a real one; a checksum that comes out as zero."""
    svc(d, servers=((1, ""),), rport=8080); svc(d, "-u 10.9.9.9:53", servers=((1, ""),), rport=5353); d.open_nat(40000, rport=8080)
    d.send("eth0", d.c(TCP(sport=40000, dport=80, flags="PA", seq=1001, ack=9001, chksum=0x1234) / b"bad")); d.send("eth0", d.c(TCP(sport=40000, dport=80, flags="PA", seq=1001, ack=9001, chksum=0) / b"bad"))
    d.send("eth1", d.r(1, TCP(sport=8080, dport=40000, flags="PA", seq=9001, ack=1001, chksum=0xffff) / b"bad", dst=C4)); d.send("eth0", d.c(TCP(sport=40005, dport=80, flags="S", seq=1, chksum=0xbeef)))
    for ck in (None, 0, 0x4321, 0xffff): d.send("eth0", d.c(UDP(sport=41000, dport=53, chksum=ck) / b"question")); d.send("eth1", d.r(1, UDP(sport=5353, dport=41000, chksum=ck) / b"answer!", dst=C4))
    # payloads that make the rewritten checksum zero: the checksum of the rest
    for sport, port, src, dst, snd in ((41001, 53, C4, RS[1][0], "q"), (5353, 41001, VIP, C4, "a")):
        l4 = UDP(sport=sport if snd == "q" else 53, dport=5353 if snd == "q" else port)
        data = raw(IP(src=src, dst=dst) / l4 / b"\0\0")[26:28]  # the sum without it: adding it makes the checksum zero
        if snd == "q": d.send("eth0", d.c(UDP(sport=41001, dport=53) / data))
        else: d.send("eth1", d.r(1, UDP(sport=5353, dport=41001) / data, dst=C4))
    d.show("-Lnc"); d.stats()
def case_fwd_nat_odd_frames(d):
    """Frames longer than their IP packet, cut short, with a wrong header checksum or version; foreign destinations. Most come to nothing."""
    svc(d, servers=((1, ""),)); svc(d, "-u 10.9.9.9:53", servers=((1, ""),), rport=53); d.open_nat(40000)
    good = raw(d.c(TCP(sport=40000, dport=80, flags="A", seq=1001, ack=9001))); d.send("eth0", good + bytes(6)); d.send("eth0", good + b"trailing rubbish")
    r = raw(d.r(1, TCP(sport=80, dport=40000, flags="A", seq=9001, ack=1001), dst=C4)); d.send("eth1", r + b"\xee" * 6)
    d.send("eth0", raw(d.c(UDP(sport=41000, dport=53) / b"x")) + bytes(17)); big = raw(d.c(UDP(sport=41000, dport=53) / pat(40)))
    d.send("eth0", big[:-5]); d.send("eth0", good[:-1]); d.send("eth0", good[:40])
    d.send("eth0", d.c(TCP(sport=40000, dport=80, flags="A"), chksum=0x1111)); d.send("eth0", good[:14] + b"\x55" + good[15:]); d.send("eth0", good[:14] + b"\x44" + good[15:])
    d.send("eth0", d.c(UDP(sport=41001, dport=53, len=30) / b"short")); d.send("eth0", d.c(UDP(sport=41002, dport=53, len=9) / b"longer than that")); d.send("eth0", d.c(UDP(sport=41003, dport=53, len=4) / b"x"))
    e = lambda mac: Ether(src=CLIENTS[1][2], dst=mac); p = lambda **k: IP(src=C4, dst=k.pop("dst", VIP), **k) / TCP(sport=40009, dport=80, flags="S", seq=1)
    for mac in ("02:00:00:00:00:77", "ff:ff:ff:ff:ff:ff", "01:00:5e:01:01:01", DIR1): d.send("eth0", e(mac) / p())
    d.send("eth0", e(DIR0) / p(dst="224.1.1.1")); d.send("eth0", e(DIR0) / p(dst="255.255.255.255")); d.send("eth0", Ether(src=CLIENTS[1][2], dst=DIR0) / Dot1Q(vlan=5) / p())
    d.send("eth0", Ether(src=CLIENTS[1][2], dst=DIR0) / IP(src="127.0.0.1", dst=VIP) / TCP(sport=40009, dport=80, flags="S")); d.send("eth0", Ether(src=CLIENTS[1][2], dst=DIR0) / IP(src=VIP, dst=VIP) / TCP(sport=40009, dport=80, flags="S")); d.send("eth0", Ether(src=CLIENTS[1][2], dst=DIR0) / IP(src="0.0.0.0", dst=VIP) / TCP(sport=40009, dport=80, flags="S"))
    d.show("-Lnc"); d.stats()
def case_fwd_tcp_short(d):
    """TCP segments with a bad header: cut short, data offset too small or too large, no flags, all flags, and reserved bits."""
    svc(d); svc(d, "-t 10.9.9.9:81", servers=((1, ""),), rport=81, mode="-g")
    ip = lambda p, n: d.send("eth0", d.c(Raw(raw(p)[:n]), proto=6))
    for port in (80, 81):
        s = TCP(sport=40000, dport=port, flags="S", seq=1); ip(s, 4); ip(s, 8); ip(s, 19); ip(s, 20)
        d.send("eth0", d.c(TCP(sport=40001, dport=port, flags="S", dataofs=4))); d.send("eth0", d.c(TCP(sport=40002, dport=port, flags="S", dataofs=15)))
        for i, f in enumerate(("", "FSRPAUECN", "SF", "SR", "FPU", "SEC", "P", "U")): d.send("eth0", d.c(TCP(sport=40010 + i, dport=port, flags=f, seq=1)))
        d.send("eth0", d.c(TCP(sport=40030, dport=port, flags="S", seq=1, options=[("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7)])))
    d.show("-Lnc"); d.show("-Ln")
def case_fwd_udp_short(d):
    """UDP datagrams with no data and with headers cut short."""
    svc(d, "-u 10.9.9.9:53", rport=53)
    d.send("eth0", d.c(UDP(sport=41000, dport=53))); d.send("eth0", d.c(Raw(raw(UDP(sport=41001, dport=53, len=8))[:7]), proto=17)); d.send("eth0", d.c(Raw(b"\xa0\x28\x00\x35"), proto=17)); d.send("eth0", d.c(Raw(b""), proto=17)); d.show("-Lnc")
def case_fwd_nat_options(d):
    """IP options: padding, router alert, record route, source route, an unknown one; requests and replies, through NAT and DR."""
    svc(d, servers=((1, ""),)); svc(d, "-t 10.9.9.9:81", servers=((2, ""),), rport=81, mode="-g"); d.open_nat(40000); d.syn(40000, dport=81)
    opts = ([IPOption_NOP()] * 4, [IPOption_Router_Alert()], [IPOption_RR(routers=["0.0.0.0", "0.0.0.0"], pointer=4)], [IPOption(b"\x83\x07\x04\x0a\x00\x00\x07\x00")], [IPOption(b"\x9e\x04\x01\x02")])
    for o in opts: tcp(d, "A", options=o)
    for o in opts: rtcp(d, 1, "A", options=o)
    for o in opts[:3]: tcp(d, "A", dport=81, options=o)
    d.show("-Lnc")
def case_fwd_nat_ipv6(d):
    """IPv6 NAT both ways: traffic class, flow label, hop limits, UDP checksums, extension headers."""
    svc6(d, rport=8080, servers=((1, ""),)); svc6(d, "-u [fd99::9]:53", rport=5353, servers=((2, ""),))
    tcp6(d, "S", seq=1000, ack=0); rtcp6(d, 1, "SA", sport=8080, seq=9000); tcp6(d, "A"); tcp6(d, "PA", data=b"GET /", tc=0xb9, fl=0x12345); rtcp6(d, 1, "PA", sport=8080, data=b"ok", tc=0x23, fl=0x54321)
    for h in (1, 2): tcp6(d, "A", hlim=h); rtcp6(d, 1, "A", sport=8080, hlim=h)
    udp6(d, 41000); d.send("eth1", d.r6(2, UDP(sport=5353, dport=41000) / b"answer", dst=C6)); d.send("eth0", d.c6(UDP(sport=41001, dport=53, chksum=0) / b"zero")); d.send("eth0", d.c6(UDP(sport=41000, dport=53, chksum=0x1111) / b"bad")); d.send("eth0", d.c6(TCP(sport=40000, dport=80, flags="A", seq=1001, ack=9001, chksum=7)))
    d.send("eth0", E0 / IPv6(src=C6, dst=VIP6) / IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(4))]) / TCP(sport=40000, dport=80, flags="A", seq=1001, ack=9001)); d.send("eth0", E0 / IPv6(src=C6, dst=VIP6) / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))]) / UDP(sport=41000, dport=53) / b"dst")
    d.send("eth0", E0 / IPv6(src=C6, dst=VIP6) / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))]) / TCP(sport=40003, dport=80, flags="S", seq=1)); d.send("eth1", E1(1) / IPv6(src=RS[1][1], dst=C6) / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))]) / TCP(sport=8080, dport=40003, flags="SA", seq=1, ack=2))
    d.show("-Lnc"); d.show("-Ln"); d.stats()
def case_fwd_mtu_ipv6(d):
    """IPv6 through NAT and DR to a link of MTU 1300: packet too big; a reply that fills its link."""
    svc6(d, servers=((1, ""),)); svc6(d, "-t [fd99::9]:81", servers=((2, ""),), rport=81, mode="-g"); syn6(d, 40000); syn6(d, 40000, dport=81)
    for n in (1240, 1241, 1440): tcp6(d, "PA", data=pat(n)); tcp6(d, "PA", dport=81, data=pat(n), tc=0x41, fl=0x777)
    tcp6(d, "PA", data=pat(1440), hlim=1); rtcp6(d, 1, "PA", data=pat(1240)); d.show("-Lnc"); d.stats()
case_fwd_mtu_ipv6.lab = {"mtu1": 1300}
def case_fwd_mtu_reply_ipv6(d):
    """IPv6 replies larger than the MTU towards the client."""
    svc6(d, servers=((1, ""),)); syn6(d, 40000)
    for n in (1240, 1241, 1440): rtcp6(d, 1, "PA", data=pat(n))
    d.send("eth1", d.r6(1, TCP(sport=9999, dport=5, flags="A") / pat(1400), dst=C6)); d.stats()
case_fwd_mtu_reply_ipv6.lab = {"mtu0": 1300}
def case_fwd_dr(d):
    """Direct routing: TTL 1 and 2, TOS, DF, options, bad checksums, UDP checksum 0, a frame longer than its packet, a server behind a router."""
    svc(d, mode="-g", servers=((1, ""),)); svc(d, "-u 10.9.9.9:53", mode="-g", servers=((2, ""),), rport=53); d.adm("-A -t 10.9.9.9:81 -s rr"); d.adm("-a -t 10.9.9.9:81 -r 192.168.77.5:81 -g")
    d.syn(40000); d.syn(40000, dport=81); tcp(d, "A", 40000, 81, tos=0xff, flags="DF"); tcp(d, "A", ttl=2, tos=0xb8, id=0); tcp(d, "A", ttl=1); tcp(d, "PA", data=b"x", flags="DF"); d.send("eth0", d.c(TCP(sport=40000, dport=80, flags="A", chksum=0x1234)))
    d.send("eth0", d.c(UDP(sport=41000, dport=53, chksum=0) / b"none")); d.send("eth0", d.c(UDP(sport=41000, dport=53, chksum=0x9999) / b"bad")); d.send("eth0", raw(d.c(UDP(sport=41000, dport=53) / b"pad")) + bytes(15))
    d.adm("-a -t 10.9.9.9:80 -r 172.16.0.14:8080 -g"); d.syn(40001); d.show("-Ln"); d.show("-Lnc"); d.stats()
def case_fwd_dr_mtu(d):
    """Direct routing to a link of MTU 1400: DF set, DF clear, TTL 1 first."""
    svc(d, mode="-g", servers=((1, ""),)); svc(d, "-u 10.9.9.9:53", mode="-g", servers=((2, ""),), rport=53); d.syn(40000)
    for n in (1360, 1361): tcp(d, "PA", data=pat(n), flags="DF"); tcp(d, "PA", data=pat(n))
    tcp(d, "PA", data=pat(1460), ttl=1); d.send("eth0", d.c(UDP(sport=41000, dport=53, chksum=0) / pat(1472), id=7, tos=4)); d.send("eth0", d.c(UDP(sport=41000, dport=53) / pat(1472), flags="DF", ttl=3, tos=4)); d.stats()
case_fwd_dr_mtu.lab = {"mtu1": 1400}
def case_fwd_dr_replies(d):
    """Direct routing, and the server's replies come through the director (whose own address the VIP is): first as it is, then with accept_local."""
    svc(d, mode="-g", servers=((1, ""),)); d.syn(40000); rtcp(d, 1, "SA", src=VIP, seq=9000); d.show("-Lnc")
    sh("ip netns exec dir sysctl -qw net.ipv4.conf.all.accept_local=1 net.ipv4.conf.eth1.accept_local=1"); d.note("net.ipv4.conf.all.accept_local=1: packets from the director's own addresses are let in")
    rtcp(d, 1, "SA", src=VIP, seq=9000); d.show("-Lnc"); tcp(d, "A"); d.show("-Lnc"); rtcp(d, 1, "PA", src=VIP, data=b"data"); tcp(d, "FA"); d.show("-Lnc"); rtcp(d, 1, "FA", src=VIP); d.show("-Lnc"); tcp(d, "A", seq=1002, ack=9002); d.show("-Lnc"); d.show("-Ln")
    rtcp(d, 1, "A", src=VIP, sport=81); d.stats()
def case_fwd_dr_replies_ipv6(d):
    """The same with IPv6: does a reply from the VIP pass through the director?"""
    svc6(d, mode="-g", servers=((1, ""),)); syn6(d, 40000); rtcp6(d, 1, "SA", src=VIP6, seq=9000); d.show("-Lnc"); tcp6(d, "A"); rtcp6(d, 1, "PA", src=VIP6, data=b"data"); d.show("-Lnc"); rtcp6(d, 1, "FA", src=VIP6); d.show("-Lnc"); d.show("-Ln"); d.stats()
def case_fwd_unmatched(d):
    """Packets of real servers that belong to no connection are forwarded as they are; then nat_icmp_send."""
    svc(d); d.open_nat(40000); rtcp(d, 1, "SA", dport=50000); rtcp(d, 1, "A", sport=81); rtcp(d, 5, "A"); d.send("eth1", d.r(1, UDP(sport=53, dport=41000) / b"x", dst=C4)); d.send("eth1", d.r(1, ICMP(type=8) / b"ping", dst=C4)); rtcp(d, 1, "A", dport=50000, ttl=1)
    d.sysctl("nat_icmp_send", 1); rtcp(d, 1, "SA", dport=50000); rtcp(d, 1, "RA", dport=50000); rtcp(d, 1, "R", dport=50000); rtcp(d, 1, "A", sport=81); rtcp(d, 5, "A"); rtcp(d, 2, "PA", dport=50001, data=pat(800), tos=0x2c); d.send("eth1", d.r(1, UDP(sport=80, dport=41000) / b"x", dst=C4)); d.show("-Ln"); d.show("-Lnc")
def case_fwd_service_deleted(d):
    """A NAT service deleted while its connections live: requests and replies, another service remaining; then the last one deleted too; then added again."""
    svc(d); n = d.open_nat(40000); d.adm("-A -t 10.9.9.9:99 -s rr"); d.adm("-D -t 10.9.9.9:80"); tcp(d, "PA", data=b"more"); rtcp(d, n, "PA", data=b"more"); d.syn(40001); d.show("-Lnc"); d.show("-Ln")
    d.adm("-D -t 10.9.9.9:99"); tcp(d, "PA", data=b"more"); rtcp(d, n, "PA", data=b"more"); d.show("-Lnc")
    svc(d); d.show("-Ln"); tcp(d, "PA", data=b"more"); rtcp(d, n, "PA", data=b"more"); d.syn(40002); d.show("-Ln"); d.show("-Lnc"); d.stats()
def case_fwd_dest_deleted(d):
    """A NAT server deleted and added again: requests are dropped, replies still go out; then both count again; UDP alike."""
    svc(d, servers=((1, ""),)); svc(d, "-u 10.9.9.9:53", rport=53, servers=((1, ""),)); d.open_nat(40000); d.udp(41000); d.stats()
    d.adm("-d -t 10.9.9.9:80 -r 172.16.0.11:80"); d.adm("-d -u 10.9.9.9:53 -r 172.16.0.11:53"); tcp(d, "PA", data=b"more"); rtcp(d, 1, "PA", data=b"more"); d.udp(41000); d.send("eth1", d.r(1, UDP(sport=53, dport=41000) / b"late", dst=C4)); d.syn(40001); d.show("-Ln"); d.stats()
    d.adm("-a -t 10.9.9.9:80 -r 172.16.0.11:80 -m -w 3"); d.adm("-a -u 10.9.9.9:53 -r 172.16.0.11:53 -m"); d.show("-Ln"); tcp(d, "PA", data=b"more"); rtcp(d, 1, "PA", data=b"more"); d.udp(41000); d.syn(40002); d.show("-Lnc"); d.show("-Ln"); d.stats()
def case_fwd_edit_method(d):
    """A server's method changed while connections live: they keep theirs, new ones get the new one."""
    svc(d, servers=((1, ""),)); d.open_nat(40000); d.adm("-e -t 10.9.9.9:80 -r 172.16.0.11:80 -g"); tcp(d, "A"); rtcp(d, 1, "A"); d.syn(40001); tcp(d, "A", 40001); d.adm("-e -t 10.9.9.9:80 -r 172.16.0.11:80 -i"); d.syn(40002); tcp(d, "A", 40001); tcp(d, "A"); d.adm("-e -t 10.9.9.9:80 -r 172.16.0.11:80 -m"); tcp(d, "A", 40002); d.show("-Ln"); d.show("-Lnc")
def case_fwd_no_route(d):
    """A server the director has no route to: host unreachable (and the VIP as a server: local delivery)."""
    sh("ip -n dir route add unreachable 192.168.99.0/24; ip -n dir -6 route add unreachable fd66::/64"); d.note("192.168.99.0/24 and fd66::/64 are unreachable")
    for m in ("-m", "-g", "-i"):
        d.adm("-A -t 10.9.9.9:80 -s rr"); d.adm(f"-a -t 10.9.9.9:80 -r 192.168.99.1:80 {m}"); d.syn(40000); tcp(d, "A"); d.show("-Ln"); d.adm("-C")
        d.adm("-A -t [fd99::9]:80 -s rr"); d.adm(f"-a -t [fd99::9]:80 -r [fd66::1]:80 {m}"); syn6(d, 40000); d.adm("-C")
    d.show("-Lnc")
def case_fwd_nat_from_server_net(d):
    """A client in the servers' own network: NAT sends it back out of eth1; the real server answers through the director."""
    svc(d, servers=((1, ""),)); d.send("eth1", Ether(src=RS[5][2], dst=DIR1) / IP(src=RS[5][0], dst=VIP, id=5) / TCP(sport=40000, dport=80, flags="S", seq=1)); d.send("eth1", d.r(1, TCP(sport=80, dport=40000, flags="SA", seq=9, ack=2), dst=RS[5][0])); d.show("-Lnc")
def case_fwd_same_tuple(d):
    """One client port to two services, and two clients with one port, on one server: all kept apart."""
    svc(d, servers=((1, ""),)); svc(d, "-t 10.9.9.9:81", servers=((1, ""),), rport=80); d.syn(40000); d.syn(40000, dport=81); d.syn(40000, client=2); rtcp(d, 1, "SA"); rtcp(d, 1, "SA", dst=CLIENTS[2][0]); d.show("-Lnc"); d.show("-Ln")
def case_fwd_edit_method_back(d):
    """The same from DR to NAT and to a tunnel, IPv4 and IPv6; a packet of the old kind only at the end."""
    svc(d, mode="-g", servers=((1, ""),)); d.syn(40000); d.adm("-e -t 10.9.9.9:80 -r 172.16.0.11:80 -m"); d.syn(40001); rtcp(d, 1, "SA", 40001); d.adm("-e -t 10.9.9.9:80 -r 172.16.0.11:80 -i"); d.syn(40002); d.adm("-e -t 10.9.9.9:80 -r 172.16.0.11:80 -g"); d.syn(40003); tcp(d, "A"); tcp(d, "A", 40002); tcp(d, "A", 40001); tcp(d, "A", 40003); d.show("-Ln"); d.show("-Lnc")
    svc6(d, mode="-g", servers=((1, ""),)); syn6(d, 40000); d.adm(f"-e -t [fd99::9]:80 -r [{RS[1][1]}]:80 -m"); syn6(d, 40001); tcp6(d, "A"); d.adm(f"-e -t [fd99::9]:80 -r [{RS[1][1]}]:80 -i"); syn6(d, 40002); tcp6(d, "A"); tcp6(d, "A", 40001); d.show("-Lnc")
