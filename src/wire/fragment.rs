//! Cutting a packet into fragments that fit a link.
//!
//! The rule kept is Linux's. A datagram that arrived in fragments leaves in the same fragments
//! where each of them fits the MTU; otherwise no fragment is longer than the MTU or than the
//! longest that came. For a packet that arrived whole each fragment is as long as the MTU
//! allows, in multiples of 8 bytes. Options that are not to be copied (RFC 791 section 3.1)
//! become no-operations in the fragments after the first, so all headers keep their length. The
//! don't-fragment bit is the caller's to judge: it is clear in what is made here, except where a
//! datagram whose fragments carried it is cut anew.
//!
//! ```text
//! IPv4:  | header | payload ...      |      IPv6:  | unfragmentable part | payload ...           |
//!        | header | part |                         | unfragmentable part | fragment header | part |
//!        | header | part |                         | unfragmentable part | fragment header | part |
//! ```

use pnet::packet::Packet;
use pnet::packet::ipv4::{Ipv4Flags, Ipv4Packet, MutableIpv4Packet};
use pnet::packet::ipv6::MutableIpv6Packet;

use super::checksum;
use super::outline::{
    self, Chain, FRAGMENT_HEADER_LENGTH, FRAGMENT_UNIT, FragmentHeader, IPV4_LENGTH, IPV6_LENGTH, IPV6_MINIMUM_MTU,
    MAX_LENGTH, extension,
};

/// Which bytes of a datagram's payload one fragment carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub start: u16,
    pub end: u16,
}

impl Piece {
    /// How many bytes.
    pub fn length(self) -> usize {
        usize::from(self.end.saturating_sub(self.start))
    }
}

/// How a packet was fragmented when it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Original<'a> {
    /// Length of the longest fragment, headers included; [`Original::FORGOTTEN`] where it is of no
    /// meaning any more.
    pub longest: usize,
    /// Its longest fragments carried the don't-fragment bit (IPv4).
    pub dont_fragment: bool,
    /// What each fragment carried, in order of the payload.
    pub pieces: &'a [Piece],
}

impl Original<'_> {
    /// The packet came whole.
    pub const WHOLE: Original<'static> = Original { longest: 0, dont_fragment: false, pieces: &[] };

    /// No fragment is known to have been the longest: a packet that fits stays whole.
    pub const FORGOTTEN: usize = usize::MAX;
}

/// Why a packet cannot be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    #[error("the packet is not of this family, or its lengths contradict each other")]
    Malformed,
    #[error("the MTU leaves no room for the headers and 8 bytes")]
    Mtu,
    /// Only its source may cut an IPv6 packet, once.
    #[error("the packet has a fragment header already")]
    AlreadyFragment,
}

/// The fragments of a packet, written one at a time. A packet that fits is its own only fragment.
#[derive(Clone, Debug)]
pub struct Fragments<'a> {
    /// What every fragment repeats.
    header: &'a [u8],
    payload: &'a [u8],
    cut: Cut<'a>,
    kind: Kind,
    /// Payload bytes already written.
    written: usize,
    done: bool,
}

/// Where the payload is cut.
#[derive(Clone, Copy, Debug)]
enum Cut<'a> {
    /// Nowhere: the packet stays as it is.
    Nowhere,
    /// As it was cut when it came; these pieces are still to be written.
    Along(&'a [Piece]),
    /// After so many bytes at most.
    Every(usize),
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    V4 {
        /// Where the payload begins in the datagram, in units of 8 bytes: the packet may be a fragment itself.
        offset: u16,
        more: bool,
        /// Fragments that were not there before carry the don't-fragment bit.
        dont_fragment: bool,
    },
    V6 {
        /// What stands behind the fragment header.
        kind: u8,
        /// Where the unfragmentable part names it.
        named_at: usize,
        identification: u32,
    },
}

