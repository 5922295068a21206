//! After warm-up the engine allocates nothing for a packet.
//!
//! A counting allocator stands in front of the system's. Each case is a closure that handles
//! packets again and again; once every buffer has grown as far as it has to, the count must stay
//! where it is.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;

use etherparse::PacketBuilder;
use ulvs::base::{LinkId, Mac, Port, Prefix, Protocol, Tick};
use ulvs::engine::{Config, DropReason, Engine, HostStack, Verdict};
use ulvs::table::network::LinkLayer;
use ulvs::table::{
    Change, DaemonConfig, DaemonRole, DestinationConfig, DestinationKey, ForwardingMethod, Link, Network, Route,
    RouteKind, ServiceConfig, ServiceFlags, ServiceKey, Tunnel, TunnelChecksum, TunnelKind,
};
use ulvs::wire::frame::{ETHERNET_LENGTH, HEADROOM};
use ulvs::wire::offload::{Completion, Segmentation};
use ulvs::wire::{Frame, Offload};

/// The system's allocator, and how often this thread has asked it for memory.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that is coming to its end has no counter any more, and is not measured.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call is handed to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `alloc`'s contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System` with this layout, as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: `pointer` came from `System` with this layout, as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Rounds until every buffer is as large as it gets, and rounds that are measured.
const WARM_UP: u16 = 600;
const MEASURED: u16 = 300;

const V4: Addresses = Addresses { client: "10.0.0.2", vip: "10.9.9.9", server: "172.16.0.11", far: "172.16.0.77" };
const V6: Addresses = Addresses { client: "fd00::2", vip: "fd99::9", server: "fd01::11", far: "fd01::77" };

#[derive(Clone, Copy)]
struct Addresses {
    client: &'static str,
    vip: &'static str,
    server: &'static str,
    /// On the servers' network, but no server.
    far: &'static str,
}

/// Every case is run for both families.
fn both(case: impl Fn(Addresses)) {
    for addresses in [V4, V6] {
        case(addresses);
    }
}

/// Lets the rounds run, then counts what the later ones allocate.
fn assert_allocates_nothing(what: &str, addresses: Addresses, mut round: impl FnMut(u16)) {
    for number in 0..WARM_UP {
        round(number);
    }
    let before = COUNT.with(Cell::get);
    for number in WARM_UP..WARM_UP + MEASURED {
        round(number);
    }
    let allocations = COUNT.with(Cell::get) - before;
    assert_eq!(allocations, 0, "{what}, {}: allocations in {MEASURED} packets", addresses.vip);
}

#[test]
fn the_counter_counts() {
    let before = COUNT.with(Cell::get);
    drop(std::hint::black_box(vec![1u8; 100]));
    assert_eq!(COUNT.with(Cell::get), before + 1);
}

#[test]
fn requests_and_replies_of_known_connections() {
    for method in [ForwardingMethod::Masquerading, ForwardingMethod::DirectRouting, ForwardingMethod::Tunneling] {
        both(|addresses| {
            let mut bench = Bench::new(addresses);
            bench.serve(Protocol::TCP, method, 0);
            let mut syn = Envelope::new(0, &tcp(addresses.client, 40000, addresses.vip, 80, Flag::Syn, 0));
            assert!(matches!(bench.handle(&mut syn), Verdict::Transmit(_)));
            let mut request = Envelope::new(0, &tcp(addresses.client, 40000, addresses.vip, 80, Flag::Ack, 900));
            assert_allocates_nothing(&format!("request by {method:?}"), addresses, |_| {
                assert!(matches!(bench.handle(&mut request), Verdict::Transmit(_)));
            });
            if method == ForwardingMethod::Masquerading {
                let answer = tcp(addresses.server, 8080, addresses.client, 40000, Flag::Ack, 900);
                let mut answer = Envelope::new(1, &answer);
                assert_allocates_nothing("reply", addresses, |_| {
                    assert!(matches!(bench.handle(&mut answer), Verdict::Transmit(_)));
                });
            }
        });
    }
}

