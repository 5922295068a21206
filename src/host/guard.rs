//! The guard: keeps from the kernel what the director handles itself.
//!
//! A packet socket gets a copy. Where a VIP is an address of this host, or `ip_forward` is on and
//! frames come to the interface's own MAC, the kernel would answer or forward the same packets a
//! second time. The guard drops exactly those, on the served links only, by a table of its own in
//! nf_tables (CAP_NET_ADMIN); locally generated packets and everything else pass.
//!
//! * Requests: packets to a virtual service, to an address that only the director has, and those
//!   whose firewall mark, by the director's own mark rules, has a service. The later fragments of
//!   a request need no rule: without the first the kernel cannot use them.
//! * Replies: packets in transit from a NATed real server's address and port, and from such an
//!   address fragments and ICMP errors. What it sends to this host itself (answers to health
//!   checks) passes.
//! * Errors: ICMP errors in transit, from whomever, about packets to a NATed real server's address.
//!
//! What goes with them: packets that a NATed real server sends through this host from its
//! service's port, but to no connection of the director, are the director's to forward. A service
//! of which a destination is this host itself (`Local`) is guarded too; its packets are handed
//! to the kernel by a link that is not guarded.
//!
//! The rule: never a moment where half of it stands. Commands go in batches that the kernel takes
//! as a whole; what is added comes before what is taken away. The table is owned by the guard's
//! socket (Linux 5.12), so that the kernel removes it when the director ends, however it ends.
//! Older kernels keep it: a table `ulvs` that nobody owns is a dead director's, and is removed at
//! the next start.
//!
//! Mirrors nft(8); the table is drawn in `guard/layout.rs`. No other table is ever touched.

mod layout;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::base::Family;
use crate::table::Link;

use super::netlink::{Connection, NetlinkError};
use super::nftables::{Batch, Command, TableFamily, tables};
pub use layout::{Scheme, TABLE};
pub use rules::{Endpoint, GuardRules};
use rules::{Keys, MOST_COMBINATIONS, MarkAlternative};

/// Elements in one message: well below the 64 KiB an attribute can count.
const ELEMENTS_PER_MESSAGE: usize = 1000;
/// A batch is sent when it has grown beyond this; the socket's buffer holds twice as much.
const BATCH_LENGTH: usize = 64 * 1024;

/// Why the guard cannot stand.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// CAP_NET_ADMIN is missing
    #[error("the guard needs CAP_NET_ADMIN in this network namespace")]
    NotPermitted,
    /// a live director has its guard here
    #[error(
        "another director guards this network namespace (its nftables table `{TABLE}' has a living owner): stop it first"
    )]
    AnotherDirector,
    /// the kernel has no nf_tables
    #[error("this kernel offers no nftables for the guard: {0}")]
    NotSupported(#[source] NetlinkError),
    /// a link cannot be guarded
    #[error("cannot guard link {name}: {source}")]
    Link { name: String, source: NetlinkError },
    /// the mark rules multiply beyond what is sensible
    #[error(
        "the mark rules come to more than {MOST_COMBINATIONS} combinations of networks, ports and links: use ranges and prefixes instead of lists"
    )]
    TooManyMarks,
    /// the kernel refused a change
    #[error("nftables: {0}")]
    Kernel(#[from] NetlinkError),
}

/// The guard as it stands; it goes when this value goes.
pub struct Guard {
    connection: Connection,
    scheme: Scheme,
    /// Guarded links: index and name.
    links: BTreeMap<u32, String>,
    /// What the table holds; unknown after a change went wrong half-way.
    standing: Option<Standing>,
}

/// What the table holds.
#[derive(Default)]
struct Standing {
    rules: GuardRules,
    marks: HashMap<Family, Vec<MarkAlternative>>,
}

