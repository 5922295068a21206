"""The FTP helper (module ip_vs_ftp): data connections announced on control connections of NAT services."""
from common import *
from scapy.all import IPv6ExtHdrDestOpt
sh("modprobe ip_vs_ftp")  # It stays: whatever is recorded later in the same machine has it too.
LONG = "10.109.109.109"

class Ftp:
    """Both ends of a control connection, each with the numbers that it was itself shown."""
    def __init__(self, d, sport=40000, n=1, vip=None, dport=21, rport=21, v6=False, client=1, options=None, isn=(1000, 9000)):
        self.d, self.sport, self.n, self.dport, self.rport, self.v6, self.client = d, sport, n, dport, rport, v6, client
        self.vip = vip or (VIP6 if v6 else VIP); self.options = options or []
        self.cs, self.ss = isn; self.ca = self.sa = 0
        self.c_ip = CLIENTS[client][1 if v6 else 0]
    def _seen(self, out, link):
        for dev, f in out:
            e = Ether(f)
            if dev == link and e.haslayer(TCP):
                t = e[TCP]; size = len(e[IPv6].payload) - t.dataofs * 4 if self.v6 else e[IP].len - e[IP].ihl * 4 - t.dataofs * 4
                return t, size + bool(t.flags.S) + bool(t.flags.F)
        return None, 0
    def c(self, data=b"", flags="PA", seq=None, ack=None, options=None, **ip):
        """A segment of the client."""
        data = data.encode("latin1") if isinstance(data, str) else data
        t = TCP(sport=self.sport, dport=self.dport, flags=flags, seq=self.cs if seq is None else seq, ack=self.ca if ack is None else ack, options=self.options if options is None else options)
        if ip.pop("chksum", None) is not None: t.chksum = 0x1234
        t = t / data if data else t
        if seq is None: self.cs = (self.cs + len(data) + ("S" in flags) + ("F" in flags)) % 2**32
        out = self.d.send("eth0", (self.d.c6 if self.v6 else self.d.c)(t, dst=self.vip, client=self.client, **ip))
        seen, size = self._seen(out, "eth1")
        if seen is not None: self.sa = (seen.seq + size) % 2**32
        return out
    def s(self, data=b"", flags="PA", seq=None, ack=None, options=None, **ip):
        """A segment of the real server."""
        data = data.encode("latin1") if isinstance(data, str) else data
        t = TCP(sport=self.rport, dport=self.sport, flags=flags, seq=self.ss if seq is None else seq, ack=self.sa if ack is None else ack, options=self.options if options is None else options)
        if ip.pop("chksum", None) is not None: t.chksum = 0x1234
        t = t / data if data else t
        if seq is None: self.ss = (self.ss + len(data) + ("S" in flags) + ("F" in flags)) % 2**32
        out = self.d.send("eth1", (self.d.r6 if self.v6 else self.d.r)(self.n, t, dst=self.c_ip, **ip))
        seen, size = self._seen(out, "eth0")
        if seen is not None: self.ca = (seen.seq + size) % 2**32
        return out
    def open(self, greet=True):
        out = self.c(flags="S"); self.n = self.d.which(out) or self.n
        self.s(flags="SA"); self.c(flags="A")
        if greet: self.s("220 ready\r\n"); self.c(flags="A")
        return self
    def pasv(self, port=50000, address=None, text="227 Entering Passive Mode ({})\r\n"):
        self.c("PASV\r\n"); return self.s(text.format(host_port(address or RS[self.n][0], port)))
    def close(self):
        self.c(flags="FA"); self.s(flags="FA"); self.c(flags="A")

def host_port(address, port): return address.replace(".", ",") + f",{port >> 8},{port & 255}"
def ftp(d, servers=((1, ""),), port=21, rport=21, vip=VIP, flags="", mode="-m"): svc(d, f"-t {vip}:{port}", servers=servers, rport=rport, flags=flags, mode=mode)
def ftp6(d, servers=((1, ""),), port=21, rport=21, flags=""): svc6(d, f"-t [fd99::9]:{port}", servers=servers, rport=rport, flags=flags)
def long_vip(d): sh(f"ip -n dir addr add {LONG}/32 dev lo"); d.note(f"{LONG}/32 is local to the director")
def data(d, sport, dport, n=1, rport=None, vip=VIP, client=1, close=True):
    """The client opens a data connection to the virtual address, is sent something, and it is closed."""
    c_ip = CLIENTS[client][0]; rport = rport or dport
    d.send("eth0", d.c(TCP(sport=sport, dport=dport, flags="S", seq=100), dst=vip, client=client))
    d.send("eth1", d.r(n, TCP(sport=rport, dport=sport, flags="SA", seq=500, ack=101), dst=c_ip))
    d.send("eth0", d.c(TCP(sport=sport, dport=dport, flags="A", seq=101, ack=501), dst=vip, client=client))
    d.send("eth1", d.r(n, TCP(sport=rport, dport=sport, flags="PA", seq=501, ack=101) / b"file", dst=c_ip))
    if not close: return
    d.send("eth1", d.r(n, TCP(sport=rport, dport=sport, flags="FA", seq=505, ack=101), dst=c_ip))
    d.send("eth0", d.c(TCP(sport=sport, dport=dport, flags="FA", seq=101, ack=506), dst=vip, client=client))
    d.send("eth1", d.r(n, TCP(sport=rport, dport=sport, flags="A", seq=506, ack=102), dst=c_ip))
def active(d, dport, n=1, sport=20, vip=VIP, client=1, src=None):
    """The real server opens a data connection to the client."""
    c_ip = CLIENTS[client][0]
    out = d.send("eth1", d.r(n, TCP(sport=sport, dport=dport, flags="S", seq=700), dst=c_ip, src=src))
    vport = Ether(out[0][1])[TCP].sport if out and Ether(out[0][1]).haslayer(TCP) else 20
    d.send("eth0", d.c(TCP(sport=dport, dport=vport, flags="SA", seq=300, ack=701), dst=vip, client=client))
    d.send("eth1", d.r(n, TCP(sport=sport, dport=dport, flags="A", seq=701, ack=301), dst=c_ip, src=src))
    d.send("eth1", d.r(n, TCP(sport=sport, dport=dport, flags="PA", seq=701, ack=301) / b"listing", dst=c_ip, src=src))
    d.send("eth0", d.c(TCP(sport=dport, dport=vport, flags="A", seq=301, ack=708), dst=vip, client=client))

