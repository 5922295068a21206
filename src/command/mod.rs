//! The command line: one subcommand a file, or a front end of its own.

mod ask;
mod ipvsadm;
mod mark;
mod proc;
mod settings;
mod stats;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::ipvsadm::Program;
use crate::{lab, random, realserver, replay, run};

/// Linux Virtual Server in user space.
#[derive(Parser, Debug)]
#[command(name = "ulvs", version, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Run(run::Options),
    /// The drop-in ipvsadm: every command and option of ipvsadm 1.31
    #[command(disable_help_flag = true)]
    Ipvsadm {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<OsString>,
    },
    Realserver(realserver::Arguments),
    Lab(lab::Arguments),
    /// Give packets firewall marks by rules of the director's own
    #[command(subcommand)]
    Mark(mark::Command),
    /// Print what the kernel's files /proc/net/ip_vs* would hold
    Proc(proc::Options),
    /// Show or set net.ipv4.vs settings
    Sysctl(settings::Options),
    /// Show every count of packets sent, left alone and dropped, with its reason
    Stats(stats::Options),
    /// Show how the director of this network namespace runs
    Status,
    /// Answer for virtual addresses and gateways, taking them over from another director
    Hold,
    /// Leave virtual addresses and gateways to another director
    Release,
    /// End the director of this network namespace
    Stop,
    #[command(hide = true)]
    Random(random::Options),
    /// Replay recorded transcripts of a real kernel through the engine
    Replay(replay::Options),
}

/// Runs what the command line asks for.
pub fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"))
        .format(|out, record| {
            use std::io::Write as _;
            writeln!(out, "ulvs: {}", record.args())
        })
        .init();
    let mut arguments = std::env::args_os();
    let called_as = arguments.next().unwrap_or_default();
    if let Some(program) = Program::called(Path::new(&called_as)) {
        return ipvsadm::run(program, called_as, arguments.collect());
    }
    match Cli::parse().command {
        Command::Run(options) => outcome(run::run(&options)),
        Command::Ipvsadm { arguments } => ipvsadm::run(Program::Ipvsadm, "ipvsadm".into(), arguments),
        Command::Realserver(arguments) => realserver::command(arguments),
        Command::Lab(arguments) => lab::command(arguments),
        Command::Mark(command) => outcome(mark::run(&command)),
        Command::Proc(options) => outcome(proc::run(&options)),
        Command::Sysctl(options) => settings::command(&options),
        Command::Stats(options) => outcome(stats::run(&options)),
        Command::Status => outcome(stats::status()),
        Command::Hold => outcome(stats::hold(true)),
        Command::Release => outcome(stats::hold(false)),
        Command::Stop => outcome(stats::stop()),
        Command::Random(options) => outcome(random::run(&options)),
        Command::Replay(options) => match replay::run(&options, &mut std::io::stdout().lock()) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => complain(&error),
        },
    }
}

fn outcome(result: std::io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}

fn complain(error: &std::io::Error) -> ExitCode {
    eprintln!("ulvs: {error}");
    ExitCode::FAILURE
}
