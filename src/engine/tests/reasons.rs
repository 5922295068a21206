//! Every reason to drop or pass a frame is provoked once, and counts once.

use std::sync::Arc;

use crate::base::{Family, LinkId, Protocol};
use crate::engine::{DropReason, HostStack, PassReason, Verdict};
use crate::table::{
    Change, DaemonRole, DestinationConfig, ForwardingMethod, ServiceConfig, ServiceFlags, TunnelChecksum, TunnelKind,
};
use crate::wire::Offload;
use crate::wire::offload::Segmentation;

use super::packet::{ACK, Packet, SYN, Upper, fix_header, fragments4, fragments6, icmp, icmp_error, ip};
use super::world::{
    ETH0, ETH1, MAC, World, address, destination_config, mark_service, network, server_key, service, service_config,
    tunneling,
};

const CLIENT: &str = "10.0.0.2";
const VIP: &str = "10.9.9.9";
const SERVER: &str = "172.16.0.11";
const VIP6: &str = "fd99::9";

/// A row: what is described, the verdict, and how the frame that provokes it is made and handled
/// in a world of its own. The last frame handled, and nothing before it, may have that verdict.
type Row = (&'static str, Verdict, fn() -> Provoked);

/// The world, its counters as they were, and the verdict on the frame in question.
struct Provoked {
    before: Counts,
    after: Counts,
    verdict: Verdict,
}

/// Everything that [`crate::engine::VerdictCounts`] holds.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Counts {
    transmitted: u64,
    consumed: u64,
    passed: Vec<u64>,
    dropped: Vec<u64>,
}

impl Counts {
    fn of(world: &World) -> Counts {
        let counts = world.engine.counts();
        Counts {
            transmitted: counts.transmitted,
            consumed: counts.consumed,
            passed: PassReason::ALL.iter().map(|&reason| counts.passed(reason)).collect(),
            dropped: DropReason::ALL.iter().map(|&reason| counts.dropped(reason)).collect(),
        }
    }

    /// The counts after one more frame with this verdict.
    fn with(mut self, verdict: Verdict) -> Counts {
        match verdict {
            Verdict::Transmit(_) => self.transmitted += 1,
            Verdict::Consumed => self.consumed += 1,
            Verdict::Pass(reason) => self.passed[position(PassReason::ALL, reason)] += 1,
            Verdict::Drop(reason) => self.dropped[position(DropReason::ALL, reason)] += 1,
        }
        self
    }
}

fn position<R: PartialEq>(all: &[R], reason: R) -> usize {
    all.iter().position(|known| *known == reason).expect("ALL holds every reason")
}

/// Handles the last frame of a row.
fn provoke(mut world: World, link: LinkId, packet: &[u8]) -> Provoked {
    provoke_with(&mut world, link, packet, Offload::NONE)
}

fn provoke_with(world: &mut World, link: LinkId, packet: &[u8], offload: Offload) -> Provoked {
    let before = Counts::of(world);
    let verdict = world.handle(link, packet, offload).verdict;
    Provoked { before, after: Counts::of(world), verdict }
}

fn provoke_frame(mut world: World, frame: &[u8]) -> Provoked {
    let before = Counts::of(&world);
    let verdict = world.handle_frame(ETH0, frame, Offload::NONE).verdict;
    Provoked { before, after: Counts::of(&world), verdict }
}

/// A world with a masqueraded TCP and UDP service.
fn nat() -> World {
    let mut world = World::new();
    world.serve(service(Protocol::TCP, VIP, 80), (SERVER, 8080), ForwardingMethod::Masquerading);
    world.serve(service(Protocol::UDP, VIP, 53), (SERVER, 53), ForwardingMethod::Masquerading);
    world
}

/// As [`nat`], beside a kernel that owns the virtual address.
fn beside() -> World {
    let mut world = World::with(64, HostStack::Beside, 1500);
    world.serve(service(Protocol::TCP, VIP, 80), (SERVER, 8080), ForwardingMethod::Masquerading);
    world
}

/// A world with a service whose only server is reached in this way.
fn tunneled(server: (&str, u16), config: DestinationConfig) -> World {
    let mut world = World::new();
    let key = service(Protocol::TCP, VIP, 80);
    world.apply(Change::AddService { key, config: service_config(&key) });
    world.apply(Change::AddDestination { service: key, key: server_key(server.0, server.1), config });
    world
}

/// Beside a kernel, with a service whose only server is this host.
fn served_by_host(config: DestinationConfig) -> World {
    let mut world = World::with(64, HostStack::Beside, 1500);
    let key = service(Protocol::TCP, VIP, 80);
    world.apply(Change::AddService { key, config: service_config(&key) });
    world.apply(Change::AddDestination { service: key, key: server_key("10.0.0.1", 80), config });
    world
}

