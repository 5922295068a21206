//! Frames to the virtual MAC end at the links before the kernel's stack looks at them, and the director serves as ever;
//! a link that others stand on keeps all its frames for as long as they do.

use ulvs::lab::Topology;

use crate::world::{Director, VIPS, World, ulvs};
use crate::{Failure, Outcome, ensure};

const ENDED: &str = "frames to the virtual MAC end before the kernel's stack looks at them";

pub fn run(world: &mut World) -> Outcome {
    world.need("curl", "curl")?;
    world.only_ulvs("it is a program of ulvs'")?;
    world.build(Topology::Nat, Director::Started)?;
    ensure!(ended(world)?.is_empty(), "nobody has the virtual MAC yet: {:?}", ended(world)?);
    world.add_services("-t", 80, "rr")?;
    let status = world.check("director", &[&ulvs().to_string_lossy(), "status"])?;
    if let Some(line) = status.lines().find(|line| line.contains("looks at frames to the virtual MAC, too")) {
        answered(world)?;
        return Err(Failure::skipped(line));
    }
    ensure!(ended(world)? == ["eth0", "eth1"], "{status}");
    answered(world)?;
    // Frames may be for the link that stands on it.
    if world.shell("director", "ip link add link eth0 name above type macvlan").is_ok() {
        world.until(5, "the end of eth0's barrier", || Ok(ended(world)? == ["eth1"]))?;
        answered(world)?;
        world.shell("director", "ip link delete above")?;
        world.until(5, "eth0's barrier", || Ok(ended(world)? == ["eth0", "eth1"]))?;
        answered(world)?;
    }
    world.adm("-C")?;
    world.until(5, "the end of all barriers", || Ok(ended(world)?.is_empty()))
}

/// The links where they end, by name.
fn ended(world: &World) -> Result<Vec<String>, Failure> {
    let status = world.check("director", &[&ulvs().to_string_lossy(), "status"])?;
    let lines = status.lines().filter_map(|line| line.strip_suffix(ENDED)?.strip_suffix(": "));
    let mut names: Vec<String> = lines.flat_map(|names| names.split(", ").map(str::to_owned)).collect();
    names.sort();
    Ok(names)
}

fn answered(world: &World) -> Outcome {
    for vip in VIPS {
        ensure!(world.curl(vip, 3)?.len() == 3, "{vip} is not served");
    }
    Ok(())
}
