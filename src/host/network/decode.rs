//! rtnetlink messages taken for what they mean here; what means nothing here is left out.

use std::net::IpAddr;

use netlink_packet_core::Nla;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoKind, InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHop, RouteNextHopFlags, RouteType,
    RouteVia,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::base::{Family, Mac, Prefix};
use crate::host::neighbour::{KernelState, NeighbourEvent};
use crate::table::RouteKind;
use crate::table::network::LinkLayer;
use crate::table::policy;

use super::LinkIds;

/// What the kernel said, not yet put together.
#[derive(Debug, Default)]
pub struct Topology {
    pub interfaces: Vec<Interface>,
    /// Interface index and address.
    pub addresses: Vec<(u32, Prefix)>,
    pub routes: Vec<KernelRoute>,
    pub rules: Vec<KernelRule>,
}

/// A link as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub index: u32,
    pub name: String,
    pub layer: LinkLayer,
    pub mac: Mac,
    pub mtu: u32,
    pub up: bool,
    pub loopback: bool,
    /// Its frames belong to a bridge, bond or team above it.
    pub is_port: bool,
    pub is_vrf: bool,
    /// It has a queueing discipline that may hold packets back.
    pub queues: bool,
    /// The link below a VLAN, macvlan or ipvlan link.
    pub stands_on: Option<u32>,
}

/// The routing tables: those that every host has, in the order the kernel asks them, and others
/// that only rules lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    Local,
    Main,
    Default,
    Other(u32),
}

impl Table {
    pub fn of(number: u32) -> Table {
        match number {
            255 => Table::Local,
            254 => Table::Main,
            253 => Table::Default,
            other => Table::Other(other),
        }
    }

    pub fn number(self) -> u32 {
        match self {
            Table::Local => 255,
            Table::Main => 254,
            Table::Default => 253,
            Table::Other(number) => number,
        }
    }
}

/// A rule as the kernel lists it: with names of links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelRule {
    pub family: Family,
    pub priority: u32,
    pub inverted: bool,
    pub from: Option<Prefix>,
    pub to: Option<Prefix>,
    pub incoming: Option<String>,
    /// It asks for something that packets here do not have or that is not looked at: a mark, a user, a port, what
    /// is not known at all.
    pub unmatchable: bool,
    pub action: policy::RuleAction,
}

/// A route as the kernel lists it: with a table and interface indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelRoute {
    pub table: Table,
    pub destination: Prefix,
    pub kind: RouteKind,
    pub interface: Option<u32>,
    pub gateway: Option<IpAddr>,
    pub source: Option<IpAddr>,
    pub metric: u32,
    pub mtu: Option<u32>,
}

/// A neighbour entry as the kernel lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelNeighbour {
    pub interface: u32,
    pub address: IpAddr,
    pub state: KernelState,
}

impl KernelNeighbour {
    pub fn event(self, ids: &mut LinkIds) -> NeighbourEvent {
        NeighbourEvent { link: ids.of(self.interface), address: self.address, state: self.state }
    }
}

/// What a notification is about.
#[derive(Debug, PartialEq, Eq)]
pub enum Notification {
    Network,
    Neighbour(KernelNeighbour),
}

/// Whether a message of this type tells of the network, for one that cannot be read.
pub fn is_about_network(kind: u16) -> bool {
    matches!(
        kind,
        libc::RTM_NEWLINK
            | libc::RTM_DELLINK
            | libc::RTM_NEWADDR
            | libc::RTM_DELADDR
            | libc::RTM_NEWROUTE
            | libc::RTM_DELROUTE
            | libc::RTM_NEWRULE
            | libc::RTM_DELRULE
            | libc::RTM_NEWQDISC
            | libc::RTM_DELQDISC
    )
}

