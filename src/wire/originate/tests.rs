//! The goldens are what Linux's own stack sends: `recorded.txt`, and the transcripts of a director.

use proptest::prelude::*;

use super::*;
use crate::base::hash::HashKey;
use crate::base::{Address, Tick};
use crate::wire::offload::Completion;
use crate::wire::reassembly::{Limits, Outcome, Reassembler};
use crate::wire::second_opinion::{bytes, check, exchanges};
use crate::wire::segment::Unfinished;

/// The answer in a buffer that was full of 0xa5; nothing behind it may have been touched.
fn answer(write: impl FnOnce(&mut [u8]) -> Result<usize, Silence>) -> Result<Vec<u8>, Silence> {
    let mut buffer = vec![0xa5; 70_000];
    let length = write(&mut buffer)?;
    assert!(buffer[length..].iter().all(|&byte| byte == 0xa5));
    buffer.truncate(length);
    check(&buffer).unwrap_or_else(|error| panic!("{error}"));
    Ok(buffer)
}

/// An ICMP error about `packet`, of either family.
fn error_about(
    packet: &[u8],
    source: Address,
    identification: u16,
    (ipv4, ipv6): (Icmpv4Error, Icmpv6Error),
) -> Result<Vec<u8>, Silence> {
    answer(|buffer| match outline::family(packet) {
        Some(Family::V4) => icmpv4_error(packet.into(), ipv4, source, identification, buffer),
        _ => icmpv6_error(packet.into(), ipv6, source, buffer),
    })
}

/// The problem that the reassembler finds with `packet`, as an error.
fn parameter_problem(packet: &[u8]) -> Icmpv6Error {
    match Reassembler::new(Limits::default(), HashKey(1, 2)).push(Tick::ZERO, packet) {
        Outcome::Problem(problem) => problem.into(),
        other => panic!("{other:?}"),
    }
}

/// A recorded answer without what is not repeated: the flow label.
fn comparable(mut packet: Vec<u8>) -> Vec<u8> {
    if outline::family(&packet) == Some(Family::V6) {
        packet[1] &= 0xf0;
        packet[2..4].fill(0);
    }
    packet
}

#[test]
fn answers_are_those_that_linux_sends() {
    let mut rows = 0;
    for row in include_str!("recorded.txt").lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<_> = row.split('|').collect();
        let &[kind, name, packet, recorded] = &fields[..] else { panic!("{row}") };
        let packet = bytes(packet);
        let family = outline::family(&packet).unwrap();
        let recorded = (recorded != "-").then(|| comparable(bytes(recorded)));
        let (source, identification) = match (&recorded, family) {
            (None, _) => (Address::ZERO, 0),
            (Some(answer), Family::V4) => {
                (Address::read(family, &answer[12..]).unwrap(), u16::from_be_bytes([answer[4], answer[5]]))
            }
            (Some(answer), Family::V6) => (Address::read(family, &answer[8..]).unwrap(), 0),
        };
        let error = |errors| error_about(&packet, source, identification, errors);
        let made = match kind {
            "reset" => answer(|buffer| reset(&packet, Completion::Complete, buffer)),
            "echo" => answer(|buffer| echo_reply(&packet, identification, buffer)),
            "port-unreachable" => error((Icmpv4Error::PORT_UNREACHABLE, Icmpv6Error::PORT_UNREACHABLE)),
            "protocol-unreachable" => {
                error((Icmpv4Error::PROTOCOL_UNREACHABLE, Icmpv6Error::protocol_unreachable(&packet)))
            }
            "time-exceeded" => error((Icmpv4Error::TIME_EXCEEDED, Icmpv6Error::TIME_EXCEEDED)),
            "parameter-problem" => error((Icmpv4Error::TIME_EXCEEDED, parameter_problem(&packet))),
            _ => panic!("{row}"),
        };
        assert_eq!(made.ok(), recorded, "{kind}, {name}");
        rows += 1;
    }
    assert_eq!(rows, 151);
}

