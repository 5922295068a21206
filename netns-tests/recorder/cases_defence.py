"""drop_entry, drop_packet, secure_tcp, and the memory threshold."""
from common import *
ALL, NONE = 2147483647, 0
def case_defence_modes(d):
    """Automatic modes turn from 1 to 2 and back: at a write of another value, and every second; never at the threshold's."""
    for n in ("drop_entry", "drop_packet", "secure_tcp"):
        d.write("amemthresh", str(NONE)); [d.write(n, v) for v in ("1", "2", "2", "3", "1", "0", "2", "1")]; d.sleep(1.5); d.write(n, "x")
        d.write("amemthresh", str(ALL)); d.write(n, "x"); d.sleep(1.5); d.write(n, "x"); [d.write(n, v) for v in ("1", "1", "2", "3", "0", "1", "2")]
        d.write("amemthresh", "-5"); d.write(n, "y"); d.sleep(1.5); d.write(n, "y"); d.write(n, "3"); d.sleep(1.5); d.write(n, "y"); d.write(n, "0")
def case_defence_drop_packet_auto(d):
    """drop_packet=1: without memory every attempt is dropped, with memory none; known connections go on."""
    svc(d); d.syn(40000); d.write("amemthresh", str(ALL)); d.syn(40001); d.write("drop_packet", "1"); [d.syn(40010 + i) for i in range(4)]; tcp(d, "A", 40000); d.write("amemthresh", str(NONE)); d.syn(40020); d.sleep(1.5); [d.syn(40030 + i) for i in range(4)]; d.write("drop_packet", "x")
    d.write("amemthresh", str(ALL)); d.sleep(1.5); d.write("drop_packet", "x"); d.syn(40040); d.write("drop_packet", "0"); d.syn(40050); d.show("-Ln"); d.show("-Lnc"); d.stats()
def case_defence_drop_rate(d):
    """drop_packet=3: the rate is taken over every second; 1, 0 and negative ones; the counter goes on where it was."""
    svc(d)
    d.sysctl("drop_packet", 3); [d.syn(40000 + i) for i in range(12)]
    for base, rate in ((100, 4), (200, 1), (300, 0), (400, -3), (500, 2)):
        d.sysctl("am_droprate", rate); d.sleep(1.5); [d.syn(40000 + base + i) for i in range(7)]
    d.sysctl("drop_packet", 0); d.syn(40600); d.sysctl("drop_packet", 3); [d.syn(40700 + i) for i in range(4)]; d.show("-Ln"); d.stats()
def case_defence_secure_tcp(d):
    """secure_tcp=3: a client alone does not establish a connection; states of NAT and DR, and the change of the table in the midst of it."""
    svc(d); svc(d, "-t 10.9.9.9:81", servers=((4, ""),), rport=81, mode="-g"); d.open_nat(40000); d.write("secure_tcp", "3"); d.open_nat(40001)
    d.syn(40002); tcp(d, "A", 40002); tcp(d, "FA", 40001); d.syn(40003, dport=81); tcp(d, "A", 40003, 81); tcp(d, "A", 40003, 81); tcp(d, "FA", 40003, 81); d.syn(40004); tcp(d, "R", 40004); d.show("-Lnc")
    d.write("secure_tcp", "0"); d.syn(40010); tcp(d, "A", 40010); tcp(d, "A", 40002); d.show("-Lnc"); d.show("-Ln")
def case_defence_secure_tcp_auto(d):
    """secure_tcp=1: the table changes within a second of the memory, not with the value alone."""
    svc(d); d.write("amemthresh", str(NONE)); d.write("secure_tcp", "1"); d.syn(40000); tcp(d, "A", 40000); d.show("-Lnc")
    d.write("amemthresh", str(ALL)); d.sleep(1.5); d.write("secure_tcp", "x"); d.syn(40001); tcp(d, "A", 40001); d.show("-Lnc")
    d.write("amemthresh", str(NONE)); d.sleep(1.5); d.write("secure_tcp", "x"); d.syn(40002); tcp(d, "A", 40002); tcp(d, "A", 40001); d.show("-Lnc")
    d.write("secure_tcp", "3"); d.write("secure_tcp", "1"); d.syn(40003); tcp(d, "A", 40003); d.show("-Lnc")
