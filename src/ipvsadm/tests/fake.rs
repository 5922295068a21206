//! A director that only keeps what it is told, with the kernel's rules for what it takes, and
//! the names of a machine that does not exist.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use crate::base::{Family, Port, Protocol};
use crate::control::message::{
    Access, Answer, ConnectionEntry, ConnectionPage, Counters, DaemonConfig, DestinationEntry, Info, Reply, Request,
    ServiceEntry,
};
use crate::ipvsadm::names::{Names, Services};
use crate::table::{
    DestinationConfig, DestinationKey, Errno, ForwardingMethod, SchedulerKind, ServiceConfig, ServiceKey, Timeouts,
    TunnelKind,
};

/// A service and its destinations, newest first.
#[derive(Clone, Debug)]
pub struct Service {
    pub entry: ServiceEntry,
    pub destinations: Vec<DestinationEntry>,
}

/// What a fake director holds.
#[derive(Default)]
pub struct State {
    /// Newest first.
    pub services: Vec<Service>,
    pub timeouts: Timeouts,
    pub daemons: Vec<DaemonConfig>,
    pub connections: Vec<ConnectionEntry>,
    /// 0: what the kernel of the recordings says.
    pub version: u32,
    /// Every request is answered so.
    pub refuse: Option<Errno>,
    /// The order services are dumped in, by name as in a numeric listing; others come last.
    pub order: Vec<String>,
    /// Every request but the first breaks the way.
    pub broken: bool,
    pub requests: usize,
    /// How many calls carried them.
    pub calls: usize,
}

/// A way to a fake director; clones lead to the same one.
#[derive(Clone, Default)]
pub struct Fake(pub Rc<RefCell<State>>);

impl Access for Fake {
    fn ask(&mut self, request: Request) -> io::Result<Answer> {
        Ok(self.ask_all(vec![request])?.remove(0))
    }

    fn ask_all(&mut self, requests: Vec<Request>) -> io::Result<Vec<Answer>> {
        let mut state = self.0.borrow_mut();
        state.calls += 1;
        requests.into_iter().map(|request| state.ask(request)).collect()
    }
}

impl State {
    fn ask(&mut self, request: Request) -> io::Result<Answer> {
        self.requests += 1;
        if self.broken && self.requests > 1 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(match self.refuse {
            Some(errno) if self.requests > 1 => Err(errno),
            _ => self.answer(request),
        })
    }

