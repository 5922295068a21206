//! dh: the destination address decides, by a hash into buckets that the destinations fill in turn.
//!
//! Weights do not matter but for 0: what falls on a destination that may not be used goes nowhere. The
//! buckets follow the list alone, so they are filled at the first choice after a change of the list.

use super::{Pool, Request};
use crate::base::DestinationId;
use crate::base::hash::hash_32;

const BUCKET_BITS: u32 = 8;

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

    pub fn pick(&mut self, request: &Request, pool: &Pool<'_>) -> Option<DestinationId> {
        if self.stale {
            self.stale = false;
            self.buckets.clear();
            self.buckets.extend(pool.list.iter().cycle().take(1 << BUCKET_BITS));
        }
        let bucket = hash_32(request.destination.fold(), BUCKET_BITS);
        let id = *self.buckets.get(bucket as usize)?;
        pool.is_usable(id).then_some(id)
    }
}
