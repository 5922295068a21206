//! What can go wrong when a port is opened.

use std::io;

use thiserror::Error;

/// A port that could not be opened.
#[derive(Debug, Error)]
pub enum PortError {
    /// The packet socket needs CAP_NET_RAW.
    #[error("opening a packet socket on {link} is not permitted: run with CAP_NET_RAW")]
    NotPermitted { link: String, source: io::Error },
    /// The interface is not there.
    #[error("interface {link} does not exist (any more)")]
    NoInterface { link: String, source: io::Error },
    /// The interface is there but its frames have no Ethernet header.
    #[error("interface {link} is not Ethernet (hardware type {hardware}); reach its traffic over a TUN device instead")]
    NotEthernet { link: String, hardware: u16 },
    /// The ring is larger than the kernel can describe.
    #[error("a ring of {slots} slots of {slot_size} bytes on {link} is too large; ask for fewer than 4 GiB in all")]
    RingTooLarge { link: String, slots: usize, slot_size: usize },
    /// The kernel has no memory for the ring.
    #[error("no memory for the receive ring on {link}; ask for fewer slots")]
    NoMemory { link: String, source: io::Error },
    /// The socket would not join its fanout group.
    #[error("joining the fanout group on {link} failed; a group's sockets must share interface and program kind")]
    Fanout { link: String, source: io::Error },
    /// Loading programs and opening AF_XDP sockets needs more than packet sockets do.
    #[error("AF_XDP on {link} is not permitted: it takes CAP_BPF and CAP_NET_ADMIN besides CAP_NET_RAW")]
    XdpNotPermitted { link: String, source: io::Error },
    /// The kernel was built without it.
    #[error("this kernel has no AF_XDP (CONFIG_BPF_SYSCALL, CONFIG_XDP_SOCKETS)")]
    XdpMissing { link: String, source: io::Error },
    /// The kernel cannot attach a program so that it goes with the process.
    #[error("this kernel attaches no XDP program to {link} by a BPF link; Linux 5.9 and later do")]
    XdpLinks { link: String, source: io::Error },
    /// Another program is there already.
    #[error(
        "another XDP program is attached to {link}; detach it (`ip link set {link} xdpgeneric off`) and start again"
    )]
    XdpOccupied { link: String, source: io::Error },
    /// The memory that frames lie in is locked, and there may be only so much of it.
    #[error("the memory for AF_XDP on {link} exceeds what may be locked; raise `ulimit -l` or give CAP_IPC_LOCK")]
    XdpLockedMemory { link: String, source: io::Error },
    /// A socket is bound to the queue, or one was until just now.
    #[error("a queue of {link} belongs to another AF_XDP socket")]
    XdpBusy { link: String, source: io::Error },
    /// Programs at a link's way out need more than packet sockets do.
    #[error(
        "telling the kernel of outer headers is not permitted: it takes CAP_BPF and CAP_NET_ADMIN besides CAP_NET_RAW"
    )]
    TunnelsNotPermitted { source: io::Error },
    /// The kernel has no such programs.
    #[error(
        "this kernel has no place for a program on {link}'s way out; Linux 6.6 and later have (TCX, CONFIG_NET_XGRESS)"
    )]
    TunnelsMissing { link: String, source: io::Error },
    /// What stands behind the port sends bare packets, or is no link at all.
    #[error("the port is not one of an Ethernet link")]
    TunnelsElsewhere,
    /// The TUN device needs CAP_NET_ADMIN and the device node.
    #[error("opening TUN device {link} is not permitted: run with CAP_NET_ADMIN and access to /dev/net/tun")]
    TunNotPermitted { link: String, source: io::Error },
    /// Setting the device up failed.
    #[error("configuring TUN device {link} failed")]
    TunConfiguration { link: String, source: tun::Error },
    /// Any other step that failed.
    #[error("{step} on {link} failed")]
    Step { step: &'static str, link: String, source: io::Error },
}

impl From<PortError> for io::Error {
    /// Of the kind that says whether it is a matter of privileges.
    fn from(error: PortError) -> io::Error {
        let kind = match error {
            PortError::NotPermitted { .. }
            | PortError::XdpNotPermitted { .. }
            | PortError::TunnelsNotPermitted { .. }
            | PortError::TunNotPermitted { .. } => io::ErrorKind::PermissionDenied,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_permitted_is_known_as_such() {
        let kind = |error: PortError| io::Error::from(error).kind();
        let source = || io::Error::from_raw_os_error(libc::EPERM);
        let link = || "eth0".to_owned();
        assert_eq!(kind(PortError::NotPermitted { link: link(), source: source() }), io::ErrorKind::PermissionDenied);
        assert_eq!(
            kind(PortError::TunNotPermitted { link: link(), source: source() }),
            io::ErrorKind::PermissionDenied
        );
        assert_eq!(kind(PortError::Fanout { link: link(), source: source() }), io::ErrorKind::Other);
    }
}
