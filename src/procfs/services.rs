//! `/proc/net/ip_vs`: services in the director's order, each with its destinations.

use std::io::{self, Write};
use std::net::IpAddr;

use super::{Hex, ask, unfitting};
use crate::base::Family;
use crate::control::message::{Access, DestinationEntry, Reply, Request, SERVICES_AT_ONCE, ServiceEntry};
use crate::table::{ForwardingMethod, ServiceFlags, ServiceKey};

/// The kernel's ticks in a second.
const TICKS: u32 = 250;

pub fn print(access: &mut dyn Access, out: &mut dyn Write) -> io::Result<()> {
    let Reply::Info(info) = ask(access, Request::Info)? else { return Err(unfitting()) };
    let [_, major, minor, patch] = info.version.to_be_bytes();
    writeln!(out, "IP Virtual Server version {major}.{minor}.{patch} (size={})", info.connection_table_size)?;
    writeln!(out, "Prot LocalAddress:Port Scheduler Flags")?;
    writeln!(out, "  -> RemoteAddress:Port Forward Weight ActiveConn InActConn")?;
    let Reply::Services(services) = ask(access, Request::Services)? else { return Err(unfitting()) };
    for services in services.chunks(SERVICES_AT_ONCE) {
        let requests = services.iter().map(|service| Request::Destinations { service: service.key }).collect();
        for (service, answer) in services.iter().zip(access.ask_all(requests)?) {
            let Reply::Destinations(destinations) = answer.map_err(io::Error::other)? else { return Err(unfitting()) };
            print_service(service, out)?;
            destinations.iter().try_for_each(|destination| print_destination(destination, out))?;
        }
    }
    Ok(())
}

fn print_service(service: &ServiceEntry, out: &mut dyn Write) -> io::Result<()> {
    let config = &service.config;
    let one_packet = if config.flags.has(ServiceFlags::ONE_PACKET) { "ops " } else { "" };
    match service.key {
        ServiceKey::Address { protocol, address: address @ IpAddr::V4(_), port } => {
            write!(out, "{}  {}:{:04X} {} {one_packet} ", protocol.name(), Hex(address), port.0, config.scheduler)?;
        }
        ServiceKey::Address { protocol, address, port } => {
            write!(out, "{}  [{}]:{:04X} {} ", protocol.name(), Hex(address), port.0, config.scheduler)?;
        }
        ServiceKey::Mark { mark, .. } => write!(out, "FWM  {mark:08X} {} {one_packet}", config.scheduler)?,
    }
    if !config.flags.has(ServiceFlags::PERSISTENT) {
        return writeln!(out);
    }
    let netmask = match service.key.family() {
        Family::V4 => config.netmask,
        Family::V6 => config.netmask.swap_bytes(),
    };
    writeln!(out, "persistent {} {netmask:08X}", config.timeout.wrapping_mul(TICKS) as i32)
}

fn print_destination(destination: &DestinationEntry, out: &mut dyn Write) -> io::Result<()> {
    let address = destination.key.address;
    let (open, close) = if address.is_ipv6() { ("[", "]") } else { ("", "") };
    let method = match destination.config.method {
        ForwardingMethod::Local => "Local",
        ForwardingMethod::Tunneling => "Tunnel",
        ForwardingMethod::DirectRouting => "Route",
        _ => "Masq",
    };
    writeln!(
        out,
        "  -> {open}{}{close}:{:04X}      {method:<7} {:<6} {:<10} {:<10}",
        Hex(address),
        destination.key.port.0,
        destination.config.weight,
        destination.active,
        destination.inactive,
    )
}
