//! Fragments: put together on the way in, taken apart on the way out.

use crate::base::Tick;
use crate::wire::Frame;

use super::Engine;
use super::HostStack;
use super::classify::{Seen, Target};
use super::verdict::{DropReason, Egress, Verdict};

/// A segment on its way into the outbox.
pub(super) struct Segment<'a> {
    pub identification: u16,
    pub buffer: &'a mut Vec<u8>,
}

impl Segment<'_> {
    pub fn prepend(&mut self, _length: usize) -> Result<&mut [u8], DropReason> {
        Ok(self.buffer)
    }
}

impl Engine {
    /// Whether fragments of this kind are put together before anything else is done with them.
    pub(super) fn wants_whole(&self, seen: &Seen) -> bool {
        let parts = &seen.parts;
        match seen.target {
            Target::Virtual => true,
            Target::Own => self.host_stack == HostStack::Absent,
            Target::Transit => seen.routed_by_us || self.services.has_masqueraded_address(parts.family, parts.source),
        }
    }

    pub(super) fn reassemble(&mut self, _now: Tick, _frame: &mut Frame, _seen: Seen) -> Verdict {
        Verdict::Consumed
    }

    pub(super) fn give_up_fragments(&mut self, _now: Tick) {}

    pub(super) fn send_fragments(&mut self, _frame: &Frame, _limit: usize, _egress: Egress) -> Verdict {
        Verdict::Consumed
    }

    pub(super) fn send_segments(
        &mut self,
        _frame: &Frame,
        _transport: usize,
        _limit: usize,
        _egress: Egress,
        _wrap: impl Fn(&mut Segment) -> Result<(), DropReason>,
    ) -> Verdict {
        Verdict::Consumed
    }
}
