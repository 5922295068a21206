//! The program, run by the interpreter and a kernel of three functions.

use proptest::prelude::*;

use super::*;
use crate::port::bpf::interpreter::{CONTEXT as CONTEXT_AT, Call, Memory, execute};

const MARK: u32 = 0x1357_9bdf;
const SEGMENT_SIZE: u32 = 1400;
const INNER_LENGTH: usize = 3000;

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// Nothing was done to it.
    AsItIs,
    Dropped,
    /// Length of the outer headers, and how they were taken out and put in.
    Told {
        length: usize,
        out: i32,
        within: i32,
    },
}

/// A frame with what the kernel knows of it besides its bytes.
#[derive(Clone, Debug)]
struct Sent {
    frame: Vec<u8>,
    mark: u32,
    segment_size: u32,
    /// The step that the kernel refuses, from 1.
    refused: Option<usize>,
}

impl Sent {
    fn whole(frame: Vec<u8>) -> Sent {
        Sent { frame, mark: MARK, segment_size: SEGMENT_SIZE, refused: None }
    }

    fn fate(&self) -> Fate {
        let mut context = [0u32; 48];
        context[context::MARK as usize / 4] = self.mark;
        context[context::SEGMENT_SIZE as usize / 4] = self.segment_size;
        let bytes: Vec<u8> = context.into_iter().flat_map(u32::to_ne_bytes).collect();
        let mut memory = Memory::new(&[(CONTEXT_AT, &bytes)]);
        let mut frame = self.frame.clone();
        let mut adjusted: Vec<(i32, i32)> = Vec::new();
        let mut steps = 0;
        let verdict = execute(&program(MARK).unwrap(), &mut memory, |call, memory| {
            assert_eq!(call.argument(1), CONTEXT_AT);
            if call.function == function::LOAD_BYTES {
                return load_bytes(call, memory, &frame);
            }
            steps += 1;
            if self.refused == Some(steps) {
                return -i64::from(libc::EINVAL) as u64;
            }
            match call.function {
                function::ADJUST_ROOM => {
                    assert_eq!(call.argument(3), BEHIND_LINK_HEADER as u64);
                    adjust_room(&mut frame, call.argument(2) as i32);
                    adjusted.push((call.argument(2) as i32, call.argument(4) as i32));
                }
                function::STORE_BYTES => {
                    assert_eq!(call.argument(5), 0, "nobody's checksum is to be changed");
                    let bytes = memory.read(call.argument(3), call.argument(4) as usize);
                    let at = call.argument(2) as usize;
                    frame[at..at + bytes.len()].copy_from_slice(&bytes);
                }
                other => panic!("function {other}"),
            }
            0
        });
        let mark = u32::from_ne_bytes(memory.read(CONTEXT_AT + context::MARK as u64, 4).try_into().unwrap());
        if verdict as i32 == DROP {
            return Fate::Dropped;
        }
        assert_eq!(verdict as i32, NEXT);
        assert_eq!(frame, self.frame, "what leaves has the same bytes");
        match adjusted[..] {
            [] => {
                assert_eq!((mark, steps), (self.mark, 0));
                Fate::AsItIs
            }
            [(taken, out), (given, within)] => {
                assert_eq!((mark, steps, taken), (0, 3, -given));
                Fate::Told { length: given as usize, out, within }
            }
            _ => panic!("{adjusted:?}"),
        }
    }
}

/// bpf_skb_load_bytes, as its manual has it.
fn load_bytes(call: Call, memory: &mut Memory, frame: &[u8]) -> u64 {
    let (from, length) = (call.argument(2) as usize, call.argument(4) as usize);
    let bytes = frame.get(from..from + length);
    memory.write(call.argument(3), bytes.unwrap_or(&vec![0; length]));
    if bytes.is_some() { 0 } else { -i64::from(libc::EFAULT) as u64 }
}

/// bpf_skb_adjust_room: what comes in is zero, so that bytes which stay forgotten are seen.
fn adjust_room(frame: &mut Vec<u8>, change: i32) {
    let room = change.unsigned_abs() as usize;
    if change < 0 {
        frame.drain(ETHERNET_LENGTH..ETHERNET_LENGTH + room);
    } else {
        frame.splice(ETHERNET_LENGTH..ETHERNET_LENGTH, std::iter::repeat_n(0, room));
    }
}

fn inner(family: Family) -> Vec<u8> {
    let first = if family == Family::V4 { 0x45 } else { 0x60 };
    (0..INNER_LENGTH).map(|at| if at == 0 { first } else { (at * 31) as u8 }).collect()
}

fn outer(family: Family, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let header: Vec<u8> = match family {
        Family::V4 => [&[PLAIN_IPV4 as u8][..], &[0x11; 8], &[protocol], &[0x22; 10]].concat(),
        Family::V6 => [&[0x60][..], &[0x11; 5], &[protocol], &[0x22; 33]].concat(),
    };
    let kind = if family == Family::V4 { EtherType::IPV4 } else { EtherType::IPV6 };
    [&[0xa5; 12][..], &kind.0.to_be_bytes(), &header, payload].concat()
}

