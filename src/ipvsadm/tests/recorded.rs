//! Replays what ipvsadm 1.31, in front of the ip_vs of Linux 6.1, answered to thousands of command lines:
//! every option with good and bad values, addresses in every form, random lines, restored files.
//!
//! `recorded.jsonl` has one case a line, each from an empty table: command lines with their
//! standard input, output, errors and exit status. `table` is the output of a plain listing
//! behind its heading; output `null` is not compared (the help is in words of our own). The
//! order in which the kernel dumps services is taken from the case's own `--nosort` listings.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::fake::Fake;
use super::*;

const HEADING: &str = "IP Virtual Server version 1.2.1 (size=4096)\n\
                       Prot LocalAddress:Port Scheduler Flags\n  \
                       -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n";

/// A recorded command line.
struct Step {
    words: Vec<String>,
    input: String,
    expected: Run,
    /// Whether the output is to be compared.
    compared: bool,
}

impl Step {
    fn read(step: &Value) -> Option<Step> {
        let words = match &step["ipvsadm"] {
            Value::String(line) => line.split_whitespace().map(str::to_owned).collect(),
            Value::Array(words) => words.iter().map(|word| text(word).to_owned()).collect(),
            _ => return None,
        };
        let output = match &step["table"] {
            Value::String(table) => format!("{HEADING}{table}"),
            _ => text(&step["stdout"]).to_owned(),
        };
        let status = step["rc"].as_u64().unwrap_or(0) as u8;
        let expected = Run { status, output, errors: text(&step["stderr"]).to_owned() };
        let compared = step.get("stdout") != Some(&Value::Null);
        Some(Step { words, input: text(&step["stdin"]).to_owned(), expected, compared })
    }

    fn has(&self, word: &str) -> bool {
        self.words.iter().any(|other| other == word)
    }

    /// Whether the step leaves the table as it is.
    fn only_looks(&self) -> bool {
        self.words.first().is_none_or(|first| first.starts_with("-L") || first.starts_with("-S"))
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// The order of services in the first unsorted listing of `steps` before anything changes.
fn dump_order(steps: &[Step]) -> Option<Vec<String>> {
    let mut looks = steps.iter().take_while(|step| step.only_looks());
    let listing = &looks.find(|step| step.has("--nosort") && step.words.len() == 2)?.expected.output;
    let services = listing.strip_prefix(HEADING)?.lines().filter(|line| !line.starts_with("  "));
    let name = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words[..if words[2] == "IPv6" { 3 } else { 2 }].join(" ")
    };
    Some(services.map(name).collect())
}

/// Replays one case and describes every step that came out otherwise.
fn replay(name: &str, steps: &[Step]) -> Vec<String> {
    let director = Fake::default();
    let mut wrong = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        if let Some(order) = dump_order(&steps[index..]) {
            director.0.borrow_mut().order = order;
        }
        let words: Vec<&str> = step.words.iter().map(String::as_str).collect();
        let mut run = director.words(&words, &step.input);
        if !step.compared {
            run.output.clear();
        }
        if run != step.expected {
            wrong.push(format!("{name}: {words:?} {:?}\n   ours {run:?}\n   real {:?}", step.input, step.expected));
        }
    }
    wrong
}

#[test]
fn every_recorded_answer_is_ours_too() {
    let cases = include_str!("recorded.jsonl");
    let mut wrong = Vec::new();
    let mut replayed = 0;
    for case in cases.lines() {
        let case: Value = serde_json::from_str(case).unwrap();
        let steps: Vec<Step> = case["steps"].as_array().unwrap().iter().filter_map(Step::read).collect();
        replayed += steps.len();
        wrong.extend(replay(text(&case["name"]), &steps));
    }
    assert!(replayed > 2500, "{replayed}");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn transcripts_of_commands_replay() {
    for name in ["errors", "listing"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("netns-tests/transcripts/{name}.json"));
        let case: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let steps: Vec<Step> = case["steps"].as_array().unwrap().iter().filter_map(Step::read).collect();
        assert!(steps.len() > 20);
        let wrong = replay(name, &steps);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
