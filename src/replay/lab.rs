//! The director that the transcripts were recorded in, without a kernel: its links, addresses,
//! routes and neighbours as the recordings' README states them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::{Family, LinkId, Mac, Prefix, Tick};
use crate::control::director::{Director, Fleet};
use crate::control::message::{Access, Answer, Request};
use crate::engine::{Config, Egress, Engine, HostStack, Verdict};
use crate::table::network::LinkLayer;
use crate::table::policy::{Rule, RuleAction};
use crate::table::{Change, Link, Network, Policy, Route, RouteKind};
use crate::wire::frame::{ETHERNET_LENGTH, HEADROOM};
use crate::wire::{Frame, Offload};
use crate::worker::question::{Finding, Question, answer};

use super::messages::{self, Sent};

const LINKS: [&str; 2] = ["eth0", "eth1"];
const MACS: [Mac; 2] = [Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 1, 1])];

/// One engine, asked in process.
pub struct OneEngine {
    pub engine: Engine,
}

impl Fleet for OneEngine {
    fn size(&self) -> usize {
        1
    }

    fn apply(&mut self, now: Tick, change: &Change) {
        // The model accepted it, and the engine's tables are the same.
        let outcome = self.engine.apply(now, change);
        debug_assert!(outcome.is_ok(), "the engine refused what the model accepted: {change:?}");
    }

    fn mtu(&mut self, model: &Engine, interface: &str) -> Option<u32> {
        let known = model.network().links().iter().find(|link| link.name == interface);
        known.map(|link| link.mtu).or((interface == "lo").then_some(65536))
    }

    fn ask(&mut self, now: Tick, _engine: usize, question: &Question) -> Option<Finding> {
        Some(answer(&mut self.engine, now, question))
    }
}

/// The lab: a director with one engine, and the neighbours it knows.
pub struct Lab {
    pub director: Director<OneEngine>,
    links: Vec<Link>,
    local: Vec<Prefix>,
    unreachable: Vec<Prefix>,
    /// Routes of packets from certain addresses: source, link, gateway.
    by_source: Vec<(Prefix, LinkId, IpAddr)>,
    accepts_local: bool,
    neighbours: HashMap<(LinkId, IpAddr), Mac>,
    pub now: Tick,
    /// Synchronisation messages that left and the transcript has not mentioned yet.
    pub messages: Vec<Sent>,
}

impl Lab {
    pub fn new(mtu: [u32; 2]) -> Lab {
        Lab::sized(mtu, 65536)
    }

    /// A lab whose director holds at most so many connections.
    pub fn sized(mtu: [u32; 2], maximum_connections: usize) -> Lab {
        let engine = Engine::new(&Config { maximum_connections, seed: 1, host_stack: HostStack::Absent });
        let addresses = [["10.0.0.1/24", "fd00::1/64"], ["172.16.0.1/24", "fd01::1/64"]];
        let links = (0..2)
            .map(|index| Link {
                id: LinkId(index as u32),
                index: index as u32 + 2,
                name: LINKS[index].to_owned(),
                layer: LinkLayer::Ethernet,
                mac: MACS[index],
                virtual_mac: None,
                mtu: mtu[index],
                up: true,
                addresses: addresses[index].iter().map(|text| prefix(text)).collect(),
            })
            .collect();
        let mut lab = Lab {
            director: Director::new(Tick::ZERO, OneEngine { engine }, maximum_connections),
            links,
            local: ["10.9.9.9/32", "fd99::9/128", "127.0.0.0/8", "::1/128"].iter().map(|text| prefix(text)).collect(),
            unreachable: Vec::new(),
            by_source: Vec::new(),
            accepts_local: false,
            neighbours: neighbours(),
            now: Tick::ZERO,
            messages: Vec::new(),
        };
        lab.publish_network();
        lab
    }

    /// Makes a network the director's own, as a transcript's note says.
    pub fn add_local(&mut self, network: Prefix) {
        self.local.push(network);
        self.publish_network();
    }

    /// Lets in packets from the director's own addresses, as a transcript's note says.
    pub fn accept_local(&mut self) {
        self.accepts_local = true;
        self.publish_network();
    }

    /// Takes away every route to a network, as a transcript's note says.
    pub fn add_unreachable(&mut self, network: Prefix) {
        self.unreachable.push(network);
        self.publish_network();
    }

