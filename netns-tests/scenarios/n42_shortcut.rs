//! Tunnels end at real servers in the kernel, by BPF, or in user space: what arrives is the same, with every
//! offload and without, and what is not plain, or is hostile, is counted the same in both.

use std::fs;
use std::net::Ipv4Addr;

use nix::sys::signal::Signal;
use ulvs::lab::Topology;

use super::n01_nat_http::turns;
use super::n04_bulk::both_ways;
use crate::world::{Director, World};
use crate::{Failure, Outcome, ensure};

const BY_KERNEL: &str = "by the kernel alone";

pub fn run(world: &mut World) -> Outcome {
    world.only_ulvs("real servers of a kernel have devices of their own")?;
    for program in ["curl", "ethtool", "socat"] {
        world.need(program, program)?;
    }
    let mut counted = Vec::new();
    for way in ["kernel", "user"] {
        build(world, way, Director::Started)?;
        counted.push(hostile(world)?);
        let taken_by_kernel = has_taken(world)?;
        ensure!(taken_by_kernel == (way == "kernel"), "--decapsulate {way}: {:?}", counts(world)?);
        for offloads in ["on", "off"] {
            if offloads == "off" {
                let lines =
                    "for link in $(ip -o link | sed -n 's/^[0-9]*: \\(eth[0-9]*\\)[@:].*/\\1/p'); do ethtool -K $link tx off tso off gso off; done";
                world.shell("director", lines)?;
                world.adm("-C")?;
            }
            both_ways(world, Topology::Tun)?;
            turns(world).map_err(|failure| Failure::failed(format!("--decapsulate {way}, {offloads}: {failure:?}")))?;
        }
        if way == "kernel" {
            nearly_all(world)?;
        }
    }
    ensure!(counted[0] == counted[1], "in the kernel: {:?}, in user space: {:?}", counted[0], counted[1]);
    Ok(())
}

/// A network whose real servers take tunnels apart that way; not run where they cannot.
pub fn build(world: &mut World, way: &str, director: Director) -> Outcome {
    world.real_server_arguments = ["--decapsulate", way].map(str::to_owned).into();
    world.build(Topology::Tun, director).map_err(|failure| match failure {
        Failure::Failed(why) if why.contains("no tunnels apart here") => Failure::skipped(why),
        other => other,
    })
}

