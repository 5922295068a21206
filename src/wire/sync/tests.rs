//! Messages against bytes written down by hand, and against a reader that shares no code.

use proptest::prelude::*;

use super::*;
use crate::wire::second_opinion::bytes;

fn sample() -> Entry {
    Entry {
        family: Family::V4,
        protocol: Protocol::TCP,
        flags: 0x0100,
        state: 4,
        client_port: Port(40000),
        virtual_port: Port(80),
        destination_port: Port(8080),
        mark: 7,
        timeout: 120,
        client: Address::v4([10, 0, 0, 2]),
        virtual_address: Address::v4([10, 9, 9, 9]),
        destination: Address::v4([172, 16, 0, 11]),
        sequence: None,
    }
}

fn sample6() -> Entry {
    let address = |first: u8, last: u8| {
        let mut octets = [0; 16];
        (octets[0], octets[15]) = (first, last);
        Address::v6(octets)
    };
    Entry {
        family: Family::V6,
        protocol: Protocol::UDP,
        flags: 0x1000,
        state: 0,
        client: address(0xfd, 2),
        virtual_address: address(0xfe, 9),
        destination: address(0xff, 11),
        ..sample()
    }
}

const SEQUENCE: Sequence = Sequence {
    inbound: Adjustment { initial: 1, delta: 2, previous_delta: 3 },
    outbound: Adjustment { initial: 4, delta: u32::MAX, previous_delta: 6 },
};

fn message(version: Version, entries: &[(Entry, Recognised)]) -> Vec<u8> {
    let mut message = vec![0xa5; 100];
    start(&mut message, version, 9);
    for (entry, recognised) in entries {
        push(&mut message, version, entry, recognised).unwrap();
    }
    finish(&mut message);
    message
}

fn read(bytes: &[u8]) -> Vec<Result<(Entry, Recognised<'_>), Fault>> {
    Message::read(bytes).unwrap().entries().collect()
}

#[test]
fn a_message_of_version_1_is_these_bytes() {
    let sip = Recognised { engine: b"sip", data: b"abc" };
    let entries = [(sample(), Recognised::default()), (sample(), sip), (sample6(), Recognised::default())];
    let golden = "0009009d03010000\
                  00060024000001000004 9c400050 1f90000000070000 0078 0a000002 0a090909 ac10000b\
                  0006002e000001000004 9c400050 1f90000000070000 0078 0a000002 0a090909 ac10000b 0203616263 0303736970\
                  0000\
                  01110048000010000000 9c400050 1f90000000070000 0078\
                  fd000000000000000000000000000002 fe000000000000000000000000000009 ff00000000000000000000000000000b"
        .replace(' ', "");
    let mut golden = bytes(&golden);
    let length = golden.len() as u16;
    golden[2..4].copy_from_slice(&length.to_be_bytes());
    assert_eq!(length, 8 + 36 + 46 + 2 + 72);
    let made = message(Version::One, &entries);
    assert_eq!(made, golden);
    let read: Vec<_> = read(&made).into_iter().map(Result::unwrap).collect();
    assert_eq!(read, entries);
}

#[test]
fn sequence_data_is_an_option_of_version_1() {
    let entry = Entry { flags: 0x0600, sequence: Some(SEQUENCE), ..sample() };
    let made = message(Version::One, &[(entry, Recognised::default())]);
    assert_eq!(
        &made[8 + 36..],
        bytes("0118000000010000000200000003 00000004ffffffff00000006".replace(' ', "").as_str())
    );
    assert_eq!(entry_length(Version::One, &entry, &Recognised::default()), 62);
    assert_eq!(read(&made), [Ok((entry, Recognised::default()))]);
}

#[test]
fn a_message_of_version_0_is_these_bytes() {
    let entry = Entry { flags: 0x0200, sequence: Some(SEQUENCE), ..sample() };
    let made = message(Version::Zero, &[(sample(), Recognised::default()), (entry, Recognised::default())]);
    let head = "0209004c 00069c4000501f90 0a0000020a090909ac10000b 01000004 00069c4000501f90 0a0000020a090909ac10000b \
                02000004"
        .replace(' ', "");
    let mut golden = bytes(&head);
    for number in [1u32, 2, 3, 4, u32::MAX, 6] {
        golden.extend(number.to_ne_bytes());
    }
    assert_eq!(made, golden);
    let bare = |entry: Entry| Entry { mark: 0, timeout: 0, ..entry };
    assert_eq!(read(&made), [Ok((bare(sample()), Recognised::default())), Ok((bare(entry), Recognised::default()))]);
}

