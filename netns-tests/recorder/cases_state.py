"""TCP and SCTP states, timers, reuse."""
from common import *
def ev(d, n, who, f, sport, seq=1001, dport=80):
    """One segment: of the client (c) or of server n (s)."""
    if who == "c": tcp(d, f, sport, dport, seq=seq, ack=9001 if f != "S" else 0)
    else: rtcp(d, n, f, sport, dport, seq=9001, ack=seq)
PATH = {"SYN_RECV": "cS", "ESTABLISHED": "cS sSA cA", "FIN_WAIT": "cS sSA cA sFA", "CLOSE_WAIT": "cS sSA cA cFA", "TIME_WAIT": "cS sSA cA cFA sFA", "CLOSE": "cS sSA cA cR", "SYN_SENT": "cS sSA cA sFA sS"}
def table(d, state, events="cS cF cA cR cSA c sS sF sA sR sSA s", base=40000):
    """Bring a connection to the state, then give it one more event: one connection per event."""
    for i, e in enumerate(events.split()):
        for p in PATH[state].split(): ev(d, 1, p[0], p[1:], base + i)
        ev(d, 1, e[0], e[1:], base + i, seq=1002)
    d.show("-Lnc"); d.show("-Ln")
def mk(state, secure=False, events="cS cF cA cR cSA c sS sF sA sR sSA s"):
    def f(d):
        svc(d, servers=((1, ""),))
        if secure: d.sysctl("secure_tcp", 3)
        table(d, state, events)
    f.__doc__ = f"A NATed connection in {state}{' with secure_tcp=3' if secure else ''}: every kind of segment ({'either side' if len(events) > 20 else 'client' if events[0] == 'c' else 'server'}), one connection each."; return f
case_state_syn_recv = mk("SYN_RECV"); case_state_established = mk("ESTABLISHED"); case_state_fin_wait = mk("FIN_WAIT"); case_state_close_wait = mk("CLOSE_WAIT"); case_state_time_wait = mk("TIME_WAIT"); case_state_close = mk("CLOSE", events="cS cF cA cR cSA c"); case_state_close_reply = mk("CLOSE", events="sS sF sA sR sSA s"); case_state_syn_sent = mk("SYN_SENT")
case_state_secure_syn_recv = mk("SYN_RECV", True)
def case_state_secure(d):
    """secure_tcp=3: a NATed connection step by step, one whose server does not answer, FINs and RSTs; then direct routing; switched off in between."""
    svc(d, servers=((1, ""),)); svc(d, "-t 10.9.9.9:81", servers=((2, ""),), rport=81, mode="-g"); d.sysctl("secure_tcp", 3)
    for p in "cS sSA cA sA cFA sFA cA".split(): ev(d, 1, p[0], p[1:], 40000); d.show("-Lnc")
    for i, path in enumerate(("cS cA", "cS cA cPA", "cS sSA cA", "cS sSA cA sPA", "cS sSA cR", "cS sSA cFA", "cS sSA sS", "cS sR", "cS cA sFA", "cS sA cS")):
        for p in path.split(): ev(d, 1, p[0], p[1:], 40010 + i)
    for i, path in enumerate(("S", "S A", "S A FA", "S A R", "S R", "S FA", "S A FA S", "S A S", "S A R S")):
        for p in path.split(): tcp(d, p, 40030 + i, 81)
    d.show("-Lnc"); d.sysctl("secure_tcp", 0); ev(d, 1, "c", "A", 40010); tcp(d, "A", 40030, 81); d.show("-Lnc"); d.show("-Ln")
def case_state_dr(d):
    """Direct routing sees one side only: each state, each kind of segment."""
    svc(d, mode="-g", servers=((1, ""),)); k = 40000
    for pre in ("S", "S A", "S A FA", "S A R", "S A FA A", "S A FA A S"):
        for e in ("S", "F", "A", "R", "SA", ""):
            for p in pre.split(): tcp(d, p, k)
            tcp(d, e, k, seq=1002); k += 1
    d.show("-Lnc"); d.show("-Ln")
