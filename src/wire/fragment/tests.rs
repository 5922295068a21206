use etherparse::PacketBuilder;
use proptest::prelude::*;

use super::*;
use crate::wire::second_opinion::{bytes, check};

/// All fragments, each written to a buffer full of 0xa5, and none of them longer than announced.
fn fragments(mut fragments: Fragments<'_>) -> Vec<Vec<u8>> {
    let mut written = Vec::new();
    while let Some(announced) = fragments.next_length() {
        let mut buffer = vec![0xa5; announced + 3];
        assert_eq!(fragments.next_into(&mut buffer), Some(announced));
        assert_eq!(&buffer[announced..], [0xa5; 3]);
        buffer.truncate(announced);
        written.push(buffer);
    }
    assert_eq!(fragments.next_into(&mut [0; 70_000]), None);
    written
}

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

/// An IPv4 UDP packet of `length` bytes, with `options`.
fn ipv4(length: usize, options: &[u8]) -> Vec<u8> {
    let options = options.try_into().unwrap();
    let header = etherparse::Ipv4Header {
        identification: 0x77,
        time_to_live: 63,
        protocol: etherparse::IpNumber::UDP,
        source: [10, 0, 0, 2],
        destination: [172, 16, 0, 11],
        options,
        ..Default::default()
    };
    let data = payload(length - header.header_len() - 8);
    let mut packet = Vec::new();
    PacketBuilder::ip(etherparse::IpHeaders::Ipv4(header, Default::default()))
        .udp(1, 2)
        .write(&mut packet, &data)
        .unwrap();
    packet
}

/// An IPv6 UDP packet of `length` bytes, whose extension headers are `extensions`, the last naming UDP.
fn ipv6(length: usize, first: u8, extensions: &[u8]) -> Vec<u8> {
    let mut packet = bytes("6000000000000040fd000000000000000000000000000002fd01000000000000000000000000000b");
    packet[6] = first;
    packet[4..6].copy_from_slice(&((length - 40) as u16).to_be_bytes());
    packet.extend_from_slice(extensions);
    packet.extend_from_slice(&payload(length - packet.len()));
    packet
}

/// What stands in an IPv4 fragment's header: total length, offset in bytes, more, options.
fn ipv4_fields(fragment: &[u8]) -> (usize, usize, bool, Vec<u8>) {
    check(fragment).unwrap();
    let (header, _) = etherparse::Ipv4Header::from_slice(fragment).unwrap();
    assert_eq!((header.identification, header.dont_fragment), (0x77, false));
    let offset = usize::from(header.fragment_offset.value()) * 8;
    (usize::from(header.total_len), offset, header.more_fragments, header.options.to_vec())
}

/// Lengths as recorded from Linux 6.18 when it forwards to a link with an MTU of 1300.
#[test]
fn an_ipv4_packet_is_cut_where_linux_cuts_it() {
    let whole = ipv4(1428, &[]);
    let made = fragments(Fragments::ipv4(&whole, 1300, Original::WHOLE).unwrap());
    let fields: Vec<_> = made.iter().map(|fragment| ipv4_fields(fragment)).collect();
    assert_eq!(fields, [(1300, 0, true, vec![]), (148, 1280, false, vec![])]);
    assert_eq!([&made[0][20..], &made[1][20..]].concat(), &whole[20..]);
}

/// The options are a stream identifier (copied), a recorded route (not copied) and a
/// no-operation; headers as recorded from Linux 6.18.
#[test]
fn options_not_to_be_copied_become_no_operations() {
    let options = bytes("88041234070f0c01010101ac1000010000000001");
    let whole = ipv4(1348, &options);
    let made = fragments(Fragments::ipv4(&whole, 1300, Original::WHOLE).unwrap());
    let fields: Vec<_> = made.iter().map(|fragment| ipv4_fields(fragment)).collect();
    let blanked = bytes("8804123401010101010101010101010101010101");
    assert_eq!(fields, [(1296, 0, true, options.clone()), (92, 1256, false, blanked)]);

    let mut later = whole;
    later[6..8].copy_from_slice(&[0x20, 100]);
    let made = fragments(Fragments::ipv4(&later, 1300, Original::WHOLE).unwrap());
    let fields: Vec<_> = made.iter().map(|fragment| ipv4_fields(fragment)).collect();
    let expected = [(1296, 800, true, options.clone()), (92, 2056, true, options)];
    assert_eq!(fields, expected, "a later fragment's options are those to be copied already");
}

#[test]
fn broken_options_are_left_alone() {
    for options in ["0703", "0700", "0701", "07", "8300", "88", "00070707"] {
        let before = bytes(options);
        let mut after = before.clone();
        blank_uncopied(&mut after);
        assert_eq!(after, before, "{options}");
    }
}

