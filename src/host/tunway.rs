//! The way through a TUN device: routes and rules that lead packets into it (`--tun`).
//!
//! Where layer 2 is out of reach, or the operator prefers it, the kernel itself hands packets to
//! the director, and routes what comes back (CAP_NET_ADMIN; forwarding switched on).
//!
//! ```text
//! client ──► kernel ── route of the VIP ─────────────► TUN ─► director ─► TUN ─► kernel ─► real server
//! client ◄── kernel ◄─ TUN ◄─ director ◄─ TUN ◄─────── rule: from real server ─── kernel ◄─┘
//!
//! ip rule   11800  iif TUN  goto 11899        what the director sent is routed as anything else
//!           11801  from SERVER ipproto tcp sport 80  lookup 11800
//!           11801  from SERVER ipproto icmp          lookup 11800
//!           11899  nop
//! table 11800  default dev TUN
//! table main   VIP dev TUN
//! address      192.0.0.8/32 on the device
//! ```
//!
//! The rule: all of it carries [`PROTOCOL`] and stands in one range of priorities and one table of
//! its own; by these marks it is undone at the end, what others took away is laid again when the
//! network changes, and what a killed director left is cleared away at the next start. (A device that
//! is not persistent takes its routes along; rules stay, and lead nowhere.)
//!
//! [`Side::Host`] lays the same for real servers that are this host itself, whose requests a director
//! on Ethernet links writes to a device of its own. Their answers are routed by the same rules; of
//! their ICMP only errors are, as answers to echo requests are the host's own affair:
//!
//! ```text
//! client ──► director ─► TUN ─► kernel's stack: local server
//! client ◄── director ◄─ TUN ◄─ rule: from the local server's address and port ◄─┘
//!
//! ip rule   11801  from SERVER ipproto icmp dport 768-1279   lookup 11800    types 3 and 4
//! ```
//!
//! (A rule's `dport` is compared with type and code where the kernel sends ICMP of its own.)
//!
//! Limits, by the kernel's ways:
//! * A VIP must not be an address of this host: the local table is asked before any route.
//! * A route to a VIP that is there already, of the same length and metric, stays: nothing leads that VIP here then.
//! * Packets that this host generates for a VIP take the route, too: IPv4 ones from the dummy address, which nobody
//!   can answer, IPv6 ones from an address of the host. What a masqueraded real server answers there is delivered
//!   at once, untranslated: no rule comes before the local table's.
//! * A later fragment has no ports, so a rule with a port does not lead it here: fragmented
//!   replies of NATed real servers need a service of port 0, whose rule has none.
//! * Kernels before 4.17 know no protocols and ports in rules. They leave them out, and all that
//!   a real server sends through this host comes here; the director sends on what is not its own.
//! * The reverse path filter asks the rules, too, about the answer to what comes: where it is strict
//!   (rp_filter 1), what others send directly to a local server's address and port is dropped.
//! * Rules are asked one by one: hundreds of real servers are well, tens of thousands are not.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage, RulePortRange};
use netlink_packet_route::{AddressFamily, IpProtocol, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;

use crate::base::{Family, Port, Prefix, Protocol};

use super::guard::Endpoint;
use super::netlink::{Connection, NetlinkError};

/// The protocol number (rtnetlink(7)) of every route and rule that is made here.
pub const PROTOCOL: u8 = 118;
/// The table that leads everything into the device.
pub const TABLE: u32 = 11800;
const FIRST_PRIORITY: u32 = 11800;
const STEERING_PRIORITY: u32 = 11801;
const LAST_PRIORITY: u32 = 11899;

/// The IPv4 dummy address (RFC 7600 section 4.8): for interfaces that need one and have none.
const DUMMY_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 0, 8));
const MAIN_TABLE: u32 = 254;
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
const NLM_F_REPLACE: u16 = 0x100;
/// Refused where there is one already.
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;

