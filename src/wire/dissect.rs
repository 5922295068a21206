//! Taking an IP packet apart once, with every length checked, so that later stages may index.

use crate::base::{Address, Family, Port, Protocol};

use super::checksum;
use super::ip::{self, v4, v6};
use super::transport;

/// Why a packet could not be taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the packet is shorter than its IP header")]
    Truncated,
    #[error("the version field is neither 4 nor 6, or not the link layer's")]
    Version,
    #[error("the header or total length field is impossible")]
    Length,
    #[error("the IPv4 header's checksum is wrong")]
    HeaderChecksum,
    #[error("an IPv6 extension header runs past the end of what is quoted")]
    ExtensionHeader,
}

/// What is known of fragmentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FragmentPart {
    #[default]
    Whole,
    /// The first fragment: it holds the transport header, or a part of it.
    First,
    /// A later one: no ports here.
    Later,
}

/// An IP packet taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dissected {
    pub family: Family,
    /// The protocol above IP and its extension headers; the number of the extension header that
    /// runs past the packet's end, where one does ([`Dissected::is_cut_short`]).
    pub protocol: Protocol,
    pub source: Address,
    pub destination: Address,
    /// Where the transport header begins.
    pub transport: usize,
    /// Length of the IP packet as its header says; padding may follow it.
    pub length: usize,
    pub fragment: FragmentPart,
    /// Ports of TCP, UDP and SCTP; `None` where there are none or the packet ends before them.
    pub ports: Option<(Port, Port)>,
}

impl Dissected {
    /// Transport bytes (header and payload) of `packet`.
    #[inline]
    pub fn transport<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        &packet[self.transport..self.length]
    }

    /// Whether an IPv6 extension header runs past the packet's end. A router does not look there
    /// and sends the packet on; its destination drops it.
    pub fn is_cut_short(&self) -> bool {
        const EXTENSIONS: [u8; 4] = [v6::HOP_BY_HOP, v6::ROUTING, v6::FRAGMENT, v6::DESTINATION_OPTIONS];
        self.family == Family::V6 && self.fragment != FragmentPart::Later && EXTENSIONS.contains(&self.protocol.0)
    }

    pub fn is_fragment(&self) -> bool {
        self.fragment != FragmentPart::Whole
    }

    /// The source port; 0 where there is none.
    #[inline]
    pub fn source_port(&self) -> Port {
        self.ports.map_or(Port::ANY, |(source, _)| source)
    }

    #[inline]
    pub fn destination_port(&self) -> Port {
        self.ports.map_or(Port::ANY, |(_, destination)| destination)
    }
}

/// Takes apart a packet as it came from a link: lengths and the IPv4 header's checksum are checked.
///
/// # Errors
/// [`Malformed`] says what is wrong; nothing of such a packet can be trusted.
#[inline]
pub fn dissect(family: Family, packet: &[u8]) -> Result<Dissected, Malformed> {
    match family {
        Family::V4 => dissect4(packet, Trust::Received),
        Family::V6 => dissect6(packet, Trust::Received),
    }
}

