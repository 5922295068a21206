//! What the guard keeps from the kernel is the engine's to forward, and nothing else is, where the kernel
//! forwards as well.

use crate::base::Protocol;
use crate::engine::{HostStack, PassReason, Verdict};
use crate::table::ForwardingMethod;

use super::packet::{ACK, Packet, SYN, Upper, ends, fragments4, fragments6, icmp, icmp_error};
use super::world::{World, address, mark_service, service};

const CLIENTS: [&str; 2] = ["10.0.0.2", "fd00::2"];
const VIPS: [&str; 2] = ["10.9.9.9", "fd99::9"];
/// Of a TCP service, and of services by mark.
const SERVERS: [&str; 2] = ["172.16.0.11", "fd01::11"];
const MARKED: &str = "172.16.0.12";
const ROUTERS: [&str; 2] = ["172.16.0.254", "fd01::254"];
/// "Port unreachable", and an error that concerns no connection.
const ERRORS: [[(u8, u8); 2]; 2] = [[(3, 3), (12, 0)], [(1, 4), (4, 0)]];
const ECHOES: [[u8; 2]; 2] = [[8, 0], [128, 129]];

fn beside() -> World {
    let mut world = World::with(64, HostStack::Beside, 1500);
    for (vip, server) in VIPS.into_iter().zip(SERVERS) {
        world.serve(service(Protocol::TCP, vip, 80), (server, 8080), ForwardingMethod::Masquerading);
    }
    world.mark(7, "10.77.0.0/16");
    world.serve(mark_service(7), (MARKED, 0), ForwardingMethod::Masquerading);
    world
}

fn packet(from: (&str, u16), to: (&str, u16), upper: Upper) -> Packet {
    Packet::new((address(from.0), from.1), (address(to.0), to.1), upper)
}

/// How many packets leave for one that comes from the real servers' side.
#[track_caller]
fn forwarded(world: &mut World, packet: &[u8]) -> usize {
    let outcome = world.reply(packet);
    if outcome.sent.is_empty() && outcome.verdict != Verdict::Consumed {
        assert_eq!(outcome.verdict, Verdict::Pass(PassReason::NotVirtual));
    }
    outcome.sent.len()
}

#[test]
fn echoes_of_masqueraded_servers_are_the_kernels_and_errors_are_ours() {
    let mut world = beside();
    for at in [0, 1] {
        let (client, server, router) = (CLIENTS[at], SERVERS[at], ROUTERS[at]);
        for kind in ECHOES[at] {
            let message = |from, to| icmp(address(from), address(to), vec![kind, 0, 0, 0, 0, 1, 0, 1]);
            assert_eq!(forwarded(&mut world, &message(server, client)), 0, "{server} {kind}");
            assert_eq!(forwarded(&mut world, &message(client, server)), 0, "{server} {kind}");
        }
        for (kind, code) in ERRORS[at] {
            let error = |from, quoted: &[u8]| icmp_error(address(from), address(client), kind, code, quoted);
            let about_server = packet((client, 5), (server, 9), Upper::Udp).bytes();
            assert_eq!(forwarded(&mut world, &error(server, &about_server)), 1, "{server} {kind}");
            assert_eq!(forwarded(&mut world, &error(router, &about_server)), 1, "{server} {kind}");
            let about_ping = packet((client, 0), (server, 0), Upper::Other(47)).bytes();
            assert_eq!(forwarded(&mut world, &error(router, &about_ping)), 1, "{server} {kind}");
            let about_other = packet((client, 5), (router, 9), Upper::Udp).bytes();
            assert_eq!(forwarded(&mut world, &error(router, &about_other)), 0, "{server} {kind}");
            let short = error(router, &about_server[..[19, 39][at]]);
            assert_eq!(forwarded(&mut world, &short), 0, "{server} {kind}");
        }
    }
}

