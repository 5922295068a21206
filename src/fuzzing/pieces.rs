//! Super-frames cut into segments and packets cut into fragments: no piece is longer than it may
//! be, and there is an end. ICMP errors and resets about the same packets.

use crate::base::{Address, Family};
use crate::wire::Offload;
use crate::wire::fragment::{Fragments, Original};
use crate::wire::frame::ETHERNET_LENGTH;
use crate::wire::offload::{HEADER_LENGTH, Segmentation};
use crate::wire::originate::{Icmpv4Error, Icmpv6Error, Offending, echo_reply, icmpv4_error, icmpv6_error, reset};
use crate::wire::segment::{Segments, Unfinished, complete};

/// Longest packet there can be.
const LONGEST: usize = 40 + 65_535;

pub fn run(data: &[u8]) {
    let Some((head, packet)) = data.split_first_chunk::<{ HEADER_LENGTH + 2 }>() else { return };
    let (header, mtu) = head.split_first_chunk().expect("the header is in front of the MTU");
    let Some(offload) = Offload::read(header) else { return };
    let mtu = usize::from(u16::from_be_bytes([mtu[0], mtu[1]]));
    let mut buffer = vec![0xa5; LONGEST];
    for link_length in [0, ETHERNET_LENGTH] {
        if let Ok(mut segments) = Segments::new(packet, &offload, link_length) {
            let total = segments.total();
            let lengths: Vec<usize> = std::iter::from_fn(|| segments.next_into(&mut buffer)).take(total + 1).collect();
            assert_eq!(lengths.len(), total, "segments, and how many were announced");
        }
        if let Ok(Some(unfinished)) = Unfinished::of(offload.checksum, link_length) {
            let mut finished = packet.to_vec();
            let _ = complete(&mut finished, unfinished);
            say(Offending { packet, unfinished: Some(unfinished), header_checksum: None }, &mut buffer);
        }
    }
    for fragments in [Fragments::ipv4(packet, mtu, Original::WHOLE), Fragments::ipv6(packet, mtu, Original::WHOLE, 7)] {
        let Ok(mut fragments) = fragments else { continue };
        let mut count = 0;
        while let Some(length) = fragments.next_into(&mut buffer) {
            assert!(length <= mtu, "a fragment of {length} bytes where {mtu} fit");
            count += 1;
            assert!(count <= LONGEST / 8 + 1, "fragments without end");
        }
        assert!(fragments.next_length().is_none(), "a fragment that is not written");
    }
    say(Offending::from(packet), &mut buffer);
    let _ = echo_reply(packet, 7, &mut buffer);
    let _ = reset(packet, offload.checksum, &mut buffer);
}

/// What may be said about a packet is a packet itself.
fn say(offending: Offending<'_>, buffer: &mut [u8]) {
    let v4 = icmpv4_error(offending, Icmpv4Error::fragmentation_needed(1400), Address::v4([10, 0, 0, 1]), 7, buffer);
    if let Ok(length) = v4 {
        assert!(length <= 576, "an ICMP error of {length} bytes");
        assert!(crate::wire::dissect::dissect(Family::V4, &buffer[..length]).is_ok());
    }
    let v6 = icmpv6_error(offending, Icmpv6Error::packet_too_big(1280), Address::v6([0xfd; 16]), buffer);
    if let Ok(length) = v6 {
        assert!(length <= 1280, "an ICMPv6 error of {length} bytes");
        assert!(crate::wire::dissect::dissect(Family::V6, &buffer[..length]).is_ok());
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let frames = super::recorded_frames();
    let segmentations =
        [Segmentation::None, Segmentation::Tcp4 { ecn: false }, Segmentation::Tcp6 { ecn: false }, Segmentation::Udp];
    let mut seeds = Vec::new();
    for (number, frame) in frames.iter().enumerate() {
        let Some(packet) = frame.get(ETHERNET_LENGTH..) else { continue };
        let offload =
            Offload { segmentation: segmentations[number % segmentations.len()], segment_size: 64, ..Offload::NONE };
        seeds.push([&offload.write()[..], &[2, 64], packet].concat());
    }
    seeds
}
