//! Next hops of one worker: who has which link-layer address, and what waits to learn it.

use std::net::IpAddr;
use std::sync::Arc;

use crate::base::{Family, LinkId, Mac, Tick};
use crate::engine::Egress;
use crate::host::neighbour::{Learned, NeighbourEvent, Neighbours, Outcome, Resolution};
use crate::host::pending::{Pending, PendingLimits};
use crate::host::question::{QUESTION_LENGTH, Sender};
use crate::host::responder::{Owned, Role};
use crate::port::Ports;
use crate::table::Network;
use crate::table::network::LinkLayer;
use crate::wire::frame::ETHERNET_LENGTH;
use crate::wire::{EtherType, LinkHeader, Offload};

/// Next hops that are kept in mind at most.
const CAPACITY: usize = 65_536;
/// Slots of the cache in front of the table.
const CACHE_SLOTS: usize = 256;
/// Milliseconds for which the cache answers without asking the table, which notes what is in use.
const CACHE_TIME: u64 = 500;

/// What a waiting packet needs besides its bytes.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    offload: Offload,
    kind: EtherType,
}

/// Whether a packet can go now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    Header(LinkHeader),
    /// Its next hop is being asked for.
    Wait,
    Unreachable,
}

#[derive(Clone, Copy, Debug)]
struct Cached {
    egress: Egress,
    header: LinkHeader,
    until: Tick,
}

/// Counts of this stage.
#[derive(Clone, Copy, Debug, Default)]
pub struct HopCounts {
    /// Packets whose next hop nobody answered for.
    pub unreachable: u64,
}

/// The neighbours of one worker.
#[derive(Debug)]
pub struct Hops {
    neighbours: Neighbours,
    pending: Pending<Waiting>,
    network: Arc<Network>,
    gateways: Vec<IpAddr>,
    virtual_addresses: Vec<IpAddr>,
    cache: Box<[Option<Cached>]>,
    pub counts: HopCounts,
}

impl Hops {
    pub fn new() -> Hops {
        Hops {
            neighbours: Neighbours::new(CAPACITY),
            pending: Pending::new(PendingLimits::default()),
            network: Arc::default(),
            gateways: Vec::new(),
            virtual_addresses: Vec::new(),
            cache: vec![None; CACHE_SLOTS].into_boxed_slice(),
            counts: HopCounts::default(),
        }
    }

    pub fn set_network(&mut self, network: Arc<Network>) {
        self.network = network;
        self.cache.fill(None);
    }

    /// The addresses that the director itself may ask with.
    pub fn set_owned(&mut self, owned: &[Owned]) {
        let of = |role: Role| owned.iter().filter(|entry| entry.role == role).map(|entry| entry.address).collect();
        self.gateways = of(Role::Gateway);
        self.virtual_addresses = of(Role::Virtual);
    }

    /// The link-layer header that a packet to `egress` needs.
    #[inline]
    pub fn resolve(&mut self, now: Tick, egress: Egress) -> Hop {
        let place = (egress.next_hop.fold().wrapping_mul(0x9e37_79b1) >> 24) as usize % CACHE_SLOTS;
        if let Some(cached) = &self.cache[place]
            && cached.egress == egress
            && cached.until > now
        {
            return Hop::Header(cached.header);
        }
        let hop = self.look_up(now, egress);
        if let Hop::Header(header) = hop {
            self.cache[place] = Some(Cached { egress, header, until: now + CACHE_TIME });
        }
        hop
    }

    fn look_up(&mut self, now: Tick, egress: Egress) -> Hop {
        let Some(link) = self.network.link(egress.link) else { return Hop::Unreachable };
        if link.layer == LinkLayer::Ip {
            return Hop::Header(LinkHeader::None);
        }
        let source = link.source_mac();
        match self.neighbours.resolve(egress.link, egress.next_hop.to_ip(egress.family), now) {
            Resolution::Known(destination) => {
                Hop::Header(LinkHeader::Ethernet { destination, source, kind: kind_of(egress.family) })
            }
            Resolution::Wait => Hop::Wait,
            Resolution::Failed => Hop::Unreachable,
        }
    }

