//! What the live tests share: namespaces, links, and a loop that moves frames.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use etherparse::PacketBuilder;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::base::{LinkId, Mac};
use crate::port::sys::namespace;
use crate::port::{Held, PacketOptions, Port, PortError, PortEvent, Ports, TunOptions};
use crate::wire::checksum::Sum;
use crate::wire::offload::{Completion, Segmentation};
use crate::wire::{EtherType, Frame, LinkHeader, Offload};

/// How long a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub const A: LinkId = LinkId(0);
pub const B: LinkId = LinkId(1);
pub const C: LinkId = LinkId(2);

pub const MAC_A: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
pub const MAC_B: Mac = Mac([2, 0, 0, 0, 0, 0xb]);

/// Runs `body` on a thread of its own in a fresh network namespace without IPv6, which would
/// send frames of its own accord.
pub fn in_namespace(body: impl FnOnce() + Send) {
    let outcome = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if let Some(reason) = forbidden() {
                println!("not run: {reason}");
                return;
            }
            body();
        });
        thread.join()
    });
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// Moves this thread to a namespace of its own, or says why it may not have one.
fn forbidden() -> Option<String> {
    if let Err(error) = enter_quiet_namespace() {
        return Some(format!("a network namespace is not permitted here ({error})"));
    }
    if let Err(error) = run("ip link set lo up") {
        return Some(format!("the ip command is needed ({error})"));
    }
    match Port::packet(&options("lo")) {
        Err(PortError::NotPermitted { source, .. }) => Some(format!("packet sockets are not permitted ({source})")),
        _ => None,
    }
}

/// Says why TUN devices cannot be had here.
pub fn tun_forbidden() -> Option<String> {
    match Port::tun(&TunOptions::new("probe%d")) {
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    }
}

pub fn enter_quiet_namespace() -> io::Result<()> {
    namespace::enter_new()?;
    fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")
}

/// Runs a command of words without blanks in this thread's namespace.
pub fn run(command: &str) -> io::Result<()> {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap_or_default()).args(words).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{command}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

/// A command that the test cannot go on without.
#[track_caller]
pub fn must(command: &str) {
    run(command).unwrap();
}

/// Two interfaces `left` and `right` that are each other's far end, up, for frames that this thread sends.
pub fn veth_pair() {
    namespace::stay_on_processor().unwrap();
    must(&format!("ip link add name left address {MAC_A} type veth peer name right address {MAC_B}"));
    must("ip link set left up");
    must("ip link set right up");
    await_up("left");
    await_up("right");
}

/// Waits until the kernel sends by the interface `name`: for a moment after its far end came up it still
/// discards what is sent.
#[track_caller]
pub fn await_up(name: &str) {
    // Each asking takes a process, so that this is no busy loop.
    let up = (0..2000).any(|_| shown(name).contains("state UP"));
    assert!(up, "{name} did not come up");
}

/// Waits until `gone` holds. What was closed is there for a moment more: the kernel takes it away in the background,
/// and a process that another test is starting has it, too, until it becomes another program.
#[track_caller]
pub fn await_gone(what: &str, gone: impl Fn() -> bool) {
    for _ in 0..2000 {
        if gone() {
            return;
        }
        // Takes a process, so that this is no busy loop.
        shown("lo");
    }
    panic!("{what} is still there");
}

