//! IPv4 options (RFC 791 section 3.1), as a host of Linux's habits treats them: routes are
//! recorded, source routes refused, what cannot be is complained of, everything else passes.
//!
//! One thing a kernel does and we do not: the time is not entered in timestamp options that have
//! room for it. There is no clock here that knows it.

use crate::base::{Address, Family};
use crate::wire::Frame;
use crate::wire::checksum::Checksum;
use crate::wire::ip::{self, v4};

use super::classify::Seen;

const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const RECORD_ROUTE: u8 = 7;
const TIMESTAMP: u8 = 68;
const LOOSE_SOURCE_ROUTE: u8 = 131;
/// Labels of CIPSO: nobody has told us of any domain, so each is wrong.
const SECURITY_LABEL: u8 = 134;
const STRICT_SOURCE_ROUTE: u8 = 137;
const ROUTER_ALERT: u8 = 148;

/// Where an option's pointer stands, and the smallest it can be.
const POINTER: usize = 2;
const FIRST_SLOT: usize = 4;
const SLOT: usize = 4;
/// Where a timestamp option counts who found no room, in the upper half, and its kind.
const OVERFLOW: usize = 3;
const FIRST_TIMESTAMP: usize = 5;
/// The kinds whose timestamps have an address in front of them: the recorder's own, or a given one.
const WITH_ADDRESS: [u8; 2] = [1, 3];

/// Why a packet's options do not let it pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It asks for a route of its own.
    SourceRoute,
    /// The byte at this place of the header is wrong; the sender is told.
    Wrong { pointer: usize },
}

/// Judges a packet's options and leaves in them what a host leaves that the packet comes to; whether
/// anything changed but for the checksum, which is the caller's to set.
///
/// # Errors
/// They do not let it pass.
pub(super) fn admit(packet: &mut [u8]) -> Result<bool, Refusal> {
    let header = ip::header_length4(packet).min(packet.len());
    let options = &mut packet[..header];
    let (mut at, mut changed, mut seen) = (v4::LENGTH, false, [false; 2]);
    while let Some(&kind) = options.get(at) {
        match kind {
            END => {
                changed |= options[at..].iter().any(|&byte| byte != END);
                options[at..].fill(END);
                break;
            }
            NO_OPERATION => at += 1,
            _ => {
                let length = options.get(at + 1).map_or(0, |&length| usize::from(length));
                if length < 2 || at + length > header {
                    return Err(Refusal::Wrong { pointer: at });
                }
                changed |= admit_option(&mut options[at..at + length], &mut seen).map_err(|refusal| match refusal {
                    Refusal::Wrong { pointer } => Refusal::Wrong { pointer: at + pointer },
                    refusal => refusal,
                })?;
                at += length;
            }
        }
    }
    Ok(changed)
}

fn admit_option(option: &mut [u8], seen: &mut [bool; 2]) -> Result<bool, Refusal> {
    let wrong = |pointer| Err(Refusal::Wrong { pointer });
    let (kind, length) = (option[0], option.len());
    let pointer = option.get(POINTER).map_or(0, |&pointer| usize::from(pointer));
    // Of routes and timestamps there may be one each.
    let mut once = |index: usize| std::mem::replace(&mut seen[index], true);
    match kind {
        LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE => Err(Refusal::SourceRoute),
        RECORD_ROUTE if once(0) => wrong(0),
        RECORD_ROUTE if length < 3 => wrong(1),
        RECORD_ROUTE if pointer < FIRST_SLOT || (pointer <= length && pointer + 3 > length) => wrong(POINTER),
        TIMESTAMP if once(1) => wrong(0),
        TIMESTAMP if length < 4 => wrong(1),
        TIMESTAMP if pointer < FIRST_TIMESTAMP => wrong(POINTER),
        TIMESTAMP if pointer <= length => {
            let room = if WITH_ADDRESS.contains(&(option[OVERFLOW] & 0x0f)) { 7 } else { 3 };
            if pointer + room > length { wrong(POINTER) } else { Ok(false) }
        }
        TIMESTAMP if option[OVERFLOW] >> 4 == 0x0f => wrong(OVERFLOW),
        TIMESTAMP => {
            option[OVERFLOW] += 0x10;
            Ok(true)
        }
        SECURITY_LABEL => wrong(if length < 8 { 1 } else { 2 }),
        ROUTER_ALERT if length < 4 => wrong(1),
        _ => Ok(false),
    }
}

/// Writes `address` into the next free slot of a record-route option, if the packet has one;
/// whether it has. The checksum is the caller's to set.
pub(super) fn record_route(packet: &mut [u8], address: Address) -> bool {
    let Some((at, slot)) = free_slot(packet) else { return false };
    packet[slot..slot + SLOT].copy_from_slice(&address.octets4());
    packet[at + POINTER] += SLOT as u8;
    true
}

pub(super) fn route_has_room(packet: &[u8]) -> bool {
    free_slot(packet).is_some()
}

/// Where the record-route option begins, and its next free slot.
fn free_slot(packet: &[u8]) -> Option<(usize, usize)> {
    let (at, _) = Options::of(packet).find(|(_, kind)| *kind == RECORD_ROUTE)?;
    let (length, pointer) = (usize::from(packet[at + 1]), usize::from(*packet.get(at + POINTER)?));
    // The pointer counts from one.
    let fits = length >= 3 && pointer >= FIRST_SLOT && pointer - 1 + SLOT <= length;
    fits.then_some((at, at + pointer - 1))
}

