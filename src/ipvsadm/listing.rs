//! The table of services and real servers, column by column as the original prints it.
//!
//! The first service line and its servers, by columns asked for:
//!
//! ```text
//! TCP  10.0.0.1:80 wrr persistent 300          plain, thresholds, persistent-conn, tun-info
//!   -> 10.0.0.2:80               Masq    1      0          0
//! TCP  10.0.0.1:80                   3        9        1      361       69      stats, rate
//! ```
//!
//! Where the original counts a server's connections and packets in 32 bits, so do we.

use std::fmt;
use std::io::Write;

use super::address::{Naming, cut};
use super::director::{Director, Failure};
use super::names::Names;
use super::numbers::{Counter, Precision};
use super::order;
use crate::base::{Family, Protocol};
use crate::control::message::{Counters, DestinationEntry, Info, SERVICES_AT_ONCE, ServiceEntry};
use crate::table::{ForwardingMethod, ServiceConfig, ServiceFlags, ServiceKey, Tunnel, TunnelChecksum, TunnelKind};

/// Room for an IPv4 service and its protocol; longer names are cut off.
const SERVICE_WIDTH: usize = 33;
/// Room for an IPv4 real server.
const SERVER_WIDTH: usize = 28;

/// What a listing shows of each service and real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    Plain,
    Stats,
    Rate,
    Thresholds,
    PersistentConnections,
    TunnelInfo,
}

/// The order of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sorting {
    Sorted,
    /// As the director has them.
    Unsorted,
}

/// What is to be listed, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listing {
    /// `None`: every service.
    pub service: Option<ServiceKey>,
    pub columns: Columns,
    pub precision: Precision,
    pub sorting: Sorting,
    pub naming: Naming,
}

impl Listing {
    /// Prints the listing.
    ///
    /// # Errors
    /// What the director refused; lines printed before stay.
    pub fn print(&self, director: &mut Director, names: &mut dyn Names, out: &mut dyn Write) -> Result<(), Failure> {
        let mut services = match self.service {
            Some(key) => vec![director.service(key)?],
            None => {
                writeln!(out, "{}", Heading(director.info()?))?;
                director.services()?
            }
        };
        self.titles(out)?;
        if self.sorting == Sorting::Sorted {
            order::sort_services(&mut services);
        }
        for services in services.chunks(SERVICES_AT_ONCE) {
            for (service, mut destinations) in services.iter().zip(director.destinations(services)?) {
                if self.sorting == Sorting::Sorted {
                    order::sort_destinations(&mut destinations);
                }
                writeln!(out, "{}", self.service_line(service, names))?;
                for destination in &destinations {
                    writeln!(out, "  -> {}", self.server_line(service, destination, names))?;
                }
            }
        }
        Ok(())
    }

    fn titles(&self, out: &mut dyn Write) -> Result<(), Failure> {
        const SERVICE: &str = "Prot LocalAddress:Port";
        const SERVER: &str = "  -> RemoteAddress:Port";
        match self.columns {
            Columns::Plain => {
                writeln!(out, "{SERVICE} Scheduler Flags")?;
                writeln!(out, "{SERVER:<33} Forward Weight ActiveConn InActConn")?;
            }
            Columns::TunnelInfo => {
                writeln!(out, "{SERVICE} Scheduler Flags")?;
                writeln!(out, "{SERVER:<33} Forward TunnelInfo    Weight ActiveConn InActConn")?;
            }
            Columns::Stats => {
                writeln!(out, "{SERVICE:<33}    Conns   InPkts  OutPkts  InBytes OutBytes")?;
                writeln!(out, "{SERVER}")?;
            }
            Columns::Rate => {
                writeln!(out, "{SERVICE:<33}      CPS    InPPS   OutPPS    InBPS   OutBPS")?;
                writeln!(out, "{SERVER}")?;
            }
            Columns::Thresholds => {
                writeln!(out, "{SERVICE:<33} Uthreshold Lthreshold ActiveConn InActConn ")?;
                writeln!(out, "{SERVER}")?;
            }
            Columns::PersistentConnections => {
                writeln!(out, "{SERVICE:<33} Weight    PersistConn ActiveConn InActConn ")?;
                writeln!(out, "{SERVER}")?;
            }
        }
        Ok(())
    }

