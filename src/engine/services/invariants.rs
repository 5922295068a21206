//! What holds of the services between any two changes.

use std::collections::HashSet;

use crate::base::{DestinationId, Family, Port};
use crate::engine::former::Former;
use crate::table::ForwardingMethod;

use super::{Map, Masqueraded, Services, TunnelEnds, helped};

impl Services {
    /// # Panics
    /// Where an index says something else than the services themselves.
    pub fn check_invariants(&self) {
        let existing = self.slots.iter().flatten().count();
        assert_eq!(self.order.len(), existing, "services in order, and services that exist");
        assert_eq!(self.by_address.len() + self.by_mark.len(), existing, "services found by a key");
        let mut placed: HashSet<DestinationId> = self.trash.destinations().collect();
        assert_eq!(placed.len(), self.trash.destinations().len(), "the trash holds each destination once");
        let mut virtual_addresses = Map::default();
        let (mut masqueraded, mut with_engine) = (Masqueraded::default(), 0);
        let mut tunnels = TunnelEnds::default();
        for (id, service) in self.order.iter().filter_map(|&id| Some((id, self.get(id)?))) {
            assert_eq!(self.by_key(&service.key), Some(id), "{:?} is found by its key", service.key);
            with_engine += usize::from(service.engine.is_some());
            if service.mark.is_none() {
                *virtual_addresses.entry((service.family, service.address)).or_default() += 1u32;
            }
            assert_eq!(service.by_key.len(), service.servers.len(), "destinations by key and in order");
            for (key, &destination) in &service.by_key {
                assert!(placed.insert(destination), "{key:?} is in one place only");
                let known = self.destinations.get(destination).expect("a destination that is listed exists");
                assert!(known.available && known.key == *key && known.service == id, "{key:?} is its service's own");
                assert_eq!(known.service_number, service.number, "{key:?} is its service's own");
                assert!(service.crowded || known.crowd.is_none(), "{key:?} of a crowd makes its service look around");
                assert!(service.servers.position(destination).is_some(), "{key:?} is in the list");
                if known.method == ForwardingMethod::Masquerading {
                    masqueraded.add(&service.key, key, helped(&self.helped_ports, &service.key));
                }
                tunnels.add(key, known.method, known.tunnel);
            }
        }
        for (service, id) in self.leaving.destinations() {
            assert!(placed.insert(id), "what leaves is in no other place");
            let known = self.destinations.get(id).expect("a destination that leaves exists");
            if known.method == ForwardingMethod::Masquerading {
                masqueraded.add(&service, &known.key, helped(&self.helped_ports, &service));
            }
            tunnels.add(&known.key, known.method, known.tunnel);
        }
        let mut former = Former::default();
        for (&(service, key), masqueraded) in self.former.destinations() {
            former.add(service, key, masqueraded);
            let configured = self.by_key(&service).and_then(|id| self.destination(id, &key));
            let method = configured.and_then(|id| self.destinations.get(id)).map(|known| known.method);
            assert_ne!(method, Some(ForwardingMethod::Masquerading), "{key:?} is what it was");
        }
        assert_eq!(self.former, former, "services and ends of former destinations");
        for (id, destination) in self.destinations.iter() {
            assert!(placed.contains(&id), "{:?} is neither in a service nor in the trash", destination.key);
        }
        let of_port = |port: Port| self.iter().filter(|service| service.mark.is_none() && service.port == port).count();
        assert_eq!(self.port_zero_services, of_port(Port::ANY), "services of port 0");
        assert_eq!(self.ftp_services, of_port(Port::FTP), "services of FTP's port");
        assert_eq!(self.virtual_addresses, virtual_addresses, "virtual addresses");
        assert_eq!(self.engine_services, with_engine, "services with a persistence engine");
        assert_eq!(self.masqueraded, masqueraded, "ends of masqueraded destinations");
        assert_eq!(self.tunnels, tunnels, "ends of tunnels");
        for family in [Family::V4, Family::V6] {
            let served = self.iter().any(|service| service.family == family);
            assert_eq!(self.serves(family), served, "services of {family:?}");
        }
    }
}
