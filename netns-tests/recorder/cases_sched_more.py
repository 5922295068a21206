"""What the public cases leave open about the schedulers: failures, overload, trash, replication."""
import random, sys
from lab import *
Lab.quiet = 0.03
SVC, USVC = "-t 10.9.9.9:80", "-u 10.9.9.9:53"
def add(d, n, w=1, svc=SVC, port=80, mode="-m", more=""): d.adm(f"-a {svc} -r {RS[n][0]}:{port} {mode} -w {w} {more}".strip())
def edit(d, n, w, svc=SVC, port=80, mode="-m", more=""): d.adm(f"-e {svc} -r {RS[n][0]}:{port} {mode} -w {w} {more}".strip())
def dele(d, n, svc=SVC, port=80): d.adm(f"-d {svc} -r {RS[n][0]}:{port}")
def local(d, mark=1):
    d.mark("ip daddr 10.9.8.0/24", mark); sh("ip -n dir route add local 10.9.8.0/24 dev lo"); d.note("10.9.8.0/24 is local to the director")

def _wrr_overload(d, seed):
    r = random.Random(seed); d.adm("--set 0 0 3"); port = 41000
    for _ in range(4):
        d.adm(f"-A {USVC} -s wrr"); n = r.randint(2, 4); room = 0
        for k in range(1, n + 1):
            x = r.randint(1, 3); room += x
            w = r.choice((1, 2, 3, 4, 6))
            add(d, k, w, USVC, 53, more=f"-x {x}")
        for burst in range(4):
            much = r.choice((room, room + 1, room + 2, room + 3, max(1, room - 2), max(1, room - 1)))
            for _ in range(much): d.udp(port); port += 1
            d.sleep(4)
            if burst == 2: edit(d, 1, r.choice((1, 2, 4)), USVC, 53, more="-x 2"); room = 99; break
        for _ in range(5): d.udp(port); port += 1
        d.adm(f"-D {USVC}"); d.sleep(4)
def case_wrr_overload_1(d):
    """wrr: every server full, some calls with no answer, then all free again without an edit."""
    _wrr_overload(d, 11)
def case_wrr_overload_2(d):
    """wrr: the same with other numbers."""
    _wrr_overload(d, 22)
def case_wrr_overload_3(d):
    """wrr: the same with yet other numbers."""
    _wrr_overload(d, 33)

def _fuzz(d, seed, sched, weights=(0, 1, 1, 2, 3, 5), closes=True, threshold=0.2, steps=90, flags=""):
    r = random.Random(seed); live, gone, port, opened = {}, set(), 40000, []
    d.adm(f"-A {SVC} -s {sched} {flags}".strip())
    for _ in range(steps):
        what = r.random()
        if what < 0.10 and len(live) < 6:
            n = r.choice([k for k in range(1, 8) if k not in live]); w = r.choice(weights)
            live[n] = w; add(d, n, w, more=f"-x {r.randint(1, 5)}" if r.random() < threshold else "")
        elif what < 0.15 and len(live) > 1:
            n = r.choice(sorted(live)); del live[n]; dele(d, n)
        elif what < 0.23 and live:
            n = r.choice(sorted(live)); live[n] = r.choice(weights); edit(d, n, live[n], more=f"-x {r.randint(1, 8)}" if r.random() < threshold else "")
        elif what < 0.35 and closes and opened:
            p = opened.pop(r.randrange(len(opened))); d.send("eth0", d.c(TCP(sport=p, dport=80, flags="FA", seq=1001, ack=1)))
        else:
            for _ in range(r.randint(1, 3)):
                if d.syn(port) is not None: opened.append(port)
                port += 1
    d.show("-Ln")
def case_fuzz_rr(d):
    """rr under random changes."""
    _fuzz(d, 1, "rr")
def case_fuzz_wrr(d):
    """wrr under random changes."""
    _fuzz(d, 2, "wrr")
def case_fuzz_wrr_2(d):
    """wrr under random changes, even weights, no thresholds."""
    _fuzz(d, 12, "wrr", weights=(0, 2, 4, 6, 8), threshold=0, closes=False)
def case_fuzz_lc(d):
    """lc under random changes."""
    _fuzz(d, 3, "lc")
def case_fuzz_wlc(d):
    """wlc under random changes."""
    _fuzz(d, 4, "wlc")
def case_fuzz_sed(d):
    """sed under random changes."""
    _fuzz(d, 5, "sed")
