//! Packets on their way through this host: replies of real servers, and what nobody else forwards.

use crate::base::{Address, ConnectionId, Family, Protocol, Tick};
use crate::table::{Flow, ForwardingMethod, NextHop, RouteKind};
use crate::wire::dissect::dissect;
use crate::wire::frame::HEADROOM;
use crate::wire::ip::{self, End};
use crate::wire::originate::{Icmpv4Error, Offending, icmpv4_error};
use crate::wire::{FragmentPart, Frame, Offload, transport::TcpFlags, transport::sctp, transport::tcp};

use super::Engine;
use super::app::is_watched;
use super::classify::{Seen, Target};
use super::conn::ConnFlags;
use super::emit::Complaint;
use super::forward::nat;
use super::input::ends;
use super::options;
use super::proto;
use super::related;
use super::track::{End as Ending, Sender};
use super::verdict::{DropReason, PassReason, Verdict};

/// Longest ICMPv4 error.
const LONGEST_ERROR: usize = 576;

impl Engine {
    pub(super) fn output(&mut self, now: Tick, frame: &mut Frame, seen: &Seen) -> Verdict {
        if related::is_icmp(&seen.parts) {
            return self.output_icmp(now, frame, seen);
        }
        let reply = self.find_reply(seen);
        if reply.is_none() && !self.is_routed_by_us(seen, frame.packet()) {
            return Verdict::Pass(PassReason::NotVirtual);
        }
        let hop = match self.route_onwards(now, frame, seen) {
            Ok(hop) => hop,
            Err(verdict) => return verdict,
        };
        let reply = reply.or_else(|| self.begin_outwards(now, frame, seen));
        match reply {
            Some(id) => self.translate_back(now, frame, seen, id, hop),
            None if self.is_stray(seen, frame) => {
                self.tell_sender(now, frame, seen, Complaint::PortUnreachable);
                Verdict::Drop(DropReason::ServerTold)
            }
            None => {
                options::record_route4(frame, seen, hop.source);
                self.send_onwards(now, frame, seen, hop)
            }
        }
    }

    /// The connection that a packet of a real server answers.
    pub(super) fn find_reply(&self, seen: &Seen) -> Option<ConnectionId> {
        if !self.services.serves(seen.parts.family) || !proto::is_balanced(&seen.parts) {
            return None;
        }
        let ends = ends(&seen.parts)?;
        self.connections.find_reply(seen.parts.family, ends.protocol, ends.source, ends.destination)
    }

    /// Whether the packet would be lost if we did not forward it: nobody else sees it, or the
    /// guard keeps it from the kernel.
    pub(super) fn is_routed_by_us(&self, seen: &Seen, packet: &[u8]) -> bool {
        seen.routed_by_us || self.is_kept_in_transit(seen, packet)
    }

    /// Whether the guard keeps a packet in transit from the kernel, because it comes from a masqueraded
    /// server or is an error about what such a one was sent. What this says must be what `host/guard/layout`
    /// drops: the one more, and a packet is forwarded twice; the other, and it is lost.
    pub(super) fn is_kept_in_transit(&self, seen: &Seen, packet: &[u8]) -> bool {
        let parts = &seen.parts;
        let is_masqueraded = |address| self.services.is_masqueraded(parts.family, address);
        let in_fragments = parts.is_fragment() || seen.original.is_some();
        if in_fragments && is_masqueraded(parts.source) {
            return true;
        }
        if related::is_icmp(parts) {
            return parts.fragment != FragmentPart::Later
                && related::is_error(parts, packet)
                && (is_masqueraded(parts.source)
                    || related::quoted_destination(parts, packet).is_some_and(is_masqueraded));
        }
        self.services.covers_reply(parts.family, parts.protocol, parts.source, parts.source_port())
    }

