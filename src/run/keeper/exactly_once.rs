//! Beside a kernel that forwards, each packet in transit is forwarded once: by the kernel, or, where the guard keeps
//! it from the kernel, by the engine.
//!
//! Every packet is sent to a real kernel behind the guard, and put into an engine with the same services and the same
//! network; who forwarded it is counted. A fence shows without waiting that nothing more comes, as wires keep the order.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use etherparse::{IpNumber, Ipv4Header, Ipv6Header};
use pnet::datalink::{self, Channel, DataLinkReceiver, DataLinkSender};

use super::wanted;
use crate::base::{Family, Mac, Port, Protocol, Tick};
use crate::engine::tests::count_sent;
use crate::engine::{Config, Engine, HostStack};
use crate::host::guard::Guard;
use crate::host::network::{Serving, View, Watcher};
use crate::host::testing::{Namespace, namespaces};
use crate::table::{
    Change, DestinationConfig, DestinationKey, ForwardingMethod, MarkMatch, MarkRule, ServiceConfig, ServiceFlags,
    ServiceKey, Tunnel,
};

const TCP: u8 = 6;
const UDP: u8 = 17;
const GRE: u8 = 47;
const ESP: u8 = 50;
const AH: u8 = 51;
const SCTP: u8 = 132;
const ICMP: [u8; 2] = [1, 58];

const CLIENTS: [&str; 2] = ["10.0.0.2", "fd0a::2"];
const VIPS: [&str; 2] = ["10.9.9.9", "fd09::9"];
/// Of a TCP service at port 8080, of a service by mark, and of none.
const WEB: [&str; 2] = ["172.16.0.2", "fd0b::2"];
const MARKED: [&str; 2] = ["172.16.0.3", "fd0b::3"];
const ROUTERS: [&str; 2] = ["172.16.0.254", "fd0b::254"];
/// Sends nothing but fences.
const FENCES: [&str; 2] = ["172.16.0.253", "fd0b::253"];

/// Client, director and real servers' side, which all real servers and routers are in.
struct Site {
    client: Namespace,
    director: Namespace,
    back: Namespace,
}

impl Site {
    fn create() -> Option<Site> {
        let [client, director, back] = namespaces()?;
        client.wire("eth0", &director, "front");
        back.wire("eth0", &director, "back");
        client.ip("addr add 10.0.0.2/24 dev eth0");
        client.ip("addr add fd0a::2/64 dev eth0 nodad");
        director.be_router();
        Some(Site { client, director, back })
    }

    fn view(&self) -> View {
        self.director.run(|| Watcher::open().unwrap().read(&Serving::default()).unwrap())
    }
}

fn open(namespace: &Namespace) -> (Box<dyn DataLinkSender>, Box<dyn DataLinkReceiver>) {
    namespace.run(|| {
        let interface = datalink::interfaces().into_iter().find(|each| each.name == "eth0").unwrap();
        let config = datalink::Config { read_timeout: Some(Duration::from_secs(5)), ..datalink::Config::default() };
        match datalink::channel(&interface, config).unwrap() {
            Channel::Ethernet(sender, receiver) => (sender, receiver),
            _ => panic!("not Ethernet"),
        }
    })
}

/// An engine beside a kernel, with services through NAT: at TCP port 80, and of both families by mark.
fn engine(view: &View) -> Engine {
    let mut engine = Engine::new(&Config { maximum_connections: 64, seed: 1, host_stack: HostStack::Beside });
    engine.set_network(Arc::new(view.network.clone()));
    let mut apply = |change| engine.apply(Tick::ZERO, &change).unwrap();
    for (at, family) in [Family::V4, Family::V6].into_iter().enumerate() {
        let web = ServiceKey::Address { protocol: Protocol::TCP, address: ip(VIPS[at]), port: Port(80) };
        for (key, server, port) in [(web, WEB[at], 8080), (ServiceKey::Mark { family, mark: 7 }, MARKED[at], 0)] {
            let netmask = [u32::MAX, 128][at];
            let (scheduler, flags) = ("rr".to_owned(), ServiceFlags(0));
            let config = ServiceConfig { scheduler, flags, timeout: 0, netmask, engine: None };
            apply(Change::AddService { key, config });
            let server = DestinationKey { address: ip(server), port: Port(port) };
            let (method, tunnel) = (ForwardingMethod::Masquerading, Tunnel::default());
            let config = DestinationConfig { method, weight: 1, upper_threshold: 0, lower_threshold: 0, tunnel };
            apply(Change::AddDestination { service: key, key: server, config });
        }
        let matching = MarkMatch {
            destinations: vec![["10.77.0.0/16", "fd77::/64"][at].parse().unwrap()],
            ..MarkMatch::default()
        };
        apply(Change::AddMark { rule: MarkRule { mark: 7, matching } });
    }
    engine
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// An IP packet; nothing on its way looks at the checksum of what it carries.
fn packet(from: &str, to: &str, protocol: u8, segment: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    match (ip(from), ip(to)) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let length = segment.len() as u16;
            let mut header = Ipv4Header::new(length, 64, IpNumber(protocol), from.octets(), to.octets()).unwrap();
            header.dont_fragment = false;
            header.header_checksum = header.calc_header_checksum();
            header.write(&mut packet).unwrap();
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => Ipv6Header {
            payload_length: segment.len() as u16,
            next_header: IpNumber(protocol),
            hop_limit: 64,
            source: from.octets(),
            destination: to.octets(),
            ..Ipv6Header::default()
        }
        .write(&mut packet)
        .unwrap(),
        _ => panic!("of two families"),
    }
    packet.extend(segment);
    packet
}

