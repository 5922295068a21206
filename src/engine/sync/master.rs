//! Telling other directors of connections.

use crate::base::{ConnectionId, Family, Tick};
use crate::engine::Engine;
use crate::engine::app::{SequenceData, Shift};
use crate::engine::conn::{ConnFlags, Connection, ConnectionTable, Sent};
use crate::table::Settings;
use crate::wire::sync::{Adjustment, Entry, Recognised, SEQUENCE_FLAGS, Sequence, Version};

use super::Master;
use super::lane::Bounds;
use super::needed;

/// A connection has a controller, which may have one.
const DEPTH: usize = 4;
/// The persistence engine there is, by its name in messages.
pub(super) const SIP: &[u8] = b"sip";

impl Engine {
    /// Tells of a connection, and of what controls it, as far as others are to know. To be called
    /// after each packet of the client, the `packets`th, while a master daemon runs.
    pub(in crate::engine) fn tell(&mut self, now: Tick, id: ConnectionId, packets: u32) {
        // Out of its place only for as long as this takes.
        let Some(mut master) = self.sync.master.take() else { return };
        self.tell_by(now, &mut master, id, packets);
        self.sync.master = Some(master);
    }

    fn tell_by(&mut self, now: Tick, master: &mut Master, id: ConnectionId, packets: u32) {
        let version = match self.settings.sync_version {
            0 => Version::Zero,
            _ => Version::One,
        };
        let (mut id, mut packets) = (id, packets);
        for _ in 0..DEPTH {
            let Some(connection) = self.connections.get(id) else { return };
            let told = what_to_tell(now, &self.settings, &self.connections, connection, packets, version);
            if told.is_some() {
                let sequence = self.sequence_data(id).map(told_sequence);
                let entry = entry_of(connection, version, sequence);
                let recognised = match self.call_ids.get(&id) {
                    Some(call_id) if version == Version::One => Recognised { engine: SIP, data: call_id },
                    _ => Recognised::default(),
                };
                master.add(now, id, &self.settings, version, &entry, &recognised);
            } else if version == Version::Zero {
                // What is not told of keeps its controller untold as well.
                return;
            }
            let Some(connection) = self.connections.get_mut(id) else { return };
            connection.sent = told.unwrap_or(connection.sent);
            let Some(controller) = connection.controller() else { return };
            id = controller;
            packets = match self.connections.get_mut(id) {
                Some(template) if template.is_template() => {
                    template.in_packets = template.in_packets.wrapping_add(1);
                    template.in_packets
                }
                _ => self.settings.sync_threshold.0 as u32,
            };
        }
    }

    /// The next message that is to be sent, with the number of its port. It stays the next one
    /// until [`Engine::message_sent`] or [`Engine::message_waits`] says what became of it.
    pub fn message_due(&mut self, now: Tick) -> Option<(usize, &[u8])> {
        let master = self.sync.master.as_mut()?;
        let port = (0..master.lanes.len()).find(|&port| master.lanes[port].due(now).is_some())?;
        Some((port, master.lanes[port].due(now)?))
    }

    /// The message that was due at this port is gone, whether it was sent or not.
    pub fn message_sent(&mut self, port: usize) {
        if let Some(lane) = self.sync.master.as_mut().and_then(|master| master.lanes.get_mut(port)) {
            lane.sent();
        }
    }

    /// The message that is due at this port cannot be sent yet.
    pub fn message_waits(&mut self, now: Tick, port: usize) {
        if let Some(lane) = self.sync.master.as_mut().and_then(|master| master.lanes.get_mut(port)) {
            lane.wait(now);
        }
    }

    /// When [`Engine::message_due`] is to be asked next; `None` while nothing waits.
    pub fn message_deadline(&self) -> Option<Tick> {
        self.sync.master.iter().flat_map(|master| &master.lanes).filter_map(super::Lane::deadline).min()
    }

    /// When the queues are looked at next, whether or not anything is in them.
    pub fn next_look(&self) -> Option<Tick> {
        self.sync.master.iter().flat_map(|master| &master.lanes).map(super::Lane::next_look).min()
    }
}

impl Master {
    fn add(
        &mut self,
        now: Tick,
        id: ConnectionId,
        settings: &Settings,
        version: Version,
        entry: &Entry,
        recognised: &Recognised,
    ) {
        let bounds = Bounds {
            sync_id: self.config.sync_id,
            maximum_length: usize::from(self.config.maximum_length),
            // None may wait at 0: then what is full is lost.
            queue: usize::try_from(settings.sync_qlen_max).unwrap_or(0),
        };
        // How many there are is a power of two; a connection stays with its port.
        let port = id.index() & (self.lanes.len() - 1);
        self.lanes[port].add(now, bounds, version, entry, recognised);
    }
}

/// What will have been told of a connection; `None` when nothing is to be told.
fn what_to_tell(
    now: Tick,
    settings: &Settings,
    connections: &ConnectionTable,
    connection: &Connection,
    packets: u32,
    version: Version,
) -> Option<Sent> {
    if connection.flags.has(ConnFlags::ONE_PACKET) || version == Version::Zero && connection.family == Family::V6 {
        return None;
    }
    let in_persistence = || {
        let mut above = connection.controller();
        for _ in 0..DEPTH {
            let Some(controller) = above.and_then(|id| connections.get(id)) else { return false };
            if controller.is_template() {
                return true;
            }
            above = controller.controller();
        }
        false
    };
    needed::to_tell(now, settings, connection, packets, in_persistence)
}

/// Sequence data as messages have it.
fn told_sequence(data: SequenceData) -> Sequence {
    let told = |shift: Shift| Adjustment { initial: shift.begins, delta: shift.delta, previous_delta: shift.previous };
    Sequence { inbound: told(data.client), outbound: told(data.server) }
}

fn entry_of(connection: &Connection, version: Version, sequence: Option<Sequence>) -> Entry {
    // The flags say whether there is sequence data, so they go with it. One bit is our own.
    let flags = connection.flags.0 & !ConnFlags::HELPED;
    Entry {
        family: connection.family,
        protocol: connection.protocol,
        flags: if sequence.is_some() { flags } else { flags & !SEQUENCE_FLAGS },
        state: u16::from(connection.state),
        client_port: connection.client_port,
        virtual_port: connection.virtual_port,
        destination_port: connection.destination_port,
        mark: if version == Version::One { connection.mark } else { 0 },
        timeout: connection.timeout,
        client: connection.client,
        virtual_address: connection.virtual_address,
        destination: connection.destination_address,
        sequence,
    }
}
