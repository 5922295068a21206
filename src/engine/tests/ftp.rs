//! FTP sessions: in the forms that frames of a host have, and with odd people at both ends.

use proptest::prelude::*;

use crate::base::Protocol;
use crate::engine::{DropReason, SequenceData, Verdict};
use crate::table::ForwardingMethod;
use crate::wire::Offload;
use crate::wire::offload::Completion;

use super::packet::{ACK, Endpoint, Packet, SYN, Upper};
use super::sound;
use super::world::{ETH0, ETH1, LINK_LENGTH, Outcome, World, address, service};

const CLIENT: &str = "10.0.0.2";
const VIP: &str = "10.9.9.9";
const SERVER: &str = "172.16.0.11";
const OTHER_SERVER: &str = "172.16.0.12";
const DATA: Upper = Upper::Tcp(0x18);

fn client() -> Endpoint {
    (address(CLIENT), 40000)
}

fn said(source: Endpoint, destination: Endpoint, sequence: u32, text: &[u8]) -> Packet {
    Packet { payload: text.to_vec(), sequence, ..Packet::new(source, destination, DATA) }
}

fn from_client(sequence: u32, text: &str) -> Packet {
    said(client(), (address(VIP), 21), sequence, text.as_bytes())
}

fn from_server(sequence: u32, text: &[u8]) -> Packet {
    said((address(SERVER), 21), client(), sequence, text)
}

/// A world with an established control connection.
fn session() -> World {
    let mut world = World::new();
    world.serve(service(Protocol::TCP, VIP, 21), (SERVER, 21), ForwardingMethod::Masquerading);
    let plain = |packet: Packet| Packet { payload: Vec::new(), sequence: 1000, ..packet }.bytes();
    world.request(&plain(Packet::new(client(), (address(VIP), 21), SYN)));
    world.reply(&plain(Packet::new((address(SERVER), 21), client(), Upper::Tcp(0x12))));
    world.request(&plain(Packet::new(client(), (address(VIP), 21), ACK)));
    world
}

const ANSWER: &str = "227 Entering Passive Mode (172,16,0,11,195,80)\r\n";
const TRANSLATED: &str = "227 Entering Passive Mode (10,9,9,9,195,80)\r\n";

fn payload(packet: &[u8]) -> &[u8] {
    let start = 20 + usize::from(packet[32] >> 4) * 4;
    &packet[start..]
}

fn sequence(packet: &[u8]) -> u32 {
    u32::from_be_bytes([packet[24], packet[25], packet[26], packet[27]])
}

fn acknowledgement(packet: &[u8]) -> u32 {
    u32::from_be_bytes([packet[28], packet[29], packet[30], packet[31]])
}

#[track_caller]
fn sound(outcome: &Outcome) {
    for sent in &outcome.sent {
        sound::ethernet(&sent.packet, &sent.offload).unwrap();
    }
}

#[test]
fn an_unfinished_checksum_stays_one_that_a_card_can_finish() {
    let mut world = session();
    world.request(&from_client(1001, "PASV\r\n").bytes());
    let (packet, offload) = from_server(1001, ANSWER.as_bytes()).partial(LINK_LENGTH);
    let outcome = world.handle(ETH1, &packet, offload);
    assert_eq!(payload(&outcome.only().packet), TRANSLATED.as_bytes());
    assert!(matches!(outcome.only().offload.checksum, Completion::Partial { .. }));
    sound(&outcome);
    // What comes later is renumbered in the same form.
    let (packet, offload) = from_server(1001 + ANSWER.len() as u32, b"200 ok\r\n").partial(LINK_LENGTH);
    let outcome = world.handle(ETH1, &packet, offload);
    assert_eq!(sequence(&outcome.only().packet), 1001 + TRANSLATED.len() as u32);
    sound(&outcome);
}

#[test]
fn a_super_frame_that_begins_with_an_answer_stays_one() {
    let mut world = session();
    world.request(&from_client(1001, "PASV\r\n").bytes());
    let text = [ANSWER.as_bytes(), &vec![b'x'; 20_000]].concat();
    let (packet, offload) = from_server(1001, &text).super_frame(LINK_LENGTH, 1400);
    let outcome = world.handle(ETH1, &packet, offload);
    let sent = outcome.only();
    assert!(sent.offload.is_segmented() && sent.offload.is_partial());
    assert_eq!(payload(&sent.packet)[..TRANSLATED.len()], *TRANSLATED.as_bytes());
    assert_eq!(payload(&sent.packet).len(), text.len() - ANSWER.len() + TRANSLATED.len());
    sound(&outcome);
}

