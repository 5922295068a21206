//! The ports on the links that are served: which are open, and what each receives.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::base::{LinkId, Tick};
use crate::host::discovery::{ALL_NODES, group_mac};
use crate::host::network::View;
use crate::host::posture::Forwarding;
use crate::port::af_packet::fanout::{ClientNetwork, FlowHash, Steering};
use crate::port::af_packet::filter::{LinkFilter, solicited_node};
use crate::port::af_packet::program::Program;
use crate::port::{Fanout, FanoutGroup, PacketOptions, Queueing, Reception, Selection};
use crate::table::Link;
use crate::worker::Message;

use super::addresses::Addresses;
use super::barriers::Barriers;
use super::options::Options;
use super::tunnels::Tunnels;
use super::workers::{Way, Workers};
use super::xdp::{Ground, XdpPorts};

/// Milliseconds after which a port that could not be opened is tried again.
const RETRY: u64 = 10_000;

/// Why a link has no port, and when it is tried again.
#[derive(Debug)]
struct Refused {
    why: String,
    again: Tick,
}

/// Every link's port.
pub struct LinkPorts {
    /// The links with open ports.
    open: BTreeSet<LinkId>,
    /// Links whose port could not be opened; what is the same as before is not complained about again.
    refused: BTreeMap<LinkId, Refused>,
    /// What was said of missing and refused links last.
    said: Vec<String>,
    /// Somebody else may be watching what leaves.
    watched: bool,
    /// How several workers share the clients; nothing for a single one.
    pub steering: Option<FlowHash>,
    /// The program of each open link's fanout group: to replace one takes the kernel long.
    programs: BTreeMap<LinkId, Arc<Program>>,
    /// The links whose small frames come by AF_XDP.
    pub xdp: XdpPorts,
    /// The links by which super-frames in tunnels leave whole.
    pub tunnels: Tunnels,
    /// The links where frames to the virtual MAC end before the kernel's stack.
    pub barriers: Barriers,
    /// The real servers that are masqueraded, where that matters.
    masqueraded: BTreeSet<IpAddr>,
}

impl LinkPorts {
    pub fn new(options: &Options, seed: u64) -> LinkPorts {
        let several = NonZeroU32::new(options.workers.into()).filter(|workers| workers.get() > 1);
        LinkPorts {
            open: BTreeSet::new(),
            refused: BTreeMap::new(),
            said: Vec::new(),
            watched: true,
            steering: several.map(|workers| FlowHash { workers, network: ClientNetwork::HOST, seed: seed as u32 }),
            programs: BTreeMap::new(),
            xdp: XdpPorts::new(options),
            tunnels: Tunnels::default(),
            barriers: Barriers::default(),
            masqueraded: BTreeSet::new(),
        }
    }

    pub fn are_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// The links with open ports.
    pub fn links<'a>(&'a self, view: &'a View) -> impl Iterator<Item = &'a Link> {
        self.open.iter().filter_map(|&id| view.network.link(id))
    }

    /// Notes whether somebody else watches; whether that is new.
    pub fn note_watched(&mut self, watched: bool) -> bool {
        std::mem::replace(&mut self.watched, watched) != watched
    }

    /// Whether a port that could not be opened is to be tried again.
    pub fn is_due(&self, now: Tick) -> bool {
        self.refused.values().any(|refused| refused.again <= now)
    }

    /// Which links are not served although they should be, in sentences.
    pub fn lines(&self, view: &View) -> Vec<String> {
        let missing = view.missing.iter().map(|name| format!("{name}: no link has this name; waiting for one"));
        let refused = self.refused.iter().filter_map(|(&id, refused)| {
            view.network.link(id).map(|link| format!("{} is not served: {}", link.name, refused.why))
        });
        missing.chain(refused).collect()
    }

    /// Whether [`LinkPorts::lines`] has changed since this was asked last. What is new is logged.
    pub fn have_news(&mut self, view: &View) -> bool {
        let lines = self.lines(view);
        lines.iter().filter(|line| !self.said.contains(line)).for_each(|line| log::warn!("{line}"));
        let changed = lines != self.said;
        self.said = lines;
        changed
    }