pub fn notification(message: RouteNetlinkMessage) -> Option<Notification> {
    match message {
        // Bridges and wireless links announce their inner life with a family of their own.
        RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link) => {
            (link.header.interface_family == AddressFamily::Unspec).then_some(Notification::Network)
        }
        RouteNetlinkMessage::NewAddress(_) | RouteNetlinkMessage::DelAddress(_) => Some(Notification::Network),
        RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => {
            table_of(&route).map(|_| Notification::Network)
        }
        RouteNetlinkMessage::NewRule(_) | RouteNetlinkMessage::DelRule(_) => Some(Notification::Network),
        RouteNetlinkMessage::NewQueueDiscipline(_) | RouteNetlinkMessage::DelQueueDiscipline(_) => {
            Some(Notification::Network)
        }
        RouteNetlinkMessage::NewNeighbour(_) => neighbour(message).map(Notification::Neighbour),
        RouteNetlinkMessage::DelNeighbour(gone) => neighbour_of(&gone)
            .map(|entry| Notification::Neighbour(KernelNeighbour { state: KernelState::Unusable, ..entry })),
        _ => None,
    }
}

/// The name of a link.
pub fn name_of(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

pub fn interface(message: RouteNetlinkMessage) -> Option<Interface> {
    let RouteNetlinkMessage::NewLink(LinkMessage { header, attributes, .. }) = message else {
        return None;
    };
    let mut interface = Interface {
        index: header.index,
        name: String::new(),
        layer: match header.link_layer_type {
            LinkLayerType::Ether | LinkLayerType::Loopback => LinkLayer::Ethernet,
            _ => LinkLayer::Ip,
        },
        mac: Mac::default(),
        mtu: 0,
        up: header.flags.contains(LinkFlags::Up),
        loopback: header.flags.contains(LinkFlags::Loopback),
        is_port: false,
        is_vrf: false,
        queues: true,
        stands_on: None,
    };
    let (mut port_of_vrf, mut below, mut is_sharing) = (false, None, false);
    for attribute in attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name = name,
            LinkAttribute::Mtu(mtu) => interface.mtu = mtu,
            LinkAttribute::Address(bytes) => interface.mac = mac(&bytes).unwrap_or_default(),
            LinkAttribute::Link(index) => below = Some(index),
            LinkAttribute::Controller(_) => interface.is_port = true,
            LinkAttribute::Qdisc(name) => interface.queues = name != NO_QUEUE,
            LinkAttribute::LinkInfo(infos) => {
                interface.is_vrf = infos.contains(&LinkInfo::Kind(InfoKind::Vrf));
                is_sharing = infos.iter().any(|info| {
                    let LinkInfo::Kind(kind) = info else { return false };
                    matches!(kind, InfoKind::Vlan | InfoKind::MacVlan | InfoKind::MacVtap | InfoKind::IpVlan)
                });
                port_of_vrf = infos.contains(&LinkInfo::PortKind(InfoPortKind::Vrf));
            }
            _ => {}
        }
    }
    // A VRF takes its members' packets, not their frames.
    interface.is_port &= !port_of_vrf;
    interface.stands_on = below.filter(|_| is_sharing);
    Some(interface)
}

pub fn address(message: RouteNetlinkMessage) -> Option<(u32, Prefix)> {
    let RouteNetlinkMessage::NewAddress(AddressMessage { header, attributes, .. }) = message else {
        return None;
    };
    // Not the host's (yet): duplicate address detection is under way, or found another owner.
    let optimistic = header.flags.contains(AddressHeaderFlags::Optimistic);
    if header.flags.contains(AddressHeaderFlags::Dadfailed)
        || header.flags.contains(AddressHeaderFlags::Tentative) && !optimistic
    {
        return None;
    }
    // On a point-to-point link "address" is the peer's and "local" is ours.
    let mut found = None;
    for attribute in attributes {
        match attribute {
            AddressAttribute::Local(address) => found = Some(address),
            AddressAttribute::Address(address) => found = found.or(Some(address)),
            _ => {}
        }
    }
    found.map(|address| (header.index, Prefix::new(address, header.prefix_len)))
}

/// What a link has that hands every packet to its device at once.
const NO_QUEUE: &str = "noqueue";

/// Asks for the routes of one family.
pub fn route_request(family: AddressFamily) -> RouteNetlinkMessage {
    let mut request = RouteMessage::default();
    request.header.address_family = family;
    RouteNetlinkMessage::GetRoute(request)
}

