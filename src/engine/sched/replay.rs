//! Recorded kernel decisions replayed: each frame of a transcript that starts a connection must be
//! given to the destination that the kernel's ip_vs gave it to.
//!
//! The director here is a model just large enough for that: the ipvsadm lines of the transcripts, and
//! connections with their states and timeouts as far as the counts on destinations depend on them.
//! The counts are held against the recorded listings too, so that the model cannot drift unnoticed.
//!
//! `ULVS_TRANSCRIPTS=FOLDER` replays that folder's transcripts in addition.

use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use serde_json::Value;

use super::{Pool, Request, Scheduler};
use crate::base::{Address, DestinationId, Family, Port, Prefix, Protocol, ServiceId, Tick};
use crate::engine::server::{Destination, Destinations, ServerList, Tally, Told};
use crate::table::{DestinationKey, ForwardingMethod, SchedulerKind, ServiceFlags, ServiceKey, Settings, Tunnel};

#[test]
fn every_recorded_choice_is_made_again() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("netns-tests/transcripts");
    let mut files: Vec<PathBuf> = transcripts(&folder);
    files.retain(|path| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        name.starts_with("sched-") || name == "thresholds" || name == "quiesce"
    });
    assert!(files.len() >= 11, "transcripts are missing from {}", folder.display());
    if let Some(more) = std::env::var_os("ULVS_TRANSCRIPTS") {
        files.extend(transcripts(Path::new(&more)));
    }
    let failures: Vec<String> = files.iter().flat_map(|path| replay(path)).collect();
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}

fn transcripts(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    files
}

/// Replays one transcript; returns what went differently.
fn replay(path: &Path) -> Vec<String> {
    let case: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let steps = case["steps"].as_array().unwrap();
    let mut director = Director::default();
    let mut failures = Vec::new();
    let mut choices = 0;
    for (index, step) in steps.iter().enumerate() {
        let now = Tick((step["t"].as_f64().unwrap() * 1000.0) as u64);
        director.expire(now);
        let mut differs = |what: String| failures.push(format!("{} step {index}: {what}", case["name"]));
        if let Some(command) = step["ipvsadm"].as_str() {
            if step["rc"] == 0 {
                director.command(command);
            }
            if command == "-Ln" {
                director.compare(step["stdout"].as_str().unwrap()).into_iter().for_each(&mut differs);
            }
        } else if let Some(name) = step["sysctl"].as_str() {
            director.settings.set(name, &step["value"].to_string()).unwrap();
        } else if let Some(mark) = step["mark"].as_u64() {
            let rule = step["match"].as_str().unwrap();
            let prefix = rule.split_once("daddr ").unwrap().1.parse().unwrap();
            director.marks.push((prefix, mark as u32));
        } else if let Some(link) = step["in"].as_str() {
            let packet = Packet::parse(&bytes(step));
            if link == "eth1" {
                director.reply(now, &packet);
                continue;
            }
            let outs = steps[index + 1..].iter().take_while(|step| step["out"].is_string());
            let recorded = outs.filter(|step| step["out"] == "eth1").map(|step| bytes(step)[5] - 10).next();
            let chosen = director.request(now, &packet);
            choices += 1;
            if chosen != recorded {
                differs(format!("{} went to {recorded:?}, here to {chosen:?}", step["note"]));
            }
        }
    }
    if choices == 0 {
        failures.push(format!("{}: no frame in it asks for a choice", case["name"]));
    }
    failures
}

fn bytes(step: &Value) -> Vec<u8> {
    let text = step["frame"].as_str().unwrap();
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap()).collect()
}

/// The fields of a frame that the model looks at.
#[derive(Clone, Copy, Debug)]
struct Packet {
    family: Family,
    protocol: Protocol,
    source: IpAddr,
    destination: IpAddr,
    source_port: Port,
    destination_port: Port,
    event: Event,
}

/// What a packet means to the TCP state machine; the numbers are columns of the tables below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Syn = 0,
    Fin = 1,
    Ack = 2,
    Reset = 3,
    Datagram,
}

