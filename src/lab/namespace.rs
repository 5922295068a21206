//! How the namespaces of a lab are kept, and entered.
//!
//! One process, the keeper, has a thread in each network namespace. That is all that keeps them:
//! no name in `/run/netns`, no mount, so an ordinary user's user namespace will do as well as
//! root, and when the keeper is gone so are the namespaces with every link in them, crash or not.
//! A namespace is entered by way of `/proc/THREAD/ns/net`; `nsenter -t THREAD -n` does the same.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{getegid, geteuid, gettid};

use super::error::LabError;
use super::process::Process;
use super::record::Record;

/// A keeper that waits to be told to stay; it ends if this is dropped first.
pub struct NewKeeper {
    child: Child,
    pub process: Process,
    /// Role and thread, in the order asked for.
    pub tasks: Vec<(String, u32)>,
}

/// Starts `program lab keep` with a namespace for each of `roles`.
///
/// # Errors
/// [`LabError::NotPermitted`] where the kernel refuses namespaces.
pub fn start_keeper(program: &Path, lab: &str, roles: &[String]) -> Result<NewKeeper, LabError> {
    let mut child = Command::new(program)
        .args(["lab", "keep", lab])
        .args(roles)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // Whoever presses Ctrl-C or logs out does not mean the keeper.
        .process_group(0)
        .spawn()
        .map_err(LabError::at(program))?;
    let Some(output) = child.stdout.take() else { return Err(ended_early()) };
    let mut tasks = Vec::new();
    for line in BufReader::new(output).lines() {
        let line = line.map_err(LabError::io("the keeper of the namespaces"))?;
        match line.split_once(' ') {
            Some(("refused", why)) => return Err(LabError::NotPermitted(why.to_owned())),
            Some((role, task)) => tasks.push((role.to_owned(), task.parse().map_err(|_| ended_early())?)),
            None => break,
        }
    }
    match Process::of(child.id()) {
        Some(process) if tasks.len() == roles.len() => Ok(NewKeeper { child, process, tasks }),
        _ => Err(ended_early()),
    }
}

fn ended_early() -> LabError {
    LabError::io("the keeper of the namespaces")(io::ErrorKind::UnexpectedEof.into())
}

impl NewKeeper {
    /// Lets the keeper outlive its starter; to be called once it is on record.
    ///
    /// # Errors
    /// What writing to a pipe gives.
    pub fn stay(mut self) -> Result<(), LabError> {
        match self.child.stdin.take() {
            Some(mut input) => input.write_all(b"stay\n").map_err(LabError::io("the keeper of the namespaces")),
            None => Err(ended_early()),
        }
    }
}

/// The keeper's whole life: makes the namespaces, says so, waits for leave to stay, and stays
/// until it is killed.
///
/// # Errors
/// What its pipes give.
pub fn keep(lab: &str, roles: &[String]) -> io::Result<()> {
    let mut output = io::stdout();
    if let Err(why) = gain_network_namespace() {
        return writeln!(output, "refused {why}");
    }
    for role in roles {
        match thread_in_namespace(&format!("ulvs-{lab}-{role}")) {
            Ok(task) => writeln!(output, "{role} {task}")?,
            Err(why) => return writeln!(output, "refused {why}"),
        }
    }
    writeln!(output, "ready")?;
    output.flush()?;
    let mut leave = String::new();
    io::stdin().read_line(&mut leave)?;
    if leave == "stay\n" {
        stay_forever();
    }
    Ok(())
}

fn stay_forever() -> ! {
    loop {
        thread::park();
    }
}

/// A network namespace for this thread: as who we are, or else as root of a new user namespace.
fn gain_network_namespace() -> io::Result<()> {
    if unshare(CloneFlags::CLONE_NEWNET).is_ok() {
        return Ok(());
    }
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))?;
    Ok(unshare(CloneFlags::CLONE_NEWNET)?)
}

/// Starts a thread called `name` (cut to the kernel's 15 characters) that stays in a network
/// namespace of its own.
fn thread_in_namespace(name: &str) -> io::Result<i32> {
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().name(name.to_owned()).stack_size(64 << 10).spawn(move || {
        let made = unshare(CloneFlags::CLONE_NEWNET).map(|()| gettid().as_raw());
        let keep = made.is_ok();
        // The receiver waits below for exactly this message.
        let _ = sender.send(made);
        if keep {
            stay_forever();
        }
    })?;
    Ok(receiver.recv().map_err(io::Error::other)??)
}

/// Replaces this process, which must have one thread, by `command` inside `role` of `record`'s lab.
/// Returns only where that fails.
pub fn exec(record: &Record, role: &str, command: &[String]) -> LabError {
    let Some((program, arguments)) = command.split_first() else {
        return LabError::io("a command to run")(io::ErrorKind::InvalidInput.into());
    };
    if let Err(error) = enter(record, role) {
        return error;
    }
    LabError::io(program.as_str())(Command::new(program).args(arguments).exec())
}

fn enter(record: &Record, role: &str) -> Result<(), LabError> {
    let task = record.role(role)?.task;
    let keeper = record.live_keeper().ok_or_else(|| LabError::Broken { name: record.name.clone() })?;
    let at = |what: &str, task: u32| Path::new("/proc").join(task.to_string()).join("ns").join(what);
    let open = |path: &Path| File::open(path).map_err(LabError::at(path));
    let network = open(&at("net", task))?;
    let (theirs, ours) = (at("user", keeper.id), Path::new("/proc/self/ns/user"));
    let refused = |errno: nix::Error| LabError::NotPermitted(io::Error::from(errno).to_string());
    if fs::read_link(&theirs).map_err(LabError::at(&theirs))? != fs::read_link(ours).map_err(LabError::at(ours))? {
        setns(open(&theirs)?, CloneFlags::CLONE_NEWUSER).map_err(refused)?;
    }
    setns(network, CloneFlags::CLONE_NEWNET).map_err(refused)
}
