//! TCP as a balancer sees it: a state machine on flags alone, without sequence numbers.

use crate::table::Timeouts;
use crate::wire::transport::TcpFlags;

use super::Direction;

/// States, numbered as synchronisation messages carry them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum State {
    #[default]
    None,
    Established,
    SynSent,
    SynReceived,
    FinWait,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    SynAck,
}

use State::*;

const STATES: [State; 11] =
    [None, Established, SynSent, SynReceived, FinWait, TimeWait, Close, CloseWait, LastAck, Listen, SynAck];

impl State {
    /// How many states there are.
    pub const COUNT: u16 = STATES.len() as u16;

    pub fn from_number(number: u8) -> Option<State> {
        STATES.get(usize::from(number)).copied()
    }

    pub fn name(self) -> &'static str {
        match self {
            None => "NONE",
            Established => "ESTABLISHED",
            SynSent => "SYN_SENT",
            SynReceived => "SYN_RECV",
            FinWait => "FIN_WAIT",
            TimeWait => "TIME_WAIT",
            Close => "CLOSE",
            CloseWait => "CLOSE_WAIT",
            LastAck => "LAST_ACK",
            Listen => "LISTEN",
            SynAck => "SYNACK",
        }
    }

    pub fn timeout(self, timeouts: &Timeouts) -> u32 {
        match self {
            None => 2,
            Established => timeouts.tcp,
            FinWait => timeouts.tcp_fin,
            SynSent | TimeWait | Listen | SynAck => 120,
            SynReceived | CloseWait => 60,
            Close => 10,
            LastAck => 30,
        }
    }

    /// Whether a connection in this state counts as active at its destination.
    pub fn is_active(self) -> bool {
        matches!(self, Established | SynSent | SynReceived | SynAck)
    }
}

/// Whether a connection in the state of this number has nothing more to say.
pub fn is_over(state: u8) -> bool {
    matches!(State::from_number(state), Some(TimeWait | Close))
}

/// Which of two state tables applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    Normal,
    /// `secure_tcp`: a connection is established only when the real server has answered.
    Secure,
}

/// Rows are the current state; columns SYN, FIN, ACK, RST.
type Transitions = [[State; 4]; 11];

const INPUT: Transitions = [
    [SynReceived, Close, Established, Close],
    [Established, CloseWait, Established, Close],
    [Established, SynSent, SynSent, Close],
    [SynReceived, TimeWait, Established, SynReceived],
    [SynReceived, TimeWait, FinWait, Close],
    [SynReceived, TimeWait, TimeWait, Close],
    [SynReceived, Close, Close, Close],
    [SynReceived, CloseWait, CloseWait, Close],
    [SynReceived, LastAck, Close, LastAck],
    [SynReceived, Listen, Listen, Listen],
    [SynReceived, TimeWait, Established, SynReceived],
];

const OUTPUT: Transitions = [
    [SynSent, TimeWait, Established, Close],
    [Established, FinWait, Established, Close],
    [SynSent, SynSent, SynSent, SynSent],
    [SynReceived, TimeWait, Established, Close],
    [SynSent, FinWait, FinWait, Close],
    [SynSent, TimeWait, TimeWait, TimeWait],
    [SynSent, Close, Close, Close],
    [SynSent, TimeWait, CloseWait, Close],
    [SynSent, LastAck, LastAck, Close],
    [Listen, Listen, Established, Close],
    [SynReceived, TimeWait, Established, Close],
];

const INPUT_ONLY: Transitions = [
    [SynReceived, Close, Established, Close],
    [Established, FinWait, Established, Close],
    [Established, SynSent, SynSent, Close],
    [SynReceived, TimeWait, Established, SynReceived],
    [SynReceived, FinWait, FinWait, Close],
    [SynReceived, TimeWait, TimeWait, Close],
    [SynReceived, Close, Close, Close],
    [SynReceived, CloseWait, CloseWait, Close],
    [SynReceived, LastAck, Close, LastAck],
    [SynReceived, Listen, Listen, Listen],
    [SynReceived, TimeWait, Established, Close],
];

/// The state that follows `state` when a segment with `flags` passes in `direction`.
///
/// RST counts before SYN, SYN before FIN, FIN before ACK; a segment with none of them closes.
#[inline]
pub fn next(table: Table, state: State, direction: Direction, flags: TcpFlags) -> State {
    let column = if flags.has(TcpFlags::RST) {
        3
    } else if flags.has(TcpFlags::SYN) {
        0
    } else if flags.has(TcpFlags::FIN) {
        1
    } else if flags.has(TcpFlags::ACK) {
        2
    } else {
        return Close;
    };
    if table == Table::Secure
        && let Some(secure) = secure_exception(state, direction, column)
    {
        return secure;
    }
    let rows = match direction {
        Direction::Input => &INPUT,
        Direction::Output => &OUTPUT,
        Direction::InputOnly => &INPUT_ONLY,
    };
    rows[state as usize][column]
}

/// Where the `secure_tcp` table differs from the normal one.
fn secure_exception(state: State, direction: Direction, column: usize) -> Option<State> {
    match (direction, state, column) {
        (Direction::Input, SynAck, 0..=2) => Some(SynAck),
        (Direction::Input, SynReceived, 2) => Some(SynReceived),
        (Direction::Input, SynAck, 3) => Some(Close),
        (Direction::Output, SynReceived | SynAck, 0) => Some(SynAck),
        (Direction::InputOnly, None | FinWait | TimeWait | Close | CloseWait | LastAck | Listen | SynAck, 0) => {
            Some(SynAck)
        }
        _ => Option::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: TcpFlags = TcpFlags(TcpFlags::SYN);
    const A: TcpFlags = TcpFlags(TcpFlags::ACK);
    const F: TcpFlags = TcpFlags(TcpFlags::FIN | TcpFlags::ACK);
    const R: TcpFlags = TcpFlags(TcpFlags::RST);

    #[test]
    fn an_ordinary_connection() {
        let mut state = None;
        for (direction, flags, expected) in [
            (Direction::Input, S, SynReceived),
            (Direction::Output, TcpFlags(S.0 | A.0), SynReceived),
            (Direction::Input, A, Established),
            (Direction::Input, F, CloseWait),
            (Direction::Output, F, TimeWait),
            (Direction::Input, A, TimeWait),
        ] {
            state = next(Table::Normal, state, direction, flags);
            assert_eq!(state, expected);
        }
    }

    #[test]
    fn odd_segments() {
        assert_eq!(next(Table::Normal, Established, Direction::Input, TcpFlags(0)), Close);
        assert_eq!(next(Table::Normal, SynReceived, Direction::Input, R), SynReceived);
        assert_eq!(next(Table::Normal, SynReceived, Direction::Output, R), Close);
        assert_eq!(next(Table::Secure, SynReceived, Direction::Input, A), SynReceived);
        assert_eq!(next(Table::Secure, None, Direction::InputOnly, S), SynAck);
        assert_eq!(next(Table::Normal, Established, Direction::InputOnly, F), FinWait);
    }
}
