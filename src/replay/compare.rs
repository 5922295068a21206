//! Are two frames, or two listings, the same as far as they can be?
//!
//! Frames are compared byte for byte, except where the director's own random or counted numbers
//! stand: the IP identification of what it originates or encapsulates (with the checksum that
//! follows from it), the IPv6 flow label of what it originates and the identification of IPv6
//! fragments, both of which Linux makes from a secret, and the UDP source port of a GUE tunnel
//! (with its checksum).

use crate::base::{Address, Family, Protocol};
use crate::procfs::File;
use crate::wire::checksum;
use crate::wire::dissect::dissect;
use crate::wire::frame::ETHERNET_LENGTH;
use crate::wire::ip::{self, v4};

/// Seconds by which the expiry of a connection may differ.
const EXPIRY_TOLERANCE: i64 = 2;

/// The same for a template: it is given another minute when its timer rings, which with a kernel is
/// up to an eighth of its time late, again and again.
const TEMPLATE_TOLERANCE: i64 = 20;

/// The first difference between what the kernel sent and what the engine sent, in words; `None`
/// where there is none. `cause` is the frame that led to it.
pub fn frames(expected: &[u8], got: &[u8], cause: Option<&[u8]>) -> Option<String> {
    if expected == got {
        return None;
    }
    let (mut left, mut right) = (expected.to_vec(), got.to_vec());
    forgive(&mut left, &mut right, cause);
    let at = left.iter().zip(&right).position(|(left, right)| left != right);
    match at {
        None if left.len() == right.len() => None,
        None => Some(format!("{} bytes instead of {}", right.len(), left.len())),
        Some(at) => {
            let show = |frame: &[u8]| frame.get(at).map_or("nothing".to_owned(), |byte| format!("{byte:#04x}"));
            Some(format!(
                "byte {at} ({}) is {} instead of {}{}\n    kernel {}\n    engine {}",
                meaning(expected, at),
                show(got),
                show(expected),
                if left.len() == right.len() {
                    String::new()
                } else {
                    format!(", and the length {} instead of {}", right.len(), left.len())
                },
                hex(expected),
                hex(got),
            ))
        }
    }
}

/// Blanks out in both frames what may differ, where it may.
fn forgive(expected: &mut [u8], got: &mut [u8], cause: Option<&[u8]>) {
    if expected.len() != got.len() || expected[..ETHERNET_LENGTH] != got[..ETHERNET_LENGTH] {
        return;
    }
    let (expected, got) = (&mut expected[ETHERNET_LENGTH..], &mut got[ETHERNET_LENGTH..]);
    let (Some(family), true) = (family_of(expected), family_of(expected) == family_of(got)) else { return };
    let tunnel = is_tunnel(family, expected);
    match family {
        Family::V4 => {
            // What is passed on keeps its identification; what is made here has a new one, and goes
            // back to where its cause came from.
            let kept = cause
                .and_then(|cause| cause.get(ETHERNET_LENGTH..))
                .filter(|cause| family_of(cause) == Some(Family::V4) && cause.len() >= v4::LENGTH)
                .filter(|cause| cause[v4::SOURCE] != expected[v4::DESTINATION])
                .is_some_and(|cause| cause[v4::IDENTIFICATION] == expected[v4::IDENTIFICATION]);
            let header_is_right =
                got.len() >= v4::LENGTH && checksum::is_valid(&got[..ip::header_length4(got).min(got.len())]);
            if (tunnel || !kept) && header_is_right {
                for packet in [&mut *expected, &mut *got] {
                    packet[v4::IDENTIFICATION].fill(0);
                    packet[v4::CHECKSUM..v4::CHECKSUM + 2].fill(0);
                }
            }
        }
        Family::V6 => {
            // The flow label of what is made here is a hash with a secret.
            let kept = cause
                .and_then(|cause| cause.get(ETHERNET_LENGTH..))
                .filter(|cause| family_of(cause) == Some(Family::V6))
                .is_some_and(|cause| cause[1] & 0x0f == expected[1] & 0x0f && cause[2..4] == expected[2..4]);
            for packet in [&mut *expected, &mut *got] {
                if !kept {
                    packet[1] &= 0xf0;
                    packet[2..4].fill(0);
                }
                if let Some(at) = fragment_header(packet) {
                    packet[at + 4..at + 8].fill(0);
                }
            }
        }
    }
    if tunnel
        && let (Ok(left), Ok(right)) = (dissect_lax(family, expected), dissect_lax(family, got))
        && left.protocol == Protocol::UDP
        && right.protocol == Protocol::UDP
        && got.len() >= right.transport + 8
    {
        for (packet, at) in [(&mut *expected, left.transport), (&mut *got, right.transport)] {
            packet[at..at + 2].fill(0);
            if packet[at + 6..at + 8] != [0, 0] {
                packet[at + 6..at + 8].fill(0xff);
            }
        }
    }
}