    /// What a router does first: find the way, see that TTL and size allow it, count the TTL down.
    pub(super) fn route_onwards(&mut self, now: Tick, frame: &mut Frame, seen: &Seen) -> Result<NextHop, Verdict> {
        let hop = self.way_onwards(now, frame, seen)?;
        // An IPv4 datagram that was put together here: each of its fragments was seen to before.
        let seen_to = seen.parts.family == Family::V4 && seen.original.is_some();
        if !seen_to {
            self.see_to(now, frame, seen, hop)?;
        }
        Ok(hop)
    }

    fn way_onwards(&mut self, now: Tick, frame: &Frame, seen: &Seen) -> Result<NextHop, Verdict> {
        let parts = &seen.parts;
        let own = self.network.is_from_host(frame.link, parts.family, parts.source);
        let flow = Flow {
            incoming: Some(frame.link).filter(|_| !own),
            ..Flow::between(parts.family, parts.source, parts.destination)
        };
        let hop = self.routes.next_hop_of(&self.network, flow);
        hop.filter(|hop| hop.kind == RouteKind::Unicast).ok_or_else(|| {
            let barred = parts.family == Family::V4 && self.network.is_barred(&flow);
            let complaint = if barred { Complaint::HostUnreachable } else { Complaint::NetUnreachable };
            self.tell_sender(now, frame, seen, complaint);
            Verdict::Drop(DropReason::NoRoute)
        })
    }

    /// Sees that TTL and size allow a packet to go on, and counts its TTL down; not that of what
    /// this host's own stack sends, which passes its first router later.
    fn see_to(&mut self, now: Tick, frame: &mut Frame, seen: &Seen, hop: NextHop) -> Result<(), Verdict> {
        let parts = &seen.parts;
        let own = self.network.is_from_host(frame.link, parts.family, parts.source);
        if !own && ip::ttl(parts.family, frame.packet()) <= 1 {
            self.tell_sender(now, frame, seen, Complaint::TimeExceeded);
            return Err(Verdict::Drop(DropReason::TimeToLive));
        }
        let size = self.size_to_fit(frame, seen);
        let may_fragment = parts.family == Family::V4 && !ip::dont_fragment(parts.family, frame.packet());
        if size > hop.mtu as usize && !may_fragment {
            self.tell_sender(now, frame, seen, Complaint::TooBig(hop.mtu));
            return Err(Verdict::Drop(DropReason::TooBig));
        }
        if !own {
            ip::decrement_ttl(parts.family, frame.packet_mut());
        }
        Ok(())
    }

    /// Gives a real server's packet the virtual address as its source.
    fn translate_back(
        &mut self,
        now: Tick,
        frame: &mut Frame,
        seen: &Seen,
        id: ConnectionId,
        mut hop: NextHop,
    ) -> Verdict {
        let Some(connection) = self.connections.get(id) else { return Verdict::Pass(PassReason::NotVirtual) };
        let (destination, flags) = (connection.destination, connection.flags);
        let end = (connection.virtual_address, connection.virtual_port);
        let mut parts = seen.parts;
        if flags.method() == ForwardingMethod::Masquerading {
            if is_watched(flags) {
                match self.hear_server(now, frame, seen, id) {
                    Ok(edited) => parts = edited,
                    Err(reason) => return Verdict::Drop(reason),
                }
            }
            if let Err(reason) = nat::rewrite(frame, &parts, End::Source, end) {
                return Verdict::Drop(reason);
            }
            match self.route_again(parts.family, end.0, parts.destination, hop) {
                Some(again) => hop = again,
                None => return Verdict::Drop(DropReason::NoRoute),
            }
        }
        options::record_route4(frame, seen, end.0);
        self.count_packet(destination, Sender::Server, parts.length);
        if proto::has_states(parts.protocol) {
            self.follow(id, Sender::Server, parts.transport(frame.packet()));
        }
        self.touch(now, id);
        if is_watched(flags) {
            return self.send_watched(frame, seen, &parts, id, hop);
        }
        if flags.has(ConnFlags::ONE_PACKET) {
            self.forget(id, Ending::Expired);
        }
        self.send_onwards(now, frame, seen, hop)
    }

