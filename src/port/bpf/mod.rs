//! Extended BPF, for every port that has the kernel run a program: how one is written, and in tests run.
//!
//! Loading and attaching are in `port::sys::bpf`.

#[cfg(test)]
pub mod interpreter;
pub mod program;

pub use super::sys::bpf::{Attachment, Hook, LoadedProgram, ProgramKind};
