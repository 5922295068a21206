//! What has to be changed so that a real server takes packets for a virtual address and keeps
//! quiet about it: the LVS how-tos' list, as data. Pure but for a function that reads settings.

use std::net::IpAddr;

use super::change::Change;
use super::decapsulate::Policy;
use super::netlink::Link;
use crate::base::{Family, Port, Prefix, Protocol};

/// How packets reach this real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Direct routing: with our hardware address
    Dr,
    /// In a tunnel
    Tun,
}

/// A kind of tunnel, as ipvsadm's --tun-type names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TunnelType {
    Ipip,
    Gre,
    Gue,
}

/// Who takes apart the plain tunnels that the kernel has no device for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Decapsulation {
    /// The kernel where that is possible, else user space
    Auto,
    /// The kernel, by BPF programs at the links
    Kernel,
    /// User space
    User,
}

/// Which device takes tunnels apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Devices {
    /// The kernel's own, by family of the virtual address it is to have.
    pub kernel: Vec<(Family, String)>,
    /// What is left for user space.
    pub user: Vec<(Family, Protocol)>,
}

/// Splits `types` of tunnels between the kernel's devices (the fallback devices of its modules, by
/// kind) and user space.
pub fn devices(types: &[TunnelType], links: &[Link]) -> Devices {
    let of_kind = |kind: &str| links.iter().find(|link| link.kind.as_deref() == Some(kind)).map(|link| &link.name);
    let mut devices = Devices::default();
    if types.contains(&TunnelType::Ipip) {
        // Outer family, protocol, the kind of device that takes it, and the family inside.
        for (outer, protocol, kind, inner) in [
            (Family::V4, Protocol::IPIP, "ipip", Family::V4),
            (Family::V4, Protocol::IPV6, "sit", Family::V6),
            (Family::V6, Protocol::IPIP, "ip6tnl", Family::V4),
            (Family::V6, Protocol::IPV6, "ip6tnl", Family::V6),
        ] {
            match of_kind(kind) {
                Some(name) => devices.kernel.push((inner, name.clone())),
                None => devices.user.push((outer, protocol)),
            }
        }
    }
    if types.contains(&TunnelType::Gre) {
        devices.user.extend([(Family::V4, Protocol::GRE), (Family::V6, Protocol::GRE)]);
    }
    devices
}

/// The policy for what user space is to take.
pub fn policy(vips: &[IpAddr], devices: &Devices, gue_port: Option<Port>) -> Policy {
    Policy { virtual_addresses: vips.to_vec(), protocols: devices.user.clone(), gue_port }
}

/// The link that a virtual address of `family` goes on: lo, or with tunnels the device that takes
/// them apart, the kernel's or that of `user` space.
pub fn home<'a>(mode: Mode, family: Family, devices: &'a Devices, user: Option<&'a str>) -> &'a str {
    let of_kernel = devices.kernel.iter().find(|(own, _)| *own == family).map(|(_, name)| name.as_str());
    match mode {
        Mode::Dr => "lo",
        Mode::Tun => of_kernel.or(user).unwrap_or("lo"),
    }
}

/// Settings that keep ARP quiet on `interfaces`: answer only for addresses of the link that was
/// asked, and never ask with an address of another link. A stricter value is left as it is.
pub fn quiet_arp(interfaces: &[String], read: impl Fn(&str) -> Option<String>) -> Vec<Change> {
    let mut changes = Vec::new();
    for link in ["all", "lo"].into_iter().chain(interfaces.iter().map(String::as_str)) {
        for (setting, wanted) in [("arp_ignore", 1), ("arp_announce", 2)] {
            let name = format!("net/ipv4/conf/{link}/{setting}");
            if let Some(before) = read(&name)
                && before.parse::<u32>().is_ok_and(|value| value < wanted)
            {
                changes.push(Change::Setting { name, before, after: wanted.to_string() });
            }
        }
    }
    changes
}

