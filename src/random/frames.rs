//! Frames from scratch: plain bytes, checksums included.

use std::net::IpAddr;

use crate::base::{Address, Mac, Protocol};
use crate::wire::checksum::{self, Sum};

/// What an IP header says besides its addresses and protocol.
#[derive(Clone, Copy, Debug)]
pub struct Envelope {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// Type of service, or traffic class.
    pub tos: u8,
    /// TTL, or hop limit.
    pub ttl: u8,
    pub identification: u16,
    pub dont_fragment: bool,
}

/// What is done to a transport checksum that was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealing {
    Right,
    /// Off by one, as a broken link leaves it.
    Wrong,
    /// Zero: none at all, which UDP allows.
    Absent,
}

pub mod flag {
    pub const FIN: u8 = 1;
    pub const SYN: u8 = 2;
    pub const RST: u8 = 4;
    pub const PSH: u8 = 8;
    pub const ACK: u8 = 16;
    pub const URG: u8 = 32;
}

/// The same bytes every time: payload that a packed recording does not have to hold.
pub fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 + (index >> 8)) as u8).collect()
}

pub fn ethernet(from: Mac, to: Mac, packet: &[u8]) -> Vec<u8> {
    let kind: u16 = if packet.first().is_some_and(|byte| byte >> 4 == 6) { 0x86dd } else { 0x0800 };
    [&to.0[..], &from.0[..], &kind.to_be_bytes()[..], packet].concat()
}

/// An IP packet around a transport message.
pub fn packet(envelope: &Envelope, protocol: Protocol, message: &[u8]) -> Vec<u8> {
    match (envelope.source, envelope.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = vec![0x45, envelope.tos];
            header.extend(((20 + message.len()) as u16).to_be_bytes());
            header.extend(envelope.identification.to_be_bytes());
            header.extend(if envelope.dont_fragment { [0x40, 0] } else { [0, 0] });
            header.extend([envelope.ttl, protocol.0, 0, 0]);
            header.extend(source.octets());
            header.extend(destination.octets());
            seal4(&mut header);
            header.extend(message);
            header
        }
        (source, destination) => {
            let mut header = vec![0x60 | envelope.tos >> 4, envelope.tos << 4, 0, 0];
            header.extend((message.len() as u16).to_be_bytes());
            header.extend([protocol.0, envelope.ttl]);
            for address in [source, destination] {
                header.extend(Address::from(address).octets16());
            }
            header.extend(message);
            header
        }
    }
}

/// Puts the checksum of an IPv4 header in its place.
fn seal4(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let length = usize::from(packet[0] & 15) * 4;
    checksum::of(&packet[..length]).write(packet, 10);
}

/// Puts the checksum of a transport message in its place.
fn seal(message: &mut [u8], at: usize, envelope: &Envelope, protocol: Protocol, sealing: Sealing) {
    let sum = match (protocol, envelope.source) {
        (Protocol::ICMP, _) => Sum::ZERO,
        _ => checksum::pseudo_header(
            Address::from(envelope.source),
            Address::from(envelope.destination),
            protocol.0,
            message.len(),
        ),
    };
    message[at..at + 2].fill(0);
    let right = sum.add_bytes(message).checksum();
    match sealing {
        Sealing::Right if protocol == Protocol::UDP => right.not_zero().write(message, at),
        Sealing::Right => right.write(message, at),
        Sealing::Wrong => {
            right.write(message, at);
            message[at] ^= 0x40;
        }
        Sealing::Absent => {}
    }
}

/// A TCP segment's numbers.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub ports: (u16, u16),
    pub sequence: u32,
    pub acknowledgement: u32,
    pub flags: u8,
    pub length: usize,
}

pub fn tcp(envelope: &Envelope, segment: &Segment, sealing: Sealing) -> Vec<u8> {
    let mut message = Vec::with_capacity(20 + segment.length);
    message.extend(segment.ports.0.to_be_bytes());
    message.extend(segment.ports.1.to_be_bytes());
    message.extend(segment.sequence.to_be_bytes());
    message.extend(segment.acknowledgement.to_be_bytes());
    message.extend([0x50, segment.flags, 0x20, 0, 0, 0, 0, 0]);
    message.extend(payload(segment.length));
    seal(&mut message, 16, envelope, Protocol::TCP, sealing);
    packet(envelope, Protocol::TCP, &message)
}

pub fn udp(envelope: &Envelope, ports: (u16, u16), data: &[u8], sealing: Sealing) -> Vec<u8> {
    let mut message = Vec::with_capacity(8 + data.len());
    message.extend(ports.0.to_be_bytes());
    message.extend(ports.1.to_be_bytes());
    message.extend(((8 + data.len()) as u16).to_be_bytes());
    message.extend([0, 0]);
    message.extend(data);
    seal(&mut message, 6, envelope, Protocol::UDP, sealing);
    packet(envelope, Protocol::UDP, &message)
}

