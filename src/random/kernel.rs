//! The kernel of this machine as the world: a network namespace with the lab's two links in it.
//!
//! Meant for the machine of `scripts/kernel-vm`, in virtual time: there a pause takes no time, and
//! the sender of a frame may sleep until everything has come of it. Each world is a network
//! namespace of its own, which the process enters and leaves again with the next one.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use pnet::datalink::{self, Channel, Config, DataLinkReceiver, DataLinkSender};

use super::lab::{self, DIRECTOR};
use super::stage::LINKS;
use super::world::{Entry, Said, World};
use crate::base::Family;

/// The other ends of the director's links.
const PEERS: [&str; 2] = ["c0", "r0"];

/// How long the director may take over a frame; much longer than it does.
const SETTLING: Duration = Duration::from_micros(300);

pub struct Kernel {
    start: Instant,
    links: Vec<Peer>,
    rules: bool,
}

struct Peer {
    send: Box<dyn DataLinkSender>,
    receive: Box<dyn DataLinkReceiver>,
}

impl Kernel {
    /// A new lab.
    ///
    /// # Errors
    /// What is missing: privileges, a module, a program.
    pub fn new(mtu: u32) -> io::Result<Kernel> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        build([1500, mtu])?;
        let links = PEERS.iter().map(|name| open(name)).collect::<io::Result<Vec<Peer>>>()?;
        let mut kernel = Kernel { start: now(), links, rules: false };
        // Whatever the links say of themselves when they come up.
        kernel.pass(1000)?;
        kernel.take()?;
        kernel.start = now();
        Ok(kernel)
    }
}

/// The recorder is the one who looks at the clock, as the worker is in a director.
#[allow(clippy::disallowed_methods)]
fn now() -> Instant {
    Instant::now()
}

fn build(mtu: [u32; 2]) -> io::Result<()> {
    let mut lines = vec!["link set lo up".to_owned()];
    for (link, (peer, name)) in PEERS.iter().zip(LINKS).enumerate() {
        lines.push(format!("link add {peer} type veth peer name {name}"));
        lines.push(format!("link set {name} address {}", DIRECTOR[link]));
    }
    ip(&lines)?;
    for peer in PEERS {
        write("net/ipv6/conf", peer, "disable_ipv6", "1")?;
    }
    for name in LINKS {
        write("net/ipv6/conf", name, "accept_dad", "0")?;
        write("net/ipv6/conf", name, "router_solicitations", "0")?;
    }
    let mut lines = Vec::new();
    for (link, (peer, name)) in PEERS.iter().zip(LINKS).enumerate() {
        lines.push(format!("link set {peer} arp off up mtu 9000"));
        lines.push(format!("link set {name} mtu {} up", mtu[link]));
        lines.push(format!("addr add {}/24 dev {name}", lab::director(Family::V4, link)));
        lines.push(format!("addr add {}/64 dev {name} nodad", lab::director(Family::V6, link)));
    }
    for family in [Family::V4, Family::V6] {
        lines.push(format!("addr add {} dev lo", lab::vip(family, 0)));
        let mut known = |neighbour: lab::Neighbour, name: &str| {
            lines
                .push(format!("neigh replace {} lladdr {} nud permanent dev {name}", neighbour.address, neighbour.mac));
        };
        (1..=lab::CLIENTS).for_each(|number| known(lab::client(family, number), LINKS[0]));
        (1..=lab::SERVERS).for_each(|number| known(lab::server(family, number), LINKS[1]));
        (0..2).for_each(|link| known(lab::router(family, link), LINKS[link]));
        lines.push(format!("route add default via {}", lab::router(family, 0).address));
        let beyond = if family == Family::V4 { "192.168.77.0/24" } else { "fd77::/64" };
        lines.push(format!("route add {beyond} via {}", lab::router(family, 1).address));
    }
    ip(&lines)?;
    for name in LINKS {
        // What a device cannot be asked for stays as it is.
        run(Command::new("ethtool").args(["-K", name, "tx", "off", "tso", "off", "gso", "off", "gro", "off"])).ok();
    }
    write("net/ipv4", "", "ip_forward", "1")?;
    write("net/ipv6/conf", "all", "forwarding", "1")?;
    for name in ["all", LINKS[0], LINKS[1]] {
        write("net/ipv4/conf", name, "rp_filter", "0")?;
        write("net/ipv4/conf", name, "send_redirects", "0")?;
    }
    // No error message is held back: neither by destination nor all together.
    write("net/ipv4", "", "icmp_ratelimit", "0")?;
    write("net/ipv4", "", "icmp_ratemask", "0")?;
    write("net/ipv6", "icmp", "ratelimit", "0")?;
    write("net/ipv6", "icmp", "ratemask", "")
}

