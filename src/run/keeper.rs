//! Keeping the kernel away from what the director handles: the guard, where this process may have
//! one. What follows where it may not is [`crate::host::posture`]'s to say.

use std::io;

use crate::base::Family;
use crate::engine::{DestinationView, Engine, Helped};
use crate::host::guard::{Guard, GuardError, GuardRules, Scheme};
use crate::host::network::View;
use crate::host::posture::Forwarding;
use crate::host::responder::Owned;
use crate::table::network::LinkLayer;
use crate::table::{ForwardingMethod, ServiceKey};

use super::options::{Options, VipMac};

/// The guard, or why there is none.
pub struct Keeper {
    guard: Option<Guard>,
    /// Why there is no guard.
    missing: Option<GuardError>,
    /// Why it does not follow the configuration, and does not count as long as that lasts.
    failing: Option<String>,
}

impl Keeper {
    /// Takes up the guard, if that can be.
    ///
    /// # Errors
    /// None holds: both the kernel and the director would answer.
    pub fn open(options: &Options) -> io::Result<Keeper> {
        let by_tun = options.tun.is_some();
        let (guard, missing) = match (!by_tun).then(|| Guard::open([])) {
            None => (None, None),
            Some(Ok(guard)) => (Some(guard), None),
            Some(Err(error @ GuardError::AnotherDirector)) => return Err(io::Error::other(error)),
            Some(Err(error)) => (None, Some(error)),
        };
        let forwards = Forwarding::read([]) != Forwarding::default();
        if guard.is_none() && !by_tun && forwards && options.vip_mac == VipMac::Off {
            return Err(io::Error::other(
                "the kernel forwards packets and cannot be kept from ours: leave --vip-mac on, give the director \
                 CAP_NET_ADMIN, or switch forwarding off (sysctl net.ipv4.ip_forward=0)",
            ));
        }
        Ok(Keeper { guard, missing, failing: None })
    }

    /// Whether addresses of the host itself can be virtual ones.
    pub fn is_guarding(&self) -> bool {
        self.guard.is_some() && self.failing.is_none()
    }

    /// Why the guard does not follow the configuration, if it does not: it is to be tried again.
    pub fn failure(&self) -> Option<&str> {
        self.failing.as_deref()
    }

    /// Guards the served links.
    pub fn set_links(&mut self, view: &View) {
        let Some(guard) = &mut self.guard else { return };
        let served = view.served.iter().filter_map(|&id| view.network.link(id));
        if let Err(error) = guard.set_links(served.filter(|link| link.up && link.layer == LinkLayer::Ethernet)) {
            log::warn!("{error}");
        }
    }

    /// Guards what the configuration says now.
    pub fn keep(&mut self, model: &Engine, owned: &[Owned]) {
        let Some(guard) = &mut self.guard else { return };
        match guard.update(wanted(model, owned)) {
            Ok(()) => {
                if self.failing.take().is_some() {
                    log::info!("the guard follows the configuration again");
                }
            }
            Err(error) => {
                let failure = format!("the guard does not follow the configuration: {error}");
                if self.failing.is_none() {
                    log::error!("{failure}");
                }
                self.failing = Some(failure);
            }
        }
    }

    /// Takes the guard down.
    pub fn leave(&mut self) {
        if let Some(guard) = self.guard.take()
            && let Err(error) = guard.close()
        {
            log::warn!("the guard was not taken down in an orderly way: {error}");
        }
    }

    /// Whether there is a guard, in words.
    pub fn lines(&self, forwarding: Forwarding) -> Vec<String> {
        let families = || [Family::V4, Family::V6].into_iter();
        match (&self.guard, &self.missing) {
            (Some(guard), _) => vec![format!(
                "the kernel is kept away by the guard (nftables, {}); virtual addresses may be the host's own",
                match guard.scheme() {
                    Scheme::Ingress => "at the interfaces",
                    Scheme::Hooks => "in the IP stack",
                }
            )],
            (None, Some(error)) => {
                let how = |family: Family| match forwarding.of(family) {
                    false => format!("the kernel does not forward {family:?}, so it drops what is ours"),
                    true => format!(
                        "the kernel forwards {family:?}: only frames to the virtual MAC are taken, so real servers \
                         behind NAT need a gateway that is the director's own (--gateway-ip)"
                    ),
                };
                let missing = format!("no guard: {error}; virtual addresses must not be the host's own");
                [missing].into_iter().chain(families().map(how)).collect()
            }
            (None, None) => {
                let back = |family| format!("{family:?} packets do not come back: forwarding is off");
                let way = "the kernel leads packets into the TUN device by routes and rules of ours".to_owned();
                [way].into_iter().chain(families().filter(|&family| !forwarding.of(family)).map(back)).collect()
            }
        }
    }
}

