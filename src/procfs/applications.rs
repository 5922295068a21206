//! `/proc/net/ip_vs_app`: the FTP helper, and how many connections it looks after.

use std::io::{self, Write};

use super::{ask, unfitting};
use crate::base::{Port, Protocol};
use crate::control::message::{Access, ConnectionEntry, Reply, Request};
use crate::table::ForwardingMethod;

pub fn print(access: &mut dyn Access, out: &mut dyn Write) -> io::Result<()> {
    let (mut count, mut cursor) = (0, Some(0));
    while let Some(place) = cursor {
        let Reply::Connections(page) = ask(access, Request::Connections { cursor: place })? else {
            return Err(unfitting());
        };
        count += page.entries.iter().filter(|entry| is_helped(entry)).count();
        cursor = page.next;
    }
    writeln!(out, "prot port    usecnt name")?;
    writeln!(out, "{:<3}  {:<7} {count:<6} {:<17}", "TCP", Port::FTP.0, "ftp")
}

/// Templates have no client port.
fn is_helped(entry: &ConnectionEntry) -> bool {
    entry.protocol == Protocol::TCP
        && entry.virtual_port == Port::FTP
        && entry.method == ForwardingMethod::Masquerading
        && !entry.client_port.is_any()
}
