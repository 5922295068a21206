//! SCTP as a balancer sees it: a state machine on chunk types.

use crate::wire::transport::sctp as chunk;

use super::Direction;

/// States, numbered as synchronisation messages carry them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum State {
    #[default]
    None,
    Init1,
    Init,
    CookieSent,
    CookieReplied,
    CookieWait,
    Cookie,
    CookieEchoed,
    Established,
    ShutdownSent,
    ShutdownReceived,
    ShutdownAckSent,
    Rejected,
    Closed,
}

use State::*;

const STATES: [State; 14] = [
    None,
    Init1,
    Init,
    CookieSent,
    CookieReplied,
    CookieWait,
    Cookie,
    CookieEchoed,
    Established,
    ShutdownSent,
    ShutdownReceived,
    ShutdownAckSent,
    Rejected,
    Closed,
];

impl State {
    /// How many states there are.
    pub const COUNT: u16 = STATES.len() as u16;

    pub fn from_number(number: u8) -> Option<State> {
        STATES.get(usize::from(number)).copied()
    }

    pub fn name(self) -> &'static str {
        match self {
            None => "NONE",
            Init1 => "INIT1",
            Init => "INIT",
            CookieSent => "C-SENT",
            CookieReplied => "C-REPLIED",
            CookieWait => "C-WAIT",
            Cookie => "COOKIE",
            CookieEchoed => "C-ECHOED",
            Established => "ESTABLISHED",
            ShutdownSent => "S-SENT",
            ShutdownReceived => "S-RECEIVED",
            ShutdownAckSent => "S-ACK-SENT",
            Rejected => "REJECTED",
            Closed => "CLOSED",
        }
    }

    pub fn timeout(self) -> u32 {
        match self {
            None => 2,
            Init1 | Rejected => 4,
            Established => 900,
            _ => 61,
        }
    }
}

/// What a packet means for the state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Data,
    Init,
    InitAck,
    CookieEcho,
    CookieAck,
    Shutdown,
    ShutdownAck,
    ShutdownComplete,
    Error,
    Abort,
}

/// The event of a packet, from its first chunk; `None` where it holds no chunk.
///
/// A cookie bundled with ABORT counts as an abort.
pub fn event(segment: &[u8]) -> Option<Event> {
    let first = segment.get(chunk::LENGTH..)?;
    let header = first.first_chunk::<{ chunk::CHUNK_LENGTH }>()?;
    let event = match header[0] {
        chunk::INIT => Event::Init,
        chunk::INIT_ACK => Event::InitAck,
        chunk::ABORT => Event::Abort,
        chunk::SHUTDOWN => Event::Shutdown,
        chunk::SHUTDOWN_ACK => Event::ShutdownAck,
        chunk::ERROR => Event::Error,
        chunk::COOKIE_ECHO => Event::CookieEcho,
        chunk::COOKIE_ACK => Event::CookieAck,
        chunk::SHUTDOWN_COMPLETE => Event::ShutdownComplete,
        _ => Event::Data,
    };
    if matches!(event, Event::CookieEcho | Event::CookieAck) {
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let next = first.get(length.next_multiple_of(4)..);
        if length >= chunk::CHUNK_LENGTH
            && let Some(&[chunk::ABORT, _, _, _]) = next.and_then(|rest| rest.first_chunk::<4>())
        {
            return Some(Event::Abort);
        }
    }
    Some(event)
}

