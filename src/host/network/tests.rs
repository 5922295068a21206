//! The watcher against real kernels, each in a namespace of its own.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use super::*;
use crate::base::{Address, Family};
use crate::host::neighbour::KernelState;
use crate::host::testing::{Namespace, eventually, namespaces};
use crate::table::{Flow, RouteKind};

type Shared = Arc<Mutex<Watcher>>;

fn watcher(inside: &Namespace) -> Shared {
    inside.run(|| Arc::new(Mutex::new(Watcher::open().unwrap())))
}

fn read(watcher: &Shared, serving: &Serving) -> View {
    watcher.lock().unwrap().read(serving).unwrap()
}

fn address(text: &str) -> Address {
    Address::from(text.parse::<IpAddr>().unwrap())
}

#[test]
fn links_addresses_and_routes_are_read_as_the_kernel_has_them() {
    let Some([here, there]) = namespaces() else { return };
    here.wire("left", &there, "peer0");
    here.wire("right", &there, "peer1");
    for command in [
        "addr add 10.1.0.1/24 dev left",
        "addr add 10.2.0.1/24 dev right",
        "addr add 10.99.0.7/32 dev lo",
        "addr add fd01::1/64 dev left nodad",
        "link add spare type veth peer name spare1",
        "link set right mtu 1400",
        "route add default via 10.1.0.254 metric 200",
        "route add default via 10.2.0.254 metric 100",
        "route add 192.0.2.0/24 nexthop via 10.2.0.8 nexthop via 10.1.0.8",
        "route add 198.51.100.0/24 via 10.1.0.9 mtu 1300 src 10.99.0.7",
        "route add 198.51.100.64/26 via 10.2.0.9 mtu 1200 congctl reno",
        "route add blackhole 203.0.113.0/24",
        "route add 198.18.0.0/15 via 10.1.0.9 table 77",
        "-6 route add default via fd01::fe",
    ] {
        here.ip(command);
    }
    let watcher = watcher(&here);
    let virtual_mac = "00:00:5e:00:01:07".parse().unwrap();
    let view = read(&watcher, &Serving { links: LinkChoice::AllEthernet, virtual_mac: Some(virtual_mac) });

    let names: Vec<&str> = view.served.iter().map(|&id| view.network.link(id).unwrap().name.as_str()).collect();
    assert_eq!(names, ["left", "right"]);
    let link = |name: &str| view.network.links().iter().find(|link| link.name == name).unwrap();
    assert_eq!(link("right").mtu, 1400);
    assert_eq!(link("left").virtual_mac, Some(virtual_mac));
    assert_eq!(link("lo").virtual_mac, None);
    assert!(!link("spare").up);

    let hop = |text: &str| {
        let family = Family::of(&text.parse().unwrap());
        view.network.next_hop(family, address(text)).map(|hop| {
            let name = view.network.link(hop.link).unwrap().name.clone();
            (hop.kind, name, hop.address.to_ip(family).to_string(), hop.source.to_ip(family).to_string(), hop.mtu)
        })
    };
    let unicast = |link: &str, via: &str, source: &str, mtu: u32| {
        Some((RouteKind::Unicast, link.to_owned(), via.to_owned(), source.to_owned(), mtu))
    };
    assert_eq!(hop("8.8.8.8"), unicast("right", "10.2.0.254", "10.2.0.1", 1400));
    assert_eq!(hop("10.1.0.77"), unicast("left", "10.1.0.77", "10.1.0.1", 1500));
    assert_eq!(hop("192.0.2.5"), unicast("right", "10.2.0.8", "10.2.0.1", 1400));
    assert_eq!(hop("198.51.100.5"), unicast("left", "10.1.0.9", "10.99.0.7", 1300));
    assert_eq!(hop("198.51.100.65"), unicast("right", "10.2.0.9", "10.2.0.1", 1200));
    assert_eq!(hop("198.18.0.1"), unicast("right", "10.2.0.254", "10.2.0.1", 1400));
    assert_eq!(hop("2001:db8::1"), unicast("left", "fd01::fe", "fd01::1", 1500));
    assert_eq!(hop("203.0.113.9"), None);
    assert_eq!(hop("10.99.0.7").map(|hop| hop.0), Some(RouteKind::Local));
    assert_eq!(hop("127.8.8.8").map(|hop| hop.0), Some(RouteKind::Local));
    assert_eq!(hop("10.1.0.255").map(|hop| hop.0), Some(RouteKind::Broadcast));
    assert!(view.network.is_local(Family::V6, address("fd01::1")));
}

