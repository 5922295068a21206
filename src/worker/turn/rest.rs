//! How a worker rests between turns: asleep, lingering, or for a pause ([`super::super::waiting`]).

use std::io;
use std::os::fd::RawFd;
use std::thread;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Token};

use crate::base::LinkId;

use super::super::clock::Clock;
use super::{BATCH, BELL, Worker};

/// Longest sleep while connections must be ended on time, and otherwise.
const BUSY_SLEEP: u64 = 100;
const IDLE_SLEEP: u64 = 1000;
/// Milliseconds between two looks for errors of links that nobody waits for.
const EXAMINATION: u64 = 250;

impl Worker {
    /// Sleeps until something happens, and notes which links have frames.
    pub(super) fn wait(&mut self, events: &mut Events, longest: Duration) -> io::Result<()> {
        self.waiting.falls_asleep();
        // A frame that is there already is told of at once.
        self.set_unattended(false);
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
    pub(super) fn linger(&mut self, linger: Duration) -> bool {
        let until = self.ended + linger;
        let mut now = self.ended;
        let found = loop {
            let mut links = self.registered.iter().map(|&(link, _)| link);
            if let Some(link) = links.find(|&link| self.ports.ready(link, BATCH) > 0) {
                break Some(link);
            }
            if now > until || self.has_strays() {
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
        let found = found.is_some() || self.has_strays();
        self.waiting.lingered(found, now.saturating_sub(self.ended));
        found
    }

    /// Whether other workers may have handed frames over.
    fn has_strays(&self) -> bool {
        self.sharing.as_ref().is_some_and(|sharing| sharing.handover.is_pending())
    }

    /// Whether nothing is left to do that is known of.
    pub(super) fn is_idle(&self) -> bool {
        let finished = !self.more_due && !self.more_told && !self.more_strays;
        finished && self.ready.is_empty() && self.firsts.is_empty()
    }

    /// At the end of a window: descriptors are waited for, or not, as the pace asks. While they are
    /// not, a frame that arrives has nobody to wake, which its sender would pay for.
    pub(super) fn change_pace(&mut self) {
        self.ports.set_busy(self.waiting.is_busy());
        let awake = self.waiting.is_awake();
        if awake && self.unattended && self.clock.now() >= self.next_examination {
            // Nobody hears of errors meanwhile.
            self.next_examination = self.clock.now() + EXAMINATION;
            for place in 0..self.registered.len() {
                self.ports.examine(self.registered[place].0);
            }
        }
        self.set_unattended(awake);
    }

    /// Has descriptors waited for, or not.
    fn set_unattended(&mut self, unattended: bool) {
        if unattended == self.unattended {
            return;
        }
        self.unattended = unattended;
        for place in 0..self.registered.len() {
            let (link, descriptor) = self.registered[place];
            if unattended {
                // A descriptor that is gone needs no deregistering.
                let _ = self.poll.registry().deregister(&mut SourceFd(&descriptor));
            } else {
                self.attend(link, descriptor);
                self.mark_ready(link);
            }
        }
    }

    /// Has the poll tell of a descriptor.
    pub(super) fn attend(&self, link: LinkId, descriptor: RawFd) {
        let token = Token(link.index());
        if let Err(error) = self.poll.registry().register(&mut SourceFd(&descriptor), token, Interest::READABLE) {
            log::error!("link {}: cannot be waited for: {error}", link.0);
        }
    }

    /// Sleeps for a moment in which every link may get frames.
    pub(super) fn pause(&mut self, pause: Duration) {
        thread::sleep(pause);
        self.mark_all_ready();
    }

    pub(super) fn mark_all_ready(&mut self) {
        for place in 0..self.registered.len() {
            self.mark_ready(self.registered[place].0);
        }
    }

    pub(super) fn mark_ready(&mut self, link: LinkId) {
        if !self.ready.contains(&link) {
            self.ready.push(link);
        }
    }

    /// How long the loop may sleep.
    pub(super) fn sleep(&self) -> Duration {
        if !self.is_idle() || self.announcing.is_urgent() {
            return Duration::ZERO;
        }
        let now = Clock::tick(self.ended);
        let longest = if self.engine.connection_table().is_empty() { IDLE_SLEEP } else { BUSY_SLEEP };
        let deadlines = [self.hops.next_deadline(), self.engine.message_deadline(), self.announcing.next_deadline()];
        let deadline = deadlines.into_iter().flatten().min().map_or(longest, |deadline| deadline.since(now));
        Duration::from_millis(deadline.clamp(1, longest))
    }
}
