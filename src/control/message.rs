//! What front ends ask of a director, and what it answers: typed, one answer for each request.
//!
//! These are the commands of the kernel's IPVS interface (with its errnos) and those of ours.
//! Every front end turns its own words into these; the control socket carries them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::base::{Family, Port, Protocol};
use crate::engine::server::Tally;
pub use crate::table::{DaemonConfig, DaemonRole};
use crate::table::{
    DestinationConfig, DestinationKey, Errno, ForwardingMethod, MarkRule, ServiceConfig, ServiceKey, Timeouts,
};

/// How many services' destinations a listing asks for at once: a listing of many services takes few
/// round trips, and no more answers are under way than a director keeps for a client.
pub const SERVICES_AT_ONCE: usize = 256;

/// A request to the director.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    AddService {
        key: ServiceKey,
        config: ServiceConfig,
    },
    /// Replaces the whole configuration.
    EditService {
        key: ServiceKey,
        config: ServiceConfig,
    },
    DeleteService {
        key: ServiceKey,
    },
    /// Deletes every service. Timeouts, settings and daemons stay.
    Flush,
    /// Zeroes the counters of one service and its destinations, or of everything.
    Zero {
        key: Option<ServiceKey>,
    },
    AddDestination {
        service: ServiceKey,
        key: DestinationKey,
        config: DestinationConfig,
    },
    EditDestination {
        service: ServiceKey,
        key: DestinationKey,
        config: DestinationConfig,
    },
    DeleteDestination {
        service: ServiceKey,
        key: DestinationKey,
    },
    /// A timeout of 0 stays as it is.
    SetTimeouts {
        timeouts: Timeouts,
    },
    StartDaemon {
        config: DaemonConfig,
    },
    StopDaemon {
        role: DaemonRole,
    },

    /// Answered by [`Reply::Info`].
    Info,
    /// Every service in the director's own order, answered by [`Reply::Services`].
    Services,
    /// One service, answered by [`Reply::Services`] with one entry, or ESRCH.
    Service {
        key: ServiceKey,
    },
    /// The destinations of a service, newest first; an unknown service has none.
    Destinations {
        service: ServiceKey,
    },
    /// Answered by [`Reply::Timeouts`].
    Timeouts,
    /// Answered by [`Reply::Daemons`], master first.
    Daemons,
    /// A page of the connection table from `cursor` on (0 is the beginning), answered by [`Reply::Connections`].
    Connections {
        cursor: u64,
    },
    /// The counters of everything together, answered by [`Reply::Totals`].
    Totals,
    /// What each worker counted since it started, answered by [`Reply::Workers`].
    Workers,

    /// Sets a `net.ipv4.vs` setting: ENOENT for an unknown name, EINVAL for a bad value.
    SetSetting {
        name: String,
        value: String,
    },
    /// The value of one setting, or of all (`None`), answered by [`Reply::Settings`].
    Settings {
        name: Option<String>,
    },
    AddMark {
        rule: MarkRule,
    },
    /// Deletes the first rule that is equal; ENOENT where none is.
    DeleteMark {
        rule: MarkRule,
    },
    FlushMarks,
    /// Answered by [`Reply::Marks`].
    Marks,
    /// What the director counted of drops and passes, answered by [`Reply::Stats`].
    Stats,
    /// What the director is: answered by [`Reply::Status`].
    Status,
    /// Answers for the virtual addresses and gateways that are the director's own, or leaves them to
    /// another director.
    Hold {
        holding: bool,
    },
    /// Ends the director in an orderly way.
    Shutdown,
    /// The virtual ports on which FTP is helped, answered by [`Reply::HelpedPorts`].
    HelpedPorts,
}

