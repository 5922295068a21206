//! Every input that ever broke something, and every seed, once more.

use std::collections::BTreeSet;
use std::fs;

use super::*;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

/// Names of what is in a folder, without extensions.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned())).collect()
}

#[test]
fn what_once_broke_something_does_so_no_more() {
    let described = fs::read_to_string(folder("regressions/README.md")).unwrap();
    for target in TARGETS {
        for name in names(&folder("regressions").join(target.name)) {
            let place = format!("{}/{name}", target.name);
            assert!(described.contains(&format!("`{place}`")), "{place} has no line in the README there");
            println!("{place}");
            (target.run)(&fs::read(folder("regressions").join(&place)).unwrap());
        }
    }
}

#[test]
fn every_seed_runs() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{} begins with nothing", target.name);
        for seed in seeds {
            (target.run)(&seed);
        }
    }
}

#[test]
fn each_target_has_its_file_and_each_file_its_target() {
    let mut known: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names(&folder("fuzz_targets")), known);
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    known.retain(|name| !manifest.contains(&format!("name = \"{name}\"")));
    assert_eq!(known, BTreeSet::new(), "targets that fuzz/Cargo.toml lacks");
}

/// Bytes without any sense, the same each time: what fuzzing begins with, without its tools.
#[test]
fn random_bytes_are_taken_by_every_target() {
    let mut random = crate::base::random::Random::new(7);
    for target in TARGETS {
        for round in 0..60usize {
            let length = random.draw() as usize % (20 + round * 25);
            let bytes: Vec<u8> = (0..length).map(|_| random.draw() as u8).collect();
            (target.run)(&bytes);
        }
    }
}
