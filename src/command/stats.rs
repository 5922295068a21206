//! `ulvs stats`, `ulvs status`, `ulvs stop`.

use std::io::{self, Write};

use clap::Args;

use crate::control::message::{Reply, Request};

use super::ask::{ask, ask_through, connect};

#[derive(Args, Debug)]
pub struct Options {
    /// Leave out what never happened
    #[arg(short, long)]
    nonzero: bool,
}

pub fn run(options: &Options) -> io::Result<()> {
    let Reply::Stats(lines) = ask(Request::Stats)? else { return Ok(()) };
    let mut out = io::stdout().lock();
    for line in lines.iter().filter(|line| !options.nonzero || line.count > 0) {
        writeln!(out, "{:<10} {:<28} {:>14}  {}", line.group, line.name, line.count, line.meaning)?;
    }
    Ok(())
}

pub fn status() -> io::Result<()> {
    let Reply::Status(status) = ask(Request::Status)? else { return Ok(()) };
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "ulvs {}, process {}, up {} s, {} of at most {} connections",
        status.version, status.process, status.uptime, status.connections, status.maximum_connections
    )?;
    for line in &status.lines {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

pub fn hold(holding: bool) -> io::Result<()> {
    ask(Request::Hold { holding }).map(drop)
}

pub fn stop() -> io::Result<()> {
    let mut client = connect()?;
    ask_through(&mut client, Request::Shutdown)?;
    // It closes the connection when everything it had put into the host is taken out again.
    client.wait_for_end()
}
