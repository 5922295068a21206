//! The headers a packet leaves with, written just in front of it.
//!
//! ```text
//! Ethernet link:  | virtio-net 10 | Ethernet 14 | IP packet |
//! bare link:                      | virtio-net 10 | IP packet |
//! ```
//!
//! Offload metadata counts from the frame's beginning, and where that is depends on the link.
//! Between two links it is therefore held as counted from the IP packet ([`Held`]), and moved
//! when the packet is sealed.

use crate::base::LinkId;
use crate::wire::frame::{ETHERNET_LENGTH, HEADROOM};
use crate::wire::offload::{Completion, HEADER_LENGTH, Segmentation};
use crate::wire::{Frame, LinkHeader, Offload};

use super::counters::PortDrop;

/// Room in front of a packet that suffices for every link.
pub(super) const ROOM: usize = ETHERNET_LENGTH + HEADER_LENGTH;

const _: () = assert!(ROOM <= HEADROOM, "a frame that did not grow can always be sealed");

/// What frames of a link start with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    Ethernet,
    Bare,
}

/// An edited packet that still lies in the slot it came in by.
///
/// It stays valid until [`flush`](super::Ports::flush).
#[derive(Clone, Copy, Debug)]
pub struct Held {
    pub(super) link: LinkId,
    pub(super) slot: usize,
    pub(super) network: usize,
    pub(super) end: usize,
    /// Counted from the IP packet's first byte.
    pub(super) offload: Offload,
}

impl Held {
    /// Notes where the packet of `frame` lies, after it was edited: `index` is the one it was read by.
    #[inline]
    pub fn of(index: usize, frame: &Frame<'_>) -> Held {
        let (network, end) = frame.bounds();
        Held { link: frame.link, slot: index, network, end, offload: packet_offload(frame) }
    }
}

/// The offload metadata of `frame`, counted from its IP packet instead of its beginning.
#[inline]
pub fn packet_offload(frame: &Frame<'_>) -> Offload {
    match frame.link_header() {
        LinkHeader::None => frame.offload,
        LinkHeader::Ethernet { .. } | LinkHeader::Tagged => {
            moved(frame.offload, |place| place.saturating_sub(ETHERNET_LENGTH as u16))
        }
    }
}

/// A packet with all its headers: where in its buffer it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    pub start: usize,
    pub end: usize,
    pub cutting: Cutting,
}

/// What is to become of a frame on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cutting {
    /// It is sent as it is.
    Plain,
    /// Somebody behind the port may have to cut it.
    Segmented,
    /// The same, with the outer headers of a tunnel in front, of which its metadata cannot tell.
    Tunneled,
}

impl Cutting {
    #[inline]
    fn of(offload: &Offload) -> Cutting {
        match offload.segmentation {
            Segmentation::None => Cutting::Plain,
            Segmentation::Tunneled { .. } => Cutting::Tunneled,
            _ => Cutting::Segmented,
        }
    }
}

/// Writes the headers for a link of `layer` in front of the packet at `network..end` of `buffer`;
/// `offload` counts from the packet.
#[inline]
pub(super) fn seal(
    buffer: &mut [u8],
    network: usize,
    end: usize,
    offload: Offload,
    layer: Layer,
    header: LinkHeader,
) -> Result<Sealed, PortDrop> {
    let (begin, mut offload) = match layer {
        Layer::Bare => (network, offload),
        Layer::Ethernet => {
            let LinkHeader::Ethernet { destination, source, kind } = header else {
                return Err(PortDrop::NoAddress);
            };
            let begin = network.checked_sub(ETHERNET_LENGTH).ok_or(PortDrop::NoHeadroom)?;
            let room = buffer.get_mut(begin..network).ok_or(PortDrop::NoHeadroom)?;
            room[..6].copy_from_slice(&destination.0);
            room[6..12].copy_from_slice(&source.0);
            room[12..].copy_from_slice(&kind.0.to_be_bytes());
            (begin, moved(offload, |place| place.saturating_add(ETHERNET_LENGTH as u16)))
        }
    };
    // The kernel refuses a frame that is shorter than its header length says, and what it told as that
    // length was how much lay in one piece: more than is left where the packet was shortened.
    let length = end.saturating_sub(begin);
    offload.header_length = offload.header_length.min(u16::try_from(length).unwrap_or(u16::MAX));
    let start = begin.checked_sub(HEADER_LENGTH).ok_or(PortDrop::NoHeadroom)?;
    let room = buffer.get_mut(start..begin).ok_or(PortDrop::NoHeadroom)?;
    room.copy_from_slice(&offload.write());
    Ok(Sealed { start, end, cutting: Cutting::of(&offload) })
}

