//! Ports that a worker is done with, on their way to whoever closes them.
//!
//! ```text
//! worker ── Ports::remove ─► Closing ── Errands ─► a thread that handles no frames (run/closer): close(2)
//! ```
//!
//! Who closes a packet socket, or its ring, waits until no processor can be at work with it any more: tens of
//! milliseconds for a port, in which a worker would look at no frame of its other links.

use std::sync::mpsc::{Sender, SyncSender};

use crate::port::Port;

/// Errands that may wait for whoever closes ports. Each port keeps its rings' memory until then.
pub const WAITING: usize = 64;

/// What is asked of whoever closes ports, in order.
#[derive(Debug)]
pub enum Errand {
    Close(Box<Port>),
    /// Say when everything that was handed over before is closed.
    Confirm(Sender<()>),
}

/// Where ports are handed over.
pub type Errands = SyncSender<Errand>;

/// A worker's way to get rid of ports.
#[derive(Debug, Default)]
pub struct Closing {
    closer: Option<Errands>,
}

impl Closing {
    pub fn new(closer: Errands) -> Closing {
        Closing { closer: Some(closer) }
    }

    /// Has a port closed elsewhere; where nobody takes it, it is closed here and now.
    pub fn close(&self, port: Port) {
        if let Some(closer) = &self.closer {
            // One that is not taken comes back in the error, and is closed with it.
            drop(closer.try_send(Errand::Close(Box::new(port))));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::port::memory::{Far, WireKind, wire};

    fn close(closing: &Closing) -> Far {
        let (port, far) = wire(WireKind::Bare).unwrap();
        assert!(far.is_open());
        closing.close(port);
        far
    }

    #[test]
    fn ports_are_closed_by_who_takes_them_or_in_place() {
        let (sender, errands) = sync_channel(1);
        let closing = Closing::new(sender);
        let taken = close(&closing);
        let beyond = close(&closing);
        assert!(taken.is_open() && !beyond.is_open(), "there is room for one");
        drop(errands.recv());
        assert!(!taken.is_open());
        let waiting = close(&closing);
        drop(errands);
        assert!(!waiting.is_open(), "what waits is closed with who was to close it");
        assert!(!close(&closing).is_open(), "nobody is there to take it");
        assert!(!close(&Closing::default()).is_open());
    }
}