fn ipip() -> DestinationConfig {
    tunneling(TunnelKind::Ipip, TunnelChecksum::None)
}

fn request(port: u16, upper: Upper) -> Packet {
    Packet::new((address(CLIENT), 40000), (address(VIP), port), upper)
}

fn syn() -> Vec<u8> {
    request(80, SYN).bytes()
}

fn syn_from(port: u16) -> Vec<u8> {
    Packet::new((address(CLIENT), port), (address(VIP), 80), SYN).bytes()
}

fn syn_of(client: &str) -> Vec<u8> {
    Packet::new((address(client), 40000), (address(VIP), 80), SYN).bytes()
}

fn syn6() -> Packet {
    Packet::new((address("fd00::2"), 40000), (address(VIP6), 80), SYN)
}

fn frame(destination: [u8; 6], kind: u16, packet: &[u8]) -> Vec<u8> {
    let mut frame = [destination, [2, 9, 9, 9, 9, 9]].concat();
    frame.extend(kind.to_be_bytes());
    frame.extend(packet);
    frame
}

/// What is done, the reason it is meant to provoke, and how.
type Cause<Reason> = (&'static str, Reason, fn() -> Provoked);

const DROPS: &[Cause<DropReason>] = &[
    ("an IPv4 header cut short", DropReason::Truncated, || provoke(nat(), ETH0, &syn()[..19])),
    ("an IPv6 packet in a frame of IPv4", DropReason::IpVersion, || {
        provoke_frame(nat(), &frame(MAC.0, 0x0800, &syn6().bytes()))
    }),
    ("a total length beyond the frame", DropReason::IpLength, || provoke(nat(), ETH0, &syn()[..39])),
    ("another TTL under the old checksum", DropReason::HeaderChecksum, || {
        let mut packet = syn();
        packet[8] -= 1;
        provoke(nat(), ETH0, &packet)
    }),
    ("hop-by-hop options longer than the packet", DropReason::ExtensionHeader, || {
        let packet = ip(address("fd00::2"), address(VIP6), 0.into(), 64, false, &[6, 9, 0, 0, 0, 0, 0, 0]);
        provoke(nat(), ETH0, &packet)
    }),
    ("an option longer than its header", DropReason::IpOptions, || provoke(nat(), ETH0, &with_options([148, 9, 0, 0]))),
    ("a loose source route", DropReason::SourceRoute, || provoke(nat(), ETH0, &with_options([131, 3, 4, 0]))),
    ("from a loopback address", DropReason::MartianSource, || provoke(nat(), ETH0, &syn_of("127.0.0.1"))),
    ("from everyone", DropReason::MartianSource, || provoke(nat(), ETH0, &syn_of("255.255.255.255"))),
    ("from nobody", DropReason::MartianSource, || provoke(nat(), ETH0, &syn_of("0.0.0.0"))),
    ("from IPv6's loopback address", DropReason::MartianSource, || {
        let mut world = nat();
        world.serve(service(Protocol::TCP, VIP6, 80), ("fd01::11", 80), ForwardingMethod::Masquerading);
        provoke(world, ETH0, &Packet::new((address("::1"), 40000), (address(VIP6), 80), SYN).bytes())
    }),
    ("half of the ports", DropReason::TransportTruncated, || {
        let packet = ip(address(CLIENT), address(VIP), 6.into(), 64, false, &[1, 2]);
        provoke(nat(), ETH0, &packet)
    }),
    ("an ICMP error about a connection, one bit wrong", DropReason::IcmpChecksum, || {
        let mut world = nat();
        let forwarded = world.request(&syn()).only().packet.clone();
        let mut error = icmp_error(address(SERVER), address(CLIENT), 3, 3, &forwarded);
        error[23] ^= 1;
        provoke(world, ETH1, &error)
    }),
    ("a segment of an FTP control connection, one bit wrong", DropReason::TransportChecksum, || {
        let mut world = World::new();
        world.serve(service(Protocol::TCP, VIP, 21), (SERVER, 21), ForwardingMethod::Masquerading);
        world.request(&request(21, SYN).bytes());
        let mut packet = request(21, ACK).bytes();
        packet[44] ^= 1;
        provoke(world, ETH0, &packet)
    }),
    ("a super-frame of segments of no bytes, to be cut for a tunnel", DropReason::Offload, || {
        let mut world = tunneled((SERVER, 80), ipip());
        let offload = Offload { segmentation: Segmentation::Tcp4 { ecn: false }, ..Offload::NONE };
        provoke_with(&mut world, ETH0, &syn(), offload)
    }),
    ("two fragments that overlap in part", DropReason::ReassemblyOverlap, || {
        let mut world = nat();
        let pieces = fragments4(&request(53, Upper::Udp).filled(100).bytes(), 40);
        world.request(&pieces[0]);
        let mut overlapping = pieces[1].clone();
        overlapping[7] -= 1;
        fix_header(&mut overlapping);
        provoke(world, ETH0, &overlapping)
    }),
    ("a fragment that is not the last and not a multiple of 8 bytes", DropReason::ReassemblyInvalid, || {
        let mut world = nat();
        let key = service(Protocol::UDP, VIP6, 53);
        world.serve(key, ("fd01::11", 53), ForwardingMethod::Masquerading);
        let packet = Packet::new((address("fd00::2"), 40000), (address(VIP6), 53), Upper::Udp).filled(100);
        let mut later = fragments6(&packet.bytes(), 41).swap_remove(0);
        // Its offset: a first one would pass alone.
        later[43] |= 8;
        provoke(world, ETH0, &later)
    }),
    ("the oldest incomplete datagram wants memory that there is no more", DropReason::ReassemblyMemory, || {
        let mut world = nat();
        let longest = |port: u16, from: u8| {
            let mut packet = Packet::new((address(&format!("10.0.0.{from}")), port), (address(VIP), 53), Upper::Udp)
                .filled(65000)
                .bytes();
            packet[4..6].copy_from_slice(&port.to_be_bytes());
            fix_header(&mut packet);
            fragments4(&packet, 60_000)
        };
        let oldest = longest(1, 3);
        let (first, rest) = oldest.split_first().expect("two fragments");
        world.request(&rest[0]);
        // 2048 pages of 2 KiB: 68 datagrams of 30 pages leave too few for one more.
        for port in 0..68 {
            world.request(&longest(port, 2)[0]);
        }
        provoke(world, ETH0, first)
    }),
    ("the other fragments never come", DropReason::ReassemblyTimeout, || {
        let mut world = nat();
        let pieces = fragments4(&request(53, Upper::Udp).filled(100).bytes(), 40);
        world.request(&pieces[0]);
        let before = Counts::of(&world);
        world.pass(31_000);
        let verdict = Verdict::Drop(DropReason::ReassemblyTimeout);
        Provoked { before, after: Counts::of(&world), verdict }
    }),
    ("a connection whose server was deleted", DropReason::DestinationGone, || {
        let mut world = nat();
        world.request(&syn());
        let service = service(Protocol::TCP, VIP, 80);
        world.apply(Change::DeleteDestination { service, key: server_key(SERVER, 8080) });
        provoke(world, ETH0, &request(80, ACK).bytes())
    }),
    ("a service without servers", DropReason::NoDestination, || {
        let mut world = nat();
        let service = service(Protocol::TCP, VIP, 80);
        world.apply(Change::DeleteDestination { service, key: server_key(SERVER, 8080) });
        provoke(world, ETH0, &syn())
    }),
    ("a datagram without Call-ID to a SIP service", DropReason::PersistenceEngine, || {
        let mut world = World::new();
        let key = service(Protocol::UDP, VIP, 5060);
        let flags = ServiceFlags(ServiceFlags::PERSISTENT);
        let config = ServiceConfig { flags, engine: Some("sip".into()), ..service_config(&key) };
        world.apply(Change::AddService { key, config });
        world.add_server(key, (SERVER, 5060), ForwardingMethod::Masquerading);
        provoke(world, ETH0, &request(5060, Upper::Udp).bytes())
    }),
    ("the first of every ten", DropReason::DropPacket, || {
        let mut world = nat();
        world.set("drop_packet", 3);
        provoke(world, ETH0, &syn())
    }),
    ("one connection more than the table holds", DropReason::TableFull, || {
        let mut world = World::with(2, HostStack::Absent, 1500);
        world.serve(service(Protocol::TCP, VIP, 80), (SERVER, 8080), ForwardingMethod::Masquerading);
        world.request(&syn_from(1));
        world.request(&syn_from(2));
        provoke(world, ETH0, &syn_from(3))
    }),
    ("a TTL of 1", DropReason::TimeToLive, || provoke(nat(), ETH0, &request(80, SYN).ttl(1).bytes())),
    ("longer than the MTU, not to be fragmented", DropReason::TooBig, || {
        let mut world = nat();
        world.request(&syn());
        provoke(world, ETH0, &request(80, ACK).filled(1500).bytes())
    }),
    ("a tunnel through a link of 80 bytes", DropReason::MtuTooSmall, || {
        provoke(tunneled(("172.17.0.11", 80), ipip()), ETH0, &syn())
    }),
    ("a server that no route leads to", DropReason::NoRoute, || {
        provoke(tunneled(("203.0.113.1", 80), ipip()), ETH0, &syn())
    }),
    ("from a link that is not there", DropReason::LinkDown, || provoke(nat(), LinkId(77), &syn())),
    ("direct routing to a server behind a TUN device", DropReason::DirectOverTun, || {
        let config = DestinationConfig { method: ForwardingMethod::DirectRouting, ..destination_config() };
        provoke(tunneled(("192.0.2.11", 80), config), ETH0, &syn())
    }),
    ("a masquerading server that is this host, with a kernel that has its own packet", DropReason::LocalServer, || {
        provoke(served_by_host(destination_config()), ETH0, &syn())
    }),
    ("a bypass towards a broadcast address", DropReason::LocalBoundary, || {
        let mut world = World::new();
        let key = mark_service(7);
        world.apply(Change::AddService { key, config: service_config(&key) });
        world.mark(7, "10.7.0.0/16");
        world.set("cache_bypass", 1);
        let packet = Packet::new((address(CLIENT), 40000), (address("10.7.0.9"), 80), SYN);
        provoke(world, ETH0, &packet.bytes())
    }),
    ("a frame without room in front, into a tunnel", DropReason::Headroom, || {
        let mut world = tunneled((SERVER, 80), ipip());
        // IPIP takes 20 bytes, of which the Ethernet header gives 14.
        world.headroom = 5;
        provoke(world, ETH0, &syn())
    }),
    ("a packet of 65530 bytes, into a tunnel", DropReason::TooLong, || {
        let mut world = tunneled((SERVER, 80), ipip());
        world.request(&syn());
        provoke(world, ETH0, &request(80, ACK).filled(65_490).may_fragment().bytes())
    }),
    ("a super-frame of more segments than may wait", DropReason::Outbox, || {
        let mut world = tunneled((SERVER, 80), ipip());
        world.request(&syn());
        let offload = Offload { segmentation: Segmentation::Tcp4 { ecn: false }, segment_size: 1, ..Offload::NONE };
        provoke_with(&mut world, ETH0, &request(80, ACK).filled(5000).bytes(), offload)
    }),
    ("a server's packet that answers nothing, with nat_icmp_send", DropReason::ServerTold, || {
        let mut world = nat();
        world.set("nat_icmp_send", 1);
        let stray = Packet::new((address(SERVER), 8080), (address(CLIENT), 40000), ACK);
        provoke(world, ETH1, &stray.bytes())
    }),
    (
        "with schedule_icmp, an error about no connection of a service without servers",
        DropReason::IcmpUnscheduled,
        || {
            let mut world = nat();
            world.set("schedule_icmp", 1);
            let service = service(Protocol::TCP, VIP, 80);
            world.apply(Change::DeleteDestination { service, key: server_key(SERVER, 8080) });
            let answer = Packet::new((address(VIP), 80), (address(CLIENT), 40000), ACK);
            provoke(world, ETH0, &icmp_error(address(CLIENT), address(VIP), 3, 3, &answer.bytes()))
        },
    ),
];

const PASSES: &[Cause<PassReason>] = &[
    ("ARP", PassReason::NotIp, || provoke_frame(nat(), &frame(MAC.0, 0x0806, &[0; 28]))),
    ("to another Ethernet address", PassReason::OtherHost, || {
        provoke_frame(nat(), &frame([2, 0, 0, 0, 0, 9], 0x0800, &syn()))
    }),
    ("to all stations", PassReason::LinkMulticast, || provoke_frame(nat(), &frame([0xff; 6], 0x0800, &syn()))),
    ("with a VLAN tag", PassReason::Vlan, || provoke_frame(nat(), &frame(MAC.0, 0x8100, &syn()))),
    ("on its way to somebody else, with a kernel that forwards", PassReason::NotVirtual, || {
        let transit = Packet::new((address(CLIENT), 40000), (address("172.16.0.77"), 80), SYN);
        provoke(beside(), ETH0, &transit.bytes())
    }),
    ("to a multicast group", PassReason::Multicast, || {
        let packet = Packet::new((address(CLIENT), 40000), (address("224.0.0.18"), 80), Upper::Udp);
        provoke(nat(), ETH0, &packet.bytes())
    }),
    ("a protocol that no stack answers", PassReason::UnknownProtocol, || {
        provoke(nat(), ETH0, &request(80, Upper::Other(2)).bytes())
    }),
    ("to a port of the virtual address that no service has, with a kernel that answers", PassReason::NoService, || {
        provoke(beside(), ETH0, &request(81, SYN).bytes())
    }),
    ("an ICMP message that is neither error nor echo request", PassReason::NotFirst, || {
        provoke(nat(), ETH0, &icmp(address(CLIENT), address(VIP), vec![13, 0, 0, 0, 0, 1, 0, 1]))
    }),
    ("from FTP's data port, a datagram with a wrong checksum", PassReason::FtpData, || {
        let mut packet = Packet::new((address(CLIENT), 20), (address(VIP), 53), Upper::Udp).bytes();
        packet[30] ^= 1;
        provoke(nat(), ETH0, &packet)
    }),
    ("a server that is this host, with a kernel that has the packet too", PassReason::Local, || {
        let config = DestinationConfig { method: ForwardingMethod::Local, ..destination_config() };
        provoke(served_by_host(config), ETH0, &syn())
    }),
    ("to a virtual address that the kernel has as well", PassReason::HostAddress, || {
        let mut world = nat();
        let mut network = network(1500);
        network.set_ceded([(Family::V4, address(VIP).into())]);
        world.engine.set_network(Arc::new(network));
        provoke(world, ETH0, &syn())
    }),
    ("a tunnel's packet with ignore_tunneled, with a kernel that decapsulates", PassReason::Tunneled, || {
        let mut world = beside();
        world.set("ignore_tunneled", 1);
        provoke(world, ETH0, &request(80, Upper::Other(4)).bytes())
    }),
    ("a request while the backup daemon runs, with backup_only", PassReason::BackupOnly, || {
        let mut world = beside();
        world.set("backup_only", 1);
        world.apply(Change::StartDaemon { config: super::synchronisation::daemon(DaemonRole::Backup), ports: 1 });
        provoke(world, ETH0, &syn())
    }),
];

#[test]
fn every_provoked_reason_counts_once_and_nothing_else_does() {
    let drops = DROPS.iter().map(|&(what, reason, provoke)| (what, Verdict::Drop(reason), provoke));
    let passes = PASSES.iter().map(|&(what, reason, provoke)| (what, Verdict::Pass(reason), provoke));
    let mut wrong = Vec::new();
    for (what, expected, provoke) in drops.chain(passes).collect::<Vec<Row>>() {
        let Provoked { before, after, verdict } = provoke();
        if verdict != expected {
            wrong.push(format!("{what}: {verdict:?} instead of {expected:?}"));
        } else if after != before.clone().with(expected) {
            wrong.push(format!("{what}: the counts went from {before:?} to {after:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_reason_is_provoked() {
    for reason in DropReason::ALL {
        assert!(DROPS.iter().any(|(_, covered, _)| covered == reason), "{reason:?} is not provoked");
    }
    for reason in PassReason::ALL {
        assert!(PASSES.iter().any(|(_, covered, _)| covered == reason), "{reason:?} is not provoked");
    }
}

#[test]
fn every_reason_has_a_name_and_a_meaning_of_its_own() {
    let words = |reasons: Vec<(&'static str, &'static str)>| {
        let mut seen = std::collections::HashSet::new();
        for (name, meaning) in reasons {
            assert!(seen.insert(name) && seen.insert(meaning), "{name} is taken twice");
            assert!(!name.contains(' ') && meaning.ends_with('.'), "{name}: {meaning}");
        }
    };
    words(DropReason::ALL.iter().map(|reason| (reason.name(), reason.meaning())).collect());
    words(PassReason::ALL.iter().map(|reason| (reason.name(), reason.meaning())).collect());
}

/// A SYN to the virtual address with four bytes of options.
fn with_options(options: [u8; 4]) -> Vec<u8> {
    let mut packet = syn();
    packet.splice(20..20, options);
    packet[0] = 0x46;
    let length = packet.len() as u16;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    crate::wire::ip::set_header_checksum(&mut packet);
    packet
}

/// Addresses that were special once are clients like others.
#[test]
fn clients_of_the_first_and_the_last_network_are_served() {
    for client in ["0.0.0.1", "0.1.2.3", "240.0.0.1", "255.255.255.254"] {
        let mut world = nat();
        let sent = world.request(&syn_of(client));
        assert_eq!(super::packet::ends(&sent.only().packet).1, (address(SERVER), 8080), "{client}");
        let again = Packet::new((address(client), 40000), (address(VIP), 80), super::packet::ACK).bytes();
        assert_eq!(super::packet::ends(&world.request(&again).only().packet).0, (address(client), 40000));
    }
}
