//! What a real server needs for direct routing and tunnels: the virtual addresses, ARP that keeps
//! quiet about them, and where the kernel has no device for it, a decapsulator in user space.
//!
//! ```text
//! link ─┬─ capture ─ relay ─ decapsulate ─┬─ device (TUN, tunl0) ─ the kernel's stack, which has the VIP
//!       └─ shortcut ─────────────────────┘
//! ```
//!
//! [`plan`] says what to change, [`change`] makes and undoes it, [`journal`] remembers it for the
//! case that nobody is left to undo it. [`capture`], [`decapsulate`], [`device`] and [`relay`] are
//! the packets' way; where the kernel allows it, plain packets take the [`shortcut`]. It follows the LVS how-tos on "the ARP problem": arp_ignore=1, arp_announce=2,
//! the VIP on lo, or on tunl0 with rp_filter off. IPv6 needs none of that: a host answers
//! neighbour solicitations for addresses of the link that was asked alone.

use std::io::{self, Write};
use std::net::IpAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::base::{Family, Port};

pub mod capture;
pub mod change;
pub mod decapsulate;
pub mod device;
pub mod ecn;
mod error;
pub mod journal;
pub mod netlink;
pub mod plan;
pub mod relay;
pub mod shortcut;
mod sys;

pub use error::RealServerError;
pub use plan::{Decapsulation, Mode, TunnelType};

use capture::Capture;
use change::{Change, Outcome, read_setting};
use decapsulate::Policy;
use device::Device;
use journal::Journal;
use netlink::{Link, Netlink};
use plan::Devices;
use relay::{Relay, Signals};
use shortcut::Shortcut;

/// Make this host a real server for direct routing or tunnels, until it is ended
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Virtual addresses to accept packets for
    #[arg(long, value_delimiter = ',', required_unless_present = "undo")]
    vip: Vec<IpAddr>,
    /// How packets come
    #[arg(long, value_enum, default_value_t = Mode::Dr)]
    mode: Mode,
    /// Links on which ARP is to be quiet and tunnels arrive; all that have addresses if not given
    #[arg(long)]
    interface: Vec<String>,
    /// Name of the tunnel device
    #[arg(long, default_value = "tunl0")]
    device: String,
    /// Kinds of tunnels to take; gue is among them where --gue-port is given
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [TunnelType::Ipip, TunnelType::Gre])]
    tun_type: Vec<TunnelType>,
    /// UDP port of GUE tunnels (ipvsadm's --tun-port)
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    gue_port: Option<u16>,
    /// Who takes plain tunnels apart where the kernel has no device for them
    #[arg(long, value_enum, default_value_t = Decapsulation::Auto)]
    decapsulate: Decapsulation,
    /// Only undo what an earlier run that was killed left behind
    #[arg(long)]
    undo: bool,
    /// Where to remember what is to be undone
    #[arg(long, default_value = "/run/ulvs")]
    state_directory: PathBuf,
}

