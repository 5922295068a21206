//! The work of one case, so many packets of it and nothing else, for counting instructions.
//!
//! ```text
//! engine-work CASE PACKETS
//! ```

mod world;

use std::process::ExitCode;

use world::{BATCH, CASES, Kind, Shuffle, World};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, packets] = arguments.as_slice() else {
        for case in CASES.iter().filter(|case| case.connections <= 1_000_000) {
            println!("{}", case.name);
        }
        return ExitCode::SUCCESS;
    };
    let (Some(case), Ok(packets)) = (CASES.iter().find(|case| case.name == name), packets.parse::<u32>()) else {
        eprintln!("engine-work: CASE PACKETS, where CASE is one of those that it lists without arguments");
        return ExitCode::FAILURE;
    };
    // Instructions do not depend on how many connections there are but for the length of chains.
    let case = world::Case { connections: case.connections.min(10_000), ..*case };
    let mut world = World::new(case, 1 << 20);
    let mut shuffle = Shuffle::new();
    if case.kind == Kind::Syn {
        for packet in 0..packets {
            std::hint::black_box(world.handle(packet));
        }
    } else {
        for _ in 0..packets / BATCH as u32 {
            world.handle_batch(std::array::from_fn(|_| shuffle.next(case.connections)));
        }
    }
    ExitCode::SUCCESS
}
