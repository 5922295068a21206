//! Two directors, one after the other: connections and persistent clients go on at the second.
//!
//! ```text
//!              ┌── eth0 a eth1 ──┐
//! client ── br0                 br1 ── s1, s2 (their gateway moves with the virtual address)
//!              └── eth0 b eth1 ──┘
//! ```
//!
//! The first director tells the second of its connections over br1, on several ports. Then the addresses move, and
//! what the client had open has to go on: the same TCP connections, at the same servers, byte for
//! byte; new connections of a persistent client at the server it had before. IPv4 and IPv6.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use ulvs::lab::wait::Deadline;

use crate::world::{World, text, ulvs};
use crate::{Failure, Outcome, ensure};

const VIPS: [&str; 2] = ["10.81.1.100", "fd81:1::100"];
const GATEWAYS: [&str; 2] = ["10.81.2.1", "fd81:2::1"];
/// UDP ports that connections are told of on, from the daemon's first on: a power of two.
const SYNC_PORTS: u32 = 4;
/// Bytes that go to and fro at once.
const BLOCK: usize = 4096;
/// Seconds that anything may take, in an emulated machine as well.
const PATIENCE: u64 = 40;

/// Whose director one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ulvs,
    Kernel,
}

pub fn run(world: &mut World) -> Outcome {
    world.only_ulvs("both directors are chosen by the scenario itself")?;
    fail_over(Kind::Ulvs, Kind::Ulvs)
}

/// The whole scenario, from one director to another.
pub fn fail_over(from: Kind, to: Kind) -> Outcome {
    if !nix::unistd::geteuid().is_root() {
        return Err(Failure::skipped("two directors side by side need root"));
    }
    if [from, to].contains(&Kind::Kernel) && !has_ip_vs() {
        return Err(Failure::skipped("the kernel has no ip_vs, or ipvsadm is not installed"));
    }
    let net = Net::build()?;
    let servers = [Server::start(&net, "s1")?, Server::start(&net, "s2")?];
    let mut a = Director::start(&net, "a", from, true)?;
    let mut b = Director::start(&net, "b", to, false)?;
    for director in [&a, &b] {
        director.add_services()?;
        director.spread_over_ports()?;
    }
    a.adm("--start-daemon master --mcast-interface eth1 --syncid 5")?;
    b.adm("--start-daemon backup --mcast-interface eth1 --syncid 5")?;

    let mut flows = Vec::new();
    for vip in VIPS {
        for port in [80, 81, 81] {
            flows.push(Flow::start(&net, vip, port)?);
        }
    }
    let before: Vec<String> = flows.iter().map(|flow| flow.server.clone()).collect();
    ensure!(before[1] == before[2] && before[4] == before[5], "the persistent service is not: {before:?}");
    // All six connections, and the templates of the persistent service.
    for flow in &flows {
        b.until_listed(&format!("{} ", flow.local), "ESTABLISHED")?;
    }
    for vip in VIPS {
        let template = SocketAddr::new(client_of(vip), 0);
        b.until_listed(&format!("{template} "), &SocketAddr::new(vip.parse().map_err(failed)?, 81).to_string())?;
    }

    a.give_up()?;
    b.take_over()?;
    for flow in &flows {
        flow.until_more()?;
    }
    for (number, vip) in VIPS.into_iter().enumerate() {
        for _ in 0..3 {
            let again = Flow::start(&net, vip, 81)?;
            ensure!(again.server == before[3 * number + 1], "{vip}: a persistent client came to {}", again.server);
            again.end()?;
        }
    }
    for flow in flows {
        flow.end()?;
    }
    drop((a, b, servers));
    Ok(())
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::failed(error.to_string())
}

fn has_ip_vs() -> bool {
    let _ = Command::new("modprobe").arg("ip_vs").stderr(Stdio::null()).status();
    Path::new("/proc/net/ip_vs").exists() && Path::new("/usr/sbin/ipvsadm").exists()
        || Path::new("/proc/net/ip_vs").exists() && Path::new("/sbin/ipvsadm").exists()
}

