//! The kernel's files about ip_vs under `/proc/net`, as programs that read them expect them.
//!
//! ```text
//! ulvs proc NAME ─┬─ services      ip_vs
//!                 ├─ applications  ip_vs_app
//!                 ├─ connections   ip_vs_conn, ip_vs_conn_sync
//!                 └─ statistics    ip_vs_stats, ip_vs_stats_percpu
//! ```
//!
//! Byte for byte what Linux 6.1 prints, its oddities included: hexadecimal counts, persistence in
//! ticks of a 250th of a second, prefix lengths with their bytes reversed. A line of
//! `ip_vs_stats_percpu` is a worker. Large tables are written page by page as they come.

mod applications;
mod connections;
mod services;
mod statistics;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Write};
use std::net::IpAddr;

use crate::control::message::{Access, Reply, Request};

/// One of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    Services,
    Applications,
    Connections,
    ConnectionOrigins,
    Statistics,
    StatisticsPerWorker,
}

impl File {
    /// Every file with its name.
    pub const ALL: [(File, &'static str); 6] = [
        (File::Services, "ip_vs"),
        (File::Applications, "ip_vs_app"),
        (File::Connections, "ip_vs_conn"),
        (File::ConnectionOrigins, "ip_vs_conn_sync"),
        (File::Statistics, "ip_vs_stats"),
        (File::StatisticsPerWorker, "ip_vs_stats_percpu"),
    ];

    pub fn by_name(name: &str) -> Option<File> {
        File::ALL.iter().find(|(_, known)| *known == name).map(|(file, _)| *file)
    }
}

/// Prints what the file holds.
///
/// # Errors
/// The director refused or is gone, or `out` cannot be written; lines printed before stay.
pub fn print(file: File, access: &mut dyn Access, out: &mut dyn Write) -> io::Result<()> {
    match file {
        File::Services => services::print(access, out),
        File::Applications => applications::print(access, out),
        File::Connections => connections::print(connections::Last::EngineData, access, out),
        File::ConnectionOrigins => connections::print(connections::Last::Origin, access, out),
        File::Statistics => statistics::print(access, out),
        File::StatisticsPerWorker => statistics::print_workers(access, out),
    }
}

fn ask(access: &mut dyn Access, request: Request) -> io::Result<Reply> {
    access.ask(request)?.map_err(io::Error::other)
}

fn unfitting() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the director answered what was not asked; is it of another version?")
}

/// An address in hexadecimal digits: one number, or eight groups.
struct Hex(IpAddr);

impl fmt::Display for Hex {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(out, "{:08X}", address.to_bits()),
            IpAddr::V6(address) => {
                let [first, rest @ ..] = address.segments();
                write!(out, "{first:04x}")?;
                rest.iter().try_for_each(|group| write!(out, ":{group:04x}"))
            }
        }
    }
}