impl Packet {
    fn parse(frame: &[u8]) -> Packet {
        let packet = SlicedPacket::from_ethernet(frame).unwrap();
        let (source, destination): (IpAddr, IpAddr) = match packet.net.unwrap() {
            NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            NetSlice::Arp(_) => panic!("no ARP in transcripts"),
        };
        let (protocol, source_port, destination_port, event) = match packet.transport.unwrap() {
            TransportSlice::Tcp(tcp) => {
                let event = match (tcp.rst(), tcp.syn(), tcp.fin()) {
                    (true, _, _) => Event::Reset,
                    (_, true, _) => Event::Syn,
                    (_, _, true) => Event::Fin,
                    _ => Event::Ack,
                };
                (Protocol::TCP, tcp.source_port(), tcp.destination_port(), event)
            }
            TransportSlice::Udp(udp) => (Protocol::UDP, udp.source_port(), udp.destination_port(), Event::Datagram),
            other => panic!("no {other:?} in these transcripts"),
        };
        let (source_port, destination_port) = (Port(source_port), Port(destination_port));
        Packet { family: Family::of(&source), protocol, source, destination, source_port, destination_port, event }
    }
}

const ESTABLISHED: u8 = 1;
const TIME_WAIT: u8 = 5;
const CLOSE: u8 = 6;
/// The states in which a connection is active: ESTABLISHED, SYN_SENT, SYN_RECV, SYNACK.
const ACTIVE: [u8; 4] = [ESTABLISHED, 2, 3, 10];
const TIMEOUTS: [u64; 11] = [2, 900, 120, 60, 120, 120, 10, 60, 30, 120, 120];
/// Rows: state before, columns: SYN FIN ACK RST.
type States = [[u8; 4]; 11];
#[rustfmt::skip]
const INPUT: States = [
    [3,6,1,6], [1,7,1,6], [1,2,2,6], [3,5,1,3], [3,5,4,6], [3,5,5,6], [3,6,6,6], [3,7,7,6], [3,8,6,8], [3,9,9,9],
    [3,5,1,3],
];
#[rustfmt::skip]
const OUTPUT: States = [
    [2,5,1,6], [1,4,1,6], [2,2,2,2], [3,5,1,6], [2,4,4,6], [2,5,5,5], [2,6,6,6], [2,5,7,6], [2,8,8,6], [9,9,1,6],
    [3,5,1,6],
];
#[rustfmt::skip]
const INPUT_ONLY: States = [
    [3,6,1,6], [1,4,1,6], [1,2,2,6], [3,5,1,3], [3,4,4,6], [3,5,5,6], [3,6,6,6], [3,7,7,6], [3,8,6,8], [3,9,9,9],
    [3,5,1,6],
];

/// Protocol, client, virtual address.
type Flow = (Protocol, IpAddr, Port, IpAddr, Port);

#[derive(Debug)]
struct Connection {
    destination: DestinationId,
    state: u8,
    active: bool,
    deadline: Tick,
}

#[derive(Debug)]
struct Service {
    flags: ServiceFlags,
    list: ServerList,
    scheduler: Option<Scheduler>,
}

#[derive(Debug, Default)]
struct Director {
    destinations: Destinations,
    services: HashMap<ServiceKey, Service>,
    /// Every destination there ever was: none leaves the trash in the short time of a transcript.
    known: HashMap<(ServiceKey, DestinationKey), DestinationId>,
    connections: HashMap<Flow, Connection>,
    marks: Vec<(Prefix, u32)>,
    settings: Settings,
    udp_timeout: Option<u64>,
}

impl Director {
    // --- packets

