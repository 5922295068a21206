//! The director as its commands see it: the only writer of the configuration.
//!
//! Pure: it is told the time, and reaches the engines through a [`Fleet`]. It keeps a model, an
//! engine without traffic, that says whether a change is possible before any engine hears of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::base::{Port, Tick};
use crate::engine::former::FormerKey;
use crate::engine::{Config, DestinationView, Engine, HostStack, ServiceView};
use crate::table::{Change, DaemonConfig, DaemonRole, DestinationKey, Errno, Network, ServiceKey, Settings};
use crate::worker::question::{Counts, Finding, Question};

use super::estimator::{self, Estimator};
use super::message::{
    Answer, ConnectionEntry, ConnectionPage, Counters, DestinationEntry, Info, Reply, Request, ServiceEntry, StatLine,
    Status,
};

/// The engines that carry the traffic.
pub trait Fleet {
    /// How many engines there are.
    fn size(&self) -> usize;

    /// Whether the machine lets this change be carried out (a virtual address that cannot be
    /// kept from the kernel, say).
    ///
    /// # Errors
    /// The errno that the operator is to see.
    fn permit(&mut self, model: &Engine, change: &Change) -> Result<(), Errno> {
        let _ = (model, change);
        Ok(())
    }

    /// The MTU of one of the machine's interfaces; `None` where there is no such interface.
    fn mtu(&mut self, model: &Engine, interface: &str) -> Option<u32> {
        model.network().links().iter().find(|link| link.name == interface).map(|link| link.mtu)
    }

    /// Opens what a daemon needs, which is started next.
    ///
    /// # Errors
    /// Why it cannot be opened.
    fn open_daemon(&mut self, model: &Engine, config: &DaemonConfig, ports: u32) -> Result<(), Errno> {
        let _ = (model, config, ports);
        Ok(())
    }

    /// Counts that are no engine's: group, name, meaning.
    fn counts(&self) -> Vec<(&'static str, String, &'static str, u64)> {
        Vec::new()
    }

    /// Hands every engine a change that the model accepted, at the latest when it is woken or asked.
    fn apply(&mut self, now: Tick, change: &Change);

    /// Has the engines make the changes that they were handed: no more follows at once.
    fn wake(&mut self) {}

    /// Asks one engine.
    fn ask(&mut self, now: Tick, engine: usize, question: &Question) -> Option<Finding>;
}

/// Version of ip_vs that is spoken: 1.2.1.
const VERSION: u32 = 0x01_02_01;
/// Size of the connection table as the kernel states it by default.
const CONNECTION_TABLE_SIZE: u32 = 4096;
/// Places of the connection table that one page covers, and destinations, deleted or not, that a
/// worker looks at for one question: some 100 µs, for which no frame is handled.
pub const PAGE: usize = 1024;
/// Rounds of estimates between two looks for destinations that are gone for good.
const ROUNDS_TO_FORGET: u32 = 30;

/// Configuration, and what is derived from counting.
pub struct Director<F> {
    model: Engine,
    fleet: F,
    estimator: Estimator,
    next_estimate: Tick,
    rounds: u32,
    started: Tick,
    maximum_connections: usize,
    /// What the machine around us is told of has changed.
    unsettled: bool,
    /// Former destinations that no worker was asked about yet; every one there is, if that is said.
    departed: Vec<FormerKey>,
    all_departed: bool,
    /// Lines about how the director runs, for `ulvs status`.
    pub lines: Vec<String>,
}

impl<F: Fleet> Director<F> {
    pub fn new(now: Tick, fleet: F, maximum_connections: usize) -> Director<F> {
        let config = Config { maximum_connections: 1, seed: 0, host_stack: HostStack::Beside };
        Director {
            model: Engine::new(&config),
            fleet,
            estimator: Estimator::default(),
            next_estimate: now + estimator::PERIOD,
            rounds: 0,
            started: now,
            maximum_connections,
            unsettled: false,
            departed: Vec::new(),
            all_departed: false,
            lines: Vec::new(),
        }
    }

    /// The configuration as it stands.
    pub fn model(&self) -> &Engine {
        &self.model
    }

