//! Sending by AF_XDP from a packet port: frames of the usual size while there are many.
//!
//! A frame costs a copy of its own here, which for such a frame is nothing, and saves the kernel the reading of a
//! message header, of a slice and of a virtio-net header for each. What it sends passes by the queueing
//! discipline like what [`Queueing::BypassPlain`](super::Queueing::BypassPlain) lets pass, and under the same
//! conditions.

use std::io::{self, IoSlice};

use crate::port::batch::Outgoing;
use crate::port::counters::{Counters, PortDrop};
use crate::port::envelope::Cutting;
use crate::port::sys::xdp::Step;
use crate::port::sys::xdp::send::{LONGEST, XdpSender};
use crate::wire::Offload;
use crate::wire::offload::{Completion, HEADER_LENGTH};

/// Chunks where nothing else is said: 512 KiB, four system calls' worth.
pub const CHUNKS: u32 = 256;
/// More queues than this are not tried.
const MOST_QUEUES: u32 = 64;

/// A link's AF_XDP socket for sending.
#[derive(Debug)]
pub(in crate::port) struct Chunks(XdpSender);

impl Chunks {
    pub fn new(sender: XdpSender) -> Chunks {
        Chunks(sender)
    }

    /// A socket at the first queue of `interface` that is free; each worker needs one of its own.
    pub fn open(interface: u32, chunks: u32) -> Result<Chunks, (Step, io::Error)> {
        let mut queue = 0;
        loop {
            match XdpSender::open(interface, queue, chunks) {
                Err((Step::Bind, error)) if error.raw_os_error() == Some(libc::EBUSY) && queue + 1 < MOST_QUEUES => {
                    queue += 1;
                }
                outcome => break outcome.map(Chunks),
            }
        }
    }

    /// Whether `frame` can be sent this way: by its size, and by what the kernel still has to do with it.
    #[inline]
    pub fn can_take(&self, frame: &Outgoing<'_>) -> bool {
        let length = frame.bytes.len().saturating_sub(HEADER_LENGTH);
        let whole = match checksum(frame.bytes) {
            // The kernel would stop at a frame whose checksum does not lie in it.
            Completion::Partial { start, offset } => {
                self.0.finishes_checksums() && usize::from(start) + usize::from(offset) + 2 <= length
            }
            Completion::Complete | Completion::Verified => true,
        };
        whole && frame.cutting == Cutting::Plain && (1..=LONGEST).contains(&length)
    }

    /// Sends `frames`, each with its virtio-net header in front; what finds no room is counted.
    ///
    /// # Errors
    /// What befell the link, or whatever keeps the kernel from taking any frame.
    pub fn send(&mut self, frames: &[IoSlice<'_>], counters: &mut Counters) -> io::Result<()> {
        for frame in frames {
            let Some(bytes) = frame.get(HEADER_LENGTH..) else { continue };
            let checksum = checksum(frame);
            if self.0.push(bytes, checksum) {
                continue;
            }
            self.flush(counters)?;
            if !self.0.push(bytes, checksum) {
                counters.drop_frames(PortDrop::QueueFull, 1);
            }
        }
        self.flush(counters)
    }

    /// Frames that the kernel has not taken.
    pub fn pending(&self) -> u64 {
        u64::from(self.0.pending())
    }

    fn flush(&mut self, counters: &mut Counters) -> io::Result<()> {
        let (taken, outcome) = self.0.flush();
        counters.sent += taken.frames;
        counters.sent_bytes += taken.bytes;
        outcome
    }
}

/// What the virtio-net header in front of `frame` says of its checksum.
#[inline]
fn checksum(frame: &[u8]) -> Completion {
    let offload = frame.first_chunk().and_then(Offload::read);
    offload.map_or(Completion::Complete, |offload| offload.checksum)
}
