//! ICMP errors (RFC 792, RFC 1812 section 4.3.2, RFC 4443).

use pnet::packet::MutablePacket;
use pnet::packet::icmp::{IcmpCode, IcmpType, MutableIcmpPacket};
use pnet::packet::ipv4::Ipv4Packet;
use pnet::packet::ipv6::Ipv6Packet;

use crate::base::{Address, Family, Protocol};

use super::super::checksum::{self, Checksum, Sum};
use super::super::ip::v4;
use super::super::outline::{Chain, IPV4_ADDRESSES, IPV4_LENGTH, IPV6_ADDRESSES, IPV6_LENGTH, IPV6_MINIMUM_MTU};
use super::super::reassembly::Problem;
use super::super::segment::Unfinished;
use super::echoed::Echoed;
use super::{Identity, Silence, answerable, single_source, write_header, write_icmp_checksum};

/// Length of an ICMP error's own header, in front of the quoted packet.
const ICMP_LENGTH: usize = 8;
/// What is quoted behind the IP header at least, where the packet has it.
const LEAST_QUOTED: usize = 8;
/// Precedence "internetwork control", and what Linux keeps of the offending packet's TOS beside it.
const INTERNETWORK_CONTROL: u8 = 0xc0;
const KEPT_TOS: u8 = 0x1e;
/// The longest ICMPv4 error, its IP header included.
const IPV4_ERROR_LENGTH: usize = 576;

/// Type, code and the four bytes behind the checksum of an ICMPv4 error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmpv4Error {
    pub kind: u8,
    pub code: u8,
    pub rest: [u8; 4],
}

impl Icmpv4Error {
    pub const HOST_UNREACHABLE: Icmpv4Error = Icmpv4Error::new(3, 1);
    pub const PROTOCOL_UNREACHABLE: Icmpv4Error = Icmpv4Error::new(3, 2);
    pub const PORT_UNREACHABLE: Icmpv4Error = Icmpv4Error::new(3, 3);
    /// The TTL ran out on the way.
    pub const TIME_EXCEEDED: Icmpv4Error = Icmpv4Error::new(11, 0);
    pub const REASSEMBLY_TIME_EXCEEDED: Icmpv4Error = Icmpv4Error::new(11, 1);

    const fn new(kind: u8, code: u8) -> Icmpv4Error {
        Icmpv4Error { kind, code, rest: [0; 4] }
    }

    const PARAMETER_PROBLEM: u8 = 12;

    /// The byte at `pointer` is wrong in the way that `code` says.
    pub fn parameter_problem(code: u8, pointer: u8) -> Icmpv4Error {
        Icmpv4Error { rest: [pointer, 0, 0, 0], ..Icmpv4Error::new(Icmpv4Error::PARAMETER_PROBLEM, code) }
    }

    /// The packet may not be fragmented and is longer than `mtu` (RFC 1191).
    pub fn fragmentation_needed(mtu: u16) -> Icmpv4Error {
        let [high, low] = mtu.to_be_bytes();
        Icmpv4Error { rest: [0, 0, high, low], ..Icmpv4Error::new(3, 4) }
    }
}

/// Type, code and the four bytes behind the checksum of an ICMPv6 error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmpv6Error {
    pub kind: u8,
    pub code: u8,
    pub rest: [u8; 4],
}

impl Icmpv6Error {
    pub const NO_ROUTE: Icmpv6Error = Icmpv6Error::new(1, 0);
    pub const ADDRESS_UNREACHABLE: Icmpv6Error = Icmpv6Error::new(1, 3);
    pub const PORT_UNREACHABLE: Icmpv6Error = Icmpv6Error::new(1, 4);
    /// The hop limit ran out on the way.
    pub const TIME_EXCEEDED: Icmpv6Error = Icmpv6Error::new(3, 0);
    pub const REASSEMBLY_TIME_EXCEEDED: Icmpv6Error = Icmpv6Error::new(3, 1);

    const PACKET_TOO_BIG: u8 = 2;
    const PARAMETER_PROBLEM: u8 = 4;
    const UNRECOGNIZED_NEXT_HEADER: u8 = 1;
    const UNRECOGNIZED_OPTION: u8 = 2;

    const fn new(kind: u8, code: u8) -> Icmpv6Error {
        Icmpv6Error { kind, code, rest: [0; 4] }
    }

