//! The short way: whole TCP and UDP packets of connections that are known already, by NAT or
//! direct routing, where nothing about them is unusual.
//!
//! Nearly every packet is of this kind, and for these the stages from classification to
//! forwarding come to a handful of tests, one lookup and one edit. The rule: **the short way
//! decides as the stages would, or not at all.** It changes nothing before it is sure that the
//! packet is its own; whatever it is not sure of (options, fragments, marks, first segments,
//! helpers, tunnels, packets that do not fit their link) goes the long way untouched. A test
//! plays everything that fuzzing makes both ways and compares.

use crate::base::{Address, Family, Port, Protocol, Tick};
use crate::table::network::LinkLayer;
use crate::table::{ForwardingMethod, Network, NextHop, RouteKind};
use crate::wire::checksum::{Checksum, Sum};
use crate::wire::ip::{End, v4, v6};
use crate::wire::transport::{TcpFlags, tcp, udp};
use crate::wire::{EtherType, Frame, LinkHeader, offload::Segmentation};

use super::Engine;
use super::app::is_watched;
use super::classify::is_multicast;
use super::conn::{Chain, ConnFlags, Connection, TupleKey};
use super::services::Services;
use super::track::Sender;
use super::verdict::{Egress, Verdict};

/// What of a plain packet's headers the short way needs.
#[derive(Clone, Copy)]
struct Plain {
    protocol: Protocol,
    source: Address,
    destination: Address,
    source_port: Port,
    destination_port: Port,
    /// Length of the IP header, which has nothing after it but the transport header.
    header: usize,
    /// Of the whole IP packet.
    length: usize,
    /// The flags of a TCP segment.
    flags: TcpFlags,
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
    let [first, ..] = address.octets4();
    let special = is_multicast(family, address)
        || network.is_ceded(family, address)
        || family == Family::V4
            && (first == 0 || address.octets4() == [255; 4] || network.is_broadcast(address.octets4().into()));
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
    pub(super) fn handle_known(&mut self, now: Tick, frame: &mut Frame) -> Option<Verdict> {
        #[cfg(any(test, fuzzing))]
        if self.long_way_only {
            return None;
        }
        if !self.marks.is_empty() || self.settings.nat_icmp_send != 0 {
            return None;
        }
        // Each family has code of its own.
        match self.family_taken(frame)? {
            Family::V4 => {
                let plain = plain4(frame.packet())?;
                self.handle_plain(now, frame, &plain, Family::V4)
            }
            Family::V6 => {
                let plain = plain6(frame.packet())?;
                self.handle_plain(now, frame, &plain, Family::V6)
            }
        }
    }

    #[inline(always)]
    fn handle_plain(&mut self, now: Tick, frame: &mut Frame, plain: &Plain, family: Family) -> Option<Verdict> {
        // Packets of this host's own, and those that pretend to be.
        if self.network.may_be_local(family, plain.source) || self.network.has_policy(family) {
            return None;
        }
        match self.classes.of(&self.services, &self.network, family, plain.destination) {
            Class::Virtual => self.request(now, frame, plain, family),
            Class::Transit => self.reply(now, frame, plain, family),
            Class::Special => None,
        }
    }

    /// The chain of connections that this packet will be looked for in, if it is a plain one: to be
    /// asked for each packet of a batch, and then fetched for all, while there are many connections.
    #[inline]
    pub fn chain_of(&mut self, frame: &Frame) -> Option<Chain> {
        let family = self.family_taken(frame)?;
        let plain = match family {
            Family::V4 => plain4(frame.packet())?,
            Family::V6 => plain6(frame.packet())?,
        };
        let (client, port) = match self.classes.of(&self.services, &self.network, family, plain.destination) {
            Class::Virtual => (plain.source, plain.source_port),
            Class::Transit => (plain.destination, plain.destination_port),
            Class::Special => return None,
        };
        Some(self.connections.chain_of(plain.protocol, client, port))
    }

