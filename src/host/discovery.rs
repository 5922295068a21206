//! IPv6 neighbour discovery: solicitations and advertisements (RFC 4861 sections 4.3, 4.4, 7).
//!
//! A message counts only as section 7.1 demands: hop limit 255, a right checksum, a target that
//! is no group, and options that fit. Messages behind extension headers are left alone: nobody
//! sends them, and RFC 6980 forbids the fragmented ones.

use std::net::Ipv6Addr;

use etherparse::icmpv6::{Icmpv6PayloadSlice, NdpOptionSlice, NdpOptionsIterator};
use etherparse::{Icmpv6Slice, Icmpv6Type, IpNumber, Ipv6HeaderSlice};
use pnet::packet::ethernet::{EtherTypes, MutableEthernetPacket};
use pnet::packet::icmpv6::ndp::{
    MutableNdpOptionPacket, MutableNeighborAdvertPacket, MutableNeighborSolicitPacket, NdpOptionTypes,
    NeighborAdvertFlags,
};
use pnet::packet::icmpv6::{self, Icmpv6Packet, Icmpv6Types, MutableIcmpv6Packet};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv6::MutableIpv6Packet;
use pnet::packet::{MutablePacket, Packet};
use pnet::util::MacAddr;

use crate::base::Mac;
use crate::wire::frame::ETHERNET_LENGTH;

use super::malformed::Malformed;

const IPV6_LENGTH: usize = 40;
/// Type, code, checksum, flags, target.
const FIXED_LENGTH: usize = 24;
const OPTION_LENGTH: usize = 8;
/// Length of a whole frame with its link-layer option.
pub const DISCOVERY_FRAME_LENGTH: usize = ETHERNET_LENGTH + IPV6_LENGTH + FIXED_LENGTH + OPTION_LENGTH;

/// A hop limit that no router lets through: the sender is on the link.
const ON_LINK: u8 = 255;
/// Where news is told to all, and where no question is asked.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The group that listens for questions about `address` (RFC 4291 section 2.7.1).
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// The Ethernet address of an IPv6 group (RFC 2464 section 7).
pub fn group_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    Mac([0x33, 0x33, a, b, c, d])
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Solicitation,
    Advertisement(Flags),
}

/// The flags of an advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Flags {
    /// The sender is a router.
    pub router: bool,
    /// It answers a solicitation.
    pub solicited: bool,
    /// It replaces what was known.
    pub overriding: bool,
}

/// A neighbour solicitation or advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discovery {
    pub kind: Kind,
    /// Unspecified while its sender only asks whether an address is free.
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
    pub target: Ipv6Addr,
    /// The source's link-layer address in a solicitation, the target's in an advertisement.
    pub link_layer: Option<Mac>,
}