#[test]
fn an_answer_grows_into_the_headroom_or_the_link_header_s_place() {
    let short = b"227 (1,1,1,1,1,1)\r\n";
    for headroom in [96, 0] {
        let mut world = session();
        world.headroom = headroom;
        world.request(&from_client(1001, "PASV\r\n").bytes());
        let outcome = world.handle(ETH1, &from_server(1001, short).bytes(), Offload::NONE);
        assert_eq!(payload(&outcome.only().packet), b"227 (10,9,9,9,1,1)\r\n");
        sound(&outcome);
    }
}

#[test]
fn an_answer_that_no_packet_can_hold_is_dropped() {
    let mut world = session();
    world.request(&from_client(1001, "PASV\r\n").bytes());
    let text = [&b"227 (1,1,1,1,1,1)\r\n"[..], &vec![b'x'; 65535 - 40 - 19]].concat();
    let (packet, offload) = from_server(1001, &text).super_frame(LINK_LENGTH, 1400);
    assert_eq!(world.handle(ETH1, &packet, offload).verdict, Verdict::Drop(DropReason::TooLong));
}

#[test]
fn a_header_that_says_it_is_shorter_than_it_is_hides_no_payload() {
    let mut world = World::new();
    // The ports of a server's segment read "227 ".
    let (server, client) = ((address(SERVER), 0x3232), (address(CLIENT), 0x3720));
    world.serve(service(Protocol::TCP, VIP, 21), (SERVER, server.1), ForwardingMethod::Masquerading);
    let plain = |packet: Packet| Packet { payload: Vec::new(), sequence: 1000, ..packet }.bytes();
    world.request(&plain(Packet::new(client, (address(VIP), 21), SYN)));
    world.reply(&plain(Packet::new(server, client, Upper::Tcp(0x12))));
    world.request(&plain(Packet::new(client, (address(VIP), 21), ACK)));
    world.request(&said(client, (address(VIP), 21), 1001, b"PASV\r\n").bytes());
    let mut packet = said(server, client, u32::from_be_bytes(*b"1,2,"), b"x").bytes();
    // "227 1,2,3,4,5,600,..." from the first byte of the header on.
    packet[28..32].copy_from_slice(b"3,4,");
    packet[32] = b'5' & 0x0f;
    let mut offload = Offload::NONE;
    offload.checksum = Completion::Verified;
    let outcome = world.handle(ETH1, &packet, offload);
    assert_eq!(outcome.only().packet.len(), packet.len());
}

#[test]
fn without_ports_nobody_listens() {
    let mut world = World::new();
    world.engine.set_ftp_ports(&[]);
    world.serve(service(Protocol::TCP, VIP, 21), (SERVER, 21), ForwardingMethod::Masquerading);
    world.request(&Packet::new(client(), (address(VIP), 21), SYN).bytes());
    world.request(&from_client(1001, "PORT 10,0,0,2,4,1\r\n").bytes());
    assert_eq!(world.engine.connection_table().len(), 1);
}

