//! An engine on a small network:
//!
//! ```text
//! clients 10.0.0.0/24, fd00::/64 ── eth0 ── engine ── eth1 ── servers 172.16.0.0/24, fd01::/64
//!                                             ├─── tun0 ── 192.0.2.0/24 (no link layer)
//!                                             └─── eth2 ── 172.17.0.0/24, fd02::/64 (MTU 60)
//! ```

use std::net::IpAddr;
use std::sync::Arc;

use crate::base::{Family, LinkId, Mac, Port, Protocol, Tick};
use crate::engine::{Config, Egress, Engine, HostStack, Verdict};
use crate::table::network::LinkLayer;
use crate::table::{
    Change, DestinationConfig, DestinationKey, Errno, ForwardingMethod, Link, MarkMatch, MarkRule, Network, Route,
    RouteKind, ServiceConfig, ServiceFlags, ServiceKey, Tunnel, TunnelChecksum, TunnelKind,
};
use crate::wire::frame::{ETHERNET_LENGTH, HEADROOM};
use crate::wire::{Frame, Offload};

pub(super) const ETH0: LinkId = LinkId(0);
pub(super) const ETH1: LinkId = LinkId(1);
pub(super) const TUN0: LinkId = LinkId(2);
pub(super) const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

/// A packet that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub egress: Egress,
    pub packet: Vec<u8>,
    pub offload: Offload,
}

/// What became of a frame: what is to be sent, the frame itself first.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub verdict: Verdict,
    pub sent: Vec<Sent>,
}

impl Outcome {
    /// The only packet sent.
    #[track_caller]
    pub fn only(&self) -> &Sent {
        match &self.sent[..] {
            [only] => only,
            sent => panic!("{} packets sent with the verdict {:?}", sent.len(), self.verdict),
        }
    }
}

pub(super) struct World {
    pub engine: Engine,
    pub now: Tick,
    /// Free bytes in front of the Ethernet header.
    pub headroom: usize,
    /// The next frame is looked at before its turn, as a worker does where connections are many: every
    /// other one is, so that both are tested with everything.
    foresees: bool,
}

impl World {
    pub fn new() -> World {
        World::with(1024, HostStack::Absent, 1500)
    }

    pub fn with(maximum_connections: usize, host_stack: HostStack, server_mtu: u32) -> World {
        let mut engine = Engine::new(&Config { maximum_connections, seed: 1, host_stack });
        engine.set_network(Arc::new(network(server_mtu)));
        World { engine, now: Tick(1000), headroom: HEADROOM, foresees: false }
    }

    /// Puts a packet into the engine in an Ethernet frame.
    pub fn handle(&mut self, link: LinkId, packet: &[u8], offload: Offload) -> Outcome {
        let kind: [u8; 2] = if packet.first().is_some_and(|byte| byte >> 4 == 6) { [0x86, 0xdd] } else { [8, 0] };
        let mut frame = [MAC.0, [2, 9, 9, 9, 9, 9]].concat();
        frame.extend(kind);
        frame.extend(packet);
        self.handle_frame(link, &frame, offload)
    }

    /// Puts a packet into the engine in the form that frames of this link have.
    pub fn handle_on(&mut self, link: LinkId, packet: &[u8], offload: Offload) -> Outcome {
        if link == TUN0 { self.handle_frame(link, packet, offload) } else { self.handle(link, packet, offload) }
    }

    /// Puts a plain packet into the engine from the clients' side.
    pub fn request(&mut self, packet: &[u8]) -> Outcome {
        self.handle(ETH0, packet, Offload::NONE)
    }

    /// Puts a plain packet into the engine from the real servers' side.
    pub fn reply(&mut self, packet: &[u8]) -> Outcome {
        self.handle(ETH1, packet, Offload::NONE)
    }

    /// Puts a whole Ethernet frame (or, from tun0, a bare packet) into the engine.
    pub fn handle_frame(&mut self, link: LinkId, bytes: &[u8], offload: Offload) -> Outcome {
        let start = self.headroom;
        let mut buffer = vec![0xa5; start + bytes.len()];
        buffer[start..].copy_from_slice(bytes);
        let end = buffer.len();
        let frame = if link == TUN0 {
            Frame::bare(&mut buffer, start, end, link, offload)
        } else {
            Frame::ethernet(&mut buffer, start, end, link, offload)
        };
        let mut frame = frame.expect("a frame of at least a header");
        let foreseen = if self.foresees { self.engine.foresee(&frame) } else { None };
        self.foresees = !self.foresees;
        self.engine.fetch(&[foreseen]);
        let verdict = self.engine.handle_foreseen(self.now, &mut frame, foreseen.as_ref());
        let mut sent = Vec::new();
        if let Verdict::Transmit(egress) = verdict {
            sent.push(Sent { egress, packet: frame.packet().to_vec(), offload: frame.offload });
        }
        sent.extend(self.drain());
        Outcome { verdict, sent }
    }

    /// Takes what waits in the outbox.
    pub fn drain(&mut self) -> Vec<Sent> {
        let outbox = self.engine.outbox();
        let sent = outbox
            .packets()
            .iter()
            .map(|outbound| Sent {
                egress: outbound.egress,
                packet: outbound.packet().to_vec(),
                offload: outbound.offload,
            })
            .collect();
        outbox.clear();
        sent
    }

