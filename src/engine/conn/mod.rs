//! The connection table: who talks to which real server, in which state, until when.
//!
//! One entry serves both directions. Entries are found through one hash over what both
//! directions share, the client's address and port; within a chain the newest entry comes
//! first, so that a rescheduled connection hides the old one until that is gone.

mod entry;
mod table;
mod timer;

pub use entry::{ConnFlags, Connection, Sent, TupleKey};
pub use table::{Chain, ConnectionTable, Removed, TableFull};
pub use timer::Budget;
