//! Which worker a packet belongs to, as a function here and as a program in the kernel.
//!
//! What both directions of a flow share, also behind NAT, is the client; so a worker is found by
//! the client's address, and all flows of a client meet, as persistence, FTP and fragments need it. Which end of a
//! packet is the client follows from its destination: a packet to a virtual address comes from a client, any other goes
//! to one.
//!
//! ```text
//!   ARP, neighbour discovery ─────────────────────────────► worker 0
//!   IP ─► to a virtual address? ─ yes ─► source    ┐
//!                               └ no ──► destination ┴► address ─► hash ─► worker
//! ```
//!
//! | packet | its worker |
//! |---|---|
//! | an ICMP error | that of the client of the packet it quotes, whose ends are the other way round |
//! | any other, and any fragment | that of the client's address |
//! | what is too short to tell | worker 0 |
//!
//! The kernel runs the program with offset 0 at the IP header, not at Ethernet as for a filter;
//! offsets are therefore given from SKF_NET_OFF. [`Steering::worker_of_packet`] computes the same
//! in Rust for every packet with a whole IP header, and the tests hold the two against each other.

use std::num::NonZeroU32;

use crate::base::{Address, Family, Prefix, Protocol};
use crate::wire::EtherType;

use super::filter::{ANCILLARY, NEIGHBOUR_DISCOVERY};
use super::membership::PrefixSet;
use super::program::{Assembler, Label, Operation, Program, ProgramTooLong, Target, Test, Width};

/// How many prefixes of virtual addresses are certain to fit into a program, whatever they are;
/// of neighbouring ones, or of IPv4, fit more.
pub const CERTAIN_PREFIXES: usize = 200;

/// What of their addresses clients are told apart by: those who agree in it share a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientNetwork {
    /// A netmask, as a number (0xffffff00 is /24).
    pub v4: u32,
    /// The length of a prefix, 0 to 128.
    pub v6: u8,
}

impl ClientNetwork {
    /// Every client for itself.
    pub const HOST: ClientNetwork = ClientNetwork { v4: u32::MAX, v6: 128 };

    /// The larger network that both are part of.
    pub fn including(self, other: ClientNetwork) -> ClientNetwork {
        ClientNetwork { v4: self.v4 & other.v4, v6: self.v6.min(other.v6) }
    }

    /// The mask of each word of an address.
    #[inline]
    fn masks(self, family: Family) -> [u32; 4] {
        match family {
            Family::V4 => [self.v4, 0, 0, 0],
            Family::V6 => std::array::from_fn(|word| {
                let kept = u32::from(self.v6).saturating_sub(word as u32 * u32::BITS).min(u32::BITS);
                u32::MAX.checked_shl(u32::BITS - kept).unwrap_or(0)
            }),
        }
    }
}

/// The function from a client to its worker; the same on all links and workers of a director.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowHash {
    pub workers: NonZeroU32,
    pub network: ClientNetwork,
    /// Unknown outside, so that nobody can choose flows that all meet at one worker.
    pub seed: u32,
}

const MIX: u32 = 0x9e37_79b1;
const SPREAD: u32 = 0x85eb_ca6b;
const FINAL: u32 = 0xc2b2_ae35;
const MIX_SHIFT: u32 = 15;
const SPREAD_SHIFT: u32 = 13;
const FINAL_SHIFT: u32 = 16;

impl FlowHash {
    /// The worker that the flows of this client belong to.
    #[inline]
    pub fn worker_of(&self, family: Family, client: Address) -> usize {
        let words = client.words();
        let words = match family {
            Family::V4 => &words[..1],
            Family::V6 => &words[..],
        };
        let mixed = words.iter().zip(self.network.masks(family)).fold(self.seed, |hash, (word, mask)| {
            let hash = (hash ^ (word & mask)).wrapping_mul(MIX);
            hash ^ hash >> MIX_SHIFT
        });
        let spread = mixed.wrapping_mul(SPREAD);
        let last = (spread ^ spread >> SPREAD_SHIFT).wrapping_mul(FINAL);
        ((last ^ last >> FINAL_SHIFT) % self.workers) as usize
    }
}

/// How the packets of one link are spread over the workers.
#[derive(Clone, Debug)]
pub struct Steering {
    hash: FlowHash,
    virtual_v4: PrefixSet,
    virtual_v6: PrefixSet,
}

impl Steering {
    /// `virtual_addresses` are the destinations of clients' packets: the services' addresses, and what the
    /// rules of mark services match.
    pub fn new(hash: FlowHash, virtual_addresses: &[Prefix]) -> Steering {
        let of = |family| PrefixSet::new(virtual_addresses.iter().filter(|prefix| prefix.family() == family));
        Steering { hash, virtual_v4: of(Family::V4), virtual_v6: of(Family::V6) }
    }

    /// The worker that an IP packet belongs to, which is the one that the kernel's program chooses where it has room for all
    /// virtual addresses.
    #[inline]
    pub fn worker_of_packet(&self, packet: &[u8]) -> usize {
        self.client_of(packet).map_or(0, |(family, client)| self.hash.worker_of(family, client))
    }

