//! Putting fragmented datagrams together again before they are looked up.
//!
//! The rule kept is Linux's (RFC 791, RFC 8200 section 4.5, RFC 5722), as observed:
//! - A fragment that lies within a run of fragments received in order is a duplicate and is
//!   ignored. Any other overlap drops the whole datagram.
//! - IPv4 fragments that contradict the datagram's known end, or carry nothing, drop it; IPv6
//!   fragments of that kind are ignored.
//! - The header is the first fragment's. Congestion marks are merged as RFC 3168 section 5.3
//!   says: a mix of ECN-capable and other fragments is dropped. An IPv4 datagram may not be
//!   fragmented again if the longest of its fragments said so.
//! - Time runs from the first fragment that arrives, 30 s for IPv4 and 60 s for IPv6; then an
//!   ICMP error is due, but only if the first fragment of the datagram is there to be quoted.
//!
//! Payloads are kept in pages of a bounded pool. When it is exhausted the oldest datagram goes.
//! Pages, tables and the buffer of the last whole packet are used again and again: nothing is
//! allocated once as much as ever needed has been.
//!
//! ```text
//! push ─▶ read (arrival) ─▶ find or open (store) ─▶ admit (datagram) ─▶ pages ─┬▶ Stored
//!                                                                              └▶ Whole
//! ```

mod arrival;
mod datagram;
mod pages;
mod store;

use crate::base::hash::HashKey;
use crate::base::{Family, Tick};

use self::arrival::{Arrival, Fragment};
use self::datagram::{Datagram, Refusal};
use self::pages::{PAGE_LENGTH, Pages};
use self::store::{SlotId, Store};
use super::fragment::{Original, Piece};
use super::frame::HEADROOM;
use super::outline::{FRAGMENT_UNIT, IPV6_LENGTH, MAX_LENGTH};

/// How much is kept and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes for payloads; at least one datagram of 64 KiB is always possible.
    pub memory: usize,
    /// Milliseconds from the first arrival of a datagram's fragments until it is given up.
    pub ipv4_lifetime: u64,
    pub ipv6_lifetime: u64,
}

impl Default for Limits {
    /// What Linux has.
    fn default() -> Limits {
        Limits { memory: 4 << 20, ipv4_lifetime: 30_000, ipv6_lifetime: 60_000 }
    }
}

/// What became of a packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It is no fragment: go on with it as it is.
    NotFragmented,
    /// Kept until the rest arrives.
    Stored,
    /// It was the last that was missing (or an IPv6 packet fragmented into one).
    Whole(Whole<'a>),
    /// It is dropped, and its datagram with it where the reason says so.
    Dropped(Discard),
    /// It is dropped, and its sender is to be told so by an ICMPv6 parameter problem.
    Problem(Problem),
}

/// A datagram put together again.
#[derive(Debug, PartialEq, Eq)]
pub struct Whole<'a> {
    /// The packet with [`HEADROOM`] free bytes in front.
    pub buffer: &'a mut [u8],
    /// Where the packet begins in the buffer.
    pub start: usize,
    pub end: usize,
    /// How it was fragmented: what it needs to be fragmented again.
    pub original: Original<'a>,
}

impl Whole<'_> {
    pub fn packet(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }
}

/// Why a fragment is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Discard {
    #[error("the fragment is shorter than it says, or its headers are cut short")]
    Malformed,
    #[error("the fragment is there already")]
    Duplicate,
    #[error("the fragment overlaps another in part: the datagram is dropped")]
    Overlap,
    #[error("the fragment contradicts the end of the datagram: an IPv4 datagram is dropped")]
    End,
    #[error("the fragment carries nothing: an IPv4 datagram is dropped")]
    Empty,
    #[error("the datagram would be longer than 64 KiB: it is dropped")]
    TooLong,
    #[error("some fragments are ECN-capable and some are not: the datagram is dropped")]
    Congestion,
    /// Linux knows no such limit; the headers must fit the room kept for them.
    #[error("the headers in front of the first fragment are too long")]
    HeadersTooLong,
    #[error("the datagram is the oldest and its memory is needed: it is dropped")]
    Memory,
}

