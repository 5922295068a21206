//! sh: the client's address decides, with `sh-port` also its port, by a hash into buckets.
//!
//! The destinations fill the buckets in turn, each as many at a time as it weighs. One of weight 0 keeps
//! a bucket each time, so that draining a destination moves few other clients; its own clients find no
//! destination, unless `sh-fallback` makes them try the buckets that follow.
//!
//! The buckets depend on the list and the weights as they are after the last change, so they are filled
//! at the first choice after it.

use super::{Pool, Request};
use crate::base::DestinationId;
use crate::base::hash::hash_32;
use crate::table::ServiceFlags;

const BUCKET_BITS: u32 = 8;
const BUCKETS: u32 = 1 << BUCKET_BITS;

#[derive(Debug, Default)]
pub struct State {
    /// Empty where the list is.
    buckets: Vec<DestinationId>,
    stale: bool,
}

impl State {
    pub fn changed(&mut self) {
        self.stale = true;
    }

    pub fn pick(&mut self, request: &Request, flags: ServiceFlags, pool: &Pool<'_>) -> Option<DestinationId> {
        if self.stale {
            self.stale = false;
            self.fill(pool);
        }
        let port = if flags.has(ServiceFlags::SCHED_2) { u32::from(request.source_port.0) } else { 0 };
        let own = hash_32(request.source.fold().wrapping_add(port), BUCKET_BITS);
        let usable = |bucket: u32| {
            let id = *self.buckets.get((bucket % BUCKETS) as usize)?;
            pool.is_usable(id).then_some(id)
        };
        let first = usable(own);
        if first.is_some() || !flags.has(ServiceFlags::SCHED_1) {
            return first;
        }
        // The way on is the hash added to a walk that itself starts at the hash.
        (0..BUCKETS).find_map(|offset| usable(own + (offset + own) % BUCKETS))
    }

    fn fill(&mut self, pool: &Pool<'_>) {
        self.buckets.clear();
        let shares = pool.list.iter().map(|id| {
            let weight = pool.destinations.get(id).map_or(0, |destination| destination.weight);
            (id, weight.clamp(1, BUCKETS) as usize)
        });
        let turns = shares.cycle().flat_map(|(id, share)| std::iter::repeat_n(id, share));
        self.buckets.extend(turns.take(BUCKETS as usize));
    }
}
