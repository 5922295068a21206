//! Two workers: every connection and flow is answered, and counted once, whichever worker has it.

use ulvs::lab::Topology;
use ulvs::lab::topology::endpoint;

use crate::world::{Director, VIPS, World, errors};
use crate::{Outcome, ensure};

pub fn run(world: &mut World) -> Outcome {
    world.only_ulvs("it has no workers")?;
    world.build(Topology::Nat, Director::Absent)?;
    let mut arguments = world.lab().director_arguments();
    arguments.extend(["--workers".to_owned(), "2".to_owned()]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    world.start_director(&arguments)?;
    world.add_services("-t", 80, "rr")?;
    world.add_services("-u", 7, "rr")?;
    for vip in VIPS {
        let web = world.ask("http", &endpoint(vip, 80), &["--count", "300", "--parallel", "8"])?;
        ensure!(errors(&web) == 0 && web.values().sum::<u32>() == 300, "{vip}: {web:?}");
        ensure!(web.len() == 3, "{vip}: not every server had its share: {web:?}");
        let options = ["--count", "1000", "--parallel", "8", "--first-port", "10000"];
        let flows = world.ask("udp", &endpoint(vip, 7), &options)?;
        ensure!(errors(&flows) == 0 && flows.values().sum::<u32>() == 1000, "{vip}: {flows:?}");
    }
    let listing = world.adm("-L -n -c")?;
    let connections = listing.lines().filter(|line| line.starts_with("TCP") || line.starts_with("UDP")).count();
    ensure!(connections == 2600, "2600 connections and flows, but {connections} are listed");
    // Counters show up within two seconds.
    world.until(10, "the counters say 2600", || {
        let statistics = world.adm("-L -n --stats --exact")?;
        let counted: u64 = statistics
            .lines()
            .filter(|line| line.starts_with("TCP") || line.starts_with("UDP"))
            .filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok())
            .sum();
        Ok(counted == 2600)
    })
}
