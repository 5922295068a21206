//! Neighbour discovery messages against a second parser, and spoiled in every way that counts.

use super::*;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};

const A: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
const B: Mac = Mac([2, 0, 0, 0, 0, 0xb]);

fn ip(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

#[test]
fn groups_and_their_macs() {
    assert_eq!(solicited_node(ip("2001:db8::12:3456")), ip("ff02::1:ff12:3456"));
    assert_eq!(group_mac(ip("ff02::1:ff12:3456")), Mac([0x33, 0x33, 0xff, 0x12, 0x34, 0x56]));
}

#[test]
fn frames_are_what_an_independent_parser_expects() {
    let asked = Discovery::question(A, ip("fd01::1"), ip("fd01::12:3456"), false);
    let probe = Discovery { source: Ipv6Addr::UNSPECIFIED, link_layer: None, ..asked };
    // The message; where its frame goes; type, flags, source and destination.
    let rows = [
        (asked, group_mac(ip("ff02::1:ff12:3456")), 135, 0x00, "fd01::1", "ff02::1:ff12:3456"),
        (Discovery::question(A, ip("fd01::1"), ip("fd01::9"), true), B, 135, 0x00, "fd01::1", "fd01::9"),
        (probe, group_mac(ip("ff02::1:ff12:3456")), 135, 0x00, "::", "ff02::1:ff12:3456"),
        (Discovery::answer(&asked, A, true), B, 136, 0xe0, "fd01::12:3456", "fd01::1"),
        (Discovery::answer(&asked, A, false), B, 136, 0x60, "fd01::12:3456", "fd01::1"),
        (Discovery::answer(&probe, A, false), Mac([0x33, 0x33, 0, 0, 0, 1]), 136, 0x20, "fd01::12:3456", "ff02::1"),
        (Discovery::announcement(A, ip("fd01::5"), false), group_mac(ALL_NODES), 136, 0x20, "fd01::5", "ff02::1"),
    ];
    for (message, to, kind, flags, source, destination) in rows {
        let mut out = [0xa5; 100];
        let length = message.write(A, B, &mut out).unwrap();
        assert_eq!(length, if message.link_layer.is_some() { 86 } else { 78 });
        assert_eq!(out[length..], vec![0xa5; 100 - length]);
        let sliced = SlicedPacket::from_ethernet(&out[..length]).unwrap();
        let ethernet = sliced.link.unwrap().to_header().unwrap().ethernet2().unwrap();
        assert_eq!((Mac(ethernet.destination), Mac(ethernet.source)), (to, A));
        let Some(NetSlice::Ipv6(header)) = sliced.net else { panic!("not IPv6") };
        let header = header.header();
        assert_eq!((header.source_addr(), header.destination_addr()), (ip(source), ip(destination)));
        assert_eq!(header.hop_limit(), 255);
        let Some(TransportSlice::Icmpv6(icmp)) = sliced.transport else { panic!("not ICMPv6") };
        assert!(icmp.is_checksum_valid(header.source(), header.destination()));
        assert_eq!((icmp.type_u8(), icmp.code_u8(), icmp.bytes5to8()), (kind, 0, [flags, 0, 0, 0]));
        assert_eq!(Discovery::parse(&out[14..length]), Ok(Some(message)));
        assert_eq!(message.write(A, B, &mut vec![0; length - 1]), None);
    }
}

/// A good solicitation, changed, with its checksum put right again unless that is the point.
fn spoiled(change: impl Fn(&mut [u8]), repair: bool) -> Result<Option<Discovery>, Malformed> {
    let mut out = [0; DISCOVERY_FRAME_LENGTH];
    Discovery::question(A, ip("fd01::1"), ip("fd01::2"), false).write(A, B, &mut out).unwrap();
    let packet = &mut out[14..];
    change(packet);
    if repair {
        let source = Ipv6Addr::from(*packet[8..].first_chunk::<16>().unwrap());
        let destination = Ipv6Addr::from(*packet[24..].first_chunk::<16>().unwrap());
        let sum = icmpv6::checksum(&Icmpv6Packet::new(&packet[40..]).unwrap(), &source, &destination);
        packet[42..44].copy_from_slice(&sum.to_be_bytes());
    }
    Discovery::parse(packet)
}

#[test]
fn oddities_have_names() {
    assert!(matches!(spoiled(|_| {}, true), Ok(Some(_))));
    assert_eq!(spoiled(|packet| packet[6] = 17, true), Ok(None));
    assert_eq!(spoiled(|packet| packet[40] = 128, true), Ok(None));
    assert_eq!(spoiled(|packet| packet[7] = 254, true), Err(Malformed::HopLimit));
    assert_eq!(spoiled(|packet| packet[41] = 1, true), Err(Malformed::Code));
    assert_eq!(spoiled(|packet| packet[43] ^= 1, false), Err(Malformed::Checksum));
    assert_eq!(spoiled(|packet| packet[48] = 0xff, true), Err(Malformed::GroupTarget));
    assert_eq!(spoiled(|packet| packet[65] = 0, true), Err(Malformed::BadOption));
    assert_eq!(spoiled(|packet| packet[65] = 2, true), Err(Malformed::BadOption));
    assert_eq!(spoiled(|packet| packet[66] = 1, true), Err(Malformed::GroupSender));
    assert_eq!(spoiled(|packet| packet[8] = 0xff, true), Err(Malformed::BadSource));
    // A probe must not carry a link-layer address: it has no address to bind it to.
    assert_eq!(spoiled(|packet| packet[8..24].fill(0), true), Err(Malformed::BadSource));
    // An answer to a group cannot be solicited.
    let to_a_group = |packet: &mut [u8]| {
        packet[40] = 136;
        packet[44] = 0x40;
        packet[64] = 2;
    };
    assert_eq!(spoiled(to_a_group, true), Err(Malformed::GroupTarget));
}

#[test]
fn cut_messages_are_malformed_or_none_and_never_more() {
    let mut out = [0; DISCOVERY_FRAME_LENGTH];
    Discovery::question(A, ip("fd01::1"), ip("fd01::2"), false).write(A, B, &mut out).unwrap();
    for length in 0..out.len() - 14 {
        assert!(!matches!(Discovery::parse(&out[14..14 + length]), Ok(Some(_))), "{length}");
    }
}
