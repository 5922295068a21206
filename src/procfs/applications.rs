//! `/proc/net/ip_vs_app`: the FTP helper's ports, and how many connections it looks after on each.

use std::io::{self, Write};

use super::{ask, unfitting};
use crate::base::{Port, Protocol};
use crate::control::message::{Access, ConnectionEntry, Reply, Request};
use crate::table::ForwardingMethod;

pub fn print(access: &mut dyn Access, out: &mut dyn Write) -> io::Result<()> {
    let Reply::HelpedPorts(ports) = ask(access, Request::HelpedPorts)? else { return Err(unfitting()) };
    // The kernel's list grows at its head: the port that was named last comes first.
    let mut rows: Vec<(Port, usize)> = ports.into_iter().rev().map(|port| (port, 0)).collect();
    let mut cursor = (!rows.is_empty()).then_some(0);
    while let Some(place) = cursor {
        let Reply::Connections(page) = ask(access, Request::Connections { cursor: place })? else {
            return Err(unfitting());
        };
        for entry in page.entries.iter().filter(|entry| may_be_helped(entry)) {
            if let Some((_, count)) = rows.iter_mut().find(|(port, _)| *port == entry.virtual_port) {
                *count += 1;
            }
        }
        cursor = page.next;
    }
    writeln!(out, "prot port    usecnt name")?;
    rows.iter().try_for_each(|(port, count)| writeln!(out, "{:<3}  {:<7} {count:<6} {:<17}", "TCP", port.0, "ftp"))
}

/// Whether a connection is one that is listened to where its port is helped. Templates have no
/// client port.
fn may_be_helped(entry: &ConnectionEntry) -> bool {
    entry.protocol == Protocol::TCP && entry.method == ForwardingMethod::Masquerading && !entry.client_port.is_any()
}
