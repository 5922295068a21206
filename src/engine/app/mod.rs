//! Application helpers: protocols that speak of other connections inside their own.
//!
//! ```text
//! client's segment ── forward ─┬─ ordinary ────────────────────────────── forward/nat
//!                              └─ watched: client port · ftp command ──── forward/nat · sequence
//! server's segment ── output ──┬─ ordinary ────────────────────────────── forward/nat
//!                              └─ watched: ftp answer, rewritten ──────── forward/nat · sequence
//! ```
//!
//! FTP is the only one, as in ip_vs (module ip_vs_ftp). It listens to
//! control connections of NAT services, and makes an entry for each data connection that is
//! announced there. Its memory lies beside the table: an ordinary connection has no part of it
//! and is told apart by its flags alone.

mod ftp;
mod sequence;

use std::collections::HashMap;

use crate::base::hash::FixedHash;
use crate::base::{Address, ConnectionId, Port, Protocol, Tick};
use crate::table::{ForwardingMethod, NextHop, RouteKind};
use crate::wire::checksum::{self, Checksum, Sum};
use crate::wire::ip::{self, End};
use crate::wire::transport::tcp;
use crate::wire::{Dissected, Frame, offload::Completion};

use super::Engine;
use super::classify::Seen;
use super::conn::{ConnFlags, Connection, TupleKey};
use super::forward::nat;
use super::input::Carried;
use super::pick::NoConnection;
use super::proto::{self, tcp::State};
use super::track::{self, Sender};
use super::verdict::{DropReason, Verdict};

use ftp::{Command, Mode};
use sequence::Covered;
pub use sequence::Shift;

/// What the helpers remember.
#[derive(Debug, Default)]
pub(super) struct Helper {
    /// Of connections with [`ConnFlags::HELPED`] or sequence flags; most have none yet.
    sessions: HashMap<ConnectionId, Session, FixedHash>,
}

/// One connection's part.
#[derive(Clone, Copy, Debug, Default)]
struct Session {
    mode: Mode,
    numbers: SequenceData,
}

/// What the two directions of a connection have grown by: `in_seq` and `out_seq` of
/// synchronisation messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SequenceData {
    pub client: Shift,
    pub server: Shift,
}

impl Helper {
    /// The connections that something is remembered of.
    #[cfg(any(test, fuzzing))]
    pub fn sessions(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        self.sessions.keys().copied()
    }

    /// The connection has gone.
    pub fn forget(&mut self, id: ConnectionId) {
        self.sessions.remove(&id);
    }
}

/// Whether a connection has anything that ordinary NAT does not see to.
#[inline]
pub(super) fn is_watched(flags: ConnFlags) -> bool {
    flags.has(WATCHED)
}

/// The flags of such connections.
pub(super) const WATCHED: u32 = ConnFlags::HELPED | ConnFlags::IN_SEQ | ConnFlags::OUT_SEQ | ConnFlags::NO_CLIENT_PORT;

impl Engine {
    /// The virtual ports on which FTP is helped, at most eight as in the kernel; none switches
    /// the helper off. To be said before there are services.
    pub fn set_ftp_ports(&mut self, ports: &[Port]) {
        self.services.set_helped_ports(ports);
    }

    /// The virtual ports on which FTP is helped, as they were said.
    pub fn ftp_ports(&self) -> &[Port] {
        self.services.helped_ports()
    }

    /// The sequence data of a connection that has some (its flags say so).
    pub fn sequence_data(&self, id: ConnectionId) -> Option<SequenceData> {
        let flags = self.connections.get(id)?.flags;
        let session = flags.has(ConnFlags::IN_SEQ | ConnFlags::OUT_SEQ).then(|| self.helper.sessions.get(&id))?;
        session.map(|session| session.numbers)
    }

