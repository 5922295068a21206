//! What comes beside conversations: ICMP errors about them, pings, strays, packets in pieces.

use std::net::IpAddr;

use super::dice::Dice;
use super::flow::{Flow, Path, Side};
use super::frames::{self, Envelope, Sealing, Segment, flag};
use super::lab::{self, DIRECTOR, Neighbour};
use super::plan::Mood;
use crate::base::{Family, Protocol};

/// An ICMP error about the packet that one end of a conversation got last.
pub fn error(flow: &Flow, dice: &mut Dice, mood: &Mood) -> Option<(usize, Vec<u8>)> {
    let by_server = dice.chance(60);
    let about = if by_server { flow.to_server.as_ref()? } else { flow.to_client.as_ref()? };
    let family = if about.first()? >> 4 == 4 { Family::V4 } else { Family::V6 };
    let link = usize::from(by_server);
    let end = match (by_server, flow.path) {
        (true, Some(Path::Nat { server, mac, .. })) => Neighbour { address: server, mac },
        (true, _) => {
            let number = dice.between(1, u64::from(lab::SERVERS)) as u8;
            lab::server(family, number)
        }
        (false, _) => flow.client,
    };
    // Another family's address in a tunnel's outer packet: its router speaks.
    let from_end = dice.chance(60) && Family::of(&end.address) == family;
    let speaker = if from_end { end } else { lab::router(family, link) };
    let (to, quoted) = (source(about)?, quote(about, dice));
    let envelope = Envelope {
        source: speaker.address,
        destination: to,
        tos: dice.pick(&[0, 0xc0]),
        ttl: 64,
        identification: 0x2222,
        dont_fragment: false,
    };
    let mtu = dice.pick(&[1300u32, 1400, 1480]);
    let (kind, code, rest) = match family {
        Family::V4 => {
            dice.pick(&[(3, 1, 0), (3, 3, 0), (3, 4, mtu), (3, 13, 0), (11, 0, 0), (11, 1, 0), (4, 0, 0), (12, 0, 0)])
        }
        Family::V6 => dice.pick(&[(1, 0, 0), (1, 4, 0), (2, 0, mtu), (3, 0, 0), (4, 1, 6), (1, 1, 0)]),
    };
    let sealing = if dice.chance(mood.oddities / 4) { Sealing::Wrong } else { Sealing::Right };
    let packet = frames::icmp(&envelope, kind, code, rest, quoted, sealing);
    Some((link, frames::ethernet(speaker.mac, DIRECTOR[link], &packet)))
}

/// As much of a packet as routers quote: with eight bytes after its header, or more.
fn quote<'a>(packet: &'a [u8], dice: &mut Dice) -> &'a [u8] {
    let header = if packet[0] >> 4 == 4 { usize::from(packet[0] & 15) * 4 } else { 40 };
    let most = if packet[0] >> 4 == 4 { 548 } else { 1232 };
    // A tunnel's error is of use with the packet inside it.
    let least = if is_tunnel(packet) { header + 60 } else { header + 8 };
    let length = dice.pick(&[least, least, least + 20, most]);
    &packet[..length.min(packet.len())]
}

/// Whether the director made the packet: a tunnel's outer one.
fn is_tunnel(packet: &[u8]) -> bool {
    [Family::V4, Family::V6].iter().any(|&family| source(packet) == Some(lab::director(family, 1)))
}

fn source(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => Some(IpAddr::from(*packet.get(12..)?.first_chunk::<4>()?)),
        _ => Some(IpAddr::from(*packet.get(8..)?.first_chunk::<16>()?)),
    }
}

