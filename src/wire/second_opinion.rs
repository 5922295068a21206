//! A second, independent parser (etherparse) that judges the packets built here, for tests.

use etherparse::{NetSlice, SlicedPacket, TransportSlice};

/// The bytes that `text` spells in hexadecimal.
pub(super) fn bytes(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().map(|digit| digit.to_digit(16).expect("a hexadecimal digit") as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Whether `packet` is one sound IP packet to etherparse: every length exact, every checksum right.
pub(super) fn check(packet: &[u8]) -> Result<(), String> {
    let sliced = SlicedPacket::from_ip(packet).map_err(|error| error.to_string())?;
    let equal = |what: &str, found: u16, right: u16| {
        if found == right { Ok(()) } else { Err(format!("{what}: {found:04x} where {right:04x} is right")) }
    };
    let (v4, v6) = match sliced.net.as_ref().ok_or("no IP header")? {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            equal("total length", header.total_len, packet.len() as u16)?;
            equal("header checksum", header.header_checksum, header.calc_header_checksum())?;
            (Some((header.source, header.destination)), ([0; 16], [0; 16]))
        }
        NetSlice::Ipv6(ip) => {
            equal("payload length", ip.header().payload_length(), packet.len() as u16 - 40)?;
            (None, (ip.header().source(), ip.header().destination()))
        }
        NetSlice::Arp(_) => return Err("ARP".into()),
    };
    let problem = |error: etherparse::err::ValueTooBigError<usize>| error.to_string();
    match (sliced.transport, v4) {
        (Some(TransportSlice::Tcp(tcp)), Some((source, destination))) => {
            equal("TCP checksum", tcp.checksum(), tcp.calc_checksum_ipv4(source, destination).map_err(problem)?)
        }
        (Some(TransportSlice::Tcp(tcp)), None) => {
            equal("TCP checksum", tcp.checksum(), tcp.calc_checksum_ipv6(v6.0, v6.1).map_err(problem)?)
        }
        (Some(TransportSlice::Udp(udp)), Some((source, destination))) => {
            let right = udp.to_header().calc_checksum_ipv4_raw(source, destination, udp.payload());
            match udp.checksum() {
                0 => Ok(()),
                found => equal("UDP checksum", found, right.map_err(problem)?),
            }
        }
        (Some(TransportSlice::Udp(udp)), None) => {
            let right = udp.to_header().calc_checksum_ipv6_raw(v6.0, v6.1, udp.payload());
            equal("UDP checksum", udp.checksum(), right.map_err(problem)?)
        }
        (Some(TransportSlice::Icmpv4(icmp)), _) => {
            equal("ICMP checksum", icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()))
        }
        (Some(TransportSlice::Icmpv6(icmp)), _) => {
            if icmp.is_checksum_valid(v6.0, v6.1) {
                Ok(())
            } else {
                Err("ICMPv6 checksum".into())
            }
        }
        (None, _) => Ok(()),
    }
}

/// The frames of a recorded transcript as IP packets: each one in, with those that came out because of it.
pub(super) fn exchanges(transcript: &str) -> Vec<(Vec<u8>, Vec<Vec<u8>>)> {
    const ETHERNET: usize = 14;
    let transcript: serde_json::Value = serde_json::from_str(transcript).expect("a transcript is JSON");
    let mut exchanges: Vec<(Vec<u8>, Vec<Vec<u8>>)> = Vec::new();
    for step in transcript["steps"].as_array().expect("a transcript has steps") {
        let Some(frame) = step["frame"].as_str() else { continue };
        let packet = bytes(frame).split_off(ETHERNET);
        match exchanges.last_mut() {
            Some((_, out)) if !step["out"].is_null() => out.push(packet),
            _ => exchanges.push((packet, Vec::new())),
        }
    }
    exchanges
}
