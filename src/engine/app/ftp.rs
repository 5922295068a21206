//! What is said on an FTP control connection about data connections (RFC 959, RFC 2428).
//!
//! A segment is looked at by itself: what is split over two is not understood. The spelling that
//! is accepted is the kernel's, loose where it is loose: PASV and EPSV are found anywhere in a
//! client's segment, everything else only at the beginning of one.

use std::io::Write;
use std::ops::Range;

use crate::base::{Address, Family, Port};

/// How the next data connection is to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// By the real server, or it is not known yet.
    #[default]
    Active,
    /// The client asked with PASV where to connect to.
    Passive,
    /// The same with EPSV.
    Extended,
}

/// A client's command that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// PASV or EPSV: the server's answer is to be looked for.
    Ask(Mode),
    /// PORT or EPRT: the client waits here.
    Wait(Address, Port),
}

/// Where a server says that it waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// `None` stands for the server's own address.
    pub address: Option<Address>,
    pub port: Port,
    /// Where in the segment it stands.
    pub place: Range<usize>,
}

/// The longest announcement that is written: six numbers of three digits.
pub const LONGEST: usize = 23;

/// Finds a command in a client's segment.
pub fn command(family: Family, payload: &[u8]) -> Option<Command> {
    match payload.windows(SHORTEST).enumerate().find_map(|(at, _)| question(family, &payload[at..])) {
        Some(Question::Of(mode)) => return Some(Command::Ask(mode)),
        Some(Question::Other) => return None,
        None => {}
    }
    let (address, port) = match family {
        Family::V4 => match after(payload, b"PORT").and_then(|rest| numbers(skip(rest, b' ', Digits::Begin)?)) {
            Some((address, port, _)) => (address, port),
            None => extended_port(family, payload)?,
        },
        Family::V6 => extended_port(family, payload)?,
    };
    Some(Command::Wait(address, port))
}

/// A client's question where to connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Of(Mode),
    /// EPSV with an argument that is not this family's: nothing else is looked for behind it.
    Other,
}

/// Length of the shortest question, its end of line included.
const SHORTEST: usize = 6;

/// PASV or EPSV at the beginning of `text`.
fn question(family: Family, text: &[u8]) -> Option<Question> {
    if family == Family::V4 && after(text, b"PASV").is_some_and(|rest| rest.starts_with(b"\r\n")) {
        return Some(Question::Of(Mode::Passive));
    }
    match *after(text, b"EPSV")? {
        [b'\r', ..] => Some(Question::Of(Mode::Extended)),
        [b' ', digit, b'\r', ..] if digit == family_digit(family) => Some(Question::Of(Mode::Extended)),
        [b' ', ..] => Some(Question::Other),
        _ => None,
    }
}

fn extended_port(family: Family, payload: &[u8]) -> Option<(Address, Port)> {
    let rest = skip(after(payload, b"EPRT")?, b' ', Digits::Skipped)?;
    let (address, port, _) = extended(family, rest)?;
    Some((address?, port))
}

/// Finds the answer to a question in a server's segment.
pub fn answer(mode: Mode, family: Family, payload: &[u8]) -> Option<Announcement> {
    let (address, port, text, length) = match mode {
        Mode::Active => return None,
        Mode::Passive => {
            let text = skip(after(payload, b"227 ")?, b'(', Digits::Begin)?;
            let (address, port, length) = numbers(text)?;
            (Some(address), port, text, length)
        }
        Mode::Extended => {
            let text = skip(after(payload, b"229 ")?, b'(', Digits::Skipped)?;
            let (address, port, length) = extended(family, text)?;
            (address, port, text, length)
        }
    };
    let start = payload.len() - text.len();
    Some(Announcement { address, port, place: start..start + length })
}

