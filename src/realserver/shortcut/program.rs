//! The program that takes plain tunnels apart where they arrive: the same rules as [`decapsulate`], for the packets
//! that are simple.
//!
//! ```text
//! whole, to this host, no VLAN tag, no IP option, no fragment, outer checksum right
//!   └ to an address of ours ─ 4 / 41 / GRE without options / GUE without options and checksum
//!        └ fills the outer packet exactly ─ to a virtual address ─ congestion mark stays as it is
//!             └► outer headers off, counted, received again by the tunnel device
//! everything else ────────────────────────────────► goes on as if there were no program
//! ```
//!
//! Packet sockets of one protocol are served behind this place (the kernel runs it before it looks at what the
//! packet is), so a packet comes by one way alone: what the program leaves is a tunnel's packet still, and reaches
//! the capture; what it takes never does. The headers may lie anywhere in the kernel's memory, so they are copied
//! to the program's own before they are looked at. Nothing is changed before all is known, and the one call that
//! changes something leaves the packet as it was where it fails.
//!
//! [`decapsulate`]: crate::realserver::decapsulate

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::base::{Family, Port, Protocol};
use crate::port::bpf::program::{Assembler, Label, Program, ProgramTooLong, Register, Test, Width};
use crate::realserver::decapsulate::{Policy, gre, gue, ipv4, ipv6, udp};

/// How many pairs of counters there are, so that processors rarely share one: packets, and bytes.
pub const COUNTERS: u32 = 64;

/// Fields of the kernel's `struct __sk_buff`.
pub(super) mod context {
    pub const LENGTH: i16 = 0;
    pub const PACKET_TYPE: i16 = 4;
    pub const PROTOCOL: i16 = 16;
    pub const VLAN_PRESENT: i16 = 20;
}

/// The kernel's functions, by number.
pub(super) mod function {
    pub const MAP_LOOKUP: i32 = 1;
    pub const PROCESSOR: i32 = 8;
    pub const REDIRECT: i32 = 23;
    pub const ADJUST_ROOM: i32 = 50;
    pub const LOAD_BYTES_RELATIVE: i32 = 68;
}

/// What the program returns for a packet that goes on (TCX_NEXT).
pub(super) const NEXT: i32 = -1;
/// Flag of bpf_redirect: the packet is received by the other link.
pub(super) const RECEIVED: i32 = 1;
/// Count offsets from the network header (BPF_HDR_START_NET).
pub(super) const FROM_NETWORK_HEADER: i32 = 1;
/// Room is made or taken right behind the link header (BPF_ADJ_ROOM_MAC).
pub(super) const BEHIND_LINK_HEADER: i32 = 1;
/// Flags of bpf_skb_adjust_room: segments stay as long as they are, and what is inside is of that family.
pub(super) const KEEP_SEGMENTS: i32 = 1 << 0;
pub(super) const INNER_IPV4: i32 = 1 << 7;
pub(super) const INNER_IPV6: i32 = 1 << 8;

const RESULT: Register = Register(0);
const ARGUMENTS: [Register; 5] = [Register(1), Register(2), Register(3), Register(4), Register(5)];
const SCRATCH: Register = Register(1);
const OTHER: Register = Register(2);
/// Outlive calls: the context; bytes of the outer packet that are still to be accounted for; where in it the next
/// header begins; the outer congestion mark.
const CONTEXT: Register = Register(6);
const REST: Register = Register(7);
const START: Register = Register(8);
const MARK: Register = Register(9);
const STACK: Register = Register::STACK_END;

/// Where in the program's memory the headers are copied to, and the number of the counter.
const OUTER: i16 = -64;
const INNER: i16 = -104;
const SHIM: i16 = -16;
const NUMBER: i16 = -24;

/// Version 4 and a header of five words.
const PLAIN_IPV4: u32 = 0x45;
const VERSION: u32 = 0xf0;
const VERSION_4: u32 = 0x40;
const VERSION_6: u32 = 0x60;
const MARK_BITS: u32 = 3;

/// What one link's program is made from.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    pub policy: &'a Policy,
    /// This host's addresses.
    pub own: &'a BTreeSet<IpAddr>,
    /// What comes before the IP header in the link's frames.
    pub header_length: usize,
    /// The kernel's number of the device that receives what was inside.
    pub device: u32,
    /// Descriptor of the map of counters.
    pub counters: i32,
}

