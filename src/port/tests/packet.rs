//! Packet ports over a veth pair.

use std::thread;

use super::lab::*;
use crate::base::LinkId;
use crate::port::af_packet::QUEUE;
use crate::port::{
    Counters, Held, LongFrames, PacketOptions, Port, PortDrop, PortError, PortEvent, Ports, Queueing, Reception,
};
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
        bounce(&(0..64 * 2 + 5).map(|length| (udp_packet(length), Offload::NONE)).collect::<Vec<_>>());
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

/// Ports on `left` and `right`, the latter with options of its own.
fn ports_with(right: PacketOptions) -> Ports {
    let mut ports = Ports::new();
    ports.insert(A, Port::packet(&options("left")).unwrap());
    ports.insert(B, Port::packet(&right).unwrap());
    ports
}

#[track_caller]
fn send_from_left(ports: &mut Ports, lengths: impl IntoIterator<Item = usize>) {
    for length in lengths {
        ports.send_copy(A, &udp_packet(length), Offload::NONE, A_TO_B).unwrap();
    }
    ports.flush();
}

fn counters(ports: &Ports, link: LinkId) -> Counters {
    *ports.counters(link).unwrap()
}

#[test]
fn a_frame_that_does_not_fit_its_slot_is_counted() {
    in_namespace(|| {
        veth_pair();
        let mut ports = ports_with(PacketOptions { short_slots: 0, slots: 32, slot_size: 2048, ..options("right") });
        let (packet, offload) = tcp_super_packet(9000);
        ports.send_copy(A, &packet, offload, A_TO_B).unwrap();
        send_from_left(&mut ports, [1000]);
        await_frames(&mut ports, B, 2);
        assert_eq!(ports.frame(B, 0).err(), Some(PortDrop::Truncated));
        assert!(ports.frame(B, 1).unwrap().packet() == udp_packet(1000));
        ports.flush();
        assert_eq!(counters(&ports, B).drops().collect::<Vec<_>>(), [(PortDrop::Truncated, 1)]);
        assert_eq!(counters(&ports, B).received, 1);
    });
}

#[test]
fn held_slots_are_safe_from_the_kernel_and_what_found_none_is_counted() {
    in_namespace(|| {
        veth_pair();
        // One slot, as none smaller fits the smallest block twice.
        let mut ports = ports_with(PacketOptions { short_slots: 0, slots: 1, slot_size: 60_000, ..options("right") });
        // Sees the same, and thus tells when all have arrived.
        ports.insert(C, Port::packet(&options("right")).unwrap());
        send_from_left(&mut ports, [100]);
        await_frames(&mut ports, B, 1);
        let held = Held::of(0, &ports.frame(B, 0).unwrap());
        // A full batch goes out without a flush, so that the slot stays ours.
        for _ in 0..64 {
            ports.send_copy(A, &udp_packet(7), Offload::NONE, A_TO_B).unwrap();
        }
        await_frames(&mut ports, C, 65);
        assert_eq!(ports.ready(B, 5), 1);
        assert!(ports.packet(&held).unwrap().0 == udp_packet(100));
        ports.flush();
        assert!(ports.packet(&held).is_none(), "a slot was reached after it went back");
        assert_eq!(ports.send(A, &held, A_TO_B), Err(PortDrop::NoLink));

        // The next frame that finds a slot says that there were losses.
        send_from_left(&mut ports, [200]);
        await_frames(&mut ports, B, 1);
        assert!(ports.frame(B, 0).is_ok());
        ports.flush();
        let lost = counters(&ports, B).dropped(PortDrop::RingFull);
        // The last of the 64 may just have been on its way when the slot became free.
        assert!((63..=64).contains(&lost), "{lost} frames found no slot");
    });
}

#[test]
fn long_frames_keep_their_place_among_short_ones() {
    in_namespace(|| {
        veth_pair();
        for long_frames in [LongFrames::Queue(QUEUE), LongFrames::Ring] {
            let mut ports = ports_with(PacketOptions { long_frames, ..options("right") });
            for round in 0..20 {
                let packets: Vec<_> = (0..60)
                    .map(|number| {
                        let size = (number * 131 + round * 17) % 1400;
                        if number % 4 == 1 {
                            tcp_super_packet(size * 40 + 3000)
                        } else {
                            (udp_packet(size), Offload::NONE)
                        }
                    })
                    .collect();
                for (packet, offload) in &packets {
                    ports.send_copy(A, packet, *offload, A_TO_B).unwrap();
                }
                ports.flush();
                // A part of them is looked at before the rest.
                await_frames(&mut ports, B, 7);
                await_frames(&mut ports, B, packets.len());
                for (index, (packet, offload)) in packets.iter().enumerate() {
                    assert!(ports.peek(B, index).unwrap().packet() == packet);
                    let mut frame = ports.frame(B, index).unwrap();
                    assert!(frame.packet() == packet, "frame {index} of round {round}, {long_frames:?}");
                    assert_eq!(frame.offload.segmentation, offload.segmentation);
                    assert!(frame.prepend(crate::wire::frame::HEADROOM).is_some());
                }
                ports.flush();
            }
            let counters = counters(&ports, B);
            assert_eq!((counters.received, counters.drops().next()), (20 * 60, None));
        }
    });
}

