//! Real servers that are this host itself: the TUN device by which their requests reach the kernel's
//! stack, there for as long as there is such a real server.
//!
//! ```text
//! client ──► served link ─► worker ─► TUN ─► kernel's stack ─► server
//! client ◄── served link ◄─ worker ◄─ TUN ◄─ rule ◄──────────────┘   NAT
//! client ◄── served link ◄──────────────────── route ◄───────────┘   direct routing, tunnel
//! ```
//!
//! The device is nobody's but this process's, and goes with it; what leads into it is
//! [`crate::host::tunway`]'s. The guard does not look at it: it is no served link.
//!
//! A TUN device remembers for three seconds of silence which queue, and so which worker, a connection
//! belongs to. With several workers a server's answer may later come to another one, which hands it over.

use std::collections::{BTreeSet, HashSet};
use std::io;

use crate::base::{Address, Family, LinkId, Mac};
use crate::engine::Engine;
use crate::host::guard::Endpoint;
use crate::host::tunway::{Side, TunWay};
use crate::port::TunOptions;
use crate::table::network::LinkLayer;
use crate::table::{ForwardingMethod, Link, Network};

use super::keeper;
use super::workers::{Way, Workers};

/// The smallest MTU that both families work with, and the largest that a device takes.
const MTU: std::ops::RangeInclusive<u32> = 1280..=65_535;

/// What the configuration has of such real servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Some take packets as they came: direct routing, tunnels.
    pub direct: bool,
    /// The masqueraded ones.
    pub masqueraded: BTreeSet<Endpoint>,
}

impl Wanted {
    pub fn of(model: &Engine, network: &Network) -> Wanted {
        let mut wanted = Wanted::default();
        let mut masqueraded = false;
        let destinations = &model.service_table().destinations;
        for (_, known) in destinations.iter().filter(|(_, known)| known.available) {
            if !network.is_local(known.family, known.address) {
                continue;
            }
            match known.method {
                ForwardingMethod::Masquerading => masqueraded = true,
                _ => wanted.direct = true,
            }
        }
        if masqueraded {
            let is_here = |address| network.is_local(Family::of(&address), Address::from(address));
            let servers = keeper::wanted(model, &[]).real_servers.into_iter();
            // Nothing from outside is masqueraded to a loopback address.
            wanted.masqueraded =
                servers.filter(|server| is_here(server.address) && !server.address.is_loopback()).collect();
        }
        wanted
    }

    pub fn is_empty(&self) -> bool {
        !self.direct && self.masqueraded.is_empty()
    }
}

/// The device, where there is one.
pub struct LocalServers {
    /// The number that the device has as a link.
    link: LinkId,
    open: Option<Open>,
    wanted: Wanted,
    /// Why there is no device although one is wanted, or nothing leads into it.
    failed: Option<String>,
    /// The network changed since it was last looked at whether what leads into the device is there.
    doubted: bool,
}

struct Open {
    device: String,
    way: TunWay,
}

impl Open {
    fn is_in(&self, network: &Network) -> bool {
        find(network, &self.device).is_some_and(|link| link.index == self.way.index())
    }

    /// Leads into the device what is wanted there; why that cannot be.
    fn lay(&mut self, wanted: &Wanted) -> Result<(), String> {
        self.way.update(&HashSet::new(), &wanted.masqueraded).map_err(|error| error.to_string())
    }
}

impl LocalServers {
    pub fn new(link: LinkId) -> LocalServers {
        LocalServers { link, open: None, wanted: Wanted::default(), failed: None, doubted: false }
    }

    /// What leads into the device may be gone.
    pub fn network_changed(&mut self) {
        self.doubted = true;
    }

    /// Brings the device in line with what is wanted; whether that changed anything.
    pub fn keep(&mut self, workers: &Workers, wanted: Wanted, network: &Network, served: &[LinkId]) -> bool {
        let gone = self.open.as_ref().is_some_and(|open| !open.is_in(network));
        let doubted = std::mem::take(&mut self.doubted);
        if wanted == self.wanted && !gone {
            return doubted && self.lay_again();
        }
        if wanted.is_empty() || gone {
            self.leave();
            workers.close(self.link);
        }
        self.failed = None;
        if self.open.is_none() && !wanted.is_empty() {
            match self.open(workers, network, served) {
                Ok(open) => self.open = Some(open),
                Err(error) => {
                    workers.close(self.link);
                    self.note(Some(error.to_string()));
                }
            }
        }
        if let Some(open) = &mut self.open {
            let failed = open.lay(&wanted).err();
            self.note(failed);
        }
        self.wanted = wanted;
        true
    }

    /// Lays what is missing of what leads into the device; whether there is anything new to be said of that.
    fn lay_again(&mut self) -> bool {
        let Some(open) = &mut self.open else { return false };
        open.way.doubt();
        let failed = open.lay(&self.wanted).err();
        self.note(failed)
    }

