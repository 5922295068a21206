//! Keeping the kernel away from what the director handles.
//!
//! Which of three ways holds is found out at the start:
//!
//! | CAP_NET_ADMIN | forwarding | way |
//! |---|---|---|
//! | yes | any | the guard: nftables drops what is ours; frames to the interface's own MAC are taken |
//! | no | off | plain: the kernel drops what is not its own anyway |
//! | no | on | virtual MAC alone: frames to the interface's own MAC are left to the kernel |
//!
//! A virtual address that is the host's own needs the guard; without it the service is refused.

use std::io;

use crate::base::Family;
use crate::engine::Engine;
use crate::host::guard::{Guard, GuardError, GuardRules, Scheme};
use crate::host::network::View;
use crate::host::privileges::Forwarding;
use crate::host::responder::Owned;
use crate::table::ServiceKey;
use crate::table::network::LinkLayer;

use super::options::{Options, VirtualMac};

/// The guard, where this process may have one, and what follows where it may not.
pub struct Keeper {
    guard: Option<Guard>,
    /// Why there is no guard.
    missing: Option<GuardError>,
    forwarding: Forwarding,
    by_tun: bool,
    rules: GuardRules,
    /// A failure was complained about and nothing changed since.
    complained: bool,
}

impl Keeper {
    /// Finds out which way holds.
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
        let forwarding = Forwarding::read([]);
        if guard.is_none() && !by_tun && forwarding != Forwarding::default() && options.vip_mac == VirtualMac::Off {
            return Err(io::Error::other(
                "the kernel forwards packets and cannot be kept from ours: leave --vip-mac on, give the director \
                 CAP_NET_ADMIN, or switch forwarding off (sysctl net.ipv4.ip_forward=0)",
            ));
        }
        Ok(Keeper { guard, missing, forwarding, by_tun, rules: GuardRules::default(), complained: false })
    }

    /// Whether addresses of the host itself can be virtual ones.
    pub fn is_guarding(&self) -> bool {
        self.guard.is_some()
    }

    /// Whether frames to the interface's own MAC are the director's too.
    pub fn takes_own_mac(&self) -> bool {
        self.guard.is_some() || self.forwarding == Forwarding::default() || self.by_tun
    }

    /// Looks whether the kernel forwards what comes in by the served links: the operator may switch
    /// it at any time, and nobody tells. Whether that changes whose frames are taken.
    pub fn look_at_forwarding(&mut self, view: &View) -> bool {
        let before = self.takes_own_mac();
        let served = view.served.iter().filter_map(|&id| view.network.link(id));
        self.forwarding = Forwarding::read(served.map(|link| link.name.as_str()));
        let after = self.takes_own_mac();
        if before && !after {
            log::warn!("the kernel forwards packets now: frames to the interfaces' own addresses are left to it");
        }
        before != after
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
        let rules = wanted(model, owned);
        if rules == self.rules {
            return;
        }
        match guard.update(&rules) {
            Ok(()) => {
                self.rules = rules;
                self.complained = false;
            }
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

    /// Which way holds, in words.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        match (&self.guard, &self.missing) {
            (Some(guard), _) => lines.push(format!(
                "the kernel is kept away by the guard (nftables, {}); virtual addresses may be the host's own",
                match guard.scheme() {
                    Scheme::Ingress => "at the interfaces",
                    Scheme::Hooks => "in the IP stack",
                }
            )),
            (None, Some(error)) => {
                lines.push(format!("no guard: {error}; virtual addresses must not be the host's own"));
                if self.forwarding == Forwarding::default() {
                    lines.push("the kernel does not forward, so it drops what is ours".to_owned());
                } else {
                    lines.push(
                        "the kernel forwards packets: only frames to the virtual MAC are taken, so real servers \
                         behind NAT need a gateway that is the director's own (--gateway-ip)"
                            .to_owned(),
                    );
                }
            }
            (None, None) => {
                lines.push("the kernel leads packets into the TUN device by routes and rules of ours".to_owned());
                for family in [Family::V4, Family::V6] {
                    if !self.forwarding.of(family) {
                        lines.push(format!("{family:?} packets do not come back: forwarding is off"));
                    }
                }
            }
        }
        lines
    }
}

/// What the kernel must not handle, by the configuration.
pub fn wanted(model: &Engine, owned: &[Owned]) -> GuardRules {
    let mut rules = GuardRules::default();
    rules.owned.extend(owned.iter().map(|entry| entry.address));
    rules.marks = model.marks().to_vec();
    let keys: Vec<ServiceKey> = model.services().map(|service| service.key).collect();
    for key in keys {
        rules.add_service(&key);
        for destination in model.destinations(&key) {
            rules.add_destination(&key, &destination.key, destination.config.method);
        }
    }
    rules
}
