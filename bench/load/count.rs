//! What an interface received in a window of time, and who used how much CPU meanwhile.

use std::error::Error;
use std::fs;
use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

#[derive(Args)]
pub struct Arguments {
    #[arg(long)]
    interface: String,
    /// Seconds to let pass first
    #[arg(long, default_value_t = 0.0)]
    warm_up: f64,
    /// Length of the window in seconds
    #[arg(long)]
    seconds: f64,
    /// Processes whose CPU time is told apart
    #[arg(long)]
    process: Vec<u32>,
}

/// One reading of everything.
struct Reading {
    at: Instant,
    packets: u64,
    bytes: u64,
    /// The machine's time less that of others. Others' reaches further back, and is counted more finely: the difference
    /// between two readings says something, a reading alone may be below zero.
    busy: i64,
    process: u64,
}

impl Reading {
    fn take(arguments: &Arguments) -> io::Result<Reading> {
        let statistic = |name: &str| -> io::Result<u64> {
            let path = format!("/sys/class/net/{}/statistics/{name}", arguments.interface);
            fs::read_to_string(path)?.trim().parse().map_err(io::Error::other)
        };
        let packets = statistic("rx_packets")?;
        let at = Instant::now();
        Ok(Reading {
            at,
            packets,
            bytes: statistic("rx_bytes")?,
            busy: machine_busy()?.cast_signed() - others_cpu()?.cast_signed(),
            process: {
                let each = arguments.process.iter().map(|process| process_cpu(&process.to_string()));
                each.sum::<io::Result<u64>>()?
            },
        })
    }
}

/// Waits, reads, waits, reads, and says the difference.
pub fn run(arguments: &Arguments) -> Result<String, Box<dyn Error>> {
    sleep(Duration::from_secs_f64(arguments.warm_up));
    let before = Reading::take(arguments)?;
    sleep(Duration::from_secs_f64(arguments.seconds));
    let after = Reading::take(arguments)?;
    Ok(json!({
        "packets": after.packets - before.packets,
        "bytes": after.bytes - before.bytes,
        "seconds": (after.at - before.at).as_secs_f64(),
        "busy_ns": after.busy - before.busy,
        "process_ns": after.process.saturating_sub(before.process),
    })
    .to_string())
}

/// Nanoseconds for which any core of the machine has been busy, at the kernel's tick of accounting: for whomever.
fn machine_busy() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/stat")?;
    let numbers = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
    // user nice system idle iowait irq softirq steal: idle and iowait are not busy, steal is not ours.
    let busy: u64 = numbers
        .take(7)
        .enumerate()
        .filter(|(place, _)| ![3, 4].contains(place))
        .filter_map(|(_, number)| number.parse::<u64>().ok())
        .sum();
    Ok(busy * tick_length())
}

/// Nanoseconds of CPU that programs outside this session have used, with what they have waited for: whoever
/// else works on this machine. The kernel's own threads are not among them, as they may work for us.
fn others_cpu() -> io::Result<u64> {
    const KERNEL_THREAD: u64 = 0x0020_0000;
    let own = stat_fields("self").and_then(|fields| fields.get(SESSION).copied());
    let mut ticks = 0;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(process) = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) else {
            continue;
        };
        // A process that is gone meanwhile is in the count of the one that waited for it.
        let Some(fields) = stat_fields(process) else { continue };
        let Some(times) = fields.get(TIMES) else { continue };
        if fields.get(SESSION).copied() != own && fields[FLAGS] & KERNEL_THREAD == 0 {
            ticks += times.iter().sum::<u64>();
        }
    }
    Ok(ticks * tick_length())
}

// Places in /proc/PID/stat after the name, the state being the first: see proc_pid_stat(5).
const SESSION: usize = 3;
const FLAGS: usize = 6;
const TIMES: std::ops::Range<usize> = 11..15;

/// The numbers of /proc/PID/stat from the state on; what is no natural number is 0.
fn stat_fields(process: &str) -> Option<Vec<u64>> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect())
}

/// Nanoseconds of CPU that all threads of a process have used.
pub fn process_cpu(process: &str) -> io::Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        sum += text.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
}

/// Nanoseconds of one unit of /proc/stat.
fn tick_length() -> u64 {
    // SAFETY: takes a number and touches no memory of ours.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    1_000_000_000 / u64::try_from(ticks).unwrap_or(100).max(1)
}