/// A packet that belongs to no conversation.
pub fn stray(dice: &mut Dice, target: (Protocol, IpAddr, u16)) -> (usize, Vec<u8>) {
    let (protocol, vip, port) = target;
    let family = Family::of(&vip);
    let client = lab::client(family, dice.between(1, u64::from(lab::CLIENTS)) as u8);
    let mut envelope = Envelope {
        source: client.address,
        destination: vip,
        tos: 0,
        ttl: dice.pick(&[64, 64, 64, 1]),
        identification: 0x3333,
        dont_fragment: dice.chance(30),
    };
    let own_port = dice.pick(&[33000, 33001, 20, 0]);
    let segment = |flags: u8, length: usize, ports: (u16, u16)| Segment {
        ports,
        sequence: 77,
        acknowledgement: 88,
        flags,
        length,
    };
    let packet = match dice.between(0, 7) {
        // What begins nothing: the host answers, or nobody.
        0 => {
            let flags = dice.pick(&[
                flag::ACK,
                flag::FIN | flag::ACK,
                flag::RST,
                flag::PSH | flag::ACK,
                0,
                flag::SYN | flag::ACK,
            ]);
            frames::tcp(&envelope, &segment(flags, dice.pick(&[0, 5]), (33000, port)), Sealing::Right)
        }
        // A port that nobody serves.
        1 => frames::tcp(&envelope, &segment(flag::SYN, 0, (own_port, 9)), Sealing::Right),
        2 => frames::udp(&envelope, (own_port, 9), &frames::payload(20), Sealing::Right),
        // Odd source ports.
        3 if protocol == Protocol::UDP => frames::udp(&envelope, (own_port, port), &frames::payload(9), Sealing::Right),
        3 if protocol == Protocol::SCTP => frames::sctp(&envelope, (own_port, port), &[(1, 16)], Sealing::Right),
        3 => frames::tcp(&envelope, &segment(flag::SYN, 0, (own_port, port)), Sealing::Right),
        4 | 5 => {
            let (request, reply) = if family == Family::V4 { (8, 0) } else { (128, 129) };
            let kind = if dice.chance(80) { request } else { reply };
            frames::icmp(&envelope, kind, 0, 0x0007_0001, &frames::payload(40), Sealing::Right)
        }
        // A server speaks of its own accord: it is a host like any other.
        6 => {
            let server = lab::server(family, dice.between(1, u64::from(lab::SERVERS)) as u8);
            envelope.source = server.address;
            envelope.destination = client.address;
            let packet = match protocol {
                Protocol::UDP => frames::udp(&envelope, (port, 33005), &frames::payload(9), Sealing::Right),
                Protocol::SCTP => frames::sctp(&envelope, (port, 33005), &[(0, 16)], Sealing::Right),
                _ => frames::tcp(&envelope, &segment(flag::ACK, 4, (port, 33005)), Sealing::Right),
            };
            return (1, frames::ethernet(server.mac, DIRECTOR[1], &packet));
        }
        // Something that is not balanced.
        _ => {
            let number = dice.pick(&[Protocol(89), Protocol::GRE, Protocol(103)]);
            frames::packet(&envelope, number, &frames::payload(24))
        }
    };
    (0, frames::ethernet(client.mac, DIRECTOR[0], &packet))
}

/// A datagram of a conversation in pieces, with the gaps and the order that networks make.
pub fn pieces(flow: &Flow, dice: &mut Dice, identification: u32) -> Option<Vec<(usize, Vec<u8>)>> {
    let side = match flow.path {
        Some(Path::Nat { .. }) if dice.chance(40) => Side::Server,
        _ => Side::Client,
    };
    let envelope = flow.envelope(side, None)?;
    let length = dice.between(1600, 3000) as usize;
    let ports = match (side, flow.path) {
        (Side::Server, Some(Path::Nat { port, .. })) => (port, flow.port),
        _ => (flow.port, flow.vport),
    };
    let whole = match flow.protocol {
        Protocol::UDP => frames::udp(&envelope, ports, &frames::payload(length), Sealing::Right),
        Protocol::TCP => {
            let segment = Segment { ports, sequence: 5, acknowledgement: 6, flags: flag::ACK, length };
            frames::tcp(&envelope, &segment, Sealing::Right)
        }
        _ => return None,
    };
    let mut cut = frames::fragments(&whole, dice.pick(&[552, 800, 1200]), identification);
    match dice.between(0, 5) {
        0 => dice.shuffle(&mut cut),
        1 => cut.reverse(),
        2 => {
            let lost = dice.between(0, cut.len() as u64 - 1) as usize;
            cut.remove(lost);
        }
        3 => cut.insert(1, cut[0].clone()),
        _ => {}
    }
    Some(cut.iter().map(|piece| flow.wrap(side, piece)).collect())
}
