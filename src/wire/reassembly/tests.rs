//! What becomes of odd fragments was recorded from Linux 6.1 and 6.18, for both families, by
//! sending them through a host that reassembles what it forwards.

use proptest::prelude::*;

use super::*;
use crate::wire::fragment::Fragments;
use crate::wire::second_opinion::{bytes, check, exchanges};

const IPV4_HEADER: &str = "450000000077000040110000 0a000002 0a090909";
const IPV6_HEADER: &str = "6000000000002c40 fd000000000000000000000000000002 fd990000000000000000000000000009";

fn reassembler() -> Reassembler {
    Reassembler::new(Limits::default(), HashKey(1, 2))
}

/// The payload of the datagram that most tests use: UDP, 2008 bytes.
fn payload(length: usize) -> Vec<u8> {
    let mut payload: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
    if length >= 8 {
        payload[4..6].copy_from_slice(&(length as u16).to_be_bytes());
        payload[6..8].fill(0);
    }
    payload
}

fn header(text: &str) -> Vec<u8> {
    bytes(&text.replace(' ', ""))
}

/// A fragment of the payload `part`, which begins at `start`.
fn fragment(family: Family, start: usize, part: &[u8], more: bool) -> Vec<u8> {
    match family {
        Family::V4 => {
            let mut packet = header(IPV4_HEADER);
            packet[2..4].copy_from_slice(&((20 + part.len()) as u16).to_be_bytes());
            packet[6..8].copy_from_slice(&((start / 8) as u16 | u16::from(more) << 13).to_be_bytes());
            packet.extend_from_slice(part);
            packet
        }
        Family::V6 => {
            let mut packet = header(IPV6_HEADER);
            packet[4..6].copy_from_slice(&((8 + part.len()) as u16).to_be_bytes());
            packet.extend_from_slice(&[17, 0]);
            packet.extend_from_slice(&(start as u16 | u16::from(more)).to_be_bytes());
            packet.extend_from_slice(&[0, 0, 0, 0x77]);
            packet.extend_from_slice(part);
            packet
        }
    }
}

/// The payload behind the IP header of a whole packet that has no other.
fn carried(family: Family, packet: &[u8]) -> &[u8] {
    match family {
        Family::V4 => &packet[20..],
        Family::V6 => &packet[40..],
    }
}

/// `start`, `end`, and whether more fragments are said to follow.
type Sent = (usize, usize, bool);

/// The ends of the pieces of the datagram that comes out, at any time, of fragments of [`payload`].
fn outcome(family: Family, sent: &[Sent]) -> Option<Vec<usize>> {
    let mut reassembler = reassembler();
    let payload = payload(2100);
    let mut result = None;
    for &(start, end, more) in sent {
        let fragment = fragment(family, start, &payload[start..end], more);
        if let Outcome::Whole(whole) = reassembler.push(Tick::ZERO, &fragment) {
            assert_eq!(result, None, "two datagrams");
            let ends: Vec<_> = whole.original.pieces.iter().map(|piece| usize::from(piece.end)).collect();
            assert_eq!(carried(family, whole.packet()), &payload[..*ends.last().unwrap()]);
            result = Some(ends);
        }
    }
    result
}

const A: Sent = (0, 800, true);
const B: Sent = (800, 1600, true);
const C: Sent = (1600, 2008, false);
const WHOLE: Option<&[usize]> = Some(&[800, 1600, 2008]);

