//! ICMP errors about connections, in both directions.

use crate::base::{Address, ConnectionId, Family, Protocol, Tick};
use crate::table::ForwardingMethod;
use crate::wire::checksum::{self, Sum};
use crate::wire::dissect::dissect_quoted;
use crate::wire::ip::{End, v4, v6};
use crate::wire::transport::icmp;
use crate::wire::{Dissected, FragmentPart, Frame};

use super::Engine;
use super::admit;
use super::classify::Seen;
use super::conn::{ConnFlags, TupleKey};
use super::forward::nat;
use super::input::{Carried, Ends, Kept, ends};
use super::options;
use super::pick::{NoConnection, Wanted};
use super::proto;
use super::sched::Request;
use super::track::{End as Ending, Sender};
use super::verdict::{DropReason, PassReason, Verdict};

pub(super) fn is_icmp(parts: &Dissected) -> bool {
    match parts.family {
        Family::V4 => parts.protocol == Protocol::ICMP,
        Family::V6 => parts.protocol == Protocol::ICMPV6,
    }
}

/// The packet that an ICMP error quotes, and where it lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quoted {
    pub parts: Dissected,
    /// Where the quoted IP header begins in the outer packet.
    pub at: usize,
}

/// The packet quoted in an ICMP error of a kind that can concern a connection.
pub(super) fn quoted(parts: &Dissected, packet: &[u8]) -> Option<Quoted> {
    let message = parts.transport(packet);
    let kind = *message.first()?;
    let concerns = match parts.family {
        Family::V4 => matches!(kind, icmp::UNREACHABLE | icmp::SOURCE_QUENCH | icmp::TIME_EXCEEDED),
        Family::V6 => kind < icmp::FIRST_INFORMATION_V6,
    };
    if !concerns {
        return None;
    }
    let inner = dissect_quoted(parts.family, message.get(icmp::LENGTH..)?).ok()?;
    let later = inner.fragment == FragmentPart::Later;
    let unusable = match parts.family {
        Family::V4 => later && matches!(inner.protocol, Protocol::AH | Protocol::ESP),
        Family::V6 => later,
    };
    (proto::is_balanced(&inner) && !unusable).then_some(Quoted { parts: inner, at: parts.transport + icmp::LENGTH })
}

/// Whether an ICMP message is an error, also of a kind that concerns no connection.
pub(super) fn is_error(parts: &Dissected, packet: &[u8]) -> bool {
    let kind = parts.transport(packet).first();
    kind.is_some_and(|&kind| match parts.family {
        Family::V4 => {
            matches!(kind, icmp::UNREACHABLE | icmp::SOURCE_QUENCH | icmp::TIME_EXCEEDED | icmp::PARAMETER_PROBLEM)
        }
        Family::V6 => kind < icmp::FIRST_INFORMATION_V6,
    })
}

/// Where the packet was going that an ICMP error quotes, whatever packet that is.
pub(super) fn quoted_destination(parts: &Dissected, packet: &[u8]) -> Option<Address> {
    let destination = match parts.family {
        Family::V4 => v4::DESTINATION,
        Family::V6 => v6::DESTINATION,
    };
    Address::read(parts.family, parts.transport(packet).get(icmp::LENGTH..)?.get(destination)?)
}

/// Whether an ICMP message's checksum is right, as far as it can be told.
pub(super) fn checksum_is_right(frame: &Frame, parts: &Dissected) -> bool {
    let message = parts.transport(frame.packet());
    let pseudo = match parts.family {
        Family::V4 => Sum::ZERO,
        Family::V6 => checksum::pseudo_header(parts.source, parts.destination, Protocol::ICMPV6.0, message.len()),
    };
    frame.offload.is_partial() || pseudo.add_bytes(message).checksum().is_zero()
}

/// Whether an error may be rewritten: its checksum is right. One in whose IP header something was
/// entered on the way in (a route) has a wrong one for the kernel, and so for us.
fn may_be_rewritten(frame: &Frame, seen: &Seen) -> bool {
    seen.stale.is_none() && checksum_is_right(frame, &seen.parts)
}

impl Engine {
    /// An ICMP message to a virtual address or one of this host's own: an error about what a client
    /// was sent, or something for the host's stack.
    pub(super) fn input_icmp(&mut self, now: Tick, frame: &mut Frame, seen: &Seen) -> Verdict {
        if !self.services.serves(seen.parts.family) {
            self.note_path_of_udp(now, frame, seen);
            return self.leave_to_host(now, frame, seen, PassReason::NotFirst, Kept::No);
        }
        if let Some(verdict) = self.tunnel_error(now, frame, seen) {
            return verdict;
        }
        let Some(inner) = quoted(&seen.parts, frame.packet()) else {
            return self.leave_to_host(now, frame, seen, PassReason::NotFirst, Kept::No);
        };
        if let Some(id) = self.reply_of(&inner) {
            // A real server's error to this host itself: it counts, and the host's stack has it.
            let destination = self.connections.get(id).and_then(|connection| connection.destination);
            self.count_packet(destination, Sender::Server, seen.parts.length);
            return self.leave_to_host(now, frame, seen, PassReason::NotFirst, Kept::No);
        }
        match self.request_of(&inner) {
            Some(id) => self.send_error_in(now, frame, seen, &inner, id),
            None if self.settings.schedule_icmp != 0 => self.schedule_error(now, frame, seen, &inner),
            None => self.leave_to_host(now, frame, seen, PassReason::NotFirst, Kept::No),
        }
    }

