//! The machine's links, addresses and routes as plain data, for an engine to look things up in.
//!
//! The host layer fills a [`Network`] from netlink and replaces it as a whole when something
//! changes; a replayed transcript builds one by hand.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use crate::base::hash::FixedHash;
use crate::base::{Address, Family, LinkId, Mac, Prefix};

use super::policy::{Flow, Policy};

/// What kind of header a link's frames start with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkLayer {
    Ethernet,
    /// No link-layer header: a TUN device.
    Ip,
}

/// An interface that frames come from and go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub id: LinkId,
    /// The kernel's interface index.
    pub index: u32,
    pub name: String,
    pub layer: LinkLayer,
    pub mac: Mac,
    /// The address of ours that the kernel does not know: frames to it are for this director alone.
    pub virtual_mac: Option<Mac>,
    /// Largest IP packet in bytes.
    pub mtu: u32,
    pub up: bool,
    /// Addresses configured on the interface, with their networks.
    pub addresses: Vec<Prefix>,
}

impl Link {
    /// The Ethernet address that frames of ours leave with.
    pub fn source_mac(&self) -> Mac {
        self.virtual_mac.unwrap_or(self.mac)
    }
}

/// What a route says about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    Unicast,
    /// An address of this host.
    Local,
    Broadcast,
    Multicast,
    /// Blackhole, unreachable, prohibit: nothing goes there.
    Unreachable,
    /// The search goes on with the next rule, as if its table had no route there.
    Throw,
}

/// One entry of the routing table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    pub destination: Prefix,
    pub kind: RouteKind,
    /// The link packets leave by; for local routes the link that carries the address.
    pub link: Option<LinkId>,
    pub gateway: Option<IpAddr>,
    /// The source address the kernel prefers for this route.
    pub source: Option<IpAddr>,
    /// Lower is preferred among routes of the same length.
    pub metric: u32,
    /// MTU of the route where it differs from the link's.
    pub mtu: Option<u32>,
}

/// Where a packet for some address goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    pub kind: RouteKind,
    pub link: LinkId,
    /// The address whose link-layer address is needed: the gateway's, or the destination itself.
    pub address: Address,
    /// The address this host would use as the source; zero where it has none.
    pub source: Address,
    pub mtu: u32,
}

/// The link by which packets are handed to this host's own stack: a TUN device of the director's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostLink {
    pub link: LinkId,
    /// Whether what this host answers to masqueraded packets comes back by it.
    pub answers: bool,
}

/// Links, addresses and routes at one moment.
#[derive(Clone, Debug)]
pub struct Network {
    links: Vec<Link>,
    /// Sorted: longest prefix first, then lowest metric.
    v4: Vec<Route>,
    v6: Vec<Route>,
    /// Where the host has rules beyond those of every host; by family.
    policies: [Option<Policy>; 2],
    /// Addresses of this host, for the question asked of every packet.
    local: HashSet<(Family, Address), FixedHash>,
    /// Which of [`FILTER_BITS`] bits the folds of those addresses set.
    local_filter: [u64; FILTER_BITS / 64],
    /// Whole networks that count as this host's (`ip route add local …`).
    local_networks: Vec<Prefix>,
    /// Whether there are any besides loopback's.
    has_local_networks: bool,
    /// The broadcast addresses of the links' networks.
    broadcasts: Vec<Ipv4Addr>,
    /// Families whose frames to the links' own addresses are left to the kernel alone.
    own_mac_left: [bool; 2],
    /// Virtual addresses that are left to the kernel, as it cannot be kept from answering.
    ceded: HashSet<(Family, Address), FixedHash>,
    /// Links that may bring IPv4 packets from addresses of this host (`accept_local`).
    from_own: Vec<LinkId>,
    host: Option<HostLink>,
}

impl Default for Network {
    fn default() -> Network {
        Network {
            links: Vec::new(),
            v4: Vec::new(),
            v6: Vec::new(),
            policies: [None, None],
            local: HashSet::default(),
            local_filter: [0; FILTER_BITS / 64],
            local_networks: Vec::new(),
            has_local_networks: false,
            broadcasts: Vec::new(),
            own_mac_left: [false; 2],
            ceded: HashSet::default(),
            from_own: Vec::new(),
            host: None,
        }
    }
}

