//! Taking in what other directors tell of their connections.
//!
//! | the tuple is | what an entry does |
//! |---|---|
//! | unknown | makes a connection, bound to its real server where the service has one like it |
//! | known, with the same server | updates whether it is inactive, its sequence numbers, its state and timer |
//! | known, with another server | replaces the old one; but what is inactive was replaced before and is ignored |
//! | a known template | updates it; it keeps its real server whatever the entry says |
//!
//! An entry that finds no real server is kept unbound and sent on to the address it names; any
//! later one tries to bind it again.

use crate::base::{Address, ConnectionId, DestinationId, Protocol, Tick};
use crate::engine::Engine;
use crate::engine::app::{SequenceData, Shift};
use crate::engine::conn::{ConnFlags, Connection, Sent, TupleKey};
use crate::engine::proto::{self, sctp, tcp};
use crate::engine::server::Destination;
use crate::engine::track;
use crate::table::{DestinationKey, ForwardingMethod};
use crate::wire::sync::{Adjustment, Entry, Message, Recognised, SEQUENCE_FLAGS, Sequence};

use super::Ignored;
use super::master::SIP;

/// Flags that an entry may give a new connection, and those that it may change of a known one.
const TAKEN: u32 = ConnFlags::METHOD_MASK
    | ConnFlags::NO_OUTPUT
    | ConnFlags::INACTIVE
    | SEQUENCE_FLAGS
    | ConnFlags::NO_CLIENT_PORT
    | ConnFlags::TEMPLATE;
const UPDATED: u32 = ConnFlags::INACTIVE | SEQUENCE_FLAGS;
/// Seconds that an entry lives whose timeout is not told and does not follow from its state.
const TIMEOUT: u32 = 180;
/// A template was assured or not.
const TEMPLATE_STATES: u16 = 2;

/// Whether an entry's client is one of this engine's, where several share them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    Own,
    /// Another engine has the client; but a template of a whole network may be for this one's too.
    Foreign,
}

impl Engine {
    /// Takes in a message as it came from the network. Nothing happens while no backup daemon
    /// runs; whatever the bytes are, what cannot be used of them is counted and left out.
    pub fn receive_message(&mut self, now: Tick, bytes: &[u8]) {
        let Some(config) = &self.sync.backup else { return };
        // Longer ones were cut when they were received.
        let bytes = &bytes[..bytes.len().min(usize::from(config.maximum_length))];
        let own_id = config.sync_id;
        let message = match read_message(bytes, own_id) {
            Ok(message) => message,
            Err(reason) => return self.sync.counts.ignore(reason),
        };
        self.sync.counts.messages += 1;
        for read in message.entries() {
            match read {
                Ok((entry, recognised)) => self.receive_entry(now, &entry, &recognised, Share::Own),
                Err(fault) => self.sync.counts.ignore(fault.into()),
            }
        }
    }

    /// Takes in one entry.
    pub fn receive_entry(&mut self, now: Tick, entry: &Entry, recognised: &Recognised, share: Share) {
        if let Err(reason) = self.take_in(now, entry, recognised, share) {
            self.sync.counts.ignore(reason);
        }
    }