impl<'a> Fragments<'a> {
    /// The fragments of an IPv4 packet for a link with this `mtu`.
    ///
    /// # Errors
    /// [`FragmentError::Malformed`], [`FragmentError::Mtu`].
    pub fn ipv4(packet: &'a [u8], mtu: usize, original: Original<'a>) -> Result<Fragments<'a>, FragmentError> {
        let (packet, header) = outline::ipv4(packet).ok_or(FragmentError::Malformed)?;
        let view = Ipv4Packet::new(packet).ok_or(FragmentError::Malformed)?;
        let (offset, more) = (view.get_fragment_offset(), view.get_flags() & Ipv4Flags::MoreFragments != 0);
        let (header, payload) = packet.split_at(header);
        if usize::from(offset) * FRAGMENT_UNIT + payload.len() > MAX_LENGTH {
            return Err(FragmentError::Malformed);
        }
        let limit = if original.pieces.is_empty() { mtu } else { mtu.min(original.longest) };
        let one = original.pieces.len() < 2 || original.longest == Original::FORGOTTEN;
        let whole = packet.len() <= mtu && one;
        let cut = if whole { Cut::Nowhere } else { Cut::new(payload.len(), limit, header.len(), original.pieces)? };
        let dont_fragment = original.dont_fragment && matches!(cut, Cut::Every(_));
        Ok(Fragments { header, payload, cut, kind: Kind::V4 { offset, more, dont_fragment }, written: 0, done: false })
    }

    /// The fragments of an IPv6 packet for a link with this `mtu`; they carry `identification`.
    /// One no longer than the longest fragment it came in stays whole.
    ///
    /// The unfragmentable part is what Linux takes for it: hop-by-hop options, routing header,
    /// and destination options unless they follow a routing header.
    ///
    /// # Errors
    /// Any [`FragmentError`].
    pub fn ipv6(
        packet: &'a [u8],
        mtu: usize,
        original: Original<'a>,
        identification: u32,
    ) -> Result<Fragments<'a>, FragmentError> {
        let packet = outline::ipv6(packet).ok_or(FragmentError::Malformed)?;
        let first = first_fragmentable(packet).ok_or(FragmentError::Malformed)?;
        let (header, payload) = packet.split_at_checked(first.at).ok_or(FragmentError::Malformed)?;
        let came_whole = original.pieces.is_empty();
        let limit = if came_whole { mtu } else { mtu.min(original.longest.max(IPV6_MINIMUM_MTU)) };
        let whole = packet.len() <= mtu && (came_whole || packet.len() <= original.longest);
        let cut = if whole {
            Cut::Nowhere
        } else if first.kind == extension::FRAGMENT {
            return Err(FragmentError::AlreadyFragment);
        } else {
            Cut::new(payload.len(), limit, header.len() + FRAGMENT_HEADER_LENGTH, original.pieces)?
        };
        let kind = Kind::V6 { kind: first.kind, named_at: first.named_at, identification };
        Ok(Fragments { header, payload, cut, kind, written: 0, done: false })
    }

    /// Length of the fragment that comes next; `None` after the last.
    pub fn next_length(&self) -> Option<usize> {
        let inserted = match (self.cut, self.kind) {
            (Cut::Nowhere, _) | (_, Kind::V4 { .. }) => 0,
            (_, Kind::V6 { .. }) => FRAGMENT_HEADER_LENGTH,
        };
        (!self.done).then(|| self.header.len() + inserted + self.next_size())
    }

    fn next_size(&self) -> usize {
        let left = self.payload.len() - self.written;
        match self.cut {
            Cut::Nowhere => left,
            Cut::Along(pieces) => pieces.first().map_or(left, |piece| piece.length()),
            Cut::Every(most) if left <= most => left,
            Cut::Every(most) => most / FRAGMENT_UNIT * FRAGMENT_UNIT,
        }
    }

    /// Writes the next fragment to the beginning of `buffer` and returns its length. `None` after
    /// the last; also where `buffer` is shorter than [`Fragments::next_length`], and then the
    /// fragment still comes next.
    pub fn next_into(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let length = self.next_length()?;
        let size = self.next_size();
        let fragment = buffer.get_mut(..length)?;
        let part = &self.payload[self.written..self.written + size];
        let last = self.written + size == self.payload.len();
        fragment[..self.header.len()].copy_from_slice(self.header);
        fragment[length - size..].copy_from_slice(part);
        if !matches!(self.cut, Cut::Nowhere) {
            self.write_headers(fragment, last)?;
        }
        if let Cut::Along(pieces) = &mut self.cut {
            *pieces = pieces.get(1..).unwrap_or_default();
        }
        self.written += size;
        self.done = last;
        Some(length)
    }

    fn write_headers(&self, fragment: &mut [u8], last: bool) -> Option<()> {
        let length = fragment.len();
        match self.kind {
            Kind::V4 { offset, more, dont_fragment } => {
                let header = &mut fragment[..self.header.len()];
                if offset == 0 && self.written > 0 {
                    blank_uncopied(&mut header[IPV4_LENGTH..]);
                }
                let mut view = MutableIpv4Packet::new(header)?;
                view.set_total_length(length as u16);
                let more = if more || !last { Ipv4Flags::MoreFragments } else { 0 };
                view.set_flags(if dont_fragment { more | Ipv4Flags::DontFragment } else { more });
                view.set_fragment_offset(offset + (self.written / FRAGMENT_UNIT) as u16);
                view.set_checksum(0);
                let sum = checksum::of(view.packet());
                view.set_checksum(sum.number());
            }
            Kind::V6 { kind, named_at, identification } => {
                let inserted = FragmentHeader { kind, offset: self.written, more: !last, identification };
                let at = self.header.len();
                fragment[at..at + FRAGMENT_HEADER_LENGTH].copy_from_slice(&inserted.write());
                fragment[named_at] = extension::FRAGMENT;
                MutableIpv6Packet::new(fragment)?.set_payload_length((length - IPV6_LENGTH) as u16);
            }
        }
        Some(())
    }
}