/// Where the fragment header of an IPv6 packet begins, if it has one.
fn fragment_header(packet: &[u8]) -> Option<usize> {
    let (mut kind, mut at) = (*packet.get(ip::v6::NEXT_HEADER)?, ip::v6::LENGTH);
    loop {
        let header = packet.get(at..)?.first_chunk::<8>()?;
        match kind {
            ip::v6::FRAGMENT => return Some(at),
            ip::v6::HOP_BY_HOP | ip::v6::ROUTING | ip::v6::DESTINATION_OPTIONS => {
                at += (usize::from(header[1]) + 1) * 8;
                kind = header[0];
            }
            _ => return None,
        }
    }
}

/// As [`dissect`], for a header whose checksum was blanked out.
fn dissect_lax(family: Family, packet: &[u8]) -> Result<crate::wire::Dissected, crate::wire::Malformed> {
    crate::wire::dissect::dissect_quoted(family, packet)
}

fn family_of(packet: &[u8]) -> Option<Family> {
    match packet.first()? >> 4 {
        4 if packet.len() >= v4::LENGTH => Some(Family::V4),
        6 if packet.len() >= ip::v6::LENGTH => Some(Family::V6),
        _ => None,
    }
}

/// Whether a packet is a tunnel's outer one: it comes from the director's own address.
fn is_tunnel(family: Family, packet: &[u8]) -> bool {
    let own = match family {
        Family::V4 => Address::v4([172, 16, 0, 1]),
        Family::V6 => {
            let mut octets = [0; 16];
            octets[..2].copy_from_slice(&[0xfd, 0x01]);
            octets[15] = 1;
            Address::v6(octets)
        }
    };
    let Ok(parts) = dissect(family, packet) else { return false };
    parts.source == own && matches!(parts.protocol, Protocol::IPIP | Protocol::IPV6 | Protocol::GRE | Protocol::UDP)
}

