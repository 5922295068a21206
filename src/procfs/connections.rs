//! `/proc/net/ip_vs_conn` and `ip_vs_conn_sync`: the connection table, in no order that means anything.

use std::io::{self, Write};

use super::{Hex, ask, unfitting};
use crate::control::message::{Access, ConnectionEntry, Reply, Request};

/// What stands at the end of a line, besides the seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// Name and data of the persistence engine, after them.
    EngineData,
    /// Whether synchronisation made the entry, before them.
    Origin,
}

pub fn print(last: Last, access: &mut dyn Access, out: &mut dyn Write) -> io::Result<()> {
    let mut cursor = Some(0);
    write!(out, "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       ")?;
    match last {
        Last::EngineData => writeln!(out, "Expires PEName PEData")?,
        Last::Origin => writeln!(out, "Origin Expires")?,
    }
    while let Some(place) = cursor {
        let Reply::Connections(page) = ask(access, Request::Connections { cursor: place })? else {
            return Err(unfitting());
        };
        page.entries.iter().try_for_each(|entry| print_entry(last, entry, out))?;
        cursor = page.next;
    }
    Ok(())
}

fn print_entry(last: Last, entry: &ConnectionEntry, out: &mut dyn Write) -> io::Result<()> {
    write!(
        out,
        "{:<3} {} {:04X} {} {:04X} {} {:04X} {:<11} ",
        entry.protocol.name(),
        Hex(entry.client),
        entry.client_port.0,
        Hex(entry.virtual_address),
        entry.virtual_port.0,
        Hex(entry.destination),
        entry.destination_port.0,
        entry.state,
    )?;
    match last {
        Last::EngineData => {
            write!(out, "{:>7}", entry.expires)?;
            if let Some((engine, data)) = &entry.engine {
                write!(out, " {engine} ")?;
                out.write_all(data)?;
            }
        }
        Last::Origin => {
            let origin = if entry.synchronised { "SYNC" } else { "LOCAL" };
            write!(out, "{origin:<6} {:>7}", entry.expires)?;
        }
    }
    writeln!(out)
}
