//! Connection synchronisation between engines: what is told, what is ignored, what goes on.

use proptest::prelude::*;

use crate::base::{Address, Family, Port, Protocol};
use crate::engine::sync::{Ignored, LaneCounts, Share};
use crate::engine::{DropReason, PassReason, Verdict};
use crate::table::{Change, DaemonConfig, DaemonRole, Errno, ForwardingMethod, ServiceConfig, ServiceFlags};
use crate::wire::sync::{self, Entry, Recognised, Version};

use super::packet::{ACK, Packet, SYN, icmp_error};
use super::world::{ETH1, World, address, destination_config, server_key, service, service_config};

const CLIENT: &str = "10.0.0.2";
const VIP: &str = "10.9.9.9";
const SERVER: &str = "172.16.0.11";
const OTHER: &str = "172.16.0.12";

pub(super) fn daemon(role: DaemonRole) -> DaemonConfig {
    DaemonConfig {
        role,
        interface: "eth1".into(),
        sync_id: 7,
        maximum_length: 1472,
        group: Some(address("224.0.0.81")),
        port: 8848,
        ttl: 1,
    }
}

fn serving() -> World {
    let mut world = World::new();
    let web = service(Protocol::TCP, VIP, 80);
    world.serve(web, (SERVER, 80), ForwardingMethod::Masquerading);
    world.add_server(web, (OTHER, 80), ForwardingMethod::Masquerading);
    world
}

fn with_daemon(role: DaemonRole) -> World {
    let mut world = serving();
    world.apply(Change::StartDaemon { config: daemon(role), ports: 1 });
    world
}

/// An established connection of client port 40000.
fn entry() -> Entry {
    Entry {
        family: Family::V4,
        protocol: Protocol::TCP,
        flags: 0,
        state: 1,
        client_port: Port(40000),
        virtual_port: Port(80),
        destination_port: Port(80),
        mark: 0,
        timeout: 900,
        client: address(CLIENT).into(),
        virtual_address: address(VIP).into(),
        destination: address(SERVER).into(),
        sequence: None,
    }
}

fn template() -> Entry {
    Entry { flags: 0x1000, state: 0, client_port: Port::ANY, timeout: 60, ..entry() }
}

fn message(entries: &[Entry]) -> Vec<u8> {
    recognised_message(&entries.iter().map(|&entry| (entry, Recognised::default())).collect::<Vec<_>>())
}

fn recognised_message(entries: &[(Entry, Recognised)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    sync::start(&mut bytes, Version::One, 7);
    for (entry, recognised) in entries {
        sync::push(&mut bytes, Version::One, entry, recognised).unwrap();
    }
    sync::finish(&mut bytes);
    bytes
}

fn segment(port: u16, upper: super::packet::Upper) -> Vec<u8> {
    Packet::new((address(CLIENT), port), (address(VIP), 80), upper).bytes()
}

/// Every message that is due until two seconds and a half from now.
fn messages(world: &mut World) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for _ in 0..2500 {
        world.pass(1);
        while let Some((0, message)) = world.engine.message_due(world.now) {
            found.push(message.to_vec());
            world.engine.message_sent(0);
        }
    }
    found
}

