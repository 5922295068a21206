//! When connections expire: a hierarchical timer wheel (Varghese and Lauck) of intrusive lists.
//!
//! A packet only moves a connection's expiry; the wheel is told when the entry's slot comes up
//! and the connection turns out to live longer (lazy re-arming), or at once when the new expiry
//! lies before the slot. Slots last 16 ms, 4 s and 17 min; one list holds the rest.
//!
//! Any number of connections may hang in one slot, and yet no call does more than it is given a
//! [`Budget`] for. So a coarse slot is not spread over finer ones when its time has come, but ahead
//! of it, a little at a time: each level has finer slots for two coarse ones, the current and the
//! next, and the next one is spread while the current one passes.
//!
//! ```text
//!   coarse   │ current  │   next   │          │          next: being spread, takes no entries
//!   finer    ▏▏▏▏▏▏▏▏▏▏▏▏▏▏▏▏▏▏▏▏▏▏▏                      where they go instead
//!                  ▲ now
//! ```

use crate::base::{ConnectionId, Tick};

use super::entry::Connection;
use super::table::NONE;

const SLOT_MILLISECONDS: u64 = 16;
/// Slots of a level that make one of the next, in bits.
const BLOCK_BITS: u32 = 8;
/// Slots of a level: two blocks.
const SLOTS: usize = 2 << BLOCK_BITS;
const LEVELS: usize = 3;
/// The two lists of what lies beyond the last level: one is filled while the other is spread.
const FAR: u32 = (LEVELS * SLOTS) as u32;
/// The list of what is due at once, whatever the clock says.
const DUE: u32 = FAR + 2;
const LISTS: usize = DUE as usize + 1;

/// The slot numbers from here on, after 795 days: what is looked at when is not remembered then.
const BEYOND: u32 = u32::MAX;

/// How many entries may still be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget(pub usize);

impl Budget {
    /// Takes one, if there is one left.
    pub fn take(&mut self) -> bool {
        let left = self.0 > 0;
        self.0 -= usize::from(left);
        left
    }

    pub fn is_spent(self) -> bool {
        self.0 == 0
    }
}

/// An entry's place in the wheel.
#[derive(Clone, Copy, Debug)]
pub struct TimerLink {
    next: u32,
    previous: u32,
    /// The list it hangs in, or [`NONE`].
    list: u32,
    /// Slot number (units of 16 ms since the start) at which the wheel looks at it; [`BEYOND`]
    /// where it does not fit.
    at: u32,
}

impl Default for TimerLink {
    fn default() -> TimerLink {
        TimerLink { next: NONE, previous: NONE, list: NONE, at: 0 }
    }
}

/// The wheel; the lists run through the connections themselves.
#[derive(Debug)]
pub struct TimerWheel {
    heads: Box<[u32]>,
    /// The slot that is being looked at; what came before it is done with.
    current: u64,
    /// Entries in slots of the finest level.
    finest: u32,
}

impl TimerWheel {
    pub fn new() -> TimerWheel {
        TimerWheel { heads: vec![NONE; LISTS].into_boxed_slice(), current: 0, finest: 0 }
    }

    /// Turns an empty wheel to a moment that would take years to come.
    #[cfg(test)]
    pub fn skip_to(&mut self, now: Tick) {
        self.current = slot_of_start(now);
    }

    /// Tells the wheel that `id` now expires at its `expires`.
    #[inline(always)]
    pub fn arm(&mut self, entries: &mut [Connection], id: ConnectionId) {
        let entry = &entries[id.index()];
        let at = slot_of(entry.expires);
        let TimerLink { list, at: looked_at, .. } = entry.timer;
        if list != NONE && u64::from(looked_at) <= at && list != DUE && looked_at != BEYOND {
            return;
        }
        self.arm_anew(entries, id);
    }

    #[inline(never)]
    fn arm_anew(&mut self, entries: &mut [Connection], id: ConnectionId) {
        self.disarm(entries, id);
        self.insert(entries, id);
    }

    /// Makes `id` expire at the next [`TimerWheel::pop_due`], whatever the clock says.
    pub fn arm_due(&mut self, entries: &mut [Connection], id: ConnectionId) {
        self.disarm(entries, id);
        self.push(entries, id, DUE, 0);
    }

    pub fn disarm(&mut self, entries: &mut [Connection], id: ConnectionId) {
        let TimerLink { next, previous, list, .. } = entries[id.index()].timer;
        if list == NONE {
            return;
        }
        self.finest -= u32::from(list < SLOTS as u32);
        match previous {
            NONE => self.heads[list as usize] = next,
            previous => entries[previous as usize].timer.next = next,
        }
        if next != NONE {
            entries[next as usize].timer.previous = previous;
        }
        entries[id.index()].timer = TimerLink::default();
    }

