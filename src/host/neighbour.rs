//! Who has which link-layer address: learned from the kernel, from frames, and by asking.
//!
//! A pure state machine inside each worker (RFC 826, RFC 4861 section 7.3, arp(7)). The kernel
//! never resolves a next hop on our behalf, as it does not see what we send; what it happens to
//! know is taken over, the rest is asked for.
//!
//! ```text
//!            resolve                 answer                 30 s old, still used
//!  (unknown) ───────► asking everyone ──────► reachable ──────────────────► probing, still used
//!                       │ 3 questions           ▲  ▲                            │        │
//!                       ▼                       │  └─────────── answer ──────────┘        │ 3 questions
//!                     failed ── 3 s, resolve ───┼──► asking everyone ◄───────────────────┘
//!                                 kernel says reachable
//! ```
//!
//! Method kinds: [`Neighbours::resolve`] is asked for each frame; [`Neighbours::learn`] and
//! [`Neighbours::kernel`] are told; afterwards, and at [`Neighbours::next_deadline`], the caller
//! sends every [`Neighbours::next_question`] and acts on every [`Neighbours::next_outcome`].
//! Time never runs backwards between calls.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::IpAddr;

use crate::base::{LinkId, Mac, Tick};

/// Questions before a next hop counts as failed, or a probed one as gone.
const QUESTIONS: u8 = 3;
/// Milliseconds between questions.
const QUESTION_INTERVAL: u64 = 1_000;
/// Milliseconds that an answer is believed.
const REACHABLE_TIME: u64 = 30_000;
/// Milliseconds that a failed next hop is not asked for again.
const FAILED_TIME: u64 = 3_000;
/// Milliseconds after which an entry nobody uses may go.
const UNUSED_TIME: u64 = 60_000;
/// Milliseconds between searches for entries that may go.
const SWEEP_INTERVAL: u64 = 1_000;

/// What the kernel holds about a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelState {
    /// Set by the operator, or needs no resolution.
    Permanent(Mac),
    Reachable(Mac),
    /// Known once, not verified of late.
    Stale(Mac),
    /// Failed, still asked for, or deleted.
    Unusable,
}

/// A change of the kernel's neighbour table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourEvent {
    pub link: LinkId,
    pub address: IpAddr,
    pub state: KernelState,
}

/// Where a frame for a next hop goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    Known(Mac),
    /// It was or is being asked for: hold the frame until the [`Outcome`].
    Wait,
    /// Nobody answered: host unreachable.
    Failed,
}

/// What a frame says about a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// It answered us: ARP reply, solicited advertisement that overrides.
    Answer,
    /// It answered us, perhaps on another's behalf: solicited advertisement without override. It
    /// confirms the address that is known, and never replaces it.
    Confirmation,
    /// It answered us without saying where it is: solicited advertisement without a link-layer address. It confirms
    /// the address that is known, whatever the frame came from, and tells nothing where none is known.
    Presence,
    /// It asked for an address of ours, so it will want an answer.
    Request,
    /// It told everyone, or someone else: noted where the neighbour is known already.
    Announcement,
}

/// A binding that a frame told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    pub address: IpAddr,
    pub mac: Mac,
    pub evidence: Evidence,
}

/// An ARP request or neighbour solicitation to be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    pub link: LinkId,
    pub address: IpAddr,
    /// The one who is asked; everyone where nobody is known.
    pub to: Option<Mac>,
}

/// What became of a next hop that frames wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Resolved { link: LinkId, address: IpAddr, mac: Mac },
    Failed { link: LinkId, address: IpAddr },
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NeighbourCounters {
    /// Questions handed out.
    pub questions: u64,
    /// Next hops that nobody answered for.
    pub failures: u64,
    /// Resolutions refused because the table was full of entries in use.
    pub table_full: u64,
}

type Key = (LinkId, IpAddr);

/// The neighbour table of one worker.
#[derive(Debug)]
pub struct Neighbours {
    entries: HashMap<Key, Entry>,
    capacity: usize,
    last_sweep: Option<Tick>,
    /// When the next question of an entry is due. An entry that moved on leaves its old deadline
    /// behind; that is seen by comparing.
    deadlines: BinaryHeap<Reverse<(Tick, LinkId, IpAddr)>>,
    outcomes: VecDeque<Outcome>,
    counters: NeighbourCounters,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    state: State,
    origin: Origin,
    used: Tick,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Everyone is being asked.
    Asking {
        asked: u8,
        next: Tick,
    },
    /// Verified at that moment.
    Reachable {
        mac: Mac,
        since: Tick,
    },
    /// Known, not verified; probed as soon as it is used.
    Stale {
        mac: Mac,
    },
    /// Used while it is asked whether it is still there.
    Probing {
        mac: Mac,
        asked: u8,
        next: Tick,
    },
    Permanent {
        mac: Mac,
    },
    Failed {
        since: Tick,
    },
}

