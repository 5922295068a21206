//! curl through direct routing, both families; the answers do not pass the director.

use ulvs::lab::Topology;

use super::n01_nat_http::turns;
use crate::world::{Director, VIPS, World, endpoints_of};
use crate::{Outcome, ensure};

pub fn run(world: &mut World) -> Outcome {
    world.build(Topology::Dr, Director::Started)?;
    world.add_services("-t", 80, "rr")?;
    let passing = world.watch("director", "eth0", &["--port", "80"])?;
    turns(world)?;
    // The requests pass twice, in and out; what comes from port 80 would be an answer.
    for vip in VIPS {
        let answers = passing.lines().into_iter().filter(|line| endpoints_of(line).is_some_and(|(from, _)| from == format!("{vip}.80")));
        let answers: Vec<String> = answers.collect();
        ensure!(answers.is_empty(), "answers came by the director: {answers:?}");
    }
    ensure!(passing.lines().len() > 100, "the watch saw too little to mean anything");
    Ok(())
}