    /// Keeps a packet until its next hop is known. `offload` counts from the packet's beginning.
    pub fn hold(&mut self, egress: Egress, packet: &[u8], offload: Offload) {
        let waiting = Waiting { offload, kind: kind_of(egress.family) };
        self.pending.hold(egress.link, egress.next_hop.to_ip(egress.family), packet, waiting);
    }

    pub fn learn(&mut self, now: Tick, link: LinkId, learned: Learned) {
        self.neighbours.learn(link, learned, now);
        self.cache.fill(None);
    }

    pub fn kernel(&mut self, now: Tick, events: &[NeighbourEvent], whole: bool) {
        if whole {
            self.neighbours.kernel_table(events.iter().copied(), now);
        } else {
            for &event in events {
                self.neighbours.kernel(event, now);
            }
        }
        self.cache.fill(None);
    }

    pub fn forget_link(&mut self, link: LinkId) {
        self.neighbours.forget_link(link);
        self.cache.fill(None);
    }

    /// Sends the questions that are due, and what waited for their answers.
    pub fn work(&mut self, now: Tick, ports: &mut Ports) {
        while let Some(question) = self.neighbours.next_question(now) {
            let Some(link) = self.network.link(question.link) else { continue };
            let sender = Sender::choose(link, question.address, &self.gateways, &self.virtual_addresses);
            let mut bytes = [0; QUESTION_LENGTH];
            if let Some(length) = sender.and_then(|sender| sender.write(&question, &mut bytes)) {
                send_frame(ports, question.link, &bytes[..length]);
            }
        }
        while let Some(outcome) = self.neighbours.next_outcome() {
            match outcome {
                Outcome::Resolved { link, address, mac } => self.send_waiting(ports, link, address, mac),
                Outcome::Failed { link, address } => {
                    self.counts.unreachable += self.pending.release(link, address).len() as u64;
                }
            }
        }
    }

    fn send_waiting(&mut self, ports: &mut Ports, id: LinkId, address: IpAddr, mac: Mac) {
        let released = self.pending.release(id, address);
        let Some(source) = self.network.link(id).map(|link| link.source_mac()) else {
            // The link is gone, and with it whoever was asked for.
            self.counts.unreachable += released.len() as u64;
            return;
        };
        for held in released {
            let header = LinkHeader::Ethernet { destination: mac, source, kind: held.metadata.kind };
            // What cannot be sent is counted by the port.
            let _ = ports.send_copy(id, &held.bytes, held.metadata.offload, header);
        }
    }

    /// When [`Hops::work`] is due again.
    pub fn next_deadline(&self) -> Option<Tick> {
        self.neighbours.next_deadline()
    }

    /// Counts by name, with what they mean.
    pub fn statistics(&self) -> [(&'static str, &'static str, u64); 6] {
        let counters = self.neighbours.counters();
        [
            ("questions", "ARP requests and neighbour solicitations sent.", counters.questions),
            ("failures", "Next hops that nobody answered for.", counters.failures),
            ("table-full", "Next hops not asked for because too many are in use.", counters.table_full),
            ("unreachable", "Packets dropped because their next hop did not answer.", self.counts.unreachable),
            ("waiting", "Packets waiting for their next hop's address now.", self.pending.len() as u64),
            ("pushed-out", "Packets dropped while waiting because too many waited.", self.pending.dropped()),
        ]
    }
}

/// Sends a frame that has its Ethernet header already.
pub fn send_frame(ports: &mut Ports, link: LinkId, frame: &[u8]) {
    let Some((header, packet)) = frame.split_first_chunk::<ETHERNET_LENGTH>() else { return };
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, k0, k1] = *header;
    let header = LinkHeader::Ethernet {
        destination: Mac([d0, d1, d2, d3, d4, d5]),
        source: Mac([s0, s1, s2, s3, s4, s5]),
        kind: EtherType(u16::from_be_bytes([k0, k1])),
    };
    // What cannot be sent is counted by the port.
    let _ = ports.send_copy(link, packet, Offload::NONE, header);
}

fn kind_of(family: Family) -> EtherType {
    match family {
        Family::V4 => EtherType::IPV4,
        Family::V6 => EtherType::IPV6,
    }
}