/// With ports, and zeros behind them: enough for a header, if a strange one.
fn segment(from: u16, to: u16, length: usize) -> Vec<u8> {
    let mut segment = [from.to_be_bytes(), to.to_be_bytes()].concat();
    segment.resize(length, 0);
    segment
}

/// The same in fragments of at most 800 bytes' payload.
fn cut(packet: &[u8]) -> Vec<Vec<u8>> {
    const SIZE: usize = 800;
    let is_v4 = packet[0] >> 4 == 4;
    let (header, payload) = packet.split_at(if is_v4 { 20 } else { 40 });
    let pieces = payload.chunks(SIZE).enumerate().map(|(index, piece)| {
        let more = (index + 1) * SIZE < payload.len();
        if is_v4 {
            let mut header = Ipv4Header::from_slice(header).unwrap().0;
            header.set_payload_len(piece.len()).unwrap();
            header.identification = 77;
            header.more_fragments = more;
            header.fragment_offset = ((index * SIZE / 8) as u16).try_into().unwrap();
            header.header_checksum = header.calc_header_checksum();
            let mut fragment = Vec::new();
            header.write(&mut fragment).unwrap();
            fragment.extend(piece);
            return fragment;
        }
        let mut fragment = header.to_vec();
        fragment[4..6].copy_from_slice(&(piece.len() as u16 + 8).to_be_bytes());
        let next_header = std::mem::replace(&mut fragment[6], 44);
        fragment.extend([next_header, 0]);
        fragment.extend(((index * SIZE) as u16 | u16::from(more)).to_be_bytes());
        fragment.extend([0, 0, 0, 77]);
        fragment.extend(piece);
        fragment
    });
    pieces.collect()
}

/// Who is to forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Kernel,
    Engine,
}

type Row = (String, Vec<Vec<u8>>, By);

