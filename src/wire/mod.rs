//! Bytes and their meaning: headers read and edited in place, checksums, offload metadata.

pub mod checksum;
pub mod dissect;
pub mod fragment;
pub mod frame;
pub mod ip;
pub mod offload;
pub mod originate;
mod outline;
pub mod reassembly;
#[cfg(test)]
mod second_opinion;
pub mod segment;
pub mod sync;
pub mod transport;

pub use dissect::{Dissected, FragmentPart, Malformed};
pub use frame::{EtherType, Frame, LinkHeader};
pub use offload::Offload;
