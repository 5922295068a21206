//! A frame's copy in a buffer of the worker's own, from which it can be handled later as it came.
//!
//! ```text
//! buffer:  | headroom | Ethernet header, where there was one | IP packet |
//! ```

use crate::base::LinkId;
use crate::wire::frame::{ETHERNET_LENGTH, HEADROOM};
use crate::wire::{Frame, LinkHeader, Offload};

/// What has to be known of a copied frame besides its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Copied {
    link: LinkId,
    /// It came without an Ethernet header.
    bare: bool,
    /// Bytes of the frame, without the headroom.
    length: usize,
    offload: Offload,
}

impl Copied {
    /// What stands in places that hold no frame.
    pub const NOTHING: Copied = Copied { link: LinkId(0), bare: true, length: 0, offload: Offload::NONE };

    /// Bytes that the copy of a frame takes; `None` where it cannot be copied, as the kernel took its VLAN tag off.
    #[inline]
    pub fn needs(frame: &Frame<'_>) -> Option<usize> {
        let header = match frame.link_header() {
            LinkHeader::Ethernet { .. } => ETHERNET_LENGTH,
            LinkHeader::None => 0,
            LinkHeader::Tagged => return None,
        };
        Some(HEADROOM + header + frame.packet_length())
    }

    /// Copies `frame` into `buffer`, which has the bytes that it needs; `None` where it has not.
    #[inline]
    pub fn write(frame: &Frame<'_>, buffer: &mut [u8]) -> Option<Copied> {
        let end = Copied::needs(frame)?;
        let bytes = buffer.get_mut(HEADROOM..end)?;
        let length = bytes.len();
        let bare = match frame.link_header() {
            LinkHeader::Ethernet { destination, source, kind } => {
                let (header, packet) = bytes.split_at_mut(ETHERNET_LENGTH);
                header[..6].copy_from_slice(&destination.0);
                header[6..12].copy_from_slice(&source.0);
                header[12..].copy_from_slice(&kind.0.to_be_bytes());
                packet.copy_from_slice(frame.packet());
                false
            }
            LinkHeader::None => {
                bytes.copy_from_slice(frame.packet());
                true
            }
            LinkHeader::Tagged => return None,
        };
        Some(Copied { link: frame.link, bare, length, offload: frame.offload })
    }

    /// The frame that `buffer` holds, with the headroom that frames promise.
    #[inline]
    pub fn frame(self, buffer: &mut [u8]) -> Option<Frame<'_>> {
        let Copied { link, bare, length, offload } = self;
        let (start, end) = (HEADROOM, HEADROOM + length);
        if bare {
            Frame::bare(buffer, start, end, link, offload)
        } else {
            Frame::ethernet(buffer, start, end, link, offload)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Mac;
    use crate::wire::EtherType;
    use crate::wire::offload::Completion;

    const OFFLOAD: Offload = Offload { checksum: Completion::Partial { start: 34, offset: 16 }, ..Offload::NONE };

    #[test]
    fn a_copy_is_the_frame() {
        let mut bytes: Vec<u8> = (0..200).collect();
        let mut buffer = vec![0xa5; 400];
        for bare in [false, true] {
            let make = if bare { Frame::bare } else { Frame::ethernet };
            let frame = make(&mut bytes, 10, 190, LinkId(3), OFFLOAD).unwrap();
            assert_eq!(Copied::needs(&frame), Some(HEADROOM + 180));
            let copied = Copied::write(&frame, &mut buffer).unwrap();
            let mut again = copied.frame(&mut buffer).unwrap();
            assert_eq!(again.packet(), frame.packet());
            assert_eq!((again.link, again.link_header(), again.offload), (frame.link, frame.link_header(), OFFLOAD));
            assert!(again.prepend(HEADROOM).is_some());
        }
    }

    #[test]
    fn what_cannot_be_copied_is_not() {
        let mut bytes = [0; 100];
        let mut frame = Frame::ethernet(&mut bytes, 0, 100, LinkId(0), Offload::NONE).unwrap();
        let needed = Copied::needs(&frame).unwrap();
        assert!(Copied::write(&frame, &mut vec![0; needed - 1]).is_none());
        assert!(Copied::write(&frame, &mut vec![0; needed]).is_some());
        let header = LinkHeader::Ethernet { destination: Mac([0; 6]), source: Mac([0; 6]), kind: EtherType(0) };
        assert_eq!(frame.link_header(), header);
        frame.set_tagged();
        assert!(Copied::needs(&frame).is_none() && Copied::write(&frame, &mut vec![0; needed]).is_none());
    }
}
