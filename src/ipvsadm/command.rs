//! A command line as one typed command, or what is wrong with it.
//!
//! The original's order of checks decides which of several mistakes is named: first each word as
//! it is read, then the words of `--set`, words that belong nowhere, scheduler flags, the
//! [`rules`] of options, and last what the values mean together.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address::{Endpoint, Naming, cut, inet_aton};
use super::connections::EngineData;
use super::grammar::{Found, OptionError, Reader};
use super::listing::{Columns, Listing, Sorting};
use super::messages::Complaint;
use super::names::Names;
use super::numbers::{Precision, decimal, leading_decimal};
use super::options::{Given, Meaning, OptionName, Verb};
use super::rules;
use crate::base::{Family, Port, Protocol};
use crate::control::message::{DaemonConfig, DaemonRole, Request};
use crate::table::{
    DestinationConfig, DestinationKey, ForwardingMethod, ServiceConfig, ServiceFlags, ServiceKey, Timeouts, Tunnel,
    TunnelKind,
};

/// Timeouts of `-p` and `--set` in seconds: at most 31 days.
const LONGEST_TIMEOUT: i64 = 31 * 24 * 60 * 60;
/// Of `-p` without a value.
const DEFAULT_PERSISTENCE: u32 = 360;
const DEFAULT_SCHEDULER: &str = "wlc";
const DEFAULT_INTERFACE: &str = "eth0";

// What the kernel's structures have room for, in bytes; the rest is cut off.
const LONGEST_SCHEDULER: usize = 15;
const LONGEST_ENGINE: usize = 16;
const LONGEST_INTERFACE: usize = 15;
const LONGEST_FLAGS: usize = 127;

/// A command line that can be carried out.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    Help,
    Version,
    Restore,
    /// A change of the table, the timeouts or the daemons.
    Change(Request),
    List(Listing),
    ListConnections {
        naming: Naming,
        engine_data: EngineData,
    },
    ListTimeouts,
    ListDaemons,
    Save {
        naming: Naming,
    },
}

