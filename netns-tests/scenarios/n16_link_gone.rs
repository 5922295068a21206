//! A real server's link is removed and comes back: its share is lost meanwhile, and there again.

use ulvs::lab::Topology;
use ulvs::lab::topology::endpoint;

use crate::world::{Director, VIPS, World, errors, shares};
use crate::{Failure, Outcome, ensure};

pub fn run(world: &mut World) -> Outcome {
    world.build(Topology::Nat, Director::Started)?;
    world.add_services("-t", 8080, "rr")?;
    let ask = |vip, options: &[&str]| world.ask("http", &endpoint(vip, 8080), options);
    for vip in VIPS {
        let answers = ask(vip, &["--count", "30"])?;
        ensure!(answers == shares([10; 3]), "{vip}, before: {answers:?}");
    }
    world.shell("lan", "ip link del rs2")?;
    for vip in VIPS {
        let answers = ask(vip, &["--count", "15", "--patience", "700"])?;
        ensure!(answers.get("rs1") == Some(&5) && answers.get("rs3") == Some(&5), "{vip}, without: {answers:?}");
        ensure!(errors(&answers) == 5, "{vip}, without: {answers:?}");
    }
    let lines = ["link add rs2 type veth peer name eth0 netns @rs2", "link set rs2 master br0 up"];
    world.lab().shape("lan", &[], &lines.map(str::to_owned))?;
    let roles = &world.lab().plan().roles;
    let role = roles.iter().find(|role| role.name == "rs2").ok_or_else(|| Failure::failed("no rs2"))?;
    world.lab().shape("rs2", &role.settings, &role.lines)?;
    for vip in VIPS {
        world.until(20, "an answer of rs2", || {
            Ok(ask(vip, &["--count", "3", "--patience", "700"])?.contains_key("rs2"))
        })?;
        let answers = ask(vip, &["--count", "30"])?;
        ensure!(answers == shares([10; 3]), "{vip}, afterwards: {answers:?}");
    }
    Ok(())
}
