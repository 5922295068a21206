//! Three workers, and frames that the kernel brings to another one than their client's: replies where there are more
//! virtual addresses than its program has room for, and whatever a TUN device brings, also what servers on this host
//! answer. All of it is handed over: every client is answered, and a persistent one always by the same server. Where
//! persistence is by network, the network's clients meet at one worker; and a server's thresholds are for all workers.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;

use ulvs::lab::Topology;
use ulvs::lab::topology::endpoint;

use crate::session::Session;
use crate::world::{Director, VIPS, World, count, ulvs};
use crate::{Failure, Outcome, ensure};

const WORKERS: [&str; 2] = ["--workers", "3"];
/// Client addresses, beside the client's own: the ends of 10.0.1.145 and so on, all in one /28. Each belongs to a worker.
const CLIENTS: std::ops::Range<u32> = 145..153;
/// Virtual addresses with a neighbour each that is none, so that no two make a network.
const ADDRESSES: u32 = 4096;
const SERVERS: [&str; 3] = ["rs1", "rs2", "rs3"];

pub fn run(world: &mut World) -> Outcome {
    world.only_ulvs("it has no workers")?;
    world.need("curl", "curl")?;
    many_addresses(world)?;
    by_network(world)?;
    thresholds(world)?;
    if fs::File::options().read(true).write(true).open("/dev/net/tun").is_err() {
        return Err(Failure::skipped("/dev/net/tun cannot be opened, the rest passed"));
    }
    by_tun(world)?;
    on_this_host(world)
}

/// A director at the links.
fn start(world: &mut World) -> Outcome {
    world.build(Topology::Nat, Director::Absent)?;
    let mut arguments = world.lab().director_arguments();
    arguments.extend(WORKERS.map(str::to_owned));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    world.start_director(&arguments)?;
    Ok(())
}

/// Replies come to some worker.
fn many_addresses(world: &mut World) -> Outcome {
    start(world)?;
    let mut rules = String::new();
    for number in 0..ADDRESSES {
        let service = format!("10.64.{}.{}:80", number / 128, number % 128 * 2);
        // Writing to a string cannot fail.
        let _ = writeln!(rules, "-A -t {service} -s rr");
        for server in 1..=SERVERS.len() {
            let _ = writeln!(rules, "-a -t {service} -r {} -m", world.real(server, VIPS[0], 80));
        }
    }
    let file = world.lab().directory().join("rules");
    fs::write(&file, rules)?;
    let tools = world.tools()?;
    world.shell("director", &format!("{}/ipvsadm-restore < {}", tools.display(), file.display()))?;
    world.shell("client", "ip route add 10.64.0.0/16 dev eth0")?;
    let answers = ask_as_each(world, CLIENTS, "10.64.[0-2].[0-6:2]", 12)?;
    ensure!(answers.iter().all(|by| by.len() == 12), "some were not answered: {answers:?}");
    let by = count(&answers.concat());
    ensure!(SERVERS.iter().all(|&server| by.contains_key(server)), "not every server had its share: {by:?}");
    was_handed_over(world)
}

/// Persistence is for networks of clients.
fn by_network(world: &mut World) -> Outcome {
    start(world)?;
    let service = endpoint(VIPS[0], 80);
    world.adm(&format!("-A -t {service} -s rr -p 300 -M 255.255.255.240"))?;
    for server in 1..=SERVERS.len() {
        world.adm(&format!("-a -t {service} -r {} -m", world.real(server, VIPS[0], 80)))?;
    }
    // Clients of other networks, so that schedulers of different workers would not choose the same server.
    let others = ask_as_each(world, (21..140).step_by(16), "10.0.1.100", 1)?;
    ensure!(others.iter().all(|by| by.len() == 1), "some were not answered: {others:?}");
    let answers = ask_as_each(world, CLIENTS, "10.0.1.100", 3)?.concat();
    ensure!(answers.len() == 3 * CLIENTS.len() && answers.iter().all(|server| *server == answers[0]), "{answers:?}");
    // Clients of larger networks can no longer be brought together.
    let status = |world: &World| world.check("director", &[&ulvs().to_string_lossy(), "status"]);
    ensure!(!status(world)?.contains("within each worker alone"), "{}", status(world)?);
    let larger = endpoint(VIPS[0], 81);
    world.adm(&format!("-A -t {larger} -s rr -p 300 -M 255.255.255.0"))?;
    ensure!(status(world)?.contains("within each worker alone"), "{}", status(world)?);
    let again = ask_as_each(world, CLIENTS, "10.0.1.100", 3)?.concat();
    ensure!(again == answers, "{again:?}");
    world.adm(&format!("-D -t {larger}"))?;
    ensure!(!status(world)?.contains("within each worker alone"), "{}", status(world)?);
    Ok(())
}

