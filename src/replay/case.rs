//! One transcript, step by step.

use crate::base::Tick;
use crate::control::message::{Access, Request};
use crate::table::MarkRule;

use super::compare;
use super::lab::Lab;
use super::nft;
use super::transcript::{Action, Step, Transcript};

/// A transcript being replayed.
pub struct Case<'a> {
    transcript: &'a Transcript,
    lab: Lab,
    /// What the engine sent and the transcript has not mentioned yet.
    pending: Vec<(&'static str, Vec<u8>)>,
    /// The frame that led to what is pending.
    cause: Option<&'a [u8]>,
}

impl<'a> Case<'a> {
    pub fn new(transcript: &'a Transcript) -> Case<'a> {
        Case { transcript, lab: Lab::new(transcript.mtu), pending: Vec::new(), cause: None }
    }

    /// # Errors
    /// The first difference, in words.
    pub fn run(mut self) -> Result<(), String> {
        let transcript = self.transcript;
        for (index, step) in transcript.steps.iter().enumerate() {
            self.step(step).map_err(|what| format!("step {} ({}): {what}", index + 1, step.action))?;
        }
        self.nothing_left()
    }

    fn step(&mut self, step: &'a Step) -> Result<(), String> {
        if !matches!(step.action, Action::Out { .. } | Action::Nothing) {
            self.nothing_left()?;
            self.lab.set_clock(Tick(step.at));
            let late = self.lab.drain();
            self.pending.extend(late);
        }
        match &step.action {
            Action::Ipvsadm { arguments, status, stdout, stderr } => self.ipvsadm(arguments, *status, stdout, stderr),
            Action::Setting { name, value } => {
                let request = Request::SetSetting { name: name.clone(), value: value.clone() };
                self.ask(request, "the setting")
            }
            Action::Mark { mark, rule } => {
                let rule = MarkRule { mark: *mark, matching: nft::parse(rule)? };
                self.ask(Request::AddMark { rule }, "the mark rule")
            }
            Action::In { link, frame } => {
                self.cause = Some(frame);
                self.pending = self.lab.inject(link, frame);
                Ok(())
            }
            Action::Out { link, frame } => {
                if self.pending.is_empty() {
                    return Err("the engine sent nothing (more)".into());
                }
                let (got_link, got) = self.pending.remove(0);
                if got_link != link {
                    return Err(format!("the engine's frame left by {got_link} instead of {link}"));
                }
                compare::frames(frame, &got, self.cause).map_or(Ok(()), Err)
            }
            Action::Nothing => self.nothing_left(),
            Action::Sleep => Ok(()),
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

    fn ask(&mut self, request: Request, what: &str) -> Result<(), String> {
        match self.lab.ask(request) {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(errno)) => Err(format!("{what} was refused: {errno}")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Notes are for people, except those that say what else was done to the director.
    fn note(&mut self, note: &str) -> Result<(), String> {
        if let Some(network) = note.strip_suffix(" is local to the director") {
            self.lab.add_local(network.parse()?);
        }
        Ok(())
    }

    fn ipvsadm(&mut self, arguments: &str, status: i32, stdout: &str, stderr: &str) -> Result<(), String> {
        let _ = (arguments, status, stdout, stderr);
        Ok(())
    }
}
