//! wrr: in turn, the heavier the more often.
//!
//! A round is made of levels: from the highest weight down to the greatest common divisor of all
//! weights, in steps of that divisor. At each level every destination that weighs at least as much is
//! chosen once, in list order. Every change to a destination, also one that changes nothing, sends the
//! pointer back to the list's head and keeps the level, if there still is such a level. A service configured destination by destination
//! therefore begins at the lowest level, and one that is switched to wrr at the highest.
//!
//! ```text
//! A1 B2 C3, list C B A     level 3: C    level 2: C B    level 1: C B A
//! ```
//!
//! Where the kernel tries level after level until one has a destination that is not overloaded, the
//! heaviest such destination tells here which level that will be: a choice looks at each destination
//! twice at most, whatever the weights.

use super::Pool;
use crate::base::DestinationId;

#[derive(Debug, Default)]
pub struct State {
    /// One past the position of the destination chosen last; 0 while the pointer is at the head.
    next: usize,
    /// The weight it takes to be chosen now. Always 1 more than a multiple of `step`, or 0.
    level: u32,
    /// The level a round begins at; 0 while no destination has a weight.
    highest: u32,
    /// The greatest common divisor of all weights; 1 where there are none.
    step: u32,
    weights: Weights,
}

/// What a round is made from.
#[derive(Clone, Copy, Debug, Default)]
struct Weights {
    /// 0 where there are none.
    divisor: u32,
    largest: u32,
}

impl Weights {
    fn with(self, weight: u32) -> Weights {
        Weights { divisor: common_divisor(self.divisor, weight), largest: self.largest.max(weight) }
    }
}

impl State {
    pub fn bind(&mut self, pool: &Pool<'_>) {
        self.measure(pool, None);
        self.level = self.highest;
    }

    /// A destination was added. Nothing is measured anew: a service may have many.
    pub fn added(&mut self, pool: &Pool<'_>, id: DestinationId) {
        let weight = pool.destinations.get(id).map_or(0, |destination| destination.weight);
        self.divide(self.weights.with(weight));
        self.keep_level();
    }

    /// Destinations changed; `without` is one that is about to leave.
    pub fn changed(&mut self, pool: &Pool<'_>, without: Option<DestinationId>) {
        self.measure(pool, without);
        self.keep_level();
    }

    fn keep_level(&mut self) {
        if self.level > self.highest || self.level == 0 {
            self.level = self.highest;
        } else {
            self.level = self.level / self.step * self.step + if self.step > 1 { 1 } else { 0 };
        }
    }

    pub fn pick(&mut self, pool: &Pool<'_>) -> Option<DestinationId> {
        if self.highest == 0 {
            return None;
        }
        if let Some(id) = self.first(pool) {
            return Some(id);
        }
        let heaviest =
            pool.iter().filter(|(_, destination)| !destination.overloaded).map(|(_, destination)| destination.weight);
        match heaviest.max() {
            None | Some(0) => {
                // The kernel has now come through the lowest level: where that is where it began, in
                // the middle of the list, it is back at the same place, otherwise a new round begins.
                if self.next == 0 || self.level > self.step {
                    self.next = 0;
                    self.level = self.highest;
                }
                None
            }
            Some(heaviest) => {
                self.next = 0;
                self.level = self.level.checked_sub(self.step).filter(|&level| level > 0).unwrap_or(self.highest);
                // Every weight is a multiple of the step, so this stays above 0.
                let above = self.level.saturating_sub(heaviest);
                self.level = self.level.saturating_sub(above.div_ceil(self.step) * self.step).max(1);
                self.first(pool)
            }
        }
    }

    /// Moves to the first destination from the pointer on that reaches the level.
    fn first(&mut self, pool: &Pool<'_>) -> Option<DestinationId> {
        let reaches = |position: &usize| {
            pool.at(*position)
                .is_some_and(|(_, destination)| !destination.overloaded && destination.weight >= self.level)
        };
        let position = (self.next..pool.list.len()).find(reaches)?;
        self.next = position + 1;
        pool.list.at(position)
    }

    /// Goes back to the head and finds the levels of a round.
    fn measure(&mut self, pool: &Pool<'_>, without: Option<DestinationId>) {
        let weights = pool.iter().filter(|(id, _)| Some(*id) != without).map(|(_, destination)| destination.weight);
        self.divide(weights.fold(Weights::default(), Weights::with));
    }

    fn divide(&mut self, weights: Weights) {
        self.weights = weights;
        self.next = 0;
        self.step = weights.divisor.max(1);
        self.highest = if weights.largest == 0 { 0 } else { weights.largest - (self.step - 1) };
    }
}

/// The greatest common divisor; 0 counts as "nothing yet".
pub(super) fn common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
