//! Changes of the configuration, of every kind, on names that meet often.

use std::net::IpAddr;

use arbitrary::{Result, Unstructured};

use crate::base::{Family, Port, Protocol};
use crate::engine::tests::world::address;
use crate::table::{
    Change, DestinationConfig, DestinationKey, ForwardingMethod, MarkMatch, MarkRule, SchedulerKind, ServiceConfig,
    ServiceFlags, ServiceKey, Settings, Timeouts, Tunnel, TunnelChecksum, TunnelKind,
};

use super::frame::{CLIENTS, PORTS, SERVERS, VIPS};

/// Any change.
pub fn any(u: &mut Unstructured) -> Result<Change> {
    Ok(match u.int_in_range(0..=19u8)? {
        0..=3 => {
            let key = service(u)?;
            Change::AddService { key, config: service_config(u, &key)? }
        }
        4..=10 => {
            let service = service(u)?;
            let key = server(u, &service)?;
            Change::AddDestination { service, key, config: server_config(u)? }
        }
        11 => {
            let key = service(u)?;
            Change::EditService { key, config: service_config(u, &key)? }
        }
        12 => Change::DeleteService { key: service(u)? },
        13 => {
            let service = service(u)?;
            Change::EditDestination { service, key: server(u, &service)?, config: server_config(u)? }
        }
        14 => {
            let service = service(u)?;
            Change::DeleteDestination { service, key: server(u, &service)? }
        }
        15 => setting(u)?,
        16 => Change::AddMark { rule: mark_rule(u)? },
        17 => Change::DeleteMark { rule: mark_rule(u)? },
        18 => {
            let [tcp, tcp_fin, udp] = [number(u)?, number(u)?, number(u)?];
            Change::SetTimeouts { timeouts: Timeouts { tcp, tcp_fin, udp } }
        }
        _ => match u.int_in_range(0..=3u8)? {
            0 => Change::Flush,
            1 => Change::FlushMarks,
            2 => Change::Zero { key: None },
            _ => Change::Zero { key: Some(service(u)?) },
        },
    })
}

/// The longest timeout in seconds that a change sets.
pub fn longest_timeout(change: &Change) -> u32 {
    match change {
        Change::AddService { config, .. } | Change::EditService { config, .. } => config.timeout,
        Change::SetTimeouts { timeouts } => timeouts.tcp.max(timeouts.tcp_fin).max(timeouts.udp),
        _ => 0,
    }
}

/// The checksum of what such a tunnel carries is wrong until it is taken out.
pub fn without_remote_checksums(change: &mut Change) {
    if let Change::AddDestination { config, .. } | Change::EditDestination { config, .. } = change
        && config.tunnel.checksum == TunnelChecksum::Remote
    {
        config.tunnel.checksum = TunnelChecksum::Checksum;
    }
}

fn service(u: &mut Unstructured) -> Result<ServiceKey> {
    Ok(match u.int_in_range(0..=9u8)? {
        9 => ServiceKey::Mark { family: *u.choose(&[Family::V4, Family::V6])?, mark: u.int_in_range(1..=2)? },
        _ => {
            let address = address(u.choose(&VIPS)?);
            let protocol = *u.choose(&[Protocol::TCP, Protocol::TCP, Protocol::UDP, Protocol::SCTP])?;
            ServiceKey::Address { protocol, address, port: Port(*u.choose(&PORTS)?) }
        }
    })
}

fn server(u: &mut Unstructured, service: &ServiceKey) -> Result<DestinationKey> {
    // The family that fits is the first half of the list or the second.
    let fitting =
        if service.family() == Family::V4 { &SERVERS[..SERVERS.len() / 2] } else { &SERVERS[SERVERS.len() / 2..] };
    let name = if u.ratio(7, 8)? { u.choose(fitting)? } else { u.choose(&SERVERS)? };
    let port = if u.ratio(3, 4)? { service.port() } else { Port(*u.choose(&PORTS)?) };
    Ok(DestinationKey { address: address(name), port })
}

fn service_config(u: &mut Unstructured, key: &ServiceKey) -> Result<ServiceConfig> {
    let scheduler = match u.int_in_range(0..=SchedulerKind::ALL.len() + 1)? {
        0 => "none",
        at => SchedulerKind::ALL.get(at - 1).map_or("nosuch", |(_, name)| name),
    };
    let netmask = match key.family() {
        Family::V4 => *u.choose(&[u32::MAX, 0xffff_ff00, 0, 0x00ff_00ff])?,
        Family::V6 => *u.choose(&[128, 64, 1, 0, 129])?,
    };
    Ok(ServiceConfig {
        scheduler: scheduler.to_owned(),
        flags: ServiceFlags(u32::from(u.arbitrary::<u8>()?) & 0x3f),
        timeout: number(u)?,
        netmask,
        engine: u.ratio(1, 4)?.then(|| "sip".to_owned()),
    })
}

fn server_config(u: &mut Unstructured) -> Result<DestinationConfig> {
    use ForwardingMethod::{Bypass, DirectRouting, Local, Masquerading, Tunneling};
    let kind = *u.choose(&[TunnelKind::Ipip, TunnelKind::Gue, TunnelKind::Gre])?;
    let checksum = *u.choose(&[TunnelChecksum::None, TunnelChecksum::Checksum, TunnelChecksum::Remote])?;
    Ok(DestinationConfig {
        method: *u.choose(&[
            Masquerading,
            Masquerading,
            Masquerading,
            DirectRouting,
            Tunneling,
            Tunneling,
            Local,
            Bypass,
        ])?,
        weight: *u.choose(&[1, 1, 1, 2, 3, 0, 1000, i64::from(i32::MAX), -1, i64::from(u32::MAX)])?,
        upper_threshold: if u.ratio(1, 4)? { number(u)? } else { 0 },
        lower_threshold: if u.ratio(1, 8)? { number(u)? } else { 0 },
        tunnel: Tunnel { kind, port: *u.choose(&[Port(6080), Port(6080), Port(0)])?, checksum },
    })
}

fn setting(u: &mut Unstructured) -> Result<Change> {
    let name = *u.choose(Settings::NAMES)?;
    let value = match name {
        "sync_threshold" => format!("{} {}", number(u)?, number(u)?),
        _ => number(u)?.cast_signed().to_string(),
    };
    Ok(Change::SetSetting { name: name.to_owned(), value })
}

fn mark_rule(u: &mut Unstructured) -> Result<MarkRule> {
    let addresses: Vec<&str> = VIPS.iter().chain(&CLIENTS).copied().collect();
    let host = address(u.choose(&addresses)?);
    let length = u.int_in_range(0..=if matches!(host, IpAddr::V4(_)) { 32 } else { 128 })?;
    let network = format!("{host}/{length}").parse();
    Ok(MarkRule {
        mark: u.int_in_range(0..=2)?,
        matching: MarkMatch {
            destinations: network.into_iter().collect(),
            destination_ports: if u.arbitrary()? { vec![*u.choose(&PORTS)?..=u16::MAX] } else { Vec::new() },
            ..MarkMatch::default()
        },
    })
}

/// Small as a rule, and now and then at the edges.
fn number(u: &mut Unstructured) -> Result<u32> {
    Ok(match u.int_in_range(0..=9u8)? {
        0 => 0,
        8 => u.arbitrary()?,
        9 => *u.choose(&[u32::MAX, i32::MAX as u32, Timeouts::MAXIMUM, Timeouts::MAXIMUM + 1])?,
        small => u32::from(small),
    })
}
