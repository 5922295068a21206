//! The schedulers: which destination a new connection goes to.
//!
//! One file each, by ipvsadm's names. All of them walk a service's destinations from the newest to
//! the oldest, as the kernel's list has them, and where several are equally good the first in that
//! order wins. Decision by decision they choose what Linux's ip_vs chooses; `twos` draws lots and
//! agrees in distribution only.
//!
//! | file | choice |
//! |---|---|
//! | `rr` `wrr` | in turn, plainly or by weight |
//! | `lc` `wlc` `sed` `nq` `twos` | where the least is going on |
//! | `fo` `ovf` | the heaviest that is up, or that has room |
//! | `dh` `sh` `mh` | by a hash of the address |
//! | `lblc` `lblcr` | where this destination address went before (`cache`) |
//!
//! A [`Scheduler`] belongs to one service and hears of every change to its destinations:
//!
//! ```text
//! new → bind → (added | removed | edited | pick | tick)* → unbind
//! ```
//!
//! A service with scheduler `none` has no [`Scheduler`].

mod cache;
mod dh;
mod fo;
mod lblc;
mod lblcr;
mod lc;
mod mh;
mod nq;
mod ovf;
mod rr;
mod sed;
mod sh;
mod twos;
mod wlc;
mod wrr;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use super::server::{Destination, Destinations, ServerList};
use crate::base::{Address, DestinationId, Family, Port, Tick};
use crate::table::{SchedulerKind, ServiceFlags, Settings};

/// The packet that asks for a destination.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// The service's family.
    pub family: Family,
    /// The client: what sh and mh hash.
    pub source: Address,
    /// What dh, lblc and lblcr key on: the address the client wrote to. For a connection scheduled
    /// by an ICMP error the kernel takes the embedded packet's destination, hence the client.
    pub destination: Address,
    /// The client's port: what sh and mh add with `sh-port` and `mh-port`.
    pub source_port: Port,
}

/// The destinations to choose from: those of the whole engine, and which of them are the service's.
#[derive(Debug)]
pub struct Pool<'a> {
    pub destinations: &'a mut Destinations,
    pub list: &'a ServerList,
}

/// A service's scheduler with what it remembers between packets.
#[derive(Debug)]
pub enum Scheduler {
    RoundRobin(rr::State),
    WeightedRoundRobin(wrr::State),
    LeastConnection,
    WeightedLeastConnection,
    LocalityBasedLeastConnection(lblc::State),
    LocalityBasedLeastConnectionReplicated(lblcr::State),
    DestinationHashing(dh::State),
    SourceHashing(sh::State),
    ShortestExpectedDelay,
    NeverQueue,
    WeightedFailover,
    WeightedOverflow,
    MaglevHashing(mh::State),
    PowerOfTwo(twos::State),
}

impl Scheduler {
    /// A scheduler that knows of no destination yet. The seed decides the draws of twos, and must not
    /// be guessable where strangers choose the destination address (lblc and lblcr hash it).
    pub fn new(kind: SchedulerKind, seed: u64) -> Scheduler {
        match kind {
            SchedulerKind::RoundRobin => Scheduler::RoundRobin(rr::State::default()),
            SchedulerKind::WeightedRoundRobin => Scheduler::WeightedRoundRobin(wrr::State::default()),
            SchedulerKind::LeastConnection => Scheduler::LeastConnection,
            SchedulerKind::WeightedLeastConnection => Scheduler::WeightedLeastConnection,
            SchedulerKind::LocalityBasedLeastConnection => {
                Scheduler::LocalityBasedLeastConnection(lblc::State::new(seed))
            }
            SchedulerKind::LocalityBasedLeastConnectionReplicated => {
                Scheduler::LocalityBasedLeastConnectionReplicated(lblcr::State::new(seed))
            }
            SchedulerKind::DestinationHashing => Scheduler::DestinationHashing(dh::State::default()),
            SchedulerKind::SourceHashing => Scheduler::SourceHashing(sh::State::default()),
            SchedulerKind::ShortestExpectedDelay => Scheduler::ShortestExpectedDelay,
            SchedulerKind::NeverQueue => Scheduler::NeverQueue,
            SchedulerKind::WeightedFailover => Scheduler::WeightedFailover,
            SchedulerKind::WeightedOverflow => Scheduler::WeightedOverflow,
            SchedulerKind::MaglevHashing => Scheduler::MaglevHashing(mh::State::default()),
            SchedulerKind::PowerOfTwo => Scheduler::PowerOfTwo(twos::State::new(seed)),
        }
    }

