//! Whatever comes in: nothing panics, and what goes out is sound.
//!
//! Two promises, on an engine with every kind of service. Any bytes with any metadata may come;
//! then every packet that leaves has a right IP header, and what the engine says itself is right
//! altogether. And where a whole packet came that was right, everything made of it is right:
//! translated, cut into segments or fragments, put into tunnels, quoted.

use proptest::prelude::*;

use crate::base::hash::HashKey;
use crate::base::{LinkId, Protocol, Tick};
use crate::engine::{HostStack, Verdict};
use crate::table::{
    Change, DestinationConfig, ForwardingMethod, ServiceConfig, ServiceFlags, ServiceKey, TunnelChecksum, TunnelKind,
};
use crate::wire::Offload;
use crate::wire::offload::{Completion, Segmentation};
use crate::wire::reassembly::{Limits, Outcome as Reassembled, Reassembler};

use super::packet::{Packet, Upper, fix_header, fragments4, fragments6, icmp, icmp_error};
use super::sound;
use super::world::{
    ETH0, ETH1, LINK_LENGTH, MAC, Outcome, TUN0, World, address, destination_config, mark_service, server_key, service,
    service_config, tunneling,
};

const MARKED: &str = "10.8.0.9";

/// The addresses of one family.
#[derive(Clone, Copy, Debug)]
struct Family {
    client: &'static str,
    vip: &'static str,
    server: &'static str,
    other_server: &'static str,
}

const V4: Family = Family { client: "10.0.0.2", vip: "10.9.9.9", server: "172.16.0.11", other_server: "172.16.0.12" };
const V6: Family = Family { client: "fd00::2", vip: "fd99::9", server: "fd01::11", other_server: "fd01::12" };

/// TCP and UDP ports that are served, each in another way.
const PORTS: [u16; 14] = [80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 21, 443, 5060];

/// Services of every kind at both virtual addresses, and one by mark.
fn everything(host_stack: HostStack, server_mtu: u32) -> World {
    let mut world = World::with(256, host_stack, server_mtu);
    for (family, other) in [(V4, V6), (V6, V4)] {
        for protocol in [Protocol::TCP, Protocol::UDP] {
            for port in PORTS {
                serve(&mut world, family, other, protocol, port);
            }
        }
        let key = service(Protocol::SCTP, family.vip, 80);
        world.serve(key, (family.server, 8080), ForwardingMethod::Masquerading);
    }
    let key = mark_service(7);
    let config = ServiceConfig { flags: ServiceFlags(ServiceFlags::PERSISTENT), ..service_config(&key) };
    world.apply(Change::AddService { key, config });
    world.add_server(key, (V4.server, 0), ForwardingMethod::Masquerading);
    world.mark(7, "10.8.0.0/16");
    world
}

fn serve(world: &mut World, family: Family, other: Family, protocol: Protocol, port: u16) {
    use TunnelChecksum::{Checksum, None};
    let key = service(protocol, family.vip, port);
    let (flags, engine) = match (port, protocol) {
        (21 | 443, _) => (ServiceFlags::PERSISTENT, Option::None),
        (90, _) => (ServiceFlags::ONE_PACKET, Option::None),
        (5060, Protocol::UDP) => (ServiceFlags::PERSISTENT, Some("sip".to_owned())),
        _ => (0, Option::None),
    };
    let config = ServiceConfig { flags: ServiceFlags(flags), engine, ..service_config(&key) };
    world.apply(Change::AddService { key, config });
    let direct = DestinationConfig { method: ForwardingMethod::DirectRouting, ..destination_config() };
    let (server, port, config) = match port {
        80 | 21 | 443 => (family.server, 8080, destination_config()),
        81 => (family.server, 81, direct),
        82 => (family.server, 82, tunneling(TunnelKind::Ipip, None)),
        83 => (family.server, 83, tunneling(TunnelKind::Gue, None)),
        84 => (family.server, 84, tunneling(TunnelKind::Gue, Checksum)),
        85 => (family.server, 85, tunneling(TunnelKind::Gre, None)),
        86 => (family.server, 86, tunneling(TunnelKind::Gre, Checksum)),
        87 => (other.server, 87, tunneling(TunnelKind::Ipip, None)),
        88 => (other.server, 88, tunneling(TunnelKind::Gue, Checksum)),
        89 => return,
        port => (family.other_server, port, destination_config()),
    };
    world.apply(Change::AddDestination { service: key, key: server_key(server, port), config });
}

// -- what comes in

