//! What the kernel's own test of IPVS tries: direct routing, NAT and a tunnel, each with one
//! connection that carries 32 bytes, `ipvsadm` in PATH and nobody starting anything else.
//!
//! ```text
//!             10.0.0.2 client ═ br0 ═ veth01 ── veth10 director 10.0.0.1
//!                               ║                         172.16.0.1 veth12
//!            10.0.0.3 server veth20                                    │
//!          172.16.0.2 server veth21 ────────────────────────────────────┘
//! ```
//!
//! The VIP is in none of these networks: the client has a route to it by the director, which holds
//! it on lo, and so does the server, except with NAT. It comes to the director's lo after its
//! service, which is what the real thing does.

use std::fs;

use ulvs::lab::{RealServerKind, Subject, Topology};

use crate::session::Session;
use crate::world::{Director, World};
use crate::{Failure, Outcome, ensure};

const VIP: &str = "207.175.44.110";
const SERVER: &str = "172.16.0.2";
/// Not the 8080 of the original, at which a lab's real servers have something already.
const PORT: u16 = 8088;
/// How much the client says.
const LENGTH: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    DirectRouting,
    Masquerading,
    Tunnel,
}

/// Whether the director's host has the VIP, as the kernel's needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Host,
    Nobody,
}

pub fn run(world: &mut World) -> Outcome {
    world.need("socat", "socat")?;
    for method in [Method::DirectRouting, Method::Masquerading, Method::Tunnel] {
        one(world, method, Holder::Host)?;
    }
    if world.subject == Subject::Ulvs {
        for method in [Method::DirectRouting, Method::Masquerading, Method::Tunnel] {
            one(world, method, Holder::Nobody)?;
        }
    }
    Ok(())
}

fn one(world: &mut World, method: Method, holder: Holder) -> Outcome {
    let what = format!("{method:?}, the VIP held by {holder:?}");
    lay_network(world)?;
    let forwards = method != Method::Tunnel;
    set_up_director(world, method, holder, forwards)?;
    let _real_server = set_up_server(world, method)?;
    transfer(world).map_err(|failure| match failure {
        Failure::Failed(why) => Failure::failed(format!("{what}: {why}")),
        skipped => skipped,
    })?;
    // The kernel adds up what its processors counted every two seconds.
    let service = format!("{VIP}:{PORT}");
    world.until(60, &format!("{what}: the counting of the service's only connection"), || {
        let counted = world.adm("-Ln --stats --exact")?;
        let line = counted.lines().find(|line| line.contains(&service));
        Ok(line.and_then(|line| line.split_whitespace().nth(2)) == Some("1"))
    })?;
    Ok(())
}

/// The namespaces are those of a NAT lab, with wires of their own.
fn lay_network(world: &mut World) -> Outcome {
    world.build(Topology::Nat, Director::Absent)?;
    let lay = |role: &str, settings: &[&str], lines: &[&str]| -> Outcome {
        let settings: Vec<(String, &str)> = settings.iter().map(|path| ((*path).to_owned(), "0")).collect();
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        Ok(world.lab().shape(role, &settings, &lines)?)
    };
    lay("director", &[], &["addr flush dev lo scope global", "link del eth0", "link del eth1"])?;
    lay("rs1", &[], &["link del eth0"])?;
    lay("client", &[], &[
        "link add br0 type bridge mcast_snooping 0",
        "link add veth01 type veth peer name veth10 netns @director",
        "link add veth02 type veth peer name veth20 netns @rs1",
        "link set veth01 master br0 up",
        "link set veth02 master br0 up",
        "link set br0 up",
        "addr add 10.0.0.2/24 dev br0",
        "route add 207.175.44.110/32 via 10.0.0.1 dev br0",
    ])?;
    lay("director", &["net/ipv4/conf/veth10/rp_filter"], &[
        "link add veth12 type veth peer name veth21 netns @rs1",
        "link set veth10 up",
        "link set veth12 up",
        "addr add 10.0.0.1/24 dev veth10",
        "addr add 172.16.0.1/24 dev veth12",
    ])?;
    lay("rs1", &["net/ipv4/conf/veth20/rp_filter", "net/ipv4/conf/veth21/rp_filter"], &[
        "link set veth20 up",
        "link set veth21 up",
        "addr add 10.0.0.3/24 dev veth20",
        "addr add 172.16.0.2/24 dev veth21",
    ])
}

