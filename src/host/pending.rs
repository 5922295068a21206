//! Frames that wait until the link-layer address of their next hop is known.
//!
//! Bounded twice, per next hop and in total; what does not fit pushes out the oldest, which is
//! counted: under pressure new frames are worth more, their senders still wait for them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;

use crate::base::LinkId;

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingLimits {
    /// Frames for one next hop.
    pub frames_per_hop: usize,
    /// Bytes in all.
    pub bytes: usize,
}

impl Default for PendingLimits {
    /// 64 frames a hop, and 4 MiB in all: 64 of the largest.
    fn default() -> PendingLimits {
        PendingLimits { frames_per_hop: 64, bytes: 4 << 20 }
    }
}

/// A frame that waited, with what its port needs besides the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held<M> {
    pub bytes: Vec<u8>,
    pub metadata: M,
}

type Key = (LinkId, IpAddr);

/// The waiting frames of one worker.
#[derive(Debug)]
pub struct Pending<M> {
    limits: PendingLimits,
    /// By arrival: the first is the oldest.
    frames: BTreeMap<u64, (Key, Held<M>)>,
    /// The arrivals for each next hop, oldest first.
    by_hop: HashMap<Key, VecDeque<u64>>,
    arrivals: u64,
    bytes: usize,
    dropped: u64,
}

impl<M> Pending<M> {
    pub fn new(limits: PendingLimits) -> Pending<M> {
        Pending { limits, frames: BTreeMap::new(), by_hop: HashMap::new(), arrivals: 0, bytes: 0, dropped: 0 }
    }

    /// Copies a frame to wait for `address` on `link`.
    pub fn hold(&mut self, link: LinkId, address: IpAddr, bytes: &[u8], metadata: M) {
        if bytes.len() > self.limits.bytes || self.limits.frames_per_hop == 0 {
            self.dropped += 1;
            return;
        }
        let key = (link, address);
        while self.by_hop.get(&key).is_some_and(|queue| queue.len() >= self.limits.frames_per_hop) {
            let oldest = self.by_hop.get(&key).and_then(|queue| queue.front().copied());
            self.push_out(oldest);
        }
        while self.bytes + bytes.len() > self.limits.bytes {
            let oldest = self.frames.keys().next().copied();
            self.push_out(oldest);
        }
        self.arrivals += 1;
        self.bytes += bytes.len();
        self.frames.insert(self.arrivals, (key, Held { bytes: bytes.to_vec(), metadata }));
        self.by_hop.entry(key).or_default().push_back(self.arrivals);
    }

    /// Takes out what waits for `address` on `link`, oldest first.
    pub fn release(&mut self, link: LinkId, address: IpAddr) -> Vec<Held<M>> {
        let queue = self.by_hop.remove(&(link, address)).unwrap_or_default();
        let released: Vec<Held<M>> =
            queue.into_iter().filter_map(|arrival| self.frames.remove(&arrival)).map(|(_, held)| held).collect();
        self.bytes -= released.iter().map(|held| held.bytes.len()).sum::<usize>();
        released
    }

    /// Frames that wait now.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Frames that were pushed out since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn push_out(&mut self, arrival: Option<u64>) {
        let Some((key, held)) = arrival.and_then(|arrival| self.frames.remove(&arrival)) else {
            return;
        };
        self.bytes -= held.bytes.len();
        self.dropped += 1;
        if let Some(queue) = self.by_hop.get_mut(&key) {
            // A hop's frames leave in the order they came, so the oldest of all is its first.
            queue.pop_front();
            if queue.is_empty() {
                self.by_hop.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: LinkId = LinkId(1);

    fn hop(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn marks(held: Vec<Held<u8>>) -> Vec<u8> {
        held.into_iter().map(|held| held.metadata).collect()
    }

    #[test]
    fn frames_come_out_in_the_order_they_went_in() {
        let mut pending = Pending::new(PendingLimits::default());
        for mark in 1..=6 {
            pending.hold(LINK, hop(mark % 2), &[mark; 10], mark);
        }
        let held = pending.release(LINK, hop(1));
        assert_eq!(held[0].bytes, [1; 10]);
        assert_eq!(marks(held), [1, 3, 5]);
        assert_eq!(marks(pending.release(LinkId(2), hop(0))), [0; 0]);
        assert_eq!(marks(pending.release(LINK, hop(0))), [2, 4, 6]);
        assert!(pending.is_empty());
        assert_eq!(pending.dropped(), 0);
    }

    #[test]
    fn the_oldest_goes_when_a_hop_or_the_whole_is_full() {
        let mut pending = Pending::new(PendingLimits { frames_per_hop: 2, bytes: 40 });
        for mark in 1..=3 {
            pending.hold(LINK, hop(1), &[0; 10], mark);
        }
        assert_eq!((pending.len(), pending.dropped()), (2, 1));
        pending.hold(LINK, hop(2), &[0; 10], 4);
        pending.hold(LINK, hop(2), &[0; 20], 5);
        assert_eq!((pending.len(), pending.dropped()), (3, 2));
        pending.hold(LINK, hop(3), &[0; 41], 6);
        assert_eq!((pending.len(), pending.dropped()), (3, 3));
        assert_eq!(marks(pending.release(LINK, hop(1))), [3]);
        assert_eq!(marks(pending.release(LINK, hop(2))), [4, 5]);
        pending.hold(LINK, hop(2), &[0; 40], 7);
        assert_eq!(marks(pending.release(LINK, hop(2))), [7]);
        assert_eq!((pending.len(), pending.dropped()), (0, 3));
    }
}
