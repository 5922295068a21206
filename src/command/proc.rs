//! `ulvs proc`: the files that the kernel has under `/proc/net`.

use std::io::{self, BufWriter, Write};

use clap::Args;

use crate::control::message::{Access, Answer, Reply, Request};
use crate::control::socket::Client;
use crate::procfs::{self, File};

use super::ask::{ask_through, connect};

#[derive(Args, Debug)]
pub struct Options {
    /// ip_vs, ip_vs_app, ip_vs_conn, ip_vs_conn_sync, ip_vs_stats, or ip_vs_stats_percpu
    #[arg(required = true, value_name = "NAME", value_parser = file)]
    files: Vec<File>,
}

fn file(name: &str) -> Result<File, String> {
    File::by_name(name.trim_start_matches("/proc/net/")).ok_or_else(|| {
        let names: Vec<&str> = File::ALL.iter().map(|(_, name)| *name).collect();
        format!("there is no such file; those that there are: {}", names.join(", "))
    })
}

pub fn run(options: &Options) -> io::Result<()> {
    let mut way = Way(connect()?);
    let mut out = BufWriter::new(io::stdout().lock());
    for &file in &options.files {
        procfs::print(file, &mut way, &mut out)?;
    }
    out.flush()
}

/// The director of this network namespace, whose refusals are sentences.
struct Way(Client);

impl Access for Way {
    fn ask(&mut self, request: Request) -> io::Result<Answer> {
        ask_through(&mut self.0, request).map(Ok::<Reply, _>)
    }

    fn ask_all(&mut self, requests: Vec<Request>) -> io::Result<Vec<Answer>> {
        self.0.ask_all(requests)
    }
}
