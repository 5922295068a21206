//! The program that tells the kernel of a super-frame's outer headers.
//!
//! ```text
//! marked, a super-frame, in a tunnel of a known kind?  ── no ──► goes on as it is
//!    │ yes
//! the outer headers are kept aside, taken out of the frame
//! (bpf_skb_adjust_room), and put in again as a tunnel's: from then on
//! the kernel cuts the frame as its own tunnels' frames are cut
//!    ├── done ──► goes on, without the mark
//!    └── one of the steps failed ──► dropped: never half encapsulated
//! ```
//!
//! Known are packets of either family in IPv4 or IPv6: bare (IPIP), in GRE without options, and in GUE without
//! options, with no UDP checksum. Mirrors bpf-helpers(7).

use crate::base::{Family, Protocol};
use crate::wire::EtherType;
use crate::wire::frame::ETHERNET_LENGTH;
use crate::wire::ip::{v4, v6};
use crate::wire::transport::udp;

use super::program::{Assembler, Label, Program, ProgramTooLong, Register, Test, Width};

/// Numbers of the kernel's functions.
mod function {
    pub const STORE_BYTES: i32 = 9;
    pub const LOAD_BYTES: i32 = 26;
    pub const ADJUST_ROOM: i32 = 50;
}

/// Fields of `struct __sk_buff`.
mod context {
    pub const MARK: i16 = 8;
    pub const SEGMENT_SIZE: i16 = 176;
}

/// How bpf_skb_adjust_room does what it does (BPF_F_ADJ_ROOM_…).
mod flag {
    /// The size of the segments stays.
    pub const FIXED_SIZE: i32 = 1 << 0;
    pub const IN_IPV4: i32 = 1 << 1;
    pub const IN_IPV6: i32 = 1 << 2;
    pub const GRE: i32 = 1 << 3;
    pub const UDP: i32 = 1 << 4;
    pub const LEAVES_IPV4: i32 = 1 << 7;
    pub const LEAVES_IPV6: i32 = 1 << 8;
}

/// What the program returns: the next program decides (TCX_NEXT), or the frame is dropped (TCX_DROP).
const NEXT: i32 = -1;
const DROP: i32 = 2;
/// Room is made behind the link header (BPF_ADJ_ROOM_MAC).
const BEHIND_LINK_HEADER: i32 = 1;

const RESULT: Register = Register(0);
const ARGUMENTS: [Register; 5] = [Register(1), Register(2), Register(3), Register(4), Register(5)];
const SCRATCH: Register = Register(1);
/// Outlive everything: the context, the length of the outer headers, how they are taken out and put in.
const CONTEXT: Register = Register(6);
const LENGTH: Register = Register(7);
const OUT: Register = Register(8);
const IN: Register = Register(9);

/// From the EtherType to the end of the longest outer headers.
const KEPT: i32 = 2 + v6::LENGTH as i32 + LONGEST_SHIM as i32;
/// Where they are kept, below the stack's end, and where the first IP header begins there.
const PLACE: i16 = -64;
const HEADERS: i16 = PLACE + 2;
/// Where the EtherType lies in a frame.
const ETHER_TYPE: i32 = ETHERNET_LENGTH as i32 - 2;
/// Version 4 and a header of five words.
const PLAIN_IPV4: u32 = 0x45;
const LONGEST_SHIM: usize = udp::LENGTH + GUE_LENGTH;
const GUE_LENGTH: usize = 4;
const GRE_LENGTH: usize = 4;
const _: () = assert!(KEPT <= 64);

