//! What was changed in this network namespace and is still to be undone, on disk: a process that
//! is killed cannot undo anything, its successor can.
//!
//! The file is named after the namespace's inode. Inodes are used again, so it also holds the
//! namespace's cookie, which is not; what another namespace left is thrown away, for its settings
//! went with it.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

use super::change::{Change, Outcome};
use super::error::RealServerError;
use super::netlink::Netlink;
use super::sys;

/// The changes that this namespace's real server made, each on disk before it is made.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    content: Content,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    /// 0 where the kernel has no cookies.
    namespace: u64,
    /// The directory was made for the file, and goes with it.
    #[serde(default)]
    made_directory: bool,
    changes: Vec<Change>,
}

impl Journal {
    /// Opens the journal of this network namespace below `directory`, with what a predecessor left.
    ///
    /// # Errors
    /// [`RealServerError::Journal`] where the file is damaged; what reading gives.
    pub fn open(directory: &Path) -> Result<Journal, RealServerError> {
        let own = Path::new("/proc/self/ns/net");
        let inode = fs::metadata(own).map_err(RealServerError::file(own))?.ino();
        let path = directory.join(format!("realserver-{inode}.json"));
        let namespace = Socket::new(Domain::UNIX, Type::DGRAM, None)
            .and_then(|socket| sys::namespace_cookie(socket.as_fd()))
            .unwrap_or_default();
        let mut journal = Journal { path, content: Content { namespace, ..Content::default() } };
        match fs::read(&journal.path) {
            Ok(text) => {
                let left: Content = serde_json::from_slice(&text)
                    .map_err(|source| RealServerError::Journal { path: journal.path.clone(), source })?;
                journal.content.made_directory = left.made_directory;
                if left.namespace == namespace {
                    journal.content.changes = left.changes;
                }
                Ok(journal)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(journal),
            Err(error) => Err(RealServerError::file(&journal.path)(error)),
        }
    }

    /// Writes `change` down, then makes it.
    ///
    /// # Errors
    /// As [`Change::apply`], and what writing gives.
    pub fn make(&mut self, netlink: &mut Netlink, change: Change) -> Result<Outcome, RealServerError> {
        self.content.changes.push(change.clone());
        let outcome = self.save().and_then(|()| change.apply(netlink));
        if !matches!(outcome, Ok(Outcome::Done)) {
            self.content.changes.pop();
            // What went wrong first is what is told.
            let saved = self.save();
            return outcome.and_then(|so| saved.map(|()| so));
        }
        outcome
    }

    /// Takes everything back, the last change first, and removes the file. Returns what was undone
    /// and what could not be; the latter stays written down.
    ///
    /// # Errors
    /// What writing gives.
    pub fn undo(&mut self, netlink: &mut Netlink) -> Result<Undone, RealServerError> {
        let mut undone = Undone::default();
        let mut stuck = Vec::new();
        while let Some(change) = self.content.changes.pop() {
            match change.undo(netlink) {
                Ok(Outcome::Done) => undone.done += 1,
                Ok(Outcome::AlreadySo) => undone.overtaken.push(change),
                Err(error) => {
                    undone.failed.push(error.to_string());
                    stuck.insert(0, change);
                }
            }
        }
        self.content.changes = stuck;
        self.save()?;
        Ok(undone)
    }

    fn save(&mut self) -> Result<(), RealServerError> {
        if self.content.changes.is_empty() {
            return match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(RealServerError::file(&self.path)(error)),
                _ => {
                    // Others may have files there by now, and keep it.
                    if let Some(directory) = self.path.parent().filter(|_| self.content.made_directory) {
                        let _ = fs::remove_dir(directory);
                    }
                    Ok(())
                }
            };
        }
        if let Some(directory) = self.path.parent() {
            self.content.made_directory |= !directory.exists();
            fs::create_dir_all(directory).map_err(RealServerError::file(directory))?;
        }
        let draft = self.path.with_extension("new");
        let text = serde_json::to_vec(&self.content)
            .map_err(|source| RealServerError::Journal { path: self.path.clone(), source })?;
        fs::write(&draft, text).and_then(|()| fs::rename(&draft, &self.path)).map_err(RealServerError::file(&self.path))
    }
}

/// What came of undoing.
#[derive(Debug, Default)]
pub struct Undone {
    pub done: usize,
    /// Changed again by others since, and left as they are.
    pub overtaken: Vec<Change>,
    pub failed: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that is removed in the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("ulvs-journal-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn change() -> Change {
        Change::Setting { name: "no/such/setting".to_owned(), before: "0".to_owned(), after: "1".to_owned() }
    }

    #[test]
    fn what_was_written_is_found_again_by_the_same_namespace_only() {
        let scratch = Scratch::new("again");
        let mut journal = Journal::open(&scratch.0).unwrap();
        journal.content.changes.push(change());
        journal.save().unwrap();
        assert_eq!(Journal::open(&scratch.0).unwrap().content.changes, [change()]);

        journal.content.namespace += 1;
        journal.save().unwrap();
        assert!(Journal::open(&scratch.0).unwrap().content.changes.is_empty());
    }

    #[test]
    fn a_change_that_fails_leaves_nothing_to_undo() {
        let scratch = Scratch::new("fails");
        let mut journal = Journal::open(&scratch.0).unwrap();
        let mut netlink = Netlink::open().unwrap();
        assert!(journal.make(&mut netlink, change()).is_err());
        assert!(journal.content.changes.is_empty());
        assert!(!journal.path.exists());
    }

    #[test]
    fn a_directory_goes_with_the_file_for_which_it_was_made_and_no_other_does() {
        let scratch = Scratch::new("directory");
        let made = scratch.0.join("made");
        for (directory, stays) in [(&scratch.0, true), (&made, false)] {
            let mut journal = Journal::open(directory).unwrap();
            journal.content.changes.push(change());
            journal.save().unwrap();
            // A successor knows it, too.
            let mut journal = Journal::open(directory).unwrap();
            journal.content.changes.clear();
            journal.save().unwrap();
            assert_eq!(directory.exists(), stays, "{}", directory.display());
        }
    }

    #[test]
    fn a_damaged_file_is_not_overwritten() {
        let scratch = Scratch::new("damaged");
        let path = Journal::open(&scratch.0).unwrap().path;
        fs::write(&path, b"{").unwrap();
        assert!(matches!(Journal::open(&scratch.0), Err(RealServerError::Journal { .. })));
    }
}
