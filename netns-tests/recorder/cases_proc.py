"""The files under /proc/net."""
from common import *
FILES = ("ip_vs", "ip_vs_conn", "ip_vs_conn_sync", "ip_vs_stats", "ip_vs_stats_percpu")
def files(d, *names): [d.proc(n) for n in names or FILES]
def phase(d, at=0.3):
    """Waits until `at` seconds after the kernel refreshed what it shows (it does so every 504 ticks)."""
    d.sleep(round((at - (time.monotonic() - d.born)) % 2.016, 3))
def case_proc_empty(d):
    """Without a service; with one that has no server; after all is flushed."""
    files(d); d.adm("-A -t 10.9.9.9:80 -s rr"); files(d); d.syn(40000); files(d); d.adm("-C"); files(d)
def case_proc_services(d):
    """Services of every protocol and family, with flags."""
    for p in ("-t", "-u", "--sctp-service"):
        for a in ("10.9.9.9:80", "[fd99::9]:80", "1.2.3.4:65535", "[2001:db8:0:1::255]:1"): d.adm(f"-A {p} {a} -s wlc")
    d.adm("-A -u 10.9.9.9:53 -o"); d.adm("-A -u [fd99::9]:53 -o"); d.adm("-A -f 5 -s wlc"); d.adm("-A -f 4294967295 -6 -s rr"); d.adm("-A -f 6 -o -s sh"); files(d, "ip_vs"); d.show("-Ln --nosort")
def case_proc_methods(d):
    """Every forwarding method, weight and count, of IPv4 and IPv6, and across in tunnels."""
    for i, m in enumerate(("-m", "-g", "-i", "-i --tun-type gue --tun-port 6080", "-i --tun-type gre --tun-csum")):
        d.adm(f"-a -t 10.9.9.9:80 -r 172.16.0.{11 + i}:80 {m} -w {10 ** (2 * i)}") if i or not d.adm("-A -t 10.9.9.9:80 -s rr") else None
        d.adm(f"-a -t [fd99::9]:80 -r [fd01::{11 + i}]:80 {m} -w {10 ** (2 * i)}") if i or not d.adm("-A -t [fd99::9]:80 -s rr") else None
    d.adm("-a -t 10.9.9.9:80 -r 172.16.0.10:80 -m -w 0") ; d.adm("-a -t 10.9.9.9:80 -r [fd01::77]:80 -i"); d.adm("-a -t [fd99::9]:80 -r 172.16.0.77:80 -i -w 2147483647"); files(d, "ip_vs"); syns(d, 7); syns6(d, 6); files(d); d.show("-Ln --nosort")
def case_proc_persistent(d):
    """Persistent services: timeouts in ticks, masks, prefixes; persistence engines; marks."""
    for i, o in enumerate(("-p", "-p 1", "-p 360 -M 255.255.255.0", "-p 2678400 -M 255.0.0.0", "-p 100 -M 0.0.0.0", "-M 255.255.0.0")): d.adm(f"-A -t 10.9.9.9:{80 + i} -s rr {o}")
    for i, o in enumerate(("-p", "-p 100 -M 64", "-p 5 -M 1", "-M 48")): d.adm(f"-A -t [fd99::9]:{80 + i} -s rr {o}")
    d.adm("-A -u 10.9.9.9:5060 -p 60 --pe sip"); d.adm("-A -u 10.9.9.9:53 -p 60 -o"); d.adm("-A -u [fd99::9]:53 -p 60 -o"); d.adm("-A -f 1 -p 300 -M 255.255.255.0"); d.adm("-A -f 1 -6 -p 300 -M 96"); d.adm("-A -t 10.9.9.9:0 -p"); files(d, "ip_vs"); d.show("-Ln --nosort")
