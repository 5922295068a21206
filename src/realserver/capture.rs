//! Where tunnel packets come from: packet sockets beside the kernel's stack.
//!
//! One socket a link and family takes a copy of every packet that is a tunnel's, with what is
//! unfinished in it (PACKET_VNET_HDR), so that a super-frame stays one; IPv4 fragments are put
//! together by the kernel first (a fanout group of one, with the DEFRAG flag). A raw or UDP socket
//! for each protocol, which takes nothing, keeps the kernel from answering that it does not know
//! the protocol: raw(7) sockets count as a receiver even where their filter refuses the packet.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use socket2::{Domain, SockAddr, SockFilter, Socket, Type};

use super::decapsulate::Policy;
use super::error::RealServerError;
use super::netlink::Link;
use super::sys;
use crate::base::{Family, Port, Protocol};

/// Room for the packets of a burst; a socket buffer is cut to net.core.rmem_max.
const BUFFER: u32 = 16 << 20;

/// A socket that gives tunnel packets of one family from one link.
#[derive(Debug)]
pub struct Capture {
    socket: Socket,
    pub link: String,
    /// Where in a frame the IP header begins.
    pub header_length: usize,
}

impl Capture {
    /// Opens sockets for all that `policy` takes on `link`: packets to this host that carry one of
    /// its protocols.
    ///
    /// # Errors
    /// [`RealServerError::NotPermitted`] without CAP_NET_RAW; [`RealServerError::UnknownFrames`].
    pub fn open(link: &Link, policy: &Policy) -> Result<Vec<Capture>, RealServerError> {
        let unknown = || RealServerError::UnknownFrames(link.name.clone());
        let header_length = link.header_length.ok_or_else(unknown)?;
        let mut captures = Vec::new();
        for family in [Family::V4, Family::V6] {
            let own: Vec<Protocol> =
                policy.protocols.iter().filter(|(of, _)| *of == family).map(|(_, protocol)| *protocol).collect();
            if own.is_empty() && policy.gue_port.is_none() {
                continue;
            }
            let socket = open_socket(link, family, &filter(link.index, family, &own, policy.gue_port));
            let socket = socket.map_err(RealServerError::io("a packet socket"))?;
            captures.push(Capture { socket, link: link.name.clone(), header_length });
        }
        Ok(captures)
    }

    /// Reads one frame behind its virtio-net header into `buffer`; `WouldBlock` where there is none.
    ///
    /// # Errors
    /// The kernel's; `NetworkDown` where the link went down, which is no reason to stop.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.socket).read(buffer)
    }

    /// How many packets found no room since this was last asked.
    pub fn lost(&self) -> u64 {
        sys::lost_packets(self.socket.as_fd()).unwrap_or_default().into()
    }
}

impl AsFd for Capture {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Capture {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Sockets that take nothing, and by being there keep the kernel from refusing `policy`'s packets.
///
/// # Errors
/// [`RealServerError::NotPermitted`] without CAP_NET_RAW; `AddrInUse` where the GUE port is taken.
pub fn hush(policy: &Policy) -> Result<Vec<Socket>, RealServerError> {
    let mut sockets = Vec::new();
    for (family, protocol) in &policy.protocols {
        let domain = match family {
            Family::V4 => Domain::IPV4,
            Family::V6 => Domain::IPV6,
        };
        match Socket::new(domain, Type::RAW, Some(i32::from(protocol.0).into())).and_then(refuse_everything) {
            // A kernel without IPv6 refuses none of its packets.
            Err(error) if *family == Family::V6 && is_unknown_family(&error) => {}
            socket => sockets.push(socket.map_err(RealServerError::io("a raw socket"))?),
        }
    }
    if let Some(port) = policy.gue_port {
        let open = || -> io::Result<Socket> {
            let (socket, any) = match Socket::new(Domain::IPV6, Type::DGRAM, None) {
                Err(error) if is_unknown_family(&error) => {
                    (Socket::new(Domain::IPV4, Type::DGRAM, None)?, IpAddr::from(Ipv4Addr::UNSPECIFIED))
                }
                socket => {
                    let socket = socket?;
                    socket.set_only_v6(false)?;
                    (socket, IpAddr::from(Ipv6Addr::UNSPECIFIED))
                }
            };
            let socket = refuse_everything(socket)?;
            socket.bind(&SockAddr::from(SocketAddr::from((any, port.0))))?;
            Ok(socket)
        };
        sockets.push(open().map_err(RealServerError::io("the UDP port of GUE tunnels"))?);
    }
    Ok(sockets)
}

fn is_unknown_family(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

fn refuse_everything(socket: Socket) -> io::Result<Socket> {
    socket.attach_filter(&[SockFilter::new(bpf::RETURN, 0, 0, 0)])?;
    Ok(socket)
}

/// A socket that is told what to take before it is bound, so that it never holds anything else.
fn open_socket(link: &Link, family: Family, filter: &[SockFilter]) -> io::Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    let packet = |name, value| sys::set_option(socket.as_fd(), libc::SOL_PACKET, name, value);
    packet(libc::PACKET_VNET_HDR, 1)?;
    packet(libc::PACKET_IGNORE_OUTGOING, 1)?;
    if sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, BUFFER).is_err() {
        sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, BUFFER)?;
    }
    socket.attach_filter(filter)?;
    socket.set_nonblocking(true)?;
    let ether_type = match family {
        Family::V4 => libc::ETH_P_IP,
        Family::V6 => libc::ETH_P_IPV6,
    };
    sys::bind_packet(socket.as_fd(), ether_type as u16, link.index)?;
    if family == Family::V4 {
        // Group number 0 with UNIQUEID: the kernel picks one that nobody has.
        let mode = libc::PACKET_FANOUT_HASH | libc::PACKET_FANOUT_FLAG_DEFRAG | libc::PACKET_FANOUT_FLAG_UNIQUEID;
        packet(libc::PACKET_FANOUT, mode << 16)?;
    }
    Ok(socket)
}

