//! The program, run by the interpreter and a kernel of a few functions, beside what user space does.

use proptest::prelude::*;

use super::*;
use crate::port::bpf::interpreter::{CONTEXT as CONTEXT_AT, Call, FRAME, Memory, execute};
use crate::realserver::decapsulate::decapsulate;
use crate::realserver::decapsulate::tests::{
    CLIENT, SELF, SELF6, VIP, VIP6, inner_v4, inner_v6, outer_v4, outer_v6, policy, udp_v4,
};
use crate::wire::offload::Offload;

const ETHERNET: usize = 14;
const DEVICE: u32 = 7;
const MAP: i32 = 5;
const COUNTER: u64 = 0x30_0000;
const PROCESSOR: u64 = 67;
/// What bpf_redirect answers (TC_ACT_REDIRECT).
const REDIRECTED: u64 = 7;

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Left,
    /// Received by the tunnel device, without that many bytes of outer headers.
    Taken {
        removed: usize,
    },
}

/// What the kernel says of a packet besides its bytes.
#[derive(Clone, Copy, Debug)]
struct Circumstances {
    packet_type: u32,
    vlan: u32,
    /// What bpf_skb_adjust_room answers.
    answer: u64,
}

const USUAL: Circumstances = Circumstances { packet_type: 0, vlan: 0, answer: 0 };

fn own() -> BTreeSet<IpAddr> {
    [SELF.into(), SELF6.into(), VIP.into(), VIP6.into()].into()
}

fn program_of(policy: &Policy, own: &BTreeSet<IpAddr>) -> Program {
    let rules = Rules { policy, own, header_length: ETHERNET, device: DEVICE, counters: MAP };
    rules.program().unwrap()
}

fn send(packet: &[u8]) -> Fate {
    send_to(&program_of(&policy(), &own()), packet, USUAL)
}

fn send_to(program: &Program, packet: &[u8], circumstances: Circumstances) -> Fate {
    let version = packet.first().map_or(4, |byte| byte >> 4);
    let ether_type = if version == 6 { libc::ETH_P_IPV6 } else { libc::ETH_P_IP } as u16;
    let frame = [&[0xa5; ETHERNET], packet].concat();
    let mut context = [0u32; 24];
    context[0] = frame.len() as u32;
    context[1] = circumstances.packet_type;
    context[4] = u16::from_ne_bytes(ether_type.to_be_bytes()).into();
    context[5] = circumstances.vlan;
    let context: Vec<u8> = context.into_iter().flat_map(u32::to_ne_bytes).collect();
    let mut memory = Memory::new(&[(CONTEXT_AT, &context), (FRAME, &frame), (COUNTER, &[0; 16])]);
    let (mut removed, mut received) = (0, false);
    let verdict = execute(program, &mut memory, |call, memory| match call.function {
        function::LOAD_BYTES_RELATIVE => load_bytes(call, memory, frame.len()),
        function::ADJUST_ROOM => {
            let inner = call.argument(4) as i32 & !KEEP_SEGMENTS;
            assert!(inner == INNER_IPV4 || inner == INNER_IPV6);
            assert_eq!((call.argument(1), call.argument(3)), (CONTEXT_AT, BEHIND_LINK_HEADER as u64));
            removed = usize::try_from(-(call.argument(2) as i64)).unwrap();
            let first = memory.read(FRAME + (ETHERNET + removed) as u64, 1)[0] >> 4;
            assert_eq!(first == 6, inner == INNER_IPV6, "the family that is announced");
            circumstances.answer
        }
        function::PROCESSOR => PROCESSOR,
        function::MAP_LOOKUP => {
            assert_eq!(call.argument(1), MAP as u64);
            let number = memory.read(call.argument(2), 4);
            assert_eq!(u32::from_ne_bytes(number.try_into().unwrap()), PROCESSOR as u32 % COUNTERS);
            COUNTER
        }
        function::REDIRECT => {
            assert_eq!((call.argument(1), call.argument(2)), (DEVICE.into(), RECEIVED as u64));
            received = true;
            REDIRECTED
        }
        other => panic!("function {other}"),
    });
    let counted = memory.read(COUNTER, 16);
    let [packets, bytes] = [0, 8].map(|at| u64::from_ne_bytes(counted[at..at + 8].try_into().unwrap()));
    if verdict as i32 == NEXT {
        assert!(!received && packets == 0 && bytes == 0);
        return Fate::Left;
    }
    assert!(received && removed >= 20);
    assert_eq!(packets, 1);
    let inner = &packet[removed..];
    let length = match inner[0] >> 4 {
        4 => usize::from(u16::from_be_bytes([inner[2], inner[3]])),
        _ => 40 + usize::from(u16::from_be_bytes([inner[4], inner[5]])),
    };
    assert_eq!(bytes, length as u64);
    Fate::Taken { removed }
}

