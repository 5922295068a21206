//! First stage: is the frame meant for us, is it whole, and whose address does it go to?

use crate::base::{Address, Family, Mac};
use crate::table::mark::{MarkFields, mark_of};
use crate::table::network::LinkLayer;
use crate::wire::dissect::dissect;
use crate::wire::fragment::Original;
use crate::wire::ip::v4;
use crate::wire::{Dissected, EtherType, Frame, LinkHeader};

use super::options;
use super::verdict::{DropReason, PassReason, Verdict};
use super::{Engine, HostStack};

/// Whom a packet is addressed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A virtual service's address, or a packet that a firewall-mark service takes.
    Virtual,
    /// Another address of this host.
    Own,
    /// Somebody beyond: a packet to be forwarded.
    Transit,
}

/// What later stages know of the packet at hand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    pub parts: Dissected,
    pub mark: u32,
    pub target: Target,
    /// How the packet was cut, when it arrived in fragments.
    pub original: Option<Original<'a>>,
    /// Nobody else forwards the packet if we do not: it was sent to our virtual MAC, or no
    /// other stack is there.
    pub routed_by_us: bool,
}

impl Engine {
    /// # Errors
    /// The verdict on a frame that goes no further.
    #[inline]
    pub(super) fn classify(&self, frame: &mut Frame) -> Result<Seen<'static>, Verdict> {
        let link = self.network.link(frame.link).ok_or(Verdict::Drop(DropReason::LinkDown))?;
        let mut to_virtual_mac = false;
        let family = match frame.link_header() {
            LinkHeader::Ethernet { destination, kind, .. } => {
                let family = match kind {
                    EtherType::IPV4 => Family::V4,
                    EtherType::IPV6 => Family::V6,
                    _ if self.network.takes(link, destination, Family::V4) => {
                        return Err(Verdict::Pass(PassReason::NotIp));
                    }
                    _ => return Err(Verdict::Pass(not_ours(destination))),
                };
                if !self.network.takes(link, destination, family) {
                    return Err(Verdict::Pass(not_ours(destination)));
                }
                to_virtual_mac = Some(destination) == link.virtual_mac;
                family
            }
            LinkHeader::Tagged => return Err(Verdict::Pass(PassReason::Vlan)),
            LinkHeader::None => match frame.packet().first().map(|byte| byte >> 4) {
                Some(4) => Family::V4,
                Some(6) => Family::V6,
                Some(_) => return Err(Verdict::Drop(DropReason::IpVersion)),
                None => return Err(Verdict::Drop(DropReason::Truncated)),
            },
        };
        let parts = dissect(family, frame.packet()).map_err(|malformed| Verdict::Drop(malformed.into()))?;
        frame.truncate(parts.length);
        self.check_addresses(&parts)?;
        if self.network.is_ceded(family, parts.destination) {
            return Err(Verdict::Pass(PassReason::HostAddress));
        }
        let has_options = family == Family::V4 && parts.transport > v4::LENGTH;
        if has_options {
            options::check(frame.packet()).map_err(Verdict::Drop)?;
        }
        let mark = self.mark_of(&parts, &link.name);
        let target = if self.services.is_virtual(family, parts.destination) || self.services.has_mark(family, mark) {
            Target::Virtual
        } else if self.network.is_local(family, parts.destination) {
            Target::Own
        } else {
            Target::Transit
        };
        if has_options && target != Target::Transit {
            options::record_route(frame.packet_mut(), parts.destination);
        }
        let routed_by_us = to_virtual_mac || self.host_stack == HostStack::Absent || link.layer == LinkLayer::Ip;
        Ok(Seen { parts, mark, target, original: None, routed_by_us })
    }

    /// Refuses addresses that no packet may come from, and leaves groups alone.
    fn check_addresses(&self, parts: &Dissected) -> Result<(), Verdict> {
        let martian = match parts.family {
            Family::V4 => {
                let [first, ..] = parts.source.octets4();
                first == 0
                    || first == 127
                    || first >= 240
                    || is_multicast(parts.family, parts.source)
                    || self.network.is_local(parts.family, parts.source)
            }
            Family::V6 => is_multicast(parts.family, parts.source),
        };
        if martian {
            return Err(Verdict::Drop(DropReason::MartianSource));
        }
        if is_multicast(parts.family, parts.destination) {
            return Err(Verdict::Pass(PassReason::Multicast));
        }
        if parts.family == Family::V4 {
            let octets = parts.destination.octets4();
            if octets == [255; 4] || octets[0] == 0 || self.network.is_broadcast(octets.into()) {
                return Err(Verdict::Pass(PassReason::Multicast));
            }
        }
        Ok(())
    }

    /// The firewall mark that the operator's rules give a packet.
    pub(super) fn mark_of(&self, parts: &Dissected, link: &str) -> u32 {
        if self.marks.is_empty() {
            return 0;
        }
        mark_of(
            &self.marks,
            &MarkFields {
                family: parts.family,
                protocol: parts.protocol,
                source: parts.source,
                destination: parts.destination,
                ports: parts.ports.map(|(source, destination)| (source.0, destination.0)),
                link,
            },
        )
    }
}

/// Why a frame to this Ethernet address is left alone.
fn not_ours(destination: Mac) -> PassReason {
    if destination.is_multicast() { PassReason::LinkMulticast } else { PassReason::OtherHost }
}

pub(super) fn is_multicast(family: Family, address: Address) -> bool {
    match family {
        Family::V4 => address.octets4()[0] & 0xf0 == 0xe0,
        Family::V6 => address.octets16()[0] == 0xff,
    }
}
