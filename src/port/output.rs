//! The sending half of a port.

use super::af_packet::Queueing;
use super::af_packet::transmit::PacketOutput;
use super::batch::Batch;
use super::counters::Counters;
use super::envelope::Layer;
use super::error::PortError;
use super::event::PortEvent;
use super::input::Inputs;
use super::memory::MemoryOutput;
use super::tun::TunOutput;

/// Where frames that leave by one link go, and those that wait for it.
#[derive(Debug)]
pub(super) struct Output {
    pub batch: Batch,
    way: Way,
}

#[derive(Debug)]
pub(super) enum Way {
    Packet(Box<PacketOutput>),
    Tun(TunOutput),
    Memory(MemoryOutput),
}

impl Output {
    pub fn new(way: Way) -> Output {
        Output { batch: Batch::default(), way }
    }

    /// The way by itself; what waits for it is forgotten.
    pub fn into_way(self) -> Way {
        self.way
    }

    /// What frames of this link start with.
    #[inline]
    pub fn layer(&self) -> Layer {
        match &self.way {
            Way::Packet(_) => Layer::Ethernet,
            Way::Tun(_) => Layer::Bare,
            Way::Memory(memory) => memory.layer(),
        }
    }

    /// Has frames pass the queueing discipline or not, where the way has one.
    pub fn set_queueing(&mut self, queueing: Queueing) {
        if let Way::Packet(packet) = &mut self.way {
            packet.set_queueing(queueing);
        }
    }

    /// Says whether frames are many now.
    pub fn set_busy(&mut self, busy: bool) {
        if let Way::Packet(packet) = &mut self.way {
            packet.set_busy(busy);
        }
    }

    /// Has the way carry super-frames in tunnels whole from now on.
    pub fn carry_tunnels(&mut self) -> Result<(), PortError> {
        match &mut self.way {
            Way::Packet(packet) => packet.carry_tunnels(),
            Way::Tun(_) | Way::Memory(_) => Err(PortError::TunnelsElsewhere),
        }
    }

    /// Whether it does.
    pub fn carries_tunnels(&self) -> bool {
        match &self.way {
            Way::Packet(packet) => packet.carries_tunnels(),
            Way::Tun(_) | Way::Memory(_) => false,
        }
    }

    /// Sends all that waits; what cannot be sent is counted and forgotten.
    ///
    /// # Errors
    /// The link turned out to be down or gone.
    #[inline]
    pub fn flush(&mut self, inputs: &Inputs, counters: &mut Counters) -> Result<(), PortEvent> {
        let frames = self.batch.frames(inputs);
        let outcome = match &mut self.way {
            Way::Packet(packet) => packet.send(frames, counters),
            Way::Tun(tun) => tun.send(frames, counters),
            Way::Memory(memory) => memory.send(frames, counters),
        };
        self.batch.clear();
        outcome
    }
}