def case_ftp_passive(d):
    """PASV: the server's answer is rewritten and a data connection made; it goes to the same server and ends; the session goes on with other numbers."""
    ftp(d, servers=((1, ""), (2, ""))); f = Ftp(d).open(); f.c("USER a\r\n"); f.s("331 pass\r\n"); f.c("PASS b\r\n"); f.s("230 in\r\n"); f.c(flags="A"); d.show("-Lnc")
    f.pasv(); f.c(flags="A"); d.show("-Lnc"); d.show("-Ln"); data(d, 41000, 50000, f.n); d.show("-Lnc"); f.c("RETR x\r\n"); f.s("150 here\r\n"); f.s("226 done\r\n"); f.c(flags="A"); f.c("QUIT\r\n"); f.s("221 bye\r\n"); f.close(); d.show("-Lnc"); d.stats()
def case_ftp_passive_longer(d):
    """The virtual address is written with more digits than the server's: the answer grows."""
    long_vip(d); ftp(d, vip=LONG); f = Ftp(d, vip=LONG).open(); f.pasv(); f.c(flags="A"); data(d, 41000, 50000, f.n, vip=LONG); f.c("NOOP\r\n"); f.s("200 ok\r\n"); f.c(flags="A"); f.pasv(50001); f.c(flags="A"); f.c("LIST\r\n"); f.s("150 here\r\n"); f.close(); d.show("-Lnc"); d.stats()
def case_ftp_active(d):
    """PORT: the command goes on as it is; the server's connection from port 20 comes from the virtual address."""
    ftp(d); f = Ftp(d).open(); f.c(f"PORT {host_port(C4, 41234)}\r\n"); d.show("-Lnc"); f.s("200 ok\r\n"); f.c("LIST\r\n"); active(d, 41234); d.show("-Lnc"); f.s("226 done\r\n"); f.c(flags="A"); d.show("-Ln"); f.close(); d.stats()
def case_ftp_extended(d):
    """EPSV and EPRT over IPv4."""
    ftp(d); f = Ftp(d).open(); f.c("EPSV\r\n"); f.s("229 Entering Extended Passive Mode (|||50000|)\r\n"); f.c(flags="A"); data(d, 41000, 50000); f.c("EPSV 1\r\n"); f.s("229 with address (|1|172.16.0.11|50001|)\r\n"); f.c(flags="A"); d.show("-Lnc"); data(d, 41001, 50001)
    f.c(f"EPRT |1|{C4}|41234|\r\n"); f.s("200 ok\r\n"); active(d, 41234); f.c("NOOP\r\n"); f.s("200 ok\r\n"); f.c(flags="A"); d.show("-Lnc"); d.show("-Ln"); d.stats()
def case_ftp_ipv6(d):
    """IPv6: EPSV, EPRT; PASV and PORT mean nothing there."""
    ftp6(d); f = Ftp(d, v6=True).open(); f.c("EPSV\r\n"); f.s("229 Extended (|||50000|)\r\n"); f.c(flags="A"); d.show("-Lnc"); d.send("eth0", d.c6(TCP(sport=41000, dport=50000, flags="S", seq=1))); d.send("eth1", d.r6(1, TCP(sport=50000, dport=41000, flags="SA", seq=9, ack=2), dst=C6)); d.show("-Lnc")
    f.c("EPSV 2\r\n"); f.s(f"229 Extended (|2|{RS[1][1]}|50001|)\r\n"); f.c(flags="A"); f.c("NOOP\r\n"); f.s("200 ok\r\n"); f.c(flags="A"); f.c(f"EPRT |2|{C6}|41234|\r\n"); f.s("200 ok\r\n"); d.send("eth1", d.r6(1, TCP(sport=20, dport=41234, flags="S", seq=7), dst=C6)); d.send("eth0", d.c6(TCP(sport=41234, dport=20, flags="SA", seq=3, ack=8))); d.show("-Lnc")
    f.c("PASV\r\n"); f.s("227 Entering Passive Mode (172,16,0,11,195,80)\r\n"); f.c("PORT 10,0,0,2,161,18\r\n"); f.c("EPSV 1\r\n"); f.s("229 Extended (|||50002|)\r\n"); f.c("EPRT |1|10.0.0.2|41235|\r\n"); f.c(f"EPRT |2|fd00:0:0:0::2|41236|\r\n"); f.c("EPRT |2|fd00::2%eth0|41237|\r\n"); d.show("-Lnc"); d.stats()
def case_ftp_sequence(d):
    """Several answers that shrink and grow: sequence numbers one way, acknowledgements the other; old segments again, before and after the changes."""
    ftp(d); f = Ftp(d).open(); first = f.ss; f.s("220 x\r\n"); f.c(flags="A"); f.pasv(50000); a1 = (f.ca, f.ss); f.c(flags="A"); f.s("200 a\r\n"); f.c(flags="A"); f.pasv(50001); a2 = (f.ca, f.ss); f.c(flags="A"); f.s("200 b\r\n"); f.c(flags="A"); f.pasv(5); a3 = (f.ca, f.ss); f.c(flags="A")
    f.s("220 x\r\n", seq=first); f.s("200 a\r\n", seq=a1[1]); f.s("200 b\r\n", seq=a2[1]); f.s("200 c\r\n"); f.c(flags="A")
    for ack in (a1[0], a2[0], a3[0], a1[0] - 1, a2[0] - 1, a3[0] + 7): f.c(flags="A", ack=ack)
    f.s("200 d\r\n"); f.c("NOOP\r\n"); f.s(flags="A"); f.close(); d.show("-Lnc"); d.stats()
