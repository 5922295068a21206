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
//! pause that takes its place where traffic is dense ([`super::waiting`]).

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::base::{self, LinkId, Tick};
use crate::engine::conn::Budget;
use crate::engine::{Config, DropReason, Egress, Engine, Foreseen, Verdict};
use crate::host::responder::{ANSWER_LENGTH, Heard, Owned, Responder};
use crate::port::af_packet::program::Program;
use crate::port::{
    Adjustment, GroupNumbers, Held, Port, PortDrop, PortError, PortEvent, Ports, Queueing, packet_offload,
};
use crate::table::{Change, DaemonRole, Network};
use crate::wire::{EtherType, Frame, LinkHeader, ip};

use super::clock::Clock;
use super::firsts::{Deferral, Firsts};
use super::hops::{Hop, Hops, send_frame};
use super::mailbox::{Mailbox, Message, Report, Way};
use super::pace::{Pace, Turn};
use super::question::{self, Finding, Question};
use super::teller::Teller;
use super::waiting::{Wait, Waiting};

/// Frames of one link that are handled before the next one's turn.
const BATCH: usize = 64;
/// Batches of one link in one turn.
const BATCHES: usize = 8;
/// First segments of those that wait, that are handled in one turn.
const FIRSTS: usize = BATCH / 2;
/// Connections that may end before frames are looked at again. There are two such portions a turn at
/// least, so that a flood of new connections never outruns the end of old ones.
pub const EXPIRIES: usize = BATCHES * BATCH / 2;
/// How long messages are taken in one turn: whoever changes much goes on between frames.
const LISTENING: Duration = Duration::from_micros(100);
/// Destinations that leave, as a service is deleted, before the clock is looked at again.
pub const LEAVING: usize = 64;
/// Addresses that are announced in one turn.
const ANNOUNCEMENTS: usize = 16;
/// Longest sleep while connections must be ended on time, and otherwise.
const BUSY_SLEEP: u64 = 100;
const IDLE_SLEEP: u64 = 1000;

/// Milliseconds between two looks at what is lost, and between two complaints about it.
const COMPLAINT_CHECK: u64 = 1000;
const COMPLAINT_INTERVAL: u64 = 10_000;

/// Milliseconds between two looks for errors of links that nobody waits for.
const EXAMINATION: u64 = 250;

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
    reports: Option<mpsc::Sender<Report>>,
    clock: Clock,
    /// Links that may have frames.
    ready: Vec<LinkId>,
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
    /// More connections are due to end than one turn may end.
    more_due: bool,
    /// There are more messages, or more to do for one of them, than one turn has time for.
    more_told: bool,
    /// Changes that are being made, and how many of them are.
    changes: Option<(Arc<[Change]>, usize)>,
    /// Addresses that are to be announced.
    announcing: VecDeque<IpAddr>,
    pace: Pace,
    /// When the last turn ended.
    ended: Duration,
    teller: Teller,
    /// What was lost, as far as it was complained about.
    complained: [u64; 7],
    next_complaint: Tick,
}

