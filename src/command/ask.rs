//! Asking the director of this network namespace.

use std::io;

use crate::control::message::{Access, Reply, Request};
use crate::control::socket::Client;
use crate::table::Errno;

/// Asks, and turns refusals into sentences.
///
/// # Errors
/// No director runs, this user may not command it, or it refused.
pub fn ask(request: Request) -> io::Result<Reply> {
    ask_through(&mut connect()?, request)
}

/// Connects to the director.
///
/// # Errors
/// No director runs.
pub fn connect() -> io::Result<Client> {
    Client::connect().map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
            io::Error::new(error.kind(), "no director runs in this network namespace; start one with `ulvs run`")
        }
        _ => error,
    })
}

/// As [`ask`], over a connection that is there.
///
/// # Errors
/// As [`ask`].
pub fn ask_through(client: &mut Client, request: Request) -> io::Result<Reply> {
    client.ask(request)?.map_err(refused)
}

/// A refusal as a sentence.
pub fn refused(errno: Errno) -> io::Error {
    match errno {
        Errno::EPERM => io::Error::new(
            io::ErrorKind::PermissionDenied,
            "only root, or the user that the director runs as, may command it",
        ),
        errno => io::Error::other(errno),
    }
}
