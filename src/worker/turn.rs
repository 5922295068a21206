//! The loop itself: frames in, decisions, frames out, messages and timers in between.
//!
//! ```text
//! wait ─► messages ─► each ready link: batch of frames ─► hear (ARP, ND) or engine ─► send ─► flush
//!   ▲                                                                                        │
//!   └──────────────── timers: connections, next hops ◄───────────────────────────────────────┘
//! ```
//!
//! Work is bounded on every side: so many frames a link, then the next link; so many expiries a
//! turn; messages for so long, however many there are. Nothing here waits but the poll at the top, or the
//! pause that takes its place where traffic is dense ([`super::waiting`]): ports come opened, and are closed elsewhere
//! ([`super::closing`]).

mod messages;
mod rest;

use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};

use crate::base::{self, LinkId, Tick};
use crate::engine::{Config, DropReason, Egress, Engine, Foreseen, Verdict};
use crate::host::responder::{ANSWER_LENGTH, Heard, Owned, Responder};
use crate::port::{Held, PortDrop, PortEvent, Ports, packet_offload};
use crate::table::{Change, Network};
use crate::wire::{EtherType, Frame, LinkHeader, ip};

use super::announcing::Announcing;
use super::clock::Clock;
use super::closing::Closing;
use super::firsts::{Deferral, Firsts};
use super::handover::Handover;
use super::hops::{Hop, Hops, send_frame};
use super::mailbox::{Mailbox, Message};
use super::pace::{Pace, Turn};
use super::provision::Provision;
use super::rivals::Rivals;
use super::sharing::Sharing;
use super::teller::Teller;
use super::waiting::{Wait, Waiting};

/// Frames of one link that are handled before the next one's turn.
const BATCH: usize = 64;
/// Batches of one link in one turn.
const BATCHES: usize = 8;
/// First segments of those that wait, that are handled in one turn: some 20 µs' worth, for which every other frame waits.
const FIRSTS: usize = BATCH / 8;
/// Frames that other workers handed over, that are handled in one turn.
const STRAYS: usize = BATCHES * BATCH;
/// What other workers learned, that is taken in in one turn.
const NEWS: usize = BATCH;
/// Connections that may end before frames are looked at again. There are two such portions a turn at
/// least, so that a flood of new connections never outruns the end of old ones.
pub const EXPIRIES: usize = BATCHES * BATCH / 2;
/// Destinations that leave, as a service is deleted, before the clock is looked at again.
pub const LEAVING: usize = 64;

/// Milliseconds between two looks at what is lost, and between two complaints about it.
const COMPLAINT_CHECK: u64 = 1000;
const COMPLAINT_INTERVAL: u64 = 10_000;

const BELL: Token = Token(usize::MAX);

/// A worker before its thread has started.
#[derive(Debug)]
pub struct Worker {
    number: usize,
    engine: Engine,
    ports: Ports,
    responder: Responder,
    hops: Hops,
    network: Arc<Network>,
    served: Arc<[LinkId]>,
    owned: Arc<[Owned]>,
    poll: Poll,
    inbox: mpsc::Receiver<Message>,
    clock: Clock,
    /// Links that may have frames.
    ready: Vec<LinkId>,
    /// Those of them that are served in this turn.
    serving: Vec<LinkId>,
    registered: Vec<(LinkId, RawFd)>,
    stopping: bool,
    waiting: Waiting,
    /// Nobody waits for the descriptors.
    unattended: bool,
    next_examination: Tick,
    /// What was seen of the batch at hand before its turn; nothing where that was not worth it.
    foreseen: Vec<Option<Foreseen>>,
    /// First segments that wait, and whether more frames are there than are handled at once.
    firsts: Firsts,
    crowded: bool,
    /// How the clients are shared with other workers; nothing for a single one.
    sharing: Option<Sharing>,
    /// Other workers handed over more than one turn handles.
    more_strays: bool,
    /// More connections are due to end than one turn may end.
    more_due: bool,
    /// There are more messages, or more to do for one of them, than one turn has time for.
    more_told: bool,
    /// Changes that are being made, and how many of them are.
    changes: Option<(Arc<[Change]>, usize)>,
    /// Addresses that are to be announced; the first worker's are, for all.
    announcing: Announcing,
    rivals: Rivals,
    /// Memory for connections to come.
    provision: Provision,
    /// Where ports go that are not used any more.
    closing: Closing,
    pace: Pace,
    /// When the last turn ended.
    ended: Duration,
    teller: Teller,
    /// What was lost, as far as it was complained about.
    complained: [u64; 8],
    next_complaint: Tick,
}

