//! Packets are built by etherparse, which shares no code with what takes them apart.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv6Header, PacketBuilder, TcpHeader, UdpHeader};
use proptest::prelude::*;

use super::*;
use crate::wire::offload::Segmentation;

pub const DIRECTOR: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);
pub const SELF: Ipv4Addr = Ipv4Addr::new(10, 0, 11, 2);
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 100);
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 10);
pub const DIRECTOR6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 1);
pub const SELF6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x11, 0, 0, 0, 0, 0, 2);
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0x100);
const GUE_PORT: u16 = 6080;

pub fn policy() -> Policy {
    let both = |protocol| [(Family::V4, protocol), (Family::V6, protocol)];
    Policy {
        virtual_addresses: vec![VIP.into(), VIP6.into()],
        protocols: [Protocol::IPIP, Protocol::IPV6, Protocol::GRE].into_iter().flat_map(both).collect(),
        gue_port: Some(Port(GUE_PORT)),
    }
}

fn ours(address: IpAddr) -> bool {
    [IpAddr::from(SELF), IpAddr::from(SELF6)].contains(&address)
}

fn take(packet: &mut [u8]) -> Result<Inner, DropReason> {
    decapsulate(packet, Offload::NONE, &policy(), ours)
}

/// A TCP segment for the VIP, with `tos` in its IP header.
pub fn inner_v4(tos: u8) -> Vec<u8> {
    let mut ip = Ipv4Header::new(25, 63, IpNumber::TCP, CLIENT.octets(), VIP.octets()).unwrap();
    (ip.dscp, ip.ecn) = ((tos >> 2).try_into().unwrap(), (tos & 3).try_into().unwrap());
    let builder = PacketBuilder::ip(etherparse::IpHeaders::Ipv4(ip, Default::default()));
    let mut packet = Vec::new();
    builder.tcp(51324, 80, 1, 1000).write(&mut packet, b"hello").unwrap();
    packet
}

pub fn inner_v6() -> Vec<u8> {
    let source = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0x10).octets();
    let mut packet = Vec::new();
    PacketBuilder::ipv6(source, VIP6.octets(), 63).tcp(51324, 80, 1, 1000).write(&mut packet, b"hello").unwrap();
    packet
}

pub fn outer_v4(protocol: u8, ecn: u8, payload: &[u8]) -> Vec<u8> {
    let mut ip =
        Ipv4Header::new(payload.len() as u16, 64, IpNumber(protocol), DIRECTOR.octets(), SELF.octets()).unwrap();
    ip.ecn = ecn.try_into().unwrap();
    ip.header_checksum = ip.calc_header_checksum();
    let mut packet = Vec::new();
    ip.write(&mut packet).unwrap();
    packet.extend(payload);
    packet
}

pub fn outer_v6(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let ip = Ipv6Header {
        payload_length: payload.len() as u16,
        next_header: IpNumber(protocol),
        hop_limit: 64,
        source: DIRECTOR6.octets(),
        destination: SELF6.octets(),
        ..Default::default()
    };
    [&ip.to_bytes()[..], payload].concat()
}

pub fn udp_v4(payload: &[u8], checksummed: bool) -> Vec<u8> {
    let header = if checksummed {
        UdpHeader::with_ipv4_checksum(
            40000,
            GUE_PORT,
            &Ipv4Header::new(0, 64, IpNumber::UDP, DIRECTOR.octets(), SELF.octets()).unwrap(),
            payload,
        )
    } else {
        UdpHeader::without_ipv4_checksum(40000, GUE_PORT, payload.len())
    };
    [&header.unwrap().to_bytes()[..], payload].concat()
}

#[test]
fn ipip_gives_back_the_packet_that_went_in() {
    for (mut packet, inner) in [
        (outer_v4(4, 0, &inner_v4(0)), inner_v4(0)),
        (outer_v4(41, 0, &inner_v6()), inner_v6()),
        (outer_v6(4, &inner_v4(0)), inner_v4(0)),
        (outer_v6(41, &inner_v6()), inner_v6()),
    ] {
        let taken = take(&mut packet).unwrap();
        assert_eq!(packet[taken.range], inner);
        assert_eq!(taken.offload, Offload::NONE);
    }
}

