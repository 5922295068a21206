//! The virtio-net header: what the kernel left unfinished in a frame, and hands on with it.
//!
//! A locally generated packet arrives without its transport checksum, or as a super-frame of up
//! to 64 KiB that a network card would have cut. The header says which; handed back unchanged
//! on transmission it lets the frame pass whole. Layout: `struct virtio_net_hdr` of the virtio
//! specification, 10 bytes, little-endian here as the kernel's legacy header is on the machines
//! this runs on (native order).

use crate::base::Family;

/// Length of the header in front of each frame.
pub const HEADER_LENGTH: usize = 10;

const NEEDS_CHECKSUM: u8 = 1;
const DATA_VALID: u8 = 2;

const GSO_NONE: u8 = 0;
const GSO_TCP4: u8 = 1;
const GSO_UDP_FRAGMENTS: u8 = 3;
const GSO_TCP6: u8 = 4;
const GSO_UDP: u8 = 5;
/// Bit: some segment carries ECN's CWR.
const GSO_ECN: u8 = 0x80;

/// What kind of super-frame it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Segmentation {
    #[default]
    None,
    /// TCP over IPv4; `ecn` when a segment carries CWR.
    Tcp4 {
        ecn: bool,
    },
    Tcp6 {
        ecn: bool,
    },
    /// TCP in a tunnel: every segment gets the outer headers too. The header that it leaves with cannot say
    /// so, and names the packet inside (`inner`) alone: only a port that carries tunnels whole may send it.
    Tunneled {
        inner: Family,
        ecn: bool,
    },
    /// UDP datagrams of `segment_size` bytes each (USO).
    Udp,
    /// One UDP datagram to be fragmented (UFO); no longer made by current kernels.
    UdpFragments,
}

/// The transport checksum's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Completion {
    /// Nothing is known; the checksum in the frame counts.
    #[default]
    Complete,
    /// Verified by whoever received it.
    Verified,
    /// The field holds the folded sum of the pseudo-header, not complemented; the rest is to be
    /// summed from `start` (bytes from the frame's beginning) and stored at `start + offset`.
    Partial { start: u16, offset: u16 },
}

/// The decoded virtio-net header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Offload {
    pub checksum: Completion,
    pub segmentation: Segmentation,
    /// Payload bytes of each segment when segmented.
    pub segment_size: u16,
    /// Length of the headers that every segment repeats, from the frame's beginning.
    pub header_length: u16,
}

impl Offload {
    /// A plain frame.
    pub const NONE: Offload =
        Offload { checksum: Completion::Complete, segmentation: Segmentation::None, segment_size: 0, header_length: 0 };

    /// Reads the header from `bytes`; `None` where the kernel uses a kind that is not known.
    pub fn read(bytes: &[u8; HEADER_LENGTH]) -> Option<Offload> {
        let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let ecn = bytes[1] & GSO_ECN != 0;
        let segmentation = match bytes[1] & !GSO_ECN {
            GSO_NONE => Segmentation::None,
            GSO_TCP4 => Segmentation::Tcp4 { ecn },
            GSO_TCP6 => Segmentation::Tcp6 { ecn },
            GSO_UDP_FRAGMENTS => Segmentation::UdpFragments,
            GSO_UDP => Segmentation::Udp,
            _ => return None,
        };
        let checksum = if bytes[0] & NEEDS_CHECKSUM != 0 {
            Completion::Partial { start: word(6), offset: word(8) }
        } else if bytes[0] & DATA_VALID != 0 {
            Completion::Verified
        } else {
            Completion::Complete
        };
        Some(Offload { checksum, segmentation, header_length: word(2), segment_size: word(4) })
    }

    /// The header's bytes, to be put in front of the frame.
    pub fn write(&self) -> [u8; HEADER_LENGTH] {
        let mut bytes = [0; HEADER_LENGTH];
        let ecn_bit = |ecn: bool| if ecn { GSO_ECN } else { 0 };
        bytes[1] = match self.segmentation {
            Segmentation::None => GSO_NONE,
            Segmentation::Tcp4 { ecn } | Segmentation::Tunneled { inner: Family::V4, ecn } => GSO_TCP4 | ecn_bit(ecn),
            Segmentation::Tcp6 { ecn } | Segmentation::Tunneled { inner: Family::V6, ecn } => GSO_TCP6 | ecn_bit(ecn),
            Segmentation::Udp => GSO_UDP,
            Segmentation::UdpFragments => GSO_UDP_FRAGMENTS,
        };
        bytes[2..4].copy_from_slice(&self.header_length.to_ne_bytes());
        bytes[4..6].copy_from_slice(&self.segment_size.to_ne_bytes());
        match self.checksum {
            Completion::Complete => {}
            // Only a receiver may claim that data is valid; on the way out the field stands for itself.
            Completion::Verified => {}
            Completion::Partial { start, offset } => {
                bytes[0] = NEEDS_CHECKSUM;
                bytes[6..8].copy_from_slice(&start.to_ne_bytes());
                bytes[8..10].copy_from_slice(&offset.to_ne_bytes());
            }
        }
        bytes
    }

    pub fn is_segmented(&self) -> bool {
        self.segmentation != Segmentation::None
    }

    /// Whether it is a super-frame with outer headers of a tunnel.
    pub fn is_tunneled(&self) -> bool {
        matches!(self.segmentation, Segmentation::Tunneled { .. })
    }

    /// Whether the transport checksum field holds only the pseudo-header's sum.
    pub fn is_partial(&self) -> bool {
        matches!(self.checksum, Completion::Partial { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_the_round_trip() {
        let offload = Offload {
            checksum: Completion::Partial { start: 34, offset: 16 },
            segmentation: Segmentation::Tcp4 { ecn: true },
            segment_size: 1448,
            header_length: 66,
        };
        assert_eq!(Offload::read(&offload.write()), Some(offload));
        assert_eq!(Offload::read(&[0; HEADER_LENGTH]), Some(Offload::NONE));
        let mut unknown = [0; HEADER_LENGTH];
        unknown[1] = 77;
        assert_eq!(Offload::read(&unknown), None);
    }
}
