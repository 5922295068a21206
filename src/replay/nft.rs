//! The few words of nftables syntax in which transcripts say which packets carry a mark.

use std::ops::RangeInclusive;

use crate::base::{Prefix, Protocol};
use crate::table::MarkMatch;

/// Parses a rule such as `ip daddr 10.9.9.9 tcp dport { 80, 443 }`.
///
/// # Errors
/// What is not understood.
pub fn parse(rule: &str) -> Result<MarkMatch, String> {
    let spaced = rule.replace(['{', '}', ','], " ");
    let mut words = spaced.split_whitespace().peekable();
    let mut matching = MarkMatch::default();
    while let Some(word) = words.next() {
        let mut values = Vec::new();
        let field = match word {
            "ip" | "ip6" | "tcp" | "udp" | "sctp" | "th" | "meta" => {
                words.next().ok_or_else(|| format!("`{word}' is not followed by a field"))?
            }
            "iifname" | "iif" => word,
            other => return Err(format!("`{other}' is not known in a mark rule")),
        };
        while let Some(value) = words.next_if(|next| !is_keyword(next)) {
            values.push(value.trim_matches('"'));
        }
        if values.is_empty() {
            return Err(format!("`{word} {field}' has no value"));
        }
        match (word, field) {
            ("ip" | "ip6", "daddr") => matching.destinations.extend(prefixes(&values)?),
            ("ip" | "ip6", "saddr") => matching.sources.extend(prefixes(&values)?),
            ("ip", "protocol") | ("ip6", "nexthdr") | ("meta", "l4proto") => {
                for value in &values {
                    matching.protocols.push(protocol(value)?);
                }
            }
            ("tcp" | "udp" | "sctp" | "th", "dport" | "sport") => {
                if word != "th" {
                    matching.protocols.push(protocol(word)?);
                }
                let ports = values.iter().map(|value| range(value)).collect::<Result<Vec<_>, _>>()?;
                let list = if field == "dport" { &mut matching.destination_ports } else { &mut matching.source_ports };
                list.extend(ports);
            }
            ("iifname" | "iif", _) | ("meta", "iifname" | "iif") => {
                matching.links.extend(values.iter().map(|&value| value.to_owned()));
            }
            _ => return Err(format!("`{word} {field}' is not known in a mark rule")),
        }
    }
    Ok(matching)
}

fn is_keyword(word: &str) -> bool {
    matches!(word, "ip" | "ip6" | "th" | "meta" | "iifname" | "iif") || matches!(word, "tcp" | "udp" | "sctp")
}

fn prefixes(values: &[&str]) -> Result<Vec<Prefix>, String> {
    values.iter().map(|value| value.parse()).collect()
}

fn protocol(word: &str) -> Result<Protocol, String> {
    match word {
        "tcp" => Ok(Protocol::TCP),
        "udp" => Ok(Protocol::UDP),
        "sctp" => Ok(Protocol::SCTP),
        "icmp" => Ok(Protocol::ICMP),
        number => number.parse().map(Protocol).map_err(|_| format!("`{number}' is no protocol")),
    }
}

fn range(word: &str) -> Result<RangeInclusive<u16>, String> {
    let number = |text: &str| text.parse::<u16>().map_err(|_| format!("`{word}' is no port"));
    match word.split_once('-') {
        Some((first, last)) => Ok(number(first)?..=number(last)?),
        None => number(word).map(|port| port..=port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_the_transcripts() {
        let rule = parse("ip daddr 10.9.9.9 tcp dport { 80, 443 }").unwrap();
        assert_eq!(rule.destination_ports, [80..=80, 443..=443]);
        assert_eq!(rule.protocols, [Protocol::TCP]);
        assert_eq!(parse("ip daddr 10.9.8.0/24").unwrap().destinations[0].length, 24);
        assert_eq!(parse("ip6 daddr fd99::9 udp dport 53-60").unwrap().destination_ports, [53..=60]);
        assert!(parse("ct state new").is_err());
        assert!(parse("tcp dport").is_err());
    }
}
