//! Taking the outer headers off a tunnel's packet: pure, in place, and strict.
//!
//! ```text
//! outer IPv4 or IPv6 ─┬─ 4 / 41 ───────────────────── inner IPv4 / IPv6    (RFC 2003, RFC 2473, RFC 4213)
//!                     ├─ 47 GRE, protocol type ────── inner                 (RFC 2784)
//!                     └─ 17 UDP to the GUE port, GUE ─ inner                (draft-ietf-intarea-gue)
//! ```
//!
//! What the kernel's own tunnel devices take is taken, with one rule more: the inner packet has to
//! be for a virtual address, so that nobody can use a real server to forward what he likes.

use std::net::IpAddr;
use std::ops::Range;

use super::ecn::Ecn;
use crate::base::{Address, Family, Port, Protocol};
use crate::wire::offload::{Completion, Offload};

/// Declares the reasons, each with the sentence that is shown for it.
macro_rules! drop_reasons {
    ($($name:ident: $sentence:literal,)*) => {
        /// Why a packet was not taken out of its tunnel.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum DropReason {
            $(#[doc = $sentence] $name,)*
        }

        impl DropReason {
            /// Every reason with its sentence, in the order of their numbers.
            pub const ALL: [(DropReason, &str); [$($sentence),*].len()] = [$((DropReason::$name, $sentence)),*];
        }
    };
}

drop_reasons! {
    Truncated: "the outer packet ends before its headers do",
    BadOuterHeader: "the outer header is not that of an IP packet, or its checksum is wrong",
    Fragment: "the outer packet is a fragment that the kernel did not put together",
    NotOurs: "the outer packet is for another host",
    BadOuterChecksum: "the outer UDP or GRE checksum is wrong",
    NotATunnel: "a kind of tunnel that is not asked for",
    UnknownOption: "a GRE or GUE header with options that are not known",
    NotAPacket: "what is inside is not an IP packet of the family announced",
    BadInnerLength: "the inner packet is longer than the outer one has room for",
    NotVirtual: "the inner packet is for an address that is not virtual",
    CongestionLost: "the network marked congestion, and the inner packet cannot carry the mark",
    UnknownOffload: "the kernel announced an offload that is not known",
    Refused: "the tunnel device refused the inner packet",
}

/// What is taken out of tunnels here.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Addresses that inner packets may be for.
    pub virtual_addresses: Vec<IpAddr>,
    /// Which outer protocols are ours to take, by outer family; the kernel may have others.
    pub protocols: Vec<(Family, Protocol)>,
    /// UDP port of GUE tunnels.
    pub gue_port: Option<Port>,
}

/// An inner packet, lying in the outer one's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inner {
    pub range: Range<usize>,
    pub offload: Offload,
}

/// The outer header's fields.
struct Outer {
    family: Family,
    protocol: Protocol,
    source: Address,
    destination: Address,
    ecn: Ecn,
    /// Where what it carries begins and ends.
    payload: Range<usize>,
}

/// What lies between the outer IP header and the inner one.
struct Shim {
    length: usize,
    inner: Family,
    /// GUE's remote checksum offload: start and field, from the inner packet's beginning.
    remote_checksum: Option<(u16, u16)>,
}

pub(super) mod ipv4 {
    use std::ops::Range;

    pub const LENGTH: usize = 20;
    pub const TOTAL_LENGTH: Range<usize> = 2..4;
    pub const FRAGMENT: Range<usize> = 6..8;
    /// More fragments, and the offset.
    pub const FRAGMENT_BITS: u16 = 0x3fff;
    pub const TOS: usize = 1;
    pub const PROTOCOL: usize = 9;
    pub const CHECKSUM: Range<usize> = 10..12;
    pub const SOURCE: Range<usize> = 12..16;
    pub const DESTINATION: Range<usize> = 16..20;
}

pub(super) mod ipv6 {
    use std::ops::Range;

    pub const LENGTH: usize = 40;
    /// Low half of the traffic class in the high half of this byte.
    pub const CLASS_LOW: usize = 1;
    pub const PAYLOAD_LENGTH: Range<usize> = 4..6;
    pub const NEXT_HEADER: usize = 6;
    pub const SOURCE: Range<usize> = 8..24;
    pub const DESTINATION: Range<usize> = 24..40;
}

pub(super) mod gre {
    use std::ops::Range;

    pub const LENGTH: usize = 4;
    pub const FLAGS: Range<usize> = 0..2;
    pub const PROTOCOL_TYPE: Range<usize> = 2..4;
    pub const CHECKSUM_PRESENT: u16 = 0x8000;
    pub const IPV4: u16 = 0x0800;
    pub const IPV6: u16 = 0x86dd;
}

