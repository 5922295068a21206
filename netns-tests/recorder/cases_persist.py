"""Persistence."""
from common import *

def case_persist_ipv6(d):
    """IPv6 persistence, whole addresses and a prefix of 64; UDP too."""
    svc6(d, flags="-p 60 -M 64"); svc6(d, "-u [fd99::9]:53", flags="-p 90", rport=5353)
    for s in ("fd55::1", "fd55::2:0:0:1", "fd55:0:0:1::1", "fd55:0:0:1::2"): syn6(d, 40000, src=s); syn6(d, 40001, src=s); udp6(d, 41000, src=s)
    udp6(d, 41001, src="fd55::1"); d.show("-Lnc"); d.show("-Ln"); d.show("-Ln --persistent-conn")
def case_persist_udp_any_port(d):
    """UDP on port 0, persistent, with a server port that is not used; TCP beside it."""
    svc(d, "-u 10.9.9.9:0", flags="-p 60", rport=5353); svc(d, "-u 10.9.9.9:53", rport=53, servers=((5, ""),)); [d.udp(41000 + i, dport=p) for i, p in enumerate((69, 53, 5353, 69))]; [d.udp(41000, dport=p, client=2) for p in (69, 123)]; d.send("eth1", d.r(3, UDP(sport=69, dport=41000) / b"ok", dst=C4)); d.syn(40000); d.show("-Lnc"); d.show("-Ln")
def case_persist_fwmark(d):
    """A mark over TCP and UDP and two ports: one template for all, the packet's own port kept; an unmarked packet meets the address service."""
    d.mark("ip daddr 10.9.9.9 tcp dport { 80, 443 }", 5); d.mark("ip daddr 10.9.9.9 udp dport 53", 5); svc(d, "-f 5", flags="-p 120", rport=8080); svc(d, "-t 10.9.9.9:80", servers=((7, ""),)); svc(d, "-t 10.9.9.9:81", servers=((8, ""),), rport=81)
    d.syn(40000); d.syn(40001, dport=443); d.udp(41000); d.syn(40002, dport=81); d.syn(40000, client=2); d.udp(41000, client=2); d.udp(41000, dport=99); d.show("-Lnc"); d.show("-Ln"); d.adm("-D -f 5"); d.syn(40003); d.syn(40001, dport=443); d.show("-Lnc")
def case_fwmark_not_persistent(d):
    """A mark without persistence: the server's port is used if given, else the packet's own."""
    d.mark("ip daddr 10.9.9.9 tcp dport { 80, 443 }", 5); d.adm("-A -f 5 -s rr"); d.adm("-a -f 5 -r 172.16.0.11 -m"); d.adm("-a -f 5 -r 172.16.0.12:8080 -m"); [d.syn(40000 + i, dport=p) for i, p in enumerate((80, 443, 80, 443))]; rtcp(d, 2, "SA", 40000, sport=8080); rtcp(d, 2, "SA", 40002, sport=8080); rtcp(d, 1, "SA", 40001, sport=443); d.show("-Lnc"); d.show("-Ln"); d.stats()
def case_fwmark_ipv6(d):
    """IPv6 marks: persistent with a prefix, DR and NAT; the IPv4 service of the same mark is another."""
    d.mark("ip6 daddr fd99::9 tcp dport { 80, 443 }", 6); d.mark("ip daddr 10.9.9.9 tcp dport 80", 6); d.adm("-A -f 6 -6 -s rr -p 60 -M 64"); [d.adm(f"-a -f 6 -6 -r [{RS[n][1]}]:0 -m") for n in (1, 2)]; svc(d, "-f 6", rport=None, mode="-g", servers=((5, ""),))
    syn6(d, 40000); syn6(d, 40001, dport=443); syn6(d, 40000, src="fd55::1"); syn6(d, 40000, src="fd55::2"); d.syn(40000); rtcp6(d, 2, "SA", 40000); d.show("-Lnc"); d.show("-Ln"); d.show("-Ln --persistent-conn")
def case_fwmark_big(d):
    """Marks above 2^31 and of every bit."""
    d.mark("tcp dport 80", 2147483648); d.mark("tcp dport 81", 4294967295); svc(d, "-f 2147483648", flags="-p 60", rport=None, servers=((1, ""),), mode="-g"); svc(d, "-f 4294967295", rport=None, servers=((2, ""),), mode="-g"); d.syn(40000); d.syn(40000, dport=81); d.show("-Ln"); d.show("-Lnc"); d.show("-Sn"); d.stats()
