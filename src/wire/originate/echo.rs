//! Echo replies: a virtual address answers pings (RFC 792, RFC 4443 section 4).

use pnet::packet::icmp::{IcmpPacket, IcmpType, IcmpTypes, MutableIcmpPacket};
use pnet::packet::icmpv6::Icmpv6Types;

use crate::base::{Family, Protocol};

use super::super::checksum::Sum;
use super::{Identity, Question, Silence, write_icmp_checksum};

/// Header of an echo message with identifier and sequence number.
const ECHO_LENGTH: usize = 8;

/// Writes the reply to the ICMP or ICMPv6 echo request in `request` and returns its length,
/// which is that of the request without extension headers and options, but for a recorded route. It is not fragmented;
/// `identification` is for IPv4.
///
/// # Errors
/// The [`Silence`] to be kept instead.
pub fn echo_reply(request: &[u8], identification: u16, buffer: &mut [u8]) -> Result<usize, Silence> {
    let question = Question::read(request, icmp)?;
    let icmp = question.transport;
    // The type stands in the same place in ICMP and ICMPv6.
    let kind = IcmpPacket::new(icmp).ok_or(Silence::Malformed)?.get_icmp_type().0;
    let (request_type, reply_type) = types(question.family);
    if kind != request_type {
        return Err(Silence::OtherKind);
    }
    if icmp.len() < ECHO_LENGTH {
        return Err(Silence::Malformed);
    }
    let protocol = self::icmp(question.family);
    // ICMP has no pseudo-header, ICMPv6 has.
    let pseudo_header = match question.family {
        Family::V4 => Sum::ZERO,
        Family::V6 => question.pseudo_header(protocol, icmp.len()),
    };
    if !pseudo_header.add_bytes(icmp).is_valid() {
        return Err(Silence::Checksum);
    }
    let header = question.header_length();
    let answer = buffer.get_mut(..header + icmp.len()).ok_or(Silence::NoRoom)?;
    let reply = &mut answer[header..];
    reply.copy_from_slice(icmp);
    MutableIcmpPacket::new(reply).ok_or(Silence::NoRoom)?.set_icmp_type(IcmpType(reply_type));
    write_icmp_checksum(reply, pseudo_header)?;
    let length = answer.len();
    question.write_header(answer, protocol, question.traffic_class, Identity::Fragmentable(identification))?;
    Ok(length)
}

fn icmp(family: Family) -> Protocol {
    match family {
        Family::V4 => Protocol::ICMP,
        Family::V6 => Protocol::ICMPV6,
    }
}

/// Types of request and reply.
fn types(family: Family) -> (u8, u8) {
    match family {
        Family::V4 => (IcmpTypes::EchoRequest.0, IcmpTypes::EchoReply.0),
        Family::V6 => (Icmpv6Types::EchoRequest.0, Icmpv6Types::EchoReply.0),
    }
}
