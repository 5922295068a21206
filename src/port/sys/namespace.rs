//! Network namespaces for tests: a thread moves into a fresh one, which goes when the thread ends.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Moves this thread into a network namespace of its own.
pub fn enter_new() -> io::Result<()> {
    // SAFETY: changes only which namespace this thread's later system calls see.
    match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The namespace this thread is in.
pub fn current() -> io::Result<File> {
    File::open("/proc/thread-self/ns/net")
}

/// Moves this thread into `namespace`.
pub fn enter(namespace: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for the length of the call; no memory is involved.
    match unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
