//! The goldens were recorded from Linux 6.18: a super-frame injected with its virtio-net header
//! into a veth device without segmentation offload, and what came out at the other end.

use proptest::prelude::*;

use super::*;
use crate::wire::second_opinion::{bytes, check};

const TCP4: Segmentation = Segmentation::Tcp4 { ecn: false };
const TCP6: Segmentation = Segmentation::Tcp6 { ecn: false };
/// Link header length used with the recorded frames.
const ETHERNET: usize = 14;

fn offload(segmentation: Segmentation, segment_size: u16, transport_at: u16, field: u16) -> Offload {
    let start = ETHERNET as u16 + transport_at;
    let checksum = Completion::Partial { start, offset: field };
    Offload { checksum, segmentation, segment_size, header_length: 0 }
}

fn tcp_offload(segmentation: Segmentation, transport_at: u16) -> Offload {
    offload(segmentation, 10, transport_at, 16)
}

/// All segments, each written to a buffer full of 0xa5, and none of them longer than announced.
fn segments(packet: &[u8], offload: &Offload) -> Vec<Vec<u8>> {
    let mut segments = Segments::new(packet, offload, ETHERNET).unwrap();
    let total = segments.total();
    let mut written = Vec::new();
    while let Some(announced) = segments.next_length() {
        let mut buffer = vec![0xa5; announced + 3];
        assert_eq!(segments.next_into(&mut buffer), Some(announced));
        assert_eq!(&buffer[announced..], [0xa5; 3]);
        buffer.truncate(announced);
        written.push(buffer);
    }
    assert_eq!(segments.next_into(&mut [0; 2000]), None);
    assert_eq!(written.len(), total);
    written
}

struct Golden {
    name: &'static str,
    offload: Offload,
    frame: &'static str,
    segments: &'static [&'static str],
}