    /// Lets time pass, and does what is due on the way.
    pub fn pass(&mut self, milliseconds: u64) {
        let end = self.now + milliseconds;
        while self.now < end {
            self.now = (self.now + 1000).min(end);
            while self.engine.tick(self.now, usize::MAX) {}
        }
    }

    #[track_caller]
    pub fn apply(&mut self, change: Change) {
        self.try_apply(change).expect("the change is acceptable");
    }

    pub fn try_apply(&mut self, change: Change) -> Result<(), Errno> {
        self.engine.apply(self.now, &change)
    }

    #[track_caller]
    pub fn set(&mut self, name: &str, value: i32) {
        self.apply(Change::SetSetting { name: name.to_owned(), value: value.to_string() });
    }

    /// Adds a service with one destination.
    #[track_caller]
    pub fn serve(&mut self, service: ServiceKey, server: (&str, u16), method: ForwardingMethod) {
        self.apply(Change::AddService { key: service, config: service_config(&service) });
        self.add_server(service, server, method);
    }

    #[track_caller]
    pub fn add_server(&mut self, service: ServiceKey, server: (&str, u16), method: ForwardingMethod) {
        let config = DestinationConfig { method, ..destination_config() };
        self.apply(Change::AddDestination { service, key: server_key(server.0, server.1), config });
    }

    /// Packets to `network` carry `mark`.
    #[track_caller]
    pub fn mark(&mut self, mark: u32, network: &str) {
        let matching = MarkMatch { destinations: vec![network.parse().unwrap()], ..MarkMatch::default() };
        self.apply(Change::AddMark { rule: MarkRule { mark, matching } });
    }
}

pub(super) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn service(protocol: Protocol, text: &str, port: u16) -> ServiceKey {
    ServiceKey::Address { protocol, address: address(text), port: Port(port) }
}

pub(super) fn mark_service(mark: u32) -> ServiceKey {
    ServiceKey::Mark { family: Family::V4, mark }
}

pub(super) fn server_key(text: &str, port: u16) -> DestinationKey {
    DestinationKey { address: address(text), port: Port(port) }
}

/// Round robin, not persistent.
pub(super) fn service_config(key: &ServiceKey) -> ServiceConfig {
    let netmask = if key.family() == Family::V4 { u32::MAX } else { 128 };
    ServiceConfig { scheduler: "rr".into(), flags: ServiceFlags(0), timeout: 300, netmask, engine: None }
}

/// Masquerading, weight 1.
pub(super) fn destination_config() -> DestinationConfig {
    DestinationConfig {
        method: ForwardingMethod::Masquerading,
        weight: 1,
        upper_threshold: 0,
        lower_threshold: 0,
        tunnel: Tunnel::default(),
    }
}

pub(super) fn tunneling(kind: TunnelKind, checksum: TunnelChecksum) -> DestinationConfig {
    let port = if kind == TunnelKind::Gue { Port(6080) } else { Port::ANY };
    let tunnel = Tunnel { kind, port, checksum };
    DestinationConfig { method: ForwardingMethod::Tunneling, tunnel, ..destination_config() }
}

/// The network in the picture, with this MTU on the servers' side.
pub(super) fn network(server_mtu: u32) -> Network {
    let link = |id: u32, name: &str, layer, mtu, addresses: &[&str]| Link {
        id: LinkId(id),
        index: id + 1,
        name: name.to_owned(),
        layer,
        mac: MAC,
        virtual_mac: None,
        mtu,
        up: true,
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
    };
    let links = vec![
        link(0, "eth0", LinkLayer::Ethernet, 1500, &["10.0.0.1/24", "fd00::1/64"]),
        link(1, "eth1", LinkLayer::Ethernet, server_mtu, &["172.16.0.1/24", "fd01::1/64"]),
        link(2, "tun0", LinkLayer::Ip, 1500, &["192.0.2.1/24"]),
        link(3, "eth2", LinkLayer::Ethernet, 80, &["172.17.0.1/24", "fd02::1/64"]),
    ];
    let route = |destination: &str, kind, link: u32, gateway: Option<&str>| Route {
        destination: destination.parse().unwrap(),
        kind,
        link: Some(LinkId(link)),
        gateway: gateway.map(address),
        source: None,
        metric: 0,
        mtu: None,
    };
    let routes = vec![
        route("10.0.0.0/8", RouteKind::Unicast, 0, Some("10.0.0.254")),
        route("10.0.0.0/24", RouteKind::Unicast, 0, None),
        route("fd00::/64", RouteKind::Unicast, 0, None),
        route("172.16.0.0/24", RouteKind::Unicast, 1, None),
        route("fd01::/64", RouteKind::Unicast, 1, None),
        route("192.0.2.0/24", RouteKind::Unicast, 2, None),
        route("172.17.0.0/24", RouteKind::Unicast, 3, None),
        route("fd02::/64", RouteKind::Unicast, 3, None),
        route("10.7.0.0/16", RouteKind::Broadcast, 0, None),
        route("10.9.9.9/32", RouteKind::Local, 0, None),
        route("fd99::9/128", RouteKind::Local, 0, None),
    ];
    Network::new(links, routes)
}

/// Length of the Ethernet header in front of each packet.
pub(super) const LINK_LENGTH: usize = ETHERNET_LENGTH;