#[test]
fn new_connections() {
    both(|addresses| {
        let mut bench = Bench::new(addresses);
        bench.serve(Protocol::TCP, ForwardingMethod::Masquerading, 0);
        let mut syns = envelopes(|port| tcp(addresses.client, port, addresses.vip, 80, Flag::Syn, 0));
        assert_allocates_nothing("new connection", addresses, |number| {
            let verdict = bench.handle(&mut syns[usize::from(number)]);
            assert!(matches!(verdict, Verdict::Transmit(_)));
        });
        assert_eq!(bench.engine.connection_table().len(), usize::from(WARM_UP + MEASURED));
    });
}

#[test]
fn new_connections_of_a_known_client_of_a_persistent_service() {
    both(|addresses| {
        let mut bench = Bench::new(addresses);
        bench.serve(Protocol::TCP, ForwardingMethod::Masquerading, ServiceFlags::PERSISTENT);
        let mut syns = envelopes(|port| tcp(addresses.client, port, addresses.vip, 80, Flag::Syn, 0));
        assert_allocates_nothing("new persistent connection", addresses, |number| {
            let verdict = bench.handle(&mut syns[usize::from(number)]);
            assert!(matches!(verdict, Verdict::Transmit(_)));
        });
        assert_eq!(bench.engine.connection_table().len(), usize::from(WARM_UP + MEASURED) + 1);
    });
}

/// Templates are told of with every packet: messages fill up, wait, leave, and their buffers are used again.
#[test]
fn telling_other_directors() {
    both(|addresses| {
        let mut bench = Bench::new(addresses);
        bench.serve(Protocol::TCP, ForwardingMethod::Masquerading, ServiceFlags::PERSISTENT);
        let config = DaemonConfig {
            role: DaemonRole::Master,
            interface: "eth0".into(),
            sync_id: 0,
            maximum_length: 200,
            group: None,
            port: 8848,
            ttl: 1,
        };
        bench.engine.apply(bench.now, &Change::StartDaemon { config, ports: 2 }).unwrap();
        let mut syn = Envelope::new(0, &tcp(addresses.client, 40000, addresses.vip, 80, Flag::Syn, 0));
        assert!(matches!(bench.handle(&mut syn), Verdict::Transmit(_)));
        let mut request = Envelope::new(0, &tcp(addresses.client, 40000, addresses.vip, 80, Flag::Ack, 900));
        let mut told = 0;
        assert_allocates_nothing("telling", addresses, |_| {
            bench.now = bench.now + 10;
            assert!(matches!(bench.handle(&mut request), Verdict::Transmit(_)));
            while let Some((port, message)) = bench.engine.message_due(bench.now) {
                told += message.len();
                bench.engine.message_sent(port);
            }
        });
        assert!(told > 20_000, "{told} bytes");
    });
}

#[test]
fn connections_that_come_and_go() {
    both(|addresses| {
        let mut bench = Bench::new(addresses);
        bench.serve(Protocol::UDP, ForwardingMethod::Masquerading, 0);
        let mut datagrams = envelopes(|port| udp(addresses.client, port, addresses.vip, 80, 100));
        // A connection of each round expires 300 s later, and its place is taken again.
        assert_allocates_nothing("coming and going", addresses, |number| {
            bench.now = bench.now + 5000;
            while bench.engine.tick(bench.now, 1000) {}
            let verdict = bench.handle(&mut datagrams[usize::from(number)]);
            assert!(matches!(verdict, Verdict::Transmit(_)));
        });
        assert!(bench.engine.connection_table().len() < 70);
    });
}

#[test]
fn datagrams() {
    for flags in [0, ServiceFlags::ONE_PACKET] {
        both(|addresses| {
            let mut bench = Bench::new(addresses);
            bench.serve(Protocol::UDP, ForwardingMethod::Masquerading, flags);
            let mut datagram = Envelope::new(0, &udp(addresses.client, 41000, addresses.vip, 80, 100));
            assert_allocates_nothing(&format!("datagram, flags {flags}"), addresses, |_| {
                assert!(matches!(bench.handle(&mut datagram), Verdict::Transmit(_)));
            });
        });
    }
}