def case_ftp_sequence_grow(d):
    """The same with answers that grow, and one that shrinks between them."""
    long_vip(d); ftp(d, vip=LONG, servers=((1, ""),)); f = Ftp(d, vip=LONG).open(); points = []
    for port, address in ((50000, None), (50001, "172.116.100.111"), (50002, "1.1.1.1"), (50003, None), (50004, "172.116.100.111"), (50005, "192.168.177.201")): f.pasv(port, address); points.append((f.ca, f.ss)); f.c(flags="A"); f.s(f"200 {port}\r\n"); f.c(flags="A")
    for ca, ss in points: f.s(f"200 again\r\n", seq=ss); f.c(flags="A", ack=ca); f.c(flags="A", ack=ca - 1)
    f.s("200 end\r\n"); f.c("NOOP\r\n"); f.close(); d.show("-Lnc")
def case_ftp_sequence_wrap(d):
    """Sequence numbers that wrap round while answers change their length."""
    ftp(d); f = Ftp(d, isn=(2**32 - 40, 2**32 - 30)).open(); f.pasv(50000); f.c(flags="A"); f.s("200 a\r\n"); f.c(flags="A"); f.pasv(50001); f.c(flags="A"); f.s("200 b\r\n"); f.c("NOOP\r\n"); f.s(flags="A"); f.close(); d.show("-Lnc")
def case_ftp_sack(d):
    """Selective acknowledgements are translated as the acknowledgements are."""
    long_vip(d); ftp(d, vip=LONG); f = Ftp(d, vip=LONG).open(); f.pasv(50000); f.c(flags="A"); old = f.ca; f.s("200 a\r\n"); f.s("200 b\r\n"); f.s("200 c\r\n")
    for blocks in ((old + 7, old + 14), (old - 60, old - 50, old + 7, old + 14), (old - 4, old + 14, old + 14, old + 21, old - 50, old - 40)): f.c(flags="A", ack=old, options=[("NOP", None), ("NOP", None), ("SAck", blocks)])
    f.c(flags="A", ack=old, options=[("Timestamp", (1, 2)), ("NOP", None), ("NOP", None), ("SAck", (old + 7, old + 21))]); f.c(flags="A", ack=old, options=[("SAck", (old + 7, old + 21)), ("EOL", None)]); f.c("NOOP\r\n", options=[("NOP", None), ("NOP", None), ("SAck", (old + 7, old + 14))]); f.s(flags="A", options=[("NOP", None), ("NOP", None), ("SAck", (1010, 1020))]); d.stats()
def case_ftp_multi_command(d):
    """Several commands in one segment: PASV is found anywhere, PORT only at the beginning."""
    ftp(d); f = Ftp(d).open(); f.c("USER a\r\nPASV\r\n"); f.s(f"331 x\r\n227 ok ({host_port(RS[1][0], 50000)})\r\n"); d.show("-Lnc"); f.s(f"227 ok ({host_port(RS[1][0], 50000)})\r\n"); f.c(flags="A"); d.show("-Lnc")
    f.c(f"NOOP\r\nPORT {host_port(C4, 41001)}\r\n"); d.show("-Lnc"); f.c(f"PORT {host_port(C4, 41002)}\r\nPASV\r\n"); d.show("-Lnc"); f.s(f"227 ok ({host_port(RS[1][0], 50001)})\r\n"); d.show("-Lnc"); f.c(f"PORT {host_port(C4, 41003)}\r\nLIST\r\n"); f.s(f"227 ok ({host_port(RS[1][0], 50002)})\r\n"); d.show("-Lnc")
    f.c(f"xPASV\r\n"); f.s(f"227 ok ({host_port(RS[1][0], 50003)})\r\n"); f.c("PASV\r\nEPSV\r\n"); f.s("229 ok (|||50004|)\r\n"); f.s(f"227 ok ({host_port(RS[1][0], 50005)})\r\n"); f.c("EPSV\r\nPASV\r\n"); f.s("229 ok (|||50006|)\r\n"); f.s(f"227 ok ({host_port(RS[1][0], 50007)})\r\n"); f.c(flags="A"); d.show("-Lnc")
def case_ftp_split(d):
    """Commands and answers that come in two segments are not understood."""
    ftp(d); f = Ftp(d).open(); f.c("PA"); f.c("SV\r\n"); f.s(f"227 ok ({host_port(RS[1][0], 50000)})\r\n"); f.c("PASV\r"); f.c("\n"); f.s(f"227 ok ({host_port(RS[1][0], 50001)})\r\n"); f.c("PASV\r\n"); f.s("227 ok (172,16,0,11,"); f.s("195,82)\r\n"); f.c(flags="A"); d.show("-Lnc"); f.s(f"227 ok ({host_port(RS[1][0], 50003)})\r\n"); f.c(flags="A"); d.show("-Lnc")
    f.c("PASV\r\n"); f.s("227 ok ("); f.s(f"227 ok ({host_port(RS[1][0], 50004)})\r\n"); f.c("PASV\r\n"); f.s(f"227 ok ({host_port(RS[1][0], 50005)}"); f.s(")\r\n"); f.c("PORT 10,0,0,2,161,"); f.c("18\r\n"); f.c("PORT 10,0,0,2,161,19"); f.c("\r\n"); f.c("PORT 10,0,0,2,161,20\r"); f.c("\n"); f.c("EPSV"); f.c("\r\n"); f.s("229 ok (|||50006|)\r\n"); f.c("EPSV\r"); f.c("\n"); f.s("229 ok (|||50007"); f.s("|)\r\n"); f.c("EPSV\r\n"); f.s("229 ok (|||50008|"); f.s(")\r\n"); f.c(flags="A"); d.show("-Lnc")
