//! `ulvs run`: the director of this network namespace.
//!
//! ```text
//! control thread: server ─┬─ Session: a client of the control socket
//!                         ├─ Director ── Workers (mailboxes) ── worker threads ── memory, closer: what they must not wait for
//!                         └─ Surroundings ─┬─ Addresses: what is answered for
//!                                          ├─ LinkPorts (XdpPorts, Tunnels), or TunEntry: how packets come and go
//!                                          ├─ LocalServers: real servers on this host
//!                                          └─ Keeper: the guard
//! ```

mod addresses;
mod barriers;
mod closer;
mod keeper;
mod listener;
mod local_servers;
mod memory;
mod options;
mod permit;
mod ports;
mod reading;
mod server;
mod session;
mod start;
mod surroundings;
mod tun;
mod tunnels;
mod workers;
mod xdp;

pub use options::{Cores, Options, VipMac};
pub use start::{ensure, run};