def case_persist_weight0(d):
    """A template's server at weight 0 is still used, until expire_quiescent_template; new clients go elsewhere."""
    svc(d, flags="-p 60"); n = d.syn(40000); d.adm(f"-e -t 10.9.9.9:80 -r {RS[n][0]}:80 -m -w 0"); d.syn(40001); d.syn(40000, client=2); d.show("-Lnc"); d.sysctl("expire_quiescent_template", 1); d.syn(40002); d.syn(40003); d.show("-Lnc"); d.show("-Ln --persistent-conn"); d.adm(f"-e -t 10.9.9.9:80 -r {RS[n][0]}:80 -m -w 1"); d.syn(40004); d.show("-Ln")
def case_persist_delete(d):
    """A template's server is deleted: the client gets another; added again, the template made since stays."""
    svc(d, flags="-p 60"); n = d.syn(40000); d.adm(f"-d -t 10.9.9.9:80 -r {RS[n][0]}:80"); tcp(d, "A"); d.syn(40001); d.show("-Lnc"); d.adm(f"-a -t 10.9.9.9:80 -r {RS[n][0]}:80 -m"); tcp(d, "A"); d.syn(40002); d.syn(40000, client=2); d.show("-Lnc"); d.show("-Ln --persistent-conn"); d.show("-Ln")
def case_persist_readd(d):
    """A template's server is deleted and added again before the client comes back."""
    svc(d, flags="-p 60"); n = d.syn(40000); d.syn(40000, client=2); d.adm(f"-d -t 10.9.9.9:80 -r {RS[n][0]}:80"); d.adm(f"-a -t 10.9.9.9:80 -r {RS[n][0]}:80 -m -w 4"); d.show("-Ln --persistent-conn"); d.syn(40001); d.syn(40001, client=3); d.show("-Lnc"); d.show("-Ln")
def case_persist_expiry(d):
    """Templates of three seconds: one without connections left goes; one with a live connection is kept for sixty."""
    d.adm("--set 0 0 2"); svc(d, "-u 10.9.9.9:53", flags="-p 3", rport=53); svc(d, flags="-p 3"); d.udp(41000); d.syn(40000); d.show("-Lnc"); d.sleep(5); d.show("-Lnc"); d.show("-Ln --persistent-conn"); d.udp(41001); d.syn(40001); d.show("-Lnc"); d.show("-Ln")
def case_persist_edit(d):
    """The service's timeout and mask edited: old templates keep theirs; persistence switched off and on."""
    svc(d, flags="-p 100"); d.syn(40000); d.adm("-E -t 10.9.9.9:80 -s rr -p 500"); d.syn(40001); d.syn(40000, client=2); d.show("-Lnc"); d.adm("-E -t 10.9.9.9:80 -s rr -p 500 -M 255.255.255.0"); d.syn(40002); d.syn(40002, client=2); d.syn(40002, client=3); d.show("-Lnc"); d.adm("-E -t 10.9.9.9:80 -s rr"); d.syn(40003); d.syn(40004); d.show("-Ln"); d.adm("-E -t 10.9.9.9:80 -s rr -p 30"); d.syn(40005); d.show("-Lnc"); d.show("-Ln --persistent-conn")
def case_persist_thresholds(d):
    """Templates and thresholds: a full server keeps its old clients; templates count for nothing but are seen when they bind."""
    svc(d, flags="-p 60", servers=((1, "-x 2"), (2, "-x 3"))); [d.syn(40000, client=c) for c in (1, 2, 3, 4)]; d.show("-Ln --thresholds"); [d.syn(40001, client=c) for c in (1, 2, 3, 4)]; d.syn(40000, src="198.51.100.1"); d.syn(40000, src="198.51.100.2"); d.show("-Ln --thresholds"); d.show("-Ln --persistent-conn"); d.show("-Lnc")
def case_persist_ftp(d):
    """Port 21, persistent: port 20 and high ports of the VIP belong to it, low ones do not."""
    svc(d, "-t 10.9.9.9:21", flags="-p 60", rport=21, mode="-g"); [d.syn(40000 + i, dport=p) for i, p in enumerate((21, 20, 5000, 1023, 1024, 80, 65535))]; d.udp(41000, dport=5000); d.syn(40000, dport=5000, client=2); d.show("-Lnc"); d.show("-Ln")
def case_ftp_not_persistent(d):
    """Port 21 without persistence: high ports reach the host, port 21 is scheduled."""
    svc(d, "-t 10.9.9.9:21", rport=21); [d.syn(40000 + i, dport=p) for i, p in enumerate((21, 20, 5000, 80, 21))]; d.show("-Lnc"); d.stats()
def case_port0_ipv6(d):
    """An IPv6 persistent any-port service beside an exact one; UDP is not its affair."""
    svc6(d, "-t [fd99::9]:0", flags="-p 60", rport=0); svc6(d, "-t [fd99::9]:443", servers=((5, ""),), rport=443); [syn6(d, 40000 + i, dport=p) for i, p in enumerate((80, 443, 8080, 1))]; udp6(d, 41000); d.show("-Lnc"); d.show("-Ln")
