//! The kernel's links, addresses, routes and neighbours: read by rtnetlink, followed live.
//!
//! ```text
//! kernel ── link, address, route groups ──► Watcher::drain ─► "the network changed" ─► Watcher::read ─► View
//!        └─ neighbour group ──────────────► Watcher::drain ─► NeighbourEvent … ─► each worker's Neighbours
//! ```
//!
//! The rule: subscribe first, read afterwards, and read everything anew at each change, so that a
//! [`View`] is never older than the last `drain`. Reading needs no privilege.
//!
//! Rules (`ip rule`) are followed by source and destination address and incoming link, with `not`,
//! `goto` and `suppress_prefixlength`, to whatever tables they lead (ip-rule(8)). A host that has no
//! rules but the three of every host, and no `throw` in their tables, has its tables made one, which is
//! quicker. Rules that look at a mark, a port, a protocol, a user, the type of service, DSCP, the
//! outgoing link or anything that is not known match nothing here; routes for one type of service are
//! left out, and VRFs do not exist. A route that leaves by a link that is not served stays in the view: its
//! packets must not take another way instead.

mod decode;
mod rules;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;

use crate::base::{Family, LinkId, Mac};
use crate::table::Network;
use crate::table::network::{Link, LinkLayer};

use super::neighbour::NeighbourEvent;
use super::netlink::{Connection, NetlinkError, Received, Subscription};
pub use decode::name_of;
use decode::{Interface, Topology};

/// More neighbour events than this at once are not worth keeping: reading the table is cheaper.
const MOST_EVENTS: usize = 4096;

// Messages about next-hop objects (linux/rtnetlink.h).
const RTM_NEWNEXTHOP: u16 = 104;
const RTM_DELNEXTHOP: u16 = 105;
const RTM_NEWNEXTHOPBUCKET: u16 = 116;
const RTM_DELNEXTHOPBUCKET: u16 = 117;

/// The interface index that the kernel gives to none.
const NO_INTERFACE: u32 = 0;

/// Which links the director serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LinkChoice {
    /// Every Ethernet link that is up; not the loopback, and not the ports of a bridge, bond or
    /// team, whose frames come in by the bridge again, nor a VRF's master, whose frames came in
    /// by its members.
    #[default]
    AllEthernet,
    /// The links of these names (`--interface`).
    Named(Vec<String>),
}

/// Which links are served, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serving {
    pub links: LinkChoice,
    /// The virtual MAC that each served Ethernet link answers to.
    pub virtual_mac: Option<Mac>,
}

/// The machine's network at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// All links, served or not, with their addresses, and the routes.
    pub network: Network,
    /// The links to open ports on, in the order of their interface indexes.
    pub served: Vec<LinkId>,
    /// Links that VLAN, macvlan or ipvlan links stand on, and ports of a bridge, bond or team: they receive frames for
    /// those too.
    pub carriers: BTreeSet<LinkId>,
    /// Names asked for that no link has at the moment.
    pub missing: Vec<String>,
    /// Those of the served links whose queueing discipline holds no packet back.
    pub queueless: BTreeSet<LinkId>,
}

/// What happened since the last look.
#[derive(Debug, Default)]
pub struct Changes {
    /// A link, address, route, rule or next-hop object changed, or a setting of links (forwarding, reverse path
    /// filter): [`Watcher::read`] again.
    pub network: bool,
    /// What the kernel learned or forgot, oldest first.
    pub neighbours: Vec<NeighbourEvent>,
    /// Notifications were lost: read everything again, [`Watcher::neighbours`] too.
    pub lost: bool,
}

/// Follows the kernel's view of the network.
///
/// Register its descriptor for reading; when it is readable, [`Watcher::drain`] it.
pub struct Watcher {
    notifications: Subscription,
    requests: Connection,
    ids: LinkIds,
}

