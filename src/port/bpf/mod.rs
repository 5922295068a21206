//! Extended BPF, for everything that has the kernel run a program: how one is written, and in tests run.
//!
//! Loading and attaching are in `port::sys::bpf`.

use std::io;

pub mod barrier;
pub mod encapsulation;
#[cfg(test)]
pub mod interpreter;
pub mod program;

pub use super::sys::bpf::{Attachment, CounterMap, Hook, LoadedProgram, ProgramKind};

/// Steps of having a program run at a link, as errors name them.
pub const LOADING: &str = "loading a program";
pub const ATTACHING: &str = "attaching a program";

/// Why a program does not run at a link.
#[derive(Debug, thiserror::Error)]
pub enum BpfError {
    #[error("BPF programs are not permitted (CAP_BPF and CAP_NET_ADMIN): {0}")]
    NotPermitted(io::Error),
    #[error("the kernel has no such programs at links, which Linux 6.6 brought: {0}")]
    Missing(io::Error),
    #[error("{step}: {source}")]
    Step { step: &'static str, source: io::Error },
}

/// For `map_err`: what a refusal means.
pub fn refused(step: &'static str) -> impl FnOnce(io::Error) -> BpfError {
    move |source| match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => BpfError::NotPermitted(source),
        Some(libc::ENOSYS) => BpfError::Missing(source),
        // What is wrong with attaching a program that the kernel has taken is the place alone.
        Some(libc::EINVAL) if step == ATTACHING => BpfError::Missing(source),
        _ => BpfError::Step { step, source },
    }
}
