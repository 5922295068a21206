//! What a worker does for those who write to its mailbox, in portions between frames.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::unix::SourceFd;

use crate::base::{LinkId, Tick};
use crate::engine::conn::Budget;
use crate::host::responder::{ANSWER_LENGTH, Owned};
use crate::port::{Adjustment, Port};
use crate::table::{Change, DaemonRole, Link, Network};

use super::super::hops::send_frame;
use super::super::mailbox::Message;
use super::super::question::{self, Finding, Question};
use super::{LEAVING, Worker};

/// How long messages are taken in one turn: whoever changes much goes on between frames.
const LISTENING: Duration = Duration::from_micros(100);
/// Addresses that are announced in one turn.
const ANNOUNCEMENTS: usize = 16;

impl Worker {
    /// Takes messages, in order, until there are no more or the time for it is over; whether there was
    /// anything to do.
    pub(super) fn listen(&mut self, now: Tick, began: Duration) -> bool {
        let mut busy = self.announce(now);
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
            Message::Open { link, port } => self.open(link, *port),
            Message::Adjust { link, filter, queueing } => {
                self.adjust(link, &[Adjustment::Filter(&filter), Adjustment::Queueing(queueing)]);
            }
            Message::Steer { link, program } => self.adjust(link, &[Adjustment::FanoutProgram(&program)]),
            Message::Share(steering) => {
                if let Some(sharing) = &mut self.sharing {
                    sharing.set_steering(steering);
                }
            }
            Message::Crowd { service, destination, crowd } => self.engine.join_crowd(&service, &destination, crowd),
            Message::CarryTunnels { link, outcome } => {
                let carried = self.ports.carry_tunnels(link);
                if carried.is_ok() {
                    self.engine.carry_tunnels(link);
                }
                let _ = outcome.send(carried);
            }
            Message::Close { link } => self.close(link),
            Message::Confirm(confirmed) => {
                // Whoever asked may have stopped waiting.
                let _ = confirmed.send(());
            }
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
            for (name, meaning, count) in self.sharing.iter().flat_map(|sharing| sharing.handover.statistics()) {
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
            counts.others.push((
                "neighbour",
                "doubles".into(),
                "Frames from another machine with an Ethernet address of ours.",
                heard.doubles,
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
        let mut moved = Vec::new();
        for link in self.network.links() {
            let now = network.link(link.id);
            if now.is_none_or(|now| now.mac != link.mac) {
                self.hops.forget_link(link.id);
            }
            // Neighbours know what is owned by the address that the link had. Where the virtual MAC comes or goes, it is
            // with all that is owned, which is announced when it is told of, or is not to be any more.
            let is_other = |now: &&Link| {
                now.source_mac() != link.source_mac() && now.virtual_mac.is_some() == link.virtual_mac.is_some()
            };
            moved.extend(now.filter(is_other).map(|now| now.id));
        }
        moved.into_iter().for_each(|link| self.announce_on(link));
        self.engine.set_network(network.clone());
        self.hops.set_network(network.clone());
        self.network = network;
        self.served = served;
        self.responder.set(&self.owned, &self.network, &self.served);
    }

    fn set_owned(&mut self, owned: Arc<[Owned]>, announce: bool) {
        self.hops.set_owned(&owned);
        if announce && self.announces() {
            // Those that were owned before were announced then, or still are to be.
            let known = |entry: &Owned| self.owned.binary_search_by_key(&entry.address, |known| known.address).is_ok();
            owned.iter().filter(|entry| !known(entry)).for_each(|entry| self.announcing.add(entry.address, None));
        }
        self.owned = owned;
        self.responder.set(&self.owned, &self.network, &self.served);
    }

    /// Whether it is this worker that tells neighbours unasked: all of them have ports on every link.
    fn announces(&self) -> bool {
        self.number == 0
    }

    /// Has what is owned announced on a link, to whose neighbours it is news.
    fn announce_on(&mut self, link: LinkId) {
        if self.announces() {
            self.owned.iter().for_each(|entry| self.announcing.add(entry.address, Some(link)));
        }
    }

    /// Announces some of the addresses that are to be; whether there were any.
    fn announce(&mut self, now: Tick) -> bool {
        for number in 0..ANNOUNCEMENTS {
            let Some(next) = self.announcing.next(now) else { return number > 0 };
            let mut links: Vec<LinkId> = self.registered.iter().map(|&(link, _)| link).collect();
            links.dedup();
            links.retain(|&link| next.link.is_none_or(|only| only == link));
            let mut sent = false;
            for link in links {
                let mut bytes = [0; ANSWER_LENGTH];
                if let Some(length) = self.responder.announce(link, next.address, &mut bytes) {
                    send_frame(&mut self.ports, link, &bytes[..length]);
                    sent = true;
                }
            }
            if sent {
                self.announcing.sent(now, next);
            }
        }
        true
    }

    fn open(&mut self, link: LinkId, port: Port) {
        self.close(link);
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
        self.announce_on(link);
    }

    fn adjust(&mut self, link: LinkId, adjustments: &[Adjustment<'_>]) {
        for adjustment in adjustments {
            if let Err(error) = self.ports.adjust(link, adjustment) {
                log::warn!("a port cannot be adjusted: {error}");
            }
        }
    }

    pub(super) fn close(&mut self, link: LinkId) {
        while let Some(place) = self.registered.iter().position(|(id, _)| *id == link) {
            let (_, descriptor) = self.registered.swap_remove(place);
            // One that is gone, or not attended to, needs no deregistering.
            let _ = self.poll.registry().deregister(&mut SourceFd(&descriptor));
        }
        if let Some(port) = self.ports.remove(link) {
            self.closing.close(port);
        }
        self.engine.cut_tunnels(link);
        self.ready.retain(|&id| id != link);
    }
}
