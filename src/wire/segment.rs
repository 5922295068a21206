//! What a network card would have done: finishing checksums and cutting super-frames.
//!
//! A locally generated packet arrives with an unfinished transport checksum, or as one
//! super-frame that stands for many packets (see [`Offload`]). Where it can be handed on with
//! that metadata nothing here is needed; where it cannot (a tunnel puts other headers in front,
//! an error quotes it) [`complete`] and [`Segments`] bring it into the form it has on a wire.
//!
//! The rule kept: the result is byte for byte what Linux's software segmentation sends. Every
//! segment repeats the headers; TCP sequence numbers advance, the IPv4 identification counts
//! up, FIN and PSH stay on the last segment only, CWR on the first only, lengths and checksums
//! are each segment's own.

use pnet::packet::ipv4::{Ipv4Packet, MutableIpv4Packet};
use pnet::packet::ipv6::MutableIpv6Packet;
use pnet::packet::tcp::{MutableTcpPacket, TcpFlags, TcpPacket};
use pnet::packet::udp::{MutableUdpPacket, UdpPacket};

use crate::base::{Family, Protocol};

use super::checksum;
use super::offload::{Completion, Offload, Segmentation};
use super::outline::{self, Chain, IPV4_ADDRESSES, IPV4_LENGTH, IPV6_ADDRESSES, IPV6_LENGTH, MAX_LENGTH};

/// Where an unfinished checksum lies, counted from the beginning of the IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// First byte that the checksum covers: the transport header.
    pub start: usize,
    /// Where the field stands, counted from `start`.
    pub offset: usize,
}

impl Unfinished {
    /// Where the checksum lies that `checksum` says is unfinished, in a frame whose IP packet
    /// begins `link_length` bytes after its beginning. `Ok(None)` where the checksum is finished.
    ///
    /// # Errors
    /// [`SegmentError::ChecksumStart`] where it would start inside the link-layer header.
    pub fn of(checksum: Completion, link_length: usize) -> Result<Option<Unfinished>, SegmentError> {
        let Completion::Partial { start, offset } = checksum else { return Ok(None) };
        let start = usize::from(start).checked_sub(link_length).ok_or(SegmentError::ChecksumStart)?;
        Ok(Some(Unfinished { start, offset: usize::from(offset) }))
    }

    /// The finished checksum of `packet`; a zero is written as 0xffff, which UDP demands, which
    /// is the same to TCP, and which is what Linux does for both.
    pub(super) fn finished(self, packet: &[u8]) -> Result<[u8; checksum::LENGTH], SegmentError> {
        let covered = packet.get(self.start..).ok_or(SegmentError::ChecksumStart)?;
        if self.offset.checked_add(checksum::LENGTH).is_none_or(|end| end > covered.len()) {
            return Err(SegmentError::ChecksumStart);
        }
        Ok(checksum::of(covered).not_zero().bytes())
    }

    /// The bytes of the field.
    pub(super) fn field(self) -> std::ops::Range<usize> {
        let at = self.start + self.offset;
        at..at + checksum::LENGTH
    }
}

/// Finishes in place the checksum of `packet`, an IP packet without padding behind it.
///
/// # Errors
/// [`SegmentError::ChecksumStart`] where the checksum is said to lie outside of the packet.
pub fn complete(packet: &mut [u8], unfinished: Unfinished) -> Result<(), SegmentError> {
    let checksum = unfinished.finished(packet)?;
    packet[unfinished.field()].copy_from_slice(&checksum);
    Ok(())
}

/// Why a frame cannot be what its offload metadata says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    #[error("the metadata describes no super-frame")]
    NotSegmented,
    #[error("a datagram to be fragmented, not segmented: complete its checksum, then fragment it")]
    ToBeFragmented,
    #[error("segments of no bytes")]
    SegmentSize,
    #[error("the packet is not of the family and protocol that the metadata says")]
    Protocol,
    #[error("a header or the packet is longer than the frame, or shorter than it can be")]
    Length,
    #[error("the checksum does not lie where the transport header is")]
    ChecksumStart,
}

/// The packets that a super-frame stands for, written one at a time.
///
/// ```text
/// super-frame:  | IP | TCP | size bytes | size bytes | rest |
/// segments:     | IP | TCP | size bytes |
///               | IP | TCP | size bytes |
///               | IP | TCP | rest |
/// ```
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    packet: &'a [u8],
    family: Family,
    transport: Transport,
    /// Where the transport header begins.
    transport_at: usize,
    /// Where the payload begins.
    payload_at: usize,
    /// Payload bytes of a segment.
    size: usize,
    /// Payload bytes already written.
    written: usize,
    /// Segments already written.
    count: u16,
    done: bool,
}

