//! A real server as the engine sees it: its configuration plus what is counted at run time.
//!
//! Destinations live in one slab for all services, so that a connection can name one by a small
//! id, and so that a deleted one can linger in the trash with its counts until nothing refers to
//! it any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::base::{Address, DestinationId, Family, Port, ServiceId};
use crate::table::{DestinationKey, ForwardingMethod, Tunnel};

/// What is counted of a service or destination; plain numbers that only one worker writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tally {
    pub connections: u64,
    pub in_packets: u64,
    pub out_packets: u64,
    pub in_bytes: u64,
    pub out_bytes: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.connections += other.connections;
        self.in_packets += other.in_packets;
        self.out_packets += other.out_packets;
        self.in_bytes += other.in_bytes;
        self.out_bytes += other.out_bytes;
    }

    /// What was counted since it stood at `earlier`.
    pub fn since(&self, earlier: &Tally) -> Tally {
        Tally {
            connections: self.connections - earlier.connections,
            in_packets: self.in_packets - earlier.in_packets,
            out_packets: self.out_packets - earlier.out_packets,
            in_bytes: self.in_bytes - earlier.in_bytes,
            out_bytes: self.out_bytes - earlier.out_bytes,
        }
    }
}

/// How much of a tally control has been told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told(Tally);

impl Told {
    /// What control has not been told of `tally`; `None` where that is nothing.
    pub fn tell(&mut self, tally: &Tally) -> Option<Tally> {
        (*tally != self.0).then(|| {
            let news = tally.since(&self.0);
            self.0 = *tally;
            news
        })
    }
}

/// What several engines count together of a destination that has thresholds, which hold for all of its connections.
#[derive(Debug, Default)]
pub struct Crowd {
    connections: AtomicU32,
    /// See [`Destination::overloaded`].
    overloaded: AtomicBool,
}

impl Crowd {
    fn come(&self, number: u32) {
        self.connections.fetch_add(number, Ordering::Relaxed);
    }

