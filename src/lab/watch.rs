//! A small packet capture: one line a frame, for demonstrations and for tests that count.
//!
//! `director eth0 in 02:00:0a:00:01:0a > ... 10.0.1.10.51324 > 10.0.1.100.80 tcp S` in the manner of
//! tcpdump, with what is inside an IPIP packet after it. Headers are read by etherparse, which
//! shares no code with the packet path: a second opinion.

use std::io::{self, ErrorKind, Write};
use std::net::IpAddr;
use std::time::Duration;

use etherparse::{EtherType, NetHeaders, PacketHeaders, TransportHeader};
use pnet::datalink::{self, Channel, Config};

use super::wait::Deadline;
use crate::base::Mac;

/// Print the frames that pass a link
#[derive(Debug, clap::Args)]
pub struct WatchArguments {
    /// The link
    link: String,
    /// End after this many frames
    #[arg(long)]
    count: Option<u32>,
    /// End after this many seconds
    #[arg(long, default_value_t = 3600)]
    seconds: u64,
    /// Only packets from or to this address
    #[arg(long)]
    host: Option<IpAddr>,
    /// Only TCP and UDP packets from or to this port
    #[arg(long)]
    port: Option<u16>,
}

/// The longest frame: a super-frame with its link header.
const LONGEST: usize = 65536 + 32;

/// How often the end is looked for while nothing passes.
const TURN: Duration = Duration::from_millis(50);

/// Prints `watching LINK`, then frames, until one of the ends that were given.
///
/// # Errors
/// What opening the link and printing give.
pub fn watch(arguments: &WatchArguments) -> io::Result<()> {
    let interface = datalink::interfaces()
        .into_iter()
        .find(|interface| interface.name == arguments.link)
        .ok_or_else(|| io::Error::new(ErrorKind::NotFound, format!("there is no link {}", arguments.link)))?;
    let own = interface.mac.map(|mac| Mac(mac.octets()));
    let config = Config { read_timeout: Some(TURN), read_buffer_size: LONGEST, ..Config::default() };
    let Channel::Ethernet(_, mut receiver) = datalink::channel(&interface, config)? else {
        return Err(io::Error::new(ErrorKind::Unsupported, format!("{} is not an Ethernet link", arguments.link)));
    };
    let mut output = io::stdout().lock();
    writeln!(output, "watching {}", arguments.link)?;
    output.flush()?;
    let deadline = Deadline::after_seconds(arguments.seconds);
    let mut seen = 0;
    while !deadline.has_passed() && arguments.count.is_none_or(|count| seen < count) {
        let frame = match receiver.next() {
            Ok(frame) => frame,
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => continue,
            Err(error) => return Err(error),
        };
        if let Some(line) = describe(frame, own, arguments) {
            seen += 1;
            writeln!(output, "{line}")?;
            output.flush()?;
        }
    }
    Ok(())
}

/// The frame in words, if it is one that was asked for.
fn describe(frame: &[u8], own: Option<Mac>, wanted: &WatchArguments) -> Option<String> {
    let (to, from) = (Mac(*frame.first_chunk()?), Mac(*frame.get(6..)?.first_chunk()?));
    let direction = if Some(from) == own { "out" } else { "in" };
    let headers = PacketHeaders::from_ethernet_slice(frame).ok()?;
    let summary = Summary::of(&headers)?;
    let by_host = wanted.host.is_none_or(|host| summary.involves(host));
    let by_port = wanted.port.is_none_or(|port| summary.involves_port(port));
    (by_host && by_port).then(|| format!("{direction} {from} > {to} {}", summary.text))
}

/// What matters of a packet, and of the one inside it if it is a tunnel's.
struct Summary {
    addresses: Vec<IpAddr>,
    ports: Vec<u16>,
    text: String,
}

impl Summary {
    fn of(headers: &PacketHeaders<'_>) -> Option<Summary> {
        let (source, destination, protocol) = match headers.net.as_ref()? {
            NetHeaders::Ipv4(ip, _) => (IpAddr::from(ip.source), IpAddr::from(ip.destination), ip.protocol),
            NetHeaders::Ipv6(ip, _) => (IpAddr::from(ip.source), IpAddr::from(ip.destination), ip.next_header),
            NetHeaders::Arp(arp) => {
                let address = |octets: &[u8]| octets.first_chunk::<4>().map(|four| IpAddr::from(*four));
                let (asker, asked) = (address(arp.sender_protocol_addr())?, address(arp.target_protocol_addr())?);
                let text = match arp.operation.0 {
                    1 => format!("arp who has {asked} asks {asker}"),
                    _ => format!("arp {asker} is here, to {asked}"),
                };
                return Some(Summary { addresses: vec![asker, asked], ports: Vec::new(), text });
            }
        };
        let mut ports = Vec::new();
        let detail = match headers.transport.as_ref() {
            Some(TransportHeader::Tcp(tcp)) => {
                ports.extend([tcp.source_port, tcp.destination_port]);
                let flags: String = [(tcp.syn, 'S'), (tcp.fin, 'F'), (tcp.rst, 'R'), (tcp.psh, 'P'), (tcp.ack, '.')]
                    .iter()
                    .filter(|(set, _)| *set)
                    .map(|(_, flag)| *flag)
                    .collect();
                format!("tcp {flags}")
            }
            Some(TransportHeader::Udp(udp)) => {
                ports.extend([udp.source_port, udp.destination_port]);
                "udp".to_owned()
            }
            Some(TransportHeader::Icmpv4(icmp)) => format!("icmp {:?}", icmp.icmp_type),
            Some(TransportHeader::Icmpv6(icmp)) => format!("icmp6 {:?}", icmp.icmp_type),
            None => format!("protocol {}", protocol.0),
        };
        let payload = headers.payload.slice();
        let text = match ports[..] {
            [from, to] => format!("{source}.{from} > {destination}.{to} {detail} length {}", payload.len()),
            _ => format!("{source} > {destination} {detail} length {}", payload.len()),
        };
        let mut summary = Summary { addresses: vec![source, destination], ports, text };
        if let Some(inner) = inner_of(protocol.0, payload) {
            summary.text = format!("{} [{}]", summary.text, inner.text);
            summary.addresses.extend(inner.addresses);
            summary.ports.extend(inner.ports);
        }
        Some(summary)
    }

    fn involves(&self, host: IpAddr) -> bool {
        self.addresses.contains(&host)
    }

    fn involves_port(&self, port: u16) -> bool {
        self.ports.contains(&port)
    }
}

/// The packet inside an IPIP (protocol 4) or IPv6 (41) payload.
fn inner_of(protocol: u8, payload: &[u8]) -> Option<Summary> {
    let kind = match protocol {
        4 => EtherType::IPV4,
        41 => EtherType::IPV6,
        _ => return None,
    };
    Summary::of(&PacketHeaders::from_ether_type(kind, payload).ok()?)
}
