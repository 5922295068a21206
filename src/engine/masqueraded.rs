//! Which packets of real servers are to be translated, whatever connection they belong to: by the
//! ends of the masquerading destinations.

use crate::base::sharded::Sharded;
use crate::base::{Address, Family, Port, Protocol};
use crate::table::{DestinationKey, ServiceKey};

use super::proto;

type Counts<K> = Sharded<K, u32>;

/// Counts of the masquerading destinations that have an end, an address, or speak FTP.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Masqueraded {
    ends: Counts<(Family, Protocol, Address, Port)>,
    addresses: Counts<(Family, Address)>,
    /// Of IPv4 and IPv6.
    families: [u32; 2],
    /// Servers whose data connections may come from any port of theirs.
    helped: Counts<(Family, Address)>,
}

/// Whether a service's connections are listened to by a helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Helped {
    Yes,
    No,
}

impl Masqueraded {
    pub fn add(&mut self, service: &ServiceKey, key: &DestinationKey, helped: Helped) {
        let (family, address) = (Family::of(&key.address), key.address.into());
        self.ends.count((family, protocol_of(service), address, key.port));
        self.addresses.count((family, address));
        self.families[usize::from(family == Family::V6)] += 1;
        if helped == Helped::Yes {
            self.helped.count((family, address));
        }
    }

    pub fn remove(&mut self, service: &ServiceKey, key: &DestinationKey, helped: Helped) {
        let (family, address) = (Family::of(&key.address), key.address.into());
        self.ends.release((family, protocol_of(service), address, key.port));
        self.addresses.release((family, address));
        let of_family = &mut self.families[usize::from(family == Family::V6)];
        *of_family = of_family.saturating_sub(1);
        if helped == Helped::Yes {
            self.helped.release((family, address));
        }
    }

    /// Whether a packet that comes from there may be a real server's. Services by mark count for
    /// every protocol that services exist for. AH and ESP are those of a key exchange's port; in IPv6, AH is
    /// a header before what counts.
    pub fn covers(&self, family: Family, protocol: Protocol, address: Address, port: Port) -> bool {
        let (protocol, port) = match protocol {
            Protocol::ESP => (Protocol::UDP, Port::ISAKMP),
            Protocol::AH if family == Family::V4 => (Protocol::UDP, Port::ISAKMP),
            _ => (protocol, port),
        };
        !self.ends.is_empty()
            && (self.has(family, protocol, address, port)
                || self.has(family, protocol, address, Port::ANY)
                || protocol == Protocol::TCP && self.helped.contains_key(&(family, address)))
    }

    /// Every end of a destination, in no order; protocol 0 is that of services by mark.
    pub fn ends(&self) -> impl Iterator<Item = (Family, Protocol, Address, Port)> + '_ {
        self.ends.iter().map(|(&end, _)| end)
    }

    /// Whether there is one in `family`.
    pub fn has_family(&self, family: Family) -> bool {
        self.families[usize::from(family == Family::V6)] > 0
    }

    /// Whether exactly this is the end of a destination.
    pub fn has(&self, family: Family, protocol: Protocol, address: Address, port: Port) -> bool {
        let has = |protocol: Protocol| self.ends.contains_key(&(family, protocol, address, port));
        has(protocol) || proto::has_states(protocol) && has(Protocol::IP)
    }

    pub fn has_address(&self, family: Family, address: Address) -> bool {
        self.addresses.contains_key(&(family, address))
    }
}

fn protocol_of(service: &ServiceKey) -> Protocol {
    match service {
        ServiceKey::Address { protocol, .. } => *protocol,
        ServiceKey::Mark { .. } => Protocol::IP,
    }
}
