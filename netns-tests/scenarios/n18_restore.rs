//! Hundreds of lines restored from a file, saved, and restored from what was saved.

use std::fmt::Write;
use std::fs;

use ulvs::lab::Topology;

use crate::world::{Director, World};
use crate::{Outcome, ensure};

const SERVICES: u16 = 80;
const SERVERS: u16 = 5;

pub fn run(world: &mut World) -> Outcome {
    world.build(Topology::Nat, Director::Started)?;
    let tools = world.tools()?;
    let directory = world.lab().directory();
    let (first, saved) = (directory.join("first"), directory.join("saved"));
    fs::write(&first, rules())?;
    let shell = |script: &str| {
        world.shell("director", &format!("export ULVS_AUTOSTART=0 PATH={}:$PATH\n{script}", tools.display()))
    };
    shell(&format!("ipvsadm-restore < {}", first.display()))?;
    let once = shell("ipvsadm -S -n")?;
    let lines = usize::from(SERVICES + SERVICES * SERVERS);
    ensure!(once.lines().count() == lines, "{lines} lines were restored, and {} saved", once.lines().count());
    ensure!(sorted(&once) == sorted(&rules().replace("# several hundred rules\n", "")), "other rules came out");

    shell(&format!("ipvsadm-save -n > {}", saved.display()))?;
    shell("ipvsadm -C")?;
    ensure!(shell("ipvsadm -S -n")?.is_empty(), "not cleared");
    shell(&format!("ipvsadm-restore < {}", saved.display()))?;
    ensure!(sorted(&shell("ipvsadm -S -n")?) == sorted(&once), "the second time something else came out");
    ensure!(shell("ipvsadm -L -n")?.lines().count() == lines + 3, "the listing is not complete");
    Ok(())
}

/// Rules as ipvsadm -S writes them, with a comment as ipvsadm-restore allows it.
fn rules() -> String {
    let mut rules = "# several hundred rules\n".to_owned();
    for number in 0..SERVICES {
        let (protocol, port) = (if number % 2 == 0 { "-t" } else { "-u" }, 1000 + number);
        let scheduler = ["rr", "wrr", "lc", "wlc", "sh"][usize::from(number % 5)];
        let (vip, network) = if number % 4 < 2 { ("10.0.1.100", "10.0.2.") } else { ("[fd00:1::100]", "[fd00:2::") };
        let end = if number % 4 < 2 { "" } else { "]" };
        let persistent = if number % 7 == 0 { " -p 300" } else { "" };
        // Writing to a string cannot fail.
        let _ = writeln!(rules, "-A {protocol} {vip}:{port} -s {scheduler}{persistent}");
        for server in 0..SERVERS {
            let _ = writeln!(rules, "-a {protocol} {vip}:{port} -r {network}{}{end}:{port} -m -w {server}", 11 + server);
        }
    }
    rules
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.sort_unstable();
    lines
}
