//! The TUN device as the one way in (`--tun`): its port, and what leads packets into it.

use std::collections::{BTreeSet, HashSet};
use std::io;

use crate::base::{LinkId, Mac, Prefix};
use crate::host::guard::Endpoint;
use crate::host::tunway::{Side, TunWay};
use crate::port::TunOptions;
use crate::table::network::LinkLayer;
use crate::table::{Link, Network};

use super::local_servers::Wanted;
use super::workers::{Way, Workers};

/// The one link there is when packets come by a TUN device.
const LINK: LinkId = LinkId(0);

/// The device.
pub struct TunEntry {
    pub name: String,
    /// The routes and rules that lead packets into it.
    way: Option<TunWay>,
    /// Whether some real servers on this host are masqueraded; nothing where there are none.
    local: Option<bool>,
    /// The network changed since it was last looked at whether all is there.
    doubted: bool,
    /// Why packets are not led into it, as was said last.
    troubles: Vec<String>,
}

impl TunEntry {
    pub fn new(name: &str) -> TunEntry {
        TunEntry { name: name.to_owned(), way: None, local: None, doubted: false, troubles: Vec::new() }
    }

    /// Opens the device for every worker. Nothing is led into it so far.
    ///
    /// # Errors
    /// Why that cannot be.
    pub fn open(&mut self, workers: &Workers) -> io::Result<()> {
        for worker in 0..workers.count() {
            let way = Way::Tun(TunOptions::new(&self.name));
            workers.open(worker, LINK, way)?.map_err(io::Error::from)?;
        }
        self.way = Some(TunWay::open(&self.name, Side::Transit).map_err(io::Error::other)?);
        Ok(())
    }

    /// The device, or what leads into it, may be gone.
    pub fn network_changed(&mut self) {
        self.doubted = true;
    }

    /// Makes the device anew if it was deleted; whether it was. It is tried once: a device that comes and goes
    /// would be tried for ever.
    pub fn keep(&mut self, workers: &Workers, network: &Network) -> bool {
        if !std::mem::take(&mut self.doubted) {
            return false;
        }
        let Some(way) = &mut self.way else { return false };
        let index = find(network, &self.name).map(|link| link.index);
        if index == Some(way.index()) {
            way.doubt();
            return false;
        }
        log::warn!("{} was deleted, and is made anew", self.name);
        self.leave();
        workers.close(LINK);
        if let Err(error) = self.open(workers) {
            workers.close(LINK);
            let trouble = format!("{} was deleted and cannot be made anew, which takes a restart: {error}", self.name);
            self.note(vec![trouble]);
        }
        true
    }

    /// Has the kernel lead the packets to `led` into the device, and what real servers answer;
    /// whether there is anything new to be said of that.
    pub fn lead(&mut self, led: &HashSet<Prefix>, real_servers: &BTreeSet<Endpoint>) -> bool {
        let Some(way) = &mut self.way else { return false };
        let failed = way.update(led, real_servers).err().map(|error| error.to_string());
        let occupied = way.occupied().map(|vip| in_the_way(vip, &self.name));
        let mut troubles: Vec<String> = failed.into_iter().chain(occupied).collect();
        troubles.sort();
        self.note(troubles)
    }

    fn note(&mut self, troubles: Vec<String>) -> bool {
        let before = std::mem::replace(&mut self.troubles, troubles);
        for trouble in self.troubles.iter().filter(|trouble| !before.contains(trouble)) {
            log::error!("{trouble}");
        }
        before != self.troubles
    }

    /// What keeps packets from the device.
    pub fn lines(&self) -> Vec<String> {
        self.troubles.clone()
    }

    /// Serves the real servers that are this host itself; whether that changed anything.
    pub fn keep_local_servers(&mut self, wanted: &Wanted) -> bool {
        let local = (!wanted.is_empty()).then_some(!wanted.masqueraded.is_empty());
        std::mem::replace(&mut self.local, local) != local
    }

    /// The network as engines see it: all of it behind the device.
    pub fn through(&self, network: &Network) -> Network {
        let link = self.link(network);
        let mut through = network.through(link.clone());
        if let Some(answers) = self.local {
            through.set_host(link, answers);
        }
        through
    }

    /// Takes away what leads into the device.
    pub fn leave(&mut self) {
        if let Some(way) = self.way.take()
            && let Err(error) = way.close()
        {
            log::warn!("{error}");
        }
    }

    /// The device as a link, with what the kernel says of it.
    fn link(&self, network: &Network) -> Link {
        let known = find(network, &self.name);
        Link {
            id: LINK,
            index: known.map_or(0, |link| link.index),
            name: self.name.clone(),
            layer: LinkLayer::Ip,
            mac: Mac::default(),
            virtual_mac: None,
            mtu: known.map_or(1500, |link| link.mtu),
            up: true,
            addresses: Vec::new(),
        }
    }
}

fn find<'a>(network: &'a Network, name: &str) -> Option<&'a Link> {
    network.links().iter().find(|link| link.name == name)
}

/// What is said of a route of the operator's for a VIP.
fn in_the_way(vip: &Prefix, device: &str) -> String {
    format!(
        "packets to {vip} are not led into {device}: the main routing table has a route for {vip} already, which stays. \
         Delete it or give it a larger metric (`ip route show {vip}')"
    )
}