/// Sets the checksum of a header that was changed; what it was before, and what it is.
pub(super) fn settle(packet: &mut [u8]) -> Option<[Checksum; 2]> {
    let before = Checksum::read(packet, v4::CHECKSUM)?;
    ip::set_header_checksum(packet);
    Some([before, Checksum::read(packet, v4::CHECKSUM)?])
}

/// Records the route of a packet on its way through, of either family.
pub(super) fn record_route4(frame: &mut Frame, seen: &Seen, address: Address) {
    if seen.parts.family == Family::V4 && seen.parts.transport > v4::LENGTH && record_route(frame.packet_mut(), address)
    {
        settle(frame.packet_mut());
    }
}

/// The options of a header that was admitted: where each begins, and its kind.
struct Options<'a> {
    header: &'a [u8],
    at: usize,
}

impl Options<'_> {
    fn of(packet: &[u8]) -> Options<'_> {
        Options { header: &packet[..ip::header_length4(packet).min(packet.len())], at: v4::LENGTH }
    }
}

impl Iterator for Options<'_> {
    type Item = (usize, u8);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let at = self.at;
            match *self.header.get(at)? {
                END => return None,
                NO_OPERATION => self.at += 1,
                kind => {
                    let length = usize::from(*self.header.get(at + 1)?);
                    if length < 2 || at + length > self.header.len() {
                        return None;
                    }
                    self.at += length;
                    return Some((at, kind));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(options: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; v4::LENGTH];
        packet.extend(options);
        packet[0] = 0x40 | (packet.len() / 4) as u8;
        packet
    }

    #[test]
    fn routes_are_recorded_while_there_is_room() {
        let mut with_room = packet(&[1, RECORD_ROUTE, 7, 4, 0, 0, 0, 0]);
        assert!(record_route(&mut with_room, Address::v4([10, 9, 9, 9])));
        assert!(settle(&mut with_room).is_some());
        assert_eq!(with_room[20..], [1, RECORD_ROUTE, 7, 8, 10, 9, 9, 9]);
        assert!(crate::wire::checksum::is_valid(&with_room));
        let before = with_room.clone();
        assert!(!record_route(&mut with_room, Address::v4([1, 2, 3, 4])));
        assert_eq!(with_room, before);
    }

    #[test]
    fn what_passes_and_what_is_left_in_it() {
        for options in [&[1, 1, 148, 4, 0, 0, 0, 0][..], &[7, 3, 4, 0], &[7, 7, 5, 0, 0, 0, 0, 0], &[130, 3, 0, 0]] {
            let mut options = packet(options);
            let kept = options.clone();
            let pointer_fits = options[20] != RECORD_ROUTE || options[22] as usize + 3 <= options[21] as usize;
            assert_eq!(admit(&mut options).is_ok(), pointer_fits || options[22] > options[21]);
            assert_eq!(options, kept);
        }
        let mut ended = packet(&[0, 9, 9, 9]);
        assert_eq!((admit(&mut ended), &ended[20..]), (Ok(true), &[0; 4][..]));
        let mut full = packet(&[TIMESTAMP, 8, 9, 0x20, 0, 0, 0, 0]);
        assert_eq!((admit(&mut full), full[23]), (Ok(true), 0x30));
    }

    #[test]
    fn a_timestamp_needs_room_for_the_address_that_its_kind_has() {
        for kind in 0..=0x0f {
            let mut options = packet(&[TIMESTAMP, 8, 5, kind, 0, 0, 0, 0]);
            let fits = if kind == 1 || kind == 3 { Err(Refusal::Wrong { pointer: 22 }) } else { Ok(false) };
            assert_eq!(admit(&mut options), fits, "{kind}");
        }
    }

    #[test]
    fn what_is_refused_and_where_it_is_wrong() {
        let refused: &[(&[u8], Refusal)] = &[
            (&[LOOSE_SOURCE_ROUTE, 7, 4, 10, 0, 0, 7, 0], Refusal::SourceRoute),
            (&[148, 9, 0, 0], Refusal::Wrong { pointer: 20 }),
            (&[1, 1, 1, 9], Refusal::Wrong { pointer: 23 }),
            (&[RECORD_ROUTE, 2, 0, 0], Refusal::Wrong { pointer: 21 }),
            (&[1, RECORD_ROUTE, 7, 3, 0, 0, 0, 0], Refusal::Wrong { pointer: 23 }),
            (&[RECORD_ROUTE, 3, 4, RECORD_ROUTE, 3, 4, 0, 0], Refusal::Wrong { pointer: 23 }),
            (&[TIMESTAMP, 8, 9, 0xf0, 0, 0, 0, 0], Refusal::Wrong { pointer: 23 }),
            (&[TIMESTAMP, 3, 5, 0], Refusal::Wrong { pointer: 21 }),
            (&[SECURITY_LABEL, 6, 0, 0, 0, 1, 0, 0], Refusal::Wrong { pointer: 21 }),
        ];
        for &(options, refusal) in refused {
            assert_eq!(admit(&mut packet(options)), Err(refusal), "{options:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn random_options_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 40), words in 0usize..11) {
            let mut packet = packet(&bytes[..words * 4]);
            let _ = admit(&mut packet);
            record_route(&mut packet, Address::v4([1, 2, 3, 4]));
        }
    }
}
