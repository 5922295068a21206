//! `-L -c`: the connection table, page by page as the director hands it out.
//!
//! The columns are what the original makes of `/proc/net/ip_vs_conn`. It reads the data of a
//! persistence engine as one word, so what follows a blank in it is not shown; rows that have
//! such data do not stand under their headings.

use std::io::Write;

use super::address::Naming;
use super::director::{Director, Failure};
use super::names::Names;
use crate::base::Port;
use crate::control::message::ConnectionEntry;

/// Whether persistence engines and their data are shown (`--persistent-conn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineData {
    Hidden,
    Shown,
}

/// Prints the connection table.
///
/// # Errors
/// What the director refused; lines printed before stay.
pub fn print(
    naming: Naming,
    engine_data: EngineData,
    director: &mut Director,
    names: &mut dyn Names,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut page = director.connections(0)?;
    writeln!(out, "IPVS connection entries")?;
    write!(out, "pro expire state       source             virtual            destination")?;
    match engine_data {
        EngineData::Hidden => writeln!(out)?,
        EngineData::Shown => writeln!(out, "        pe name          pe_data")?,
    }
    loop {
        for entry in &page.entries {
            print_row(entry, naming, engine_data, names, out)?;
        }
        match page.next {
            Some(cursor) => page = director.connections(cursor)?,
            None => return Ok(()),
        }
    }
}

fn print_row(
    entry: &ConnectionEntry,
    naming: Naming,
    engine_data: EngineData,
    names: &mut dyn Names,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut endpoint = |address, port: Port| naming.endpoint(address, port, Some(entry.protocol), names);
    let client = endpoint(entry.client, entry.client_port);
    let service = endpoint(entry.virtual_address, entry.virtual_port);
    let destination = endpoint(entry.destination, entry.destination_port);
    let protocol = entry.protocol.name();
    let expires = format!("{:02}:{:02}", entry.expires / 60, entry.expires % 60);
    write!(out, "{protocol:<3} {expires:<6} {:<11} {client:<18} {service:<18} ", entry.state)?;
    let data = entry.engine.as_ref().and_then(|(engine, data)| {
        let word = data.split(u8::is_ascii_whitespace).find(|word| !word.is_empty())?;
        (engine_data == EngineData::Shown).then_some((engine, word))
    });
    match data {
        None => writeln!(out, "{destination}")?,
        Some((engine, data)) => {
            write!(out, "{destination:<16} {engine:<18} ")?;
            out.write_all(data)?;
            writeln!(out)?;
        }
    }
    Ok(())
}
