//! One datagram of which some fragments have arrived.
//!
//! ```text
//! pages:  | headers of the first fragment .. | payload ................................ |
//!         0                       HEADER_SPACE
//! ```

use pnet::packet::Packet;
use pnet::packet::ipv4::{Ipv4Flags, MutableIpv4Packet};
use pnet::packet::ipv6::MutableIpv6Packet;

use crate::base::Family;

use super::super::checksum;
use super::super::fragment::Piece;
use super::super::outline::{FRAGMENT_HEADER_LENGTH, FRAGMENT_UNIT, IPV4_LENGTH, IPV6_LENGTH, MAX_LENGTH};
use super::Discard;
use super::arrival::{Congestion, Fragment, Key};
use super::pages::{PAGE_LENGTH, PageId, Pages};

/// Why a fragment is not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The datagram is none the worse for it.
    Fragment(Discard),
    /// The datagram is to be dropped too.
    Datagram(Discard),
}

#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) key: Key,
    pages: [Option<PageId>; Datagram::MOST_PAGES],
    /// What has arrived, in order of the payload, without overlaps.
    held: Vec<Held>,
    /// Where the payload ends as far as is known.
    end: usize,
    last_is_in: bool,
    received: usize,
    /// Length of the headers of the first fragment; 0 until it is in.
    header: usize,
    named_at: usize,
    longest: usize,
    /// Longest of the fragments that may not be fragmented further.
    longest_unfragmentable: usize,
    congestion: CongestionSeen,
}

/// A fragment that has arrived.
#[derive(Clone, Copy, Debug)]
struct Held {
    piece: Piece,
    /// It arrived after the one before it, which was the last of all then: they are one run.
    continues: bool,
}

/// Which congestion marks the fragments had, a bit for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct CongestionSeen(u8);

impl Datagram {
    /// Room for the headers of the first fragment: longer than any that are met in practice.
    pub(super) const HEADER_SPACE: usize = 256;
    /// Pages of a datagram of 64 KiB.
    pub(super) const MOST_PAGES: usize = (Datagram::HEADER_SPACE + MAX_LENGTH).div_ceil(PAGE_LENGTH);
    /// How many fragments are remembered without allocating.
    const ROOM_KEPT: usize = 64;

    pub(super) fn new(key: Key) -> Datagram {
        Datagram {
            key,
            pages: [None; Datagram::MOST_PAGES],
            held: Vec::new(),
            end: 0,
            last_is_in: false,
            received: 0,
            header: 0,
            named_at: 0,
            longest: 0,
            longest_unfragmentable: 0,
            congestion: CongestionSeen::default(),
        }
    }

    /// Forgets everything but the key.
    pub(super) fn clear(&mut self, pages: &mut Pages) {
        for page in self.pages.iter_mut().filter_map(Option::take) {
            pages.give_back(page);
        }
        let mut held = std::mem::take(&mut self.held);
        held.clear();
        held.shrink_to(Datagram::ROOM_KEPT);
        *self = Datagram { held, ..Datagram::new(self.key) };
    }

    /// Whether nothing is missing.
    pub(super) fn is_complete(&self) -> bool {
        self.header > 0 && self.last_is_in && self.received == self.end
    }

    /// Length of the longest fragment, headers included.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// Whether the longest fragments may not be fragmented further.
    pub(super) fn is_unfragmentable(&self) -> bool {
        self.longest_unfragmentable == self.longest
    }

    /// Judges a fragment and notes that it is in; returns which bytes of the payload it fills.
    pub(super) fn admit(&mut self, fragment: &Fragment<'_>) -> Result<Piece, Refusal> {
        let refusal = match self.key.family {
            Family::V4 => Refusal::Datagram,
            Family::V6 => Refusal::Fragment,
        };
        let start = fragment.offset;
        let mut end = start + fragment.payload.len();
        if fragment.more {
            end -= end % FRAGMENT_UNIT;
        }
        let contradicts = if fragment.more {
            self.last_is_in && end > self.end
        } else {
            end < self.end || (self.last_is_in && end != self.end)
        };
        if contradicts {
            return Err(refusal(Discard::End));
        }
        self.last_is_in |= !fragment.more;
        self.end = self.end.max(end);
        if start == end {
            return Err(refusal(Discard::Empty));
        }
        let piece = self.piece(start, end).ok_or(Refusal::Datagram(Discard::TooLong))?;
        self.hold(piece)?;
        self.received += piece.length();
        self.congestion.note(fragment.congestion);
        let length = fragment.header.len() + piece.length();
        self.longest = self.longest.max(length);
        if fragment.may_not_fragment {
            self.longest_unfragmentable = self.longest_unfragmentable.max(length);
        }
        if start == 0 {
            self.header = fragment.header.len();
            self.named_at = fragment.named_at;
        }
        Ok(piece)
    }

