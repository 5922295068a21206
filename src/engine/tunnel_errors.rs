//! ICMP errors about a tunnel's outer packet: from the real server, or a router on the way there.
//!
//! The client never saw the outer packet, so the error is passed on as one about the packet
//! inside, in the virtual address's name. What is learned of the path's MTU is kept for the
//! packets to come (RFC 1191; RFC 2003 section 4).

use std::collections::HashMap;

use crate::base::hash::FixedHash;
use crate::base::{Address, ConnectionId, Family, Port, Protocol, Tick};
use crate::table::{NextHop, TunnelKind};
use crate::wire::dissect::dissect_quoted;
use crate::wire::ip;
use crate::wire::originate::{Icmpv4Error, Offending, icmpv4_error};
use crate::wire::transport::{self, icmp, udp};
use crate::wire::{Dissected, FragmentPart, Frame};

use super::Engine;
use super::classify::Seen;
use super::conn::TupleKey;
use super::emit::Limited;
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
    learned: HashMap<(Family, Address), Path, FixedHash>,
}

/// What was learned of a path.
#[derive(Clone, Copy, Debug)]
struct Path {
    mtu: u32,
    until: Tick,
    /// A packet has been sent since it was first learned. Before that the kernel tells clients of
    /// the link's MTU, as the route it has at hand does not know better yet.
    used: bool,
}

impl Path {
    fn mtu_at(&self, now: Tick, link: u32) -> u32 {
        if self.until > now { link.min(self.mtu) } else { link }
    }
}

impl PathMtus {
    /// Takes in that `mtu` was reported of a path whose link has `link`; returns the MTU that a
    /// client is to be told of.
    fn learn(&mut self, now: Tick, family: Family, address: Address, mtu: u32, link: u32) -> u32 {
        if self.learned.len() >= MOST_PATHS {
            self.learned.retain(|_, path| path.until > now);
        }
        let has_room = self.learned.len() < MOST_PATHS;
        let known = self.learned.get_mut(&(family, address));
        let before = known.as_ref().map_or(link, |path| path.mtu_at(now, link));
        // A path does not become wider by an error.
        let news = Path { mtu: mtu.max(before.min(LEAST_MTU)), until: now + BELIEVED, used: false };
        match known {
            Some(path) if mtu <= before => *path = Path { used: path.used, ..news },
            None if mtu <= before && has_room => {
                self.learned.insert((family, address), news);
            }
            _ => {}
        }
        self.learned.get(&(family, address)).filter(|path| path.used).map_or(link, |path| path.mtu_at(now, link))
    }

    /// The hop with what is known of the path beyond it, for a packet that goes there.
    #[inline]
    pub fn limit(&mut self, now: Tick, family: Family, address: Address, hop: NextHop) -> NextHop {
        if self.learned.is_empty() {
            return hop;
        }
        let Some(path) = self.learned.get_mut(&(family, address)) else { return hop };
        path.used = true;
        NextHop { mtu: path.mtu_at(now, hop.mtu), ..hop }
    }
}

