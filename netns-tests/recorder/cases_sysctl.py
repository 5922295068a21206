"""Writing the settings' files: what is taken, what is refused, what is read back."""
from common import *
sh("modprobe -a ip_vs_lblc ip_vs_lblcr")  # which have settings of their own
NUMBERS = ["0", "1", "2", "3", "4", "-1", "-0", "5\n", " 7", "7 ", "\t8\n", "\n9", "0x10", "0X1f", "-0x10", "010", "08", "+5", "--5", "- 5", "1x", "x", "0x", "1 2", "1\t2", "1 x", "1,2", "", "\n", "   ",
           "2147483647", "2147483648", "-2147483647", "-2147483648", "-2147483649", "4294967295", "4294967296", "18446744073709551615", "18446744073709551616", "99999999999999999999", "000000000000000000001", "0000000000000000000001", "00000000000000000000001",
           "1.5", "true", "1\0", "1\0002", "1;2", "\x0b3", "\x0c4", "\r5", "6\r\n", "ff", "0b1", "1_000", "\xb2"]
def table(d, names, values=NUMBERS):
    for n in names:
        for v in values: d.write(n, v)
def case_sysctl_number(d):
    """Whatever is a number, is taken by a setting without bounds; what else may stand around it."""
    table(d, ["am_droprate"])
def case_sysctl_mode(d):
    """Modes of the defences, 0 to 3; 2 is 1 where there is memory."""
    table(d, ["drop_entry", "drop_packet", "secure_tcp"])
def case_sysctl_sync_version(d):
    """0 or 1."""
    table(d, ["sync_version"])
def case_sysctl_sync_retries(d):
    """0 to 3."""
    table(d, ["sync_retries"])
def case_sysctl_sync_ports(d):
    """Powers of two."""
    table(d, ["sync_ports"], NUMBERS + ["8", "16", "1024", "1073741824", "-2", "6"])
def case_sysctl_sync_threshold(d):
    """Two numbers, the first below the second unless that is 0; one alone changes the first."""
    table(d, ["sync_threshold"], ["3 50", "0 0", "5 0", "0 5", "4 5", "5 5", "6 5", "-1 5", "5 -1", "1 2 3", "1\t2", "1\n2\n", " 1  2 ", "0x1 0x20", "7", "1 100", "99", "", "\n", "1,2", "2147483646 2147483647", "2147483647 0", "2147483648 0"])
def case_sysctl_sync_threshold_half(d):
    """A pair whose second word is no number is refused, and yet the first is taken; so is a refused first with what it was."""
    d.write("sync_threshold", "3 50"); d.write("sync_threshold", "9 x"); d.write("sync_threshold", "x 60"); d.write("sync_threshold", "11 70x"); d.write("sync_threshold", "12 2147483648")
def case_sysctl_seconds(d):
    """Seconds that the kernel keeps in ticks: less fits."""
    table(d, ["sync_refresh_period", "lblc_expiration", "lblcr_expiration"], NUMBERS + ["8589934", "8589935", "-8589934", "-8589935", "-5"])
def case_sysctl_qlen(d):
    """A long number without a sign."""
    d.write("sync_qlen_max", "5"); table(d, ["sync_qlen_max"], NUMBERS + ["9223372036854775807", "9223372036854775808"])
def case_sysctl_switches(d):
    """Every other setting takes every number."""
    table(d, ["amemthresh", "backup_only", "cache_bypass", "conn_reuse_mode", "conntrack", "expire_nodest_conn", "expire_quiescent_template", "ignore_tunneled", "nat_icmp_send", "pmtu_disc", "run_estimation", "schedule_icmp", "sloppy_sctp", "sloppy_tcp", "snat_reroute", "sync_persist_mode", "sync_sock_size"],
          ["0", "1", "2", "-1", "2147483647", "2147483648", "-2147483648", "0x11", "x", "", "3 4"])
def case_sysctl_defaults(d):
    """What the settings are at first: nothing written changes nothing."""
    for n in ("am_droprate", "amemthresh", "backup_only", "cache_bypass", "conn_reuse_mode", "conntrack", "drop_entry", "drop_packet", "expire_nodest_conn", "expire_quiescent_template", "ignore_tunneled", "lblc_expiration", "lblcr_expiration", "nat_icmp_send", "pmtu_disc", "run_estimation", "schedule_icmp", "secure_tcp", "sloppy_sctp", "sloppy_tcp",
              "snat_reroute", "sync_persist_mode", "sync_ports", "sync_refresh_period", "sync_retries", "sync_sock_size", "sync_threshold", "sync_version"): d.write(n, "")
def case_sysctl_kept(d):
    """Settings outlive services and a flush; timeouts and lists do not change them."""
    d.write("sloppy_tcp", "1"); d.write("drop_packet", "3"); d.write("sync_threshold", "5 60"); svc(d); d.adm("--set 10 20 30"); d.adm("-C"); [d.write(n, "") for n in ("sloppy_tcp", "drop_packet", "sync_threshold", "am_droprate")]; svc(d); tcp(d, "A", 40000); tcp(d, "A", 40001); d.show("-Ln"); d.show("-L --timeout")
def case_sysctl_numbers_as_switches(d):
    """Any number but 0 switches on, negative ones too; conn_reuse_mode looks at single bits."""
    svc(d); d.write("sloppy_tcp", "-7"); tcp(d, "A", 40000); d.write("sloppy_tcp", "0x0"); tcp(d, "A", 40001); d.write("nat_icmp_send", "256"); rtcp(d, 1, "A", dport=45000); d.write("nat_icmp_send", "0"); rtcp(d, 1, "A", dport=45000)
    for v in ("-1", "4", "2", "256", "0"):
        d.write("conn_reuse_mode", v); n = d.open_nat(41000 + abs(int(v))); d.close_nat(n, 41000 + abs(int(v))); d.syn(41000 + abs(int(v)))
    d.show("-Lnc"); d.show("-Ln")