impl Network {
    /// Builds the lookup tables. Local routes for the links' own addresses are added where
    /// `routes` does not have them.
    pub fn new(links: Vec<Link>, routes: Vec<Route>) -> Network {
        let computed =
            links.iter().filter(|link| link.up).flat_map(|link| &link.addresses).filter_map(broadcast_address);
        // Given by the operator, beside the address or as a route.
        let given = routes.iter().filter_map(|route| match route.destination.address {
            IpAddr::V4(address) if route.kind == RouteKind::Broadcast && route.destination.length == 32 => {
                Some(address)
            }
            _ => None,
        });
        let broadcasts = computed.chain(given).collect();
        let mut network = Network { links, broadcasts, ..Network::default() };
        let own: Vec<Route> = network
            .links
            .iter()
            .flat_map(|link| {
                link.addresses.iter().map(|prefix| Route {
                    destination: Prefix::host(prefix.address),
                    kind: RouteKind::Local,
                    link: Some(link.id),
                    gateway: None,
                    source: Some(prefix.address),
                    metric: 0,
                    mtu: None,
                })
            })
            .collect();
        for route in routes.into_iter().chain(own) {
            if route.kind == RouteKind::Local {
                if route.destination == Prefix::host(route.destination.address) {
                    let address = Address::from(route.destination.address);
                    network.local.insert((route.destination.family(), address));
                    let bit = filter_bit(address);
                    network.local_filter[bit / 64] |= 1 << (bit % 64);
                } else {
                    network.local_networks.push(route.destination);
                    network.has_local_networks |= !route.destination.address.is_loopback();
                }
            }
            match route.destination.family() {
                Family::V4 => network.v4.push(route),
                Family::V6 => network.v6.push(route),
            }
        }
        sort_routes(&mut network.v4);
        sort_routes(&mut network.v6);
        network
    }

    /// Has the packets of `family` routed by rules of their own instead of by destination alone.
    pub fn set_policy(&mut self, family: Family, policy: Policy) {
        self.policies[family as usize] = Some(policy);
    }

    /// Whether more than the destination may matter to how a packet of `family` is routed.
    #[inline]
    pub fn has_policy(&self, family: Family) -> bool {
        self.policies[family as usize].is_some()
    }

    /// The same routes with every packet leaving by `link` alone, which knows no neighbours: a TUN
    /// device, behind which the kernel routes. Sources stay those of the links packets would
    /// have left by.
    pub fn through(&self, link: Link) -> Network {
        let by_link = |route: &Route| {
            let way = route.link.and_then(|id| self.link(id));
            let destination = route.gateway.unwrap_or(route.destination.address);
            let source = way.and_then(|way| self.preferred_source(way, route.destination.family(), destination.into()));
            let mtu = [route.mtu, way.map(|way| way.mtu)].into_iter().flatten().min();
            Route { link: Some(link.id), gateway: None, source: route.source.or(source), mtu, ..*route }
        };
        let routes = self.v4.iter().chain(&self.v6).map(by_link).collect();
        Network::new(vec![link], routes)
    }

    /// Whether frames of `family` to a link's own address are taken, or only those to its virtual
    /// MAC: where the kernel would answer or forward them too, they are left to it.
    pub fn set_own_mac_taken(&mut self, family: Family, taken: bool) {
        self.own_mac_left[family as usize] = !taken;
    }

    /// Lets `link` bring packets from this host's own IPv4 addresses, as its `accept_local` does.
    pub fn accept_local(&mut self, link: LinkId) {
        self.from_own.push(link);
    }

    /// Whether a packet that came by `link` may be from one of this host's IPv4 addresses: a real
    /// server behind the director answers in a VIP's name.
    pub fn accepts_local(&self, link: LinkId) -> bool {
        self.from_own.contains(&link)
    }

