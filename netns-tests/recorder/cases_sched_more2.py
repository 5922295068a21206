"""Thresholds: when an edit, a deletion or an end of a connection changes who is full."""
from lab import *
Lab.quiet = 0.03
U = "-u 10.9.9.9:53"
def setup(d, more, w=1): d.adm(f"-A {U} -s rr"); d.adm(f"-a {U} -r 172.16.0.11:53 -m {more}"); d.adm(f"-a {U} -r 172.16.0.12:53 -m")
def edit(d, more): d.adm(f"-e {U} -r 172.16.0.11:53 -m {more}")
class Port: n = 41000
def go(d, n):
    for _ in range(n): d.udp(Port.n); Port.n += 1
def case_threshold_edit(d):
    """An upper threshold raised or lowered, with the count above, at and below it and three quarters of it."""
    Port.n = 41000
    setup(d, "-x 3"); go(d, 8); edit(d, "-x 4"); go(d, 4); edit(d, "-x 5"); go(d, 4); d.show("-Ln --thresholds")
    edit(d, "-x 8 -y 2"); go(d, 4); edit(d, "-x 0"); go(d, 4); d.show("-Ln --thresholds")
    edit(d, "-x 6"); go(d, 4); edit(d, "-x 20 -y 3"); go(d, 2); edit(d, "-x 9"); go(d, 4); edit(d, "-x 9 -y 9"); go(d, 3); edit(d, "-x 30"); go(d, 2); edit(d, "-x 29"); go(d, 2); d.show("-Ln --thresholds")
def case_threshold_same(d):
    """A full server edited with the same thresholds, then a lower one above the count."""
    Port.n = 41000
    setup(d, "-x 4"); go(d, 9); edit(d, "-x 4"); go(d, 3); edit(d, "-x 4 -y 4"); go(d, 3); edit(d, "-x 5 -y 5"); go(d, 4); edit(d, "-x 6 -y 1"); go(d, 4); edit(d, "-x 10 -y 10"); go(d, 4); edit(d, "-x 7"); go(d, 3); d.show("-Ln --thresholds")
def case_threshold_expire(d):
    """A full server whose connections end in two lots, with different lower thresholds."""
    Port.n = 41000
    d.adm("--set 0 0 8")
    for more in ("-x 4", "-x 4 -y 2", "-x 4 -y 3", "-x 5 -y 1"):
        setup(d, more); go(d, 4); d.sleep(4); go(d, 6); d.sleep(5.3); go(d, 3); d.show("-Ln --thresholds"); d.adm(f"-D {U}"); d.sleep(10)
def case_threshold_again(d):
    """A full server deleted and added again with another threshold."""
    Port.n = 41000
    setup(d, "-x 3"); go(d, 7)
    for more in ("-x 3", "-x 4", "-x 2", "-x 6 -y 1", "-x 6 -y 6", ""):
        d.adm(f"-d {U} -r 172.16.0.11:53"); go(d, 1); d.adm(f"-a {U} -r 172.16.0.11:53 -m {more}"); go(d, 3); d.show("-Ln --thresholds")
