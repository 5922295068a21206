//! `address[:port]` as a word of the command line, and back again.
//!
//! The rules are the original's, with their surprises:
//! - A word of digits alone is refused, although it would be an address to `inet_aton`.
//! - An IPv6 address needs brackets to carry a port; without them `2001:db8::1:80` is all address.
//!   Brackets without a port are refused.
//! - Brackets around an IPv4 address or a host name lose the port.
//! - IPv4 addresses are what `inet_aton` takes: `10.1`, `0x0a000001`, octal `010.0.0.1`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::names::Names;
use super::numbers::decimal;
use crate::base::{Port, Protocol};

/// Longest text of an address with its port, in bytes; the rest is cut off.
const LONGEST_ENDPOINT: usize = 59;

/// An address with the port that was given with it, if one was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub address: IpAddr,
    pub port: Option<Port>,
}

impl Endpoint {
    /// Reads `word`; port names are those of `protocol`, and without one there are none.
    pub fn read(word: &str, protocol: Option<Protocol>, names: &mut dyn Names) -> Option<Endpoint> {
        if word.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let (host, bracketed_port) = match word.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']')?;
                (host, Some(rest.strip_prefix(':')?))
            }
            None => (word, None),
        };
        if let Ok(address) = host.parse::<Ipv6Addr>() {
            let port = match bracketed_port {
                Some(text) => Some(read_port(text, protocol, names)?),
                None => None,
            };
            return Some(Endpoint { address: IpAddr::V6(address), port });
        }
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (host, None),
        };
        let address = inet_aton(host).or_else(|| names.address(host))?;
        let port = match port {
            Some(text) => Some(read_port(text, protocol, names)?),
            None => None,
        };
        Some(Endpoint { address: IpAddr::V4(address), port })
    }
}

fn read_port(text: &str, protocol: Option<Protocol>, names: &mut dyn Names) -> Option<Port> {
    match decimal(text, 0..=i64::from(u16::MAX)) {
        Some(port) => u16::try_from(port).ok().map(Port),
        None => names.port(text, protocol?),
    }
}

/// Reads an IPv4 address as C's `inet_aton` does: one to four numbers, each decimal, octal or
/// hexadecimal, the last one filling what the others leave. A blank ends the address.
pub fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let text = text.split(|letter: char| letter.is_ascii_whitespace() || letter == '\x0b').next()?;
    let mut address = 0u32;
    let parts: Vec<&str> = text.split('.').collect();
    let (last, leading) = parts.split_last()?;
    if leading.len() > 3 {
        return None;
    }
    for (index, part) in leading.iter().enumerate() {
        let byte = u8::try_from(c_number(part)?).ok()?;
        address |= u32::from(byte) << (24 - 8 * index);
    }
    let last = c_number(last)?;
    let room = u32::MAX.checked_shr(8 * leading.len() as u32).unwrap_or(0);
    (last <= room).then(|| Ipv4Addr::from(address | last))
}

/// A number as in C source: `0x` begins hexadecimal, `0` octal.
fn c_number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    // `from_str_radix` alone would take a sign.
    digits.starts_with(|letter: char| letter.is_digit(radix)).then(|| u32::from_str_radix(digits, radix).ok())?
}

/// How a listing writes addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    Names,
    Numeric,
}

impl Naming {
    /// The text of an address with its port; ports have names for `protocol` TCP, UDP and SCTP only.
    pub fn endpoint(self, address: IpAddr, port: Port, protocol: Option<Protocol>, names: &mut dyn Names) -> String {
        let (host, service) = match self {
            Naming::Names => (names.host(address), protocol.and_then(|protocol| names.service(port, protocol))),
            Naming::Numeric => (None, None),
        };
        let host = host.unwrap_or_else(|| address_text(address));
        let service = service.unwrap_or_else(|| port.to_string());
        let text = match address {
            IpAddr::V4(_) => format!("{host}:{service}"),
            IpAddr::V6(_) => format!("[{host}]:{service}"),
        };
        cut(&text, LONGEST_ENDPOINT).to_owned()
    }
}

