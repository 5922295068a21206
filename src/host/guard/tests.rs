//! The guard in front of real kernels: a client, a director with forwarding on, a real server.
//!
//! That nothing comes is shown without waiting: what is guarded is sent first, then a fence that
//! is not. Wires keep the order, so when the fence arrives the other would have arrived before.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket};
use std::process::{Command as Process, Stdio};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::*;
use crate::base::{Port, Protocol};
use crate::host::network::{Serving, Watcher};
use crate::host::testing::{Namespace, eventually, namespaces};
use crate::table::{MarkMatch, MarkRule};

/// Client 10.0.0.2 and fd0a::2; director .1 on both sides, with 10.9.9.9 and fd09::9 on lo; real
/// server 172.16.0.2 and fd0b::2.
struct Site {
    client: Namespace,
    director: Namespace,
    server: Namespace,
}

impl Site {
    fn create() -> Option<Site> {
        let [client, director, server] = namespaces()?;
        client.wire("eth0", &director, "front");
        server.wire("eth0", &director, "back");
        director.be_router();
        for (inside, commands) in [
            (
                &client,
                &[
                    "addr add 10.0.0.2/24 dev eth0",
                    "route add default via 10.0.0.1",
                    "addr add fd0a::2/64 dev eth0 nodad",
                    "route add default via fd0a::1",
                ][..],
            ),
            (
                &director,
                &[
                    "addr add 10.9.9.9/32 dev lo",
                    "addr add fd09::9/128 dev lo nodad",
                    "route add 10.8.8.0/24 via 172.16.0.2",
                    "route add fd08::/64 via fd0b::2",
                ],
            ),
            (
                &server,
                &[
                    "addr add 172.16.0.2/24 dev eth0",
                    "route add default via 172.16.0.1",
                    "addr add fd0b::2/64 dev eth0 nodad",
                    "route add default via fd0b::1",
                    "addr add 10.8.8.8/32 dev lo",
                    "addr add 10.8.8.9/32 dev lo",
                    "addr add fd08::8/128 dev lo nodad",
                    "addr add fd08::9/128 dev lo nodad",
                ],
            ),
        ] {
            commands.iter().for_each(|command| {
                inside.ip(command);
            });
        }
        Some(Site { client, director, server })
    }

    fn links(&self) -> Vec<Link> {
        self.director.run(|| {
            let view = Watcher::open().unwrap().read(&Serving::default()).unwrap();
            view.served.iter().map(|&id| view.network.link(id).unwrap().clone()).collect()
        })
    }

    fn guard(&self, scheme: Scheme) -> Guard {
        let links = self.links();
        self.director.run(move || Guard::open_as(&[scheme], &links).unwrap())
    }

    fn rulesets(&self) -> String {
        self.director.try_command("nft", "list ruleset").unwrap()
    }
}

/// Binds a UDP socket. A child that some test is starting may hold an old one for a moment.
fn bind(address: SocketAddr) -> UdpSocket {
    let mut bound = None;
    eventually("the address is free", || match UdpSocket::bind(address) {
        Ok(socket) => bound.replace(socket).is_none(),
        Err(error) if error.kind() == ErrorKind::AddrInUse => false,
        Err(error) => panic!("{address}: {error}"),
    });
    bound.unwrap()
}

