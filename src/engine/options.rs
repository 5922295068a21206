//! IPv4 options (RFC 791 section 3.1), as a host of Linux's habits treats them: routes are
//! recorded, source routes refused, everything else passes.

use crate::base::{Address, Family};
use crate::wire::Frame;
use crate::wire::ip::{self, v4};

use super::classify::Seen;
use super::verdict::DropReason;

const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const RECORD_ROUTE: u8 = 7;
const LOOSE_SOURCE_ROUTE: u8 = 131;
const STRICT_SOURCE_ROUTE: u8 = 137;

/// Where an option's pointer stands, and the smallest it can be.
const POINTER: usize = 2;
const FIRST_SLOT: usize = 4;
const SLOT: usize = 4;

/// Whether a packet's options let it pass.
///
/// # Errors
/// It asks for a route of its own, or an option runs past the header.
pub(super) fn check(packet: &[u8]) -> Result<(), DropReason> {
    for option in Options::of(packet) {
        match option?.1 {
            LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE => return Err(DropReason::SourceRoute),
            _ => {}
        }
    }
    Ok(())
}

/// Writes `address` into the next free slot of a record-route option, if the packet has one.
pub(super) fn record_route(packet: &mut [u8], address: Address) {
    let found = Options::of(packet).find_map(|option| option.ok().filter(|(_, kind)| *kind == RECORD_ROUTE));
    let Some((at, _)) = found else { return };
    let (length, pointer) = (usize::from(packet[at + 1]), usize::from(packet[at + POINTER]));
    // The pointer counts from one.
    if pointer < FIRST_SLOT || pointer - 1 + SLOT > length {
        return;
    }
    let slot = at + pointer - 1;
    packet[slot..slot + SLOT].copy_from_slice(&address.octets4());
    packet[at + POINTER] += SLOT as u8;
    ip::set_header_checksum(packet);
}

/// The same for a packet on its way through, of either family.
pub(super) fn record_route4(frame: &mut Frame, seen: &Seen, address: Address) {
    if seen.parts.family == Family::V4 && seen.parts.transport > v4::LENGTH {
        record_route(frame.packet_mut(), address);
    }
}

/// The options of a header: where each begins, and its kind.
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
    type Item = Result<(usize, u8), DropReason>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let at = self.at;
            match *self.header.get(at)? {
                END => return None,
                NO_OPERATION => self.at += 1,
                kind => {
                    let length = self.header.get(at + 1).map_or(0, |&length| usize::from(length));
                    let shortest = if kind == RECORD_ROUTE { 3 } else { 2 };
                    if length < shortest || at + length > self.header.len() {
                        self.at = self.header.len();
                        return Some(Err(DropReason::IpOptions));
                    }
                    self.at += length;
                    return Some(Ok((at, kind)));
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
        record_route(&mut with_room, Address::v4([10, 9, 9, 9]));
        assert_eq!(with_room[20..], [1, RECORD_ROUTE, 7, 8, 10, 9, 9, 9]);
        assert!(crate::wire::checksum::is_valid(&with_room));
        let before = with_room.clone();
        record_route(&mut with_room, Address::v4([1, 2, 3, 4]));
        assert_eq!(with_room, before);
    }

    #[test]
    fn what_may_not_pass() {
        assert_eq!(check(&packet(&[1, 1, 148, 4, 0, 0, 0, 0])), Ok(()));
        assert_eq!(check(&packet(&[LOOSE_SOURCE_ROUTE, 7, 4, 10, 0, 0, 7, 0])), Err(DropReason::SourceRoute));
        assert_eq!(check(&packet(&[148, 9, 0, 0])), Err(DropReason::IpOptions));
        assert_eq!(check(&packet(&[RECORD_ROUTE, 2, 0, 0])), Err(DropReason::IpOptions));
        assert_eq!(check(&packet(&[0, 9, 9, 9])), Ok(()));
    }

    proptest::proptest! {
        #[test]
        fn random_options_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 40), words in 0usize..11) {
            let mut packet = packet(&bytes[..words * 4]);
            let _ = check(&packet);
            record_route(&mut packet, Address::v4([1, 2, 3, 4]));
        }
    }
}
