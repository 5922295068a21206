//! The machine around the director, kept in line with the configuration: which links are served,
//! which addresses are answered for, and what is kept from the kernel.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use crate::base::{Address, Family, LinkId, Mac, Prefix};
use crate::control::director::Director;
use crate::engine::Engine;
use crate::host::discovery;
use crate::host::membership::{Group, Membership};
use crate::host::network::{LinkChoice, Serving, View, Watcher};
use crate::host::posture::{Forwarding, Posture, Refusal};
use crate::host::responder::{Owned, Role};
use crate::host::taps::somebody_watches;
use crate::host::tunway::{self, Side, TunWay};
use crate::host::virtual_mac::VirtualMac;
use crate::port::af_packet::fanout::{Coverage, FlowHash, FlowKey, Role as LinkRole, Steering};
use crate::port::af_packet::filter::{LinkFilter, solicited_node};
use crate::port::af_packet::program::Program;
use crate::port::{Fanout, FanoutGroup, PacketOptions, Queueing, Reception, Selection, TunOptions};
use crate::table::network::LinkLayer;
use crate::table::{Link, Network};
use crate::worker::{Message, Way};

use super::keeper::{self, Keeper};
use super::local_servers::{LocalServers, Wanted};
use super::options::Options;
use super::tunnels::Tunnels;
use super::workers::Workers;
use super::xdp::{Ground, XdpPorts};

/// Links, addresses and the guard, as last seen and set.
pub struct Surroundings {
    watcher: Watcher,
    serving: Serving,
    view: View,
    /// The links with open ports, and the MACs they listen to.
    open: BTreeMap<LinkId, u32>,
    /// Links whose port could not be opened: complained about once.
    refused: BTreeSet<LinkId>,
    /// Somebody else may be watching what leaves.
    watched: bool,
    owned: Arc<[Owned]>,
    gateways: Vec<IpAddr>,
    virtual_mac: Option<Mac>,
    tun: Option<String>,
    /// How several workers share the clients; nothing for a single one.
    steering: Option<FlowHash>,
    /// The destinations of clients' packets.
    virtual_prefixes: Vec<Prefix>,
    /// The links whose small frames come by AF_XDP.
    xdp: XdpPorts,
    /// The links by which super-frames in tunnels leave whole.
    tunnels: Tunnels,
    /// The real servers that are masqueraded.
    masqueraded: BTreeSet<IpAddr>,
    /// The routes and rules that lead packets into the TUN device.
    tun_way: Option<TunWay>,
    /// The way to real servers that are this host itself, where Ethernet links are served.
    local_servers: LocalServers,
    /// The same where packets come by TUN: whether some are masqueraded; nothing where there are none.
    local_by_tun: Option<bool>,
    /// The groups in which owned IPv6 addresses are asked for.
    membership: Membership,
    /// How the kernel is kept from each address, or why not.
    posture: Posture,
    /// What was said at the start.
    introduction: Vec<String>,
    /// Whether addresses are answered for; a standby leaves that to another director.
    holding: bool,
    pub keeper: Keeper,
}

