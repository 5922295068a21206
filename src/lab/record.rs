//! What is known of a lab that is up: its record, kept until the lab is down.
//!
//! `/run/ulvs/lab-NAME/` (for an ordinary user below `$XDG_RUNTIME_DIR`) holds `state.json`, the
//! logs and what the servers serve. Making that directory is what claims the name.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use super::director::Subject;
use super::error::LabError;
use super::process::Process;
use super::topology::Topology;

/// Everything that `list`, `exec` and `down` need, and what would be left behind after a crash.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    pub name: String,
    pub topology: Topology,
    pub subject: Subject,
    /// The process that builds the lab, or built it.
    pub builder: Process,
    /// The process whose threads keep the namespaces.
    pub keeper: Option<Process>,
    pub roles: Vec<RoleRecord>,
    /// The director, web servers and so on, in the order in which they were started.
    pub processes: Vec<ProcessRecord>,
    /// Whether building ended well.
    pub complete: bool,
}

/// One network namespace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RoleRecord {
    pub name: String,
    pub purpose: String,
    /// The keeper's thread that lives in the namespace.
    pub task: u32,
    pub addresses: Vec<String>,
}

/// One process that was started in a namespace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessRecord {
    pub role: String,
    pub what: String,
    pub process: Process,
}

impl Record {
    /// Where the labs of this user are kept.
    pub fn base() -> PathBuf {
        if let Some(directory) = std::env::var_os("ULVS_RUNTIME_DIR") {
            return PathBuf::from(directory);
        }
        if geteuid().is_root() && !in_user_namespace() {
            return PathBuf::from("/run/ulvs");
        }
        match std::env::var_os("XDG_RUNTIME_DIR") {
            Some(directory) => Path::new(&directory).join("ulvs"),
            None => PathBuf::from(format!("/tmp/ulvs-{}", geteuid())),
        }
    }

    /// Directory of the lab called `name`.
    pub fn directory_of(name: &str) -> PathBuf {
        Record::base().join(format!("lab-{name}"))
    }

    pub fn directory(&self) -> PathBuf {
        Record::directory_of(&self.name)
    }

    /// Claims the name by making the lab's directory.
    ///
    /// # Errors
    /// `AlreadyExists` where the name is taken; what creating directories gives else.
    pub fn claim(name: &str) -> io::Result<()> {
        let base = Record::base();
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&base)?;
        // Below /tmp somebody else might have made it first.
        if fs::symlink_metadata(&base)?.uid() != geteuid().as_raw() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("{} belongs to another user", base.display()),
            ));
        }
        fs::DirBuilder::new().mode(0o755).create(Record::directory_of(name))
    }

    /// The record of the lab called `name`.
    ///
    /// # Errors
    /// [`LabError::Unknown`] where there is none, [`LabError::Record`] where it is damaged.
    pub fn load(name: &str) -> Result<Record, LabError> {
        let path = Record::directory_of(name).join("state.json");
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|source| LabError::Record { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(LabError::Unknown { name: name.to_owned() }),
            Err(error) => Err(LabError::at(&path)(error)),
        }
    }

    /// Writes the record, whole or not at all.
    ///
    /// # Errors
    /// What writing files gives.
    pub fn save(&self) -> Result<(), LabError> {
        let path = self.directory().join("state.json");
        let draft = path.with_extension("new");
        let text = serde_json::to_vec_pretty(self).map_err(|source| LabError::Record { path: path.clone(), source })?;
        fs::write(&draft, text).and_then(|()| fs::rename(&draft, &path)).map_err(LabError::at(&path))
    }

    /// Every lab that has a directory, by name; damaged records too.
    pub fn names() -> Vec<String> {
        let Ok(entries) = fs::read_dir(Record::base()) else { return Vec::new() };
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.strip_prefix("lab-").map(str::to_owned))
            .collect();
        names.sort();
        names
    }

    /// The role called `name`.
    ///
    /// # Errors
    /// [`LabError::UnknownRole`] with those that exist.
    pub fn role(&self, name: &str) -> Result<&RoleRecord, LabError> {
        self.roles.iter().find(|role| role.name == name).ok_or_else(|| LabError::UnknownRole {
            name: self.name.clone(),
            role: name.to_owned(),
            known: self.roles.iter().map(|role| role.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// The keeper, if it still keeps the namespaces.
    pub fn live_keeper(&self) -> Option<Process> {
        self.keeper.filter(|keeper| keeper.is_alive())
    }
}

/// Whether "root" is root of a user namespace only, who may not write where root may.
fn in_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().ne(["0", "0", "4294967295"])
}
