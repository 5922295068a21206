//! Connection synchronisation: what this director tells others, and what it makes of what it is told.
//!
//! ```text
//! master   a client's packet ─► needed: worth telling? ─► lane: a message, a queue ─► the worker's socket
//! backup   a message ─► entry by entry ─► a connection or template, bound to its real server
//! ```
//!
//! Both daemons are the engine's own as far as they decide; sockets are the worker's and the
//! director's affair. While neither runs, a packet costs one look at a flag.

mod backup;
mod lane;
mod master;
mod needed;

use crate::base::Tick;
use crate::table::{DaemonConfig, DaemonRole, Errno, Settings};
use crate::wire::sync::Fault;

use super::Engine;
use super::verdict::reasons;

pub use backup::{Share, is_template, read_message};
pub use lane::LaneCounts;

use lane::Lane;

reasons! {
    /// Why something that was received of another director is ignored.
    Ignored {
        Short = "too-short": "A message shorter than its header.",
        Length = "length": "A message that is not as long as it says, or was cut by the receive buffer (--sync-maxlen).",
        SyncId = "sync-id": "A message of another sync id.",
        Cut = "entry-cut": "The rest of a message: an entry runs past its end.",
        EntryVersion = "entry-version": "The rest of a message: an entry of an unknown version.",
        EntryType = "entry-type": "The rest of a message: an entry of an unknown type.",
        EntrySize = "entry-size": "The rest of a message: an entry too small for its type.",
        OptionLength = "option-length": "The rest of a message: an option of impossible length.",
        OptionTwice = "option-twice": "The rest of a message: the same option twice in an entry.",
        OptionUnknown = "option-unknown": "An entry with an unknown option that may not be ignored.",
        Protocol = "protocol": "An entry of a protocol that is not balanced.",
        State = "state": "An entry in a state that its protocol does not have.",
        Engine = "persistence-engine": "An entry of a persistence engine that is not known, or not named.",
        OnePacket = "one-packet": "An entry of a connection that is forgotten after each packet.",
        Replaced = "replaced": "The end of a connection that another real server has by now.",
        TableFull = "table-full": "An entry that the connection table has no room for.",
    }
}

impl From<Fault> for Ignored {
    fn from(fault: Fault) -> Ignored {
        match fault {
            Fault::Short => Ignored::Short,
            Fault::Length => Ignored::Length,
            Fault::Cut => Ignored::Cut,
            Fault::EntryVersion => Ignored::EntryVersion,
            Fault::EntryType => Ignored::EntryType,
            Fault::EntrySize => Ignored::EntrySize,
            Fault::OptionLength => Ignored::OptionLength,
            Fault::OptionTwice => Ignored::OptionTwice,
            Fault::OptionUnknown => Ignored::OptionUnknown,
        }
    }
}

/// What was counted of synchronisation since the start; stopping a daemon takes nothing away.
#[derive(Clone, Debug, Default)]
pub struct SyncCounts {
    /// What masters sent, and lost.
    pub told: LaneCounts,
    /// Messages received whose length and sync id are right.
    pub messages: u64,
    /// Entries that made a connection, and that updated one.
    pub made: u64,
    pub updated: u64,
    ignored: [u64; Ignored::ALL.len()],
}

impl SyncCounts {
    pub fn ignored(&self, reason: Ignored) -> u64 {
        self.ignored[reason as usize]
    }

    pub fn ignore(&mut self, reason: Ignored) {
        self.ignored[reason as usize] += 1;
    }
}

/// A master daemon as it runs.
#[derive(Debug)]
pub(super) struct Master {
    config: DaemonConfig,
    /// One for each port; how many is a power of two.
    lanes: Vec<Lane>,
}

/// Everything of synchronisation that an engine has.
#[derive(Debug, Default)]
pub(super) struct Synchronisation {
    master: Option<Box<Master>>,
    backup: Option<DaemonConfig>,
    /// Ports, which do not change while a daemon runs.
    ports: u32,
    /// Packets are left to the host: the backup runs, and `backup_only` is set.
    pub leaves_packets: bool,
    counts: SyncCounts,
}

