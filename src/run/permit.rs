//! Which changes of the configuration this machine lets us carry out, and what became of those
//! that it did.

use std::net::IpAddr;
use std::sync::Arc;

use crate::base::{Address, Family};
use crate::engine::Engine;
use crate::host::posture::{Forwarding, Posture, ServedAddress, Situation, posture};
use crate::host::virtual_mac::VirtualMac;
use crate::table::{Change, Errno, ForwardingMethod, Network, ServiceKey};

/// What decides: the addresses of the host, and whether the kernel can be kept from them.
#[derive(Clone, Debug, Default)]
pub struct Permission {
    pub network: Arc<Network>,
    /// The kernel hands packets over itself (`--tun`), so that nothing comes to both.
    pub by_tun: bool,
    /// Whether the guard is in place.
    pub guarded: bool,
    pub forwarding: Forwarding,
    pub virtual_mac: Option<VirtualMac>,
    pub gateways: Vec<IpAddr>,
}

impl Permission {
    /// # Errors
    /// EPERM for a virtual address that the kernel would answer for or forward to as well, and for
    /// a masqueraded real server whose replies it would forward.
    pub fn check(&self, change: &Change) -> Result<(), Errno> {
        let mut situation = self.situation();
        match change {
            Change::AddService { key: ServiceKey::Address { address, .. }, .. } => {
                situation.vips.push(self.served(*address));
            }
            Change::AddDestination { key, config, .. } | Change::EditDestination { key, config, .. }
                if config.method == ForwardingMethod::Masquerading =>
            {
                situation.masquerading.push(Family::of(&key.address));
            }
            _ => return Ok(()),
        }
        match self.judged(&situation).refusals.first() {
            None => Ok(()),
            Some(refusal) => {
                log::error!("{refusal}");
                Err(Errno::EPERM)
            }
        }
    }

    /// How the kernel is kept from everything that is configured, and from what it is not.
    pub fn posture(&self, model: &Engine) -> Posture {
        let mut situation = self.situation();
        let table = model.service_table();
        situation.vips = table.virtual_addresses().map(|(family, vip)| self.served(vip.to_ip(family))).collect();
        situation.vips.sort_unstable_by_key(|served| served.address);
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
    use crate::base::{LinkId, Mac, Port, Protocol};
    use crate::table::network::LinkLayer;
    use crate::table::{DestinationConfig, DestinationKey, Link, ServiceConfig, ServiceFlags, Tunnel};

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
        assert_eq!(permission.check(&add_service("10.0.0.1")), Err(Errno::EPERM));
        assert_eq!(permission.check(&add_service("10.9.9.9")), Ok(()));
        permission.forwarding.v4 = true;
        assert_eq!(permission.check(&add_service("10.9.9.9")), Err(Errno::EPERM));
        assert_eq!(permission.check(&add_server(ForwardingMethod::Masquerading)), Err(Errno::EPERM));
        assert_eq!(permission.check(&add_server(ForwardingMethod::DirectRouting)), Ok(()));
        permission.virtual_mac = "00:00:5e:00:01:01".parse().ok();
        assert_eq!(permission.check(&add_service("10.9.9.9")), Ok(()));
        permission.gateways.push("172.16.0.1".parse().unwrap());
        assert_eq!(permission.check(&add_server(ForwardingMethod::Masquerading)), Ok(()));
        assert!(!permission.takes_interface_mac(Family::V4) && permission.takes_interface_mac(Family::V6));
        permission.guarded = true;
        assert_eq!(permission.check(&add_service("10.0.0.1")), Ok(()));
        assert!(permission.takes_interface_mac(Family::V4));
    }

    #[test]
    fn by_tun_nothing_comes_to_both() {
        let permission = Permission { by_tun: true, forwarding: Forwarding { v4: true, v6: true }, ..permission() };
        assert_eq!(permission.check(&add_service("10.0.0.1")), Ok(()));
        assert!(permission.takes_interface_mac(Family::V4));
    }
}