/// The one link there is when packets come by a TUN device.
const TUN_LINK: LinkId = LinkId(0);

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
            open: BTreeMap::new(),
            refused: BTreeSet::new(),
            watched: true,
            owned: Arc::default(),
            gateways: options.gateways().collect(),
            virtual_mac: options.vip_mac.own().map(VirtualMac::mac),
            tun: options.tun.clone(),
            steering: NonZeroU32::new(options.workers.into())
                .filter(|workers| workers.get() > 1)
                .map(|workers| FlowHash { workers, key: FlowKey::Address, seed: seed as u32 }),
            virtual_prefixes: Vec::new(),
            xdp: XdpPorts::new(options),
            tunnels: Tunnels::default(),
            masqueraded: BTreeSet::new(),
            tun_way: None,
            local_servers: LocalServers::new(own_link),
            local_by_tun: None,
            membership: Membership::default(),
            posture: Posture::default(),
            introduction: Vec::new(),
            holding: !options.standby,
            keeper,
        })
    }

    /// How the workers share the clients.
    pub fn steering(&self) -> Option<FlowHash> {
        self.steering
    }

    /// Answers for virtual addresses and gateways from now on, or leaves them to another director.
    /// It takes effect when settled.
    pub fn hold(&mut self, holding: bool, director: &mut Director<Workers>) {
        self.holding = holding;
        self.describe(director);
    }

    /// The descriptor that tells of changes.
    pub fn descriptor(&self) -> RawFd {
        self.watcher.as_raw_fd()
    }

    /// Names of the links that are served.
    pub fn served(&self) -> impl Iterator<Item = &str> + '_ {
        let open = self.open.keys().filter_map(|&id| self.view.network.link(id)).map(|link| link.name.as_str());
        open.chain(self.tun.as_deref())
    }

    /// Opens the ports and tells the workers what there is.
    ///
    /// # Errors
    /// No port can be opened at all.
    pub fn start(&mut self, workers: &mut Workers) -> io::Result<Arc<Network>> {
        if self.tun.is_some() {
            return self.start_tun(workers);
        }
        if let Err(error) = tunway::clear_leftovers() {
            log::debug!("rules of an earlier director are not cleared away: {error}");
        }
        self.look_at_forwarding(workers);
        let network = self.publish(workers);
        let errors = self.open_ports(workers);
        if self.open.is_empty()
            && let Some((name, error)) = errors.into_iter().next()
        {
            return Err(io::Error::new(error.kind(), format!("{name}: {error}")));
        }
        let events = self.watcher.neighbours().map_err(io::Error::other)?;
        let events: Arc<[_]> = events.into();
        workers.tell(|| Message::Neighbours { events: events.clone(), whole: true });
        Ok(network)
    }

    /// Opens the TUN device in every worker, and has the kernel lead packets into it.
    fn start_tun(&mut self, workers: &mut Workers) -> io::Result<Arc<Network>> {
        let Some(name) = self.tun.clone() else { return Err(io::ErrorKind::NotFound.into()) };
        for worker in 0..workers.count() {
            let way = Way::Tun(TunOptions::new(&name));
            workers.open(worker, TUN_LINK, way)?.map_err(io::Error::other)?;
        }
        self.tun_way = Some(TunWay::open(&name, Side::Transit).map_err(io::Error::other)?);
        self.view = self.watcher.read(&self.serving).map_err(io::Error::other)?;
        Ok(self.publish(workers))
    }

    /// Takes in what the kernel reports; the new network where it changed.
    ///
    /// # Errors
    /// The kernel's reports cannot be read any more.
    pub fn follow(&mut self, workers: &mut Workers) -> io::Result<Option<Arc<Network>>> {
        let changes = self.watcher.drain()?;
        if !changes.neighbours.is_empty() {
            let events: Arc<[_]> = changes.neighbours.into();
            workers.tell(|| Message::Neighbours { events: events.clone(), whole: false });
        }
        if changes.lost {
            let events: Arc<[_]> = self.watcher.neighbours().map_err(io::Error::other)?.into();
            workers.tell(|| Message::Neighbours { events: events.clone(), whole: true });
        }
        let forwarding = self.look_at_forwarding(workers);
        let watched = somebody_watches();
        if watched != self.watched {
            self.watched = watched;
            self.adjust_ports(workers);
        }
        if !changes.network && !changes.lost && !forwarding {
            return Ok(None);
        }
        let view = self.watcher.read(&self.serving).map_err(io::Error::other)?;
        let disciplines = view.queueless != self.view.queueless;
        self.view = view;
        if disciplines {
            self.adjust_ports(workers);
        }
        let network = self.publish(workers);
        if self.tun.is_some() {
            return Ok(Some(network));
        }
        for (name, error) in self.open_ports(workers) {
            log::warn!("{name} is not served: {error}");
        }
        self.join_groups();
        Ok(Some(network))
    }

    /// Brings addresses and guard in line with the configuration; the network where that changed it.
    pub fn settle(&mut self, director: &mut Director<Workers>) -> Option<Arc<Network>> {
        let owned = self.owned_by(director.model());
        let prefixes = virtual_prefixes(director.model());
        let mut changed = None;
        if prefixes != self.virtual_prefixes {
            self.virtual_prefixes = prefixes;
            if self.steering.is_some() && *owned == *self.owned {
                self.adjust_ports(director.fleet());
            }
        }
        if *owned != *self.owned {
            self.owned = owned.into();
            let virtual_mac = self.virtual_mac.filter(|_| !self.owned.is_empty());
            if virtual_mac != self.serving.virtual_mac {
                self.serving.virtual_mac = virtual_mac;
                match self.watcher.read(&self.serving) {
                    Ok(view) => self.view = view,
                    Err(error) => log::error!("links cannot be read: {error}"),
                }
                changed = Some(self.publish(director.fleet()));
            }
            self.adjust_ports(director.fleet());
            self.join_groups();
            let owned = self.owned.clone();
            director.fleet().tell(|| Message::Owned { owned: owned.clone(), announce: true });
        }
        if self.take_posture(director) {
            changed = Some(self.publish(director.fleet()));
        }
        self.keeper.keep(director.model(), &self.owned);
        if self.keep_local_servers(director) {
            changed = Some(self.publish(director.fleet()));
        }
        self.adjust_xdp(director);
        if director.model().service_table().has_tunnels()
            && self.tunnels.keep(director.fleet(), self.open.keys().copied())
        {
            self.tunnels.lines(&self.view.network).iter().for_each(|line| log::info!("{line}"));
            self.describe(director);
        }
        if let Some(way) = &mut self.tun_way {
            let owned: HashSet<IpAddr> = self.owned.iter().map(|entry| entry.address).collect();
            let led = self
                .virtual_prefixes
                .iter()
                .filter(|prefix| owned.contains(&prefix.address) || **prefix != Prefix::host(prefix.address));
            let led = led.copied().collect();
            if let Err(error) = way.update(&led, &keeper::wanted(director.model(), &[]).real_servers) {
                log::error!("{error}");
            }
        }
        changed
    }

    /// Has the AF_XDP ports take what is certain to be the director's, and nothing else.
    fn adjust_xdp(&mut self, director: &mut Director<Workers>) {
        if self.xdp.are_wanted() {
            let rules = keeper::wanted(director.model(), &[]);
            self.masqueraded = rules.real_servers.iter().map(|server| server.address).collect();
            let forwarding = director.fleet().permission.forwarding;
            let mut xdp = std::mem::take(&mut self.xdp);
            xdp.adjust(director.fleet(), &self.view.network, |link| self.selection(link, forwarding));
            self.xdp = xdp;
        }
        if self.xdp.have_news(&self.view) {
            self.describe(director);
        }
    }

    /// Makes or removes the device by which local servers are reached (the one that there is, with `--tun`); whether that changed anything.
    fn keep_local_servers(&mut self, director: &mut Director<Workers>) -> bool {
        let count = director.fleet().count();
        let wanted = Wanted::of(director.model(), &self.view.network, count);
        if self.tun.is_some() {
            let local = (!wanted.is_empty()).then_some(!wanted.masqueraded.is_empty());
            return std::mem::replace(&mut self.local_by_tun, local) != local;
        }
        let (network, served) = (&self.view.network, &self.view.served);
        if !self.local_servers.keep(director.fleet(), wanted, network, served) {
            return false;
        }
        match self.watcher.read(&self.serving) {
            Ok(view) => self.view = view,
            Err(error) => log::error!("links cannot be read: {error}"),
        }
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
            self.xdp.lines(&self.view),
            self.tunnels.lines(&self.view.network),
            self.local_servers.lines(),
            self.posture.describe(),
        ]
        .concat();
        if !self.holding {
            director.lines.push("standby: virtual addresses are another director's, until `ulvs hold`".to_owned());
        }
    }

    /// Takes everything out of the machine that was put into it.
    pub fn leave(&mut self) {
        if let Some(way) = self.tun_way.take()
            && let Err(error) = way.close()
        {
            log::warn!("{error}");
        }
        self.local_servers.leave();
        self.keeper.leave();
    }

    /// Hands the current view to everybody.
    fn publish(&mut self, workers: &mut Workers) -> Arc<Network> {
        let (network, served) = match &self.tun {
            Some(name) => {
                let link = tun_link(name, &self.view.network);
                let mut network = self.view.network.through(link.clone());
                if let Some(answers) = self.local_by_tun {
                    network.set_host(link, answers);
                }
                (network, Vec::new())
            }
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

    /// The addresses that are answered for: virtual ones that the host does not have, those of
    /// mark rules that name single addresses, and the gateways.
    fn owned_by(&self, model: &Engine) -> Vec<Owned> {
        if !self.holding {
            return Vec::new();
        }
        let network = &self.view.network;
        let is_host = |address: IpAddr| network.is_local(Family::of(&address), Address::from(address));
        let table = model.service_table();
        let by_service = table.virtual_addresses().map(|(family, address)| address.to_ip(family));
        let by_mark = model
            .marks()
            .iter()
            .flat_map(|rule| rule.matching.destinations.iter().map(move |prefix| (rule.mark, *prefix)))
            .filter(|&(mark, prefix)| table.has_mark(prefix.family(), mark) && prefix == Prefix::host(prefix.address))
            .map(|(_, prefix)| prefix.address);
        let addresses: BTreeSet<IpAddr> = by_service.chain(by_mark).filter(|&address| !is_host(address)).collect();
        let gateways = self.gateways.iter().map(|&address| Owned { address, role: Role::Gateway, link: None });
        let virtual_ones = addresses.into_iter().map(|address| Owned { address, role: Role::Virtual, link: None });
        let mut owned: Vec<Owned> = virtual_ones.chain(gateways).collect();
        owned.sort_by_key(|entry| entry.address);
        owned
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

    /// Joins the groups that questions for owned IPv6 addresses go to, for switches that carry
    /// them to members alone.
    fn join_groups(&mut self) {
        let mut groups = Vec::new();
        for link in self.open.keys().filter_map(|&id| self.view.network.link(id)) {
            let asked = self.owned.iter().filter_map(|entry| match entry.address {
                IpAddr::V6(address) => Some(discovery::solicited_node(address)),
                IpAddr::V4(_) => None,
            });
            groups.extend(asked.map(|address| Group { interface: link.index, address }));
        }
        groups.sort_unstable();
        groups.dedup();
        for (group, error) in self.membership.set(groups) {
            log::debug!("the group {} is not joined on interface {}: {error}", group.address, group.interface);
        }
    }

    /// Opens a port on every served link that has none, and closes those of links that went.
    fn open_ports(&mut self, workers: &mut Workers) -> Vec<(String, io::Error)> {
        let served: BTreeSet<LinkId> = self.view.served.iter().copied().collect();
        for (&id, _) in self.open.iter().filter(|(id, _)| !served.contains(id)).collect::<Vec<_>>() {
            workers.tell(|| Message::Close { link: id });
        }
        self.open.retain(|id, _| served.contains(id));
        self.refused.retain(|id| served.contains(id));
        self.xdp.retain(|id| served.contains(&id));
        self.tunnels.retain(|id| served.contains(&id));
        let mut errors = Vec::new();
        for id in self.view.served.clone() {
            let Some(link) = self.view.network.link(id).cloned() else { continue };
            if !link.up || self.open.contains_key(&id) || self.refused.contains(&id) {
                continue;
            }
            let outcome = self.open_port(workers, &link);
            match outcome {
                Ok(()) => {
                    self.open.insert(id, link.index);
                }
                Err(error) => {
                    self.refused.insert(id);
                    errors.push((link.name.clone(), error));
                }
            }
        }
        errors
    }

    /// Opens a link's port in every worker. The kernel numbers the members of a fanout group in
    /// the order of joining, so the workers come in theirs.
    fn open_port(&mut self, workers: &Workers, link: &Link) -> io::Result<()> {
        if self.xdp.are_wanted() {
            let selection = self.selection(link, workers.permission.forwarding);
            let packet = self.packet_options(link, FanoutGroup::New);
            if self.xdp.open(workers, link, &packet, selection)? {
                return Ok(());
            }
        }
        let mut group = FanoutGroup::New;
        for worker in 0..workers.count() {
            let way = match &self.tun {
                Some(name) => Way::Tun(TunOptions::new(name)),
                None => Way::Packet(self.packet_options(link, group)),
            };
            let joined = workers.open(worker, link.id, way)?.map_err(io::Error::other)?;
            if let Some(number) = joined {
                group = FanoutGroup::Join(number);
            }
        }
        Ok(())
    }

    fn packet_options(&self, link: &Link, group: FanoutGroup) -> PacketOptions {
        let mut options = PacketOptions::new(&link.name, link.index);
        options.reception = Reception::Promiscuous;
        options.filter = Some(self.filter(link));
        options.queueing = self.queueing(link.id);
        options.fanout = self.steering_program().map(|program| Fanout { group, program });
        options
    }

    /// Has the open ports receive what the owned addresses ask for.
    fn adjust_ports(&self, workers: &Workers) {
        if self.tun.is_some() {
            return;
        }
        let steering = self.steering_program().map(Arc::new);
        for link in self.open.keys().filter_map(|&id| self.view.network.link(id)) {
            let filter = Arc::new(self.filter(link));
            let queueing = self.queueing(link.id);
            let steering = &steering;
            workers.tell(|| Message::Adjust {
                link: link.id,
                filter: filter.clone(),
                steering: steering.clone(),
                queueing,
            });
        }
    }

    /// Where the queueing discipline holds nothing back, frames may pass by it; but whoever watches the
    /// link would not see them.
    fn queueing(&self, link: LinkId) -> Queueing {
        if self.view.queueless.contains(&link) && !self.watched { Queueing::BypassPlain } else { Queueing::Discipline }
    }

    /// What a link's ports let through: frames to its own address and the virtual one, and
    /// neighbour discovery for what is owned.
    fn filter(&self, link: &Link) -> Program {
        let groups =
            self.owned.iter().filter(|entry| entry.address.is_ipv6()).map(|entry| solicited_node(entry.address.into()));
        let mut filter = LinkFilter { addresses: vec![link.mac], groups: groups.collect() };
        filter.addresses.extend(self.virtual_mac);
        filter.groups.sort_unstable();
        filter.groups.dedup();
        // With more groups than a filter holds, everything is let through and looked at.
        filter.program().unwrap_or_else(|_| Program::everything())
    }

    /// Which of a link's frames AF_XDP takes.
    fn selection(&self, link: &Link, forwarding: Forwarding) -> Selection {
        if self.view.carriers.contains(&link.id) {
            return Selection::default();
        }
        let ground = Ground {
            network: &self.view.network,
            virtual_mac: self.serving.virtual_mac,
            owned: &self.owned,
            masqueraded: &self.masqueraded,
            forwarding,
        };
        ground.selection(link)
    }

    /// How several workers share a link's frames: a client's always fall to the same one, and so
    /// do the replies to it.
    fn steering_program(&self) -> Option<Program> {
        let hash = self.steering?;
        let (program, coverage) = Steering::new(hash, LinkRole::Both, &self.virtual_prefixes).program();
        if coverage == Coverage::RequestsOnly {
            log::warn!(
                "too many virtual addresses for several workers: replies may miss their connection; use --workers 1"
            );
        }
        Some(program)
    }
}

/// The virtual addresses that are left to the kernel.
fn ceded(posture: &Posture) -> impl Iterator<Item = IpAddr> + '_ {
    posture.refusals.iter().filter_map(|refusal| match refusal {
        Refusal::HostAddress { vip } => Some(*vip),
        _ => None,
    })
}

/// The TUN device as a link, with what the kernel says of it.
fn tun_link(name: &str, network: &Network) -> Link {
    let known = network.links().iter().find(|link| link.name == name);
    Link {
        id: TUN_LINK,
        index: known.map_or(0, |link| link.index),
        name: name.to_owned(),
        layer: LinkLayer::Ip,
        mac: Mac::default(),
        virtual_mac: None,
        mtu: known.map_or(1500, |link| link.mtu),
        up: true,
        addresses: Vec::new(),
    }
}

/// Where clients' packets go: the services' addresses, and what the rules of mark services match.
fn virtual_prefixes(model: &Engine) -> Vec<Prefix> {
    let table = model.service_table();
    let by_service = table.virtual_addresses().map(|(family, address)| Prefix::host(address.to_ip(family)));
    let by_mark =
        model.marks().iter().flat_map(|rule| rule.matching.destinations.iter().map(|prefix| (rule.mark, *prefix)));
    let by_mark = by_mark.filter(|&(mark, prefix)| table.has_mark(prefix.family(), mark)).map(|(_, prefix)| prefix);
    let mut prefixes: Vec<Prefix> = by_service.chain(by_mark).collect();
    prefixes.sort_unstable_by_key(|prefix| (prefix.address, prefix.length));
    prefixes.dedup();
    prefixes
}