def case_ftp_retransmitted(d):
    """PASV, PORT and their answers again, as retransmissions."""
    ftp(d); f = Ftp(d).open(); seq = f.cs; f.c("PASV\r\n"); f.c("PASV\r\n", seq=seq); before = f.ss; f.s(f"227 ok ({host_port(RS[1][0], 50000)})\r\n"); again = f.ca; f.s(f"227 ok ({host_port(RS[1][0], 50000)})\r\n", seq=before); d.show("-Lnc"); f.c(flags="A", ack=again); f.s("200 x\r\n"); f.c(flags="A"); f.c("PASV\r\n", seq=seq); f.s(f"227 ok ({host_port(RS[1][0], 50000)})\r\n", seq=before); d.show("-Lnc"); f.s("200 y\r\n"); f.c(flags="A")
    seq = f.cs; f.c(f"PORT {host_port(C4, 41000)}\r\n"); f.c(f"PORT {host_port(C4, 41000)}\r\n", seq=seq); d.show("-Lnc"); f.pasv(50001); f.pasv(50001); f.c(flags="A"); d.show("-Lnc"); d.stats()
def case_ftp_wrong_address(d):
    """Addresses that are not the two ends', and numbers that are none."""
    ftp(d, servers=((1, ""),)); f = Ftp(d).open(); f.c("PORT 10,0,0,3,161,18\r\n"); f.c("PORT 198,51,100,7,161,18\r\n"); f.c("PORT 10,9,9,9,161,18\r\n"); d.show("-Lnc"); f.pasv(50000, "172.16.0.12"); f.c(flags="A"); f.pasv(50001, "198.51.100.9"); f.c(flags="A"); f.pasv(50002, "0.0.0.0"); f.c(flags="A"); f.pasv(50003, "10.9.9.9"); f.c(flags="A"); d.show("-Lnc")
    active(d, 41234, client=2); data(d, 41000, 50000, n=2)
    for what in ("10,0,0,2,0,0", "10,0,0,2,256,1", "10,0,0,2,1,256", "300,0,0,2,1,1", "10,0,0,2,1", "10,0,0,2,1,1,1", " 10,0,0,2,1,2", "10, 0,0,2,1,3", "10.0.0.2.1.4", "010,000,000,002,001,005", "10,0,0,2,1,6 x", "-1,0,0,2,1,7", ",,,,,", "0010,0,0,2,1,8", "10,0,0,2,1,9,", "10,0,0,2,+1,10"): f.c(f"PORT {what}\r\n")
    d.show("-Lnc"); d.sleep(130)
    for i, what in enumerate(("172,16,0,11,0,0", "172,16,0,11,256,1", "172,16,0,11,1", "172,16,0,11,1,1,1", " 172,16,0,11,1,2 ", "172.16.0.11.1.3", "172,16,0,11,001,004", "172,16,0,11,1,5.", "x172,16,0,11,1,6x", "")): f.c("PASV\r\n"); f.s(f"227 ok ({what})\r\n")
    f.c("PASV\r\n"); f.s("227 172,16,0,11,1,7\r\n"); f.c("PASV\r\n"); f.s("227 =172,16,0,11,1,8\r\n"); f.c("PASV\r\n"); f.s("227 in 3 (172,16,0,11,1,9)\r\n"); f.c("PASV\r\n"); f.s("227-172,16,0,11,1,10\r\n"); f.c("PASV\r\n"); f.s("227 (a) (172,16,0,11,1,11)\r\n"); f.c(flags="A"); d.show("-Lnc")
def case_ftp_spelling(d):
    """Small letters, blanks, delimiters, EPSV ALL, the other family."""
    ftp(d); f = Ftp(d).open()
    for i, (command, answer) in enumerate((("pasv\r\n", "227 ok (172,16,0,11,200,{})\r\n"), ("PaSv\r\n", "227 ok (172,16,0,11,200,{})\r\n"), ("PASV \r\n", "227 ok (172,16,0,11,200,{})\r\n"), ("PASV\n", "227 ok (172,16,0,11,200,{})\r\n"), ("PASV x\r\n", "227 ok (172,16,0,11,200,{})\r\n"),
            ("epsv\r\n", "229 ok (|||512{:02}|)\r\n"), ("EPSV \r\n", "229 ok (|||512{:02}|)\r\n"), ("EPSV 1\r\n", "229 ok (|||512{:02}|)\r\n"), ("EPSV 2\r\n", "229 ok (|||512{:02}|)\r\n"), ("EPSV ALL\r\n", "229 ok (|||512{:02}|)\r\n"), ("EPSV 1\n", "229 ok (|||512{:02}|)\r\n"), ("EPSV\n", "229 ok (|||512{:02}|)\r\n"), ("EPSV  1\r\n", "229 ok (|||512{:02}|)\r\n"), ("EPSV 1 \r\n", "229 ok (|||512{:02}|)\r\n"),
            ("EPSV\r\n", "229 ok (!!!512{:02}!)\r\n"), ("EPSV\r\n", "229 ok (555512{:02}5)\r\n"), ("EPSV\r\n", "229 ok (|2||512{:02}|)\r\n"), ("EPSV\r\n", "229 ok (|1||512{:02}|)\r\n"), ("EPSV\r\n", "229 ok (|||512{:02})\r\n"), ("EPSV\r\n", "229 ok (|||0512{:02}|)\r\n"), ("EPSV\r\n", "229 ok (|||0|{})\r\n"), ("EPSV\r\n", "229 ok (|||65536|{})\r\n"), ("EPSV\r\n", "229 ok |||512{:02}|\r\n"), ("EPSV\r\n", "229-ok (|||512{:02}|)\r\n"), ("EPSV\r\n", "229 ok (|||512{:02}|) (|||5|)\r\n"), ("EPSV\r\n", "229 ok (|1|172.16.0.12|512{:02}|)\r\n"))):
        f.c(command); f.s(answer.format(i)); f.c(flags="A")
    d.show("-Lnc")
