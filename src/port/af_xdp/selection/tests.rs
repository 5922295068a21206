use etherparse::PacketBuilder;

use super::super::entries::{Contents, PREFIX};
use super::*;
use crate::port::bpf::interpreter::{Action, run};
use crate::wire::checksum::Sum;

const OWN: Mac = Mac([0x52, 0x54, 0, 1, 2, 3]);
const VIRTUAL: Mac = Mac([0, 0, 0x5e, 0, 1, 1]);
const STRANGER: Mac = Mac([0x52, 0x54, 0, 1, 2, 4]);
const MAPS: Maps = Maps { sockets: 77, stations: 78, addresses: 79, host: 80 };
const TAKEN: Action = Action::Redirect { map: 77, queue: 3 };

const CLIENT: &str = "10.0.1.1";
const HOST: &str = "10.0.1.10";
const SERVED: &str = "10.0.1.100";
const SERVER: &str = "10.0.2.11";
const CLIENT_6: &str = "fd00:1::1";
const HOST_6: &str = "fd00:1::10";
const SERVED_6: &str = "fd00:1::100";
const SERVER_6: &str = "fd00:2::11";

fn selection() -> Selection {
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Selection {
        virtual_macs: vec![VIRTUAL],
        own: OWN,
        to: addresses(&[SERVED, SERVED_6]),
        from: addresses(&[SERVER, SERVER_6]),
        host: ["10.0.1.10/32", "fd00:1::10/128", "127.0.0.0/8", "192.168.64.0/18", "fd00:7::/44"]
            .map(|text| text.parse().unwrap())
            .into(),
    }
}

/// What a packet holds above IP.
#[derive(Clone, Copy)]
enum Kind {
    Udp(usize),
    Tcp(usize),
    Icmp,
}
use Kind::{Icmp, Tcp, Udp};

fn frame(to: Mac, source: &str, destination: &str, kind: Kind) -> Vec<u8> {
    let link = PacketBuilder::ethernet2(STRANGER.0, to.0);
    let builder = match (source.parse().unwrap(), destination.parse().unwrap()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => link.ipv4(source.octets(), destination.octets(), 64),
        (IpAddr::V6(source), IpAddr::V6(destination)) => link.ipv6(source.octets(), destination.octets(), 64),
        _ => panic!("two families"),
    };
    let mut bytes = Vec::new();
    match kind {
        Udp(length) => builder.udp(4000, 53).write(&mut bytes, &vec![7; length]).unwrap(),
        Tcp(length) => builder.tcp(4000, 80, 1, 1000).write(&mut bytes, &vec![7; length]).unwrap(),
        Icmp => builder.icmpv4_echo_request(1, 2).write(&mut bytes, &[7; 40]).unwrap(),
    }
    bytes
}

#[track_caller]
fn check(what: &str, frame: &[u8], taken: bool) {
    let expected = if taken { TAKEN } else { Action::Pass };
    assert_eq!(decide(&selection(), frame), expected, "{what}");
}

/// What the program decides with `selection` in its maps.
fn decide(selection: &Selection, frame: &[u8]) -> Action {
    let contents = Contents::of(selection, usize::MAX);
    let begins_with = |address: &[u8], prefix: &[u8; PREFIX]| {
        let bits = |bytes: &[u8]| u128::from_be_bytes(bytes.try_into().unwrap());
        let length = u32::from_ne_bytes(prefix[..COUNT].try_into().unwrap());
        (bits(address) ^ bits(&prefix[COUNT..])).leading_zeros() >= length
    };
    run(&program(MAPS).unwrap(), frame, 3, |map, key| match map {
        78 => contents.stations.get(&key[..STATION]).copied(),
        79 => contents.addresses.get(&key[..ADDRESS]).copied(),
        80 => {
            let (length, address) = key[..PREFIX].split_at(COUNT);
            assert_eq!(length, 128u32.to_ne_bytes(), "a prefix is looked up");
            contents.host.iter().find(|(prefix, _)| begins_with(address, prefix)).map(|(_, &number)| number)
        }
        other => panic!("no map has descriptor {other}"),
    })
}

