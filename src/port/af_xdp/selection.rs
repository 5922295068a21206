//! Which frames are taken by AF_XDP at all.
//!
//! What is taken reaches nobody else, neither the kernel nor a packet socket. So only that is taken which the
//! kernel has no use for, and of that only what a descriptor can carry:
//!
//! ```text
//! whole UDP packets with a finished checksum, no IP options, short enough for a chunk
//!    to a virtual MAC ─────────────────────────────────────► taken: the kernel sees another host's frame
//!    to the link's own MAC
//!       to an address of this host ────────────────────────► passed
//!       to an address in `to`, or from one in `from` ──────► taken: the kernel would not forward it
//! everything else (ARP, ND, ICMP, TCP, fragments, …) ──────► passed: the packet ring has it
//! ```
//!
//! The program is the same for every selection, which it finds in maps ([`super::entries`]).
//!
//! TCP stays with the packet ring because its super-frames do: by two ways a small segment overtakes the
//! super-frame before it, which the receiver takes for a loss. (Bulk transfer fell to a tenth.)
//!
//! A super-frame of few small segments fits a chunk, too, but nothing tells the program, and no descriptor the port,
//! where it is to be cut. Its checksum is unfinished, as that of all that comes from a sender on the same machine: the
//! field holds the sum of the pseudo-header. Such datagrams are passed, super-frames or not, and so is the one finished
//! datagram in 65536 whose checksum is that number. What is taken is finished, or damaged and stays so.
//!
//! So are datagrams to the ports of tunnels over UDP ([`TUNNELS`]): a sender on the same machine finishes the outer
//! checksum as if the inner one were, and leaves that to others.
//!
//! A UDP datagram without checksum may hold an encapsulated packet whose own checksum is unfinished, which
//! only the packet ring's metadata tells.

use std::net::IpAddr;

use crate::base::{Family, Mac, Prefix, Protocol};
use crate::wire::EtherType;
use crate::wire::frame::ETHERNET_LENGTH;
use crate::wire::ip::{v4, v6};
use crate::wire::transport::{self, udp};

use super::entries::{ADDRESS, COUNT, FROM, MAPPED, STATION, TO, VIRTUAL};
use crate::port::bpf::program::{Assembler, Label, Program, ProgramTooLong, Register, Test, Width};

/// Longest frame that is taken: what a chunk of `CHUNK` bytes holds beside
/// the headroom that the kernel leaves in it.
pub const LONGEST: usize = crate::port::sys::xdp::ROOM;

/// Ports of VXLAN, Geneve, GUE and FOU as everybody has them, and of VXLAN as Linux had it first.
const TUNNELS: [u16; 5] = [4789, 6081, 6080, 5555, 8472];

/// What the program returns for a frame that goes on as if there were no program (XDP_PASS).
pub(super) const PASS: i32 = 2;
/// Number of the kernel's function bpf_redirect_map.
pub(super) const REDIRECT_MAP: i32 = 51;
/// Number of bpf_map_lookup_elem.
pub(super) const LOOK_UP: i32 = 1;

/// Fields of `struct xdp_md`.
pub(super) mod context {
    pub const DATA: i16 = 0;
    pub const DATA_END: i16 = 4;
    pub const QUEUE: i16 = 16;
}

const RESULT: Register = Register(0);
const FIRST_ARGUMENT: Register = Register(1);
const SECOND_ARGUMENT: Register = Register(2);
const THIRD_ARGUMENT: Register = Register(3);
const STACK: Register = Register::STACK_END;
const SCRATCH: Register = Register(9);
/// Outlive everything: the context, the frame's first byte, the byte after its last.
const CONTEXT: Register = Register(6);
const FRAME: Register = Register(7);
const END: Register = Register(8);

const KIND: i16 = 12;
const IP: i16 = ETHERNET_LENGTH as i16;
/// Lengths of what is loaded and stored.
const HALF: i16 = 2;
const WORD: i16 = 4;

/// Where keys are written: that of a station, that of an address, and before it the length that makes it a prefix.
const STATION_KEY: i16 = -(STATION as i16);
const ADDRESS_KEY: i16 = STATION_KEY - ADDRESS as i16;
const PREFIX_KEY: i16 = ADDRESS_KEY - COUNT as i16;

/// Version 4 and a header of five words.
const PLAIN_IPV4: u32 = 0x45;

/// Which frames of a link are taken.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Selection {
    /// Ethernet addresses that are nobody's but the director's.
    pub virtual_macs: Vec<Mac>,
    /// The link's own Ethernet address.
    pub own: Mac,
    /// Where packets go, or come from, that are taken at the link's own address too.
    pub to: Vec<IpAddr>,
    pub from: Vec<IpAddr>,
    /// This host's addresses: what goes there is the kernel's, whoever sent it.
    pub host: Vec<Prefix>,
}

