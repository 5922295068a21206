//! The sending side of AF_XDP: many frames in one system call, without a message header for each.
//!
//! ```text
//!  free ──► frame copied into a chunk ──► transmit ring ──► kernel ──► completion ring ──► free
//! ```
//!
//! Needs CAP_NET_RAW alone, as no program is loaded, and memory that may be locked. The kernel copies each frame
//! out of its chunk during the call and hands it straight to the driver: past the queueing discipline, and past
//! those who watch the link. Mirrors `Documentation/networking/af_xdp.rst` and `xsk-tx-metadata.rst`.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nix::sys::socket::{setsockopt, sockopt};

use crate::wire::offload::Completion;

use super::{CHUNK, Mapping, Ring, Step, bind, is_registered_with_metadata, new_socket, offsets, set};

/// What the kernel finds in front of a frame: flags, and where the checksum starts and lies.
pub(super) const METADATA: usize = 24;
/// Longest frame that a chunk takes.
pub const LONGEST: usize = CHUNK - METADATA;
/// Times that the kernel is asked to take frames of which it takes none, before they are left for later.
const TRIES: u32 = 8;

/// What the kernel took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    pub frames: u64,
    pub bytes: u64,
    /// How many of the frames the driver dropped.
    pub dropped: u64,
}

/// Chunks to send from, by number, in memory that other chunks lie in too.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub memory: Arc<Mapping>,
    pub first: u32,
    pub count: u32,
}

/// A socket that sends by one queue of a link.
#[derive(Debug)]
pub struct XdpSender {
    // Rings and memory are given up before the socket is.
    transmit: Ring<libc::xdp_desc>,
    completion: Ring<u64>,
    chunks: Shared,
    // The kernel wants one, though nothing is received.
    _fill: Option<Ring<u64>>,
    socket: OwnedFd,
    /// Chunks that are ours, by number.
    free: Vec<u32>,
    /// Up to where in the transmit ring frames are counted as taken.
    counted: u32,
    /// The kernel finishes checksums.
    finishes: bool,
}

impl XdpSender {
    /// A socket of `chunks` chunks (a power of two) at `queue` of `interface`.
    ///
    /// # Errors
    /// What failed, and how: EBUSY where another socket has the queue, EINVAL where there is none.
    pub fn open(interface: u32, queue: u32, chunks: u32) -> Result<XdpSender, (Step, io::Error)> {
        let at = |step: Step| move |error| (step, error);
        let socket = new_socket().map_err(at(Step::Socket))?;
        let memory = Mapping::anonymous(chunks as usize * CHUNK).map_err(at(Step::Memory))?;
        let finishes = is_registered_with_metadata(&socket, &memory, METADATA).map_err(at(Step::Memory))?;
        let least = 2u32;
        for (ring, entries) in
            [(libc::XDP_UMEM_FILL_RING, least), (libc::XDP_UMEM_COMPLETION_RING, chunks), (libc::XDP_TX_RING, chunks)]
        {
            set(&socket, ring, &entries).map_err(at(Step::Rings))?;
        }
        let offsets = offsets(&socket).map_err(at(Step::Rings))?;
        let fill_place = libc::XDP_UMEM_PGOFF_FILL_RING as libc::off_t;
        let fill = Ring::map(&socket, offsets.fr, least, fill_place).map_err(at(Step::Rings))?;
        let completion_place = libc::XDP_UMEM_PGOFF_COMPLETION_RING as libc::off_t;
        let completion = Ring::map(&socket, offsets.cr, chunks, completion_place).map_err(at(Step::Rings))?;
        let transmit = Ring::map(&socket, offsets.tx, chunks, libc::XDP_PGOFF_TX_RING).map_err(at(Step::Rings))?;
        bind(&socket, interface, queue, None).map_err(at(Step::Bind))?;
        let memory = Shared { memory: Arc::new(memory), first: 0, count: chunks };
        let sender = XdpSender::new(socket, transmit, completion, memory, finishes);
        Ok(XdpSender { _fill: Some(fill), ..sender })
    }

    pub(super) fn new(
        socket: OwnedFd,
        transmit: Ring<libc::xdp_desc>,
        completion: Ring<u64>,
        chunks: Shared,
        finishes: bool,
    ) -> XdpSender {
        enlarge(&socket, chunks.count);
        let free = (chunks.first..chunks.first + chunks.count).collect();
        XdpSender { transmit, completion, chunks, _fill: None, socket, free, counted: 0, finishes }
    }

    /// Whether the kernel finishes checksums (Linux 6.8).
    #[inline]
    pub fn finishes_checksums(&self) -> bool {
        self.finishes
    }