fn gre(first: [u8; 2], inner_family: Family) -> Vec<u8> {
    let kind = if inner_family == Family::V4 { EtherType::IPV4 } else { EtherType::IPV6 };
    [&first[..], &kind.0.to_be_bytes(), &inner(inner_family)].concat()
}

/// Ports, length and checksum, the header, the packet.
fn gue(checksum: [u8; 2], first: u8, flags: [u8; 2], inner_family: Family) -> Vec<u8> {
    [&[0x33; 6][..], &checksum, &[first, number(inner_family)], &flags, &inner(inner_family)].concat()
}

fn number(inner: Family) -> u8 {
    if inner == Family::V4 { 4 } else { 41 }
}

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Every kind of tunnel that is known, and what the kernel is to be told of it.
fn known() -> Vec<(Vec<u8>, Fate)> {
    let mut all = Vec::new();
    for without in FAMILIES {
        let (header, within) = if without == Family::V4 { (20, flag::IN_IPV4) } else { (40, flag::IN_IPV6) };
        for inside in FAMILIES {
            let leaves = if inside == Family::V4 { flag::LEAVES_IPV4 } else { flag::LEAVES_IPV6 };
            let told = |shim: usize, kind: i32| Fate::Told {
                length: header + shim,
                out: flag::FIXED_SIZE | leaves,
                within: flag::FIXED_SIZE | within | kind,
            };
            all.push((outer(without, number(inside), &inner(inside)), told(0, 0)));
            all.push((outer(without, 47, &gre([0, 0], inside)), told(4, flag::GRE)));
            all.push((outer(without, 17, &gue([0, 0], 0, [0, 0], inside)), told(12, flag::UDP)));
        }
    }
    all
}

#[test]
fn the_kernel_is_told_of_every_known_tunnel() {
    for (frame, told) in known() {
        assert_eq!(Sent::whole(frame).fate(), told);
    }
}

#[test]
fn a_frame_without_the_mark_or_with_nothing_to_be_cut_goes_on_as_it_is() {
    for (frame, _) in known() {
        for mark in [0, MARK ^ 1, MARK.swap_bytes()] {
            assert_eq!(Sent { mark, ..Sent::whole(frame.clone()) }.fate(), Fate::AsItIs);
        }
        assert_eq!(Sent { segment_size: 0, ..Sent::whole(frame) }.fate(), Fate::AsItIs);
    }
}

#[test]
fn a_frame_is_dropped_when_a_step_fails() {
    for (frame, told) in known() {
        for step in 1..=3 {
            assert_eq!(Sent { refused: Some(step), ..Sent::whole(frame.clone()) }.fate(), Fate::Dropped);
        }
        assert_eq!(Sent { refused: Some(4), ..Sent::whole(frame) }.fate(), told);
    }
}

#[test]
fn tunnels_with_more_than_the_kernel_can_be_told_of_are_left() {
    let mut frames = Vec::new();
    for without in FAMILIES {
        for inside in FAMILIES {
            // Checksum, key, sequence number, a version; a checksum, a control message, options, flags.
            for first in [[0x80, 0], [0x20, 0], [0x10, 0], [0, 1]] {
                frames.push(outer(without, 47, &gre(first, inside)));
            }
            frames.push(outer(without, 17, &gue([0, 7], 0, [0, 0], inside)));
            for first in [0x20, 0x01, 0x40] {
                frames.push(outer(without, 17, &gue([0, 0], first, [0, 0], inside)));
            }
            frames.push(outer(without, 17, &gue([0, 0], 0, [0, 1], inside)));
            frames.push(outer(without, 6, &inner(inside)));
        }
        frames.push(outer(without, 47, &[&[0, 0, 0x65, 0x58][..], &inner(Family::V4)].concat()));
        frames.push(outer(without, 17, &[&[0; 8][..], &[0, 6, 0, 0], &inner(Family::V4)].concat()));
    }
    let mut with_options = outer(Family::V4, 4, &inner(Family::V4));
    with_options[ETHERNET_LENGTH] = 0x46;
    let mut vlan = outer(Family::V4, 4, &inner(Family::V4));
    vlan[12..14].copy_from_slice(&[0x81, 0]);
    frames.extend([with_options, vlan]);
    for (place, frame) in frames.into_iter().enumerate() {
        assert_eq!(Sent::whole(frame).fate(), Fate::AsItIs, "frame {place}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a marked frame has in it, and wherever it ends: its bytes leave as they came.
    #[test]
    fn any_bytes_leave_as_they_came(
        which in 0..12usize,
        changes in prop::collection::vec((12..80usize, any::<u8>()), 0..4),
        length in prop_oneof![Just(usize::MAX), 0..100usize],
    ) {
        let (mut frame, _) = known().swap_remove(which);
        for (at, byte) in changes {
            frame[at] = byte;
        }
        frame.truncate(length);
        let fate = Sent::whole(frame).fate();
        prop_assert!(fate != Fate::Dropped);
    }
}
