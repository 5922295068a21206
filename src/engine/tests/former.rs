//! Connections that outlive their destination, beside a kernel that is kept from them.

use crate::base::Protocol;
use crate::engine::{DropReason, HostStack, PassReason, Verdict};
use crate::table::{Change, DestinationConfig, ForwardingMethod, ServiceKey};

use super::packet::{ACK, Packet, SYN, Upper, ends};
use super::world::{World, address, destination_config, server_key, service};

const VIP: (&str, u16) = ("10.9.9.9", 80);
const SERVER: (&str, u16) = ("172.16.0.11", 8080);
const CLIENT: (&str, u16) = ("10.0.0.2", 40000);

fn packet(from: (&str, u16), to: (&str, u16), upper: Upper) -> Vec<u8> {
    Packet::new((address(from.0), from.1), (address(to.0), to.1), upper).bytes()
}

fn web() -> ServiceKey {
    service(Protocol::TCP, VIP.0, VIP.1)
}

/// With a connection, at an address of the host's, and another service that stays.
fn connected() -> World {
    let mut world = World::with(64, HostStack::Beside, 1500);
    world.serve(service(Protocol::UDP, "10.0.0.1", 53), ("172.16.0.12", 53), ForwardingMethod::Masquerading);
    world.serve(web(), SERVER, ForwardingMethod::Masquerading);
    assert!(matches!(world.request(&packet(CLIENT, VIP, SYN)).verdict, Verdict::Transmit(_)));
    world
}

#[track_caller]
fn check(world: &mut World) {
    let key = (web(), server_key(SERVER.0, SERVER.1));
    assert!(world.engine.service_table().is_outlived(&key));
    let reply = world.reply(&packet(SERVER, CLIENT, Upper::Tcp(0x12)));
    assert_eq!(ends(&reply.only().packet), ((address(VIP.0), VIP.1), (address(CLIENT.0), CLIENT.1)));
    // What else the server sends is kept from the kernel as well, and so is ours to forward.
    let other = packet(SERVER, ("10.0.0.3", 4), ACK);
    assert_eq!(ends(&world.reply(&other).only().packet).0, (address(SERVER.0), SERVER.1));
    let forget = Change::ForgetFormer { destinations: vec![key] };
    world.apply(forget);
    assert_eq!(world.reply(&other).verdict, Verdict::Pass(PassReason::NotVirtual));
    world.pass(1_000_000);
    assert!(!world.engine.service_table().is_outlived(&key));
    world.engine.check_invariants();
}

#[test]
fn a_deleted_servers_connection_is_translated_and_the_kernel_kept_from_it() {
    let mut world = connected();
    world.apply(Change::DeleteDestination { service: web(), key: server_key(SERVER.0, SERVER.1) });
    assert_eq!(world.request(&packet(CLIENT, VIP, ACK)).verdict, Verdict::Drop(DropReason::DestinationGone));
    check(&mut world);
}

#[test]
fn a_connection_that_began_by_nat_goes_on_whatever_its_servers_method_is_by_now() {
    let mut world = connected();
    let config = DestinationConfig { method: ForwardingMethod::DirectRouting, ..destination_config() };
    world.apply(Change::EditDestination { service: web(), key: server_key(SERVER.0, SERVER.1), config });
    // One that is not masqueraded does not count.
    world.request(&packet(("10.0.0.2", 40001), VIP, SYN));
    check(&mut world);
}

#[test]
fn a_deleted_services_client_is_not_reset_and_others_are_refused_as_its_host_would() {
    let mut world = connected();
    world.apply(Change::DeleteService { key: web() });
    assert_eq!(world.request(&packet(CLIENT, VIP, ACK)).verdict, Verdict::Drop(DropReason::DestinationGone));
    let other = packet(("10.0.0.2", 40001), VIP, SYN);
    let refused = world.request(&other);
    assert_eq!(ends(&refused.only().packet), ((address(VIP.0), VIP.1), (address("10.0.0.2"), 40001)));
    check(&mut world);
    assert_eq!(world.request(&other).verdict, Verdict::Pass(PassReason::NotVirtual));
}
