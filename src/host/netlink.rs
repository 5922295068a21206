//! Netlink sockets: requests with their answers, and notifications as they come (netlink(7)).
//!
//! Two kinds: a [`Connection`] asks and waits for the kernel's answer, which comes at once or not
//! at all; a [`Subscription`] never waits, so that it can stand in an event loop. Both take
//! messages from the kernel only: anyone may send to a netlink address.

mod metrics;

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    ParseableParametrized,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr};
use socket2::SockRef;

use super::sys::force_send_buffer;

const HEADER_LENGTH: usize = 16;
/// The kernel makes no message larger than half of this for a receiver.
const BUFFER_LENGTH: usize = 64 * 1024;
/// What notifications may pile up while the event loop is busy (the kernel's limit permitting).
const SUBSCRIPTION_BUFFER: usize = 1024 * 1024;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a listing is begun again because it changed while it was read.
const DUMP_ATTEMPTS: usize = 10;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_DUMP_INTR: u16 = 0x10;
/// An error message ends with attributes that explain it.
const NLM_F_ACK_TLVS: u16 = 0x200;
/// `NLMSGERR_ATTR_MSG`: the kernel's explanation in words.
const EXPLANATION: u16 = 1;

/// Why netlink did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// the kernel refused a request
    #[error("the kernel refused: {source}{}", explanation.as_ref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Refused { source: io::Error, explanation: Option<String> },
    /// the socket failed
    #[error("netlink socket: {0}")]
    Socket(#[from] io::Error),
    /// a listing changed each time it was read
    #[error("the kernel's tables changed {DUMP_ATTEMPTS} times while they were read; try again")]
    NeverStill,
    /// an answer was not a netlink message
    #[error("the kernel's answer is not a netlink message")]
    Garbled,
}

impl NetlinkError {
    /// The errno behind the error, where there is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            NetlinkError::Refused { source, .. } | NetlinkError::Socket(source) => source.raw_os_error(),
            NetlinkError::NeverStill | NetlinkError::Garbled => None,
        }
    }
}

/// One message of a datagram, not decoded further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    pub payload: &'a [u8],
}

impl Message<'_> {
    /// What the message says about the request it answers: `None` for data, else done or failed.
    pub fn outcome(&self) -> Option<Result<(), NetlinkError>> {
        match self.kind {
            NLMSG_ERROR | NLMSG_DONE => {}
            _ => return None,
        }
        // A done message of old kernels carries no code.
        let code = self.payload.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
        if code >= 0 {
            return Some(Ok(()));
        }
        let source = io::Error::from_raw_os_error(code.wrapping_neg());
        Some(Err(NetlinkError::Refused { source, explanation: self.explanation() }))
    }

    /// The kernel's explanation after the code and the header of the refused request.
    fn explanation(&self) -> Option<String> {
        if self.kind != NLMSG_ERROR || self.flags & NLM_F_ACK_TLVS == 0 {
            return None;
        }
        let mut rest = self.payload.get(20..)?;
        loop {
            let header: &[u8; 4] = rest.first_chunk()?;
            let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
            let value = rest.get(4..length)?;
            if u16::from_ne_bytes([header[2], header[3]]) == EXPLANATION {
                let text = value.split(|&byte| byte == 0).next()?;
                return Some(String::from_utf8_lossy(text).into_owned());
            }
            rest = rest.get(length.next_multiple_of(4)..)?;
        }
    }

    /// Decodes a message of rtnetlink; one that is not understood is logged and left out.
    pub fn route(&self) -> Option<RouteNetlinkMessage> {
        let parse = |payload: &[u8]| RouteNetlinkMessage::parse_with_param(payload, self.kind);
        let parsed = parse(self.payload).or_else(|error| match self.kind {
            libc::RTM_NEWROUTE | libc::RTM_DELROUTE => {
                metrics::numbers_only(self.payload).map_or(Err(error), |payload| parse(&payload))
            }
            _ => Err(error),
        });
        match parsed {
            Ok(message) => Some(message),
            Err(error) => {
                log::warn!("rtnetlink message of type {} left out: {error}", self.kind);
                None
            }
        }
    }
}

/// The messages of one datagram.
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let rest = self.rest;
        let message = NetlinkBuffer::new_checked(rest).ok()?;
        let length = message.length() as usize;
        self.rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message {
            kind: message.message_type(),
            flags: message.flags(),
            sequence: message.sequence_number(),
            payload: rest.get(HEADER_LENGTH..length)?,
        })
    }
}

/// A socket for requests.
pub struct Connection {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

impl Connection {
    /// Opens a socket of a netlink protocol (`netlink_sys::protocols`).
    pub fn open(protocol: isize) -> io::Result<Connection> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        SockRef::from(&socket).set_read_timeout(Some(ANSWER_TIMEOUT))?;
        // Explanations in words and short errors are a comfort of kernels from 4.12 and 4.2 on.
        let _ = socket.set_ext_ack(true);
        let _ = socket.set_cap_ack(true);
        Ok(Connection { socket, buffer: vec![0; BUFFER_LENGTH], sequence: 0 })
    }

    /// Has the kernel list only what a request's header asks for, where it can (from 4.20 on): elsewhere
    /// the header is not looked at, and everything is listed.
    pub fn filter_listings(&self) {
        let _ = self.socket.set_netlink_get_strict_chk(true);
    }