fn goldens() -> Vec<Golden> {
    vec![
        Golden {
            name: "TCP over IPv4, PSH, wrapping sequence number and identification",
            offload: tcp_offload(TCP4, 20),
            frame: "45000041fffe400040061da50a0000020a0909099c400050fffffff000000007501801f41d47\
                    00000102030405060708090a0b0c0d0e0f10111213141516171819",
            segments: &[
                "45000032fffe400040061db40a0000020a0909099c400050fffffff000000007501001f4db1c00000102030405060708090a",
                "45000032ffff400040061db30a0000020a0909099c400050fffffffa00000007501001f4a8e000000b0c0d0e0f1011121314",
                "4500002d0000400040061db80a0000020a0909099c4000500000000400000007501801f4aef600001516171819",
            ],
        },
        Golden {
            name: "FIN, PSH, ECE and CWR",
            offload: tcp_offload(Segmentation::Tcp4 { ecn: true }, 20),
            frame: "45000041fffe400040061da50a0000020a0909099c400050fffffff00000000750d901f41d47\
                    00000102030405060708090a0b0c0d0e0f10111213141516171819",
            segments: &[
                "45000032fffe400040061db40a0000020a0909099c400050fffffff00000000750d001f4da5c00000102030405060708090a",
                "45000032ffff400040061db30a0000020a0909099c400050fffffffa00000007505001f4a8a000000b0c0d0e0f1011121314",
                "4500002d0000400040061db80a0000020a0909099c4000500000000400000007505901f4aeb500001516171819",
            ],
        },
        Golden {
            name: "CWR although the metadata does not say so",
            offload: tcp_offload(TCP4, 20),
            frame: "45000041fffe400040061da50a0000020a0909099c400050fffffff000000007509801f41d47\
                    00000102030405060708090a0b0c0d0e0f10111213141516171819",
            segments: &[
                "45000032fffe400040061db40a0000020a0909099c400050fffffff000000007509001f4da9c00000102030405060708090a",
                "45000032ffff400040061db30a0000020a0909099c400050fffffffa00000007501001f4a8e000000b0c0d0e0f1011121314",
                "4500002d0000400040061db80a0000020a0909099c4000500000000400000007501801f4aef600001516171819",
            ],
        },
        Golden {
            name: "TCP options and urgent data",
            offload: tcp_offload(TCP4, 20),
            frame: "4500004dfffe400040061d990a0000020a0909099c400050fffffff000000007803801f41d53\
                    00030101080a00000001000000020102030405060708090a0b0c0d0e0f10111213141516171819",
            segments: &[
                "4500003efffe400040061da80a0000020a0909099c400050fffffff000000007803001f4a1df\
                 00030101080a00000001000000020102030405060708090a",
                "4500003effff400040061da70a0000020a0909099c400050fffffffa00000007803001f46fa3\
                 00030101080a00000001000000020b0c0d0e0f1011121314",
                "450000390000400040061dac0a0000020a0909099c4000500000000400000007803801f475b9\
                 00030101080a00000001000000021516171819",
            ],
        },
        Golden {
            name: "IPv4 options",
            offload: tcp_offload(TCP4, 24),
            frame: "46000045fffe400040061a9f0a0000020a090909010101019c400050fffffff000000007501801f41d47\
                    00000102030405060708090a0b0c0d0e0f10111213141516171819",
            segments: &[
                "46000036fffe400040061aae0a0000020a090909010101019c400050fffffff000000007501001f4db1c\
                 00000102030405060708090a",
                "46000036ffff400040061aad0a0000020a090909010101019c400050fffffffa00000007501001f4a8e0\
                 00000b0c0d0e0f1011121314",
                "460000310000400040061ab20a0000020a090909010101019c4000500000000400000007501801f4aef6\
                 00001516171819",
            ],
        },
        Golden {
            name: "a payload that fills its last segment",
            offload: tcp_offload(TCP4, 20),
            frame: "4500003cfffe400040061daa0a0000020a0909099c400050fffffff000000007501801f41d42\
                    00000102030405060708090a0b0c0d0e0f1011121314",
            segments: &[
                "45000032fffe400040061db40a0000020a0909099c400050fffffff000000007501001f4db1c00000102030405060708090a",
                "45000032ffff400040061db30a0000020a0909099c400050fffffffa00000007501801f4a8d800000b0c0d0e0f1011121314",
            ],
        },
        Golden {
            name: "a payload shorter than a segment",
            offload: tcp_offload(TCP4, 20),
            frame: "4500002dfffe400040061db90a0000020a0909099c400050fffffff000000007501801f41d3300000102030405",
            segments: &["4500002dfffe400040061db90a0000020a0909099c400050fffffff000000007501801f4eb3100000102030405"],
        },
        Golden {
            name: "TCP over IPv6",
            offload: tcp_offload(TCP6, 40),
            frame: "60000000002d0640fd000000000000000000000000000002fd990000000000000000000000000009\
                    9c400050fffffff000000007501801f4fad800000102030405060708090a0b0c0d0e0f10111213141516171819",
            segments: &[
                "60000000001e0640fd000000000000000000000000000002fd990000000000000000000000000009\
                 9c400050fffffff000000007501001f4fd8a00000102030405060708090a",
                "60000000001e0640fd000000000000000000000000000002fd990000000000000000000000000009\
                 9c400050fffffffa00000007501001f4cb4e00000b0c0d0e0f1011121314",
                "6000000000190640fd000000000000000000000000000002fd990000000000000000000000000009\
                 9c4000500000000400000007501801f4d16400001516171819",
            ],
        },
        Golden {
            name: "UDP over IPv4",
            offload: offload(Segmentation::Udp, 10, 20, 6),
            frame: "45000035fffe400040111da60a0000020a090909a028003500211d46\
                    0102030405060708090a0b0c0d0e0f10111213141516171819",
            segments: &[
                "45000026fffe400040111db50a0000020a090909a02800350012293b0102030405060708090a",
                "45000026ffff400040111db40a0000020a090909a02800350012f7080b0c0d0e0f1011121314",
                "450000210000400040111db90a0000020a090909a0280035000dfd341516171819",
            ],
        },
        Golden {
            name: "UDP over IPv6",
            offload: offload(Segmentation::Udp, 10, 40, 6),
            frame: "6000000000211140fd000000000000000000000000000002fd990000000000000000000000000009\
                    a02800350021fad70102030405060708090a0b0c0d0e0f10111213141516171819",
            segments: &[
                "6000000000121140fd000000000000000000000000000002fd990000000000000000000000000009\
                 a028003500124ba90102030405060708090a",
                "6000000000121140fd000000000000000000000000000002fd990000000000000000000000000009\
                 a0280035001219770b0c0d0e0f1011121314",
                "60000000000d1140fd000000000000000000000000000002fd990000000000000000000000000009\
                 a0280035000d1fa31516171819",
            ],
        },
    ]
}

#[test]
fn segments_are_those_that_linux_makes() {
    for golden in goldens() {
        let expected: Vec<_> = golden.segments.iter().map(|segment| bytes(segment)).collect();
        let made = segments(&bytes(golden.frame), &golden.offload);
        assert_eq!(made, expected, "{}", golden.name);
        for segment in made {
            check(&segment).unwrap_or_else(|error| panic!("{}: {error}", golden.name));
        }
    }
}