    fn answer(&mut self, request: Request) -> Answer {
        match request {
            Request::AddService { key, config } => {
                if self.services.iter().any(|service| service.entry.key == key) {
                    return Err(Errno::EEXIST);
                }
                check_service(&key, &config)?;
                let entry = ServiceEntry { key, config, counters: Counters::default() };
                self.services.insert(0, Service { entry, destinations: Vec::new() });
            }
            Request::EditService { key, config } => {
                let service = self.service(&key)?;
                check_service(&key, &config)?;
                service.entry.config = config;
            }
            Request::DeleteService { key } => {
                self.service(&key)?;
                self.services.retain(|service| service.entry.key != key);
            }
            Request::Flush => self.services.clear(),
            Request::Zero { key: None } => self.services.iter_mut().for_each(Service::zero),
            Request::Zero { key: Some(key) } => self.service(&key)?.zero(),
            Request::AddDestination { service, key, config } => {
                let synchronising = !self.daemons.is_empty();
                let service = self.service(&service)?;
                check_destination(&service.entry.key, &key, &config)?;
                if synchronising && service.entry.key.family() != Family::of(&key.address) {
                    return Err(Errno::EINVAL);
                }
                if service.destinations.iter().any(|destination| destination.key == key) {
                    return Err(Errno::EEXIST);
                }
                if !acceptable(key.address) {
                    return Err(Errno::EINVAL);
                }
                let counters = Counters::default();
                let entry = DestinationEntry { key, config, active: 0, inactive: 0, persistent: 0, counters };
                service.destinations.insert(0, entry);
            }
            Request::EditDestination { service, key, config } => {
                let service = self.service(&service)?;
                check_destination(&service.entry.key, &key, &config)?;
                service.destination(&key)?.config = config;
            }
            Request::DeleteDestination { service, key } => {
                let service = self.service(&service)?;
                service.destination(&key)?;
                service.destinations.retain(|destination| destination.key != key);
            }
            Request::SetTimeouts { timeouts } => self.timeouts.update(timeouts)?,
            Request::StartDaemon { config } => self.start_daemon(config)?,
            Request::StopDaemon { role } => {
                let running = self.daemons.iter().position(|daemon| daemon.role == role).ok_or(Errno::ESRCH)?;
                self.daemons.remove(running);
            }
            Request::Info => {
                let version = if self.version == 0 { 0x01_02_01 } else { self.version };
                return Ok(Reply::Info(Info { version, connection_table_size: 4096 }));
            }
            Request::Services => {
                let mut services: Vec<ServiceEntry> =
                    self.services.iter().map(|service| service.entry.clone()).collect();
                let place = |name: String| self.order.iter().position(|known| *known == name);
                services.sort_by_key(|service| place(name(&service.key)).unwrap_or(usize::MAX));
                return Ok(Reply::Services(services));
            }
            Request::Service { key } => return Ok(Reply::Services(vec![self.service(&key)?.entry.clone()])),
            Request::Destinations { service } => {
                let destinations = self.service(&service).map(|service| service.destinations.clone());
                return Ok(Reply::Destinations(destinations.unwrap_or_default()));
            }
            Request::Timeouts => return Ok(Reply::Timeouts(self.timeouts)),
            Request::Daemons => return Ok(Reply::Daemons(self.daemons.clone())),
            Request::Connections { cursor } => {
                // Two entries a page, so that a few entries make several pages.
                let start = usize::try_from(cursor).unwrap_or(usize::MAX).min(self.connections.len());
                let end = (start + 2).min(self.connections.len());
                let next = (end < self.connections.len()).then_some(end as u64);
                let entries = self.connections[start..end].to_vec();
                return Ok(Reply::Connections(ConnectionPage { entries, next }));
            }
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(Reply::Done)
    }

    fn service(&mut self, key: &ServiceKey) -> Result<&mut Service, Errno> {
        self.services.iter_mut().find(|service| service.entry.key == *key).ok_or(Errno::ESRCH)
    }

    fn start_daemon(&mut self, mut config: DaemonConfig) -> Result<(), Errno> {
        let mixed = self.services.iter().any(|service| {
            let family = service.entry.key.family();
            service.destinations.iter().any(|destination| Family::of(&destination.key.address) != family)
        });
        if mixed {
            return Err(Errno::EINVAL);
        }
        if config.interface != "dum0" {
            return Err(Errno::ENODEV);
        }
        if self.daemons.iter().any(|daemon| daemon.role == config.role) {
            return Err(Errno::EEXIST);
        }
        let group = *config.group.get_or_insert(IpAddr::V4(Ipv4Addr::new(224, 0, 0, 81)));
        if config.maximum_length == 0 {
            config.maximum_length = if group.is_ipv4() { 1472 } else { 1452 };
        }
        if config.role == crate::control::message::DaemonRole::Backup {
            config.maximum_length = config.maximum_length.max(1024);
        }
        config.port = if config.port == 0 { 8848 } else { config.port };
        config.ttl = config.ttl.max(1);
        self.daemons.push(config);
        self.daemons.sort_by_key(|daemon| daemon.role as u8);
        Ok(())
    }
}

impl Service {
    fn zero(&mut self) {
        self.entry.counters = Counters::default();
        for destination in &mut self.destinations {
            destination.counters = Counters::default();
        }
    }