    fn piece(&self, start: usize, end: usize) -> Option<Piece> {
        let least_header = match self.key.family {
            Family::V4 => IPV4_LENGTH,
            Family::V6 => 0,
        };
        if least_header + end > MAX_LENGTH {
            return None;
        }
        Some(Piece { start: u16::try_from(start).ok()?, end: u16::try_from(end).ok()? })
    }

    /// Puts a piece where it belongs among the others.
    fn hold(&mut self, piece: Piece) -> Result<(), Refusal> {
        let at = self.held.partition_point(|held| held.piece.end <= piece.start);
        match self.held.get(at) {
            None => {
                let continues = self.held.last().is_some_and(|last| last.piece.end == piece.start);
                self.held.push(Held { piece, continues });
                Ok(())
            }
            Some(next) if piece.end <= next.piece.start => {
                self.held.insert(at, Held { piece, continues: false });
                Ok(())
            }
            Some(_) if self.run_holds(at, piece) => Err(Refusal::Fragment(Discard::Duplicate)),
            Some(_) => Err(Refusal::Datagram(Discard::Overlap)),
        }
    }

    /// Whether `piece` lies in one run, of which the fragment at `from` holds its first byte.
    fn run_holds(&self, from: usize, piece: Piece) -> bool {
        let run = &self.held[from..];
        let rest = run[1..].iter().take_while(|held| held.continues);
        run[0].piece.start <= piece.start
            && std::iter::once(&run[0]).chain(rest).any(|held| piece.end <= held.piece.end)
    }

    /// How many pages must be taken to keep `piece`.
    pub(super) fn pages_missing(&self, piece: Piece) -> usize {
        self.pages[pages_of(piece)].iter().filter(|page| page.is_none()).count()
    }

    /// Keeps the bytes of an admitted fragment, whose pages are available.
    pub(super) fn keep(&mut self, pages: &mut Pages, fragment: &Fragment<'_>, piece: Piece) -> Result<(), Refusal> {
        for page in &mut self.pages[pages_of(piece)] {
            if page.is_none() {
                *page = Some(pages.take().ok_or(Refusal::Datagram(Discard::Memory))?);
            }
        }
        if piece.start == 0 {
            self.write(pages, 0, fragment.header);
        }
        self.write(pages, Datagram::HEADER_SPACE + usize::from(piece.start), &fragment.payload[..piece.length()]);
        Ok(())
    }

    fn write(&self, pages: &mut Pages, mut at: usize, mut bytes: &[u8]) {
        while let (false, Some(page)) = (bytes.is_empty(), self.pages[at / PAGE_LENGTH]) {
            let room = &mut pages.page_mut(page)[at % PAGE_LENGTH..];
            let (now, later) = bytes.split_at(room.len().min(bytes.len()));
            room[..now.len()].copy_from_slice(now);
            (at, bytes) = (at + now.len(), later);
        }
    }

    fn read(&self, pages: &Pages, mut at: usize, mut bytes: &mut [u8]) {
        while let (false, Some(page)) = (bytes.is_empty(), self.pages[at / PAGE_LENGTH]) {
            let there = &pages.page(page)[at % PAGE_LENGTH..];
            let length = there.len().min(bytes.len());
            let (now, later) = std::mem::take(&mut bytes).split_at_mut(length);
            now.copy_from_slice(&there[..now.len()]);
            (at, bytes) = (at + now.len(), later);
        }
    }

    /// The pieces that have arrived, in order.
    pub(super) fn copy_pieces(&self, pieces: &mut Vec<Piece>) {
        pieces.clear();
        pieces.extend(self.held.iter().map(|held| held.piece));
    }

    /// Writes the first fragment as it was received, where it was, and returns its length.
    pub(super) fn copy_first(&self, pages: &Pages, output: &mut [u8]) -> Option<usize> {
        let payload = self.held.first().filter(|_| self.header > 0)?.piece.length();
        let length = self.header + payload;
        let (header, payload) = output.get_mut(..length)?.split_at_mut(self.header);
        self.read(pages, 0, header);
        self.read(pages, Datagram::HEADER_SPACE, payload);
        Some(length)
    }