#[test]
fn padding_behind_the_packet_is_no_payload() {
    let golden = goldens().swap_remove(0);
    let mut padded = bytes(golden.frame);
    padded.extend_from_slice(&[0xa5; 9]);
    assert_eq!(segments(&padded, &golden.offload).len(), 3);
}

#[test]
fn a_super_frame_beyond_64_kib_is_as_long_as_its_frame() {
    let golden = goldens().swap_remove(0);
    let mut packet = bytes(golden.frame);
    packet.resize(40 + 100_000, 7);
    packet[2..4].fill(0);
    let offload = Offload { segment_size: 1000, ..golden.offload };
    let made = segments(&packet, &offload);
    assert_eq!(made.len(), 100);
    assert!(made.iter().all(|segment| segment.len() == 1040 && check(segment).is_ok()));
}

#[test]
fn udp_without_a_checksum_stays_without() {
    let golden = goldens().into_iter().find(|golden| golden.name == "UDP over IPv4").unwrap();
    let mut packet = bytes(golden.frame);
    packet[26..28].fill(0);
    let offload = Offload { checksum: Completion::Complete, ..golden.offload };
    for segment in segments(&packet, &offload) {
        assert_eq!(segment[26..28], [0, 0]);
    }
}

#[test]
fn a_buffer_too_short_loses_nothing() {
    let golden = goldens().swap_remove(0);
    let packet = bytes(golden.frame);
    let mut segments = Segments::new(&packet, &golden.offload, ETHERNET).unwrap();
    assert_eq!(segments.next_into(&mut [0; 49]), None);
    assert_eq!(segments.next_length(), Some(50));
    assert_eq!(segments.next_into(&mut [0; 50]), Some(50));
}

#[test]
fn metadata_that_contradicts_the_packet_is_refused() {
    let golden = goldens().swap_remove(0);
    let packet = bytes(golden.frame);
    let good = golden.offload;
    let refused = |packet: &[u8], offload: Offload| Segments::new(packet, &offload, ETHERNET).unwrap_err();
    let with = |at: usize, value: u8| {
        let mut packet = packet.clone();
        packet[at] = value;
        packet
    };
    assert_eq!(refused(&packet, Offload::NONE), SegmentError::NotSegmented);
    let fragments = Offload { segmentation: Segmentation::UdpFragments, ..good };
    assert_eq!(refused(&packet, fragments), SegmentError::ToBeFragmented);
    assert_eq!(refused(&packet, Offload { segment_size: 0, ..good }), SegmentError::SegmentSize);
    assert_eq!(refused(&packet, Offload { segmentation: TCP6, ..good }), SegmentError::Protocol);
    assert_eq!(refused(&packet, Offload { segmentation: Segmentation::Udp, ..good }), SegmentError::Protocol);
    assert_eq!(refused(&[], good), SegmentError::Protocol);
    assert_eq!(refused(&packet[..19], good), SegmentError::Length, "half an IP header");
    assert_eq!(refused(&packet[..64], good), SegmentError::Length, "a total length beyond the frame");
    assert_eq!(refused(&with(0, 0x44), good), SegmentError::Length, "an IP header of 16 bytes");
    assert_eq!(refused(&with(3, 19), good), SegmentError::Length, "a total length below the header's");
    assert_eq!(refused(&with(3, 39), good), SegmentError::Length, "half a TCP header");
    assert_eq!(refused(&with(32, 0x40), good), SegmentError::Length, "a TCP header of 16 bytes");
    assert_eq!(refused(&with(32, 0xf0), good), SegmentError::Length, "a TCP header beyond the packet");
    let elsewhere = Completion::Partial { start: 54, offset: 16 };
    assert_eq!(refused(&packet, Offload { checksum: elsewhere, ..good }), SegmentError::ChecksumStart);
    let link_layer = Completion::Partial { start: 13, offset: 16 };
    assert_eq!(refused(&packet, Offload { checksum: link_layer, ..good }), SegmentError::ChecksumStart);
}

#[test]
fn completion_is_what_linux_does() {
    let rows = [
        (
            "UDP whose checksum comes out as zero",
            Unfinished { start: 20, offset: 6 },
            "4500001efffe400040111dbd0a0000020a090909a0280035000a1d2f4269",
            "4500001efffe400040111dbd0a0000020a090909a0280035000affff4269",
        ),
        (
            "TCP whose checksum comes out as zero",
            Unfinished { start: 20, offset: 16 },
            "4500002afffe400040061dbc0a0000020a0909099c400050fffffff000000007501001f41d300000f442",
            "4500002afffe400040061dbc0a0000020a0909099c400050fffffff000000007501001f4ffff0000f442",
        ),
        (
            "TCP",
            Unfinished { start: 20, offset: 16 },
            "4500002dfffe400040061db90a0000020a0909099c400050fffffff000000007501801f41d3300000102030405",
            "4500002dfffe400040061db90a0000020a0909099c400050fffffff000000007501801f4eb3100000102030405",
        ),
    ];
    for (name, unfinished, before, after) in rows {
        let mut packet = bytes(before);
        assert_eq!(complete(&mut packet, unfinished), Ok(()), "{name}");
        assert_eq!(packet, bytes(after), "{name}");
    }
}

