//! wlc: the least load per weight. Also what lblc and lblcr fall back on.

use super::{Pool, is_smaller_share};
use crate::base::DestinationId;

/// Of those with the least share, the first.
pub fn pick(pool: &mut Pool<'_>) -> Option<DestinationId> {
    let mut least = f64::INFINITY;
    for id in pool.list.iter() {
        let Some(share) = pool.destinations.share(id) else { return pick_exactly(pool) };
        least = if share < least { share } else { least };
    }
    let is_it = |&id: &DestinationId| pool.destinations.share(id) == Some(least);
    if least < f64::INFINITY { pool.list.iter().find(is_it) } else { None }
}

/// By products, whatever the numbers.
#[cold]
fn pick_exactly(pool: &Pool<'_>) -> Option<DestinationId> {
    let mut usable = pool.usable().map(|(id, destination)| (id, destination.load(), destination.weight));
    let mut best = usable.next()?;
    for candidate in usable {
        if is_smaller_share((candidate.1, candidate.2), (best.1, best.2)) {
            best = candidate;
        }
    }
    Some(best.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::Fixture;
    use super::*;
    use crate::table::SchedulerKind;

    /// Numbers of every size, and near the powers of two up to `bits` bits.
    fn numbers(bits: u32) -> impl Strategy<Value = u32> {
        let near = (0..bits, 0..3u64).prop_map(|(bit, more)| ((1u64 << bit) + more).saturating_sub(1) as u32);
        let most = (u64::MAX >> (64 - bits)) as u32;
        prop_oneof![0..4u32, 0..100u32, 0..=most, near]
    }

    proptest! {
        /// Rounded quotients choose what products choose, whatever changes in between.
        #[test]
        fn quotients_choose_what_products_choose(
            weights in proptest::collection::vec(numbers(31), 1..12),
            changes in proptest::collection::vec((any::<usize>(), numbers(32), numbers(32)), 1..20),
        ) {
            let mut service = Fixture::new(SchedulerKind::WeightedLeastConnection, &weights);
            for (which, active, inactive) in changes {
                if let Some(id) = service.list.at(which % service.list.len()) {
                    let destination = service.of(id);
                    (destination.active, destination.inactive) = (active, inactive);
                }
                let mut pool = Pool { destinations: &mut service.destinations, list: &service.list };
                prop_assert_eq!(pick(&mut pool), pick_exactly(&pool));
            }
        }

        /// Shares that differ by as little as they can, just below the limits of what is rounded.
        #[test]
        fn the_smallest_differences_are_seen(weight in (1u32 << 15)..(1 << 16) - 1, load in (1u64 << 34)..(1 << 35) - 1) {
            let mut service = Fixture::new(SchedulerKind::WeightedLeastConnection, &[weight, weight + 1]);
            let larger = load + load / u64::from(weight);
            for load_of_other in larger - 1..=larger + 1 {
                for (position, load) in [(1, load), (0, load_of_other)] {
                    let id = service.list.at(position).unwrap();
                    let destination = service.of(id);
                    (destination.active, destination.inactive) = ((load >> 8) as u32, (load & 0xff) as u32);
                }
                let mut pool = Pool { destinations: &mut service.destinations, list: &service.list };
                prop_assert_eq!(pick(&mut pool), pick_exactly(&pool));
            }
        }
    }
}
