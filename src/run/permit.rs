//! Which changes of the configuration this machine lets us carry out, and what became of those
//! that it did.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::base::{Address, Family};
use crate::engine::Engine;
use crate::host::guard::{GuardError, GuardRules};
use crate::host::posture::{Forwarding, Posture, ServedAddress, Situation, posture};
use crate::host::virtual_mac::VirtualMac;
use crate::table::{Change, Errno, ForwardingMethod, Network, ServiceKey};

use super::addresses::single_destinations;

/// What decides: the addresses of the host, and whether the kernel can be kept from them.
#[derive(Clone, Debug, Default)]
pub struct Permission {
    pub network: Arc<Network>,
    /// The kernel hands packets over itself (`--tun`), so that nothing comes to both.
    pub by_tun: bool,
    /// Whether the guard is in place, and follows the configuration.
    pub guarded: bool,
    pub forwarding: Forwarding,
    pub virtual_mac: Option<VirtualMac>,
    pub gateways: Vec<IpAddr>,
}

impl Permission {
    /// # Errors
    /// EPERM for a virtual address that the kernel would answer for or forward to as well, and for
    /// a masqueraded real server whose replies it would forward; ENOMEM for more mark rules than the guard holds.
    pub fn check(&self, model: &Engine, change: &Change) -> Result<(), Errno> {
        let mut situation = self.situation();
        let table = model.service_table();
        match change {
            Change::AddService { key: ServiceKey::Address { address, .. }, .. } => {
                situation.vips.push(self.served(*address));
            }
            Change::AddService { key: ServiceKey::Mark { family, mark }, .. } => {
                let rules = model.marks().iter().filter(|rule| rule.mark == *mark);
                let addresses = rules.flat_map(single_destinations).filter(|address| Family::of(address) == *family);
                situation.vips.extend(addresses.map(|address| self.served(address)));
            }
            Change::AddMark { rule } => {
                let addresses = single_destinations(rule).filter(|one| table.has_mark(Family::of(one), rule.mark));
                situation.vips.extend(addresses.map(|address| self.served(address)));
            }
            Change::AddDestination { key, config, .. } | Change::EditDestination { key, config, .. }
                if config.method == ForwardingMethod::Masquerading =>
            {
                situation.masquerading.push(Family::of(&key.address));
            }
            _ => return Ok(()),
        }
        if let Some(refusal) = self.judged(&situation).refusals.first() {
            log::error!("{refusal}");
            return Err(Errno::EPERM);
        }
        self.hold_marks(model, change).map_err(|error| {
            log::error!("{error}");
            Errno::ENOMEM
        })
    }

    /// Whether the guard holds the mark rules that there are after `change`.
    fn hold_marks(&self, model: &Engine, change: &Change) -> Result<(), GuardError> {
        let is_about_marks =
            matches!(change, Change::AddMark { .. } | Change::AddService { key: ServiceKey::Mark { .. }, .. });
        if !self.guarded || !is_about_marks {
            return Ok(());
        }
        let mut rules = GuardRules { marks: model.marks().to_vec(), ..GuardRules::default() };
        match change {
            Change::AddMark { rule } => rules.marks.push(rule.clone()),
            Change::AddService { key, .. } => rules.add_service(key),
            _ => {}
        }
        let services = model.service_table().iter().map(|service| service.key);
        services.filter(|key| matches!(key, ServiceKey::Mark { .. })).for_each(|key| rules.add_service(&key));
        [Family::V4, Family::V6].into_iter().try_for_each(|family| rules.mark_alternatives(family).map(drop))
    }

    /// How the kernel is kept from everything that is configured, and from what it is not.
    pub fn posture(&self, model: &Engine) -> Posture {
        let mut situation = self.situation();
        let table = model.service_table();
        let by_service = table.virtual_addresses().map(|(family, vip)| vip.to_ip(family));
        let marks = model.marks().iter();
        let by_mark = marks.flat_map(|rule| {
            single_destinations(rule).filter(|address| table.has_mark(Family::of(address), rule.mark))
        });
        let addresses: BTreeSet<IpAddr> = by_service.chain(by_mark).collect();
        situation.vips = addresses.into_iter().map(|address| self.served(address)).collect();
        let masquerades = |family: Family| table.masqueraded().has_family(family);
        situation.masquerading = [Family::V4, Family::V6].into_iter().filter(|&family| masquerades(family)).collect();
        self.judged(&situation)
    }

    /// Whether frames to the interface's own MAC are the director's too.
    pub fn takes_interface_mac(&self, family: Family) -> bool {
        self.by_tun || self.situation().takes_interface_mac(family)
    }

    fn judged(&self, situation: &Situation) -> Posture {
        if self.by_tun { Posture::default() } else { posture(situation) }
    }

    /// The machine, without anything that is configured.
    fn situation(&self) -> Situation {
        Situation {
            guarded: self.guarded,
            forwarding: self.forwarding,
            virtual_mac: self.virtual_mac,
            gateways: self.gateways.iter().map(|&gateway| self.served(gateway)).collect(),
            ..Situation::default()
        }
    }