    /// Routes what comes from some addresses by a gateway of their own, as a transcript's note says.
    pub fn route_by_source(&mut self, from: Prefix, link: &str, gateway: IpAddr) {
        if let Some(index) = LINKS.iter().position(|&name| name == link) {
            self.by_source.push((from, LinkId(index as u32), gateway));
            self.publish_network();
        }
    }

    /// Switches FTP's helper off, as where the kernel's module is not loaded.
    pub fn help_no_ftp(&mut self) {
        self.director.set_ftp_ports(&[]);
        self.director.fleet().engine.set_ftp_ports(&[]);
    }

    /// Sets the clock, and does what is due until then.
    pub fn set_clock(&mut self, now: Tick) {
        // Small steps, as time would pass: what one expiry leads to may be due before the next.
        while self.now < now {
            let engine = &mut self.director.fleet().engine;
            let look = engine.next_look().filter(|&look| look > self.now).unwrap_or(now);
            self.now = (self.now + 250).min(now).min(look);
            while engine.tick(self.now, usize::MAX) {}
            messages::collect(engine, self.now, &mut self.messages);
            self.director.tick(self.now);
        }
    }

    /// Frames that leave because of what was done just now, with the link they leave by.
    pub fn inject(&mut self, link: &str, bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        let Some(index) = LINKS.iter().position(|&name| name == link) else { return Vec::new() };
        let start = HEADROOM;
        let mut buffer = vec![0xa5; start + bytes.len()];
        buffer[start..].copy_from_slice(bytes);
        let end = buffer.len();
        let now = self.now;
        let engine = &mut self.director.fleet().engine;
        let mut out = Vec::new();
        let link = LinkId(index as u32);
        if let Some(mut frame) = Frame::ethernet(&mut buffer, start, end, link, Offload::NONE)
            && let Verdict::Transmit(egress) = engine.handle(now, &mut frame)
        {
            out.push((egress, frame.packet().to_vec()));
        }
        messages::receive(engine, now, LINKS[index], bytes);
        messages::collect(engine, now, &mut self.messages);
        self.take_outbox(&mut out);
        out.into_iter().filter_map(|(egress, packet)| self.wrap(egress, packet)).collect()
    }

    /// What the engine sends without a frame having come in.
    pub fn drain(&mut self) -> Vec<(&'static str, Vec<u8>)> {
        let mut out = Vec::new();
        self.take_outbox(&mut out);
        out.into_iter().filter_map(|(egress, packet)| self.wrap(egress, packet)).collect()
    }

    fn take_outbox(&mut self, out: &mut Vec<(Egress, Vec<u8>)>) {
        let outbox = self.director.fleet().engine.outbox();
        out.extend(outbox.packets().iter().map(|outbound| (outbound.egress, outbound.packet().to_vec())));
        outbox.clear();
    }

    /// Puts an Ethernet header before a packet, if its next hop is known.
    fn wrap(&self, egress: Egress, packet: Vec<u8>) -> Option<(&'static str, Vec<u8>)> {
        let index = egress.link.index();
        let to = self.neighbours.get(&(egress.link, egress.next_hop.to_ip(egress.family)))?;
        let kind: u16 = match packet.first()? >> 4 {
            4 => 0x0800,
            _ => 0x86dd,
        };
        let mut frame = Vec::with_capacity(ETHERNET_LENGTH + packet.len());
        frame.extend(to.0);
        frame.extend(MACS[index].0);
        frame.extend(kind.to_be_bytes());
        frame.extend(packet);
        Some((LINKS[index], frame))
    }

    fn publish_network(&mut self) {
        let unicast = |destination: &str, link: u32, gateway: Option<&str>| Route {
            destination: prefix(destination),
            kind: RouteKind::Unicast,
            link: Some(LinkId(link)),
            gateway: gateway.and_then(|text| text.parse().ok()),
            source: None,
            metric: 0,
            mtu: None,
        };
        let mut routes = vec![
            unicast("0.0.0.0/0", 0, Some("10.0.0.254")),
            unicast("::/0", 0, Some("fd00::fe")),
            unicast("10.0.0.0/24", 0, None),
            unicast("fd00::/64", 0, None),
            unicast("172.16.0.0/24", 1, None),
            unicast("fd01::/64", 1, None),
            unicast("192.168.77.0/24", 1, Some("172.16.0.254")),
            unicast("fd77::/64", 1, Some("fd01::fe")),
        ];
        routes.extend(self.local.iter().map(|&destination| Route {
            destination,
            kind: RouteKind::Local,
            link: Some(LinkId(0)),
            gateway: None,
            source: None,
            metric: 0,
            mtu: None,
        }));
        routes.extend(self.unreachable.iter().map(|&destination| Route {
            destination,
            kind: RouteKind::Unreachable,
            link: None,
            gateway: None,
            source: None,
            metric: 0,
            mtu: None,
        }));
        let mut network = Network::new(self.links.clone(), routes.clone());
        for family in [Family::V4, Family::V6] {
            if let Some(policy) = self.policy(family, &routes) {
                network.set_policy(family, policy);
            }
        }
        if self.accepts_local {
            self.links.iter().for_each(|link| network.accept_local(link.id));
        }
        let network = Arc::new(network);
        self.director.fleet().engine.set_network(network.clone());
        self.director.set_network(network);
    }
}

