//! Questions and answers over UDP, and a thousand flows, shared out exactly and all remembered.

use ulvs::lab::Topology;
use ulvs::lab::topology::endpoint;

use crate::world::{Director, VIPS, World, errors, shares};
use crate::{Outcome, ensure};

pub fn run(world: &mut World) -> Outcome {
    for topology in Topology::ALL {
        world.build(topology, Director::Started)?;
        world.add_services("-u", 53, "rr")?;
        for vip in VIPS {
            let answers = world.ask("dns", &endpoint(vip, 53), &["--count", "30", "--first-port", "10000"])?;
            ensure!(answers == shares([10; 3]), "{}, {vip}: {answers:?}", topology.name());
        }
    }
    world.build(Topology::Nat, Director::Started)?;
    world.add_services("-u", 7, "rr")?;
    for vip in VIPS {
        let answers = world.ask("udp", &endpoint(vip, 7), &["--count", "1000", "--first-port", "10000"])?;
        ensure!(errors(&answers) == 0, "{vip}: {answers:?}");
        let mut counts: Vec<u32> = answers.values().copied().collect();
        counts.sort_unstable();
        ensure!(counts == [333, 333, 334], "{vip}: {answers:?}");
    }
    let connections = world.adm("-L -n -c")?;
    let flows = connections.lines().filter(|line| line.starts_with("UDP")).count();
    ensure!(flows == 2000, "2000 flows, but {flows} connections");
    Ok(())
}
