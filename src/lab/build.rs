//! Building a lab, working in it, and taking it down without a trace.
//!
//! Whatever is started is on record before it is relied upon, so that [`down`] after a crash at
//! any point finds it. What lives in the lab's namespaces but was started by others is found by
//! its namespace, as long as the keeper vouches for that being ours.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::director::{RealServerKind, Subject};
use super::error::LabError;
use super::namespace;
use super::process::{self, Process};
use super::record::{ProcessRecord, Record, RoleRecord};
use super::topology::{Plan, Role, Topology, VIP};
use super::wait::{Deadline, until};

/// How long processes have to end in an orderly way when a lab goes down.
const GRACE: Duration = Duration::from_millis(1500);

/// How much is said while building.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Telling {
    Nothing,
    /// What an operator would type: the director, its ipvsadm lines, the real servers.
    Commands,
    /// Also how the network is laid.
    Everything,
}

/// What is to be built.
#[derive(Clone, Debug)]
pub struct Options {
    /// The ulvs program.
    pub program: PathBuf,
    pub name: String,
    pub topology: Topology,
    pub subject: Subject,
    /// Who prepares the real servers of a dr or tun lab.
    pub real_servers: RealServerKind,
    /// What `ulvs realserver` is told besides what it has to be.
    pub real_server_arguments: Vec<String>,
    /// Whether to start a director.
    pub director: bool,
    /// Whether to give it the usual services: web on port 80, names on UDP port 53.
    pub services: bool,
    pub telling: Telling,
}

impl Options {
    /// A whole lab of `topology`, as `ulvs lab up` builds it.
    pub fn new(program: impl Into<PathBuf>, topology: Topology, subject: Subject) -> Options {
        Options {
            program: program.into(),
            name: topology.name().to_owned(),
            topology,
            subject,
            real_servers: subject.into(),
            real_server_arguments: Vec::new(),
            director: true,
            services: true,
            telling: Telling::Nothing,
        }
    }
}

/// A lab that is up. Dropping it leaves it up.
#[derive(Debug)]
pub struct Lab {
    program: PathBuf,
    plan: Plan,
    record: Record,
    telling: Telling,
}

impl Lab {
    /// Builds a lab; what a crash left of an earlier one with the same name is cleared away first.
    ///
    /// # Errors
    /// Any [`LabError`]; nothing of the lab is left then.
    pub fn up(options: &Options) -> Result<Lab, LabError> {
        check_name(&options.name)?;
        let plan = options.topology.plan(options.subject);
        if find_program("ip").is_none() {
            return Err(LabError::MissingProgram { program: "ip", package: "iproute2" });
        }
        if options.topology == Topology::Tun && options.real_servers == RealServerKind::Ulvs {
            File::options().read(true).write(true).open("/dev/net/tun").map_err(LabError::NoTunDevice)?;
        }
        options.subject.prepare(options.real_servers)?;
        let builder = Process::current().ok_or_else(|| LabError::io("/proc")(io::ErrorKind::NotFound.into()))?;
        claim(&options.name, options.telling)?;
        let record = Record {
            name: options.name.clone(),
            topology: options.topology,
            subject: options.subject,
            builder,
            keeper: None,
            roles: Vec::new(),
            processes: Vec::new(),
            complete: false,
        };
        let mut lab = Lab { program: options.program.clone(), plan, record, telling: options.telling };
        match lab.build(options) {
            Ok(()) => Ok(lab),
            Err(error) => {
                let _ = down(&options.name);
                Err(error)
            }
        }
    }

    /// The lab called `name`, which must be up.
    ///
    /// # Errors
    /// [`LabError::Unknown`], [`LabError::Broken`].
    pub fn open(program: impl Into<PathBuf>, name: &str) -> Result<Lab, LabError> {
        let record = Record::load(name)?;
        if record.live_keeper().is_none() {
            return Err(LabError::Broken { name: name.to_owned() });
        }
        let plan = record.topology.plan(record.subject);
        Ok(Lab { program: program.into(), plan, record, telling: Telling::Nothing })
    }

    pub fn name(&self) -> &str {
        &self.record.name
    }

    pub fn subject(&self) -> Subject {
        self.record.subject
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Where the lab's files are: logs by role and program, what the servers serve.
    pub fn directory(&self) -> PathBuf {
        self.record.directory()
    }

    /// `program` inside `role`. Its process is the one that is spawned, so it can be killed by number.
    pub fn command(&self, role: &str, program: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["lab", "exec", &self.record.name, "--role", role, "--", program]).env("PATH", search_path());
        command
    }

    /// `ulvs ARGUMENTS` inside `role`.
    pub fn ulvs(&self, role: &str, arguments: &[&str]) -> Command {
        let mut command = self.command(role, &self.program.to_string_lossy());
        command.args(arguments);
        command
    }