    /// Takes over sequence data that another director sent.
    pub fn set_sequence_data(&mut self, id: ConnectionId, numbers: SequenceData) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        for (shift, bit) in [(numbers.client, ConnFlags::IN_SEQ), (numbers.server, ConnFlags::OUT_SEQ)] {
            if shift == Shift::default() { connection.flags.clear(bit) } else { connection.flags.set(bit) }
        }
        self.helper.sessions.entry(id).or_default().numbers = numbers;
        self.forget_unwatched(id);
    }

    /// Forgets the numbers of a connection whose flags say that there are none to adjust.
    pub(super) fn forget_unwatched(&mut self, id: ConnectionId) {
        let watched = ConnFlags::HELPED | ConnFlags::IN_SEQ | ConnFlags::OUT_SEQ;
        if !self.connections.get(id).is_some_and(|connection| connection.flags.has(watched)) {
            self.helper.forget(id);
        }
    }

    /// NAT of a client's packet on a watched connection.
    #[cold]
    pub(super) fn forward_watched(&mut self, now: Tick, frame: &mut Frame, seen: &Seen, id: ConnectionId) -> Verdict {
        self.learn_client_port(id, seen.parts.source_port());
        let Some(connection) = self.connections.get(id) else { return Verdict::Drop(DropReason::NoDestination) };
        let end = (connection.destination_address, connection.destination_port);
        let hop = match self.hop_to_server(now, frame, seen, id) {
            Ok(hop) => hop,
            Err(verdict) => return verdict,
        };
        let local = hop.kind == RouteKind::Local;
        if !local && let Err(verdict) = self.pass_gate(now, frame, seen, hop.mtu, Carried::Packet) {
            return verdict;
        }
        let rewritten = self
            .hear_client(now, frame, seen, id)
            .and_then(|()| nat::rewrite(frame, &seen.parts, End::Destination, end));
        if let Err(reason) = rewritten {
            return Verdict::Drop(reason);
        }
        self.renumber(frame, &seen.parts, id, Sender::Client);
        if local { self.deliver(now, frame, seen, id) } else { self.send(frame, seen, seen.parts.family, hop) }
    }

    /// The first packet of a connection that was announced without the client's port shows it.
    fn learn_client_port(&mut self, id: ConnectionId, port: Port) {
        if self.connections.get(id).is_some_and(|connection| connection.flags.has(ConnFlags::NO_CLIENT_PORT)) {
            self.connections.rehash(id, |connection| {
                connection.flags.clear(ConnFlags::NO_CLIENT_PORT);
                connection.client_port = port;
            });
        }
    }

    /// Sends a server's packet on a watched connection, `parts` being what became of it.
    #[cold]
    pub(super) fn send_watched(
        &mut self,
        frame: &mut Frame,
        seen: &Seen,
        parts: &Dissected,
        id: ConnectionId,
        hop: NextHop,
    ) -> Verdict {
        self.renumber(frame, parts, id, Sender::Server);
        self.send(frame, &Seen { parts: *parts, ..*seen }, parts.family, hop)
    }

    /// Looks at what a client says; it goes on as it is.
    fn hear_client(&mut self, now: Tick, frame: &Frame, seen: &Seen, id: ConnectionId) -> Result<(), DropReason> {
        let Some(payload) = self.said(frame, &seen.parts, id)? else { return Ok(()) };
        let Some(command) = ftp::command(seen.parts.family, payload) else { return Ok(()) };
        let Some(control) = self.connections.get(id).cloned() else { return Ok(()) };
        let mode = match command {
            Command::Ask(mode) => mode,
            Command::Wait(address, port) => {
                let key = TupleKey {
                    client: address,
                    client_port: port,
                    virtual_port: port_before(control.virtual_port),
                    ..control.key()
                };
                let server = (control.destination_address, port_before(control.destination_port));
                let data = match self.awaited(&key, &control, server) {
                    Some(known) => known,
                    None => self.announce(now, id, key, server, ConnFlags::default(), seen.mark)?,
                };
                self.listen(now, data);
                Mode::Active
            }
        };
        self.helper.sessions.entry(id).or_default().mode = mode;
        Ok(())
    }

    /// The data connection that a client announces once more. One with another server that is over,
    /// or never began, makes way for this one: the client waits at the same port for somebody else
    /// now, whose first segment would leave untranslated.
    fn awaited(&mut self, key: &TupleKey, control: &Connection, server: (Address, Port)) -> Option<ConnectionId> {
        let id = self.connections.find(key)?;
        let known = self.connections.get(id)?;
        let elsewhere = (known.destination_address, known.destination_port) != server;
        let idle = matches!(State::from_number(known.state), Some(State::TimeWait | State::Close | State::Listen));
        // An address may be anybody's; what others wait for is not this client's to end.
        if elsewhere && idle && known.controller().is_some() && key.client == control.client {
            self.forget(id, track::End::Expired);
            return None;
        }
        Some(id)
    }

    /// Looks at what a server says, and puts the virtual address where it announces its own. The
    /// packet as it is then.
    ///
    /// # Errors
    /// The packet is to be dropped.
    #[cold]
    pub(super) fn hear_server(
        &mut self,
        now: Tick,
        frame: &mut Frame,
        seen: &Seen,
        id: ConnectionId,
    ) -> Result<Dissected, DropReason> {
        let parts = seen.parts;
        let mode = self.helper.sessions.get(&id).map_or(Mode::Active, |session| session.mode);
        let Some(payload) = self.said(frame, &parts, id)? else { return Ok(parts) };
        let Some(said) = ftp::answer(mode, parts.family, payload) else { return Ok(parts) };
        let begin = parts.length - payload.len();
        let Some(control) = self.connections.get(id).cloned() else { return Ok(parts) };
        let server = (said.address.unwrap_or(control.destination_address), said.port);
        let key = TupleKey { client_port: Port::ANY, virtual_port: said.port, ..control.key() };
        let data = match self.connections.find_reply(key.family, key.protocol, server, (key.client, key.client_port)) {
            Some(known) => known,
            None => self.announce(now, id, key, server, ConnFlags(ConnFlags::NO_CLIENT_PORT), seen.mark)?,
        };
        // One that is known may be of another virtual address, which is where it is waited for then.
        let (address, port) = self
            .connections
            .get(data)
            .map_or((key.virtual_address, key.virtual_port), |data| (data.virtual_address, data.virtual_port));
        let mut text = [0; ftp::LONGEST];
        let length = ftp::announce(mode, address, port, &mut text);
        let place = begin + said.place.start..begin + said.place.end;
        let grown = length as i32 - place.len() as i32;
        let number = sequence_number(parts.transport(frame.packet()));
        let parts = replace(frame, &parts, place, &text[..length])?;
        let session = self.helper.sessions.entry(id).or_default();
        session.mode = Mode::Active;
        session.numbers.server.grow(number, grown);
        if session.numbers.server != Shift::default()
            && let Some(control) = self.connections.get_mut(id)
        {
            control.flags.set(ConnFlags::OUT_SEQ);
        }
        self.listen(now, data);
        Ok(parts)
    }

    /// The payload of a segment, where a helper listens to its connection and that is established.
    fn said<'a>(&self, frame: &'a Frame, parts: &Dissected, id: ConnectionId) -> Result<Option<&'a [u8]>, DropReason> {
        let Some(connection) = self.connections.get(id).filter(|known| known.flags.has(ConnFlags::HELPED)) else {
            return Ok(None);
        };
        let segment = parts.transport(frame.packet());
        if segment.len() < tcp::LENGTH {
            return Err(DropReason::TransportTruncated);
        }
        if frame.offload.checksum == Completion::Complete && !checksum_is_right(parts, segment) {
            return Err(DropReason::TransportChecksum);
        }
        let header = usize::from(segment[tcp::DATA_OFFSET] >> 4) * 4;
        // A payload that is said to begin inside the header is nobody's.
        let listens = header >= tcp::LENGTH && connection.state == State::Established as u8;
        Ok(segment.get(header..).filter(|_| listens))
    }

    /// Makes the entry of a data connection, under the control of the connection it was announced on.
    #[allow(clippy::too_many_arguments)]
    fn announce(
        &mut self,
        now: Tick,
        control: ConnectionId,
        key: TupleKey,
        server: (Address, Port),
        flags: ConnFlags,
        mark: u32,
    ) -> Result<ConnectionId, DropReason> {
        let destination = self.connections.get(control).and_then(|control| control.destination);
        let mut flags = flags;
        flags.set(ConnFlags::TRACKED);
        let mut data = Connection::new(key, destination, key.family, server.0, server.1, flags, mark);
        if self.connections.len() >= self.connections.maximum() {
            return Err(DropReason::TableFull);
        }
        if let Some(entry) = destination.and_then(|id| self.services.destinations.get_mut(id)) {
            track::bind(entry, &mut data);
        }
        let id = self.connections.insert(now, data).map_err(|_| DropReason::TableFull)?;
        self.control(id, control);
        Ok(id)
    }

    /// Lets a data connection wait for its first packet.
    fn listen(&mut self, now: Tick, id: ConnectionId) {
        let timeout = proto::timeout(Protocol::TCP, State::Listen as u8, &self.timeouts);
        if let Some(data) = self.connections.get_mut(id) {
            data.state = State::Listen as u8;
            data.timeout = timeout;
            self.touch(now, id);
        }
    }

    /// Gives a segment, addressed already, the sequence numbers that its receiver knows.
    pub(super) fn renumber(&self, frame: &mut Frame, parts: &Dissected, id: ConnectionId, sender: Sender) {
        let Some(SequenceData { client, server }) = self.sequence_data(id) else { return };
        let covered = if frame.offload.is_partial() { Covered::PseudoHeader } else { Covered::Whole };
        let (own, opposite) = match sender {
            Sender::Client => (client, server),
            Sender::Server => (server, client),
        };
        let segment = &mut frame.packet_mut()[parts.transport..parts.length];
        sequence::renumber(segment, &own, &opposite, covered);
    }

    /// Has a helper listen to a new connection that is one of its own.
    pub(super) fn watch(&self, connection: &mut Connection) {
        let heard = connection.protocol == Protocol::TCP
            && connection.flags.method() == ForwardingMethod::Masquerading
            && !connection.is_template()
            && self.services.is_helped_port(connection.virtual_port);
        if heard {
            connection.flags.set(ConnFlags::HELPED | ConnFlags::TRACKED);
        }
    }
}

