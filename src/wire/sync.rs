//! Messages of connection synchronisation, as one director sends them to another over UDP.
//!
//! One datagram is one message: a header, then entries, each one connection or template.
//!
//! ```text
//! version 1   0:1 zero · 1:1 sync id · 2:2 length · 4:1 entries · 5:1 version (1) · 6:2 zero
//!   entry     0:1 type · 1:1 protocol · 2:2 version (0) and size · 4:4 flags · 8:2 state
//!             10:2 client port · 12:2 virtual port · 14:2 destination port · 16:4 mark
//!             20:4 timeout · 24 client, virtual and destination address, of 4 or 16 bytes
//!             then options: type, length, data
//! version 0   0:1 entries · 1:1 sync id · 2:2 length
//!   entry     0:1 zero · 1:1 protocol · 2:2 client port · 4:2 virtual port · 6:2 destination port
//!             8:4 client · 12:4 virtual · 16:4 destination · 20:2 flags · 22:2 state
//!             then 24 bytes of sequence data where the flags say so
//! ```
//!
//! Entries of version 1 begin at multiples of four bytes; the padding lies between them. Numbers
//! are big-endian, except the sequence data of version 0, which is in the sender's order. What is
//! read here is what ip_vs reads, and what it drops is dropped, with a [`Fault`] that names it.

mod read;
mod write;

#[cfg(test)]
mod tests;

use crate::base::{Address, Family, Port, Protocol};

pub use read::{Entries, Message};
pub use write::{MostEntries, Version, entry_length, finish, push, start};

/// The flags of a connection that say that sequence numbers are adjusted.
pub const SEQUENCE_FLAGS: u32 = 0x0600;
/// Longest name of a persistence engine.
pub const ENGINE_NAME_LENGTH: usize = 16;
/// Longest data of a persistence engine.
pub const ENGINE_DATA_LENGTH: usize = 255;

/// How far one direction's sequence numbers are moved, since when, and by how much before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Adjustment {
    pub initial: u32,
    pub delta: u32,
    pub previous_delta: u32,
}

/// The adjustments of both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Sequence {
    pub inbound: Adjustment,
    pub outbound: Adjustment,
}

/// What a persistence engine recognises a template by. Empty where an entry carries none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Recognised<'a> {
    pub engine: &'a [u8],
    pub data: &'a [u8],
}

/// One connection or template, as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub family: Family,
    /// 0 in templates of mark services.
    pub protocol: Protocol,
    pub flags: u32,
    pub state: u16,
    pub client_port: Port,
    pub virtual_port: Port,
    pub destination_port: Port,
    pub mark: u32,
    /// Seconds; 0 where the receiver is to know itself (always in version 0).
    pub timeout: u32,
    pub client: Address,
    pub virtual_address: Address,
    pub destination: Address,
    pub sequence: Option<Sequence>,
}

/// Why a message, the rest of it, or one entry is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Shorter than a header.
    Short,
    /// The datagram is not as long as its header says.
    Length,
    /// An entry runs past the message's end.
    Cut,
    /// An entry of a version that is not known.
    EntryVersion,
    /// An entry is neither of IPv4 nor of IPv6.
    EntryType,
    /// An entry is too small for its type.
    EntrySize,
    /// An option runs past its entry's end, or has no data, or too much.
    OptionLength,
    /// The same option twice.
    OptionTwice,
    /// An option that is not known and may not be ignored. The other entries are read on.
    OptionUnknown,
}

impl Fault {
    /// Whether only one entry is lost, not the rest of the message.
    pub fn is_of_one_entry(self) -> bool {
        self == Fault::OptionUnknown
    }
}

/// Header of version 1.
mod header {
    use std::ops::Range;

    pub const SYNC_ID: usize = 1;
    pub const LENGTH: Range<usize> = 2..4;
    pub const COUNT_V0: usize = 0;
    pub const COUNT: usize = 4;
    pub const VERSION: usize = 5;
    pub const SPARE: Range<usize> = 6..8;
    pub const SIZE_V0: usize = 4;
    pub const SIZE: usize = 8;
}

/// Fixed part of an entry of version 1.
mod entry {
    use std::ops::Range;

    pub const TYPE: usize = 0;
    pub const PROTOCOL: usize = 1;
    pub const VERSION_SIZE: Range<usize> = 2..4;
    pub const FLAGS: Range<usize> = 4..8;
    pub const STATE: Range<usize> = 8..10;
    pub const CLIENT_PORT: Range<usize> = 10..12;
    pub const VIRTUAL_PORT: Range<usize> = 12..14;
    pub const DESTINATION_PORT: Range<usize> = 14..16;
    pub const MARK: Range<usize> = 16..20;
    pub const TIMEOUT: Range<usize> = 20..24;
    pub const ADDRESSES: usize = 24;

    pub const IS_V6: u8 = 1;
    pub const SIZE_MASK: u16 = 0x0fff;
    pub const VERSION_SHIFT: u32 = 12;

    pub const SIZE_V4: usize = ADDRESSES + 3 * 4;
    pub const SIZE_V6: usize = ADDRESSES + 3 * 16;
}

/// Entry of version 0.
mod entry_v0 {
    use std::ops::Range;

    pub const PROTOCOL: usize = 1;
    pub const CLIENT_PORT: Range<usize> = 2..4;
    pub const VIRTUAL_PORT: Range<usize> = 4..6;
    pub const DESTINATION_PORT: Range<usize> = 6..8;
    pub const CLIENT: Range<usize> = 8..12;
    pub const VIRTUAL: Range<usize> = 12..16;
    pub const DESTINATION: Range<usize> = 16..20;
    pub const FLAGS: Range<usize> = 20..22;
    pub const STATE: Range<usize> = 22..24;
    pub const SIZE: usize = 24;
}

/// Options of an entry of version 1.
mod option {
    pub const HEADER: usize = 2;
    pub const SEQUENCE: u8 = 1;
    pub const ENGINE_DATA: u8 = 2;
    pub const ENGINE_NAME: u8 = 3;
    /// Who does not know the option may ignore it.
    pub const MAY_IGNORE: u8 = 0x40;
}

/// Length of sequence data.
const SEQUENCE_SIZE: usize = 24;
