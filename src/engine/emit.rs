//! What the engine sends of its own accord: ICMP errors to whoever sent a packet that cannot go on.

use crate::base::{Address, Family, Prefix, Tick};
use crate::table::{Flow, MarkRule, NextHop, RouteKind};
use crate::wire::Dissected;
use crate::wire::checksum::{Checksum, Sum};
use crate::wire::dissect::dissect_quoted;
use crate::wire::frame::ETHERNET_LENGTH;
use crate::wire::ip::v4;
use crate::wire::originate::{Icmpv4Error, Icmpv6Error, Offending, icmpv4_error, icmpv6_error};
use crate::wire::segment::Unfinished;
use crate::wire::{Frame, LinkHeader};

use super::classify::{Seen, Target};
use super::input::ends;
use super::track::Sender;
use super::verdict::Egress;
use super::{Engine, HostStack};

/// What is wrong with a packet, as its sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Complaint {
    NetUnreachable,
    HostUnreachable,
    ProtocolUnreachable,
    PortUnreachable,
    /// The packet is longer than this MTU and may not be fragmented.
    TooBig(u32),
    TimeExceeded,
    ReassemblyTime,
    /// The byte at `pointer` is wrong.
    ParameterProblem {
        code: u8,
        pointer: u32,
    },
}

/// Longest ICMP error of either family.
const LONGEST: usize = 1280;

/// How many ICMP errors may be sent: so many a second, and so many at once, as Linux limits
/// all of a host's (icmp_msgs_per_sec, icmp_msgs_burst).
const ERRORS_PER_SECOND: u64 = 1000;
const ERROR_BURST: u64 = 50;

/// The limit on errors, a bucket that fills with time. As with Linux those by which a sender learns what fits
/// are not limited: without them a connection would stand still.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ErrorLimit {
    /// Errors that may be sent at once, in thousandths.
    credit: u64,
    last: Option<Tick>,
}

impl ErrorLimit {
    /// Whether an error may be sent.
    fn allows(&mut self, now: Tick) -> bool {
        let full = ERROR_BURST * 1000;
        self.credit = match self.last {
            None => full,
            Some(last) => full.min(self.credit + now.since(last) * ERRORS_PER_SECOND),
        };
        self.last = Some(now);
        self.credit >= 1000
    }

    /// One was sent.
    fn note_sent(&mut self) {
        self.credit = self.credit.saturating_sub(1000);
    }
}

/// Whether an error counts against the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limited {
    Yes,
    No,
}

impl Engine {
    /// Sends the sender of `frame` an ICMP error, as the host's stack would: where a packet came
    /// to an address of ours, that address speaks; otherwise the one that faces the sender.
    pub(super) fn tell_sender(&mut self, now: Tick, frame: &Frame, seen: &Seen, complaint: Complaint) {
        let parts = &seen.parts;
        let link_length = if frame.link_header() == LinkHeader::None { 0 } else { ETHERNET_LENGTH };
        // What cannot be finished is quoted as it stands.
        let unfinished = Unfinished::of(frame.offload.checksum, link_length).ok().flatten();
        // With the old checksum, as far as it has not been counted down since.
        let header_checksum = seen
            .stale
            .zip(Checksum::read(frame.packet(), v4::CHECKSUM))
            .map(|([old, new], now)| now.updated(Sum::ZERO.subtract_number(old.number()).add_number(new.number())));
        let offending = Offending { packet: frame.packet(), unfinished, header_checksum };
        let own = match seen.target {
            Target::Virtual | Target::Own if self.speaks_for(parts.family, parts.destination) => {
                Some(parts.destination)
            }
            // An address that is here for its mark alone is nobody's to speak for. IPv6 sends from
            // its own instead, IPv4 has nothing to say.
            Target::Virtual | Target::Own if parts.family == Family::V4 => return,
            _ => None,
        };
        let Some(length) = self.send_error(now, parts.family, parts.source, own, offending, complaint) else { return };
        self.count_own_error(parts, length);
    }

    /// The host's own errors pass the balancer as well: those about a connection whose real server
    /// answers in the VIP's name count as its replies.
    fn count_own_error(&mut self, parts: &Dissected, length: usize) {
        if self.services.serves(parts.family)
            && let Some(ends) = ends(parts)
            && let Some(id) = self.connections.find_reply(parts.family, ends.protocol, ends.destination, ends.source)
        {
            let destination = self.connections.get(id).and_then(|connection| connection.destination);
            self.count_packet(destination, Sender::Server, length);
        }
    }

    /// Tells the sender of a first fragment that the others never came.
    pub(super) fn tell_reassembly_time(&mut self, now: Tick, family: Family, first: &[u8]) {
        let Ok(parts) = dissect_quoted(family, first) else { return };
        let own = self.speaks_for(family, parts.destination).then_some(parts.destination);
        let offending = Offending::from(first);
        if let Some(length) = self.send_error(now, family, parts.source, own, offending, Complaint::ReassemblyTime) {
            self.count_own_error(&parts, length);
        }
    }

