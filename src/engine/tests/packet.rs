//! Packets built by etherparse, never by the code under test.

use std::net::IpAddr;

use etherparse::{IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, TcpHeader, UdpHeader};

use crate::base::{Address, Family, Port, Protocol};
use crate::wire::checksum;
use crate::wire::offload::{Completion, Offload, Segmentation};
use crate::wire::transport::{sctp, tcp, udp};

/// One end of a packet.
pub(super) type Endpoint = (IpAddr, u16);

pub(super) const TTL: u8 = 64;

/// What stands above IP.
#[derive(Clone, Debug)]
pub(super) enum Upper {
    /// With these flag bits.
    Tcp(u8),
    Udp,
    /// With a first chunk of this type.
    Sctp(u8),
    /// A protocol of that number; the payload is all there is.
    Other(u8),
}

pub(super) const SYN: Upper = Upper::Tcp(2);
pub(super) const ACK: Upper = Upper::Tcp(0x10);

/// A recipe for an IP packet.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub source: Endpoint,
    pub destination: Endpoint,
    pub upper: Upper,
    pub payload: Vec<u8>,
    pub ttl: u8,
    pub dont_fragment: bool,
    /// Of TCP.
    pub sequence: u32,
    /// Of IPv4.
    pub identification: u16,
}

impl Packet {
    pub fn new(source: Endpoint, destination: Endpoint, upper: Upper) -> Packet {
        Packet {
            source,
            destination,
            upper,
            payload: b"hello".to_vec(),
            ttl: TTL,
            dont_fragment: true,
            sequence: 0xffff_ff00,
            identification: 0x1234,
        }
    }

    /// A payload of `length` bytes that are not all the same.
    pub fn filled(self, length: usize) -> Packet {
        Packet { payload: (0..length).map(|at| (at * 7 + at / 251) as u8).collect(), ..self }
    }

    pub fn ttl(self, ttl: u8) -> Packet {
        Packet { ttl, ..self }
    }

    pub fn may_fragment(self) -> Packet {
        Packet { dont_fragment: false, ..self }
    }

    pub fn family(&self) -> Family {
        Family::of(&self.destination.0)
    }

    /// The packet with every length and checksum right.
    pub fn bytes(&self) -> Vec<u8> {
        let (protocol, segment) = self.segment();
        let mut packet = ip(self.source.0, self.destination.0, protocol, self.ttl, self.dont_fragment, &segment);
        if self.family() == Family::V4 {
            packet[4..6].copy_from_slice(&self.identification.to_be_bytes());
            fix_header(&mut packet);
        }
        packet
    }

    /// The packet as a sender with checksum offload hands it on, with the metadata that says so.
    /// `link_length` bytes stand in front of it in its frame. Only TCP and UDP know this form.
    pub fn partial(&self, link_length: usize) -> (Vec<u8>, Offload) {
        let mut bytes = self.bytes();
        let (transport, field) = match (self.family(), &self.upper) {
            (Family::V4, Upper::Tcp(_)) => (20, tcp::CHECKSUM),
            (Family::V6, Upper::Tcp(_)) => (40, tcp::CHECKSUM),
            (Family::V4, _) => (20, udp::CHECKSUM),
            (Family::V6, _) => (40, udp::CHECKSUM),
        };
        let sum = pseudo_header(self.source.0, self.destination.0, self.protocol(), bytes.len() - transport);
        bytes[transport + field..transport + field + 2].copy_from_slice(&sum);
        let start = (link_length + transport) as u16;
        let checksum = Completion::Partial { start, offset: field as u16 };
        (bytes, Offload { checksum, ..Offload::NONE })
    }

    /// As [`Packet::partial`], for a TCP super-frame with segments of `size` bytes.
    pub fn super_frame(&self, link_length: usize, size: u16) -> (Vec<u8>, Offload) {
        let (bytes, offload) = self.partial(link_length);
        let segmentation = match self.family() {
            Family::V4 => Segmentation::Tcp4 { ecn: false },
            Family::V6 => Segmentation::Tcp6 { ecn: false },
        };
        (bytes, Offload { segmentation, segment_size: size, ..offload })
    }

    pub fn protocol(&self) -> Protocol {
        Protocol(self.segment().0.0)
    }

    fn segment(&self) -> (IpNumber, Vec<u8>) {
        let (source_port, destination_port) = (self.source.1, self.destination.1);
        let mut segment = Vec::new();
        let protocol = match self.upper {
            Upper::Tcp(flags) => {
                let mut header = TcpHeader::new(source_port, destination_port, self.sequence, 500);
                header.fin = flags & 1 != 0;
                header.syn = flags & 2 != 0;
                header.rst = flags & 4 != 0;
                header.psh = flags & 8 != 0;
                header.ack = flags & 16 != 0;
                header.checksum = match (self.source.0, self.destination.0) {
                    (IpAddr::V4(from), IpAddr::V4(to)) => {
                        header.calc_checksum_ipv4_raw(from.octets(), to.octets(), &self.payload)
                    }
                    (from, to) => header.calc_checksum_ipv6_raw(octets6(from), octets6(to), &self.payload),
                }
                .unwrap();
                header.write(&mut segment).unwrap();
                IpNumber::TCP
            }
            Upper::Udp => {
                let length = (UdpHeader::LEN + self.payload.len()) as u16;
                let mut header = UdpHeader { source_port, destination_port, length, checksum: 0 };
                header.checksum = match (self.source.0, self.destination.0) {
                    (IpAddr::V4(from), IpAddr::V4(to)) => {
                        header.calc_checksum_ipv4_raw(from.octets(), to.octets(), &self.payload)
                    }
                    (from, to) => header.calc_checksum_ipv6_raw(octets6(from), octets6(to), &self.payload),
                }
                .unwrap();
                header.write(&mut segment).unwrap();
                IpNumber::UDP
            }
            Upper::Sctp(kind) => {
                segment.extend(source_port.to_be_bytes());
                segment.extend(destination_port.to_be_bytes());
                segment.extend([0, 0, 0, 7, 0, 0, 0, 0]);
                let length = (sctp::CHUNK_LENGTH + self.payload.len()) as u16;
                segment.extend([kind, 0]);
                segment.extend(length.to_be_bytes());
                IpNumber(132)
            }
            Upper::Other(number) => IpNumber(number),
        };
        segment.extend(&self.payload);
        if matches!(self.upper, Upper::Sctp(_)) {
            let sum = crc32c::crc32c(&segment).to_le_bytes();
            segment[sctp::CHECKSUM..sctp::CHECKSUM + 4].copy_from_slice(&sum);
        }
        (protocol, segment)
    }
}