def case_ftp_eprt(d):
    """EPRT and PORT in every spelling."""
    ftp(d); f = Ftp(d).open()
    for what in ("|1|10.0.0.2|41001|", "!1!10.0.0.2!41002!", "|2|fd00::2|41003|", "|1|10.0.0.3|41004|", "|1|10.0.0.2|0|", "|1|10.0.0.2|65536|", "|1|10.0.0.2|41005", "|1|10.0.0|41006|", "|1||41007|", "||10.0.0.2|41008|", " |1|10.0.0.2|41009|", "|1|10.0.0.2|41010|x", "a1a10.0.0.2a41011a", "|1|010.0.0.2|41012|", "|1|10.0.0.2|041013|", "|1 |10.0.0.2|41014|", "|1|10.0.0.2 |41015|", "\x7f1\x7f10.0.0.2\x7f41016\x7f", "~1~10.0.0.2~41017~"): f.c(f"EPRT {what}\r\n")
    f.c("eprt |1|10.0.0.2|41020|\r\n"); f.c("EPRT  |1|10.0.0.2|41021|\r\n"); f.c("EPRT |1|10.0.0.2|41022|\n"); f.c("EPRT\t|1|10.0.0.2|41023|\r\n"); f.c("port 10,0,0,2,160,80\r\n"); f.c("PORT  10,0,0,2,160,81\r\n"); f.c("PORT 10,0,0,2,160,82\n"); f.c("PORT\t10,0,0,2,160,83\r\n"); f.c("PORT 10,0,0,2,160,84 \r\n"); f.c(" PORT 10,0,0,2,160,85\r\n"); f.c("PORT 10,0,0,2,160,86"); d.show("-Lnc")
def case_ftp_several_data(d):
    """Several data connections at once, active and passive, of two clients to two servers."""
    ftp(d, servers=((1, ""), (2, ""))); f = Ftp(d).open(); g = Ftp(d, sport=40001, client=2).open(); f.pasv(50000); g.pasv(50000); f.c(flags="A"); g.c(flags="A"); f.pasv(50001); g.c(f"PORT {host_port(CLIENTS[2][0], 41234)}\r\n"); f.c(f"PORT {host_port(C4, 41234)}\r\n"); d.show("-Lnc")
    data(d, 42000, 50000, f.n, close=False); data(d, 42000, 50000, g.n, client=2, close=False); data(d, 42001, 50001, f.n, close=False); active(d, 41234, f.n); active(d, 41234, g.n, client=2); d.show("-Lnc"); d.show("-Ln"); f.close(); g.close(); d.show("-Lnc"); d.stats()
def case_ftp_data_strangers(d):
    """Another client at an announced port; a server's connection that nobody asked for; a second connection to an announced port."""
    ftp(d); f = Ftp(d).open(); f.pasv(50000); f.c(flags="A"); d.syn(41000, dport=50000, client=2); d.send("eth0", d.c(TCP(sport=41000, dport=50000, flags="A", seq=5, ack=5))); d.show("-Lnc"); d.syn(41001, dport=50000); d.syn(41000, dport=50000); d.show("-Lnc"); rtcp(d, 1, "S", dport=41234, sport=20); rtcp(d, 1, "SA", dport=41001, sport=50000); rtcp(d, 1, "SA", dport=41000, sport=50000); f.pasv(50000); f.c(flags="A"); d.show("-Lnc"); d.syn(41002, dport=50000); d.show("-Lnc")
def case_ftp_data_server_first(d):
    """The announced data connection's server speaks before the client does: its packets are not recognised."""
    ftp(d); f = Ftp(d).open(); f.pasv(50000); f.c(flags="A"); rtcp(d, 1, "S", dport=41000, sport=50000); rtcp(d, 1, "SA", dport=41000, sport=50000); d.send("eth0", d.c(TCP(sport=0, dport=50000, flags="S", seq=5))); d.show("-Lnc"); f.c(f"PORT {host_port(C4, 41234)}\r\n"); d.syn(41234, dport=20); d.show("-Lnc"); rtcp(d, 1, "S", dport=41234, sport=20); d.show("-Lnc")
def case_ftp_server_deleted(d):
    """The server is deleted in between: commands and answers, data connections, and what follows after it came back."""
    ftp(d, servers=((1, ""),)); f = Ftp(d).open(); f.pasv(50000); f.c(flags="A"); f.c("PASV\r\n"); d.adm("-d -t 10.9.9.9:21 -r 172.16.0.11:21"); f.s(f"227 ok ({host_port(RS[1][0], 50001)})\r\n"); d.show("-Lnc"); f.c(flags="A"); d.syn(41000, dport=50000); d.syn(41000, dport=50001); f.s("200 x\r\n"); d.show("-Lnc"); d.adm("-a -t 10.9.9.9:21 -r 172.16.0.11:21 -m"); f.c(flags="A"); d.syn(41000, dport=50001); f.pasv(50002); f.c(flags="A"); d.show("-Lnc"); d.show("-Ln")
    d.adm("-d -t 10.9.9.9:21 -r 172.16.0.11:21"); d.sysctl("expire_nodest_conn", 1); f.c(flags="A"); d.sleep(2); d.show("-Lnc"); d.stats()
def case_ftp_expiry(d):
    """A control connection whose time is over stays while it has data connections; and goes with the last."""
    ftp(d); d.adm("--set 20 0 0"); f = Ftp(d).open(); f.c(f"PORT {host_port(C4, 41234)}\r\n"); f.s("200 ok\r\n"); f.pasv(50000); f.c(flags="A"); d.show("-Lnc"); d.sleep(25); d.show("-Lnc"); active(d, 41234); d.show("-Lnc"); d.sleep(25); d.show("-Lnc"); d.sleep(20); d.show("-Lnc"); f.c("NOOP\r\n"); d.show("-Lnc"); d.sleep(100); d.show("-Lnc"); d.sleep(130); d.show("-Lnc")
