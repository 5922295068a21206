//! AF_XDP: the small UDP packets of an Ethernet interface, taken before the kernel's stack and the packet sockets
//! see them. Needs CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF, and memory that may be locked.
//!
//! ```text
//!                       ┌─ selected ──► AF_XDP socket of the frame's queue ─┐
//!  link ─► program ─────┤                                                   ├─► one port
//!                       └─ all others ► the kernel, packet ring ────────────┘
//! ```
//!
//! A packet port is part of it: it receives what is not selected (see [`selection`]) and sends everything,
//! straight from the chunks. A frame comes by one of the two ways, never by both.
//!
//! The kernel's generic mode is used, with copies, whatever the driver has: on the links that this was measured
//! on it is the faster one. The program is attached by a BPF link (Linux 5.9), so that it goes with the
//! process however that ends. Descriptors say nothing of offloads, so what has any is not selected. Nor do they tell of a
//! VLAN tag that was taken out of the frame: links that VLAN links stand on are not for this port. Mirrors
//! `Documentation/networking/af_xdp.rst`.

pub mod entries;
pub(super) mod receive;
pub mod selection;
pub mod selector;

use std::io;
use std::sync::Arc;

use super::af_packet::chunks::Chunks;
use super::af_packet::transmit::PacketOutput;
use super::af_packet::{self, PacketOptions};
use super::error::PortError;
use super::sys::bpf::Hook;
use super::sys::channels;
use super::sys::xdp::{Step, XdpSocket};
use receive::XdpInput;
use selector::Chooser;

/// Chunks of each queue's socket where nothing else is said: 2 MiB.
pub const CHUNKS: u32 = 1024;
/// More queues than this are left to the packet ring.
const MOST_QUEUES: u32 = 64;

/// How an AF_XDP port is opened.
#[derive(Clone, Debug)]
pub struct XdpOptions {
    /// The packet port beside it; it is in no fanout group.
    pub packet: PacketOptions,
    pub chooser: Arc<Chooser>,
    /// Frames that each queue's socket holds; rounded up to a power of two.
    pub chunks: u32,
}

impl XdpOptions {
    /// The usual options beside that packet port.
    pub fn new(packet: PacketOptions, chooser: Arc<Chooser>) -> XdpOptions {
        XdpOptions { packet, chooser, chunks: CHUNKS }
    }
}

/// Opens both halves of a port.
pub(super) fn open(options: &XdpOptions) -> Result<(XdpInput, PacketOutput), PortError> {
    let link = || options.packet.name.clone();
    let at = |step| move |source| PortError::Step { step, link: options.packet.name.clone(), source };
    // The packet ring is there before any frame is taken from it.
    let (packet, mut output) = af_packet::open(&PacketOptions { send_chunks: 0, ..options.packet.clone() })?;
    let mut sockets = open_sockets(options)?;
    // The queue is taken: the sending socket shares it, once. What the kernel has of its chunks when it is given up comes
    // back to nobody, so that there is no second one. Links that have others below send by packet sockets, see `Chunks`.
    let has_queues = channels::transmit_queues(options.packet.interface).is_ok_and(|queues| queues.is_some());
    let sender = sockets.first_mut().filter(|_| has_queues).and_then(|socket| socket.sender().ok());
    output.set_chunks(sender.map(Chunks::new));
    for (queue, socket) in (0..).zip(&sockets) {
        options.chooser.sockets.lead(queue, socket).map_err(at("leading frames to an AF_XDP socket"))?;
    }
    let attachment =
        options.chooser.program.attach(Hook::Xdp, options.packet.interface).map_err(|source| {
            match source.raw_os_error() {
                Some(libc::EBUSY | libc::EEXIST) => PortError::XdpOccupied { link: link(), source },
                Some(libc::EINVAL) => PortError::XdpLinks { link: link(), source },
                _ => bpf_error(&options.packet.name, "attaching a program", source),
            }
        })?;
    Ok((XdpInput::new(attachment, sockets, packet), output))
}

/// A socket for each queue of the link.
fn open_sockets(options: &XdpOptions) -> Result<Vec<XdpSocket>, PortError> {
    let PacketOptions { interface, name, .. } = &options.packet;
    let chunks = options.chunks.clamp(2, 1 << 20).next_power_of_two();
    let mut sockets: Vec<XdpSocket> = Vec::new();
    while sockets.len() < MOST_QUEUES as usize {
        let sending = if sockets.is_empty() { options.packet.send_chunks } else { 0 };
        match XdpSocket::open(*interface, sockets.len() as u32, chunks, sending) {
            Ok(socket) => sockets.push(socket),
            // There is no such queue.
            Err((Step::Bind, error)) if error.raw_os_error() == Some(libc::EINVAL) && !sockets.is_empty() => break,
            Err((step, source)) => return Err(socket_error(name, step, source)),
        }
    }
    Ok(sockets)
}

fn bpf_error(link: &str, step: &'static str, source: io::Error) -> PortError {
    let link = link.to_owned();
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => PortError::XdpNotPermitted { link, source },
        Some(libc::ENOSYS) => PortError::XdpMissing { link, source },
        _ => PortError::Step { step, link, source },
    }
}

fn socket_error(link: &str, step: Step, source: io::Error) -> PortError {
    let link = link.to_owned();
    match (step, source.raw_os_error()) {
        (_, Some(libc::EPERM | libc::EACCES)) => PortError::XdpNotPermitted { link, source },
        (Step::Socket, Some(libc::EAFNOSUPPORT)) => PortError::XdpMissing { link, source },
        (Step::Memory, Some(libc::ENOBUFS)) => PortError::XdpLockedMemory { link, source },
        (Step::Bind, Some(libc::EBUSY)) => PortError::XdpBusy { link, source },
        (Step::Socket, _) => PortError::Step { step: "opening an AF_XDP socket", link, source },
        (Step::Memory, _) => PortError::Step { step: "sharing memory with an AF_XDP socket", link, source },
        (Step::Rings, _) => PortError::Step { step: "setting up an AF_XDP socket's rings", link, source },
        (Step::Bind, _) => PortError::Step { step: "binding an AF_XDP socket", link, source },
    }
}
