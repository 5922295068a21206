//! IPv4 and IPv6 headers as named ranges on bytes (RFC 791, RFC 8200), and the few edits
//! forwarding makes to them.
//!
//! The accessors expect a packet whose header was measured by [`super::dissect`]: they are
//! given slices long enough.

use std::ops::Range;

use crate::base::{Address, Family, Protocol};

use super::checksum::{self, Checksum, Sum};

/// Field positions of an IPv4 header.
pub mod v4 {
    use super::Range;

    pub const VERSION_IHL: usize = 0;
    pub const TOS: usize = 1;
    pub const TOTAL_LENGTH: Range<usize> = 2..4;
    pub const IDENTIFICATION: Range<usize> = 4..6;
    pub const FLAGS_OFFSET: Range<usize> = 6..8;
    pub const TTL: usize = 8;
    pub const PROTOCOL: usize = 9;
    pub const CHECKSUM: usize = 10;
    pub const SOURCE: Range<usize> = 12..16;
    pub const DESTINATION: Range<usize> = 16..20;
    /// Length of a header without options.
    pub const LENGTH: usize = 20;

    pub const DONT_FRAGMENT: u16 = 0x4000;
    pub const MORE_FRAGMENTS: u16 = 0x2000;
    pub const OFFSET_MASK: u16 = 0x1fff;
}

/// Field positions of an IPv6 header.
pub mod v6 {
    use super::Range;

    pub const VERSION_CLASS: Range<usize> = 0..2;
    pub const PAYLOAD_LENGTH: Range<usize> = 4..6;
    pub const NEXT_HEADER: usize = 6;
    pub const HOP_LIMIT: usize = 7;
    pub const SOURCE: Range<usize> = 8..24;
    pub const DESTINATION: Range<usize> = 24..40;
    pub const LENGTH: usize = 40;

    pub const HOP_BY_HOP: u8 = 0;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const AUTHENTICATION: u8 = 51;
    pub const NO_NEXT_HEADER: u8 = 59;
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// Smallest MTU an IPv6 link may have (RFC 8200 section 5).
    pub const MINIMUM_MTU: u32 = 1280;
}

/// Two bytes as a number.
#[inline]
pub fn number(bytes: &[u8], range: Range<usize>) -> u16 {
    u16::from_be_bytes([bytes[range.start], bytes[range.start + 1]])
}

#[inline]
pub fn set_number(bytes: &mut [u8], range: Range<usize>, value: u16) {
    bytes[range].copy_from_slice(&value.to_be_bytes());
}

/// The source address of an IP packet of `family`.
#[inline]
pub fn source(family: Family, packet: &[u8]) -> Address {
    match family {
        Family::V4 => Address::v4([packet[12], packet[13], packet[14], packet[15]]),
        Family::V6 => Address::read(Family::V6, &packet[v6::SOURCE]).unwrap_or_default(),
    }
}

#[inline]
pub fn destination(family: Family, packet: &[u8]) -> Address {
    match family {
        Family::V4 => Address::v4([packet[16], packet[17], packet[18], packet[19]]),
        Family::V6 => Address::read(Family::V6, &packet[v6::DESTINATION]).unwrap_or_default(),
    }
}

/// Which of the two addresses of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Source,
    Destination,
}

/// Writes an address into a header; an IPv4 header's checksum follows.
#[inline]
pub fn set_address(family: Family, packet: &mut [u8], end: End, address: Address) {
    match family {
        Family::V4 => {
            let range = match end {
                End::Source => v4::SOURCE,
                End::Destination => v4::DESTINATION,
            };
            packet[range].copy_from_slice(&address.octets4());
            set_header_checksum(packet);
        }
        Family::V6 => {
            let range = match end {
                End::Source => v6::SOURCE,
                End::Destination => v6::DESTINATION,
            };
            packet[range].copy_from_slice(&address.octets16());
        }
    }
}

/// Length of a header without options or extension headers.
#[inline]
pub const fn plain_header(family: Family) -> usize {
    match family {
        Family::V4 => v4::LENGTH,
        Family::V6 => v6::LENGTH,
    }
}

/// Length of an IPv4 header in bytes, options included.
#[inline]
pub fn header_length4(packet: &[u8]) -> usize {
    usize::from(packet[v4::VERSION_IHL] & 0x0f) * 4
}

/// Computes an IPv4 header's checksum anew.
#[inline]
pub fn set_header_checksum(packet: &mut [u8]) {
    let length = header_length4(packet).min(packet.len());
    packet[v4::CHECKSUM..v4::CHECKSUM + 2].fill(0);
    checksum::of(&packet[..length]).write(packet, v4::CHECKSUM);
}

/// Writes the length of a packet, header included, into the header; an IPv4 header's checksum follows.
pub fn set_length(family: Family, packet: &mut [u8], length: usize) {
    match family {
        Family::V4 => {
            set_number(packet, v4::TOTAL_LENGTH, length as u16);
            set_header_checksum(packet);
        }
        Family::V6 => set_number(packet, v6::PAYLOAD_LENGTH, (length - v6::LENGTH) as u16),
    }
}

