//! Frames whose checksum is left to a network card, and super-frames: what becomes of them.

use std::net::IpAddr;

use crate::base::{Family, Protocol};
use crate::engine::{DropReason, HostStack, Verdict};
use crate::table::{Change, DestinationConfig, ForwardingMethod, TunnelChecksum, TunnelKind};
use crate::wire::Offload;
use crate::wire::offload::{Completion, Segmentation};

use super::packet::{ACK, Endpoint, Packet, SYN, Upper};
use super::sound;
use super::world::{
    ETH0, ETH1, LINK_LENGTH, Outcome, World, address, destination_config, server_key, service, service_config,
    tunneling,
};

/// Who takes part in a row, in both families.
#[derive(Clone, Copy)]
struct Parts {
    client: &'static str,
    vip: &'static str,
    server: &'static str,
    /// The director's own address on the servers' side.
    own: &'static str,
}

const V4: Parts = Parts { client: "10.0.0.2", vip: "10.9.9.9", server: "172.16.0.11", own: "172.16.0.1" };
const V6: Parts = Parts { client: "fd00::2", vip: "fd99::9", server: "fd01::11", own: "fd01::1" };

impl Parts {
    fn client(self) -> Endpoint {
        (address(self.client), 40000)
    }

    fn vip(self) -> Endpoint {
        (address(self.vip), 80)
    }

    fn server(self) -> Endpoint {
        (address(self.server), 8080)
    }

    fn request(self, upper: Upper, length: usize) -> Packet {
        Packet::new(self.client(), self.vip(), upper).filled(length)
    }
}

/// In which form a packet is put in, and comes out.
#[derive(Clone, Copy)]
enum Form {
    Partial,
    /// With segments of so many bytes.
    Super(u16),
}

impl Form {
    fn write(self, packet: &Packet) -> (Vec<u8>, Offload) {
        match self {
            Form::Partial => packet.partial(LINK_LENGTH),
            Form::Super(size) => packet.super_frame(LINK_LENGTH, size),
        }
    }
}

/// What is to come out.
enum Out {
    /// The frame itself, in the form it came in, as this packet.
    Frame(fn(Parts, Packet) -> Packet),
    /// A tunnel's packets with the segments inside, behind so many bytes after the outer IP header.
    Tunneled(usize),
    /// The frame itself in a tunnel, its checksum still (or no longer) left to the card.
    Encapsulated { partial: bool },
    /// An ICMP error to the client that names this MTU.
    TooBig(u16),
}

struct Row {
    what: &'static str,
    config: fn() -> DestinationConfig,
    server_mtu: u32,
    upper: Upper,
    length: usize,
    form: Form,
    out: Out,
}

fn nat() -> DestinationConfig {
    destination_config()
}

fn direct() -> DestinationConfig {
    DestinationConfig { method: ForwardingMethod::DirectRouting, ..destination_config() }
}

fn ipip() -> DestinationConfig {
    tunneling(TunnelKind::Ipip, TunnelChecksum::None)
}

fn gue_with_checksum() -> DestinationConfig {
    tunneling(TunnelKind::Gue, TunnelChecksum::Checksum)
}

fn gre() -> DestinationConfig {
    tunneling(TunnelKind::Gre, TunnelChecksum::None)
}

fn translated(parts: Parts, packet: Packet) -> Packet {
    Packet { destination: parts.server(), ttl: 63, ..packet }
}

fn counted_down(_: Parts, packet: Packet) -> Packet {
    Packet { ttl: 63, ..packet }
}

const SUPER: usize = 4000;