#[test]
fn rules_are_followed_as_the_kernel_follows_them() {
    let Some([here, there]) = namespaces() else { return };
    here.wire("left", &there, "peer0");
    here.wire("right", &there, "peer1");
    for command in [
        "addr add 10.1.0.1/24 dev left",
        "addr add 10.2.0.1/24 dev right",
        "addr add 10.9.9.9/32 dev lo",
        "addr add fd02::1/64 dev right nodad",
        "addr add fd99::9/128 dev lo nodad",
        "route add default via 10.1.0.254",
        "route add default via 10.2.0.254 table 50",
        "route add 192.0.2.0/24 via 10.2.0.8 table 1000",
        "-6 route add default via fd02::fe table 50",
    ] {
        here.ip(command);
    }
    let watcher = watcher(&here);
    assert!(!read(&watcher, &Serving::default()).network.has_policy(Family::V4));
    watcher.lock().unwrap().drain().unwrap();

    if here.try_command("ip", "rule add from 10.9.9.9 lookup 50").is_err() {
        println!("skipped: this kernel has no policy routing");
        return;
    }
    eventually("a rule is told of", || watcher.lock().unwrap().drain().unwrap().network);
    for command in [
        "rule add to 192.0.2.0/25 lookup 1000",
        "rule add from 10.9.9.8 prohibit",
        "rule add from 10.9.9.7 iif left lookup 50",
        "rule add from 10.9.9.6 ipproto tcp sport 80 lookup 50",
        "rule add fwmark 7 lookup 50",
        "rule add from 10.9.9.4 lookup 220",
        "route add default via 10.2.0.254 table 220",
        "route add throw 203.0.113.0/24 table 220",
        "route add default via 10.2.0.254 tos 0x10",
        "-6 rule add from fd99::9 lookup 50",
    ] {
        here.ip(command);
    }
    let network = read(&watcher, &Serving::default()).network;
    let link = |name: &str| network.links().iter().find(|link| link.name == name).unwrap().id;
    let flow = |from: &str, to: &str| Flow::between(Family::of(&from.parse().unwrap()), address(from), address(to));
    let way = |flow: Flow| network.next_hop_of(&flow).map(|hop| hop.address.to_ip(flow.family).to_string());
    let rows = [
        (flow("10.9.9.9", "8.8.8.8"), Some("10.2.0.254")),
        (flow("10.9.9.9", "10.1.0.7"), Some("10.2.0.254")),
        (flow("10.9.9.9", "10.1.0.1"), Some("10.1.0.1")),
        (flow("10.9.9.5", "8.8.8.8"), Some("10.1.0.254")),
        (flow("10.9.9.5", "192.0.2.9"), Some("10.2.0.8")),
        (flow("10.9.9.5", "192.0.2.200"), Some("10.1.0.254")),
        (flow("10.9.9.8", "8.8.8.8"), None),
        (flow("10.9.9.7", "8.8.8.8"), Some("10.1.0.254")),
        (Flow { incoming: Some(link("left")), ..flow("10.9.9.7", "8.8.8.8") }, Some("10.2.0.254")),
        (flow("10.9.9.6", "8.8.8.8"), Some("10.1.0.254")),
        (flow("0.0.0.0", "8.8.8.8"), Some("10.1.0.254")),
        (flow("10.9.9.4", "8.8.8.8"), Some("10.2.0.254")),
        (flow("10.9.9.4", "203.0.113.9"), Some("10.1.0.254")),
        (flow("fd99::9", "2001:db8::1"), Some("fd02::fe")),
        (flow("fd99::8", "2001:db8::1"), None),
    ];
    for (flow, expected) in rows {
        assert_eq!(way(flow).as_deref(), expected, "{flow:?}");
    }
    assert!(network.is_barred(&flow("10.9.9.8", "8.8.8.8")));
    assert!(!network.is_barred(&flow("fd99::8", "2001:db8::1")));

    let mut told = false;
    here.ip("rule del from 10.9.9.9 lookup 50");
    eventually("a rule's end is told of", || {
        told |= watcher.lock().unwrap().drain().unwrap().network;
        told
    });
    let network = read(&watcher, &Serving::default()).network;
    let hop = network.next_hop_of(&flow("10.9.9.9", "8.8.8.8")).unwrap();
    assert_eq!(hop.address, address("10.1.0.254"));
}

#[test]
fn a_route_that_throws_sends_the_search_on_to_the_next_table() {
    let Some([here, there]) = namespaces() else { return };
    here.wire("left", &there, "peer0");
    for command in [
        "addr add 10.1.0.1/24 dev left",
        "route add throw 192.0.2.0/24",
        "route add default via 10.1.0.254 table default",
        "route add 198.51.100.0/24 via 10.1.0.253",
    ] {
        here.ip(command);
    }
    let network = read(&watcher(&here), &Serving::default()).network;
    let way = |to: &str| network.next_hop(Family::V4, address(to)).map(|hop| hop.address);
    assert_eq!(way("198.51.100.9"), Some(address("10.1.0.253")));
    // Without policy routing the tables are one, and there is no next rule.
    assert_eq!(way("192.0.2.9"), network.has_policy(Family::V4).then(|| address("10.1.0.254")));
}