    fn open(&self, workers: &Workers, network: &Network, served: &[LinkId]) -> io::Result<Open> {
        let mut names = (0..).map(|number| format!("ulvs{number}"));
        let device = names.find(|name| find(network, name).is_none()).ok_or(io::ErrorKind::AddrInUse)?;
        let mtus = served.iter().filter_map(|&id| network.link(id)).map(|link| link.mtu);
        let mtu = mtus.min().unwrap_or(1500).clamp(*MTU.start(), *MTU.end());
        for worker in 0..workers.count() {
            let options = TunOptions { mtu: u16::try_from(mtu).unwrap_or(u16::MAX), ..TunOptions::new(&device) };
            workers.open(worker, self.link, Way::Tun(options))?.map_err(io::Error::other)?;
        }
        let way = TunWay::open(&device, Side::Host).map_err(io::Error::other)?;
        Ok(Open { device, way })
    }

    /// Takes down why such real servers are not reached, if so; whether that is news.
    fn note(&mut self, why: Option<String>) -> bool {
        let said = why.map(|why| format!("real servers that are this host itself are not reached: {why}"));
        if said == self.failed {
            return false;
        }
        if let Some(said) = &said {
            log::warn!("{said}");
        }
        self.failed = said;
        true
    }

    /// Adds the device to the network as engines see it.
    pub fn add_to(&self, network: &mut Network) {
        let Some(known) = self.open.as_ref().and_then(|open| find(network, &open.device)) else { return };
        let link = Link {
            id: self.link,
            layer: LinkLayer::Ip,
            mac: Mac::default(),
            virtual_mac: None,
            up: true,
            addresses: Vec::new(),
            ..known.clone()
        };
        network.set_host(link, !self.wanted.masqueraded.is_empty());
    }

    /// Takes away what leads into the device, which is there for as long as a worker has it open.
    pub fn leave(&mut self) {
        if let Some(open) = self.open.take()
            && let Err(error) = open.way.close()
        {
            log::warn!("{error}");
        }
    }

    /// Whether such real servers are reached, in words.
    pub fn lines(&self) -> Vec<String> {
        let open = self.open.as_ref().map(|open| {
            format!("real servers that are this host itself are reached by the TUN device {}", open.device)
        });
        open.into_iter().chain(self.failed.clone()).collect()
    }
}

fn find<'a>(network: &'a Network, name: &str) -> Option<&'a Link> {
    network.links().iter().find(|link| link.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Port, Protocol, Tick};
    use crate::engine::{Config, HostStack};
    use crate::table::{Change, DestinationConfig, DestinationKey, ServiceConfig, ServiceFlags, ServiceKey, Tunnel};

    fn link(addresses: &[&str]) -> Link {
        Link {
            id: LinkId(0),
            index: 1,
            name: "eth0".into(),
            layer: LinkLayer::Ethernet,
            mac: Mac::default(),
            virtual_mac: None,
            mtu: 1500,
            up: true,
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        }
    }

    /// A service with these destinations.
    fn model(servers: &[(&str, ForwardingMethod)]) -> Engine {
        let mut model = Engine::new(&Config { maximum_connections: 1, seed: 1, host_stack: HostStack::Beside });
        let service =
            ServiceKey::Address { protocol: Protocol::TCP, address: "10.9.9.9".parse().unwrap(), port: Port(80) };
        let flags = ServiceFlags(0);
        let config = ServiceConfig { scheduler: "rr".into(), flags, timeout: 0, netmask: u32::MAX, engine: None };
        model.apply(Tick::ZERO, &Change::AddService { key: service, config }).unwrap();
        for &(address, method) in servers {
            let key = DestinationKey { address: address.parse().unwrap(), port: Port(8080) };
            let tunnel = Tunnel::default();
            let config = DestinationConfig { method, weight: 1, upper_threshold: 0, lower_threshold: 0, tunnel };
            model.apply(Tick::ZERO, &Change::AddDestination { service, key, config }).unwrap();
        }
        model
    }

    #[test]
    fn a_device_is_wanted_for_servers_of_this_host_alone() {
        use ForwardingMethod::{DirectRouting, Masquerading, Tunneling};
        let network = Network::new(vec![link(&["172.16.0.1/24", "127.0.0.1/8"])], vec![]);
        let own = Endpoint { address: "172.16.0.1".parse().unwrap(), protocol: Protocol::TCP, port: Port(8080) };
        let rows: [(&[_], bool, &[Endpoint]); 5] = [
            (&[("172.16.0.2", Masquerading), ("172.16.0.3", DirectRouting)], false, &[]),
            (&[("172.16.0.2", Masquerading), ("172.16.0.1", Masquerading)], false, &[own]),
            (&[("172.16.0.1", DirectRouting)], true, &[]),
            (&[("127.0.0.1", Tunneling)], true, &[]),
            (&[("127.0.0.1", Masquerading)], false, &[]),
        ];
        for (servers, direct, masqueraded) in rows {
            let model = model(servers);
            let wanted = Wanted::of(&model, &network);
            let expected = Wanted { direct, masqueraded: masqueraded.iter().copied().collect() };
            assert_eq!(wanted, expected, "{servers:?}");
            assert_eq!(wanted.is_empty(), !direct && masqueraded.is_empty());
        }
        // The address became the host's, or is no more.
        let elsewhere = Network::new(vec![link(&[])], vec![]);
        assert!(Wanted::of(&model(&[("172.16.0.1", Masquerading)]), &elsewhere).is_empty());
    }
}
