//! The control thread's loop: commands, changes of the machine around us, signals, the clock.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::net::UnixListener;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::signalfd::SignalFd;

use crate::base::Tick;
use crate::control::director::{Director, Fleet};
use crate::control::message::{Answer, Reply, Request};
use crate::control::socket::may_command;
use crate::worker::Clock;

use super::session::{Desk, Next, Session, refuse};
use super::surroundings::Surroundings;
use super::workers::Workers;

const LISTENER: Token = Token(0);
const WATCHER: Token = Token(1);
const SIGNALS: Token = Token(2);
const FIRST_CLIENT: usize = 3;

/// Longest sleep: rates are estimated every two seconds, and a worker's end is noticed.
const SLEEP: Duration = Duration::from_millis(250);
/// How long one client's turn may take while others wait, in milliseconds.
const LONGEST_TURN: u64 = 100;

/// Clients at once; more are turned away, so that nobody can use up the process's descriptors.
const MOST_SESSIONS: usize = 256;
/// Clients that are accepted before the others have their turn.
const MOST_ACCEPTED: usize = 64;

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
    /// The sessions whose turn it is.
    due: VecDeque<Token>,
    /// Clients may be waiting to be accepted.
    knocking: bool,
    /// Those that wait could not be, for want of descriptors: the socket does not tell of them again.
    kept_waiting: bool,
    turn_started: Tick,
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
            due: VecDeque::new(),
            knocking: false,
            kept_waiting: false,
            turn_started: clock.now(),
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
            let busy = self.knocking || !self.due.is_empty();
            let sleep = if busy { Duration::ZERO } else { SLEEP };
            match self.poll.poll(&mut events, Some(sleep)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                outcome => outcome?,
            }
            self.knocking |= std::mem::take(&mut self.kept_waiting);
            for event in &events {
                match event.token() {
                    LISTENER => self.knocking = true,
                    WATCHER => {}
                    SIGNALS => self.stopping |= matches!(self.signals.read_signal(), Ok(Some(_))),
                    token if self.due.contains(&token) => {}
                    token => self.due.push_back(token),
                }
            }
            self.accept()?;
            self.serve();
            let now = self.clock.now();
            self.director.tick(now);
            // Who is in the middle of something settles it at its end.
            let unsettled = self.due.is_empty() && self.director.take_unsettled(now);
            if let Some(network) = self.surroundings.follow(now, self.director.fleet())? {
                self.director.set_network(network);
                self.settle_surroundings();
            } else if unsettled {
                self.settle_surroundings();
            }
            if self.director.fleet().any_ended() {
                return Err(io::Error::other("a worker has ended by itself"));
            }
        }
        // Answers that are still under way (to a shutdown request, say) are sent out.
        for session in self.sessions.values_mut() {
            let _ = session.flush();
        }
        Ok(())
    }

    /// Takes in clients that wait. Who may not command takes nobody's place.
    fn accept(&mut self) -> io::Result<()> {
        for _ in 0..MOST_ACCEPTED {
            if !self.knocking {
                break;
            }
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) => {
                    self.knocking = false;
                    if error.kind() != io::ErrorKind::WouldBlock {
                        log::warn!("a control connection was not accepted: {error}");
                        self.kept_waiting = true;
                    }
                    break;
                }
            };
            if !may_command(&stream) {
                if let Err(error) = refuse(stream) {
                    log::debug!("a client that may not command was not told so: {error}");
                }
                continue;
            }
            if self.sessions.len() >= MOST_SESSIONS {
                // Closing it tells the client.
                continue;
            }
            let token = Token(self.next_token);
            self.next_token += 1;
            self.poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
            self.sessions.insert(token, Session::new(stream));
            self.due.push_back(token);
        }
        Ok(())
    }

    /// Gives every client whose turn it is one turn, and lets those go that are done or broken.
    fn serve(&mut self) {
        for token in std::mem::take(&mut self.due) {
            let Some(mut session) = self.sessions.remove(&token) else { continue };
            self.turn_started = self.clock.now();
            let next = session.turn(self).unwrap_or_else(|error| {
                log::debug!("a control connection ended: {error}");
                Next::End
            });
            match next {
                Next::End => {
                    // Closing the stream takes it out of the poll.
                    let _ = self.poll.registry().deregister(&mut session.stream);
                    continue;
                }
                Next::Turn => self.due.push_back(token),
                Next::Wait => {}
            }
            self.sessions.insert(token, session);
        }
    }

    /// Brings the machine around us in line with the configuration.
    fn settle_surroundings(&mut self) {
        let network = self.surroundings.settle(&mut self.director);
        if let Some(network) = network {
            self.director.set_network(network);
        }
    }
}

impl Desk for Server {
    fn answer(&mut self, request: Request) -> Answer {
        if request == Request::Shutdown {
            self.stopping = true;
            return Ok(Reply::Done);
        }
        if let Request::Hold { holding } = request {
            self.surroundings.hold(holding, &mut self.director);
            self.settle_surroundings();
            return Ok(Reply::Done);
        }
        self.director.ask(self.clock.now(), request)
    }

    fn hand_over(&mut self) {
        self.director.fleet().wake();
    }

    fn settle(&mut self) {
        if self.director.take_unsettled(self.clock.now()) {
            self.settle_surroundings();
        }
        self.director.fleet().confirm();
    }

    fn is_late(&self) -> bool {
        self.clock.now().since(self.turn_started) >= LONGEST_TURN
    }
}
