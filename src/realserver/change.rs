//! What is changed on a real server, and how it is undone.
//!
//! A change says what it found, so that undoing restores exactly that, and only if nobody else has
//! changed it since.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::RealServerError;
use super::netlink::Netlink;
use crate::base::Prefix;

/// One change of this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// An address on a link.
    Address { link: String, prefix: Prefix },
    /// A file below /proc/sys.
    Setting { name: String, before: String, after: String },
    /// A link that was down.
    Up { link: String },
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// It was already so (or, in undoing, is no longer so): somebody else's affair.
    AlreadySo,
}

impl Change {
    /// The change in the words of an operator.
    pub fn describe(&self) -> String {
        match self {
            Change::Address { link, prefix } => format!("ip addr add {prefix} dev {link}"),
            Change::Setting { name, before, after } => {
                format!("sysctl -w {}={after} (was {before})", name.replace('/', "."))
            }
            Change::Up { link } => format!("ip link set {link} up"),
        }
    }

    /// Makes the change.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn apply(&self, netlink: &mut Netlink) -> Result<Outcome, RealServerError> {
        match self {
            Change::Address { link, prefix } => {
                let index = index_of(netlink, link)?;
                match netlink.add_address(index, *prefix) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Outcome::AlreadySo),
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        Err(RealServerError::NotPermitted("changing addresses".to_owned()))
                    }
                    Err(source) => {
                        Err(RealServerError::Address { address: prefix.address, link: link.clone(), source })
                    }
                    Ok(()) => Ok(Outcome::Done),
                }
            }
            Change::Setting { name, after, .. } => write_setting(name, after).map(|()| Outcome::Done),
            Change::Up { link } => {
                let index = index_of(netlink, link)?;
                netlink.set_up(index, true).map_err(RealServerError::io("setting a link up"))?;
                Ok(Outcome::Done)
            }
        }
    }

    /// Takes the change back. What went away with its link needs no taking back.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn undo(&self, netlink: &mut Netlink) -> Result<Outcome, RealServerError> {
        match self.try_undo(netlink) {
            Err(RealServerError::NoLink(_)) => Ok(Outcome::Done),
            other => other,
        }
    }

    fn try_undo(&self, netlink: &mut Netlink) -> Result<Outcome, RealServerError> {
        match self {
            Change::Address { link, prefix } => {
                let index = index_of(netlink, link)?;
                match netlink.delete_address(index, *prefix) {
                    Ok(()) => Ok(Outcome::Done),
                    Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Ok(Outcome::AlreadySo),
                    Err(source) => {
                        Err(RealServerError::Address { address: prefix.address, link: link.clone(), source })
                    }
                }
            }
            Change::Setting { name, before, after } => match read_setting(name) {
                Some(now) if now == *after => write_setting(name, before).map(|()| Outcome::Done),
                Some(_) => Ok(Outcome::AlreadySo),
                None => Ok(Outcome::Done),
            },
            Change::Up { link } => {
                let index = index_of(netlink, link)?;
                netlink.set_up(index, false).map_err(RealServerError::io("setting a link down"))?;
                Ok(Outcome::Done)
            }
        }
    }
}

/// The value of a setting below /proc/sys; `None` where there is no such setting.
pub fn read_setting(name: &str) -> Option<String> {
    fs::read_to_string(setting_path(name)).ok().map(|value| value.trim().to_owned())
}

fn write_setting(name: &str, value: &str) -> Result<(), RealServerError> {
    let path = setting_path(name);
    fs::write(&path, value).map_err(RealServerError::file(path))
}

fn setting_path(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name)
}

fn index_of(netlink: &mut Netlink, name: &str) -> Result<u32, RealServerError> {
    let links = netlink.links().map_err(RealServerError::io("reading the links"))?;
    links
        .iter()
        .find(|link| link.name == name)
        .map(|link| link.index)
        .ok_or_else(|| RealServerError::NoLink(name.to_owned()))
}