/// bpf_skb_load_bytes_relative, as its manual has it.
fn load_bytes(call: Call, memory: &mut Memory, end: usize) -> u64 {
    assert_eq!((call.argument(1), call.argument(5)), (CONTEXT_AT, FROM_NETWORK_HEADER as u64));
    let (from, length) = (call.argument(2) as usize + ETHERNET, call.argument(4) as usize);
    assert!(length > 0);
    if from + length > end {
        memory.write(call.argument(3), &vec![0; length]);
        return -i64::from(libc::EFAULT) as u64;
    }
    let bytes = memory.read(FRAME + from as u64, length);
    memory.write(call.argument(3), &bytes);
    0
}

fn plain_gre(inner: &[u8], kind: [u8; 2]) -> Vec<u8> {
    [&[0, 0], &kind[..], inner].concat()
}

fn gue(protocol: u8, inner: &[u8]) -> Vec<u8> {
    udp_v4(&[&[0, protocol, 0, 0], inner].concat(), false)
}

/// Every kind of tunnel that is taken, with how long its outer headers are.
fn plain() -> Vec<(Vec<u8>, usize)> {
    let (four, six) = (inner_v4(0), inner_v6());
    let shims = [
        (4, four.clone(), 0),
        (41, six.clone(), 0),
        (47, plain_gre(&four, [8, 0]), 4),
        (47, plain_gre(&six, [0x86, 0xdd]), 4),
        (17, udp_v4(&four, false), 8),
        (17, udp_v4(&six, false), 8),
        (17, gue(4, &four), 12),
        (17, gue(41, &six), 12),
    ];
    let outer = |(protocol, payload, length): &(u8, Vec<u8>, usize)| {
        [(outer_v4(*protocol, 0, payload), 20 + length), (outer_v6(*protocol, payload), 40 + length)]
    };
    shims.iter().flat_map(outer).collect()
}

#[test]
fn plain_tunnels_of_every_kind_are_taken() {
    for (packet, headers) in plain() {
        assert_eq!(send(&packet), Fate::Taken { removed: headers }, "{packet:02x?}");
        let padded = [&packet[..], &[0; 6]].concat();
        assert_eq!(send(&padded), Fate::Taken { removed: headers }, "with what fills a short frame");
    }
}

#[test]
fn what_is_no_tunnel_goes_on() {
    for packet in [inner_v4(0), inner_v6(), outer_v4(50, 0, &inner_v4(0)), Vec::new(), vec![0x45; 19]] {
        assert_eq!(send(&packet), Fate::Left);
    }
}

