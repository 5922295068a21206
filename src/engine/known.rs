//! The short way: whole TCP and UDP packets of connections that are known already, by NAT or
//! direct routing, where nothing about them is unusual.
//!
//! Nearly every packet is of this kind, and for these the stages from classification to
//! forwarding come to a handful of tests, one lookup and one edit. The rule: **the short way
//! decides as the stages would, or not at all.** It changes nothing before it is sure that the
//! packet is its own; whatever it is not sure of (options, fragments, marks, first segments,
//! helpers, tunnels, packets that do not fit their link) goes the long way untouched. A test
//! plays everything that fuzzing makes both ways and compares.
//!
//! Where connections are many, a batch is gone through twice, and no header is read twice:
//!
//! ```text
//! foresee each packet ─► fetch: chains, entries, second entries ─► handle each with what was foreseen
//! ```

mod edit;

use crate::base::{Address, ConnectionId, Family, Port, Protocol, Tick};
use crate::table::network::LinkLayer;
use crate::table::{ForwardingMethod, Network, RouteKind};
use crate::wire::checksum::Sum;
use crate::wire::ip::{End, v4, v6};
use crate::wire::transport::{TcpFlags, tcp, udp};
use crate::wire::{EtherType, Frame, LinkHeader, offload::Segmentation};

use super::Engine;
use super::app::WATCHED;
use super::classify::{is_everyone_or_nobody, is_loopback6, is_multicast};
use super::conn::{Chain, ConnFlags, Connection};
use super::services::Services;
use super::track::Sender;
use super::verdict::{Egress, Verdict};
use edit::Edit;

/// What of a plain packet's headers the short way needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plain {
    source: Address,
    destination: Address,
    source_port: Port,
    destination_port: Port,
    protocol: Protocol,
    /// The flags of a TCP segment.
    flags: TcpFlags,
    /// Of the whole IP packet.
    length: u32,
}

impl Plain {
    #[inline(always)]
    fn length(&self) -> usize {
        self.length as usize
    }
}

/// Length of the IP header, which has nothing after it but the transport header.
#[inline(always)]
fn header_length(family: Family) -> usize {
    match family {
        Family::V4 => v4::LENGTH,
        Family::V6 => v6::LENGTH,
    }
}

/// A plain packet as it was seen ahead of its turn: whose it may be, and where its connection is
/// looked for. It holds until networks, services or the packet's bytes change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreseen {
    plain: Plain,
    family: Family,
    class: Class,
    chain: Chain,
}

/// Whom an address belongs to, for a packet that goes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Services have it, and it is no special one.
    Virtual,
    /// Somebody beyond.
    Transit,
    /// This host's own, a group's, one left to the kernel: the long way knows.
    Special,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    family: Family,
    address: Address,
    class: Class,
}

/// The classes of addresses that packets went to lately. It forgets everything when networks or
/// services change.
#[derive(Debug)]
pub(super) struct Classes {
    slots: Box<[Option<Known>; SLOTS]>,
    /// The version of the services that the classes are of.
    version: u64,
}

const SLOTS: usize = 256;

/// With more connections than this it pays to fetch what a batch needs beforehand.
const MANY: usize = 512;

impl Default for Classes {
    fn default() -> Classes {
        Classes { slots: Box::new([None; SLOTS]), version: 0 }
    }
}

impl Classes {
    pub fn clear(&mut self) {
        self.slots.fill(None);
    }

    #[inline(always)]
    fn of(&mut self, services: &Services, network: &Network, family: Family, address: Address) -> Class {
        if self.version != services.version() {
            self.clear();
            self.version = services.version();
        }
        let slot = &mut self.slots[(address.fold().wrapping_mul(0x9e37_79b1) >> 24) as usize % SLOTS];
        if let Some(known) = slot
            && known.address == address
            && known.family == family
        {
            return known.class;
        }
        let class = class_of(services, network, family, address);
        *slot = Some(Known { family, address, class });
        class
    }
}

