"""SIP, SCTP, IPsec, and the settings schedule_icmp, ignore_tunneled and nat_icmp_send in their corners."""
from common import *
from cases_persist import SIP
from cases_icmp import emb

# ---- SIP
def sip(d, data, sport=5060, **k): return d.udp(sport, dport=5060, data=data if isinstance(data, bytes) else data.encode("latin1"), **k)
def msg(*headers): return "INVITE sip:a@b SIP/2.0\r\n" + "".join(h + "\r\n" for h in headers) + "\r\n"
def case_sip_ids(d):
    """How a Call-ID is spelled, and what is none."""
    svc(d, "-u 10.9.9.9:5060", flags="-p 300 --pe sip", rport=5060, servers=((1, ""), (2, ""), (3, ""), (4, "")))
    for i, text in enumerate((msg("Call-ID: a1"), msg("call-id:a2"), msg("CALL-ID:   a3"), msg("Call-ID : a4"), msg("Call-ID\t:\ta5"), msg("i: a6"), msg("I:a7"), msg("X-Call-ID: a8"), msg("Call-ID: a9 "), msg("Call-ID: b1 x"), msg("Call-ID:"), msg("Call-ID: "), msg("Call-ID:\r\n b2"), msg("Via: x", "Call-ID: b3", "Call-ID: b4"), msg("Via: Call-ID: b5"), msg("Vi: x", "i: b6"), msg("Subject: i: b7"),
            "Call-ID: b8\r\n\r\n", "\r\nCall-ID: b9\r\n\r\n", "INVITE x\nCall-ID: c1\n\n", "INVITE x\rCall-ID: c2\r\r", "INVITE x\r\nVia: y\r\n\r\nCall-ID: c3\r\n", "INVITE x\r\nCall-ID: c4", "INVITE x\r\nCall-ID: c5\r", "INVITE x\r\nCall-ID: c6\n", "INVITE x\r\n Call-ID: c7\r\n", "INVITE x\r\nCall-ID: " + "d" * 255 + "\r\n", "INVITE x\r\nCall-ID: " + "e" * 256 + "\r\n", "INVITE x\r\nCall-ID: c8\x00z\r\n", "INVITE x\r\nCall-ID: \xe9\r\n", "INVITE x\r\nCall-IDs: c9\r\nCall-ID: f1\r\n", "INVITE x\r\ni: f2\r\nCall-ID: f3\r\n", "Call-ID: f4\r\nCall-ID: f5\r\n", "x", "i:", "\n")):
        sip(d, text, 41000 + i); known = text.strip().split(":")[-1].strip()[:250]; sip(d, msg("Call-ID: " + known), 42000 + i); sip(d, text, 43000 + i)
    # (The original ipvsadm cannot list connections with such Call-IDs: it crashes.)
    d.show("-Ln"); d.stats()
def case_sip_ipv6(d):
    """SIP over IPv6: by Call-ID; a server begins; one that has no Call-ID."""
    svc6(d, "-u [fd99::9]:5060", flags="-p 300 --pe sip", rport=5060, servers=((1, ""), (2, ""))); u = lambda s, data, **k: udp6(d, s, dport=5060, data=data, **k)
    u(5060, SIP("one@x")); u(5061, SIP("two@x")); u(5062, SIP("one@x", "BYE")); u(5063, b"none"); d.show("-Lnc --persistent-conn")
    d.send("eth1", d.r6(1, UDP(sport=5060, dport=5060) / SIP("out@x"), dst=CLIENTS[3][1])); d.show("-Lnc --persistent-conn"); d.send("eth0", d.c6(UDP(sport=5060, dport=5060) / SIP("out@x", "ACK"), client=3)); d.send("eth1", d.r6(2, UDP(sport=5060, dport=5070) / b"none", dst=CLIENTS[3][1])); d.send("eth1", d.r6(2, UDP(sport=5060, dport=5060) / SIP("two@x"), dst=C6)); d.show("-Lnc --persistent-conn"); d.show("-Ln"); d.stats()
def case_sip_begin(d):
    """Servers begin: with and without template, by name and by port, deleted, at weight 0, directly routed, to several clients; and are answered."""
    svc(d, "-u 10.9.9.9:5060", flags="-p 300 --pe sip", rport=5060, servers=((1, ""), (2, ""), (3, "-w 0"))); d.adm("-a -u 10.9.9.9:5060 -r 172.16.0.14:5060 -g"); d.adm("-a -u 10.9.9.9:5060 -r 172.16.0.15:5066 -m"); svc(d, "-u 10.9.9.9:53", rport=53, servers=((6, ""),))
    r = lambda n, data, sport=5060, dport=5060, dst=C4, **k: d.send("eth1", d.r(n, UDP(sport=sport, dport=dport) / data, dst=dst, **k))
    r(1, SIP("a@x")); r(1, SIP("a@x")); r(1, SIP("b@x")); r(2, SIP("c@x")); d.show("-Lnc --persistent-conn"); r(3, SIP("d@x")); r(4, SIP("e@x")); r(5, SIP("f@x"), sport=5066); r(5, SIP("g@x")); r(6, SIP("h@x"), sport=53); r(7, SIP("i@x")); r(1, b"no id", dport=5062); r(1, b"", dport=5063); r(1, SIP("j@x"), dport=0); r(1, SIP("k@x"), dst="198.51.100.7"); d.show("-Lnc --persistent-conn")
    sip(d, SIP("a@x", "ACK")); sip(d, SIP("b@x"), 5064); sip(d, SIP("d@x")); r(2, SIP("b@x"), dport=5065); d.show("-Lnc --persistent-conn"); r(1, SIP("l@x"), dport=5067, ttl=1); d.adm("-d -u 10.9.9.9:5060 -r 172.16.0.12:5060"); r(2, SIP("m@x"), dport=5068); r(2, SIP("c@x")); d.show("-Lnc --persistent-conn"); d.show("-Ln"); d.stats()