#[test]
fn a_message_counts_to_255() {
    let mut message = Vec::new();
    for version in [Version::Zero, Version::One] {
        start(&mut message, version, 0);
        for _ in 0..255 {
            push(&mut message, version, &sample(), &Recognised::default()).unwrap();
        }
        let length = message.len();
        assert_eq!(push(&mut message, version, &sample(), &Recognised::default()), Err(MostEntries));
        assert_eq!(message.len(), length);
        finish(&mut message);
        assert_eq!(read(&message).len(), 255);
    }
}

/// A message of one entry with these options, then one more entry.
fn with_options(options: &[u8]) -> Vec<u8> {
    let mut message = message(Version::One, &[(sample(), Recognised::default())]);
    message.extend(options);
    let size = (36 + options.len()) as u16;
    message[10..12].copy_from_slice(&size.to_be_bytes());
    push(&mut message, Version::One, &sample(), &Recognised::default()).unwrap();
    finish(&mut message);
    message
}

#[test]
fn what_is_wrong_with_an_entry_is_named_and_loses_the_rest() {
    let whole = message(Version::One, &[(sample(), Recognised::default()), (sample(), Recognised::default())]);
    let changed = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        bytes
    };
    for (what, bytes, fault) in [
        ("type 2", changed(8, 2), Fault::EntryType),
        ("an IPv6 entry of 36 bytes", changed(8, 1), Fault::EntrySize),
        ("version 1", changed(10, 0x10), Fault::EntryVersion),
        ("size 35", changed(11, 35), Fault::EntrySize),
        ("size 0", changed(11, 0), Fault::EntrySize),
        ("size 400", changed(10, 1), Fault::Cut),
    ] {
        assert_eq!(read(&bytes), [Err(fault)], "{what}");
    }
    assert_eq!(read(&changed(4, 3))[2], Err(Fault::Cut), "one entry too few");
    assert_eq!(read(&changed(4, 1)).len(), 1, "one entry too many");
}

#[test]
fn what_is_wrong_with_options() {
    let twice = [[3, 1, b'x'], [3, 1, b'x']].concat();
    let mut sequence = vec![1, 24];
    sequence.extend([0; 24]);
    for (what, options, fault) in [
        ("no length", vec![1], Fault::OptionLength),
        ("no data", vec![0x49, 0], Fault::OptionLength),
        ("past the entry", vec![2, 3, b'a'], Fault::OptionLength),
        ("sequence data of 23", [&[1, 23][..], &[0; 23]].concat(), Fault::OptionLength),
        ("a name of 17", [&[3, 17][..], &[b'x'; 17]].concat(), Fault::OptionLength),
        ("a name twice", twice, Fault::OptionTwice),
        ("sequence data twice", [sequence.clone(), sequence.clone()].concat(), Fault::OptionTwice),
    ] {
        assert_eq!(read(&with_options(&options)), [Err(fault)], "{what}");
    }
    let unknown = with_options(&[9, 1, b'x']);
    assert_eq!(read(&unknown)[0], Err(Fault::OptionUnknown));
    assert!(read(&unknown)[1].is_ok(), "the next entry is read");
    assert_eq!(read(&with_options(&[0x49, 1, b'x']))[0], Ok((sample(), Recognised::default())));
    let marked = with_options(&[0x42, 1, b'c', 0x43, 1, b'n']);
    assert_eq!(read(&marked)[0].unwrap().1, Recognised { engine: b"n", data: b"c" });
}

#[test]
fn headers() {
    assert_eq!(Message::read(&[0, 0, 3]).unwrap_err(), Fault::Short);
    assert_eq!(Message::read(&[0, 0, 0, 5]).unwrap_err(), Fault::Length);
    let mut one = message(Version::One, &[(sample(), Recognised::default())]);
    assert_eq!(Message::read(&one).unwrap().sync_id, 9);
    // With anything in the spare bytes it is a message of version 0, of no entries.
    one[7] = 1;
    assert_eq!(read(&one), []);
    assert_eq!(read(&[0, 0, 0, 7, 1, 1, 0]), []);
    let mut zero = message(Version::Zero, &[(Entry { flags: 0x0600, ..sample() }, Recognised::default())]);
    assert_eq!(read(&zero), [Err(Fault::Cut)], "sequence data is missing");
    zero[0] = 2;
    zero[24] = 0;
    zero[25] = 0;
    assert_eq!(read(&zero)[1], Err(Fault::Cut));
}