/// Takes apart the packet quoted in an ICMP error, of which usually only the beginning is there.
///
/// # Errors
/// [`Malformed`] where not even the IP header is complete.
pub fn dissect_quoted(family: Family, packet: &[u8]) -> Result<Dissected, Malformed> {
    match family {
        Family::V4 => dissect4(packet, Trust::Quoted),
        Family::V6 => dissect6(packet, Trust::Quoted),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    Received,
    /// Length fields may exceed what is there, and the header's checksum is not looked at.
    Quoted,
}

#[inline]
fn dissect4(packet: &[u8], trust: Trust) -> Result<Dissected, Malformed> {
    if packet.len() < v4::LENGTH {
        return Err(Malformed::Truncated);
    }
    if packet[v4::VERSION_IHL] >> 4 != 4 {
        return Err(Malformed::Version);
    }
    let header = ip::header_length4(packet);
    let total = usize::from(ip::number(packet, v4::TOTAL_LENGTH));
    if header < v4::LENGTH || header > packet.len() {
        return Err(Malformed::Length);
    }
    let length = match trust {
        Trust::Received if total < header || total > packet.len() => return Err(Malformed::Length),
        Trust::Received => total,
        Trust::Quoted => total.clamp(header, packet.len().max(header)),
    };
    if trust == Trust::Received && !checksum::is_valid(&packet[..header]) {
        return Err(Malformed::HeaderChecksum);
    }
    let flags_offset = ip::number(packet, v4::FLAGS_OFFSET);
    let fragment = match (flags_offset & v4::OFFSET_MASK, flags_offset & v4::MORE_FRAGMENTS) {
        (0, 0) => FragmentPart::Whole,
        (0, _) => FragmentPart::First,
        _ => FragmentPart::Later,
    };
    let protocol = Protocol(packet[v4::PROTOCOL]);
    Ok(Dissected {
        family: Family::V4,
        protocol,
        source: ip::source(Family::V4, packet),
        destination: ip::destination(Family::V4, packet),
        transport: header,
        length,
        fragment,
        ports: ports(protocol, fragment, &packet[header..length]),
    })
}

fn dissect6(packet: &[u8], trust: Trust) -> Result<Dissected, Malformed> {
    if packet.len() < v6::LENGTH {
        return Err(Malformed::Truncated);
    }
    if packet[0] >> 4 != 6 {
        return Err(Malformed::Version);
    }
    let total = v6::LENGTH + usize::from(ip::number(packet, v6::PAYLOAD_LENGTH));
    let length = match trust {
        Trust::Received if total > packet.len() => return Err(Malformed::Length),
        Trust::Received => total,
        Trust::Quoted => total.min(packet.len()),
    };
    let mut next = packet[v6::NEXT_HEADER];
    let mut at = v6::LENGTH;
    let mut fragment = FragmentPart::Whole;
    let broken = loop {
        let rest = &packet[at..length];
        let step = match next {
            v6::HOP_BY_HOP | v6::ROUTING | v6::DESTINATION_OPTIONS => match rest {
                [_, units, ..] => (usize::from(*units) + 1) * 8,
                _ => break true,
            },
            // The kernel's balancer steps over it, though its host may not know how to; one that
            // is cut short is left standing as the protocol.
            v6::AUTHENTICATION => match rest {
                [_, units, ..] if (usize::from(*units) + 2) * 4 <= rest.len() => (usize::from(*units) + 2) * 4,
                _ => break false,
            },
            v6::FRAGMENT => {
                let Some(header) = rest.first_chunk::<8>() else { break true };
                let field = u16::from_be_bytes([header[2], header[3]]);
                fragment = match (field >> 3, field & 1) {
                    // An atomic fragment (RFC 6946) is a first one that needs no others.
                    (0, _) => FragmentPart::First,
                    _ => FragmentPart::Later,
                };
                8
            }
            _ => break false,
        };
        if step > rest.len() {
            break true;
        }
        next = rest[0];
        at += step;
        if fragment == FragmentPart::Later {
            break false;
        }
    };
    if broken && trust == Trust::Quoted {
        return Err(Malformed::ExtensionHeader);
    }
    let protocol = Protocol(next);
    Ok(Dissected {
        family: Family::V6,
        protocol,
        source: ip::source(Family::V6, packet),
        destination: ip::destination(Family::V6, packet),
        transport: at,
        length,
        fragment,
        ports: ports(protocol, fragment, &packet[at..length]),
    })
}

#[inline]
fn ports(protocol: Protocol, fragment: FragmentPart, segment: &[u8]) -> Option<(Port, Port)> {
    if fragment == FragmentPart::Later || segment.len() < 4 {
        return None;
    }
    match protocol {
        Protocol::TCP | Protocol::UDP | Protocol::SCTP => Some((
            transport::port(segment, transport::SOURCE_PORT),
            transport::port(segment, transport::DESTINATION_PORT),
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder_v4(payload: &[u8]) -> Vec<u8> {
        let builder = etherparse::PacketBuilder::ipv4([10, 0, 0, 2], [10, 9, 9, 9], 64).udp(41000, 53);
        let mut packet = Vec::new();
        builder.write(&mut packet, payload).unwrap();
        packet
    }

    #[test]
    fn a_udp_packet_with_padding() {
        let mut packet = builder_v4(b"hello");
        packet.extend([0; 13]);
        let parts = dissect(Family::V4, &packet).unwrap();
        assert_eq!((parts.length, parts.transport), (33, 20));
        assert_eq!(parts.ports, Some((Port(41000), Port(53))));
        assert_eq!(parts.destination, Address::v4([10, 9, 9, 9]));
    }

    #[test]
    fn impossible_lengths_have_names() {
        let packet = builder_v4(b"hello");
        assert_eq!(dissect(Family::V4, &packet[..19]), Err(Malformed::Truncated));
        assert_eq!(dissect(Family::V4, &packet[..30]), Err(Malformed::Length));
        assert_eq!(dissect(Family::V6, &packet), Err(Malformed::Truncated));
        let mut wrong = packet.clone();
        wrong[0] = 0x44;
        assert_eq!(dissect(Family::V4, &wrong), Err(Malformed::Length));
        wrong[0] = 0x65;
        assert_eq!(dissect(Family::V4, &wrong), Err(Malformed::Version));
        wrong[0] = 0x45;
        wrong[8] = 63;
        assert_eq!(dissect(Family::V4, &wrong), Err(Malformed::HeaderChecksum));
        let quoted = dissect_quoted(Family::V4, &packet[..24]).unwrap();
        assert_eq!(quoted.ports, Some((Port(41000), Port(53))));
    }

    #[test]
    fn extension_headers_are_walked() {
        let mut packet = vec![0x60, 0, 0, 0, 0, 24, v6::HOP_BY_HOP, 64];
        packet.extend([1; 16]);
        packet.extend([2; 16]);
        packet.extend([v6::FRAGMENT, 0, 0, 0, 0, 0, 0, 0]);
        packet.extend([17, 0, 0, 1, 0, 0, 0, 9]);
        packet.extend([0xa0, 0x28, 0, 53, 0, 8, 0, 0]);
        let parts = dissect(Family::V6, &packet).unwrap();
        assert_eq!((parts.protocol, parts.fragment, parts.transport), (Protocol::UDP, FragmentPart::First, 56));
        assert_eq!(parts.ports, Some((Port(41000), Port(53))));
        assert!(!parts.is_cut_short());
        packet[41] = 9;
        let parts = dissect(Family::V6, &packet).unwrap();
        assert!(parts.is_cut_short());
        assert_eq!((parts.protocol, parts.transport), (Protocol(0), 40));
        assert_eq!(dissect_quoted(Family::V6, &packet), Err(Malformed::ExtensionHeader));
    }

    proptest::proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), v6: bool) {
            let family = if v6 { Family::V6 } else { Family::V4 };
            if let Ok(parts) = dissect(family, &bytes) {
                proptest::prop_assert!(parts.transport <= parts.length && parts.length <= bytes.len());
            }
            if let Ok(parts) = dissect_quoted(family, &bytes) {
                proptest::prop_assert!(parts.transport <= parts.length && parts.length <= bytes.len());
            }
        }
    }
}