#[cold]
fn class_of(services: &Services, network: &Network, family: Family, address: Address) -> Class {
    let special = is_multicast(family, address)
        || network.is_ceded(family, address)
        || family == Family::V4
            && (is_everyone_or_nobody(address.octets4()) || network.is_broadcast(address.octets4().into()));
    if special {
        Class::Special
    } else if services.is_virtual(family, address) {
        Class::Virtual
    } else if network.is_local(family, address) {
        Class::Special
    } else {
        Class::Transit
    }
}

impl Engine {
    /// Handles a packet of a known connection; `None`, and nothing changed, where it takes more.
    #[inline(always)]
    pub(super) fn handle_known(
        &mut self,
        now: Tick,
        frame: &mut Frame,
        foreseen: Option<&Foreseen>,
    ) -> Option<Verdict> {
        #[cfg(any(test, fuzzing))]
        if self.long_way_only {
            return None;
        }
        if !self.marks.is_empty() || self.settings.nat_icmp_send != 0 {
            return None;
        }
        let seen_now;
        let Foreseen { plain, family, class, chain } = match foreseen {
            Some(foreseen) => {
                debug_assert_eq!(Some(*foreseen), self.foresee(frame), "what was foreseen is what comes");
                foreseen
            }
            None => {
                seen_now = self.foresee(frame)?;
                &seen_now
            }
        };
        // Each family has code of its own.
        match (family, class) {
            (Family::V4, Class::Virtual) => self.request(now, frame, plain, Family::V4, *chain),
            (Family::V4, _) => self.reply(now, frame, plain, Family::V4, *chain),
            (Family::V6, Class::Virtual) => self.request(now, frame, plain, Family::V6, *chain),
            (Family::V6, _) => self.reply(now, frame, plain, Family::V6, *chain),
        }
    }

    /// Looks at a packet ahead of its turn; `None` where it is no plain one. To be asked for each
    /// packet of a batch, while there are many connections: then all is fetched, and each packet
    /// handled with what was foreseen of it.
    #[inline]
    pub fn foresee(&mut self, frame: &Frame) -> Option<Foreseen> {
        match self.family_taken(frame)? {
            Family::V4 => self.place(plain4(frame.packet())?, Family::V4),
            Family::V6 => self.place(plain6(frame.packet())?, Family::V6),
        }
    }

    #[inline(always)]
    fn place(&mut self, plain: Plain, family: Family) -> Option<Foreseen> {
        // Packets of this host's own, and those that pretend to be.
        if self.network.may_be_local(family, plain.source) || self.network.has_policy(family) {
            return None;
        }
        let class = self.classes.of(&self.services, &self.network, family, plain.destination);
        let (client, port) = match class {
            Class::Virtual => (plain.source, plain.source_port),
            Class::Transit => (plain.destination, plain.destination_port),
            Class::Special => return None,
        };
        let chain = self.connections.chain_of(plain.protocol, client, port);
        Some(Foreseen { plain, family, class, chain })
    }

    /// Has the memory fetch what handling a batch of packets will look at.
    #[inline]
    pub fn fetch(&self, batch: &[Option<Foreseen>]) {
        self.connections.fetch(batch.iter().flatten().map(|foreseen| {
            let of_client = foreseen.class == Class::Virtual;
            let plain = &foreseen.plain;
            (foreseen.chain, if of_client { plain.source_port } else { plain.destination_port })
        }));
    }

    /// Whether the connections are too many to lie in the processor's caches.
    #[inline]
    pub fn is_worth_fetching(&self) -> bool {
        self.connections.len() > MANY
    }

    /// The family of a frame that is for this director.
    #[inline(always)]
    fn family_taken(&self, frame: &Frame) -> Option<Family> {
        match frame.link_header() {
            LinkHeader::Ethernet { destination, kind, .. } => {
                let family = match kind {
                    EtherType::IPV4 => Family::V4,
                    EtherType::IPV6 => Family::V6,
                    _ => return None,
                };
                let link = self.network.link(frame.link)?;
                self.network.takes(link, destination, family).then_some(family)
            }
            LinkHeader::Tagged => None,
            LinkHeader::None => {
                self.network.link(frame.link)?;
                match frame.packet().first()? >> 4 {
                    4 => Some(Family::V4),
                    6 => Some(Family::V6),
                    _ => None,
                }
            }
        }
    }