    /// Has the memory fetch what handling a batch of packets will look at.
    #[inline]
    pub fn fetch(&self, chains: &[Chain]) {
        self.connections.fetch(chains);
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
    fn request(&mut self, now: Tick, frame: &mut Frame, plain: &Plain, family: Family) -> Option<Verdict> {
        // A first segment may begin its connection anew.
        if plain.flags.has(TcpFlags::SYN) || self.sync.leaves_packets {
            return None;
        }
        let key = TupleKey {
            family,
            protocol: plain.protocol,
            client: plain.source,
            client_port: plain.source_port,
            virtual_address: plain.destination,
            virtual_port: plain.destination_port,
        };
        let id = self.connections.find(&key)?;
        let connection = self.connections.get(id)?;
        let method = usual_method(connection)?;
        let end = (connection.destination_address, connection.destination_port);
        let destination = connection.destination;
        if connection.destination_family != family || !self.services.destinations.get(destination?)?.available {
            return None;
        }
        let hop = self.open_way(frame, plain, family, end.0)?;
        if method == ForwardingMethod::DirectRouting && self.network.link(hop.link)?.layer == LinkLayer::Ip {
            return None;
        }
        let edit = match method {
            ForwardingMethod::DirectRouting => Edit::TimeToLive,
            _ => Edit::of(frame, plain, family, End::Destination, end)?,
        };
        self.count_packet(destination, Sender::Client, plain.length);
        self.follow(id, Sender::Client, &frame.packet()[plain.header..plain.length]);
        edit.apply(frame, plain, family);
        let connection = self.connections.get_mut(id)?;
        connection.in_packets = connection.in_packets.wrapping_add(1);
        if self.sync.is_master() {
            let packets = connection.in_packets;
            self.tell(now, id, packets);
        }
        self.touch(now, id);
        Some(Verdict::Transmit(Egress { link: hop.link, family, next_hop: hop.address }))
    }

    #[inline(always)]
    fn reply(&mut self, now: Tick, frame: &mut Frame, plain: &Plain, family: Family) -> Option<Verdict> {
        if !self.services.serves(family) {
            return None;
        }
        let server = (plain.source, plain.source_port);
        let client = (plain.destination, plain.destination_port);
        let id = self.connections.find_reply(family, plain.protocol, server, client)?;
        let connection = self.connections.get(id)?;
        if usual_method(connection)? != ForwardingMethod::Masquerading {
            return None;
        }
        let end = (connection.virtual_address, connection.virtual_port);
        let destination = connection.destination;
        let hop = self.open_way(frame, plain, family, plain.destination)?;
        let edit = Edit::of(frame, plain, family, End::Source, end)?;
        self.count_packet(destination, Sender::Server, plain.length);
        self.follow(id, Sender::Server, &frame.packet()[plain.header..plain.length]);
        edit.apply(frame, plain, family);
        self.touch(now, id);
        Some(Verdict::Transmit(Egress { link: hop.link, family, next_hop: hop.address }))
    }

    /// The way to `address`, if the packet fits it as it is.
    #[inline(always)]
    fn open_way(&mut self, frame: &Frame, plain: &Plain, family: Family, address: Address) -> Option<NextHop> {
        let hop = self.routes.next_hop_by_address(&self.network, family, address)?;
        (hop.kind == RouteKind::Unicast && wire_size(frame, plain) <= hop.mtu as usize).then_some(hop)
    }
}

/// The method of a connection that nobody listens to; `None` for other kinds.
#[inline(always)]
fn usual_method(connection: &Connection) -> Option<ForwardingMethod> {
    let flags = connection.flags;
    if is_watched(flags) || flags.has(ConnFlags::ONE_PACKET) {
        return None;
    }
    match flags.method() {
        method @ (ForwardingMethod::Masquerading | ForwardingMethod::DirectRouting) => Some(method),
        _ => None,
    }
}

/// The size of the packet on the wire: that of one segment, for a super-frame.
#[inline(always)]
fn wire_size(frame: &Frame, plain: &Plain) -> usize {
    match frame.offload.segmentation {
        Segmentation::None => plain.length,
        // Seldom enough that the header may be looked at again.
        Segmentation::Tcp4 { .. } | Segmentation::Tcp6 { .. } => {
            let at = plain.header + tcp::DATA_OFFSET;
            let header = frame.packet().get(at).map_or(tcp::LENGTH, |byte| usize::from(byte >> 4) * 4);
            (plain.header + header + usize::from(frame.offload.segment_size)).min(plain.length)
        }
        _ => (plain.header + udp::LENGTH + usize::from(frame.offload.segment_size)).min(plain.length),
    }
}

/// Takes apart an IPv4 packet without options that is whole and may go on.
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
    transport(
        packet,
        Plain {
            protocol: Protocol(header[v4::PROTOCOL]),
            source: Address::v4([header[12], header[13], header[14], header[15]]),
            destination: Address::v4([header[16], header[17], header[18], header[19]]),
            source_port: Port::ANY,
            destination_port: Port::ANY,
            header: v4::LENGTH,
            length,
            flags: TcpFlags(0),
        },
    )
}

