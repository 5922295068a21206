//! What control asks of a worker, and what the worker finds in its engine.
//!
//! Every worker answers for its own engine; whoever asks adds the answers up.

use crate::base::Tick;
use crate::engine::server::Tally;
use crate::engine::{ConnectionView, DestinationView, DropReason, Engine, PassReason, ServiceView};
use crate::table::{DestinationKey, ServiceKey};

#[derive(Clone, Debug)]
pub enum Question {
    /// Every service.
    Services,
    Service(ServiceKey),
    Destinations(ServiceKey),
    /// The tallies of up to `limit` services from the `first` on, with those of their destinations.
    Tallies {
        first: usize,
        limit: usize,
    },
    /// Up to `limit` places of the connection table from `cursor` on.
    Connections {
        cursor: usize,
        limit: usize,
    },
    /// How often each verdict was given, and how full the table is.
    Counts,
}

/// The tallies of one service and its destinations.
pub type ServiceTallies = (ServiceKey, Tally, Vec<(DestinationKey, Tally)>);

#[derive(Clone, Debug)]
pub enum Finding {
    Services(Vec<ServiceView>),
    Destinations(Vec<DestinationView>),
    Tallies { total: Tally, services: Vec<ServiceTallies> },
    Connections { entries: Vec<ConnectionView>, next: Option<usize> },
    Counts(Counts),
}

/// Plain numbers of one engine.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub connections: usize,
    pub transmitted: u64,
    pub consumed: u64,
    pub passed: Vec<(PassReason, u64)>,
    pub dropped: Vec<(DropReason, u64)>,
    /// Counts of the worker's own: group, name, meaning.
    pub others: Vec<(&'static str, String, &'static str, u64)>,
}

/// Looks the answer up.
pub fn answer(engine: &Engine, now: Tick, question: &Question) -> Finding {
    match *question {
        Question::Services => Finding::Services(engine.services().collect()),
        Question::Service(key) => Finding::Services(engine.service(&key).into_iter().collect()),
        Question::Destinations(key) => Finding::Destinations(engine.destinations(&key)),
        Question::Tallies { first, limit } => Finding::Tallies {
            total: engine.total(),
            services: engine
                .services()
                .skip(first)
                .take(limit)
                .map(|service| {
                    let destinations = engine.destinations(&service.key);
                    (service.key, service.tally, destinations.iter().map(|one| (one.key, one.tally)).collect())
                })
                .collect(),
        },
        Question::Connections { cursor, limit } => {
            let (entries, next) = engine.connections_page(now, cursor, limit);
            Finding::Connections { entries, next }
        }
        Question::Counts => {
            let counts = engine.counts();
            Finding::Counts(Counts {
                connections: engine.connection_table().len(),
                transmitted: counts.transmitted,
                consumed: counts.consumed,
                passed: PassReason::ALL.iter().map(|&reason| (reason, counts.passed(reason))).collect(),
                dropped: DropReason::ALL.iter().map(|&reason| (reason, counts.dropped(reason))).collect(),
                others: Vec::new(),
            })
        }
    }
}