/// The state that follows `state` when `event` passes in `direction`.
pub fn next(state: State, direction: Direction, event: Event) -> State {
    use Direction::*;
    match (event, direction, state) {
        (Event::Data, Input | Output, None) => Established,
        (Event::Data, InputOnly, None | CookieWait) => Established,

        (Event::Init, Input | InputOnly, None) => Init1,
        (Event::Init, Input, Init1 | Rejected | Closed) => Init,
        (Event::Init, InputOnly, Init1 | CookieSent | CookieReplied | CookieWait | Rejected | Closed) => Init,
        (Event::Init, Output, CookieWait | Established) => state,
        (Event::Init, Output, _) if state != Established => CookieWait,

        (Event::InitAck, Input, None | Init1 | Init) => CookieWait,
        (Event::InitAck, Input, CookieWait) => Cookie,
        (Event::InitAck, Output, None | Init1 | Init) => CookieSent,
        (Event::InitAck, InputOnly, None | Init1 | Init | CookieSent | CookieReplied | CookieWait) => CookieEchoed,

        (Event::CookieEcho, Input, Init1) => Init,
        (Event::CookieEcho, Input, None | CookieSent) => CookieReplied,
        (Event::CookieEcho, Output, None | Init1 | Init | CookieSent | CookieReplied | CookieWait | Cookie) => {
            CookieEchoed
        }
        (Event::CookieEcho, InputOnly, None | Init1 | Init | CookieSent | CookieReplied | CookieWait) => Established,

        (Event::CookieAck, Input, None | CookieEchoed) => Established,
        (
            Event::CookieAck,
            Output,
            None | Init1 | Init | CookieSent | CookieReplied | CookieWait | Cookie | CookieEchoed,
        ) => Established,
        (Event::CookieAck, InputOnly, None | CookieSent | CookieReplied | Cookie | CookieEchoed) => Established,

        (Event::Shutdown, Input | InputOnly, None | Established) => ShutdownReceived,
        (
            Event::Shutdown,
            Output,
            None | Init1 | Init | CookieSent | CookieReplied | CookieWait | Cookie | CookieEchoed | Established,
        ) => ShutdownSent,

        (Event::ShutdownAck, Input | InputOnly, Init1) => Init,
        (Event::ShutdownAck, Input, None | ShutdownSent | ShutdownAckSent) => Closed,
        (Event::ShutdownAck, InputOnly, None | Established | ShutdownSent | ShutdownAckSent) => Closed,
        (
            Event::ShutdownAck,
            Output,
            None | Init1 | Init | CookieSent | CookieReplied | ShutdownSent | ShutdownReceived,
        ) => ShutdownAckSent,

        (Event::ShutdownComplete, Input, None | Init1 | Init | ShutdownAckSent) => Closed,
        (Event::ShutdownComplete, Output, None) => Closed,
        (
            Event::ShutdownComplete,
            InputOnly,
            None | Init1 | Init | CookieSent | CookieReplied | ShutdownReceived | ShutdownAckSent,
        ) => Closed,

        (Event::Error, Input, None | CookieEchoed) => Closed,
        (Event::Error, Output, None | Init1 | Init | CookieSent | CookieReplied) => Closed,
        (Event::Error, InputOnly, None) => Closed,

        (Event::Abort, Input | InputOnly, CookieWait) => Rejected,
        (Event::Abort, Output, Init1) => Rejected,
        (Event::Abort, _, _) => Closed,

        _ => state,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_association_through_nat() {
        let mut state = None;
        for (direction, event, expected) in [
            (Direction::Input, Event::Init, Init1),
            (Direction::Output, Event::InitAck, CookieSent),
            (Direction::Input, Event::CookieEcho, CookieReplied),
            (Direction::Output, Event::CookieAck, Established),
            (Direction::Input, Event::Data, Established),
            (Direction::Input, Event::Shutdown, ShutdownReceived),
            (Direction::Output, Event::ShutdownAck, ShutdownAckSent),
            (Direction::Input, Event::ShutdownComplete, Closed),
        ] {
            state = next(state, direction, event);
            assert_eq!(state, expected, "{event:?}");
        }
    }

    #[test]
    fn a_bundled_abort_counts() {
        let mut packet = vec![0; 12];
        packet.extend([chunk::COOKIE_ACK, 0, 0, 4, chunk::ABORT, 0, 0, 4]);
        assert_eq!(event(&packet), Some(Event::Abort));
        assert_eq!(event(&packet[..16]), Some(Event::CookieAck));
        assert_eq!(event(&packet[..15]), Option::None);
        for impossible in [0, 3] {
            packet[15] = impossible;
            assert_eq!(event(&packet), Some(Event::CookieAck));
        }
    }

    #[test]
    fn no_event_leaves_the_table() {
        for state in STATES {
            for direction in [Direction::Input, Direction::Output, Direction::InputOnly] {
                for event in [Event::Data, Event::Init, Event::Abort, Event::Error, Event::ShutdownAck] {
                    next(state, direction, event);
                }
            }
        }
    }
}