/// A recipe for a right packet.
#[derive(Clone, Debug)]
struct Right {
    packet: Packet,
    link: LinkId,
    form: Form,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Whole,
    /// With an unfinished checksum.
    Partial,
    /// As a super-frame with segments of so many bytes.
    Super(u16),
    /// In fragments of so many units of 8 bytes.
    Fragments(usize),
}

fn a_family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(V4), Just(V6)]
}

fn an_upper() -> impl Strategy<Value = Upper> {
    prop_oneof![
        4 => prop_oneof![Just(2u8), Just(0x10), Just(0x11), Just(4), Just(0x12), any::<u8>()].prop_map(Upper::Tcp),
        3 => Just(Upper::Udp),
        1 => prop_oneof![Just(1u8), Just(10), Just(0)].prop_map(Upper::Sctp),
        1 => prop_oneof![Just(50u8), Just(2), Just(59), Just(99)].prop_map(Upper::Other),
    ]
}

fn a_length() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 0usize..200, 3 => 1200usize..1600, 1 => 1600usize..9000, 1 => 60_000usize..65_460]
}

fn a_form() -> impl Strategy<Value = Form> {
    prop_oneof![
        4 => Just(Form::Whole),
        2 => Just(Form::Partial),
        1 => (500u16..1500).prop_map(Form::Super),
        1 => (1usize..180).prop_map(Form::Fragments),
    ]
}

fn a_right_packet() -> impl Strategy<Value = Right> {
    let port = proptest::sample::select(&PORTS[..]);
    let ends = (a_family(), 40_000u16..40_004, port, 0u8..10);
    let header = (prop_oneof![6 => Just(64u8), 1 => 0u8..3], any::<bool>());
    (ends, an_upper(), a_length(), header, a_form()).prop_map(|(ends, upper, length, (ttl, dont_fragment), form)| {
        let (family, client_port, port, way) = ends;
        let client = (address(family.client), client_port);
        let (source, destination, link) = match way {
            0..7 => (client, (address(family.vip), port), ETH0),
            7 => ((address(family.server), 8080), client, ETH1),
            8 if family.vip == V4.vip => (client, (address(MARKED), port), ETH0),
            _ => (client, (address(family.other_server), port), TUN0),
        };
        // An IPv6 payload and a TCP header less than 64 KiB.
        let length = length.min(65_535 - 60);
        let packet = Packet::new(source, destination, upper).filled(length).ttl(ttl);
        Right { packet: Packet { dont_fragment, ..packet }, link, form }
    })
}

impl Right {
    /// The frames' packets, with their metadata.
    fn written(&self) -> Vec<(Vec<u8>, Offload)> {
        let link_length = if self.link == TUN0 { 0 } else { LINK_LENGTH };
        match (self.form, &self.packet.upper) {
            (Form::Partial, Upper::Tcp(_) | Upper::Udp) => vec![self.packet.partial(link_length)],
            (Form::Super(size), Upper::Tcp(_)) => vec![self.packet.super_frame(link_length, size)],
            (Form::Fragments(units), _) => {
                let whole = self.packet.bytes();
                let units = units.max(whole.len() / 8 / 100 + 1);
                let pieces = if whole[0] >> 4 == 4 { fragments4 } else { fragments6 };
                pieces(&whole, units * 8).into_iter().map(|piece| (piece, Offload::NONE)).collect()
            }
            _ => vec![(self.packet.bytes(), Offload::NONE)],
        }
    }
}

/// What is done to a packet's bytes.
#[derive(Clone, Debug)]
enum Mutation {
    Flip {
        at: prop::sample::Index,
        bits: u8,
    },
    /// In the first bytes, where the headers are.
    Set {
        at: usize,
        value: u8,
    },
    Truncate(prop::sample::Index),
    /// The IP header's length field.
    Length(u16),
    /// IPv4 options, or an IPv6 destination options header, of so many units.
    Options {
        units: u8,
        filling: u8,
    },
    /// Fragment offset and flags.
    Fragment(u16),
    /// The packet quoted in an ICMP error of this type and code.
    Quoted {
        kind: u8,
        code: u8,
        whole: bool,
    },
    Padding(usize),
}

fn a_mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        3 => (any::<prop::sample::Index>(), 1u8..).prop_map(|(at, bits)| Mutation::Flip { at, bits }),
        4 => (0usize..70, any::<u8>()).prop_map(|(at, value)| Mutation::Set { at, value }),
        3 => any::<prop::sample::Index>().prop_map(Mutation::Truncate),
        2 => prop_oneof![0u16..100, any::<u16>()].prop_map(Mutation::Length),
        2 => (1u8..11, any::<u8>()).prop_map(|(units, filling)| Mutation::Options { units, filling }),
        1 => prop_oneof![0u16..4, any::<u16>()].prop_map(Mutation::Fragment),
        2 => (prop_oneof![Just(3u8), Just(11), Just(1), Just(2), any::<u8>()], 0u8..5, any::<bool>())
            .prop_map(|(kind, code, whole)| Mutation::Quoted { kind, code, whole }),
        1 => (0usize..50).prop_map(Mutation::Padding),
    ]
}

