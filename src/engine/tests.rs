//! The engine as a whole: frames in, verdicts and frames out.
//!
//! - [`world`]: an engine on a small network, and [`packet`]: the packets that are put into it.
//! - [`sound`]: a second, independent parser that judges what comes out.
//! - `reasons`, `offloads`: tables of single frames; `anything`, `counters`, `nat`: properties;
//!   `errors`: what senders are told, and tell; `marks`: services by firewall mark; `ftp`: sessions;
//!   `synchronisation`: what one engine tells another; `defences`: what floods lead to; `former`: connections that
//!   outlive their destination; `guarded`: what is ours beside a kernel that forwards; `local_server`: servers of the
//!   host itself; `found`: what random scenarios found to differ.
//! - [`fuzz`]: whatever bytes ask for, changes and time included.

// Fuzzing needs the world and the second parser, not every kind of packet that tests have.
#![cfg_attr(not(test), allow(dead_code))]

#[cfg(test)]
mod anything;
#[cfg(test)]
mod counters;
#[cfg(test)]
mod crowds;
#[cfg(test)]
mod defences;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod former;
#[cfg(test)]
mod found;
#[cfg(test)]
mod ftp;
pub mod fuzz;
#[cfg(test)]
mod guarded;
#[cfg(test)]
mod local_server;
#[cfg(test)]
mod marks;
#[cfg(test)]
mod nat;
#[cfg(test)]
mod offloads;
mod packet;
#[cfg(test)]
mod portions;
#[cfg(test)]
mod reasons;
mod sound;
#[cfg(test)]
mod synchronisation;
mod world;

#[cfg(test)]
use super::{Engine, Verdict};
#[cfg(test)]
use crate::base::{LinkId, Tick};
#[cfg(test)]
use crate::wire::{Frame, Offload};

/// How many packets leave an engine for an Ethernet frame; for tests of layers that do not know frames.
#[cfg(test)]
pub fn count_sent(engine: &mut Engine, link: LinkId, bytes: &[u8]) -> usize {
    let (mut buffer, end) = (bytes.to_vec(), bytes.len());
    let mut frame = Frame::ethernet(&mut buffer, 0, end, link, Offload::NONE).expect("a frame of at least a header");
    let verdict = engine.handle(Tick(1000), &mut frame);
    let count = usize::from(matches!(verdict, Verdict::Transmit(_))) + engine.outbox().packets().len();
    engine.outbox().clear();
    count
}