#[test]
fn a_queueing_discipline_is_noticed() {
    let Some([here, there]) = namespaces() else { return };
    here.wire("left", &there, "peer0");
    let watcher = watcher(&here);
    let view = read(&watcher, &Serving::default());
    assert_eq!(view.queueless.iter().copied().collect::<Vec<_>>(), view.served);
    watcher.lock().unwrap().drain().unwrap();
    if here.try_command("tc", "qdisc add dev left root pfifo limit 100").is_err() {
        println!("skipped: no queueing discipline can be added here");
        return;
    }
    eventually("the discipline is told of", || watcher.lock().unwrap().drain().unwrap().network);
    assert!(read(&watcher, &Serving::default()).queueless.is_empty());
}

#[test]
fn a_routes_end_with_its_next_hop_object_is_noticed() {
    let Some([here, there]) = namespaces() else { return };
    // Duplicate address detection would announce addresses at moments of its own.
    here.sysctl("net.ipv6.conf.all.disable_ipv6", "1");
    here.sysctl("net.ipv6.conf.default.disable_ipv6", "1");
    here.wire("left", &there, "peer0");
    here.ip("addr add 10.1.0.1/24 dev left");
    if here.try_command("ip", "nexthop add id 1 via 10.1.0.8 dev left").is_err() {
        println!("skipped: this kernel has no next-hop objects");
        return;
    }
    here.ip("nexthop add id 2 via 10.1.0.9 dev left");
    here.ip("nexthop add id 3 group 1/2");
    here.ip("route add 192.0.2.0/24 nhid 1");
    here.ip("route add 198.51.100.0/24 nhid 3");
    let watcher = watcher(&here);
    let way = |to: &str| {
        let network = read(&watcher, &Serving::default()).network;
        network.next_hop(Family::V4, address(to)).map(|hop| hop.address)
    };
    assert_eq!(["192.0.2.9", "198.51.100.9"].map(way), [Some(address("10.1.0.8")); 2]);
    watcher.lock().unwrap().drain().unwrap();
    here.ip("nexthop del id 1");
    eventually("the next-hop object's end is told of", || watcher.lock().unwrap().drain().unwrap().network);
    assert_eq!(["192.0.2.9", "198.51.100.9"].map(way), [None, Some(address("10.1.0.9"))]);
}

#[test]
fn settings_that_decide_what_the_kernel_does_with_packets_are_noticed() {
    let Some([here, there]) = namespaces() else { return };
    here.wire("left", &there, "peer0");
    let watcher = watcher(&here);
    watcher.lock().unwrap().drain().unwrap();
    for (setting, value) in
        [("ipv4.conf.all.rp_filter", "1"), ("ipv4.ip_forward", "1"), ("ipv6.conf.all.forwarding", "1")]
    {
        assert!(!watcher.lock().unwrap().drain().unwrap().network);
        here.sysctl(&format!("net.{setting}"), value);
        let mut told = false;
        eventually(setting, || {
            told |= watcher.lock().unwrap().drain().unwrap().network;
            told
        });
        // What else the kernel tells of the same change has come by now: it tells while the setting is written.
        watcher.lock().unwrap().drain().unwrap();
    }
}

#[test]
fn named_links_are_served_and_missing_ones_named() {
    let Some([here, there]) = namespaces() else { return };
    here.wire("left", &there, "peer0");
    let watcher = watcher(&here);
    let serving = Serving { links: LinkChoice::Named(vec!["left".into(), "nosuch".into()]), ..Serving::default() };
    let view = read(&watcher, &serving);
    assert_eq!(view.served.len(), 1);
    assert_eq!(view.missing, ["nosuch"]);
}

#[test]
fn the_ports_of_a_bridge_are_left_to_the_bridge() {
    let Some([here, there]) = namespaces() else { return };
    here.wire("left", &there, "peer0");
    if here.try_command("ip", "link add br0 type bridge").is_err() {
        println!("skipped: this kernel has no bridges");
        return;
    }
    here.ip("link set left master br0");
    here.ip("link set br0 up");
    let watcher = watcher(&here);
    let view = read(&watcher, &Serving::default());
    let names: Vec<&str> = view.served.iter().map(|&id| view.network.link(id).unwrap().name.as_str()).collect();
    assert_eq!(names, ["br0"]);
    let carriers: Vec<&str> = view.carriers.iter().map(|&id| view.network.link(id).unwrap().name.as_str()).collect();
    assert_eq!(carriers, ["left"]);
}

