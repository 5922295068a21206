//! A table of the kernel's that is to be read: until that succeeds, what was read last holds.
//!
//! The kernel refuses to list what changes all the time, or answers late, while somebody adds thousands of addresses
//! or links. That is no reason to end: it is read at the next look, or the one after.

use std::fmt::Display;

/// One table, or several that are read together.
#[derive(Debug)]
pub struct Reading {
    /// What it is, in a log's words.
    what: &'static str,
    due: bool,
    /// It failed last time.
    failing: bool,
}

impl Reading {
    pub fn new(what: &'static str) -> Reading {
        Reading { what, due: false, failing: false }
    }

    /// Has it read at the next look.
    pub fn demand(&mut self) {
        self.due = true;
    }

    pub fn is_due(&self) -> bool {
        self.due
    }

    /// Takes in how reading it went; what was read, if it could be. Otherwise it stays due, which is said once.
    pub fn take<T, E: Display>(&mut self, outcome: Result<T, E>) -> Option<T> {
        match outcome {
            Ok(read) => {
                if self.failing {
                    log::info!("{} were read again", self.what);
                }
                (self.due, self.failing) = (false, false);
                Some(read)
            }
            Err(error) => {
                if !self.failing {
                    log::warn!("{} cannot be read now, and are as they were last: {error}", self.what);
                }
                (self.due, self.failing) = (true, true);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_read_is_due_until_it_was() {
        let mut links = Reading::new("links");
        assert!(!links.is_due());
        links.demand();
        assert_eq!(links.take(Err::<u8, _>("the kernel is busy")), None);
        assert!(links.is_due());
        assert_eq!(links.take(Err::<u8, _>("still")), None);
        assert!(links.is_due());
        assert_eq!(links.take(Ok::<_, String>(7)), Some(7));
        assert!(!links.is_due());
        // Also what nobody had asked for.
        assert_eq!(links.take(Err::<u8, _>("again")), None);
        assert!(links.is_due());
    }
}