#[test]
fn long_frames_that_find_the_queue_full_or_no_room_are_counted() {
    in_namespace(|| {
        veth_pair();
        let mut ports = ports_with(PacketOptions { long_frames: LongFrames::Queue(1), ..options("right") });
        let (packet, offload) = tcp_super_packet(30_000);
        for _ in 0..10 {
            ports.send_copy(A, &packet, offload, A_TO_B).unwrap();
        }
        send_from_left(&mut ports, [1000]);
        await_frames(&mut ports, B, 11);
        assert!(ports.frame(B, 0).unwrap().packet() == packet, "one is always taken");
        let lost = (1..10).filter(|&index| ports.frame(B, index).err() == Some(PortDrop::RingFull)).count();
        assert!(ports.frame(B, 10).unwrap().packet() == udp_packet(1000));
        ports.flush();
        assert!(lost >= 8, "{lost} of 9 found the queue full");
        assert_eq!(counters(&ports, B).drops().collect::<Vec<_>>(), [(PortDrop::RingFull, lost as u64)]);

        let mut ports = ports_with(PacketOptions { slot_size: 9000, ..options("right") });
        ports.send_copy(A, &packet, offload, A_TO_B).unwrap();
        send_from_left(&mut ports, [1000]);
        await_frames(&mut ports, B, 2);
        assert_eq!(ports.frame(B, 0).err(), Some(PortDrop::Truncated));
        assert!(ports.frame(B, 1).unwrap().packet() == udp_packet(1000));
    });
}

#[test]
fn long_frames_that_wait_while_the_link_goes_down_stay_in_their_slots() {
    in_namespace(|| {
        veth_pair();
        let mut ports = both_ports();
        // Sees the same, and thus tells when all have arrived.
        ports.insert(C, Port::packet(&options("right")).unwrap());
        let packets: Vec<_> = (0..5).map(|number| tcp_super_packet(9000 + 1000 * number)).collect();
        let send = |ports: &mut Ports| {
            for (packet, offload) in &packets {
                ports.send_copy(A, packet, *offload, A_TO_B).unwrap();
            }
            ports.flush();
            await_frames(ports, C, packets.len());
        };
        let check = |ports: &mut Ports| {
            assert_eq!(ports.ready(B, packets.len()), packets.len());
            for (index, (packet, _)) in packets.iter().enumerate() {
                assert!(ports.frame(B, index).unwrap().packet() == packet, "frame {index}");
            }
            ports.flush();
        };
        send(&mut ports);
        must("ip link set right down");
        check(&mut ports);
        // The reading took the error, so that the descriptor has none to report any more.
        let events: Vec<_> = std::iter::from_fn(|| ports.event()).collect();
        assert!(events.contains(&(B, PortEvent::Down)), "{events:?}");
        must("ip link set right up");
        await_up("left");
        send(&mut ports);
        check(&mut ports);
        assert_eq!(counters(&ports, B).drops().next(), None);
    });
}

#[test]
fn the_ring_goes_round() {
    in_namespace(|| {
        veth_pair();
        let mut ports = ports_with(PacketOptions { short_slots: 0, slots: 7, slot_size: 9000, ..options("right") });
        for round in 0..50 {
            send_from_left(&mut ports, (0..5).map(|number| 10 * round + number));
            await_frames(&mut ports, B, 5);
            for number in 0..5 {
                assert!(ports.frame(B, number).unwrap().packet() == udp_packet(10 * round + number));
            }
            ports.flush();
        }
        assert_eq!(counters(&ports, B).received, 250);
        assert_eq!(counters(&ports, B).drops().next(), None);
    });
}

#[test]
fn a_tag_that_the_kernel_took_out_is_still_known() {
    in_namespace(|| {
        veth_pair();
        let mut ports = both_ports();
        let tagged = [&[0, 5, 0x08, 0x00][..], &udp_packet(50)].concat();
        let header = LinkHeader::Ethernet { destination: MAC_B, source: MAC_A, kind: EtherType::VLAN };
        ports.send_copy(A, &tagged, Offload::NONE, header).unwrap();
        ports.flush();
        await_frames(&mut ports, B, 1);
        assert_eq!(ports.frame(B, 0).unwrap().link_header(), LinkHeader::Tagged);
    });
}

#[test]
fn a_link_that_goes_down_is_reported_and_resumes() {
    in_namespace(|| {
        veth_pair();
        let mut ports = both_ports();
        let mut readiness = Readiness::of(&ports);
        must("ip link set right down");
        await_event(&mut ports, &mut readiness, B, PortEvent::Down);
        for _ in 0..3 {
            ports.send_copy(B, &udp_packet(10), Offload::NONE, B_TO_A).unwrap();
            ports.flush();
        }
        assert_eq!(counters(&ports, B).dropped(PortDrop::LinkDown), 3);
        assert_eq!(ports.event(), None, "a link that stays down is reported once");
        must("ip link set right up");
        await_up("left");
        send_from_left(&mut ports, [10]);
        await_frames(&mut ports, B, 1);
        ports.flush();
        ports.send_copy(B, &udp_packet(10), Offload::NONE, B_TO_A).unwrap();
        ports.flush();
        await_frames(&mut ports, A, 1);
    });
}

