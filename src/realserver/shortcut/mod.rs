//! The short way out of a tunnel: the kernel itself takes plain tunnels apart, by a program of ours at the links.
//!
//! ```text
//!  link ─► program ─┬─ plain ────► outer headers off ─► received by the tunnel device ─► the kernel's stack
//!                   └─ all others ► capture ─ relay ─ decapsulate ─ tunnel device ─────► the kernel's stack
//! ```
//!
//! [`program`] is what is run. The inner packet is received by the same device as when user space hands it over,
//! so reverse path filters, rules and addresses are as they are without it. The programs are attached by BPF links
//! (TCX, Linux 6.6), so that they go with the process however that ends, and the capture then has every packet
//! again. They know this host's addresses, and are replaced in one step when those change. Rules of nftables for
//! the links' ingress see what user space takes apart, and not what the program takes.

pub mod program;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use super::decapsulate::Policy;
use super::netlink::Link;
use crate::port::bpf::program::ProgramTooLong;
use crate::port::bpf::{
    ATTACHING, Attachment, BpfError, CounterMap, Hook, LOADING, LoadedProgram, ProgramKind, refused,
};
use program::{COUNTERS, Rules};

/// Why the kernel does not take tunnels apart.
#[derive(Debug, thiserror::Error)]
pub enum ShortcutError {
    #[error(transparent)]
    Bpf(#[from] BpfError),
    #[error("this host has too many addresses: {0}")]
    TooManyAddresses(#[from] ProgramTooLong),
}

/// Programs at links, for as long as this lives.
#[derive(Debug)]
pub struct Shortcut {
    counters: CounterMap,
    /// The kernel's number of the tunnel device.
    device: u32,
    /// Each program with what comes before the IP header in its link's frames.
    attachments: Vec<(usize, Attachment)>,
    /// The addresses that the programs know.
    own: BTreeSet<IpAddr>,
}

impl Shortcut {
    /// Has the kernel take apart what comes by `links`, and the device of number `device` receive it.
    ///
    /// # Errors
    /// The kernel cannot, or this process may not; nothing is left attached then.
    pub fn open(
        links: &[Link],
        device: u32,
        policy: &Policy,
        own: &BTreeSet<IpAddr>,
    ) -> Result<Shortcut, ShortcutError> {
        let counters = CounterMap::new(COUNTERS).map_err(refused("making a map of counters"))?;
        let mut shortcut = Shortcut { counters, device, attachments: Vec::new(), own: own.clone() };
        // What is part of a bridge or bond passes its packets on before a capture there would see them.
        for link in links.iter().filter(|link| !link.is_port) {
            let Some(header_length) = link.header_length else { continue };
            let program = shortcut.load(header_length, policy)?;
            let attachment = program.attach(Hook::Ingress, link.index).map_err(refused(ATTACHING))?;
            shortcut.attachments.push((header_length, attachment));
        }
        Ok(shortcut)
    }

    /// Lets the programs know which addresses this host has now.
    ///
    /// # Errors
    /// As [`Shortcut::open`]; the programs may be outdated then.
    pub fn renew(&mut self, policy: &Policy, own: &BTreeSet<IpAddr>) -> Result<(), ShortcutError> {
        if self.own == *own {
            return Ok(());
        }
        self.own.clone_from(own);
        for (header_length, attachment) in &self.attachments {
            let program = self.load(*header_length, policy)?;
            match attachment.replace(&program) {
                // The link is gone, and its program with it.
                Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {}
                outcome => outcome.map_err(refused("replacing a program"))?,
            }
        }
        Ok(())
    }

    /// How many packets, and bytes of packets, the kernel has taken out of tunnels.
    pub fn taken(&self) -> [u64; 2] {
        self.counters.sum()
    }

    fn load(&self, header_length: usize, policy: &Policy) -> Result<LoadedProgram, ShortcutError> {
        let counters = self.counters.as_raw_fd();
        let rules = Rules { policy, own: &self.own, header_length, device: self.device, counters };
        let program = LoadedProgram::load(ProgramKind::Classifier, &rules.program()?.bytes());
        Ok(program.map_err(refused(LOADING))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::realserver::decapsulate::tests::policy;

    /// Whether the kernel's check of programs passes, for short ones and the longest.
    #[test]
    fn the_kernel_takes_the_program() {
        let counters = match CounterMap::new(COUNTERS).map_err(refused("making a map of counters")) {
            Ok(counters) => counters,
            Err(error) => return println!("not run: {error}"),
        };
        assert_eq!(counters.sum(), [0; 2]);
        let v6 = |number: u16| IpAddr::from([0xfd00, 0x11, 0, 0, 0, 0, 0, number]);
        let v4 = |number: u16| IpAddr::from([10, 0, (number >> 8) as u8, number as u8]);
        let sets = [0, 1, 3, 300].map(|count| (0..count).map(v4).chain((0..count).map(v6)).collect::<BTreeSet<_>>());
        let mut shortcut = Shortcut { counters, device: 1, attachments: Vec::new(), own: BTreeSet::new() };
        let all = policy();
        for own in sets {
            shortcut.own = own;
            for header_length in [0, 14] {
                shortcut.load(header_length, &all).unwrap();
            }
            // Each kind of tunnel and each family alone: no instruction may be one that nothing leads to.
            for kind in &all.protocols {
                for vip in &all.virtual_addresses {
                    let policy = Policy { virtual_addresses: vec![*vip], protocols: vec![*kind], gue_port: None };
                    shortcut.load(14, &policy).unwrap();
                }
            }
            let policy = Policy { protocols: Vec::new(), ..all.clone() };
            shortcut.load(14, &policy).unwrap();
        }
    }
}
