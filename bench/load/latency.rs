//! UDP round trips: a server that sends back what it gets, and a client that waits for each answer.

use std::error::Error;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use hdrhistogram::Histogram;
use serde_json::json;

#[derive(Args)]
pub struct RespondArguments {
    /// Address and port to receive at
    #[arg(long)]
    listen: SocketAddr,
}

#[derive(Args)]
pub struct PingArguments {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long)]
    seconds: f64,
    /// Seconds of round trips before those that count
    #[arg(long, default_value_t = 0.1)]
    warm_up: f64,
    /// Payload bytes
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// End when standard input does, if that is earlier
    #[arg(long)]
    until_input_ends: bool,
}

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_millis(200);

pub fn respond(arguments: &RespondArguments) -> Result<String, Box<dyn Error>> {
    let socket = UdpSocket::bind(arguments.listen)?;
    let mut datagram = [0; 65536];
    loop {
        let (length, from) = socket.recv_from(&mut datagram)?;
        // A client that is gone does not matter.
        let _ = socket.send_to(&datagram[..length], from);
    }
}

/// Percentiles in microseconds, how many round trips, and how many answers did not come, which count as the time
/// that they were waited for.
pub fn ping(arguments: &PingArguments) -> Result<String, Box<dyn Error>> {
    let local: SocketAddr = if arguments.to.is_ipv4() { "0.0.0.0:0".parse()? } else { "[::]:0".parse()? };
    let socket = UdpSocket::bind(local)?;
    socket.connect(arguments.to)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut histogram = Histogram::<u64>::new_with_bounds(1, 10_000_000_000, 3)?;
    let (mut number, mut lost) = (0u64, 0u64);
    let mut question = vec![0x5a; arguments.size.max(8)];
    let mut answer = vec![0; question.len()];
    let over = Arc::new(AtomicBool::new(false));
    if arguments.until_input_ends {
        let over = over.clone();
        thread::spawn(move || {
            // An input that cannot be read is over, too.
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
            over.store(true, Ordering::Relaxed);
        });
    }
    let start = Instant::now();
    let warm = Duration::from_secs_f64(arguments.warm_up);
    let end = warm + Duration::from_secs_f64(arguments.seconds);
    while start.elapsed() < end && !over.load(Ordering::Relaxed) {
        number += 1;
        question[..8].copy_from_slice(&number.to_be_bytes());
        let sent = Instant::now();
        socket.send(&question)?;
        let came = loop {
            match socket.recv(&mut answer) {
                // An answer that was given up before is not this one's.
                Ok(length) if length >= 8 && answer[..8] == question[..8] => break true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break false,
                Err(error) => return Err(error.into()),
            }
        };
        if start.elapsed() < warm {
            continue;
        }
        histogram.record(u64::try_from(sent.elapsed().as_nanos())?)?;
        lost += u64::from(!came);
    }
    let microseconds = |nanoseconds: u64| nanoseconds as f64 / 1000.0;
    Ok(json!({
        "round_trips": histogram.len() - lost,
        "lost": lost,
        "p50_us": microseconds(histogram.value_at_quantile(0.5)),
        "p99_us": microseconds(histogram.value_at_quantile(0.99)),
        "p999_us": microseconds(histogram.value_at_quantile(0.999)),
        "max_us": microseconds(histogram.max()),
    })
    .to_string())
}
