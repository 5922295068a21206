//! Network address translation: one end of a packet is rewritten, checksums follow.

use crate::base::{Address, Family, Port, Protocol};
use crate::wire::checksum::{self, Checksum, Sum};
use crate::wire::ip::{self, End};
use crate::wire::transport::{self, icmp, sctp, tcp, udp};
use crate::wire::{Dissected, Frame};

use super::super::related::Quoted;
use super::super::verdict::DropReason;

/// Gives a packet a new source or destination, address and port.
///
/// # Errors
/// The transport header is not complete.
pub fn rewrite(frame: &mut Frame, parts: &Dissected, end: End, new: (Address, Port)) -> Result<(), DropReason> {
    let partial = frame.offload.is_partial();
    let packet = frame.packet_mut();
    let (old, port_range) = match end {
        End::Source => (parts.source, transport::SOURCE_PORT),
        End::Destination => (parts.destination, transport::DESTINATION_PORT),
    };
    let segment = &mut packet[parts.transport..parts.length];
    let needed = match parts.protocol {
        Protocol::TCP => tcp::LENGTH,
        Protocol::UDP => udp::LENGTH,
        Protocol::SCTP => sctp::LENGTH,
        _ => 0,
    };
    if segment.len() < needed {
        return Err(DropReason::TransportTruncated);
    }
    let addresses = Sum::ZERO.subtract_address(old).add_address(new.0);
    match parts.protocol {
        Protocol::TCP | Protocol::UDP => {
            let old_port = transport::port(segment, port_range.clone());
            transport::set_port(segment, port_range, new.1);
            let at = if parts.protocol == Protocol::TCP { tcp::CHECKSUM } else { udp::CHECKSUM };
            let Some(sum) = Checksum::read(segment, at) else { return Err(DropReason::TransportTruncated) };
            if partial {
                // Holds the pseudo-header's sum alone: ports are summed later, by whoever finishes it.
                sum.updated_partial(addresses).write(segment, at);
            } else if parts.protocol == Protocol::TCP {
                sum.updated(addresses.subtract_number(old_port.0).add_number(new.1.0)).write(segment, at);
            } else if !sum.is_zero() {
                sum.updated(addresses.subtract_number(old_port.0).add_number(new.1.0)).not_zero().write(segment, at);
            } else {
                let (source, destination) = match end {
                    End::Source => (new.0, parts.destination),
                    End::Destination => (parts.source, new.0),
                };
                checksum::pseudo_header(source, destination, parts.protocol.0, segment.len())
                    .add_bytes(segment)
                    .checksum()
                    .not_zero()
                    .write(segment, at);
            }
        }
        Protocol::SCTP if transport::port(segment, port_range.clone()) != new.1 => {
            transport::set_port(segment, port_range, new.1);
            // CRC32c does not cover the addresses (RFC 9260 section 6.8).
            sctp::write_checksum(segment);
        }
        _ => {}
    }
    ip::set_address(parts.family, packet, end, new.0);
    Ok(())
}

/// Gives an ICMP error a new source or destination, and the packet quoted in it the same at its
/// opposite end. The quoted transport checksum stays as it was.
pub fn rewrite_error(frame: &mut Frame, parts: &Dissected, inner: &Quoted, end: End, new: (Address, Port)) {
    let packet = frame.packet_mut();
    ip::set_address(parts.family, packet, end, new.0);
    let (inner_end, port_range) = match end {
        End::Source => (End::Destination, transport::DESTINATION_PORT),
        End::Destination => (End::Source, transport::SOURCE_PORT),
    };
    let quoted = &mut packet[inner.at..parts.length];
    ip::set_address(parts.family, quoted, inner_end, new.0);
    if inner.parts.ports.is_some() {
        transport::set_port(&mut quoted[inner.parts.transport..], port_range, new.1);
    }
    let pseudo = match parts.family {
        Family::V4 => Sum::ZERO,
        Family::V6 => {
            let (source, destination) = (ip::source(parts.family, packet), ip::destination(parts.family, packet));
            checksum::pseudo_header(source, destination, Protocol::ICMPV6.0, parts.length - parts.transport)
        }
    };
    let message = &mut packet[parts.transport..parts.length];
    message[icmp::CHECKSUM..icmp::CHECKSUM + 2].fill(0);
    let sum = pseudo.add_bytes(message).checksum();
    // The kernel finishes ICMPv6 as it does UDP: it never writes a zero.
    let sum = if parts.family == Family::V6 { sum.not_zero() } else { sum };
    sum.write(message, icmp::CHECKSUM);
    frame.offload.checksum = crate::wire::offload::Completion::Complete;
}
