//! What the director itself sends about a packet, where it stands in for the host of a virtual
//! address: ICMP errors, echo replies, TCP resets.
//!
//! Each function reads the packet that is the cause and writes the answer, a whole IP packet,
//! to the beginning of a caller's buffer; or it says why nothing may be sent (RFC 1122 section
//! 3.2.2, RFC 4443 section 2.4, RFC 9293 section 3.10.7.1). The rule kept is that the answer is
//! the one Linux sends, byte for byte, but for the IPv6 flow label, which is
//! 0 where Linux puts a hash.
//!
//! Not known here, so left to the caller: directed broadcasts and link-layer broadcasts (never
//! to be answered), and rate limits.

mod echo;
mod echoed;
mod error;
mod reset;

use std::net::{Ipv4Addr, Ipv6Addr};

use pnet::packet::Packet;
use pnet::packet::icmp::MutableIcmpPacket;
use pnet::packet::ip::IpNextHeaderProtocol;
use pnet::packet::ipv4::{Ipv4Flags, Ipv4Packet, MutableIpv4Packet};
use pnet::packet::ipv6::{Ipv6Packet, MutableIpv6Packet};

use crate::base::{Family, Protocol};

use self::echoed::Echoed;
use super::checksum::{self, Sum};
use super::outline::{
    self, Chain, FragmentHeader, IPV4_ADDRESSES, IPV4_DESTINATION, IPV4_LENGTH, IPV6_ADDRESSES, IPV6_LENGTH, extension,
};

pub use self::echo::echo_reply;
pub use self::error::{Icmpv4Error, Icmpv6Error, Offending, icmpv4_error, icmpv6_error};
pub use self::reset::reset;

/// TTL and hop limit of what is sent here, the host's default.
pub const HOP_LIMIT: u8 = 64;

/// Whether an authentication header stands in an IPv6 packet's chain: a host without IPsec takes
/// it for a protocol that it does not speak, whatever stands behind it.
pub fn is_authenticated(packet: &[u8]) -> bool {
    outline::Chain::is_authenticated(packet)
}

/// Why nothing is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Silence {
    #[error("the packet's lengths contradict each other")]
    Malformed,
    #[error("the packet's checksum is wrong")]
    Checksum,
    #[error("the packet is a fragment")]
    Fragment,
    #[error("the packet is an ICMP error, or ICMP that cannot be told from one")]
    IcmpError,
    #[error("the packet is not sent by a single host")]
    Source,
    #[error("the packet is not sent to a single host")]
    Destination,
    #[error("the packet is a reset")]
    Reset,
    #[error("the packet is not of the kind that is answered")]
    OtherKind,
    #[error("the buffer is too small for the answer")]
    NoRoom,
}

/// A whole packet that asks for an answer from its destination.
struct Question<'a> {
    family: Family,
    /// Both addresses as they stand in the header.
    addresses: &'a [u8],
    /// What of its options is repeated.
    echoed: Echoed,
    traffic_class: u8,
    /// The transport header and what follows it.
    transport: &'a [u8],
}

