"""Who is compared: each sets the director up for one way of balancing, and takes it down again.

A subject says which measures it can take part in, and where the client sends its packets.
`core` is where its own process runs, if it has one: the kernel's ways run wherever the packet is.
"""

import contextlib
import dataclasses
import pathlib
import tempfile

from .network import DIRECTOR_OUTSIDE, REAL_SERVER, VIP, bracketed, end
from .shell import background, has, inside

PORTS = {"bulk": 5201, "requests": 80, "ping": 7, "flood": 9}
ALL = frozenset({"flood", "bulk", "requests", "ping", "memory"})
TCP = frozenset({"bulk", "requests"})

# ulvs answers for addresses that are its own with this one unless told otherwise.
VIRTUAL_MAC = "00:00:5e:00:01:01"


@dataclasses.dataclass
class Running:
    """A subject that is set up."""

    address: str
    mac: str
    # The director's process, where there is one; its CPU time is told apart.
    process: int | None = None


class Subject:
    """Base: the name in tables, the family of its addresses, what it can do, what it needs."""

    programs: tuple = ()
    measures = ALL
    # Whether the real server has the VIP and answers in its name.
    replies_from_vip = False

    def __init__(self, name, title, family=4):
        self.name, self.title, self.family = name, title, family

    def missing(self):
        return [program for program in self.programs if not has(program)]

    def refusal(self, network):
        """Why it cannot run here; None where it can."""
        return None

    @contextlib.contextmanager
    def set_up(self, network, core):
        raise NotImplementedError


class Ulvs(Subject):
    """ulvs, by one forwarding method and one kind of port."""

    def __init__(self, name, title, program, method, port="packet", family=4, most=None):
        super().__init__(name, title, family)
        self.program, self.method, self.port, self.most = program, method, port, most
        self.replies_from_vip = method != "nat"

    @contextlib.contextmanager
    def set_up(self, network, core):
        with contextlib.ExitStack() as stack:
            family, direct = self.family, self.method != "nat"
            network.forwarding(self.port == "tun")
            if self.port == "tun":
                stack.enter_context(network.by_way_of_director(family))
            stack.enter_context(network.replies(family, direct))
            if self.method == "dr":
                stack.enter_context(network.virtual_address("server", family))
            if self.method == "tun":
                words = (self.program, "realserver", "--vip", VIP[family], "--mode", "tun")
                stack.enter_context(background("ulvs realserver", network.server, *words, ready=lambda said: "ready" in said))
            how = ("--tun", "ub0") if self.port == "tun" else ("--interface", "eth0", "--interface", "eth1")
            if self.port == "xdp":
                how += ("--port", "xdp")
            limit = () if self.most is None else ("--max-connections", self.most)
            words = (self.program, "run", *how, "--cores", "any" if core is None else core, *limit)
            ready = lambda said: "ready" in said.split()
            director = stack.enter_context(background("ulvs", network.director, *words, ready=ready))
            self.configure(network)
            mac = network.mac("director", "eth0") if self.port == "tun" else VIRTUAL_MAC
            yield Running(VIP[family], mac, director.id)

    def configure(self, network):
        letter = {"nat": "-m", "dr": "-g", "tun": "-i"}[self.method]
        lines = []
        for kind, name in (("-t", "bulk"), ("-t", "requests"), ("-u", "ping"), ("-u", "flood")):
            service = end(self.family, VIP[self.family], PORTS[name])
            lines.append(f"-A {kind} {service} -s rr")
            lines.append(f"-a {kind} {service} -r {end(self.family, REAL_SERVER[self.family], PORTS[name])} {letter}")
        inside(network.director, self.program, "ipvsadm", "-R", stdin="\n".join(lines) + "\n")


class Nftables(Subject):
    """The kernel's own NAT by nftables, with connection tracking."""

    programs = ("nft",)

    @contextlib.contextmanager
    def set_up(self, network, core):
        family = self.family
        table, match = ("ip", "ip daddr") if family == 4 else ("ip6", "ip6 daddr")
        rules = f"""
        table {table} ub_nat {{
            chain prerouting {{
                type nat hook prerouting priority dstnat
                {match} {VIP[family]} dnat to {REAL_SERVER[family]}
            }}
        }}
        """
        with network.by_way_of_director(family), network.replies(family, directly=False):
            network.forwarding(True)
            inside(network.director, "nft", "-f", "-", stdin=rules)
            try:
                yield Running(VIP[family], network.mac("director", "eth0"))
            finally:
                inside(network.director, "nft", "delete", "table", table, "ub_nat", check=False)
                network.forwarding(False)