pub(super) mod udp {
    use std::ops::Range;

    pub const LENGTH: usize = 8;
    pub const DESTINATION_PORT: Range<usize> = 2..4;
    pub const DATAGRAM_LENGTH: Range<usize> = 4..6;
    pub const CHECKSUM: Range<usize> = 6..8;
}

pub(super) mod gue {
    use std::ops::Range;

    pub const LENGTH: usize = 4;
    pub const VERSION_SHIFT: u8 = 6;
    pub const CONTROL: u8 = 0x20;
    /// Length of the options in words.
    pub const OPTION_WORDS: u8 = 0x1f;
    pub const PROTOCOL: usize = 1;
    pub const FLAGS: Range<usize> = 2..4;
    /// The only flag: a word of private flags comes first among the options.
    pub const PRIVATE: u16 = 0x0001;
    pub const REMOTE_CHECKSUM: u32 = 0x8000_0000;
}

/// Takes `packet`, which begins with its outer IP header, apart; the inner one's congestion mark is
/// updated in place. `ours` says whether an address is one of this host's.
///
/// # Errors
/// The reason for which the packet is to be dropped.
pub fn decapsulate(
    packet: &mut [u8],
    offload: Offload,
    policy: &Policy,
    ours: impl Fn(IpAddr) -> bool,
) -> Result<Inner, DropReason> {
    let outer = Outer::read(packet)?;
    if !ours(outer.destination.to_ip(outer.family)) {
        return Err(DropReason::NotOurs);
    }
    let shim = Shim::read(packet, &outer, offload, policy)?;
    let start = outer.payload.start + shim.length;
    let room = packet.get_mut(start..outer.payload.end).ok_or(DropReason::Truncated)?;
    let (length, destination) = inner_length_and_destination(room, shim.inner)?;
    if !policy.virtual_addresses.contains(&destination) {
        return Err(DropReason::NotVirtual);
    }
    carry_congestion_mark(&mut room[..length], shim.inner, outer.ecn)?;
    let offload = inner_offload(offload, start, shim.remote_checksum);
    Ok(Inner { range: start..start + length, offload })
}

impl Outer {
    fn read(packet: &[u8]) -> Result<Outer, DropReason> {
        match packet.first().ok_or(DropReason::Truncated)? >> 4 {
            4 => Outer::read_v4(packet),
            6 => Outer::read_v6(packet),
            _ => Err(DropReason::BadOuterHeader),
        }
    }

    fn read_v4(packet: &[u8]) -> Result<Outer, DropReason> {
        let length = usize::from(packet[0] & 0xf) * 4;
        let header = packet.get(..length).ok_or(DropReason::Truncated)?;
        if length < ipv4::LENGTH || checksum(&[header]) != 0 {
            return Err(DropReason::BadOuterHeader);
        }
        let end = usize::from(word(header, ipv4::TOTAL_LENGTH));
        if end < length {
            return Err(DropReason::BadOuterHeader);
        }
        if end > packet.len() {
            return Err(DropReason::Truncated);
        }
        if word(header, ipv4::FRAGMENT) & ipv4::FRAGMENT_BITS != 0 {
            return Err(DropReason::Fragment);
        }
        Ok(Outer {
            family: Family::V4,
            protocol: Protocol(header[ipv4::PROTOCOL]),
            source: address(Family::V4, &header[ipv4::SOURCE]),
            destination: address(Family::V4, &header[ipv4::DESTINATION]),
            ecn: Ecn::of(header[ipv4::TOS]),
            payload: length..end,
        })
    }

    fn read_v6(packet: &[u8]) -> Result<Outer, DropReason> {
        let header = packet.get(..ipv6::LENGTH).ok_or(DropReason::Truncated)?;
        let end = ipv6::LENGTH + usize::from(word(header, ipv6::PAYLOAD_LENGTH));
        if end > packet.len() {
            return Err(DropReason::Truncated);
        }
        Ok(Outer {
            family: Family::V6,
            protocol: Protocol(header[ipv6::NEXT_HEADER]),
            source: address(Family::V6, &header[ipv6::SOURCE]),
            destination: address(Family::V6, &header[ipv6::DESTINATION]),
            ecn: Ecn::of(header[ipv6::CLASS_LOW] >> 4),
            payload: ipv6::LENGTH..end,
        })
    }
}

