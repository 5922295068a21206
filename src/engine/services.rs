//! The virtual services at run time: what is configured, what each scheduler remembers, what is
//! counted, and the trash where deleted destinations wait for their connections to end.

#[cfg(any(test, fuzzing))]
mod invariants;

use std::collections::HashMap;
use std::net::IpAddr;

use crate::base::hash::FixedHash;
use crate::base::{Address, DestinationId, Family, Port, Protocol, ServiceId, Tick};
use crate::table::{
    DestinationConfig, DestinationKey, Errno, ForwardingMethod, Network, SchedulerKind, ServiceConfig, ServiceFlags,
    ServiceKey, Settings, TunnelKind,
};

use super::masqueraded::{Helped, Masqueraded, release};
use super::sched::{Pool, Scheduler};
use super::server::{Destination, Destinations, ServerList, Tally, Told};
use super::tunnel_ends::TunnelEnds;

/// A map whose keys only the operator chooses: a fixed hash will do, and runs repeat exactly.
type Map<K, V> = HashMap<K, V, FixedHash>;

/// Persistence engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PersistenceEngine {
    /// By the Call-ID of SIP messages.
    Sip,
}

/// A virtual service and its run-time state.
#[derive(Debug)]
pub struct Service {
    pub key: ServiceKey,
    pub config: ServiceConfig,
    pub family: Family,
    /// The virtual address; zero for a mark service.
    pub address: Address,
    pub port: Port,
    pub mark: Option<u32>,
    pub flags: ServiceFlags,
    pub engine: Option<PersistenceEngine>,
    /// `None` when the scheduler is `none`.
    pub scheduler: Option<Scheduler>,
    pub servers: ServerList,
    by_key: Map<DestinationKey, DestinationId>,
    pub tally: Tally,
    told: Told,
}

impl Service {
    /// The client's network, as persistence sees it.
    pub fn client_network(&self, client: Address) -> Address {
        match self.family {
            Family::V4 => client.and(Address::v4(self.config.netmask.to_be_bytes())),
            Family::V6 => client.masked(Family::V6, self.config.netmask.min(128) as u8),
        }
    }

    pub fn is_persistent(&self) -> bool {
        self.flags.has(ServiceFlags::PERSISTENT)
    }
}

/// A deleted destination that something may still refer to.
#[derive(Debug)]
struct Trashed {
    destination: DestinationId,
    /// When a scan first found nothing that refers to it.
    idle_since: Option<Tick>,
}

/// Between two scans of the trash.
const TRASH_SCAN: u64 = 60_000;
/// How long a destination must have been unused before it is forgotten.
const TRASH_PERIOD: u64 = 120_000;

/// What a lookup by address needs.
type AddressKey = (Family, Protocol, Address, Port);

/// Every service and destination of an engine.
#[derive(Debug, Default)]
pub struct Services {
    slots: Vec<Option<Service>>,
    free: Vec<ServiceId>,
    by_address: Map<AddressKey, ServiceId>,
    by_mark: Map<(Family, u32), ServiceId>,
    /// In the order of creation.
    order: Vec<ServiceId>,
    pub destinations: Destinations,
    trash: Map<(ServiceKey, DestinationKey), Trashed>,
    next_trash_scan: Option<Tick>,
    /// How many services each virtual address has.
    virtual_addresses: Map<(Family, Address), u32>,
    /// Counts the changes to the virtual addresses.
    version: u64,
    masqueraded: Masqueraded,
    /// Virtual ports on which FTP is helped.
    helped_ports: Vec<Port>,
    /// Where the destinations' tunnels lead.
    tunnels: TunnelEnds,
    /// How many services of each family there are.
    of_family: [usize; 2],
    port_zero_services: usize,
    ftp_services: usize,
    /// Services with a persistence engine.
    engine_services: usize,
    /// Everything counted since the start.
    pub total: Tally,
    told: Told,
    seed: u64,
    order_key: u8,
}

