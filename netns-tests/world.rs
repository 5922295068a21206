//! What a scenario works with: its lab, and questions to what is in it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ulvs::lab::build::find_program;
use ulvs::lab::topology::endpoint;
use ulvs::lab::wait::Deadline;
use ulvs::lab::{Lab, LabError, Options, Process, RealServerKind, Subject, Topology, VIP, down};

use crate::session::Session;
use crate::{Failure, Outcome};

/// What the names of our labs begin with.
pub const PREFIX: &str = "t-";

/// Who answered how often.
pub type Answers = BTreeMap<String, u32>;

/// One scenario's surroundings.
pub struct World {
    name: String,
    pub subject: Subject,
    pub real_servers: RealServerKind,
    /// What `ulvs realserver` is told besides what it has to be, in the labs that are built from now on.
    pub real_server_arguments: Vec<String>,
    lab: Option<Lab>,
}

/// The director's part of a lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Director {
    /// Runs as the layout has it, without services.
    Started,
    /// Is left to the scenario.
    Absent,
}

impl World {
    pub fn new(scenario: &str, subject: Subject, real_servers: RealServerKind) -> World {
        let number = scenario.split('-').next().unwrap_or_default();
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        World { name, subject, real_servers, real_server_arguments: Vec::new(), lab: None }
    }

    /// Runs `scenario`; when the deadline passes, the lab is taken down, which ends every program
    /// that the scenario might be waiting for.
    pub fn guarded(&mut self, deadline: Deadline, scenario: fn(&mut World) -> Outcome) -> Outcome {
        let done = AtomicBool::new(false);
        let name = self.name.clone();
        thread::scope(|scope| {
            let guard = scope.spawn(|| {
                while !done.load(Ordering::Acquire) && !deadline.has_passed() {
                    thread::park_timeout(Duration::from_millis(100));
                }
                if !done.load(Ordering::Acquire) {
                    let _ = down(&name);
                }
            });
            let outcome = catch_unwind(AssertUnwindSafe(|| scenario(self)));
            done.store(true, Ordering::Release);
            guard.thread().unpark();
            outcome.unwrap_or_else(|_| Err(Failure::failed("the scenario itself panicked")))
        })
    }

    /// Builds a lab, in the place of the one before.
    pub fn build(&mut self, topology: Topology, director: Director) -> Outcome {
        self.end()?;
        let mut options = Options::new(ulvs(), topology, self.subject);
        options.name.clone_from(&self.name);
        options.real_servers = self.real_servers;
        options.real_server_arguments.clone_from(&self.real_server_arguments);
        options.services = false;
        options.director = director == Director::Started;
        self.lab = Some(Lab::up(&options)?);
        Ok(())
    }