impl Lab {
    /// The rules for what comes from certain addresses, before those of every host.
    fn policy(&self, family: Family, routes: &[Route]) -> Option<Policy> {
        const FIRST: u32 = 1000;
        let mut tables: HashMap<u32, Vec<Route>> = HashMap::new();
        for route in routes.iter().filter(|route| route.destination.family() == family) {
            let table = if route.kind == RouteKind::Local { 255 } else { 254 };
            tables.entry(table).or_default().push(*route);
        }
        let ask = |priority, number| Rule::all(priority, RuleAction::Table { number, suppressed: None });
        let mut rules = vec![ask(0, 255), ask(32766, 254)];
        for ((from, link, gateway), number) in self.by_source.iter().zip(FIRST..) {
            if from.family() == family {
                rules.push(Rule { from: Some(*from), ..ask(number, number) });
                let all = Route {
                    destination: Prefix::new(family.unspecified(), 0),
                    kind: RouteKind::Unicast,
                    link: Some(*link),
                    gateway: Some(*gateway),
                    source: None,
                    metric: 0,
                    mtu: None,
                };
                tables.insert(number, vec![all]);
            }
        }
        (rules.len() > 2).then(|| Policy::new(rules, tables))
    }

    pub fn ask(&mut self, request: Request) -> Answer {
        self.director.ask(self.now, request)
    }
}

/// A way to the lab's director, as front ends want it.
pub struct Way(pub Rc<RefCell<Lab>>);

impl Access for Way {
    fn ask(&mut self, request: Request) -> io::Result<Answer> {
        Ok(self.0.borrow_mut().ask(request))
    }
}

/// A prefix written in this file.
fn prefix(text: &str) -> Prefix {
    text.parse().unwrap_or(Prefix::host(IpAddr::from([0; 4])))
}

/// Clients 1 to 4 and their gateway on eth0, real servers 1 to 8 and theirs on eth1.
fn neighbours() -> HashMap<(LinkId, IpAddr), Mac> {
    let mut known = HashMap::new();
    let mut add = |link: u32, v4: [u8; 4], v6: (u16, u16), mac: Mac| {
        let mut segments = [0u16; 8];
        segments[0] = v6.0;
        segments[7] = v6.1;
        known.insert((LinkId(link), IpAddr::from(v4)), mac);
        known.insert((LinkId(link), IpAddr::from(segments)), mac);
    };
    for n in 1..=4u8 {
        add(0, [10, 0, 0, 1 + n], (0xfd00, u16::from(1 + n)), Mac([2, 0, 0, 0, 0, 1 + n]));
    }
    add(0, [10, 0, 0, 254], (0xfd00, 0xfe), Mac([2, 0, 0, 0, 0, 0xfe]));
    for n in 1..=8u8 {
        // The recorder writes the last group in decimal digits: server 1 is fd01::11.
        let group = u16::from_str_radix(&(10 + n).to_string(), 16).unwrap_or(0);
        add(1, [172, 16, 0, 10 + n], (0xfd01, group), Mac([2, 0, 0, 0, 1, 10 + n]));
    }
    add(1, [172, 16, 0, 254], (0xfd01, 0xfe), Mac([2, 0, 0, 0, 1, 0xfe]));
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_neighbour_is_on_a_link_that_routes_to_it() {
        let network = Lab::new([1500, 1500]).links;
        for ((link, address), _) in neighbours() {
            let on_link = network.iter().find(|known| known.id == link).unwrap();
            assert!(on_link.addresses.iter().any(|prefix| prefix.contains(address)), "{address} is on {link:?}");
        }
    }
}
