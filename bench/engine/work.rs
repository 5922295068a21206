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
    for batch in 0..packets / BATCH as u32 {
        if case.kind == Kind::Syn {
            world.make_batch(std::array::from_fn(|place| batch * BATCH as u32 + place as u32));
        } else {
            world.make_batch(std::array::from_fn(|_| shuffle.next(case.connections)));
        }
        world.handle_batch();
    }
    ExitCode::SUCCESS
}