/// What a segment needs of the super-frame's transport header.
#[derive(Clone, Copy, Debug)]
enum Transport {
    Tcp { sequence: u32, flags: u8 },
    Udp { checksum: UdpChecksum },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UdpChecksum {
    Computed,
    /// The sender sent none (IPv4).
    Absent,
}

impl<'a> Segments<'a> {
    /// The segments of `packet`, the IP packet of a frame that `offload` describes and in which
    /// it begins `link_length` bytes after the beginning.
    ///
    /// The headers' lengths are read from the headers: [`Offload::header_length`] is a hint.
    ///
    /// # Errors
    /// Where packet and metadata contradict each other: see [`SegmentError`].
    pub fn new(packet: &'a [u8], offload: &Offload, link_length: usize) -> Result<Segments<'a>, SegmentError> {
        let protocol = match offload.segmentation {
            Segmentation::None => return Err(SegmentError::NotSegmented),
            Segmentation::UdpFragments => return Err(SegmentError::ToBeFragmented),
            Segmentation::Tunneled { .. } => return Err(SegmentError::Protocol),
            Segmentation::Tcp4 { .. } | Segmentation::Tcp6 { .. } => Protocol::TCP,
            Segmentation::Udp => Protocol::UDP,
        };
        if offload.segment_size == 0 {
            return Err(SegmentError::SegmentSize);
        }
        let family = outline::family(packet).ok_or(SegmentError::Protocol)?;
        match (offload.segmentation, family) {
            (Segmentation::Tcp4 { .. }, Family::V6) | (Segmentation::Tcp6 { .. }, Family::V4) => {
                return Err(SegmentError::Protocol);
            }
            _ => {}
        }
        let (packet, transport_at) = match family {
            Family::V4 => transport_of_ipv4(packet, protocol)?,
            Family::V6 => transport_of_ipv6(packet, protocol)?,
        };
        let unfinished = Unfinished::of(offload.checksum, link_length)?;
        if unfinished.is_some_and(|unfinished| unfinished.start != transport_at) {
            return Err(SegmentError::ChecksumStart);
        }
        let header = &packet[transport_at..];
        let (transport, length) = match protocol {
            Protocol::TCP => tcp(header)?,
            _ => udp(header, unfinished.is_some() || family == Family::V6)?,
        };
        let payload_at = transport_at + length;
        let size = usize::from(offload.segment_size);
        if payload_at + size.min(packet.len() - payload_at) > MAX_LENGTH {
            return Err(SegmentError::Length);
        }
        Ok(Segments { packet, family, transport, transport_at, payload_at, size, written: 0, count: 0, done: false })
    }

    /// How many segments there are.
    pub fn total(&self) -> usize {
        (self.packet.len() - self.payload_at).div_ceil(self.size).max(1)
    }

    /// Length of the segment that comes next; `None` after the last.
    pub fn next_length(&self) -> Option<usize> {
        (!self.done).then(|| self.payload_at + self.next_size())
    }

    fn next_size(&self) -> usize {
        self.size.min(self.packet.len() - self.payload_at - self.written)
    }

    /// Writes the next segment to the beginning of `buffer` and returns its length. `None` after
    /// the last; also where `buffer` is shorter than [`Segments::next_length`], and then the
    /// segment still comes next.
    pub fn next_into(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let length = self.next_length()?;
        let segment = buffer.get_mut(..length)?;
        let size = self.next_size();
        let (headers, payload) = segment.split_at_mut(self.payload_at);
        headers.copy_from_slice(&self.packet[..self.payload_at]);
        let from = self.payload_at + self.written;
        payload.copy_from_slice(&self.packet[from..from + size]);
        let last = from + size == self.packet.len();
        self.write_network(segment)?;
        self.write_transport(segment, last)?;
        self.written += size;
        self.count = self.count.wrapping_add(1);
        self.done = last;
        Some(length)
    }

    fn write_network(&self, segment: &mut [u8]) -> Option<()> {
        let length = segment.len();
        match self.family {
            Family::V4 => {
                let mut header = MutableIpv4Packet::new(&mut segment[..self.transport_at])?;
                header.set_total_length(length as u16);
                header.set_identification(header.get_identification().wrapping_add(self.count));
                header.set_checksum(0);
                let sum = checksum::of(pnet::packet::Packet::packet(&header));
                header.set_checksum(sum.number());
            }
            Family::V6 => {
                MutableIpv6Packet::new(segment)?.set_payload_length((length - IPV6_LENGTH) as u16);
            }
        }
        Some(())
    }

    fn write_transport(&self, segment: &mut [u8], last: bool) -> Option<()> {
        let (network, transport) = segment.split_at_mut(self.transport_at);
        let length = transport.len();
        let addresses = match self.family {
            Family::V4 => &network[IPV4_ADDRESSES],
            Family::V6 => &network[IPV6_ADDRESSES],
        };
        match self.transport {
            Transport::Tcp { sequence, mut flags } => {
                if !last {
                    flags &= !(TcpFlags::FIN | TcpFlags::PSH);
                }
                if self.written > 0 {
                    flags &= !TcpFlags::CWR;
                }
                let mut header = MutableTcpPacket::new(transport)?;
                header.set_sequence(sequence.wrapping_add(self.written as u32));
                header.set_flags(flags);
                header.set_checksum(0);
                let sum = checksum::pseudo_header_of(addresses, Protocol::TCP.0, length).add_bytes(transport);
                MutableTcpPacket::new(transport)?.set_checksum(sum.checksum().number());
            }
            Transport::Udp { checksum: wanted } => {
                let mut header = MutableUdpPacket::new(transport)?;
                header.set_length(length as u16);
                header.set_checksum(0);
                if wanted == UdpChecksum::Computed {
                    let sum = checksum::pseudo_header_of(addresses, Protocol::UDP.0, length).add_bytes(transport);
                    MutableUdpPacket::new(transport)?.set_checksum(sum.checksum().not_zero().number());
                }
            }
        }
        Some(())
    }
}

/// The packet without padding and where its transport header begins. A total length of 0 stands
/// for a super-frame of more than 64 KiB ("BIG TCP"): then the frame's own length counts.
fn transport_of_ipv4(packet: &[u8], protocol: Protocol) -> Result<(&[u8], usize), SegmentError> {
    let view = Ipv4Packet::new(packet).ok_or(SegmentError::Length)?;
    let header = usize::from(view.get_header_length()) * 4;
    let length = match usize::from(view.get_total_length()) {
        0 => packet.len(),
        length => length,
    };
    if header < IPV4_LENGTH || length < header || length > packet.len() {
        return Err(SegmentError::Length);
    }
    if Protocol(view.get_next_level_protocol().0) != protocol {
        return Err(SegmentError::Protocol);
    }
    Ok((&packet[..length], header))
}

/// As [`transport_of_ipv4`], with the payload length in the place of the total length.
fn transport_of_ipv6(packet: &[u8], protocol: Protocol) -> Result<(&[u8], usize), SegmentError> {
    let view = pnet::packet::ipv6::Ipv6Packet::new(packet).ok_or(SegmentError::Length)?;
    let length = match usize::from(view.get_payload_length()) {
        0 => packet.len(),
        length => IPV6_LENGTH + length,
    };
    let packet = packet.get(..length).ok_or(SegmentError::Length)?;
    let upper = Chain::upper_layer(packet).ok_or(SegmentError::Protocol)?;
    if Protocol(upper.kind) != protocol {
        return Err(SegmentError::Protocol);
    }
    if upper.at > packet.len() {
        return Err(SegmentError::Length);
    }
    Ok((packet, upper.at))
}

fn tcp(header: &[u8]) -> Result<(Transport, usize), SegmentError> {
    let view = TcpPacket::new(header).ok_or(SegmentError::Length)?;
    let length = usize::from(view.get_data_offset()) * 4;
    if length < TcpPacket::minimum_packet_size() || length > header.len() {
        return Err(SegmentError::Length);
    }
    Ok((Transport::Tcp { sequence: view.get_sequence(), flags: view.get_flags() }, length))
}

fn udp(header: &[u8], must_have_checksum: bool) -> Result<(Transport, usize), SegmentError> {
    let view = UdpPacket::new(header).ok_or(SegmentError::Length)?;
    let checksum =
        if must_have_checksum || view.get_checksum() != 0 { UdpChecksum::Computed } else { UdpChecksum::Absent };
    Ok((Transport::Udp { checksum }, UdpPacket::minimum_packet_size()))
}

#[cfg(test)]
mod tests;
