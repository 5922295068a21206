//! What one worker hands over to another: frames that came to it and are of the other's clients, and neighbours that
//! it heard of, for all.
//!
//! ```text
//!   worker that has it ─► copy ─► bounded queue ─► worker whose client it is ─► engine
//!            ▲                                             │
//!            └───────────────── buffer ◄───────────────────┘
//! ```
//!
//! A flow belongs to the worker of its client's address ([`Steering`](crate::port::af_packet::fanout::Steering)).
//! The kernel brings most frames there, but not all of them: a TUN device spreads them over its queues by a rule of
//! its own, and a program that tells requests from replies has room for so many virtual addresses only. Each worker
//! has one queue that the others write to. It is bounded in frames and in bytes; what finds it full is dropped and
//! counted. Some buffers go back to whoever filled them, so that a steady trickle allocates nothing; a burst does.
//!
//! ARP and neighbour discovery come to one worker alone, so what it learns goes into a queue of every other one.
//! It is bounded too: of a neighbour that another worker waits for, the next answer tells it.
//!
//! Whoever puts the first of these into empty queues rings their reader's bell, at the end of a batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use mio::Waker;

use crate::base::LinkId;
use crate::host::neighbour::Learned;
use crate::wire::Frame;

use super::copied::Copied;

/// Frames that wait for one worker at the most, and their bytes.
const MOST: usize = 1024;
const MOST_BYTES: usize = 4 << 20;
/// Buffers that a worker keeps for the next ones, and those that are on the way back to it.
const STOCK: usize = 64;
/// What was learned of neighbours, that waits for one worker at the most.
const MOST_LEARNED: usize = 1024;

/// A frame on its way.
#[derive(Debug)]
pub struct Stray {
    copied: Copied,
    buffer: Vec<u8>,
    /// The worker that it came to.
    from: usize,
    /// What the queue counts it for.
    bytes: usize,
}

impl Stray {
    /// The frame as it came.
    pub fn frame(&mut self) -> Option<Frame<'_>> {
        self.copied.frame(&mut self.buffer)
    }
}

/// What the writers of a queue share with its reader.
#[derive(Debug, Default)]
struct Doorway {
    /// Something was put there, and the reader did not look since.
    pending: AtomicBool,
    bytes: AtomicUsize,
}

/// Another worker, as one that hands something over to it sees it.
#[derive(Clone, Debug)]
struct Peer {
    queue: SyncSender<Stray>,
    buffers: SyncSender<Vec<u8>>,
    learned: SyncSender<(LinkId, Learned)>,
    doorway: Arc<Doorway>,
    bell: Arc<Waker>,
    /// Its bell is to be rung.
    ring: bool,
}

/// One worker's end.
#[derive(Debug)]
pub struct Handover {
    number: usize,
    queue: Receiver<Stray>,
    buffers: Receiver<Vec<u8>>,
    learned: Receiver<(LinkId, Learned)>,
    doorway: Arc<Doorway>,
    /// All workers by their numbers, this one among them.
    peers: Vec<Peer>,
    stock: Vec<Vec<u8>>,
    given: u64,
    taken: u64,
    lost: u64,
    untold: u64,
}

impl Handover {
    /// The ends of workers with these bells, in their order.
    pub fn between(bells: &[Arc<Waker>]) -> Vec<Handover> {
        let (mut peers, mut readers) = (Vec::new(), Vec::new());
        for bell in bells {
            let (queue, frames) = sync_channel(MOST);
            let (buffers, returned) = sync_channel(STOCK);
            let (learned, news) = sync_channel(MOST_LEARNED);
            let doorway = Arc::<Doorway>::default();
            peers.push(Peer { queue, buffers, learned, doorway: doorway.clone(), bell: bell.clone(), ring: false });
            readers.push((frames, returned, news, doorway));
        }
        let ends = readers.into_iter().enumerate().map(|(number, (queue, buffers, learned, doorway))| Handover {
            number,
            queue,
            buffers,
            learned,
            doorway,
            peers: peers.clone(),
            stock: Vec::with_capacity(STOCK),
            given: 0,
            taken: 0,
            lost: 0,
            untold: 0,
        });
        ends.collect()
    }

    /// This worker's number.
    #[inline]
    pub fn number(&self) -> usize {
        self.number
    }

    /// Copies `frame` into the queue of worker `to`, whose bell is rung by [`Handover::ring`]. What cannot be
    /// handed over is dropped and counted.
    pub fn give(&mut self, to: usize, frame: &Frame<'_>) {
        if self.put(to, frame).is_some() {
            self.given += 1;
        } else {
            self.lost += 1;
        }
    }

