//! Upper thresholds: full servers get nothing more, and all of them full means refusal, until
//! there is room again.

use ulvs::lab::Topology;
use ulvs::lab::topology::endpoint;

use crate::session::Session;
use crate::world::{Director, VIPS, World, errors};
use crate::{Failure, Outcome, ensure};

pub fn run(world: &mut World) -> Outcome {
    world.build(Topology::Nat, Director::Started)?;
    let vip = VIPS[0];
    world.add_services("-t", 7, "rr")?;
    world.add_services("-u", 7, "rr")?;
    let service = endpoint(vip, 7);
    let set = |protocol: &str, upper: u32| -> Outcome {
        for number in 1..=3 {
            world.adm(&format!("-e {protocol} {service} -r {} -m -x {upper}", world.real(number, vip, 7)))?;
        }
        Ok(())
    };

    set("-t", 1)?;
    let mut held: Vec<Session> = (0..3).map(|_| world.connect(vip)).collect::<Result<_, Failure>>()?;
    let mut servers = held.iter_mut().map(|connection| connection.echo("held")).collect::<Result<Vec<_>, _>>()?;
    servers.sort();
    ensure!(servers == ["rs1", "rs2", "rs3"], "one each was allowed: {servers:?}");
    let answers = world.ask("tcp", &service, &["--patience", "700"])?;
    ensure!(errors(&answers) == 1, "all were full, and yet: {answers:?}");
    set("-t", 0)?;
    let answers = world.ask("tcp", &service, &["--count", "6"])?;
    ensure!(errors(&answers) == 0, "without a threshold: {answers:?}");

    // Flows leave by themselves, and make room.
    world.adm("--set 0 0 2")?;
    set("-u", 2)?;
    let options = ["--count", "7", "--patience", "700", "--first-port", "10000"];
    let answers = world.ask("udp", &service, &options)?;
    ensure!(errors(&answers) == 1 && answers.values().sum::<u32>() == 7, "six had room: {answers:?}");
    let again = || Ok(errors(&world.ask("udp", &service, &["--patience", "300"])?) == 0);
    world.until(20, "room for a flow", again)
}