/// What is wrong with a command line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// the first option is no command
    #[error("the first option is no command")]
    NoCommand,
    /// a word after the command is no option
    #[error(transparent)]
    Option(#[from] OptionError),
    /// an option's value or place is wrong
    #[error(transparent)]
    Complaint(#[from] Complaint),
}

impl Command {
    /// Reads a command line, the program's name left out.
    ///
    /// # Errors
    /// The first mistake in the order of checks.
    pub fn read(words: &[String], names: &mut dyn Names) -> Result<Command, LineError> {
        if words.is_empty() {
            return Ok(Command::List(Draft::default().listing()));
        }
        let mut reader = Reader::new(words);
        let Some(Ok(Found { entry, value, .. })) = reader.next_option() else {
            return Err(LineError::NoCommand);
        };
        let Meaning::Command(verb) = entry.meaning else {
            return Err(LineError::NoCommand);
        };
        let mut draft = Draft::default();
        match verb {
            Verb::Help => return Ok(Command::Help),
            Verb::Version => return Ok(Command::Version),
            Verb::StartDaemon => draft.role = Some(role(value).ok_or(Complaint::StartDaemonRole)?),
            Verb::StopDaemon => draft.role = Some(role(value).ok_or(Complaint::StopDaemonRole)?),
            _ => {}
        }
        while let Some(option) = reader.next_option() {
            draft.take(option?, names)?;
        }
        Ok(draft.finish(verb, reader.leftovers())?)
    }
}

fn role(word: Option<&str>) -> Option<DaemonRole> {
    match word {
        Some("master") => Some(DaemonRole::Master),
        Some("backup") => Some(DaemonRole::Backup),
        _ => None,
    }
}

/// A command line while it is being read.
#[derive(Debug)]
struct Draft {
    given: Given,
    service: Option<ServiceKey>,
    scheduler: String,
    persistence: u32,
    /// IPv4: the mask as a number; IPv6: the prefix length.
    netmask: u32,
    engine: Option<String>,
    scheduler_flags: String,
    server: Option<DestinationKey>,
    method: ForwardingMethod,
    weight: i64,
    upper_threshold: u32,
    lower_threshold: u32,
    tunnel: Tunnel,
    role: Option<DaemonRole>,
    interface: String,
    sync_id: u8,
    maximum_length: u16,
    group: Option<IpAddr>,
    group_port: u16,
    ttl: u8,
}

impl Default for Draft {
    fn default() -> Draft {
        Draft {
            given: Given::default(),
            service: None,
            scheduler: String::new(),
            persistence: DEFAULT_PERSISTENCE,
            netmask: u32::MAX,
            engine: None,
            scheduler_flags: String::new(),
            server: None,
            method: ForwardingMethod::DirectRouting,
            weight: 1,
            upper_threshold: 0,
            lower_threshold: 0,
            tunnel: Tunnel::default(),
            role: None,
            interface: DEFAULT_INTERFACE.to_owned(),
            sync_id: 0,
            maximum_length: 0,
            group: None,
            group_port: 0,
            ttl: 0,
        }
    }
}

impl Draft {
    /// Takes one option over.
    fn take(&mut self, found: Found, names: &mut dyn Names) -> Result<(), Complaint> {
        let value = found.value.unwrap_or("");
        if let Some(option) = found.entry.meaning.option()
            && !self.given.add(option)
        {
            return Err(Complaint::Repeated { option: option.name() });
        }
        match found.entry.meaning {
            Meaning::Command(_) => return Err(Complaint::SecondCommand { word: found.word.to_owned() }),
            Meaning::Service(protocol) => self.take_service(protocol, value, names)?,
            Meaning::MarkService => {
                let mark =
                    number(value, 1..=i64::from(u32::MAX)).ok_or_else(|| Complaint::Mark { word: value.to_owned() })?;
                self.service = Some(ServiceKey::Mark { family: Family::V4, mark });
            }
            Meaning::Ipv6 => match &mut self.service {
                Some(ServiceKey::Mark { family, .. }) => {
                    *family = Family::V6;
                    self.netmask = 128;
                }
                _ => return Err(Complaint::FamilyBeforeMark),
            },
            Meaning::Sort => {}
            Meaning::Method(method) => self.method = method,
            Meaning::TunnelChecksum(checksum) => self.tunnel.checksum = checksum,
            Meaning::Option(option) => self.take_value(option, found.value, names)?,
        }
        Ok(())
    }

    fn take_service(&mut self, protocol: Protocol, word: &str, names: &mut dyn Names) -> Result<(), Complaint> {
        let Endpoint { address, port } =
            Endpoint::read(word, Some(protocol), names).ok_or(Complaint::ServiceAddress)?;
        if address.is_ipv6() {
            self.netmask = 128;
        }
        self.service = Some(ServiceKey::Address { protocol, address, port: port.unwrap_or(Port::ANY) });
        Ok(())
    }

    fn take_value(&mut self, option: OptionName, given: Option<&str>, names: &mut dyn Names) -> Result<(), Complaint> {
        let value = given.unwrap_or("");
        let threshold = 0..=i64::from(i32::MAX);
        match option {
            OptionName::Scheduler => self.scheduler = cut(value, LONGEST_SCHEDULER).to_owned(),
            OptionName::Persistent => {
                if let Some(word) = given {
                    self.persistence = number(word, 1..=LONGEST_TIMEOUT)
                        .ok_or_else(|| Complaint::Timeout { word: word.to_owned() })?;
                }
            }
            OptionName::Netmask => self.take_netmask(value, names)?,
            OptionName::PersistenceEngine => {
                self.engine = Some(cut(value, LONGEST_ENGINE).to_owned()).filter(|engine| !engine.is_empty());
            }
            OptionName::SchedulerFlags => self.scheduler_flags = cut(value, LONGEST_FLAGS).to_owned(),
            OptionName::RealServer => {
                let Endpoint { address, port } =
                    Endpoint::read(value, self.protocol(), names).ok_or(Complaint::ServerAddress)?;
                // A port that is not given is the service's, as far as that is known already.
                let port = port.or(self.service.map(|service| service.port())).unwrap_or(Port::ANY);
                self.server = Some(DestinationKey { address, port });
            }
            OptionName::Weight => {
                self.weight = decimal(value, 0..=i64::from(i32::MAX)).ok_or(Complaint::Weight)?;
            }
            OptionName::UpperThreshold => {
                self.upper_threshold = number(value, threshold).ok_or(Complaint::UpperThreshold)?;
            }
            OptionName::LowerThreshold => {
                self.lower_threshold = number(value, threshold).ok_or(Complaint::LowerThreshold)?;
            }
            OptionName::TunnelType => {
                self.tunnel.kind = match value {
                    "ipip" => TunnelKind::Ipip,
                    "gue" => TunnelKind::Gue,
                    "gre" => TunnelKind::Gre,
                    _ => return Err(Complaint::TunnelType),
                };
            }
            OptionName::TunnelPort => {
                self.tunnel.port = Port(number(value, 1..=0xffff).ok_or(Complaint::TunnelPort)?);
            }
            // Without a name it is as if it were not given.
            OptionName::MulticastInterface if value.is_empty() => self.interface = DEFAULT_INTERFACE.to_owned(),
            OptionName::MulticastInterface => self.interface = cut(value, LONGEST_INTERFACE).to_owned(),
            OptionName::SyncId => self.sync_id = number(value, 0..=0xff).ok_or(Complaint::SyncId)?,
            OptionName::SyncMaximumLength => {
                self.maximum_length = number(value, 1..=65507).ok_or(Complaint::SyncMaximumLength)?;
            }
            OptionName::MulticastGroup => self.group = Some(group(value)?),
            OptionName::MulticastPort => {
                self.group_port = number(value, 1..=0xffff).ok_or(Complaint::MulticastPort)?;
            }
            OptionName::MulticastTtl => self.ttl = number(value, 1..=0xff).ok_or(Complaint::MulticastTtl)?,
            // These say all they have to say by being given.
            _ => {}
        }
        Ok(())
    }

    fn take_netmask(&mut self, word: &str, names: &mut dyn Names) -> Result<(), Complaint> {
        self.netmask = match self.service.map(|service| service.family()) {
            Some(Family::V6) => u32::try_from(leading_decimal(word))
                .ok()
                .filter(|length| (1..=128).contains(length))
                .ok_or(Complaint::PrefixLength)?,
            _ => inet_aton(word).or_else(|| names.address(word)).map(u32::from).ok_or(Complaint::Netmask)?,
        };
        Ok(())
    }

    /// The protocol whose port names a real server may use: none before the service is known.
    fn protocol(&self) -> Option<Protocol> {
        self.service.map(|service| match service {
            ServiceKey::Address { protocol, .. } => protocol,
            ServiceKey::Mark { .. } => Protocol::TCP,
        })
    }

    /// The checks of the whole line, and the command it makes.
    fn finish(self, verb: Verb, leftovers: &[&str]) -> Result<Command, Complaint> {
        let mut leftovers = leftovers.iter();
        let timeouts = match verb {
            Verb::SetTimeouts => timeouts(&mut leftovers)?,
            _ => Timeouts::default(),
        };
        if let Some(word) = leftovers.next() {
            return Err(Complaint::UnexpectedWord { word: (*word).to_owned() });
        }
        let flags = scheduler_flags(&self.scheduler_flags, &self.scheduler)?;
        rules::check_command(verb, self.given)?;
        let request = match verb {
            Verb::AddService => {
                Request::AddService { key: self.checked_service(verb)?, config: self.service_config(flags) }
            }
            Verb::EditService => {
                Request::EditService { key: self.checked_service(verb)?, config: self.service_config(flags) }
            }
            Verb::DeleteService => Request::DeleteService { key: self.service(verb)? },
            Verb::AddServer => Request::AddDestination {
                service: self.service(verb)?,
                key: self.checked_server(verb)?,
                config: self.server_config(),
            },
            Verb::EditServer => Request::EditDestination {
                service: self.service(verb)?,
                key: self.checked_server(verb)?,
                config: self.server_config(),
            },
            Verb::DeleteServer => Request::DeleteDestination { service: self.service(verb)?, key: self.server(verb)? },
            Verb::Zero => Request::Zero { key: self.service.filter(|key| !names_everything(key)) },
            Verb::Flush => Request::Flush,
            Verb::SetTimeouts => Request::SetTimeouts { timeouts },
            Verb::StartDaemon => Request::StartDaemon { config: self.daemon_config()? },
            Verb::StopDaemon => Request::StopDaemon { role: self.role.ok_or(Complaint::StopDaemonRole)? },
            Verb::List => return self.list(),
            Verb::Save => return Ok(Command::Save { naming: self.naming() }),
            Verb::Restore => return Ok(Command::Restore),
            Verb::Help => return Ok(Command::Help),
            Verb::Version => return Ok(Command::Version),
        };
        Ok(Command::Change(request))
    }

    fn service(&self, verb: Verb) -> Result<ServiceKey, Complaint> {
        let (option, command) = (OptionName::ServiceAddress.name(), verb.name());
        self.service.ok_or(Complaint::Missing { option, command })
    }

    fn server(&self, verb: Verb) -> Result<DestinationKey, Complaint> {
        let (option, command) = (OptionName::RealServer.name(), verb.name());
        self.server.ok_or(Complaint::Missing { option, command })
    }

    /// The service as it may be added or edited.
    fn checked_service(&self, verb: Verb) -> Result<ServiceKey, Complaint> {
        let key = self.service(verb)?;
        if let ServiceKey::Address { protocol, port, .. } = key {
            if port.is_any() && !self.given.has(OptionName::Persistent) {
                return Err(Complaint::ZeroPort);
            }
            if self.given.has(OptionName::OnePacket) && protocol != Protocol::UDP {
                return Err(Complaint::OnePacket);
            }
        }
        Ok(key)
    }

    /// The real server as it may be added or edited.
    fn checked_server(&self, verb: Verb) -> Result<DestinationKey, Complaint> {
        let (service, mut server) = (self.service(verb)?, self.server(verb)?);
        // Without NAT, packets reach it at the service's port.
        if service.mark().is_none() && self.method != ForwardingMethod::Masquerading {
            server.port = service.port();
        }
        let tunneling = self.method == ForwardingMethod::Tunneling;
        if service.family() != Family::of(&server.address) && !tunneling {
            return Err(Complaint::MixedFamilies);
        }
        if tunneling {
            rules::check_tunnel(self.tunnel.kind, self.given)?;
        } else if rules::tunnel_options_given(self.given) {
            return Err(Complaint::TunnelOptions);
        }
        Ok(server)
    }

    fn service_config(&self, mut flags: u32) -> ServiceConfig {
        let persistent = self.given.has(OptionName::Persistent);
        if persistent {
            flags |= ServiceFlags::PERSISTENT;
        }
        if self.given.has(OptionName::OnePacket) {
            flags |= ServiceFlags::ONE_PACKET;
        }
        let scheduler = if self.scheduler.is_empty() { DEFAULT_SCHEDULER } else { &self.scheduler };
        ServiceConfig {
            scheduler: scheduler.to_owned(),
            flags: ServiceFlags(flags),
            timeout: if persistent { self.persistence } else { 0 },
            netmask: self.netmask,
            engine: self.engine.clone(),
        }
    }

    fn server_config(&self) -> DestinationConfig {
        DestinationConfig {
            method: self.method,
            weight: self.weight,
            upper_threshold: self.upper_threshold,
            lower_threshold: self.lower_threshold,
            tunnel: self.tunnel,
        }
    }

    fn daemon_config(self) -> Result<DaemonConfig, Complaint> {
        Ok(DaemonConfig {
            role: self.role.ok_or(Complaint::StartDaemonRole)?,
            interface: self.interface,
            sync_id: self.sync_id,
            maximum_length: self.maximum_length,
            group: self.group,
            port: self.group_port,
            ttl: self.ttl,
        })
    }

    fn list(&self) -> Result<Command, Complaint> {
        let has = |option| self.given.has(option);
        let columns = has(OptionName::Stats) || has(OptionName::Rate) || has(OptionName::Thresholds);
        let (connections, timeouts, daemons) =
            (has(OptionName::Connection), has(OptionName::Timeout), has(OptionName::Daemon));
        if (connections || timeouts || daemons) && columns
            || (timeouts || daemons) && has(OptionName::PersistentConnections)
        {
            return Err(Complaint::ListOptions);
        }
        if connections {
            let engine_data = match has(OptionName::PersistentConnections) {
                true => EngineData::Shown,
                false => EngineData::Hidden,
            };
            return Ok(Command::ListConnections { naming: self.naming(), engine_data });
        }
        match (timeouts, daemons) {
            (true, _) => Ok(Command::ListTimeouts),
            (_, true) => Ok(Command::ListDaemons),
            _ => Ok(Command::List(self.listing())),
        }
    }

    fn listing(&self) -> Listing {
        const COLUMNS: [(OptionName, Columns); 5] = [
            (OptionName::Stats, Columns::Stats),
            (OptionName::Rate, Columns::Rate),
            (OptionName::Thresholds, Columns::Thresholds),
            (OptionName::PersistentConnections, Columns::PersistentConnections),
            (OptionName::TunnelInfo, Columns::TunnelInfo),
        ];
        let columns = COLUMNS.iter().find(|(option, _)| self.given.has(*option));
        Listing {
            service: self.service,
            columns: columns.map_or(Columns::Plain, |(_, columns)| *columns),
            precision: match self.given.has(OptionName::Exact) {
                true => Precision::Exact,
                false => Precision::Shortened,
            },
            sorting: match self.given.has(OptionName::NoSort) {
                true => Sorting::Unsorted,
                false => Sorting::Sorted,
            },
            naming: self.naming(),
        }
    }

    fn naming(&self) -> Naming {
        match self.given.has(OptionName::Numeric) {
            true => Naming::Numeric,
            false => Naming::Names,
        }
    }
}

/// A number in `range`, in the type it is used as.
fn number<T: TryFrom<i64>>(word: &str, range: std::ops::RangeInclusive<i64>) -> Option<T> {
    T::try_from(decimal(word, range)?).ok()
}

/// The three words of `--set`, of which none is looked at until all are there.
fn timeouts<'a>(words: &mut impl Iterator<Item = &'a &'a str>) -> Result<Timeouts, Complaint> {
    let (Some(tcp), Some(tcp_fin), Some(udp)) = (words.next(), words.next(), words.next()) else {
        return Err(Complaint::TooFewTimeouts);
    };
    let timeout =
        |word: &str| number(word, 0..=LONGEST_TIMEOUT).ok_or_else(|| Complaint::Timeout { word: word.to_owned() });
    Ok(Timeouts { tcp: timeout(tcp)?, tcp_fin: timeout(tcp_fin)?, udp: timeout(udp)? })
}

