"""Which server: every scheduler but twos."""
from common import *
W = lambda *w: tuple((i + 1, f"-w {x}") for i, x in enumerate(w))
def edit(d, n, w, kind="-t 10.9.9.9:80", port=80, mode="-m", more=""): d.adm(f"-e {kind} -r {RS[n][0]}:{port} {mode} -w {w} {more}".strip())
def dele(d, n, kind="-t 10.9.9.9:80", port=80): d.adm(f"-d {kind} -r {RS[n][0]}:{port}")
def add(d, n, w=1, kind="-t 10.9.9.9:80", port=80, mode="-m", more=""): d.adm(f"-a {kind} -r {RS[n][0]}:{port} {mode} -w {w} {more}".strip())

def case_sched_rr_edit(d):
    """Round robin: edits that change nothing, in mid-cycle; the pointed-at server deleted and added again; all at weight 0."""
    svc(d); syns(d, 4); edit(d, 1, 1); edit(d, 3, 1); syns(d, 4, base=40100)
    n = d.syn(40200); dele(d, n); syns(d, 3, base=40210); add(d, n); syns(d, 5, base=40220)
    d.adm("-E -t 10.9.9.9:80 -s rr"); syns(d, 2, base=40230)
    [edit(d, i, 0) for i in (1, 2, 3)]; syns(d, 1, base=40240); edit(d, 2, 1); syns(d, 3, base=40250); d.show("-Ln")
def case_sched_rr_udp(d):
    """Round robin of UDP: everything is inactive; a full server is passed over."""
    svc(d, "-u 10.9.9.9:53", rport=53, servers=((1, "-x 2"), (2, ""), (3, "-w 9"))); udps(d, 9); d.show("-Ln"); dele(d, 3, "-u 10.9.9.9:53", 53); udps(d, 4, base=41100); d.udp(41100); d.show("-Ln --thresholds")
def case_sched_rr_ipv6(d):
    """Round robin of IPv6, TCP and UDP."""
    svc6(d, mode="-g"); svc6(d, "-u [fd99::9]:53", rport=5353); syns6(d, 5); udps6(d, 4)
    d.adm(f"-e -t [fd99::9]:80 -r [{RS[2][1]}]:80 -g -w 0"); syns6(d, 4, base=40100); d.show("-Ln"); d.show("-Lnc")
def case_sched_wrr_gcd(d):
    """Weights 6, 4 and 2 (their divisor is 2), an edit that changes nothing in mid-cycle, then 9, 4 and 2 (divisor 1)."""
    svc(d, sched="wrr", servers=W(6, 4, 2)); syns(d, 9); edit(d, 2, 4); syns(d, 8, base=40100)
    edit(d, 1, 9); syns(d, 17, base=40200); d.show("-Ln")
def case_sched_wrr_zero(d):
    """Weight 0 among others, all at 0, and back; a server added and deleted in mid-cycle."""
    svc(d, sched="wrr", servers=W(3, 0, 2)); syns(d, 6); edit(d, 2, 1); syns(d, 5, base=40100); add(d, 4, 5); syns(d, 8, base=40200); dele(d, 1); syns(d, 6, base=40300)
    [edit(d, i, 0) for i in (2, 3, 4)]; syns(d, 2, base=40400); edit(d, 3, 2); edit(d, 2, 2); syns(d, 5, base=40500); d.show("-Ln")
def case_sched_wrr_big(d):
    """Big weights: 65535, 65534 and 100000 (each server once per level)."""
    svc(d, sched="wrr", servers=W(65535, 65534, 100000)); syns(d, 6); edit(d, 3, 65535); syns(d, 6, base=40100); edit(d, 2, 1); syns(d, 6, base=40200); edit(d, 1, 2147483647); syns(d, 3, base=40300); d.show("-Ln")
def case_sched_wrr_full(d):
    """Weighted round robin over thresholds: the heaviest server is full; UDP."""
    svc(d, "-u 10.9.9.9:53", "wrr", servers=((1, "-w 4 -x 3"), (2, "-w 2"), (3, "-w 1 -x 1")), rport=53); udps(d, 12); d.show("-Ln --thresholds")
    d.adm("-e -t 10.9.9.9:53 -r 172.16.0.12:53 -m -w 0", ok=False); edit(d, 2, 0, "-u 10.9.9.9:53", 53); udps(d, 2, base=41100); edit(d, 1, 4, "-u 10.9.9.9:53", 53, more="-x 6"); udps(d, 4, base=41200); d.show("-Ln")
def case_sched_wrr_ipv6(d):
    """Weighted round robin of IPv6, 3/1/2, with a re-added server."""
    svc6(d, sched="wrr", servers=W(3, 1, 2), mode="-g"); syns6(d, 8); d.adm(f"-d -t [fd99::9]:80 -r [{RS[1][1]}]:80"); syns6(d, 4, base=40100); d.adm(f"-a -t [fd99::9]:80 -r [{RS[1][1]}]:80 -g -w 3"); syns6(d, 7, base=40200); d.show("-Ln")
