//! Network namespaces for live tests: each is a thread that lives in one, and does what it is told.
//!
//! Nothing is named, mounted or left behind: a namespace goes with its thread. Where none may be
//! created, [`namespaces`] says why on standard output and the test returns without a verdict.

use std::panic::{self, AssertUnwindSafe};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::sys::enter_new_network_namespace;

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace with its thread.
pub struct Namespace {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// The namespace as a file that other threads can open.
    path: String,
}

impl Namespace {
    /// Creates a namespace whose loopback is up.
    fn create() -> Result<Namespace, String> {
        let (jobs, inbox): (Sender<Job>, Receiver<Job>) = channel();
        let (ready, answer) = channel();
        let thread = std::thread::spawn(move || {
            let entered = enter_new_network_namespace().map_err(|error| format!("no network namespace: {error}"));
            let path = std::fs::read_link("/proc/thread-self")
                .map(|task| format!("/proc/{}/ns/net", task.display()))
                .map_err(|error| format!("no /proc: {error}"));
            let failed = entered.is_err();
            if ready.send(entered.and(path)).is_err() || failed {
                return;
            }
            for job in inbox {
                job();
            }
        });
        let path = answer.recv().map_err(|error| error.to_string())??;
        let namespace = Namespace { jobs: Some(jobs), thread: Some(thread), path };
        namespace.try_ip("link set lo up")?;
        Ok(namespace)
    }

    /// Does `work` inside the namespace and returns its result; a panic comes through.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = channel();
        let job: Job = Box::new(move || {
            // The receiver waits below for as long as this runs.
            let _ = done.send(panic::catch_unwind(AssertUnwindSafe(work)));
        });
        self.jobs.as_ref().and_then(|jobs| jobs.send(job).ok()).expect("the thread takes jobs until it is dropped");
        match result.recv().expect("every job answers") {
            Ok(value) => value,
            Err(panic) => panic::resume_unwind(panic),
        }
    }

    /// Runs a program inside the namespace; its output, or what it complained about.
    pub fn try_command(&self, program: &str, arguments: &str) -> Result<String, String> {
        let (program, arguments) = (program.to_owned(), arguments.to_owned());
        self.run(move || {
            let output = Command::new(&program)
                .args(arguments.split_whitespace())
                .output()
                .map_err(|error| format!("cannot run `{program}': {error}"))?;
            if output.status.success() {
                Ok(String::from_utf8_lossy(&output.stdout).into_owned())
            } else {
                Err(format!("{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr)))
            }
        })
    }

    fn try_ip(&self, arguments: &str) -> Result<String, String> {
        self.try_command("ip", arguments)
    }

    /// Runs `ip` inside the namespace.
    #[track_caller]
    pub fn ip(&self, arguments: &str) -> String {
        match self.try_ip(arguments) {
            Ok(output) => output,
            Err(complaint) => panic!("{complaint}"),
        }
    }

    /// Sets a sysctl of the namespace (`net.…`).
    pub fn sysctl(&self, name: &str, value: &str) {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        let value = value.to_owned();
        self.run(move || std::fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}")));
    }

    /// Makes this a router between its links `front` and `back`: .1 of 10.0.0.0/24 and fd0a::/64, of 172.16.0.0/24 and
    /// fd0b::/64.
    pub fn be_router(&self) {
        for command in [
            "addr add 10.0.0.1/24 dev front",
            "addr add 172.16.0.1/24 dev back",
            "addr add fd0a::1/64 dev front nodad",
            "addr add fd0b::1/64 dev back nodad",
        ] {
            self.ip(command);
        }
        self.sysctl("net.ipv4.ip_forward", "1");
        self.sysctl("net.ipv6.conf.all.forwarding", "1");
    }

    /// Lays a wire (a veth pair) from `name` here to `other_name` in `other`, both ends up.
    pub fn wire(&self, name: &str, other: &Namespace, other_name: &str) {
        self.ip(&format!("link add {name} type veth peer name {other_name} netns {}", other.path));
        self.ip(&format!("link set {name} up"));
        other.ip(&format!("link set {other_name} up"));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic inside a job was caught and handed on already.
            let _ = thread.join();
        }
    }
}

/// Creates `N` namespaces; `None` (and a line that says why) where this is not permitted here.
pub fn namespaces<const N: usize>() -> Option<[Namespace; N]> {
    let mut created = Vec::new();
    for _ in 0..N {
        match Namespace::create() {
            Ok(namespace) => created.push(namespace),
            Err(why) => {
                println!("skipped: {why}");
                return None;
            }
        }
    }
    created.try_into().ok()
}

/// Waits until `condition` holds, for at most ten seconds.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    panic!("not within ten seconds: {what}");
}
