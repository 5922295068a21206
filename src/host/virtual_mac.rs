//! The Ethernet address that the director's own addresses have.
//!
//! Frames to it are another host's in the kernel's eyes, so its stack never touches them, and at
//! a take-over it moves with the addresses, so that no neighbour has to learn anything. By
//! default it is the one RFC 9568 section 7.3 sets aside for virtual router 1, a single one for both
//! families; `--vip-mac` sets any other.
//!
//! It works where a network carries frames for addresses that no interface announced: wires,
//! switches, bridges, veth pairs. A macvlan interface or a cloud's virtual network delivers
//! frames to known addresses only; there the guard, or forwarding switched off, has to do.

use std::fmt;
use std::str::FromStr;

use crate::base::Mac;

/// An address that can be the director's: of one interface, not of a group, not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VirtualMac(Mac);

/// Why an address cannot be the virtual MAC.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VirtualMacError {
    /// not an Ethernet address
    #[error("{0}")]
    NotAnAddress(String),
    /// every station's
    #[error(
        "`{0}' is the broadcast address, so every station would take the frames: use an address of one interface, such as 00:00:5e:00:01:01"
    )]
    Broadcast(Mac),
    /// a group's
    #[error(
        "`{0}' is a group's address (its first octet is odd): use an address of one interface, such as 00:00:5e:00:01:01"
    )]
    Group(Mac),
    /// all zero
    #[error("`{0}' is no interface's address: use one such as 00:00:5e:00:01:01")]
    Zero(Mac),
}

impl VirtualMac {
    pub fn mac(self) -> Mac {
        self.0
    }
}

impl TryFrom<Mac> for VirtualMac {
    type Error = VirtualMacError;

    fn try_from(mac: Mac) -> Result<VirtualMac, VirtualMacError> {
        match mac {
            Mac::BROADCAST => Err(VirtualMacError::Broadcast(mac)),
            _ if mac.is_multicast() => Err(VirtualMacError::Group(mac)),
            _ if mac == Mac::default() => Err(VirtualMacError::Zero(mac)),
            _ => Ok(VirtualMac(mac)),
        }
    }
}

impl FromStr for VirtualMac {
    type Err = VirtualMacError;

    /// Reads what `--vip-mac` was given.
    fn from_str(text: &str) -> Result<VirtualMac, VirtualMacError> {
        text.parse::<Mac>().map_err(VirtualMacError::NotAnAddress)?.try_into()
    }
}

impl fmt::Display for VirtualMac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unusable_address_is_refused_with_a_reason() {
        let refused = |text: &str| text.parse::<VirtualMac>().map_err(|error| error.to_string());
        assert_eq!(refused("02:AB:00:00:00:01").map(|mac| mac.to_string()), Ok("02:ab:00:00:00:01".into()));
        for (text, reason) in [
            ("ff:ff:ff:ff:ff:ff", "`ff:ff:ff:ff:ff:ff' is the broadcast address"),
            ("01:00:5e:00:00:12", "`01:00:5e:00:00:12' is a group's address"),
            ("33:33:00:00:00:01", "`33:33:00:00:00:01' is a group's address"),
            ("00:00:00:00:00:00", "`00:00:00:00:00:00' is no interface's address"),
            ("eth0", "`eth0' is not an Ethernet address"),
            ("02:00:00:00:00:00:01", "`02:00:00:00:00:00:01' has more than six"),
            ("", "`' is not"),
        ] {
            let error = refused(text).unwrap_err();
            assert!(error.starts_with(reason), "{error}");
        }
    }
}