    pub fn kind(&self) -> SchedulerKind {
        match self {
            Scheduler::RoundRobin(_) => SchedulerKind::RoundRobin,
            Scheduler::WeightedRoundRobin(_) => SchedulerKind::WeightedRoundRobin,
            Scheduler::LeastConnection => SchedulerKind::LeastConnection,
            Scheduler::WeightedLeastConnection => SchedulerKind::WeightedLeastConnection,
            Scheduler::LocalityBasedLeastConnection(_) => SchedulerKind::LocalityBasedLeastConnection,
            Scheduler::LocalityBasedLeastConnectionReplicated(_) => {
                SchedulerKind::LocalityBasedLeastConnectionReplicated
            }
            Scheduler::DestinationHashing(_) => SchedulerKind::DestinationHashing,
            Scheduler::SourceHashing(_) => SchedulerKind::SourceHashing,
            Scheduler::ShortestExpectedDelay => SchedulerKind::ShortestExpectedDelay,
            Scheduler::NeverQueue => SchedulerKind::NeverQueue,
            Scheduler::WeightedFailover => SchedulerKind::WeightedFailover,
            Scheduler::WeightedOverflow => SchedulerKind::WeightedOverflow,
            Scheduler::MaglevHashing(_) => SchedulerKind::MaglevHashing,
            Scheduler::PowerOfTwo(_) => SchedulerKind::PowerOfTwo,
        }
    }

    /// Takes up the destinations that the service has already: call once, before the first packet.
    pub fn bind(&mut self, pool: &Pool<'_>) {
        match self {
            Scheduler::WeightedRoundRobin(state) => state.bind(pool),
            Scheduler::DestinationHashing(state) => state.changed(),
            Scheduler::SourceHashing(state) => state.changed(),
            Scheduler::MaglevHashing(state) => state.changed(),
            _ => {}
        }
    }

    /// A destination was added: call after [`ServerList::add`].
    pub fn added(&mut self, pool: &Pool<'_>, id: DestinationId) {
        match self {
            Scheduler::RoundRobin(state) => state.added(),
            Scheduler::WeightedRoundRobin(state) => state.added(pool, id),
            Scheduler::DestinationHashing(state) => state.changed(),
            Scheduler::SourceHashing(state) => state.changed(),
            Scheduler::MaglevHashing(state) => state.changed(),
            _ => {}
        }
    }

    /// A destination is being removed: call before [`ServerList::remove`], while its predecessor in the
    /// list can still be told.
    pub fn removed(&mut self, pool: &Pool<'_>, id: DestinationId) {
        match self {
            Scheduler::RoundRobin(state) => state.removed(pool, id),
            Scheduler::WeightedRoundRobin(state) => state.changed(pool, Some(id)),
            Scheduler::DestinationHashing(state) => state.changed(),
            Scheduler::SourceHashing(state) => state.changed(),
            Scheduler::MaglevHashing(state) => state.changed(),
            _ => {}
        }
    }

    /// A destination's configuration was set, whether or not anything in it differs: call afterwards.
    pub fn edited(&mut self, pool: &Pool<'_>, _id: DestinationId) {
        match self {
            Scheduler::WeightedRoundRobin(state) => state.changed(pool, None),
            Scheduler::SourceHashing(state) => state.changed(),
            Scheduler::MaglevHashing(state) => state.changed(),
            _ => {}
        }
    }

    /// Lets go of every destination it holds: call before the scheduler is dropped or replaced.
    pub fn unbind(&mut self, pool: &mut Pool<'_>) {
        match self {
            Scheduler::LocalityBasedLeastConnection(state) => state.unbind(pool),
            Scheduler::LocalityBasedLeastConnectionReplicated(state) => state.unbind(pool),
            _ => {}
        }
    }

