//! Tunnels: the client's packet travels inside another one to the real server (IPIP RFC 2003,
//! IPv6 RFC 2473, GUE draft-ietf-intarea-gue, GRE RFC 2784).

use crate::base::{Address, ConnectionId, Family, Protocol, Tick};
use crate::table::{NextHop, RouteKind, Tunnel, TunnelChecksum, TunnelKind};
use crate::wire::checksum;
use crate::wire::fragment::{Original, Piece};
use crate::wire::frame::ETHERNET_LENGTH;
use crate::wire::ip::{self, v4, v6};
use crate::wire::offload::{Completion, Segmentation};
use crate::wire::segment::Unfinished;
use crate::wire::transport::{self, tcp, udp};
use crate::wire::{Frame, LinkHeader, Offload};

use super::super::Engine;
use super::super::classify::Seen;
use super::super::emit::Complaint;
use super::super::fragments::{finish_checksum, grown};
use super::super::input::Carried;
use super::super::verdict::{DropReason, Egress, Verdict};

/// GUE's header without options.
const GUE_LENGTH: usize = 4;
const GRE_LENGTH: usize = 4;
/// GRE's checksum and reserved field.
const GRE_CHECKSUM_LENGTH: usize = 4;
const GRE_CHECKSUM_PRESENT: u16 = 0x8000;

/// Smallest MTU an IPv4 link may have (RFC 791).
const MINIMUM_MTU4: u32 = 68;

/// Everything about the outer packet that does not depend on the packet inside.
#[derive(Clone, Copy, Debug)]
struct Outer {
    family: Family,
    source: Address,
    destination: Address,
    tunnel: Tunnel,
    inner: Family,
    /// UDP source port of GUE.
    source_port: crate::base::Port,
    dont_fragment: bool,
}

impl Outer {
    fn ip_length(&self) -> usize {
        match self.family {
            Family::V4 => v4::LENGTH,
            Family::V6 => v6::LENGTH,
        }
    }

    /// Bytes between the outer IP header and the inner one.
    fn shim_length(&self) -> usize {
        match self.tunnel.kind {
            TunnelKind::Ipip => 0,
            TunnelKind::Gue => udp::LENGTH + GUE_LENGTH,
            TunnelKind::Gre if self.tunnel.checksum == TunnelChecksum::Checksum => GRE_LENGTH + GRE_CHECKSUM_LENGTH,
            TunnelKind::Gre => GRE_LENGTH,
        }
    }

    fn overhead(&self) -> usize {
        self.ip_length() + self.shim_length()
    }

    /// Whether the outer packet has a checksum over everything inside, so that nothing inside
    /// may stay unfinished.
    fn sums_payload(&self) -> bool {
        match self.tunnel.kind {
            TunnelKind::Ipip => false,
            TunnelKind::Gue => self.tunnel.checksum != TunnelChecksum::None,
            TunnelKind::Gre => self.tunnel.checksum == TunnelChecksum::Checksum,
        }
    }

