//! Finding the Call-ID of a SIP message (RFC 3261), which the `sip` persistence engine
//! recognises calls by.

use crate::base::Protocol;
use crate::wire::transport::udp;

/// Longest Call-ID that can be remembered (one byte of length in synchronisation messages).
const LONGEST: usize = 255;

/// The Call-ID in a UDP datagram; `None` when there is none that ends with its line, or it is
/// too long, or the packet is not UDP.
pub(super) fn call_id(protocol: Protocol, segment: &[u8]) -> Option<&[u8]> {
    if protocol != Protocol::UDP {
        return None;
    }
    let message = segment.get(udp::LENGTH..)?;
    let mut rest = message;
    loop {
        // The request or status line comes first; headers follow, one a line.
        let line_end = rest.iter().position(|&byte| byte == b'\n')?;
        rest = &rest[line_end + 1..];
        let line = &rest[..rest.iter().position(|&byte| byte == b'\r' || byte == b'\n')?];
        if line.is_empty() {
            return None;
        }
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let name = line[..colon].trim_ascii();
        if name.eq_ignore_ascii_case(b"call-id") || name.eq_ignore_ascii_case(b"i") {
            let value = line[colon + 1..].trim_ascii();
            return (!value.is_empty() && value.len() <= LONGEST).then_some(value);
        }
    }
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
        assert_eq!(call_id(Protocol::TCP, &datagram(message)), None);
    }

    #[test]
    fn what_has_no_usable_call_id() {
        for message in ["", "INVITE x\r\nCall-ID: cut", "INVITE x\r\n\r\nCall-ID: body\r\n", "Call-ID: first\r\n"] {
            assert_eq!(call_id(Protocol::UDP, &datagram(message)), None, "{message:?}");
        }
        let long = format!("INVITE x\r\nCall-ID: {}\r\n", "x".repeat(256));
        assert_eq!(call_id(Protocol::UDP, &datagram(&long)), None);
    }
}
