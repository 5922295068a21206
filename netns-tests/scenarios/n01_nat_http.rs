//! curl through NAT, both families: every server in its turn, exactly.

use ulvs::lab::Topology;

use crate::world::{Director, VIPS, World};
use crate::{Failure, Outcome, ensure};

const REQUESTS: u32 = 30;

pub fn run(world: &mut World) -> Outcome {
    world.build(Topology::Nat, Director::Started)?;
    world.add_services("-t", 80, "rr")?;
    turns(world)
}

/// Both VIPs are asked; the answers have to come from three servers, one after the other.
pub fn turns(world: &World) -> Outcome {
    for vip in VIPS {
        let answers = world.curl(vip, REQUESTS)?;
        ensure!(answers.len() == REQUESTS as usize, "{vip}: {} answers to {REQUESTS} requests", answers.len());
        let first = answers.first_chunk::<3>().ok_or_else(|| Failure::failed("no answers"))?;
        let mut once = first.to_vec();
        once.sort();
        ensure!(once == ["rs1", "rs2", "rs3"], "{vip}: the first three answers came from {first:?}");
        let in_turn = answers.iter().zip(first.iter().cycle()).all(|(answer, expected)| answer == expected);
        ensure!(in_turn, "{vip}: not in turn: {answers:?}");
    }
    Ok(())
}
