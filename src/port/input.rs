//! The receiving half of a port.

use std::os::fd::RawFd;

use crate::base::LinkId;
use crate::wire::Frame;

use super::af_packet::Adjustment;
use super::af_packet::receive::PacketInput;
use super::af_xdp::receive::XdpInput;
use super::counters::{Counters, PortDrop};
use super::error::PortError;
use super::event::PortEvent;
use super::memory::MemoryInput;
use super::tun::TunInput;

/// Where the frames of one link come from.
#[derive(Debug)]
pub(super) enum Input {
    Packet(PacketInput),
    Xdp(XdpInput),
    Tun(TunInput),
    Memory(MemoryInput),
}

/// Passes a call on to whichever kind it is.
macro_rules! each {
    ($input:expr, $kind:ident => $call:expr) => {
        match $input {
            Input::Packet($kind) => $call,
            Input::Xdp($kind) => $call,
            Input::Tun($kind) => $call,
            Input::Memory($kind) => $call,
        }
    };
}

impl Input {
    /// The descriptors that become readable when frames arrive.
    pub fn descriptors(&self) -> Vec<RawFd> {
        match self {
            Input::Packet(input) => input.descriptors().collect(),
            Input::Xdp(input) => input.descriptors().collect(),
            Input::Tun(input) => vec![input.descriptor()],
            Input::Memory(input) => vec![input.descriptor()],
        }
    }

    /// How many frames can be read, at most `limit`; they are held until [`Input::release`].
    #[inline]
    pub fn ready(&mut self, limit: usize, counters: &mut Counters) -> usize {
        each!(self, input => input.ready(limit, counters))
    }

    /// The frame at `index` of those that are ready.
    #[inline]
    pub fn frame(&mut self, index: usize, link: LinkId) -> Result<Frame<'_>, PortDrop> {
        each!(self, input => input.frame(index, link))
    }

    /// The frame at `index` for a look ahead, which counts nothing; `None` where that cannot be.
    #[inline]
    pub fn peek(&mut self, index: usize, link: LinkId) -> Option<Frame<'_>> {
        match self {
            Input::Packet(input) => input.peek(index, link),
            Input::Xdp(input) => input.peek(index, link),
            Input::Tun(input) => input.frame(index, link).ok(),
            Input::Memory(_) => None,
        }
    }

    #[inline]
    pub fn bytes(&self, index: usize) -> Option<&[u8]> {
        each!(self, input => input.bytes(index))
    }

    #[inline]
    pub fn bytes_mut(&mut self, index: usize) -> Option<&mut [u8]> {
        each!(self, input => input.bytes_mut(index))
    }

    /// Gives the slots of all frames that were ready back, and says what befell the link where reading them met it.
    #[inline]
    pub fn release(&mut self, counters: &mut Counters) -> Option<PortEvent> {
        match self {
            Input::Packet(input) => input.release(counters),
            Input::Xdp(input) => input.release(counters),
            Input::Tun(input) => {
                input.release(counters);
                None
            }
            Input::Memory(input) => {
                input.release(counters);
                None
            }
        }
    }

    /// Changes what is received, where that is the port's to choose.
    pub fn adjust(&mut self, adjustment: &Adjustment<'_>) -> Result<(), PortError> {
        match self {
            Input::Packet(input) => input.adjust(adjustment),
            Input::Xdp(input) => input.adjust(adjustment),
            Input::Tun(_) | Input::Memory(_) => Ok(()),
        }
    }

    /// Asks what is wrong, and what the kernel has lost.
    pub fn examine(&mut self, counters: &mut Counters) -> Option<PortEvent> {
        each!(self, input => input.examine(counters))
    }
}

/// The inputs of a worker, by link.
#[derive(Debug, Default)]
pub(super) struct Inputs(pub Vec<Option<Input>>);

impl Inputs {
    #[inline]
    pub fn of(&self, link: LinkId) -> Option<&Input> {
        self.0.get(link.index())?.as_ref()
    }

    #[inline]
    pub fn of_mut(&mut self, link: LinkId) -> Option<&mut Input> {
        self.0.get_mut(link.index())?.as_mut()
    }

    /// The bytes of a slot that is held.
    #[inline]
    pub fn bytes(&self, link: LinkId, slot: usize) -> Option<&[u8]> {
        self.of(link)?.bytes(slot)
    }
}
