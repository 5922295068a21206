"""Who is compared: each sets the director up for one way of balancing, and takes it down again.

A subject says which measures it can take part in, and where the client sends its packets.
`core` is where its own process runs, if it has one: the kernel's ways run wherever the packet is.
"""

import contextlib
import dataclasses
import pathlib
import subprocess
import tempfile
from collections.abc import Callable

from .machine import family_of, resident, slabs
from .network import REAL_SERVER, VIP, end
from .shell import Background, background, has, inside

PORTS = {"bulk": 5201, "requests": 80, "ping": 7, "flood": 9}
ALL = frozenset({"flood", "bulk", "requests", "ping", "memory"})
TCP = frozenset({"bulk", "requests"})
# Measures of what comes back to the client; in all others packets are counted at the server.
ANSWERED = frozenset({"bulk-1", "bulk-4", "requests", "ping", "ping-own-core"})

# ulvs answers for addresses that are its own with this one unless told otherwise.
VIRTUAL_MAC = "00:00:5e:00:01:01"


@dataclasses.dataclass
class Running:
    """A subject that is set up."""

    address: str
    mac: str
    # The director's program, where there is one; its CPU time is told apart.
    program: Background | None = None
    # How many connections it holds, where that can be asked, and how much memory for them, in bytes.
    connections: Callable[[], int] | None = None
    memory: Callable[[], int] | None = None
    # What it counts of packets that it did not send on, by reason.
    drops: Callable[[], dict] = dict

    @property
    def processes(self):
        return [] if self.program is None else family_of(self.program.id)


class Subject:
    """Base: the name in tables, the family of its addresses, what it can do, what it needs."""

    programs: tuple = ()
    measures = ALL
    # How it forwards; "dr" and "tun": the real server has the VIP and answers in its name.
    method = "nat"

    def __init__(self, name, title, family=4):
        self.name, self.title, self.family = name, title, family

    @property
    def replies_from_vip(self):
        return self.method in ("dr", "tun")

    @property
    def arrives_at(self):
        """The address that packets have at the real server, without their tunnel."""
        return (VIP if self.replies_from_vip else REAL_SERVER)[self.family]

    def missing(self):
        return [program for program in self.programs if not has(program)]

    def refusal(self):
        """Why it cannot run here; None where it can."""
        return None

    def apart(self, names):
        """Measures of one place, in groups that it has to be set up for anew."""
        return [names]

    @contextlib.contextmanager
    def set_up(self, network, core, names):
        """For these measures, with its process on that core."""
        raise NotImplementedError


