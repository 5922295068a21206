//! What the director makes of what several workers tell: counters, modes, and who is forgotten.

use std::net::IpAddr;

use super::*;
use crate::base::{Family, Port};
use crate::engine::News;
use crate::engine::server::Tally;
use crate::table::{DestinationConfig, ForwardingMethod, ServiceConfig, ServiceFlags, Tunnel};

const SERVICE: ServiceKey = ServiceKey::Mark { family: Family::V4, mark: 1 };

fn server() -> DestinationKey {
    DestinationKey { address: IpAddr::from([172, 16, 0, 11]), port: Port(80) }
}

/// What one worker answers.
#[derive(Default)]
struct Worker {
    /// Connections counted since it was last asked; two pages of destinations.
    news: u64,
    /// Connections counted since the start.
    total: u64,
    modes: [i32; 3],
    trash: Vec<(ServiceKey, DestinationKey)>,
    outlived: Vec<(ServiceKey, DestinationKey)>,
    /// What it was asked to forget.
    forgot: Vec<(ServiceKey, DestinationKey)>,
}

#[derive(Default)]
struct Fake {
    workers: Vec<Worker>,
}

impl Fleet for Fake {
    fn size(&self) -> usize {
        self.workers.len()
    }

    fn apply(&mut self, _now: Tick, change: &Change) {
        let Change::ForgetFormer { destinations } = change else { return };
        self.workers.iter_mut().for_each(|worker| worker.forgot.extend(destinations));
    }

    fn ask(&mut self, _now: Tick, engine: usize, question: &Question) -> Option<Finding> {
        let worker = self.workers.get_mut(engine)?;
        Some(match *question {
            Question::Outlived { ref destinations } => {
                Finding::Outlived(destinations.iter().map(|key| worker.outlived.contains(key)).collect())
            }
            Question::News { first, limit } => {
                let connections = |number| Tally { connections: number, ..Tally::default() };
                if first == 0 {
                    let told = connections(worker.news);
                    let next = Some(limit);
                    Finding::News(News { total: told, services: vec![(SERVICE, told)], destinations: Vec::new(), next })
                } else {
                    let told = connections(std::mem::take(&mut worker.news));
                    let destinations = vec![(SERVICE, server(), told)];
                    Finding::News(News { total: Tally::default(), services: Vec::new(), destinations, next: None })
                }
            }
            Question::Total => Finding::Total(Tally { connections: worker.total, ..Tally::default() }),
            Question::Defences => Finding::Defences(worker.modes),
            Question::Trash { .. } => Finding::Trash { entries: worker.trash.clone(), next: None },
            Question::Destinations { .. } => Finding::Destinations { entries: Vec::new(), next: None },
            Question::Connections { .. } | Question::Counts => return None,
        })
    }
}

/// A director with a service and a server, at the beginning of time.
fn director(workers: usize) -> Director<Fake> {
    let fleet = Fake { workers: (0..workers).map(|_| Worker::default()).collect() };
    let mut director = Director::new(Tick::ZERO, fleet, 1000);
    add_service(&mut director);
    add_server(&mut director);
    director
}

fn service_config() -> ServiceConfig {
    let flags = ServiceFlags(0);
    ServiceConfig { scheduler: "rr".into(), flags, timeout: 0, netmask: u32::MAX, engine: None }
}

fn add_service(director: &mut Director<Fake>) {
    director.ask(Tick::ZERO, Request::AddService { key: SERVICE, config: service_config() }).unwrap();
}

fn add_server(director: &mut Director<Fake>) {
    let config = DestinationConfig {
        method: ForwardingMethod::DirectRouting,
        weight: 1,
        upper_threshold: 0,
        lower_threshold: 0,
        tunnel: Tunnel::default(),
    };
    director.ask(Tick::ZERO, Request::AddDestination { service: SERVICE, key: server(), config }).unwrap();
}

/// Connections of everything, the service, and its server, as a listing shows them.
fn shown(director: &mut Director<Fake>) -> [Option<u64>; 3] {
    let mut ask = |request| director.ask(Tick::ZERO, request).unwrap();
    let Reply::Totals(total) = ask(Request::Totals) else { panic!("totals") };
    let Reply::Services(services) = ask(Request::Services) else { panic!("services") };
    let Reply::Destinations(servers) = ask(Request::Destinations { service: SERVICE }) else { panic!("servers") };
    let service = services.first().map(|service| service.counters.connections);
    [Some(total.connections), service, servers.first().map(|server| server.counters.connections)]
}

#[test]
fn every_workers_counts_show_up_with_the_round_and_not_before() {
    let mut director = director(2);
    for (worker, news) in director.fleet().workers.iter_mut().zip([5, 7]) {
        worker.news = news;
    }
    director.tick(Tick(estimator::PERIOD - 1));
    assert_eq!(shown(&mut director), [Some(0); 3]);
    director.tick(Tick(estimator::PERIOD));
    assert_eq!(shown(&mut director), [Some(12); 3]);
    director.ask(Tick::ZERO, Request::Zero { key: Some(SERVICE) }).unwrap();
    assert_eq!(shown(&mut director), [Some(12), Some(0), Some(0)]);
    director.fleet().workers[1].news = 2;
    director.ask(Tick::ZERO, Request::SetSetting { name: "run_estimation".into(), value: "0".into() }).unwrap();
    director.tick(Tick(2 * estimator::PERIOD));
    assert_eq!(shown(&mut director), [Some(12), Some(0), Some(0)]);
    director.ask(Tick::ZERO, Request::SetSetting { name: "run_estimation".into(), value: "1".into() }).unwrap();
    director.tick(Tick(3 * estimator::PERIOD));
    assert_eq!(shown(&mut director), [Some(14), Some(2), Some(2)]);
}

