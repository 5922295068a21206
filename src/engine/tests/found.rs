//! What random scenarios found to differ from a kernel, each by the fewest packets that show it.

use crate::base::Protocol;
use crate::engine::{DropReason, Verdict};
use crate::table::{Change, ForwardingMethod, ServiceConfig, ServiceFlags, ServiceKey};
use crate::wire::checksum;

use super::packet::{ACK, Endpoint, Packet, SYN, Upper};
use super::world::{World, address, service, service_config};

const MASQUERADING: ForwardingMethod = ForwardingMethod::Masquerading;

fn end(text: &str, port: u16) -> Endpoint {
    (address(text), port)
}

/// A connection outlives its service: while there is any other of the family, its packets are
/// dropped, whether or not its address still has a service.
#[test]
fn connections_of_a_deleted_service_are_known_while_there_is_another() {
    let mut world = World::new();
    let (web, other) = (service(Protocol::TCP, "10.9.9.9", 80), service(Protocol::TCP, "10.0.0.1", 81));
    let (client, vip) = (end("10.0.0.2", 40000), end("10.9.9.9", 80));
    let server = end("172.16.0.11", 8080);
    world.serve(web, ("172.16.0.11", 8080), MASQUERADING);
    assert!(matches!(world.request(&Packet::new(client, vip, SYN).bytes()).verdict, Verdict::Transmit(_)));
    world.apply(Change::DeleteService { key: web });

    // No service of the family: nobody looks, neither at requests nor at replies.
    let answer = world.request(&Packet::new(client, vip, ACK).bytes());
    assert_eq!(answer.only().packet[20 + 13], 4, "a reset");
    let forwarded = world.reply(&Packet::new(server, client, ACK).bytes());
    assert_eq!(forwarded.only().packet[12..16], [172, 16, 0, 11]);

    world.apply(Change::AddService { key: other, config: service_config(&other) });
    let dropped = world.request(&Packet::new(client, vip, ACK).bytes());
    assert_eq!(dropped.verdict, Verdict::Drop(DropReason::DestinationGone));
    let translated = world.reply(&Packet::new(server, client, ACK).bytes());
    assert_eq!(translated.only().packet[12..16], [10, 9, 9, 9]);
}

/// A service of the other family does not keep connections known.
#[test]
fn families_are_looked_at_each_by_itself() {
    let mut world = World::new();
    let (web, other) = (service(Protocol::TCP, "10.9.9.9", 80), service(Protocol::TCP, "fd99::9", 80));
    world.serve(web, ("172.16.0.11", 8080), MASQUERADING);
    world.serve(other, ("fd01::11", 8080), MASQUERADING);
    let (client, vip) = (end("10.0.0.2", 40000), end("10.9.9.9", 80));
    world.request(&Packet::new(client, vip, SYN).bytes());
    world.apply(Change::DeleteService { key: web });
    let forwarded = world.reply(&Packet::new(end("172.16.0.11", 8080), client, ACK).bytes());
    assert_eq!(forwarded.only().packet[12..16], [172, 16, 0, 11]);
}

/// Multicast routing's protocol has a taker in every kernel: no "protocol unreachable" for it.
#[test]
fn pim_is_left_unanswered() {
    let mut world = World::new();
    for (client, vip) in [("10.0.0.2", "10.9.9.9"), ("fd00::2", "fd99::9")] {
        let packet = Packet::new(end(client, 0), end(vip, 0), Upper::Other(103)).bytes();
        assert!(world.request(&packet).sent.is_empty());
        let packet = Packet::new(end(client, 0), end(vip, 0), Upper::Other(89)).bytes();
        assert_eq!(world.request(&packet).sent.len(), 1, "another protocol is refused");
    }
}