impl Worker {
    /// A worker with an engine of its own, and the mailbox to reach it by.
    ///
    /// # Errors
    /// The event loop cannot be made.
    pub fn new(
        number: usize,
        config: &Config,
        clock: Clock,
        reports: Option<mpsc::Sender<Report>>,
    ) -> io::Result<(Worker, Mailbox)> {
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
            reports,
            clock,
            ready: Vec::new(),
            registered: Vec::new(),
            stopping: false,
            waiting: Waiting::default(),
            unattended: false,
            next_examination: Tick::ZERO,
            foreseen: Vec::with_capacity(BATCH),
            firsts: Firsts::default(),
            crowded: false,
            more_due: false,
            more_told: false,
            changes: None,
            announcing: VecDeque::new(),
            pace: Pace::new(),
            ended: Duration::ZERO,
            teller: Teller::default(),
            complained: [0; 7],
            next_complaint: Tick::ZERO,
        };
        Ok((worker, mailbox))
    }

    /// Has the engine's FTP helper listen on these virtual ports; before it starts.
    pub fn set_ftp_ports(&mut self, ports: &[base::Port]) {
        self.engine.set_ftp_ports(ports);
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

    /// Sleeps until something happens, and notes which links have frames.
    fn wait(&mut self, events: &mut Events, longest: Duration) -> io::Result<()> {
        match self.poll.poll(events, Some(longest)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            outcome => outcome?,
        }
        for event in &*events {
            if event.token() == BELL {
                continue;
            }
            let link = LinkId(event.token().0 as u32);
            if event.is_error() || event.is_read_closed() {
                self.ports.examine(link);
            }
            self.mark_ready(link);
        }
        Ok(())
    }

    /// Looks for frames for a moment, with the core left to others in between; whether there are some.
    fn linger(&mut self, linger: Duration) -> bool {
        let until = self.ended + linger;
        let mut now = self.ended;
        let found = loop {
            let mut links = self.registered.iter().map(|&(link, _)| link);
            if let Some(link) = links.find(|&link| self.ports.ready(link, BATCH) > 0) {
                break Some(link);
            }
            if now > until {
                break None;
            }
            thread::yield_now();
            now = self.clock.elapsed();
        };
        if let Some(link) = found {
            // The one that was looked at is the next to be served.
            self.mark_ready(link);
            self.mark_all_ready();
        }
        self.waiting.lingered(found.is_some(), now.saturating_sub(self.ended));
        found.is_some()
    }

    /// Whether nothing is left to do that is known of.
    fn is_idle(&self) -> bool {
        self.ready.is_empty() && self.firsts.is_empty() && !self.more_due && !self.more_told
    }

    /// At the end of a window: descriptors are waited for, or not, as the pace asks. While they are
    /// not, a frame that arrives has nobody to wake, which its sender would pay for.
    fn change_pace(&mut self) {
        self.ports.set_busy(self.waiting.is_busy());
        let dense = self.waiting.is_dense();
        if dense != self.unattended {
            self.unattended = dense;
            for place in 0..self.registered.len() {
                let (link, descriptor) = self.registered[place];
                if dense {
                    // A descriptor that is gone needs no deregistering.
                    let _ = self.poll.registry().deregister(&mut SourceFd(&descriptor));
                } else {
                    self.attend(link, descriptor);
                    self.mark_ready(link);
                }
            }
        } else if dense && self.clock.now() >= self.next_examination {
            // Nobody hears of errors meanwhile.
            self.next_examination = self.clock.now() + EXAMINATION;
            for place in 0..self.registered.len() {
                self.ports.examine(self.registered[place].0);
            }
        }
    }

    /// Has the poll tell of a descriptor.
    fn attend(&self, link: LinkId, descriptor: RawFd) {
        let token = Token(link.index());
        if let Err(error) = self.poll.registry().register(&mut SourceFd(&descriptor), token, Interest::READABLE) {
            log::error!("link {}: cannot be waited for: {error}", link.0);
        }
    }

    /// Sleeps for a moment in which every link may get frames.
    fn pause(&mut self, pause: Duration) {
        thread::sleep(pause);
        self.mark_all_ready();
    }

    fn mark_all_ready(&mut self) {
        for place in 0..self.registered.len() {
            self.mark_ready(self.registered[place].0);
        }
    }

    fn turn(&mut self) {
        let began = self.clock.elapsed();
        let mut now = Clock::tick(began);
        let serving = if self.listen(now, began) { self.clock.elapsed() } else { began };
        let mut served = serving;
        for link in std::mem::take(&mut self.ready) {
            let (count, more) = self.serve(now, link);
            self.waiting.count(link, count);
            if more {
                self.mark_ready(link);
            }
            served = self.clock.elapsed();
            now = Clock::tick(served);
            self.engine.tick(now, EXPIRIES);
        }
        self.make_connections(now);
        self.more_due = self.engine.tick(now, EXPIRIES);
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

    /// Takes messages, in order, until there are no more or the time for it is over; whether there was
    /// anything to do.
    fn listen(&mut self, now: Tick, began: Duration) -> bool {
        let mut busy = !self.announcing.is_empty();
        self.announce();
        loop {
            // Changes are finished before the next message is looked at, and each before the next.
            if !self.engine.continue_change(now, &mut Budget(LEAVING)) && !self.change(now) {
                match self.inbox.try_recv() {
                    Ok(message) => self.take(now, message),
                    Err(_) => break self.more_told = false,
                }
            }
            busy = true;
            if self.clock.elapsed().saturating_sub(began) > LISTENING {
                break self.more_told = true;
            }
        }
        busy
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
                        if let Some(reports) = &self.reports {
                            // Control is gone only when everything ends.
                            let _ = reports.send(Report::Learned { worker: self.number, link, learned });
                        }
                    }
                    if let Some(claim) = understood.claim {
                        log::warn!("{} is claimed by {}: two machines answer for it", claim.address, claim.mac);
                    }
                    self.hops.work(now, &mut self.ports);
                    return;
                }
            }
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

    /// Has the engine make some of the connections whose first segments wait.
    fn make_connections(&mut self, now: Tick) {
        for _ in 0..FIRSTS {
            let Some(mut frame) = self.firsts.take() else { return };
            if let Verdict::Transmit(egress) = self.engine.handle(now, &mut frame) {
                match self.hops.resolve(now, egress) {
                    Hop::Header(header) => {
                        // What cannot be sent is counted by the port.
                        let _ = self.ports.send_frame(egress.link, &frame, header);
                    }
                    Hop::Wait => {
                        self.hops.hold(egress, frame.packet(), packet_offload(&frame));
                        self.hops.work(now, &mut self.ports);
                    }
                    Hop::Unreachable => self.hops.counts.unreachable += 1,
                }
            }
            if !self.engine.outbox().is_empty() {
                self.send_outbox(now);
            }
        }
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

    /// Makes one of the changes that are to be made; whether there was one.
    fn change(&mut self, now: Tick) -> bool {
        let Some((changes, made)) = self.changes.take() else { return false };
        let Some(change) = changes.get(made) else { return false };
        if matches!(change, Change::StopDaemon { role: DaemonRole::Master }) {
            self.teller.set_senders(Vec::new());
        }
        if let Err(errno) = self.engine.begin_change(now, change) {
            log::error!("worker {}: {change:?} was refused: {errno}", self.number);
        }
        self.changes = Some((changes, made + 1));
        true
    }

    fn take(&mut self, now: Tick, message: Message) {
        match message {
            Message::Changes(changes) => self.changes = Some((changes, 0)),
            Message::Told { entries, waiting } => {
                for told in &entries {
                    self.engine.receive_entry(now, &told.entry, &told.recognised(), told.share);
                }
                waiting.fetch_sub(entries.len(), Ordering::AcqRel);
            }
            Message::Senders(senders) => self.teller.set_senders(senders),
            Message::Network { network, served } => self.set_network(network, served),
            Message::Owned { owned, announce } => self.set_owned(owned, announce),
            Message::Neighbours { events, whole } => self.hops.kernel(now, &events, whole),
            Message::Learned { link, learned } => self.hops.learn(now, link, learned),
            Message::Open { link, way, outcome } => {
                // Whoever asked may have stopped waiting.
                let _ = outcome.send(self.open(link, &way));
            }
            Message::Adjust { link, filter, steering, queueing } => {
                self.adjust(link, &filter, steering.as_deref(), queueing);
            }
            Message::CarryTunnels { link, outcome } => {
                let carried = self.ports.carry_tunnels(link);
                if carried.is_ok() {
                    self.engine.carry_tunnels(link);
                }
                let _ = outcome.send(carried);
            }
            Message::Close { link } => self.close(link),
            Message::Ask { question, answer } => {
                let _ = answer.send(self.answer(now, &question));
            }
            Message::Stop => self.stopping = true,
        }
    }

    fn answer(&mut self, now: Tick, question: &Question) -> Finding {
        let mut finding = question::answer(&mut self.engine, now, question);
        if let Finding::Counts(counts) = &mut finding {
            for (name, meaning, count) in self.teller.statistics() {
                counts.others.push(("sync", name.to_owned(), meaning, count));
            }
            for (name, meaning, count) in self.hops.statistics() {
                counts.others.push(("neighbour", name.to_owned(), meaning, count));
            }
            for (name, meaning, count) in self.pace.statistics() {
                counts.others.push(("loop", format!("worker-{} {name}", self.number), meaning, count));
            }
            for (name, meaning, count) in self.firsts.statistics() {
                counts.others.push(("loop", format!("worker-{} {name}", self.number), meaning, count));
            }
            let heard = self.responder.counters();
            counts.others.push(("neighbour", "answers".into(), "ARP and neighbour discovery answered.", heard.answers));
            counts.others.push((
                "neighbour",
                "claims".into(),
                "Frames in which another machine claims an address of ours.",
                heard.claims,
            ));
            for link in self.network.links() {
                let Some(port) = self.ports.counters(link.id) else { continue };
                let mut note = |name: &str, meaning: &'static str, count: u64| {
                    counts.others.push(("port", format!("{} {name}", link.name), meaning, count));
                };
                note("received", "Frames received.", port.received);
                note("sent", "Frames sent.", port.sent);
                note("tunneled", "Super-frames in tunnels that were sent whole.", port.tunneled);
                for reason in crate::port::PortDrop::ALL {
                    note(reason.name(), reason.meaning(), port.dropped(*reason));
                }
            }
        }
        finding
    }

    fn set_network(&mut self, network: Arc<Network>, served: Arc<[LinkId]>) {
        for link in self.network.links() {
            if network.link(link.id).is_none_or(|now| now.mac != link.mac) {
                self.hops.forget_link(link.id);
            }
        }
        self.engine.set_network(network.clone());
        self.hops.set_network(network.clone());
        self.network = network;
        self.served = served;
        self.responder.set(&self.owned, &self.network, &self.served);
    }

    fn set_owned(&mut self, owned: Arc<[Owned]>, announce: bool) {
        self.hops.set_owned(&owned);
        if announce {
            // Those that were owned before were announced then, or still are to be.
            let known = |entry: &Owned| self.owned.binary_search_by_key(&entry.address, |known| known.address).is_ok();
            self.announcing.extend(owned.iter().filter(|entry| !known(entry)).map(|entry| entry.address));
        }
        self.owned = owned;
        self.responder.set(&self.owned, &self.network, &self.served);
    }

    /// Announces some of the addresses that are to be.
    fn announce(&mut self) {
        for _ in 0..ANNOUNCEMENTS {
            let Some(address) = self.announcing.pop_front() else { return };
            let mut links: Vec<LinkId> = self.registered.iter().map(|&(link, _)| link).collect();
            links.dedup();
            for link in links {
                let mut bytes = [0; ANSWER_LENGTH];
                if let Some(length) = self.responder.announce(link, address, &mut bytes) {
                    send_frame(&mut self.ports, link, &bytes[..length]);
                }
            }
        }
    }

    fn open(&mut self, link: LinkId, way: &Way) -> Result<Option<GroupNumbers>, PortError> {
        self.close(link);
        let port = match way {
            Way::Packet(options) => Port::packet(options)?,
            Way::Xdp(options) => Port::xdp(options)?,
            Way::Tun(options) => Port::tun(options)?,
        };
        let group = port.fanout_group();
        self.ports.insert(link, port);
        let descriptors: Vec<RawFd> =
            self.ports.descriptors().filter(|(id, _)| *id == link).map(|(_, descriptor)| descriptor).collect();
        for descriptor in descriptors {
            self.registered.push((link, descriptor));
            if !self.unattended {
                self.attend(link, descriptor);
            }
        }
        // Frames may have come between opening and registering.
        self.mark_ready(link);
        Ok(group)
    }

    fn adjust(&mut self, link: LinkId, filter: &Program, steering: Option<&Program>, queueing: Queueing) {
        let steering = steering.map(Adjustment::FanoutProgram);
        let queueing = Adjustment::Queueing(queueing);
        for adjustment in [Some(Adjustment::Filter(filter)), steering, Some(queueing)].into_iter().flatten() {
            if let Err(error) = self.ports.adjust(link, &adjustment) {
                log::warn!("a port cannot be adjusted: {error}");
            }
        }
    }

    fn close(&mut self, link: LinkId) {
        while let Some(place) = self.registered.iter().position(|(id, _)| *id == link) {
            let (_, descriptor) = self.registered.swap_remove(place);
            // One that is gone, or not attended to, needs no deregistering.
            let _ = self.poll.registry().deregister(&mut SourceFd(&descriptor));
        }
        self.ports.remove(link);
        self.engine.cut_tunnels(link);
        self.ready.retain(|&id| id != link);
    }

    fn mark_ready(&mut self, link: LinkId) {
        if !self.ready.contains(&link) {
            self.ready.push(link);
        }
    }

    /// Says once in a while what is being lost.
    fn complain(&mut self, now: Tick) {
        if now < self.next_complaint {
            return;
        }
        self.next_complaint = now + COMPLAINT_CHECK;
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

    /// How long the loop may sleep.
    fn sleep(&self) -> Duration {
        if !self.is_idle() || !self.announcing.is_empty() {
            return Duration::ZERO;
        }
        let now = Clock::tick(self.ended);
        let longest = if self.engine.connection_table().is_empty() { IDLE_SLEEP } else { BUSY_SLEEP };
        let deadlines = [self.hops.next_deadline(), self.engine.message_deadline()];
        let deadline = deadlines.into_iter().flatten().min().map_or(longest, |deadline| deadline.since(now));
        Duration::from_millis(deadline.clamp(1, longest))
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
