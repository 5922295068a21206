//! Real TCP through a forwarder made of two packet ports.
//!
//! ```text
//!   client namespace            this namespace              server namespace
//!   10.0.0.1 near ── veth ── left ◄─ forward() ─► right ── veth ── near 10.0.0.2
//! ```

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::lab::*;
use crate::base::{LinkId, Mac};
use crate::port::sys::namespace;
use crate::port::tun::TunOptions;
use crate::port::{LongFrames, PacketOptions, Port, Ports, Queueing, Reception};
use crate::wire::{EtherType, Frame, LinkHeader};

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const PORT: u16 = 7000;
const QUEUED: LongFrames = LongFrames::Queue(crate::port::af_packet::QUEUE);
/// Sent in each direction, both at once.
const BULK: usize = 32 << 20;

/// Tells the forwarder to stop, however the thread that holds it ends.
struct StopWhenDone<'a>(&'a AtomicBool);

impl Drop for StopWhenDone<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A namespace that lives as long as the file is open.
fn new_namespace() -> File {
    let side = thread::spawn(|| {
        enter_quiet_namespace().unwrap();
        namespace::current().unwrap()
    });
    side.join().unwrap()
}

/// Runs `body` in that namespace.
fn within<T: Send>(side: &File, body: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            namespace::enter(side).unwrap();
            body()
        });
        thread.join().unwrap()
    })
}

/// Makes the interface `link` here, and its far end `near` with `address` in a new namespace.
fn attach(link: &str, address: Ipv4Addr) -> File {
    let side = new_namespace();
    must(&format!("ip link add {link} type veth peer name near"));
    must(&format!("ip link set near netns /proc/{}/fd/{}", std::process::id(), side.as_raw_fd()));
    must(&format!("ip link set {link} up"));
    within(&side, || {
        must(&format!("ip address add {address}/24 dev near"));
        must("ip link set near up");
    });
    side
}

fn block(number: usize) -> Vec<u8> {
    (0..1 << 16).map(|place| (place * 31 + number * 17 + (place >> 8)) as u8).collect()
}

/// Sends and receives the bulk at the same time, and looks at every byte.
fn exchange(stream: &TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let blocks = BULK >> 16;
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..blocks {
                { stream }.write_all(&block(number)).unwrap();
            }
        });
        let mut received = vec![0; 1 << 16];
        for number in 0..blocks {
            { stream }.read_exact(&mut received).unwrap();
            assert!(received == block(number), "block {number} changed");
        }
    });
}

/// Runs the transfer through packet ports on `left` and `right`.
fn transfer_between_links(client: &File, server: &File, queueing: Queueing, long_frames: LongFrames) -> u64 {
    let mut ports = Ports::new();
    ports.set_busy(true);
    for (link, name) in [(A, "left"), (B, "right")] {
        let options =
            PacketOptions { slots: 256, long_frames, reception: Reception::Promiscuous, queueing, ..options(name) };
        ports.insert(link, Port::packet(&options).unwrap());
    }
    transfer(&mut ports, client, server, |_, frame| Some(frame.link_header()))
}

/// Runs the transfer through the ports A, toward the client, and B, and gives the mean length of the frames
/// that the forwarder received.
fn transfer(
    ports: &mut Ports,
    client: &File,
    server: &File,
    header: impl Fn(LinkId, &Frame<'_>) -> Option<LinkHeader>,
) -> u64 {
    let stop = AtomicBool::new(false);
    let (ready, listening) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            namespace::enter(server).unwrap();
            let listener = TcpListener::bind((SERVER, PORT)).unwrap();
            // Holds for accepting too.
            socket2::SockRef::from(&listener).set_read_timeout(Some(PATIENCE)).unwrap();
            ready.send(()).unwrap();
            exchange(&listener.accept().unwrap().0);
        });
        let done = StopWhenDone(&stop);
        scope.spawn(move || {
            let _done = done;
            namespace::enter(client).unwrap();
            listening.recv_timeout(PATIENCE).unwrap();
            let stream = TcpStream::connect_timeout(&SocketAddr::from((SERVER, PORT)), PATIENCE).unwrap();
            exchange(&stream);
            // The server has all when it closes.
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!({ &stream }.read(&mut [0]).unwrap(), 0);
        });
        forward(ports, &stop, header);
    });
    let counters = [A, B].map(|link| *ports.counters(link).unwrap());
    assert!(counters.iter().all(|counters| counters.sent > 0), "{counters:?}");
    let [a, b] = counters;
    (a.received_bytes + b.received_bytes) / (a.received + b.received)
}