#[test]
fn padding_of_a_short_frame_is_left_behind() {
    let mut packet = outer_v4(4, 0, &inner_v4(0));
    packet.extend([0; 6]);
    let taken = take(&mut packet).unwrap();
    assert_eq!(packet[taken.range], inner_v4(0));
}

#[test]
fn gre_is_taken_with_and_without_checksum() {
    let plain = [&[0, 0, 0x08, 0x00][..], &inner_v4(0)].concat();
    let mut packet = outer_v4(47, 0, &plain);
    let taken = take(&mut packet).unwrap();
    assert_eq!(packet[taken.range], inner_v4(0));

    let mut summed = [&[0x80, 0, 0x86, 0xdd, 0, 0, 0, 0][..], &inner_v6()].concat();
    let sum = etherparse::checksum::Sum16BitWords::new().add_slice(&summed).ones_complement();
    summed[4..6].copy_from_slice(&sum.to_ne_bytes());
    let mut packet = outer_v4(47, 0, &summed);
    let taken = take(&mut packet).unwrap();
    assert_eq!(packet[taken.range], inner_v6());

    summed[5] ^= 1;
    assert_eq!(take(&mut outer_v4(47, 0, &summed)), Err(DropReason::BadOuterChecksum));
    assert_eq!(take(&mut outer_v4(47, 0, &[0x20, 0, 8, 0, 0, 0, 0, 7])), Err(DropReason::UnknownOption), "a key");
    assert_eq!(take(&mut outer_v4(47, 0, &[0, 1, 8, 0])), Err(DropReason::UnknownOption), "version 1");
    assert_eq!(take(&mut outer_v4(47, 0, &[0, 0, 0x65, 0x58])), Err(DropReason::NotAPacket), "Ethernet");
}

#[test]
fn gue_is_taken_in_both_versions() {
    let header = [&[0, 4, 0, 0][..], &inner_v4(0)].concat();
    for checksummed in [false, true] {
        let mut packet = outer_v4(17, 0, &udp_v4(&header, checksummed));
        let taken = take(&mut packet).unwrap();
        assert_eq!(packet[taken.range], inner_v4(0));
    }
    let mut direct = outer_v4(17, 0, &udp_v4(&inner_v6(), true));
    let taken = take(&mut direct).unwrap();
    assert_eq!(direct[taken.range], inner_v6());
}

#[test]
fn gue_over_ipv6_is_verified_with_its_pseudo_header() {
    let payload = [&[0, 41, 0, 0][..], &inner_v6()].concat();
    let ip = Ipv6Header { source: DIRECTOR6.octets(), destination: SELF6.octets(), ..Default::default() };
    let udp = UdpHeader::with_ipv6_checksum(40000, GUE_PORT, &ip, &payload).unwrap();
    let datagram = [&udp.to_bytes()[..], &payload].concat();
    let mut packet = outer_v6(17, &datagram);
    let taken = take(&mut packet).unwrap();
    assert_eq!(packet[taken.range], inner_v6());
    let mut damaged = outer_v6(17, &datagram);
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(take(&mut damaged), Err(DropReason::BadOuterChecksum));
}

