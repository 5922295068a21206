//! `ulvs realserver` leaves a real server as it found it: at its end, and after being killed at
//! the next start.

use std::time::Duration;

use nix::sys::signal::Signal;
use ulvs::lab::wait::Deadline;
use ulvs::lab::{Process, Subject, Topology};

use crate::session::Session;
use crate::world::{Director, World};
use crate::{Failure, Outcome, ensure};

const CHANGED: &str = "net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.eth0.arp_announce=2";

/// Seconds that anything may take, even in an emulated machine.
const PATIENCE: u64 = 60;

pub fn run(world: &mut World) -> Outcome {
    // The real servers of a NAT lab are as a real server is before anything is done to it.
    world.build(Topology::Nat, Director::Absent)?;
    world.shell("rs1", "echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter")?;
    let before = state(world)?;
    for mode in ["dr", "tun", "tun --decapsulate user"] {
        let (running, process) = start(world, mode)?;
        let during = state(world)?;
        for sign in ["10.0.1.100/32", "fd00:1::100/128"].into_iter().chain(CHANGED.split(' ')) {
            ensure!(during.contains(sign), "{mode}: {sign} is not there:\n{during}");
        }
        let second = realserver(world, "dr")?.await_end(PATIENCE)?;
        ensure!(!second, "{mode}: a second one was let in");
        let asked = Deadline::after_seconds(PATIENCE);
        process.signal(Signal::SIGTERM);
        world.until(PATIENCE, "its end", || Ok(!process.is_alive()))?;
        // An emulated machine is slow.
        let prompt = world.subject == Subject::Kernel || asked.elapsed() <= Duration::from_secs(1);
        ensure!(prompt, "{mode}: it took {:?}", asked.elapsed());
        drop(running);
        same(mode, &before, &state(world)?)?;

        let (running, process) = start(world, mode)?;
        process.signal(Signal::SIGKILL);
        world.until(PATIENCE, "its end", || Ok(!process.is_alive()))?;
        drop(running);
        let left = state(world)?;
        ensure!(left != before, "{mode}: nothing was left behind by the killed one, so nothing is tested");
        let (running, process) = start(world, "dr")?;
        process.signal(Signal::SIGINT);
        world.until(PATIENCE, "its end", || Ok(!process.is_alive()))?;
        drop(running);
        same(mode, &before, &state(world)?)?;
    }
    Ok(())
}

fn realserver(world: &World, mode: &str) -> Result<Session, Failure> {
    let directory = world.lab().directory();
    let state = directory.to_string_lossy();
    let usual = ["realserver", "--vip", "10.0.1.100,fd00:1::100", "--state-directory", &state, "--mode"];
    let mode: Vec<&str> = mode.split(' ').collect();
    world.ulvs("rs1", &[&usual[..], &mode].concat())
}

fn start(world: &World, mode: &str) -> Result<(Session, Process), Failure> {
    let running = realserver(world, mode)?;
    running.await_line(PATIENCE, |line| line == "ready").map_err(|failure| match failure {
        Failure::Failed(why) if why.contains("you must be root") || why.contains("/dev/net/tun") => Failure::skipped(why),
        other => other,
    })?;
    let process = running.process().ok_or_else(|| Failure::failed("it ended at once"))?;
    Ok((running, process))
}

/// Addresses and settings of the real server.
fn state(world: &World) -> Result<String, Failure> {
    world.shell(
        "rs1",
        "ip -o addr | sed 's/^[0-9]*: //; s/ valid_lft.*//; s/\\\\.*//'
         for name in all lo eth0 default
         do for setting in arp_ignore arp_announce rp_filter
            do echo net.ipv4.conf.$name.$setting=$(cat /proc/sys/net/ipv4/conf/$name/$setting)
            done
         done",
    )
}

fn same(mode: &str, before: &str, after: &str) -> Outcome {
    ensure!(before == after, "{mode}: it was\n{before}\nand is\n{after}");
    Ok(())
}