#[test]
fn a_fragment_is_cut_further() {
    let rows = [
        ("the first", 0x2000, vec![(1300, 0, true), (140, 1280, true)]),
        ("a middle one", 0x2064, vec![(1300, 800, true), (140, 2080, true)]),
        ("the last", 0x0064, vec![(1300, 800, false), (140, 2080, false)]),
    ];
    for (name, field, mut expected) in rows {
        let mut packet = ipv4(1420, &[]);
        packet[6..8].copy_from_slice(&u16::to_be_bytes(field));
        expected[0].2 = true;
        let made = fragments(Fragments::ipv4(&packet, 1300, Original::WHOLE).unwrap());
        let fields: Vec<_> = made.iter().map(|fragment| ipv4_fields(fragment)).collect();
        let fields: Vec<_> = fields.into_iter().map(|(length, offset, more, _)| (length, offset, more)).collect();
        assert_eq!(fields, expected, "{name}");
    }
}

#[test]
fn a_packet_that_fits_stays_as_it_is() {
    let mut packet = ipv4(1300, &[]);
    packet[6] = 0x40;
    assert_eq!(fragments(Fragments::ipv4(&packet, 1300, Original::WHOLE).unwrap()), [packet.clone()]);
    packet.push(0xa5);
    assert_eq!(fragments(Fragments::ipv4(&packet, 1300, Original::WHOLE).unwrap()), [packet[..1300].to_vec()]);
    let packet = ipv6(1300, 17, &[]);
    assert_eq!(fragments(Fragments::ipv6(&packet, 1300, Original::WHOLE, 7).unwrap()), [packet]);
}

#[test]
fn a_packet_that_may_not_be_fragmented_is_the_callers_affair() {
    let mut packet = ipv4(1428, &[]);
    packet[6] = 0x40;
    let made = fragments(Fragments::ipv4(&packet, 1300, Original::WHOLE).unwrap());
    assert_eq!(ipv4_fields(&made[0]), (1300, 0, true, vec![]));
}

fn pieces(ends: &[u16]) -> Vec<Piece> {
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts.zip(ends).map(|(start, &end)| Piece { start, end }).collect()
}

fn original(pieces: &[Piece]) -> Original<'_> {
    let most = pieces.iter().map(|piece| piece.length()).max().unwrap_or_default();
    Original { longest: 48 + most, dont_fragment: false, pieces }
}

/// Recorded from Linux 6.18: a datagram reassembled on the way leaves as it came, though 1300 bytes fit.
#[test]
fn a_reassembled_datagram_leaves_in_the_fragments_it_came_in() {
    let whole = ipv4(2028, &[]);
    let lengths = |mtu: usize, ends: &[u16]| -> Vec<usize> {
        let pieces = pieces(ends);
        let longest = 20 + pieces.iter().map(|piece| piece.length()).max().unwrap_or_default();
        let original = Original { longest, dont_fragment: false, pieces: &pieces };
        fragments(Fragments::ipv4(&whole, mtu, original).unwrap()).iter().map(Vec::len).collect()
    };
    assert_eq!(lengths(1300, &[400, 1200, 2008]), [420, 820, 828]);
    assert_eq!(lengths(9000, &[400, 1200, 2008]), [420, 820, 828], "even where the whole fits");
    assert_eq!(lengths(1300, &[1400, 2008]), [1300, 748], "a fragment longer than the MTU");
    assert_eq!(lengths(1300, &[800, 1600, 2000]), [820, 820, 428], "pieces of another length");
    assert_eq!(lengths(9000, &[1008, 2000]), [1028, 1020], "pieces of another length");
    assert_eq!(lengths(1300, &[401, 2008]), [1300, 748], "pieces that no fragment can carry");
    assert_eq!(lengths(1300, &[1000, 1000, 2008]), [1028, 1020], "an empty piece");
    assert_eq!(lengths(2028, &[2008]), [2028]);
}

/// Recorded from Linux 6.18.
#[test]
fn an_ipv6_datagram_no_longer_than_a_fragment_it_came_in_stays_whole() {
    let lengths = |length: usize, ends: &[u16]| -> Vec<usize> {
        let (whole, pieces) = (ipv6(length, 17, &[]), pieces(ends));
        let made = Fragments::ipv6(&whole, 1500, original(&pieces), 1).unwrap();
        fragments(made).iter().map(Vec::len).collect()
    };
    assert_eq!(lengths(1048, &[1000, 1008]), [1048]);
    assert_eq!(lengths(1048, &[8, 1008]), [1048]);
    assert_eq!(lengths(1049, &[1000, 1009]), [1048, 57]);
    assert_eq!(lengths(248, &[104, 208]), [152, 152]);
}

