//! The machine around the director, kept in line with the configuration: which links are served,
//! which addresses are answered for, and what is kept from the kernel.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use crate::base::{Address, Family, LinkId, Tick};
use crate::control::director::Director;
use crate::host::network::{LinkChoice, Serving, View, Watcher};
use crate::host::posture::{Forwarding, Posture, Refusal};
use crate::host::taps::somebody_watches;
use crate::host::tunway;
use crate::port::af_packet::fanout::FlowHash;
use crate::table::Network;
use crate::worker::Message;

use super::addresses::{Addresses, client_network, virtual_prefixes};
use super::keeper::{self, Keeper};
use super::local_servers::{LocalServers, Wanted};
use super::options::Options;
use super::ports::LinkPorts;
use super::reading::Reading;
use super::tun::TunEntry;
use super::workers::Workers;

/// Said where workers cannot share the clients as persistence would have it.
const TORN: &str = "persistence by network (-M) holds within each worker alone, as there were connections already when such a \
    service was added; change a service while there are none, or restart";

/// Milliseconds between two attempts to have a failing guard follow.
const GUARD_RETRY: u64 = 10_000;

/// Links, addresses and the guard, as last seen and set.
pub struct Surroundings {
    watcher: Watcher,
    serving: Serving,
    view: View,
    /// Whether links, addresses and routes are to be read, and the kernel's neighbours.
    network: Reading,
    neighbours: Reading,
    addresses: Addresses,
    ports: LinkPorts,
    /// The device by which packets come instead of links' ports.
    tun: Option<TunEntry>,
    /// The way to real servers that are this host itself, where Ethernet links are served.
    local_servers: LocalServers,
    /// How the kernel is kept from each address, or why not.
    posture: Posture,
    /// Several workers share clients of networks that persistence would have together.
    torn: bool,
    /// What was said at the start.
    introduction: Vec<String>,
    pub keeper: Keeper,
    /// When a guard that fails is tried again.
    next_guard: Tick,
}

impl Surroundings {
    /// Looks around. Nothing is changed yet.
    ///
    /// # Errors
    /// The kernel does not tell what links there are.
    pub fn new(options: &Options, keeper: Keeper, seed: u64) -> io::Result<Surroundings> {
        let mut watcher = Watcher::open()?;
        let links = match &options.interface[..] {
            [] => LinkChoice::AllEthernet,
            names => LinkChoice::Named(names.to_vec()),
        };
        let serving = Serving { links, virtual_mac: None };
        let view = watcher.read(&serving).map_err(io::Error::other)?;
        let own_link = watcher.own_link();
        Ok(Surroundings {
            watcher,
            serving,
            view,
            network: Reading::new("links, addresses and routes"),
            neighbours: Reading::new("the kernel's neighbours"),
            addresses: Addresses::new(options),
            ports: LinkPorts::new(options, seed),
            tun: options.tun.as_deref().map(TunEntry::new),
            local_servers: LocalServers::new(own_link),
            posture: Posture::default(),
            torn: false,
            introduction: Vec::new(),
            keeper,
            next_guard: Tick::ZERO,
        })
    }

    /// How the workers share the clients.
    pub fn steering(&self) -> Option<FlowHash> {
        self.ports.steering
    }

    /// Answers for virtual addresses and gateways from now on, or leaves them to another director.
    /// It takes effect when settled.
    pub fn hold(&mut self, holding: bool, director: &mut Director<Workers>) {
        self.addresses.holding = holding;
        self.describe(director);
    }

    /// The descriptor that tells of changes.
    pub fn descriptor(&self) -> RawFd {
        self.watcher.as_raw_fd()
    }

