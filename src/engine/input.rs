//! Packets to a virtual address: find or make the connection, follow it, send the packet on.

use crate::base::{Address, ConnectionId, Port, Protocol, Tick};
use crate::table::Network;
use crate::wire::{Dissected, Frame};

use super::admit::{self, Opening};
use super::classify::{Seen, Target};
use super::conn::{ConnFlags, TupleKey};
use super::emit::Complaint;
use super::pick::{NoConnection, Wanted, connection_flags};
use super::proto::{self, tcp};
use super::related::quoted;
use super::sched::Request;
use super::track::{End, Sender};
use super::verdict::{DropReason, PassReason, Verdict};
use super::{Engine, HostStack};

/// How a request is sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carried {
    /// The packet itself.
    Packet,
    /// An ICMP error about the connection.
    IcmpError,
}

impl Engine {
    /// The stages after classification, for a whole packet.
    pub(super) fn process(&mut self, now: Tick, frame: &mut Frame, seen: &Seen) -> Verdict {
        if self.settings.nat_icmp_send != 0
            && seen.target != Target::Transit
            && let Some(verdict) = self.refuse_stray(now, frame, seen)
        {
            return verdict;
        }
        match seen.target {
            // A real server's answer may carry the mark of a service as well: where both ports are alike, say.
            Target::Virtual if self.is_marked_answer(frame, seen) => self.output(now, frame, seen),
            Target::Virtual => self.input(now, frame, seen),
            Target::Own => self.own(now, frame, seen),
            Target::Transit => self.output(now, frame, seen),
        }
    }

    /// Whether a packet that is a client's by its mark alone answers one, or is an error about what a server was sent.
    fn is_marked_answer(&self, frame: &Frame, seen: &Seen) -> bool {
        let Seen { parts, mark, .. } = seen;
        if *mark == 0 || self.services.is_virtual(parts.family, parts.destination) || is_own(&self.network, seen) {
            return false;
        }
        if super::related::is_icmp(parts) {
            return quoted(parts, frame.packet()).is_some_and(|inner| self.reply_of(&inner).is_some());
        }
        self.find_reply(seen).is_some()
    }

    fn input(&mut self, now: Tick, frame: &mut Frame, seen: &Seen) -> Verdict {
        let parts = &seen.parts;
        if self.sync.leaves_packets {
            return self.leave_to_host(now, frame, seen, PassReason::BackupOnly, Kept::No);
        }
        if super::related::is_icmp(parts) {
            return self.input_icmp(now, frame, seen);
        }
        if !proto::is_balanced(parts) {
            let reason =
                if self.settings.ignore_tunneled != 0 { PassReason::Tunneled } else { PassReason::UnknownProtocol };
            return self.leave_to_host(now, frame, seen, reason, Kept::No);
        }
        let Some(key) = request_key(seen) else { return Verdict::Drop(DropReason::TransportTruncated) };
        let segment = parts.transport(frame.packet());
        let starts_anew = admit::starts_anew(parts.protocol, segment);
        let found = match self.usable(self.connections.find(&key), starts_anew) {
            Ok(found) => found,
            Err(verdict) => return verdict,
        };
        let id = match found {
            Some(id) => id,
            None => match self.begin(now, frame, seen, key) {
                Ok(id) => id,
                Err(verdict) => return verdict,
            },
        };
        let Some(connection) = self.connections.get(id) else { return Verdict::Drop(DropReason::NoDestination) };
        let (destination, flags) = (connection.destination, connection.flags);
        self.count_packet(destination, Sender::Client, parts.length);
        if proto::has_states(parts.protocol) {
            self.follow(id, Sender::Client, parts.transport(frame.packet()));
        }
        let verdict = self.forward(now, frame, seen, id, Carried::Packet);
        if flags.has(ConnFlags::ONE_PACKET) {
            if self.sync.is_master() {
                self.tell(now, id, self.settings.sync_threshold.0 as u32);
            } else {
                let controller = self.connections.get(id).and_then(|connection| connection.controller());
                if let Some(controller) = controller.and_then(|id| self.connections.get_mut(id)) {
                    controller.in_packets = controller.in_packets.wrapping_add(1);
                }
            }
            self.forget(id, End::Expired);
        } else {
            let Some(connection) = self.connections.get_mut(id) else { return verdict };
            connection.in_packets = connection.in_packets.wrapping_add(1);
            if self.sync.is_master() {
                let packets = connection.in_packets;
                self.tell(now, id, packets);
            }
            self.touch(now, id);
        }
        verdict
    }

