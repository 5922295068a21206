//! curl through direct routing, both families; the answers do not pass the director.

use ulvs::lab::Topology;

use super::n01_nat_http::turns;
use crate::world::{Director, VIPS, World, endpoints_of};
use crate::{Outcome, ensure};

pub fn run(world: &mut World) -> Outcome {
    world.build(Topology::Dr, Director::Started)?;
    world.add_services("-t", 80, "rr")?;
    let passing = world.watch("director", "eth0", &[])?;
    turns(world)?;
    let lines = world.seen(&passing)?;
    // The requests pass twice, in and out; what comes from port 80 would be an answer.
    for vip in VIPS {
        let answer = |line: &&String| endpoints_of(line).is_some_and(|(from, _)| from == format!("{vip}.80"));
        let answers: Vec<&String> = lines.iter().filter(answer).collect();
        ensure!(answers.is_empty(), "answers came by the director: {answers:?}");
    }
    // Each of 60 requests takes at least SYN, ACK, GET and FIN. What comes in by AF_XDP is not seen, only what leaves.
    ensure!(lines.iter().filter(|line| line.contains(".80 tcp ")).count() >= 240, "the watch missed most of it");
    Ok(())
}