def case_defence_drop_entry(d):
    """drop_entry=3 for a quarter of an hour: half-open connections go, and templates that never carried one; established ones, closing ones and assured templates stay."""
    d.adm("--set 4000 4000 4000"); svc(d, flags="-p 5000"); svc(d, "-t 10.9.9.9:81", servers=((4, ""),), rport=81)
    n = d.open_nat(40000); [tcp(d, "A", 40000) for _ in range(9)]; d.syn(40001, client=2); d.syn(40002, dport=81); n = d.open_nat(40003, dport=81); [tcp(d, "A", 40003, 81) for _ in range(9)]; tcp(d, "FA", 40003, 81)
    d.show("-Lnc"); d.sysctl("drop_entry", 3); d.sleep(900); d.show("-Lnc"); d.show("-Ln --persistent-conn"); d.proc("ip_vs_conn"); d.sleep(1000); d.show("-Lnc"); tcp(d, "A", 40000); d.show("-Ln")
def case_defence_drop_entry_idle(d):
    """drop_entry=3: UDP connections and established ones of few packets go when they were idle for a minute; those of many packets stay."""
    d.adm("--set 8000 0 8000"); svc(d, "-u 10.9.9.9:53", rport=53); svc(d)
    d.udp(41000); [d.udp(41001) for _ in range(8)]; [d.udp(41002) for _ in range(9)]; d.open_nat(40000); d.open_nat(40001); [tcp(d, "A", 40001) for _ in range(9)]
    d.sysctl("drop_entry", 3); d.sleep(20); d.show("-Lnc"); d.sleep(3000); d.show("-Lnc"); d.show("-Ln"); d.udp(41000); d.sysctl("drop_entry", 0); d.sleep(900); d.show("-Lnc")
def case_defence_drop_entry_persistent(d):
    """drop_entry=3: the template goes with the last half-open connection that it controls; one-packet services' templates go by age."""
    d.adm("--set 8000 0 8000"); svc(d, flags="-p 9000"); svc(d, "-u 10.9.9.9:53", flags="-o -p 9000", rport=53); d.syn(40000); d.syn(40001); d.syn(40000, client=2); d.udp(41000, client=3); d.show("-Lnc")
    d.sysctl("drop_entry", 3); d.sleep(1500); d.show("-Lnc"); d.show("-Ln"); d.syn(40002); d.show("-Lnc")
def case_defence_drop_entry_auto(d):
    """drop_entry=1: nothing goes while there is memory, and what may go does when there is none."""
    d.adm("--set 8000 0 8000"); svc(d, "-u 10.9.9.9:53", rport=53); d.write("amemthresh", str(NONE)); d.write("drop_entry", "1"); d.udp(41000); d.udp(41001); d.sleep(1000); d.show("-Lnc"); d.write("amemthresh", str(ALL)); d.sleep(2000); d.show("-Lnc"); d.write("drop_entry", "x"); d.udp(41000); d.show("-Lnc")
def case_defence_drop_entry_sctp(d):
    """drop_entry=3 and SCTP: half-open associations go, established ones of few packets when idle, closing ones stay."""
    init = lambda tag: Raw(b"\x01\x00\x00\x14" + struct.pack("!I", tag) + bytes(12)); ab = lambda p, c, port=9: d.send("eth0", d.c(SCTP(sport=p, dport=port, tag=1) / c))
    svc(d, "--sctp-service 10.9.9.9:9", rport=9); d.adm("--set 8000 0 8000"); ab(40000, init(5)); ab(40001, init(6)); ab(40001, Raw(b"\x0e\x00\x00\x04")); d.show("-Lnc"); d.sysctl("drop_entry", 3); d.sleep(1); d.show("-Ln")
