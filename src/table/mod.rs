//! What the operator asked for: services, destinations, settings, mark rules; and what the
//! machine around us offers: links, addresses, routes.
//!
//! Plain data with its rules. Both the control thread and every engine hold a copy; the engine
//! adds what happens at run time (connection counts, scheduler state).

pub mod change;
pub mod daemon;
pub mod errno;
pub mod mark;
pub mod network;
pub mod policy;
pub mod service;
pub mod settings;

pub use change::Change;
pub use daemon::{DaemonConfig, DaemonRole};
pub use errno::Errno;
pub use mark::{MarkMatch, MarkRule};
pub use network::{Link, Network, NextHop, Route, RouteKind};
pub use policy::{Flow, Policy};
pub use service::{
    DestinationConfig, DestinationKey, ForwardingMethod, SchedulerKind, ServiceConfig, ServiceFlags, ServiceKey,
    Tunnel, TunnelChecksum, TunnelKind,
};
pub use settings::{Settings, Timeouts};
