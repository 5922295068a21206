//! One client of the control socket: its requests are answered in their order, by turns.
//!
//! A turn ends when nothing more is there, when the client does not take its answers, or when it
//! took too long: no client can keep the control thread from the others, nor make it hold more
//! than some megabytes. Answers are held back until what they say is in force, which for a large configuration
//! takes as long as a turn and is done once for several.

use std::io::{self, Read, Write};

use mio::net::UnixStream;

use crate::control::message::{Answer, Request};
use crate::control::socket::{decode, encode};
use crate::table::Errno;

/// Unsent answers beyond which a client is not read from until it takes some.
const MOST_UNSENT: usize = 64 << 20;
/// Answers that are held back at the most.
const MOST_HELD: usize = 1 << 16;
/// Bytes that are taken in before the requests among them are answered.
const MOST_UNHEARD: usize = 1 << 20;

/// What answers requests: the director, and the machine around it.
pub trait Desk {
    fn answer(&mut self, request: Request) -> Answer;

    /// Has the workers make what changes were asked for; more may follow.
    fn hand_over(&mut self);

    /// Brings everything in line with what was asked, before the client hears that it is done.
    fn settle(&mut self);

    /// Whether this turn has taken long enough.
    fn is_late(&self) -> bool;
}

/// What a session needs after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another turn, soon: there is more to answer.
    Turn,
    /// A turn when the socket can be read from or written to again.
    Wait,
    /// None: the client has closed its end and has all its answers.
    End,
}

/// A client that may command, and what is under way to and from it.
pub struct Session {
    pub stream: UnixStream,
    received: Vec<u8>,
    unsent: Vec<u8>,
    /// Bytes of the answers that may be sent, and how many answers are held back behind them.
    settled: usize,
    held: usize,
    /// The client has closed its end.
    ended: bool,
}

impl Session {
    pub fn new(stream: UnixStream) -> Session {
        Session { stream, received: Vec::new(), unsent: Vec::new(), settled: 0, held: 0, ended: false }
    }

    /// Answers what the client asked so far.
    ///
    /// # Errors
    /// The client is gone, or says what cannot be understood.
    pub fn turn(&mut self, desk: &mut dyn Desk) -> io::Result<Next> {
        self.flush()?;
        let mut all = false;
        // What comes in while earlier requests are answered is settled together with them.
        while !all && self.unsent.len() < MOST_UNSENT && !desk.is_late() {
            if self.answer(desk)? {
                all = !self.hear()?;
            }
        }
        if all || self.unsent.len() >= MOST_UNSENT || self.held >= MOST_HELD {
            desk.settle();
            (self.settled, self.held) = (self.unsent.len(), 0);
            self.flush()?;
        }
        Ok(match (all, self.unsent.is_empty()) {
            (true, true) if self.ended => Next::End,
            (true, _) => Next::Wait,
            // Having room again is no event where the client took everything at once.
            (false, _) if self.unsent.len() < MOST_UNSENT => Next::Turn,
            (false, _) => Next::Wait,
        })
    }

    /// Answers what was received, while the client takes the answers; whether that was all.
    fn answer(&mut self, desk: &mut dyn Desk) -> io::Result<bool> {
        let mut used = 0;
        let outcome = loop {
            if self.unsent.len() >= MOST_UNSENT || desk.is_late() {
                break Ok(false);
            }
            let (request, length) = match decode::<Request>(&self.received[used..]) {
                Ok(Some(whole)) => whole,
                Ok(None) => break Ok(true),
                Err(error) => break Err(error),
            };
            used += length;
            if let Err(error) = encode(&desk.answer(request), &mut self.unsent) {
                break Err(error);
            }
            self.held += 1;
        };
        // What was asked for before something that cannot be understood holds.
        if used > 0 {
            self.received.drain(..used);
            desk.hand_over();
        }
        outcome
    }