/// Places that more than one part of the program goes to.
#[derive(Clone, Copy)]
struct Places {
    /// With an inner packet of that family at `START`, `REST` bytes long; `leave` where none is asked for.
    inner_v4: Label,
    inner_v6: Label,
    taken: Label,
    leave: Label,
}

impl Rules<'_> {
    /// The program.
    ///
    /// # Errors
    /// There are more addresses than fit into one, some thousands.
    pub fn program(&self) -> Result<Program, ProgramTooLong> {
        let mut assembler = Assembler::default();
        let code = &mut assembler;
        let takes = [Family::V4, Family::V6].map(|family| self.takes(family));
        if takes == [false; 2] {
            // The kernel refuses instructions that nothing leads to.
            code.set(RESULT, NEXT);
            code.exit();
            return assembler.finish();
        }
        let [outer_v6, inner_v4, inner_v6, taken, leave] = std::array::from_fn(|_| code.label());
        let inside = [(Family::V4, inner_v4), (Family::V6, inner_v6)].map(|(inner, label)| {
            let leads = |outer: Family, takes: bool| takes && self.leads(outer, inner);
            (leads(Family::V4, takes[0]) || leads(Family::V6, takes[1])).then_some(label)
        });
        let [inner_v4, inner_v6] = inside.map(|label| label.unwrap_or(leave));
        let places = Places { inner_v4, inner_v6, taken, leave };
        code.copy(CONTEXT, ARGUMENTS[0]);
        code.load(Width::Word, SCRATCH, CONTEXT, context::PACKET_TYPE);
        code.branch(Test::Different, SCRATCH, libc::PACKET_HOST as u32, leave);
        code.load(Width::Word, SCRATCH, CONTEXT, context::VLAN_PRESENT);
        code.branch(Test::Different, SCRATCH, 0, leave);
        code.load(Width::Word, SCRATCH, CONTEXT, context::PROTOCOL);
        if takes[1] {
            code.branch(Test::Equal, SCRATCH, half(libc::ETH_P_IPV6 as u16), outer_v6);
        }
        if takes[0] {
            code.branch(Test::Different, SCRATCH, half(libc::ETH_P_IP as u16), leave);
            self.outer_v4(code, places);
        } else {
            code.jump(leave);
        }
        if takes[1] {
            code.place(outer_v6);
            self.outer_v6(code, places);
        }
        for (family, _) in [Family::V4, Family::V6].into_iter().zip(inside).filter(|(_, label)| label.is_some()) {
            self.inner(code, places, family);
        }
        self.taken(code, places);
        code.place(leave);
        code.set(RESULT, NEXT);
        code.exit();
        assembler.finish()
    }

    /// Whether there is anything to take in outer packets of that family.
    fn takes(&self, outer: Family) -> bool {
        let has_address = self.own.iter().any(|address| Family::of(address) == outer);
        has_address && [Family::V4, Family::V6].iter().any(|&inner| self.leads(outer, inner))
    }

    /// Whether what is of family `inner` may be inside what is of family `outer`.
    fn leads(&self, outer: Family, inner: Family) -> bool {
        let bare = match inner {
            Family::V4 => Protocol::IPIP,
            Family::V6 => Protocol::IPV6,
        };
        let asked = |protocol| self.policy.protocols.contains(&(outer, protocol));
        let has_address = self.policy.virtual_addresses.iter().any(|address| Family::of(address) == inner);
        has_address && (self.policy.gue_port.is_some() || asked(Protocol::GRE) || asked(bare))
    }

    /// Goes on with a packet whose outer header is IPv4.
    fn outer_v4(&self, code: &mut Assembler, places: Places) {
        let leave = places.leave;
        self.fetch(code, OUTER, None, ipv4::LENGTH, leave);
        code.load(Width::Byte, SCRATCH, STACK, OUTER);
        code.branch(Test::Different, SCRATCH, PLAIN_IPV4, leave);
        code.load(Width::Half, SCRATCH, STACK, OUTER + ipv4::FRAGMENT.start as i16);
        code.branch(Test::AnyBit, SCRATCH, half(ipv4::FRAGMENT_BITS), leave);
        // RFC 1071, in whatever order of bytes: the sum of all words is that of zero. Five words have 35 bits at
        // most, which folded twice are less than twice 0xffff.
        code.set(SCRATCH, 0);
        for at in (OUTER..OUTER + ipv4::LENGTH as i16).step_by(4) {
            code.load(Width::Word, OTHER, STACK, at);
            code.add_register(SCRATCH, OTHER);
        }
        for _ in 0..2 {
            code.copy(OTHER, SCRATCH);
            code.shift_right(OTHER, 16);
            code.mask(SCRATCH, 0xffff);
            code.add_register(SCRATCH, OTHER);
        }
        code.branch(Test::Different, SCRATCH, 0xffff, leave);
        self.rest(code, ipv4::TOTAL_LENGTH.start, 0, leave);
        self.on_own(code, OUTER + ipv4::DESTINATION.start as i16, Family::V4, leave);
        code.load(Width::Byte, MARK, STACK, OUTER + ipv4::TOS as i16);
        code.mask(MARK, MARK_BITS);
        code.set(START, ipv4::LENGTH as i32);
        code.add(REST, -(ipv4::LENGTH as i32));
        code.load(Width::Byte, SCRATCH, STACK, OUTER + ipv4::PROTOCOL as i16);
        self.protocols(code, places, Family::V4);
    }

    fn outer_v6(&self, code: &mut Assembler, places: Places) {
        let leave = places.leave;
        self.fetch(code, OUTER, None, ipv6::LENGTH, leave);
        code.load(Width::Byte, SCRATCH, STACK, OUTER);
        code.mask(SCRATCH, VERSION);
        code.branch(Test::Different, SCRATCH, VERSION_6, leave);
        self.rest(code, ipv6::PAYLOAD_LENGTH.start, ipv6::LENGTH, leave);
        self.on_own(code, OUTER + ipv6::DESTINATION.start as i16, Family::V6, leave);
        code.load(Width::Byte, MARK, STACK, OUTER + ipv6::CLASS_LOW as i16);
        code.shift_right(MARK, 4);
        code.mask(MARK, MARK_BITS);
        code.set(START, ipv6::LENGTH as i32);
        code.add(REST, -(ipv6::LENGTH as i32));
        code.load(Width::Byte, SCRATCH, STACK, OUTER + ipv6::NEXT_HEADER as i16);
        self.protocols(code, places, Family::V6);
    }

    /// `REST` := the whole packet's length, from the field at `field` of the outer header, which leaves `header`
    /// bytes out; it may not be more than there is.
    fn rest(&self, code: &mut Assembler, field: usize, header: usize, leave: Label) {
        code.load(Width::Half, REST, STACK, OUTER + field as i16);
        code.from_network_order(REST);
        code.add(REST, header as i32);
        code.load(Width::Word, SCRATCH, CONTEXT, context::LENGTH);
        code.add(SCRATCH, -(self.header_length as i32));
        code.branch_register(Test::Above, REST, SCRATCH, leave);
    }

    /// Goes to `leave` where the address at `place` is none of this host's.
    fn on_own(&self, code: &mut Assembler, place: i16, family: Family, leave: Label) {
        let ours = code.label();
        one_of(code, self.own.iter().copied(), place, family, ours);
        code.jump(leave);
        code.place(ours);
    }

    /// Goes on by the protocol in `SCRATCH`, of what begins at `START`.
    fn protocols(&self, code: &mut Assembler, places: Places, family: Family) {
        let [generic, datagram] = std::array::from_fn(|_| code.label());
        let asked = |protocol| self.policy.protocols.contains(&(family, protocol));
        let ways = [(Protocol::IPIP, places.inner_v4), (Protocol::IPV6, places.inner_v6), (Protocol::GRE, generic)];
        for (protocol, target) in ways.into_iter().filter(|(protocol, _)| asked(*protocol)) {
            code.branch(Test::Equal, SCRATCH, protocol.0.into(), target);
        }
        if self.policy.gue_port.is_some() {
            code.branch(Test::Equal, SCRATCH, Protocol::UDP.0.into(), datagram);
        }
        code.jump(places.leave);
        if asked(Protocol::GRE) {
            code.place(generic);
            self.generic(code, places);
        }
        if let Some(port) = self.policy.gue_port {
            code.place(datagram);
            self.datagram(code, places, port);
        }
    }

    /// A GRE header without any option.
    fn generic(&self, code: &mut Assembler, places: Places) {
        self.fetch(code, SHIM, Some(START), gre::LENGTH, places.leave);
        code.add(START, gre::LENGTH as i32);
        code.add(REST, -(gre::LENGTH as i32));
        code.load(Width::Half, SCRATCH, STACK, SHIM + gre::FLAGS.start as i16);
        code.branch(Test::Different, SCRATCH, 0, places.leave);
        code.load(Width::Half, SCRATCH, STACK, SHIM + gre::PROTOCOL_TYPE.start as i16);
        code.branch(Test::Equal, SCRATCH, half(gre::IPV4), places.inner_v4);
        code.branch(Test::Equal, SCRATCH, half(gre::IPV6), places.inner_v6);
        code.jump(places.leave);
    }

    /// A UDP header without checksum, and GUE of version 1, or 0 without any option.
    fn datagram(&self, code: &mut Assembler, places: Places, port: Port) {
        const MESSAGE: i16 = SHIM + udp::LENGTH as i16;
        let leave = places.leave;
        let with_header = code.label();
        // A packet is never so short that it ends before a header of version 0 would.
        self.fetch(code, SHIM, Some(START), udp::LENGTH + gue::LENGTH, leave);
        code.load(Width::Half, SCRATCH, STACK, SHIM + udp::DESTINATION_PORT.start as i16);
        code.branch(Test::Different, SCRATCH, half(port.0), leave);
        code.load(Width::Half, SCRATCH, STACK, SHIM + udp::CHECKSUM.start as i16);
        code.branch(Test::Different, SCRATCH, 0, leave);
        code.load(Width::Half, SCRATCH, STACK, SHIM + udp::DATAGRAM_LENGTH.start as i16);
        code.from_network_order(SCRATCH);
        code.branch_register(Test::Different, SCRATCH, REST, leave);
        code.add(START, udp::LENGTH as i32);
        code.add(REST, -(udp::LENGTH as i32));
        code.load(Width::Byte, SCRATCH, STACK, MESSAGE);
        // Version 0, no control message, no options.
        code.branch(Test::Equal, SCRATCH, 0, with_header);
        code.mask(SCRATCH, VERSION);
        code.branch(Test::Equal, SCRATCH, VERSION_4, places.inner_v4);
        code.branch(Test::Equal, SCRATCH, VERSION_6, places.inner_v6);
        code.jump(leave);

        code.place(with_header);
        code.add(START, gue::LENGTH as i32);
        code.add(REST, -(gue::LENGTH as i32));
        code.load(Width::Half, SCRATCH, STACK, MESSAGE + gue::FLAGS.start as i16);
        code.branch(Test::Different, SCRATCH, 0, leave);
        code.load(Width::Byte, SCRATCH, STACK, MESSAGE + gue::PROTOCOL as i16);
        code.branch(Test::Equal, SCRATCH, Protocol::IPIP.0.into(), places.inner_v4);
        code.branch(Test::Equal, SCRATCH, Protocol::IPV6.0.into(), places.inner_v6);
        code.jump(leave);
    }

    /// The part that every way to an inner packet of `family` leads to.
    fn inner(&self, code: &mut Assembler, places: Places, family: Family) {
        let leave = places.leave;
        let (here, length, flag) = match family {
            Family::V4 => (places.inner_v4, ipv4::LENGTH, INNER_IPV4),
            Family::V6 => (places.inner_v6, ipv6::LENGTH, INNER_IPV6),
        };
        let (field, before, destination, class) = match family {
            Family::V4 => (ipv4::TOTAL_LENGTH.start, 0, ipv4::DESTINATION.start, ipv4::TOS),
            Family::V6 => (ipv6::PAYLOAD_LENGTH.start, ipv6::LENGTH, ipv6::DESTINATION.start, ipv6::CLASS_LOW),
        };
        code.place(here);
        let virtual_address = code.label();
        self.fetch(code, INNER, Some(START), length, leave);
        code.load(Width::Byte, SCRATCH, STACK, INNER);
        match family {
            Family::V4 => code.branch(Test::Different, SCRATCH, PLAIN_IPV4, leave),
            Family::V6 => {
                code.mask(SCRATCH, VERSION);
                code.branch(Test::Different, SCRATCH, VERSION_6, leave);
            }
        }
        code.load(Width::Half, SCRATCH, STACK, INNER + field as i16);
        code.from_network_order(SCRATCH);
        code.add(SCRATCH, before as i32);
        code.branch_register(Test::Different, SCRATCH, REST, leave);
        let addresses = self.policy.virtual_addresses.iter().copied();
        one_of(code, addresses, INNER + destination as i16, family, virtual_address);
        code.jump(leave);

        // RFC 6040: ECT(1) and CE may change what is inside, the others never do; an equal mark never does.
        code.place(virtual_address);
        let unchanged = code.label();
        code.copy(SCRATCH, MARK);
        code.mask(SCRATCH, 1);
        code.branch(Test::Equal, SCRATCH, 0, unchanged);
        code.load(Width::Byte, SCRATCH, STACK, INNER + class as i16);
        if family == Family::V6 {
            code.shift_right(SCRATCH, 4);
        }
        code.mask(SCRATCH, MARK_BITS);
        code.branch_register(Test::Different, SCRATCH, MARK, leave);
        code.place(unchanged);
        code.copy(ARGUMENTS[0], CONTEXT);
        code.set(ARGUMENTS[1], 0);
        code.subtract_register(ARGUMENTS[1], START);
        code.set(ARGUMENTS[2], BEHIND_LINK_HEADER);
        code.set(ARGUMENTS[3], KEEP_SEGMENTS | flag);
        code.call(function::ADJUST_ROOM);
        code.branch(Test::Different, RESULT, 0, leave);
        code.jump(places.taken);
    }

    /// Counts the packet, and has the device receive it.
    fn taken(&self, code: &mut Assembler, places: Places) {
        let uncounted = code.label();
        code.place(places.taken);
        code.call(function::PROCESSOR);
        code.mask(RESULT, COUNTERS - 1);
        code.store(Width::Word, STACK, NUMBER, RESULT);
        code.load_map(ARGUMENTS[0], self.counters);
        code.copy(ARGUMENTS[1], STACK);
        code.add(ARGUMENTS[1], NUMBER.into());
        code.call(function::MAP_LOOKUP);
        code.branch_whole(Test::Equal, RESULT, 0, uncounted);
        code.set(SCRATCH, 1);
        code.add_to_memory(RESULT, 0, SCRATCH);
        code.add_to_memory(RESULT, 8, REST);
        code.place(uncounted);
        code.set(ARGUMENTS[0], self.device.cast_signed());
        code.set(ARGUMENTS[1], RECEIVED);
        code.call(function::REDIRECT);
        code.exit();
    }

    /// Copies `length` bytes of the packet, from register `from` or its beginning on, to `place` of the program's
    /// memory; goes to `leave` where there are not so many.
    fn fetch(&self, code: &mut Assembler, place: i16, from: Option<Register>, length: usize, leave: Label) {
        code.copy(ARGUMENTS[0], CONTEXT);
        match from {
            Some(start) => code.copy(ARGUMENTS[1], start),
            None => code.set(ARGUMENTS[1], 0),
        }
        code.copy(ARGUMENTS[2], STACK);
        code.add(ARGUMENTS[2], place.into());
        code.set(ARGUMENTS[3], length as i32);
        code.set(ARGUMENTS[4], FROM_NETWORK_HEADER);
        code.call(function::LOAD_BYTES_RELATIVE);
        code.branch(Test::Different, RESULT, 0, leave);
    }
}