    /// Opens a port on every served link that has none, and closes those of links that went. The first that could not
    /// be opened, and why.
    pub fn open(&mut self, now: Tick, workers: &Workers, view: &View, addresses: &Addresses) -> io::Result<()> {
        let served: BTreeSet<LinkId> = view.served.iter().copied().collect();
        for &id in self.open.difference(&served) {
            workers.close(id);
        }
        self.open.retain(|id| served.contains(id));
        self.programs.retain(|id, _| served.contains(id));
        // One that is down may be another one when it comes up.
        self.refused.retain(|&id, _| served.contains(&id) && view.network.link(id).is_some_and(|link| link.up));
        self.xdp.retain(|id| served.contains(&id));
        self.tunnels.retain(|id| served.contains(&id));
        let program = self.program(addresses);
        let mut first = Ok(());
        for id in view.served.clone() {
            let Some(link) = view.network.link(id).cloned() else { continue };
            let waits = self.refused.get(&id).is_some_and(|refused| refused.again > now);
            if !link.up || self.open.contains(&id) || waits {
                continue;
            }
            match self.open_port(workers, view, addresses, &link) {
                Ok(()) => {
                    self.open.insert(id);
                    self.programs.extend(program.clone().map(|program| (id, program)));
                    self.refused.remove(&id);
                }
                Err(error) => {
                    // The first workers may have theirs: nobody would adjust them.
                    workers.close(id);
                    self.refused.insert(id, Refused { why: error.to_string(), again: now + RETRY });
                    first = first.and(Err(io::Error::new(error.kind(), format!("{}: {error}", link.name))));
                }
            }
        }
        first
    }

    /// Opens a link's port for every worker. The kernel numbers the members of a fanout group in
    /// the order of joining, so the workers come in theirs.
    fn open_port(&mut self, workers: &Workers, view: &View, addresses: &Addresses, link: &Link) -> io::Result<()> {
        if self.xdp.are_wanted() {
            let selection = self.selection(view, addresses, link, workers.permission.forwarding);
            let packet = self.packet_options(view, addresses, link, FanoutGroup::New);
            if self.xdp.open(workers, link, &packet, selection)? {
                return Ok(());
            }
        }
        let mut group = FanoutGroup::New;
        for worker in 0..workers.count() {
            let way = Way::Packet(self.packet_options(view, addresses, link, group));
            let joined = workers.open(worker, link.id, way)?.map_err(io::Error::from)?;
            if let Some(number) = joined {
                group = FanoutGroup::Join(number);
            }
        }
        Ok(())
    }

    fn packet_options(&self, view: &View, addresses: &Addresses, link: &Link, group: FanoutGroup) -> PacketOptions {
        let mut options = PacketOptions::new(&link.name, link.index);
        options.reception = Reception::Promiscuous;
        options.filter = Some(filter(addresses, link));
        options.queueing = self.queueing(view, link.id);
        options.fanout = self.sharing(addresses).map(|steering| Fanout { group, program: steering.program() });
        options
    }

    /// Whether the open ports are to be adjusted as `before` has become `now`: a link has another Ethernet address
    /// (given by the operator, or a bridge's or bond's from a port of it), or another queueing discipline.
    pub fn would_receive_otherwise(&self, before: &View, now: &View) -> bool {
        let mac = |view: &View, id: LinkId| view.network.link(id).map(|link| link.mac);
        let differs =
            |id| mac(before, id) != mac(now, id) || before.queueless.contains(&id) != now.queueless.contains(&id);
        self.open.iter().any(|&id| differs(id))
    }

    /// Has the open ports receive what the owned addresses ask for.
    pub fn adjust(&mut self, workers: &Workers, view: &View, addresses: &Addresses) {
        for link in self.links(view) {
            let filter = Arc::new(filter(addresses, link));
            let queueing = self.queueing(view, link.id);
            workers.tell(|| Message::Adjust { link: link.id, filter: filter.clone(), queueing });
        }
        for (link, program) in self.steer(addresses) {
            workers.tell_first(Message::Steer { link, program });
        }
    }

    /// The links whose fanout groups need another program than they have, each with that, which it has from now on.
    fn steer(&mut self, addresses: &Addresses) -> Vec<(LinkId, Arc<Program>)> {
        let Some(wanted) = self.program(addresses) else { return Vec::new() };
        let differing = self.programs.iter_mut().filter(|(_, program)| **program != wanted);
        let replace = |(&link, program): (&LinkId, &mut Arc<Program>)| {
            *program = wanted.clone();
            (link, wanted.clone())
        };
        differing.map(replace).collect()
    }

    /// The program of fanout groups; nothing for a single worker.
    fn program(&self, addresses: &Addresses) -> Option<Arc<Program>> {
        self.sharing(addresses).map(|steering| Arc::new(steering.program()))
    }

