//! lblc: locality-based least connections, for caches: a destination address stays with the server it
//! went to before, until that is gone, at weight 0, or crowded; then wlc finds it another.
//!
//! A destination that is only overloaded (at its upper threshold) keeps the addresses it has, as in the
//! kernel. One that is deleted stays in the trash while addresses refer to it, and has them again when
//! it is added anew.

use super::{Pool, Request, cache::Cache, wlc};
use crate::base::{DestinationId, Tick};
use crate::engine::server::Destination;

#[derive(Debug)]
pub struct State {
    cache: Cache<DestinationId>,
}

impl State {
    pub fn new(seed: u64) -> State {
        State { cache: Cache::new(seed) }
    }

    pub fn pick(&mut self, now: Tick, request: &Request, pool: &mut Pool<'_>) -> Option<DestinationId> {
        let Some(known) = self.cache.touch(now, request.destination) else {
            let id = wlc::pick(pool)?;
            if self.cache.insert(now, request.destination, id).is_ok() {
                pool.hold(id);
            }
            return Some(id);
        };
        if still_good(*known, pool) {
            return Some(*known);
        }
        let id = wlc::pick(pool)?;
        pool.hold(id);
        pool.release(std::mem::replace(known, id));
        Some(id)
    }

    pub fn tick(&mut self, now: Tick, expiry: u64, pool: &mut Pool<'_>) {
        self.cache.tick(now, expiry, |id| pool.release(id));
    }

    pub fn unbind(&mut self, pool: &mut Pool<'_>) {
        self.cache.clear(|id| pool.release(id));
    }
}

fn still_good(id: DestinationId, pool: &Pool<'_>) -> bool {
    pool.destinations
        .get(id)
        .is_some_and(|destination| destination.available && destination.weight > 0 && !crowded(destination, pool))
}

/// Whether a destination has more active connections than its weight while some other has fewer than
/// half of its own.
pub(super) fn crowded(destination: &Destination, pool: &Pool<'_>) -> bool {
    destination.active > destination.weight
        && pool.iter().any(|(_, other)| u64::from(other.active) * 2 < u64::from(other.weight))
}