/// An address as C's `inet_ntop` writes it: other than the standard library, `::1.2.3.4` too.
fn address_text(address: IpAddr) -> String {
    match address {
        IpAddr::V6(v6) => match v6.segments() {
            [0, 0, 0, 0, 0, 0, high, low] if high != 0 => {
                format!("::{}", Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
            }
            _ => v6.to_string(),
        },
        IpAddr::V4(v4) => v4.to_string(),
    }
}

/// The first `length` bytes of `text`, less where that would split a character.
pub fn cut(text: &str, length: usize) -> &str {
    let end = (0..=length.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Knows one host and one port.
    struct OneName;

    impl Names for OneName {
        fn address(&mut self, host: &str) -> Option<Ipv4Addr> {
            (host == "alpha").then_some(Ipv4Addr::new(10, 0, 0, 1))
        }

        fn host(&mut self, address: IpAddr) -> Option<String> {
            (address == IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))).then(|| "alpha".to_owned())
        }

        fn port(&mut self, service: &str, protocol: Protocol) -> Option<Port> {
            (service == "http" && protocol == Protocol::TCP).then_some(Port(80))
        }

        fn service(&mut self, port: Port, protocol: Protocol) -> Option<String> {
            (port == Port(80) && protocol == Protocol::TCP).then(|| "http".to_owned())
        }
    }

    #[test]
    fn words_are_read_as_the_original_reads_them() {
        // The word, the address or nothing where it is refused, the port.
        let rows: &[(&str, &str, Option<u16>)] = &[
            ("1.1.1.1", "1.1.1.1", None),
            ("1.1.1.1:80", "1.1.1.1", Some(80)),
            ("1.1.1.1:080", "1.1.1.1", Some(80)),
            ("1.1.1.1: +80", "1.1.1.1", Some(80)),
            ("1.1.1.1:http", "1.1.1.1", Some(80)),
            ("1.1.1.1:domain", "", None),
            ("1.1.1.1:", "", None),
            ("1.1.1.1:65536", "", None),
            ("1.1.1.1:80-90", "", None),
            ("alpha:80", "10.0.0.1", Some(80)),
            ("beta:80", "", None),
            ("", "", None),
            ("12345", "", None),
            ("10:80", "0.0.0.10", Some(80)),
            ("::1", "::1", None),
            ("2001:db8::1:80", "2001:db8::1:80", None),
            ("[::1]:80", "::1", Some(80)),
            ("[::1]:http", "::1", Some(80)),
            ("[::1]", "", None),
            ("[::1]:", "", None),
            ("[::1]80", "", None),
            ("[::1", "", None),
            ("[alpha]:80", "10.0.0.1", None),
            ("[1.1.1.1:90]:80", "1.1.1.1", Some(90)),
            ("fe80::1%lo", "", None),
        ];
        for (word, address, port) in rows {
            let read = Endpoint::read(word, Some(Protocol::TCP), &mut OneName);
            assert_eq!(read.map(|endpoint| endpoint.address), address.parse().ok(), "{word:?}");
            assert_eq!(read.and_then(|endpoint| endpoint.port), port.map(Port), "{word:?}");
        }
        assert_eq!(Endpoint::read("1.1.1.1:http", None, &mut OneName), None);
    }

    #[test]
    fn short_forms_of_ipv4_addresses() {
        let rows: &[(&str, Option<[u8; 4]>)] = &[
            ("10.1", Some([10, 0, 0, 1])),
            ("10.1.2", Some([10, 1, 0, 2])),
            ("0x0a000003", Some([10, 0, 0, 3])),
            ("0X7f.1", Some([127, 0, 0, 1])),
            ("010.0.0.1", Some([8, 0, 0, 1])),
            ("00", Some([0, 0, 0, 0])),
            ("4294967295", Some([255, 255, 255, 255])),
            ("4294967296", None),
            ("1.16777215", Some([1, 255, 255, 255])),
            ("1.16777216", None),
            ("1.1.65536", None),
            ("1.1.1.256", None),
            ("256.1", None),
            ("1.1.1.1 x", Some([1, 1, 1, 1])),
            (" 1.1.1.1", None),
            ("08.1", None),
            ("0x", None),
            ("+1", None),
            ("1.", None),
            ("1.2.3.", None),
            (".1", None),
            ("1..2", None),
            ("1.2.3.4.5", None),
            ("", None),
        ];
        for (text, expected) in rows {
            assert_eq!(inet_aton(text), expected.map(Ipv4Addr::from), "{text:?}");
        }
    }

    #[test]
    fn addresses_are_written_with_names_or_without() {
        let text = |naming: Naming, address: &str, protocol| {
            naming.endpoint(address.parse().unwrap(), Port(80), protocol, &mut OneName)
        };
        assert_eq!(text(Naming::Numeric, "10.0.0.1", Some(Protocol::TCP)), "10.0.0.1:80");
        assert_eq!(text(Naming::Names, "10.0.0.1", Some(Protocol::TCP)), "alpha:http");
        assert_eq!(text(Naming::Names, "10.0.0.1", Some(Protocol::UDP)), "alpha:80");
        assert_eq!(text(Naming::Names, "10.0.0.2", None), "10.0.0.2:80");
        assert_eq!(text(Naming::Numeric, "::ffff:1.2.3.4", None), "[::ffff:1.2.3.4]:80");
        assert_eq!(text(Naming::Numeric, "::1.2.3.4", None), "[::1.2.3.4]:80");
        assert_eq!(text(Naming::Numeric, "::0.0.3.4", None), "[::304]:80");
    }

    #[test]
    fn cutting_keeps_characters_whole() {
        assert_eq!(cut("abc", 2), "ab");
        assert_eq!(cut("aéb", 2), "a");
        assert_eq!(cut("a", 5), "a");
    }
}