/// What `ip link` says of the interface `name`.
pub fn shown(name: &str) -> String {
    let output = Command::new("ip").args(["-details", "-oneline", "link", "show", "dev", name]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Index of the interface `name` of this namespace.
#[track_caller]
pub fn index_of(name: &str) -> u32 {
    let index = shown(name).split(':').next().and_then(|index| index.trim().parse().ok());
    index.unwrap_or_else(|| panic!("no interface {name}"))
}

pub fn options(name: &str) -> PacketOptions {
    PacketOptions { slots: 160, ..PacketOptions::new(name, index_of(name)) }
}

/// Ports on `left` (A) and `right` (B).
pub fn both_ports() -> Ports {
    let mut ports = Ports::new();
    ports.insert(A, Port::packet(&options("left")).unwrap());
    ports.insert(B, Port::packet(&options("right")).unwrap());
    ports
}

/// The header for a frame from `left` to `right`.
pub const A_TO_B: LinkHeader = LinkHeader::Ethernet { destination: MAC_B, source: MAC_A, kind: EtherType::IPV4 };

/// Edge-triggered readiness of all ports, as a worker has it.
pub struct Readiness {
    poll: Poll,
    events: Events,
}

impl Readiness {
    pub fn of(ports: &Ports) -> Readiness {
        let poll = Poll::new().unwrap();
        for (link, descriptor) in ports.descriptors() {
            poll.registry().register(&mut SourceFd(&descriptor), Token(link.index()), Interest::READABLE).unwrap();
        }
        Readiness { poll, events: Events::with_capacity(16) }
    }

    /// Waits for an edge, and lets the ports examine errors.
    pub fn wait(&mut self, ports: &mut Ports, patience: Duration) -> Vec<LinkId> {
        match self.poll.poll(&mut self.events, Some(patience)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => outcome.unwrap(),
        }
        let mut links = Vec::new();
        for event in &self.events {
            let link = LinkId(event.token().0 as u32);
            if event.is_error() || event.is_read_closed() {
                ports.examine(link);
            }
            links.push(link);
        }
        links
    }
}

/// Waits until `link` has `count` frames ready.
#[track_caller]
pub fn await_frames(ports: &mut Ports, link: LinkId, count: usize) {
    let mut readiness = Readiness::of(ports);
    while ports.ready(link, count) < count {
        let edges = readiness.wait(ports, PATIENCE);
        assert!(!edges.is_empty(), "{} of {count} frames came", ports.ready(link, count));
    }
}

/// Waits until `link` is reported as `expected`; other reports are passed over.
#[track_caller]
pub fn await_event(ports: &mut Ports, readiness: &mut Readiness, link: LinkId, expected: PortEvent) {
    for _ in 0..100 {
        while let Some(event) = ports.event() {
            if event == (link, expected) {
                return;
            }
        }
        readiness.wait(ports, PATIENCE / 100);
        // A link may be deleted without a further sign after it went down.
        ports.examine(link);
    }
    panic!("{link:?} was not reported as {expected:?}");
}

/// Passes frames from A to B and back until told to stop. `header` gives the header to send a frame with
/// that came by a link, or that it is not to be sent.
pub fn forward(ports: &mut Ports, stop: &AtomicBool, header: impl Fn(LinkId, &Frame<'_>) -> Option<LinkHeader>) {
    const LIMIT: usize = 64;
    let mut readiness = Readiness::of(ports);
    while !stop.load(Ordering::Relaxed) {
        readiness.wait(ports, Duration::from_millis(20));
        let mut more = true;
        while more {
            more = false;
            for (from, to) in [(A, B), (B, A)] {
                let count = ports.ready(from, LIMIT);
                more |= count == LIMIT;
                for index in 0..count {
                    let Ok(frame) = ports.frame(from, index) else { continue };
                    let (header, held) = (header(from, &frame), Held::of(index, &frame));
                    if let Some(header) = header {
                        let _ = ports.send(to, &held, header);
                    }
                }
            }
            ports.flush();
        }
    }
}

/// A UDP packet with `length` bytes of payload, checksum complete.
pub fn udp_packet(length: usize) -> Vec<u8> {
    let builder = PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(4000, 5000);
    let mut packet = Vec::new();
    builder.write(&mut packet, &pattern(length)).unwrap();
    packet
}

/// A datagram whose checksum is unfinished, as a sender across a veth pair leaves it.
pub fn unfinished_packet(length: usize) -> (Vec<u8>, Offload) {
    let mut packet = udp_packet(length);
    let sum = Sum::ZERO.add_bytes(&packet[12..20]).add_number(17).add_number((packet.len() - 20) as u16);
    packet[26..28].copy_from_slice(&sum.fold().to_ne_bytes());
    let checksum = Completion::Partial { start: 20, offset: 6 };
    (packet, Offload { checksum, ..Offload::NONE })
}

/// A TCP super-packet with `length` bytes of payload, and the metadata that it is one.
pub fn tcp_super_packet(length: usize) -> (Vec<u8>, Offload) {
    let builder = PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).tcp(4000, 5000, 1, 1000).ack(1);
    let mut packet = Vec::new();
    builder.write(&mut packet, &pattern(length)).unwrap();
    let sum = pseudo_header_sum(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2), 6, 20 + length);
    packet[36..38].copy_from_slice(&sum.to_be_bytes());
    let offload = Offload {
        checksum: Completion::Partial { start: 20, offset: 16 },
        segmentation: Segmentation::Tcp4 { ecn: false },
        segment_size: 1448,
        header_length: 40,
    };
    (packet, offload)
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place * 7 + place / 251) as u8).collect()
}

/// The folded sum of a pseudo-header, not complemented.
fn pseudo_header_sum(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, length: usize) -> u16 {
    let octets: Vec<u8> = [source.octets(), destination.octets()].concat();
    let words = octets.chunks_exact(2).map(|pair| u64::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum = words.sum::<u64>() + u64::from(protocol) + length as u64;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
