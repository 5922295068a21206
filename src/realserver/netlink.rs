//! Links and addresses, by rtnetlink(7).
//!
//! Requests are synchronous: one is sent, its answers are read. Changes of addresses are followed
//! by a second socket whose messages are not even looked at: they say that it is time to ask again.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REQUEST, NetlinkBuffer, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::base::Prefix;

/// Groups of rtnetlink(7) that tell of addresses coming and going.
const GROUP_IPV4_ADDRESSES: u32 = 0x10;
const GROUP_IPV6_ADDRESSES: u32 = 0x100;

/// How often a listing is begun again because it changed while it was read.
const DUMP_ATTEMPTS: usize = 10;

/// Length of an Ethernet header; the kernel takes a VLAN tag out before it shows a frame.
const ETHERNET_HEADER: usize = 14;

/// A link, as far as a real server cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub is_up: bool,
    pub is_loopback: bool,
    /// Whether it is part of a bridge or bond, which then receives in its place.
    pub is_port: bool,
    pub has_arp: bool,
    /// Length of what comes before the IP header in its frames, where that is known.
    pub header_length: Option<usize>,
    /// The kernel's word for a virtual link (`ipip`, `tun`, ...).
    pub kind: Option<String>,
}

/// A way to ask the kernel.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// # Errors
    /// What opening a socket gives.
    pub fn open() -> io::Result<Netlink> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Netlink { socket, sequence: 0 })
    }

    /// Every link.
    ///
    /// # Errors
    /// The kernel's.
    pub fn links(&mut self) -> io::Result<Vec<Link>> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let answers = self.ask(request, NLM_F_DUMP)?;
        Ok(answers
            .into_iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewLink(link) => read_link(link),
                _ => None,
            })
            .collect())
    }

    /// Every address, with the index of its link.
    ///
    /// # Errors
    /// The kernel's.
    pub fn addresses(&mut self) -> io::Result<Vec<(u32, IpAddr)>> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let answers = self.ask(request, NLM_F_DUMP)?;
        Ok(answers
            .into_iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewAddress(message) => {
                    Some((message.header.index, own_address(&message.attributes)?))
                }
                _ => None,
            })
            .collect())
    }

    /// Puts `prefix` on a link: an IPv6 address at once and for good (no duplicate detection, so no
    /// question on the wire), and without a route to anything but itself.
    ///
    /// # Errors
    /// `AlreadyExists` where it is there; else the kernel's.
    pub fn add_address(&mut self, link: u32, prefix: Prefix) -> io::Result<()> {
        let request = RouteNetlinkMessage::NewAddress(address_message(link, prefix));
        self.ask(request, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL).map(drop)
    }

    /// Takes `prefix` from a link.
    ///
    /// # Errors
    /// `AddrNotAvailable` where it is not there; else the kernel's.
    pub fn delete_address(&mut self, link: u32, prefix: Prefix) -> io::Result<()> {
        self.ask(RouteNetlinkMessage::DelAddress(address_message(link, prefix)), NLM_F_ACK).map(drop)
    }

    /// Sets a link up or down.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_up(&mut self, link: u32, up: bool) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = link;
        message.header.change_mask = LinkFlags::Up;
        message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        self.ask(RouteNetlinkMessage::SetLink(message), NLM_F_ACK).map(drop)
    }

    /// Sends one request and reads its answers to the end; again, where they changed meanwhile.
    fn ask(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
        for _ in 0..DUMP_ATTEMPTS {
            self.sequence = self.sequence.wrapping_add(1);
            let mut message = NetlinkMessage::from(request.clone());
            message.header.flags = NLM_F_REQUEST | flags;
            message.header.sequence_number = self.sequence;
            message.finalize();
            let mut bytes = vec![0; message.buffer_len()];
            message.serialize(&mut bytes);
            self.socket.send(&bytes, 0)?;
            let mut answers = Answers::to(self.sequence);
            while !answers.complete {
                let (datagram, _) = self.socket.recv_from_full()?;
                answers.take_in(&datagram)?;
            }
            if !answers.torn {
                return Ok(answers.messages);
            }
        }
        Err(io::Error::other("the kernel's tables changed each time they were read"))
    }
}

/// What the kernel answers to one request.
#[derive(Debug)]
struct Answers {
    sequence: u32,
    messages: Vec<RouteNetlinkMessage>,
    complete: bool,
    /// The table changed while it was listed.
    torn: bool,
}

impl Answers {
    fn to(sequence: u32) -> Answers {
        Answers { sequence, messages: Vec::new(), complete: false, torn: false }
    }