class NftablesDirect(Subject):
    """Direct routing at the kernel's earliest hook: the Ethernet address is set and the frame handed on."""

    programs = ("nft",)
    measures = ALL - {"memory"}
    replies_from_vip = True

    @contextlib.contextmanager
    def set_up(self, network, core):
        rules = f"""
        table netdev ub_direct {{
            chain ingress {{
                type filter hook ingress device eth0 priority -500
                ip daddr {VIP[4]} ether daddr set {network.mac("server", "eth0")} ether saddr set {network.mac("director", "eth1")} fwd to eth1
            }}
        }}
        """
        with (
            network.by_way_of_director(4),
            network.replies(4, directly=True),
            network.virtual_address("server", 4),
        ):
            inside(network.director, "nft", "-f", "-", stdin=rules)
            try:
                yield Running(VIP[4], network.mac("director", "eth0"))
            finally:
                inside(network.director, "nft", "delete", "table", "netdev", "ub_direct", check=False)


class Route(Subject):
    """No balancing: the kernel routes packets to the server's own address."""

    measures = ALL - {"memory"}

    @contextlib.contextmanager
    def set_up(self, network, core):
        with network.replies(self.family, directly=False):
            network.forwarding(True)
            try:
                yield Running(REAL_SERVER[self.family], network.mac("director", "eth0"))
            finally:
                network.forwarding(False)


class Proxy(Subject):
    """A proxy at the director, whose kernel has the VIP."""

    def configuration(self):
        raise NotImplementedError

    def command(self, path):
        raise NotImplementedError

    @contextlib.contextmanager
    def set_up(self, network, core):
        with (
            tempfile.TemporaryDirectory(prefix="ub-proxy-") as folder,
            network.virtual_address("director", self.family),
            network.by_way_of_director(self.family),
        ):
            path = pathlib.Path(folder) / "configuration"
            path.write_text(self.configuration(folder))
            port = PORTS["requests"]
            listening = lambda _: f":{port} " in inside(network.director, "ss", "-Hltn")
            with background(self.title, network.director, *self.command(path), ready=listening, core=core) as proxy:
                yield Running(VIP[self.family], network.mac("director", "eth0"), proxy.id)


class HaProxy(Proxy):
    programs = ("haproxy",)
    measures = TCP

    def configuration(self, folder):
        sections = [
            "global\n  maxconn 4000\n  nbthread 1\n",
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n",
        ]
        for name in ("bulk", "requests"):
            sections.append(
                f"listen {name}\n  bind {end(4, VIP[4], PORTS[name])}\n  server s {end(4, REAL_SERVER[4], PORTS[name])}\n"
            )
        return "\n".join(sections)

    def command(self, path):
        return ("haproxy", "-db", "-q", "-f", path)


class Nginx(Proxy):
    programs = ("nginx",)
    measures = TCP | {"ping"}
    MODULE = pathlib.Path("/usr/lib/nginx/modules/ngx_stream_module.so")

    def refusal(self, network):
        return None if self.MODULE.exists() else "nginx has no stream module here (libnginx-mod-stream)"

    def configuration(self, folder):
        servers = ""
        for name, kind in (("bulk", ""), ("requests", ""), ("ping", " udp")):
            listen = f"listen {end(4, VIP[4], PORTS[name])}{kind};"
            servers += f"  server {{ {listen} proxy_pass {end(4, REAL_SERVER[4], PORTS[name])}; }}\n"
        return (
            f"load_module {self.MODULE};\ndaemon off; worker_processes 1; pid {folder}/pid; error_log stderr crit;\n"
            f"events {{ worker_connections 4000; }}\nstream {{\n{servers}}}\n"
        )

    def command(self, path):
        return ("nginx", "-e", "stderr", "-c", path)


def all_subjects(program, wide):
    """Everything that is compared; `wide` adds IPv6."""
    subjects = [
        Ulvs("ulvs-nat", "ulvs NAT", program, "nat"),
        Ulvs("ulvs-dr", "ulvs direct routing", program, "dr"),
        Ulvs("ulvs-tun", "ulvs IPIP tunnel", program, "tun"),
        Ulvs("ulvs-xdp", "ulvs NAT, AF_XDP as port", program, "nat", port="xdp"),
        Ulvs("ulvs-nat-tundev", "ulvs NAT, TUN device as port", program, "nat", port="tun"),
        Nftables("nft-dnat", "nftables DNAT, conntrack"),
        NftablesDirect("nft-dr", "nftables netdev direct routing"),
        HaProxy("haproxy", "HAProxy TCP, 1 thread"),
        Nginx("nginx", "nginx stream, 1 worker"),
        Route("route", "kernel routing, no balancing"),
    ]
    if wide:
        subjects += [
            Ulvs("ulvs-nat-6", "ulvs NAT, IPv6", program, "nat", family=6),
            Ulvs("ulvs-dr-6", "ulvs direct routing, IPv6", program, "dr", family=6),
            Ulvs("ulvs-tun-6", "ulvs tunnel, IPv6", program, "tun", family=6),
            Nftables("nft-dnat-6", "nftables DNAT, IPv6", family=6),
        ]
    return subjects
