//! `ulvs run`: its options.

use std::net::IpAddr;

use clap::{Args, ValueEnum};

use crate::base::{Port, Prefix};
use crate::host::virtual_mac::{VirtualMac, VirtualMacError};

/// Connections and templates that the table holds where nothing else is said.
pub const MAXIMUM_CONNECTIONS: usize = 1 << 20;

/// Niceness of workers where nothing else is said.
const NICE: i8 = 0;

/// Run the director of this network namespace.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Serve this interface (repeat for more). Default: every Ethernet link that is up.
    #[arg(long, value_name = "NAME")]
    pub interface: Vec<String>,

    /// Ethernet address that addresses owned by the director have: an address, or `off` to
    /// answer with the interface's own.
    #[arg(long, value_name = "MAC", default_value = "00:00:5e:00:01:01")]
    pub vip_mac: VipMac,

    /// Gateway address of NATed real servers that the director owns itself (repeat for more).
    #[arg(long, value_name = "ADDRESS[/LENGTH]")]
    pub gateway_ip: Vec<Prefix>,

    /// Worker threads, each with an event loop of its own.
    #[arg(long, value_name = "N", env = "ULVS_WORKERS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: u16,

    /// Cores to pin the workers to, in turn: numbers separated by commas, or `any`.
    #[arg(long, value_name = "LIST", default_value = "auto")]
    pub cores: Cores,

    /// Niceness of the workers, -20 to 19: below 0 packets come before ordinary work, as they do in
    /// the kernel. Without CAP_SYS_NICE it stays at 0.
    #[arg(long, value_name = "N", default_value_t = NICE, value_parser = clap::value_parser!(i8).range(-20..=19), allow_negative_numbers = true)]
    pub nice: i8,

    /// Largest number of connections and templates. Each takes 136 bytes once used; the default
    /// of 1048576 is 136 MiB when full.
    #[arg(long, value_name = "N", default_value_t = MAXIMUM_CONNECTIONS, value_parser = maximum)]
    pub max_connections: usize,

    /// Virtual ports of NAT services on which FTP's PORT, PASV, EPRT and EPSV are understood, so
    /// that data connections find their way (what the kernel has module ip_vs_ftp for): at most
    /// eight, separated by commas, or `off`.
    #[arg(long, value_name = "PORTS", default_value = "21")]
    pub ftp_ports: FtpPorts,

    /// Take packets from this TUN device instead of Ethernet links: the kernel routes the
    /// virtual addresses into it.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["interface", "gateway_ip"])]
    pub tun: Option<String>,

    /// How frames of Ethernet links are received.
    #[arg(long, value_name = "KIND", env = "ULVS_PORT", default_value = "packet")]
    pub port: PortKind,

    /// Start without the virtual addresses and gateways that the director would own: another
    /// director has them, until `ulvs hold` takes them over.
    #[arg(long)]
    pub standby: bool,

    /// Say `ready` and leave the terminal: how ipvsadm starts a director.
    #[arg(long, hide = true)]
    pub detach: bool,
}

/// What `--port` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PortKind {
    /// All of them by packet sockets.
    Packet,
    /// Small UDP frames by AF_XDP, where that is permitted and there is one worker; the others by packet
    /// sockets.
    Xdp,
}

/// What `--vip-mac` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VipMac {
    Own(VirtualMac),
    Off,
}

impl VipMac {
    pub fn own(self) -> Option<VirtualMac> {
        match self {
            VipMac::Own(mac) => Some(mac),
            VipMac::Off => None,
        }
    }
}

impl std::str::FromStr for VipMac {
    type Err = VirtualMacError;

    fn from_str(text: &str) -> Result<VipMac, VirtualMacError> {
        if text == "off" { Ok(VipMac::Off) } else { text.parse().map(VipMac::Own) }
    }
}

/// Ports that the FTP helper listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FtpPorts(pub Vec<Port>);

/// As many as the kernel's helper takes.
const MOST_FTP_PORTS: usize = 8;

impl std::str::FromStr for FtpPorts {
    type Err = String;

    fn from_str(text: &str) -> Result<FtpPorts, String> {
        if text == "off" {
            return Ok(FtpPorts(Vec::new()));
        }
        let port = |word: &str| match word.parse() {
            Ok(port @ 1..) => Ok(Port(port)),
            _ => Err(format!("`{word}' is no port: a number from 1 to 65535, or `off' for none")),
        };
        let ports = text.split(',').map(port).collect::<Result<Vec<Port>, String>>()?;
        if ports.len() > MOST_FTP_PORTS {
            return Err(format!("{} ports, where at most {MOST_FTP_PORTS} can be watched", ports.len()));
        }
        Ok(FtpPorts(ports))
    }
}

/// Where workers run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cores {
    /// From the last core this process may use downwards.
    Auto,
    Any,
    List(Vec<usize>),
}

impl std::str::FromStr for Cores {
    type Err = String;

    fn from_str(text: &str) -> Result<Cores, String> {
        match text {
            "auto" => Ok(Cores::Auto),
            "any" => Ok(Cores::Any),
            list => list
                .split(',')
                .map(|word| word.parse().map_err(|_| format!("`{word}' is no core number")))
                .collect::<Result<_, _>>()
                .map(Cores::List),
        }
    }
}

fn maximum(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=1_000_000_000) => Ok(number),
        _ => Err("must be a number from 1 to 1000000000".into()),
    }
}

impl Options {
    /// The gateway addresses alone.
    pub fn gateways(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.gateway_ip.iter().map(|prefix| prefix.address)
    }
}

#[cfg(test)]
impl Options {
    /// What these words on the command line ask for.
    pub fn of(words: &[&str]) -> Options {
        use clap::{Args, FromArgMatches};
        let command = Options::augment_args(clap::Command::new("run").no_binary_name(true));
        Options::from_arg_matches(&command.get_matches_from(words)).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ftp_is_watched_on_a_few_ports_or_none() {
        assert_eq!("21,2121".parse(), Ok(FtpPorts(vec![Port(21), Port(2121)])));
        assert_eq!("off".parse(), Ok(FtpPorts(Vec::new())));
        for wrong in ["", "0", "65536", "21,", "21;22", "1,2,3,4,5,6,7,8,9"] {
            assert!(wrong.parse::<FtpPorts>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn addresses_that_no_interface_may_have_are_refused() {
        assert_eq!("off".parse(), Ok(VipMac::Off));
        assert!("01:00:5e:00:00:01".parse::<VipMac>().is_err());
        assert!("00:00:5e".parse::<VipMac>().is_err());
        assert_eq!("1,0".parse(), Ok(Cores::List(vec![1, 0])));
        assert!("1,x".parse::<Cores>().is_err());
    }
}