#[test]
fn an_error_of_a_router_about_a_connection_is_translated() {
    let mut world = beside();
    for at in [0, 1] {
        let request = packet((CLIENTS[at], 40000), (VIPS[at], 80), SYN).bytes();
        let quoted = world.request(&request).only().packet.clone();
        let (kind, code) = ERRORS[at][0];
        let error = icmp_error(address(ROUTERS[at]), address(CLIENTS[at]), kind, code, &quoted);
        let told = world.reply(&error);
        let message = &told.only().packet[[28, 48][at]..];
        assert_eq!(ends(message).1, (address(VIPS[at]), 80));
    }
}

#[test]
fn all_fragments_of_masqueraded_servers_are_ours() {
    let mut world = beside();
    for at in [0, 1] {
        let (client, server, router) = (CLIENTS[at], SERVERS[at], ROUTERS[at]);
        let cut = |whole: &[u8]| if at == 0 { fragments4(whole, 600) } else { fragments6(whole, 600) };
        let datagram = |from| packet((from, 5353), (client, 5353), Upper::Udp).filled(1500).may_fragment().bytes();
        let mut message = vec![ECHOES[at][0], 0, 0, 0, 0, 1, 0, 1];
        message.resize(1500, 7);
        let ping = |from| icmp(address(from), address(client), message.clone());
        for whole in [datagram(server), ping(server)] {
            let sent: usize = cut(&whole).iter().map(|fragment| forwarded(&mut world, fragment)).sum();
            assert_eq!(sent, 3, "{server}");
        }
        for whole in [datagram(router), ping(router)] {
            let sent: usize = cut(&whole).iter().map(|fragment| forwarded(&mut world, fragment)).sum();
            assert_eq!(sent, 0, "{server}");
        }
        // What is whole shows its port.
        assert_eq!(forwarded(&mut world, &packet((server, 5353), (client, 5353), Upper::Udp).bytes()), 0);
        assert_eq!(forwarded(&mut world, &packet((server, 8080), (client, 1), ACK).bytes()), 1);
    }
}

#[test]
fn a_service_by_mark_means_the_protocols_that_services_exist_for() {
    let mut world = beside();
    for (upper, count) in [(ACK, 1), (Upper::Udp, 1), (Upper::Sctp(0), 1), (Upper::Other(47), 0), (Upper::Other(4), 0)]
    {
        let name = format!("{upper:?}");
        let other = packet((MARKED, 1234), (CLIENTS[0], 1), upper).bytes();
        assert_eq!(forwarded(&mut world, &other), count, "{name}");
    }
}

#[test]
fn what_a_mark_leads_to_and_no_service_takes_goes_on_its_way() {
    let mut world = beside();
    let to = "10.77.0.5";
    let whole = packet((SERVERS[0], 0), (to, 0), Upper::Other(47)).filled(1200).may_fragment().bytes();
    let sent: usize = fragments4(&whole, 600).iter().map(|fragment| world.reply(fragment).sent.len()).sum();
    assert_eq!(sent, 2);
    let about = packet((to, 5), (SERVERS[0], 9), Upper::Udp).bytes();
    let error = icmp_error(address(SERVERS[0]), address(to), 3, 3, &about);
    assert_eq!(world.reply(&error).sent.len(), 1);
    let ping = icmp(address(SERVERS[0]), address(to), vec![8, 0, 0, 0, 0, 1, 0, 1]);
    assert_eq!(world.reply(&ping).sent.len(), 0);
}

#[test]
fn ipsec_of_a_server_that_exchanges_keys_is_ours() {
    let mut world = beside();
    for (at, authenticated) in [(0, 1), (1, 0)] {
        let send = |world: &mut World, protocol: u8| {
            let packet = packet((SERVERS[at], 0), (CLIENTS[at], 0), Upper::Other(protocol));
            forwarded(world, &Packet { payload: vec![255; 40], ..packet }.bytes())
        };
        assert_eq!([50, 51].map(|protocol| send(&mut world, protocol)), [0, 0]);
        world.serve(service(Protocol::UDP, VIPS[at], 500), (SERVERS[at], 500), ForwardingMethod::Masquerading);
        assert_eq!([50, 51].map(|protocol| send(&mut world, protocol)), [1, authenticated]);
    }
}