impl Services {
    pub fn new(seed: u64) -> Services {
        Services { seed, helped_ports: vec![Port::FTP], ..Services::default() }
    }

    // -- lookups

    #[inline]
    pub fn get(&self, id: ServiceId) -> Option<&Service> {
        self.slots.get(id.index())?.as_ref()
    }

    #[inline]
    pub fn get_mut(&mut self, id: ServiceId) -> Option<&mut Service> {
        self.slots.get_mut(id.index())?.as_mut()
    }

    /// The services in the order of their creation.
    pub fn iter(&self) -> impl Iterator<Item = &Service> {
        self.order.iter().filter_map(|&id| self.get(id))
    }

    /// The services in the order in which the kernel would list them: by the bucket of its hash
    /// table (which depends on a number it draws for each network namespace), the newest first
    /// within a bucket, mark services last.
    pub fn in_kernel_order(&self) -> Vec<&Service> {
        let mut services: Vec<&Service> = self.iter().collect();
        services.reverse();
        services.sort_by_key(|service| match service.key {
            ServiceKey::Address { protocol, address, port } => {
                let [high, low] = port.0.to_be_bytes();
                let folded = Address::from(address).fold() as u8;
                (0, protocol.0 ^ folded ^ high ^ low ^ self.order_key)
            }
            ServiceKey::Mark { mark, .. } => (1, mark as u8 ^ self.order_key),
        });
        services
    }

