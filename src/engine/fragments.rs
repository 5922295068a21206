//! Fragments: put together on the way in, taken apart on the way out.

use crate::base::{Family, LinkId, Protocol, Tick};
use crate::wire::fragment::{Fragments, Original, Piece};
use crate::wire::frame::ETHERNET_LENGTH;
use crate::wire::offload::Completion;
use crate::wire::reassembly::{Discard, Outcome, Problem};
use crate::wire::segment::{self, Segments, Unfinished};
use crate::wire::{Dissected, FragmentPart, Frame, LinkHeader, Offload, dissect::dissect};

use super::classify::{Seen, Target};
use super::emit::Complaint;
use super::verdict::{DropReason, Egress, Verdict};
use super::{Engine, HostStack};

impl Engine {
    /// Whether fragments of this kind are put together before anything else is done with them.
    pub(super) fn wants_whole(&self, seen: &Seen, link: LinkId) -> bool {
        let parts = &seen.parts;
        match seen.target {
            Target::Virtual => true,
            Target::Own => {
                self.host_stack == HostStack::Absent
                    || !self.network.is_local(parts.family, parts.destination)
                    || self.may_be_marked(parts, link)
            }
            // Without ports in them, IPsec's fragments are translated one by one on their way through.
            // What else comes in fragments from a masqueraded server, the guard keeps from the kernel,
            // which could not tell them by their ports either.
            Target::Transit if parts.family == Family::V4 && matches!(parts.protocol, Protocol::AH | Protocol::ESP) => {
                false
            }
            Target::Transit => {
                self.services.serves(parts.family)
                    && (seen.routed_by_us
                        || self.services.is_masqueraded(parts.family, parts.source)
                        || self.may_be_marked(parts, link))
            }
        }
    }

    /// Takes a fragment; the one that makes its datagram whole lets it go on its way.
    pub(super) fn reassemble(&mut self, now: Tick, frame: &mut Frame, seen: Seen) -> Verdict {
        // A router looks at each IPv4 fragment before anything puts them together; one that may be a client's waits until
        // the first one says whose it is.
        if (seen.target, seen.parts.family) == (Target::Transit, Family::V4)
            && !self.may_be_marked(&seen.parts, frame.link)
            && let Err(verdict) = self.route_onwards(now, frame, &seen)
        {
            return verdict;
        }
        let Some(mut reassembler) = self.reassembler.take() else { return Verdict::Drop(DropReason::ReassemblyMemory) };
        let verdict = match reassembler.push(now, frame.packet()) {
            Outcome::NotFragmented => self.process(now, frame, &seen),
            Outcome::Stored => Verdict::Consumed,
            Outcome::Whole(whole) => {
                let offload = Offload::NONE;
                match Frame::bare(whole.buffer, whole.start, whole.end, frame.link, offload) {
                    Some(mut packet) => self.process_whole(now, &mut packet, &seen, whole.original),
                    None => Verdict::Drop(DropReason::ReassemblyInvalid),
                }
            }
            Outcome::Dropped(reason) => Verdict::Drop(match reason {
                Discard::Overlap => DropReason::ReassemblyOverlap,
                Discard::Memory => DropReason::ReassemblyMemory,
                _ => DropReason::ReassemblyInvalid,
            }),
            // Where there are services the kernel's balancer puts fragments together, not its host:
            // it has such a fragment pass alone (a later one only comes to the host, which complains),
            // and tells nobody of any other problem.
            Outcome::Problem(_)
                if self.services.serves(seen.parts.family)
                    && is_odd(&seen.parts)
                    && (seen.parts.fragment == FragmentPart::First || seen.target == Target::Transit) =>
            {
                self.process(now, frame, &seen)
            }
            Outcome::Problem(problem) if self.services.serves(seen.parts.family) && problem != Problem::OddLength => {
                Verdict::Drop(DropReason::ReassemblyInvalid)
            }
            Outcome::Problem(problem) => {
                let complaint = Complaint::ParameterProblem { code: problem.code(), pointer: problem.pointer() };
                self.tell_sender(now, frame, &seen, complaint);
                Verdict::Drop(DropReason::ReassemblyInvalid)
            }
        };
        self.reassembler = Some(reassembler);
        verdict
    }

    /// Handles a datagram that was put together. It always leaves by the outbox, or not at all.
    fn process_whole(&mut self, now: Tick, packet: &mut Frame, seen: &Seen, original: Original) -> Verdict {
        let parts = match dissect(seen.parts.family, packet.packet()) {
            Ok(parts) => parts,
            Err(malformed) => return Verdict::Drop(malformed.into()),
        };
        let link = self.network.link(packet.link).map_or("", |link| &link.name);
        let mark = self.mark_of(&parts, link);
        let virtual_by_mark = self.services.has_mark(parts.family, mark);
        let target = if virtual_by_mark { Target::Virtual } else { seen.target };
        let seen = Seen { parts, mark, target, original: Some(original), ..*seen };
        match self.process(now, packet, &seen) {
            Verdict::Transmit(egress) => {
                let bytes = packet.packet();
                match self.outbox.push(egress, bytes.len()) {
                    Some(out) => {
                        out.copy_from_slice(bytes);
                        Verdict::Consumed
                    }
                    None => Verdict::Drop(DropReason::Outbox),
                }
            }
            verdict => verdict,
        }
    }

