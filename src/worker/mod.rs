//! One pinned single-threaded event loop a core.
//!
//! A worker owns an engine, the ports it serves, and what it knows of next hops. Control reaches
//! it through its [`Mailbox`] alone. Several workers share two things that more than one thread writes: the queues by
//! which strays and what is learned of neighbours are handed over ([`handover`]), and the number of connections of
//! destinations that have thresholds ([`Crowd`](crate::engine::server::Crowd)). No packet of a known connection waits for either.

mod announcing;
mod clock;
pub mod closing;
mod copied;
mod firsts;
pub mod handover;
mod hops;
pub mod mailbox;
mod pace;
pub mod provision;
pub mod question;
mod rivals;
mod sharing;
mod teller;
mod turn;
mod waiting;

pub use clock::Clock;
pub use mailbox::{Mailbox, Message, Told};
pub use turn::{EXPIRIES, LEAVING, Worker};
