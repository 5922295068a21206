//! Policy routing: which routing table is asked for a packet depends on more than where it goes
//! (ip-rule(8)).

use std::collections::HashMap;

use crate::base::{Address, Family, LinkId, Prefix};

use super::network::{Route, RouteKind, sort_routes};

/// What routing looks at in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    pub family: Family,
    pub destination: Address,
    /// Zero while it is still to be chosen.
    pub source: Address,
    /// The link the packet came by; `None` for what this host sends.
    pub incoming: Option<LinkId>,
}

impl Flow {
    /// What this host sends to `destination`, before a source is chosen.
    pub fn to(family: Family, destination: Address) -> Flow {
        Flow { family, destination, source: Address::ZERO, incoming: None }
    }

    /// What this host sends from one address to another.
    pub fn between(family: Family, source: Address, destination: Address) -> Flow {
        Flow { source, ..Flow::to(family, destination) }
    }
}

/// The link a rule wants a packet to have come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// Packets that this host sends (`iif lo`).
    Host,
    Link(LinkId),
}

/// What a rule does with the packets it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// Asks the table of this number; a route no longer than `suppressed` does not count.
    Table { number: u32, suppressed: Option<u8> },
    /// Goes on with the first rule of at least this priority.
    Goto(u32),
    /// Goes on with the next rule.
    Nothing,
    /// Blackhole, unreachable, prohibit: the packet goes nowhere.
    Unreachable,
}

/// One rule of the routing policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Rules are asked in ascending order.
    pub priority: u32,
    /// The rule is for packets that do not match (`not`).
    pub inverted: bool,
    pub from: Option<Prefix>,
    pub to: Option<Prefix>,
    pub incoming: Option<Incoming>,
    pub action: RuleAction,
}

impl Rule {
    /// A rule for every packet.
    pub fn all(priority: u32, action: RuleAction) -> Rule {
        Rule { priority, inverted: false, from: None, to: None, incoming: None, action }
    }

    fn matches(&self, flow: &Flow) -> bool {
        let within = |prefix: Option<Prefix>, address: Address| {
            prefix.is_none_or(|prefix| prefix.contains(address.to_ip(flow.family)))
        };
        let came = match self.incoming {
            None => true,
            Some(Incoming::Host) => flow.incoming.is_none(),
            Some(Incoming::Link(link)) => flow.incoming == Some(link),
        };
        (came && within(self.from, flow.source) && within(self.to, flow.destination)) != self.inverted
    }
}

/// The rules of one family with the tables they lead to.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    rules: Vec<Rule>,
    /// Each sorted: longest prefix first, then lowest metric.
    tables: HashMap<u32, Vec<Route>>,
}

impl Policy {
    pub fn new(mut rules: Vec<Rule>, mut tables: HashMap<u32, Vec<Route>>) -> Policy {
        rules.sort_by_key(|rule| rule.priority);
        tables.values_mut().for_each(|routes| sort_routes(routes));
        Policy { rules, tables }
    }

