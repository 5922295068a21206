//! The owned addresses that neighbours are told of unasked, and when they are told again.
//!
//! One announcement may be lost, and who missed it goes on sending to whoever had the address before. So each is sent
//! three times, a second apart: as many as RFC 4861 section 7.2.6 allows, and one more than RFC 5227 section 2.3 asks for.

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::base::{LinkId, Tick};

/// How often each is sent, and the milliseconds in between.
const TIMES: u8 = 3;
const INTERVAL: u64 = 1000;

/// An address, and where it is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    pub address: IpAddr,
    /// The only link; every one if `None`.
    pub link: Option<LinkId>,
    /// How often it is still to be sent.
    left: u8,
}

/// What is to be announced.
#[derive(Debug, Default)]
pub struct Announcing {
    /// At once.
    waiting: VecDeque<Announcement>,
    /// Again, in the order of their times.
    again: VecDeque<(Tick, Announcement)>,
}

impl Announcing {
    /// Has an address announced, as soon as possible and then again.
    pub fn add(&mut self, address: IpAddr, link: Option<LinkId>) {
        self.waiting.push_back(Announcement { address, link, left: TIMES });
    }

    /// What is to be announced now. Once it is, [`Announcing::sent`] is told.
    pub fn next(&mut self, now: Tick) -> Option<Announcement> {
        if let Some(one) = self.waiting.pop_front() {
            return Some(one);
        }
        let (_, one) = *self.again.front().filter(|(due, _)| *due <= now)?;
        self.again.pop_front();
        Some(one)
    }

    /// Notes that one was sent. What is not, as the address is not owned any more, is forgotten.
    pub fn sent(&mut self, now: Tick, one: Announcement) {
        let left = one.left.saturating_sub(1);
        if left > 0 {
            self.again.push_back((now + INTERVAL, Announcement { left, ..one }));
        }
    }

    /// Whether some are to be sent at once.
    pub fn is_urgent(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// When the next is due that is sent again.
    pub fn next_deadline(&self) -> Option<Tick> {
        self.again.front().map(|(due, _)| *due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_sent_three_times_a_second_apart() {
        let [one, other] = [1, 2].map(|host| IpAddr::from([10, 0, 0, host]));
        let mut announcing = Announcing::default();
        let send = |announcing: &mut Announcing, now: u64| {
            let mut sent = Vec::new();
            while let Some(next) = announcing.next(Tick(now)) {
                announcing.sent(Tick(now), next);
                sent.push((next.address, next.link));
            }
            sent
        };
        assert_eq!((announcing.is_urgent(), announcing.next_deadline()), (false, None));
        announcing.add(one, None);
        assert!(announcing.is_urgent());
        assert_eq!(send(&mut announcing, 5), [(one, None)]);
        assert_eq!((announcing.is_urgent(), announcing.next_deadline()), (false, Some(Tick(1005))));
        assert_eq!(send(&mut announcing, 1004), []);
        announcing.add(other, Some(LinkId(1)));
        assert_eq!(send(&mut announcing, 1005), [(other, Some(LinkId(1))), (one, None)]);
        assert_eq!(send(&mut announcing, 2005), [(other, Some(LinkId(1))), (one, None)]);
        assert_eq!(send(&mut announcing, 3005), [(other, Some(LinkId(1)))]);
        assert_eq!((send(&mut announcing, 9005), announcing.next_deadline()), (vec![], None));
        // One that is owned no longer is not sent, and so not again.
        announcing.add(one, None);
        assert_eq!(announcing.next(Tick(9005)).map(|next| next.address), Some(one));
        assert_eq!(announcing.next_deadline(), None);
    }
}