    fn go(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A destination and its run-time state.
#[derive(Clone, Debug)]
pub struct Destination {
    pub key: DestinationKey,
    pub family: Family,
    pub address: Address,
    pub port: Port,
    /// The service it belongs to (or belonged to, while in the trash).
    pub service: ServiceId,
    /// Which of all that were ever made that is: a deleted service's id is used again.
    pub service_number: u64,
    pub method: ForwardingMethod,
    pub tunnel: Tunnel,
    /// 0 to 2147483647.
    pub weight: u32,
    /// The last weight that was not 0: what Maglev hashing builds its table from.
    pub last_weight: u32,
    pub upper_threshold: u32,
    pub lower_threshold: u32,
    /// Configured, not in the trash.
    pub available: bool,
    /// At or over its upper threshold: not scheduled.
    pub overloaded: bool,
    /// What it shares with other engines; nothing where there is one, or where it has no thresholds.
    pub crowd: Option<Arc<Crowd>>,
    pub active: u32,
    pub inactive: u32,
    pub persistent: u32,
    /// Connections that are masqueraded, whatever the method is by now.
    pub masqueraded: u32,
    /// Connections, templates and scheduler caches that refer to it.
    pub references: u32,
    pub tally: Tally,
    pub told: Told,
}

impl Destination {
    /// Whether a scheduler may choose it: weight above 0 and not overloaded.
    #[inline]
    pub fn usable(&self) -> bool {
        self.weight > 0 && !self.overloaded
    }

    /// Decides anew whether it counts as overloaded: after each connection that comes or
    /// goes, and after each edit. Between the thresholds it stays as it was.
    pub fn judge(&mut self) {
        let (upper, lower) = (u64::from(self.upper_threshold), u64::from(self.lower_threshold));
        let connections = u64::from(match &self.crowd {
            Some(crowd) => crowd.connections.load(Ordering::Relaxed),
            None => self.active.saturating_add(self.inactive),
        });
        let has_room = match (lower, upper) {
            (0, 0) => true,
            (0, upper) => connections * 4 < upper * 3,
            (lower, _) => connections < lower,
        };
        self.look_around();
        if upper != 0 && connections >= upper {
            self.overloaded = true;
        } else if has_room {
            self.overloaded = false;
        }
        if let Some(crowd) = &self.crowd {
            crowd.overloaded.store(self.overloaded, Ordering::Relaxed);
        }
    }

    /// Takes over whether other engines found it overloaded.
    pub fn look_around(&mut self) {
        if let Some(crowd) = &self.crowd {
            self.overloaded = crowd.overloaded.load(Ordering::Relaxed);
        }
    }

    /// A connection came.
    pub fn note_coming(&mut self) {
        self.inactive += 1;
        if let Some(crowd) = &self.crowd {
            crowd.come(1);
        }
    }

    /// A connection went, which was counted as inactive or not.
    pub fn note_going(&mut self, inactive: bool) {
        let count = if inactive { &mut self.inactive } else { &mut self.active };
        if *count == 0 {
            return;
        }
        *count -= 1;
        if let Some(crowd) = &self.crowd {
            crowd.go();
        }
    }

    /// Counts its connections together with other engines from now on.
    pub fn join(&mut self, crowd: Arc<Crowd>) {
        if self.crowd.is_none() {
            crowd.come(self.active.saturating_add(self.inactive));
            self.crowd = Some(crowd);
        }
        self.judge();
    }

    /// The load that lc, wlc, lblc, lblcr and twos compare: an active connection weighs 256 inactive ones.
    #[inline]
    pub fn load(&self) -> u64 {
        (u64::from(self.active) << 8) + u64::from(self.inactive)
    }

    /// See [`Destinations::share`].
    fn share(&self) -> f64 {
        if !self.usable() {
            return f64::INFINITY;
        }
        match self.load() {
            load if load < EXACT_LOADS && self.weight < EXACT_WEIGHTS => load as f64 / f64::from(self.weight),
            _ => INEXACT,
        }
    }
}

/// Below these, shares that differ differ as rounded quotients too. Two of them, a/b and c/d, lie
/// 1/(b·d) apart at the least, which is 1/(b·c) of the larger one: more than the 2⁻⁵² that numbers with
/// 53 bits tell apart, where b·c is below 2⁵¹.
const EXACT_LOADS: u64 = 1 << 35;
const EXACT_WEIGHTS: u32 = 1 << 16;

/// In the place of a share: it must be computed anew.
const UNKNOWN: f64 = -1.0;
/// In the place of a share: a quotient would not do.
const INEXACT: f64 = -2.0;

/// All destinations of an engine, by id.
#[derive(Debug, Default)]
pub struct Destinations {
    slots: Vec<Option<Destination>>,
    /// What falls on each unit of their weights, by the same places: looking for the least touches
    /// nothing else.
    shares: Vec<f64>,
    free: Vec<DestinationId>,
}

impl Destinations {
    /// None, with memory set aside for `capacity` of them.
    pub fn with_capacity(capacity: usize) -> Destinations {
        Destinations { slots: Vec::with_capacity(capacity), shares: Vec::with_capacity(capacity), free: Vec::new() }
    }

    pub fn insert(&mut self, destination: Destination) -> DestinationId {
        match self.free.pop() {
            Some(id) => {
                self.slots[id.index()] = Some(destination);
                self.shares[id.index()] = UNKNOWN;
                id
            }
            None => {
                self.slots.push(Some(destination));
                self.shares.push(UNKNOWN);
                DestinationId(self.slots.len() as u32 - 1)
            }
        }
    }

    pub fn remove(&mut self, id: DestinationId) -> Option<Destination> {
        let destination = self.slots.get_mut(id.index())?.take()?;
        self.free.push(id);
        Some(destination)
    }

    #[inline]
    pub fn get(&self, id: DestinationId) -> Option<&Destination> {
        self.slots.get(id.index())?.as_ref()
    }

    #[inline]
    pub fn get_mut(&mut self, id: DestinationId) -> Option<&mut Destination> {
        // Whoever gets it may change its load.
        *self.shares.get_mut(id.index())? = UNKNOWN;
        self.slots.get_mut(id.index())?.as_mut()
    }

    /// What is counted of a destination, configured or in the trash.
    #[inline]
    pub fn any_tally_mut(&mut self, id: DestinationId) -> Option<&mut Tally> {
        self.slots.get_mut(id.index())?.as_mut().map(|destination| &mut destination.tally)
    }

    /// What is counted of a destination that is configured, and its service: for each packet.
    #[inline]
    pub fn tally_mut(&mut self, id: DestinationId) -> Option<(&mut Tally, ServiceId)> {
        let destination = self.slots.get_mut(id.index())?.as_mut()?;
        destination.available.then_some((&mut destination.tally, destination.service))
    }

    /// The load that falls on each unit of a destination's weight, rounded such that the order is
    /// kept, and infinite where it may not be chosen; `None` where numbers are so large that rounding
    /// would make different shares one.
    #[inline]
    pub fn share(&mut self, id: DestinationId) -> Option<f64> {
        let share = *self.shares.get(id.index())?;
        if share >= 0.0 { Some(share) } else { self.compute_share(id) }
    }

    #[cold]
    fn compute_share(&mut self, id: DestinationId) -> Option<f64> {
        let share = self.slots.get(id.index())?.as_ref().map_or(f64::INFINITY, Destination::share);
        self.shares[id.index()] = share;
        (share >= 0.0).then_some(share)
    }

    /// How many places there are, used or free.
    pub fn places(&self) -> usize {
        self.slots.len()
    }

    /// The destinations in the places of `range`, as far as there are any.
    pub fn range_mut(&mut self, range: std::ops::Range<usize>) -> impl Iterator<Item = &mut Destination> {
        let end = range.end.min(self.slots.len());
        let start = range.start.min(end);
        self.shares[start..end].fill(UNKNOWN);
        self.slots[start..end].iter_mut().flatten()
    }

    pub fn iter(&self) -> impl Iterator<Item = (DestinationId, &Destination)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| Some((DestinationId(index as u32), slot.as_ref()?)))
    }
}

/// The destinations of one service in the order the kernel's list has: newest first.
#[derive(Clone, Debug, Default)]
pub struct ServerList {
    /// Oldest first, so that adding is cheap.
    oldest_first: Vec<DestinationId>,
}

impl ServerList {
    /// Puts a destination at the list's head.
    pub fn add(&mut self, id: DestinationId) {
        self.oldest_first.push(id);
    }

    pub fn remove(&mut self, id: DestinationId) {
        self.oldest_first.retain(|&other| other != id);
    }

    pub fn len(&self) -> usize {
        self.oldest_first.len()
    }

    pub fn is_empty(&self) -> bool {
        self.oldest_first.is_empty()
    }

    /// The destinations from the head (newest) on.
    #[inline]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = DestinationId> + Clone + '_ {
        self.oldest_first.iter().rev().copied()
    }

    /// The destination at `position`, counted from the head.
    #[inline]
    pub fn at(&self, position: usize) -> Option<DestinationId> {
        let last = self.oldest_first.len().checked_sub(1)?;
        self.oldest_first.get(last.checked_sub(position)?).copied()
    }

    /// Where `id` stands, counted from the head.
    pub fn position(&self, id: DestinationId) -> Option<usize> {
        self.iter().position(|other| other == id)
    }
}
