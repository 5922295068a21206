//! Where the headers of an IP packet begin and end: what is needed to build another packet from it.
//!
//! Lengths are believed only as far as they agree with the bytes that are there. Bytes behind
//! the packet's own length (Ethernet padding) are left out.

use pnet::packet::ipv4::Ipv4Packet;
use pnet::packet::ipv6::Ipv6Packet;

use crate::base::Family;

use super::ip::{v4, v6};

/// Length of an IPv4 header without options.
pub(crate) const IPV4_LENGTH: usize = v4::LENGTH;
pub(crate) const IPV6_LENGTH: usize = v6::LENGTH;
/// Length of the IPv6 fragment header, and the unit of fragment offsets.
pub(crate) const FRAGMENT_HEADER_LENGTH: usize = 8;
pub(crate) const FRAGMENT_UNIT: usize = 8;
/// Every link carries IPv6 packets of this length.
pub(crate) const IPV6_MINIMUM_MTU: usize = v6::MINIMUM_MTU as usize;
/// The longest IPv4 packet, and the longest IPv6 payload.
pub(crate) const MAX_LENGTH: usize = 65535;
/// Both addresses as they stand in an IPv4 header.
pub(crate) const IPV4_ADDRESSES: std::ops::Range<usize> = v4::SOURCE.start..v4::DESTINATION.end;
/// The destination among them.
pub(crate) const IPV4_DESTINATION: std::ops::Range<usize> = v4::DESTINATION;
/// Both addresses as they stand in an IPv6 header.
pub(crate) const IPV6_ADDRESSES: std::ops::Range<usize> = v6::SOURCE.start..v6::DESTINATION.end;

/// The IP version of `packet`; `None` where it is neither 4 nor 6.
pub(crate) fn family(packet: &[u8]) -> Option<Family> {
    match packet.first()? >> 4 {
        4 => Some(Family::V4),
        6 => Some(Family::V6),
        _ => None,
    }
}

/// The length that an IP packet gives itself; `None` where it is not whole. Nothing else is checked.
fn believed_length(packet: &[u8], own: usize, header: usize) -> Option<usize> {
    (header <= own && own <= packet.len()).then_some(own)
}

/// An IPv4 packet that is as long as it says, without padding, and the length of its header.
pub(crate) fn ipv4(packet: &[u8]) -> Option<(&[u8], usize)> {
    let view = Ipv4Packet::new(packet)?;
    let header = usize::from(view.get_header_length()) * 4;
    if view.get_version() != 4 || header < IPV4_LENGTH {
        return None;
    }
    let length = believed_length(packet, usize::from(view.get_total_length()), header)?;
    Some((&packet[..length], header))
}

/// An IPv6 packet that is as long as it says, without padding.
pub(crate) fn ipv6(packet: &[u8]) -> Option<&[u8]> {
    let view = Ipv6Packet::new(packet)?;
    if view.get_version() != 6 {
        return None;
    }
    let own = IPV6_LENGTH + usize::from(view.get_payload_length());
    let length = believed_length(packet, own, IPV6_LENGTH)?;
    Some(&packet[..length])
}

/// Next Header numbers of the extension headers that Linux steps over.
pub(crate) mod extension {
    pub(crate) use super::v6::{AUTHENTICATION, DESTINATION_OPTIONS as DESTINATION, FRAGMENT, HOP_BY_HOP, ROUTING};
}

/// One header of an IPv6 packet's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Its Next Header number.
    pub(crate) kind: u8,
    /// Where it begins; beyond the packet's end where the header before it was cut short.
    pub(crate) at: usize,
    /// Where its number stands: in the header before it.
    pub(crate) named_at: usize,
}

/// Walks the headers behind the fixed IPv6 header; the upper layer's comes last, where it can
/// be reached. A fragment header that is not the first fragment's ends the walk.
#[derive(Clone, Debug)]
pub(crate) struct Chain<'a> {
    packet: &'a [u8],
    next: Option<Link>,
}

impl<'a> Chain<'a> {
    /// The chain of an IPv6 `packet` (at least its fixed header).
    pub(crate) fn new(packet: &'a [u8]) -> Chain<'a> {
        let next = packet.get(v6::NEXT_HEADER).map(|&kind| Link { kind, at: IPV6_LENGTH, named_at: v6::NEXT_HEADER });
        Chain { packet, next }
    }

    /// The upper layer's header; `None` where the chain is cut short or this is a later fragment.
    pub(crate) fn upper_layer(packet: &'a [u8]) -> Option<Link> {
        Chain::new(packet).find(|link| !is_extension(link.kind))
    }

    /// The first header that a host without IPsec does not know how to step over.
    pub(crate) fn not_taken(packet: &'a [u8]) -> Option<Link> {
        Chain::new(packet).find(|link| !is_extension(link.kind) || link.kind == extension::AUTHENTICATION)
    }

    /// Whether an authentication header stands in the chain.
    pub(crate) fn is_authenticated(packet: &'a [u8]) -> bool {
        Chain::not_taken(packet).is_some_and(|link| link.kind == extension::AUTHENTICATION)
    }

    fn after(&self, link: Link) -> Option<Link> {
        let header: &[u8; 2] = self.packet.get(link.at..)?.first_chunk()?;
        let units = usize::from(header[1]);
        let length = match link.kind {
            extension::FRAGMENT => {
                if FragmentHeader::read(self.packet, link.at)?.offset != 0 {
                    return None;
                }
                FRAGMENT_HEADER_LENGTH
            }
            extension::AUTHENTICATION => (units + 2) * 4,
            kind if is_extension(kind) => (units + 1) * 8,
            _ => return None,
        };
        Some(Link { kind: header[0], at: link.at + length, named_at: link.at })
    }
}

impl Iterator for Chain<'_> {
    type Item = Link;

