//! A selection as the program looks it up: entries of three maps.
//!
//! | map | key | what it stands for |
//! |---|---|---|
//! | stations | an Ethernet address, two zeros | whose address it is: [`OWN`], [`VIRTUAL`] |
//! | addresses | an IPv6 address, or an IPv4 one mapped into it | at [`OWN`], packets [`FROM`] it are taken, or [`TO`] it, or both |
//! | host | how many bits count, and an address of that many | nothing: what goes there is the host's |
//!
//! An address is written into a key as it stands in a frame.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::base::{Mac, Prefix};

use super::selection::Selection;

/// The lengths of the keys.
pub const STATION: usize = 8;
pub const ADDRESS: usize = 16;
pub const PREFIX: usize = COUNT + ADDRESS;
/// The bits of a prefix are counted by a number of so many bytes before it.
pub const COUNT: usize = 4;
/// What stands before an IPv4 address, as numbers in network order.
pub const MAPPED: [u32; 3] = [0, 0, 0xffff];
/// Bits of an address that are no IPv4 address's.
const MAPPED_BITS: u32 = 96;

/// The link's own station, and nobody's but the director's.
pub const OWN: u32 = 1;
pub const VIRTUAL: u32 = 2;

/// Packets from an address, and to it.
pub const FROM: u32 = 1;
pub const TO: u32 = 2;

/// What the three maps hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    pub stations: BTreeMap<[u8; STATION], u32>,
    pub addresses: BTreeMap<[u8; ADDRESS], u32>,
    pub host: BTreeMap<[u8; PREFIX], u32>,
}

impl Contents {
    /// The entries for `selection`; where there are more than `most` of a kind, what comes to the link's own
    /// station stays with the packet ring.
    pub fn of(selection: &Selection, most: usize) -> Contents {
        let mut contents = Contents::default();
        for (addresses, way) in [(&selection.from, FROM), (&selection.to, TO)] {
            for &address in addresses {
                *contents.addresses.entry(address_key(address)).or_default() |= way;
            }
        }
        if !contents.addresses.is_empty() {
            contents.host = selection.host.iter().map(|&prefix| (prefix_key(prefix), 0)).collect();
            contents.stations.insert(station_key(selection.own), OWN);
        }
        if contents.addresses.len() > most || contents.host.len() > most {
            contents = Contents::default();
        }
        contents.stations.extend(selection.virtual_macs.iter().map(|&mac| (station_key(mac), VIRTUAL)));
        contents
    }
}

fn station_key(Mac([a, b, c, d, e, f]): Mac) -> [u8; STATION] {
    [a, b, c, d, e, f, 0, 0]
}

fn address_key(address: IpAddr) -> [u8; ADDRESS] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn prefix_key(prefix: Prefix) -> [u8; PREFIX] {
    let before = if prefix.address.is_ipv4() { MAPPED_BITS } else { 0 };
    let mut key = [0; PREFIX];
    key[..COUNT].copy_from_slice(&(before + u32::from(prefix.length)).to_ne_bytes());
    key[COUNT..].copy_from_slice(&address_key(prefix.address));
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const VIRTUAL_MAC: Mac = Mac([0, 0, 0x5e, 0, 1, 1]);

    fn selection() -> Selection {
        Selection {
            virtual_macs: vec![VIRTUAL_MAC],
            own: OWN_MAC,
            to: vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()],
            from: vec!["10.0.0.2".parse().unwrap(), "fd00::1".parse().unwrap()],
            host: vec!["127.0.0.0/8".parse().unwrap()],
        }
    }

    #[test]
    fn keys_are_what_stands_in_a_frame() {
        let contents = Contents::of(&selection(), 3);
        let mapped = |last| [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, last];
        let six = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(contents.addresses, BTreeMap::from([(mapped(1), TO), (mapped(2), FROM | TO), (six, FROM)]));
        let stations = [([2, 0, 0, 0, 0, 1, 0, 0], OWN), ([0, 0, 0x5e, 0, 1, 1, 0, 0], VIRTUAL)];
        assert_eq!(contents.stations, BTreeMap::from(stations));
        let mut loopback = [0; PREFIX];
        loopback[..COUNT].copy_from_slice(&104u32.to_ne_bytes());
        loopback[COUNT + 10..COUNT + 13].copy_from_slice(&[0xff, 0xff, 127]);
        assert_eq!(contents.host, BTreeMap::from([(loopback, 0)]));
    }

    #[test]
    fn with_too_many_addresses_the_own_station_is_none_of_ours() {
        let bare = Contents { stations: BTreeMap::from([(station_key(VIRTUAL_MAC), VIRTUAL)]), ..Contents::default() };
        assert_eq!(Contents::of(&selection(), 2), bare);
        assert_eq!(Contents::of(&Selection { to: vec![], from: vec![], ..selection() }, 3), bare);
        assert_eq!(Contents::of(&Selection::default(), 3), Contents::default());
    }
}
