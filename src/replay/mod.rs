//! `ulvs replay`: recorded transcripts of a real kernel, played to the engine.
//!
//! A transcript holds what was done to a director (commands, frames, settings, pauses) and what
//! the kernel did because of it. Here the same is done to an engine, with the recorded clock, and
//! everything that comes out is compared as the transcripts' README says and no looser:
//!
//! ```text
//! transcript ── case: one step after the other ── lab: the director the case ran in
//!                    │                               └ Director over one Engine, no sockets
//!                    └── compare: frames, listings ── the first difference, in words
//! ```

mod case;
mod compare;
pub mod lab;
mod messages;
mod nft;
pub mod transcript;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub use transcript::{LoadError, Transcript};

/// Replays every transcript named, or found in the folders named; one line a case, then a count.
///
/// Returns whether all of them agreed.
///
/// # Errors
/// Only when `out` cannot be written; a transcript that cannot be read counts as failed.
pub fn run(paths: &[PathBuf], out: &mut dyn Write) -> io::Result<bool> {
    let mut files = Vec::new();
    let (mut passed, mut failed) = (0, 0);
    for path in paths {
        match collect(path, &mut files) {
            Ok(()) => {}
            Err(error) => {
                failed += 1;
                writeln!(out, "FAIL {}: {error}", path.display())?;
            }
        }
    }
    for file in &files {
        let outcome = Transcript::load(file).map_err(|error| error.to_string());
        let outcome = outcome.and_then(|transcript| check(&transcript).map(|()| transcript.name));
        match outcome {
            Ok(name) => {
                passed += 1;
                writeln!(out, "ok {name}")?;
            }
            Err(why) => {
                failed += 1;
                let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
                writeln!(out, "FAIL {name}: {why}")?;
            }
        }
    }
    writeln!(out, "{passed} passed, {failed} failed")?;
    Ok(failed == 0 && passed > 0)
}

/// Replays one transcript.
///
/// # Errors
/// The first difference, in words.
pub fn check(transcript: &Transcript) -> Result<(), String> {
    case::Case::new(transcript).run()
}

/// The transcripts in a folder (not below it), sorted; or the one file.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        std::fs::metadata(path)?;
        files.push(path.to_owned());
        return Ok(());
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "json") {
            found.push(file);
        }
    }
    found.sort();
    files.append(&mut found);
    Ok(())
}
