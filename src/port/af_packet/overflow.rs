//! Frames that do not fit a slot, from the queue that the kernel keeps beside the ring.
//!
//! ```text
//!                         ┌─ fits ──────────► slot ─────────────────────────┐
//!  interface ─► socket ───┤                                                 ├─► frames in their order
//!                         └─ does not ──► slot with its beginning, marked ──┤
//!                                         and the whole of it in the queue ─┘ read into a buffer
//! ```
//!
//! With PACKET_COPY_THRESH set the kernel marks such slots (TP_STATUS_COPY), and queues the whole frame by
//! reference: whoever sent it is not kept by the copying, which is done here, into few buffers that stay in the
//! cache. Both happen under one lock, so that marked slots and queued frames are in the same order. The queue counts
//! against the socket's receive buffer; a frame that finds it full is in neither place and is counted. Mirrors
//! packet(7) and `Documentation/networking/packet_mmap.rst`.

use std::io;

use crate::port::sys::ring::SlotHeader;
use crate::port::sys::socket::PacketSocket;
use crate::wire::frame::HEADROOM;
use crate::wire::offload::HEADER_LENGTH;

/// Where a frame starts in its buffer: behind the headroom that frames promise, at a cache line but for the
/// virtio-net header in front of it.
const START: usize = (HEADROOM + HEADER_LENGTH).next_multiple_of(64) + HEADER_LENGTH;

/// The frames of the batch at hand that came by the queue.
#[derive(Debug)]
pub struct Overflow {
    /// Bytes of a buffer.
    size: usize,
    buffers: Vec<Box<[u8]>>,
    /// By index in the batch, rising; the place in this list is the number of the buffer.
    taken: Vec<(usize, SlotHeader)>,
    /// Frames of the batch that were looked at.
    looked: usize,
}

impl Overflow {
    /// For frames whose bytes and headroom fit `size` bytes.
    pub fn new(size: usize) -> Overflow {
        Overflow { size: size.max(START), buffers: Vec::new(), taken: Vec::new(), looked: 0 }
    }

    /// Fetches what belongs to the slots up to `count`, of which `header` tells what the kernel said.
    #[inline]
    pub fn look(&mut self, socket: &PacketSocket, count: usize, header: impl Fn(usize) -> Option<SlotHeader>) {
        for index in self.looked..count {
            if let Some(header) = header(index)
                && header.status & libc::TP_STATUS_COPY != 0
            {
                self.take(socket, index, header);
            }
        }
        self.looked = self.looked.max(count);
    }

    #[cold]
    fn take(&mut self, socket: &PacketSocket, index: usize, header: SlotHeader) {
        if self.buffers.len() == self.taken.len() {
            self.buffers.push(vec![0; self.size].into_boxed_slice());
        }
        let Some(buffer) = self.buffers.get_mut(self.taken.len()) else { return };
        let outcome = loop {
            match socket.receive(&mut buffer[START - HEADER_LENGTH..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome,
            }
        };
        // The kernel queues before it marks, so that there always is one.
        let Ok(received) = outcome else { return };
        let length = received.saturating_sub(HEADER_LENGTH);
        let stored = length.min(self.size - START);
        let (length, stored) = (length as u32, stored as u32);
        self.taken.push((index, SlotHeader { length, stored, start: Some(START), ..header }));
    }

    /// What is to be said of the frame at `index`, and its buffer, if it came by the queue.
    #[inline]
    pub fn frame(&self, index: usize) -> Option<(SlotHeader, &[u8])> {
        let number = self.number(index)?;
        Some((self.taken.get(number)?.1, self.buffers.get(number)?))
    }

    #[inline]
    pub fn frame_mut(&mut self, index: usize) -> Option<(SlotHeader, &mut [u8])> {
        let number = self.number(index)?;
        Some((self.taken.get(number)?.1, self.buffers.get_mut(number)?))
    }

    #[inline]
    fn number(&self, index: usize) -> Option<usize> {
        if self.taken.is_empty() {
            return None;
        }
        self.taken.binary_search_by_key(&index, |&(at, _)| at).ok()
    }

    /// Ends the batch: the buffers are free for the next one.
    #[inline]
    pub fn clear(&mut self) {
        self.taken.clear();
        self.looked = 0;
    }
}
