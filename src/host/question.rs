//! As whom the director asks for a next hop, and the frame it asks with.

use std::net::IpAddr;

use crate::base::Mac;
use crate::table::Link;

use super::arp::Arp;
use super::discovery::{DISCOVERY_FRAME_LENGTH, Discovery};
use super::neighbour::Question;

/// A buffer of this length holds any question.
pub const QUESTION_LENGTH: usize = DISCOVERY_FRAME_LENGTH;

/// The address and link-layer address a question comes from.
///
/// They go together: a question teaches its receivers where its sender is. One that names an
/// address of the host must carry the interface's own MAC, one that names an address of the
/// director the virtual MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    pub address: IpAddr,
    pub mac: Mac,
}

impl Sender {
    /// Chooses the sender of a question about `target` on `link`; `None` where no address of its
    /// family is there to ask with.
    ///
    /// Best is an address of the link in the target's network, then any other of the link, then
    /// one of `gateways` (addresses that real servers route through), and a VIP only where
    /// nothing else is left: a real server that holds the VIP itself (direct routing, tunnels)
    /// does not answer its own address.
    pub fn choose(link: &Link, target: IpAddr, gateways: &[IpAddr], vips: &[IpAddr]) -> Option<Sender> {
        let same_family = |address: &&IpAddr| address.is_ipv4() == target.is_ipv4();
        let own = || {
            link.addresses.iter().filter(|prefix| {
                same_family(&&prefix.address) && !vips.contains(&prefix.address) && !gateways.contains(&prefix.address)
            })
        };
        if let Some(prefix) = own().find(|prefix| prefix.contains(target)).or_else(|| own().next()) {
            return Some(Sender { address: prefix.address, mac: link.mac });
        }
        let &address = gateways.iter().chain(vips).find(same_family)?;
        let is_of_host = link.addresses.iter().any(|prefix| prefix.address == address);
        Some(Sender { address, mac: if is_of_host { link.mac } else { link.source_mac() } })
    }

    /// Writes the ARP request or neighbour solicitation and returns its length; `None` where
    /// `out` is too short ([`QUESTION_LENGTH`]), or sender and target are of different families.
    pub fn write(&self, question: &Question, out: &mut [u8]) -> Option<usize> {
        match (self.address, question.address) {
            (IpAddr::V4(sender), IpAddr::V4(target)) => {
                Arp::request(self.mac, sender, target).write(question.to.unwrap_or(Mac::BROADCAST), out)
            }
            (IpAddr::V6(sender), IpAddr::V6(target)) => {
                let question_to_itself = question.to.is_some();
                Discovery::question(self.mac, sender, target, question_to_itself).write(
                    self.mac,
                    question.to.unwrap_or_default(),
                    out,
                )
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::LinkId;
    use crate::host::discovery::group_mac;
    use crate::table::network::LinkLayer;

    const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const VIRTUAL: Mac = Mac([0, 0, 0x5e, 0, 1, 7]);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn link(addresses: &[&str]) -> Link {
        Link {
            id: LinkId(0),
            index: 1,
            name: "eth0".into(),
            layer: LinkLayer::Ethernet,
            mac: OWN,
            virtual_mac: Some(VIRTUAL),
            mtu: 1500,
            up: true,
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn the_sender_is_the_hosts_if_it_can_be() {
        /// Addresses of the link, gateway addresses, VIPs, target: the sender, and whose MAC.
        type Row<'a> = (&'a [&'a str], &'a [&'a str], &'a [&'a str], &'a str, Option<(&'a str, Mac)>);
        let rows: [Row; 8] = [
            (&["192.0.2.1/24", "10.0.0.1/24"], &[], &["10.0.0.100"], "10.0.0.9", Some(("10.0.0.1", OWN))),
            (&["192.0.2.1/24"], &["10.0.0.254"], &[], "10.0.0.9", Some(("192.0.2.1", OWN))),
            (&["10.0.0.100/24", "10.0.0.1/24"], &[], &["10.0.0.100"], "10.0.0.9", Some(("10.0.0.1", OWN))),
            (&["10.0.0.100/24"], &[], &["10.0.0.100"], "10.0.0.9", Some(("10.0.0.100", OWN))),
            (&[], &["10.0.0.254"], &["10.9.9.9"], "10.0.0.9", Some(("10.0.0.254", VIRTUAL))),
            (&[], &["fd01::fe"], &["10.9.9.9"], "10.0.0.9", Some(("10.9.9.9", VIRTUAL))),
            (&["fd01::1/64", "fe80::1/64"], &[], &[], "fe80::9", Some(("fe80::1", OWN))),
            (&["10.0.0.1/24"], &[], &[], "fd01::9", None),
        ];
        for (addresses, gateways, vips, target, expected) in rows {
            let list = |texts: &[&str]| texts.iter().map(|text| ip(text)).collect::<Vec<_>>();
            let sender = Sender::choose(&link(addresses), ip(target), &list(gateways), &list(vips));
            assert_eq!(sender, expected.map(|(address, mac)| Sender { address: ip(address), mac }), "{target}");
        }
    }

    #[test]
    fn questions_go_to_everyone_or_to_one() {
        let peer = Mac([2, 0, 0, 0, 0, 9]);
        let rows = [
            ("10.0.0.1", "10.0.0.9", None, Some((Mac::BROADCAST, 42))),
            ("10.0.0.1", "10.0.0.9", Some(peer), Some((peer, 42))),
            ("fd01::1", "fd01::9", None, Some((group_mac("ff02::1:ff00:9".parse().unwrap()), 86))),
            ("fd01::1", "fd01::9", Some(peer), Some((peer, 86))),
            ("fd01::1", "10.0.0.9", None, None),
        ];
        for (sender, target, to, expected) in rows {
            let mut out = [0; QUESTION_LENGTH];
            let sender = Sender { address: ip(sender), mac: OWN };
            let length = sender.write(&Question { link: LinkId(0), address: ip(target), to }, &mut out);
            let destination = Mac(*out.first_chunk().unwrap());
            assert_eq!(length.map(|length| (destination, length)), expected);
        }
    }
}