/// Whose knowledge an entry is: the kernel takes back what it told, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Ours,
    Kernel,
}

impl State {
    fn mac(&self) -> Option<Mac> {
        match *self {
            State::Reachable { mac, .. }
            | State::Stale { mac }
            | State::Probing { mac, .. }
            | State::Permanent { mac } => Some(mac),
            State::Asking { .. } | State::Failed { .. } => None,
        }
    }

    fn next_question(&self) -> Option<Tick> {
        match *self {
            State::Asking { next, .. } | State::Probing { next, .. } => Some(next),
            _ => None,
        }
    }
}

impl Neighbours {
    /// A table for at most `capacity` next hops.
    pub fn new(capacity: usize) -> Neighbours {
        Neighbours {
            entries: HashMap::new(),
            capacity,
            last_sweep: None,
            deadlines: BinaryHeap::new(),
            outcomes: VecDeque::new(),
            counters: NeighbourCounters::default(),
        }
    }

    /// The link-layer address of a next hop, as far as it is known; asking begins where it is not.
    #[inline]
    pub fn resolve(&mut self, link: LinkId, address: IpAddr, now: Tick) -> Resolution {
        let key = (link, address);
        let Some(entry) = self.entries.get_mut(&key) else {
            return self.begin(key, now);
        };
        entry.used = now;
        match entry.state {
            State::Permanent { mac } | State::Probing { mac, .. } => Resolution::Known(mac),
            State::Reachable { mac, since } if now.since(since) < REACHABLE_TIME => Resolution::Known(mac),
            State::Reachable { mac, .. } | State::Stale { mac } => {
                self.set(key, State::Probing { mac, asked: 0, next: now });
                Resolution::Known(mac)
            }
            State::Asking { .. } => Resolution::Wait,
            State::Failed { since } if now.since(since) < FAILED_TIME => Resolution::Failed,
            State::Failed { .. } => {
                self.set(key, State::Asking { asked: 0, next: now });
                Resolution::Wait
            }
        }
    }

    /// Takes in what a frame told.
    pub fn learn(&mut self, link: LinkId, learned: Learned, now: Tick) {
        let Learned { address, mac, evidence } = learned;
        if !is_usable(mac) || address.is_multicast() || address.is_unspecified() {
            return;
        }
        let key = (link, address);
        let state = match self.entries.get(&key).map(|entry| entry.state) {
            // Only someone who is owed an answer is worth an entry that nobody asked for.
            None if evidence == Evidence::Request && self.make_room(now) => State::Stale { mac },
            None | Some(State::Permanent { .. }) => return,
            Some(state) => match (evidence, state.mac()) {
                (Evidence::Confirmation, Some(known)) if known != mac => return,
                (Evidence::Presence, Some(known)) => State::Reachable { mac: known, since: now },
                (Evidence::Presence, None) => return,
                (Evidence::Answer | Evidence::Confirmation, _) => State::Reachable { mac, since: now },
                // It tells nothing new, and nothing about whether it hears us.
                (Evidence::Request | Evidence::Announcement, Some(known)) if known == mac => return,
                (Evidence::Request | Evidence::Announcement, _) => State::Stale { mac },
            },
        };
        self.know(key, state, Origin::Ours, now);
    }

    /// Takes in a change of the kernel's neighbour table.
    pub fn kernel(&mut self, event: NeighbourEvent, now: Tick) {
        let key = (event.link, event.address);
        let known = self.entries.get(&key).copied();
        let state = match event.state {
            KernelState::Unusable => {
                if known.is_some_and(|entry| entry.origin == Origin::Kernel) {
                    self.entries.remove(&key);
                }
                return;
            }
            KernelState::Permanent(mac) => State::Permanent { mac },
            KernelState::Reachable(mac) => State::Reachable { mac, since: now },
            KernelState::Stale(mac) => match known {
                // The kernel does not use the entry; that is no reason to doubt ours, which was
                // heard from the neighbour itself.
                Some(entry) if entry.origin == Origin::Ours && entry.state.mac().is_some() => return,
                Some(entry) if entry.state.mac() == Some(mac) && !entry.is_permanent() => return,
                _ => State::Stale { mac },
            },
        };
        let full = known.is_none() && !self.make_room(now);
        if !full && state.mac().is_some_and(is_usable) && !event.address.is_multicast() {
            self.know(key, state, Origin::Kernel, now);
        }
    }

    /// Takes in the kernel's whole table, in place of what it told before.
    pub fn kernel_table(&mut self, events: impl IntoIterator<Item = NeighbourEvent>, now: Tick) {
        self.entries.retain(|_, entry| entry.origin == Origin::Ours);
        for event in events {
            self.kernel(event, now);
        }
    }

