//! What can go wrong with a real server's set-up.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use super::shortcut::ShortcutError;

/// Why a real server could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum RealServerError {
    #[error("`ulvs realserver' already runs in this network namespace; end that one first")]
    AlreadyRuns,
    #[error("Permission denied (you must be root): {0}")]
    NotPermitted(String),
    #[error("there is no link {0}; `ip link' shows those that are")]
    NoLink(String),
    #[error("link {0} exists, and another program's TUN device is behind it; choose another name with --device")]
    DeviceTaken(String),
    #[error("no link with an address was found to receive tunnels on; name one with --interface")]
    NoInterface,
    #[error("frames of link {0} are of a kind that is not known; name other links with --interface")]
    UnknownFrames(String),
    #[error("a GUE tunnel needs the UDP port that ipvsadm's --tun-port names; give --gue-port")]
    NoGuePort,
    #[error("there is no /dev/net/tun here, which user space needs to take tunnels apart: `modprobe tun' makes it")]
    NoTun,
    #[error("the kernel takes no tunnels apart here: {0}; --decapsulate user has user space do it")]
    Shortcut(#[from] ShortcutError),
    #[error("the TUN device {name} could not be made: {source}")]
    Device { name: String, source: tun::Error },
    #[error("{address} could not be put on {link}: {source}")]
    Address { address: IpAddr, link: String, source: io::Error },
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path} is not a record of changes: {source}; remove it when you have undone them")]
    Journal { path: PathBuf, source: serde_json::Error },
    #[error("{what}: {source}")]
    Io { what: &'static str, source: io::Error },
}

impl RealServerError {
    /// For `map_err`: an I/O error with what was being done.
    pub(super) fn io(what: &'static str) -> impl FnOnce(io::Error) -> RealServerError {
        move |source| match source.kind() {
            io::ErrorKind::PermissionDenied => RealServerError::NotPermitted(what.to_owned()),
            _ => RealServerError::Io { what, source },
        }
    }

    /// For `map_err`: an I/O error with the file.
    pub(super) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> RealServerError {
        let path = path.into();
        move |source| match source.kind() {
            io::ErrorKind::PermissionDenied => RealServerError::NotPermitted(path.display().to_string()),
            _ => RealServerError::File { path, source },
        }
    }
}