    /// The way of a reply that has its virtual address by now: as if this host had sent it
    /// (`snat_reroute`), which matters where rules look at the source; else `hop`, the way it had.
    pub(super) fn route_again(
        &mut self,
        family: Family,
        source: Address,
        destination: Address,
        hop: NextHop,
    ) -> Option<NextHop> {
        if self.settings.snat_reroute == 0 || !self.network.has_policy(family) {
            return Some(hop);
        }
        let again = self.routes.next_hop_of(&self.network, Flow::between(family, source, destination));
        again.filter(|again| again.kind == RouteKind::Unicast)
    }

    /// Sends a packet that is routed. An IPv4 datagram that came in fragments which may not be cut
    /// further does not go on, however long it is: its fragments passed the router's look at
    /// them, so it is found out only now, and its source by now (the virtual address, for a
    /// real server's reply) is told.
    pub(super) fn send_onwards(&mut self, now: Tick, frame: &mut Frame, seen: &Seen, hop: NextHop) -> Verdict {
        if !seen.original.is_some_and(|original| original.dont_fragment) {
            return self.send(frame, seen, seen.parts.family, hop);
        }
        let packet = frame.packet();
        let source = ip::source(Family::V4, packet);
        if self.network.is_local(Family::V4, source) || self.services.is_virtual(Family::V4, source) {
            let mtu = hop.mtu.min(u32::from(u16::MAX)) as u16;
            self.tell_ourselves(now, frame, Icmpv4Error::fragmentation_needed(mtu), source);
        } else {
            self.tell_sender(now, frame, seen, Complaint::TooBig(hop.mtu));
        }
        Verdict::Drop(DropReason::TooBig)
    }

    /// An error about a packet that leaves in our name is one to ourselves, and comes in as any
    /// other: the connection's real server hears of it.
    fn tell_ourselves(&mut self, now: Tick, frame: &Frame, error: Icmpv4Error, own: Address) {
        let mut buffer = [0; HEADROOM + LONGEST_ERROR];
        let identification = self.random.draw() as u16;
        let offending = Offending::from(frame.packet());
        let Ok(length) = icmpv4_error(offending, error, own, identification, &mut buffer[HEADROOM..]) else { return };
        let link = frame.link;
        let Some(mut message) = Frame::bare(&mut buffer, HEADROOM, HEADROOM + length, link, Offload::NONE) else {
            return;
        };
        let Ok(parts) = dissect(Family::V4, message.packet()) else { return };
        let seen = Seen {
            parts,
            mark: 0,
            target: Target::Virtual,
            original: None,
            stale: None,
            wrong: None,
            routed_by_us: true,
        };
        let verdict = self.input_icmp(now, &mut message, &seen);
        self.counts.note(verdict);
        if let Verdict::Transmit(egress) = verdict
            && let Some(out) = self.outbox.push(egress, message.packet_length())
        {
            out.copy_from_slice(message.packet());
        }
    }

    /// Refuses a real server's packet to an address of this host, where it answers no connection.
    #[cold]
    pub(super) fn refuse_stray(&mut self, now: Tick, frame: &Frame, seen: &Seen) -> Option<Verdict> {
        if !self.is_stray(seen, frame) || self.find_reply(seen).is_some() {
            return None;
        }
        self.tell_sender(now, frame, seen, Complaint::PortUnreachable);
        Some(Verdict::Drop(DropReason::ServerTold))
    }

    /// Whether a real server's packet without connection is to be refused (`nat_icmp_send`).
    fn is_stray(&self, seen: &Seen, frame: &Frame) -> bool {
        let parts = &seen.parts;
        if self.settings.nat_icmp_send == 0 {
            return false;
        }
        let segment = parts.transport(frame.packet());
        let ends = match parts.protocol {
            Protocol::TCP => segment.get(tcp::FLAGS).is_some_and(|&flags| TcpFlags(flags).has(TcpFlags::RST)),
            Protocol::SCTP => segment.get(sctp::LENGTH) == Some(&sctp::ABORT),
            Protocol::UDP => false,
            _ => return false,
        };
        !ends && self.services.masqueraded().has(parts.family, parts.protocol, parts.source, parts.source_port())
    }
}