    fn take_in(&mut self, now: Tick, entry: &Entry, recognised: &Recognised, share: Share) -> Result<(), Ignored> {
        let flags = ConnFlags(entry.flags & TAKEN | ConnFlags::SYNC);
        let is_template = flags.has(ConnFlags::TEMPLATE);
        let states = match is_template {
            true => TEMPLATE_STATES,
            false => states_of(entry.protocol).ok_or(Ignored::Protocol)?,
        };
        if entry.state >= states {
            return Err(Ignored::State);
        }
        let is_sip = recognised.engine.split(|&byte| byte == 0).next() == Some(SIP);
        if !recognised.data.is_empty() && !is_sip {
            return Err(Ignored::Engine);
        }
        if share == Share::Foreign && !(is_template && self.spans_networks(entry)) {
            return Ok(());
        }
        let key = key_of(entry);
        let found = match is_template {
            true => self.find_told_template(&key, recognised.data),
            false => self.connections.find(&key),
        };
        let id = match found.and_then(|id| Some((id, self.connections.get(id)?))) {
            Some((id, known)) if is_template || goes_to(known, entry) => {
                self.update(id, flags);
                id
            }
            Some(_) if flags.has(ConnFlags::INACTIVE) => return Err(Ignored::Replaced),
            Some((id, _)) => {
                self.connections.expire_soon(id);
                self.make(now, key, entry, flags, recognised.data)?
            }
            None => self.make(now, key, entry, flags, recognised.data)?,
        };
        if let Some(sequence) = entry.sequence {
            self.set_sequence_data(id, taken_sequence(&sequence));
        }
        let timeout = match (entry.timeout, entry.protocol) {
            (0, Protocol::TCP | Protocol::UDP | Protocol::SCTP) if !is_template => {
                proto::timeout(entry.protocol, entry.state as u8, &self.timeouts)
            }
            (0, _) => TIMEOUT,
            (seconds, _) => seconds,
        };
        if let Some(connection) = self.connections.get_mut(id) {
            connection.in_packets = self.settings.sync_threshold.0 as u32;
            // Every state fits: it was compared with how many there are.
            connection.state = entry.state as u8;
            connection.sent = connection.sent.with_state(connection.state);
            connection.timeout = timeout;
        }
        self.touch(now, id);
        Ok(())
    }

    /// Whether a template stands for more clients than its own address.
    fn spans_networks(&self, entry: &Entry) -> bool {
        let service = self
            .services
            .find(entry.family, entry.mark, entry.protocol, entry.virtual_address, entry.virtual_port)
            .and_then(|id| self.services.get(id));
        // Without the service nobody knows.
        service.is_none_or(|service| {
            let everything = Address::v6([0xff; 16]);
            service.client_network(everything)
                != match entry.family {
                    crate::base::Family::V4 => Address::v4([0xff; 4]),
                    crate::base::Family::V6 => everything,
                }
        })
    }

    fn find_told_template(&self, key: &TupleKey, call_id: &[u8]) -> Option<ConnectionId> {
        self.connections.find_template(key, |id| {
            call_id.is_empty() || self.call_ids.get(&id).is_some_and(|known| **known == *call_id)
        })
    }

    /// Makes the connection that an entry tells of.
    fn make(
        &mut self,
        now: Tick,
        key: TupleKey,
        entry: &Entry,
        flags: ConnFlags,
        call_id: &[u8],
    ) -> Result<ConnectionId, Ignored> {
        if entry.flags & ConnFlags::ONE_PACKET != 0 {
            return Err(Ignored::OnePacket);
        }
        if self.connections.len() >= self.connections.maximum() {
            return Err(Ignored::TableFull);
        }
        let port = entry.destination_port;
        let mut connection = Connection::new(key, None, entry.family, entry.destination, port, flags, entry.mark);
        self.bind_told(&mut connection);
        let is_template = connection.is_template();
        let id = self.connections.insert(now, connection).map_err(|_| Ignored::TableFull)?;
        if is_template && !call_id.is_empty() {
            self.call_ids.insert(id, call_id.into());
        }
        self.sync.counts.made += 1;
        Ok(id)
    }

