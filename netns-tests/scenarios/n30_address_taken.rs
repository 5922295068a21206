//! A virtual address becomes the host's own after it got its service, and there is no guard: the
//! director says so and leaves it to the kernel, so that nobody is answered twice; when the host
//! gives the address back, it is served again.

use nix::unistd::geteuid;
use ulvs::lab::Topology;
use ulvs::lab::topology::endpoint;

use crate::world::{Director, VIPS, World, ulvs};
use crate::{Failure, Outcome, ensure};

pub fn run(world: &mut World) -> Outcome {
    world.only_ulvs("its virtual addresses are the host's own")?;
    world.need("setpriv", "util-linux")?;
    if !geteuid().is_root() {
        return Err(Failure::skipped("another user's number needs root"));
    }
    world.build(Topology::Nat, Director::Absent)?;
    let program = ulvs().to_string_lossy();
    let director = world.director_with_net_raw(&[])?;
    director.await_line(20, |line| line == "ready")?;
    world.add_services("-t", 80, "rr")?;
    for (vip, length, nodad) in [(VIPS[0], 32, ""), (VIPS[1], 128, " nodad")] {
        ensure!(world.curl(vip, 3)?.len() == 3, "{vip} is not served to begin with");

        world.shell("director", &format!("ip addr add {vip}/{length} dev eth0{nodad}"))?;
        let sentence = format!("{vip} is an address of this host");
        director.await_line(10, |line| line.contains(&sentence))?;
        let status = world.check("director", &[&program, "status"])?;
        ensure!(status.contains(&sentence), "the status does not tell:\n{status}");
        // The neighbour that the client knows may still be the virtual MAC, which nobody has now.
        world.shell("client", "ip neigh flush all; ip -6 neigh flush all")?;
        let passing = world.watch("client", "eth0", &[])?;
        let answers = world.ask("tcp", &endpoint(vip, 80), &[])?;
        ensure!(answers.keys().any(|answer| answer.contains("Connection refused")), "{vip}: {answers:?}");
        let lines = world.seen(&passing)?;
        let from = format!(" {vip}.80 > ");
        let said: Vec<&String> =
            lines.iter().filter(|line| line.starts_with("in ") && line.contains(&from)).collect();
        ensure!(said.len() == 1 && said[0].contains(" tcp R"), "{vip}: more than the kernel answered: {said:?}");
        let refused = world.adm(&format!("-A -t {} -s rr", endpoint(vip, 81)));
        ensure!(refused.is_err(), "{vip}: another service on it was let in");

        world.shell("director", &format!("ip addr del {vip}/{length} dev eth0"))?;
        director.await_line(10, |line| line.contains(&format!("{vip} is no address of this host any more")))?;
        world.shell("client", "ip neigh flush all; ip -6 neigh flush all")?;
        ensure!(world.curl(vip, 3)?.len() == 3, "{vip} is not served again");
    }
    Ok(())
}