fn client_of(vip: &str) -> IpAddr {
    let text = if vip.contains(':') { "fd81:1::2" } else { "10.81.1.2" };
    // Written just above.
    text.parse().unwrap_or(IpAddr::from([0; 4]))
}

/// The namespaces, which go when this is dropped.
struct Net {
    prefix: String,
}

impl Net {
    fn build() -> Result<Net, Failure> {
        let net = Net { prefix: format!("fo{}-", std::process::id()) };
        for name in ["net", "client", "a", "b", "s1", "s2"] {
            net.host(&format!("netns add {}", net.name(name)))?;
            net.ip(name, "link set lo up")?;
        }
        for bridge in ["br0", "br1"] {
            net.ip("net", &format!("link add {bridge} type bridge mcast_snooping 0"))?;
            net.ip("net", &format!("link set {bridge} up"))?;
        }
        for (name, link, bridge, number) in [
            ("client", "eth0", "br0", 2),
            ("a", "eth0", "br0", 11),
            ("a", "eth1", "br1", 11),
            ("b", "eth0", "br0", 12),
            ("b", "eth1", "br1", 12),
            ("s1", "eth0", "br1", 21),
            ("s2", "eth0", "br1", 22),
        ] {
            let side = if bridge == "br0" { 1 } else { 2 };
            let port = format!("{name}-{link}");
            net.ip("net", &format!("link add {port} type veth peer name {link} netns {}", net.name(name)))?;
            net.ip("net", &format!("link set {port} master {bridge} up"))?;
            // Addresses that can be used at once: nobody else has them.
            net.write(name, &format!("net/ipv6/conf/{link}/accept_dad"), "0")?;
            net.ip(name, &format!("addr add 10.81.{side}.{number}/24 dev {link}"))?;
            net.ip(name, &format!("addr add fd81:{side}::{number}/64 dev {link} nodad"))?;
            net.ip(name, &format!("link set {link} up"))?;
        }
        for server in ["s1", "s2"] {
            for gateway in GATEWAYS {
                net.ip(server, &format!("route add default via {gateway}"))?;
            }
        }
        Ok(net)
    }

    fn name(&self, short: &str) -> String {
        format!("{}{short}", self.prefix)
    }

    fn host(&self, line: &str) -> Result<String, Failure> {
        check(Command::new("ip").args(line.split(' ')))
    }

    fn ip(&self, name: &str, line: &str) -> Result<String, Failure> {
        check(Command::new("ip").args(["-n", &self.name(name)]).args(line.split(' ')))
    }

    /// A command to be run in a namespace.
    fn command(&self, name: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(name), program]);
        command
    }

    fn write(&self, name: &str, path: &str, value: &str) -> Outcome {
        let script = format!("echo {value} > /proc/sys/{path}");
        check(self.command(name, "sh").args(["-c", &script])).map(drop)
    }

    /// Runs something in a thread of its own that lives in a namespace.
    fn inside<T: Send + 'static>(
        &self,
        name: &str,
        what: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<JoinHandle<std::io::Result<T>>, Failure> {
        let namespace = File::open(format!("/run/netns/{}", self.name(name)))?;
        Ok(thread::spawn(move || {
            setns(&namespace, CloneFlags::CLONE_NEWNET)?;
            what()
        }))
    }

    /// As [`Net::inside`], and waits for the outcome.
    fn within<T: Send + 'static>(
        &self,
        name: &str,
        what: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        self.inside(name, what)?.join().map_err(|_| Failure::failed("a thread panicked"))?.map_err(Failure::from)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in ["net", "client", "a", "b", "s1", "s2"] {
            let _ = Command::new("ip").args(["netns", "del", &self.name(name)]).stderr(Stdio::null()).status();
        }
    }
}

fn check(command: &mut Command) -> Result<String, Failure> {
    let Output { status, stdout, stderr } = command.output()?;
    ensure!(status.success(), "{command:?}: {}{}", text(&stdout), text(&stderr));
    Ok(text(&stdout))
}

/// A real server: says its name, then sends back what it is sent.
struct Server {
    stop: Arc<AtomicBool>,
}

