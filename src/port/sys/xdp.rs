//! AF_XDP sockets: descriptors of frames instead of frames pass between the kernel and us.
//!
//! ```text
//!            ┌────────── kernel copies a frame into it ──────────┐
//!   fill ring: free chunks                               receive ring: filled chunks
//!            └──────────── release ◄── held by us ◄──────────────┘
//! ```
//!
//! A chunk is ours from the moment its descriptor was taken out of the receive ring until it is put on the
//! fill ring; only chunks between the two can be reached, which is what makes plain slices of this memory
//! sound. The fill ring has room for every chunk there is. Mirrors `Documentation/networking/af_xdp.rst`.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use send::{METADATA, Shared, XdpSender};

pub mod send;

/// Bytes of a chunk: what one frame lies in.
pub const CHUNK: usize = 2048;
/// What the kernel leaves free in front of each frame.
pub const HEADROOM: usize = 256;
/// Bytes of a chunk that a frame may take.
pub const ROOM: usize = CHUNK - HEADROOM;

const _: () = assert!(HEADROOM >= crate::wire::frame::HEADROOM, "a chunk leaves the headroom that frames promise");

/// Memory that is shared with the kernel, unmapped when dropped.
#[derive(Debug)]
struct Mapping {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping belongs to this value alone, whichever thread holds it.
unsafe impl Send for Mapping {}
// SAFETY: by a shared reference nothing can be read or written; whoever makes a slice of this memory says why nobody
// else is at that chunk.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Fresh memory, touched already.
    fn anonymous(length: usize) -> io::Result<Mapping> {
        Mapping::new(length, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE, -1, 0)
    }

    fn new(length: usize, flags: libc::c_int, descriptor: RawFd, offset: libc::off_t) -> io::Result<Mapping> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no memory of ours.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), length, access, flags, descriptor, offset) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        Ok(Mapping { base, length })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the mapping made in `new`, whole; no reference into it outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.length) };
    }
}

/// One ring of entries of kind `T`, of which one side is ours.
#[derive(Debug)]
struct Ring<T> {
    mapping: Mapping,
    offsets: libc::xdp_ring_offset,
    entries: u32,
    kind: PhantomData<T>,
}

impl<T: Copy> Ring<T> {
    /// Maps the ring of `entries` entries, a power of two, that `socket` has at `place`.
    fn map(socket: &OwnedFd, offsets: libc::xdp_ring_offset, entries: u32, place: libc::off_t) -> io::Result<Ring<T>> {
        let length = offsets.desc as usize + entries as usize * size_of::<T>();
        let aligned = |offset: u64, alignment: usize| (offset as usize).is_multiple_of(alignment);
        let inside = |offset: u64| offset as usize + size_of::<u32>() <= length && aligned(offset, align_of::<u32>());
        let sound = inside(offsets.producer) && inside(offsets.consumer) && aligned(offsets.desc, align_of::<T>());
        if !sound || !entries.is_power_of_two() {
            return Err(io::Error::from_raw_os_error(libc::EPROTO));
        }
        let mapping = Mapping::new(length, libc::MAP_SHARED | libc::MAP_POPULATE, socket.as_raw_fd(), place)?;
        Ok(Ring { mapping, offsets, entries, kind: PhantomData })
    }

    #[inline]
    fn producer(&self) -> &AtomicU32 {
        self.word(self.offsets.producer)
    }

    #[inline]
    fn consumer(&self) -> &AtomicU32 {
        self.word(self.offsets.consumer)
    }

    #[inline]
    fn word(&self, offset: u64) -> &AtomicU32 {
        // SAFETY: `map` saw that the word lies in the mapping.
        let word = unsafe { self.mapping.base.add(offset as usize) }.cast::<u32>();
        // SAFETY: aligned, as `map` saw, mapped while `self` lives, and only ever accessed atomically.
        unsafe { AtomicU32::from_ptr(word.as_ptr()) }
    }

    /// The entry that `number`, counted on without end, falls to.
    #[inline]
    fn entry(&self, number: u32) -> NonNull<T> {
        let place = (number & (self.entries - 1)) as usize;
        // SAFETY: the entries lie in the mapping from `desc` on, and `place` is below their number.
        unsafe { self.mapping.base.add(self.offsets.desc as usize + place * size_of::<T>()) }.cast()
    }
}

