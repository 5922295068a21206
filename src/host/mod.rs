//! The machine around us: links, routes, neighbours, the guard, and whether it is needed.
//!
//! ```text
//! the director ─┬─ posture               which way keeps the kernel out, address by address:
//!               │                        virtual_mac, guard, or nothing needed
//!               ├─ network ── netlink ── the kernel's links, addresses, routes, neighbours
//!               ├─ neighbour             link-layer addresses, known or asked for (question), frames
//!               │                        waiting meanwhile (pending)
//!               ├─ responder             ARP and neighbour discovery answered for what we own, in the
//!               │                        groups where it is asked for (membership)
//!               ├─ guard ─── nftables    what the kernel must not answer or forward besides us
//!               └─ tunway                routes and rules that lead packets into a TUN device instead
//! ```
//!
//! What decides is pure, told the time and handed frames; the rest talks to the kernel by netlink
//! and holds what it changed: dropping it undoes it.

pub mod arp;
pub mod discovery;
pub mod guard;
pub mod malformed;
pub mod membership;
pub mod neighbour;
pub mod netlink;
pub mod network;
pub mod nftables;
pub mod pending;
pub mod posture;
pub mod question;
pub mod responder;
pub mod sys;
pub mod taps;
#[cfg(test)]
pub mod testing;
pub mod tunway;
pub mod virtual_mac;

pub use sys::{add_nice, interface_mtu, keep_descriptors, populate, prefer_huge_pages, set_nice};
