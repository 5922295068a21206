//! Packets that the engine makes itself: answers, ICMP errors, fragments, tunnelled segments.
//!
//! They wait here until the caller of [`super::Engine::handle`] has sent them. Buffers are kept
//! and used again.

use crate::wire::Offload;
use crate::wire::frame::HEADROOM;

use super::verdict::Egress;

/// A packet ready to be sent, with room in front for link-layer and offload headers.
#[derive(Debug)]
pub struct Outbound {
    pub buffer: Vec<u8>,
    /// Where the IP packet begins and ends in `buffer`.
    pub network: usize,
    pub end: usize,
    pub offload: Offload,
    pub egress: Egress,
}

impl Outbound {
    pub fn packet(&self) -> &[u8] {
        &self.buffer[self.network..self.end]
    }
}

/// The queue of packets to be sent, in order.
#[derive(Debug, Default)]
pub struct Outbox {
    packets: Vec<Outbound>,
    used: usize,
}

/// Most packets that may wait: one frame of 64 KiB becomes at the most that many fragments.
const CAPACITY: usize = 4096;
/// What a new buffer holds: an Ethernet-sized packet.
const FIRST_LENGTH: usize = 2048;

impl Outbox {
    /// Room for a packet of `length` bytes behind the headroom, queued at once; `None` when too
    /// many wait already. The bytes are whatever was there before.
    pub fn push(&mut self, egress: Egress, length: usize) -> Option<&mut [u8]> {
        if self.used == self.packets.len() {
            if self.used >= CAPACITY {
                return None;
            }
            self.packets.push(Outbound {
                buffer: vec![0; FIRST_LENGTH],
                network: HEADROOM,
                end: HEADROOM,
                offload: Offload::NONE,
                egress,
            });
        }
        let outbound = &mut self.packets[self.used];
        self.used += 1;
        let end = HEADROOM + length;
        if outbound.buffer.len() < end {
            outbound.buffer.resize(end, 0);
        }
        outbound.network = HEADROOM;
        outbound.end = end;
        outbound.offload = Offload::NONE;
        outbound.egress = egress;
        Some(&mut outbound.buffer[HEADROOM..end])
    }

    /// Cuts the packet pushed last to `length` bytes.
    pub fn shorten_last(&mut self, length: usize) {
        if let Some(outbound) = self.used.checked_sub(1).and_then(|last| self.packets.get_mut(last)) {
            outbound.end = outbound.end.min(outbound.network + length);
        }
    }

    /// Takes the packet pushed last back.
    pub fn cancel_last(&mut self) {
        self.used = self.used.saturating_sub(1);
    }

    /// Gives the packet pushed last its offload metadata.
    pub fn set_last_offload(&mut self, offload: Offload) {
        if let Some(outbound) = self.used.checked_sub(1).and_then(|last| self.packets.get_mut(last)) {
            outbound.offload = offload;
        }
    }

    /// The waiting packets, in order.
    pub fn packets_mut(&mut self) -> &mut [Outbound] {
        &mut self.packets[..self.used]
    }

    pub fn packets(&self) -> &[Outbound] {
        &self.packets[..self.used]
    }

    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Forgets the waiting packets: they have been sent.
    pub fn clear(&mut self) {
        self.used = 0;
    }
}
