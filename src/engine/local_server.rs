//! Real servers that are this host itself.
//!
//! The kernel's balancer hands a client's packet, translated where it masquerades, to the stack it
//! is a part of. Beside a kernel it goes to that kernel's stack by a link of its own, a TUN device
//! ([`crate::table::network::HostLink`]), and what a masqueraded server answers comes back by it, as any real server's
//! reply. Where there is no such link, a packet that was rewritten is dropped
//! ([`DropReason::LocalServer`]), and one that needs no rewriting is left to the kernel. Where
//! nobody else is there, the answers that this engine gives in a stack's place are what the server
//! answers, and come back translated.
//!
//! ```text
//! client ──► forward: address is our own ──► deliver ─┬─► host link ─► kernel ─► server
//!                                               │     └─► local::answer
//!                                               │             │ reset, unreachable
//! client ◄── outbox ◄── virtual address, state ─┴── bring_back┘
//! client ◄── output: translate_back ◄── host link ◄── kernel ◄── server
//! ```

use crate::base::{ConnectionId, Tick};
use crate::table::ForwardingMethod;
use crate::wire::dissect::dissect;
use crate::wire::ip::End;
use crate::wire::{Frame, Offload};

use super::classify::{Seen, Target};
use super::forward::nat;
use super::related::{is_icmp, quoted};
use super::track::Sender;
use super::verdict::{DropReason, Egress, PassReason, Verdict};
use super::{Engine, HostStack};

impl Engine {
    /// Hands a packet of connection `id` to this host, which is its real server. A packet that is
    /// masqueraded has the server's address by now.
    #[cold]
    pub(super) fn deliver(&mut self, now: Tick, frame: &mut Frame, seen: &Seen, id: ConnectionId) -> Verdict {
        let Some(connection) = self.connections.get(id) else { return Verdict::Drop(DropReason::NoDestination) };
        let masquerades = connection.flags.method() == ForwardingMethod::Masquerading;
        let family = seen.parts.family;
        let refused = if masquerades {
            connection.destination_address.to_ip(connection.destination_family).is_loopback()
        } else {
            // Only what came to an address of this host stays here as it is.
            !self.network.is_local(family, seen.parts.destination)
        };
        if refused {
            return Verdict::Drop(DropReason::LocalBoundary);
        }
        if self.host_stack == HostStack::Beside {
            return match self.network.host() {
                Some(host) if host.answers || !masquerades => {
                    let next_hop = if masquerades { connection.destination_address } else { seen.parts.destination };
                    Verdict::Transmit(Egress { link: host.link, family, next_hop })
                }
                _ if masquerades => Verdict::Drop(DropReason::LocalServer),
                _ => Verdict::Pass(PassReason::Local),
            };
        }
        let Ok(parts) = dissect(family, frame.packet()) else { return Verdict::Drop(DropReason::TransportTruncated) };
        let delivered = Seen { parts, target: Target::Own, ..*seen };
        let waiting = self.outbox.packets().len();
        let verdict = self.answer(now, frame, &delivered, PassReason::Local);
        for index in waiting..self.outbox.packets().len() {
            self.bring_back(index, id);
        }
        verdict
    }

    /// Makes what this host answered, and waits at `index` to be sent, its reply as a real server.
    fn bring_back(&mut self, index: usize, id: ConnectionId) {
        let Some(connection) = self.connections.get(id) else { return };
        let (destination, family) = (connection.destination, connection.family);
        let end = (connection.virtual_address, connection.virtual_port);
        let masquerades = connection.flags.method() == ForwardingMethod::Masquerading;
        let Some(answer) = self.outbox.packets_mut().get_mut(index) else { return };
        let Ok(parts) = dissect(family, answer.packet()) else { return };
        let (network, length, link) = (answer.network, answer.end, answer.egress.link);
        let Some(mut frame) = Frame::bare(&mut answer.buffer, network, length, link, Offload::NONE) else { return };
        if is_icmp(&parts) {
            // It was counted when it was sent.
            if masquerades && let Some(inner) = quoted(&parts, frame.packet()) {
                nat::rewrite_error(&mut frame, &parts, &inner, End::Source, end);
            }
            return;
        }
        if masquerades && nat::rewrite(&mut frame, &parts, End::Source, end).is_err() {
            return;
        }
        let mut head = [0; SEGMENT_HEAD];
        let segment = parts.transport(frame.packet());
        let head = &mut head[..segment.len().min(SEGMENT_HEAD)];
        head.copy_from_slice(&segment[..head.len()]);
        self.count_packet(destination, Sender::Server, parts.length);
        self.follow(id, Sender::Server, head);
    }
}

/// As much of an answer's segment as says what becomes of the connection's state.
const SEGMENT_HEAD: usize = 20;
