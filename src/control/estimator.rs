//! What listings show of counting: snapshots taken every two seconds or so, and rates smoothed
//! from one to the next.
//!
//! The kernel's estimator does the same for each service and destination and for all together,
//! by one timer that starts with the network namespace. What has been counted since the last
//! snapshot is not shown yet; nothing moves while `run_estimation` is 0. Zeroing takes the
//! snapshot for the new beginning, so what came after it shows up with the next.

use std::collections::HashMap;

use crate::engine::server::Tally;
use crate::table::{DestinationKey, ServiceKey};

use super::message::{Counters, Rates};

/// Milliseconds between two snapshots: 500 ticks at 250 a second, which the kernel's timers round
/// up to a multiple of eight.
pub const PERIOD: u64 = 2016;

/// What is known of one service or destination, or of everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Estimate {
    snapshot: Tally,
    /// The snapshot when it was last zeroed.
    base: Tally,
    /// What workers have told of the time since the snapshot, while a round goes on.
    gained: Tally,
    /// Connections, packets in and out per second, with ten fractional bits per two seconds.
    connections: i64,
    in_packets: i64,
    out_packets: i64,
    /// Bytes per second, with five.
    in_bytes: i64,
    out_bytes: i64,
}

fn smooth(rate: &mut i64, gained: u64, shift: u32) {
    // A tally's difference over seconds leaves the upper bits free.
    *rate += ((gained << shift) as i64 - *rate) >> 2;
}

impl Estimate {
    /// Takes in what a worker counted since it was last asked.
    pub fn gain(&mut self, tally: &Tally) {
        self.gained.add(tally);
    }

    fn advance(&mut self) {
        let gained = std::mem::take(&mut self.gained);
        smooth(&mut self.connections, gained.connections, 9);
        smooth(&mut self.in_packets, gained.in_packets, 9);
        smooth(&mut self.out_packets, gained.out_packets, 9);
        smooth(&mut self.in_bytes, gained.in_bytes, 4);
        smooth(&mut self.out_bytes, gained.out_bytes, 4);
        self.snapshot.add(&gained);
    }

    fn zero(&mut self) {
        let (snapshot, gained) = (self.snapshot, self.gained);
        *self = Estimate { snapshot, gained, base: snapshot, ..Estimate::default() };
    }

    /// What listings show.
    pub fn counters(&self) -> Counters {
        let packets = |rate: i64| ((rate + 0x1ff) >> 10).max(0) as u64;
        let bytes = |rate: i64| ((rate + 0xf) >> 5).max(0) as u64;
        let shown = self.snapshot.since(&self.base);
        Counters {
            rates: Rates {
                connections: packets(self.connections),
                in_packets: packets(self.in_packets),
                out_packets: packets(self.out_packets),
                in_bytes: bytes(self.in_bytes),
                out_bytes: bytes(self.out_bytes),
            },
            ..Counters::from(shown)
        }
    }
}

/// A service's estimate and those of its destinations, deleted ones that may come back included.
#[derive(Debug, Default)]
struct ServiceEstimates {
    own: Estimate,
    destinations: HashMap<DestinationKey, Estimate>,
}

/// All estimates.
#[derive(Debug, Default)]
pub struct Estimator {
    total: Estimate,
    services: HashMap<ServiceKey, ServiceEstimates>,
}

impl Estimator {
    pub fn total(&mut self) -> &mut Estimate {
        &mut self.total
    }

    /// The estimate of a service; it begins with the first mention.
    pub fn service(&mut self, key: ServiceKey) -> &mut Estimate {
        &mut self.services.entry(key).or_default().own
    }

    /// The estimate of a service's destination; it begins with the first mention.
    pub fn destination(&mut self, service: ServiceKey, key: DestinationKey) -> &mut Estimate {
        self.services.entry(service).or_default().destinations.entry(key).or_default()
    }

    /// Ends a round: what workers told becomes the snapshot, and moves the rates.
    /// `counts` says which destinations are configured now: the others stay as they are.
    pub fn advance(&mut self, counts: impl Fn(&ServiceKey, &DestinationKey) -> bool) {
        self.total.advance();
        for (service, estimates) in &mut self.services {
            estimates.own.advance();
            for (key, estimate) in &mut estimates.destinations {
                if counts(service, key) {
                    estimate.advance();
                }
            }
        }
    }

