//! `/proc/net/ip_vs_stats` and `ip_vs_stats_percpu`: what was counted of everything.
//!
//! The totals are snapshots, and zeroed with the services; a worker's own line is neither.

use std::io::{self, Write};

use super::{ask, unfitting};
use crate::control::message::{Access, Counters, Reply, Request};

pub fn print(access: &mut dyn Access, out: &mut dyn Write) -> io::Result<()> {
    let total = total(access)?;
    writeln!(out, "   Total Incoming Outgoing         Incoming         Outgoing")?;
    writeln!(out, "   Conns  Packets  Packets            Bytes            Bytes")?;
    print_counts(&total, out)?;
    writeln!(out)?;
    writeln!(out, " Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s")?;
    print_rates(&total, out)
}

pub fn print_workers(access: &mut dyn Access, out: &mut dyn Write) -> io::Result<()> {
    let Reply::Workers(workers) = ask(access, Request::Workers)? else { return Err(unfitting()) };
    let total = total(access)?;
    writeln!(out, "       Total Incoming Outgoing         Incoming         Outgoing")?;
    writeln!(out, "CPU    Conns  Packets  Packets            Bytes            Bytes")?;
    for (number, counters) in workers.iter().enumerate() {
        write!(out, "{number:3X} ")?;
        print_counts(counters, out)?;
    }
    write!(out, "  ~ ")?;
    print_counts(&total, out)?;
    writeln!(out)?;
    writeln!(out, "     Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s")?;
    write!(out, "    ")?;
    print_rates(&total, out)
}

fn total(access: &mut dyn Access) -> io::Result<Counters> {
    match ask(access, Request::Totals)? {
        Reply::Totals(total) => Ok(total),
        _ => Err(unfitting()),
    }
}

fn print_counts(counters: &Counters, out: &mut dyn Write) -> io::Result<()> {
    let Counters { connections, in_packets, out_packets, in_bytes, out_bytes, .. } = counters;
    writeln!(out, "{connections:8X} {in_packets:8X} {out_packets:8X} {in_bytes:16X} {out_bytes:16X}")
}

fn print_rates(counters: &Counters, out: &mut dyn Write) -> io::Result<()> {
    let rates = &counters.rates;
    writeln!(
        out,
        "{:8X} {:8X} {:8X} {:16X} {:16X}",
        rates.connections, rates.in_packets, rates.out_packets, rates.in_bytes, rates.out_bytes
    )
}
