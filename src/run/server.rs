//! The control thread's loop: commands, changes of the machine around us, signals, the clock.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::net::{UnixListener, UnixStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::signalfd::SignalFd;

use crate::control::director::{Director, Fleet};
use crate::control::message::{Answer, Reply, Request};
use crate::control::socket::{decode, encode, may_command};
use crate::table::Errno;
use crate::worker::Clock;

use super::surroundings::Surroundings;
use super::workers::Workers;

const LISTENER: Token = Token(0);
const WATCHER: Token = Token(1);
const SIGNALS: Token = Token(2);
const FIRST_CLIENT: usize = 3;

/// Longest sleep: rates are estimated every two seconds, and a worker's end is noticed.
const SLEEP: Duration = Duration::from_millis(250);
/// Unsent answers beyond which a client is not read from until it takes some.
const MOST_UNSENT: usize = 64 << 20;

/// Requests of a client that are answered before the machine around us is brought in line.
const MOST_AT_ONCE: usize = 1 << 16;

/// Clients at once; more are turned away, so that nobody can use up the process's descriptors.
const MOST_SESSIONS: usize = 256;
/// Bytes that a client who may not command may leave unanswered: it is told no, whatever it asks.
const MOST_UNHEARD: usize = 64 << 10;

/// A client of the control socket.
struct Session {
    stream: UnixStream,
    may_command: bool,
    received: Vec<u8>,
    unsent: Vec<u8>,
    /// The client has closed its end.
    ended: bool,
}

/// Everything that the control thread looks after.
pub struct Server {
    pub director: Director<Workers>,
    pub surroundings: Surroundings,
    clock: Clock,
    poll: Poll,
    listener: UnixListener,
    signals: SignalFd,
    sessions: HashMap<Token, Session>,
    next_token: usize,
    stopping: bool,
}

impl Server {
    /// # Errors
    /// The event loop cannot be made.
    pub fn new(
        director: Director<Workers>,
        surroundings: Surroundings,
        clock: Clock,
        listener: std::os::unix::net::UnixListener,
        signals: SignalFd,
    ) -> io::Result<Server> {
        let poll = Poll::new()?;
        let mut listener = UnixListener::from_std(listener);
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        poll.registry().register(&mut SourceFd(&surroundings.descriptor()), WATCHER, Interest::READABLE)?;
        poll.registry().register(&mut SourceFd(&signals.as_raw_fd()), SIGNALS, Interest::READABLE)?;
        Ok(Server {
            director,
            surroundings,
            clock,
            poll,
            listener,
            signals,
            sessions: HashMap::new(),
            next_token: FIRST_CLIENT,
            stopping: false,
        })
    }

    /// Serves until a signal or a command ends it.
    ///
    /// # Errors
    /// The loop failed, or a worker ended by itself.
    pub fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(64);
        while !self.stopping {
            match self.poll.poll(&mut events, Some(SLEEP)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                outcome => outcome?,
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    WATCHER => {}
                    SIGNALS => self.stopping |= matches!(self.signals.read_signal(), Ok(Some(_))),
                    token => self.serve(token),
                }
            }
            let now = self.clock.now();
            self.director.tick(now);
            if let Some(network) = self.surroundings.follow(self.director.fleet())? {
                self.director.set_network(network);
                self.settle();
            }
            self.director.fleet().relay();
            if self.director.fleet().any_ended() {
                return Err(io::Error::other("a worker has ended by itself"));
            }
        }
        // Answers that are still under way (to a shutdown request, say) are sent out.
        for session in self.sessions.values_mut() {
            let _ = flush(session);
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => {
                    log::warn!("a control connection was not accepted: {error}");
                    return Ok(());
                }
            };
            if self.sessions.len() >= MOST_SESSIONS {
                // Closing it tells the client.
                continue;
            }
            let token = Token(self.next_token);
            self.next_token += 1;
            self.poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
            let may_command = may_command(&stream);
            let session = Session { stream, may_command, received: Vec::new(), unsent: Vec::new(), ended: false };
            self.sessions.insert(token, session);
            self.serve(token);
        }
    }

    /// Reads what a client sent, answers it, and lets the client go when it is done or broken.
    fn serve(&mut self, token: Token) {
        let Some(mut session) = self.sessions.remove(&token) else { return };
        match self.converse(&mut session) {
            Ok(()) if !session.ended || !session.unsent.is_empty() => {
                self.sessions.insert(token, session);
            }
            outcome => {
                if let Err(error) = outcome {
                    log::debug!("a control connection ended: {error}");
                }
                // Closing the stream takes it out of the poll.
                let _ = self.poll.registry().deregister(&mut session.stream);
            }
        }
    }

    fn converse(&mut self, session: &mut Session) -> io::Result<()> {
        flush(session)?;
        while session.unsent.len() < MOST_UNSENT {
            // What comes in while earlier requests are answered is settled together with them.
            let mut answered = 0;
            while answered < MOST_AT_ONCE {
                hear(session)?;
                match self.answer(session)? {
                    0 => break,
                    number => answered += number,
                }
            }
            // What was changed is in force before the client hears that it is.
            if self.director.take_unsettled() {
                self.settle();
            }
            self.director.fleet().confirm();
            flush(session)?;
            if answered == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Answers what a client asked so far, while it takes the answers; how much that was.
    fn answer(&mut self, session: &mut Session) -> io::Result<usize> {
        let (mut used, mut answered) = (0, 0);
        while session.unsent.len() < MOST_UNSENT {
            let Some((request, length)) = decode::<Request>(&session.received[used..])? else { break };
            used += length;
            answered += 1;
            let answer = if session.may_command { self.ask(request) } else { Err(Errno::EPERM) };
            encode(&answer, &mut session.unsent)?;
        }
        session.received.drain(..used);
        self.director.fleet().wake();
        Ok(answered)
    }

    fn ask(&mut self, request: Request) -> Answer {
        if request == Request::Shutdown {
            self.stopping = true;
            return Ok(Reply::Done);
        }
        if let Request::Hold { holding } = request {
            self.surroundings.hold(holding, &mut self.director);
            self.settle();
            return Ok(Reply::Done);
        }
        self.director.ask(self.clock.now(), request)
    }

    /// Brings the machine around us in line with the configuration.
    fn settle(&mut self) {
        let network = self.surroundings.settle(&mut self.director);
        if let Some(network) = network {
            self.director.set_network(network);
        }
    }
}

/// Reads what a client has sent.
fn hear(session: &mut Session) -> io::Result<()> {
    let mut chunk = [0; 65536];
    loop {
        match session.stream.read(&mut chunk) {
            Ok(0) => {
                session.ended = true;
                break;
            }
            Ok(length) => {
                session.received.extend(&chunk[..length]);
                if !session.may_command && session.received.len() > MOST_UNHEARD {
                    let reason = "too much from a client that may not command";
                    return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn flush(session: &mut Session) -> io::Result<()> {
    let mut sent = 0;
    while sent < session.unsent.len() {
        match session.stream.write(&session.unsent[sent..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => sent += length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    session.unsent.drain(..sent);
    Ok(())
}