    /// Starts `command` (made by [`Lab::command`]) in the background, on record, writing to a log
    /// that [`Lab::last_words`] reads by the name `what`.
    ///
    /// # Errors
    /// What spawning and writing the record give.
    pub fn start(&mut self, role: &str, what: &str, mut command: Command) -> Result<Process, LabError> {
        let log = self.log(role, what);
        let open = || File::options().create(true).append(true).open(&log).map_err(LabError::at(&log));
        command.stdin(Stdio::null()).stdout(open()?).stderr(open()?).process_group(0);
        self.tell(Telling::Commands, role, &words_after_exec(&command));
        let child = command.spawn().map_err(LabError::io(what))?;
        let process = Process::of(child.id()).ok_or_else(|| LabError::Ended {
            what: what.to_owned(),
            status: "before it was looked at".to_owned(),
            output: String::new(),
        })?;
        self.record.processes.push(ProcessRecord { role: role.to_owned(), what: what.to_owned(), process });
        self.record.save()?;
        Ok(process)
    }

    /// Waits until `process`, started as `what`, has said `text`.
    ///
    /// # Errors
    /// [`LabError::Ended`] where it ends first, [`LabError::Late`] where it takes too long.
    pub fn await_line(&self, role: &str, what: &str, process: Process, text: &str) -> Result<(), LabError> {
        let seconds = 15;
        let said = Deadline::after_seconds(seconds).wait_for(|| {
            let alive = process.is_alive();
            let said = self.last_words(role, what).contains(text);
            (said || !alive).then_some(said)
        });
        match said {
            Some(true) => Ok(()),
            Some(false) => Err(LabError::Ended {
                what: format!("{what} in {role}"),
                status: "too early".to_owned(),
                output: self.last_words(role, what),
            }),
            None => Err(LabError::Late { what: format!("`{text}' from {what} in {role}"), seconds }),
        }
    }

    /// What the program started as `what` wrote last, at most some thousand characters.
    pub fn last_words(&self, role: &str, what: &str) -> String {
        let text = fs::read(self.log(role, what)).unwrap_or_default();
        String::from_utf8_lossy(&text[text.len().saturating_sub(4000)..]).trim().to_owned()
    }

    /// Runs `command` to its end.
    ///
    /// # Errors
    /// [`LabError::Command`] with its output where it fails.
    pub fn check(&self, role: &str, what: &str, command: &mut Command) -> Result<String, LabError> {
        let output = command.stdin(Stdio::null()).output().map_err(LabError::io(what))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = format!("{} {}", text(&output.stderr), text(&output.stdout));
        Err(LabError::Command { what: what.to_owned(), role: role.to_owned(), output: said.trim().to_owned() })
    }

    /// Writes settings below /proc/sys and runs lines of ip(8) in `role`; `@ROLE` in a line is that
    /// role's namespace.
    ///
    /// # Errors
    /// [`LabError::Command`] with what was refused.
    pub fn shape(&self, role: &str, settings: &[(String, &str)], lines: &[String]) -> Result<(), LabError> {
        let mut script = String::from("set -e\n");
        for (path, value) in settings {
            let line = format!("echo {value} > /proc/sys/{path}");
            self.tell(Telling::Everything, role, &line);
            script.push_str(&line);
            script.push('\n');
        }
        script.push_str("ip -batch - <<'.'\n");
        for line in lines {
            self.tell(Telling::Everything, role, &format!("ip {line}"));
            script.push_str(&self.with_namespaces(line));
            script.push('\n');
        }
        script.push_str(".\n");
        let mut command = self.command(role, "sh");
        command.args(["-c", &script]);
        self.check(role, "laying the network", &mut command).map(drop)
    }

    /// Whether something listens at TCP `port` in `role`.
    pub fn is_listening(&self, role: &str, port: u16) -> bool {
        let Ok(record) = self.record.role(role) else { return false };
        ["tcp", "tcp6"].iter().any(|table| {
            let text = fs::read_to_string(format!("/proc/{}/net/{table}", record.task)).unwrap_or_default();
            let wanted = format!(":{port:04X}");
            text.lines().skip(1).any(|line| {
                let mut fields = line.split_whitespace();
                fields.nth(1).is_some_and(|local| local.ends_with(&wanted)) && fields.nth(1) == Some("0A")
            })
        })
    }

    /// The number of the thread that keeps `role`'s namespace: `/proc/NUMBER/net` shows its tables.
    ///
    /// # Errors
    /// [`LabError::UnknownRole`].
    pub fn task(&self, role: &str) -> Result<u32, LabError> {
        Ok(self.record.role(role)?.task)
    }

    /// The record, for listings.
    pub fn record(&self) -> &Record {
        &self.record
    }