#[test]
fn what_is_not_plain_is_left() {
    let whole = outer_v4(4, 0, &inner_v4(0));
    let rows: &[(&str, Vec<u8>)] = &[
        ("truncated", whole[..50].to_vec()),
        ("a wrong outer checksum", changed(&whole, 8, |byte| byte ^ 1)),
        ("a fragment", summed(changed(&whole, 6, |_| 0x20))),
        ("the last fragment", summed(changed(&whole, 7, |_| 1))),
        ("to another host", summed(changed(&whole, 19, |byte| byte + 1))),
        ("an IP option", {
            let mut packet = [&whole[..20], &[1, 1, 1, 0], &whole[20..]].concat();
            packet[0] = 0x46;
            packet[3] += 4;
            summed(packet)
        }),
        ("an inner packet for nobody virtual", outer_v4(4, 0, &changed(&inner_v4(0), 19, |byte| byte + 1))),
        ("an inner packet that is too long", outer_v4(4, 0, &changed(&inner_v4(0), 3, |byte| byte + 1))),
        ("an inner packet that is too short", outer_v4(4, 0, &changed(&inner_v4(0), 3, |byte| byte - 1))),
        ("an inner IP option", outer_v4(4, 0, &changed(&inner_v4(0), 0, |_| 0x46))),
        ("another family than announced", outer_v4(41, 0, &inner_v4(0))),
        ("half a header", outer_v4(4, 0, &inner_v4(0)[..10])),
        ("nothing inside", outer_v4(4, 0, &[])),
        ("GRE with a key", outer_v4(47, 0, &[&[0x20, 0, 8, 0, 0, 0, 0, 7], &inner_v4(0)[..]].concat())),
        ("GRE of Ethernet", outer_v4(47, 0, &plain_gre(&inner_v4(0), [0x65, 0x58]))),
        ("half a GRE header", outer_v4(47, 0, &[0, 0])),
        ("a UDP checksum", outer_v4(17, 0, &udp_v4(&inner_v4(0), true))),
        ("another UDP port", outer_v4(17, 0, &changed(&udp_v4(&inner_v4(0), false), 3, |byte| byte ^ 1))),
        ("a wrong UDP length", outer_v4(17, 0, &changed(&udp_v4(&inner_v4(0), false), 5, |byte| byte - 1))),
        ("a control message", outer_v4(17, 0, &changed(&gue(4, &inner_v4(0)), 8, |_| 0x20))),
        ("a GUE option", outer_v4(17, 0, &changed(&gue(4, &inner_v4(0)), 8, |_| 1))),
        ("a GUE flag", outer_v4(17, 0, &changed(&gue(4, &inner_v4(0)), 11, |_| 1))),
        ("TCP in GUE", outer_v4(17, 0, &gue(6, &inner_v4(0)))),
    ];
    for (description, packet) in rows {
        assert_eq!(send(packet), Fate::Left, "{description}");
    }
}

fn changed(packet: &[u8], at: usize, change: impl Fn(u8) -> u8) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[at] = change(packet[at]);
    packet
}

/// The packet with its IPv4 header's checksum set right.
fn summed(mut packet: Vec<u8>) -> Vec<u8> {
    let length = usize::from(packet[0] & 0xf) * 4;
    packet[10..12].fill(0);
    let sum = etherparse::checksum::Sum16BitWords::new().add_slice(&packet[..length]).ones_complement();
    packet[10..12].copy_from_slice(&sum.to_ne_bytes());
    packet
}

#[test]
fn what_comes_to_others_or_with_a_tag_is_left() {
    let program = program_of(&policy(), &own());
    let packet = outer_v4(4, 0, &inner_v4(0));
    assert_eq!(send_to(&program, &packet, Circumstances { packet_type: 3, ..USUAL }), Fate::Left);
    assert_eq!(send_to(&program, &packet, Circumstances { vlan: 1, ..USUAL }), Fate::Left);
}

#[test]
fn what_the_kernel_cannot_change_is_left_as_it_is() {
    let refused = Circumstances { answer: -i64::from(libc::EOPNOTSUPP) as u64, ..USUAL };
    for (packet, _) in plain() {
        assert_eq!(send_to(&program_of(&policy(), &own()), &packet, refused), Fate::Left);
    }
}

#[test]
fn congestion_marks_are_right_or_left_to_user_space() {
    for inner in 0..4 {
        for outer in 0..4 {
            let mut six = outer_v6(41, &inner_v6());
            six[1] |= outer << 4;
            six[41] |= inner << 4;
            for (mut packet, class) in [(outer_v4(4, outer, &inner_v4(inner)), 20), (six, 40)] {
                let before = packet.clone();
                let fate = send(&packet);
                let user = decapsulate(&mut packet, Offload::NONE, &policy(), |address| own().contains(&address));
                let unchanged = user.is_ok() && packet == before;
                let said = format!("inner {inner}, outer {outer}, header of {class}");
                assert!(fate == Fate::Left || unchanged, "{said}");
                assert!(fate != Fate::Left || outer & 1 == 1 && outer != inner, "{said}");
            }
        }
    }
}

