//! Standing in for the host's stack at an address that is ours alone.

use crate::base::{Family, Protocol, Tick};
use crate::wire::checksum;
use crate::wire::fragment::Original;
use crate::wire::ip::v6;
use crate::wire::originate::{echo_reply, is_authenticated, reset};
use crate::wire::transport::{tcp, udp};
use crate::wire::{Dissected, Frame};

use super::classify::Seen;
use super::emit::Complaint;
use super::options6::{self, Judgement};
use super::related::is_icmp;
use super::track::Sender;
use super::verdict::{DropReason, Egress, PassReason, Verdict};
use super::{Engine, HostStack};

/// Protocols that a stack leaves unanswered although it does not speak them.
const IGMP: Protocol = Protocol(2);
const UDP_LITE: Protocol = Protocol(136);
/// Of multicast routers: a kernel takes it in case it is one.
const PIM: Protocol = Protocol(103);
const NO_NEXT_HEADER: Protocol = Protocol(59);

/// Room that a reset takes at the most: an IPv4 header with every option that is echoed, or an IPv6 one, and TCP's.
const RESET_LENGTH: usize = 60 + tcp::LENGTH;

impl Engine {
    /// Answers a packet to an address of ours that no service takes: echo reply, reset, or
    /// unreachable; anything else is left unanswered.
    pub(super) fn answer(&mut self, now: Tick, frame: &mut Frame, seen: &Seen, reason: PassReason) -> Verdict {
        let parts = &seen.parts;
        if parts.is_cut_short() {
            return Verdict::Drop(DropReason::ExtensionHeader);
        }
        // An IPv4 address that is here for its mark alone has no voice.
        if parts.family == Family::V4 && !self.speaks_for(parts.family, parts.destination) {
            // What the guard keeps from the kernel for its source is lost unless it goes on its way.
            let kept = self.host_stack == HostStack::Beside && self.is_kept_in_transit(seen, frame.packet());
            return if kept { self.output(now, frame, seen) } else { Verdict::Pass(reason) };
        }
        if parts.family == Family::V6 && parts.transport > v6::LENGTH {
            match options6::host_takes(frame.packet(), parts.transport) {
                Judgement::Passes => {}
                Judgement::Vanishes => return Verdict::Drop(DropReason::IpOptions),
                Judgement::Wrong { code, pointer } => {
                    self.tell_sender(now, frame, seen, Complaint::ParameterProblem { code, pointer });
                    return Verdict::Drop(DropReason::IpOptions);
                }
            }
        }
        let answered = match parts.protocol {
            // What stands behind an authentication header is for who knows it.
            _ if parts.family == Family::V6 && is_authenticated(frame.packet()) => {
                self.tell_sender(now, frame, seen, Complaint::ProtocolUnreachable);
                true
            }
            _ if is_icmp(parts) => self.answer_echo(frame, seen),
            Protocol::TCP => self.answer_segment(now, frame, seen, reason),
            Protocol::UDP => {
                if !udp_is_sound(frame, parts) {
                    return Verdict::Pass(reason);
                }
                self.tell_sender(now, frame, seen, Complaint::PortUnreachable);
                true
            }
            IGMP if parts.family == Family::V4 => false,
            NO_NEXT_HEADER if parts.family == Family::V6 => false,
            Protocol::ICMP | Protocol::ICMPV6 | UDP_LITE | PIM => false,
            _ => {
                self.tell_sender(now, frame, seen, Complaint::ProtocolUnreachable);
                true
            }
        };
        if answered { Verdict::Consumed } else { Verdict::Pass(reason) }
    }

    fn answer_echo(&mut self, frame: &Frame, seen: &Seen) -> bool {
        let parts = &seen.parts;
        let Some(hop) = self.way_to(parts.family, parts.destination, parts.source) else { return false };
        let egress = Egress { link: hop.link, family: parts.family, next_hop: hop.address };
        let identification = self.random.draw() as u16;
        let length = frame.packet_length();
        let Some(out) = self.outbox.push(egress, length) else { return false };
        let Ok(length) = echo_reply(frame.packet(), identification, out) else {
            self.outbox.cancel_last();
            return false;
        };
        if length <= hop.mtu as usize {
            self.outbox.shorten_last(length);
            return true;
        }
        let mut reply = std::mem::take(&mut self.scratch);
        reply.clear();
        reply.extend_from_slice(&out[..length]);
        self.outbox.cancel_last();
        let verdict = self.send_fragments(&reply, hop.mtu as usize, Original::WHOLE, egress);
        self.scratch = reply;
        verdict == Verdict::Consumed
    }

    fn answer_segment(&mut self, now: Tick, frame: &Frame, seen: &Seen, reason: PassReason) -> bool {
        let parts = &seen.parts;
        let Some(hop) = self.way_to(parts.family, parts.destination, parts.source) else { return false };
        let egress = Egress { link: hop.link, family: parts.family, next_hop: hop.address };
        let Some(out) = self.outbox.push(egress, RESET_LENGTH) else { return false };
        match reset(frame.packet(), frame.offload.checksum, out) {
            Ok(length) => {
                let segment: [u8; tcp::LENGTH] = out[..length].last_chunk().copied().unwrap_or_default();
                self.outbox.shorten_last(length);
                // What a server of the host's own answers is looked after with its packet.
                if reason != PassReason::Local {
                    self.note_own_reset(now, parts, &segment, length);
                }
                true
            }
            Err(_) => {
                self.outbox.cancel_last();
                false
            }
        }
    }

    /// The host's own resets pass the balancer as well: a connection whose server answers in the
    /// virtual address's name, and that was about to end, is closed by them instead.
    fn note_own_reset(&mut self, now: Tick, parts: &Dissected, segment: &[u8], length: usize) {
        if !self.services.serves(parts.family) {
            return;
        }
        let (own, client) = ((parts.destination, parts.destination_port()), (parts.source, parts.source_port()));
        let Some(id) = self.connections.find_reply(parts.family, parts.protocol, own, client) else { return };
        let destination = self.connections.get(id).and_then(|connection| connection.destination);
        self.count_packet(destination, Sender::Server, length);
        self.follow(id, Sender::Server, segment);
        self.touch(now, id);
    }
}

/// Whether a stack would take the datagram at all: length and checksum are right.
fn udp_is_sound(frame: &Frame, parts: &Dissected) -> bool {
    let segment = parts.transport(frame.packet());
    let Some(header) = segment.first_chunk::<{ udp::LENGTH }>() else { return false };
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    if length < udp::LENGTH || length > segment.len() {
        return false;
    }
    if frame.offload.is_partial() {
        return true;
    }
    if header[6..8] == [0, 0] {
        return parts.family == Family::V4;
    }
    checksum::pseudo_header(parts.source, parts.destination, Protocol::UDP.0, length)
        .add_bytes(&segment[..length])
        .checksum()
        .is_zero()
}