    /// Forgets destinations that are not `kept`: neither configured, nor waiting in some trash.
    pub fn retain(&mut self, kept: impl Fn(&ServiceKey, &DestinationKey) -> bool) {
        for (service, estimates) in &mut self.services {
            estimates.destinations.retain(|key, _| kept(service, key));
        }
    }

    /// Forgets a service that was deleted: its destinations begin anew should they come back.
    pub fn forget(&mut self, service: &ServiceKey) {
        self.services.remove(service);
    }

    pub fn forget_services(&mut self) {
        self.services.clear();
    }

    /// Begins anew for everything, or for a service and the destinations it has.
    pub fn zero(&mut self, service: Option<&ServiceKey>, has: impl Fn(&ServiceKey, &DestinationKey) -> bool) {
        let one = |key: &ServiceKey, estimates: &mut ServiceEstimates| {
            estimates.own.zero();
            for (destination, estimate) in &mut estimates.destinations {
                if has(key, destination) {
                    estimate.zero();
                }
            }
        };
        match service {
            Some(key) => {
                if let Some(estimates) = self.services.get_mut(key) {
                    one(key, estimates);
                }
            }
            None => {
                self.total.zero();
                self.services.iter_mut().for_each(|(key, estimates)| one(key, estimates));
            }
        }
    }

    pub fn total_counters(&self) -> Counters {
        self.total.counters()
    }

    pub fn service_counters(&self, service: &ServiceKey) -> Counters {
        self.services.get(service).map(|estimates| estimates.own.counters()).unwrap_or_default()
    }

    pub fn destination_counters(&self, service: &ServiceKey, key: &DestinationKey) -> Counters {
        let estimate = self.services.get(service).and_then(|estimates| estimates.destinations.get(key));
        estimate.map(Estimate::counters).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::base::{Family, Port};

    const SERVICE: ServiceKey = ServiceKey::Mark { family: Family::V4, mark: 1 };

    fn destination() -> DestinationKey {
        DestinationKey { address: IpAddr::from([172, 16, 0, 11]), port: Port(80) }
    }

    fn connections(number: u64) -> Tally {
        Tally { connections: number, ..Tally::default() }
    }

    #[test]
    fn rates_rise_as_the_kernels_do() {
        let mut estimator = Estimator::default();
        let mut seen = Vec::new();
        for _ in 0..5 {
            estimator.total().gain(&Tally { connections: 20, in_bytes: 2000, ..Tally::default() });
            estimator.advance(|_, _| true);
            let counters = estimator.total_counters();
            seen.push((counters.rates.connections, counters.rates.in_bytes));
        }
        assert_eq!(seen, [(2, 250), (4, 437), (6, 578), (7, 684), (8, 763)]);
        assert_eq!(estimator.total_counters().connections, 100);
        for _ in 0..60 {
            estimator.advance(|_, _| true);
        }
        assert_eq!(estimator.total_counters().rates, Rates::default());
    }

    #[test]
    fn what_was_counted_after_the_snapshot_outlives_zeroing() {
        let mut estimator = Estimator::default();
        estimator.service(SERVICE).gain(&connections(5));
        estimator.advance(|_, _| true);
        estimator.zero(Some(&SERVICE), |_, _| true);
        assert_eq!(estimator.service_counters(&SERVICE), Counters::default());
        estimator.service(SERVICE).gain(&connections(3));
        estimator.advance(|_, _| true);
        assert_eq!(estimator.service_counters(&SERVICE).connections, 3);
    }

    #[test]
    fn a_destination_in_the_trash_stands_still_and_one_of_a_deleted_service_is_forgotten() {
        let mut estimator = Estimator::default();
        estimator.destination(SERVICE, destination()).gain(&connections(40));
        estimator.advance(|_, _| true);
        let before = estimator.destination_counters(&SERVICE, &destination());
        assert_eq!((before.connections, before.rates.connections), (40, 5));
        estimator.advance(|_, _| false);
        estimator.zero(None, |_, _| false);
        estimator.retain(|_, _| true);
        assert_eq!(estimator.destination_counters(&SERVICE, &destination()), before);
        estimator.retain(|_, _| false);
        assert_eq!(estimator.destination_counters(&SERVICE, &destination()), Counters::default());
        estimator.service(SERVICE).gain(&connections(1));
        estimator.advance(|_, _| true);
        estimator.forget(&SERVICE);
        assert_eq!(estimator.service_counters(&SERVICE), Counters::default());
    }
}