    /// Takes out one connection whose time has come. `None` when there is no other at `now`, or
    /// when the budget is spent; with some of it left, the wheel is up to date and all is spread
    /// that can be.
    pub fn pop_due(&mut self, entries: &mut [Connection], now: Tick, budget: &mut Budget) -> Option<ConnectionId> {
        loop {
            for list in [DUE, self.slot(0, self.current)] {
                while self.heads[list as usize] != NONE && budget.take() {
                    let id = ConnectionId(self.heads[list as usize]);
                    self.disarm(entries, id);
                    if list == DUE || entries[id.index()].expires <= now {
                        return Some(id);
                    }
                    self.insert(entries, id);
                }
            }
            if budget.is_spent() || !self.advance(entries, slot_of_start(now), budget) {
                return None;
            }
        }
    }

    /// Moves on to the next slot that has entries and is over at `target`; `false` when there is
    /// none, or the budget is spent. The current slot has none any more.
    fn advance(&mut self, entries: &mut [Connection], target: u64, budget: &mut Budget) -> bool {
        while self.current < target {
            if self.finest == 0 {
                // Nothing is there before the next block: after a pause, much is skipped.
                let last = self.current | ((1 << BLOCK_BITS) - 1);
                self.current = last.min(target);
                if self.current == target {
                    break;
                }
            }
            // The next block must be whole when it begins, on every level that has one beginning.
            let begins = |level: &usize| (self.current + 1).trailing_zeros() >= *level as u32 * BLOCK_BITS;
            let levels = (1..=LEVELS).take_while(begins).count();
            if !self.spread(entries, levels, budget) {
                return false;
            }
            self.current += 1;
            if self.heads[self.slot(0, self.current) as usize] != NONE {
                return true;
            }
        }
        self.spread(entries, LEVELS, budget);
        false
    }

    /// Spreads the next slot of each of the first `levels` coarser levels over the finer ones, the
    /// most urgent first; `false` when the budget is spent before that is done.
    fn spread(&mut self, entries: &mut [Connection], levels: usize, budget: &mut Budget) -> bool {
        for level in 1..=levels {
            let next = (self.current >> (level as u32 * BLOCK_BITS)) + 1;
            let list = if level == LEVELS { self.far(next) } else { self.slot(level, next) };
            while self.heads[list as usize] != NONE {
                if !budget.take() {
                    return false;
                }
                let id = ConnectionId(self.heads[list as usize]);
                self.disarm(entries, id);
                self.insert(entries, id);
            }
        }
        true
    }

    /// Hangs an entry where its expiry belongs, as seen from the current slot; at the earliest in
    /// the one after it.
    fn insert(&mut self, entries: &mut [Connection], id: ConnectionId) {
        let at = slot_of(entries[id.index()].expires).max(self.current + 1);
        // By level: how many blocks lie between the current one and that of `at`.
        let blocks = |level: u32| (at >> (level * BLOCK_BITS)) - (self.current >> (level * BLOCK_BITS));
        let list = match (blocks(1), blocks(2), blocks(3)) {
            (0 | 1, ..) => self.slot(0, at),
            (_, 0 | 1, _) => self.slot(1, at >> BLOCK_BITS),
            (_, _, 0 | 1) => self.slot(2, at >> (2 * BLOCK_BITS)),
            _ => self.far(self.current >> (LEVELS as u32 * BLOCK_BITS)),
        };
        self.push(entries, id, list, at.clamp(1, u64::from(BEYOND)) as u32);
    }

    fn push(&mut self, entries: &mut [Connection], id: ConnectionId, list: u32, at: u32) {
        self.finest += u32::from(list < SLOTS as u32);
        let head = std::mem::replace(&mut self.heads[list as usize], id.0);
        if head != NONE {
            entries[head as usize].timer.previous = id.0;
        }
        entries[id.index()].timer = TimerLink { next: head, previous: NONE, list, at };
    }

    /// The list of slot `number` of a level.
    fn slot(&self, level: usize, number: u64) -> u32 {
        (level * SLOTS) as u32 + (number as u32 & (SLOTS as u32 - 1))
    }

    /// The list that takes what lies beyond the last level, by the number of the block that passes.
    fn far(&self, block: u64) -> u32 {
        FAR + (block & 1) as u32
    }

    /// Checks that what is counted is what is there; for tests.
    pub fn check_invariants(&self, entries: &[Connection]) {
        let finest = entries.iter().filter(|entry| entry.timer.list < SLOTS as u32).count();
        assert_eq!(finest, self.finest as usize, "timers in the finest slots");
        let late = |entry: &&Connection| entry.timer.list < DUE && u64::from(entry.timer.at) < self.current;
        let late = entries.iter().filter(late).filter(|entry| entry.timer.at != BEYOND).count();
        assert_eq!(late, 0, "timers in slots that are over");
    }
}

/// The first slot that is over when `moment` has come.
fn slot_of(moment: Tick) -> u64 {
    moment.0.div_ceil(SLOT_MILLISECONDS)
}

/// The last slot that is over at `now`.
fn slot_of_start(now: Tick) -> u64 {
    now.0 / SLOT_MILLISECONDS
}
