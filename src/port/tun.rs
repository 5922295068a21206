//! TUN devices: bare IP packets where layer 2 is out of reach. Needs CAP_NET_ADMIN.
//!
//! The `tun` crate (0.8) knows neither several queues nor TUNSETOFFLOAD, without which no
//! super-frame ever comes; opening a queue is therefore done in `sys`, and the queue handed to
//! the crate as a descriptor. From there on its device does the rest: address, MTU, state, reading
//! and writing. Mirrors Documentation/networking/tuntap.rst.
//!
//! Each worker opens one queue of the same device; the kernel spreads flows over them. A queue
//! takes one packet a system call, so a batch is a loop here.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};

use tun::AbstractDevice;

use crate::base::LinkId;
use crate::wire::frame::HEADROOM;
use crate::wire::offload::HEADER_LENGTH;
use crate::wire::{Frame, Offload};

use super::batch::Outgoing;
use super::counters::{Counters, PortDrop};
use super::error::PortError;
use super::event::{Failure, PortEvent, Scope};
use super::sys;

/// Packets read in one turn where nothing else is said.
pub const SLOTS: usize = 64;
/// Where the IP packet starts in a slot.
const NETWORK: usize = HEADROOM;
/// The longest IP packet and its headroom; not a multiple of the page, so that slots spread over the cache.
const SLOT_SIZE: usize = (NETWORK + (1 << 16)).next_multiple_of(4096) + 64;

/// How a TUN port is opened.
#[derive(Clone, Debug)]
pub struct TunOptions {
    /// Name of the device; a `%d` in it is filled by the kernel.
    pub name: String,
    pub mtu: u16,
    /// An address with its netmask, where the device should have one.
    pub address: Option<(IpAddr, IpAddr)>,
    pub slots: usize,
}

impl TunOptions {
    /// The usual options for a device of that name: MTU 1500, no address.
    pub fn new(name: &str) -> TunOptions {
        TunOptions { name: name.to_owned(), mtu: 1500, address: None, slots: SLOTS }
    }
}

/// Opens a queue, and brings the device up.
pub(super) fn open(options: &TunOptions) -> Result<(TunInput, TunOutput), PortError> {
    let link = || options.name.clone();
    let (queue, name) = sys::tun::open_queue(&options.name).map_err(|source| match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => PortError::TunNotPermitted { link: link(), source },
        _ => PortError::Step { step: "opening a TUN queue", link: link(), source },
    })?;
    let mut configuration = tun::Configuration::default();
    // From here on the device owns the queue's descriptor and closes it.
    configuration.tun_name(&name).raw_fd(queue.into_raw_fd()).close_fd_on_drop(true);
    let configure = |configuration: &tun::Configuration| {
        let mut device = tun::create(configuration)?;
        device.set_mtu(options.mtu)?;
        if let Some((address, netmask)) = options.address {
            device.set_address(address)?;
            device.set_netmask(netmask)?;
        }
        device.enabled(true)?;
        Ok(device)
    };
    let device = configure(&configuration).map_err(|source| PortError::TunConfiguration { link: link(), source })?;
    let (reader, writer) = device.split();
    let slots = options.slots.max(1);
    let input = TunInput { reader, memory: vec![0; slots * SLOT_SIZE], lengths: Vec::with_capacity(slots), slots };
    Ok((input, TunOutput { writer }))
}

/// The receiving half.
pub(super) struct TunInput {
    reader: tun::Reader,
    memory: Vec<u8>,
    /// Length of what was read into each slot, virtio-net header included.
    lengths: Vec<usize>,
    slots: usize,
}

impl TunInput {
    pub fn descriptor(&self) -> RawFd {
        self.reader.as_raw_fd()
    }

    pub fn ready(&mut self, limit: usize, _: &mut Counters) -> usize {
        let limit = limit.min(self.slots);
        while self.lengths.len() < limit {
            let start = self.lengths.len() * SLOT_SIZE;
            let slot = &mut self.memory[start + NETWORK - HEADER_LENGTH..start + SLOT_SIZE];
            match self.reader.read(slot) {
                Ok(length) => self.lengths.push(length),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Nothing there; or the device was deleted, which `examine` will find.
                Err(_) => break,
            }
        }
        self.lengths.len()
    }

    pub fn frame(&mut self, index: usize, link: LinkId) -> Result<Frame<'_>, PortDrop> {
        let length = *self.lengths.get(index).ok_or(PortDrop::Short)?;
        let packet = length.checked_sub(HEADER_LENGTH).ok_or(PortDrop::Short)?;
        let slot = self.bytes_mut(index).ok_or(PortDrop::Short)?;
        let metadata = slot.get(NETWORK - HEADER_LENGTH..).and_then(|bytes| bytes.first_chunk());
        let offload = metadata.and_then(Offload::read).ok_or(PortDrop::BadOffload)?;
        Frame::bare(slot, NETWORK, NETWORK + packet, link, offload).ok_or(PortDrop::Short)
    }

    pub fn bytes(&self, index: usize) -> Option<&[u8]> {
        if index >= self.lengths.len() {
            return None;
        }
        self.memory.get(index * SLOT_SIZE..(index + 1) * SLOT_SIZE)
    }

    pub fn bytes_mut(&mut self, index: usize) -> Option<&mut [u8]> {
        if index >= self.lengths.len() {
            return None;
        }
        self.memory.get_mut(index * SLOT_SIZE..(index + 1) * SLOT_SIZE)
    }

    pub fn release(&mut self, _: &mut Counters) {
        self.lengths.clear();
    }

    pub fn examine(&mut self, _: &mut Counters) -> Option<PortEvent> {
        let error = sys::tun::check_attached(&self.reader).err()?;
        Failure::of(&error).event()
    }
}

impl std::fmt::Debug for TunInput {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("TunInput").field("queue", &self.descriptor()).field("lengths", &self.lengths).finish()
    }
}

/// The sending half.
pub(super) struct TunOutput {
    writer: tun::Writer,
}

impl TunOutput {
    pub fn send<'a>(
        &mut self,
        frames: impl Iterator<Item = Outgoing<'a>>,
        counters: &mut Counters,
    ) -> Result<(), PortEvent> {
        let mut link_failure: Option<Failure> = None;
        for frame in frames {
            if let Some(failure) = link_failure {
                counters.drop_frames(failure.reason, 1);
                continue;
            }
            let outcome = loop {
                match self.writer.write(frame.bytes) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    outcome => break outcome,
                }
            };
            match outcome {
                Ok(_) => counters.count_sent(frame.bytes.len() - HEADER_LENGTH.min(frame.bytes.len())),
                Err(error) => {
                    let failure = Failure::of(&error);
                    counters.drop_frames(failure.reason, 1);
                    if failure.scope == Scope::Link {
                        link_failure = Some(failure);
                    }
                }
            }
        }
        link_failure.and_then(Failure::event).map_or(Ok(()), Err)
    }
}

impl std::fmt::Debug for TunOutput {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("TunOutput").field("queue", &self.writer.as_raw_fd()).finish()
    }
}
