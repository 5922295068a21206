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
pub(crate) mod nft;
pub mod packed;
pub mod transcript;
mod words;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub(crate) use case::call;
pub use transcript::{Action, LoadError, Step, Transcript};

/// Replay recorded transcripts of a real kernel through the engine
#[derive(Debug, Default, clap::Args)]
pub struct Options {
    /// Transcripts, packed recordings, or folders of them
    #[arg(required = true, value_name = "FILE|DIR")]
    pub paths: Vec<PathBuf>,
    /// Only the transcripts of this name
    #[arg(long, value_name = "NAME")]
    pub only: Option<String>,
    /// Tell what happened in them, in words, and compare nothing
    #[arg(long)]
    pub story: bool,
    /// Print them as JSON, and compare nothing
    #[arg(long, conflicts_with = "story")]
    pub json: bool,
}

/// Replays every transcript named, or found in the folders named; one line a case, then a count.
///
/// Returns whether all of them agreed.
///
/// # Errors
/// Only when `out` cannot be written; a transcript that cannot be read counts as failed.
pub fn run(options: &Options, out: &mut dyn Write) -> io::Result<bool> {
    let mut files = Vec::new();
    let (mut passed, mut failed) = (0, 0);
    for path in &options.paths {
        match collect(path, &mut files) {
            Ok(()) => {}
            Err(error) => {
                failed += 1;
                writeln!(out, "FAIL {}: {error}", path.display())?;
            }
        }
    }
    for file in &files {
        let transcripts = match load(file) {
            Ok(mut transcripts) => {
                transcripts.retain(|transcript| options.only.as_ref().is_none_or(|only| *only == transcript.name));
                transcripts
            }
            Err(why) => {
                failed += 1;
                let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
                writeln!(out, "FAIL {name}: {why}")?;
                continue;
            }
        };
        let is_packed = transcripts.len() > 1;
        for transcript in &transcripts {
            if options.story || options.json {
                passed += 1;
                match options.json {
                    true => writeln!(out, "{}", transcript.to_json())?,
                    false => writeln!(out, "{}{}", transcript.name, words::whole_story(&transcript.steps))?,
                }
                continue;
            }
            match check(transcript) {
                Ok(()) => {
                    passed += 1;
                    if !is_packed {
                        writeln!(out, "ok {}", transcript.name)?;
                    }
                }
                Err(why) => {
                    failed += 1;
                    writeln!(out, "FAIL {}: {why}", transcript.name)?;
                }
            }
        }
        if is_packed && !options.story && !options.json {
            let frames: usize = transcripts.iter().map(Transcript::frames).sum();
            writeln!(out, "{}: {} transcripts with {frames} frames", file.display(), transcripts.len())?;
        }
    }
    if !options.story && !options.json {
        writeln!(out, "{passed} passed, {failed} failed")?;
    }
    Ok(failed == 0 && passed > 0)
}

/// The transcripts of a file: one in JSON, or a packed recording of many.
///
/// # Errors
/// The file cannot be read, or is neither.
pub fn load(path: &Path) -> Result<Vec<Transcript>, LoadError> {
    let bytes = std::fs::read(path)?;
    if bytes.starts_with(packed::MAGIC) {
        return packed::unpack(&bytes);
    }
    Ok(vec![Transcript::parse(&String::from_utf8_lossy(&bytes))?])
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
        if file.extension().is_some_and(|extension| extension == "json" || extension == "packed") {
            found.push(file);
        }
    }
    found.sort();
    files.append(&mut found);
    Ok(())
}