/// Every frame of these transcripts that the director sent on its own account. Only the
/// identification is taken from the recording.
#[test]
fn a_recorded_director_sent_the_same() {
    let vip = Address::v4([10, 9, 9, 9]);
    let transcripts = [
        ("no-server", include_str!("../../../netns-tests/transcripts/no-server.json"), 3),
        ("not-syn", include_str!("../../../netns-tests/transcripts/not-syn.json"), 1),
        ("dr-tcp", include_str!("../../../netns-tests/transcripts/dr-tcp.json"), 1),
        ("icmp-nat", include_str!("../../../netns-tests/transcripts/icmp-nat.json"), 1),
    ];
    for (name, transcript, expected) in transcripts {
        let mut compared = 0;
        for (packet, out) in exchanges(transcript) {
            let [recorded] = &out[..] else { continue };
            let identification = u16::from_be_bytes([recorded[4], recorded[5]]);
            let (ttl, icmp_type, reply_flags) =
                (recorded[8], recorded[20], recorded.get(33).copied().unwrap_or_default());
            let error = |error| answer(|buffer| icmpv4_error((&packet[..]).into(), error, vip, identification, buffer));
            let made = match (ttl, recorded[9], icmp_type) {
                (HOP_LIMIT, 1, 3) => error(Icmpv4Error::PORT_UNREACHABLE),
                (HOP_LIMIT, 1, 11) => error(Icmpv4Error::TIME_EXCEEDED),
                (HOP_LIMIT, 1, 0) => answer(|buffer| echo_reply(&packet, identification, buffer)),
                (HOP_LIMIT, 6, _) if reply_flags & 4 != 0 => {
                    answer(|buffer| reset(&packet, Completion::Complete, buffer))
                }
                _ => continue,
            };
            assert_eq!(made.as_ref(), Ok(recorded), "{name}");
            compared += 1;
        }
        assert_eq!(compared, expected, "{name}");
    }
}

/// A UDP packet as recorded, its payload `length` letters x; the UDP header is the recorded one.
fn letters(header: &str, length: usize) -> Vec<u8> {
    let mut packet = bytes(header);
    packet.resize(packet.len() + length, b'x');
    packet
}

/// Recorded from Linux 6.18: the checksums are those of its errors.
#[test]
fn quotations_are_cut() {
    let rows = [
        ("4500022412340000401149820a0000020a090909a028270f0210bd28", 520, 576, "03031c32"),
        ("4500022512340000401149810a0000020a090909a028270f02114526", 521, 576, "03039433"),
        ("4500040412340000401147a20a0000020a090909a028270f03f0c877", 1000, 576, "03030f03"),
        (
            "6000000004a81140fd000000000000000000000000000002fd990000000000000000000000000009a028270f04a89e2a",
            1184,
            1280,
            "01048e14",
        ),
        (
            "6000000005801140fd000000000000000000000000000002fd990000000000000000000000000009a028270f0580c9a7",
            1400,
            1280,
            "010460e7",
        ),
    ];
    for (header, length, expected, icmp) in rows {
        let packet = letters(header, length);
        let errors = (Icmpv4Error::PORT_UNREACHABLE, Icmpv6Error::PORT_UNREACHABLE);
        let family = outline::family(&packet).unwrap();
        let vip = Address::read(family, &packet[if family == Family::V4 { 16 } else { 24 }..]).unwrap();
        let made = error_about(&packet, vip, 7, errors).unwrap();
        assert_eq!(made.len(), expected);
        let message = &made[header_length(family)..];
        assert_eq!(message[..4], bytes(icmp));
        assert_eq!(message[8..], packet[..message.len() - 8]);
    }
}

