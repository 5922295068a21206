//! The director is killed where it can clean nothing up, and started again: service goes on, and
//! once that one has ended in an orderly way, nothing of either is left.

use nix::sys::signal::Signal;
use ulvs::lab::Topology;

use super::n01_nat_http::turns;
use super::n08_howto::each_answer_came_once;
use super::n12_ended::{host_state, same_state};
use crate::world::{Director, World};
use crate::{Failure, Outcome};

/// What makes a guard necessary: the VIP is the host's own, and the host forwards.
pub const HOST: &str = "
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
ip addr add 10.0.1.100/32 dev eth0
ip addr add fd00:1::100/128 dev eth0 nodad
";

pub fn run(world: &mut World) -> Outcome {
    world.only_ulvs("it cannot be killed")?;
    world.need("nft", "nftables")?;
    world.build(Topology::Nat, Director::Absent)?;
    world.shell("director", HOST)?;
    let before = host_state(world)?;
    let first = world.start_director(&[])?.ok_or_else(|| Failure::failed("no director"))?;
    world.add_services("-t", 80, "rr")?;
    turns(world)?;
    first.signal(Signal::SIGKILL);
    world.until(5, "the director's end", || Ok(!first.is_alive()))?;

    let second = world.start_director(&[])?.ok_or_else(|| Failure::failed("no director"))?;
    world.add_services("-t", 80, "rr")?;
    let passing = world.watch("client", "eth0", &[])?;
    turns(world)?;
    each_answer_came_once(&world.seen(&passing)?, 60)?;
    second.signal(Signal::SIGTERM);
    world.until(5, "the director's end", || Ok(!second.is_alive()))?;
    same_state(&before, &host_state(world)?)
}