/// Runs `ulvs realserver`: until a signal, or to its failure, with everything undone in the end.
pub fn command(arguments: Arguments) -> ExitCode {
    match serve(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ulvs realserver: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &Arguments) -> Result<(), RealServerError> {
    let signals = Signals::catch()?;
    let _only_one = claim_namespace()?;
    let mut netlink = Netlink::open().map_err(RealServerError::io("netlink"))?;
    let mut journal = Journal::open(&arguments.state_directory)?;
    undo(&mut journal, &mut netlink, "left by an earlier run")?;
    if arguments.undo {
        return Ok(());
    }
    let served = set_up(arguments, &mut journal, &mut netlink).and_then(|(mut relay, _hush)| {
        say("ready");
        let counts = relay.run(&signals, &mut netlink, say)?;
        if arguments.mode == Mode::Tun {
            counts.lines().iter().for_each(|line| say(line));
        }
        // The device goes with the relay, when its addresses are gone.
        Ok(relay)
    });
    let undone = undo(&mut journal, &mut netlink, "undone");
    served.map(drop).and(undone)
}

/// Changes what has to be changed; the relay, and the sockets that keep the kernel quiet.
fn set_up(
    arguments: &Arguments,
    journal: &mut Journal,
    netlink: &mut Netlink,
) -> Result<(Relay, Vec<socket2::Socket>), RealServerError> {
    let links = netlink.links().map_err(RealServerError::io("reading the links"))?;
    let interfaces = interfaces(arguments, &links, netlink)?;
    let with_arp: Vec<String> = interfaces.iter().filter(|link| link.has_arp).map(|link| link.name.clone()).collect();
    let mut make = |change: Change| make(journal, netlink, change);
    for change in plan::quiet_arp(&with_arp, read_setting) {
        make(change)?;
    }
    if arguments.mode == Mode::Dr {
        for vip in &arguments.vip {
            make(plan::address(*vip, "lo"))?;
        }
        return Ok((Relay::new(Vec::new(), None, Default::default()), Vec::new()));
    }

    if arguments.tun_type.contains(&TunnelType::Gue) && arguments.gue_port.is_none() {
        return Err(RealServerError::NoGuePort);
    }
    let devices = plan::devices(&arguments.tun_type, &links);
    let policy = plan::policy(&arguments.vip, &devices, arguments.gue_port.map(Port));
    let needs_user_space = !policy.protocols.is_empty() || policy.gue_port.is_some();
    let device = if needs_user_space { Some(Device::create(&own_device_name(arguments, &links)?)?) } else { None };
    let user = device.as_ref().map(Device::name);
    let names: Vec<String> = links.iter().map(|link| link.name.clone()).collect();
    for name in user.into_iter().chain(kernel_devices(&devices)) {
        if links.iter().all(|link| link.name != name || !link.is_up) {
            make(Change::Up { link: name.to_owned() })?;
        }
        for change in plan::open_reverse_path(name, &names, read_setting) {
            make(change)?;
        }
    }
    for vip in &arguments.vip {
        make(plan::address(*vip, plan::home(arguments.mode, Family::of(vip), &devices, user)))?;
    }
    let (mut captures, mut hush, mut shortcut) = (Vec::new(), Vec::new(), None);
    if let Some(name) = user {
        hush = capture::hush(&policy)?;
        for link in &interfaces {
            captures.extend(Capture::open(link, &policy)?);
        }
        shortcut = open_shortcut(arguments.decapsulate, &interfaces, name, &policy, netlink)?;
    }
    for (family, name) in &devices.kernel {
        log::debug!("the kernel's {name} takes tunnels with {family:?} inside");
    }
    Ok((Relay::new(captures, device, policy).with_shortcut(shortcut), hush))
}

/// Has the kernel take plain tunnels from `links` apart for `device`, as far as that is wanted and possible.
fn open_shortcut(
    wanted: Decapsulation,
    links: &[Link],
    device: &str,
    policy: &Policy,
    netlink: &mut Netlink,
) -> Result<Option<Shortcut>, RealServerError> {
    let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
    let from = format!("tunnels from {} end", names.join(", "));
    if wanted == Decapsulation::User {
        say(&format!("{from} in user space"));
        return Ok(None);
    }
    let all = netlink.links().map_err(RealServerError::io("reading the links"))?;
    let device =
        all.iter().find(|link| link.name == device).ok_or_else(|| RealServerError::NoLink(device.to_owned()))?;
    let own = relay::read_addresses(netlink).map_err(RealServerError::io("reading the addresses"))?;
    match Shortcut::open(links, device.index, policy, &own) {
        Ok(shortcut) => {
            say(&format!("{from} in the kernel, and in user space where they are not plain"));
            Ok(Some(shortcut))
        }
        Err(error) if wanted == Decapsulation::Auto => {
            say(&format!("{from} in user space: {error}"));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The links to work on: those that were named, or all that are up and have addresses.
fn interfaces(arguments: &Arguments, links: &[Link], netlink: &mut Netlink) -> Result<Vec<Link>, RealServerError> {
    if !arguments.interface.is_empty() {
        let find = |name: &String| {
            let found = links.iter().find(|link| link.name == *name).cloned();
            found.ok_or_else(|| RealServerError::NoLink(name.clone()))
        };
        return arguments.interface.iter().map(find).collect();
    }
    let addresses = netlink.addresses().map_err(RealServerError::io("reading the addresses"))?;
    let has_address = |link: &Link| addresses.iter().any(|(index, _)| *index == link.index);
    let is_tunnel = |link: &Link| matches!(link.kind.as_deref(), Some("ipip" | "sit" | "ip6tnl" | "gre"));
    let fit = |link: &&Link| link.is_up && !link.is_loopback && !link.is_port && !is_tunnel(link) && has_address(link);
    let found: Vec<Link> = links.iter().filter(fit).cloned().collect();
    if found.is_empty() { Err(RealServerError::NoInterface) } else { Ok(found) }
}

/// What to call our device: as asked, or with a prefix where the kernel's device has the name.
fn own_device_name(arguments: &Arguments, links: &[Link]) -> Result<String, RealServerError> {
    let wanted = &arguments.device;
    match links.iter().find(|link| link.name == *wanted) {
        None => Ok(wanted.clone()),
        Some(link) if link.kind.as_deref() == Some("tun") => Err(RealServerError::DeviceTaken(wanted.clone())),
        Some(_) => {
            let mut name = format!("ulvs-{wanted}");
            // The kernel's limit for names is 15 characters.
            name.truncate(15);
            Ok(name)
        }
    }
}

/// The kernel's tunnel devices that are in use, each once.
fn kernel_devices(devices: &Devices) -> impl Iterator<Item = &str> {
    let names = devices.kernel.iter().map(|(_, name)| name.as_str());
    let before = |index: usize, name: &str| devices.kernel[..index].iter().any(|(_, other)| other == name);
    names.enumerate().filter(move |(index, name)| !before(*index, name)).map(|(_, name)| name)
}

fn make(journal: &mut Journal, netlink: &mut Netlink, change: Change) -> Result<(), RealServerError> {
    let words = change.describe();
    match journal.make(netlink, change)? {
        Outcome::Done => say(&words),
        Outcome::AlreadySo => say(&format!("{words}: is there already, and will stay")),
    }
    Ok(())
}

fn undo(journal: &mut Journal, netlink: &mut Netlink, why: &str) -> Result<(), RealServerError> {
    let undone = journal.undo(netlink)?;
    if undone.done > 0 {
        say(&format!("{} changes {why}", undone.done));
    }
    for change in undone.overtaken {
        say(&format!("{}: changed again since, and left so", change.describe()));
    }
    for failure in undone.failed {
        eprintln!("ulvs realserver: not undone: {failure}");
    }
    Ok(())
}

/// Only one real server in a network namespace: whoever holds this socket, which the kernel closes
/// with its owner.
fn claim_namespace() -> Result<UnixDatagram, RealServerError> {
    let name = SocketAddr::from_abstract_name("ulvs-realserver").map_err(RealServerError::io("a unix socket"))?;
    UnixDatagram::bind_addr(&name).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => RealServerError::AlreadyRuns,
        _ => RealServerError::io("a unix socket")(source),
    })
}

/// A line for people. Where nobody reads it any more, the work goes on all the same.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