/// Takes apart an IPv6 packet without extension headers that may go on.
#[inline(always)]
fn plain6(packet: &[u8]) -> Option<Plain> {
    let header: &[u8; v6::LENGTH] = packet.first_chunk()?;
    let length = v6::LENGTH + usize::from(u16::from_be_bytes([header[4], header[5]]));
    let source = Address::read(Family::V6, &header[v6::SOURCE])?;
    let usual =
        header[0] >> 4 == 6 && header[v6::HOP_LIMIT] > 1 && length <= packet.len() && !is_multicast(Family::V6, source);
    if !usual {
        return None;
    }
    transport(
        packet,
        Plain {
            protocol: Protocol(header[v6::NEXT_HEADER]),
            source,
            destination: Address::read(Family::V6, &header[v6::DESTINATION])?,
            source_port: Port::ANY,
            destination_port: Port::ANY,
            header: v6::LENGTH,
            length,
            flags: TcpFlags(0),
        },
    )
}

/// Adds what the transport header says; its length is known to be enough afterwards.
#[inline(always)]
fn transport(packet: &[u8], mut plain: Plain) -> Option<Plain> {
    let segment = packet.get(plain.header..plain.length)?;
    match plain.protocol {
        Protocol::TCP => plain.flags = TcpFlags(segment.first_chunk::<{ tcp::LENGTH }>()?[tcp::FLAGS]),
        Protocol::UDP => {
            segment.first_chunk::<{ udp::LENGTH }>()?;
        }
        _ => return None,
    }
    let ports: &[u8; 4] = segment.first_chunk()?;
    plain.source_port = Port(u16::from_be_bytes([ports[0], ports[1]]));
    plain.destination_port = Port(u16::from_be_bytes([ports[2], ports[3]]));
    Some(plain)
}

/// What is written into a packet besides the TTL.
enum Edit {
    TimeToLive,
    Translate {
        end: End,
        address: Address,
        port: Port,
        /// What the addresses under both checksums change by.
        change: Sum,
        /// Where the transport's checksum lies, and what it becomes.
        checksum: (usize, Checksum),
    },
}

impl Edit {
    /// Another address and port at one end; `None` where the checksum must be computed from the
    /// whole packet.
    #[inline(always)]
    fn of(frame: &Frame, plain: &Plain, family: Family, end: End, new: (Address, Port)) -> Option<Edit> {
        let (old, old_port) = match end {
            End::Source => (plain.source, plain.source_port),
            End::Destination => (plain.destination, plain.destination_port),
        };
        let at = plain.header + if plain.protocol == Protocol::TCP { tcp::CHECKSUM } else { udp::CHECKSUM };
        let sum = Checksum::read(frame.packet(), at)?;
        let change = match family {
            // The other words are zero.
            Family::V4 => Sum::ZERO.add_word(!old.raw()[0]).add_word(new.0.raw()[0]),
            Family::V6 => Sum::ZERO.subtract_address(old).add_address(new.0),
        };
        let updated = if frame.offload.is_partial() {
            // Holds the pseudo-header's sum alone: ports are summed later, by whoever finishes it.
            sum.updated_partial(change)
        } else {
            let whole = sum.updated(change.subtract_number(old_port.0).add_number(new.1.0));
            match plain.protocol {
                Protocol::TCP => whole,
                _ if sum.is_zero() => return None,
                _ => whole.not_zero(),
            }
        };
        Some(Edit::Translate { end, address: new.0, port: new.1, change, checksum: (at, updated) })
    }

    /// Edits the packet, whose padding is cut off.
    #[inline(always)]
    fn apply(self, frame: &mut Frame, plain: &Plain, family: Family) {
        frame.truncate(plain.length);
        let packet = frame.packet_mut();
        let mut header_change = Sum::ZERO;
        if let Edit::Translate { end, address, port, change, checksum: (at, checksum) } = self {
            checksum.write(packet, at);
            let port_at = plain.header + if end == End::Source { 0 } else { 2 };
            packet[port_at..port_at + 2].copy_from_slice(&port.0.to_be_bytes());
            match (family, end) {
                (Family::V4, End::Source) => packet[v4::SOURCE].copy_from_slice(&address.octets4()),
                (Family::V4, End::Destination) => packet[v4::DESTINATION].copy_from_slice(&address.octets4()),
                (Family::V6, End::Source) => packet[v6::SOURCE].copy_from_slice(&address.octets16()),
                (Family::V6, End::Destination) => packet[v6::DESTINATION].copy_from_slice(&address.octets16()),
            }
            header_change = change;
        }
        match family {
            Family::V4 => {
                // The TTL is the upper half of its word: one less.
                packet[v4::TTL] -= 1;
                let change = header_change.subtract_number(1 << 8);
                if let Some(sum) = Checksum::read(packet, v4::CHECKSUM) {
                    sum.updated(change).write(packet, v4::CHECKSUM);
                }
            }
            Family::V6 => packet[v6::HOP_LIMIT] -= 1,
        }
    }
}
