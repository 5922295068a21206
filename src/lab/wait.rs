//! Waiting for a condition with a deadline: what labs and tests do instead of sleeping.

use std::thread;
use std::time::{Duration, Instant};

use super::error::LabError;

/// How long to leave the processor to others between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// A moment by which something has to have happened.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    began: Instant,
    limit: Duration,
}

impl Deadline {
    /// A deadline `limit` from now.
    // A lab is a front end beside live processes: it has no engine's clock to be told the time by.
    #[expect(clippy::disallowed_methods)]
    pub fn after(limit: Duration) -> Deadline {
        Deadline { began: Instant::now(), limit }
    }

    pub fn after_seconds(seconds: u64) -> Deadline {
        Deadline::after(Duration::from_secs(seconds))
    }

    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    pub fn has_passed(&self) -> bool {
        self.elapsed() >= self.limit
    }

    /// Waits until `condition` gives something; `None` where the deadline passes first.
    pub fn wait_for<T>(&self, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
        loop {
            if let Some(found) = condition() {
                return Some(found);
            }
            if self.has_passed() {
                return None;
            }
            thread::sleep(PAUSE);
        }
    }
}

/// Waits at most `seconds` until `condition` holds.
///
/// # Errors
/// [`LabError::Late`] with `what` where it does not.
pub fn until(seconds: u64, what: &str, mut condition: impl FnMut() -> bool) -> Result<(), LabError> {
    Deadline::after_seconds(seconds)
        .wait_for(|| condition().then_some(()))
        .ok_or_else(|| LabError::Late { what: what.to_owned(), seconds })
}