    /// The virtual ports on which the workers help FTP; before there are services.
    pub fn set_ftp_ports(&mut self, ports: &[Port]) {
        self.model.set_ftp_ports(ports);
    }

    /// Chooses the number that the order of unsorted listings depends on.
    pub fn set_order_key(&mut self, key: u8) {
        self.model.set_order_key(key);
    }

    pub fn fleet(&mut self) -> &mut F {
        &mut self.fleet
    }

    /// Replaces what is known of the machine's network.
    pub fn set_network(&mut self, network: Arc<Network>) {
        self.model.set_network(network);
    }

    /// Does what is due; call it at least every second.
    pub fn tick(&mut self, now: Tick) {
        self.model.tick(now, usize::MAX);
        while self.next_estimate <= now {
            self.next_estimate = self.next_estimate + estimator::PERIOD;
            if self.model.settings().run_estimation != 0 {
                self.estimate(now);
            }
            self.rounds += 1;
            if self.rounds.is_multiple_of(ROUNDS_TO_FORGET) {
                self.forget_destinations(now);
                self.all_departed = true;
                self.forget_former(now);
            }
        }
    }

    /// Answers one request.
    ///
    /// # Errors
    /// The errno the kernel would give.
    pub fn ask(&mut self, now: Tick, request: Request) -> Answer {
        let change = match request {
            Request::AddService { key, config } => Change::AddService { key, config },
            Request::EditService { key, config } => Change::EditService { key, config },
            Request::DeleteService { key } => Change::DeleteService { key },
            Request::Flush => Change::Flush,
            Request::Zero { key } => Change::Zero { key },
            Request::AddDestination { service, key, config } => Change::AddDestination { service, key, config },
            Request::EditDestination { service, key, config } => Change::EditDestination { service, key, config },
            Request::DeleteDestination { service, key } => Change::DeleteDestination { service, key },
            Request::SetTimeouts { timeouts } => Change::SetTimeouts { timeouts },
            Request::SetSetting { name, value } => Change::SetSetting { name, value },
            Request::AddMark { rule } => Change::AddMark { rule },
            Request::DeleteMark { rule } => Change::DeleteMark { rule },
            Request::FlushMarks => Change::FlushMarks,
            Request::StartDaemon { config } => {
                let mtu = self.fleet.mtu(&self.model, &config.interface);
                let (config, ports) = self.model.complete_daemon(&config, mtu)?;
                self.fleet.open_daemon(&self.model, &config, ports)?;
                Change::StartDaemon { config, ports }
            }
            Request::StopDaemon { role } => Change::StopDaemon { role },
            request => return self.look_up(now, request),
        };
        self.change(now, change)?;
        Ok(Reply::Done)
    }

    /// Whether anything has changed, since this was last asked, that the machine around us must
    /// be brought in line with. Destinations that left since then, and that nobody has connections
    /// with, are forgotten first.
    pub fn take_unsettled(&mut self, now: Tick) -> bool {
        self.forget_former(now);
        std::mem::take(&mut self.unsettled)
    }

    fn change(&mut self, now: Tick, change: Change) -> Result<(), Errno> {
        self.fleet.permit(&self.model, &change)?;
        let unsettling = self.is_unsettling(&change);
        self.model.apply(now, &change)?;
        self.unsettled |= unsettling;
        self.fleet.apply(now, &change);
        let services = self.model.service_table();
        match &change {
            Change::DeleteDestination { service, key } | Change::EditDestination { service, key, .. }
                if services.former().contains(&(*service, *key)) =>
            {
                self.departed.push((*service, *key));
            }
            Change::DeleteService { .. } | Change::Flush => self.all_departed = true,
            _ => {}
        }
        match &change {
            Change::Zero { key } => self.estimator.zero(key.as_ref(), |service, key| services.has(service, key)),
            Change::DeleteService { key } => self.estimator.forget(key),
            Change::Flush => self.estimator.forget_services(),
            _ => {}
        }
        Ok(())
    }

    /// Whether a change is about more than the engines: what is received, answered for, or kept
    /// from the kernel. What health checks do all day, to set weights, is not.
    fn is_unsettling(&self, change: &Change) -> bool {
        let services = self.model.service_table();
        match change {
            Change::EditDestination { service, key, config } => {
                let known = services.by_key(service).and_then(|id| services.destination(id, key));
                known.and_then(|id| services.destinations.get(id)).is_none_or(|known| known.method != config.method)
            }
            Change::Zero { .. } | Change::SetTimeouts { .. } => false,
            _ => true,
        }
    }