/// Reads a message of version 1 in the plainest way there is: by hand, offset by offset.
fn plain_reader(bytes: &[u8]) -> Vec<(u32, u16, u16, Vec<u8>)> {
    let number = |at: usize, length: usize| bytes[at..at + length].iter().fold(0u64, |sum, b| sum << 8 | u64::from(*b));
    let mut at = 8usize;
    let mut found = Vec::new();
    for _ in 0..bytes[4] {
        at = at.next_multiple_of(4);
        let size = number(at + 2, 2) as usize;
        let (fixed, address) = if bytes[at] == 1 { (72, 16) } else { (36, 4) };
        let rest = bytes[at + fixed..at + size].to_vec();
        found.push((number(at + 4, 4) as u32, number(at + 10, 2) as u16, number(at + 14, 2) as u16, rest));
        assert_eq!(fixed, 24 + 3 * address);
        at += size;
    }
    assert_eq!(at, bytes.len());
    assert_eq!(number(2, 2) as usize, bytes.len());
    found
}

fn any_entry() -> impl Strategy<Value = (Entry, Vec<u8>)> {
    let adjustment =
        any::<[u32; 3]>().prop_map(|[initial, delta, previous_delta]| Adjustment { initial, delta, previous_delta });
    let sequence = (adjustment.clone(), adjustment).prop_map(|(inbound, outbound)| Sequence { inbound, outbound });
    let numbers = (any::<u8>(), any::<u32>(), any::<u16>(), any::<[u16; 3]>(), any::<u32>(), any::<u32>());
    let data = proptest::collection::vec(any::<u8>(), 0..=255);
    (any::<bool>(), numbers, any::<[[u8; 16]; 3]>(), proptest::option::of(sequence), data).prop_map(
        |(v6, (protocol, flags, state, ports, mark, timeout), addresses, sequence, data)| {
            let address = |octets: [u8; 16]| match v6 {
                true => Address::v6(octets),
                false => Address::v4([octets[0], octets[1], octets[2], octets[3]]),
            };
            let entry = Entry {
                family: if v6 { Family::V6 } else { Family::V4 },
                protocol: Protocol(protocol),
                flags,
                state,
                client_port: Port(ports[0]),
                virtual_port: Port(ports[1]),
                destination_port: Port(ports[2]),
                mark,
                timeout,
                client: address(addresses[0]),
                virtual_address: address(addresses[1]),
                destination: address(addresses[2]),
                sequence,
            };
            (entry, data)
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_and_a_plain_reader_agrees(
        entries in proptest::collection::vec(any_entry(), 0..20),
    ) {
        let recognised = |data: &Vec<u8>| match data.is_empty() {
            true => Recognised::default(),
            false => Recognised { engine: b"sip", data: data.clone().leak() },
        };
        let entries: Vec<_> = entries.iter().map(|(entry, data)| (*entry, recognised(data))).collect();
        let made = message(Version::One, &entries);
        prop_assert_eq!(&read(&made).into_iter().map(Result::unwrap).collect::<Vec<_>>(), &entries);
        for (plain, (entry, recognised)) in plain_reader(&made).iter().zip(&entries) {
            prop_assert_eq!(plain.0, entry.flags);
            prop_assert_eq!((plain.1, plain.2), (entry.client_port.0, entry.destination_port.0));
            let options = entry_length(Version::One, entry, recognised) - if entry.family == Family::V6 { 72 } else { 36 };
            prop_assert_eq!(plain.3.len(), options);
        }
    }

    /// Random and mutated messages: whatever comes, reading ends, and yields no more than was counted.
    #[test]
    fn nothing_that_is_received_breaks_the_reader(
        entries in proptest::collection::vec(any_entry(), 0..6),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        cut in any::<prop::sample::Index>(),
        version in any::<bool>(),
    ) {
        let version = if version { Version::One } else { Version::Zero };
        let entries: Vec<_> = entries.iter().map(|(entry, _)| (*entry, Recognised::default())).collect();
        let mut bytes = message(version, &entries);
        for (at, byte) in &changes {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        if changes.len() % 2 == 0 {
            bytes.truncate(cut.index(bytes.len() + 1));
            finish(&mut bytes);
        }
        if let Ok(message) = Message::read(&bytes) {
            prop_assert!(message.entries().count() <= 255);
        }
    }
}
