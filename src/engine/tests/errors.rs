//! What senders are told, and what the engine is told: when there is much of it, and from whom it is taken.

use crate::base::Protocol;
use crate::engine::HostStack;
use crate::table::{Change, ForwardingMethod, TunnelChecksum, TunnelKind};
use crate::wire::ip::set_header_checksum;
use crate::wire::transport::TcpFlags;

use super::packet::{Packet, SYN, Upper, icmp};
use super::world::{World, address, server_key, service, service_config, tunneling};

/// A virtual address that the host does not have, so that the engine speaks for it.
const VIPS: [&str; 2] = ["192.168.0.1", "fd98::9"];
const CLIENTS: [&str; 2] = ["10.0.0.2", "fd00::2"];
const SERVERS: [&str; 2] = ["172.16.0.11", "fd01::11"];

fn datagram(at: usize, port: u16, length: usize) -> Vec<u8> {
    Packet::new((address(CLIENTS[at]), 40000), (address(VIPS[at]), port), Upper::Udp).filled(length).bytes()
}

/// Beside a kernel, whose limits hold, with a path to the servers that takes 1300 bytes.
fn beside() -> World {
    let mut world = World::with(64, HostStack::Beside, 1300);
    for (vip, server) in VIPS.into_iter().zip(SERVERS) {
        world.serve(service(Protocol::UDP, vip, 53), (server, 53), ForwardingMethod::Masquerading);
    }
    world
}

#[test]
fn senders_learn_what_fits_however_many_errors_others_cause() {
    let mut world = beside();
    for at in [0, 1] {
        world.pass(1000);
        let refused = (0..100).filter(|port| !world.request(&datagram(at, 1000 + port, 8)).sent.is_empty()).count();
        assert_eq!(refused, 50, "{}", VIPS[at]);
        for _ in 0..10 {
            let told = world.request(&datagram(at, 53, 1400));
            let message = &told.only().packet[[20, 40][at]..];
            assert_eq!((message[0], &message[6..8]), ([3, 2][at], &[5, 20][..]), "{}", VIPS[at]);
        }
    }
}

/// What is not sent because nobody may be told costs nothing.
#[test]
fn silence_is_not_limited() {
    let mut world = beside();
    // An error that is wrong itself: with an option that is longer than its header.
    let mut wrong = icmp(address(CLIENTS[0]), address(VIPS[0]), vec![3, 3, 0, 0, 0, 0, 0, 0]);
    wrong.splice(20..20, [148, 9, 0, 0]);
    wrong[0] = 0x46;
    let length = wrong.len() as u16;
    wrong[2..4].copy_from_slice(&length.to_be_bytes());
    set_header_checksum(&mut wrong);
    for _ in 0..100 {
        assert!(world.request(&wrong).sent.is_empty());
    }
    assert_eq!(world.request(&datagram(0, 1000, 8)).sent.len(), 1);
}

/// "Fragmentation needed, 1400 bytes" about `quoted`.
fn needs_fragmentation(quoted: &[u8]) -> Vec<u8> {
    let message = [&[3, 4, 0, 0, 0, 0, 5, 0x78], quoted].concat();
    icmp(address("172.16.0.254"), address("172.16.0.1"), message)
}

#[test]
fn forged_errors_do_not_keep_a_tunnels_path_from_being_learned() {
    let mut world = World::new();
    let key = service(Protocol::TCP, VIPS[0], 80);
    world.apply(Change::AddService { key, config: service_config(&key) });
    let config = tunneling(TunnelKind::Ipip, TunnelChecksum::None);
    world.apply(Change::AddDestination { service: key, key: server_key(SERVERS[0], 80), config });
    for number in 0..5000u16 {
        let [high, low] = number.to_be_bytes();
        let to = (address(&format!("10.1.{high}.{low}")), 53);
        world.reply(&needs_fragmentation(&Packet::new((address("172.16.0.1"), 53), to, Upper::Udp).bytes()));
    }
    let segment = |upper| Packet::new((address(CLIENTS[0]), 40000), (address(VIPS[0]), 80), upper);
    let tunneled = world.request(&segment(SYN).bytes()).only().packet.clone();
    let long = segment(Upper::Tcp(TcpFlags::ACK)).filled(1360).bytes();
    assert_eq!(world.request(&long).only().packet[9], 4, "it fits as far as is known");
    world.reply(&needs_fragmentation(&tunneled));
    let told = world.request(&long);
    assert_eq!(told.only().packet[20..22], [3, 4]);
    assert_eq!(told.only().packet[26..28], 1380u16.to_be_bytes());
}

#[test]
fn a_reset_repeats_as_many_options_as_there_can_be() {
    let mut world = World::new();
    world.serve(service(Protocol::UDP, VIPS[0], 53), (SERVERS[0], 53), ForwardingMethod::Masquerading);
    let mut packet = Packet::new((address(CLIENTS[0]), 40000), (address(VIPS[0]), 80), SYN).bytes();
    let mut options = [0; 40];
    // A route of nine addresses.
    options[..3].copy_from_slice(&[7, 39, 4]);
    packet.splice(20..20, options);
    packet[0] = 0x4f;
    let length = packet.len() as u16;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    set_header_checksum(&mut packet);
    let reset = world.request(&packet).only().packet.clone();
    assert_eq!((reset.len(), reset[0], reset[20]), (80, 0x4f, 7));
    assert!(TcpFlags(reset[60 + 13]).has(TcpFlags::RST));
}