def case_sip_begin_plain(d):
    """Without the engine, without persistence, or of another protocol, no server begins."""
    svc(d, "-u 10.9.9.9:5060", flags="-p 300", rport=5060, servers=((1, ""),)); r = lambda n, data, **k: d.send("eth1", d.r(n, UDP(sport=5060, dport=5060) / data, dst=C4, **k)); r(1, SIP("a@x")); d.adm("-E -u 10.9.9.9:5060 -s rr -p 300 --pe sip"); rtcp(d, 1, "S", sport=5060, dport=5060); r(1, SIP("a@x")); d.show("-Lnc"); d.adm("-E -u 10.9.9.9:5060 -s rr -p 300"); r(1, SIP("b@x")); d.send("eth1", d.r(1, UDP(sport=5060, dport=5061) / SIP("b@x"), dst=C4)); d.show("-Lnc")
    d.adm("-C"); svc(d, "-u 10.9.9.9:0", flags="-p 300 --pe sip", rport=0, servers=((2, ""),)); r(2, SIP("c@x")); d.send("eth0", d.c(UDP(sport=5060, dport=5060) / SIP("c@x"))); d.show("-Lnc"); d.adm("-A -f 5 -s rr -p 300 --pe sip"); d.adm("-a -f 5 -r 172.16.0.13 -m"); r(3, SIP("d@x")); d.show("-Lnc"); d.show("-Ln"); d.stats()
def case_sip_begin_one_packet(d):
    """One-packet services: each reply finds its way by the engine; strangers too; thresholds do not stop them; counters."""
    svc(d, "-u 10.9.9.9:5060", flags="-p 300 --pe sip -o", rport=5060, servers=((1, "-x 3"), (2, ""))); svc6(d, "-u [fd99::9]:5060", flags="-p 300 --pe sip -o", rport=5060, servers=((1, ""),)); n = sip(d, SIP("a@x"), 41000); sip(d, SIP("b@x"), 41001); r = lambda n, data, dport, dst=C4, **k: d.send("eth1", d.r(n, UDP(sport=5060, dport=dport) / data, dst=dst, **k))
    [r(n, SIP("a@x"), 41000) for _ in range(2)]; r(3 - n, SIP("a@x"), 41002); r(1, SIP("z@x"), 41003, dst=CLIENTS[2][0]); r(1, b"none", 41004); [r(1, SIP(f"t{i}@x"), 41005 + i) for i in range(4)]; d.show("-Lnc --persistent-conn"); udp6(d, 41000, dport=5060, data=SIP("six@x")); d.send("eth1", d.r6(1, UDP(sport=5060, dport=41000) / SIP("six@x"), dst=C6)); d.show("-Lnc --persistent-conn"); d.show("-Ln"); d.show("-Ln --thresholds"); d.stats()
def case_sip_expiry(d):
    """Templates of a Call-ID: lifetime, renewal by each new connection, the server changed to none and back."""
    d.adm("--set 0 0 5"); svc(d, "-u 10.9.9.9:5060", flags="-p 10 --pe sip", rport=5060, servers=((1, ""), (2, ""))); sip(d, SIP("a@x"), 41000); d.sleep(7); d.show("-Lnc --persistent-conn"); sip(d, SIP("a@x"), 41001); d.sleep(7); d.show("-Lnc --persistent-conn"); d.sleep(5); d.show("-Lnc --persistent-conn"); sip(d, SIP("a@x"), 41002); d.adm("-e -u 10.9.9.9:5060 -r 172.16.0.11:5060 -m -w 0"); d.adm("-e -u 10.9.9.9:5060 -r 172.16.0.12:5060 -m -w 0"); sip(d, SIP("a@x"), 41003); sip(d, SIP("b@x"), 41004); d.sysctl("expire_quiescent_template", 1); sip(d, SIP("a@x"), 41005); d.show("-Lnc --persistent-conn"); d.show("-Ln")

# ---- SCTP
CHUNKS = {"data": (0, 12), "init": (1, 16), "init-ack": (2, 16), "sack": (3, 12), "heartbeat": (4, 4), "abort": (6, 0), "shutdown": (7, 4), "shutdown-ack": (8, 0), "error": (9, 4), "cookie-echo": (10, 8), "cookie-ack": (11, 0), "shutdown-complete": (14, 0)}
EVENTS = ("data", "init", "init-ack", "cookie-echo", "cookie-ack", "shutdown", "shutdown-ack", "shutdown-complete", "error", "abort")
def ch(name, length=None):
    kind, size = CHUNKS[name]
    return bytes([kind, 0]) + (4 + size if length is None else length).to_bytes(2, "big") + bytes(range(size))
