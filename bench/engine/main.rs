//! `cargo bench`: the engine alone, without ports, in batches of packets as a worker has them.
//!
//! Flows are visited without pattern, so that a million connections cost what their memory
//! costs. Where each packet begins a connection, tables are made anew outside the measured time.
//! `bench/instructions` counts instructions for the same cases.

// What measures time reads the clock.
#![allow(clippy::disallowed_methods)]

mod world;

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

use world::{BATCH, CASES, Shuffle, World};

/// Connections that are begun on one table.
const FRESH: u64 = 100_000;

fn engine(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine");
    group.throughput(Throughput::Elements(1));
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(20);
    for &case in CASES {
        let id = BenchmarkId::from_parameter(case.name);
        if case.connections > 0 {
            // Made when its turn comes, and only if it is wanted: ten million connections take a while.
            let mut made = None;
            let mut shuffle = Shuffle::new();
            group.bench_function(id, |bencher| {
                let world = made.get_or_insert_with(|| World::new(case, 0));
                bencher.iter_custom(|iterations| {
                    let batches = iterations.div_ceil(BATCH as u64);
                    let start = Instant::now();
                    for _ in 0..batches {
                        world.handle_batch(std::array::from_fn(|_| shuffle.next(case.connections)));
                    }
                    // So many packets as were asked for, of somewhat more.
                    start.elapsed().mul_f64(iterations as f64 / (batches * BATCH as u64) as f64)
                });
            });
        } else {
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|iterations| {
                    let mut passed = Duration::ZERO;
                    let mut left = iterations;
                    while left > 0 {
                        let count = left.min(FRESH);
                        let mut world = World::new(case, FRESH as u32);
                        let start = Instant::now();
                        for flow in 0..count as u32 {
                            black_box(world.handle(flow));
                        }
                        passed += start.elapsed();
                        left -= count;
                    }
                    passed
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, engine);
criterion_main!(benches);
