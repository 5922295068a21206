//! Large tables: how long a worker is kept from its frames by each portion of work, and what ten
//! million connections cost.
//!
//! ```text
//! engine-scale changes    1,000 services with 100 real servers each, one change at a time; then deleted
//! engine-scale expiry     a million connections that expire in the same second
//! engine-scale listing    a page of a million connections
//! engine-scale lookup     a packet of one of a million, and of ten million, and their memory
//! ```
//!
//! Prints a line of JSON. Times are of the thread's own CPU: who else runs on the machine does not
//! matter.

mod world;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use hdrhistogram::Histogram;
use nix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use ulvs::base::{Port, Protocol, Tick};
use ulvs::control::director::PAGE;
use ulvs::engine::conn::Budget;
use ulvs::engine::{Config, Engine, HostStack};
use ulvs::table::{
    Change, DestinationConfig, DestinationKey, ForwardingMethod, ServiceConfig, ServiceFlags, ServiceKey, Tunnel,
};
use ulvs::worker::{EXPIRIES, LEAVING};

use world::{BATCH, CASES, Case, Shuffle, World};

const SERVICES: u32 = 1000;
const SERVERS: u32 = 100;
/// Packets that lookups are measured with.
const PACKETS: u32 = 6_400_000;

type Outcome = Result<Value, Box<dyn Error>>;

fn main() -> ExitCode {
    let outcome = match std::env::args().nth(1).as_deref() {
        Some("changes") => changes(),
        Some("expiry") => expiry(),
        Some("listing") => listing(),
        Some("lookup") => lookup(),
        _ => Err("engine-scale changes|expiry|listing|lookup".into()),
    };
    match outcome {
        Ok(value) => {
            println!("{value}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("engine-scale: {error}");
            ExitCode::FAILURE
        }
    }
}

/// CPU time of this thread.
fn cpu() -> Result<Duration, Box<dyn Error>> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// How long each of many portions took.
struct Portions {
    times: Histogram<u64>,
    whole: Duration,
}

impl Portions {
    fn new() -> Result<Portions, Box<dyn Error>> {
        Ok(Portions { times: Histogram::new_with_bounds(1, 60_000_000_000, 3)?, whole: Duration::ZERO })
    }

    fn time<T>(&mut self, work: impl FnOnce() -> T) -> Result<T, Box<dyn Error>> {
        let before = cpu()?;
        let done = work();
        let took = cpu()? - before;
        self.times.record(u64::try_from(took.as_nanos())?.max(1))?;
        self.whole += took;
        Ok(done)
    }

    fn told(&self) -> Value {
        let microseconds = |nanoseconds: u64| nanoseconds as f64 / 1000.0;
        json!({
            "portions": self.times.len(),
            "p99_us": microseconds(self.times.value_at_quantile(0.99)),
            "longest_us": microseconds(self.times.max()),
            "whole_ms": self.whole.as_secs_f64() * 1000.0,
        })
    }
}

/// Changes one by one, as a worker makes them, and the deletion of everything in portions.
fn changes() -> Outcome {
    let mut engine = Engine::new(&Config { maximum_connections: 1, seed: 7, host_stack: HostStack::Beside });
    let (mut added, mut deleted, mut swept) = (Portions::new()?, Portions::new()?, Portions::new()?);
    for number in 0..SERVICES {
        let [.., high, low] = number.to_be_bytes();
        let service =
            ServiceKey::Address { protocol: Protocol::TCP, address: [10, 77, high, low].into(), port: Port(80) };
        let flags = ServiceFlags(0);
        let scheduler = ["wlc", "rr", "wrr", "sh", "mh"][number as usize % 5].to_owned();
        let config = ServiceConfig { scheduler, flags, timeout: 0, netmask: u32::MAX, engine: None };
        let change = Change::AddService { key: service, config };
        added.time(|| engine.apply(Tick::ZERO, &change))??;
        for server in 0..SERVERS {
            let [_, a, b, c] = (number * SERVERS + server).to_be_bytes();
            let key = DestinationKey { address: [172, 16 + a, b, c.max(1)].into(), port: Port(8000 + server as u16) };
            let config = DestinationConfig {
                method: ForwardingMethod::Masquerading,
                weight: i64::from(1 + server % 3),
                upper_threshold: 0,
                lower_threshold: 0,
                tunnel: Tunnel::default(),
            };
            let change = Change::AddDestination { service, key, config };
            added.time(|| engine.apply(Tick::ZERO, &change))??;
        }
    }
    deleted.time(|| engine.begin_change(Tick::ZERO, &Change::Flush))??;
    while deleted.time(|| engine.continue_change(Tick::ZERO, &mut Budget(LEAVING)))? {}
    for minute in 0..5 {
        while swept.time(|| engine.tick(Tick(minute * 60_000), EXPIRIES))? {}
    }
    Ok(json!({ "added": added.told(), "deleted": deleted.told(), "swept": swept.told() }))
}

fn case(connections: u32) -> Result<Case, Box<dyn Error>> {
    Ok(*CASES.iter().find(|case| case.connections == connections).ok_or("no such case")?)
}

/// A million datagram connections that were begun at once, and what the timers do until they are gone.
fn expiry() -> Outcome {
    let mut world = World::new(case(1_000_000)?, 0);
    let (mut before, mut ending) = (Portions::new()?, Portions::new()?);
    const END: u64 = 300_000;
    for now in (0..END).step_by(100) {
        while before.time(|| world.engine.tick(Tick(now), EXPIRIES))? {}
    }
    let left = world.engine.connection_table().len();
    while !world.engine.connection_table().is_empty() {
        ending.time(|| world.engine.tick(Tick(END + 16), EXPIRIES))?;
    }
    Ok(json!({ "expired": left, "before": before.told(), "ending": ending.told() }))
}

/// Every page of a million connections, as control asks for them.
fn listing() -> Outcome {
    let world = World::new(case(1_000_000)?, 0);
    let mut pages = Portions::new()?;
    let (mut next, mut listed) = (Some(0), 0);
    while let Some(cursor) = next {
        let (entries, after) = pages.time(|| world.engine.connections_page(Tick::ZERO, cursor, PAGE))?;
        listed += entries.len();
        next = after;
    }
    Ok(json!({ "listed": listed, "pages": pages.told() }))
}

/// Packets of known connections, without pattern.
fn lookup() -> Outcome {
    let mut found = Vec::new();
    for connections in [1_000_000, 10_000_000] {
        let before = resident()?;
        let mut world = World::new(case(connections)?, 0);
        let grown = resident()?.saturating_sub(before);
        let mut shuffle = Shuffle::new();
        let start = cpu()?;
        for _ in 0..PACKETS / BATCH as u32 {
            world.make_batch(std::array::from_fn(|_| shuffle.next(connections)));
            world.handle_batch();
        }
        // Making the packets included.
        let nanoseconds = (cpu()? - start).as_nanos() as f64 / f64::from(PACKETS);
        found.push(json!({ "connections": connections, "resident_bytes": grown, "packet_ns": nanoseconds }));
    }
    Ok(json!(found))
}

/// Bytes of memory that this process has.
fn resident() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1024)
}
