//! Putting messages together, in buffers that are used again.

use crate::base::{Address, Family};

use super::{Entry, Recognised, SEQUENCE_SIZE, Sequence, entry, entry_v0, header, option};

/// Which form a message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// IPv4 alone, without timeouts, marks and persistence engines.
    Zero,
    One,
}

/// The count of a message is one byte: the message holds as many entries as it can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message holds as many entries as it can count")]
pub struct MostEntries;

/// Begins a message in `message`, whatever that held.
pub fn start(message: &mut Vec<u8>, version: Version, sync_id: u8) {
    message.clear();
    match version {
        Version::Zero => message.extend([0, sync_id, 0, 0]),
        Version::One => message.extend([0, sync_id, 0, 0, 0, 1, 0, 0]),
    }
}

/// Bytes that the entry takes, without the padding before it.
pub fn entry_length(version: Version, entry: &Entry, recognised: &Recognised) -> usize {
    match version {
        Version::Zero => entry_v0::SIZE + if entry.sequence.is_some() { SEQUENCE_SIZE } else { 0 },
        Version::One => {
            let fixed = match entry.family {
                Family::V4 => entry::SIZE_V4,
                Family::V6 => entry::SIZE_V6,
            };
            let option = |length: usize| if length > 0 { option::HEADER + length } else { 0 };
            let sequence = entry.sequence.map_or(0, |_| SEQUENCE_SIZE);
            fixed + option(sequence) + option(recognised.data.len()) + option(recognised.engine.len())
        }
    }
}

/// Adds an entry to a message of this version. An IPv6 one has no place in version 0 and is the
/// caller's to keep away.
///
/// # Errors
/// [`MostEntries`] after 255.
pub fn push(
    message: &mut Vec<u8>,
    version: Version,
    entry: &Entry,
    recognised: &Recognised,
) -> Result<(), MostEntries> {
    let place = match version {
        Version::Zero => header::COUNT_V0,
        Version::One => header::COUNT,
    };
    let count = message.get_mut(place).ok_or(MostEntries)?;
    *count = count.checked_add(1).ok_or(MostEntries)?;
    match version {
        Version::Zero => push_v0(message, entry),
        Version::One => push_v1(message, entry, recognised),
    }
    Ok(())
}

/// Writes the message's length into its header.
pub fn finish(message: &mut [u8]) {
    let length = message.len().min(usize::from(u16::MAX)) as u16;
    if let Some(place) = message.get_mut(header::LENGTH) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

fn push_v1(message: &mut Vec<u8>, entry: &Entry, recognised: &Recognised) {
    message.resize(message.len().next_multiple_of(4), 0);
    let kind = match entry.family {
        Family::V4 => 0,
        Family::V6 => entry::IS_V6,
    };
    let size = entry_length(Version::One, entry, recognised) as u16 & entry::SIZE_MASK;
    message.extend([kind, entry.protocol.0]);
    message.extend(size.to_be_bytes());
    message.extend(entry.flags.to_be_bytes());
    for half in [entry.state, entry.client_port.0, entry.virtual_port.0, entry.destination_port.0] {
        message.extend(half.to_be_bytes());
    }
    message.extend(entry.mark.to_be_bytes());
    message.extend(entry.timeout.to_be_bytes());
    for address in [entry.client, entry.virtual_address, entry.destination] {
        push_address(message, entry.family, address);
    }
    if let Some(sequence) = &entry.sequence {
        message.extend([option::SEQUENCE, SEQUENCE_SIZE as u8]);
        push_sequence(message, sequence, u32::to_be_bytes);
    }
    for (kind, data) in [(option::ENGINE_DATA, recognised.data), (option::ENGINE_NAME, recognised.engine)] {
        if !data.is_empty() {
            // Both are bounded to one byte of length where they come from.
            message.extend([kind, data.len() as u8]);
            message.extend(data);
        }
    }
}

fn push_v0(message: &mut Vec<u8>, entry: &Entry) {
    message.extend([0, entry.protocol.0]);
    for port in [entry.client_port, entry.virtual_port, entry.destination_port] {
        message.extend(port.0.to_be_bytes());
    }
    for address in [entry.client, entry.virtual_address, entry.destination] {
        push_address(message, Family::V4, address);
    }
    message.extend((entry.flags as u16).to_be_bytes());
    message.extend(entry.state.to_be_bytes());
    if let Some(sequence) = &entry.sequence {
        push_sequence(message, sequence, u32::to_ne_bytes);
    }
}

fn push_address(message: &mut Vec<u8>, family: Family, address: Address) {
    match family {
        Family::V4 => message.extend(address.octets4()),
        Family::V6 => message.extend(address.octets16()),
    }
}

fn push_sequence(message: &mut Vec<u8>, sequence: &Sequence, bytes: fn(u32) -> [u8; 4]) {
    for one in [sequence.inbound, sequence.outbound] {
        for number in [one.initial, one.delta, one.previous_delta] {
            message.extend(bytes(number));
        }
    }
}