/// What the real server `rs1` says that it has counted.
fn counts(world: &World) -> Result<Vec<String>, Failure> {
    let what = "ulvs realserver";
    let lab = world.lab();
    let process = lab.record().processes.iter().find(|record| record.role == "rs1" && record.what == what);
    let process = process.ok_or_else(|| Failure::failed("there is no real server"))?.process;
    let log = lab.directory().join("rs1-ulvs-realserver.log");
    let before = fs::read_to_string(&log)?.len();
    process.signal(Signal::SIGUSR1);
    let told = || Ok(fs::read_to_string(&log)?[before..].to_owned());
    world.until(5, "what the real server says", || told().map(|text| text.contains("taken out of tunnels\n")))?;
    // The lines are written one by one: the rest is there once nothing more comes.
    let mut text = told()?;
    world.until(5, "its end", || {
        let before = std::mem::replace(&mut text, told()?);
        Ok(before == text)
    })?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Whether its kernel has taken any.
fn has_taken(world: &World) -> Result<bool, Failure> {
    Ok(counts(world)?.iter().any(|line| line.contains(BY_KERNEL)))
}

/// Of the many packets of both, user space had hardly one.
pub fn nearly_all(world: &World) -> Outcome {
    let said = counts(world)?;
    let number = |line: &String| line.split(' ').next().and_then(|word| word.parse::<u64>().ok()).unwrap_or_default();
    let all = said.first().map(number).unwrap_or_default();
    let by_kernel = said.iter().find(|line| line.contains(BY_KERNEL)).map(number).unwrap_or_default();
    ensure!(all > 100 && all - by_kernel < 10, "{said:?}");
    Ok(())
}

/// Sends what is plain, unusual and hostile from the director; what is said of it, without who took it.
fn hostile(world: &World) -> Result<Vec<String>, Failure> {
    let address = |index: usize| -> Result<Ipv4Addr, Failure> {
        match world.lab().plan().real_servers[index].addresses[0] {
            std::net::IpAddr::V4(address) => Ok(address),
            std::net::IpAddr::V6(_) => Err(Failure::failed("the plan has another order")),
        }
    };
    let server = address(0)?;
    let source = world.shell("director", &format!("ip -o route get {server} | sed 's/.* src //; s/ .*//'"))?;
    let source: Ipv4Addr = source.trim().parse().map_err(|_| Failure::failed(format!("a source: {source:?}")))?;
    let vip = Ipv4Addr::new(10, 0, 1, 100);
    let client = Ipv4Addr::new(10, 0, 1, 10);
    let datagram = |to: Ipv4Addr, length: usize| {
        let udp = [4242u16, 9, 8 + length as u16, 0].map(u16::to_be_bytes).concat();
        ipv4(client, to, 17, &[&udp, &vec![b'x'; length][..]].concat())
    };
    let inner = datagram(vip, 20);
    let changed = |packet: &[u8], at: usize, value: u8| {
        let mut packet = packet.to_vec();
        packet[at] = value;
        packet
    };
    // The kernel makes the outer header of these, and pieces where they are long.
    let payloads = [
        ("plain", 4, inner.clone()),
        ("cut in pieces", 4, datagram(vip, 3000)),
        ("for nobody virtual", 4, datagram(Ipv4Addr::new(10, 0, 1, 101), 20)),
        ("longer than there is room for", 4, changed(&inner, 3, 200)),
        ("of another family", 4, changed(&inner, 0, 0x65)),
        ("GRE with a key", 47, [&[0x20, 0, 8, 0, 0, 0, 0, 7], &inner[..]].concat()),
        ("plain GRE", 47, [&[0, 0, 8, 0], &inner[..]].concat()),
    ];
    let file = world.lab().directory().join("hostile");
    let input = file.to_string_lossy();
    for (_, protocol, payload) in &payloads {
        fs::write(&file, payload)?;
        world.shell("director", &format!("socat -u -b 65536 OPEN:{input} IP4-SENDTO:{server}:{protocol}"))?;
    }
    // Whole frames from the last link, for what no kernel would send.
    let link = world.shell("router", &format!("ip -o route get {server} | sed 's/.* dev //; s/ .*//'"))?;
    let link = link.trim();
    let mac_of = |role: &str, link: &str| -> Result<Vec<u8>, Failure> {
        let text = world.shell(role, &format!("ip -o link show dev {link} | sed 's/.*ether //; s/ .*//'"))?;
        Ok(text.trim().split(':').filter_map(|octet| u8::from_str_radix(octet, 16).ok()).collect())
    };
    let header = [mac_of("rs1", "eth0")?, mac_of("router", link)?, vec![8, 0]].concat();
    let whole = ipv4(source, server, 4, &inner);
    let frames = [
        ("a wrong outer checksum", changed(&whole, 8, 63)),
        ("truncated", whole[..whole.len() - 5].to_vec()),
        ("half an inner header", ipv4(source, server, 4, &inner[..10])),
    ];
    for (_, packet) in &frames {
        fs::write(&file, [&header[..], packet].concat())?;
        world.shell("router", &format!("socat -u -b 65536 OPEN:{input} INTERFACE:{link}"))?;
    }
    let sent = payloads.len() + frames.len();
    let mut said = Vec::new();
    let all = world.until(5, "the counting of hostile packets", || {
        said = counts(world)?;
        let number = |line: &String| line.split(' ').next().and_then(|word| word.parse::<usize>().ok());
        said.retain(|line| !line.contains(BY_KERNEL));
        Ok(said.iter().filter_map(number).sum::<usize>() >= sent)
    });
    ensure!(all.is_ok(), "{sent} packets were sent, counted are {said:?}");
    ensure!(said[0].starts_with("3 packets"), "{said:?}");
    ensure!(said.len() >= 6, "not all that is hostile is told apart: {said:?}");
    Ok(said)
}

/// An IPv4 packet with a right header.
fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len()) as u16;
    let mut header = [0x45, 0, 0, 0, 0, 1, 0, 0, 64, protocol, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header[2..4].copy_from_slice(&length.to_be_bytes());
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&destination.octets());
    let sum: u32 = header.chunks_exact(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    header[10..12].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    [&header[..], payload].concat()
}
