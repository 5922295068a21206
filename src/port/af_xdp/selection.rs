//! Which frames are taken by AF_XDP at all.
//!
//! What is taken reaches nobody else, neither the kernel nor a packet socket. So only that is taken which the
//! kernel has no use for, and of that only what a descriptor can carry:
//!
//! ```text
//! whole UDP packets with a checksum, no IP options, short enough for a chunk
//!    to a virtual MAC ─────────────────────────────────────► taken: the kernel sees another host's frame
//!    to the link's own MAC
//!       to an address of this host ────────────────────────► passed
//!       to an address in `to`, or from one in `from` ──────► taken: the kernel would not forward it
//! everything else (ARP, ND, ICMP, TCP, fragments, …) ──────► passed: the packet ring has it
//! ```
//!
//! TCP stays with the packet ring because its super-frames do: by two ways a small segment overtakes the
//! super-frame before it, which the receiver takes for a loss. (Bulk transfer fell to a tenth.)
//!
//! A UDP datagram without checksum may hold an encapsulated packet whose own checksum is unfinished, which
//! only the packet ring's metadata tells.

use std::net::IpAddr;

use crate::base::{Family, Mac, Prefix, Protocol};
use crate::wire::EtherType;
use crate::wire::frame::ETHERNET_LENGTH;
use crate::wire::ip::{v4, v6};
use crate::wire::transport::udp;

use crate::port::bpf::program::{Assembler, Label, Program, ProgramTooLong, Register, Test, Width};

/// Longest frame that is taken: what a chunk of [`CHUNK`](crate::port::sys::xdp::CHUNK) bytes holds beside
/// the headroom that the kernel leaves in it.
pub const LONGEST: usize = crate::port::sys::xdp::ROOM;

/// What the program returns for a frame that goes on as if there were no program (XDP_PASS).
pub(super) const PASS: i32 = 2;
/// Number of the kernel's function bpf_redirect_map.
pub(super) const REDIRECT_MAP: i32 = 51;

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
/// Four registers that hold what is compared.
const WORDS: [Register; 4] = [Register(2), Register(3), Register(4), Register(5)];
const SCRATCH: Register = Register(9);
/// Outlive everything: the context, the frame's first byte, the byte after its last.
const CONTEXT: Register = Register(6);
const FRAME: Register = Register(7);
const END: Register = Register(8);

const KIND: i16 = 12;
const IP: i16 = ETHERNET_LENGTH as i16;
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
    transport: IP + v6::LENGTH as i16,
};

impl Selection {
    /// The program for it; `map` is the descriptor of the map that leads to the link's sockets, by queue.
    ///
    /// # Errors
    /// There are more addresses than fit into one, some hundreds; leave out those at the link's own address.
    pub fn program(&self, map: i32) -> Result<Program, ProgramTooLong> {
        let mut assembler = Assembler::default();
        let code = &mut assembler;
        let [ipv6, take, pass] = std::array::from_fn(|_| code.label());
        if self.is_empty() {
            // The kernel refuses instructions that nothing leads to.
            code.set(RESULT, PASS);
            code.exit();
            return assembler.finish();
        }
        code.copy(CONTEXT, FIRST_ARGUMENT);
        code.load(Width::Word, FRAME, CONTEXT, context::DATA);
        code.load(Width::Word, END, CONTEXT, context::DATA_END);
        self.ends_within(code, IPV4.least, pass);
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
        self.family(code, &IPV4, take, pass);
        code.place(ipv6);
        self.ends_within(code, IPV6.least, pass);
        self.family(code, &IPV6, take, pass);

        code.place(take);
        code.load(Width::Word, SECOND_ARGUMENT, CONTEXT, context::QUEUE);
        code.load_map(FIRST_ARGUMENT, map);
        // What happens to a frame of a queue that has no socket.
        code.set(THIRD_ARGUMENT, PASS);
        code.call(REDIRECT_MAP);
        code.exit();
        code.place(pass);
        code.set(RESULT, PASS);
        code.exit();
        assembler.finish()
    }