#[test]
fn drops() {
    both(|addresses| {
        let mut bench = Bench::new(addresses);
        let mut cut_short = tcp(addresses.client, 40000, addresses.vip, 80, Flag::Syn, 0);
        cut_short.truncate(ETHERNET_LENGTH + 10);
        let mut cut_short = Envelope::new(0, &cut_short);
        let mut passed = Envelope::new(0, &tcp(addresses.client, 40000, addresses.vip, 80, Flag::Syn, 0));
        passed.bytes[HEADROOM] ^= 0x40;
        passed.pristine[HEADROOM] ^= 0x40;
        assert_allocates_nothing("drop", addresses, |_| {
            assert_eq!(bench.handle(&mut cut_short), Verdict::Drop(DropReason::Truncated));
            assert!(matches!(bench.handle(&mut passed), Verdict::Pass(_)));
        });
    });
}

#[test]
fn errors_resets_and_echo_replies() {
    both(|addresses| {
        let mut bench = Bench::new(addresses);
        bench.serve(Protocol::TCP, ForwardingMethod::Masquerading, 0);
        let mut closed = Envelope::new(0, &tcp(addresses.client, 40000, addresses.vip, 81, Flag::Syn, 0));
        let mut unreachable = Envelope::new(0, &udp(addresses.client, 40000, addresses.vip, 81, 700));
        let mut ping = Envelope::new(0, &echo_request(addresses.client, addresses.vip));
        let mut expired = tcp(addresses.client, 40000, addresses.vip, 80, Flag::Syn, 0);
        expired[ETHERNET_LENGTH + if addresses.vip == V4.vip { 8 } else { 7 }] = 1;
        fix_header(&mut expired);
        let mut expired = Envelope::new(0, &expired);
        assert_allocates_nothing("answer", addresses, |_| {
            for envelope in [&mut closed, &mut unreachable, &mut ping] {
                assert_eq!(bench.handle(envelope), Verdict::Consumed);
                assert_eq!(bench.take_outbox(), 1);
            }
            assert_eq!(bench.handle(&mut expired), Verdict::Drop(DropReason::TimeToLive));
            assert_eq!(bench.take_outbox(), 1);
        });
    });
}

#[test]
fn icmp_errors_of_real_servers() {
    both(|addresses| {
        let mut bench = Bench::new(addresses);
        bench.serve(Protocol::UDP, ForwardingMethod::Masquerading, 0);
        let mut request = Envelope::new(0, &udp(addresses.client, 41000, addresses.vip, 80, 100));
        assert!(matches!(bench.handle(&mut request), Verdict::Transmit(_)));
        let received = udp(addresses.client, 41000, addresses.server, 8080, 100);
        let mut error = Envelope::new(1, &port_unreachable(addresses.server, addresses.client, &received));
        assert_allocates_nothing("error of a real server", addresses, |_| {
            assert!(matches!(bench.handle(&mut error), Verdict::Transmit(_)));
        });
    });
}

#[test]
fn super_frames_pass_whole() {
    both(|addresses| {
        let mut bench = Bench::new(addresses);
        bench.serve(Protocol::TCP, ForwardingMethod::Masquerading, 0);
        let mut syn = Envelope::new(0, &tcp(addresses.client, 40000, addresses.vip, 80, Flag::Syn, 0));
        bench.handle(&mut syn);
        let mut frame = Envelope::new(0, &tcp(addresses.client, 40000, addresses.vip, 80, Flag::Ack, 40_000));
        let (transport, segmentation) = match addresses.vip == V4.vip {
            true => (20, Segmentation::Tcp4 { ecn: false }),
            false => (40, Segmentation::Tcp6 { ecn: false }),
        };
        frame.offload = Offload {
            checksum: Completion::Partial { start: (ETHERNET_LENGTH + transport) as u16, offset: 16 },
            segmentation,
            segment_size: 1400,
            header_length: (ETHERNET_LENGTH + transport + 20) as u16,
        };
        assert_allocates_nothing("super-frame", addresses, |_| {
            assert!(matches!(bench.handle(&mut frame), Verdict::Transmit(_)));
        });
    });
}

