//! The IPv4 options of a packet that its answer repeats (RFC 1122 section 3.2.2.6): a recorded
//! route goes on being recorded on the way back; timestamps and security labels are repeated as
//! they are. Others are dropped, as Linux drops them.

use super::super::outline::IPV4_LENGTH;
use super::Silence;

const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const RECORD_ROUTE: u8 = 7;
const TIMESTAMP: u8 = 68;
const SECURITY_LABEL: u8 = 134;
/// Where an option's pointer stands; it counts from one.
const POINTER: usize = 2;
const FIRST_SLOT: usize = 4;
const SLOT: usize = 4;
/// The longest that all options together can be.
const LONGEST: usize = 40;

/// Options as an answer's header carries them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Echoed {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Echoed {
    pub(super) const NONE: Echoed = Echoed { bytes: [0; LONGEST], length: 0 };

    /// What an answer to the packet with this header repeats. It leaves from `own`, which
    /// enters itself in the route where there is room. The header was understood up to
    /// `understood`, and no route or timestamp that goes further is repeated.
    ///
    /// # Errors
    /// There is room in the route, but not enough for an address.
    pub(super) fn of(header: &[u8], understood: usize, own: &[u8]) -> Result<Echoed, Silence> {
        let mut echoed = Echoed::NONE;
        let options = header.get(IPV4_LENGTH..).unwrap_or_default();
        if options.is_empty() {
            return Ok(echoed);
        }
        for kind in [RECORD_ROUTE, TIMESTAMP, SECURITY_LABEL] {
            let Some((at, option)) = find(options, kind) else { continue };
            if kind != SECURITY_LABEL && IPV4_LENGTH + at + option.len() > understood {
                continue;
            }
            let start = echoed.length;
            let Some(copy) = echoed.bytes.get_mut(start..start + option.len()) else { continue };
            copy.copy_from_slice(option);
            echoed.length += option.len();
            let pointer = option.get(POINTER).map_or(0, |&pointer| usize::from(pointer));
            if kind == RECORD_ROUTE && pointer >= FIRST_SLOT && pointer <= option.len() {
                let slot = copy.get_mut(pointer - 1..pointer - 1 + SLOT).ok_or(Silence::NoRoom)?;
                slot.copy_from_slice(own.get(..SLOT).ok_or(Silence::Malformed)?);
                copy[POINTER] += SLOT as u8;
            }
        }
        echoed.length = echoed.length.next_multiple_of(4);
        Ok(echoed)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The first option of this kind and where it begins, where the options before it can be read.
fn find(options: &[u8], wanted: u8) -> Option<(usize, &[u8])> {
    let mut rest = options;
    loop {
        match *rest {
            [] | [END, ..] | [_] => return None,
            [NO_OPERATION, ..] => rest = &rest[1..],
            [kind, length, ..] => {
                let option = rest.get(..usize::from(length)).filter(|option| option.len() >= 2)?;
                if kind == wanted {
                    // Without a pointer it is nothing to go on with.
                    let at = options.len() - rest.len();
                    return Some((at, option)).filter(|(_, option)| option.len() > POINTER);
                }
                rest = &rest[option.len()..];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(options: &[u8]) -> Vec<u8> {
        let mut header = vec![0; IPV4_LENGTH];
        header.extend(options);
        header
    }

    #[test]
    fn a_route_is_repeated_with_our_address_where_there_is_room() {
        let own = [10, 9, 9, 9];
        let with_room = header(&[1, 7, 11, 8, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Echoed::of(&with_room, 60, &own).unwrap().as_bytes(), [7, 11, 12, 1, 2, 3, 4, 10, 9, 9, 9, 0]);
        let full = header(&[7, 7, 8, 1, 2, 3, 4, 0]);
        assert_eq!(Echoed::of(&full, 60, &own).unwrap().as_bytes(), [7, 7, 8, 1, 2, 3, 4, 0]);
        let odd = header(&[7, 11, 9, 0, 1, 2, 3, 4, 0, 0, 0, 0]);
        assert_eq!(Echoed::of(&odd, 60, &own), Err(Silence::NoRoom));
        assert_eq!(Echoed::of(&full, 22, &own), Ok(Echoed::NONE), "not understood");
    }

    #[test]
    fn nothing_else_is_repeated() {
        for options in [&[1, 1, 1, 1][..], &[148, 4, 0, 0], &[], &[0, 7, 3, 4], &[7, 2, 0, 0], &[7], &[9, 0, 7, 3]] {
            assert_eq!(Echoed::of(&header(options), 60, &[1; 4]), Ok(Echoed::NONE), "{options:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn random_options_never_panic(options in proptest::collection::vec(proptest::num::u8::ANY, 0..40)) {
            if let Ok(echoed) = Echoed::of(&header(&options), 60, &[1; 4]) {
                proptest::prop_assert!(echoed.as_bytes().len() <= LONGEST);
            }
        }
    }
}