#[test]
fn gue_options_are_known_or_refused() {
    let gue = |header: &[u8]| outer_v4(17, 0, &udp_v4(&[header, &inner_v4(0)].concat(), false));
    // Two option words: private flags with remote checksum, then start 20 and field 36.
    let mut packet = gue(&[2, 4, 0, 1, 0x80, 0, 0, 0, 0, 20, 0, 36]);
    let taken = take(&mut packet).unwrap();
    assert_eq!(packet[taken.range], inner_v4(0));
    assert_eq!(taken.offload.checksum, Completion::Partial { start: 20, offset: 16 });

    assert_eq!(take(&mut gue(&[0x20, 4, 0, 0])), Err(DropReason::UnknownOption), "control message");
    assert_eq!(take(&mut gue(&[0, 4, 0x80, 0])), Err(DropReason::UnknownOption), "unknown flag");
    assert_eq!(take(&mut gue(&[1, 4, 0, 1, 0x40, 0, 0, 0])), Err(DropReason::UnknownOption), "unknown private flag");
    assert_eq!(take(&mut gue(&[0, 6, 0, 0])), Err(DropReason::NotAPacket), "TCP inside");
    assert_eq!(take(&mut gue(&[0, 4, 0, 1])), Err(DropReason::Truncated), "no room for private flags");
    assert_eq!(take(&mut gue(&[0xc0, 4, 0, 0])), Err(DropReason::UnknownOption), "version 3");
}

#[test]
fn another_udp_port_is_not_a_tunnel() {
    let mut datagram = udp_v4(&inner_v4(0), false);
    datagram[2..4].copy_from_slice(&53u16.to_be_bytes());
    assert_eq!(take(&mut outer_v4(17, 0, &datagram)), Err(DropReason::NotATunnel));
}

#[test]
fn what_the_kernel_takes_is_left_to_it() {
    let without = Policy { protocols: vec![(Family::V4, Protocol::GRE)], ..policy() };
    let mut packet = outer_v4(4, 0, &inner_v4(0));
    assert_eq!(decapsulate(&mut packet, Offload::NONE, &without, ours), Err(DropReason::NotATunnel));
}

#[test]
fn outer_headers_are_checked() {
    let whole = outer_v4(4, 0, &inner_v4(0));
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut packet = whole.clone();
        change(&mut packet);
        take(&mut packet)
    };
    // Wrong without a new checksum, and what each says with one.
    assert_eq!(changed(&|packet| packet[8] ^= 1), Err(DropReason::BadOuterHeader));
    assert_eq!(changed(&|packet| packet[0] = 0x44), Err(DropReason::BadOuterHeader), "header of 16 bytes");
    assert_eq!(changed(&|packet| packet[0] = 0x55), Err(DropReason::BadOuterHeader), "version 5");
    assert_eq!(changed(&|packet| packet.truncate(50)), Err(DropReason::Truncated));
    assert_eq!(changed(&|packet| packet.clear()), Err(DropReason::Truncated));

    let mut elsewhere = Ipv4Header::new(0, 64, IpNumber::IPV4, DIRECTOR.octets(), CLIENT.octets()).unwrap();
    elsewhere.header_checksum = elsewhere.calc_header_checksum();
    assert_eq!(take(&mut elsewhere.to_bytes().to_vec()), Err(DropReason::NotOurs));

    let mut fragment = Ipv4Header::new(8, 64, IpNumber::IPV4, DIRECTOR.octets(), SELF.octets()).unwrap();
    fragment.fragment_offset = IpFragOffset::try_new(1).unwrap();
    fragment.header_checksum = fragment.calc_header_checksum();
    assert_eq!(take(&mut [&fragment.to_bytes()[..], &[0; 8]].concat()), Err(DropReason::Fragment));
}

#[test]
fn inner_packets_are_checked() {
    assert_eq!(take(&mut outer_v4(4, 0, &inner_v6())), Err(DropReason::NotAPacket));
    assert_eq!(take(&mut outer_v4(41, 0, &inner_v4(0))), Err(DropReason::NotAPacket));
    assert_eq!(take(&mut outer_v4(4, 0, &inner_v4(0)[..30])), Err(DropReason::BadInnerLength));
    assert_eq!(take(&mut outer_v4(4, 0, &inner_v4(0)[..10])), Err(DropReason::Truncated));
    assert_eq!(take(&mut outer_v4(4, 0, &[])), Err(DropReason::Truncated));
    let mut short = inner_v4(0);
    short[2..4].copy_from_slice(&19u16.to_be_bytes());
    assert_eq!(take(&mut outer_v4(4, 0, &short)), Err(DropReason::BadInnerLength));
}

