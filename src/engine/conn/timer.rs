//! When connections expire: a hierarchical timer wheel (Varghese and Lauck) of intrusive lists.
//!
//! A packet only moves a connection's expiry; the wheel is told when the entry's slot comes up
//! and the connection turns out to live longer (lazy re-arming), or at once when the new expiry
//! lies before the slot. Three levels of 256 slots of 16 ms, 4 s and 17 min, and one for the rest.

use crate::base::{ConnectionId, Tick};

use super::entry::Connection;
use super::table::NONE;

const SLOT_MILLISECONDS: u64 = 16;
const SLOT_BITS: u32 = 8;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = 3;
/// The list of what is due at once.
const DUE: u32 = (LEVELS * SLOTS) as u32 + 1;
/// The list of what lies beyond the last level.
const FAR: u32 = (LEVELS * SLOTS) as u32;

/// The slot numbers from here on, after 795 days: what is looked at when is not remembered then.
const BEYOND: u32 = u32::MAX;

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
    /// The slot up to which everything has been looked at.
    current: u64,
    /// Entries in slots of the finest level.
    finest: u32,
}

impl TimerWheel {
    pub fn new() -> TimerWheel {
        TimerWheel { heads: vec![NONE; LEVELS * SLOTS + 2].into_boxed_slice(), current: 0, finest: 0 }
    }

    /// Turns an empty wheel to a moment that would take years to come.
    #[cfg(test)]
    pub fn skip_to(&mut self, now: Tick) {
        self.current = slot_of_start(now);
    }

    /// Tells the wheel that `id` now expires at its `expires`.
    #[inline]
    pub fn arm(&mut self, entries: &mut [Connection], id: ConnectionId) {
        let entry = &entries[id.index()];
        let at = slot_of(entry.expires);
        let TimerLink { list, at: looked_at, .. } = entry.timer;
        if list != NONE && u64::from(looked_at) <= at && list != DUE && looked_at != BEYOND {
            return;
        }
        self.disarm(entries, id);
        self.insert(entries, id, at.max(self.current + 1));
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

    /// Takes out one connection whose time has come; `None` when there is no other at `now`.
    pub fn pop_due(&mut self, entries: &mut [Connection], now: Tick) -> Option<ConnectionId> {
        loop {
            while self.heads[DUE as usize] != NONE {
                let id = ConnectionId(self.heads[DUE as usize]);
                let forced = entries[id.index()].timer.at == 0;
                self.disarm(entries, id);
                if forced || entries[id.index()].expires <= now {
                    return Some(id);
                }
                let at = slot_of(entries[id.index()].expires);
                self.insert(entries, id, at.max(self.current + 1));
            }
            if !self.advance(entries, slot_of_start(now)) {
                return None;
            }
        }
    }

    /// Moves on to the next slot that is over at `target` and hands its entries to the due list;
    /// `false` when the wheel is up to date.
    fn advance(&mut self, entries: &mut [Connection], target: u64) -> bool {
        while self.current < target {
            if self.finest == 0 {
                // Nothing is there before the next coarser slot: after a pause, much is skipped.
                self.current = (self.current | (SLOTS as u64 - 1)).min(target);
                if self.current == target {
                    return false;
                }
            }
            self.current += 1;
            let mut level_slot = self.current;
            for level in 1..=LEVELS {
                if level_slot & (SLOTS as u64 - 1) != 0 {
                    break;
                }
                level_slot >>= SLOT_BITS;
                let list = match level {
                    LEVELS => FAR,
                    level => (level * SLOTS) as u32 + (level_slot as u32 & (SLOTS as u32 - 1)),
                };
                self.cascade(entries, list);
            }
            let list = (self.current & (SLOTS as u64 - 1)) as u32;
            if self.heads[list as usize] != NONE {
                self.rename(entries, list);
                return true;
            }
        }
        false
    }

    /// Spreads a coarse slot's entries over finer ones.
    fn cascade(&mut self, entries: &mut [Connection], list: u32) {
        let mut id = std::mem::replace(&mut self.heads[list as usize], NONE);
        while id != NONE {
            let link = entries[id as usize].timer;
            entries[id as usize].timer = TimerLink::default();
            let at = slot_of(entries[id as usize].expires);
            self.insert(entries, ConnectionId(id), at.max(self.current));
            id = link.next;
        }
    }

    /// Turns a finest slot's list into the due list, which is empty.
    fn rename(&mut self, entries: &mut [Connection], list: u32) {
        let head = std::mem::replace(&mut self.heads[list as usize], NONE);
        self.heads[DUE as usize] = head;
        let mut id = head;
        while id != NONE {
            let link = &mut entries[id as usize].timer;
            link.list = DUE;
            id = link.next;
            self.finest -= 1;
        }
    }

    /// Checks that what is counted is what is there; for tests.
    pub fn check_invariants(&self, entries: &[Connection]) {
        let finest = entries.iter().filter(|entry| entry.timer.list < SLOTS as u32).count();
        assert_eq!(finest, self.finest as usize, "timers in the finest slots");
    }

    fn insert(&mut self, entries: &mut [Connection], id: ConnectionId, at: u64) {
        let distance = at - self.current;
        let list = if distance < 1 << SLOT_BITS {
            at as u32 & (SLOTS as u32 - 1)
        } else if distance < 1 << (2 * SLOT_BITS) {
            SLOTS as u32 + ((at >> SLOT_BITS) as u32 & (SLOTS as u32 - 1))
        } else if distance < 1 << (3 * SLOT_BITS) {
            2 * SLOTS as u32 + ((at >> (2 * SLOT_BITS)) as u32 & (SLOTS as u32 - 1))
        } else {
            FAR
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
}

/// The first slot that is over when `moment` has come.
fn slot_of(moment: Tick) -> u64 {
    moment.0.div_ceil(SLOT_MILLISECONDS)
}

/// The last slot that is over at `now`.
fn slot_of_start(now: Tick) -> u64 {
    now.0 / SLOT_MILLISECONDS
}