/// What a descriptor says, checked.
#[derive(Clone, Copy, Debug)]
struct Filled {
    chunk: u32,
    /// Where the frame starts and ends in its chunk; nothing where that is not inside of it.
    place: Option<(u16, u16)>,
}

/// Frames that the kernel lost, as XDP_STATISTICS counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost(pub u64);

/// A socket that receives the frames of one queue of a link.
#[derive(Debug)]
pub struct XdpSocket {
    // Rings and memory are given up before the socket is.
    fill: Ring<u64>,
    receive: Ring<libc::xdp_desc>,
    memory: Arc<Mapping>,
    /// The kernel wants one; a sender takes it.
    completion: Option<Ring<u64>>,
    socket: OwnedFd,
    interface: u32,
    queue: u32,
    /// The oldest comes first.
    held: Vec<Filled>,
    chunks: u32,
    /// Chunks of the same memory beyond those, to send from.
    sending: u32,
    /// The kernel finishes the checksums of what is sent.
    finishes: bool,
}

/// Which step of setting an AF_XDP socket up failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Step {
    /// Socket(2) itself: no such address family, or no CAP_NET_RAW.
    #[error("opening the socket failed")]
    Socket,
    /// The memory that frames lie in, which is locked.
    #[error("registering the memory for frames failed")]
    Memory,
    /// The rings of descriptors.
    #[error("making the rings failed")]
    Rings,
    /// The link's queue: there is none of that number, or another socket has it.
    #[error("binding to the queue failed")]
    Bind,
}

impl XdpSocket {
    /// A socket of `chunks` chunks at `queue` of `interface`, with `sending` more for an [`XdpSender`], both powers of
    /// two. It receives nothing until a program leads frames to it.
    ///
    /// # Errors
    /// What failed, and how.
    pub fn open(interface: u32, queue: u32, chunks: u32, sending: u32) -> Result<XdpSocket, (Step, io::Error)> {
        let at = |step: Step| move |error| (step, error);
        let socket = new_socket().map_err(at(Step::Socket))?;
        let memory = Mapping::anonymous((chunks + sending) as usize * CHUNK).map_err(at(Step::Memory))?;
        let finishes = is_registered_with_metadata(&socket, &memory, METADATA).map_err(at(Step::Memory))?;
        let completions = sending.max(2);
        for (ring, entries) in [
            (libc::XDP_UMEM_FILL_RING, chunks),
            (libc::XDP_UMEM_COMPLETION_RING, completions),
            (libc::XDP_RX_RING, chunks),
        ] {
            set(&socket, ring, &entries).map_err(at(Step::Rings))?;
        }
        let offsets = offsets(&socket).map_err(at(Step::Rings))?;
        let fill_place = libc::XDP_UMEM_PGOFF_FILL_RING as libc::off_t;
        let fill = Ring::map(&socket, offsets.fr, chunks, fill_place).map_err(at(Step::Rings))?;
        let completion_place = libc::XDP_UMEM_PGOFF_COMPLETION_RING as libc::off_t;
        let completion = Ring::map(&socket, offsets.cr, completions, completion_place).map_err(at(Step::Rings))?;
        let receive = Ring::map(&socket, offsets.rx, chunks, libc::XDP_PGOFF_RX_RING).map_err(at(Step::Rings))?;
        let held = Vec::with_capacity(chunks as usize);
        let mut opened = XdpSocket {
            fill,
            receive,
            memory: Arc::new(memory),
            completion: Some(completion),
            socket,
            interface,
            queue,
            held,
            chunks,
            sending,
            finishes,
        };
        opened.give((0..chunks).map(|chunk| u64::from(chunk) * CHUNK as u64));
        bind(&opened.socket, interface, queue, None).map_err(at(Step::Bind))?;
        Ok(opened)
    }

