//! The frames of a flood: UDP, one frame a flow, built once with pnet and sent again and again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use pnet::packet::ethernet::{EtherTypes, MutableEthernetPacket};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::{self, MutableIpv4Packet};
use pnet::packet::ipv6::MutableIpv6Packet;
use pnet::packet::udp::{self, MutableUdpPacket};
use pnet::util::MacAddr;

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;
const UDP: usize = 8;
/// Source ports that one address is used with.
const PORTS: u32 = 50_000;
const FIRST_PORT: u16 = 10_000;

pub struct Shape {
    pub source_mac: MacAddr,
    pub destination_mac: MacAddr,
    /// First client address; flows beyond [`PORTS`] take the ones after it.
    pub source: IpAddr,
    pub destination: SocketAddr,
    /// Bytes of the whole Ethernet frame, without its checksum.
    pub size: usize,
    pub flows: u32,
}

impl Shape {
    /// Every frame, one after the other, each `size` bytes long (or as long as its headers are).
    pub fn build(&self) -> (Vec<u8>, usize) {
        let ip = if self.destination.is_ipv4() { IPV4 } else { IPV6 };
        let size = self.size.max(ETHERNET + ip + UDP);
        let mut frames = vec![0; size * self.flows as usize];
        for (flow, frame) in (0..).zip(frames.chunks_exact_mut(size)) {
            self.write(frame, flow);
        }
        (frames, size)
    }

    fn write(&self, frame: &mut [u8], flow: u32) {
        let (header, packet) = frame.split_at_mut(ETHERNET);
        let Some(mut ethernet) = MutableEthernetPacket::new(header) else { return };
        ethernet.set_source(self.source_mac);
        ethernet.set_destination(self.destination_mac);
        let port = FIRST_PORT + (flow % PORTS) as u16;
        match (self.source, self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                ethernet.set_ethertype(EtherTypes::Ipv4);
                let source = Ipv4Addr::from(u32::from(source) + flow / PORTS);
                self.write_udp(&mut packet[IPV4..], port, |udp| udp::ipv4_checksum(udp, &source, &destination));
                let length = packet.len() as u16;
                let Some(mut ip) = MutableIpv4Packet::new(packet) else { return };
                ip.set_version(4);
                ip.set_header_length(5);
                ip.set_total_length(length);
                ip.set_identification(flow as u16);
                ip.set_ttl(64);
                ip.set_next_level_protocol(IpNextHeaderProtocols::Udp);
                ip.set_source(source);
                ip.set_destination(destination);
                let checksum = ipv4::checksum(&ip.to_immutable());
                ip.set_checksum(checksum);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                ethernet.set_ethertype(EtherTypes::Ipv6);
                let source = Ipv6Addr::from(u128::from(source) + u128::from(flow / PORTS));
                self.write_udp(&mut packet[IPV6..], port, |udp| udp::ipv6_checksum(udp, &source, &destination));
                let length = (packet.len() - IPV6) as u16;
                let Some(mut ip) = MutableIpv6Packet::new(packet) else { return };
                ip.set_version(6);
                ip.set_payload_length(length);
                ip.set_hop_limit(64);
                ip.set_next_header(IpNextHeaderProtocols::Udp);
                ip.set_source(source);
                ip.set_destination(destination);
            }
            _ => {}
        }
    }

    fn write_udp(&self, segment: &mut [u8], port: u16, checksum: impl FnOnce(&udp::UdpPacket<'_>) -> u16) {
        let length = segment.len() as u16;
        let Some(mut udp) = MutableUdpPacket::new(segment) else { return };
        udp.set_source(port);
        udp.set_destination(self.destination.port());
        udp.set_length(length);
        let sum = checksum(&udp.to_immutable());
        udp.set_checksum(sum);
    }
}
