//! How a worker waits for frames: woken by the first, or by looking again for itself.
//!
//! ```text
//!             a millisecond with some             with many of one link
//!   asleep ─────────────────────────► lingering ──────────────────────► dense
//!     ▲  wakes up by a descriptor      looks for LINGER, then sleeps     sleeps PAUSE, looks at every ring
//!     └──────── with few, or lingering was in vain ◄──────────────────────┘
//! ```
//!
//! To be woken costs sender and worker some microseconds. Where frames are few this is the shortest way to them.
//! Where they follow each other closely, the next one is there before a worker could fall asleep: it looks for a
//! moment, and lets everybody else have the core in between, so that it takes time from nobody. Where they are
//! many, each would be waited for alone, and that would take longer than all the rest. Then the worker sleeps for
//! a moment instead, and finds a batch. An idle worker takes no time, whatever it did before.
//!
//! What makes traffic dense is the link that brings the most: a flood comes by one. Where about as much goes each
//! way, both ends wait for each other, and a pause would be added to each of their turns.

use std::time::Duration;

use crate::base::LinkId;

/// How long frames are counted for.
const WINDOW: Duration = Duration::from_millis(1);
/// So many frames of a link in a window make traffic dense, and fewer than these end it.
const DENSE: u32 = 160;
const SPARSE: u32 = 80;
/// The same for traffic that is worth lingering for: question and answer by turns, where each waits for a sleeper to
/// be woken on another core, come to eight frames of a link.
const BUSY: u32 = 6;
const QUIET: u32 = 3;
/// How long a worker sleeps when traffic is dense.
const PAUSE: Duration = Duration::from_micros(120);
/// How long it looks for more when traffic is busy: what a core takes that was asleep to be woken, and to answer.
const LINGER: Duration = Duration::from_micros(40);
/// Of so many times that it lingered in a window, half must have been worth it;
const JUDGED: u32 = 8;
/// nor may others keep the core for so long meanwhile, as the scheduler lets those wait who leave it to others,
const CROWDED: Duration = Duration::from_micros(250);
/// unless that comes as seldom as once in so many times;
const CALM: u32 = 1000;
/// else it is not tried again for so many windows.
const SHY: u32 = 64;

/// What to do when there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Sleep until something happens.
    Asleep,
    /// Look for frames for so long, then sleep until something happens.
    Linger(Duration),
    /// Sleep for so long, then look.
    Pause(Duration),
}

/// How one worker waits.
#[derive(Debug, Default)]
pub struct Waiting {
    /// When the window began, as the clock has it.
    start: Duration,
    /// By the number of the link.
    frames: Vec<u32>,
    dense: bool,
    busy: bool,
    /// How often it lingered in this window, and how often that brought a frame.
    lingered: u32,
    worth: u32,
    /// Windows to come in which it does not linger.
    shy: u32,
    /// How often it lingered since others last kept the core.
    calm: u32,
    /// Whether it fell asleep in this window, and whether it did in none of the last one, which it lingered through.
    slept: bool,
    awake: bool,
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

    /// Notes whether lingering brought a frame, and how long it took.
    #[inline]
    pub fn lingered(&mut self, found: bool, passed: Duration) {
        self.lingered += 1;
        self.worth += u32::from(found);
        self.calm = self.calm.saturating_add(1);
        if passed > CROWDED {
            if self.calm < CALM {
                self.shy = SHY;
            }
            self.calm = 0;
        }
    }

    /// Notes that it falls asleep.
    #[inline]
    pub fn falls_asleep(&mut self) {
        self.slept = true;
        self.awake = false;
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
        self.busy = rate >= u128::from(if self.busy { QUIET } else { BUSY });
        self.shy = self.shy.saturating_sub(1);
        if self.lingered >= JUDGED && self.worth < self.lingered / 2 {
            self.shy = SHY;
        }
        self.awake = self.busy && self.lingered >= JUDGED && !self.slept;
        (self.lingered, self.worth, self.slept) = (0, 0, false);
        self.start = now;
        self.frames.fill(0);
        true
    }

    /// How to wait for frames now.
    #[inline]
    pub fn wait(&self) -> Wait {
        if self.dense {
            Wait::Pause(PAUSE)
        } else if self.busy && self.shy == 0 {
            Wait::Linger(LINGER)
        } else {
            Wait::Asleep
        }
    }

    /// Whether descriptors need not be waited for: until it falls asleep, nobody has to wake it.
    pub fn is_awake(&self) -> bool {
        self.dense || self.awake
    }

