//! Chance, from a seed.

use crate::base::random::Random;

pub struct Dice(Random);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(Random::new(seed))
    }

    /// A number from `least` to `most`, both included.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.0.below(most.saturating_sub(least) + 1)
    }

    /// True in so many of a hundred cases.
    pub fn chance(&mut self, of_hundred: u64) -> bool {
        self.0.below(100) < of_hundred
    }

    /// One of several; there has to be one.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.0.below(from.len() as u64) as usize]
    }

    /// One of several, each as often as its weight says.
    pub fn weighted<T: Copy>(&mut self, from: &[(T, u64)]) -> T {
        let mut rest = self.0.below(from.iter().map(|(_, weight)| weight).sum());
        for &(value, weight) in from {
            if rest < weight {
                return value;
            }
            rest -= weight;
        }
        from[from.len() - 1].0
    }

    /// Brings several into another order.
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            values.swap(last, self.0.below(last as u64 + 1) as usize);
        }
    }
}