/// Why the way through the device cannot be laid.
#[derive(Debug, thiserror::Error)]
pub enum TunWayError {
    /// the device does not exist
    #[error("there is no interface {0}: it has to be made before packets can be led into it")]
    NoDevice(String),
    /// CAP_NET_ADMIN is missing
    #[error("leading packets into a TUN device needs CAP_NET_ADMIN in this network namespace")]
    NotPermitted,
    /// the kernel refused
    #[error("cannot {doing}: {source}")]
    Kernel { doing: String, source: NetlinkError },
}

/// Packets that the kernel dropped on their way into `device`, as its queues were full, for as long as it is there:
/// proc_pid_net(5), `dev`. It lists every device, and takes a microsecond for each.
///
/// # Errors
/// Where the kernel does not list the device in this thread's network namespace.
pub fn dropped(device: &str) -> io::Result<u64> {
    let table = fs::read_to_string("/proc/thread-self/net/dev")?;
    dropped_in(&table, device).ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn dropped_in(table: &str, device: &str) -> Option<u64> {
    // Eight numbers of what was received, then bytes, packets, errors and drops of what was sent.
    const SENT_DROPS: usize = 8 + 3;
    let mut rows = table.lines().filter_map(|line| line.trim_start().split_once(':'));
    let (_, numbers) = rows.find(|&(name, _)| name == device)?;
    numbers.split_whitespace().nth(SENT_DROPS)?.parse().ok()
}

/// Whose packets are led into the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Those that the kernel would forward (`--tun`).
    Transit,
    /// Those of this host's own stack.
    Host,
}

/// The way as it is laid; it goes when this value goes.
pub struct TunWay {
    connection: Connection,
    side: Side,
    /// The device's interface index.
    index: u32,
    device: String,
    /// The network changed since the way was compared with what the kernel has of it.
    doubted: bool,
    /// What was last written to the device's `rp_filter`.
    filter: Option<&'static str>,
    vips: HashSet<Prefix>,
    /// VIPs whose packets a route of the operator's leads elsewhere.
    occupied: HashSet<Prefix>,
    steering: BTreeSet<Steering>,
}

/// What is led into the device by a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Steering {
    source: IpAddr,
    protocol: Protocol,
    /// Every port if 0.
    port: Port,
    /// The first and the last ICMP type; every one if nothing.
    types: Option<(u8, u8)>,
}

impl TunWay {
    /// Clears away what a killed director left, brings the device up, and makes the table that
    /// leads into it. Nothing is led there so far.
    ///
    /// # Errors
    /// Where there is no such device, or the kernel does not permit it.
    pub fn open(device: &str, side: Side) -> Result<TunWay, TunWayError> {
        let mut connection = connect()?;
        clear(&mut connection)?;
        let index = connection
            .list(RouteNetlinkMessage::GetLink(Default::default()), |message| match message {
                RouteNetlinkMessage::NewLink(link) => Some(link),
                _ => None,
            })
            .map_err(|error| kernel("list interfaces", error))?
            .into_iter()
            .find(|link| super::network::name_of(link) == Some(device))
            .map(|link| link.header.index)
            .ok_or_else(|| TunWayError::NoDevice(device.to_owned()))?;
        let mut way = TunWay {
            connection,
            side,
            index,
            device: device.to_owned(),
            doubted: false,
            filter: None,
            vips: HashSet::new(),
            occupied: HashSet::new(),
            steering: BTreeSet::new(),
        };
        way.bring_up(device)?;
        way.pass_reverse_path_filter()?;
        way.lay_frame(&[])?;
        Ok(way)
    }

    /// The device's interface index: another device of its name has another one.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The network changed, and with it perhaps what was laid: routes go when a device is down for a
    /// moment, rules with `ip rule flush` or a network manager that knows only its own. The next
    /// [`update`](TunWay::update) looks, and lays anew what is missing.
    pub fn doubt(&mut self) {
        self.doubted = true;
    }

