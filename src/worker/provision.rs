//! Memory for connections to come, made ready before they come.
//!
//! ```text
//! places for connections:  used │ ready, at least AHEAD │ promised by the kernel alone
//!                               └──► as this moves, the worker asks for more: helper thread ─► madvise(2)
//! ```
//!
//! The kernel gives out memory as it is touched, and clears it first: a huge page takes it a tenth of a millisecond, and
//! several where a hypervisor has to find the memory, too. A worker that met a page of its own accord would look at no
//! frames for so long, with every 16,384th new connection. So a thread that handles no frames touches them before.
//!
//! Where that one does not come to it in time, or the kernel does not know how (before Linux 5.14), the worker meets
//! the pages as it would without it.

use std::ops::Range;
use std::sync::mpsc::SyncSender;

/// Bytes that are asked for at once: a huge page.
const STEP: usize = 2 << 20;
/// Bytes that are to be ready beyond what is used: connections of a tenth of a second of a flood.
const AHEAD: usize = 2 * STEP;
/// Of the index, bytes that are made ready at the start; all of it is touched soon, in no order.
const MOST_INDEX: usize = 8 * STEP;
/// Ranges of addresses that may wait for whoever makes memory ready.
pub const WAITING: usize = 64;

/// Where a worker says which memory is to be made ready, to a thread that handles no frames.
pub type Requests = SyncSender<Range<usize>>;

/// What one worker has of its connections' memory.
#[derive(Debug, Default)]
pub struct Provision {
    /// The places that nobody was asked to make ready yet, and where they begin.
    places: Range<usize>,
    start: usize,
    helper: Option<Requests>,
}

impl Provision {
    /// For a table whose places and whose index lie at these addresses.
    pub fn new(helper: Requests, [places, index]: [Range<usize>; 2]) -> Provision {
        let first = index.start..index.end.min(index.start + MOST_INDEX);
        let mut provision = Provision { start: places.start, places, helper: Some(helper) };
        provision.ask(first);
        provision.keep_ahead(0);
        provision
    }

    /// Sees to it that enough is ready, now that so many bytes of the places have been used.
    #[inline]
    pub fn keep_ahead(&mut self, used: usize) {
        let wanted = (self.start + used + AHEAD).min(self.places.end);
        if self.places.start < wanted {
            self.ask_until(wanted);
        }
    }

    #[cold]
    fn ask_until(&mut self, wanted: usize) {
        while self.places.start < wanted {
            // To where the next huge page begins.
            let end = (self.places.start + 1).next_multiple_of(STEP).min(self.places.end);
            if !self.ask(self.places.start..end) {
                return;
            }
            self.places.start = end;
        }
    }

    /// Asks the helper; whether it hears of it.
    fn ask(&mut self, range: Range<usize>) -> bool {
        self.helper.as_ref().is_some_and(|helper| helper.try_send(range).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use std::iter;
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;

    const START: usize = 5 * STEP + 64;
    const END: usize = 13 * STEP - 64;

    fn provision() -> (Provision, Receiver<Range<usize>>) {
        let (sender, receiver) = sync_channel(WAITING);
        (Provision::new(sender, [START..END, 100..200]), receiver)
    }

    #[test]
    fn the_index_and_the_first_places_are_made_ready_at_the_start() {
        let (_provision, asked) = provision();
        let asked: Vec<_> = asked.try_iter().collect();
        assert_eq!(asked, [100..200, START..6 * STEP, 6 * STEP..7 * STEP, 7 * STEP..8 * STEP]);
        let (sender, receiver) = sync_channel(WAITING);
        let _provision = Provision::new(sender, [START..START, 0..100 * STEP]);
        assert!(receiver.try_iter().eq(iter::once(0..MOST_INDEX)));
    }

    #[test]
    fn what_is_ready_keeps_ahead_of_what_is_used_to_the_end() {
        let (mut provision, asked) = provision();
        let mut ready = asked.try_iter().last().unwrap().end;
        for used in (0..END - START).step_by(100_000) {
            provision.keep_ahead(used);
            for range in asked.try_iter() {
                assert_eq!(range.start, ready, "nothing twice, nothing left out");
                ready = range.end;
            }
            assert!(ready >= (START + used + AHEAD).min(END) && ready <= END);
        }
        assert_eq!(ready, END);
        provision.keep_ahead(END - START);
        assert!(asked.try_iter().next().is_none());
    }

    #[test]
    fn what_a_busy_helper_did_not_hear_of_is_asked_for_again() {
        let (sender, asked) = sync_channel(1);
        let mut provision = Provision::new(sender, [START..END, 100..200]);
        assert!(asked.try_iter().eq(iter::once(100..200)));
        provision.keep_ahead(0);
        assert!(asked.try_iter().eq(iter::once(START..6 * STEP)));
        drop(asked);
        provision.keep_ahead(END - START);
    }
}