    /// Copies a frame, to be sent by the next [`XdpSender::flush`]; `false` where there is no room for it, or where its
    /// checksum is left to the kernel and the kernel leaves it to others.
    #[inline]
    pub fn push(&mut self, frame: &[u8], checksum: Completion) -> bool {
        if frame.len() > LONGEST {
            return false;
        }
        if self.free.is_empty() {
            self.reclaim();
        }
        let partial = matches!(checksum, Completion::Partial { .. });
        if partial && !self.finishes {
            return false;
        }
        let Some(number) = self.free.pop() else { return false };
        let start = number as usize * CHUNK;
        // SAFETY: `new` and `reclaim` keep chunks below their number, so that this one lies in the memory.
        let chunk = unsafe { self.chunks.memory.base.add(start) };
        // SAFETY: as above; the metadata is less than a chunk.
        let place = unsafe { chunk.add(METADATA) };
        // SAFETY: the chunk was free, so neither the kernel nor a slice of ours is at it, and with the metadata the
        // frame is not longer than it.
        unsafe { place.copy_from_nonoverlapping(NonNull::from(frame).cast(), frame.len()) };
        let mut options = 0;
        if let Completion::Partial { start, offset } = checksum {
            let mut metadata = [0; METADATA];
            metadata[..8].copy_from_slice(&u64::from(libc::XDP_TXMD_FLAGS_CHECKSUM).to_ne_bytes());
            metadata[8..10].copy_from_slice(&start.to_ne_bytes());
            metadata[10..12].copy_from_slice(&offset.to_ne_bytes());
            // SAFETY: as for the frame.
            unsafe { chunk.copy_from_nonoverlapping(NonNull::from(&metadata).cast(), METADATA) };
            options = libc::XDP_TX_METADATA;
        }
        // Only we write the producer's word, and the ring has an entry for every chunk.
        let next = self.transmit.producer().load(Ordering::Relaxed);
        let descriptor = libc::xdp_desc { addr: (start + METADATA) as u64, len: frame.len() as u32, options };
        // SAFETY: from the producer's word on entries are ours to write.
        unsafe { self.transmit.entry(next).write(descriptor) };
        // Release: the chunk and the entry are written before the kernel sees them.
        self.transmit.producer().store(next.wrapping_add(1), Ordering::Release);
        true
    }

    /// How many frames the kernel has not taken yet.
    #[inline]
    pub fn pending(&self) -> u32 {
        let taken = self.transmit.consumer().load(Ordering::Acquire);
        self.transmit.producer().load(Ordering::Relaxed).wrapping_sub(taken)
    }

    /// Has the kernel send what was pushed; never waits. What it does not take now is tried again next time.
    /// Says what was taken since the last time, and how much of that the driver dropped.
    ///
    /// # Errors
    /// What befell the link.
    #[inline]
    pub fn flush(&mut self) -> (Taken, io::Result<()>) {
        let mut sum = Taken::default();
        let outcome = self.push_out(&mut sum.dropped);
        let taken = self.transmit.consumer().load(Ordering::Acquire);
        while self.counted != taken {
            // SAFETY: the entry was written by us, and is not written again before it is counted: `push` writes only
            // with a free chunk, of which there are as many as entries, and the kernel only reads.
            let descriptor = unsafe { self.transmit.entry(self.counted).read() };
            sum.frames += 1;
            sum.bytes += u64::from(descriptor.len);
            self.counted = self.counted.wrapping_add(1);
        }
        (sum, outcome)
    }

    fn push_out(&mut self, all_dropped: &mut u64) -> io::Result<()> {
        let mut tries = TRIES;
        let mut left = self.pending();
        // As many as the driver may drop.
        let mut droppable = left;
        while left > 0 && tries > 0 {
            // SAFETY: names no memory of ours.
            let outcome = unsafe {
                libc::sendto(self.socket.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0)
            };
            let mut dropped = false;
            if outcome < 0 {
                let error = io::Error::last_os_error();
                match error.raw_os_error() {
                    // The driver dropped one, which is taken, though the kernel's word may tell only later.
                    Some(libc::EBUSY) if droppable > 0 => {
                        droppable -= 1;
                        dropped = true;
                        *all_dropped += 1;
                    }
                    // So many at once and no more; the driver is busy; no memory.
                    Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::ENOMEM | libc::EINTR) => {}
                    _ => return Err(error),
                }
            }
            let now = self.pending();
            tries = if dropped || now < left { TRIES } else { tries - 1 };
            left = now;
        }
        Ok(())
    }

    /// Takes back the chunks that the kernel is done with.
    fn reclaim(&mut self) {
        let Shared { first: lowest, count, .. } = self.chunks;
        // Only we write the consumer's word.
        let first = self.completion.consumer().load(Ordering::Relaxed);
        // Acquire: the kernel is done with a chunk before it moves the word.
        let done = self.completion.producer().load(Ordering::Acquire).wrapping_sub(first).min(count);
        for entry in 0..done {
            // SAFETY: between consumer and producer entries are ours to read; any bytes are valid numbers.
            let address = unsafe { self.completion.entry(first.wrapping_add(entry)).read() };
            let number = (address as usize / CHUNK) as u32;
            // The kernel hands back what it was given; anything else is nobody's.
            if number.wrapping_sub(lowest) < count && self.free.len() < count as usize {
                self.free.push(number);
            }
        }
        // Release: our reads are done before the kernel sees the entries free.
        self.completion.consumer().store(first.wrapping_add(done), Ordering::Release);
    }
}

/// Gives `socket` a send buffer that all its chunks do not fill, as far as that is permitted, so that what is missing
/// when a link is slow is a chunk, of which we know, and not room in the kernel, which would leave frames in the ring.
fn enlarge(socket: &OwnedFd, chunks: u32) {
    // Of a frame the kernel counts two chunks at most, with what it keeps beside it.
    let bytes = chunks as usize * 2 * CHUNK;
    if setsockopt(socket, sockopt::SndBufForce, &bytes).is_err() {
        // Up to the system's limit; it sends with less, too.
        let _ = setsockopt(socket, sockopt::SndBuf, &bytes);
    }
}