/// The answer to a request; a refused one is answered by its [`Errno`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    Done,
    Info(Info),
    Services(Vec<ServiceEntry>),
    Destinations(Vec<DestinationEntry>),
    Timeouts(Timeouts),
    Daemons(Vec<DaemonConfig>),
    Connections(ConnectionPage),
    Totals(Counters),
    Workers(Vec<Counters>),
    Settings(Vec<(String, String)>),
    Marks(Vec<MarkRule>),
    Stats(Vec<StatLine>),
    Status(Status),
    HelpedPorts(Vec<Port>),
}

/// One answer, as it travels.
pub type Answer = Result<Reply, Errno>;

/// Version and table size, as the heading of a listing shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// 0x010201 is version 1.2.1.
    pub version: u32,
    pub connection_table_size: u32,
}

/// What is counted of a service, a destination, or everything, as of the last snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    pub connections: u64,
    pub in_packets: u64,
    pub out_packets: u64,
    pub in_bytes: u64,
    pub out_bytes: u64,
    /// Per second, as the kernel's estimator smooths them.
    pub rates: Rates,
}

impl From<Tally> for Counters {
    fn from(tally: Tally) -> Counters {
        Counters {
            connections: tally.connections,
            in_packets: tally.in_packets,
            out_packets: tally.out_packets,
            in_bytes: tally.in_bytes,
            out_bytes: tally.out_bytes,
            rates: Rates::default(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rates {
    pub connections: u64,
    pub in_packets: u64,
    pub out_packets: u64,
    pub in_bytes: u64,
    pub out_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceEntry {
    pub key: ServiceKey,
    pub config: ServiceConfig,
    pub counters: Counters,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DestinationEntry {
    pub key: DestinationKey,
    pub config: DestinationConfig,
    pub active: u32,
    pub inactive: u32,
    pub persistent: u32,
    pub counters: Counters,
}

/// Part of the connection table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionPage {
    pub entries: Vec<ConnectionEntry>,
    /// Where the next page starts; `None` after the last one.
    pub next: Option<u64>,
}

/// One connection or persistence template, with the fields of `/proc/net/ip_vs_conn`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionEntry {
    pub protocol: Protocol,
    pub client: IpAddr,
    pub client_port: Port,
    /// For a template of a mark service: the mark in the place of an address.
    pub virtual_address: IpAddr,
    pub virtual_port: Port,
    pub destination: IpAddr,
    pub destination_port: Port,
    /// Name of the state, as the kernel prints it.
    pub state: String,
    /// Whole seconds until it expires, rounded down.
    pub expires: u32,
    /// Whether it was made by synchronisation.
    pub synchronised: bool,
    pub method: ForwardingMethod,
    /// Persistence engine's name and data (SIP Call-ID), on templates only.
    pub engine: Option<(String, Vec<u8>)>,
}

/// A named count: how many packets were dropped or left alone, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatLine {
    /// `drop`, `pass`, `port`, ...: what the count is of.
    pub group: String,
    pub name: String,
    /// One sentence saying what it means.
    pub meaning: String,
    pub count: u64,
}

/// What a director is and how it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub process: u32,
    /// Seconds since it started.
    pub uptime: u64,
    pub workers: u32,
    pub connections: u64,
    pub maximum_connections: u64,
    /// The lines printed at start: links, how the kernel is kept away, what is not permitted.
    pub lines: Vec<String>,
}

impl ConnectionEntry {
    pub fn family(&self) -> Family {
        Family::of(&self.client)
    }
}

/// A way to a director: over the control socket, or in process for replays and tests.
pub trait Access {
    /// Asks one thing and waits for the answer.
    ///
    /// # Errors
    /// The inner error is the director's refusal; the outer one means the way itself broke.
    fn ask(&mut self, request: Request) -> std::io::Result<Answer>;

    /// Asks many things at once; the answers come in the same order. Front ends use it where a
    /// command line makes thousands of changes.
    ///
    /// # Errors
    /// As [`Access::ask`].
    fn ask_all(&mut self, requests: Vec<Request>) -> std::io::Result<Vec<Answer>> {
        requests.into_iter().map(|request| self.ask(request)).collect()
    }
}
