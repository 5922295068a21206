//! `cargo bench`: the engine alone, without ports, in batches of packets as a worker has them.
//!
//! Timed is the handling of a batch, once its packets are made: fetching what all of them will look
//! at, then each packet's way through the engine, from the frame to the verdict and the edited packet.
//! Making packets is not timed; two looks at the clock a batch are, which is about a nanosecond a
//! packet. Flows are visited without pattern, so that a million connections cost what their memory
//! costs. Where each packet begins a connection, all of them expire now and then, outside the measured
//! time. `bench/instructions` counts the instructions of the same work.

// What measures time reads the clock.
#![allow(clippy::disallowed_methods)]

mod world;

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use world::{BATCH, CASES, Shuffle, World};

/// Connections that are begun before all of them expire.
const FRESH: u32 = 1600 * BATCH as u32;

fn engine(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine");
    group.throughput(Throughput::Elements(1));
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(20);
    for &case in CASES {
        let id = BenchmarkId::from_parameter(case.name);
        // Made when its turn comes, and only if it is wanted: ten million connections take a while.
        let mut made = None;
        let mut flows = Shuffle::new();
        let mut begun = 0;
        group.bench_function(id, |bencher| {
            let world = made.get_or_insert_with(|| World::new(case, if case.connections > 0 { 0 } else { FRESH }));
            bencher.iter_custom(|iterations| {
                let batches = iterations.div_ceil(BATCH as u64);
                let mut passed = Duration::ZERO;
                for _ in 0..batches {
                    if case.connections > 0 {
                        world.make_batch(std::array::from_fn(|_| flows.next(case.connections)));
                    } else {
                        if begun == FRESH {
                            world.expire();
                            begun = 0;
                        }
                        world.make_batch(std::array::from_fn(|place| begun + place as u32));
                        begun += BATCH as u32;
                    }
                    let start = Instant::now();
                    world.handle_batch();
                    passed += start.elapsed();
                }
                // So many packets as were asked for, of somewhat more.
                passed.mul_f64(iterations as f64 / (batches * BATCH as u64) as f64)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, engine);
criterion_main!(benches);
