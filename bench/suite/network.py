"""The namespaces that everything happens in.

    client ── director ── server        eth0 to eth0, eth1 to eth0
       └──────────────────────┘         a wire of its own for replies that do not cross the director

Every subject finds the same wires, with every offload left as the kernel sets it. How packets come
back (through the director or directly) is the forwarding method's affair: `Network.replies`.
"""

import contextlib
import ipaddress
import json
import os
import re

from .shell import inside, run

ROLES = ("client", "director", "server")

VIP = {4: "10.98.1.100", 6: "fd98:1::100"}
REAL_SERVER = {4: "10.98.2.2", 6: "fd98:2::2"}
CLIENT_ADDRESS = {4: "10.98.1.2", 6: "fd98:1::2"}
DIRECTOR_OUTSIDE = {4: "10.98.1.1", 6: "fd98:1::1"}
DIRECTOR_INSIDE = {4: "10.98.2.1", 6: "fd98:2::1"}

WIRES = (
    # name and address at either end
    (("client", "eth0", CLIENT_ADDRESS), ("director", "eth0", DIRECTOR_OUTSIDE)),
    (("director", "eth1", DIRECTOR_INSIDE), ("server", "eth0", REAL_SERVER)),
    (("client", "direct", {4: "10.98.3.2", 6: "fd98:3::2"}), ("server", "direct", {4: "10.98.3.1", 6: "fd98:3::1"})),
)
LENGTH = {4: 24, 6: 64}

NAMESPACE = re.compile(r"ub-(?:client|director|server)-(\d+)")
# Clients are a few of this network's addresses.
CLIENTS = {4: "10.98.1.0/24", 6: "fd98:1::/64"}


def sink_rules(family, tunneled, address, mac):
    """What the discard port's packets meet at the server: a counter, and nothing more, as early as can be.

    Counted is what came as it should: to the server's Ethernet address, from clients, to `address`; what
    is in a tunnel from the director, to the VIP. The rest is dropped beside it. A BPF program that takes
    tunnels apart would come before all rules: the real server is to run without one.
    """
    ip = "ip" if family == 4 else "ip6"
    if tunneled:
        # The inner destination lies behind a header without options.
        place = {4: ((20 + 16) * 8, 32), 6: ((40 + 24) * 8, 128)}[family]
        inner = f"@nh,{place[0]},{place[1]} {int(ipaddress.ip_address(VIP[family])):#x}"
        carried = {4: "ip protocol 4", 6: "ip6 nexthdr 41"}[family]
        right = f"{carried} {ip} daddr {REAL_SERVER[family]} {inner}"
    else:
        right = f"{ip} saddr {CLIENTS[family]} {ip} daddr {address} udp dport 9"
    return f"""
    table netdev ub_sink {{
        counter right {{ }}
        chain ingress {{
            type filter hook ingress device eth0 priority -500
            ether daddr {mac} {right} counter name right drop
            udp dport 9 drop
            ip protocol 4 drop
            ip6 nexthdr {{ 4, 41 }} drop
        }}
    }}
    """


def bracketed(family, address):
    return f"[{address}]" if family == 6 else address


def end(family, address, port):
    return f"{bracketed(family, address)}:{port}"


