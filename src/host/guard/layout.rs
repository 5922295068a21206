//! The guard's table: its chains, sets and standing rules.
//!
//! ```text
//! Ingress (table netdev ulvs)                    Hooks (table inet ulvs)
//! link<index>, one a link, untagged frames       prerouting (raw), links @links
//!   └ ingress4/6 ─┬ source @real_servers:          └ requests4/6 ─ marks4/6
//!                 │ replies4/6, which first      forward, links @links
//!                 │ let local packets pass         ├ source @real_servers: replies4/6
//!                 ├ requests4/6 ─ marks4/6         └ ICMP about @real_servers: errors4/6
//!                 └ ICMP about @real_servers:
//!                   errors4/6, likewise
//! ```
//!
//! `Ingress` is asked once per frame, before the IP stack has done any work for it; packet sockets
//! of ETH_P_ALL have their copy by then. Frames with a VLAN tag belong to another interface, so
//! the EtherType is compared where the frame has it. `Hooks` needs neither the ingress hook nor
//! routing look-ups in rules: the forward hook sees only what is in transit.

use crate::base::{Family, Port, Protocol};
use crate::host::nftables::expression::{self, Base, Comparison, Expression, Meta, Register, Verdict};
use crate::host::nftables::{Attributes, Batch, Command, OWNER_FLAG, TableFamily, attribute};

use super::rules::{MarkAlternative, SetKind, destination_offset, source_offset};

/// The name of the guard's table, in either family.
pub const TABLE: &str = "ulvs";

const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;
const ACCEPT: u32 = 1;
const INGRESS_HOOK: u32 = 0;
const PREROUTING_HOOK: u32 = 0;
const FORWARD_HOOK: u32 = 2;
/// Before anything else that may be hooked there.
const INGRESS_PRIORITY: i32 = -500;
/// The priority of `raw`: before connection tracking.
const RAW_PRIORITY: i32 = -300;

const ICMP: &[u8] = &[1];
const ICMPV6: &[u8] = &[58];
const FRAGMENT_HEADER: u8 = 44;
/// The first and the last of the route types (rtnetlink(7)) whose packets are for this host, or for everyone: local,
/// broadcast, anycast, multicast. As they fit one byte, they compare in either byte order as numbers do.
const NOT_IN_TRANSIT: [[u8; 4]; 2] = [2u32.to_ne_bytes(), 5u32.to_ne_bytes()];

pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Where the guard stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// At the ingress of each served link.
    Ingress,
    /// At the IP stack's hooks.
    Hooks,
}

impl Scheme {
    pub fn family(self) -> TableFamily {
        match self {
            Scheme::Ingress => TableFamily::Netdev,
            Scheme::Hooks => TableFamily::Inet,
        }
    }
}

/// Makes the table with everything that does not depend on links and services.
pub fn install(batch: &mut Batch, scheme: Scheme, owner: bool) {
    let family = scheme.family();
    batch.add(Command::NewTable, NLM_F_CREATE, family, |table| {
        table.text(attribute::TABLE_NAME, TABLE);
        table.number(attribute::TABLE_FLAGS, if owner { OWNER_FLAG } else { 0 });
    });
    let mut id = 0;
    for ip in FAMILIES {
        for kind in SetKind::ALL {
            id += 1;
            add_set(batch, scheme, set_name(kind, ip), key_type(kind, ip), kind.key_length(ip), id);
        }
        for chain in [requests(ip), marks(ip), replies(ip), errors(ip)] {
            add_chain(batch, scheme, chain, None);
        }
        for rule in request_rules(ip) {
            add_rule(batch, scheme, requests(ip), &rule);
        }
        for rule in reply_rules(ip, scheme) {
            add_rule(batch, scheme, replies(ip), &rule);
        }
        for rule in error_rules(scheme) {
            add_rule(batch, scheme, errors(ip), &rule);
        }
    }
    match scheme {
        Scheme::Ingress => {
            for ip in FAMILIES {
                add_chain(batch, scheme, ingress(ip), None);
                // Replies first: most requests are to the virtual MAC, and do not come so far.
                add_rule(batch, scheme, ingress(ip), &from_real_server(ip));
                add_rule(batch, scheme, ingress(ip), &[jump(requests(ip))]);
                for rule in about_real_server(ip) {
                    add_rule(batch, scheme, ingress(ip), &rule);
                }
            }
        }
        Scheme::Hooks => {
            add_link_set(batch, scheme, id + 1);
            add_chain(
                batch,
                scheme,
                PREROUTING,
                Some(Hook { number: PREROUTING_HOOK, priority: RAW_PRIORITY, device: None }),
            );
            add_chain(
                batch,
                scheme,
                FORWARD,
                Some(Hook { number: FORWARD_HOOK, priority: RAW_PRIORITY, device: None }),
            );
            for ip in FAMILIES {
                let mut rule = on_served_link(ip).to_vec();
                rule.push(jump(requests(ip)));
                add_rule(batch, scheme, PREROUTING, &rule);
                let mut rule = on_served_link(ip).to_vec();
                rule.extend(from_real_server(ip));
                add_rule(batch, scheme, FORWARD, &rule);
                for about in about_real_server(ip) {
                    let mut rule = on_served_link(ip).to_vec();
                    rule.extend(about);
                    add_rule(batch, scheme, FORWARD, &rule);
                }
            }
        }
    }
}

