//! Errors of the control interface, as the kernel's numbers: what ipvsadm turns into messages.

use serde::{Deserialize, Serialize};

/// Why a command was refused. The variants are the errnos that ip_vs itself can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum Errno {
    /// operation not permitted
    #[error("operation not permitted")]
    EPERM,
    /// no such scheduler, persistence engine or destination
    #[error("no such entry")]
    ENOENT,
    /// no such service, no daemon is running
    #[error("no such service")]
    ESRCH,
    /// out of memory, or a limit of ours was reached
    #[error("out of memory")]
    ENOMEM,
    /// service, destination or daemon exists already
    #[error("already exists")]
    EEXIST,
    /// no such network interface
    #[error("no such device")]
    ENODEV,
    /// a value is not acceptable
    #[error("invalid argument")]
    EINVAL,
    /// a number is out of range
    #[error("numerical result out of range")]
    ERANGE,
    /// the director does not know the operation
    #[error("protocol not available")]
    ENOPROTOOPT,
    /// not supported with IPv6
    #[error("operation not supported")]
    EOPNOTSUPP,
    /// address family not supported
    #[error("address family not supported")]
    EAFNOSUPPORT,
    /// the port of a synchronisation daemon is taken
    #[error("address already in use")]
    EADDRINUSE,
    /// a synchronisation daemon's interface lost its address
    #[error("address not available")]
    EADDRNOTAVAIL,
    /// message too long
    #[error("message too long")]
    EMSGSIZE,
}

impl Errno {
    /// The positive number Linux uses.
    pub fn number(self) -> i32 {
        match self {
            Errno::EPERM => libc::EPERM,
            Errno::ENOENT => libc::ENOENT,
            Errno::ESRCH => libc::ESRCH,
            Errno::ENOMEM => libc::ENOMEM,
            Errno::EEXIST => libc::EEXIST,
            Errno::ENODEV => libc::ENODEV,
            Errno::EINVAL => libc::EINVAL,
            Errno::ERANGE => libc::ERANGE,
            Errno::ENOPROTOOPT => libc::ENOPROTOOPT,
            Errno::EOPNOTSUPP => libc::EOPNOTSUPP,
            Errno::EAFNOSUPPORT => libc::EAFNOSUPPORT,
            Errno::EADDRINUSE => libc::EADDRINUSE,
            Errno::EADDRNOTAVAIL => libc::EADDRNOTAVAIL,
            Errno::EMSGSIZE => libc::EMSGSIZE,
        }
    }
}