    #[inline(always)]
    fn request(
        &mut self,
        now: Tick,
        frame: &mut Frame,
        plain: &Plain,
        family: Family,
        chain: Chain,
    ) -> Option<Verdict> {
        // A first segment may begin its connection anew.
        if plain.flags.has(TcpFlags::SYN) || self.sync.leaves_packets {
            return None;
        }
        let client = (plain.source, plain.source_port);
        let virtual_end = (plain.destination, plain.destination_port);
        let (id, connection) = self.connections.find_in(chain, family, plain.protocol, client, virtual_end)?;
        let method = usual_method(connection)?;
        let end = (connection.destination_address, connection.destination_port);
        let destination = connection.destination;
        if connection.destination_family != family {
            return None;
        }
        let egress = self.open_way(frame, plain, family, end.0)?;
        if method == ForwardingMethod::DirectRouting && self.network.link(egress.link)?.layer == LinkLayer::Ip {
            return None;
        }
        let edit = match method {
            ForwardingMethod::DirectRouting => Edit::TimeToLive,
            _ => Edit::of(frame, plain, family, End::Destination, end)?,
        };
        if !self.count_packet(destination, Sender::Client, plain.length()) {
            return None;
        }
        self.follow_plain(id, Sender::Client, frame, plain, family);
        edit.apply(frame, plain, family);
        let connection = self.connections.get_mut(id)?;
        connection.in_packets = connection.in_packets.wrapping_add(1);
        if self.sync.is_master() {
            let packets = connection.in_packets;
            self.tell(now, id, packets);
        }
        self.touch(now, id);
        Some(Verdict::Transmit(egress))
    }

    #[inline(always)]
    fn reply(&mut self, now: Tick, frame: &mut Frame, plain: &Plain, family: Family, chain: Chain) -> Option<Verdict> {
        if !self.services.serves(family) {
            return None;
        }
        let server = (plain.source, plain.source_port);
        let client = (plain.destination, plain.destination_port);
        let (id, connection) = self.connections.find_reply_in(chain, family, plain.protocol, server, client)?;
        if usual_method(connection)? != ForwardingMethod::Masquerading {
            return None;
        }
        let end = (connection.virtual_address, connection.virtual_port);
        let destination = connection.destination;
        let egress = self.open_way(frame, plain, family, plain.destination)?;
        let edit = Edit::of(frame, plain, family, End::Source, end)?;
        self.count_packet(destination, Sender::Server, plain.length());
        self.follow_plain(id, Sender::Server, frame, plain, family);
        edit.apply(frame, plain, family);
        self.touch(now, id);
        Some(Verdict::Transmit(egress))
    }

    #[inline(always)]
    fn follow_plain(&mut self, id: ConnectionId, sender: Sender, frame: &Frame, plain: &Plain, family: Family) {
        match plain.protocol {
            Protocol::UDP => self.follow_datagram(id, sender),
            _ => self.follow(id, sender, &frame.packet()[header_length(family)..plain.length()]),
        }
    }

    /// The way to `address`, if the packet fits it as it is.
    #[inline(always)]
    fn open_way(&mut self, frame: &Frame, plain: &Plain, family: Family, address: Address) -> Option<Egress> {
        let hop = self.routes.next_hop_by_address(&self.network, family, address)?;
        let is_open = hop.kind == RouteKind::Unicast && wire_size(frame, plain, family) <= hop.mtu as usize;
        is_open.then_some(Egress { link: hop.link, family, next_hop: hop.address })
    }
}

/// The method of a connection that nobody listens to; `None` for other kinds.
#[inline(always)]
fn usual_method(connection: &Connection) -> Option<ForwardingMethod> {
    let flags = connection.flags;
    if flags.has(WATCHED | ConnFlags::ONE_PACKET) {
        return None;
    }
    match flags.method() {
        method @ (ForwardingMethod::Masquerading | ForwardingMethod::DirectRouting) => Some(method),
        _ => None,
    }
}

