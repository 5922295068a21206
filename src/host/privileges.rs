//! What this process may do here, and which way keeps the kernel from answering besides us.
//!
//! Privileges are found out by trying something harmless, not by reading capability sets: a
//! capability counts in the user namespace that owns this network namespace, which the sets do
//! not tell.
//!
//! [`posture`] is the decision, and pure. For each address of the director it takes the best of
//! three ways, or refuses: there is no way that lets both the kernel and the director answer.
//!
//! | address                | kernel forwards | way                                                |
//! |------------------------|-----------------|----------------------------------------------------|
//! | the director's alone   | either          | virtual MAC, if it is not switched off             |
//! | the director's alone   | no              | plain: the kernel takes no interest                |
//! | the director's alone   | yes             | guard                                              |
//! | the host's as well     | either          | guard                                              |

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use socket2::{Domain, Socket, Type};

use crate::base::Family;

use super::netlink::Connection;
use super::virtual_mac::VirtualMac;

/// What this process may do in this network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privileges {
    /// CAP_NET_RAW: packet sockets.
    pub packet_sockets: bool,
    /// CAP_NET_ADMIN: the guard, routes, rules.
    pub network_administration: bool,
    /// /dev/net/tun can be opened (a device of its own needs CAP_NET_ADMIN besides).
    pub tun: bool,
}

impl Privileges {
    /// Tries what is permitted; changes nothing.
    pub fn probe() -> Privileges {
        Privileges {
            // Protocol 0 receives nothing.
            packet_sockets: Socket::new(Domain::PACKET, Type::RAW, None).is_ok(),
            network_administration: may_administrate(),
            tun: File::options().read(true).write(true).open("/dev/net/tun").is_ok(),
        }
    }
}

/// Asks the kernel for a neighbour entry without an address: whoever may make one is told that it
/// is missing, anyone else that they may not.
fn may_administrate() -> bool {
    let Ok(mut connection) = Connection::open(NETLINK_ROUTE) else {
        return false;
    };
    match connection.change(RouteNetlinkMessage::NewNeighbour(Default::default()), 0) {
        Ok(()) => true,
        Err(error) => error.errno() == Some(libc::EINVAL),
    }
}

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
#[derive(Clone, Debug)]
pub struct Situation {
    pub privileges: Privileges,
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
    /// Frames to the interface's own MAC are the director's as well. Where they are not, the
    /// kernel forwards them, and the director must leave them alone.
    pub interface_mac: bool,
}

/// The decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Posture {
    /// By address, VIPs and gateways.
    pub stances: BTreeMap<IpAddr, Stance>,
    /// A guard has to stand before the first frame is taken.
    pub guard: bool,
    /// Addresses for the guard to cover whole: the director's alone, while the kernel forwards.
    pub guarded_addresses: Vec<IpAddr>,
    /// Families whose replies of NATed real servers the guard has to cover.
    pub guarded_replies: Vec<Family>,
    /// Families whose replies are taken only when they come to the virtual MAC.
    pub replies_by_virtual_mac: Vec<Family>,
}

/// Why the director does not run like this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// no packet sockets
    #[error(
        "packets cannot be captured: this process lacks CAP_NET_RAW in this network namespace; \
         run it as root, or `setcap cap_net_raw+ep' the binary, or add the capability to the container"
    )]
    NoPacketSockets,
    /// the VIP is the host's, and there can be no guard
    #[error(
        "{vip} is an address of this host, so the kernel would answer its clients as well, and without \
         CAP_NET_ADMIN ulvs cannot keep it from that; give it the capability, or take the address off \
         the host (`ip address del {vip} dev …'): ulvs answers for it by itself"
    )]
    HostAddress { vip: IpAddr },
    /// the kernel forwards to the VIP, and there can be no guard
    #[error(
        "this host forwards {}, so the kernel would send packets to {vip} on as well, and without \
         CAP_NET_ADMIN ulvs cannot keep it from that; give it the capability, or let it use its virtual \
         MAC, or switch forwarding off (`sysctl -w {}=0')",
        family_name(Family::of(.vip)), forwarding_setting(Family::of(.vip))
    )]
    Forwards { vip: IpAddr },
    /// the kernel forwards real servers' replies, and there can be no guard
    #[error(
        "this host forwards {}, so the kernel would send the replies of masqueraded real servers on as \
         well, untranslated, and without CAP_NET_ADMIN ulvs cannot keep it from that; give it the \
         capability, or an address of its own for real servers to route through (`--gateway-ip'), or \
         switch forwarding off (`sysctl -w {}=0')",
        family_name(*.family), forwarding_setting(*.family)
    )]
    ForwardsReplies { family: Family },
}

