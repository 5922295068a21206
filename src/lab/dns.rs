//! As much of DNS (RFC 1035) as a lab's name server and its client need: one question, and one
//! TXT record in answer.

/// Length of the header.
const HEADER: usize = 12;
const TXT: u16 = 16;
const INTERNET: u16 = 1;

/// A query with number `id` for the TXT record of `name`.
pub fn query(id: u16, name: &str) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    // Recursion desired; one question.
    message.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        push_string(&mut message, label.as_bytes());
    }
    message.push(0);
    message.extend(TXT.to_be_bytes());
    message.extend(INTERNET.to_be_bytes());
    message
}

/// The answer to `request`: its question again, and `text` as a TXT record of any name asked for.
/// `None` where it is not a query with one question.
pub fn answer(request: &[u8], text: &str) -> Option<Vec<u8>> {
    let is_response = request.get(2)? & 0x80 != 0;
    if is_response || request.get(4..6)? != [0, 1] {
        return None;
    }
    let question = request.get(HEADER..question_end(request)?)?;
    let mut message = request.get(..2)?.to_vec();
    // An authoritative response without error; one question, one answer.
    message.extend([0x85, 0x00, 0, 1, 0, 1, 0, 0, 0, 0]);
    message.extend(question);
    // The name is the question's, by a pointer to it.
    message.extend([0xc0, HEADER as u8]);
    message.extend(TXT.to_be_bytes());
    message.extend(INTERNET.to_be_bytes());
    message.extend([0; 4]);
    let mut data = Vec::new();
    push_string(&mut data, text.as_bytes());
    message.extend((data.len() as u16).to_be_bytes());
    message.extend(data);
    Some(message)
}

/// The text of the TXT record in `response`, if that answers query `id`.
pub fn text(response: &[u8], id: u16) -> Option<String> {
    let answers_it = response.get(..2)? == id.to_be_bytes() && response.get(2)? & 0x80 != 0;
    let record = question_end(response)?;
    // Pointer, type, class, time to live and length come before the string and its own length.
    let length = usize::from(*response.get(record + 12)?);
    let text = response.get(record + 13..record + 13 + length)?;
    answers_it.then(|| String::from_utf8_lossy(text).into_owned())
}

/// Where the first question ends.
fn question_end(message: &[u8]) -> Option<usize> {
    let mut at = HEADER;
    loop {
        match usize::from(*message.get(at)?) {
            0 => return Some(at + 1 + 4),
            // A pointer has no place in the first name of a message.
            length if length > 63 => return None,
            length => at += 1 + length,
        }
    }
}

/// A length byte and at most 255 bytes.
fn push_string(message: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(255)];
    message.push(bytes.len() as u8);
    message.extend(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_understood() {
        let query = query(0x1234, "who.lab");
        assert_eq!(text(&answer(&query, "rs2").unwrap(), 0x1234).as_deref(), Some("rs2"));
        assert_eq!(text(&answer(&query, "rs2").unwrap(), 0x1235), None, "somebody else's answer");
    }

    #[test]
    fn nonsense_is_not_answered() {
        assert_eq!(answer(b"hello", "rs1"), None);
        assert_eq!(answer(&[0xff; 40], "rs1"), None);
        assert_eq!(answer(&answer(&query(1, "a"), "rs1").unwrap(), "rs1"), None, "an answer is not a query");
        let mut endless = query(1, "a");
        endless.truncate(HEADER + 1);
        assert_eq!(answer(&endless, "rs1"), None);
        assert_eq!(text(&[0; 13], 0), None);
    }
}
