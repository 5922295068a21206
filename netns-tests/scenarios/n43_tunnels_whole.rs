//! Large uploads by tunnel, which leave the director as super-frames: what arrives is what was sent, whether the link
//! takes them whole or the director's kernel has to cut them and finish their checksums, and whether the real server's
//! kernel takes the tunnels apart or user space. Where programs are not permitted the director says so and cuts
//! super-frames itself.

use std::path::Path;

use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use ulvs::lab::build::find_program;
use ulvs::lab::topology::endpoint;

use super::n04_bulk::{same, write_original};
use super::n41_xdp::checksum_errors;
use super::n42_shortcut;
use crate::world::{Director, VIPS, World, ulvs};
use crate::{Failure, Outcome, ensure};

const LENGTH: u64 = 40 << 20;
const PORT: u16 = 8080;
const ROLES: [&str; 3] = ["rs1", "rs2", "rs3"];

pub fn run(world: &mut World) -> Outcome {
    world.only_ulvs("it has one way out")?;
    world.need("curl", "curl")?;
    world.need("ethtool", "ethtool")?;
    for way in ["kernel", "user"] {
        taken_apart(world, way)?;
    }
    let original = world.lab().directory().join("files/bulk");
    says_why_not(world, &original)
}

/// Uploads, of which real servers take the tunnels apart that way.
fn taken_apart(world: &mut World, way: &str) -> Outcome {
    n42_shortcut::build(world, way, Director::Absent)?;
    let director = world.start_director(&[])?.ok_or_else(|| Failure::failed("no director"))?;
    world.add_services("-t", PORT, "rr")?;
    let original = world.lab().directory().join("files/bulk");
    write_original(&original, LENGTH)?;
    let status = world.ulvs("director", &["status"])?;
    let said = status.await_line(5, |line| line.contains("super-frames"))?;
    if said.contains("are cut") {
        return Err(Failure::skipped(said));
    }
    for kind in ["ipip", "gre"] {
        if kind == "gre" {
            for line in world.lab().plan().service_lines("-t", PORT, "rr") {
                if let Some(destination) = line.strip_prefix("-a ") {
                    world.adm(&format!("-e {destination} --tun-type gre"))?;
                }
            }
        }
        for offloads in ["on", "off"] {
            let what = format!("{kind}, offloads {offloads}, --decapsulate {way}");
            world.shell("director", &format!("ethtool -K eth0 tx {offloads} gso {offloads} tso {offloads}"))?;
            let before = whole(world)?;
            upload(world, &original, &what)?;
            let sent = whole(world)? - before;
            // Two families; a super-frame holds at most 64 KiB, and many hold less.
            ensure!(sent >= 2 * (LENGTH >> 16) / 2, "{what}: {sent} super-frames left whole");
            for role in ROLES {
                let wrong = checksum_errors(world, role)?;
                ensure!(wrong == 0, "{what}: {wrong} packets with wrong checksums at {role}");
            }
        }
    }
    // What has left whole is plain to the real server's kernel too.
    if way == "kernel" {
        n42_shortcut::nearly_all(world)?;
    }
    director.signal(Signal::SIGKILL);
    world.until(5, "the director's end", || Ok(!director.is_alive()))
}

/// Where no program may be loaded, everything goes on as without.
fn says_why_not(world: &mut World, original: &Path) -> Outcome {
    if !geteuid().is_root() || find_program("setpriv").is_none() {
        return Ok(());
    }
    let arguments = world.lab().director_arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let director = world.director_with_net_raw(&arguments)?;
    director.await_line(10, |line| line == "ready")?;
    world.add_services("-t", PORT, "rr")?;
    director.await_line(5, |line| line.contains("super-frames are cut for tunnels: ") && line.contains("CAP_BPF"))?;
    upload(world, original, "with CAP_NET_RAW alone")?;
    ensure!(whole(world)? == 0, "super-frames were sent whole without the right to");
    Ok(())
}

/// Uploads the file by both families, and compares what was stored.
fn upload(world: &World, original: &Path, what: &str) -> Outcome {
    let directory = world.lab().directory();
    for vip in VIPS {
        let url = format!("http://{}/up", endpoint(vip, PORT));
        let input = original.to_string_lossy();
        let answer = world.check("client", &["curl", "-sSg", "--max-time", "60", "-T", &input, &url])?;
        let stored = directory.join(answer.split(' ').next().unwrap_or_default()).join("up");
        ensure!(stored.exists(), "{what}, {vip}: the upload was answered by {answer:?}");
        ensure!(same(original, &stored)?, "{what}, {vip}: what was stored is not what was uploaded");
        std::fs::remove_file(&stored)?;
    }
    Ok(())
}

/// How many super-frames in tunnels the director has sent whole.
fn whole(world: &World) -> Result<u64, Failure> {
    let lines = world.check("director", &[&ulvs().to_string_lossy(), "stats"])?;
    // Group, link and name, count.
    let counts = lines.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let counts = counts.filter(|words| words.first() == Some(&"port") && words.get(2) == Some(&"tunneled"));
    Ok(counts.filter_map(|words| words.get(3)?.parse::<u64>().ok()).sum())
}