/// What may come from the real servers' side, for the client.
fn rows(at: usize) -> Vec<Row> {
    let (client, web, marked, router) = (CLIENTS[at], WEB[at], MARKED[at], ROUTERS[at]);
    let mut rows: Vec<Row> = Vec::new();
    let mut row = |name: &str, from: &str, packets: Vec<Vec<u8>>, by: By| {
        rows.push((format!("{name} of {from}"), packets, by));
    };
    let message =
        |from, to, kind: u8, rest: &[u8]| packet(from, to, ICMP[at], &[&[kind, 0, 0, 0, 0, 0, 0, 0], rest].concat());
    let [request, reply] = [[8, 0], [128, 129]][at];
    let large = [7; 2000];
    // Each error type that exists, the first after them, and others.
    let errors: &[u8] = [&[3, 4, 11, 12][..], &[1, 2, 3, 4, 127]][at];
    let no_errors: &[u8] = [&[5, 9, 13][..], &[130, 200]][at];

    let from_server = |protocol, port, length| packet(web, client, protocol, &segment(port, 9, length));
    row("its service's port", web, vec![from_server(TCP, 8080, 40)], By::Engine);
    row("another port", web, vec![from_server(TCP, 8081, 40)], By::Kernel);
    row("another protocol", web, vec![from_server(UDP, 8080, 40)], By::Kernel);
    row("GRE", web, vec![from_server(GRE, 0, 40)], By::Kernel);
    row("ESP", web, vec![from_server(ESP, 0, 40)], By::Kernel);
    for protocol in [TCP, UDP, GRE, ESP] {
        let name = format!("fragments of {protocol}");
        row(&name, web, cut(&from_server(protocol, 8081, 2000)), By::Engine);
        row(&name, router, cut(&packet(router, client, protocol, &segment(8080, 9, 2000))), By::Kernel);
    }
    row("a fragment that is all there is", web, cut(&from_server(UDP, 8081, 40)), [By::Kernel, By::Engine][at]);
    for kind in [request, reply] {
        row("echo", web, vec![message(web, client, kind, b"hello")], By::Kernel);
        row("large echo", web, cut(&message(web, client, kind, &large)), By::Engine);
        row("large echo", router, cut(&message(router, client, kind, &large)), By::Kernel);
    }
    let about = |server| packet(client, server, UDP, &segment(9, 9, 30));
    for &kind in errors {
        let name = format!("error {kind}");
        row(&name, web, vec![message(web, client, kind, &about(web))], By::Engine);
        row(&name, web, vec![message(web, client, kind, b"nonsense")], By::Engine);
        row(&name, router, vec![message(router, client, kind, &about(web))], By::Engine);
        row(&name, router, vec![message(router, client, kind, &about(marked))], By::Engine);
        let ping = packet(client, web, ICMP[at], &[request, 0, 0, 0, 0, 0, 0, 0]);
        row(&format!("{name} about a ping"), router, vec![message(router, client, kind, &ping)], By::Engine);
        row(&format!("{name} about others"), router, vec![message(router, client, kind, &about(router))], By::Kernel);
        row(&format!("{name} cut short"), router, vec![message(router, client, kind, &about(web)[..10])], By::Kernel);
    }
    for &kind in no_errors {
        row(&format!("message {kind}"), web, vec![message(web, client, kind, &about(web))], By::Kernel);
    }
    for (protocol, by) in
        [(TCP, By::Engine), (UDP, By::Engine), (SCTP, By::Engine), (GRE, By::Kernel), (ESP, By::Engine)]
    {
        let any = packet(marked, client, protocol, &segment(1234, 9, 40));
        row(&format!("any port of {protocol}"), marked, vec![any], by);
    }
    // An authentication header as nobody would want to read it: what would be behind it is not there.
    let authenticated = |from| packet(from, client, AH, &[255; 40]);
    row("AH", web, vec![authenticated(web)], By::Kernel);
    row("AH", marked, vec![authenticated(marked)], [By::Engine, By::Kernel][at]);
    rows
}

#[test]
fn every_packet_in_transit_is_forwarded_by_one_of_kernel_and_engine() {
    let Some(site) = Site::create() else { return };
    let view = site.view();
    let link = |name: &str| view.served.iter().map(|&id| view.network.link(id).unwrap()).find(|link| link.name == name);
    let (back, mac) = link("back").map(|link| (link.id, link.mac)).unwrap();
    let mut engine = engine(&view);
    let rules = wanted(&engine, &[]);
    let links: Vec<_> = view.served.iter().map(|&id| view.network.link(id).unwrap().clone()).collect();
    let mut guard = site.director.run(move || Guard::open(&links).unwrap());
    guard.update(rules).unwrap();
    let (mut wire, _) = open(&site.back);
    let (_, mut heard) = open(&site.client);
    let mut wrong = Vec::new();
    for at in [0, 1] {
        let fence = packet(FENCES[at], CLIENTS[at], UDP, &segment(9, 9, 40));
        for (name, packets, by) in rows(at) {
            for packet in packets.iter().chain([&fence]) {
                wire.send_to(&framed(mac, packet), None).unwrap().unwrap();
            }
            let by_kernel = forwarded_by_kernel(&mut *heard, at);
            let by_engine: usize =
                packets.iter().map(|packet| count_sent(&mut engine, back, &framed(mac, packet))).sum();
            let expected = match by {
                By::Kernel => (packets.len(), 0),
                By::Engine => (0, packets.len()),
            };
            if (by_kernel, by_engine) != expected {
                wrong.push(format!("{name}: {by_kernel} by the kernel, {by_engine} by the engine, not {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    guard.close().unwrap();
}

fn framed(mac: Mac, packet: &[u8]) -> Vec<u8> {
    let kind = if packet[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    [&mac.0[..], &[2, 0, 0, 0, 0, 9], &kind, packet].concat()
}

/// How many packets reach the client before the fence does.
fn forwarded_by_kernel(heard: &mut dyn DataLinkReceiver, at: usize) -> usize {
    let (kind, source) = [([0x08, 0x00], 26..30), ([0x86, 0xdd], 22..38)][at].clone();
    let octets = |text: &str| match ip(text) {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let sources = [WEB[at], MARKED[at], ROUTERS[at]].map(octets);
    let fence = octets(FENCES[at]);
    let mut count = 0;
    loop {
        let frame = heard.next().unwrap();
        if frame.get(12..14) != Some(&kind) {
            continue;
        }
        let from = frame.get(source.clone()).unwrap_or_default();
        if from == fence {
            return count;
        }
        count += usize::from(sources.iter().any(|each| each == from));
    }
}
