//! Taking messages apart.

use crate::base::{Address, Family, Port, Protocol};

use super::{
    Adjustment, ENGINE_DATA_LENGTH, ENGINE_NAME_LENGTH, Entry, Fault, Recognised, SEQUENCE_FLAGS, SEQUENCE_SIZE,
    Sequence, entry, entry_v0, header, option,
};

/// A message whose length is what it says.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub sync_id: u8,
    bytes: &'a [u8],
    count: u8,
    is_v0: bool,
}

impl<'a> Message<'a> {
    /// # Errors
    /// [`Fault::Short`] or [`Fault::Length`].
    pub fn read(bytes: &'a [u8]) -> Result<Message<'a>, Fault> {
        if bytes.len() < header::SIZE_V0 {
            return Err(Fault::Short);
        }
        if bytes.len() != usize::from(half(&bytes[header::LENGTH])) {
            return Err(Fault::Length);
        }
        let is_v1 = bytes.len() >= header::SIZE
            && bytes[header::VERSION] == 1
            && bytes[header::COUNT_V0] == 0
            && bytes[header::SPARE] == [0, 0];
        let count = bytes[if is_v1 { header::COUNT } else { header::COUNT_V0 }];
        Ok(Message { sync_id: bytes[header::SYNC_ID], bytes, count, is_v0: !is_v1 })
    }

    /// The entries, until one breaks the rest of the message.
    pub fn entries(&self) -> Entries<'a> {
        let at = if self.is_v0 { header::SIZE_V0 } else { header::SIZE };
        Entries { bytes: self.bytes, at, left: self.count, is_v0: self.is_v0 }
    }
}

/// The entries of a message, one after the other.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    bytes: &'a [u8],
    at: usize,
    left: u8,
    is_v0: bool,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<(Entry, Recognised<'a>), Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let read = if self.is_v0 { self.next_v0() } else { self.next_v1() };
        if read.as_ref().is_err_and(|fault| !fault.is_of_one_entry()) {
            self.left = 0;
        }
        Some(read)
    }
}

impl<'a> Entries<'a> {
    fn next_v1(&mut self) -> Result<(Entry, Recognised<'a>), Fault> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if rest.len() < entry::SIZE_V4 {
            return Err(Fault::Cut);
        }
        let version_size = half(&rest[entry::VERSION_SIZE]);
        let size = usize::from(version_size & entry::SIZE_MASK);
        let whole = rest.get(..size).ok_or(Fault::Cut)?;
        if version_size >> entry::VERSION_SHIFT != 0 {
            return Err(Fault::EntryVersion);
        }
        let kind = rest[entry::TYPE];
        let (family, fixed) = match kind {
            _ if kind & entry::IS_V6 != 0 => (Family::V6, entry::SIZE_V6),
            0 => (Family::V4, entry::SIZE_V4),
            _ => return Err(Fault::EntryType),
        };
        if size < fixed {
            return Err(Fault::EntrySize);
        }
        self.at += size.next_multiple_of(4);
        let (fields, options) = whole.split_at(fixed);
        let options = read_options(options)?;
        let length = family.address_length();
        let address =
            |index: usize| Address::read(family, &fields[entry::ADDRESSES + index * length..]).unwrap_or(Address::ZERO);
        let read = Entry {
            family,
            protocol: Protocol(fields[entry::PROTOCOL]),
            flags: word(&fields[entry::FLAGS]),
            state: half(&fields[entry::STATE]),
            client_port: Port(half(&fields[entry::CLIENT_PORT])),
            virtual_port: Port(half(&fields[entry::VIRTUAL_PORT])),
            destination_port: Port(half(&fields[entry::DESTINATION_PORT])),
            mark: word(&fields[entry::MARK]),
            timeout: word(&fields[entry::TIMEOUT]),
            client: address(0),
            virtual_address: address(1),
            destination: address(2),
            sequence: options.sequence,
        };
        Ok((read, options.recognised))
    }

    fn next_v0(&mut self) -> Result<(Entry, Recognised<'a>), Fault> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let (fields, rest) = rest.split_at_checked(entry_v0::SIZE).ok_or(Fault::Cut)?;
        self.at += entry_v0::SIZE;
        let flags = u32::from(half(&fields[entry_v0::FLAGS]));
        let sequence = if flags & SEQUENCE_FLAGS != 0 {
            self.at += SEQUENCE_SIZE;
            // In the sender's order of bytes, which is taken for ours.
            Some(read_sequence(rest.get(..SEQUENCE_SIZE).ok_or(Fault::Cut)?, u32::from_ne_bytes))
        } else {
            None
        };
        let address =
            |range: std::ops::Range<usize>| Address::read(Family::V4, &fields[range]).unwrap_or(Address::ZERO);
        let read = Entry {
            family: Family::V4,
            protocol: Protocol(fields[entry_v0::PROTOCOL]),
            flags,
            state: half(&fields[entry_v0::STATE]),
            client_port: Port(half(&fields[entry_v0::CLIENT_PORT])),
            virtual_port: Port(half(&fields[entry_v0::VIRTUAL_PORT])),
            destination_port: Port(half(&fields[entry_v0::DESTINATION_PORT])),
            mark: 0,
            timeout: 0,
            client: address(entry_v0::CLIENT),
            virtual_address: address(entry_v0::VIRTUAL),
            destination: address(entry_v0::DESTINATION),
            sequence,
        };
        Ok((read, Recognised::default()))
    }
}

