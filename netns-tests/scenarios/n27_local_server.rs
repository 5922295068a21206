//! The director is a real server itself, beside others: by NAT on another port than the service's,
//! large files in both directions, and a service that nobody has (whose client hears so from the
//! virtual address); by direct routing, the VIP being the host's own; with all packets by TUN. Afterwards nothing is left
//! of what led to it.

use std::fs;
use std::net::IpAddr;

use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use ulvs::lab::build::find_program;
use ulvs::lab::topology::endpoint;
use ulvs::lab::{Subject, Topology};

use super::n12_ended::{host_state, same_state};
use crate::session::Session;
use crate::world::{Director, VIPS, World, count, errors, ulvs};
use crate::{Failure, Outcome, ensure};

const REQUESTS: u32 = 20;
/// Where the director's own server listens, and where files go up and down.
const PORT: u16 = 8081;
const DOWN: u16 = 8082;
const LENGTH: usize = 5 << 20;
/// Nobody listens here.
const CLOSED: u16 = 99;
/// The kernel looks at where packets come from, as strictly as it can.
const STRICT: &str = "for link in all eth0 eth1; do echo 1 > /proc/sys/net/ipv4/conf/$link/rp_filter; done";
/// The director's address in a network of the lab's, of each family.
const IN_NET_1: [&str; 2] = ["10.0.1.1", "fd00:1::1"];
const IN_NET_2: [&str; 2] = ["10.0.2.1", "fd00:2::1"];

pub fn run(world: &mut World) -> Outcome {
    world.need("curl", "curl")?;
    world.need("socat", "socat")?;
    if world.subject == Subject::Ulvs {
        world.need("nft", "nftables")?;
        if fs::File::options().read(true).write(true).open("/dev/net/tun").is_err() {
            return Err(Failure::skipped("/dev/net/tun cannot be opened"));
        }
    }
    masqueraded(world)?;
    direct(world)?;
    if world.subject == Subject::Ulvs {
        by_tun(world)?;
        killed(world)?;
        without_a_way(world)?;
    }
    Ok(())
}

