//! What an operator may want: services, real servers and settings, as ipvsadm's words.

use std::net::IpAddr;

use super::dice::Dice;
use super::lab;
use crate::base::{Family, Protocol};

#[derive(Clone, Debug)]
pub struct Service {
    pub family: Family,
    pub key: Key,
    pub scheduler: &'static str,
    pub is_persistent: bool,
    pub servers: Vec<Server>,
    /// Deleted ones, and when.
    pub former: Vec<(Server, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Address { protocol: Protocol, vip: IpAddr, port: u16 },
    Mark(u32),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub address: IpAddr,
    pub port: u16,
    /// The forwarding method with everything that belongs to it. A server keeps it, since a kernel
    /// remembers routes of the method before.
    method: String,
}

/// What a scenario is about.
#[derive(Clone, Debug)]
pub struct Mood {
    pub families: &'static [Family],
    pub protocols: Vec<(Protocol, u64)>,
    pub methods: Vec<(&'static str, u64)>,
    /// Virtual addresses beside the lab's own.
    pub many_vips: bool,
    /// Rules that give marks: 0 none.
    pub marks: bool,
    pub persistent: u64,
    pub one_packet: u64,
    pub thresholds: u64,
    /// Chances in a hundred that a step is one of these.
    pub control: u64,
    pub errors: u64,
    pub oddities: u64,
    pub fragments: u64,
    pub pauses: u64,
    pub settings: u64,
    /// Chance that a segment is none that belongs here.
    pub disorder: u64,
    pub clients: u64,
    pub mtu: u32,
}

impl Mood {
    pub fn draw(dice: &mut Dice) -> Mood {
        let often = |dice: &mut Dice, chance: u64, least: u64, most: u64| {
            if dice.chance(chance) { dice.between(least, most) } else { 0 }
        };
        let mut protocols = vec![(Protocol::TCP, dice.between(1, 10)), (Protocol::UDP, dice.between(0, 6))];
        if dice.chance(35) {
            protocols.push((Protocol::SCTP, dice.between(1, 8)));
        }
        Mood {
            families: dice.pick(&[&[Family::V4][..], &[Family::V4], &[Family::V6], &[Family::V4, Family::V6]]),
            protocols,
            methods: vec![("-m", dice.between(1, 10)), ("-g", dice.between(0, 5)), ("-i", dice.between(0, 5))],
            many_vips: dice.chance(40),
            marks: dice.chance(25),
            persistent: dice.pick(&[0, 0, 20, 50, 90]),
            one_packet: dice.pick(&[0, 0, 30]),
            thresholds: dice.pick(&[0, 10, 40]),
            control: dice.pick(&[1, 3, 6, 10]),
            errors: often(dice, 50, 2, 12),
            oddities: often(dice, 60, 2, 12),
            fragments: often(dice, 25, 1, 5),
            pauses: dice.pick(&[1, 2, 4, 8]),
            settings: often(dice, 50, 1, 3),
            disorder: dice.pick(&[0, 5, 15, 40]),
            clients: dice.pick(&[4, 10, 40]),
            mtu: dice.weighted(&[(1500, 7), (1400, 2), (1300, 1)]),
        }
    }
}

/// All but twos, which draws lots, and which Debian does not build.
const SCHEDULERS: [&str; 13] = ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh"];

const PORTS: [u16; 6] = [80, 443, 53, 5060, 8080, 21];

/// The rules of a scenario with marks: the mark, the rule, and whose service it is.
pub const RULES: [(u32, &str, Family); 3] = [
    (1, "ip daddr 10.9.8.0/24", Family::V4),
    (2, "ip6 daddr fd98::/64", Family::V6),
    (3, "ip daddr 10.9.9.9 tcp dport { 443, 8080 }", Family::V4),
];

impl Service {
    /// A service that there is none of yet, as far as the draw goes; and the command that adds it.
    pub fn draw(dice: &mut Dice, mood: &Mood) -> Service {
        let family = dice.pick(mood.families);
        let marks: Vec<u32> = RULES.iter().filter(|rule| rule.2 == family).map(|rule| rule.0).collect();
        let key = if mood.marks && dice.chance(60) {
            Key::Mark(dice.pick(&marks))
        } else {
            let port = if dice.chance(8) { 0 } else { dice.pick(&PORTS) };
            let vip = if mood.many_vips { dice.between(0, u64::from(lab::VIPS)) as u8 } else { 0 };
            Key::Address { protocol: dice.weighted(&mood.protocols), vip: lab::vip(family, vip), port }
        };
        Service {
            family,
            key,
            scheduler: dice.pick(&SCHEDULERS),
            is_persistent: false,
            servers: Vec::new(),
            former: Vec::new(),
        }
    }

