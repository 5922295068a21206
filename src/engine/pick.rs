//! Scheduling: which real server a new connection goes to, and for persistent services the
//! template that remembers it.

use crate::base::{Address, ConnectionId, DestinationId, Port, Protocol, ServiceId, Tick};
use crate::table::ServiceFlags;

use super::Engine;
use super::admit::is_one_packet;
use super::conn::{ConnFlags, Connection, TupleKey};
use super::proto;
use super::sched::Request;
use super::services::PersistenceEngine;
use super::track;
use super::verdict::{DropReason, Verdict};

/// The packet that wants a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub key: TupleKey,
    pub mark: u32,
    /// The transport payload, for persistence engines.
    pub segment: &'a [u8],
    /// What the scheduler hashes as the packet's source and destination.
    pub request: Request,
}

/// Why no connection was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoConnection {
    /// No destination: the client is to be told.
    NoDestination,
    Refused(DropReason),
}

impl From<NoConnection> for Verdict {
    fn from(reason: NoConnection) -> Verdict {
        match reason {
            NoConnection::NoDestination => Verdict::Drop(DropReason::NoDestination),
            NoConnection::Refused(reason) => Verdict::Drop(reason),
        }
    }
}

impl Engine {
    /// Schedules a new connection of `service`.
    pub(super) fn schedule(
        &mut self,
        now: Tick,
        service: ServiceId,
        wanted: &Wanted,
    ) -> Result<ConnectionId, NoConnection> {
        let found = self.services.get(service).ok_or(NoConnection::NoDestination)?;
        if found.is_persistent() {
            return self.schedule_persistent(now, service, wanted);
        }
        if found.mark.is_none() && wanted.key.virtual_port != found.port {
            return Err(NoConnection::NoDestination);
        }
        let flags = connection_flags(found.flags, wanted.key.protocol);
        let destination =
            self.services.schedule(now, service, &wanted.request, &self.settings).ok_or(NoConnection::NoDestination)?;
        let port = self.services.destinations.get(destination).map_or(Port::ANY, |destination| destination.port);
        let port = if port.is_any() { wanted.key.virtual_port } else { port };
        let id = self.connect(now, wanted.key, destination, port, flags, wanted.mark)?;
        self.count_connection(service, destination);
        Ok(id)
    }

    fn schedule_persistent(
        &mut self,
        now: Tick,
        service_id: ServiceId,
        wanted: &Wanted,
    ) -> Result<ConnectionId, NoConnection> {
        let service = self.services.get(service_id).ok_or(NoConnection::NoDestination)?;
        let port = wanted.key.virtual_port;
        let own_port = port == service.port;
        let mut key = TupleKey {
            client: service.client_network(wanted.key.client),
            client_port: Port::ANY,
            virtual_port: Port::ANY,
            ..wanted.key
        };
        if own_port {
            if service.port != Port::FTP {
                key.virtual_port = port;
            }
        } else if let Some(mark) = service.mark {
            key.protocol = Protocol::IP;
            key.virtual_address = Address::from_mark(mark);
        }
        let call_id = match service.engine {
            Some(PersistenceEngine::Sip) => Some(
                super::sip::call_id(wanted.key.protocol, wanted.segment)
                    .ok_or(NoConnection::Refused(DropReason::PersistenceEngine))?,
            ),
            None => None,
        };
        let (flags, timeout, service_port) = (service.flags, service.config.timeout, service.port);

        let call_ids = &self.call_ids;
        let template = self.connections.find_template(&key, |id| call_ids.get(&id).map(|known| &**known) == call_id);
        let (template, destination) = match template.and_then(|id| Some((id, self.valid_template(id, None)?))) {
            Some(known) => known,
            None => {
                let destination = self
                    .services
                    .schedule(now, service_id, &wanted.request, &self.settings)
                    .ok_or(NoConnection::NoDestination)?;
                let template_port = match self.services.destinations.get(destination) {
                    Some(destination) if own_port && service_port != Port::FTP => destination.port,
                    _ => Port::ANY,
                };
                let template_flags = ConnFlags(ConnFlags::TEMPLATE);
                let id = self.connect(now, key, destination, template_port, template_flags, wanted.mark)?;
                if let Some(template) = self.connections.get_mut(id) {
                    template.timeout = timeout;
                }
                if let Some(call_id) = call_id {
                    self.call_ids.insert(id, call_id.into());
                }
                (id, destination)
            }
        };

        let real_port = self.services.destinations.get(destination).map_or(Port::ANY, |destination| destination.port);
        let real_port = if own_port && !real_port.is_any() { real_port } else { port };
        let flags = connection_flags(flags, wanted.key.protocol);
        let made = self.connect(now, wanted.key, destination, real_port, flags, wanted.mark);
        if let Ok(id) = made {
            self.control(id, template);
        }
        self.touch(now, template);
        let id = made?;
        self.count_connection(service_id, destination);
        Ok(id)
    }

