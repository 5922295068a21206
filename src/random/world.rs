//! What a scenario is played to: a director with two links, be it a kernel or an engine.

use std::io;

/// What a command printed.
#[derive(Clone, Debug)]
pub struct Said {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A director in the lab that the transcripts' README describes.
pub trait World {
    /// Milliseconds since the lab was there.
    fn now(&self) -> u64;

    /// Lets time pass.
    fn pass(&mut self, milliseconds: u64) -> io::Result<()>;

    /// Hands a frame to the director on eth0 (link 0) or eth1 (1).
    fn give(&mut self, link: usize, frame: &[u8]) -> io::Result<()>;

    /// The frames that the director sent since this was asked last.
    fn take(&mut self) -> io::Result<Vec<(usize, Vec<u8>)>>;

    fn ipvsadm(&mut self, arguments: &str) -> io::Result<Said>;

    /// Sets `net.ipv4.vs.NAME`.
    fn set(&mut self, name: &str, value: &str) -> io::Result<()>;

    /// Gives packets that match a rule (as nft writes it) a firewall mark.
    fn mark(&mut self, mark: u32, rule: &str) -> io::Result<()>;

    /// Gives the director another address, on its loopback link.
    fn own(&mut self, address: &str) -> io::Result<()>;

    /// Every connection, without a trace in the recording.
    fn connections(&mut self) -> io::Result<Vec<Entry>>;
}

/// A connection or template, as far as its end is of interest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub protocol: String,
    pub state: String,
    /// Whole seconds that are left to it.
    pub left: u64,
    /// Templates have no client port.
    pub is_template: bool,
}
