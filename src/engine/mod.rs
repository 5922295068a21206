//! The balancer. Pure: no sockets, clock, threads, randomness, logging or globals.

pub mod conn;
pub mod sched;
pub mod server;
