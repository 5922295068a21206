//! Running as ipvsadm, ipvsadm-save or ipvsadm-restore.

use std::ffi::OsString;
use std::io::{self, Read, StdinLock};
use std::os::fd::AsFd;
use std::process::ExitCode;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::control::message::{Access, Request};
use crate::control::socket::Client;
use crate::ipvsadm::{self, ConnectError, Io, Program, SystemNames};
use crate::run;
use crate::table::Errno;

/// Set to 0, no director is started where none runs; with anything else, or unset, one is.
const AUTOSTART: &str = "ULVS_AUTOSTART";

/// Runs a program of the ipvsadm package.
pub fn run(program: Program, called_as: OsString, arguments: Vec<OsString>) -> ExitCode {
    let words: Vec<OsString> = std::iter::once(called_as).chain(arguments).collect();
    let mut input = Eager(io::stdin().lock());
    let mut io = Io { input: &mut input, output: &mut io::stdout(), errors: &mut io::stderr() };
    ExitCode::from(ipvsadm::run(program, &words, &mut io, &mut SystemNames::default(), &mut connect))
}

/// The standard input. A read waits for something, and then takes all that is there already: a pipe hands over little at
/// a time, and what is read at once is carried out at once.
struct Eager(StdinLock<'static>);

impl Eager {
    fn has_more(&self) -> bool {
        let mut input = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        poll(&mut input, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}

impl Read for Eager {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut length = 0;
        while length < buffer.len() && (length == 0 || self.has_more()) {
            match self.0.read(&mut buffer[length..]) {
                Ok(0) => break,
                Ok(more) => length += more,
                // What was read comes first; an error that lasts comes again.
                Err(_) if length > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(length)
    }
}

/// Connects to this namespace's director, and starts one where none runs.
fn connect() -> Result<Box<dyn Access>, ConnectError> {
    let client = match Client::connect() {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            let autostart = std::env::var(AUTOSTART).map_or(true, |value| value != "0");
            if !autostart {
                let hint = "no director runs in this network namespace; start one with `ulvs run`".to_owned();
                return Err(ConnectError::NoDirector { hint });
            }
            run::ensure().map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied => ConnectError::NotPermitted { hint: Some(error.to_string()) },
                _ => ConnectError::NoDirector { hint: error.to_string() },
            })?;
            Client::connect()
        }
        outcome => outcome,
    };
    let mut client = client.map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => ConnectError::NotPermitted { hint: None },
        _ => ConnectError::Broken(error),
    })?;
    match client.ask(Request::Info) {
        Ok(Err(Errno::EPERM)) => Err(ConnectError::NotPermitted { hint: None }),
        Ok(_) => Ok(Box::new(client)),
        Err(error) => Err(ConnectError::Broken(error)),
    }
}
