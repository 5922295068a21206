//! Numbers against a model that keeps every byte.

use proptest::prelude::*;

use super::*;

/// A stream whose segments were changed on the way, byte by byte: the other end's number of each
/// segment's beginning.
#[derive(Default)]
struct Model {
    /// (number here, number there) of every segment in order, and of the stream's end.
    seen: Vec<(u32, u32)>,
}

#[derive(Clone, Debug)]
struct Sent {
    length: u32,
    change: i32,
}

fn sent() -> impl Strategy<Value = Sent> {
    (13u32..100, prop_oneof![3 => Just(0i32), 1 => -12i32..=12]).prop_map(|(length, change)| Sent { length, change })
}

proptest! {
    /// As long as only the last change matters, which is what two lengths can tell apart, every
    /// segment, old or new, has the number that the model gives it.
    #[test]
    fn segments_since_the_change_before_last_have_the_model_s_numbers(begin: u32, stream in prop::collection::vec(sent(), 1..40)) {
        let (mut here, mut there) = (begin, begin);
        let (mut shift, mut model) = (Shift::default(), Model::default());
        let mut changes: Vec<u32> = Vec::new();
        for segment in &stream {
            model.seen.push((here, there));
            prop_assert_eq!(shift.apply(here), there, "a segment is sent for the first time");
            shift.grow(here, segment.change);
            if segment.change != 0 {
                changes.push(here);
            }
            prop_assert_eq!(shift.apply(here), there, "the changed segment itself begins where it would have");
            here = here.wrapping_add(segment.length);
            there = there.wrapping_add(segment.length).wrapping_add_signed(segment.change);
            prop_assert_eq!(shift.undo(there), here, "what comes back acknowledges all of it");
            let known = changes.len().checked_sub(2).map(|before_last| changes[before_last]);
            for &(here, there) in &model.seen {
                // Beyond the change before the last one.
                if known.is_none_or(|known| is_after(here, known)) {
                    prop_assert_eq!(shift.apply(here), there, "sent again");
                    prop_assert_eq!(shift.undo(there), here, "acknowledged late");
                }
            }
        }
    }

    /// Checksums stay right wherever the options stand, and bytes beside the numbers as they were.
    #[test]
    fn only_numbers_change_and_the_checksum_follows(
        mut segment in prop::collection::vec(any::<u8>(), 20..120),
        words in 5u8..16,
        own: (u32, u32, u32),
        opposite: (u32, u32, u32),
    ) {
        let shift = |(begins, delta, previous)| Shift { begins, delta, previous };
        let (own, opposite) = (shift(own), shift(opposite));
        segment[tcp::DATA_OFFSET] = words << 4;
        segment[16..18].fill(0);
        crate::wire::checksum::of(&segment).write(&mut segment, tcp::CHECKSUM);
        let before = segment.clone();
        renumber(&mut segment, &own, &opposite, Covered::Whole);
        prop_assert!(crate::wire::checksum::is_valid(&segment));
        let header = (usize::from(words) * 4).min(segment.len());
        prop_assert_eq!(&segment[header..], &before[header..]);
        prop_assert_eq!(&segment[..4], &before[..4]);
        let number = |bytes: &[u8], at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        prop_assert_eq!(number(&segment, 4), own.apply(number(&before, 4)));
        let mut partial = before.clone();
        renumber(&mut partial, &own, &opposite, Covered::PseudoHeader);
        prop_assert_eq!(&partial[16..18], &before[16..18]);
    }
}

#[test]
fn a_change_before_the_last_one_is_not_noted() {
    let mut shift = Shift::default();
    shift.grow(1000, -3);
    assert_eq!(shift, Shift { begins: 1000, delta: 3u32.wrapping_neg(), previous: 0 });
    shift.grow(900, 5);
    assert_eq!(shift.begins, 1000);
    shift.grow(1100, 0);
    assert_eq!(shift.begins, 1000);
    shift.grow(1100, 5);
    assert_eq!(shift, Shift { begins: 1100, delta: 2, previous: 3u32.wrapping_neg() });
    assert_eq!((shift.apply(1100), shift.apply(1101)), (1097, 1103));
    assert_eq!((shift.undo(1097), shift.undo(1103)), (1100, 1101));
}

#[test]
fn options_end_where_they_must() {
    let header = |options: &[u8]| [&[0; 20][..], options].concat();
    assert_eq!(next_option(&header(&[]), 20), None);
    assert_eq!(next_option(&header(&[0, 5, 10]), 20), None);
    assert_eq!(next_option(&header(&[1, 1]), 20), Some((20..20, 21)));
    assert_eq!(next_option(&header(&[8, 10, 0, 0, 0, 0, 0, 0, 0, 0]), 20), Some((22..22, 30)));
    assert_eq!(next_option(&header(&[5, 10, 0, 0, 0, 0, 0, 0, 0, 0]), 20), Some((22..30, 30)));
    assert_eq!(next_option(&header(&[5, 12, 0, 0, 0, 0, 0, 0, 0, 0, 9, 9]), 20), Some((22..30, 32)));
    assert_eq!(next_option(&header(&[5, 10, 0, 0]), 20), None);
    assert_eq!(next_option(&header(&[5, 1]), 20), None);
    assert_eq!(next_option(&header(&[5]), 20), None);
}