    /// A client's packet; returns the number of the real server it goes to.
    fn request(&mut self, now: Tick, packet: &Packet) -> Option<u8> {
        let flow = (packet.protocol, packet.source, packet.source_port, packet.destination, packet.destination_port);
        if let Some(connection) = self.connections.get(&flow) {
            let destination = self.destinations.get(connection.destination).unwrap();
            let expires = self.settings.expire_nodest_conn != 0;
            let reused = packet.event == Event::Syn
                && (expires && destination.weight == 0 || [TIME_WAIT, CLOSE].contains(&connection.state));
            if !reused && destination.available {
                let table = if destination.method == ForwardingMethod::Masquerading { &INPUT } else { &INPUT_ONLY };
                return Some(self.advance(now, &flow, packet.event, table));
            }
            if !reused && !expires {
                return None;
            }
            // Its timer fires after this packet is through.
            let old = self.connections.remove(&flow).unwrap();
            let number = self.schedule(now, packet, flow);
            self.unbind(&old);
            return number;
        }
        self.schedule(now, packet, flow)
    }

    /// A real server's packet.
    fn reply(&mut self, now: Tick, packet: &Packet) {
        let found = self.connections.iter().find(|((protocol, client, client_port, _, _), connection)| {
            let server = self.destinations.get(connection.destination).unwrap();
            *protocol == packet.protocol
                && (*client, *client_port) == (packet.destination, packet.destination_port)
                && (server.key.address, server.port) == (packet.source, packet.source_port)
        });
        if let Some((&flow, _)) = found {
            self.advance(now, &flow, packet.event, &OUTPUT);
        }
    }

    fn schedule(&mut self, now: Tick, packet: &Packet, flow: Flow) -> Option<u8> {
        if matches!(packet.event, Event::Fin | Event::Ack | Event::Reset) {
            return None;
        }
        let key = self.service_of(packet)?;
        let service = self.services.get_mut(&key).unwrap();
        let request = Request {
            family: packet.family,
            source: packet.source.into(),
            destination: packet.destination.into(),
            source_port: packet.source_port,
        };
        let mut pool = Pool { destinations: &mut self.destinations, list: &service.list };
        let id = service.scheduler.as_mut()?.pick(now, &request, service.flags, &self.settings, &mut pool)?;
        let destination = self.destinations.get_mut(id).unwrap();
        destination.inactive += 1;
        judge(destination);
        let table = if destination.method == ForwardingMethod::Masquerading { &INPUT } else { &INPUT_ONLY };
        self.connections.insert(flow, Connection { destination: id, state: 0, active: false, deadline: now });
        Some(self.advance(now, &flow, packet.event, table))
    }

    fn service_of(&self, packet: &Packet) -> Option<ServiceKey> {
        let mark = self.marks.iter().find(|(prefix, _)| prefix.contains(packet.destination));
        let mark = mark.map(|&(_, mark)| ServiceKey::Mark { family: packet.family, mark });
        let address = ServiceKey::Address {
            protocol: packet.protocol,
            address: packet.destination,
            port: packet.destination_port,
        };
        mark.into_iter().chain([address]).find(|key| self.services.contains_key(key))
    }

    /// A connection's next state, with the counts on its destination; returns the real server's number.
    fn advance(&mut self, now: Tick, flow: &Flow, event: Event, table: &States) -> u8 {
        let connection = self.connections.get_mut(flow).unwrap();
        let destination = self.destinations.get_mut(connection.destination).unwrap();
        let timeout = if event == Event::Datagram {
            self.udp_timeout.unwrap_or(300)
        } else {
            connection.state = table[connection.state as usize][event as usize];
            let active = ACTIVE.contains(&connection.state);
            if active != connection.active {
                let (from, to) = (&mut destination.inactive, &mut destination.active);
                let (from, to) = if active { (from, to) } else { (to, from) };
                *from -= 1;
                *to += 1;
                connection.active = active;
            }
            TIMEOUTS[connection.state as usize]
        };
        connection.deadline = now + timeout * 1000;
        number(destination)
    }

    fn expire(&mut self, now: Tick) {
        let gone: Vec<Connection> =
            self.connections.extract_if(|_, connection| connection.deadline <= now).map(|(_, gone)| gone).collect();
        gone.iter().for_each(|connection| self.unbind(connection));
    }

