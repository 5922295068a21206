//! Who is neither root nor the director's owner is told so, in ipvsadm's words.

use nix::unistd::geteuid;
use ulvs::lab::Topology;

use crate::world::{Director, World, text};
use crate::{Failure, Outcome, ensure};

pub fn run(world: &mut World) -> Outcome {
    world.need("setpriv", "util-linux")?;
    if !geteuid().is_root() {
        return Err(Failure::skipped("another user's number needs root"));
    }
    world.build(Topology::Nat, Director::Started)?;
    world.add_services("-t", 80, "rr")?;
    let tools = world.tools()?;
    let nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "env"];
    let path = format!("PATH={}:/usr/sbin:/usr/bin:/sbin:/bin", tools.display());
    for line in ["-L -n", "-C", "-A -t 10.0.1.100:81 -s rr"] {
        // Beside a director, and where none runs and this user cannot start one.
        for role in ["director", "client"] {
            let words = nobody.into_iter().chain([path.as_str(), "ipvsadm"]).chain(line.split(' '));
            let output = world.run(role, &words.collect::<Vec<_>>())?;
            let said = text(&output.stderr);
            ensure!(said.contains("Permission denied (you must be root)"), "ipvsadm {line}: {said:?}");
            ensure!(output.status.code() == Some(2), "ipvsadm {line}: {}", output.status);
        }
    }
    ensure!(world.adm("-L -n")?.contains("10.0.1.100:80 rr"), "the service is gone");
    Ok(())
}