    fn service_line(&self, service: &ServiceEntry, names: &mut dyn Names) -> String {
        let name = self.service_name(&service.key, names);
        let counters = match self.columns {
            Columns::Stats => totals(&service.counters),
            Columns::Rate => rates(&service.counters),
            _ => return format!("{name} {}", Settings { family: service.key.family(), config: &service.config }),
        };
        format!("{name:<SERVICE_WIDTH$}{}", self.counters(counters))
    }

    fn service_name(&self, key: &ServiceKey, names: &mut dyn Names) -> String {
        match *key {
            // Marks are printed as signed numbers.
            ServiceKey::Mark { family: Family::V4, mark } => format!("FWM  {}", mark as i32),
            ServiceKey::Mark { family: Family::V6, mark } => format!("FWM  {} IPv6", mark as i32),
            ServiceKey::Address { protocol, address, port } => {
                let name = self.naming.endpoint(address, port, Some(protocol), names);
                let name = format!("{:<4} {name}", protocol_name(protocol));
                match key.family() {
                    Family::V4 => cut(&name, SERVICE_WIDTH).to_owned(),
                    Family::V6 => name,
                }
            }
        }
    }

    fn server_line(&self, service: &ServiceEntry, server: &DestinationEntry, names: &mut dyn Names) -> String {
        let name = self.naming.endpoint(server.key.address, server.key.port, protocol(&service.key), names);
        let name = match Family::of(&server.key.address) {
            Family::V4 => cut(&name, SERVER_WIDTH),
            Family::V6 => &name,
        };
        let DestinationEntry { config, active, inactive, persistent, .. } = server;
        let values = match self.columns {
            Columns::Plain => {
                let forward = forward_name(config.method);
                format!(" {forward:<7} {:<6} {active:<10} {inactive:<10}", config.weight)
            }
            Columns::TunnelInfo => {
                let forward = forward_name(config.method);
                let tunnel = match config.method {
                    ForwardingMethod::Tunneling => tunnel_info(config.tunnel),
                    _ => "n/a".to_owned(),
                };
                format!(" {forward:<7} {tunnel:<13} {:<6} {active:<10} {inactive:<10}", config.weight)
            }
            Columns::Thresholds => {
                let (upper, lower) = (config.upper_threshold, config.lower_threshold);
                format!(" {upper:<10} {lower:<10} {active:<10} {inactive:<10}")
            }
            Columns::PersistentConnections => {
                format!(" {:<9} {persistent:<11} {active:<10} {inactive:<10}", config.weight)
            }
            Columns::Stats => {
                let [connections, in_packets, out_packets, in_bytes, out_bytes] = totals(&server.counters);
                let [connections, in_packets, out_packets] = [connections, in_packets, out_packets].map(low_half);
                self.counters([connections, in_packets, out_packets, in_bytes, out_bytes])
            }
            Columns::Rate => {
                let [connections, in_packets, out_packets, in_bytes, out_bytes] = rates(&server.counters).map(low_half);
                let bytes = [in_bytes, out_bytes].map(|value| self.counter(value));
                format!(" {connections:>8} {in_packets:>8} {out_packets:>8}{}{}", bytes[0], bytes[1])
            }
        };
        format!("{name:<SERVER_WIDTH$}{values}")
    }

    fn counter(&self, value: u64) -> Counter {
        Counter { value, precision: self.precision }
    }

    fn counters(&self, values: [u64; 5]) -> String {
        values.map(|value| self.counter(value).to_string()).concat()
    }
}

/// The first line of a listing of everything.
struct Heading(Info);

impl fmt::Display for Heading {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Info { version, connection_table_size } = self.0;
        write!(out, "IP Virtual Server version {} (size={connection_table_size})", Version(version))
    }
}

/// A version as the kernel packs it: 0x010201 is 1.2.1.
pub struct Version(pub u32);

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}.{}", (self.0 >> 16) & 0xff, (self.0 >> 8) & 0xff, self.0 & 0xff)
    }
}