#[test]
fn what_is_certainly_ours_is_taken_and_nothing_else() {
    let rows: &[(&str, Mac, &str, &str, Kind, bool)] = &[
        ("UDP to the virtual MAC", VIRTUAL, CLIENT, "10.9.9.9", Udp(18), true),
        ("TCP to the virtual MAC", VIRTUAL, CLIENT, "10.9.9.9", Tcp(0), false),
        ("UDP over IPv6 to the virtual MAC", VIRTUAL, CLIENT_6, "fd09::9", Udp(0), true),
        ("TCP over IPv6 to the virtual MAC", VIRTUAL, CLIENT_6, "fd09::9", Tcp(1000), false),
        ("to the virtual MAC, even from and to this host", VIRTUAL, HOST, HOST, Udp(0), true),
        ("ICMP to the virtual MAC", VIRTUAL, CLIENT, SERVED, Icmp, false),
        ("to another host", STRANGER, CLIENT, SERVED, Udp(18), false),
        ("to all", Mac::BROADCAST, SERVER, SERVED, Udp(18), false),
        ("to this host", OWN, CLIENT, HOST, Udp(0), false),
        ("from a real server to this host", OWN, SERVER, HOST, Udp(0), false),
        ("from a real server to a network of this host's", OWN, SERVER, "127.3.2.1", Udp(0), false),
        ("the last address of such a network", OWN, SERVER, "192.168.127.255", Udp(0), false),
        ("the first one after it", OWN, SERVER, "192.168.128.0", Udp(0), true),
        ("from a real server to a client", OWN, SERVER, CLIENT, Udp(0), true),
        ("TCP from a real server to a client", OWN, SERVER, CLIENT, Tcp(0), false),
        ("from a client to a virtual address", OWN, CLIENT, SERVED, Udp(0), true),
        ("from a client to somebody else", OWN, CLIENT, "10.0.3.3", Udp(0), false),
        ("to a real server from somebody else", OWN, CLIENT, SERVER, Udp(0), false),
        ("IPv6 to this host", OWN, CLIENT_6, HOST_6, Udp(0), false),
        ("IPv6 from a real server to this host", OWN, SERVER_6, HOST_6, Udp(8), false),
        ("IPv6 from a real server to a network of this host's", OWN, SERVER_6, "fd00:7:f:ffff::1", Udp(8), false),
        ("IPv6 from a real server to the next network", OWN, SERVER_6, "fd00:7:10::1", Udp(8), true),
        ("IPv6 from a real server to a client", OWN, SERVER_6, CLIENT_6, Udp(8), true),
        ("IPv6 from a client to a virtual address", OWN, CLIENT_6, SERVED_6, Udp(8), true),
        ("IPv6 from a client to somebody else", OWN, CLIENT_6, "fd00:1::101", Udp(8), false),
    ];
    for (what, to, source, destination, kind, taken) in rows {
        check(what, &frame(*to, source, destination, *kind), *taken);
    }
}

