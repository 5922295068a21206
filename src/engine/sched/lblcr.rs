//! lblcr: locality-based least connections with replication: a destination address has a set of
//! servers. The one with the least load per weight serves, and when that is crowded wlc adds another.
//! A set that did not change for the expiry time (a day by default) loses its busiest member.

use super::{Pool, Request, cache::Cache, compare_shares, lblc::crowded, wlc};
use crate::base::{DestinationId, Tick};
use crate::engine::server::Destination;

#[derive(Debug)]
pub struct State {
    cache: Cache<Set>,
}

impl State {
    pub fn new(seed: u64) -> State {
        State { cache: Cache::new(seed) }
    }

    pub fn pick(&mut self, now: Tick, request: &Request, expiry: u64, pool: &mut Pool<'_>) -> Option<DestinationId> {
        let Some(set) = self.cache.touch(now, request.destination) else {
            let id = wlc::pick(pool)?;
            if self.cache.insert(now, request.destination, Set { members: vec![id], changed: now }).is_ok() {
                pool.hold(id);
            }
            return Some(id);
        };
        let least = set.least(pool);
        if set.members.len() > 1 && now.since(set.changed) > expiry {
            // Even where the member removed is the one that serves this time.
            set.shrink(now, pool);
        }
        if let Some(id) = least
            && pool.destinations.get(id).is_some_and(|destination| !crowded(destination, pool))
        {
            return Some(id);
        }
        let id = wlc::pick(pool)?;
        set.insert(now, id, pool);
        Some(id)
    }

    pub fn tick(&mut self, now: Tick, expiry: u64, pool: &mut Pool<'_>) {
        self.cache.tick(now, expiry, |set| set.release(pool));
    }

    pub fn unbind(&mut self, pool: &mut Pool<'_>) {
        self.cache.clear(|set| set.release(pool));
    }
}

/// The servers of one address.
#[derive(Debug)]
struct Set {
    /// Oldest member first; they are compared newest first.
    members: Vec<DestinationId>,
    /// When a member was last added or removed.
    changed: Tick,
}

impl Set {
    /// The member with the least load per weight of those that may be used.
    fn least(&self, pool: &Pool<'_>) -> Option<DestinationId> {
        self.iter(pool)
            .filter(|(_, destination)| destination.available && destination.usable())
            .min_by(|(_, a), (_, b)| compare_shares(a.load(), a.weight, b.load(), b.weight))
            .map(|(id, _)| id)
    }

    fn insert(&mut self, now: Tick, id: DestinationId, pool: &mut Pool<'_>) {
        if !self.members.contains(&id) {
            self.members.push(id);
            self.changed = now;
            pool.hold(id);
        }
    }

    /// Removes the member with the most load per weight, in the trash or not; those of weight 0 stay.
    fn shrink(&mut self, now: Tick, pool: &mut Pool<'_>) {
        let most = self
            .iter(pool)
            .filter(|(_, destination)| destination.weight > 0)
            .min_by(|(_, a), (_, b)| compare_shares(a.load(), a.weight, b.load(), b.weight).reverse())
            .map(|(id, _)| id);
        if let Some(id) = most {
            self.members.retain(|&member| member != id);
            self.changed = now;
            pool.release(id);
        }
    }

    fn release(self, pool: &mut Pool<'_>) {
        self.members.into_iter().for_each(|id| pool.release(id));
    }

    /// The members, newest first.
    fn iter<'a>(&'a self, pool: &'a Pool<'_>) -> impl Iterator<Item = (DestinationId, &'a Destination)> {
        self.members.iter().rev().filter_map(|&id| Some((id, pool.destinations.get(id)?)))
    }
}