/// The bits of a list of scheduler flags.
fn scheduler_flags(list: &str, scheduler: &str) -> Result<u32, Complaint> {
    let mut bits = 0;
    let mut words = list.split(',').filter(|word| !word.is_empty()).peekable();
    if !list.is_empty() && words.peek().is_none() {
        return Err(Complaint::SchedulerFlag { word: list.to_owned() });
    }
    for word in words {
        let (of_scheduler, bit) = match word {
            "flag-1" => (None, ServiceFlags::SCHED_1),
            "flag-2" => (None, ServiceFlags::SCHED_2),
            "flag-3" => (None, ServiceFlags::SCHED_3),
            "sh-fallback" => (Some("sh"), ServiceFlags::SCHED_1),
            "sh-port" => (Some("sh"), ServiceFlags::SCHED_2),
            "mh-fallback" => (Some("mh"), ServiceFlags::SCHED_1),
            "mh-port" => (Some("mh"), ServiceFlags::SCHED_2),
            _ => return Err(Complaint::SchedulerFlag { word: word.to_owned() }),
        };
        if of_scheduler.is_some_and(|name| name != scheduler) {
            return Err(Complaint::ForeignSchedulerFlag { word: word.to_owned() });
        }
        bits |= bit;
    }
    Ok(bits)
}

/// A multicast group; neither names nor the short forms of IPv4 addresses are taken.
fn group(word: &str) -> Result<IpAddr, Complaint> {
    if word.contains(':') {
        let group = word.parse::<Ipv6Addr>().ok().filter(Ipv6Addr::is_multicast);
        group.map(IpAddr::V6).ok_or_else(|| Complaint::Group6 { word: word.to_owned() })
    } else {
        let group = word.parse::<Ipv4Addr>().ok().filter(Ipv4Addr::is_multicast);
        group.map(IpAddr::V4).ok_or_else(|| Complaint::Group4 { word: word.to_owned() })
    }
}

/// Whether zeroing this service zeroes everything: the original takes it for none given.
fn names_everything(key: &ServiceKey) -> bool {
    matches!(key, ServiceKey::Address { address, port, .. } if address.is_unspecified() && port.is_any())
}
