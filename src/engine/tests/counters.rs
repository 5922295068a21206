//! What destinations count is what the connection table holds, whatever happened.

use proptest::prelude::*;

use crate::base::Protocol;
use crate::table::{Change, DestinationConfig, ForwardingMethod, ServiceConfig, ServiceFlags, ServiceKey};

use super::packet::{Packet, Upper};
use super::world::{World, address, destination_config, server_key, service, service_config};

const VIP: &str = "10.9.9.9";
const SERVERS: [&str; 3] = ["172.16.0.11", "172.16.0.12", "172.16.0.13"];

/// A service of the scenarios: protocol, port, scheduler, flags, how servers are reached.
const SERVICES: [(Protocol, u16, &str, u32, ForwardingMethod); 6] = [
    (Protocol::TCP, 80, "wlc", 0, ForwardingMethod::Masquerading),
    (Protocol::TCP, 81, "lblc", 0, ForwardingMethod::DirectRouting),
    (Protocol::TCP, 443, "rr", ServiceFlags::PERSISTENT, ForwardingMethod::Masquerading),
    (Protocol::UDP, 53, "sh", ServiceFlags::ONE_PACKET, ForwardingMethod::Masquerading),
    (Protocol::UDP, 54, "lblcr", ServiceFlags::PERSISTENT | ServiceFlags::ONE_PACKET, ForwardingMethod::Tunneling),
    (Protocol::SCTP, 90, "mh", 0, ForwardingMethod::Masquerading),
];

/// TCP flags and SCTP chunks that move connections between active and inactive.
const TCP_FLAGS: [u8; 6] = [0x02, 0x10, 0x11, 0x04, 0x12, 0x00];
const CHUNKS: [u8; 7] = [1, 2, 10, 11, 0, 7, 6];

