//! The one place that reads the clock.

use std::time::Instant;

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

    /// Microseconds since the start, for what is measured and not compared with timers.
    #[inline]
    pub fn micros(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    #[inline]
    pub fn now(&self) -> Tick {
        Tick(self.start.elapsed().as_millis() as u64)
    }
}