    /// Whether there are more frames than a few.
    pub fn is_busy(&self) -> bool {
        self.busy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(number: u64) -> Duration {
        Duration::from_micros(number)
    }

    /// Frames of each link at an even rate for a while; how to wait at the end.
    fn run(waiting: &mut Waiting, from: u64, milliseconds: u64, frames_a_millisecond: [u64; 2]) -> Wait {
        for step in 1..=milliseconds * 10 {
            for (link, rate) in (0..).zip(frames_a_millisecond) {
                let upto = |step: u64| step * rate / 10;
                waiting.count(LinkId(link), (upto(step) - upto(step - 1)) as usize);
            }
            waiting.note(micros(from + step * 100));
        }
        waiting.wait()
    }

    #[test]
    fn many_frames_of_a_link_are_dense_and_few_are_not() {
        let mut waiting = Waiting::default();
        assert_eq!(run(&mut waiting, 0, 5, [5, 0]), Wait::Asleep);
        assert_eq!(run(&mut waiting, 5_000, 5, [60, 0]), Wait::Linger(LINGER));
        assert_eq!(run(&mut waiting, 10_000, 5, [130, 130]), Wait::Linger(LINGER), "both ways");
        assert_eq!(run(&mut waiting, 15_000, 2, [10, 400]), Wait::Pause(PAUSE));
        assert!(waiting.is_awake() && waiting.is_busy());
        assert_eq!(run(&mut waiting, 17_000, 5, [0, 100]), Wait::Pause(PAUSE), "down to half as many it stays dense");
        assert_eq!(run(&mut waiting, 22_000, 2, [4, 0]), Wait::Linger(LINGER), "and busy");
        assert_eq!(run(&mut waiting, 24_000, 2, [2, 0]), Wait::Asleep);
    }

    #[test]
    fn after_an_idle_time_the_first_frames_are_few() {
        let mut waiting = Waiting::default();
        waiting.count(LinkId(3), 64);
        waiting.note(micros(10_000_000));
        assert_eq!(waiting.wait(), Wait::Asleep);
        assert_eq!(run(&mut waiting, 10_000_000, 3, [500, 0]), Wait::Pause(PAUSE));
        waiting.count(LinkId(0), 300);
        waiting.note(micros(20_000_000));
        assert_eq!(waiting.wait(), Wait::Asleep);
    }

    #[test]
    fn who_lingers_in_vain_gives_it_up_for_a_while() {
        let mut waiting = Waiting::default();
        assert_eq!(run(&mut waiting, 0, 3, [40, 0]), Wait::Linger(LINGER));
        (0..20).for_each(|turn| waiting.lingered(turn % 2 == 0, LINGER));
        assert_eq!(run(&mut waiting, 3_000, 1, [40, 0]), Wait::Linger(LINGER), "half the time it is worth it");
        (0..20).for_each(|turn| waiting.lingered(turn % 3 == 0, LINGER));
        assert_eq!(run(&mut waiting, 4_000, 1, [40, 0]), Wait::Asleep);
        assert_eq!(run(&mut waiting, 5_000, u64::from(SHY) - 1, [40, 0]), Wait::Asleep);
        assert_eq!(run(&mut waiting, 68_000, 1, [40, 0]), Wait::Linger(LINGER));
        (0..u64::from(JUDGED) - 1).for_each(|_| waiting.lingered(false, LINGER));
        assert_eq!(run(&mut waiting, 69_000, 1, [40, 0]), Wait::Linger(LINGER), "a few times say nothing");
        waiting.lingered(true, CROWDED + micros(1));
        assert_eq!(waiting.wait(), Wait::Asleep, "somebody else needs the core");
    }

    #[test]
    fn nobody_has_to_wake_who_lingered_through_a_window() {
        let mut waiting = Waiting::default();
        assert_eq!(run(&mut waiting, 0, 3, [40, 0]), Wait::Linger(LINGER));
        assert!(!waiting.is_awake(), "it did not linger yet");
        (0..JUDGED).for_each(|_| waiting.lingered(true, LINGER));
        assert!(!waiting.is_awake(), "the window is not over");
        run(&mut waiting, 3_000, 1, [40, 0]);
        assert!(waiting.is_awake());
        waiting.falls_asleep();
        assert!(!waiting.is_awake());
        (0..JUDGED).for_each(|_| waiting.lingered(true, LINGER));
        run(&mut waiting, 4_000, 1, [40, 0]);
        assert!(!waiting.is_awake(), "it slept in this one");
        (0..JUDGED).for_each(|_| waiting.lingered(true, LINGER));
        run(&mut waiting, 5_000, 1, [40, 0]);
        assert!(waiting.is_awake());
        run(&mut waiting, 6_000, 1, [1, 0]);
        assert!(!waiting.is_awake(), "frames are few");
    }

    #[test]
    fn others_may_keep_the_core_once_in_a_while() {
        let mut waiting = Waiting::default();
        assert_eq!(run(&mut waiting, 0, 3, [40, 0]), Wait::Linger(LINGER));
        (0..CALM).for_each(|_| waiting.lingered(true, LINGER));
        waiting.lingered(true, CROWDED + micros(1));
        assert_eq!(waiting.wait(), Wait::Linger(LINGER), "a tick of the clock, a helper of the kernel");
        (2..CALM).for_each(|_| waiting.lingered(true, LINGER));
        waiting.lingered(true, CROWDED + micros(1));
        assert_eq!(waiting.wait(), Wait::Asleep, "so soon again");
    }
}