/// Waits for a datagram; who sent it. A signal to some thread may end the wait early.
fn receive(inbox: &UdpSocket) -> SocketAddr {
    loop {
        match inbox.recv_from(&mut [0; 4096]) {
            Ok((_, from)) => return from,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("nothing came: {error}"),
        }
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Whether the kernel at `address` says anything to a SYN before the fence is answered.
fn answered(client: &Namespace, address: SocketAddr, fence: SocketAddr) -> bool {
    client.run(move || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        let started = socket.connect(&address.into()).unwrap_err();
        assert_eq!(started.raw_os_error(), Some(libc::EINPROGRESS), "{address}");
        let refused = TcpStream::connect_timeout(&fence, Duration::from_secs(5)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{fence}");
        socket.take_error().unwrap().is_some()
    })
}

/// Which of the datagrams sent from `sources` (the last one is the fence) arrive at `to`.
fn arrived(
    sender: &Namespace,
    sources: &[SocketAddr],
    receiver: &Namespace,
    to: SocketAddr,
    size: usize,
) -> Vec<SocketAddr> {
    let inbox = receiver.run(move || {
        let inbox = bind(to);
        inbox.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        inbox
    });
    let list = sources.to_vec();
    sender.run(move || {
        for source in list {
            bind(source).send_to(&vec![7; size], to).unwrap();
        }
    });
    let mut arrived = Vec::new();
    while arrived.last() != sources.last() {
        arrived.push(receive(&inbox));
    }
    arrived
}

fn tcp(address: SocketAddr) -> Endpoint {
    Endpoint { address: address.ip(), protocol: Protocol::TCP, port: Port(address.port()) }
}

fn udp(address: SocketAddr) -> Endpoint {
    Endpoint { protocol: Protocol::UDP, ..tcp(address) }
}

const SCHEMES: [Scheme; 2] = [Scheme::Ingress, Scheme::Hooks];
const VIPS: [&str; 2] = ["10.9.9.9", "[fd09::9]"];

#[test]
fn requests_to_services_do_not_reach_the_kernel_and_others_do() {
    let Some(site) = Site::create() else { return };
    for vip in VIPS {
        // It is the guard that makes the difference.
        assert!(answered(&site.client, at(&format!("{vip}:80")), at(&format!("{vip}:81"))));
    }
    for scheme in SCHEMES {
        let mut guard = site.guard(scheme);
        assert_eq!(guard.scheme(), scheme);
        for vip in VIPS {
            let [service, other, udp_service] = [80, 81, 53].map(|port| at(&format!("{vip}:{port}")));
            let mut rules = GuardRules::default();
            rules.services.extend([tcp(service), udp(udp_service)]);
            guard.update(rules.clone()).unwrap();
            assert!(!answered(&site.client, service, other), "{scheme:?} {service}");
            // The other protocol on the same port is the kernel's.
            assert!(answered(&site.client, udp_service, other), "{scheme:?} {udp_service}");
            // From the director itself, everything is.
            assert!(answered(&site.director, service, other), "{scheme:?} {service}");

            let mut wildcard = GuardRules::default();
            wildcard.services.insert(Endpoint { port: Port::ANY, ..tcp(service) });
            guard.update(wildcard.clone()).unwrap();
            let gateway = at(if service.is_ipv4() { "10.0.0.1:9" } else { "[fd0a::1]:9" });
            assert!(!answered(&site.client, service, gateway), "{scheme:?} {service}");
            assert!(!answered(&site.client, other, gateway), "{scheme:?} {other}");

            guard.update(GuardRules::default()).unwrap();
            assert!(answered(&site.client, service, other), "{scheme:?} {service}");
        }
        guard.close().unwrap();
        assert_eq!(site.rulesets(), "");
    }
}

#[test]
fn a_packet_socket_still_sees_what_the_guard_drops() {
    use etherparse::{SlicedPacket, TransportSlice};
    use pnet::datalink::{self, Channel, Config};

    let Some(site) = Site::create() else { return };
    for scheme in SCHEMES {
        let mut guard = site.guard(scheme);
        let [service, other] = [80, 81].map(|port| at(&format!("10.9.9.9:{port}")));
        guard.update(GuardRules { services: [tcp(service)].into(), ..GuardRules::default() }).unwrap();
        let channel = site.director.run(|| {
            let interface = datalink::interfaces().into_iter().find(|each| each.name == "front").unwrap();
            let config = Config { read_timeout: Some(Duration::from_millis(10)), ..Config::default() };
            datalink::channel(&interface, config).unwrap()
        });
        let Channel::Ethernet(_, mut frames) = channel else { panic!("not Ethernet") };
        assert!(!answered(&site.client, service, other), "{scheme:?}");
        eventually("the frame is seen", || {
            let Ok(frame) = frames.next() else { return false };
            let packet = SlicedPacket::from_ethernet(frame);
            matches!(packet, Ok(SlicedPacket { transport: Some(TransportSlice::Tcp(tcp)), .. })
                if tcp.destination_port() == service.port() && tcp.syn())
        });
        guard.close().unwrap();
    }
}

#[test]
fn addresses_of_the_director_alone_are_not_forwarded() {
    let Some(site) = Site::create() else { return };
    for scheme in SCHEMES {
        let mut guard = site.guard(scheme);
        for (owned, other, from) in [("10.8.8.8", "10.8.8.9", "10.0.0.2"), ("[fd08::8]", "[fd08::9]", "[fd0a::2]")] {
            let (owned, other, from) = (at(&format!("{owned}:7")), at(&format!("{other}:7")), at(&format!("{from}:0")));
            let reaches = |guarded: bool| {
                let inboxes = site.server.run(move || {
                    [owned, other].map(|address| {
                        let inbox = bind(address);
                        inbox.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                        inbox
                    })
                });
                site.client.run(move || {
                    let socket = bind(from);
                    socket.send_to(b"?", owned).unwrap();
                    socket.send_to(b"?", other).unwrap();
                });
                let [owned, other] = inboxes;
                receive(&other);
                owned.set_nonblocking(true).unwrap();
                assert_eq!(owned.recv_from(&mut [0; 8]).is_err(), guarded, "{scheme:?}");
            };
            guard.update(GuardRules::default()).unwrap();
            reaches(false);
            guard.update(GuardRules { owned: [owned.ip()].into(), ..GuardRules::default() }).unwrap();
            reaches(true);
        }
        guard.close().unwrap();
    }
}

#[test]
fn replies_of_nated_real_servers_are_not_forwarded_but_reach_the_director() {
    let Some(site) = Site::create() else { return };
    for scheme in SCHEMES {
        let mut guard = site.guard(scheme);
        for (server, client, director) in
            [("172.16.0.2", "10.0.0.2", "172.16.0.1"), ("[fd0b::2]", "[fd0a::2]", "[fd0b::1]")]
        {
            let [guarded, fence] = [53, 54].map(|port| at(&format!("{server}:{port}")));
            let (client, director) = (at(&format!("{client}:4000")), at(&format!("{director}:4000")));
            let both = [guarded, fence];
            assert_eq!(arrived(&site.server, &both, &site.client, client, 10), both, "{scheme:?}");
            let exact = GuardRules { real_servers: [udp(guarded)].into(), ..GuardRules::default() };
            guard.update(exact.clone()).unwrap();
            assert_eq!(arrived(&site.server, &both, &site.client, client, 10), [fence], "{scheme:?}");
            assert_eq!(arrived(&site.server, &both, &site.director, director, 10), both, "{scheme:?}");
            assert_eq!(arrived(&site.server, &both, &site.director, director, 3000), both, "{scheme:?}");
            let wildcard = Endpoint { port: Port::ANY, ..udp(guarded) };
            guard.update(GuardRules { real_servers: [wildcard].into(), ..GuardRules::default() }).unwrap();
            let inbox = site.client.run(move || bind(client));
            site.server.run(move || {
                for source in both {
                    bind(source).send_to(b"?", client).unwrap();
                }
                // Its other protocols pass: the fence is a refused connection.
                let refused = TcpStream::connect_timeout(&client, Duration::from_secs(5)).unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{scheme:?}");
            });
            inbox.set_nonblocking(true).unwrap();
            assert!(inbox.recv_from(&mut [0; 8]).is_err(), "{scheme:?}");
            guard.update(GuardRules::default()).unwrap();
        }
        guard.close().unwrap();
    }
}

#[test]
fn what_nated_real_servers_tell_everybody_reaches_the_host() {
    let Some(site) = Site::create() else { return };
    for scheme in SCHEMES {
        let mut guard = site.guard(scheme);
        let sources = [at("172.16.0.2:53"), at("[fd0b::2]:53")];
        guard.update(GuardRules { real_servers: sources.map(udp).into(), ..GuardRules::default() }).unwrap();
        let index = site.server.run(|| nix::net::if_::if_nametoindex("eth0").unwrap());
        let all_nodes = SocketAddrV6::new(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), 4000, 0, index);
        for (source, any, everybody) in [
            (sources[0], "0.0.0.0:4000", at("172.16.0.255:4000")),
            (sources[0], "0.0.0.0:4000", at("255.255.255.255:4000")),
            (sources[0], "0.0.0.0:4000", at("224.0.0.1:4000")),
            (sources[1], "[::]:4000", all_nodes.into()),
        ] {
            let inbox = site.director.run(move || {
                let inbox = bind(at(any));
                inbox.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                inbox
            });
            site.server.run(move || {
                let socket = bind(source);
                socket.set_broadcast(true).unwrap();
                socket.send_to(b"?", everybody).unwrap();
            });
            assert_eq!(receive(&inbox), source, "{everybody} {scheme:?}");
        }
        guard.close().unwrap();
    }
}

/// The frames of an address that came by a namespace's `eth0`, up to the UDP datagram from the
/// fence's port: kind of payload, as text.
fn overheard(receiver: &Namespace, act: impl FnOnce(), source: IpAddr, fence: u16) -> Vec<String> {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};
    use pnet::datalink::{self, Channel, Config};

    let channel = receiver.run(|| {
        let interface = datalink::interfaces().into_iter().find(|each| each.name == "eth0").unwrap();
        let config = Config { read_timeout: Some(Duration::from_secs(5)), ..Config::default() };
        datalink::channel(&interface, config).unwrap()
    });
    let Channel::Ethernet(_, mut frames) = channel else { panic!("not Ethernet") };
    act();
    let mut heard = Vec::new();
    loop {
        let frame = frames.next().unwrap();
        let Ok(packet) = SlicedPacket::from_ethernet(frame) else { continue };
        let from = match &packet.net {
            Some(NetSlice::Ipv4(header)) => IpAddr::V4(header.header().source_addr()),
            Some(NetSlice::Ipv6(header)) => IpAddr::V6(header.header().source_addr()),
            _ => continue,
        };
        match packet.transport {
            _ if from != source => {}
            Some(TransportSlice::Udp(udp)) if udp.source_port() == fence => return heard,
            Some(TransportSlice::Icmpv6(icmp)) if (133..=137).contains(&icmp.type_u8()) => {}
            Some(transport) => heard.push(format!("{transport:?}")),
            None => heard.push("fragment".to_owned()),
        }
    }
}

