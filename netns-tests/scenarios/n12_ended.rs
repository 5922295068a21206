//! SIGTERM: within a second the host is as it was before the director came.

use std::time::Duration;

use nix::sys::signal::Signal;
use ulvs::lab::Topology;
use ulvs::lab::wait::Deadline;

use super::n01_nat_http::turns;
use super::n11_killed::HOST;
use crate::world::{Director, World};
use crate::{Failure, Outcome, ensure};

pub fn run(world: &mut World) -> Outcome {
    world.only_ulvs("it does not end")?;
    world.need("nft", "nftables")?;
    for prepare in ["true", HOST] {
        world.build(Topology::Nat, Director::Absent)?;
        world.shell("director", prepare)?;
        let before = host_state(world)?;
        let director = world.start_director(&[])?.ok_or_else(|| Failure::failed("no director"))?;
        world.add_services("-t", 80, "rr")?;
        turns(world)?;
        let asked = Deadline::after_seconds(5);
        director.signal(Signal::SIGTERM);
        world.until(5, "the director's end", || Ok(!director.is_alive()))?;
        ensure!(asked.elapsed() <= Duration::from_secs(1), "it took {:?}", asked.elapsed());
        same_state(&before, &host_state(world)?)?;
    }
    Ok(())
}

/// Everything that a director might have left on its host, by the name of what shows it.
pub fn host_state(world: &World) -> Result<Vec<(&'static str, String)>, Failure> {
    let shows = [
        ("links", "ip -o link | sed 's/ qlen .*//'"),
        ("addresses", "ip -o addr | sed 's/ valid_lft.*//'"),
        ("routes", "ip route show table all; ip -6 route show table all | grep -v ^multicast | sed 's/ expires.*//'"),
        ("rules", "ip rule; ip -6 rule"),
        ("proxied neighbours", "ip neigh show proxy; ip -6 neigh show proxy"),
        ("nft", "nft list ruleset"),
        ("packet sockets", "tail -n +2 /proc/net/packet | wc -l"),
        ("unix sockets", "grep -o '@ulvs.*' /proc/net/unix || true"),
        ("promiscuity", "ip -o -d link | grep -o 'promiscuity [0-9]*'"),
        ("multicast", "ip maddr | grep link || true"),
        ("settings", "sysctl -a 2> /dev/null | grep -E '^net.ipv[46]\\.(conf|ip_forward|neigh)' || true"),
    ];
    shows.into_iter().map(|(name, script)| Ok((name, world.shell("director", script)?))).collect()
}

/// Compares two states; what differs is the failure.
pub fn same_state(before: &[(&str, String)], after: &[(&str, String)]) -> Outcome {
    for ((name, before), (_, after)) in before.iter().zip(after) {
        ensure!(before == after, "{name} were\n{before}\nand are\n{after}");
    }
    Ok(())
}