    /// What becomes of packets of `flow`: `None` where no rule leads to a route, `Some(None)` where
    /// a rule keeps them from going anywhere.
    pub fn route(&self, flow: &Flow) -> Option<Option<&Route>> {
        let destination = flow.destination.to_ip(flow.family);
        let mut rules = self.rules.as_slice();
        while let Some((rule, rest)) = rules.split_first() {
            rules = rest;
            if !rule.matches(flow) {
                continue;
            }
            match rule.action {
                RuleAction::Nothing => {}
                RuleAction::Unreachable => return Some(None),
                RuleAction::Goto(priority) => {
                    rules = &rules[rules.iter().take_while(|rule| rule.priority < priority).count()..];
                }
                RuleAction::Table { number, suppressed } => {
                    let routes = self.tables.get(&number).map_or(&[][..], Vec::as_slice);
                    let found = routes.iter().find(|route| route.destination.contains(destination));
                    // What says that there is no way is no way to be suppressed.
                    let counts = |route: &&Route| match route.kind {
                        RouteKind::Throw => false,
                        RouteKind::Unreachable => true,
                        _ => suppressed.is_none_or(|length| route.destination.length > length),
                    };
                    if let Some(route) = found.filter(counts) {
                        return Some(Some(route));
                    }
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn route(destination: &str, link: u32) -> Route {
        Route {
            destination: destination.parse().unwrap(),
            kind: RouteKind::Unicast,
            link: Some(LinkId(link)),
            gateway: None,
            source: None,
            metric: 0,
            mtu: None,
        }
    }

    fn table(number: u32) -> RuleAction {
        RuleAction::Table { number, suppressed: None }
    }

    /// The link by which a policy sends a packet; `Err(true)` where a rule forbids it.
    fn way(policy: &Policy, from: &str, to: &str, incoming: Option<u32>) -> Result<u32, bool> {
        let address = |text: &str| Address::from(text.parse::<IpAddr>().unwrap());
        let flow = Flow { incoming: incoming.map(LinkId), ..Flow::between(Family::V4, address(from), address(to)) };
        match policy.route(&flow) {
            Some(Some(route)) => Ok(route.link.unwrap().0),
            Some(None) => Err(true),
            None => Err(false),
        }
    }

    #[test]
    fn rules_are_asked_in_their_order_until_a_table_has_a_route() {
        let tables = HashMap::from([
            (254, vec![route("0.0.0.0/0", 1), route("10.0.0.0/8", 2)]),
            (50, vec![route("0.0.0.0/0", 5)]),
            (51, vec![route("192.0.2.0/24", 6)]),
        ]);
        let from = |priority, prefix: &str, action| Rule {
            from: Some(prefix.parse().unwrap()),
            ..Rule::all(priority, action)
        };
        let policy = Policy::new(
            vec![
                Rule::all(32766, table(254)),
                from(100, "10.9.9.9/32", table(50)),
                from(101, "10.9.9.8/32", table(51)),
                from(102, "10.9.9.7/32", RuleAction::Unreachable),
                from(103, "10.9.9.6/32", RuleAction::Goto(32000)),
                Rule { incoming: Some(Incoming::Link(LinkId(3))), ..Rule::all(104, table(50)) },
                Rule {
                    incoming: Some(Incoming::Host),
                    to: Some("203.0.113.0/24".parse().unwrap()),
                    ..Rule::all(105, table(50))
                },
                Rule { inverted: true, ..from(106, "0.0.0.0/1", RuleAction::Unreachable) },
            ],
            tables,
        );
        let rows = [
            ("10.9.9.9", "8.8.8.8", None, Ok(5)),
            ("10.9.9.8", "8.8.8.8", None, Ok(1)),
            ("10.9.9.8", "192.0.2.1", None, Ok(6)),
            ("10.9.9.7", "8.8.8.8", None, Err(true)),
            ("10.9.9.6", "8.8.8.8", Some(3), Ok(1)),
            ("10.9.9.5", "8.8.8.8", Some(3), Ok(5)),
            ("10.9.9.5", "10.1.1.1", Some(4), Ok(2)),
            ("10.9.9.5", "203.0.113.9", None, Ok(5)),
            ("10.9.9.5", "203.0.113.9", Some(4), Ok(1)),
            ("200.9.9.5", "8.8.8.8", None, Err(true)),
        ];
        for (from, to, incoming, expected) in rows {
            assert_eq!(way(&policy, from, to, incoming), expected, "{from} to {to} by {incoming:?}");
        }
    }

    #[test]
    fn a_suppressed_route_sends_the_search_on() {
        let tables = HashMap::from([
            (254, vec![route("0.0.0.0/0", 1), route("10.0.0.0/8", 2)]),
            (50, vec![route("0.0.0.0/0", 5)]),
        ]);
        let suppressing = RuleAction::Table { number: 254, suppressed: Some(0) };
        let policy = Policy::new(vec![Rule::all(1, suppressing), Rule::all(2, table(50))], tables);
        assert_eq!(way(&policy, "0.0.0.0", "10.1.1.1", None), Ok(2));
        assert_eq!(way(&policy, "0.0.0.0", "8.8.8.8", None), Ok(5));
        assert_eq!(way(&Policy::default(), "0.0.0.0", "8.8.8.8", None), Err(false));

        let none = Route { kind: RouteKind::Unreachable, link: None, ..route("0.0.0.0/0", 0) };
        let tables = HashMap::from([(254, vec![none]), (50, vec![route("0.0.0.0/0", 5)])]);
        let policy = Policy::new(vec![Rule::all(1, suppressing), Rule::all(2, table(50))], tables);
        let found = policy.route(&Flow::to(Family::V4, Address::v4([8, 8, 8, 8])));
        assert!(found.flatten().is_some_and(|route| route.kind == RouteKind::Unreachable), "nothing leaks past it");
    }

    #[test]
    fn a_thrown_packet_falls_through_to_the_next_rule() {
        let throw = Route { kind: RouteKind::Throw, link: None, ..route("10.0.0.0/8", 0) };
        let tables = HashMap::from([
            (220, vec![route("0.0.0.0/0", 1), throw, route("10.9.0.0/16", 3)]),
            (254, vec![route("0.0.0.0/0", 2)]),
        ]);
        let policy = Policy::new(vec![Rule::all(220, table(220)), Rule::all(32766, table(254))], tables);
        assert_eq!(way(&policy, "0.0.0.0", "8.8.8.8", None), Ok(1));
        assert_eq!(way(&policy, "0.0.0.0", "10.1.1.1", None), Ok(2));
        assert_eq!(way(&policy, "0.0.0.0", "10.9.1.1", None), Ok(3));
    }
}
