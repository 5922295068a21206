//! Which way keeps the kernel from answering besides us, address by address.
//!
//! [`posture`] is the decision, and pure. For each address of the director it takes the best of
//! three ways, or refuses: there is no way that lets both the kernel and the director answer.
//!
//! | address              | kernel forwards | guard | way                                              |
//! |----------------------|-----------------|-------|--------------------------------------------------|
//! | the director's alone | no              | any   | virtual MAC, or plain where that is switched off |
//! | the director's alone | yes             | yes   | virtual MAC, or the guard                        |
//! | the director's alone | yes             | no    | virtual MAC, for frames to it alone; or refused  |
//! | the host's as well   | either          | yes   | the guard                                        |
//! | the host's as well   | either          | no    | refused: it is left to the kernel                |
//!
//! It is asked before every change of the configuration, which is refused then, and after every
//! change of the machine: what was possible may have become impossible.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;

use crate::base::Family;

use super::virtual_mac::VirtualMac;

/// Whether the kernel forwards what comes in by the served links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarding {
    pub v4: bool,
    pub v6: bool,
}

impl Forwarding {
    /// Reads the settings of this network namespace that decide about `links`. What cannot be read
    /// (IPv6 is not there) is off.
    pub fn read<'a>(links: impl IntoIterator<Item = &'a str>) -> Forwarding {
        let set = |path: String| fs::read_to_string(path).is_ok_and(|value| value.trim() != "0");
        let mut forwarding = Forwarding {
            v4: set("/proc/sys/net/ipv4/ip_forward".to_owned()),
            v6: set("/proc/sys/net/ipv6/conf/all/forwarding".to_owned()),
        };
        for name in links {
            // IPv4 goes by the interface alone; IPv6 lets one be an exception from Linux 6.17 on.
            forwarding.v4 |= set(format!("/proc/sys/net/ipv4/conf/{name}/forwarding"));
            forwarding.v6 |= set(format!("/proc/sys/net/ipv6/conf/{name}/force_forwarding"));
        }
        forwarding
    }

    pub fn of(self, family: Family) -> bool {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}

/// An address the director serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServedAddress {
    pub address: IpAddr,
    /// It is an address of this host, too: on `lo`, or as `eth0:0`.
    pub of_host: bool,
}

/// What the decision is made from.
#[derive(Clone, Debug, Default)]
pub struct Situation {
    /// The guard stands, and follows the configuration.
    pub guarded: bool,
    pub forwarding: Forwarding,
    /// `None` where it is switched off.
    pub virtual_mac: Option<VirtualMac>,
    /// Virtual addresses of services.
    pub vips: Vec<ServedAddress>,
    /// Addresses that NATed real servers route their replies through (`--gateway-ip`).
    pub gateways: Vec<ServedAddress>,
    /// Families in which there are NATed real servers.
    pub masquerading: Vec<Family>,
}

impl Situation {
    /// Whether frames to the interface's own MAC are the director's as well. Where they are not,
    /// the kernel forwards them, and the director must leave them alone.
    pub fn takes_interface_mac(&self, family: Family) -> bool {
        self.guarded || !self.forwarding.of(family)
    }
}

/// How the kernel is kept from answering for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The director answers ARP and neighbour discovery with a MAC the kernel does not know.
    VirtualMac(VirtualMac),
    /// The guard drops what the director handles.
    Guard,
    /// The kernel takes no interest by itself.
    Plain,
}

/// What the director does about one of its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stance {
    pub way: Way,
    /// Frames to the interface's own MAC are taken as well.
    pub interface_mac: bool,
}

/// The decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Posture {
    /// By address, VIPs and gateways.
    pub stances: BTreeMap<IpAddr, Stance>,
    /// What cannot be done, and why.
    pub refusals: Vec<Refusal>,
}

/// Why something is not done like this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// the VIP is the host's, and there is no guard
    #[error(
        "{vip} is an address of this host, so the kernel answers its clients as well, and without the guard \
         ulvs cannot keep it from that: it is left to the kernel. Give the director CAP_NET_ADMIN, or take \
         the address off the host (`ip address del {vip} dev …'): ulvs answers for it by itself"
    )]
    HostAddress { vip: IpAddr },
    /// the kernel forwards to the VIP, and there is no guard
    #[error(
        "this host forwards {}, so the kernel would send packets to {vip} on as well, and without the guard \
         ulvs cannot keep it from that; give the director CAP_NET_ADMIN, or let it use its virtual MAC, or \
         switch forwarding off (`sysctl -w {}=0')",
        family_name(Family::of(.vip)), forwarding_setting(Family::of(.vip))
    )]
    Forwards { vip: IpAddr },
    /// the kernel forwards real servers' replies, and there is no guard
    #[error(
        "this host forwards {}, so the kernel would send the replies of masqueraded real servers on as well, \
         untranslated, and without the guard ulvs cannot keep it from that; give the director CAP_NET_ADMIN, \
         or an address of its own for real servers to route through (`--gateway-ip'), or switch forwarding \
         off (`sysctl -w {}=0')",
        family_name(*.family), forwarding_setting(*.family)
    )]
    ForwardsReplies { family: Family },
}

