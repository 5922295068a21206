//! Filter and fanout programs as the kernel runs them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;

use etherparse::PacketBuilder;

use super::lab::*;
use crate::base::{LinkId, Mac, Prefix};
use crate::port::af_packet::fanout::{ClientNetwork, FlowHash, Steering};
use crate::port::af_packet::filter::LinkFilter;
use crate::port::{Adjustment, Fanout, FanoutGroup, PacketOptions, Port, PortDrop, Ports};
use crate::wire::{EtherType, LinkHeader, Offload};

const WORKERS: usize = 3;
const FLOWS: u16 = 40;

/// Where requests go and replies come from, in both families.
const SERVICES: [(IpAddr, IpAddr); 2] = [
    (IpAddr::V4(Ipv4Addr::new(10, 1, 0, 80)), IpAddr::V4(Ipv4Addr::new(10, 2, 0, 5))),
    (IpAddr::V6(Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0x80)), IpAddr::V6(Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 5))),
];

fn client(service: IpAddr, number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    match service {
        IpAddr::V4(_) => IpAddr::from([10, 9, high, low]),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, number)),
    }
}

fn udp(source: (IpAddr, u16), destination: (IpAddr, u16)) -> (Vec<u8>, EtherType) {
    let (builder, kind) = match (source.0, destination.0) {
        (IpAddr::V4(from), IpAddr::V4(to)) => (PacketBuilder::ipv4(from.octets(), to.octets(), 64), EtherType::IPV4),
        (IpAddr::V6(from), IpAddr::V6(to)) => (PacketBuilder::ipv6(from.octets(), to.octets(), 64), EtherType::IPV6),
        mixed => panic!("{mixed:?}"),
    };
    let mut packet = Vec::new();
    builder.udp(source.1, destination.1).write(&mut packet, &[0; 32]).unwrap();
    (packet, kind)
}

/// The link that stands for a worker's ports.
fn worker_link(worker: usize) -> LinkId {
    LinkId(10 + worker as u32)
}

/// Sends requests and replies of all flows, and each once more to another host; the filter must keep those out,
/// and the others must reach the worker that `steering` names.
fn send_all_flows(ports: &mut Ports, steering: &Steering) {
    let mut sent = [0; WORKERS];
    for (service, server) in SERVICES {
        for number in 0..FLOWS {
            let client = (client(service, number), 40_000 + number);
            for (source, destination) in [(client, (service, 53)), ((server, 53), client)] {
                let (packet, kind) = udp(source, destination);
                let header = LinkHeader::Ethernet { destination: MAC_B, source: MAC_A, kind };
                ports.send_copy(A, &packet, Offload::NONE, header).unwrap();
                // The same to another host: the filter keeps it out.
                let other = LinkHeader::Ethernet { destination: Mac([2, 0, 0, 0, 0, 0xc]), source: MAC_A, kind };
                ports.send_copy(A, &packet, Offload::NONE, other).unwrap();
                sent[steering.worker_of_packet(&packet)] += 1;
            }
        }
    }
    ports.flush();
    assert!(sent.iter().all(|&count| count > 20), "{sent:?}");
    for (worker, &count) in sent.iter().enumerate() {
        let link = worker_link(worker);
        await_frames(ports, link, count);
        assert_eq!(ports.ready(link, usize::MAX), count);
        for index in 0..count {
            let frame = ports.frame(link, index).unwrap();
            assert_eq!(steering.worker_of_packet(frame.packet()), worker);
        }
    }
    ports.flush();
}

#[test]
fn the_kernel_gives_both_directions_of_a_flow_to_its_worker() {
    in_namespace(|| {
        veth_pair();
        let hash = FlowHash {
            workers: NonZeroU32::new(WORKERS as u32).unwrap(),
            network: ClientNetwork::HOST,
            seed: 0x1234_5678,
        };
        let virtual_addresses = SERVICES.map(|(service, _)| Prefix::host(service));
        let steering = Steering::new(hash, &virtual_addresses);
        let program = steering.program();
        let filter = LinkFilter { addresses: vec![MAC_B], groups: vec![] }.program().unwrap();

        // Every worker would have a set of ports of its own; here one set has all, under different links.
        let mut ports = Ports::new();
        let mut group = FanoutGroup::New;
        for worker in 0..WORKERS {
            let options = PacketOptions {
                fanout: Some(Fanout { group, program: program.clone() }),
                filter: Some(filter.clone()),
                slots: 256,
                ..options("right")
            };
            let port = Port::packet(&options).unwrap();
            group = FanoutGroup::Join(port.fanout_group().unwrap());
            ports.insert(worker_link(worker), port);
        }
        ports.insert(A, Port::packet(&options("left")).unwrap());

        send_all_flows(&mut ports, &steering);
        // After the link was down the kernel numbers the group's members anew.
        must("ip link set right down");
        must("ip link set right up");
        await_up("left");
        send_all_flows(&mut ports, &steering);
        // All flows of a network's clients meet once the program says so.
        let by_network = FlowHash { network: ClientNetwork { v4: 0xffff_fffc, v6: 126 }, ..hash };
        let steering = Steering::new(by_network, &virtual_addresses);
        ports.adjust(worker_link(0), &Adjustment::FanoutProgram(&steering.program())).unwrap();
        send_all_flows(&mut ports, &steering);

        // What leaves by the link is not received, though a group listens there.
        let (packet, kind) = udp((client(SERVICES[0].0, 1), 1), (SERVICES[0].0, 53));
        let header = LinkHeader::Ethernet { destination: MAC_B, source: MAC_B, kind };
        ports.send_copy(worker_link(0), &packet, Offload::NONE, header).unwrap();
        ports.flush();
        await_frames(&mut ports, A, 1);
        assert!((0..WORKERS).all(|worker| ports.ready(worker_link(worker), 1) == 0));
        for worker in 0..WORKERS {
            assert_eq!(ports.counters(worker_link(worker)).unwrap().dropped(PortDrop::RingFull), 0);
        }
    });
}