impl Shim {
    fn read(packet: &[u8], outer: &Outer, offload: Offload, policy: &Policy) -> Result<Shim, DropReason> {
        let payload = &packet[outer.payload.clone()];
        if outer.protocol == Protocol::UDP {
            return Shim::read_gue(payload, outer, offload, policy.gue_port);
        }
        if !policy.protocols.contains(&(outer.family, outer.protocol)) {
            return Err(DropReason::NotATunnel);
        }
        match outer.protocol {
            Protocol::IPIP => Ok(Shim { length: 0, inner: Family::V4, remote_checksum: None }),
            Protocol::IPV6 => Ok(Shim { length: 0, inner: Family::V6, remote_checksum: None }),
            Protocol::GRE => Shim::read_gre(payload, offload),
            _ => Err(DropReason::NotATunnel),
        }
    }

    fn read_gre(payload: &[u8], offload: Offload) -> Result<Shim, DropReason> {
        let header = payload.get(..gre::LENGTH).ok_or(DropReason::Truncated)?;
        let flags = word(header, gre::FLAGS);
        if flags & !gre::CHECKSUM_PRESENT != 0 {
            return Err(DropReason::UnknownOption);
        }
        let inner = match word(header, gre::PROTOCOL_TYPE) {
            gre::IPV4 => Family::V4,
            gre::IPV6 => Family::V6,
            _ => return Err(DropReason::NotAPacket),
        };
        if flags & gre::CHECKSUM_PRESENT == 0 {
            return Ok(Shim { length: gre::LENGTH, inner, remote_checksum: None });
        }
        if has_crossed_a_wire(offload) && checksum(&[payload]) != 0 {
            return Err(DropReason::BadOuterChecksum);
        }
        // The checksum and a reserved half-word follow.
        Ok(Shim { length: gre::LENGTH + 4, inner, remote_checksum: None })
    }

    fn read_gue(payload: &[u8], outer: &Outer, offload: Offload, port: Option<Port>) -> Result<Shim, DropReason> {
        let header = payload.get(..udp::LENGTH).ok_or(DropReason::Truncated)?;
        if port != Some(Port(word(header, udp::DESTINATION_PORT))) {
            return Err(DropReason::NotATunnel);
        }
        // A super-frame's length field is that of no datagram in it.
        if !offload.is_segmented() && usize::from(word(header, udp::DATAGRAM_LENGTH)) != payload.len() {
            return Err(DropReason::BadInnerLength);
        }
        // Without a checksum (zero) tunnels may be sent over IPv6 too (RFC 6935).
        if word(header, udp::CHECKSUM) != 0 && has_crossed_a_wire(offload) && outer.checksum_of(payload) != 0 {
            return Err(DropReason::BadOuterChecksum);
        }
        let message = &payload[udp::LENGTH..];
        let first = *message.first().ok_or(DropReason::Truncated)?;
        match (first >> gue::VERSION_SHIFT, first >> 4) {
            // Version 1 is an IP packet without any header; its version's first bits are these.
            (1, 4) => Ok(Shim { length: udp::LENGTH, inner: Family::V4, remote_checksum: None }),
            (1, 6) => Ok(Shim { length: udp::LENGTH, inner: Family::V6, remote_checksum: None }),
            (0, _) => Shim::read_gue_header(message),
            _ => Err(DropReason::UnknownOption),
        }
    }

    /// Version 0 of GUE, from its first byte on.
    fn read_gue_header(message: &[u8]) -> Result<Shim, DropReason> {
        let header = message.get(..gue::LENGTH).ok_or(DropReason::Truncated)?;
        let options = usize::from(header[0] & gue::OPTION_WORDS) * 4;
        let options = message.get(gue::LENGTH..gue::LENGTH + options).ok_or(DropReason::Truncated)?;
        let inner = match Protocol(header[gue::PROTOCOL]) {
            _ if header[0] & gue::CONTROL != 0 => return Err(DropReason::UnknownOption),
            Protocol::IPIP => Family::V4,
            Protocol::IPV6 => Family::V6,
            _ => return Err(DropReason::NotAPacket),
        };
        let remote_checksum = match word(header, gue::FLAGS) {
            0 => None,
            gue::PRIVATE => {
                let flags = options.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
                match (flags.ok_or(DropReason::Truncated)?, options.get(4..8)) {
                    (0, _) => None,
                    (gue::REMOTE_CHECKSUM, Some(option)) => Some((word(option, 0..2), word(option, 2..4))),
                    _ => return Err(DropReason::UnknownOption),
                }
            }
            _ => return Err(DropReason::UnknownOption),
        };
        Ok(Shim { length: udp::LENGTH + gue::LENGTH + options.len(), inner, remote_checksum })
    }
}

