//! First segments of TCP connections that wait, so that they keep nobody else waiting.
//!
//! ```text
//!                            ┌─ all others ──────────────► engine
//!   ring or handed over, when│
//!   more than one batch is   │                ┌─ a few a turn ► engine
//!   there ───────────────────┴─ SYN alone ──► queue
//!                                             └─ full: dropped and counted
//! ```
//!
//! A first segment costs several times what a packet of a known connection does. When they come faster than
//! connections can be made (a SYN flood), the ring would be full of them, and each packet of an established
//! connection would wait for all that came before it, or find no slot. The rule: **frames leave the ring as fast as
//! they can be told apart; only first segments wait.** A first segment is never overtaken by another, and nothing
//! else of its connection comes before it is answered.

use crate::base::Protocol;
use crate::wire::frame::HEADROOM;
use crate::wire::ip::{v4, v6};
use crate::wire::transport::{TcpFlags, tcp};
use crate::wire::{EtherType, Frame, LinkHeader};

use super::copied::Copied;

/// Segments that wait at the most: a tenth of a second's worth.
const MOST: usize = 4096;
/// Bytes of the longest frame that waits: a first segment with all the options there can be.
const LONGEST: usize = 160;
const SLOT: usize = HEADROOM + LONGEST;

/// The queue.
#[derive(Debug)]
pub struct Firsts {
    /// Slots in a ring, each with headroom for outer headers.
    bytes: Box<[u8]>,
    entries: Box<[Copied]>,
    /// The oldest, counted on without end, and how many there are.
    oldest: usize,
    count: usize,
    /// Segments that found no place.
    lost: u64,
    /// Segments that waited.
    waited: u64,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deferral {
    /// It is none that waits here.
    Other,
    Waits,
    Lost,
}

impl Default for Firsts {
    fn default() -> Firsts {
        Firsts {
            // Zeroes, which the system provides when they are written to.
            bytes: vec![0; MOST * SLOT].into_boxed_slice(),
            entries: vec![Copied::NOTHING; MOST].into_boxed_slice(),
            oldest: 0,
            count: 0,
            lost: 0,
            waited: 0,
        }
    }
}

impl Firsts {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Has `frame` wait if it is a first segment.
    #[inline]
    pub fn defer(&mut self, frame: &Frame<'_>) -> Deferral {
        let fits = Copied::needs(frame).is_some_and(|bytes| bytes <= SLOT);
        if !fits || !is_first_segment(frame) {
            return Deferral::Other;
        }
        if self.count == MOST {
            self.lost += 1;
            return Deferral::Lost;
        }
        let place = (self.oldest + self.count) % MOST;
        let slot = &mut self.bytes[place * SLOT..(place + 1) * SLOT];
        let Some(copied) = Copied::write(frame, slot) else { return Deferral::Other };
        self.entries[place] = copied;
        self.count += 1;
        self.waited += 1;
        Deferral::Waits
    }

    /// The segment that waits longest, with the headroom that frames promise.
    #[inline]
    pub fn take(&mut self) -> Option<Frame<'_>> {
        if self.count == 0 {
            return None;
        }
        let place = self.oldest % MOST;
        self.oldest = (self.oldest + 1) % MOST;
        self.count -= 1;
        self.entries[place].frame(&mut self.bytes[place * SLOT..(place + 1) * SLOT])
    }

    /// Segments that found the queue full.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// What is told of the queue: name, meaning, count.
    pub fn statistics(&self) -> [(&'static str, &'static str, u64); 2] {
        [
            (
                "firsts-waited",
                "First segments that waited, as more frames were there than could be handled.",
                self.waited,
            ),
            ("firsts-lost", "First segments dropped, as too many waited already (a SYN flood).", self.lost),
        ]
    }
}

