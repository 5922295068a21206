//! An old how-to's script, unchanged: the VIP is an address of the director, which forwards, and
//! nobody starts anything but `ipvsadm`. Every answer comes once.

use ulvs::lab::Topology;

use super::n01_nat_http::turns;
use crate::world::{Director, VIPS, World};
use crate::{Outcome, ensure};

/// For NAT, after the LVS mini-HOWTO's fashion.
const NAT: &str = "
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
echo 0 > /proc/sys/net/ipv4/conf/all/send_redirects
echo 0 > /proc/sys/net/ipv4/conf/eth0/send_redirects
ip addr replace 10.0.1.100/32 dev eth0
ip addr replace fd00:1::100/128 dev eth0 nodad
ipvsadm -C
ipvsadm -A -t 10.0.1.100:80 -s rr
ipvsadm -a -t 10.0.1.100:80 -r 10.0.2.11:80 -m
ipvsadm -a -t 10.0.1.100:80 -r 10.0.2.12:80 -m
ipvsadm -a -t 10.0.1.100:80 -r 10.0.2.13:80 -m
ipvsadm -A -t [fd00:1::100]:80 -s rr
ipvsadm -a -t [fd00:1::100]:80 -r [fd00:2::11]:80 -m
ipvsadm -a -t [fd00:1::100]:80 -r [fd00:2::12]:80 -m
ipvsadm -a -t [fd00:1::100]:80 -r [fd00:2::13]:80 -m
";

/// For direct routing, with the VIP on lo and long options.
const DR: &str = "
echo 1 > /proc/sys/net/ipv4/ip_forward
ip addr del 10.0.1.100/32 dev eth0 2> /dev/null || true
ip addr del fd00:1::100/128 dev eth0 2> /dev/null || true
ip addr add 10.0.1.100/32 dev lo
ip addr add fd00:1::100/128 dev eth0 nodad
ipvsadm --clear
ipvsadm --add-service --tcp-service 10.0.1.100:80 --scheduler rr
for rip in 10.0.1.11 10.0.1.12 10.0.1.13
do ipvsadm --add-server --tcp-service 10.0.1.100:80 --real-server $rip:80 --gatewaying
done
ipvsadm -A -t [fd00:1::100]:http -s rr
for rip in fd00:1::11 fd00:1::12 fd00:1::13
do ipvsadm -a -t [fd00:1::100]:http -r [$rip]:http -g
done
";

pub fn run(world: &mut World) -> Outcome {
    for (topology, script) in [(Topology::Nat, NAT), (Topology::Dr, DR)] {
        world.build(topology, Director::Absent)?;
        let tools = world.tools()?;
        world.shell("director", &format!("PATH={}:$PATH\n{script}", tools.display()))?;
        let passing = world.watch("client", "eth0", &[])?;
        turns(world)?;
        each_answer_came_once(&world.seen(&passing)?, 60)?;
    }
    Ok(())
}

/// One SYN,ACK for each connection, no reset, and nothing from a real server's own address.
pub fn each_answer_came_once(lines: &[String], connections: usize) -> Outcome {
    let incoming = || lines.iter().filter(|line| line.starts_with("in "));
    let accepted = incoming().filter(|line| line.contains(" tcp S.")).count();
    ensure!(accepted == connections, "{connections} connections, but {accepted} times SYN,ACK");
    let resets: Vec<&String> = incoming().filter(|line| line.contains(" tcp R")).collect();
    ensure!(resets.is_empty(), "{resets:?}");
    let foreign: Vec<&String> = incoming()
        .filter(|line| line.contains(" tcp ") && !VIPS.iter().any(|vip| line.contains(&format!(" {vip}.80 > "))))
        .collect();
    ensure!(foreign.is_empty(), "answers that are not the VIP's: {foreign:?}");
    Ok(())
}
