//! Numbers of a TCP stream that became longer or shorter on its way.
//!
//! When a helper changes a segment's length, every later segment of that direction has another
//! sequence number on the other side, and what comes back acknowledges other bytes. Two lengths
//! are remembered for each direction, so that a segment from before the last change that is
//! sent again gets the number it had: the rule of Linux's connection tracking, which is also
//! that of ip_vs's own sequence data in synchronisation messages.
//!
//! ```text
//! sequence:         ---------- begins ---------->
//! added to it:       previous  |  delta
//! ```

use crate::wire::checksum::{Checksum, Sum};
use crate::wire::transport::tcp;

/// What one direction of a stream has grown by (modulo 2^32).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Shift {
    /// The sequence number of the segment that was changed last: `delta` counts beyond it.
    pub begins: u32,
    pub delta: u32,
    /// What counts up to there.
    pub previous: u32,
}

impl Shift {
    /// The number that the other end knows a byte of this direction by.
    pub fn apply(&self, sequence: u32) -> u32 {
        sequence.wrapping_add(if is_after(sequence, self.begins) { self.delta } else { self.previous })
    }

    /// The number that its sender knows a byte by which the other end calls `number`.
    pub fn undo(&self, number: u32) -> u32 {
        let before = number.wrapping_sub(self.previous);
        if is_after(before, self.begins) { number.wrapping_sub(self.delta) } else { before }
    }

    /// Notes that the segment which begins with `sequence` grew by `change` bytes. One that lies
    /// before the last change, while that still matters, is too late to be told apart.
    pub fn grow(&mut self, sequence: u32, change: i32) {
        if change != 0 && (self.previous == self.delta || is_after(sequence, self.begins)) {
            *self = Shift { begins: sequence, delta: self.delta.wrapping_add_signed(change), previous: self.delta };
        }
    }
}

/// Whether `one` comes after `other`, as TCP compares (RFC 9293 section 3.4).
fn is_after(one: u32, other: u32) -> bool {
    (one.wrapping_sub(other) as i32) > 0
}

/// Whether a segment's checksum covers its bytes already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covered {
    Whole,
    /// Only the pseudo-header: what is changed needs no mention.
    PseudoHeader,
}

/// Gives a segment the numbers that its receiver knows: `own` is what its own direction has
/// grown by, `opposite` what it acknowledges. Selective acknowledgements follow (RFC 2018).
pub fn renumber(segment: &mut [u8], own: &Shift, opposite: &Shift, covered: Covered) {
    if segment.len() < tcp::LENGTH {
        return;
    }
    let mut difference = Difference::default();
    difference.exchange(segment, tcp::SEQUENCE, |number| own.apply(number));
    if segment[tcp::FLAGS] & crate::wire::transport::TcpFlags::ACK != 0 {
        difference.exchange(segment, tcp::ACKNOWLEDGEMENT, |number| opposite.undo(number));
        let header = (usize::from(segment[tcp::DATA_OFFSET] >> 4) * 4).min(segment.len());
        let mut at = tcp::LENGTH;
        while let Some((edges, next)) = next_option(&segment[..header], at) {
            for edge in edges.step_by(4) {
                difference.exchange(segment, edge, |number| opposite.undo(number));
            }
            at = next;
        }
    }
    if covered == Covered::Whole
        && let Some(sum) = Checksum::read(segment, tcp::CHECKSUM)
    {
        sum.updated(difference.0).write(segment, tcp::CHECKSUM);
    }
}

/// Where the edges of selectively acknowledged blocks stand in the option at `at` (nowhere in
/// other options), and where the next option begins; `None` at the end.
fn next_option(header: &[u8], at: usize) -> Option<(std::ops::Range<usize>, usize)> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const SELECTIVE: u8 = 5;
    const BLOCK: usize = 8;
    match *header.get(at)? {
        END => None,
        NO_OPERATION => Some((at..at, at + 1)),
        kind => {
            let length = usize::from(*header.get(at + 1)?);
            let end = at + length;
            if length < 2 || end > header.len() {
                return None;
            }
            let blocks = if kind == SELECTIVE { (length - 2) / BLOCK * BLOCK } else { 0 };
            Some((at + 2..at + 2 + blocks, end))
        }
    }
}

/// What a checksum has to be told of changed numbers.
#[derive(Default)]
struct Difference(Sum);

impl Difference {
    fn exchange(&mut self, segment: &mut [u8], at: usize, change: impl FnOnce(u32) -> u32) {
        let Some(field) = segment.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<4>) else { return };
        let old = *field;
        *field = change(u32::from_be_bytes(old)).to_be_bytes();
        // A number at an odd place lies with its bytes exchanged in the sum.
        let word = |bytes: [u8; 4]| if at.is_multiple_of(2) { bytes } else { [bytes[1], bytes[0], bytes[3], bytes[2]] };
        self.0 = self.0.add_word(!u32::from_ne_bytes(word(old))).add_word(u32::from_ne_bytes(word(*field)));
    }
}

#[cfg(test)]
mod tests;