/// `nat_icmp_send` refuses what comes from a real server's own port; a server of every port has none.
#[test]
fn a_server_of_every_port_is_not_refused() {
    let mut world = World::new();
    world.set("nat_icmp_send", 1);
    let any = service(Protocol::TCP, "10.9.9.9", 0);
    let config = ServiceConfig { flags: ServiceFlags(ServiceFlags::PERSISTENT), ..service_config(&any) };
    world.apply(Change::AddService { key: any, config });
    world.add_server(any, ("172.16.0.11", 0), MASQUERADING);
    world.add_server(any, ("172.16.0.12", 21), MASQUERADING);
    let client = end("10.0.0.2", 40000);
    let forwarded = world.reply(&Packet::new(end("172.16.0.11", 21), client, ACK).bytes());
    assert!(matches!(forwarded.verdict, Verdict::Transmit(_)), "{forwarded:?}");
    let refused = world.reply(&Packet::new(end("172.16.0.12", 21), client, ACK).bytes());
    assert_eq!(refused.verdict, Verdict::Drop(DropReason::ServerTold));
}

/// Pieces of a server's reply that never became whole: the server is told by the director, not by
/// the client that it wrote to.
#[test]
fn the_director_complains_about_pieces_of_replies_itself() {
    let mut world = World::new();
    world.serve(service(Protocol::UDP, "10.9.9.9", 53), ("172.16.0.11", 53), MASQUERADING);
    let whole = Packet::new(end("172.16.0.11", 53), end("10.0.0.2", 40000), Upper::Udp).may_fragment().filled(1000);
    let first = first_piece(&whole.bytes(), 504);
    assert!(world.reply(&first).sent.is_empty());
    world.pass(40_000);
    let sent = world.drain();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].packet[12..20], [172, 16, 0, 1, 172, 16, 0, 11]);
}

/// FTP's service and the one of port 0 share their clients' templates, so a connection may go to a
/// destination of the other. It counts for the service that took it, its packets for the one that
/// has the destination.
#[test]
fn a_connection_counts_for_the_service_that_took_it() {
    let mut world = World::new();
    let any = service(Protocol::TCP, "10.9.9.9", 0);
    let ftp = service(Protocol::TCP, "10.9.9.9", 21);
    for key in [any, ftp] {
        let config = ServiceConfig { flags: ServiceFlags(ServiceFlags::PERSISTENT), ..service_config(&key) };
        world.apply(Change::AddService { key, config });
    }
    world.add_server(any, ("172.16.0.11", 0), MASQUERADING);
    for (port, vport) in [(40000, 443), (40001, 21)] {
        let packet = Packet::new(end("10.0.0.2", port), end("10.9.9.9", vport), SYN).bytes();
        assert!(matches!(world.request(&packet).verdict, Verdict::Transmit(_)), "to {vport}");
    }
    let tally = |key: ServiceKey| {
        let found = world.engine.service(&key).unwrap();
        (found.tally.connections, found.tally.in_packets)
    };
    assert_eq!((tally(any), tally(ftp)), ((1, 2), (1, 0)));
}

/// What the host itself says about a connection whose server answers in the virtual address's name
/// counts as that server's answer: also that pieces never became whole.
#[test]
fn a_complaint_about_missing_pieces_counts() {
    let mut world = World::new();
    let key = service(Protocol::UDP, "10.9.9.9", 53);
    world.serve(key, ("172.16.0.11", 53), ForwardingMethod::DirectRouting);
    let whole = Packet::new(end("10.0.0.2", 40000), end("10.9.9.9", 53), Upper::Udp).may_fragment();
    world.request(&whole.clone().bytes());
    world.request(&first_piece(&whole.filled(1000).bytes(), 504));
    world.pass(40_000);
    assert_eq!(world.drain().len(), 1);
    let tally = world.engine.service(&key).unwrap().tally;
    assert_eq!((tally.out_packets, tally.out_bytes), (1, 20 + 8 + 524));
}