/// Where the fields of a family's packets lie in a frame.
struct Layout {
    family: Family,
    /// A UDP packet without payload: what must be there before the fields are looked at.
    least: i32,
    length: i16,
    /// What the length field leaves out of the frame.
    before: i32,
    protocol: i16,
    source: i16,
    destination: i16,
    /// Behind both addresses, which lie beside each other.
    addresses_end: i16,
    transport: i16,
}

const IPV4: Layout = Layout {
    family: Family::V4,
    least: (ETHERNET_LENGTH + v4::LENGTH + udp::LENGTH) as i32,
    length: IP + v4::TOTAL_LENGTH.start as i16,
    before: ETHERNET_LENGTH as i32,
    protocol: IP + v4::PROTOCOL as i16,
    source: IP + v4::SOURCE.start as i16,
    destination: IP + v4::DESTINATION.start as i16,
    addresses_end: IP + v4::DESTINATION.end as i16,
    transport: IP + v4::LENGTH as i16,
};

const IPV6: Layout = Layout {
    family: Family::V6,
    least: (ETHERNET_LENGTH + v6::LENGTH + udp::LENGTH) as i32,
    length: IP + v6::PAYLOAD_LENGTH.start as i16,
    before: (ETHERNET_LENGTH + v6::LENGTH) as i32,
    protocol: IP + v6::NEXT_HEADER as i16,
    source: IP + v6::SOURCE.start as i16,
    destination: IP + v6::DESTINATION.start as i16,
    addresses_end: IP + v6::DESTINATION.end as i16,
    transport: IP + v6::LENGTH as i16,
};

/// Descriptors of the maps that the program looks at.
#[derive(Clone, Copy, Debug)]
pub struct Maps {
    /// Leads to the link's sockets, by queue.
    pub sockets: i32,
    /// As [`Contents`](super::entries::Contents) says.
    pub stations: i32,
    pub addresses: i32,
    pub host: i32,
}

/// The program that takes what the maps say.
///
/// # Errors
/// It is longer than every kernel takes, which it is not.
pub fn program(maps: Maps) -> Result<Program, ProgramTooLong> {
    let mut assembler = Assembler::default();
    let code = &mut assembler;
    let [ipv6, take, pass] = std::array::from_fn(|_| code.label());
    code.copy(CONTEXT, FIRST_ARGUMENT);
    code.load(Width::Word, FRAME, CONTEXT, context::DATA);
    code.load(Width::Word, END, CONTEXT, context::DATA_END);
    ends_within(code, IPV4.least, pass);
    code.copy(SCRATCH, FRAME);
    code.add(SCRATCH, LONGEST as i32 + 1);
    code.branch_register(Test::AtMost, SCRATCH, END, pass);
    code.load(Width::Half, SCRATCH, FRAME, KIND);
    code.branch(Test::Equal, SCRATCH, half(EtherType::IPV6.0.to_be_bytes()), ipv6);
    code.branch(Test::Different, SCRATCH, half(EtherType::IPV4.0.to_be_bytes()), pass);
    code.load(Width::Byte, SCRATCH, FRAME, IP + v4::VERSION_IHL as i16);
    code.branch(Test::Different, SCRATCH, PLAIN_IPV4, pass);
    code.load(Width::Half, SCRATCH, FRAME, IP + v4::FLAGS_OFFSET.start as i16);
    let piece = v4::MORE_FRAGMENTS | v4::OFFSET_MASK;
    code.branch(Test::AnyBit, SCRATCH, half(piece.to_be_bytes()), pass);
    family(code, &IPV4, maps, take, pass);
    code.place(ipv6);
    ends_within(code, IPV6.least, pass);
    family(code, &IPV6, maps, take, pass);

    code.place(take);
    code.load(Width::Word, SECOND_ARGUMENT, CONTEXT, context::QUEUE);
    code.load_map(FIRST_ARGUMENT, maps.sockets);
    // What happens to a frame of a queue that has no socket.
    code.set(THIRD_ARGUMENT, PASS);
    code.call(REDIRECT_MAP);
    code.exit();
    code.place(pass);
    code.set(RESULT, PASS);
    code.exit();
    assembler.finish()
}

/// Goes to `pass` where fewer than `length` bytes are in one piece.
fn ends_within(code: &mut Assembler, length: i32, pass: Label) {
    code.copy(SCRATCH, FRAME);
    code.add(SCRATCH, length);
    code.branch_register(Test::Above, SCRATCH, END, pass);
}

