//! Virtual services and their destinations: identity and configuration.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::base::{Family, Port, Protocol};

/// What identifies a virtual service: it never changes while the service exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ServiceKey {
    /// Protocol, virtual address and port (port 0 takes every port).
    Address { protocol: Protocol, address: IpAddr, port: Port },
    /// A firewall mark, never 0.
    Mark { family: Family, mark: u32 },
}

impl ServiceKey {
    pub fn family(&self) -> Family {
        match self {
            ServiceKey::Address { address, .. } => Family::of(address),
            ServiceKey::Mark { family, .. } => *family,
        }
    }

    /// The service's port; 0 for a mark service.
    pub fn port(&self) -> Port {
        match self {
            ServiceKey::Address { port, .. } => *port,
            ServiceKey::Mark { .. } => Port::ANY,
        }
    }

    pub fn mark(&self) -> Option<u32> {
        match self {
            ServiceKey::Address { .. } => None,
            ServiceKey::Mark { mark, .. } => Some(*mark),
        }
    }
}

/// Flag bits of a service, with the numbers of the kernel's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct ServiceFlags(pub u32);

impl ServiceFlags {
    pub const PERSISTENT: u32 = 0x01;
    /// Set in every reply of the kernel; clients cannot change it.
    pub const HASHED: u32 = 0x02;
    pub const ONE_PACKET: u32 = 0x04;
    /// `flag-1`: sh-fallback, mh-fallback.
    pub const SCHED_1: u32 = 0x08;
    /// `flag-2`: sh-port, mh-port.
    pub const SCHED_2: u32 = 0x10;
    pub const SCHED_3: u32 = 0x20;

    #[inline]
    pub fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }
}

/// The configuration of a virtual service: what add and edit set as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceConfig {
    /// Scheduler name as given; `none` means that nothing is ever scheduled.
    pub scheduler: String,
    pub flags: ServiceFlags,
    /// Persistence timeout in seconds.
    pub timeout: u32,
    /// IPv4: the persistence netmask as a number (0xffffff00 is /24). IPv6: the prefix length.
    pub netmask: u32,
    /// Persistence engine name (`sip`).
    pub engine: Option<String>,
}

/// The schedulers by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SchedulerKind {
    RoundRobin,
    WeightedRoundRobin,
    LeastConnection,
    WeightedLeastConnection,
    LocalityBasedLeastConnection,
    LocalityBasedLeastConnectionReplicated,
    DestinationHashing,
    SourceHashing,
    ShortestExpectedDelay,
    NeverQueue,
    WeightedFailover,
    WeightedOverflow,
    MaglevHashing,
    PowerOfTwo,
}

impl SchedulerKind {
    /// Every scheduler with its ipvsadm name.
    pub const ALL: [(SchedulerKind, &'static str); 14] = [
        (SchedulerKind::RoundRobin, "rr"),
        (SchedulerKind::WeightedRoundRobin, "wrr"),
        (SchedulerKind::LeastConnection, "lc"),
        (SchedulerKind::WeightedLeastConnection, "wlc"),
        (SchedulerKind::LocalityBasedLeastConnection, "lblc"),
        (SchedulerKind::LocalityBasedLeastConnectionReplicated, "lblcr"),
        (SchedulerKind::DestinationHashing, "dh"),
        (SchedulerKind::SourceHashing, "sh"),
        (SchedulerKind::ShortestExpectedDelay, "sed"),
        (SchedulerKind::NeverQueue, "nq"),
        (SchedulerKind::WeightedFailover, "fo"),
        (SchedulerKind::WeightedOverflow, "ovf"),
        (SchedulerKind::MaglevHashing, "mh"),
        (SchedulerKind::PowerOfTwo, "twos"),
    ];

    pub fn by_name(name: &str) -> Option<SchedulerKind> {
        SchedulerKind::ALL.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
    }

    pub fn name(self) -> &'static str {
        SchedulerKind::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }
}

/// What identifies a destination within its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DestinationKey {
    pub address: IpAddr,
    pub port: Port,
}

/// How packets reach a real server. The numbers are the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ForwardingMethod {
    /// NAT: destination address and port are rewritten (`-m`).
    Masquerading = 0,
    /// The packet is left to the local host.
    Local = 1,
    /// Encapsulated towards the real server (`-i`).
    Tunneling = 2,
    /// Direct routing: only the link-layer address changes (`-g`).
    DirectRouting = 3,
    /// Sent on to where it was going anyway (`cache_bypass`); never configured.
    Bypass = 4,
}

impl ForwardingMethod {
    /// The method for the kernel's number, of which only the low three bits count.
    pub fn from_number(number: u32) -> Option<ForwardingMethod> {
        match number & 7 {
            0 => Some(ForwardingMethod::Masquerading),
            1 => Some(ForwardingMethod::Local),
            2 => Some(ForwardingMethod::Tunneling),
            3 => Some(ForwardingMethod::DirectRouting),
            4 => Some(ForwardingMethod::Bypass),
            _ => None,
        }
    }
}

/// How a tunnel wraps its packets. The numbers are the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum TunnelKind {
    #[default]
    Ipip = 0,
    Gue = 1,
    Gre = 2,
}

/// Whether a tunnel's outer checksum is filled in. The numbers are the kernel's flag bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum TunnelChecksum {
    #[default]
    None = 0,
    Checksum = 1,
    Remote = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Tunnel {
    pub kind: TunnelKind,
    /// UDP port of a GUE tunnel.
    pub port: Port,
    pub checksum: TunnelChecksum,
}

/// The configuration of a destination: what add and edit set as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationConfig {
    pub method: ForwardingMethod,
    /// 0 means: no new connections. Negative or above 2147483647 is refused with ERANGE.
    pub weight: i64,
    /// Connections at which the destination counts as overloaded; 0 means never.
    pub upper_threshold: u32,
    /// Connections below which it may take new ones again.
    pub lower_threshold: u32,
    pub tunnel: Tunnel,
}