impl Mutation {
    fn apply(&self, packet: &mut Vec<u8>) {
        if packet.is_empty() {
            return;
        }
        let is_v4 = packet[0] >> 4 == 4;
        match self {
            Mutation::Flip { at, bits } => {
                let at = at.index(packet.len());
                packet[at] ^= bits;
            }
            Mutation::Set { at, value } => {
                if let Some(byte) = packet.get_mut(*at) {
                    *byte = *value;
                }
            }
            Mutation::Truncate(at) => packet.truncate(at.index(packet.len())),
            Mutation::Length(length) => {
                let at = if is_v4 { 2 } else { 4 };
                if let Some(field) = packet.get_mut(at..at + 2) {
                    field.copy_from_slice(&length.to_be_bytes());
                }
            }
            Mutation::Options { units, filling } if is_v4 && packet.len() >= 20 && packet[0] & 15 == 5 => {
                packet[0] = 0x45 + units.min(&10);
                let options = vec![*filling; usize::from(*units.min(&10)) * 4];
                packet.splice(20..20, options);
                set_length(packet, 2, 0);
            }
            Mutation::Options { units, filling } if !is_v4 && packet.len() >= 40 => {
                let mut header = vec![*filling; usize::from(*units) * 8];
                header[0] = packet[6];
                header[1] = units - 1;
                packet[6] = 60;
                packet.splice(40..40, header);
                set_length(packet, 4, 40);
            }
            Mutation::Options { .. } => {}
            Mutation::Fragment(field) if is_v4 && packet.len() >= 20 => {
                packet[6..8].copy_from_slice(&field.to_be_bytes());
            }
            Mutation::Fragment(field) if packet.len() >= 40 => {
                let [high, low] = field.to_be_bytes();
                let header = [packet[6], 0, high, low, 0, 0, 0, 9];
                packet[6] = 44;
                packet.splice(40..40, header);
                set_length(packet, 4, 40);
            }
            Mutation::Fragment(_) => {}
            Mutation::Quoted { kind, code, whole } => {
                let family = if is_v4 { V4 } else { V6 };
                let quoted = &packet[..if *whole { packet.len().min(60_000) } else { packet.len().min(48) }];
                *packet = icmp_error(address(family.server), address(family.client), *kind, *code, quoted);
            }
            Mutation::Padding(length) => packet.resize(packet.len() + length, 0xee),
        }
    }
}

/// Makes a length field say what there is, as far as it can.
fn set_length(packet: &mut [u8], at: usize, less: usize) {
    let length = (packet.len() - less).min(usize::from(u16::MAX)) as u16;
    packet[at..at + 2].copy_from_slice(&length.to_be_bytes());
}

fn any_offload() -> impl Strategy<Value = Offload> {
    let checksum = prop_oneof![
        2 => Just(Completion::Complete),
        1 => Just(Completion::Verified),
        3 => (prop_oneof![0u16..100, any::<u16>(), Just(u16::MAX)], prop_oneof![0u16..20, any::<u16>()])
            .prop_map(|(start, offset)| Completion::Partial { start, offset }),
    ];
    let segmentation = prop_oneof![
        2 => Just(Segmentation::None),
        1 => any::<bool>().prop_map(|ecn| Segmentation::Tcp4 { ecn }),
        1 => any::<bool>().prop_map(|ecn| Segmentation::Tcp6 { ecn }),
        1 => Just(Segmentation::Udp),
        1 => Just(Segmentation::UdpFragments),
    ];
    let size = prop_oneof![Just(0u16), 1u16..20, 500u16..1500, any::<u16>()];
    (checksum, segmentation, size, any::<u16>()).prop_map(|(checksum, segmentation, segment_size, header_length)| {
        Offload { checksum, segmentation, segment_size, header_length }
    })
}

// -- what goes out