def case_state_tun_ipv6(d):
    """A tunnelled and a NATed IPv6 connection, step by step."""
    svc6(d, servers=((1, ""),)); svc6(d, "-t [fd99::9]:81", servers=((2, ""),), rport=81, mode="-i")
    tcp6(d, "S"); d.show("-Lnc"); rtcp6(d, 1, "SA"); tcp6(d, "A"); d.show("-Lnc"); tcp6(d, "FA"); d.show("-Lnc"); rtcp6(d, 1, "FA"); d.show("-Lnc"); tcp6(d, "S", 40000, 81); tcp6(d, "A", 40000, 81); d.show("-Lnc"); tcp6(d, "FA", 40000, 81); tcp6(d, "S", 40001, 81); tcp6(d, "R", 40001, 81); d.show("-Lnc"); d.show("-Ln")
def case_state_odd_start(d):
    """Connections that begin oddly: SYN+ACK, SYN+FIN, SYN+PUSH+URG, ECN; the server speaks first; a reset at once; simultaneous close."""
    svc(d, servers=((1, ""),)); k = 40000
    for path in ("cSA", "cSF", "cSPU", "cSEC", "cSA sA", "cS sR", "cS sRA cS", "cS cS sSA", "cS cR cA", "cS cA sFA cFA", "cS sSA cFA", "cS sFA", "cS sSA sFA cA", "cS sSA cA cFA cA sA sFA", "cS sSA cA sFA cA cFA", "cS sSA cA cR sR", "cS s"):
        for p in path.split(): ev(d, 1, p[0], p[1:], k)
        k += 1
    d.show("-Lnc"); d.show("-Ln"); d.stats()
def case_reuse_nat(d):
    """conn_reuse_mode 1 (default), 0, 2 and 3: a SYN on closed NAT connections, states TIME_WAIT, CLOSE, FIN_WAIT, CLOSE_WAIT, ESTABLISHED."""
    svc(d); k = 40000
    for mode in (1, 0, 2, 3):
        d.sysctl("conn_reuse_mode", mode)
        for path in ("cS sSA cA cFA sFA", "cS sSA cA cR", "cS sSA cA sFA", "cS sSA cA cFA", "cS sSA cA"):
            n = None
            for p in path.split():
                if p == "cS": n = d.syn(k)
                else: ev(d, n, p[0], p[1:], k)
            d.syn(k, seq=70000); k += 1
    d.show("-Lnc"); d.show("-Ln")
def case_reuse_dr(d):
    """The same by direct routing."""
    svc(d, mode="-g"); k = 40000
    for mode in (1, 0, 2):
        d.sysctl("conn_reuse_mode", mode)
        for path in ("S A FA", "S A R", "S A", "S A FA A"):
            for p in path.split(): tcp(d, p, k)
            d.syn(k, seq=70000); k += 1
    d.show("-Lnc"); d.show("-Ln")
def case_reuse_persistent(d):
    """A SYN on a closed connection of a persistent service."""
    svc(d, flags="-p 60"); n = d.open_nat(40000); d.close_nat(n, 40000); d.syn(40000, seq=7000); d.show("-Lnc"); d.adm(f"-e -t 10.9.9.9:80 -r {RS[n][0]}:80 -m -w 0"); tcp(d, "R", 40000, seq=7001); d.syn(40000, seq=9000); d.show("-Lnc"); d.show("-Ln --persistent-conn")