/// Recorded from Linux 6.18, but for the identification, which it draws anew.
#[test]
fn ipv6_fragment_headers_follow_the_unfragmentable_part() {
    let hop_by_hop = bytes("1100010400000000");
    let rows = [
        ("no extension header", ipv6(3048, 17, &[]), 17, vec![], "11", 40),
        ("hop-by-hop options", ipv6(3056, 0, &hop_by_hop), 0, bytes("2c00010400000000"), "11", 48),
        ("destination options", ipv6(3056, 60, &hop_by_hop), 60, bytes("2c00010400000000"), "11", 48),
        (
            "destination options behind a routing header",
            ipv6(3064, 43, &bytes("3c000400000000001100010400000000")),
            43,
            bytes("2c00040000000000"),
            "3c",
            48,
        ),
    ];
    for (name, whole, first, extension, behind, header) in rows {
        let pieces = pieces(&[1000, 2000, 3008]);
        let made = fragments(Fragments::ipv6(&whole, 1400, original(&pieces), 0x99).unwrap());
        let made_long = fragments(Fragments::ipv6(&whole, 1400, Original::WHOLE, 0x99).unwrap());
        let behind = bytes(behind)[0];
        for made in [made, made_long] {
            let mut offset = 0;
            for (position, fragment) in made.iter().enumerate() {
                if offset == 0 {
                    check(fragment).unwrap_or_else(|error| panic!("{name}: {error}"));
                }
                let named = if extension.is_empty() { 44 } else { first };
                assert_eq!(fragment[6], named, "{name}");
                assert_eq!(fragment[40..header], extension, "{name}");
                let more = position + 1 < made.len();
                let expected = FragmentHeader { kind: behind, offset, more, identification: 0x99 };
                assert_eq!(FragmentHeader::read(fragment, header), Some(expected), "{name}");
                let part = &fragment[header + 8..];
                assert_eq!(part, &whole[header + offset..header + offset + part.len()], "{name}");
                offset += part.len();
            }
            assert_eq!(offset, whole.len() - header, "{name}");
        }
    }
}

#[test]
fn ipv6_fragments_are_as_long_as_the_limit_allows() {
    let whole = ipv6(3048, 17, &[]);
    let lengths: Vec<_> =
        fragments(Fragments::ipv6(&whole, 1400, Original::WHOLE, 1).unwrap()).iter().map(Vec::len).collect();
    assert_eq!(lengths, [1400, 1400, 48 + 3008 - 2 * 1352]);
    let lengths: Vec<_> =
        fragments(Fragments::ipv6(&whole, 1407, Original::WHOLE, 1).unwrap()).iter().map(Vec::len).collect();
    assert_eq!(lengths, [1400, 1400, 48 + 3008 - 2 * 1352]);
}

#[test]
fn what_cannot_be_cut_is_refused() {
    let whole = ipv4(1428, &[]);
    let refused = |packet: &[u8], limit| Fragments::ipv4(packet, limit, Original::WHOLE).unwrap_err();
    assert_eq!(refused(&whole, 27), FragmentError::Mtu);
    assert_eq!(refused(&whole, 0), FragmentError::Mtu);
    assert!(Fragments::ipv4(&whole, 28, Original::WHOLE).is_ok());
    assert_eq!(refused(&whole[..1427], 1300), FragmentError::Malformed, "shorter than it says");
    assert_eq!(refused(&[], 1300), FragmentError::Malformed);
    let mut far = whole.clone();
    far[6..8].copy_from_slice(&[0x1f, 0xff]);
    assert_eq!(refused(&far, 1300), FragmentError::Malformed, "beyond 64 KiB");

    let whole = ipv6(3048, 17, &[]);
    let refused = |packet: &[u8], limit| Fragments::ipv6(packet, limit, Original::WHOLE, 1).unwrap_err();
    assert_eq!(refused(&whole, 55), FragmentError::Mtu);
    assert_eq!(refused(&whole[..3047], 1300), FragmentError::Malformed);
    let fragment = ipv6(1400, 44, &bytes("1100000100000001"));
    assert_eq!(refused(&fragment, 1300), FragmentError::AlreadyFragment);
    assert_eq!(fragments(Fragments::ipv6(&fragment, 1400, Original::WHOLE, 1).unwrap()), [fragment]);
    let cut_short = ipv6(42, 0, &[44, 1]);
    assert_eq!(refused(&cut_short, 10), FragmentError::Malformed, "options cut short");
}

proptest! {
    #[test]
    fn no_bytes_panic(
        mut packet in proptest::collection::vec(any::<u8>(), 0..300),
        version in prop_oneof![Just(0x45u8), Just(0x48), Just(0x60), any::<u8>()],
        honest in any::<bool>(),
        limit in 0usize..300,
        ends in proptest::collection::vec(any::<u16>(), 0..4),
    ) {
        let length = packet.len() as u16;
        packet[..1.min(usize::from(length))].fill(version);
        if honest && packet.len() >= 48 {
            let (at, own) = if version == 0x60 { (4, length - 40) } else { (2, length) };
            packet[at..at + 2].copy_from_slice(&own.to_be_bytes());
            packet[6] &= 0x3f;
        }
        let pieces = pieces(&ends);
        let made = [
            Fragments::ipv4(&packet, limit, original(&pieces)),
            Fragments::ipv6(&packet, limit, original(&pieces), 7),
            Fragments::ipv6(&packet, limit, Original::WHOLE, 7),
        ];
        for made in made.into_iter().flatten() {
            for fragment in fragments(made) {
                prop_assert!(fragment.len() <= limit.max(packet.len()));
            }
        }
    }
}