/// The datagrams that packets make, of which some are fragments.
pub(super) fn reassembled<'a>(packets: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let mut reassembler = Reassembler::new(Limits::default(), HashKey(1, 2));
    let mut whole = Vec::new();
    for packet in packets {
        match reassembler.push(Tick(0), packet) {
            Reassembled::NotFragmented => whole.push(packet.to_vec()),
            Reassembled::Whole(datagram) => whole.push(datagram.packet().to_vec()),
            Reassembled::Stored => {}
            other => panic!("a fragment that was sent does not fit: {other:?}"),
        }
    }
    assert!(reassembler.is_empty(), "fragments were sent of which some are missing");
    whole
}

/// Whether everything made of a right packet is right.
fn all_right(outcomes: &[Outcome], link: LinkId) -> Result<(), String> {
    let link_length = if link == TUN0 { 0 } else { LINK_LENGTH };
    let mut finished = Vec::new();
    for sent in outcomes.iter().flat_map(|outcome| &outcome.sent) {
        sound::header(&sent.packet)?;
        finished.push(sound::completed(&sent.packet, &sent.offload, link_length)?);
    }
    reassembled(finished.iter().map(Vec::as_slice)).iter().try_for_each(|packet| sound::whole(packet))
}

/// Whether what was sent because of any bytes is right as far as it can be: IP headers always,
/// everything where the engine speaks itself.
fn headers_right(outcome: &Outcome, input: &[u8]) -> Result<(), String> {
    let input_is_icmp = !matches!(protocol(input), Some(protocol) if !is_icmp(protocol));
    for sent in &outcome.sent {
        sound::header(&sent.packet)?;
        let said_by_engine = !matches!(outcome.verdict, Verdict::Transmit(_))
            && protocol(&sent.packet).is_some_and(is_icmp)
            && !sound::is_fragment(&sent.packet)
            && !input_is_icmp;
        if said_by_engine {
            sound::whole(&sent.packet)?;
        }
    }
    Ok(())
}

/// The protocol that an IP packet's first header names.
fn protocol(packet: &[u8]) -> Option<u8> {
    match packet.first()? >> 4 {
        4 => packet.get(9).copied(),
        6 => packet.get(6).copied(),
        _ => None,
    }
}

fn is_icmp(protocol: u8) -> bool {
    // An IPv6 packet with extension headers may be ICMPv6 behind them.
    matches!(protocol, 0 | 1 | 43 | 44 | 51 | 58 | 60)
}

fn a_world() -> impl Strategy<Value = (bool, u32)> {
    (any::<bool>(), prop_oneof![Just(1500u32), Just(1300), Just(9000), Just(65_535)])
}

fn built((beside, server_mtu): (bool, u32)) -> World {
    everything(if beside { HostStack::Beside } else { HostStack::Absent }, server_mtu)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_made_of_right_packets_is_right(
        world in a_world(),
        pmtu_disc in 0i32..2,
        packets in proptest::collection::vec(a_right_packet(), 1..12),
    ) {
        let mut world = built(world);
        world.set("pmtu_disc", pmtu_disc);
        for right in &packets {
            let outcomes: Vec<Outcome> = right
                .written()
                .iter()
                .map(|(bytes, offload)| world.handle_on(right.link, bytes, *offload))
                .collect();
            if let Err(what) = all_right(&outcomes, right.link) {
                let verdicts: Vec<Verdict> = outcomes.iter().map(|outcome| outcome.verdict).collect();
                let Packet { source, destination, upper, payload, ttl, dont_fragment, .. } = &right.packet;
                prop_assert!(
                    false,
                    "{what}\n  {upper:?} {source:?} -> {destination:?}, {} bytes, TTL {ttl}, DF {dont_fragment}, \
                     {:?} by {:?}: {verdicts:?}",
                    payload.len(), right.form, right.link,
                );
            }
            world.engine.connections.check_invariants();
        }
    }

    #[test]
    fn mutated_packets_do_no_harm(
        world in a_world(),
        packets in proptest::collection::vec(
            (a_right_packet(), proptest::collection::vec(a_mutation(), 0..4), any::<bool>(),
             proptest::option::weighted(0.4, any_offload()), proptest::bool::weighted(0.03)),
            1..16,
        ),
    ) {
        let mut world = built(world);
        for (right, mutations, fix, offload, tagged) in &packets {
            // The connection that the mutated packet may belong to.
            let opening = Packet { upper: Upper::Tcp(2), ..right.packet.clone() }.filled(0);
            world.handle_on(right.link, &opening.bytes(), Offload::NONE);
            for (mut bytes, own_offload) in right.written() {
                mutations.iter().for_each(|mutation| mutation.apply(&mut bytes));
                if *fix && bytes.len() >= 20 && bytes[0] >> 4 == 4 {
                    fix_header(&mut bytes);
                }
                let offload = offload.unwrap_or(own_offload);
                let outcome = if *tagged {
                    let frame = [&MAC.0[..], &[2, 9, 9, 9, 9, 9], &[0x81, 0, 0, 5, 8, 0], &bytes].concat();
                    world.handle_frame(ETH0, &frame, offload)
                } else {
                    world.handle_on(right.link, &bytes, offload)
                };
                if let Err(what) = headers_right(&outcome, &bytes) {
                    prop_assert!(false, "{what}: {:?} of {:02x?}", outcome.verdict, &bytes[..bytes.len().min(120)]);
                }
            }
            world.engine.connections.check_invariants();
        }
        world.pass(70_000);
        for sent in world.drain() {
            prop_assert_eq!(sound::header(&sent.packet), Ok(()));
        }
    }

    #[test]
    fn random_bytes_do_no_harm(
        frames in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 14..200), 0u32..5, any_offload(), any::<bool>()), 1..20),
    ) {
        let mut world = built((false, 1500));
        for (mut frame, link, offload, to_us) in frames {
            if to_us {
                frame[..6].copy_from_slice(&MAC.0);
                let kind = if frame[6] & 1 == 0 { [8, 0] } else { [0x86, 0xdd] };
                frame[12..14].copy_from_slice(&kind);
            }
            let outcome = world.handle_frame(LinkId(link), &frame, offload);
            for sent in &outcome.sent {
                prop_assert_eq!(sound::header(&sent.packet), Ok(()));
            }
        }
    }
}

