//! What is large is dealt with in portions: no call does more than it is given a budget for.

use std::net::IpAddr;

use crate::base::{Family, Port, Tick};
use crate::engine::conn::Budget;
use crate::engine::{Config, Engine, HostStack};
use crate::table::{
    Change, DestinationConfig, DestinationKey, ForwardingMethod, ServiceConfig, ServiceFlags, ServiceKey, Tunnel,
};

const SERVERS: u16 = 1000;
const PORTION: usize = 64;

fn service(mark: u32) -> ServiceKey {
    ServiceKey::Mark { family: Family::V4, mark }
}

fn server(number: u16) -> DestinationKey {
    let [high, low] = number.to_be_bytes();
    DestinationKey { address: IpAddr::from([172, 16, high, low]), port: Port(80) }
}

fn add(engine: &mut Engine, mark: u32) {
    let flags = ServiceFlags(0);
    let config = ServiceConfig { scheduler: "wrr".into(), flags, timeout: 0, netmask: u32::MAX, engine: None };
    engine.apply(Tick::ZERO, &Change::AddService { key: service(mark), config }).unwrap();
    for number in 1..=SERVERS {
        let method = ForwardingMethod::Masquerading;
        let weight = i64::from(number % 7);
        let config =
            DestinationConfig { method, weight, upper_threshold: 0, lower_threshold: 0, tunnel: Tunnel::default() };
        let change = Change::AddDestination { service: service(mark), key: server(number), config };
        engine.apply(Tick::ZERO, &change).unwrap();
    }
}

fn engine() -> Engine {
    let mut engine = Engine::new(&Config { maximum_connections: 1, seed: 1, host_stack: HostStack::Absent });
    add(&mut engine, 1);
    add(&mut engine, 2);
    engine
}

/// How many portions it takes to finish a change.
fn portions(engine: &mut Engine) -> usize {
    let mut portions = 1;
    while engine.continue_change(Tick::ZERO, &mut Budget(PORTION)) {
        engine.check_invariants();
        portions += 1;
    }
    engine.check_invariants();
    portions
}

#[test]
fn a_deleted_service_is_gone_at_once_and_its_servers_leave_in_portions() {
    let mut engine = engine();
    let delete = Change::DeleteService { key: service(1) };
    engine.begin_change(Tick::ZERO, &delete).unwrap();
    assert!(engine.service(&service(1)).is_none() && engine.service(&service(2)).is_some());
    assert_eq!(portions(&mut engine), usize::from(SERVERS).div_ceil(PORTION));
    assert_eq!(engine.service_table().trashed(usize::MAX, usize::MAX).0.len(), usize::from(SERVERS));
    // What comes next finishes what was begun.
    add(&mut engine, 1);
    engine.begin_change(Tick::ZERO, &delete).unwrap();
    add(&mut engine, 1);
    engine.check_invariants();
    assert_eq!(engine.destinations(&service(1)).len(), usize::from(SERVERS));
}

#[test]
fn everything_leaves_in_portions_and_so_does_the_trash() {
    let mut engine = engine();
    engine.begin_change(Tick::ZERO, &Change::Flush).unwrap();
    let all = 2 * usize::from(SERVERS);
    assert_eq!(portions(&mut engine), (all + 2).div_ceil(PORTION));
    assert_eq!(engine.services().count(), 0);
    let mut turns = 0;
    for minute in 1..=4 {
        let now = Tick(minute * 60_000);
        while engine.tick(now, PORTION) {
            turns += 1;
            engine.check_invariants();
        }
    }
    assert_eq!(
        engine.service_table().trashed(usize::MAX, 1),
        (Vec::new(), None),
        "looked at three times and forgotten"
    );
    assert!(turns >= 3 * (all / PORTION), "{turns} turns");
}

#[test]
fn pages_leave_nothing_out() {
    let mut engine = engine();
    let whole = engine.destinations(&service(1));
    let (mut pages, mut next) = (Vec::new(), Some(0));
    while let Some(first) = next {
        let page = engine.destinations_page(&service(1), first, 300);
        pages.extend(page.0);
        next = page.1;
    }
    assert_eq!(pages, whole);
    engine.apply(Tick::ZERO, &Change::Flush).unwrap();
    let (mut trashed, mut next) = (0, Some(usize::MAX));
    while let Some(end) = next {
        let (page, before) = engine.service_table().trashed(end, 300);
        trashed += page.len();
        next = before;
    }
    assert_eq!(trashed, 2 * usize::from(SERVERS));
}
