//! What senders are told, and what the engine is told: when there is much of it, and from whom it is taken.

use crate::base::Protocol;
use crate::table::ForwardingMethod;
use crate::wire::ip::set_header_checksum;
use crate::wire::transport::TcpFlags;

use super::packet::{Packet, SYN};
use super::world::{World, address, service};

/// A virtual address that the host does not have, so that the engine speaks for it.
const VIPS: [&str; 2] = ["192.168.0.1", "fd98::9"];
const CLIENTS: [&str; 2] = ["10.0.0.2", "fd00::2"];
const SERVERS: [&str; 2] = ["172.16.0.11", "fd01::11"];

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