pub fn route(message: RouteNetlinkMessage) -> Option<KernelRoute> {
    let RouteNetlinkMessage::NewRoute(route) = message else {
        return None;
    };
    let table = table_of(&route)?;
    let family = match route.header.address_family {
        AddressFamily::Inet => Family::V4,
        AddressFamily::Inet6 => Family::V6,
        _ => return None,
    };
    // Source-specific IPv6 routes are a kind of policy, and so are those for one type of service.
    if route.header.source_prefix_length != 0 || route.header.tos != 0 || route.header.flags.contains(RouteFlags::Dead)
    {
        return None;
    }
    let mut found = KernelRoute {
        table,
        destination: Prefix::new(family.unspecified(), route.header.destination_prefix_length),
        kind: match route.header.kind {
            RouteType::Unicast => RouteKind::Unicast,
            RouteType::Local | RouteType::Anycast => RouteKind::Local,
            RouteType::Broadcast => RouteKind::Broadcast,
            RouteType::Multicast => RouteKind::Multicast,
            RouteType::Throw => RouteKind::Throw,
            _ => RouteKind::Unreachable,
        },
        interface: None,
        gateway: None,
        source: None,
        metric: 0,
        mtu: None,
    };
    let mut way = Way::default();
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(address) => found.destination.address = ip(address)?,
            RouteAttribute::PrefSource(address) => found.source = ip(address),
            RouteAttribute::Priority(metric) => found.metric = *metric,
            RouteAttribute::Metrics(metrics) => {
                found.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            RouteAttribute::MultiPath(hops) => {
                // Flows are not spread over several paths: the first live one takes all.
                if let Some(hop) = hops.iter().find(|hop| !hop.flags.contains(RouteNextHopFlags::Dead)) {
                    way = Way::of(hop);
                }
            }
            other => way.note(other),
        }
    }
    found.interface = way.interface;
    found.gateway = way.gateway;
    // A gateway of the other family, a label or another encapsulation, a next-hop object that the
    // kernel does not spell out: such a route cannot be followed, and must not be passed by.
    let strange = way.foreign || way.gateway.is_some_and(|gateway| Family::of(&gateway) != family);
    if strange || found.kind == RouteKind::Unicast && found.interface.is_none() {
        found.kind = RouteKind::Unreachable;
    }
    Some(found)
}

/// Where a route (or one of its paths) leads.
#[derive(Default)]
struct Way {
    interface: Option<u32>,
    gateway: Option<IpAddr>,
    /// It leads where frames of ours cannot follow.
    foreign: bool,
}

impl Way {
    fn of(hop: &RouteNextHop) -> Way {
        let mut way = Way { interface: Some(hop.interface_index), ..Way::default() };
        hop.attributes.iter().for_each(|attribute| way.note(attribute));
        way
    }

    fn note(&mut self, attribute: &RouteAttribute) {
        match attribute {
            RouteAttribute::Oif(index) => self.interface = Some(*index),
            RouteAttribute::Gateway(address) => self.gateway = ip(address),
            RouteAttribute::Via(RouteVia::Inet(address)) => self.gateway = Some(IpAddr::V4(*address)),
            RouteAttribute::Via(RouteVia::Inet6(address)) => self.gateway = Some(IpAddr::V6(*address)),
            RouteAttribute::Via(_) | RouteAttribute::Encap(_) | RouteAttribute::NewDestination(_) => {
                self.foreign = true;
            }
            _ => {}
        }
    }
}

pub fn neighbour(message: RouteNetlinkMessage) -> Option<KernelNeighbour> {
    match message {
        RouteNetlinkMessage::NewNeighbour(entry) => neighbour_of(&entry),
        _ => None,
    }
}

