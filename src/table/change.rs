//! Changes of the configuration, one at a time.
//!
//! The control thread applies each to its own copy of the tables and then hands it to every
//! engine, in the same order. Single changes rather than whole snapshots, because the kernel's
//! schedulers react to each one (an edit that changes nothing still restarts wrr), and because
//! a change costs what it changes, however large the table is.

use super::{
    DaemonConfig, DaemonRole, DestinationConfig, DestinationKey, MarkRule, ServiceConfig, ServiceKey, Timeouts,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    AddService {
        key: ServiceKey,
        config: ServiceConfig,
    },
    EditService {
        key: ServiceKey,
        config: ServiceConfig,
    },
    DeleteService {
        key: ServiceKey,
    },
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
    /// Forgets former destinations: nobody has connections with them any more.
    ForgetFormer {
        destinations: Vec<(ServiceKey, DestinationKey)>,
    },
    SetTimeouts {
        timeouts: Timeouts,
    },
    SetSetting {
        name: String,
        value: String,
    },
    AddMark {
        rule: MarkRule,
    },
    DeleteMark {
        rule: MarkRule,
    },
    FlushMarks,
    /// Starts a synchronisation daemon whose configuration is complete, with so many ports.
    StartDaemon {
        config: DaemonConfig,
        ports: u32,
    },
    StopDaemon {
        role: DaemonRole,
    },
}