    /// Brings a known connection up to date.
    fn update(&mut self, id: ConnectionId, flags: ConnFlags) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let moves = (connection.flags.0 ^ flags.0) & ConnFlags::INACTIVE != 0 && !flags.has(ConnFlags::TEMPLATE);
        if moves && let Some(destination) = connection.destination.and_then(|id| self.services.destinations.get_mut(id))
        {
            let (from, to) = match flags.has(ConnFlags::INACTIVE) {
                true => (&mut destination.active, &mut destination.inactive),
                false => (&mut destination.inactive, &mut destination.active),
            };
            *from = from.saturating_sub(1);
            *to += 1;
        }
        connection.flags = ConnFlags(connection.flags.0 & !UPDATED | flags.0 & UPDATED);
        if connection.destination.is_none() {
            let mut bound = connection.clone();
            self.bind_told(&mut bound);
            if let Some(connection) = self.connections.get_mut(id) {
                (connection.flags, connection.destination) = (bound.flags, bound.destination);
            }
        }
        self.forget_unwatched(id);
        self.sync.counts.updated += 1;
    }

    /// Binds a connection to its real server, if its service has one of that address.
    fn bind_told(&mut self, connection: &mut Connection) {
        let Some(id) = self.find_told_destination(connection) else { return };
        let Some(destination) = self.services.destinations.get_mut(id) else { return };
        connection.destination = Some(id);
        bind(destination, connection);
        self.watch(connection);
    }

    fn find_told_destination(&self, connection: &Connection) -> Option<DestinationId> {
        let service = self.services.find(
            connection.family,
            connection.mark,
            connection.protocol,
            connection.virtual_address,
            connection.virtual_port,
        )?;
        let address = connection.destination_address.to_ip(connection.destination_family);
        let of_port = |port| self.services.destination(service, &DestinationKey { address, port });
        let (told, any) = (connection.destination_port, crate::base::Port::ANY);
        // Behind a mark that does not translate, the server's port is whichever the client used.
        let by_mark = connection.mark != 0 && connection.flags.method() != ForwardingMethod::Masquerading;
        let (first, second) = if by_mark { (any, told) } else { (told, any) };
        of_port(first).or_else(|| of_port(second))
    }
}

/// Sequence data of a message as the helper has it.
fn taken_sequence(told: &Sequence) -> SequenceData {
    let taken = |one: Adjustment| Shift { begins: one.initial, delta: one.delta, previous: one.previous_delta };
    SequenceData { client: taken(told.inbound), server: taken(told.outbound) }
}

/// Reads a message that a backup of this sync id takes; 0 takes those of every id.
///
/// # Errors
/// Why it is ignored.
pub fn read_message(bytes: &[u8], sync_id: u8) -> Result<Message<'_>, Ignored> {
    let message = Message::read(bytes)?;
    if sync_id != 0 && message.sync_id != sync_id {
        return Err(Ignored::SyncId);
    }
    Ok(message)
}

/// Whether an entry is a template.
pub fn is_template(entry: &Entry) -> bool {
    entry.flags & ConnFlags::TEMPLATE != 0
}

/// Counts a connection that was told of at its real server, whose way of forwarding it takes.
fn bind(destination: &mut Destination, connection: &mut Connection) {
    let inactive = connection.flags.has(ConnFlags::INACTIVE);
    let counted = (destination.active, destination.inactive);
    connection.flags.clear(ConnFlags::METHOD_MASK | ConnFlags::NO_OUTPUT);
    track::bind(destination, connection);
    if !connection.is_template() && !inactive {
        // Unlike one that begins here it may be active from the start.
        connection.flags.clear(ConnFlags::INACTIVE);
        (destination.active, destination.inactive) = (counted.0 + 1, counted.1);
    }
}

fn key_of(entry: &Entry) -> TupleKey {
    TupleKey {
        family: entry.family,
        protocol: entry.protocol,
        client: entry.client,
        client_port: entry.client_port,
        virtual_address: entry.virtual_address,
        virtual_port: entry.virtual_port,
    }
}

fn goes_to(connection: &Connection, entry: &Entry) -> bool {
    connection.destination_port == entry.destination_port
        && connection.destination_family == entry.family
        && connection.destination_address == entry.destination
}

/// How many states a protocol has; `None` for one that is not balanced.
fn states_of(protocol: Protocol) -> Option<u16> {
    match protocol {
        Protocol::TCP => Some(tcp::State::COUNT),
        Protocol::SCTP => Some(sctp::State::COUNT),
        Protocol::UDP | Protocol::AH | Protocol::ESP => Some(1),
        _ => None,
    }
}

/// Keeps [`Sent`] wide enough for every state.
const _: () = assert!(sctp::State::COUNT <= 16 && tcp::State::COUNT <= 16 && size_of::<Sent>() == 4);