/// Clients of two servers, by turns; the second's port is 40001.
fn two_sessions() -> (World, [&'static str; 2]) {
    let mut world = World::new();
    let key = service(Protocol::TCP, VIP, 21);
    world.serve(key, (OTHER_SERVER, 21), ForwardingMethod::Masquerading);
    world.add_server(key, (SERVER, 21), ForwardingMethod::Masquerading);
    let servers = [40000, 40001].map(|port| {
        let client = (address(CLIENT), port);
        let vip = (address(VIP), 21);
        let sent = world.request(&Packet::new(client, vip, SYN).bytes());
        let server = if sent.only().packet[16..20] == [172, 16, 0, 11] { SERVER } else { OTHER_SERVER };
        world.reply(&Packet::new((address(server), 21), client, Upper::Tcp(0x12)).bytes());
        world.request(&Packet::new(client, vip, ACK).bytes());
        server
    });
    assert_ne!(servers[0], servers[1]);
    (world, servers)
}

fn wait_at(world: &mut World, control: u16, text: &str) {
    world.request(&said((address(CLIENT), control), (address(VIP), 21), 1001, text.as_bytes()).bytes());
}

/// Whom a segment of a server's data connection seems to come from.
fn data_source(world: &mut World, server: &str, port: u16, flags: u8) -> Vec<u8> {
    let packet = Packet::new((address(server), 20), (address(CLIENT), port), Upper::Tcp(flags));
    let outcome = world.reply(&packet.bytes());
    outcome.sent.first().map_or(Vec::new(), |sent| sent.packet[12..16].to_vec())
}

const PORT: &str = "PORT 10,0,0,2,161,18\r\n"; // 41234
const FROM_VIP: [u8; 4] = [10, 9, 9, 9];

#[test]
fn a_port_may_be_announced_to_another_server_once_it_is_free() {
    for first in ["awaited", "reset", "closed"] {
        let (mut world, [one, other]) = two_sessions();
        wait_at(&mut world, 40000, PORT);
        if first != "awaited" {
            assert_eq!(data_source(&mut world, one, 41234, 0x02), FROM_VIP);
            world.request(&Packet::new((address(CLIENT), 41234), (address(VIP), 20), Upper::Tcp(0x12)).bytes());
            assert_eq!(data_source(&mut world, one, 41234, 0x10), FROM_VIP);
        }
        match first {
            "reset" => _ = data_source(&mut world, one, 41234, 0x04),
            "closed" => {
                data_source(&mut world, one, 41234, 0x11);
                world.request(&Packet::new((address(CLIENT), 41234), (address(VIP), 20), Upper::Tcp(0x11)).bytes());
                data_source(&mut world, one, 41234, 0x10);
            }
            _ => {}
        }
        wait_at(&mut world, 40001, PORT);
        assert_eq!(world.engine.connection_table().len(), 3, "{first}");
        assert_eq!(data_source(&mut world, other, 41234, 0x02), FROM_VIP, "{first}");
        let answer = Packet::new((address(CLIENT), 41234), (address(VIP), 20), Upper::Tcp(0x12));
        let outcome = world.request(&answer.bytes());
        assert_eq!(outcome.only().packet[16..20], if other == SERVER { [172, 16, 0, 11] } else { [172, 16, 0, 12] });
    }
}

#[test]
fn what_lives_or_is_another_client_s_is_not_ended_by_an_announcement() {
    let (mut world, [one, _]) = two_sessions();
    wait_at(&mut world, 40000, PORT);
    data_source(&mut world, one, 41234, 0x02);
    world.request(&Packet::new((address(CLIENT), 41234), (address(VIP), 20), Upper::Tcp(0x12)).bytes());
    data_source(&mut world, one, 41234, 0x10);
    wait_at(&mut world, 40001, PORT);
    assert_eq!(data_source(&mut world, one, 41234, 0x10), FROM_VIP);

    let (mut world, [one, _]) = two_sessions();
    // Both name an address that is neither's.
    wait_at(&mut world, 40000, "PORT 10,0,0,3,161,18\r\n");
    wait_at(&mut world, 40001, "PORT 10,0,0,3,161,18\r\n");
    let packet = Packet::new((address(one), 20), (address("10.0.0.3"), 41234), SYN);
    assert_eq!(world.reply(&packet.bytes()).only().packet[12..16], FROM_VIP);
}

#[test]
fn an_announcement_names_the_virtual_address_at_which_it_is_waited_for() {
    const OTHER_VIP: &str = "10.9.9.10";
    let mut world = session();
    let other = (address(CLIENT), 40001);
    world.serve(service(Protocol::TCP, OTHER_VIP, 21), (SERVER, 21), ForwardingMethod::Masquerading);
    world.request(&Packet::new(other, (address(OTHER_VIP), 21), SYN).bytes());
    world.reply(&Packet::new((address(SERVER), 21), other, Upper::Tcp(0x12)).bytes());
    world.request(&Packet::new(other, (address(OTHER_VIP), 21), ACK).bytes());

    world.request(&from_client(1001, "PASV\r\n").bytes());
    world.reply(&from_server(1001, ANSWER.as_bytes()).bytes());
    // Nobody came to that port, which the server announces again.
    world.request(&said(other, (address(OTHER_VIP), 21), 1001, b"PASV\r\n").bytes());
    let outcome = world.reply(&said((address(SERVER), 21), other, 1001, ANSWER.as_bytes()).bytes());
    assert_eq!(payload(&outcome.only().packet), TRANSLATED.as_bytes());
    let data = Packet::new((address(CLIENT), 41000), (address(VIP), 50000), SYN);
    assert_eq!(world.request(&data.bytes()).only().packet[16..20], [172, 16, 0, 11]);
}

#[test]
fn sequence_data_can_be_taken_over() {
    let mut world = session();
    world.request(&from_client(1001, "PASV\r\n").bytes());
    world.reply(&from_server(1001, ANSWER.as_bytes()).bytes());
    let control = |world: &World| {
        let (id, _) = world.engine.connection_table().iter().find(|(_, known)| known.virtual_port.0 == 21).unwrap();
        id
    };
    let numbers = world.engine.sequence_data(control(&world)).unwrap();
    assert_eq!((numbers.server.begins, numbers.server.delta, numbers.server.previous), (1001, 3u32.wrapping_neg(), 0));
    assert_eq!(numbers.client, Default::default());

    let mut other = session();
    let id = control(&other);
    assert_eq!(other.engine.sequence_data(id), None);
    other.engine.set_sequence_data(id, numbers);
    let outcome = other.reply(&from_server(2000, b"200 ok\r\n").bytes());
    assert_eq!(sequence(&outcome.only().packet), 1997);
    sound(&outcome);
    let mut packet = from_client(3000, "NOOP\r\n");
    packet.sequence = 3000;
    let before = packet.bytes();
    let outcome = other.request(&before);
    assert_eq!(acknowledgement(&outcome.only().packet), numbers.server.undo(acknowledgement(&before)));
    other.engine.set_sequence_data(id, SequenceData::default());
    assert_eq!(other.engine.sequence_data(id), None);
}

#[test]
fn a_control_connection_that_ends_takes_its_memory_along() {
    let mut world = session();
    world.request(&from_client(1001, "PASV\r\n").bytes());
    world.reply(&from_server(1001, ANSWER.as_bytes()).bytes());
    assert_eq!(world.engine.connection_table().len(), 2);
    world.pass(2_000_000);
    assert_eq!(world.engine.connection_table().len(), 0);
    // The same place in the table, and another client: nothing of before clings to it.
    world.request(&Packet::new(client(), (address(VIP), 21), SYN).bytes());
    let (id, _) = world.engine.connection_table().iter().next().unwrap();
    assert_eq!(world.engine.sequence_data(id), None);
}

/// One thing that an end may say.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let port = any::<u16>();
    let octets = any::<[u8; 4]>();
    prop_oneof![
        Just(b"PASV\r\n".to_vec()),
        Just(b"EPSV\r\n".to_vec()),
        Just(b"NOOP\r\n".to_vec()),
        (octets, port).prop_map(|([a, b, c, d], port)| {
            format!("PORT {a},{b},{c},{d},{},{}\r\n", port >> 8, port & 255).into_bytes()
        }),
        (octets, port).prop_map(|([a, b, c, d], port)| {
            format!("227 ok ({a},{b},{c},{d},{},{})\r\n", port >> 8, port & 255).into_bytes()
        }),
        port.prop_map(|port| format!("229 ok (|||{port}|)\r\n").into_bytes()),
        (octets, port).prop_map(|([a, b, c, d], port)| format!("EPRT |1|{a}.{b}.{c}.{d}|{port}|\r\n").into_bytes()),
        prop::collection::vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Each end's stream arrives in order and without a gap in the numbers that the other sees.
    #[test]
    fn streams_stay_whole(talk in prop::collection::vec((any::<bool>(), line()), 1..30)) {
        let mut world = session();
        let (mut from_client_here, mut from_server_here, mut from_server_there) = (1001u32, 1001u32, 1001u32);
        for (speaks_client, text) in &talk {
            let (link, packet) = if *speaks_client {
                let packet = said(client(), (address(VIP), 21), from_client_here, text);
                from_client_here += text.len() as u32;
                (ETH0, packet)
            } else {
                let packet = said((address(SERVER), 21), client(), from_server_here, text);
                from_server_here += text.len() as u32;
                (ETH1, packet)
            };
            let outcome = world.handle(link, &packet.bytes(), Offload::NONE);
            let sent = outcome.only();
            if let Err(what) = sound::ethernet(&sent.packet, &sent.offload) {
                prop_assert!(false, "{}", what);
            }
            if *speaks_client {
                prop_assert_eq!(payload(&sent.packet), &text[..]);
            } else {
                prop_assert_eq!(sequence(&sent.packet), from_server_there);
                from_server_there += payload(&sent.packet).len() as u32;
            }
            world.engine.connection_table().check_invariants();
        }
    }
}
