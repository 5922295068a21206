//! The control socket: an abstract unix stream socket, so that every network namespace has its
//! own director, as it has its own ip_vs in the kernel.
//!
//! Messages either way are [postcard] bytes behind their length (32 bits, little-endian).
//! Requests are answered in their order; many may be on their way at once. Who may command is
//! decided by the peer's credentials (unix(7), `SO_PEERCRED`): root, or the user that the
//! director runs as. Anyone else is answered EPERM at once, without being heard.
//!
//! Any user can bind a name that is free, so a client looks as well: what listens must be root's, the
//! client's own user's, or have a privilege that no director can do without and no other program of an
//! ordinary user has.

use std::fs;
use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

use nix::sys::socket::{UnixCredentials, getsockopt, sockopt::PeerCredentials};
use nix::unistd::{geteuid, getuid};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::message::{Access, Answer, Request};

/// The socket's abstract name.
const NAME: &[u8] = b"ulvs/director";
/// Longest message that is taken: a listing of a hundred thousand servers fits several times.
const LONGEST: usize = 256 << 20;
/// CAP_NET_ADMIN and CAP_NET_RAW, one of which a director has (capabilities(7)).
const DIRECTORS_PRIVILEGES: u64 = 1 << 12 | 1 << 13;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Requests that a client has under way at once. The machine around a director is brought in line
/// once for what comes together, so more is faster.
const WINDOW: usize = 4096;

fn address() -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(NAME)
}

/// How long a director that was just killed may take to let go of the socket.
const LEAVING: u32 = 100;
const LEAVING_STEP: Duration = Duration::from_millis(20);

/// Opens the socket of this namespace's director. One that is on its way out is waited for.
///
/// # Errors
/// `AddrInUse` when a director runs already; a sentence where somebody has the socket and does not answer.
pub fn listen() -> io::Result<UnixListener> {
    listen_at(&address()?, LEAVING_STEP * LEAVING)
}