/// What a service line says behind the address: scheduler, flags, persistence.
struct Settings<'a> {
    family: Family,
    config: &'a ServiceConfig,
}

impl fmt::Display for Settings<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = self.config;
        write!(out, "{}", config.scheduler)?;
        if let Some(flags) = scheduler_flags(config) {
            write!(out, " ({flags})")?;
        }
        if config.flags.has(ServiceFlags::PERSISTENT) {
            write!(out, " persistent {}", config.timeout)?;
            if let Some(mask) = netmask(self.family, config.netmask) {
                write!(out, " mask {mask}")?;
            }
            if let Some(engine) = &config.engine {
                write!(out, " pe {engine}")?;
            }
        }
        if config.flags.has(ServiceFlags::ONE_PACKET) {
            write!(out, " ops")?;
        }
        Ok(())
    }
}

/// The protocol whose names the ports of a service have; those of marks have none.
pub fn protocol(key: &ServiceKey) -> Option<Protocol> {
    match key {
        ServiceKey::Address { protocol, .. } => Some(*protocol),
        ServiceKey::Mark { .. } => None,
    }
}

/// The scheduler's flags by name, where any is set.
pub fn scheduler_flags(config: &ServiceConfig) -> Option<String> {
    const BITS: [u32; 3] = [ServiceFlags::SCHED_1, ServiceFlags::SCHED_2, ServiceFlags::SCHED_3];
    let names: &[&str] = match config.scheduler.as_str() {
        "sh" => &["sh-fallback", "sh-port"],
        "mh" => &["mh-fallback", "mh-port"],
        _ => &["flag-1", "flag-2", "flag-3"],
    };
    // The third bit has no name with sh and mh, and yet an (empty) list is printed for it.
    BITS.iter().any(|&bit| config.flags.has(bit)).then(|| {
        let set = BITS.iter().zip(names).filter(|(bit, _)| config.flags.has(**bit));
        set.map(|(_, name)| *name).collect::<Vec<_>>().join(",")
    })
}

/// The persistence netmask (IPv6: prefix length), where it is not that of a single host.
pub fn netmask(family: Family, netmask: u32) -> Option<String> {
    match (family, netmask) {
        (Family::V4, u32::MAX) | (Family::V6, 128) => None,
        (Family::V4, mask) => Some(std::net::Ipv4Addr::from(mask).to_string()),
        (Family::V6, length) => Some(length.to_string()),
    }
}

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::TCP => "TCP",
        Protocol::UDP => "UDP",
        Protocol::SCTP => "SCTP",
        _ => "?",
    }
}

fn forward_name(method: ForwardingMethod) -> &'static str {
    match method {
        ForwardingMethod::Masquerading => "Masq",
        ForwardingMethod::Local => "Local",
        ForwardingMethod::Tunneling => "Tunnel",
        ForwardingMethod::DirectRouting => "Route",
        ForwardingMethod::Bypass => "Bypass",
    }
}

fn tunnel_info(tunnel: Tunnel) -> String {
    let checksum = match tunnel.checksum {
        TunnelChecksum::None => "-c",
        TunnelChecksum::Checksum => "+c",
        TunnelChecksum::Remote => "r+c",
    };
    match tunnel.kind {
        TunnelKind::Ipip => "ipip".to_owned(),
        TunnelKind::Gue => format!("gue:{}:{checksum}", tunnel.port),
        TunnelKind::Gre => format!("gre:{checksum}"),
    }
}

fn totals(counters: &Counters) -> [u64; 5] {
    let Counters { connections, in_packets, out_packets, in_bytes, out_bytes, .. } = *counters;
    [connections, in_packets, out_packets, in_bytes, out_bytes]
}

fn rates(counters: &Counters) -> [u64; 5] {
    let rates = counters.rates;
    [rates.connections, rates.in_packets, rates.out_packets, rates.in_bytes, rates.out_bytes]
}

fn low_half(value: u64) -> u64 {
    value & u64::from(u32::MAX)
}
