//! Weighted round robin, 3:2:1: in every six requests exactly three, two and one.

use ulvs::lab::Topology;

use crate::world::{Director, VIPS, World, count, shares};
use crate::{Outcome, ensure};

pub fn run(world: &mut World) -> Outcome {
    world.build(Topology::Nat, Director::Started)?;
    world.add_services("-t", 80, "wrr")?;
    for vip in VIPS {
        let service = ulvs::lab::topology::endpoint(vip, 80);
        for (number, weight) in [(1, 3), (2, 2), (3, 1)] {
            world.adm(&format!("-e -t {service} -r {} -m -w {weight}", world.real(number, vip, 80)))?;
        }
        let answers = world.curl(vip, 60)?;
        for six in answers.chunks(6) {
            ensure!(count(six) == shares([3, 2, 1]), "{vip}: {six:?}");
        }
        // A change counts at once.
        world.adm(&format!("-e -t {service} -r {} -m -w 0", world.real(1, vip, 80)))?;
        let answers = count(&world.curl(vip, 30)?);
        ensure!(!answers.contains_key("rs1"), "{vip}: weight 0 still gets connections: {answers:?}");
        ensure!(answers.get("rs2") == Some(&20) && answers.get("rs3") == Some(&10), "{vip}: {answers:?}");
    }
    Ok(())
}
