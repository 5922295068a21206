//! Rates as the kernel's estimator smooths them: every two seconds, with a quarter of what is new.

use std::collections::HashMap;

use crate::engine::server::Tally;
use crate::table::{DestinationKey, ServiceKey};

use super::message::Rates;

/// What a rate is kept of; `None` is the total of everything.
pub type Subject = Option<(ServiceKey, Option<DestinationKey>)>;

/// Milliseconds between two estimates.
pub const PERIOD: u64 = 2000;

/// One smoothed rate and the tally it was last computed from.
#[derive(Clone, Copy, Debug, Default)]
struct Estimate {
    last: Tally,
    connections: i64,
    in_packets: i64,
    out_packets: i64,
    in_bytes: i64,
    out_bytes: i64,
    round: u64,
}

/// All rates.
#[derive(Debug, Default)]
pub struct Estimator {
    estimates: HashMap<Subject, Estimate>,
    round: u64,
}

/// Packet and connection rates are kept as fixed-point numbers with ten fractional bits per
/// two seconds, byte rates with five.
fn smooth(estimate: &mut i64, difference: u64, shift: u32) {
    let rate = (difference as i64) << shift;
    *estimate += (rate - *estimate) >> 2;
}

impl Estimator {
    /// Begins a round of estimates; subjects that the round does not mention are forgotten at its end.
    pub fn begin(&mut self) {
        self.round += 1;
    }

    /// Takes in what is counted of `subject` now.
    pub fn update(&mut self, subject: Subject, tally: Tally) {
        let round = self.round;
        let estimate = self.estimates.entry(subject).or_default();
        let since = |now: u64, before: u64| now.saturating_sub(before);
        smooth(&mut estimate.connections, since(tally.connections, estimate.last.connections), 9);
        smooth(&mut estimate.in_packets, since(tally.in_packets, estimate.last.in_packets), 9);
        smooth(&mut estimate.out_packets, since(tally.out_packets, estimate.last.out_packets), 9);
        smooth(&mut estimate.in_bytes, since(tally.in_bytes, estimate.last.in_bytes), 4);
        smooth(&mut estimate.out_bytes, since(tally.out_bytes, estimate.last.out_bytes), 4);
        estimate.last = tally;
        estimate.round = round;
    }

    pub fn end(&mut self) {
        let round = self.round;
        self.estimates.retain(|_, estimate| estimate.round == round);
    }

    /// Forgets the rates of a service and its destinations, or of everything: they were zeroed.
    pub fn zero(&mut self, service: Option<&ServiceKey>) {
        match service {
            None => self.estimates.clear(),
            Some(key) => self.estimates.retain(|subject, _| !subject.is_some_and(|(service, _)| service == *key)),
        }
    }

    pub fn rates(&self, subject: Subject) -> Rates {
        let estimate = self.estimates.get(&subject).copied().unwrap_or_default();
        let packets = |value: i64| ((value + 0x1ff) >> 10).max(0) as u64;
        let bytes = |value: i64| ((value + 0xf) >> 5).max(0) as u64;
        Rates {
            connections: packets(estimate.connections),
            in_packets: packets(estimate.in_packets),
            out_packets: packets(estimate.out_packets),
            in_bytes: bytes(estimate.in_bytes),
            out_bytes: bytes(estimate.out_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_as_the_kernels_do() {
        let mut estimator = Estimator::default();
        let mut tally = Tally::default();
        let mut seen = Vec::new();
        for _ in 0..6 {
            tally.connections += 20;
            tally.in_bytes += 2000;
            estimator.begin();
            estimator.update(None, tally);
            estimator.end();
            let rates = estimator.rates(None);
            seen.push((rates.connections, rates.in_bytes));
        }
        assert_eq!(seen[..5], [(2, 250), (4, 437), (6, 578), (7, 684), (8, 763)]);
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut estimator = Estimator::default();
        estimator.begin();
        estimator.update(None, Tally { connections: 1000, ..Tally::default() });
        estimator.end();
        assert_ne!(estimator.rates(None), Rates::default());
        estimator.begin();
        estimator.end();
        assert_eq!(estimator.rates(None), Rates::default());
    }
}
