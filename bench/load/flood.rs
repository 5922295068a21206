//! Small packets, as fast as one core can hand them to the kernel or at a steady rate: datagrams, or
//! the first segments of a SYN flood.

use std::error::Error;
use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use pnet::util::MacAddr;
use serde_json::json;

use super::count::process_cpu;
use super::frames::Shape;
use super::socket::{BATCH, FloodSocket, Way};

#[derive(Args)]
pub struct Arguments {
    #[arg(long)]
    interface: String,
    #[arg(long)]
    source_mac: MacAddr,
    #[arg(long)]
    destination_mac: MacAddr,
    /// First client address
    #[arg(long)]
    source: IpAddr,
    /// Virtual address and port
    #[arg(long)]
    destination: SocketAddr,
    /// Bytes of each Ethernet frame
    #[arg(long, default_value_t = 60)]
    size: usize,
    /// Connections (client address and port) that the frames are of, in turn
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    flows: u32,
    /// First segments of TCP connections from random addresses, instead of datagrams
    #[arg(long)]
    syn: bool,
    /// Seconds to go on at the most
    #[arg(long)]
    seconds: f64,
    /// Frames to send at the most
    #[arg(long)]
    packets: Option<u64>,
    /// Frames a second; without it, as fast as it goes
    #[arg(long)]
    rate: Option<f64>,
    /// Frames handed to the kernel at once, for which whoever else wants the core waits
    #[arg(long, default_value_t = BATCH as u32, value_parser = clap::value_parser!(u32).range(1..=BATCH as i64))]
    batch: u32,
    /// What they leave by; without it, the first of these that can be had
    #[arg(long)]
    by: Option<Way>,
}

/// Sends, and says how many frames left in how many seconds, for how many nanoseconds of CPU.
pub fn run(arguments: &Arguments) -> Result<String, Box<dyn Error>> {
    let shape = Shape {
        source_mac: arguments.source_mac,
        destination_mac: arguments.destination_mac,
        source: arguments.source,
        destination: arguments.destination,
        size: arguments.size,
        flows: arguments.flows,
        syn: arguments.syn,
    };
    if shape.source.is_ipv4() != shape.destination.is_ipv4() {
        return Err("source and destination are of different families".into());
    }
    let (bytes, size) = shape.build();
    let slices: Vec<IoSlice<'_>> = bytes.chunks_exact(size).map(IoSlice::new).collect();
    let mut socket = FloodSocket::open(&arguments.interface, arguments.by)?;
    let most = arguments.packets.unwrap_or(u64::MAX);
    let length = Duration::from_secs_f64(arguments.seconds);
    let (start, cpu_before) = (Instant::now(), process_cpu("self").unwrap_or(0));
    let (mut sent, mut refused, mut next) = (0u64, 0u64, 0usize);
    loop {
        let passed = start.elapsed();
        if passed >= length || sent >= most {
            break;
        }
        let mut room = u64::from(arguments.batch);
        if let Some(rate) = arguments.rate {
            // As many as are due by now; what is not due yet is waited for without sleeping, as a sleep is
            // longer than the time between two frames.
            room = room.min(((passed.as_secs_f64() * rate) as u64).saturating_sub(sent));
        }
        let room = room.min(most - sent) as usize;
        if room == 0 {
            std::hint::spin_loop();
            continue;
        }
        let end = (next + room).min(slices.len());
        match socket.send(&slices[next..end]) {
            Ok(count) => {
                sent += count as u64;
                next = (next + count) % slices.len();
            }
            // The link's queue is full: that frame is tried again.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => refused += 1,
            Err(error) => return Err(error.into()),
        }
    }
    sent -= socket.left_behind()?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu = process_cpu("self").unwrap_or(0).saturating_sub(cpu_before);
    let by = socket.way().to_possible_value().map(|value| value.get_name().to_owned());
    Ok(json!({ "by": by, "sent": sent, "refused": refused, "seconds": seconds, "cpu_ns": cpu }).to_string())
}
