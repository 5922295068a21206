//! Following a connection: states, timeouts, counters, and what it counts for at its destination.

use crate::base::{ConnectionId, DestinationId, Protocol, ServiceId, Tick};
use crate::table::{ForwardingMethod, Timeouts};
use crate::wire::transport::{TcpFlags, tcp};

use super::Engine;
use super::conn::{ConnFlags, Connection, ConnectionTable, Removed};
use super::proto::{self, Direction, sctp};
use super::server::{Destination, Tally};
use super::services::Services;

/// Who sent the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Client,
    Server,
}

impl Engine {
    /// Counts a packet of `length` IP bytes on destination, service and total; on none of them
    /// when the destination is gone, which is `false`.
    #[inline(always)]
    pub(super) fn count_packet(&mut self, destination: Option<DestinationId>, sender: Sender, length: usize) -> bool {
        let Some((tally, service)) = destination.and_then(|id| self.services.destinations.tally_mut(id)) else {
            return false;
        };
        let add = |tally: &mut Tally| match sender {
            Sender::Client => {
                tally.in_packets += 1;
                tally.in_bytes += length as u64;
            }
            Sender::Server => {
                tally.out_packets += 1;
                tally.out_bytes += length as u64;
            }
        };
        add(tally);
        if let Some(service) = self.services.get_mut(service) {
            add(&mut service.tally);
        }
        add(&mut self.services.total);
        true
    }

    /// Counts a new connection, on the service that was asked for it. The destination may be another
    /// service's: a template for every port of an address is found by both FTP's service and that
    /// of port 0.
    pub(super) fn count_connection(&mut self, service: ServiceId, destination: DestinationId) {
        let Some(tally) = self.services.destinations.any_tally_mut(destination) else { return };
        tally.connections += 1;
        if let Some(service) = self.services.get_mut(service) {
            service.tally.connections += 1;
        }
        self.services.total.connections += 1;
    }

    /// Lets a segment drive the connection's state machine and take its timeout from there.
    pub(super) fn follow(&mut self, id: ConnectionId, sender: Sender, segment: &[u8]) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let direction = match sender {
            Sender::Server => {
                connection.flags.clear(ConnFlags::NO_OUTPUT);
                Direction::Output
            }
            Sender::Client if connection.flags.has(ConnFlags::NO_OUTPUT) => Direction::InputOnly,
            Sender::Client => Direction::Input,
        };
        let (next, established, active) = match connection.protocol {
            Protocol::TCP => {
                let Some(&flags) = segment.get(tcp::FLAGS).filter(|_| segment.len() >= tcp::LENGTH) else { return };
                let state = proto::tcp::State::from_number(connection.state).unwrap_or_default();
                let next = proto::tcp::next(self.defences.tcp, state, direction, TcpFlags(flags));
                (next as u8, next == proto::tcp::State::Established, next.is_active())
            }
            Protocol::SCTP => {
                let Some(event) = sctp::event(segment) else { return };
                let state = sctp::State::from_number(connection.state).unwrap_or_default();
                let next = sctp::next(state, direction, event);
                let established = next == sctp::State::Established;
                (next as u8, established, established)
            }
            Protocol::UDP => return self.follow_datagram(id, sender),
            _ => return,
        };
        let changed = next != connection.state;
        connection.state = next;
        connection.timeout = proto::timeout(connection.protocol, next, &self.timeouts);
        if changed {
            note_activity(&mut self.services, connection, active);
            if established {
                assure_controller(&mut self.connections, id);
            }
        }
    }

    /// The same for a UDP datagram, which needs no look at it.
    #[inline(always)]
    pub(super) fn follow_datagram(&mut self, id: ConnectionId, sender: Sender) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.timeout = self.timeouts.udp;
        if sender == Sender::Server {
            connection.flags.clear(ConnFlags::NO_OUTPUT);
            if connection.controller().is_some() {
                assure_controller(&mut self.connections, id);
            }
        }
    }

    /// Takes a connection out of the table and tells its destination and its controller.
    pub(super) fn forget(&mut self, id: ConnectionId, reason: End) {
        let Some(Removed { connection }) = self.connections.remove(id) else { return };
        self.call_ids.remove(&id);
        if connection.flags.has(ConnFlags::HELPED | ConnFlags::IN_SEQ | ConnFlags::OUT_SEQ) {
            self.helper.forget(id);
        }
        unbind(&mut self.services, &connection);
        if let Some(controller) = connection.controller() {
            self.release_controller(controller, reason);
        }
    }

    fn release_controller(&mut self, id: ConnectionId, reason: End) {
        let Some(controller) = self.connections.get_mut(id) else { return };
        controller.controls = controller.controls.saturating_sub(1);
        let assured = controller.is_template() && controller.state & proto::TEMPLATE_ASSURED != 0;
        let goes_too = match reason {
            End::Expired => false,
            End::Forced => !assured,
            End::Orphaned => true,
        };
        if goes_too && controller.controls == 0 {
            self.forget(id, reason);
        }
    }

    /// Restarts a connection's timer.
    #[inline(always)]
    pub(super) fn touch(&mut self, now: Tick, id: ConnectionId) {
        self.connections.rearm(now, id);
    }
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its time ran out.
    Expired,
    /// It was dropped to make room: a controller that is no longer needed goes with it, but for a
    /// template that is assured.
    Forced,
    /// Its destination is gone: a controller that is no longer needed goes with it.
    Orphaned,
}

