//! Starting a director: in the foreground, or by itself for an ipvsadm that finds none.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use crate::control::director::Director;
use crate::control::socket;
use crate::engine::conn::ConnectionTable;
use crate::engine::{Config, HostStack};
use crate::host::keep_descriptors;
use crate::host::posture::Forwarding;
use crate::worker::Clock;

use super::keeper::Keeper;
use super::options::{Cores, Options, VipMac};
use super::permit::Permission;
use super::server::Server;
use super::surroundings::Surroundings;
use super::workers::{Plan, Workers};

/// The line that says that a director answers now.
const READY: &str = "ready";

/// The line that says that this user may not run a director.
const NOT_PERMITTED: &str = "not permitted";

/// Runs a director until it is told to end.
///
/// # Errors
/// What keeps it from starting, or ended it, with what to do about it.
pub fn run(options: &Options) -> io::Result<()> {
    let outcome = direct(options);
    if options.detach && outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
        // Whoever started us has words of its own for that. Nobody may be listening any more.
        let _ = writeln!(io::stdout(), "{NOT_PERMITTED}");
    }
    outcome
}

fn direct(options: &Options) -> io::Result<()> {
    // Before any thread starts, so that none of them is interrupted.
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block()?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;

    let listener = socket::listen().map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            io::Error::new(error.kind(), "a director runs in this network namespace already; `ulvs status` shows it")
        }
        _ => error,
    })?;
    let clock = Clock::new();
    let keeper = Keeper::open(options)?;
    let seed = seed()?;
    let plan = Plan {
        workers: usize::from(options.workers),
        cores: cores(&options.cores),
        nice: options.nice,
        engine: Config { maximum_connections: options.max_connections, seed, host_stack: HostStack::Beside },
        ftp_ports: options.ftp_ports.0.clone(),
    };
    let permission = Permission {
        by_tun: options.tun.is_some(),
        guarded: keeper.is_guarding(),
        forwarding: Forwarding::read([]),
        virtual_mac: options.vip_mac.own(),
        gateways: options.gateways().collect(),
        ..Permission::default()
    };
    let mut workers = Workers::start(&plan, clock, permission)?;
    let mut surroundings = Surroundings::new(options, keeper, seed)?;
    if let Some(hash) = surroundings.steering() {
        workers.set_steering(hash);
    }
    let network = match surroundings.start(clock.now(), &mut workers) {
        Ok(network) => network,
        Err(error) => {
            workers.stop();
            return Err(error);
        }
    };
    let mut director = Director::new(clock.now(), workers, options.max_connections);
    director.set_ftp_ports(&options.ftp_ports.0);
    director.set_network(network);
    surroundings.settle(&mut director);
    let lines = introduction(options, &surroundings, director.fleet().permission.forwarding);
    surroundings.introduce(lines, &mut director);
    let mut out = io::stdout().lock();
    for line in &director.lines {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "{READY}")?;
    out.flush()?;
    drop(out);
    if options.detach {
        leave_terminal()?;
    }

    let mut server = Server::new(director, surroundings, clock, listener, signals)?;
    let outcome = server.run();
    server.surroundings.leave();
    server.director.fleet().stop();
    outcome
}

/// What `ulvs run` says at its start: what it listens on, how the kernel is kept away, and what
/// it may not do.
fn introduction(options: &Options, surroundings: &Surroundings, forwarding: Forwarding) -> Vec<String> {
    let mut lines = Vec::new();
    let links: Vec<&str> = surroundings.served().collect();
    let mut line = String::new();
    let _ = match links.len() {
        0 => write!(line, "links: none is up; waiting for one"),
        _ => write!(line, "links: {}", links.join(", ")),
    };
    let _ = write!(line, "; workers: {}", options.workers);
    let megabytes = (options.max_connections * ConnectionTable::BYTES_PER_CONNECTION) >> 20;
    let _ = write!(line, "; at most {} connections ({megabytes} MiB when full)", options.max_connections);
    lines.push(line);
    match options.vip_mac {
        _ if options.tun.is_some() => {}
        VipMac::Own(mac) => lines.push(format!("virtual addresses that the host does not have answer with {mac}")),
        VipMac::Off => lines.push("virtual addresses answer with the interface's own address".to_owned()),
    }
    lines.extend(surroundings.keeper.lines(forwarding));
    lines
}

/// The cores that workers are pinned to.
fn cores(choice: &Cores) -> Vec<usize> {
    match choice {
        Cores::Any => Vec::new(),
        Cores::List(list) => list.clone(),
        Cores::Auto => {
            let Ok(allowed) = sched_getaffinity(Pid::from_raw(0)) else { return Vec::new() };
            (0..CpuSet::count()).rev().filter(|&core| allowed.is_set(core).unwrap_or(false)).collect()
        }
    }
}

/// Randomness that nobody outside can guess.
fn seed() -> io::Result<u64> {
    let mut bytes = [0; 8];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Lets go of the terminal and the pipe to whoever started us.
fn leave_terminal() -> io::Result<()> {
    let nowhere = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&nowhere)?;
    nix::unistd::dup2_stdout(&nowhere)?;
    nix::unistd::dup2_stderr(&nowhere)?;
    Ok(())
}

/// Starts a director in the background and waits until it answers.
///
/// # Errors
/// What it said instead: `PermissionDenied` where this user may not run one.
pub fn ensure() -> io::Result<()> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("ulvs").args(["run", "--detach"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).current_dir("/");
    // A group of its own: what ends the script that called us does not end the director.
    command.process_group(0);
    // A lock that the script holds by a descriptor is not the director's to hold for ever.
    keep_descriptors()?;
    let mut child = command.spawn()?;
    let Some(out) = child.stdout.take() else { return Err(io::Error::other("the director has no output")) };
    let mut kind = io::ErrorKind::Other;
    for line in BufReader::new(out).lines() {
        match line?.as_str() {
            READY => return Ok(()),
            NOT_PERMITTED => kind = io::ErrorKind::PermissionDenied,
            _ => {}
        }
    }
    let mut said = String::new();
    if let Some(mut err) = child.stderr.take() {
        io::Read::read_to_string(&mut err, &mut said)?;
    }
    child.wait()?;
    // Another one may have been faster.
    if socket::Client::connect().is_ok() {
        return Ok(());
    }
    Err(io::Error::new(kind, format!("the director could not be started: {}", said.trim_end())))
}
