//! When a master tells of a connection: decided after each packet of the client.

use crate::base::{Protocol, Tick};
use crate::engine::conn::{Connection, Sent};
use crate::engine::proto::{sctp, tcp};
use crate::table::Settings;

/// A difference of expiries that counts, at the least, whatever the timeout: milliseconds.
const LEAST_DIFFERENCE: i64 = 10_000;

/// What will have been told of the connection if it is told of now; `None` when it is not to be.
///
/// `packets` is how many packets the client has sent, `in_persistence` whether a template controls
/// the connection.
pub(super) fn to_tell(
    now: Tick,
    settings: &Settings,
    connection: &Connection,
    packets: u32,
    in_persistence: impl FnOnce() -> bool,
) -> Option<Sent> {
    let state = connection.state;
    let is_template = connection.is_template();
    let expiry = now + u64::from(connection.timeout) * 1000;
    let changed = if is_template {
        false
    } else if settings.sync_persist_mode != 0 && in_persistence() {
        return None;
    } else {
        let (told, established) = match connection.protocol {
            Protocol::TCP => is_told_tcp(state),
            Protocol::SCTP => is_told_sctp(state),
            _ => (true, true),
        };
        if !told {
            return None;
        }
        !established && state != connection.sent.state()
    };
    if changed {
        return Some(Sent::new(state, expiry, 0));
    }
    let repeats = match refresh(now, settings, connection, expiry) {
        Refresh::Due(repeats) => repeats,
        Refresh::Fresh => return None,
    };
    let (threshold, period) = settings.sync_threshold;
    let packets = packets as i32;
    let due = if period > 0 {
        is_template || packets % period == threshold
    } else {
        settings.sync_refresh_period > 0 || packets == threshold
    };
    due.then(|| Sent::new(state, expiry, repeats))
}

enum Refresh {
    /// To be told, as the repetition of this number; 0 for what is news.
    Due(u8),
    /// The others know well enough when it expires.
    Fresh,
}

/// With `sync_refresh_period` set: nothing is told while the expiry is close to the one told last,
/// except so many repetitions (`sync_retries`), an eighth of the period apart.
fn refresh(now: Tick, settings: &Settings, connection: &Connection, expiry: Tick) -> Refresh {
    let period = i64::from(settings.sync_refresh_period) * 1000;
    if period <= 0 {
        return Refresh::Due(0);
    }
    let timeout = i64::from(connection.timeout) * 1000;
    let sent = connection.sent;
    if sent.until(expiry).abs() >= period.min(LEAST_DIFFERENCE.max(timeout / 2)) {
        return Refresh::Due(0);
    }
    let since_told = sent.until(now) + timeout;
    if i32::from(sent.repeats()) >= settings.sync_retries || since_told < period / 8 {
        return Refresh::Fresh;
    }
    Refresh::Due(sent.repeats() + 1)
}

/// Whether a state is told of at all, and whether it is the one that waits for the threshold.
fn is_told_tcp(state: u8) -> (bool, bool) {
    use tcp::State::{Close, CloseWait, Established, FinWait, TimeWait};
    let state = tcp::State::from_number(state);
    let established = state == Some(Established);
    (established || matches!(state, Some(FinWait | Close | CloseWait | TimeWait)), established)
}