/// Goes to `take` or to `pass` with a frame of that family.
fn family(code: &mut Assembler, layout: &Layout, maps: Maps, take: Label, pass: Label) {
    // The packet lies whole in the frame, in one piece.
    code.load(Width::Half, SCRATCH, FRAME, layout.length);
    code.from_network_order(SCRATCH);
    code.branch(Test::Above, SCRATCH, LONGEST as u32, pass);
    code.add(SCRATCH, layout.before);
    code.add_register(SCRATCH, FRAME);
    code.branch_register(Test::Above, SCRATCH, END, pass);
    code.load(Width::Byte, SCRATCH, FRAME, layout.protocol);
    code.branch(Test::Different, SCRATCH, Protocol::UDP.0.into(), pass);
    code.load(Width::Half, SCRATCH, FRAME, layout.transport + udp::CHECKSUM as i16);
    code.branch(Test::Equal, SCRATCH, 0, pass);
    code.load(Width::Half, SCRATCH, FRAME, layout.transport + transport::DESTINATION_PORT.start as i16);
    for port in TUNNELS {
        code.branch(Test::Equal, SCRATCH, half(port.to_be_bytes()), pass);
    }
    is_finished(code, layout, pass);

    // Whose station it came to.
    code.load(Width::Word, SCRATCH, FRAME, 0);
    code.store(Width::Word, STACK, STATION_KEY, SCRATCH);
    code.load(Width::Half, SCRATCH, FRAME, WORD);
    code.store(Width::Half, STACK, STATION_KEY + WORD, SCRATCH);
    code.store_number(Width::Half, STACK, STATION_KEY + WORD + HALF, 0);
    look_up(code, maps.stations, STATION_KEY);
    code.branch_whole(Test::Equal, RESULT, 0, pass);
    code.load(Width::Word, SCRATCH, RESULT, 0);
    code.branch(Test::Equal, SCRATCH, VIRTUAL, take);

    // At the link's own one: by where it comes from, and where it goes.
    let [to, known] = std::array::from_fn(|_| code.label());
    write_address(code, layout, layout.source);
    is_address(code, maps, FROM, to);
    write_address(code, layout, layout.destination);
    code.jump(known);
    code.place(to);
    write_address(code, layout, layout.destination);
    is_address(code, maps, TO, pass);
    code.place(known);
    code.store_number(Width::Word, STACK, PREFIX_KEY, ADDRESS as i32 * 8);
    look_up(code, maps.host, PREFIX_KEY);
    code.branch_whole(Test::Equal, RESULT, 0, take);
    code.jump(pass);
}

/// Goes to `pass` where the checksum's field holds the sum of the pseudo-header.
fn is_finished(code: &mut Assembler, layout: &Layout, pass: Label) {
    let (sum, part) = (SCRATCH, FIRST_ARGUMENT);
    code.load(Width::Half, sum, FRAME, layout.transport + udp::DATAGRAM_LENGTH as i16);
    code.add(sum, half(u16::from(Protocol::UDP.0).to_be_bytes()) as i32);
    for place in (layout.source..layout.addresses_end).step_by(WORD as usize) {
        code.load(Width::Word, part, FRAME, place);
        code.add_register(sum, part);
    }
    // Less than 36 bits: each folding leaves fewer beyond sixteen, the third none.
    for _ in 0..3 {
        code.copy(part, sum);
        code.mask(part, u16::MAX.into());
        code.shift_right(sum, 16);
        code.add_register(sum, part);
    }
    code.load(Width::Half, part, FRAME, layout.transport + udp::CHECKSUM as i16);
    code.branch_register(Test::Equal, sum, part, pass);
}

/// Writes the address at `place` of the frame as the maps have it.
fn write_address(code: &mut Assembler, layout: &Layout, place: i16) {
    let words: [i16; 4] = std::array::from_fn(|word| ADDRESS_KEY + word as i16 * WORD);
    let (before, own) = match layout.family {
        Family::V4 => words.split_at(MAPPED.len()),
        Family::V6 => words.split_at(0),
    };
    for (&word, number) in before.iter().zip(MAPPED) {
        code.store_number(Width::Word, STACK, word, number.to_be() as i32);
    }
    for (&word, at) in own.iter().zip((place..).step_by(WORD as usize)) {
        code.load(Width::Word, SCRATCH, FRAME, at);
        code.store(Width::Word, STACK, word, SCRATCH);
    }
}

/// Goes to `other` unless packets that way by the address that was written are taken.
fn is_address(code: &mut Assembler, maps: Maps, way: u32, other: Label) {
    look_up(code, maps.addresses, ADDRESS_KEY);
    code.branch_whole(Test::Equal, RESULT, 0, other);
    code.load(Width::Word, SCRATCH, RESULT, 0);
    code.mask(SCRATCH, way);
    code.branch(Test::Equal, SCRATCH, 0, other);
}

/// `RESULT` := where the number lies that the key written at `key` stands for, if for any.
fn look_up(code: &mut Assembler, map: i32, key: i16) {
    code.load_map(FIRST_ARGUMENT, map);
    code.copy(SECOND_ARGUMENT, STACK);
    code.add(SECOND_ARGUMENT, key.into());
    code.call(LOOK_UP);
}

/// Two bytes of a frame as a load finds them.
fn half(bytes: [u8; 2]) -> u32 {
    u16::from_ne_bytes(bytes).into()
}

#[cfg(test)]
mod tests;