    /// The packet is longer than `mtu`.
    pub fn packet_too_big(mtu: u32) -> Icmpv6Error {
        Icmpv6Error { rest: mtu.to_be_bytes(), ..Icmpv6Error::new(Icmpv6Error::PACKET_TOO_BIG, 0) }
    }

    /// The byte at `pointer` is wrong in the way that `code` says.
    pub fn parameter_problem(code: u8, pointer: u32) -> Icmpv6Error {
        Icmpv6Error { rest: pointer.to_be_bytes(), ..Icmpv6Error::new(Icmpv6Error::PARAMETER_PROBLEM, code) }
    }

    /// The upper layer's protocol is not spoken here: IPv6's protocol unreachable. It points at
    /// where `packet` names the protocol; an authentication header is one, to a host without IPsec.
    pub fn protocol_unreachable(packet: &[u8]) -> Icmpv6Error {
        let named_at = Chain::not_taken(packet).map_or(0, |link| link.named_at as u32);
        Icmpv6Error::parameter_problem(Icmpv6Error::UNRECOGNIZED_NEXT_HEADER, named_at)
    }

    /// Whether it is sent about a packet to a group too: the sender has no other way to know.
    fn concerns_groups(self) -> bool {
        self.kind == Icmpv6Error::PACKET_TOO_BIG
            || (self.kind == Icmpv6Error::PARAMETER_PROBLEM && self.code == Icmpv6Error::UNRECOGNIZED_OPTION)
    }
}

impl From<Problem> for Icmpv6Error {
    fn from(problem: Problem) -> Icmpv6Error {
        Icmpv6Error::parameter_problem(problem.code(), problem.pointer())
    }
}

/// A packet that an error is about. It may be cut short, as one quoted by another error is.
///
/// What is quoted is the packet as it stands, with one exception: an unfinished transport
/// checksum is finished in the quotation, where the quotation reaches that far, so that it is
/// the packet a wire would have seen. A super-frame is quoted as the one long packet that it
/// says it is; to quote what would have been sent, pass the first of its segments.
#[derive(Clone, Copy, Debug)]
pub struct Offending<'a> {
    pub packet: &'a [u8],
    pub unfinished: Option<Unfinished>,
    /// What the IPv4 header's checksum is quoted as, where it is not what stands there.
    pub header_checksum: Option<Checksum>,
}

impl<'a> From<&'a [u8]> for Offending<'a> {
    /// A packet with a finished checksum.
    fn from(packet: &'a [u8]) -> Offending<'a> {
        Offending { packet, unfinished: None, header_checksum: None }
    }
}

/// Writes an ICMPv4 error about `offending`, from `source`, and returns its length: as much is
/// quoted as fits 576 bytes and `buffer`.
///
/// # Errors
/// The [`Silence`] to be kept instead.
pub fn icmpv4_error(
    offending: Offending<'_>,
    error: Icmpv4Error,
    source: Address,
    identification: u16,
    buffer: &mut [u8],
) -> Result<usize, Silence> {
    let view = Ipv4Packet::new(offending.packet).ok_or(Silence::Malformed)?;
    let header = usize::from(view.get_header_length()) * 4;
    let total = usize::from(view.get_total_length());
    let packet = &offending.packet[..total.min(offending.packet.len())];
    if view.get_version() != 4 || header < IPV4_LENGTH || packet.len() < header {
        return Err(Silence::Malformed);
    }
    if view.get_fragment_offset() != 0 {
        return Err(Silence::Fragment);
    }
    if view.get_next_level_protocol().0 == Protocol::ICMP.0 && !packet.get(header).copied().is_some_and(is_query) {
        return Err(Silence::IcmpError);
    }
    answerable(Family::V4, &packet[IPV4_ADDRESSES])?;
    let understood = if error.kind == Icmpv4Error::PARAMETER_PROBLEM { usize::from(error.rest[0]) } else { header };
    let echoed = Echoed::of(&packet[..header], understood, &source.octets4())?;
    let own_header = IPV4_LENGTH + echoed.as_bytes().len();
    let answer = quote(own_header, Offending { packet, ..offending }, header, IPV4_ERROR_LENGTH, buffer)?;
    let length = answer.len();
    write_error(&mut answer[own_header..], error.kind, error.code, error.rest)?;
    write_icmp_checksum(&mut answer[own_header..], Sum::ZERO)?;
    let tos = view.get_dscp() << 2 | view.get_ecn();
    let (asker, _) = packet[IPV4_ADDRESSES].split_at(Family::V4.address_length());
    write_header(
        answer,
        Family::V4,
        Protocol::ICMP,
        tos & KEPT_TOS | INTERNETWORK_CONTROL,
        (&source.octets4(), asker),
        Identity::Fragmentable(identification),
        &echoed,
    )?;
    Ok(length)
}