#[derive(Default)]
struct Options<'a> {
    sequence: Option<Sequence>,
    recognised: Recognised<'a>,
}

fn read_options(mut rest: &[u8]) -> Result<Options<'_>, Fault> {
    let mut options = Options::default();
    while !rest.is_empty() {
        let (head, after) = rest.split_at_checked(option::HEADER).ok_or(Fault::OptionLength)?;
        let (kind, length) = (head[0], usize::from(head[1]));
        if length == 0 {
            return Err(Fault::OptionLength);
        }
        let (data, after) = after.split_at_checked(length).ok_or(Fault::OptionLength)?;
        rest = after;
        match kind & !option::MAY_IGNORE {
            option::SEQUENCE => {
                if length != SEQUENCE_SIZE {
                    return Err(Fault::OptionLength);
                }
                if options.sequence.replace(read_sequence(data, u32::from_be_bytes)).is_some() {
                    return Err(Fault::OptionTwice);
                }
            }
            option::ENGINE_DATA => once(&mut options.recognised.data, data, ENGINE_DATA_LENGTH)?,
            option::ENGINE_NAME => once(&mut options.recognised.engine, data, ENGINE_NAME_LENGTH)?,
            _ if kind & option::MAY_IGNORE != 0 => {}
            _ => return Err(Fault::OptionUnknown),
        }
    }
    Ok(options)
}

/// Takes an option of at most `longest` bytes that may come once.
fn once<'a>(field: &mut &'a [u8], data: &'a [u8], longest: usize) -> Result<(), Fault> {
    if data.len() > longest {
        return Err(Fault::OptionLength);
    }
    if !field.is_empty() {
        return Err(Fault::OptionTwice);
    }
    *field = data;
    Ok(())
}

fn read_sequence(bytes: &[u8], number: fn([u8; 4]) -> u32) -> Sequence {
    let mut numbers = [0; 6];
    for (place, chunk) in numbers.iter_mut().zip(bytes.chunks_exact(4)) {
        *place = number([chunk[0], chunk[1], chunk[2], chunk[3]]);
    }
    let [initial, delta, previous_delta, out_initial, out_delta, out_previous] = numbers;
    Sequence {
        inbound: Adjustment { initial, delta, previous_delta },
        outbound: Adjustment { initial: out_initial, delta: out_delta, previous_delta: out_previous },
    }
}

fn half(bytes: &[u8]) -> u16 {
    bytes.first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes))
}

fn word(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}
