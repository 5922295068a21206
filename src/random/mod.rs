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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::{self, Action, Transcript};

    fn play(seed: u64) -> Transcript {
        let mood = Mood::draw(&mut Dice::new(seed));
        let mut world = engine::InProcess::new(mood.mtu);
        scenario::play(seed, 120, &mut world, mood).unwrap()
    }

    #[test]
    fn a_seed_gives_the_same_scenario_and_what_the_engine_did_it_does_again() {
        for seed in 1..20 {
            let transcript = play(seed);
            assert_eq!(format!("{transcript:?}"), format!("{:?}", play(seed)));
            replay::check(&transcript).unwrap();
        }
    }

    #[test]
    fn whatever_there_is_comes_up() {
        let transcripts: Vec<Transcript> = (1..120).map(play).collect();
        let steps = || transcripts.iter().flat_map(|transcript| &transcript.steps);
        for words in ["-s rr", "-s wrr", "-s lc", "-s wlc", "-s lblc", "-s lblcr", "-s dh", "-s sh", "-s sed", "-s nq"]
            .iter()
            .chain(&[
                "-s fo", "-s ovf", "-s mh", "-o", "-M ", "-f ", "-g", "-m", "gre", "gue", "remcsum", "-x", "-Z", "-E",
                "-D",
            ])
            .chain(&["--set", "-Lnc", "--stats", "--sctp-service", "-u [", ":0 -s"])
        {
            let is_there =
                |action: &Action| matches!(action, Action::Ipvsadm { arguments, .. } if arguments.contains(words));
            assert!(steps().any(|step| is_there(&step.action)), "no `{words}'");
        }
        // Protocol numbers of what was sent in, in either family; 0 for a fragment of IPv4.
        for (version, protocol) in
            [(4, 6), (4, 17), (4, 132), (4, 1), (4, 0), (6, 6), (6, 17), (6, 132), (6, 58), (6, 44)]
        {
            let is_there = |action: &Action| match action {
                Action::In { frame, .. } if frame[14] >> 4 == version => match version {
                    4 if frame[20] & 0x3f != 0 || frame[21] != 0 => protocol == 0,
                    4 => frame[23] == protocol,
                    _ => frame[20] == protocol,
                },
                _ => false,
            };
            assert!(steps().any(|step| is_there(&step.action)), "no IPv{version} packet of {protocol}");
        }
        assert!(steps().any(|step| matches!(step.action, Action::Setting { .. })));
        assert!(steps().any(|step| matches!(step.action, Action::Mark { .. })));
    }

    #[test]
    fn seeds_are_numbers_and_ranges() {
        assert_eq!(seeds(&["7".into(), "10-12".into()]).unwrap(), [7, 10, 11, 12]);
        assert!(seeds(&["x".into()]).is_err());
    }
}