/// TTL or hop limit.
#[inline]
pub fn ttl(family: Family, packet: &[u8]) -> u8 {
    match family {
        Family::V4 => packet[v4::TTL],
        Family::V6 => packet[v6::HOP_LIMIT],
    }
}

/// Counts TTL or hop limit down by one, the IPv4 checksum with it.
#[inline]
pub fn decrement_ttl(family: Family, packet: &mut [u8]) {
    match family {
        Family::V4 => {
            let old = u16::from_ne_bytes([packet[v4::TTL], packet[v4::PROTOCOL]]);
            packet[v4::TTL] = packet[v4::TTL].saturating_sub(1);
            let new = u16::from_ne_bytes([packet[v4::TTL], packet[v4::PROTOCOL]]);
            if let Some(sum) = Checksum::read(packet, v4::CHECKSUM) {
                sum.updated(Sum::ZERO.subtract_half(old).add_half(new)).write(packet, v4::CHECKSUM);
            }
        }
        Family::V6 => packet[v6::HOP_LIMIT] = packet[v6::HOP_LIMIT].saturating_sub(1),
    }
}

/// Type of service (IPv4) or traffic class (IPv6): DSCP and ECN.
#[inline]
pub fn traffic_class(family: Family, packet: &[u8]) -> u8 {
    match family {
        Family::V4 => packet[v4::TOS],
        Family::V6 => (number(packet, v6::VERSION_CLASS) >> 4) as u8,
    }
}

/// Whether an IPv4 packet must not be fragmented on its way; IPv6 packets never are.
#[inline]
pub fn dont_fragment(family: Family, packet: &[u8]) -> bool {
    match family {
        Family::V4 => number(packet, v4::FLAGS_OFFSET) & v4::DONT_FRAGMENT != 0,
        Family::V6 => true,
    }
}

/// Writes an IPv4 header without options and its checksum into the first 20 bytes of `header`.
#[allow(clippy::too_many_arguments)]
pub fn write_v4(
    header: &mut [u8],
    total_length: usize,
    tos: u8,
    identification: u16,
    dont_fragment: bool,
    ttl: u8,
    protocol: Protocol,
    addresses: (Address, Address),
) {
    header[v4::VERSION_IHL] = 0x45;
    header[v4::TOS] = tos;
    set_number(header, v4::TOTAL_LENGTH, total_length as u16);
    set_number(header, v4::IDENTIFICATION, identification);
    set_number(header, v4::FLAGS_OFFSET, if dont_fragment { v4::DONT_FRAGMENT } else { 0 });
    header[v4::TTL] = ttl;
    header[v4::PROTOCOL] = protocol.0;
    header[v4::SOURCE].copy_from_slice(&addresses.0.octets4());
    header[v4::DESTINATION].copy_from_slice(&addresses.1.octets4());
    set_header_checksum(&mut header[..v4::LENGTH]);
}

/// Writes an IPv6 header with flow label 0 into the first 40 bytes of `header`.
pub fn write_v6(
    header: &mut [u8],
    payload_length: usize,
    class: u8,
    hop_limit: u8,
    next_header: Protocol,
    addresses: (Address, Address),
) {
    header[..4].copy_from_slice(&(6 << 28 | u32::from(class) << 20).to_be_bytes());
    set_number(header, v6::PAYLOAD_LENGTH, payload_length as u16);
    header[v6::NEXT_HEADER] = next_header.0;
    header[v6::HOP_LIMIT] = hop_limit;
    header[v6::SOURCE].copy_from_slice(&addresses.0.octets16());
    header[v6::DESTINATION].copy_from_slice(&addresses.1.octets16());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_headers_satisfy_a_second_parser() {
        let mut packet = [0xa5; 40];
        let (source, destination) = (Address::v4([10, 0, 0, 1]), Address::v4([10, 0, 0, 2]));
        write_v4(&mut packet, 40, 0x28, 7, true, 64, Protocol::UDP, (source, destination));
        let (parsed, _) = etherparse::Ipv4Header::from_slice(&packet).unwrap();
        assert_eq!(parsed.calc_header_checksum(), parsed.header_checksum);
        assert_eq!((parsed.time_to_live, parsed.dont_fragment, parsed.total_len), (64, true, 40));

        decrement_ttl(Family::V4, &mut packet);
        assert!(checksum::is_valid(&packet[..20]));
        assert_eq!(ttl(Family::V4, &packet), 63);

        let mut packet = [0xa5; 40];
        let (source, destination) = (Address::v6([1; 16]), Address::v6([2; 16]));
        write_v6(&mut packet, 0, 0xb9, 9, Protocol::TCP, (source, destination));
        let (parsed, _) = etherparse::Ipv6Header::from_slice(&packet).unwrap();
        assert_eq!((parsed.traffic_class, parsed.hop_limit, parsed.payload_length), (0xb9, 9, 0));
        assert_eq!(traffic_class(Family::V6, &packet), 0xb9);
        assert_eq!(super::source(Family::V6, &packet), source);
    }
}