#[test]
fn fragments_and_icmp_errors_of_nated_real_servers_are_not_forwarded() {
    let Some(site) = Site::create() else { return };
    site.server.sysctl("net.ipv4.icmp_ratelimit", "0");
    site.server.sysctl("net.ipv6.icmp.ratelimit", "0");
    for scheme in SCHEMES {
        let mut guard = site.guard(scheme);
        for (server, client) in [("172.16.0.2", "10.0.0.2"), ("[fd0b::2]", "[fd0a::2]")] {
            let [guarded, fence, closed] = [53, 54, 9].map(|port| at(&format!("{server}:{port}")));
            let client = at(&format!("{client}:4000"));
            let traffic = || {
                overheard(
                    &site.client,
                    || {
                        // The client's question to a closed port has the server complain.
                        site.client.run(move || bind(client).send_to(b"?", closed).unwrap());
                        site.server.run(move || {
                            bind(guarded).send_to(&[7; 3000], client).unwrap();
                            bind(fence).send_to(b"?", client).unwrap();
                        });
                    },
                    guarded.ip(),
                    fence.port(),
                )
            };
            guard.update(GuardRules::default()).unwrap();
            // The complaint, and three fragments, of which only the first shows its ports or none does.
            assert_eq!(traffic().len(), 4, "{scheme:?}");
            // Fragments are kept whatever they are of, and do not show.
            for server in [udp(guarded), tcp(guarded)] {
                guard.update(GuardRules { real_servers: [server].into(), ..GuardRules::default() }).unwrap();
                assert_eq!(traffic().len(), 0, "{scheme:?} {server:?}");
            }
        }
        guard.close().unwrap();
    }
}