fn rows() -> Vec<Row> {
    let row = |what, config, length, form, out| Row { what, config, server_mtu: 1500, upper: ACK, length, form, out };
    vec![
        row("NAT, partial: the pseudo-header's sum follows", nat, 100, Form::Partial, Out::Frame(translated)),
        Row {
            upper: Upper::Udp,
            ..row("NAT of a partial datagram: the same", nat, 101, Form::Partial, Out::Frame(translated))
        },
        row("direct routing, partial: nothing but the TTL", direct, 100, Form::Partial, Out::Frame(counted_down)),
        row("NAT, super-frame: passed whole", nat, SUPER, Form::Super(1400), Out::Frame(translated)),
        row("NAT, super-frame of 64 KB", nat, 65_000, Form::Super(1400), Out::Frame(translated)),
        row("direct routing, super-frame: passed whole", direct, SUPER, Form::Super(1400), Out::Frame(counted_down)),
        row("IPIP, super-frame: cut", ipip, SUPER, Form::Super(1400), Out::Tunneled(0)),
        row("IPIP, super-frame that fills its segments", ipip, 4200, Form::Super(1400), Out::Tunneled(0)),
        row("IPIP, super-frame of less than a segment", ipip, 900, Form::Super(1400), Out::Tunneled(0)),
        row("GUE with checksum, super-frame: cut", gue_with_checksum, SUPER, Form::Super(1380), Out::Tunneled(12)),
        row("GRE, super-frame: cut", gre, SUPER, Form::Super(1380), Out::Tunneled(4)),
        row("IPIP, partial: left to the card", ipip, 100, Form::Partial, Out::Encapsulated { partial: true }),
        row(
            "GUE with checksum, partial: finished, as the outer sum needs it",
            gue_with_checksum,
            100,
            Form::Partial,
            Out::Encapsulated { partial: false },
        ),
        Row {
            server_mtu: 1300,
            ..row("NAT, segments longer than the MTU", nat, SUPER, Form::Super(1400), Out::TooBig(1300))
        },
        Row {
            server_mtu: 1300,
            ..row("direct routing, the same", direct, SUPER, Form::Super(1400), Out::TooBig(1300))
        },
    ]
}

