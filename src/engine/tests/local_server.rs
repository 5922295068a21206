//! Real servers that are this host itself, with a kernel that is handed their packets by a link.

use std::net::IpAddr;
use std::sync::Arc;

use crate::base::{Address, LinkId, Protocol};
use crate::engine::{DropReason, Egress, HostStack, PassReason, Verdict};
use crate::table::{ForwardingMethod, Link};
use crate::wire::{Offload, ip};

use super::packet::{ACK, Packet, SYN, TTL, Upper, ends, icmp_error};
use super::sound;
use super::world::{ETH0, TUN0, World, address, network, service};

/// A family's addresses: client, a virtual address that the host has not, one that it has, and the
/// host's own on the servers' side.
const ADDRESSES: [[&str; 4]; 2] =
    [["10.0.0.5", "192.168.9.9", "10.9.9.9", "172.16.0.1"], ["fd00::5", "fd98::9", "fd99::9", "fd01::1"]];
const CLIENT_PORT: u16 = 40000;
const PORT: u16 = 80;
const SERVER_PORT: u16 = 8080;

/// A service on `vip` with the host's own `server`, and tun0 as the way to the host's stack, if `answers`
/// says so with answers coming back.
fn world(vip: &str, server: &str, method: ForwardingMethod, answers: Option<bool>) -> World {
    let mut world = World::with(64, HostStack::Beside, 1500);
    if let Some(answers) = answers {
        let mut network = network(1500);
        let host: Link = network.link(TUN0).expect("the picture has it").clone();
        network.set_host(host, answers);
        world.engine.set_network(Arc::new(network));
    }
    let port = if method == ForwardingMethod::Masquerading { SERVER_PORT } else { PORT };
    world.serve(service(Protocol::TCP, vip, PORT), (server, port), method);
    world
}

fn to_host(next_hop: IpAddr) -> Egress {
    let family = crate::base::Family::of(&next_hop);
    Egress { link: TUN0, family, next_hop: Address::from(next_hop) }
}

#[test]
fn a_masqueraded_request_goes_to_the_stack_and_its_answer_to_the_client() {
    for [client, vip, _, own] in ADDRESSES.map(|row| row.map(address)) {
        let mut world = world(&vip.to_string(), &own.to_string(), ForwardingMethod::Masquerading, Some(true));
        let request = Packet::new((client, CLIENT_PORT), (vip, PORT), SYN).bytes();
        let outcome = world.request(&request);
        assert_eq!(outcome.verdict, Verdict::Transmit(to_host(own)));
        let sent = outcome.only();
        assert_eq!(ends(&sent.packet), ((client, CLIENT_PORT), (own, SERVER_PORT)));
        let family = crate::base::Family::of(&client);
        assert_eq!(ip::ttl(family, &sent.packet), TTL, "nothing is routed yet");
        sound::whole(&sent.packet).unwrap();

        let reply = Packet::new((own, SERVER_PORT), (client, CLIENT_PORT), ACK).ttl(1).bytes();
        let outcome = world.handle_on(TUN0, &reply, Offload::NONE);
        let sent = outcome.only();
        assert_eq!((sent.egress.link, sent.egress.next_hop), (ETH0, Address::from(client)));
        assert_eq!(ends(&sent.packet), ((vip, PORT), (client, CLIENT_PORT)));
        assert_eq!(ip::ttl(family, &sent.packet), 1, "the host is no router on the way");
        sound::whole(&sent.packet).unwrap();

        // What answers no connection goes on as it is.
        let stray = Packet::new((own, SERVER_PORT), (client, 5), ACK).bytes();
        assert_eq!(world.handle_on(TUN0, &stray, Offload::NONE).only().packet, stray);
    }
}

#[test]
fn errors_about_the_connection_reach_the_stack_and_come_from_it() {
    let [client, vip, _, own] = ADDRESSES[0].map(address);
    let mut world = world(&vip.to_string(), &own.to_string(), ForwardingMethod::Masquerading, Some(true));
    world.request(&Packet::new((client, CLIENT_PORT), (vip, PORT), SYN).bytes());

    let answer = Packet::new((vip, PORT), (client, CLIENT_PORT), ACK).bytes();
    let outcome = world.request(&icmp_error(address("10.0.0.254"), vip, 3, 4, &answer));
    assert_eq!(outcome.verdict, Verdict::Transmit(to_host(own)));
    assert_eq!(ends(&outcome.only().packet[28..]), ((own, SERVER_PORT), (client, CLIENT_PORT)));

    let request = Packet::new((client, CLIENT_PORT), (own, SERVER_PORT), SYN).bytes();
    let outcome = world.handle_on(TUN0, &icmp_error(own, client, 3, 3, &request), Offload::NONE);
    let sent = outcome.only();
    assert_eq!(sent.egress.link, ETH0);
    assert_eq!(ip::source(crate::base::Family::V4, &sent.packet), Address::from(vip));
    assert_eq!(ends(&sent.packet[28..]), ((client, CLIENT_PORT), (vip, PORT)));
}

