//! The sockets of connection synchronisation: plain UDP, from and to a multicast group.
//!
//! A master sends from the interface's own address, without hearing itself; a backup joins the
//! group on its interface. What is sent and what is made of it is decided elsewhere. Binding to
//! the interface needs no privilege since Linux 5.7, and CAP_NET_RAW before.

mod receiver;
mod sender;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;

pub use receiver::Receiver;
pub use sender::Sender;

/// The interface that a daemon uses.
#[derive(Clone, Debug)]
pub struct Interface {
    pub name: String,
    pub index: u32,
    /// Its first IPv4 address that is good beyond the link, or else its first one.
    pub address: Option<Ipv4Addr>,
}

impl Interface {
    /// # Errors
    /// There is no such interface, or the kernel does not tell.
    pub fn find(name: &str) -> io::Result<Interface> {
        let index = if_nametoindex(name)?;
        // An address may have a label, which the kernel gives in the place of the interface's name.
        let is_its =
            |label: &str| label.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'));
        let addresses: Vec<Ipv4Addr> = getifaddrs()?
            .filter(|entry| is_its(&entry.interface_name))
            .filter_map(|entry| Some(entry.address?.as_sockaddr_in()?.ip()))
            .collect();
        let address = addresses.iter().find(|address| !address.is_link_local()).or(addresses.first());
        Ok(Interface { name: name.to_owned(), index, address: address.copied() })
    }

    /// A port of a group as it is reached by this interface.
    fn place(&self, group: IpAddr, port: u16) -> SocketAddr {
        match group {
            IpAddr::V4(group) => SocketAddrV4::new(group, port).into(),
            IpAddr::V6(group) => SocketAddrV6::new(group, port, 0, self.index).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::table::{DaemonConfig, DaemonRole};

    fn config(role: DaemonRole, group: &str, port: u16) -> DaemonConfig {
        let config = DaemonConfig {
            role,
            interface: "lo".into(),
            sync_id: 0,
            maximum_length: 0,
            group: Some(group.parse().unwrap()),
            port,
            ttl: 1,
        };
        config.complete(1500).unwrap()
    }

    /// Over the loopback interface a sender is heard only by others; so the kernel's loop, which
    /// is off here, must be on for a test in one machine.
    #[test]
    fn a_message_reaches_its_group_and_port_alone() {
        let lo = Interface::find("lo").unwrap();
        for group in ["224.0.0.81", "ff01::51"] {
            let backup = config(DaemonRole::Backup, group, 28848);
            let Ok(receiver) = Receiver::open(&backup, backup.port, &lo, 0) else {
                eprintln!("not run: no group can be joined on lo here");
                return;
            };
            let master = config(DaemonRole::Master, group, 28848);
            let Ok(sender) = Sender::open(&master, master.port, &lo, 0) else {
                eprintln!("not run: lo has no way to {group} here");
                continue;
            };
            sender.set_loop(group.parse().unwrap(), true).unwrap();
            let other = Sender::open(&master, master.port + 1, &lo, 0).unwrap();
            other.set_loop(group.parse().unwrap(), true).unwrap();
            if sender.send(b"message").is_err() {
                eprintln!("not run: lo takes no packets to {group} here");
                continue;
            }
            other.send(b"to another port").unwrap();
            let mut buffer = [0; 64];
            receiver.wait(Duration::from_secs(5)).unwrap();
            assert_eq!(receiver.receive(&mut buffer).unwrap(), Some(7));
            assert_eq!(&buffer[..7], b"message");
            assert_eq!(receiver.receive(&mut buffer).unwrap(), None);
        }
    }

    #[test]
    fn an_interface_that_is_not_there() {
        assert!(Interface::find("nosuch0").is_err());
    }
}