    /// Leads packets to `vips` and replies of `real_servers` into the device from now on, and
    /// nothing else. It is to be called, too, after the general reverse path filter was changed.
    /// A VIP that has a route already keeps it, and is [`occupied`](TunWay::occupied) then.
    ///
    /// # Errors
    /// Where the kernel refuses; what was done until then stays and is known.
    pub fn update(&mut self, vips: &HashSet<Prefix>, real_servers: &BTreeSet<Endpoint>) -> Result<(), TunWayError> {
        self.loosen_filter()?;
        if self.doubted {
            self.look_again()?;
            self.doubted = false;
        }
        let steering = steering(real_servers, self.side);
        let new_steering: Vec<Steering> = steering.difference(&self.steering).copied().collect();
        let old_steering: Vec<Steering> = self.steering.difference(&steering).copied().collect();
        self.occupied.retain(|vip| vips.contains(vip));
        let new_vips: Vec<Prefix> =
            vips.difference(&self.vips).filter(|vip| !self.occupied.contains(vip)).copied().collect();
        let old_vips: Vec<Prefix> = self.vips.difference(vips).copied().collect();
        for steered in new_steering {
            let rule = RouteNetlinkMessage::NewRule(steering_rule(&steered));
            self.ensure(rule, || format!("steer replies of {} into the device", steered.source))?;
            self.steering.insert(steered);
        }
        for vip in new_vips {
            let route = RouteNetlinkMessage::NewRoute(self.route(MAIN_TABLE, vip));
            match self.connection.change(route, NLM_F_CREATE | NLM_F_EXCL) {
                Ok(()) => drop(self.vips.insert(vip)),
                Err(error) if is_there(&error) => {
                    if !self.leads_here(vip)? {
                        self.occupied.insert(vip);
                    }
                }
                Err(error) => return Err(kernel(format!("route {vip} into the device"), error)),
            }
        }
        for vip in old_vips {
            let route = RouteNetlinkMessage::DelRoute(self.route(MAIN_TABLE, vip));
            self.undo(route, || format!("take the route of {vip} away"))?;
            self.vips.remove(&vip);
        }
        for steered in old_steering {
            let rule = RouteNetlinkMessage::DelRule(steering_rule(&steered));
            self.undo(rule, || format!("take the rule of {} away", steered.source))?;
            self.steering.remove(&steered);
        }
        Ok(())
    }

    /// Forgets what the kernel does not have any more, and lays what everything else stands on.
    ///
    /// Nothing that is there is laid again: the kernel would tell of it as of any change, and there would be no end.
    fn look_again(&mut self) -> Result<(), TunWayError> {
        let (mut routes, mut rules) = (Vec::new(), Vec::new());
        for family in FAMILIES {
            routes.extend(own_routes(&mut self.connection, family)?);
            rules.extend(own_rules(&mut self.connection, family)?);
        }
        let address = RouteNetlinkMessage::NewAddress(self.dummy_address());
        self.ensure(address, || "give the device its address back".to_owned())?;
        routes.retain(|route| route.attributes.contains(&RouteAttribute::Oif(self.index)));
        self.lay_frame(&routes)?;
        let main: HashSet<Prefix> =
            routes.iter().filter(|route| table_of(route) == MAIN_TABLE).filter_map(destination_of).collect();
        self.vips.retain(|vip| main.contains(vip));
        self.occupied.clear();
        let steering: BTreeSet<Steering> = rules.iter().filter_map(steered_by).collect();
        self.steering.retain(|steered| steering.contains(steered));
        Ok(())
    }

    /// The VIPs that are not led into the device, as somebody else's route of the same length and
    /// metric was there first; in no order.
    pub fn occupied(&self) -> impl Iterator<Item = &Prefix> {
        self.occupied.iter()
    }