#[test]
fn unfinished_checksums_and_super_frames() {
    let mut wrong = Vec::new();
    for parts in [V4, V6] {
        for row in rows() {
            if let Err(what) = check(parts, &row) {
                wrong.push(format!("{} ({}): {what}", row.what, parts.vip));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn check(parts: Parts, row: &Row) -> Result<(), String> {
    let mut world = World::with(64, HostStack::Absent, row.server_mtu);
    let packet = parts.request(row.upper.clone(), row.length);
    serve(&mut world, parts, packet.protocol(), (row.config)());
    if matches!(row.upper, Upper::Tcp(_)) {
        world.request(&Packet::new(parts.client(), parts.vip(), SYN).bytes());
    }
    let (bytes, offload) = row.form.write(&packet);
    let outcome = world.handle(ETH0, &bytes, offload);
    match row.out {
        Out::Frame(expected) => {
            let (expected, offload) = row.form.write(&expected(parts, packet));
            let sent = outcome.only();
            same("packet", &sent.packet, &expected)?;
            same("metadata", &sent.offload, &offload)?;
            same("link", &sent.egress.link, &ETH1)?;
            sound::ethernet(&sent.packet, &sent.offload)
        }
        Out::Tunneled(shim) => {
            let Form::Super(size) = row.form else { return Err("only super-frames are cut".into()) };
            same("verdict", &outcome.verdict, &Verdict::Consumed)?;
            tunneled(parts, &outcome, shim, &segments(&Packet { ttl: 63, ..packet }, size))
        }
        Out::Encapsulated { partial } => {
            let sent = outcome.only();
            same("partial", &sent.offload.is_partial(), &partial)?;
            sound::ethernet(&sent.packet, &sent.offload)
        }
        Out::TooBig(mtu) => {
            same("verdict", &outcome.verdict, &Verdict::Drop(DropReason::TooBig))?;
            too_big(parts, &outcome, mtu)
        }
    }
}

/// The packets that a super-frame stands for.
fn segments(packet: &Packet, size: u16) -> Vec<Vec<u8>> {
    packet
        .payload
        .chunks(usize::from(size))
        .enumerate()
        .map(|(index, part)| {
            let sequence = packet.sequence.wrapping_add(index as u32 * u32::from(size));
            let identification = packet.identification.wrapping_add(index as u16);
            Packet { payload: part.to_vec(), sequence, identification, ..packet.clone() }.bytes()
        })
        .collect()
}

fn tunneled(parts: Parts, outcome: &Outcome, shim: usize, expected: &[Vec<u8>]) -> Result<(), String> {
    same("number of segments", &outcome.sent.len(), &expected.len())?;
    for (sent, expected) in outcome.sent.iter().zip(expected) {
        let header = if parts.vip == V4.vip { 20 } else { 40 };
        let outer = super::packet::ends(&sent.packet);
        same("outer source", &outer.0.0, &address(parts.own))?;
        same("outer destination", &outer.1.0, &address(parts.server))?;
        same("segment", &sent.packet[header + shim..], &expected[..])?;
        same("metadata", &sent.offload, &Offload::NONE)?;
        sound::whole(&sent.packet)?;
    }
    Ok(())
}

/// The client is told by the virtual address what fits, and gets its packet quoted with a
/// finished checksum.
fn too_big(parts: Parts, outcome: &Outcome, mtu: u16) -> Result<(), String> {
    let sent = outcome.only();
    sound::whole(&sent.packet)?;
    same("link", &sent.egress.link, &ETH0)?;
    let ends = super::packet::ends(&sent.packet);
    same("source", &ends.0.0, &address(parts.vip))?;
    same("destination", &ends.1.0, &address(parts.client))?;
    let (header, kind, mtu_at) = match address(parts.vip) {
        IpAddr::V4(_) => (20, [3, 4], 6),
        IpAddr::V6(_) => (40, [2, 0], 6),
    };
    same("type and code", &sent.packet[header..header + 2], &kind[..])?;
    same("MTU", &sent.packet[header + mtu_at..header + mtu_at + 2], &mtu.to_be_bytes()[..])
}

fn serve(world: &mut World, parts: Parts, protocol: Protocol, config: DestinationConfig) {
    let key = service(protocol, parts.vip, 80);
    world.apply(Change::AddService { key, config: service_config(&key) });
    let port = if config.method == ForwardingMethod::Masquerading { 8080 } else { 80 };
    world.apply(Change::AddDestination { service: key, key: server_key(parts.server, port), config });
}

fn same<T: PartialEq + std::fmt::Debug + ?Sized>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:02x?} instead of {expected:02x?}")) }
}

/// A packet that is longer than the next link takes and may be fragmented is cut there: nobody
/// will finish the checksum of a fragment any more.
#[test]
fn an_unfinished_checksum_is_finished_before_a_packet_is_fragmented() {
    for (what, config) in [("NAT", nat as fn() -> _), ("direct routing", direct), ("IPIP", ipip), ("GRE", gre)] {
        let mut world = World::with(64, HostStack::Absent, 1300);
        world.set("pmtu_disc", 0);
        serve(&mut world, V4, Protocol::UDP, config());
        let packet = V4.request(Upper::Udp, 1400).may_fragment();
        let (bytes, offload) = packet.partial(LINK_LENGTH);
        let outcome = world.handle(ETH0, &bytes, offload);
        assert_eq!(outcome.sent.len(), 2, "{what}");
        let whole = super::anything::reassembled(outcome.sent.iter().map(|sent| &sent.packet[..]));
        assert_eq!(whole.len(), 1, "{what}");
        assert_eq!(sound::whole(&whole[0]), Ok(()), "{what}");
    }
}

fn gue() -> DestinationConfig {
    tunneling(TunnelKind::Gue, TunnelChecksum::None)
}

fn gre_with_checksum() -> DestinationConfig {
    tunneling(TunnelKind::Gre, TunnelChecksum::Checksum)
}

/// A world with that real server and a connection to it, whose port toward it carries tunnels whole.
fn carrying(parts: Parts, config: DestinationConfig, server_mtu: u32) -> World {
    let mut world = World::with(64, HostStack::Absent, server_mtu);
    world.engine.carry_tunnels(ETH1);
    serve(&mut world, parts, Protocol::TCP, config);
    world.request(&Packet::new(parts.client(), parts.vip(), SYN).bytes());
    world
}

#[test]
fn super_frames_go_into_tunnels_whole_where_the_port_carries_them() {
    for (what, config, shim) in [("IPIP", ipip as fn() -> _, 0), ("GRE", gre, 4), ("GUE", gue, 12)] {
        for (parts, header) in [(V4, 20), (V6, 40)] {
            // As many bytes as fit into an IP packet, too.
            for length in [900, SUPER, 65_400] {
                let mut world = carrying(parts, config(), 1500);
                let packet = parts.request(ACK, length);
                let (bytes, offload) = packet.super_frame(LINK_LENGTH, 1380);
                let outcome = world.handle(ETH0, &bytes, Offload { header_length: 54, ..offload });
                let sent = outcome.only();
                let (inside, offload) = Packet { ttl: 63, ..packet }.super_frame(LINK_LENGTH, 1380);
                let overhead = header + shim;
                assert!(sent.packet[overhead..] == inside, "{what}: the packet inside");
                assert_eq!(sound::header(&sent.packet), Ok(()), "{what}");
                let outer = super::packet::ends(&sent.packet);
                assert_eq!((outer.0.0, outer.1.0), (address(parts.own), address(parts.server)), "{what}");
                let (Completion::Partial { start, offset }, family) = (offload.checksum, packet_family(parts)) else {
                    panic!("{what}: the checksum was finished");
                };
                let expected = Offload {
                    checksum: Completion::Partial { start: start + overhead as u16, offset },
                    segmentation: Segmentation::Tunneled { inner: family, ecn: false },
                    segment_size: 1380,
                    header_length: 54 + overhead as u16,
                };
                assert_eq!(sent.offload, expected, "{what}");
                assert_eq!(sent.egress.link, ETH1);
            }
        }
    }
}

fn packet_family(parts: Parts) -> Family {
    Family::of(&address(parts.vip))
}

#[test]
fn super_frames_for_tunnels_are_cut_where_they_cannot_go_whole() {
    let cut = |what: &str, mut world: World, parts: Parts, length: usize, shim: usize, size: u16| {
        let packet = parts.request(ACK, length);
        let (bytes, offload) = packet.super_frame(LINK_LENGTH, size);
        let outcome = world.handle(ETH0, &bytes, offload);
        assert_eq!(outcome.verdict, Verdict::Consumed, "{what}");
        let expected = segments(&Packet { ttl: 63, ..packet }, size);
        assert_eq!(tunneled(parts, &outcome, shim, &expected), Ok(()), "{what}");
    };
    for parts in [V4, V6] {
        cut("an outer checksum", carrying(parts, gue_with_checksum(), 1500), parts, SUPER, 12, 1380);
        cut("an outer checksum", carrying(parts, gre_with_checksum(), 1500), parts, SUPER, 8, 1380);
        let mut world = carrying(parts, ipip(), 1500);
        world.engine.cut_tunnels(ETH1);
        world.engine.carry_tunnels(ETH0);
        cut("another link's port carries them", world, parts, SUPER, 0, 1400);
    }
    // The packet that the outer header would make too long for an IP packet.
    let longest = usize::from(u16::MAX) - 40;
    cut("a packet as long as can be", carrying(V4, ipip(), 1500), V4, longest, 0, 1400);

    // The client is told of segments that do not fit, as if they had come one by one.
    for parts in [V4, V6] {
        let (bytes, offload) = parts.request(ACK, SUPER).super_frame(LINK_LENGTH, 1450);
        let outcome = carrying(parts, ipip(), 1500).handle(ETH0, &bytes, offload);
        assert_eq!(outcome.verdict, Verdict::Drop(DropReason::TooBig));
        assert_eq!(too_big(parts, &outcome, if parts.vip == V4.vip { 1480 } else { 1460 }), Ok(()));
    }

    // Segments that have to be fragmented leave as fragments.
    let mut world = carrying(V4, ipip(), 1500);
    world.set("pmtu_disc", 0);
    let (bytes, offload) = V4.request(ACK, SUPER).may_fragment().super_frame(LINK_LENGTH, 1450);
    let outcome = world.handle(ETH0, &bytes, offload);
    assert!(outcome.sent.len() > 3 && outcome.sent.iter().all(|sent| sent.packet.len() <= 1500));
}

/// A local sender of SCTP leaves its CRC32c to the device, which the metadata does not tell from a checksum like
/// TCP's: every packet leaves with it finished, and says so.
#[test]
fn the_checksum_of_sctp_is_finished_whatever_becomes_of_the_packet() {
    let nat = destination_config();
    let direct = DestinationConfig { method: ForwardingMethod::DirectRouting, ..nat };
    let ipip = tunneling(TunnelKind::Ipip, TunnelChecksum::None);
    for parts in [V4, V6] {
        let header = if parts.client().0.is_ipv4() { 20 } else { 40 };
        for (config, port, inside) in [(nat, 80, 0), (nat, 8080, 0), (direct, 80, 0), (ipip, 80, header)] {
            let mut world = World::new();
            let key = service(Protocol::SCTP, parts.vip, 80);
            world.apply(Change::AddService { key, config: service_config(&key) });
            world.apply(Change::AddDestination { service: key, key: server_key(parts.server, port), config });
            let mut packet = parts.request(Upper::Sctp(1), 40).bytes();
            packet[header + 8..header + 12].fill(0);
            let checksum = Completion::Partial { start: (LINK_LENGTH + header) as u16, offset: 8 };
            let outcome = world.handle(ETH0, &packet, Offload { checksum, ..Offload::NONE });
            let (sent, expected) = (
                outcome.only(),
                Packet { destination: (address(parts.vip), port), ..parts.request(Upper::Sctp(1), 40) },
            );
            assert_eq!(sent.packet[inside + header..], expected.bytes()[header..], "{config:?} to port {port}");
            assert_eq!(sent.offload, Offload::NONE);
        }
    }
}
