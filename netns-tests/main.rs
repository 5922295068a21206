//! Real network stacks and real programs across namespaces: one scenario a file, numbered.
//!
//!     cargo test --test netns -- [NAME…] [--subject ulvs|kernel] [--real-servers ulvs|kernel] [--list]
//!
//! With `ULVS_PORT=xdp` in the environment every director takes small UDP frames by AF_XDP, and with
//! `ULVS_WORKERS=3` it has so many workers.
//!
//! A scenario builds the lab that it needs, waits for conditions (never for time), and leaves
//! nothing behind, whatever became of it. The same scenarios run against the kernel's ip_vs: one
//! that the kernel itself fails is a wrong one. What is not permitted or not installed here is
//! reported as skipped, never as passed.

mod scenarios;
mod session;
mod world;

use std::fmt;
use std::process::ExitCode;

use clap::ValueEnum;
use ulvs::lab::wait::Deadline;
use ulvs::lab::{LabError, Process, RealServerKind, Record, Subject, down};

use scenarios::{SCENARIOS, Scenario};
use world::World;

/// How a scenario ends that does not end well.
#[derive(Debug)]
pub enum Failure {
    /// What was expected did not happen.
    Failed(String),
    /// It could not be tried.
    Skipped(String),
}

pub type Outcome = Result<(), Failure>;

impl Failure {
    pub fn failed(why: impl Into<String>) -> Failure {
        Failure::Failed(why.into())
    }

    pub fn skipped(why: impl Into<String>) -> Failure {
        Failure::Skipped(why.into())
    }
}

impl From<LabError> for Failure {
    fn from(error: LabError) -> Failure {
        match error {
            LabError::NotPermitted(_)
            | LabError::NoTunDevice(_)
            | LabError::MissingProgram { .. }
            | LabError::NoKernelDirector => Failure::Skipped(error.to_string()),
            other => Failure::Failed(other.to_string()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::Failed(error.to_string())
    }
}

/// Ends the scenario as failed, with a formatted reason, unless a condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            return Err($crate::Failure::failed(format!($($why)+)));
        }
    };
}

/// How long a scenario may take until its lab is taken from under it; the kernel's are emulated
/// where this machine's has no ip_vs, and then everything takes ten times as long.
fn longest_seconds(subject: Subject) -> u64 {
    match subject {
        Subject::Ulvs => 300,
        Subject::Kernel => 900,
    }
}

/// What the command line asks for.
struct Wanted {
    names: Vec<String>,
    subject: Subject,
    real_servers: Option<RealServerKind>,
    list: bool,
}

fn main() -> ExitCode {
    let wanted = match Wanted::read(std::env::args().skip(1)) {
        Ok(wanted) => wanted,
        Err(why) => {
            eprintln!("netns: {why}");
            return ExitCode::from(2);
        }
    };
    let chosen: Vec<&Scenario> = SCENARIOS.iter().filter(|scenario| wanted.includes(scenario)).collect();
    if wanted.list {
        chosen.iter().for_each(|scenario| println!("{}: test", scenario.name));
        return ExitCode::SUCCESS;
    }
    clear_leftovers();
    let mut tally = Tally::default();
    for scenario in chosen {
        tally.count(scenario, &run(scenario, &wanted));
    }
    println!("{tally}");
    if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Wanted {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Wanted, String> {
        let mut wanted = Wanted { names: Vec::new(), subject: Subject::Ulvs, real_servers: None, list: false };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--subject" => wanted.subject = choice(&argument, arguments.next())?,
                "--real-servers" => wanted.real_servers = Some(choice(&argument, arguments.next())?),
                "--list" => wanted.list = true,
                // What `cargo test` hands to every test program.
                "--nocapture" | "--no-capture" | "--quiet" | "-q" | "--show-output" | "--exact" => {}
                "--test-threads" | "--format" | "--color" => drop(arguments.next()),
                option if option.starts_with("--test-threads=") || option.starts_with("--color=") => {}
                option if option.starts_with('-') => return Err(format!("unknown option {option}")),
                name => wanted.names.push(name.to_owned()),
            }
        }
        Ok(wanted)
    }

    fn includes(&self, scenario: &Scenario) -> bool {
        self.names.is_empty() || self.names.iter().any(|name| scenario.name.contains(name.as_str()))
    }
}

/// One of the words that `T` is made of.
fn choice<T: ValueEnum>(option: &str, word: Option<String>) -> Result<T, String> {
    let known = || T::value_variants().iter().filter_map(T::to_possible_value).map(|value| value.get_name().to_owned());
    word.and_then(|word| T::from_str(&word, false).ok())
        .ok_or_else(|| format!("{option} takes {}", known().collect::<Vec<_>>().join(" or ")))
}

/// Runs one scenario in a world of its own, which is gone when this returns.
fn run(scenario: &Scenario, wanted: &Wanted) -> (Outcome, f64) {
    let longest = longest_seconds(wanted.subject);
    let began = Deadline::after_seconds(longest);
    let mut world = World::new(scenario.name, wanted.subject, wanted.real_servers.unwrap_or(wanted.subject.into()));
    let mut outcome = world.guarded(began, scenario.run);
    if let Err(Failure::Failed(why)) = &mut outcome {
        why.push_str(&world.logs());
    }
    if let Err(left) = world.end()
        && outcome.is_ok()
    {
        outcome = Err(left);
    }
    if began.has_passed() {
        let why = outcome.err().map(|failure| format!("; then: {failure:?}")).unwrap_or_default();
        outcome = Err(Failure::failed(format!("it was stopped after {longest} s{why}")));
    }
    (outcome, began.elapsed().as_secs_f64())
}

#[derive(Default)]
struct Tally {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Tally {
    fn count(&mut self, scenario: &Scenario, (outcome, seconds): &(Outcome, f64)) {
        match outcome {
            Ok(()) => {
                self.passed += 1;
                println!("ok {} ({seconds:.1} s)", scenario.name);
            }
            Err(Failure::Failed(why)) => {
                self.failed += 1;
                println!("FAIL {}: {why}", scenario.name);
            }
            Err(Failure::Skipped(why)) => {
                self.skipped += 1;
                println!("skipped {}: {why}", scenario.name);
            }
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Takes down what runs that were killed left: labs named as ours, whose builder is gone.
fn clear_leftovers() {
    for name in Record::names().iter().filter(|name| name.starts_with(world::PREFIX)) {
        let builder: Option<Process> = Record::load(name).ok().map(|record| record.builder);
        if builder.is_none_or(|builder| !builder.is_alive())
            && let Err(error) = down(name)
        {
            println!("left by an earlier run: {error}");
        }
    }
}
