//! A conversation between a client and whichever server it was given, as both ends see it.

use std::net::IpAddr;

use super::dice::Dice;
use super::frames::{self, Envelope, Sealing, Segment, flag};
use super::lab::{self, DIRECTOR, Neighbour};
use super::plan::Mood;
use crate::base::{Address, Family, Mac, Protocol};
use crate::wire::dissect::dissect;
use crate::wire::frame::ETHERNET_LENGTH;
use crate::wire::transport::sctp;

/// How a client's packets reach the server.
#[derive(Clone, Copy, Debug)]
pub enum Path {
    Nat {
        server: IpAddr,
        port: u16,
        mac: Mac,
    },
    /// By direct routing or a tunnel: the server sees the client's packet.
    Whole {
        mac: Mac,
    },
}

#[derive(Clone, Debug)]
pub struct Flow {
    pub family: Family,
    pub protocol: Protocol,
    pub client: Neighbour,
    pub port: u16,
    pub vip: IpAddr,
    pub vport: u16,
    pub path: Option<Path>,
    stage: u8,
    /// The word before was one that begins.
    began: bool,
    sequences: [u32; 2],
    /// The packets that each end got last: what an ICMP error of it would be about.
    pub to_server: Option<Vec<u8>>,
    pub to_client: Option<Vec<u8>>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

/// What one end says.
#[derive(Clone, Copy, Debug)]
enum Word {
    Segment { flags: u8, length: usize },
    Datagram { length: usize },
    Chunks([(u8, usize); 2]),
}

impl Word {
    fn begins(self) -> bool {
        match self {
            Word::Segment { flags, .. } => flags & flag::SYN != 0,
            Word::Datagram { .. } => false,
            Word::Chunks([(first, _), _]) => first == sctp::INIT,
        }
    }
}

const HEARTBEAT: u8 = 4;
const SACK: u8 = 3;

impl Flow {
    pub fn new(protocol: Protocol, client: Neighbour, port: u16, vip: IpAddr, vport: u16) -> Flow {
        Flow {
            family: Family::of(&vip),
            protocol,
            client,
            port,
            vip,
            vport,
            path: None,
            stage: 0,
            began: false,
            sequences: [1000, 9000],
            to_server: None,
            to_client: None,
        }
    }

    /// Begins again with the same addresses and ports.
    pub fn restart(&mut self) {
        self.stage = 0;
        self.sequences = [self.sequences[0].wrapping_add(100_000), self.sequences[1].wrapping_add(100_000)];
    }

    pub fn is_over(&self) -> bool {
        self.stage >= 9
    }

    /// Whether the packet before may have begun again, so that an old connection ends at once: a
    /// kernel ends it at its next tick.
    pub fn may_replace(&self) -> bool {
        self.began && self.path.is_some()
    }

    /// The frame that one end sends next, and the link it comes by; `None` where nobody can.
    pub fn next(&mut self, dice: &mut Dice, mood: &Mood) -> Option<(usize, Vec<u8>)> {
        let (mut side, mut word) = self.script(dice);
        if dice.chance(mood.disorder) {
            (side, word) = self.disorder(dice);
        }
        if side == Side::Server && !self.server_can_speak(dice) {
            side = Side::Client;
        }
        let sealing =
            if dice.chance(mood.oddities / 4) { dice.pick(&[Sealing::Wrong, Sealing::Absent]) } else { Sealing::Right };
        // An error about a packet in the name of a virtual address goes to that address itself, in a
        // circle: not that.
        let in_the_name = side == Side::Server && matches!(self.path, Some(Path::Whole { .. }));
        let odd = dice.chance(mood.oddities) && !in_the_name;
        let envelope = self.envelope(side, odd.then_some(&mut *dice))?;
        self.began = word.begins();
        let packet = self.speak(side, word, &envelope, sealing);
        Some(self.wrap(side, &packet))
    }

    /// Replies cross the director where it translates. An IPv6 server may send them that way for
    /// other methods as well; with IPv4 the kernel takes those for martians.
    fn server_can_speak(&self, dice: &mut Dice) -> bool {
        match self.path {
            Some(Path::Nat { .. }) => true,
            Some(Path::Whole { .. }) => self.family == Family::V6 && dice.chance(30),
            None => false,
        }
    }

    /// What an orderly conversation goes on with.
    fn script(&mut self, dice: &mut Dice) -> (Side, Word) {
        let length = length(dice);
        match self.protocol {
            Protocol::UDP => (if dice.chance(55) { Side::Client } else { Side::Server }, Word::Datagram { length }),
            Protocol::SCTP => self.script_sctp(dice, length),
            _ => self.script_tcp(dice, length),
        }
    }

