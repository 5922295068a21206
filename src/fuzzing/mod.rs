//! What fuzzing runs: for each target a function that takes bytes, and bytes to begin with.
//!
//! ```text
//! fuzz/fuzz_targets/NAME.rs ── libFuzzer, as long as one likes ──┐
//! fuzz/regressions/NAME/… ──── cargo test, every time ───────────┴─► run(NAME, bytes)
//! ```
//!
//! A target panics where something is wrong: what it calls panics, an invariant does not hold, or
//! a second parser does not agree. Bytes that once led there are kept in `fuzz/regressions`. No
//! check is left out here: packets that need a checksum are given a right one by the target.

mod commands;
mod control;
mod decapsulate;
mod dissect;
mod neighbours;
mod pieces;
mod reassembly;
mod synchronisation;
mod transcript;

use std::path::{Path, PathBuf};

use crate::replay::Transcript;

/// One thing that is fuzzed.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// Inputs to begin with.
    seeds: fn() -> Vec<Vec<u8>>,
}

/// Every target. Each has a file of its name in `fuzz/fuzz_targets`, which a test looks after.
pub const TARGETS: &[Target] = &[
    Target { name: "dissect", run: dissect::run, seeds: dissect::seeds },
    Target { name: "pieces", run: pieces::run, seeds: pieces::seeds },
    Target { name: "reassembly", run: reassembly::run, seeds: reassembly::seeds },
    Target { name: "engine", run: crate::engine::tests::fuzz::run, seeds: nothing },
    Target { name: "transcript", run: transcript::run, seeds: transcript::seeds },
    Target { name: "commands", run: commands::run, seeds: commands::seeds },
    Target { name: "control", run: control::run, seeds: control::seeds },
    Target { name: "decapsulate", run: decapsulate::run, seeds: decapsulate::seeds },
    Target { name: "neighbours", run: neighbours::run, seeds: neighbours::seeds },
    Target { name: "synchronisation", run: synchronisation::run, seeds: synchronisation::seeds },
];

/// Where no recording helps to begin: the bytes spell packets, they are none.
fn nothing() -> Vec<Vec<u8>> {
    vec![(0..=255).cycle().take(2_000).collect(), vec![0x5a; 600]]
}

/// The target of this name.
///
/// # Panics
/// There is none.
pub fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("no target is called {name}"))
}

/// Writes a target's seeds to the folder that `FUZZ_SEEDS` names, if it names one.
///
/// # Panics
/// They cannot be written.
pub fn write_seeds(name: &str) {
    let Some(folder) = std::env::var_os("FUZZ_SEEDS").map(PathBuf::from) else { return };
    std::fs::create_dir_all(&folder).expect("the folder for seeds can be made");
    for (number, seed) in (target(name).seeds)().iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{number:04}")), seed).expect("a seed can be written");
    }
}

/// The recordings of a real kernel, in the order of their names.
fn recordings() -> Vec<Transcript> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("netns-tests/transcripts");
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.extension().is_some()).collect();
    paths.sort();
    paths.iter().filter_map(|path| Transcript::load(path).ok()).collect()
}

/// Every frame of the recordings, either way.
fn recorded_frames() -> Vec<Vec<u8>> {
    use crate::replay::transcript::Action;
    let steps = recordings().into_iter().flat_map(|transcript| transcript.steps);
    let mut frames: Vec<Vec<u8>> = steps
        .filter_map(|step| match step.action {
            Action::In { frame, .. } | Action::Out { frame, .. } => Some(frame),
            _ => None,
        })
        .collect();
    // A few hundred of each length teach as much as all of them.
    frames.sort_by_key(|frame| frame.len());
    frames.dedup_by_key(|frame| (frame.len(), frame.get(23).copied(), frame.get(34).copied()));
    frames
}

#[cfg(test)]
mod tests;