    /// The program for [`Fanout::program`](super::Fanout::program). Where there are too many virtual addresses for one,
    /// it takes every packet for a client's, so that replies come to some worker, which has to look
    /// ([`Steering::worker_of_packet`]) and hand them over.
    pub fn program(&self) -> Program {
        let whole = self.assemble(Client::ByDestination);
        // Without virtual addresses a program has a fixed length, far below the limit.
        let program = whole.or_else(|_| self.assemble(Client::Source));
        program.unwrap_or_else(|_| Program(Program::NOTHING.to_vec()))
    }

    /// The client of a packet; `None` where the packet belongs to no flow or is too short.
    fn client_of(&self, packet: &[u8]) -> Option<(Family, Address)> {
        match packet.first()? >> 4 {
            4 => self.client_of_v4(packet).map(|client| (Family::V4, client)),
            6 => self.client_of_v6(packet).map(|client| (Family::V6, client)),
            _ => None,
        }
    }

    fn client_of_v4(&self, packet: &[u8]) -> Option<Address> {
        let client = self.client_end(&self.virtual_v4, || Address::read(Family::V4, packet.get(16..)?))?;
        let fragment = half(packet, 6)? & FRAGMENT != 0;
        if byte(packet, 9)? == Protocol::ICMP.0 && !fragment {
            let message = header_length(packet)?;
            if ICMP_ERRORS.contains(&byte(packet, message)?) {
                return client.other().read(Family::V4, packet.get(message + 8..)?);
            }
        }
        client.read(Family::V4, packet)
    }

    fn client_of_v6(&self, packet: &[u8]) -> Option<Address> {
        let client = self.client_end(&self.virtual_v6, || Address::read(Family::V6, packet.get(24..)?))?;
        if byte(packet, 6)? == Protocol::ICMPV6.0 {
            let kind = byte(packet, 40)?;
            if NEIGHBOUR_DISCOVERY.contains(&kind) {
                return None;
            }
            if ICMPV6_ERRORS.contains(&kind) {
                return client.other().read(Family::V6, packet.get(48..)?);
            }
        }
        client.read(Family::V6, packet)
    }

    #[inline]
    fn client_end(&self, virtual_addresses: &PrefixSet, destination: impl Fn() -> Option<Address>) -> Option<End> {
        Some(if virtual_addresses.contains(destination()?) { End::Source } else { End::Destination })
    }
}

/// Messages that quote a packet: unreachable, source quench, time exceeded, parameter problem.
const ICMP_ERRORS: [u8; 4] = [3, 4, 11, 12];
/// The same of ICMPv6: unreachable, too big, time exceeded, parameter problem.
const ICMPV6_ERRORS: [u8; 4] = [1, 2, 3, 4];
/// More fragments, or an offset.
const FRAGMENT: u16 = 0x3fff;

/// How a program tells which end of a packet is the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    /// The source of what is to a virtual address, the destination of everything else.
    ByDestination,
    /// The source, always.
    Source,
}

/// One of the two ends of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Source,
    Destination,
}

impl End {
    fn other(self) -> End {
        match self {
            End::Source => End::Destination,
            End::Destination => End::Source,
        }
    }

    /// Where the end's address lies in an IP header.
    fn address(self, family: Family) -> u32 {
        match (family, self) {
            (Family::V4, End::Source) => 12,
            (Family::V4, End::Destination) => 16,
            (Family::V6, End::Source) => 8,
            (Family::V6, End::Destination) => 24,
        }
    }

    /// The end's address in a packet.
    fn read(self, family: Family, packet: &[u8]) -> Option<Address> {
        Address::read(family, packet.get(self.address(family) as usize..)?)
    }
}

