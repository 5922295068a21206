//! Bytes and their meaning: headers read and edited in place, checksums, offload metadata.

pub mod checksum;
pub mod dissect;
pub mod fragment;
pub mod frame;
pub mod ip;
pub mod offload;
pub mod originate;
pub mod reassembly;
pub mod segment;
pub mod transport;

pub use dissect::{Dissected, FragmentPart, Malformed};
pub use frame::{EtherType, Frame, LinkHeader};
pub use offload::Offload;
