//! The layouts of the LVS how-tos, as data: who is there, how they are wired, what they are told.
//!
//! A plan is text in the words of ip(8), so that what `ulvs lab up --verbose` shows can be typed
//! by hand; nothing here touches the system. `@ROLE` in a line stands for that role's namespace.
//!
//! ```text
//! nat   client ── director ──┬─ rs1    The real servers' default gateway is the director.
//!                            ├─ rs2
//!                            └─ rs3
//! dr    client ─┬─ director            One LAN. The real servers have the VIP too, and keep
//!               ├─ rs1 … rs3           quiet about it; they answer the client directly.
//! tun   client ─┬─ director            The real servers are anywhere behind a router, have the
//!               └─ router ─┬─ rs1 …    VIP on tunl0, and answer the client directly.
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::base::{Family, Prefix};

use super::director::Subject;

/// The virtual service's addresses in every layout.
pub const VIP: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 0, 1, 100)), IpAddr::V6(Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0x100))];

/// How many real servers a layout has.
pub const REAL_SERVERS: u8 = 3;

/// Which way packets reach the real servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Topology {
    /// Network address translation: the real servers sit behind the director
    Nat,
    /// Direct routing: everybody on one LAN
    Dr,
    /// IP tunnels: the real servers are behind a router
    Tun,
}

/// A layout, ready to be built.
#[derive(Clone, Debug)]
pub struct Plan {
    pub topology: Topology,
    /// In the order in which they are built: whoever holds the wires comes first.
    pub roles: Vec<Role>,
    pub real_servers: Vec<RealServer>,
    /// The director's links, as `ulvs run --interface` takes them.
    pub director_links: &'static [&'static str],
}

/// One network namespace.
#[derive(Clone, Debug)]
pub struct Role {
    pub name: String,
    pub purpose: &'static str,
    /// Interface and address, in the order in which they are given.
    pub addresses: Vec<(String, Prefix)>,
    /// Paths below /proc/sys with their values.
    pub settings: Vec<(String, &'static str)>,
    /// Lines for `ip -batch` that make links, in this and other namespaces.
    pub wires: Vec<String>,
    /// Lines for `ip -batch` that bring up what is there.
    pub lines: Vec<String>,
}

/// A real server and its own addresses, one of each family.
#[derive(Clone, Debug)]
pub struct RealServer {
    pub name: String,
    pub addresses: [IpAddr; 2],
}

impl Topology {
    pub const ALL: [Topology; 3] = [Topology::Nat, Topology::Dr, Topology::Tun];

    pub fn name(self) -> &'static str {
        match self {
            Topology::Nat => "nat",
            Topology::Dr => "dr",
            Topology::Tun => "tun",
        }
    }

    /// ipvsadm's option for the forwarding method.
    pub fn method(self) -> &'static str {
        match self {
            Topology::Nat => "-m",
            Topology::Dr => "-g",
            Topology::Tun => "-i",
        }
    }

    /// The layout, for a director of the kernel or of ours.
    ///
    /// The kernel's director owns the VIP and forwards; ours does neither (it answers for the VIP
    /// itself), so that only one of the two can ever reply.
    pub fn plan(self, subject: Subject) -> Plan {
        let mut plan = match self {
            Topology::Nat => nat(),
            Topology::Dr => direct_routing(),
            Topology::Tun => tunnel(),
        };
        if subject == Subject::Kernel
            && let Some(director) = plan.roles.iter_mut().find(|role| role.name == "director")
        {
            director.forward();
            director.settings.push(("net/ipv4/conf/all/send_redirects".to_owned(), "0"));
            director.settings.push(("net/ipv4/conf/eth0/send_redirects".to_owned(), "0"));
            for vip in VIP {
                director.address("eth0", Prefix::host(vip));
            }
            // A deprecated address is never chosen as a source: the director's own packets, such as
            // tunnels', come from its own address, not from one that the real servers have too.
            director.lines.push(format!("addr change {} dev eth0 preferred_lft 0", Prefix::host(VIP[1])));
        }
        plan
    }
}

impl Plan {
    /// The arguments of the `ipvsadm` calls that make `protocol` (`-t` or `-u`) services at `port`
    /// of both VIPs, each with every real server.
    pub fn service_lines(&self, protocol: &str, port: u16, scheduler: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for (index, vip) in VIP.iter().enumerate() {
            let service = format!("{protocol} {}", endpoint(*vip, port));
            lines.push(format!("-A {service} -s {scheduler}"));
            for server in &self.real_servers {
                let real = endpoint(server.addresses[index], port);
                lines.push(format!("-a {service} -r {real} {}", self.topology.method()));
            }
        }
        lines
    }
}