#[test]
fn a_link_deleted_while_polling_is_reported_and_can_be_replaced() {
    in_namespace(|| {
        veth_pair();
        let mut ports = both_ports();
        let mut readiness = Readiness::of(&ports);
        thread::scope(|scope| {
            scope.spawn(|| must("ip link delete left"));
            await_event(&mut ports, &mut readiness, B, PortEvent::Gone);
        });
        ports.send_copy(B, &udp_packet(10), Offload::NONE, B_TO_A).unwrap();
        ports.flush();
        assert_eq!(counters(&ports, B).dropped(PortDrop::LinkGone), 1);
        assert_eq!(ports.ready(B, 5), 0);

        veth_pair();
        ports.insert(A, Port::packet(&options("left")).unwrap());
        ports.insert(B, Port::packet(&options("right")).unwrap());
        send_from_left(&mut ports, [10]);
        await_frames(&mut ports, B, 1);
        assert!(ports.frame(B, 0).is_ok());
        assert_eq!(counters(&ports, B).dropped(PortDrop::LinkGone), 1, "counters outlive the port");
        ports.remove(A);
        ports.remove(B);
        assert_eq!(ports.descriptors().count(), 0);
    });
}

#[test]
fn a_full_queue_is_counted_and_harms_no_other_link() {
    in_namespace(|| {
        veth_pair();
        let slow =
            |limit: &str| run(&format!("tc qdisc replace dev left root tbf rate 8kbit burst 1600 limit {limit}"));
        if let Err(error) = slow("3000") {
            println!("not run: a slow queueing discipline is needed ({error})");
            return;
        }
        // The discipline drops frame by frame what it has no room for.
        let mut ports = both_ports();
        send_from_left(&mut ports, [1000; 50]);
        let full = counters(&ports, A).dropped(PortDrop::QueueFull);
        assert_eq!(counters(&ports, A).sent + full, 50);
        assert!((40..50).contains(&full), "{full} frames found the queue full");

        // With room there, the socket's own buffer is what fills.
        slow("1000000").unwrap();
        ports.insert(A, Port::packet(&PacketOptions { send_buffer: 1, ..options("left") }).unwrap());
        send_from_left(&mut ports, [1000; 50]);
        assert!(counters(&ports, A).dropped(PortDrop::QueueFull) >= full + 40);
        assert_eq!(ports.event(), None);

        ports.send_copy(B, &udp_packet(10), Offload::NONE, B_TO_A).unwrap();
        ports.flush();
        await_frames(&mut ports, A, 1);
        ports.flush();
        // What goes past the discipline does not wait behind it.
        ports.insert(A, Port::packet(&PacketOptions { queueing: Queueing::BypassPlain, ..options("left") }).unwrap());
        ports.set_busy(true);
        let sent = counters(&ports, A).sent;
        send_from_left(&mut ports, [1000; 50]);
        assert_eq!(counters(&ports, A).sent, sent + 50);
    });
}

#[test]
fn frames_the_kernel_cannot_make_sense_of_are_refused() {
    in_namespace(|| {
        veth_pair();
        let mut ports = both_ports();
        let (packet, offload) = tcp_super_packet(100);
        // The checksum would lie behind the frame's end.
        let checksum = crate::wire::offload::Completion::Partial { start: 5000, offset: 16 };
        ports.send_copy(A, &packet, Offload { checksum, ..offload }, A_TO_B).unwrap();
        ports.flush();
        assert_eq!(counters(&ports, A).drops().collect::<Vec<_>>(), [(PortDrop::Refused, 1)]);
    });
}

#[test]
fn all_that_pass_on_the_link_come_when_asked_for() {
    in_namespace(|| {
        veth_pair();
        let is_promiscuous = || shown("right").contains("promiscuity 1");
        let _own = Port::packet(&options("right")).unwrap();
        assert!(!is_promiscuous());
        let all = Port::packet(&PacketOptions { reception: Reception::Promiscuous, ..options("right") }).unwrap();
        assert!(is_promiscuous());
        drop(all);
        await_gone("promiscuous reception", || !is_promiscuous());
    });
}

#[test]
fn what_cannot_be_opened_says_why() {
    in_namespace(|| {
        let open = |options: &PacketOptions| Port::packet(options).map(drop).unwrap_err();
        let nowhere = open(&PacketOptions::new("nowhere", 4711));
        assert!(matches!(nowhere, PortError::NoInterface { .. }), "{nowhere}");
        let huge = open(&PacketOptions { short_slots: 1 << 30, ..options("lo") });
        assert!(matches!(huge, PortError::RingTooLarge { .. }), "{huge}");
        if run("ip tuntap add mode tun name bare").is_ok() {
            let bare = open(&options("bare"));
            assert!(matches!(bare, PortError::NotEthernet { .. }), "{bare}");
        }
    });
}