    pub(super) fn tell(&self, telling: Telling, role: &str, line: &str) {
        if self.telling >= telling {
            say(&format!("{role:>8}# {line}"));
        }
    }

    fn build(&mut self, options: &Options) -> Result<(), LabError> {
        self.record.save()?;
        let names: Vec<String> = self.plan.roles.iter().map(|role| role.name.clone()).collect();
        let keeper = namespace::start_keeper(&self.program, &self.record.name, &names)?;
        self.record.keeper = Some(keeper.process);
        self.record.roles =
            self.plan.roles.iter().zip(&keeper.tasks).map(|(role, (_, task))| role_record(role, *task)).collect();
        self.record.save()?;
        keeper.stay()?;
        for role in &self.plan.roles {
            if !role.wires.is_empty() {
                self.shape(&role.name, &[], &role.wires)?;
            }
        }
        for role in &self.plan.roles {
            self.shape(&role.name, &role.settings, &role.lines)?;
        }
        self.await_links()?;
        self.prepare_real_servers(VIP, options.real_servers, &options.real_server_arguments)?;
        self.start_servers()?;
        if options.director {
            self.start_director(&self.director_arguments())?;
            if options.services {
                let web = self.plan.service_lines("-t", 80, "rr");
                let names = self.plan.service_lines("-u", 53, "rr");
                for line in web.iter().chain(&names) {
                    self.tell(Telling::Commands, "director", &format!("ipvsadm {line}"));
                    self.configure(line)?;
                }
            }
        }
        self.record.complete = true;
        self.record.save()
    }

    /// Waits until the kernel sends by every link whose carrier is there. Of a pair that is set up the end that was up
    /// first stays without a queue for a moment, in which what its stack sends is lost: also an answer of ARP's.
    fn await_links(&self) -> Result<(), LabError> {
        for role in &self.plan.roles {
            let mut failed = None;
            until(15, &format!("links of {} that send", role.name), || {
                let mut list = self.command(&role.name, "ip");
                list.args(["-oneline", "link", "show", "up"]);
                match self.check(&role.name, "listing the links", &mut list) {
                    Ok(links) => !links.lines().any(is_about_to_send),
                    Err(error) => {
                        failed = Some(error);
                        true
                    }
                }
            })?;
            failed.map_or(Ok(()), Err)?;
        }
        Ok(())
    }

    fn with_namespaces(&self, line: &str) -> String {
        let words = line.split(' ').map(|word| {
            let task = word.strip_prefix('@').and_then(|name| self.record.role(name).ok()).map(|role| role.task);
            task.map_or_else(|| word.to_owned(), |task| task.to_string())
        });
        words.collect::<Vec<_>>().join(" ")
    }

    fn log(&self, role: &str, what: &str) -> PathBuf {
        self.directory().join(format!("{role}-{}.log", what.replace([' ', '/'], "-")))
    }
}

/// Takes the lab called `name` down: ends the recorded processes and whatever else lives in its
/// namespaces, then the namespaces, then the record. Says what was ended.
///
/// # Errors
/// [`LabError::Unknown`] where there is none; [`LabError::Inside`] where the caller is in it;
/// [`LabError::Late`] where a process cannot be ended.
pub fn down(name: &str) -> Result<Vec<String>, LabError> {
    check_name(name)?;
    let record = match Record::load(name) {
        Ok(record) => record,
        // The builder crashed before it wrote anything: there is only the claim.
        Err(error) if !Record::directory_of(name).exists() => return Err(error),
        Err(LabError::Unknown { .. }) => return remove_directory(name).map(|()| Vec::new()),
        Err(error) => return Err(error),
    };
    let namespaces: HashSet<String> = match record.live_keeper() {
        Some(_) => record.roles.iter().filter_map(|role| process::namespace_of(role.task)).collect(),
        None => HashSet::new(),
    };
    if process::namespace_of(std::process::id()).is_some_and(|own| namespaces.contains(&own)) {
        return Err(LabError::Inside { name: name.to_owned() });
    }
    let known: Vec<Process> = record.processes.iter().map(|known| known.process).collect();
    let mut ended: Vec<String> = record
        .processes
        .iter()
        .filter(|known| known.process.is_alive())
        .map(|known| format!("{} in {} (process {})", known.what, known.role, known.process.id))
        .collect();
    let others: Vec<Process> =
        process::inside(&namespaces).into_iter().filter(|other| !known.contains(other)).collect();
    ended.extend(others.iter().map(|other| format!("process {}, which had been started inside", other.id)));
    let mut processes = [known, others].concat();
    end(&processes, Signal::SIGTERM);
    // Some may have started others, or ended while these were looked for.
    processes.extend(process::inside(&namespaces));
    end(&processes, Signal::SIGKILL);
    end(record.keeper.as_slice(), Signal::SIGKILL);
    if processes.iter().chain(&record.keeper).any(|process| process.is_alive()) {
        return Err(LabError::Late { what: format!("the end of lab {name}'s processes"), seconds: GRACE.as_secs() });
    }
    remove_directory(name)?;
    Ok(ended)
}

