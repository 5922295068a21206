//! AF_XDP ports over a veth pair.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::lab::*;
use crate::base::{LinkId, Mac};
use crate::port::af_xdp::CHUNKS;
use crate::port::af_xdp::selector::Chooser;
use crate::port::bpf::program::{Assembler, Register};
use crate::port::bpf::{Hook, LoadedProgram, ProgramKind};
use crate::port::{Held, Port, PortDrop, PortError, PortEvent, Ports, Selection, Selector, XdpOptions};
use crate::wire::offload::{Completion, Segmentation};
use crate::wire::segment::{Unfinished, complete};
use crate::wire::{EtherType, LinkHeader, Offload};

const B_TO_A: LinkHeader = LinkHeader::Ethernet { destination: MAC_A, source: MAC_B, kind: EtherType::IPV4 };
/// Where a UDP checksum lies in [`udp_packet`].
const FIELD: std::ops::Range<usize> = 26..28;

/// What comes to `right`'s address.
fn to_right() -> Selection {
    Selection { virtual_macs: vec![MAC_B], ..Selection::default() }
}

fn right(chooser: Arc<Chooser>) -> XdpOptions {
    XdpOptions::new(options("right"), chooser)
}

/// Opens an AF_XDP port on `right`, and what changes what it takes; nothing where that is not permitted. The
/// kernel takes a moment to set a queue free.
fn open(chunks: u32) -> Option<(Port, Selector)> {
    for _ in 0..2000 {
        let port = |selector: &Selector| Port::xdp(&XdpOptions { chunks, ..right(selector.chooser()) });
        match Selector::new("right", &to_right()).and_then(|selector| Ok((port(&selector)?, selector))) {
            Ok(both) => return Some(both),
            Err(PortError::XdpBusy { .. }) => await_up("left"),
            Err(
                error @ (PortError::XdpNotPermitted { .. }
                | PortError::XdpMissing { .. }
                | PortError::XdpLinks { .. }
                | PortError::XdpLockedMemory { .. }),
            ) => {
                println!("not run: {error}");
                return None;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("the queue did not become free");
}

/// A packet port on `left` (A), an AF_XDP port on `right` (B), and a packet port there that sees what was not
/// taken (C); nothing where that is not permitted.
fn three_ports(chunks: u32) -> Option<Ports> {
    Some(changeable_ports(chunks)?.0)
}

/// The same, and what changes what B takes.
fn changeable_ports(chunks: u32) -> Option<(Ports, Selector)> {
    veth_pair();
    let mut ports = Ports::new();
    let (port, selector) = open(chunks)?;
    ports.insert(B, port);
    ports.insert(C, Port::packet(&options("right")).unwrap());
    ports.insert(A, Port::packet(&options("left")).unwrap());
    Some((ports, selector))
}

#[track_caller]
fn send(ports: &mut Ports, packets: &[(Vec<u8>, Offload)]) {
    for (packet, offload) in packets {
        ports.send_copy(A, packet, *offload, A_TO_B).unwrap();
    }
    ports.flush();
}

fn plain(length: usize) -> (Vec<u8>, Offload) {
    (udp_packet(length), Offload::NONE)
}

/// The packets that `link` has ready, `count` of them, in order.
#[track_caller]
fn arrived(ports: &mut Ports, link: LinkId, count: usize) -> Vec<Vec<u8>> {
    await_frames(ports, link, count);
    (0..count).map(|index| ports.frame(link, index).unwrap().packet().to_vec()).collect()
}

#[test]
fn a_frame_comes_by_one_way_alone() {
    in_namespace(|| {
        let Some(mut ports) = three_ports(CHUNKS) else { return };
        let mut unsummed = udp_packet(40);
        unsummed[FIELD].fill(0);
        let passed = [(unsummed, Offload::NONE), tcp_super_packet(30_000)];
        let taken = [plain(0), plain(18), plain(1472)];
        send(&mut ports, &taken);
        send(&mut ports, &passed);
        let mut all = arrived(&mut ports, B, 5);
        assert_eq!(arrived(&mut ports, C, 2), passed.each_ref().map(|(packet, _)| packet.clone()));
        all.sort_by_key(Vec::len);
        let mut expected: Vec<Vec<u8>> = taken.into_iter().chain(passed).map(|(packet, _)| packet).collect();
        expected.sort_by_key(Vec::len);
        assert!(all == expected, "the frames changed on their way");
        ports.flush();
        assert_eq!(ports.ready(B, 1), 0);
        assert_eq!(ports.counters(B).unwrap().drops().next(), None);
        assert_eq!(ports.counters(B).unwrap().received, 5);
    });
}

#[test]
fn frames_leave_from_the_chunks_they_came_in() {
    in_namespace(|| {
        let Some(mut ports) = three_ports(CHUNKS) else { return };
        ports.remove(C);
        let samples: Vec<_> = (0..150).map(plain).collect();
        for round in 0..20 {
            send(&mut ports, &samples);
            await_frames(&mut ports, B, samples.len());
            for index in 0..samples.len() {
                let mut frame = ports.frame(B, index).unwrap();
                assert_eq!(frame.offload.checksum, Completion::Complete);
                // Room for the longest outer headers, and what was there before stands behind them.
                frame.prepend(60).unwrap()[..60].fill(round);
                frame.strip(60);
                let held = Held::of(index, &frame);
                ports.send(B, &held, B_TO_A).unwrap();
            }
            ports.flush();
            let back = arrived(&mut ports, A, samples.len());
            assert!(back.iter().zip(&samples).all(|(packet, (sent, _))| packet == sent), "round {round}");
            ports.flush();
        }
        assert_eq!(ports.counters(B).unwrap().drops().next(), None);
    });
}

#[test]
fn unfinished_datagrams_come_by_the_packet_ring_and_are_handed_on_as_such() {
    in_namespace(|| {
        let Some(mut ports) = three_ports(CHUNKS) else { return };
        let samples: Vec<_> = (0..40).map(unfinished_packet).collect();
        let packets: Vec<_> = samples.iter().map(|(packet, _)| packet.clone()).collect();
        let back = |ports: &mut Ports| {
            send(ports, &samples);
            await_frames(ports, B, samples.len());
            for (index, (_, offload)) in samples.iter().enumerate() {
                let held = Held::of(index, &ports.frame(B, index).unwrap());
                assert_eq!(held.offload.checksum, offload.checksum);
                ports.send(B, &held, B_TO_A).unwrap();
            }
            ports.flush();
            await_frames(ports, A, samples.len());
        };
        back(&mut ports);
        for (index, (packet, offload)) in samples.iter().enumerate() {
            let frame = ports.frame(A, index).unwrap();
            assert!(frame.packet() == packet);
            assert_eq!(Held::of(index, &frame).offload.checksum, offload.checksum);
        }
        assert_eq!(arrived(&mut ports, C, samples.len()), packets, "some were taken");
        ports.flush();

        if let Err(error) = run("ethtool -K right tx off") {
            println!("the second half is not run: ethtool is needed ({error})");
            return;
        }
        // Now the kernel finishes them on the way out.
        back(&mut ports);
        for (index, (packet, _)) in samples.iter().enumerate() {
            let mut finished = packet.clone();
            complete(&mut finished, Unfinished { start: 20, offset: 6 }).unwrap();
            let frame = ports.frame(A, index).unwrap();
            assert!(frame.packet() == finished, "datagram {index}");
            assert!(!frame.offload.is_partial());
        }
    });
}

#[test]
fn a_small_super_frame_keeps_its_segments() {
    in_namespace(|| {
        let Some(mut ports) = three_ports(CHUNKS) else { return };
        for (length, segment_size) in [(1500, 1200), (300, 100), (2, 1)] {
            let (packet, offload) = unfinished_packet(length);
            let segmentation = Segmentation::Udp;
            let offload = Offload { segmentation, segment_size, header_length: 28, ..offload };
            send(&mut ports, &[(packet.clone(), offload)]);
            await_frames(&mut ports, B, 1);
            let frame = ports.frame(B, 0).unwrap();
            assert!(frame.packet() == packet);
            let came = Held::of(0, &frame).offload;
            assert_eq!((came.segmentation, came.segment_size), (segmentation, segment_size));
            assert_eq!(arrived(&mut ports, C, 1), [packet]);
            ports.flush();
        }
    });
}

#[test]
fn what_finds_no_chunk_is_counted() {
    in_namespace(|| {
        let Some(mut ports) = three_ports(8) else { return };
        send(&mut ports, &(0..20).map(plain).collect::<Vec<_>>());
        // What is passed comes after them and tells that they have been seen.
        let last = tcp_super_packet(3000);
        ports.send_copy(A, &last.0, last.1, A_TO_B).unwrap();
        // Nothing is flushed at B, so that its chunks stay held.
        for _ in 0..63 {
            ports.send_copy(A, &last.0, last.1, A_TO_B).unwrap();
        }
        await_frames(&mut ports, C, 64);
        await_frames(&mut ports, B, 8 + 64);
        ports.flush();
        let counters = ports.counters(B).unwrap();
        assert_eq!(counters.drops().collect::<Vec<_>>(), [(PortDrop::RingFull, 12)]);
        // The chunks are free again.
        send(&mut ports, &[plain(5)]);
        while !arrived(&mut ports, B, 1).contains(&udp_packet(5)) {
            ports.flush();
        }
    });
}

#[test]
fn what_is_selected_can_change() {
    in_namespace(|| {
        let Some((mut ports, mut selector)) = changeable_ports(CHUNKS) else { return };
        let server = IpAddr::from([10, 0, 0, 1]);
        let own = Selection { own: MAC_B, from: vec![server], ..Selection::default() };
        for (selection, taken) in [
            (Selection::default(), false),
            (own.clone(), true),
            (Selection { own: Mac([2; 6]), ..own.clone() }, false),
            (to_right(), true),
            (Selection { host: vec!["10.0.0.0/30".parse().unwrap()], ..own }, false),
        ] {
            selector.select(&selection).unwrap();
            send(&mut ports, &[plain(33)]);
            assert_eq!(arrived(&mut ports, B, 1), [udp_packet(33)]);
            if taken {
                assert_eq!(ports.ready(C, 1), 0);
            } else {
                assert_eq!(arrived(&mut ports, C, 1), [udp_packet(33)]);
            }
            ports.flush();
        }
        // One among thousands; and more than a map holds: what is certain is still taken.
        let many = |count: u32| (0..count).map(|number| IpAddr::from(Ipv4Addr::from(0x0a00_0000 | number))).collect();
        for (count, virtual_macs, taken) in
            [(30_000, vec![], true), (70_000, vec![], false), (70_000, vec![MAC_B], true)]
        {
            selector
                .select(&Selection { own: MAC_B, from: many(count), virtual_macs, ..Selection::default() })
                .unwrap();
            send(&mut ports, &[plain(33)]);
            assert_eq!(arrived(&mut ports, B, 1), [udp_packet(33)]);
            assert_eq!(ports.ready(C, 1), usize::from(!taken), "{count}");
            ports.flush();
        }
    });
}

#[test]
fn what_is_in_the_way_is_named_and_nothing_is_left_behind() {
    in_namespace(|| {
        let Some(ports) = three_ports(CHUNKS) else { return };
        let has_program = || shown("right").contains("prog/xdp");
        assert!(has_program());
        let chooser = || Selector::new("right", &Selection::default()).unwrap().chooser();
        let busy = Port::xdp(&right(chooser())).map(drop).unwrap_err();
        assert!(matches!(busy, PortError::XdpBusy { .. }), "{busy}");
        drop(ports);
        await_gone("the program", || !has_program());

        let mut nothing = Assembler::default();
        nothing.set(Register(0), 2);
        nothing.exit();
        let nothing = LoadedProgram::load(ProgramKind::Xdp, &nothing.finish().unwrap().bytes()).unwrap();
        let attachment = nothing.attach(Hook::Xdp, options("right").interface).unwrap();
        let occupied = loop {
            match Port::xdp(&right(chooser())).map(drop).unwrap_err() {
                PortError::XdpBusy { .. } => await_up("left"),
                error => break error,
            }
        };
        assert!(matches!(occupied, PortError::XdpOccupied { .. }), "{occupied}");
        drop(attachment);
        open(CHUNKS).unwrap();
    });
}

#[test]
fn a_link_that_is_deleted_is_reported() {
    in_namespace(|| {
        let Some(mut ports) = three_ports(CHUNKS) else { return };
        let mut readiness = Readiness::of(&ports);
        must("ip link delete left");
        await_event(&mut ports, &mut readiness, B, PortEvent::Gone);
        assert_eq!(ports.ready(B, 5), 0);
        ports.remove(B);
        assert!(ports.descriptors().all(|(link, _)| link != B));
    });
}
