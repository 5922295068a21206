//! The one place that knows how a director is started and spoken to.

use std::net::IpAddr;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::build::Lab;
use super::error::LabError;
use super::process::Process;
use super::wait::Deadline;

/// Whose director balances in a lab.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// `ulvs run`, spoken to with `ulvs ipvsadm`
    #[default]
    Ulvs,
    /// The kernel's ip_vs, spoken to with the ipvsadm that is installed
    Kernel,
}

/// How long a director may take until it answers.
const START_SECONDS: u64 = 20;

impl Subject {
    pub fn name(self) -> &'static str {
        match self {
            Subject::Ulvs => "ulvs",
            Subject::Kernel => "kernel",
        }
    }

    /// Loads what the kernel needs before a lab can be built.
    ///
    /// # Errors
    /// [`LabError::NoKernelDirector`] where the kernel's director is asked for and there is none.
    pub fn prepare(self, real_servers: RealServerKind) -> Result<(), LabError> {
        if self == Subject::Kernel && !load("ip_vs") {
            return Err(LabError::NoKernelDirector);
        }
        if real_servers == RealServerKind::Kernel {
            // They may be built in; if they are missing altogether, laying the network will say so.
            let _ = load("ipip") & load("ip6_tunnel");
        }
        Ok(())
    }
}

fn load(module: &str) -> bool {
    Command::new("modprobe").arg(module).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

impl Lab {
    /// The arguments with which `ulvs run` balances in this layout.
    pub fn director_arguments(&self) -> Vec<String> {
        self.plan().director_links.iter().flat_map(|link| ["--interface".to_owned(), (*link).to_owned()]).collect()
    }

    /// Starts the director in its namespace and waits until it answers. The kernel's is always there.
    ///
    /// # Errors
    /// [`LabError::Ended`] with its last words where it ends, [`LabError::Late`] where it does not answer.
    pub fn start_director(&mut self, arguments: &[String]) -> Result<Option<Process>, LabError> {
        if self.subject() == Subject::Kernel {
            return Ok(None);
        }
        let mut command = self.ulvs("director", &["run"]);
        command.args(arguments).env("RUST_BACKTRACE", "1");
        let process = self.start("director", "ulvs run", command)?;
        let deadline = Deadline::after_seconds(START_SECONDS);
        let answers = deadline.wait_for(|| {
            if !process.is_alive() {
                return Some(false);
            }
            self.ipvsadm(&["-L", "-n"]).output().is_ok_and(|output| output.status.success()).then_some(true)
        });
        let what = "ulvs run".to_owned();
        match answers {
            Some(true) => Ok(Some(process)),
            Some(false) => {
                let output = self.last_words("director", "ulvs run");
                Err(LabError::Ended { what, status: "it did not get ready".to_owned(), output })
            }
            None => Err(LabError::Late { what: format!("an answer of {what}"), seconds: START_SECONDS }),
        }
    }

    /// `ipvsadm ARGUMENTS` in the director's namespace.
    pub fn ipvsadm(&self, arguments: &[&str]) -> Command {
        let mut command = match self.subject() {
            Subject::Ulvs => self.ulvs("director", &["ipvsadm"]),
            Subject::Kernel => self.command("director", "ipvsadm"),
        };
        command.args(arguments).env("ULVS_AUTOSTART", "0");
        command
    }

    /// Runs one `ipvsadm` line (words between blanks).
    ///
    /// # Errors
    /// [`LabError::Command`] with what ipvsadm said where it is refused.
    pub fn configure(&self, line: &str) -> Result<String, LabError> {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.check("director", &format!("ipvsadm {line}"), &mut self.ipvsadm(&words))
    }

    /// Makes the real servers of a direct routing or tunnel lab accept the VIP: with
    /// `ulvs realserver`, or as the how-tos do where everything is to be the kernel's.
    ///
    /// # Errors
    /// As [`Lab::start`] and [`Lab::shape`].
    pub(super) fn prepare_real_servers(
        &mut self,
        vips: [IpAddr; 2],
        own: RealServerKind,
        arguments: &[String],
    ) -> Result<(), LabError> {
        let mode = match self.plan().topology {
            super::topology::Topology::Nat => return Ok(()),
            super::topology::Topology::Dr => "dr",
            super::topology::Topology::Tun => "tun",
        };
        let names: Vec<String> = self.plan().real_servers.iter().map(|server| server.name.clone()).collect();
        for name in names {
            match own {
                RealServerKind::Ulvs => {
                    let vips = format!("{},{}", vips[0], vips[1]);
                    let mut command = self.ulvs(&name, &["realserver", "--vip", &vips, "--mode", mode]);
                    command.arg("--state-directory").arg(self.directory()).args(arguments);
                    let process = self.start(&name, "ulvs realserver", command)?;
                    self.await_line(&name, "ulvs realserver", process, "ready")?;
                }
                RealServerKind::Kernel => {
                    let (settings, lines) = kernel_real_server(mode, vips);
                    self.shape(&name, &settings, &lines)?;
                }
            }
        }
        Ok(())
    }
}

/// Who makes the real servers accept the VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RealServerKind {
    /// `ulvs realserver`
    Ulvs,
    /// Settings and tunnel devices of the kernel alone
    Kernel,
}

impl From<Subject> for RealServerKind {
    /// Those that go with a director.
    fn from(subject: Subject) -> RealServerKind {
        match subject {
            Subject::Ulvs => RealServerKind::Ulvs,
            Subject::Kernel => RealServerKind::Kernel,
        }
    }
}

/// Settings and `ip` lines of the LVS how-tos for a real server.
fn kernel_real_server(mode: &str, vips: [IpAddr; 2]) -> (Vec<(String, &'static str)>, Vec<String>) {
    let mut settings = Vec::new();
    for link in ["all", "lo"] {
        settings.push((format!("net/ipv4/conf/{link}/arp_ignore"), "1"));
        settings.push((format!("net/ipv4/conf/{link}/arp_announce"), "2"));
    }
    let links = if mode == "dr" { ["lo", "lo"] } else { ["tunl0", "ip6tnl0"] };
    let mut lines = Vec::new();
    if mode == "tun" {
        settings.push(("net/ipv4/conf/tunl0/rp_filter".to_owned(), "0"));
        lines.extend(links.map(|link| format!("link set {link} up")));
    }
    lines.push(format!("addr add {}/32 dev {}", vips[0], links[0]));
    lines.push(format!("addr add {}/128 dev {} nodad", vips[1], links[1]));
    (settings, lines)
}