    /// The number for the next request.
    pub fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Sends one datagram of finished messages.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        loop {
            match self.socket.send(bytes, 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes sure that a datagram of `length` bytes can be sent, as far as the kernel's limits go:
    /// with CAP_NET_ADMIN they do not count.
    pub fn reserve_send_buffer(&self, length: usize) -> io::Result<()> {
        let socket = SockRef::from(&self.socket);
        if socket.send_buffer_size()? < 2 * length && force_send_buffer(&self.socket, length).is_err() {
            socket.set_send_buffer_size(length)?;
        }
        Ok(())
    }

    /// Waits for the next datagram.
    pub fn receive(&mut self) -> io::Result<Messages<'_>> {
        loop {
            match receive(&self.socket, &mut self.buffer) {
                Ok(Some(length)) => return Ok(Messages { rest: self.buffer.get(..length).unwrap_or_default() }),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Lists a table of the kernel's: each message that answers `request`, as far as `pick` wants it.
    ///
    /// # Errors
    /// Where the kernel refuses, is too busy, or its table never stands still. It may be asked again.
    pub fn list<T>(
        &mut self,
        request: RouteNetlinkMessage,
        mut pick: impl FnMut(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        for _ in 0..DUMP_ATTEMPTS {
            let sequence = self.request(request.clone(), NLM_F_DUMP)?;
            let mut listed = Vec::new();
            let mut still = true;
            'answers: loop {
                for message in self.receive()?.filter(|message| message.sequence == sequence) {
                    still &= message.flags & NLM_F_DUMP_INTR == 0;
                    match message.outcome() {
                        Some(Ok(())) => break 'answers,
                        // A listing that was given up, as its end did not come in time, has not ended: no refusal.
                        Some(Err(error)) if error.errno() == Some(libc::EBUSY) => {
                            return Err(io::Error::from_raw_os_error(libc::EBUSY).into());
                        }
                        Some(Err(error)) => return Err(error),
                        None => listed.extend(message.route().and_then(&mut pick)),
                    }
                }
            }
            if still {
                return Ok(listed);
            }
        }
        Err(NetlinkError::NeverStill)
    }

    /// Has the kernel change something, and waits until it did. `flags` are those of the request
    /// beyond the usual ones (`NLM_F_CREATE`, …).
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn change(&mut self, request: RouteNetlinkMessage, flags: u16) -> Result<(), NetlinkError> {
        let sequence = self.request(request, NLM_F_ACK | flags)?;
        loop {
            for message in self.receive()?.filter(|message| message.sequence == sequence) {
                if let Some(outcome) = message.outcome() {
                    return outcome;
                }
            }
        }
    }

    fn request(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<u32> {
        let sequence = self.next_sequence();
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.send(&bytes)?;
        Ok(sequence)
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// What a subscription has.
pub enum Received<'a> {
    Messages(Messages<'a>),
    /// The kernel had more to say than the socket could hold or we take at once: something was lost.
    Lost,
    /// Nothing more for now.
    Nothing,
}

/// A non-blocking socket that hears multicast groups.
pub struct Subscription {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Subscription {
    pub fn open(protocol: isize, groups: &[u32]) -> io::Result<Subscription> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.set_non_blocking(true)?;
        socket.set_rx_buf_sz(SUBSCRIPTION_BUFFER as libc::c_int)?;
        for &group in groups {
            socket.add_membership(group)?;
        }
        Ok(Subscription { socket, buffer: vec![0; BUFFER_LENGTH] })
    }

    /// The next datagram, if one is there.
    pub fn receive(&mut self) -> io::Result<Received<'_>> {
        loop {
            match receive(&self.socket, &mut self.buffer) {
                Ok(Some(length)) => {
                    return Ok(Received::Messages(Messages { rest: self.buffer.get(..length).unwrap_or_default() }));
                }
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Received::Nothing),
                // More than the socket holds, or a message that is larger than it takes in.
                Err(error) if is_loss(&error) => return Ok(Received::Lost),
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsRawFd for Subscription {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn is_loss(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOBUFS) || error.kind() == io::ErrorKind::InvalidData
}

/// Reads one datagram; `None` where it is not the kernel's.
fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    let (length, sender) = socket.recv_from(&mut &mut buffer[..], libc::MSG_TRUNC)?;
    if length > buffer.len() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a netlink message is larger than the kernel makes them",
        ));
    }
    Ok((sender.port_number() == 0).then_some(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (16 + payload.len() as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn a_datagram_is_taken_apart_message_by_message() {
        let mut datagram = bytes(16, 2, 7, b"abcde");
        datagram.extend(bytes(3, 0, 8, &[0; 4]));
        let messages: Vec<_> = Messages { rest: &datagram }.collect();
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[0], Message { kind: 16, flags: 2, sequence: 7, payload: b"abcde" });
        assert!(messages[0].outcome().is_none());
        assert!(matches!(messages[1].outcome(), Some(Ok(()))));
    }

    #[test]
    fn cut_and_lying_datagrams_end_quietly() {
        let whole = bytes(16, 0, 1, b"abcdefgh");
        for length in 0..whole.len() {
            assert_eq!(Messages { rest: &whole[..length] }.count(), 0, "{length}");
        }
        let mut short = whole.clone();
        short[0] = 15;
        assert_eq!(Messages { rest: &short }.count(), 0);
    }

    #[test]
    fn a_refusal_carries_errno_and_explanation() {
        let mut payload = (-libc::EPERM).to_ne_bytes().to_vec();
        payload.extend([0; 16]);
        payload.extend([9, 0, 1, 0]);
        payload.extend(b"why?\0");
        let datagram = bytes(NLMSG_ERROR, NLM_F_ACK_TLVS, 1, &payload);
        let error = Messages { rest: &datagram }.next().unwrap().outcome().unwrap().unwrap_err();
        assert_eq!(error.errno(), Some(libc::EPERM));
        assert!(error.to_string().ends_with("(why?)"), "{error}");
    }
}
