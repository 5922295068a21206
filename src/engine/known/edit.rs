//! What the short way writes into a packet: one end's address and port, the TTL, and what that makes
//! of the checksums.

use std::ops::Range;

use crate::base::{Address, Family, Port, Protocol};
use crate::wire::Frame;
use crate::wire::checksum::{Checksum, Sum};
use crate::wire::ip::{End, v4, v6};
use crate::wire::transport::{tcp, udp};

use super::{Plain, header_length};

/// What is written into a packet besides the TTL.
pub(super) enum Edit {
    TimeToLive,
    Translate {
        end: End,
        address: Address,
        port: Port,
        /// What the addresses under both checksums change by.
        change: Sum,
        /// Where the transport's checksum lies, and what it becomes.
        checksum: (usize, Checksum),
    },
}

impl Edit {
    /// Another address and port at one end; `None` where the checksum must be computed from the
    /// whole packet.
    #[inline(always)]
    pub fn of(frame: &Frame, plain: &Plain, family: Family, end: End, new: (Address, Port)) -> Option<Edit> {
        let (old, old_port) = match end {
            End::Source => (plain.source, plain.source_port),
            End::Destination => (plain.destination, plain.destination_port),
        };
        let at = header_length(family) + if plain.protocol == Protocol::TCP { tcp::CHECKSUM } else { udp::CHECKSUM };
        let sum = Checksum::read(frame.packet(), at)?;
        let change = match family {
            // The other words are zero.
            Family::V4 => Sum::ZERO.add_word(!old.raw()[0]).add_word(new.0.raw()[0]),
            Family::V6 => Sum::ZERO.subtract_address(old).add_address(new.0),
        };
        let updated = if frame.offload.is_partial() {
            // Holds the pseudo-header's sum alone: ports are summed later, by whoever finishes it.
            sum.updated_partial(change)
        } else {
            let whole = sum.updated(change.subtract_number(old_port.0).add_number(new.1.0));
            match plain.protocol {
                Protocol::TCP => whole,
                _ if sum.is_zero() => return None,
                _ => whole.not_zero(),
            }
        };
        Some(Edit::Translate { end, address: new.0, port: new.1, change, checksum: (at, updated) })
    }

    /// Edits the packet, whose padding is cut off.
    #[inline(always)]
    pub fn apply(self, frame: &mut Frame, plain: &Plain, family: Family) {
        frame.truncate(plain.length());
        let packet = frame.packet_mut();
        let mut header_change = Sum::ZERO;
        if let Edit::Translate { end, address, port, change, checksum: (at, checksum) } = self {
            checksum.write(packet, at);
            header_change = change;
            match family {
                Family::V4 => {
                    let Some(headers) = packet.first_chunk_mut::<{ v4::LENGTH + PORTS }>() else { return };
                    let (addresses, ports) = ends(end, v4::SOURCE, v4::DESTINATION, v4::LENGTH);
                    headers[addresses].copy_from_slice(&address.octets4());
                    headers[ports].copy_from_slice(&port.0.to_be_bytes());
                }
                Family::V6 => {
                    let Some(headers) = packet.first_chunk_mut::<{ v6::LENGTH + PORTS }>() else { return };
                    let (addresses, ports) = ends(end, v6::SOURCE, v6::DESTINATION, v6::LENGTH);
                    headers[addresses].copy_from_slice(&address.octets16());
                    headers[ports].copy_from_slice(&port.0.to_be_bytes());
                }
            }
        }
        match family {
            Family::V4 => {
                let Some(header) = packet.first_chunk_mut::<{ v4::LENGTH }>() else { return };
                // The TTL is the upper half of its word: one less.
                header[v4::TTL] -= 1;
                let change = header_change.subtract_number(1 << 8);
                if let Some(sum) = Checksum::read(header, v4::CHECKSUM) {
                    sum.updated(change).write(header, v4::CHECKSUM);
                }
            }
            Family::V6 => packet[v6::HOP_LIMIT] -= 1,
        }
    }
}

/// Bytes of the two ports, with which a transport header begins.
const PORTS: usize = 4;

/// Where an end's address and port lie.
#[inline(always)]
fn ends(end: End, source: Range<usize>, destination: Range<usize>, transport: usize) -> (Range<usize>, Range<usize>) {
    match end {
        End::Source => (source, transport..transport + 2),
        End::Destination => (destination, transport + 2..transport + PORTS),
    }
}
