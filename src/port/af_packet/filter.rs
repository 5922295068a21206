//! The receive filter: which frames the kernel copies into a ring at all.
//!
//! Whatever passes costs a copy and a slot, so what cannot concern a director ends in the kernel:
//! other hosts' frames on a promiscuous interface, VLAN-tagged frames (they belong to another
//! interface), our own outgoing ones, and every protocol but ARP, IPv4 and IPv6.

use crate::base::{Address, Mac};
use crate::wire::EtherType;
use crate::wire::frame::ETHERNET_LENGTH;

use super::program::{Assembler, Label, Program, ProgramTooLong, Target, Test, Width};

/// What the kernel knows of a frame beside its bytes.
pub(super) const ANCILLARY: u32 = libc::SKF_AD_OFF as u32;

/// Offsets from the Ethernet header, where a socket's filter starts to count.
const DESTINATION: u32 = 0;
const DESTINATION_TAIL: u32 = 2;
const KIND: u32 = 12;
const IPV6_NEXT_HEADER: u32 = ETHERNET_LENGTH as u32 + 6;
const ICMPV6_TYPE: u32 = ETHERNET_LENGTH as u32 + 40;

const ICMPV6: u32 = 58;
/// Router solicitation to redirect: the messages of neighbour discovery (RFC 4861).
pub(super) const NEIGHBOUR_DISCOVERY: std::ops::RangeInclusive<u8> = 133..=137;

/// Which frames concern the director on one link: ARP, IPv4 and IPv6 to its addresses, broadcast
/// ARP, and neighbour discovery to its groups.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct LinkFilter {
    /// The link's own address and the virtual ones.
    pub addresses: Vec<Mac>,
    /// Multicast groups that neighbour discovery reaches us by; see [`solicited_node`].
    pub groups: Vec<Mac>,
}

/// The Ethernet group that neighbours ask for an IPv6 address by (RFC 4291 2.7.1, RFC 2464 7).
pub fn solicited_node(address: Address) -> Mac {
    let octets = address.octets16();
    Mac([0x33, 0x33, 0xff, octets[13], octets[14], octets[15]])
}

impl LinkFilter {
    /// The filter as a program for [`PacketOptions::filter`](super::PacketOptions::filter).
    ///
    /// # Errors
    /// There are more addresses than fit into one, some six hundred; take promiscuous frames unfiltered then.
    pub fn program(&self) -> Result<Program, ProgramTooLong> {
        let mut assembler = Assembler::default();
        let [arp, ipv4, ipv6, accept, reject] = std::array::from_fn(|_| assembler.label());
        assembler.load(Width::Half, ANCILLARY.wrapping_add(libc::SKF_AD_PKTTYPE as u32));
        assembler.branch(Test::Equal, libc::PACKET_OUTGOING.into(), Target::To(reject), Target::Next);
        assembler.load(Width::Byte, ANCILLARY.wrapping_add(libc::SKF_AD_VLAN_TAG_PRESENT as u32));
        assembler.branch(Test::Equal, 0, Target::Next, Target::To(reject));
        assembler.load(Width::Half, KIND);
        assembler.branch(Test::Equal, EtherType::IPV4.0.into(), Target::To(ipv4), Target::Next);
        assembler.branch(Test::Equal, EtherType::IPV6.0.into(), Target::To(ipv6), Target::Next);
        assembler.branch(Test::Equal, EtherType::ARP.0.into(), Target::To(arp), Target::To(reject));

        assembler.place(ipv6);
        let unicast = assembler.label();
        assembler.load(Width::Byte, DESTINATION);
        assembler.branch(Test::AnyBit, 1, Target::Next, Target::To(unicast));
        assembler.load(Width::Byte, IPV6_NEXT_HEADER);
        assembler.branch(Test::Equal, ICMPV6, Target::Next, Target::To(reject));
        assembler.load(Width::Byte, ICMPV6_TYPE);
        let last = u32::from(*NEIGHBOUR_DISCOVERY.end());
        assembler.branch(Test::AtLeast, last + 1, Target::To(reject), Target::Next);
        let first = u32::from(*NEIGHBOUR_DISCOVERY.start());
        assembler.branch(Test::AtLeast, first, Target::Next, Target::To(reject));
        one_of(&mut assembler, &self.groups, accept, reject);

        assembler.place(arp);
        one_of(&mut assembler, &[Mac::BROADCAST], accept, ipv4);
        assembler.place(ipv4);
        assembler.place(unicast);
        one_of(&mut assembler, &self.addresses, accept, reject);

        assembler.place(accept);
        assembler.return_whole_frame();
        assembler.place(reject);
        assembler.return_number(0);
        assembler.finish()
    }
}

/// Goes to `found` where the destination is one of `addresses`, else to `missing`.
fn one_of(assembler: &mut Assembler, addresses: &[Mac], found: Label, missing: Label) {
    for Mac([a, b, c, d, e, f]) in addresses {
        let next = assembler.label();
        assembler.load(Width::Word, DESTINATION_TAIL);
        assembler.branch(Test::Equal, u32::from_be_bytes([*c, *d, *e, *f]), Target::Next, Target::To(next));
        assembler.load(Width::Half, DESTINATION);
        assembler.branch(Test::Equal, u16::from_be_bytes([*a, *b]).into(), Target::To(found), Target::Next);
        assembler.place(next);
    }
    assembler.jump(missing);
}