#[test]
fn errors_of_routers_about_nated_real_servers_are_not_forwarded() {
    let Some(site) = Site::create() else { return };
    site.server.sysctl("net.ipv4.icmp_ratelimit", "0");
    site.server.sysctl("net.ipv6.icmp.ratelimit", "0");
    // The server is a router now, which cannot reach what is behind it.
    site.server.sysctl("net.ipv4.ip_forward", "1");
    site.server.sysctl("net.ipv6.conf.all.forwarding", "1");
    site.server.ip("route add unreachable 10.8.8.7/32");
    site.server.ip("route add unreachable fd08::7/128");
    for scheme in SCHEMES {
        let mut guard = site.guard(scheme);
        for (router, client, behind) in
            [("172.16.0.2:54", "10.0.0.2:4000", "10.8.8.7:80"), ("[fd0b::2]:54", "[fd0a::2]:4000", "[fd08::7]:80")]
        {
            let (fence, client, behind) = (at(router), at(client), at(behind));
            let complaints = || {
                // The fence follows the question all the way there, and the complaint back.
                let ask_and_end = || {
                    let inbox = site.server.run(move || bind(fence));
                    site.client.run(move || {
                        let socket = bind(client);
                        socket.send_to(b"?", behind).unwrap();
                        socket.send_to(b"?", fence).unwrap();
                    });
                    inbox.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                    assert_eq!(receive(&inbox), client);
                    inbox.send_to(b"!", client).unwrap();
                };
                overheard(&site.client, ask_and_end, fence.ip(), fence.port()).len()
            };
            guard.update(GuardRules::default()).unwrap();
            assert_eq!(complaints(), 1, "{scheme:?}");
            guard.update(GuardRules { real_servers: [tcp(behind)].into(), ..GuardRules::default() }).unwrap();
            assert_eq!(complaints(), 0, "{scheme:?}");
        }
        guard.close().unwrap();
    }
}

