//! What no service takes is answered as a host of its own would: echo replies, resets, port
//! unreachable.

use std::net::IpAddr;
use std::time::Duration;

use ulvs::lab::Topology;
use ulvs::lab::topology::endpoint;
use ulvs::lab::wait::Deadline;

use crate::world::{Director, VIPS, World};
use crate::{Outcome, ensure};

pub fn run(world: &mut World) -> Outcome {
    world.build(Topology::Nat, Director::Started)?;
    world.add_services("-t", 80, "rr")?;
    for vip in VIPS {
        let passing = world.watch("client", "eth0", &[])?;
        let echoed = world.ask("ping", &endpoint(vip, 0), &["--count", "3"])?;
        ensure!(echoed.get("alive") == Some(&3), "{vip}: {echoed:?}");
        refused(world, vip, "tcp", 81)?;
        refused(world, vip, "udp", 81)?;
        let replies = world.seen(&passing)?.iter().filter(|line| line.contains("EchoReply")).count();
        ensure!(replies == 3, "{vip}: three requests, and {replies} replies");
    }
    Ok(())
}

/// A port that nobody serves: refused, and at once.
fn refused(world: &World, vip: IpAddr, kind: &str, port: u16) -> Outcome {
    let asked = Deadline::after_seconds(5);
    let answers = world.ask(kind, &endpoint(vip, port), &[])?;
    let refused = answers.keys().any(|answer| answer.contains("Connection refused"));
    ensure!(refused, "{kind} to {vip} port {port}: {answers:?}");
    ensure!(asked.elapsed() < Duration::from_secs(2), "{kind} to {vip}: refused after {:?}", asked.elapsed());
    Ok(())
}
