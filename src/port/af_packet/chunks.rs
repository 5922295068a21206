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
use crate::port::event::Failure;
use crate::port::sys::channels;
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

    /// A socket at the first queue of `interface` that is free; each worker needs one of its own. The kernel lets a
    /// socket have a queue that the link only receives by, and then sends nothing: those are not asked for.
    ///
    /// A link whose driver does not tell its queues has none of its own, but links below: a bond, a bridge, a VLAN. They
    /// spread flows by what packet sockets tell of a frame and AF_XDP does not, and would take the frames of one flow
    /// for those of another where they come by both.
    pub fn open(interface: u32, chunks: u32) -> Result<Chunks, (Step, io::Error)> {
        let queues = channels::transmit_queues(interface).and_then(|queues| queues.ok_or_else(no_queues));
        let queues = queues.map_err(|error| (Step::Bind, error))?.min(MOST_QUEUES);
        let mut queue = 0;
        loop {
            match XdpSender::open(interface, queue, chunks) {
                Err((Step::Bind, error)) if error.raw_os_error() == Some(libc::EBUSY) && queue + 1 < queues => {
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

    /// Sends `frames`, each with its virtio-net header in front; what finds no room, or cannot be sent, is counted.
    ///
    /// # Errors
    /// The kernel does not take what was handed to it. That would leave whenever it does, after frames that were sent
    /// later, so that the socket must be given up.
    pub fn send(&mut self, frames: &[IoSlice<'_>], counters: &mut Counters) -> Result<(), Failure> {
        for (number, frame) in frames.iter().enumerate() {
            let Some(bytes) = frame.get(HEADER_LENGTH..) else { continue };
            let checksum = checksum(frame);
            if self.0.push(bytes, checksum) {
                continue;
            }
            if let Err(failure) = self.flush(counters) {
                counters.drop_frames(failure.reason, (frames.len() - number) as u64);
                return Err(failure);
            }
            if !self.0.push(bytes, checksum) {
                counters.drop_frames(PortDrop::QueueFull, 1);
            }
        }
        self.flush(counters)
    }

    fn flush(&mut self, counters: &mut Counters) -> Result<(), Failure> {
        let (taken, outcome) = self.0.flush();
        // Which frames the driver dropped is not said, so that their bytes are among those sent.
        let dropped = taken.dropped.min(taken.frames);
        counters.sent += taken.frames - dropped;
        counters.sent_bytes += taken.bytes;
        if dropped > 0 {
            counters.drop_frames(PortDrop::QueueFull, dropped);
        }
        let left = self.0.pending();
        let error = match outcome {
            Ok(()) if left == 0 => return Ok(()),
            // It was asked often enough.
            Ok(()) => io::Error::from_raw_os_error(libc::EAGAIN),
            Err(error) => error,
        };
        let failure = Failure::of(&error);
        counters.drop_frames(failure.reason, left.into());
        Err(failure)
    }
}

fn no_queues() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "the driver tells of no queues that it sends by")
}

/// What the virtio-net header in front of `frame` says of its checksum.
#[inline]
fn checksum(frame: &[u8]) -> Completion {
    let offload = frame.first_chunk().and_then(Offload::read);
    offload.map_or(Completion::Complete, |offload| offload.checksum)
}