/// Writes an ICMPv6 error about `offending`, from `source`, and returns its length: as much is
/// quoted as fits 1280 bytes and `buffer`.
///
/// # Errors
/// The [`Silence`] to be kept instead.
pub fn icmpv6_error(
    offending: Offending<'_>,
    error: Icmpv6Error,
    source: Address,
    buffer: &mut [u8],
) -> Result<usize, Silence> {
    let view = Ipv6Packet::new(offending.packet).ok_or(Silence::Malformed)?;
    let total = IPV6_LENGTH + usize::from(view.get_payload_length());
    let packet = &offending.packet[..total.min(offending.packet.len())];
    if view.get_version() != 6 {
        return Err(Silence::Malformed);
    }
    if let Some(upper) = Chain::upper_layer(packet)
        && upper.kind == Protocol::ICMPV6.0
        && !packet.get(upper.at).copied().is_some_and(is_informational)
    {
        return Err(Silence::IcmpError);
    }
    let addresses = &packet[IPV6_ADDRESSES];
    let (asker, _) = addresses.split_at(Family::V6.address_length());
    if error.concerns_groups() { single_source(Family::V6, asker) } else { answerable(Family::V6, addresses) }?;
    let answer = quote(IPV6_LENGTH, Offending { packet, ..offending }, IPV6_LENGTH, IPV6_MINIMUM_MTU, buffer)?;
    let length = answer.len();
    let source = source.octets16();
    let addresses = (&source[..], asker);
    write_header(answer, Family::V6, Protocol::ICMPV6, 0, addresses, Identity::Unfragmentable, &Echoed::NONE)?;
    write_error(&mut answer[IPV6_LENGTH..], error.kind, error.code, error.rest)?;
    let (header, message) = answer.split_at_mut(IPV6_LENGTH);
    let pseudo_header = checksum::pseudo_header_of(&header[IPV6_ADDRESSES], Protocol::ICMPV6.0, message.len());
    write_icmp_checksum(message, pseudo_header)?;
    Ok(length)
}

/// The answer's bytes in `buffer`, of `most` bytes at most, with the quotation in place behind
/// an IP header of `own_header` bytes. The offending packet has a header of `header` bytes and
/// no padding.
fn quote<'b>(
    own_header: usize,
    offending: Offending<'_>,
    header: usize,
    most: usize,
    buffer: &'b mut [u8],
) -> Result<&'b mut [u8], Silence> {
    let quoted_at = own_header + ICMP_LENGTH;
    let packet = offending.packet;
    let room = most.min(buffer.len()).checked_sub(quoted_at).ok_or(Silence::NoRoom)?;
    let length = packet.len().min(room);
    if length < packet.len().min(header + LEAST_QUOTED) {
        return Err(Silence::NoRoom);
    }
    let answer = &mut buffer[..quoted_at + length];
    let quotation = &mut answer[quoted_at..];
    quotation.copy_from_slice(&packet[..length]);
    if let Some(unfinished) = offending.unfinished
        && let Ok(checksum) = unfinished.finished(packet)
        && let Some(field) = quotation.get_mut(unfinished.field())
    {
        field.copy_from_slice(&checksum);
    }
    if let Some(checksum) = offending.header_checksum {
        checksum.write(quotation, v4::CHECKSUM);
    }
    Ok(answer)
}

/// Writes the header of an ICMP or ICMPv6 error but for its checksum.
fn write_error(message: &mut [u8], kind: u8, code: u8, rest: [u8; 4]) -> Result<(), Silence> {
    let mut icmp = MutableIcmpPacket::new(message).ok_or(Silence::NoRoom)?;
    icmp.set_icmp_type(IcmpType(kind));
    icmp.set_icmp_code(IcmpCode(code));
    icmp.payload_mut().first_chunk_mut::<4>().ok_or(Silence::NoRoom)?.copy_from_slice(&rest);
    Ok(())
}

/// Whether an ICMPv4 type is known to be no error. What is unknown is taken for one, as Linux does.
fn is_query(kind: u8) -> bool {
    matches!(kind, 0 | 8 | 13..=18)
}

/// Whether an ICMPv6 type is no error.
fn is_informational(kind: u8) -> bool {
    kind & 0x80 != 0
}
