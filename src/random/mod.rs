//! `ulvs random`: scenarios from seeds, played to a kernel to be recorded, or to the engine to be seen.
//!
//! A scenario is a few services of any kind, clients and servers that talk by them in order and out
//! of it, an operator who changes things meanwhile, and time that passes. What happens next depends
//! on the seed, and on what the director did so far: a server that was given a request answers it.
//!
//! ```text
//!  dice ─► plan      services, servers, settings, as ipvsadm's words
//!       ─► flow      conversations: TCP, UDP, SCTP, as both ends have them
//!       ─► trouble   ICMP errors, strays, pieces
//!       ─► pace      pauses, after which no timer is in doubt
//!             │
//!          scenario ─► stage ─► world: kernel (namespaces in a machine that has ip_vs), or engine
//!                        └ a transcript
//! ```
//!
//! Recordings are transcripts, which [`crate::replay`] compares with the engine; they stand by
//! themselves, so that a change here does not touch those there are.

mod dice;
mod engine;
mod flow;
mod frames;
mod kernel;
mod lab;
mod pace;
mod plan;
mod scenario;
mod stage;
mod trouble;
mod world;

use std::io::{self, Write};
use std::path::PathBuf;

use crate::replay::packed;
use dice::Dice;
use plan::Mood;
use world::World;

/// Make random scenarios, and record what a kernel does, or play them to the engine
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Seeds: numbers, or FIRST-LAST
    #[arg(required = true, value_name = "SEED")]
    seeds: Vec<String>,
    /// Where the recording goes
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Play to the kernel of this machine instead of the engine: see `netns-tests/record`
    #[arg(long)]
    kernel: bool,
    /// Frames in each scenario
    #[arg(long, default_value_t = 300)]
    frames: usize,
}

/// Plays the scenarios of some seeds and writes one packed recording of them all.
///
/// # Errors
/// A seed that is none, a world that cannot be had, a file that cannot be written.
pub fn run(options: &Options) -> io::Result<()> {
    let mut transcripts = Vec::new();
    for seed in seeds(&options.seeds)? {
        let mood = Mood::draw(&mut Dice::new(seed));
        let mut world: Box<dyn World> = match options.kernel {
            true => Box::new(kernel::Kernel::new(mood.mtu)?),
            false => Box::new(engine::InProcess::new(mood.mtu)),
        };
        let transcript = scenario::play(seed, options.frames, &mut *world, mood)?;
        writeln!(io::stderr(), "{}: {} steps", transcript.name, transcript.steps.len())?;
        transcripts.push(transcript);
    }
    std::fs::write(&options.to, packed::pack(&transcripts))
}

fn seeds(words: &[String]) -> io::Result<Vec<u64>> {
    let mut seeds = Vec::new();
    for word in words {
        let number = |text: &str| {
            text.parse::<u64>().map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("`{word}' is no seed")))
        };
        match word.split_once('-') {
            Some((first, last)) => seeds.extend(number(first)?..=number(last)?),
            None => seeds.push(number(word)?),
        }
    }
    Ok(seeds)
}
