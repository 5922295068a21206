//! What can go wrong in a lab, said so that the reader knows what to do next.

use std::io;
use std::path::{Path, PathBuf};

/// Why a lab could not be built, found, entered or taken down.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    #[error("`{0}' is no lab name: use 1 to 24 small letters, digits and hyphens, beginning with a letter")]
    Name(String),
    #[error("lab {name} is already up (since process {keeper}); `ulvs lab down {name}' ends it")]
    AlreadyUp { name: String, keeper: u32 },
    #[error("lab {name} is being built by process {builder}; wait for it, or end that process")]
    BeingBuilt { name: String, builder: u32 },
    #[error("there is no lab {name}; `ulvs lab list' shows those that are up")]
    Unknown { name: String },
    #[error("lab {name} has no {role}; it has {known}")]
    UnknownRole { name: String, role: String, known: String },
    #[error("lab {name} lost its namespaces (its keeper ended); `ulvs lab down {name}' clears the rest away")]
    Broken { name: String },
    #[error("this shell is inside lab {name}; leave it before taking the lab down")]
    Inside { name: String },
    #[error(
        "network namespaces are not permitted here ({0}): be root with CAP_SYS_ADMIN, or allow user namespaces \
         (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone=1, \
         kernel.apparmor_restrict_unprivileged_userns=0)"
    )]
    NotPermitted(String),
    #[error("a tun lab takes tunnels apart with /dev/net/tun, which cannot be opened: {0}")]
    NoTunDevice(io::Error),
    #[error("the program `{program}' is missing; install the package {package}")]
    MissingProgram { program: &'static str, package: &'static str },
    #[error("{what} did not work in {role}: {output}")]
    Command { what: String, role: String, output: String },
    #[error("{what} ended at once ({status}); it said: {output}")]
    Ended { what: String, status: String, output: String },
    #[error("{what} did not happen within {seconds} s")]
    Late { what: String, seconds: u64 },
    #[error("the kernel director needs a kernel with ip_vs: `modprobe ip_vs' did not work")]
    NoKernelDirector,
    #[error("{path}: not a lab's record: {source}")]
    Record { path: PathBuf, source: serde_json::Error },
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
}

impl LabError {
    /// For `map_err`: an I/O error with what was being done to `path`.
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> LabError + '_ {
        move |source| LabError::Io { what: path.display().to_string(), source }
    }

    /// For `map_err`: an I/O error with what was being done.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> LabError {
        let what = what.into();
        move |source| LabError::Io { what, source }
    }
}
