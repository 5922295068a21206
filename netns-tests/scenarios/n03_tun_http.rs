//! curl through tunnels, both families; nobody complains of a protocol that he does not know.

use ulvs::lab::Topology;

use super::n01_nat_http::turns;
use crate::world::{Director, World};
use crate::{Outcome, ensure};

pub fn run(world: &mut World) -> Outcome {
    world.build(Topology::Tun, Director::Started)?;
    world.add_services("-t", 80, "rr")?;
    let passing = world.watch("director", "eth0", &[])?;
    turns(world)?;
    let lines = world.seen(&passing)?;
    let complaints: Vec<&String> = lines.iter().filter(|line| line.contains("Unreachable")).collect();
    ensure!(complaints.is_empty(), "{complaints:?}");
    let tunnelled = lines.iter().filter(|line| line.contains("protocol 4 ") || line.contains("protocol 41 ")).count();
    // Each of 60 requests takes at least SYN, ACK, GET and FIN.
    ensure!(tunnelled >= 240, "only {tunnelled} packets went through tunnels");
    Ok(())
}
