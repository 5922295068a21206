//! What `drop_entry` takes out of a small table and what it leaves; that the look at a large one
//! is cut in slices; and how the modes follow the room that there is.

use crate::base::Protocol;
use crate::engine::{Config, Engine, HostStack, Verdict};
use crate::table::{Change, ForwardingMethod, ServiceFlags, Timeouts};

use super::packet::{ACK, Packet, SYN, Upper};
use super::world::{World, address, service, service_config};

const VIP: &str = "10.9.9.9";
const SERVER: &str = "172.16.0.11";

fn packet(client: u16, port: u16, upper: Upper) -> Vec<u8> {
    Packet::new((address("10.0.0.2"), client), (address(VIP), port), upper).bytes()
}

/// A table of 64 chains, with a TCP and a UDP service whose connections last long.
fn world() -> World {
    let mut world = World::with(64, HostStack::Absent, 1500);
    world.serve(service(Protocol::TCP, VIP, 80), (SERVER, 80), ForwardingMethod::DirectRouting);
    world.serve(service(Protocol::UDP, VIP, 53), (SERVER, 53), ForwardingMethod::DirectRouting);
    world.apply(Change::SetTimeouts { timeouts: Timeouts { tcp: 9000, tcp_fin: 0, udp: 9000 } });
    world
}

fn entries(world: &World) -> usize {
    world.engine.connection_table().len()
}

#[test]
fn half_open_connections_go_and_those_of_many_packets_stay() {
    let mut world = world();
    for client in 0..40 {
        world.request(&packet(40000 + client, 80, SYN));
    }
    for client in 0..10 {
        world.request(&packet(41000 + client, 80, SYN));
        for _ in 0..9 {
            world.request(&packet(41000 + client, 80, ACK));
        }
    }
    world.set("drop_entry", 3);
    world.pass(50_000);
    let (left, dropped) = (entries(&world), world.engine.dropped_entries());
    assert!((10..50).contains(&left), "{left} of 50 are left after 50 seconds");
    assert_eq!(dropped, 50 - left as u64);
    world.engine.connection_table().check_invariants();
    world.pass(3_000_000);
    assert_eq!(entries(&world), 10, "established, and of more than eight packets");
}

#[test]
fn the_idle_go_after_a_minute_and_nothing_goes_without_the_setting() {
    let mut world = world();
    for client in 0..30 {
        world.request(&packet(40000 + client, 53, Upper::Udp));
    }
    world.pass(300_000);
    assert_eq!(entries(&world), 30);
    for client in 0..30 {
        world.request(&packet(40000 + client, 53, Upper::Udp));
    }
    world.set("drop_entry", 3);
    world.pass(59_000);
    assert_eq!((entries(&world), world.engine.dropped_entries()), (30, 0));
    world.pass(2_000_000);
    // Of two packets each: every second one that is looked at is spared, once.
    assert_eq!((entries(&world), world.engine.dropped_entries()), (0, 30));
    let key = service(Protocol::UDP, VIP, 53);
    assert_eq!(world.engine.destinations(&key)[0].inactive, 0);
}

#[test]
fn a_template_goes_with_the_last_that_it_controls_unless_it_is_assured() {
    let mut world = world();
    let key = service(Protocol::TCP, VIP, 80);
    let config = crate::table::ServiceConfig {
        flags: ServiceFlags(ServiceFlags::PERSISTENT),
        timeout: 9000,
        ..service_config(&key)
    };
    world.apply(Change::EditService { key, config });
    world.request(&packet(40000, 80, SYN));
    assert_eq!(entries(&world), 2, "the connection and its template");
    world.set("drop_entry", 3);
    world.pass(5_000_000);
    assert_eq!(entries(&world), 0);
    world.request(&packet(40001, 80, SYN));
    for _ in 0..9 {
        world.request(&packet(40001, 80, ACK));
    }
    world.pass(5_000_000);
    assert_eq!(entries(&world), 2, "both are still there");
}

#[test]
fn a_large_table_is_looked_at_in_slices() {
    let mut engine = Engine::new(&Config { maximum_connections: 1 << 20, seed: 1, host_stack: HostStack::Absent });
    let now = crate::base::Tick(1000);
    engine.apply(now, &Change::SetSetting { name: "drop_entry".into(), value: "3".into() }).unwrap();
    let mut turns = 1;
    while engine.tick(now, 64) {
        turns += 1;
    }
    // 32768 of a million chains, 512 a turn.
    assert_eq!(turns, 64);
    assert!(!engine.tick(now + 999, 64), "a second has not passed");
    assert!(engine.tick(now + 1000, 64));
}

#[test]
fn short_memory_is_noticed_within_a_second_and_read_back() {
    let mut world = world();
    // Two pages of 32 places, of which less than two are free with one connection.
    world.set("amemthresh", 2);
    world.set("drop_packet", 1);
    assert_eq!(world.engine.defence_modes(), [0, 1, 0]);
    world.request(&packet(40000, 53, Upper::Udp));
    world.pass(1_000);
    assert_eq!(world.engine.defence_modes(), [0, 2, 0]);
    // 2 / (2 - 1): every second attempt.
    let verdicts: Vec<bool> = (0..4)
        .map(|client| matches!(world.request(&packet(41000 + client, 53, Upper::Udp)).verdict, Verdict::Drop(_)))
        .collect();
    assert_eq!(verdicts, [false, true, false, true]);
    world.set("amemthresh", 0);
    world.pass(1_000);
    assert_eq!(world.engine.defence_modes(), [0, 1, 0]);
}
