//! Labs themselves: what is up can be listed, entered and taken down, and leaves nothing, not even
//! where its keeper is killed.

use nix::sys::signal::Signal;
use ulvs::lab::{Record, Topology, down};

use crate::world::{Director, World};
use crate::{Failure, Outcome, ensure};

pub fn run(world: &mut World) -> Outcome {
    for topology in Topology::ALL {
        world.build(topology, Director::Absent)?;
        let name = world.lab().name().to_owned();
        ensure!(Record::names().contains(&name), "{name} is not listed");
        // Somebody works in it, unknown to the lab.
        let shell = world.session("client", &["sleep", "600"])?;
        let inside = shell.process().ok_or_else(|| Failure::failed("it ended at once"))?;
        // Started, it becomes what it was asked to be only after it has entered.
        world.until(5, "the shell's entry", || {
            let entered = world.check("client", &["readlink", "/proc/self/ns/net"])?;
            let its = std::fs::read_link(format!("/proc/{}/ns/net", inside.id))?;
            Ok(its.to_string_lossy() == entered.trim())
        })?;
        let record = world.lab().record().clone();
        if topology == Topology::Dr {
            if let Some(keeper) = record.keeper {
                keeper.signal(Signal::SIGKILL);
                world.until(5, "the keeper's end", || Ok(!keeper.is_alive()))?;
            }
            inside.signal(Signal::SIGKILL);
        }
        let ended = down(&name)?;
        ensure!(ended.len() >= record.processes.len(), "{ended:?}");
        for process in record.processes.iter().map(|known| known.process).chain(record.keeper).chain([inside]) {
            ensure!(!process.is_alive(), "process {} is left", process.id);
        }
        ensure!(!record.directory().exists(), "{} is left", record.directory().display());
        ensure!(!Record::names().contains(&name), "{name} is still listed");
        world.forget();
    }
    Ok(())
}
