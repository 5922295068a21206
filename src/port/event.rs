//! What happens to a port's link.

use std::io;

use super::counters::PortDrop;

/// What became of a link; reported once, and again only after frames have passed in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortEvent {
    /// The link is down. The port resumes by itself when it comes up again.
    Down,
    /// The link was deleted. The port is dead; put a new one in its place when the link is back.
    Gone,
}

/// What a system call's error means for the frame, and for those that wait behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub reason: PortDrop,
    pub scope: Scope,
}

/// How far a failure reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Frame,
    /// Every other frame would meet the same until something else has changed.
    Link,
}

impl Failure {
    /// Sorts an error of sendmmsg(2) or write(2).
    pub fn of(error: &io::Error) -> Failure {
        let (reason, scope) = match error.raw_os_error() {
            // The socket's send buffer is full, whatever the length of the next frame.
            Some(libc::EAGAIN) => (PortDrop::QueueFull, Scope::Link),
            // A queueing discipline dropped this one; it may have room for the next.
            Some(libc::ENOBUFS | libc::ENOMEM) => (PortDrop::QueueFull, Scope::Frame),
            Some(libc::EMSGSIZE) => (PortDrop::TooLong, Scope::Frame),
            // EIO is what a TUN device that is down answers.
            Some(libc::ENETDOWN | libc::EIO) => (PortDrop::LinkDown, Scope::Link),
            // EBADFD is what a deleted TUN device answers.
            Some(libc::ENXIO | libc::ENODEV | libc::EBADFD) => (PortDrop::LinkGone, Scope::Link),
            _ => (PortDrop::Refused, Scope::Frame),
        };
        Failure { reason, scope }
    }

    /// The event that this failure is the first sign of.
    pub fn event(self) -> Option<PortEvent> {
        match self.reason {
            PortDrop::LinkDown => Some(PortEvent::Down),
            PortDrop::LinkGone => Some(PortEvent::Gone),
            _ => None,
        }
    }
}
