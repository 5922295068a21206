//! A master's socket for one port.

use std::io;
use std::net::IpAddr;

use socket2::{Domain, Protocol, Socket, Type};

use crate::table::DaemonConfig;

use super::Interface;

/// A connected socket that never waits.
#[derive(Debug)]
pub struct Sender {
    socket: Socket,
}

impl Sender {
    /// A socket for messages to this port of the daemon's group; `buffer` bytes of send buffer,
    /// or as many as usual for 0.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn open(config: &DaemonConfig, port: u16, interface: &Interface, buffer: usize) -> io::Result<Sender> {
        let group = config.group.ok_or(io::ErrorKind::InvalidInput)?;
        let domain = if group.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
        socket.bind_device(Some(interface.name.as_bytes()))?;
        if buffer > 0 {
            socket.set_send_buffer_size(buffer)?;
        }
        match group {
            IpAddr::V4(_) => {
                if let Some(address) = interface.address {
                    socket.set_multicast_if_v4(&address)?;
                    socket.bind(&std::net::SocketAddr::from((address, 0)).into())?;
                }
                socket.set_multicast_ttl_v4(config.ttl.into())?;
            }
            IpAddr::V6(_) => {
                socket.set_multicast_if_v6(interface.index)?;
                socket.set_multicast_hops_v6(config.ttl.into())?;
            }
        }
        let sender = Sender { socket };
        sender.set_loop(group, false)?;
        sender.socket.connect(&interface.place(group, port).into())?;
        Ok(sender)
    }

    pub(super) fn set_loop(&self, group: IpAddr, on: bool) -> io::Result<()> {
        match group {
            IpAddr::V4(_) => self.socket.set_multicast_loop_v4(on),
            IpAddr::V6(_) => self.socket.set_multicast_loop_v6(on),
        }
    }

    /// Sends one message.
    ///
    /// # Errors
    /// `WouldBlock` where it may be tried again in a while; with any other error the message is lost.
    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        loop {
            match self.socket.send(message) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
