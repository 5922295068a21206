//! Looking at an engine from outside: counters, connections, settings.

use crate::base::{Address, ConnectionId, Family, Port, Protocol, Tick};
use crate::table::{
    DestinationConfig, DestinationKey, ForwardingMethod, MarkRule, Network, ServiceConfig, ServiceKey, Settings,
    Timeouts,
};

use super::Engine;
use super::conn::{ConnFlags, ConnectionTable};
use super::proto;
use super::server::Tally;
use super::services::Services;

/// A service as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceView {
    pub key: ServiceKey,
    pub config: ServiceConfig,
    pub tally: Tally,
}

/// A destination as it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DestinationView {
    pub key: DestinationKey,
    pub config: DestinationConfig,
    pub active: u32,
    pub inactive: u32,
    pub persistent: u32,
    pub tally: Tally,
}

/// What was counted since control last asked.
#[derive(Clone, Debug)]
pub struct News {
    pub total: Tally,
    pub services: Vec<(ServiceKey, Tally)>,
    pub destinations: Vec<(ServiceKey, DestinationKey, Tally)>,
    /// Where to go on.
    pub next: Option<usize>,
}

/// A connection as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionView {
    pub protocol: Protocol,
    pub family: Family,
    pub client: Address,
    pub client_port: Port,
    pub virtual_address: Address,
    pub virtual_port: Port,
    pub destination_family: Family,
    pub destination: Address,
    pub destination_port: Port,
    pub state: &'static str,
    /// Whole seconds until it expires.
    pub seconds_left: u32,
    pub method: ForwardingMethod,
    pub synchronised: bool,
    /// The SIP Call-ID of a template.
    pub call_id: Option<Vec<u8>>,
}

impl Engine {
    /// Every service, in the order the kernel would list them.
    pub fn services(&self) -> impl Iterator<Item = ServiceView> + '_ {
        self.services.in_kernel_order().into_iter().map(|service| ServiceView {
            key: service.key,
            config: service.config.clone(),
            tally: service.tally,
        })
    }

    pub fn service(&self, key: &ServiceKey) -> Option<ServiceView> {
        let service = self.services.get(self.services.by_key(key)?)?;
        Some(ServiceView { key: service.key, config: service.config.clone(), tally: service.tally })
    }

    /// The destinations of a service, newest first; none for a service that does not exist.
    pub fn destinations(&self, key: &ServiceKey) -> Vec<DestinationView> {
        self.destinations_page(key, 0, usize::MAX).0
    }

    /// Up to `limit` destinations of a service from the one at `first` on, newest first, and where
    /// to go on; `None` at the end.
    pub fn destinations_page(
        &self,
        key: &ServiceKey,
        first: usize,
        limit: usize,
    ) -> (Vec<DestinationView>, Option<usize>) {
        let Some(service) = self.services.by_key(key).and_then(|id| self.services.get(id)) else {
            return (Vec::new(), None);
        };
        let end = first.saturating_add(limit);
        let page = service
            .servers
            .iter()
            .skip(first)
            .take(limit)
            .filter_map(|id| self.services.destinations.get(id))
            .map(|destination| DestinationView {
                key: destination.key,
                config: DestinationConfig {
                    method: destination.method,
                    weight: i64::from(destination.weight),
                    upper_threshold: destination.upper_threshold,
                    lower_threshold: destination.lower_threshold,
                    tunnel: destination.tunnel,
                },
                active: destination.active,
                inactive: destination.inactive,
                persistent: destination.persistent,
                tally: destination.tally,
            })
            .collect();
        (page, (end < service.servers.len()).then_some(end))
    }

    /// Chooses the number that the order of services depends on, as the kernel draws one.
    pub fn set_order_key(&mut self, key: u8) {
        self.services.set_order_key(key);
    }

    /// What was counted of everything since the start.
    pub fn total(&self) -> Tally {
        self.services.total
    }

    /// Links, addresses and routes as they were last told.
    pub fn network(&self) -> &Network {
        &self.network
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    pub fn marks(&self) -> &[MarkRule] {
        &self.marks
    }

    /// What control has not been told: of everything and of the services where `places` begins at
    /// 0, and of the destinations in these places.
    pub fn news(&mut self, places: std::ops::Range<usize>) -> News {
        let (total, services) = match places.start {
            0 => (self.services.total_news(), self.services.service_news().collect()),
            _ => (Tally::default(), Vec::new()),
        };
        let end = places.end;
        let destinations = self.services.destination_news(places);
        let next = (end < self.services.destinations.places()).then_some(end);
        News { total, services, destinations, next }
    }

    /// The tables of services and destinations, to be read.
    pub fn service_table(&self) -> &Services {
        &self.services
    }

    /// The table of connections, to be read.
    pub fn connection_table(&self) -> &ConnectionTable {
        &self.connections
    }

    /// Up to `limit` connections from place `cursor` on, and where to go on; `None` at the end.
    pub fn connections_page(&self, now: Tick, cursor: usize, limit: usize) -> (Vec<ConnectionView>, Option<usize>) {
        let end = (cursor + limit).min(self.connections.places());
        let page = self
            .connections
            .iter_within(cursor..end)
            .map(|(id, _)| id)
            .filter_map(|id| self.connection(now, id))
            .collect();
        (page, (end < self.connections.places()).then_some(end))
    }

    fn connection(&self, now: Tick, id: ConnectionId) -> Option<ConnectionView> {
        let connection = self.connections.get(id)?;
        Some(ConnectionView {
            protocol: connection.protocol,
            family: connection.family,
            client: connection.client,
            client_port: connection.client_port,
            virtual_address: connection.virtual_address,
            virtual_port: connection.virtual_port,
            destination_family: connection.destination_family,
            destination: connection.destination_address,
            destination_port: connection.destination_port,
            state: proto::state_name(connection.protocol, connection.is_template(), connection.state),
            seconds_left: connection.seconds_left(now),
            method: connection.flags.method(),
            synchronised: connection.flags.has(ConnFlags::SYNC),
            call_id: self.call_ids.get(&id).map(|id| id.to_vec()),
        })
    }
}