impl Role {
    fn new(name: impl Into<String>, purpose: &'static str) -> Role {
        Role {
            name: name.into(),
            purpose,
            addresses: Vec::new(),
            settings: vec![("net/ipv4/conf/all/rp_filter".to_owned(), "0")],
            wires: Vec::new(),
            lines: vec!["link set lo up".to_owned()],
        }
    }

    /// Brings `link` up, with a hardware address in which a reader recognises `prefix`, quiet
    /// where IPv6 would otherwise probe and solicit for seconds.
    fn link(&mut self, link: &str, prefix: Prefix) {
        if let IpAddr::V4(address) = prefix.address {
            let [a, b, c, d] = address.octets();
            self.lines.push(format!("link set {link} address 02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}"));
        }
        for (name, value) in [("accept_dad", "0"), ("router_solicitations", "0")] {
            self.settings.push((format!("net/ipv6/conf/{link}/{name}"), value));
        }
        self.settings.push((format!("net/ipv4/conf/{link}/rp_filter"), "0"));
        self.lines.push(format!("link set {link} up"));
        self.address(link, prefix);
    }

    fn address(&mut self, link: &str, prefix: Prefix) {
        let nodad = if prefix.family() == Family::V6 { " nodad" } else { "" };
        self.lines.push(format!("addr add {prefix} dev {link}{nodad}"));
        self.addresses.push((link.to_owned(), prefix));
    }

    /// A default route by way of the host with number `host` in both of `network`'s families.
    fn default_gateway(&mut self, network: u8, host: u8) {
        for prefix in at(network, host) {
            self.lines.push(format!("route add default via {}", prefix.address));
        }
    }

    fn forward(&mut self) {
        self.settings.push(("net/ipv4/ip_forward".to_owned(), "1"));
        self.settings.push(("net/ipv6/conf/all/forwarding".to_owned(), "1"));
    }

    /// Gives `link` the addresses of `host` in `network`.
    fn attach(&mut self, link: &str, network: u8, host: u8) {
        let [v4, v6] = at(network, host);
        self.link(link, v4);
        self.address(link, v6);
    }

    /// A switch: a bridge with one port, named after the role, for each `eth` of `roles`.
    fn switch(name: &str, ports: &[(&str, &str)]) -> Role {
        let mut role = Role::new(name, "Ethernet switch");
        role.settings.push(("net/ipv6/conf/all/disable_ipv6".to_owned(), "1"));
        role.wires.push("link add br0 type bridge mcast_snooping 0".to_owned());
        role.wires.push("link set br0 up".to_owned());
        for (port, link) in ports {
            role.wires.push(format!("link add {port} type veth peer name {link} netns @{port}"));
            role.wires.push(format!("link set {port} master br0 up"));
        }
        role
    }
}

/// Number `host` of `network`: 10.0.NETWORK.HOST/24 and fd00:NETWORK::HOST/64, the decimal digits
/// of both being read as hexadecimal ones in IPv6.
fn at(network: u8, host: u8) -> [Prefix; 2] {
    let digits = |number: u8| u16::from_str_radix(&number.to_string(), 16).unwrap_or_default();
    [
        Prefix::new(Ipv4Addr::new(10, 0, network, host).into(), 24),
        Prefix::new(Ipv6Addr::new(0xfd00, digits(network), 0, 0, 0, 0, 0, digits(host)).into(), 64),
    ]
}

/// The address with a port, as ipvsadm writes it.
pub fn endpoint(address: IpAddr, port: u16) -> String {
    match address {
        IpAddr::V4(v4) => format!("{v4}:{port}"),
        IpAddr::V6(v6) => format!("[{v6}]:{port}"),
    }
}

fn client() -> Role {
    let mut client = Role::new("client", "asks for the virtual service");
    client.attach("eth0", 1, 10);
    client
}

fn real_server(number: u8, network: u8, host: u8) -> (Role, RealServer) {
    let name = format!("rs{number}");
    let mut role = Role::new(name.clone(), "real server");
    role.attach("eth0", network, host);
    (role, RealServer { name, addresses: at(network, host).map(|prefix| prefix.address) })
}

/// Client net 1, server net 2, the director between them as the real servers' gateway.
fn nat() -> Plan {
    let mut director = Role::new("director", "balances; gateway of the real servers");
    director.wires.push("link add eth0 type veth peer name eth0 netns @client".to_owned());
    director.attach("eth0", 1, 1);
    director.attach("eth1", 2, 1);
    let lan = Role::switch("lan", &[("director", "eth1"), ("rs1", "eth0"), ("rs2", "eth0"), ("rs3", "eth0")]);
    let (mut roles, mut real_servers) = (vec![lan, director, client()], Vec::new());
    for number in 1..=REAL_SERVERS {
        let (mut role, server) = real_server(number, 2, 10 + number);
        role.default_gateway(2, 1);
        roles.push(role);
        real_servers.push(server);
    }
    Plan { topology: Topology::Nat, roles, real_servers, director_links: &["eth0", "eth1"] }
}

