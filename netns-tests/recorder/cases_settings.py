"""Settings and special ports."""
from common import *
def case_set_sloppy_tcp(d):
    """sloppy_tcp: every segment but a RST makes a connection."""
    svc(d); svc(d, "-t 10.9.9.9:81", servers=((4, ""),), rport=81, mode="-g"); d.sysctl("sloppy_tcp", 1)
    for i, f in enumerate(("A", "FA", "SA", "PA", "", "R", "RA", "F", "S", "SR")): tcp(d, f, 40000 + i); tcp(d, f, 40000 + i, 81)
    d.show("-Lnc"); d.sysctl("sloppy_tcp", 0); tcp(d, "A", 40020); tcp(d, "A", 40000); d.show("-Ln")
def case_set_drop_packet(d):
    """drop_packet=3 with am_droprate 3: the first and every third scheduling attempt is dropped; existing connections are not touched."""
    svc(d); svc(d, "-u 10.9.9.9:53", rport=53); d.adm("-A -t 10.9.9.9:90 -s rr"); d.sysctl("am_droprate", 3); d.sysctl("drop_packet", 3); d.sleep(2)
    syns(d, 4); d.syn(40100, dport=90); d.syn(40101, dport=90); tcp(d, "A", 40001); tcp(d, "A", 40050); d.syn(40000, dport=99); udps(d, 5); d.udp(41001); d.sysctl("drop_packet", 0); syns(d, 4, base=40200); d.show("-Ln"); d.stats()
def case_set_cache_bypass(d):
    """cache_bypass: packets of a mark that are routed to the director, and no server: sent on to where they were going."""
    d.mark("ip daddr 198.51.100.0/24", 1); d.mark("ip6 daddr fd55::/64", 1); sh("ip -n dir rule add fwmark 1 lookup 100; ip -n dir route add local default dev lo table 100; ip -n dir -6 rule add fwmark 1 lookup 100; ip -n dir -6 route add local default dev lo table 100"); d.note("what carries mark 1 is local to the director, by a policy rule")
    d.adm("-A -f 1 -s rr"); d.adm("-A -f 1 -6 -s rr"); d.syn(40000, dst="198.51.100.7"); syn6(d, 40000, dst="fd55::7"); d.sysctl("cache_bypass", 1); d.syn(40000, dst="198.51.100.7"); tcp(d, "A", dst="198.51.100.7"); tcp(d, "A", dst="198.51.100.7", ttl=1); syn6(d, 40000, dst="fd55::7"); d.udp(41000, dst="198.51.100.8"); d.send("eth0", d.c(UDP(sport=41000, dport=53) / pat(20), dst="198.51.100.8", tos=4, flags="DF")); d.show("-Lnc"); d.adm("-a -f 1 -r 172.16.0.11 -m"); d.syn(40001, dst="198.51.100.7"); d.syn(40000, dst="198.51.100.7"); d.show("-Lnc"); d.show("-Ln"); d.stats()
def case_set_snat_reroute(d):
    """snat_reroute: replies are routed again by their new source address, or not."""
    sh("ip -n dir rule add from 10.9.9.9 lookup 50; ip -n dir route add default via 172.16.0.254 dev eth1 table 50"); d.note("what comes from 10.9.9.9 is routed by 172.16.0.254 on eth1")
    svc(d, servers=((1, ""),)); d.syn(40000); rtcp(d, 1, "SA"); d.sysctl("snat_reroute", 0); rtcp(d, 1, "SA"); d.sysctl("snat_reroute", 1); rtcp(d, 1, "SA"); d.adm("-A -t 10.9.9.9:90 -s rr"); d.syn(40000, dport=90); d.syn(40000, dport=91)
def case_set_run_estimation(d):
    """run_estimation=0: the counters shown stand still; on again they catch up."""
    svc(d); syns(d, 3); d.stats(); d.sysctl("run_estimation", 0); syns(d, 3, base=40100); d.stats(); d.show("-Ln"); d.sysctl("run_estimation", 1); syns(d, 1, base=40200); d.stats()
def case_port_source_20(d):
    """Client source port 20 is not scheduled, of TCP, UDP, SCTP, IPv6; established ones are found none the less."""
    svc(d); svc(d, "-u 10.9.9.9:53", rport=53); svc6(d); d.syn(20); d.udp(20); syn6(d, 20); d.syn(21); d.syn(40000); d.send("eth0", d.c(SCTP(sport=20, dport=9, tag=1) / Raw(b"\x01\x00\x00\x14" + bytes(16)))); d.show("-Lnc")
def case_port_source_0(d):
    """Source port 0: TCP and UDP; each makes a new connection; destination port 0."""
    svc(d, "-u 10.9.9.9:53", rport=53); svc(d); [d.udp(0) for _ in range(4)]; [d.syn(0) for _ in range(3)]; d.send("eth1", d.r(3, UDP(sport=53, dport=0) / b"re", dst=C4)); d.udp(41000, dport=0); d.syn(40000, dport=0); d.show("-Lnc"); d.show("-Ln")
