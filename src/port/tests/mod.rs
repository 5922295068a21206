//! The ports against the real kernel, in network namespaces that go when their test ends.
//!
//! Where the machine does not permit that, a test says so on its output and is not run.

mod barrier;
mod chunks;
mod fanout;
mod lab;
mod packet;
mod transfer;
mod tun;
mod tunnels;
mod xdp;