    fn look_up(&mut self, now: Tick, request: Request) -> Answer {
        Ok(match request {
            Request::Info => Reply::Info(Info { version: VERSION, connection_table_size: CONNECTION_TABLE_SIZE }),
            Request::Services => Reply::Services(self.services(None)),
            Request::Service { key } => {
                let entries = self.services(Some(key));
                if entries.is_empty() {
                    return Err(Errno::ESRCH);
                }
                Reply::Services(entries)
            }
            Request::Destinations { service } => Reply::Destinations(self.destinations(now, service)),
            Request::Timeouts => Reply::Timeouts(self.model.timeouts()),
            Request::Daemons => Reply::Daemons(self.model.daemons().cloned().collect()),
            Request::Connections { cursor } => Reply::Connections(self.connections(now, cursor)),
            Request::Totals => Reply::Totals(self.estimator.total_counters()),
            Request::Workers => Reply::Workers(self.workers(now)),
            Request::Settings { name: None } => {
                let settings = self.settings(now);
                let names = Settings::NAMES;
                Reply::Settings(names.iter().filter_map(|&n| Some((n.to_owned(), settings.show(n)?))).collect())
            }
            Request::Settings { name: Some(name) } => {
                let value = self.settings(now).show(&name).ok_or(Errno::ENOENT)?;
                Reply::Settings(vec![(name, value)])
            }
            Request::Marks => Reply::Marks(self.model.marks().to_vec()),
            Request::HelpedPorts => Reply::HelpedPorts(self.model.ftp_ports().to_vec()),
            Request::Stats => Reply::Stats(self.stats(now)),
            Request::Status => Reply::Status(self.status(now)),
            // Ending the process is the server's business; changes were dealt with before.
            _ => return Err(Errno::EINVAL),
        })
    }

    fn ask_all(&mut self, now: Tick, question: &Question) -> Vec<Finding> {
        (0..self.fleet.size()).filter_map(|engine| self.fleet.ask(now, engine, question)).collect()
    }

    /// Asks every engine for one page after the other: `take` takes a page in and says what comes
    /// next.
    fn ask_pages(
        &mut self,
        now: Tick,
        start: usize,
        question: impl Fn(usize) -> Question,
        mut take: impl FnMut(Finding) -> Option<usize>,
    ) {
        for engine in 0..self.fleet.size() {
            let mut place = Some(start);
            while let Some(at) = place {
                place = self.fleet.ask(now, engine, &question(at)).and_then(&mut take);
            }
        }
    }

    fn services(&self, key: Option<ServiceKey>) -> Vec<ServiceEntry> {
        let known: Vec<ServiceView> = match key {
            Some(key) => self.model.service(&key).into_iter().collect(),
            None => self.model.services().collect(),
        };
        let entry = |service: ServiceView| ServiceEntry {
            counters: self.estimator.service_counters(&service.key),
            key: service.key,
            config: service.config,
        };
        known.into_iter().map(entry).collect()
    }

    /// The settings as they stand: where memory decides, as the workers see it. One that defends
    /// itself suffices.
    fn settings(&mut self, now: Tick) -> Settings {
        let mut settings = self.model.settings().clone();
        let mut seen = [0; 3];
        for finding in self.ask_all(now, &Question::Defences) {
            let Finding::Defences(modes) = finding else { continue };
            seen.iter_mut().zip(modes).for_each(|(seen, mode)| *seen = mode.max(*seen));
        }
        let modes = [&mut settings.drop_entry, &mut settings.drop_packet, &mut settings.secure_tcp];
        for (mode, seen) in modes.into_iter().zip(seen) {
            if matches!((*mode, seen), (1 | 2, 1 | 2)) {
                *mode = seen;
            }
        }
        settings
    }

    fn workers(&mut self, now: Tick) -> Vec<Counters> {
        let findings = self.ask_all(now, &Question::Total);
        let total = |finding| if let Finding::Total(tally) = finding { Some(Counters::from(tally)) } else { None };
        findings.into_iter().filter_map(total).collect()
    }