/// Removes the table with all that is in it.
pub fn remove(batch: &mut Batch, family: TableFamily) {
    batch.add(Command::DeleteTable, 0, family, |table| {
        table.text(attribute::TABLE_NAME, TABLE);
    });
}

/// Starts guarding a link.
pub fn add_link(batch: &mut Batch, scheme: Scheme, index: u32, name: &str) {
    match scheme {
        Scheme::Ingress => {
            let chain = link_chain(index);
            let hook = Hook { number: INGRESS_HOOK, priority: INGRESS_PRIORITY, device: Some(name) };
            add_chain(batch, scheme, &chain, Some(hook));
            add_rule(batch, scheme, &chain, &to_another_host());
            for ip in FAMILIES {
                add_rule(batch, scheme, &chain, &of_ether_type(ip));
            }
        }
        Scheme::Hooks => change_elements(batch, Command::NewElements, scheme, LINKS, [&index.to_ne_bytes()[..]]),
    }
}

/// Stops guarding a link.
pub fn remove_link(batch: &mut Batch, scheme: Scheme, index: u32) {
    match scheme {
        Scheme::Ingress => batch.add(Command::DeleteChain, 0, scheme.family(), |chain| {
            chain.text(attribute::CHAIN_TABLE, TABLE).text(attribute::CHAIN_NAME, &link_chain(index));
        }),
        Scheme::Hooks => change_elements(batch, Command::DeleteElements, scheme, LINKS, [&index.to_ne_bytes()[..]]),
    }
}

/// Adds elements to a set or takes them out of it; they must fit one message.
pub fn change_elements<'a>(
    batch: &mut Batch,
    command: Command,
    scheme: Scheme,
    set: &str,
    keys: impl IntoIterator<Item = &'a [u8]>,
) {
    let flags = if command == Command::NewElements { NLM_F_CREATE } else { 0 };
    batch.add(command, flags, scheme.family(), |elements| {
        elements.text(attribute::ELEMENTS_TABLE, TABLE).text(attribute::ELEMENTS_SET, set);
        elements.nest(attribute::ELEMENTS_LIST, |list| {
            for key in keys {
                list.nest(attribute::LIST_ELEMENT, |element| {
                    element.nest(attribute::ELEMENT_KEY, |data| {
                        data.bytes(attribute::DATA_VALUE, key);
                    });
                });
            }
        });
    });
}

/// Puts mark rules in the place of those that are there.
pub fn replace_marks(batch: &mut Batch, scheme: Scheme, ip: Family, alternatives: &[MarkAlternative]) {
    batch.add(Command::DeleteRule, 0, scheme.family(), |rule| {
        rule.text(attribute::RULE_TABLE, TABLE).text(attribute::RULE_CHAIN, marks(ip));
    });
    for alternative in alternatives {
        let verdict = if alternative.handled { Verdict::Drop } else { Verdict::Return };
        let mut rule: Vec<Expression> =
            alternative.conditions.iter().flat_map(|condition| condition.expressions()).collect();
        rule.push(Expression::Verdict(verdict));
        add_rule(batch, scheme, marks(ip), &rule);
    }
}

