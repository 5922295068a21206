//! The tunnel's inner end: a TUN device that takes inner packets with what is unfinished in them.
//!
//! It is called `tunl0` as the kernel's is, so that scripts written for that find it, and is gone
//! when its owner is, however that ended.

use std::fs;
use std::io;

use tun::{AbstractDevice, Configuration};

use super::error::RealServerError;

/// What the kernel's tunl0 has on Ethernet: 1500 less an IPv4 header.
const MTU: u16 = 1480;

/// A TUN device of our own.
pub struct Device {
    tun: tun::Device,
    name: String,
}

impl Device {
    /// Makes the device, still down, and keeps it from speaking by itself.
    ///
    /// # Errors
    /// [`RealServerError::NotPermitted`] without CAP_NET_ADMIN or /dev/net/tun.
    pub fn create(name: &str) -> Result<Device, RealServerError> {
        let mut configuration = Configuration::default();
        configuration.tun_name(name).mtu(MTU);
        configuration.platform_config(|platform| {
            platform.vnet_hdr(true);
        });
        let tun = tun::create(&configuration).map_err(|source| refused(name, source))?;
        tun.set_nonblock().map_err(RealServerError::io("the TUN device"))?;
        let name = tun.tun_name().map_err(|source| refused(name, source))?;
        for (setting, value) in [("addr_gen_mode", "1"), ("disable_ipv6", "0"), ("accept_dad", "0")] {
            // A kernel without IPv6 has none of them, and needs none.
            let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{name}/{setting}"), value);
        }
        Ok(Device { tun, name })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Hands one packet, a virtio-net header before it, to the kernel as received.
    ///
    /// # Errors
    /// The kernel's, for this packet.
    pub fn write(&self, packet: &[u8]) -> io::Result<()> {
        self.tun.send(packet).map(drop)
    }
}

fn refused(name: &str, source: tun::Error) -> RealServerError {
    match &source {
        tun::Error::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            RealServerError::NotPermitted(format!("making the TUN device {name} with /dev/net/tun"))
        }
        tun::Error::Io(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            RealServerError::DeviceTaken(name.to_owned())
        }
        tun::Error::Io(error) if matches!(error.kind(), io::ErrorKind::NotFound) => RealServerError::NoTun,
        _ => RealServerError::Device { name: name.to_owned(), source },
    }
}
