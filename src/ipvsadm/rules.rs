//! Which options go with which command, and which tunnel options with which tunnel.
//!
//! The rules are data; the walk over them is the original's, so that of several mistakes the
//! same one is named.

use super::messages::Complaint;
use super::options::{Given, OptionName, Verb};
use crate::table::TunnelKind;

/// What may stand on a command line. What is in none of the lists is illegal.
struct Rules {
    required: &'static [OptionName],
    optional: &'static [OptionName],
    /// Options of which at most one may stand.
    alternatives: &'static [OptionName],
}

const NOTHING: Rules = Rules { required: &[], optional: &[], alternatives: &[] };

const SERVICE: Rules = Rules {
    required: &[OptionName::ServiceAddress],
    optional: &[
        OptionName::Scheduler,
        OptionName::Persistent,
        OptionName::Netmask,
        OptionName::OnePacket,
        OptionName::PersistenceEngine,
        OptionName::SchedulerFlags,
    ],
    ..NOTHING
};

const SERVER: Rules = Rules {
    required: &[OptionName::ServiceAddress, OptionName::RealServer],
    optional: &[
        OptionName::ForwardingMethod,
        OptionName::Weight,
        OptionName::UpperThreshold,
        OptionName::LowerThreshold,
        OptionName::TunnelType,
        OptionName::TunnelPort,
        OptionName::TunnelNoChecksum,
        OptionName::TunnelChecksum,
        OptionName::TunnelRemoteChecksum,
    ],
    ..NOTHING
};

const LIST: Rules = Rules {
    optional: &[
        OptionName::Numeric,
        OptionName::Stats,
        OptionName::Rate,
        OptionName::Thresholds,
        OptionName::PersistentConnections,
        OptionName::NoSort,
        // Of no use here, but allowed.
        OptionName::SyncId,
        OptionName::Exact,
        OptionName::TunnelInfo,
    ],
    alternatives: &[OptionName::Connection, OptionName::ServiceAddress, OptionName::Timeout, OptionName::Daemon],
    ..NOTHING
};

const START_DAEMON: Rules = Rules {
    optional: &[
        OptionName::MulticastInterface,
        OptionName::SyncId,
        OptionName::SyncMaximumLength,
        OptionName::MulticastGroup,
        OptionName::MulticastPort,
        OptionName::MulticastTtl,
    ],
    ..NOTHING
};

const IPIP: Rules = NOTHING;

const GUE: Rules = Rules {
    required: &[OptionName::TunnelPort],
    alternatives: &[OptionName::TunnelNoChecksum, OptionName::TunnelChecksum, OptionName::TunnelRemoteChecksum],
    ..NOTHING
};

const GRE: Rules = Rules { alternatives: &[OptionName::TunnelNoChecksum, OptionName::TunnelChecksum], ..NOTHING };

fn of_command(verb: Verb) -> Rules {
    match verb {
        Verb::AddService | Verb::EditService => SERVICE,
        Verb::DeleteService => Rules { required: &[OptionName::ServiceAddress], ..NOTHING },
        Verb::AddServer | Verb::EditServer => SERVER,
        Verb::DeleteServer => Rules { required: &[OptionName::ServiceAddress, OptionName::RealServer], ..NOTHING },
        Verb::List => LIST,
        Verb::Zero => Rules { optional: &[OptionName::ServiceAddress], ..NOTHING },
        Verb::StartDaemon => START_DAEMON,
        Verb::StopDaemon => Rules { optional: &[OptionName::SyncId], ..NOTHING },
        Verb::Save => Rules { optional: &[OptionName::Numeric], ..NOTHING },
        Verb::Flush | Verb::SetTimeouts | Verb::Restore | Verb::Help | Verb::Version => NOTHING,
    }
}

/// How an option breaks the rules.
enum Breach {
    Missing(OptionName),
    Illegal(OptionName),
    /// Both are given; the first stands later in the order of checking.
    Conflict(OptionName, OptionName),
}

impl Rules {
    /// The first breach among `options`.
    fn check(&self, options: impl Iterator<Item = OptionName>, given: Given) -> Option<Breach> {
        let mut alternative = None;
        for option in options {
            if !given.has(option) {
                if self.required.contains(&option) {
                    return Some(Breach::Missing(option));
                }
            } else if self.alternatives.contains(&option) {
                if let Some(other) = alternative.replace(option) {
                    return Some(Breach::Conflict(option, other));
                }
            } else if !self.required.contains(&option) && !self.optional.contains(&option) {
                return Some(Breach::Illegal(option));
            }
        }
        None
    }
}

/// Checks the options of a command.
///
/// # Errors
/// The first option that is missing, illegal or in conflict.
pub fn check_command(verb: Verb, given: Given) -> Result<(), Complaint> {
    let command = verb.name();
    let options = OptionName::ALL.iter().map(|(option, _)| *option);
    match of_command(verb).check(options, given) {
        None => Ok(()),
        Some(Breach::Missing(option)) => Err(Complaint::Missing { option: option.name(), command }),
        Some(Breach::Illegal(option)) => Err(Complaint::Illegal { option: option.name(), command }),
        Some(Breach::Conflict(option, other)) => {
            Err(Complaint::Conflict { option: option.name(), other: other.name(), command })
        }
    }
}

