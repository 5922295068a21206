//! What holds of an engine between any two calls, whatever it was told; for tests and fuzzing.
//!
//! Destinations count what the connection table holds, controllers count what they control, and
//! the services' indices are those of the services that exist.

use std::collections::HashMap;

use crate::base::{ConnectionId, DestinationId};
use crate::table::ForwardingMethod;

use super::Engine;
use super::conn::ConnFlags;

/// Active, inactive and persistent connections, and how many of the first two are masqueraded.
type Counts = (u32, u32, u32, u32);

impl Engine {
    /// # Panics
    /// Where something does not hold, with what it is.
    pub fn check_invariants(&self) {
        self.connections.check_invariants();
        self.services.check_invariants();
        self.check_destinations();
        self.check_controllers();
        for id in self.call_ids.keys() {
            assert!(self.connections.get(*id).is_some_and(|c| c.is_template()), "a Call-ID of no template: {id:?}");
        }
        for id in self.helper.sessions() {
            let watched = |flags: ConnFlags| flags.has(ConnFlags::HELPED | ConnFlags::IN_SEQ | ConnFlags::OUT_SEQ);
            assert!(self.connections.get(id).is_some_and(|c| watched(c.flags)), "a session of no connection: {id:?}");
        }
        assert!(self.reassembler.is_some(), "the reassembler is back in its place");
    }

    fn check_destinations(&self) {
        let mut held: HashMap<DestinationId, Counts> = HashMap::new();
        for (_, connection) in self.connections.iter() {
            // One that is bypassed has none.
            let Some(id) = connection.destination else { continue };
            let counts = held.entry(id).or_default();
            if connection.is_template() {
                counts.2 += 1;
            } else if connection.flags.has(ConnFlags::INACTIVE) {
                counts.1 += 1;
            } else {
                counts.0 += 1;
            }
            let masquerades = connection.flags.method() == ForwardingMethod::Masquerading;
            counts.3 += u32::from(masquerades && !connection.is_template());
        }
        for (id, destination) in self.services.destinations.iter() {
            let counted = (destination.active, destination.inactive, destination.persistent, destination.masqueraded);
            let held = held.remove(&id).unwrap_or_default();
            assert_eq!(counted, held, "{:?}: counted, and held by the table", destination.key);
            let all = held.0 + held.1 + held.2;
            assert!(destination.references >= all, "{} references, {all} connections", destination.references);
        }
        assert!(held.is_empty(), "connections of destinations that do not exist: {held:?}");
    }

    fn check_controllers(&self) {
        let mut controlled: HashMap<ConnectionId, u32> = HashMap::new();
        for controller in self.connections.iter().filter_map(|(_, connection)| connection.controller()) {
            *controlled.entry(controller).or_default() += 1;
        }
        for (id, connection) in self.connections.iter() {
            assert_eq!(connection.controls, controlled.remove(&id).unwrap_or(0), "controlled by {id:?}");
        }
        assert!(controlled.is_empty(), "controllers that do not exist: {controlled:?}");
    }
}