#[test]
fn only_virtual_addresses_are_let_in() {
    let mut packet = Vec::new();
    PacketBuilder::ipv4(CLIENT.octets(), [10, 0, 11, 77], 63).udp(1, 2).write(&mut packet, b"x").unwrap();
    assert_eq!(take(&mut outer_v4(4, 0, &packet)), Err(DropReason::NotVirtual));
}

#[test]
fn congestion_marks_come_along_with_a_right_checksum() {
    // ECT(0) inside, CE outside.
    let mut packet = outer_v4(4, 3, &inner_v4(0xba));
    let taken = take(&mut packet).unwrap();
    let (header, _) = Ipv4Header::from_slice(&packet[taken.range]).unwrap();
    assert_eq!((header.dscp.value(), header.ecn.value()), (0x2e, 3));
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    assert_eq!(take(&mut outer_v4(4, 3, &inner_v4(0))), Err(DropReason::CongestionLost));

    // The same in IPv6, where the class lies across two bytes.
    let (mut inside, mut outside) = (inner_v6(), outer_v6(41, &[]));
    inside[1] |= 0x20;
    outside[1] |= 0x30;
    outside[4..6].copy_from_slice(&(inside.len() as u16).to_be_bytes());
    let mut packet = [outside, inside].concat();
    let taken = take(&mut packet).unwrap();
    assert_eq!(packet[taken.range][1] & 0x30, 0x30);
}

#[test]
fn unfinished_checksums_and_super_frames_stay_what_they_are() {
    let mut packet = outer_v4(4, 0, &inner_v4(0));
    let offload = Offload {
        checksum: Completion::Partial { start: 40, offset: 16 },
        segmentation: Segmentation::Tcp4 { ecn: false },
        segment_size: 1440,
        header_length: 60,
    };
    let taken = decapsulate(&mut packet, offload, &policy(), ours).unwrap();
    let expected = Offload { checksum: Completion::Partial { start: 20, offset: 16 }, header_length: 40, ..offload };
    assert_eq!(taken.offload, expected);

    // An unfinished outer UDP checksum is nobody's business once the header is gone.
    let mut packet = outer_v4(17, 0, &udp_v4(&[&[0, 4, 0, 0][..], &inner_v4(0)].concat(), true));
    packet[26] ^= 0xff;
    let unfinished = Offload { checksum: Completion::Partial { start: 20, offset: 6 }, ..Offload::NONE };
    let taken = decapsulate(&mut packet, unfinished, &policy(), ours).unwrap();
    assert_eq!(taken.offload, Offload::NONE);
}

#[test]
fn every_reason_is_listed_at_its_place() {
    for (index, (reason, sentence)) in DropReason::ALL.iter().enumerate() {
        assert_eq!(*reason as usize, index);
        assert!(!sentence.is_empty());
    }
}

proptest! {
    #[test]
    fn nothing_on_the_wire_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = take(&mut bytes);
    }

    #[test]
    fn damaged_tunnels_never_panic_nor_reach_beyond(at in 0usize..120, value: u8, kind in 0usize..4, cut in 0usize..160) {
        let mut packet = match kind {
            0 => outer_v4(4, 0, &inner_v4(0)),
            1 => outer_v6(41, &inner_v6()),
            2 => outer_v6(47, &[&[0, 0, 8, 0][..], &inner_v4(0)].concat()),
            _ => outer_v6(17, &udp_v4(&[&[0, 4, 0, 0][..], &inner_v4(0)].concat(), false)),
        };
        if let Some(byte) = packet.get_mut(at) {
            *byte = value;
        }
        packet.truncate(cut);
        let length = packet.len();
        if let Ok(inner) = take(&mut packet) {
            prop_assert!(inner.range.end <= length && !inner.range.is_empty());
        }
    }
}

/// The inner TCP header is where the tests above believe it to be.
#[test]
fn the_builder_builds_what_is_believed() {
    let packet = inner_v4(0);
    let (header, rest) = TcpHeader::from_slice(&packet[20..]).unwrap();
    assert_eq!((header.destination_port, rest), (80, &b"hello"[..]));
}
