//! One scenario: an operator who configures and changes his mind, clients, servers, and time.

use std::io;

use super::dice::Dice;
use super::flow::Flow;
use super::lab;
use super::pace;
use super::plan::{self, Mood, RULES, Service};
use super::stage::Stage;
use super::trouble;
use super::world::{Entry, World};
use crate::base::{Family, Protocol};
use crate::replay::Transcript;
use crate::wire::frame::ETHERNET_LENGTH;

/// How many conversations are remembered at once.
const FLOWS: usize = 40;

/// A few ticks of a kernel's, in milliseconds.
const TICKS: u64 = 12;

/// The first of a port range that no other client uses.
const FIRST_PORT: u64 = 40_000;

/// Plays the scenario of a seed.
///
/// # Errors
/// What the world says when it cannot go on.
pub fn play(seed: u64, frames: usize, world: &mut dyn World, mood: Mood) -> io::Result<Transcript> {
    let mut play = Play {
        dice: Dice::new(seed ^ 0x5ca1_ab1e),
        stage: Stage::new(world),
        mood,
        services: Vec::new(),
        former: Vec::new(),
        flows: Vec::new(),
        identification: 1,
        incomplete: Vec::new(),
    };
    play.prepare()?;
    while play.stage.frames() < frames {
        play.step()?;
    }
    play.look_at_everything()?;
    let mtu = play.mood.mtu;
    Ok(play.stage.finish(format!("random-{seed}"), mtu))
}

struct Play<'w> {
    dice: Dice,
    stage: Stage<'w>,
    mood: Mood,
    services: Vec<Service>,
    /// Deleted ones: should they come back, so may their servers.
    former: Vec<Service>,
    flows: Vec<Flow>,
    identification: u32,
    /// When the kernel gives up datagrams that may lack a piece.
    incomplete: Vec<u64>,
}