def case_ftp_states(d):
    """Commands in other states than ESTABLISHED are not looked at."""
    ftp(d); f = Ftp(d); f.c(flags="S"); f.s(flags="SA"); f.s(f"227 ok ({host_port(RS[1][0], 50009)})\r\n", seq=9001, ack=1001); f.c(f"PORT {host_port(C4, 41000)}\r\n"); d.show("-Lnc"); f.s(flags="A"); f.c(f"PORT {host_port(C4, 41001)}\r\n"); d.show("-Lnc"); f.c("PASV\r\n"); f.s(flags="FA"); f.c(f"PORT {host_port(C4, 41002)}\r\n"); f.c("PASV\r\n"); d.show("-Lnc")
    g = Ftp(d, sport=40001).open(); g.c("PASV\r\n"); g.c("NOOP\r\n", flags="FPA"); g.s(f"227 ok ({host_port(RS[1][0], 50000)})\r\n"); d.show("-Lnc"); h = Ftp(d, sport=40002).open(); h.c(f"PORT {host_port(C4, 41003)}\r\n", flags="FPA"); d.show("-Lnc"); i = Ftp(d, sport=40003).open(); i.c("PASV\r\n"); i.s(f"227 ok ({host_port(RS[1][0], 50001)})\r\n", flags="FPA"); d.show("-Lnc")
def case_ftp_syn_payload(d):
    """Payload in segments that open the connection."""
    ftp(d); f = Ftp(d); f.c(f"PORT {host_port(C4, 41000)}\r\n", flags="S"); d.show("-Lnc"); f.s("227 ok (172,16,0,11,195,80)\r\n", flags="SA"); d.show("-Lnc"); f.c(f"PORT {host_port(C4, 41001)}\r\n", flags="A"); d.show("-Lnc")
def case_ftp_checksum(d):
    """Wrong TCP checksums on a control connection: dropped, both ways; elsewhere they go on."""
    ftp(d); svc(d); f = Ftp(d).open(); f.c("NOOP\r\n", seq=f.cs, chksum=1); f.s("200 x\r\n", seq=f.ss, chksum=1); f.c("PASV\r\n"); f.s(f"227 ok ({host_port(RS[1][0], 50000)})\r\n", seq=f.ss, chksum=1); f.s(f"227 ok ({host_port(RS[1][0], 50000)})\r\n"); f.c(flags="A", chksum=1); f.c(flags="A"); d.show("-Lnc"); t = TCP(sport=41000, dport=50000, flags="S", seq=5, chksum=0x1234); d.send("eth0", d.c(t)); t = TCP(sport=40009, dport=21, flags="S", seq=5, chksum=0x1234); d.send("eth0", d.c(t)); d.show("-Lnc"); d.stats()
def case_ftp_ports(d):
    """The helper goes by the virtual port: 21 with a server's 2121; 2121 with a server's 21 has none."""
    ftp(d, rport=2121); ftp(d, servers=((2, ""),), port=2121); f = Ftp(d, rport=2121).open(); f.pasv(50000); f.c(flags="A"); f.c(f"PORT {host_port(C4, 41234)}\r\n"); f.s("200 ok\r\n"); d.show("-Lnc"); rtcp(d, 1, "S", dport=41234, sport=20); active(d, 41234, sport=2120); d.show("-Lnc"); g = Ftp(d, sport=40001, n=2, dport=2121).open(); g.pasv(50001); g.c(f"PORT {host_port(C4, 41235)}\r\n"); d.show("-Lnc")
def case_ftp_direct(d):
    """Direct routing and tunnels have no helper."""
    ftp(d, servers=((1, ""),), mode="-g"); f = Ftp(d); f.c(flags="S"); f.c(flags="A"); f.c("PASV\r\n"); f.c(f"PORT {host_port(C4, 41234)}\r\n"); d.show("-Lnc"); d.adm("-C"); ftp(d, servers=((2, ""),), mode="-i"); g = Ftp(d, sport=40001); g.c(flags="S"); g.c(flags="A"); g.c(f"PORT {host_port(C4, 41234)}\r\n"); d.show("-Lnc")
def case_ftp_persistent(d):
    """A persistent service: PASV as elsewhere, data ports also without it."""
    ftp(d, servers=((1, ""), (2, "")), flags="-p 60"); f = Ftp(d).open(); f.pasv(50000); f.c(flags="A"); d.show("-Lnc"); data(d, 41000, 50000, f.n); d.syn(41001, dport=50001); f.c(f"PORT {host_port(C4, 41234)}\r\n"); active(d, 41234, f.n); d.show("-Lnc"); d.show("-Ln"); d.show("-Ln --persistent-conn"); d.stats()
def case_ftp_mark(d):
    """A firewall-mark service: the helper goes by the packet's port."""
    d.mark("tcp dport 21", 1); svc(d, "-f 1", servers=((1, ""), (2, "")), rport=None); ftp6(d); f = Ftp(d).open(); f.pasv(50000); f.c(flags="A"); d.show("-Lnc"); f.s("200 x\r\n"); f.c(flags="A")
def case_ftp_reuse(d):
    """A SYN on a control connection and on data connections that are over."""
    ftp(d, servers=((1, ""), (2, ""))); f = Ftp(d).open(); f.pasv(50000); f.c(flags="A"); data(d, 41000, 50000, f.n); d.show("-Lnc"); d.syn(41000, dport=50000, seq=5000); d.show("-Lnc"); f.close(); d.show("-Lnc"); d.syn(40000, dport=21, seq=900000); d.show("-Lnc"); g = Ftp(d, sport=40001).open(); g.close(); d.show("-Lnc"); d.syn(40001, dport=21, seq=900000); d.syn(40001, dport=21, seq=900000); d.show("-Lnc"); h = Ftp(d, sport=40002).open(); h.c(flags="R"); d.syn(40002, dport=21, seq=900000); d.syn(40002, dport=21, seq=900000); d.show("-Lnc")
def case_ftp_options(d):
    """TCP timestamps, IP options and type of service on the control connection."""
    ts = [("NOP", None), ("NOP", None), ("Timestamp", (7, 8))]; ftp(d); f = Ftp(d, options=ts).open(); f.c("PASV\r\n", tos=0x10); f.s(f"227 ok ({host_port(RS[1][0], 50000)})\r\n", tos=0x28, flags="PA"); f.c(flags="A"); f.c("PASV\r\n"); f.s(f"227 ok ({host_port(RS[1][0], 50001)})\r\n", options=[*ts]); f.c(flags="A"); d.show("-Lnc"); d.stats()