def case_expire_nodest(d):
    """expire_nodest_conn: a SYN on a live connection whose server has weight 0; a deleted server's TCP and UDP connections."""
    svc(d); svc(d, "-u 10.9.9.9:53", rport=53); d.sysctl("expire_nodest_conn", 1); n = d.open_nat(40000); m = d.udp(41000); d.adm(f"-e -t 10.9.9.9:80 -r {RS[n][0]}:80 -m -w 0"); d.adm(f"-e -u 10.9.9.9:53 -r {RS[m][0]}:53 -m -w 0"); tcp(d, "A"); d.udp(41000); d.syn(40000, seq=7000); d.show("-Lnc"); d.show("-Ln")
    n = d.open_nat(40001); d.adm(f"-d -t 10.9.9.9:80 -r {RS[n][0]}:80"); d.adm(f"-d -u 10.9.9.9:53 -r {RS[m][0]}:53"); d.sleep(1); d.show("-Lnc"); tcp(d, "PA", 40001, data=b"x"); d.udp(41000); rtcp(d, n, "A", 40001); d.syn(40001, seq=8000); d.show("-Lnc"); d.show("-Ln")
def case_nodest_kept(d):
    """Without expire_nodest_conn a deleted server's connections are kept: requests of TCP, SYN and UDP are dropped; with it set later, they go."""
    svc(d, servers=((1, ""),)); svc(d, "-u 10.9.9.9:53", rport=53, servers=((1, ""),)); d.open_nat(40000); d.udp(41000); d.adm("-d -t 10.9.9.9:80 -r 172.16.0.11:80"); d.adm("-d -u 10.9.9.9:53 -r 172.16.0.11:53"); d.adm("-a -t 10.9.9.9:80 -r 172.16.0.12:80 -m"); d.adm("-a -u 10.9.9.9:53 -r 172.16.0.12:53 -m")
    tcp(d, "A"); d.syn(40000, seq=7000); d.udp(41000); rtcp(d, 1, "FA"); tcp(d, "A"); d.show("-Lnc"); d.sysctl("expire_nodest_conn", 1); d.udp(41000); tcp(d, "A"); d.syn(40000, seq=7000); d.show("-Lnc"); d.show("-Ln"); d.stats()
def case_timers_set(d):
    """--set changes what the next packet gives a connection, not idle ones; 0 keeps; the state after it ran out."""
    svc(d, servers=((1, ""),)); svc(d, "-u 10.9.9.9:53", rport=53, servers=((1, ""),)); d.open_nat(40000); d.open_nat(40001); d.udp(41000); d.udp(41001); d.adm("--set 100 20 30"); d.show("-Lnc"); tcp(d, "A"); d.udp(41000); d.show("-Lnc"); rtcp(d, 1, "FA"); d.show("-Lnc"); d.adm("--set 0 5 0"); d.show("-L --timeout"); rtcp(d, 1, "FA", 40001); d.show("-Lnc"); d.adm("--set 14 0 4"); tcp(d, "A", 40001); d.open_nat(40002); d.udp(41001); d.udp(41002); d.sleep(7); d.show("-Lnc"); d.show("-Ln")
def case_timers_run_out(d):
    """Closed connections leave after ten seconds; a UDP one's time is renewed by requests and replies, not by ICMP."""
    d.adm("--set 0 0 10"); svc(d, servers=((1, ""),)); svc(d, "-u 10.9.9.9:53", rport=53, servers=((1, ""),)); d.open_nat(40000); tcp(d, "R"); q = d.send("eth0", d.c(UDP(sport=41000, dport=53) / b"12345678")); d.udp(41001); d.udp(41002); d.show("-Lnc"); d.sleep(5); d.send("eth1", d.r(1, UDP(sport=53, dport=41001) / b"x", dst=C4)); d.udp(41002); d.send("eth1", d.r(1, ICMP(type=3, code=3) / Raw(inner(q)), dst=C4)); d.show("-Lnc"); d.sleep(7); d.show("-Lnc"); d.show("-Ln"); d.sleep(9); d.show("-Lnc"); d.show("-Ln"); d.send("eth1", d.r(1, UDP(sport=53, dport=41000) / b"late", dst=C4)); rtcp(d, 1, "A")