    /// Forgets every neighbour on a link that is gone, or has another identity now. What waits for
    /// one has failed.
    pub fn forget_link(&mut self, link: LinkId) {
        let outcomes = &mut self.outcomes;
        self.entries.retain(|&(of, address), entry| {
            if of == link && matches!(entry.state, State::Asking { .. }) {
                outcomes.push_back(Outcome::Failed { link, address });
            }
            of != link
        });
    }

    /// The next question that is due, if any; to be called until there is none.
    pub fn next_question(&mut self, now: Tick) -> Option<Question> {
        loop {
            let &Reverse((due, link, address)) = self.deadlines.peek()?;
            if due > now {
                return None;
            }
            self.deadlines.pop();
            let key = (link, address);
            let Some(entry) = self.entries.get(&key).filter(|entry| entry.state.next_question() == Some(due)) else {
                continue;
            };
            let next = now + QUESTION_INTERVAL;
            let (state, to) = match entry.state {
                State::Asking { asked, .. } if asked < QUESTIONS => (State::Asking { asked: asked + 1, next }, None),
                State::Asking { .. } => {
                    self.set(key, State::Failed { since: now });
                    self.counters.failures += 1;
                    self.outcomes.push_back(Outcome::Failed { link, address });
                    continue;
                }
                State::Probing { mac, asked, .. } if asked < QUESTIONS => {
                    (State::Probing { mac, asked: asked + 1, next }, Some(mac))
                }
                // Nobody there any more, or another one: everyone is asked if it is still wanted.
                State::Probing { .. } if now.since(entry.used) <= u64::from(QUESTIONS) * QUESTION_INTERVAL => {
                    (State::Asking { asked: 1, next }, None)
                }
                _ => {
                    self.entries.remove(&key);
                    continue;
                }
            };
            self.set(key, state);
            self.counters.questions += 1;
            return Some(Question { link, address, to });
        }
    }

    /// The next decision about frames that wait, if any; to be called until there is none.
    pub fn next_outcome(&mut self) -> Option<Outcome> {
        self.outcomes.pop_front()
    }

    /// When [`Neighbours::next_question`] wants to be called again, at the earliest.
    pub fn next_deadline(&self) -> Option<Tick> {
        self.deadlines.peek().map(|&Reverse((due, ..))| due)
    }

    pub fn counters(&self) -> NeighbourCounters {
        self.counters
    }

    /// How many next hops the table holds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Starts asking for a next hop that is not in the table.
    fn begin(&mut self, key: Key, now: Tick) -> Resolution {
        if !self.make_room(now) {
            self.counters.table_full += 1;
            return Resolution::Failed;
        }
        let state = State::Asking { asked: 0, next: now };
        self.entries.insert(key, Entry { state, origin: Origin::Ours, used: now });
        self.deadlines.push(Reverse((now, key.0, key.1)));
        Resolution::Wait
    }

    /// Stores an address; frames that wait for it may go.
    fn know(&mut self, key: Key, state: State, origin: Origin, now: Tick) {
        let before = self.entries.get(&key).copied();
        let used = before.map_or(now, |entry| entry.used);
        self.entries.insert(key, Entry { state, origin, used });
        if let (Some(State::Asking { .. }), Some(mac)) = (before.map(|entry| entry.state), state.mac()) {
            self.outcomes.push_back(Outcome::Resolved { link: key.0, address: key.1, mac });
        }
    }

    /// Moves an entry on, and notes its deadline if it has one.
    fn set(&mut self, key: Key, state: State) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.state = state;
            if state.mac().is_none() {
                // Nothing is left of what the kernel told.
                entry.origin = Origin::Ours;
            }
        }
        if let Some(next) = state.next_question() {
            self.deadlines.push(Reverse((next, key.0, key.1)));
        }
    }

    /// Whether one more entry fits, once those that nobody uses are gone.
    fn make_room(&mut self, now: Tick) -> bool {
        if self.entries.len() < self.capacity {
            return true;
        }
        if self.last_sweep.is_some_and(|last| now.since(last) < SWEEP_INTERVAL) {
            return false;
        }
        self.last_sweep = Some(now);
        self.entries.retain(|_, entry| {
            let waiting = matches!(entry.state, State::Asking { .. });
            let expired = match entry.state {
                State::Failed { since } => now.since(since) >= FAILED_TIME,
                _ => now.since(entry.used) >= UNUSED_TIME,
            };
            waiting || entry.is_permanent() || !expired
        });
        self.entries.len() < self.capacity
    }
}

impl Entry {
    fn is_permanent(&self) -> bool {
        matches!(self.state, State::Permanent { .. })
    }
}

fn is_usable(mac: Mac) -> bool {
    mac != Mac::default() && !mac.is_multicast()
}

#[cfg(test)]
mod tests;