#[test]
fn what_a_descriptor_cannot_carry_stays_with_the_packet_ring() {
    let plain = || frame(VIRTUAL, CLIENT, SERVED, Udp(100));
    let edited = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = plain();
        edit(&mut bytes);
        bytes
    };
    check("a whole datagram", &plain(), true);
    check("padding behind it", &edited(&|bytes| bytes.extend([0; 30])), true);
    check("IP options", &edited(&|bytes| bytes[14] = 0x46), false);
    check("a first piece", &edited(&|bytes| bytes[20] |= 0x20), false);
    check("a later piece", &edited(&|bytes| bytes[21] = 1), false);
    check("do not fragment", &edited(&|bytes| bytes[20] |= 0x40), true);
    check("no checksum", &edited(&|bytes| bytes[40..42].fill(0)), false);
    for port in TUNNELS {
        check("a tunnel over UDP", &edited(&|bytes| bytes[36..38].copy_from_slice(&port.to_be_bytes())), false);
    }
    check("SCTP", &edited(&|bytes| bytes[23] = 132), false);
    check("longer than the frame says it is", &edited(&|bytes| bytes.truncate(130)), false);
    check("a VLAN tag in the bytes", &edited(&|bytes| bytes[12..14].copy_from_slice(&[0x81, 0])), false);
    let six = frame(VIRTUAL, CLIENT_6, SERVED_6, Udp(100));
    let mut extended = six.clone();
    extended[20] = 0;
    check("an extension header", &extended, false);
    let mut unsummed = six.clone();
    unsummed[60..62].fill(0);
    check("no checksum over IPv6", &unsummed, false);
    for (length, taken) in [(LONGEST - 42, true), (LONGEST - 41, false), (40_000, false)] {
        check("of some length", &frame(VIRTUAL, CLIENT, SERVED, Udp(length)), taken);
    }
    check("IPv6, as long as can be", &frame(VIRTUAL, CLIENT_6, SERVED_6, Udp(LONGEST - 62)), true);
    check("IPv6, longer", &frame(VIRTUAL, CLIENT_6, SERVED_6, Udp(LONGEST - 61)), false);
}

/// Leaves the checksum of a UDP frame to the card, as a sender on the same machine does.
fn leave_unfinished(frame: &mut [u8]) {
    let (addresses, transport) = if frame[14] >> 4 == 4 { (26..34, 34) } else { (22..54, 54) };
    let length = u16::from_be_bytes([frame[transport + 4], frame[transport + 5]]);
    let sum = Sum::ZERO.add_bytes(&frame[addresses]).add_number(17).add_number(length);
    frame[transport + 6..transport + 8].copy_from_slice(&sum.fold().to_ne_bytes());
}

#[test]
fn unfinished_datagrams_may_be_super_frames_and_stay_with_the_packet_ring() {
    for (client, served) in [(CLIENT, SERVED), (CLIENT_6, SERVED_6), ("255.255.255.255", "255.255.255.254")] {
        for length in [0, 30, 512, 1500] {
            let mut frame = frame(VIRTUAL, client, served, Udp(length));
            check("a finished one", &frame, true);
            leave_unfinished(&mut frame);
            check("an unfinished one", &frame, false);
        }
    }
}

#[test]
fn frames_cut_anywhere_are_no_trouble() {
    // The interpreter panics on a load outside of the frame.
    for whole in [frame(OWN, SERVER, CLIENT, Udp(30)), frame(OWN, SERVER_6, CLIENT_6, Udp(30))] {
        for length in 0..whole.len() {
            check("cut", &whole[..length], false);
        }
    }
}

#[test]
fn where_nothing_is_selected_everything_passes() {
    let all_host = Selection {
        own: OWN,
        from: vec![SERVER.parse().unwrap()],
        host: vec!["0.0.0.0/0".parse().unwrap()],
        ..Selection::default()
    };
    for selection in [Selection::default(), all_host] {
        for to in [OWN, VIRTUAL, Mac::default()] {
            assert_eq!(decide(&selection, &frame(to, SERVER, CLIENT, Udp(10))), Action::Pass);
        }
    }
}

#[test]
fn an_address_is_taken_in_the_direction_it_is_selected_for() {
    let only = |to: &[&str], from: &[&str]| {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Selection { to: addresses(to), from: addresses(from), own: OWN, ..Selection::default() }
    };
    for (selection, action) in [
        (only(&[CLIENT], &[]), TAKEN),
        (only(&[], &[CLIENT]), Action::Pass),
        (only(&[SERVER], &[]), Action::Pass),
        (only(&[], &[SERVER]), TAKEN),
        (only(&[SERVER], &[CLIENT]), Action::Pass),
        (only(&[CLIENT, SERVER], &[CLIENT]), TAKEN),
    ] {
        assert_eq!(decide(&selection, &frame(OWN, SERVER, CLIENT, Udp(10))), action, "{selection:?}");
    }
}
