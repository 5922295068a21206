//! Former destinations: deleted ones, and those that are masqueraded no longer, whose connections go on.
//!
//! IPVS translates what a deleted real server still says, and drops what its clients say: a connection outlives its
//! destination, and is whole again when that comes back. So the kernel must be kept from both for as long as there are
//! such connections. An engine cannot know of other engines' connections: control asks all of them, and then has
//! everybody forget ([`crate::table::Change::ForgetFormer`]).

use crate::base::sharded::Sharded;
use crate::base::{Address, Family, Port, Protocol};
use crate::table::{DestinationKey, ForwardingMethod, ServiceKey};

use super::masqueraded::{Helped, Masqueraded};

/// Names a destination, configured or not.
pub type FormerKey = (ServiceKey, DestinationKey);

/// Destinations whose connections may have outlived them, or their forwarding method.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Former {
    /// Whether they were masqueraded, and then whether a helper listened.
    destinations: Sharded<FormerKey, Option<Helped>>,
    /// The ends of those that were.
    masqueraded: Masqueraded,
    /// How many there are of each service.
    services: Sharded<ServiceKey, u32>,
}

impl Former {
    /// Notes one that is not what it was; `masqueraded` where it was that.
    pub fn add(&mut self, service: ServiceKey, key: DestinationKey, masqueraded: Option<Helped>) {
        let known = self.destinations.get(&(service, key)).copied();
        if let (Some(helped), None | Some(None)) = (masqueraded, known) {
            self.masqueraded.add(&service, &key, helped);
        }
        if known.is_none() {
            self.services.count(service);
        }
        self.destinations.insert((service, key), known.flatten().or(masqueraded));
    }

    /// Notes one that is configured with this method: it is looked after as what it is now, unless it had another
    /// method before.
    pub fn note_configured(&mut self, service: &ServiceKey, key: &DestinationKey, method: ForwardingMethod) {
        let is_masqueraded = method == ForwardingMethod::Masquerading;
        if is_masqueraded || self.destinations.get(&(*service, *key)) == Some(&None) {
            self.forget(service, key);
        }
    }

    /// Forgets one: there are no connections of it any more.
    pub fn forget(&mut self, service: &ServiceKey, key: &DestinationKey) {
        let Some(masqueraded) = self.destinations.remove(&(*service, *key)) else { return };
        self.services.release(*service);
        if let Some(helped) = masqueraded {
            self.masqueraded.remove(service, key, helped);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.destinations.is_empty()
    }

    pub fn contains(&self, key: &FormerKey) -> bool {
        self.destinations.contains_key(key)
    }

    /// All of them, in no order, and whether a helper listened to their masqueraded connections.
    pub fn iter(&self) -> impl Iterator<Item = (&FormerKey, Helped)> {
        self.destinations.iter().map(|(key, masqueraded)| (key, masqueraded.unwrap_or(Helped::No)))
    }

    /// All of them as they were noted; for tests.
    #[cfg(any(test, fuzzing))]
    pub fn destinations(&self) -> impl Iterator<Item = (&FormerKey, Option<Helped>)> {
        self.destinations.iter().map(|(key, &masqueraded)| (key, masqueraded))
    }

    /// The ends of those that were masqueraded.
    pub fn masqueraded(&self) -> &Masqueraded {
        &self.masqueraded
    }

    /// The services that they belong to or belonged to, in no order.
    pub fn services(&self) -> impl Iterator<Item = &ServiceKey> {
        self.services.iter().map(|(service, _)| service)
    }

    /// Whether one belonged to the service by address that a packet to there is for, as
    /// [`super::services::Services::find`] looks it up.
    pub fn has_service(&self, family: Family, protocol: Protocol, address: Address, port: Port) -> bool {
        if self.services.is_empty() {
            return false;
        }
        let address = address.to_ip(family);
        let has = |port: Port| self.services.contains_key(&ServiceKey::Address { protocol, address, port });
        let is_data = protocol == Protocol::TCP && (port == Port::FTP_DATA || port >= Port::FIRST_UNPRIVILEGED);
        has(port) || has(Port::ANY) || is_data && has(Port::FTP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_kept_until_it_is_forgotten_or_configured_again() {
        let address = "10.0.0.1".parse().unwrap();
        let service = ServiceKey::Address { protocol: Protocol::TCP, address, port: Port(80) };
        let key = DestinationKey { address: "172.16.0.11".parse().unwrap(), port: Port(8080) };
        let mut former = Former::default();
        let kept = |former: &Former| {
            let end = former.masqueraded().has(Family::V4, Protocol::TCP, key.address.into(), key.port);
            (end, former.has_service(Family::V4, Protocol::TCP, address.into(), Port(80)))
        };
        former.add(service, key, Some(Helped::No));
        assert_eq!(kept(&former), (true, true));
        // By direct routing, and deleted again: what was masqueraded before still is.
        former.note_configured(&service, &key, ForwardingMethod::DirectRouting);
        former.add(service, key, None);
        assert_eq!(kept(&former), (true, true));
        former.note_configured(&service, &key, ForwardingMethod::Masquerading);
        assert_eq!((kept(&former), former), ((false, false), Former::default()));

        let mut former = Former::default();
        former.add(service, key, None);
        assert_eq!(kept(&former), (false, true));
        former.add(service, key, Some(Helped::Yes));
        assert_eq!(kept(&former), (true, true));
        former.forget(&service, &key);
        former.forget(&service, &key);
        assert_eq!(former, Former::default());
        former.add(service, key, None);
        former.note_configured(&service, &key, ForwardingMethod::Tunneling);
        assert_eq!(former, Former::default());
    }
}
