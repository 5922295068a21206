//! How a worker waits for frames: woken by the first, or by looking again after a moment.
//!
//! ```text
//!              a millisecond with many frames
//!   woken ─────────────────────────────────────► dense: sleeps PAUSE, looks at every ring
//!     ▲                                             │
//!     └──────── a millisecond with few ─────────────┘
//! ```
//!
//! To be woken costs sender and worker some microseconds. Where frames are few this is the
//! shortest way to them; where they are many, each would be waited for alone, and that would take
//! longer than all the rest. Then the worker sleeps for a moment instead, and finds a batch. It
//! never spins: an idle worker takes no time, whatever it did before.

use std::time::Duration;

/// How long frames are counted for.
const WINDOW: Duration = Duration::from_millis(1);
/// So many frames in a window make traffic dense, and fewer than these end it.
const DENSE: u32 = 128;
const SPARSE: u32 = 64;
/// How long a worker sleeps when traffic is dense.
const PAUSE: Duration = Duration::from_micros(120);

/// How one worker waits.
#[derive(Debug, Default)]
pub struct Waiting {
    /// When the window began, as the clock has it.
    start: Duration,
    frames: u32,
    dense: bool,
}

impl Waiting {
    /// Notes that a turn that ended at `now` handled so many frames; whether a window
    /// ended with it.
    #[inline]
    pub fn note(&mut self, now: Duration, frames: usize) -> bool {
        self.frames = self.frames.saturating_add(u32::try_from(frames).unwrap_or(u32::MAX));
        let passed = now.saturating_sub(self.start);
        if passed < WINDOW {
            return false;
        }
        // A window that a sleep made longer counts for what it would have had.
        let rate = u128::from(self.frames) * WINDOW.as_nanos() / passed.as_nanos();
        self.dense = rate >= u128::from(if self.dense { SPARSE } else { DENSE });
        self.start = now;
        self.frames = 0;
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

    /// Frames at an even rate for a while; whether traffic is dense at the end.
    fn run(waiting: &mut Waiting, from: u64, milliseconds: u64, frames_a_millisecond: u64) -> bool {
        for step in 1..=milliseconds * 10 {
            let upto = |step: u64| step * frames_a_millisecond / 10;
            waiting.note(micros(from + step * 100), (upto(step) - upto(step - 1)) as usize);
        }
        waiting.pause().is_some()
    }

    #[test]
    fn many_frames_are_dense_and_few_are_not() {
        let mut waiting = Waiting::default();
        assert!(!run(&mut waiting, 0, 5, 60));
        assert!(run(&mut waiting, 5_000, 2, 400));
        assert!(run(&mut waiting, 7_000, 5, 80), "what is dense stays so down to half as many");
        assert!(!run(&mut waiting, 12_000, 2, 30));
    }

    #[test]
    fn after_an_idle_time_the_first_frames_are_not_dense() {
        let mut waiting = Waiting::default();
        waiting.note(micros(10_000_000), 64);
        assert_eq!(waiting.pause(), None);
        assert!(run(&mut waiting, 10_000_000, 3, 500));
        waiting.note(micros(20_000_000), 300);
        assert_eq!(waiting.pause(), None);
    }
}