impl Guard {
    /// Puts up a guard on `links` that lets everything pass so far.
    ///
    /// # Errors
    /// Where the kernel does not permit or offer it, or another director has one here.
    pub fn open<'a>(links: impl IntoIterator<Item = &'a Link>) -> Result<Guard, GuardError> {
        Guard::open_as(&[Scheme::Ingress, Scheme::Hooks], links)
    }

    /// Puts up a guard by the first of `schemes` that works here.
    fn open_as<'a>(schemes: &[Scheme], links: impl IntoIterator<Item = &'a Link>) -> Result<Guard, GuardError> {
        let mut connection = open_connection()?;
        let links = names(links);
        let mut refused = None;
        for &scheme in schemes {
            match install(&mut connection, scheme, &links) {
                Ok(()) => {
                    return Ok(Guard { connection, scheme, links, standing: Some(Standing::default()) });
                }
                Err(error) if error.errno() == Some(libc::EPERM) => return Err(GuardError::NotPermitted),
                Err(error) => {
                    log::debug!("no guard by {scheme:?}: {error}");
                    refused = Some(error);
                }
            }
        }
        Err(refused.map_or(GuardError::NotPermitted, GuardError::NotSupported))
    }

    /// Where the guard stands.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Guards these links from now on, and no others.
    ///
    /// # Errors
    /// [`GuardError::Link`] where a link vanished meanwhile or cannot be guarded; the others are.
    pub fn set_links<'a>(&mut self, links: impl IntoIterator<Item = &'a Link>) -> Result<(), GuardError> {
        let wanted = names(links);
        let gone: Vec<u32> = self
            .links
            .iter()
            .filter(|(index, name)| wanted.get(index) != Some(name))
            .map(|(index, _)| *index)
            .collect();
        for index in gone {
            let mut batch = Batch::new(&mut self.connection);
            layout::remove_link(&mut batch, self.scheme, index);
            match batch.commit(&mut self.connection) {
                Ok(()) => {}
                // The chain went with its link.
                Err(error) if error.errno() == Some(libc::ENOENT) => {}
                Err(error) => return Err(error.into()),
            }
            self.links.remove(&index);
        }
        let mut failed = Ok(());
        for (index, name) in wanted {
            if self.links.contains_key(&index) {
                continue;
            }
            let mut batch = Batch::new(&mut self.connection);
            layout::add_link(&mut batch, self.scheme, index, &name);
            match batch.commit(&mut self.connection) {
                Ok(()) => {
                    self.links.insert(index, name);
                }
                Err(source) => failed = Err(GuardError::Link { name, source }),
            }
        }
        failed
    }

    /// Guards what `rules` say from now on, and nothing else. Only what changed is sent.
    ///
    /// # Errors
    /// Where the mark rules are too many, or the kernel refuses. After the latter the next update
    /// starts from nothing.
    pub fn update(&mut self, rules: GuardRules) -> Result<(), GuardError> {
        if self.standing.as_ref().is_some_and(|standing| standing.rules == rules) {
            return Ok(());
        }
        let mut marks = HashMap::new();
        for family in layout::FAMILIES {
            marks.insert(family, rules.mark_alternatives(family)?);
        }
        let standing = match self.standing.take() {
            Some(standing) => standing,
            None => self.reinstall()?,
        };
        match self.apply(&standing, &rules, &marks) {
            Ok(()) => {}
            Err(error) if error.errno() == Some(libc::ENOENT) => {
                // Only on a kernel without table owners can it have been taken from us.
                log::warn!("the guard's table `{TABLE}' was changed by someone: putting it up again");
                let standing = self.reinstall()?;
                self.apply(&standing, &rules, &marks)?;
            }
            Err(error) => return Err(error.into()),
        }
        self.standing = Some(Standing { rules, marks });
        Ok(())
    }

    /// Takes the guard down. Dropping it does the same, silently.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn close(mut self) -> Result<(), GuardError> {
        self.remove().map_err(GuardError::Kernel)
    }

    fn remove(&mut self) -> Result<(), NetlinkError> {
        let mut batch = Batch::new(&mut self.connection);
        layout::remove(&mut batch, self.scheme.family());
        batch.commit(&mut self.connection)
    }

    /// Puts the table up anew, empty.
    fn reinstall(&mut self) -> Result<Standing, NetlinkError> {
        match self.remove() {
            Ok(()) => {}
            Err(error) if error.errno() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
        install(&mut self.connection, self.scheme, &self.links)?;
        Ok(Standing::default())
    }

    /// Sends what differs from what stands: additions, then marks, then removals.
    fn apply(
        &mut self,
        standing: &Standing,
        rules: &GuardRules,
        marks: &HashMap<Family, Vec<MarkAlternative>>,
    ) -> Result<(), NetlinkError> {
        let changes = rules.difference(&standing.rules);
        self.change(Command::NewElements, &changes.added)?;
        for (&family, alternatives) in marks {
            if standing.marks.get(&family).map_or(&[][..], Vec::as_slice) != alternatives {
                let mut batch = Batch::new(&mut self.connection);
                layout::replace_marks(&mut batch, self.scheme, family, alternatives);
                self.connection.reserve_send_buffer(batch.len())?;
                batch.commit(&mut self.connection)?;
            }
        }
        self.change(Command::DeleteElements, &changes.removed)
    }

    /// Adds or removes elements, in as many batches as it takes.
    fn change(&mut self, command: Command, keys: &Keys) -> Result<(), NetlinkError> {
        let mut batch = Batch::new(&mut self.connection);
        for (&(kind, family), keys) in &keys.by_set {
            let keys: Vec<&[u8]> = keys.iter().map(|key| key.bytes(kind, family)).collect();
            for chunk in keys.chunks(ELEMENTS_PER_MESSAGE) {
                let set = layout::set_name(kind, family);
                layout::change_elements(&mut batch, command, self.scheme, set, chunk.iter().copied());
                if batch.len() >= BATCH_LENGTH {
                    std::mem::replace(&mut batch, Batch::new(&mut self.connection)).commit(&mut self.connection)?;
                }
            }
        }
        batch.commit(&mut self.connection)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // The kernel removes an owned table by itself as the socket closes.
        let _ = self.remove();
    }
}

