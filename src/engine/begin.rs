//! Connections that real servers begin: a SIP server calls a client.
//!
//! Only services with a persistence engine have them. The packet is translated as a reply would
//! be; the template of its call ties what follows to the same server. On one-packet services the
//! same way serves replies, whose connection is forgotten already.

use crate::base::{ConnectionId, DestinationId, Port, Protocol, ServiceId, Tick};
use crate::wire::Frame;

use super::Engine;
use super::classify::Seen;
use super::conn::{ConnFlags, TupleKey};
use super::pick::connection_flags;

impl Engine {
    /// Makes the connection that a real server's packet begins; `None` where it may not, or where
    /// the engine finds nothing in it.
    pub(super) fn begin_outwards(&mut self, now: Tick, frame: &Frame, seen: &Seen) -> Option<ConnectionId> {
        let parts = &seen.parts;
        if parts.protocol != Protocol::UDP {
            return None;
        }
        let (source, client_port) = parts.ports?;
        let (service_id, destination) = self.services.beginner(parts.family, parts.protocol, parts.source, source)?;
        let service = self.services.get(service_id)?;
        if service.port.is_any() {
            return None;
        }
        let key = TupleKey {
            family: parts.family,
            protocol: parts.protocol,
            client: parts.destination,
            client_port,
            virtual_address: service.address,
            virtual_port: service.port,
        };
        let flags = connection_flags(service.flags, parts.protocol);
        let template = match service.is_persistent() {
            true => Some(self.template_outwards(
                now,
                service_id,
                key,
                destination,
                source,
                parts.transport(frame.packet()),
            )?),
            false => None,
        };
        let id = self.connect(now, key, destination, source, flags, 0).ok()?;
        if let Some(template) = template {
            self.control(id, template);
            self.touch(now, template);
        }
        self.count_connection(service_id, destination);
        Some(id)
    }

    /// The template of the call that a server's message belongs to; one that names another server
    /// is replaced.
    fn template_outwards(
        &mut self,
        now: Tick,
        service: ServiceId,
        key: TupleKey,
        destination: DestinationId,
        port: Port,
        segment: &[u8],
    ) -> Option<ConnectionId> {
        let service = self.services.get(service)?;
        let timeout = service.config.timeout;
        let key = TupleKey { client: service.client_network(key.client), client_port: Port::ANY, ..key };
        let call_id = super::sip::call_id(key.protocol, segment)?;
        let call_ids = &self.call_ids;
        let known =
            self.connections.find_template(&key, |id| call_ids.get(&id).is_some_and(|known| **known == *call_id));
        if let Some(id) = known
            && self.valid_template(id, Some(destination)).is_some()
        {
            return Some(id);
        }
        let id = self.connect(now, key, destination, port, ConnFlags(ConnFlags::TEMPLATE), 0).ok()?;
        if let Some(template) = self.connections.get_mut(id) {
            template.timeout = timeout;
        }
        self.call_ids.insert(id, call_id.into());
        Some(id)
    }
}
