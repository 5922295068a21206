//! The director as its commands see it: the only writer of the configuration.
//!
//! Pure: it is told the time, and reaches the engines through a [`Fleet`]. It keeps a model, an
//! engine without traffic, that says whether a change is possible before any engine hears of it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::Tick;
use crate::engine::server::Tally;
use crate::engine::{Config, DestinationView, Engine, HostStack, ServiceView};
use crate::table::{Change, DestinationKey, Errno, Network, ServiceKey};
use crate::worker::question::{Counts, Finding, Question};

use super::estimator::{self, Estimator, Subject};
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

    /// Hands every engine a change that the model accepted.
    fn apply(&mut self, now: Tick, change: &Change);

    /// Asks one engine.
    fn ask(&mut self, now: Tick, engine: usize, question: &Question) -> Option<Finding>;
}

/// Version of ip_vs that is spoken: 1.2.1.
const VERSION: u32 = 0x01_02_01;
/// Size of the connection table as the kernel states it by default.
const CONNECTION_TABLE_SIZE: u32 = 4096;
/// Places of the connection table that one page covers.
const PAGE: usize = 4096;
/// Services whose tallies are asked for at once.
const TALLY_PAGE: usize = 64;

/// Configuration, and what is derived from counting.
pub struct Director<F> {
    model: Engine,
    fleet: F,
    estimator: Estimator,
    next_estimate: Tick,
    started: Tick,
    maximum_connections: usize,
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
            started: now,
            maximum_connections,
            lines: Vec::new(),
        }
    }

    /// The configuration as it stands.
    pub fn model(&self) -> &Engine {
        &self.model
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
            request => return self.look_up(now, request),
        };
        self.change(now, change)?;
        Ok(Reply::Done)
    }

    fn change(&mut self, now: Tick, change: Change) -> Result<(), Errno> {
        self.fleet.permit(&self.model, &change)?;
        self.model.apply(now, &change)?;
        self.fleet.apply(now, &change);
        if let Change::Zero { key } = &change {
            self.estimator.zero(key.as_ref());
        }
        Ok(())
    }

    fn look_up(&mut self, now: Tick, request: Request) -> Answer {
        Ok(match request {
            Request::Info => Reply::Info(Info { version: VERSION, connection_table_size: CONNECTION_TABLE_SIZE }),
            Request::Services => Reply::Services(self.services(now, None)),
            Request::Service { key } => {
                let entries = self.services(now, Some(key));
                if entries.is_empty() {
                    return Err(Errno::ESRCH);
                }
                Reply::Services(entries)
            }
            Request::Destinations { service } => Reply::Destinations(self.destinations(now, service)),
            Request::Timeouts => Reply::Timeouts(self.model.timeouts()),
            Request::Daemons => Reply::Daemons(Vec::new()),
            Request::StopDaemon { .. } => return Err(Errno::ESRCH),
            Request::StartDaemon { config } => {
                let known = self.model.network().links().iter().any(|link| link.name == config.interface);
                return Err(if known { Errno::ENOPROTOOPT } else { Errno::ENODEV });
            }
            Request::Connections { cursor } => Reply::Connections(self.connections(now, cursor)),
            Request::Totals => Reply::Totals(self.totals(now)),
            Request::Settings { name: None } => {
                let settings = self.model.settings();
                let names = crate::table::Settings::NAMES;
                Reply::Settings(names.iter().filter_map(|&n| Some((n.to_owned(), settings.show(n)?))).collect())
            }
            Request::Settings { name: Some(name) } => {
                let value = self.model.settings().show(&name).ok_or(Errno::ENOENT)?;
                Reply::Settings(vec![(name, value)])
            }
            Request::Marks => Reply::Marks(self.model.marks().to_vec()),
            Request::Stats => Reply::Stats(self.stats(now)),
            Request::Status => Reply::Status(self.status(now)),
            // Ending the process is the server's business; changes were dealt with before.
            _ => return Err(Errno::EINVAL),
        })
    }

    fn ask_all(&mut self, now: Tick, question: &Question) -> Vec<Finding> {
        (0..self.fleet.size()).filter_map(|engine| self.fleet.ask(now, engine, question)).collect()
    }

    fn services(&mut self, now: Tick, key: Option<ServiceKey>) -> Vec<ServiceEntry> {
        let known: Vec<ServiceView> = match key {
            Some(key) => self.model.service(&key).into_iter().collect(),
            None => self.model.services().collect(),
        };
        let question = key.map_or(Question::Services, Question::Service);
        let mut tallies: HashMap<ServiceKey, Tally> = HashMap::new();
        for finding in self.ask_all(now, &question) {
            let Finding::Services(services) = finding else { continue };
            for service in services {
                add(tallies.entry(service.key).or_default(), &service.tally);
            }
        }
        let entry = |service: ServiceView| ServiceEntry {
            counters: self.counters(tallies.get(&service.key).copied().unwrap_or_default(), Some((service.key, None))),
            key: service.key,
            config: service.config,
        };
        known.into_iter().map(entry).collect()
    }

    fn destinations(&mut self, now: Tick, service: ServiceKey) -> Vec<DestinationEntry> {
        let known = self.model.destinations(&service);
        let mut sums: HashMap<DestinationKey, DestinationView> = HashMap::new();
        for finding in self.ask_all(now, &Question::Destinations(service)) {
            let Finding::Destinations(destinations) = finding else { continue };
            for found in destinations {
                sums.entry(found.key)
                    .and_modify(|sum| {
                        sum.active += found.active;
                        sum.inactive += found.inactive;
                        sum.persistent += found.persistent;
                        add(&mut sum.tally, &found.tally);
                    })
                    .or_insert(found);
            }
        }
        let entry = |known: DestinationView| {
            let found = sums.get(&known.key).copied().unwrap_or(known);
            DestinationEntry {
                key: known.key,
                config: known.config,
                active: found.active,
                inactive: found.inactive,
                persistent: found.persistent,
                counters: self.counters(found.tally, Some((service, Some(known.key)))),
            }
        };
        known.into_iter().map(entry).collect()
    }

    fn counters(&self, tally: Tally, subject: Subject) -> Counters {
        Counters {
            connections: tally.connections,
            in_packets: tally.in_packets,
            out_packets: tally.out_packets,
            in_bytes: tally.in_bytes,
            out_bytes: tally.out_bytes,
            rates: self.estimator.rates(subject),
        }
    }

    fn totals(&mut self, now: Tick) -> Counters {
        let mut total = Tally::default();
        for finding in self.ask_all(now, &Question::Tallies { first: 0, limit: 0 }) {
            if let Finding::Tallies { total: found, .. } = finding {
                add(&mut total, &found);
            }
        }
        self.counters(total, None)
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
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            process: std::process::id(),
            uptime: now.since(self.started) / 1000,
            workers: self.fleet.size() as u32,
            connections,
            maximum_connections: self.maximum_connections as u64,
            lines: self.lines.clone(),
        }
    }

    fn estimate(&mut self, now: Tick) {
        let mut tallies: HashMap<Subject, Tally> = HashMap::new();
        for engine in 0..self.fleet.size() {
            let mut first = 0;
            loop {
                let question = Question::Tallies { first, limit: TALLY_PAGE };
                let Some(Finding::Tallies { total, services }) = self.fleet.ask(now, engine, &question) else { break };
                if first == 0 {
                    add(tallies.entry(None).or_default(), &total);
                }
                let full = services.len() == TALLY_PAGE;
                for (key, tally, destinations) in services {
                    add(tallies.entry(Some((key, None))).or_default(), &tally);
                    for (destination, tally) in destinations {
                        add(tallies.entry(Some((key, Some(destination)))).or_default(), &tally);
                    }
                }
                if !full {
                    break;
                }
                first += TALLY_PAGE;
            }
        }
        self.estimator.begin();
        for (subject, tally) in tallies {
            self.estimator.update(subject, tally);
        }
        self.estimator.end();
    }
}

fn add(sum: &mut Tally, tally: &Tally) {
    sum.connections += tally.connections;
    sum.in_packets += tally.in_packets;
    sum.out_packets += tally.out_packets;
    sum.in_bytes += tally.in_bytes;
    sum.out_bytes += tally.out_bytes;
}
