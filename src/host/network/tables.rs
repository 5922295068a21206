//! Three routing tables made one, so that the longest prefix gives the kernel's answer.
//!
//! The kernel asks local, then main, then default, and takes the first answer. A route of a later
//! table is therefore never reached where an earlier table has one that covers it; without those
//! routes, one search for the longest prefix over all that remain gives the same answer.
//! (`throw`, which sends the search on to the next table, leads nowhere here: a host that has such routes
//! has its tables kept apart, but where there are no rules at all.)

use std::collections::{BTreeSet, HashSet};

use crate::base::{Address, Family, Prefix};
use crate::table::Route;

use super::LinkIds;
use super::decode::{KernelRoute, Table};

pub fn flatten(mut routes: Vec<KernelRoute>, ids: &mut LinkIds) -> Vec<Route> {
    routes.sort_by_key(|route| route.table);
    let mut earlier = Covered::default();
    let mut current = (Table::Local, Covered::default());
    let mut reached = Vec::with_capacity(routes.len());
    for route in routes {
        if route.table != current.0 {
            earlier.extend(std::mem::take(&mut current.1));
            current.0 = route.table;
        }
        if earlier.covers(&route.destination) || matches!(route.table, Table::Other(_)) {
            continue;
        }
        current.1.insert(&route.destination);
        reached.push(plain(&route, ids));
    }
    reached
}

/// A route with the link's id for its interface's index.
pub fn plain(route: &KernelRoute, ids: &mut LinkIds) -> Route {
    Route {
        destination: route.destination,
        kind: route.kind,
        link: route.interface.map(|index| ids.of(index)),
        gateway: route.gateway,
        source: route.source,
        metric: route.metric,
        mtu: route.mtu,
    }
}

/// The prefixes that some tables have routes for.
#[derive(Default)]
struct Covered {
    prefixes: HashSet<(Family, u8, Address)>,
    /// The lengths that occur, to ask for no others.
    lengths: BTreeSet<u8>,
}

impl Covered {
    fn insert(&mut self, prefix: &Prefix) {
        self.prefixes.insert(key(prefix, prefix.length));
        self.lengths.insert(prefix.length);
    }

    fn extend(&mut self, other: Covered) {
        self.prefixes.extend(other.prefixes);
        self.lengths.extend(other.lengths);
    }

    fn covers(&self, prefix: &Prefix) -> bool {
        self.lengths.range(..=prefix.length).any(|&length| self.prefixes.contains(&key(prefix, length)))
    }
}

fn key(prefix: &Prefix, length: u8) -> (Family, u8, Address) {
    let family = prefix.family();
    (family, length, Address::from(prefix.address).masked(family, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::RouteKind;

    fn route(table: Table, destination: &str) -> KernelRoute {
        KernelRoute {
            table,
            destination: destination.parse().unwrap(),
            kind: RouteKind::Unicast,
            interface: Some(2),
            gateway: None,
            source: None,
            metric: 0,
            mtu: None,
        }
    }

    #[test]
    fn a_route_that_an_earlier_table_covers_is_never_reached() {
        let routes = vec![
            route(Table::Other(50), "198.51.100.0/24"),
            route(Table::Default, "0.0.0.0/0"),
            route(Table::Default, "203.0.113.0/24"),
            route(Table::Main, "203.0.0.0/16"),
            route(Table::Main, "203.0.0.0/17"),
            route(Table::Main, "127.0.0.1/32"),
            route(Table::Local, "127.0.0.0/8"),
            route(Table::Main, "::/0"),
        ];
        let mut ids = LinkIds::default();
        let reached: Vec<String> =
            flatten(routes, &mut ids).iter().map(|route| route.destination.to_string()).collect();
        assert_eq!(reached, ["127.0.0.0/8", "203.0.0.0/16", "203.0.0.0/17", "::/0", "0.0.0.0/0"]);
    }
}