#[test]
fn odd_fragments_have_the_recorded_consequences() {
    type Row = (&'static str, &'static [Sent], Option<&'static [usize]>, Option<&'static [usize]>);
    let rows: &[Row] = &[
        ("in order", &[A, B, C], WHOLE, WHOLE),
        ("out of order", &[C, A, B], WHOLE, WHOLE),
        ("the first twice", &[A, A, B, C], WHOLE, WHOLE),
        ("the middle one twice", &[A, B, B, C], WHOLE, WHOLE),
        ("the last twice", &[A, C, C, B], WHOLE, WHOLE),
        ("the last twice, first of all", &[C, C, A, B], WHOLE, WHOLE),
        ("the middle one twice, backwards", &[C, B, B, A], WHOLE, WHOLE),
        ("one within a run", &[A, B, (400, 1200, true), C], WHOLE, WHOLE),
        ("one within two runs", &[B, A, (400, 1200, true), C], None, None),
        (
            "one within a run that is not the last",
            &[A, B, (1800, 1808, true), (400, 1200, true), (1600, 1800, true), (1808, 2008, false)],
            Some(&[800, 1600, 1800, 1808, 2008]),
            Some(&[800, 1600, 1800, 1808, 2008]),
        ),
        ("one overlapping in part", &[A, (792, 1600, true), C], None, None),
        ("one overlapping in part, then all again", &[A, (792, 1600, true), A, B, C], WHOLE, WHOLE),
        ("the end of the last run again", &[A, B, (808, 1600, true), C], WHOLE, WHOLE),
        ("the middle of the last run again", &[A, B, (808, 1592, true), C], WHOLE, WHOLE),
        ("one around another", &[(8, 16, true), A, B, C], None, None),
        ("one around another, then all again", &[(8, 16, true), (0, 24, true), A, B, C], WHOLE, WHOLE),
        ("an overlap after the last", &[A, C, (792, 1600, true), B], None, None),
        ("a shorter first before the first", &[B, C, (0, 400, true), A], None, None),
        ("an earlier end", &[(1600, 1800, false), A, B, C], Some(&[800, 1600, 1800]), Some(&[800, 1600, 1800])),
        ("more behind the last", &[A, C, (2008, 2016, true), B], None, WHOLE),
        ("a second last behind the last", &[A, C, (2008, 2016, false), B], None, WHOLE),
        ("a last before known bytes", &[A, B, (1600, 1800, true), (1600, 1700, false)], None, None),
        (
            "a last before known bytes, then the right one",
            &[A, (1600, 1808, true), (1600, 1700, false), B, (1808, 2008, false)],
            None,
            Some(&[800, 1600, 1808, 2008]),
        ),
        ("a length that is no multiple of 8", &[(0, 801, true), B, C], WHOLE, None),
        ("a length that is no multiple of 8, later", &[A, (800, 1601, true), B, C], WHOLE, None),
        ("less than 8 bytes", &[(0, 7, true), A, B, C], WHOLE, WHOLE),
        ("less than 8 bytes, later", &[A, B, (0, 4, true), C], None, WHOLE),
        ("nothing", &[(0, 0, true), A, B, C], WHOLE, WHOLE),
        ("nothing, later", &[A, (800, 800, true), B, C], None, WHOLE),
        ("an empty last", &[A, B, (1600, 1600, false), C], None, None),
        ("a last of one byte", &[A, B, (1600, 1601, false)], Some(&[800, 1600, 1601]), Some(&[800, 1600, 1601])),
        (
            "a first of 8 bytes",
            &[(0, 8, true), (8, 800, true), B, C],
            Some(&[8, 800, 1600, 2008]),
            Some(&[8, 800, 1600, 2008]),
        ),
    ];
    for &(name, sent, ipv4, ipv6) in rows {
        assert_eq!(outcome(Family::V4, sent).as_deref(), ipv4, "IPv4: {name}");
        assert_eq!(outcome(Family::V6, sent).as_deref(), ipv6, "IPv6: {name}");
    }
}

#[test]
fn reasons_are_told() {
    let payload = payload(2100);
    let mut reassembler = reassembler();
    let mut push = |(start, end, more): Sent| match reassembler
        .push(Tick::ZERO, &fragment(Family::V4, start, &payload[start..end], more))
    {
        Outcome::Dropped(reason) => Some(reason),
        _ => None,
    };
    assert_eq!(push(A), None);
    assert_eq!(push(A), Some(Discard::Duplicate));
    assert_eq!(push((0, 808, true)), Some(Discard::Overlap));
    assert_eq!(push((0, 7, true)), Some(Discard::Empty));
    assert_eq!(push(B), None);
    assert_eq!(push((800, 808, false)), Some(Discard::End));
}