def case_sched_lc_udp(d):
    """Least connections of UDP: inactive ones count too; weight 0 left out; weights otherwise ignored."""
    svc(d, "-u 10.9.9.9:53", "lc", servers=W(1, 5, 0), rport=53); udps(d, 5); edit(d, 3, 1, "-u 10.9.9.9:53", 53); udps(d, 5, base=41100); d.show("-Ln"); dele(d, 1, "-u 10.9.9.9:53", 53); udps(d, 2, base=41200); add(d, 1, 1, "-u 10.9.9.9:53", 53); udps(d, 4, base=41300); d.show("-Ln")
def case_sched_lc_mixed(d):
    """Least connections, some closed and some open: an active one weighs as much as 256 inactive ones."""
    svc(d, sched="lc"); got = [d.open_nat(40000 + i) for i in range(6)]; [d.close_nat(got[i], 40000 + i) for i in (0, 1, 2, 3)]; d.show("-Ln"); syns(d, 5, base=40100); d.show("-Ln")
    tcp(d, "R", 40101, seq=1001); tcp(d, "R", 40102, seq=1001); d.show("-Ln"); syns(d, 3, base=40200); d.show("-Ln")
def case_sched_wlc_edge(d):
    """Weighted least connections: equal ratios take the first of the list, a weight of 0 and a full server are left out, an edit moves the choice."""
    svc(d, sched="wlc", servers=((1, "-w 2"), (2, "-w 2"), (3, "-w 4 -x 3"), (4, "-w 0"))); syns(d, 9); d.show("-Ln"); edit(d, 1, 10); syns(d, 6, base=40100); edit(d, 4, 1); syns(d, 3, base=40200); d.show("-Ln")
def case_sched_wlc_udp_ipv6(d):
    """Weighted least connections of IPv6 UDP, 1/2/3."""
    svc6(d, "-u [fd99::9]:53", "wlc", servers=W(1, 2, 3), rport=53); udps6(d, 10); d.show("-Ln"); d.adm(f"-d -u [fd99::9]:53 -r [{RS[3][1]}]:53"); udps6(d, 4, base=41100); d.show("-Ln")
def case_sched_sed(d):
    """Shortest expected delay: weights 5/1/1, zero weights, UDP (where only active ones count), a deleted server."""
    svc(d, sched="sed", servers=W(5, 1, 1)); syns(d, 9); edit(d, 1, 0); syns(d, 3, base=40100); edit(d, 1, 3); syns(d, 3, base=40200); d.show("-Ln")
    svc(d, "-u 10.9.9.9:53", "sed", servers=W(1, 3, 3), rport=53); udps(d, 4); dele(d, 3, "-u 10.9.9.9:53", 53); udps(d, 2, base=41100); d.show("-Ln")
def case_sched_nq(d):
    """Never queue: an idle server first, whatever its weight, unless that is 0; then shortest expected delay; UDP."""
    svc(d, sched="nq", servers=W(1, 10, 2, 0)); syns(d, 8); d.show("-Ln"); tcp(d, "R", 40000, seq=1001); tcp(d, "R", 40001, seq=1001); d.show("-Ln"); syns(d, 3, base=40100); edit(d, 4, 1); syns(d, 3, base=40200); d.show("-Ln")
    svc(d, "-u 10.9.9.9:53", "nq", servers=W(1, 3, 3), rport=53); udps(d, 4); edit(d, 3, 0, "-u 10.9.9.9:53", 53); udps(d, 2, base=41100); d.show("-Ln")
def case_sched_fo(d):
    """Failover: equal weights, thresholds, edits, UDP."""
    svc(d, sched="fo", servers=W(5, 5, 1)); syns(d, 2); edit(d, 1, 6); syns(d, 2, base=40100); dele(d, 1); syns(d, 2, base=40200); add(d, 4, 5); syns(d, 2, base=40300); edit(d, 4, 5, more="-x 3"); syns(d, 3, base=40400); [edit(d, i, 0) for i in (2, 4)]; syns(d, 2, base=40500); edit(d, 3, 0); syns(d, 1, base=40600); d.show("-Ln")
    svc(d, "-u 10.9.9.9:53", "fo", servers=W(1, 3, 2), rport=53); udps(d, 3); d.show("-Ln")
