//! State machines of the protocols, as data: which state follows which event, and how long a
//! connection may stay there.

pub mod sctp;
pub mod tcp;

use crate::base::{Family, Protocol};
use crate::table::Timeouts;
use crate::wire::Dissected;

/// Which way a packet goes, as far as the state tables care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    Input,
    /// From the real server.
    Output,
    /// From the client, while no packet of the real server has ever been seen.
    InputOnly,
}

/// Whether a packet may belong to a connection: the protocols that ip_vs balances or follows. An
/// authentication header of IPv6 counts for what stands behind it; alone it is none.
pub fn is_balanced(parts: &Dissected) -> bool {
    is_supported(parts.protocol) && !(parts.family == Family::V6 && parts.protocol == Protocol::AH)
}

/// Whether a packet moves the state of its connection: AH and ESP only keep one alive.
pub fn has_states(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::TCP | Protocol::UDP | Protocol::SCTP)
}

fn is_supported(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::TCP | Protocol::UDP | Protocol::SCTP | Protocol::ESP | Protocol::AH)
}

/// State of a template none of whose connections was ever established.
pub const TEMPLATE_NONE: u8 = 0;
/// State bit of a template that had an established connection.
pub const TEMPLATE_ASSURED: u8 = 1;

/// The name of a state, as the connection list prints it.
pub fn state_name(protocol: Protocol, template: bool, state: u8) -> &'static str {
    if template {
        return if state & TEMPLATE_ASSURED != 0 { "ASSURED" } else { "NONE" };
    }
    match protocol {
        Protocol::TCP => tcp::State::from_number(state).map_or("ERR!", tcp::State::name),
        Protocol::UDP => "UDP",
        Protocol::SCTP => sctp::State::from_number(state).map_or("ERR!", sctp::State::name),
        Protocol::IP => "NONE",
        // AH and ESP have no states; only another director can tell of a connection of theirs.
        _ => "ERR!",
    }
}

/// Seconds a connection stays in `state` without a packet.
pub fn timeout(protocol: Protocol, state: u8, timeouts: &Timeouts) -> u32 {
    match protocol {
        Protocol::TCP => tcp::State::from_number(state).map_or(60, |state| state.timeout(timeouts)),
        Protocol::UDP => timeouts.udp,
        Protocol::SCTP => sctp::State::from_number(state).map_or(60, sctp::State::timeout),
        _ => 60,
    }
}