    /// Whether a connection that was found may still carry its packet: one that is to be
    /// scheduled anew, or whose destination is gone, may not.
    fn usable(&mut self, found: Option<ConnectionId>, starts_anew: bool) -> Result<Option<ConnectionId>, Verdict> {
        let Some(id) = found else { return Ok(None) };
        let Some(connection) = self.connections.get(id) else { return Ok(None) };
        let destination = connection.destination.and_then(|id| self.services.destinations.get(id));
        let expire_nodest = self.settings.expire_nodest_conn != 0;
        if starts_anew {
            let quiesced = expire_nodest && destination.is_some_and(|destination| destination.weight == 0);
            if quiesced || self.is_over(connection) {
                // Only a tracked connection that is over is begun anew at once.
                let refused = connection.flags.has(ConnFlags::TRACKED) && !tcp::is_over(connection.state);
                if connection.controls == 0 {
                    self.connections.expire_soon(id);
                }
                if refused {
                    return Err(Verdict::Drop(DropReason::DestinationGone));
                }
                return Ok(None);
            }
        }
        if destination.is_some_and(|destination| !destination.available) {
            if !expire_nodest {
                return Err(Verdict::Drop(DropReason::DestinationGone));
            }
            let tracked = connection.flags.has(ConnFlags::TRACKED);
            self.connections.expire_soon(id);
            return if tracked { Err(Verdict::Drop(DropReason::DestinationGone)) } else { Ok(None) };
        }
        Ok(Some(id))
    }

    /// Whether a new first packet on this connection's tuple means a new connection.
    fn is_over(&self, connection: &super::conn::Connection) -> bool {
        let mode = self.settings.conn_reuse_mode;
        if mode == 0 || connection.controller().is_some() {
            return false;
        }
        match connection.protocol {
            Protocol::TCP => match tcp::State::from_number(connection.state) {
                Some(tcp::State::TimeWait | tcp::State::Close) => true,
                Some(tcp::State::FinWait) => mode & 2 != 0 && connection.flags.has(ConnFlags::NO_OUTPUT),
                _ => false,
            },
            Protocol::SCTP => connection.state == proto::sctp::State::Closed as u8,
            _ => false,
        }
    }

    /// Begins a connection, or says what becomes of a packet that may not.
    fn begin(&mut self, now: Tick, frame: &mut Frame, seen: &Seen, key: TupleKey) -> Result<ConnectionId, Verdict> {
        let parts = &seen.parts;
        let service =
            self.services.find(parts.family, seen.mark, parts.protocol, key.virtual_address, key.virtual_port);
        let kept = if service.is_some() { Kept::ByGuard } else { self.kept_for_former(seen) };
        match admit::opening(&self.settings, parts.protocol, parts.transport(frame.packet())) {
            Opening::Allowed => {}
            Opening::NotFirst => return Err(self.leave_to_host(now, frame, seen, PassReason::NotFirst, kept)),
            Opening::Truncated => return Err(Verdict::Drop(DropReason::TransportTruncated)),
        }
        let Some(service) = service else {
            return Err(self.leave_to_host(now, frame, seen, PassReason::NoService, kept));
        };
        self.defences.check_attempt()?;
        if let Err(Verdict::Pass(reason)) = admit::check_source_port(key.client_port) {
            return Err(self.leave_to_host(now, frame, seen, reason, kept));
        }
        let wanted = Wanted {
            key,
            mark: seen.mark,
            segment: parts.transport(frame.packet()),
            request: Request {
                family: parts.family,
                source: key.client,
                destination: key.virtual_address,
                source_port: key.client_port,
            },
        };
        match self.schedule(now, service, &wanted) {
            Ok(id) => Ok(id),
            Err(NoConnection::Refused(reason)) => Err(Verdict::Drop(reason)),
            Err(NoConnection::NoDestination) => self.without_destination(now, frame, seen, service, key),
        }
    }

