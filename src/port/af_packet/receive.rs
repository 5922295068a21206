//! Receiving: the frames that lie in a packet socket's ring.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use crate::base::LinkId;
use crate::port::counters::{Counters, PortDrop};
use crate::port::error::PortError;
use crate::port::event::{Failure, PortEvent};
use crate::port::sys::ring::{Ring, SlotHeader};
use crate::port::sys::socket::PacketSocket;
use crate::wire::offload::{Completion, HEADER_LENGTH};
use crate::wire::{Frame, Offload};

use super::lanes::Lanes;
use super::overflow::Overflow;
use super::program::{Lengths, Program};
use super::{Adjustment, GroupNumbers, PacketOptions};

/// A ring with its socket, on the way to becoming an input.
#[derive(Debug)]
pub(super) struct Lane {
    pub socket: PacketSocket,
    pub ring: Ring,
    /// The lengths of the frames it takes, where not all.
    pub lengths: Option<Lengths>,
    /// The kernel queues what fits no slot.
    pub overflows: bool,
}

/// The receiving half of a packet port.
#[derive(Debug)]
pub(in crate::port) struct PacketInput {
    /// Of each ring the socket, with the lengths of the frames it takes.
    sockets: Vec<(PacketSocket, Option<Lengths>)>,
    lanes: Lanes,
    /// Where frames are that fit no slot, when there is no ring for them.
    overflow: Option<Overflow>,
    /// A frame said that the kernel dropped others, which were not counted yet.
    losing: bool,
    name: String,
    groups: Option<GroupNumbers>,
}

impl PacketInput {
    /// The input of sockets that are all set up; `options` are those they were set up by.
    pub(super) fn new(
        first: Lane,
        long: Option<Lane>,
        options: &PacketOptions,
        groups: Option<GroupNumbers>,
    ) -> PacketInput {
        let mut sockets = vec![(first.socket, first.lengths)];
        let long = long.map(|Lane { socket, ring, lengths, .. }| {
            sockets.push((socket, lengths));
            ring
        });
        let lanes = Lanes::new(first.ring, long);
        let overflow = first.overflows.then(|| Overflow::new(options.slot_size));
        PacketInput { sockets, lanes, overflow, losing: false, name: options.name.clone(), groups }
    }