    /// The destination of a template that may still be used, and names `wanted` where that is
    /// given; one that may not is made unfindable.
    pub(super) fn valid_template(&mut self, id: ConnectionId, wanted: Option<DestinationId>) -> Option<DestinationId> {
        let destination_id = self.connections.get(id)?.destination;
        let destination = destination_id.and_then(|id| self.services.destinations.get(id));
        let quiescent = self.settings.expire_quiescent_template != 0;
        if let Some(destination) = destination
            && destination.available
            && !(quiescent && destination.weight == 0)
            && wanted.is_none_or(|wanted| destination_id == Some(wanted))
        {
            return destination_id;
        }
        let disabled = Port(0xffff);
        if self.connections.get(id).is_some_and(|template| template.virtual_port != disabled) {
            self.connections.rehash(id, |template| {
                template.destination_port = disabled;
                template.virtual_port = disabled;
                template.client_port = Port::ANY;
            });
        }
        None
    }

    /// Makes a connection to `destination` and counts it there.
    pub(super) fn connect(
        &mut self,
        now: Tick,
        key: TupleKey,
        destination: DestinationId,
        port: Port,
        flags: ConnFlags,
        mark: u32,
    ) -> Result<ConnectionId, NoConnection> {
        let entry = self.services.destinations.get(destination).ok_or(NoConnection::NoDestination)?;
        let mut connection = Connection::new(key, Some(destination), entry.family, entry.address, port, flags, mark);
        if self.connections.len() >= self.connections.maximum() {
            return Err(NoConnection::Refused(DropReason::TableFull));
        }
        if let Some(entry) = self.services.destinations.get_mut(destination) {
            track::bind(entry, &mut connection);
        }
        self.watch(&mut connection);
        self.connections.insert(now, connection).map_err(|_| NoConnection::Refused(DropReason::TableFull))
    }

    /// Puts `id` under the control of `controller`.
    pub(super) fn control(&mut self, id: ConnectionId, controller: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.set_controller(controller);
        }
        if let Some(controller) = self.connections.get_mut(controller) {
            controller.controls += 1;
        }
    }

    /// A connection without destination that sends packets on to where they were going.
    pub(super) fn connect_bypass(
        &mut self,
        now: Tick,
        key: TupleKey,
        flags: ConnFlags,
        mark: u32,
    ) -> Result<ConnectionId, NoConnection> {
        let mut flags = flags;
        flags.set(crate::table::ForwardingMethod::Bypass as u32);
        let mut connection = Connection::new(key, None, key.family, Address::ZERO, Port::ANY, flags, mark);
        connection.timeout = track::default_timeout(key.protocol, proto::TEMPLATE_NONE, &self.timeouts);
        self.connections.insert(now, connection).map_err(|_| NoConnection::Refused(DropReason::TableFull))
    }
}

pub(super) fn connection_flags(service: ServiceFlags, protocol: Protocol) -> ConnFlags {
    ConnFlags(if is_one_packet(service, protocol) { ConnFlags::ONE_PACKET } else { 0 })
}