impl Worker {
    /// A worker with an engine of its own, and the mailbox to reach it by.
    ///
    /// # Errors
    /// The event loop cannot be made.
    pub fn new(number: usize, config: &Config, clock: Clock) -> io::Result<(Worker, Mailbox)> {
        let poll = Poll::new()?;
        let (mailbox, inbox) = Mailbox::new(Arc::new(Waker::new(poll.registry(), BELL)?));
        let worker = Worker {
            number,
            engine: Engine::new(config),
            ports: Ports::new(),
            responder: Responder::default(),
            hops: Hops::new(),
            network: Arc::default(),
            served: Arc::default(),
            owned: Arc::default(),
            poll,
            inbox,
            clock,
            ready: Vec::new(),
            serving: Vec::new(),
            registered: Vec::new(),
            stopping: false,
            waiting: Waiting::default(),
            unattended: false,
            next_examination: Tick::ZERO,
            foreseen: Vec::with_capacity(BATCH),
            firsts: Firsts::default(),
            crowded: false,
            sharing: None,
            more_strays: false,
            more_due: false,
            more_told: false,
            changes: None,
            announcing: Announcing::default(),
            rivals: Rivals::default(),
            provision: Provision::default(),
            closing: Closing::default(),
            pace: Pace::new(),
            ended: Duration::ZERO,
            teller: Teller::default(),
            complained: [0; 8],
            next_complaint: Tick::ZERO,
        };
        Ok((worker, mailbox))
    }

    /// Has the engine's FTP helper listen on these virtual ports; before it starts.
    pub fn set_ftp_ports(&mut self, ports: &[base::Port]) {
        self.engine.set_ftp_ports(ports);
    }

    /// Gives it the way to the other workers; before it starts.
    pub fn set_handover(&mut self, handover: Handover) {
        self.sharing = Some(Sharing::new(handover));
    }

    /// Has memory for its connections made ready before they come; before it starts.
    pub fn set_provision(&mut self, provision: Provision) {
        self.provision = provision;
    }

    /// Has its ports closed by another thread; before it starts.
    pub fn set_closing(&mut self, closing: Closing) {
        self.closing = closing;
    }

    /// Where its connections are kept in memory, as addresses.
    pub fn memory(&self) -> [std::ops::Range<usize>; 2] {
        self.engine.memory()
    }