    /// The descriptors that become readable when frames arrive.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> + '_ {
        self.sockets.iter().map(|(socket, _)| socket.as_raw_fd())
    }

    /// Numbers of the fanout groups the sockets are in.
    pub fn fanout_group(&self) -> Option<GroupNumbers> {
        self.groups
    }

    #[inline]
    pub fn ready(&mut self, limit: usize, _: &mut Counters) -> usize {
        let count = self.lanes.ready(limit);
        if let (Some(overflow), Some((socket, _))) = (&mut self.overflow, self.sockets.first()) {
            overflow.look(socket, count, |index| self.lanes.header(index));
        }
        count
    }

    #[inline]
    pub fn frame(&mut self, index: usize, link: LinkId) -> Result<Frame<'_>, PortDrop> {
        // There is always a header: `index` is one of those that were ready.
        let header = self.lanes.header(index).ok_or(PortDrop::Short)?;
        self.losing |= header.status & libc::TP_STATUS_LOSING != 0;
        if let Some(overflow) = &mut self.overflow {
            if let Some((header, buffer)) = overflow.frame_mut(index) {
                return read(&header, buffer, link);
            }
            if header.stored < header.length {
                // The queue had no room.
                return Err(PortDrop::RingFull);
            }
        }
        let slot = self.lanes.bytes_mut(index).ok_or(PortDrop::Short)?;
        read(&header, slot, link)
    }

    /// The frame at `index` for a look ahead; `None` where it is none.
    #[inline]
    pub fn peek(&mut self, index: usize, link: LinkId) -> Option<Frame<'_>> {
        if let Some((header, buffer)) = self.overflow.as_mut().and_then(|overflow| overflow.frame_mut(index)) {
            return read(&header, buffer, link).ok();
        }
        let header = self.lanes.header(index)?;
        read(&header, self.lanes.bytes_mut(index)?, link).ok()
    }

    #[inline]
    pub fn bytes(&self, index: usize) -> Option<&[u8]> {
        match self.overflow.as_ref().and_then(|overflow| overflow.frame(index)) {
            Some((_, buffer)) => Some(buffer),
            None => self.lanes.bytes(index),
        }
    }

    #[inline]
    pub fn bytes_mut(&mut self, index: usize) -> Option<&mut [u8]> {
        match self.overflow.as_mut().and_then(|overflow| overflow.frame_mut(index)) {
            Some((_, buffer)) => Some(buffer),
            None => self.lanes.bytes_mut(index),
        }
    }

    /// Gives all slots back, and says what befell the link where reading met it.
    #[inline]
    pub fn release(&mut self, counters: &mut Counters) -> Option<PortEvent> {
        self.lanes.release();
        if self.losing {
            self.losing = false;
            self.count_losses(counters);
        }
        let overflow = self.overflow.as_mut()?;
        overflow.clear();
        let error = overflow.take_error()?;
        self.befallen(Some(error))
    }

    /// Changes what the port receives, while it goes on receiving.
    pub fn adjust(&mut self, adjustment: &Adjustment<'_>) -> Result<(), PortError> {
        let (step, outcome) = match adjustment {
            Adjustment::Filter(program) => ("replacing the filter", self.replace_filters(program)),
            Adjustment::FanoutProgram(_) if self.groups.is_none() => return Ok(()),
            // The other half's.
            Adjustment::Queueing(_) => return Ok(()),
            Adjustment::FanoutProgram(program) => {
                let mut sockets = self.sockets.iter().map(|(socket, _)| socket);
                let outcome = sockets.try_for_each(|socket| socket.set_fanout_program(&program.0));
                ("replacing the fanout program", outcome)
            }
        };
        outcome.map_err(|source| PortError::Step { step, link: self.name.clone(), source })
    }

    fn replace_filters(&self, program: &Program) -> io::Result<()> {
        self.sockets.iter().try_for_each(|(socket, lengths)| match lengths {
            None => socket.attach_filter(&program.0),
            Some(lengths) => {
                let program = Program::for_lengths(&program.0, *lengths).map_err(io::Error::other)?;
                socket.attach_filter(&program.0)
            }
        })
    }

    pub fn examine(&mut self, counters: &mut Counters) -> Option<PortEvent> {
        self.count_losses(counters);
        let mut errors = self.sockets.iter().filter_map(|(socket, _)| socket.take_error().ok().flatten());
        let error = errors.next();
        // Those of the others say the same, and so does one that a read met.
        errors.for_each(drop);
        let met = self.overflow.as_mut().and_then(Overflow::take_error);
        self.befallen(error.or(met))
    }

    /// What befell the link of a socket that had that error, or none.
    fn befallen(&self, error: Option<io::Error>) -> Option<PortEvent> {
        // The kernel says "network is down" both for a link that went down and for one that was deleted, and
        // nothing where a link is deleted that was down before; then the socket is bound to nothing any more.
        match self.sockets.first()?.0.binding() {
            Ok(binding) if binding.interface.is_none() => Some(PortEvent::Gone),
            _ => Failure::of(&error?).event(),
        }
    }

    fn count_losses(&self, counters: &mut Counters) {
        for (socket, _) in &self.sockets {
            if let Ok(statistics) = socket.statistics() {
                counters.drop_frames(PortDrop::RingFull, u64::from(statistics.dropped));
            }
        }
    }
}

/// Makes a frame of what a slot holds.
#[inline]
fn read<'a>(header: &SlotHeader, slot: &'a mut [u8], link: LinkId) -> Result<Frame<'a>, PortDrop> {
    if header.stored < header.length {
        return Err(PortDrop::Truncated);
    }
    let start = header.start.ok_or(PortDrop::Short)?;
    let end = start + header.stored as usize;
    let metadata = start.checked_sub(HEADER_LENGTH).and_then(|at| slot.get(at..)?.first_chunk());
    let offload = metadata.and_then(Offload::read).ok_or(PortDrop::BadOffload)?;
    let offload = reconcile(offload, header)?;
    let mut frame = Frame::ethernet(slot, start, end, link, offload).ok_or(PortDrop::Short)?;
    if header.status & libc::TP_STATUS_VLAN_VALID != 0 {
        frame.set_tagged();
    }
    Ok(frame)
}

