//! A program that runs while the scenario goes on: what it says is read as it comes, and it is
//! ended when it is dropped.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use ulvs::lab::Process;
use ulvs::lab::wait::Deadline;

use crate::Failure;

/// A running program with its output.
pub struct Session {
    what: String,
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
}

impl Session {
    /// Starts `command`, in a lab or not.
    pub fn start(what: &str, mut command: Command) -> Result<Session, Failure> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::failed(format!("{what}: {error}")))?;
        let said = Arc::new(Mutex::new(Vec::new()));
        let outputs: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|output| Box::new(output) as Box<dyn Read + Send>),
            child.stderr.take().map(|output| Box::new(output) as Box<dyn Read + Send>),
        ];
        for output in outputs.into_iter().flatten() {
            let said = Arc::clone(&said);
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    lock(&said).push(line);
                }
            });
        }
        Ok(Session { what: what.to_owned(), child, said })
    }

    pub fn process(&self) -> Option<Process> {
        Process::of(self.child.id())
    }

    /// Everything it has said.
    pub fn lines(&self) -> Vec<String> {
        lock(&self.said).clone()
    }

    /// Writes a line to its standard input.
    pub fn tell(&mut self, line: &str) -> Result<(), Failure> {
        let input = self.child.stdin.as_mut().ok_or_else(|| Failure::failed("its input is closed"))?;
        writeln!(input, "{line}")
            .and_then(|()| input.flush())
            .map_err(|error| Failure::failed(format!("{}: {error}", self.what)))
    }

    /// Waits until one of its lines satisfies `wanted`; that line.
    pub fn await_line(&self, seconds: u64, wanted: impl Fn(&str) -> bool) -> Result<String, Failure> {
        let found = || lock(&self.said).iter().find(|line| wanted(line)).cloned();
        Deadline::after_seconds(seconds).wait_for(found).ok_or_else(|| {
            Failure::failed(format!(
                "{}: the line that was waited for {seconds} s did not come; it said: {:?}",
                self.what,
                self.lines()
            ))
        })
    }

    /// Says `line` over a connection to the lab's echo server; who answered.
    pub fn echo(&mut self, line: &str) -> Result<String, Failure> {
        self.tell(line)?;
        let answer = self.await_line(5, |said| said.ends_with(line))?;
        Ok(answer.split(' ').next().unwrap_or_default().to_owned())
    }

    /// Waits at most `seconds` for its end; whether it was a success.
    pub fn await_end(&mut self, seconds: u64) -> Result<bool, Failure> {
        let child = &mut self.child;
        let ended = Deadline::after_seconds(seconds).wait_for(|| child.try_wait().ok().flatten());
        ended
            .map(|status| status.success())
            .ok_or_else(|| Failure::failed(format!("{} did not end within {seconds} s", self.what)))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lock(lines: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}