fn names<'a>(links: impl IntoIterator<Item = &'a Link>) -> BTreeMap<u32, String> {
    links.into_iter().map(|link| (link.index, link.name.clone())).collect()
}

/// Opens the guard's socket, and clears away what a dead director left.
fn open_connection() -> Result<Connection, GuardError> {
    let mut connection =
        Connection::open(NETLINK_NETFILTER).map_err(|error| GuardError::NotSupported(NetlinkError::Socket(error)))?;
    let existing = match tables(&mut connection) {
        Ok(existing) => existing,
        Err(error) if error.errno() == Some(libc::EPERM) => return Err(GuardError::NotPermitted),
        Err(error) => return Err(GuardError::NotSupported(error)),
    };
    for family in [TableFamily::Netdev, TableFamily::Inet] {
        let Some(table) = existing.iter().find(|table| table.family == family as u8 && table.name == TABLE) else {
            continue;
        };
        if table.owner.is_some() {
            return Err(GuardError::AnotherDirector);
        }
        log::info!("removing the nftables table `{TABLE}' that an earlier director left");
        let mut batch = Batch::new(&mut connection);
        layout::remove(&mut batch, family);
        batch.commit(&mut connection)?;
    }
    Ok(connection)
}

/// Makes the table, owned by this socket where the kernel knows owners.
fn install(connection: &mut Connection, scheme: Scheme, links: &BTreeMap<u32, String>) -> Result<(), NetlinkError> {
    let mut outcome = Ok(());
    for owner in [true, false] {
        let mut batch = Batch::new(connection);
        layout::install(&mut batch, scheme, owner);
        for (&index, name) in links {
            layout::add_link(&mut batch, scheme, index, name);
        }
        connection.reserve_send_buffer(batch.len())?;
        outcome = batch.commit(connection);
        match &outcome {
            Err(error) if error.errno() != Some(libc::EPERM) => {}
            _ => break,
        }
    }
    outcome
}
