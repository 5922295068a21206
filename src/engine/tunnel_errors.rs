//! ICMP errors about a tunnel's outer packet: from the real server, or a router on the way there.
//!
//! The client never saw the outer packet, so the error is passed on as one about the packet
//! inside, in the virtual address's name. What is learned of the path's MTU is kept for the
//! packets to come (RFC 1191; RFC 2003 section 4).

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};

use crate::base::{Address, ConnectionId, Family, Protocol, Tick};
use crate::table::{ForwardingMethod, NextHop, Tunnel, TunnelChecksum, TunnelKind};
use crate::wire::dissect::dissect_quoted;
use crate::wire::ip;
use crate::wire::originate::{Icmpv4Error, Offending, icmpv4_error};
use crate::wire::transport::{self, icmp, udp};
use crate::wire::{Dissected, FragmentPart, Frame};

use super::Engine;
use super::classify::Seen;
use super::conn::TupleKey;
use super::related::checksum_is_right;
use super::track::Sender;
use super::verdict::{DropReason, Egress, Verdict};

/// Milliseconds for which a learned MTU is believed, as Linux believes it.
const BELIEVED: u64 = 600_000;
/// Paths whose MTU is remembered at most.
const MOST_PATHS: usize = 4096;
/// Smallest MTU that is believed (Linux's `min_pmtu`).
const LEAST_MTU: u32 = 552;
/// Longest error that is sent.
const LONGEST: usize = 576;

/// MTUs of paths to real servers that are smaller than their link's.
#[derive(Debug, Default)]
pub(super) struct PathMtus {
    learned: HashMap<(Family, Address), (u32, Tick), BuildHasherDefault<DefaultHasher>>,
}

impl PathMtus {
    fn learn(&mut self, now: Tick, family: Family, address: Address, mtu: u32) {
        if self.learned.len() >= MOST_PATHS {
            self.learned.retain(|_, (_, until)| *until > now);
        }
        if self.learned.len() < MOST_PATHS {
            self.learned.insert((family, address), (mtu.max(LEAST_MTU), now + BELIEVED));
        }
    }

    /// The hop with what is known of the path beyond it.
    #[inline]
    pub fn limit(&self, now: Tick, family: Family, address: Address, hop: NextHop) -> NextHop {
        if self.learned.is_empty() {
            return hop;
        }
        match self.learned.get(&(family, address)) {
            Some(&(mtu, until)) if until > now => NextHop { mtu: hop.mtu.min(mtu), ..hop },
            _ => hop,
        }
    }
}

/// The packet inside a tunnel's packet that an error quotes.
struct Inside {
    parts: Dissected,
    /// Where it begins in the ICMP packet.
    at: usize,
    /// Where the tunnel led.
    server: Address,
}

impl Engine {
    /// Handles an error about a tunnel of ours; `None` where it is about something else.
    pub(super) fn tunnel_error(&mut self, now: Tick, frame: &Frame, seen: &Seen) -> Option<Verdict> {
        if seen.parts.family != Family::V4 {
            return None;
        }
        let message = seen.parts.transport(frame.packet());
        let (&kind, &code) = (message.first()?, message.get(icmp::CODE)?);
        if !matches!(kind, icmp::UNREACHABLE | icmp::SOURCE_QUENCH | icmp::TIME_EXCEEDED) {
            return None;
        }
        let (inside, id) = self.inside_of(frame.packet(), seen.parts.transport + icmp::LENGTH)?;
        if !checksum_is_right(frame, &seen.parts) {
            return Some(Verdict::Drop(DropReason::IcmpChecksum));
        }
        let rest: [u8; 4] = *message.get(4..)?.first_chunk()?;
        let quoted = &frame.packet()[inside.at..seen.parts.length];
        let mut error = Icmpv4Error { kind, code, rest };
        if (kind, code) == (icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED) {
            let mtu = u32::from(u16::from_be_bytes([rest[2], rest[3]]));
            self.path_mtus.learn(now, Family::V4, inside.server, mtu);
            if !ip::dont_fragment(Family::V4, quoted) {
                return Some(Verdict::Consumed);
            }
            let overhead = self.tunnel_overhead(id)?;
            error = Icmpv4Error::fragmentation_needed(mtu.saturating_sub(overhead).min(u32::from(u16::MAX)) as u16);
        }
        self.relay(frame, &inside, id, error, quoted.len());
        Some(Verdict::Consumed)
    }

