//! `ulvs run`: the director of this network namespace.
//!
//! ```text
//! control thread: server ─┬─ Director ── Workers (mailboxes) ── worker threads
//!                         └─ Surroundings: links, addresses, guard (Keeper), local servers
//! ```

mod keeper;
mod listener;
mod local_servers;
mod options;
mod permit;
mod server;
mod start;
mod surroundings;
mod tunnels;
mod workers;
mod xdp;

pub use options::{Cores, Options, VipMac};
pub use start::{ensure, run};
