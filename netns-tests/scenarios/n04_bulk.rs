//! A large file down and up through each method and family, with every offload as it is; what
//! arrives has to be what was sent, byte for byte.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use ulvs::lab::topology::endpoint;
use ulvs::lab::{Subject, Topology};

use crate::world::{Director, VIPS, World};
use crate::{Outcome, ensure};

/// The kernel's director runs in an emulated machine, where bytes are dear.
fn megabytes(subject: Subject) -> u64 {
    match subject {
        Subject::Ulvs => 100,
        Subject::Kernel => 20,
    }
}

pub fn run(world: &mut World) -> Outcome {
    world.need("curl", "curl")?;
    for topology in Topology::ALL {
        transfer(world, topology)?;
    }
    Ok(())
}

fn transfer(world: &mut World, topology: Topology) -> Outcome {
    world.build(topology, Director::Started)?;
    both_ways(world, topology)
}

/// The file down and up, in a lab that is built.
pub fn both_ways(world: &World, topology: Topology) -> Outcome {
    // With nginx alone at port 80, and our own server, which stores uploads, at 8080.
    world.add_services("-t", 80, "rr")?;
    world.add_services("-t", 8080, "rr")?;
    let directory = world.lab().directory();
    let original = directory.join("files/bulk");
    write_original(&original, megabytes(world.subject) << 20)?;
    let nginx = ulvs::lab::build::find_program("nginx").is_some();
    for (vip, family) in VIPS.into_iter().zip(["4", "6"]) {
        let name = topology.name();
        if nginx {
            let received = directory.join("received");
            let url = format!("http://{}/files/bulk", endpoint(vip, 80));
            let output = received.to_string_lossy();
            world.check("client", &["curl", "-sSg", "--max-time", "240", "-o", &output, &url])?;
            ensure!(same(&original, &received)?, "{name}, IPv{family}: what was downloaded is not what was served");
            std::fs::remove_file(&received)?;
        }
        let url = format!("http://{}/up{family}", endpoint(vip, 8080));
        let input = original.to_string_lossy();
        let answer = world.check("client", &["curl", "-sSg", "--max-time", "240", "-T", &input, &url])?;
        let server = answer.split(' ').next().unwrap_or_default();
        let stored = directory.join(server).join(format!("up{family}"));
        ensure!(stored.exists(), "{name}, IPv{family}: the upload was answered by {answer:?}");
        ensure!(same(&original, &stored)?, "{name}, IPv{family}: what was stored is not what was uploaded");
        std::fs::remove_file(&stored)?;
    }
    Ok(())
}

/// Bytes that repeat at no length that a network knows (a xorshift generator's).
pub fn write_original(path: &Path, length: u64) -> Outcome {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..length / 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.write_all(&state.to_le_bytes())?;
    }
    Ok(file.flush()?)
}

pub fn same(one: &Path, other: &Path) -> std::io::Result<bool> {
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let length = one.read(&mut left)?;
        if length == 0 {
            return Ok(true);
        }
        other.read_exact(&mut right[..length])?;
        if left[..length] != right[..length] {
            return Ok(false);
        }
    }
}
