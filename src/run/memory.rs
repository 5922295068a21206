//! The thread that makes memory ready which workers ask for ([`crate::worker::provision`]).

use std::io;
use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use crate::host::{add_nice, populate};
use crate::worker::provision::{Requests, WAITING};

/// Starts it; it ends with the last worker that asks.
///
/// # Errors
/// There can be no thread more.
pub fn start() -> io::Result<Requests> {
    let (sender, receiver) = sync_channel(WAITING);
    thread::Builder::new().name("ulvs-memory".into()).spawn(move || work(&receiver))?;
    Ok(sender)
}

fn work(ranges: &Receiver<Range<usize>>) {
    // It takes its time where somebody else needs the core, but not for ever.
    add_nice(10);
    while let Ok(range) = ranges.recv() {
        if let Err(error) = populate(range) {
            log::debug!("memory is not made ready: {error}");
        }
    }
}
