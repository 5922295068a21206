//! One pinned single-threaded event loop a core.

pub mod question;