/// What a byte of a frame means.
fn meaning(frame: &[u8], at: usize) -> &'static str {
    if at < ETHERNET_LENGTH {
        return match at {
            0..6 => "Ethernet destination",
            6..12 => "Ethernet source",
            _ => "EtherType",
        };
    }
    let packet = &frame[ETHERNET_LENGTH..];
    let at = at - ETHERNET_LENGTH;
    let Some(family) = family_of(packet) else { return "payload" };
    let name = match (family, at) {
        (Family::V4, 0) => "IPv4 version and header length",
        (Family::V4, 1) => "IPv4 type of service",
        (Family::V4, 2..4) => "IPv4 total length",
        (Family::V4, 4..6) => "IPv4 identification",
        (Family::V4, 6..8) => "IPv4 flags and fragment offset",
        (Family::V4, 8) => "IPv4 TTL",
        (Family::V4, 9) => "IPv4 protocol",
        (Family::V4, 10..12) => "IPv4 header checksum",
        (Family::V4, 12..16) => "IPv4 source",
        (Family::V4, 16..20) => "IPv4 destination",
        (Family::V6, 0..4) => "IPv6 version, class and flow label",
        (Family::V6, 4..6) => "IPv6 payload length",
        (Family::V6, 6) => "IPv6 next header",
        (Family::V6, 7) => "IPv6 hop limit",
        (Family::V6, 8..24) => "IPv6 source",
        (Family::V6, 24..40) => "IPv6 destination",
        _ => "",
    };
    if !name.is_empty() {
        return name;
    }
    let Ok(parts) = dissect_lax(family, packet) else { return "payload" };
    if at < parts.transport {
        return "IP options or extension header";
    }
    let offset = at - parts.transport;
    match (parts.protocol, offset) {
        (Protocol::TCP | Protocol::UDP | Protocol::SCTP, 0..2) => "source port",
        (Protocol::TCP | Protocol::UDP | Protocol::SCTP, 2..4) => "destination port",
        (Protocol::TCP, 4..8) => "TCP sequence number",
        (Protocol::TCP, 8..12) => "TCP acknowledgement",
        (Protocol::TCP, 12..14) => "TCP flags",
        (Protocol::TCP, 14..16) => "TCP window",
        (Protocol::TCP, 16..18) => "TCP checksum",
        (Protocol::UDP, 4..6) => "UDP length",
        (Protocol::UDP, 6..8) => "UDP checksum",
        (Protocol::SCTP, 8..12) => "SCTP checksum",
        (Protocol::ICMP | Protocol::ICMPV6, 0) => "ICMP type",
        (Protocol::ICMP | Protocol::ICMPV6, 1) => "ICMP code",
        (Protocol::ICMP | Protocol::ICMPV6, 2..4) => "ICMP checksum",
        (Protocol::ICMP | Protocol::ICMPV6, 4..8) => "ICMP rest of header",
        (Protocol::ICMP | Protocol::ICMPV6, _) => "packet quoted by ICMP",
        (Protocol::IPIP | Protocol::IPV6, _) => "packet inside the tunnel",
        _ => "payload",
    }
}

fn hex(bytes: &[u8]) -> String {
    const SHOWN: usize = 160;
    let mut text: String = bytes.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
    if bytes.len() > SHOWN {
        text.push_str(&format!("... ({} bytes)", bytes.len()));
    }
    text
}

/// The first difference between two listings. Connection lists may come in any order, and their
/// expiry may be off by two seconds.
pub fn listings(arguments: &str, expected: &str, got: &str) -> Option<String> {
    if expected == got {
        return None;
    }
    let (mut left, mut right): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), got.lines().collect());
    let connections = expected.starts_with("IPVS connection entries");
    if connections {
        left.sort_unstable_by_key(|line| (without_expiry(line), seconds(line)));
        right.sort_unstable_by_key(|line| (without_expiry(line), seconds(line)));
    }
    for (left, right) in left.iter().zip(&right) {
        let close = connections && without_expiry(left) == without_expiry(right) && expiries_are_close(left, right);
        if left != right && !close {
            return Some(format!("`ipvsadm {arguments}' prints\n    {right}\n  instead of\n    {left}"));
        }
    }
    if left.len() != right.len() {
        return Some(format!(
            "`ipvsadm {arguments}' prints {} lines instead of {}:\n{got}  instead of\n{expected}",
            right.len(),
            left.len()
        ));
    }
    (!connections).then(|| format!("`ipvsadm {arguments}' differs in line endings")).filter(|_| expected != got)
}