    /// Whether nothing is taken.
    pub fn is_empty(&self) -> bool {
        let at_own = |family| self.takes_at_own(family);
        self.virtual_macs.is_empty() && !at_own(Family::V4) && !at_own(Family::V6)
    }

    /// Whether frames of `family` to the link's own address are taken.
    fn takes_at_own(&self, family: Family) -> bool {
        let all_is_host = self.host.iter().any(|prefix| prefix.family() == family && prefix.length == 0);
        !all_is_host && self.to.iter().chain(&self.from).any(|address| Family::of(address) == family)
    }

    /// The same without what is taken at the link's own address.
    pub fn virtual_alone(&self) -> Selection {
        Selection { virtual_macs: self.virtual_macs.clone(), own: self.own, ..Selection::default() }
    }

    /// Goes to `pass` where fewer than `length` bytes are in one piece.
    fn ends_within(&self, code: &mut Assembler, length: i32, pass: Label) {
        code.copy(SCRATCH, FRAME);
        code.add(SCRATCH, length);
        code.branch_register(Test::Above, SCRATCH, END, pass);
    }

    /// Goes to `take` or to `pass` with a frame of that family.
    fn family(&self, code: &mut Assembler, layout: &Layout, take: Label, pass: Label) {
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

        code.load(Width::Half, WORDS[0], FRAME, 0);
        code.load(Width::Word, WORDS[1], FRAME, 2);
        for &mac in &self.virtual_macs {
            let next = code.label();
            is_mac(code, mac, next);
            code.jump(take);
            code.place(next);
        }
        if self.takes_at_own(layout.family) {
            let of_family = |address: &&IpAddr| Family::of(address) == layout.family;
            is_mac(code, self.own, pass);
            load_address(code, layout, layout.destination);
            let host = self.host.iter().filter(|prefix| prefix.family() == layout.family);
            host.for_each(|&prefix| on_address(code, prefix, pass));
            self.to.iter().filter(of_family).for_each(|&address| on_address(code, Prefix::host(address), take));
            load_address(code, layout, layout.source);
            self.from.iter().filter(of_family).for_each(|&address| on_address(code, Prefix::host(address), take));
        }
        code.jump(pass);
    }
}

/// Goes to `missing` where the destination, which was loaded, is another one.
fn is_mac(code: &mut Assembler, mac: Mac, missing: Label) {
    let Mac([a, b, c, d, e, f]) = mac;
    code.branch(Test::Different, WORDS[1], word([c, d, e, f]), missing);
    code.branch(Test::Different, WORDS[0], half([a, b]), missing);
}

/// Loads the address at `place`.
fn load_address(code: &mut Assembler, layout: &Layout, place: i16) {
    let words = match layout.family {
        Family::V4 => 1,
        Family::V6 => 4,
    };
    for (register, at) in WORDS.into_iter().zip((place..).step_by(4)).take(words) {
        code.load(Width::Word, register, FRAME, at);
    }
}

/// Goes to `found` where the address that was loaded lies in `prefix`, which is not everything.
fn on_address(code: &mut Assembler, prefix: Prefix, found: Label) {
    let octets: Vec<u8> = match prefix.address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let next = code.label();
    let words = octets.chunks_exact(4).map(|octets| [octets[0], octets[1], octets[2], octets[3]]);
    for ((register, octets), before) in WORDS.into_iter().zip(words).zip((0u32..).step_by(32)) {
        let bits = u32::from(prefix.length).saturating_sub(before).min(32);
        let Some(mask) = u32::MAX.checked_shl(32 - bits).filter(|_| bits > 0) else { break };
        let mask = mask.to_be_bytes();
        if bits == 32 {
            code.branch(Test::Different, register, word(octets), next);
            continue;
        }
        code.copy(SCRATCH, register);
        code.mask(SCRATCH, word(mask));
        code.branch(Test::Different, SCRATCH, word(octets) & word(mask), next);
    }
    code.jump(found);
    code.place(next);
}

/// Four bytes of a frame as a load finds them.
fn word(bytes: [u8; 4]) -> u32 {
    u32::from_ne_bytes(bytes)
}

fn half(bytes: [u8; 2]) -> u32 {
    u16::from_ne_bytes(bytes).into()
}

#[cfg(test)]
mod tests;