    fn unbind(&mut self, connection: &Connection) {
        let destination = self.destinations.get_mut(connection.destination).unwrap();
        *(if connection.active { &mut destination.active } else { &mut destination.inactive }) -= 1;
        judge(destination);
    }

    // --- commands

    fn command(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let command = words.next().unwrap();
        let words: Vec<&str> = words.collect();
        let option = |name: &str| words.iter().position(|word| *word == name).map(|at| words[at + 1]);
        if command == "--set" {
            self.udp_timeout = words[2].parse().ok().filter(|&seconds| seconds != 0).or(self.udp_timeout);
            return;
        }
        if command.starts_with("-L") {
            return;
        }
        let key = service_key(&words);
        match command {
            "-A" | "-E" => {
                assert!(option("-p").is_none() && !words.contains(&"-o"), "`{line}' is beyond this model");
                let mut flags = 0;
                for flag in option("-b").into_iter().flat_map(|flags| flags.split(',')) {
                    flags |= if flag.ends_with("-fallback") { ServiceFlags::SCHED_1 } else { ServiceFlags::SCHED_2 };
                }
                self.configure_service(key, ServiceFlags(flags), option("-s").unwrap_or("wlc"));
            }
            "-D" => {
                let service = self.services.remove(&key).unwrap();
                service.list.iter().for_each(|id| self.destinations.get_mut(id).unwrap().available = false);
                if let Some(mut scheduler) = service.scheduler {
                    scheduler.unbind(&mut Pool { destinations: &mut self.destinations, list: &service.list });
                }
            }
            "-a" | "-e" => {
                let number = |name: &str, default| option(name).map_or(default, |text| text.parse().unwrap());
                let method = match (words.contains(&"-m"), words.contains(&"-i")) {
                    (true, _) => ForwardingMethod::Masquerading,
                    (_, true) => ForwardingMethod::Tunneling,
                    _ => ForwardingMethod::DirectRouting,
                };
                let server = socket(option("-r").unwrap());
                self.configure_destination(key, server, method, number("-w", 1), number("-x", 0), number("-y", 0));
            }
            "-d" => {
                let id = self.known[&(key, socket(option("-r").unwrap()))];
                let service = self.services.get_mut(&key).unwrap();
                if let Some(scheduler) = &mut service.scheduler {
                    scheduler.removed(&Pool { destinations: &mut self.destinations, list: &service.list }, id);
                }
                service.list.remove(id);
                self.destinations.get_mut(id).unwrap().available = false;
            }
            _ => panic!("`{line}' is beyond this model"),
        }
    }

    fn configure_service(&mut self, key: ServiceKey, flags: ServiceFlags, name: &str) {
        let service =
            self.services.entry(key).or_insert_with(|| Service { flags, list: ServerList::default(), scheduler: None });
        service.flags = flags;
        let kind = SchedulerKind::by_name(name);
        if service.scheduler.as_ref().map(Scheduler::kind) != kind {
            let mut pool = Pool { destinations: &mut self.destinations, list: &service.list };
            if let Some(mut old) = service.scheduler.take() {
                old.unbind(&mut pool);
            }
            service.scheduler = kind.map(|kind| Scheduler::new(kind, 1));
            if let Some(scheduler) = &mut service.scheduler {
                scheduler.bind(&pool);
            }
        }
    }

    fn configure_destination(
        &mut self,
        service_key: ServiceKey,
        key: DestinationKey,
        method: ForwardingMethod,
        weight: u32,
        upper: u32,
        lower: u32,
    ) {
        let service = self.services.get_mut(&service_key).unwrap();
        let id = *self.known.entry((service_key, key)).or_insert_with(|| self.destinations.insert(blank(key)));
        let destination = self.destinations.get_mut(id).unwrap();
        let added = !destination.available;
        destination.available = true;
        destination.method = method;
        destination.weight = weight;
        if added || weight != 0 {
            destination.last_weight = weight;
        }
        (destination.upper_threshold, destination.lower_threshold) = (upper, lower);
        judge(destination);
        if added {
            service.list.add(id);
        }
        let pool = Pool { destinations: &mut self.destinations, list: &service.list };
        match &mut service.scheduler {
            Some(scheduler) if added => scheduler.added(&pool, id),
            Some(scheduler) => scheduler.edited(&pool, id),
            None => {}
        }
    }

