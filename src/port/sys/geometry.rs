//! Where the slots of a packet ring lie in its memory.
//!
//! ```text
//! block:  | slot | slot | ... | slot | slack |      a power of two, contiguous for the kernel
//! slot:   | tpacket2_hdr | ... headroom ... | virtio-net | Ethernet | IP packet ........ |
//!         0              DATA               NETWORK - 24  NETWORK-14 NETWORK        slot_size
//! ```
//!
//! Mirrors `Documentation/networking/packet_mmap.rst`: a block is contiguous memory of the
//! kernel's, slots do not cross blocks, and the kernel puts the IP packet at a place that
//! follows from the header's length and PACKET_RESERVE.

use crate::wire::frame::{ETHERNET_LENGTH, HEADROOM};
use crate::wire::offload::HEADER_LENGTH;

/// Where a slot's usable bytes start: the kernel's own header lies before.
pub const DATA: usize = align(size_of::<libc::tpacket2_hdr>());
/// Where the IP packet of an Ethernet frame starts in a slot. The virtio-net header, the Ethernet
/// header and the start of the packet then share one cache line.
pub const NETWORK: usize = 152;
/// What PACKET_RESERVE must be for that: the kernel places the packet after its header and
/// sockaddr_ll, a link-layer header of at least 16 bytes, the reserve, and the virtio-net header.
pub const RESERVE: usize = NETWORK - HEADER_LENGTH - align(libc::TPACKET2_HDRLEN + LINK_HEADER_LEAST);

/// The kernel leaves room for a link-layer header of at least this length.
const LINK_HEADER_LEAST: usize = 16;
/// Largest block: what the kernel can usually find in one piece.
const LARGEST_BLOCK: usize = 1 << 20;
/// Smallest block: a page on every machine.
const SMALLEST_BLOCK: usize = 1 << 16;
/// Smallest slot: the headers and a frame of the shortest kind.
const SMALLEST_SLOT: usize = 512;

const _: () = assert!(NETWORK - DATA >= HEADROOM, "a slot leaves the headroom that frames promise");
const _: () = assert!((NETWORK - ETHERNET_LENGTH - HEADER_LENGTH).is_multiple_of(64), "headers start a cache line");

/// Rounds up to the alignment of everything in a ring.
const fn align(length: usize) -> usize {
    length.next_multiple_of(libc::TPACKET_ALIGNMENT)
}

/// The shape of a ring: how large its slots are and how they are packed into blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    slot_size: usize,
    slots_per_block: usize,
    block_size: usize,
    blocks: usize,
}

impl Geometry {
    /// A ring of at least `slots` slots of at least `slot_size` bytes; `None` where that is more
    /// than the kernel's 32-bit numbers can say.
    pub fn new(slots: usize, slot_size: usize) -> Option<Geometry> {
        let slots = slots.max(1);
        let slot_size = slot_size.max(SMALLEST_SLOT).checked_next_multiple_of(libc::TPACKET_ALIGNMENT)?;
        let wanted = slots.checked_mul(slot_size)?.checked_next_power_of_two()?;
        let block_size = wanted.clamp(SMALLEST_BLOCK, LARGEST_BLOCK.max(slot_size.checked_next_power_of_two()?));
        let slots_per_block = block_size / slot_size;
        let blocks = slots.div_ceil(slots_per_block);
        let geometry = Geometry { slot_size, slots_per_block, block_size, blocks };
        (u32::try_from(geometry.length()).is_ok()).then_some(geometry)
    }

    /// How many slots there are.
    pub fn slots(&self) -> usize {
        self.slots_per_block * self.blocks
    }

    /// Bytes of one slot, the kernel's header included.
    pub fn slot_size(&self) -> usize {
        self.slot_size
    }

    /// Bytes of the whole ring.
    pub fn length(&self) -> usize {
        self.block_size * self.blocks
    }

    /// Where slot number `slot` starts, counted from the ring's beginning.
    #[inline]
    pub fn offset(&self, slot: usize) -> usize {
        debug_assert!(slot < self.slots());
        slot / self.slots_per_block * self.block_size + slot % self.slots_per_block * self.slot_size
    }

    /// What PACKET_RX_RING is told.
    pub fn request(&self) -> libc::tpacket_req {
        // All four fit: `new` saw that the whole length, which bounds them, fits 32 bits.
        libc::tpacket_req {
            tp_block_size: self.block_size as u32,
            tp_block_nr: self.blocks as u32,
            tp_frame_size: self.slot_size as u32,
            tp_frame_nr: self.slots() as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_usual_ring_wastes_little() {
        let geometry = Geometry::new(256, 69888).unwrap();
        assert_eq!(geometry.slots_per_block, 15);
        assert_eq!(geometry.slots(), 270);
        assert_eq!(geometry.length(), 18 << 20);
        // The first lines of neighbouring slots do not fall into one cache set.
        assert_ne!(geometry.offset(1) % 4096, geometry.offset(0) % 4096);
    }

    #[test]
    fn a_small_ring_takes_a_small_block() {
        let geometry = Geometry::new(4, 2048).unwrap();
        assert_eq!(geometry.length(), SMALLEST_BLOCK);
        assert!(geometry.slots() >= 4);
    }

    #[test]
    fn a_ring_beyond_the_numbers_is_none() {
        assert!(Geometry::new(usize::MAX, 2048).is_none());
        assert!(Geometry::new(2, usize::MAX).is_none());
        assert!(Geometry::new(1 << 20, 69888).is_none());
    }

    proptest! {
        #[test]
        fn slots_lie_in_the_ring_and_apart(slots in 1usize..600, slot_size in 1usize..300_000) {
            let geometry = Geometry::new(slots, slot_size).unwrap();
            prop_assert!(geometry.slots() >= slots);
            prop_assert!(geometry.slot_size() >= slot_size);
            let mut free = 0;
            for slot in 0..geometry.slots() {
                let start = geometry.offset(slot);
                prop_assert!(start >= free && start.is_multiple_of(libc::TPACKET_ALIGNMENT));
                free = start + geometry.slot_size();
                prop_assert_eq!(start / geometry.block_size, (free - 1) / geometry.block_size);
            }
            prop_assert!(free <= geometry.length());
        }
    }
}
