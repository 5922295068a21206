//! Sending a client's packet to its real server: NAT, direct routing, tunnels, bypass.

pub(super) mod nat;
mod tunnel;

use crate::base::{ConnectionId, Family, Tick};
use crate::table::network::LinkLayer;
use crate::table::{ForwardingMethod, NextHop, RouteKind};
use crate::wire::fragment::Original;
use crate::wire::ip::{self, End};
use crate::wire::transport::{tcp, udp};
use crate::wire::{Frame, offload::Segmentation};

use super::Engine;
use super::app::is_watched;
use super::classify::Seen;
use super::emit::Complaint;
use super::fragments::finish_checksum;
use super::input::Carried;
use super::verdict::{DropReason, Egress, Verdict};

impl Engine {
    /// Sends a packet of connection `id` to the real server, in the connection's way.
    #[inline]
    pub(super) fn forward(
        &mut self,
        now: Tick,
        frame: &mut Frame,
        seen: &Seen,
        id: ConnectionId,
        carried: Carried,
    ) -> Verdict {
        let Some(connection) = self.connections.get(id) else { return Verdict::Drop(DropReason::NoDestination) };
        match connection.flags.method() {
            ForwardingMethod::Masquerading if is_watched(connection.flags) => {
                self.forward_watched(now, frame, seen, id)
            }
            ForwardingMethod::Masquerading => {
                let end = (connection.destination_address, connection.destination_port);
                self.forward_rewritten(now, frame, seen, id, |frame| {
                    nat::rewrite(frame, &seen.parts, End::Destination, end)
                })
            }
            ForwardingMethod::DirectRouting => self.forward_directly(now, frame, seen, id, carried),
            ForwardingMethod::Tunneling => self.forward_tunneled(now, frame, seen, id, carried),
            ForwardingMethod::Local => self.deliver(now, frame, seen, id),
            ForwardingMethod::Bypass => self.forward_bypass(now, frame, seen, carried),
        }
    }

    /// NAT: `rewrite` is applied once the way is known to be open.
    pub(super) fn forward_rewritten(
        &mut self,
        now: Tick,
        frame: &mut Frame,
        seen: &Seen,
        id: ConnectionId,
        rewrite: impl FnOnce(&mut Frame) -> Result<(), DropReason>,
    ) -> Verdict {
        let hop = match self.hop_to_server(now, frame, seen, id) {
            Ok(hop) => hop,
            Err(verdict) => return verdict,
        };
        let local = hop.kind == RouteKind::Local;
        let carried = if super::related::is_icmp(&seen.parts) { Carried::IcmpError } else { Carried::Packet };
        if !local && let Err(verdict) = self.pass_gate(now, frame, seen, hop.mtu, carried) {
            return verdict;
        }
        if let Err(reason) = rewrite(frame) {
            return Verdict::Drop(reason);
        }
        if local { self.deliver(now, frame, seen, id) } else { self.send(frame, seen, seen.parts.family, hop) }
    }

    /// Direct routing: only TTL and the link-layer address change.
    fn forward_directly(
        &mut self,
        now: Tick,
        frame: &mut Frame,
        seen: &Seen,
        id: ConnectionId,
        carried: Carried,
    ) -> Verdict {
        let hop = match self.hop_to_server(now, frame, seen, id) {
            Ok(hop) => hop,
            Err(verdict) => return verdict,
        };
        if hop.kind == RouteKind::Local {
            return self.deliver(now, frame, seen, id);
        }
        if self.network.link(hop.link).is_some_and(|link| link.layer == LinkLayer::Ip) {
            return Verdict::Drop(DropReason::DirectOverTun);
        }
        if let Err(verdict) = self.pass_gate(now, frame, seen, hop.mtu, carried) {
            return verdict;
        }
        self.send(frame, seen, seen.parts.family, hop)
    }

    /// Sends a packet where it was going before a service took it.
    fn forward_bypass(&mut self, now: Tick, frame: &mut Frame, seen: &Seen, carried: Carried) -> Verdict {
        let hop = self.routes.next_hop(&self.network, seen.parts.family, seen.parts.destination);
        let Some(hop) = hop else {
            self.tell_sender(now, frame, seen, Complaint::HostUnreachable);
            return Verdict::Drop(DropReason::NoRoute);
        };
        if hop.kind != RouteKind::Unicast {
            return Verdict::Drop(DropReason::LocalBoundary);
        }
        if let Err(verdict) = self.pass_gate(now, frame, seen, hop.mtu, carried) {
            return verdict;
        }
        self.send(frame, seen, seen.parts.family, hop)
    }

