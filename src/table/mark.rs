//! Firewall marks by rules of our own, since a packet socket does not see the kernel's.
//!
//! A rule matches protocol, addresses, ports and the link a packet came from; every matching
//! rule sets the mark, so the last one wins, as with a chain of mark rules in nftables.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::base::{Address, Family, Prefix, Protocol};

/// What a packet must look like; an empty list matches everything.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MarkMatch {
    pub protocols: Vec<Protocol>,
    pub sources: Vec<Prefix>,
    pub destinations: Vec<Prefix>,
    pub source_ports: Vec<RangeInclusive<u16>>,
    pub destination_ports: Vec<RangeInclusive<u16>>,
    /// Names of links (interfaces) the packet came in by.
    pub links: Vec<String>,
}

/// One rule: packets that match carry `mark`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkRule {
    pub mark: u32,
    pub matching: MarkMatch,
}

/// The fields of a packet that a rule looks at. Ports are `None` where there are none.
#[derive(Clone, Copy, Debug)]
pub struct MarkFields<'a> {
    pub family: Family,
    pub protocol: Protocol,
    pub source: Address,
    pub destination: Address,
    pub ports: Option<(u16, u16)>,
    pub link: &'a str,
}

impl MarkMatch {
    pub fn takes(&self, packet: &MarkFields) -> bool {
        let port_in = |ranges: &[RangeInclusive<u16>], pick: fn((u16, u16)) -> u16| {
            ranges.is_empty()
                || packet.ports.is_some_and(|ports| ranges.iter().any(|range| range.contains(&pick(ports))))
        };
        port_in(&self.destination_ports, |(_, destination)| destination)
            && port_in(&self.source_ports, |(source, _)| source)
            && self.takes_with_ports(packet)
    }

    /// Whether it would take the packet with some ports or others: a later fragment does not have those of its datagram.
    pub fn takes_with_ports(&self, packet: &MarkFields) -> bool {
        let address_in = |prefixes: &[Prefix], address: Address| {
            prefixes.is_empty() || prefixes.iter().any(|prefix| prefix.contains(address.to_ip(packet.family)))
        };
        (self.protocols.is_empty() || self.protocols.contains(&packet.protocol))
            && address_in(&self.destinations, packet.destination)
            && address_in(&self.sources, packet.source)
            && (self.links.is_empty() || self.links.iter().any(|name| name == packet.link))
    }
}

/// The mark of a packet under `rules`: that of the last one that matches, else 0.
pub fn mark_of(rules: &[MarkRule], packet: &MarkFields) -> u32 {
    rules.iter().rev().find(|rule| rule.matching.takes(packet)).map_or(0, |rule| rule.mark)
}

fn list<T>(out: &mut fmt::Formatter<'_>, word: &str, items: &[T], show: impl Fn(&T) -> String) -> fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    let items: Vec<String> = items.iter().map(show).collect();
    write!(out, " {word} {}", items.join(","))
}

impl fmt::Display for MarkRule {
    /// The rule as `ulvs mark add` takes it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = |range: &RangeInclusive<u16>| match (range.start(), range.end()) {
            (start, end) if start == end => start.to_string(),
            (start, end) => format!("{start}-{end}"),
        };
        let protocol = |protocol: &Protocol| match *protocol {
            Protocol::TCP => "tcp".to_owned(),
            Protocol::UDP => "udp".to_owned(),
            Protocol::SCTP => "sctp".to_owned(),
            Protocol(number) => number.to_string(),
        };
        write!(out, "{}", self.mark)?;
        list(out, "--protocol", &self.matching.protocols, protocol)?;
        list(out, "--source", &self.matching.sources, Prefix::to_string)?;
        list(out, "--destination", &self.matching.destinations, Prefix::to_string)?;
        list(out, "--sport", &self.matching.source_ports, range)?;
        list(out, "--dport", &self.matching.destination_ports, range)?;
        list(out, "--in", &self.matching.links, String::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(port: u16) -> MarkFields<'static> {
        MarkFields {
            family: Family::V4,
            protocol: Protocol::TCP,
            source: Address::v4([10, 0, 0, 2]),
            destination: Address::v4([10, 9, 9, 9]),
            ports: Some((40000, port)),
            link: "eth0",
        }
    }

    #[test]
    fn the_last_matching_rule_wins() {
        let web = MarkRule {
            mark: 7,
            matching: MarkMatch {
                protocols: vec![Protocol::TCP],
                destinations: vec!["10.9.9.0/24".parse().unwrap()],
                destination_ports: vec![80..=80, 443..=443],
                ..MarkMatch::default()
            },
        };
        let all = MarkRule { mark: 1, matching: MarkMatch { links: vec!["eth0".into()], ..MarkMatch::default() } };
        let rules = [all, web];
        assert_eq!(mark_of(&rules, &packet(443)), 7);
        assert_eq!(mark_of(&rules, &packet(22)), 1);
        assert_eq!(mark_of(&rules, &MarkFields { link: "eth1", ..packet(22) }), 0);
        let later = MarkFields { ports: None, ..packet(80) };
        assert_eq!(mark_of(&rules, &later), 1);
        assert!(rules[1].matching.takes_with_ports(&later));
        assert!(!rules[1].matching.takes_with_ports(&MarkFields { protocol: Protocol::UDP, ..later }));
        assert_eq!(rules[1].to_string(), "7 --protocol tcp --destination 10.9.9.0/24 --dport 80,443");
    }
}
