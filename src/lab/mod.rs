//! Ready-made LVS topologies in network namespaces: to see a balancer work in two minutes, and to
//! test it against real network stacks and programs.
//!
//! [`topology`] says what a layout looks like, as data; [`build`] lays it and takes it down;
//! [`namespace`] keeps and enters the namespaces; [`director`] is the one place that knows how a
//! director is started; `servers` and [`serve`] are what is balanced, [`ask`] and [`watch`] the
//! client's tools. The network is laid by ip(8) rather than by netlink: its lines are what a
//! how-to shows, so a plan can be read, printed and typed; and a lab is nothing a production
//! machine needs.

use std::process::ExitCode;

pub mod ask;
pub mod build;
pub mod director;
mod dns;
pub mod error;
pub mod namespace;
mod ping;
pub mod process;
pub mod record;
pub mod serve;
mod servers;
pub mod topology;
pub mod wait;
pub mod watch;

use build::say;
pub use build::{Lab, Options, Telling, down};
pub use director::{RealServerKind, Subject};
pub use error::LabError;
pub use process::Process;
pub use record::Record;
pub use topology::{Topology, VIP};

/// Network namespaces with a client, a director and real servers
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Build a lab and set its director to work
    Up(UpArguments),
    /// Take a lab down
    Down {
        /// Names of labs
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Show the labs that are up
    List,
    /// Run a command inside a lab
    Exec {
        name: String,
        /// Whose network the command is to see
        #[arg(long, default_value = "client")]
        role: String,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    #[command(hide = true)]
    Keep { name: String, roles: Vec<String> },
    #[command(hide = true)]
    Serve(serve::ServeArguments),
    #[command(hide = true)]
    Ask(ask::AskArguments),
    #[command(hide = true)]
    Watch(watch::WatchArguments),
}

#[derive(Debug, clap::Args)]
struct UpArguments {
    #[arg(value_enum)]
    topology: Topology,
    /// What to call the lab, if not by its topology
    #[arg(long)]
    name: Option<String>,
    /// Whose director balances
    #[arg(long, value_enum, default_value_t = Subject::Ulvs)]
    subject: Subject,
    /// Who prepares the real servers; as the director if not given
    #[arg(long, value_enum)]
    real_servers: Option<RealServerKind>,
    /// Leave the director to be started by hand
    #[arg(long)]
    no_director: bool,
    /// Leave the director without services
    #[arg(long)]
    no_services: bool,
    /// Also show how the network is laid
    #[arg(long, short)]
    verbose: bool,
}

/// Runs `ulvs lab`; the exit status is 1 where it failed (for `exec`: 127, or what the command gives).
pub fn command(arguments: Arguments) -> ExitCode {
    let failure = match arguments.action {
        Action::Exec { name, role, command } => {
            let error =
                Record::load(&name).map_or_else(|error| error, |record| namespace::exec(&record, &role, &command));
            eprintln!("ulvs lab: {error}");
            return ExitCode::from(127);
        }
        Action::Up(up) => bring_up(&up).err(),
        Action::Down { names } => names.iter().find_map(|name| take_down(name).err()),
        Action::List => {
            list();
            None
        }
        Action::Keep { name, roles } => namespace::keep(&name, &roles).err().map(LabError::io("keeping namespaces")),
        Action::Serve(serve) => serve::serve(&serve).err().map(LabError::io("serving")),
        Action::Ask(ask) => ask::ask(&ask).err().map(LabError::io("asking")),
        Action::Watch(watch) => watch::watch(&watch).err().map(LabError::io("watching")),
    };
    match failure {
        None => ExitCode::SUCCESS,
        Some(error) => {
            eprintln!("ulvs lab: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bring_up(up: &UpArguments) -> Result<(), LabError> {
    let program = std::env::current_exe().map_err(LabError::io("this program's own path"))?;
    let mut options = Options::new(program, up.topology, up.subject);
    if let Some(name) = &up.name {
        options.name.clone_from(name);
    }
    options.real_servers = up.real_servers.unwrap_or(options.real_servers);
    options.director = !up.no_director;
    options.services = !up.no_services;
    options.telling = if up.verbose { Telling::Everything } else { Telling::Commands };
    let lab = Lab::up(&options)?;
    let name = lab.name();
    say(&format!("lab {name} is up; try"));
    say(&format!("  ulvs lab exec {name} curl http://{}/ 'http://[{}]/'", VIP[0], VIP[1]));
    say(&format!(
        "  ulvs lab exec {name} --role director {}",
        match up.subject {
            Subject::Ulvs => "ulvs ipvsadm -Ln --stats",
            Subject::Kernel => "ipvsadm -Ln --stats",
        }
    ));
    say(&format!("  ulvs lab down {name}"));
    Ok(())
}

fn take_down(name: &str) -> Result<(), LabError> {
    for ended in down(name)? {
        say(&format!("ended {ended}"));
    }
    say(&format!("lab {name} is down"));
    Ok(())
}

fn list() {
    for name in Record::names() {
        match Record::load(&name) {
            Err(error) => say(&format!("{name}: {error}")),
            Ok(record) => describe(&record),
        }
    }
}

fn describe(record: &Record) {
    let state = match (record.live_keeper(), record.complete) {
        (Some(_), true) => "up",
        (Some(_), false) => "half built",
        (None, _) => "left over",
    };
    say(&format!("{} ({}, director: {}): {state}", record.name, record.topology.name(), record.subject.name()));
    for role in &record.roles {
        say(&format!("  {:<9} {}", role.name, role.purpose));
        for address in &role.addresses {
            say(&format!("            {address}"));
        }
        say(&format!("            nsenter -t {} -n", role.task));
        for known in record.processes.iter().filter(|known| known.role == role.name) {
            let state = if known.process.is_alive() { "" } else { " (ended)" };
            say(&format!("            {} (process {}){state}", known.what, known.process.id));
        }
    }
}