/// Everybody in net 1.
fn direct_routing() -> Plan {
    let mut director = Role::new("director", "balances");
    director.attach("eth0", 1, 1);
    let lan = Role::switch(
        "lan",
        &[("client", "eth0"), ("director", "eth0"), ("rs1", "eth0"), ("rs2", "eth0"), ("rs3", "eth0")],
    );
    let (mut roles, mut real_servers) = (vec![lan, director, client()], Vec::new());
    for number in 1..=REAL_SERVERS {
        let (role, server) = real_server(number, 1, 10 + number);
        roles.push(role);
        real_servers.push(server);
    }
    Plan { topology: Topology::Dr, roles, real_servers, director_links: &["eth0"] }
}

/// Client and director in net 1; each real server in a net of its own behind the router, which is
/// net 1's switch as well.
fn tunnel() -> Plan {
    let mut router = Role::new("router", "switch of net 1, and the way to the real servers");
    router.forward();
    router.settings.push(("net/ipv4/conf/all/send_redirects".to_owned(), "0"));
    router.wires.push("link add br0 type bridge mcast_snooping 0".to_owned());
    for port in ["client", "director"] {
        router.wires.push(format!("link add {port} type veth peer name eth0 netns @{port}"));
        router.wires.push(format!("link set {port} master br0 up"));
    }
    router.attach("br0", 1, 254);
    let mut director = Role::new("director", "balances");
    director.attach("eth0", 1, 1);
    director.default_gateway(1, 254);
    let (mut servers, mut real_servers) = (Vec::new(), Vec::new());
    for number in 1..=REAL_SERVERS {
        let (mut role, server) = real_server(number, 10 + number, 2);
        role.default_gateway(10 + number, 1);
        router.wires.push(format!("link add {0} type veth peer name eth0 netns @{0}", role.name));
        router.attach(&role.name, 10 + number, 1);
        servers.push(role);
        real_servers.push(server);
    }
    let mut roles = vec![router, director, client()];
    roles.append(&mut servers);
    Plan { topology: Topology::Tun, roles, real_servers, director_links: &["eth0"] }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_plan_has_the_cast_of_the_how_tos() {
        for topology in Topology::ALL {
            let plan = topology.plan(Subject::Ulvs);
            let names: HashSet<&str> = plan.roles.iter().map(|role| role.name.as_str()).collect();
            for name in ["client", "director", "rs1", "rs2", "rs3"] {
                assert!(names.contains(name), "{topology:?} lacks {name}");
            }
            assert_eq!(names.len(), plan.roles.len(), "{topology:?}: a name is used twice");
            assert_eq!(plan.real_servers.len(), usize::from(REAL_SERVERS));
        }
    }

    #[test]
    fn wires_end_in_namespaces_that_exist() {
        for topology in Topology::ALL {
            let plan = topology.plan(Subject::Kernel);
            for line in plan.roles.iter().flat_map(|role| &role.wires) {
                if let Some((_, end)) = line.split_once('@') {
                    assert!(plan.roles.iter().any(|role| role.name == end), "{topology:?}: {line}");
                }
            }
        }
    }

    #[test]
    fn addresses_are_unique_and_the_vip_is_the_directors_only_with_the_kernel() {
        for (topology, subject) in Topology::ALL.iter().flat_map(|t| [(*t, Subject::Ulvs), (*t, Subject::Kernel)]) {
            let plan = topology.plan(subject);
            let mut seen = HashSet::new();
            for (_, prefix) in plan.roles.iter().flat_map(|role| &role.addresses) {
                assert!(seen.insert(prefix.address), "{topology:?}: {} twice", prefix.address);
            }
            assert_eq!(seen.contains(&VIP[0]), subject == Subject::Kernel);
        }
    }

    #[test]
    fn service_lines_read_as_in_the_how_tos() {
        let lines = Topology::Nat.plan(Subject::Ulvs).service_lines("-t", 80, "rr");
        assert_eq!(lines[0], "-A -t 10.0.1.100:80 -s rr");
        assert_eq!(lines[1], "-a -t 10.0.1.100:80 -r 10.0.2.11:80 -m");
        assert_eq!(lines[4], "-A -t [fd00:1::100]:80 -s rr");
        assert_eq!(lines[7], "-a -t [fd00:1::100]:80 -r [fd00:2::13]:80 -m");
    }
}