/// An SCTP packet with one chunk of a kind, and `length` bytes in it.
pub fn sctp(envelope: &Envelope, ports: (u16, u16), chunks: &[(u8, usize)], sealing: Sealing) -> Vec<u8> {
    let mut message = Vec::new();
    message.extend(ports.0.to_be_bytes());
    message.extend(ports.1.to_be_bytes());
    message.extend([0x5a, 0x17, 0xc0, 0xde, 0, 0, 0, 0]);
    for &(kind, length) in chunks {
        message.extend([kind, 0]);
        message.extend(((4 + length) as u16).to_be_bytes());
        message.extend(payload(length.next_multiple_of(4)));
    }
    let mut sum = crc32c::crc32c(&message).to_le_bytes();
    if sealing != Sealing::Right {
        sum[0] ^= 0x40;
    }
    message[8..12].copy_from_slice(&sum);
    packet(envelope, Protocol::SCTP, &message)
}

/// An ICMP or ICMPv6 message: kind, code, the four bytes after the checksum, and what follows.
pub fn icmp(envelope: &Envelope, kind: u8, code: u8, rest: u32, body: &[u8], sealing: Sealing) -> Vec<u8> {
    let protocol = if envelope.source.is_ipv4() { Protocol::ICMP } else { Protocol::ICMPV6 };
    let mut message = vec![kind, code, 0, 0];
    message.extend(rest.to_be_bytes());
    message.extend(body);
    seal(&mut message, 2, envelope, protocol, sealing);
    packet(envelope, protocol, &message)
}

/// Cuts a packet without options or extension headers into fragments of `size` bytes of data each.
pub fn fragments(packet: &[u8], size: usize, identification: u32) -> Vec<Vec<u8>> {
    let four = packet[0] >> 4 == 4;
    let (header, data) = packet.split_at(if four { 20 } else { 40 });
    let count = data.len().div_ceil(size);
    data.chunks(size)
        .enumerate()
        .map(|(index, piece)| {
            let (units, more) = (index * size / 8, index + 1 < count);
            let mut cut = header.to_vec();
            if four {
                cut[2..4].copy_from_slice(&((20 + piece.len()) as u16).to_be_bytes());
                cut[4..6].copy_from_slice(&(identification as u16).to_be_bytes());
                cut[6..8].copy_from_slice(&(units as u16 | if more { 0x2000 } else { 0 }).to_be_bytes());
                seal4(&mut cut);
            } else {
                cut[4..6].copy_from_slice(&((8 + piece.len()) as u16).to_be_bytes());
                cut[6] = 44;
                cut.extend([header[6], 0]);
                cut.extend(((units as u16) << 3 | u16::from(more)).to_be_bytes());
                cut.extend(identification.to_be_bytes());
            }
            cut.extend(piece);
            cut
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Family;
    use crate::wire::dissect::dissect;

    fn envelope(source: &str, destination: &str) -> Envelope {
        Envelope {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            tos: 0xb8,
            ttl: 64,
            identification: 7,
            dont_fragment: false,
        }
    }

    #[test]
    fn another_parser_reads_what_is_built() {
        for (from, to) in [("10.0.0.2", "10.9.9.9"), ("fd00::2", "fd99::9")] {
            let envelope = envelope(from, to);
            let segment = Segment { ports: (40000, 80), sequence: 1, acknowledgement: 2, flags: flag::SYN, length: 33 };
            let bytes = tcp(&envelope, &segment, Sealing::Right);
            let read = etherparse::PacketHeaders::from_ip_slice(&bytes).unwrap();
            let Some(etherparse::TransportHeader::Tcp(header)) = &read.transport else { panic!("{read:?}") };
            let payload = read.payload.slice();
            let sum = match read.net.as_ref().unwrap() {
                etherparse::NetHeaders::Ipv4(ip, _) => header.calc_checksum_ipv4(ip, payload).unwrap(),
                etherparse::NetHeaders::Ipv6(ip, _) => header.calc_checksum_ipv6(ip, payload).unwrap(),
                other => panic!("{other:?}"),
            };
            assert_eq!((header.checksum, header.syn, payload.len()), (sum, true, 33));
        }
    }

    #[test]
    fn fragments_hold_the_whole() {
        for (from, to, family) in [("10.0.0.2", "10.9.9.9", Family::V4), ("fd00::2", "fd99::9", Family::V6)] {
            let whole = udp(&envelope(from, to), (1, 2), &payload(1500), Sealing::Right);
            let pieces = fragments(&whole, 600, 9);
            assert_eq!(pieces.len(), 3);
            let data: Vec<u8> =
                pieces.iter().flat_map(|piece| dissect(family, piece).unwrap().transport(piece).to_vec()).collect();
            assert_eq!(data, whole[if family == Family::V4 { 20 } else { 40 }..]);
        }
    }
}