/// What is wrong with an IPv6 fragment that its sender is told of (RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Problem {
    /// Not the last fragment, and not a multiple of 8 bytes long: the datagram is dropped.
    OddLength,
    /// It ends beyond 64 KiB. (With connection tracking's reassembly in front Linux is silent.)
    TooLong {
        /// Where the fragment offset stands in the packet.
        pointer: u32,
    },
    /// The first fragment does not hold all headers (RFC 7112).
    HeadersMissing,
}

impl Problem {
    /// Code of the ICMPv6 parameter problem.
    pub fn code(self) -> u8 {
        match self {
            Problem::OddLength | Problem::TooLong { .. } => 0,
            Problem::HeadersMissing => 3,
        }
    }

    /// What the parameter problem points at.
    pub fn pointer(self) -> u32 {
        const PAYLOAD_LENGTH: u32 = 4;
        match self {
            Problem::OddLength => PAYLOAD_LENGTH,
            Problem::TooLong { pointer } => pointer,
            Problem::HeadersMissing => 0,
        }
    }
}

/// A datagram given up because its time was over.
#[derive(Debug, PartialEq, Eq)]
pub struct Expired<'a> {
    pub family: Family,
    /// The first fragment as it was received, where it was: it is to be answered with an ICMP
    /// error, time exceeded in reassembly (IPv4 11/1, IPv6 3/1).
    pub first: Option<&'a [u8]>,
}

/// All datagrams of which some fragments have arrived.
///
/// Call [`Reassembler::expire`] until it returns `None` at [`Reassembler::next_deadline`], and
/// before a packet of that time or later is pushed.
#[derive(Debug)]
pub struct Reassembler {
    limits: Limits,
    store: Store,
    pages: Pages,
    /// The last whole packet, or the first fragment of the last expired one, behind the headroom.
    output: Vec<u8>,
    /// The pieces of the last whole packet.
    pieces: Vec<Piece>,
    evicted: u64,
}

impl Reassembler {
    /// An empty one; `key` keeps others from choosing fragments that collide in its table.
    pub fn new(limits: Limits, key: HashKey) -> Reassembler {
        let pages = (limits.memory / PAGE_LENGTH).max(Datagram::MOST_PAGES);
        Reassembler {
            limits,
            store: Store::new(pages, key),
            pages: Pages::new(pages),
            output: vec![0; HEADROOM + IPV6_LENGTH + MAX_LENGTH],
            pieces: Vec::new(),
            evicted: 0,
        }
    }

