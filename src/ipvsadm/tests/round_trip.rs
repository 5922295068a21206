//! Words that nobody chose: nothing may panic, and what is saved must be what is restored.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::fake::{Fake, FakeNames, Service};
use crate::base::{Family, Port, Protocol};
use crate::control::message::{Counters, DestinationEntry, ServiceEntry};
use crate::ipvsadm::command::Command;
use crate::ipvsadm::options::TABLE;
use crate::table::{
    DestinationConfig, DestinationKey, ForwardingMethod, SchedulerKind, ServiceConfig, ServiceFlags, ServiceKey,
    Tunnel, TunnelChecksum, TunnelKind,
};

fn word() -> impl Strategy<Value = String> {
    let long = prop::sample::select(TABLE).prop_map(|entry| format!("--{}", entry.long));
    let value = prop::sample::select(vec![
        "10.0.0.1:80",
        "[::1]:80",
        "[",
        "[]:",
        "::",
        ":",
        "1.2.3.4:",
        "0",
        "1",
        "-1",
        "99999999999999999999",
        "",
        ",",
        "sh-port",
        "rr",
        "master",
        "0x",
        "1..2",
        "é",
        "[é]:1",
        "sh",
        "gue",
        "224.0.0.1",
        "ff02::1",
        " 5",
    ]);
    prop_oneof![
        3 => long.clone(),
        1 => (long, value.clone()).prop_map(|(name, value)| format!("{name}={value}")),
        3 => "-[A-Za-z6=-]{1,3}",
        3 => value.prop_map(str::to_owned),
        1 => "\\PC{0,8}",
    ]
}

fn endpoint(family: Family) -> impl Strategy<Value = (IpAddr, Port)> {
    let address = move |[a, b]: [u8; 2]| match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(a % 220 + 1, 0, 0, b)),
        Family::V6 => IpAddr::V6(Ipv6Addr::new(0x2001 + u16::from(a), 0, 0, 0, 0, 0, 0, u16::from(b))),
    };
    (any::<[u8; 2]>().prop_map(address), (1..=u16::MAX).prop_map(Port))
}

fn service_key() -> impl Strategy<Value = ServiceKey> {
    let protocol = prop::sample::select(vec![Protocol::TCP, Protocol::UDP, Protocol::SCTP]);
    let family = prop::sample::select(vec![Family::V4, Family::V6]);
    let address = (protocol, family.clone().prop_flat_map(endpoint))
        .prop_map(|(protocol, (address, port))| ServiceKey::Address { protocol, address, port });
    // Larger marks are saved as negative numbers, which are not restored.
    let mark = (family, 1..=i32::MAX as u32).prop_map(|(family, mark)| ServiceKey::Mark { family, mark });
    prop_oneof![3 => address, 1 => mark]
}

fn service_config(key: ServiceKey) -> impl Strategy<Value = ServiceConfig> {
    let scheduler = prop::sample::select(SchedulerKind::ALL.to_vec()).prop_map(|(_, name)| name.to_owned());
    let one_packet = !matches!(key, ServiceKey::Address { protocol, .. } if protocol != Protocol::UDP);
    let engine = prop::option::of(Just("sip".to_owned()));
    (scheduler, 0..8u32, any::<bool>(), 1..2_678_400u32, any::<u32>(), any::<bool>(), engine).prop_map(
        move |(scheduler, flags, persistent, timeout, netmask, packet, engine)| {
            // The third flag has no name with these two.
            let named = if ["sh", "mh"].contains(&scheduler.as_str()) { flags & 3 } else { flags };
            let mut flags = named << 3;
            flags |= if persistent { ServiceFlags::PERSISTENT } else { 0 };
            flags |= if packet && one_packet { ServiceFlags::ONE_PACKET } else { 0 };
            // A netmask without persistence is not saved.
            let netmask = match (key.family(), persistent) {
                (Family::V4, true) => netmask,
                (Family::V4, false) => u32::MAX,
                (Family::V6, true) => netmask % 128 + 1,
                (Family::V6, false) => 128,
            };
            let timeout = if persistent { timeout } else { 0 };
            ServiceConfig { scheduler, flags: ServiceFlags(flags), timeout, netmask, engine }
        },
    )
}

