//! What the director does against floods: `drop_packet`, `drop_entry`, `secure_tcp`.
//!
//! Each has a mode: 0 off, 3 always on, and 1 or 2 as memory decides: every second, and when a
//! mode is written, 1 becomes 2 and active where memory is short, and 2 becomes 1 and inactive
//! where it is not. So what is read is not always what was written.
//!
//! The kernel's measure is its free pages, and `amemthresh` is the number below which they are
//! short. Our memory is the connection table: a page is 32 free places, which take about as much.
//! A table whose limit is below 32 times `amemthresh` is therefore always short.
//!
//! `drop_entry` looks at a thirty-second of the hash table every second, at random, and takes out
//! what is half open, what never carried an established connection, and some of what has been
//! idle. It does so a slice at a time, so that no frame waits for it long.

use crate::base::{ConnectionId, Protocol, Tick};
use crate::table::{ServiceFlags, Settings};

use super::Engine;
use super::conn::Connection;
use super::proto::{self, sctp, tcp};
use super::track::End;
use super::verdict::{DropReason, Verdict};

/// Free places of the connection table that count as a page.
const PLACES_IN_PAGE: usize = 32;
/// The part of the hash table that is looked at in a second.
const PART_SCANNED: usize = 32;
/// Chains looked at before frames have their turn again.
const SLICE: usize = 512;
/// Milliseconds for which nothing is dropped for its age.
const IDLE: u64 = 60_000;
/// Connections with more packets than this are not dropped for their age.
const MOST_PACKETS: usize = 8;

/// How the defences stand.
#[derive(Debug)]
pub(super) struct Defences {
    drop_rate: DropRate,
    drop_entries: bool,
    /// Which of the two state tables TCP follows.
    pub tcp: tcp::Table,
    /// Chains that this second's scan has still to look at.
    chains_left: usize,
    /// By number of packets: how many idle connections are spared before one is dropped.
    spared: [u8; MOST_PACKETS + 1],
    /// The connections of a chain, while it is looked at.
    chain: Vec<ConnectionId>,
    dropped: u64,
}

impl Default for Defences {
    fn default() -> Defences {
        Defences {
            drop_rate: DropRate::default(),
            drop_entries: false,
            tcp: tcp::Table::Normal,
            chains_left: 0,
            spared: std::array::from_fn(|packets| packets as u8),
            chain: Vec::new(),
            dropped: 0,
        }
    }
}

/// The counter behind `drop_packet`: one scheduling attempt of `rate` is dropped.
#[derive(Clone, Copy, Debug, Default)]
struct DropRate {
    counter: i32,
    rate: i32,
}

impl DropRate {
    /// Whether this attempt is one to be dropped.
    fn fires(&mut self) -> bool {
        if self.rate == 0 {
            return false;
        }
        self.counter = self.counter.wrapping_sub(1);
        if self.counter > 0 {
            return false;
        }
        self.counter = self.rate;
        true
    }
}

impl Defences {
    /// Decides anew what is active, and turns automatic modes over. `free` is the number of
    /// connections that the table has room for.
    fn judge(&mut self, settings: &mut Settings, free: usize) {
        let available = i32::try_from(free / PLACES_IN_PAGE).unwrap_or(i32::MAX);
        let threshold = settings.amemthresh.max(0);
        let short = available < threshold;
        let turn = |mode: &mut i32| -> Activity {
            match *mode {
                3 => Activity::Always,
                1 | 2 if short => {
                    *mode = 2;
                    Activity::Short
                }
                1 | 2 => {
                    *mode = 1;
                    Activity::Off
                }
                _ => Activity::Off,
            }
        };
        self.drop_entries = turn(&mut settings.drop_entry) != Activity::Off;
        match turn(&mut settings.drop_packet) {
            Activity::Off => self.drop_rate.rate = 0,
            Activity::Always => self.drop_rate.rate = settings.am_droprate,
            Activity::Short => {
                let rate = threshold / (threshold - available);
                self.drop_rate = DropRate { counter: rate, rate };
            }
        }
        self.tcp = match turn(&mut settings.secure_tcp) {
            Activity::Off => tcp::Table::Normal,
            _ => tcp::Table::Secure,
        };
    }