#[test]
fn a_checksum_outside_of_the_packet_is_refused() {
    let mut packet = [0xa5; 40];
    for (start, offset) in [(41, 0), (40, 0), (20, 19), (39, 0), (usize::MAX, 16), (20, usize::MAX)] {
        assert_eq!(complete(&mut packet, Unfinished { start, offset }), Err(SegmentError::ChecksumStart));
    }
    assert_eq!(packet, [0xa5; 40]);
    let early = Completion::Partial { start: 13, offset: 16 };
    assert_eq!(Unfinished::of(early, 14), Err(SegmentError::ChecksumStart));
    assert_eq!(Unfinished::of(Completion::Verified, 14), Ok(None));
}

/// A TCP super-frame whose payload is `payload`, over either family.
fn super_frame(family: Family, payload: &[u8]) -> (Vec<u8>, Offload) {
    let (name, segmentation, transport_at) = match family {
        Family::V4 => ("TCP options and urgent data", TCP4, 20),
        Family::V6 => ("TCP over IPv6", TCP6, 40),
    };
    let golden = goldens().into_iter().find(|golden| golden.name == name).unwrap();
    let mut packet = bytes(golden.frame);
    packet.truncate(packet.len() - 25);
    packet.extend_from_slice(payload);
    let length = packet.len() as u16;
    match family {
        Family::V4 => packet[2..4].copy_from_slice(&length.to_be_bytes()),
        Family::V6 => packet[4..6].copy_from_slice(&(length - 40).to_be_bytes()),
    }
    (packet, tcp_offload(segmentation, transport_at))
}

proptest! {
    #[test]
    fn segments_carry_the_stream(
        payload in proptest::collection::vec(any::<u8>(), 0..20_000),
        size in 1u16..3000,
        v6 in any::<bool>(),
    ) {
        let family = if v6 { Family::V6 } else { Family::V4 };
        let (packet, offload) = super_frame(family, &payload);
        let offload = Offload { segment_size: size.max(payload.len() as u16 / 50 + 1), ..offload };
        let mut stream = Vec::new();
        let mut expected_sequence = 0xffff_fff0u32;
        for segment in segments(&packet, &offload) {
            prop_assert_eq!(check(&segment), Ok(()));
            let headers = packet.len() - payload.len();
            let at = if v6 { 44 } else { 24 };
            let sequence = u32::from_be_bytes([segment[at], segment[at + 1], segment[at + 2], segment[at + 3]]);
            prop_assert_eq!(sequence, expected_sequence);
            expected_sequence = expected_sequence.wrapping_add((segment.len() - headers) as u32);
            stream.extend_from_slice(&segment[headers..]);
        }
        prop_assert_eq!(stream, payload);
    }

    #[test]
    fn no_bytes_panic(
        mut packet in proptest::collection::vec(any::<u8>(), 0..200),
        version in prop_oneof![Just(0x45u8), Just(0x46), Just(0x60), any::<u8>()],
        protocol in prop_oneof![Just(6u8), Just(17), any::<u8>()],
        kind in 0usize..5,
        segment_size in any::<u16>(),
        start in 0u16..250,
        offset in 0u16..250,
    ) {
        for (at, value) in [(0, version), (2, 0), (3, 0), (4, 0), (5, 0), (6, protocol), (9, protocol)] {
            if let Some(byte) = packet.get_mut(at) {
                *byte = value;
            }
        }
        let kinds = [Segmentation::None, TCP4, TCP6, Segmentation::Udp, Segmentation::UdpFragments];
        let partial = Completion::Partial { start, offset };
        let mut buffer = vec![0xa5; 70_000];
        for checksum in [Completion::Complete, partial] {
            let offload = Offload { checksum, segmentation: kinds[kind], segment_size, header_length: start };
            if let Ok(mut segments) = Segments::new(&packet, &offload, 0) {
                while let Some(length) = segments.next_into(&mut buffer) {
                    prop_assert!(length <= packet.len());
                }
                prop_assert_eq!(segments.next_length(), None);
            }
        }
        let _ = complete(&mut packet, Unfinished { start: usize::from(start), offset: usize::from(offset) });
    }
}
