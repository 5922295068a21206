//! An engine with services and connections, and the packets that it is measured with.
//!
//! Packets are made from one template a case, a batch at a time: only the client's address and port
//! change from one to the next, and the IPv4 header's checksum with them. Handling a batch is what a
//! worker does with the frames that lie in a ring: the connections of all are fetched, then each
//! packet is handled. That alone is measured, not the making.

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;

use etherparse::PacketBuilder;
use ulvs::base::{LinkId, Mac, Port, Prefix, Protocol, Tick};
use ulvs::engine::{Config, Engine, Foreseen, HostStack, Verdict};
use ulvs::host::prefer_huge_pages;
use ulvs::table::network::LinkLayer;
use ulvs::table::{
    Change, DestinationConfig, DestinationKey, ForwardingMethod, Link, Network, Route, RouteKind, ServiceConfig,
    ServiceFlags, ServiceKey, Tunnel,
};
use ulvs::wire::frame::{ETHERNET_LENGTH, HEADROOM};
use ulvs::wire::{Frame, Offload};

const DIRECTOR: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER: [u8; 6] = [2, 9, 9, 9, 9, 9];
const VIP: [&str; 2] = ["10.9.9.9", "fd99::9"];
/// Client ports that one address is used with.
const PORTS: u32 = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A datagram of a client.
    Datagram,
    /// A first segment of a client.
    Syn,
    /// A real server's answer, through NAT.
    Reply,
}

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub name: &'static str,
    pub ipv6: bool,
    pub method: ForwardingMethod,
    pub scheduler: &'static str,
    pub servers: u16,
    /// Connections in the table beforehand; 0 where each packet begins one.
    pub connections: u32,
    pub kind: Kind,
}

const KNOWN: Case = Case {
    name: "",
    ipv6: false,
    method: ForwardingMethod::Masquerading,
    scheduler: "wlc",
    servers: 4,
    connections: 10_000,
    kind: Kind::Datagram,
};

pub const CASES: &[Case] = &[
    Case { name: "nat-10k", ..KNOWN },
    Case { name: "nat-1m", connections: 1_000_000, ..KNOWN },
    Case { name: "nat-10m", connections: 10_000_000, ..KNOWN },
    Case { name: "reply-10k", kind: Kind::Reply, servers: 1, ..KNOWN },
    Case { name: "dr-10k", method: ForwardingMethod::DirectRouting, ..KNOWN },
    Case { name: "tunnel-10k", method: ForwardingMethod::Tunneling, ..KNOWN },
    Case { name: "nat-ipv6-10k", ipv6: true, ..KNOWN },
    Case { name: "dr-ipv6-10k", ipv6: true, method: ForwardingMethod::DirectRouting, ..KNOWN },
    Case { name: "new-wlc-100", connections: 0, servers: 100, kind: Kind::Syn, ..KNOWN },
    Case { name: "new-rr-100", connections: 0, servers: 100, scheduler: "rr", kind: Kind::Syn, ..KNOWN },
    Case { name: "new-mh-100", connections: 0, servers: 100, scheduler: "mh", kind: Kind::Syn, ..KNOWN },
];

pub struct World {
    pub engine: Engine,
    pub now: Tick,
    case: Case,
    template: Vec<u8>,
    buffers: Vec<Vec<u8>>,
    foreseen: Vec<Option<Foreseen>>,
    link: LinkId,
}

/// Packets that are handled together, as many as a worker takes at once.
pub const BATCH: usize = 64;

impl World {
    /// The engine of `case`, with its connections made. `room` more may be made.
    pub fn new(case: Case, room: u32) -> World {
        let maximum_connections = (case.connections + room).max(1) as usize;
        let config = Config { maximum_connections, seed: 7, host_stack: HostStack::Beside };
        let mut engine = Engine::new(&config);
        engine.memory().into_iter().for_each(prefer_huge_pages);
        engine.set_network(Arc::new(network()));
        let mut world = World {
            engine,
            now: Tick::ZERO,
            case,
            template: Vec::new(),
            buffers: vec![vec![0; 2048]; BATCH],
            foreseen: Vec::with_capacity(BATCH),
            link: LinkId(0),
        };
        world.configure();
        world.template = world.frame(if case.kind == Kind::Syn { Kind::Syn } else { Kind::Datagram });
        for flow in 0..case.connections {
            assert!(matches!(world.handle(flow), Verdict::Transmit(_)), "connection {flow} of {}", case.name);
        }
        if case.kind == Kind::Reply {
            world.template = world.frame(Kind::Reply);
            world.link = LinkId(1);
        }
        world
    }