/// What the kernel must not handle, by the configuration, and by what connections there are of an earlier one.
pub fn wanted(model: &Engine, owned: &[Owned]) -> GuardRules {
    let mut rules = GuardRules::default();
    rules.owned.extend(owned.iter().map(|entry| entry.address));
    rules.marks = model.marks().to_vec();
    let table = model.service_table();
    // Of a family without services nothing is looked at.
    let former = table.former();
    let ends_of_former = former.masqueraded().ends().filter(|&(family, ..)| table.serves(family));
    let ends = table.masqueraded().ends().chain(ends_of_former);
    rules.add_replies(ends.map(|(family, protocol, address, port)| (protocol, address.to_ip(family), port)));
    if model.leaves_packets() {
        // The kernel gets what is to services: this host is somebody's real server. Answers are translated all the same.
        return rules;
    }
    for key in table.iter().map(|service| service.key) {
        rules.add_service(&key);
        if !table.is_helped(&key) {
            continue;
        }
        let masqueraded = |view: &DestinationView| view.config.method == ForwardingMethod::Masquerading;
        for destination in model.destinations(&key).into_iter().filter(masqueraded) {
            rules.add_data_connections(&key, &destination.key);
        }
    }
    // Clients of a service by mark are not told from others without it.
    let is_served = |key: &ServiceKey| table.serves(key.family()) && key.mark().is_none();
    former.services().filter(|key| is_served(key)).for_each(|key| rules.add_service(key));
    for ((service, key), _) in
        former.iter().filter(|((service, _), helped)| *helped == Helped::Yes && is_served(service))
    {
        rules.add_data_connections(service, key);
    }
    rules
}

#[cfg(test)]
mod exactly_once;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Port, Protocol, Tick};
    use crate::engine::{Config, HostStack};
    use crate::table::{Change, DestinationConfig, DestinationKey, ServiceConfig, ServiceFlags, Tunnel};

    fn service(port: u16) -> ServiceKey {
        ServiceKey::Address { protocol: Protocol::TCP, address: "10.0.0.1".parse().unwrap(), port: Port(port) }
    }

    fn model(ports: &[u16]) -> Engine {
        let mut model = Engine::new(&Config { maximum_connections: 1, seed: 0, host_stack: HostStack::Beside });
        for &port in ports {
            let flags = ServiceFlags(0);
            let (scheduler, netmask) = ("rr".into(), u32::MAX);
            let config = ServiceConfig { scheduler, flags, timeout: 0, netmask, engine: None };
            model.apply(Tick::ZERO, &Change::AddService { key: service(port), config }).unwrap();
        }
        model
    }

    #[test]
    fn what_connections_outlived_is_kept_from_the_kernel_until_they_are_over() {
        for port in [80, 21] {
            let mut model = model(&[443, port]);
            let key = DestinationKey { address: "172.16.0.11".parse().unwrap(), port: Port(port) };
            let (service, former) = (service(port), Change::ForgetFormer { destinations: vec![(service(port), key)] });
            let config = |method| {
                let tunnel = Tunnel::default();
                DestinationConfig { method, weight: 1, upper_threshold: 0, lower_threshold: 0, tunnel }
            };
            let apply = |model: &mut Engine, change: &Change| {
                model.apply(Tick::ZERO, change).unwrap();
                wanted(model, &[])
            };
            let without = wanted(&model, &[]);
            let masqueraded = config(ForwardingMethod::Masquerading);
            let with = apply(&mut model, &Change::AddDestination { service, key, config: masqueraded });
            assert_ne!(with, without);
            let config = config(ForwardingMethod::DirectRouting);
            assert_eq!(apply(&mut model, &Change::EditDestination { service, key, config }), with);
            assert_eq!(apply(&mut model, &former), without);
            let config = masqueraded;
            assert_eq!(apply(&mut model, &Change::EditDestination { service, key, config }), with);
            assert_eq!(apply(&mut model, &Change::DeleteDestination { service, key }), with);
            assert_eq!(apply(&mut model, &former), without);
            assert_eq!(apply(&mut model, &Change::AddDestination { service, key, config }), with);
            assert_eq!(apply(&mut model, &Change::DeleteService { key: service }), with);
            let others = apply(&mut model, &former);
            assert_eq!(others, wanted(&self::model(&[443]), &[]));
        }
    }

    #[test]
    fn of_a_family_without_services_nothing_is_kept_from_the_kernel() {
        let mut model = model(&[80]);
        let key = DestinationKey { address: "172.16.0.11".parse().unwrap(), port: Port(80) };
        let (method, tunnel) = (ForwardingMethod::Masquerading, Tunnel::default());
        let config = DestinationConfig { method, weight: 1, upper_threshold: 0, lower_threshold: 0, tunnel };
        model.apply(Tick::ZERO, &Change::AddDestination { service: service(80), key, config }).unwrap();
        model.apply(Tick::ZERO, &Change::Flush).unwrap();
        assert_eq!(wanted(&model, &[]), GuardRules::default());
    }
}
