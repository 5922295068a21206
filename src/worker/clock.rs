//! The one place that reads the clock.

use std::time::{Duration, Instant};

use crate::base::Tick;

/// Milliseconds since the director started, for all its threads alike.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[allow(clippy::new_without_default, reason = "starting a clock is an act, not a default")]
    pub fn new() -> Clock {
        #[allow(clippy::disallowed_methods, reason = "this is the clock")]
        Clock { start: Instant::now() }
    }

    #[inline]
    pub fn now(&self) -> Tick {
        Clock::tick(self.elapsed())
    }

    /// What [`Clock::now`] would have said at a moment that [`Clock::elapsed`] gave.
    #[inline]
    pub fn tick(elapsed: Duration) -> Tick {
        Tick(elapsed.as_millis() as u64)
    }

    /// The same, for measuring what takes less than a tick.
    #[inline]
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}