    /// The destination for a new connection; `None` where there is none to be had.
    pub fn pick(
        &mut self,
        now: Tick,
        request: &Request,
        flags: ServiceFlags,
        settings: &Settings,
        pool: &mut Pool<'_>,
    ) -> Option<DestinationId> {
        match self {
            Scheduler::RoundRobin(state) => state.pick(pool),
            Scheduler::WeightedRoundRobin(state) => state.pick(pool),
            Scheduler::LeastConnection => lc::pick(pool),
            Scheduler::WeightedLeastConnection => wlc::pick(pool),
            Scheduler::LocalityBasedLeastConnection(state) => state.pick(now, request, pool),
            Scheduler::LocalityBasedLeastConnectionReplicated(state) => {
                state.pick(now, request, milliseconds(settings.lblcr_expiration), pool)
            }
            Scheduler::DestinationHashing(state) => state.pick(request, pool),
            Scheduler::SourceHashing(state) => state.pick(request, flags, pool),
            Scheduler::ShortestExpectedDelay => sed::pick(pool),
            Scheduler::NeverQueue => nq::pick(pool),
            Scheduler::WeightedFailover => fo::pick(pool),
            Scheduler::WeightedOverflow => ovf::pick(pool),
            Scheduler::MaglevHashing(state) => state.pick(request, flags, pool),
            Scheduler::PowerOfTwo(state) => state.pick(pool),
        }
    }

    /// Time passes: forgets addresses that were not asked for in a long time. Call about once a second;
    /// the minute that the caches of lblc and lblcr count in starts with the first call.
    pub fn tick(&mut self, now: Tick, settings: &Settings, pool: &mut Pool<'_>) {
        match self {
            Scheduler::LocalityBasedLeastConnection(state) => {
                state.tick(now, milliseconds(settings.lblc_expiration), pool);
            }
            Scheduler::LocalityBasedLeastConnectionReplicated(state) => {
                state.tick(now, milliseconds(settings.lblcr_expiration), pool);
            }
            _ => {}
        }
    }
}

impl Pool<'_> {
    /// The service's destinations, newest first.
    fn iter(&self) -> impl Iterator<Item = (DestinationId, &Destination)> {
        self.list.iter().filter_map(|id| Some((id, self.destinations.get(id)?)))
    }

    /// Those of them that may be given a new connection.
    fn usable(&self) -> impl Iterator<Item = (DestinationId, &Destination)> {
        self.iter().filter(|(_, destination)| destination.usable())
    }

    /// The service's destination at `position`, counted from the newest.
    fn at(&self, position: usize) -> Option<(DestinationId, &Destination)> {
        let id = self.list.at(position)?;
        Some((id, self.destinations.get(id)?))
    }

    /// Whether `id` may be given a new connection.
    fn is_usable(&self, id: DestinationId) -> bool {
        self.destinations.get(id).is_some_and(Destination::usable)
    }

    /// Notes that a cache refers to `id`, which keeps it in the trash when it is deleted.
    fn hold(&mut self, id: DestinationId) {
        if let Some(destination) = self.destinations.get_mut(id) {
            destination.references = destination.references.saturating_add(1);
        }
    }

    /// Takes back one [`Pool::hold`].
    fn release(&mut self, id: DestinationId) {
        if let Some(destination) = self.destinations.get_mut(id) {
            destination.references = destination.references.saturating_sub(1);
        }
    }
}

/// Compares two loads by what falls on each unit of weight, without dividing: neither weight may be 0.
fn compare_shares(load: u64, weight: u32, other_load: u64, other_weight: u32) -> Ordering {
    (u128::from(load) * u128::from(other_weight)).cmp(&(u128::from(other_load) * u128::from(weight)))
}

/// Whether less falls on each unit of weight (neither is 0) in the first pair of load and weight.
#[inline]
fn is_smaller_share((load, weight): (u64, u32), (other_load, other_weight): (u64, u32)) -> bool {
    // Loads beyond 32 bits are sixteen million active connections: the product fits otherwise.
    if (load | other_load) >> 32 == 0 {
        load * u64::from(other_weight) < other_load * u64::from(weight)
    } else {
        compare_shares(load, weight, other_load, other_weight).is_lt()
    }
}

/// A setting in seconds as milliseconds.
fn milliseconds(seconds: i32) -> u64 {
    u64::try_from(seconds).unwrap_or(0) * 1000
}