    /// Whether somebody else's route leads `vip` into the device.
    fn leads_here(&mut self, vip: Prefix) -> Result<bool, TunWayError> {
        let ours = [
            RouteAttribute::Oif(self.index),
            RouteAttribute::Table(MAIN_TABLE),
            RouteAttribute::Destination(RouteAddress::from(vip.address)),
        ];
        let length = vip.length;
        let leading =
            self.connection.list(route_request(vip.family(), RouteProtocol::Unspec), |message| match message {
                RouteNetlinkMessage::NewRoute(route) => (route.header.destination_prefix_length == length
                    && ours.iter().all(|attribute| route.attributes.contains(attribute)))
                .then_some(()),
                _ => None,
            });
        leading.map(|leading| !leading.is_empty()).map_err(|error| kernel("list routes", error))
    }

    /// Takes away every route, rule and address. Dropping it does the same, silently.
    ///
    /// A device that stays, as it is persistent, stays up, with `accept_local` on and its `rp_filter`
    /// as it was left: nothing leads into it any more.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn close(mut self) -> Result<(), TunWayError> {
        self.undo_all()
    }

    fn undo_all(&mut self) -> Result<(), TunWayError> {
        clear(&mut self.connection)?;
        let address = RouteNetlinkMessage::DelAddress(self.dummy_address());
        match self.connection.change(address, 0) {
            Err(error) if is_gone(&error) || error.errno() == Some(libc::EADDRNOTAVAIL) => Ok(()),
            outcome => outcome.map_err(|error| kernel("take the device's address away", error)),
        }
    }

    fn bring_up(&mut self, device: &str) -> Result<(), TunWayError> {
        let mut link = LinkMessage::default();
        link.header.index = self.index;
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        self.change(RouteNetlinkMessage::SetLink(link), 0, || format!("bring {device} up"))
    }

    /// Lets in what the director forwards: its sources do not route back into the device, and the
    /// kernel's filter would drop it.
    ///
    /// The director also tells of errors in this host's own name, and what it sends is not asked for
    /// its source by anybody else: with `accept_local` the kernel saves itself that look-up, if
    /// nothing is filtered at all.
    fn pass_reverse_path_filter(&mut self) -> Result<(), TunWayError> {
        let address = RouteNetlinkMessage::NewAddress(self.dummy_address());
        let device = self.device.clone();
        self.change(address, NLM_F_CREATE | NLM_F_REPLACE, || format!("give {device} an address"))?;
        self.set("accept_local", "1")?;
        self.loosen_filter()
    }

    /// Switches the filter off for packets in transit where the general setting is off, too, as the larger of the two
    /// counts. Else "loose" has to do, which overrides the strict one and wants an address on the device:
    /// [`DUMMY_ADDRESS`].
    fn loosen_filter(&mut self) -> Result<(), TunWayError> {
        let general = || fs::read_to_string("/proc/sys/net/ipv4/conf/all/rp_filter");
        let off = self.side == Side::Transit && general().is_ok_and(|value| value.trim() == "0");
        let wanted = if off { "0" } else { "2" };
        if self.filter != Some(wanted) {
            self.set("rp_filter", wanted)?;
            self.filter = Some(wanted);
        }
        Ok(())
    }

    fn set(&self, name: &str, value: &str) -> Result<(), TunWayError> {
        let setting = format!("/proc/sys/net/ipv4/conf/{}/{name}", self.device);
        fs::write(&setting, value).map_err(|error| kernel(format!("write {setting}"), error.into()))
    }

    fn dummy_address(&self) -> AddressMessage {
        let mut address = AddressMessage::default();
        address.header.family = AddressFamily::Inet;
        address.header.prefix_len = 32;
        address.header.scope = AddressScope::Link;
        address.header.index = self.index;
        address.attributes.push(AddressAttribute::Local(DUMMY_ADDRESS));
        address.attributes.push(AddressAttribute::Address(DUMMY_ADDRESS));
        address
    }

    /// Makes the table and the rules around the steering ones, as far as they are not there: `routes`
    /// are those that lead into the device.
    fn lay_frame(&mut self, routes: &[RouteMessage]) -> Result<(), TunWayError> {
        for family in FAMILIES {
            let ours = address_family(family);
            let is_led = routes.iter().any(|route| route.header.address_family == ours && table_of(route) == TABLE);
            match self.lay_out(family, is_led) {
                // This kernel has no IPv6, so there is nothing to lead.
                Err(error) if family == Family::V6 && is_without_ipv6(&error) => {}
                outcome => outcome?,
            }
        }
        Ok(())
    }

    /// Does so for one family, whose table leads into the device already or does not.
    fn lay_out(&mut self, family: Family, is_led: bool) -> Result<(), TunWayError> {
        let doing = || "lay out the rules of the TUN device".to_owned();
        if !is_led {
            let everything = Prefix::new(family.unspecified(), 0);
            let route = RouteNetlinkMessage::NewRoute(self.route(TABLE, everything));
            self.change(route, NLM_F_CREATE | NLM_F_REPLACE, doing)?;
        }
        let mut end = rule(family, LAST_PRIORITY);
        end.header.action = RuleAction::Nop;
        self.ensure(RouteNetlinkMessage::NewRule(end), doing)?;
        let mut back = rule(family, FIRST_PRIORITY);
        back.header.action = RuleAction::Goto;
        back.attributes.push(RuleAttribute::Iifname(self.device.clone()));
        back.attributes.push(RuleAttribute::Goto(LAST_PRIORITY));
        self.ensure(RouteNetlinkMessage::NewRule(back), doing)
    }

    /// A route of ours into the device.
    fn route(&self, table: u32, destination: Prefix) -> RouteMessage {
        let mut route = RouteMessage::default();
        route.header.address_family = address_family(destination.family());
        route.header.destination_prefix_length = destination.length;
        route.header.table = u8::try_from(table).unwrap_or_default();
        route.header.protocol = RouteProtocol::Other(PROTOCOL);
        route.header.kind = RouteType::Unicast;
        route.header.scope = match destination.family() {
            Family::V4 => RouteScope::Link,
            Family::V6 => RouteScope::Universe,
        };
        route.attributes.push(RouteAttribute::Table(table));
        route.attributes.push(RouteAttribute::Oif(self.index));
        if destination.length > 0 {
            route.attributes.push(RouteAttribute::Destination(RouteAddress::from(destination.address)));
        }
        route
    }

    fn change(
        &mut self,
        request: RouteNetlinkMessage,
        flags: u16,
        doing: impl Fn() -> String,
    ) -> Result<(), TunWayError> {
        self.connection.change(request, flags).map_err(|error| kernel(doing(), error))
    }

    /// Has the kernel have something, which may be there already.
    fn ensure(&mut self, request: RouteNetlinkMessage, doing: impl Fn() -> String) -> Result<(), TunWayError> {
        match self.connection.change(request, NLM_F_CREATE | NLM_F_EXCL) {
            Err(error) if is_there(&error) => Ok(()),
            outcome => outcome.map_err(|error| kernel(doing(), error)),
        }
    }

    /// A change that may have been made by someone else already.
    fn undo(&mut self, request: RouteNetlinkMessage, doing: impl Fn() -> String) -> Result<(), TunWayError> {
        match self.connection.change(request, 0) {
            Err(error) if is_gone(&error) => Ok(()),
            outcome => outcome.map_err(|error| kernel(doing(), error)),
        }
    }
}

