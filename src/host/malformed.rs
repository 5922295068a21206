//! Why an ARP packet or a neighbour discovery message was not taken.

/// What is wrong with it; each reason is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// shorter than its headers say
    Truncated,
    /// ARP for something other than IPv4 over Ethernet
    NotEthernetIpv4,
    /// ARP with an operation other than request and reply
    UnknownOperation,
    /// a sender whose link-layer address is zero or a group's
    GroupSender,
    /// a hop limit below 255: it came through a router
    HopLimit,
    /// an ICMPv6 code other than 0
    Code,
    /// a wrong checksum
    Checksum,
    /// a target that is a group, or a solicited answer that went to one
    GroupTarget,
    /// an option that is empty, cut off or of the wrong length
    BadOption,
    /// a source that is a group, or unspecified where that is not allowed
    BadSource,
}

impl Malformed {
    pub const ALL: [Malformed; 10] = [
        Malformed::Truncated,
        Malformed::NotEthernetIpv4,
        Malformed::UnknownOperation,
        Malformed::GroupSender,
        Malformed::HopLimit,
        Malformed::Code,
        Malformed::Checksum,
        Malformed::GroupTarget,
        Malformed::BadOption,
        Malformed::BadSource,
    ];

    /// The reason in a few words, for listings.
    pub fn name(self) -> &'static str {
        match self {
            Malformed::Truncated => "truncated",
            Malformed::NotEthernetIpv4 => "not IPv4 over Ethernet",
            Malformed::UnknownOperation => "unknown ARP operation",
            Malformed::GroupSender => "sender is a group",
            Malformed::HopLimit => "hop limit is not 255",
            Malformed::Code => "ICMPv6 code is not 0",
            Malformed::Checksum => "wrong checksum",
            Malformed::GroupTarget => "target is a group",
            Malformed::BadOption => "bad option",
            Malformed::BadSource => "bad source address",
        }
    }
}
