//! How control speaks to a worker: a queue, and a bell that wakes the worker's loop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;

use mio::Waker;

use crate::base::LinkId;
use crate::engine::server::Crowd;
use crate::engine::sync::Share;
use crate::host::neighbour::NeighbourEvent;
use crate::host::responder::Owned;
use crate::port::af_packet::fanout::Steering;
use crate::port::af_packet::program::Program;
use crate::port::{Port, PortError, Queueing};
use crate::sync::Sender;
use crate::table::{Change, DestinationKey, Network, ServiceKey};
use crate::wire::sync::{Entry, Recognised};

use super::question::{Finding, Question};

/// What a worker is told or asked. Messages are taken in order, between two batches of frames.
#[derive(Debug)]
pub enum Message {
    /// Changes of the configuration, in order. Many come as one message: what one thread allocates
    /// and another frees, both wait for.
    Changes(Arc<[Change]>),
    /// Links, addresses or routes changed.
    Network {
        network: Arc<Network>,
        served: Arc<[LinkId]>,
    },
    /// Addresses to answer ARP and neighbour discovery for, in order, and whether those that are
    /// new are announced.
    Owned {
        owned: Arc<[Owned]>,
        announce: bool,
    },
    /// The kernel's neighbour table changed; `whole` when this is all of it.
    Neighbours {
        events: Arc<[NeighbourEvent]>,
        whole: bool,
    },
    /// Serve a link by a port, which whoever asks has opened: that takes longer than frames may wait.
    Open {
        link: LinkId,
        port: Box<Port>,
    },
    /// Receive other frames on a link from now on: what passes the filter.
    Adjust {
        link: LinkId,
        filter: Arc<Program>,
        queueing: Queueing,
    },
    /// Replace the program that says which frames of a link fall to which worker. It is the whole fanout group's, and
    /// the worker waits while the kernel makes sure that nobody uses the one before: for one worker, and only
    /// where the program differs.
    Steer {
        link: LinkId,
        program: Arc<Program>,
    },
    /// How the clients are shared among several workers, from now on.
    Share(Arc<Steering>),
    /// Count a destination's connections together with the other workers, whose thresholds are for all.
    Crowd {
        service: ServiceKey,
        destination: DestinationKey,
        crowd: Arc<Crowd>,
    },
    /// Have super-frames leave a link whole also where they are in tunnels, if that can be.
    CarryTunnels {
        link: LinkId,
        outcome: mpsc::Sender<Result<(), PortError>>,
    },
    /// Serve a link no longer; its port is closed by another thread.
    Close {
        link: LinkId,
    },
    /// What another director tells of its connections; `waiting` counts entries that were not
    /// taken yet.
    Told {
        entries: Vec<Told>,
        waiting: Arc<AtomicUsize>,
    },
    /// The sockets of a master daemon, one a port, before it is started.
    Senders(Vec<Sender>),
    /// Say when everything that was told before is in force.
    Confirm(mpsc::Sender<()>),
    Ask {
        question: Question,
        answer: mpsc::Sender<Finding>,
    },
    Stop,
}

/// One entry of a synchronisation message, with what its message held of it.
#[derive(Clone, Debug)]
pub struct Told {
    pub entry: Entry,
    engine: Box<[u8]>,
    data: Box<[u8]>,
    pub share: Share,
}

impl Told {
    pub fn new(entry: Entry, recognised: &Recognised, share: Share) -> Told {
        Told { entry, engine: recognised.engine.into(), data: recognised.data.into(), share }
    }

    pub fn recognised(&self) -> Recognised<'_> {
        Recognised { engine: &self.engine, data: &self.data }
    }

    /// One for tests of how they are handed over.
    #[cfg(test)]
    pub fn of_some_connection() -> Told {
        use crate::base::{Address, Family, Port, Protocol};
        let address = Address::v4([10, 0, 0, 1]);
        let entry = Entry {
            family: Family::V4,
            protocol: Protocol::TCP,
            flags: 0,
            state: 1,
            client_port: Port(1),
            virtual_port: Port(2),
            destination_port: Port(3),
            mark: 0,
            timeout: 0,
            client: address,
            virtual_address: address,
            destination: address,
            sequence: None,
        };
        Told::new(entry, &Recognised { engine: &[], data: &[] }, Share::Own)
    }
}

/// The sending end of a worker's queue.
#[derive(Clone, Debug)]
pub struct Mailbox {
    queue: mpsc::Sender<Message>,
    bell: Arc<Waker>,
}

impl Mailbox {
    /// The two ends of a queue; `bell` wakes the loop that reads it.
    pub fn new(bell: Arc<Waker>) -> (Mailbox, mpsc::Receiver<Message>) {
        let (queue, inbox) = mpsc::channel();
        (Mailbox { queue, bell }, inbox)
    }

    /// What wakes the loop.
    pub fn bell(&self) -> Arc<Waker> {
        self.bell.clone()
    }

    /// Queues a message without waking the worker: more follow.
    ///
    /// # Errors
    /// The worker is gone.
    pub fn put(&self, message: Message) -> io::Result<()> {
        self.queue.send(message).map_err(|_| io::Error::other("the worker has ended"))
    }

    /// Wakes the worker.
    ///
    /// # Errors
    /// The bell cannot be rung.
    pub fn ring(&self) -> io::Result<()> {
        self.bell.wake()
    }

    /// Queues a message and wakes the worker.
    ///
    /// # Errors
    /// As [`Mailbox::put`] and [`Mailbox::ring`].
    pub fn send(&self, message: Message) -> io::Result<()> {
        self.put(message)?;
        self.ring()
    }
}
