//! twos: the power of two choices (Mitzenmacher 2001): two destinations drawn by weight, and of these
//! the one with the lower load per weight.
//!
//! The draws include both 0 and the sum of weights, so the first destination is a little likelier than
//! its weight says. Products are compared in 32 bits. Both as in the kernel.

use super::Pool;
use crate::base::DestinationId;
use crate::base::random::Random;
use crate::engine::server::Destination;

#[derive(Debug)]
pub struct State {
    random: Random,
}

impl State {
    pub fn new(seed: u64) -> State {
        State { random: Random::new(seed) }
    }

    pub fn pick(&mut self, pool: &Pool<'_>) -> Option<DestinationId> {
        let total: u64 = pool.usable().map(|(_, destination)| u64::from(destination.weight)).sum();
        if total == 0 {
            return None;
        }
        let (first, one) = drawn(pool, self.random.below(total + 1))?;
        let (second, other) = drawn(pool, self.random.below(total + 1))?;
        if product(other, one) > product(one, other) { Some(second) } else { Some(first) }
    }
}

/// The destination in whose share of the weights, laid end to end, `draw` falls.
fn drawn<'a>(pool: &'a Pool<'_>, draw: u64) -> Option<(DestinationId, &'a Destination)> {
    let mut end = 0;
    pool.usable().find(|(_, destination)| {
        end += u64::from(destination.weight);
        draw <= end
    })
}

/// The weight of one times the load of the other.
fn product(weight: &Destination, load: &Destination) -> i32 {
    (weight.weight as i32).wrapping_mul(load.load() as i32)
}
