//! What the guard keeps from the kernel, as sets of keys and as mark rules.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::base::{Address, Family, Port, Prefix, Protocol};
use crate::host::nftables::expression::{Base, Comparison, Expression, Meta, Register};
use crate::table::{DestinationKey, MarkRule, ServiceKey};

use super::GuardError;

/// The protocols that services exist for.
const BALANCED: [Protocol; 3] = [Protocol::TCP, Protocol::UDP, Protocol::SCTP];
/// Combinations of protocols, networks, ports and links that mark rules may come to, per family.
pub const MOST_COMBINATIONS: usize = 4096;
/// An interface name with its padding.
const NAME_LENGTH: usize = 16;

/// An address and port of a protocol; port 0 stands for every port. In order, those of one
/// address stand together, and there those of one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    pub address: IpAddr,
    pub protocol: Protocol,
    pub port: Port,
}

impl Endpoint {
    fn all_of(address: IpAddr) -> Endpoint {
        Endpoint { address, protocol: Protocol::IP, port: Port::ANY }
    }
}

/// What the director handles itself, and the kernel must not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuardRules {
    /// Addresses that are the director's and no address of this host: all packets to them.
    pub owned: BTreeSet<IpAddr>,
    /// Virtual services: packets to them.
    pub services: BTreeSet<Endpoint>,
    /// Virtual addresses of FTP services: segments to the ports that data connections have.
    pub data_services: BTreeSet<IpAddr>,
    /// NATed real servers: packets from them on their way through this host.
    pub real_servers: BTreeSet<Endpoint>,
    /// The mark rules in the operator's order; the last that matches counts.
    pub marks: Vec<MarkRule>,
    /// The marks that have a service.
    pub mark_services: BTreeSet<(Family, u32)>,
}

impl GuardRules {
    /// Adds what a service takes.
    pub fn add_service(&mut self, service: &ServiceKey) {
        match *service {
            ServiceKey::Address { protocol, address, port } => {
                self.services.insert(Endpoint { address, protocol, port });
                if protocol == Protocol::TCP && port == Port::FTP {
                    self.add_data_ports(address, Port::FTP_DATA);
                }
            }
            ServiceKey::Mark { family, mark } => {
                self.mark_services.insert((family, mark));
            }
        }
    }

    /// Adds the replies of NATed real servers, which come back through the director: by protocol (0
    /// where it is any), address and port. All at once is faster.
    pub fn add_replies(&mut self, ends: impl Iterator<Item = (Protocol, IpAddr, Port)>) {
        let ends = ends.flat_map(|(protocol, address, port)| replies(protocol, address, port));
        let mut all: Vec<Endpoint> = ends.collect();
        // A set is made of what is in order in one walk, and numbers are compared faster than addresses.
        all.sort_unstable_by_key(|end| (end.address.is_ipv6(), bits(end.address), end.protocol, end.port));
        let mut all = BTreeSet::from_iter(all);
        self.real_servers.append(&mut all);
    }

    /// Adds the data connections of an FTP service through NAT: a server's may come from any port,
    /// and a client's go to any that is not a well-known one.
    pub fn add_data_connections(&mut self, service: &ServiceKey, destination: &DestinationKey) {
        let ServiceKey::Address { protocol, address, port } = *service else { return };
        self.add_data_ports(address, Port(port.0.saturating_sub(1)));
        self.real_servers.insert(Endpoint { address: destination.address, protocol, port: Port::ANY });
    }

    fn add_data_ports(&mut self, address: IpAddr, active: Port) {
        self.data_services.insert(address);
        self.services.insert(Endpoint { address, protocol: Protocol::TCP, port: active });
    }

    /// What the sets must gain and lose for `self` to hold where `before` did. Both are in order,
    /// so this takes one walk over each.
    pub fn difference(&self, before: &GuardRules) -> SetChanges {
        let mut changes = SetChanges::default();
        for &address in self.owned.difference(&before.owned) {
            changes.added.put(SetKind::Owned, &Endpoint::all_of(address));
        }
        for &address in before.owned.difference(&self.owned) {
            changes.removed.put(SetKind::Owned, &Endpoint::all_of(address));
        }
        for &address in self.data_services.difference(&before.data_services) {
            changes.added.put(SetKind::DataServices, &Endpoint::all_of(address));
        }
        for &address in before.data_services.difference(&self.data_services) {
            changes.removed.put(SetKind::DataServices, &Endpoint::all_of(address));
        }
        let exact = |endpoint: &Endpoint, kind: SetKind, wildcard: SetKind| {
            if endpoint.port.is_any() { wildcard } else { kind }
        };
        for endpoint in self.services.difference(&before.services) {
            changes.added.put(exact(endpoint, SetKind::Services, SetKind::ServiceWildcards), endpoint);
        }
        for endpoint in before.services.difference(&self.services) {
            changes.removed.put(exact(endpoint, SetKind::Services, SetKind::ServiceWildcards), endpoint);
        }
        for endpoint in self.real_servers.difference(&before.real_servers) {
            changes.added.put(exact(endpoint, SetKind::Replies, SetKind::ReplyWildcards), endpoint);
            changes.added.put(SetKind::RealServers, endpoint);
        }
        for endpoint in before.real_servers.difference(&self.real_servers) {
            changes.removed.put(exact(endpoint, SetKind::Replies, SetKind::ReplyWildcards), endpoint);
            // The address stays for as long as another end needs it.
            if !self.has_real_server(endpoint.address) {
                changes.removed.put(SetKind::RealServers, endpoint);
            }
        }
        changes
    }