/// Moves the places that the metadata names; zero as the header length means that none is given.
#[inline]
fn moved(mut offload: Offload, shift: impl Fn(u16) -> u16) -> Offload {
    if let Completion::Partial { start, offset } = offload.checksum {
        offload.checksum = Completion::Partial { start: shift(start), offset };
    }
    if offload.header_length != 0 {
        offload.header_length = shift(offload.header_length);
    }
    offload
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Mac;
    use crate::wire::EtherType;

    const TO: LinkHeader = LinkHeader::Ethernet {
        destination: Mac([2, 0, 0, 0, 0, 1]),
        source: Mac([2, 0, 0, 0, 0, 2]),
        kind: EtherType::IPV6,
    };

    fn super_frame() -> Offload {
        Offload {
            checksum: Completion::Partial { start: 20, offset: 16 },
            segmentation: Segmentation::Tcp4 { ecn: false },
            segment_size: 1448,
            header_length: 52,
        }
    }

    #[test]
    fn an_ethernet_frame_gets_both_headers() {
        let mut buffer = [0xa5; 200];
        let sealed = seal(&mut buffer, 100, 200, super_frame(), Layer::Ethernet, TO).unwrap();
        assert_eq!(sealed, Sealed { start: 76, end: 200, cutting: Cutting::Segmented });
        assert_eq!(buffer[86..100], [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd]);
        assert_eq!(buffer[..76], [0xa5; 76]);
        assert_eq!(buffer[100..], [0xa5; 100]);
        let written = Offload::read(buffer[76..86].first_chunk().unwrap()).unwrap();
        assert_eq!(written.checksum, Completion::Partial { start: 34, offset: 16 });
        assert_eq!(written.header_length, 66);
    }

    #[test]
    fn a_bare_packet_gets_the_metadata_only() {
        let mut buffer = [0xa5; 200];
        let sealed = seal(&mut buffer, 100, 200, super_frame(), Layer::Bare, LinkHeader::None).unwrap();
        assert_eq!(sealed.start, 90);
        assert_eq!(Offload::read(buffer[90..100].first_chunk().unwrap()), Some(super_frame()));
    }

    #[test]
    fn the_header_length_never_exceeds_the_frame() {
        let mut buffer = [0; 200];
        let offload = Offload { header_length: 1000, ..super_frame() };
        let sealed = seal(&mut buffer, 100, 160, offload, Layer::Ethernet, TO).unwrap();
        let written = Offload::read(buffer[sealed.start..].first_chunk().unwrap()).unwrap();
        assert_eq!(written.header_length, 74);
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut buffer = [0; 200];
        let mut sealed = |network, layer, header| seal(&mut buffer, network, 150, Offload::NONE, layer, header);
        assert_eq!(sealed(23, Layer::Ethernet, TO), Err(PortDrop::NoHeadroom));
        assert_eq!(sealed(13, Layer::Ethernet, TO), Err(PortDrop::NoHeadroom));
        assert_eq!(sealed(9, Layer::Bare, LinkHeader::None), Err(PortDrop::NoHeadroom));
        assert_eq!(sealed(100, Layer::Ethernet, LinkHeader::None), Err(PortDrop::NoAddress));
        assert_eq!(sealed(100, Layer::Ethernet, LinkHeader::Tagged), Err(PortDrop::NoAddress));
        assert!(sealed(24, Layer::Ethernet, TO).is_ok());
    }

    #[test]
    fn metadata_survives_the_way_from_ethernet_to_a_bare_link_and_back() {
        let mut buffer = [0; 200];
        let offload = Offload { checksum: Completion::Partial { start: 34, offset: 6 }, ..Offload::NONE };
        let frame = Frame::ethernet(&mut buffer, 86, 200, LinkId(3), offload).unwrap();
        let held = Held::of(7, &frame);
        assert_eq!((held.link, held.slot, held.network, held.end), (LinkId(3), 7, 100, 200));
        assert_eq!(held.offload.checksum, Completion::Partial { start: 20, offset: 6 });
        assert_eq!(held.offload.header_length, 0);
        let frame = Frame::bare(&mut buffer, 100, 200, LinkId(3), held.offload).unwrap();
        assert_eq!(packet_offload(&frame), held.offload);
    }
}