def case_proc_schedulers(d):
    """Every scheduler, with its flags."""
    for i, s in enumerate(("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "none", "sh -b sh-port,sh-fallback", "mh -b mh-port", "rr -b flag-1,flag-2,flag-3")): d.adm(f"-A -t 10.9.9.9:{80 + i} -s {s}"); d.adm(f"-A -f {80 + i} -s {s}"); d.adm(f"-A -t [fd99::9]:{80 + i} -s {s}")
    files(d, "ip_vs")
def case_proc_conn_tcp(d):
    """TCP connections in many states, by NAT and DR."""
    svc(d); svc(d, "-t 10.9.9.9:81", servers=((4, ""),), rport=81, mode="-g"); n = d.open_nat(40000); d.syn(40001); m = d.open_nat(40002); d.close_nat(m, 40002); d.syn(40003); tcp(d, "R", 40003); k = d.open_nat(40004); tcp(d, "FA", 40004); d.syn(40005, dport=81); d.syn(40006, dport=81); tcp(d, "A", 40006, 81); d.syn(65535, src="203.0.113.250"); files(d); d.sleep(30); files(d); d.sleep(40); files(d, "ip_vs_conn", "ip_vs_conn_sync", "ip_vs")
def case_proc_conn_udp_sctp(d):
    """UDP and SCTP; one-packet services leave nothing behind."""
    svc(d, "-u 10.9.9.9:53", rport=53); svc(d, "-u 10.9.9.9:54", flags="-o", rport=54); svc(d, "--sctp-service 10.9.9.9:9", rport=9); udps(d, 3); udps(d, 2, base=42000); [d.udp(43000 + i, dport=54) for i in range(3)]
    phase(d)
    for p in (40000, 40001): d.send("eth0", d.c(SCTP(sport=p, dport=9, tag=1) / Raw(b"\x01\x00\x00\x14" + bytes(16))))
    files(d); d.sleep(290); files(d, "ip_vs_conn", "ip_vs"); d.sleep(30); files(d)
def case_proc_conn_ipv6(d):
    """IPv6 connections and templates, of TCP and UDP."""
    svc6(d); svc6(d, "-u [fd99::9]:53", rport=53, flags="-p 100 -M 64"); syns6(d, 3); udps6(d, 2); syn6(d, 50000, src="2001:db8:ffff:eeee:dddd:cccc:bbbb:aaaa"); udp6(d, 50000, src="2001:db8::1"); files(d)
def case_proc_conn_templates(d):
    """Templates: by client, network, port 0, mark; never established and assured."""
    svc(d, flags="-p 300"); svc(d, "-t 10.9.9.9:0", flags="-p 200 -M 255.255.255.0", rport=0, servers=((4, ""), (5, ""))); svc(d, "-u 10.9.9.9:53", flags="-p 100", rport=53); d.mark("ip daddr 10.9.9.9 tcp dport { 8000, 8001 }", 7); svc(d, "-f 7", flags="-p 50", rport=None, servers=((6, ""),), mode="-g")
    d.open_nat(40000); d.syn(40001, client=2); d.syn(40002, dport=443, client=3); d.udp(41000); d.syn(40003, dport=8000, client=4); tcp(d, "A", 40003, 8000, client=4); d.syn(40004, dport=8001, client=2); files(d); d.show("-Lnc"); d.sleep(70); files(d); d.show("-Lnc --persistent-conn")
def case_proc_conn_mark6(d):
    """Templates of an IPv6 mark service, and of a mark that is large."""
    d.mark("ip6 daddr fd99::9", 4000000000); svc6(d, "-f 4000000000 -6", flags="-p 50", rport=0, servers=((6, ""),), mode="-g"); syn6(d, 40000); udp6(d, 41000); files(d); d.show("-Lnc")
def case_proc_conn_sip(d):
    """SIP persistence: the Call-ID at the end of a template's line."""
    svc(d, "-u 10.9.9.9:5060", flags="-p 100 --pe sip", rport=5060)
    sip = lambda cid: b"INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2\r\nCall-ID: " + cid + b"\r\nContent-Length: 0\r\n\r\n"
    d.udp(5060, dport=5060, data=sip(b"one@10.0.0.2")); d.udp(5060, dport=5060, data=sip(b"two@10.0.0.3"), client=2); d.udp(5061, dport=5060, data=sip(b"a-very-long-call-id-with.dots_and~tildes!0123456789@example.org")); files(d, "ip_vs_conn", "ip_vs_conn_sync"); d.show("-Lnc --persistent-conn"); d.show("-Lnc")
def case_proc_conn_mixed(d):
    """Servers of the other family, in tunnels."""
    d.adm("-A -t 10.9.9.9:80 -s rr"); d.adm("-a -t 10.9.9.9:80 -r [fd01::11]:80 -i"); d.adm("-A -t [fd99::9]:80 -s rr -p 60"); d.adm("-a -t [fd99::9]:80 -r 172.16.0.12:80 -i"); d.syn(40000); syn6(d, 40000); files(d); d.show("-Lnc")
def case_proc_conn_bypass(d):
    """A destination that was deleted still stands with its connections; ESTABLISHED for a long time."""
    d.adm("--set 100000 0 0"); svc(d, servers=((1, ""), (2, ""))); d.open_nat(40000); d.open_nat(40001); d.adm("-d -t 10.9.9.9:80 -r 172.16.0.11:80"); files(d, "ip_vs", "ip_vs_conn"); d.sleep(1000); files(d, "ip_vs", "ip_vs_conn"); d.adm("-a -t 10.9.9.9:80 -r 172.16.0.11:80 -m -w 3"); files(d, "ip_vs"); d.adm("-C"); files(d)
def case_proc_stats(d):
    """What is counted shows up with the next refresh, not before."""
    svc(d); phase(d); files(d, "ip_vs_stats", "ip_vs_stats_percpu"); n = d.open_nat(40000); rtcp(d, n, "A", data=pat(500)); files(d, "ip_vs_stats", "ip_vs_stats_percpu"); d.show("-Ln --stats"); phase(d); files(d, "ip_vs_stats", "ip_vs_stats_percpu"); d.show("-Ln --stats"); d.show("-Ln --rate"); syns(d, 5, base=41000); d.sleep(0.4); d.show("-Ln --stats"); phase(d); d.show("-Ln --stats"); files(d, "ip_vs_stats")
def case_proc_stats_zero(d):
    """Zeroing: what was counted since the last refresh comes after it; the lines of the processors stay."""
    svc(d); svc(d, "-t 10.9.9.9:81", servers=((4, ""),), rport=81); phase(d); syns(d, 4); d.syn(40010, dport=81); phase(d); files(d, "ip_vs_stats", "ip_vs_stats_percpu"); syns(d, 2, base=41000); d.adm("-Z -t 10.9.9.9:80"); d.show("-Ln --stats"); files(d, "ip_vs_stats"); phase(d); d.show("-Ln --stats"); d.show("-Ln --rate"); files(d, "ip_vs_stats")
    syns(d, 3, base=42000); d.adm("-Z"); d.show("-Ln --stats"); files(d, "ip_vs_stats", "ip_vs_stats_percpu"); phase(d); d.show("-Ln --stats"); d.show("-Ln --rate"); files(d, "ip_vs_stats", "ip_vs_stats_percpu"); d.adm("-Z"); d.show("-Ln --rate"); phase(d); d.show("-Ln --rate"); d.show("-Ln --stats")
def case_proc_rates(d):
    """Rates rise and fall over many periods; every server its own."""
    svc(d, servers=((1, "-w 3"), (2, "-w 1")), sched="wrr"); phase(d)
    for k in range(8):
        syns(d, 12, base=40000 + 100 * k); phase(d); d.show("-Ln --rate"); files(d, "ip_vs_stats")
    for k in range(10): d.sleep(0.2); phase(d); d.show("-Ln --rate"); files(d, "ip_vs_stats_percpu")
def case_proc_rates_bytes(d):
    """Rates of bytes, in and out."""
    svc(d, "-u 10.9.9.9:53", rport=53, servers=((1, ""),)); phase(d)
    for k in range(5):
        for i in range(6): d.udp(41000 + i, data=pat(1000)); d.send("eth1", d.r(1, UDP(sport=53, dport=41000 + i) / pat(300 + 7 * i), dst=C4))
        phase(d); d.show("-Ln --rate"); files(d, "ip_vs_stats"); d.show("-Ln --stats --exact")
    for k in range(4): d.sleep(0.2); phase(d); d.show("-Ln --rate")
def case_proc_rates_added(d):
    """A server that is deleted takes its rates and counts along, and brings them back; not into a service that was made anew."""
    svc(d, servers=((1, ""),)); phase(d); syns(d, 9); phase(d); d.show("-Ln --rate"); syns(d, 5, base=41000); d.adm("-d -t 10.9.9.9:80 -r 172.16.0.11:80"); d.show("-Ln --rate"); d.sleep(0.2); phase(d); d.show("-Ln --rate"); d.adm("-a -t 10.9.9.9:80 -r 172.16.0.11:80 -m"); d.show("-Ln --rate"); d.show("-Ln --stats"); d.sleep(0.2); phase(d); d.show("-Ln --rate"); d.show("-Ln --stats")
    d.adm("-D -t 10.9.9.9:80"); files(d, "ip_vs_stats"); svc(d, servers=((1, ""),)); d.show("-Ln --rate"); d.show("-Ln --stats"); syns(d, 2, base=42000); d.sleep(0.2); phase(d); d.show("-Ln --rate"); d.show("-Ln --stats"); files(d, "ip_vs_stats")
def case_proc_rates_frozen(d):
    """run_estimation=0: counts and rates stand still, through zeroing as well; afterwards all at once."""
    svc(d, servers=((1, ""),)); phase(d); syns(d, 6); phase(d); d.show("-Ln --rate"); d.sysctl("run_estimation", 0); syns(d, 6, base=41000); phase(d); d.sleep(4); phase(d); d.show("-Ln --rate"); d.show("-Ln --stats"); files(d, "ip_vs_stats", "ip_vs_stats_percpu"); d.adm("-Z"); d.show("-Ln --stats"); d.show("-Ln --rate"); syns(d, 1, base=42000); d.sleep(2.5); d.show("-Ln --stats"); phase(d); d.sysctl("run_estimation", 1); d.show("-Ln --stats"); d.sleep(0.2); phase(d); d.show("-Ln --stats"); d.show("-Ln --rate"); files(d, "ip_vs_stats", "ip_vs_stats_percpu")
def case_proc_rates_marks(d):
    """Counts of a mark service and of an IPv6 one, with replies; one server added between two refreshes."""
    d.mark("ip daddr 10.9.9.9 udp dport 53", 9); svc(d, "-f 9", rport=None, servers=((1, ""),)); svc6(d, servers=((2, ""),)); phase(d); [d.udp(41000 + i, data=pat(100 + i)) for i in range(4)]; syns6(d, 3); rtcp6(d, 2, "SA"); d.adm("-a -f 9 -r 172.16.0.13 -m"); d.udp(41100); d.udp(41101); d.show("-Ln --stats"); d.sleep(0.2); phase(d); d.show("-Ln --stats"); d.show("-Ln --rate"); d.show("-Ln --stats --exact"); files(d, "ip_vs_stats", "ip_vs_stats_percpu"); d.sleep(0.2); phase(d); d.show("-Ln --rate")
def case_proc_rates_edit(d):
    """Editing a service or a server leaves counts and rates; a flush leaves the total."""
    svc(d, servers=((1, ""),)); phase(d); syns(d, 8); d.sleep(0.2); phase(d); d.adm("-E -t 10.9.9.9:80 -s wlc"); d.adm("-e -t 10.9.9.9:80 -r 172.16.0.11:80 -m -w 5"); d.show("-Ln --stats"); d.show("-Ln --rate"); d.adm("-C"); files(d, "ip_vs_stats"); d.sleep(0.2); phase(d); files(d, "ip_vs_stats", "ip_vs_stats_percpu"); svc(d, servers=((1, ""),)); d.show("-Ln --stats"); syns(d, 3, base=41000); d.sleep(0.2); phase(d); d.show("-Ln --stats"); d.show("-Ln --rate"); files(d, "ip_vs_stats")
def case_proc_rates_save(d):
    """Counters of one service; zeroing one that does not exist."""
    svc(d, servers=((1, ""),)); svc(d, "-u 10.9.9.9:53", rport=53, servers=((2, ""),)); phase(d); syns(d, 5); udps(d, 4); d.sleep(0.2); phase(d); d.show("-Ln -t 10.9.9.9:80 --stats"); d.show("-Ln -u 10.9.9.9:53 --rate"); d.adm("-Z -t 10.9.9.9:99", ok=False); d.adm("-Z -u 10.9.9.9:53"); d.show("-Ln --stats"); d.show("-Ln --rate"); udps(d, 2, base=42000); d.sleep(0.2); phase(d); d.show("-Ln --stats"); d.show("-Ln --rate")
def case_proc_app(d):
    """The FTP helper, and how many connections it looks after: NAT ones of port 21, not templates, not other methods."""
    sh("modprobe ip_vs_ftp"); svc(d, "-t 10.9.9.9:21", rport=21); svc(d, "-t 10.9.9.9:80"); svc(d, "-t 10.9.9.9:0", flags="-p 100", rport=0, servers=((5, ""),)); svc6(d, "-t [fd99::9]:21", rport=21); d.proc("ip_vs_app"); d.open_nat(40000, dport=21); d.proc("ip_vs_app"); d.syn(40001, dport=21); d.syn(40002); syn6(d, 40003, dport=21); d.syn(40004, dport=8021); d.proc("ip_vs_app"); d.sleep(80); d.proc("ip_vs_app")
