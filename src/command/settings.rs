//! `ulvs sysctl`: the `net.ipv4.vs` settings.

use std::io::{self, Write};

use clap::Args;

use crate::control::message::{Reply, Request};

use super::ask::ask;

/// What the names may start with, as with sysctl(8).
const PREFIX: &str = "net.ipv4.vs.";

#[derive(Args, Debug)]
pub struct Options {
    /// Show all settings
    #[arg(short, long)]
    all: bool,
    /// Settings to show, or to set with =VALUE; `net.ipv4.vs.` in front may be left out
    #[arg(value_name = "NAME[=VALUE]", required_unless_present = "all")]
    settings: Vec<String>,
}

pub fn run(options: &Options) -> io::Result<()> {
    if options.all {
        show(None)?;
    }
    for word in &options.settings {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word.as_str(), None),
        };
        let name = name.trim().trim_start_matches(PREFIX).to_owned();
        let in_words = |error: io::Error| io::Error::new(error.kind(), format!("{PREFIX}{name}: {error}"));
        match value {
            Some(value) => {
                let request = Request::SetSetting { name: name.clone(), value: value.to_owned() };
                ask(request).map_err(in_words)?;
                show(Some(name))?;
            }
            None => show(Some(name.clone())).map_err(in_words)?,
        }
    }
    Ok(())
}

fn show(name: Option<String>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if let Reply::Settings(settings) = ask(Request::Settings { name })? {
        for (name, value) in settings {
            writeln!(out, "{PREFIX}{name} = {value}")?;
        }
    }
    Ok(())
}