impl Outer {
    /// The checksum over the pseudo-header and a UDP datagram with its checksum: 0 if that is right.
    fn checksum_of(&self, datagram: &[u8]) -> u16 {
        let (source, destination) = (self.source.octets16(), self.destination.octets16());
        let length = self.family.address_length();
        let rest = [0, self.protocol.0, (datagram.len() >> 8) as u8, datagram.len() as u8];
        checksum(&[&source[..length], &destination[..length], &rest, datagram])
    }
}

/// Whether checksums in a packet are finished, and unverified: the kernel hands local packets over
/// before that is so, and there is nothing to be found out by verifying those.
fn has_crossed_a_wire(offload: Offload) -> bool {
    offload.checksum == Completion::Complete && !offload.is_segmented()
}

/// The inner packet's length and destination, its version having been compared with `family`.
fn inner_length_and_destination(inner: &[u8], family: Family) -> Result<(usize, IpAddr), DropReason> {
    let version = inner.first().ok_or(DropReason::Truncated)? >> 4;
    let (length, shortest, destination) = match (version, family) {
        (4, Family::V4) => {
            let header = inner.get(..ipv4::LENGTH).ok_or(DropReason::Truncated)?;
            let own = usize::from(header[0] & 0xf) * 4;
            let shortest = own.max(ipv4::LENGTH);
            (usize::from(word(header, ipv4::TOTAL_LENGTH)), shortest, &header[ipv4::DESTINATION])
        }
        (6, Family::V6) => {
            let header = inner.get(..ipv6::LENGTH).ok_or(DropReason::Truncated)?;
            let length = ipv6::LENGTH + usize::from(word(header, ipv6::PAYLOAD_LENGTH));
            (length, ipv6::LENGTH, &header[ipv6::DESTINATION])
        }
        _ => return Err(DropReason::NotAPacket),
    };
    if length < shortest || length > inner.len() {
        return Err(DropReason::BadInnerLength);
    }
    Ok((length, address(family, destination).to_ip(family)))
}

/// Combines the congestion marks of the outer and the inner header in the inner one.
fn carry_congestion_mark(inner: &mut [u8], family: Family, outer: Ecn) -> Result<(), DropReason> {
    let (at, shift) = match family {
        Family::V4 => (ipv4::TOS, 0),
        Family::V6 => (ipv6::CLASS_LOW, 4),
    };
    let own = Ecn::of(inner[at] >> shift);
    let combined = own.leaving_tunnel(outer).ok_or(DropReason::CongestionLost)?;
    if combined == own {
        return Ok(());
    }
    let before = word(inner, 0..2);
    inner[at] = inner[at] & !(Ecn::MASK << shift) | combined.bits() << shift;
    if family == Family::V4 {
        // RFC 1624, equation 3: the new sum is that of the old one, less the old word, plus the new.
        let after = word(inner, 0..2);
        let parts = [!word(inner, ipv4::CHECKSUM), !before, after].map(u16::to_be_bytes);
        let updated = checksum(&[&parts[0], &parts[1], &parts[2]]);
        inner[ipv4::CHECKSUM].copy_from_slice(&updated.to_be_bytes());
    }
    Ok(())
}

/// What is unfinished in the inner packet, which begins at `start` of the outer one.
fn inner_offload(outer: Offload, start: usize, remote_checksum: Option<(u16, u16)>) -> Offload {
    let start = u16::try_from(start).unwrap_or(u16::MAX);
    let checksum = match outer.checksum {
        Completion::Partial { start: from, offset } if from >= start => {
            Completion::Partial { start: from - start, offset }
        }
        // The checksum that was left unfinished, or was verified, is the outer packet's.
        _ => match remote_checksum {
            Some((from, field)) if field >= from => Completion::Partial { start: from, offset: field - from },
            _ => Completion::Complete,
        },
    };
    Offload { checksum, header_length: outer.header_length.saturating_sub(start), ..outer }
}

/// The Internet checksum (RFC 1071) of `parts` one after the other, of which all but the last have
/// an even length; 0 over data that contain their own correct checksum.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        let (words, rest) = part.as_chunks::<2>();
        sum += words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum::<u64>();
        sum += rest.first().map_or(0, |byte| u64::from(*byte) << 8);
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The half-word at `range` of a header that is known to be long enough.
fn word(header: &[u8], range: Range<usize>) -> u16 {
    u16::from_be_bytes([header[range.start], header[range.start + 1]])
}

fn address(family: Family, octets: &[u8]) -> Address {
    Address::read(family, octets).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests;
