//! The world with a pen: whatever is done to it, and what came of it, becomes a step of a transcript.

use std::io;

use super::world::{Entry, Said, World};
use crate::replay::{Action, Step, Transcript};

pub const LINKS: [&str; 2] = ["eth0", "eth1"];

pub struct Stage<'w> {
    world: &'w mut dyn World,
    start: u64,
    steps: Vec<Step>,
    frames: usize,
}

impl<'w> Stage<'w> {
    pub fn new(world: &'w mut dyn World) -> Stage<'w> {
        let start = world.now();
        Stage { world, start, steps: Vec::new(), frames: 0 }
    }

    /// Milliseconds since the first step.
    pub fn now(&self) -> u64 {
        self.world.now() - self.start
    }

    /// How many frames were given so far.
    pub fn frames(&self) -> usize {
        self.frames
    }

    fn note_down(&mut self, at: u64, action: Action) {
        self.steps.push(Step { at, action });
    }

    /// Gives a frame, and returns what came out because of it.
    pub fn send(&mut self, link: usize, frame: Vec<u8>) -> io::Result<Vec<(usize, Vec<u8>)>> {
        let at = self.now();
        self.world.give(link, &frame)?;
        self.frames += 1;
        self.note_down(at, Action::In { link: LINKS[link].to_owned(), frame });
        let out = self.world.take()?;
        if out.is_empty() {
            self.note_down(at, Action::Nothing);
        }
        for (link, frame) in &out {
            self.note_down(at, Action::Out { link: LINKS[*link].to_owned(), frame: frame.clone() });
        }
        Ok(out)
    }

    pub fn pass(&mut self, milliseconds: u64) -> io::Result<()> {
        let at = self.now();
        self.note_down(at, Action::Sleep);
        self.world.pass(milliseconds)?;
        let at = self.now();
        for (link, frame) in self.world.take()? {
            self.note_down(at, Action::Out { link: LINKS[link].to_owned(), frame });
        }
        Ok(())
    }

    pub fn ipvsadm(&mut self, arguments: &str) -> io::Result<Said> {
        let at = self.now();
        let said = self.world.ipvsadm(arguments)?;
        let Said { status, stdout, stderr } = said.clone();
        self.note_down(at, Action::Ipvsadm { arguments: arguments.to_owned(), status, stdout, stderr });
        Ok(said)
    }

    pub fn set(&mut self, name: &str, value: &str) -> io::Result<()> {
        let at = self.now();
        self.world.set(name, value)?;
        self.note_down(at, Action::Setting { name: name.to_owned(), value: value.to_owned(), outcome: None });
        Ok(())
    }

    pub fn mark(&mut self, mark: u32, rule: &str) -> io::Result<()> {
        let at = self.now();
        self.world.mark(mark, rule)?;
        self.note_down(at, Action::Mark { mark, rule: rule.to_owned() });
        Ok(())
    }

    pub fn own(&mut self, address: &str) -> io::Result<()> {
        let at = self.now();
        self.world.own(address)?;
        self.note_down(at, Action::Note(format!("{address} is local to the director")));
        Ok(())
    }

    /// Says what the lab is like.
    pub fn note(&mut self, text: &str) {
        let at = self.now();
        self.note_down(at, Action::Note(text.to_owned()));
    }

    pub fn connections(&mut self) -> io::Result<Vec<Entry>> {
        self.world.connections()
    }

    pub fn finish(self, name: String, mtu: u32) -> Transcript {
        Transcript { name, mtu: [1500, mtu], steps: self.steps }
    }
}
