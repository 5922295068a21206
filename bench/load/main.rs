//! The load of the benchmarks: what sends, answers, and measures inside the namespaces.
//!
//! ```text
//! load flood      small UDP frames as fast as one core can hand them to the kernel, or at a rate
//! load count      how many frames an interface received in a window, and who used how much CPU
//! load respond    a UDP server that sends back what it gets
//! load ping       round trips to it, one after the other: a latency histogram
//! load serve      a TCP server that answers each request and closes
//! load request    short requests to it, many at once
//! ```
//!
//! Each prints one line of JSON when it is done, and nothing else on standard output. Servers run
//! until they are ended. Times are seconds unless a name says otherwise.

// What measures time reads the clock.
#![allow(clippy::disallowed_methods)]

mod count;
mod flood;
mod frames;
mod latency;
mod requests;
mod socket;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "The load of the benchmarks")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send small UDP frames out of an interface
    Flood(flood::Arguments),
    /// Count what an interface receives, and the CPU used meanwhile
    Count(count::Arguments),
    /// Send back every datagram
    Respond(latency::RespondArguments),
    /// Measure round trips
    Ping(latency::PingArguments),
    /// Answer short requests
    Serve(requests::ServeArguments),
    /// Make short requests
    Request(requests::RequestArguments),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Flood(arguments) => flood::run(&arguments),
        Command::Count(arguments) => count::run(&arguments),
        Command::Respond(arguments) => latency::respond(&arguments),
        Command::Ping(arguments) => latency::ping(&arguments),
        Command::Serve(arguments) => requests::serve(&arguments),
        Command::Request(arguments) => requests::request(&arguments),
    };
    match outcome {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}
