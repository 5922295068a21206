//! The ground everything stands on: addresses, ids, time, hashing.
//!
//! Nothing here knows about packets, services or sockets.

pub mod address;
pub mod hash;
pub mod id;
pub mod random;
pub mod sharded;
pub mod time;

pub use address::{Address, Family, Mac, Port, Prefix, Protocol};
pub use id::{ConnectionId, DestinationId, LinkId, ServiceId};
pub use time::Tick;
