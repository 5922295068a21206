//! Packet ports over a veth pair.

use super::lab::*;
use crate::port::{Held, PortDrop};
use crate::wire::{EtherType, LinkHeader, Offload};

const B_TO_A: LinkHeader = LinkHeader::Ethernet { destination: MAC_A, source: MAC_B, kind: EtherType::IPV4 };

/// TCP payload of the longest frame that veth passes whole: its gso_max_size of 65536 is exclusive
/// and counts the Ethernet header.
const LONGEST_PAYLOAD: usize = 65_535 - 14 - 20 - 20;

/// What a frame of `bounce` was and must still be.
type Sample = (Vec<u8>, Offload);

/// Sends the samples from A, has B send each back from the slot it came in, and checks both ends.
fn bounce(samples: &[Sample]) {
    let mut ports = both_ports();
    for (packet, offload) in samples {
        ports.send_copy(A, packet, *offload, A_TO_B).unwrap();
    }
    ports.flush();
    await_frames(&mut ports, B, samples.len());
    for (index, (packet, offload)) in samples.iter().enumerate() {
        let frame = ports.frame(B, index).unwrap();
        assert_eq!(frame.link_header(), A_TO_B);
        assert!(frame.packet() == packet, "packet {index} of {} bytes changed", packet.len());
        let held = Held::of(index, &frame);
        assert_eq!(held.offload.checksum, offload.checksum);
        assert_eq!(held.offload.segmentation, offload.segmentation);
        ports.send(B, &held, B_TO_A).unwrap();
    }
    ports.flush();
    await_frames(&mut ports, A, samples.len());
    for (index, (packet, offload)) in samples.iter().enumerate() {
        let frame = ports.frame(A, index).unwrap();
        assert_eq!(frame.link_header(), B_TO_A);
        assert!(frame.packet() == packet, "packet {index} of {} bytes changed on the way back", packet.len());
        assert_eq!(Held::of(index, &frame).offload.segmentation, offload.segmentation);
    }
    ports.flush();
    let counters = ports.counters(B).unwrap();
    let bytes: usize = samples.iter().map(|(packet, _)| packet.len() + 14).sum();
    assert_eq!((counters.received, counters.sent), (samples.len() as u64, samples.len() as u64));
    assert_eq!((counters.received_bytes, counters.sent_bytes), (bytes as u64, bytes as u64));
    assert_eq!(counters.drops().next(), None);
    assert_eq!(ports.ready(A, 1), 0, "a socket saw its own frames");
}

#[test]
fn frames_of_all_lengths_pass_unchanged() {
    in_namespace(|| {
        veth_pair();
        let plain = [0, 18, 100, 512, 1472].map(|length| (udp_packet(length), Offload::NONE));
        let segmented = [2000, 9000, 30_000, 65_000, LONGEST_PAYLOAD].map(tcp_super_packet);
        bounce(&plain.into_iter().chain(segmented).collect::<Vec<_>>());
    });
}

#[test]
fn a_batch_larger_than_one_call_keeps_its_order() {
    in_namespace(|| {
        veth_pair();
        bounce(&(0..64 * 2 + 5).map(|length| (udp_packet(length), Offload::NONE)).take(60).collect::<Vec<_>>());
    });
}

#[test]
fn a_packet_longer_than_the_mtu_is_counted_and_the_next_one_passes() {
    in_namespace(|| {
        veth_pair();
        let mut ports = both_ports();
        for length in [2000, 100] {
            ports.send_copy(A, &udp_packet(length), Offload::NONE, A_TO_B).unwrap();
        }
        ports.flush();
        await_frames(&mut ports, B, 1);
        assert_eq!(ports.frame(B, 0).unwrap().packet_length(), 128);
        assert_eq!(ports.counters(A).unwrap().dropped(PortDrop::TooLong), 1);
        assert_eq!(ports.counters(A).unwrap().sent, 1);
    });
}
