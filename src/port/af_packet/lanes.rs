//! Two receive rings as one: short frames have a ring of many small slots, and what is longer one of
//! few large ones.
//!
//! ```text
//!            ┌─ filter: at most SHORT_FRAME bytes ─► ring of  2 KiB slots ─┐
//! interface ─┤                                                            ├─ merged by time
//!            └─ filter: longer ────────────────────► ring of 68 KiB slots ─┘
//! ```
//!
//! The rule: **frames of one flow keep their order.** The kernel stamps each frame as it puts it
//! into a slot, and the frames of a flow come by one processor, one after the other. A frame is
//! therefore handed out only when every earlier one of the other ring would have been seen: the
//! short ring is looked at before and after the long one, and what lies beyond the newest frame
//! that this covers waits for the next look. (A wall clock that is set back while both rings hold
//! frames of a flow may turn two of them around. So may processors that fill slots of one ring at the same moment:
//! a slot is taken before it is stamped, and hides those after it until it is filled. Stamps cannot make up for that;
//! where there are the privileges for it, one ring and its queue take the place of two.) As long as the long ring is
//! empty, which is nearly always where many small frames come, none of this costs more than one look at it.

use crate::port::sys::ring::{Ring, SlotHeader};

/// Longest frame, Ethernet header included, that the ring for short ones takes: those of a link of
/// the usual MTU.
pub const SHORT_FRAME: u32 = 1600;

/// One ring, or two as one.
#[derive(Debug)]
pub struct Lanes<R = Ring> {
    /// The only ring, or that of the short frames.
    first: R,
    long: Option<R>,
    /// How many frames were handed out.
    given: usize,
    /// Where the frames handed out lie, if not all are the first ring's.
    order: Vec<Place>,
    mixed: bool,
}

/// A frame's place: the ring, and the index there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    long: bool,
    index: usize,
}

/// What is asked of a ring.
pub trait Slots {
    fn ready(&mut self, limit: usize) -> usize;
    /// When the kernel put the frame at `index` there: nanoseconds of its wall clock.
    fn stamp(&self, index: usize) -> u64;
    /// Gives the first `count` slots back; those after them stay ours.
    fn release(&mut self, count: usize);
}

impl<R: Slots> Lanes<R> {
    pub fn new(first: R, long: Option<R>) -> Lanes<R> {
        Lanes { first, long, given: 0, order: Vec::new(), mixed: false }
    }

    /// Hands out frames, up to `limit` with those handed out before, and says how many there are.
    #[inline]
    pub fn ready(&mut self, limit: usize) -> usize {
        let seen = self.first.ready(limit);
        if self.mixed || self.long.as_mut().is_some_and(|long| long.ready(1) > 0) {
            return self.merge(limit, seen);
        }
        self.given = seen;
        seen
    }

    #[cold]
    fn merge(&mut self, limit: usize, seen: usize) -> usize {
        let Some(long) = &mut self.long else { return self.given };
        if !self.mixed {
            self.mixed = true;
            self.order.clear();
            self.order.extend((0..self.given).map(|index| Place { long: false, index }));
        }
        let longs = long.ready(limit);
        let shorts = self.first.ready(limit);
        // Whatever is older than the newest of these is in sight; and so is what was seen before the other ring was looked
        // at, whatever its stamp: a slot may be stamped later than the next one.
        let newest_short = seen.checked_sub(1).map(|index| self.first.stamp(index));
        let newest_long = longs.checked_sub(1).map(|index| long.stamp(index));
        let horizon = newest_short.max(newest_long).unwrap_or(0);
        let mut next_long = self.order.iter().filter(|place| place.long).count();
        let mut next_short = self.order.len() - next_long;
        while self.order.len() < limit {
            let in_sight = |at: &u64| next_short < seen || *at <= horizon;
            let short = (next_short < shorts).then(|| self.first.stamp(next_short)).filter(in_sight);
            let from_long = (next_long < longs).then(|| long.stamp(next_long));
            match (short, from_long) {
                (Some(short), Some(from_long)) if from_long < short => {
                    self.order.push(Place { long: true, index: next_long });
                    next_long += 1;
                }
                (Some(_), _) => {
                    self.order.push(Place { long: false, index: next_short });
                    next_short += 1;
                }
                (None, Some(_)) => {
                    self.order.push(Place { long: true, index: next_long });
                    next_long += 1;
                }
                (None, None) => break,
            }
        }
        self.given = self.order.len();
        self.given
    }

    /// Gives back what was handed out.
    #[inline]
    pub fn release(&mut self) {
        if self.mixed {
            let longs = self.order.iter().filter(|place| place.long).count();
            self.first.release(self.given - longs);
            if let Some(long) = &mut self.long {
                long.release(longs);
            }
            self.mixed = false;
            self.order.clear();
        } else {
            self.first.release(self.given);
        }
        self.given = 0;
    }

    /// The ring of the frame at `index`, and its index there.
    #[inline]
    fn ring(&self, index: usize) -> Option<(&R, usize)> {
        if !self.mixed {
            return (index < self.given).then_some((&self.first, index));
        }
        let place = self.order.get(index)?;
        Some((if place.long { self.long.as_ref()? } else { &self.first }, place.index))
    }