#[test]
fn super_frames_cut_for_a_tunnel() {
    both(|addresses| {
        let mut bench = Bench::new(addresses);
        bench.serve(Protocol::TCP, ForwardingMethod::Tunneling, 0);
        let mut syn = Envelope::new(0, &tcp(addresses.client, 40000, addresses.vip, 80, Flag::Syn, 0));
        bench.handle(&mut syn);
        let mut frame = Envelope::new(0, &tcp(addresses.client, 40000, addresses.vip, 80, Flag::Ack, 14_000));
        let segmentation = match addresses.vip == V4.vip {
            true => Segmentation::Tcp4 { ecn: false },
            false => Segmentation::Tcp6 { ecn: false },
        };
        frame.offload = Offload { segmentation, segment_size: 1400, ..Offload::NONE };
        assert_allocates_nothing("super-frame into a tunnel", addresses, |_| {
            assert_eq!(bench.handle(&mut frame), Verdict::Consumed);
            assert_eq!(bench.take_outbox(), 10);
        });
    });
}

/// Tunnels with every kind of header.
const TUNNELS: [Tunnel; 4] = [
    Tunnel { kind: TunnelKind::Gre, port: Port(0), checksum: TunnelChecksum::None },
    Tunnel { kind: TunnelKind::Gre, port: Port(0), checksum: TunnelChecksum::Checksum },
    Tunnel { kind: TunnelKind::Gue, port: Port(6080), checksum: TunnelChecksum::None },
    Tunnel { kind: TunnelKind::Gue, port: Port(6080), checksum: TunnelChecksum::Checksum },
];

#[test]
fn tunnels_of_every_kind() {
    for tunnel in TUNNELS {
        both(|addresses| {
            let mut bench = Bench::new(addresses);
            bench.serve_by(Protocol::UDP, ForwardingMethod::Tunneling, 0, tunnel);
            let mut request = Envelope::new(0, &udp(addresses.client, 41000, addresses.vip, 80, 900));
            assert_allocates_nothing(&format!("request by {tunnel:?}"), addresses, |_| {
                assert!(matches!(bench.handle(&mut request), Verdict::Transmit(_)));
            });
        });
    }
}

#[test]
fn tunnel_packets_that_leave_in_fragments() {
    let ipip = Tunnel::default();
    for tunnel in TUNNELS.into_iter().chain([ipip]) {
        let mut bench = Bench::new(V4);
        bench.serve_by(Protocol::UDP, ForwardingMethod::Tunneling, 0, tunnel);
        bench.engine.apply(bench.now, &Change::SetSetting { name: "pmtu_disc".into(), value: "0".into() }).unwrap();
        let mut request = Envelope::new(0, &udp(V4.client, 41000, V4.vip, 80, 1470));
        assert_allocates_nothing(&format!("fragments of {tunnel:?}"), V4, |_| {
            assert_eq!(bench.handle(&mut request), Verdict::Consumed);
            assert_eq!(bench.take_outbox(), 2);
        });
    }
}

#[test]
fn super_frames_whose_segments_leave_in_fragments() {
    for tunnel in TUNNELS {
        let mut bench = Bench::new(V4);
        bench.serve_by(Protocol::TCP, ForwardingMethod::Tunneling, 0, tunnel);
        bench.engine.apply(bench.now, &Change::SetSetting { name: "pmtu_disc".into(), value: "0".into() }).unwrap();
        bench.handle(&mut Envelope::new(0, &tcp(V4.client, 40000, V4.vip, 80, Flag::Syn, 0)));
        let mut frame = Envelope::new(0, &tcp(V4.client, 40000, V4.vip, 80, Flag::Ack, 14_600));
        frame.offload =
            Offload { segmentation: Segmentation::Tcp4 { ecn: false }, segment_size: 1460, ..Offload::NONE };
        assert_allocates_nothing(&format!("segments in fragments of {tunnel:?}"), V4, |_| {
            assert_eq!(bench.handle(&mut frame), Verdict::Consumed);
            assert_eq!(bench.take_outbox(), 20);
        });
    }
}