/// Instruction codes of the classic BPF (linux/filter.h), as far as they are needed.
mod bpf {
    pub const LOAD_BYTE: u16 = 0x30;
    pub const LOAD_WORD: u16 = 0x20;
    pub const LOAD_HALF_INDEXED: u16 = 0x48;
    pub const LOAD_HALF: u16 = 0x28;
    /// X becomes four times the low half of a byte: the length of an IPv4 header.
    pub const LOAD_HEADER_LENGTH: u16 = 0xb1;
    pub const JUMP_IF_EQUAL: u16 = 0x15;
    pub const RETURN: u16 = 0x06;
    /// Where the kernel shows whom a packet was for (SKF_AD_OFF + SKF_AD_PKTTYPE).
    pub const PACKET_TYPE: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE).cast_unsigned();
    /// Where the kernel shows by which interface it came (SKF_AD_OFF + SKF_AD_IFINDEX).
    pub const INTERFACE: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_IFINDEX).cast_unsigned();
    pub const TO_THIS_HOST: u32 = libc::PACKET_HOST as u32;
    pub const WHOLE: u32 = u32::MAX;
    /// Offsets from here on count from the IP header, whatever is before it.
    pub const IP_HEADER: u32 = libc::SKF_NET_OFF.cast_unsigned();
}

/// Passes packets to this host by the interface of that number with one of `protocols`, or UDP to `port`. Jumps count
/// the instructions that are left out.
///
/// What comes by a VLAN or macvlan link comes to the sockets of the link below as well, as if it were theirs.
fn filter(interface: u32, family: Family, protocols: &[Protocol], port: Option<Port>) -> Vec<SockFilter> {
    let [refuse, accept] = [0, bpf::WHOLE].map(|length| SockFilter::new(bpf::RETURN, 0, 0, length));
    let (protocol_at, load_port) = match family {
        Family::V4 => {
            let header = SockFilter::new(bpf::LOAD_HEADER_LENGTH, 0, 0, bpf::IP_HEADER);
            (9, vec![header, SockFilter::new(bpf::LOAD_HALF_INDEXED, 0, 0, bpf::IP_HEADER + 2)])
        }
        Family::V6 => (6, vec![SockFilter::new(bpf::LOAD_HALF, 0, 0, bpf::IP_HEADER + 42)]),
    };
    let mut datagrams = Vec::new();
    if let Some(port) = port {
        let to_refuse = load_port.len() as u8 + 1;
        datagrams.push(SockFilter::new(bpf::JUMP_IF_EQUAL, 0, to_refuse, Protocol::UDP.0.into()));
        datagrams.extend(load_port);
        datagrams.push(SockFilter::new(bpf::JUMP_IF_EQUAL, 1, 0, port.0.into()));
    }
    let to_refuse = (protocols.len() + datagrams.len()) as u8;
    let mut program = vec![
        SockFilter::new(bpf::LOAD_WORD, 0, 0, bpf::INTERFACE),
        SockFilter::new(bpf::JUMP_IF_EQUAL, 0, to_refuse + 3, interface),
        SockFilter::new(bpf::LOAD_BYTE, 0, 0, bpf::PACKET_TYPE),
        SockFilter::new(bpf::JUMP_IF_EQUAL, 0, to_refuse + 1, bpf::TO_THIS_HOST),
        SockFilter::new(bpf::LOAD_BYTE, 0, 0, bpf::IP_HEADER + protocol_at),
    ];
    for (index, protocol) in protocols.iter().enumerate() {
        let to_accept = to_refuse - index as u8;
        program.push(SockFilter::new(bpf::JUMP_IF_EQUAL, to_accept, 0, protocol.0.into()));
    }
    program.extend(datagrams);
    program.extend([refuse, accept]);
    program
}
