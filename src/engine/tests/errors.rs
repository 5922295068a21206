//! What senders are told, and what the engine is told: when there is much of it, and from whom it is taken.

use crate::base::Protocol;
use crate::table::{Change, ForwardingMethod, TunnelChecksum, TunnelKind};
use crate::wire::ip::set_header_checksum;
use crate::wire::transport::TcpFlags;

use super::packet::{Packet, SYN, Upper, icmp};
use super::world::{World, address, server_key, service, service_config, tunneling};

/// A virtual address that the host does not have, so that the engine speaks for it.
const VIPS: [&str; 2] = ["192.168.0.1", "fd98::9"];
const CLIENTS: [&str; 2] = ["10.0.0.2", "fd00::2"];
const SERVERS: [&str; 2] = ["172.16.0.11", "fd01::11"];

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
