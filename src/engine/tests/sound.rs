//! A second opinion on packets: etherparse, which shares no code with the engine.

use etherparse::{IpNumber, Ipv4Header, Ipv6Header, NetSlice, SlicedPacket, TransportSlice};

use crate::wire::Offload;
use crate::wire::segment::{self, Unfinished};

use super::world::LINK_LENGTH;

/// The destination port of the tunnels that the tests use.
pub(super) const GUE_PORT: u16 = 6080;

/// Whether the IP header is right: lengths exact, the IPv4 header's checksum too.
pub(super) fn header(packet: &[u8]) -> Result<(), String> {
    let equal = |what: &str, found: u16, right: usize| {
        if usize::from(found) == right { Ok(()) } else { Err(format!("{what} {found} where {right} is right")) }
    };
    match packet.first().map(|byte| byte >> 4) {
        Some(4) => {
            let (header, _) = Ipv4Header::from_slice(packet).map_err(|error| error.to_string())?;
            equal("total length", header.total_len, packet.len())?;
            // Over the bytes, as the parsed header does not hold the reserved bit.
            let sum = etherparse::checksum::Sum16BitWords::new().add_slice(&packet[..header.header_len()]);
            equal("header checksum's remainder", sum.ones_complement(), 0)
        }
        Some(6) => {
            let (header, _) = Ipv6Header::from_slice(packet).map_err(|error| error.to_string())?;
            equal("payload length", header.payload_length, packet.len() - Ipv6Header::LEN)
        }
        version => Err(format!("IP version {version:?}")),
    }
}

/// Whether a packet is a fragment.
pub(super) fn is_fragment(packet: &[u8]) -> bool {
    SlicedPacket::from_ip(packet).is_ok_and(|sliced| sliced.is_ip_payload_fragmented())
}

/// Whether a whole packet is right in every checksum, and, where it is a tunnel's, the one inside.
pub(super) fn whole(packet: &[u8]) -> Result<(), String> {
    header(packet)?;
    let sliced = SlicedPacket::from_ip(packet).map_err(|error| error.to_string())?;
    let net = sliced.net.as_ref().ok_or("no IP header")?;
    let payload = net.ip_payload_ref().ok_or("no payload")?;
    let (v4, v6) = match net {
        NetSlice::Ipv4(ip) => (Some((ip.header().source(), ip.header().destination())), ([0; 16], [0; 16])),
        NetSlice::Ipv6(ip) => (None, (ip.header().source(), ip.header().destination())),
        NetSlice::Arp(_) => return Err("ARP".into()),
    };
    let equal = |what: &str, found: u16, right: u16| {
        if found == right { Ok(()) } else { Err(format!("{what} checksum {found:04x} where {right:04x} is right")) }
    };
    let problem = |error: etherparse::err::ValueTooBigError<usize>| error.to_string();
    match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            let right = match v4 {
                Some((from, to)) => tcp.calc_checksum_ipv4(from, to),
                None => tcp.calc_checksum_ipv6(v6.0, v6.1),
            };
            // Both forms of zero are right where nothing forbids one.
            let right = right.map_err(problem)?;
            if right == 0 && tcp.checksum() == 0xffff { Ok(()) } else { equal("TCP", tcp.checksum(), right) }
        }
        Some(TransportSlice::Udp(udp)) => {
            let right = match v4 {
                // A tunnel may go without over IPv6 too (RFC 6935).
                _ if udp.checksum() == 0 && udp.destination_port() == GUE_PORT => return gue(udp.payload()),
                Some(_) if udp.checksum() == 0 => return Ok(()),
                Some((from, to)) => udp.to_header().calc_checksum_ipv4_raw(from, to, udp.payload()),
                None => udp.to_header().calc_checksum_ipv6_raw(v6.0, v6.1, udp.payload()),
            };
            equal("UDP", udp.checksum(), right.map_err(problem)?)?;
            if udp.destination_port() == GUE_PORT { gue(udp.payload()) } else { Ok(()) }
        }
        Some(TransportSlice::Icmpv4(icmp)) => {
            equal("ICMP", icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()))
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            if icmp.is_checksum_valid(v6.0, v6.1) {
                Ok(())
            } else {
                Err("ICMPv6 checksum".into())
            }
        }
        None => match payload.ip_number {
            IpNumber::IPV4 | IpNumber::IPV6 => inside(payload.payload),
            IpNumber(47) => gre(payload.payload),
            IpNumber(132) => sctp(payload.payload),
            _ => Ok(()),
        },
    }
}

/// As [`whole`], for a packet whose checksum may be left to a network card.
pub(super) fn with_offload(packet: &[u8], offload: &Offload, link_length: usize) -> Result<(), String> {
    whole(&completed(packet, offload, link_length)?)
}

/// The packet with its checksum finished.
pub(super) fn completed(packet: &[u8], offload: &Offload, link_length: usize) -> Result<Vec<u8>, String> {
    let mut packet = packet.to_vec();
    let unfinished = Unfinished::of(offload.checksum, link_length).map_err(|error| error.to_string())?;
    if let Some(unfinished) = unfinished {
        segment::complete(&mut packet, unfinished).map_err(|error| error.to_string())?;
    }
    Ok(packet)
}

/// As [`with_offload`], for what came in an Ethernet frame.
pub(super) fn ethernet(packet: &[u8], offload: &Offload) -> Result<(), String> {
    with_offload(packet, offload, LINK_LENGTH)
}

fn inside(packet: &[u8]) -> Result<(), String> {
    whole(packet).map_err(|what| format!("inside the tunnel: {what}"))
}

fn gue(payload: &[u8]) -> Result<(), String> {
    match payload {
        [0, 4 | 41, 0, 0, packet @ ..] => inside(packet),
        _ => Err(format!("no GUE header: {:02x?}", &payload[..payload.len().min(4)])),
    }
}

fn gre(payload: &[u8]) -> Result<(), String> {
    match payload {
        [0x00, 0, 0x08, 0x00, packet @ ..] | [0x00, 0, 0x86, 0xdd, packet @ ..] => inside(packet),
        [0x80, 0, 0x08, 0x00, _, _, 0, 0, packet @ ..] | [0x80, 0, 0x86, 0xdd, _, _, 0, 0, packet @ ..] => {
            let sum = etherparse::checksum::Sum16BitWords::new().add_slice(payload).ones_complement();
            if sum == 0 { inside(packet) } else { Err("GRE checksum".into()) }
        }
        _ => Err("no GRE header".into()),
    }
}

fn sctp(segment: &[u8]) -> Result<(), String> {
    let mut bytes = segment.to_vec();
    let field = bytes.get_mut(8..12).ok_or("SCTP cut short")?;
    let found = [field[0], field[1], field[2], field[3]];
    field.fill(0);
    if found == crc32c::crc32c(&bytes).to_le_bytes() { Ok(()) } else { Err("SCTP checksum".into()) }
}
