//! Changes of services and destinations.
//!
//! Each is made at once but for deletions of many, whose destinations leave in portions: packets
//! are handled in between.

use std::collections::hash_map::Entry;
use std::net::IpAddr;

use super::*;
use crate::engine::conn::Budget;
use crate::table::{DestinationConfig, Errno, Network, SchedulerKind};

/// What a deletion of many has still to do.
#[derive(Debug, Default)]
pub struct Leaving {
    /// The service whose destinations leave; its place is free when they have.
    service: Option<(ServiceId, ServiceKey)>,
    destinations: Vec<DestinationId>,
    /// All other services follow.
    all: bool,
}

impl Leaving {
    /// What has still to leave; for tests.
    #[cfg(any(test, fuzzing))]
    pub fn destinations(&self) -> impl Iterator<Item = (ServiceKey, DestinationId)> + '_ {
        let service = self.service.map(|(_, key)| key);
        service.into_iter().flat_map(|key| self.destinations.iter().map(move |&destination| (key, destination)))
    }
}

impl Services {
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
            number: self.made,
            crowded: false,
            key,
            config,
        };
        self.made += 1;
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

    /// Begins to delete a service: no packet finds it any more. [`Services::clear_out`] does the
    /// rest.
    ///
    /// # Errors
    /// ESRCH.
    pub fn begin_delete_service(&mut self, key: &ServiceKey) -> Result<(), Errno> {
        let id = self.by_key(key).ok_or(Errno::ESRCH)?;
        self.order.retain(|&other| other != id);
        self.leave(id);
        Ok(())
    }

    /// Begins to delete every service, one after the other, which [`Services::clear_out`] does.
    pub fn begin_flush(&mut self) {
        self.leaving.all = true;
    }

    /// Goes on with what was begun, a destination or service for each unit of the budget; whether
    /// there is more. Nothing may be changed otherwise until it is done.
    pub fn clear_out(&mut self, now: Tick, budget: &mut Budget) -> bool {
        loop {
            while let Some((id, key)) = self.leaving.service {
                if !budget.take() {
                    return true;
                }
                let Some(destination) = self.leaving.destinations.pop() else {
                    self.free.push(id);
                    self.leaving.service = None;
                    break;
                };
                self.discard(now, &key, destination);
            }
            if !self.leaving.all {
                return false;
            }
            match self.order.pop() {
                Some(id) => self.leave(id),
                None => self.leaving.all = false,
            }
        }
    }

    /// Whether a deletion was begun and is not done.
    pub fn is_clearing_out(&self) -> bool {
        self.leaving.all || self.leaving.service.is_some()
    }

    /// Takes a service, which is out of the order already, from wherever packets would find it.
    fn leave(&mut self, id: ServiceId) {
        let Some(mut service) = self.slots.get_mut(id.index()).and_then(Option::take) else { return };
        unbind(&mut service, &mut self.destinations);
        let key = service.key;
        // The newest last: it is the first to be taken.
        self.leaving.destinations.extend(service.servers.iter().rev());
        self.leaving.service = Some((id, key));
        self.engine_services -= usize::from(service.engine.is_some());
        self.of_family[key.family() as usize] -= 1;
        match key {
            ServiceKey::Address { protocol, address, port } => {
                let family = Family::of(&address);
                self.by_address.remove(&(family, protocol, address.into(), port));
                self.version += 1;
                if let Entry::Occupied(mut services) = self.virtual_addresses.entry((family, address.into())) {
                    *services.get_mut() -= 1;
                    if *services.get() == 0 {
                        services.remove();
                    }
                }
                self.port_zero_services -= usize::from(port.is_any());
                self.ftp_services -= usize::from(port == Port::FTP);
            }
            ServiceKey::Mark { family, mark } => {
                self.by_mark.remove(&(family, mark));
            }
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
        let destination = match self.trash.take(&service.key, &key) {
            Some(trashed) => {
                let Some(destination) = self.destinations.get_mut(trashed) else {
                    return Err(Errno::EINVAL);
                };
                if destination.service_number != service.number {
                    // What is counted begins anew.
                    destination.told.tell(&destination.tally);
                    (destination.service, destination.service_number) = (id, service.number);
                }
                service.crowded |= destination.crowd.is_some();
                configure(destination, &config, Taken::Added);
                destination.available = true;
                trashed
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
                    service_number: service.number,
                    method: config.method,
                    tunnel: config.tunnel,
                    weight: 0,
                    last_weight: 0,
                    upper_threshold: 0,
                    lower_threshold: 0,
                    available: true,
                    overloaded: false,
                    crowd: None,
                    active: 0,
                    inactive: 0,
                    persistent: 0,
                    masqueraded: 0,
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
        self.former.note_configured(&service.key, &key, config.method);
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
            self.former.add(service.key, key, Some(helped));
        }
        self.tunnels.remove(&key, entry.method, entry.tunnel);
        configure(entry, &config, Taken::Edited);
        if config.method == ForwardingMethod::Masquerading {
            self.masqueraded.add(&service.key, &key, helped);
        }
        self.former.note_configured(&service.key, &key, config.method);
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

    /// Moves a destination that left its service to the trash.
    fn discard(&mut self, now: Tick, service: &ServiceKey, id: DestinationId) {
        let Some(destination) = self.destinations.get_mut(id) else { return };
        destination.available = false;
        let key = destination.key;
        let masqueraded = destination.method == ForwardingMethod::Masquerading;
        let masqueraded = masqueraded.then(|| helped(&self.helped_ports, service));
        if let Some(helped) = masqueraded {
            self.masqueraded.remove(service, &key, helped);
        }
        self.former.add(*service, key, masqueraded);
        self.tunnels.remove(&key, destination.method, destination.tunnel);
        self.trash.put(now, *service, key, id);
    }

    fn next_seed(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.seed
    }
}

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
    destination.judge();
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
