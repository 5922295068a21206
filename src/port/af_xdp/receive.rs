//! Receiving: frames of the AF_XDP sockets and of the packet rings beside them, as one sequence.

use std::os::fd::{AsRawFd, RawFd};

use crate::base::LinkId;
use crate::port::af_packet::Adjustment;
use crate::port::af_packet::receive::PacketInput;
use crate::port::counters::{Counters, PortDrop};
use crate::port::error::PortError;
use crate::port::event::PortEvent;
use crate::port::sys::bpf::Attachment;
use crate::port::sys::xdp::{Lost, XdpSocket};
use crate::wire::{Frame, Offload};

/// The receiving half of an AF_XDP port.
#[derive(Debug)]
pub(in crate::port) struct XdpInput {
    // In this order: the program is gone before what it leads to is.
    _attachment: Attachment,
    queues: Vec<Queue>,
    packet: PacketInput,
    /// Where each frame that was handed out lies. A frame keeps its index when more come.
    places: Vec<Place>,
    /// How many of them lie in the ring.
    ring_held: usize,
    /// Which source is asked first, so that none can keep the others waiting.
    first: usize,
}

/// One queue's socket.
#[derive(Debug)]
struct Queue {
    socket: XdpSocket,
    /// What of its losses was counted.
    lost: Lost,
    /// All its chunks were in use, so that there may be losses.
    losing: bool,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Ring { index: u32 },
    Queue { queue: u32, index: u32 },
}

impl XdpInput {
    pub fn new(attachment: Attachment, sockets: Vec<XdpSocket>, packet: PacketInput) -> XdpInput {
        let queue = |socket| Queue { socket, lost: Lost::default(), losing: false };
        let queues = sockets.into_iter().map(queue).collect();
        XdpInput { _attachment: attachment, queues, packet, places: Vec::new(), ring_held: 0, first: 0 }
    }

    /// One of each source.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> + '_ {
        self.queues.iter().map(|queue| queue.socket.as_raw_fd()).chain(self.packet.descriptors())
    }

    #[inline]
    pub fn ready(&mut self, limit: usize, counters: &mut Counters) -> usize {
        let sources = self.queues.len() + 1;
        self.first = (self.first + 1) % sources;
        for number in 0..sources {
            let room = limit.saturating_sub(self.places.len());
            if room == 0 {
                break;
            }
            let source = (self.first + number) % sources;
            match self.queues.get_mut(source) {
                Some(queue) => {
                    queue.losing |= queue.socket.is_full();
                    let before = queue.socket.held();
                    let after = queue.socket.ready(before + room);
                    let place = |index| Place::Queue { queue: source as u32, index: index as u32 };
                    self.places.extend((before..after).map(place));
                }
                None => {
                    let before = self.ring_held;
                    let after = self.packet.ready(before + room, counters);
                    self.ring_held = after;
                    self.places.extend((before..after).map(|index| Place::Ring { index: index as u32 }));
                }
            }
        }
        self.places.len()
    }

    #[inline]
    pub fn frame(&mut self, index: usize, link: LinkId) -> Result<Frame<'_>, PortDrop> {
        match *self.places.get(index).ok_or(PortDrop::Short)? {
            Place::Ring { index } => self.packet.frame(index as usize, link),
            Place::Queue { queue, index } => {
                let socket = &mut self.queues.get_mut(queue as usize).ok_or(PortDrop::Short)?.socket;
                let (start, end) = socket.place(index as usize).ok_or(PortDrop::Truncated)?;
                let chunk = socket.bytes_mut(index as usize).ok_or(PortDrop::Short)?;
                // Its checksum is finished, else it would not have been taken.
                Frame::ethernet(chunk, start, end, link, Offload::NONE).ok_or(PortDrop::Short)
            }
        }
    }

    /// The frame at `index` for a look ahead; `None` where it is none.
    #[inline]
    pub fn peek(&mut self, index: usize, link: LinkId) -> Option<Frame<'_>> {
        match *self.places.get(index)? {
            Place::Ring { index } => self.packet.peek(index as usize, link),
            Place::Queue { queue, index } => {
                let socket = &mut self.queues.get_mut(queue as usize)?.socket;
                let (start, end) = socket.place(index as usize)?;
                Frame::ethernet(socket.bytes_mut(index as usize)?, start, end, link, Offload::NONE)
            }
        }
    }

    #[inline]
    pub fn bytes(&self, index: usize) -> Option<&[u8]> {
        match *self.places.get(index)? {
            Place::Ring { index } => self.packet.bytes(index as usize),
            Place::Queue { queue, index } => self.queues.get(queue as usize)?.socket.bytes(index as usize),
        }
    }

    #[inline]
    pub fn bytes_mut(&mut self, index: usize) -> Option<&mut [u8]> {
        match *self.places.get(index)? {
            Place::Ring { index } => self.packet.bytes_mut(index as usize),
            Place::Queue { queue, index } => self.queues.get_mut(queue as usize)?.socket.bytes_mut(index as usize),
        }
    }

    #[inline]
    pub fn release(&mut self, counters: &mut Counters) -> Option<PortEvent> {
        if self.places.is_empty() {
            return None;
        }
        self.places.clear();
        self.ring_held = 0;
        for queue in &mut self.queues {
            queue.socket.release();
            if std::mem::take(&mut queue.losing) {
                queue.count_losses(counters);
            }
        }
        self.packet.release(counters)
    }

    /// Changes what the port receives, while it goes on receiving.
    pub fn adjust(&mut self, adjustment: &Adjustment<'_>) -> Result<(), PortError> {
        self.packet.adjust(adjustment)
    }

    pub fn examine(&mut self, counters: &mut Counters) -> Option<PortEvent> {
        for queue in &mut self.queues {
            queue.count_losses(counters);
        }
        self.packet.examine(counters)
    }
}

impl Queue {
    fn count_losses(&mut self, counters: &mut Counters) {
        if let Ok(now) = self.socket.lost() {
            counters.drop_frames(PortDrop::RingFull, now.0.saturating_sub(self.lost.0));
            self.lost = now;
        }
    }
}
