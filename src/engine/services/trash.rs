//! The trash: deleted destinations that something may still refer to, or that come back.
//!
//! Every minute it is looked through, a portion at a time; what was unused for two minutes then is
//! forgotten.

use crate::base::sharded::Sharded;
use crate::base::{DestinationId, Tick};
use crate::engine::conn::Budget;
use crate::engine::server::Destinations;
use crate::table::{DestinationKey, ServiceKey};

/// Between two scans of the trash.
const SCAN: u64 = 60_000;
/// How long a destination must have been unused before it is forgotten.
const PERIOD: u64 = 120_000;

/// A deleted destination.
#[derive(Debug)]
pub struct Trashed {
    service: ServiceKey,
    key: DestinationKey,
    pub destination: DestinationId,
    /// When a scan first found nothing that refers to it.
    idle_since: Option<Tick>,
}

#[derive(Debug, Default)]
pub struct Trash {
    places: Vec<Trashed>,
    by_key: Sharded<(ServiceKey, DestinationKey), usize>,
    next_scan: Option<Tick>,
    /// The scan that goes on: the moment it is of, and the end of the places it has still to look at.
    scan: Option<(Tick, usize)>,
    /// Scans up to this moment may begin.
    until: Tick,
}

impl Trash {
    /// An empty one, with memory set aside for `capacity` destinations.
    pub fn with_capacity(capacity: usize) -> Trash {
        Trash { places: Vec::with_capacity(capacity), ..Trash::default() }
    }

    pub fn put(&mut self, now: Tick, service: ServiceKey, key: DestinationKey, destination: DestinationId) {
        if self.places.is_empty() {
            self.next_scan = Some(now + SCAN);
        }
        let trashed = Trashed { service, key, destination, idle_since: None };
        // There is none with the same keys: adding a destination takes it from here.
        self.by_key.insert((service, key), self.places.len());
        self.places.push(trashed);
    }

    /// Takes a destination out that comes back.
    pub fn take(&mut self, service: &ServiceKey, key: &DestinationKey) -> Option<DestinationId> {
        let place = *self.by_key.get(&(*service, *key))?;
        Some(self.remove(place).destination)
    }

    /// The destination with these keys, which stays.
    pub fn find(&self, service: &ServiceKey, key: &DestinationKey) -> Option<DestinationId> {
        let place = *self.by_key.get(&(*service, *key))?;
        Some(self.places.get(place)?.destination)
    }

    /// What is in up to `limit` places before `end`, and the end of those before them.
    pub fn page(&self, end: usize, limit: usize) -> (Vec<(ServiceKey, DestinationKey)>, Option<usize>) {
        let end = end.min(self.places.len());
        let start = end.saturating_sub(limit);
        let page = self.places[start..end].iter().map(|trashed| (trashed.service, trashed.key)).collect();
        (page, (start > 0).then_some(start))
    }

    /// Has the scans begin that are due at `now`.
    pub fn begin(&mut self, now: Tick) {
        self.until = now;
    }

    /// Goes on with the scans, as far as the budget goes; whether there is more.
    pub fn sweep(&mut self, destinations: &mut Destinations, budget: &mut Budget) -> bool {
        loop {
            let (now, end) = match (self.scan, self.next_scan) {
                (Some(scan), _) => scan,
                (None, Some(next)) if next <= self.until => (next, self.places.len()),
                _ => return false,
            };
            // From the end on: a place that is given up is taken by the last, which was looked at.
            for place in (0..end.min(self.places.len())).rev() {
                if !budget.take() {
                    self.scan = Some((now, place + 1));
                    return true;
                }
                self.look_at(now, place, destinations);
            }
            self.scan = None;
            self.next_scan = (!self.places.is_empty()).then(|| now + SCAN);
        }
    }

    fn look_at(&mut self, now: Tick, place: usize, destinations: &mut Destinations) {
        let trashed = &mut self.places[place];
        match (destinations.get(trashed.destination), trashed.idle_since) {
            (Some(destination), _) if destination.references > 0 => {}
            (Some(_), None) => trashed.idle_since = Some(now),
            (Some(_), Some(since)) if now.since(since) < PERIOD => {}
            _ => {
                destinations.remove(trashed.destination);
                self.remove(place);
            }
        }
    }

    fn remove(&mut self, place: usize) -> Trashed {
        let trashed = self.places.swap_remove(place);
        self.by_key.remove(&(trashed.service, trashed.key));
        if let Some(moved) = self.places.get(place) {
            self.by_key.insert((moved.service, moved.key), place);
        }
        trashed
    }

    /// What is in it; for tests.
    #[cfg(any(test, fuzzing))]
    pub fn destinations(&self) -> impl ExactSizeIterator<Item = DestinationId> + '_ {
        assert_eq!(self.places.len(), self.by_key.len(), "each place is found by its key");
        self.places.iter().map(|trashed| trashed.destination)
    }
}