    /// A socket that sends by the same queue, from chunks of the same memory: the kernel lets no other have the queue.
    ///
    /// # Errors
    /// What failed, and how: EBUSY where there is one already, or no chunk for one.
    pub fn sender(&mut self) -> Result<XdpSender, (Step, io::Error)> {
        let at = |step: Step| move |error| (step, error);
        let socket = new_socket().map_err(at(Step::Socket))?;
        let busy = || (Step::Bind, io::Error::from_raw_os_error(libc::EBUSY));
        let completion = self.completion.take().filter(|_| self.sending > 0).ok_or_else(busy)?;
        set(&socket, libc::XDP_TX_RING, &self.sending).map_err(at(Step::Rings))?;
        let offsets = offsets(&socket).map_err(at(Step::Rings))?;
        let transmit =
            Ring::map(&socket, offsets.tx, self.sending, libc::XDP_PGOFF_TX_RING).map_err(at(Step::Rings))?;
        bind(&socket, self.interface, self.queue, Some(&self.socket)).map_err(at(Step::Bind))?;
        let memory = Shared { memory: self.memory.clone(), first: self.chunks, count: self.sending };
        Ok(XdpSender::new(socket, transmit, completion, memory, self.finishes))
    }

    /// Extends the held frames to those that have come, at most `limit`, and says how many there are.
    #[inline]
    pub fn ready(&mut self, limit: usize) -> usize {
        let wanted = limit.saturating_sub(self.held.len());
        if wanted == 0 {
            return self.held.len();
        }
        // Only we write the consumer's word.
        let first = self.receive.consumer().load(Ordering::Relaxed);
        // Acquire: what the kernel wrote before it moved the word is seen after.
        let waiting = self.receive.producer().load(Ordering::Acquire).wrapping_sub(first);
        let taken = waiting.min(self.chunks).min(wanted.min(u32::MAX as usize) as u32);
        for number in 0..taken {
            let entry = self.receive.entry(first.wrapping_add(number));
            // SAFETY: between consumer and producer entries are ours to read; any bytes are valid numbers.
            let descriptor = unsafe { entry.read() };
            self.held.push(Filled::of(&descriptor, self.chunks));
        }
        // Release: our reads are done before the kernel sees the entries free.
        self.receive.consumer().store(first.wrapping_add(taken), Ordering::Release);
        self.held.len()
    }

    /// How many frames are held.
    #[inline]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Whether every chunk holds a frame, which is when the kernel may have lost some.
    #[inline]
    pub fn is_full(&self) -> bool {
        let first = self.receive.consumer().load(Ordering::Relaxed);
        let waiting = self.receive.producer().load(Ordering::Relaxed).wrapping_sub(first);
        waiting as usize + self.held.len() >= self.chunks as usize
    }

    /// Where the frame at `index` of those held lies in its chunk, Ethernet header first; `None` where the
    /// kernel described something else.
    #[inline]
    pub fn place(&self, index: usize) -> Option<(usize, usize)> {
        let (start, end) = self.held.get(index)?.place?;
        Some((start.into(), end.into()))
    }

    /// The whole chunk of the frame at `index` of those held.
    #[inline]
    pub fn bytes(&self, index: usize) -> Option<&[u8]> {
        let start = self.chunk(index)?;
        // SAFETY: the chunk lies in the memory, which lives as long as `self`; it is held, and leaves `held` only
        // through `&mut self`, so nobody writes while the slice is borrowed.
        Some(unsafe { std::slice::from_raw_parts(start.as_ptr(), CHUNK) })
    }

    #[inline]
    pub fn bytes_mut(&mut self, index: usize) -> Option<&mut [u8]> {
        let start = self.chunk(index)?;
        // SAFETY: as in `bytes`; `&mut self` makes the borrow the only one, as no chunk is held twice: the
        // kernel fills each only once it was given back.
        Some(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), CHUNK) })
    }

    /// Gives all held chunks back to the kernel.
    #[inline]
    pub fn release(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.give(held.iter().map(|filled| u64::from(filled.chunk) * CHUNK as u64));
        self.held = held;
        self.held.clear();
    }

    /// What the kernel has lost since the socket was opened, for want of free chunks.
    pub fn lost(&self) -> io::Result<Lost> {
        // SAFETY: plain numbers: all-zero is valid.
        let mut counts: libc::xdp_statistics = unsafe { std::mem::zeroed() };
        read(&self.socket, libc::XDP_STATISTICS, &mut counts)?;
        Ok(Lost(counts.rx_dropped.saturating_add(counts.rx_ring_full)))
    }

    fn chunk(&self, index: usize) -> Option<NonNull<u8>> {
        let Filled { chunk, .. } = *self.held.get(index)?;
        // SAFETY: `Filled::of` keeps chunks below their number, so that this one lies in the memory.
        Some(unsafe { self.memory.base.add(chunk as usize * CHUNK) })
    }

    /// Puts chunks on the fill ring.
    #[inline]
    fn give(&mut self, addresses: impl Iterator<Item = u64>) {
        // Only we write the producer's word, and the ring has an entry for every chunk.
        let mut next = self.fill.producer().load(Ordering::Relaxed);
        for address in addresses {
            let entry = self.fill.entry(next);
            // SAFETY: from the producer's word on entries are ours to write.
            unsafe { entry.write(address) };
            next = next.wrapping_add(1);
        }
        // Release: entries, and what we did with the chunks, are written before the kernel sees them.
        self.fill.producer().store(next, Ordering::Release);
    }
}

