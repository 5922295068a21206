//! The director's host has the VIP and forwards, and clients and real servers reach each other through it: pings, which
//! are none of the balancer's, cross it once. Beside a kernel that forwards, a director that does as well doubles them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ulvs::lab::Topology;
use ulvs::lab::topology::endpoint;

use crate::session::Session;
use crate::world::{Director, VIPS, World, read_answers, ulvs};
use crate::{Outcome, ensure};

const ROUTER: &str = "
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
ip addr replace 10.0.1.100/32 dev eth0
ip addr replace fd00:1::100/128 dev eth0 nodad preferred_lft 0
";
const ROUTES: &str = "
ip route replace 10.0.2.0/24 via 10.0.1.1
ip route replace fd00:2::/64 via fd00:1::1
";
const CLIENTS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 0, 1, 10)), IpAddr::V6(Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0x10))];
const COUNT: usize = 3;

pub fn run(world: &mut World) -> Outcome {
    world.build(Topology::Nat, Director::Absent)?;
    world.shell("director", ROUTER)?;
    world.shell("client", ROUTES)?;
    let arguments = world.lab().director_arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    world.start_director(&arguments)?;
    world.add_services("-t", 80, "rr")?;
    let count = COUNT.to_string();
    for (vip, client) in VIPS.into_iter().zip(CLIENTS) {
        let server = world.real(1, vip, 0);
        let passing = world.watch("client", "eth0", &[])?;
        let echoed = world.ask("ping", &server, &["--count", &count])?;
        ensure!(echoed.get("alive") == Some(&(COUNT as u32)), "{server}: {echoed:?}");
        once(world, &passing, "EchoReply")?;

        let passing = world.watch("client", "eth0", &[])?;
        let (program, client) = (ulvs().to_string_lossy(), endpoint(client, 0));
        let echoed = world.check("rs1", &[&program, "lab", "ask", "ping", &client, "--count", &count])?;
        ensure!(read_answers(&echoed).get("alive") == Some(&(COUNT as u32)), "{client}: {echoed}");
        once(world, &passing, "EchoRequest")?;
    }
    // What is the balancer's crosses it as well.
    for vip in VIPS {
        let pages = world.ask("http", &endpoint(vip, 80), &["--count", "3"])?;
        ensure!(pages == crate::world::shares([1; 3]), "{vip}: {pages:?}");
    }
    Ok(())
}

/// Whether the client has got each of the real server's messages once.
fn once(world: &World, passing: &Session, kind: &str) -> Outcome {
    let lines = world.seen(passing)?;
    let count = lines.iter().filter(|line| line.starts_with("in ") && line.contains(kind)).count();
    ensure!(count == COUNT, "{COUNT} sent, and {count} came: {lines:#?}");
    Ok(())
}