    /// Takes a packet: an IPv4 or IPv6 packet without link-layer header.
    pub fn push(&mut self, now: Tick, packet: &[u8]) -> Outcome<'_> {
        let fragment = match Arrival::read(packet) {
            Arrival::NotFragmented => return Outcome::NotFragmented,
            Arrival::Malformed => return Outcome::Dropped(Discard::Malformed),
            Arrival::Problem(problem) => return Outcome::Problem(problem),
            Arrival::Fragment(fragment) => fragment,
        };
        if fragment.is_atomic() {
            return self.unwrap_atomic(&fragment);
        }
        let known = self.store.find(&fragment.key);
        if fragment.key.family == Family::V6 && fragment.more && !fragment.payload.len().is_multiple_of(FRAGMENT_UNIT) {
            if let Some(slot) = known {
                self.release(slot);
            }
            return Outcome::Problem(Problem::OddLength);
        }
        if fragment.offset == 0 && fragment.header.len() > Datagram::HEADER_SPACE {
            return Outcome::Dropped(Discard::HeadersTooLong);
        }
        let slot = match known {
            Some(slot) => slot,
            None => self.store.open(fragment.key, now, now + self.lifetime(fragment.key.family)),
        };
        match self.admit(slot, &fragment) {
            Ok(()) if self.store.datagram(slot).is_complete() => self.assemble(slot),
            Ok(()) => Outcome::Stored,
            Err(Refusal::Fragment(reason)) => {
                if known.is_none() {
                    self.release(slot);
                }
                Outcome::Dropped(reason)
            }
            Err(Refusal::Datagram(reason)) => {
                self.release(slot);
                Outcome::Dropped(reason)
            }
        }
    }

    /// Gives up one datagram whose time is over; `None` when there is none left.
    pub fn expire(&mut self, now: Tick) -> Option<Expired<'_>> {
        let slot = self.store.first_deadline().filter(|&(deadline, _)| deadline <= now)?.1;
        let datagram = self.store.datagram(slot);
        let family = datagram.key.family;
        let first = datagram.copy_first(&self.pages, &mut self.output[HEADROOM..]);
        self.release(slot);
        Some(Expired { family, first: first.and_then(|length| self.output.get(HEADROOM..HEADROOM + length)) })
    }

    /// When [`Reassembler::expire`] is to be called next.
    pub fn next_deadline(&self) -> Option<Tick> {
        self.store.first_deadline().map(|(deadline, _)| deadline)
    }

    /// How many datagrams wait for fragments.
    pub fn len(&self) -> usize {
        self.store.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many datagrams have been dropped because their memory was needed.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    fn lifetime(&self, family: Family) -> u64 {
        match family {
            Family::V4 => self.limits.ipv4_lifetime,
            Family::V6 => self.limits.ipv6_lifetime,
        }
    }

    /// Takes the fragment into the datagram, making room by dropping the oldest ones.
    fn admit(&mut self, slot: SlotId, fragment: &Fragment<'_>) -> Result<(), Refusal> {
        let piece = self.store.datagram_mut(slot).admit(fragment)?;
        while self.pages.available() < self.store.datagram(slot).pages_missing(piece) {
            self.evicted += 1;
            match self.store.oldest() {
                Some(oldest) if oldest != slot => self.release(oldest),
                _ => return Err(Refusal::Datagram(Discard::Memory)),
            }
        }
        self.store.datagram_mut(slot).keep(&mut self.pages, fragment, piece)
    }

    /// Takes the header out of an IPv6 packet that it does not fragment; a datagram with the
    /// same identification is not touched (RFC 6946).
    fn unwrap_atomic(&mut self, fragment: &Fragment<'_>) -> Outcome<'_> {
        let Ok(end) = u16::try_from(fragment.payload.len()) else { return Outcome::Dropped(Discard::TooLong) };
        let Some(length) = datagram::unwrap_atomic(fragment, &mut self.output[HEADROOM..]) else {
            return Outcome::Dropped(Discard::Malformed);
        };
        self.pieces.clear();
        self.pieces.push(Piece { start: 0, end });
        self.whole(length, fragment.header.len() + fragment.payload.len(), false)
    }

    fn assemble(&mut self, slot: SlotId) -> Outcome<'_> {
        let datagram = self.store.datagram_mut(slot);
        let (longest, dont_fragment) = (datagram.longest(), datagram.is_unfragmentable());
        datagram.copy_pieces(&mut self.pieces);
        let assembled = datagram.assemble(&self.pages, &mut self.output[HEADROOM..]);
        self.release(slot);
        match assembled {
            Ok(length) => self.whole(length, longest, dont_fragment),
            Err(reason) => Outcome::Dropped(reason),
        }
    }

    /// The packet of this `length` in the output buffer.
    fn whole(&mut self, length: usize, longest: usize, dont_fragment: bool) -> Outcome<'_> {
        Outcome::Whole(Whole {
            buffer: &mut self.output,
            start: HEADROOM,
            end: HEADROOM + length,
            original: Original { longest, dont_fragment, pieces: &self.pieces },
        })
    }

    fn release(&mut self, slot: SlotId) {
        self.store.datagram_mut(slot).clear(&mut self.pages);
        self.store.close(slot);
    }
}

#[cfg(test)]
mod tests;
