//! The way to one port: entries are gathered into messages, and messages wait to be sent.
//!
//! ```text
//! entry ─► the message being filled ─► full, or of the other version ─► queue ─► sent
//!                    └───────────── two seconds old ─────────────────────────────►┘
//! ```
//!
//! The queue is looked at 20 ms after its first message, at once when eight wait, and otherwise
//! once a second, which is also when an old message that is not full is noticed; as ip_vs has it.

use std::collections::VecDeque;

use crate::base::Tick;
use crate::wire::sync::{self, Entry, Recognised, Version};

/// Milliseconds between two looks.
const CHECK: u64 = 1000;
/// How old a message becomes before it is sent although it is not full.
const OLD: u64 = 2000;
/// How long the first message of a queue waits for others.
const DELAY: u64 = 20;
/// So many messages are sent at once.
const BATCH: u32 = 8;
/// Buffers that are kept to be used again.
const SPARE: usize = 32;

/// A message being filled, or waiting.
#[derive(Debug)]
struct Draft {
    bytes: Vec<u8>,
    version: Version,
    /// Its length is to stay within this.
    limit: usize,
    entries: u32,
    since: Tick,
}

/// What bounds a lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub sync_id: u8,
    pub maximum_length: usize,
    /// Messages that may wait.
    pub queue: usize,
}

/// What a lane lost and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LaneCounts {
    pub messages: u64,
    pub entries: u64,
    /// Messages that the queue had no room for, and the entries in them.
    pub lost_messages: u64,
    pub lost_entries: u64,
}

#[derive(Debug)]
pub(super) struct Lane {
    draft: Option<Draft>,
    queue: VecDeque<Draft>,
    spare: Vec<Vec<u8>>,
    /// When the queue is looked at next.
    look: Tick,
    /// Messages queued since it was empty.
    fresh: u32,
    pub counts: LaneCounts,
}

impl Lane {
    pub fn new(now: Tick) -> Lane {
        Lane {
            draft: None,
            queue: VecDeque::new(),
            spare: Vec::new(),
            look: now + CHECK,
            fresh: 0,
            counts: LaneCounts::default(),
        }
    }

    /// Adds an entry to the message being filled, or begins the next.
    pub fn add(&mut self, now: Tick, bounds: Bounds, version: Version, entry: &Entry, recognised: &Recognised) {
        let length = sync::entry_length(version, entry, recognised);
        if let Some(draft) = &mut self.draft {
            let at = match version {
                Version::Zero => draft.bytes.len(),
                Version::One => draft.bytes.len().next_multiple_of(4),
            };
            if draft.version == version
                && at + length <= draft.limit
                && sync::push(&mut draft.bytes, version, entry, recognised).is_ok()
            {
                draft.entries += 1;
                return;
            }
            self.close(now, bounds);
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        sync::start(&mut bytes, version, bounds.sync_id);
        let limit = bounds.maximum_length.max(bytes.len() + length);
        // A message that was just begun has room for one.
        let _ = sync::push(&mut bytes, version, entry, recognised);
        self.draft = Some(Draft { bytes, version, limit, entries: 1, since: now });
    }

    /// Queues the message being filled; without room it is lost.
    fn close(&mut self, now: Tick, bounds: Bounds) {
        let Some(mut draft) = self.draft.take() else { return };
        sync::finish(&mut draft.bytes);
        if self.queue.len() >= bounds.queue {
            self.counts.lost_messages += 1;
            self.counts.lost_entries += u64::from(draft.entries);
            self.keep(draft.bytes);
            return;
        }
        if self.queue.is_empty() {
            self.look = self.look.min(now + DELAY);
        }
        self.queue.push_back(draft);
        self.fresh += 1;
        if self.fresh == BATCH {
            self.look = self.look.min(now);
        }
    }

    /// The message that is to be sent now, if any; [`Lane::sent`] takes it away.
    pub fn due(&mut self, now: Tick) -> Option<&[u8]> {
        if now < self.look {
            return None;
        }
        if self.queue.is_empty() {
            match self.draft.take_if(|draft| now.since(draft.since) >= OLD) {
                Some(mut draft) => {
                    sync::finish(&mut draft.bytes);
                    self.queue.push_back(draft);
                }
                None => {
                    self.look = now + CHECK;
                    return None;
                }
            }
        }
        self.queue.front().map(|draft| draft.bytes.as_slice())
    }

    /// Takes the message away that was due.
    pub fn sent(&mut self) {
        let Some(draft) = self.queue.pop_front() else { return };
        self.counts.messages += 1;
        self.counts.entries += u64::from(draft.entries);
        if self.queue.is_empty() {
            self.fresh = 0;
        }
        self.keep(draft.bytes);
    }

    /// What was due cannot be sent yet: it is due again in a little while.
    pub fn wait(&mut self, now: Tick) {
        self.look = now + DELAY;
    }

    /// When [`Lane::due`] is to be asked next; `None` while there is nothing.
    pub fn deadline(&self) -> Option<Tick> {
        (self.draft.is_some() || !self.queue.is_empty()).then_some(self.look)
    }

    /// When the queue is looked at next, whether or not anything is in it.
    pub fn next_look(&self) -> Tick {
        self.look
    }

    fn keep(&mut self, bytes: Vec<u8>) {
        if self.spare.len() < SPARE {
            self.spare.push(bytes);
        }
    }
}