    /// Whether a scheduling attempt is one that `drop_packet` drops.
    pub fn check_attempt(&mut self) -> Result<(), Verdict> {
        if self.drop_rate.fires() { Err(Verdict::Drop(DropReason::DropPacket)) } else { Ok(()) }
    }

    /// Whether an idle connection is the one of several, by its number of packets, that is dropped.
    fn fires_by_age(&mut self, now: Tick, connection: &Connection) -> bool {
        let last_packet = connection.expires.0.saturating_sub(u64::from(connection.timeout) * 1000);
        if now.0 < last_packet + IDLE {
            return false;
        }
        let packets = connection.in_packets as usize;
        if packets == 0 || packets > MOST_PACKETS {
            return false;
        }
        let spared = &mut self.spared[packets];
        *spared -= 1;
        if *spared > 0 {
            return false;
        }
        *spared = packets as u8;
        true
    }
}

/// What a mode means at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activity {
    Off,
    /// Because memory is short.
    Short,
    Always,
}

impl Engine {
    /// Decides anew which defences are active: every second, and when one of the modes changes.
    pub(super) fn judge_defences(&mut self) {
        let free = self.connections.maximum() - self.connections.len();
        self.defences.judge(&mut self.settings, free);
    }

    /// Begins this second's look for entries to drop.
    pub(super) fn begin_scan(&mut self) {
        if self.defences.drop_entries {
            self.defences.chains_left = (self.connections.chains() / PART_SCANNED).max(1);
        }
    }

    /// Looks at a slice of the chains that are left; returns whether there are more.
    pub(super) fn scan(&mut self, now: Tick) -> bool {
        let slice = self.defences.chains_left.min(SLICE);
        self.defences.chains_left -= slice;
        for _ in 0..slice {
            let number = self.random.below(self.connections.chains() as u64) as usize;
            self.drop_entries(now, number);
        }
        self.defences.chains_left > 0
    }

    fn drop_entries(&mut self, now: Tick, number: usize) {
        let mut chain = std::mem::take(&mut self.defences.chain);
        chain.clear();
        chain.extend(self.connections.chain(number));
        for &id in &chain {
            // It may have gone with one that it controlled.
            let Some(connection) = self.connections.get(id) else { continue };
            if self.may_go(connection).is_some_and(|go| match go {
                Go::AtOnce => true,
                Go::ByAge => self.defences.fires_by_age(now, connection),
            }) {
                let before = self.connections.len();
                self.forget(id, End::Forced);
                self.defences.dropped += (before - self.connections.len()) as u64;
            }
        }
        self.defences.chain = chain;
    }

    /// Whether an entry may be dropped; `None` where it is to stay.
    fn may_go(&self, connection: &Connection) -> Option<Go> {
        if connection.controls > 0 {
            return None;
        }
        if connection.is_template() {
            let service = connection
                .destination
                .and_then(|id| self.services.destinations.get(id))
                .and_then(|destination| self.services.of(destination));
            if service.is_some_and(|service| service.flags.has(ServiceFlags::ONE_PACKET)) {
                return Some(Go::ByAge);
            }
            return (connection.state & proto::TEMPLATE_ASSURED == 0).then_some(Go::AtOnce);
        }
        match connection.protocol {
            Protocol::TCP => match tcp::State::from_number(connection.state)? {
                tcp::State::SynReceived | tcp::State::SynAck => Some(Go::AtOnce),
                tcp::State::Established => Some(Go::ByAge),
                _ => None,
            },
            Protocol::SCTP => match sctp::State::from_number(connection.state)? {
                sctp::State::Init1 | sctp::State::Init => Some(Go::AtOnce),
                sctp::State::Established => Some(Go::ByAge),
                _ => None,
            },
            _ => Some(Go::ByAge),
        }
    }

    /// The modes of `drop_entry`, `drop_packet` and `secure_tcp` as they stand.
    pub fn defence_modes(&self) -> [i32; 3] {
        [self.settings.drop_entry, self.settings.drop_packet, self.settings.secure_tcp]
    }

    /// Connections and templates that `drop_entry` took out of the table so far.
    pub fn dropped_entries(&self) -> u64 {
        self.defences.dropped
    }
}

/// When an entry that may be dropped is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Go {
    AtOnce,
    ByAge,
}

#[cfg(test)]
mod tests;