/// Recorded from Linux 6.18: what comes when the rest of a datagram does not.
#[test]
fn an_expired_first_fragment_is_quoted_as_it_came() {
    let rows = [
        ("450003340001200040113aa50a0000020a090909", 800, 576, "0b019ac8"),
        ("450000640005200040113d710a0000020a090909", 80, 128, "0b01fc0e"),
        (
            "6000000003282c40fd000000000000000000000000000002fd9900000000000000000000000000091100000100000001",
            800,
            896,
            "0301240d",
        ),
        (
            "6000000005802c40fd000000000000000000000000000002fd990000000000000000000000000009110000010000000b",
            1400,
            1280,
            "030198e4",
        ),
    ];
    for (header, length, expected, icmp) in rows {
        let mut first = bytes(header);
        first.extend_from_slice(&bytes("0001000207d80000"));
        first.extend((0..length - 8).map(|at| (at % 251) as u8));
        let mut reassembler = Reassembler::new(Limits::default(), HashKey(1, 2));
        assert_eq!(reassembler.push(Tick::ZERO, &first), Outcome::Stored);
        let deadline = reassembler.next_deadline().unwrap();
        let expired = reassembler.expire(deadline).unwrap();
        let errors = (Icmpv4Error::REASSEMBLY_TIME_EXCEEDED, Icmpv6Error::REASSEMBLY_TIME_EXCEEDED);
        let vip = match expired.family {
            Family::V4 => Address::v4([10, 9, 9, 9]),
            Family::V6 => Address::read(Family::V6, &first[24..]).unwrap(),
        };
        let made = error_about(expired.first.unwrap(), vip, 7, errors).unwrap();
        assert_eq!(made.len(), expected);
        let message = &made[header_length(expired.family)..];
        assert_eq!(message[..4], bytes(icmp));
        assert_eq!(message[8..], first[..message.len() - 8]);
    }
}

const UDP4: &str = "450000211234000040114b850a0000020a090909a0280035000dfe9068656c6c6f";
const UDP6: &str = "60000000000d1140fd000000000000000000000000000002fd990000000000000000000000000009\
                    a028270f000dd5057878787878";

#[test]
fn errors_name_the_mtu() {
    let made = answer(|buffer| {
        let error = Icmpv4Error::fragmentation_needed(1400);
        icmpv4_error((&bytes(UDP4)[..]).into(), error, Address::v4([10, 9, 9, 9]), 1, buffer)
    });
    assert_eq!(made.unwrap()[20..28], bytes("030414b600000578")[..]);
    let made = answer(|buffer| {
        icmpv6_error((&bytes(UDP6)[..]).into(), Icmpv6Error::packet_too_big(70_000), Address::ZERO, buffer)
    });
    let made = made.unwrap();
    assert_eq!((&made[40..42], &made[44..48]), (&[2, 0][..], &[0, 1, 0x11, 0x70][..]));
}

#[test]
fn a_packet_cut_short_is_quoted_as_far_as_it_goes() {
    let packet = bytes(UDP4);
    let vip = Address::v4([10, 9, 9, 9]);
    let error =
        |packet: &[u8]| answer(|buffer| icmpv4_error(packet.into(), Icmpv4Error::TIME_EXCEEDED, vip, 1, buffer));
    assert_eq!(error(&packet[..28]).unwrap()[28..], packet[..28]);
    assert_eq!(error(&packet[..20]).unwrap()[28..], packet[..20]);
    assert_eq!(error(&packet[..19]), Err(Silence::Malformed));
    let mut padded = packet.clone();
    padded.extend_from_slice(&[0; 13]);
    assert_eq!(error(&padded).unwrap()[28..], packet[..], "padding is not quoted");
}

#[test]
fn a_small_buffer_holds_a_smaller_quotation() {
    let packet = letters("4500040412340000401147a20a0000020a090909a028270f03f0c877", 1000);
    let vip = Address::v4([10, 9, 9, 9]);
    let error = |room| icmpv4_error((&packet[..]).into(), Icmpv4Error::TIME_EXCEEDED, vip, 1, &mut vec![0; room]);
    assert_eq!(error(575), Ok(575));
    assert_eq!(error(56), Ok(56));
    assert_eq!(error(55), Err(Silence::NoRoom), "less than 8 bytes behind the IP header");
    assert_eq!(error(0), Err(Silence::NoRoom));
    let echo = bytes("450000201234000040014b960a0000020a0909090800192f0000000070696e67");
    assert_eq!(echo_reply(&echo, 1, &mut [0; 31]), Err(Silence::NoRoom));
    assert_eq!(echo_reply(&echo, 1, &mut [0; 32]), Ok(32));
    let syn = bytes("450000281234000040064b890a0000020a0909099c400051000003e80000000050022000d2550000");
    assert_eq!(reset(&syn, Completion::Complete, &mut [0; 39]), Err(Silence::NoRoom));
    assert_eq!(reset(&syn, Completion::Complete, &mut [0; 40]), Ok(40));
}