impl From<DropReason> for NoConnection {
    fn from(reason: DropReason) -> NoConnection {
        NoConnection::Refused(reason)
    }
}

fn port_before(port: Port) -> Port {
    Port(port.0.wrapping_sub(1))
}

fn sequence_number(segment: &[u8]) -> u32 {
    segment.get(tcp::SEQUENCE..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

fn checksum_is_right(parts: &Dissected, segment: &[u8]) -> bool {
    checksum::pseudo_header(parts.source, parts.destination, Protocol::TCP.0, segment.len())
        .add_bytes(segment)
        .is_valid()
}

/// Puts `text` in the place of some bytes of a TCP segment's payload; lengths and checksum follow.
fn replace(
    frame: &mut Frame,
    parts: &Dissected,
    place: std::ops::Range<usize>,
    text: &[u8],
) -> Result<Dissected, DropReason> {
    let partial = frame.offload.is_partial();
    let before = parts.length - parts.transport;
    let length = parts.length - place.len() + text.len();
    if length > usize::from(u16::MAX) {
        return Err(DropReason::TooLong);
    }
    frame.replace(place, text).ok_or(DropReason::Headroom)?;
    let packet = frame.packet_mut();
    ip::set_length(parts.family, packet, length);
    let segment = &mut packet[parts.transport..length];
    if partial {
        // Holds the pseudo-header's sum alone, and the length is a part of that.
        let difference = Sum::ZERO.subtract_number(before as u16).add_number(segment.len() as u16);
        if let Some(sum) = Checksum::read(segment, tcp::CHECKSUM) {
            sum.updated_partial(difference).write(segment, tcp::CHECKSUM);
        }
    } else {
        segment[tcp::CHECKSUM..tcp::CHECKSUM + checksum::LENGTH].fill(0);
        checksum::pseudo_header(parts.source, parts.destination, Protocol::TCP.0, segment.len())
            .add_bytes(segment)
            .checksum()
            .write(segment, tcp::CHECKSUM);
    }
    Ok(Dissected { length, ..*parts })
}