#[test]
fn a_packet_that_is_no_fragment_is_left_alone() {
    let mut reassembler = reassembler();
    for packet in [fragment(Family::V4, 0, &payload(100), false), header(IPV6_HEADER)] {
        let mut packet = packet;
        if packet[0] == 0x60 {
            packet[6] = 59;
        }
        assert_eq!(reassembler.push(Tick::ZERO, &packet), Outcome::NotFragmented);
    }
    assert!(reassembler.is_empty());
    for packet in [&[][..], &[0x45], &[0x15; 60], &fragment(Family::V4, 0, &payload(100), true)[..119]] {
        assert_eq!(reassembler.push(Tick::ZERO, packet), Outcome::Dropped(Discard::Malformed));
    }
}

#[test]
fn datagrams_are_told_apart() {
    let part = payload(800);
    let original = fragment(Family::V4, 0, &part, true);
    let differing: &[(&str, usize)] = &[("identification", 5), ("protocol", 9), ("source", 15), ("destination", 19)];
    let mut reassembler = reassembler();
    assert_eq!(reassembler.push(Tick::ZERO, &original), Outcome::Stored);
    for (count, &(what, at)) in differing.iter().enumerate() {
        let mut other = original.clone();
        other[at] ^= 1;
        assert_eq!(reassembler.push(Tick::ZERO, &other), Outcome::Stored, "{what}");
        assert_eq!(reassembler.len(), count + 2, "{what}");
    }
    let original = fragment(Family::V6, 0, &part, true);
    assert_eq!(reassembler.push(Tick::ZERO, &original), Outcome::Stored);
    let before = reassembler.len();
    let mut other = original.clone();
    other[47] ^= 1;
    assert_eq!(reassembler.push(Tick::ZERO, &other), Outcome::Stored, "identification");
    assert_eq!(reassembler.len(), before + 1);
    other[40] = 99;
    other[47] ^= 1;
    assert_eq!(reassembler.push(Tick::ZERO, &other), Outcome::Dropped(Discard::Duplicate), "next header");
}

#[test]
fn congestion_marks_are_merged() {
    let rows = [
        ([0xb8, 0x10, 0x00], Some(0xb8)),
        ([2, 3, 2], Some(3)),
        ([2, 2, 1], Some(2)),
        ([1, 3, 1], Some(3)),
        ([3, 3, 3], Some(3)),
        ([1, 2, 3], Some(3)),
        ([0, 3, 0], None),
        ([0, 2, 0], None),
        ([2, 2, 0], None),
        ([0, 0, 1], None),
        ([0x10, 0x12, 0x11], None),
    ];
    let payload = payload(2008);
    for family in [Family::V4, Family::V6] {
        for (marks, expected) in rows {
            let mut reassembler = reassembler();
            let mut result = None;
            for ((start, end, more), mark) in [A, B, C].into_iter().zip(marks) {
                let mut fragment = fragment(family, start, &payload[start..end], more);
                match family {
                    Family::V4 => fragment[1] = mark,
                    Family::V6 => fragment[..2].copy_from_slice(&(0x6000 | u16::from(mark) << 4).to_be_bytes()),
                }
                match reassembler.push(Tick::ZERO, &fragment) {
                    Outcome::Whole(whole) => {
                        let sound = check(whole.packet());
                        assert!(sound.is_ok() || family == Family::V6, "{sound:?}: the IPv6 payload has no checksum");
                        let [a, b] = [whole.packet()[0], whole.packet()[1]];
                        result = Some(if family == Family::V4 { b } else { a << 4 | b >> 4 });
                    }
                    Outcome::Dropped(reason) => assert_eq!((reason, more), (Discard::Congestion, false)),
                    other => assert_eq!(other, Outcome::Stored),
                }
            }
            assert_eq!(result, expected, "{family:?} {marks:x?}");
            assert!(reassembler.is_empty());
        }
    }
}