    /// Writes the whole datagram and returns its length.
    pub(super) fn assemble(&self, pages: &Pages, output: &mut [u8]) -> Result<usize, Discard> {
        let congestion = self.congestion.merged()?;
        let (header, fixed) = match self.key.family {
            Family::V4 => (self.header, 0),
            Family::V6 => (self.header - FRAGMENT_HEADER_LENGTH, IPV6_LENGTH),
        };
        let length = header + self.end;
        if length - fixed > MAX_LENGTH {
            return Err(Discard::TooLong);
        }
        let output = output.get_mut(..length).ok_or(Discard::TooLong)?;
        self.read(pages, 0, &mut output[..header]);
        self.read(pages, Datagram::HEADER_SPACE, &mut output[header..]);
        match self.key.family {
            Family::V4 => self.finish_ipv4(output, congestion),
            Family::V6 => self.finish_ipv6(pages, output, congestion),
        }
        .ok_or(Discard::Malformed)?;
        Ok(length)
    }

    fn finish_ipv4(&self, packet: &mut [u8], congestion: Option<Congestion>) -> Option<()> {
        let length = packet.len() as u16;
        let mut header = MutableIpv4Packet::new(&mut packet[..self.header])?;
        header.set_total_length(length);
        header.set_fragment_offset(0);
        header.set_flags(if self.is_unfragmentable() { Ipv4Flags::DontFragment } else { 0 });
        if let Some(Congestion(mark)) = congestion {
            header.set_ecn(mark);
        }
        header.set_checksum(0);
        let sum = checksum::of(header.packet());
        header.set_checksum(sum.number());
        Some(())
    }

    fn finish_ipv6(&self, pages: &Pages, packet: &mut [u8], congestion: Option<Congestion>) -> Option<()> {
        let mut kind = [0];
        self.read(pages, self.header - FRAGMENT_HEADER_LENGTH, &mut kind);
        close_chain(packet, self.named_at, kind[0])?;
        if let Some(Congestion(mark)) = congestion {
            let mut header = MutableIpv6Packet::new(packet)?;
            header.set_traffic_class(header.get_traffic_class() & !Congestion::MASK | mark);
        }
        Some(())
    }
}

/// Writes an atomic fragment without its fragment header and returns the length.
pub(super) fn unwrap_atomic(fragment: &Fragment<'_>, output: &mut [u8]) -> Option<usize> {
    let (kept, fragment_header) = fragment.header.split_last_chunk::<FRAGMENT_HEADER_LENGTH>()?;
    let length = kept.len() + fragment.payload.len();
    let packet = output.get_mut(..length)?;
    packet[..kept.len()].copy_from_slice(kept);
    packet[kept.len()..].copy_from_slice(fragment.payload);
    close_chain(packet, fragment.named_at, fragment_header[0])?;
    Some(length)
}

/// Lets the header chain of an IPv6 packet without its fragment header go on with `kind`.
fn close_chain(packet: &mut [u8], named_at: usize, kind: u8) -> Option<()> {
    *packet.get_mut(named_at)? = kind;
    let length = packet.len().checked_sub(IPV6_LENGTH)?;
    MutableIpv6Packet::new(packet)?.set_payload_length(length as u16);
    Some(())
}

/// The pages that `piece` lies in; the first page holds the headers too.
fn pages_of(piece: Piece) -> std::ops::RangeInclusive<usize> {
    let page = |at: u16| (Datagram::HEADER_SPACE + usize::from(at)) / PAGE_LENGTH;
    page(piece.start)..=page(piece.end.saturating_sub(1))
}

impl CongestionSeen {
    fn note(&mut self, congestion: Congestion) {
        self.0 |= 1 << (congestion.0 & Congestion::MASK);
    }

    fn saw(self, congestion: Congestion) -> bool {
        self.0 & (1 << congestion.0) != 0
    }

    /// The mark of the whole; `None` where the first fragment's stays.
    fn merged(self) -> Result<Option<Congestion>, Discard> {
        let capable = self.0 & !(1 << Congestion::NOT_CAPABLE.0) != 0;
        if capable && self.saw(Congestion::NOT_CAPABLE) {
            return Err(Discard::Congestion);
        }
        Ok(self.saw(Congestion::EXPERIENCED).then_some(Congestion::EXPERIENCED))
    }
}
