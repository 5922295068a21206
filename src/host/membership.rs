//! Membership in the IPv6 groups where questions for owned addresses arrive.
//!
//! A neighbour solicitation goes to the solicited-node group of its target. Switches that watch
//! MLD carry it only to members, and interfaces let it in only where someone joined. The kernel
//! does both for any socket that joins the group (RFC 3493 section 5.2, RFC 3810), without a
//! privilege; it takes no notice of the questions themselves, which are for none of its addresses.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv6Addr;

use socket2::{Domain, Protocol, Socket, Type};

/// Groups one socket joins; its memory for options is limited, and so are the groups it can hold.
const GROUPS_PER_SOCKET: usize = 64;

/// A group on one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    /// The kernel's interface index.
    pub interface: u32,
    pub address: Ipv6Addr,
}

/// The groups that are joined; they are left when this value goes.
#[derive(Debug, Default)]
pub struct Membership {
    sockets: Vec<Member>,
    /// Which socket joined a group.
    joined: BTreeMap<Group, usize>,
}

#[derive(Debug)]
struct Member {
    socket: Socket,
    groups: usize,
}

impl Membership {
    /// Is a member of these groups from now on, and of no others.
    ///
    /// # Errors
    /// Those that could not be joined, with the reason: no IPv6 on the interface, or no interface.
    pub fn set(&mut self, wanted: impl IntoIterator<Item = Group>) -> Vec<(Group, io::Error)> {
        let mut before = std::mem::take(&mut self.joined);
        let mut failed = Vec::new();
        let mut missing = Vec::new();
        for group in wanted {
            match before.remove(&group) {
                Some(index) => {
                    self.joined.insert(group, index);
                }
                None => missing.push(group),
            }
        }
        for (group, index) in before {
            if let Some(member) = self.sockets.get_mut(index) {
                // It is left already where the interface is gone.
                let _ = member.socket.leave_multicast_v6(&group.address, group.interface);
                member.groups -= 1;
            }
        }
        for group in missing {
            if self.joined.contains_key(&group) {
                continue;
            }
            match self.join(group) {
                Ok(index) => {
                    self.joined.insert(group, index);
                }
                Err(error) => failed.push((group, error)),
            }
        }
        failed
    }

    fn join(&mut self, group: Group) -> io::Result<usize> {
        let free = self.sockets.iter().position(|member| member.groups < GROUPS_PER_SOCKET);
        let index = match free {
            Some(index) => index,
            None => {
                let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
                self.sockets.push(Member { socket, groups: 0 });
                self.sockets.len() - 1
            }
        };
        if let Some(member) = self.sockets.get_mut(index) {
            member.socket.join_multicast_v6(&group.address, group.interface)?;
            member.groups += 1;
        }
        Ok(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::discovery::solicited_node;
    use crate::host::testing::{Namespace, namespaces};

    fn members(inside: &Namespace) -> usize {
        inside.ip("maddr show dev left").lines().filter(|line| line.contains("ff02::1:ff77:")).count()
    }

    #[test]
    fn the_kernel_joins_and_leaves_for_us() {
        let Some([here, there]) = namespaces() else { return };
        here.wire("left", &there, "peer");
        let listed = here.ip("-oneline link show dev left");
        let interface: u32 = listed.split(':').next().unwrap().trim().parse().unwrap();
        let group = move |number: u16| Group {
            interface,
            address: solicited_node(Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0x77, number)),
        };
        let mut membership = Membership::default();
        let (mut membership, failed) = here.run(move || {
            let failed = membership.set((0..200).map(group).chain([group(0)]));
            (membership, failed.len())
        });
        assert_eq!((members(&here), failed), (200, 0));
        assert!(membership.set((100..210).map(group)).is_empty());
        assert_eq!(members(&here), 110);
        let nowhere = Group { interface: 9999, ..group(1) };
        assert_eq!(membership.set([group(150), nowhere]).len(), 1);
        assert_eq!(members(&here), 1);
        drop(membership);
        assert_eq!(members(&here), 0);
    }
}