    /// Takes the lab down.
    pub fn end(&mut self) -> Outcome {
        match self.lab.take().map(|lab| down(lab.name())) {
            Some(Err(error)) if !matches!(error, LabError::Unknown { .. }) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Leaves a lab alone that the scenario has taken down itself.
    pub fn forget(&mut self) {
        self.lab = None;
    }

    pub fn lab(&self) -> &Lab {
        self.lab.as_ref().expect("every scenario builds its lab first")
    }

    /// Skips the scenario where `program` is not installed.
    pub fn need(&self, program: &str, package: &str) -> Outcome {
        match find_program(program) {
            Some(_) => Ok(()),
            None => Err(Failure::skipped(format!("`{program}' is missing; install the package {package}"))),
        }
    }

    /// Skips the scenario where the subject is the kernel.
    pub fn only_ulvs(&self, why: &str) -> Outcome {
        match self.subject {
            Subject::Ulvs => Ok(()),
            Subject::Kernel => Err(Failure::skipped(format!("not the kernel's: {why}"))),
        }
    }

    /// Starts the director with `arguments`, or as the layout has it where there are none.
    pub fn start_director(&mut self, arguments: &[&str]) -> Result<Option<Process>, Failure> {
        let usual = self.lab().director_arguments();
        let own: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let lab = self.lab.as_mut().expect("every scenario builds its lab first");
        Ok(lab.start_director(if arguments.is_empty() { &usual } else { &own })?)
    }

    /// Runs an ipvsadm line that has to succeed; what it printed.
    pub fn adm(&self, line: &str) -> Result<String, Failure> {
        Ok(self.lab().configure(line)?)
    }

    /// Makes services of both families with every real server.
    pub fn add_services(&self, protocol: &str, port: u16, scheduler: &str) -> Outcome {
        for line in self.lab().plan().service_lines(protocol, port, scheduler) {
            self.adm(&line)?;
        }
        Ok(())
    }

    /// Real server `number` (from 1) as the destination of a service at `port` of `vip`'s family.
    pub fn real(&self, number: usize, vip: IpAddr, port: u16) -> String {
        let index = usize::from(vip.is_ipv6());
        endpoint(self.lab().plan().real_servers[number - 1].addresses[index], port)
    }

    /// Runs a program in `role` to its end.
    pub fn run(&self, role: &str, words: &[&str]) -> Result<Output, Failure> {
        let (program, arguments) = words.split_first().ok_or_else(|| Failure::failed("no program"))?;
        let mut command = self.lab().command(role, program);
        command.args(arguments).stdin(Stdio::null());
        command.output().map_err(|error| Failure::failed(format!("{program}: {error}")))
    }

    /// Runs a program in `role` that has to succeed; its output.
    pub fn check(&self, role: &str, words: &[&str]) -> Result<String, Failure> {
        let output = self.run(role, words)?;
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        Err(Failure::failed(format!(
            "{} in {role} failed ({}): {} {}",
            words.join(" "),
            output.status,
            text(&output.stderr).trim(),
            text(&output.stdout).trim()
        )))
    }

    /// Runs shell lines in `role`.
    pub fn shell(&self, role: &str, script: &str) -> Result<String, Failure> {
        self.check(role, &["sh", "-ec", script])
    }

    /// Starts a program in `role` that goes on meanwhile.
    pub fn session(&self, role: &str, words: &[&str]) -> Result<Session, Failure> {
        let (program, arguments) = words.split_first().ok_or_else(|| Failure::failed("no program"))?;
        let mut command = self.lab().command(role, program);
        command.args(arguments);
        Session::start(&words.join(" "), command)
    }

    /// Starts ulvs in `role` with `arguments`.
    pub fn ulvs(&self, role: &str, arguments: &[&str]) -> Result<Session, Failure> {
        Session::start(&format!("ulvs {}", arguments.join(" ")), self.lab().ulvs(role, arguments))
    }

    /// Starts `ulvs run` in the director with `arguments`, as nobody with CAP_NET_RAW alone.
    pub fn director_with_net_raw(&self, arguments: &[&str]) -> Result<Session, Failure> {
        let program = ulvs().to_string_lossy();
        let nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--no-new-privs"];
        let net_raw = [
            "--inh-caps=-all,+net_raw",
            "--ambient-caps=-all,+net_raw",
            "--bounding-set=-all,+net_raw",
            &program,
            "run",
        ];
        self.session("director", &[&nobody, &net_raw[..], arguments].concat())
    }

    /// Fetches the page of `vip` `count` times with curl, each over a connection of its own, one
    /// after the other; who answered, in order.
    pub fn curl(&self, vip: IpAddr, count: u32) -> Result<Vec<String>, Failure> {
        self.need("curl", "curl")?;
        let url = match vip {
            IpAddr::V4(v4) => format!("http://{v4}/?[1-{count}]"),
            IpAddr::V6(v6) => format!("http://\\[{v6}\\]/?[1-{count}]"),
        };
        let arguments = ["curl", "-sS", "--max-time", "20", "-H", "Connection: close", &url];
        Ok(self.check("client", &arguments)?.lines().map(str::to_owned).collect())
    }

    /// Asks `target` with the lab's client (`http`, `dns`, `tcp`, `udp`).
    pub fn ask(&self, kind: &str, target: &str, options: &[&str]) -> Result<Answers, Failure> {
        let mut command = self.lab().ulvs("client", &["lab", "ask", kind, target]);
        command.args(options).stdin(Stdio::null());
        let output = command.output()?;
        if !output.status.success() {
            return Err(Failure::failed(format!("ulvs lab ask: {}", text(&output.stderr))));
        }
        Ok(read_answers(&text(&output.stdout)))
    }

    /// A connection to the echo server behind `vip` that stays open.
    pub fn connect(&self, vip: IpAddr) -> Result<Session, Failure> {
        self.need("socat", "socat")?;
        let target = format!("TCP:{}", endpoint(vip, 7));
        self.session("client", &["socat", "-t", "5", "STDIO", &target])
    }

    /// Watches the frames of `link` in `role`; returns when it does.
    pub fn watch(&self, role: &str, link: &str, options: &[&str]) -> Result<Session, Failure> {
        let watching = self.ulvs(role, &[&["lab", "watch", link], options].concat())?;
        watching.await_line(10, |line| line.starts_with("watching"))?;
        Ok(watching)
    }

    /// What `watching`, unfiltered and on the client's or the director's link of net 1, has seen so
    /// far: all of it, which a datagram sent now and seen last is to prove.
    pub fn seen(&self, watching: &Session) -> Result<Vec<String>, Failure> {
        self.ask("udp", "10.0.1.1:9", &["--patience", "1"])?;
        let is_mark = |line: &str| line.contains(" 10.0.1.1.9 ");
        watching.await_line(30, is_mark)?;
        let mut lines = watching.lines();
        lines.truncate(lines.iter().position(|line| is_mark(line)).unwrap_or_default());
        Ok(lines)
    }

    /// Waits until `condition` holds.
    pub fn until(&self, seconds: u64, what: &str, mut condition: impl FnMut() -> Result<bool, Failure>) -> Outcome {
        let mut failure = None;
        let held = Deadline::after_seconds(seconds).wait_for(|| match condition() {
            Ok(true) => Some(true),
            Ok(false) => None,
            Err(error) => {
                failure = Some(error);
                Some(false)
            }
        });
        match (held, failure) {
            (Some(true), _) => Ok(()),
            (_, Some(failure)) => Err(failure),
            _ => Err(Failure::failed(format!("{what} did not happen within {seconds} s"))),
        }
    }

    /// A directory with `ipvsadm`, `ipvsadm-save` and `ipvsadm-restore` as the subject has them, to
    /// be put first in PATH.
    pub fn tools(&self) -> Result<PathBuf, Failure> {
        let directory = self.lab().directory().join("tools");
        std::fs::create_dir_all(&directory)?;
        for name in ["ipvsadm", "ipvsadm-save", "ipvsadm-restore"] {
            let program = match self.subject {
                Subject::Ulvs => ulvs().to_owned(),
                Subject::Kernel => {
                    self.need(name, "ipvsadm")?;
                    find_program(name).unwrap_or_default()
                }
            };
            let link = directory.join(name);
            if !link.exists() {
                symlink(program, &link)?;
            }
        }
        Ok(directory)
    }

    /// The ends of the logs of everything that the lab started.
    pub fn logs(&self) -> String {
        let Some(lab) = &self.lab else { return String::new() };
        let Ok(entries) = std::fs::read_dir(lab.directory()) else { return String::new() };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        paths.sort();
        paths.iter().map(|path| log_tail(path)).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// The program under test.
pub fn ulvs() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ulvs"))
}

/// Both virtual addresses.
pub const VIPS: [IpAddr; 2] = VIP;

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `10 rs1`, `3 error: …`, a line each.
pub fn read_answers(output: &str) -> Answers {
    let pairs = output.lines().filter_map(|line| line.split_once(' '));
    pairs.filter_map(|(count, who)| Some((who.to_owned(), count.parse().ok()?))).collect()
}

/// How often each answered, in a list.
pub fn count(answers: &[String]) -> Answers {
    let mut counts = Answers::new();
    for answer in answers {
        *counts.entry(answer.clone()).or_default() += 1;
    }
    counts
}

/// `rs1`, `rs2` and `rs3` with these counts, and nothing else.
pub fn shares(counts: [u32; 3]) -> Answers {
    (1..=3).map(|number| format!("rs{number}")).zip(counts).collect()
}

/// How many requests had no answer.
pub fn errors(answers: &Answers) -> u32 {
    answers.iter().filter(|(who, _)| who.starts_with("error")).map(|(_, count)| count).sum()
}

/// Source and destination of a line of `ulvs lab watch`, each as `ADDRESS.PORT`.
pub fn endpoints_of(line: &str) -> Option<(String, String)> {
    // Direction, two hardware addresses with a sign between them, and then the same in IP.
    let words: Vec<&str> = line.split(' ').collect();
    Some(((*words.get(4)?).to_owned(), (*words.get(6)?).to_owned()))
}

fn log_tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let tail = &lines[lines.len().saturating_sub(15)..];
    if tail.is_empty() { String::new() } else { format!("\n  {name}:\n    {}", tail.join("\n    ")) }
}