    /// What the outer packet knows of how the one inside came in fragments.
    ///
    /// Between the families the kernel takes one's notes of that for the other's, and so do we:
    /// IPv4 fragments that may not be cut further are very short ones to IPv6 (all others are
    /// forgotten), and a bit of an IPv6 fragment's length forbids IPv4 to cut.
    fn inherit<'a>(&self, original: Original<'a>) -> Original<'a> {
        const CANNOT_BE_KEPT: &[Piece] = &[Piece { start: 0, end: 0 }];
        const FORBIDS_CUTTING: usize = 1 << 6;
        match (self.inner, self.family) {
            (Family::V4, Family::V6) if original.dont_fragment => {
                Original { longest: 0, pieces: CANNOT_BE_KEPT, ..original }
            }
            (Family::V4, Family::V6) => Original::WHOLE,
            (Family::V6, Family::V4) => Original {
                longest: Original::FORGOTTEN,
                dont_fragment: original.longest & FORBIDS_CUTTING != 0,
                ..original
            },
            _ => original,
        }
    }

    /// Writes the outer headers in front of the inner packet that starts at `self.overhead()`.
    fn write(&self, packet: &mut [u8], identification: u16) {
        let overhead = self.overhead();
        let inner = &packet[overhead..];
        let class = ip::traffic_class(self.inner, inner);
        let ttl = ip::ttl(self.inner, inner);
        let class = outer_class(class);
        let (outer, payload) = packet.split_at_mut(self.ip_length());
        let inner_protocol = match self.inner {
            Family::V4 => Protocol::IPIP,
            Family::V6 => Protocol::IPV6,
        };
        let protocol = match self.tunnel.kind {
            TunnelKind::Ipip => inner_protocol,
            TunnelKind::Gue => {
                self.write_gue(payload, inner_protocol);
                Protocol::UDP
            }
            TunnelKind::Gre => {
                self.write_gre(payload);
                Protocol::GRE
            }
        };
        let addresses = (self.source, self.destination);
        match self.family {
            Family::V4 => {
                let length = outer.len() + payload.len();
                let identification = if self.dont_fragment { 0 } else { identification };
                ip::write_v4(outer, length, class, identification, self.dont_fragment, ttl, protocol, addresses);
            }
            Family::V6 => ip::write_v6(outer, payload.len(), class, ttl, protocol, addresses),
        }
    }

    fn write_gue(&self, payload: &mut [u8], inner: Protocol) {
        let length = payload.len();
        transport::set_port(payload, transport::SOURCE_PORT, self.source_port);
        transport::set_port(payload, transport::DESTINATION_PORT, self.tunnel.port);
        payload[4..6].copy_from_slice(&(length as u16).to_be_bytes());
        payload[6..8].fill(0);
        payload[udp::LENGTH..udp::LENGTH + GUE_LENGTH].copy_from_slice(&[0, inner.0, 0, 0]);
        if self.tunnel.checksum != TunnelChecksum::None {
            checksum::pseudo_header(self.source, self.destination, Protocol::UDP.0, length)
                .add_bytes(payload)
                .checksum()
                .not_zero()
                .write(payload, udp::CHECKSUM);
        }
    }

    fn write_gre(&self, payload: &mut [u8]) {
        let kind: u16 = match self.inner {
            Family::V4 => 0x0800,
            Family::V6 => 0x86dd,
        };
        let summed = self.tunnel.checksum == TunnelChecksum::Checksum;
        let flags = if summed { GRE_CHECKSUM_PRESENT } else { 0 };
        payload[..2].copy_from_slice(&flags.to_be_bytes());
        payload[2..4].copy_from_slice(&kind.to_be_bytes());
        if summed {
            payload[4..8].fill(0);
            checksum::of(payload).write(payload, 4);
        }
    }
}

/// DSCP and ECN of the outer header (RFC 3168 section 9.1.1, full functionality): a congestion
/// mark stays inside.
fn outer_class(inner: u8) -> u8 {
    const CONGESTION: u8 = 0b11;
    const CAPABLE: u8 = 0b10;
    if inner & CONGESTION == CONGESTION { inner & !CONGESTION | CAPABLE } else { inner }
}

impl Engine {
    pub(super) fn forward_tunneled(
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
        let Some(connection) = self.connections.get(id) else { return Verdict::Drop(DropReason::NoDestination) };
        let (family, address) = (connection.destination_family, connection.destination_address);
        let hop = self.path_mtus.limit(now, family, address, hop);
        if hop.kind == RouteKind::Local {
            return self.deliver(now, frame, seen, id);
        }
        if let Err(verdict) = self.count_down(now, frame, seen) {
            return verdict;
        }
        let Some(mut outer) = self.outer(seen, id, &hop) else { return Verdict::Drop(DropReason::NoDestination) };
        let inner_family = seen.parts.family;
        let pmtu_discovery = self.settings.pmtu_disc != 0;
        let must_fit = match (inner_family, outer.family) {
            (Family::V4, _) => pmtu_discovery && ip::dont_fragment(inner_family, frame.packet()),
            (Family::V6, _) => true,
        };
        outer.dont_fragment = inner_family == Family::V4 && must_fit;
        let mtu = hop.mtu.saturating_sub(outer.overhead() as u32);
        let minimum = match outer.family {
            Family::V4 => MINIMUM_MTU4,
            Family::V6 => v6::MINIMUM_MTU,
        };
        if mtu < minimum {
            return Verdict::Drop(DropReason::MtuTooSmall);
        }
        let size = self.size_to_fit(frame, seen);
        if size > mtu as usize && must_fit {
            match carried {
                Carried::Packet => self.tell_sender(now, frame, seen, Complaint::TooBig(mtu)),
                Carried::IcmpError if inner_family == Family::V4 => return self.encapsulate(frame, seen, outer, hop),
                Carried::IcmpError => {}
            }
            return Verdict::Drop(DropReason::TooBig);
        }
        self.encapsulate(frame, seen, outer, hop)
    }

    fn outer(&mut self, seen: &Seen, id: ConnectionId, hop: &NextHop) -> Option<Outer> {
        let connection = self.connections.get(id)?;
        // One that another director told of, and that has no real server here, has no kind of tunnel either.
        let tunnel = self.services.destinations.get(connection.destination?)?.tunnel;
        Some(Outer {
            family: connection.destination_family,
            source: hop.source,
            destination: connection.destination_address,
            tunnel,
            inner: seen.parts.family,
            source_port: self.flow_port(seen),
            dont_fragment: false,
        })
    }