/// The size of the packet on the wire: that of one segment, for a super-frame.
#[inline(always)]
fn wire_size(frame: &Frame, plain: &Plain, family: Family) -> usize {
    let ip = header_length(family);
    match frame.offload.segmentation {
        Segmentation::None => plain.length(),
        // Seldom enough that the header may be looked at again.
        Segmentation::Tcp4 { .. } | Segmentation::Tcp6 { .. } => {
            let at = ip + tcp::DATA_OFFSET;
            let header = frame.packet().get(at).map_or(tcp::LENGTH, |byte| usize::from(byte >> 4) * 4);
            (ip + header + usize::from(frame.offload.segment_size)).min(plain.length())
        }
        _ => (ip + udp::LENGTH + usize::from(frame.offload.segment_size)).min(plain.length()),
    }
}

/// Takes apart an IPv4 packet without options that is whole and may go on. Sources in 0.0.0.0/8 and 240.0.0.0/4,
/// which hardly anybody has, go the long way.
#[inline(always)]
fn plain4(packet: &[u8]) -> Option<Plain> {
    let header: &[u8; v4::LENGTH] = packet.first_chunk()?;
    let word = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let half = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let sum = Sum::ZERO.add_word(word(0)).add_word(word(4)).add_word(word(8)).add_word(word(12)).add_word(word(16));
    let length = usize::from(half(2));
    let cut = half(6);
    let first = header[12];
    let usual = header[0] == 0x45
        && cut & (v4::OFFSET_MASK | v4::MORE_FRAGMENTS) == 0
        && header[v4::TTL] > 1
        && length <= packet.len()
        && sum.is_valid()
        && (1..=223).contains(&first)
        && first != 127;
    if !usual {
        return None;
    }
    let source = Address::v4([header[12], header[13], header[14], header[15]]);
    let destination = Address::v4([header[16], header[17], header[18], header[19]]);
    transport(packet, Family::V4, length, Protocol(header[v4::PROTOCOL]), source, destination)
}

/// Takes apart an IPv6 packet without extension headers that may go on.
#[inline(always)]
fn plain6(packet: &[u8]) -> Option<Plain> {
    let header: &[u8; v6::LENGTH] = packet.first_chunk()?;
    let length = v6::LENGTH + usize::from(u16::from_be_bytes([header[4], header[5]]));
    let source = Address::read(Family::V6, &header[v6::SOURCE])?;
    let usual = header[0] >> 4 == 6
        && header[v6::HOP_LIMIT] > 1
        && length <= packet.len()
        && !is_multicast(Family::V6, source)
        && !is_loopback6(source);
    if !usual {
        return None;
    }
    let destination = Address::read(Family::V6, &header[v6::DESTINATION])?;
    transport(packet, Family::V6, length, Protocol(header[v6::NEXT_HEADER]), source, destination)
}

/// Adds what the transport header says; its length is known to be enough afterwards.
#[inline(always)]
fn transport(
    packet: &[u8],
    family: Family,
    length: usize,
    protocol: Protocol,
    source: Address,
    destination: Address,
) -> Option<Plain> {
    let segment = packet.get(header_length(family)..length)?;
    let flags = match protocol {
        Protocol::TCP => TcpFlags(segment.first_chunk::<{ tcp::LENGTH }>()?[tcp::FLAGS]),
        Protocol::UDP => {
            segment.first_chunk::<{ udp::LENGTH }>()?;
            TcpFlags(0)
        }
        _ => return None,
    };
    let ports: &[u8; 4] = segment.first_chunk()?;
    Some(Plain {
        source,
        destination,
        source_port: Port(u16::from_be_bytes([ports[0], ports[1]])),
        destination_port: Port(u16::from_be_bytes([ports[2], ports[3]])),
        protocol,
        flags,
        // Of two bytes, with an IPv6 header at the most.
        length: length as u32,
    })
}