/// Goes to `found` where the address at `place` of the program's memory is one of those of `addresses` that are of
/// `family`.
fn one_of(code: &mut Assembler, addresses: impl Iterator<Item = IpAddr>, place: i16, family: Family, found: Label) {
    const WORDS: [Register; 4] = [Register(1), Register(2), Register(3), Register(4)];
    let words = if family == Family::V4 { 1 } else { 4 };
    for (register, at) in WORDS.into_iter().zip((place..).step_by(4)).take(words) {
        code.load(Width::Word, register, STACK, at);
    }
    for address in addresses {
        match address {
            IpAddr::V4(address) if family == Family::V4 => {
                code.branch(Test::Equal, WORDS[0], u32::from_ne_bytes(address.octets()), found);
            }
            IpAddr::V6(address) if family == Family::V6 => {
                let next = code.label();
                let octets = address.octets();
                let (words, _) = octets.as_chunks::<4>();
                // The last words differ most.
                for (register, word) in WORDS.into_iter().zip(words).rev() {
                    code.branch(Test::Different, register, u32::from_ne_bytes(*word), next);
                }
                code.jump(found);
                code.place(next);
            }
            _ => {}
        }
    }
}

/// Two bytes in network order as a load finds them.
fn half(value: u16) -> u32 {
    u16::from_ne_bytes(value.to_be_bytes()).into()
}

#[cfg(test)]
mod tests;