    /// Holds weights and counts against what `ipvsadm -Ln` printed; returns the differences.
    fn compare(&self, listing: &str) -> Vec<String> {
        let mut differences = Vec::new();
        let mut service = None;
        for line in listing.lines().skip(3) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let ["->", server, _, weight, active, inactive] = words[..] {
                let id = self.known[&(service.unwrap(), socket(server))];
                let destination = self.destinations.get(id).unwrap();
                let ours = [destination.weight, destination.active, destination.inactive].map(|n| n.to_string());
                if ours != [weight, active, inactive] {
                    differences.push(format!("`{}', here {}", line.trim(), ours.join(" ")));
                }
            } else {
                let option = match words[0] {
                    "TCP" => "-t",
                    "UDP" => "-u",
                    _ => "-f",
                };
                let family = if words[2] == "IPv6" { "-6" } else { "" };
                service = Some(service_key(&[option, words[1], family]));
            }
        }
        differences
    }
}

/// Marks a destination as overloaded, or no longer: after a connection came or went and after an edit
/// alike, the count at or over the upper threshold sets the mark, and below the lower one (three
/// quarters of the upper where that is 0) clears it.
fn judge(destination: &mut Destination) {
    let total = destination.active + destination.inactive;
    let (upper, lower) = (destination.upper_threshold, destination.lower_threshold);
    if upper != 0 && total >= upper {
        destination.overloaded = true;
    } else if if lower != 0 { total < lower } else { upper == 0 || total * 4 < upper * 3 } {
        destination.overloaded = false;
    }
}

/// Real servers are numbered by the last part of their addresses: 172.16.0.11 and fd01::11 are 1.
fn number(destination: &Destination) -> u8 {
    match destination.key.address {
        IpAddr::V4(address) => address.octets()[3] - 10,
        // The addresses read as decimal numbers.
        IpAddr::V6(address) => address.octets()[15] - 0x10,
    }
}

fn service_key(words: &[&str]) -> ServiceKey {
    let at = words.iter().position(|word| ["-t", "-u", "-f"].contains(word)).unwrap();
    if words[at] == "-f" {
        let family = if words.contains(&"-6") { Family::V6 } else { Family::V4 };
        return ServiceKey::Mark { family, mark: words[at + 1].parse().unwrap() };
    }
    let protocol = if words[at] == "-t" { Protocol::TCP } else { Protocol::UDP };
    let DestinationKey { address, port } = socket(words[at + 1]);
    ServiceKey::Address { protocol, address, port }
}

/// `address`, `address:port` or `[address]:port`.
fn socket(text: &str) -> DestinationKey {
    match text.parse::<std::net::SocketAddr>() {
        Ok(socket) => DestinationKey { address: socket.ip(), port: Port(socket.port()) },
        Err(_) => DestinationKey { address: text.parse().unwrap(), port: Port::ANY },
    }
}

fn blank(key: DestinationKey) -> Destination {
    Destination {
        key,
        family: Family::of(&key.address),
        address: Address::from(key.address),
        port: key.port,
        service: ServiceId(0),
        service_number: 0,
        method: ForwardingMethod::Masquerading,
        tunnel: Tunnel::default(),
        weight: 0,
        last_weight: 0,
        upper_threshold: 0,
        lower_threshold: 0,
        available: false,
        overloaded: false,
        crowd: None,
        active: 0,
        inactive: 0,
        persistent: 0,
        masqueraded: 0,
        references: 0,
        tally: Tally::default(),
        told: Told::default(),
    }
}