    /// Chooses the number that [`Services::in_kernel_order`] depends on.
    pub fn set_order_key(&mut self, key: u8) {
        self.order_key = key;
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Whether there is a service of this family: without, nothing of the family is looked at.
    #[inline]
    pub fn serves(&self, family: Family) -> bool {
        self.of_family[family as usize] != 0
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// The service with exactly this identity.
    pub fn by_key(&self, key: &ServiceKey) -> Option<ServiceId> {
        match *key {
            ServiceKey::Address { protocol, address, port } => {
                self.by_address.get(&(Family::of(&address), protocol, address.into(), port)).copied()
            }
            ServiceKey::Mark { family, mark } => self.by_mark.get(&(family, mark)).copied(),
        }
    }

    /// Whether a service has this virtual address.
    #[inline]
    pub fn is_virtual(&self, family: Family, address: Address) -> bool {
        self.virtual_addresses.contains_key(&(family, address))
    }

    /// Changes whenever the virtual addresses do.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The virtual addresses of all services.
    pub fn virtual_addresses(&self) -> impl Iterator<Item = (Family, Address)> + '_ {
        self.virtual_addresses.keys().copied()
    }

    /// Whether any firewall-mark service of `family` with this mark exists.
    pub fn has_mark(&self, family: Family, mark: u32) -> bool {
        mark != 0 && self.by_mark.contains_key(&(family, mark))
    }

    pub fn has_mark_services(&self) -> bool {
        !self.by_mark.is_empty()
    }

    /// The service that takes a packet: by mark, by its exact address, as FTP's data port, or by port 0.
    pub fn find(
        &self,
        family: Family,
        mark: u32,
        protocol: Protocol,
        address: Address,
        port: Port,
    ) -> Option<ServiceId> {
        if mark != 0
            && let Some(&id) = self.by_mark.get(&(family, mark))
        {
            return Some(id);
        }
        let exact = |port: Port| self.by_address.get(&(family, protocol, address, port)).copied();
        exact(port)
            .or_else(|| {
                let ftp_data = port == Port::FTP_DATA || port >= Port::FIRST_UNPRIVILEGED;
                (protocol == Protocol::TCP && self.ftp_services > 0 && ftp_data).then(|| exact(Port::FTP)).flatten()
            })
            .or_else(|| (self.port_zero_services > 0).then(|| exact(Port::ANY)).flatten())
    }

    /// The ends of masquerading destinations.
    pub fn masqueraded(&self) -> &Masqueraded {
        &self.masqueraded
    }

    /// Chooses the virtual ports on which FTP is helped, while there are no services.
    pub fn set_helped_ports(&mut self, ports: &[Port]) {
        self.helped_ports = ports.to_vec();
    }

    /// Whether FTP is helped on a virtual port.
    pub fn is_helped_port(&self, port: Port) -> bool {
        self.helped_ports.contains(&port)
    }

    /// Whether connections of a service are listened to by a helper, where they are masqueraded.
    pub fn is_helped(&self, service: &ServiceKey) -> bool {
        helped(&self.helped_ports, service) == Helped::Yes
    }

    /// A service with a persistence engine and its masquerading destination that this is the end
    /// of: its real servers may begin connections themselves.
    pub fn beginner(
        &self,
        family: Family,
        protocol: Protocol,
        address: Address,
        port: Port,
    ) -> Option<(ServiceId, DestinationId)> {
        if self.engine_services == 0 || !self.masqueraded.has(family, protocol, address, port) {
            return None;
        }
        let key = DestinationKey { address: address.to_ip(family), port };
        self.order.iter().find_map(|&id| {
            let service = self.get(id).filter(|service| service.engine.is_some())?;
            let carries = matches!(service.key, ServiceKey::Address { protocol: own, .. } if own == protocol);
            let destination = *service.by_key.get(&key).filter(|_| carries)?;
            let masquerading = self.destinations.get(destination)?.method == ForwardingMethod::Masquerading;
            masquerading.then_some((id, destination))
        })
    }

    /// Whether a destination's tunnel of this kind leads to `address` (and GUE's `port`).
    pub fn has_tunnel(&self, family: Family, address: Address, kind: TunnelKind, port: Port) -> bool {
        self.tunnels.lead_to(family, address, kind, port)
    }

    // -- changes

    /// # Errors
    /// EEXIST; ENOENT for an unknown scheduler or persistence engine; EINVAL for an IPv6 prefix
    /// length outside 1 to 128.
    pub fn add_service(&mut self, key: ServiceKey, config: ServiceConfig) -> Result<(), Errno> {
        if self.by_key(&key).is_some() {
            return Err(Errno::EEXIST);
        }
        let (scheduler, engine) = check_service(&key, &config)?;
        let seed = self.next_seed();
        let address = match key {
            ServiceKey::Address { address, .. } => Address::from(address),
            ServiceKey::Mark { .. } => Address::ZERO,
        };
        let mut service = Service {
            family: key.family(),
            address,
            port: key.port(),
            mark: key.mark(),
            flags: ServiceFlags(config.flags.0 | ServiceFlags::HASHED),
            engine,
            scheduler: scheduler.map(|kind| Scheduler::new(kind, seed)),
            servers: ServerList::default(),
            by_key: Map::default(),
            tally: Tally::default(),
            told: Told::default(),
            key,
            config,
        };
        service.config.flags = service.flags;
        self.engine_services += usize::from(engine.is_some());
        bind(&mut service, &mut self.destinations);
        let id = match self.free.pop() {
            Some(id) => {
                self.slots[id.index()] = Some(service);
                id
            }
            None => {
                self.slots.push(Some(service));
                ServiceId(self.slots.len() as u32 - 1)
            }
        };
        self.order.push(id);
        self.of_family[key.family() as usize] += 1;
        match key {
            ServiceKey::Address { protocol, address, port } => {
                let family = Family::of(&address);
                self.by_address.insert((family, protocol, address.into(), port), id);
                *self.virtual_addresses.entry((family, address.into())).or_default() += 1;
                self.version += 1;
                self.port_zero_services += usize::from(port.is_any());
                self.ftp_services += usize::from(port == Port::FTP);
            }
            ServiceKey::Mark { family, mark } => {
                self.by_mark.insert((family, mark), id);
            }
        }
        Ok(())
    }

    /// Replaces a service's configuration; its scheduler starts anew only when it is another one.
    ///
    /// # Errors
    /// ESRCH; otherwise as [`Services::add_service`].
    pub fn edit_service(&mut self, key: ServiceKey, config: ServiceConfig) -> Result<(), Errno> {
        let id = self.by_key(&key).ok_or(Errno::ESRCH)?;
        let (scheduler, engine) = check_service(&key, &config)?;
        let seed = self.next_seed();
        let Some(service) = self.slots.get_mut(id.index()).and_then(Option::as_mut) else { return Err(Errno::ESRCH) };
        service.flags = ServiceFlags(config.flags.0 | ServiceFlags::HASHED);
        self.engine_services -= usize::from(service.engine.is_some());
        self.engine_services += usize::from(engine.is_some());
        service.engine = engine;
        service.config = config;
        service.config.flags = service.flags;
        if service.scheduler.as_ref().map(Scheduler::kind) != scheduler {
            unbind(service, &mut self.destinations);
            service.scheduler = scheduler.map(|kind| Scheduler::new(kind, seed));
            bind(service, &mut self.destinations);
        }
        Ok(())
    }

    /// # Errors
    /// ESRCH.
    pub fn delete_service(&mut self, now: Tick, key: &ServiceKey) -> Result<(), Errno> {
        let id = self.by_key(key).ok_or(Errno::ESRCH)?;
        let Some(mut service) = self.slots.get_mut(id.index()).and_then(Option::take) else { return Err(Errno::ESRCH) };
        unbind(&mut service, &mut self.destinations);
        for destination in service.servers.iter().collect::<Vec<_>>() {
            self.discard(now, &service.key, destination);
            if let Some(destination) = self.destinations.get_mut(destination) {
                destination.service = NO_SERVICE;
            }
        }
        self.free.push(id);
        self.engine_services -= usize::from(service.engine.is_some());
        self.order.retain(|&other| other != id);
        self.of_family[key.family() as usize] -= 1;
        match *key {
            ServiceKey::Address { protocol, address, port } => {
                let family = Family::of(&address);
                self.by_address.remove(&(family, protocol, address.into(), port));
                release(&mut self.virtual_addresses, (family, address.into()));
                self.version += 1;
                self.port_zero_services -= usize::from(port.is_any());
                self.ftp_services -= usize::from(port == Port::FTP);
            }
            ServiceKey::Mark { family, mark } => {
                self.by_mark.remove(&(family, mark));
            }
        }
        Ok(())
    }

    pub fn flush(&mut self, now: Tick) {
        for key in self.iter().map(|service| service.key).collect::<Vec<_>>() {
            // Every key was just listed.
            let _ = self.delete_service(now, &key);
        }
    }

    /// Zeroing is for those who show the counters: here they go on, and only the service must exist.
    ///
    /// # Errors
    /// ESRCH for a service that does not exist.
    pub fn zero(&self, key: Option<&ServiceKey>) -> Result<(), Errno> {
        match key {
            Some(key) => self.by_key(key).map(|_| ()).ok_or(Errno::ESRCH),
            None => Ok(()),
        }
    }

    /// What was counted since this was last asked of everything.
    pub fn total_news(&mut self) -> Tally {
        self.told.tell(&self.total).unwrap_or_default()
    }

    /// The same of each service that has something to tell.
    pub fn service_news(&mut self) -> impl Iterator<Item = (ServiceKey, Tally)> + '_ {
        self.slots.iter_mut().flatten().filter_map(|service| Some((service.key, service.told.tell(&service.tally)?)))
    }

