//! State machines of the protocols, as data: which state follows which event, and how long a
//! connection may stay there.

pub mod sctp;
pub mod tcp;

use crate::base::Protocol;
use crate::table::Timeouts;

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

/// The protocols that ip_vs balances or follows.
pub fn is_supported(protocol: Protocol) -> bool {
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
        _ => "NONE",
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