#[derive(Clone, Debug)]
enum Step {
    /// A packet from a client, or from a server to one.
    Packet {
        service: usize,
        client: u16,
        kind: usize,
        server: Option<usize>,
    },
    AddService(usize),
    /// Turns persistence on or off.
    EditService {
        service: usize,
        persistent: bool,
    },
    DeleteService(usize),
    AddServer {
        service: usize,
        server: usize,
        weight: i64,
        upper: u32,
    },
    EditServer {
        service: usize,
        server: usize,
        weight: i64,
        upper: u32,
    },
    DeleteServer {
        service: usize,
        server: usize,
    },
    Setting(&'static str, i32),
    Pass(u64),
}

fn a_step() -> impl Strategy<Value = Step> {
    let service = || 0..SERVICES.len();
    let server = || 0..SERVERS.len();
    let weight = || prop_oneof![Just(0i64), 1i64..4];
    let upper = || prop_oneof![3 => Just(0u32), 1 => 1u32..6];
    prop_oneof![
        40 => (service(), 0u16..12, 0usize..42, proptest::option::weighted(0.3, server()))
            .prop_map(|(service, client, kind, server)| Step::Packet { service, client, kind, server }),
        1 => service().prop_map(Step::AddService),
        1 => (service(), any::<bool>()).prop_map(|(service, persistent)| Step::EditService { service, persistent }),
        1 => service().prop_map(Step::DeleteService),
        3 => (service(), server(), weight(), upper())
            .prop_map(|(service, server, weight, upper)| Step::AddServer { service, server, weight, upper }),
        3 => (service(), server(), weight(), upper())
            .prop_map(|(service, server, weight, upper)| Step::EditServer { service, server, weight, upper }),
        3 => (service(), server()).prop_map(|(service, server)| Step::DeleteServer { service, server }),
        1 => (prop_oneof![Just("expire_nodest_conn"), Just("expire_quiescent_template"), Just("sloppy_tcp")], 0i32..2)
            .prop_map(|(name, value)| Step::Setting(name, value)),
        1 => (0i32..4).prop_map(|value| Step::Setting("conn_reuse_mode", value)),
        4 => prop_oneof![Just(3u64), 100u64..20_000, 20_000u64..400_000].prop_map(Step::Pass),
    ]
}

fn key(index: usize) -> ServiceKey {
    let (protocol, port, ..) = SERVICES[index];
    service(protocol, VIP, port)
}

fn config(index: usize) -> ServiceConfig {
    let (_, _, scheduler, flags, _) = SERVICES[index];
    ServiceConfig { scheduler: scheduler.into(), flags: ServiceFlags(flags), ..service_config(&key(index)) }
}

fn server_config(index: usize, weight: i64, upper: u32) -> DestinationConfig {
    DestinationConfig { method: SERVICES[index].4, weight, upper_threshold: upper, ..destination_config() }
}

fn a_packet(service: usize, client: u16, kind: usize, server: Option<usize>) -> Packet {
    let (protocol, port, ..) = SERVICES[service];
    let upper = match protocol {
        Protocol::TCP => Upper::Tcp(TCP_FLAGS[kind % TCP_FLAGS.len()]),
        Protocol::SCTP => Upper::Sctp(CHUNKS[kind % CHUNKS.len()]),
        _ => Upper::Udp,
    };
    let client = (address(&format!("10.0.0.{}", 2 + client % 3)), 40000 + client);
    match server {
        None => Packet::new(client, (address(VIP), port), upper),
        Some(server) => Packet::new((address(SERVERS[server]), port), client, upper),
    }
}

impl Step {
    fn take(&self, world: &mut World) {
        // Changes that cannot be made leave everything as it is: that is part of what is tested.
        let change = match *self {
            Step::Packet { service, client, kind, server } => {
                let packet = a_packet(service, client, kind, server).bytes();
                let _ = if server.is_some() { world.reply(&packet) } else { world.request(&packet) };
                return;
            }
            Step::Pass(milliseconds) => return world.pass(milliseconds),
            Step::AddService(service) => Change::AddService { key: key(service), config: config(service) },
            Step::EditService { service, persistent } => {
                let mut config = config(service);
                let bit = ServiceFlags::PERSISTENT;
                config.flags.0 = if persistent { config.flags.0 | bit } else { config.flags.0 & !bit };
                Change::EditService { key: key(service), config }
            }
            Step::DeleteService(service) => Change::DeleteService { key: key(service) },
            Step::AddServer { service, server, weight, upper } => Change::AddDestination {
                service: key(service),
                key: server_key(SERVERS[server], SERVICES[service].1),
                config: server_config(service, weight, upper),
            },
            Step::EditServer { service, server, weight, upper } => Change::EditDestination {
                service: key(service),
                key: server_key(SERVERS[server], SERVICES[service].1),
                config: server_config(service, weight, upper),
            },
            Step::DeleteServer { service, server } => Change::DeleteDestination {
                service: key(service),
                key: server_key(SERVERS[server], SERVICES[service].1),
            },
            Step::Setting(name, value) => return world.set(name, value),
        };
        let _ = world.try_apply(change);
    }
}

#[test]
fn what_a_deleted_service_counted_is_not_told_of_the_next_one_in_its_place() {
    for service_too in [false, true] {
        let mut world = World::new();
        let web = key(0);
        world.serve(web, (SERVERS[0], 80), ForwardingMethod::Masquerading);
        world.request(&a_packet(0, 1, 0, None).bytes());
        world.apply(Change::DeleteDestination { service: web, key: server_key(SERVERS[0], 80) });
        if service_too {
            world.apply(Change::DeleteService { key: web });
            world.apply(Change::AddService { key: web, config: config(0) });
        }
        world.add_server(web, (SERVERS[0], 80), ForwardingMethod::Masquerading);
        world.engine.check_invariants();
        // A server that comes back to the same service goes on counting where it was.
        let told: Vec<u64> =
            world.engine.news(0..10).destinations.iter().map(|(_, _, tally)| tally.in_packets).collect();
        assert_eq!(told, if service_too { vec![] } else { vec![1] });
        world.request(&a_packet(0, 1, 1, None).bytes());
        let news = world.engine.news(0..10);
        assert_eq!(news.destinations.iter().map(|(_, _, tally)| tally.in_packets).collect::<Vec<_>>(), [1]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn counters_are_what_the_table_holds(steps in proptest::collection::vec(a_step(), 1..150)) {
        let mut world = World::with(40, crate::engine::HostStack::Absent, 1500);
        for service in 0..SERVICES.len() {
            Step::AddService(service).take(&mut world);
            for server in 0..SERVERS.len() {
                Step::AddServer { service, server, weight: 1, upper: 0 }.take(&mut world);
            }
        }
        for step in &steps {
            step.take(&mut world);
            world.engine.check_invariants();
        }

        // All that is left is time: every timer runs out, and the trash is emptied.
        world.apply(Change::Flush);
        world.engine.check_invariants();
        world.pass(3_600_000);
        world.engine.check_invariants();
        prop_assert_eq!(world.engine.connections.len(), 0);
        prop_assert_eq!(world.engine.services.destinations.iter().count(), 0, "destinations in the trash");
    }
}
