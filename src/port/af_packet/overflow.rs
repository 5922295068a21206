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
//! against the socket's receive buffer; a frame that finds it full is in neither place and is counted. A read first
//! hands out the socket's pending error, as when the link went down, and leaves the queue as it is: the error is kept
//! for whoever asks, and the frame is read after it. Mirrors packet(7), socket(7) and
//! `Documentation/networking/packet_mmap.rst`.

use std::io;

use crate::port::sys::ring::SlotHeader;
use crate::port::sys::socket::PacketSocket;
use crate::wire::frame::HEADROOM;
use crate::wire::offload::HEADER_LENGTH;

/// Where a frame starts in its buffer: behind the headroom that frames promise, at a cache line but for the
/// virtio-net header in front of it.
const START: usize = (HEADROOM + HEADER_LENGTH).next_multiple_of(64) + HEADER_LENGTH;

/// How often a frame is asked for that the kernel has: each error in between is handed out once, and a link that goes
/// up and down meanwhile makes few.
const TRIES: u32 = 8;

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
    /// The last error that a read handed out instead of a frame.
    error: Option<io::Error>,
}

impl Overflow {
    /// For frames whose bytes and headroom fit `size` bytes.
    pub fn new(size: usize) -> Overflow {
        Overflow { size: size.max(START), buffers: Vec::new(), taken: Vec::new(), looked: 0, error: None }
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
        let place = &mut buffer[START - HEADER_LENGTH..];
        let received = (0..TRIES).find_map(|_| match socket.receive(place) {
            Ok(received) => Some(Some(received)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(None),
            Err(error) => {
                self.error = Some(error);
                None
            }
        });
        // The kernel queues before it marks, so that there always is one.
        let Some(Some(received)) = received else { return };
        let length = received.saturating_sub(HEADER_LENGTH);
        let stored = length.min(self.size - START);
        let (length, stored) = (length as u32, stored as u32);
        self.taken.push((index, SlotHeader { length, stored, start: Some(START), ..header }));
    }

    /// The error that was handed out instead of a frame, if one was since the last asking.
    #[inline]
    pub fn take_error(&mut self) -> Option<io::Error> {
        self.error.take()
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
