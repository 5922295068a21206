//! Every command and option of ipvsadm, once: spelling, argument, name in messages, help.
//!
//! The parser ([`super::grammar`]), the rules ([`super::rules`]) and the help ([`super::help`])
//! all read [`TABLE`], so that none of them can know a word the others do not.

use crate::base::Protocol;
use crate::table::{ForwardingMethod, TunnelChecksum};

/// What a command line does; its first option says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    AddService,
    EditService,
    DeleteService,
    Flush,
    List,
    Zero,
    AddServer,
    EditServer,
    DeleteServer,
    SetTimeouts,
    StartDaemon,
    StopDaemon,
    Restore,
    Save,
    Help,
    Version,
}

impl Verb {
    /// The name of the command in messages.
    pub fn name(self) -> &'static str {
        match self {
            Verb::AddService => "add-service",
            Verb::EditService => "edit-service",
            Verb::DeleteService => "delete-service",
            Verb::Flush => "flush",
            Verb::List => "list",
            Verb::Zero => "zero",
            Verb::AddServer => "add-server",
            Verb::EditServer => "edit-server",
            Verb::DeleteServer => "delete-server",
            Verb::SetTimeouts => "set",
            Verb::StartDaemon => "start-daemon",
            Verb::StopDaemon => "stop-daemon",
            Verb::Restore => "restore",
            Verb::Save => "save",
            Verb::Help => "help",
            Verb::Version => "version",
        }
    }
}

/// An option as the rules see it. Several words may stand for one: `-g`, `-i` and `-m` are all
/// [`OptionName::ForwardingMethod`]. The order is the one in which the rules are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionName {
    Numeric,
    Connection,
    ServiceAddress,
    Scheduler,
    Persistent,
    Netmask,
    RealServer,
    ForwardingMethod,
    Weight,
    UpperThreshold,
    LowerThreshold,
    MulticastInterface,
    Timeout,
    Daemon,
    Stats,
    Rate,
    Thresholds,
    PersistentConnections,
    NoSort,
    SyncId,
    Exact,
    OnePacket,
    PersistenceEngine,
    SchedulerFlags,
    MulticastGroup,
    MulticastPort,
    MulticastTtl,
    SyncMaximumLength,
    TunnelInfo,
    TunnelType,
    TunnelPort,
    TunnelNoChecksum,
    TunnelChecksum,
    TunnelRemoteChecksum,
}

impl OptionName {
    /// Every option with its name in messages, in the order of the enum.
    pub const ALL: [(OptionName, &'static str); 34] = [
        (OptionName::Numeric, "numeric"),
        (OptionName::Connection, "connection"),
        (OptionName::ServiceAddress, "service-address"),
        (OptionName::Scheduler, "scheduler"),
        (OptionName::Persistent, "persistent"),
        (OptionName::Netmask, "netmask"),
        (OptionName::RealServer, "real-server"),
        (OptionName::ForwardingMethod, "forwarding-method"),
        (OptionName::Weight, "weight"),
        (OptionName::UpperThreshold, "u-threshold"),
        (OptionName::LowerThreshold, "l-threshold"),
        (OptionName::MulticastInterface, "mcast-interface"),
        (OptionName::Timeout, "timeout"),
        (OptionName::Daemon, "daemon"),
        (OptionName::Stats, "stats"),
        (OptionName::Rate, "rate"),
        (OptionName::Thresholds, "thresholds"),
        (OptionName::PersistentConnections, "persistent-conn"),
        (OptionName::NoSort, "nosort"),
        (OptionName::SyncId, "syncid"),
        (OptionName::Exact, "exact"),
        (OptionName::OnePacket, "ops"),
        (OptionName::PersistenceEngine, "pe"),
        (OptionName::SchedulerFlags, "sched-flags"),
        (OptionName::MulticastGroup, "mcast-group"),
        (OptionName::MulticastPort, "mcast-port"),
        (OptionName::MulticastTtl, "mcast-ttl"),
        (OptionName::SyncMaximumLength, "sync-maxlen"),
        (OptionName::TunnelInfo, "tun-info"),
        (OptionName::TunnelType, "tun-type"),
        (OptionName::TunnelPort, "tun-port"),
        (OptionName::TunnelNoChecksum, "tun-nocsum"),
        (OptionName::TunnelChecksum, "tun-csum"),
        (OptionName::TunnelRemoteChecksum, "tun-remcsum"),
    ];

    /// The name of the option in messages.
    pub fn name(self) -> &'static str {
        OptionName::ALL[self as usize].1
    }
}

/// Which options a command line has given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Given(u64);

impl Given {
    pub fn has(self, option: OptionName) -> bool {
        self.0 & (1 << option as u32) != 0
    }

    /// Notes `option`; `false` where it had been given before.
    pub fn add(&mut self, option: OptionName) -> bool {
        let first = !self.has(option);
        self.0 |= 1 << option as u32;
        first
    }
}