    fn script_tcp(&mut self, dice: &mut Dice, length: usize) -> (Side, Word) {
        let segment = |flags: u8, length: usize| Word::Segment { flags, length };
        let stage = self.stage;
        self.stage += 1;
        match stage {
            0 => (Side::Client, segment(flag::SYN, 0)),
            1 => (Side::Server, segment(flag::SYN | flag::ACK, 0)),
            2 => (Side::Client, segment(flag::ACK, 0)),
            3 => {
                let side = dice.pick(&[Side::Client, Side::Server]);
                if dice.chance(70) {
                    self.stage = 3;
                    return (side, segment(flag::ACK | dice.pick(&[0, flag::PSH]), length));
                }
                if dice.chance(20) {
                    self.stage = 9;
                    return (side, segment(flag::RST | dice.pick(&[0, flag::ACK]), 0));
                }
                self.stage = if side == Side::Client { 4 } else { 6 };
                (side, segment(flag::FIN | flag::ACK, 0))
            }
            4 => (Side::Server, segment(flag::FIN | flag::ACK, 0)),
            5 => {
                self.stage = 9;
                (Side::Client, segment(flag::ACK, 0))
            }
            6 => (Side::Client, segment(flag::FIN | flag::ACK, 0)),
            7 => {
                self.stage = 9;
                (Side::Server, segment(flag::ACK, 0))
            }
            _ => {
                self.stage = 9;
                (dice.pick(&[Side::Client, Side::Server]), segment(flag::ACK, 0))
            }
        }
    }

    fn script_sctp(&mut self, dice: &mut Dice, length: usize) -> (Side, Word) {
        let one = |kind: u8, length: usize| Word::Chunks([(kind, length), (0xff, 0)]);
        let stage = self.stage;
        self.stage += 1;
        match stage {
            0 => (Side::Client, one(sctp::INIT, 16)),
            1 => (Side::Server, one(sctp::INIT_ACK, 32)),
            2 => (Side::Client, one(sctp::COOKIE_ECHO, 16)),
            3 => (Side::Server, one(sctp::COOKIE_ACK, 0)),
            4 => {
                let side = dice.pick(&[Side::Client, Side::Server]);
                if dice.chance(70) {
                    self.stage = 4;
                    return (side, one(dice.pick(&[sctp::DATA, SACK, HEARTBEAT]), length.max(12)));
                }
                if dice.chance(20) {
                    self.stage = 9;
                    return (side, one(sctp::ABORT, 0));
                }
                (side, one(sctp::SHUTDOWN, 4))
            }
            5 => (Side::Server, one(sctp::SHUTDOWN_ACK, 0)),
            6 => {
                self.stage = 9;
                (Side::Client, one(sctp::SHUTDOWN_COMPLETE, 0))
            }
            _ => {
                self.stage = 9;
                (dice.pick(&[Side::Client, Side::Server]), one(SACK, 12))
            }
        }
    }

    /// What nobody expects.
    fn disorder(&mut self, dice: &mut Dice) -> (Side, Word) {
        let side = dice.pick(&[Side::Client, Side::Client, Side::Server]);
        let length = length(dice);
        let word = match self.protocol {
            Protocol::UDP => Word::Datagram { length },
            Protocol::SCTP => {
                let kind = |dice: &mut Dice| dice.between(0, 15) as u8;
                let first = (kind(dice), dice.pick(&[0, 4, 5, 16]));
                let second = if dice.chance(30) { (kind(dice), 4) } else { (0xff, 0) };
                Word::Chunks([first, second])
            }
            _ => {
                let flags = dice.pick(&[
                    flag::SYN,
                    flag::SYN | flag::ACK,
                    flag::FIN,
                    flag::FIN | flag::ACK,
                    flag::RST,
                    flag::RST | flag::ACK,
                    flag::ACK,
                    flag::PSH,
                    0,
                    flag::SYN | flag::FIN,
                    flag::SYN | flag::RST,
                    flag::FIN | flag::PSH | flag::URG,
                ]);
                Word::Segment { flags, length: if dice.chance(50) { 0 } else { length } }
            }
        };
        (side, word)
    }