    fn put(&mut self, to: usize, frame: &Frame<'_>) -> Option<()> {
        let bytes = Copied::needs(frame)?;
        let peer = self.peers.get_mut(to)?;
        if peer.doorway.bytes.load(Ordering::Relaxed) + bytes > MOST_BYTES {
            return None;
        }
        let mut buffer = self.buffers.try_recv().ok().or_else(|| self.stock.pop()).unwrap_or_default();
        if buffer.len() < bytes {
            buffer.resize(bytes, 0);
        }
        let copied = Copied::write(frame, &mut buffer)?;
        peer.doorway.bytes.fetch_add(bytes, Ordering::Relaxed);
        let stray = Stray { copied, buffer, from: self.number, bytes };
        if let Err(error) = peer.queue.try_send(stray) {
            peer.doorway.bytes.fetch_sub(bytes, Ordering::Relaxed);
            let (std::sync::mpsc::TrySendError::Full(stray) | std::sync::mpsc::TrySendError::Disconnected(stray)) =
                error;
            self.keep(stray.buffer);
            return None;
        }
        // Before the reader looks into its queue it takes the mark away: either it sees this frame, or this mark.
        peer.ring |= !peer.doorway.pending.swap(true, Ordering::SeqCst);
        Some(())
    }

    /// Tells every other worker what was learned of a neighbour; bells are rung by [`Handover::ring`]. What finds a
    /// queue full is counted.
    pub fn tell(&mut self, link: LinkId, learned: Learned) {
        for (number, peer) in self.peers.iter_mut().enumerate() {
            if number == self.number {
                continue;
            }
            match peer.learned.try_send((link, learned)) {
                // As with frames: either its reader sees this, or the mark.
                Ok(()) => peer.ring |= !peer.doorway.pending.swap(true, Ordering::SeqCst),
                Err(_) => self.untold += 1,
            }
        }
    }

    /// What another worker learned, oldest first.
    #[inline]
    pub fn hear(&self) -> Option<(LinkId, Learned)> {
        self.learned.try_recv().ok()
    }

    /// Wakes the workers that got something and may be asleep.
    #[inline]
    pub fn ring(&mut self) {
        for peer in self.peers.iter_mut().filter(|peer| peer.ring) {
            peer.ring = false;
            if let Err(error) = peer.bell.wake() {
                log::error!("another worker cannot be woken: {error}");
            }
        }
    }

    /// Whether frames or news may wait for this worker.
    #[inline]
    pub fn is_pending(&self) -> bool {
        self.doorway.pending.load(Ordering::SeqCst)
    }

    /// Says that the reader looks now: who puts something into a queue after this rings again.
    #[inline]
    pub fn look(&self) {
        self.doorway.pending.store(false, Ordering::SeqCst);
    }

    /// The frame that waits longest. Its buffer is to be given back.
    #[inline]
    pub fn take(&mut self) -> Option<Stray> {
        let stray = self.queue.try_recv().ok()?;
        self.doorway.bytes.fetch_sub(stray.bytes, Ordering::Relaxed);
        self.taken += 1;
        Some(stray)
    }

    /// Gives the buffer of a frame that was handled back to whoever filled it.
    #[inline]
    pub fn give_back(&mut self, stray: Stray) {
        if let Some(peer) = self.peers.get(stray.from) {
            // One that has enough of them needs none.
            let _ = peer.buffers.try_send(stray.buffer);
        }
    }

    fn keep(&mut self, buffer: Vec<u8>) {
        if self.stock.len() < STOCK {
            self.stock.push(buffer);
        }
    }

    /// Frames that were dropped instead of handed over.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// What is told of it: name, meaning, count.
    pub fn statistics(&self) -> [(&'static str, &'static str, u64); 4] {
        [
            ("handed-over", "Frames of another worker's clients, handed over to it.", self.given),
            ("taken-over", "Frames that other workers handed over to this one.", self.taken),
            ("handover-lost", "Frames dropped, as too many waited for their worker already.", self.lost),
            ("neighbours-untold", "Neighbours heard of, that another worker had no room to be told of.", self.untold),
        ]
    }
}

#[cfg(test)]
mod tests {
    use mio::{Events, Poll, Token};

    use std::time::Duration;

    use super::*;
    use crate::base::LinkId;
    use crate::wire::Offload;

    /// Two workers' ends, with the polls that their bells wake.
    fn two() -> ([Handover; 2], [Poll; 2]) {
        let polls: [Poll; 2] = std::array::from_fn(|_| Poll::new().unwrap());
        let bells: Vec<_> = polls.iter().map(|poll| Arc::new(Waker::new(poll.registry(), Token(0)).unwrap())).collect();
        (Handover::between(&bells).try_into().unwrap(), polls)
    }

    fn give(from: &mut Handover, to: usize, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        let end = bytes.len();
        from.give(to, &Frame::bare(&mut bytes, 0, end, LinkId(7), Offload::NONE).unwrap());
    }

