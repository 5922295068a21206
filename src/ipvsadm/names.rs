//! Names for addresses and ports, and the other way round.
//!
//! ipvsadm prints names unless told `-n`, and takes them wherever an address or a port may
//! stand. Hosts are looked up by the system's resolver (`/etc/hosts`, DNS), services in
//! `/etc/services`, where each protocol has names of its own. A listing waits for the resolver
//! as long as that takes, as the original does, but asks it only once for each address.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use dns_lookup::{AddrFamily, AddrInfoHints, SockType, getaddrinfo, getnameinfo};

use crate::base::{Port, Protocol};

const SERVICES_FILE: &str = "/etc/services";

/// A source of names.
pub trait Names {
    /// The first IPv4 address of a host.
    fn address(&mut self, host: &str) -> Option<Ipv4Addr>;

    /// The name of the host with this address.
    fn host(&mut self, address: IpAddr) -> Option<String>;

    /// The port a service is at.
    fn port(&mut self, service: &str, protocol: Protocol) -> Option<Port>;

    /// The service that is at a port.
    fn service(&mut self, port: Port, protocol: Protocol) -> Option<String>;
}

/// The names this machine knows.
#[derive(Debug, Default)]
pub struct SystemNames {
    hosts: HashMap<IpAddr, Option<String>>,
    /// Read at the first question.
    services: Option<Services>,
}

impl SystemNames {
    pub fn new() -> SystemNames {
        SystemNames::default()
    }

    fn services(&mut self) -> &Services {
        // A machine without the file knows no service by name.
        self.services.get_or_insert_with(|| {
            let file = fs::read(SERVICES_FILE).unwrap_or_default();
            Services::read(&String::from_utf8_lossy(&file))
        })
    }
}

impl Names for SystemNames {
    fn address(&mut self, host: &str) -> Option<Ipv4Addr> {
        let hints = AddrInfoHints {
            address: AddrFamily::Inet.into(),
            socktype: SockType::Stream.into(),
            ..AddrInfoHints::default()
        };
        getaddrinfo(Some(host), None, Some(hints)).ok()?.flatten().find_map(|found| match found.sockaddr.ip() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
    }

    fn host(&mut self, address: IpAddr) -> Option<String> {
        let look_up = || getnameinfo(&SocketAddr::new(address, 0), libc::NI_NAMEREQD | libc::NI_NUMERICSERV);
        self.hosts.entry(address).or_insert_with(|| look_up().ok().map(|(host, _)| host)).clone()
    }

    fn port(&mut self, service: &str, protocol: Protocol) -> Option<Port> {
        self.services().port(service, protocol)
    }

    fn service(&mut self, port: Port, protocol: Protocol) -> Option<String> {
        self.services().name(port, protocol).map(str::to_owned)
    }
}

/// The services of a file in the format of `/etc/services` (`services(5)`).
#[derive(Debug, Default)]
pub struct Services(Vec<Service>);

#[derive(Debug)]
struct Service {
    /// The official name first, then its aliases.
    names: Vec<String>,
    port: Port,
    protocol: Protocol,
}

impl Services {
    /// Reads the file's `text`; lines that are not of the format are skipped.
    pub fn read(text: &str) -> Services {
        Services(text.lines().filter_map(Service::read).collect())
    }

    /// The port of the first service that has `name`, as its official one or as an alias.
    pub fn port(&self, name: &str, protocol: Protocol) -> Option<Port> {
        let mut known = self.0.iter().filter(|service| service.protocol == protocol);
        known.find(|service| service.names.iter().any(|known| known == name)).map(|service| service.port)
    }

    /// The official name of the first service at `port`.
    pub fn name(&self, port: Port, protocol: Protocol) -> Option<&str> {
        let mut known = self.0.iter().filter(|service| service.protocol == protocol);
        known.find(|service| service.port == port)?.names.first().map(String::as_str)
    }
}

impl Service {
    fn read(line: &str) -> Option<Service> {
        let mut words = line.split('#').next()?.split_whitespace();
        let name = words.next()?;
        let (port, protocol) = words.next()?.split_once('/')?;
        Some(Service {
            names: std::iter::once(name).chain(words).map(str::to_owned).collect(),
            port: Port(port.parse().ok()?),
            protocol: match protocol {
                "tcp" => Protocol::TCP,
                "udp" => Protocol::UDP,
                "sctp" => Protocol::SCTP,
                _ => return None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_have_names_and_aliases_by_protocol() {
        let services = Services::read(
            "# comment\nhttp 80/tcp www # WorldWideWeb\ndomain\t53/udp\nx 99999/tcp\ny 5\nz 6/dccp\nlate 80/tcp\nhttp 80/sctp",
        );
        assert_eq!(services.port("http", Protocol::TCP), Some(Port(80)));
        assert_eq!(services.port("www", Protocol::TCP), Some(Port(80)));
        assert_eq!(services.port("WWW", Protocol::TCP), None);
        assert_eq!(services.port("http", Protocol::UDP), None);
        assert_eq!(services.port("http", Protocol::SCTP), Some(Port(80)));
        assert_eq!(services.name(Port(80), Protocol::TCP), Some("http"));
        assert_eq!(services.name(Port(53), Protocol::UDP), Some("domain"));
        assert_eq!(services.name(Port(6), Protocol::TCP), None);
        assert_eq!(services.port("x", Protocol::TCP), None);
    }

    #[test]
    fn the_system_knows_its_own_loopback() {
        let mut names = SystemNames::new();
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(names.address("localhost"), Some(Ipv4Addr::LOCALHOST));
        assert_eq!(names.host(loopback), names.host(loopback));
    }
}
