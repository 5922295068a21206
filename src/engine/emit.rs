//! What the engine sends of its own accord: ICMP errors to whoever sent a packet that cannot go on.

use crate::base::{Address, Family, Tick};
use crate::table::{NextHop, RouteKind};
use crate::wire::Frame;

use super::Engine;
use super::classify::{Seen, Target};
use super::verdict::Egress;

/// What is wrong with a packet, as its sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Complaint {
    NetUnreachable,
    HostUnreachable,
    ProtocolUnreachable,
    PortUnreachable,
    /// The packet is longer than this MTU and may not be fragmented.
    TooBig(u32),
    TimeExceeded,
    /// IPv6 only.
    ParameterProblem { code: u8, pointer: u32 },
}

impl Engine {
    /// Sends the sender of `frame` an ICMP error, as the host's stack would: where a packet came
    /// to an address of ours, that address speaks; otherwise the one that faces the sender.
    pub(super) fn tell_sender(&mut self, _now: Tick, frame: &Frame, seen: &Seen, complaint: Complaint) {
        let parts = &seen.parts;
        let Some(hop) = self.way_back(seen) else { return };
        let own = match seen.target {
            Target::Virtual | Target::Own => parts.destination,
            Target::Transit => hop.source,
        };
        if own.is_zero() {
            return;
        }
        let _ = (frame, complaint, egress_of(parts.family, &hop), own);
    }

    /// Tells the sender of a first fragment that the others never came.
    pub(super) fn tell_reassembly_time(&mut self, _now: Tick, _family: Family, _first: &[u8]) {}

    /// The way to the packet's sender.
    pub(super) fn way_back(&mut self, seen: &Seen) -> Option<NextHop> {
        let parts = &seen.parts;
        self.routes.next_hop(&self.network, parts.family, parts.source).filter(|hop| hop.kind == RouteKind::Unicast)
    }
}

pub(super) fn egress_of(family: Family, hop: &NextHop) -> Egress {
    Egress { link: hop.link, family, next_hop: hop.address }
}

#[allow(dead_code)]
fn unused(_: Address) {}