    /// A UDP source port that stays the same for a flow, in the host's ephemeral range.
    fn flow_port(&self, seen: &Seen) -> crate::base::Port {
        const FIRST: u32 = 32768;
        const COUNT: u32 = 28232;
        let parts = &seen.parts;
        let hash = (parts.source.fold() ^ parts.destination.fold().rotate_left(7))
            .wrapping_add(u32::from(parts.source_port().0) << 16 | u32::from(parts.destination_port().0))
            .wrapping_mul(0x9e37_79b1);
        crate::base::Port((FIRST + ((u64::from(hash) * u64::from(COUNT)) >> 32) as u32) as u16)
    }

    fn encapsulate(&mut self, frame: &mut Frame, seen: &Seen, outer: Outer, hop: NextHop) -> Verdict {
        let egress = Egress { link: hop.link, family: outer.family, next_hop: hop.address };
        let mtu = hop.mtu as usize;
        if frame.offload.is_segmented() {
            if let Some(offload) = self.tunneled(frame, seen, &outer, hop) {
                return self.send_whole(frame, outer, offload, egress);
            }
            return self.send_segments(frame, mtu, egress, outer.overhead(), |packet, identification| {
                outer.write(packet, identification);
            });
        }
        // Neither an outer checksum nor a fragment can wait for what is inside to be finished.
        let cut = frame.packet_length() + outer.overhead() > mtu;
        if (outer.sums_payload() || cut)
            && let Err(reason) = finish_checksum(frame)
        {
            return Verdict::Drop(reason);
        }
        let overhead = outer.overhead();
        if frame.packet_length() + overhead > usize::from(u16::MAX) {
            return Verdict::Drop(DropReason::TooLong);
        }
        let identification = self.random.draw() as u16;
        let Some(packet) = frame.prepend(overhead) else { return Verdict::Drop(DropReason::Headroom) };
        outer.write(packet, identification);
        if let Completion::Partial { start, offset } = frame.offload.checksum {
            let Some(start) = start.checked_add(overhead as u16) else { return Verdict::Drop(DropReason::Offload) };
            frame.offload.checksum = Completion::Partial { start, offset };
        }
        let original = match seen.original.map(|original| outer.inherit(original)) {
            Some(original) => original,
            None if frame.packet_length() <= mtu => return Verdict::Transmit(egress),
            None => Original::WHOLE,
        };
        let mut pieces = std::mem::take(&mut self.pieces);
        let original = grown(original, frame.packet_length() - outer.ip_length(), &mut pieces);
        let verdict = self.send_fragments(frame.packet(), mtu, original, egress);
        self.pieces = pieces;
        verdict
    }
    /// What a super-frame's metadata are once it is in the tunnel, where it may leave whole: the link's port
    /// tells the kernel of the outer headers, each segment fits the link with them, and the whole is still an IP
    /// packet.
    fn tunneled(&self, frame: &Frame, seen: &Seen, outer: &Outer, hop: NextHop) -> Option<Offload> {
        let (offload, overhead) = (frame.offload, outer.overhead());
        let (inner, ecn) = match offload.segmentation {
            Segmentation::Tcp4 { ecn } => (Family::V4, ecn),
            Segmentation::Tcp6 { ecn } => (Family::V6, ecn),
            _ => return None,
        };
        let whole = self.tunnel_carriers.contains(&hop.link)
            && inner == outer.inner
            && seen.original.is_none()
            && !outer.sums_payload()
            && offload.segment_size > 0
            && frame.packet_length() + overhead <= usize::from(u16::MAX)
            && self.wire_size(frame, seen) + overhead <= hop.mtu as usize;
        let link_length = if frame.link_header() == LinkHeader::None { 0 } else { ETHERNET_LENGTH };
        let unfinished = Unfinished::of(offload.checksum, link_length).ok().flatten()?;
        if !whole || unfinished.start != seen.parts.transport || unfinished.offset != tcp::CHECKSUM {
            return None;
        }
        let overhead = overhead as u16;
        let Completion::Partial { start, offset } = offload.checksum else { return None };
        Some(Offload {
            checksum: Completion::Partial { start: start.checked_add(overhead)?, offset },
            segmentation: Segmentation::Tunneled { inner, ecn },
            header_length: offload.header_length.saturating_add(overhead),
            ..offload
        })
    }

    /// Sends a super-frame that goes into the tunnel as one.
    fn send_whole(&mut self, frame: &mut Frame, outer: Outer, offload: Offload, egress: Egress) -> Verdict {
        let identification = self.random.draw() as u16;
        let Some(packet) = frame.prepend(outer.overhead()) else { return Verdict::Drop(DropReason::Headroom) };
        outer.write(packet, identification);
        frame.offload = offload;
        Verdict::Transmit(egress)
    }
}