fn neighbour_of(entry: &NeighbourMessage) -> Option<KernelNeighbour> {
    // Entries of a bridge's forwarding table come by the same group with a family of their own.
    let ours = matches!(entry.header.family, AddressFamily::Inet | AddressFamily::Inet6);
    if !ours || entry.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let (mut address, mut hardware) = (None, None);
    for attribute in &entry.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(IpAddr::V6(*v6)),
            NeighbourAttribute::LinkLayerAddress(bytes) => hardware = mac(bytes),
            _ => {}
        }
    }
    let state = match (entry.header.state, hardware) {
        (NeighbourState::Permanent | NeighbourState::Noarp, Some(mac)) => KernelState::Permanent(mac),
        (NeighbourState::Reachable, Some(mac)) => KernelState::Reachable(mac),
        (NeighbourState::Stale | NeighbourState::Delay | NeighbourState::Probe, Some(mac)) => KernelState::Stale(mac),
        _ => KernelState::Unusable,
    };
    Some(KernelNeighbour { interface: entry.header.ifindex, address: address?, state })
}

/// `FRA_PAD`.
const PADDING: u16 = 18;

/// Asks for the rules of one family.
pub fn rule_request(family: AddressFamily) -> RouteNetlinkMessage {
    let mut request = RuleMessage::default();
    request.header.family = family;
    RouteNetlinkMessage::GetRule(request)
}

pub fn rule(message: RouteNetlinkMessage) -> Option<KernelRule> {
    let RouteNetlinkMessage::NewRule(RuleMessage { header, attributes, .. }) = message else {
        return None;
    };
    let family = match header.family {
        AddressFamily::Inet => Family::V4,
        AddressFamily::Inet6 => Family::V6,
        _ => return None,
    };
    let mut found = KernelRule {
        family,
        priority: 0,
        inverted: header.flags.contains(RuleFlags::Invert),
        from: None,
        to: None,
        incoming: None,
        unmatchable: header.tos != 0,
        action: policy::RuleAction::Nothing,
    };
    let (mut table, mut suppressed, mut goto) = (u32::from(header.table), None, None);
    let (mut mark, mut mask) = (0, u32::MAX);
    for attribute in attributes {
        match attribute {
            RuleAttribute::Priority(priority) => found.priority = priority,
            RuleAttribute::Source(address) => found.from = Some(Prefix::new(address, header.src_len)),
            RuleAttribute::Destination(address) => found.to = Some(Prefix::new(address, header.dst_len)),
            RuleAttribute::Iifname(name) => found.incoming = Some(name),
            RuleAttribute::Table(number) => table = number,
            // All ones: nothing is suppressed.
            RuleAttribute::SuppressPrefixLen(length) => suppressed = u8::try_from(length).ok(),
            RuleAttribute::Goto(priority) => goto = Some(priority),
            RuleAttribute::FwMark(value) => mark = value,
            RuleAttribute::FwMask(value) => mask = value,
            // Who made the rule, and what becomes of a packet once its route is found.
            RuleAttribute::Protocol(_)
            | RuleAttribute::Realm(_)
            | RuleAttribute::SuppressIfGroup(_)
            | RuleAttribute::L3MDev(false) => {}
            RuleAttribute::Other(other) if other.kind() == PADDING => {}
            // A port, a protocol, a user, DSCP, and whatever else a kernel may ask for.
            _ => found.unmatchable = true,
        }
    }
    // What is sent from here carries no mark.
    found.unmatchable |= mark & mask != 0;
    found.action = match header.action {
        RuleAction::ToTable => policy::RuleAction::Table { number: table, suppressed },
        // Where the rule that it leads to is not there, the search goes on with the next one.
        RuleAction::Goto if header.flags.contains(RuleFlags::Unresolved) => policy::RuleAction::Nothing,
        RuleAction::Goto => goto.map_or(policy::RuleAction::Nothing, policy::RuleAction::Goto),
        RuleAction::Blackhole | RuleAction::Unreachable | RuleAction::Prohibit => policy::RuleAction::Unreachable,
        _ => policy::RuleAction::Nothing,
    };
    Some(found)
}

/// The table of a route. Routes the kernel cloned for a single destination are in none.
fn table_of(route: &RouteMessage) -> Option<Table> {
    if route.header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let number = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(number) => Some(*number),
        _ => None,
    });
    Some(Table::of(number.unwrap_or(u32::from(route.header.table))))
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