/// A connection that was about to end as its client begins anew, when nobody takes the new one: the
/// host's reset closes it, and it lives on for as long as closed ones do.
#[test]
fn the_hosts_reset_closes_what_was_about_to_end() {
    let mut world = World::new();
    world.set("conn_reuse_mode", 2);
    let (web, other) = (service(Protocol::TCP, "10.9.9.9", 80), service(Protocol::TCP, "10.9.9.9", 81));
    world.serve(web, ("172.16.0.11", 80), ForwardingMethod::DirectRouting);
    world.apply(Change::AddService { key: other, config: service_config(&other) });
    let (client, vip) = (end("10.0.0.2", 40000), end("10.9.9.9", 80));
    for flags in [SYN, ACK, Upper::Tcp(0x11)] {
        world.request(&Packet::new(client, vip, flags).bytes());
    }
    world.apply(Change::DeleteService { key: web });
    let answer = world.request(&Packet::new(client, vip, SYN).bytes());
    assert_eq!(answer.only().packet[20 + 13], 0x14, "a reset");
    for (after, there) in [(1000, 1), (8000, 1), (2000, 0)] {
        world.pass(after);
        assert_eq!(world.engine.connections_page(world.now, 0, 10).0.len(), there, "after {after} more");
    }
}

/// The checksum of a translated ICMPv6 error is never zero.
#[test]
fn a_translated_error_has_no_checksum_of_zero() {
    let mut world = World::new();
    world.serve(service(Protocol::UDP, "fd99::9", 53), ("fd01::11", 53), MASQUERADING);
    let (client, server) = (end("fd00::2", 40000), end("fd01::11", 53));
    let request = world.request(&Packet::new(client, end("fd99::9", 53), Upper::Udp).bytes());
    let quoted = request.only().packet.clone();
    let mut all_ones = 0;
    for rest in 0..=u16::MAX {
        let mut message = vec![3, 0, 0, 0, 0, 0];
        message.extend(rest.to_be_bytes());
        message.extend(&quoted);
        let pseudo = checksum::pseudo_header(server.0.into(), client.0.into(), 58, message.len());
        pseudo.add_bytes(&message).checksum().write(&mut message, 2);
        let packet = Packet { payload: message, ..Packet::new(server, client, Upper::Other(58)) }.bytes();
        let sent = world.reply(&packet);
        let field = &sent.only().packet[42..44];
        assert_ne!(field, [0, 0], "with {rest}");
        all_ones += usize::from(field == [0xff, 0xff]);
    }
    assert!(all_ones > 0);
}

/// Nor has a reset over IPv6; over IPv4 a stack lets a zero stand.
#[test]
fn a_reset_has_no_checksum_of_zero_over_ipv6() {
    for (client, vip, header, zero) in [("fd00::2", "fd99::9", 40, [0xff, 0xff]), ("10.0.0.2", "10.9.9.9", 20, [0, 0])]
    {
        let mut world = World::new();
        let server = if header == 40 { "fd01::11" } else { "172.16.0.11" };
        world.serve(service(Protocol::TCP, vip, 80), (server, 80), ForwardingMethod::DirectRouting);
        let reset = |world: &mut World, port: u16| {
            let sent = world.request(&Packet::new(end(client, port), end(vip, 81), SYN).bytes());
            let packet = sent.only().packet.clone();
            [packet[header + 16], packet[header + 17]]
        };
        let sums: Vec<[u8; 2]> = (0..=u16::MAX).map(|port| reset(&mut world, port)).collect();
        assert!(sums.contains(&zero), "{vip}");
        assert!(!sums.contains(&if zero == [0, 0] { [0xff, 0xff] } else { [0, 0] }), "{vip}");
    }
}

/// The first fragment of an IPv4 packet, with so many bytes of data.
fn first_piece(packet: &[u8], length: usize) -> Vec<u8> {
    let mut piece = packet[..20 + length].to_vec();
    piece[2..4].copy_from_slice(&((20 + length) as u16).to_be_bytes());
    piece[6] = 0x20;
    piece[10..12].fill(0);
    checksum::of(&piece[..20]).write(&mut piece, 10);
    piece
}
