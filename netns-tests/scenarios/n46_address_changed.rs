//! A served link gets another Ethernet address while it is up: what real servers send to it is the director's as before,
//! and where virtual addresses have the link's own, clients hear of the new one without asking.

use ulvs::lab::Topology;

use crate::world::{Director, VIPS, World};
use crate::{Outcome, ensure};

const MACS: [&str; 2] = ["02:45:00:00:00:01", "02:45:00:00:00:02"];

pub fn run(world: &mut World) -> Outcome {
    world.need("curl", "curl")?;
    world.build(Topology::Nat, Director::Started)?;
    world.add_services("-t", 80, "rr")?;
    answered(world)?;
    change(world, "eth1", MACS[0])?;
    // Nobody tells the real servers where their gateway, an address of the host, is now.
    for number in 1..=world.lab().plan().real_servers.len() {
        world.shell(&format!("rs{number}"), "ip neigh flush all; ip -6 neigh flush all")?;
    }
    answered(world)?;
    world.only_ulvs("virtual addresses are the host's there: it announces what `arp_notify` says")?;

    world.build(Topology::Nat, Director::Absent)?;
    let mut arguments = world.lab().director_arguments();
    arguments.extend(["--vip-mac", "off"].map(str::to_owned));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    world.start_director(&arguments)?;
    world.add_services("-t", 80, "rr")?;
    answered(world)?;
    change(world, "eth0", MACS[1])?;
    for vip in VIPS {
        world.until(15, "a client that knows the new address", || {
            Ok(world.shell("client", &format!("ip neigh show {vip} dev eth0"))?.contains(MACS[1]))
        })?;
    }
    answered(world)
}

fn change(world: &World, link: &str, mac: &str) -> Outcome {
    world.shell("director", &format!("ip link set {link} address {mac}")).map(drop)
}

fn answered(world: &World) -> Outcome {
    for vip in VIPS {
        ensure!(world.curl(vip, 3)?.len() == 3, "{vip} is not served");
    }
    Ok(())
}
