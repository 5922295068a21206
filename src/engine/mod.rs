//! The balancer. Pure: no sockets, clock, threads, randomness, logging or globals.

pub mod conn;
pub mod proto;
pub mod sched;
pub mod server;
