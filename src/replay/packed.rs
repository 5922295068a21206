//! Many transcripts in one small file.
//!
//! A frame of a recording is mostly one that was there before, with other numbers in a few places,
//! and its checksums follow from the rest. So each is written as its difference from the most alike
//! of those before it, with the checksums taken out that are right; what is left is compressed.
//!
//! ```text
//! "ULVSTRC1", then by zlib:
//!   transcripts, each: name, MTU of eth0 and eth1, number of steps, steps
//!   step:  kind, milliseconds since the step before, then by kind
//!     0 command     arguments, exit status, standard output, standard error
//!     1 setting     name, value              2 mark        number, rule
//!     3, 4 frame in by eth0, eth1            5, 6 frame out by eth0, eth1
//!     7 nothing     8 pause                  9 note        text
//!     10 setting, and what came of it: name, value, error or nothing, what it reads then
//!     11 file under /proc/net: name, text
//!   frame: how many frames back the one it is like is (0: none is), its length, and until that is
//!          reached: how many bytes are as there, how many are not, and those, XORed
//! ```
//!
//! Numbers are LEB128, texts have their length before them. Beyond the end of the frame that it is
//! like, a frame differs from zeros.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

use super::transcript::{Action, LoadError, Outcome, Step, Transcript};
use crate::wire::checksum::{self, Sum};

pub const MAGIC: &[u8; 8] = b"ULVSTRC1";

/// How far back a frame is looked for that is like another.
const MEMORY: usize = 96;

/// No recording is as large as this when unpacked: a file that says so is broken.
const LARGEST: u64 = 1 << 30;

const LINKS: [&str; 2] = ["eth0", "eth1"];

/// A file's bytes for some transcripts.
pub fn pack(transcripts: &[Transcript]) -> Vec<u8> {
    let mut body = Writer::default();
    body.number(transcripts.len() as u64);
    for transcript in transcripts {
        body.transcript(transcript);
    }
    let mut encoder = ZlibEncoder::new(MAGIC.to_vec(), Compression::best());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(&body.bytes);
    encoder.finish().unwrap_or_default()
}

/// The transcripts of a packed file.
///
/// # Errors
/// The bytes are not what [`pack`] makes.
pub fn unpack(file: &[u8]) -> Result<Vec<Transcript>, LoadError> {
    let packed = file.strip_prefix(MAGIC).ok_or(LoadError::Packed)?;
    let mut bytes = Vec::new();
    ZlibDecoder::new(packed).take(LARGEST).read_to_end(&mut bytes).map_err(|_| LoadError::Packed)?;
    let mut reader = Reader { bytes: &bytes, frames: Vec::new() };
    let count = reader.number().ok_or(LoadError::Packed)?;
    (0..count).map(|_| reader.transcript().ok_or(LoadError::Packed)).collect()
}

#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    frames: Vec<Vec<u8>>,
}

impl Writer {
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes.extend(text.as_bytes());
    }

    fn transcript(&mut self, transcript: &Transcript) {
        self.frames.clear();
        self.text(&transcript.name);
        for mtu in transcript.mtu {
            self.number(u64::from(mtu));
        }
        self.number(transcript.steps.len() as u64);
        let mut before = 0;
        for step in &transcript.steps {
            self.bytes.push(kind(&step.action));
            self.number(step.at.saturating_sub(before));
            before = before.max(step.at);
            match &step.action {
                Action::Ipvsadm { arguments, status, stdout, stderr } => {
                    self.text(arguments);
                    self.number(u64::from(*status as u32));
                    self.text(stdout);
                    self.text(stderr);
                }
                Action::Setting { name, value, outcome } => {
                    self.text(name);
                    self.text(value);
                    if let Some(outcome) = outcome {
                        self.text(outcome.error.as_deref().unwrap_or(""));
                        self.text(&outcome.reads);
                    }
                }
                Action::Proc { name, stdout } => {
                    self.text(name);
                    self.text(stdout);
                }
                Action::Mark { mark, rule } => {
                    self.number(u64::from(*mark));
                    self.text(rule);
                }
                Action::In { frame, .. } | Action::Out { frame, .. } => self.frame(frame),
                Action::Nothing | Action::Sleep => {}
                Action::Note(note) => self.text(note),
            }
        }
    }

    fn frame(&mut self, frame: &[u8]) {
        let mut frame = frame.to_vec();
        whiten(&mut frame);
        let (mut back, mut least) = (0, frame.iter().filter(|&&byte| byte != 0).count() + 2);
        for (index, other) in self.frames.iter().rev().take(MEMORY).enumerate() {
            let differ =
                frame.iter().zip(other).filter(|(a, b)| a != b).count() + frame.len().saturating_sub(other.len());
            if differ < least {
                (back, least) = (index + 1, differ);
            }
        }
        let difference = match back {
            0 => frame.clone(),
            _ => xor(&frame, &self.frames[self.frames.len() - back]),
        };
        self.number(back as u64);
        self.number(difference.len() as u64);
        let mut rest = &difference[..];
        while !rest.is_empty() {
            let same = rest.iter().take_while(|&&byte| byte == 0).count();
            rest = &rest[same..];
            // A single byte that is the same is no reason to begin anew.
            let other = (0..rest.len()).find(|&at| rest[at] == 0 && rest.get(at + 1).is_none_or(|&next| next == 0));
            let (literal, after) = rest.split_at(other.unwrap_or(rest.len()));
            self.number(same as u64);
            self.number(literal.len() as u64);
            self.bytes.extend(literal);
            rest = after;
        }
        self.frames.push(frame);
    }
}