pub fn set_name(kind: SetKind, ip: Family) -> &'static str {
    let [v4, v6] = match kind {
        SetKind::Owned => ["owned4", "owned6"],
        SetKind::Services => ["services4", "services6"],
        SetKind::ServiceWildcards => ["service_wildcards4", "service_wildcards6"],
        SetKind::DataServices => ["data_services4", "data_services6"],
        SetKind::RealServers => ["real_servers4", "real_servers6"],
        SetKind::Replies => ["replies4", "replies6"],
        SetKind::ReplyWildcards => ["reply_wildcards4", "reply_wildcards6"],
    };
    by_family(ip, v4, v6)
}

const LINKS: &str = "links";
const PREROUTING: &str = "prerouting";
const FORWARD: &str = "forward";

fn requests(ip: Family) -> &'static str {
    by_family(ip, "requests4", "requests6")
}

fn marks(ip: Family) -> &'static str {
    by_family(ip, "marks4", "marks6")
}

fn replies(ip: Family) -> &'static str {
    by_family(ip, "handled_replies4", "handled_replies6")
}

fn errors(ip: Family) -> &'static str {
    by_family(ip, "handled_errors4", "handled_errors6")
}

fn ingress(ip: Family) -> &'static str {
    by_family(ip, "ingress4", "ingress6")
}

fn link_chain(index: u32) -> String {
    format!("link{index}")
}

fn by_family<T>(ip: Family, v4: T, v6: T) -> T {
    match ip {
        Family::V4 => v4,
        Family::V6 => v6,
    }
}

fn request_rules(ip: Family) -> Vec<Vec<Expression<'static>>> {
    let drop_in = |kind: SetKind| {
        let mut rule = key(ip, destination_offset(ip), 2, kind);
        rule.push(Expression::Lookup { set: set_name(kind, ip), key: Register::FIRST });
        rule.push(Expression::Verdict(Verdict::Drop));
        rule
    };
    let mut data = to_data_port().to_vec();
    data.extend(drop_in(SetKind::DataServices));
    vec![
        drop_in(SetKind::Owned),
        drop_in(SetKind::Services),
        drop_in(SetKind::ServiceWildcards),
        data,
        vec![jump(marks(ip))],
    ]
}

fn reply_rules(ip: Family, scheme: Scheme) -> Vec<Vec<Expression<'static>>> {
    let register = Register::FIRST;
    // The look-up costs more than all the rest, so it is made once.
    let mut rules = Vec::from_iter(return_unless_in_transit(scheme));
    let found = |kind: SetKind| {
        let mut rule = key(ip, source_offset(ip), 0, kind);
        rule.push(Expression::Lookup { set: set_name(kind, ip), key: register });
        rule.push(Expression::Verdict(Verdict::Drop));
        rule
    };
    rules.push(found(SetKind::Replies));
    rules.push(found(SetKind::ReplyWildcards));
    // A real server's fragments are put together before they are looked at, whatever they are of.
    rules.push(fragments(ip));
    for mut error in icmp_errors(ip) {
        error.push(Expression::Verdict(Verdict::Drop));
        rules.push(error);
    }
    rules
}

fn error_rules(scheme: Scheme) -> Vec<Vec<Expression<'static>>> {
    let mut rules = Vec::from_iter(return_unless_in_transit(scheme));
    rules.push(vec![Expression::Verdict(Verdict::Drop)]);
    rules
}

/// Returns with what is for this host or for everyone; the forward hook does not see such packets.
fn return_unless_in_transit(scheme: Scheme) -> Option<Vec<Expression<'static>>> {
    let register = Register::FIRST;
    let [first, last] = &NOT_IN_TRANSIT;
    (scheme == Scheme::Ingress).then(|| {
        vec![
            Expression::DestinationType { to: register },
            Expression::Compare { register, comparison: Comparison::AtLeast, value: first },
            Expression::Compare { register, comparison: Comparison::AtMost, value: last },
            Expression::Verdict(Verdict::Return),
        ]
    })
}

/// Loads the key of a set: address, protocol and port, as far as the set has them.
fn key(ip: Family, address: u32, port: u32, kind: SetKind) -> Vec<Expression<'static>> {
    let length = ip.address_length() as u32;
    let protocol = Register::FIRST.behind(length);
    let mut load = vec![Expression::Payload { base: Base::Network, offset: address, length, to: Register::FIRST }];
    if kind.has_protocol() {
        load.push(Expression::Meta { key: Meta::TransportProtocol, to: protocol });
    }
    if kind.has_port() {
        load.push(Expression::Payload { base: Base::Transport, offset: port, length: 2, to: protocol.behind(1) });
    }
    load
}

