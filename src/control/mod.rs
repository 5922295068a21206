//! Control.
pub mod message;
