//! The system calls and shared memory behind the ports: the only `unsafe` of this layer.
//!
//! Everything that leaves this module is an owned descriptor, a checked slice or a plain number,
//! so that its callers are safe code.

pub mod bpf;
pub mod channels;
pub mod geometry;
#[cfg(test)]
pub mod namespace;
pub mod ring;
pub mod socket;
pub mod tun;
pub mod xdp;
