//! What the engine decides about a frame, and why.

use crate::base::{Address, Family, LinkId};
use crate::wire::Malformed;

/// Where a packet goes next: the link, and the neighbour on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Egress {
    pub link: LinkId,
    /// Family of `next_hop` (and of the packet's outermost header).
    pub family: Family,
    pub next_hop: Address,
}

/// The engine's answer to one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The frame, edited in place, is to be sent.
    Transmit(Egress),
    /// The frame is done with; what became of it (fragments, an answer, nothing yet) is in the outbox.
    Consumed,
    /// Not ours: the host's own stack, or nobody, takes it.
    Pass(PassReason),
    Drop(DropReason),
}

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal: $meaning:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $(#[doc = $meaning] $variant,)*
        }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// Its name in `ulvs stats`.
            pub fn name(self) -> &'static str {
                match self {
                    $($name::$variant => $text,)*
                }
            }

            /// One sentence that says what happened.
            pub fn meaning(self) -> &'static str {
                match self {
                    $($name::$variant => $meaning,)*
                }
            }
        }
    };
}

pub(super) use reasons;

reasons! {
    /// Why a frame was left alone.
    PassReason {
        NotIp = "not-ip": "The frame carries neither IPv4 nor IPv6.",
        OtherHost = "other-host": "The frame's Ethernet destination is not this director.",
        LinkMulticast = "link-multicast": "The frame went to a link-layer group.",
        Vlan = "vlan-tag": "The frame carries a VLAN tag and belongs to another interface.",
        NotVirtual = "not-virtual": "The destination is no virtual address, and the packet answers no connection.",
        Multicast = "multicast": "The packet went to a multicast or broadcast address.",
        UnknownProtocol = "unknown-protocol": "The protocol is none that is balanced.",
        NoService = "no-service": "No virtual service takes this address, protocol and port.",
        NotFirst = "no-connection": "The packet belongs to no connection and may not begin one.",
        FtpData = "source-port-20": "Packets from port 20 never begin a connection.",
        Local = "local-server": "The real server is this host itself.",
        HostAddress = "host-address": "The virtual address is the host's own by now, and the kernel cannot be kept from it.",
        Tunneled = "tunneled": "An encapsulated packet, left alone because of ignore_tunneled.",
        BackupOnly = "backup-only": "A packet that the backup daemon leaves to the host (backup_only).",
    }
}

reasons! {
    /// Why a frame was dropped.
    DropReason {
        Truncated = "truncated": "The packet is shorter than its IP header.",
        IpVersion = "ip-version": "The IP version does not match the frame's type.",
        IpLength = "ip-length": "A length field of the IP header is impossible.",
        HeaderChecksum = "ip-header-checksum": "The IPv4 header's checksum is wrong.",
        ExtensionHeader = "ipv6-extension-header": "An IPv6 extension header runs past the packet's end.",
        IpOptions = "ip-options": "IPv4 options or IPv6 hop-by-hop options that cannot be, or must be known and are not; the sender was told where it is told.",
        SourceRoute = "source-route": "The packet asks for a route of its own, which is refused.",
        MartianSource = "martian-source": "The source address is one that no packet may come from.",
        TransportTruncated = "transport-truncated": "The transport header is not complete.",
        TransportChecksum = "tcp-checksum": "A segment that a helper must understand has a wrong checksum.",
        IcmpChecksum = "icmp-checksum": "An ICMP message with a wrong checksum.",
        Offload = "offload": "The offload metadata contradicts the frame.",
        ReassemblyOverlap = "fragment-overlap": "Overlapping fragments: the whole datagram is dropped.",
        ReassemblyInvalid = "fragment-invalid": "A fragment of impossible length or place.",
        ReassemblyMemory = "fragment-memory": "The memory for incomplete datagrams is used up.",
        ReassemblyTimeout = "fragment-timeout": "Some fragments of a datagram never came.",
        DestinationGone = "destination-gone": "The connection's real server was deleted.",
        NoDestination = "no-destination": "No real server can take the connection; the client was told.",
        PersistenceEngine = "persistence-engine": "The persistence engine found nothing to recognise the client by.",
        DropPacket = "drop-packet": "One of many, dropped on purpose (drop_packet).",
        TableFull = "table-full": "The connection table holds as many connections as it may.",
        TimeToLive = "ttl-exceeded": "The packet's TTL or hop limit ran out; the sender was told.",
        TooBig = "packet-too-big": "The packet does not fit and may not be fragmented; the sender was told.",
        MtuTooSmall = "mtu-too-small": "The tunnel leaves less than the smallest MTU its packets may have.",
        NoRoute = "no-route": "No route leads to the next hop; the sender was told.",
        LinkDown = "link-down": "The link towards the next hop is down or gone.",
        DirectOverTun = "direct-route-over-tun": "Direct routing needs a link layer, which a TUN device has not.",
        LocalServer = "local-nat-server": "A masquerading real server is this host itself, and no way leads to its stack and back.",
        LocalBoundary = "local-boundary": "The packet would cross between this host and the network in a way that is refused.",
        Headroom = "headroom": "No room in front of the packet for a tunnel header.",
        TooLong = "too-long": "The packet would be longer than an IP packet can be.",
        Outbox = "outbox-full": "Too many packets of the director's own are waiting.",
        ServerTold = "server-told": "A real server's packet without connection, answered with port unreachable (nat_icmp_send).",
        IcmpUnscheduled = "icmp-unscheduled": "An ICMP error that schedule_icmp may not schedule.",
    }
}

impl From<Malformed> for DropReason {
    fn from(malformed: Malformed) -> DropReason {
        match malformed {
            Malformed::Truncated => DropReason::Truncated,
            Malformed::Version => DropReason::IpVersion,
            Malformed::Length => DropReason::IpLength,
            Malformed::HeaderChecksum => DropReason::HeaderChecksum,
            Malformed::ExtensionHeader => DropReason::ExtensionHeader,
        }
    }
}

/// How often each verdict was given.
#[derive(Clone, Debug)]
pub struct VerdictCounts {
    pub transmitted: u64,
    pub consumed: u64,
    passed: [u64; PassReason::ALL.len()],
    dropped: [u64; DropReason::ALL.len()],
}

impl Default for VerdictCounts {
    fn default() -> VerdictCounts {
        VerdictCounts {
            transmitted: 0,
            consumed: 0,
            passed: [0; PassReason::ALL.len()],
            dropped: [0; DropReason::ALL.len()],
        }
    }
}

impl VerdictCounts {
    #[inline]
    pub fn note(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Transmit(_) => self.transmitted += 1,
            Verdict::Consumed => self.consumed += 1,
            Verdict::Pass(reason) => self.passed[reason as usize] += 1,
            Verdict::Drop(reason) => self.dropped[reason as usize] += 1,
        }
    }

    pub fn passed(&self, reason: PassReason) -> u64 {
        self.passed[reason as usize]
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }
}