    fn relay(&mut self, frame: &Frame, inside: &Inside, id: ConnectionId, error: Icmpv4Error, quoted: usize) {
        let parts = &inside.parts;
        let destination = self.connections.get(id).and_then(|connection| connection.destination);
        self.count_packet(destination, Sender::Server, quoted);
        let Some(hop) = self.way_to(Family::V4, parts.source) else { return };
        let identification = self.random.draw() as u16;
        let egress = Egress { link: hop.link, family: Family::V4, next_hop: hop.address };
        let Some(out) = self.outbox.push(egress, LONGEST) else { return };
        let offending = Offending::from(&frame.packet()[inside.at..inside.at + quoted]);
        match icmpv4_error(offending, error, parts.destination, identification, out) {
            Ok(length) => {
                self.outbox.shorten_last(length);
                // Like every error of the host's own about such a connection.
                self.count_packet(destination, Sender::Server, length);
            }
            Err(_) => self.outbox.cancel_last(),
        }
    }

    /// The packet inside the tunnel's packet that begins at `at`, and its connection.
    fn inside_of(&self, packet: &[u8], at: usize) -> Option<(Inside, ConnectionId)> {
        let outer_bytes = packet.get(at..)?;
        let outer =
            dissect_quoted(Family::V4, outer_bytes).ok().filter(|outer| outer.fragment != FragmentPart::Later)?;
        let payload = outer_bytes.get(outer.transport..)?;
        let (kind, shim) = match outer.protocol {
            Protocol::IPIP => (TunnelKind::Ipip, 0),
            Protocol::GRE => (TunnelKind::Gre, gre_length(payload)?),
            Protocol::UDP => (TunnelKind::Gue, gue_length(payload)?),
            _ => return None,
        };
        let at = at + outer.transport + shim;
        let parts = dissect_quoted(Family::V4, packet.get(at..)?).ok()?;
        let (client_port, virtual_port) = parts.ports?;
        let id = self.connections.find(&TupleKey {
            family: Family::V4,
            protocol: parts.protocol,
            client: parts.source,
            client_port,
            virtual_address: parts.destination,
            virtual_port,
        })?;
        let connection = self.connections.get(id)?;
        let tunnel = self.tunnel_of(id)?;
        let matches = connection.flags.method() == ForwardingMethod::Tunneling
            && connection.destination_address == outer.destination
            && tunnel.kind == kind
            && (kind != TunnelKind::Gue || transport::port(payload, transport::DESTINATION_PORT) == tunnel.port);
        matches.then_some((Inside { parts, at, server: outer.destination }, id))
    }

    fn tunnel_of(&self, id: ConnectionId) -> Option<Tunnel> {
        let destination = self.connections.get(id)?.destination?;
        Some(self.services.destinations.get(destination)?.tunnel)
    }

    /// What the tunnel's headers take of a packet's length.
    fn tunnel_overhead(&self, id: ConnectionId) -> Option<u32> {
        let tunnel = self.tunnel_of(id)?;
        Some(
            20 + match (tunnel.kind, tunnel.checksum) {
                (TunnelKind::Ipip, _) => 0,
                (TunnelKind::Gue, _) => 12,
                (TunnelKind::Gre, TunnelChecksum::Checksum) => 8,
                (TunnelKind::Gre, _) => 4,
            },
        )
    }
}

/// Length of a GRE header that carries IPv4, with a checksum at the most.
fn gre_length(payload: &[u8]) -> Option<usize> {
    match payload.first_chunk::<4>()? {
        [0x00, 0x00, 0x08, 0x00] => Some(4),
        [0x80, 0x00, 0x08, 0x00] => Some(8),
        _ => None,
    }
}

/// Length of the UDP and GUE headers of a packet that carries IPv4 without options.
fn gue_length(payload: &[u8]) -> Option<usize> {
    match payload.get(udp::LENGTH..)?.first_chunk::<4>()? {
        [0x00, 4, _, _] => Some(udp::LENGTH + 4),
        _ => None,
    }
}
