//! The receive ring's memory, shared with the kernel (TPACKET_V2, packet(7)).
//!
//! ```text
//!                 head          head + held
//!   ... | kernel's | ours, handed out | maybe filled, not looked at | kernel's ...
//! ```
//!
//! A slot is ours from the moment its status word says so until we write the word back; only
//! slots between `head` and `head + held` were seen to be ours, and only their bytes can be
//! reached. That is what makes plain slices of this memory sound.

use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use super::geometry::{DATA, Geometry};
use super::socket::PacketSocket;

/// The mapped ring of one socket.
#[derive(Debug)]
pub struct Ring {
    base: NonNull<u8>,
    geometry: Geometry,
    /// Where each slot starts, as the geometry says: it takes a division each time, this does not.
    offsets: Box<[u32]>,
    /// Slot number of the oldest slot that is ours.
    head: usize,
    /// How many slots from there were handed out.
    held: usize,
}

// SAFETY: the mapping belongs to this value alone, whichever thread holds it.
unsafe impl Send for Ring {}

/// What the kernel wrote about the frame in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotHeader {
    /// TP_STATUS bits.
    pub status: u32,
    /// Length of the frame on the link.
    pub length: u32,
    /// How much of it is in the slot.
    pub stored: u32,
    /// Where it starts, counted from the slot's bytes as [`Ring::bytes`] gives them; `None` where the
    /// kernel put it elsewhere.
    pub start: Option<usize>,
    /// When the kernel put it there: nanoseconds of its wall clock.
    pub stamp: u64,
}

impl Ring {
    /// Sets up a ring of that shape on `socket` and maps it.
    pub fn new(socket: &PacketSocket, geometry: Geometry) -> io::Result<Ring> {
        socket.set_ring(&geometry.request())?;
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no memory of ours.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                geometry.length(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                socket.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        // The whole length fits 32 bits, and so does every place in it.
        let offsets = (0..geometry.slots()).map(|slot| geometry.offset(slot) as u32).collect();
        Ok(Ring { base, geometry, offsets, head: 0, held: 0 })
    }

    /// Extends the handed-out slots to those that are filled, at most `limit`, and says how many
    /// there are.
    #[inline]
    pub fn ready(&mut self, limit: usize) -> usize {
        let limit = limit.min(self.offsets.len());
        while self.held < limit {
            let slot = self.slot(self.held);
            // Acquire: what the kernel wrote before it set the word is seen after.
            if self.status(slot).load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
                break;
            }
            self.held += 1;
        }
        self.held
    }

    /// What the kernel says of the slot at `index`, counted from the oldest handed out.
    #[inline]
    pub fn header(&self, index: usize) -> Option<SlotHeader> {
        if index >= self.held {
            return None;
        }
        let slot = self.slot(index);
        let pointer = self.at(slot, 0).cast::<libc::tpacket2_hdr>();
        // SAFETY: the slot starts with this header, aligned to 16 bytes as all slots are, and is ours: the
        // kernel does not write it until we give it back. Any bytes are valid for its plain numbers.
        let header = unsafe { pointer.read() };
        Some(SlotHeader {
            status: header.tp_status,
            length: header.tp_len,
            stored: header.tp_snaplen,
            start: usize::from(header.tp_mac).checked_sub(DATA),
            stamp: u64::from(header.tp_sec) * 1_000_000_000 + u64::from(header.tp_nsec),
        })
    }

    /// The bytes of the slot at `index` behind the kernel's header.
    #[inline]
    pub fn bytes(&self, index: usize) -> Option<&[u8]> {
        if index >= self.held {
            return None;
        }
        let start = self.at(self.slot(index), DATA);
        // SAFETY: `DATA..slot_size` of a slot lies in the mapping, which lives as long as `self`; the slot is
        // ours and leaves `held` only through `&mut self`, so nobody writes while the slice is borrowed.
        Some(unsafe { std::slice::from_raw_parts(start.as_ptr(), self.geometry.slot_size() - DATA) })
    }

    #[inline]
    pub fn bytes_mut(&mut self, index: usize) -> Option<&mut [u8]> {
        if index >= self.held {
            return None;
        }
        let start = self.at(self.slot(index), DATA);
        // SAFETY: as in `bytes`; `&mut self` makes the borrow the only one.
        Some(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), self.geometry.slot_size() - DATA) })
    }

    /// Gives the first `count` slots of those handed out back to the kernel.
    #[inline]
    pub fn release(&mut self, count: usize) {
        let count = count.min(self.held);
        for index in 0..count {
            // Release: our reads and writes of the slot are done before the kernel sees it free.
            self.status(self.slot(index)).store(libc::TP_STATUS_KERNEL, Ordering::Release);
        }
        self.head = self.slot(count);
        self.held -= count;
    }

    /// The slot `index` places after the head.
    #[inline]
    fn slot(&self, index: usize) -> usize {
        // Both are at most the number of slots, so one subtraction wraps.
        let slot = self.head + index;
        if slot >= self.offsets.len() { slot - self.offsets.len() } else { slot }
    }

    #[inline]
    fn at(&self, slot: usize, byte: usize) -> NonNull<u8> {
        debug_assert!(byte < self.geometry.slot_size());
        // SAFETY: the geometry keeps every slot inside the mapping, and `byte` lies in the slot.
        unsafe { self.base.add(self.offsets[slot] as usize + byte) }
    }

    #[inline]
    fn status(&self, slot: usize) -> &AtomicU32 {
        let word = self.at(slot, 0).cast::<u32>();
        // SAFETY: the status is the slot's first word, aligned to 16 bytes, mapped while `self` lives, and
        // only ever accessed atomically while the kernel may write it.
        unsafe { AtomicU32::from_ptr(word.as_ptr()) }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: this is the mapping made in `new`, whole; no slice of it outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.geometry.length()) };
    }
}