#[test]
fn marks_are_followed_as_the_last_rule_that_matches_says() {
    let Some(site) = Site::create() else { return };
    for scheme in SCHEMES {
        let mut guard = site.guard(scheme);
        for (network, vip, family) in [("10.9.0.0/16", "10.9.9.9", Family::V4), ("fd09::/32", "[fd09::9]", Family::V6)]
        {
            let destinations = vec![network.parse().unwrap()];
            let ports = |range| MarkMatch {
                protocols: vec![Protocol::TCP],
                destinations: destinations.clone(),
                destination_ports: vec![range],
                ..MarkMatch::default()
            };
            let rule = |mark, matching| MarkRule { mark, matching };
            let elsewhere = MarkMatch { links: vec!["back".into()], ..MarkMatch::default() };
            let rules = GuardRules {
                marks: vec![
                    rule(7, ports(8000..=8999)),
                    rule(1, ports(8080..=8080)),
                    rule(7, elsewhere),
                    rule(7, MarkMatch { links: vec!["front".into()], ..ports(9000..=9000) }),
                ],
                mark_services: [(family, 7)].into(),
                ..GuardRules::default()
            };
            guard.update(rules.clone()).unwrap();
            let [below, first, last, above, other, by_link] =
                [7999, 8000, 8999, 9001, 8080, 9000].map(|port| at(&format!("{vip}:{port}")));
            for (address, guarded) in [(first, true), (last, true), (above, false), (other, false), (by_link, true)] {
                assert_eq!(answered(&site.client, address, below), !guarded, "{scheme:?} {address}");
            }
            guard.update(GuardRules::default()).unwrap();
            assert!(answered(&site.client, first, below), "{scheme:?}");
        }
        guard.close().unwrap();
    }
}

#[test]
fn links_come_and_go() {
    let Some(site) = Site::create() else { return };
    for scheme in SCHEMES {
        let links = site.links();
        let mut guard = site.director.run(move || Guard::open_as(&[scheme], []).unwrap());
        let [service, other] = [80, 81].map(|port| at(&format!("10.9.9.9:{port}")));
        guard.update(GuardRules { services: [tcp(service)].into(), ..GuardRules::default() }).unwrap();
        assert!(answered(&site.client, service, other), "{scheme:?}");
        guard.set_links(&links).unwrap();
        assert!(!answered(&site.client, service, other), "{scheme:?}");
        guard.set_links(links.iter().filter(|link| link.name == "back")).unwrap();
        assert!(answered(&site.client, service, other), "{scheme:?}");
        guard.set_links(&links).unwrap();
        site.director.ip("link add extra type veth peer name extra1");
        site.director.ip("link set extra up");
        let more = site.links();
        guard.set_links(&more).unwrap();
        site.director.ip("link del extra");
        guard.set_links(&links).unwrap();
        assert!(!answered(&site.client, service, other), "{scheme:?}");
        guard.close().unwrap();
        assert_eq!(site.rulesets(), "");
    }
}

#[test]
fn frames_of_a_vlan_belong_to_another_interface() {
    use etherparse::{PacketBuilder, VlanId};
    use pnet::datalink::{self, Channel, Config};

    let Some(site) = Site::create() else { return };
    // Counts what the guard let through.
    for command in [
        "add table netdev mine",
        "add chain netdev mine in { type filter hook ingress device front priority 0 ; }",
        "add rule netdev mine in vlan id 5 counter",
        "add rule netdev mine in ip daddr 10.9.9.9 counter",
    ] {
        site.director.try_command("nft", command).unwrap();
    }
    let mut guard = site.guard(Scheme::Ingress);
    let service = at("10.9.9.9:80");
    guard.update(GuardRules { services: [tcp(service)].into(), ..GuardRules::default() }).unwrap();
    let channel = site.client.run(|| {
        let interface = datalink::interfaces().into_iter().find(|each| each.name == "eth0").unwrap();
        datalink::channel(&interface, Config::default()).unwrap()
    });
    let Channel::Ethernet(mut to_wire, _) = channel else { panic!("not Ethernet") };
    let ethernet = || PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], [0xff; 6]);
    let [mut plain, mut tagged] = [Vec::new(), Vec::new()];
    let (from, to) = ([10, 0, 0, 2], [10, 9, 9, 9]);
    ethernet().ipv4(from, to, 64).tcp(40000, 80, 1, 1000).syn().write(&mut plain, &[]).unwrap();
    let vlan = VlanId::try_new(5).unwrap();
    ethernet().single_vlan(vlan).ipv4(from, to, 64).tcp(40000, 80, 1, 1000).syn().write(&mut tagged, &[]).unwrap();
    to_wire.send_to(&plain, None).unwrap().unwrap();
    to_wire.send_to(&tagged, None).unwrap().unwrap();
    let counted = || site.director.try_command("nft", "list chain netdev mine in").unwrap();
    eventually("the tagged frame passed", || counted().contains("vlan id 5 counter packets 1 "));
    // nft takes the tag's packet for one to that address, too: of the two, it alone passed.
    assert!(counted().contains("10.9.9.9 counter packets 1 "), "{}", counted());
}