    fn vip(&self) -> IpAddr {
        VIP[usize::from(self.case.ipv6)].parse().expect("an address")
    }

    fn server(&self, number: u16) -> IpAddr {
        let text = if self.case.ipv6 {
            format!("fd01::{:x}", 0x100 + number)
        } else {
            format!("172.16.{}.{}", 1 + number / 200, 1 + number % 200)
        };
        text.parse().expect("an address")
    }

    fn configure(&mut self) {
        let protocol = if self.case.kind == Kind::Syn { Protocol::TCP } else { Protocol::UDP };
        let key = ServiceKey::Address { protocol, address: self.vip(), port: Port(80) };
        let config = ServiceConfig {
            scheduler: self.case.scheduler.to_owned(),
            flags: ServiceFlags(0),
            timeout: 0,
            netmask: if self.case.ipv6 { 128 } else { u32::MAX },
            engine: None,
        };
        self.apply(Change::AddService { key, config });
        for number in 0..self.case.servers {
            let destination = DestinationKey { address: self.server(number), port: Port(80) };
            let config = DestinationConfig {
                method: self.case.method,
                weight: i64::from(1 + number % 3),
                upper_threshold: 0,
                lower_threshold: 0,
                tunnel: Tunnel::default(),
            };
            self.apply(Change::AddDestination { service: key, key: destination, config });
        }
    }

    fn apply(&mut self, change: Change) {
        self.engine.apply(self.now, &change).expect("a change that is possible");
    }

    /// A frame of flow 0.
    fn frame(&self, kind: Kind) -> Vec<u8> {
        let client: IpAddr = if self.case.ipv6 { "fd00::2".parse() } else { "10.0.0.0".parse() }.expect("an address");
        let (from, to) = if kind == Kind::Reply { (self.server(0), client) } else { (client, self.vip()) };
        let ethernet = PacketBuilder::ethernet2(PEER, DIRECTOR);
        let headers = match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), 64),
            (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), 64),
            _ => unreachable!("one family a case"),
        };
        let mut frame = Vec::new();
        let written = match kind {
            Kind::Datagram => headers.udp(20_000, 80).write(&mut frame, &[7; 18]),
            Kind::Reply => headers.udp(80, 20_000).write(&mut frame, &[7; 18]),
            Kind::Syn => headers.tcp(20_000, 80, 7, 500).syn().write(&mut frame, &[]),
        };
        written.expect("writing to memory");
        frame
    }

    /// Handles a packet of flow number `flow`.
    fn handle(&mut self, flow: u32) -> Verdict {
        self.write(0, flow);
        let mut frame = frame(&mut self.buffers[0], &self.template, self.link);
        self.engine.handle(self.now, &mut frame)
    }

    /// Makes a batch of packets, of a flow each.
    pub fn make_batch(&mut self, flows: [u32; BATCH]) {
        for (place, flow) in flows.into_iter().enumerate() {
            self.write(place, flow);
        }
    }

    /// Handles the batch that was made, as a worker does: what is measured. `bench/instructions` knows
    /// it by its name.
    #[inline(never)]
    pub fn handle_batch(&mut self) {
        self.foreseen.clear();
        if self.engine.is_worth_fetching() {
            for buffer in &mut self.buffers {
                self.foreseen.push(self.engine.foresee(&frame(buffer, &self.template, self.link)));
            }
            self.engine.fetch(&self.foreseen);
        }
        for (place, buffer) in self.buffers.iter_mut().enumerate() {
            let mut frame = frame(buffer, &self.template, self.link);
            let foreseen = self.foreseen.get(place).and_then(Option::as_ref);
            black_box(self.engine.handle_foreseen(self.now, &mut frame, foreseen));
        }
    }

    /// Lets every connection expire.
    #[allow(dead_code)] // Of those who share this module, not all begin connections by the million.
    pub fn expire(&mut self) {
        self.now = self.now + 3_600_000;
        while self.engine.tick(self.now, usize::MAX) {}
        assert!(self.engine.connection_table().is_empty(), "connections outlive an hour");
    }

    /// Writes a packet of flow number `flow` into a buffer.
    #[inline]
    fn write(&mut self, place: usize, flow: u32) {
        let end = HEADROOM + self.template.len();
        let (address_at, port_at) = self.client_place();
        let buffer = &mut self.buffers[place];
        buffer[HEADROOM..end].copy_from_slice(&self.template);
        let (address, port) = (flow / PORTS, 20_000 + (flow % PORTS) as u16);
        let client = &mut buffer[HEADROOM + ETHERNET_LENGTH + address_at..][..4];
        if self.case.ipv6 {
            client.copy_from_slice(&address.to_be_bytes());
        } else {
            let (high, low) = ((address >> 16) as u16 & 0xff, address as u16);
            client[..2].copy_from_slice(&(0x0a00 + high).to_be_bytes());
            client[2..].copy_from_slice(&low.to_be_bytes());
            fix_checksum(&mut buffer[HEADROOM + ETHERNET_LENGTH..], high, low);
        }
        buffer[HEADROOM + ETHERNET_LENGTH + port_at..][..2].copy_from_slice(&port.to_be_bytes());
    }

    /// Where the client's address (its last four bytes) and port lie in a packet.
    fn client_place(&self) -> (usize, usize) {
        match (self.case.ipv6, self.link.0) {
            (false, 0) => (12, 20),
            (false, _) => (16, 22),
            (true, 0) => (8 + 12, 40),
            (true, _) => (24 + 12, 42),
        }
    }
}

