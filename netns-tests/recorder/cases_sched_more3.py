"""lblcr: how fast a set shrinks."""
from lab import *
Lab.quiet = 0.03
def case_shrink_lblcr(d):
    """lblcr: a set of four that did not change for a second, then eight connections in half a second."""
    d.mark("ip daddr 10.9.8.0/24", 1); sh("ip -n dir route add local 10.9.8.0/24 dev lo"); d.note("10.9.8.0/24 is local to the director")
    d.adm("-A -f 1 -s lblcr"); d.sysctl("lblcr_expiration", 1)
    for n in (1, 2, 3, 4): d.adm(f"-a -f 1 -r {RS[n][0]} -g -w 1")
    for i in range(8): d.syn(40000 + i, dst="10.9.8.1")
    for n in (1, 2, 3, 4): d.adm(f"-e -f 1 -r {RS[n][0]} -g -w 20")
    d.sleep(1.5)
    for i in range(8): d.syn(40100 + i, dst="10.9.8.1")
    d.sleep(1.5)
    for i in range(6): d.syn(40200 + i, dst="10.9.8.1")
    d.show("-Ln")
