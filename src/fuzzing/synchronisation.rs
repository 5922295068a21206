//! Messages of other directors, in both versions: what a backup daemon makes of them, with a
//! master running beside it, and time passing in between.

use std::cell::RefCell;
use std::rc::Rc;

use crate::replay::lab::Lab;
use crate::wire::sync::{Message, Version, finish, push, start};

use super::commands::ipvsadm;
use super::recorded_frames;
use crate::ipvsadm::Program;

/// Services of every kind that an entry may be bound to.
const SERVICES: &str = "\
-A -t 10.9.9.9:80 -s rr
-a -t 10.9.9.9:80 -r 172.16.0.11:80 -m -x 3 -y 2
-a -t 10.9.9.9:80 -r 172.16.0.12:80 -g
-A -t 10.9.9.9:21 -s rr -p 60
-a -t 10.9.9.9:21 -r 172.16.0.11:21 -m
-A -u 10.9.9.9:5060 -s rr -p 60 --pe sip
-a -u 10.9.9.9:5060 -r 172.16.0.11:5060 -m
-A -u 10.9.9.9:0 -s wlc -p 60 -M 255.255.255.0
-a -u 10.9.9.9:0 -r 172.16.0.12:0 -g
-A -f 7 -s rr -p 60
-a -f 7 -r 172.16.0.11:0 -g
-A -t [fd99::9]:80 -s rr
-a -t [fd99::9]:80 -r [fd01::11]:80 -m
";

/// The port of the daemons that the lab starts.
const PORT: [u8; 2] = 8848u16.to_be_bytes();
/// Where an Ethernet frame's IPv4 datagram has its protocol, its destination port and its payload.
const PROTOCOL: usize = 14 + 9;
const DESTINATION_PORT: usize = 14 + 20 + 2;
const PAYLOAD: usize = 14 + 20 + 8;

pub fn run(data: &[u8]) {
    let lab = Rc::new(RefCell::new(Lab::sized([1500, 1500], 64)));
    ipvsadm(&lab, Program::Restore, &[], SERVICES.as_bytes());
    for role in ["backup", "master"] {
        let (_, status) = ipvsadm(&lab, Program::Ipvsadm, &["--start-daemon", role, "--mcast-interface", "eth1"], b"");
        assert_eq!(status, 0, "{role}");
    }
    let mut rest = data;
    while let Some((message, pause, after)) = next(rest) {
        rest = after;
        receive(&lab, message);
        let mut lab = lab.borrow_mut();
        let now = lab.now;
        lab.set_clock(now + pause);
        lab.director.fleet().engine.check_invariants();
    }
    for listing in [&["-Ln", "--stats"][..], &["-Ln", "--persistent-conn"], &["-Lnc"], &["-L", "--daemon"]] {
        assert_eq!(ipvsadm(&lab, Program::Ipvsadm, listing, b"").1, 0, "{listing:?}");
    }
    // Nothing that was told stays longer than it may, and what goes takes its counts along.
    ipvsadm(&lab, Program::Ipvsadm, &["-C"], b"");
    lab.borrow_mut().director.fleet().engine.check_invariants();
}

/// A length and a pause, each of two bytes, and a message; what is left.
fn next(bytes: &[u8]) -> Option<(&[u8], u64, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::from(u16::from_be_bytes([head[0], head[1]])).min(rest.len());
    let pause = u64::from(u16::from_be_bytes([head[2], head[3]])) * 16;
    let (message, rest) = rest.split_at(length);
    Some((message, pause, rest))
}

/// Hands a message to the backup daemon, as it is and with the length that it should have.
fn receive(lab: &Rc<RefCell<Lab>>, message: &[u8]) {
    let mut mended = message.to_vec();
    if let Some(place) = mended.get_mut(2..4) {
        place.copy_from_slice(&(message.len() as u16).to_be_bytes());
    }
    let mut lab = lab.borrow_mut();
    let now = lab.now;
    for bytes in [message, &mended] {
        lab.director.fleet().engine.receive_message(now, bytes);
        told_again(bytes);
    }
}

/// What was read of a message leads to the same entries when it is written and read once more.
fn told_again(bytes: &[u8]) {
    let Ok(message) = Message::read(bytes) else { return };
    for (entry, recognised) in message.entries().flatten() {
        let mut copy = Vec::new();
        start(&mut copy, Version::One, 0);
        if push(&mut copy, Version::One, &entry, &recognised).is_err() {
            continue;
        }
        finish(&mut copy);
        let again = Message::read(&copy).expect("what is written is a message");
        let entries: Vec<_> = again.entries().collect();
        assert_eq!(entries, [Ok((entry, recognised))]);
    }
}

/// The recorded messages, one an input, and all of them one after the other.
pub fn seeds() -> Vec<Vec<u8>> {
    let framed = |message: &[u8]| {
        let length = (message.len() as u16).to_be_bytes();
        [&length[..], &[0, 9], message].concat()
    };
    let messages: Vec<Vec<u8>> = recorded_frames()
        .iter()
        .filter(|frame| frame.get(PROTOCOL) == Some(&17) && frame.get(DESTINATION_PORT..PAYLOAD - 4) == Some(&PORT))
        .filter_map(|frame| frame.get(PAYLOAD..).map(framed))
        .collect();
    let whole = messages.concat();
    messages.into_iter().chain([whole]).collect()
}
