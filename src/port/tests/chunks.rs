//! Sending by AF_XDP from packet ports: what leaves that way arrives as it would have otherwise.

use std::thread;
use std::time::Duration;

use crate::port::af_packet::chunks::Chunks;
use crate::port::{Held, PacketOptions, Port, PortDrop, PortEvent, Ports, Queueing};
use crate::wire::Offload;
use crate::wire::offload::Completion;
use crate::wire::segment::{Unfinished, complete};

use super::lab::*;

/// Ports on both ends, of which that on `left` sends by chunks while there is much to send; nothing where AF_XDP
/// is not permitted. Its packet socket has no room for more than a frame or two.
fn ports() -> Option<Ports> {
    veth_pair();
    if let Err((step, error)) = Chunks::open(index_of("left"), 64) {
        println!("not run: AF_XDP sends nothing here ({step:?}: {error})");
        return None;
    }
    let mut ports = Ports::new();
    ports.set_busy(true);
    let cramped = PacketOptions { queueing: Queueing::BypassPlain, send_buffer: 1, ..options("left") };
    ports.insert(A, Port::packet(&cramped).unwrap());
    ports.insert(B, Port::packet(&options("right")).unwrap());
    Some(ports)
}

fn send(ports: &mut Ports, packets: &[(Vec<u8>, Offload)]) {
    for (packet, offload) in packets {
        ports.send_copy(A, packet, *offload, A_TO_B).unwrap();
    }
    ports.flush();
}

#[test]
fn frames_of_all_sizes_arrive_in_order() {
    in_namespace(|| {
        let Some(mut ports) = ports() else { return };
        // More than there are chunks, and more often than there are.
        for round in 0..8 {
            let packets: Vec<_> =
                (0..600).map(|number| (udp_packet((number * 7 + round) % 1458), Offload::NONE)).collect();
            send(&mut ports, &packets);
            await_frames(&mut ports, B, packets.len());
            for (index, (packet, _)) in packets.iter().enumerate() {
                let frame = ports.frame(B, index).unwrap();
                assert!(frame.packet() == packet, "frame {index} of round {round}");
            }
            ports.flush();
        }
        let counters = ports.counters(A).unwrap();
        assert_eq!((counters.sent, counters.drops().next()), (8 * 600, None));
        let received = ports.counters(B).unwrap();
        assert_eq!((received.received, received.received_bytes), (counters.sent, counters.sent_bytes));
    });
}

#[test]
fn unfinished_checksums_stay_so_and_the_kernel_finishes_them() {
    in_namespace(|| {
        let Some(mut ports) = ports() else { return };
        let packets: Vec<_> = (0..40).map(unfinished_packet).collect();
        send(&mut ports, &packets);
        await_frames(&mut ports, B, packets.len());
        for (index, (packet, offload)) in packets.iter().enumerate() {
            let frame = ports.frame(B, index).unwrap();
            assert!(frame.packet() == packet);
            assert_eq!(Held::of(index, &frame).offload.checksum, offload.checksum);
        }
        ports.flush();

        if let Err(error) = run("ethtool -K left tx off") {
            println!("the second half is not run: ethtool is needed ({error})");
            return;
        }
        send(&mut ports, &packets);
        await_frames(&mut ports, B, packets.len());
        for (index, (packet, _)) in packets.iter().enumerate() {
            let frame = ports.frame(B, index).unwrap();
            let mut finished = packet.clone();
            complete(&mut finished, Unfinished { start: 20, offset: 6 }).unwrap();
            assert!(frame.packet() == finished, "datagram {index}");
            assert!(!frame.offload.is_partial());
        }
    });
}

#[test]
fn super_frames_go_their_own_way_and_keep_their_place() {
    in_namespace(|| {
        let Some(mut ports) = ports() else { return };
        ports.insert(A, Port::packet(&PacketOptions { queueing: Queueing::BypassPlain, ..options("left") }).unwrap());
        let packets: Vec<_> =
            (0..30)
                .map(|number| {
                    if number % 5 == 2 { tcp_super_packet(9000 + number) } else { (udp_packet(number), Offload::NONE) }
                })
                .collect();
        send(&mut ports, &packets);
        await_frames(&mut ports, B, packets.len());
        for (index, (packet, _)) in packets.iter().enumerate() {
            assert!(ports.frame(B, index).unwrap().packet() == packet, "frame {index}");
        }
    });
}

#[test]
fn each_queue_serves_one_port() {
    in_namespace(|| {
        let Some(mut ports) = ports() else { return };
        // Another worker's; the link has no other queue, so that packet sockets send for it.
        let options = PacketOptions { queueing: Queueing::BypassPlain, ..options("left") };
        let mut others = Ports::new();
        others.set_busy(true);
        others.insert(A, Port::packet(&options).unwrap());
        let packets: Vec<_> = (0..50).map(|number| (udp_packet(number), Offload::NONE)).collect();
        send(&mut ports, &packets);
        send(&mut others, &packets);
        await_frames(&mut ports, B, 100);
        assert_eq!(others.counters(A).unwrap().sent, 50);
        // The queue is free a moment after its port is gone, and then serves the other one.
        ports.remove(A);
        // A helper of the kernel's frees it, whose turn may be late where the machine is busy.
        let tries = 0..PATIENCE.as_millis();
        let is_free = tries.into_iter().any(|_| {
            thread::park_timeout(Duration::from_millis(1));
            Chunks::open(index_of("left"), 64).is_ok()
        });
        assert!(is_free, "the queue did not become free");
    });
}

#[test]
fn when_a_link_was_down_frames_leave_again() {
    in_namespace(|| {
        let Some(mut ports) = ports() else { return };
        let packets = [(udp_packet(10), Offload::NONE), (udp_packet(11), Offload::NONE)];
        must("ip link set left down");
        send(&mut ports, &packets);
        let mut readiness = Readiness::of(&ports);
        await_event(&mut ports, &mut readiness, A, PortEvent::Down);
        assert_eq!(ports.counters(A).unwrap().dropped(PortDrop::LinkDown), 2);
        must("ip link set left up");
        await_up("left");
        // One at a time: the packet socket is cramped.
        let one_by_one = |ports: &mut Ports| {
            for packet in &packets {
                send(ports, std::slice::from_ref(packet));
                await_frames(ports, B, 1);
                assert!(ports.frame(B, 0).unwrap().packet() == packet.0);
                ports.flush();
            }
        };
        one_by_one(&mut ports);
        ports.set_busy(false);
        one_by_one(&mut ports);
        // The next time that there is much to send there is a new socket for it.
        ports.set_busy(true);
        let many: Vec<_> = (0..100).map(|number| (udp_packet(number), Offload::NONE)).collect();
        send(&mut ports, &many);
        await_frames(&mut ports, B, many.len());
    });
}

#[test]
fn what_the_kernel_would_stop_at_is_refused_and_holds_nothing_up() {
    in_namespace(|| {
        let Some(mut ports) = ports() else { return };
        let (packet, offload) = unfinished_packet(10);
        // The checksum would lie behind the frame's end.
        let beyond = Offload { checksum: Completion::Partial { start: 5000, offset: 6 }, ..offload };
        send(&mut ports, &[(packet.clone(), beyond), (packet.clone(), offload)]);
        await_frames(&mut ports, B, 1);
        assert!(ports.frame(B, 0).unwrap().packet() == packet);
        let counters = ports.counters(A).unwrap();
        assert_eq!((counters.sent, counters.drops().collect::<Vec<_>>()), (1, vec![(PortDrop::Refused, 1)]));
    });
}