    /// Reads what the client has sent; whether that was anything.
    fn hear(&mut self) -> io::Result<bool> {
        let mut chunk = [0; 65536];
        let mut heard = 0;
        while !self.ended && heard < MOST_UNHEARD {
            match self.stream.read(&mut chunk) {
                Ok(0) => self.ended = true,
                Ok(length) => {
                    self.received.extend(&chunk[..length]);
                    heard += length;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(heard > 0)
    }

    /// Sends what the client takes of the answers that are not held back.
    ///
    /// # Errors
    /// The client is gone.
    pub fn flush(&mut self) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.settled {
            match self.stream.write(&self.unsent[sent..self.settled]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => sent += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.unsent.drain(..sent);
        self.settled -= sent;
        Ok(())
    }
}

/// Tells a client that may not command that it may not, without hearing it: nothing is kept of it.
///
/// # Errors
/// The client is gone.
pub fn refuse(mut stream: UnixStream) -> io::Result<()> {
    let mut answer = Vec::new();
    encode(&Answer::Err(Errno::EPERM), &mut answer)?;
    // It fits: nothing was sent before.
    stream.write_all(&answer)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream as Blocking;

    use super::*;
    use crate::control::message::Reply;

    /// Counts, and is late after so many answers.
    #[derive(Default)]
    struct Fake {
        answered: usize,
        settled: usize,
        late_after: Option<usize>,
        /// Bytes in every answer.
        length: usize,
    }

    impl Desk for Fake {
        fn answer(&mut self, _request: Request) -> Answer {
            self.answered += 1;
            match self.length {
                0 => Ok(Reply::Done),
                length => Ok(Reply::Settings(vec![(String::new(), "x".repeat(length))])),
            }
        }

        fn hand_over(&mut self) {}

        fn settle(&mut self) {
            self.settled += 1;
        }

        fn is_late(&self) -> bool {
            self.late_after.is_some_and(|most| self.answered >= most)
        }
    }

    fn pair() -> (Session, Blocking) {
        let (ours, theirs) = Blocking::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        (Session::new(UnixStream::from_std(ours)), theirs)
    }

    fn requests(number: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        (0..number).for_each(|_| encode(&Request::Info, &mut bytes).unwrap());
        bytes
    }

    /// How many answers have come, and whether the session is over.
    fn answers(stream: &mut Blocking) -> (usize, bool) {
        let (mut bytes, mut count, mut used) = (Vec::new(), 0, 0);
        let over = stream.read_to_end(&mut bytes).is_ok();
        while let Some((_, length)) = decode::<Answer>(&bytes[used..]).unwrap() {
            (count, used) = (count + 1, used + length);
        }
        assert_eq!(used, bytes.len());
        (count, over)
    }

    #[test]
    fn what_comes_together_is_settled_once_and_answered_in_whole() {
        let (mut session, mut client) = pair();
        let mut desk = Fake::default();
        let bytes = requests(1000);
        client.write_all(&bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(session.turn(&mut desk).unwrap(), Next::Wait);
        assert_eq!((desk.answered, desk.settled, answers(&mut client)), (999, 1, (999, false)));
        client.write_all(&bytes[bytes.len() - 1..]).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(session.turn(&mut desk).unwrap(), Next::End);
        drop(session);
        assert_eq!(answers(&mut client), (1, true));
    }

    #[test]
    fn a_turn_ends_although_there_is_more() {
        let (mut session, mut client) = pair();
        client.write_all(&requests(25)).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut desk = Fake::default();
        for (most, next) in [(10, Next::Turn), (20, Next::Turn), (30, Next::End)] {
            assert_eq!((desk.settled, answers(&mut client)), (0, (0, false)), "nothing is said to be done");
            desk.late_after = Some(most);
            assert_eq!(session.turn(&mut desk).unwrap(), next);
            assert_eq!(desk.answered, most.min(25));
        }
        drop(session);
        assert_eq!((desk.settled, answers(&mut client)), (1, (25, true)));
    }

    #[test]
    fn who_does_not_read_is_not_heard_until_it_does() {
        let (mut session, mut client) = pair();
        let mut desk = Fake { length: 16 << 20, ..Fake::default() };
        client.write_all(&requests(100)).unwrap();
        while session.turn(&mut desk).unwrap() == Next::Turn {}
        let most = desk.answered;
        assert!((4..10).contains(&most), "{most} answers of 16 MiB");
        assert_eq!(session.turn(&mut desk).unwrap(), Next::Wait);
        assert_eq!(desk.answered, most);
        // It reads some: the rest is under way again, without a word from the client.
        let mut chunk = vec![0; 1 << 20];
        while desk.answered == most {
            let _ = client.read(&mut chunk);
            session.turn(&mut desk).unwrap();
        }
    }

    #[test]
    fn a_client_that_may_not_command_is_told_so_and_let_go() {
        // Before it asks anything, and after.
        for asked in [0, 100] {
            let (session, mut client) = pair();
            client.write_all(&requests(asked)).unwrap();
            refuse(session.stream).unwrap();
            let mut bytes = vec![0; 64];
            let length = client.read(&mut bytes).unwrap();
            assert_eq!(decode::<Answer>(&bytes[..length]).unwrap(), Some((Err(Errno::EPERM), length)));
            assert_ne!(client.read(&mut bytes).map_err(|error| error.kind()), Err(io::ErrorKind::WouldBlock));
        }
    }
}