/// Decides how the kernel is kept out.
///
/// # Errors
/// Where it cannot be: the sentence says why and what to do.
pub fn posture(situation: &Situation) -> Result<Posture, Refusal> {
    let Situation { privileges, forwarding, virtual_mac, vips, gateways, masquerading } = situation;
    if !privileges.packet_sockets {
        return Err(Refusal::NoPacketSockets);
    }
    let can_guard = privileges.network_administration;
    let mut posture = Posture::default();
    for served in vips {
        let address = served.address;
        let forwarded = forwarding.of(Family::of(&address));
        let stance = if served.of_host {
            if !can_guard {
                return Err(Refusal::HostAddress { vip: address });
            }
            Stance { way: Way::Guard, interface_mac: true }
        } else {
            if forwarded && can_guard {
                posture.guarded_addresses.push(address);
            }
            match virtual_mac {
                Some(mac) => Stance { way: Way::VirtualMac(*mac), interface_mac: !forwarded || can_guard },
                None if !forwarded => Stance { way: Way::Plain, interface_mac: true },
                None if can_guard => Stance { way: Way::Guard, interface_mac: true },
                None => return Err(Refusal::Forwards { vip: address }),
            }
        };
        posture.guard |= stance.way == Way::Guard;
        posture.stances.insert(address, stance);
    }
    for served in gateways {
        // What goes through a gateway address is not for it: the question is only who has it.
        let forwarded = forwarding.of(Family::of(&served.address));
        let way = match virtual_mac {
            Some(mac) if !served.of_host => Way::VirtualMac(*mac),
            _ if forwarded && can_guard => Way::Guard,
            _ => Way::Plain,
        };
        posture.stances.entry(served.address).or_insert(Stance { way, interface_mac: !forwarded || can_guard });
    }
    for &family in masquerading {
        if !forwarding.of(family) {
            continue;
        }
        let own_gateway = virtual_mac.is_some()
            && gateways.iter().any(|gateway| !gateway.of_host && Family::of(&gateway.address) == family);
        if can_guard {
            posture.guarded_replies.push(family);
        } else if own_gateway {
            posture.replies_by_virtual_mac.push(family);
        } else {
            return Err(Refusal::ForwardsReplies { family });
        }
    }
    posture.guard |= !posture.guarded_addresses.is_empty() || !posture.guarded_replies.is_empty();
    Ok(posture)
}

