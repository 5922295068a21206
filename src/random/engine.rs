//! An engine as the world: what a scenario does can be seen without a kernel, and in no time.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use super::world::{Entry, Said, World};
use crate::base::Tick;
use crate::control::message::Request;
use crate::replay::lab::Lab;
use crate::replay::{call, nft};
use crate::table::MarkRule;

/// What a frame and a command take in the recording machine, more or less.
const FRAME: u64 = 1;
const COMMAND: u64 = 40;

pub struct InProcess {
    lab: Rc<RefCell<Lab>>,
    out: Vec<(usize, Vec<u8>)>,
}

impl InProcess {
    pub fn new(mtu: u32) -> InProcess {
        InProcess { lab: Rc::new(RefCell::new(Lab::new([1500, mtu]))), out: Vec::new() }
    }

    fn ask(&mut self, request: Request) -> io::Result<()> {
        let answer = self.lab.borrow_mut().ask(request);
        answer.map(|_| ()).map_err(|errno| io::Error::other(errno.to_string()))
    }

    fn keep(&mut self, frames: Vec<(&'static str, Vec<u8>)>) {
        self.out.extend(frames.into_iter().map(|(link, frame)| (usize::from(link == "eth1"), frame)));
    }
}

impl World for InProcess {
    fn now(&self) -> u64 {
        self.lab.borrow().now.0
    }

    fn pass(&mut self, milliseconds: u64) -> io::Result<()> {
        let then = Tick(self.now() + milliseconds);
        self.lab.borrow_mut().set_clock(then);
        let late = self.lab.borrow_mut().drain();
        self.keep(late);
        Ok(())
    }

    fn give(&mut self, link: usize, frame: &[u8]) -> io::Result<()> {
        let out = self.lab.borrow_mut().inject(super::stage::LINKS[link], frame);
        self.keep(out);
        self.pass(FRAME)
    }

    fn take(&mut self) -> io::Result<Vec<(usize, Vec<u8>)>> {
        Ok(std::mem::take(&mut self.out))
    }

    fn ipvsadm(&mut self, arguments: &str) -> io::Result<Said> {
        let called = call(&self.lab, arguments).map_err(io::Error::other)?;
        self.pass(COMMAND)?;
        Ok(Said { status: i32::from(called.status), stdout: called.stdout, stderr: called.stderr })
    }

    fn set(&mut self, name: &str, value: &str) -> io::Result<()> {
        self.ask(Request::SetSetting { name: name.to_owned(), value: value.to_owned() })
    }

    fn mark(&mut self, mark: u32, rule: &str) -> io::Result<()> {
        let rule = MarkRule { mark, matching: nft::parse(rule).map_err(io::Error::other)? };
        self.ask(Request::AddMark { rule })
    }

    fn own(&mut self, address: &str) -> io::Result<()> {
        self.lab.borrow_mut().add_local(address.parse().map_err(io::Error::other)?);
        Ok(())
    }

    fn connections(&mut self) -> io::Result<Vec<Entry>> {
        let called = call(&self.lab, "-Lnc").map_err(io::Error::other)?;
        Ok(called.stdout.lines().skip(2).filter_map(entry).collect())
    }
}

/// `pro expire state source virtual destination`.
fn entry(line: &str) -> Option<Entry> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (minutes, seconds) = words.get(1)?.split_once(':')?;
    Some(Entry {
        protocol: (*words.first()?).to_owned(),
        left: minutes.parse::<u64>().ok()? * 60 + seconds.parse::<u64>().ok()?,
        state: (*words.get(2)?).to_owned(),
        is_template: words.get(3)?.ends_with(":0"),
    })
}
