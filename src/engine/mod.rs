//! The balancer. Pure: no sockets, clock, threads, randomness, logging or globals.
//!
//! ```text
//! handle: classify ─┬─ to a virtual address ── input ── lookup · admit · pick · track · forward
//!                   ├─ from a real server ──── output ─ lookup · track · forward back
//!                   ├─ an ICMP error ───────── related
//!                   └─ to an address of ours ─ local ── echo reply, reset, unreachable
//! ```
//!
//! A frame goes in, is edited in place, and a small [`Verdict`] says where it goes. What the
//! engine sends of its own accord waits in the [`Outbox`]. The same calls with the same times
//! give the same results, always.

pub mod conn;
pub mod outbox;
pub mod proto;
pub mod sched;
pub mod server;
pub mod services;
pub mod verdict;

mod admit;
mod app;
mod apply;
mod begin;
mod classify;
mod defence;
mod emit;
mod expire;
pub mod former;
mod forward;
mod fragments;
mod input;
#[cfg(any(test, fuzzing))]
mod invariants;
mod known;
mod local;
mod local_server;
mod masqueraded;
mod options;
mod options6;
mod output;
mod pick;
mod related;
mod routes;
mod sip;
pub mod sync;
mod track;
mod tunnel_ends;
mod tunnel_errors;
mod view;

#[cfg(any(test, fuzzing))]
pub mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::hash::{FixedHash, HashKey};
use crate::base::random::Random;
use crate::base::{ConnectionId, LinkId, Tick};
use crate::table::{MarkRule, Network, Settings, Timeouts};
use crate::wire::fragment::Piece;
use crate::wire::reassembly::{Limits, Reassembler};
use crate::wire::{FragmentPart, Frame};

pub use app::{SequenceData, Shift};
pub use known::Foreseen;
pub use masqueraded::Helped;
pub use outbox::{Outbound, Outbox};
pub use verdict::{DropReason, Egress, PassReason, Verdict, VerdictCounts};
pub use view::{ConnectionView, DestinationView, News, ServiceView};

use conn::ConnectionTable;
use defence::Defences;
use emit::ErrorLimit;
use routes::RouteCache;
use services::Services;
use sync::Synchronisation;
use tunnel_errors::PathMtus;

/// Who answers for addresses that are this host's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostStack {
    /// The kernel's stack is there: it answers for its own addresses and forwards what is not
    /// ours, except what the guard keeps from it.
    Beside,
    /// Nobody else is there (a replay, a simulation): the engine answers and forwards for all.
    Absent,
}

/// What an engine is built with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Most connections (templates included) that the table holds.
    pub maximum_connections: usize,
    /// Two engines with the same seed and the same input do the same.
    pub seed: u64,
    pub host_stack: HostStack,
}

/// One balancer: tables, connections, and what waits to be sent.
#[derive(Debug)]
pub struct Engine {
    services: Services,
    connections: ConnectionTable,
    network: Arc<Network>,
    routes: RouteCache,
    classes: known::Classes,
    settings: Settings,
    timeouts: Timeouts,
    marks: Vec<MarkRule>,
    host_stack: HostStack,
    random: Random,
    /// Out of its place only while a packet it put together is handled.
    reassembler: Option<Box<Reassembler>>,
    /// Room for a packet that is to be cut.
    scratch: Vec<u8>,
    /// Room for how a packet was cut, while it is sent on in a tunnel.
    pieces: Vec<Piece>,
    outbox: Outbox,
    counts: VerdictCounts,
    defences: Defences,
    error_limit: ErrorLimit,
    path_mtus: PathMtus,
    /// Links by which super-frames in tunnels may leave whole.
    tunnel_carriers: Vec<LinkId>,
    /// Call-IDs of SIP templates.
    call_ids: HashMap<ConnectionId, Box<[u8]>, FixedHash>,
    /// Protocols that speak of other connections: FTP.
    helper: app::Helper,
    sync: Synchronisation,
    /// When connections of deleted destinations are to be looked for.
    purge_at: Option<Tick>,
    /// The place up to which they were looked for, while that goes on.
    purged: Option<usize>,
    next_housekeeping: Tick,
    /// The short way of known connections' packets is closed, to compare the long one with it.
    #[cfg(any(test, fuzzing))]
    long_way_only: bool,
}

