//! Fragments in any order, with any contents: what is put together is a packet again, and no more
//! is kept than may be.

use arbitrary::{Result, Unstructured};

use crate::base::hash::HashKey;
use crate::base::{Family, Tick};
use crate::wire::fragment::Fragments;
use crate::wire::ip::{self, v4, v6};
use crate::wire::reassembly::{Limits, Outcome, Reassembler};

/// Longest packet there can be.
const LONGEST: usize = 40 + 65_535;
/// More steps than that teach nothing new.
const MOST_STEPS: usize = 128;

pub fn run(data: &[u8]) {
    let _ = drive(&mut Unstructured::new(data));
}

fn drive(u: &mut Unstructured) -> Result<()> {
    let memory = if u.arbitrary()? { Limits::default().memory } else { u.int_in_range(0..=200_000)? };
    let mut reassembler = Reassembler::new(Limits { memory, ..Limits::default() }, HashKey(1, 2));
    let mut now = Tick(1000);
    for _ in 0..MOST_STEPS {
        if u.is_empty() {
            break;
        }
        let packet = fragment(u)?;
        match reassembler.push(now, &packet) {
            Outcome::Whole(whole) => {
                let packet = whole.packet();
                assert!(packet.len() <= LONGEST, "a datagram of {} bytes", packet.len());
                let family = if packet[0] >> 4 == 4 { Family::V4 } else { Family::V6 };
                let said = match family {
                    Family::V4 => usize::from(ip::number(packet, v4::TOTAL_LENGTH)),
                    Family::V6 => 40 + usize::from(ip::number(packet, v6::PAYLOAD_LENGTH)),
                };
                assert_eq!(said, packet.len(), "the length that its header says");
                cut_again(family, packet, whole.original);
            }
            Outcome::NotFragmented | Outcome::Stored | Outcome::Dropped(_) | Outcome::Problem(_) => {}
        }
        if u.ratio(1, 16)? {
            now = now + u64::from(u.arbitrary::<u16>()?);
            while reassembler.expire(now).is_some() {}
            assert!(reassembler.next_deadline().is_none_or(|deadline| deadline > now), "what is due was given up");
        }
    }
    while reassembler.expire(now + 1_000_000).is_some() {}
    assert!(reassembler.is_empty(), "datagrams that nothing gives up");
    Ok(())
}

/// A datagram goes on in fragments no longer than those it came in.
fn cut_again(family: Family, packet: &[u8], original: crate::wire::fragment::Original<'_>) {
    let cut = match family {
        Family::V4 => Fragments::ipv4(packet, 1500, original),
        Family::V6 => Fragments::ipv6(packet, 1500, original, 9),
    };
    let Ok(mut fragments) = cut else { return };
    let mut buffer = vec![0; LONGEST];
    let mut count = 0;
    while let Some(length) = fragments.next_into(&mut buffer) {
        assert!(length <= 1500, "a fragment of {length} bytes");
        count += 1;
        assert!(count <= LONGEST / 8 + 1, "fragments without end");
    }
}

/// A fragment of one of few datagrams; some of it is whatever the bytes say.
fn fragment(u: &mut Unstructured) -> Result<Vec<u8>> {
    let length = match u.int_in_range(0..=5u8)? {
        0..=2 => usize::from(u.int_in_range(0..=8u8)?) * 8,
        3 => u.int_in_range(0..=100)?,
        4 => 1480,
        _ => u.int_in_range(0..=65_400)?,
    };
    let offset = match u.int_in_range(0..=3u8)? {
        0 => 0,
        1 | 2 => u.int_in_range(0..=10u16)?,
        _ => u.int_in_range(0..=8191)?,
    };
    let more = u.ratio(3, 4)?;
    let identification = u.int_in_range(0..=3u8)?;
    let protocol = *u.choose(&[17, 6, 1, 60, 0])?;
    let mut payload = vec![identification; length];
    let own = length.min(24);
    u.fill_buffer(&mut payload[..own])?;
    let mut packet = if u.arbitrary()? {
        let mut packet = vec![0x45, u.int_in_range(0..=3)?, 0, 0, 0, identification, 0, 0, 64, protocol, 0, 0];
        packet.extend([10, 0, 0, 2, 10, 9, 9, 9]);
        let field = offset | if more { 0x2000 } else { 0 };
        packet[6..8].copy_from_slice(&field.to_be_bytes());
        packet.extend(payload);
        let total = packet.len().min(65_535) as u16;
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        packet
    } else {
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, 44, 64];
        packet.extend([0xfd; 16]);
        packet.extend([0xfe; 16]);
        packet.extend([protocol, 0]);
        packet.extend((offset << 3 | u16::from(more)).to_be_bytes());
        packet.extend([0, 0, 0, identification]);
        packet.extend(payload);
        let length = (packet.len() - 40).min(65_535) as u16;
        packet[4..6].copy_from_slice(&length.to_be_bytes());
        packet
    };
    if u.ratio(1, 8)? {
        let at = u.choose_index(packet.len().min(60))?;
        packet[at] = u.arbitrary()?;
    }
    if packet[0] == 0x45 {
        ip::set_header_checksum(&mut packet);
    }
    if u.ratio(1, 16)? {
        packet.truncate(u.choose_index(packet.len())?);
    }
    Ok(packet)
}

pub fn seeds() -> Vec<Vec<u8>> {
    super::nothing()
}