    fn destination(&mut self, key: &DestinationKey) -> Result<&mut DestinationEntry, Errno> {
        self.destinations.iter_mut().find(|destination| destination.key == *key).ok_or(Errno::ENOENT)
    }
}

fn name(key: &ServiceKey) -> String {
    match *key {
        ServiceKey::Address { protocol, address, port } => {
            let protocol = match protocol {
                Protocol::TCP => "TCP",
                Protocol::UDP => "UDP",
                _ => "SCTP",
            };
            match address {
                IpAddr::V4(_) => format!("{protocol} {address}:{port}"),
                IpAddr::V6(_) => format!("{protocol} [{address}]:{port}"),
            }
        }
        ServiceKey::Mark { family: Family::V4, mark } => format!("FWM {}", mark as i32),
        ServiceKey::Mark { family: Family::V6, mark } => format!("FWM {} IPv6", mark as i32),
    }
}

fn check_service(key: &ServiceKey, config: &ServiceConfig) -> Result<(), Errno> {
    if config.scheduler != "none" && SchedulerKind::by_name(&config.scheduler).is_none() {
        return Err(Errno::ENOENT);
    }
    if config.engine.as_deref().is_some_and(|engine| engine != "sip") {
        return Err(Errno::ENOENT);
    }
    match key.family() {
        Family::V6 if !(1..=128).contains(&config.netmask) => Err(Errno::EINVAL),
        _ => Ok(()),
    }
}

fn check_destination(service: &ServiceKey, key: &DestinationKey, config: &DestinationConfig) -> Result<(), Errno> {
    let tunneling = config.method == ForwardingMethod::Tunneling;
    if service.family() != Family::of(&key.address) && !tunneling {
        return Err(Errno::EINVAL);
    }
    if !(0..=i64::from(i32::MAX)).contains(&config.weight) || config.lower_threshold > config.upper_threshold {
        return Err(Errno::ERANGE);
    }
    if tunneling && config.tunnel.kind == TunnelKind::Gue && config.tunnel.port.is_any() {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// Whether a real server may have this address, on a machine with the network 10.1.0.0/24.
fn acceptable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let broadcast = v4.is_broadcast() || v4 == Ipv4Addr::new(10, 1, 0, 255);
            !v4.is_unspecified() && !v4.is_multicast() && !broadcast
        }
        IpAddr::V6(v6) => {
            let link_local = v6.segments()[0] & 0xffc0 == 0xfe80;
            !v6.is_unspecified() && !v6.is_multicast() && !link_local && v6.to_ipv4_mapped().is_none()
        }
    }
}

/// The names of the recordings' machine.
pub struct FakeNames {
    hosts: HashMap<IpAddr, &'static str>,
    services: Services,
}

pub const LONG_NAME: &str = "an-even-much-longer-host-name-that-goes-on-and-on.with.many.labels.example.org";

impl FakeNames {
    pub fn new() -> FakeNames {
        let hosts = [
            ("127.0.0.1", "localhost"),
            ("::1", "localhost"),
            ("10.0.0.1", "alpha.example"),
            ("10.0.0.2", "averyveryverylonghostname.with.many.labels.example.org"),
            ("10.0.0.9", LONG_NAME),
            ("fd00::2", LONG_NAME),
            ("10.0.0.21", "dup"),
            ("10.0.0.20", "dup"),
        ];
        FakeNames {
            hosts: hosts.into_iter().map(|(address, name)| (address.parse().unwrap(), name)).collect(),
            services: Services::read(
                "discard 9/tcp\ndiscard 9/udp\ndomain 53/tcp\ndomain 53/udp\nhttp 80/tcp www\nhttps 443/tcp\n\
                 sip 5060/tcp\nsip 5060/udp\namqp 5672/tcp\namqp 5672/sctp\nhttp-alt 8080/tcp webcache",
            ),
        }
    }
}

impl Names for FakeNames {
    fn address(&mut self, host: &str) -> Option<Ipv4Addr> {
        match host {
            "localhost" => Some(Ipv4Addr::LOCALHOST),
            "alpha" | "alpha.example" => Some(Ipv4Addr::new(10, 0, 0, 1)),
            "dup" => Some(Ipv4Addr::new(10, 0, 0, 21)),
            _ => None,
        }
    }

    fn host(&mut self, address: IpAddr) -> Option<String> {
        self.hosts.get(&address).map(|name| (*name).to_owned())
    }

    fn port(&mut self, service: &str, protocol: Protocol) -> Option<Port> {
        self.services.port(service, protocol)
    }

    fn service(&mut self, port: Port, protocol: Protocol) -> Option<String> {
        self.services.name(port, protocol).map(str::to_owned)
    }
}