    /// Makes a connection for the packet that an ICMP error quotes (`schedule_icmp`): the server
    /// that a hashing scheduler chooses for the client may know what it is about.
    fn schedule_error(&mut self, now: Tick, frame: &mut Frame, seen: &Seen, inner: &Quoted) -> Verdict {
        let Some(Ends { protocol, source, destination }) = ends(&inner.parts) else {
            return Verdict::Drop(DropReason::TransportTruncated);
        };
        let family = inner.parts.family;
        // Neither begins a connection with its own packets either.
        let begins = !matches!(inner.parts.protocol, Protocol::AH | Protocol::ESP);
        let service = self.services.find(family, seen.mark, protocol, source.0, source.1).filter(|_| begins);
        let Some(service) = service.filter(|_| admit::check_source_port(destination.1).is_ok()) else {
            return self.leave_to_host(now, frame, seen, PassReason::NotFirst, Kept::No);
        };
        if let Err(verdict) = self.defences.check_attempt() {
            return verdict;
        }
        let wanted = Wanted {
            key: TupleKey {
                family,
                protocol,
                client: destination.0,
                client_port: destination.1,
                virtual_address: source.0,
                virtual_port: source.1,
            },
            mark: seen.mark,
            segment: &[],
            // The kernel takes the quoted packet's destination for dh, lblc and lblcr as it stands.
            request: Request { family, source: destination.0, destination: destination.0, source_port: destination.1 },
        };
        match self.schedule(now, service, &wanted) {
            Ok(id) => {
                let verdict = self.send_error_in(now, frame, seen, inner, id);
                if self.connections.get(id).is_some_and(|connection| connection.flags.has(ConnFlags::ONE_PACKET)) {
                    self.forget(id, Ending::Expired);
                }
                verdict
            }
            Err(NoConnection::Refused(reason)) => Verdict::Drop(reason),
            Err(NoConnection::NoDestination) => Verdict::Drop(DropReason::IcmpUnscheduled),
        }
    }

    /// An ICMP message on its way through: an error from a real server (or a router behind it) about
    /// what a client sent, or something that nobody else forwards.
    pub(super) fn output_icmp(&mut self, now: Tick, frame: &mut Frame, seen: &Seen) -> Verdict {
        let served = self.services.serves(seen.parts.family);
        let inner = quoted(&seen.parts, frame.packet()).filter(|_| served);
        let reply = inner.and_then(|inner| Some((inner, self.reply_of(&inner)?)));
        if reply.is_none() && !self.is_routed_by_us(seen, frame.packet()) {
            return Verdict::Pass(PassReason::NotVirtual);
        }
        let mut hop = match self.route_onwards(now, frame, seen) {
            Ok(hop) => hop,
            Err(verdict) => return verdict,
        };
        let Some((inner, id)) = reply else {
            options::record_route4(frame, seen, hop.source);
            return self.send_onwards(now, frame, seen, hop);
        };
        let Some(connection) = self.connections.get(id) else { return Verdict::Pass(PassReason::NotVirtual) };
        let (destination, method) = (connection.destination, connection.flags.method());
        let (virtual_address, virtual_port) = (connection.virtual_address, connection.virtual_port);
        if method == ForwardingMethod::Masquerading {
            if !may_be_rewritten(frame, seen) {
                return Verdict::Drop(DropReason::IcmpChecksum);
            }
            nat::rewrite_error(frame, &seen.parts, &inner, End::Source, (virtual_address, virtual_port));
            match self.route_again(seen.parts.family, virtual_address, seen.parts.destination, hop) {
                Some(again) => hop = again,
                None => return Verdict::Drop(DropReason::NoRoute),
            }
        }
        options::record_route4(frame, seen, hop.source);
        self.count_packet(destination, Sender::Server, seen.parts.length);
        self.send_onwards(now, frame, seen, hop)
    }

    /// The connection whose reply is quoted.
    fn request_of(&self, inner: &Quoted) -> Option<ConnectionId> {
        let Ends { protocol, source, destination } = ends(&inner.parts)?;
        self.connections.find(&TupleKey {
            family: inner.parts.family,
            protocol,
            client: destination.0,
            client_port: destination.1,
            virtual_address: source.0,
            virtual_port: source.1,
        })
    }

    /// The connection whose request, as the real server got it, is quoted.
    pub(super) fn reply_of(&self, inner: &Quoted) -> Option<ConnectionId> {
        let Ends { protocol, source, destination } = ends(&inner.parts)?;
        self.connections.find_reply(inner.parts.family, protocol, destination, source)
    }

    fn send_error_in(
        &mut self,
        now: Tick,
        frame: &mut Frame,
        seen: &Seen,
        inner: &Quoted,
        id: ConnectionId,
    ) -> Verdict {
        let Some(connection) = self.connections.get_mut(id) else { return Verdict::Pass(PassReason::NotFirst) };
        let (destination, method) = (connection.destination, connection.flags.method());
        let end = (connection.destination_address, connection.destination_port);
        if method == ForwardingMethod::Masquerading {
            if !may_be_rewritten(frame, seen) {
                return Verdict::Drop(DropReason::IcmpChecksum);
            }
        } else {
            connection.in_packets = connection.in_packets.wrapping_add(1);
        }
        self.count_packet(destination, Sender::Client, seen.parts.length);
        if method == ForwardingMethod::Masquerading {
            return self.forward_rewritten(now, frame, seen, id, |frame| {
                nat::rewrite_error(frame, &seen.parts, inner, End::Destination, end);
                Ok(())
            });
        }
        self.forward(now, frame, seen, id, Carried::IcmpError)
    }
}