    /// Has packets for this host's own stack handed over by `link`, which may bring some from it.
    pub fn set_host(&mut self, link: Link, answers: bool) {
        let id = link.id;
        if self.link(id).is_none() {
            self.links.push(link);
        }
        self.accept_local(id);
        self.host = Some(HostLink { link: id, answers });
    }

    /// Where packets for this host's own stack are handed over, if they can be.
    pub fn host(&self) -> Option<HostLink> {
        self.host
    }

    /// Whether a packet that came by `link` from `source` was made by this host's own stack.
    #[inline]
    pub fn is_from_host(&self, link: LinkId, family: Family, source: Address) -> bool {
        self.host.is_some_and(|host| host.link == link) && self.is_local(family, source)
    }

    /// Whether a frame to `mac` that came by `link` is meant for this director.
    #[inline]
    pub fn takes(&self, link: &Link, mac: Mac, family: Family) -> bool {
        Some(mac) == link.virtual_mac || (mac == link.mac && !self.own_mac_left[family as usize])
    }

    /// Leaves these addresses, and no others, to the kernel, whatever services they have.
    pub fn set_ceded(&mut self, addresses: impl IntoIterator<Item = (Family, Address)>) {
        self.ceded = addresses.into_iter().collect();
    }

    /// Whether packets to `address` are left to the kernel.
    #[inline]
    pub fn is_ceded(&self, family: Family, address: Address) -> bool {
        !self.ceded.is_empty() && self.ceded.contains(&(family, address))
    }

    pub fn links(&self) -> &[Link] {
        &self.links
    }

    pub fn link(&self, id: LinkId) -> Option<&Link> {
        match self.links.get(id.index()) {
            Some(link) if link.id == id => Some(link),
            _ => self.links.iter().find(|link| link.id == id),
        }
    }

    /// Whether `address` belongs to this host.
    pub fn is_local(&self, family: Family, address: Address) -> bool {
        self.local.contains(&(family, address))
            || self.local_networks.iter().any(|prefix| prefix.contains(address.to_ip(family)))
    }

    /// Whether `address` may belong to this host: false for nearly all that do not, at a fraction
    /// of the price. Loopback addresses are not thought of.
    #[inline]
    pub fn may_be_local(&self, family: Family, address: Address) -> bool {
        let bit = filter_bit(address);
        (self.local_filter[bit / 64] >> (bit % 64) & 1 != 0 && self.local.contains(&(family, address)))
            || self.has_local_networks && self.is_local(family, address)
    }

    /// All addresses of this host, and the networks that count as its own.
    pub fn local_prefixes(&self) -> impl Iterator<Item = Prefix> + '_ {
        let addresses = self.local.iter().map(|(family, address)| Prefix::host(address.to_ip(*family)));
        addresses.chain(self.local_networks.iter().copied())
    }

    /// Whether `address` is the broadcast address of one of the links' networks.
    pub fn is_broadcast(&self, address: Ipv4Addr) -> bool {
        self.broadcasts.contains(&address)
    }

    /// Looks up where packets go that this host sends to `address`; `None` where no route leads
    /// there or its link is down.
    pub fn next_hop(&self, family: Family, address: Address) -> Option<NextHop> {
        self.next_hop_of(&Flow::to(family, address))
    }

    /// Looks up where packets of `flow` go; `None` where no route leads there or its link is down.
    pub fn next_hop_of(&self, flow: &Flow) -> Option<NextHop> {
        let (family, address) = (flow.family, flow.destination);
        let route = self.route(flow)??;
        if matches!(route.kind, RouteKind::Unreachable | RouteKind::Throw) {
            return None;
        }
        let link = route.link.and_then(|id| self.link(id)).filter(|link| link.up || route.kind == RouteKind::Local)?;
        let source =
            route.source.or_else(|| self.preferred_source(link, family, route.gateway.map_or(address, Address::from)));
        Some(NextHop {
            kind: route.kind,
            link: link.id,
            address: route.gateway.map_or(address, Address::from),
            source: source.map_or(Address::ZERO, Address::from),
            mtu: route.mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu)),
        })
    }

    /// Whether a route or a rule says that packets of `flow` get nowhere, rather than none saying
    /// anything.
    pub fn is_barred(&self, flow: &Flow) -> bool {
        self.route(flow).is_some_and(|route| route.is_none_or(|route| route.kind == RouteKind::Unreachable))
    }

    /// The route of a flow; `Some(None)` where a rule bars it.
    fn route(&self, flow: &Flow) -> Option<Option<&Route>> {
        if let Some(policy) = &self.policies[flow.family as usize] {
            return policy.route(flow);
        }
        let table = match flow.family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        };
        let destination = flow.destination.to_ip(flow.family);
        table.iter().find(|route| route.destination.contains(destination)).map(Some)
    }

    /// The address of `link` in the network of `peer`, else its first one that is not link-local.
    fn preferred_source(&self, link: &Link, family: Family, peer: Address) -> Option<IpAddr> {
        let link_local = |address: IpAddr| match address {
            IpAddr::V4(_) => false,
            IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
        };
        let mut candidates = link.addresses.iter().filter(|prefix| prefix.family() == family);
        candidates
            .clone()
            .find(|prefix| prefix.contains(peer.to_ip(family)))
            .or_else(|| candidates.clone().find(|prefix| !link_local(prefix.address)))
            .or_else(|| candidates.next())
            .map(|prefix| prefix.address)
    }
}

