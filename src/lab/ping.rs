//! An echo request and its answer (RFC 792, RFC 4443), for hosts without ping(8).

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, Ipv4Slice};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::wait::Deadline;

const PAYLOAD: &[u8] = b"is somebody there";

/// Sends an echo request with number `sequence` to `target`, and waits for the answer to it.
///
/// # Errors
/// `TimedOut` without an answer; what a raw socket gives.
pub fn ping(target: IpAddr, sequence: u16, patience: Duration) -> io::Result<()> {
    let echo = IcmpEchoHeader { id: std::process::id() as u16, seq: sequence };
    let (domain, protocol, request) = match target {
        IpAddr::V4(_) => {
            let header = Icmpv4Header::with_checksum(Icmpv4Type::EchoRequest(echo), PAYLOAD);
            (Domain::IPV4, Protocol::ICMPV4, header.to_bytes().to_vec())
        }
        // The kernel fills in the checksum, which is over addresses too.
        IpAddr::V6(_) => {
            let header = Icmpv6Header::new(Icmpv6Type::EchoRequest(echo));
            (Domain::IPV6, Protocol::ICMPV6, header.to_bytes().to_vec())
        }
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    // Answers of others only.
    socket.connect(&SockAddr::from(SocketAddr::new(target, 0)))?;
    socket.send(&[&request, PAYLOAD].concat())?;
    let deadline = Deadline::after(patience);
    let mut buffer = vec![0; 65536];
    while !deadline.has_passed() {
        let left = patience.saturating_sub(deadline.elapsed()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(left))?;
        let length = (&socket).read(&mut buffer)?;
        if answers(&buffer[..length], target, echo) {
            return Ok(());
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Whether `bytes`, as a raw socket gives them, answer `echo`.
fn answers(bytes: &[u8], target: IpAddr, echo: IcmpEchoHeader) -> bool {
    match target {
        IpAddr::V4(_) => Ipv4Slice::from_slice(bytes)
            .ok()
            .and_then(|packet| Icmpv4Header::from_slice(packet.payload().payload).ok())
            .is_some_and(|(header, payload)| header.icmp_type == Icmpv4Type::EchoReply(echo) && payload == PAYLOAD),
        IpAddr::V6(_) => Icmpv6Header::from_slice(bytes)
            .is_ok_and(|(header, payload)| header.icmp_type == Icmpv6Type::EchoReply(echo) && payload == PAYLOAD),
    }
}