def sctp(d, who, payload, port, n=1, rport=99, **k):
    payload = ch(payload) if isinstance(payload, str) else payload
    if who == "c": return d.send("eth0", d.c(SCTP(sport=port, dport=9, tag=7, **k) / Raw(payload)))
    return d.send("eth1", d.r(n, SCTP(sport=rport, dport=port, tag=8, **k) / Raw(payload), dst=C4))
PATHS = {"INIT1": "c init", "INIT": "c init, c init", "C-SENT": "c init, s init-ack", "C-REPLIED": "c init, s init-ack, c cookie-echo", "C-WAIT": "c init, s init", "COOKIE": "c init, s init, c init-ack", "C-ECHOED": "c init, s cookie-echo", "ESTABLISHED": "c init, s cookie-ack", "S-SENT": "c init, s cookie-ack, s shutdown", "S-RECEIVED": "c init, s cookie-ack, c shutdown", "S-ACK-SENT": "c init, s shutdown-ack", "REJECTED": "c init, s abort", "CLOSED": "c init, c abort"}
def sctp_table(d, states, senders, port=5000):
    for state in states:
        for who in senders:
            for k, event in enumerate(EVENTS):
                for step in (PATHS[state].split(", ") if state else []): sctp(d, *step.split(" "), port)
                sctp(d, who, event, port); port += 1
                if k % 5 == 4: d.show("-Lnc")
        d.sleep(960)
    d.show("-Ln")
def sctp_service(d, mode="-m", rport=99): d.sysctl("conn_reuse_mode", 0); d.adm("-A --sctp-service 10.9.9.9:9 -s rr"); d.adm(f"-a --sctp-service 10.9.9.9:9 -r 172.16.0.11:{rport} {mode}")
def case_sctp_table_begin(d):
    """Every event in every state: INIT1, INIT, C-SENT, C-REPLIED; from the client and from the server."""
    sctp_service(d); sctp_table(d, ("INIT1", "INIT", "C-SENT", "C-REPLIED"), "cs")
def case_sctp_table_middle(d):
    """Every event in every state: C-WAIT, COOKIE, C-ECHOED, ESTABLISHED."""
    sctp_service(d); sctp_table(d, ("C-WAIT", "COOKIE", "C-ECHOED", "ESTABLISHED"), "cs")
def case_sctp_table_end(d):
    """Every event in every state: S-SENT, S-RECEIVED, S-ACK-SENT, REJECTED, CLOSED."""
    sctp_service(d); sctp_table(d, ("S-SENT", "S-RECEIVED", "S-ACK-SENT", "REJECTED", "CLOSED"), "cs")
def case_sctp_table_direct(d):
    """Every event in the states that a directly routed association reaches without a reply."""
    PATHS.update({"d8": "c init, c cookie-echo", "d7": "c init, c init-ack", "d10": "c init, c cookie-echo, c shutdown", "d13": "c init, c abort"}); sctp_service(d, "-g", 9); sctp_table(d, ("INIT1", "INIT", "d7", "d8", "d10", "d13"), "c")
def case_sctp_table_none(d):
    """Every event as the first packet, with sloppy_sctp; and from the server on an entry that an ICMP error made."""
    sctp_service(d); d.adm("-A --sctp-service 10.9.9.9:10 -s rr"); d.adm("-a --sctp-service 10.9.9.9:10 -r 172.16.0.12:10 -g"); d.sysctl("sloppy_sctp", 1); sctp_table(d, ("",), "c")
    for k, event in enumerate(EVENTS):
        d.send("eth0", d.c(SCTP(sport=6000 + k, dport=10, tag=7) / Raw(ch(event))))
        if k % 5 == 4: d.show("-Lnc")
    d.sleep(960); d.sysctl("schedule_icmp", 1)
    for k, event in enumerate(EVENTS):
        for who, base in (("s", 7000), ("c", 7100)):
            d.send("eth0", d.c(ICMP(type=3, code=3) / Raw(raw(IP(src=VIP, dst=C4) / SCTP(sport=9, dport=base + k, tag=1) / Raw(ch("data"))))))
            sctp(d, who, event, base + k)
        if k % 3 == 2: d.show("-Lnc")
    d.show("-Lnc"); d.show("-Ln")