    /// What names it on the command line.
    pub fn words(&self) -> String {
        match self.key {
            Key::Mark(mark) if self.family == Family::V6 => format!("-f {mark} -6"),
            Key::Mark(mark) => format!("-f {mark}"),
            Key::Address { protocol, vip, port } => {
                let option = match protocol {
                    Protocol::UDP => "-u",
                    Protocol::SCTP => "--sctp-service",
                    _ => "-t",
                };
                format!("{option} {}", endpoint(vip, port))
            }
        }
    }

    /// Scheduler, flags and persistence; remembers whether it is persistent.
    pub fn options(&mut self, dice: &mut Dice, mood: &Mood) -> String {
        let mut words = format!("-s {}", self.scheduler);
        let any_port = matches!(self.key, Key::Address { port: 0, .. });
        self.is_persistent = dice.chance(mood.persistent) || any_port && dice.chance(90);
        if self.is_persistent {
            // Not so long that every pause has to wait for it.
            words.push_str(&format!(" -p {}", dice.pick(&[10, 30, 50, 60, 100, 120, 300])));
            if dice.chance(40) {
                words.push_str(&match self.family {
                    Family::V4 => format!(" -M {}", dice.pick(&["255.255.255.0", "255.255.255.252", "255.255.0.0"])),
                    Family::V6 => format!(" -M {}", dice.pick(&["64", "120", "126"])),
                });
            }
        }
        let is_udp = matches!(self.key, Key::Address { protocol: Protocol::UDP, .. } | Key::Mark(_));
        if is_udp && dice.chance(mood.one_packet) {
            words.push_str(" -o");
        }
        match self.scheduler {
            "sh" | "mh" if dice.chance(60) => {
                let name = self.scheduler;
                words.push_str(&match dice.between(0, 2) {
                    0 => format!(" -b {name}-fallback"),
                    1 => format!(" -b {name}-port"),
                    _ => format!(" -b {name}-fallback,{name}-port"),
                });
            }
            _ => {}
        }
        words
    }

    /// Another scheduler, for `-E`.
    pub fn reschedule(&mut self, dice: &mut Dice) {
        self.scheduler = dice.pick(&SCHEDULERS);
    }

    /// Whether another server may be added.
    pub fn has_room(&self) -> bool {
        self.servers.len() < 7
    }

    /// A server that it does not have.
    pub fn draw_server(&self, dice: &mut Dice, mood: &Mood, now: u64) -> Option<Server> {
        // One that was deleted comes back as it was, but not when it may have been forgotten.
        if !self.former.is_empty() && dice.chance(50) {
            let (server, deleted) = &self.former[dice.between(0, self.former.len() as u64 - 1) as usize];
            return (now < deleted + 100_000).then(|| server.clone());
        }
        let method = dice.weighted(&mood.methods);
        let mixed = method == "-i" && dice.chance(20);
        let family = match (self.family, mixed) {
            (Family::V4, true) | (Family::V6, false) => Family::V6,
            (Family::V6, true) | (Family::V4, false) => Family::V4,
        };
        let beyond = dice.chance(10);
        let number = dice.between(1, if beyond { 12 } else { 8 }) as u8;
        let address = lab::server(family, number).address;
        let port = match self.key {
            Key::Mark(_) => 0,
            Key::Address { port, .. } if method == "-m" && dice.chance(30) => port.wrapping_add(8000),
            Key::Address { port, .. } => port,
        };
        let method = if method == "-i" { tunnel(dice, number) } else { method.to_owned() };
        let known = |server: &Server| server.address == address && server.port == port;
        let is_known = self.servers.iter().any(known) || self.former.iter().any(|(server, _)| known(server));
        (!is_known).then_some(Server { address, port, method })
    }