class Ulvs(Subject):
    """ulvs, by one forwarding method and one kind of port; for the rest as it is without any option."""

    def __init__(self, name, title, program, method, port="packet", family=4):
        super().__init__(name, title, family)
        self.program, self.method, self.port = program, method, port

    def apart(self, names):
        if self.method != "tun":
            return [names]
        return [[name for name in names if (name in ANSWERED) == answered] for answered in (False, True)]

    def refusal(self):
        if self.port != "xdp":
            return None
        said = subprocess.run((self.program, "run", "--help"), text=True, capture_output=True).stdout
        return None if "--port" in said and "xdp" in said else "this ulvs has no such port"

    @contextlib.contextmanager
    def set_up(self, network, core, names):
        with contextlib.ExitStack() as stack:
            family = self.family
            network.forwarding(self.port == "tun")
            if self.port == "tun":
                stack.enter_context(network.by_way_of_director(family))
            stack.enter_context(network.replies(family, self.replies_from_vip))
            if self.method == "dr":
                stack.enter_context(network.virtual_address("server", family))
            if self.method == "tun":
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ub-realserver-"))
                words = (self.program, "realserver", "--vip", VIP[family], "--mode", "tun", "--state-directory", folder)
                # Packets are counted at the server as early as can be: no program may take tunnels apart before that,
                # which is the real server's work.
                words += () if ANSWERED.issuperset(names) else ("--decapsulate", "user")
                stack.enter_context(background("ulvs realserver", network.server, *words, ready=self.is_ready))
            how = {"packet": (), "tun": ("--tun", "ub0"), "xdp": ("--port", "xdp")}[self.port]
            words = (self.program, "run", *how)
            director = stack.enter_context(background("ulvs", network.director, *words, ready=self.is_ready, core=core))
            self.configure(network)
            mac = network.mac("director", "eth0") if self.port == "tun" else VIRTUAL_MAC
            statistics = lambda: self.statistics(network)
            yield Running(
                VIP[family],
                mac,
                director,
                connections=lambda: statistics().get("engine connections", 0),
                memory=lambda: resident(director.id),
                drops=lambda: {name: count for name, count in statistics().items() if is_drop(name)},
            )

    def is_ready(self, said):
        return "ready" in said.split()

    def configure(self, network):
        letter = {"nat": "-m", "dr": "-g", "tun": "-i"}[self.method]
        lines = []
        for kind, name in (("-t", "bulk"), ("-t", "requests"), ("-u", "ping"), ("-u", "flood")):
            service = end(self.family, VIP[self.family], PORTS[name])
            lines.append(f"-A {kind} {service} -s rr")
            lines.append(f"-a {kind} {service} -r {end(self.family, REAL_SERVER[self.family], PORTS[name])} {letter}")
        inside(network.director, self.program, "ipvsadm", "-R", stdin="\n".join(lines) + "\n")

    def statistics(self, network):
        """What `ulvs stats` prints: the words before the number name it."""
        found = {}
        for line in inside(network.director, self.program, "stats", "--nonzero").splitlines():
            words = line.split()
            place = next((place for place, word in enumerate(words) if word.isdigit()), None)
            if place:
                found[" ".join(words[:place])] = int(words[place])
        return found


def is_drop(name):
    """Whether a count of `ulvs stats` is one of packets that went nowhere."""
    kind, last = name.split()[0], name.split()[-1]
    return (
        kind in ("drop", "pass")
        or (kind == "port" and last not in ("received", "sent", "tunneled"))
        or (kind == "neighbour" and last in ("unreachable", "pushed-out"))
    )


class Nftables(Subject):
    """The kernel's own NAT by nftables, with connection tracking."""

    programs = ("nft",)

    @contextlib.contextmanager
    def set_up(self, network, core, names):
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
            # A flow that is not answered is forgotten after 30 s otherwise, while the million is still coming.
            for kind in ("udp_timeout", "udp_timeout_stream"):
                network.write("director", f"net/netfilter/nf_conntrack_{kind}", 300)
            count = "/proc/sys/net/netfilter/nf_conntrack_count"
            try:
                yield Running(
                    VIP[family],
                    network.mac("director", "eth0"),
                    connections=lambda: int(inside(network.director, "cat", count)),
                    memory=slabs,
                )
            finally:
                inside(network.director, "nft", "delete", "table", table, "ub_nat", check=False)
                network.forwarding(False)


class NftablesDirect(Subject):
    """Direct routing at the kernel's earliest hook: the Ethernet address is set and the frame handed on."""

    programs = ("nft",)
    measures = ALL - {"memory"}
    method = "dr"

    @contextlib.contextmanager
    def set_up(self, network, core, names):
        family = self.family
        match = f"{'ip' if family == 4 else 'ip6'} daddr {VIP[family]}"
        macs = f"ether daddr set {network.mac('server', 'eth0')} ether saddr set {network.mac('director', 'eth1')}"
        rules = f"""
        table netdev ub_direct {{
            chain ingress {{
                type filter hook ingress device eth0 priority -500
                {match} {macs} fwd to eth1
            }}
        }}
        """
        with (
            network.by_way_of_director(family),
            network.replies(family, directly=True),
            network.virtual_address("server", family),
        ):
            inside(network.director, "nft", "-f", "-", stdin=rules)
            try:
                yield Running(VIP[family], network.mac("director", "eth0"))
            finally:
                inside(network.director, "nft", "delete", "table", "netdev", "ub_direct", check=False)


