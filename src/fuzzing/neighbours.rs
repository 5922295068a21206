//! ARP and neighbour discovery from anybody: an answer is a frame of its kind, for an address that
//! is ours.

use std::net::IpAddr;

use crate::base::{LinkId, Mac};
use crate::engine::tests::fuzz::network;
use crate::host::arp::Arp;
use crate::host::discovery::Discovery;
use crate::host::responder::{ANSWER_LENGTH, Heard, Owned, Responder, Role};
use crate::wire::frame::{ETHERNET_LENGTH, HEADROOM};
use crate::wire::{Frame, Offload};

const OURS: [&str; 2] = ["10.0.0.77", "fd00::77"];
const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

pub fn run(data: &[u8]) {
    let owned: Vec<Owned> = OURS
        .iter()
        .filter_map(|text| text.parse().ok())
        .map(|address: IpAddr| Owned { address, role: Role::Virtual, link: None })
        .collect();
    let mut responder = Responder::default();
    responder.set(&owned, &network(), &[LinkId(0), LinkId(1)]);
    let mut buffer = vec![0; HEADROOM];
    buffer.extend(data);
    mend(&mut buffer[HEADROOM..]);
    let end = buffer.len();
    let Some(frame) = Frame::ethernet(&mut buffer, HEADROOM, end, LinkId(0), Offload::NONE) else { return };
    let mut answer = [0; ANSWER_LENGTH];
    let Heard::Understood(understood) = responder.hear(&frame, &mut answer) else { return };
    if let Some(length) = understood.answer {
        let packet = answer.get(ETHERNET_LENGTH..length).expect("an answer that fits");
        let target: IpAddr = match answer[12..14] {
            [8, 6] => Arp::parse(packet).expect("an answer is right").sender.into(),
            _ => Discovery::parse(packet).expect("an answer is right").expect("and of its kind").target.into(),
        };
        assert!(owned.iter().any(|own| own.address == target), "{target} is not ours");
    }
}

/// Gives a neighbour discovery message a right checksum, without which it is not looked at.
fn mend(frame: &mut [u8]) {
    let Some(packet) = frame.get_mut(ETHERNET_LENGTH..) else { return };
    if packet.len() < 44 || packet[0] >> 4 != 6 || packet[6] != 58 {
        return;
    }
    let length = usize::from(u16::from_be_bytes([packet[4], packet[5]]));
    let Some(end) = (40 + length <= packet.len() && length >= 4).then_some(40 + length) else { return };
    packet[42..44].fill(0);
    let sum = crate::wire::checksum::pseudo_header_of(&packet[8..40], 58, length);
    sum.add_bytes(&packet[40..end]).checksum().write(packet, 42);
}

pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let mut out = [0; ANSWER_LENGTH];
    let from = Mac([2, 9, 9, 9, 9, 9]);
    for text in OURS {
        match text.parse() {
            Ok(IpAddr::V4(ours)) => {
                let client = [10, 0, 0, 2].into();
                for arp in [Arp::request(from, client, ours), Arp::announcement(from, ours)] {
                    seeds.extend(arp.write(MAC, &mut out).map(|length| out[..length].to_vec()));
                }
            }
            Ok(IpAddr::V6(ours)) => {
                let client = [0xfd00, 0, 0, 0, 0, 0, 0, 2].into();
                let question = Discovery::question(from, client, ours, false);
                for message in [
                    question,
                    Discovery::question(from, client, ours, true),
                    Discovery::answer(&question, from, false),
                    Discovery::announcement(from, ours, true),
                ] {
                    seeds.extend(message.write(from, MAC, &mut out).map(|length| out[..length].to_vec()));
                }
            }
            Err(_) => {}
        }
    }
    seeds
}