    /// Has the AF_XDP ports take what is certain to be the director's, and nothing else.
    pub fn adjust_xdp(
        &mut self,
        view: &View,
        addresses: &Addresses,
        masqueraded: impl Iterator<Item = IpAddr>,
        forwarding: Forwarding,
    ) {
        if !self.xdp.are_wanted() {
            return;
        }
        self.masqueraded = masqueraded.collect();
        let mut xdp = std::mem::take(&mut self.xdp);
        xdp.adjust(&view.network, |link| self.selection(view, addresses, link, forwarding));
        self.xdp = xdp;
    }

    /// Has the open ports carry super-frames in tunnels whole, those that were not asked yet; whether there were any.
    pub fn carry_tunnels(&mut self, workers: &Workers) -> bool {
        self.tunnels.keep(workers, self.open.iter().copied())
    }

    /// Has frames to the virtual MAC end before the kernel's stack on the open links; whether that changed anything.
    pub fn keep_barriers(&mut self, view: &View) -> bool {
        let links = self.open.iter().filter_map(|&id| view.network.link(id));
        self.barriers.keep(view, links)
    }

    /// Where the queueing discipline holds nothing back, frames may pass by it; but whoever watches the
    /// link would not see them.
    fn queueing(&self, view: &View, link: LinkId) -> Queueing {
        if view.queueless.contains(&link) && !self.watched { Queueing::BypassPlain } else { Queueing::Discipline }
    }

    /// Which of a link's frames AF_XDP takes.
    fn selection(&self, view: &View, addresses: &Addresses, link: &Link, forwarding: Forwarding) -> Selection {
        if view.carriers.contains(&link.id) {
            return Selection::default();
        }
        let ground = Ground {
            network: &view.network,
            virtual_mac: addresses.virtual_mac_in_use(),
            owned: &addresses.owned,
            masqueraded: &self.masqueraded,
            forwarding,
        };
        ground.selection(link)
    }

    /// How several workers share the clients; nothing for a single one.
    pub fn sharing(&self, addresses: &Addresses) -> Option<Steering> {
        Some(Steering::new(self.steering?, &addresses.virtual_prefixes))
    }
}