/// Holds the virtio-net header against what the slot's status says of the checksum.
#[inline]
fn reconcile(mut offload: Offload, header: &SlotHeader) -> Result<Offload, PortDrop> {
    match offload.checksum {
        Completion::Partial { start, offset } => {
            let end = u32::from(start) + u32::from(offset) + 2;
            if end > header.stored {
                return Err(PortDrop::BadOffload);
            }
        }
        Completion::Complete | Completion::Verified if header.status & libc::TP_STATUS_CSUMNOTREADY != 0 => {
            return Err(PortDrop::BadOffload);
        }
        // The status knows of verified checksums that the header has no word for.
        Completion::Complete if header.status & libc::TP_STATUS_CSUM_VALID != 0 => {
            offload.checksum = Completion::Verified;
        }
        Completion::Complete | Completion::Verified => {}
    }
    Ok(offload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::sys::geometry::{DATA, NETWORK};
    use crate::wire::{EtherType, LinkHeader};

    const START: usize = NETWORK - DATA - 14;

    fn slot(offload: [u8; HEADER_LENGTH]) -> Vec<u8> {
        let mut slot = vec![0xa5; 2048 - DATA];
        slot[START - HEADER_LENGTH..START].copy_from_slice(&offload);
        slot[START + 12..START + 14].copy_from_slice(&EtherType::IPV4.0.to_be_bytes());
        slot
    }

    fn header(status: u32, length: u32, stored: u32) -> SlotHeader {
        SlotHeader { status: status | libc::TP_STATUS_USER, length, stored, start: Some(START), stamp: 0 }
    }

    fn partial(start: u16) -> [u8; HEADER_LENGTH] {
        Offload { checksum: Completion::Partial { start, offset: 16 }, ..Offload::NONE }.write()
    }

    #[test]
    fn a_frame_has_the_promised_headroom() {
        let mut slot = slot([0; HEADER_LENGTH]);
        let mut frame = read(&header(0, 60, 60), &mut slot, LinkId(1)).unwrap();
        assert_eq!(frame.packet_length(), 46);
        assert!(matches!(frame.link_header(), LinkHeader::Ethernet { kind: EtherType::IPV4, .. }));
        assert!(frame.prepend(crate::wire::frame::HEADROOM).is_some());
    }

    #[test]
    fn impossible_slots_are_drops() {
        let dropped = |offload, header| read(&header, &mut slot(offload), LinkId(1)).err();
        let plain = [0; HEADER_LENGTH];
        assert_eq!(dropped(plain, header(0, 3000, 1800)), Some(PortDrop::Truncated));
        assert_eq!(dropped(plain, header(0, 13, 13)), Some(PortDrop::Short));
        assert_eq!(dropped(plain, header(0, 5000, 5000)), Some(PortDrop::Short));
        assert_eq!(dropped(plain, SlotHeader { start: None, ..header(0, 60, 60) }), Some(PortDrop::Short));
        assert_eq!(dropped(plain, SlotHeader { start: Some(3), ..header(0, 60, 60) }), Some(PortDrop::BadOffload));
        let mut unknown = plain;
        unknown[1] = 99;
        assert_eq!(dropped(unknown, header(0, 60, 60)), Some(PortDrop::BadOffload));
        assert_eq!(dropped(partial(43), header(0, 60, 60)), Some(PortDrop::BadOffload));
        assert_eq!(dropped(partial(42), header(0, 60, 60)), None);
        assert_eq!(dropped(plain, header(libc::TP_STATUS_CSUMNOTREADY, 60, 60)), Some(PortDrop::BadOffload));
    }

    #[test]
    fn the_status_adds_what_the_header_cannot_say() {
        let mut slot = slot([0; HEADER_LENGTH]);
        let status = libc::TP_STATUS_CSUM_VALID | libc::TP_STATUS_VLAN_VALID;
        let frame = read(&header(status, 60, 60), &mut slot, LinkId(1)).unwrap();
        assert_eq!(frame.offload.checksum, Completion::Verified);
        assert_eq!(frame.link_header(), LinkHeader::Tagged);
    }
}