def case_esp_ah(d):
    """ESP and AH: followed only where a UDP port 500 connection is; NAT and DR; IPv6."""
    svc(d, "-u 10.9.9.9:500", servers=((1, ""),), rport=500); esp, ah = Raw(pat(40)), Raw(b"\x06\x04\x00\x00\x00\x00\x01\x00\x00\x00\x00\x01" + pat(32)); d.send("eth0", d.c(esp, proto=50)); d.send("eth0", d.c(UDP(sport=500, dport=500) / b"ike")); d.send("eth0", d.c(esp, proto=50)); d.send("eth0", d.c(ah, proto=51)); d.send("eth0", d.c(esp, proto=50, ttl=1)); d.send("eth1", d.r(1, esp, dst=C4, proto=50)); d.send("eth1", d.r(1, ah, dst=C4, proto=51)); d.send("eth0", d.c(esp, proto=50, client=2)); d.show("-Lnc")
    svc(d, "-u 10.9.9.9:4500", servers=((2, ""),), rport=4500); d.udp(4500, dport=4500); d.adm("-D -u 10.9.9.9:500"); svc(d, "-u 10.9.9.9:500", servers=((3, ""),), rport=500, mode="-g"); d.send("eth0", d.c(UDP(sport=500, dport=500) / b"ike", client=3)); d.send("eth0", d.c(esp, proto=50, client=3)); svc6(d, "-u [fd99::9]:500", servers=((4, ""),), rport=500); d.send("eth0", d.c6(UDP(sport=500, dport=500) / b"ike")); d.send("eth0", d.c6(Raw(pat(40)), nh=50)); d.show("-Lnc"); d.stats()
def case_service_lookup(d):
    """Several services of one VIP and several VIPs: exact ones, marks first, other protocols pass."""
    sh("ip -n dir addr add 10.9.9.10/32 dev lo"); d.note("10.9.9.10 is the director's too"); svc(d); svc(d, "-t 10.9.9.10:80", servers=((4, ""),)); svc(d, "-u 10.9.9.9:80", servers=((5, ""),)); d.syn(40000); d.syn(40000, dst="10.9.9.10"); d.udp(40000, dport=80); d.udp(40000, dport=80, dst="10.9.9.10"); d.syn(40001, dport=8080); d.mark("ip daddr 10.9.9.10", 3); d.syn(40002, dst="10.9.9.10"); svc(d, "-f 3", servers=((6, ""),), rport=None, mode="-g"); d.syn(40003, dst="10.9.9.10"); d.syn(40000, dst="10.9.9.10"); d.syn(40003, dst="10.9.9.10", dport=99); d.show("-Lnc"); d.show("-Ln")
def case_addr_not_local(d):
    """A service whose address is not the director's: transit packets are not scheduled; a directed broadcast is not either."""
    svc(d, "-t 198.51.100.80:80"); d.syn(40000, dst="198.51.100.80"); d.syn(40000, dst="172.16.0.255"); d.adm("-A -t 10.0.0.1:80 -s rr"); d.adm("-a -t 10.0.0.1:80 -r 172.16.0.14:80 -m"); d.syn(40000, dst="10.0.0.1"); rtcp(d, 4, "SA"); d.adm("-A -t 172.16.0.1:80 -s rr"); d.adm("-a -t 172.16.0.1:80 -r 172.16.0.15:80 -m"); d.syn(40000, dst="172.16.0.1"); d.show("-Lnc"); d.show("-Ln")
def case_local_server(d):
    """The director itself as real server: by NAT, DR and tunnel; it has nobody listening there."""
    for i, (m, rs) in enumerate((("-m", "10.9.9.9:8080"), ("-g", "10.9.9.9:81"), ("-i", "10.9.9.9:82"), ("-m", "172.16.0.1:8080"), ("-g", "172.16.0.1:84"), ("-m", "127.0.0.1:8080"))): d.adm(f"-A -t 10.9.9.9:{80 + i} -s rr"); d.adm(f"-a -t 10.9.9.9:{80 + i} -r {rs} {m}"); d.syn(40000, dport=80 + i)
    d.show("-Ln"); d.show("-Lnc"); d.stats()
def case_local_server_ipv6(d):
    """The same with IPv6."""
    for i, (m, rs) in enumerate((("-m", "[fd99::9]:8080"), ("-g", "[fd99::9]:81"), ("-m", "[fd01::1]:8080"), ("-m", "[::1]:8080"))): d.adm(f"-A -t [fd99::9]:{80 + i} -s rr"); d.adm(f"-a -t [fd99::9]:{80 + i} -r {rs} {m}", ok=False); syn6(d, 40000, dport=80 + i)
    d.show("-Ln"); d.show("-Lnc"); d.stats()
def case_thresholds_edit(d):
    """Thresholds raised, lowered, removed by an edit while full; without a lower one, three quarters count."""
    svc(d, servers=((1, "-x 4"),)); got = [d.open_nat(40000 + i) for i in range(4)]; d.syn(40010); d.adm("-e -t 10.9.9.9:80 -r 172.16.0.11:80 -m -x 5"); d.syn(40011); d.syn(40012); d.adm("-e -t 10.9.9.9:80 -r 172.16.0.11:80 -m -x 3"); d.syn(40013); d.adm("-e -t 10.9.9.9:80 -r 172.16.0.11:80 -m -x 2 -y 1"); d.syn(40014); d.adm("-e -t 10.9.9.9:80 -r 172.16.0.11:80 -m"); d.syn(40015); d.show("-Ln --thresholds"); d.adm("-e -t 10.9.9.9:80 -r 172.16.0.11:80 -m -x 6"); d.syn(40016); d.syn(40017); d.show("-Ln --thresholds")
def case_thresholds_udp(d):
    """A full UDP server is free again when its connections run out: below the lower threshold, or below three quarters of the upper."""
    d.adm("--set 0 0 4"); svc(d, "-u 10.9.9.9:53", rport=53, servers=((1, "-x 4 -y 2"), (2, "-x 4"))); udps(d, 4); d.sleep(2); udps(d, 4, base=41100); d.udp(41200); d.show("-Ln --thresholds"); d.sleep(3); d.show("-Ln --thresholds"); d.udp(41201); d.udp(41202); d.sleep(3); udps(d, 3, base=41300); d.show("-Ln --thresholds"); d.show("-Lnc")
