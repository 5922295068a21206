//! Time as the engine sees it: passed in, never read.

use std::ops::{Add, Sub};

/// Milliseconds since the director started (the replay's clock starts at a transcript's first step).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tick(pub u64);

impl Tick {
    pub const ZERO: Tick = Tick(0);

    pub const fn from_seconds(seconds: u64) -> Tick {
        Tick(seconds * 1000)
    }

    /// Milliseconds from `earlier` to this moment; zero where that is in the future.
    pub fn since(self, earlier: Tick) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u64> for Tick {
    type Output = Tick;

    /// The moment `milliseconds` later.
    fn add(self, milliseconds: u64) -> Tick {
        Tick(self.0.saturating_add(milliseconds))
    }
}

impl Sub for Tick {
    type Output = u64;

    fn sub(self, earlier: Tick) -> u64 {
        self.since(earlier)
    }
}
