//! A backup daemon's thread: messages from its sockets, entries to the workers that have their clients.
//!
//! ```text
//! socket of each port ─► message: length, sync id ─► entry ─┬─► mailbox of the client's worker
//!                                                           └─► a template: every worker's
//! ```

use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::engine::sync::{Ignored, Share};
use crate::port::af_packet::fanout::FlowHash;
use crate::sync::Receiver;
use crate::table::DaemonConfig;
use crate::worker::{Mailbox, Message, Told};

const BELL: Token = Token(usize::MAX);
/// Entries that may wait for one worker; what comes beyond is lost, and counted.
const MOST_WAITING: usize = 1 << 16;
/// Entries that a worker gets at a time: it looks at its frames in between.
const PORTION: usize = 256;
/// Messages of one socket that are taken before the next one's turn.
const BATCH: usize = 64;

/// What a listener counted.
#[derive(Debug, Default)]
pub struct ListenerCounts {
    pub messages: AtomicU64,
    ignored: [AtomicU64; Ignored::ALL.len()],
    /// Entries that a worker had no time for.
    pub overrun: AtomicU64,
    /// Errors of the sockets.
    pub failed: AtomicU64,
}

impl ListenerCounts {
    pub fn ignored(&self, reason: Ignored) -> u64 {
        self.ignored[reason as usize].load(Ordering::Relaxed)
    }

