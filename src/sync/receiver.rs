//! A backup's socket for one port.

use std::io::{self, Read};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};

use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use crate::table::DaemonConfig;

use super::Interface;

/// A socket in the daemon's group that never waits.
#[derive(Debug)]
pub struct Receiver {
    socket: Socket,
}

impl Receiver {
    /// A socket for this port of the daemon's group; `buffer` bytes of receive buffer, or as many
    /// as usual for 0.
    ///
    /// # Errors
    /// What the kernel refuses: the port may be taken, or the interface know no groups.
    pub fn open(config: &DaemonConfig, port: u16, interface: &Interface, buffer: usize) -> io::Result<Receiver> {
        let group = config.group.ok_or(io::ErrorKind::InvalidInput)?;
        let domain = if group.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        if buffer > 0 {
            socket.set_recv_buffer_size(buffer)?;
        }
        socket.bind_device(Some(interface.name.as_bytes()))?;
        socket.bind(&interface.place(group, port).into())?;
        match group {
            IpAddr::V4(group) => {
                socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(interface.index))?;
            }
            IpAddr::V6(group) => socket.join_multicast_v6(&group, interface.index)?,
        }
        Ok(Receiver { socket })
    }

    /// Takes the next message, cut to the buffer's length; `None` when there is none.
    ///
    /// # Errors
    /// What the kernel reports of the socket.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match (&self.socket).read(buffer) {
                Ok(length) => return Ok(Some(length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until there is a message.
    #[cfg(test)]
    pub(super) fn wait(&self, longest: std::time::Duration) -> io::Result<()> {
        self.socket.set_nonblocking(false)?;
        self.socket.set_read_timeout(Some(longest))?;
        self.socket.peek(&mut [std::mem::MaybeUninit::uninit()])?;
        self.socket.set_nonblocking(true)?;
        Ok(())
    }
}

impl AsRawFd for Receiver {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