fn is_told_sctp(state: u8) -> (bool, bool) {
    use sctp::State::{Closed, Established, ShutdownAckSent, ShutdownReceived, ShutdownSent};
    let state = sctp::State::from_number(state);
    let established = state == Some(Established);
    (established || matches!(state, Some(ShutdownSent | ShutdownReceived | ShutdownAckSent | Closed)), established)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Address, Family, Port};
    use crate::engine::conn::{ConnFlags, TupleKey};

    fn connection(protocol: Protocol, state: u8, timeout: u32) -> Connection {
        let key = TupleKey {
            family: Family::V4,
            protocol,
            client: Address::v4([10, 0, 0, 2]),
            client_port: Port(40000),
            virtual_address: Address::v4([10, 9, 9, 9]),
            virtual_port: Port(80),
        };
        let server = Address::v4([172, 16, 0, 11]);
        let mut connection = Connection::new(key, None, Family::V4, server, Port(80), ConnFlags(0), 0);
        connection.state = state;
        connection.timeout = timeout;
        connection
    }

    fn settings(threshold: (i32, i32), refresh: i32, retries: i32) -> Settings {
        let mut settings = Settings { sync_threshold: threshold, ..Settings::default() };
        settings.sync_refresh_period = refresh;
        settings.sync_retries = retries;
        settings
    }

    #[test]
    fn an_established_connection_is_told_of_at_the_threshold_and_each_period() {
        let connection = connection(Protocol::TCP, tcp::State::Established as u8, 900);
        let told =
            |threshold, packets| to_tell(Tick(0), &settings(threshold, 0, 0), &connection, packets, || false).is_some();
        let moments: Vec<u32> = (1..120).filter(|&packets| told((3, 50), packets)).collect();
        assert_eq!(moments, [3, 53, 103]);
        assert_eq!((1..20).filter(|&packets| told((5, 0), packets)).collect::<Vec<_>>(), [5]);
        assert_eq!((1..4).filter(|&packets| told((0, 1), packets)).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn states_of_opening_are_never_told_of_and_those_of_closing_at_once() {
        for state in 0..=10 {
            let connection = connection(Protocol::TCP, state, 60);
            let told = to_tell(Tick(0), &settings((3, 50), 0, 0), &connection, 1, || false);
            assert_eq!(told.is_some(), [4, 5, 6, 7].contains(&state), "TCP state {state}");
            let at_threshold = to_tell(Tick(0), &settings((3, 50), 0, 0), &connection, 3, || false);
            assert_eq!(at_threshold.is_some(), [1, 4, 5, 6, 7].contains(&state), "TCP state {state}");
        }
        for state in 0..=13 {
            let connection = connection(Protocol::SCTP, state, 60);
            let told = to_tell(Tick(0), &settings((3, 50), 0, 0), &connection, 1, || false);
            assert_eq!(told.is_some(), [9, 10, 11, 13].contains(&state), "SCTP state {state}");
        }
        let mut closing = connection(Protocol::TCP, tcp::State::FinWait as u8, 120);
        closing.sent = Sent::new(closing.state, Tick(0), 0);
        assert_eq!(to_tell(Tick(0), &settings((3, 50), 0, 0), &closing, 4, || false), None, "told already");
    }

    #[test]
    fn templates_travel_alone_where_the_mode_says_so() {
        let mut mode = settings((3, 50), 0, 0);
        mode.sync_persist_mode = 1;
        let ordinary = connection(Protocol::TCP, 1, 900);
        assert!(to_tell(Tick(0), &mode, &ordinary, 3, || true).is_none());
        assert!(to_tell(Tick(0), &mode, &ordinary, 3, || false).is_some());
        let mut template = connection(Protocol::TCP, 0, 60);
        template.flags.set(ConnFlags::TEMPLATE);
        assert!(to_tell(Tick(0), &mode, &template, 7, || true).is_some(), "with every packet");
        assert!(to_tell(Tick(0), &settings((3, 0), 0, 0), &template, 7, || true).is_none(), "without a period, once");
        assert!(to_tell(Tick(0), &settings((3, 0), 0, 0), &template, 3, || true).is_some());
    }

    #[test]
    fn a_refresh_period_keeps_quiet_except_for_repetitions() {
        let settings = settings((0, 0), 32, 2);
        let mut flow = connection(Protocol::UDP, 0, 300);
        flow.sent = Sent::new(0, Tick(0), 0);
        let mut told = Vec::new();
        for second in 0..80 {
            let now = Tick::from_seconds(second);
            if let Some(sent) = to_tell(now, &settings, &flow, 1, || false) {
                told.push((second, sent.repeats()));
                flow.sent = sent;
            }
        }
        // Each repetition tells a new expiry, from which the next eighth and the period count.
        assert_eq!(told, [(0, 0), (4, 1), (8, 2), (40, 0), (44, 1), (48, 2)]);
    }

    #[test]
    fn short_timeouts_are_compared_with_ten_seconds_at_the_least() {
        let mut flow = connection(Protocol::UDP, 0, 6);
        flow.sent = Sent::new(0, Tick(0), 0);
        let told = |second| to_tell(Tick::from_seconds(second), &settings((0, 0), 60, 0), &flow, 1, || false);
        assert!(told(3).is_none());
        assert!(told(4).is_some());
    }
}