def case_sctp_bundled(d):
    """Two and more chunks in a packet, lengths that lie, no chunk, padding; checksums where the port changes and where not."""
    sctp_service(d); port = 5000
    for who, payload in (("c", ch("cookie-ack") + ch("abort")), ("s", ch("cookie-ack") + ch("abort")), ("c", ch("cookie-echo") + ch("abort")), ("s", ch("cookie-echo") + ch("data")), ("s", ch("cookie-ack") + ch("data") + ch("abort")), ("c", ch("data") + ch("abort")), ("c", ch("shutdown-ack") + ch("abort")), ("c", ch("cookie-echo", 9) + ch("abort")), ("c", ch("cookie-echo", 13)[:13] + bytes(3) + ch("abort")), ("s", ch("cookie-ack", 0) + ch("abort")), ("s", ch("cookie-ack", 3) + ch("abort")), ("s", ch("cookie-ack", 60000) + ch("abort")), ("s", ch("cookie-ack") + ch("abort")[:3]), ("s", ch("cookie-ack") + ch("abort")[:2]), ("c", b""), ("c", ch("data")[:3]), ("s", ch("data")[:2]), ("c", bytes([200, 0, 0, 4])), ("s", bytes([63, 0, 0, 4])), ("s", ch("init-ack") + bytes(1)), ("s", ch("heartbeat")), ("c", ch("sack")), ("s", ch("cookie-ack", 5) + bytes(4) + ch("abort"))):
        sctp(d, "c", "init", port); sctp(d, who, payload, port); port += 1
        if port % 6 == 0: d.show("-Lnc")
    d.show("-Lnc"); sctp(d, "c", "init", 5100, chksum=0x11223344); sctp(d, "s", "init-ack", 5100, chksum=0x11223344); d.adm("-a --sctp-service 10.9.9.9:9 -r 172.16.0.12:9 -m"); d.adm("-d --sctp-service 10.9.9.9:9 -r 172.16.0.11:99"); sctp(d, "c", "init", 5101, chksum=0x11223344); sctp(d, "s", "init-ack", 5101, n=2, rport=9, chksum=0x11223344); sctp(d, "c", ch("data") + bytes(1), 5101); d.show("-Lnc"); d.stats()
def case_sctp_reuse(d):
    """An INIT on an association that is over, or nearly: conn_reuse_mode 1 and 0; expire_nodest_conn at weight 0."""
    d.adm("-A --sctp-service 10.9.9.9:9 -s rr"); [d.adm(f"-a --sctp-service 10.9.9.9:9 -r 172.16.0.1{n}:99 -m") for n in (1, 2)]
    for i, state in enumerate(("CLOSED", "REJECTED", "S-ACK-SENT", "ESTABLISHED")):
        n = d.which(sctp(d, "c", "init", 5000 + i))
        for step in PATHS[state].split(", ")[1:]: who, event = step.split(" "); sctp(d, who, event, 5000 + i, n=n)
        sctp(d, "c", "init", 5000 + i)
    d.show("-Lnc"); d.sysctl("conn_reuse_mode", 0); sctp(d, "c", "init", 5010); sctp(d, "c", "abort", 5010); sctp(d, "c", "init", 5010); d.show("-Lnc"); d.sysctl("expire_nodest_conn", 1); d.adm("-e --sctp-service 10.9.9.9:9 -r 172.16.0.11:99 -m -w 0"); [sctp(d, "c", "init", 5000 + i) for i in range(4)]; d.show("-Lnc"); d.show("-Ln")