impl AsRawFd for XdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Filled {
    fn of(descriptor: &libc::xdp_desc, chunks: u32) -> Filled {
        let address = descriptor.addr as usize;
        let (chunk, start) = (address / CHUNK, address % CHUNK);
        let end = start.saturating_add(descriptor.len as usize);
        Filled {
            // The kernel hands back what it was given.
            chunk: (chunk as u32).min(chunks - 1),
            place: (end <= CHUNK).then_some((start as u16, end as u16)),
        }
    }
}

fn new_socket() -> io::Result<OwnedFd> {
    // SAFETY: takes numbers alone.
    let socket = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

/// Makes `memory` the one that chunks of `socket` lie in.
fn register(socket: &OwnedFd, memory: &Mapping) -> io::Result<()> {
    register_with(socket, memory, 0, 0)
}

/// The same with `metadata` bytes before each frame to be sent, if the kernel knows of such; whether it does.
fn is_registered_with_metadata(socket: &OwnedFd, memory: &Mapping, metadata: usize) -> io::Result<bool> {
    match register_with(socket, memory, metadata as u32, libc::XDP_UMEM_TX_METADATA_LEN) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => register(socket, memory).map(|()| false),
        outcome => outcome.map(|()| true),
    }
}

fn register_with(socket: &OwnedFd, memory: &Mapping, metadata: u32, flags: u32) -> io::Result<()> {
    let request = libc::xdp_umem_reg {
        addr: memory.base.as_ptr() as u64,
        len: memory.length as u64,
        chunk_size: CHUNK as u32,
        headroom: 0,
        flags,
        tx_metadata_len: metadata,
    };
    set(socket, libc::XDP_UMEM_REG, &request)
}

/// Binds `socket` to a queue, which it shares with another socket if there is one.
fn bind(socket: &OwnedFd, interface: u32, queue: u32, other: Option<&OwnedFd>) -> io::Result<()> {
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        // The generic way: the kernel copies frames into the chunks, and out of them. Whoever shares does as the other.
        sxdp_flags: if other.is_some() { libc::XDP_SHARED_UMEM } else { libc::XDP_COPY },
        sxdp_ifindex: interface,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: other.map_or(0, |other| other.as_raw_fd() as u32),
    };
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: pointer and length describe `address`, which lives through the call and is only read.
    let outcome = unsafe { libc::bind(socket.as_raw_fd(), std::ptr::from_ref(&address).cast(), length) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn offsets(socket: &OwnedFd) -> io::Result<libc::xdp_mmap_offsets> {
    // SAFETY: plain numbers: all-zero is valid.
    let mut offsets: libc::xdp_mmap_offsets = unsafe { std::mem::zeroed() };
    read(socket, libc::XDP_MMAP_OFFSETS, &mut offsets)?;
    Ok(offsets)
}

/// What getsockopt of this level gives: plain numbers, for which any bytes are valid.
trait Plain {}
impl Plain for libc::xdp_mmap_offsets {}
impl Plain for libc::xdp_statistics {}

fn read<T: Plain>(socket: &OwnedFd, option: libc::c_int, value: &mut T) -> io::Result<()> {
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: pointer and length describe `value`, which is ours; any bytes are valid for it.
    let outcome = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_XDP, option, std::ptr::from_mut(value).cast(), &mut length)
    };
    match outcome {
        // An older kernel has less to say, and says it in another form.
        0 if length as usize == size_of::<T>() => Ok(()),
        0 => Err(io::Error::from_raw_os_error(libc::EPROTO)),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set<T>(socket: &OwnedFd, option: libc::c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: pointer and length describe `value`, which lives through the call and is only read.
    let outcome = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_XDP, option, std::ptr::from_ref(value).cast(), length)
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
