//! Processes that a lab started, known by number and start time.
//!
//! A number alone is not enough: it is given again once its process is gone. Nothing here ever
//! looks at a process's name. A process that was started inside a lab by others (a shell, a
//! director that ipvsadm started) is found by the network namespace it lives in.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// One process, and no later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Process {
    pub id: u32,
    /// When it started, in the kernel's clock ticks since boot.
    pub started: u64,
}

impl Process {
    /// The process that has number `id` now.
    pub fn of(id: u32) -> Option<Process> {
        Some(Process { id, started: start_time_and_state(id)?.0 })
    }

    /// The calling process.
    pub fn current() -> Option<Process> {
        Process::of(std::process::id())
    }

    /// Whether it still runs; a zombie does not.
    pub fn is_alive(self) -> bool {
        // A child of ours that ended is to be reaped; for all others this fails and does nothing.
        let _ = waitpid(self.number(), Some(WaitPidFlag::WNOHANG));
        matches!(start_time_and_state(self.id), Some((started, state))
            if started == self.started && !matches!(state, 'Z' | 'X'))
    }

    /// Sends `signal`, if it is alive.
    pub fn signal(self, signal: Signal) {
        if self.is_alive() {
            let _ = kill(self.number(), signal);
        }
    }

    fn number(self) -> Pid {
        Pid::from_raw(self.id.cast_signed())
    }
}

/// The processes (other than threads) whose network namespace is one of `namespaces`, as
/// [`namespace_of`] names them.
pub fn inside(namespaces: &HashSet<String>) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|id| namespace_of(*id).is_some_and(|namespace| namespaces.contains(&namespace)))
        .filter_map(Process::of)
        .collect()
}

/// The network namespace of a task, in the kernel's words (`net:[4026532321]`).
pub fn namespace_of(task: u32) -> Option<String> {
    let link = fs::read_link(Path::new("/proc").join(task.to_string()).join("ns/net")).ok()?;
    Some(link.to_string_lossy().into_owned())
}

/// Fields 22 and 3 of `/proc/ID/stat` (proc(5)); the name before them may contain anything.
fn start_time_and_state(id: u32) -> Option<(u64, char)> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let started = fields.nth(18)?.parse().ok()?;
    Some((started, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_itself_and_nobody_else() {
        let own = Process::current().expect("a running process has a stat file");
        assert!(own.is_alive());
        assert!(!Process { started: own.started + 1, ..own }.is_alive());
    }

    #[test]
    #[expect(clippy::zombie_processes, reason = "that looking reaps it is what is tested")]
    fn a_child_that_ended_is_not_alive() {
        let child = std::process::Command::new("true").spawn().expect("`true' is everywhere");
        let process = Process::of(child.id()).expect("not reaped yet");
        super::super::wait::until(10, "the end of `true'", || !process.is_alive()).unwrap();
    }
}