impl Drop for TunWay {
    fn drop(&mut self) {
        // The next start clears away what this leaves.
        let _ = self.undo_all();
    }
}

/// Clears away the rules that a killed director left.
///
/// # Errors
/// Where the kernel does not permit it.
pub fn clear_leftovers() -> Result<(), TunWayError> {
    clear(&mut connect()?)
}

fn connect() -> Result<Connection, TunWayError> {
    let connection = Connection::open(NETLINK_ROUTE).map_err(|error| kernel("open netlink", error.into()))?;
    connection.filter_listings();
    Ok(connection)
}

/// Removes every rule and route that carries the marks of this way.
fn clear(connection: &mut Connection) -> Result<(), TunWayError> {
    for family in FAMILIES {
        for mut rule in own_rules(connection, family)? {
            // Marks of its state are no part of what identifies it.
            rule.header.flags = Default::default();
            match connection.change(RouteNetlinkMessage::DelRule(rule), 0) {
                Err(error) if !is_gone(&error) => return Err(kernel("remove a rule", error)),
                _ => {}
            }
        }
        for mut route in own_routes(connection, family)? {
            route.header.flags = Default::default();
            route.attributes.retain(|attribute| {
                matches!(
                    attribute,
                    RouteAttribute::Destination(_)
                        | RouteAttribute::Table(_)
                        | RouteAttribute::Oif(_)
                        | RouteAttribute::Priority(_)
                )
            });
            match connection.change(RouteNetlinkMessage::DelRoute(route), 0) {
                Err(error) if !is_gone(&error) => return Err(kernel("remove a route", error)),
                _ => {}
            }
        }
    }
    Ok(())
}

