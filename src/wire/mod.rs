//! Bytes and their meaning: headers read and edited in place, checksums, offload metadata.

pub mod fragment;
pub mod frame;
pub mod offload;
pub mod originate;
pub mod reassembly;
pub mod segment;

pub use frame::{EtherType, Frame, LinkHeader};
pub use offload::Offload;