fn kind(action: &Action) -> u8 {
    match action {
        Action::Ipvsadm { .. } => 0,
        Action::Setting { outcome: None, .. } => 1,
        Action::Setting { outcome: Some(_), .. } => 10,
        Action::Proc { .. } => 11,
        Action::Mark { .. } => 2,
        Action::In { link, .. } => 3 + u8::from(link != LINKS[0]),
        Action::Out { link, .. } => 5 + u8::from(link != LINKS[0]),
        Action::Nothing => 7,
        Action::Sleep => 8,
        Action::Note(_) => 9,
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    frames: Vec<Vec<u8>>,
}

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, length: u64) -> Option<&[u8]> {
        let (taken, rest) = self.bytes.split_at_checked(usize::try_from(length).ok()?)?;
        self.bytes = rest;
        Some(taken)
    }

    fn text(&mut self) -> Option<String> {
        let length = self.number()?;
        String::from_utf8(self.take(length)?.to_vec()).ok()
    }

    fn transcript(&mut self) -> Option<Transcript> {
        self.frames.clear();
        let name = self.text()?;
        let mtu = [self.number()? as u32, self.number()? as u32];
        let count = self.number()?;
        let mut steps = Vec::new();
        let mut at = 0u64;
        for _ in 0..count {
            let kind = self.byte()?;
            at = at.checked_add(self.number()?)?;
            let link = || LINKS[usize::from(kind % 2 == 0)].to_owned();
            let action = match kind {
                0 => Action::Ipvsadm {
                    arguments: self.text()?,
                    status: self.number()? as u32 as i32,
                    stdout: self.text()?,
                    stderr: self.text()?,
                },
                1 => Action::Setting { name: self.text()?, value: self.text()?, outcome: None },
                10 => {
                    let (name, value, error) = (self.text()?, self.text()?, self.text()?);
                    let error = Some(error).filter(|error| !error.is_empty());
                    Action::Setting { name, value, outcome: Some(Outcome { error, reads: self.text()? }) }
                }
                11 => Action::Proc { name: self.text()?, stdout: self.text()? },
                2 => Action::Mark { mark: self.number()? as u32, rule: self.text()? },
                3 | 4 => Action::In { link: link(), frame: self.frame()? },
                5 | 6 => Action::Out { link: link(), frame: self.frame()? },
                7 => Action::Nothing,
                8 => Action::Sleep,
                9 => Action::Note(self.text()?),
                _ => return None,
            };
            steps.push(Step { at, action });
        }
        Some(Transcript { name, mtu, steps })
    }

    fn frame(&mut self) -> Option<Vec<u8>> {
        let back = usize::try_from(self.number()?).ok()?;
        let length = usize::try_from(self.number()?).ok().filter(|&length| length <= 1 << 17)?;
        let mut difference = Vec::with_capacity(length);
        while difference.len() < length {
            let same = usize::try_from(self.number()?).ok()?;
            let literal = self.number()?;
            if same == 0 && literal == 0 || same > length - difference.len() {
                return None;
            }
            difference.resize(difference.len() + same, 0);
            difference.extend(self.take(literal)?);
        }
        if difference.len() != length {
            return None;
        }
        let white = match back {
            0 => difference,
            _ => xor(&difference, self.frames.get(self.frames.len().checked_sub(back)?)?),
        };
        let mut frame = white.clone();
        self.frames.push(white);
        whiten(&mut frame);
        Some(frame)
    }
}

fn xor(frame: &[u8], other: &[u8]) -> Vec<u8> {
    frame.iter().enumerate().map(|(at, byte)| byte ^ other.get(at).unwrap_or(&0)).collect()
}

