//! Engines that share the clients: a destination's thresholds are for the connections of all of them.

use std::sync::Arc;

use crate::base::Protocol;
use crate::engine::server::Crowd;
use crate::table::{Change, DestinationConfig, DestinationKey, ForwardingMethod, ServiceKey};

use super::packet::{Packet, Upper};
use super::world::{ETH1, World, address, destination_config, server_key, service, service_config};

const UPPER: u32 = 4;
const LOWER: u32 = 2;

fn the_service() -> ServiceKey {
    service(Protocol::UDP, "192.168.0.1", 53)
}

fn the_server() -> DestinationKey {
    server_key("172.16.0.2", 53)
}

fn config() -> DestinationConfig {
    DestinationConfig { upper_threshold: UPPER, lower_threshold: LOWER, ..destination_config() }
}

/// Engines with the same service and server, whose connections are counted together from `joined` on.
fn engines(count: usize) -> Vec<World> {
    let mut worlds: Vec<World> = (0..count).map(|_| World::new()).collect();
    for world in &mut worlds {
        world.serve(the_service(), ("172.16.0.2", 53), ForwardingMethod::Masquerading);
        world.apply(Change::EditDestination { service: the_service(), key: the_server(), config: config() });
    }
    worlds
}

fn join(worlds: &mut [World], crowd: &Arc<Crowd>) {
    for world in worlds {
        world.engine.join_crowd(&the_service(), &the_server(), crowd.clone());
    }
}

/// Whether a client at this port finds a server.
fn serves(world: &mut World, port: u16) -> bool {
    let ends = ((address("10.0.0.9"), port), (address("192.168.0.1"), 53));
    let outcome = world.request(&Packet::new(ends.0, ends.1, Upper::Udp).bytes());
    outcome.sent.iter().any(|sent| sent.egress.link == ETH1)
}

#[test]
fn thresholds_are_for_the_connections_of_all() {
    let mut worlds = engines(2);
    join(&mut worlds, &Arc::default());
    let [one, other] = &mut worlds[..] else { unreachable!() };
    assert!((1..=3).all(|port| serves(one, port)));
    assert!(serves(other, 1), "the fourth");
    assert!(!serves(other, 2) && !serves(one, 4), "there are four");
    assert!(serves(one, 1) && serves(other, 1), "who has a connection keeps it");
    // Three end, and one is left: fewer than the lower threshold.
    one.pass(600_000);
    assert!(serves(other, 2) && serves(one, 4));
    assert!(serves(one, 5), "the fourth again");
    assert!(!serves(one, 6) && !serves(other, 6));
}

#[test]
fn between_the_thresholds_all_agree() {
    let mut worlds = engines(3);
    join(&mut worlds, &Arc::default());
    assert!((0..3).all(|index| serves(&mut worlds[index], 1)));
    assert!(serves(&mut worlds[0], 2));
    // Two of four end: not below the lower threshold.
    worlds[0].pass(600_000);
    assert!(
        worlds.iter_mut().all(|world| !serves(world, 7)),
        "it stays overloaded, also for those that did not see it"
    );
    worlds[1].pass(600_000);
    assert!(worlds.iter_mut().all(|world| serves(world, 7)));
}

#[test]
fn connections_from_before_count_too() {
    let mut worlds = engines(2);
    assert!((1..=3).all(|port| worlds.iter_mut().all(|world| serves(world, port))), "each for itself");
    join(&mut worlds, &Arc::default());
    assert!(worlds.iter_mut().all(|world| !serves(world, 4)), "six are more than four");
    // Joined again, nothing is counted twice.
    let [one, other] = &mut worlds[..] else { unreachable!() };
    join(std::slice::from_mut(one), &Arc::default());
    one.pass(600_000);
    other.pass(600_000);
    assert!((11..15).all(|port| serves(one, port)) && !serves(other, 15));
}

#[test]
fn one_that_comes_back_to_a_new_service_hears_of_the_others_too() {
    let mut worlds = engines(2);
    join(&mut worlds, &Arc::default());
    for world in &mut worlds {
        world.apply(Change::DeleteService { key: the_service() });
        world.apply(Change::AddService { key: the_service(), config: service_config(&the_service()) });
        let add = Change::AddDestination { service: the_service(), key: the_server(), config: config() };
        world.apply(add);
        world.engine.check_invariants();
    }
    let [one, other] = &mut worlds[..] else { unreachable!() };
    assert!((1..=4).all(|port| serves(one, port)));
    assert!(!serves(other, 1), "it has not joined again, and knows nevertheless");
}

#[test]
fn one_that_comes_back_is_counted_as_before() {
    let mut worlds = engines(2);
    let crowd = Arc::default();
    join(&mut worlds, &crowd);
    assert!((1..=4).all(|port| serves(&mut worlds[0], port)));
    for world in &mut worlds {
        world.apply(Change::DeleteDestination { service: the_service(), key: the_server() });
        world.apply(Change::AddDestination { service: the_service(), key: the_server(), config: config() });
    }
    join(&mut worlds, &crowd);
    assert!(worlds.iter_mut().all(|world| !serves(world, 9)));
    // Without thresholds it takes everybody.
    for world in &mut worlds {
        world.apply(Change::EditDestination {
            service: the_service(),
            key: the_server(),
            config: destination_config(),
        });
        assert!(serves(world, 9));
    }
}
