//! The program against the Rust function, and both against what they are for.

use std::collections::BTreeSet;
use std::net::IpAddr;

use etherparse::{IcmpEchoHeader, PacketBuilder};
use proptest::prelude::*;

use super::super::interpreter::{Packet, run};
use super::super::program::LIMIT;
use super::*;
use crate::base::random::Random;

const SEED: u32 = 0x5eed_0001;

fn hash(workers: u32) -> FlowHash {
    FlowHash { workers: NonZeroU32::new(workers).unwrap(), network: ClientNetwork::HOST, seed: SEED }
}

fn steering(virtual_addresses: &[&str]) -> Steering {
    let prefixes: Vec<Prefix> = virtual_addresses.iter().map(|text| text.parse().unwrap()).collect();
    Steering::new(hash(7), &prefixes)
}

fn chosen(program: &Program, packet: &[u8]) -> usize {
    let protocol = if packet.first().is_some_and(|first| first >> 4 == 6) { 0x86dd } else { 0x0800 };
    run(program, &Packet { network: packet, data: packet, protocol, ..Packet::default() }) as usize
}

/// What the kernel would choose, which must be what the Rust function says.
fn worker(steering: &Steering, packet: &[u8]) -> usize {
    let chosen = chosen(&steering.program(), packet);
    assert_eq!(chosen, steering.worker_of_packet(packet), "{packet:02x?}");
    chosen
}

/// One end of a flow.
type Side = (IpAddr, u16);

fn ends(source: IpAddr, destination: IpAddr) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => PacketBuilder::ipv4(source.octets(), destination.octets(), 64),
        (IpAddr::V6(source), IpAddr::V6(destination)) => PacketBuilder::ipv6(source.octets(), destination.octets(), 64),
        mixed => panic!("{mixed:?}"),
    }
}

fn tcp(source: Side, destination: Side) -> Vec<u8> {
    let mut packet = Vec::new();
    ends(source.0, destination.0).tcp(source.1, destination.1, 1, 100).write(&mut packet, &[0; 8]).unwrap();
    packet
}

fn udp(source: Side, destination: Side) -> Vec<u8> {
    let mut packet = Vec::new();
    ends(source.0, destination.0).udp(source.1, destination.1).write(&mut packet, &[0; 8]).unwrap();
    packet
}

/// An error of `kind` from `router` about `quoted`, to whoever sent that.
fn error(router: IpAddr, kind: u8, quoted: &[u8]) -> Vec<u8> {
    let (address, length) = if quoted[0] >> 4 == 4 { (12, 4) } else { (8, 16) };
    let family = if length == 4 { Family::V4 } else { Family::V6 };
    let to = Address::read(family, &quoted[address..]).unwrap().to_ip(family);
    let mut packet = Vec::new();
    let echo = IcmpEchoHeader { id: 0, seq: 0 };
    // Built as an echo, then made into what it is: only the type matters here.
    match family {
        Family::V4 => ends(router, to).icmpv4_echo_request(echo.id, echo.seq).write(&mut packet, quoted).unwrap(),
        Family::V6 => ends(router, to).icmpv6_echo_request(echo.id, echo.seq).write(&mut packet, quoted).unwrap(),
    }
    let at = if family == Family::V4 { 20 } else { 40 };
    packet[at] = kind;
    packet
}

/// Lengthens the IPv4 header at the packet's beginning by `words` words of options.
fn with_options(packet: &[u8], words: usize) -> Vec<u8> {
    let mut longer = packet[..20].to_vec();
    longer[0] = 0x45 + words as u8;
    longer.extend(std::iter::repeat_n(1, 4 * words));
    longer.extend(&packet[20..]);
    longer
}

#[derive(Debug)]
struct Flow {
    client: Side,
    service: Side,
    server: Side,
    router: IpAddr,
}

/// Flows of one family whose clients are anywhere.
fn flow(v6: bool) -> impl Strategy<Value = Flow> {
    (any::<u128>(), any::<u16>(), any::<u16>()).prop_filter_map(
        "the client is a virtual address",
        move |(number, port, other)| {
            let parse = |text: &str| -> IpAddr { text.parse().unwrap() };
            let (client, service, server, router) = if v6 {
                (IpAddr::from(number.to_be_bytes()), parse("fd00:1::80"), parse("fd00:2::5"), parse("fd00:3::1"))
            } else {
                let [a, b, c, d, ..] = number.to_be_bytes();
                (IpAddr::from([a, b, c, d]), parse("10.1.0.80"), parse("10.2.0.5"), parse("10.3.0.1"))
            };
            let flow = Flow { client: (client, port), service: (service, 80), server: (server, other), router };
            (client != service).then_some(flow)
        },
    )
}

