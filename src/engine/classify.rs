//! First stage: is the frame meant for us, is it whole, and whose address does it go to?

use crate::base::{Address, Family, LinkId, Mac, Protocol};
use crate::table::mark::{MarkFields, mark_of};
use crate::table::network::LinkLayer;
use crate::wire::checksum::Checksum;
use crate::wire::dissect::dissect;
use crate::wire::fragment::Original;
use crate::wire::ip::{plain_header, v6};
use crate::wire::offload::Completion;
use crate::wire::transport::sctp;
use crate::wire::{Dissected, EtherType, FragmentPart, Frame, LinkHeader};

use super::emit::Complaint;
use super::options::{self, Refusal};
use super::options6::{self, Judgement};
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
    /// What stood in the IPv4 header's checksum before its options were changed, and after: the
    /// kernel quotes such a header with its old checksum.
    pub stale: Option<[Checksum; 2]>,
    /// What its sender is to be told is wrong with it; it goes no further.
    pub wrong: Option<Complaint>,
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
        if parts.protocol == Protocol::SCTP && frame.offload.is_partial() {
            finish_sctp(frame, &parts);
        }
        self.check_addresses(&parts, frame.link)?;
        if self.network.is_ceded(family, parts.destination) {
            return Err(Verdict::Pass(PassReason::HostAddress));
        }
        let mark = self.mark_of(&parts, &link.name);
        let target = if self.services.is_virtual(family, parts.destination) || self.services.has_mark(family, mark) {
            Target::Virtual
        } else if self.network.is_local(family, parts.destination) || self.is_known_by_mark(family, parts.destination) {
            Target::Own
        } else {
            Target::Transit
        };
        let routed_by_us = to_virtual_mac || self.host_stack == HostStack::Absent || link.layer == LinkLayer::Ip;
        let mut seen = Seen { parts, mark, target, original: None, stale: None, wrong: None, routed_by_us };
        if parts.transport > plain_header(family) {
            look_beyond_header(frame, &mut seen)?;
        }
        Ok(seen)
    }

    /// Refuses addresses that no packet may come from, and leaves groups alone. As with Linux (since 5.3),
    /// 0.0.0.0/8 and 240.0.0.0/4 are networks like others, but for the first address of one and the last
    /// of the other.
    fn check_addresses(&self, parts: &Dissected, link: LinkId) -> Result<(), Verdict> {
        let martian = match parts.family {
            Family::V4 => {
                let source = parts.source.octets4();
                source[0] == 127
                    || is_everyone_or_nobody(source)
                    || is_multicast(parts.family, parts.source)
                    || (self.network.is_local(parts.family, parts.source) && !self.network.accepts_local(link))
            }
            Family::V6 => is_multicast(parts.family, parts.source) || is_loopback6(parts.source),
        };
        if martian {
            return Err(Verdict::Drop(DropReason::MartianSource));
        }
        if is_multicast(parts.family, parts.destination) {
            return Err(Verdict::Pass(PassReason::Multicast));
        }
        if parts.family == Family::V4 {
            let octets = parts.destination.octets4();
            if is_everyone_or_nobody(octets) || self.network.is_broadcast(octets.into()) {
                return Err(Verdict::Pass(PassReason::Multicast));
            }
        }
        Ok(())
    }

    /// Whether the rules of mark services name an address, which is answered for then, also for what none of them takes.
    fn is_known_by_mark(&self, family: Family, address: Address) -> bool {
        !self.marks.is_empty()
            && self.rules_naming(family, address).any(|rule| self.services.has_mark(family, rule.mark))
    }

    /// The firewall mark that the operator's rules give a packet.
    pub(super) fn mark_of(&self, parts: &Dissected, link: &str) -> u32 {
        if self.marks.is_empty() {
            return 0;
        }
        mark_of(&self.marks, &mark_fields(parts, link))
    }

    /// Whether a later fragment, which has no ports, may be of a datagram that a mark service takes.
    pub(super) fn may_be_marked(&self, parts: &Dissected, link: LinkId) -> bool {
        if self.marks.is_empty() || parts.ports.is_some() || !parts.is_fragment() {
            return false;
        }
        let Some(link) = self.network.link(link) else { return false };
        let fields = mark_fields(parts, &link.name);
        let mut rules = self.marks.iter().filter(|rule| self.services.has_mark(parts.family, rule.mark));
        rules.any(|rule| rule.matching.takes_with_ports(&fields))
    }
}

fn mark_fields<'a>(parts: &Dissected, link: &'a str) -> MarkFields<'a> {
    MarkFields {
        family: parts.family,
        protocol: parts.protocol,
        source: parts.source,
        destination: parts.destination,
        ports: parts.ports.map(|(source, destination)| (source.0, destination.0)),
        link,
    }
}

/// Why a frame to this Ethernet address is left alone.
fn not_ours(destination: Mac) -> PassReason {
    if destination.is_multicast() { PassReason::LinkMulticast } else { PassReason::OtherHost }
}

/// Finishes the checksum that a local sender of SCTP left to its device. It is a CRC32c, which the metadata cannot
/// say: everybody after this stage would take it for one like TCP's.
#[cold]
fn finish_sctp(frame: &mut Frame, parts: &Dissected) {
    if parts.fragment == FragmentPart::Whole
        && sctp::write_checksum(&mut frame.packet_mut()[parts.transport..parts.length])
    {
        frame.offload.checksum = Completion::Complete;
    }
}

/// IPv4 options, and the IPv6 header that every router looks at.
#[cold]
fn look_beyond_header(frame: &mut Frame, seen: &mut Seen) -> Result<(), Verdict> {
    let wrong = |pointer| Complaint::ParameterProblem { code: 0, pointer };
    match seen.parts.family {
        Family::V4 => match options::admit(frame.packet_mut()) {
            Ok(changed) => {
                let recorded =
                    seen.target != Target::Transit && options::record_route(frame.packet_mut(), seen.parts.destination);
                // On its way through, a packet's route is recorded as it leaves.
                let to_be_recorded = seen.target == Target::Transit && options::route_has_room(frame.packet());
                if changed || recorded || to_be_recorded {
                    seen.stale = options::settle(frame.packet_mut());
                }
            }
            Err(Refusal::SourceRoute) => return Err(Verdict::Drop(DropReason::SourceRoute)),
            Err(Refusal::Wrong { pointer }) => seen.wrong = Some(wrong(pointer as u32)),
        },
        Family::V6 if frame.packet()[v6::NEXT_HEADER] == v6::HOP_BY_HOP => {
            match options6::judge(frame.packet(), v6::LENGTH) {
                Judgement::Passes => {}
                Judgement::Vanishes => return Err(Verdict::Drop(DropReason::IpOptions)),
                Judgement::Wrong { code, pointer } => seen.wrong = Some(Complaint::ParameterProblem { code, pointer }),
            }
        }
        Family::V6 => {}
    }
    Ok(())
}

/// Whether it is IPv4's broadcast or unspecified address.
pub(super) fn is_everyone_or_nobody(octets: [u8; 4]) -> bool {
    octets == [255; 4] || octets == [0; 4]
}

/// Whether it is ::1, which nobody on a link may use (RFC 4291 section 2.5.3).
#[inline]
pub(super) fn is_loopback6(address: Address) -> bool {
    u128::from_be_bytes(address.octets16()) == 1
}

pub(super) fn is_multicast(family: Family, address: Address) -> bool {
    match family {
        Family::V4 => address.octets4()[0] & 0xf0 == 0xe0,
        Family::V6 => address.octets16()[0] == 0xff,
    }
}