impl Engine {
    /// An engine without services on an empty network.
    pub fn new(config: &Config) -> Engine {
        let mut random = Random::new(config.seed);
        let key = HashKey(random.draw() | 1, random.draw() | 1);
        let fragment_key = HashKey(random.draw() | 1, random.draw() | 1);
        Engine {
            services: Services::new(random.draw()),
            connections: ConnectionTable::new(config.maximum_connections, key),
            network: Arc::default(),
            routes: RouteCache::default(),
            classes: known::Classes::default(),
            settings: Settings::default(),
            timeouts: Timeouts::default(),
            marks: Vec::new(),
            host_stack: config.host_stack,
            random,
            reassembler: Some(Box::new(Reassembler::new(Limits::default(), fragment_key))),
            scratch: Vec::new(),
            pieces: Vec::new(),
            outbox: Outbox::default(),
            counts: VerdictCounts::default(),
            defences: Defences::default(),
            error_limit: ErrorLimit::default(),
            path_mtus: PathMtus::default(),
            tunnel_carriers: Vec::new(),
            call_ids: HashMap::default(),
            helper: app::Helper::default(),
            sync: Synchronisation::default(),
            purge_at: None,
            purged: None,
            next_housekeeping: Tick::ZERO,
            #[cfg(any(test, fuzzing))]
            long_way_only: false,
        }
    }

    /// Replaces what is known of links, addresses and routes.
    pub fn set_network(&mut self, network: Arc<Network>) {
        self.network = network;
        self.routes.clear();
        self.classes.clear();
    }

    /// From now on super-frames leave `link` whole also where they are put into tunnels.
    pub fn carry_tunnels(&mut self, link: LinkId) {
        self.cut_tunnels(link);
        self.tunnel_carriers.push(link);
    }

    /// From now on super-frames that are put into tunnels are cut before they leave `link`, as they are for every
    /// link at first.
    pub fn cut_tunnels(&mut self, link: LinkId) {
        self.tunnel_carriers.retain(|&carrier| carrier != link);
    }

    /// Closes the short way, or opens it again.
    #[cfg(any(test, fuzzing))]
    pub fn set_long_way_only(&mut self, closed: bool) {
        self.long_way_only = closed;
    }

    /// Handles one frame. It is edited in place; the verdict says what to do with it, and the
    /// outbox holds what else is to be sent, in order.
    pub fn handle(&mut self, now: Tick, frame: &mut Frame) -> Verdict {
        self.handle_foreseen(now, frame, None)
    }

    /// The same for a frame that [`Engine::foresee`] was asked about, and what it said. Since then only
    /// other frames may have been handled.
    #[inline]
    pub fn handle_foreseen(&mut self, now: Tick, frame: &mut Frame, foreseen: Option<&Foreseen>) -> Verdict {
        match self.handle_known(now, frame, foreseen) {
            Some(verdict) => {
                self.counts.transmitted += 1;
                verdict
            }
            None => self.decide(now, frame),
        }
    }

    #[inline(never)]
    fn decide(&mut self, now: Tick, frame: &mut Frame) -> Verdict {
        let verdict = self.handle_unknown(now, frame);
        self.counts.note(verdict);
        verdict
    }

    fn handle_unknown(&mut self, now: Tick, frame: &mut Frame) -> Verdict {
        let seen = match self.classify(frame) {
            Ok(seen) => seen,
            Err(verdict) => return verdict,
        };
        if let Some(complaint) = seen.wrong {
            return self.refuse(now, frame, &seen, complaint);
        }
        if seen.parts.fragment != FragmentPart::Whole && self.wants_whole(&seen, frame.link) {
            return self.reassemble(now, frame, seen);
        }
        self.process(now, frame, &seen)
    }

    /// Where the connections are kept in memory, as addresses: nearly all that an engine has.
    pub fn memory(&self) -> [std::ops::Range<usize>; 2] {
        self.connections.memory()
    }

    /// Packets of the engine's own that wait to be sent. The caller sends and clears them.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    pub fn counts(&self) -> &VerdictCounts {
        &self.counts
    }
}
