//! The kernel's ip_vs hands its connections over to ulvs.

use crate::Outcome;
use crate::world::World;

use super::n24_failover::{Kind, fail_over};

pub fn run(world: &mut World) -> Outcome {
    world.only_ulvs("both directors are chosen by the scenario itself")?;
    fail_over(Kind::Kernel, Kind::Ulvs)
}