fn byte(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn header_length(packet: &[u8]) -> Option<usize> {
    Some(usize::from(byte(packet, 0)? & 0xf) * 4)
}

/// Where offsets from the IP header start.
const NETWORK: u32 = libc::SKF_NET_OFF as u32;
impl Steering {
    fn assemble(&self, client: Client) -> Result<Program, ProgramTooLong> {
        let mut assembler = Assembler::default();
        let [v4, v6, none, finish] = std::array::from_fn(|_| assembler.label());
        assembler.load(Width::Half, ANCILLARY.wrapping_add(libc::SKF_AD_PROTOCOL as u32));
        assembler.branch(Test::Equal, EtherType::IPV4.0.into(), Target::To(v4), Target::Next);
        assembler.branch(Test::Equal, EtherType::IPV6.0.into(), Target::To(v6), Target::To(none));

        assembler.place(v4);
        both_ends(&mut assembler, client, &self.virtual_v4, NETWORK + 16, |assembler, client| {
            self.assemble_v4(assembler, client, finish);
        });
        assembler.place(v6);
        both_ends(&mut assembler, client, &self.virtual_v6, NETWORK + 24, |assembler, client| {
            self.assemble_v6(assembler, client, finish, none);
        });

        // Here the accumulator holds the mixed address.
        assembler.place(finish);
        for (factor, shift) in [(SPREAD, SPREAD_SHIFT), (FINAL, FINAL_SHIFT)] {
            scramble(&mut assembler, factor, shift);
        }
        assembler.apply(Operation::Remainder, self.hash.workers.get());
        assembler.return_accumulator();
        assembler.place(none);
        assembler.return_number(0);
        assembler.finish()
    }

    fn assemble_v4(&self, assembler: &mut Assembler, client: End, finish: Label) {
        let [error, plain] = std::array::from_fn(|_| assembler.label());
        assembler.load(Width::Byte, NETWORK + 9);
        assembler.branch(Test::Equal, Protocol::ICMP.0.into(), Target::Next, Target::To(plain));
        assembler.load(Width::Half, NETWORK + 6);
        assembler.branch(Test::AnyBit, FRAGMENT.into(), Target::To(plain), Target::Next);
        assembler.index_header_length(NETWORK);
        assembler.load_indexed(Width::Byte, NETWORK);
        any_of(assembler, &ICMP_ERRORS, error, plain);

        assembler.place(error);
        assembler.load_indexed(Width::Word, NETWORK + 8 + client.other().address(Family::V4));
        self.mix_first_word(assembler, Family::V4);
        assembler.jump(finish);

        assembler.place(plain);
        assembler.load(Width::Word, NETWORK + client.address(Family::V4));
        self.mix_first_word(assembler, Family::V4);
        assembler.jump(finish);
    }

    fn assemble_v6(&self, assembler: &mut Assembler, client: End, finish: Label, none: Label) {
        let [message, error, plain] = std::array::from_fn(|_| assembler.label());
        assembler.load(Width::Byte, NETWORK + 6);
        assembler.branch(Test::Equal, Protocol::ICMPV6.0.into(), Target::Next, Target::To(plain));
        assembler.load(Width::Byte, NETWORK + 40);
        let past = u32::from(*NEIGHBOUR_DISCOVERY.end()) + 1;
        assembler.branch(Test::AtLeast, past, Target::To(message), Target::Next);
        let first = u32::from(*NEIGHBOUR_DISCOVERY.start());
        assembler.branch(Test::AtLeast, first, Target::To(none), Target::Next);
        assembler.place(message);
        any_of(assembler, &ICMPV6_ERRORS, error, plain);

        assembler.place(error);
        self.assemble_v6_at(assembler, NETWORK + 48, client.other(), finish);
        assembler.place(plain);
        self.assemble_v6_at(assembler, NETWORK, client, finish);
    }

    /// The part for the IPv6 header at `header`.
    fn assemble_v6_at(&self, assembler: &mut Assembler, header: u32, client: End, finish: Label) {
        let address = header + client.address(Family::V6);
        assembler.load(Width::Word, address);
        self.mix_first_word(assembler, Family::V6);
        for (word, mask) in (1..).zip(&self.hash.network.masks(Family::V6)[1..]) {
            assembler.index_accumulator();
            assembler.load(Width::Word, address + 4 * word);
            apply_mask(assembler, *mask);
            assembler.apply_index(Operation::Xor);
            scramble(assembler, MIX, MIX_SHIFT);
        }
        assembler.jump(finish);
    }

    fn mix_first_word(&self, assembler: &mut Assembler, family: Family) {
        apply_mask(assembler, self.hash.network.masks(family)[0]);
        assembler.apply(Operation::Xor, self.hash.seed);
        scramble(assembler, MIX, MIX_SHIFT);
    }
}

/// Writes `part` for each end that can be the client's, behind the test for which it is.
fn both_ends(
    assembler: &mut Assembler,
    client: Client,
    virtual_addresses: &PrefixSet,
    destination: u32,
    mut part: impl FnMut(&mut Assembler, End),
) {
    match client {
        Client::Source => part(assembler, End::Source),
        Client::ByDestination => {
            let [from_client, to_client] = std::array::from_fn(|_| assembler.label());
            virtual_addresses.assemble(assembler, destination, from_client, to_client);
            assembler.place(from_client);
            part(assembler, End::Source);
            assembler.place(to_client);
            part(assembler, End::Destination);
        }
    }
}

/// Keeps of the accumulator what `mask` has.
fn apply_mask(assembler: &mut Assembler, mask: u32) {
    if mask != u32::MAX {
        assembler.apply(Operation::And, mask);
    }
}

/// Accumulator := (a * factor) ^ (a * factor >> shift); the index register is lost.
fn scramble(assembler: &mut Assembler, factor: u32, shift: u32) {
    assembler.apply(Operation::Multiply, factor);
    assembler.index_accumulator();
    assembler.apply(Operation::ShiftRight, shift);
    assembler.apply_index(Operation::Xor);
}

/// Goes to `found` where the accumulator is one of `numbers`, else to `missing`.
fn any_of(assembler: &mut Assembler, numbers: &[u8], found: Label, missing: Label) {
    for &number in numbers {
        assembler.branch(Test::Equal, number.into(), Target::To(found), Target::Next);
    }
    assembler.jump(missing);
}

#[cfg(test)]
mod tests;