/// Not a test by itself: the director that is killed, started by the test below.
#[test]
fn a_director_to_be_killed() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let _guard = Guard::open([]).unwrap();
    println!("{VICTIM} is up");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

const VICTIM: &str = "ULVS_GUARD_VICTIM";

#[test]
fn the_guard_goes_with_its_director_even_by_sigkill() {
    use std::io::{BufRead, BufReader};

    let Some(site) = Site::create() else { return };
    site.director.try_command("nft", "add table inet mine").unwrap();
    let before = site.rulesets();
    let mut victim = site.director.run(|| {
        Process::new(std::env::current_exe().unwrap())
            .args(["--exact", "host::guard::tests::a_director_to_be_killed", "--nocapture"])
            .env(VICTIM, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    });
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains(&format!("{VICTIM} is up"))));
    assert!(site.rulesets().contains("table netdev ulvs"));
    let second = site.director.run(|| Guard::open([]).map(|_| ()));
    assert!(matches!(second, Err(GuardError::AnotherDirector)), "{second:?}");
    victim.kill().unwrap();
    victim.wait().unwrap();
    eventually("the kernel removed the table", || site.rulesets() == before);
}

#[test]
fn what_a_dead_director_left_without_an_owner_is_removed() {
    let Some(site) = Site::create() else { return };
    for table in ["inet ulvs", "netdev ulvs", "ip ulvs", "inet other"] {
        site.director.try_command("nft", &format!("add table {table}")).unwrap();
    }
    let guard = site.director.run(|| Guard::open([]).unwrap());
    assert!(!site.rulesets().contains("table inet ulvs"));
    drop(guard);
    assert_eq!(site.rulesets(), "table ip ulvs {\n}\ntable inet other {\n}\n");
}

#[test]
fn thousands_of_services_are_updated_by_difference() {
    let Some(site) = Site::create() else { return };
    let mut guard = site.guard(Scheme::Ingress);
    let mut rules = GuardRules::default();
    for high in 0..20 {
        for low in 0..250 {
            let address = IpAddr::from([10, 77, high, low]);
            rules.services.insert(Endpoint { address, protocol: Protocol::TCP, port: Port(80) });
            let address = IpAddr::from([172, 20, high, low]);
            rules.real_servers.insert(Endpoint { address, protocol: Protocol::TCP, port: Port(80) });
        }
    }
    guard.update(rules.clone()).unwrap();
    let elements = |set: &str| site.director.try_command("nft", &format!("list set netdev ulvs {set}")).unwrap();
    assert_eq!(elements("services4").matches(". tcp .").count(), 5000);
    assert_eq!(elements("replies4").matches(". tcp .").count(), 5000);
    rules.services.retain(|endpoint| endpoint.address != IpAddr::from([10, 77, 3, 3]));
    rules.services.insert(udp(at("10.77.3.3:53")));
    guard.update(rules.clone()).unwrap();
    let listed = elements("services4");
    assert_eq!(listed.matches(". tcp .").count(), 4999);
    assert!(listed.contains("10.77.3.3 . udp . 53"), "{listed}");
    guard.update(GuardRules::default()).unwrap();
    assert_eq!(elements("services4").matches(". tcp .").count(), 0);
    assert_eq!(elements("real_servers4").matches("172.20").count(), 0);
}

#[test]
fn without_the_capability_the_guard_says_so() {
    let Some(site) = Site::create() else { return };
    let links = site.links();
    let refused = site.director.run(move || {
        crate::host::sys::keep_capabilities(0).unwrap();
        Guard::open(&links).map(|_| ())
    });
    assert!(matches!(refused, Err(GuardError::NotPermitted)), "{refused:?}");
}