    /// The same of the destinations in the places of `range`, deleted ones left out.
    pub fn destination_news(&mut self, range: std::ops::Range<usize>) -> Vec<(ServiceKey, DestinationKey, Tally)> {
        let slots = &self.slots;
        let key = |id: ServiceId| slots.get(id.index())?.as_ref().map(|service| service.key);
        let available = self.destinations.range_mut(range).filter(|destination| destination.available);
        available
            .filter_map(|destination| {
                let news = destination.told.tell(&destination.tally)?;
                Some((key(destination.service)?, destination.key, news))
            })
            .collect()
    }

    /// Whether a service has this destination.
    pub fn has(&self, service: &ServiceKey, key: &DestinationKey) -> bool {
        self.by_key(service).is_some_and(|id| self.destination(id, key).is_some())
    }

    /// What waits in the trash.
    pub fn trashed(&self) -> impl Iterator<Item = (ServiceKey, DestinationKey)> + '_ {
        self.trash.keys().copied()
    }

    /// # Errors
    /// ESRCH for the service, EEXIST, and those of [`check_destination`]; EINVAL for an address
    /// that is not unicast.
    pub fn add_destination(
        &mut self,
        network: &Network,
        service: &ServiceKey,
        key: DestinationKey,
        config: DestinationConfig,
    ) -> Result<(), Errno> {
        let id = self.by_key(service).ok_or(Errno::ESRCH)?;
        check_destination(service, &key, &config)?;
        let Some(service) = self.slots.get_mut(id.index()).and_then(Option::as_mut) else { return Err(Errno::ESRCH) };
        if service.by_key.contains_key(&key) {
            return Err(Errno::EEXIST);
        }
        let destination = match self.trash.remove(&(service.key, key)) {
            Some(trashed) => {
                let Some(destination) = self.destinations.get_mut(trashed.destination) else {
                    return Err(Errno::EINVAL);
                };
                if destination.service != id {
                    destination.told.tell(&destination.tally);
                    destination.service = id;
                }
                configure(destination, &config, Taken::Added);
                destination.available = true;
                trashed.destination
            }
            None => {
                if !is_unicast(network, key.address) {
                    return Err(Errno::EINVAL);
                }
                let mut destination = Destination {
                    key,
                    family: Family::of(&key.address),
                    address: key.address.into(),
                    port: key.port,
                    service: id,
                    method: config.method,
                    tunnel: config.tunnel,
                    weight: 0,
                    last_weight: 0,
                    upper_threshold: 0,
                    lower_threshold: 0,
                    available: true,
                    overloaded: false,
                    active: 0,
                    inactive: 0,
                    persistent: 0,
                    references: 0,
                    tally: Tally::default(),
                    told: Told::default(),
                };
                configure(&mut destination, &config, Taken::Added);
                self.destinations.insert(destination)
            }
        };
        service.by_key.insert(key, destination);
        service.servers.add(destination);
        if config.method == ForwardingMethod::Masquerading {
            self.masqueraded.add(&service.key, &key, helped(&self.helped_ports, &service.key));
        }
        self.tunnels.add(&key, config.method, config.tunnel);
        if let Some(scheduler) = &mut service.scheduler {
            scheduler.added(&Pool { destinations: &mut self.destinations, list: &service.servers }, destination);
        }
        Ok(())
    }

    /// # Errors
    /// ESRCH for the service, ENOENT for the destination, and those of [`check_destination`].
    pub fn edit_destination(
        &mut self,
        service: &ServiceKey,
        key: DestinationKey,
        config: DestinationConfig,
    ) -> Result<(), Errno> {
        let id = self.by_key(service).ok_or(Errno::ESRCH)?;
        check_destination(service, &key, &config)?;
        let Some(service) = self.slots.get_mut(id.index()).and_then(Option::as_mut) else { return Err(Errno::ESRCH) };
        let &destination = service.by_key.get(&key).ok_or(Errno::ENOENT)?;
        let Some(entry) = self.destinations.get_mut(destination) else { return Err(Errno::ENOENT) };
        let helped = helped(&self.helped_ports, &service.key);
        if entry.method == ForwardingMethod::Masquerading {
            self.masqueraded.remove(&service.key, &key, helped);
        }
        self.tunnels.remove(&key, entry.method, entry.tunnel);
        configure(entry, &config, Taken::Edited);
        if config.method == ForwardingMethod::Masquerading {
            self.masqueraded.add(&service.key, &key, helped);
        }
        self.tunnels.add(&key, config.method, config.tunnel);
        if let Some(scheduler) = &mut service.scheduler {
            scheduler.edited(&Pool { destinations: &mut self.destinations, list: &service.servers }, destination);
        }
        Ok(())
    }

    /// # Errors
    /// ESRCH for the service, ENOENT for the destination.
    pub fn delete_destination(&mut self, now: Tick, service: &ServiceKey, key: &DestinationKey) -> Result<(), Errno> {
        let id = self.by_key(service).ok_or(Errno::ESRCH)?;
        let Some(service) = self.slots.get_mut(id.index()).and_then(Option::as_mut) else { return Err(Errno::ESRCH) };
        let destination = service.by_key.remove(key).ok_or(Errno::ENOENT)?;
        if let Some(scheduler) = &mut service.scheduler {
            scheduler.removed(&Pool { destinations: &mut self.destinations, list: &service.servers }, destination);
        }
        service.servers.remove(destination);
        let service = service.key;
        self.discard(now, &service, destination);
        Ok(())
    }

    /// The destination of a service by its key.
    pub fn destination(&self, service: ServiceId, key: &DestinationKey) -> Option<DestinationId> {
        self.get(service)?.by_key.get(key).copied()
    }

    /// Whether two different families meet in some service.
    pub fn has_mixed_families(&self) -> bool {
        self.destinations.iter().any(|(_, d)| d.available && self.get(d.service).is_some_and(|s| s.family != d.family))
    }

    /// Lets a scheduler choose. Called with every split borrow it needs.
    pub fn schedule(
        &mut self,
        now: Tick,
        service: ServiceId,
        request: &super::sched::Request,
        settings: &Settings,
    ) -> Option<DestinationId> {
        let service = self.slots.get_mut(service.index())?.as_mut()?;
        let flags = service.flags;
        let mut pool = Pool { destinations: &mut self.destinations, list: &service.servers };
        service.scheduler.as_mut()?.pick(now, request, flags, settings, &mut pool)
    }

    /// Runs what is due: the trash, and the schedulers' caches.
    pub fn tick(&mut self, now: Tick, settings: &Settings) {
        for service in self.slots.iter_mut().flatten() {
            if let Some(scheduler) = &mut service.scheduler {
                let mut pool = Pool { destinations: &mut self.destinations, list: &service.servers };
                scheduler.tick(now, settings, &mut pool);
            }
        }
        while let Some(scan) = self.next_trash_scan.filter(|&scan| scan <= now) {
            self.scan_trash(scan);
            self.next_trash_scan = (!self.trash.is_empty()).then(|| scan + TRASH_SCAN);
        }
    }

    fn scan_trash(&mut self, now: Tick) {
        let destinations = &mut self.destinations;
        self.trash.retain(|_, trashed| {
            let Some(destination) = destinations.get(trashed.destination) else { return false };
            if destination.references > 0 {
                return true;
            }
            match trashed.idle_since {
                None => trashed.idle_since = Some(now),
                Some(since) if now.since(since) < TRASH_PERIOD => {}
                Some(_) => {
                    destinations.remove(trashed.destination);
                    return false;
                }
            }
            true
        });
    }

    /// Moves a destination that left its service to the trash.
    fn discard(&mut self, now: Tick, service: &ServiceKey, id: DestinationId) {
        let Some(destination) = self.destinations.get_mut(id) else { return };
        destination.available = false;
        let key = destination.key;
        if destination.method == ForwardingMethod::Masquerading {
            self.masqueraded.remove(service, &key, helped(&self.helped_ports, service));
        }
        self.tunnels.remove(&key, destination.method, destination.tunnel);
        if self.trash.is_empty() {
            self.next_trash_scan = Some(now + TRASH_SCAN);
        }
        self.trash.insert((*service, key), Trashed { destination: id, idle_since: None });
    }

    fn next_seed(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.seed
    }
}

