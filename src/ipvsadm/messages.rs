//! What the operator is told, word for word as the original says it.
//!
//! Two families: [`Complaint`], about what was asked (exit status 2), and [`refusal`], the
//! director's errno in words that depend on what was tried.

use crate::control::message::Request;
use crate::table::Errno;

/// The line that `-v` prints and the help begins with.
pub const VERSION: &str = "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)";

/// What is wrong with a command line. Nothing has been asked of the director then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Complaint {
    /// a second command on the same line
    #[error("invalid option `{word}'")]
    SecondCommand { word: String },
    /// an option that stands twice
    #[error("multiple '{option}' options specified")]
    Repeated { option: &'static str },
    /// a word that belongs to no option
    #[error("unexpected argument {word}")]
    UnexpectedWord { word: String },
    /// a service address that cannot be read
    #[error("illegal virtual server address[:port] specified")]
    ServiceAddress,
    /// a real server's address that cannot be read
    #[error("illegal real server address[:port] specified")]
    ServerAddress,
    /// a mark outside 1 to 4294967295
    #[error("invalid fwmark value `{word}' specified")]
    Mark { word: String },
    /// `-6` where no mark stands before
    #[error("-6 used before -f\n")]
    FamilyBeforeMark,
    /// a timeout out of range
    #[error("invalid timeout value `{word}' specified")]
    Timeout { word: String },
    /// `--set` with fewer than three words
    #[error("--set option requires 3 timeout values")]
    TooFewTimeouts,
    /// a netmask that cannot be read
    #[error("illegal virtual server persistent mask specified")]
    Netmask,
    /// a prefix length outside 1 to 128
    #[error("illegal ipv6 netmask specified")]
    PrefixLength,
    /// a weight out of range
    #[error("illegal weight specified")]
    Weight,
    /// an upper threshold out of range
    #[error("illegal u_threshold specified")]
    UpperThreshold,
    /// a lower threshold out of range
    #[error("illegal l_threshold specified")]
    LowerThreshold,
    /// a tunnel type that does not exist
    #[error("illegal tunnel type specified")]
    TunnelType,
    /// a tunnel port out of range
    #[error("illegal tunnel port specified")]
    TunnelPort,
    /// a synchronisation id out of range
    #[error("illegal syncid specified")]
    SyncId,
    /// a length of synchronisation messages out of range
    #[error("illegal sync-maxlen specified")]
    SyncMaximumLength,
    /// an address that is no IPv4 multicast group
    #[error("invalid IPv4 mcast-group `{word}'")]
    Group4 { word: String },
    /// an address that is no IPv6 multicast group
    #[error("invalid IPv6 mcast-group `{word}'")]
    Group6 { word: String },
    /// a multicast port out of range
    #[error("illegal mcast-port specified")]
    MulticastPort,
    /// a multicast time to live out of range
    #[error("illegal mcast-ttl specified")]
    MulticastTtl,
    /// `--start-daemon` with neither `master` nor `backup`
    #[error("illegal start-daemon parameter specified")]
    StartDaemonRole,
    /// `--stop-daemon` with neither `master` nor `backup`
    #[error("illegal start_daemon specified")]
    StopDaemonRole,
    /// a scheduler flag of another scheduler
    #[error("incompatible scheduler flag `{word}'")]
    ForeignSchedulerFlag { word: String },
    /// a scheduler flag that does not exist
    #[error("invalid scheduler flag `{word}'")]
    SchedulerFlag { word: String },
    /// an option that the command needs
    #[error("You need to supply the '{option}' option for the '{command}' command")]
    Missing { option: &'static str, command: &'static str },
    /// an option that the command does not know
    #[error("Illegal '{option}' option with the '{command}' command")]
    Illegal { option: &'static str, command: &'static str },
    /// two options of which the command takes one
    #[error("The option '{option}' conflicts with the '{other}' option in the '{command}' command")]
    Conflict { option: &'static str, other: &'static str, command: &'static str },
    /// an option that the tunnel type needs
    #[error("You need to supply the '{option}' option for the '{tunnel}' tunnel type")]
    MissingForTunnel { option: &'static str, tunnel: &'static str },
    /// an option that the tunnel type does not have
    #[error("Illegal '{option}' option with the '{tunnel}' tunnel type")]
    IllegalForTunnel { option: &'static str, tunnel: &'static str },
    /// two options of which the tunnel type takes one
    #[error("The option '{option}' conflicts with the '{other}' option in the '{tunnel}' tunnel type")]
    ConflictForTunnel { option: &'static str, other: &'static str, tunnel: &'static str },
    /// a service without port that is not persistent
    #[error("Zero port specified for non-persistent service")]
    ZeroPort,
    /// one-packet scheduling of a service that is not UDP
    #[error("One-Packet Scheduling is only for UDP virtual services")]
    OnePacket,
    /// a real server of another family that is not reached through a tunnel
    #[error("Different address family is allowed only for tunneling servers")]
    MixedFamilies,
    /// tunnel options for a real server that is not reached through a tunnel
    #[error("Tunnel options conflict with forward method")]
    TunnelOptions,
    /// columns asked of a listing that has none
    #[error("options conflicts in the list command")]
    ListOptions,
}

/// What was tried when the director refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    AddService,
    EditService,
    /// Deleting, zeroing or showing one service.
    UseService,
    AddServer,
    UseServer,
    StartDaemon,
    StopDaemon,
    Other,
}

impl Operation {
    pub fn of(request: &Request) -> Operation {
        match request {
            Request::AddService { .. } => Operation::AddService,
            Request::EditService { .. } => Operation::EditService,
            Request::DeleteService { .. } | Request::Zero { .. } | Request::Service { .. } => Operation::UseService,
            Request::AddDestination { .. } => Operation::AddServer,
            Request::EditDestination { .. } | Request::DeleteDestination { .. } => Operation::UseServer,
            Request::StartDaemon { .. } => Operation::StartDaemon,
            Request::StopDaemon { .. } => Operation::StopDaemon,
            _ => Operation::Other,
        }
    }
}

/// The message for an errno of the director.
pub fn refusal(operation: Operation, errno: Errno) -> &'static str {
    match (operation, errno) {
        (Operation::AddService, Errno::EEXIST) => "Service already exists",
        (Operation::AddService | Operation::EditService, Errno::ENOENT) => "Scheduler or persistence engine not found",
        (Operation::EditService | Operation::UseService, Errno::ESRCH) => "No such service",
        (Operation::AddServer | Operation::UseServer, Errno::ESRCH) => "Service not defined",
        (Operation::AddServer, Errno::EEXIST) => "Destination already exists",
        (Operation::UseServer, Errno::ENOENT) => "No such destination",
        (Operation::StartDaemon, Errno::EEXIST) => "Daemon has already run",
        (Operation::StopDaemon, Errno::ESRCH) => "No daemon is running",
        (_, Errno::EPERM) => "Permission denied (you must be root)",
        (_, Errno::EINVAL) => "Invalid operation.  Possibly wrong module version, address not unicast, ...",
        (_, Errno::ENOPROTOOPT) => "Protocol not available",
        (_, Errno::ENOMEM) => "Memory allocation problem",
        (_, Errno::EOPNOTSUPP) => "Operation not supported with IPv6",
        (_, Errno::EAFNOSUPPORT) => "Operation not supported with specified address family",
        (_, Errno::EMSGSIZE) => "Module is wrong version",
        (_, Errno::ENOENT) => "No such file or directory",
        (_, Errno::ESRCH) => "No such process",
        (_, Errno::EEXIST) => "File exists",
        (_, Errno::ENODEV) => "No such device",
        (_, Errno::EADDRINUSE) => "Address already in use",
        (_, Errno::EADDRNOTAVAIL) => "Cannot assign requested address",
        (_, Errno::ERANGE) => "Numerical result out of range",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_depend_on_what_was_tried() {
        use Operation::*;
        let rows = [
            (AddService, Errno::EEXIST, "Service already exists"),
            (AddService, Errno::ENOENT, "Scheduler or persistence engine not found"),
            (AddService, Errno::ESRCH, "No such process"),
            (EditService, Errno::ENOENT, "Scheduler or persistence engine not found"),
            (EditService, Errno::ESRCH, "No such service"),
            (EditService, Errno::EEXIST, "File exists"),
            (UseService, Errno::ESRCH, "No such service"),
            (UseService, Errno::ENOENT, "No such file or directory"),
            (AddServer, Errno::ESRCH, "Service not defined"),
            (AddServer, Errno::EEXIST, "Destination already exists"),
            (AddServer, Errno::ERANGE, "Numerical result out of range"),
            (UseServer, Errno::ESRCH, "Service not defined"),
            (UseServer, Errno::ENOENT, "No such destination"),
            (StartDaemon, Errno::EEXIST, "Daemon has already run"),
            (StartDaemon, Errno::ENODEV, "No such device"),
            (StopDaemon, Errno::ESRCH, "No daemon is running"),
            (Other, Errno::ESRCH, "No such process"),
            (Other, Errno::EPERM, "Permission denied (you must be root)"),
            (Other, Errno::EINVAL, "Invalid operation.  Possibly wrong module version, address not unicast, ..."),
            (Other, Errno::ENOPROTOOPT, "Protocol not available"),
            (Other, Errno::ENOMEM, "Memory allocation problem"),
            (Other, Errno::EOPNOTSUPP, "Operation not supported with IPv6"),
            (Other, Errno::EAFNOSUPPORT, "Operation not supported with specified address family"),
            (Other, Errno::EMSGSIZE, "Module is wrong version"),
        ];
        for (operation, errno, message) in rows {
            assert_eq!(refusal(operation, errno), message, "{operation:?} {errno:?}");
        }
    }
}