/// The rules that carry the marks of this way.
fn own_rules(connection: &mut Connection, family: Family) -> Result<Vec<RuleMessage>, TunWayError> {
    let mut request = RuleMessage::default();
    request.header.family = address_family(family);
    connection
        .list(RouteNetlinkMessage::GetRule(request), |message| match message {
            RouteNetlinkMessage::NewRule(rule) if is_own_rule(&rule) => Some(rule),
            _ => None,
        })
        .or_else(|error| if is_unsupported(&error) { Ok(Vec::new()) } else { Err(error) })
        .map_err(|error| kernel("list rules", error))
}

/// The routes that carry the mark of this way.
fn own_routes(connection: &mut Connection, family: Family) -> Result<Vec<RouteMessage>, TunWayError> {
    let ours = RouteProtocol::Other(PROTOCOL);
    connection
        .list(route_request(family, ours), |message| match message {
            RouteNetlinkMessage::NewRoute(route) if route.header.protocol == ours => Some(route),
            _ => None,
        })
        .or_else(|error| if is_unsupported(&error) { Ok(Vec::new()) } else { Err(error) })
        .map_err(|error| kernel("list routes", error))
}

fn is_own_rule(rule: &RuleMessage) -> bool {
    let ours = RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL));
    rule.attributes.contains(&ours)
        && rule.attributes.iter().any(|attribute| {
            matches!(attribute, RuleAttribute::Priority(priority) if (FIRST_PRIORITY..=LAST_PRIORITY).contains(priority))
        })
}

/// What real servers send that is for the director: from their service's port, and ICMP about it.
fn steering(real_servers: &BTreeSet<Endpoint>, side: Side) -> BTreeSet<Steering> {
    let mut steering = BTreeSet::new();
    for &Endpoint { address, protocol, port } in real_servers {
        let (icmp, errors): (_, &[(u8, u8)]) = match Family::of(&address) {
            Family::V4 => (Protocol::ICMP, &[(3, 4), (11, 12)]),
            Family::V6 => (Protocol::ICMPV6, &[(1, 4)]),
        };
        steering.insert(Steering { source: address, protocol, port, types: None });
        let every = Steering { source: address, protocol: icmp, port: Port::ANY, types: None };
        match side {
            Side::Transit => drop(steering.insert(every)),
            Side::Host => steering.extend(errors.iter().map(|&types| Steering { types: Some(types), ..every })),
        }
    }
    steering
}