#[test]
fn an_unfinished_checksum_is_finished_in_the_quotation() {
    let before = bytes("4500002dfffe400040061db90a0000020a0909099c400050fffffff000000007501801f41d3300000102030405");
    let after = bytes("4500002dfffe400040061db90a0000020a0909099c400050fffffff000000007501801f4eb3100000102030405");
    let vip = Address::v4([10, 9, 9, 9]);
    let error = |start, room| {
        let offending =
            Offending { packet: &before, unfinished: Some(Unfinished { start, offset: 16 }), header_checksum: None };
        let mut buffer = vec![0xa5; room];
        let length = icmpv4_error(offending, Icmpv4Error::PORT_UNREACHABLE, vip, 1, &mut buffer).unwrap();
        buffer.truncate(length);
        check(&buffer).unwrap();
        buffer.split_off(28)
    };
    assert_eq!(error(20, 100), after);
    assert_eq!(error(20, 28 + 37), before[..37], "half the field is quoted");
    assert_eq!(error(1000, 100), before, "a field outside of the packet");
    let mut buffer = [0xa5; 100];
    assert_eq!(reset(&before, Completion::Complete, &mut buffer), Err(Silence::Checksum));
    assert_eq!(reset(&before, Completion::Verified, &mut buffer), Ok(40));
    assert_eq!(reset(&before, Completion::Partial { start: 34, offset: 16 }, &mut buffer), Ok(40));
}

#[test]
fn silence_has_its_reasons() {
    let vip = Address::v4([10, 9, 9, 9]);
    let error4 = |packet: &[u8]| icmpv4_error(packet.into(), Icmpv4Error::TIME_EXCEEDED, vip, 1, &mut [0; 600]);
    let with = |packet: &str, at: usize, value: &[u8]| {
        let mut packet = bytes(packet);
        packet[at..at + value.len()].copy_from_slice(value);
        packet
    };
    assert_eq!(error4(&with(UDP4, 7, &[1])), Err(Silence::Fragment));
    for (source, expected) in [
        ([0, 0, 0, 0], Err(Silence::Source)),
        ([0, 1, 2, 3], Ok(61)),
        ([224, 0, 0, 1], Err(Silence::Source)),
        ([255, 255, 255, 255], Err(Silence::Source)),
        ([10, 0, 0, 3], Ok(61)),
    ] {
        assert_eq!(error4(&with(UDP4, 12, &source)), expected);
    }
    assert_eq!(error4(&with(UDP4, 16, &[255; 4])), Err(Silence::Destination));
    assert_eq!(error4(&with(UDP4, 16, &[239, 1, 1, 1])), Err(Silence::Destination));
    assert_eq!(error4(&with(UDP4, 0, &[0x65])), Err(Silence::Malformed));
    assert_eq!(error4(&with(UDP4, 0, &[0x4f])), Err(Silence::Malformed));
    assert_eq!(error4(&with(UDP4, 2, &[0, 19])), Err(Silence::Malformed));

    let group = with(UDP6, 24, &[0xff, 2]);
    let error6 = |error| icmpv6_error((&group[..]).into(), error, Address::ZERO, &mut [0; 1280]);
    assert_eq!(error6(Icmpv6Error::TIME_EXCEEDED), Err(Silence::Destination));
    assert_eq!(error6(Icmpv6Error::packet_too_big(1280)), Ok(101));
    assert_eq!(error6(Icmpv6Error::parameter_problem(2, 40)), Ok(101));
    assert_eq!(error6(Icmpv6Error::parameter_problem(1, 40)), Err(Silence::Destination));

    let mut buffer = [0; 100];
    assert_eq!(reset(&bytes(UDP4), Completion::Complete, &mut buffer), Err(Silence::OtherKind));
    assert_eq!(echo_reply(&bytes(UDP6), 1, &mut buffer), Err(Silence::OtherKind));
    let echo = "450000201234000040014b960a0000020a0909090800192f0000000070696e67";
    assert_eq!(echo_reply(&with(echo, 6, &[0x20]), 1, &mut buffer), Err(Silence::Fragment));
    assert_eq!(echo_reply(&with(echo, 20, &[0]), 1, &mut buffer), Err(Silence::OtherKind));
    assert_eq!(echo_reply(&with(echo, 20, &[13]), 1, &mut buffer), Err(Silence::OtherKind));
    let fragment = "6000000000142c40fd000000000000000000000000000002fd990000000000000000000000000009\
                    3a0000010000004d8000a6340005000970696e67";
    assert_eq!(echo_reply(&bytes(fragment), 1, &mut buffer), Err(Silence::Fragment));
    assert_eq!(reset(&[], Completion::Complete, &mut buffer), Err(Silence::Malformed));
}