    /// Gives up datagrams whose fragments did not all come; the sender of a first fragment is told.
    pub(super) fn give_up_fragments(&mut self, now: Tick) {
        let Some(mut reassembler) = self.reassembler.take() else { return };
        while let Some(expired) = reassembler.expire(now) {
            self.counts.note(Verdict::Drop(DropReason::ReassemblyTimeout));
            if let Some(first) = expired.first {
                self.tell_reassembly_time(now, expired.family, first);
            }
        }
        self.reassembler = Some(reassembler);
    }

    /// Cuts a finished packet into fragments that fit `mtu` and queues them.
    pub(super) fn send_fragments(&mut self, packet: &[u8], mtu: usize, original: Original, egress: Egress) -> Verdict {
        let fragments = match egress.family {
            Family::V4 => Fragments::ipv4(packet, mtu, original),
            Family::V6 => Fragments::ipv6(packet, mtu, original, self.random.draw() as u32),
        };
        let Ok(mut fragments) = fragments else { return Verdict::Drop(DropReason::TooLong) };
        while let Some(length) = fragments.next_length() {
            let Some(out) = self.outbox.push(egress, length) else { return Verdict::Drop(DropReason::Outbox) };
            if fragments.next_into(out).is_none() {
                self.outbox.cancel_last();
                break;
            }
        }
        Verdict::Consumed
    }

    /// Cuts a super-frame into segments and queues them, each behind `room` bytes that `wrap`
    /// fills; it is given the whole packet and a fresh identification.
    pub(super) fn send_segments(
        &mut self,
        frame: &Frame,
        mtu: usize,
        egress: Egress,
        room: usize,
        wrap: impl Fn(&mut [u8], u16),
    ) -> Verdict {
        let link_length = if frame.link_header() == LinkHeader::None { 0 } else { ETHERNET_LENGTH };
        let Ok(mut segments) = Segments::new(frame.packet(), &frame.offload, link_length) else {
            return Verdict::Drop(DropReason::Offload);
        };
        while let Some(length) = segments.next_length() {
            let identification = self.random.draw() as u16;
            let Some(out) = self.outbox.push(egress, room + length) else { return Verdict::Drop(DropReason::Outbox) };
            if segments.next_into(&mut out[room..]).is_none() {
                self.outbox.cancel_last();
                break;
            }
            wrap(out, identification);
            if room + length > mtu {
                let mut packet = std::mem::take(&mut self.scratch);
                packet.clear();
                packet.extend_from_slice(out);
                self.outbox.cancel_last();
                let verdict = self.send_fragments(&packet, mtu, Original::WHOLE, egress);
                self.scratch = packet;
                if verdict != Verdict::Consumed {
                    return verdict;
                }
            }
        }
        Verdict::Consumed
    }
}

/// Whether an IPv6 fragment's payload is no multiple of 8 bytes long.
fn is_odd(parts: &Dissected) -> bool {
    !(parts.length - parts.transport).is_multiple_of(8)
}

/// Finishes a checksum that was left to a network card, where no card will get the packet as it is.
pub(super) fn finish_checksum(frame: &mut Frame) -> Result<(), DropReason> {
    let link_length = if frame.link_header() == LinkHeader::None { 0 } else { ETHERNET_LENGTH };
    let unfinished = Unfinished::of(frame.offload.checksum, link_length).map_err(|_| DropReason::Offload)?;
    if let Some(unfinished) = unfinished {
        segment::complete(frame.packet_mut(), unfinished).map_err(|_| DropReason::Offload)?;
        frame.offload.checksum = Completion::Complete;
    }
    Ok(())
}

/// How a packet that came in fragments was cut, now that its payload has grown to `length` bytes
/// at the front.
pub(super) fn grown<'a>(original: Original, length: usize, buffer: &'a mut Vec<Piece>) -> Original<'a> {
    buffer.clear();
    let before = original.pieces.last().map_or(0, |last| usize::from(last.end));
    let more = u16::try_from(length.saturating_sub(before)).unwrap_or(u16::MAX);
    buffer.extend(original.pieces.iter().enumerate().map(|(index, piece)| Piece {
        start: if index == 0 { 0 } else { piece.start.saturating_add(more) },
        end: piece.end.saturating_add(more),
    }));
    Original { pieces: buffer, ..original }
}