/// Every kind of packet, cut short after every byte, with and without a length field that admits it.
#[test]
fn packets_cut_short_anywhere_do_no_harm() {
    let mut world = everything(HostStack::Absent, 1500);
    for family in [V4, V6] {
        for packet in samples(family) {
            for length in 0..packet.len() {
                let mut cut = packet[..length].to_vec();
                let outcome = world.request(&cut);
                assert_eq!(headers_right(&outcome, &cut), Ok(()), "{length} bytes of {packet:02x?}");
                if family.vip == V4.vip && length >= 20 {
                    set_length(&mut cut, 2, 0);
                    fix_header(&mut cut);
                } else if family.vip == V6.vip && length >= 40 {
                    set_length(&mut cut, 4, 40);
                }
                for link in [ETH0, ETH1, TUN0] {
                    let outcome = world.handle_on(link, &cut, Offload::NONE);
                    assert_eq!(headers_right(&outcome, &cut), Ok(()), "{length} bytes of {packet:02x?}");
                }
            }
        }
    }
}

/// A packet of each kind to each service, and errors about some of them.
fn samples(family: Family) -> Vec<Vec<u8>> {
    let client = (address(family.client), 40_000);
    let uppers = [Upper::Tcp(2), Upper::Tcp(0x10), Upper::Udp, Upper::Sctp(1), Upper::Other(50), Upper::Other(4)];
    let mut packets = Vec::new();
    for upper in uppers {
        for port in PORTS {
            let request = Packet::new(client, (address(family.vip), port), upper.clone()).bytes();
            packets.push(request);
        }
        let reply = Packet::new((address(family.server), 8080), client, upper.clone()).bytes();
        let kinds = if family.vip == V4.vip { [3, 11] } else { [1, 3] };
        for kind in kinds {
            packets.push(icmp_error(address(family.server), client.0, kind, 0, &reply));
            packets.push(icmp_error(client.0, address(family.vip), kind, 0, &reply));
        }
        packets.push(reply);
    }
    let echo = if family.vip == V4.vip { 8 } else { 128 };
    packets.push(icmp(client.0, address(family.vip), vec![echo, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3]));
    packets
}

/// A mark service takes any port; that the realistic world is what it seems is worth a look.
#[test]
fn the_world_has_every_kind_of_service() {
    let mut world = everything(HostStack::Absent, 1500);
    let keys: Vec<ServiceKey> = world.engine.services().map(|service| service.key).collect();
    assert_eq!(keys.len(), 2 * (2 * PORTS.len() + 1) + 1);
    let marked = Packet::new((address(V4.client), 40_000), (address(MARKED), 777), Upper::Tcp(2));
    assert!(matches!(world.request(&marked.bytes()).verdict, Verdict::Transmit(_)));
    for family in [V4, V6] {
        for port in PORTS.into_iter().filter(|&port| port != 89) {
            let syn = Packet::new((address(family.client), 40_000), (address(family.vip), port), Upper::Tcp(2));
            let outcome = world.request(&syn.bytes());
            assert!(matches!(outcome.verdict, Verdict::Transmit(_)), "{} {port}: {outcome:?}", family.vip);
        }
    }
}
