//! How long the loop's turns take: what a frame may have to wait for.
//!
//! ```text
//!       ├──────────── turn ────────────┤
//! wait ─► messages ─► frames ─► timers ─► wait ─► messages ─► frames
//!                             ├────── pause ───────────────┤
//! ```
//!
//! A turn is what a frame waits at the longest to be looked at; a pause is the part of that which
//! is not other frames' doing, but that of changes, questions and expiries. Both are told of the last
//! ten to twenty seconds, so that what is read is what goes on, and a peak can be caught.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Seconds after which what was measured before is the past.
const WINDOW: Duration = Duration::from_secs(10);
/// Significant digits of what is kept.
const DIGITS: u8 = 2;
/// Longest time that is told apart, in microseconds.
const LONGEST: u64 = 60_000_000;

/// When the parts of a turn began, as the clock has it.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    pub began: Duration,
    /// Frames came next.
    pub serving: Duration,
    /// Frames were done.
    pub served: Duration,
    pub ended: Duration,
}

/// What was measured in one window.
#[derive(Clone, Debug)]
struct Window {
    turns: Histogram<u64>,
    pauses: Histogram<u64>,
}

impl Window {
    fn new() -> Option<Window> {
        let histogram = || Histogram::new_with_bounds(1, LONGEST, DIGITS).ok();
        Some(Window { turns: histogram()?, pauses: histogram()? })
    }
}

/// The turns of one worker.
#[derive(Debug)]
pub struct Pace {
    /// This window and the last; nothing if the bounds above were no histogram's.
    windows: Option<[Window; 2]>,
    window_began: Duration,
    /// How long the last turn took after its frames.
    tail: Duration,
}

impl Pace {
    pub fn new() -> Pace {
        let windows = Window::new().zip(Window::new()).map(|(this, last)| [this, last]);
        Pace { windows, window_began: Duration::ZERO, tail: Duration::ZERO }
    }

    /// Takes a turn in.
    pub fn note(&mut self, turn: &Turn) {
        let since = turn.ended.saturating_sub(self.window_began);
        let Some([this, last]) = &mut self.windows else { return };
        if since >= WINDOW {
            std::mem::swap(this, last);
            this.turns.reset();
            this.pauses.reset();
            if since >= 2 * WINDOW {
                last.turns.reset();
                last.pauses.reset();
            }
            self.window_began = turn.ended;
        }
        this.turns.saturating_record(microseconds(turn.ended.saturating_sub(turn.began)));
        this.pauses.saturating_record(microseconds(self.tail + turn.serving.saturating_sub(turn.began)));
        self.tail = turn.ended.saturating_sub(turn.served);
    }

    /// Name, meaning and microseconds.
    pub fn statistics(&self) -> [(&'static str, &'static str, u64); 4] {
        let told = |of: fn(&Window) -> &Histogram<u64>, quantile: f64| {
            let windows = self.windows.iter().flatten();
            windows.map(|window| of(window).value_at_quantile(quantile)).max().unwrap_or_default()
        };
        let [turn_p99, turn] = [0.99, 1.0].map(|quantile| told(|window| &window.turns, quantile));
        let [pause_p99, pause] = [0.99, 1.0].map(|quantile| told(|window| &window.pauses, quantile));
        [
            ("turn-p99", "99 of 100 turns of its loop took at most so many µs, of late.", turn_p99),
            ("turn-longest", "Longest turn, in µs, of the last 10 to 20 s: frames wait no longer.", turn),
            ("pause-p99", "The same of times in which it looked at no frames.", pause_p99),
            ("pause-longest", "Longest time, in µs, that changes and timers kept it from frames.", pause),
        ]
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(LONGEST).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(began: u64, messages: u64, frames: u64, timers: u64) -> Turn {
        let at = |microseconds| Duration::from_micros(microseconds);
        let (serving, served) = (began + messages, began + messages + frames);
        Turn { began: at(began), serving: at(serving), served: at(served), ended: at(served + timers) }
    }

    fn longest(pace: &Pace) -> [u64; 2] {
        let [_, (_, _, turn), _, (_, _, pause)] = pace.statistics();
        [turn, pause]
    }

    #[test]
    fn a_pause_reaches_from_frames_to_frames_and_is_forgotten_in_time() {
        let mut pace = Pace::new();
        pace.note(&turn(1000, 5, 20, 30));
        pace.note(&turn(2000, 10, 50, 1));
        assert_eq!(longest(&pace), [61, 40]);
        let second = 1_000_000;
        pace.note(&turn(12 * second, 1, 1, 1));
        assert_eq!(longest(&pace), [61, 40], "still of the last twenty seconds");
        pace.note(&turn(23 * second, 1, 1, 1));
        assert_eq!(longest(&pace), [3, 2]);
    }
}