fn listen_at(address: &SocketAddr, patience: Duration) -> io::Result<UnixListener> {
    let mut tries = 0;
    let listener = loop {
        match UnixListener::bind_addr(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < LEAVING => {
                match Holder::find(address, patience) {
                    Holder::Director => return Err(error),
                    Holder::Silent(peer) => {
                        return Err(io::Error::other(format!(
                            "process {} of user {} has the socket of this network namespace's director, and does not \
                             answer: end it, or wait for it",
                            peer.pid(),
                            peer.uid()
                        )));
                    }
                    Holder::Leaving => std::thread::sleep(LEAVING_STEP),
                }
                tries += 1;
            }
            outcome => break outcome?,
        }
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Who has the director's socket.
#[derive(Debug)]
enum Holder {
    /// Somebody who answers as a director does.
    Director,
    /// Somebody who takes connections, and says nothing.
    Silent(UnixCredentials),
    /// Nobody, soon: it is closed, or has just been.
    Leaving,
}

impl Holder {
    fn find(address: &SocketAddr, patience: Duration) -> Holder {
        // Whoever it is, the name is taken.
        let Ok(mut client) = Client::connect_to_anybody(address) else { return Holder::Leaving };
        if client.stream.set_read_timeout(Some(patience)).is_err() {
            return Holder::Leaving;
        }
        match (client.ask(Request::Info), getsockopt(&client.stream, PeerCredentials)) {
            (Ok(_), _) => Holder::Director,
            (Err(error), Ok(peer)) if error.kind() == io::ErrorKind::TimedOut => Holder::Silent(peer),
            _ => Holder::Leaving,
        }
    }
}

/// Whether the process at the other end may command.
pub fn may_command(stream: &impl std::os::fd::AsFd) -> bool {
    getsockopt(stream, PeerCredentials).is_ok_and(|peer| peer.uid() == 0 || peer.uid() == getuid().as_raw())
}

/// Appends a message to `out`.
///
/// # Errors
/// It cannot be put into bytes.
pub fn encode<T: Serialize>(message: &T, out: &mut Vec<u8>) -> io::Result<()> {
    let start = out.len();
    out.extend([0; 4]);
    let length = {
        let body = postcard::to_stdvec(message).map_err(io::Error::other)?;
        out.extend(&body);
        body.len()
    };
    out[start..start + 4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(())
}

/// Takes the first whole message out of `buffer`; `None` while there is none.
///
/// # Errors
/// What is there can never become a message.
pub fn decode<T: DeserializeOwned>(buffer: &[u8]) -> io::Result<Option<(T, usize)>> {
    let Some((head, rest)) = buffer.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*head) as usize;
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes")));
    }
    let Some(body) = rest.get(..length) else { return Ok(None) };
    let message = postcard::from_bytes(body).map_err(|error| {
        io::Error::new(io::ErrorKind::InvalidData, format!("a message that is not understood ({error})"))
    })?;
    Ok(Some((message, 4 + length)))
}

/// A connection to the director of this namespace.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    received: Vec<u8>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// `ConnectionRefused` when no director runs in this network namespace; a sentence where what
    /// listens is not to be trusted with commands.
    pub fn connect() -> io::Result<Client> {
        let client = Client::connect_to_anybody(&address()?)?;
        let listener = getsockopt(&client.stream, PeerCredentials)?;
        let (user, process) = (listener.uid(), listener.pid());
        if ![0, geteuid().as_raw()].contains(&user) && !may_be_director(process) {
            return Err(io::Error::other(format!(
                "process {process} of user {user} listens in a director's place, without a director's privileges \
                 (CAP_NET_RAW or CAP_NET_ADMIN, as far as you can see that); end it, or command it as that user"
            )));
        }
        Ok(client)
    }

    fn connect_to_anybody(address: &SocketAddr) -> io::Result<Client> {
        let stream = UnixStream::connect_addr(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client { stream, received: Vec::new() })
    }

    /// Waits until the director has ended.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn wait_for_end(&mut self) -> io::Result<()> {
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_hung_up(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends what an answer is expected to. Where the director has closed its end, what it said before
    /// is still to be read: a refusal, or its end.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.stream.write_all(bytes) {
            Err(error) if is_hung_up(&error) => Ok(()),
            outcome => outcome,
        }
    }

    fn answer(&mut self) -> io::Result<Answer> {
        loop {
            if let Some((answer, used)) = decode(&self.received)? {
                self.received.drain(..used);
                return Ok(answer);
            }
            let mut chunk = [0; 65536];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(has_ended()),
                Ok(length) => self.received.extend(&chunk[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_hung_up(&error) => return Err(has_ended()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "the director does not answer"));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether a process has a director's privileges over this machine's network. What it has in a user namespace of
/// its own, which anybody can make, does not count: such a namespace maps other users (user_namespaces(7)).
fn may_be_director(process: i32) -> bool {
    let users = |process: &str| fs::read_to_string(format!("/proc/{process}/uid_map")).ok();
    let process = process.to_string();
    let same = users(&process).is_some_and(|theirs| users("self") == Some(theirs));
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    same && privileges(&status) & DIRECTORS_PRIVILEGES != 0
}

/// The effective capabilities in /proc/PID/status.
fn privileges(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or(0)
}

/// Whether the other end is closed. `BrokenPipe` is for a standard output that nobody reads any
/// more, which a command passes over in silence.
fn is_hung_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

fn has_ended() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the director has ended")
}

impl Access for Client {
    fn ask(&mut self, request: Request) -> io::Result<Answer> {
        let mut bytes = Vec::new();
        encode(&request, &mut bytes)?;
        self.send(&bytes)?;
        self.answer()
    }

    fn ask_all(&mut self, requests: Vec<Request>) -> io::Result<Vec<Answer>> {
        let mut answers = Vec::with_capacity(requests.len());
        for window in requests.chunks(WINDOW) {
            let mut bytes = Vec::new();
            for request in window {
                encode(request, &mut bytes)?;
            }
            self.send(&bytes)?;
            for _ in window {
                answers.push(self.answer()?);
            }
        }
        Ok(answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::message::Reply;
    use crate::table::Errno;

    #[test]
    fn messages_survive_the_way_in_pieces() {
        let mut bytes = Vec::new();
        encode(&Request::Flush, &mut bytes).unwrap();
        encode(&Request::SetSetting { name: "sloppy_tcp".into(), value: "1".into() }, &mut bytes).unwrap();
        for cut in 0..4 {
            assert!(decode::<Request>(&bytes[..cut]).unwrap().is_none());
        }
        let (first, used) = decode::<Request>(&bytes).unwrap().unwrap();
        assert_eq!(first, Request::Flush);
        assert!(decode::<Request>(&bytes[used..bytes.len() - 1]).unwrap().is_none());
        let (second, more) = decode::<Request>(&bytes[used..]).unwrap().unwrap();
        assert!(matches!(second, Request::SetSetting { .. }));
        assert_eq!(used + more, bytes.len());
    }

    #[test]
    fn privileges_are_those_in_effect() {
        let status = "Name:\tulvs\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000002000\nCapBnd:\t000001ffffffffff\n";
        assert_eq!(privileges(status), 1 << 13);
        assert_eq!(privileges("Name:\tulvs\n"), 0);
        assert_eq!(privileges("CapEff:\tmany\n"), 0);
    }

    #[test]
    fn nobody_is_a_director_without_privileges() {
        let own = privileges(&fs::read_to_string("/proc/self/status").unwrap());
        assert_eq!(may_be_director(std::process::id() as i32), own & DIRECTORS_PRIVILEGES != 0);
        assert!(!may_be_director(0), "a process that cannot be seen from here");
    }

    #[test]
    fn what_a_director_said_before_it_hung_up_is_heard() {
        let (mut theirs, stream) = UnixStream::pair().unwrap();
        let mut bytes = Vec::new();
        encode(&Answer::Err(Errno::EPERM), &mut bytes).unwrap();
        theirs.write_all(&bytes).unwrap();
        drop(theirs);
        let mut client = Client { stream, received: Vec::new() };
        assert_eq!(client.ask(Request::Info).unwrap(), Err(Errno::EPERM));
        // Not `BrokenPipe`, which means that nobody reads our output.
        for error in [client.ask(Request::Flush).unwrap_err(), client.ask_all(vec![Request::Flush]).unwrap_err()] {
            assert_eq!(
                (error.kind(), error.to_string().as_str()),
                (io::ErrorKind::UnexpectedEof, "the director has ended")
            );
        }
    }

    #[test]
    fn a_director_that_ends_without_reading_is_no_closed_output() {
        let (theirs, stream) = UnixStream::pair().unwrap();
        let mut client = Client { stream, received: Vec::new() };
        client.stream.write_all(b"unread").unwrap();
        drop(theirs);
        assert_eq!(client.ask(Request::Info).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn whoever_has_the_socket_is_found_out() {
        let name = format!("ulvs/test/{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let patience = Duration::from_millis(50);
        let director = listen_at(&address, patience).unwrap();
        // It takes connections (the kernel does that), and never looks at them.
        let refused = listen_at(&address, patience).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {} ", std::process::id())) && refused.contains("end it"));

        let answering = std::thread::spawn(move || {
            let mut answer = Vec::new();
            encode(&Answer::Err(Errno::EPERM), &mut answer).unwrap();
            director.set_nonblocking(false).unwrap();
            // The first was closed by whoever gave up.
            for _ in 0..2 {
                let _ = director.accept().unwrap().0.write_all(&answer);
            }
            // The third one is accepted when the socket is about to be closed.
            let (last, _) = director.accept().unwrap();
            drop(director);
            drop(last);
        });
        let refused = listen_at(&address, PATIENCE).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        let heir = listen_at(&address, PATIENCE).unwrap();
        answering.join().unwrap();
        drop(heir);
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(decode::<Request>(&[0xff; 8]).is_err());
        assert!(decode::<Request>(&[1, 0, 0, 0, 0xff]).is_err());
        let mut bytes = Vec::new();
        let answer: Answer = Err(Errno::EPERM);
        encode(&answer, &mut bytes).unwrap();
        assert_eq!(decode::<Answer>(&bytes).unwrap().unwrap().0, answer);
        let _ = Reply::Done;
    }
}
