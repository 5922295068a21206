//! ulvs hands its connections over to the kernel's ip_vs.

use crate::Outcome;
use crate::world::World;

use super::n24_failover::{Kind, fail_over};

pub fn run(world: &mut World) -> Outcome {
    world.only_ulvs("both directors are chosen by the scenario itself")?;
    fail_over(Kind::Ulvs, Kind::Kernel)
}
