//! What a real server takes out of tunnels: never more than came, and for virtual addresses alone.

use std::net::IpAddr;

use crate::base::{Family, Port, Protocol};
use crate::realserver::decapsulate::{Policy, decapsulate};
use crate::wire::frame::ETHERNET_LENGTH;
use crate::wire::offload::HEADER_LENGTH;
use crate::wire::{Offload, ip};

pub fn run(data: &[u8]) {
    let Some((head, packet)) = data.split_first_chunk::<{ HEADER_LENGTH + 1 }>() else { return };
    let (header, choice) = head.split_first_chunk().expect("the header is in front of the choice");
    let Some(offload) = Offload::read(header) else { return };
    let mut packet = packet.to_vec();
    // Most of what is wrong is behind an outer header that is right.
    if choice[0] & 1 == 0 && packet.len() >= 20 && packet[0] >> 4 == 4 && ip::header_length4(&packet) <= packet.len() {
        ip::set_header_checksum(&mut packet);
    }
    let policy = Policy {
        virtual_addresses: ["10.9.9.9", "fd99::9"].iter().filter_map(|text| text.parse().ok()).collect(),
        protocols: [Family::V4, Family::V6]
            .into_iter()
            .flat_map(|family| [Protocol::IPIP, Protocol::IPV6, Protocol::GRE].map(|protocol| (family, protocol)))
            .collect(),
        gue_port: Some(Port(6080)),
    };
    let before = packet.clone();
    let Ok(inner) = decapsulate(&mut packet, offload, &policy, |_| true) else { return };
    let taken = &packet[inner.range.clone()];
    assert!(inner.range.start >= 20 && taken.len() >= 20, "{:?} of {}", inner.range, before.len());
    assert_eq!(packet.len(), before.len());
    let destination: IpAddr = match taken[0] >> 4 {
        4 => ip::destination(Family::V4, taken).to_ip(Family::V4),
        6 => ip::destination(Family::V6, taken).to_ip(Family::V6),
        version => panic!("a packet of version {version}"),
    };
    assert!(policy.virtual_addresses.contains(&destination), "{destination} is not virtual");
    let changed = (0..packet.len()).filter(|&at| packet[at] != before[at]).count();
    // The congestion mark, and the checksum over it.
    assert!(changed <= 3, "{changed} bytes were changed");
}

pub fn seeds() -> Vec<Vec<u8>> {
    let frames = super::recorded_frames();
    let packets = frames.iter().filter_map(|frame| frame.get(ETHERNET_LENGTH..));
    packets
        .filter(|packet| match packet.first().map(|byte| byte >> 4) {
            Some(4) => matches!(packet.get(9), Some(4 | 41 | 47 | 17)),
            _ => matches!(packet.get(6), Some(4 | 41 | 47 | 17)),
        })
        .map(|packet| [&Offload::NONE.write()[..], &[0], packet].concat())
        .collect()
}