    fn served(&self, address: IpAddr) -> ServedAddress {
        let of_host = self.network.is_local(Family::of(&address), Address::from(address));
        ServedAddress { address, of_host }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{LinkId, Mac, Port, Protocol, Tick};
    use crate::engine::{Config, HostStack};
    use crate::host::posture::Refusal;
    use crate::table::network::LinkLayer;
    use crate::table::{
        DestinationConfig, DestinationKey, Link, MarkMatch, MarkRule, ServiceConfig, ServiceFlags, Tunnel,
    };

    fn add_service(address: &str) -> Change {
        let key = ServiceKey::Address { protocol: Protocol::TCP, address: address.parse().unwrap(), port: Port(80) };
        let config = ServiceConfig {
            scheduler: "rr".into(),
            flags: ServiceFlags(0),
            timeout: 0,
            netmask: u32::MAX,
            engine: None,
        };
        Change::AddService { key, config }
    }

    fn add_server(method: ForwardingMethod) -> Change {
        let Change::AddService { key: service, .. } = add_service("10.9.9.9") else { unreachable!() };
        let key = DestinationKey { address: "172.16.0.11".parse().unwrap(), port: Port(80) };
        let tunnel = Tunnel::default();
        let config = DestinationConfig { method, weight: 1, upper_threshold: 0, lower_threshold: 0, tunnel };
        Change::AddDestination { service, key, config }
    }

    fn model() -> Engine {
        Engine::new(&Config { maximum_connections: 1, seed: 1, host_stack: HostStack::Beside })
    }

    fn permission() -> Permission {
        let link = Link {
            id: LinkId(0),
            index: 1,
            name: "eth0".into(),
            layer: LinkLayer::Ethernet,
            mac: Mac([2, 0, 0, 0, 0, 1]),
            virtual_mac: None,
            mtu: 1500,
            up: true,
            addresses: vec!["10.0.0.1/24".parse().unwrap()],
        };
        Permission { network: Arc::new(Network::new(vec![link], vec![])), ..Permission::default() }
    }

    #[test]
    fn what_the_kernel_would_do_as_well_is_refused() {
        let mut permission = permission();
        assert_eq!(permission.check(&model(), &add_service("10.0.0.1")), Err(Errno::EPERM));
        assert_eq!(permission.check(&model(), &add_service("10.9.9.9")), Ok(()));
        permission.forwarding.v4 = true;
        assert_eq!(permission.check(&model(), &add_service("10.9.9.9")), Err(Errno::EPERM));
        assert_eq!(permission.check(&model(), &add_server(ForwardingMethod::Masquerading)), Err(Errno::EPERM));
        assert_eq!(permission.check(&model(), &add_server(ForwardingMethod::DirectRouting)), Ok(()));
        permission.virtual_mac = "00:00:5e:00:01:01".parse().ok();
        assert_eq!(permission.check(&model(), &add_service("10.9.9.9")), Ok(()));
        permission.gateways.push("172.16.0.1".parse().unwrap());
        assert_eq!(permission.check(&model(), &add_server(ForwardingMethod::Masquerading)), Ok(()));
        assert!(!permission.takes_interface_mac(Family::V4) && permission.takes_interface_mac(Family::V6));
        permission.guarded = true;
        assert_eq!(permission.check(&model(), &add_service("10.0.0.1")), Ok(()));
        assert!(permission.takes_interface_mac(Family::V4));
    }

    #[test]
    fn an_address_of_a_mark_rule_is_one_of_a_service() {
        let mut permission = permission();
        let mark = |destination: &str| {
            let destinations = vec![destination.parse().unwrap()];
            let matching = MarkMatch { destinations, destination_ports: vec![80..=80], ..MarkMatch::default() };
            Change::AddMark { rule: MarkRule { mark: 1, matching } }
        };
        let Change::AddService { config, .. } = add_service("10.9.9.9") else { unreachable!() };
        let service = Change::AddService { key: ServiceKey::Mark { family: Family::V4, mark: 1 }, config };
        // Rule or service first: the kernel would answer there as well.
        let mut model = model();
        assert_eq!(permission.check(&model, &mark("10.0.0.1")), Ok(()));
        model.apply(Tick::ZERO, &mark("10.0.0.1")).unwrap();
        assert_eq!(permission.check(&model, &service), Err(Errno::EPERM));
        let host = IpAddr::from([10, 0, 0, 1]);
        assert!(permission.posture(&model).refusals.is_empty());
        model.apply(Tick::ZERO, &service).unwrap();
        assert_eq!(permission.posture(&model).refusals, [Refusal::HostAddress { vip: host }]);
        assert_eq!(permission.check(&model, &mark("10.0.0.1")), Err(Errno::EPERM));
        assert_eq!(permission.check(&model, &mark("10.9.9.9")), Ok(()));
        permission.guarded = true;
        assert_eq!(permission.check(&model, &mark("10.0.0.1")), Ok(()));
        assert!(permission.posture(&model).stances.contains_key(&host));
        // More than the guard holds.
        let ports = (0..5000).map(|port| 2 * port..=2 * port).collect();
        let many = MarkRule { mark: 1, matching: MarkMatch { destination_ports: ports, ..MarkMatch::default() } };
        let many = Change::AddMark { rule: many };
        assert_eq!(permission.check(&model, &many), Err(Errno::ENOMEM));
        assert_eq!(Permission { guarded: false, ..permission.clone() }.check(&model, &many), Ok(()));
        model = self::model();
        assert_eq!(permission.check(&model, &many), Ok(()), "no service has it");
        model.apply(Tick::ZERO, &many).unwrap();
        assert_eq!(permission.check(&model, &service), Err(Errno::ENOMEM));
    }

    #[test]
    fn by_tun_nothing_comes_to_both() {
        let permission = Permission { by_tun: true, forwarding: Forwarding { v4: true, v6: true }, ..permission() };
        assert_eq!(permission.check(&model(), &add_service("10.0.0.1")), Ok(()));
        assert!(permission.takes_interface_mac(Family::V4));
    }
}