#[test]
fn echo_replies_longer_than_the_link_allows() {
    both(|addresses| {
        let mut bench = Bench::new(addresses);
        bench.serve(Protocol::TCP, ForwardingMethod::Masquerading, 0);
        let mut ping = Envelope::new(0, &long_echo_request(addresses.client, addresses.vip, 4000));
        assert_allocates_nothing("long echo reply", addresses, |_| {
            assert_eq!(bench.handle(&mut ping), Verdict::Consumed);
            assert_eq!(bench.take_outbox(), 3);
        });
    });
}

#[test]
fn packets_that_are_merely_forwarded() {
    both(|addresses| {
        let mut bench = Bench::new(addresses);
        bench.serve(Protocol::TCP, ForwardingMethod::Masquerading, 0);
        let mut transit = Envelope::new(0, &tcp(addresses.client, 40000, addresses.far, 80, Flag::Syn, 0));
        assert_allocates_nothing("transit", addresses, |_| {
            assert!(matches!(bench.handle(&mut transit), Verdict::Transmit(_)));
        });
    });
}

/// An engine between clients on eth0 and servers on eth1.
struct Bench {
    engine: Engine,
    addresses: Addresses,
    now: Tick,
}

impl Bench {
    fn new(addresses: Addresses) -> Bench {
        let config = Config { maximum_connections: 4096, seed: 1, host_stack: HostStack::Absent };
        let mut engine = Engine::new(&config);
        engine.set_network(Arc::new(network()));
        Bench { engine, addresses, now: Tick(1000) }
    }

    /// Adds a service on port 80 with a server on port 8080 (or 80, where ports are not translated).
    fn serve(&mut self, protocol: Protocol, method: ForwardingMethod, flags: u32) {
        self.serve_by(protocol, method, flags, Tunnel::default());
    }

    /// The same with a tunnel of some kind.
    fn serve_by(&mut self, protocol: Protocol, method: ForwardingMethod, flags: u32, tunnel: Tunnel) {
        let service = ServiceKey::Address { protocol, address: address(self.addresses.vip), port: Port(80) };
        let netmask = if self.addresses.vip == V4.vip { u32::MAX } else { 128 };
        let flags = ServiceFlags(flags);
        let config = ServiceConfig { scheduler: "wlc".into(), flags, timeout: 300, netmask, engine: None };
        let port = if method == ForwardingMethod::Masquerading { 8080 } else { 80 };
        let key = DestinationKey { address: address(self.addresses.server), port: Port(port) };
        let destination = DestinationConfig { method, weight: 1, upper_threshold: 0, lower_threshold: 0, tunnel };
        for change in
            [Change::AddService { key: service, config }, Change::AddDestination { service, key, config: destination }]
        {
            self.engine.apply(self.now, &change).unwrap();
        }
    }

    fn handle(&mut self, envelope: &mut Envelope) -> Verdict {
        envelope.bytes.copy_from_slice(&envelope.pristine);
        let end = envelope.bytes.len();
        let mut frame =
            Frame::ethernet(&mut envelope.bytes, HEADROOM, end, LinkId(envelope.link), envelope.offload).unwrap();
        self.engine.handle(self.now, &mut frame)
    }

    /// How many packets waited to be sent.
    fn take_outbox(&mut self) -> usize {
        let waiting = self.engine.outbox().packets().len();
        self.engine.outbox().clear();
        waiting
    }
}

/// A frame that is handled more than once: each time as it was.
struct Envelope {
    link: u32,
    pristine: Vec<u8>,
    bytes: Vec<u8>,
    offload: Offload,
}

impl Envelope {
    fn new(link: u32, frame: &[u8]) -> Envelope {
        let mut pristine = vec![0xa5; HEADROOM];
        pristine.extend(frame);
        Envelope { link, bytes: pristine.clone(), pristine, offload: Offload::NONE }
    }
}

