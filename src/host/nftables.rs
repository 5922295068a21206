//! nf_tables by raw messages: just enough to keep one table of our own (libnftnl(3), nft(8)).
//!
//! No `nft` binary is needed and no crate that wraps one. Numbers and layouts are those of
//! `linux/netfilter/nf_tables.h`; everything multi-byte is big-endian.
//!
//! Commands travel in a [`Batch`], which the kernel carries out as a whole or not at all. All
//! messages of a batch share one sequence number and only the last asks to be acknowledged, so
//! the first answer to that number is the verdict on the whole.

pub mod expression;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NlasIterator};

use super::netlink::{Connection, NetlinkError};

/// `NFNL_SUBSYS_NFTABLES`: the high byte of every message type.
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NETLINK_HEADER_LENGTH: usize = 16;
/// Where the flags stand in a message.
const FLAGS: std::ops::Range<usize> = 6..8;
/// `NFT_TABLE_F_OWNER`: the table belongs to the socket that made it, and goes with it.
pub const OWNER_FLAG: u32 = 2;

/// The families of tables that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TableFamily {
    /// IPv4 and IPv6, at the hooks of the IP stack.
    Inet = 1,
    /// Frames of one interface, before the IP stack sees them.
    Netdev = 5,
}

/// A command to nf_tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    NewTable = 0,
    GetTable = 1,
    DeleteTable = 2,
    NewChain = 3,
    DeleteChain = 5,
    NewRule = 6,
    DeleteRule = 8,
    NewSet = 9,
    NewElements = 12,
    DeleteElements = 14,
}

/// Attribute numbers, by the object they describe.
pub mod attribute {
    pub const LIST_ELEMENT: u16 = 1;
    pub const TABLE_NAME: u16 = 1;
    pub const TABLE_FLAGS: u16 = 2;
    pub const TABLE_OWNER: u16 = 7;
    pub const CHAIN_TABLE: u16 = 1;
    pub const CHAIN_NAME: u16 = 3;
    pub const CHAIN_HOOK: u16 = 4;
    pub const CHAIN_POLICY: u16 = 5;
    pub const CHAIN_TYPE: u16 = 7;
    pub const HOOK_NUMBER: u16 = 1;
    pub const HOOK_PRIORITY: u16 = 2;
    pub const HOOK_DEVICE: u16 = 3;
    pub const RULE_TABLE: u16 = 1;
    pub const RULE_CHAIN: u16 = 2;
    pub const RULE_EXPRESSIONS: u16 = 4;
    pub const SET_TABLE: u16 = 1;
    pub const SET_NAME: u16 = 2;
    pub const SET_KEY_TYPE: u16 = 4;
    pub const SET_KEY_LENGTH: u16 = 5;
    pub const SET_ID: u16 = 10;
    pub const SET_USER_DATA: u16 = 13;
    pub const ELEMENTS_TABLE: u16 = 1;
    pub const ELEMENTS_SET: u16 = 2;
    pub const ELEMENTS_LIST: u16 = 3;
    pub const ELEMENT_KEY: u16 = 1;
    pub const DATA_VALUE: u16 = 1;
    pub const DATA_VERDICT: u16 = 2;
}

/// Attributes being written behind one another.
pub struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Attributes<'_> {
    pub fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.attribute(kind, |bytes| bytes.extend_from_slice(value))
    }

    pub fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        self.attribute(kind, |bytes| {
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0);
        })
    }

    pub fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// An attribute that holds attributes.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes)) -> &mut Self {
        const NESTED: u16 = 1 << 15;
        self.attribute(kind | NESTED, |bytes| fill(&mut Attributes { bytes }))
    }

    fn attribute(&mut self, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        fill(self.bytes);
        let length = self.bytes.len() - start;
        debug_assert!(length <= usize::from(u16::MAX), "an attribute is counted by 16 bits");
        if let Some(header) = self.bytes.get_mut(start..start + 4) {
            header[..2].copy_from_slice(&(length as u16).to_ne_bytes());
            header[2..].copy_from_slice(&kind.to_ne_bytes());
        }
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }
}

/// Commands that the kernel carries out together or not at all.
pub struct Batch {
    bytes: Vec<u8>,
    sequence: u32,
    /// Where the last command starts.
    last: Option<usize>,
}

impl Batch {
    pub fn new(connection: &mut Connection) -> Batch {
        let mut batch = Batch { bytes: Vec::new(), sequence: connection.next_sequence(), last: None };
        batch.frame(BATCH_BEGIN);
        batch
    }

