//! Settings by `ulvs sysctl`, several at once and one of them bad, and the files of `ulvs proc`,
//! with two workers and traffic.

use ulvs::lab::Topology;
use ulvs::lab::topology::endpoint;

use crate::world::{Director, VIPS, World, errors, text};
use crate::{Outcome, ensure};

pub fn run(world: &mut World) -> Outcome {
    world.only_ulvs("it has sysctl(8) and /proc")?;
    world.build(Topology::Nat, Director::Absent)?;
    let mut arguments = world.lab().director_arguments();
    arguments.extend(["--workers".to_owned(), "2".to_owned()]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    world.start_director(&arguments)?;
    world.add_services("-t", 80, "rr")?;
    let ulvs = crate::world::ulvs().to_string_lossy().into_owned();

    let words = [&ulvs, "sysctl", "net.ipv4.vs.sloppy_tcp=1", "drop_entry=9", "net/ipv4/vs/am_droprate=0x4"];
    let output = world.run("director", &words)?;
    ensure!(!output.status.success(), "a bad value among others, and the status says that all is well");
    let said = text(&output.stdout);
    ensure!(said == "net.ipv4.vs.sloppy_tcp = 1\nnet.ipv4.vs.am_droprate = 4\n", "{said}");
    let complaint = text(&output.stderr);
    ensure!(complaint.contains("net.ipv4.vs.drop_entry: `9'") && complaint.lines().count() == 1, "{complaint}");
    let value = world.check("director", &[&ulvs, "sysctl", "-n", "drop_entry"])?;
    ensure!(value.trim() == "0", "drop_entry became {value}");

    for vip in VIPS {
        let web = world.ask("http", &endpoint(vip, 80), &["--count", "100", "--parallel", "8"])?;
        ensure!(errors(&web) == 0, "{vip}: {web:?}");
    }
    let services = world.check("director", &[&ulvs, "proc", "ip_vs"])?;
    let servers = services.lines().filter(|line| line.contains("Masq    1 ")).count();
    ensure!(services.contains("TCP  0A000164:0050 rr  \n") && servers == 6, "{services}");
    let connections = world.check("director", &[&ulvs, "proc", "ip_vs_conn"])?;
    ensure!(connections.lines().count() == 201, "{} lines instead of 201", connections.lines().count());
    world.until(10, "the counters show 200 connections", || {
        let lines = world.check("director", &[&ulvs, "proc", "ip_vs_stats_percpu"])?;
        let counts: Vec<u64> = lines
            .lines()
            .skip(2)
            .take(3)
            .filter_map(|line| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok())
            .collect();
        Ok(counts.len() == 3 && counts[0] + counts[1] == 200 && counts[2] == 200)
    })
}