    fn next(&mut self) -> Option<Link> {
        let link = self.next.take()?;
        self.next = self.after(link);
        Some(link)
    }
}

fn is_extension(kind: u8) -> bool {
    use extension::{AUTHENTICATION, DESTINATION, FRAGMENT, HOP_BY_HOP, ROUTING};
    matches!(kind, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION)
}

/// The IPv6 fragment header (RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FragmentHeader {
    /// Next Header number of what was fragmented.
    pub(crate) kind: u8,
    /// In bytes, a multiple of 8.
    pub(crate) offset: usize,
    pub(crate) more: bool,
    pub(crate) identification: u32,
}

impl FragmentHeader {
    /// Where the offset stands in the header: what a parameter problem points at.
    pub(crate) const OFFSET_FIELD: usize = 2;
    const OFFSET_MASK: u16 = 0xfff8;
    const MORE: u16 = 1;

    /// Reads the header that begins at `at`; `None` where it is cut short.
    pub(crate) fn read(packet: &[u8], at: usize) -> Option<FragmentHeader> {
        let &[kind, _, high, low, a, b, c, d] = packet.get(at..)?.first_chunk::<FRAGMENT_HEADER_LENGTH>()?;
        let field = u16::from_be_bytes([high, low]);
        Some(FragmentHeader {
            kind,
            offset: usize::from(field & Self::OFFSET_MASK),
            more: field & Self::MORE != 0,
            identification: u32::from_be_bytes([a, b, c, d]),
        })
    }

    pub(crate) fn write(self) -> [u8; FRAGMENT_HEADER_LENGTH] {
        let [high, low] = (self.offset as u16 & Self::OFFSET_MASK | u16::from(self.more)).to_be_bytes();
        let [a, b, c, d] = self.identification.to_be_bytes();
        [self.kind, 0, high, low, a, b, c, d]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ipv6_packet(next: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, payload.len() as u8, next, 64];
        packet.resize(IPV6_LENGTH, 0xfd);
        packet.extend_from_slice(payload);
        packet
    }

    #[test]
    fn lengths_are_believed_only_if_the_bytes_are_there() {
        let mut packet = [0u8; 60];
        packet[0] = 0x45;
        packet[3] = 40;
        assert_eq!(ipv4(&packet).map(|(whole, header)| (whole.len(), header)), Some((40, 20)));
        assert!(ipv4(&packet[..39]).is_none(), "longer than the frame");
        packet[3] = 19;
        assert!(ipv4(&packet).is_none(), "shorter than its header");
        packet[0] = 0x44;
        assert!(ipv4(&packet).is_none(), "a header of 16 bytes");
        packet[0] = 0x65;
        assert!(ipv4(&packet).is_none(), "another version");
        let whole = ipv6_packet(59, &[]);
        assert!(ipv6(&whole).is_some());
        assert!(ipv6(&whole[..39]).is_none());
    }

    #[test]
    fn the_chain_ends_at_the_upper_layer() {
        let packet = ipv6_packet(0, &[60, 0, 1, 4, 0, 0, 0, 0, 6, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        let links: Vec<_> = Chain::new(&packet).map(|link| (link.kind, link.at, link.named_at)).collect();
        assert_eq!(links, [(0, 40, 6), (60, 48, 40), (6, 64, 48)]);
        assert_eq!(Chain::upper_layer(&packet).map(|link| link.kind), Some(6));
    }

    #[test]
    fn a_header_cut_short_is_named_but_not_stepped_over() {
        let packet = ipv6_packet(60, &[17, 1, 1, 2, 0, 0, 0, 0]);
        let upper = Chain::upper_layer(&packet).unwrap();
        assert_eq!((upper.kind, upper.at), (17, 56), "beyond the 48 bytes there are");
        assert_eq!(Chain::upper_layer(&ipv6_packet(60, &[17])), None);
    }

    #[test]
    fn a_later_fragment_has_no_upper_layer() {
        let later = FragmentHeader { kind: 17, offset: 8, more: false, identification: 7 };
        assert_eq!(Chain::upper_layer(&ipv6_packet(44, &later.write())), None);
        let first = FragmentHeader { offset: 0, more: true, ..later };
        assert_eq!(Chain::upper_layer(&ipv6_packet(44, &first.write())).map(|link| link.kind), Some(17));
        assert_eq!(FragmentHeader::read(&first.write(), 0), Some(first));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = ipv4(&bytes);
            let _ = ipv6(&bytes);
            prop_assert!(Chain::new(&bytes).count() < 100);
        }
    }
}