/// What a script does, line by line, in its order.
fn set_up_director(world: &World, method: Method, holder: Holder, forwards: bool) -> Outcome {
    let tools = world.tools()?;
    let option = match method {
        Method::DirectRouting => "",
        Method::Masquerading => "-m",
        Method::Tunnel => "-i",
    };
    let mut script = format!(
        "PATH={}:$PATH\necho {} > /proc/sys/net/ipv4/ip_forward\n",
        tools.display(),
        u8::from(forwards)
    );
    if method == Method::Tunnel {
        script.push_str("echo 0 > /proc/sys/net/ipv4/conf/all/send_redirects\n");
        script.push_str("echo 0 > /proc/sys/net/ipv4/conf/default/send_redirects\n");
        if world.subject == Subject::Kernel {
            script.push_str("modprobe -q ipip || true\nip link set tunl0 up\n");
        }
    }
    script.push_str(&format!("ipvsadm -A -t {VIP}:{PORT} -s rr\n"));
    script.push_str(&format!("ipvsadm -a {option} -t {VIP}:{PORT} -r {SERVER}:{PORT}\n"));
    if holder == Holder::Host {
        script.push_str(&format!("ip addr add {VIP}/32 dev lo\n"));
    }
    world.shell("director", &script).map(drop)
}

/// Makes the server accept what comes in this way; what runs meanwhile, where something does.
fn set_up_server(world: &World, method: Method) -> Result<Option<Session>, Failure> {
    const QUIET: &str = "echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore
        echo 2 > /proc/sys/net/ipv4/conf/all/arp_announce
        echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter\n";
    match method {
        Method::Masquerading => {
            world.shell("rs1", "ip link del veth20\nip route add default via 172.16.0.1 dev veth21")?;
        }
        Method::DirectRouting => {
            world.shell("rs1", &format!("{QUIET}ip addr add {VIP}/32 dev lo"))?;
        }
        Method::Tunnel if world.real_servers == RealServerKind::Kernel => {
            let device = "modprobe -q ipip || true\nip link set tunl0 up\n";
            let filter = "echo 0 > /proc/sys/net/ipv4/conf/tunl0/rp_filter\n";
            world.shell("rs1", &format!("{device}{QUIET}{filter}ip addr add {VIP}/32 dev lo"))?;
        }
        Method::Tunnel => {
            let directory = world.lab().directory();
            let state = directory.to_string_lossy();
            let running =
                world.ulvs("rs1", &["realserver", "--vip", VIP, "--mode", "tun", "--state-directory", &state])?;
            running.await_line(60, |line| line == "ready").map_err(|failure| match failure {
                Failure::Failed(why) if why.contains("/dev/net/tun") => Failure::skipped(why),
                other => other,
            })?;
            return Ok(Some(running));
        }
    }
    Ok(None)
}

/// One connection, at whose end the server has what the client said.
fn transfer(world: &World) -> Outcome {
    let directory = world.lab().directory();
    let (said, heard) = (directory.join("said"), directory.join("heard"));
    let words: Vec<u8> = (0..LENGTH).map(|at| (at * 37 + 11) as u8).collect();
    fs::write(&said, &words)?;
    let target = format!("OPEN:{},creat,trunc", heard.display());
    let listen = format!("TCP-LISTEN:{PORT},reuseaddr");
    let mut server = world.session("rs1", &["socat", "-u", "-4", &listen, &target])?;
    world.until(60, "the server's listening", || Ok(world.lab().is_listening("rs1", PORT)))?;
    let connect = format!("TCP:{VIP}:{PORT},connect-timeout=60");
    world.shell("client", &format!("socat -u -4 STDIN {connect} < {}", said.display()))?;
    ensure!(server.await_end(60)?, "the server ended badly: {:?}", server.lines());
    let got = fs::read(&heard)?;
    ensure!(got == words, "the server heard {got:02x?}");
    Ok(())
}