    /// Whether errors may come from `address`: the host's own, a service's, or one that a mark rule
    /// names by itself.
    pub(super) fn speaks_for(&self, family: Family, address: Address) -> bool {
        let named = || self.rules_naming(family, address).next().is_some();
        self.services.is_virtual(family, address) || self.network.is_local(family, address) || named()
    }

    /// The mark rules that name `address` by itself.
    pub(super) fn rules_naming(&self, family: Family, address: Address) -> impl Iterator<Item = &MarkRule> {
        let single = Prefix::host(address.to_ip(family));
        self.marks.iter().filter(move |rule| rule.matching.destinations.contains(&single))
    }

    /// Queues an error to `to`, from `own` or the address that faces `to`; its length.
    fn send_error(
        &mut self,
        now: Tick,
        family: Family,
        to: Address,
        own: Option<Address>,
        offending: Offending,
        complaint: Complaint,
    ) -> Option<usize> {
        let hop = self.way_to(family, own.unwrap_or(Address::ZERO), to)?;
        let own = own.unwrap_or(hop.source);
        let limited = if matches!(complaint, Complaint::TooBig(_)) { Limited::No } else { Limited::Yes };
        if own.is_zero() || !self.may_send_error(now, limited) {
            return None;
        }
        let identification = self.random.draw() as u16;
        let out = self.outbox.push(Egress { link: hop.link, family, next_hop: hop.address }, LONGEST)?;
        let written = match family {
            Family::V4 => icmpv4_error(offending, icmpv4(complaint), own, identification, out),
            Family::V6 => icmpv6_error(offending, icmpv6(complaint, offending.packet), own, out),
        };
        match written {
            Ok(length) => {
                self.outbox.shorten_last(length);
                self.note_error_sent(limited);
                Some(length)
            }
            Err(_) => {
                self.outbox.cancel_last();
                None
            }
        }
    }

    /// Whether the limit lets an error be sent. A stack that nobody else stands beside has none: replays are of
    /// one without.
    pub(super) fn may_send_error(&mut self, now: Tick, limited: Limited) -> bool {
        limited == Limited::No || self.host_stack == HostStack::Absent || self.error_limit.allows(now)
    }

    /// An error was sent: what is kept to oneself costs nothing.
    pub(super) fn note_error_sent(&mut self, limited: Limited) {
        if limited == Limited::Yes {
            self.error_limit.note_sent();
        }
    }

    /// The way from `source`, which is zero where none is chosen yet, to somebody who sent us a
    /// packet; for this host's own stack, where it answers by a link, that link.
    pub(super) fn way_to(&mut self, family: Family, source: Address, address: Address) -> Option<NextHop> {
        let hop = self.routes.next_hop_of(&self.network, Flow::between(family, source, address))?;
        match (hop.kind, self.network.host()) {
            (RouteKind::Unicast, _) => Some(hop),
            (RouteKind::Local, Some(host)) if host.answers => Some(NextHop { link: host.link, ..hop }),
            _ => None,
        }
    }
}

fn icmpv4(complaint: Complaint) -> Icmpv4Error {
    match complaint {
        Complaint::NetUnreachable => Icmpv4Error { kind: 3, code: 0, rest: [0; 4] },
        Complaint::HostUnreachable => Icmpv4Error::HOST_UNREACHABLE,
        Complaint::ProtocolUnreachable => Icmpv4Error::PROTOCOL_UNREACHABLE,
        Complaint::PortUnreachable => Icmpv4Error::PORT_UNREACHABLE,
        Complaint::TooBig(mtu) => Icmpv4Error::fragmentation_needed(mtu.min(u32::from(u16::MAX)) as u16),
        Complaint::TimeExceeded => Icmpv4Error::TIME_EXCEEDED,
        Complaint::ReassemblyTime => Icmpv4Error::REASSEMBLY_TIME_EXCEEDED,
        Complaint::ParameterProblem { code, pointer } => {
            Icmpv4Error::parameter_problem(code, pointer.min(u32::from(u8::MAX)) as u8)
        }
    }
}

fn icmpv6(complaint: Complaint, packet: &[u8]) -> Icmpv6Error {
    match complaint {
        Complaint::NetUnreachable => Icmpv6Error::NO_ROUTE,
        Complaint::HostUnreachable => Icmpv6Error::ADDRESS_UNREACHABLE,
        Complaint::ProtocolUnreachable => Icmpv6Error::protocol_unreachable(packet),
        Complaint::PortUnreachable => Icmpv6Error::PORT_UNREACHABLE,
        Complaint::TooBig(mtu) => Icmpv6Error::packet_too_big(mtu),
        Complaint::TimeExceeded => Icmpv6Error::TIME_EXCEEDED,
        Complaint::ReassemblyTime => Icmpv6Error::REASSEMBLY_TIME_EXCEEDED,
        Complaint::ParameterProblem { code, pointer } => Icmpv6Error::parameter_problem(code, pointer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_limited_and_the_limit_recovers() {
        let mut limit = ErrorLimit::default();
        let mut send = |now| {
            let allowed = limit.allows(now);
            if allowed {
                limit.note_sent();
            }
            allowed
        };
        let sent = (0..1000).filter(|_| send(Tick(5))).count();
        assert_eq!(sent, 50);
        assert!(send(Tick(6)));
        assert!(!send(Tick(6)));
    }
}