#[test]
fn a_bulk_transfer_passes_as_super_frames() {
    in_namespace(|| {
        let (client, server) = (attach("left", CLIENT), attach("right", SERVER));
        for long_frames in [QUEUED, LongFrames::Ring] {
            let mean = transfer_between_links(&client, &server, Queueing::Discipline, long_frames);
            assert!(mean > 3000, "frames of {mean} bytes only, {long_frames:?}");
        }
    });
}

#[test]
fn plain_frames_may_bypass_the_discipline() {
    in_namespace(|| {
        let (client, server) = (attach("left", CLIENT), attach("right", SERVER));
        transfer_between_links(&client, &server, Queueing::BypassPlain, LongFrames::Ring);
    });
}

/// Without checksumming and segmentation on the outgoing links the kernel finishes on the way out what
/// the metadata says is unfinished; a receiver then notices every mistake in it.
#[test]
fn the_kernel_finishes_frames_where_the_link_cannot() {
    in_namespace(|| {
        let (client, server) = (attach("left", CLIENT), attach("right", SERVER));
        for link in ["left", "right"] {
            if let Err(error) = run(&format!("ethtool -K {link} tx off")) {
                println!("not run: ethtool is needed ({error})");
                return;
            }
        }
        transfer_between_links(&client, &server, Queueing::Discipline, QUEUED);
        transfer_between_links(&client, &server, Queueing::BypassPlain, LongFrames::Ring);
    });
}

/// A port on a TUN device `near` with `address` in a namespace of its own.
fn attach_tun(address: Ipv4Addr) -> (File, Port) {
    let side = new_namespace();
    let options = TunOptions { address: Some((address.into(), [255, 255, 255, 0].into())), ..TunOptions::new("near") };
    let port = within(&side, || Port::tun(&options).unwrap());
    (side, port)
}

#[test]
fn a_bulk_transfer_passes_between_tun_devices() {
    in_namespace(|| {
        if let Some(reason) = tun_forbidden() {
            println!("not run: {reason}");
            return;
        }
        let mut ports = Ports::new();
        let (client, port) = attach_tun(CLIENT);
        ports.insert(A, port);
        let (server, port) = attach_tun(SERVER);
        ports.insert(B, port);
        let mean = transfer(&mut ports, &client, &server, |_, frame| Some(frame.link_header()));
        assert!(mean > 3000, "packets of {mean} bytes only");
    });
}

/// The metadata's places move when a packet gets or loses its Ethernet header; the kernel finishes the frames
/// here, so that a wrong place is a wrong checksum.
#[test]
fn a_bulk_transfer_passes_between_tun_and_ethernet() {
    const SERVER_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
    in_namespace(|| {
        if let Some(reason) = tun_forbidden() {
            println!("not run: {reason}");
            return;
        }
        let mut ports = Ports::new();
        let (client, port) = attach_tun(CLIENT);
        ports.insert(A, port);
        let server = attach("right", SERVER);
        within(&server, || {
            must(&format!("ip link set near address {SERVER_MAC}"));
            must(&format!("ip neighbour add {CLIENT} lladdr {MAC_A} dev near"));
        });
        let finished = run("ethtool -K right tx off");
        let options = PacketOptions { slots: 256, reception: Reception::Promiscuous, ..options("right") };
        ports.insert(B, Port::packet(&options).unwrap());
        let to_server = LinkHeader::Ethernet { destination: SERVER_MAC, source: MAC_A, kind: EtherType::IPV4 };
        let mean = transfer(&mut ports, &client, &server, |from, frame| match frame.link_header() {
            LinkHeader::None => Some(to_server),
            LinkHeader::Ethernet { destination: MAC_A, kind: EtherType::IPV4, .. } if from == B => {
                Some(LinkHeader::None)
            }
            _ => None,
        });
        assert!(mean > 3000, "frames of {mean} bytes only");
        if let Err(error) = finished {
            println!("checksums were not looked at: ethtool is needed ({error})");
        }
    });
}
