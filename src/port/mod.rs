//! Where frames come from and go to.
//!
//! A worker owns its [`Ports`], one [`Port`] a link. A frame is edited in the slot it was received
//! into and leaves from there; the slot returns to the kernel only after that. The calls of one
//! turn, in their order:
//!
//! ```text
//!   readiness of a descriptor (mio)                          error or hang-up
//!        │                                                        │
//!        ▼                                                        ▼
//!   ready(link, limit) ─► n frames, held from here on        examine(link) ─► event()
//!        │
//!        ▼ for index in 0..n
//!   frame(link, index) ─► Frame, edited by the engine; a drop is counted already
//!        │
//!        ▼ Held::of(index, &frame)
//!   send(link, &held, header)      packet(&held) copies one that must wait
//!   send_copy(link, packet, ..)    what did not come by a port
//!        │
//!        ▼
//!   flush() ─► one sendmmsg a link for up to 64 frames; then all slots go back
//! ```
//!
//! | call | time it takes | may fail |
//! |---|---|---|
//! | `ready`, `frame` | no system call; a read for each frame that fits no slot (TUN: for each) | a frame, which is counted |
//! | `send` | none; with the 64th frame of a link as `flush` | a frame, which is counted |
//! | `flush` | one system call a link and 64 frames in a row of one kind (TUN: a write each) | frames, which are counted |
//! | `insert`, `remove` | as `flush`, for what waits to be sent | |
//! | `examine`, `adjust`, `set_busy` | several system calls; another fanout program: as the next line | |
//! | opening a [`Port`], and dropping it | many system calls, some of which wait for all processors: tens of milliseconds | opening |
//!
//! Rules kept: no frame is waited for, nor room for one. A port that is full, slow or gone counts what it loses by
//! [`PortDrop`] and serves the others on. Frames leave a link in the order they were sent to it.
//! Descriptors are edge-safe: after an edge, go on until `ready` gives less than its limit.
//!
//! ```
//! use ulvs::base::LinkId;
//! use ulvs::port::memory::{self, MemoryFrame, WireKind};
//! use ulvs::port::{Held, Ports};
//! use ulvs::wire::{LinkHeader, Offload};
//!
//! let (port, far) = memory::wire(WireKind::Ethernet)?;
//! let link = LinkId(0);
//! let mut ports = Ports::new();
//! ports.insert(link, port);
//! far.deliver(MemoryFrame { bytes: vec![0x08; 60], offload: Offload::NONE });
//!
//! for index in 0..ports.ready(link, 64) {
//!     let Ok(mut frame) = ports.frame(link, index) else { continue };
//!     let LinkHeader::Ethernet { destination, source, kind } = frame.link_header() else { continue };
//!     frame.packet_mut()[8] = 63;
//!     let held = Held::of(index, &frame);
//!     // What fails is counted.
//!     let _ = ports.send(link, &held, LinkHeader::Ethernet { destination: source, source: destination, kind });
//! }
//! ports.flush();
//! assert_eq!(far.collect().unwrap().bytes[22], 63);
//! # Ok::<(), std::io::Error>(())
//! ```

pub mod af_packet;
pub mod af_xdp;
mod batch;
pub mod bpf;
pub mod counters;
mod envelope;
pub mod error;
pub mod event;
mod input;
pub mod memory;
mod output;
mod ports;
mod sys;
#[cfg(test)]
mod tests;
pub mod tun;

pub use af_packet::{Adjustment, Fanout, FanoutGroup, GroupNumbers, LongFrames, PacketOptions, Queueing, Reception};
pub use af_xdp::XdpOptions;
pub use af_xdp::selection::Selection;
pub use af_xdp::selector::Selector;
pub use counters::{Counters, PortDrop};
pub use envelope::{Held, packet_offload};
pub use error::PortError;
pub use event::PortEvent;
pub use ports::{Port, Ports};
pub use sys::xdp::Step as XdpStep;
pub use sys::xdp::send::{Taken, XdpSender};
pub use tun::TunOptions;