    fn rung(poll: &mut Poll) -> bool {
        let mut events = Events::with_capacity(4);
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        !events.is_empty()
    }

    #[test]
    fn frames_arrive_in_order_and_the_first_one_rings() {
        let ([mut one, mut other], [_, mut poll]) = two();
        assert_eq!((one.number(), other.number()), (0, 1));
        for round in 0..3u8 {
            for number in 0..100 {
                give(&mut one, 1, &[round, number, 9]);
            }
            assert!(!rung(&mut poll), "not before the batch has ended");
            one.ring();
            assert!(rung(&mut poll) && other.is_pending() && !one.is_pending());
            other.look();
            for number in 0..100 {
                let mut stray = other.take().unwrap();
                let frame = stray.frame().unwrap();
                assert_eq!((frame.packet(), frame.link), (&[round, number, 9][..], LinkId(7)));
                other.give_back(stray);
            }
            assert!(other.take().is_none() && !other.is_pending());
        }
        assert_eq!(one.statistics().map(|(_, _, count)| count), [300, 0, 0, 0]);
        assert_eq!(other.statistics().map(|(_, _, count)| count), [0, 300, 0, 0]);
    }

    #[test]
    fn one_ring_is_enough_until_the_reader_looks() {
        let ([mut one, other], [_, mut poll]) = two();
        for _ in 0..2 {
            give(&mut one, 1, b"a");
            one.ring();
            assert!(rung(&mut poll));
            give(&mut one, 1, b"b");
            one.ring();
            assert!(!rung(&mut poll));
            other.look();
        }
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let ([mut one, mut other], _) = two();
        (0..MOST + 5).for_each(|_| give(&mut one, 1, b"abc"));
        assert_eq!(one.lost(), 5);
        assert_eq!(std::iter::from_fn(|| other.take()).count(), MOST);
        give(&mut one, 1, b"abc");
        assert_eq!((one.lost(), other.take().is_some()), (5, true));
        // By bytes.
        let long = vec![0; 65_000];
        let fit = MOST_BYTES / (65_000 + crate::wire::frame::HEADROOM);
        (0..=fit).for_each(|_| give(&mut one, 1, &long));
        assert_eq!(one.lost(), 6);
        assert_eq!(std::iter::from_fn(|| other.take()).count(), fit);
        // There is no such worker.
        give(&mut one, 2, b"abc");
        assert_eq!(one.lost(), 7);
    }

    #[test]
    fn what_was_learned_reaches_every_other_worker_at_once() {
        use crate::base::Mac;
        use crate::host::neighbour::Evidence;
        let ([mut one, mut other], [mut own, mut poll]) = two();
        let about = |host: u8| Learned {
            address: [10, 0, 0, host].into(),
            mac: Mac([2, 0, 0, 0, 0, host]),
            evidence: Evidence::Answer,
        };
        for _ in 0..2 {
            (1..4).for_each(|host| one.tell(LinkId(7), about(host)));
            assert!(!rung(&mut poll), "not before the batch has ended");
            one.ring();
            assert!(rung(&mut poll) && !rung(&mut own) && other.is_pending());
            other.look();
            let heard: Vec<_> = std::iter::from_fn(|| other.hear()).collect();
            assert_eq!(heard, [1, 2, 3].map(|host| (LinkId(7), about(host))));
            assert_eq!(one.hear(), None);
        }
        // A flood of it takes no memory.
        (0..MOST_LEARNED + 5).for_each(|_| one.tell(LinkId(7), about(1)));
        assert_eq!(one.statistics()[3].2, 5);
        assert_eq!(std::iter::from_fn(|| other.hear()).count(), MOST_LEARNED);
        other.tell(LinkId(7), about(9));
        assert_eq!(one.hear(), Some((LinkId(7), about(9))));
    }

    #[test]
    fn buffers_are_used_again() {
        let ([mut one, mut other], _) = two();
        give(&mut one, 1, &[1; 3000]);
        let stray = other.take().unwrap();
        let place = stray.buffer.as_ptr();
        other.give_back(stray);
        give(&mut one, 1, &[2; 100]);
        let mut stray = other.take().unwrap();
        assert_eq!((stray.buffer.as_ptr(), stray.frame().unwrap().packet()), (place, &[2; 100][..]));
    }

    #[test]
    fn one_that_ended_takes_nothing_and_nothing_breaks() {
        let ([mut one, other], _) = two();
        drop(other);
        // Its end is gone, but its peers' ends of it are not: frames wait for nobody.
        give(&mut one, 1, b"abc");
        one.ring();
        assert_eq!(one.statistics().map(|(_, _, count)| count)[2], 1);
    }
}