/// The program for frames that carry `mark`.
///
/// # Errors
/// It is too long, which it never is.
pub fn program(mark: u32) -> Result<Program, ProgramTooLong> {
    let mut assembler = Assembler::default();
    let code = &mut assembler;
    let [ipv6, tunnel, next, drop] = std::array::from_fn(|_| code.label());
    code.load(Width::Word, ARGUMENTS[1], ARGUMENTS[0], context::MARK);
    code.branch(Test::Different, ARGUMENTS[1], mark, next);
    code.load(Width::Word, ARGUMENTS[1], ARGUMENTS[0], context::SEGMENT_SIZE);
    code.branch(Test::Equal, ARGUMENTS[1], 0, next);

    code.copy(CONTEXT, ARGUMENTS[0]);
    code.set(ARGUMENTS[1], ETHER_TYPE);
    kept(code, ARGUMENTS[2], 0);
    code.set(ARGUMENTS[3], KEPT);
    code.call(function::LOAD_BYTES);
    code.branch(Test::Different, RESULT, 0, next);
    code.load(Width::Half, SCRATCH, Register::STACK_END, PLACE);
    code.branch(Test::Equal, SCRATCH, half(EtherType::IPV6.0), ipv6);
    code.branch(Test::Different, SCRATCH, half(EtherType::IPV4.0), next);
    code.load(Width::Byte, SCRATCH, Register::STACK_END, HEADERS);
    code.branch(Test::Different, SCRATCH, PLAIN_IPV4, next);
    outer(code, Family::V4, tunnel, next);
    code.place(ipv6);
    outer(code, Family::V6, tunnel, next);

    code.place(tunnel);
    code.set(RESULT, 0);
    code.store(Width::Word, CONTEXT, context::MARK, RESULT);
    for (step, how) in [(Step::Out, OUT), (Step::In, IN)] {
        code.copy(ARGUMENTS[0], CONTEXT);
        code.copy(ARGUMENTS[1], LENGTH);
        if step == Step::Out {
            code.negate(ARGUMENTS[1]);
        }
        code.set(ARGUMENTS[2], BEHIND_LINK_HEADER);
        code.copy(ARGUMENTS[3], how);
        code.call(function::ADJUST_ROOM);
        code.branch(Test::Different, RESULT, 0, drop);
    }
    code.copy(ARGUMENTS[0], CONTEXT);
    code.set(ARGUMENTS[1], ETHERNET_LENGTH as i32);
    kept(code, ARGUMENTS[2], 2);
    code.copy(ARGUMENTS[3], LENGTH);
    code.set(ARGUMENTS[4], 0);
    code.call(function::STORE_BYTES);
    code.branch(Test::Different, RESULT, 0, drop);
    code.place(next);
    code.set(RESULT, NEXT);
    code.exit();
    code.place(drop);
    code.set(RESULT, DROP);
    code.exit();
    assembler.finish()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Out,
    In,
}

/// `to` := where the byte `at` of those that are kept aside lies.
fn kept(code: &mut Assembler, to: Register, at: i32) {
    code.copy(to, Register::STACK_END);
    code.add(to, i32::from(PLACE) + at);
}

/// Goes to `tunnel`, with what is to be done, where the headers are those of a known tunnel in packets of the
/// family `outer`; else to `next`.
fn outer(code: &mut Assembler, outer: Family, tunnel: Label, next: Label) {
    let (length, protocol, within) = match outer {
        Family::V4 => (v4::LENGTH, v4::PROTOCOL, flag::IN_IPV4),
        Family::V6 => (v6::LENGTH, v6::NEXT_HEADER, flag::IN_IPV6),
    };
    let inner = [(Protocol::IPIP.0.into(), Family::V4), (Protocol::IPV6.0.into(), Family::V6)];
    let at = |place: usize| HEADERS + place as i16;
    let require = |code: &mut Assembler, width, place, number| {
        code.load(width, SCRATCH, Register::STACK_END, at(place));
        code.branch(Test::Different, SCRATCH, number, next);
    };
    let choose = |code: &mut Assembler, inner: [(u32, Family); 2], length: usize, within| {
        for (number, family) in inner {
            let other = code.label();
            code.branch(Test::Different, SCRATCH, number, other);
            let leaves = match family {
                Family::V4 => flag::LEAVES_IPV4,
                Family::V6 => flag::LEAVES_IPV6,
            };
            code.set(LENGTH, length as i32);
            code.set(OUT, flag::FIXED_SIZE | leaves);
            code.set(IN, flag::FIXED_SIZE | within);
            code.jump(tunnel);
            code.place(other);
        }
    };
    let gre = code.label();
    code.load(Width::Byte, SCRATCH, Register::STACK_END, at(protocol));
    choose(code, inner, length, within);
    code.branch(Test::Equal, SCRATCH, Protocol::GRE.0.into(), gre);
    code.branch(Test::Different, SCRATCH, Protocol::UDP.0.into(), next);
    // GUE: no checksum; version 0, a data message without options; no flags.
    let header = length + udp::LENGTH;
    require(code, Width::Half, length + udp::CHECKSUM, 0);
    require(code, Width::Byte, header, 0);
    require(code, Width::Half, header + 2, 0);
    code.load(Width::Byte, SCRATCH, Register::STACK_END, at(header + 1));
    choose(code, inner, header + GUE_LENGTH, within | flag::UDP);
    code.jump(next);
    // GRE: no checksum, key or sequence number; version 0.
    code.place(gre);
    require(code, Width::Half, length, 0);
    code.load(Width::Half, SCRATCH, Register::STACK_END, at(length + 2));
    let inner = [(half(EtherType::IPV4.0), Family::V4), (half(EtherType::IPV6.0), Family::V6)];
    choose(code, inner, length + GRE_LENGTH, within | flag::GRE);
    code.jump(next);
}

/// A number of two bytes in network order as a load finds it.
fn half(number: u16) -> u32 {
    u16::from_ne_bytes(number.to_be_bytes()).into()
}

#[cfg(test)]
mod tests;