    fn destinations(&mut self, now: Tick, service: ServiceKey) -> Vec<DestinationEntry> {
        let known = self.model.destinations(&service);
        let mut sums: HashMap<DestinationKey, DestinationView> = HashMap::new();
        self.ask_pages(
            now,
            0,
            |first| Question::Destinations { service, first, limit: PAGE },
            |finding| {
                let Finding::Destinations { entries, next } = finding else { return None };
                for found in entries {
                    sums.entry(found.key)
                        .and_modify(|sum| {
                            sum.active += found.active;
                            sum.inactive += found.inactive;
                            sum.persistent += found.persistent;
                        })
                        .or_insert(found);
                }
                next
            },
        );
        let entry = |known: DestinationView| {
            let found = sums.get(&known.key).copied().unwrap_or(known);
            DestinationEntry {
                key: known.key,
                config: known.config,
                active: found.active,
                inactive: found.inactive,
                persistent: found.persistent,
                counters: self.estimator.destination_counters(&service, &known.key),
            }
        };
        known.into_iter().map(entry).collect()
    }

    /// A page's cursor names the engine in its upper half and the place in the lower.
    fn connections(&mut self, now: Tick, cursor: u64) -> ConnectionPage {
        let (engine, place) = ((cursor >> 32) as usize, (cursor & 0xffff_ffff) as usize);
        let finding = self.fleet.ask(now, engine, &Question::Connections { cursor: place, limit: PAGE });
        let (entries, next) = match finding {
            Some(Finding::Connections { entries, next }) => (entries, next),
            _ => (Vec::new(), None),
        };
        let next = match next {
            Some(place) => Some((engine as u64) << 32 | place as u64),
            None => (engine + 1 < self.fleet.size()).then_some((engine as u64 + 1) << 32),
        };
        let entry = |view: crate::engine::ConnectionView| ConnectionEntry {
            protocol: view.protocol,
            client: view.client.to_ip(view.family),
            client_port: view.client_port,
            virtual_address: view.virtual_address.to_ip(view.family),
            virtual_port: view.virtual_port,
            destination: view.destination.to_ip(view.destination_family),
            destination_port: view.destination_port,
            state: view.state.to_owned(),
            expires: view.seconds_left,
            synchronised: view.synchronised,
            method: view.method,
            engine: view.call_id.map(|id| ("sip".to_owned(), id)),
        };
        ConnectionPage { entries: entries.into_iter().map(entry).collect(), next }
    }

    fn stats(&mut self, now: Tick) -> Vec<StatLine> {
        let mut lines: Vec<StatLine> = Vec::new();
        let mut note = |group: &str, name: &str, meaning: &str, count: u64| match lines
            .iter_mut()
            .find(|line| line.group == group && line.name == name)
        {
            Some(line) => line.count += count,
            None => lines.push(StatLine { group: group.into(), name: name.into(), meaning: meaning.into(), count }),
        };
        for finding in self.ask_all(now, &Question::Counts) {
            let Finding::Counts(counts) = finding else { continue };
            let Counts { connections, transmitted, consumed, passed, dropped, others } = counts;
            note("engine", "connections", "Connections and templates in the table now.", connections as u64);
            note("engine", "transmitted", "Frames sent on.", transmitted);
            note("engine", "consumed", "Frames answered, cut up, or kept for reassembly.", consumed);
            for (reason, count) in passed {
                note("pass", reason.name(), reason.meaning(), count);
            }
            for (reason, count) in dropped {
                note("drop", reason.name(), reason.meaning(), count);
            }
            for (group, name, meaning, count) in others {
                note(group, &name, meaning, count);
            }
        }
        for (group, name, meaning, count) in self.fleet.counts() {
            note(group, &name, meaning, count);
        }
        lines
    }

