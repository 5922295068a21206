//! Packets come to the director by a TUN device, as where no packet socket is to be had: the
//! kernel routes what is for the VIP, and what real servers answer, into it. What leads there, and
//! the device itself, are back when somebody took them away.

use ulvs::lab::Topology;
use ulvs::lab::topology::endpoint;

use super::n01_nat_http::turns;
use super::n08_howto::each_answer_came_once;
use crate::world::{Director, VIPS, World, errors};
use crate::{Failure, Outcome};

/// Replies are what comes from the real servers' side; everything else goes its usual way.
const ROUTES: &str = "
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
echo 0 > /proc/sys/net/ipv4/conf/ulvs0/rp_filter
ip route replace 10.0.1.100/32 dev ulvs0
ip -6 route replace fd00:1::100/128 dev ulvs0
ip rule add iif eth1 lookup 100
ip -6 rule add iif eth1 lookup 100
ip route replace default dev ulvs0 table 100
ip -6 route replace default dev ulvs0 table 100
";

/// The client's way to the VIP is by the director, which need not answer ARP for it then.
const CLIENT: &str = "
ip route add 10.0.1.100/32 via 10.0.1.1
ip -6 route add fd00:1::100/128 via fd00:1::1
";

/// What network managers and operators do.
const LOSSES: [&str; 3] = [
    "ip link set ulvs0 down; ip link set ulvs0 up",
    "ip rule flush protocol 118; ip -6 rule flush protocol 118",
    "ip link del ulvs0",
];

pub fn run(world: &mut World) -> Outcome {
    world.only_ulvs("it is in the kernel's way already")?;
    if std::fs::File::options().read(true).write(true).open("/dev/net/tun").is_err() {
        return Err(Failure::skipped("/dev/net/tun cannot be opened"));
    }
    world.build(Topology::Nat, Director::Absent)?;
    world.start_director(&["--tun", "ulvs0"])?;
    world.shell("director", ROUTES)?;
    world.shell("client", CLIENT)?;
    world.add_services("-t", 80, "rr")?;
    let passing = world.watch("client", "eth0", &[])?;
    turns(world)?;
    each_answer_came_once(&world.seen(&passing)?, 60)?;
    // From here on only the director leads packets to itself.
    world.shell("director", "ip rule del iif eth1 lookup 100; ip -6 rule del iif eth1 lookup 100")?;
    for loss in LOSSES {
        world.shell("director", loss)?;
        for vip in VIPS {
            world.until(20, "answers again", || {
                let answers = world.ask("http", &endpoint(vip, 80), &["--count", "3", "--patience", "700"])?;
                Ok(errors(&answers) == 0)
            })?;
        }
    }
    Ok(())
}