def case_fuzz_nq(d):
    """nq under random changes."""
    _fuzz(d, 6, "nq")
def case_fuzz_fo(d):
    """fo under random changes."""
    _fuzz(d, 7, "fo", threshold=0.6)
def case_fuzz_ovf(d):
    """ovf under random changes."""
    _fuzz(d, 8, "ovf")
def case_fuzz_sh(d):
    """sh with fallback and port under random changes."""
    _fuzz(d, 9, "sh", flags="-b sh-fallback,sh-port", closes=False, threshold=0.3)
def case_fuzz_mh(d):
    """mh with port under random changes."""
    _fuzz(d, 10, "mh", flags="-b mh-port", closes=False, threshold=0.3, weights=(0, 1, 7, 100, 3000))
def case_fuzz_mh_2(d):
    """mh with fallback and port under random changes."""
    _fuzz(d, 13, "mh", flags="-b mh-fallback,mh-port", closes=False, threshold=0.3, weights=(0, 1, 2, 10))

def _cache(d, seed, sched, expire, steps=75):
    r = random.Random(seed); live, port, opened, slept = {}, 40000, [], 0
    local(d); d.adm(f"-A -f 1 -s {sched}")
    if expire: d.sysctl("lblcr_expiration", 1)
    def put(verb, n): live[n] = r.choice((0, 1, 1, 2, 3)); d.adm(f"{verb} -f 1 -r {RS[n][0]} -g -w {live[n]}" + (f" -x {r.randint(1, 6)}" if r.random() < 0.15 else ""))
    for n in (1, 2, 3): put("-a", n)
    for _ in range(steps):
        what = r.random()
        if what < 0.06 and len(live) < 5: put("-a", r.choice([k for k in range(1, 6) if k not in live]))
        elif what < 0.11 and len(live) > 1: n = r.choice(sorted(live)); del live[n]; d.adm(f"-d -f 1 -r {RS[n][0]}")
        elif what < 0.19: put("-e", r.choice(sorted(live)))
        elif what < 0.34 and opened: p, a = opened.pop(r.randrange(len(opened))); d.send("eth0", d.c(TCP(sport=p, dport=80, flags="FA", seq=1001, ack=1), dst=a))
        elif what < 0.42 and expire and slept < 9: d.sleep(1.4); slept += 1
        else:
            a = f"10.9.8.{r.choice((1, 1, 1, 2, 2, 3, 4))}"
            for _ in range(r.randint(1, 2)):
                if d.syn(port, dst=a) is not None: opened.append((port, a))
                port += 1
    d.show("-Ln")
def case_cache_lblc(d):
    """lblc under random changes, servers deleted and added again."""
    _cache(d, 101, "lblc", False)
def case_cache_lblc_2(d):
    """lblc under random changes, with other numbers."""
    _cache(d, 102, "lblc", False)
def case_cache_lblcr(d):
    """lblcr under random changes; sets shrink after a second."""
    _cache(d, 103, "lblcr", True)
def case_cache_lblcr_2(d):
    """lblcr under random changes; sets shrink after a second; other numbers."""
    _cache(d, 104, "lblcr", True)
def case_cache_lblcr_3(d):
    """lblcr under random changes; sets never shrink."""
    _cache(d, 105, "lblcr", False)

def case_mixed_mh(d):
    """mh: an IPv4 service with IPv6 servers behind tunnels."""
    d.adm(f"-A {SVC} -s mh")
    for n in (1, 2, 3): d.adm(f"-a {SVC} -r [{RS[n][1]}]:80 -i")
    for i in range(1, 19): d.syn(40000, src=f"198.51.100.{i}")
    add(d, 4, 1, mode="-i")
    for i in range(1, 19): d.syn(40001, src=f"198.51.100.{i}")
def case_mixed_mh6(d):
    """mh: an IPv6 service with IPv4 servers behind tunnels."""
    d.adm("-A -t [fd99::9]:80 -s mh")
    for n in (1, 2, 3): d.adm(f"-a -t [fd99::9]:80 -r {RS[n][0]}:80 -i")
    for i in range(1, 19): d.send("eth0", d.c6(TCP(sport=40000, dport=80, flags="S", seq=1), src=f"fd55::{i:x}"))
    d.adm(f"-a -t [fd99::9]:80 -r [{RS[4][1]}]:80 -i")
    for i in range(1, 19): d.send("eth0", d.c6(TCP(sport=40001, dport=80, flags="S", seq=1), src=f"fd55::{i:x}"))
