//! Frames waiting to leave by one link.
//!
//! A frame waits where it lies: most in the receive slot of the link they came by, what the
//! director itself originates in a buffer of the batch's own. Only at the flush are the places
//! turned into slices, while all inputs are borrowed and thus no slot can return to the kernel.

use std::io::IoSlice;

use crate::base::LinkId;
use crate::wire::{LinkHeader, Offload};

use super::counters::PortDrop;
use super::envelope::{Cutting, Layer, ROOM, Sealed, seal};
use super::input::Inputs;
use super::sys::socket::BATCH;

/// The waiting frames of one link.
#[derive(Debug, Default)]
pub(super) struct Batch {
    entries: Vec<Entry>,
    copies: Vec<u8>,
}

/// Where one frame, with all its headers, lies.
#[derive(Clone, Copy, Debug)]
struct Entry {
    place: Place,
    start: usize,
    end: usize,
    cutting: Cutting,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Slot { link: LinkId, slot: usize },
    Copy,
}

/// One frame about to be sent, virtio-net header first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing<'a> {
    pub bytes: &'a [u8],
    pub cutting: Cutting,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether it holds as much as one system call sends.
    pub fn is_full(&self) -> bool {
        self.entries.len() >= BATCH
    }

    /// Adds a frame that lies sealed in a slot.
    #[inline]
    pub fn push(&mut self, link: LinkId, slot: usize, sealed: Sealed) {
        let Sealed { start, end, cutting } = sealed;
        self.entries.push(Entry { place: Place::Slot { link, slot }, start, end, cutting });
    }

    /// Copies `packet` and adds it, sealed for a link of `layer`.
    pub fn push_copy(
        &mut self,
        packet: &[u8],
        offload: Offload,
        layer: Layer,
        header: LinkHeader,
    ) -> Result<(), PortDrop> {
        let base = self.copies.len();
        let network = base + ROOM;
        self.copies.resize(network, 0);
        self.copies.extend_from_slice(packet);
        let end = self.copies.len();
        match seal(&mut self.copies, network, end, offload, layer, header) {
            Ok(Sealed { start, end, cutting }) => {
                self.entries.push(Entry { place: Place::Copy, start, end, cutting });
                Ok(())
            }
            Err(reason) => {
                self.copies.truncate(base);
                Err(reason)
            }
        }
    }

    /// The waiting frames in the order they came.
    #[inline]
    pub fn frames<'a>(&'a self, inputs: &'a Inputs) -> impl Iterator<Item = Outgoing<'a>> {
        self.entries.iter().filter_map(|entry| {
            let buffer = match entry.place {
                Place::Slot { link, slot } => inputs.bytes(link, slot),
                Place::Copy => Some(self.copies.as_slice()),
            };
            let bytes = buffer.and_then(|buffer| buffer.get(entry.start..entry.end));
            debug_assert!(bytes.is_some(), "a slot was given back before its frame was sent: {entry:?}");
            Some(Outgoing { bytes: bytes?, cutting: entry.cutting })
        })
    }

    pub fn clear(&mut self) {
        self.entries.clear();
        self.copies.clear();
    }
}

/// Slices for one system call.
pub(super) type Slices<'a> = [IoSlice<'a>; BATCH];