fn destination(service: ServiceKey) -> impl Strategy<Value = DestinationEntry> {
    let tunnel = (0..3u8, (1..=u16::MAX).prop_map(Port), 0..3u8).prop_map(|(kind, port, checksum)| {
        let checksum = match checksum {
            0 => TunnelChecksum::None,
            1 => TunnelChecksum::Checksum,
            _ => TunnelChecksum::Remote,
        };
        match (kind, checksum) {
            (0, _) => Tunnel::default(),
            (1, checksum) => Tunnel { kind: TunnelKind::Gue, port, checksum },
            (_, TunnelChecksum::Remote) => Tunnel { kind: TunnelKind::Gre, ..Tunnel::default() },
            (_, checksum) => Tunnel { kind: TunnelKind::Gre, port: Port::ANY, checksum },
        }
    });
    let method = prop::sample::select(vec![
        ForwardingMethod::Masquerading,
        ForwardingMethod::Tunneling,
        ForwardingMethod::DirectRouting,
    ]);
    (endpoint(service.family()), method, 0..=i64::from(i32::MAX), tunnel).prop_map(
        move |((address, port), method, weight, tunnel)| {
            let port = match (service, method) {
                (ServiceKey::Mark { .. }, _) | (_, ForwardingMethod::Masquerading) => port,
                _ => service.port(),
            };
            let tunnel = if method == ForwardingMethod::Tunneling { tunnel } else { Tunnel::default() };
            let config = DestinationConfig { method, weight, upper_threshold: 0, lower_threshold: 0, tunnel };
            let (key, counters) = (DestinationKey { address, port }, Counters::default());
            DestinationEntry { key, config, active: 0, inactive: 0, persistent: 0, counters }
        },
    )
}

fn service() -> impl Strategy<Value = Service> {
    service_key().prop_flat_map(|key| {
        (service_config(key), prop::collection::vec(destination(key), 0..4)).prop_map(move |(config, destinations)| {
            Service { entry: ServiceEntry { key, config, counters: Counters::default() }, destinations }
        })
    })
}

/// The services in an order of their own, each once, with each destination once.
fn sorted(mut services: Vec<Service>) -> Vec<(ServiceEntry, Vec<DestinationEntry>)> {
    services.sort_by_key(|service| service.entry.key);
    services.dedup_by_key(|service| service.entry.key);
    for service in &mut services {
        service.destinations.sort_by_key(|destination| destination.key);
        service.destinations.dedup_by_key(|destination| destination.key);
    }
    services.into_iter().map(|service| (service.entry, service.destinations)).collect()
}

proptest! {
    #[test]
    fn no_words_are_too_odd(words in prop::collection::vec(word(), 0..8)) {
        let _ = Command::read(&words, &mut FakeNames::new());
    }

    #[test]
    fn no_input_is_too_odd(input in prop::collection::vec(word(), 0..40)) {
        let director = Fake::default();
        director.words(&["-R"], &input.join(" "));
        director.words(&["-R"], &input.join("\n"));
    }

    #[test]
    fn what_is_saved_is_what_is_restored(services in prop::collection::vec(service(), 0..5)) {
        let services = sorted(services);
        let (from, to) = (Fake::default(), Fake::default());
        from.0.borrow_mut().services = services
            .iter()
            .map(|(entry, destinations)| Service { entry: entry.clone(), destinations: destinations.clone() })
            .collect();
        let saved = from.line("-Sn");
        let restored = to.words(&["-R"], &saved.output);
        prop_assert_eq!((restored.status, restored.errors.as_str()), (0, ""), "{}", saved.output);
        prop_assert_eq!(sorted(to.0.take().services), services, "{}", saved.output);
    }
}