impl Posture {
    /// The posture in sentences, one a line: what `ulvs run` says at its start.
    pub fn describe(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .stances
            .iter()
            .map(|(address, stance)| match stance.way {
                Way::VirtualMac(mac) => {
                    let rest =
                        if stance.interface_mac { "" } else { "; frames to the interface's own MAC are the kernel's" };
                    format!("{address}: answered with the virtual MAC {mac}{rest}")
                }
                Way::Guard => format!("{address}: guarded, the kernel does not see what ulvs handles"),
                Way::Plain => format!("{address}: plain, the kernel takes no interest in it"),
            })
            .collect();
        for &family in &self.guarded_replies {
            let family = family_name(family);
            lines
                .push(format!("{family} replies of masqueraded real servers: guarded, as this host forwards {family}"));
        }
        for &family in &self.replies_by_virtual_mac {
            let family = family_name(family);
            lines.push(format!(
                "{family} replies of masqueraded real servers: taken at the virtual MAC only, as this host forwards {family}"
            ));
        }
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
    use crate::host::sys::keep_capabilities;
    use crate::host::testing::namespaces;
    use crate::host::virtual_mac::VirtualRouter;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn served(text: &str, of_host: bool) -> ServedAddress {
        ServedAddress { address: ip(text), of_host }
    }

    /// Virtual MAC on, CAP_NET_RAW alone, forwarding off, nothing served.
    fn situation() -> Situation {
        Situation {
            privileges: Privileges { packet_sockets: true, network_administration: false, tun: false },
            forwarding: Forwarding::default(),
            virtual_mac: Some(VirtualRouter::default().into()),
            vips: Vec::new(),
            gateways: Vec::new(),
            masquerading: Vec::new(),
        }
    }

    const VIP: &str = "10.9.9.9";

    #[test]
    fn every_vip_gets_the_best_way_or_a_refusal() {
        let mac = Way::VirtualMac(VirtualRouter::default().into());
        let stance = |way, interface_mac| Ok(Stance { way, interface_mac });
        let refused = |refusal: Refusal| Err(refusal);
        // The address is the host's, forwarding, CAP_NET_ADMIN, virtual MAC; what comes of it; a guard.
        let rows = [
            (false, false, false, true, stance(mac, true), false),
            (false, true, false, true, stance(mac, false), false),
            (false, false, true, true, stance(mac, true), false),
            (false, true, true, true, stance(mac, true), true),
            (false, false, false, false, stance(Way::Plain, true), false),
            (false, true, false, false, refused(Refusal::Forwards { vip: ip(VIP) }), false),
            (false, false, true, false, stance(Way::Plain, true), false),
            (false, true, true, false, stance(Way::Guard, true), true),
            (true, false, false, true, refused(Refusal::HostAddress { vip: ip(VIP) }), false),
            (true, true, false, false, refused(Refusal::HostAddress { vip: ip(VIP) }), false),
            (true, false, true, true, stance(Way::Guard, true), true),
            (true, true, true, false, stance(Way::Guard, true), true),
        ];
        for (of_host, forwards, administration, virtual_mac, expected, guard) in rows {
            let mut situation = Situation { vips: vec![served(VIP, of_host)], ..situation() };
            situation.forwarding.v4 = forwards;
            situation.privileges.network_administration = administration;
            situation.virtual_mac = situation.virtual_mac.filter(|_| virtual_mac);
            let row = (of_host, forwards, administration, virtual_mac);
            match (posture(&situation), expected) {
                (Ok(posture), Ok(stance)) => {
                    assert_eq!(posture.stances, [(ip(VIP), stance)].into(), "{row:?}");
                    assert_eq!(posture.guard, guard, "{row:?}");
                    let covered = forwards && administration && !of_host;
                    assert_eq!(posture.guarded_addresses, if covered { vec![ip(VIP)] } else { vec![] }, "{row:?}");
                }
                (found, expected) => assert_eq!(found.map(|_| ()), expected.map(|_| ()), "{row:?}"),
            }
        }
    }

    #[test]
    fn one_way_for_one_vip_and_another_for_another() {
        let mut situation = Situation { vips: vec![served(VIP, true), served("fd09::9", false)], ..situation() };
        situation.privileges.network_administration = true;
        situation.forwarding.v4 = true;
        let posture = posture(&situation).unwrap();
        assert_eq!(posture.stances[&ip(VIP)].way, Way::Guard);
        assert_eq!(posture.stances[&ip("fd09::9")].way, Way::VirtualMac(VirtualRouter::default().into()));
        assert_eq!(
            posture.describe(),
            [
                "10.9.9.9: guarded, the kernel does not see what ulvs handles",
                "fd09::9: answered with the virtual MAC 00:00:5e:00:01:01",
            ]
        );
    }

    #[test]
    fn replies_of_masqueraded_real_servers_pass_once() {
        let own = served("172.16.0.254", false);
        let hosts = served("172.16.0.1", true);
        let v4 = vec![Family::V4];
        // Forwarding, CAP_NET_ADMIN, gateway; guarded, by virtual MAC.
        let rows = [
            (false, false, None, Ok((false, false))),
            (true, true, None, Ok((true, false))),
            (true, true, Some(own), Ok((true, false))),
            (true, false, Some(own), Ok((false, true))),
            (true, false, Some(hosts), Err(Refusal::ForwardsReplies { family: Family::V4 })),
            (true, false, None, Err(Refusal::ForwardsReplies { family: Family::V4 })),
        ];
        for (forwards, administration, gateway, expected) in rows {
            let mut situation =
                Situation { gateways: gateway.into_iter().collect(), masquerading: v4.clone(), ..situation() };
            situation.forwarding.v4 = forwards;
            situation.privileges.network_administration = administration;
            let found = posture(&situation);
            if let Ok(posture) = &found {
                assert_eq!(posture.guard, !posture.guarded_replies.is_empty());
            }
            let found = found.map(|posture| (posture.guarded_replies == v4, posture.replies_by_virtual_mac == v4));
            assert_eq!(found, expected, "{forwards} {administration} {gateway:?}");
        }
    }

    #[test]
    fn a_refusal_says_what_why_and_what_to_do() {
        let mut nothing = situation();
        nothing.privileges.packet_sockets = false;
        let refusal = posture(&nothing).unwrap_err();
        assert!(refusal.to_string().contains("CAP_NET_RAW"), "{refusal}");
        let sentence = Refusal::Forwards { vip: ip("fd09::9") }.to_string();
        assert!(sentence.starts_with("this host forwards IPv6, so the kernel would send packets to fd09::9 on"));
        assert!(sentence.ends_with("(`sysctl -w net.ipv6.conf.all.forwarding=0')"));
        let sentence = Refusal::HostAddress { vip: ip(VIP) }.to_string();
        assert!(sentence.contains("`ip address del 10.9.9.9 dev …'"));
    }

    #[test]
    fn privileges_are_what_the_kernel_lets_pass() {
        const NET_ADMIN: u64 = 1 << 12;
        const NET_RAW: u64 = 1 << 13;
        for (mask, packet_sockets, network_administration) in
            [(NET_RAW | NET_ADMIN, true, true), (NET_RAW, true, false), (NET_ADMIN, false, true), (0, false, false)]
        {
            let Some([inside]) = namespaces() else { return };
            let found = inside.run(move || {
                keep_capabilities(mask).unwrap();
                Privileges::probe()
            });
            assert_eq!(
                (found.packet_sockets, found.network_administration),
                (packet_sockets, network_administration),
                "{mask:#x}"
            );
        }
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