#[inline]
fn frame<'a>(buffer: &'a mut [u8], template: &[u8], link: LinkId) -> Frame<'a> {
    Frame::ethernet(buffer, HEADROOM, HEADROOM + template.len(), link, Offload::NONE).expect("a frame")
}

/// Brings the header checksum of a template of client 10.0.0.0 in line with 10.high.low.
#[inline]
fn fix_checksum(packet: &mut [u8], high: u16, low: u16) {
    let old = u32::from(u16::from_be_bytes([packet[10], packet[11]]));
    // RFC 1624: the complement of the checksum grows by what the words grew.
    let mut sum = (!old & 0xffff) + u32::from(high) + u32::from(low);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    packet[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// Flows in an order without pattern, each as likely as the other.
pub struct Shuffle(u64);

impl Shuffle {
    pub fn new() -> Shuffle {
        Shuffle(0x9e37_79b9_7f4a_7c15)
    }

    #[inline]
    pub fn next(&mut self, flows: u32) -> u32 {
        // Xorshift; the upper half scaled to the range.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (((self.0 >> 32) * u64::from(flows)) >> 32) as u32
    }
}

fn network() -> Network {
    let link = |id: u32, addresses: &[&str]| Link {
        id: LinkId(id),
        index: id + 1,
        name: format!("eth{id}"),
        layer: LinkLayer::Ethernet,
        mac: Mac(DIRECTOR),
        virtual_mac: None,
        mtu: 1500,
        up: true,
        addresses: addresses.iter().map(|text| text.parse().expect("a prefix")).collect(),
    };
    let route = |destination: &str, link| Route {
        destination: destination.parse::<Prefix>().expect("a prefix"),
        kind: RouteKind::Unicast,
        link: Some(LinkId(link)),
        gateway: None,
        source: None,
        metric: 0,
        mtu: None,
    };
    let through = |destination: &str, gateway: &str, link| Route {
        gateway: Some(gateway.parse().expect("an address")),
        ..route(destination, link)
    };
    Network::new(
        vec![link(0, &["10.255.0.1/16", "fd00:1::1/64"]), link(1, &["172.16.0.1/16", "fd01::1/64"])],
        vec![
            route("10.255.0.0/16", 0),
            route("fd00:1::/64", 0),
            through("0.0.0.0/0", "10.255.0.254", 0),
            through("::/0", "fd00:1::fe", 0),
            route("172.16.0.0/16", 1),
            route("fd01::/64", 1),
        ],
    )
}
