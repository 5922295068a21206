//! Services that packets are known to by a firewall mark.

use crate::base::{Address, Family, Protocol};
use crate::engine::HostStack;
use crate::table::{Change, MarkMatch, MarkRule, ServiceConfig, ServiceFlags};

use super::packet::{ACK, Packet, SYN, Upper, fragments4, icmp, icmp_error};
use super::world::{World, address, destination_config, mark_service, server_key, service_config};

const CLIENT: &str = "10.0.0.3";
const VIP: &str = "192.168.9.9";
const SERVERS: [&str; 2] = ["172.16.0.13", "172.16.0.14"];

/// A persistent service of two masqueraded servers for what `matching` takes.
fn world(host_stack: HostStack, matching: MarkMatch) -> World {
    let mut world = World::with(1024, host_stack, 1500);
    let key = mark_service(7);
    let flags = ServiceFlags(ServiceFlags::PERSISTENT);
    let config = ServiceConfig { flags, timeout: 60, ..service_config(&key) };
    world.apply(Change::AddService { key, config });
    for server in SERVERS {
        let config = destination_config();
        world.apply(Change::AddDestination { service: key, key: server_key(server, 0), config });
    }
    world.apply(Change::AddMark { rule: MarkRule { mark: 7, matching } });
    world
}

fn ports(protocol: Protocol, port: u16) -> MarkMatch {
    MarkMatch { protocols: vec![protocol], destination_ports: vec![port..=port], ..MarkMatch::default() }
}

fn at_vip(matching: MarkMatch) -> MarkMatch {
    MarkMatch { destinations: vec![format!("{VIP}/32").parse().unwrap()], ..matching }
}

fn udp(from: (&str, u16), to: (&str, u16)) -> Packet {
    Packet::new((address(from.0), from.1), (address(to.0), to.1), Upper::Udp)
}

/// Source and destination of an IPv4 packet.
fn ends(packet: &[u8]) -> [String; 2] {
    [12, 16].map(|at| Address::read(Family::V4, &packet[at..]).unwrap().to_ip(Family::V4).to_string())
}

#[test]
fn an_answer_that_carries_the_mark_as_well_is_an_answer() {
    let mut world = world(HostStack::Absent, ports(Protocol::UDP, 500));
    let request = world.request(&udp((CLIENT, 500), (VIP, 500)).bytes());
    let [_, server] = ends(&request.only().packet);
    assert!(SERVERS.contains(&server.as_str()), "{server}");
    let answer = udp((&server, 500), (CLIENT, 500)).bytes();
    assert_eq!(ends(&world.reply(&answer).only().packet), [VIP, CLIENT].map(str::to_owned));
    // What the server is told of its answer is about the connection, too.
    let error = icmp_error(address(&server), address(CLIENT), 3, 3, &udp((CLIENT, 500), (&server, 500)).bytes());
    assert_eq!(ends(&world.reply(&error).only().packet), [VIP, CLIENT].map(str::to_owned));
    assert_eq!(world.engine.connection_table().len(), 2, "a template and a connection");
}

#[test]
fn an_address_that_a_rule_names_is_answered_for() {
    let mut world = world(HostStack::Beside, at_vip(ports(Protocol::TCP, 80)));
    let request = Packet::new((address(CLIENT), 40_000), (address(VIP), 80), SYN);
    let [_, server] = ends(&world.request(&request.bytes()).only().packet);
    let echo = icmp(address(CLIENT), address(VIP), vec![8, 0, 0, 0, 0, 1, 0, 1, 1, 2]);
    assert_eq!(ends(&world.request(&echo).only().packet), [VIP, CLIENT].map(str::to_owned));
    let closed = Packet::new((address(CLIENT), 40_001), (address(VIP), 22), SYN);
    assert_eq!(ends(&world.request(&closed.bytes()).only().packet), [VIP, CLIENT].map(str::to_owned));
    // The server hears of a path that is narrow.
    let reply = Packet::new((address(VIP), 80), (address(CLIENT), 40_000), ACK);
    let narrow = icmp_error(address("10.0.0.254"), address(VIP), 3, 4, &reply.bytes());
    let told = world.request(&narrow);
    assert_eq!(ends(&told.only().packet)[1], server);
}

#[test]
fn pieces_of_a_datagram_meet_whose_ports_are_in_the_first_one_alone() {
    for host_stack in [HostStack::Absent, HostStack::Beside] {
        // Not named by itself: nothing but the mark tells whose it is.
        let network = MarkMatch { destinations: vec!["192.168.9.0/24".parse().unwrap()], ..ports(Protocol::UDP, 53) };
        let mut world = world(host_stack, network);
        let whole = udp((CLIENT, 4000), (VIP, 53)).filled(2000).may_fragment().bytes();
        let pieces = fragments4(&whole, 1480);
        assert!(pieces.len() == 2);
        for order in [[0, 1], [1, 0]] {
            let sent: Vec<_> = order.iter().flat_map(|&piece| world.request(&pieces[piece]).sent).collect();
            assert!(!sent.is_empty(), "{host_stack:?} {order:?}");
            assert!(sent.iter().all(|sent| SERVERS.contains(&ends(&sent.packet)[1].as_str())));
        }
    }
}