/// An IP packet without options around `segment`.
pub(super) fn ip(
    source: IpAddr,
    destination: IpAddr,
    protocol: IpNumber,
    ttl: u8,
    dont_fragment: bool,
    segment: &[u8],
) -> Vec<u8> {
    let mut packet = Vec::new();
    match (source, destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut header = Ipv4Header::new(0, ttl, protocol, from.octets(), to.octets()).unwrap();
            header.set_payload_len(segment.len()).unwrap();
            header.dont_fragment = dont_fragment;
            header.header_checksum = header.calc_header_checksum();
            header.write(&mut packet).unwrap();
        }
        (from, to) => {
            let header = Ipv6Header {
                traffic_class: 0,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: segment.len() as u16,
                next_header: protocol,
                hop_limit: ttl,
                source: octets6(from),
                destination: octets6(to),
            };
            header.write(&mut packet).unwrap();
        }
    }
    packet.extend(segment);
    packet
}

/// An ICMP error of this type and code from `source` to `destination` about `quoted`.
pub(super) fn icmp_error(source: IpAddr, destination: IpAddr, kind: u8, code: u8, quoted: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    message.extend(quoted);
    icmp(source, destination, message)
}

/// An ICMP message, its checksum filled in.
pub(super) fn icmp(source: IpAddr, destination: IpAddr, mut message: Vec<u8>) -> Vec<u8> {
    let number = match Family::of(&destination) {
        Family::V4 => IpNumber::ICMP,
        Family::V6 => IpNumber::IPV6_ICMP,
    };
    let sum = match Family::of(&destination) {
        Family::V4 => checksum::Sum::ZERO,
        Family::V6 => {
            checksum::pseudo_header(Address::from(source), Address::from(destination), number.0, message.len())
        }
    };
    sum.add_bytes(&message).checksum().write(&mut message, 2);
    ip(source, destination, number, TTL, false, &message)
}

/// Cuts an IPv4 packet into fragments of `size` payload bytes; the header's checksum is right.
pub(super) fn fragments4(packet: &[u8], size: usize) -> Vec<Vec<u8>> {
    let (header, payload) = Ipv4Header::from_slice(packet).unwrap();
    payload
        .chunks(size)
        .enumerate()
        .map(|(index, part)| {
            let mut header = header.clone();
            header.dont_fragment = false;
            header.more_fragments = (index + 1) * size < payload.len();
            header.fragment_offset = ((index * size / 8) as u16).try_into().unwrap();
            header.set_payload_len(part.len()).unwrap();
            let mut packet = Vec::new();
            header.write(&mut packet).unwrap();
            packet.extend(part);
            packet
        })
        .collect()
}

/// Cuts an IPv6 packet without extension headers into fragments of `size` payload bytes.
pub(super) fn fragments6(packet: &[u8], size: usize) -> Vec<Vec<u8>> {
    let (header, payload) = packet.split_at(40);
    payload
        .chunks(size)
        .enumerate()
        .map(|(index, part)| {
            let more = (index + 1) * size < payload.len();
            let mut packet = header.to_vec();
            let length = (part.len() + 8) as u16;
            packet[4..6].copy_from_slice(&length.to_be_bytes());
            packet[6] = 44;
            packet.extend([header[6], 0]);
            packet.extend(((index * size) as u16 | u16::from(more)).to_be_bytes());
            packet.extend([0, 0, 0x12, 0x34]);
            packet.extend(part);
            packet
        })
        .collect()
}

/// Computes the checksum of an IPv4 header anew, after it was tampered with.
pub(super) fn fix_header(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let length = (usize::from(packet[0] & 15) * 4).min(packet.len());
    checksum::of(&packet[..length]).write(packet, 10);
}

/// The folded sum of a pseudo-header, as it stands in a packet.
pub(super) fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: Protocol, length: usize) -> [u8; 2] {
    checksum::pseudo_header(source.into(), destination.into(), protocol.0, length).fold().to_ne_bytes()
}

/// The ends of a packet as it lies in `bytes`: source and destination.
pub(super) fn ends(bytes: &[u8]) -> (Endpoint, Endpoint) {
    let family = if bytes[0] >> 4 == 4 { Family::V4 } else { Family::V6 };
    let parts = crate::wire::dissect::dissect_quoted(family, bytes).unwrap();
    let (from, to) = parts.ports.unwrap_or((Port::ANY, Port::ANY));
    ((parts.source.to_ip(family), from.0), (parts.destination.to_ip(family), to.0))
}

fn octets6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(v6) => v6.octets(),
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
    }
}
