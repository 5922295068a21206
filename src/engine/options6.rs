//! Options of IPv6's hop-by-hop and destination headers (RFC 8200 section 4.2): what becomes of a
//! packet that has one nobody here knows.

use crate::wire::ip::v6;

const PAD_ONE: u8 = 0;
const PAD_MORE: u8 = 1;
const ROUTER_ALERT: u8 = 5;
/// The longest padding that Linux lets pass: more is never needed.
const LONGEST_PADDING: usize = 7;
/// Most options that Linux reads.
const MOST_OPTIONS: usize = 8;
/// Code of a parameter problem: the option is not known.
const UNKNOWN_OPTION: u8 = 2;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    Passes,
    /// It is dropped, and nobody is told.
    Vanishes,
    /// It is dropped, and its sender is told what is wrong with it.
    Wrong {
        code: u8,
        pointer: u32,
    },
}

/// Judges the options in the header at `at`. (A packet to a group gets no further than this.)
pub(super) fn judge(packet: &[u8], at: usize) -> Judgement {
    let length = packet.get(at + 1).map_or(0, |&units| (usize::from(units) + 1) * 8);
    let Some(header) = packet.get(at..at + length).filter(|header| header.len() >= 2) else {
        return Judgement::Vanishes;
    };
    let (mut place, mut padding, mut options) = (2, 0, 0);
    while let Some(&kind) = header.get(place) {
        if kind == PAD_ONE {
            padding += 1;
            place += 1;
        } else {
            let Some(data) =
                header.get(place + 1).and_then(|&data| header.get(place + 2..place + 2 + usize::from(data)))
            else {
                return Judgement::Vanishes;
            };
            let size = data.len() + 2;
            if kind == PAD_MORE {
                padding += size;
                if data.iter().any(|&byte| byte != 0) {
                    return Judgement::Vanishes;
                }
            } else {
                padding = 0;
                options += 1;
                let judgement = judge_option(kind, data, at + place);
                if judgement != Judgement::Passes || options > MOST_OPTIONS {
                    return if options > MOST_OPTIONS { Judgement::Vanishes } else { judgement };
                }
            }
            place += size;
        }
        if padding > LONGEST_PADDING {
            return Judgement::Vanishes;
        }
    }
    Judgement::Passes
}

fn judge_option(kind: u8, data: &[u8], pointer: usize) -> Judgement {
    match kind {
        ROUTER_ALERT if data.len() == 2 => Judgement::Passes,
        ROUTER_ALERT => Judgement::Vanishes,
        _ => match kind >> 6 {
            0 => Judgement::Passes,
            1 => Judgement::Vanishes,
            _ => Judgement::Wrong { code: UNKNOWN_OPTION, pointer: pointer as u32 },
        },
    }
}

/// Whether the host lets a packet to itself pass the routing and destination headers it has.
pub(super) fn host_takes(packet: &[u8], transport: usize) -> Judgement {
    const MOBILE: u8 = 2;
    const AUTHENTICATION: u8 = 51;
    let (mut next, mut at) = (packet[v6::NEXT_HEADER], v6::LENGTH);
    while at < transport {
        let Some(&[following, units, kind, left, ..]) = packet.get(at..).and_then(|header| header.first_chunk::<8>())
        else {
            return Judgement::Vanishes;
        };
        match next {
            v6::DESTINATION_OPTIONS => match judge(packet, at) {
                Judgement::Passes => {}
                other => return other,
            },
            v6::ROUTING if kind == MOBILE || left > 0 => return Judgement::Vanishes,
            // What is authenticated is for who knows how.
            AUTHENTICATION => return Judgement::Passes,
            _ => {}
        }
        at += if next == v6::FRAGMENT { 8 } else { (usize::from(units) + 1) * 8 };
        next = following;
    }
    Judgement::Passes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_options(options: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; v6::LENGTH];
        packet[v6::NEXT_HEADER] = v6::DESTINATION_OPTIONS;
        packet.extend([17, ((options.len() + 2) / 8 - 1) as u8]);
        packet.extend(options);
        packet
    }

    #[test]
    fn an_option_says_itself_what_becomes_of_who_does_not_know_it() {
        for (kind, judgement) in [
            (0x3e, Judgement::Passes),
            (0x7e, Judgement::Vanishes),
            (0xbe, Judgement::Wrong { code: 2, pointer: 42 }),
            (0xfe, Judgement::Wrong { code: 2, pointer: 42 }),
        ] {
            assert_eq!(judge(&with_options(&[kind, 4, 0, 0, 0, 0]), v6::LENGTH), judgement);
        }
    }

    #[test]
    fn padding_has_bounds_and_holds_nothing() {
        assert_eq!(judge(&with_options(&[1, 4, 0, 0, 0, 0]), v6::LENGTH), Judgement::Passes);
        assert_eq!(judge(&with_options(&[1, 4, 0, 7, 0, 0]), v6::LENGTH), Judgement::Vanishes);
        assert_eq!(judge(&with_options(&[1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), v6::LENGTH), Judgement::Vanishes);
        assert_eq!(judge(&with_options(&[5, 2, 0, 0, 0, 0]), v6::LENGTH), Judgement::Passes);
        assert_eq!(judge(&with_options(&[5, 9, 0, 0, 0, 0]), v6::LENGTH), Judgement::Vanishes);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 40..200), at in 0usize..200) {
            let _ = judge(&bytes, at);
            let _ = host_takes(&bytes, at);
        }
    }
}