    /// Takes in what one datagram has of them. A message that is not understood is left out: one
    /// strange address is no reason to know none.
    ///
    /// # Errors
    /// Why the kernel refuses; what is no netlink at all.
    fn take_in(&mut self, datagram: &[u8]) -> io::Result<()> {
        let garbled = |error: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
        let mut rest = datagram;
        while !rest.is_empty() && !self.complete {
            let header = NetlinkBuffer::new_checked(rest).map_err(|error| garbled(&error))?;
            let (length, kind) = (header.length() as usize, header.message_type());
            let (sequence, flags) = (header.sequence_number(), header.flags());
            let (message, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            // Messages are aligned to four bytes (netlink(7)).
            rest = after.get(length.next_multiple_of(4) - length..).unwrap_or_default();
            if sequence != self.sequence {
                continue;
            }
            self.torn |= flags & NLM_F_DUMP_INTR != 0;
            match NetlinkMessage::<RouteNetlinkMessage>::deserialize(message).map(|message| message.payload) {
                Ok(NetlinkPayload::Done(done)) if done.code < 0 => {
                    return Err(io::Error::from_raw_os_error(done.code.wrapping_neg()));
                }
                Ok(NetlinkPayload::Done(_)) => self.complete = true,
                Ok(NetlinkPayload::Error(error)) if error.code.is_none() => self.complete = true,
                Ok(NetlinkPayload::Error(error)) => return Err(error.to_io()),
                Ok(NetlinkPayload::InnerMessage(answer)) => self.messages.push(answer),
                Ok(_) => {}
                Err(error) => log::warn!("rtnetlink message of type {kind} left out: {error}"),
            }
        }
        Ok(())
    }
}

/// Tells when addresses come or go; the loop waits on it.
#[derive(Debug)]
pub struct AddressChanges {
    socket: Socket,
}

impl AddressChanges {
    /// # Errors
    /// What opening a socket gives.
    pub fn follow() -> io::Result<AddressChanges> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, GROUP_IPV4_ADDRESSES | GROUP_IPV6_ADDRESSES))?;
        socket.set_non_blocking(true)?;
        Ok(AddressChanges { socket })
    }

    /// Forgets all that has been told, so that the next change is told anew.
    pub fn drain(&self) {
        let mut buffer = Vec::with_capacity(8192);
        loop {
            buffer.clear();
            match self.socket.recv(&mut buffer, 0) {
                Ok(_) => {}
                // Some were lost, which tells as much as what they said.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(_) => return,
            }
        }
    }
}

impl AsFd for AddressChanges {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn address_message(link: u32, prefix: Prefix) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = link;
    message.header.prefix_len = prefix.length;
    message.header.scope = AddressScope::Universe;
    message.attributes = vec![AddressAttribute::Local(prefix.address), AddressAttribute::Address(prefix.address)];
    message.header.family = match prefix.address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => {
            let flags = AddressFlags::Nodad | AddressFlags::Noprefixroute;
            message.attributes.push(AddressAttribute::Flags(flags));
            AddressFamily::Inet6
        }
    };
    message
}

/// The address itself: on a point-to-point link "address" is the other end's, and "local" ours.
fn own_address(attributes: &[AddressAttribute]) -> Option<IpAddr> {
    let local = attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

fn read_link(message: LinkMessage) -> Option<Link> {
    let (mut name, mut kind, mut is_port) = (None, None, false);
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(own) => name = Some(own),
            LinkAttribute::Controller(_) => is_port = true,
            LinkAttribute::LinkInfo(infos) => {
                kind = infos.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind_name(kind)),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    let flags = message.header.flags;
    Some(Link {
        index: message.header.index,
        name: name?,
        is_up: flags.contains(LinkFlags::Up),
        is_loopback: flags.contains(LinkFlags::Loopback),
        is_port,
        has_arp: !flags.contains(LinkFlags::Noarp),
        header_length: match message.header.link_layer_type {
            LinkLayerType::Ether => Some(ETHERNET_HEADER),
            LinkLayerType::None | LinkLayerType::Ppp | LinkLayerType::Rawip => Some(0),
            _ => None,
        },
        kind,
    })
}

fn kind_name(kind: &InfoKind) -> String {
    kind.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DONE: u16 = 3;

    fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (16 + payload.len() as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// An address of the link 7, with one attribute.
    fn address(attribute: &[u8]) -> Vec<u8> {
        [&[libc::AF_INET as u8, 32, 0, 0][..], &7u32.to_ne_bytes(), attribute].concat()
    }

    #[test]
    fn a_message_that_is_not_understood_is_left_out() {
        let known = address(&[8, 0, 2, 0, 10, 0, 0, 1]);
        // `IFA_LOCAL` with three bytes.
        let strange = address(&[7, 0, 2, 0, 10, 0, 0, 0]);
        let listed = [
            message(libc::RTM_NEWADDR, 0, 5, &strange),
            message(libc::RTM_NEWADDR, 0, 4, &known),
            message(libc::RTM_NEWADDR, 0, 5, &known),
        ];
        let mut answers = Answers::to(5);
        answers.take_in(&listed.concat()).unwrap();
        assert!(answers.messages.len() == 1 && !answers.complete && !answers.torn);
        answers.take_in(&message(DONE, 0, 5, &[0; 4])).unwrap();
        assert!(answers.complete);
        assert!(Answers::to(5).take_in(&listed[0][..20]).is_err());
    }

    #[test]
    fn a_listing_that_changed_meanwhile_or_broke_off_is_noticed() {
        let mut answers = Answers::to(5);
        answers.take_in(&message(DONE, NLM_F_DUMP_INTR, 5, &[0; 4])).unwrap();
        assert!(answers.complete && answers.torn);
        let error = Answers::to(5).take_in(&message(DONE, 0, 5, &(-libc::ENOBUFS).to_ne_bytes())).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOBUFS));
    }
}