/// A TCP segment to a port that FTP's data connections may have.
fn to_data_port() -> [Expression<'static>; 4] {
    const FIRST_PORT: [u8; 2] = Port::FIRST_UNPRIVILEGED.0.to_be_bytes();
    let register = Register::FIRST;
    [
        Expression::Meta { key: Meta::TransportProtocol, to: register },
        Expression::Compare { register, comparison: Comparison::Equal, value: &[Protocol::TCP.0] },
        Expression::Payload { base: Base::Transport, offset: 2, length: 2, to: register },
        Expression::Compare { register, comparison: Comparison::AtLeast, value: &FIRST_PORT },
    ]
}

/// Drops fragments, the first as well as later ones: in IPv6, whatever has a fragment header.
fn fragments(ip: Family) -> Vec<Expression<'static>> {
    const MORE_OR_OFFSET: &[u8] = &[0x3f, 0xff];
    let register = Register::FIRST;
    let mut rule = match ip {
        Family::V4 => vec![
            Expression::Payload { base: Base::Network, offset: 6, length: 2, to: register },
            Expression::Mask { register, mask: MORE_OR_OFFSET },
            Expression::Compare { register, comparison: Comparison::NotEqual, value: &[0, 0] },
        ],
        Family::V6 => vec![Expression::Extension { header: FRAGMENT_HEADER, offset: 0, length: 1, to: register }],
    };
    rule.push(Expression::Verdict(Verdict::Drop));
    rule
}

/// The conditions of ICMP errors: types 3, 4, 11, 12; in IPv6 all below 128.
fn icmp_errors(ip: Family) -> Vec<Vec<Expression<'static>>> {
    let register = Register::FIRST;
    let compare = |comparison, value| Expression::Compare { register, comparison, value };
    let of_types = |comparisons: &[Expression<'static>]| {
        let mut rule = vec![
            Expression::Meta { key: Meta::TransportProtocol, to: register },
            compare(Comparison::Equal, by_family(ip, ICMP, ICMPV6)),
            Expression::Payload { base: Base::Transport, offset: 0, length: 1, to: register },
        ];
        rule.extend(comparisons);
        rule
    };
    match ip {
        Family::V4 => vec![
            of_types(&[compare(Comparison::AtLeast, &[3]), compare(Comparison::AtMost, &[4])]),
            of_types(&[compare(Comparison::AtLeast, &[11]), compare(Comparison::AtMost, &[12])]),
        ],
        Family::V6 => vec![of_types(&[compare(Comparison::Less, &[128])])],
    }
}

fn from_real_server(ip: Family) -> Vec<Expression<'static>> {
    let mut rule = key(ip, source_offset(ip), 0, SetKind::RealServers);
    rule.push(Expression::Lookup { set: set_name(SetKind::RealServers, ip), key: Register::FIRST });
    rule.push(jump(replies(ip)));
    rule
}

/// An ICMP error, whoever sends it, about a packet to a NATed real server: routers behind the director know a
/// connection's packets by no other address. All that is quoted has its destination at the same place.
fn about_real_server(ip: Family) -> Vec<Vec<Expression<'static>>> {
    const ICMP_LENGTH: u32 = 8;
    let offset = ICMP_LENGTH + destination_offset(ip);
    let length = ip.address_length() as u32;
    let mut rules = icmp_errors(ip);
    for rule in &mut rules {
        rule.extend([
            Expression::Payload { base: Base::Transport, offset, length, to: Register::FIRST },
            Expression::Lookup { set: set_name(SetKind::RealServers, ip), key: Register::FIRST },
            jump(errors(ip)),
        ]);
    }
    rules
}

/// A frame to another Ethernet address than the link's own, be it the director's virtual one: the kernel's
/// stack does not take it, and nothing else needs to be looked at.
fn to_another_host() -> [Expression<'static>; 3] {
    const OTHER_HOST: &[u8] = &[libc::PACKET_OTHERHOST];
    let register = Register::FIRST;
    [
        Expression::Meta { key: Meta::PacketType, to: register },
        Expression::Compare { register, comparison: Comparison::Equal, value: OTHER_HOST },
        Expression::Verdict(Verdict::Return),
    ]
}

