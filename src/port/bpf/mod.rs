//! Extended BPF, for everything that has the kernel run a program: how one is written, and in tests run.
//!
//! Loading and attaching are in `port::sys::bpf`.

pub mod barrier;
pub mod encapsulation;
#[cfg(test)]
pub mod interpreter;
pub mod program;

pub use super::sys::bpf::{Attachment, CounterMap, Hook, LoadedProgram, ProgramKind};