/// Moves a connection between its destination's active and inactive ones.
fn note_activity(services: &mut Services, connection: &mut Connection, active: bool) {
    let Some(destination) = connection.destination.and_then(|id| services.destinations.get_mut(id)) else { return };
    let inactive = connection.flags.has(ConnFlags::INACTIVE);
    if active && inactive {
        destination.active += 1;
        destination.inactive = destination.inactive.saturating_sub(1);
        connection.flags.clear(ConnFlags::INACTIVE);
    } else if !active && !inactive {
        destination.active = destination.active.saturating_sub(1);
        destination.inactive += 1;
        connection.flags.set(ConnFlags::INACTIVE);
    }
}

/// Tells a connection's template that it carried an established connection.
fn assure_controller(connections: &mut ConnectionTable, id: ConnectionId) {
    let controller = connections.get(id).and_then(|connection| connection.controller());
    if let Some(template) = controller.and_then(|id| connections.get_mut(id)).filter(|c| c.is_template()) {
        template.state |= proto::TEMPLATE_ASSURED;
    }
}

/// Counts a new connection at its destination and gives it the destination's flags.
pub(super) fn bind(destination: &mut Destination, connection: &mut Connection) {
    use ForwardingMethod::Masquerading;
    let no_output = if destination.method == Masquerading { 0 } else { ConnFlags::NO_OUTPUT };
    connection.flags.set(destination.method as u32 | ConnFlags::INACTIVE | no_output);
    destination.references += 1;
    if connection.is_template() {
        destination.persistent += 1;
    } else {
        destination.masqueraded += u32::from(destination.method == Masquerading);
        destination.note_coming();
    }
    destination.judge();
}

fn unbind(services: &mut Services, connection: &Connection) {
    let Some(destination) = connection.destination.and_then(|id| services.destinations.get_mut(id)) else { return };
    destination.references = destination.references.saturating_sub(1);
    if connection.is_template() {
        destination.persistent = destination.persistent.saturating_sub(1);
    } else {
        if connection.flags.method() == ForwardingMethod::Masquerading {
            destination.masqueraded = destination.masqueraded.saturating_sub(1);
        }
        destination.note_going(connection.flags.has(ConnFlags::INACTIVE));
    }
    destination.judge();
}

/// The timeout of a connection that is followed no further than its protocol's default.
pub(super) fn default_timeout(protocol: Protocol, state: u8, timeouts: &Timeouts) -> u32 {
    proto::timeout(protocol, state, timeouts)
}
