//! Sending the messages of connection synchronisation that the engine made.

use std::io;

use crate::base::Tick;
use crate::engine::Engine;
use crate::sync::Sender;

/// Messages that are sent in one turn of the loop.
const BATCH: usize = 64;

/// The sockets of a master daemon, and what they did.
#[derive(Debug, Default)]
pub struct Teller {
    /// One a port; none while no master runs.
    senders: Vec<Sender>,
    /// Messages that the network did not take.
    failed: u64,
    /// How often a message had to wait for room in the socket.
    waited: u64,
}

impl Teller {
    pub fn set_senders(&mut self, senders: Vec<Sender>) {
        self.senders = senders;
    }

    /// Sends what is due, up to a bound.
    pub fn work(&mut self, now: Tick, engine: &mut Engine) {
        for _ in 0..BATCH {
            let Some((port, message)) = engine.message_due(now) else { return };
            let outcome = match self.senders.get(port) {
                Some(sender) => sender.send(message),
                None => Err(io::ErrorKind::NotConnected.into()),
            };
            match outcome {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.waited += 1;
                    engine.message_waits(now, port);
                }
                outcome => {
                    if let Err(error) = outcome {
                        if self.failed == 0 {
                            log::warn!("a synchronisation message was not sent: {error}");
                        }
                        self.failed += 1;
                    }
                    engine.message_sent(port);
                }
            }
        }
    }

    /// How many messages the network did not take.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// Name, meaning and count.
    pub fn statistics(&self) -> [(&'static str, &'static str, u64); 2] {
        [
            ("failed", "Messages that the network did not take.", self.failed),
            ("waited", "Times that a message waited for room in its socket.", self.waited),
        ]
    }
}
