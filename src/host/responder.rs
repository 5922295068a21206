//! Answers ARP and neighbour discovery for the addresses that the director owns.
//!
//! A VIP that is no address of this host has nobody to answer for it but us; so have the gateway
//! addresses that NATed real servers route through. The rule: never an answer for an address that
//! is not owned, nor for one that the host's kernel answers for itself. What the same frames tell
//! about their senders is handed on for the workers' neighbour tables, and another machine that
//! claims an owned address (RFC 5227 section 2.4) is reported, and so is one that has our Ethernet address: a second
//! director that answers, or a VRRP router of the same number as the virtual MAC.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::base::{Address, Family, LinkId, Mac};
use crate::table::Network;
use crate::table::network::LinkLayer;
use crate::wire::{EtherType, Frame, LinkHeader};

use super::arp::{Arp, Operation};
use super::discovery::{DISCOVERY_FRAME_LENGTH, Discovery, Kind};
use super::malformed::Malformed;
use super::neighbour::{Evidence, Learned};

/// A buffer of this length holds any answer or announcement.
pub const ANSWER_LENGTH: usize = DISCOVERY_FRAME_LENGTH;

/// What an owned address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Clients send to it.
    Virtual,
    /// Real servers route through it: it calls itself a router.
    Gateway,
}

/// An address that belongs to the director, not to the host's kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owned {
    pub address: IpAddr,
    pub role: Role,
    /// The link it is answered on; every served one if `None`, as the kernel has it.
    pub link: Option<LinkId>,
}

/// What a frame was to the responder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Neither ARP nor neighbour discovery: the engine's.
    Other,
    /// It is to be discarded.
    Malformed(Malformed),
    Understood(Understood),
}

/// What follows from a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Understood {
    /// Length of the answer that was written, to leave by the link the frame came by.
    pub answer: Option<usize>,
    /// What it says about its sender, for every worker.
    pub learned: Option<Learned>,
    /// Another machine says that it has an address of ours.
    pub claim: Option<Claim>,
    /// It is from an Ethernet address that is ours, by another machine. (The port's filter lets no frame in that
    /// leaves by the same link.)
    pub double: Option<Mac>,
}

impl Understood {
    /// Nothing follows from a frame of our own Ethernet address, but that somebody else has it too, or that the
    /// network brings back what we send.
    fn double(mac: Mac) -> Understood {
        Understood { double: Some(mac), ..Understood::default() }
    }
}

/// Another machine's claim to an owned address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub address: IpAddr,
    pub mac: Mac,
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponderCounters {
    pub answers: u64,
    pub claims: u64,
    pub doubles: u64,
    malformed: [u64; Malformed::ALL.len()],
}

impl ResponderCounters {
    pub fn malformed(&self, reason: Malformed) -> u64 {
        self.malformed.get(reason as usize).copied().unwrap_or_default()
    }
}

/// The addresses that are answered for, and the MAC that is answered with on each link.
#[derive(Clone, Debug, Default)]
pub struct Responder {
    /// In the order of their addresses.
    owned: Vec<Owned>,
    links: HashMap<LinkId, Answering>,
    /// Addresses of the host: asked for them, the kernel answers.
    hosts: HashSet<IpAddr>,
    counters: ResponderCounters,
}

/// Who the director is on a link.
#[derive(Clone, Copy, Debug)]
struct Answering {
    /// The MAC that owned addresses have.
    mac: Mac,
    /// The interface's own.
    interface: Mac,
}

impl Responder {
    /// Answers for `owned` on the served links, from now on and no longer for others. Addresses
    /// that the host's kernel holds are left out.
    pub fn set(&mut self, owned: &[Owned], network: &Network, served: &[LinkId]) {
        let is_host = |entry: &Owned| network.is_local(Family::of(&entry.address), Address::from(entry.address));
        self.owned = owned.iter().filter(|entry| !is_host(entry)).copied().collect();
        self.owned.sort_by_key(|entry| entry.address);
        self.links = served
            .iter()
            .filter_map(|&id| network.link(id))
            .filter(|link| link.layer == LinkLayer::Ethernet)
            .map(|link| (link.id, Answering { mac: link.source_mac(), interface: link.mac }))
            .collect();
        self.hosts = network.links().iter().flat_map(|link| &link.addresses).map(|prefix| prefix.address).collect();
    }

    /// Takes in a frame, and writes the answer to it, if any, into `out` ([`ANSWER_LENGTH`]).
    pub fn hear(&mut self, frame: &Frame, out: &mut [u8]) -> Heard {
        let LinkHeader::Ethernet { destination, source, kind } = frame.link_header() else {
            return Heard::Other;
        };
        let Some(&answering) = self.links.get(&frame.link) else {
            return Heard::Other;
        };
        let to_us = destination == answering.mac || destination == answering.interface;
        let understood = match kind {
            EtherType::ARP => {
                Arp::parse(frame.packet()).map(|arp| Some(self.arp(frame.link, answering, to_us, &arp, out)))
            }
            EtherType::IPV6 => Discovery::parse(frame.packet())
                .map(|message| message.map(|message| self.discovery(frame.link, answering, source, &message, out))),
            _ => Ok(None),
        };
        match understood {
            Ok(None) => Heard::Other,
            Ok(Some(understood)) => {
                self.counters.answers += u64::from(understood.answer.is_some());
                self.counters.claims += u64::from(understood.claim.is_some());
                self.counters.doubles += u64::from(understood.double.is_some());
                Heard::Understood(understood)
            }
            Err(reason) => {
                if let Some(counter) = self.counters.malformed.get_mut(reason as usize) {
                    *counter += 1;
                }
                Heard::Malformed(reason)
            }
        }
    }