def case_sched_ovf(d):
    """Overflow: equal weights, all overflowed, one freed again; UDP never overflows."""
    svc(d, sched="ovf", servers=W(1, 1, 2)); syns(d, 8); d.show("-Ln"); tcp(d, "R", 40001, seq=1001); tcp(d, "FA", 40004); d.show("-Ln"); syns(d, 2, base=40100); edit(d, 2, 5); syns(d, 2, base=40200); d.show("-Ln")
    svc(d, "-u 10.9.9.9:53", "ovf", servers=W(1, 2, 1), rport=53); udps(d, 5); edit(d, 2, 0, "-u 10.9.9.9:53", 53); udps(d, 2, base=41100); d.show("-Ln")
def case_sched_dh(d):
    """Destination hashing over many addresses: weights are ignored but for 0; a server added and one deleted; a full one."""
    d.mark("ip daddr 10.9.8.0/24", 1); sh("ip -n dir route add local 10.9.8.0/24 dev lo"); d.note("10.9.8.0/24 is local to the director")
    svc(d, "-f 1", "dh", rport=None, mode="-g", servers=W(1, 9, 1)); [d.syn(40000, dst=f"10.9.8.{i}") for i in range(1, 9)]
    d.adm("-e -f 1 -r 172.16.0.12 -g -w 0"); [d.syn(40001, dst=f"10.9.8.{i}") for i in range(1, 9)]
    d.adm("-a -f 1 -r 172.16.0.14 -g"); [d.syn(40002, dst=f"10.9.8.{i}") for i in range(1, 13)]; d.adm("-d -f 1 -r 172.16.0.11"); [d.syn(40003, dst=f"10.9.8.{i}") for i in range(1, 13)]; d.show("-Ln")
def case_sched_dh_lblc_ipv6(d):
    """Destination hashing, lblc and lblcr of IPv6, by a firewall mark."""
    d.mark("ip6 daddr fd98::/64", 2); sh("ip -n dir -6 route add local fd98::/64 dev lo"); d.note("fd98::/64 is local to the director")
    d.adm("-A -f 2 -6 -s dh"); [d.adm(f"-a -f 2 -6 -r [{RS[n][1]}]:0 -g") for n in (1, 2, 3)]
    for i in (1, 2, 3, 0xff, 0x100, 0xabcd): syn6(d, 40000, dst=f"fd98::{i:x}")
    for i in (1, 2, 3): syn6(d, 40000, dst=f"fd98::{i:x}:0:0:1")
    d.adm("-E -f 2 -6 -s lblc"); [syn6(d, 40001 + k, dst=f"fd98::{i:x}") for k, i in enumerate((1, 2, 3, 1, 2, 3, 4))]
    d.adm("-E -f 2 -6 -s lblcr"); [syn6(d, 40101 + k, dst=f"fd98::{i:x}") for k, i in enumerate((1, 1, 2, 2, 1))]; d.show("-Ln"); d.show("-Lnc")
def case_sched_lblc(d):
    """Locality-based least connections: the cached server at weight 0, overloaded (more active than its weight while another is under half), full by threshold, deleted."""
    d.mark("ip daddr 10.9.8.0/24", 1); sh("ip -n dir route add local 10.9.8.0/24 dev lo"); d.note("10.9.8.0/24 is local to the director")
    svc(d, "-f 1", "lblc", rport=None, mode="-g", servers=W(2, 2, 2)); n = [d.syn(40000 + i, dst="10.9.8.1") for i in range(6)][-1]; d.show("-Ln")
    d.adm(f"-e -f 1 -r {RS[n][0]} -g -w 0"); n = d.syn(40100, dst="10.9.8.1"); d.syn(40101, dst="10.9.8.1"); d.adm(f"-d -f 1 -r {RS[n][0]}"); d.syn(40102, dst="10.9.8.1"); n = d.syn(40103, dst="10.9.8.1")
    d.adm(f"-e -f 1 -r {RS[n][0]} -g -w 20 -x 2"); d.syn(40104, dst="10.9.8.1"); d.syn(40105, dst="10.9.8.1"); d.syn(40106, dst="10.9.8.2"); d.show("-Ln")
def case_sched_lblcr(d):
    """Locality-based least connections with replication: one hot address grows a set of servers; weight 0 and deletion."""
    d.mark("ip daddr 10.9.8.0/24", 1); sh("ip -n dir route add local 10.9.8.0/24 dev lo"); d.note("10.9.8.0/24 is local to the director")
    svc(d, "-f 1", "lblcr", rport=None, mode="-g", servers=W(2, 2, 2, 1)); [d.syn(40000 + i, dst="10.9.8.1") for i in range(10)]; d.show("-Ln"); [d.syn(40000 + i, dst="10.9.8.2") for i in range(3)]
    d.adm("-e -f 1 -r 172.16.0.13 -g -w 0"); [d.syn(40100 + i, dst="10.9.8.1") for i in range(4)]; d.adm("-d -f 1 -r 172.16.0.14"); [d.syn(40200 + i, dst="10.9.8.1") for i in range(3)]; d.show("-Ln")