fn steering_rule(steered: &Steering) -> RuleMessage {
    let mut rule = rule(Family::of(&steered.source), STEERING_PRIORITY);
    rule.header.src_len = Prefix::host(steered.source).length;
    rule.header.action = RuleAction::ToTable;
    rule.attributes.push(RuleAttribute::Table(TABLE));
    rule.attributes.push(RuleAttribute::Source(steered.source));
    rule.attributes.push(RuleAttribute::IpProtocol(IpProtocol::from(steered.protocol.0)));
    if !steered.port.is_any() {
        let range = RulePortRange { start: steered.port.0, end: steered.port.0 };
        rule.attributes.push(RuleAttribute::SourcePortRange(range));
    }
    if let Some((first, last)) = steered.types {
        let range = RulePortRange { start: u16::from_be_bytes([first, 0]), end: u16::from_be_bytes([last, u8::MAX]) };
        rule.attributes.push(RuleAttribute::DestinationPortRange(range));
    }
    rule
}

/// What a rule of this way leads into the device; nothing where it is none of those that do.
fn steered_by(rule: &RuleMessage) -> Option<Steering> {
    let (mut source, mut protocol, mut port, mut types) = (None, None, Port::ANY, None);
    for attribute in &rule.attributes {
        match attribute {
            RuleAttribute::Priority(priority) if *priority != STEERING_PRIORITY => return None,
            RuleAttribute::Table(table) if *table != TABLE => return None,
            RuleAttribute::Source(address) => source = Some(*address),
            RuleAttribute::IpProtocol(number) => protocol = Some(Protocol(u8::from(*number))),
            RuleAttribute::SourcePortRange(range) => port = Port(range.start),
            RuleAttribute::DestinationPortRange(range) => {
                types = Some((range.start.to_be_bytes()[0], range.end.to_be_bytes()[0]));
            }
            _ => {}
        }
    }
    Some(Steering { source: source?, protocol: protocol?, port, types })
}

/// The table of a route of ours.
fn table_of(route: &RouteMessage) -> u32 {
    let number = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(number) => Some(*number),
        _ => None,
    });
    number.unwrap_or(u32::from(route.header.table))
}

/// Where a route leads; nothing for one that leads everywhere.
fn destination_of(route: &RouteMessage) -> Option<Prefix> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => {
            Some(Prefix::new((*address).into(), route.header.destination_prefix_length))
        }
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => {
            Some(Prefix::new((*address).into(), route.header.destination_prefix_length))
        }
        _ => None,
    })
}

/// A rule with the marks of this way.
fn rule(family: Family, priority: u32) -> RuleMessage {
    let mut rule = RuleMessage::default();
    rule.header.family = address_family(family);
    rule.attributes.push(RuleAttribute::Priority(priority));
    rule.attributes.push(RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)));
    rule
}

/// Asks for the routes of one family that `protocol` made, where the kernel looks at that.
fn route_request(family: Family, protocol: RouteProtocol) -> RouteNetlinkMessage {
    let mut request = RouteMessage::default();
    request.header.address_family = address_family(family);
    request.header.protocol = protocol;
    RouteNetlinkMessage::GetRoute(request)
}

fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

fn kernel(doing: impl Into<String>, source: NetlinkError) -> TunWayError {
    if source.errno() == Some(libc::EPERM) {
        return TunWayError::NotPermitted;
    }
    TunWayError::Kernel { doing: doing.into(), source }
}

/// Nothing was there to be removed: the device went, and its routes with it.
fn is_gone(error: &NetlinkError) -> bool {
    matches!(error.errno(), Some(libc::ENOENT | libc::ESRCH | libc::ENODEV))
}

fn is_there(error: &NetlinkError) -> bool {
    error.errno() == Some(libc::EEXIST)
}

fn is_unsupported(error: &NetlinkError) -> bool {
    matches!(error.errno(), Some(libc::EOPNOTSUPP | libc::EAFNOSUPPORT))
}

/// Switched off for the device, or not in the kernel at all.
fn is_without_ipv6(error: &TunWayError) -> bool {
    match error {
        TunWayError::Kernel { source, .. } => {
            is_unsupported(source) || matches!(source.errno(), Some(libc::EACCES | libc::ENODEV | libc::EINVAL))
        }
        TunWayError::NoDevice(_) | TunWayError::NotPermitted => false,
    }
}
