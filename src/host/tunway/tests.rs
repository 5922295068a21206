//! The kernel is asked where it would route what.

use super::*;
use crate::host::netlink::{Received, Subscription};
use crate::host::testing::{Namespace, namespaces};

/// A director between `front` (10.0.0.1) and `back` (172.16.0.1), forwarding, with a persistent
/// TUN device; its peers are only there to have links up.
fn director() -> Option<[Namespace; 2]> {
    let [director, peer] = namespaces()?;
    if let Err(why) = director.try_command("ip", "tuntap add dev ulvs0 mode tun") {
        println!("skipped: {why}");
        return None;
    }
    director.wire("front", &peer, "eth0");
    director.wire("back", &peer, "eth1");
    director.be_router();
    // The strictest setting there is: the way through the device must pass it.
    for interface in ["all", "front", "back"] {
        director.sysctl(&format!("net.ipv4.conf.{interface}.rp_filter"), "1");
    }
    Some([director, peer])
}

/// The multicast groups of what a way consists of.
const GROUPS: [u32; 6] = [
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV6_ROUTE,
    libc::RTNLGRP_IPV4_RULE,
    libc::RTNLGRP_IPV6_RULE,
];

fn open(director: &Namespace) -> TunWay {
    director.run(|| TunWay::open("ulvs0", Side::Transit).unwrap())
}

/// Has `way` lead these into the device; its settings are those of the thread's namespace.
fn update(director: &Namespace, mut way: TunWay, vips: HashSet<Prefix>, real_servers: BTreeSet<Endpoint>) -> TunWay {
    director.run(move || {
        way.update(&vips, &real_servers).unwrap();
        way
    })
}

fn endpoint(address: &str, protocol: Protocol, port: u16) -> Endpoint {
    Endpoint { address: address.parse().unwrap(), protocol, port: Port(port) }
}

/// The interface that the kernel routes to.
fn device(director: &Namespace, question: &str) -> String {
    let answer = director.ip(&format!("route get {question}"));
    let mut words = answer.split_whitespace();
    words.find(|word| *word == "dev").and_then(|_| words.next()).unwrap_or_default().to_owned()
}