/// One frame for each round, from a client port of its own.
fn envelopes(frame: impl Fn(u16) -> Vec<u8>) -> Vec<Envelope> {
    (0..WARM_UP + MEASURED).map(|number| Envelope::new(0, &frame(20_000 + number))).collect()
}

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER: [u8; 6] = [2, 9, 9, 9, 9, 9];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flag {
    Syn,
    Ack,
}

fn tcp(from: &str, from_port: u16, to: &str, to_port: u16, flag: Flag, length: usize) -> Vec<u8> {
    let builder = headers(from, to).tcp(from_port, to_port, 7, 500);
    let builder = if flag == Flag::Syn { builder.syn() } else { builder.ack(9) };
    let mut frame = Vec::new();
    builder.write(&mut frame, &vec![7; length]).unwrap();
    frame
}

fn udp(from: &str, from_port: u16, to: &str, to_port: u16, length: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    headers(from, to).udp(from_port, to_port).write(&mut frame, &vec![7; length]).unwrap();
    frame
}

fn echo_request(from: &str, to: &str) -> Vec<u8> {
    long_echo_request(from, to, 4)
}

fn long_echo_request(from: &str, to: &str, length: usize) -> Vec<u8> {
    let (mut frame, data) = (Vec::new(), vec![7; length]);
    match address(to) {
        IpAddr::V4(_) => headers(from, to).icmpv4_echo_request(1, 1).write(&mut frame, &data).unwrap(),
        IpAddr::V6(_) => headers(from, to).icmpv6_echo_request(1, 1).write(&mut frame, &data).unwrap(),
    }
    frame
}

/// The error that `from` sends about the packet in the frame `about`.
fn port_unreachable(from: &str, to: &str, about: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let quoted = &about[ETHERNET_LENGTH..];
    match address(to) {
        IpAddr::V4(_) => headers(from, to).icmpv4_raw(3, 3, [0; 4]).write(&mut frame, quoted).unwrap(),
        IpAddr::V6(_) => headers(from, to).icmpv6_raw(1, 4, [0; 4]).write(&mut frame, quoted).unwrap(),
    }
    frame
}

fn headers(from: &str, to: &str) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    let ethernet = PacketBuilder::ethernet2(PEER, MAC);
    match (address(from), address(to)) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), 64),
        _ => unreachable!("both ends are of one family"),
    }
}

/// Makes an IPv4 header's checksum right after an edit.
fn fix_header(frame: &mut [u8]) {
    if frame[12..14] != [8, 0] {
        return;
    }
    let (mut header, _) = etherparse::Ipv4Header::from_slice(&frame[ETHERNET_LENGTH..]).unwrap();
    header.header_checksum = header.calc_header_checksum();
    frame[ETHERNET_LENGTH..ETHERNET_LENGTH + 20].copy_from_slice(&header.to_bytes());
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn network() -> Network {
    let link = |id: u32, addresses: &[&str]| Link {
        id: LinkId(id),
        index: id + 1,
        name: format!("eth{id}"),
        layer: LinkLayer::Ethernet,
        mac: Mac(MAC),
        virtual_mac: None,
        mtu: 1500,
        up: true,
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
    };
    let route = |destination: &str, kind, link| Route {
        destination: destination.parse::<Prefix>().unwrap(),
        kind,
        link: Some(LinkId(link)),
        gateway: None,
        source: None,
        metric: 0,
        mtu: None,
    };
    Network::new(
        vec![link(0, &["10.0.0.1/24", "fd00::1/64"]), link(1, &["172.16.0.1/24", "fd01::1/64"])],
        vec![
            route("10.0.0.0/24", RouteKind::Unicast, 0),
            route("fd00::/64", RouteKind::Unicast, 0),
            route("172.16.0.0/24", RouteKind::Unicast, 1),
            route("fd01::/64", RouteKind::Unicast, 1),
            route("10.9.9.9/32", RouteKind::Local, 0),
            route("fd99::9/128", RouteKind::Local, 0),
        ],
    )
}
