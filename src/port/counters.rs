//! What a port counts: frames, bytes, and every frame it could not take or send, by reason.

use std::fmt;

macro_rules! drops {
    ($(#[doc = $meaning:literal] $variant:ident $name:literal,)*) => {
        /// Why a port dropped a frame.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum PortDrop {
            $(#[doc = $meaning] $variant,)*
        }

        impl PortDrop {
            /// Every reason there is.
            pub const ALL: &[PortDrop] = &[$(PortDrop::$variant,)*];

            /// The reason's name in listings.
            pub fn name(self) -> &'static str {
                match self {
                    $(PortDrop::$variant => $name,)*
                }
            }

            /// The reason in one sentence.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(PortDrop::$variant => $meaning.trim_ascii(),)*
                }
            }
        }
    };
}

drops! {
    /// The kernel found no free slot, as the worker was too slow; or a super-frame of SCTP, which no packet socket gets.
    RingFull "ring_full",
    /// The frame is longer than a slot, so that its end was lost.
    Truncated "truncated",
    /// The frame is shorter than its link-layer header.
    Short "short",
    /// The kernel's offload metadata is of an unknown kind or contradicts the frame.
    BadOffload "bad_offload",
    /// The frame should leave by a link that has no port.
    NoLink "no_link",
    /// The frame should leave by an Ethernet link, but came without a next hop's Ethernet address.
    NoAddress "no_address",
    /// There is no room in front of the packet for the headers it needs.
    NoHeadroom "no_headroom",
    /// The link's transmit queue is full.
    QueueFull "queue_full",
    /// The frame is longer than the link's MTU.
    TooLong "too_long",
    /// The super-frame is in a tunnel, and the link's port does not carry tunnels whole.
    Tunneled "tunneled_refused",
    /// The link is down.
    LinkDown "link_down",
    /// The link was deleted.
    LinkGone "link_gone",
    /// The kernel refused the frame as malformed.
    Refused "refused",
}

impl fmt::Display for PortDrop {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.meaning())
    }
}

/// Plain numbers of one port, that only its worker writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counters {
    pub received: u64,
    pub received_bytes: u64,
    pub sent: u64,
    pub sent_bytes: u64,
    /// Of the frames sent, super-frames in tunnels.
    pub tunneled: u64,
    drops: [u64; PortDrop::ALL.len()],
}

impl Counters {
    /// How many frames were dropped for `reason`.
    #[inline]
    pub fn dropped(&self, reason: PortDrop) -> u64 {
        self.drops[reason as usize]
    }

    /// The reasons that occurred, with their counts.
    pub fn drops(&self) -> impl Iterator<Item = (PortDrop, u64)> + '_ {
        PortDrop::ALL.iter().map(|&reason| (reason, self.dropped(reason))).filter(|&(_, count)| count > 0)
    }

    #[inline]
    pub(super) fn drop_frames(&mut self, reason: PortDrop, count: u64) {
        self.drops[reason as usize] += count;
    }

    #[inline]
    pub(super) fn count_received(&mut self, bytes: usize) {
        self.received += 1;
        self.received_bytes += bytes as u64;
    }

    #[inline]
    pub(super) fn count_sent(&mut self, bytes: usize) {
        self.sent += 1;
        self.sent_bytes += bytes as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_name_place_and_sentence() {
        let names: std::collections::BTreeSet<_> = PortDrop::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), PortDrop::ALL.len());
        for (place, reason) in PortDrop::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, place);
            assert!(reason.meaning().ends_with('.') && !reason.meaning().starts_with(' '), "{reason:?}");
        }
    }

    #[test]
    fn only_reasons_that_occurred_are_listed() {
        let mut counters = Counters::default();
        counters.drop_frames(PortDrop::TooLong, 2);
        assert_eq!(counters.drops().collect::<Vec<_>>(), [(PortDrop::TooLong, 2)]);
    }
}