    /// The way to a connection's real server; the client is told where there is none.
    pub(super) fn hop_to_server(
        &mut self,
        now: Tick,
        frame: &mut Frame,
        seen: &Seen,
        id: ConnectionId,
    ) -> Result<NextHop, Verdict> {
        let Some(connection) = self.connections.get(id) else {
            return Err(Verdict::Drop(DropReason::NoDestination));
        };
        let (family, address) = (connection.destination_family, connection.destination_address);
        match self.routes.next_hop(&self.network, family, address) {
            Some(hop) if matches!(hop.kind, RouteKind::Unicast | RouteKind::Local) => Ok(hop),
            _ => {
                self.tell_sender(now, frame, seen, Complaint::HostUnreachable);
                Err(Verdict::Drop(DropReason::NoRoute))
            }
        }
    }

    /// What every packet to a real server must pass: TTL and MTU. The TTL is counted down.
    pub(super) fn pass_gate(
        &mut self,
        now: Tick,
        frame: &mut Frame,
        seen: &Seen,
        mtu: u32,
        carried: Carried,
    ) -> Result<(), Verdict> {
        self.count_down(now, frame, seen)?;
        let family = seen.parts.family;
        let size = self.size_to_fit(frame, seen);
        if size > mtu as usize && ip::dont_fragment(family, frame.packet()) {
            if carried == Carried::Packet {
                self.tell_sender(now, frame, seen, Complaint::TooBig(mtu));
            } else if family == Family::V4 {
                return Ok(());
            }
            return Err(Verdict::Drop(DropReason::TooBig));
        }
        Ok(())
    }

    fn count_down(&mut self, now: Tick, frame: &mut Frame, seen: &Seen) -> Result<(), Verdict> {
        let family = seen.parts.family;
        if ip::ttl(family, frame.packet()) <= 1 {
            self.tell_sender(now, frame, seen, Complaint::TimeExceeded);
            return Err(Verdict::Drop(DropReason::TimeToLive));
        }
        ip::decrement_ttl(family, frame.packet_mut());
        Ok(())
    }

    /// The size the packet has on the wire: that of one segment, for a super-frame.
    #[inline]
    pub(super) fn wire_size(&self, frame: &Frame, seen: &Seen) -> usize {
        if !frame.offload.is_segmented() {
            return frame.packet_length();
        }
        let segment = seen.parts.transport(frame.packet());
        let header = match frame.offload.segmentation {
            Segmentation::Tcp4 { .. } | Segmentation::Tcp6 { .. } => {
                segment.get(tcp::DATA_OFFSET).map_or(tcp::LENGTH, |byte| usize::from(byte >> 4) * 4)
            }
            _ => udp::LENGTH,
        };
        (seen.parts.transport + header + usize::from(frame.offload.segment_size)).min(frame.packet_length())
    }

    /// Hands a finished packet over for sending, in fragments where it is too long for the link
    /// or came in fragments.
    #[inline]
    pub(super) fn send(&mut self, frame: &mut Frame, seen: &Seen, family: Family, hop: NextHop) -> Verdict {
        let egress = Egress { link: hop.link, family, next_hop: hop.address };
        let mtu = hop.mtu as usize;
        if seen.original.is_none() && self.wire_size(frame, seen) <= mtu {
            return Verdict::Transmit(egress);
        }
        if frame.offload.is_segmented() {
            return self.send_segments(frame, mtu, egress, 0, |_, _| {});
        }
        if let Err(reason) = finish_checksum(frame) {
            return Verdict::Drop(reason);
        }
        self.send_fragments(frame.packet(), mtu, seen.original.unwrap_or(Original::WHOLE), egress)
    }

    /// The size that must fit the MTU: for IPv6 that of the largest fragment, as only the sender
    /// may fragment.
    pub(super) fn size_to_fit(&self, frame: &Frame, seen: &Seen) -> usize {
        match (seen.parts.family, &seen.original) {
            (Family::V6, Some(original)) => original.longest,
            _ => self.wire_size(frame, seen),
        }
    }
}
