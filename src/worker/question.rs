//! What control asks of a worker, and what the worker finds in its engine.
//!
//! Every worker answers for its own engine; whoever asks adds the answers up. What may be long is
//! asked for a page at a time, so that no frame waits for the whole of it.

use std::sync::Arc;

use crate::base::Tick;
use crate::engine::former::FormerKey;
use crate::engine::server::Tally;
use crate::engine::sync::Ignored;
use crate::engine::{ConnectionView, DestinationView, DropReason, Engine, News, PassReason};
use crate::table::{DestinationKey, ServiceKey};

#[derive(Clone, Debug)]
pub enum Question {
    /// Up to `limit` destinations of a service, newest first, from the one at `first` on.
    Destinations { service: ServiceKey, first: usize, limit: usize },
    /// What was counted since this was last asked, of up to `limit` destinations from place
    /// `first` on.
    News { first: usize, limit: usize },
    /// Everything counted since the start.
    Total,
    /// Deleted destinations that something still refers to, or did lately: of up to `limit`
    /// places before `end`. Asked from the end on, nothing is missed that stays.
    Trash { end: usize, limit: usize },
    /// Whether connections outlived each of these, which are configured no longer, or otherwise.
    Outlived { destinations: Arc<[FormerKey]> },
    /// How the defences' modes stand: drop_entry, drop_packet, secure_tcp.
    Defences,
    /// Up to `limit` places of the connection table from `cursor` on.
    Connections { cursor: usize, limit: usize },
    /// How often each verdict was given, and how full the table is.
    Counts,
}

#[derive(Clone, Debug)]
pub enum Finding {
    Destinations {
        entries: Vec<DestinationView>,
        next: Option<usize>,
    },
    News(News),
    Total(Tally),
    Trash {
        entries: Vec<(ServiceKey, DestinationKey)>,
        /// The end of the places before these.
        next: Option<usize>,
    },
    /// In the order of the question.
    Outlived(Vec<bool>),
    Defences([i32; 3]),
    Connections {
        entries: Vec<ConnectionView>,
        next: Option<usize>,
    },
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

/// What an engine counted besides verdicts: of `drop_entry` and of connection synchronisation.
fn others(engine: &Engine) -> Vec<(&'static str, String, &'static str, u64)> {
    let counts = engine.sync_counts();
    let mut lines = vec![
        (
            "engine",
            "dropped-entries",
            "Connections and templates that drop_entry took out of the table.",
            engine.dropped_entries(),
        ),
        ("sync", "messages-out", "Messages that a master daemon made for other directors.", counts.told.messages),
        ("sync", "entries-out", "Connections and templates in them.", counts.told.entries),
        (
            "sync",
            "messages-lost",
            "Messages that their queue had no room for (sync_qlen_max).",
            counts.told.lost_messages,
        ),
        ("sync", "entries-lost", "Connections and templates in them.", counts.told.lost_entries),
        ("sync", "messages-in", "Messages of other directors that a backup daemon took in.", counts.messages),
        ("sync", "entries-made", "Connections and templates made because another director told of them.", counts.made),
        ("sync", "entries-updated", "Known connections and templates that were told of again.", counts.updated),
    ];
    lines.extend(Ignored::ALL.iter().map(|&one| ("ignored", one.name(), one.meaning(), counts.ignored(one))));
    lines.into_iter().map(|(group, name, meaning, count)| (group, name.to_owned(), meaning, count)).collect()
}

/// Looks the answer up.
pub fn answer(engine: &mut Engine, now: Tick, question: &Question) -> Finding {
    match *question {
        Question::Outlived { ref destinations } => {
            let services = engine.service_table();
            Finding::Outlived(destinations.iter().map(|key| services.is_outlived(key)).collect())
        }
        Question::Destinations { service, first, limit } => {
            let (entries, next) = engine.destinations_page(&service, first, limit);
            Finding::Destinations { entries, next }
        }
        Question::News { first, limit } => Finding::News(engine.news(first..first + limit)),
        Question::Total => Finding::Total(engine.total()),
        Question::Trash { end, limit } => {
            let (entries, next) = engine.service_table().trashed(end, limit);
            Finding::Trash { entries, next }
        }
        Question::Defences => Finding::Defences(engine.defence_modes()),
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
                others: others(engine),
            })
        }
    }
}