/// What a link's ports let through: frames to its own address and the virtual one, and
/// neighbour discovery for what is owned, and for all nodes: whose address is another now.
fn filter(addresses: &Addresses, link: &Link) -> Program {
    let groups = addresses
        .owned
        .iter()
        .filter(|entry| entry.address.is_ipv6())
        .map(|entry| solicited_node(entry.address.into()));
    let groups = groups.chain([group_mac(ALL_NODES)]);
    let mut filter = LinkFilter { addresses: vec![link.mac], groups: groups.collect() };
    filter.addresses.extend(addresses.virtual_mac);
    filter.groups.sort_unstable();
    filter.groups.dedup();
    // With more groups than a filter holds, everything is let through and looked at.
    filter.program().unwrap_or_else(|_| Program::everything())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Mac;
    use crate::engine::{Config, HostStack};
    use crate::port::af_packet::interpreter::{Packet, run};
    use crate::run::permit::Permission;
    use crate::run::workers::Plan;
    use crate::table::Network;
    use crate::table::network::LinkLayer;
    use crate::worker::Clock;

    fn ports() -> LinkPorts {
        LinkPorts::new(&Options::of(&[]), 1)
    }

    /// A view of served links with these addresses.
    fn view(macs: &[u8]) -> View {
        let link = |(number, &mac): (usize, &u8)| Link {
            id: LinkId(number as u32),
            index: number as u32 + 1,
            name: format!("eth{number}"),
            layer: LinkLayer::Ethernet,
            mac: Mac([2, 0, 0, 0, 0, mac]),
            virtual_mac: None,
            mtu: 1500,
            up: true,
            addresses: vec![],
        };
        let links: Vec<Link> = macs.iter().enumerate().map(link).collect();
        View {
            served: links.iter().map(|link| link.id).collect(),
            network: Network::new(links, vec![]),
            carriers: BTreeSet::new(),
            missing: vec![],
            queueless: BTreeSet::new(),
        }
    }

    #[test]
    fn links_that_are_not_served_are_named_and_tried_again() {
        let engine = Config { maximum_connections: 16, seed: 1, host_stack: HostStack::Beside };
        let plan = Plan { workers: 2, cores: vec![], nice: 0, engine, ftp_ports: vec![] };
        let mut workers = Workers::start(&plan, Clock::new(), Permission::default()).unwrap();
        let addresses = Addresses::new(&Options::of(&[]));
        let mut ports = ports();
        // No link of this machine has such an index.
        let at = |index: u32, up: bool| {
            let mut view = view(&[1]);
            let link = Link { index, up, ..view.network.link(LinkId(0)).unwrap().clone() };
            view.network = Network::new(vec![link], vec![]);
            view.missing = vec!["eth7".into()];
            view
        };
        let broken = at(i32::MAX as u32, true);
        let now = Tick(1000);
        assert!(ports.open(now, &workers, &broken, &addresses).is_err());
        assert!(!ports.are_open() && ports.have_news(&broken) && !ports.have_news(&broken));
        let lines = ports.lines(&broken);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("eth7: no link") && lines[1].starts_with("eth0 is not served: "), "{lines:?}");
        // Not at once; but later, or as soon as the link was down.
        assert!(!ports.is_due(now) && ports.open(now, &workers, &broken, &addresses).is_ok());
        assert!(ports.is_due(now + RETRY) && ports.open(now + RETRY, &workers, &broken, &addresses).is_err());
        assert!(!ports.have_news(&broken), "the same is not said again");
        assert!(ports.open(now + RETRY, &workers, &at(i32::MAX as u32, false), &addresses).is_ok());
        assert_eq!(ports.lines(&broken).len(), 1);
        assert!(ports.open(now + RETRY, &workers, &broken, &addresses).is_err());
        workers.stop();
    }

    #[test]
    fn whose_address_is_another_now_is_heard() {
        let addresses = Addresses::new(&Options::of(&[]));
        let view = view(&[1]);
        let program = filter(&addresses, view.network.link(LinkId(0)).unwrap());
        let sent = |kind: u8| {
            let mut frame = [0; 100];
            frame[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 1]);
            frame[12..14].copy_from_slice(&[0x86, 0xdd]);
            (frame[20], frame[54]) = (58, kind);
            run(&program, &Packet { data: &frame, network: &frame[14..], protocol: 0x86dd, ..Packet::default() }) > 0
        };
        assert!(sent(136), "an advertisement that nobody asked for");
        assert!(!sent(128), "an echo request");
    }

    #[test]
    fn a_fanout_program_is_replaced_where_it_differs_alone() {
        let two = Options::of(&["--workers", "2"]);
        let mut addresses = Addresses::new(&two);
        let mut ports = LinkPorts::new(&two, 1);
        let links = |told: &[(LinkId, Arc<Program>)]| told.iter().map(|&(link, _)| link).collect::<Vec<_>>();
        assert_eq!(links(&ports.steer(&addresses)), [], "there is no port");
        // As it is when ports were opened.
        let opened = ports.program(&addresses).unwrap();
        ports.programs.extend([1, 2].map(|link| (LinkId(link), opened.clone())));
        assert_eq!(links(&ports.steer(&addresses)), [], "they have it already");

        addresses.virtual_prefixes = vec!["10.0.0.100/32".parse().unwrap()];
        let told = ports.steer(&addresses);
        assert_eq!(links(&told), [LinkId(1), LinkId(2)]);
        assert!(told.iter().all(|(_, program)| *program == ports.program(&addresses).unwrap() && *program != opened));
        assert_eq!(links(&ports.steer(&addresses)), [], "they were told");

        // One that was opened anew has the new one, the others are told of the next.
        ports.programs.insert(LinkId(3), ports.program(&addresses).unwrap());
        assert_eq!(links(&ports.steer(&addresses)), []);
        ports.steering.as_mut().unwrap().network = ClientNetwork { v4: 0xffff_ff00, v6: 64 };
        assert_eq!(links(&ports.steer(&addresses)), [1, 2, 3].map(LinkId));

        let mut single = LinkPorts::new(&Options::of(&[]), 1);
        assert!(single.program(&addresses).is_none() && single.steer(&addresses).is_empty());
    }

    #[test]
    fn ports_follow_the_address_of_their_link() {
        let mut ports = ports();
        assert!(!ports.would_receive_otherwise(&view(&[1]), &view(&[2])), "none is open");
        ports.open.insert(LinkId(1));
        assert!(!ports.would_receive_otherwise(&view(&[1, 2]), &view(&[7, 2])));
        assert!(ports.would_receive_otherwise(&view(&[1, 2]), &view(&[1, 7])));
        let mut passing = view(&[1, 2]);
        passing.queueless.insert(LinkId(0));
        assert!(!ports.would_receive_otherwise(&view(&[1, 2]), &passing));
        passing.queueless.insert(LinkId(1));
        assert!(ports.would_receive_otherwise(&view(&[1, 2]), &passing));
    }
}
