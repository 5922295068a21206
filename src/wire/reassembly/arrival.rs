//! A fragment as it arrives, read once.

use pnet::packet::ipv4::{Ipv4Flags, Ipv4Packet};
use pnet::packet::ipv6::Ipv6Packet;

use crate::base::{Address, Family, Protocol};

use super::super::outline::{
    self, Chain, FRAGMENT_HEADER_LENGTH, FRAGMENT_UNIT, FragmentHeader, IPV4_ADDRESSES, IPV6_ADDRESSES, MAX_LENGTH,
    extension,
};
use super::Problem;

/// What makes fragments parts of the same datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) family: Family,
    pub(super) source: Address,
    pub(super) destination: Address,
    pub(super) identification: u32,
    /// IPv4 only: IPv6 identifications count for all protocols together.
    pub(super) protocol: Option<Protocol>,
}

/// The bits of the TOS or traffic class that tell of congestion (RFC 3168 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Congestion(pub(super) u8);

impl Congestion {
    pub(super) const MASK: u8 = 3;
    pub(super) const NOT_CAPABLE: Congestion = Congestion(0);
    pub(super) const EXPERIENCED: Congestion = Congestion(3);
}

/// A fragment of a datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fragment<'a> {
    pub(super) key: Key,
    /// The IPv4 header; or everything from the IPv6 header to the end of the fragment header.
    pub(super) header: &'a [u8],
    pub(super) payload: &'a [u8],
    /// Where the payload belongs in the datagram's.
    pub(super) offset: usize,
    pub(super) more: bool,
    pub(super) may_not_fragment: bool,
    pub(super) congestion: Congestion,
    /// IPv6: where the number of the fragment header stands.
    pub(super) named_at: usize,
}

impl Fragment<'_> {
    /// Whether it is a whole packet in spite of its fragment header.
    pub(super) fn is_atomic(&self) -> bool {
        self.offset == 0 && !self.more
    }
}

/// What a packet is to the reassembler.
#[derive(Debug)]
pub(super) enum Arrival<'a> {
    NotFragmented,
    Malformed,
    Problem(Problem),
    Fragment(Fragment<'a>),
}

impl<'a> Arrival<'a> {
    pub(super) fn read(packet: &'a [u8]) -> Arrival<'a> {
        let arrival = match outline::family(packet) {
            Some(Family::V4) => Arrival::read_ipv4(packet),
            Some(Family::V6) => Arrival::read_ipv6(packet),
            None => None,
        };
        arrival.unwrap_or(Arrival::Malformed)
    }

    fn read_ipv4(packet: &'a [u8]) -> Option<Arrival<'a>> {
        let (packet, header_length) = outline::ipv4(packet)?;
        let view = Ipv4Packet::new(packet)?;
        let offset = usize::from(view.get_fragment_offset()) * FRAGMENT_UNIT;
        let more = view.get_flags() & Ipv4Flags::MoreFragments != 0;
        if offset == 0 && !more {
            return Some(Arrival::NotFragmented);
        }
        let (header, payload) = packet.split_at_checked(header_length)?;
        let (source, destination) = addresses(Family::V4, header.get(IPV4_ADDRESSES)?)?;
        let key = Key {
            family: Family::V4,
            source,
            destination,
            identification: u32::from(view.get_identification()),
            protocol: Some(Protocol(view.get_next_level_protocol().0)),
        };
        Some(Arrival::Fragment(Fragment {
            key,
            header,
            payload,
            offset,
            more,
            may_not_fragment: view.get_flags() & Ipv4Flags::DontFragment != 0,
            congestion: Congestion(view.get_ecn()),
            named_at: 0,
        }))
    }

    fn read_ipv6(packet: &'a [u8]) -> Option<Arrival<'a>> {
        let packet = outline::ipv6(packet)?;
        let Some(link) = Chain::new(packet).find(|link| link.kind == extension::FRAGMENT) else {
            return Some(Arrival::NotFragmented);
        };
        let fragment_header = FragmentHeader::read(packet, link.at)?;
        let (header, payload) = packet.split_at_checked(link.at + FRAGMENT_HEADER_LENGTH)?;
        let FragmentHeader { offset, more, identification, .. } = fragment_header;
        if offset == 0 && more && headers_missing(packet) {
            return Some(Arrival::Problem(Problem::HeadersMissing));
        }
        if offset + payload.len() > MAX_LENGTH {
            let pointer = (link.at + FragmentHeader::OFFSET_FIELD) as u32;
            return Some(Arrival::Problem(Problem::TooLong { pointer }));
        }
        let (source, destination) = addresses(Family::V6, header.get(IPV6_ADDRESSES)?)?;
        Some(Arrival::Fragment(Fragment {
            key: Key { family: Family::V6, source, destination, identification, protocol: None },
            header,
            payload,
            offset,
            more,
            may_not_fragment: false,
            congestion: Congestion(Ipv6Packet::new(packet)?.get_traffic_class() & Congestion::MASK),
            named_at: link.named_at,
        }))
    }
}

fn addresses(family: Family, bytes: &[u8]) -> Option<(Address, Address)> {
    let (source, destination) = bytes.split_at_checked(family.address_length())?;
    Some((Address::read(family, source)?, Address::read(family, destination)?))
}

/// Whether the first fragment of an IPv6 datagram ends before its transport header does. A
/// chain that cannot be followed at all is not judged here, nor by Linux.
fn headers_missing(packet: &[u8]) -> bool {
    let Some(upper) = Chain::upper_layer(packet) else { return false };
    let length = match Protocol(upper.kind) {
        Protocol::TCP => 20,
        Protocol::UDP | Protocol::ICMPV6 => 8,
        _ => 1,
    };
    upper.at + length > packet.len()
}