/// Settings that let `device` receive from anywhere: what arrives there has a client's address,
/// whose way back is by another link. The kernel heeds the greater of `all` and the link's own, so
/// where `all` is on it moves to the `others`, which keep what protects them.
pub fn open_reverse_path(device: &str, others: &[String], read: impl Fn(&str) -> Option<String>) -> Vec<Change> {
    let name_of = |link: &str| format!("net/ipv4/conf/{link}/rp_filter");
    let value_of = |link: &str| read(&name_of(link)).and_then(|value| value.parse::<u32>().ok());
    let change = |link: &str, before: u32, after: u32| Change::Setting {
        name: name_of(link),
        before: before.to_string(),
        after: after.to_string(),
    };
    let mut changes = Vec::new();
    if let Some(all @ 1..) = value_of("all") {
        for link in others.iter().filter(|link| *link != device) {
            if let Some(own) = value_of(link)
                && own < all
            {
                changes.push(change(link, own, all));
            }
        }
        changes.push(change("all", all, 0));
    }
    if let Some(own @ 1..) = value_of(device) {
        changes.push(change(device, own, 0));
    }
    changes
}

/// The virtual addresses as addresses of `link`, each alone in its prefix.
pub fn address(vip: IpAddr, link: &str) -> Change {
    Change::Address { link: link.to_owned(), prefix: Prefix::host(vip) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str, kind: Option<&str>) -> Link {
        Link {
            index: 1,
            name: name.to_owned(),
            is_up: true,
            is_loopback: false,
            is_port: false,
            has_arp: true,
            header_length: Some(14),
            kind: kind.map(str::to_owned),
        }
    }

    fn setting(link: &str, name: &str, before: &str, after: &str) -> Change {
        let name = format!("net/ipv4/conf/{link}/{name}");
        Change::Setting { name, before: before.to_owned(), after: after.to_owned() }
    }

    #[test]
    fn arp_is_made_quiet_where_it_is_not() {
        let read = |name: &str| match name {
            "net/ipv4/conf/all/arp_ignore" => Some("2".to_owned()),
            "net/ipv4/conf/gone/arp_ignore" | "net/ipv4/conf/gone/arp_announce" => None,
            _ => Some("0".to_owned()),
        };
        let changes = quiet_arp(&["eth0".to_owned(), "gone".to_owned()], read);
        let expected = [
            setting("all", "arp_announce", "0", "2"),
            setting("lo", "arp_ignore", "0", "1"),
            setting("lo", "arp_announce", "0", "2"),
            setting("eth0", "arp_ignore", "0", "1"),
            setting("eth0", "arp_announce", "0", "2"),
        ];
        assert_eq!(changes, expected);
    }

    #[test]
    fn opening_one_reverse_path_does_not_open_the_others() {
        let links = ["eth0".to_owned(), "eth1".to_owned(), "tunl0".to_owned()];
        let read = |name: &str| {
            let values = [("all", "1"), ("eth0", "0"), ("eth1", "2"), ("tunl0", "2")];
            values.iter().find(|(link, _)| name.contains(&format!("/{link}/"))).map(|(_, value)| (*value).to_owned())
        };
        let expected = [
            setting("eth0", "rp_filter", "0", "1"),
            setting("all", "rp_filter", "1", "0"),
            setting("tunl0", "rp_filter", "2", "0"),
        ];
        assert_eq!(open_reverse_path("tunl0", &links, read), expected);
        assert_eq!(open_reverse_path("tunl0", &links, |_| Some("0".to_owned())), []);
    }

    #[test]
    fn user_space_takes_what_the_kernel_has_no_device_for() {
        let both = [TunnelType::Ipip, TunnelType::Gre];
        let without = devices(&both, &[link("eth0", None)]);
        assert!(without.kernel.is_empty());
        assert_eq!(without.user.len(), 6);

        let with = devices(&[TunnelType::Ipip], &[link("tunl0", Some("ipip"))]);
        assert_eq!(with.kernel, [(Family::V4, "tunl0".to_owned())]);
        assert!(!with.user.contains(&(Family::V4, Protocol::IPIP)));
        assert!(with.user.contains(&(Family::V6, Protocol::IPV6)));
    }

    #[test]
    fn a_virtual_address_lives_where_its_packets_arrive() {
        let kernel = Devices { kernel: vec![(Family::V4, "tunl0".to_owned())], user: Vec::new() };
        assert_eq!(home(Mode::Dr, Family::V4, &kernel, None), "lo");
        assert_eq!(home(Mode::Tun, Family::V4, &kernel, None), "tunl0");
        assert_eq!(home(Mode::Tun, Family::V6, &kernel, Some("ulvs-tunl0")), "ulvs-tunl0");
    }
}