    fn has_real_server(&self, address: IpAddr) -> bool {
        let first = Endpoint { address, protocol: Protocol(0), port: Port(0) };
        let last = Endpoint { address, protocol: Protocol(u8::MAX), port: Port(u16::MAX) };
        self.real_servers.range(first..=last).next().is_some()
    }

    /// The mark rules of a family as alternatives to be tried in turn: the first that matches
    /// says whether a packet is the director's.
    ///
    /// # Errors
    /// Where they are too many.
    pub fn mark_alternatives(&self, family: Family) -> Result<Vec<MarkAlternative>, GuardError> {
        let has_service = |mark: u32| self.mark_services.contains(&(family, mark));
        // The last rule that matches wins, so they are tried from the last on; those before the
        // first that leads to a service change nothing.
        let Some(first) = self.marks.iter().position(|rule| has_service(rule.mark)) else {
            return Ok(Vec::new());
        };
        let mut alternatives = Vec::new();
        for rule in self.marks.iter().skip(first).rev() {
            let handled = has_service(rule.mark);
            for conditions in combinations(rule, family, handled) {
                if alternatives.len() == MOST_COMBINATIONS {
                    return Err(GuardError::TooManyMarks);
                }
                alternatives.push(MarkAlternative { conditions, handled });
            }
        }
        Ok(alternatives)
    }
}

/// What comes from a NATed real server, by protocol; protocol 0 is any that services exist for. With UDP's port 500
/// go AH and ESP, which belong to a connection there; in IPv6, AH is a header before what counts.
fn replies(protocol: Protocol, address: IpAddr, port: Port) -> impl Iterator<Item = Endpoint> {
    let is_of = move |each: Protocol| protocol == Protocol::IP || protocol == each;
    let has_ipsec = is_of(Protocol::UDP) && (port == Port::ISAKMP || port.is_any());
    let ipsec = [Protocol::ESP, Protocol::AH].into_iter();
    let ipsec = ipsec.filter(move |&each| has_ipsec && (each == Protocol::ESP || address.is_ipv4()));
    let ports = BALANCED.into_iter().filter(move |&each| is_of(each)).map(move |protocol| (protocol, port));
    let ends = ports.chain(ipsec.map(|protocol| (protocol, Port::ANY)));
    ends.map(move |(protocol, port)| Endpoint { address, protocol, port })
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Keys to be added to the sets and to be taken out of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SetChanges {
    pub added: Keys,
    pub removed: Keys,
}

/// Keys by the set they belong to, each once.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Keys {
    pub by_set: HashMap<(SetKind, Family), HashSet<Key>>,
}

impl Keys {
    fn put(&mut self, kind: SetKind, endpoint: &Endpoint) {
        let set = self.by_set.entry((kind, Family::of(&endpoint.address))).or_default();
        set.insert(Key::new(kind, endpoint));
    }
}

/// The sets of each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SetKind {
    /// Destination address.
    Owned,
    /// Destination address, protocol, destination port.
    Services,
    /// Destination address, protocol.
    ServiceWildcards,
    /// Destination address, of segments to a port that is not a well-known one.
    DataServices,
    /// Source address; of an ICMP error also the destination of what it quotes.
    RealServers,
    /// Source address, protocol, source port.
    Replies,
    /// Source address, protocol.
    ReplyWildcards,
}

impl SetKind {
    pub const ALL: [SetKind; 7] = [
        SetKind::Owned,
        SetKind::Services,
        SetKind::ServiceWildcards,
        SetKind::DataServices,
        SetKind::RealServers,
        SetKind::Replies,
        SetKind::ReplyWildcards,
    ];

