//! AF_XDP ports (`--port xdp`): which links have one, what each takes, and why the others have none.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;
use std::io;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use crate::base::{Family, LinkId, Mac, Prefix};
use crate::host::network::View;
use crate::host::posture::Forwarding;
use crate::host::responder::Owned;
use crate::port::{PacketOptions, PortError, Selection, Selector, XdpOptions};
use crate::table::{Link, Network};

use super::options::{Options, PortKind};
use super::workers::{Way, Workers};

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
    /// What is taken of the links that have one, and what changes that.
    taken: BTreeMap<LinkId, Selection>,
    selectors: BTreeMap<LinkId, Selector>,
    /// Why other links have none.
    refused: BTreeMap<LinkId, String>,
    /// What was said of them last.
    said: Vec<String>,
}

impl XdpPorts {
    pub fn new(options: &Options) -> XdpPorts {
        XdpPorts {
            wanted: options.port == PortKind::Xdp && options.tun.is_none(),
            workers: options.workers,
            taken: BTreeMap::new(),
            selectors: BTreeMap::new(),
            refused: BTreeMap::new(),
            said: Vec::new(),
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
        self.taken.remove(&link.id);
        self.selectors.remove(&link.id);
        let outcome = match Selector::new(&link.name, &selection) {
            Ok(selector) => {
                let options = XdpOptions::new(packet.clone(), selector.chooser());
                open_port(workers, link, &options)?.map(|()| selector)
            }
            Err(error) => Err(error),
        };
        let opened = outcome.is_ok();
        match outcome {
            Ok(selector) => {
                self.refused.remove(&link.id);
                self.taken.insert(link.id, selection);
                self.selectors.insert(link.id, selector);
            }
            Err(error) => {
                let why = error.source().map_or_else(|| error.to_string(), |source| format!("{error} ({source})"));
                self.refused.insert(link.id, why);
            }
        }
        Ok(opened)
    }

    /// Forgets the links that `keep` does not know any more.
    pub fn retain(&mut self, keep: impl Fn(LinkId) -> bool) {
        self.taken.retain(|&id, _| keep(id));
        self.selectors.retain(|&id, _| keep(id));
        self.refused.retain(|&id, _| keep(id));
    }

    /// Has each port take what `selection` says of its link. The workers need not hear of it.
    pub fn adjust(&mut self, network: &Network, selection: impl Fn(&Link) -> Selection) {
        for (&id, taken) in &mut self.taken {
            let Some(link) = network.link(id) else { continue };
            let wanted = selection(link);
            if wanted == *taken {
                continue;
            }
            let Some(selector) = self.selectors.get_mut(&id) else { continue };
            *taken = match selector.select(&wanted) {
                Ok(()) => wanted,
                Err(error) => {
                    let why = error.source().map_or_else(String::new, |source| format!(" ({source})"));
                    log::warn!("{error}{why}");
                    Selection::default()
                }
            };
        }
    }

    /// Whether [`XdpPorts::lines`] has changed since this was asked last.
    pub fn have_news(&mut self, view: &View) -> bool {
        let lines = self.lines(view);
        let changed = lines != self.said;
        self.said = lines;
        changed
    }

    /// How the links' frames come, in sentences.
    pub fn lines(&self, view: &View) -> Vec<String> {
        if self.wanted && self.workers != 1 {
            return vec![format!("AF_XDP is not used: it serves a single worker, and there are {}", self.workers)];
        }
        let name = |id: &LinkId| view.network.link(*id).map_or("?", |link| link.name.as_str());
        let (sharing, taking): (Vec<_>, Vec<_>) = self.taken.keys().partition(|id| view.carriers.contains(id));
        let names: Vec<&str> = taking.into_iter().map(name).collect();
        let mut lines = Vec::new();
        if !names.is_empty() {
            lines.push(format!("{}: small UDP frames come by AF_XDP", names.join(", ")));
        }
        let nothing = "AF_XDP takes nothing: links that stand on it share its frames";
        lines.extend(sharing.into_iter().map(|id| format!("{}: {nothing}", name(id))));
        lines.extend(self.refused.iter().map(|(id, why)| format!("{}: AF_XDP is not used: {why}", name(id))));
        lines
    }
}

/// Opens a port for the worker, as soon as its queues are free.
fn open_port(workers: &Workers, link: &Link, options: &XdpOptions) -> io::Result<Result<(), PortError>> {
    let mut tries = 0;
    loop {
        tries += 1;
        match workers.open(0, link.id, Way::Xdp(Box::new(options.clone())))? {
            Err(PortError::XdpBusy { .. }) if tries < TRIES => thread::sleep(INTERVAL),
            outcome => return Ok(outcome.map(drop)),
        }
    }
}

/// What decides about the frames that are taken.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    pub network: &'a Network,
    /// The Ethernet address that owned addresses have, while there are some.
    pub virtual_mac: Option<Mac>,
    pub owned: &'a [Owned],
    /// Masqueraded real servers.
    pub masqueraded: &'a BTreeSet<IpAddr>,
    pub forwarding: Forwarding,
}

