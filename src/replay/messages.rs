//! Synchronisation messages in transcripts: what a master's socket would send, and what a backup's
//! would receive.
//!
//! The recordings have whole frames; the director's own sockets are the kernel's affair. So of a
//! frame that a master sent the link, group, port, TTL and payload are compared, and a frame to
//! the group and port of a backup on its link is handed to the engine.

use std::net::IpAddr;

use crate::base::{Family, Protocol, Tick};
use crate::engine::Engine;
use crate::table::{DaemonConfig, DaemonRole};
use crate::wire::checksum::Sum;
use crate::wire::dissect::dissect;
use crate::wire::frame::ETHERNET_LENGTH;
use crate::wire::ip::{self, v4};
use crate::wire::transport::udp;

/// Milliseconds by which the moment of a message may differ: recordings notice frames late, and
/// the kernel looks at its queue once a second.
pub const TOLERANCE: u64 = 1300;

/// A message that left the engine.
#[derive(Debug)]
pub struct Sent {
    pub at: Tick,
    port: usize,
    payload: Vec<u8>,
}

/// Takes what is due from the engine.
pub fn collect(engine: &mut Engine, now: Tick, sent: &mut Vec<Sent>) {
    while let Some((port, message)) = engine.message_due(now) {
        sent.push(Sent { at: now, port, payload: message.to_vec() });
        engine.message_sent(port);
    }
}

/// Hands a frame to the engine's backup daemon, if its socket would receive it.
pub fn receive(engine: &mut Engine, now: Tick, link: &str, frame: &[u8]) {
    let Some(datagram) = Datagram::of(frame) else { return };
    let heard = daemon(engine, DaemonRole::Backup).is_some_and(|config| {
        config.interface == link && config.group == Some(datagram.group) && config.port == datagram.port
    });
    if heard {
        engine.receive_message(now, datagram.payload);
    }
}

/// Puts a message's frame together where the kernel had to cut it.
#[derive(Debug, Default)]
pub struct Pieces(Vec<u8>);

impl Pieces {
    /// Takes the next frame; the whole one once nothing is missing. Pieces come in their order.
    pub fn add(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let packet = frame.get(ETHERNET_LENGTH..)?;
        let is_cut = packet.first()? >> 4 == 4 && packet.len() > v4::LENGTH;
        let place = if is_cut {
            u16::from_be_bytes([packet[v4::FLAGS_OFFSET.start], packet[v4::FLAGS_OFFSET.start + 1]])
        } else {
            0
        };
        let (more, first) = (place & v4::MORE_FRAGMENTS != 0, place & v4::OFFSET_MASK == 0);
        if first {
            self.0.clear();
            self.0.extend(frame);
        } else {
            self.0.extend(&packet[v4::LENGTH..]);
        }
        if more {
            return None;
        }
        let mut whole = std::mem::take(&mut self.0);
        if !first {
            let length = (whole.len() - ETHERNET_LENGTH) as u16;
            let header = whole.get_mut(ETHERNET_LENGTH..ETHERNET_LENGTH + v4::LENGTH)?;
            header[v4::TOTAL_LENGTH].copy_from_slice(&length.to_be_bytes());
            header[v4::FLAGS_OFFSET].fill(0);
            header[v4::CHECKSUM..v4::CHECKSUM + 2].fill(0);
            Sum::ZERO.add_bytes(header).checksum().write(header, v4::CHECKSUM);
        }
        Some(whole)
    }
}

/// Whether a frame goes to a group: nothing else that a director sends does.
pub fn is_message(frame: &[u8]) -> bool {
    frame.first().is_some_and(|first| first & 1 != 0)
}

/// The first difference between a frame that the kernel sent and a message of the engine's.
pub fn difference(engine: &Engine, link: &str, frame: &[u8], at: Tick, sent: &Sent) -> Option<String> {
    let Some(datagram) = Datagram::of(frame) else { return Some("the kernel's frame is no UDP datagram".into()) };
    let Some(config) = daemon(engine, DaemonRole::Master) else { return Some("no master daemon runs".into()) };
    let port = config.port + sent.port as u16;
    if (config.interface.as_str(), config.group, port, config.ttl)
        != (link, Some(datagram.group), datagram.port, datagram.ttl)
    {
        return Some(format!("a message by {link} to {}:{} of TTL {}", datagram.group, datagram.port, datagram.ttl));
    }
    if sent.payload != datagram.payload {
        let at = sent.payload.iter().zip(datagram.payload).position(|(one, other)| one != other);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        return Some(format!(
            "the message differs from byte {} on\n    kernel {}\n    engine {}",
            at.unwrap_or(sent.payload.len().min(datagram.payload.len())),
            hex(datagram.payload),
            hex(&sent.payload),
        ));
    }
    let apart = at.since(sent.at).max(sent.at.since(at));
    (apart > TOLERANCE).then(|| format!("the message left at {} ms instead of {} ms", sent.at.0, at.0))
}

fn daemon(engine: &Engine, role: DaemonRole) -> Option<&DaemonConfig> {
    engine.daemons().find(|config| config.role == role)
}

/// A UDP datagram to a group.
struct Datagram<'a> {
    group: IpAddr,
    port: u16,
    ttl: u8,
    payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    fn of(frame: &'a [u8]) -> Option<Datagram<'a>> {
        let packet = frame.get(ETHERNET_LENGTH..)?;
        let family = match packet.first()? >> 4 {
            4 => Family::V4,
            _ => Family::V6,
        };
        let parts = dissect(family, packet).ok()?;
        let group = parts.destination.to_ip(family);
        let (_, port) = parts.ports?;
        if parts.protocol != Protocol::UDP || !group.is_multicast() {
            return None;
        }
        let payload = packet.get(parts.transport + udp::LENGTH..parts.length)?;
        Some(Datagram { group, port: port.0, ttl: ip::ttl(family, packet), payload })
    }
}
