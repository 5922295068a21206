//! Every recorded transcript of a real kernel replays without a difference.

use std::path::{Path, PathBuf};

use ulvs::replay::{self, Transcript};

/// How many transcripts there are at least: one that gets lost is noticed.
const AT_LEAST: usize = 202;

#[test]
fn every_transcript_replays_without_a_difference() {
    let files = transcripts();
    assert!(files.len() >= AT_LEAST, "{} transcripts instead of {AT_LEAST} or more", files.len());
    let differences: Vec<String> = files.iter().filter_map(|file| difference(file)).collect();
    assert!(differences.is_empty(), "{} of {} differ:\n{}", differences.len(), files.len(), differences.join("\n"));
}

/// How many random scenarios there are at least, and frames in them.
const SCENARIOS: usize = 341;
const FRAMES: usize = 123_000;

#[test]
fn every_random_scenario_replays_without_a_difference() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("netns-tests/random");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder of random scenarios is part of the sources")
        .map(|entry| entry.expect("a folder that was opened can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "packed"))
        .collect();
    files.sort();
    let (mut scenarios, mut frames, mut differences) = (0, 0, Vec::new());
    for file in &files {
        for transcript in replay::load(file).unwrap_or_else(|error| panic!("{}: {error}", file.display())) {
            scenarios += 1;
            frames += transcript.frames();
            if let Err(what) = replay::check(&transcript) {
                differences.push(format!("{}: {what}", transcript.name));
            }
        }
    }
    assert!(scenarios >= SCENARIOS && frames >= FRAMES, "only {scenarios} scenarios with {frames} frames");
    assert!(differences.is_empty(), "{} of {scenarios} differ:\n{}", differences.len(), differences.join("\n"));
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

/// What is known to differ, and listed with its reason, still does: a case that agrees now belongs
/// among the others.
#[test]
fn open_cases_differ_and_are_explained() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("netns-tests");
    let explained = std::fs::read_to_string(folder.join("differences.md")).expect("the list is part of the sources");
    for entry in std::fs::read_dir(folder.join("transcripts/open")).expect("the folder is part of the sources") {
        let file = entry.expect("a folder that was opened can be listed").path();
        let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        assert!(difference(&file).is_some(), "{name} agrees now: move it out of open/ and off the list");
        let listed = explained.lines().any(|line| {
            line.strip_prefix('|')
                .is_some_and(|line| line.split('|').next().unwrap_or("").split(',').any(|cell| cell.trim() == name))
        });
        assert!(listed, "{name} is not explained in differences.md");
    }
}