/// The packet inside a tunnel's packet that an error quotes.
struct Inside {
    parts: Dissected,
    /// Where it begins in the ICMP packet.
    at: usize,
    /// Where the tunnel led.
    server: Address,
    /// What its headers take of a packet's length.
    overhead: u32,
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
        let at = seen.parts.transport + icmp::LENGTH;
        let Some((inside, id)) = self.inside_of(frame.packet(), at) else {
            self.note_path_of_udp(now, frame, seen);
            return None;
        };
        if !checksum_is_right(frame, &seen.parts) {
            return Some(Verdict::Drop(DropReason::IcmpChecksum));
        }
        let rest: [u8; 4] = *message.get(4..)?.first_chunk()?;
        let quoted = &frame.packet()[inside.at..seen.parts.length];
        let mut error = Icmpv4Error { kind, code, rest };
        if (kind, code) == (icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED) {
            let mtu = self.learn_path(now, inside.server, rest)?;
            if !ip::dont_fragment(Family::V4, quoted) {
                return Some(Verdict::Consumed);
            }
            let mtu = mtu.saturating_sub(inside.overhead).min(u32::from(u16::MAX));
            error = Icmpv4Error::fragmentation_needed(mtu as u16);
        }
        self.relay(now, frame, &inside, id, error, quoted.len());
        Some(Verdict::Consumed)
    }

    fn relay(
        &mut self,
        now: Tick,
        frame: &Frame,
        inside: &Inside,
        id: ConnectionId,
        error: Icmpv4Error,
        quoted: usize,
    ) {
        let parts = &inside.parts;
        let destination = self.connections.get(id).and_then(|connection| connection.destination);
        self.count_packet(destination, Sender::Server, quoted);
        let Some(hop) = self.way_to(Family::V4, parts.destination, parts.source) else { return };
        let limited = match (error.kind, error.code) {
            (icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED) | (icmp::SOURCE_QUENCH, _) => Limited::No,
            _ => Limited::Yes,
        };
        if !self.may_send_error(now, limited) {
            return;
        }
        let identification = self.random.draw() as u16;
        let egress = Egress { link: hop.link, family: Family::V4, next_hop: hop.address };
        let Some(out) = self.outbox.push(egress, LONGEST) else { return };
        let offending = Offending::from(&frame.packet()[inside.at..inside.at + quoted]);
        match icmpv4_error(offending, error, parts.destination, identification, out) {
            Ok(length) => {
                self.outbox.shorten_last(length);
                self.note_error_sent(limited);
                // Like every error of the host's own about such a connection.
                self.count_packet(destination, Sender::Server, length);
            }
            Err(_) => self.outbox.cancel_last(),
        }
    }

    /// Learns what "fragmentation needed" says of the path to `server`; the MTU to tell a client of.
    fn learn_path(&mut self, now: Tick, server: Address, rest: [u8; 4]) -> Option<u32> {
        let mtu = u32::from(u16::from_be_bytes([rest[2], rest[3]]));
        let link = self.routes.next_hop(&self.network, Family::V4, server)?.mtu;
        Some(self.path_mtus.learn(now, Family::V4, server, mtu, link))
    }

    /// What the balancer has no use for, the host's UDP has: it learns the path from an error about a GUE tunnel's
    /// packet that carries IPv6, or that is quoted without the one inside, or whose connection has gone. Nobody
    /// is told. The kernel learns of whatever it sent; here only paths that a tunnel takes are remembered, so
    /// that errors nobody could have caused do not fill what room there is.
    pub(super) fn note_path_of_udp(&mut self, now: Tick, frame: &Frame, seen: &Seen) {
        let at = seen.parts.transport + icmp::LENGTH;
        if seen.parts.family != Family::V4 {
            return;
        }
        let message = seen.parts.transport(frame.packet());
        let Some(&[icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED, _, _, a, b, c, d]) = message.first_chunk() else {
            return;
        };
        let Some(quoted) = frame.packet().get(at..) else { return };
        let Ok(outer) = dissect_quoted(Family::V4, quoted) else { return };
        let is_own = outer.protocol == Protocol::UDP
            && quoted.len() >= outer.transport + udp::LENGTH
            && self.network.is_local(Family::V4, outer.source)
            && self.services.has_tunnel_to(Family::V4, outer.destination);
        if is_own && checksum_is_right(frame, &seen.parts) {
            self.learn_path(now, outer.destination, [a, b, c, d]);
        }
    }

    /// The headers of a tunnel's packet that begins at `at`: those of one that leads to a real
    /// server, whichever.
    fn tunnel_at(&self, packet: &[u8], at: usize) -> Option<QuotedTunnel> {
        let outer_bytes = packet.get(at..)?;
        let outer =
            dissect_quoted(Family::V4, outer_bytes).ok().filter(|outer| outer.fragment != FragmentPart::Later)?;
        let payload = outer_bytes.get(outer.transport..)?;
        let (kind, shim, carries) = match outer.protocol {
            Protocol::IPIP => (TunnelKind::Ipip, 0, Protocol::IPIP),
            Protocol::GRE => (TunnelKind::Gre, gre_length(payload)?, Protocol::IPIP),
            Protocol::UDP => {
                let (shim, carries) = gue_length(payload)?;
                (TunnelKind::Gue, shim, carries)
            }
            _ => return None,
        };
        let port = match kind {
            TunnelKind::Gue => transport::port(payload, transport::DESTINATION_PORT),
            _ => Port::ANY,
        };
        let known = self.services.has_tunnel(Family::V4, outer.destination, kind, port);
        known.then_some(QuotedTunnel { carries, server: outer.destination, length: outer.transport + shim })
    }

    /// The packet inside the tunnel's packet that begins at `at`, and its connection.
    fn inside_of(&self, packet: &[u8], at: usize) -> Option<(Inside, ConnectionId)> {
        let outer = self.tunnel_at(packet, at).filter(|outer| outer.carries == Protocol::IPIP)?;
        let at = at + outer.length;
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
        Some((Inside { parts, at, server: outer.server, overhead: outer.length as u32 }, id))
    }
}

/// What was found of a tunnel in front of a quoted packet.
struct QuotedTunnel {
    /// The protocol number of what is inside, as IPIP has it.
    carries: Protocol,
    server: Address,
    /// Length of all headers in front of the packet inside.
    length: usize,
}

/// Length of a GRE header that carries IPv4, with a checksum at the most.
fn gre_length(payload: &[u8]) -> Option<usize> {
    match payload.first_chunk::<4>()? {
        [0x00, 0x00, 0x08, 0x00] => Some(4),
        [0x80, 0x00, 0x08, 0x00] => Some(8),
        _ => None,
    }
}

/// Length of the UDP and GUE headers of a data packet, with options at the most, and what it carries.
fn gue_length(payload: &[u8]) -> Option<(usize, Protocol)> {
    const VERSION_AND_CONTROL: u8 = 0b1110_0000;
    const OPTION_WORDS: u8 = 0b0001_1111;
    let &[first, carries, _, _] = payload.get(udp::LENGTH..)?.first_chunk::<4>()?;
    let options = usize::from(first & OPTION_WORDS) * 4;
    (first & VERSION_AND_CONTROL == 0).then_some((udp::LENGTH + 4 + options, Protocol(carries)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_learned_is_told_once_it_is_used_and_never_widens() {
        let (server, mut paths) = (Address::v4([172, 16, 0, 11]), PathMtus::default());
        let hop = NextHop {
            kind: crate::table::RouteKind::Unicast,
            link: crate::base::LinkId(1),
            address: server,
            source: Address::ZERO,
            mtu: 1500,
        };
        let learn = |paths: &mut PathMtus, now, mtu| paths.learn(Tick(now), Family::V4, server, mtu, 1500);
        assert_eq!(learn(&mut paths, 0, 1600), 1500);
        assert_eq!(learn(&mut paths, 0, 1400), 1500, "the route at hand does not know it yet");
        assert_eq!(paths.limit(Tick(1), Family::V4, server, hop).mtu, 1400);
        assert_eq!(learn(&mut paths, 2, 1450), 1400);
        assert_eq!(learn(&mut paths, 2, 100), 552);
        assert_eq!(paths.limit(Tick(BELIEVED + 1), Family::V4, server, hop).mtu, 552);
        assert_eq!(paths.limit(Tick(BELIEVED + 2), Family::V4, server, hop).mtu, 1500);
    }
}
