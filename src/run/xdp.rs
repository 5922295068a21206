//! AF_XDP ports (`--port xdp`): which links have one, what each takes, and why the others have none.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::io;
use std::thread;
use std::time::Duration;

use crate::base::LinkId;
use crate::port::{PacketOptions, PortError, Selection, XdpOptions};
use crate::table::{Link, Network};
use crate::worker::{Message, Way};

use super::options::{Options, PortKind};
use super::workers::Workers;

/// How often a queue is asked for that another socket has, and how long in between: the kernel takes a moment
/// to set a queue free whose socket was closed.
const TRIES: u32 = 50;
const INTERVAL: Duration = Duration::from_millis(20);

/// The AF_XDP ports.
#[derive(Debug, Default)]
pub struct XdpPorts {
    /// They are asked for.
    wanted: bool,
    workers: u16,
    /// What is taken of the links that have one.
    taken: BTreeMap<LinkId, Selection>,
    /// Why other links have none.
    refused: BTreeMap<LinkId, String>,
    /// Either has changed since it was last described.
    news: bool,
}

impl XdpPorts {
    pub fn new(options: &Options) -> XdpPorts {
        XdpPorts {
            wanted: options.port == PortKind::Xdp && options.tun.is_none(),
            workers: options.workers,
            taken: BTreeMap::new(),
            refused: BTreeMap::new(),
            news: false,
        }
    }

    /// Whether links are to have such ports. Each client's packets must fall to the same worker, and
    /// sockets that share a queue cannot be chosen among by that; so there may be one worker only.
    pub fn are_wanted(&self) -> bool {
        self.wanted && self.workers == 1
    }

    /// Opens a port on `link`, if that can be; whether there is one now.
    ///
    /// # Errors
    /// The worker does not answer.
    pub fn open(
        &mut self,
        workers: &Workers,
        link: &Link,
        packet: &PacketOptions,
        selection: Selection,
    ) -> io::Result<bool> {
        self.news = true;
        let options = XdpOptions::new(packet.clone(), selection);
        let mut tries = 0;
        let outcome = loop {
            tries += 1;
            match workers.open(0, link.id, Way::Xdp(Box::new(options.clone())))? {
                Err(PortError::XdpBusy { .. }) if tries < TRIES => thread::sleep(INTERVAL),
                outcome => break outcome,
            }
        };
        let opened = outcome.is_ok();
        match outcome {
            Ok(_) => {
                self.refused.remove(&link.id);
                self.taken.insert(link.id, options.selection);
            }
            Err(error) => {
                let why = error.source().map_or_else(|| error.to_string(), |source| format!("{error} ({source})"));
                self.taken.remove(&link.id);
                self.refused.insert(link.id, why);
            }
        }
        Ok(opened)
    }

    /// Forgets the links that `keep` does not know any more.
    pub fn retain(&mut self, keep: impl Fn(LinkId) -> bool) {
        let before = self.taken.len() + self.refused.len();
        self.taken.retain(|&id, _| keep(id));
        self.refused.retain(|&id, _| keep(id));
        self.news |= before != self.taken.len() + self.refused.len();
    }

    /// Has each port take what `selection` says of its link.
    pub fn adjust(&mut self, workers: &Workers, network: &Network, selection: impl Fn(&Link) -> Selection) {
        for (&id, taken) in &mut self.taken {
            let Some(link) = network.link(id) else { continue };
            let wanted = selection(link);
            if wanted == *taken {
                continue;
            }
            self.news |= wanted.is_empty() != taken.is_empty();
            taken.clone_from(&wanted);
            let wanted = std::sync::Arc::new(wanted);
            workers.tell(|| Message::Select { link: id, selection: wanted.clone() });
        }
    }

    /// Whether [`XdpPorts::lines`] has changed since this was asked last.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// How the links' frames come, in sentences.
    pub fn lines(&self, network: &Network) -> Vec<String> {
        if self.wanted && self.workers != 1 {
            return vec![format!("AF_XDP is not used: it serves a single worker, and there are {}", self.workers)];
        }
        let name = |id: &LinkId| network.link(*id).map_or("?", |link| link.name.as_str());
        let names: Vec<&str> = self.taken.keys().map(name).collect();
        let mut lines = Vec::new();
        if !names.is_empty() {
            lines.push(format!("{}: small TCP and UDP frames come by AF_XDP", names.join(", ")));
        }
        lines.extend(self.refused.iter().map(|(id, why)| format!("{}: AF_XDP is not used: {why}", name(id))));
        lines
    }
}