impl Ground<'_> {
    /// Which of a link's frames AF_XDP may take from the kernel and everybody else: what comes to the virtual
    /// MAC, and at the link's own address what the kernel would neither take nor forward.
    pub fn selection(&self, link: &Link) -> Selection {
        // A virtual MAC that a link of this host has as well is none: the kernel listens to it.
        let is_free = |mac: &Mac| self.network.links().iter().all(|link| link.mac != *mac);
        let virtual_mac = self.virtual_mac.filter(is_free);
        let is_left = |address: &IpAddr| !self.forwarding.of(Family::of(address));
        let answered = self.owned.iter().map(|entry| entry.address).filter(|_| virtual_mac.is_none());
        let mut host: Vec<Prefix> = self.network.local_prefixes().collect();
        host.sort_unstable_by_key(|prefix| (prefix.address, prefix.length));
        Selection {
            virtual_macs: virtual_mac.into_iter().collect(),
            own: link.mac,
            to: answered.filter(is_left).collect(),
            from: self.masqueraded.iter().copied().filter(is_left).collect(),
            host,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use nix::sched::{CloneFlags, unshare};

    use super::super::permit::Permission;
    use super::super::workers::Plan;
    use super::*;
    use crate::engine::{Config, HostStack};
    use crate::host::responder::Role;
    use crate::table::network::LinkLayer;
    use crate::worker::Clock;

    const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const VIRTUAL: Mac = Mac([0, 0, 0x5e, 0, 1, 1]);

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn link() -> Link {
        Link {
            id: LinkId(0),
            index: 1,
            name: "eth0".into(),
            layer: LinkLayer::Ethernet,
            mac: OWN,
            virtual_mac: None,
            mtu: 1500,
            up: true,
            addresses: vec!["10.0.0.1/24".parse().unwrap(), "fd00::1/64".parse().unwrap()],
        }
    }

    #[test]
    fn only_what_the_kernel_has_no_use_for_is_taken() {
        let network = Network::new(vec![link()], vec![]);
        let owned = [Owned { address: address("10.0.0.100"), role: Role::Virtual, link: None }];
        let masqueraded = BTreeSet::from([address("10.0.2.11"), address("fd00:2::11")]);
        let forwarding = Forwarding::default();
        let ground = Ground {
            network: &network,
            virtual_mac: Some(VIRTUAL),
            owned: &owned,
            masqueraded: &masqueraded,
            forwarding,
        };
        let usual = Selection {
            virtual_macs: vec![VIRTUAL],
            own: OWN,
            to: vec![],
            from: masqueraded.iter().copied().collect(),
            host: vec![Prefix::host(address("10.0.0.1")), Prefix::host(address("fd00::1"))],
        };
        assert_eq!(ground.selection(&link()), usual);

        // With the links' own address the host's other packets come too.
        let bare = Selection { virtual_macs: vec![], to: vec![owned[0].address], ..usual.clone() };
        for virtual_mac in [None, Some(OWN)] {
            assert_eq!(Ground { virtual_mac, ..ground }.selection(&link()), bare, "{virtual_mac:?}");
        }

        // A host that forwards may do so with what no connection knows.
        let forwarding = Forwarding { v4: true, v6: false };
        let six = vec![address("fd00:2::11")];
        assert_eq!(
            Ground { forwarding, ..ground }.selection(&link()),
            Selection { from: six.clone(), ..usual.clone() }
        );
        let forwarding_bare = Ground { forwarding, virtual_mac: None, ..ground };
        assert_eq!(forwarding_bare.selection(&link()), Selection { to: vec![], from: six, ..bare });
    }

    #[test]
    fn a_link_has_its_port_again_once_the_one_before_is_closed() {
        let test = || {
            let pair = "ip link add name left index 7 type veth peer name right index 8";
            let up = "ip link set left up && ip link set right up";
            let made =
                |_| Command::new("sh").arg("-c").arg(format!("{pair} && {up}")).status().is_ok_and(|it| it.success());
            if !unshare(CloneFlags::CLONE_NEWNET).is_ok_and(made) {
                return println!("not run: links of a network namespace are not to be had here");
            }
            let engine = Config { maximum_connections: 16, seed: 1, host_stack: HostStack::Beside };
            let plan = Plan { workers: 1, cores: vec![], nice: 0, engine, ftp_ports: vec![] };
            let mut workers = Workers::start(&plan, Clock::new(), Permission::default()).unwrap();
            let mut ports = XdpPorts { wanted: true, workers: 1, ..XdpPorts::default() };
            let left = Link { index: 7, name: "left".into(), ..link() };
            let packet = PacketOptions::new("left", 7);
            for time in 0..4 {
                let opened = ports.open(&workers, &left, &packet, Selection::default()).unwrap();
                if time == 0 && !opened {
                    return println!("not run: {:?}", ports.refused);
                }
                assert!(opened, "time {time}: {:?}", ports.refused);
                workers.close(left.id);
            }
            workers.stop();
        };
        thread::spawn(test).join().unwrap();
    }

    #[test]
    fn links_without_are_named_with_the_reason() {
        let network = Network::new(vec![link()], vec![]);
        let mut view = View {
            network,
            served: vec![LinkId(0)],
            carriers: BTreeSet::new(),
            missing: vec![],
            queueless: BTreeSet::new(),
        };
        let mut ports = XdpPorts { wanted: true, workers: 1, ..XdpPorts::default() };
        assert!(ports.are_wanted() && ports.lines(&view).is_empty());
        ports.refused.insert(LinkId(0), "it is Tuesday".into());
        assert_eq!(ports.lines(&view), ["eth0: AF_XDP is not used: it is Tuesday"]);
        assert!(ports.have_news(&view) && !ports.have_news(&view));
        ports.retain(|_| false);
        ports.taken.insert(LinkId(0), Selection::default());
        assert_eq!(ports.lines(&view), ["eth0: small UDP frames come by AF_XDP"]);
        view.carriers.insert(LinkId(0));
        assert_eq!(ports.lines(&view), ["eth0: AF_XDP takes nothing: links that stand on it share its frames"]);
        assert!(ports.have_news(&view));
        ports.workers = 2;
        assert!(!ports.are_wanted() && ports.lines(&view)[0].contains("single worker"));
    }
}