/// The service of destinations whose service was deleted.
const NO_SERVICE: ServiceId = ServiceId(u32::MAX);

fn bind(service: &mut Service, destinations: &mut Destinations) {
    if let Some(scheduler) = &mut service.scheduler {
        scheduler.bind(&Pool { destinations, list: &service.servers });
    }
}

fn unbind(service: &mut Service, destinations: &mut Destinations) {
    if let Some(scheduler) = &mut service.scheduler {
        scheduler.unbind(&mut Pool { destinations, list: &service.servers });
    }
}

fn helped(ports: &[Port], service: &ServiceKey) -> Helped {
    match service {
        ServiceKey::Address { protocol: Protocol::TCP, port, .. } if ports.contains(port) => Helped::Yes,
        _ => Helped::No,
    }
}

fn check_service(
    key: &ServiceKey,
    config: &ServiceConfig,
) -> Result<(Option<SchedulerKind>, Option<PersistenceEngine>), Errno> {
    let scheduler = match config.scheduler.as_str() {
        "none" => None,
        name => Some(SchedulerKind::by_name(name).ok_or(Errno::ENOENT)?),
    };
    let engine = match config.engine.as_deref() {
        None | Some("") => None,
        Some("sip") => Some(PersistenceEngine::Sip),
        Some(_) => return Err(Errno::ENOENT),
    };
    if key.family() == Family::V6 && !(1..=128).contains(&config.netmask) {
        return Err(Errno::EINVAL);
    }
    Ok((scheduler, engine))
}