    /// Works until it is told to stop.
    ///
    /// # Errors
    /// The event loop itself failed.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(64);
        // A pause of microseconds is no longer than asked for; elsewhere nothing is slept away.
        if let Err(error) = nix::sys::prctl::set_timerslack(1) {
            log::debug!("worker {}: timers stay coarse: {error}", self.number);
        }
        while !self.stopping {
            match self.waiting.wait() {
                Wait::Pause(pause) if self.is_idle() => self.pause(pause),
                // Nobody tells of frames.
                Wait::Pause(_) => self.mark_all_ready(),
                Wait::Linger(_) if !self.is_idle() && self.unattended => self.mark_all_ready(),
                Wait::Linger(linger) if self.is_idle() && self.linger(linger) => {}
                Wait::Linger(_) | Wait::Asleep => self.wait(&mut events, self.sleep())?,
            }
            self.turn();
            if self.waiting.note(self.ended) {
                self.change_pace();
            }
        }
        self.ports.flush();
        Ok(())
    }

    fn turn(&mut self) {
        let began = self.clock.elapsed();
        let mut now = Clock::tick(began);
        let serving = if self.listen(now, began) { self.clock.elapsed() } else { began };
        let mut served = serving;
        // Those that have more are noted for the next turn meanwhile.
        std::mem::swap(&mut self.ready, &mut self.serving);
        for place in 0..self.serving.len() {
            let link = self.serving[place];
            let (count, more) = self.serve(now, link);
            self.waiting.count(link, count);
            if more {
                self.mark_ready(link);
            }
            served = self.clock.elapsed();
            now = Clock::tick(served);
            self.engine.tick(now, EXPIRIES);
        }
        self.serving.clear();
        let strays = self.take_strays(now);
        if self.make_connections(now) || strays {
            served = self.clock.elapsed();
        }
        self.more_due = self.engine.tick(now, EXPIRIES);
        self.provision.keep_ahead(self.engine.connection_table().used());
        self.send_outbox(now);
        self.teller.work(now, &mut self.engine);
        self.hops.work(now, &mut self.ports);
        self.ports.flush();
        self.complain(now);
        while let Some((link, event)) = self.ports.event() {
            self.note_event(link, event);
        }
        self.ended = self.clock.elapsed();
        self.pace.note(&Turn { began, serving, served, ended: self.ended });
    }

    /// Handles the frames that a link has, up to a bound: how many, and whether there may be more.
    fn serve(&mut self, now: Tick, link: LinkId) -> (usize, bool) {
        let mut served = 0;
        for batch in 0..BATCHES {
            let count = self.ports.ready(link, BATCH);
            // More are there than one batch, or were: first segments keep the others waiting no longer.
            self.crowded = batch > 0 || !self.firsts.is_empty();
            self.foreseen.clear();
            if self.engine.is_worth_fetching() {
                self.fetch(link, count);
            }
            for index in 0..count {
                self.handle(now, link, index);
            }
            self.ports.flush();
            if let Some(sharing) = &mut self.sharing {
                sharing.handover.ring();
            }
            served += count;
            if count < BATCH {
                return (served, false);
            }
        }
        (served, true)
    }

    /// Has the memory fetch the connections of a batch while nobody waits for them yet.
    fn fetch(&mut self, link: LinkId, count: usize) {
        for index in 0..count {
            self.foreseen.push(self.ports.peek(link, index).and_then(|frame| self.engine.foresee(&frame)));
        }
        self.engine.fetch(&self.foreseen);
    }

    #[inline]
    fn handle(&mut self, now: Tick, link: LinkId, index: usize) {
        // A frame that is none was counted by the port.
        let Ok(mut frame) = self.ports.frame(link, index) else { return };
        if may_be_discovery(&frame) {
            let mut answer = [0; ANSWER_LENGTH];
            match self.responder.hear(&frame, &mut answer) {
                Heard::Other => {}
                Heard::Malformed(_) => return,
                Heard::Understood(understood) => {
                    if let Some(length) = understood.answer {
                        send_frame(&mut self.ports, link, &answer[..length]);
                    }
                    if let Some(learned) = understood.learned {
                        self.hops.learn(now, link, learned);
                        if let Some(sharing) = &mut self.sharing {
                            sharing.handover.tell(link, learned);
                        }
                    }
                    if let Some(claim) = understood.claim {
                        self.rivals.claimed(claim);
                    }
                    if let Some(mac) = understood.double {
                        self.rivals.doubled(link, mac);
                    }
                    self.hops.work(now, &mut self.ports);
                    return;
                }
            }
        }
        if let Some(sharing) = &mut self.sharing
            && let Some(owner) = sharing.elsewhere(&frame)
        {
            return sharing.handover.give(owner, &frame);
        }
        if self.crowded && self.firsts.defer(&frame) != Deferral::Other {
            return;
        }
        let foreseen = self.foreseen.get(index).and_then(Option::as_ref);
        let verdict = self.engine.handle_foreseen(now, &mut frame, foreseen);
        if let Verdict::Transmit(egress) = verdict {
            let held = Held::of(index, &frame);
            self.send_held(now, egress, &held);
        }
        if !self.engine.outbox().is_empty() {
            self.send_outbox(now);
        }
    }

    /// Has the engine make some of the connections whose first segments wait; whether there were any.
    fn make_connections(&mut self, now: Tick) -> bool {
        let any = !self.firsts.is_empty();
        for _ in 0..FIRSTS {
            let Some(mut frame) = self.firsts.take() else { break };
            if let Verdict::Transmit(egress) = self.engine.handle(now, &mut frame) {
                send_copied(&mut self.hops, &mut self.ports, now, egress, &frame);
            }
            if !self.engine.outbox().is_empty() {
                self.send_outbox(now);
            }
        }
        any
    }

    /// Handles what other workers handed over, up to a bound; whether there were frames.
    fn take_strays(&mut self, now: Tick) -> bool {
        let Some(mut sharing) = self.sharing.take() else { return false };
        let mut any = false;
        if sharing.handover.is_pending() || self.more_strays {
            sharing.handover.look();
            let mut heard = 0;
            while heard < NEWS
                && let Some((link, learned)) = sharing.handover.hear()
            {
                self.hops.learn(now, link, learned);
                heard += 1;
            }
            let mut taken = 0;
            while taken < STRAYS
                && let Some(mut stray) = sharing.handover.take()
            {
                // As with a ring: more than one batch are there, or were.
                let crowded = taken >= BATCH || self.more_strays || !self.firsts.is_empty();
                if let Some(mut frame) = stray.frame()
                    && !(crowded && self.firsts.defer(&frame) != Deferral::Other)
                    && let Verdict::Transmit(egress) = self.engine.handle(now, &mut frame)
                {
                    send_copied(&mut self.hops, &mut self.ports, now, egress, &frame);
                }
                if !self.engine.outbox().is_empty() {
                    self.send_outbox(now);
                }
                sharing.handover.give_back(stray);
                taken += 1;
                if taken % BATCH == 0 {
                    self.ports.flush();
                }
            }
            self.more_strays = taken == STRAYS || heard == NEWS;
            any = taken > 0;
        }
        self.sharing = Some(sharing);
        any
    }

    #[inline]
    fn send_held(&mut self, now: Tick, egress: Egress, held: &Held) {
        match self.hops.resolve(now, egress) {
            Hop::Header(header) => {
                // What cannot be sent is counted by the port.
                let _ = self.ports.send(egress.link, held, header);
            }
            Hop::Wait => {
                if let Some((packet, offload)) = self.ports.packet(held) {
                    self.hops.hold(egress, packet, offload);
                }
                self.hops.work(now, &mut self.ports);
            }
            Hop::Unreachable => self.hops.counts.unreachable += 1,
        }
    }

    fn send_outbox(&mut self, now: Tick) {
        for outbound in self.engine.outbox().packets() {
            match self.hops.resolve(now, outbound.egress) {
                Hop::Header(header) => {
                    let _ = self.ports.send_copy(outbound.egress.link, outbound.packet(), outbound.offload, header);
                }
                Hop::Wait => {
                    self.hops.hold(outbound.egress, outbound.packet(), outbound.offload);
                    self.hops.work(now, &mut self.ports);
                }
                Hop::Unreachable => self.hops.counts.unreachable += 1,
            }
        }
        self.engine.outbox().clear();
    }

    /// Says once in a while what is being lost, and who else has addresses of ours.
    fn complain(&mut self, now: Tick) {
        if now < self.next_complaint {
            return;
        }
        self.next_complaint = now + COMPLAINT_CHECK;
        for line in self.rivals.tell(&self.network) {
            log::warn!("{line}");
            self.next_complaint = now + COMPLAINT_INTERVAL;
        }
        let at_ports = |reason: PortDrop| -> u64 {
            let ports = self.network.links().iter().filter_map(|link| self.ports.counters(link.id));
            ports.map(|counters| counters.dropped(reason)).sum()
        };
        let losses = [
            ("the connection table is full (--max-connections)", self.engine.counts().dropped(DropReason::TableFull)),
            ("their next hop does not answer", self.hops.counts.unreachable),
            ("a transmit queue is full", at_ports(PortDrop::QueueFull)),
            ("they came faster than they were taken", at_ports(PortDrop::RingFull)),
            ("they were first segments, and too many of these wait (a SYN flood)", self.firsts.lost()),
            (
                "too many waited for the worker of their clients",
                self.sharing.as_ref().map_or(0, |one| one.handover.lost()),
            ),
            ("they were of synchronisation, and their queue is full", self.engine.sync_counts().told.lost_messages),
            ("they were of synchronisation, and the network does not take them", self.teller.failed()),
        ];
        for ((why, lost), before) in losses.into_iter().zip(&mut self.complained) {
            if lost > *before {
                log::warn!("worker {}: {} packets dropped: {why}", self.number, lost - *before);
                *before = lost;
                self.next_complaint = now + COMPLAINT_INTERVAL;
            }
        }
    }

    fn note_event(&mut self, link: LinkId, event: PortEvent) {
        let name = self.network.link(link).map_or("?", |link| link.name.as_str());
        match event {
            PortEvent::Down => log::warn!("{name} is down; what should leave by it is dropped and counted"),
            PortEvent::Gone => {
                log::warn!("{name} is gone");
                self.close(link);
            }
        }
    }
}

/// Sends a packet whose buffer is not a port's, or has it wait for its next hop.
fn send_copied(hops: &mut Hops, ports: &mut Ports, now: Tick, egress: Egress, frame: &Frame<'_>) {
    match hops.resolve(now, egress) {
        Hop::Header(header) => {
            // What cannot be sent is counted by the port.
            let _ = ports.send_frame(egress.link, frame, header);
        }
        Hop::Wait => {
            hops.hold(egress, frame.packet(), packet_offload(frame));
            hops.work(now, ports);
        }
        Hop::Unreachable => hops.counts.unreachable += 1,
    }
}

/// Whether a frame may be ARP or neighbour discovery: a look cheap enough for every frame.
#[inline]
fn may_be_discovery(frame: &Frame) -> bool {
    match frame.link_header() {
        LinkHeader::Ethernet { kind: EtherType::ARP, .. } => true,
        LinkHeader::Ethernet { kind: EtherType::IPV6, .. } => {
            frame.packet().get(ip::v6::NEXT_HEADER) == Some(&crate::base::Protocol::ICMPV6.0)
        }
        _ => false,
    }
}
