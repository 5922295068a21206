//! The director as an ordinary user with CAP_NET_RAW and nothing else, on a host that forwards:
//! with a hardware address of its own it needs nobody's help.

use nix::unistd::geteuid;
use ulvs::lab::Topology;

use super::n01_nat_http::turns;
use super::n08_howto::each_answer_came_once;
use crate::world::{Director, World};
use crate::{Failure, Outcome};

/// The gateway's addresses become the director's own, in a way that the kernel knows nothing of.
const HOST: &str = "
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
ip addr del 10.0.2.1/24 dev eth1
ip addr add 10.0.2.254/24 dev eth1
ip addr del fd00:2::1/64 dev eth1
ip addr add fd00:2::254/64 dev eth1 nodad
";

pub fn run(world: &mut World) -> Outcome {
    world.only_ulvs("it needs CAP_NET_ADMIN")?;
    world.need("setpriv", "util-linux")?;
    if !geteuid().is_root() {
        return Err(Failure::skipped("another user's number needs root"));
    }
    world.build(Topology::Nat, Director::Absent)?;
    world.shell("director", HOST)?;
    let _director = world.director_with_net_raw(&[        "--interface",
        "eth0",
        "--interface",
        "eth1",
        "--vip-mac",
        "00:00:5e:00:01:64",
        "--gateway-ip",
        "10.0.2.1/24",
        "--gateway-ip",
        "fd00:2::1/64",
])?;
    let listing = || world.lab().ipvsadm(&["-L", "-n"]).output();
    world.until(20, "an answer of the director", || Ok(listing()?.status.success()))?;
    world.add_services("-t", 80, "rr")?;
    let passing = world.watch("client", "eth0", &[])?;
    turns(world)?;
    each_answer_came_once(&world.seen(&passing)?, 60)
}
