//! The engine as a whole: frames in, verdicts and frames out.
//!
//! - [`world`]: an engine on a small network, and [`packet`]: the packets that are put into it.
//! - [`sound`]: a second, independent parser that judges what comes out.
//! - `reasons`, `offloads`: tables of single frames; `anything`, `counters`, `nat`: properties.

mod anything;
mod counters;
mod nat;
mod offloads;
mod packet;
mod reasons;
mod sound;
mod world;
