//! `ulvs mark`: the rules that give packets their firewall marks.

use std::io::{self, Write};
use std::ops::RangeInclusive;

use clap::{Args, Subcommand};

use crate::base::{Prefix, Protocol};
use crate::control::message::{Reply, Request};
use crate::table::{MarkMatch, MarkRule};

use super::ask::ask;

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Add a rule; where several match, the last one counts
    Add(Rule),
    /// Delete the rule that is written the same
    Delete(Rule),
    /// Delete all rules
    Flush,
    /// Show the rules, as `add` takes them
    List,
}

/// What packets must look like to carry the mark. A list matches any of its members.
#[derive(Args, Debug)]
pub struct Rule {
    /// The mark, a number from 1 on
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    mark: u32,
    /// tcp, udp, sctp or a protocol number
    #[arg(long, value_delimiter = ',', value_parser = protocol)]
    protocol: Vec<Protocol>,
    /// Source address or network
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS[/LENGTH]")]
    source: Vec<Prefix>,
    /// Destination address or network; the director owns single addresses that the host has not
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS[/LENGTH]")]
    destination: Vec<Prefix>,
    /// Source port or range
    #[arg(long, value_delimiter = ',', value_parser = ports, value_name = "PORT[-PORT]")]
    sport: Vec<RangeInclusive<u16>>,
    /// Destination port or range
    #[arg(long, value_delimiter = ',', value_parser = ports, value_name = "PORT[-PORT]")]
    dport: Vec<RangeInclusive<u16>>,
    /// Interface that packets come in by
    #[arg(long = "in", value_delimiter = ',', value_name = "NAME")]
    links: Vec<String>,
}

fn protocol(word: &str) -> Result<Protocol, String> {
    match word {
        "tcp" => Ok(Protocol::TCP),
        "udp" => Ok(Protocol::UDP),
        "sctp" => Ok(Protocol::SCTP),
        number => {
            number.parse().map(Protocol).map_err(|_| "must be tcp, udp, sctp or a number from 0 to 255".to_owned())
        }
    }
}

fn ports(word: &str) -> Result<RangeInclusive<u16>, String> {
    let wrong = || "must be a port from 0 to 65535, or two with a hyphen between".to_owned();
    let port = |text: &str| text.parse::<u16>().map_err(|_| wrong());
    match word.split_once('-') {
        Some((first, last)) => {
            let range = port(first)?..=port(last)?;
            if range.is_empty() { Err(wrong()) } else { Ok(range) }
        }
        None => port(word).map(|port| port..=port),
    }
}

impl Rule {
    fn rule(&self) -> MarkRule {
        MarkRule {
            mark: self.mark,
            matching: MarkMatch {
                protocols: self.protocol.clone(),
                sources: self.source.clone(),
                destinations: self.destination.clone(),
                source_ports: self.sport.clone(),
                destination_ports: self.dport.clone(),
                links: self.links.clone(),
            },
        }
    }
}

pub fn run(command: &Command) -> io::Result<()> {
    let request = match command {
        Command::Add(rule) => Request::AddMark { rule: rule.rule() },
        Command::Delete(rule) => Request::DeleteMark { rule: rule.rule() },
        Command::Flush => Request::FlushMarks,
        Command::List => Request::Marks,
    };
    if let Reply::Marks(rules) = ask(request)? {
        let mut out = io::stdout().lock();
        for rule in rules {
            writeln!(out, "{rule}")?;
        }
    }
    Ok(())
}