impl Server {
    fn start(net: &Net, name: &'static str) -> Result<Server, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        for port in [80, 81] {
            let listener = net.within(name, move || TcpListener::bind((std::net::Ipv6Addr::UNSPECIFIED, port)))?;
            listener.set_nonblocking(true)?;
            let stopping = stop.clone();
            thread::spawn(move || {
                while !stopping.load(Ordering::Acquire) {
                    match listener.accept() {
                        Ok((stream, _)) => drop(thread::spawn(move || echo(stream, name))),
                        Err(_) => thread::sleep(Duration::from_millis(20)),
                    }
                }
            });
        }
        Ok(Server { stop })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn echo(mut stream: TcpStream, name: &str) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    writeln!(stream, "{name}")?;
    let mut buffer = [0; BLOCK];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}

/// A client's connection on which blocks go to and fro all the time.
struct Flow {
    server: String,
    local: SocketAddr,
    blocks: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Flow {
    fn start(net: &Net, vip: &str, port: u16) -> Result<Flow, Failure> {
        let target = SocketAddr::new(vip.parse().map_err(failed)?, port);
        let patience = Duration::from_secs(PATIENCE);
        let stream = net.within("client", move || TcpStream::connect_timeout(&target, patience))?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut server = String::new();
        reader.read_line(&mut server)?;
        let (blocks, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, stopping) = (blocks.clone(), stop.clone());
        let local = stream.local_addr()?;
        let thread = thread::spawn(move || {
            let mut stream = stream;
            let mut answer = [0; BLOCK];
            while !stopping.load(Ordering::Acquire) {
                let number = counted.load(Ordering::Relaxed) as u8;
                let block: [u8; BLOCK] = std::array::from_fn(|index| number ^ index as u8);
                stream.write_all(&block)?;
                reader.read_exact(&mut answer)?;
                if answer != block {
                    return Err(std::io::Error::other("other bytes came back"));
                }
                counted.fetch_add(1, Ordering::Release);
                thread::sleep(Duration::from_millis(50));
            }
            Ok(())
        });
        Ok(Flow { server: server.trim_end().to_owned(), local, blocks, stop, thread })
    }

    /// Waits until ten more blocks have come back.
    fn until_more(&self) -> Outcome {
        let wanted = self.blocks.load(Ordering::Acquire) + 10;
        let deadline = Deadline::after_seconds(PATIENCE);
        while self.blocks.load(Ordering::Acquire) < wanted {
            ensure!(!self.thread.is_finished(), "the connection of {} broke", self.local);
            ensure!(!deadline.has_passed(), "the connection of {} stands still", self.local);
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn end(self) -> Outcome {
        self.stop.store(true, Ordering::Release);
        let outcome = self.thread.join().map_err(|_| Failure::failed("a client's thread panicked"))?;
        outcome.map_err(|error| Failure::failed(format!("the connection of {}: {error}", self.local)))
    }
}

/// One of the two directors.
struct Director<'a> {
    net: &'a Net,
    name: &'static str,
    kind: Kind,
    process: Option<Child>,
}

impl<'a> Director<'a> {
    fn start(net: &'a Net, name: &'static str, kind: Kind, active: bool) -> Result<Director<'a>, Failure> {
        let mut director = Director { net, name, kind, process: None };
        match kind {
            Kind::Ulvs => {
                let mut command = net.command(name, ulvs().to_str().unwrap_or_default());
                command.args(["run", "--interface", "eth0", "--interface", "eth1", "--max-connections", "65536"]);
                command.args(["--gateway-ip", "10.81.2.1/24", "--gateway-ip", "fd81:2::1/64"]);
                if !active {
                    // What it is told has to reach the worker that has the client.
                    command.args(["--standby", "--workers", "2"]);
                }
                let mut child = command.stdout(Stdio::piped()).spawn()?;
                let output = child.stdout.take().ok_or_else(|| Failure::failed("no output"))?;
                director.process = Some(child);
                let mut lines = BufReader::new(output).lines();
                let ready = lines.any(|line| line.is_ok_and(|line| line == "ready"));
                ensure!(ready, "the director {name} ended");
            }
            Kind::Kernel => {
                net.write(name, "net/ipv4/ip_forward", "1")?;
                net.write(name, "net/ipv6/conf/all/forwarding", "1")?;
                net.write(name, "net/ipv4/conf/all/send_redirects", "0")?;
                if active {
                    director.take_over()?;
                }
            }
        }
        Ok(director)
    }

    fn adm(&self, line: &str) -> Result<String, Failure> {
        let mut command = match self.kind {
            Kind::Ulvs => {
                let mut command = self.net.command(self.name, ulvs().to_str().unwrap_or_default());
                command.arg("ipvsadm");
                command
            }
            Kind::Kernel => self.net.command(self.name, "ipvsadm"),
        };
        check(command.args(line.split(' ')))
    }

    /// Round robin on port 80, persistent on port 81.
    fn add_services(&self) -> Outcome {
        for (vip, servers) in [("10.81.1.100", ["10.81.2.21", "10.81.2.22"]), ("[fd81:1::100]", ["[fd81:2::21]", "[fd81:2::22]"])] {
            self.adm(&format!("-A -t {vip}:80 -s rr"))?;
            self.adm(&format!("-A -t {vip}:81 -s rr -p 300"))?;
            for port in [80, 81] {
                for server in servers {
                    self.adm(&format!("-a -t {vip}:{port} -r {server}:{port} -m"))?;
                }
            }
        }
        Ok(())
    }

    /// Has synchronisation use several ports, which the connections are spread over.
    fn spread_over_ports(&self) -> Outcome {
        match self.kind {
            Kind::Ulvs => {
                let mut command = self.net.command(self.name, ulvs().to_str().unwrap_or_default());
                check(command.args(["sysctl", &format!("sync_ports={SYNC_PORTS}")])).map(drop)
            }
            Kind::Kernel => self.net.write(self.name, "net/ipv4/vs/sync_ports", &SYNC_PORTS.to_string()),
        }
    }

    /// Waits until a line of the connection list has both words in it.
    fn until_listed(&self, one: &str, other: &str) -> Outcome {
        let deadline = Deadline::after_seconds(PATIENCE);
        loop {
            let list = self.adm("-Lnc")?;
            if list.lines().any(|line| line.contains(one) && line.contains(other)) {
                return Ok(());
            }
            ensure!(!deadline.has_passed(), "the director {} was not told of {one}, {other}:\n{list}", self.name);
            thread::sleep(Duration::from_millis(200));
        }
    }

    fn give_up(&mut self) -> Outcome {
        self.adm("--stop-daemon master")?;
        match self.kind {
            Kind::Ulvs => check(self.net.command(self.name, ulvs().to_str().unwrap_or_default()).arg("release")).map(drop),
            Kind::Kernel => self.addresses("del"),
        }
    }

    /// Takes the addresses; whoever knew them elsewhere hears of it, or forgets.
    fn take_over(&mut self) -> Outcome {
        match self.kind {
            Kind::Ulvs => check(self.net.command(self.name, ulvs().to_str().unwrap_or_default()).arg("hold")).map(drop),
            Kind::Kernel => {
                self.addresses("add")?;
                for name in ["client", "s1", "s2"] {
                    self.net.ip(name, "neigh flush all")?;
                }
                Ok(())
            }
        }
    }

    /// Moves the virtual addresses and the servers' gateways, as the kernel's hosts have them.
    fn addresses(&self, verb: &str) -> Outcome {
        for (address, link) in [(VIPS[0], "eth0"), (VIPS[1], "eth0"), (GATEWAYS[0], "eth1"), (GATEWAYS[1], "eth1")] {
            let length = if address.contains(':') { 128 } else { 32 };
            let nodad = if verb == "add" && length == 128 { " nodad" } else { "" };
            self.net.ip(self.name, &format!("addr {verb} {address}/{length} dev {link}{nodad}"))?;
        }
        Ok(())
    }
}

impl Drop for Director<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.process.take() {
            let stopped = check(self.net.command(self.name, ulvs().to_str().unwrap_or_default()).arg("stop"));
            if stopped.is_err() {
                let _ = child.kill();
            }
            let _ = child.wait();
        }
    }
}