/// XORs checksum fields with what they should be: right ones become zero. Done twice, nothing is
/// done.
fn whiten(frame: &mut [u8]) {
    let Some(packet) = frame.get_mut(14..) else { return };
    let (header, protocol, length) = match packet.first().map(|byte| byte >> 4) {
        Some(4) if packet.len() >= 20 => {
            let header = usize::from(packet[0] & 15) * 4;
            if header < 20 || packet.len() < header {
                return;
            }
            exclusive(packet, 10, 2, |packet| checksum::of(&packet[..header]).bytes().to_vec());
            let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
            let is_fragment = packet[6] & 0x3f != 0 || packet[7] != 0;
            (header, if is_fragment { 0 } else { packet[9] }, length)
        }
        Some(6) if packet.len() >= 40 => (40, packet[6], 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]]))),
        _ => return,
    };
    if length < header || packet.len() < length {
        return;
    }
    let (addresses, message) = packet[..length].split_at_mut(header);
    let addresses = if header == 40 && addresses[0] >> 4 == 6 { &addresses[8..40] } else { &addresses[12..20] };
    let at = match protocol {
        6 => 16,
        17 => 6,
        1 | 58 => 2,
        132 => {
            if message.len() >= 12 {
                exclusive(message, 8, 4, |message| crc32c::crc32c(message).to_le_bytes().to_vec());
            }
            return;
        }
        _ => return,
    };
    if message.len() < at + 2 {
        return;
    }
    let sum = match protocol {
        1 => Sum::ZERO,
        _ => checksum::pseudo_header_of(addresses, protocol, message.len()),
    };
    exclusive(message, at, 2, |message| sum.add_bytes(message).checksum().bytes().to_vec());
}

/// XORs a field with what is calculated from the rest while the field is zero.
fn exclusive(bytes: &mut [u8], at: usize, length: usize, calculate: impl Fn(&[u8]) -> Vec<u8>) {
    let field = bytes[at..at + length].to_vec();
    bytes[at..at + length].fill(0);
    let right = calculate(bytes);
    for (index, byte) in field.iter().enumerate() {
        bytes[at + index] = byte ^ right[index];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tcp(port: u16, data: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        etherparse::PacketBuilder::ethernet2([2; 6], [3; 6])
            .ipv4([10, 0, 0, 2], [10, 9, 9, 9], 64)
            .tcp(port, 80, 7, 100)
            .write(&mut frame, data)
            .unwrap();
        frame
    }

    fn sample() -> Transcript {
        let frame = |link: &str, frame: Vec<u8>| (link.to_owned(), frame);
        let mut actions = vec![
            Action::Ipvsadm { arguments: "-Ln".into(), status: -1, stdout: "a\n".into(), stderr: "ü".into() },
            Action::Setting { name: "sloppy_tcp".into(), value: "1".into(), outcome: None },
            Action::Setting {
                name: "sync_ports".into(),
                value: "3".into(),
                outcome: Some(Outcome { error: Some("EINVAL".into()), reads: "1\n".into() }),
            },
            Action::Proc { name: "ip_vs".into(), stdout: "IP\n".into() },
            Action::Mark { mark: 7, rule: "ip daddr 10.9.8.0/24".into() },
            Action::Nothing,
            Action::Sleep,
            Action::Note("x".into()),
        ];
        for port in 0..200 {
            let (link, bytes) = frame(LINKS[usize::from(port % 2)], tcp(40_000 + port, &[port as u8; 30]));
            actions.push(Action::In { link: link.clone(), frame: bytes.clone() });
            actions.push(Action::Out { link, frame: bytes[..bytes.len() - usize::from(port % 3)].to_vec() });
        }
        let steps = actions.into_iter().enumerate().map(|(index, action)| Step { at: index as u64 * 300, action });
        Transcript { name: "sample".into(), mtu: [1500, 1300], steps: steps.collect() }
    }

    #[test]
    fn what_is_packed_comes_out_again_and_is_smaller() {
        let transcripts = [sample(), sample()];
        let packed = pack(&transcripts);
        let length: usize = 2 * 400 * tcp(1, &[0; 30]).len();
        assert!(packed.len() * 10 < length, "{} of {length}", packed.len());
        assert_eq!(format!("{:?}", unpack(&packed).unwrap()), format!("{transcripts:?}"));
    }

    #[test]
    fn what_was_cut_off_is_refused() {
        let packed = pack(&[sample()]);
        assert!(unpack(b"{}").is_err());
        assert!(unpack(&packed[..packed.len() / 2]).is_err());
    }

    proptest! {
        #[test]
        fn whitening_twice_is_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..120), four: bool, protocol in 0usize..6) {
            let mut frame = bytes.clone();
            if frame.len() > 34 {
                frame[14] = if four { 0x45 } else { 0x60 };
                let protocol = [6, 17, 1, 58, 132, 47][protocol];
                let length = frame.len() - 14;
                if four {
                    frame[16..18].copy_from_slice(&(length as u16).to_be_bytes());
                    frame[20..22].fill(0);
                    frame[23] = protocol;
                } else {
                    frame[18..20].copy_from_slice(&(length.saturating_sub(40) as u16).to_be_bytes());
                    frame[20] = protocol;
                }
            }
            let before = frame.clone();
            whiten(&mut frame);
            whiten(&mut frame);
            prop_assert_eq!(frame, before);
        }

        #[test]
        fn no_bytes_are_a_danger(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = Reader { bytes: &bytes, frames: Vec::new() };
            let _ = reader.transcript();
        }
    }
}
