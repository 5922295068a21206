//! Packets come by AF_XDP, which cannot say whether a checksum is finished: those that the sender leaves to others come
//! by the packet socket. Whoever finishes it, every packet that arrives is right. Nothing is left by a director that is
//! killed.

use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use ulvs::lab::Topology;
use ulvs::lab::build::find_program;
use ulvs::lab::topology::endpoint;

use super::n01_nat_http::turns;
use crate::world::{Director, VIPS, World, endpoints_of, shares};
use crate::{Failure, Outcome, ensure};

const ROLES: [&str; 4] = ["client", "rs1", "rs2", "rs3"];

/// The first of the ports that questions come from, and whether checksums are left to the card at the ends, and at the
/// director.
const SETTINGS: [(u16, &str, &str); 4] =
    [(10_000, "on", "on"), (11_000, "on", "off"), (12_000, "off", "on"), (13_000, "off", "off")];

/// How many are asked with each of them, of each virtual address.
const QUESTIONS: u16 = 30;

/// Whatever the environment says.
const ONE_WORKER: [&str; 2] = ["--workers", "1"];

pub fn run(world: &mut World) -> Outcome {
    world.only_ulvs("it has one way in")?;
    world.need("ethtool", "ethtool")?;
    world.build(Topology::Nat, Director::Absent)?;
    let mut arguments = world.lab().director_arguments();
    arguments.extend(["--port", "xdp"].map(str::to_owned));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    says_why_not(world, &arguments)?;
    let arguments = [&arguments[..], &ONE_WORKER].concat();
    let director = world.start_director(&arguments)?.ok_or_else(|| Failure::failed("no director"))?;
    let status = world.ulvs("director", &["status"])?;
    let way = status.await_line(5, |line| line.contains("AF_XDP"))?;
    if way.contains("not used") {
        return Err(Failure::skipped(way));
    }
    world.add_services("-t", 80, "rr")?;
    world.add_services("-u", 53, "rr")?;
    let passing = world.watch("director", "eth0", &["--port", "53"])?;
    for (first_port, senders, directors) in SETTINGS {
        let what = format!("checksums left to the card: {senders} at the ends, {directors} at the director");
        for role in ROLES {
            world.shell(role, &format!("ethtool -K eth0 tx {senders}"))?;
        }
        world.shell("director", &format!("for link in eth0 eth1; do ethtool -K $link tx {directors}; done"))?;
        turns(world)?;
        for vip in VIPS {
            // Where none is answered, three seconds tell.
            let patience = ["--parallel", "10", "--patience", "1000"];
            let ports = ["--count", &QUESTIONS.to_string(), "--first-port", &first_port.to_string()];
            let answers = world.ask("dns", &endpoint(vip, 53), &[&patience[..], &ports].concat())?;
            ensure!(answers == shares([u32::from(QUESTIONS) / 3; 3]), "{what}: {vip}: {answers:?}");
        }
        for role in ROLES {
            let wrong = checksum_errors(world, role)?;
            ensure!(wrong == 0, "{what}: {wrong} packets with wrong checksums at {role}");
        }
    }
    let asked = u32::from(QUESTIONS) * VIPS.len() as u32;
    let seen = |first_port: u16| {
        let is_asker = |end: &str| (0..QUESTIONS).any(|number| end.ends_with(&format!(".{}", first_port + number)));
        let ends: Vec<_> = passing.lines().iter().filter_map(|line| endpoints_of(line)).collect();
        let coming = ends.iter().filter(|(from, _)| is_asker(from)).count() as u32;
        (coming, ends.iter().filter(|(_, to)| is_asker(to)).count() as u32)
    };
    for (first_port, senders, directors) in SETTINGS {
        world.until(10, "all answers at the watch", || Ok(seen(first_port).1 == asked))?;
        let (coming, _) = seen(first_port);
        let expected = if senders == "on" { asked } else { 0 };
        ensure!(coming == expected, "{senders}, {directors}: {coming} of {asked} came by the packet socket");
    }

    director.signal(Signal::SIGKILL);
    world.until(5, "the director's end", || Ok(!director.is_alive()))?;
    world.until(5, "the programs' end", || Ok(!world.shell("director", "ip -o link show")?.contains("xdp")))
}

/// Where AF_XDP cannot be had, the director says so and serves all the same.
fn says_why_not(world: &mut World, arguments: &[&str]) -> Outcome {
    let director = world.start_director(&[arguments, &["--workers", "2"]].concat())?;
    let director = director.ok_or_else(|| Failure::failed("no director"))?;
    let status = world.ulvs("director", &["status"])?;
    status.await_line(5, |line| line == "AF_XDP is not used: it serves a single worker, and there are 2")?;
    director.signal(Signal::SIGTERM);
    world.until(5, "the director's end", || Ok(!director.is_alive()))?;
    if geteuid().is_root() && find_program("setpriv").is_some() {
        let director = world.director_with_net_raw(&[arguments, &ONE_WORKER].concat())?;
        director.await_line(10, |line| line.starts_with("eth0: AF_XDP is not used: ") && line.contains("CAP_BPF"))?;
        director.await_line(10, |line| line == "ready")?;
    }
    Ok(())
}

/// TCP segments and UDP datagrams that `role` found to be wrong, of both families.
pub fn checksum_errors(world: &World, role: &str) -> Result<u64, Failure> {
    let counts = world.shell(role, "cat /proc/net/snmp /proc/net/snmp6")?;
    let lines: Vec<Vec<&str>> = counts.lines().map(|line| line.split_whitespace().collect()).collect();
    let mut sum = 0;
    // Of IPv4, and of TCP over both, the names stand in one line and the numbers in the next.
    for pair in lines.windows(2).filter(|pair| pair[0].first() == pair[1].first()) {
        let place = pair[0].iter().position(|name| *name == "InCsumErrors");
        let known = ["Tcp:", "Udp:"].contains(&pair[0].first().copied().unwrap_or_default());
        sum += place.filter(|_| known).and_then(|at| pair[1].get(at)?.parse::<u64>().ok()).unwrap_or(0);
    }
    let six = lines.iter().find(|line| line.first() == Some(&"Udp6InCsumErrors"));
    Ok(sum + six.and_then(|line| line.get(1)?.parse::<u64>().ok()).unwrap_or(0))
}
