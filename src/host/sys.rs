//! The system calls of the host layer that no crate of ours wraps, one small function each.
//!
//! Sockets come from `socket2` and `netlink-sys`; what is left is a single call.

use std::io;

/// Moves the calling thread, and only it, into a new, empty network namespace.
///
/// The namespace goes with the last thread, socket or process that is in it.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN; `EINVAL` where the kernel has no network namespaces.
pub fn enter_new_network_namespace() -> io::Result<()> {
    // SAFETY: unshare takes no pointer; with CLONE_NEWNET alone it replaces the calling thread's
    // reference to its network namespace and nothing that Rust code holds.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