/// Decides how the kernel is kept out.
pub fn posture(situation: &Situation) -> Posture {
    let Situation { guarded, forwarding, virtual_mac, vips, gateways, masquerading } = situation;
    let mut posture = Posture::default();
    for &ServedAddress { address, of_host } in vips {
        let family = Family::of(&address);
        let way = match virtual_mac {
            _ if of_host && *guarded => Way::Guard,
            _ if of_host => {
                posture.refusals.push(Refusal::HostAddress { vip: address });
                continue;
            }
            Some(mac) => Way::VirtualMac(*mac),
            None if !forwarding.of(family) => Way::Plain,
            None if *guarded => Way::Guard,
            None => {
                posture.refusals.push(Refusal::Forwards { vip: address });
                continue;
            }
        };
        posture.stances.insert(address, Stance { way, interface_mac: situation.takes_interface_mac(family) });
    }
    for &ServedAddress { address, of_host } in gateways {
        // What goes through a gateway address is not for it: the question is only who has it.
        let family = Family::of(&address);
        let way = match virtual_mac {
            Some(mac) if !of_host => Way::VirtualMac(*mac),
            _ if forwarding.of(family) && *guarded => Way::Guard,
            _ => Way::Plain,
        };
        let interface_mac = situation.takes_interface_mac(family);
        posture.stances.entry(address).or_insert(Stance { way, interface_mac });
    }
    for &family in masquerading {
        let own_gateway = virtual_mac.is_some()
            && gateways.iter().any(|gateway| !gateway.of_host && Family::of(&gateway.address) == family);
        if !situation.takes_interface_mac(family) && !own_gateway {
            posture.refusals.push(Refusal::ForwardsReplies { family });
        }
    }
    posture
}

/// More addresses than that are not described one by one.
const MOST_DESCRIBED: usize = 16;

impl Posture {
    /// The posture in sentences, one a line, for `ulvs status`.
    pub fn describe(&self) -> Vec<String> {
        let stance = |(address, stance): (&IpAddr, &Stance)| match stance.way {
            Way::VirtualMac(mac) => {
                let rest =
                    if stance.interface_mac { "" } else { "; frames to the interface's own MAC are the kernel's" };
                format!("{address}: answered with the virtual MAC {mac}{rest}")
            }
            Way::Guard => format!("{address}: guarded, the kernel does not see what ulvs handles"),
            Way::Plain => format!("{address}: plain, the kernel takes no interest in it"),
        };
        let mut lines: Vec<String> = self.stances.iter().take(MOST_DESCRIBED).map(stance).collect();
        if self.stances.len() > MOST_DESCRIBED {
            lines.push(format!("and {} addresses more", self.stances.len() - MOST_DESCRIBED));
        }
        lines.extend(self.refusals.iter().take(MOST_DESCRIBED).map(Refusal::to_string));
        lines
    }
}

fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

