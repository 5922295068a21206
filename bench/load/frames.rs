//! The frames of a flood: UDP or TCP, one frame a flow, built once with pnet and sent again and again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use pnet::packet::ethernet::{EtherTypes, MutableEthernetPacket};
use pnet::packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols};
use pnet::packet::ipv4::{self, MutableIpv4Packet};
use pnet::packet::ipv6::MutableIpv6Packet;
use pnet::packet::tcp::{self, MutableTcpPacket};
use pnet::packet::udp::{self, MutableUdpPacket};
use pnet::util::MacAddr;

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;
const UDP: usize = 8;
const TCP: usize = 20;
/// Addresses that a SYN flood comes from, in bits.
const SOURCES: u32 = 22;
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
    /// First segments of TCP connections, each from another address at random (by its last 22 bits).
    pub syn: bool,
}

impl Shape {
    /// Every frame, one after the other, each `size` bytes long (or as long as its headers are).
    pub fn build(&self) -> (Vec<u8>, usize) {
        let ip = if self.destination.is_ipv4() { IPV4 } else { IPV6 };
        let size = self.size.max(ETHERNET + ip + if self.syn { TCP } else { UDP });
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
        let (host, port) = match self.syn {
            false => (flow / PORTS, FIRST_PORT + (flow % PORTS) as u16),
            // An odd factor: every flow has numbers of its own, without pattern.
            true => (flow.wrapping_mul(0x9e37_79b1) >> (u32::BITS - SOURCES), FIRST_PORT + (flow % PORTS) as u16),
        };
        match (self.source, self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                ethernet.set_ethertype(EtherTypes::Ipv4);
                let source = Ipv4Addr::from(u32::from(source) + host);
                match self.syn {
                    true => {
                        self.write_syn(&mut packet[IPV4..], port, |tcp| tcp::ipv4_checksum(tcp, &source, &destination))
                    }
                    false => {
                        self.write_udp(&mut packet[IPV4..], port, |udp| udp::ipv4_checksum(udp, &source, &destination));
                    }
                }
                let length = (IPV4 + self.segment_length(packet.len() - IPV4)) as u16;
                let Some(mut ip) = MutableIpv4Packet::new(packet) else { return };
                ip.set_version(4);
                ip.set_header_length(5);
                ip.set_total_length(length);
                ip.set_identification(flow as u16);
                ip.set_ttl(64);
                ip.set_next_level_protocol(self.protocol());
                ip.set_source(source);
                ip.set_destination(destination);
                let checksum = ipv4::checksum(&ip.to_immutable());
                ip.set_checksum(checksum);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                ethernet.set_ethertype(EtherTypes::Ipv6);
                let source = Ipv6Addr::from(u128::from(source) + u128::from(host));
                match self.syn {
                    true => {
                        self.write_syn(&mut packet[IPV6..], port, |tcp| tcp::ipv6_checksum(tcp, &source, &destination))
                    }
                    false => {
                        self.write_udp(&mut packet[IPV6..], port, |udp| udp::ipv6_checksum(udp, &source, &destination));
                    }
                }
                let length = self.segment_length(packet.len() - IPV6) as u16;
                let Some(mut ip) = MutableIpv6Packet::new(packet) else { return };
                ip.set_version(6);
                ip.set_payload_length(length);
                ip.set_hop_limit(64);
                ip.set_next_header(self.protocol());
                ip.set_source(source);
                ip.set_destination(destination);
            }
            _ => {}
        }
    }

    /// Bytes behind the IP header: the frame may be longer, as a short one is padded.
    fn segment_length(&self, room: usize) -> usize {
        if self.syn { TCP } else { room }
    }

    fn protocol(&self) -> IpNextHeaderProtocol {
        if self.syn { IpNextHeaderProtocols::Tcp } else { IpNextHeaderProtocols::Udp }
    }

    fn write_syn(&self, segment: &mut [u8], port: u16, checksum: impl FnOnce(&tcp::TcpPacket<'_>) -> u16) {
        // Whatever is behind the header would be data.
        let Some(mut tcp) = segment.get_mut(..TCP).and_then(MutableTcpPacket::new) else { return };
        tcp.set_source(port);
        tcp.set_destination(self.destination.port());
        tcp.set_sequence(u32::from(port));
        tcp.set_data_offset(5);
        tcp.set_flags(tcp::TcpFlags::SYN);
        tcp.set_window(65_535);
        let sum = checksum(&tcp.to_immutable());
        tcp.set_checksum(sum);
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