# ---- SCTP
def chunk(t, body=bytes(16), fl=0): n = 4 + len(body); return bytes([t, fl]) + n.to_bytes(2, "big") + body + bytes(-n % 4)
INIT, INITACK, ECHO, CACK, DATA, SHUT, SHACK, SHDONE, ABORT, HB, ERR, SACK = 1, 2, 10, 11, 0, 7, 8, 14, 6, 4, 9, 3
def sc(d, t, sport=5000, dport=9, body=bytes(16), **k): return d.send("eth0", d.c(SCTP(sport=sport, dport=dport, tag=1, **k) / Raw(chunk(t, body))))
def sr(d, t, n=1, dport=5000, sport=9, body=bytes(16), **k): return d.send("eth1", d.r(n, SCTP(sport=sport, dport=dport, tag=2, **k) / Raw(chunk(t, body)), dst=C4))
def case_sctp_nat(d):
    """An SCTP association through NAT with a changed port: set up, data, shut down."""
    d.adm("-A --sctp-service 10.9.9.9:9 -s rr"); d.adm("-a --sctp-service 10.9.9.9:9 -r 172.16.0.11:99 -m")
    for who, t in (("c", INIT), ("s", INITACK), ("c", ECHO), ("s", CACK), ("c", DATA), ("s", SACK), ("c", SHUT), ("s", SHACK), ("c", SHDONE)):
        if who == "c": sc(d, t)
        else: sr(d, t, sport=99)
        d.show("-Lnc"); d.show("-Ln")
    d.stats()
def case_sctp_odd(d):
    """SCTP: not an INIT, an ABORT, a wrong checksum, cut short, sloppy_sctp, two chunks; a reused association; port unchanged."""
    d.adm("-A --sctp-service 10.9.9.9:9 -s rr"); d.adm("-a --sctp-service 10.9.9.9:9 -r 172.16.0.11:9 -m"); d.adm("-a --sctp-service 10.9.9.9:9 -r 172.16.0.12:99 -m")
    sc(d, DATA); sc(d, ABORT); sc(d, INIT, 5001); sc(d, INIT, 5002); sc(d, INIT, 5003, chksum=0x12345678); sc(d, INIT, 5004, chksum=0x12345678); d.send("eth0", d.c(Raw(raw(SCTP(sport=5005, dport=9, tag=1) / Raw(chunk(INIT)))[:14]), proto=132)); d.send("eth0", d.c(Raw(raw(SCTP(sport=5005, dport=9, tag=1) / Raw(chunk(INIT)))[:8]), proto=132)); d.show("-Lnc")
    sc(d, ABORT, 5001); sc(d, ABORT, 5002); d.show("-Lnc"); sc(d, INIT, 5001); d.sysctl("sloppy_sctp", 1); sc(d, DATA, 5010); sc(d, ABORT, 5011); sc(d, HB, 5012); sc(d, ECHO, 5013); d.send("eth0", d.c(SCTP(sport=5013, dport=9, tag=1) / Raw(chunk(ECHO, bytes(5)) + chunk(ABORT, b"")))); d.show("-Lnc"); d.show("-Ln")
def case_sctp_dr_ipv6(d):
    """SCTP by direct routing, and of IPv6 through NAT."""
    d.adm("-A --sctp-service 10.9.9.9:9 -s rr"); d.adm("-a --sctp-service 10.9.9.9:9 -r 172.16.0.11:9 -g"); [sc(d, t) for t in (INIT,)]; d.show("-Lnc"); sc(d, ECHO); d.show("-Lnc"); sc(d, DATA); sc(d, SHUT); d.show("-Lnc"); sc(d, SHDONE); d.show("-Lnc")
    d.adm("-A --sctp-service [fd99::9]:9 -s rr"); d.adm(f"-a --sctp-service [fd99::9]:9 -r [{RS[2][1]}]:99 -m"); d.send("eth0", d.c6(SCTP(sport=5000, dport=9, tag=1) / Raw(chunk(INIT)))); d.send("eth1", d.r6(2, SCTP(sport=99, dport=5000, tag=2) / Raw(chunk(INITACK)), dst=C6)); d.show("-Lnc"); d.show("-Ln"); d.stats()
