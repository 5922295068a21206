//! Which packets of real servers are to be translated, whatever connection they belong to: by the
//! ends of the masquerading destinations.

use std::collections::HashMap;

use crate::base::hash::FixedHash;
use crate::base::{Address, Family, Port, Protocol};
use crate::table::{DestinationKey, ServiceKey};

type Counts<K> = HashMap<K, u32, FixedHash>;

/// Counts of the masquerading destinations that have an end, an address, or speak FTP.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Masqueraded {
    ends: Counts<(Family, Protocol, Address, Port)>,
    addresses: Counts<(Family, Address)>,
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
        *self.ends.entry((family, protocol_of(service), address, key.port)).or_default() += 1;
        *self.addresses.entry((family, address)).or_default() += 1;
        if helped == Helped::Yes {
            *self.helped.entry((family, address)).or_default() += 1;
        }
    }

    pub fn remove(&mut self, service: &ServiceKey, key: &DestinationKey, helped: Helped) {
        let (family, address) = (Family::of(&key.address), key.address.into());
        release(&mut self.ends, (family, protocol_of(service), address, key.port));
        release(&mut self.addresses, (family, address));
        if helped == Helped::Yes {
            release(&mut self.helped, (family, address));
        }
    }

    /// Whether a packet that comes from there may be a real server's. Services by mark count for
    /// every protocol.
    pub fn covers(&self, family: Family, protocol: Protocol, address: Address, port: Port) -> bool {
        !self.ends.is_empty()
            && (self.has(family, protocol, address, port)
                || self.has(family, protocol, address, Port::ANY)
                || protocol == Protocol::TCP && self.helped.contains_key(&(family, address)))
    }

    /// Whether exactly this is the end of a destination.
    pub fn has(&self, family: Family, protocol: Protocol, address: Address, port: Port) -> bool {
        [protocol, Protocol::IP].iter().any(|&each| self.ends.contains_key(&(family, each, address, port)))
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

/// Takes one from a count; the last takes the entry along.
pub fn release<K: std::hash::Hash + Eq>(counts: &mut Counts<K>, key: K) {
    if let std::collections::hash_map::Entry::Occupied(mut entry) = counts.entry(key) {
        *entry.get_mut() -= 1;
        if *entry.get() == 0 {
            entry.remove();
        }
    }
}
