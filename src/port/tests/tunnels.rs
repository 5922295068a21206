//! Super-frames in tunnels: sent whole, and cut by the kernel where the link cannot take them so.

use etherparse::{IpNumber, Ipv4Header, Ipv6Header, PacketBuilder};

use super::lab::*;
use crate::base::Family;
use crate::port::sys::bpf::{Hook, programs_at};
use crate::port::{PortDrop, PortError, Ports};
use crate::wire::offload::{Completion, Segmentation};
use crate::wire::segment::{Segments, Unfinished, complete};
use crate::wire::{EtherType, LinkHeader, Offload};

const PAYLOAD: usize = 50_000;
const SEGMENT: u16 = 1380;

/// What stands between outer and inner IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shim {
    Nothing,
    Gre,
    Gue,
}

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
const SHIMS: [Shim; 3] = [Shim::Nothing, Shim::Gre, Shim::Gue];

fn every_kind() -> impl Iterator<Item = (Family, Shim, Family)> {
    let pairs = FAMILIES.into_iter().flat_map(|outer| FAMILIES.map(|inner| (outer, inner)));
    pairs.flat_map(|(outer, inner)| SHIMS.map(|shim| (outer, shim, inner)))
}

/// A TCP super-packet of that family with `length` bytes of payload.
fn super_packet(family: Family, length: usize) -> (Vec<u8>, Offload) {
    let (builder, ip) = match family {
        Family::V4 => (PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64), 20),
        Family::V6 => (PacketBuilder::ipv6([0xfd; 16], [0xfe; 16], 64), 40),
    };
    let payload: Vec<u8> = (0..length).map(|place| (place * 7 + place / 251) as u8).collect();
    let mut packet = Vec::new();
    builder.tcp(4000, 80, 77, 1000).ack(1).psh().write(&mut packet, &payload).unwrap();
    // The sum of the pseudo-header is what a finished checksum lacks of that of everything else.
    let mut unfinished = packet.clone();
    unfinished[ip + 16..ip + 18].fill(0);
    complete(&mut unfinished, Unfinished { start: ip, offset: 16 }).unwrap();
    let [finished, rest] = [&packet, &unfinished].map(|bytes| u16::from_be_bytes([bytes[ip + 16], bytes[ip + 17]]));
    let sum = u32::from(!finished) + u32::from(rest);
    let sum = (sum & 0xffff) + (sum >> 16);
    packet[ip + 16..ip + 18].copy_from_slice(&(sum as u16).to_be_bytes());
    let offload = Offload {
        checksum: Completion::Partial { start: ip as u16, offset: 16 },
        segmentation: match family {
            Family::V4 => Segmentation::Tcp4 { ecn: false },
            Family::V6 => Segmentation::Tcp6 { ecn: false },
        },
        segment_size: SEGMENT,
        header_length: ip as u16 + 20,
    };
    (packet, offload)
}

/// The outer headers for an inner packet of `length` bytes.
fn outer_headers(outer: Family, shim: Shim, inner: Family, length: usize) -> Vec<u8> {
    let protocol = match inner {
        Family::V4 => IpNumber::IPV4,
        Family::V6 => IpNumber::IPV6,
    };
    let ether_type: u16 = if inner == Family::V4 { 0x0800 } else { 0x86dd };
    let (number, between) = match shim {
        Shim::Nothing => (protocol, vec![]),
        Shim::Gre => (IpNumber::GRE, [[0, 0], ether_type.to_be_bytes()].concat()),
        Shim::Gue => {
            let length = (length + 12) as u16;
            let udp = [40_000u16.to_be_bytes(), 6080u16.to_be_bytes(), length.to_be_bytes(), [0, 0]];
            (IpNumber::UDP, [udp.concat(), vec![0, protocol.0, 0, 0]].concat())
        }
    };
    let mut headers = Vec::new();
    let payload = (length + between.len()) as u16;
    match outer {
        Family::V4 => {
            let mut header = Ipv4Header::new(payload, 61, number, [10, 0, 9, 1], [10, 0, 9, 2]).unwrap();
            header.identification = 100;
            header.header_checksum = header.calc_header_checksum();
            header.write(&mut headers).unwrap();
        }
        Family::V6 => Ipv6Header {
            payload_length: payload,
            next_header: number,
            hop_limit: 61,
            source: [0xfa; 16],
            destination: [0xfb; 16],
            ..Ipv6Header::default()
        }
        .write(&mut headers)
        .unwrap(),
    }
    headers.extend(between);
    headers
}

/// Ports on `left` and `right`, of which A carries tunnels; nothing where that is not permitted.
fn carrying_ports() -> Option<Ports> {
    veth_pair();
    let mut ports = both_ports();
    match ports.carry_tunnels(A) {
        Ok(()) => Some(ports),
        Err(error) => {
            println!("not run: {error}");
            None
        }
    }
}

/// Sends a super-frame in that tunnel from A to B.
fn send(ports: &mut Ports, outer: Family, shim: Shim, inner: Family) -> Result<(), PortDrop> {
    let (packet, offload) = super_packet(inner, PAYLOAD);
    let headers = outer_headers(outer, shim, inner, packet.len());
    let Completion::Partial { start, offset } = offload.checksum else { panic!("the checksum is finished") };
    let length = headers.len() as u16;
    let offload = Offload {
        checksum: Completion::Partial { start: start + length, offset },
        segmentation: Segmentation::Tunneled { inner, ecn: false },
        header_length: offload.header_length + length,
        ..offload
    };
    let kind = if outer == Family::V4 { EtherType::IPV4 } else { EtherType::IPV6 };
    let header = LinkHeader::Ethernet { destination: MAC_B, source: MAC_A, kind };
    let outcome = ports.send_copy(A, &[headers, packet].concat(), offload, header);
    ports.flush();
    outcome
}