def case_sched_lblc_address(d):
    """lblc and dh for one VIP only: every client goes to one server."""
    svc(d, sched="lblc"); syns(d, 4); edit(d, 3, 0); syns(d, 2, base=40100); d.adm("-E -t 10.9.9.9:80 -s dh"); syns(d, 2, base=40200); d.adm("-E -t 10.9.9.9:80 -s lblcr"); syns(d, 4, base=40300); d.show("-Ln")
def case_sched_sh_weights(d):
    """Source hashing with weights: each server takes as many buckets in turn as it weighs (and one at weight 0)."""
    svc(d, sched="sh", servers=W(1, 4, 2)); [d.syn(40000, src=f"198.51.100.{i}") for i in range(1, 17)]; edit(d, 2, 1); [d.syn(40001, src=f"198.51.100.{i}") for i in range(1, 17)]; add(d, 4, 0); [d.syn(40002, src=f"198.51.100.{i}") for i in range(1, 13)]; dele(d, 1); [d.syn(40003, src=f"198.51.100.{i}") for i in range(1, 9)]; d.show("-Ln")
def case_sched_sh_fallback(d):
    """Source hashing with fallback and source port: weight 0, a full server, all gone; UDP."""
    svc(d, "-u 10.9.9.9:53", "sh", "-b sh-fallback,sh-port", rport=53, servers=((1, "-w 0"), (2, ""), (3, "-x 4"))); udps(d, 16); d.show("-Ln --thresholds"); edit(d, 2, 0, "-u 10.9.9.9:53", 53); udps(d, 3, base=41100); d.adm("-E -u 10.9.9.9:53 -s sh -b sh-port"); edit(d, 3, 1, "-u 10.9.9.9:53", 53); udps(d, 8, base=41200); d.show("-Ln")
def case_sched_sh_mh_ipv6(d):
    """Source and Maglev hashing of IPv6 clients, with and without ports."""
    svc6(d, sched="sh", mode="-g"); src = [f"fd55::{i:x}" for i in (1, 2, 3, 4, 0x10, 0x1234)] + [f"fd55:{i}::{i}:1" for i in (1, 2, 3)]
    [syn6(d, 40000, src=s) for s in src]; d.adm("-E -t [fd99::9]:80 -s sh -b sh-port"); [syn6(d, 40100 + i, src=src[0]) for i in range(6)]
    d.adm("-E -t [fd99::9]:80 -s mh"); [syn6(d, 40001, src=s) for s in src]; d.adm("-E -t [fd99::9]:80 -s mh -b mh-port"); [syn6(d, 40200 + i, src=src[0]) for i in range(6)]; d.show("-Ln")
def case_sched_mh_fallback(d):
    """Maglev hashing: weight 0 with and without fallback, a full server, a server added at weight 0, then raised."""
    svc(d, sched="mh"); src = [f"198.51.100.{i}" for i in range(1, 15)]; edit(d, 2, 0); [d.syn(40000, src=s) for s in src]
    d.adm("-E -t 10.9.9.9:80 -s mh -b mh-fallback"); [d.syn(40001, src=s) for s in src]; edit(d, 3, 1, more="-x 8"); [d.syn(40002, src=s) for s in src]
    add(d, 4, 0); [d.syn(40003, src=s) for s in src[:6]]; edit(d, 4, 1); [d.syn(40004, src=s) for s in src]; d.show("-Ln")
def case_sched_mh_weights(d):
    """Maglev hashing: weights with a common divisor, very unequal ones, mh-port, UDP, and two servers of one address."""
    svc(d, "-u 10.9.9.9:53", "mh", servers=W(10, 20, 30), rport=53); src = [f"198.51.100.{i}" for i in range(1, 19)]; [d.udp(41000, src=s) for s in src]
    edit(d, 1, 1000, "-u 10.9.9.9:53", 53); [d.udp(41001, src=s) for s in src]; d.adm("-E -u 10.9.9.9:53 -s mh -b mh-port"); udps(d, 8, base=41100)
    d.adm("-a -u 10.9.9.9:53 -r 172.16.0.12:5353 -m -w 500"); udps(d, 12, base=41200); d.show("-Ln")
def case_sched_switch(d):
    """The scheduler changed by -E while connections exist: which server comes next, and the counts go on."""
    svc(d, servers=W(1, 2, 3)); syns(d, 4)
    for i, s in enumerate(("wrr", "lc", "wlc", "sed", "nq", "fo", "ovf", "sh", "dh", "mh", "rr", "none")):
        d.adm(f"-E -t 10.9.9.9:80 -s {s}"); syns(d, 3, base=40100 + 10 * i)
    d.show("-Ln"); tcp(d, "A", 40000); d.adm("-E -t 10.9.9.9:80"); d.show("-Ln")