impl Play<'_> {
    fn prepare(&mut self) -> io::Result<()> {
        self.stage.note("FTP is not helped");
        if self.mood.many_vips || self.mood.marks {
            for &family in self.mood.families {
                for number in 1..=lab::VIPS {
                    let length = if family == Family::V4 { 32 } else { 128 };
                    self.stage.own(&format!("{}/{length}", lab::vip(family, number)))?;
                }
            }
        }
        if self.mood.marks {
            for (mark, rule, family) in RULES {
                if self.mood.families.contains(&family) {
                    self.stage.mark(mark, rule)?;
                }
            }
        }
        if self.dice.chance(30) {
            let words = plan::timeouts(&mut self.dice);
            self.stage.ipvsadm(&words)?;
        }
        if self.mood.settings > 0 {
            for _ in 0..self.dice.between(0, 2) {
                self.change_setting()?;
            }
        }
        for _ in 0..self.dice.between(1, 4) {
            self.add_service()?;
        }
        self.stage.ipvsadm("-Ln")?;
        Ok(())
    }

    fn step(&mut self) -> io::Result<()> {
        let entries = self.entries()?;
        if pace::is_delicate(&entries) {
            return self.pause(0, 3000);
        }
        let mood = &self.mood;
        let traffic = 60;
        #[derive(Clone, Copy)]
        enum Kind {
            Traffic,
            Control,
            Setting,
            Pause,
            Look,
        }
        let kind = self.dice.weighted(&[
            (Kind::Traffic, traffic),
            (Kind::Control, mood.control),
            (Kind::Setting, mood.settings),
            (Kind::Pause, mood.pauses),
            (Kind::Look, 3),
        ]);
        match kind {
            Kind::Traffic => {
                for _ in 0..self.dice.between(1, 12) {
                    self.packet()?;
                }
                Ok(())
            }
            Kind::Control => self.change(),
            Kind::Setting => self.change_setting(),
            Kind::Pause => {
                let (least, most) = self.dice.weighted(&[
                    ((10, 900), 4),
                    ((1000, 10_000), 4),
                    ((10_000, 70_000), 3),
                    ((70_000, 400_000), 1),
                    ((900_000, 1_300_000), 1),
                ]);
                self.pause(least, most)
            }
            Kind::Look => self.look(),
        }
    }

    /// Whatever ends by a timer: connections, and datagrams that lack a piece.
    fn entries(&mut self) -> io::Result<Vec<Entry>> {
        let now = self.stage.now();
        let mut entries = self.stage.connections()?;
        self.incomplete.retain(|&ends| ends + 5000 > now);
        entries.extend(self.incomplete.iter().map(|ends| Entry {
            protocol: "UDP".to_owned(),
            state: "SYN_RECV".to_owned(),
            left: ends.saturating_sub(now) / 1000,
            is_template: false,
        }));
        Ok(entries)
    }

    /// Lets time pass, and what had to end in it ends.
    fn pause(&mut self, least: u64, most: u64) -> io::Result<()> {
        let entries = self.entries()?;
        let length = pace::pause(&mut self.dice, &entries, least, most);
        self.stage.pass(length)
    }

    // ------------------------------------------------------------------------------------ traffic

    fn packet(&mut self) -> io::Result<()> {
        let roll = self.dice.between(0, 99);
        let (errors, oddities, fragments) = (self.mood.errors, self.mood.oddities, self.mood.fragments);
        if roll < errors {
            return self.trouble();
        }
        if roll < errors + oddities {
            let target = self.target();
            let (link, frame) = trouble::stray(&mut self.dice, target);
            self.stage.send(link, frame)?;
            return self.stage.pass(TICKS);
        }
        if roll < errors + oddities + fragments {
            return self.in_pieces();
        }
        if self.flows.is_empty() || self.dice.chance(25) {
            self.begin();
        }
        let index = self.dice.between(0, self.flows.len() as u64 - 1) as usize;
        if self.flows[index].is_over() {
            if self.dice.chance(50) {
                self.flows[index].restart();
            } else if self.dice.chance(60) {
                self.flows.swap_remove(index);
                return Ok(());
            }
        }
        if let Some((link, frame)) = self.flows[index].next(&mut self.dice, &self.mood) {
            if link == 1 && frame.len() > self.mood.mtu as usize + ETHERNET_LENGTH {
                // No link carries that.
                return Ok(());
            }
            let replaces = self.flows[index].may_replace();
            let out = self.stage.send(link, frame)?;
            self.flows[index].observe(&out);
            if replaces {
                self.stage.pass(TICKS)?;
            }
        }
        Ok(())
    }

    /// Another conversation, by a client that may be anyone.
    fn begin(&mut self) {
        let (protocol, vip, vport) = self.target();
        let family = Family::of(&vip);
        let number = self.dice.between(1, self.mood.clients) as u8;
        let client = if number <= lab::CLIENTS { lab::client(family, number) } else { lab::far_client(family, number) };
        let port = (FIRST_PORT + self.dice.between(0, 400)) as u16;
        let flow = Flow::new(protocol, client, port, vip, vport);
        if self.flows.len() >= FLOWS {
            let gone = self.dice.between(0, self.flows.len() as u64 - 1) as usize;
            self.flows.swap_remove(gone);
        }
        self.flows.push(flow);
    }

    /// What some service takes, mostly.
    fn target(&mut self) -> (Protocol, std::net::IpAddr, u16) {
        if self.services.is_empty() || self.dice.chance(2) {
            let family = self.dice.pick(self.mood.families);
            return (Protocol::TCP, lab::vip(family, 0), 80);
        }
        let index = self.dice.between(0, self.services.len() as u64 - 1) as usize;
        self.services[index].target(&mut self.dice, &self.mood)
    }

    fn trouble(&mut self) -> io::Result<()> {
        if self.flows.is_empty() {
            return Ok(());
        }
        let index = self.dice.between(0, self.flows.len() as u64 - 1) as usize;
        if let Some((link, frame)) = trouble::error(&self.flows[index], &mut self.dice, &self.mood) {
            self.stage.send(link, frame)?;
        }
        Ok(())
    }

    fn in_pieces(&mut self) -> io::Result<()> {
        if self.flows.is_empty() {
            return Ok(());
        }
        let index = self.dice.between(0, self.flows.len() as u64 - 1) as usize;
        self.identification += 1;
        let patience = if self.flows[index].family == Family::V4 { 30_000 } else { 60_000 };
        self.incomplete.push(self.stage.now() + patience);
        if let Some(pieces) = trouble::pieces(&self.flows[index], &mut self.dice, self.identification) {
            for (link, frame) in pieces {
                let out = self.stage.send(link, frame)?;
                self.flows[index].observe(&out);
            }
        }
        Ok(())
    }

    // ------------------------------------------------------------------------------------ control

    fn change(&mut self) -> io::Result<()> {
        if self.services.is_empty() {
            return self.add_service();
        }
        let index = self.dice.between(0, self.services.len() as u64 - 1) as usize;
        match self.dice.between(0, 99) {
            0..30 => self.edit_server(index),
            30..50 => self.add_server(index),
            50..68 => self.delete_server(index),
            68..80 => self.edit_service(index),
            80..86 => self.delete_service(index),
            86..93 => self.add_service(),
            93..97 => {
                let words = plan::timeouts(&mut self.dice);
                self.stage.ipvsadm(&words).map(|_| ())
            }
            _ => self.zero(index),
        }
    }

    fn change_setting(&mut self) -> io::Result<()> {
        let (name, value) = plan::setting(&mut self.dice);
        self.stage.set(name, value)
    }

    fn add_service(&mut self) -> io::Result<()> {
        let mut service = Service::draw(&mut self.dice, &self.mood);
        if self.services.iter().any(|known| known.family == service.family && known.key == service.key) {
            return Ok(());
        }
        let options = service.options(&mut self.dice, &self.mood);
        let said = self.stage.ipvsadm(&format!("-A {} {options}", service.words()))?;
        if said.status != 0 {
            return Ok(());
        }
        let same = |former: &Service| former.family == service.family && former.key == service.key;
        if let Some(index) = self.former.iter().position(same) {
            service.former = self.former.swap_remove(index).former;
        }
        self.services.push(service);
        for _ in 0..self.dice.between(0, 5) {
            self.add_server(self.services.len() - 1)?;
        }
        Ok(())
    }

    fn add_server(&mut self, index: usize) -> io::Result<()> {
        let now = self.stage.now();
        let service = &self.services[index];
        if !service.has_room() {
            return Ok(());
        }
        let Some(server) = service.draw_server(&mut self.dice, &self.mood, now) else { return Ok(()) };
        let options = server.options(&mut self.dice, &self.mood);
        let said = self.stage.ipvsadm(&format!("-a {} {} {options}", service.words(), server.words()))?;
        if said.status == 0 {
            let service = &mut self.services[index];
            service.former.retain(|(former, _)| *former != server);
            service.servers.push(server);
        }
        Ok(())
    }

    fn edit_server(&mut self, index: usize) -> io::Result<()> {
        let service = &self.services[index];
        if service.servers.is_empty() {
            return Ok(());
        }
        let server = &service.servers[self.dice.between(0, service.servers.len() as u64 - 1) as usize];
        let options = server.options(&mut self.dice, &self.mood);
        self.stage.ipvsadm(&format!("-e {} {} {options}", service.words(), server.words())).map(|_| ())
    }

    fn delete_server(&mut self, index: usize) -> io::Result<()> {
        let now = self.stage.now();
        let service = &mut self.services[index];
        if service.servers.is_empty() {
            return Ok(());
        }
        let gone = self.dice.between(0, service.servers.len() as u64 - 1) as usize;
        let server = service.servers.swap_remove(gone);
        self.stage.ipvsadm(&format!("-d {} {}", service.words(), server.words()))?;
        service.former.push((server, now));
        // With expire_nodest_conn its connections end a moment later.
        self.pause(60, 200)
    }

    fn edit_service(&mut self, index: usize) -> io::Result<()> {
        let service = &mut self.services[index];
        if self.dice.chance(60) {
            service.reschedule(&mut self.dice);
        }
        let mut changed = service.clone();
        let options = changed.options(&mut self.dice, &self.mood);
        let said = self.stage.ipvsadm(&format!("-E {} {options}", service.words()))?;
        if said.status == 0 {
            *service = changed;
        }
        Ok(())
    }

    fn delete_service(&mut self, index: usize) -> io::Result<()> {
        // Its servers may come back, but then it is another service, and their counters begin anew
        // from what was shown last.
        self.pause(4500, 9000)?;
        let now = self.stage.now();
        let mut service = self.services.swap_remove(index);
        self.stage.ipvsadm(&format!("-D {}", service.words()))?;
        service.former.extend(service.servers.drain(..).map(|server| (server, now)));
        self.former.push(service);
        self.pause(60, 200)
    }

    /// Counters to zero. What is counted from is what was shown last, so that has to be fresh.
    fn zero(&mut self, index: usize) -> io::Result<()> {
        self.pause(4500, 9000)?;
        let words = if self.dice.chance(50) { "-Z".to_owned() } else { format!("-Z {}", self.services[index].words()) };
        self.stage.ipvsadm(&words).map(|_| ())
    }

    // ------------------------------------------------------------------------------------ listings

    fn look(&mut self) -> io::Result<()> {
        match self.dice.between(0, 9) {
            0..3 => self.stage.ipvsadm("-Ln").map(|_| ()),
            3..6 => self.stage.ipvsadm("-Lnc").map(|_| ()),
            6 => self.stage.ipvsadm("-Ln --thresholds").map(|_| ()),
            7 => self.stage.ipvsadm("-Ln --persistent-conn").map(|_| ()),
            8 => self.stage.ipvsadm("-Sn").map(|_| ()),
            _ => self.count(),
        }
    }

    /// Counters, which a kernel brings up to date every two seconds.
    fn count(&mut self) -> io::Result<()> {
        self.pause(4500, 9000)?;
        let words = self.dice.pick(&["-Ln --stats", "-Ln --stats --exact"]);
        self.stage.ipvsadm(words).map(|_| ())
    }

    fn look_at_everything(&mut self) -> io::Result<()> {
        for words in ["-Lnc", "-Ln", "-Ln --thresholds", "-Ln --persistent-conn", "-Ln --timeout"] {
            self.stage.ipvsadm(words)?;
        }
        self.count()
    }
}
