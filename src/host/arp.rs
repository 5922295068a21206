//! ARP for IPv4 over Ethernet (RFC 826, RFC 5227): taken apart and put together.

use std::net::Ipv4Addr;

use etherparse::{ArpOperation, ArpPacketSlice};
use pnet::packet::MutablePacket;
use pnet::packet::arp::{self, ArpHardwareTypes, MutableArpPacket};
use pnet::packet::ethernet::{EtherTypes, MutableEthernetPacket};
use pnet::util::MacAddr;

use crate::base::Mac;
use crate::wire::frame::ETHERNET_LENGTH;

use super::malformed::Malformed;

/// Length of a whole ARP frame; what goes to a real wire is padded by the driver.
pub const ARP_FRAME_LENGTH: usize = ETHERNET_LENGTH + 28;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Request,
    Reply,
}

/// What an ARP packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    pub operation: Operation,
    pub sender_mac: Mac,
    /// Unspecified in a probe, which asks before an address is used.
    pub sender: Ipv4Addr,
    pub target_mac: Mac,
    pub target: Ipv4Addr,
}

impl Arp {
    /// Takes apart what follows the Ethernet header.
    ///
    /// # Errors
    /// Where it is cut off, not IPv4 over Ethernet, or sent by nobody.
    pub fn parse(packet: &[u8]) -> Result<Arp, Malformed> {
        let packet = ArpPacketSlice::from_slice(packet).map_err(|_| Malformed::Truncated)?.to_packet();
        let operation = match packet.operation {
            ArpOperation::REQUEST => Operation::Request,
            ArpOperation::REPLY => Operation::Reply,
            _ => return Err(Malformed::UnknownOperation),
        };
        let packet = packet.try_eth_ipv4().map_err(|_| Malformed::NotEthernetIpv4)?;
        let sender_mac = Mac(packet.sender_mac);
        if sender_mac.is_multicast() || sender_mac == Mac::default() {
            return Err(Malformed::GroupSender);
        }
        Ok(Arp {
            operation,
            sender_mac,
            sender: packet.sender_ipv4.into(),
            target_mac: Mac(packet.target_mac),
            target: packet.target_ipv4.into(),
        })
    }

    /// A question for `target`: to everyone, or to the one who had it last.
    pub fn request(sender_mac: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> Arp {
        Arp { operation: Operation::Request, sender_mac, sender, target_mac: Mac::default(), target }
    }

    /// The answer to a request (or probe) for an address that `mac` has.
    pub fn reply(request: &Arp, mac: Mac) -> Arp {
        Arp {
            operation: Operation::Reply,
            sender_mac: mac,
            sender: request.target,
            target_mac: request.sender_mac,
            target: request.sender,
        }
    }

    /// A gratuitous ARP: tells everyone that `mac` has `address`. A request with the target
    /// hardware address all ones, as keepalived sends it.
    pub fn announcement(mac: Mac, address: Ipv4Addr) -> Arp {
        Arp {
            operation: Operation::Request,
            sender_mac: mac,
            sender: address,
            target_mac: Mac::BROADCAST,
            target: address,
        }
    }

    /// Writes the frame, from the packet's sender to `destination`, and returns its length; `None`
    /// where `out` is shorter than [`ARP_FRAME_LENGTH`].
    pub fn write(&self, destination: Mac, out: &mut [u8]) -> Option<usize> {
        let mut ethernet = MutableEthernetPacket::new(out.get_mut(..ARP_FRAME_LENGTH)?)?;
        ethernet.set_destination(mac_addr(destination));
        ethernet.set_source(mac_addr(self.sender_mac));
        ethernet.set_ethertype(EtherTypes::Arp);
        let mut packet = MutableArpPacket::new(ethernet.payload_mut())?;
        packet.set_hardware_type(ArpHardwareTypes::Ethernet);
        packet.set_protocol_type(EtherTypes::Ipv4);
        packet.set_hw_addr_len(6);
        packet.set_proto_addr_len(4);
        packet.set_operation(match self.operation {
            Operation::Request => arp::ArpOperations::Request,
            Operation::Reply => arp::ArpOperations::Reply,
        });
        packet.set_sender_hw_addr(mac_addr(self.sender_mac));
        packet.set_sender_proto_addr(self.sender);
        packet.set_target_hw_addr(mac_addr(self.target_mac));
        packet.set_target_proto_addr(self.target);
        Some(ARP_FRAME_LENGTH)
    }
}

fn mac_addr(mac: Mac) -> MacAddr {
    MacAddr::from(mac.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetSlice, SlicedPacket};

    const A: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 0xb]);
    const ONE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const TWO: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    #[test]
    fn frames_are_what_an_independent_parser_expects() {
        let request = Arp::request(A, ONE, TWO);
        let probe = Arp::request(A, Ipv4Addr::UNSPECIFIED, TWO);
        let rows = [
            (request, Mac::BROADCAST, ArpOperation::REQUEST, (A, ONE), (Mac::default(), TWO)),
            (Arp::reply(&request, B), A, ArpOperation::REPLY, (B, TWO), (A, ONE)),
            (Arp::reply(&probe, B), A, ArpOperation::REPLY, (B, TWO), (A, Ipv4Addr::UNSPECIFIED)),
            (Arp::announcement(B, TWO), Mac::BROADCAST, ArpOperation::REQUEST, (B, TWO), (Mac::BROADCAST, TWO)),
        ];
        for (arp, destination, operation, sender, target) in rows {
            let mut out = [0xa5; 64];
            assert_eq!(arp.write(destination, &mut out), Some(42));
            let sliced = SlicedPacket::from_ethernet(&out[..42]).unwrap();
            let ethernet = sliced.link.unwrap().to_header().unwrap().ethernet2().unwrap();
            assert_eq!((Mac(ethernet.destination), Mac(ethernet.source)), (destination, arp.sender_mac));
            let Some(NetSlice::Arp(packet)) = sliced.net else { panic!("not ARP") };
            let packet = packet.to_packet().try_eth_ipv4().unwrap();
            assert_eq!(packet.operation, operation);
            assert_eq!((Mac(packet.sender_mac), packet.sender_ipv4.into()), sender);
            assert_eq!((Mac(packet.target_mac), packet.target_ipv4.into()), target);
            assert_eq!(Arp::parse(&out[14..]), Ok(arp));
            assert_eq!(out[42..], [0xa5; 22]);
            assert_eq!(arp.write(destination, &mut [0; 41]), None);
        }
    }

    #[test]
    fn oddities_have_names() {
        let mut good = [0; ARP_FRAME_LENGTH];
        Arp::request(A, ONE, TWO).write(Mac::BROADCAST, &mut good).unwrap();
        let good = &good[14..];
        let spoiled = |at: usize, value: u8| {
            let mut packet = good.to_vec();
            packet[at] = value;
            Arp::parse(&packet)
        };
        for length in 0..28 {
            assert_eq!(Arp::parse(&good[..length]), Err(Malformed::Truncated), "{length}");
        }
        assert_eq!(spoiled(1, 6), Err(Malformed::NotEthernetIpv4));
        assert_eq!(spoiled(2, 0x86), Err(Malformed::NotEthernetIpv4));
        assert_eq!(spoiled(4, 5), Err(Malformed::NotEthernetIpv4));
        assert_eq!(spoiled(4, 255), Err(Malformed::Truncated));
        assert_eq!(spoiled(7, 3), Err(Malformed::UnknownOperation));
        assert_eq!(spoiled(8, 3), Err(Malformed::GroupSender));
    }
}