    pub fn has_protocol(self) -> bool {
        !matches!(self, SetKind::Owned | SetKind::DataServices | SetKind::RealServers)
    }

    pub fn has_port(self) -> bool {
        matches!(self, SetKind::Services | SetKind::Replies)
    }

    /// Bytes of a key, each part padded to a register.
    pub fn key_length(self, family: Family) -> usize {
        family.address_length() + 4 * (usize::from(self.has_protocol()) + usize::from(self.has_port()))
    }
}

/// A key of a set; how much of it counts is the set's [`SetKind::key_length`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key([u8; 24]);

impl Key {
    fn new(kind: SetKind, endpoint: &Endpoint) -> Key {
        let Endpoint { address, protocol, port } = *endpoint;
        let mut key = [0; 24];
        let octets = Address::from(address).octets16();
        let length = Family::of(&address).address_length();
        // An address, a protocol and a port fill 24 bytes at most, each from a register's start.
        key[..length].copy_from_slice(&octets[..length]);
        if kind.has_protocol() {
            key[length] = protocol.0;
        }
        if kind.has_port() {
            key[length + 4..length + 6].copy_from_slice(&port.0.to_be_bytes());
        }
        Key(key)
    }

    pub fn bytes(&self, kind: SetKind, family: Family) -> &[u8] {
        &self.0[..kind.key_length(family)]
    }
}

/// One combination of what a mark rule lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkAlternative {
    pub conditions: Vec<Condition>,
    /// Whether the mark leads to a service.
    pub handled: bool,
}

/// A value of the packet, compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    load: Expression<'static>,
    mask: Option<Vec<u8>>,
    comparisons: Vec<(Comparison, Vec<u8>)>,
}

impl Condition {
    /// The expressions that end the rule unless the condition holds.
    pub fn expressions(&self) -> impl Iterator<Item = Expression<'_>> {
        let register = Register::FIRST;
        let mask = self.mask.as_deref().map(|mask| Expression::Mask { register, mask });
        let comparisons = self.comparisons.iter().map(move |(comparison, value)| Expression::Compare {
            register,
            comparison: *comparison,
            value,
        });
        std::iter::once(self.load).chain(mask).chain(comparisons)
    }

    fn equal(load: Expression<'static>, value: Vec<u8>) -> Condition {
        Condition { load, mask: None, comparisons: vec![(Comparison::Equal, value)] }
    }

    fn protocol(protocol: Protocol) -> Condition {
        Condition::equal(Expression::Meta { key: Meta::TransportProtocol, to: Register::FIRST }, vec![protocol.0])
    }

    fn link(name: &str) -> Condition {
        let mut value = name.as_bytes().to_vec();
        value.resize(NAME_LENGTH, 0);
        Condition::equal(Expression::Meta { key: Meta::InputName, to: Register::FIRST }, value)
    }

    fn network(offset: u32, prefix: &Prefix) -> Condition {
        let family = prefix.family();
        let length = family.address_length();
        let bits = |address: Address| address.octets16().get(..length).unwrap_or_default().to_vec();
        let everywhere = Address::v6([0xff; 16]);
        let mask = bits(everywhere.masked(Family::V6, prefix.length));
        Condition {
            load: Expression::Payload { base: Base::Network, offset, length: length as u32, to: Register::FIRST },
            mask: Some(mask),
            comparisons: vec![(Comparison::Equal, bits(Address::from(prefix.address).masked(family, prefix.length)))],
        }
    }

    fn ports(offset: u32, range: &RangeInclusive<u16>) -> Condition {
        Condition {
            load: Expression::Payload { base: Base::Transport, offset, length: 2, to: Register::FIRST },
            mask: None,
            comparisons: vec![
                (Comparison::AtLeast, range.start().to_be_bytes().to_vec()),
                (Comparison::AtMost, range.end().to_be_bytes().to_vec()),
            ],
        }
    }
}

/// Where the addresses stand in an IP header.
pub fn source_offset(family: Family) -> u32 {
    match family {
        Family::V4 => 12,
        Family::V6 => 8,
    }
}

pub fn destination_offset(family: Family) -> u32 {
    match family {
        Family::V4 => 16,
        Family::V6 => 24,
    }
}