impl Discovery {
    /// Takes an IPv6 packet apart; `None` where it is not one of these messages.
    ///
    /// # Errors
    /// Where it is, and must be discarded.
    pub fn parse(packet: &[u8]) -> Result<Option<Discovery>, Malformed> {
        let Ok(header) = Ipv6HeaderSlice::from_slice(packet) else {
            return Ok(None);
        };
        if header.next_header() != IpNumber::IPV6_ICMP {
            return Ok(None);
        }
        let end = IPV6_LENGTH + usize::from(header.payload_length());
        let message = packet.get(IPV6_LENGTH..end).ok_or(Malformed::Truncated)?;
        let [kind, code, ..] = *message else {
            return Err(Malformed::Truncated);
        };
        if kind != Icmpv6Types::NeighborSolicit.0 && kind != Icmpv6Types::NeighborAdvert.0 {
            return Ok(None);
        }
        if header.hop_limit() != ON_LINK {
            return Err(Malformed::HopLimit);
        }
        if code != 0 {
            return Err(Malformed::Code);
        }
        let message = Icmpv6Slice::from_slice(message).map_err(|_| Malformed::Truncated)?;
        if !message.is_checksum_valid(header.source(), header.destination()) {
            return Err(Malformed::Checksum);
        }
        let (kind, target, options) = match (message.icmp_type(), message.payload_slice()) {
            (Icmpv6Type::NeighborSolicitation, Ok(Icmpv6PayloadSlice::NeighborSolicitation(payload))) => {
                (Kind::Solicitation, payload.target_address(), payload.options_iterator())
            }
            (Icmpv6Type::NeighborAdvertisement(flags), Ok(Icmpv6PayloadSlice::NeighborAdvertisement(payload))) => {
                let flags = Flags { router: flags.router, solicited: flags.solicited, overriding: flags.r#override };
                (Kind::Advertisement(flags), payload.target_address(), payload.options_iterator())
            }
            _ => return Err(Malformed::Truncated),
        };
        let (source, destination) = (header.source_addr(), header.destination_addr());
        let link_layer = link_layer(kind, options)?;
        let probes = source.is_unspecified();
        let may_be_unspecified =
            kind == Kind::Solicitation && destination == solicited_node(target) && link_layer.is_none();
        if source.is_multicast() || probes && !may_be_unspecified {
            return Err(Malformed::BadSource);
        }
        let answers_a_group =
            matches!(kind, Kind::Advertisement(flags) if flags.solicited) && destination.is_multicast();
        if target.is_multicast() || answers_a_group {
            return Err(Malformed::GroupTarget);
        }
        if link_layer.is_some_and(|mac| mac.is_multicast() || mac == Mac::default()) {
            return Err(Malformed::GroupSender);
        }
        Ok(Some(Discovery { kind, source, destination, target, link_layer }))
    }

    /// A question for `target`: to its group, or to itself where `to_itself`.
    pub fn question(mac: Mac, source: Ipv6Addr, target: Ipv6Addr, to_itself: bool) -> Discovery {
        Discovery {
            kind: Kind::Solicitation,
            source,
            destination: if to_itself { target } else { solicited_node(target) },
            target,
            link_layer: Some(mac),
        }
    }

    /// The answer to a solicitation for an address that `mac` has. One who only asks whether the
    /// address is free has none of its own yet, so everyone is told.
    pub fn answer(question: &Discovery, mac: Mac, router: bool) -> Discovery {
        let solicited = !question.source.is_unspecified();
        Discovery {
            kind: Kind::Advertisement(Flags { router, solicited, overriding: true }),
            source: question.target,
            destination: if solicited { question.source } else { ALL_NODES },
            target: question.target,
            link_layer: Some(mac),
        }
    }

    /// An unsolicited advertisement: tells everyone that `mac` has `address`.
    pub fn announcement(mac: Mac, address: Ipv6Addr, router: bool) -> Discovery {
        Discovery {
            kind: Kind::Advertisement(Flags { router, solicited: false, overriding: true }),
            source: address,
            destination: ALL_NODES,
            target: address,
            link_layer: Some(mac),
        }
    }

    /// Writes the frame and returns its length; `None` where `out` is shorter than
    /// [`DISCOVERY_FRAME_LENGTH`]. `to` is for a destination that is no group.
    pub fn write(&self, from: Mac, to: Mac, out: &mut [u8]) -> Option<usize> {
        let option = if self.link_layer.is_some() { OPTION_LENGTH } else { 0 };
        let length = DISCOVERY_FRAME_LENGTH - OPTION_LENGTH + option;
        let out = out.get_mut(..length)?;
        out.fill(0);
        let to = if self.destination.is_multicast() { group_mac(self.destination) } else { to };
        let mut ethernet = MutableEthernetPacket::new(out)?;
        ethernet.set_destination(MacAddr::from(to.0));
        ethernet.set_source(MacAddr::from(from.0));
        ethernet.set_ethertype(EtherTypes::Ipv6);
        let mut header = MutableIpv6Packet::new(ethernet.payload_mut())?;
        header.set_version(6);
        header.set_payload_length((FIXED_LENGTH + option) as u16);
        header.set_next_header(IpNextHeaderProtocols::Icmpv6);
        header.set_hop_limit(ON_LINK);
        header.set_source(self.source);
        header.set_destination(self.destination);
        let message = header.payload_mut();
        match self.kind {
            Kind::Solicitation => {
                let mut solicitation = MutableNeighborSolicitPacket::new(message)?;
                solicitation.set_icmpv6_type(Icmpv6Types::NeighborSolicit);
                solicitation.set_target_addr(self.target);
            }
            Kind::Advertisement(flags) => {
                let mut advertisement = MutableNeighborAdvertPacket::new(message)?;
                advertisement.set_icmpv6_type(Icmpv6Types::NeighborAdvert);
                let bit = |set: bool, bit: u8| if set { bit } else { 0 };
                advertisement.set_flags(
                    bit(flags.router, NeighborAdvertFlags::Router)
                        | bit(flags.solicited, NeighborAdvertFlags::Solicited)
                        | bit(flags.overriding, NeighborAdvertFlags::Override),
                );
                advertisement.set_target_addr(self.target);
            }
        }
        if let Some(mac) = self.link_layer {
            let mut option = MutableNdpOptionPacket::new(message.get_mut(FIXED_LENGTH..)?)?;
            option.set_option_type(match self.kind {
                Kind::Solicitation => NdpOptionTypes::SourceLLAddr,
                Kind::Advertisement(_) => NdpOptionTypes::TargetLLAddr,
            });
            option.set_length(1);
            option.set_data(&mac.0);
        }
        let sum = icmpv6::checksum(&Icmpv6Packet::new(header.payload())?, &self.source, &self.destination);
        MutableIcmpv6Packet::new(header.payload_mut())?.set_checksum(sum);
        Some(length)
    }
}

/// The link-layer address option that belongs to a message of this kind.
fn link_layer(kind: Kind, options: NdpOptionsIterator) -> Result<Option<Mac>, Malformed> {
    let mut found = None;
    for option in options {
        let bytes = match (option.map_err(|_| Malformed::BadOption)?, kind) {
            (NdpOptionSlice::SourceLinkLayerAddress(address), Kind::Solicitation) => address.link_layer_address(),
            (NdpOptionSlice::TargetLinkLayerAddress(address), Kind::Advertisement(_)) => address.link_layer_address(),
            _ => continue,
        };
        found = Some(Mac(bytes.try_into().map_err(|_| Malformed::BadOption)?));
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
