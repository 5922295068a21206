//! A server speaks while its destination is away, deleted with or without its service, or has another forwarding
//! method, and the director forwards and has the VIP itself: what it says comes once, translated, and the connection
//! goes on where it was.

use ulvs::lab::Topology;
use ulvs::lab::topology::endpoint;

use crate::world::{Director, VIPS, World};
use crate::{Outcome, ensure};

const PORT: u16 = 90;
/// The VIP is the director's own, and it forwards: the kernel would take part, if nothing kept it.
const ROUTER: &str = "
echo 1 > /proc/sys/net/ipv4/ip_forward
ip addr replace 10.0.1.100/32 dev eth0
";

pub fn run(world: &mut World) -> Outcome {
    world.need("socat", "socat")?;
    world.build(Topology::Nat, Director::Absent)?;
    world.shell("director", ROUTER)?;
    let arguments = world.lab().director_arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    world.start_director(&arguments)?;
    // Another service of the family: with the last one all of it would end.
    world.add_services("-t", 80, "rr")?;
    let (service, real) = (endpoint(VIPS[0], PORT), world.real(1, VIPS[0], PORT));
    let begin = format!("-A -t {service} -s rr");
    let add = format!("-a -t {service} -r {real} -m");
    world.adm(&begin)?;
    world.adm(&add)?;

    let mut server = world.session("rs1", &["socat", "STDIO", &format!("TCP-LISTEN:{PORT},nodelay")])?;
    world.until(20, "listening", || Ok(world.lab().is_listening("rs1", PORT)))?;
    let passing = world.watch("client", "eth0", &[])?;
    let mut client = world.session("client", &["socat", "STDIO", &format!("TCP:{service},nodelay")])?;
    server.tell("hello")?;
    client.await_line(20, |line| line == "hello")?;

    let edit = |method: &str| format!("-e -t {service} -r {real} {method}");
    let away = [
        (format!("-d -t {service} -r {real}"), vec![add.clone()]),
        (edit("-g"), vec![edit("-m")]),
        (format!("-D -t {service}"), vec![begin, add]),
    ];
    for (leave, back) in away {
        world.adm(&leave)?;
        client.tell(&format!("asked after {leave}"))?;
        // One that came twice would have ended the connection before the next.
        for number in 0..3 {
            let said = format!("said after {leave}: {number}");
            server.tell(&said)?;
            client.await_line(20, |line| line == said)?;
        }
        for line in back {
            world.adm(&line)?;
        }
        server.await_line(60, |line| line == format!("asked after {leave}"))?;
        server.tell(&format!("heard after {leave}"))?;
        client.await_line(60, |line| line == format!("heard after {leave}"))?;
    }
    let lines = world.seen(&passing)?;
    let foreign: Vec<&String> = lines
        .iter()
        .filter(|line| line.contains(" tcp R") || line.starts_with("in ") && line.contains(" 10.0.2."))
        .collect();
    ensure!(foreign.is_empty(), "resets, or segments that are not the VIP's: {foreign:?}");
    Ok(())
}