def case_ftp_long(d):
    """An answer that fills the segment, and grows beyond the MTU; one that shrinks to it."""
    long_vip(d); ftp(d, vip=LONG); f = Ftp(d, vip=LONG).open(); f.c("PASV\r\n"); tail = "x" * 1400; f.s(f"227 ok ({host_port(RS[1][0], 50000)})\r\n{tail}"); f.c(flags="A"); f.c("PASV\r\n"); text = f"227 ok ({host_port(RS[1][0], 50001)})\r\n"; f.s(text + "y" * (1460 - len(text))); f.c(flags="A"); f.c("PASV\r\n"); f.s(text + "y" * (1460 - len(text))); f.c(flags="A"); d.show("-Lnc"); f.s("200 x\r\n"); f.c(flags="A")
def case_ftp_fragments(d):
    """Commands and answers in IP fragments."""
    ftp(d); f = Ftp(d).open()
    p = IP(src=C4, dst=VIP, id=77) / TCP(sport=40000, dport=21, flags="PA", seq=f.cs, ack=f.ca) / (b"USER anonymous-somebody\r\nPASV\r\n")
    for x in frag4(p, [24], Ether(src=CLIENTS[1][2], dst=DIR0)): d.send("eth0", x)
    f.cs += 31; f.sa = f.cs
    q = IP(src=RS[1][0], dst=C4, id=78) / TCP(sport=21, dport=40000, flags="PA", seq=f.ss, ack=f.sa) / f"227 Entering Passive Mode ({host_port(RS[1][0], 50000)})\r\n".encode()
    for x in frag4(q, [40], Ether(src=RS[1][2], dst=DIR1)): d.send("eth1", x)
    d.show("-Lnc"); f.ss += 47; f.c(flags="A", ack=f.ss - 3); f.s("200 x\r\n"); d.stats()
def case_ftp_icmp(d):
    """ICMP errors about packets of a control connection whose numbers were changed."""
    ftp(d); f = Ftp(d).open(); f.pasv(50000); f.c(flags="A"); out = f.s("200 x\r\n"); inner = out[0][1][14:14 + 20 + 20]; d.send("eth0", d.c(ICMP(type=3, code=4, nexthopmtu=1300) / Raw(inner))); out = f.c("NOOP\r\n"); inner = out[0][1][14:14 + 20 + 20]; d.send("eth1", d.r(1, ICMP(type=3, code=1) / Raw(inner), dst=C4)); out = d.send("eth0", d.c(TCP(sport=41000, dport=50000, flags="S", seq=5))); inner = out[0][1][14:14 + 28]; d.send("eth1", d.r(1, ICMP(type=3, code=1) / Raw(inner), dst=C4)); d.show("-Lnc"); d.stats()
def case_ftp_control_chars(d):
    """Telnet signals before a command, urgent data, bytes above 127, empty lines."""
    ftp(d); f = Ftp(d).open(); f.c("\xff\xf4\xff\xf2PASV\r\n", flags="PAU"); f.s(f"227 ok ({host_port(RS[1][0], 50000)})\r\n"); f.c(flags="A"); f.c("\r\nPASV\r\n"); f.s(f"\r\n227 ok ({host_port(RS[1][0], 50001)})\r\n"); f.s(f"227 \xe9\xe8 ({host_port(RS[1][0], 50002)})\r\n"); f.c(flags="A"); f.c("\x00PORT 10,0,0,2,161,18\r\n"); f.c("PORT 10,0,0,2,161,19\r\n\x00"); d.show("-Lnc")
def case_ftp_schedulers(d):
    """Data connections count at their server: least connections sees them; thresholds too."""
    svc(d, "-t 10.9.9.9:21", sched="lc", rport=21, servers=((1, "-x 3 -y 1"), (2, ""))); f = Ftp(d).open(); f.pasv(50000); f.c(flags="A"); data(d, 41000, 50000, f.n, close=False); d.show("-Ln"); [d.syn(40010 + i, dport=21) for i in range(4)]; f.c(f"PORT {host_port(C4, 41234)}\r\n"); d.show("-Ln"); [d.syn(40020 + i, dport=21) for i in range(3)]; d.show("-Ln --thresholds"); d.show("-Lnc"); d.stats()
def case_ftp_service_deleted(d):
    """The service is deleted while another one is there: the control connection goes on, its helper too."""
    ftp(d); svc(d); f = Ftp(d).open(); f.pasv(50000); f.c(flags="A"); d.adm("-D -t 10.9.9.9:21"); f.s("200 x\r\n"); f.c(flags="A"); d.sleep(1); d.show("-Lnc"); ftp(d); f.c("PASV\r\n"); f.s(f"227 ok ({host_port(RS[1][0], 50001)})\r\n"); f.c(flags="A"); d.show("-Lnc")
def case_ftp_quiesced(d):
    """expire_nodest_conn at weight 0: a SYN on a control connection and on a data connection that live, and on ones that are over."""
    ftp(d, servers=((1, ""), (2, ""))); d.sysctl("expire_nodest_conn", 1); f = Ftp(d).open(); f.pasv(50000); f.c(flags="A"); data(d, 41000, 50000, f.n, close=False); g = Ftp(d, sport=40001).open(); h = Ftp(d, sport=40002).open(); h.close(); d.adm(f"-e -t 10.9.9.9:21 -r 172.16.0.1{f.n}:21 -m -w 0"); d.show("-Lnc"); f.c(flags="S", seq=900); d.syn(41000, dport=50000, seq=90); d.show("-Lnc"); f.c("NOOP\r\n"); d.sleep(2); d.show("-Lnc"); f.c(flags="S", seq=700000); d.sleep(2); d.show("-Lnc"); g.c(flags="S", seq=900); h.c(flags="S", seq=900000); d.show("-Lnc"); d.sleep(2); d.show("-Lnc")