    /// Where a client may turn to: a protocol, an address and a port.
    pub fn target(&self, dice: &mut Dice, mood: &Mood) -> (Protocol, IpAddr, u16) {
        match self.key {
            Key::Address { protocol, vip, port: 0 } => (protocol, vip, dice.pick(&PORTS)),
            Key::Address { protocol, vip, port: 21 } if self.is_persistent && dice.chance(40) => {
                (protocol, vip, dice.pick(&[20, 1024, 40000]))
            }
            Key::Address { protocol, vip, port } => (protocol, vip, port),
            Key::Mark(3) => (Protocol::TCP, lab::vip(self.family, 0), dice.pick(&[443, 8080])),
            Key::Mark(_) => {
                let vip = lab::vip(self.family, dice.between(1, u64::from(lab::VIPS)) as u8);
                (dice.weighted(&mood.protocols), vip, dice.pick(&PORTS[..4]))
            }
        }
    }
}

fn endpoint(address: IpAddr, port: u16) -> String {
    match address {
        IpAddr::V4(address) => format!("{address}:{port}"),
        IpAddr::V6(address) => format!("[{address}]:{port}"),
    }
}

/// A kernel that has two destinations at one end takes errors for those of the newer alone, so a host
/// has IPIP or GRE, not both.
fn tunnel(dice: &mut Dice, number: u8) -> String {
    let plain = if number.is_multiple_of(2) { 0 } else { dice.between(1, 2) };
    match dice.pick(&[plain, plain, plain, plain, 4, 5]) {
        0 => "-i".to_owned(),
        1 => "-i --tun-type gre".to_owned(),
        2 => "-i --tun-type gre --tun-csum".to_owned(),
        4 => format!("-i --tun-type gue --tun-port 6080{}", dice.pick(&["", " --tun-nocsum", " --tun-remcsum"])),
        _ => "-i --tun-type gue --tun-port 5555 --tun-csum".to_owned(),
    }
}

impl Server {
    pub fn words(&self) -> String {
        format!("-r {}", endpoint(self.address, self.port))
    }

    /// Method, weight and thresholds, for `-a` and `-e`.
    pub fn options(&self, dice: &mut Dice, mood: &Mood) -> String {
        let mut words = self.method.clone();
        let weight =
            dice.weighted(&[(1, 30), (2, 12), (3, 10), (4, 6), (6, 5), (0, 12), (10, 3), (100, 2), (65535, 1)]);
        words.push_str(&format!(" -w {weight}"));
        if dice.chance(mood.thresholds) {
            let upper = dice.between(1, 6);
            words.push_str(&format!(" -x {upper}"));
            if dice.chance(50) {
                words.push_str(&format!(" -y {}", dice.between(0, upper)));
            }
        }
        words
    }
}

/// A setting and a value for it.
pub fn setting(dice: &mut Dice) -> (&'static str, &'static str) {
    dice.pick(&[
        ("expire_nodest_conn", "1"),
        ("expire_nodest_conn", "0"),
        ("expire_quiescent_template", "1"),
        ("expire_quiescent_template", "0"),
        ("conn_reuse_mode", "0"),
        ("conn_reuse_mode", "1"),
        ("conn_reuse_mode", "2"),
        ("sloppy_tcp", "1"),
        ("sloppy_tcp", "0"),
        ("sloppy_sctp", "1"),
        ("sloppy_sctp", "0"),
        ("drop_packet", "3"),
        ("drop_packet", "0"),
        ("am_droprate", "3"),
        ("secure_tcp", "3"),
        ("secure_tcp", "0"),
        ("nat_icmp_send", "1"),
        ("nat_icmp_send", "0"),
        ("schedule_icmp", "1"),
        ("schedule_icmp", "0"),
        ("pmtu_disc", "0"),
        ("pmtu_disc", "1"),
    ])
}

/// Values for `--set`: TCP, TCP FIN and UDP.
pub fn timeouts(dice: &mut Dice) -> String {
    let mut one = |values: &[u64]| dice.pick(values).to_string();
    format!("--set {} {} {}", one(&[0, 0, 50, 120, 900]), one(&[0, 0, 20, 60]), one(&[0, 0, 15, 40, 300]))
}
