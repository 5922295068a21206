//! Carries out command lines: one from the arguments, or with `-R` one after the other.
//!
//! While restoring, changes are collected and handed to the director many at a time, but none waits
//! for input that is yet to come; everything that prints waits until those before it are made, so
//! that messages come out in order.

use std::io::{Read, Write};
use std::ops::ControlFlow;

use super::command::{Command, LineError};
use super::connections;
use super::director::{Director, Failure};
use super::messages::VERSION;
use super::names::Names;
use super::restore::{Comments, Lines};
use super::{exit, help, save};
use crate::control::message::{DaemonConfig, DaemonRole, Request};

/// How many changes are handed to the director at once.
const CHANGES_AT_ONCE: usize = 4096;

/// How a line ended: with a status others may follow, or with the status of the whole run.
pub type Outcome = ControlFlow<u8, u8>;

/// One run of the program against one director.
pub struct Session<'a> {
    pub called_as: &'a str,
    pub director: Director<'a>,
    pub names: &'a mut dyn Names,
    pub out: &'a mut dyn Write,
    pub errors: &'a mut dyn Write,
}

impl Session<'_> {
    /// Carries out the command line of the program's arguments and returns the exit status.
    pub fn run(mut self, words: &[String], input: &mut dyn Read, comments: Comments) -> u8 {
        let outcome = match Command::read(words, self.names) {
            Ok(Command::Restore) => self.restore(Lines::new(input, comments)),
            Ok(Command::Change(request)) => self.change(vec![request]),
            Ok(command) => self.show(command),
            Err(error) => self.complain(&error),
        };
        let (ControlFlow::Continue(status) | ControlFlow::Break(status)) = outcome;
        match self.out.flush() {
            Err(error) if status == exit::DONE => self.finish(Err(error.into())),
            // A run that failed has said why.
            _ => status,
        }
    }

    /// Carries out `lines`. The status is that of the last line, or of the one that ended the run.
    fn restore(&mut self, mut lines: Lines<impl Read>) -> Outcome {
        let mut changes = Vec::with_capacity(CHANGES_AT_ONCE);
        let mut status = exit::DONE;
        loop {
            if !lines.has_line() {
                if !changes.is_empty() {
                    status = self.change(std::mem::take(&mut changes))?;
                }
                // Where this fails, the end of the run says so.
                let _ = self.out.flush();
            }
            let command = match lines.next_line() {
                Ok(Some(words)) => Command::read(&words, self.names),
                Ok(None) => break,
                Err(error) => {
                    self.change(changes)?;
                    let _ = writeln!(self.errors, "Cannot read the standard input: {error}");
                    return ControlFlow::Break(exit::FAILED);
                }
            };
            if let Ok(Command::Change(request)) = command {
                changes.push(request);
                if changes.len() == CHANGES_AT_ONCE {
                    status = self.change(std::mem::take(&mut changes))?;
                }
                continue;
            }
            self.change(std::mem::take(&mut changes))?;
            status = match command {
                // Restoring within restoring is refused as if it were no command.
                Ok(Command::Restore) => self.complain(&LineError::NoCommand),
                Ok(command) => self.show(command),
                Err(error) => self.complain(&error),
            }?;
        }
        match changes.is_empty() {
            true => ControlFlow::Continue(status),
            false => self.change(changes),
        }
    }

    /// Makes changes. The status is that of the last one; a broken way ends the run.
    fn change(&mut self, changes: Vec<Request>) -> Outcome {
        if changes.is_empty() {
            return ControlFlow::Continue(exit::DONE);
        }
        let outcomes = match self.director.change(changes) {
            Ok(outcomes) => outcomes,
            Err(failure) => {
                let _ = writeln!(self.errors, "{failure}");
                return ControlFlow::Break(exit::REFUSED);
            }
        };
        let mut status = exit::DONE;
        for outcome in outcomes {
            status = match outcome {
                Ok(()) => exit::DONE,
                Err(failure) => {
                    let _ = writeln!(self.errors, "{failure}");
                    exit::REFUSED
                }
            };
        }
        ControlFlow::Continue(status)
    }

    /// Prints what a command asks for; help and version end the run.
    fn show(&mut self, command: Command) -> Outcome {
        let (director, names) = (&mut self.director, &mut *self.names);
        let result = match command {
            Command::Help => {
                let printed = write!(self.out, "{}", help::text(self.called_as));
                return ControlFlow::Break(self.finish(printed.map_err(Failure::from)));
            }
            Command::Version => {
                let printed = writeln!(self.out, "{VERSION}");
                return ControlFlow::Break(self.finish(printed.map_err(Failure::from)));
            }
            Command::List(listing) => listing.print(director, names, self.out),
            Command::ListConnections { naming, engine_data } => {
                connections::print(naming, engine_data, director, names, self.out)
            }
            Command::Save { naming } => save::print(naming, director, names, self.out),
            Command::ListTimeouts => match director.timeouts() {
                Ok(timeouts) => {
                    let (tcp, tcp_fin, udp) = (timeouts.tcp, timeouts.tcp_fin, timeouts.udp);
                    writeln!(self.out, "Timeout (tcp tcpfin udp): {tcp} {tcp_fin} {udp}").map_err(Failure::from)
                }
                // The original says nothing here.
                Err(Failure::Refused { .. }) => return ControlFlow::Break(exit::FAILED),
                Err(failure) => Err(failure),
            },
            Command::ListDaemons => match director.daemons() {
                Ok(daemons) => {
                    let lines: String = daemons.iter().map(daemon_line).collect();
                    write!(self.out, "{lines}").map_err(Failure::from)
                }
                Err(Failure::Refused { .. }) => return ControlFlow::Break(exit::FAILED),
                Err(failure) => Err(failure),
            },
            // Not for showing: the callers carry these out themselves.
            Command::Change(_) | Command::Restore => Ok(()),
        };
        match self.finish(result) {
            exit::DONE => ControlFlow::Continue(exit::DONE),
            status => ControlFlow::Break(status),
        }
    }

    /// The status of a command that prints, and its message where it failed.
    fn finish(&mut self, result: Result<(), Failure>) -> u8 {
        match result {
            Ok(()) => exit::DONE,
            // Whoever read the output went away and needs no message.
            Err(Failure::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => exit::BROKEN_PIPE,
            Err(failure) => {
                let _ = writeln!(self.errors, "{failure}");
                exit::FAILED
            }
        }
    }

    fn complain(&mut self, error: &LineError) -> Outcome {
        let name = self.called_as;
        let _ = match error {
            LineError::NoCommand => {
                writeln!(self.errors, "Try `{name} -h' or '{name} --help' for more information.")
            }
            error => writeln!(self.errors, "{error}"),
        };
        match error {
            LineError::NoCommand => ControlFlow::Break(exit::REFUSED),
            LineError::Option(_) => ControlFlow::Continue(exit::REFUSED),
            LineError::Complaint(_) => ControlFlow::Break(exit::WRONG),
        }
    }
}

fn daemon_line(daemon: &DaemonConfig) -> String {
    let role = match daemon.role {
        DaemonRole::Master => "master",
        DaemonRole::Backup => "backup",
    };
    let mut line = format!("{role} sync daemon (mcast={}, syncid={}", daemon.interface, daemon.sync_id);
    if daemon.maximum_length != 0 {
        line += &format!(", maxlen={}", daemon.maximum_length);
    }
    if let Some(group) = daemon.group {
        line += &format!(", group={group}");
    }
    if daemon.port != 0 {
        line += &format!(", port={}", daemon.port);
    }
    if daemon.ttl != 0 {
        line += &format!(", ttl={}", daemon.ttl);
    }
    line + ")\n"
}
