//! Packets taken apart: within their bounds, and as etherparse takes them apart.

use etherparse::{NetSlice, SlicedPacket};

use crate::base::{Address, Family};
use crate::wire::dissect::{Dissected, dissect, dissect_quoted};
use crate::wire::frame::ETHERNET_LENGTH;

pub fn run(data: &[u8]) {
    let Some((&head, packet)) = data.split_first() else { return };
    let family = if head & 1 == 0 { Family::V4 } else { Family::V6 };
    if let Ok(parts) = dissect(family, packet) {
        check(&parts, packet);
        agree(&parts, packet);
    }
    if let Ok(parts) = dissect_quoted(family, packet) {
        check(&parts, packet);
    }
}

fn check(parts: &Dissected, packet: &[u8]) {
    assert!(parts.transport <= parts.length && parts.length <= packet.len(), "{parts:?} of {}", packet.len());
    let transport = parts.transport(packet);
    assert!(parts.ports.is_none() || transport.len() >= 4, "ports that are not there");
}

/// What both parsers take is the same.
fn agree(parts: &Dissected, packet: &[u8]) {
    let Ok(sliced) = SlicedPacket::from_ip(packet) else { return };
    let Some(net) = &sliced.net else { return };
    let (source, destination) = match net {
        NetSlice::Ipv4(ip) => (Address::v4(ip.header().source()), Address::v4(ip.header().destination())),
        NetSlice::Ipv6(ip) => (Address::v6(ip.header().source()), Address::v6(ip.header().destination())),
        NetSlice::Arp(_) => return,
    };
    assert_eq!((parts.source, parts.destination), (source, destination));
    let plain = matches!(net, NetSlice::Ipv4(ip) if ip.extensions().is_empty());
    if let Some(payload) = net.ip_payload_ref()
        && plain
    {
        assert_eq!(parts.is_fragment(), sliced.is_ip_payload_fragmented());
        assert_eq!(parts.protocol.0, payload.ip_number.0);
        assert_eq!(parts.transport(packet), payload.payload);
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let frames = super::recorded_frames();
    let packets = frames.iter().filter_map(|frame| frame.get(ETHERNET_LENGTH..));
    packets.map(|packet| [&[u8::from(packet.first().is_some_and(|byte| byte >> 4 == 6))], packet].concat()).collect()
}
