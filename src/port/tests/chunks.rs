//! Sending by AF_XDP from packet ports: what leaves that way arrives as it would have otherwise.

use std::io::IoSlice;
use std::thread;
use std::time::Duration;

use crate::base::Mac;
use crate::port::af_packet::chunks::Chunks;
use crate::port::{Counters, Held, PacketOptions, Port, PortDrop, PortEvent, Ports, Queueing, XdpSender};
use crate::wire::offload::{Completion, HEADER_LENGTH};
use crate::wire::segment::{Unfinished, complete};
use crate::wire::{EtherType, LinkHeader, Offload};

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

/// Gives `left` and `right` as [`veth_pair`] does, but with one queue to send by and four to receive by.
fn lopsided_pair() {
    veth_pair();
    must("ip link delete left");
    must(&format!(
        "ip link add name left address {MAC_A} numtxqueues 1 numrxqueues 4 type veth peer name right address {MAC_B}"
    ));
    must("ip link set left up");
    must("ip link set right up");
    await_up("left");
    await_up("right");
}

#[test]
fn a_queue_that_only_receives_is_left_alone() {
    in_namespace(|| {
        lopsided_pair();
        let Ok(first) = Chunks::open(index_of("left"), 64) else {
            println!("not run: AF_XDP sends nothing here");
            return;
        };
        let second = Chunks::open(index_of("left"), 64).unwrap_err();
        assert_eq!(second.1.raw_os_error(), Some(libc::EBUSY), "{second:?}");
        let mut ports = Ports::new();
        ports.set_busy(true);
        ports.insert(A, Port::packet(&PacketOptions { queueing: Queueing::BypassPlain, ..options("left") }).unwrap());
        ports.insert(B, Port::packet(&options("right")).unwrap());
        let packets: Vec<_> = (0..50).map(|number| (udp_packet(number), Offload::NONE)).collect();
        send(&mut ports, &packets);
        await_frames(&mut ports, B, packets.len());
        assert_eq!(ports.counters(A).unwrap().sent, 50);
        drop(first);
    });
}

#[test]
fn what_the_kernel_does_not_take_is_counted() {
    in_namespace(|| {
        lopsided_pair();
        // Nothing is sent by this queue, which the kernel lets a socket have nevertheless.
        let Ok(sender) = XdpSender::open(index_of("left"), 1, 2) else {
            println!("not run: AF_XDP sends nothing here");
            return;
        };
        let frame = [0; HEADER_LENGTH + 60];
        let mut counters = Counters::default();
        // More than there are chunks.
        let failure = Chunks::new(sender).send(&[IoSlice::new(&frame); 5], &mut counters).unwrap_err();
        assert_eq!((failure.reason, failure.event()), (PortDrop::QueueFull, None));
        assert_eq!((counters.sent, counters.dropped(PortDrop::QueueFull)), (0, 5));
    });
}

#[test]
fn behind_a_slow_link_all_that_is_lost_is_counted() {
    in_namespace(|| {
        let Some(mut ports) = ports() else { return };
        must("ip link add name br0 type bridge");
        must("ip link add name slow type veth peer name far");
        if let Err(error) = run("tc qdisc replace dev slow root tbf rate 8kbit burst 1600 limit 10000000") {
            println!("not run: a slow queueing discipline is needed ({error})");
            return;
        }
        for link in ["right", "slow"] {
            must(&format!("ip link set {link} master br0"));
        }
        for link in ["br0", "far", "slow"] {
            must(&format!("ip link set {link} up"));
        }
        await_up("slow");
        // A second taker would have the bridge copy the frames, which then would be the sender's no more.
        ports.remove(B);
        // To nobody, so that the bridge sends it everywhere, and of no kind that netfilter looks at.
        let destination = Mac([2, 0, 0, 0, 0, 0xc]);
        let header = LinkHeader::Ethernet { destination, source: MAC_A, kind: EtherType(0x88b5) };
        for _ in 0..600 {
            ports.send_copy(A, &udp_packet(1400), Offload::NONE, header).unwrap();
        }
        ports.flush();
        let counters = ports.counters(A).unwrap();
        assert_eq!(counters.sent + counters.dropped(PortDrop::QueueFull), 600);
        // As many as there are chunks have left, and perhaps some that found one free again.
        assert!((256..300).contains(&counters.sent), "{} frames left", counters.sent);
        assert_eq!(ports.event(), None);
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
fn what_the_driver_drops_was_not_sent() {
    in_namespace(|| {
        let Some(mut ports) = ports() else { return };
        // The link itself is up; its far end is not.
        must("ip link set right down");
        let packets: Vec<_> = (0..40).map(|number| (udp_packet(number), Offload::NONE)).collect();
        send(&mut ports, &packets);
        let counters = ports.counters(A).unwrap();
        assert_eq!((counters.sent, counters.dropped(PortDrop::QueueFull)), (0, 40));
    });
}

#[test]
fn a_link_with_others_below_has_no_chunks() {
    in_namespace(|| {
        veth_pair();
        if let Err(error) = run("ip link add name br0 type bridge") {
            return println!("not run: {error}");
        }
        must("ip link set right master br0");
        must("ip link set br0 up");
        let (_, error) = Chunks::open(index_of("br0"), 64).unwrap_err();
        assert!(
            error.kind() == std::io::ErrorKind::Unsupported || error.raw_os_error() == Some(libc::EPERM),
            "{error}"
        );
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