impl Synchronisation {
    #[inline]
    pub fn is_master(&self) -> bool {
        self.master.is_some()
    }

    pub fn runs(&self) -> bool {
        self.master.is_some() || self.backup.is_some()
    }

    /// To be called when settings or daemons change.
    pub fn configure(&mut self, settings: &Settings) {
        self.leaves_packets = self.backup.is_some() && settings.backup_only != 0;
    }

    fn daemon(&self, role: DaemonRole) -> Option<&DaemonConfig> {
        match role {
            DaemonRole::Master => self.master.as_ref().map(|master| &master.config),
            DaemonRole::Backup => self.backup.as_ref(),
        }
    }
}

impl Engine {
    /// Completes a daemon's configuration, for a link of this MTU (`None`: there is no such link),
    /// with the number of its ports.
    ///
    /// # Errors
    /// EINVAL for a group that is none, and beside services with real servers of another family;
    /// ENODEV; EEXIST when a daemon of this role runs.
    pub fn complete_daemon(&self, config: &DaemonConfig, mtu: Option<u32>) -> Result<(DaemonConfig, u32), Errno> {
        if config.group.is_some_and(|group| !group.is_multicast()) || self.services.has_mixed_families() {
            return Err(Errno::EINVAL);
        }
        let config = config.clone().complete(mtu.ok_or(Errno::ENODEV)?)?;
        if self.sync.daemon(config.role).is_some() {
            return Err(Errno::EEXIST);
        }
        let ports = match self.sync.runs() {
            true => self.sync.ports,
            false => self.settings.sync_ports.clamp(1, DaemonConfig::MOST_PORTS as i32) as u32,
        };
        Ok((config, ports))
    }

    /// The daemons that run, the master first.
    pub fn daemons(&self) -> impl Iterator<Item = &DaemonConfig> {
        [DaemonRole::Master, DaemonRole::Backup].into_iter().filter_map(|role| self.sync.daemon(role))
    }

    /// # Errors
    /// EEXIST when a daemon of this role runs.
    pub(super) fn start_daemon(&mut self, now: Tick, config: &DaemonConfig, ports: u32) -> Result<(), Errno> {
        if self.sync.daemon(config.role).is_some() {
            return Err(Errno::EEXIST);
        }
        self.sync.ports = ports.clamp(1, DaemonConfig::MOST_PORTS).next_power_of_two();
        match config.role {
            DaemonRole::Master => {
                let lanes = (0..self.sync.ports).map(|_| Lane::new(now)).collect();
                self.sync.master = Some(Box::new(Master { config: config.clone(), lanes }));
            }
            DaemonRole::Backup => self.sync.backup = Some(config.clone()),
        }
        self.sync.configure(&self.settings);
        Ok(())
    }

    /// Stops a daemon; what it did not send is thrown away.
    ///
    /// # Errors
    /// ESRCH when none of this role runs.
    pub(super) fn stop_daemon(&mut self, role: DaemonRole) -> Result<(), Errno> {
        self.sync.daemon(role).ok_or(Errno::ESRCH)?;
        match role {
            DaemonRole::Master => {
                self.sync.counts.told = self.sync_counts().told;
                self.sync.master = None;
            }
            DaemonRole::Backup => self.sync.backup = None,
        }
        self.sync.configure(&self.settings);
        Ok(())
    }

    /// What was counted of synchronisation.
    pub fn sync_counts(&self) -> SyncCounts {
        let mut counts = self.sync.counts.clone();
        for lane in self.sync.master.iter().flat_map(|master| &master.lanes) {
            counts.told.messages += lane.counts.messages;
            counts.told.entries += lane.counts.entries;
            counts.told.lost_messages += lane.counts.lost_messages;
            counts.told.lost_entries += lane.counts.lost_entries;
        }
        counts
    }

    /// Whether packets to services are left to the host (`backup_only` while a backup daemon runs).
    pub fn leaves_packets(&self) -> bool {
        self.sync.leaves_packets
    }
}