impl<'a> Question<'a> {
    /// Reads a packet of `protocol` (the number is that of the family) whose sender may be answered.
    fn read(packet: &'a [u8], protocol: fn(Family) -> Protocol) -> Result<Question<'a>, Silence> {
        let family = outline::family(packet).ok_or(Silence::Malformed)?;
        let question = match family {
            Family::V4 => Question::read_ipv4(packet, protocol(family)),
            Family::V6 => Question::read_ipv6(packet, protocol(family)),
        }?;
        answerable(family, question.addresses)?;
        Ok(question)
    }

    fn read_ipv4(packet: &'a [u8], protocol: Protocol) -> Result<Question<'a>, Silence> {
        let (packet, header) = outline::ipv4(packet).ok_or(Silence::Malformed)?;
        let view = Ipv4Packet::new(packet).ok_or(Silence::Malformed)?;
        if view.get_fragment_offset() != 0 || view.get_flags() & Ipv4Flags::MoreFragments != 0 {
            return Err(Silence::Fragment);
        }
        if view.get_next_level_protocol().0 != protocol.0 {
            return Err(Silence::OtherKind);
        }
        Ok(Question {
            family: Family::V4,
            addresses: &packet[IPV4_ADDRESSES],
            echoed: Echoed::of(&packet[..header], header, &packet[IPV4_DESTINATION])?,
            traffic_class: view.get_dscp() << 2 | view.get_ecn(),
            transport: &packet[header..],
        })
    }

    fn read_ipv6(packet: &'a [u8], protocol: Protocol) -> Result<Question<'a>, Silence> {
        let packet = outline::ipv6(packet).ok_or(Silence::Malformed)?;
        let view = Ipv6Packet::new(packet).ok_or(Silence::Malformed)?;
        if Chain::new(packet).any(|link| link.kind == extension::FRAGMENT && is_part(packet, link.at)) {
            return Err(Silence::Fragment);
        }
        let upper = Chain::upper_layer(packet).ok_or(Silence::Malformed)?;
        if upper.kind != protocol.0 {
            return Err(Silence::OtherKind);
        }
        Ok(Question {
            family: Family::V6,
            addresses: &packet[IPV6_ADDRESSES],
            echoed: Echoed::NONE,
            traffic_class: view.get_traffic_class(),
            transport: packet.get(upper.at..).ok_or(Silence::Malformed)?,
        })
    }

    /// The sum of the pseudo-header for a transport of `length` bytes; the same in both directions.
    fn pseudo_header(&self, protocol: Protocol, length: usize) -> Sum {
        checksum::pseudo_header_of(self.addresses, protocol.0, length)
    }

    /// Writes an IP header in front of an answer whose transport is in place behind it.
    fn write_header(
        &self,
        answer: &mut [u8],
        protocol: Protocol,
        traffic_class: u8,
        identity: Identity,
    ) -> Result<(), Silence> {
        let (asker, asked) = self.addresses.split_at(self.addresses.len() / 2);
        write_header(answer, self.family, protocol, traffic_class, (asked, asker), identity, &self.echoed)
    }

    /// Length of the answer's IP header.
    fn header_length(&self) -> usize {
        header_length(self.family) + self.echoed.as_bytes().len()
    }
}

/// What an IPv4 header says about fragmentation; IPv6 headers say nothing.
#[derive(Clone, Copy, Debug)]
enum Identity {
    /// It may not be fragmented, so it needs no identification.
    Unfragmentable,
    Fragmentable(u16),
}

/// Length of the IP header that [`write_header`] writes, without options.
fn header_length(family: Family) -> usize {
    match family {
        Family::V4 => IPV4_LENGTH,
        Family::V6 => IPV6_LENGTH,
    }
}

/// Writes the IP header of `packet`, from and to these addresses.
fn write_header(
    packet: &mut [u8],
    family: Family,
    protocol: Protocol,
    traffic_class: u8,
    (source, destination): (&[u8], &[u8]),
    identity: Identity,
    options: &Echoed,
) -> Result<(), Silence> {
    let length = packet.len();
    let total = u16::try_from(length).map_err(|_| Silence::Malformed)?;
    match family {
        Family::V4 => {
            let options = options.as_bytes();
            let header_length = IPV4_LENGTH + options.len();
            let header = packet.get_mut(..header_length).ok_or(Silence::NoRoom)?;
            header[IPV4_LENGTH..].copy_from_slice(options);
            let mut header = MutableIpv4Packet::new(header).ok_or(Silence::NoRoom)?;
            header.set_version(4);
            header.set_header_length((header_length / 4) as u8);
            header.set_dscp(traffic_class >> 2);
            header.set_ecn(traffic_class & 3);
            header.set_total_length(total);
            let (flags, identification) = match identity {
                Identity::Unfragmentable => (Ipv4Flags::DontFragment, 0),
                Identity::Fragmentable(identification) => (0, identification),
            };
            header.set_identification(identification);
            header.set_flags(flags);
            header.set_fragment_offset(0);
            header.set_ttl(HOP_LIMIT);
            header.set_next_level_protocol(IpNextHeaderProtocol(protocol.0));
            header.set_source(ipv4_address(source)?);
            header.set_destination(ipv4_address(destination)?);
            header.set_checksum(0);
            let sum = checksum::of(header.packet());
            header.set_checksum(sum.number());
        }
        Family::V6 => {
            let mut header = MutableIpv6Packet::new(packet).ok_or(Silence::NoRoom)?;
            header.set_version(6);
            header.set_traffic_class(traffic_class);
            header.set_flow_label(0);
            header.set_payload_length((length - IPV6_LENGTH) as u16);
            header.set_next_header(IpNextHeaderProtocol(protocol.0));
            header.set_hop_limit(HOP_LIMIT);
            header.set_source(ipv6_address(source)?);
            header.set_destination(ipv6_address(destination)?);
        }
    }
    Ok(())
}

/// Fills in the checksum of an ICMP or an ICMPv6 message: it stands in the same place in both.
fn write_icmp_checksum(message: &mut [u8], pseudo_header: Sum) -> Result<(), Silence> {
    MutableIcmpPacket::new(message).ok_or(Silence::NoRoom)?.set_checksum(0);
    let sum = pseudo_header.add_bytes(message).checksum();
    MutableIcmpPacket::new(message).ok_or(Silence::NoRoom)?.set_checksum(sum.number());
    Ok(())
}

fn ipv4_address(bytes: &[u8]) -> Result<Ipv4Addr, Silence> {
    bytes.first_chunk::<4>().map(|&octets| Ipv4Addr::from(octets)).ok_or(Silence::Malformed)
}

fn ipv6_address(bytes: &[u8]) -> Result<Ipv6Addr, Silence> {
    bytes.first_chunk::<16>().map(|&octets| Ipv6Addr::from(octets)).ok_or(Silence::Malformed)
}

/// Whether a packet with these addresses, as they stand in the header, may be answered at all.
fn answerable(family: Family, addresses: &[u8]) -> Result<(), Silence> {
    let (source, destination) = addresses.split_at(addresses.len() / 2);
    single_source(family, source)?;
    let group = match family {
        Family::V4 => ipv4_address(destination).map(|address| address.is_multicast() || address.is_broadcast()),
        Family::V6 => ipv6_address(destination).map(|address| address.is_multicast()),
    }?;
    if group { Err(Silence::Destination) } else { Ok(()) }
}

fn single_source(family: Family, source: &[u8]) -> Result<(), Silence> {
    let single = match family {
        Family::V4 => {
            let address = ipv4_address(source)?;
            !address.is_unspecified() && !address.is_multicast() && !address.is_broadcast()
        }
        Family::V6 => {
            let address = ipv6_address(source)?;
            !address.is_unspecified() && !address.is_multicast()
        }
    };
    if single { Ok(()) } else { Err(Silence::Source) }
}

/// Whether the fragment header at `at` makes the packet a part of another.
fn is_part(packet: &[u8], at: usize) -> bool {
    FragmentHeader::read(packet, at).is_none_or(|header| header.offset != 0 || header.more)
}

#[cfg(test)]
mod tests;