    /// Adds a command about a table of `family`; `flags` beyond the usual ones.
    pub fn add(&mut self, command: Command, flags: u16, family: TableFamily, fill: impl FnOnce(&mut Attributes)) {
        let kind = SUBSYSTEM << 8 | command as u16;
        self.last = Some(self.bytes.len());
        message(&mut self.bytes, kind, NLM_F_REQUEST | flags, self.sequence, family as u8, 0, fill);
    }

    /// Bytes so far: the kernel takes a batch in one piece, which a socket buffer must hold.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// Has the batch carried out, and waits for the verdict.
    ///
    /// # Errors
    /// Where a command is refused: then none was carried out.
    pub fn commit(mut self, connection: &mut Connection) -> Result<(), NetlinkError> {
        let Some(last) = self.last else {
            return Ok(());
        };
        if let Some(flags) = self.bytes.get_mut(last + FLAGS.start..last + FLAGS.end) {
            let all = u16::from_ne_bytes([flags[0], flags[1]]) | NLM_F_ACK;
            flags.copy_from_slice(&all.to_ne_bytes());
        }
        self.frame(BATCH_END);
        connection.send(&self.bytes)?;
        loop {
            for message in connection.receive()?.filter(|message| message.sequence == self.sequence) {
                if let Some(outcome) = message.outcome() {
                    return outcome;
                }
            }
        }
    }

    fn frame(&mut self, kind: u16) {
        message(&mut self.bytes, kind, NLM_F_REQUEST, self.sequence, 0, SUBSYSTEM, |_| {});
    }
}

/// A table that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExistingTable {
    /// The number of its family.
    pub family: u8,
    pub name: String,
    /// The netlink address of the socket that owns it.
    pub owner: Option<u32>,
}

/// Lists the tables of this network namespace.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN here.
pub fn tables(connection: &mut Connection) -> Result<Vec<ExistingTable>, NetlinkError> {
    let sequence = connection.next_sequence();
    let mut request = Vec::new();
    let kind = SUBSYSTEM << 8 | Command::GetTable as u16;
    message(&mut request, kind, NLM_F_REQUEST | NLM_F_DUMP, sequence, 0, 0, |_| {});
    connection.send(&request)?;
    let mut tables = Vec::new();
    loop {
        for message in connection.receive()?.filter(|message| message.sequence == sequence) {
            if let Some(outcome) = message.outcome() {
                return outcome.map(|()| tables);
            }
            tables.extend(existing_table(message.payload));
        }
    }
}

fn existing_table(payload: &[u8]) -> Option<ExistingTable> {
    let (&[family, ..], attributes) = payload.split_first_chunk::<4>()?;
    let mut table = ExistingTable { family, name: String::new(), owner: None };
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute.ok()?;
        match attribute.kind() {
            attribute::TABLE_NAME => {
                table.name = String::from_utf8_lossy(attribute.value()).trim_end_matches('\0').to_owned();
            }
            attribute::TABLE_OWNER => {
                table.owner = attribute.value().first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
            }
            _ => {}
        }
    }
    Some(table)
}

/// Writes one message: the netlink header, nfnetlink's four bytes, attributes.
fn message(
    bytes: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    sequence: u32,
    family: u8,
    resource: u16,
    fill: impl FnOnce(&mut Attributes),
) {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; NETLINK_HEADER_LENGTH]);
    bytes.extend_from_slice(&[family, 0]);
    bytes.extend_from_slice(&resource.to_be_bytes());
    fill(&mut Attributes { bytes });
    let length = (bytes.len() - start) as u32;
    if let Some(header) = bytes.get_mut(start..start + NETLINK_HEADER_LENGTH) {
        header[..4].copy_from_slice(&length.to_ne_bytes());
        header[4..6].copy_from_slice(&kind.to_ne_bytes());
        header[FLAGS].copy_from_slice(&flags.to_ne_bytes());
        header[8..12].copy_from_slice(&sequence.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_nest_and_are_padded() {
        let mut bytes = Vec::new();
        Attributes { bytes: &mut bytes }.text(1, "ulvs").nest(4, |inner| {
            inner.number(2, 0x0102_0304).bytes(3, &[7]);
        });
        let mut expected = vec![9, 0, 1, 0, b'u', b'l', b'v', b's', 0, 0, 0, 0];
        expected.extend([20, 0, 4, 0x80, 8, 0, 2, 0, 1, 2, 3, 4, 5, 0, 3, 0, 7, 0, 0, 0]);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_listed_table_is_understood() {
        let mut payload = vec![5, 0, 0, 0];
        Attributes { bytes: &mut payload }.text(attribute::TABLE_NAME, "ulvs").number(attribute::TABLE_OWNER, 77);
        let expected = ExistingTable { family: 5, name: "ulvs".into(), owner: Some(77) };
        assert_eq!(existing_table(&payload), Some(expected));
        assert_eq!(existing_table(&payload[..3]), None);
    }
}