/// Bits of the filter in front of the local addresses.
const FILTER_BITS: usize = 1024;

#[inline]
fn filter_bit(address: Address) -> usize {
    (address.fold().wrapping_mul(0x9e37_79b1) >> 22) as usize % FILTER_BITS
}

/// Puts routes in the order in which the first that covers an address is the best: longest prefix,
/// then lowest metric. A local route wins over a unicast one of the same length, as the local table
/// is asked first.
pub(super) fn sort_routes(routes: &mut [Route]) {
    routes.sort_by_key(|route| (u8::MAX - route.destination.length, route.kind != RouteKind::Local, route.metric));
}

/// The address that means everybody on a network; the smallest networks have none (RFC 3021).
fn broadcast_address(network: &Prefix) -> Option<Ipv4Addr> {
    match network.address {
        IpAddr::V4(own) if (1..31).contains(&network.length) => {
            Some(Ipv4Addr::from(u32::from(own) | u32::MAX >> network.length))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(id: u32, addresses: &[&str]) -> Link {
        Link {
            id: LinkId(id),
            index: id + 1,
            name: format!("eth{id}"),
            layer: LinkLayer::Ethernet,
            mac: Mac([2, 0, 0, 0, 0, id as u8]),
            virtual_mac: None,
            mtu: 1500,
            up: true,
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        }
    }

    fn route(destination: &str, link: u32, gateway: Option<&str>) -> Route {
        Route {
            destination: destination.parse().unwrap(),
            kind: RouteKind::Unicast,
            link: Some(LinkId(link)),
            gateway: gateway.map(|text| text.parse().unwrap()),
            source: None,
            metric: 0,
            mtu: None,
        }
    }

    #[test]
    fn the_longest_prefix_wins_and_names_gateway_and_source() {
        let network = Network::new(
            vec![link(0, &["10.0.0.1/24"]), link(1, &["172.16.0.1/24"])],
            vec![
                route("0.0.0.0/0", 0, Some("10.0.0.254")),
                route("10.0.0.0/24", 0, None),
                route("172.16.0.0/24", 1, None),
                route("192.168.77.0/24", 1, Some("172.16.0.254")),
            ],
        );
        let hop = |text: &str| network.next_hop(Family::V4, Address::from(text.parse::<IpAddr>().unwrap())).unwrap();
        assert_eq!(hop("192.168.77.5").address, Address::v4([172, 16, 0, 254]));
        assert_eq!(hop("192.168.77.5").source, Address::v4([172, 16, 0, 1]));
        assert_eq!(hop("172.16.0.11").address, Address::v4([172, 16, 0, 11]));
        assert_eq!(hop("8.8.8.8").address, Address::v4([10, 0, 0, 254]));
        assert_eq!(hop("10.0.0.1").kind, RouteKind::Local);
        assert!(network.next_hop(Family::V6, Address::ZERO).is_none());
    }
}