/// Whether a word takes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    None,
    /// Its name in the help.
    Required(&'static str),
    Optional(&'static str),
}

/// What a word on the command line means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    Command(Verb),
    /// A service by address.
    Service(Protocol),
    /// A service by firewall mark.
    MarkService,
    /// The firewall mark before it is one of IPv6; stands outside the rules.
    Ipv6,
    /// Sorting is the default, so this changes nothing; stands outside the rules.
    Sort,
    Method(ForwardingMethod),
    TunnelChecksum(TunnelChecksum),
    /// An option that says its one thing by being there, or by its value.
    Option(OptionName),
}

impl Meaning {
    /// The option this word gives, where the rules know it.
    pub fn option(self) -> Option<OptionName> {
        match self {
            Meaning::Command(_) | Meaning::Ipv6 | Meaning::Sort => None,
            Meaning::Service(_) | Meaning::MarkService => Some(OptionName::ServiceAddress),
            Meaning::Method(_) => Some(OptionName::ForwardingMethod),
            Meaning::TunnelChecksum(TunnelChecksum::None) => Some(OptionName::TunnelNoChecksum),
            Meaning::TunnelChecksum(TunnelChecksum::Checksum) => Some(OptionName::TunnelChecksum),
            Meaning::TunnelChecksum(TunnelChecksum::Remote) => Some(OptionName::TunnelRemoteChecksum),
            Meaning::Option(option) => Some(option),
        }
    }
}

/// The part of the help a word is explained in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Commands,
    VirtualService,
    Options,
    DaemonOptions,
}

/// One word of the command line.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its one-letter spellings.
    pub short: &'static str,
    pub long: &'static str,
    pub argument: Argument,
    pub meaning: Meaning,
    pub section: Section,
    pub help: &'static str,
}

const fn command(short: &'static str, long: &'static str, verb: Verb, help: &'static str) -> Entry {
    Entry { short, long, argument: Argument::None, meaning: Meaning::Command(verb), section: Section::Commands, help }
}

const fn service(
    short: &'static str,
    long: &'static str,
    value: &'static str,
    meaning: Meaning,
    help: &'static str,
) -> Entry {
    Entry { short, long, argument: Argument::Required(value), meaning, section: Section::VirtualService, help }
}

const fn switch(short: &'static str, long: &'static str, meaning: Meaning, help: &'static str) -> Entry {
    Entry { short, long, argument: Argument::None, meaning, section: Section::Options, help }
}

const fn flag(short: &'static str, long: &'static str, option: OptionName, help: &'static str) -> Entry {
    switch(short, long, Meaning::Option(option), help)
}

const fn value(
    short: &'static str,
    long: &'static str,
    value: &'static str,
    option: OptionName,
    help: &'static str,
) -> Entry {
    Entry {
        short,
        long,
        argument: Argument::Required(value),
        meaning: Meaning::Option(option),
        section: Section::Options,
        help,
    }
}

const fn daemon(long: &'static str, name: &'static str, option: OptionName, help: &'static str) -> Entry {
    Entry { section: Section::DaemonOptions, ..value("", long, name, option, help) }
}

const fn daemon_command(long: &'static str, verb: Verb, help: &'static str) -> Entry {
    Entry { argument: Argument::Required("master|backup"), ..command("", long, verb, help) }
}

