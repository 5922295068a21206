//! How a worker waits for frames: woken by the first, or by looking again after a moment.
//!
//! ```text
//!              a millisecond with many frames of one link
//!   woken ─────────────────────────────────────► dense: sleeps PAUSE, looks at every ring
//!     ▲                                             │
//!     └──────── a millisecond with few ─────────────┘
//! ```
//!
//! What counts is the link that brings the most: a flood comes by one. Where about as much goes each way,
//! both ends wait for each other, and a pause would be added to each of their turns.
//!
//! To be woken costs sender and worker some microseconds. Where frames are few this is the
//! shortest way to them; where they are many, each would be waited for alone, and that would take
//! longer than all the rest. Then the worker sleeps for a moment instead, and finds a batch. It
//! never spins: an idle worker takes no time, whatever it did before.

use std::time::Duration;

use crate::base::LinkId;

/// How long frames are counted for.
const WINDOW: Duration = Duration::from_millis(1);
/// So many frames of a link in a window make traffic dense, and fewer than these end it.
const DENSE: u32 = 160;
const SPARSE: u32 = 80;
/// How long a worker sleeps when traffic is dense.
const PAUSE: Duration = Duration::from_micros(120);

/// How one worker waits.
#[derive(Debug, Default)]
pub struct Waiting {
    /// When the window began, as the clock has it.
    start: Duration,
    /// By the number of the link.
    frames: Vec<u32>,
    dense: bool,
}

impl Waiting {
    /// Counts frames that were handled.
    #[inline]
    pub fn count(&mut self, link: LinkId, frames: usize) {
        if link.index() >= self.frames.len() {
            self.frames.resize(link.index() + 1, 0);
        }
        self.frames[link.index()] += u32::try_from(frames).unwrap_or(u32::MAX);
    }

    /// Notes that a turn ended at `now`; whether a window ended with it.
    #[inline]
    pub fn note(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.start);
        if passed < WINDOW {
            return false;
        }
        // A window that a sleep made longer counts for what it would have had.
        let most = self.frames.iter().copied().max().unwrap_or(0);
        let rate = u128::from(most) * WINDOW.as_nanos() / passed.as_nanos();
        self.dense = rate >= u128::from(if self.dense { SPARSE } else { DENSE });
        self.start = now;
        self.frames.fill(0);
        true
    }

    /// How long to sleep before looking for frames without being woken; `None` where being woken is
    /// better.
    #[inline]
    pub fn pause(&self) -> Option<Duration> {
        self.dense.then_some(PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(number: u64) -> Duration {
        Duration::from_micros(number)
    }

    /// Frames of each link at an even rate for a while; whether traffic is dense at the end.
    fn run(waiting: &mut Waiting, from: u64, milliseconds: u64, frames_a_millisecond: [u64; 2]) -> bool {
        for step in 1..=milliseconds * 10 {
            for (link, rate) in (0..).zip(frames_a_millisecond) {
                let upto = |step: u64| step * rate / 10;
                waiting.count(LinkId(link), (upto(step) - upto(step - 1)) as usize);
            }
            waiting.note(micros(from + step * 100));
        }
        waiting.pause().is_some()
    }

    #[test]
    fn many_frames_of_a_link_are_dense_and_few_are_not() {
        let mut waiting = Waiting::default();
        assert!(!run(&mut waiting, 0, 5, [60, 0]));
        assert!(!run(&mut waiting, 5_000, 5, [130, 130]), "both ways");
        assert!(run(&mut waiting, 10_000, 2, [10, 400]));
        assert!(run(&mut waiting, 12_000, 5, [0, 100]), "what is dense stays so down to half as many");
        assert!(!run(&mut waiting, 17_000, 2, [30, 0]));
    }

    #[test]
    fn after_an_idle_time_the_first_frames_are_not_dense() {
        let mut waiting = Waiting::default();
        waiting.count(LinkId(3), 64);
        waiting.note(micros(10_000_000));
        assert_eq!(waiting.pause(), None);
        assert!(run(&mut waiting, 10_000_000, 3, [500, 0]));
        waiting.count(LinkId(0), 300);
        waiting.note(micros(20_000_000));
        assert_eq!(waiting.pause(), None);
    }
}
