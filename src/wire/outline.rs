//! Where the headers of an IP packet begin and end: what is needed to build another packet from it.
//!
//! Lengths are believed only as far as they agree with the bytes that are there. Bytes behind
//! the packet's own length (Ethernet padding) are left out.

use crate::base::Family;

/// Length of an IPv4 header without options.
pub(crate) const IPV4_LENGTH: usize = 20;
pub(crate) const IPV6_LENGTH: usize = 40;
/// Length of the IPv6 fragment header.
pub(crate) const FRAGMENT_HEADER_LENGTH: usize = 8;
/// The longest IPv4 packet, and the longest IPv6 payload.
pub(crate) const MAX_LENGTH: usize = 65535;
/// Both addresses as they stand in an IPv4 header.
pub(crate) const IPV4_ADDRESSES: std::ops::Range<usize> = 12..20;
/// Both addresses as they stand in an IPv6 header.
pub(crate) const IPV6_ADDRESSES: std::ops::Range<usize> = 8..40;

/// The IP version of `packet`; `None` where it is neither 4 nor 6.
pub(crate) fn family(packet: &[u8]) -> Option<Family> {
    match packet.first()? >> 4 {
        4 => Some(Family::V4),
        6 => Some(Family::V6),
        _ => None,
    }
}

/// Next Header numbers of the extension headers that Linux steps over.
pub(crate) mod extension {
    pub(crate) const HOP_BY_HOP: u8 = 0;
    pub(crate) const ROUTING: u8 = 43;
    pub(crate) const FRAGMENT: u8 = 44;
    pub(crate) const AUTHENTICATION: u8 = 51;
    pub(crate) const DESTINATION: u8 = 60;
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
        const NEXT_HEADER: usize = 6;
        let next = packet.get(NEXT_HEADER).map(|&kind| Link { kind, at: IPV6_LENGTH, named_at: NEXT_HEADER });
        Chain { packet, next }
    }

    /// The upper layer's header; `None` where the chain is cut short or this is a later fragment.
    pub(crate) fn upper_layer(packet: &'a [u8]) -> Option<Link> {
        Chain::new(packet).find(|link| !is_extension(link.kind))
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
struct FragmentHeader {
    /// In bytes, a multiple of 8.
    offset: usize,
}

impl FragmentHeader {
    const OFFSET_MASK: u16 = 0xfff8;

    /// Reads the header that begins at `at`; `None` where it is cut short.
    fn read(packet: &[u8], at: usize) -> Option<FragmentHeader> {
        let &[_, _, high, low, ..] = packet.get(at..)?.first_chunk::<FRAGMENT_HEADER_LENGTH>()?;
        Some(FragmentHeader { offset: usize::from(u16::from_be_bytes([high, low]) & Self::OFFSET_MASK) })
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
        assert_eq!(Chain::upper_layer(&ipv6_packet(44, &[17, 0, 0, 8, 0, 0, 0, 7])), None);
        let first = ipv6_packet(44, &[17, 0, 0, 1, 0, 0, 0, 7]);
        assert_eq!(Chain::upper_layer(&first).map(|link| link.kind), Some(17));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = family(&bytes);
            prop_assert!(Chain::new(&bytes).count() < 100);
        }
    }
}
