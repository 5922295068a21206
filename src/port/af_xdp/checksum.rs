//! The state of a frame's transport checksum, found out by summing.
//!
//! A packet ring says of each frame whether its checksum is still unfinished; a descriptor of AF_XDP cannot.
//! A sender on the same machine (across a veth pair, or a virtual machine's card) leaves in the field the
//! folded sum of the pseudo-header and counts on the metadata. So the packet is summed:
//!
//! | the sum over all of it | the field | it is |
//! |---|---|---|
//! | right | | finished, whatever else the field may look like: it can go anywhere as it is |
//! | wrong | the pseudo-header's sum | unfinished |
//! | wrong | anything else | damaged, and stays so: updates by difference keep the error |
//!
//! A damaged packet is taken for an unfinished one by chance, in one of 65536 cases.

use crate::base::Protocol;
use crate::wire::checksum::{self, Sum};
use crate::wire::frame::ETHERNET_LENGTH;
use crate::wire::ip::{self, v4, v6};
use crate::wire::offload::Completion;
use crate::wire::transport::{tcp, udp};

/// The state of the checksum of `packet`, an IP packet that may be followed by padding; places in the answer
/// count from the Ethernet header before it. [`Completion::Complete`] where nothing is known.
pub fn completion(packet: &[u8]) -> Completion {
    find(packet).unwrap_or(Completion::Complete)
}

fn find(packet: &[u8]) -> Option<Completion> {
    let (addresses, protocol, start, end) = match packet.first()? >> 4 {
        4 => {
            let header: &[u8; v4::LENGTH] = packet.first_chunk()?;
            let piece = ip::number(header, v4::FLAGS_OFFSET) & (v4::MORE_FRAGMENTS | v4::OFFSET_MASK);
            if piece != 0 {
                return None;
            }
            let addresses = packet.get(v4::SOURCE.start..v4::DESTINATION.end)?;
            let end = usize::from(ip::number(header, v4::TOTAL_LENGTH));
            (addresses, header[v4::PROTOCOL], ip::header_length4(header), end)
        }
        6 => {
            let header: &[u8; v6::LENGTH] = packet.first_chunk()?;
            let addresses = packet.get(v6::SOURCE.start..v6::DESTINATION.end)?;
            let end = v6::LENGTH + usize::from(ip::number(header, v6::PAYLOAD_LENGTH));
            (addresses, header[v6::NEXT_HEADER], v6::LENGTH, end)
        }
        _ => return None,
    };
    let segment = packet.get(start..end)?;
    let offset = match Protocol(protocol) {
        Protocol::TCP => tcp::CHECKSUM,
        Protocol::UDP => udp::CHECKSUM,
        _ => return None,
    };
    let field: &[u8; checksum::LENGTH] = segment.get(offset..)?.first_chunk()?;
    if protocol == Protocol::UDP.0 && *field == [0; checksum::LENGTH] {
        // The sender does without one.
        return None;
    }
    let pseudo = Sum::ZERO.add_bytes(addresses).add_number(protocol.into()).add_number(segment.len() as u16);
    if pseudo.add_bytes(segment).is_valid() {
        Some(Completion::Verified)
    } else if pseudo.fold().to_ne_bytes() == *field {
        Some(Completion::Partial { start: (ETHERNET_LENGTH + start) as u16, offset: offset as u16 })
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::segment::{Unfinished, complete};

    /// A packet of that kind with its checksum right, and where the transport header starts.
    fn packet(kind: u8, payload: &[u8]) -> (Vec<u8>, usize, usize) {
        let mut bytes = Vec::new();
        match kind % 4 {
            0 => {
                PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(4000, 53).write(&mut bytes, payload).unwrap()
            }
            1 => PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
                .tcp(4000, 80, 1, 1000)
                .write(&mut bytes, payload)
                .unwrap(),
            2 => PacketBuilder::ipv6([0xfd; 16], [0xfe; 16], 64).udp(4000, 53).write(&mut bytes, payload).unwrap(),
            _ => PacketBuilder::ipv6([0xfd; 16], [0xfe; 16], 64)
                .tcp(4000, 80, 1, 1000)
                .write(&mut bytes, payload)
                .unwrap(),
        }
        let start = if kind % 4 < 2 { 20 } else { 40 };
        (bytes, start, if kind.is_multiple_of(2) { 6 } else { 16 })
    }

    /// What a sender that leaves the rest to its card writes: summed here number by number.
    fn leave_unfinished(packet: &mut [u8], start: usize, offset: usize) {
        let (addresses, protocol) = if start == 20 { (12..20, packet[9]) } else { (8..40, packet[6]) };
        let words = packet[addresses].chunks_exact(2).map(|pair| u64::from(u16::from_be_bytes([pair[0], pair[1]])));
        let mut sum = words.sum::<u64>() + u64::from(protocol) + (packet.len() - start) as u64;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        packet[start + offset..start + offset + 2].copy_from_slice(&(sum as u16).to_be_bytes());
    }

    proptest! {
        #[test]
        fn finished_unfinished_and_damaged_are_told_apart(
            kind in 0u8..4, payload in proptest::collection::vec(any::<u8>(), 0..200), padding in 0usize..20,
            damage in 1u8..,
        ) {
            let (mut bytes, start, offset) = packet(kind, &payload);
            let whole = bytes.clone();
            let length = bytes.len();
            bytes.resize(length + padding, 0xa5);
            prop_assert_eq!(completion(&bytes), Completion::Verified);

            leave_unfinished(&mut bytes[..length], start, offset);
            if bytes[..length] != whole {
                let partial = Completion::Partial { start: 14 + start as u16, offset: offset as u16 };
                prop_assert_eq!(completion(&bytes), partial);
                // Finishing it gives what the sender would have sent without offloads.
                complete(&mut bytes[..length], Unfinished { start, offset }).unwrap();
                prop_assert_eq!(&bytes[..length], &whole[..]);
            }

            bytes[start] ^= damage;
            prop_assert_ne!(completion(&bytes), Completion::Verified);
        }

        #[test]
        fn any_bytes_are_classified(mut bytes in proptest::collection::vec(any::<u8>(), 0..100), version in 4u8..7) {
            if let Some(first) = bytes.first_mut() {
                *first = version << 4 | *first & 0xf;
            }
            let state = completion(&bytes);
            if let Completion::Partial { start, offset } = state {
                prop_assert!(usize::from(start - 14 + offset) + 2 <= bytes.len());
            }
        }
    }

    #[test]
    fn nothing_is_said_of_datagrams_without_checksum_and_of_fragments() {
        let (mut bytes, ..) = packet(0, b"payload");
        bytes[26..28].fill(0);
        assert_eq!(completion(&bytes), Completion::Complete);
        let (mut bytes, ..) = packet(0, b"payload");
        bytes[6] = 0x20;
        assert_eq!(completion(&bytes), Completion::Complete);
        assert_eq!(completion(&[]), Completion::Complete);
    }
}