#[cfg(test)]
mod tests {
    use super::super::interpreter::{Packet, run};
    use super::*;

    const OWN: Mac = Mac([0x52, 0x54, 0, 1, 2, 3]);
    const VIRTUAL: Mac = Mac([0, 0, 0x5e, 0, 1, 7]);
    const STRANGER: Mac = Mac([0x52, 0x54, 0, 1, 2, 4]);

    fn filter() -> LinkFilter {
        let address = Address::v6([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x11, 0x22, 0x33]);
        LinkFilter { addresses: vec![OWN, VIRTUAL], groups: vec![solicited_node(address)] }
    }

    fn frame(to: Mac, kind: u16, rest: &[u8]) -> Vec<u8> {
        [&to.0[..], &STRANGER.0, &kind.to_be_bytes(), rest].concat()
    }

    /// An ICMPv6 message of that type, as far as a filter looks.
    fn icmpv6(kind: u8) -> Vec<u8> {
        let mut packet = vec![0; 60];
        packet[6] = 58;
        packet[40] = kind;
        packet
    }

    #[test]
    fn what_concerns_us_passes_and_nothing_else() {
        let program = filter().program().unwrap();
        let group = Mac([0x33, 0x33, 0xff, 0x11, 0x22, 0x33]);
        let rows: &[(&str, Mac, u16, Vec<u8>, bool)] = &[
            ("IPv4 to us", OWN, 0x0800, vec![0; 46], true),
            ("IPv4 to the virtual MAC", VIRTUAL, 0x0800, vec![0; 46], true),
            ("IPv4 to another host", STRANGER, 0x0800, vec![0; 46], false),
            ("IPv4 broadcast", Mac::BROADCAST, 0x0800, vec![0; 46], false),
            ("IPv4 multicast", Mac([1, 0, 0x5e, 0, 0, 1]), 0x0800, vec![0; 46], false),
            ("ARP broadcast", Mac::BROADCAST, 0x0806, vec![0; 46], true),
            ("ARP to us", VIRTUAL, 0x0806, vec![0; 46], true),
            ("ARP to another host", STRANGER, 0x0806, vec![0; 46], false),
            ("IPv6 to us", OWN, 0x86dd, vec![0; 60], true),
            ("IPv6 to another host", STRANGER, 0x86dd, vec![0; 60], false),
            ("neighbour solicitation to our group", group, 0x86dd, icmpv6(135), true),
            ("router solicitation to our group", group, 0x86dd, icmpv6(133), true),
            ("redirect to our group", group, 0x86dd, icmpv6(137), true),
            ("echo request to our group", group, 0x86dd, icmpv6(128), false),
            ("router renumbering to our group", group, 0x86dd, icmpv6(138), false),
            ("UDP to our group", group, 0x86dd, vec![0; 60], false),
            ("solicitation to another group", Mac([0x33, 0x33, 0xff, 0, 0, 1]), 0x86dd, icmpv6(135), false),
            ("a VLAN tag in the bytes", OWN, 0x8100, vec![0; 46], false),
            ("LLDP", Mac([1, 0x80, 0xc2, 0, 0, 0xe]), 0x88cc, vec![0; 46], false),
            ("a frame cut short", OWN, 0x86dd, vec![], true),
        ];
        for (what, to, kind, rest, passes) in rows {
            let data = frame(*to, *kind, rest);
            let packet = Packet { data: &data, ..Packet::default() };
            assert_eq!(run(&program, &packet) >= 65_550, *passes, "{what}");
        }
    }

    #[test]
    fn our_own_and_tagged_frames_end_in_the_kernel() {
        let program = filter().program().unwrap();
        let data = frame(OWN, 0x0800, &[0; 46]);
        let passes = |packet| run(&program, &packet) != 0;
        assert!(passes(Packet { data: &data, ..Packet::default() }));
        assert!(!passes(Packet { data: &data, outgoing: true, ..Packet::default() }));
        assert!(!passes(Packet { data: &data, tagged: true, ..Packet::default() }));
    }

    #[test]
    fn many_addresses_fit() {
        let addresses = (0..600u16).map(|number| {
            let [high, low] = number.to_be_bytes();
            Mac([2, 0, 0, 0, high, low])
        });
        let filter = LinkFilter { addresses: addresses.collect(), groups: vec![] };
        let program = filter.program().unwrap();
        for (number, passes) in [(0u16, true), (300, true), (599, true), (600, false)] {
            let [high, low] = number.to_be_bytes();
            let data = frame(Mac([2, 0, 0, 0, high, low]), 0x0800, &[0; 46]);
            assert_eq!(run(&program, &Packet { data: &data, ..Packet::default() }) != 0, passes);
        }
    }
}