fn masqueraded(world: &mut World) -> Outcome {
    world.build(Topology::Nat, Director::Started)?;
    world.shell("director", STRICT)?;
    let _server = serve(world, PORT)?;
    let file = world.lab().directory().join("down");
    let bytes: Vec<u8> = (0..LENGTH as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(&file, &bytes)?;
    let listen = format!("TCP6-LISTEN:{DOWN},ipv6only=0,reuseaddr,fork");
    let opened = format!("OPEN:{},rdonly", file.display());
    let _file_server = world.session("director", &["socat", "-U", &listen, &opened])?;
    world.until(60, "listening", || Ok(world.lab().is_listening("director", DOWN)))?;
    let before = state(world)?;
    for (vip, own) in VIPS.into_iter().zip(IN_NET_2) {
        let own = address(own);
        let service = endpoint(vip, 80);
        world.adm(&format!("-A -t {service} -s rr"))?;
        world.adm(&format!("-a -t {service} -r {} -m", endpoint(own, PORT)))?;
        world.adm(&format!("-a -t {service} -r {} -m", world.real(1, vip, 80)))?;
        in_turn(world, vip)?;

        let service = endpoint(vip, DOWN);
        world.adm(&format!("-A -t {service} -s rr"))?;
        world.adm(&format!("-a -t {service} -r {} -m", endpoint(own, DOWN)))?;
        let fetch = format!("socat -u TCP:{service} STDOUT | cmp - {}", file.display());
        world.shell("client", &fetch)?;

        let service = endpoint(vip, 8080);
        world.adm(&format!("-A -t {service} -s rr"))?;
        world.adm(&format!("-a -t {service} -r {} -m", endpoint(own, PORT)))?;
        let (input, url) = (file.to_string_lossy(), format!("http://{service}/up"));
        world.check("client", &["curl", "-sSg", "--max-time", "240", "-T", &input, &url])?;
        let stored = world.lab().directory().join("director/up");
        ensure!(fs::read(&stored)? == bytes, "{vip}: what was stored is not what was uploaded");

        let service = endpoint(vip, CLOSED);
        world.adm(&format!("-A -u {service} -s rr"))?;
        world.adm(&format!("-a -u {service} -r {} -m", endpoint(own, CLOSED)))?;
        let answers = world.ask("udp", &service, &[])?;
        ensure!(answers.keys().any(|answer| answer.contains("refused")), "{vip}: {answers:?}");
    }
    // Who asks without the service hears as before, unless the kernel is strict.
    world.shell("director", &STRICT.replace("echo 1", "echo 2"))?;
    for own in IN_NET_2 {
        let url = format!("http://{}/", endpoint(address(own), PORT));
        let heard = world.check("rs1", &["curl", "-sSg", "--max-time", "20", &url])?;
        ensure!(heard.trim() == "director", "asked by itself: {heard:?}");
    }
    world.adm("-C")?;
    // A device goes when the worker has closed it, after the command.
    world.until(5, "the device's end", || Ok(same_state(&before, &state(world)?).is_ok()))
}

/// Everybody has the VIP: the director's own on lo, or where the plan has it.
fn direct(world: &mut World) -> Outcome {
    world.build(Topology::Dr, Director::Started)?;
    let _server = serve(world, 80)?;
    if world.subject == Subject::Ulvs {
        // Nobody on the link hears of an IPv6 address on lo.
        let [v4, v6] = VIPS;
        world.shell("director", &format!("ip addr add {v4}/32 dev lo; ip addr add {v6}/128 dev eth0 nodad"))?;
    }
    let before = state(world)?;
    for (vip, own) in VIPS.into_iter().zip(IN_NET_1) {
        let service = endpoint(vip, 80);
        world.adm(&format!("-A -t {service} -s rr"))?;
        world.adm(&format!("-a -t {service} -r {} -g", endpoint(address(own), 80)))?;
        world.adm(&format!("-a -t {service} -r {} -g", world.real(1, vip, 80)))?;
        in_turn(world, vip)?;
    }
    world.adm("-C")?;
    world.until(5, "the device's end", || Ok(same_state(&before, &state(world)?).is_ok()))
}

/// The kernel hands the director everything by a TUN device.
fn by_tun(world: &mut World) -> Outcome {
    world.build(Topology::Nat, Director::Absent)?;
    world.shell("director", "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")?;
    let _server = serve(world, PORT)?;
    world.start_director(&["--tun", "ulvs0"])?;
    for ((vip, own), gateway) in VIPS.into_iter().zip(IN_NET_2).zip(IN_NET_1) {
        let service = endpoint(vip, 80);
        world.adm(&format!("-A -t {service} -s rr"))?;
        world.adm(&format!("-a -t {service} -r {} -m", endpoint(address(own), PORT)))?;
        world.adm(&format!("-a -t {service} -r {} -m", world.real(1, vip, 80)))?;
        world.shell("client", &format!("ip route add {vip} via {gateway}"))?;
        in_turn(world, vip)?;
    }
    Ok(())
}

/// The director is killed; the next one clears away the rules that are left.
fn killed(world: &mut World) -> Outcome {
    world.build(Topology::Nat, Director::Absent)?;
    let _server = serve(world, PORT)?;
    let before = host_state(world)?;
    let first = world.start_director(&[])?.ok_or_else(|| Failure::failed("no director"))?;
    let service = endpoint(VIPS[0], 80);
    let add = |world: &World| -> Outcome {
        world.adm(&format!("-A -t {service} -s rr"))?;
        world.adm(&format!("-a -t {service} -r {} -m", endpoint(address(IN_NET_2[0]), PORT)))?;
        let answers = world.curl(VIPS[0], 3)?;
        ensure!(answers == ["director"; 3], "{answers:?}");
        Ok(())
    };
    add(world)?;
    first.signal(Signal::SIGKILL);
    world.until(5, "the director's end", || Ok(!first.is_alive()))?;
    // The kernel takes a killed process's device away in its own time.
    world.until(5, "the device's end", || Ok(!world.check("director", &["ip", "-o", "link"])?.contains("ulvs")))?;
    let second = world.start_director(&[])?.ok_or_else(|| Failure::failed("no director"))?;
    let rules = world.check("director", &["ip", "rule"])?;
    ensure!(!rules.contains("11801"), "rules are left:\n{rules}");
    add(world)?;
    second.signal(Signal::SIGTERM);
    world.until(5, "the director's end", || Ok(!second.is_alive()))?;
    same_state(&before, &host_state(world)?)
}

/// Nothing but CAP_NET_RAW: it is said, and what is dropped is counted.
fn without_a_way(world: &mut World) -> Outcome {
    if !geteuid().is_root() || find_program("setpriv").is_none() {
        return Ok(());
    }
    world.build(Topology::Nat, Director::Absent)?;
    let _server = serve(world, PORT)?;
    let program = ulvs().to_string_lossy();
    let director = world.director_with_net_raw(&[])?;
    director.await_line(20, |line| line == "ready")?;
    let service = endpoint(VIPS[0], 80);
    world.adm(&format!("-A -t {service} -s rr"))?;
    world.adm(&format!("-a -t {service} -r {} -m", endpoint(address(IN_NET_2[0]), PORT)))?;
    let status = world.check("director", &[&program, "status"])?;
    ensure!(status.contains("this host itself are not reached"), "the status does not tell:\n{status}");
    let answers = world.ask("tcp", &service, &["--patience", "200"])?;
    ensure!(errors(&answers) == 1, "{answers:?}");
    let counts = world.check("director", &[&program, "stats", "--nonzero"])?;
    ensure!(counts.contains("local-nat-server"), "what was dropped is not counted:\n{counts}");
    Ok(())
}

/// Starts a server in the director's namespace that answers with `director`.
fn serve(world: &World, port: u16) -> Result<Session, Failure> {
    let directory = world.lab().directory().join("director");
    fs::create_dir_all(&directory)?;
    let (port_text, path) = (port.to_string(), directory.to_string_lossy());
    let server = ["lab", "serve", "--name", "director", "--http", &port_text, "--directory", &path];
    let server = world.ulvs("director", &server)?;
    world.until(60, "listening", || Ok(world.lab().is_listening("director", port)))?;
    Ok(server)
}

fn in_turn(world: &World, vip: IpAddr) -> Outcome {
    let answers = world.curl(vip, REQUESTS)?;
    let by = count(&answers);
    let half = REQUESTS / 2;
    let expected = [("director".to_owned(), half), ("rs1".to_owned(), half)].into();
    ensure!(by == expected, "{vip}: {by:?}");
    ensure!(answers.windows(2).all(|pair| pair[0] != pair[1]), "{vip}: not in turn: {answers:?}");
    Ok(())
}

/// What leads to a local server: links, routes and rules.
fn state(world: &World) -> Result<Vec<(&'static str, String)>, Failure> {
    let shows = [("links", "ip -o link | sed 's/ qlen .*//'"), ("rules", "ip rule; ip -6 rule")];
    shows.into_iter().map(|(name, script)| Ok((name, world.shell("director", script)?))).collect()
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address of the lab's plan")
}