    /// Names of the links that are served.
    pub fn served(&self) -> impl Iterator<Item = &str> + '_ {
        let links = self.ports.links(&self.view).map(|link| link.name.as_str());
        links.chain(self.tun.as_ref().map(|tun| tun.name.as_str()))
    }

    /// Opens the ports and tells the workers what there is.
    ///
    /// # Errors
    /// No port can be opened at all.
    pub fn start(&mut self, now: Tick, workers: &mut Workers) -> io::Result<Arc<Network>> {
        self.share(workers);
        if let Some(tun) = &mut self.tun {
            tun.open(workers)?;
            self.view = self.watcher.read(&self.serving).map_err(io::Error::other)?;
            return Ok(self.publish(workers));
        }
        if let Err(error) = tunway::clear_leftovers() {
            log::debug!("rules of an earlier director are not cleared away: {error}");
        }
        self.look_at_forwarding(workers);
        let network = self.publish(workers);
        let opened = self.ports.open(now, workers, &self.view, &self.addresses);
        if !self.ports.are_open() {
            opened?;
        }
        self.read_neighbours(workers);
        Ok(network)
    }

    /// Takes in what the kernel reports; the new network where it changed. What the kernel is too busy to list
    /// is asked for again at the next look.
    ///
    /// # Errors
    /// The kernel does not report any more: its socket failed for good.
    pub fn follow(&mut self, now: Tick, workers: &mut Workers) -> io::Result<Option<Arc<Network>>> {
        let changes = self.watcher.drain()?;
        if !changes.neighbours.is_empty() {
            let events: Arc<[_]> = changes.neighbours.into();
            workers.tell(|| Message::Neighbours { events: events.clone(), whole: false });
        }
        if changes.lost || self.neighbours.is_due() {
            self.read_neighbours(workers);
        }
        let forwarding = self.look_at_forwarding(workers);
        if self.ports.note_watched(somebody_watches()) {
            self.adjust_ports(workers);
        }
        let guard = self.keeper.failure().is_some() && self.next_guard <= now;
        if guard {
            self.next_guard = now + GUARD_RETRY;
        }
        if changes.network || changes.lost || forwarding || guard || self.ports.is_due(now) {
            self.network.demand();
        }
        if !self.network.is_due() || !self.read_network(workers) {
            return Ok(None);
        }
        self.local_servers.network_changed();
        if let Some(tun) = &mut self.tun {
            tun.network_changed();
        }
        let network = self.publish(workers);
        if self.tun.is_some() {
            return Ok(Some(network));
        }
        // What could not be opened is named as this is settled.
        let _ = self.ports.open(now, workers, &self.view, &self.addresses);
        self.join_groups();
        Ok(Some(network))
    }

    /// Brings addresses and guard in line with the configuration; the network where that changed it.
    pub fn settle(&mut self, director: &mut Director<Workers>) -> Option<Arc<Network>> {
        let mut changed = self.keep_tun(director);
        let owned = self.addresses.owned_by(director.model(), &self.view.network);
        let prefixes = virtual_prefixes(director.model());
        if self.keep_networks_together(director) || prefixes != self.addresses.virtual_prefixes {
            self.addresses.virtual_prefixes = prefixes;
            self.share(director.fleet());
            if self.ports.steering.is_some() && *owned == *self.addresses.owned {
                self.adjust_ports(director.fleet());
            }
        }
        if *owned != *self.addresses.owned {
            self.addresses.owned = owned.into();
            let virtual_mac = self.addresses.virtual_mac_in_use();
            if virtual_mac != self.serving.virtual_mac {
                self.serving.virtual_mac = virtual_mac;
                self.read_network(director.fleet());
                changed = Some(self.publish(director.fleet()));
            }
            self.adjust_ports(director.fleet());
            self.join_groups();
            let owned = self.addresses.owned.clone();
            director.fleet().tell(|| Message::Owned { owned: owned.clone(), announce: true });
        }
        let guard = self.keep_guard(director);
        if self.take_posture(director) || guard {
            changed = Some(self.publish(director.fleet()));
        }
        if self.keep_local_servers(director) {
            changed = Some(self.publish(director.fleet()));
        }
        self.adjust_xdp(director);
        if self.ports.have_news(&self.view) {
            self.describe(director);
        }
        self.carry_tunnels(director);
        if self.ports.keep_barriers(&self.view) {
            self.ports.barriers.lines(&self.view.network).iter().for_each(|line| log::debug!("{line}"));
            self.describe(director);
        }
        if let Some(tun) = &mut self.tun
            && tun.lead(&self.addresses.led(), &keeper::wanted(director.model(), &[]).real_servers)
        {
            self.describe(director);
        }
        changed
    }

    /// Has the guard follow the configuration; whether it counts from now on, or does no longer.
    fn keep_guard(&mut self, director: &mut Director<Workers>) -> bool {
        self.keeper.keep(director.model(), &self.addresses.owned);
        let guarded = self.keeper.is_guarding();
        let changed = std::mem::replace(&mut director.fleet().permission.guarded, guarded) != guarded;
        if changed {
            self.describe(director);
        }
        changed
    }

    /// Has clients of a network meet at one worker where persistence is by network; whether that changed how workers
    /// share the clients. While there are connections nothing is changed: most would be another worker's then.
    fn keep_networks_together(&mut self, director: &mut Director<Workers>) -> bool {
        let Some(hash) = &mut self.ports.steering else { return false };
        let wanted = client_network(director.model());
        let changes = wanted != hash.network && !director.fleet().have_connections();
        if changes {
            hash.network = wanted;
            director.fleet().set_steering(*hash);
        }
        let torn = hash.network.including(wanted) != hash.network;
        if torn != self.torn {
            self.torn = torn;
            if torn {
                log::warn!("{TORN}");
            }
            self.describe(director);
        }
        changes
    }

    /// Has the AF_XDP ports take what is certain to be the director's, and nothing else.
    fn adjust_xdp(&mut self, director: &mut Director<Workers>) {
        if self.ports.xdp.are_wanted() {
            let rules = keeper::wanted(director.model(), &[]);
            let masqueraded = rules.real_servers.iter().map(|server| server.address);
            let forwarding = director.fleet().permission.forwarding;
            self.ports.adjust_xdp(&self.view, &self.addresses, masqueraded, forwarding);
        }
        if self.ports.xdp.have_news(&self.view) {
            self.describe(director);
        }
    }

    /// Has super-frames leave whole in tunnels, where there are any.
    fn carry_tunnels(&mut self, director: &mut Director<Workers>) {
        if director.model().service_table().has_tunnels() && self.ports.carry_tunnels(director.fleet()) {
            self.ports.tunnels.lines(&self.view.network).iter().for_each(|line| log::info!("{line}"));
            self.describe(director);
        }
    }

    /// Makes the device of `--tun` anew if it was deleted; the network where it was.
    fn keep_tun(&mut self, director: &mut Director<Workers>) -> Option<Arc<Network>> {
        if !self.tun.as_mut()?.keep(director.fleet(), &self.view.network) {
            return None;
        }
        match self.watcher.read(&self.serving) {
            Ok(view) => self.view = view,
            Err(error) => log::error!("links cannot be read: {error}"),
        }
        self.describe(director);
        Some(self.publish(director.fleet()))
    }

    /// Makes or removes the device by which local servers are reached (the one that there is, with `--tun`); whether that changed anything.
    fn keep_local_servers(&mut self, director: &mut Director<Workers>) -> bool {
        let wanted = Wanted::of(director.model(), &self.view.network);
        if let Some(tun) = &mut self.tun {
            return tun.keep_local_servers(&wanted);
        }
        let (network, served) = (&self.view.network, &self.view.served);
        if !self.local_servers.keep(director.fleet(), wanted, network, served) {
            return false;
        }
        self.read_network(director.fleet());
        self.describe(director);
        true
    }

    /// Says at every status what was said at the start.
    pub fn introduce(&mut self, lines: Vec<String>, director: &mut Director<Workers>) {
        self.introduction = lines;
        self.describe(director);
    }

    /// Decides anew how the kernel is kept from each address. Whether other addresses than before
    /// are left to it: an address may have become the host's own after it got a service.
    fn take_posture(&mut self, director: &mut Director<Workers>) -> bool {
        let permission = director.fleet().permission.clone();
        let posture = permission.posture(director.model());
        if posture == self.posture {
            return false;
        }
        let before = std::mem::replace(&mut self.posture, posture);
        for refusal in self.posture.refusals.iter().filter(|refusal| !before.refusals.contains(refusal)) {
            log::error!("{refusal}");
        }
        for refusal in before.refusals.iter().filter(|refusal| !self.posture.refusals.contains(refusal)) {
            if let Refusal::HostAddress { vip } = refusal
                && self.posture.stances.contains_key(vip)
            {
                log::warn!("{vip} is no address of this host any more, and is served again");
            }
        }
        self.describe(director);
        ceded(&before).ne(ceded(&self.posture))
    }

    fn describe(&self, director: &mut Director<Workers>) {
        director.lines = [
            self.introduction.clone(),
            self.ports.lines(&self.view),
            self.ports.xdp.lines(&self.view),
            self.ports.tunnels.lines(&self.view.network),
            self.ports.barriers.lines(&self.view.network),
            self.local_servers.lines(),
            self.tun.as_ref().map(TunEntry::lines).unwrap_or_default(),
            self.posture.describe(),
        ]
        .concat();
        director.lines.extend(self.keeper.failure().map(str::to_owned));
        if self.torn {
            director.lines.push(TORN.to_owned());
        }
        if !self.addresses.holding {
            director.lines.push("standby: virtual addresses are another director's, until `ulvs hold`".to_owned());
        }
    }

    /// Takes everything out of the machine that was put into it.
    pub fn leave(&mut self) {
        if let Some(tun) = &mut self.tun {
            tun.leave();
        }
        self.local_servers.leave();
        self.keeper.leave();
    }

    /// Reads links, addresses and routes, and has the ports follow; whether that could be done.
    fn read_network(&mut self, workers: &Workers) -> bool {
        let Some(view) = self.network.take(self.watcher.read(&self.serving)) else { return false };
        let changed = self.ports.would_receive_otherwise(&self.view, &view);
        self.view = view;
        if changed {
            self.adjust_ports(workers);
        }
        true
    }

    /// Has the workers know the neighbours that the kernel knows.
    fn read_neighbours(&mut self, workers: &Workers) {
        if let Some(events) = self.neighbours.take(self.watcher.neighbours()) {
            let events: Arc<[_]> = events.into();
            workers.tell(|| Message::Neighbours { events: events.clone(), whole: true });
        }
    }

    /// Hands the current view to everybody.
    fn publish(&mut self, workers: &mut Workers) -> Arc<Network> {
        let (network, served) = match &self.tun {
            Some(tun) => (tun.through(&self.view.network), Vec::new()),
            None => {
                let mut network = self.view.network.clone();
                for family in [Family::V4, Family::V6] {
                    network.set_own_mac_taken(family, workers.permission.takes_interface_mac(family));
                }
                network.set_ceded(ceded(&self.posture).map(|vip| (Family::of(&vip), Address::from(vip))));
                self.local_servers.add_to(&mut network);
                self.keeper.set_links(&self.view);
                (network, self.view.served.clone())
            }
        };
        let network = Arc::new(network);
        let served: Arc<[LinkId]> = served.into();
        workers.tell(|| Message::Network { network: network.clone(), served: served.clone() });
        workers.permission.network = network.clone();
        network
    }

    /// Has the open ports receive what the addresses ask for.
    fn adjust_ports(&mut self, workers: &Workers) {
        if self.tun.is_none() {
            self.ports.adjust(workers, &self.view, &self.addresses);
        }
    }

    /// Tells several workers how they share the clients.
    fn share(&self, workers: &Workers) {
        if let Some(steering) = self.ports.sharing(&self.addresses) {
            let steering = Arc::new(steering);
            workers.tell(|| Message::Share(steering.clone()));
        }
    }

    /// Joins the groups of the addresses on the links.
    fn join_groups(&mut self) {
        self.addresses.join_groups(self.ports.links(&self.view));
    }

    /// Looks whether the kernel forwards what comes in by the served links: the operator may switch
    /// it at any time, and nobody tells. Whether that changes whose frames are taken.
    fn look_at_forwarding(&self, workers: &mut Workers) -> bool {
        let served = self.view.served.iter().filter_map(|&id| self.view.network.link(id));
        let forwarding = Forwarding::read(served.map(|link| link.name.as_str()));
        let permission = &mut workers.permission;
        let families = [Family::V4, Family::V6];
        let before = families.map(|family| permission.takes_interface_mac(family));
        permission.forwarding = forwarding;
        let after = families.map(|family| permission.takes_interface_mac(family));
        for (at, family) in families.into_iter().enumerate() {
            if before[at] && !after[at] {
                log::warn!(
                    "the kernel forwards {family:?} packets now: frames to the interfaces' own addresses are left to it"
                );
            }
        }
        before != after
    }
}

/// The virtual addresses that are left to the kernel.
fn ceded(posture: &Posture) -> impl Iterator<Item = IpAddr> + '_ {
    posture.refusals.iter().filter_map(|refusal| match refusal {
        Refusal::HostAddress { vip } => Some(*vip),
        _ => None,
    })
}
