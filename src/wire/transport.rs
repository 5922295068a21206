//! TCP, UDP, SCTP and ICMP fields that balancing looks at (RFC 9293, 768, 9260, 792, 4443).

use std::ops::Range;

use crate::base::Port;

pub const SOURCE_PORT: Range<usize> = 0..2;
pub const DESTINATION_PORT: Range<usize> = 2..4;

pub mod tcp {
    pub const SEQUENCE: usize = 4;
    pub const ACKNOWLEDGEMENT: usize = 8;
    pub const DATA_OFFSET: usize = 12;
    pub const FLAGS: usize = 13;
    pub const CHECKSUM: usize = 16;
    /// Length of a header without options.
    pub const LENGTH: usize = 20;
}

pub mod udp {
    /// Where the length of header and payload lies.
    pub const DATAGRAM_LENGTH: usize = 4;
    pub const CHECKSUM: usize = 6;
    pub const LENGTH: usize = 8;
}

pub mod sctp {
    pub const CHECKSUM: usize = 8;
    pub const LENGTH: usize = 12;
    /// Length of a chunk's header.
    pub const CHUNK_LENGTH: usize = 4;

    pub const DATA: u8 = 0;
    pub const INIT: u8 = 1;
    pub const INIT_ACK: u8 = 2;
    pub const ABORT: u8 = 6;
    pub const SHUTDOWN: u8 = 7;
    pub const SHUTDOWN_ACK: u8 = 8;
    pub const ERROR: u8 = 9;
    pub const COOKIE_ECHO: u8 = 10;
    pub const COOKIE_ACK: u8 = 11;
    pub const SHUTDOWN_COMPLETE: u8 = 14;

    /// Gives a packet its checksum, a CRC32c over all of it (RFC 9260 section 6.8); `false` where it is too
    /// short to have one.
    pub fn write_checksum(segment: &mut [u8]) -> bool {
        let Some(header) = segment.first_chunk_mut::<LENGTH>() else { return false };
        header[CHECKSUM..].fill(0);
        let sum = crc32c::crc32c(segment);
        segment[CHECKSUM..LENGTH].copy_from_slice(&sum.to_le_bytes());
        true
    }
}

pub mod icmp {
    pub const TYPE: usize = 0;
    pub const CODE: usize = 1;
    pub const CHECKSUM: usize = 2;
    /// Length of the header before the quoted packet.
    pub const LENGTH: usize = 8;

    pub const UNREACHABLE: u8 = 3;
    pub const SOURCE_QUENCH: u8 = 4;
    pub const TIME_EXCEEDED: u8 = 11;
    pub const PARAMETER_PROBLEM: u8 = 12;
    pub const FRAGMENTATION_NEEDED: u8 = 4;

    /// ICMPv6 messages below this type are errors.
    pub const FIRST_INFORMATION_V6: u8 = 128;
}

/// TCP flag bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const ACK: u8 = 0x10;

    #[inline]
    pub fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }
}

/// A port field at the start of a transport header.
#[inline]
pub fn port(segment: &[u8], range: Range<usize>) -> Port {
    Port(u16::from_be_bytes([segment[range.start], segment[range.start + 1]]))
}

#[inline]
pub fn set_port(segment: &mut [u8], range: Range<usize>, port: Port) {
    segment[range].copy_from_slice(&port.0.to_be_bytes());
}