impl<'a> Cut<'a> {
    /// Where to cut `payload` bytes, given that each fragment may have `limit` bytes with `headers`.
    fn new(payload: usize, limit: usize, headers: usize, original: &'a [Piece]) -> Result<Cut<'a>, FragmentError> {
        let most = limit.checked_sub(headers).filter(|&most| most >= FRAGMENT_UNIT).ok_or(FragmentError::Mtu)?;
        Ok(if covers(original, payload, most) { Cut::Along(original) } else { Cut::Every(most) })
    }
}

/// Whether `pieces` are all of a payload of `length` bytes, in order, and none longer than `most`.
fn covers(pieces: &[Piece], length: usize, most: usize) -> bool {
    let mut end = 0;
    for (position, piece) in pieces.iter().enumerate() {
        let last = position + 1 == pieces.len();
        let fits = piece.length() <= most && (last || piece.length().is_multiple_of(FRAGMENT_UNIT));
        if usize::from(piece.start) != end || piece.length() == 0 || !fits {
            return false;
        }
        end = usize::from(piece.end);
    }
    !pieces.is_empty() && end == length
}

/// Turns the options that later fragments do not carry into no-operations.
fn blank_uncopied(mut options: &mut [u8]) {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const COPIED: u8 = 0x80;
    while let Some(&kind) = options.first() {
        let length = match (kind, options.get(1)) {
            (END, _) => return,
            (NO_OPERATION, _) => 1,
            (_, Some(&length @ 2..)) => usize::from(length),
            _ => return,
        };
        let Some((option, following)) = std::mem::take(&mut options).split_at_mut_checked(length) else { return };
        if kind & COPIED == 0 {
            option.fill(NO_OPERATION);
        }
        options = following;
    }
}

/// The first header that does not belong to the unfragmentable part.
fn first_fragmentable(packet: &[u8]) -> Option<outline::Link> {
    let mut routed = false;
    Chain::new(packet).find(|link| match link.kind {
        extension::HOP_BY_HOP => false,
        extension::ROUTING => {
            routed = true;
            false
        }
        extension::DESTINATION => routed,
        _ => true,
    })
}

#[cfg(test)]
mod tests;