const VIRTUAL: &[&str] = &["10.1.0.80", "10.1.0.81", "192.0.2.0/24", "fd00:1::80", "fd00:1::81", "fd00:9::/64"];

/// All packets of a NATed flow that cross the director.
fn check_flow(flow: &Flow) -> Result<(), TestCaseError> {
    let steering = steering(VIRTUAL);
    let requests_alone = steering.assemble(Client::Source).unwrap();
    let family = Family::of(&flow.client.0);
    let owner = hash(7).worker_of(family, flow.client.0.into());
    let error_kinds: &[u8] = if family == Family::V4 { &[3, 4, 11, 12] } else { &[1, 2, 3, 4] };

    for build in [tcp, udp] {
        let mut requests = vec![build(flow.client, flow.service)];
        let mut replies = vec![build(flow.server, flow.client)];
        for &kind in error_kinds {
            // A router toward the client complains about what the director sent as the service; one toward the
            // server about what it sent on for the client.
            requests.push(error(flow.router, kind, &build(flow.service, flow.client)));
            replies.push(error(flow.router, kind, &build(flow.client, flow.server)));
        }
        if family == Family::V4 {
            for packets in [&mut requests, &mut replies] {
                let longer: Vec<_> = (1..=10).map(|words| with_options(&packets[0], words)).collect();
                packets.extend(longer);
            }
            let quoted = with_options(&build(flow.service, flow.client), 3);
            requests.push(with_options(&error(flow.router, 3, &quoted), 2));
        }
        for packet in &requests {
            prop_assert_eq!(chosen(&requests_alone, packet), owner);
            prop_assert_eq!(worker(&steering, packet), owner);
        }
        for packet in &replies {
            prop_assert_eq!(worker(&steering, packet), owner);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn both_directions_of_a_flow_meet(v4 in flow(false), v6 in flow(true)) {
        for flow in [v4, v6] {
            check_flow(&flow)?;
        }
    }

    #[test]
    fn program_and_function_agree_on_whatever_follows_a_header(
        mut packet in prop::collection::vec(any::<u8>(), 40..140),
        v6 in any::<bool>(),
        protocol in prop::sample::select(vec![1u8, 6, 17, 44, 58, 132, 250]),
        kind in prop::sample::select(vec![0u8, 1, 3, 4, 11, 133, 137, 138]),
        whole in any::<bool>(),
    ) {
        packet[0] = packet[0] & 0xf | if v6 { 0x60 } else { 0x40 };
        let mut set = |at: usize, value: u8| if let Some(byte) = packet.get_mut(at) { *byte = value };
        set(if v6 { 6 } else { 9 }, protocol);
        set(if v6 { 40 } else { 20 }, kind);
        if whole && !v6 {
            set(6, 0);
            set(7, 0);
        }
        // Half of all destinations are virtual ones.
        let prefixes = ["128.0.0.0/1", "8000::/1"].map(|text| text.parse().unwrap());
        worker(&Steering::new(hash(5), &prefixes), &packet);
    }
}

#[test]
fn fragments_of_a_packet_meet() {
    let steering = steering(VIRTUAL);
    let whole = udp(([10, 0, 0, 9].into(), 4000), ([10, 1, 0, 80].into(), 53));
    let mut first = whole.clone();
    first[6] = 0x20;
    let mut last = whole[..20].to_vec();
    last.extend([0xee; 64]);
    last[7] = 185;
    let by_address = steering.hash.worker_of(Family::V4, Address::v4([10, 0, 0, 9]));
    assert_eq!(worker(&steering, &first), by_address);
    assert_eq!(worker(&steering, &last), by_address);
}

#[test]
fn neighbours_and_strange_packets_go_to_the_first_worker() {
    let steering = steering(VIRTUAL);
    let program = steering.program();
    let arp = [0xff; 46];
    assert_eq!(run(&program, &Packet { network: &arp, protocol: 0x0806, ..Packet::default() }), 0);
    let from = "fe80::1".parse().unwrap();
    for kind in 133..=137 {
        let mut solicitation = Vec::new();
        ends(from, "ff02::1:ff00:80".parse().unwrap()).icmpv6_echo_request(0, 0).write(&mut solicitation, &[]).unwrap();
        solicitation[40] = kind;
        assert_eq!(worker(&steering, &solicitation), 0);
    }
    assert_eq!(worker(&steering, &[0x45; 10]), 0);
    assert_eq!(steering.worker_of_packet(&[]), 0);
}

#[test]
fn flows_spread_over_the_workers() {
    for workers in [2, 3, 4, 7, 16] {
        let hash = hash(workers);
        let mut counts = vec![0; workers as usize];
        for client in 0..8000u16 {
            let [high, low] = client.to_be_bytes();
            counts[hash.worker_of(Family::V4, Address::v4([10, 0, high, low]))] += 1;
        }
        let fair = 8000 / workers as usize;
        assert!(counts.iter().all(|&count| count > fair * 8 / 10 && count < fair * 12 / 10), "{workers}: {counts:?}");
    }
}

#[test]
fn clients_of_a_network_meet() {
    let networks =
        [(24, 0xffff_ff00, 64), (20, 0xffff_f000, 48), (0, 0, 0), (32, u32::MAX, 128), (30, 0xffff_fffc, 97)];
    for (length, v4, v6) in networks {
        let hash = FlowHash { network: ClientNetwork { v4, v6 }, ..hash(16) };
        let prefixes: Vec<Prefix> = VIRTUAL.iter().map(|text| text.parse().unwrap()).collect();
        let steering = Steering::new(hash, &prefixes);
        let mut random = Random::new(u64::from(v6));
        for vip in prefixes.iter().map(|prefix| prefix.address) {
            let (family, kept) = if vip.is_ipv4() { (Family::V4, length) } else { (Family::V6, v6) };
            let mut chosen = BTreeSet::new();
            for _ in 0..100 {
                let bytes: [u8; 16] = std::array::from_fn(|_| random.draw() as u8);
                let address =
                    if vip.is_ipv4() { Address::v4([10, bytes[1], bytes[2], bytes[3]]) } else { Address::v6(bytes) };
                let network = address.masked(family, kept);
                let [client, other] = [address, network].map(|address| address.to_ip(family));
                let workers = [client, other].map(|client| worker(&steering, &tcp((client, 999), (vip, 80))));
                assert_eq!(workers[0], workers[1], "{client} and {other}");
                let server = if vip.is_ipv4() { "172.16.0.9" } else { "fd00:2::9" }.parse().unwrap();
                assert_eq!(worker(&steering, &tcp((server, 80), (client, 999))), workers[0], "a reply to {client}");
                chosen.insert(workers[0]);
            }
            assert!(if kept == 0 { chosen.len() == 1 } else { chosen.len() > 8 }, "/{kept}: {chosen:?}");
        }
    }
}

/// Sorted by how much they have in common: nothing, the network, all but the last bits.
fn many_prefixes(count: usize, make: impl Fn(u64) -> String) -> Vec<Prefix> {
    let mut random = Random::new(1);
    let mut texts = BTreeSet::new();
    while texts.len() < count {
        texts.insert(make(random.draw()));
    }
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn the_promised_number_of_prefixes_fits() {
    let hash = hash(4);
    let length = |prefixes: &[Prefix]| {
        let steering = Steering::new(hash, prefixes);
        assert!(steering.program().length() <= LIMIT);
        steering.assemble(Client::ByDestination).ok().map(|program| program.length())
    };
    let apart = |n: u64| {
        format!(
            "{:x}:{:x}:{:x}:{:x}:{:x}:{:x}:1:2",
            0x2000 + (n & 0xfff),
            n >> 48,
            n >> 32 & 0xffff,
            n >> 16 & 0xffff,
            n & 0xffff,
            n >> 20 & 0xffff
        )
    };
    let narrow = |n: u64| format!("{}/{}", apart(n), 97 + n % 31);
    let near = |n: u64| format!("2001:db8::{:x}", n & 0xffff);
    let v4 = |n: u64| format!("{}.{}.{}.{}", n & 0x7f | 0x40, n >> 8 & 0xff, n >> 16 & 0xff, n >> 24 & 0xff);
    assert!(length(&many_prefixes(CERTAIN_PREFIXES, apart)).is_some());
    assert!(length(&many_prefixes(CERTAIN_PREFIXES, narrow)).is_some());
    assert!(length(&many_prefixes(3 * CERTAIN_PREFIXES, near)).is_some());
    assert!(length(&many_prefixes(3 * CERTAIN_PREFIXES, v4)).is_some());
    // Far too many: requests are still steered.
    let prefixes = many_prefixes(4000, v4);
    assert_eq!(length(&prefixes), None);
    let steering = Steering::new(hash, &prefixes);
    let program = steering.program();
    let request = tcp(([10, 9, 9, 9].into(), 999), (prefixes[7].address, 80));
    let chosen = run(&program, &Packet { network: &request, protocol: 0x0800, ..Packet::default() });
    assert_eq!(chosen as usize, steering.worker_of_packet(&request));
    // Replies come to some worker; whose they are is said all the same.
    let reply = tcp(([172, 16, 0, 9].into(), 80), ([10, 9, 9, 9].into(), 999));
    assert_eq!(steering.worker_of_packet(&reply), steering.worker_of_packet(&request));
}