def case_persist_ops(d):
    """One-packet scheduling with persistence, IPv4 and IPv6; replies."""
    svc(d, "-u 10.9.9.9:53", flags="-o -p 60", rport=5353); [d.udp(41000) for _ in range(3)]; [d.udp(41000, client=2) for _ in range(2)]; d.send("eth1", d.r(3, UDP(sport=5353, dport=41000) / b"re", dst=C4)); d.show("-Lnc"); svc6(d, "-u [fd99::9]:53", flags="-o", rport=53, mode="-g"); [udp6(d, 41000) for _ in range(4)]; d.show("-Ln"); d.show("-Ln --persistent-conn"); d.stats()
def case_ops_weights(d):
    """One-packet scheduling with wrr, lc and thresholds: nothing is ever open."""
    svc(d, "-u 10.9.9.9:53", "wrr", "-o", servers=((1, "-w 3 -x 1"), (2, "-w 1")), rport=5353); [d.udp(41000) for _ in range(6)]; d.adm("-E -u 10.9.9.9:53 -s lc -o"); [d.udp(41000) for _ in range(3)]; d.adm("-E -u 10.9.9.9:53 -s rr"); [d.udp(41000) for _ in range(3)]; d.show("-Lnc"); d.adm("-E -u 10.9.9.9:53 -s rr -o"); [d.udp(41000) for _ in range(2)]; d.udp(41001); d.show("-Ln"); d.stats()
SIP = lambda cid, m="INVITE", h="Call-ID": f"{m} sip:a@b SIP/2.0\r\nVia: x\r\n{h}: {cid}\r\n\r\n".encode()
def case_persist_sip(d):
    """The persistence engine sip: by Call-ID, compact and in small letters; without one, dropped; the server asks first."""
    svc(d, "-u 10.9.9.9:5060", flags="-p 60 --pe sip", rport=5060); U = lambda s, data, **k: d.udp(s, dport=5060, data=data, **k)
    U(41000, SIP("one@x")); U(41001, SIP("two@x")); U(41002, SIP("one@x", "BYE")); U(41003, SIP("two@x", h="i")); U(41004, SIP("one@x", h="call-id")); U(41005, b"no header at all"); U(41006, b""); U(41007, SIP("c" * 300)); U(41008, SIP("one@x"), client=2); U(41009, b"INVITE sip:a SIP/2.0\r\nCall-ID: cut")
    U(41000, SIP("three@x")); d.show("-Lnc"); d.show("-Lnc --persistent-conn"); d.send("eth1", d.r(1, UDP(sport=5060, dport=5060) / SIP("out@x"), dst=CLIENTS[3][0])); d.send("eth1", d.r(2, UDP(sport=5060, dport=5061) / SIP("one@x"), dst=C4)); d.show("-Lnc --persistent-conn"); d.show("-Ln"); d.show("-Sn")
def case_persist_sip_ops(d):
    """sip with one-packet scheduling: replies still find their way."""
    svc(d, "-u 10.9.9.9:5060", flags="-p 60 --pe sip -o", rport=5060); U = lambda s, data, **k: d.udp(s, dport=5060, data=data, **k); n = U(41000, SIP("one@x")); U(41000, SIP("two@x")); U(41000, SIP("one@x", "ACK")); d.send("eth1", d.r(n, UDP(sport=5060, dport=41000) / SIP("one@x"), dst=C4)); d.show("-Lnc --persistent-conn"); d.show("-Ln"); d.stats()
def case_persist_sh(d):
    """Persistence over hashing, weighted and least-connection schedulers: asked once per template."""
    svc(d, sched="wrr", flags="-p 60 -M 255.255.255.0", servers=((1, "-w 2"), (2, "-w 1"), (3, "-w 0"))); [d.syn(40000 + k, src=f"198.51.{i}.{k}") for i in (100, 101, 102, 103) for k in (1, 2)]; d.adm("-E -t 10.9.9.9:80 -s lc -p 60"); [d.syn(40010, src=f"198.51.{i}.1") for i in (100, 104, 105)]; d.adm("-E -t 10.9.9.9:80 -s sh -p 60"); [d.syn(40020, src=f"198.51.{i}.1") for i in (106, 107)]; d.show("-Lnc"); d.show("-Ln --persistent-conn"); d.stats()
def case_persist_tun(d):
    """Persistence with tunnels, and a service of two methods."""
    d.adm("-A -t 10.9.9.9:80 -s rr -p 60"); d.adm("-a -t 10.9.9.9:80 -r 172.16.0.11 -i"); d.adm("-a -t 10.9.9.9:80 -r 172.16.0.12:8080 -m"); d.adm("-a -t 10.9.9.9:80 -r 172.16.0.13 -g"); [(d.syn(40000, client=c), d.syn(40001, client=c)) for c in (1, 2, 3, 4)]; d.show("-Lnc"); d.show("-Ln")