proptest! {
    #[test]
    fn no_bytes_panic_and_answers_are_sound(
        mut packet in proptest::collection::vec(any::<u8>(), 0..200),
        version in prop_oneof![Just(0x45u8), Just(0x46), Just(0x60), any::<u8>()],
        protocol in prop_oneof![Just(1u8), Just(6), Just(17), Just(58), Just(44), Just(0), any::<u8>()],
        honest in any::<bool>(),
        start in 0usize..200,
        offset in 0usize..200,
        room in 0usize..300,
    ) {
        let length = packet.len() as u16;
        if honest && length >= 48 {
            let v6 = version == 0x60;
            let (at, own) = if v6 { (4, length - 40) } else { (2, length) };
            packet[0] = version;
            packet[at..at + 2].copy_from_slice(&own.to_be_bytes());
            packet[if v6 { 6 } else { 9 }] = protocol;
            if !v6 {
                packet[6..8].fill(0);
            }
        }
        let mut buffer = vec![0xa5; room];
        let offending = Offending { packet: &packet, unfinished: Some(Unfinished { start, offset }), header_checksum: None };
        let source = Address::from_mark(0x0a09_0909);
        let sound = |length: Result<usize, Silence>, buffer: &[u8]| {
            length.map_or(Ok(()), |length| check(&buffer[..length]))
        };
        let made = icmpv4_error(offending, Icmpv4Error::TIME_EXCEEDED, source, 1, &mut buffer);
        prop_assert_eq!(sound(made, &buffer), Ok(()));
        let made = icmpv6_error(offending, Icmpv6Error::protocol_unreachable(&packet), source, &mut buffer);
        prop_assert_eq!(sound(made, &buffer), Ok(()));
        let made = echo_reply(&packet, 1, &mut buffer);
        prop_assert_eq!(sound(made, &buffer), Ok(()));
        for checksum in [Completion::Complete, Completion::Verified] {
            let made = reset(&packet, checksum, &mut buffer);
            prop_assert_eq!(sound(made, &buffer), Ok(()));
        }
    }

    #[test]
    fn an_answer_is_never_answered(length in 0usize..1400, v6 in any::<bool>()) {
        let packet = if v6 { bytes(UDP6) } else { bytes(UDP4) };
        let mut packet = packet;
        packet.resize(packet.len() + length, 7);
        let own = packet.len() as u16;
        let (at, own) = if v6 { (4, own - 40) } else { (2, own) };
        packet[at..at + 2].copy_from_slice(&own.to_be_bytes());
        let errors = (Icmpv4Error::PORT_UNREACHABLE, Icmpv6Error::PORT_UNREACHABLE);
        let source = Address::v4([10, 9, 9, 9]);
        let error = error_about(&packet, source, 1, errors).unwrap();
        prop_assert_eq!(error_about(&error, source, 1, errors), Err(Silence::IcmpError));
    }
}