#[test]
fn every_reason_to_ignore_counts_once_and_nothing_else_does() {
    let edited = |at: usize, byte: u8| {
        let mut bytes = message(&[entry()]);
        bytes[at] = byte;
        bytes
    };
    let with_option = |option: &[u8]| {
        let mut bytes = message(&[entry()]);
        bytes.extend(option);
        bytes[11] = 36 + option.len() as u8;
        sync::finish(&mut bytes);
        bytes
    };
    let replaced = Entry { flags: 0x100, state: 4, destination: address(OTHER).into(), ..entry() };
    let sip = Recognised { engine: b"sip", data: b"call" };
    let rows: Vec<(Ignored, Vec<u8>)> = vec![
        (Ignored::Short, vec![0, 7, 0]),
        (Ignored::Length, edited(3, 45)),
        (Ignored::SyncId, edited(1, 8)),
        (Ignored::Cut, edited(10, 1)),
        (Ignored::EntryVersion, edited(10, 0x10)),
        (Ignored::EntryType, edited(8, 2)),
        (Ignored::EntrySize, edited(11, 35)),
        (Ignored::OptionLength, with_option(&[1, 0])),
        (Ignored::OptionTwice, with_option(&[3, 1, b'x', 3, 1, b'x'])),
        (Ignored::OptionUnknown, with_option(&[9, 1, b'x'])),
        (Ignored::Protocol, message(&[Entry { protocol: Protocol(99), ..entry() }])),
        (Ignored::State, message(&[Entry { state: 11, ..entry() }])),
        (Ignored::State, message(&[Entry { state: 2, ..template() }])),
        (Ignored::Engine, recognised_message(&[(template(), Recognised { engine: b"", ..sip })])),
        (Ignored::Engine, recognised_message(&[(template(), Recognised { engine: b"other", ..sip })])),
        (Ignored::OnePacket, message(&[Entry { flags: 0x2000, client_port: Port(41000), ..entry() }])),
        (Ignored::Replaced, message(&[replaced])),
        (Ignored::TableFull, message(&[Entry { client_port: Port(41000), ..entry() }])),
    ];
    for reason in Ignored::ALL {
        assert!(rows.iter().any(|(provoked, _)| provoked == reason), "{reason:?} is not provoked");
    }
    for (reason, bytes) in rows {
        let places = if reason == Ignored::TableFull { 1 } else { 16 };
        let mut world = World::with(places, crate::engine::HostStack::Absent, 1500);
        world.serve(service(Protocol::TCP, VIP, 80), (SERVER, 80), ForwardingMethod::Masquerading);
        world.apply(Change::StartDaemon { config: daemon(DaemonRole::Backup), ports: 1 });
        world.engine.receive_message(world.now, &message(&[entry()]));
        assert_eq!(world.engine.connection_table().len(), 1);
        world.engine.receive_message(world.now, &bytes);
        let counts = world.engine.sync_counts();
        for other in Ignored::ALL {
            assert_eq!(counts.ignored(*other), u64::from(*other == reason), "{reason:?}: {other:?}");
        }
        assert_eq!((counts.made, counts.updated), (1, 0), "{reason:?}");
        assert_eq!(world.engine.connection_table().len(), 1, "{reason:?}");
    }
}

#[test]
fn nothing_is_heard_while_no_backup_runs() {
    let mut world = serving();
    world.engine.receive_message(world.now, &message(&[entry()]));
    assert!(world.engine.connection_table().is_empty());
    world.apply(Change::StartDaemon { config: daemon(DaemonRole::Backup), ports: 1 });
    world.apply(Change::StopDaemon { role: DaemonRole::Backup });
    world.engine.receive_message(world.now, &message(&[entry()]));
    assert!(world.engine.connection_table().is_empty());
}

#[test]
fn a_connection_goes_on_at_the_engine_that_was_told_of_it() {
    let mut master = with_daemon(DaemonRole::Master);
    master.request(&segment(40000, SYN));
    master.request(&segment(40000, ACK));
    assert_eq!(messages(&mut master), Vec::<Vec<u8>>::new(), "nothing before the third packet");
    let sent = master.request(&segment(40000, ACK)).only().packet.clone();
    let told = messages(&mut master);
    assert_eq!(told.len(), 1);
    assert_eq!(master.engine.sync_counts().told, LaneCounts { messages: 1, entries: 1, ..LaneCounts::default() });

    let mut backup = with_daemon(DaemonRole::Backup);
    backup.engine.receive_message(backup.now, &told[0]);
    assert_eq!(backup.request(&segment(40000, ACK)).only().packet, sent, "the same server gets the same packet");
    let web = backup.engine.destinations(&service(Protocol::TCP, VIP, 80));
    let counted: Vec<_> = web.iter().map(|view| (view.active, view.inactive, view.tally.connections)).collect();
    assert!(counted.contains(&(1, 0, 0)), "{counted:?}");
    let reply = Packet::new((address(SERVER), 80), (address(CLIENT), 40000), ACK).bytes();
    let other = Packet::new((address(OTHER), 80), (address(CLIENT), 40000), ACK).bytes();
    let translated = [&reply, &other].map(|packet| {
        let outcome = backup.handle(ETH1, packet, crate::wire::Offload::NONE);
        outcome.sent.iter().any(|sent| sent.packet[12..16] == [10, 9, 9, 9])
    });
    assert_eq!(translated.iter().filter(|&&yes| yes).count(), 1, "replies of its server are translated back");
}

#[test]
fn messages_are_full_late_or_lost_and_counted() {
    let mut world = serving();
    let web = service(Protocol::TCP, VIP, 80);
    let config = ServiceConfig { flags: ServiceFlags(ServiceFlags::PERSISTENT), ..service_config(&web) };
    world.apply(Change::EditService { key: web, config });
    world.set("sync_qlen_max", 2);
    let config = DaemonConfig { maximum_length: 60, ..daemon(DaemonRole::Master) };
    world.apply(Change::StartDaemon { config, ports: 1 });
    // Each packet tells of the template, and one entry fills a message: the last stays open, two wait.
    for port in 0..6 {
        world.request(&segment(40000 + port, SYN));
    }
    let expected = LaneCounts { lost_messages: 3, lost_entries: 3, ..LaneCounts::default() };
    assert_eq!(world.engine.sync_counts().told, expected);
    assert!(world.engine.message_due(world.now + 19).is_none());
    assert!(world.engine.message_due(world.now + 20).is_some());
    assert_eq!(messages(&mut world).len(), 3);
    // What waits when the daemon stops is thrown away; what was counted stays.
    world.request(&segment(40000, SYN));
    world.apply(Change::StopDaemon { role: DaemonRole::Master });
    assert_eq!(world.engine.message_deadline(), None);
    assert_eq!(world.engine.sync_counts().told, LaneCounts { messages: 3, entries: 3, ..expected });
}