impl Watcher {
    /// Subscribes to changes; nothing is read yet.
    pub fn open() -> io::Result<Watcher> {
        let groups = [
            libc::RTNLGRP_LINK,
            libc::RTNLGRP_NEIGH,
            libc::RTNLGRP_IPV4_IFADDR,
            libc::RTNLGRP_IPV4_ROUTE,
            libc::RTNLGRP_IPV6_IFADDR,
            libc::RTNLGRP_IPV6_ROUTE,
            libc::RTNLGRP_TC,
            libc::RTNLGRP_IPV4_NETCONF,
            libc::RTNLGRP_IPV6_NETCONF,
            libc::RTNLGRP_IPV4_RULE,
            libc::RTNLGRP_IPV6_RULE,
            libc::RTNLGRP_NEXTHOP,
        ];
        Ok(Watcher {
            notifications: Subscription::open(NETLINK_ROUTE, &groups)?,
            requests: Connection::open(NETLINK_ROUTE)?,
            ids: LinkIds::default(),
        })
    }

    /// Reads links, addresses and routes. A link keeps its id for as long as it exists.
    ///
    /// # Errors
    /// Where the kernel does not answer, or its tables never stand still.
    pub fn read(&mut self, serving: &Serving) -> Result<View, NetlinkError> {
        let interfaces = self.requests.list(RouteNetlinkMessage::GetLink(Default::default()), decode::interface)?;
        let addresses = self.requests.list(RouteNetlinkMessage::GetAddress(Default::default()), decode::address)?;
        let (mut routes, mut rules) = (Vec::new(), Vec::new());
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            routes.extend(self.requests.list(decode::route_request(family), decode::route)?);
            match self.requests.list(decode::rule_request(family), decode::rule) {
                Ok(listed) => rules.extend(listed),
                // A kernel that was built without policy routing.
                Err(NetlinkError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let mut view = view(Topology { interfaces, addresses, routes, rules }, serving, &mut self.ids);
        accept_local(&mut view.network);
        Ok(view)
    }

    /// The number of a link that the director makes itself, whatever index the kernel gives it.
    pub fn own_link(&mut self) -> LinkId {
        self.ids.of(NO_INTERFACE)
    }

    /// Lists the kernel's neighbour table, as the events that would have built it.
    ///
    /// # Errors
    /// Where the kernel does not answer.
    pub fn neighbours(&mut self) -> Result<Vec<NeighbourEvent>, NetlinkError> {
        let entries = self.requests.list(RouteNetlinkMessage::GetNeighbour(Default::default()), decode::neighbour)?;
        Ok(entries.into_iter().map(|entry| entry.event(&mut self.ids)).collect())
    }

    /// Takes in what the kernel said since the last time; never waits.
    ///
    /// # Errors
    /// Where the socket fails for good.
    pub fn drain(&mut self) -> io::Result<Changes> {
        let mut changes = Changes::default();
        loop {
            match self.notifications.receive()? {
                Received::Nothing => break,
                Received::Lost => changes.lost = true,
                Received::Messages(messages) => {
                    for message in messages.filter(|_| !changes.lost) {
                        match message.kind {
                            // Of the routes that go with a next-hop object, or take another one's way, the kernel
                            // says nothing.
                            libc::RTM_NEWNETCONF | RTM_NEWNEXTHOP | RTM_DELNEXTHOP => {
                                changes.network = true;
                                continue;
                            }
                            // Flows are not spread over next-hop groups: their buckets mean nothing here.
                            RTM_NEWNEXTHOPBUCKET | RTM_DELNEXTHOPBUCKET => continue,
                            _ => {}
                        }
                        let Some(told) = message.route() else {
                            changes.network |= decode::is_about_network(message.kind);
                            continue;
                        };
                        match decode::notification(told) {
                            Some(decode::Notification::Network) => changes.network = true,
                            Some(decode::Notification::Neighbour(entry)) => {
                                changes.neighbours.push(entry.event(&mut self.ids));
                            }
                            None => {}
                        }
                    }
                }
            }
            changes.lost |= changes.neighbours.len() > MOST_EVENTS;
        }
        if changes.lost {
            changes.network = true;
            changes.neighbours.clear();
        }
        Ok(changes)
    }
}

impl AsRawFd for Watcher {
    fn as_raw_fd(&self) -> RawFd {
        self.notifications.as_raw_fd()
    }
}

/// Ids of links by the kernel's interface index, handed out once.
#[derive(Debug, Default)]
struct LinkIds {
    by_index: HashMap<u32, LinkId>,
}

impl LinkIds {
    fn of(&mut self, index: u32) -> LinkId {
        let next = LinkId(self.by_index.len() as u32);
        *self.by_index.entry(index).or_insert(next)
    }
}

/// Puts together what was read.
fn view(topology: Topology, serving: &Serving, ids: &mut LinkIds) -> View {
    let Topology { mut interfaces, addresses, routes, rules } = topology;
    interfaces.sort_by_key(|interface| interface.index);
    let served: BTreeSet<u32> =
        interfaces.iter().filter(|interface| is_served(interface, &serving.links)).map(|each| each.index).collect();
    let missing = match &serving.links {
        LinkChoice::AllEthernet => Vec::new(),
        LinkChoice::Named(names) => {
            names.iter().filter(|&name| interfaces.iter().all(|each| each.name != *name)).cloned().collect()
        }
    };
    let queueless =
        interfaces.iter().filter(|each| !each.queues && served.contains(&each.index)).map(|each| ids.of(each.index));
    let queueless = queueless.collect();
    let below = interfaces.iter().filter_map(|interface| interface.stands_on);
    let ports = interfaces.iter().filter(|interface| interface.is_port).map(|interface| interface.index);
    let carriers = below.chain(ports).map(|index| ids.of(index)).collect();
    let indexes: HashMap<String, u32> = interfaces.iter().map(|each| (each.name.clone(), each.index)).collect();
    let links = interfaces
        .into_iter()
        .map(|interface| Link {
            id: ids.of(interface.index),
            index: interface.index,
            name: interface.name,
            layer: interface.layer,
            mac: interface.mac,
            virtual_mac: serving
                .virtual_mac
                .filter(|_| served.contains(&interface.index) && interface.layer == LinkLayer::Ethernet),
            mtu: interface.mtu,
            up: interface.up,
            addresses: addresses
                .iter()
                .filter(|(index, _)| *index == interface.index)
                .map(|(_, prefix)| *prefix)
                .collect(),
        })
        .collect();
    let mut policies = rules::policies(&rules, &routes, &indexes, ids);
    let routes = tables::flatten(routes, ids);
    let mut network = Network::new(links, routes);
    for family in [Family::V4, Family::V6] {
        if let Some(policy) = policies[family as usize].take() {
            network.set_policy(family, policy);
        }
    }
    View { network, served: served.into_iter().map(|index| ids.of(index)).collect(), carriers, missing, queueless }
}

/// Notes which links may bring packets from this host's own addresses: the kernel says nothing of
/// such a setting's change, so it is what it was when the network changed last.
fn accept_local(network: &mut Network) {
    let set = |name: &str| {
        fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{name}/accept_local"))
            .is_ok_and(|value| value.trim() != "0")
    };
    let all = set("all");
    let links: Vec<LinkId> = network.links().iter().filter(|link| all || set(&link.name)).map(|link| link.id).collect();
    links.into_iter().for_each(|link| network.accept_local(link));
}

fn is_served(interface: &Interface, choice: &LinkChoice) -> bool {
    match choice {
        LinkChoice::AllEthernet => {
            interface.layer == LinkLayer::Ethernet
                && interface.up
                && !interface.loopback
                && !interface.is_port
                && !interface.is_vrf
        }
        LinkChoice::Named(names) => names.contains(&interface.name),
    }
}