fn mac(bytes: &[u8]) -> Option<Mac> {
    bytes.try_into().map(Mac).ok()
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::DefaultNla;
    use netlink_packet_route::route::RouteProtocol;

    use super::*;

    fn message(kind: RouteType, table: u8, attributes: Vec<RouteAttribute>) -> RouteNetlinkMessage {
        let mut route = RouteMessage::default();
        route.header.address_family = AddressFamily::Inet;
        route.header.destination_prefix_length = 24;
        route.header.table = table;
        route.header.kind = kind;
        route.attributes = attributes;
        RouteNetlinkMessage::NewRoute(route)
    }

    fn v4(text: &str) -> RouteAddress {
        RouteAddress::Inet(text.parse().unwrap())
    }

    #[test]
    fn routes_of_all_kinds() {
        let to = || RouteAttribute::Destination(v4("10.1.2.0"));
        let hop = |index: u32, gateway: &str, flags: RouteNextHopFlags| {
            let mut hop = RouteNextHop::default();
            hop.interface_index = index;
            hop.flags = flags;
            hop.attributes = vec![RouteAttribute::Gateway(v4(gateway))];
            hop
        };
        let via6 = RouteAttribute::Via(RouteVia::Inet6("fe80::1".parse().unwrap()));
        let rows = [
            (
                "through a gateway",
                message(
                    RouteType::Unicast,
                    254,
                    vec![
                        to(),
                        RouteAttribute::Oif(3),
                        RouteAttribute::Gateway(v4("10.0.0.254")),
                        RouteAttribute::Priority(100),
                        RouteAttribute::Metrics(vec![RouteMetric::Advmss(1000), RouteMetric::Mtu(1400)]),
                    ],
                ),
                Some((RouteKind::Unicast, Some(3), Some("10.0.0.254"), 100, Some(1400))),
            ),
            (
                "table number beyond a byte",
                message(RouteType::Unicast, 252, vec![to(), RouteAttribute::Oif(3), RouteAttribute::Table(1000)]),
                Some((RouteKind::Unicast, Some(3), None, 0, None)),
            ),
            (
                "multipath: the first live path",
                message(
                    RouteType::Unicast,
                    254,
                    vec![
                        to(),
                        RouteAttribute::MultiPath(vec![
                            hop(7, "10.7.0.1", RouteNextHopFlags::Dead),
                            hop(8, "10.8.0.1", RouteNextHopFlags::empty()),
                            hop(9, "10.9.0.1", RouteNextHopFlags::empty()),
                        ]),
                    ],
                ),
                Some((RouteKind::Unicast, Some(8), Some("10.8.0.1"), 0, None)),
            ),
            (
                "blackhole",
                message(RouteType::BlackHole, 254, vec![to()]),
                Some((RouteKind::Unreachable, None, None, 0, None)),
            ),
            (
                "prohibit",
                message(RouteType::Prohibit, 254, vec![to()]),
                Some((RouteKind::Unreachable, None, None, 0, None)),
            ),
            ("throw", message(RouteType::Throw, 254, vec![to()]), Some((RouteKind::Throw, None, None, 0, None))),
            (
                "local",
                message(RouteType::Local, 255, vec![to(), RouteAttribute::Oif(1)]),
                Some((RouteKind::Local, Some(1), None, 0, None)),
            ),
            (
                "an IPv6 gateway for IPv4",
                message(RouteType::Unicast, 254, vec![to(), RouteAttribute::Oif(3), via6]),
                Some((RouteKind::Unreachable, Some(3), Some("fe80::1"), 0, None)),
            ),
            (
                "a next-hop object that is not spelled out",
                message(RouteType::Unicast, 254, vec![to(), RouteAttribute::NhId(5)]),
                Some((RouteKind::Unreachable, None, None, 0, None)),
            ),
        ];
        for (what, message, expected) in rows {
            let found = route(message).map(|route| {
                assert_eq!(route.destination, "10.1.2.0/24".parse().unwrap(), "{what}");
                (route.kind, route.interface, route.gateway, route.metric, route.mtu)
            });
            let expected = expected.map(|(kind, interface, gateway, metric, mtu)| {
                (kind, interface, gateway.map(|text: &str| text.parse().unwrap()), metric, mtu)
            });
            assert_eq!(found, expected, "{what}");
        }
    }

    #[test]
    fn routes_for_one_type_of_service_are_no_routes_for_the_others() {
        let to = vec![RouteAttribute::Destination(v4("10.1.2.0")), RouteAttribute::Oif(3)];
        let RouteNetlinkMessage::NewRoute(mut told) = message(RouteType::Unicast, 254, to) else { panic!("a route") };
        assert!(route(RouteNetlinkMessage::NewRoute(told.clone())).is_some());
        told.header.tos = 0x10;
        assert_eq!(route(RouteNetlinkMessage::NewRoute(told)), None);
    }

    #[test]
    fn rules_that_ask_for_what_is_not_looked_at_match_nothing() {
        let other = |kind: u16, value: &[u8]| RuleAttribute::Other(DefaultNla::new(kind, value.to_vec()));
        let rows = [
            ("whose rule it is", RuleAttribute::Protocol(RouteProtocol::Static), false),
            ("padding", other(PADDING, &[]), false),
            ("no VRF", RuleAttribute::L3MDev(false), false),
            ("a VRF", RuleAttribute::L3MDev(true), true),
            ("the link it leaves by", RuleAttribute::Oifname("eth0".into()), true),
            ("a mark", RuleAttribute::FwMark(7), true),
            ("DSCP", other(25, &[46]), true),
            ("a flow label", other(26, &[0, 0, 0, 1]), true),
            ("what no kernel has so far", other(99, &[1]), true),
        ];
        for (what, attribute, unmatchable) in rows {
            let mut told = RuleMessage::default();
            told.header.family = AddressFamily::Inet;
            told.header.action = RuleAction::ToTable;
            told.attributes = vec![RuleAttribute::Priority(100), RuleAttribute::Table(50), attribute];
            let found = rule(RouteNetlinkMessage::NewRule(told)).unwrap();
            assert_eq!(found.unmatchable, unmatchable, "{what}");
        }
    }

    #[test]
    fn what_cannot_be_read_tells_of_the_network_all_the_same() {
        for kind in [libc::RTM_NEWLINK, libc::RTM_DELADDR, libc::RTM_NEWROUTE, libc::RTM_DELRULE, libc::RTM_NEWQDISC] {
            assert!(is_about_network(kind), "{kind}");
        }
        for kind in [libc::RTM_NEWNEIGH, libc::RTM_DELNEIGH, libc::RTM_NEWTCLASS, libc::RTM_NEWTFILTER] {
            assert!(!is_about_network(kind), "{kind}");
        }
    }

    #[test]
    fn neighbour_states_say_what_is_usable() {
        let entry = |state: NeighbourState, hardware: Option<[u8; 6]>| {
            let mut entry = NeighbourMessage::default();
            entry.header.family = AddressFamily::Inet;
            entry.header.ifindex = 2;
            entry.header.state = state;
            entry.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet([10, 0, 0, 9].into())));
            entry.attributes.extend(hardware.map(|bytes| NeighbourAttribute::LinkLayerAddress(bytes.to_vec())));
            entry
        };
        let mac = Mac([2, 0, 0, 0, 0, 9]);
        let rows = [
            (NeighbourState::Permanent, Some(mac.0), KernelState::Permanent(mac)),
            (NeighbourState::Reachable, Some(mac.0), KernelState::Reachable(mac)),
            (NeighbourState::Delay, Some(mac.0), KernelState::Stale(mac)),
            (NeighbourState::Incomplete, None, KernelState::Unusable),
            (NeighbourState::Failed, Some(mac.0), KernelState::Unusable),
        ];
        for (state, hardware, expected) in rows {
            assert_eq!(neighbour_of(&entry(state, hardware)).map(|found| found.state), Some(expected));
        }
        let gone = RouteNetlinkMessage::DelNeighbour(entry(NeighbourState::Reachable, Some(mac.0)));
        let Some(Notification::Neighbour(found)) = notification(gone) else { panic!("no event") };
        assert_eq!(found.state, KernelState::Unusable);
    }
}