#[test]
fn a_message_is_closed_at_255_entries_and_eight_leave_at_once() {
    let mut world = serving();
    let web = service(Protocol::TCP, VIP, 80);
    let config = ServiceConfig { flags: ServiceFlags(ServiceFlags::PERSISTENT), ..service_config(&web) };
    world.apply(Change::EditService { key: web, config });
    let config = DaemonConfig { maximum_length: 65507, ..daemon(DaemonRole::Master) };
    world.apply(Change::StartDaemon { config, ports: 1 });
    for port in 0..256 {
        world.request(&segment(1000 + port, SYN));
    }
    let told = messages(&mut world);
    assert_eq!(told.iter().map(|message| message[4]).collect::<Vec<_>>(), [255, 1]);

    world.apply(Change::StopDaemon { role: DaemonRole::Master });
    world.apply(Change::StartDaemon {
        config: DaemonConfig { maximum_length: 1, ..daemon(DaemonRole::Master) },
        ports: 1,
    });
    for port in 0..8 {
        world.request(&segment(1000 + port, SYN));
    }
    assert!(world.engine.message_due(world.now).is_none(), "seven wait");
    world.request(&segment(2000, SYN));
    assert!(world.engine.message_due(world.now).is_some(), "eight do not");
    world.engine.message_waits(world.now, 0);
    assert!(world.engine.message_due(world.now).is_none(), "the network is busy");
    assert!(world.engine.message_due(world.now + 20).is_some());
}

#[test]
fn without_its_real_server_a_connection_has_no_kind_of_tunnel() {
    let tunneled = Entry { flags: 0x2, destination: address("172.16.0.77").into(), ..entry() };
    let mut world = with_daemon(DaemonRole::Backup);
    world.engine.receive_message(world.now, &message(&[tunneled]));
    assert_eq!(world.engine.connection_table().len(), 1);
    let outcome = world.request(&segment(40000, ACK));
    assert_eq!((outcome.verdict, outcome.sent.len()), (Verdict::Drop(DropReason::NoDestination), 0));
}

#[test]
fn errors_to_an_address_of_the_host_are_left_to_it_like_all_else_by_backup_only() {
    // A router tells the host itself that what a client was sent did not arrive.
    let answer = Packet::new((address(VIP), 80), (address(CLIENT), 40000), ACK).bytes();
    let error = icmp_error(address("10.0.0.254"), address("10.0.0.1"), 3, 4, &answer);
    let mut world = with_daemon(DaemonRole::Backup);
    world.engine.receive_message(world.now, &message(&[entry()]));
    assert_eq!(world.request(&error).only().egress.link, ETH1, "without it the server hears of it");
    world.set("backup_only", 1);
    let outcome = world.request(&error);
    assert_eq!((outcome.verdict, outcome.sent.len()), (Verdict::Pass(PassReason::BackupOnly), 0));
}

#[test]
fn a_template_that_is_told_again_is_the_same_whatever_its_client_port() {
    for client_port in [Port::ANY, Port(40000)] {
        let mut world = with_daemon(DaemonRole::Backup);
        for _ in 0..3 {
            world.engine.receive_message(world.now, &message(&[Entry { client_port, ..template() }]));
        }
        assert_eq!(world.engine.connection_table().len(), 1, "{client_port:?}");
        assert_eq!((world.engine.sync_counts().made, world.engine.sync_counts().updated), (1, 2));
    }
}

#[test]
fn a_template_for_another_worker_is_kept_where_it_stands_for_a_network() {
    for (netmask, kept) in [(u32::MAX, 0), (0xffff_ff00, 1)] {
        let mut world = with_daemon(DaemonRole::Backup);
        let web = service(Protocol::TCP, VIP, 80);
        let flags = ServiceFlags(ServiceFlags::PERSISTENT);
        world.apply(Change::EditService { key: web, config: ServiceConfig { flags, netmask, ..service_config(&web) } });
        for entry in [template(), entry()] {
            world.engine.receive_entry(world.now, &entry, &Recognised::default(), Share::Foreign);
        }
        assert_eq!(world.engine.connection_table().len(), kept, "{netmask:08x}");
    }
}