fn forwarding_setting(family: Family) -> &'static str {
    match family {
        Family::V4 => "net.ipv4.ip_forward",
        Family::V6 => "net.ipv6.conf.all.forwarding",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::namespaces;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn served(text: &str, of_host: bool) -> ServedAddress {
        ServedAddress { address: ip(text), of_host }
    }

    fn mac() -> VirtualMac {
        "00:00:5e:00:01:01".parse().unwrap()
    }

    /// Virtual MAC on, no guard, forwarding off, nothing served.
    fn situation() -> Situation {
        Situation { virtual_mac: Some(mac()), ..Situation::default() }
    }

    const VIP: &str = "10.9.9.9";

    #[test]
    fn every_vip_gets_the_best_way_or_a_refusal() {
        let by_mac = Way::VirtualMac(mac());
        let stance = |way, interface_mac| Ok(Stance { way, interface_mac });
        // The address is the host's, forwarding, guard, virtual MAC; what comes of it.
        let rows = [
            (false, false, false, true, stance(by_mac, true)),
            (false, true, false, true, stance(by_mac, false)),
            (false, false, true, true, stance(by_mac, true)),
            (false, true, true, true, stance(by_mac, true)),
            (false, false, false, false, stance(Way::Plain, true)),
            (false, true, false, false, Err(Refusal::Forwards { vip: ip(VIP) })),
            (false, false, true, false, stance(Way::Plain, true)),
            (false, true, true, false, stance(Way::Guard, true)),
            (true, false, false, true, Err(Refusal::HostAddress { vip: ip(VIP) })),
            (true, true, false, false, Err(Refusal::HostAddress { vip: ip(VIP) })),
            (true, false, true, true, stance(Way::Guard, true)),
            (true, true, true, false, stance(Way::Guard, true)),
        ];
        for (of_host, forwards, guarded, virtual_mac, expected) in rows {
            let mut situation = Situation { vips: vec![served(VIP, of_host)], guarded, ..situation() };
            situation.forwarding.v4 = forwards;
            situation.virtual_mac = situation.virtual_mac.filter(|_| virtual_mac);
            let found = posture(&situation);
            let (stances, refusals) = match expected {
                Ok(stance) => ([(ip(VIP), stance)].into(), vec![]),
                Err(refusal) => (BTreeMap::new(), vec![refusal]),
            };
            let row = (of_host, forwards, guarded, virtual_mac);
            assert_eq!(found, Posture { stances, refusals }, "{row:?}");
        }
    }

    #[test]
    fn one_way_for_one_vip_another_for_another_and_none_for_a_third() {
        let vips = vec![served(VIP, true), served("fd09::9", false)];
        let mut situation = Situation { vips, guarded: true, ..situation() };
        situation.forwarding.v4 = true;
        assert_eq!(
            posture(&situation).describe(),
            [
                "10.9.9.9: guarded, the kernel does not see what ulvs handles",
                "fd09::9: answered with the virtual MAC 00:00:5e:00:01:01",
            ]
        );
        situation.guarded = false;
        let lines = posture(&situation).describe();
        assert_eq!(lines[0], "fd09::9: answered with the virtual MAC 00:00:5e:00:01:01");
        assert!(lines[1].starts_with("10.9.9.9 is an address of this host"), "{lines:?}");
    }

    #[test]
    fn replies_of_masqueraded_real_servers_pass_once() {
        let own = served("172.16.0.254", false);
        let hosts = served("172.16.0.1", true);
        // Forwarding, guard, gateway; whether it is refused.
        let rows = [
            (false, false, None, false),
            (true, true, None, false),
            (true, true, Some(own), false),
            (true, false, Some(own), false),
            (true, false, Some(hosts), true),
            (true, false, None, true),
        ];
        for (forwards, guarded, gateway, refused) in rows {
            let masquerading = vec![Family::V4];
            let gateways = gateway.into_iter().collect();
            let mut situation = Situation { gateways, masquerading, guarded, ..situation() };
            situation.forwarding.v4 = forwards;
            let expected = if refused { vec![Refusal::ForwardsReplies { family: Family::V4 }] } else { vec![] };
            assert_eq!(posture(&situation).refusals, expected, "{forwards} {guarded} {gateway:?}");
        }
    }

    #[test]
    fn a_refusal_says_what_why_and_what_to_do() {
        let sentence = Refusal::Forwards { vip: ip("fd09::9") }.to_string();
        assert!(sentence.starts_with("this host forwards IPv6, so the kernel would send packets to fd09::9 on"));
        assert!(sentence.ends_with("(`sysctl -w net.ipv6.conf.all.forwarding=0')"));
        let sentence = Refusal::HostAddress { vip: ip(VIP) }.to_string();
        assert!(sentence.contains("`ip address del 10.9.9.9 dev …'"));
    }

    #[test]
    fn forwarding_is_read_link_by_link() {
        let Some([here, there]) = namespaces() else { return };
        here.wire("left", &there, "peer");
        let read = || here.run(|| Forwarding::read(["left", "nosuch"]));
        assert_eq!(read(), Forwarding { v4: false, v6: false });
        here.sysctl("net.ipv4.conf.left.forwarding", "1");
        assert_eq!(read(), Forwarding { v4: true, v6: false });
        here.sysctl("net.ipv4.conf.left.forwarding", "0");
        here.sysctl("net.ipv6.conf.all.forwarding", "1");
        assert_eq!(read(), Forwarding { v4: false, v6: true });
        here.sysctl("net.ipv4.ip_forward", "1");
        assert_eq!(read(), Forwarding { v4: true, v6: true });
    }
}