#[test]
fn a_datagram_may_be_fragmented_again_unless_its_longest_fragment_may_not() {
    let rows = [([false; 3], false), ([true; 3], true), ([false, false, true], false), ([false, true, false], true)];
    let payload = payload(2008);
    for (unfragmentable, expected) in rows {
        let mut reassembler = reassembler();
        for ((start, end, more), unfragmentable) in [A, B, C].into_iter().zip(unfragmentable) {
            let mut fragment = fragment(Family::V4, start, &payload[start..end], more);
            fragment[6] |= u8::from(unfragmentable) << 6;
            if let Outcome::Whole(whole) = reassembler.push(Tick::ZERO, &fragment) {
                assert_eq!(whole.packet()[6..8], [u8::from(expected) << 6, 0], "{unfragmentable:?}");
                assert_eq!(whole.original.longest, 820);
            }
        }
        assert!(reassembler.is_empty());
    }
}

/// The datagrams of the transcript, reassembled, handed on as NAT and direct routing hand them
/// on, and fragmented again: what a kernel director did.
#[test]
fn the_recorded_fragments_come_out_as_recorded() {
    let transcript = include_str!("../../../netns-tests/transcripts/fragments.json");
    let mut reassembler = reassembler();
    let mut datagrams = 0;
    for (packet, expected) in exchanges(transcript) {
        match reassembler.push(Tick::ZERO, &packet) {
            Outcome::Stored => assert!(expected.is_empty()),
            Outcome::Whole(whole) => {
                check(whole.packet()).unwrap();
                let original = whole.original;
                let (start, end) = (whole.start, whole.end);
                let packet = &mut whole.buffer[start..end];
                // Forwarding itself is not tested here: take its edits from the recording.
                packet[8] -= 1;
                packet[12..28].copy_from_slice(&expected[0][12..28]);
                let mut fragments = Fragments::ipv4(packet, 1500, original).unwrap();
                for expected in &expected {
                    let mut buffer = vec![0xa5; 1500];
                    let length = fragments.next_into(&mut buffer).unwrap();
                    assert_eq!(buffer[..length], expected[..]);
                }
                assert_eq!(fragments.next_length(), None);
                datagrams += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(datagrams, 2);
}

#[test]
fn options_of_the_first_fragment_stay() {
    let payload = payload(1600);
    let mut reassembler = reassembler();
    let mut first = fragment(Family::V4, 0, &payload[..800], true);
    first[0] = 0x46;
    first[3] += 4;
    first.splice(20..20, [0x94, 4, 0, 0]);
    let last = fragment(Family::V4, 800, &payload[800..], false);
    assert_eq!(reassembler.push(Tick::ZERO, &last), Outcome::Stored);
    let Outcome::Whole(whole) = reassembler.push(Tick::ZERO, &first) else { panic!("not whole") };
    check(whole.packet()).unwrap();
    assert_eq!(whole.packet().len(), 1624);
    assert_eq!(whole.packet()[20..24], [0x94, 4, 0, 0]);
    assert_eq!(whole.original.longest, 824);
    assert_eq!((whole.start, whole.buffer.len()), (HEADROOM, HEADROOM + 65575));
}

#[test]
fn a_datagram_of_64_kib_is_the_longest() {
    for (family, most) in [(Family::V4, 65515), (Family::V6, 65535)] {
        for (length, expected) in [(most, true), (most + 1, false)] {
            let payload = payload(length);
            let mut reassembler = reassembler();
            let mut whole = false;
            for start in (0..length).step_by(1400) {
                let end = length.min(start + 1400);
                let outcome =
                    reassembler.push(Tick::ZERO, &fragment(family, start, &payload[start..end], end < length));
                if let Outcome::Whole(made) = outcome {
                    whole = true;
                    assert_eq!(carried(family, made.packet()), payload);
                } else if end == length {
                    let problem = Outcome::Problem(Problem::TooLong { pointer: 42 });
                    assert!(outcome == problem || outcome == Outcome::Dropped(Discard::TooLong));
                }
            }
            assert_eq!(whole, expected, "{family:?} {length}");
        }
    }
}

/// What Linux 6.18 answers such fragments with; the pointers are those it sent.
#[test]
fn senders_of_impossible_ipv6_fragments_are_told() {
    let rows = [
        ("17 bytes and more to come", 17, 0, 17, Problem::OddLength, (0, 4)),
        ("beyond 64 KiB", 17, 65528, 8, Problem::TooLong { pointer: 42 }, (0, 42)),
        ("half a TCP header", 6, 0, 16, Problem::HeadersMissing, (3, 0)),
        ("less than a UDP header", 17, 0, 7, Problem::HeadersMissing, (3, 0)),
        ("half an extension header", 60, 0, 8, Problem::HeadersMissing, (3, 0)),
    ];
    for (name, kind, start, length, problem, (code, pointer)) in rows {
        let mut reassembler = reassembler();
        let mut fragment = fragment(Family::V6, start, &vec![1; length], start == 0);
        fragment[40] = kind;
        assert_eq!(reassembler.push(Tick::ZERO, &fragment), Outcome::Problem(problem), "{name}");
        assert_eq!((problem.code(), problem.pointer()), (code, pointer), "{name}");
        assert!(reassembler.is_empty(), "{name}");
    }
}

#[test]
fn an_atomic_fragment_loses_its_header_and_touches_no_other() {
    let payload = payload(800);
    let mut reassembler = reassembler();
    assert_eq!(reassembler.push(Tick::ZERO, &fragment(Family::V6, 0, &payload, true)), Outcome::Stored);
    let atomic = fragment(Family::V6, 0, &payload, false);
    let Outcome::Whole(whole) = reassembler.push(Tick::ZERO, &atomic) else { panic!("not whole") };
    assert_eq!(whole.packet().len(), 840);
    assert_eq!((whole.packet()[6], &whole.packet()[40..]), (17, &payload[..]));
    assert_eq!(whole.packet()[4..6], 800u16.to_be_bytes());
    assert_eq!(whole.original.longest, 848);
    assert_eq!(reassembler.len(), 1);
}

#[test]
fn headers_too_long_for_their_room_are_refused() {
    let mut packet = header(IPV6_HEADER);
    packet[6] = 0;
    packet.extend_from_slice(&[44, 31]);
    packet.resize(40 + 256, 1);
    packet.extend_from_slice(&fragment(Family::V6, 0, &payload(800), true)[40..]);
    let length = (packet.len() - 40) as u16;
    packet[4..6].copy_from_slice(&length.to_be_bytes());
    let mut reassembler = reassembler();
    assert_eq!(reassembler.push(Tick::ZERO, &packet), Outcome::Dropped(Discard::HeadersTooLong));
    assert!(reassembler.is_empty());
}

#[test]
fn time_runs_from_the_first_arrival() {
    for (family, lifetime) in [(Family::V4, 30_000), (Family::V6, 60_000)] {
        let payload = payload(2008);
        let mut reassembler = reassembler();
        let begin = Tick(1000);
        let late = fragment(family, 800, &payload[800..1600], true);
        let first = fragment(family, 0, &payload[..800], true);
        assert_eq!(reassembler.push(begin, &late), Outcome::Stored);
        assert_eq!(reassembler.push(begin + 10_000, &first), Outcome::Stored);
        assert_eq!(reassembler.next_deadline(), Some(begin + lifetime));
        assert_eq!(reassembler.expire(begin + (lifetime - 1)), None);
        let expired = reassembler.expire(begin + lifetime);
        assert_eq!(expired, Some(Expired { family, first: Some(&first[..]) }), "quoted as it came");
        assert_eq!(reassembler.expire(begin + lifetime), None);
        assert_eq!(reassembler.next_deadline(), None);
        assert_eq!(reassembler.push(begin + lifetime, &late), Outcome::Stored);
        let expired = reassembler.expire(begin + 2 * lifetime);
        assert_eq!(expired, Some(Expired { family, first: None }), "without its first fragment");
    }
}

#[test]
fn both_families_expire_in_the_order_of_their_deadlines() {
    let payload = payload(800);
    let mut reassembler = reassembler();
    let of = |family, identification: u8| {
        let mut fragment = fragment(family, 0, &payload, true);
        fragment[if family == Family::V4 { 5 } else { 47 }] = identification;
        fragment
    };
    for (at, family, identification) in
        [(0, Family::V6, 1), (5, Family::V4, 1), (10, Family::V6, 2), (40_000, Family::V4, 2)]
    {
        assert_eq!(reassembler.push(Tick(at), &of(family, identification)), Outcome::Stored);
    }
    let mut order = Vec::new();
    while let Some(deadline) = reassembler.next_deadline() {
        order.push((deadline.0, reassembler.expire(deadline).unwrap().family));
    }
    assert_eq!(order, [(30_005, Family::V4), (60_000, Family::V6), (60_010, Family::V6), (70_000, Family::V4)]);
}

#[test]
fn the_oldest_datagram_makes_room() {
    let limits = Limits { memory: 40 * PAGE_LENGTH, ..Limits::default() };
    let mut reassembler = Reassembler::new(limits, HashKey(1, 2));
    let payload = payload(1600);
    let of = |identification: u8, start: usize, more| {
        let mut fragment = fragment(Family::V4, start, &payload[start..start + 800], more);
        fragment[5] = identification;
        fragment
    };
    for identification in 0..100 {
        assert_eq!(reassembler.push(Tick(u64::from(identification)), &of(identification, 0, true)), Outcome::Stored);
        assert_eq!(reassembler.len(), 40.min(usize::from(identification) + 1));
    }
    assert_eq!(reassembler.evicted(), 60);
    let gone = reassembler.push(Tick(100), &of(59, 800, false));
    assert_eq!(gone, Outcome::Stored, "its first fragment has been dropped");
    let there = reassembler.push(Tick(100), &of(99, 800, false));
    assert!(matches!(there, Outcome::Whole(_)));
    assert_eq!(reassembler.evicted(), 61);
}

#[test]
fn a_datagram_that_is_itself_the_oldest_goes() {
    let mut reassembler = Reassembler::new(Limits { memory: 0, ..Limits::default() }, HashKey(1, 2));
    let payload = payload(60_000);
    let mut small = fragment(Family::V4, 0, &payload[..800], true);
    assert_eq!(reassembler.push(Tick(0), &fragment(Family::V4, 0, &payload[..48_000], true)), Outcome::Stored);
    for identification in 0..9 {
        small[5] = identification;
        assert_eq!(reassembler.push(Tick(1), &small), Outcome::Stored);
    }
    let more = reassembler.push(Tick(2), &fragment(Family::V4, 48_000, &payload[48_000..56_000], true));
    assert_eq!(more, Outcome::Dropped(Discard::Memory));
    assert_eq!((reassembler.len(), reassembler.evicted()), (9, 1));
}

#[test]
fn memory_is_given_back() {
    let mut reassembler = reassembler();
    let payload = payload(2100);
    for round in 0..1000 {
        for (start, end, more) in [C, A, B] {
            let family = if round % 2 == 0 { Family::V4 } else { Family::V6 };
            let _ = reassembler.push(Tick(round), &fragment(family, start, &payload[start..end], more));
        }
    }
    assert!(reassembler.is_empty());
    assert_eq!(reassembler.pages.available(), Limits::default().memory / PAGE_LENGTH);
    assert_eq!(reassembler.pages.allocated(), 2);
}

/// A whole packet of either family with `payload`.
fn whole(family: Family, payload: &[u8]) -> Vec<u8> {
    let mut packet = match family {
        Family::V4 => fragment(Family::V4, 0, payload, false),
        Family::V6 => {
            let mut packet = header(IPV6_HEADER);
            packet[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
            packet[6] = 17;
            packet.extend_from_slice(payload);
            packet
        }
    };
    if family == Family::V4 {
        crate::wire::checksum::of(&packet[..20]).write(&mut packet, 10);
    }
    packet
}

proptest! {
    #[test]
    fn fragments_in_any_order_make_the_packet_again(
        length in 8usize..9000,
        mtu in 68usize..3000,
        v6 in any::<bool>(),
        order in any::<u64>(),
        twice in any::<bool>(),
    ) {
        let family = if v6 { Family::V6 } else { Family::V4 };
        let packet = whole(family, &payload(length));
        let made = match family {
            Family::V4 => Fragments::ipv4(&packet, mtu, Original::WHOLE),
            Family::V6 => Fragments::ipv6(&packet, mtu, Original::WHOLE, 0x77),
        };
        let mut made = made.unwrap();
        let mut fragments = Vec::new();
        while let Some(length) = made.next_length() {
            let mut fragment = vec![0xa5; length];
            made.next_into(&mut fragment);
            fragments.push(fragment);
        }
        prop_assert!(fragments.iter().all(|fragment| fragment.len() <= mtu));
        let longest = fragments.iter().map(Vec::len).max().unwrap();
        let mut random = crate::base::random::Random::new(order);
        for last in (1..fragments.len()).rev() {
            fragments.swap(last, random.below(last as u64 + 1) as usize);
        }
        let mut reassembler = reassembler();
        let count = fragments.len();
        for (position, fragment) in fragments.iter().enumerate() {
            match reassembler.push(Tick::ZERO, fragment) {
                Outcome::NotFragmented => prop_assert_eq!((count, fragment), (1, &packet)),
                Outcome::Stored => prop_assert!(position + 1 < count),
                Outcome::Whole(whole) => {
                    prop_assert_eq!(position + 1, count);
                    prop_assert_eq!(whole.packet(), &packet[..]);
                    prop_assert_eq!(whole.original.longest, longest);
                }
                other => prop_assert!(false, "{:?}", other),
            }
            if twice && position + 1 < count {
                prop_assert_eq!(reassembler.push(Tick::ZERO, fragment), Outcome::Dropped(Discard::Duplicate));
            }
        }
        prop_assert!(reassembler.is_empty());
    }

    #[test]
    fn no_fragments_panic_or_leak(
        sent in proptest::collection::vec((any::<bool>(), 0usize..40, 0usize..100, any::<bool>(), 0u8..4, any::<u8>()), 1..200),
        memory in 0usize..200_000,
    ) {
        let mut reassembler = Reassembler::new(Limits { memory, ..Limits::default() }, HashKey(3, 4));
        for (at, (v6, unit, length, more, identification, noise)) in sent.into_iter().enumerate() {
            let family = if v6 { Family::V6 } else { Family::V4 };
            let start = if noise == 7 { 65_000 + unit * 8 } else { unit * 8 };
            let mut fragment = fragment(family, start, &vec![noise; length], more);
            fragment[if v6 { 47 } else { 5 }] = identification;
            if noise == 9 {
                fragment[1] = noise;
            }
            let _ = reassembler.push(Tick(at as u64), &fragment);
            if noise == 11 {
                let _ = reassembler.expire(Tick(at as u64 + 30_010));
            }
        }
        while let Some(deadline) = reassembler.next_deadline() {
            prop_assert!(reassembler.expire(deadline).is_some());
        }
        prop_assert!(reassembler.is_empty());
        prop_assert_eq!(reassembler.pages.available(), (memory / PAGE_LENGTH).max(Datagram::MOST_PAGES));
    }

    #[test]
    fn no_bytes_panic(packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..20)) {
        let mut reassembler = reassembler();
        for mut packet in packets {
            for version in [0x45, 0x4f, 0x60] {
                if packet.len() >= 40 {
                    let length = packet.len() as u16;
                    packet[0] = version;
                    packet[2..4].copy_from_slice(&length.to_be_bytes());
                    packet[4..6].copy_from_slice(&(length - 40).to_be_bytes());
                    packet[6] = [44, 0, 60][usize::from(packet[7] % 3)];
                }
                let _ = reassembler.push(Tick::ZERO, &packet);
            }
        }
    }
}
