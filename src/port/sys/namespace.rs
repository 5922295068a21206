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

/// Keeps this thread on the processor it runs on, so that what it sends over a veth pair arrives in order: each
/// processor has a queue of its own.
pub fn stay_on_processor() -> io::Result<()> {
    // SAFETY: takes nothing and touches no memory.
    let processor = unsafe { libc::sched_getcpu() };
    let processor = usize::try_from(processor).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: all-zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is ours; a number beyond it would be ignored.
    unsafe { libc::CPU_SET(processor, &mut set) };
    // SAFETY: pointer and length describe `set`, which is only read; 0 is this thread.
    match unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) } {
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