/// Checks what add and edit have in common.
///
/// # Errors
/// EINVAL for families that differ without a tunnel, and for GUE without a port; ERANGE for a
/// weight outside 0 to 2147483647, or a lower threshold above the upper one.
pub fn check_destination(service: &ServiceKey, key: &DestinationKey, config: &DestinationConfig) -> Result<(), Errno> {
    if service.family() != Family::of(&key.address) && config.method != ForwardingMethod::Tunneling {
        return Err(Errno::EINVAL);
    }
    if !(0..=i64::from(i32::MAX)).contains(&config.weight) || config.lower_threshold > config.upper_threshold {
        return Err(Errno::ERANGE);
    }
    let gue = config.method == ForwardingMethod::Tunneling && config.tunnel.kind == TunnelKind::Gue;
    if gue && config.tunnel.port.is_any() {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// What a configuration does to the weight that Maglev hashing remembers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// The destination is new or comes back: it begins with this weight, 0 as well.
    Added,
    /// Weight 0 leaves the hash table as it was.
    Edited,
}

/// Takes over a configuration that was checked.
fn configure(destination: &mut Destination, config: &DestinationConfig, taken: Taken) {
    destination.method = config.method;
    destination.tunnel = config.tunnel;
    // Checked to lie between 0 and 2147483647.
    destination.weight = config.weight as u32;
    if destination.weight != 0 || taken == Taken::Added {
        destination.last_weight = destination.weight;
    }
    destination.upper_threshold = config.upper_threshold;
    destination.lower_threshold = config.lower_threshold;
    super::track::judge(destination);
}

/// Whether a new destination may have this address.
fn is_unicast(network: &Network, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !(v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast() || network.is_broadcast(v4)),
        IpAddr::V6(v6) => {
            let local =
                network.is_local(Family::V6, v6.octets().as_slice().try_into().map_or(Address::ZERO, Address::v6));
            let link_local = v6.segments()[0] & 0xffc0 == 0xfe80;
            let mapped = v6.to_ipv4_mapped().is_some();
            local || !(mapped || v6.is_multicast() || v6.is_unspecified() || link_local)
        }
    }
}