fn write(folder: &str, name: &str, key: &str, value: &str) -> io::Result<()> {
    let path = format!("/proc/sys/{folder}/{name}/{key}").replace("//", "/");
    fs::write(&path, format!("{value}\n")).map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))
}

fn ip(lines: &[String]) -> io::Result<()> {
    let mut child = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(format!("{}\n", lines.join("\n")).as_bytes())?;
    }
    match child.wait()?.success() {
        true => Ok(()),
        false => Err(io::Error::other("`ip -batch' failed")),
    }
}

fn run(command: &mut Command) -> io::Result<Said> {
    let output = command.stdin(Stdio::null()).output()?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Said { status: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) })
}

fn open(name: &str) -> io::Result<Peer> {
    let interface = datalink::interfaces()
        .into_iter()
        .find(|interface| interface.name == name)
        .ok_or_else(|| io::Error::new(ErrorKind::NotFound, format!("there is no link {name}")))?;
    let config = Config {
        read_timeout: Some(Duration::ZERO),
        read_buffer_size: 65536 + 32,
        write_buffer_size: 65536 + 32,
        ..Config::default()
    };
    match datalink::channel(&interface, config)? {
        Channel::Ethernet(send, receive) => Ok(Peer { send, receive }),
        _ => Err(io::Error::other("no Ethernet")),
    }
}

/// What the director says of its own accord, about its links: none of balancing.
fn is_chatter(frame: &[u8]) -> bool {
    let kind = u16::from_be_bytes([frame[12], frame[13]]);
    match kind {
        0x0800 => false,
        // To a multicast address; or ICMPv6 about neighbours, routers and groups.
        0x86dd => {
            frame.get(38) == Some(&0xff) || frame.get(20) == Some(&58) && matches!(frame.get(54), Some(133..=136 | 143))
        }
        _ => true,
    }
}

impl World for Kernel {
    fn now(&self) -> u64 {
        now().duration_since(self.start).as_millis() as u64
    }

    fn pass(&mut self, milliseconds: u64) -> io::Result<()> {
        sleep(Duration::from_millis(milliseconds));
        Ok(())
    }

    fn give(&mut self, link: usize, frame: &[u8]) -> io::Result<()> {
        match self.links[link].send.send_to(frame, None) {
            Some(sent) => sent,
            None => Err(io::Error::other("the frame is too long for the socket")),
        }
    }

    fn take(&mut self) -> io::Result<Vec<(usize, Vec<u8>)>> {
        let mut found = Vec::new();
        // On one processor nothing is left to do when the sleeper gets it back.
        sleep(SETTLING);
        for (index, link) in self.links.iter_mut().enumerate() {
            loop {
                match link.receive.next() {
                    // What was given comes back as well: packet sockets see both directions.
                    Ok(frame) if frame.len() >= 14 && frame[6..12] == DIRECTOR[index].0 => {
                        if !is_chatter(frame) {
                            found.push((index, frame.to_vec()));
                        }
                    }
                    Ok(_) => {}
                    Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => break,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(found)
    }

    fn ipvsadm(&mut self, arguments: &str) -> io::Result<Said> {
        run(Command::new("ipvsadm").args(arguments.split_whitespace()))
    }

    fn set(&mut self, name: &str, value: &str) -> io::Result<()> {
        write("net/ipv4/vs", "", name, value)
    }

    fn mark(&mut self, mark: u32, rule: &str) -> io::Result<()> {
        let mut lines = String::new();
        if !self.rules {
            lines.push_str("add table inet m\nadd chain inet m p { type filter hook prerouting priority mangle; }\n");
            self.rules = true;
        }
        lines.push_str(&format!("add rule inet m p {rule} meta mark set {mark}\n"));
        let said = run(Command::new("nft").arg(lines))?;
        if said.status == 0 { Ok(()) } else { Err(io::Error::other(said.stderr)) }
    }

    fn own(&mut self, address: &str) -> io::Result<()> {
        ip(&[format!("addr add {address} dev lo")])
    }

    fn connections(&mut self) -> io::Result<Vec<Entry>> {
        let text = fs::read_to_string("/proc/thread-self/net/ip_vs_conn")?;
        Ok(text.lines().skip(1).filter_map(entry).collect())
    }
}

/// `Pro FromIP FPrt ToIP TPrt DestIP DPrt State Expires PEName PEData`, numbers in hexadecimal.
fn entry(line: &str) -> Option<Entry> {
    let words: Vec<&str> = line.split_whitespace().collect();
    Some(Entry {
        protocol: (*words.first()?).to_owned(),
        is_template: *words.get(2)? == "0000",
        state: (*words.get(7)?).to_owned(),
        left: words.get(8)?.parse().ok()?,
    })
}
