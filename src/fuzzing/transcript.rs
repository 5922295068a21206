//! A director asked and sent what a transcript might say: commands, settings, marks, frames, time.
//!
//! The bytes are a transcript in short: records of a kind, a length and contents. The recordings
//! of a real kernel are the seeds, so that what fuzzing changes is something that makes sense.

use std::cell::RefCell;
use std::ffi::OsString;
use std::rc::Rc;

use crate::base::{Family, Tick};
use crate::control::message::Request;
use crate::ipvsadm::{self, Io, Program};
use crate::replay::lab::{Lab, Way};
use crate::replay::transcript::{Action, Transcript};
use crate::wire::dissect::dissect;
use crate::wire::frame::ETHERNET_LENGTH;
use crate::wire::{checksum, ip};

use super::commands::NoNames;

/// More records than that teach nothing new.
const MOST_RECORDS: usize = 200;

/// The longest pause, and in how many steps it passes.
const MOST_MILLISECONDS: u64 = 130_000;
const STEPS: u64 = 8;

/// Kinds of records.
mod kind {
    pub const COMMAND: u8 = 0;
    /// A frame on eth0, eth1, as it stands.
    pub const FRAME: [u8; 2] = [1, 2];
    /// The same, given a right IPv4 header checksum, and ICMP checksum.
    pub const REPAIRED: [u8; 2] = [3, 4];
    pub const SETTING: u8 = 5;
    /// Milliseconds.
    pub const TIME: u8 = 6;
    pub const COUNT: u8 = 7;
}

pub fn run(data: &[u8]) {
    let lab = Rc::new(RefCell::new(Lab::sized([1500, 1500], 256)));
    let mut rest = data;
    for _ in 0..MOST_RECORDS {
        let Some((kind, contents, after)) = record(rest) else { break };
        rest = after;
        match kind {
            kind::COMMAND => command(&lab, &String::from_utf8_lossy(contents)),
            kind::SETTING => {
                let text = String::from_utf8_lossy(contents);
                let (name, value) = text.split_once('=').unwrap_or((&text, ""));
                let _ = lab.borrow_mut().ask(Request::SetSetting { name: name.to_owned(), value: value.to_owned() });
            }
            kind::TIME => {
                let milliseconds = contents.iter().take(3).fold(0u64, |sum, &byte| sum << 8 | u64::from(byte));
                pass(&mut lab.borrow_mut(), milliseconds.min(MOST_MILLISECONDS));
            }
            _ => frame(&lab, kind, contents),
        }
        lab.borrow_mut().director.fleet().engine.check_invariants();
    }
}

/// Lets time pass in a few steps: what one expiry leads to may be due before the next.
fn pass(lab: &mut Lab, milliseconds: u64) {
    for _ in 0..STEPS {
        lab.now = lab.now + milliseconds / STEPS;
        let now = lab.now;
        while lab.director.fleet().engine.tick(now, usize::MAX) {}
        lab.director.tick(now);
    }
    lab.drain();
}

/// The first record and what follows it.
fn record(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[kind, high, low], rest) = bytes.split_first_chunk()?;
    let length = usize::from(u16::from_be_bytes([high, low])).min(rest.len());
    let (contents, rest) = rest.split_at(length);
    Some((kind % kind::COUNT, contents, rest))
}

fn command(lab: &Rc<RefCell<Lab>>, line: &str) {
    let words: Vec<OsString> = ["ipvsadm"].into_iter().chain(line.split_whitespace()).map(OsString::from).collect();
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let mut io = Io { input: &mut &b""[..], output: &mut output, errors: &mut errors };
    ipvsadm::run(Program::Ipvsadm, &words, &mut io, &mut NoNames, &mut || Ok(Box::new(Way(lab.clone()))));
}

fn frame(lab: &Rc<RefCell<Lab>>, kind: u8, contents: &[u8]) {
    let mut frame = contents.to_vec();
    if kind::REPAIRED.contains(&kind) {
        repair(&mut frame);
    }
    let link = if kind == kind::FRAME[0] || kind == kind::REPAIRED[0] { "eth0" } else { "eth1" };
    for (_, sent) in lab.borrow_mut().inject(link, &frame) {
        assert!(sent.len() <= ETHERNET_LENGTH + 40 + 65_535, "a frame of {} bytes", sent.len());
        let packet = &sent[ETHERNET_LENGTH..];
        let said = match packet[0] >> 4 {
            4 => dissect(Family::V4, packet).map(|parts| parts.length),
            _ => Ok(40 + usize::from(ip::number(packet, ip::v6::PAYLOAD_LENGTH))),
        };
        assert_eq!(said, Ok(packet.len()), "the length that its header says: {sent:02x?}");
    }
}

/// Gives an IPv4 packet a right header checksum, and an ICMP message its own.
fn repair(frame: &mut [u8]) {
    let Some(packet) = frame.get_mut(ETHERNET_LENGTH..) else { return };
    let header = usize::from(packet.first().copied().unwrap_or(0) & 15) * 4;
    if packet.len() < 20 || packet[0] >> 4 != 4 || !(20..=packet.len()).contains(&header) {
        return;
    }
    ip::set_header_checksum(packet);
    let total = usize::from(u16::from_be_bytes([packet[2], packet[3]])).min(packet.len());
    if packet[9] == 1 && total >= header + 8 {
        packet[header + 2..header + 4].fill(0);
        checksum::of(&packet[header..total]).write(packet, header + 2);
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    super::recordings().iter().map(seed).collect()
}

fn seed(transcript: &Transcript) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut add = |kind: u8, contents: &[u8]| {
        let contents = &contents[..contents.len().min(usize::from(u16::MAX))];
        bytes.push(kind);
        bytes.extend((contents.len() as u16).to_be_bytes());
        bytes.extend(contents);
    };
    let mut now = Tick::ZERO;
    for step in transcript.steps.iter().take(MOST_RECORDS / 2) {
        let passed = Tick(step.at).since(now).min(MOST_MILLISECONDS);
        if passed > 100 {
            add(kind::TIME, &(passed as u32).to_be_bytes()[1..]);
        }
        now = Tick(step.at);
        match &step.action {
            Action::Ipvsadm { arguments, .. } => add(kind::COMMAND, arguments.as_bytes()),
            Action::Setting { name, value, .. } => add(kind::SETTING, format!("{name}={value}").as_bytes()),
            Action::In { link, frame } => add(kind::REPAIRED[usize::from(link == "eth1")], frame),
            _ => {}
        }
    }
    bytes
}
