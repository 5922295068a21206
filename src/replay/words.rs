//! A transcript in words, for the one who has to find out what went wrong.

use std::fmt::Write;

use super::transcript::{Action, Step};
use crate::base::{Family, Protocol};
use crate::wire::dissect::{Dissected, FragmentPart, dissect_quoted};

/// How many steps are told at most; the ones before are counted.
const TOLD: usize = 400;

/// What happened, one line a step, with frames taken apart.
pub fn story(steps: &[Step]) -> String {
    tell(steps, TOLD)
}

/// All that happened.
pub fn whole_story(steps: &[Step]) -> String {
    tell(steps, usize::MAX)
}

fn tell(steps: &[Step], told: usize) -> String {
    let mut story = String::from("\n  what led to it:");
    if let Some(left_out) = steps.len().checked_sub(told).filter(|&count| count > 0) {
        let _ = write!(story, "\n    ({left_out} steps before)");
    }
    for (index, step) in steps.iter().enumerate().skip(steps.len().saturating_sub(told)) {
        let _ = write!(story, "\n  {:5} {:10.3} s  {}", index + 1, step.at as f64 / 1000.0, line(&step.action));
    }
    story
}

fn line(action: &Action) -> String {
    match action {
        Action::In { link, frame } => format!("{link} ─► {}", frame_in_words(frame)),
        Action::Out { link, frame } => format!("     ─► {link} {}", frame_in_words(frame)),
        Action::Nothing => "     nothing".to_owned(),
        Action::Ipvsadm { arguments, status: 0, .. } => format!("ipvsadm {arguments}"),
        Action::Ipvsadm { arguments, status, .. } => format!("ipvsadm {arguments} (exit status {status})"),
        other => other.to_string(),
    }
}

/// An Ethernet frame: to whom, and the packets in it.
pub fn frame_in_words(frame: &[u8]) -> String {
    match frame.get(14..) {
        None => format!("{} bytes", frame.len()),
        Some(packet) => format!("to …{:02x}: {}", frame[5], packet_in_words(packet)),
    }
}

fn packet_in_words(packet: &[u8]) -> String {
    let family = match packet.first().map(|byte| byte >> 4) {
        Some(4) => Family::V4,
        Some(6) => Family::V6,
        _ => return format!("{} bytes", packet.len()),
    };
    let Ok(parts) = dissect_quoted(family, packet) else { return format!("{} bytes of no packet", packet.len()) };
    let (from, to) = (parts.source.to_ip(family), parts.destination.to_ip(family));
    let ends = match parts.ports {
        Some((source, destination)) => format!("{from}.{source} > {to}.{destination}"),
        None => format!("{from} > {to}"),
    };
    let ttl = packet[if family == Family::V4 { 8 } else { 7 }];
    let mut words = format!("{ends} {}, {} bytes, ttl {ttl}", inside(&parts, packet), parts.length);
    if family == Family::V4 && packet[6] & 0x40 != 0 {
        words.push_str(", DF");
    }
    words
}

fn inside(parts: &Dissected, packet: &[u8]) -> String {
    let body = packet.get(parts.transport..).unwrap_or(&[]);
    let number =
        |at: usize| body.get(at..at + 4).map_or(0, |four| u32::from_be_bytes([four[0], four[1], four[2], four[3]]));
    match (parts.fragment, parts.protocol) {
        (FragmentPart::Later, _) => "a later fragment".to_owned(),
        (FragmentPart::First, protocol) => format!("first fragment, protocol {}", protocol.0),
        (_, Protocol::TCP) => {
            let flags = body.get(13).copied().unwrap_or(0);
            let named = "FSRPAU".chars().enumerate().filter(|(bit, _)| flags >> bit & 1 != 0).map(|(_, name)| name);
            let named: String = named.collect();
            format!("TCP {} seq {} ack {}", if named.is_empty() { "-" } else { &named }, number(4), number(8))
        }
        (_, Protocol::UDP) => match body.get(12).map(|byte| byte >> 4) {
            // GUE, whose payload is a packet.
            Some(4 | 6) if matches!(parts.destination_port().0, 5555 | 6080) => {
                format!("GUE [{}]", packet_in_words(&body[12..]))
            }
            _ => "UDP".to_owned(),
        },
        (_, Protocol::SCTP) => format!("SCTP chunk {}", body.get(12).copied().unwrap_or(255)),
        (_, Protocol::ICMP | Protocol::ICMPV6) => {
            let (kind, code) = (body.first().copied().unwrap_or(0), body.get(1).copied().unwrap_or(0));
            let is_error = matches!((parts.protocol, kind), (Protocol::ICMP, 3 | 4 | 5 | 11 | 12))
                || parts.protocol == Protocol::ICMPV6 && kind < 128;
            match body.get(8..).filter(|_| is_error) {
                Some(about) => format!("ICMP {kind}/{code} {:#x} about [{}]", number(4), packet_in_words(about)),
                None => format!("ICMP {kind}/{code}"),
            }
        }
        (_, Protocol::IPIP | Protocol::IPV6) => format!("IPIP [{}]", packet_in_words(body)),
        (_, Protocol::GRE) => {
            let header = if body.first().is_some_and(|byte| byte & 0x80 != 0) { 8 } else { 4 };
            format!("GRE [{}]", packet_in_words(body.get(header..).unwrap_or(&[])))
        }
        (_, protocol) => format!("protocol {}", protocol.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_says_what_was_in_the_frames() {
        let mut frame = Vec::new();
        etherparse::PacketBuilder::ethernet2([2; 6], [3; 6])
            .ipv4([10, 0, 0, 2], [10, 9, 9, 9], 64)
            .tcp(40000, 80, 7, 100)
            .syn()
            .write(&mut frame, &[])
            .unwrap();
        let steps = [Step { at: 1500, action: Action::In { link: "eth0".into(), frame } }];
        let told = story(&steps);
        assert!(told.contains("1.500 s") && told.contains("10.0.0.2.40000 > 10.9.9.9.80 TCP S seq 7"), "{told}");
    }

    #[test]
    fn no_frame_is_too_odd() {
        for length in 0..60 {
            for first in [0x45, 0x4f, 0x60, 0x00] {
                let mut frame = vec![first; length];
                frame_in_words(&frame);
                if length > 14 {
                    frame[14] = first;
                    frame_in_words(&frame);
                }
            }
        }
    }
}