/// Every word that may follow `ipvsadm`.
pub const TABLE: &[Entry] = &[
    command("A", "add-service", Verb::AddService, "add a virtual service"),
    command("E", "edit-service", Verb::EditService, "replace all settings of a virtual service"),
    command("D", "delete-service", Verb::DeleteService, "remove a virtual service and its real servers"),
    command("C", "clear", Verb::Flush, "remove every virtual service"),
    command("R", "restore", Verb::Restore, "carry out the command lines read from standard input"),
    command("S", "save", Verb::Save, "print the table as command lines for -R"),
    command("a", "add-server", Verb::AddServer, "add a real server to a virtual service"),
    command("e", "edit-server", Verb::EditServer, "replace all settings of a real server"),
    command("d", "delete-server", Verb::DeleteServer, "take a real server out of a virtual service"),
    command("Ll", "list", Verb::List, "show the table"),
    command("Z", "zero", Verb::Zero, "zero the counters of one service, or all counters"),
    command("", "set", Verb::SetTimeouts, "<tcp> <tcpfin> <udp>: connection timeouts in seconds, 0 keeps one"),
    daemon_command("start-daemon", Verb::StartDaemon, "start synchronising connections in this role"),
    daemon_command("stop-daemon", Verb::StopDaemon, "stop synchronising connections in this role"),
    command("h", "help", Verb::Help, "show this help"),
    command("v", "version", Verb::Version, "show the version"),
    service("t", "tcp-service", "service-address", Meaning::Service(Protocol::TCP), "TCP service at host[:port]"),
    service("u", "udp-service", "service-address", Meaning::Service(Protocol::UDP), "UDP service at host[:port]"),
    service("", "sctp-service", "service-address", Meaning::Service(Protocol::SCTP), "SCTP service at host[:port]"),
    service("f", "fwmark-service", "fwmark", Meaning::MarkService, "packets with this firewall mark, 1 or more"),
    Entry {
        section: Section::VirtualService,
        ..switch("6", "ipv6", Meaning::Ipv6, "the firewall mark is one of IPv6 packets")
    },
    value("s", "scheduler", "scheduler", OptionName::Scheduler, "how real servers are chosen (default wlc)"),
    value("", "pe", "engine", OptionName::PersistenceEngine, "persistence engine, such as sip"),
    Entry {
        argument: Argument::Optional("timeout"),
        ..flag("p", "persistent", OptionName::Persistent, "keep a client on its server so many seconds (360)")
    },
    value("M", "netmask", "netmask", OptionName::Netmask, "clients of one such network count as one"),
    value("r", "real-server", "server-address", OptionName::RealServer, "real server at host[:port]"),
    switch("g", "gatewaying", Meaning::Method(ForwardingMethod::DirectRouting), "reach it by direct routing (default)"),
    switch("i", "ipip", Meaning::Method(ForwardingMethod::Tunneling), "reach it through a tunnel"),
    switch("m", "masquerading", Meaning::Method(ForwardingMethod::Masquerading), "reach it by NAT"),
    value("", "tun-type", "type", OptionName::TunnelType, "tunnel type: ipip (default), gue or gre"),
    value("", "tun-port", "port", OptionName::TunnelPort, "UDP port of a gue tunnel"),
    switch(
        "",
        "tun-nocsum",
        Meaning::TunnelChecksum(TunnelChecksum::None),
        "gue or gre tunnel without checksum (default)",
    ),
    switch("", "tun-csum", Meaning::TunnelChecksum(TunnelChecksum::Checksum), "gue or gre tunnel with checksum"),
    switch(
        "",
        "tun-remcsum",
        Meaning::TunnelChecksum(TunnelChecksum::Remote),
        "gue tunnel with remote checksum offload",
    ),
    value("w", "weight", "weight", OptionName::Weight, "capacity of the real server (default 1), 0: drain it"),
    value("x", "u-threshold", "count", OptionName::UpperThreshold, "connections at which it counts as full"),
    value("y", "l-threshold", "count", OptionName::LowerThreshold, "connections below which it has room again"),
    flag("c", "connection", OptionName::Connection, "list connections instead"),
    flag("", "timeout", OptionName::Timeout, "list the timeouts (tcp tcpfin udp) instead"),
    flag("", "daemon", OptionName::Daemon, "list the synchronisation daemons instead"),
    flag("", "stats", OptionName::Stats, "list counters"),
    flag("", "rate", OptionName::Rate, "list counts per second"),
    flag("X", "exact", OptionName::Exact, "print all digits of large numbers"),
    flag("", "thresholds", OptionName::Thresholds, "list thresholds"),
    flag("", "persistent-conn", OptionName::PersistentConnections, "list persistent connections"),
    flag("", "tun-info", OptionName::TunnelInfo, "list tunnel types"),
    flag("", "nosort", OptionName::NoSort, "list in the director's own order"),
    switch("", "sort", Meaning::Sort, "does nothing: listings are sorted anyway"),
    flag("o", "ops", OptionName::OnePacket, "schedule every UDP packet on its own"),
    flag("n", "numeric", OptionName::Numeric, "print addresses and ports as numbers"),
    value("b", "sched-flags", "flags", OptionName::SchedulerFlags, "scheduler flags, separated by commas"),
    daemon("syncid", "number", OptionName::SyncId, "which synchronisation group, 0 to 255 (default 0)"),
    daemon("sync-maxlen", "bytes", OptionName::SyncMaximumLength, "largest message (default: what the link takes)"),
    daemon("mcast-interface", "interface", OptionName::MulticastInterface, "link to send and listen on"),
    daemon("mcast-group", "address", OptionName::MulticastGroup, "multicast group (default 224.0.0.81)"),
    daemon("mcast-port", "port", OptionName::MulticastPort, "UDP port (default 8848)"),
    daemon("mcast-ttl", "number", OptionName::MulticastTtl, "time to live of messages (default 1)"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_at_their_options() {
        for (index, (option, _)) in OptionName::ALL.iter().enumerate() {
            assert_eq!(*option as usize, index);
        }
    }

    #[test]
    fn no_word_is_taken_twice() {
        for (index, entry) in TABLE.iter().enumerate() {
            for other in &TABLE[..index] {
                assert!(!entry.short.chars().any(|letter| other.short.contains(letter)), "-{}", entry.short);
                assert_ne!(entry.long, other.long);
            }
        }
    }

    #[test]
    fn every_option_has_a_word() {
        for (option, name) in OptionName::ALL {
            assert!(TABLE.iter().any(|entry| entry.meaning.option() == Some(option)), "{name}");
        }
    }
}
