//! The barrier: what the kernel's stack still gets of a link's frames.

use std::io::{ErrorKind, Read};

use socket2::{Domain, Protocol, Socket, Type};

use super::lab::*;
use crate::base::Mac;
use crate::port::bpf::barrier::Barrier;
use crate::port::sys::bpf::{Hook, programs_at};
use crate::wire::{EtherType, LinkHeader, Offload};

const VIRTUAL: Mac = Mac([0, 0, 0x5e, 0, 1, 1]);

/// What the stack hands to those who ask for IPv4 packets, which is behind the barrier.
fn stack() -> Socket {
    let protocol = Protocol::from(i32::from(EtherType::IPV4.0.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// Where the frames were for that it got since it was asked last.
fn destinations(stack: &mut Socket) -> Vec<Mac> {
    let mut found = Vec::new();
    let mut frame = [0; 2048];
    loop {
        match stack.read(&mut frame) {
            Ok(_) => found.push(Mac(*frame.first_chunk().unwrap())),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return found,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn the_stack_gets_no_frame_to_the_virtual_mac_and_the_port_gets_all() {
    in_namespace(|| {
        veth_pair();
        must("ip link set right promisc on");
        let mut stack = stack();
        let mut ports = both_ports();
        let send_both = |ports: &mut crate::port::Ports| {
            for destination in [VIRTUAL, MAC_B] {
                let header = LinkHeader::Ethernet { destination, source: MAC_A, kind: EtherType::IPV4 };
                ports.send_copy(A, &udp_packet(20), Offload::NONE, header).unwrap();
            }
            ports.flush();
            await_frames(ports, B, 2);
            for (index, expected) in [VIRTUAL, MAC_B].into_iter().enumerate() {
                let LinkHeader::Ethernet { destination, .. } = ports.frame(B, index).unwrap().link_header() else {
                    panic!("no Ethernet frame");
                };
                assert_eq!(destination, expected);
            }
            ports.flush();
        };
        send_both(&mut ports);
        assert_eq!(destinations(&mut stack), [VIRTUAL, MAC_B]);
        let barrier = match Barrier::open(index_of("right"), VIRTUAL) {
            Ok(barrier) => barrier,
            Err(error) => return println!("not run: {error}"),
        };
        send_both(&mut ports);
        assert_eq!(destinations(&mut stack), [MAC_B]);
        drop(barrier);
        await_gone("the barrier", || programs_at(Hook::Ingress, index_of("right")).unwrap() == 0);
        send_both(&mut ports);
        assert_eq!(destinations(&mut stack), [VIRTUAL, MAC_B]);
    });
}