class Network:
    def __init__(self):
        self.names = {role: f"ub-{role}-{os.getpid()}" for role in ROLES}

    def __getattr__(self, role):
        try:
            return self.__dict__["names"][role]
        except KeyError:
            raise AttributeError(role) from None

    def mac(self, role, link):
        return inside(self.names[role], "cat", f"/sys/class/net/{link}/address").strip()

    def write(self, role, path, value):
        inside(self.names[role], "tee", f"/proc/sys/{path}", stdin=str(value))

    def forwarding(self, on):
        for path in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
            self.write("director", path, int(on))

    @contextlib.contextmanager
    def virtual_address(self, role, family):
        """The VIP on a role's loopback link, without answering for it."""
        where = (f"{VIP[family]}/{32 if family == 4 else 128}", "dev", "lo")
        run("ip", "-n", self.names[role], "addr", "add", *where, *(("nodad",) if family == 6 else ()))
        try:
            yield
        finally:
            run("ip", "-n", self.names[role], "addr", "del", *where, check=False)

    @contextlib.contextmanager
    def by_way_of_director(self, family):
        """The client routes the VIP to the director's own address."""
        route = (f"{VIP[family]}/{32 if family == 4 else 128}", "via", DIRECTOR_OUTSIDE[family])
        run("ip", "-n", self.client, "route", "add", *route)
        try:
            yield
        finally:
            run("ip", "-n", self.client, "route", "del", *route, check=False)

    @contextlib.contextmanager
    def replies(self, family, directly):
        """How the server reaches the client: by the wire between them, or through the director."""
        link = ("dev", "direct") if directly else ("via", DIRECTOR_INSIDE[family], "dev", "eth0")
        network = {4: "10.98.1.0/24", 6: "fd98:1::/64"}[family]
        run("ip", "-n", self.server, "route", "replace", network, *link)
        try:
            if directly:
                # The client is a neighbour there by its usual address too.
                neighbour = (CLIENT_ADDRESS[family], "lladdr", self.mac("client", "direct"), "dev", "direct")
                run("ip", "-n", self.server, "neigh", "replace", *neighbour)
            yield
        finally:
            run("ip", "-n", self.server, "route", "del", network, check=False)

    @contextlib.contextmanager
    def sink(self, family, method, address):
        """Swallows the discard port's packets at the server; yields what counts those that came right."""
        rules = sink_rules(family, method == "tun", address, self.mac("server", "eth0"))
        inside(self.server, "nft", "-f", "-", stdin=rules)
        try:
            yield self.arrived
        finally:
            inside(self.server, "nft", "delete", "table", "netdev", "ub_sink", check=False)

    def arrived(self):
        said = json.loads(inside(self.server, "nft", "-j", "list", "counter", "netdev", "ub_sink", "right"))
        return next(one["counter"]["packets"] for one in said["nftables"] if "counter" in one)

    def fresh(self):
        """Forgets what an earlier subject left: rules of one that was killed, neighbours at other addresses."""
        inside(self.director, "nft", "flush", "ruleset")
        self.forwarding(False)
        for role, link in (("client", "eth0"), ("client", "direct"), ("server", "eth0"), ("server", "direct")):
            run("ip", "-n", self.names[role], "neigh", "flush", "dev", link, check=False)


@contextlib.contextmanager
def network():
    remove_forgotten()
    built = Network()
    try:
        for namespace in built.names.values():
            run("ip", "netns", "add", namespace)
            run("ip", "-n", namespace, "link", "set", "lo", "up")
        for role in ROLES:
            for scope in ("all", "default"):
                built.write(role, f"net/ipv6/conf/{scope}/accept_dad", 0)
                built.write(role, f"net/ipv4/conf/{scope}/rp_filter", 0)
        for near, far in WIRES:
            (role, link, addresses), (far_role, far_link, far_addresses) = near, far
            peer = ("peer", "name", far_link, "netns", built.names[far_role])
            run("ip", "-n", built.names[role], "link", "add", link, "type", "veth", *peer)
            for name, device, given in ((built.names[role], link, addresses), (built.names[far_role], far_link, far_addresses)):
                for family, address in given.items():
                    nodad = ("nodad",) if family == 6 else ()
                    run("ip", "-n", name, "addr", "add", f"{address}/{LENGTH[family]}", "dev", device, *nodad)
                run("ip", "-n", name, "link", "set", device, "up")
        # The VIP on the server's loopback link is nobody else's to ask for.
        for scope in ("all", "eth0", "direct"):
            built.write("server", f"net/ipv4/conf/{scope}/arp_ignore", 1)
            built.write("server", f"net/ipv4/conf/{scope}/arp_announce", 2)
        for role in ROLES:
            built.write(role, "net/ipv4/ip_local_port_range", "1024 65535")
            # Subjects share an address: what TCP learns of it under one is not the next one's.
            built.write(role, "net/ipv4/tcp_no_metrics_save", 1)
            # They share ports too: a server still waiting with one subject's connection takes the next one's
            # for an old duplicate, when the client asked another address for it and so has other timestamps.
            built.write(role, "net/ipv4/tcp_max_tw_buckets", 0)
        # The real server's own network from the client, for plain routing.
        for family, net in {4: "10.98.2.0/24", 6: "fd98:2::/64"}.items():
            run("ip", "-n", built.client, "route", "add", net, "via", DIRECTOR_OUTSIDE[family])
        yield built
    finally:
        for namespace in built.names.values():
            run("ip", "netns", "del", namespace, check=False)


def remove_forgotten():
    """Removes the namespaces of runs that were killed."""
    for line in run("ip", "netns", "list").splitlines():
        name = line.split()[0] if line.split() else ""
        found = NAMESPACE.fullmatch(name)
        if found and not os.path.exists(f"/proc/{found[1]}"):
            run("ip", "netns", "del", name, check=False)