    fn ignore(&self, reason: Ignored) {
        self.ignored[reason as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// A worker as the listener reaches it.
struct Worker {
    mailbox: Mailbox,
    waiting: Arc<AtomicUsize>,
    batch: Vec<Told>,
}

/// The thread, as control holds it. Dropping it ends it.
#[derive(Debug)]
pub struct Listener {
    stop: Arc<AtomicBool>,
    bell: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Starts listening.
    ///
    /// # Errors
    /// The event loop or the thread cannot be made.
    pub fn start(
        config: &DaemonConfig,
        receivers: Vec<Receiver>,
        mailboxes: &[Mailbox],
        steering: Arc<Mutex<Option<FlowHash>>>,
        counts: Arc<ListenerCounts>,
    ) -> io::Result<Listener> {
        let poll = Poll::new()?;
        let bell = Arc::new(Waker::new(poll.registry(), BELL)?);
        for (number, receiver) in receivers.iter().enumerate() {
            poll.registry().register(&mut SourceFd(&receiver.as_raw_fd()), Token(number), Interest::READABLE)?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let workers = mailboxes
            .iter()
            .map(|mailbox| Worker { mailbox: mailbox.clone(), waiting: Arc::default(), batch: Vec::new() })
            .collect();
        let ear = Ear {
            sync_id: config.sync_id,
            buffer: vec![0; usize::from(config.maximum_length)],
            receivers,
            workers,
            steering,
            counts,
        };
        let stopping = stop.clone();
        let thread =
            std::thread::Builder::new().name("ulvs-sync".to_owned()).spawn(move || ear.run(poll, &stopping))?;
        Ok(Listener { stop, bell, thread: Some(thread) })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Without the bell the thread would sleep on; it is only ever refused with a full counter.
        let _ = self.bell.wake();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the synchronisation listener broke down");
        }
    }
}

/// What the thread owns.
struct Ear {
    sync_id: u8,
    buffer: Vec<u8>,
    receivers: Vec<Receiver>,
    workers: Vec<Worker>,
    /// How the workers share the clients; nothing for a single one.
    steering: Arc<Mutex<Option<FlowHash>>>,
    counts: Arc<ListenerCounts>,
}

impl Ear {
    fn run(mut self, mut poll: Poll, stop: &AtomicBool) {
        let mut events = Events::with_capacity(64);
        let mut ready: Vec<usize> = Vec::new();
        let mut complained = false;
        while !stop.load(Ordering::Acquire) {
            // Sockets that have more are not waited for.
            let patience = (!ready.is_empty()).then_some(std::time::Duration::ZERO);
            if let Err(error) = poll.poll(&mut events, patience)
                && error.kind() != io::ErrorKind::Interrupted
            {
                log::error!("synchronisation is no longer listened to: {error}");
                return;
            }
            for token in events.iter().map(mio::event::Event::token).filter(|token| *token != BELL) {
                if !ready.contains(&token.0) {
                    ready.push(token.0);
                }
            }
            ready.retain(|&number| match self.listen(number) {
                Ok(more) => more,
                Err(error) => {
                    self.counts.failed.fetch_add(1, Ordering::Relaxed);
                    if !complained {
                        log::warn!("a synchronisation socket fails: {error}");
                        complained = true;
                    }
                    false
                }
            });
            self.hand_over();
        }
    }

    /// Takes messages of one socket, up to a bound; whether there may be more.
    fn listen(&mut self, number: usize) -> io::Result<bool> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let outcome = (0..BATCH).try_fold(true, |_, _| match self.receivers[number].receive(&mut buffer) {
            Ok(Some(length)) => {
                self.hear(&buffer[..length]);
                Ok(true)
            }
            Ok(None) => Err(Ok(false)),
            Err(error) => Err(Err(error)),
        });
        self.buffer = buffer;
        outcome.map_or_else(|end| end, Ok)
    }

    fn hear(&mut self, bytes: &[u8]) {
        let message = match crate::engine::sync::read_message(bytes, self.sync_id) {
            Ok(message) => message,
            Err(reason) => return self.counts.ignore(reason),
        };
        self.counts.messages.fetch_add(1, Ordering::Relaxed);
        let steering = *self.steering.lock().unwrap_or_else(PoisonError::into_inner);
        for read in message.entries() {
            let (entry, recognised) = match read {
                Ok(read) => read,
                Err(fault) => {
                    self.counts.ignore(fault.into());
                    continue;
                }
            };
            let owner = steering.map_or(0, |hash| hash.worker_of(entry.family, entry.client));
            let for_all = crate::engine::sync::is_template(&entry);
            for (number, worker) in self.workers.iter_mut().enumerate() {
                let share = if number == owner { Share::Own } else { Share::Foreign };
                if share == Share::Own || for_all {
                    worker.batch.push(Told::new(entry, &recognised, share));
                }
            }
        }
    }

    /// Gives every worker what was gathered for it.
    fn hand_over(&mut self) {
        for worker in &mut self.workers {
            let lost = worker.hand_over();
            self.counts.overrun.fetch_add(lost as u64, Ordering::Relaxed);
        }
    }
}

impl Worker {
    /// Gives it what was gathered, in portions, as far as it has room; how much it has none for.
    fn hand_over(&mut self) -> usize {
        if self.batch.is_empty() {
            return 0;
        }
        let room = MOST_WAITING.saturating_sub(self.waiting.load(Ordering::Acquire));
        let lost = self.batch.len().saturating_sub(room);
        self.batch.truncate(room);
        if room == 0 {
            return lost;
        }
        self.waiting.fetch_add(self.batch.len(), Ordering::AcqRel);
        let mut gathered = std::mem::take(&mut self.batch).into_iter();
        while gathered.len() > 0 {
            let entries = gathered.by_ref().take(PORTION).collect();
            // A worker that has ended ends the director; nobody is left to be told.
            let _ = self.mailbox.put(Message::Told { entries, waiting: self.waiting.clone() });
        }
        let _ = self.mailbox.ring();
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_comes_in_portions_and_only_what_has_no_room_is_lost() {
        let poll = Poll::new().unwrap();
        let (mailbox, inbox) = Mailbox::new(Arc::new(Waker::new(poll.registry(), BELL).unwrap()));
        let mut worker = Worker { mailbox, waiting: Arc::default(), batch: Vec::new() };
        let portions = || {
            let messages = inbox.try_iter().map(|message| match message {
                Message::Told { entries, .. } => entries.len(),
                other => panic!("{other:?}"),
            });
            messages.collect::<Vec<_>>()
        };
        assert_eq!((worker.hand_over(), portions()), (0, vec![]));
        worker.batch = vec![Told::of_some_connection(); 2 * PORTION + 1];
        assert_eq!((worker.hand_over(), portions()), (0, vec![PORTION, PORTION, 1]));
        assert_eq!(worker.waiting.load(Ordering::Acquire), 2 * PORTION + 1);
        // More at once than may wait at all, also for a worker that has nothing to do.
        worker.waiting.store(0, Ordering::Release);
        worker.batch = vec![Told::of_some_connection(); MOST_WAITING + 7];
        assert_eq!((worker.hand_over(), portions()), (7, vec![PORTION; MOST_WAITING / PORTION]));
        worker.batch = vec![Told::of_some_connection(); 3];
        assert_eq!((worker.hand_over(), portions()), (3, vec![]));
    }
}
