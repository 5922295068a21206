//! A server is drained, taken away and brought back under load: its connections go on, it gets no
//! new ones meanwhile, and no client notices.

use std::net::IpAddr;

use ulvs::lab::Topology;
use ulvs::lab::topology::endpoint;

use crate::world::{Director, VIPS, World, count, errors, read_answers};
use crate::{Failure, Outcome, ensure};

pub fn run(world: &mut World) -> Outcome {
    world.build(Topology::Nat, Director::Started)?;
    world.add_services("-t", 7, "rr")?;
    world.add_services("-t", 80, "rr")?;
    for vip in VIPS {
        established_connections_stay(world, vip)?;
    }
    gone_and_back_under_load(world, VIPS[0])
}

fn established_connections_stay(world: &World, vip: IpAddr) -> Outcome {
    let mut connection = world.connect(vip)?;
    let server = connection.echo("before")?;
    let number = number_of(&server)?;
    let (service, real) = (endpoint(vip, 7), world.real(number, vip, 7));
    world.adm(&format!("-e -t {service} -r {real} -m -w 0"))?;
    let others = world.ask("tcp", &service, &["--count", "20"])?;
    ensure!(!others.contains_key(&server), "{server} is drained, and got new connections: {others:?}");
    ensure!(errors(&others) == 0, "{others:?}");
    ensure!(connection.echo("drained")? == server, "the connection moved");

    // Deleted: the connection hangs; added again: it goes on where it was.
    world.adm(&format!("-d -t {service} -r {real}"))?;
    connection.tell("while it is away")?;
    let others = world.ask("tcp", &service, &["--count", "6"])?;
    ensure!(errors(&others) == 0 && !others.contains_key(&server), "{others:?}");
    world.adm(&format!("-a -t {service} -r {real} -m -w 1"))?;
    connection.await_line(20, |line| line.ends_with("while it is away"))?;
    ensure!(connection.echo("back")? == server, "the connection moved");
    Ok(())
}

fn gone_and_back_under_load(world: &World, vip: IpAddr) -> Outcome {
    let (service, real) = (endpoint(vip, 80), world.real(2, vip, 80));
    let requests = ["lab", "ask", "http", &service, "--count", "3000", "--parallel", "4"];
    let mut load = world.ulvs("client", &requests)?;
    for _ in 0..2 {
        world.adm(&format!("-e -t {service} -r {real} -m -w 0"))?;
        world.until(60, "the end of the drained server's connections", || active(world, &service, &real))?;
        world.adm(&format!("-d -t {service} -r {real}"))?;
        world.adm(&format!("-a -t {service} -r {real} -m"))?;
    }
    ensure!(load.await_end(240)?, "the load failed: {:?}", load.lines());
    // Its last lines may still be on their way through the pipe.
    let all = || read_answers(&load.lines().join("\n"));
    world.until(5, "the load's report", || Ok(all().values().sum::<u32>() == 3000))?;
    ensure!(errors(&all()) == 0, "{:?}", all());
    let answers = count(&world.curl(vip, 30)?);
    ensure!(answers.values().all(|share| *share == 10) && answers.len() == 3, "not all back: {answers:?}");
    Ok(())
}

/// Whether `real` has no active connections left.
fn active(world: &World, service: &str, real: &str) -> Result<bool, Failure> {
    let listing = world.adm(&format!("-L -n -t {service}"))?;
    let fields = listing.lines().find(|line| line.contains(real)).map(|line| line.split_whitespace().rev().nth(1));
    Ok(fields.flatten() == Some("0"))
}

fn number_of(server: &str) -> Result<usize, Failure> {
    let number = server.strip_prefix("rs").and_then(|number| number.parse().ok());
    number.ok_or_else(|| Failure::failed(format!("an answer of `{server}'")))
}