#[test]
fn links_that_carry_others_are_known() {
    let Some([here, there]) = namespaces() else { return };
    here.wire("left", &there, "peer0");
    here.wire("right", &there, "peer1");
    let carriers = |view: &View| -> Vec<String> {
        view.carriers.iter().map(|&id| view.network.link(id).unwrap().name.clone()).collect()
    };
    let watcher = watcher(&here);
    assert!(carriers(&read(&watcher, &Serving::default())).is_empty());
    for kind in ["vlan id 5", "macvlan", "ipvlan"] {
        if here.try_command("ip", &format!("link add link left name above type {kind}")).is_err() {
            println!("skipped: this kernel has no {kind}");
            continue;
        }
        assert_eq!(carriers(&read(&watcher, &Serving::default())), ["left"], "{kind}");
        here.ip("link delete above");
    }
}

#[test]
fn changes_are_told_by_kind_and_ids_last() {
    let Some([here, there]) = namespaces() else { return };
    // Duplicate address detection would announce addresses at moments of its own.
    here.sysctl("net.ipv6.conf.all.disable_ipv6", "1");
    here.sysctl("net.ipv6.conf.default.disable_ipv6", "1");
    here.wire("left", &there, "peer0");
    let watcher = watcher(&here);
    let before = read(&watcher, &Serving::default());
    let id = before.served[0];
    watcher.lock().unwrap().drain().unwrap();
    let changed = |what: &str| {
        eventually(what, || watcher.lock().unwrap().drain().unwrap().network);
    };

    here.ip("addr add 10.1.0.1/24 dev left");
    changed("the new address is announced");
    here.ip("route add 192.0.2.0/24 via 10.1.0.9");
    changed("the new route is announced");
    here.ip("link add extra type veth peer name extra1");
    changed("the new link is announced");
    here.ip("link set extra up");
    let after = read(&watcher, &Serving::default());
    assert_eq!(after.served.len(), 2);
    assert_eq!(after.served[0], id);
    assert_eq!(after.network.link(id).unwrap().name, "left");
    here.ip("link del extra");
    changed("the gone link is announced");
    assert_eq!(read(&watcher, &Serving::default()).served, [id]);

    // Rules may lead to another table. Whatever came before is taken in first.
    watcher.lock().unwrap().drain().unwrap();
    here.ip("route add 198.18.0.0/15 via 10.1.0.9 table 77");
    changed("another table's route is announced");
    here.ip("neigh add 10.1.0.5 lladdr 02:00:00:00:00:05 dev left nud permanent");
    let mut events = Vec::new();
    eventually("the neighbour is announced", || {
        let changes = watcher.lock().unwrap().drain().unwrap();
        assert!(!changes.network);
        events.extend(changes.neighbours);
        !events.is_empty()
    });
    let mac = "02:00:00:00:00:05".parse().unwrap();
    let entry = NeighbourEvent { link: id, address: "10.1.0.5".parse().unwrap(), state: KernelState::Permanent(mac) };
    assert_eq!(events, [entry]);
    assert!(watcher.lock().unwrap().neighbours().unwrap().contains(&entry));
    here.ip("neigh del 10.1.0.5 dev left");
    let mut last = None;
    eventually("its end is announced", || {
        last = watcher.lock().unwrap().drain().unwrap().neighbours.pop().or(last);
        last == Some(NeighbourEvent { state: KernelState::Unusable, ..entry })
    });
}

#[test]
fn reading_and_following_need_no_capability() {
    let Some([here, there]) = namespaces() else { return };
    here.wire("left", &there, "peer0");
    let served = here.run(|| {
        crate::host::sys::keep_capabilities(0).unwrap();
        let mut watcher = Watcher::open().unwrap();
        watcher.neighbours().unwrap();
        watcher.drain().unwrap();
        watcher.read(&Serving::default()).unwrap().served.len()
    });
    assert_eq!(served, 1);
}

#[test]
fn lost_notifications_are_noticed() {
    let Some([here]) = namespaces() else { return };
    here.ip("link add extra type veth peer name extra1");
    here.ip("link set extra up");
    let watcher = watcher(&here);
    let batch: String = (0..8000)
        .map(|round| {
            let (host, mac) = (round % 200, round / 200);
            format!("neigh replace 10.7.0.{host} lladdr 02:00:00:00:00:{mac:02x} dev extra\n")
        })
        .collect();
    let file = std::env::temp_dir().join(format!("ulvs-host-{}-neighbours", std::process::id()));
    std::fs::write(&file, batch).unwrap();
    let outcome = here.try_command("ip", &format!("-batch {}", file.display()));
    std::fs::remove_file(&file).unwrap();
    outcome.unwrap();
    let changes = watcher.lock().unwrap().drain().unwrap();
    assert!(changes.lost && changes.network && changes.neighbours.is_empty());
    assert!(!watcher.lock().unwrap().drain().unwrap().lost);
}