fn state(director: &Namespace) -> String {
    ["rule", "-6 rule", "route show table all", "-6 route show table all", "-oneline address"]
        .map(|what| director.ip(what))
        .concat()
        .lines()
        .filter(|line| line.contains("ulvs0") || line.contains("118"))
        .filter(|line| !line.contains("proto kernel") && !line.contains("fe80::"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn requests_and_replies_are_led_into_the_device_and_the_rest_is_not() {
    let Some([director, _peer]) = director() else { return };
    let way = open(&director);
    let vips: HashSet<Prefix> =
        ["10.9.9.9", "10.8.0.0/16", "fd09::9"].iter().map(|text| text.parse().unwrap()).collect();
    let real_servers = [
        endpoint("172.16.0.2", Protocol::TCP, 80),
        endpoint("172.16.0.3", Protocol::UDP, 0),
        endpoint("fd0b::2", Protocol::TCP, 80),
    ]
    .into();
    let way = update(&director, way, vips, real_servers);
    let from = |source: &str, rest: &str| format!("10.0.0.2 from {source} iif back {rest}");
    let rows = [
        ("10.9.9.9".to_owned(), "ulvs0"),
        ("10.8.3.4".to_owned(), "ulvs0"),
        ("fd09::9".to_owned(), "ulvs0"),
        ("10.9.9.9 from 10.0.0.2 iif front".to_owned(), "ulvs0"),
        (from("172.16.0.2", "ipproto tcp sport 80 dport 4000"), "ulvs0"),
        (from("172.16.0.2", "ipproto tcp sport 81 dport 4000"), "front"),
        (from("172.16.0.2", "ipproto udp sport 80 dport 4000"), "front"),
        (from("172.16.0.2", "ipproto icmp"), "ulvs0"),
        (from("172.16.0.3", "ipproto udp sport 5 dport 4000"), "ulvs0"),
        (from("172.16.0.4", "ipproto tcp sport 80 dport 4000"), "front"),
        ("fd0a::2 from fd0b::2 iif back ipproto tcp sport 80 dport 4000".to_owned(), "ulvs0"),
        ("fd0a::2 from fd0b::2 iif back ipproto tcp sport 81 dport 4000".to_owned(), "front"),
        // What the director itself sends on, or back, does not come round again.
        ("172.16.0.2 from 10.0.0.2 iif ulvs0".to_owned(), "back"),
        ("10.0.0.2 from 10.9.9.9 iif ulvs0 ipproto tcp sport 80 dport 4000".to_owned(), "front"),
        ("10.0.0.2 from 172.16.0.2 iif ulvs0 ipproto tcp sport 80 dport 4000".to_owned(), "front"),
        // Answers to health checks reach the host.
        ("172.16.0.1 from 172.16.0.2 iif back ipproto tcp sport 80 dport 4000".to_owned(), "lo"),
    ];
    for (question, expected) in rows {
        assert_eq!(device(&director, &question), expected, "{question}");
    }

    let fewer = [endpoint("172.16.0.2", Protocol::TCP, 81)].into();
    let way = update(&director, way, ["10.9.9.9".parse().unwrap()].into(), fewer);
    assert_eq!(device(&director, &from("172.16.0.2", "ipproto tcp sport 81 dport 4000")), "ulvs0");
    assert_eq!(device(&director, &from("172.16.0.2", "ipproto tcp sport 80 dport 4000")), "front");
    assert_eq!(device(&director, &from("172.16.0.3", "ipproto udp sport 5 dport 4000")), "front");
    assert_eq!(device(&director, "10.9.9.9"), "ulvs0");
    assert!(director.try_command("ip", "route get 10.8.3.4").is_err());
    way.close().unwrap();
    assert_eq!(state(&director), "");
}

#[test]
fn what_a_killed_director_left_is_cleared_and_others_rules_stay() {
    let Some([director, _peer]) = director() else { return };
    for command in [
        "rule add from 192.0.2.1 lookup 11800 priority 11850",
        "rule add from 192.0.2.1 lookup 77 priority 300 protocol 118",
        "route add 192.0.2.0/24 dev back",
    ] {
        director.ip(command);
    }
    let before = state(&director);
    let killed = open(&director);
    let real_servers = [endpoint("172.16.0.2", Protocol::TCP, 80), endpoint("fd0b::2", Protocol::TCP, 80)].into();
    let vips = ["10.9.9.9".parse().unwrap(), "fd09::9".parse().unwrap()].into();
    let killed = update(&director, killed, vips, real_servers);
    assert_eq!(device(&director, "10.9.9.9"), "ulvs0");
    std::mem::forget(killed);
    let way = open(&director);
    assert!(director.try_command("ip", "route get 10.9.9.9").is_err());
    drop(way);
    assert_eq!(state(&director), before);
}

#[test]
fn a_route_of_the_operators_for_a_vip_stays_and_is_told() {
    let Some([director, _peer]) = director() else { return };
    let vips: HashSet<Prefix> =
        ["10.9.9.9", "10.9.9.8", "10.9.9.7", "fd09::9"].iter().map(|text| text.parse().unwrap()).collect();
    let way = open(&director);
    for command in [
        "route add blackhole 10.9.9.9",
        "route add 10.9.9.8 dev ulvs0",
        "route add blackhole 10.9.9.7 metric 20",
        "-6 route add blackhole fd09::9 metric 1024",
    ] {
        director.ip(command);
    }
    let way = update(&director, way, vips.clone(), BTreeSet::new());
    let occupied: BTreeSet<String> = way.occupied().map(Prefix::to_string).collect();
    assert_eq!(occupied, ["10.9.9.9/32", "fd09::9/128"].map(str::to_owned).into());
    assert_eq!(["10.9.9.8", "10.9.9.7"].map(|vip| device(&director, vip)), ["ulvs0"; 2]);
    let way = update(&director, way, ["10.9.9.7".parse().unwrap()].into(), BTreeSet::new());
    assert_eq!(way.occupied().count(), 0);
    way.close().unwrap();
    let routes = director.ip("route") + &director.ip("-6 route");
    // What leads into the device itself goes with the device's last address.
    for route in ["blackhole 10.9.9.9", "blackhole 10.9.9.7", "blackhole fd09::9"] {
        assert!(routes.contains(route), "{route}: {routes}");
    }
}

#[test]
fn what_others_took_away_is_laid_again_and_the_rest_is_not() {
    let Some([director, _peer]) = director() else { return };
    let vips: HashSet<Prefix> = ["10.9.9.9", "fd09::9"].iter().map(|text| text.parse().unwrap()).collect();
    let real_servers: BTreeSet<Endpoint> =
        [endpoint("172.16.0.2", Protocol::TCP, 80), endpoint("fd0b::2", Protocol::UDP, 0)].into();
    let mut way = update(&director, open(&director), vips.clone(), real_servers.clone());
    let before = state(&director);
    let losses: [&[&str]; 4] = [
        &["link set ulvs0 down", "link set ulvs0 up"],
        &["rule flush protocol 118", "-6 rule flush protocol 118"],
        &["rule del priority 11899", "route del 10.9.9.9", "route flush table 11800"],
        &["address flush dev ulvs0"],
    ];
    for loss in losses {
        loss.iter().for_each(|command| drop(director.ip(command)));
        assert_ne!(state(&director), before, "{loss:?}");
        way.doubt();
        way = update(&director, way, vips.clone(), real_servers.clone());
        assert_eq!(state(&director), before, "{loss:?}");
    }
    // What the kernel tells of would have the director look again, and again.
    let mut changes = director.run(|| Subscription::open(NETLINK_ROUTE, &GROUPS).unwrap());
    way.doubt();
    way = update(&director, way, vips, real_servers);
    assert!(matches!(changes.receive(), Ok(Received::Nothing)));
    way.close().unwrap();
    assert_eq!(state(&director), "");
}

#[test]
fn a_missing_device_and_a_missing_capability_are_told() {
    let Some([director, _peer]) = director() else { return };
    let missing = director.run(|| TunWay::open("nosuch", Side::Transit).map(|_| ()));
    assert!(matches!(missing, Err(TunWayError::NoDevice(name)) if name == "nosuch"));
    let refused = director.run(|| {
        crate::host::sys::keep_capabilities(0).unwrap();
        TunWay::open("ulvs0", Side::Transit).map(|_| ())
    });
    assert!(matches!(refused, Err(TunWayError::NotPermitted)), "{refused:?}");
}

#[test]
fn what_a_local_server_answers_is_led_into_the_device_and_its_echo_replies_are_not() {
    let Some([director, _peer]) = director() else { return };
    let before = state(&director);
    let mut way = director.run(|| TunWay::open("ulvs0", Side::Host).unwrap());
    let servers = [
        endpoint("172.16.0.1", Protocol::TCP, 8080),
        endpoint("172.16.0.1", Protocol::UDP, 53),
        endpoint("fd0b::1", Protocol::TCP, 8080),
    ];
    way.update(&HashSet::new(), &servers.into()).unwrap();
    let rows = [
        ("10.0.0.2 from 172.16.0.1 ipproto tcp sport 8080 dport 4000", "ulvs0"),
        ("10.0.0.2 from 172.16.0.1 ipproto udp sport 53 dport 4000", "ulvs0"),
        ("10.0.0.2 from 172.16.0.1 ipproto tcp sport 8081 dport 4000", "front"),
        ("10.0.0.2 from 10.0.0.1 ipproto tcp sport 8080 dport 4000", "front"),
        ("10.0.0.2 from 172.16.0.1 ipproto icmp", "front"),
        ("fd0a::2 from fd0b::1 ipproto tcp sport 8080 dport 4000", "ulvs0"),
        ("fd0a::2 from fd0b::1 ipproto tcp sport 8081 dport 4000", "front"),
        ("fd0a::2 from fd0b::1 ipproto ipv6-icmp", "front"),
        // What the host has with itself stays there.
        ("10.0.0.1 from 172.16.0.1 ipproto tcp sport 8080 dport 4000", "lo"),
        ("172.16.0.1 from 10.0.0.2 iif ulvs0 ipproto tcp sport 4000 dport 8080", "lo"),
    ];
    for (question, expected) in rows {
        assert_eq!(device(&director, question), expected, "{question}");
    }
    let rules = director.ip("rule") + &director.ip("-6 rule");
    for errors in ["ipproto icmp dport 768-1279", "ipproto icmp dport 2816-3327", "ipproto ipv6-icmp dport 256-1279"] {
        assert!(rules.contains(errors), "{rules}");
    }
    way.update(&HashSet::new(), &BTreeSet::new()).unwrap();
    assert_eq!(device(&director, rows[0].0), "front");
    assert!(!director.ip("rule").contains("dport"));
    way.update(&HashSet::new(), &[endpoint("172.16.0.1", Protocol::TCP, 8080)].into()).unwrap();
    std::mem::forget(way);
    director.run(|| clear_leftovers().unwrap());
    assert!(!director.ip("rule").contains("11801"));
    director.ip("addr del 192.0.0.8/32 dev ulvs0");
    assert_eq!(state(&director), before);
}

#[test]
fn the_reverse_path_filter_is_off_on_the_device_for_as_long_as_it_is_off_in_general() {
    let Some([director, _peer]) = director() else { return };
    let setting = |name: &str| director.try_command("sysctl", &format!("-n net.ipv4.conf.ulvs0.{name}")).unwrap();
    let mut way = open(&director);
    assert_eq!([setting("rp_filter"), setting("accept_local")].map(|value| value.trim().to_owned()), ["2", "1"]);
    for (general, expected) in [("0", "0"), ("1", "2"), ("0", "0"), ("2", "2")] {
        director.sysctl("net.ipv4.conf.all.rp_filter", general);
        way = update(&director, way, HashSet::new(), BTreeSet::new());
        assert_eq!(setting("rp_filter").trim(), expected, "in general {general}");
    }
}

#[test]
fn drops_are_read_from_the_kernels_table() {
    let table = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:  149052     964    0    0    0     0          0         0   149052     964    0    0    0     0       0          0
 ulvs0:       1       2    3    4    5     6          7         8        9      10   11   12   13    14      15         16
ulvs01:       0       0    0    0    0     0          0         0        0       0    0    7    0     0       0          0
";
    assert_eq!(dropped_in(table, "ulvs0"), Some(12));
    assert_eq!(dropped_in(table, "ulvs01"), Some(7));
    assert_eq!(dropped_in(table, "ulvs"), None);
    assert_eq!(dropped_in("ulvs0: 1 2 3", "ulvs0"), None);
    assert!(dropped("lo").is_ok() && dropped("nosuch").is_err());
}

#[test]
fn what_the_devices_queue_has_no_room_for_is_told() {
    const SENT: u64 = 3000;
    let Some([director, _peer]) = director() else { return };
    let way = open(&director);
    let way = update(&director, way, ["10.9.9.9".parse().unwrap()].into(), BTreeSet::new());
    // A device that nobody has open drops everything; its queue is what takes packets.
    let lost = director.run(|| {
        let mut configuration = tun::Configuration::default();
        configuration.tun_name("ulvs0");
        let device = tun::create(&configuration).unwrap();
        let socket = std::net::UdpSocket::bind(("10.0.0.1", 5000)).unwrap();
        let lost_of = |count: u64| {
            let before = dropped("ulvs0").unwrap();
            for _ in 0..count {
                socket.send_to(b"question", ("10.9.9.9", 4000)).unwrap();
            }
            dropped("ulvs0").unwrap() - before
        };
        // The kernel lets packets into the queue a moment after the device is open.
        assert!((0..100_000).any(|_| lost_of(1) == 0), "nothing enters the queue");
        let lost = lost_of(SENT);
        drop(device);
        lost
    });
    assert!((1..SENT).contains(&lost), "{lost} of {SENT}");
    way.close().unwrap();
}