/// Whether this is a TCP segment that asks for a connection and does nothing else, whole and without IP options.
#[inline]
fn is_first_segment(frame: &Frame<'_>) -> bool {
    let packet = frame.packet();
    let Some(&first) = packet.first() else { return false };
    // Who has no Ethernet header tells the family by the version alone.
    let kind = match frame.link_header() {
        LinkHeader::Ethernet { kind, .. } => kind,
        LinkHeader::None if first >> 4 == 6 => EtherType::IPV6,
        LinkHeader::None => EtherType::IPV4,
        LinkHeader::Tagged => return false,
    };
    let (header, protocol) = match kind {
        EtherType::IPV4 if packet.len() >= v4::LENGTH && first == 0x45 => {
            let cut = u16::from_be_bytes([packet[6], packet[7]]) & (v4::OFFSET_MASK | v4::MORE_FRAGMENTS);
            if cut != 0 {
                return false;
            }
            (v4::LENGTH, packet[v4::PROTOCOL])
        }
        EtherType::IPV6 if packet.len() >= v6::LENGTH => (v6::LENGTH, packet[v6::NEXT_HEADER]),
        _ => return false,
    };
    let all = TcpFlags::SYN | TcpFlags::ACK | TcpFlags::RST | TcpFlags::FIN;
    protocol == Protocol::TCP.0
        && packet.len() >= header + tcp::LENGTH
        && packet[header + tcp::FLAGS] & all == TcpFlags::SYN
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;
    use crate::base::LinkId;
    use crate::wire::Offload;
    use crate::wire::frame::ETHERNET_LENGTH;
    use crate::wire::offload::Completion;

    const START: usize = HEADROOM;

    fn frame(build: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = vec![0xa5; START];
        build(&mut bytes);
        bytes
    }

    fn segment(port: u16, flags: u8) -> Vec<u8> {
        frame(|bytes| {
            let mut segment = Vec::new();
            PacketBuilder::ethernet2([1; 6], [2; 6])
                .ipv4([10, 0, 0, 1], [10, 0, 0, 100], 64)
                .tcp(port, 80, 7, 100)
                .write(&mut segment, &[])
                .unwrap();
            segment[ETHERNET_LENGTH + v4::LENGTH + tcp::FLAGS] = flags;
            bytes.extend(segment);
        })
    }

    fn as_frame(bytes: &mut [u8]) -> Frame<'_> {
        let end = bytes.len();
        Frame::ethernet(bytes, START, end, LinkId(3), Offload::NONE).unwrap()
    }

    #[test]
    fn only_first_segments_wait() {
        let mut firsts = Firsts::default();
        let mut other = |bytes: &mut Vec<u8>| assert_eq!(firsts.defer(&as_frame(bytes)), Deferral::Other);
        for flags in [0, TcpFlags::ACK, TcpFlags::SYN | TcpFlags::ACK, TcpFlags::RST, TcpFlags::SYN | TcpFlags::FIN] {
            other(&mut segment(1, flags));
        }
        // A later fragment, options, another protocol, one that ends too early, one with much data.
        let changed = |at: usize, value: u8| {
            let mut bytes = segment(1, TcpFlags::SYN);
            bytes[START + ETHERNET_LENGTH + at] = value;
            bytes
        };
        for mut bytes in [changed(7, 1), changed(0, 0x46), changed(v4::PROTOCOL, 17), changed(0, 0x65)] {
            other(&mut bytes);
        }
        let mut short = segment(1, TcpFlags::SYN);
        short.truncate(short.len() - 1);
        other(&mut short);
        let mut long = segment(1, TcpFlags::SYN);
        long.resize(START + LONGEST + 1, 0);
        other(&mut long);
        assert!(firsts.is_empty() && firsts.take().is_none());
        // Marks of congestion do not matter.
        assert_eq!(firsts.defer(&as_frame(&mut segment(1, TcpFlags::SYN | 0xc0))), Deferral::Waits);
    }

    #[test]
    fn they_come_back_as_they_were_in_their_order() {
        let mut firsts = Firsts::default();
        let partial = Completion::Partial { start: 34, offset: 16 };
        for round in 0..3u16 {
            for port in 0..MOST as u16 {
                let mut bytes = segment(port, TcpFlags::SYN);
                let mut frame = as_frame(&mut bytes);
                frame.offload.checksum = partial;
                assert_eq!(firsts.defer(&frame), Deferral::Waits);
            }
            assert_eq!(firsts.defer(&as_frame(&mut segment(1, TcpFlags::SYN))), Deferral::Lost);
            assert_eq!(firsts.lost(), u64::from(round) + 1);
            for port in 0..MOST as u16 {
                let mut expected = segment(port, TcpFlags::SYN);
                let expected = as_frame(&mut expected);
                let mut frame = firsts.take().unwrap();
                assert!(frame.packet() == expected.packet());
                assert_eq!((frame.link, frame.link_header()), (LinkId(3), expected.link_header()));
                assert_eq!(frame.offload.checksum, partial);
                assert!(frame.prepend(HEADROOM).is_some());
            }
            assert!(firsts.take().is_none());
        }
        let [(_, _, waited), (_, _, lost)] = firsts.statistics();
        assert_eq!((waited, lost), (3 * MOST as u64, 3));
    }

    #[test]
    fn both_families_wait() {
        let mut firsts = Firsts::default();
        let mut bytes = frame(|bytes| {
            PacketBuilder::ethernet2([1; 6], [2; 6])
                .ipv6([1; 16], [2; 16], 64)
                .tcp(1, 80, 7, 100)
                .syn()
                .options(&[etherparse::TcpOptionElement::MaximumSegmentSize(1440)])
                .unwrap()
                .write(bytes, &[])
                .unwrap();
        });
        assert_eq!(firsts.defer(&as_frame(&mut bytes)), Deferral::Waits);
        assert!(matches!(firsts.take().unwrap().link_header(), LinkHeader::Ethernet { kind: EtherType::IPV6, .. }));
        // Without an Ethernet header, as a TUN device brings them.
        for mut bytes in [bytes, segment(1, TcpFlags::SYN)] {
            let end = bytes.len();
            let bare = Frame::bare(&mut bytes, START + ETHERNET_LENGTH, end, LinkId(3), Offload::NONE).unwrap();
            assert_eq!(firsts.defer(&bare), Deferral::Waits);
            let waited = firsts.take().unwrap();
            assert_eq!((waited.link_header(), waited.packet()), (LinkHeader::None, bare.packet()));
        }
        for mut bytes in [segment(1, TcpFlags::ACK), vec![0x60; START + ETHERNET_LENGTH + v4::LENGTH], vec![0; START]] {
            let (start, end) = ((START + ETHERNET_LENGTH).min(bytes.len()), bytes.len());
            let bare = Frame::bare(&mut bytes, start, end, LinkId(3), Offload::NONE).unwrap();
            assert_eq!(firsts.defer(&bare), Deferral::Other);
        }
    }
}
