//! A real server that answers no ARP and no neighbour discovery loses its own share, and nobody
//! else's.

use ulvs::lab::Topology;
use ulvs::lab::topology::endpoint;

use crate::world::{Director, VIPS, World, errors};
use crate::{Outcome, ensure};

pub fn run(world: &mut World) -> Outcome {
    for topology in [Topology::Nat, Topology::Dr] {
        world.build(topology, Director::Started)?;
        world.shell("rs2", "ip link set eth0 down")?;
        world.add_services("-t", 80, "rr")?;
        for vip in VIPS {
            // Less patience than a SYN's first repetition takes: a request is one packet or two.
            let answers = world.ask("http", &endpoint(vip, 80), &["--count", "30", "--patience", "700"])?;
            let name = topology.name();
            ensure!(answers.get("rs1") == Some(&10) && answers.get("rs3") == Some(&10), "{name}, {vip}: {answers:?}");
            ensure!(errors(&answers) == 10, "{name}, {vip}: {answers:?}");
        }
    }
    Ok(())
}