/// Two servers take four connections each, whichever workers these belong to; the ninth client is turned away.
fn thresholds(world: &mut World) -> Outcome {
    start(world)?;
    world.need("socat", "socat")?;
    let service = endpoint(VIPS[0], 7);
    world.adm(&format!("-A -t {service} -s rr"))?;
    for server in 1..=2 {
        world.adm(&format!("-a -t {service} -r {} -m -x 4", world.real(server, VIPS[0], 7)))?;
    }
    let connect = |world: &World, end: u32| -> Result<Session, Failure> {
        let client = format!("10.0.1.{end}");
        world.shell("client", &format!("ip addr replace {client}/24 dev eth0"))?;
        world.session("client", &["socat", "-t", "5", "STDIO", &format!("TCP:{service},bind={client}")])
    };
    let mut held = CLIENTS.map(|end| connect(world, end)).collect::<Result<Vec<_>, Failure>>()?;
    let servers = held.iter_mut().map(|connection| connection.echo("held")).collect::<Result<Vec<_>, _>>()?;
    let by = count(&servers);
    ensure!(by == [("rs1".to_owned(), 4), ("rs2".to_owned(), 4)].into(), "four each were allowed: {by:?}");
    let mut ninth = connect(world, CLIENTS.end)?;
    ensure!(!ninth.await_end(20)?, "both were full, and yet there is a ninth connection");
    Ok(())
}

/// Requests and replies come to some worker; persistence is for the client's address, whose flows meet.
fn by_tun(world: &mut World) -> Outcome {
    world.build(Topology::Nat, Director::Absent)?;
    world.shell("director", "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")?;
    world.start_director(&["--tun", "ulvs0", WORKERS[0], WORKERS[1]])?;
    world.shell("client", "ip route add 10.0.1.100/32 via 10.0.1.1")?;
    let service = endpoint(VIPS[0], 80);
    world.adm(&format!("-A -t {service} -s rr -p 300"))?;
    for server in 1..=SERVERS.len() {
        world.adm(&format!("-a -t {service} -r {} -m", world.real(server, VIPS[0], 80)))?;
    }
    let answers = ask_as_each(world, CLIENTS, "10.0.1.100", 20)?;
    for by in &answers {
        ensure!(by.len() == 20 && by.iter().all(|server| *server == by[0]), "not one and the same server: {by:?}");
    }
    let servers: BTreeSet<&String> = answers.iter().flatten().collect();
    ensure!(servers.len() > 1, "all clients have the same server: {servers:?}");
    was_handed_over(world)
}

/// A masqueraded real server is the director's own host.
fn on_this_host(world: &mut World) -> Outcome {
    start(world)?;
    let directory = world.lab().directory().join("director");
    fs::create_dir_all(&directory)?;
    let path = directory.to_string_lossy();
    let server = ["lab", "serve", "--name", "director", "--http", "8081", "--directory", &path];
    let _server = world.ulvs("director", &server)?;
    world.until(60, "listening", || Ok(world.lab().is_listening("director", 8081)))?;
    let service = endpoint(VIPS[0], 80);
    world.adm(&format!("-A -t {service} -s rr"))?;
    world.adm(&format!("-a -t {service} -r 10.0.2.1:8081 -m"))?;
    let answers = ask_as_each(world, CLIENTS, "10.0.1.100", 20)?;
    let every_one = |by: &Vec<String>| by.len() == 20 && by.iter().all(|server| server == "director");
    ensure!(answers.iter().all(every_one), "{answers:?}");
    Ok(())
}

/// What clients with these ends of their addresses hear from the addresses of `pattern`, as curl reads it, which
/// makes `requests`.
fn ask_as_each(
    world: &World,
    clients: impl Iterator<Item = u32>,
    pattern: &str,
    requests: u32,
) -> Result<Vec<Vec<String>>, Failure> {
    let turns = if pattern.contains('[') { String::new() } else { format!("?[1-{requests}]") };
    let url = format!("http://{pattern}/{turns}");
    let mut answers = Vec::new();
    for end in clients {
        let client = format!("10.0.1.{end}");
        world.shell("client", &format!("ip addr replace {client}/24 dev eth0"))?;
        let words = ["curl", "-sS", "--max-time", "20", "--interface", &client, "-H", "Connection: close", &url];
        answers.push(world.check("client", &words)?.lines().map(str::to_owned).collect());
    }
    Ok(answers)
}

fn was_handed_over(world: &World) -> Outcome {
    let program = ulvs().to_string_lossy();
    let sums = || -> Result<[u64; 3], Failure> {
        let counts = world.check("director", &[&program, "stats"])?;
        Ok(["handed-over", "taken-over", "handover-lost"].map(|name| {
            let lines = counts.lines().filter(|line| line.split_whitespace().any(|word| word == name));
            lines.filter_map(|line| line.split_whitespace().find_map(|word| word.parse::<u64>().ok())).sum()
        }))
    };
    // The last frames of connections that were closed may be on their way still, from worker to worker.
    world.until(5, "what was handed over to arrive", || {
        let [given, taken, _] = sums()?;
        Ok(given == taken)
    })?;
    let [given, _, lost] = sums()?;
    ensure!(given > 0, "nothing was handed over");
    ensure!(lost == 0, "{lost} frames found no room at their worker");
    Ok(())
}