/// The tunnel options that depend on the tunnel type, in the order they are checked.
const TUNNEL_OPTIONS: [OptionName; 4] = [
    OptionName::TunnelPort,
    OptionName::TunnelNoChecksum,
    OptionName::TunnelChecksum,
    OptionName::TunnelRemoteChecksum,
];

/// Checks the tunnel options of a real server that is reached through a tunnel.
///
/// # Errors
/// The first option that is missing, illegal or in conflict.
pub fn check_tunnel(kind: TunnelKind, given: Given) -> Result<(), Complaint> {
    let (rules, tunnel) = match kind {
        TunnelKind::Ipip => (IPIP, "ipip"),
        TunnelKind::Gue => (GUE, "gue"),
        TunnelKind::Gre => (GRE, "gre"),
    };
    match rules.check(TUNNEL_OPTIONS.into_iter(), given) {
        None => Ok(()),
        Some(Breach::Missing(option)) => Err(Complaint::MissingForTunnel { option: option.name(), tunnel }),
        Some(Breach::Illegal(option)) => Err(Complaint::IllegalForTunnel { option: option.name(), tunnel }),
        Some(Breach::Conflict(option, other)) => {
            Err(Complaint::ConflictForTunnel { option: option.name(), other: other.name(), tunnel })
        }
    }
}

/// Whether any option is given that only tunnels have.
pub fn tunnel_options_given(given: Given) -> bool {
    given.has(OptionName::TunnelType) || TUNNEL_OPTIONS.into_iter().any(|option| given.has(option))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(verb: Verb, options: &[OptionName]) -> String {
        let mut given = Given::default();
        options.iter().for_each(|option| assert!(given.add(*option)));
        check_command(verb, given).err().map_or(String::new(), |complaint| complaint.to_string())
    }

    #[test]
    fn the_first_breach_in_the_order_of_options_is_named() {
        use OptionName::*;
        let rows: &[(Verb, &[OptionName], &str)] = &[
            (Verb::AddServer, &[ServiceAddress, RealServer, Weight], ""),
            (
                Verb::AddServer,
                &[Weight],
                "You need to supply the 'service-address' option for the 'add-server' command",
            ),
            (
                Verb::AddServer,
                &[ServiceAddress, OnePacket],
                "You need to supply the 'real-server' option for the 'add-server' command",
            ),
            (Verb::AddServer, &[Numeric], "Illegal 'numeric' option with the 'add-server' command"),
            (Verb::List, &[Weight, ServiceAddress], "Illegal 'weight' option with the 'list' command"),
            (
                Verb::List,
                &[Timeout, Daemon],
                "The option 'daemon' conflicts with the 'timeout' option in the 'list' command",
            ),
            (
                Verb::List,
                &[Connection, ServiceAddress, Daemon],
                "The option 'service-address' conflicts with the 'connection' option in the 'list' command",
            ),
            (Verb::List, &[SyncId, Stats, Rate, Exact, NoSort], ""),
            (Verb::Flush, &[ServiceAddress], "Illegal 'service-address' option with the 'flush' command"),
            (Verb::Zero, &[ServiceAddress], ""),
            (Verb::StopDaemon, &[SyncId], ""),
            (Verb::StopDaemon, &[MulticastTtl], "Illegal 'mcast-ttl' option with the 'stop-daemon' command"),
        ];
        for (verb, options, expected) in rows {
            assert_eq!(message(*verb, options), *expected, "{verb:?} {options:?}");
        }
    }

    #[test]
    fn tunnels_have_rules_of_their_own() {
        use OptionName::*;
        let rows: &[(TunnelKind, &[OptionName], &str)] = &[
            (TunnelKind::Ipip, &[TunnelType], ""),
            (TunnelKind::Ipip, &[TunnelChecksum], "Illegal 'tun-csum' option with the 'ipip' tunnel type"),
            (TunnelKind::Gue, &[], "You need to supply the 'tun-port' option for the 'gue' tunnel type"),
            (TunnelKind::Gue, &[TunnelPort, TunnelRemoteChecksum], ""),
            (
                TunnelKind::Gue,
                &[TunnelPort, TunnelNoChecksum, TunnelChecksum],
                "The option 'tun-csum' conflicts with the 'tun-nocsum' option in the 'gue' tunnel type",
            ),
            (TunnelKind::Gre, &[TunnelPort], "Illegal 'tun-port' option with the 'gre' tunnel type"),
            (TunnelKind::Gre, &[TunnelRemoteChecksum], "Illegal 'tun-remcsum' option with the 'gre' tunnel type"),
        ];
        for (kind, options, expected) in rows {
            let mut given = Given::default();
            options.iter().for_each(|option| assert!(given.add(*option)));
            let complaint = check_tunnel(*kind, given).err().map_or(String::new(), |error| error.to_string());
            assert_eq!(complaint, *expected, "{kind:?} {options:?}");
        }
    }
}
