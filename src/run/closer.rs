//! The thread that closes the ports that workers are done with ([`crate::worker::closing`]).

use std::io;
use std::sync::mpsc::{self, Receiver, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::worker::closing::{Errand, Errands, WAITING};

/// How long a port may take to be closed, with those before it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The thread, and the way to it.
#[derive(Debug)]
pub struct Closer {
    errands: Errands,
    thread: JoinHandle<()>,
}

impl Closer {
    /// Starts it.
    ///
    /// # Errors
    /// There can be no thread more.
    pub fn start() -> io::Result<Closer> {
        let (errands, receiver) = sync_channel(WAITING);
        let thread = thread::Builder::new().name("ulvs-closer".into()).spawn(move || work(&receiver))?;
        Ok(Closer { errands, thread })
    }

    /// Where ports are handed over.
    pub fn errands(&self) -> Errands {
        self.errands.clone()
    }

    /// Waits until the ports are closed that were handed over so far.
    pub fn confirm(&self) {
        let (sender, confirmed) = mpsc::channel();
        if self.errands.send(Errand::Confirm(sender)).is_ok() && confirmed.recv_timeout(PATIENCE).is_err() {
            log::error!("ports are not closed");
        }
    }

    /// Waits until all ports are closed, after everybody else who hands some over has ended.
    pub fn stop(self) {
        drop(self.errands);
        if self.thread.join().is_err() {
            log::error!("the thread that closes ports broke down");
        }
    }
}

fn work(errands: &Receiver<Errand>) {
    while let Ok(errand) = errands.recv() {
        match errand {
            Errand::Close(port) => drop(port),
            // Whoever asked may have stopped waiting.
            Errand::Confirm(confirmed) => drop(confirmed.send(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::memory::{WireKind, wire};
    use crate::worker::closing::Closing;

    #[test]
    fn what_was_handed_over_is_closed_when_that_is_confirmed() {
        let closer = Closer::start().unwrap();
        let closing = Closing::new(closer.errands());
        let hand_over = || {
            let (port, far) = wire(WireKind::Bare).unwrap();
            closing.close(port);
            far
        };
        for count in [0, 1, 2 * WAITING] {
            let wires: Vec<_> = (0..count).map(|_| hand_over()).collect();
            closer.confirm();
            assert!(wires.iter().all(|far| !far.is_open()));
        }
        let last = hand_over();
        drop(closing);
        closer.stop();
        assert!(!last.is_open());
    }
}