    /// No real server can take the packet: bypass, leave it, or tell the client.
    fn without_destination(
        &mut self,
        now: Tick,
        frame: &mut Frame,
        seen: &Seen,
        service: crate::base::ServiceId,
        key: TupleKey,
    ) -> Result<ConnectionId, Verdict> {
        let Some(service) = self.services.get(service) else { return Err(Verdict::Drop(DropReason::NoDestination)) };
        let (by_mark, port, flags) = (service.mark.is_some(), service.port, service.flags);
        let elsewhere = !is_own(&self.network, seen);
        if self.settings.cache_bypass != 0 && by_mark && elsewhere {
            let flags = connection_flags(flags, key.protocol);
            return Ok(self.connect_bypass(now, key, flags, seen.mark)?);
        }
        if port == Port::FTP && key.virtual_port != Port::FTP {
            return Err(self.leave_to_host(now, frame, seen, PassReason::NoService, Kept::ByGuard));
        }
        self.tell_sender(now, frame, seen, Complaint::PortUnreachable);
        Err(Verdict::Drop(DropReason::NoDestination))
    }

    /// A packet to an address of ours that no service takes: the host's stack answers it, which
    /// is us where the address is ours alone or the guard keeps the packet from the kernel.
    pub(super) fn leave_to_host(
        &mut self,
        now: Tick,
        frame: &mut Frame,
        seen: &Seen,
        reason: PassReason,
        kept: Kept,
    ) -> Verdict {
        let ours = match self.host_stack {
            HostStack::Absent => true,
            HostStack::Beside => kept == Kept::ByGuard || !is_own(&self.network, seen),
        };
        if ours { self.answer(now, frame, seen, reason) } else { Verdict::Pass(reason) }
    }

    /// A packet whose headers say what cannot be: its sender is told, by us unless the kernel has
    /// the packet as well.
    pub(super) fn refuse(&mut self, now: Tick, frame: &Frame, seen: &Seen, complaint: Complaint) -> Verdict {
        let ours = match seen.target {
            Target::Virtual | Target::Own => self.host_stack == HostStack::Absent || !is_own(&self.network, seen),
            Target::Transit => seen.routed_by_us,
        };
        if ours {
            self.tell_sender(now, frame, seen, complaint);
        }
        Verdict::Drop(DropReason::IpOptions)
    }

    fn own(&mut self, now: Tick, frame: &mut Frame, seen: &Seen) -> Verdict {
        if super::related::is_icmp(&seen.parts) {
            if self.sync.leaves_packets {
                return self.leave_to_host(now, frame, seen, PassReason::BackupOnly, Kept::No);
            }
            return self.input_icmp(now, frame, seen);
        }
        // A connection may outlive its service, and the last service of its address (not of its family).
        if self.services.serves(seen.parts.family)
            && proto::is_balanced(&seen.parts)
            && request_key(seen).is_some_and(|key| self.connections.find(&key).is_some())
        {
            return self.input(now, frame, seen);
        }
        self.leave_to_host(now, frame, seen, PassReason::NotVirtual, self.kept_for_former(seen))
    }

    /// What becomes of a packet that no service takes, where one was whose connections go on.
    fn kept_for_former(&self, seen: &Seen) -> Kept {
        let parts = &seen.parts;
        let port = parts.destination_port();
        if proto::is_balanced(parts) && self.services.is_former(parts.family, parts.protocol, parts.destination, port) {
            Kept::ByGuard
        } else {
            Kept::No
        }
    }
}

/// Whether the guard keeps a packet from the kernel's stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    ByGuard,
    No,
}

/// Whether the packet's destination is an address that this host itself has.
fn is_own(network: &Network, seen: &Seen) -> bool {
    network.is_local(seen.parts.family, seen.parts.destination)
}

/// The tuple a client's packet is looked up by; `None` where the ports are not all there.
fn request_key(seen: &Seen) -> Option<TupleKey> {
    let Ends { protocol, source, destination } = ends(&seen.parts)?;
    Some(TupleKey {
        family: seen.parts.family,
        protocol,
        client: source.0,
        client_port: source.1,
        virtual_address: destination.0,
        virtual_port: destination.1,
    })
}

/// The two ends of a packet, as connections are looked up by them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub protocol: Protocol,
    pub source: (Address, Port),
    pub destination: (Address, Port),
}

/// The ends of a packet, whole or quoted; AH and ESP have those of their key exchange. `None`
/// where the ports are not all there.
pub(super) fn ends(parts: &Dissected) -> Option<Ends> {
    let (protocol, (source, destination)) = match parts.protocol {
        Protocol::AH | Protocol::ESP => (Protocol::UDP, (Port::ISAKMP, Port::ISAKMP)),
        protocol => (protocol, parts.ports?),
    };
    Some(Ends { protocol, source: (parts.source, source), destination: (parts.destination, destination) })
}