def case_ftp_one_of_two(d):
    """A service is deleted while another one of FTP is there: numbers go on being translated."""
    ftp(d); svc(d, "-t 10.0.0.1:21", rport=21, servers=((2, ""),)); f = Ftp(d).open(); f.pasv(50000); f.c(flags="A"); d.adm("-D -t 10.9.9.9:21"); f.s("200 x\r\n"); f.c(flags="A"); d.sleep(1); d.show("-Lnc"); ftp(d); f.c("PASV\r\n"); f.s(f"227 ok ({host_port(RS[1][0], 50001)})\r\n"); f.c(flags="A"); f.s("200 y\r\n"); f.c("NOOP\r\n"); d.show("-Lnc"); d.stats()
def case_ftp_dont_fragment(d):
    """An answer that grows beyond the MTU and may not be fragmented; DF on what fits."""
    long_vip(d); ftp(d, vip=LONG); f = Ftp(d, vip=LONG).open(); f.c("PASV\r\n", flags="PA"); text = f"227 ok ({host_port(RS[1][0], 50001)})\r\n"; f.s(text + "y" * 100, flags="PA"); f.c("PASV\r\n")
    t = TCP(sport=21, dport=40000, flags="PA", seq=f.ss, ack=f.sa) / (text + "y" * (1460 - len(text))).encode(); d.send("eth1", Ether(src=RS[1][2], dst=DIR1) / IP(src=RS[1][0], dst=C4, id=5, flags="DF") / t); d.show("-Lnc"); d.send("eth1", Ether(src=RS[1][2], dst=DIR1) / IP(src=RS[1][0], dst=C4, id=6, flags="DF") / t); d.stats()
def case_ftp_sack_odd(d):
    """Selective acknowledgements at an odd place, cut short, and with a length that is no multiple of eight."""
    ftp(d); f = Ftp(d).open(); f.pasv(50000); f.c(flags="A"); old = f.ca; f.s("200 a\r\n"); f.s("200 b\r\n")
    for raw_options in (b"\x01\x05\x0a" + (old + 7).to_bytes(4, "big") + (old + 14).to_bytes(4, "big") + b"\x01", b"\x05\x0e" + (old + 7).to_bytes(4, "big") + (old + 14).to_bytes(4, "big") + b"\x01\x02\x03\x04\x01\x01", b"\x05\x02\x01\x01", b"\x05\x0a\x00\x00", b"\x05\x00\x00\x00", b"\x00\x05\x0a\x00", b"\x05\x1a" + (old + 7).to_bytes(4, "big") + (old + 14).to_bytes(4, "big") + b"\x01\x01"):
        t = TCP(sport=40000, dport=21, flags="A", seq=f.cs, ack=old, dataofs=5 + len(raw_options) // 4); head = raw(t)[:20]; p = IP(src=C4, dst=VIP, id=9, proto=6) / Raw(head + raw_options); b = bytearray(raw(p)); b[20 + 16:20 + 18] = b"\0\0"
        from scapy.all import checksum; import struct as st
        seg = bytes(b[20:]); s_ = checksum(b[12:20] + b"\0\x06" + st.pack("!H", len(seg)) + seg); b[36:38] = st.pack("!H", s_); d.send("eth0", Ether(src=CLIENTS[1][2], dst=DIR0) / IP(bytes(b)))
    f.s("200 c\r\n")
def case_ftp_client_answers(d):
    """What the other side would say: a 227 from the client, a PASV from the server; an empty EPRT address."""
    ftp(d); f = Ftp(d).open(); f.s("PASV\r\n"); f.c(f"227 ok ({host_port(RS[1][0], 50000)})\r\n"); f.s(f"PORT {host_port(C4, 41234)}\r\n"); f.c("EPRT |||41235|\r\n"); f.c("EPSV\r\n"); f.s("227 ok (172,16,0,11,195,82)\r\n"); f.s("229 ok (||||\r\n"); f.s("229 ok (|||50003\r\n"); f.s("229 ok (|||50003|\r\n"); f.c("EPRT |1|10.0.0.2|41236|"); f.c("EPSV\r"); f.s("229 ok (|||50004|)\r\n"); f.c("EPSV\r\r"); f.s("229 ok (|||50005|)\r\n"); f.c("EPSV 1\r"); f.s("229 ok (|||50006|)\r\n"); f.c("PORTABLE 10,0,0,2,161,30\r\n"); f.c("PORT10,0,0,2,161,31\r\n"); f.c("EPRTX |1|10.0.0.2|41237|\r\n"); f.c("EPSV\r\n"); f.s("229 ((|||50007|)\r\n"); f.c("EPSV\r\n"); f.s("229 () (|||50008|)\r\n"); f.c(flags="A"); d.show("-Lnc")
def case_ftp_port_again(d):
    """A client waits at a port that it had used with another server: while that data connection is in TIME_WAIT, while it is awaited still, and while it is established."""
    ftp(d, servers=((1, ""), (2, ""))); a = Ftp(d, 40000).open(); b = Ftp(d, 40001).open()
    def end(n, dport): d.send("eth1", d.r(n, TCP(sport=20, dport=dport, flags="FA", seq=708, ack=301), dst=C4)); d.send("eth0", d.c(TCP(sport=dport, dport=20, flags="FA", seq=301, ack=709))); d.send("eth1", d.r(n, TCP(sport=20, dport=dport, flags="A", seq=709, ack=302), dst=C4))
    def wait(f, port): f.c(f"PORT {host_port(C4, port)}\r\n"); f.s("200 ok\r\n"); d.show("-Lnc")
    wait(a, 41234); active(d, 41234, a.n); end(a.n, 41234); d.show("-Lnc"); wait(b, 41234); active(d, 41234, b.n); d.show("-Lnc")
    wait(a, 41235); wait(b, 41235); active(d, 41235, b.n); d.show("-Lnc"); wait(a, 41236); active(d, 41236, a.n); wait(b, 41236); active(d, 41236, b.n); d.show("-Lnc"); d.show("-Ln"); d.stats()