/// Whether a line of `ip -oneline link` tells of a link whose carrier the kernel has not acted upon yet.
fn is_about_to_send(line: &str) -> bool {
    let flags = line.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(flags, _)| flags);
    flags.split(',').any(|flag| flag == "LOWER_UP") && line.contains(" state DOWN ")
}

/// Prints a line for people. Where nobody reads it any more, the work goes on all the same.
pub(super) fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Whether `name` may name a lab.
///
/// # Errors
/// [`LabError::Name`].
pub fn check_name(name: &str) -> Result<(), LabError> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let well_formed = name.len() <= 24 && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(legal);
    if well_formed { Ok(()) } else { Err(LabError::Name(name.to_owned())) }
}

/// The file that `program` would be run from, looked for where administrators' programs are too.
pub fn find_program(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&search_path()).map(|directory| directory.join(program)).find(|path| path.is_file())
}

fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    path.push(":/usr/sbin:/sbin");
    path
}

/// Makes the lab's directory; one that a crash left is taken down first.
fn claim(name: &str, telling: Telling) -> Result<(), LabError> {
    let directory = Record::directory_of(name);
    let taken = |error: &io::Error| error.kind() == io::ErrorKind::AlreadyExists;
    match Record::claim(name) {
        Err(error) if taken(&error) => {}
        other => return other.map_err(LabError::at(&directory)),
    }
    if let Ok(record) = Record::load(name) {
        match record.live_keeper() {
            Some(keeper) if record.complete => {
                return Err(LabError::AlreadyUp { name: name.to_owned(), keeper: keeper.id });
            }
            _ if !record.complete && record.builder.is_alive() => {
                return Err(LabError::BeingBuilt { name: name.to_owned(), builder: record.builder.id });
            }
            _ => {}
        }
    }
    if telling > Telling::Nothing {
        say(&format!("clearing away what an earlier lab {name} left behind"));
    }
    down(name)?;
    Record::claim(name).map_err(LabError::at(&directory))
}

fn remove_directory(name: &str) -> Result<(), LabError> {
    let directory = Record::directory_of(name);
    fs::remove_dir_all(&directory).map_err(LabError::at(&directory))?;
    // The base stays while other labs need it; the attempt fails then.
    let _ = fs::remove_dir(Record::base());
    Ok(())
}

/// Sends `signal` to `processes` and waits until they are gone, at most the time of grace.
fn end(processes: &[Process], signal: Signal) {
    for process in processes {
        process.signal(signal);
    }
    let _ = Deadline::after(GRACE).wait_for(|| processes.iter().all(|process| !process.is_alive()).then_some(()));
}

fn role_record(role: &Role, task: u32) -> RoleRecord {
    let addresses = role.addresses.iter().map(|(link, prefix)| format!("{link} {prefix}")).collect();
    RoleRecord { name: role.name.clone(), purpose: role.purpose.to_owned(), task, addresses }
}

/// The command as it would be typed inside the namespace.
fn words_after_exec(command: &Command) -> String {
    let words: Vec<String> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let typed = words.iter().position(|word| word == "--").map_or(&words[..], |at| &words[at + 1..]);
    let Some((program, arguments)) = typed.split_first() else { return String::new() };
    let name = Path::new(program).file_name().map_or(program.clone(), |name| name.to_string_lossy().into_owned());
    [&[name], arguments].concat().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_before_they_become_paths() {
        for good in ["nat", "t-12-dr", "a1"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "../nat", "Nat", "1nat", "nat/x", "a-name-that-is-longer-than-allowed", "n t"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_link_sends_once_its_state_says_so() {
        let line = |flags: &str, state: &str| {
            format!("2: eth0@if3: <{flags}> mtu 1500 qdisc noqueue state {state} mode DEFAULT group default qlen 1000")
        };
        let rows = [
            ("BROADCAST,MULTICAST,UP,LOWER_UP", "UP", false),
            ("BROADCAST,MULTICAST,UP,LOWER_UP", "DOWN", true),
            ("NO-CARRIER,BROADCAST,MULTICAST,UP", "DOWN", false),
            ("BROADCAST,MULTICAST,UP,LOWER_UP", "UNKNOWN", false),
        ];
        for (flags, state, expected) in rows {
            assert_eq!(is_about_to_send(&line(flags, state)), expected, "{flags} {state}");
        }
        assert!(!is_about_to_send("") && !is_about_to_send("nonsense < state DOWN >"));
    }
}