#[test]
fn daemons_and_tunnels_between_families_exclude_each_other() {
    let mut world = with_daemon(DaemonRole::Backup);
    let tunnel = super::world::tunneling(crate::table::TunnelKind::Ipip, crate::table::TunnelChecksum::None);
    let (web, key) = (service(Protocol::TCP, VIP, 80), server_key("fd01::11", 80));
    let add = Change::AddDestination { service: web, key, config: tunnel };
    assert_eq!(world.try_apply(add.clone()), Err(Errno::EINVAL));
    assert_eq!(world.try_apply(Change::EditDestination { service: web, key, config: tunnel }), Err(Errno::EINVAL));
    let unknown = service(Protocol::TCP, VIP, 81);
    let elsewhere = Change::AddDestination { service: unknown, key, config: destination_config() };
    assert_eq!(world.try_apply(elsewhere), Err(Errno::ESRCH));
    world.apply(Change::StopDaemon { role: DaemonRole::Backup });
    world.apply(add);
    let master = daemon(DaemonRole::Master);
    assert_eq!(world.engine.complete_daemon(&master, Some(1500)), Err(Errno::EINVAL));
    world.apply(Change::DeleteDestination { service: web, key });
    assert_eq!(world.engine.complete_daemon(&master, None), Err(Errno::ENODEV));
    assert!(world.engine.complete_daemon(&master, Some(1500)).is_ok());
}

#[test]
fn the_number_of_ports_holds_while_a_daemon_runs() {
    let mut world = serving();
    world.set("sync_ports", 128);
    let (config, ports) = world.engine.complete_daemon(&daemon(DaemonRole::Master), Some(1500)).unwrap();
    assert_eq!(ports, 64);
    world.apply(Change::StartDaemon { config, ports });
    world.set("sync_ports", 2);
    let ports = |world: &World| world.engine.complete_daemon(&daemon(DaemonRole::Backup), Some(1500)).unwrap().1;
    assert_eq!(ports(&world), 64);
    assert_eq!(world.engine.complete_daemon(&daemon(DaemonRole::Master), Some(1500)), Err(Errno::EEXIST));
    world.apply(Change::StopDaemon { role: DaemonRole::Master });
    assert_eq!(ports(&world), 2);
    assert_eq!(world.try_apply(Change::StopDaemon { role: DaemonRole::Master }), Err(Errno::ESRCH));
}

fn any_told() -> impl Strategy<Value = Entry> {
    let flags = prop::sample::select(vec![0, 0x100, 0x1000, 0x800, 0x83, 0x600, 0xffff_ffff]);
    let protocol = prop::sample::select(vec![0u8, 6, 17, 132, 51, 99]);
    let server = prop::sample::select(vec![SERVER, OTHER, "172.16.0.13"]);
    (flags, protocol, 0u16..16, 0u16..4, prop::sample::select(vec![0u32, 1, 900, u32::MAX]), server, 0u32..2).prop_map(
        |(flags, protocol, state, port, timeout, server, mark)| Entry {
            flags,
            protocol: Protocol(protocol),
            state,
            client_port: Port(port),
            timeout,
            destination: Address::from(address(server)),
            mark,
            ..entry()
        },
    )
}

proptest! {
    /// Whatever comes, in whatever order, the tables stay sound and every count adds up.
    #[test]
    fn messages_of_any_kind_leave_the_engine_sound(
        rounds in proptest::collection::vec(
            (proptest::collection::vec(any_told(), 0..6), proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3), 0u64..100_000),
            1..20,
        ),
    ) {
        let mut world = with_daemon(DaemonRole::Backup);
        world.apply(Change::StartDaemon { config: daemon(DaemonRole::Master), ports: 4 });
        for (round, (entries, changes, pause)) in rounds.iter().enumerate() {
            let mut bytes = message(entries);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            world.engine.receive_message(world.now, &bytes);
            world.engine.check_invariants();
            world.request(&segment(round as u16 % 4, ACK));
            match round % 5 {
                3 => world.apply(Change::DeleteDestination { service: service(Protocol::TCP, VIP, 80), key: server_key(SERVER, 80) }),
                4 => world.add_server(service(Protocol::TCP, VIP, 80), (SERVER, 80), ForwardingMethod::DirectRouting),
                _ => {}
            }
            world.pass(*pause);
            let web = world.engine.destinations(&service(Protocol::TCP, VIP, 80));
            let counted: u32 = web.iter().map(|view| view.active + view.inactive + view.persistent).sum();
            prop_assert!(counted as usize <= world.engine.connection_table().len());
        }
    }
}
