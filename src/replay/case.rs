//! One transcript, step by step.

use std::cell::RefCell;
use std::ffi::OsString;
use std::rc::Rc;

use crate::base::Tick;
use crate::control::message::{Reply, Request};
use crate::ipvsadm::{self, Io, Program, SystemNames};
use crate::procfs::{self, File};
use crate::table::MarkRule;

use super::compare;
use super::lab::{Lab, Way};
use super::messages;
use super::nft;
use super::transcript::{Action, Outcome, Step, Transcript};
use super::words;

/// A transcript being replayed.
pub struct Case<'a> {
    transcript: &'a Transcript,
    lab: Rc<RefCell<Lab>>,
    /// The order of unsorted listings was found.
    order_is_known: bool,
    /// What the engine sent and the transcript has not mentioned yet.
    pending: Vec<(&'static str, Vec<u8>)>,
    /// The frame that led to what is pending.
    cause: Option<&'a [u8]>,
    pieces: messages::Pieces,
}

impl<'a> Case<'a> {
    pub fn new(transcript: &'a Transcript) -> Case<'a> {
        Case {
            transcript,
            lab: Rc::new(RefCell::new(Lab::new(transcript.mtu))),
            order_is_known: false,
            pending: Vec::new(),
            cause: None,
            pieces: messages::Pieces::default(),
        }
    }

    /// # Errors
    /// The first difference, in words.
    pub fn run(mut self) -> Result<(), String> {
        let transcript = self.transcript;
        for (index, step) in transcript.steps.iter().enumerate() {
            self.step(step).map_err(|what| {
                let story = words::story(&transcript.steps[..=index]);
                format!("step {} ({}): {what}{story}", index + 1, step.action)
            })?;
        }
        self.nothing_left()?;
        let lab = self.lab.borrow();
        match lab.messages.first() {
            None => Ok(()),
            Some(message) => Err(format!("the engine sent a message that the kernel did not send: {message:?}")),
        }
    }

    /// A message of connection synchronisation.
    fn message(&mut self, at: u64, link: &str, frame: &[u8]) -> Result<(), String> {
        let Some(whole) = self.pieces.add(frame) else { return Ok(()) };
        let frame = &whole[..];
        let mut lab = self.lab.borrow_mut();
        let latest = Tick(at + messages::TOLERANCE);
        if lab.messages.is_empty() {
            lab.set_clock(Tick(at));
        }
        while lab.messages.is_empty() && lab.now < latest {
            let next = lab.now + 4;
            lab.set_clock(next);
        }
        if lab.messages.is_empty() {
            return Err("the engine sent no message (more)".into());
        }
        let sent = lab.messages.remove(0);
        let engine = &lab.director.fleet().engine;
        messages::difference(engine, link, frame, Tick(at), &sent).map_or(Ok(()), Err)
    }

    fn step(&mut self, step: &'a Step) -> Result<(), String> {
        if !matches!(step.action, Action::Out { .. } | Action::Nothing) {
            self.nothing_left()?;
            self.lab.borrow_mut().set_clock(Tick(step.at));
            let late = self.lab.borrow_mut().drain();
            self.pending.extend(late);
        }
        match &step.action {
            Action::Ipvsadm { arguments, status, stdout, stderr } => self.ipvsadm(arguments, *status, stdout, stderr),
            Action::Setting { name, value, outcome: None } => {
                let request = Request::SetSetting { name: name.clone(), value: value.clone() };
                self.ask(request, "the setting").map(|_| ())
            }
            Action::Setting { name, value, outcome: Some(outcome) } => self.write(name, value, outcome),
            Action::Proc { name, stdout } => self.proc(name, stdout),
            Action::Mark { mark, rule } => {
                let rule = MarkRule { mark: *mark, matching: nft::parse(rule)? };
                self.ask(Request::AddMark { rule }, "the mark rule").map(|_| ())
            }
            Action::In { link, frame } => {
                self.cause = Some(frame);
                self.pending = self.lab.borrow_mut().inject(link, frame);
                Ok(())
            }
            Action::Out { link, frame } if messages::is_message(frame) => self.message(step.at, link, frame),
            Action::Out { link, frame } => {
                if self.pending.is_empty() {
                    // It may be the passing of time that sends something.
                    self.lab.borrow_mut().set_clock(Tick(step.at));
                    self.pending = self.lab.borrow_mut().drain();
                }
                if self.pending.is_empty() {
                    return Err("the engine sent nothing (more)".into());
                }
                // What the passing of time alone sends comes from timers, whose order at one moment
                // is the kernel's affair.
                let alike = |(got_link, got): &(&str, Vec<u8>)| {
                    *got_link == link.as_str() && compare::frames(frame, got, None).is_none()
                };
                let index = match self.cause {
                    None => self.pending.iter().position(alike).unwrap_or(0),
                    Some(_) => 0,
                };
                let (got_link, got) = self.pending.remove(index);
                if got_link != link {
                    return Err(format!("the engine's frame left by {got_link} instead of {link}"));
                }
                compare::frames(frame, &got, self.cause).map_or(Ok(()), Err)
            }
            Action::Nothing => self.nothing_left(),
            Action::Sleep => {
                self.cause = None;
                Ok(())
            }
            Action::Note(note) => self.note(note),
        }
    }

    fn nothing_left(&mut self) -> Result<(), String> {
        match self.pending.first() {
            None => Ok(()),
            Some((link, frame)) => {
                let bytes: String = frame.iter().take(80).map(|byte| format!("{byte:02x}")).collect();
                Err(format!("the engine sent a frame by {link} that the kernel did not send: {bytes}"))
            }
        }
    }

    fn ask(&mut self, request: Request, what: &str) -> Result<Reply, String> {
        let answer = self.lab.borrow_mut().ask(request);
        answer.map_err(|errno| format!("{what} was refused: {errno}"))
    }

    /// Writes to a setting; it must be taken or refused as recorded, and read the same.
    fn write(&mut self, name: &str, value: &str, outcome: &Outcome) -> Result<(), String> {
        let request = Request::SetSetting { name: name.to_owned(), value: value.to_owned() };
        let answer = self.lab.borrow_mut().ask(request);
        let error = answer.err().map(|errno| format!("{errno:?}"));
        if error != outcome.error {
            let word = |error: &Option<String>| error.clone().unwrap_or_else(|| "taken".to_owned());
            return Err(format!("{} instead of {}", word(&error), word(&outcome.error)));
        }
        let question = Request::Settings { name: Some(name.to_owned()) };
        let Reply::Settings(settings) = self.ask(question, "reading it")? else { return Ok(()) };
        let reads: String = settings.into_iter().map(|(_, value)| value + "\n").collect();
        if reads == outcome.reads {
            return Ok(());
        }
        Err(format!("reads {reads:?} instead of {:?}", outcome.reads))
    }

    /// Prints a file of the kernel's.
    fn proc(&mut self, name: &str, expected: &str) -> Result<(), String> {
        let file = File::by_name(name).ok_or("there is no such file")?;
        let read = |case: &Case| {
            let mut out = Vec::new();
            procfs::print(file, &mut Way(case.lab.clone()), &mut out).map_err(|error| error.to_string())?;
            Ok(String::from_utf8_lossy(&out).into_owned())
        };
        let mut got = read(self)?;
        if got != expected && same_lines(&got, expected) {
            got = self.find_order(expected, got, |got| got, read)?;
        }
        compare::proc_files(file, expected, &got).map_or(Ok(()), Err)
    }

    /// Notes are for people, except those that say what else was done to the director.
    fn note(&mut self, note: &str) -> Result<(), String> {
        if note.starts_with("net.ipv4.conf.all.accept_local=1") {
            self.lab.borrow_mut().accept_local();
        } else if let Some(network) = note.strip_suffix(" is local to the director") {
            self.lab.borrow_mut().add_local(network.parse()?);
        } else if let Some(way) = note.strip_prefix("what comes from ")
            && let Some((from, way)) = way.split_once(" is routed by ")
            && let Some((gateway, link)) = way.split_once(" on ")
        {
            let gateway = gateway.parse().map_err(|error| format!("gateway {gateway}: {error}"))?;
            self.lab.borrow_mut().route_by_source(from.parse()?, link, gateway);
        } else if note == "FTP is not helped" {
            self.lab.borrow_mut().help_no_ftp();
        } else if let Some(networks) = note.strip_suffix(" are unreachable") {
            for network in networks.split(" and ") {
                self.lab.borrow_mut().add_unreachable(network.parse()?);
            }
        }
        Ok(())
    }

    /// Runs a command; output, messages and exit status must be the recorded ones.
    fn ipvsadm(&mut self, arguments: &str, status: i32, stdout: &str, stderr: &str) -> Result<(), String> {
        let mut got = call(&self.lab, arguments)?;
        if got.stdout != stdout && same_lines(&got.stdout, stdout) {
            got = self.find_order(stdout, got, |got| &got.stdout, |case| call(&case.lab, arguments))?;
        }
        if let Some(difference) = compare::listings(arguments, stdout, &got.stdout) {
            return Err(difference);
        }
        if got.stderr != stderr {
            return Err(format!("`ipvsadm {arguments}' says {:?} instead of {stderr:?}", got.stderr));
        }
        if i32::from(got.status) != status {
            return Err(format!("`ipvsadm {arguments}' exits with {} instead of {status}", got.status));
        }
        Ok(())
    }

    /// The kernel lists services in the order of a hash table whose key it draws at random. Any
    /// of its 256 orders will do, but it must be the same one throughout a case.
    fn find_order<T>(
        &mut self,
        expected: &str,
        first: T,
        text: impl Fn(&T) -> &str,
        again: impl Fn(&Case<'a>) -> Result<T, String>,
    ) -> Result<T, String> {
        if self.order_is_known {
            return Ok(first);
        }
        for key in 0..=u8::MAX {
            self.lab.borrow_mut().director.set_order_key(key);
            let got = again(self)?;
            if text(&got) == expected {
                self.order_is_known = true;
                return Ok(got);
            }
        }
        Ok(first)
    }
}

/// Runs an ipvsadm command in the lab.
///
/// # Errors
/// The arguments are no words that a shell would make.
pub fn call(lab: &Rc<RefCell<Lab>>, arguments: &str) -> Result<Called, String> {
    let words = std::iter::once(OsString::from("ipvsadm")).chain(words(arguments)?.into_iter().map(OsString::from));
    let words: Vec<OsString> = words.collect();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let way = lab.clone();
    let status = ipvsadm::run(
        Program::Ipvsadm,
        &words,
        &mut Io { input: &mut std::io::empty(), output: &mut stdout, errors: &mut stderr },
        &mut SystemNames::default(),
        &mut || Ok(Box::new(Way(way.clone()))),
    );
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Called { status, stdout: text(stdout), stderr: text(stderr) })
}

/// Whether two listings differ in the order of their lines alone.
fn same_lines(left: &str, right: &str) -> bool {
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    sorted(left) == sorted(right)
}

/// What a command did.
pub struct Called {
    pub status: u8,
    pub stdout: String,
    pub stderr: String,
}

/// Splits a recorded command line as the shell did that it was given to.
fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(mark), _) if character == mark => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(characters.next()),
            (None, character) if character.is_whitespace() => words.extend(word.take()),
            (_, character) => word.get_or_insert_default().push(character),
        }
    }
    if quote.is_some() {
        return Err(format!("a quotation mark in `{line}' is not closed"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_as_a_shell_does() {
        assert_eq!(words(" -A  -t 1.1.1.1:80 -b '' \"a b\"c").unwrap(), ["-A", "-t", "1.1.1.1:80", "-b", "", "a bc"]);
        assert!(words("'open").is_err());
    }
}