#[test]
fn only_what_is_asked_for_is_taken() {
    let only = |protocols: &[(Family, Protocol)], vip: IpAddr, gue_port| Policy {
        virtual_addresses: vec![vip],
        protocols: protocols.to_vec(),
        gue_port,
    };
    let policies = [
        only(&[], VIP.into(), None),
        only(&[(Family::V4, Protocol::IPIP)], VIP.into(), None),
        only(&[(Family::V4, Protocol::IPIP)], VIP6.into(), None),
        only(&[(Family::V6, Protocol::IPIP)], VIP.into(), None),
        only(&[(Family::V6, Protocol::IPV6), (Family::V4, Protocol::GRE)], VIP6.into(), None),
        only(&[], VIP6.into(), Some(Port(6080))),
        policy(),
    ];
    for policy in policies {
        for own in [own(), [SELF.into()].into(), [SELF6.into()].into(), BTreeSet::new()] {
            let program = program_of(&policy, &own);
            for (mut packet, headers) in plain() {
                let fate = send_to(&program, &packet, USUAL);
                let expected = match decapsulate(&mut packet, Offload::NONE, &policy, |address| own.contains(&address))
                {
                    Ok(_) => Fate::Taken { removed: headers },
                    Err(_) => Fate::Left,
                };
                assert_eq!(fate, expected, "{policy:?}, {own:?}: {packet:02x?}");
            }
        }
    }
}

#[test]
fn many_addresses_are_told_apart_until_they_are_too_many() {
    let v4 = |number: u32| IpAddr::from((0x0a00_0b02 + number).to_be_bytes());
    let v6 = |number: u16| IpAddr::from([0xfd00, 0x11, 0, 0, 0, 0, 0, 2 + number]);
    let own: BTreeSet<IpAddr> = (0..300).map(v4).chain((0..300).map(v6)).collect();
    let program = program_of(&policy(), &own);
    for (packet, headers) in plain() {
        assert_eq!(send_to(&program, &packet, USUAL), Fate::Taken { removed: headers });
    }
    let own: BTreeSet<IpAddr> = (0..5000).map(v4).collect();
    let rules = Rules { policy: &policy(), own: &own, header_length: ETHERNET, device: DEVICE, counters: MAP };
    assert!(rules.program().is_err());
}

proptest! {
    /// What the program takes, user space would have taken, and handed on the same bytes.
    #[test]
    fn nothing_is_taken_that_user_space_would_not(
        kind in 0usize..16,
        changes in proptest::collection::vec((0usize..90, any::<u8>()), 0..4),
        right_sum: bool,
        cut in 30usize..200,
    ) {
        let (mut packet, _) = plain().swap_remove(kind);
        for (at, value) in changes {
            if let Some(byte) = packet.get_mut(at) {
                *byte = value;
            }
        }
        packet.truncate(cut);
        if right_sum && packet[0] == 0x45 {
            packet = summed(packet);
        }
        let before = packet.clone();
        if let Fate::Taken { removed } = send(&packet) {
            let inner = decapsulate(&mut packet, Offload::NONE, &policy(), |address| own().contains(&address));
            prop_assert_eq!(inner.map(|inner| inner.range.start), Ok(removed));
            prop_assert_eq!(packet, before);
        }
    }
}

#[test]
fn another_clients_address_makes_no_difference() {
    let mut packet = outer_v4(4, 0, &inner_v4(0));
    packet[32..36].copy_from_slice(&CLIENT.octets());
    packet[12..16].copy_from_slice(&[192, 0, 2, 1]);
    assert_eq!(send(&summed(packet)), Fate::Taken { removed: 20 });
}