    fn speak(&mut self, side: Side, word: Word, envelope: &Envelope, sealing: Sealing) -> Vec<u8> {
        let ports = self.ports(side);
        match word {
            Word::Datagram { length } => frames::udp(envelope, ports, &frames::payload(length), sealing),
            Word::Chunks(chunks) => {
                let chunks: Vec<(u8, usize)> = chunks.into_iter().filter(|&(kind, _)| kind != 0xff).collect();
                frames::sctp(envelope, ports, &chunks, sealing)
            }
            Word::Segment { flags, length } => {
                let (own, other) = if side == Side::Client { (0, 1) } else { (1, 0) };
                let acknowledgement = if flags & flag::ACK != 0 { self.sequences[other] } else { 0 };
                let segment = Segment { ports, sequence: self.sequences[own], acknowledgement, flags, length };
                let counted = length as u32 + u32::from(flags & (flag::SYN | flag::FIN) != 0);
                self.sequences[own] = self.sequences[own].wrapping_add(counted);
                frames::tcp(envelope, &segment, sealing)
            }
        }
    }

    /// Source and destination port of what one end sends.
    fn ports(&self, side: Side) -> (u16, u16) {
        match (side, self.path) {
            (Side::Client, _) => (self.port, self.vport),
            (Side::Server, Some(Path::Nat { port, .. })) => (port, self.port),
            (Side::Server, _) => (self.vport, self.port),
        }
    }

    /// The IP header of what one end sends; an odd one where dice are given.
    pub fn envelope(&self, side: Side, odd: Option<&mut Dice>) -> Option<Envelope> {
        let (source, destination) = match (side, self.path) {
            (Side::Client, _) => (self.client.address, self.vip),
            (Side::Server, Some(Path::Nat { server, .. })) => (server, self.client.address),
            (Side::Server, Some(Path::Whole { .. })) => (self.vip, self.client.address),
            (Side::Server, None) => return None,
        };
        let mut envelope =
            Envelope { source, destination, tos: 0, ttl: 64, identification: 0x1234, dont_fragment: false };
        if let Some(dice) = odd {
            envelope.tos = dice.pick(&[0, 0x10, 0xb8, 0x01, 0x03, 0xfd]);
            envelope.ttl = dice.pick(&[64, 64, 255, 2, 1]);
            envelope.dont_fragment = dice.chance(50);
        }
        Some(envelope)
    }

    /// Puts the Ethernet header of the one that sends it before a packet.
    pub fn wrap(&self, side: Side, packet: &[u8]) -> (usize, Vec<u8>) {
        let (link, mac) = match (side, self.path) {
            (Side::Client, _) => (0, self.client.mac),
            (Side::Server, Some(Path::Nat { mac, .. } | Path::Whole { mac })) => (1, mac),
            (Side::Server, None) => (1, lab::router(self.family, 1).mac),
        };
        (link, frames::ethernet(mac, DIRECTOR[link], packet))
    }

    /// Learns from what the director sent because of a frame of this conversation.
    pub fn observe(&mut self, out: &[(usize, Vec<u8>)]) {
        for (link, frame) in out {
            let (Some(packet), Some(mac)) = (frame.get(ETHERNET_LENGTH..), frame.first_chunk()) else { continue };
            if *link == 0 {
                if destination(packet) == Some(self.client.address) {
                    self.to_client = Some(packet.to_vec());
                }
                continue;
            }
            self.to_server = Some(packet.to_vec());
            let family = if packet[0] >> 4 == 4 { Family::V4 } else { Family::V6 };
            let Ok(parts) = dissect(family, packet) else { continue };
            let to = parts.destination.to_ip(family);
            let is_tunnel = parts.source == Address::from(lab::director(family, 1));
            if is_tunnel || to == self.vip {
                self.path = Some(Path::Whole { mac: Mac(*mac) });
            } else if parts.protocol == self.protocol && family == self.family && !parts.destination_port().is_any() {
                self.path = Some(Path::Nat { server: to, port: parts.destination_port().0, mac: Mac(*mac) });
            }
        }
    }
}

/// Where an IP packet goes.
fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => Some(IpAddr::from(*packet.get(16..)?.first_chunk::<4>()?)),
        _ => Some(IpAddr::from(*packet.get(24..)?.first_chunk::<16>()?)),
    }
}

/// How much is said at once: mostly little.
fn length(dice: &mut Dice) -> usize {
    let (least, most) =
        dice.weighted(&[((0, 0), 20), ((1, 64), 60), ((65, 600), 12), ((1300, 1420), 6), ((1421, 1440), 2)]);
    dice.between(least, most) as usize
}