#[test]
fn the_stack_is_told_what_is_too_long_for_the_clients_link() {
    let [_, vip, _, own] = ADDRESSES[0].map(address);
    // Behind eth2, whose MTU is 80.
    let client = address("172.17.0.5");
    let mut world = world(&vip.to_string(), &own.to_string(), ForwardingMethod::Masquerading, Some(true));
    world.handle(LinkId(3), &Packet::new((client, CLIENT_PORT), (vip, PORT), SYN).bytes(), Offload::NONE);
    let reply = Packet::new((own, SERVER_PORT), (client, CLIENT_PORT), ACK).filled(100).bytes();
    let outcome = world.handle_on(TUN0, &reply, Offload::NONE);
    assert_eq!(outcome.verdict, Verdict::Drop(DropReason::TooBig));
    let told = outcome.only();
    assert_eq!(told.egress, to_host(own));
    assert_eq!(&told.packet[20..22], [3, 4]);
    assert_eq!(ends(&told.packet[28..]), ((own, SERVER_PORT), (client, CLIENT_PORT)));
}

#[test]
fn direct_routing_and_tunnels_hand_over_what_came() {
    for [client, other, vip, own] in ADDRESSES.map(|row| row.map(address)) {
        for method in [ForwardingMethod::DirectRouting, ForwardingMethod::Tunneling] {
            for answers in [true, false] {
                let mut world = world(&vip.to_string(), &own.to_string(), method, Some(answers));
                let request = Packet::new((client, CLIENT_PORT), (vip, PORT), SYN).bytes();
                let outcome = world.request(&request);
                assert_eq!(outcome.verdict, Verdict::Transmit(to_host(vip)));
                assert_eq!(outcome.only().packet, request);
            }
            // The stack would not take a packet to an address that it does not have.
            let mut world = world(&other.to_string(), &own.to_string(), method, Some(true));
            let request = Packet::new((client, CLIENT_PORT), (other, PORT), SYN).bytes();
            assert_eq!(world.request(&request).verdict, Verdict::Drop(DropReason::LocalBoundary));
        }
    }
}

#[test]
fn without_a_way_to_the_stack_it_is_as_it_can_be() {
    for [client, _, vip, own] in ADDRESSES.map(|row| row.map(address)) {
        let request = Packet::new((client, CLIENT_PORT), (vip, PORT), SYN).bytes();
        let rows = [
            (ForwardingMethod::Masquerading, None, Verdict::Drop(DropReason::LocalServer)),
            (ForwardingMethod::Masquerading, Some(false), Verdict::Drop(DropReason::LocalServer)),
            (ForwardingMethod::DirectRouting, None, Verdict::Pass(PassReason::Local)),
        ];
        for (method, answers, expected) in rows {
            let mut world = world(&vip.to_string(), &own.to_string(), method, answers);
            assert_eq!(world.request(&request).verdict, expected, "{method:?} {answers:?}");
        }
    }
}

#[test]
fn a_long_datagram_in_fragments_is_handed_over_whole() {
    let [client, vip, _, own] = ADDRESSES[0].map(address);
    let mut world = world(&vip.to_string(), &own.to_string(), ForwardingMethod::Masquerading, Some(true));
    world.serve(service(Protocol::UDP, &vip.to_string(), 53), (&own.to_string(), 53), ForwardingMethod::Masquerading);
    let packet = Packet::new((client, CLIENT_PORT), (vip, 53), Upper::Udp).filled(4000).may_fragment().bytes();
    let pieces = super::packet::fragments4(&packet, 1480);
    let outcomes: Vec<_> = pieces.iter().map(|piece| world.request(piece)).collect();
    let sent: Vec<_> = outcomes.iter().flat_map(|outcome| &outcome.sent).collect();
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].egress, sent[0].packet.len()), (to_host(own), packet.len()));
    sound::whole(&sent[0].packet).unwrap();
}

#[test]
fn a_control_connection_of_ftp_is_handed_over_too() {
    let [client, vip, _, own] = ADDRESSES[0].map(address);
    let mut world = world(&vip.to_string(), &own.to_string(), ForwardingMethod::Masquerading, Some(true));
    let ftp = service(Protocol::TCP, &vip.to_string(), 21);
    world.serve(ftp, (&own.to_string(), 21), ForwardingMethod::Masquerading);
    let outcome = world.request(&Packet::new((client, CLIENT_PORT), (vip, 21), SYN).bytes());
    assert_eq!(outcome.verdict, Verdict::Transmit(to_host(own)));
    assert_eq!(ends(&outcome.only().packet), ((client, CLIENT_PORT), (own, 21)));
}