class Route(Subject):
    """No balancing: the kernel routes packets to the server's own address."""

    measures = ALL - {"memory"}
    method = "route"

    @contextlib.contextmanager
    def set_up(self, network, core, names):
        with network.replies(self.family, directly=False):
            network.forwarding(True)
            try:
                yield Running(REAL_SERVER[self.family], network.mac("director", "eth0"))
            finally:
                network.forwarding(False)


class Proxy(Subject):
    """A proxy at the director, whose kernel has the VIP."""

    def configuration(self, folder):
        raise NotImplementedError

    def command(self, path):
        raise NotImplementedError

    def ends(self, name):
        """Address and port to listen at, and those of the real server."""
        return tuple(end(self.family, address[self.family], PORTS[name]) for address in (VIP, REAL_SERVER))

    @contextlib.contextmanager
    def set_up(self, network, core, names):
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
                yield Running(VIP[self.family], network.mac("director", "eth0"), proxy)


class HaProxy(Proxy):
    programs = ("haproxy",)
    measures = TCP

    def __init__(self, name, title, threads, family=4):
        super().__init__(name, title, family)
        self.threads = threads

    def configuration(self, folder):
        sections = [
            f"global\n  maxconn 4000\n  nbthread {self.threads}\n",
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n",
        ]
        for name in ("bulk", "requests"):
            listen, server = self.ends(name)
            sections.append(f"listen {name}\n  bind {listen}\n  server s {server}\n")
        return "\n".join(sections)

    def command(self, path):
        return ("haproxy", "-db", "-f", path)


class Nginx(Proxy):
    programs = ("nginx",)
    measures = TCP | {"ping"}
    MODULE = pathlib.Path("/usr/lib/nginx/modules/ngx_stream_module.so")

    def refusal(self):
        return None if self.MODULE.exists() else "nginx has no stream module here (libnginx-mod-stream)"

    def configuration(self, folder):
        servers = ""
        for name, kind in (("bulk", ""), ("requests", ""), ("ping", " udp")):
            listen, server = self.ends(name)
            servers += f"  server {{ listen {listen}{kind}; proxy_pass {server}; }}\n"
        return (
            f"load_module {self.MODULE};\ndaemon off; worker_processes 1; pid {folder}/pid; error_log stderr crit;\n"
            f"events {{ worker_connections 4000; }}\nstream {{\n{servers}}}\n"
        )

    def command(self, path):
        return ("nginx", "-e", "stderr", "-c", path)


def all_subjects(program, wide):
    """Everything that is compared; `wide` adds IPv6."""

    def of(family):
        mark, words = ("", "") if family == 4 else ("-6", ", IPv6")
        given = {"family": family}
        return [
            Ulvs(f"ulvs-nat{mark}", f"ulvs NAT{words}", program, "nat", **given),
            Ulvs(f"ulvs-dr{mark}", f"ulvs direct routing{words}", program, "dr", **given),
            Ulvs(f"ulvs-tun{mark}", f"ulvs IPIP tunnel{words}", program, "tun", **given),
            Ulvs(f"ulvs-nat-tundev{mark}", f"ulvs NAT, TUN device as port{words}", program, "nat", "tun", **given),
            Ulvs(f"ulvs-nat-xdp{mark}", f"ulvs NAT, AF_XDP as port{words}", program, "nat", "xdp", **given),
            Nftables(f"nft-dnat{mark}", f"nftables DNAT, conntrack{words}", **given),
            NftablesDirect(f"nft-dr{mark}", f"nftables netdev direct routing{words}", **given),
            # As many threads as ulvs has workers unless told otherwise, and as many as HAProxy has then.
            HaProxy(f"haproxy{mark}", f"HAProxy TCP, 1 thread{words}", 1, **given),
            *([HaProxy("haproxy-2", "HAProxy TCP, 2 threads", 2)] if wide and family == 4 else []),
            Nginx(f"nginx{mark}", f"nginx stream, 1 worker{words}", **given),
            Route(f"route{mark}", f"kernel routing, no balancing{words}", **given),
        ]

    return of(4) + (of(6) if wide else [])
