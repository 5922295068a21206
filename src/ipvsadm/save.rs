//! `-S`: the table as command lines that `-R` takes.
//!
//! As with the original, thresholds are not saved, marks above 2147483647 come out negative and
//! are refused by `-R`, and so is the empty list of a flag that has no name.

use std::io::Write;

use super::address::Naming;
use super::director::{Director, Failure};
use super::listing::{netmask, protocol, scheduler_flags};
use super::names::Names;
use super::order;
use crate::base::{Family, Protocol};
use crate::control::message::{DestinationEntry, SERVICES_AT_ONCE, ServiceEntry};
use crate::table::{DestinationConfig, ForwardingMethod, ServiceFlags, ServiceKey, TunnelChecksum, TunnelKind};

/// Prints the table.
///
/// # Errors
/// What the director refused; lines printed before stay.
pub fn print(
    naming: Naming,
    director: &mut Director,
    names: &mut dyn Names,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut services = director.services()?;
    order::sort_services(&mut services);
    for services in services.chunks(SERVICES_AT_ONCE) {
        for (service, mut destinations) in services.iter().zip(director.destinations(services)?) {
            order::sort_destinations(&mut destinations);
            let name = service_words(&service.key, naming, names);
            writeln!(out, "-A {name} {}", settings(service))?;
            for destination in &destinations {
                let DestinationEntry { key, config, .. } = destination;
                let server = naming.endpoint(key.address, key.port, protocol(&service.key), names);
                let (method, tunnel) = method_words(config);
                writeln!(out, "-a {name} -r {server} {method} -w {}{tunnel}", config.weight)?;
            }
        }
    }
    Ok(())
}

fn service_words(key: &ServiceKey, naming: Naming, names: &mut dyn Names) -> String {
    match *key {
        ServiceKey::Mark { family: Family::V4, mark } => format!("-f {}", mark as i32),
        ServiceKey::Mark { family: Family::V6, mark } => format!("-f {} -6", mark as i32),
        ServiceKey::Address { protocol, address, port } => {
            let option = match protocol {
                Protocol::TCP => "-t",
                Protocol::UDP => "-u",
                Protocol::SCTP => "--sctp-service",
                // No command line makes such a service.
                _ => "--xxx-service",
            };
            format!("{option} {}", naming.endpoint(address, port, Some(protocol), names))
        }
    }
}

fn settings(service: &ServiceEntry) -> String {
    let config = &service.config;
    let mut words = format!("-s {}", config.scheduler);
    let mut add = |option: &str, value: &str| words.extend([" ", option, value]);
    if config.flags.has(ServiceFlags::PERSISTENT) {
        add("-p ", &config.timeout.to_string());
        if let Some(mask) = netmask(service.key.family(), config.netmask) {
            add("-M ", &mask);
        }
    }
    if let Some(engine) = &config.engine {
        add("--pe ", engine);
    }
    if config.flags.has(ServiceFlags::ONE_PACKET) {
        add("-o", "");
    }
    if let Some(flags) = scheduler_flags(config) {
        add("-b ", &flags);
    }
    words
}

/// The option for the method, and those for the tunnel with the blank before them.
fn method_words(config: &DestinationConfig) -> (&'static str, String) {
    let checksum = match config.tunnel.checksum {
        TunnelChecksum::None => "--tun-nocsum",
        TunnelChecksum::Checksum => "--tun-csum",
        TunnelChecksum::Remote => "--tun-remcsum",
    };
    match config.method {
        ForwardingMethod::Masquerading => ("-m", String::new()),
        ForwardingMethod::Tunneling => {
            let tunnel = match config.tunnel.kind {
                TunnelKind::Ipip => " --tun-type ipip".to_owned(),
                TunnelKind::Gre => format!(" --tun-type gre {checksum}"),
                TunnelKind::Gue => format!(" --tun-type gue --tun-port {} {checksum}", config.tunnel.port),
            };
            ("-i", tunnel)
        }
        ForwardingMethod::DirectRouting | ForwardingMethod::Local | ForwardingMethod::Bypass => ("-g", String::new()),
    }
}
