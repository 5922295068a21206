"""The order of listings: many services of all kinds."""
from common import *
def lists(d): [d.show(a) for a in ("-Ln --nosort", "-Ln", "-S -n", "-Ln --stats --nosort")]; d.proc("ip_vs")
def case_order_tcp(d):
    """Forty TCP services of several addresses."""
    for i in range(40): d.adm(f"-A -t 10.{9 + i % 3}.{i * 7 % 256}.{i * 13 % 256}:{80 + i * 331 % 60000} -s rr")
    lists(d)
def case_order_ports(d):
    """Sixty services of one address, TCP and UDP and SCTP on the same ports."""
    for i in range(20): [d.adm(f"-A {p} 10.9.9.9:{1 + i * 257} -s rr") for p in ("-t", "-u", "--sctp-service")]
    lists(d)
def case_order_ipv6(d):
    """Thirty IPv6 services, in which much of the address matters, and IPv4 ones between."""
    for i in range(30): d.adm(f"-A -{'tu'[i % 2]} [fd99:{i * 4097 % 65536:x}::{i * 31:x}:{i * 7:x}]:{80 + i} -s rr"); i % 3 or d.adm(f"-A -t 10.9.9.{i}:80 -s rr")
    lists(d)
def case_order_marks(d):
    """Marks small and large, of both families, after all others."""
    for i in range(24): d.adm(f"-A -f {1 + i * 0x01234567 % 4294967295} {'-6' if i % 2 else ''} -s rr")
    for i in range(8): d.adm(f"-A -f {2 + i * 256} -s rr"); d.adm(f"-A -f {2 + i * 256} -6 -s rr")
    d.adm("-A -t 10.9.9.9:80 -s rr"); d.adm("-A -u [fd99::9]:80 -s rr"); lists(d)
def case_order_changes(d):
    """Services of one bucket: the newest first; deleted and made anew; edits change nothing; a flush."""
    for i in range(24): d.adm(f"-A -t 10.9.9.{i}:{80 + (i << 8)} -s rr"); d.adm(f"-A -t 10.9.{i}.9:{i ^ 80} -s rr")
    lists(d)
    for i in (3, 9, 20): d.adm(f"-D -t 10.9.9.{i}:{80 + (i << 8)}")
    d.adm("-E -t 10.9.9.5:1360 -s wlc -p"); lists(d)
    for i in (9, 3): d.adm(f"-A -t 10.9.9.{i}:{80 + (i << 8)} -s rr")
    lists(d); d.adm("-C"); [d.adm(f"-A -f {i} -s rr") for i in (3, 1, 2)]; lists(d)
def case_order_servers(d):
    """Servers newest first; edits leave them where they are, added again they come first."""
    for p in (80, 81): d.adm(f"-A -t 10.9.9.9:{p} -s wrr")
    for i in range(30): d.adm(f"-a -t 10.9.9.9:80 -r 172.16.{i * 5 % 7}.{10 + i * 11 % 97}:{80 + i % 4} -m -w {i}")
    for i in range(10): d.adm(f"-a -t 10.9.9.9:81 -r [fd01::{i * 0x1111:x}:1]:{81 + i} -i"); d.adm(f"-a -t 10.9.9.9:81 -r 172.16.1.{200 - i}:81 -i")
    lists(d); d.adm("-e -t 10.9.9.9:80 -r 172.16.0.10:80 -m -w 77"); [(d.adm(f"-d -t 10.9.9.9:80 -r {a} "), d.adm(f"-a -t 10.9.9.9:80 -r {a} -g")) for a in ("172.16.5.21:81", "172.16.0.10:80")]; lists(d)
def case_order_everything(d):
    """Every kind together, with servers."""
    for i in range(12): [d.adm(f"-A {p} -s rr") for p in (f"-t 10.9.{i}.9:80", f"-u 10.9.9.{i}:{53 + i}", f"-t [fd99::{i:x}:9]:80", f"--sctp-service [fd99::9]:{9 + i}", f"-f {i + 1}")]; d.adm(f"-a -t 10.9.{i}.9:80 -r 172.16.0.11:80 -m"); d.adm(f"-a -t 10.9.{i}.9:80 -r 172.16.0.12:80 -g")
    lists(d)
