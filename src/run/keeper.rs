//! Keeping the kernel away from what the director handles: the guard, where this process may have
//! one. What follows where it may not is [`crate::host::posture`]'s to say.

use std::io;

use crate::base::Family;
use crate::engine::{DestinationView, Engine};
use crate::host::guard::{Guard, GuardError, GuardRules, Scheme};
use crate::host::network::View;
use crate::host::posture::Forwarding;
use crate::host::responder::Owned;
use crate::table::ForwardingMethod;
use crate::table::network::LinkLayer;

use super::options::{Options, VipMac};

/// The guard, or why there is none.
pub struct Keeper {
    guard: Option<Guard>,
    /// Why there is no guard.
    missing: Option<GuardError>,
    /// A failure was complained about, and there was no success since.
    complained: bool,
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
        Ok(Keeper { guard, missing, complained: false })
    }

    /// Whether addresses of the host itself can be virtual ones.
    pub fn is_guarding(&self) -> bool {
        self.guard.is_some()
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
            Ok(()) => self.complained = false,
            Err(error) => {
                if !self.complained {
                    log::error!("the guard does not follow the configuration: {error}");
                }
                self.complained = true;
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

/// What the kernel must not handle, by the configuration.
pub fn wanted(model: &Engine, owned: &[Owned]) -> GuardRules {
    let mut rules = GuardRules::default();
    rules.owned.extend(owned.iter().map(|entry| entry.address));
    rules.marks = model.marks().to_vec();
    if model.leaves_packets() {
        // The kernel gets what is to services: this host is somebody's real server.
        return rules;
    }
    let table = model.service_table();
    let ends = table.masqueraded().ends();
    rules.add_replies(ends.map(|(family, protocol, address, port)| (protocol, address.to_ip(family), port)));
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
    rules
}
