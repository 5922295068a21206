//! TUN queues.

use std::net::{Ipv4Addr, UdpSocket};

use super::lab::*;
use crate::port::{Held, Port, PortDrop, PortEvent, Ports, TunOptions};
use crate::wire::{LinkHeader, Offload};

const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const BEHIND: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const NETMASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);

/// A port on a new device `wire0` with the address [`HOST`]; nothing where that is not permitted.
fn wire() -> Option<Ports> {
    if let Some(reason) = tun_forbidden() {
        println!("not run: {reason}");
        return None;
    }
    let mut ports = Ports::new();
    ports.insert(A, Port::tun(&wire_options()).unwrap());
    Some(ports)
}

fn wire_options() -> TunOptions {
    TunOptions { address: Some((HOST.into(), NETMASK.into())), ..TunOptions::new("wire0") }
}

#[test]
fn packets_of_the_host_come_bare_and_answers_reach_it() {
    in_namespace(|| {
        let Some(mut ports) = wire() else { return };
        let socket = UdpSocket::bind((HOST, 5000)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(b"question", (BEHIND, 4000)).unwrap();
        await_frames(&mut ports, A, 1);
        let mut frame = ports.frame(A, 0).unwrap();
        assert_eq!(frame.link_header(), LinkHeader::None);
        let packet = frame.packet_mut();
        assert_eq!(packet[28..], *b"question");
        // Turned round: addresses, ports. The sums stay the same.
        packet[12..20].rotate_left(4);
        packet[20..24].rotate_left(2);
        packet[28..].copy_from_slice(b"qu3stion");
        packet[26..28].copy_from_slice(&[0, 0]);
        frame.offload = Offload::NONE;
        let held = Held::of(0, &frame);
        ports.send(A, &held, LinkHeader::None).unwrap();
        ports.flush();
        let mut answer = [0; 100];
        let (length, from) = socket.recv_from(&mut answer).unwrap();
        assert_eq!((&answer[..length], from), (&b"qu3stion"[..], (BEHIND, 4000).into()));
        let counters = ports.counters(A).unwrap();
        assert_eq!((counters.received, counters.received_bytes), (1, 36));
        assert_eq!((counters.sent, counters.sent_bytes), (1, 36));
    });
}

#[test]
fn each_worker_has_a_queue_of_the_same_device() {
    in_namespace(|| {
        let Some(mut ports) = wire() else { return };
        ports.insert(B, Port::tun(&wire_options()).unwrap());
        for queue in [A, B] {
            let socket = UdpSocket::bind((HOST, 5000)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            ports.send_copy(queue, &udp_packet(20), Offload::NONE, LinkHeader::None).unwrap();
            ports.flush();
            assert_eq!(socket.recv(&mut [0; 100]).unwrap(), 20);
        }
    });
}

#[test]
fn a_device_that_is_down_or_deleted_is_reported() {
    in_namespace(|| {
        let Some(mut ports) = wire() else { return };
        let mut readiness = Readiness::of(&ports);
        must("ip link set wire0 down");
        for _ in 0..2 {
            ports.send_copy(A, &udp_packet(20), Offload::NONE, LinkHeader::None).unwrap();
        }
        ports.flush();
        assert_eq!(ports.event(), Some((A, PortEvent::Down)));
        assert_eq!(ports.counters(A).unwrap().dropped(PortDrop::LinkDown), 2);
        must("ip link delete wire0");
        await_event(&mut ports, &mut readiness, A, PortEvent::Gone);
        assert_eq!(ports.ready(A, 10), 0);
        ports.send_copy(A, &udp_packet(20), Offload::NONE, LinkHeader::None).unwrap();
        ports.flush();
        assert_eq!(ports.counters(A).unwrap().dropped(PortDrop::LinkGone), 1);
    });
}

#[test]
fn a_name_the_kernel_refuses_is_an_error() {
    in_namespace(|| {
        for name in ["", "a-name-that-is-too-long-for-it", "with/slash"] {
            assert!(Port::tun(&TunOptions::new(name)).is_err(), "{name:?}");
        }
    });
}
