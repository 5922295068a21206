//! The kernel's rules as a routing policy, where there are any to speak of.

use std::collections::{HashMap, HashSet};

use crate::base::Family;
use crate::table::policy::{Incoming, Rule, RuleAction};
use crate::table::{Policy, RouteKind};

use super::LinkIds;
use super::decode::{KernelRoute, KernelRule, Table};
use super::tables::plain;

/// The loopback's name, which in a rule stands for what the host sends itself.
const LOOPBACK: &str = "lo";

/// The policies of both families; none for one that has only the rules of every host, and no route
/// that sends the search on from one of their tables.
pub fn policies(
    rules: &[KernelRule],
    routes: &[KernelRoute],
    indexes: &HashMap<String, u32>,
    ids: &mut LinkIds,
) -> [Option<Policy>; 2] {
    [Family::V4, Family::V6].map(|family| {
        let rules: Vec<&KernelRule> = rules.iter().filter(|rule| rule.family == family).collect();
        let throws = routes.iter().any(|route| {
            route.kind == RouteKind::Throw
                && route.destination.family() == family
                && !matches!(route.table, Table::Other(_))
        });
        // A kernel without policy routing lists no rules.
        if rules.iter().all(|rule| is_everywhere(rule)) && (!throws || rules.is_empty()) {
            return None;
        }
        let rules: Vec<Rule> = rules.into_iter().filter_map(|rule| usable(rule, indexes, ids)).collect();
        let mut tables = HashMap::new();
        let wanted: HashSet<u32> = rules.iter().filter_map(table_of).collect();
        for route in routes.iter().filter(|route| route.destination.family() == family) {
            let number = route.table.number();
            if wanted.contains(&number) {
                tables.entry(number).or_insert_with(Vec::new).push(plain(route, ids));
            }
        }
        Some(Policy::new(rules, tables))
    })
}

/// Whether a rule is one of the three that every host has, or comes to nothing.
fn is_everywhere(rule: &KernelRule) -> bool {
    let standard = |table: Table| {
        *rule
            == KernelRule {
                family: rule.family,
                priority: match table {
                    Table::Local => 0,
                    Table::Main => 32766,
                    _ => 32767,
                },
                inverted: false,
                from: None,
                to: None,
                incoming: None,
                unmatchable: false,
                action: RuleAction::Table { number: table.number(), suppressed: None },
            }
    };
    [Table::Local, Table::Main, Table::Default].into_iter().any(standard) || (rule.unmatchable && !rule.inverted)
}

fn table_of(rule: &Rule) -> Option<u32> {
    match rule.action {
        RuleAction::Table { number, .. } => Some(number),
        _ => None,
    }
}

/// A rule as it is asked; `None` for one that can match nothing. One that matches nothing and is
/// inverted matches everything.
fn usable(rule: &KernelRule, indexes: &HashMap<String, u32>, ids: &mut LinkIds) -> Option<Rule> {
    let incoming = match rule.incoming.as_deref() {
        None => None,
        Some(LOOPBACK) => Some(Incoming::Host),
        // A link that is not there brings nothing.
        Some(name) => match indexes.get(name) {
            Some(&index) => Some(Incoming::Link(ids.of(index))),
            None => return rule.inverted.then(|| Rule::all(rule.priority, rule.action)),
        },
    };
    if rule.unmatchable {
        return rule.inverted.then(|| Rule::all(rule.priority, rule.action));
    }
    Some(Rule {
        priority: rule.priority,
        inverted: rule.inverted,
        from: rule.from,
        to: rule.to,
        incoming,
        action: rule.action,
    })
}
