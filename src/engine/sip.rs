//! Finding the Call-ID of a SIP message (RFC 3261), which the `sip` persistence engine
//! recognises calls by.
//!
//! The spelling that is accepted is the kernel's. A header begins behind a line's end, which the
//! start line needs and the body has as well; the first that looks like a Call-ID is the only one
//! that is looked at, but that one without any value is passed over. What is looked for then begins
//! later by the place of that value in the message: behind the first such header this is where it
//! stands, behind a second one it may be too far on.

use crate::base::Protocol;
use crate::wire::transport::udp;

/// Longest Call-ID that can be remembered (one byte of length in synchronisation messages).
const LONGEST: usize = 255;

const NAME: &[u8] = b"call-id";

/// The Call-ID in a UDP datagram; `None` when there is none that ends with its line, or it is
/// too long, or the packet is not UDP.
pub(super) fn call_id(protocol: Protocol, segment: &[u8]) -> Option<&[u8]> {
    if protocol != Protocol::UDP {
        return None;
    }
    let message = segment.get(udp::LENGTH..)?;
    let mut from = 0;
    let (text, length) = loop {
        let text = behind_colon(header(message, from)?)?;
        match value_length(text) {
            0 => from += message.len() - text.len(),
            length => break (text, length),
        }
    };
    let ends = matches!(text.get(length), Some(b'\r' | b'\n'));
    (length <= LONGEST && ends).then(|| &text[..length])
}

/// What follows the name of the first header from `at` on that is a Call-ID, long or compact.
fn header(message: &[u8], mut at: usize) -> Option<&[u8]> {
    loop {
        // One line's end; of an empty line behind it the next turn sees the other half.
        at += message.get(at..)?.iter().position(|byte| matches!(byte, b'\r' | b'\n'))?;
        at += if message[at..].starts_with(b"\r\n") { 2 } else { 1 };
        let line = message.get(at..)?;
        if line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)) {
            return Some(&line[NAME.len()..]);
        }
        if let [b'i' | b'I', next, ..] = line
            && !is_letter(*next)
        {
            return Some(&line[1..]);
        }
        at += 1;
    }
}

/// What follows a header's colon and the blanks around it.
fn behind_colon(text: &[u8]) -> Option<&[u8]> {
    let rest = skip_blanks(text)?.strip_prefix(b":")?;
    skip_blanks(rest).filter(|rest| !rest.is_empty())
}

/// Skips blanks, and a line's end that a blank follows: the header goes on. `None` where it does not.
fn skip_blanks(text: &[u8]) -> Option<&[u8]> {
    let blanks = |text: &[u8]| text.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(text.len());
    let text = &text[blanks(text)..];
    let end = match text {
        [b'\r', b'\n', ..] => 2,
        [b'\r' | b'\n', ..] => 1,
        _ => return Some(text),
    };
    match &text[end..] {
        [b' ' | b'\t', ..] => Some(&text[end + blanks(&text[end..])..]),
        _ => None,
    }
}

/// Length of `word` or `word@word`.
fn value_length(text: &[u8]) -> usize {
    let word = |text: &[u8]| text.iter().position(|&byte| !is_word(byte)).unwrap_or(text.len());
    let local = word(text);
    match text.get(local) {
        Some(b'@') if local > 0 => match word(&text[local + 1..]) {
            0 => 0,
            host => local + 1 + host,
        },
        _ => local,
    }
}

fn is_word(byte: u8) -> bool {
    is_letter(byte) || byte.is_ascii_digit() || b"-.!%*_+`'~()<>:\\\"/[]?{}".contains(&byte)
}

/// A letter of Latin-1, as the kernel has it.
fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || (byte >= 0xc0 && byte != 0xd7 && byte != 0xf7)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(message: &str) -> Vec<u8> {
        let mut bytes = vec![0; udp::LENGTH];
        bytes.extend(message.as_bytes());
        bytes
    }

    #[test]
    fn long_and_compact_names() {
        let message = "INVITE sip:a@b SIP/2.0\r\nVia: x\r\nCall-ID: abc@host\r\n\r\n";
        assert_eq!(call_id(Protocol::UDP, &datagram(message)), Some(&b"abc@host"[..]));
        assert_eq!(call_id(Protocol::UDP, &datagram("OPTIONS x\ni:  7\n")), Some(&b"7"[..]));
        assert_eq!(call_id(Protocol::UDP, &datagram("OPTIONS x\r\nCALL-ID :\r\n 8\r\n")), Some(&b"8"[..]));
        assert_eq!(call_id(Protocol::TCP, &datagram(message)), None);
    }

    #[test]
    fn what_has_no_usable_call_id() {
        for message in [
            "",
            "\r",
            "\r\n",
            "INVITE x\r\nCall-ID: cut",
            "INVITE x\r\nCall-ID: a b\r\n",
            "INVITE x\r\nCall-ID: a@\r\n",
            "INVITE x\r\nCall-ID:",
            "INVITE x\r\nCall-ID\r\n",
            "Call-ID: first\r\n",
        ] {
            assert_eq!(call_id(Protocol::UDP, &datagram(message)), None, "{message:?}");
        }
        let long = format!("INVITE x\r\nCall-ID: {}\r\n", "x".repeat(256));
        assert_eq!(call_id(Protocol::UDP, &datagram(&long)), None);
    }

    #[test]
    fn a_call_id_without_any_value_is_passed_over() {
        let find = |message: &str| call_id(Protocol::UDP, &datagram(message)).map(<[u8]>::to_vec);
        for first in ["Call-ID: @", "Call-ID: a@", "i: ,", "Call-ID: \r\n \r"] {
            assert_eq!(find(&format!("INVITE x\r\n{first}\r\nCall-ID: 5\r\n")), Some(b"5".to_vec()), "{first:?}");
        }
        // A line that ends behind the colon is no header, and the end of the search.
        assert_eq!(find("INVITE x\r\nCall-ID:\r\nCall-ID: 5\r\n"), None);
        assert_eq!(find("INVITE x\r\nCall-ID: @\r\nCall-ID: a b\r\nCall-ID: 5\r\n"), None);
        // The second's value is at 31, the first's at 19: the search goes on at 50.
        let two = "INVITE x\r\nCall-ID: @\r\nCall-ID: @\r\n";
        assert_eq!(find(&format!("{two}Call-ID: 5\r\n")), None);
        assert_eq!(find(&format!("{two}Subject: abcdefgh\r\nCall-ID: 5\r\n")), Some(b"5".to_vec()));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_too_odd(message in "(\r|\n|[ :@i\t]|Call-ID|x|\u{e9}){0,40}") {
            call_id(Protocol::UDP, &datagram(&message));
        }
    }
}