    #[inline]
    fn ring_mut(&mut self, index: usize) -> Option<(&mut R, usize)> {
        if !self.mixed {
            return (index < self.given).then_some((&mut self.first, index));
        }
        let place = *self.order.get(index)?;
        Some((if place.long { self.long.as_mut()? } else { &mut self.first }, place.index))
    }
}

impl Lanes<Ring> {
    /// What the kernel says of the frame at `index` of those handed out.
    #[inline]
    pub fn header(&self, index: usize) -> Option<SlotHeader> {
        self.ring(index).and_then(|(ring, index)| ring.header(index))
    }

    #[inline]
    pub fn bytes(&self, index: usize) -> Option<&[u8]> {
        self.ring(index).and_then(|(ring, index)| ring.bytes(index))
    }

    #[inline]
    pub fn bytes_mut(&mut self, index: usize) -> Option<&mut [u8]> {
        self.ring_mut(index).and_then(|(ring, index)| ring.bytes_mut(index))
    }
}

impl Slots for Ring {
    #[inline]
    fn ready(&mut self, limit: usize) -> usize {
        Ring::ready(self, limit)
    }

    #[inline]
    fn stamp(&self, index: usize) -> u64 {
        self.header(index).map_or(0, |header| header.stamp)
    }

    #[inline]
    fn release(&mut self, count: usize) {
        Ring::release(self, count);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use proptest::prelude::*;

    use super::*;

    /// A ring that sees frames arrive while it is being looked at.
    struct Script {
        /// Stamps of the frames that this ring gets, in order.
        stamps: Vec<u64>,
        released: usize,
        held: usize,
        /// The stamp up to which frames have arrived; each look moves it on.
        now: Rc<RefCell<Arrivals>>,
    }

    struct Arrivals {
        now: u64,
        steps: Vec<u64>,
    }

    impl Slots for Script {
        fn ready(&mut self, limit: usize) -> usize {
            let mut arrivals = self.now.borrow_mut();
            let step = arrivals.steps.pop().unwrap_or(0);
            arrivals.now += step;
            let arrived = self.stamps[self.released..].iter().filter(|&&stamp| stamp <= arrivals.now).count();
            self.held = self.held.max(arrived.min(limit));
            self.held
        }

        fn stamp(&self, index: usize) -> u64 {
            assert!(index < self.held);
            self.stamps[self.released + index]
        }

        fn release(&mut self, count: usize) {
            assert!(count <= self.held);
            self.released += count;
            self.held -= count;
        }
    }

    proptest! {
        /// Whatever arrives between whichever looks, frames come out in the order they came in.
        #[test]
        fn the_order_of_arrival_is_kept(
            long in proptest::collection::vec(any::<bool>(), 1..200),
            steps in proptest::collection::vec(0u64..6, 0..400),
            limit in 1usize..20,
        ) {
            let now = Rc::new(RefCell::new(Arrivals { now: 0, steps }));
            let script = |wanted: bool| Script {
                stamps: (1..).zip(&long).filter(|&(_, &is_long)| is_long == wanted).map(|(stamp, _)| stamp).collect(),
                released: 0,
                held: 0,
                now: now.clone(),
            };
            let mut lanes = Lanes::new(script(false), Some(script(true)));
            let mut seen = Vec::new();
            while seen.len() < long.len() {
                let count = lanes.ready(limit);
                prop_assert!(count <= limit);
                for index in 0..count {
                    let (ring, at) = lanes.ring(index).unwrap();
                    seen.push(ring.stamp(at));
                }
                lanes.release();
                if now.borrow().steps.is_empty() {
                    now.borrow_mut().now = u64::MAX;
                }
            }
            prop_assert!(seen.is_sorted(), "{seen:?}");
            prop_assert_eq!(seen.len(), long.len());
        }
    }

    #[test]
    fn what_was_stamped_late_keeps_nothing_back() {
        let now = Rc::new(RefCell::new(Arrivals { now: 20, steps: Vec::new() }));
        let script = |stamps: &[u64]| Script { stamps: stamps.to_vec(), released: 0, held: 0, now: now.clone() };
        // One processor took the first slot, and stamped it after another one had stamped the second.
        let mut lanes = Lanes::new(script(&[12, 10]), Some(script(&[11])));
        assert_eq!(lanes.ready(8), 3, "nothing else will come to wake anybody");
        lanes.release();
        assert_eq!(lanes.ready(8), 0);
    }

    #[test]
    fn more_may_be_handed_out_before_anything_goes_back() {
        let now = Rc::new(RefCell::new(Arrivals { now: 2, steps: Vec::new() }));
        let script = |stamps: &[u64]| Script { stamps: stamps.to_vec(), released: 0, held: 0, now: now.clone() };
        let mut lanes = Lanes::new(script(&[1, 2, 5]), Some(script(&[3, 4])));
        assert_eq!(lanes.ready(8), 2);
        now.borrow_mut().now = 5;
        assert_eq!(lanes.ready(8), 5);
        let order: Vec<u64> = (0..5).map(|index| lanes.ring(index).map(|(ring, at)| ring.stamp(at)).unwrap()).collect();
        assert_eq!(order, [1, 2, 3, 4, 5]);
        lanes.release();
        assert_eq!(lanes.ready(8), 0);
    }
}