/// An untagged frame of this family: on to its chain.
fn of_ether_type(ip: Family) -> [Expression<'static>; 3] {
    const OFFSET: u32 = 12;
    let register = Register::FIRST;
    [
        Expression::Payload { base: Base::Link, offset: OFFSET, length: 2, to: register },
        Expression::Compare {
            register,
            comparison: Comparison::Equal,
            value: by_family(ip, &[0x08, 0x00], &[0x86, 0xdd]),
        },
        jump(ingress(ip)),
    ]
}

fn on_served_link(ip: Family) -> [Expression<'static>; 4] {
    const NETWORK_FAMILY: [&[u8]; 2] = [&[2], &[10]];
    let register = Register::FIRST;
    let [v4, v6] = NETWORK_FAMILY;
    [
        Expression::Meta { key: Meta::NetworkFamily, to: register },
        Expression::Compare { register, comparison: Comparison::Equal, value: by_family(ip, v4, v6) },
        Expression::Meta { key: Meta::InputIndex, to: register },
        Expression::Lookup { set: LINKS, key: register },
    ]
}

fn jump(chain: &str) -> Expression<'_> {
    Expression::Verdict(Verdict::Jump(chain))
}

/// Where a chain is hooked in.
struct Hook<'a> {
    number: u32,
    priority: i32,
    device: Option<&'a str>,
}

fn add_chain(batch: &mut Batch, scheme: Scheme, name: &str, hook: Option<Hook>) {
    batch.add(Command::NewChain, NLM_F_CREATE, scheme.family(), |chain| {
        chain.text(attribute::CHAIN_TABLE, TABLE).text(attribute::CHAIN_NAME, name);
        let Some(hook) = hook else { return };
        chain.text(attribute::CHAIN_TYPE, "filter").number(attribute::CHAIN_POLICY, ACCEPT);
        chain.nest(attribute::CHAIN_HOOK, |inner: &mut Attributes| {
            inner.number(attribute::HOOK_NUMBER, hook.number);
            inner.number(attribute::HOOK_PRIORITY, hook.priority as u32);
            if let Some(device) = hook.device {
                inner.text(attribute::HOOK_DEVICE, device);
            }
        });
    });
}

fn add_rule(batch: &mut Batch, scheme: Scheme, chain: &str, expressions: &[Expression]) {
    batch.add(Command::NewRule, NLM_F_CREATE | NLM_F_APPEND, scheme.family(), |rule| {
        rule.text(attribute::RULE_TABLE, TABLE).text(attribute::RULE_CHAIN, chain);
        rule.nest(attribute::RULE_EXPRESSIONS, |list| expression::write(expressions, list));
    });
}

fn add_set(batch: &mut Batch, scheme: Scheme, name: &str, key_type: u32, key_length: usize, id: u32) {
    batch.add(Command::NewSet, NLM_F_CREATE, scheme.family(), |set| {
        set.text(attribute::SET_TABLE, TABLE).text(attribute::SET_NAME, name);
        set.number(attribute::SET_KEY_TYPE, key_type).number(attribute::SET_KEY_LENGTH, key_length as u32);
        set.number(attribute::SET_ID, id);
    });
}

/// The set of served links, whose keys are in host order: `nft list` must be told.
fn add_link_set(batch: &mut Batch, scheme: Scheme, id: u32) {
    const INTERFACE_INDEX_TYPE: u32 = 20;
    /// Kind 0 (byte order of the keys), four bytes, value 1 (host).
    const HOST_ORDER: [u8; 6] = {
        let [a, b, c, d] = 1u32.to_ne_bytes();
        [0, 4, a, b, c, d]
    };
    batch.add(Command::NewSet, NLM_F_CREATE, scheme.family(), |set| {
        set.text(attribute::SET_TABLE, TABLE).text(attribute::SET_NAME, LINKS);
        set.number(attribute::SET_KEY_TYPE, INTERFACE_INDEX_TYPE).number(attribute::SET_KEY_LENGTH, 4);
        set.number(attribute::SET_ID, id).bytes(attribute::SET_USER_DATA, &HOST_ORDER);
    });
}

/// The type of a set's keys, by which `nft list` shows them: six bits a part.
fn key_type(kind: SetKind, ip: Family) -> u32 {
    const PROTOCOL_TYPE: u32 = 12;
    const PORT_TYPE: u32 = 13;
    let mut number = by_family(ip, 7, 8);
    if kind.has_protocol() {
        number = number << 6 | PROTOCOL_TYPE;
    }
    if kind.has_port() {
        number = number << 6 | PORT_TYPE;
    }
    number
}