    /// Writes the gratuitous ARP or unsolicited advertisement for an owned address, and returns
    /// its length; `None` where `link` does not answer for it or `out` is too short.
    pub fn announce(&self, link: LinkId, address: IpAddr, out: &mut [u8]) -> Option<usize> {
        let owned = self.owned_on(link, address)?;
        let mac = self.links.get(&link)?.mac;
        match address {
            IpAddr::V4(v4) => Arp::announcement(mac, v4).write(Mac::BROADCAST, out),
            IpAddr::V6(v6) => {
                Discovery::announcement(mac, v6, owned.role == Role::Gateway).write(mac, Mac::default(), out)
            }
        }
    }

    pub fn counters(&self) -> &ResponderCounters {
        &self.counters
    }

    fn arp(&self, link: LinkId, answering: Answering, to_us: bool, arp: &Arp, out: &mut [u8]) -> Understood {
        if answering.is(arp.sender_mac) {
            return Understood::double(arp.sender_mac);
        }
        let (sender, target) = (IpAddr::V4(arp.sender), IpAddr::V4(arp.target));
        let wanted = arp.operation == Operation::Request && sender != target;
        let owned = self.owned_on(link, target).is_some();
        let answer = if wanted && owned { Arp::reply(arp, answering.mac).write(arp.sender_mac, out) } else { None };
        let claimed = self.owned_on(link, sender).is_some();
        let evidence = match arp.operation {
            Operation::Reply if to_us => Evidence::Answer,
            Operation::Request if wanted && (owned || self.hosts.contains(&target)) => Evidence::Request,
            _ => Evidence::Announcement,
        };
        Understood {
            answer,
            learned: (!claimed && !arp.sender.is_unspecified()).then_some(Learned {
                address: sender,
                mac: arp.sender_mac,
                evidence,
            }),
            claim: claimed.then_some(Claim { address: sender, mac: arp.sender_mac }),
            double: None,
        }
    }

    fn discovery(
        &self,
        link: LinkId,
        answering: Answering,
        from: Mac,
        message: &Discovery,
        out: &mut [u8],
    ) -> Understood {
        let mac = message.link_layer.unwrap_or(from);
        if answering.is(mac) {
            return Understood::double(mac);
        }
        let target = IpAddr::V6(message.target);
        let owned = self.owned_on(link, target);
        match message.kind {
            Kind::Solicitation => {
                let probe = message.source.is_unspecified();
                let answer = owned.and_then(|owned| {
                    Discovery::answer(message, answering.mac, owned.role == Role::Gateway).write(
                        answering.mac,
                        mac,
                        out,
                    )
                });
                let source = IpAddr::V6(message.source);
                let claimed = self.owned_on(link, source).is_some();
                let wanted = owned.is_some() || self.hosts.contains(&target);
                let evidence = if wanted { Evidence::Request } else { Evidence::Announcement };
                // Without the option nothing is said about where the source is.
                let told = message.link_layer.is_some() && !probe && !claimed;
                let claim = if claimed {
                    Some(source)
                } else {
                    // Another machine is about to take the address.
                    owned.filter(|_| probe).map(|owned| owned.address)
                };
                Understood {
                    answer,
                    learned: told.then_some(Learned { address: source, mac, evidence }),
                    claim: claim.map(|address| Claim { address, mac }),
                    double: None,
                }
            }
            Kind::Advertisement(flags) => {
                let evidence = match (flags.solicited, flags.overriding) {
                    // It says that it is there, and nothing of where (RFC 4861 section 4.4).
                    (solicited, _) if message.link_layer.is_none() => solicited.then_some(Evidence::Presence),
                    (true, true) => Some(Evidence::Answer),
                    (true, false) => Some(Evidence::Confirmation),
                    (false, true) => Some(Evidence::Announcement),
                    (false, false) => None,
                };
                Understood {
                    answer: None,
                    learned: evidence.filter(|_| owned.is_none()).map(|evidence| Learned {
                        address: target,
                        mac,
                        evidence,
                    }),
                    claim: owned.map(|_| Claim { address: target, mac }),
                    double: None,
                }
            }
        }
    }

    fn owned_on(&self, link: LinkId, address: IpAddr) -> Option<&Owned> {
        let first = self.owned.partition_point(|owned| owned.address < address);
        let same = self.owned.get(first..)?.iter().take_while(|owned| owned.address == address);
        same.into_iter().find(|owned| owned.link.is_none_or(|only| only == link))
    }
}

impl Answering {
    fn is(&self, mac: Mac) -> bool {
        mac == self.mac || mac == self.interface
    }
}

#[cfg(test)]
mod tests;
