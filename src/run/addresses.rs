//! The addresses that are answered for, and where clients' packets go.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::base::{Address, Family, Mac, Prefix};
use crate::engine::Engine;
use crate::host::discovery;
use crate::host::membership::{Group, Membership};
use crate::host::responder::{Owned, Role};
use crate::host::virtual_mac::VirtualMac;
use crate::port::af_packet::fanout::ClientNetwork;
use crate::table::{Link, MarkRule, Network};

use super::options::Options;

/// Virtual addresses and gateways, as last settled.
pub struct Addresses {
    /// Those that are answered for, in order.
    pub owned: Arc<[Owned]>,
    gateways: Vec<IpAddr>,
    /// What the owned ones have as their Ethernet address; nothing where it is the links' own.
    pub virtual_mac: Option<Mac>,
    /// The destinations of clients' packets.
    pub virtual_prefixes: Vec<Prefix>,
    /// Whether addresses are answered for; a standby leaves that to another director.
    pub holding: bool,
    /// The groups in which owned IPv6 addresses are asked for.
    membership: Membership,
}

impl Addresses {
    pub fn new(options: &Options) -> Addresses {
        Addresses {
            owned: Arc::default(),
            gateways: options.gateways().collect(),
            virtual_mac: options.vip_mac.own().map(VirtualMac::mac),
            virtual_prefixes: Vec::new(),
            holding: !options.standby,
            membership: Membership::default(),
        }
    }

    /// The virtual MAC, while there is somebody to have it.
    pub fn virtual_mac_in_use(&self) -> Option<Mac> {
        self.virtual_mac.filter(|_| !self.owned.is_empty())
    }

    /// Where clients' packets are led, by routes: single addresses that are answered for, and networks.
    pub fn led(&self) -> HashSet<Prefix> {
        let owned: HashSet<IpAddr> = self.owned.iter().map(|entry| entry.address).collect();
        let is_led = |prefix: &&Prefix| owned.contains(&prefix.address) || **prefix != Prefix::host(prefix.address);
        self.virtual_prefixes.iter().filter(is_led).copied().collect()
    }

    /// The addresses that are answered for, none of them the host's: virtual ones, those of mark rules that name single
    /// addresses, and the gateways.
    pub fn owned_by(&self, model: &Engine, network: &Network) -> Vec<Owned> {
        if !self.holding {
            return Vec::new();
        }
        let is_host = |address: IpAddr| network.is_local(Family::of(&address), Address::from(address));
        let table = model.service_table();
        let by_service = table.virtual_addresses().map(|(family, address)| address.to_ip(family));
        let by_mark = model.marks().iter().flat_map(|rule| {
            single_destinations(rule).filter(|address| table.has_mark(Family::of(address), rule.mark))
        });
        let addresses: BTreeSet<IpAddr> = by_service.chain(by_mark).filter(|&address| !is_host(address)).collect();
        let gateways = self.gateways.iter().filter(|&&address| !is_host(address)).map(|&address| Owned {
            address,
            role: Role::Gateway,
            link: None,
        });
        let virtual_ones = addresses.into_iter().map(|address| Owned { address, role: Role::Virtual, link: None });
        let mut owned: Vec<Owned> = virtual_ones.chain(gateways).collect();
        owned.sort_by_key(|entry| entry.address);
        owned
    }

    /// Joins the groups that questions for owned IPv6 addresses go to, for switches that carry
    /// them to members alone.
    pub fn join_groups<'a>(&mut self, links: impl Iterator<Item = &'a Link>) {
        let mut groups = Vec::new();
        for link in links {
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
}

/// The single addresses that a mark rule names as destinations: virtual ones, where its mark has a service.
pub fn single_destinations(rule: &MarkRule) -> impl Iterator<Item = IpAddr> {
    let single = |prefix: &&Prefix| **prefix == Prefix::host(prefix.address);
    rule.matching.destinations.iter().filter(single).map(|prefix| prefix.address)
}

/// Where clients' packets go: the services' addresses, and what the rules of mark services match.
pub fn virtual_prefixes(model: &Engine) -> Vec<Prefix> {
    let table = model.service_table();
    let by_service = table.virtual_addresses().map(|(family, address)| Prefix::host(address.to_ip(family)));
    let by_mark = model
        .marks()
        .iter()
        .flat_map(|rule| rule.matching.destinations.iter().map(|prefix| (rule.mark, prefix.network())));
    let by_mark = by_mark.filter(|&(mark, prefix)| table.has_mark(prefix.family(), mark)).map(|(_, prefix)| prefix);
    let mut prefixes: Vec<Prefix> = by_service.chain(by_mark).collect();
    prefixes.sort_unstable_by_key(|prefix| (prefix.address, prefix.length));
    prefixes.dedup();
    prefixes
}

/// The networks whose clients have to meet at one worker: the largest that a persistent service has for its clients.
pub fn client_network(model: &Engine) -> ClientNetwork {
    let persistent = model.service_table().iter().filter(|service| service.is_persistent());
    let networks = persistent.map(|service| match service.family {
        Family::V4 => ClientNetwork { v4: service.config.netmask, ..ClientNetwork::HOST },
        Family::V6 => ClientNetwork { v6: service.config.netmask.min(128) as u8, ..ClientNetwork::HOST },
    });
    networks.fold(ClientNetwork::HOST, ClientNetwork::including)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::LinkId;
    use crate::engine::{Config, HostStack};
    use crate::table::network::LinkLayer;

    #[test]
    fn nothing_is_answered_for_that_the_host_has() {
        let addresses = Addresses::new(&Options::of(&["--gateway-ip", "172.16.0.1", "--gateway-ip", "172.16.0.2"]));
        let engine = Engine::new(&Config { maximum_connections: 16, seed: 1, host_stack: HostStack::Beside });
        let link = Link {
            id: LinkId(0),
            index: 1,
            name: "eth1".into(),
            layer: LinkLayer::Ethernet,
            mac: Mac([2, 0, 0, 0, 0, 1]),
            virtual_mac: None,
            mtu: 1500,
            up: true,
            addresses: vec!["172.16.0.1/24".parse().unwrap()],
        };
        let owned = addresses.owned_by(&engine, &Network::new(vec![link], vec![]));
        let owned: Vec<String> = owned.iter().map(|entry| entry.address.to_string()).collect();
        assert_eq!(owned, ["172.16.0.2"], "the host would be cut off");
    }
}
