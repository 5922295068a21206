//! Every recorded transcript of a real kernel replays without a difference.

use std::path::{Path, PathBuf};

use ulvs::replay::{self, Transcript};

/// How many transcripts there are at least: one that gets lost is noticed.
const AT_LEAST: usize = 31;

#[test]
fn every_transcript_replays_without_a_difference() {
    let files = transcripts();
    assert!(files.len() >= AT_LEAST, "{} transcripts instead of {AT_LEAST} or more", files.len());
    let differences: Vec<String> = files.iter().filter_map(|file| difference(file)).collect();
    assert!(differences.is_empty(), "{} of {} differ:\n{}", differences.len(), files.len(), differences.join("\n"));
}

/// What differs in a transcript; `None` where nothing does.
fn difference(file: &Path) -> Option<String> {
    let outcome = Transcript::load(file).map_err(|error| error.to_string());
    let what = outcome.and_then(|transcript| replay::check(&transcript)).err()?;
    Some(format!("{}: {what}", file.display()))
}

fn transcripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("netns-tests/transcripts");
    let entries = std::fs::read_dir(&folder).expect("the folder of transcripts is part of the sources");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a folder that was opened can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    files
}