def case_sctp_ipv6_table(d):
    """IPv6: an association through NAT, with an extension header (which the state machine does not skip), and by tunnel."""
    d.adm("-A --sctp-service [fd99::9]:9 -s rr"); d.adm(f"-a --sctp-service [fd99::9]:9 -r [{RS[1][1]}]:99 -m"); c = lambda e, p=5000, **k: d.send("eth0", d.c6(SCTP(sport=p, dport=9, tag=7) / Raw(ch(e)), **k)); s = lambda e, p=5000: d.send("eth1", d.r6(1, SCTP(sport=99, dport=p, tag=8) / Raw(ch(e)), dst=C6))
    for who, e in ((c, "init"), (s, "init-ack"), (c, "cookie-echo"), (s, "cookie-ack"), (c, "data"), (s, "sack"), (s, "shutdown"), (c, "shutdown-ack"), (s, "shutdown-complete")): who(e); d.show("-Lnc")
    d.send("eth0", d.c6(IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\x00" * 4)]) / SCTP(sport=5001, dport=9, tag=7) / Raw(ch("init")))); d.show("-Lnc"); d.send("eth0", d.c6(IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\x00" * 4)]) / SCTP(sport=5001, dport=9, tag=7) / Raw(ch("cookie-echo")))); d.show("-Lnc"); d.send("eth0", d.c6(IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\x00" * 4)]) / TCP(sport=5002, dport=9, flags="S"))); d.stats()

# ---- IPsec
ESP_, AH_ = Raw(pat(40)), Raw(b"\x06\x04\x00\x00\x00\x00\x01\x00\x00\x00\x00\x01" + pat(32))
def sec(d, proto, client=1, **k): return d.send("eth0", d.c(ESP_ if proto == 50 else AH_, proto=proto, client=client, **k))
def sec6(d, nh, client=1, **k): return d.send("eth0", d.c6(ESP_ if nh == 50 else AH_, nh=nh, client=client, **k))
def rsec(d, n, proto, dst=C4, **k): return d.send("eth1", d.r(n, ESP_ if proto == 50 else AH_, dst=dst, proto=proto, **k))
def rsec6(d, n, nh, dst=C6, **k): return d.send("eth1", d.r6(n, ESP_ if nh == 50 else AH_, dst=dst, nh=nh, **k))
def case_ipsec_persistent(d):
    """ESP and AH follow the key exchange of a persistent service on port 500; on 4500 alone they do not; expiry, counters, an unknown client."""
    d.adm("--set 0 0 6"); svc(d, "-u 10.9.9.9:500", flags="-p 60", rport=500, servers=((1, ""), (2, ""))); svc(d, "-u 10.9.9.9:4500", flags="-p 60", rport=4500, servers=((1, ""), (2, "")))
    for c in (1, 2): d.udp(500, dport=500, client=c); sec(d, 50, c); sec(d, 51, c)
    d.udp(4500, dport=4500, client=3); sec(d, 50, 3); sec(d, 51, 3); d.show("-Lnc"); d.sleep(4); sec(d, 50); d.sleep(4); sec(d, 51); d.show("-Lnc"); d.sleep(8); d.show("-Lnc"); sec(d, 50); d.udp(501, dport=500); sec(d, 50); d.udp(500, dport=500); n = d.which(sec(d, 50)); rsec(d, n, 50); rsec(d, n, 51); rsec(d, 3 - n, 50); d.show("-Lnc"); d.show("-Ln"); d.stats()
def case_ipsec_any_port(d):
    """A persistent service on port 0, and one by mark: key exchange on 500 makes the entry."""
    svc(d, "-u 10.9.9.9:0", flags="-p 60", rport=0, servers=((1, ""), (2, ""))); d.udp(500, dport=500); sec(d, 50); sec(d, 51); d.udp(4500, dport=4500); d.show("-Lnc"); d.adm("-C"); d.mark("udp dport { 500, 4500 }", 7); d.mark("meta l4proto { 50, 51 }", 7); svc(d, "-f 7", flags="-p 60", rport=None, servers=((3, ""), (4, ""))); d.udp(500, dport=500, client=2); sec(d, 50, 2); sec(d, 51, 2); sec(d, 50, 3); d.show("-Lnc"); d.show("-Ln"); d.stats()
def case_ipsec_ipv6(d):
    """ESP and AH over IPv6: NAT, direct routing, tunnel; requests and replies; without entry; AH with a segment behind it."""
    svc6(d, "-u [fd99::9]:500", flags="-p 60", rport=500, servers=((1, ""),)); sec6(d, 50); sec6(d, 51); udp6(d, 500, dport=500); sec6(d, 50); sec6(d, 51); sec6(d, 50, hlim=1); sec6(d, 51, hlim=1); rsec6(d, 1, 50); rsec6(d, 1, 51); rsec6(d, 2, 51); d.show("-Lnc")
    t = raw(TCP(sport=40000, dport=80, flags="S", seq=5)); svc6(d, servers=((4, ""),)); d.send("eth0", d.c6(Raw(b"\x06\x04\x00\x00\x00\x00\x01\x00\x00\x00\x00\x01" + pat(12) + t), nh=51)); d.send("eth0", d.c6(Raw(b"\x06\x04\x00\x00\x00\x00\x01\x00\x00\x00\x00\x01" + pat(12) + t), nh=51, client=2)); d.show("-Lnc"); d.adm("-C"); svc6(d, "-u [fd99::9]:500", rport=500, servers=((2, ""),), mode="-g"); udp6(d, 500, dport=500, client=2); sec6(d, 50, 2); sec6(d, 51, 2); d.adm("-C"); svc6(d, "-u [fd99::9]:500", rport=500, servers=((3, ""),), mode="-i"); udp6(d, 500, dport=500, client=3); sec6(d, 50, 3); sec6(d, 51, 3); d.show("-Lnc"); d.stats()
def case_ipsec_ipv6_mark(d):
    """AH over IPv6 in front of what a service by mark or on every port would take."""
    d.mark("ip6 daddr fd99::9", 9); d.adm("-A -f 9 -6 -s rr"); d.adm(f"-a -f 9 -6 -r [{RS[1][1]}]:0 -m"); t = raw(TCP(sport=40000, dport=80, flags="S", seq=5)); d.send("eth0", d.c6(Raw(b"\x06\x04\x00\x00\x00\x00\x01\x00\x00\x00\x00\x01" + pat(12) + t), nh=51)); d.send("eth0", d.c6(IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\x00" * 4)]) / Raw(b"\x06\x04\x00\x00\x00\x00\x01\x00\x00\x00\x00\x01" + pat(12) + t))); sec6(d, 50); d.show("-Lnc"); d.show("-Ln")
def case_ipsec_gone(d):
    """The server of the key exchange is deleted, or its weight 0; expire_nodest_conn."""
    svc(d, "-u 10.9.9.9:500", flags="-p 60", rport=500, servers=((1, ""), (2, ""))); n = d.udp(500, dport=500); sec(d, 50); d.adm(f"-e -u 10.9.9.9:500 -r 172.16.0.1{n}:500 -m -w 0"); sec(d, 50); d.adm(f"-d -u 10.9.9.9:500 -r 172.16.0.1{n}:500"); sec(d, 50); sec(d, 51); rsec(d, n, 50); d.show("-Lnc"); d.sysctl("expire_nodest_conn", 1); sec(d, 50); sec(d, 51); d.show("-Lnc"); d.udp(500, dport=500); sec(d, 51); d.show("-Lnc"); d.show("-Ln"); d.stats()
def case_ipsec_fragments(d):
    """ESP in fragments, too long for the link, with options."""
    svc(d, "-u 10.9.9.9:500", flags="-p 60", rport=500, servers=((1, ""),)); d.udp(500, dport=500); p = IP(src=C4, dst=VIP, id=99, proto=50) / Raw(pat(2400)); [d.send("eth0", f) for f in frag4(p, [1200], Ether(src=CLIENTS[1][2], dst=DIR0))]; q = IP(src=RS[1][0], dst=C4, id=98, proto=50) / Raw(pat(2400)); [d.send("eth1", f) for f in frag4(q, [1200], Ether(src=RS[1][2], dst=DIR1))]; sec(d, 50, options=[IPOption_NOP()] * 4); d.show("-Lnc"); d.stats()
def case_ipsec_errors(d):
    """ICMP errors that quote ESP or AH, from both sides; schedule_icmp with them."""
    svc(d, "-u 10.9.9.9:500", flags="-p 60", rport=500, servers=((1, ""),)); err = lambda proto, c=1: d.send("eth0", d.c(ICMP(type=3, code=4, nexthopmtu=1300) / Raw(raw(IP(src=VIP, dst=CLIENTS[c][0], proto=proto) / (ESP_ if proto == 50 else AH_))), client=c)); rerr = lambda proto: d.send("eth1", d.r(1, ICMP(type=3, code=2) / Raw(raw(IP(src=C4, dst=RS[1][0], proto=proto) / (ESP_ if proto == 50 else AH_))), dst=C4))
    err(50); err(51); d.udp(500, dport=500); err(50); err(51); rerr(50); rerr(51); d.sysctl("schedule_icmp", 1); err(50, 2); err(51, 2); d.show("-Lnc"); svc6(d, "-u [fd99::9]:500", rport=500, servers=((1, ""),)); udp6(d, 500, dport=500); [d.send("eth0", d.c6(ICMPv6PacketTooBig(mtu=1300) / Raw(raw(IPv6(src=VIP6, dst=C6, nh=nh) / (ESP_ if nh == 50 else AH_))))) for nh in (50, 51)]; [d.send("eth1", d.r6(1, ICMPv6DestUnreach(code=1) / Raw(raw(IPv6(src=C6, dst=RS[1][1], nh=nh) / (ESP_ if nh == 50 else AH_))), dst=C6)) for nh in (50, 51)]; d.stats()

# ---- schedule_icmp, ignore_tunneled, nat_icmp_send
def case_icmp_schedule_protocols(d):
    """schedule_icmp for every protocol, and for what may not begin a connection otherwise."""
    for k, p in (("-t", 80), ("-u", 53), ("--sctp-service", 9)): svc(d, f"{k} 10.9.9.9:{p}", servers=((1, ""), (2, "")), rport=p)
    d.sysctl("schedule_icmp", 1); err = lambda l4, t=3, c=1: d.send("eth0", d.c(ICMP(type=t, code=c) / Raw(raw(IP(src=VIP, dst=C4) / l4))))
    for i, f in enumerate(("S", "A", "R", "F", "")): err(TCP(sport=80, dport=40000 + i, flags=f))
    for t in (3, 4, 11, 5, 12): err(UDP(sport=53, dport=41000 + t) / pat(8), t)
    for e in ("data", "init", "abort"): err(SCTP(sport=9, dport=42000 + len(e), tag=1) / Raw(ch(e)))
    err(TCP(sport=80, dport=20, flags="A")); err(UDP(sport=53, dport=0)); err(UDP(sport=53, dport=20)); err(TCP(sport=81, dport=40000, flags="A")); d.send("eth0", d.c(ICMP(type=3, code=1) / Raw(raw(IP(src=VIP, dst=C4) / TCP(sport=80, dport=40100))[:24]))); d.send("eth0", d.c(ICMP(type=3, code=1) / Raw(raw(IP(src=VIP, dst=C4) / TCP(sport=80, dport=40101))[:22]))); d.send("eth0", d.c(ICMP(type=3, code=1) / Raw(raw(IP(src="10.0.0.9", dst=C4) / TCP(sport=80, dport=40102))))); d.show("-Lnc"); tcp(d, "A", 40001); tcp(d, "S", 40000); d.udp(41003); d.show("-Lnc"); d.show("-Ln"); d.stats()
def case_icmp_schedule_persistent(d):
    """schedule_icmp with persistent services: port, any port, mark, FTP; the client's next connection goes to the same server."""
    svc(d, flags="-p 60"); svc(d, "-u 10.9.9.9:0", flags="-p 60", rport=0); svc(d, "-t 10.9.9.9:21", flags="-p 60", rport=21); d.mark("ip saddr 10.0.0.4", 3); svc(d, "-f 3", flags="-p 60", rport=None); d.sysctl("schedule_icmp", 1); err = lambda l4, c=1: d.send("eth0", d.c(ICMP(type=3, code=4, nexthopmtu=1300) / Raw(raw(IP(src=VIP, dst=CLIENTS[c][0]) / l4)), client=c))
    err(TCP(sport=80, dport=40000, flags="A")); err(TCP(sport=80, dport=40001, flags="A")); d.syn(40002); err(UDP(sport=53, dport=41000)); d.udp(41001); err(TCP(sport=21, dport=40003, flags="A")); err(TCP(sport=2000, dport=40004, flags="A")); err(TCP(sport=79, dport=40005, flags="A")); err(TCP(sport=80, dport=40006, flags="A"), 3); d.syn(40007, client=3); d.show("-Lnc"); d.show("-Ln"); d.stats()
def case_icmp_schedule_corners(d):
    """schedule_icmp: servers at weight 0, full, one-packet services, the SIP engine, drop_packet, thresholds, hashing schedulers."""
    svc(d, servers=((1, "-w 0"),)); svc(d, "-u 10.9.9.9:53", flags="-o", rport=53); svc(d, "-u 10.9.9.9:5060", flags="-p 60 --pe sip", rport=5060); svc(d, "-t 10.9.9.9:81", sched="dh", rport=81); svc(d, "-t 10.9.9.9:82", sched="sh", rport=82); svc(d, "-t 10.9.9.9:83", sched="mh", rport=83); svc(d, "-t 10.9.9.9:84", sched="lblc", rport=84); svc(d, "-t 10.9.9.9:85", rport=85, servers=((1, "-x 1"),)); d.sysctl("schedule_icmp", 1); err = lambda l4, c=1: d.send("eth0", d.c(ICMP(type=3, code=3) / Raw(raw(IP(src=VIP, dst=CLIENTS[c][0]) / l4)), client=c))
    err(TCP(sport=80, dport=40000, flags="A")); err(UDP(sport=53, dport=41000) / pat(8)); err(UDP(sport=5060, dport=41000) / SIP("a@x"))
    for p in (81, 82, 83, 84):
        for c in (1, 2, 3): err(TCP(sport=p, dport=40000, flags="A"), c)
    err(TCP(sport=85, dport=40000, flags="A")); err(TCP(sport=85, dport=40001, flags="A")); d.show("-Lnc"); d.sleep(6); d.sysctl("am_droprate", 2); d.sysctl("drop_packet", 3); d.sleep(2); [err(TCP(sport=82, dport=40010 + i, flags="A")) for i in range(4)]; d.show("-Lnc"); d.show("-Ln"); d.stats()
def case_icmp_schedule_ipv6_more(d):
    """schedule_icmp over IPv6: SCTP, persistent, mark, types, cut short, with extension headers."""
    svc6(d, flags="-p 60"); svc6(d, "--sctp-service [fd99::9]:9", rport=9); svc6(d, "-u [fd99::9]:53", rport=53, mode="-i"); d.mark("ip6 saddr fd00::4", 3); d.adm("-A -f 3 -6 -s rr -p 60"); d.adm(f"-a -f 3 -6 -r [{RS[5][1]}]:0 -g"); d.sysctl("schedule_icmp", 1); err = lambda l4, c=1, i=None: d.send("eth0", d.c6((i or ICMPv6DestUnreach(code=4)) / Raw(raw(IPv6(src=VIP6, dst=CLIENTS[c][1]) / l4)), client=c))
    err(TCP(sport=80, dport=40000, flags="A")); err(TCP(sport=80, dport=40001, flags="A"), i=ICMPv6TimeExceeded()); err(TCP(sport=80, dport=40002, flags="A"), 2, ICMPv6ParamProblem()); err(SCTP(sport=9, dport=42000, tag=1) / Raw(ch("data"))); err(UDP(sport=53, dport=41000) / pat(8), i=ICMPv6PacketTooBig(mtu=1300)); err(TCP(sport=80, dport=40003, flags="A"), 3); err(IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\x00" * 4)]) / TCP(sport=80, dport=40004, flags="A")); d.send("eth0", d.c6(ICMPv6DestUnreach(code=4) / Raw(raw(IPv6(src=VIP6, dst=C6) / TCP(sport=80, dport=40005))[:44]))); d.send("eth0", d.c6(ICMPv6DestUnreach(code=4) / Raw(raw(IPv6(src=VIP6, dst=C6) / TCP(sport=80, dport=40006))[:42]))); d.show("-Lnc"); d.show("-Ln"); d.stats()
def case_set_ignore_tunneled(d):
    """ignore_tunneled: protocols that are not balanced, with a service by mark for everything, of both families."""
    d.mark("ip daddr 10.9.9.9", 1); d.mark("ip6 daddr fd99::9", 1); svc(d, "-f 1", rport=None); d.adm("-A -f 1 -6 -s rr"); d.adm(f"-a -f 1 -6 -r [{RS[4][1]}]:0 -m"); inner = raw(IP(src=C4, dst=VIP) / TCP(sport=40000, dport=80, flags="S")); inner6 = raw(IPv6(src=C6, dst=VIP6) / TCP(sport=40000, dport=80, flags="S"))
    def all():
        d.send("eth0", d.c(Raw(inner), proto=4)); d.send("eth0", d.c(Raw(inner6), proto=41)); d.send("eth0", d.c(Raw(b"\x00\x00\x08\x00" + inner), proto=47)); d.send("eth0", d.c(Raw(pat(20)), proto=99)); d.send("eth0", d.c6(Raw(inner), nh=4)); d.send("eth0", d.c6(Raw(inner6), nh=41)); d.send("eth0", d.c6(Raw(pat(20)), nh=99)); d.send("eth0", d.c(ESP_, proto=50)); d.syn(40000); syn6(d, 40000); d.send("eth0", d.c(ICMP(type=8) / b"ping"))
    all(); d.sysctl("ignore_tunneled", 1); all(); d.show("-Lnc"); d.show("-Ln"); d.stats()
def case_set_nat_icmp_send(d):
    """nat_icmp_send: SCTP, UDP, services by mark and on port 0, other protocols, fragments, TTL 1, a server at weight 0 or deleted."""
    d.sysctl("nat_icmp_send", 1); svc(d, servers=((1, ""), (2, "-w 0"))); svc(d, "-u 10.9.9.9:53", servers=((1, ""),), rport=5353); svc(d, "--sctp-service 10.9.9.9:9", servers=((1, ""),), rport=9); svc(d, "-f 4", servers=((3, ""),), rport=None); svc(d, "-f 5", servers=((4, ""),), rport=8080); svc(d, "-t 10.9.9.9:0", flags="-p 60", servers=((5, ""),), rport=0); svc(d, "-t 10.9.9.9:85", servers=((6, ""),), rport=85, mode="-g")
    u = lambda n, sp, **k: d.send("eth1", d.r(n, UDP(sport=sp, dport=41000) / pat(30), dst=C4, **k)); s = lambda n, e, sp=9: d.send("eth1", d.r(n, SCTP(sport=sp, dport=5000, tag=1) / Raw(ch(e)), dst=C4))
    rtcp(d, 1, "A"); rtcp(d, 1, "R"); rtcp(d, 2, "A"); rtcp(d, 1, "A", sport=81); u(1, 5353); u(1, 53); u(2, 5353); [s(1, e) for e in ("data", "init", "abort")]; s(1, "data", 10); rtcp(d, 3, "A", sport=1234); u(3, 99); s(3, "data", 77); u(4, 8080); u(4, 8081); rtcp(d, 5, "A", sport=22); u(5, 22); rtcp(d, 6, "A", sport=85); u(1, 5353, ttl=1); rtcp(d, 1, "A", ttl=1); d.send("eth1", d.r(1, ESP_, dst=C4, proto=50)); d.send("eth1", d.r(1, ICMP(type=8) / b"x", dst=C4)); rtcp(d, 1, "A", dst="198.51.100.9"); rtcp(d, 1, "A", dst=VIP); u(1, 5353, tos=0x2b, flags="DF")
    p = IP(src=RS[1][0], dst=C4, id=97) / UDP(sport=5353, dport=41000) / pat(1200); [d.send("eth1", f) for f in frag4(p, [600], Ether(src=RS[1][2], dst=DIR1))]; d.adm("-d -t 10.9.9.9:80 -r 172.16.0.11:80"); rtcp(d, 1, "A"); d.stats()
def case_set_nat_icmp_send_ipv6(d):
    """nat_icmp_send over IPv6."""
    d.sysctl("nat_icmp_send", 1); svc6(d, servers=((1, ""),)); svc6(d, "-u [fd99::9]:53", servers=((1, ""),), rport=5353); svc6(d, "--sctp-service [fd99::9]:9", servers=((1, ""),), rport=9); d.adm("-A -f 4 -6 -s rr"); d.adm(f"-a -f 4 -6 -r [{RS[3][1]}]:0 -m"); u = lambda n, sp, **k: d.send("eth1", d.r6(n, UDP(sport=sp, dport=41000) / pat(30), dst=C6, **k)); s = lambda n, e, sp=9: d.send("eth1", d.r6(n, SCTP(sport=sp, dport=5000, tag=1) / Raw(ch(e)), dst=C6))
    rtcp6(d, 1, "A"); rtcp6(d, 1, "R"); rtcp6(d, 1, "SA", tc=0xb9); rtcp6(d, 1, "A", sport=81); u(1, 5353); u(1, 53); u(2, 5353); [s(1, e) for e in ("data", "init", "abort")]; rtcp6(d, 3, "A", sport=1234); u(3, 99); u(1, 5353, hlim=1); d.send("eth1", d.r6(1, IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\x00" * 4)]) / UDP(sport=5353, dport=41000) / pat(30), dst=C6)); d.send("eth1", d.r6(1, UDP(sport=5353, dport=41000) / pat(1400), dst=C6)); d.send("eth1", d.r6(1, Raw(pat(20)), dst=C6, nh=99)); syn6(d, 40000); rtcp6(d, 1, "SA"); d.stats()