    fn status(&mut self, now: Tick) -> Status {
        let counts = self.ask_all(now, &Question::Counts);
        let connections = counts
            .iter()
            .map(|finding| match finding {
                Finding::Counts(counts) => counts.connections as u64,
                _ => 0,
            })
            .sum();
        let mut lines = self.lines.clone();
        lines.extend(self.daemon_lines(now));
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            process: std::process::id(),
            uptime: now.since(self.started) / 1000,
            workers: self.fleet.size() as u32,
            connections,
            maximum_connections: self.maximum_connections as u64,
            lines,
        }
    }

    /// What the synchronisation daemons do, in words.
    fn daemon_lines(&mut self, now: Tick) -> Vec<String> {
        let daemons: Vec<DaemonConfig> = self.model.daemons().cloned().collect();
        if daemons.is_empty() {
            return Vec::new();
        }
        let stats = self.stats(now);
        let count = |group: &str, names: &[&str]| -> u64 {
            let lines = stats.iter().filter(|line| line.group == group);
            lines.filter(|line| names.is_empty() || names.contains(&line.name.as_str())).map(|line| line.count).sum()
        };
        let line = |daemon: DaemonConfig| match daemon.role {
            DaemonRole::Master => format!(
                "master sync daemon on {}, sync id {}: {} messages with {} entries, {} lost",
                daemon.interface,
                daemon.sync_id,
                count("sync", &["messages-out"]),
                count("sync", &["entries-out"]),
                count("sync", &["messages-lost", "failed"]),
            ),
            DaemonRole::Backup => format!(
                "backup sync daemon on {}, sync id {}: {} messages, {} entries made, {} updated, {} ignored",
                daemon.interface,
                daemon.sync_id,
                count("sync", &["messages-in"]),
                count("sync", &["entries-made"]),
                count("sync", &["entries-updated"]),
                count("ignored", &[]),
            ),
        };
        daemons.into_iter().map(line).collect()
    }

    /// One round of estimates: every worker tells what it counted since the last.
    fn estimate(&mut self, now: Tick) {
        for engine in 0..self.fleet.size() {
            let mut first = Some(0);
            while let Some(place) = first {
                let question = Question::News { first: place, limit: PAGE };
                let Some(Finding::News(news)) = self.fleet.ask(now, engine, &question) else { break };
                self.estimator.total().gain(&news.total);
                for (key, tally) in &news.services {
                    self.estimator.service(*key).gain(tally);
                }
                for (service, key, tally) in &news.destinations {
                    self.estimator.destination(*service, *key).gain(tally);
                }
                first = news.next;
            }
        }
        let services = self.model.service_table();
        self.estimator.advance(|service, key| services.has(service, key));
    }

    /// Has everybody forget former destinations that no worker has connections with.
    fn forget_former(&mut self, now: Tick) {
        let mut asked = std::mem::take(&mut self.departed);
        if std::mem::take(&mut self.all_departed) {
            asked = self.model.service_table().former().iter().map(|(&key, _)| key).collect();
        }
        for page in asked.chunks(PAGE) {
            let question = Question::Outlived { destinations: page.into() };
            let mut outlived = vec![false; page.len()];
            for engine in 0..self.fleet.size() {
                match self.fleet.ask(now, engine, &question) {
                    Some(Finding::Outlived(here)) => outlived.iter_mut().zip(here).for_each(|(any, here)| *any |= here),
                    // Who does not answer may have some.
                    _ => outlived.fill(true),
                }
            }
            let free = page.iter().zip(outlived).filter(|(_, outlived)| !outlived);
            let change = Change::ForgetFormer { destinations: free.map(|(&key, _)| key).collect() };
            // What nobody has any more can always be forgotten.
            if !matches!(&change, Change::ForgetFormer { destinations } if destinations.is_empty())
                && self.model.apply(now, &change).is_ok()
            {
                self.fleet.apply(now, &change);
                self.unsettled = true;
            }
        }
        self.fleet.wake();
    }

    /// Lets go of destinations that can no longer come back with what they counted.
    fn forget_destinations(&mut self, now: Tick) {
        let mut waiting = HashSet::new();
        self.ask_pages(
            now,
            usize::MAX,
            |end| Question::Trash { end, limit: PAGE },
            |finding| {
                let Finding::Trash { entries, next } = finding else { return None };
                waiting.extend(entries);
                next
            },
        );
        let services = self.model.service_table();
        self.estimator.retain(|service, key| services.has(service, key) || waiting.contains(&(*service, *key)));
    }
}

#[cfg(test)]
mod tests;
