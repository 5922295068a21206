//! A frame in someone else's buffer, edited in place.
//!
//! ```text
//! buffer:  | headroom ........ | Ethernet header | IP packet ................. | tailroom |
//!                              ^ network - 14     ^ network                    ^ end
//! ```
//!
//! The engine reads and edits the IP packet, may put an outer header in front of it (the
//! headroom is for that), and leaves the link-layer header to whoever sends the frame.

use std::ops::Range;

use crate::base::{LinkId, Mac};

use super::offload::Offload;

/// Length of an Ethernet header without VLAN tag.
pub const ETHERNET_LENGTH: usize = 14;
/// Free bytes a port must leave in front of the IP packet: the largest outer headers (IPv6 40,
/// UDP 8, GUE 4 + 8), the Ethernet header, and the virtio-net header.
pub const HEADROOM: usize = 96;

/// EtherType numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EtherType(pub u16);

impl EtherType {
    pub const IPV4: EtherType = EtherType(0x0800);
    pub const ARP: EtherType = EtherType(0x0806);
    pub const VLAN: EtherType = EtherType(0x8100);
    pub const IPV6: EtherType = EtherType(0x86dd);
}

/// One frame (or, from a TUN device, one bare IP packet).
pub struct Frame<'a> {
    buffer: &'a mut [u8],
    network: usize,
    end: usize,
    /// The link it came in by.
    pub link: LinkId,
    pub offload: Offload,
    link_header: LinkHeader,
}

/// The link-layer header as received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkHeader {
    Ethernet {
        destination: Mac,
        source: Mac,
        kind: EtherType,
    },
    /// A VLAN tag stands before the packet; such frames belong to another interface.
    Tagged,
    /// The frame came without one (TUN).
    None,
}

impl<'a> Frame<'a> {
    /// A frame whose Ethernet header starts at `start`; `None` where it is shorter than that header.
    pub fn ethernet(
        buffer: &'a mut [u8],
        start: usize,
        end: usize,
        link: LinkId,
        offload: Offload,
    ) -> Option<Frame<'a>> {
        let network = start + ETHERNET_LENGTH;
        if network > end || end > buffer.len() {
            return None;
        }
        let header: &[u8; ETHERNET_LENGTH] = buffer.get(start..)?.first_chunk()?;
        let kind = EtherType(u16::from_be_bytes([header[12], header[13]]));
        let link_header = if kind == EtherType::VLAN {
            LinkHeader::Tagged
        } else {
            LinkHeader::Ethernet {
                destination: Mac([header[0], header[1], header[2], header[3], header[4], header[5]]),
                source: Mac([header[6], header[7], header[8], header[9], header[10], header[11]]),
                kind,
            }
        };
        Some(Frame { buffer, network, end, link, offload, link_header })
    }

    /// A bare IP packet that starts at `start`.
    pub fn bare(buffer: &'a mut [u8], start: usize, end: usize, link: LinkId, offload: Offload) -> Option<Frame<'a>> {
        if start > end || end > buffer.len() {
            return None;
        }
        Some(Frame { buffer, network: start, end, link, offload, link_header: LinkHeader::None })
    }

    /// Says that the frame carried a VLAN tag which the kernel took out of it.
    pub fn set_tagged(&mut self) {
        self.link_header = LinkHeader::Tagged;
    }

    pub fn link_header(&self) -> LinkHeader {
        self.link_header
    }

    /// The IP packet, with whatever padding follows it.
    #[inline]
    pub fn packet(&self) -> &[u8] {
        &self.buffer[self.network..self.end]
    }

    #[inline]
    pub fn packet_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.network..self.end]
    }

    /// Length of the IP packet, padding included until [`Frame::truncate`] took it off.
    #[inline]
    pub fn packet_length(&self) -> usize {
        self.end - self.network
    }

    /// Where the IP packet lies in the buffer: what a port needs to send it.
    pub fn bounds(&self) -> (usize, usize) {
        (self.network, self.end)
    }

    /// Cuts the packet to `length` bytes (Ethernet padding).
    #[inline]
    pub fn truncate(&mut self, length: usize) {
        debug_assert!(length <= self.packet_length());
        self.end = self.network + length.min(self.packet_length());
    }

    /// Makes room for `length` bytes in front of the packet and returns the longer packet;
    /// `None` where the headroom is too small. The new bytes hold what was there before.
    #[inline]
    pub fn prepend(&mut self, length: usize) -> Option<&mut [u8]> {
        self.network = self.network.checked_sub(length)?;
        Some(&mut self.buffer[self.network..self.end])
    }

    /// Puts `text` in the place of some bytes of the packet. What stands before them moves, into
    /// the headroom where the packet grows: it is the shorter part where headers are edited.
    /// `None`, and nothing done, where the headroom is too small.
    pub fn replace(&mut self, place: Range<usize>, text: &[u8]) -> Option<()> {
        debug_assert!(place.start <= place.end && place.end <= self.packet_length());
        let (old, before) = (self.network, self.network + place.start);
        self.network = (old + place.len()).checked_sub(text.len())?;
        self.buffer.copy_within(old..before, self.network);
        let at = self.network + place.start;
        self.buffer[at..at + text.len()].copy_from_slice(text);
        Some(())
    }

    /// Takes `length` bytes off the front of the packet.
    #[cfg(test)]
    pub fn strip(&mut self, length: usize) {
        debug_assert!(length <= self.packet_length());
        self.network += length.min(self.packet_length());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_grows_into_its_headroom_and_no_further() {
        let mut buffer = vec![0xa5; 200];
        buffer[112..114].copy_from_slice(&[0x08, 0x00]);
        let mut frame = Frame::ethernet(&mut buffer, 100, 200, LinkId(0), Offload::NONE).unwrap();
        assert_eq!(frame.packet_length(), 86);
        assert!(matches!(frame.link_header(), LinkHeader::Ethernet { kind: EtherType::IPV4, .. }));
        assert_eq!(frame.prepend(20).unwrap().len(), 106);
        assert!(frame.prepend(95).is_none());
        frame.truncate(30);
        assert_eq!(frame.packet_length(), 30);
    }

    #[test]
    fn bytes_are_replaced_by_more_or_fewer() {
        let mut buffer: Vec<u8> = (0..40).collect();
        let mut frame = Frame::bare(&mut buffer, 4, 40, LinkId(0), Offload::NONE).unwrap();
        frame.replace(2..5, b"abcde").unwrap();
        assert_eq!(frame.packet()[..9], *b"\x04\x05abcde\x09\x0a");
        assert_eq!(frame.packet_length(), 38);
        frame.replace(2..7, b"x").unwrap();
        assert_eq!(frame.packet()[..5], *b"\x04\x05x\x09\x0a");
        assert_eq!((frame.packet_length(), frame.packet().last()), (34, Some(&39)));
        assert!(frame.replace(0..0, &[0; 7]).is_none(), "there is room for six bytes");
        assert_eq!(frame.packet()[..3], *b"\x04\x05x");
    }

    #[test]
    fn a_frame_shorter_than_its_header_is_none() {
        let mut buffer = vec![0; 20];
        assert!(Frame::ethernet(&mut buffer, 0, 13, LinkId(0), Offload::NONE).is_none());
        assert!(Frame::ethernet(&mut buffer, 0, 21, LinkId(0), Offload::NONE).is_none());
    }
}