/// Every combination of one item from each of a rule's lists; none where a list has nothing of
/// this family.
fn combinations(rule: &MarkRule, family: Family, handled: bool) -> impl Iterator<Item = Vec<Condition>> {
    let matching = &rule.matching;
    let networks = |prefixes: &[Prefix], offset: u32| -> Option<Vec<Condition>> {
        let conditions: Vec<Condition> = prefixes
            .iter()
            .filter(|prefix| prefix.family() == family)
            .map(|prefix| Condition::network(offset, prefix))
            .collect();
        (prefixes.is_empty() || !conditions.is_empty()).then_some(conditions)
    };
    // A service by mark takes what can be balanced, whatever else the mark is on.
    let protocols: Option<Vec<Protocol>> = match (handled, matching.protocols.as_slice()) {
        (false, listed) => Some(listed.to_vec()),
        (true, []) => Some(BALANCED.to_vec()),
        (true, listed) => {
            let balanced: Vec<Protocol> = listed.iter().copied().filter(|each| BALANCED.contains(each)).collect();
            (!balanced.is_empty()).then_some(balanced)
        }
    };
    let lists = (|| {
        Some([
            matching.links.iter().map(|name| Condition::link(name)).collect(),
            protocols?.into_iter().map(Condition::protocol).collect(),
            networks(&matching.sources, source_offset(family))?,
            networks(&matching.destinations, destination_offset(family))?,
            matching.source_ports.iter().map(|range| Condition::ports(0, range)).collect(),
            matching.destination_ports.iter().map(|range| Condition::ports(2, range)).collect(),
        ])
    })();
    let count = lists.as_ref().map_or(0, |lists: &[Vec<Condition>; 6]| {
        lists.iter().map(|list| list.len().max(1)).fold(1, usize::saturating_mul)
    });
    (0..count).map(move |number| {
        let mut rest = number;
        let mut chosen = Vec::new();
        for list in lists.iter().flatten().filter(|list| !list.is_empty()) {
            chosen.extend(list.get(rest % list.len()).cloned());
            rest /= list.len();
        }
        chosen
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::MarkMatch;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn keys_have_each_part_at_a_registers_start() {
        let endpoint = |address: &str, protocol, port| Endpoint { address: ip(address), protocol, port: Port(port) };
        let key = Key::new(SetKind::Services, &endpoint("10.9.9.9", Protocol::TCP, 8080));
        assert_eq!(key.bytes(SetKind::Services, Family::V4), [10, 9, 9, 9, 6, 0, 0, 0, 0x1f, 0x90, 0, 0]);
        let key = Key::new(SetKind::ReplyWildcards, &endpoint("fd01::5", Protocol::UDP, 53));
        let bytes = key.bytes(SetKind::ReplyWildcards, Family::V6);
        assert_eq!((bytes.len(), bytes[15], bytes[16], bytes[19]), (20, 5, 17, 0));
    }

    #[test]
    fn services_and_nated_real_servers_become_elements() {
        let mut rules = GuardRules::default();
        let web = ServiceKey::Address { protocol: Protocol::TCP, address: ip("10.9.9.9"), port: Port(80) };
        let any = ServiceKey::Address { protocol: Protocol::UDP, address: ip("fd01::9"), port: Port(0) };
        let mark = ServiceKey::Mark { family: Family::V4, mark: 7 };
        for service in [&web, &any, &mark] {
            rules.add_service(service);
        }
        let ends = [(Protocol::TCP, ip("172.16.0.1"), Port(8080)), (Protocol::IP, ip("172.16.0.3"), Port(0))];
        rules.add_replies(ends.into_iter());
        rules.owned.insert(ip("10.9.9.9"));
        let nothing = GuardRules::default();
        let changes = rules.difference(&nothing);
        assert_eq!(
            nothing.difference(&rules),
            SetChanges { added: changes.removed, removed: rules.difference(&nothing).added }
        );
        let count = |kind, family| changes.added.by_set.get(&(kind, family)).map_or(0, HashSet::len);
        assert_eq!(count(SetKind::Owned, Family::V4), 1);
        assert_eq!(count(SetKind::Services, Family::V4), 1);
        assert_eq!(count(SetKind::ServiceWildcards, Family::V6), 1);
        assert_eq!(count(SetKind::RealServers, Family::V4), 2);
        assert_eq!(count(SetKind::Replies, Family::V4), 1);
        assert_eq!(count(SetKind::ReplyWildcards, Family::V4), 5, "TCP, UDP, SCTP, AH and ESP");
        assert_eq!(rules.mark_services, [(Family::V4, 7)].into());
    }

    #[test]
    fn data_connections_of_ftp_are_kept_as_well() {
        let ftp = ServiceKey::Address { protocol: Protocol::TCP, address: ip("10.9.9.9"), port: Port::FTP };
        let server = DestinationKey { address: ip("172.16.0.1"), port: Port::FTP };
        let mut direct = GuardRules::default();
        direct.add_service(&ftp);
        let mut nat = direct.clone();
        nat.add_replies([(Protocol::TCP, server.address, server.port)].into_iter());
        nat.add_data_connections(&ftp, &server);
        let count = |rules: &GuardRules, kind| {
            let changes = rules.difference(&GuardRules::default());
            changes.added.by_set.get(&(kind, Family::V4)).map_or(0, HashSet::len)
        };
        for rules in [&direct, &nat] {
            assert_eq!(count(rules, SetKind::Services), 2, "21 and 20");
            assert_eq!(count(rules, SetKind::DataServices), 1);
        }
        assert_eq!(count(&direct, SetKind::ReplyWildcards), 0);
        assert_eq!((count(&nat, SetKind::Replies), count(&nat, SetKind::ReplyWildcards)), (1, 1));
        let back = direct.difference(&nat).removed;
        assert_eq!(back.by_set.get(&(SetKind::ReplyWildcards, Family::V4)).map(HashSet::len), Some(1));
        assert_eq!(back.by_set.get(&(SetKind::DataServices, Family::V4)), None);
    }

    #[test]
    fn what_several_ports_share_goes_with_the_last() {
        let server = |protocol, port| Endpoint { address: ip("172.16.0.1"), protocol, port: Port(port) };
        let with =
            |list: &[Endpoint]| GuardRules { real_servers: list.iter().copied().collect(), ..GuardRules::default() };
        let [web, other, dns] = [server(Protocol::TCP, 80), server(Protocol::TCP, 81), server(Protocol::UDP, 53)];
        let removed = |before: &[Endpoint], after: &[Endpoint]| {
            let changes = with(after).difference(&with(before));
            assert_eq!(changes.added, Keys::default());
            let mut kinds: Vec<_> = changes.removed.by_set.keys().map(|(kind, _)| format!("{kind:?}")).collect();
            kinds.sort();
            kinds.join(" ")
        };
        assert_eq!(removed(&[web, other, dns], &[web, dns]), "Replies");
        assert_eq!(removed(&[web, dns], &[dns]), "Replies");
        assert_eq!(removed(&[web, other], &[]), "RealServers Replies");
        assert_eq!(removed(&[web], &[web]), "");
    }

    fn rule(mark: u32, matching: MarkMatch) -> MarkRule {
        MarkRule { mark, matching }
    }

    #[test]
    fn mark_rules_are_tried_from_the_last_in_every_combination() {
        let ports = MarkMatch {
            protocols: vec![Protocol::TCP, Protocol::ICMP],
            destinations: vec!["10.9.9.0/24".parse().unwrap(), "fd01::9".parse().unwrap()],
            destination_ports: vec![80..=80, 443..=443, 8000..=8999],
            ..MarkMatch::default()
        };
        let rules = GuardRules {
            marks: vec![
                rule(1, MarkMatch::default()),
                rule(7, ports),
                rule(2, MarkMatch { links: vec!["eth1".into()], ..MarkMatch::default() }),
            ],
            mark_services: [(Family::V4, 7)].into(),
            ..GuardRules::default()
        };
        let alternatives = rules.mark_alternatives(Family::V4).unwrap();
        let handled: Vec<bool> = alternatives.iter().map(|each| each.handled).collect();
        assert_eq!(handled, [false, true, true, true]);
        assert_eq!(alternatives[0].conditions, [Condition::link("eth1")]);
        assert_eq!(
            alternatives[3].conditions,
            [
                Condition::protocol(Protocol::TCP),
                Condition::network(16, &"10.9.9.0/24".parse().unwrap()),
                Condition::ports(2, &(8000..=8999)),
            ]
        );
        assert_eq!(rules.mark_alternatives(Family::V6).unwrap(), []);
    }

    #[test]
    fn rules_of_the_other_family_or_of_no_balanced_protocol_do_not_match() {
        let only = |matching: MarkMatch| GuardRules {
            marks: vec![rule(7, matching)],
            mark_services: [(Family::V4, 7)].into(),
            ..GuardRules::default()
        };
        let count = |matching: MarkMatch| only(matching).mark_alternatives(Family::V4).unwrap().len();
        assert_eq!(count(MarkMatch::default()), 3);
        assert_eq!(count(MarkMatch { sources: vec!["fd01::/64".parse().unwrap()], ..MarkMatch::default() }), 0);
        assert_eq!(count(MarkMatch { protocols: vec![Protocol::ICMP], ..MarkMatch::default() }), 0);
        let many: Vec<_> = (0..100).map(|port| port..=port).collect();
        let matching = MarkMatch { source_ports: many.clone(), destination_ports: many, ..MarkMatch::default() };
        assert!(matches!(only(matching).mark_alternatives(Family::V4), Err(GuardError::TooManyMarks)));
    }
}