#[test]
fn a_server_that_left_keeps_its_counts_while_any_worker_has_it_in_the_trash() {
    let mut director = director(2);
    director.fleet().workers[0].news = 9;
    director.tick(Tick(estimator::PERIOD));
    let leave = Request::DeleteDestination { service: SERVICE, key: server() };
    let much_later = |rounds: u64| Tick((1 + rounds * u64::from(ROUNDS_TO_FORGET)) * estimator::PERIOD);
    director.ask(Tick::ZERO, leave.clone()).unwrap();
    director.fleet().workers[1].trash.push((SERVICE, server()));
    director.tick(much_later(1));
    add_server(&mut director);
    assert_eq!(shown(&mut director), [Some(9); 3]);
    director.ask(Tick::ZERO, leave).unwrap();
    director.fleet().workers[1].trash.clear();
    director.tick(much_later(2));
    add_server(&mut director);
    assert_eq!(shown(&mut director), [Some(9), Some(9), Some(0)]);
}

#[test]
fn a_service_made_anew_begins_at_nothing() {
    let mut director = director(1);
    director.fleet().workers[0].news = 4;
    director.tick(Tick(estimator::PERIOD));
    director.ask(Tick::ZERO, Request::DeleteService { key: SERVICE }).unwrap();
    add_service(&mut director);
    add_server(&mut director);
    assert_eq!(shown(&mut director), [Some(4), Some(0), Some(0)]);
}

#[test]
fn a_mode_reads_as_active_while_one_worker_defends_itself() {
    let mut director = director(2);
    director.ask(Tick::ZERO, Request::SetSetting { name: "drop_entry".into(), value: "1".into() }).unwrap();
    let mut read = |first: i32, second: i32| {
        director.fleet().workers[0].modes = [first, 0, 0];
        director.fleet().workers[1].modes = [second, 0, 0];
        let question = Request::Settings { name: Some("drop_entry".into()) };
        let Ok(Reply::Settings(settings)) = director.ask(Tick::ZERO, question) else { panic!("settings") };
        settings[0].1.clone()
    };
    assert_eq!(read(1, 1), "1");
    assert_eq!(read(1, 2), "2");
}

#[test]
fn the_machine_is_brought_in_line_for_what_concerns_it_and_not_for_weights() {
    let mut director = director(1);
    assert!(director.take_unsettled(Tick::ZERO) && !director.take_unsettled(Tick::ZERO));
    let mut edit = |weight, method| {
        let config =
            DestinationConfig { method, weight, upper_threshold: 0, lower_threshold: 0, tunnel: Tunnel::default() };
        director.ask(Tick::ZERO, Request::EditDestination { service: SERVICE, key: server(), config }).unwrap();
        director.take_unsettled(Tick::ZERO)
    };
    assert!(!edit(7, ForwardingMethod::DirectRouting));
    assert!(edit(7, ForwardingMethod::Masquerading));
    assert!(director.ask(Tick::ZERO, Request::AddService { key: SERVICE, config: service_config() }).is_err());
    assert!(!director.take_unsettled(Tick::ZERO), "nothing was changed");
    director.ask(Tick::ZERO, Request::DeleteDestination { service: SERVICE, key: server() }).unwrap();
    assert!(director.take_unsettled(Tick::ZERO));
}

#[test]
fn a_server_that_left_is_kept_from_the_kernel_while_any_worker_has_connections_with_it() {
    let mut director = director(2);
    assert!(director.take_unsettled(Tick::ZERO));
    let leave = Request::DeleteDestination { service: SERVICE, key: server() };
    let kept = |director: &Director<Fake>| !director.model().service_table().former().is_empty();
    director.fleet().workers[1].outlived.push((SERVICE, server()));
    director.ask(Tick::ZERO, leave.clone()).unwrap();
    assert!(director.take_unsettled(Tick::ZERO) && kept(&director));
    let round = Tick(u64::from(ROUNDS_TO_FORGET) * estimator::PERIOD);
    director.tick(round);
    assert!(!director.take_unsettled(round) && kept(&director));
    director.fleet().workers[1].outlived.clear();
    director.tick(round + u64::from(ROUNDS_TO_FORGET) * estimator::PERIOD);
    assert!(director.take_unsettled(round) && !kept(&director));
    assert_eq!(director.fleet().workers[0].forgot, [(SERVICE, server())]);

    // Where there are none it is forgotten at once.
    add_server(&mut director);
    director.ask(Tick::ZERO, leave).unwrap();
    assert!(kept(&director) && director.take_unsettled(round) && !kept(&director));
}

#[test]
fn a_line_for_each_worker() {
    let mut director = director(2);
    director.fleet().workers[1].total = 3;
    let Ok(Reply::Workers(lines)) = director.ask(Tick::ZERO, Request::Workers) else { panic!("workers") };
    assert_eq!(lines.iter().map(|line| line.connections).collect::<Vec<_>>(), [0, 3]);
}