/// Takes `count` frames from B: packets, and what is unfinished in them, counted from the packet.
fn receive(ports: &mut Ports, count: usize) -> Vec<(Vec<u8>, Offload)> {
    await_frames(ports, B, count);
    let frames = (0..count).map(|index| {
        let frame = ports.frame(B, index).unwrap();
        (frame.packet().to_vec(), crate::port::packet_offload(&frame))
    });
    let frames = frames.collect();
    ports.flush();
    frames
}

#[test]
fn every_kind_of_tunnel_is_carried_whole() {
    in_namespace(|| {
        let Some(mut ports) = carrying_ports() else { return };
        for (number, (outer, shim, inner)) in every_kind().enumerate() {
            let what = format!("{inner:?} in {shim:?} in {outer:?}");
            send(&mut ports, outer, shim, inner).unwrap();
            let (packet, _) = super_packet(inner, PAYLOAD);
            let headers = outer_headers(outer, shim, inner, packet.len());
            let [(arrived, offload)] = receive(&mut ports, 1).try_into().unwrap();
            assert_eq!(offload.segment_size, SEGMENT, "{what}");
            assert_eq!(arrived[..headers.len()], headers, "{what}");
            assert!(arrived[headers.len()..] == packet, "{what}: the packet inside");
            let start = (headers.len() + if inner == Family::V4 { 20 } else { 40 }) as u16;
            assert_eq!(offload.checksum, Completion::Partial { start, offset: 16 }, "{what}");
            assert_eq!(ports.counters(A).unwrap().tunneled, number as u64 + 1, "{what}");
        }
    });
}

#[test]
fn where_the_link_cannot_cut_the_kernel_does_so_rightly() {
    in_namespace(|| {
        let Some(mut ports) = carrying_ports() else { return };
        if let Err(error) = run("ethtool -K left tso off gso off tx off") {
            println!("not run: {error}");
            return;
        }
        for (outer, shim, inner) in every_kind() {
            let what = format!("{inner:?} in {shim:?} in {outer:?}");
            let (packet, offload) = super_packet(inner, PAYLOAD);
            let mut segments = Segments::new(&packet, &offload, 0).unwrap();
            send(&mut ports, outer, shim, inner).unwrap();
            for (number, (arrived, offload)) in receive(&mut ports, segments.total()).into_iter().enumerate() {
                let what = format!("{what}: segment {number}");
                assert!(!offload.is_segmented() && !offload.is_partial(), "{what}: {offload:?}");
                let mut segment = vec![0; segments.next_length().unwrap()];
                segments.next_into(&mut segment).unwrap();
                let mut headers = outer_headers(outer, shim, inner, segment.len());
                if outer == Family::V4 {
                    let (mut header, _) = Ipv4Header::from_slice(&headers).unwrap();
                    // Each segment has an identification of its own.
                    header.identification += number as u16;
                    headers[..20].copy_from_slice(&{
                        header.header_checksum = header.calc_header_checksum();
                        header.to_bytes()
                    });
                }
                assert_eq!(arrived[..headers.len()], headers, "{what}");
                assert!(arrived[headers.len()..] == segment, "{what}: the packet inside");
            }
            assert_eq!(segments.next_length(), None);
        }
    });
}

#[test]
fn a_port_that_does_not_carry_them_sends_none() {
    in_namespace(|| {
        veth_pair();
        let mut ports = both_ports();
        assert_eq!(send(&mut ports, Family::V4, Shim::Nothing, Family::V4), Err(PortDrop::Tunneled));
        assert_eq!(ports.counters(A).unwrap().dropped(PortDrop::Tunneled), 1);
        assert_eq!(ports.counters(A).unwrap().sent, 0);
        assert!(matches!(ports.carry_tunnels(C), Err(PortError::TunnelsElsewhere)));
    });
}

#[test]
fn the_program_lets_others_frames_be_and_goes_with_the_port() {
    in_namespace(|| {
        let Some(mut ports) = carrying_ports() else { return };
        // Super-frames without a tunnel, and plain frames.
        let (packet, offload) = tcp_super_packet(30_000);
        ports.send_copy(A, &packet, offload, A_TO_B).unwrap();
        ports.send_copy(A, &udp_packet(100), Offload::NONE, A_TO_B).unwrap();
        ports.flush();
        let arrived = receive(&mut ports, 2);
        assert_eq!((&arrived[0].0, arrived[0].1.segment_size), (&packet, 1448));
        assert_eq!(arrived[1].0, udp_packet(100));
        assert_eq!(ports.counters(A).unwrap().tunneled, 0);

        // Another port of the same link, as of another worker, in its own name.
        let mut others = both_ports();
        others.carry_tunnels(A).unwrap();
        send(&mut others, Family::V4, Shim::Nothing, Family::V4).unwrap();
        send(&mut ports, Family::V4, Shim::Nothing, Family::V4).unwrap();
        receive(&mut ports, 2);
        assert_eq!(programs_at(Hook::Egress, index_of("left")).unwrap(), 2);
        drop(others);
        send(&mut ports, Family::V4, Shim::Nothing, Family::V4).unwrap();
        receive(&mut ports, 1);
        ports.remove(A);
        await_gone("a program of a port's", || programs_at(Hook::Egress, index_of("left")).unwrap() == 0);
    });
}