/// Writes an announcement of `address` and `port` as the answer to `mode` has it; its length.
pub fn announce(mode: Mode, address: Address, port: Port, out: &mut [u8; LONGEST]) -> usize {
    let mut rest = &mut out[..];
    let written = match mode {
        Mode::Extended => write!(rest, "|||{}|", port.0),
        Mode::Active | Mode::Passive => {
            let ([a, b, c, d], [high, low]) = (address.octets4(), port.0.to_be_bytes());
            write!(rest, "{a},{b},{c},{d},{high},{low}")
        }
    };
    debug_assert!(written.is_ok(), "six numbers of three digits fit");
    let left = rest.len();
    LONGEST - left
}

/// What follows a word, in whatever case it is written.
fn after<'a>(text: &'a [u8], word: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = text.split_at_checked(word.len())?;
    head.eq_ignore_ascii_case(word).then_some(rest)
}

/// Whether a digit is where the numbers begin, before any opening byte too.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Digits {
    Begin,
    Skipped,
}

/// The text behind the next run of `opening` bytes, whatever stands before it.
fn skip(text: &[u8], opening: u8, digits: Digits) -> Option<&[u8]> {
    let at = text.iter().position(|&byte| byte == opening || digits == Digits::Begin && byte.is_ascii_digit())?;
    let run = text[at..].iter().position(|&byte| byte != opening)?;
    Some(&text[at + run..])
}

/// Six numbers separated by commas, of which an address and a port are made, and their length.
/// Something must follow, or the last number may not be whole.
fn numbers(text: &[u8]) -> Option<(Address, Port, usize)> {
    let mut found = [0u8; 6];
    let mut index = 0;
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'0'..=b'9' => found[index] = found[index].checked_mul(10)?.checked_add(byte - b'0')?,
            b',' if index < 5 => index += 1,
            _ if index == 5 => {
                let [a, b, c, d, high, low] = found;
                return Some((Address::v4([a, b, c, d]), Port(u16::from_be_bytes([high, low])), at));
            }
            _ => return None,
        }
    }
    None
}

/// `|family|address|port|` with any delimiter, family and address possibly empty; with its length.
fn extended(family: Family, text: &[u8]) -> Option<(Option<Address>, Port, usize)> {
    let (&delimiter, rest) = text.split_first()?;
    if !(33..=126).contains(&delimiter) {
        return None;
    }
    let (address, rest) = match rest {
        [one, two, rest @ ..] if *one == delimiter && *two == delimiter => (None, rest),
        [digit, end, rest @ ..] if *digit == family_digit(family) && *end == delimiter => {
            let (address, rest) = field(rest, delimiter)?;
            (Some(parse_address(family, address)?), rest)
        }
        _ => return None,
    };
    let mut port = 0u16;
    let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    for digit in &rest[..digits] {
        port = port.checked_mul(10)?.checked_add(u16::from(digit - b'0'))?;
    }
    if port == 0 || rest[digits] != delimiter {
        return None;
    }
    Some((address, Port(port), text.len() - rest.len() + digits + 1))
}

fn field(text: &[u8], delimiter: u8) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|&byte| byte == delimiter)?;
    Some((&text[..end], &text[end + 1..]))
}

fn family_digit(family: Family) -> u8 {
    match family {
        Family::V4 => b'1',
        Family::V6 => b'2',
    }
}

fn parse_address(family: Family, text: &[u8]) -> Option<Address> {
    match family {
        Family::V4 => {
            let mut octets = [0u8; 4];
            let mut parts = text.split(|&byte| byte == b'.');
            for octet in &mut octets {
                let part = parts.next().filter(|part| !part.is_empty())?;
                // Leading zeroes are no sign of an octal number here.
                *octet = part.iter().try_fold(0u8, |octet, byte| {
                    let digit = byte.is_ascii_digit().then(|| byte - b'0')?;
                    octet.checked_mul(10)?.checked_add(digit)
                })?;
            }
            parts.next().is_none().then(|| Address::v4(octets))
        }
        Family::V6 => {
            let address: std::net::Ipv6Addr = std::str::from_utf8(text).ok()?.parse().ok()?;
            Some(Address::v6(address.octets()))
        }
    }
}

#[cfg(test)]
mod tests;