/// The first difference between a file of the kernel's and what is printed for it. Connections
/// may come in any order, and their expiry may be off by two seconds.
pub fn proc_files(file: File, expected: &str, got: &str) -> Option<String> {
    let expiry = match file {
        File::Connections => 8,
        File::ConnectionOrigins => 9,
        _ => usize::MAX,
    };
    let sorted = |text: &str| {
        let mut lines: Vec<(String, Option<i64>)> = text.lines().map(|line| without_word(line, expiry)).collect();
        if expiry != usize::MAX {
            lines.sort_unstable();
        }
        lines
    };
    let (left, right) = (sorted(expected), sorted(got));
    let close =
        |a: Option<i64>, b: Option<i64>| a == b || a.zip(b).is_some_and(|(a, b)| (a - b).abs() <= EXPIRY_TOLERANCE);
    let pairs = left.iter().zip(&right);
    let first = pairs.clone().find(|(left, right)| left.0 != right.0 || !close(left.1, right.1));
    match first {
        Some((left, right)) => Some(format!("holds\n    {right:?}\n  instead of\n    {left:?}")),
        None if left.len() != right.len() => {
            Some(format!("holds {} lines instead of {}:\n{got}  instead of\n{expected}", right.len(), left.len()))
        }
        None if expected.len() != got.len() => Some("differs in length".to_owned()),
        None => None,
    }
}

/// A line with the number that is its word at `position` blanked out, and that number.
fn without_word(line: &str, position: usize) -> (String, Option<i64>) {
    let word = line.split_whitespace().nth(position);
    let Some((word, number)) = word.and_then(|word| Some((word, word.parse().ok()?))) else {
        return (line.to_owned(), None);
    };
    // A piece of the line itself, so its place follows from the addresses.
    let at = word.as_ptr() as usize - line.as_ptr() as usize;
    (format!("{}{}{}", &line[..at], "#".repeat(word.len()), &line[at + word.len()..]), Some(number))
}

/// A connection's line without its second column.
fn without_expiry(line: &str) -> String {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    if words.len() > 1 {
        words.remove(1);
    }
    words.join(" ")
}

/// A connection's expiry, which stands in the second column.
fn seconds(line: &str) -> Option<i64> {
    let (minutes, seconds) = line.split_whitespace().nth(1)?.split_once(':')?;
    Some(minutes.parse::<i64>().ok()? * 60 + seconds.parse::<i64>().ok()?)
}

fn expiries_are_close(left: &str, right: &str) -> bool {
    // Columns stay where they are: the texts around the expiry have the same length.
    match (seconds(left), seconds(right)) {
        (Some(a), Some(b)) => {
            let is_template = left.split_whitespace().nth(3).is_some_and(|client| client.ends_with(":0"));
            let tolerance = if is_template { TEMPLATE_TOLERANCE } else { EXPIRY_TOLERANCE };
            (a - b).abs() <= tolerance && left.len() == right.len()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_is_named() {
        let frame: Vec<u8> = {
            let builder = etherparse::PacketBuilder::ethernet2([2; 6], [3; 6])
                .ipv4([10, 0, 0, 2], [172, 16, 0, 11], 63)
                .udp(41000, 53);
            let mut frame = Vec::new();
            builder.write(&mut frame, b"x").unwrap();
            frame
        };
        let mut other = frame.clone();
        other[14 + 8] = 62;
        let said = frames(&frame, &other, Some(&frame)).unwrap();
        assert!(said.contains("IPv4 TTL"), "{said}");
        assert_eq!(frames(&frame, &frame, None), None);
    }

    #[test]
    fn connection_lists_may_differ_in_order_and_a_little_in_expiry() {
        let head =
            "IPVS connection entries\npro expire state       source             virtual            destination\n";
        let a = "TCP 00:59  SYN_RECV    10.0.0.2:1         10.9.9.9:80        172.16.0.12:80\n";
        let b = "TCP 14:59  ESTABLISHED 10.0.0.2:2         10.9.9.9:80        172.16.0.12:80\n";
        let late = "TCP 14:57  ESTABLISHED 10.0.0.2:2         10.9.9.9:80        172.16.0.12:80\n";
        let later = "TCP 14:56  ESTABLISHED 10.0.0.2:2         10.9.9.9:80        172.16.0.12:80\n";
        let list = |rows: &[&str]| format!("{head}{}", rows.concat());
        assert_eq!(listings("-Lnc", &list(&[a, b]), &list(&[late, a])), None);
        assert!(listings("-Lnc", &list(&[a, b]), &list(&[later, a])).is_some());
        assert!(listings("-Lnc", &list(&[a, b]), &list(&[a])).is_some());
    }
}
