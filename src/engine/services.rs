//! The virtual services at run time: what is configured, what each scheduler remembers, what is
//! counted, and the trash where deleted destinations wait for their connections to end.

mod change;
#[cfg(any(test, fuzzing))]
mod invariants;
mod trash;

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::hash::FixedHash;
use crate::base::{Address, DestinationId, Family, Port, Protocol, ServiceId, Tick};
use crate::table::{DestinationKey, ForwardingMethod, ServiceConfig, ServiceFlags, ServiceKey, Settings, TunnelKind};

use super::conn::Budget;
use super::former::{Former, FormerKey};
use super::masqueraded::{Helped, Masqueraded};
use super::sched::{Pool, Scheduler};
use super::server::{Crowd, Destination, Destinations, ServerList, Tally, Told};
use super::tunnel_ends::TunnelEnds;
use change::Leaving;
use trash::Trash;

pub use change::check_destination;

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
    /// See [`Destination::service_number`].
    number: u64,
    /// Some of its destinations count, or did, their connections together with other engines.
    crowded: bool,
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

/// Destinations for which memory is set aside, which the machine hands out only as it is touched:
/// to grow is to copy, and frames would wait for that. So large a list grows without copying.
const RESERVED: usize = 1 << 17;

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
    trash: Trash,
    /// What a deletion of many has still to do.
    leaving: Leaving,
    /// How many services each virtual address has.
    virtual_addresses: Map<(Family, Address), u32>,
    /// Counts the changes to the virtual addresses.
    version: u64,
    masqueraded: Masqueraded,
    former: Former,
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
    /// How many services were ever made.
    made: u64,
    /// Everything counted since the start.
    pub total: Tally,
    told: Told,
    seed: u64,
    order_key: u8,
}

impl Services {
    pub fn new(seed: u64) -> Services {
        Services {
            seed,
            helped_ports: vec![Port::FTP],
            destinations: Destinations::with_capacity(RESERVED),
            trash: Trash::with_capacity(RESERVED),
            ..Services::default()
        }
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

    /// The service that a destination belongs to, or did before it was deleted, as long as it exists.
    pub fn of(&self, destination: &Destination) -> Option<&Service> {
        self.get(destination.service).filter(|service| service.number == destination.service_number)
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

    /// Destinations that are not what they were, and may still have connections of before.
    pub fn former(&self) -> &Former {
        &self.former
    }

    /// Forgets former destinations that no engine has connections with any more.
    pub fn forget_former(&mut self, destinations: &[FormerKey]) {
        for (service, key) in destinations {
            self.former.forget(service, key);
        }
    }

    /// Whether connections outlived this destination, or its being masqueraded. While destinations
    /// leave, everyone counts as having some.
    pub fn is_outlived(&self, (service, key): &FormerKey) -> bool {
        if self.is_clearing_out() {
            return true;
        }
        let configured = self.by_key(service).and_then(|id| self.destination(id, key));
        let found = configured.or_else(|| self.trash.find(service, key)).and_then(|id| self.destinations.get(id));
        match found {
            Some(destination) if destination.available => destination.masqueraded > 0,
            found => found.is_some_and(|destination| destination.active + destination.inactive > 0),
        }
    }

    /// Whether a packet that comes from there may be a real server's that is masqueraded, or was
    /// and has connections of that time. Of a family without services nothing is looked at.
    pub fn covers_reply(&self, family: Family, protocol: Protocol, address: Address, port: Port) -> bool {
        self.masqueraded.covers(family, protocol, address, port)
            || self.serves(family) && self.former.masqueraded().covers(family, protocol, address, port)
    }

    /// The same of an address alone.
    pub fn is_masqueraded(&self, family: Family, address: Address) -> bool {
        self.masqueraded.has_address(family, address)
            || self.serves(family) && self.former.masqueraded().has_address(family, address)
    }

    /// Whether packets to there are kept from the kernel although their service is gone: for its
    /// connections.
    pub fn is_former(&self, family: Family, protocol: Protocol, address: Address, port: Port) -> bool {
        self.serves(family) && self.former.has_service(family, protocol, address, port)
    }

    /// Whether a destination is reached by tunnel.
    pub fn has_tunnels(&self) -> bool {
        !self.tunnels.is_empty()
    }

    /// Chooses the virtual ports on which FTP is helped, while there are no services.
    pub fn set_helped_ports(&mut self, ports: &[Port]) {
        self.helped_ports = ports.to_vec();
    }

    pub fn helped_ports(&self) -> &[Port] {
        &self.helped_ports
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

    /// Whether some destination's tunnel leads to `address`.
    pub fn has_tunnel_to(&self, family: Family, address: Address) -> bool {
        self.tunnels.lead_to_address(family, address)
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

    /// What waits in the trash, in up to `limit` places before `end`, and the end of those before
    /// them. Asked from the end on, nothing is missed that stays.
    pub fn trashed(&self, end: usize, limit: usize) -> (Vec<(ServiceKey, DestinationKey)>, Option<usize>) {
        self.trash.page(end, limit)
    }

    /// The destination of a service by its key.
    pub fn destination(&self, service: ServiceId, key: &DestinationKey) -> Option<DestinationId> {
        self.get(service)?.by_key.get(key).copied()
    }

    /// Whether two different families meet in some service.
    pub fn has_mixed_families(&self) -> bool {
        self.destinations.iter().any(|(_, d)| d.available && self.get(d.service).is_some_and(|s| s.family != d.family))
    }

    /// Has a destination's connections counted together with those that other engines have with it.
    pub fn join_crowd(&mut self, service: &ServiceKey, key: &DestinationKey, crowd: Arc<Crowd>) {
        let Some(id) = self.by_key(service) else { return };
        let Some(service) = self.slots.get_mut(id.index()).and_then(Option::as_mut) else { return };
        if let Some(destination) = service.by_key.get(key).and_then(|&id| self.destinations.get_mut(id)) {
            destination.join(crowd);
            service.crowded = true;
        }
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
        if service.crowded {
            for &id in service.by_key.values() {
                // Whoever is looked at more closely is reckoned anew.
                if self.destinations.get(id).is_some_and(|destination| destination.crowd.is_some())
                    && let Some(destination) = self.destinations.get_mut(id)
                {
                    destination.look_around();
                }
            }
        }
        let mut pool = Pool { destinations: &mut self.destinations, list: &service.servers };
        service.scheduler.as_mut()?.pick(now, request, flags, settings, &mut pool)
    }

    /// Runs what is due about once a second: the schedulers' caches, and the trash, which
    /// [`Services::sweep`] then looks through.
    pub fn tick(&mut self, now: Tick, settings: &Settings) {
        for service in self.slots.iter_mut().flatten() {
            if let Some(scheduler) = &mut service.scheduler {
                let mut pool = Pool { destinations: &mut self.destinations, list: &service.servers };
                scheduler.tick(now, settings, &mut pool);
            }
        }
        self.trash.begin(now);
    }

    /// Looks through the trash, as far as it is due and the budget goes; whether there is more.
    pub fn sweep(&mut self, budget: &mut Budget) -> bool {
        self.trash.sweep(&mut self.destinations, budget)
    }
}

fn helped(ports: &[Port], service: &ServiceKey) -> Helped {
    match service {
        ServiceKey::Address { protocol: Protocol::TCP, port, .. } if ports.contains(port) => Helped::Yes,
        _ => Helped::No,
    }
}
