//! The decapsulator's loop: tunnel packets in, inner packets out, until a signal ends it.

use std::collections::{BTreeSet, HashSet};
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::capture::Capture;
use super::decapsulate::{DropReason, Policy, decapsulate};
use super::device::Device;
use super::error::RealServerError;
use super::netlink::{AddressChanges, Netlink};
use super::shortcut::Shortcut;
use crate::wire::offload::{Completion, HEADER_LENGTH, Offload};

/// How many packets are read from one link before the others, and the signals, have their turn.
const BUDGET: usize = 256;

/// The longest frame with its virtio-net header.
const LONGEST: usize = HEADER_LENGTH + 14 + 65536;

const SIGNALS: Token = Token(usize::MAX - 1);
const ADDRESSES: Token = Token(usize::MAX - 2);

/// The signals that end a real server or make it speak, kept from their usual effect.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// To be called before anything is changed, so that no signal ends the process in between.
    ///
    /// # Errors
    /// What opening a descriptor gives.
    pub fn catch() -> Result<Signals, RealServerError> {
        let set: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1].into_iter().collect();
        let open = || -> nix::Result<SignalFd> {
            set.thread_block()?;
            SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        };
        open().map(Signals).map_err(|error| RealServerError::io("signals")(error.into()))
    }

    /// The next signal that has come.
    fn next(&self) -> Option<Signal> {
        let information = self.0.read_signal().ok()??;
        Signal::try_from(information.ssi_signo.cast_signed()).ok()
    }
}

/// What was taken out of tunnels, and what was not.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub packets: u64,
    pub bytes: u64,
    /// Packets among them, and bytes, that the kernel took out by itself.
    pub shortcut: [u64; 2],
    /// Packets for which a socket had no room.
    pub lost: u64,
    pub drops: [u64; DropReason::ALL.len()],
}

impl Counts {
    fn add_shortcut(&mut self, [packets, bytes]: [u64; 2]) {
        self.packets += packets;
        self.bytes += bytes;
        self.shortcut[0] += packets;
        self.shortcut[1] += bytes;
    }

    /// One line for each count that is not zero, and the first in any case.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("{} packets ({} bytes) taken out of tunnels", self.packets, self.bytes)];
        if let [packets @ (1..), bytes] = self.shortcut {
            lines.push(format!("{packets} of them ({bytes} bytes) by the kernel alone"));
        }
        if self.lost > 0 {
            lines.push(format!("{} lost: they came faster than they could be read", self.lost));
        }
        for ((_, sentence), count) in DropReason::ALL.iter().zip(self.drops) {
            if count > 0 {
                lines.push(format!("{count} dropped: {sentence}"));
            }
        }
        lines
    }
}

/// Tunnel sockets, the device behind them, and what passes between.
pub struct Relay {
    captures: Vec<Capture>,
    /// Goes before the device that it leads to.
    shortcut: Option<Shortcut>,
    device: Option<Device>,
    policy: Policy,
    own_addresses: BTreeSet<IpAddr>,
    counts: Counts,
    buffer: Vec<u8>,
}

impl Relay {
    /// A relay that is to take `policy`'s packets from `captures` to `device`; without a device it
    /// only waits.
    pub fn new(captures: Vec<Capture>, device: Option<Device>, policy: Policy) -> Relay {
        let own_addresses = BTreeSet::new();
        let (counts, buffer) = (Counts::default(), vec![0; LONGEST]);
        Relay { captures, shortcut: None, device, policy, own_addresses, counts, buffer }
    }

    /// The same, where the kernel takes apart what is plain.
    pub fn with_shortcut(self, shortcut: Option<Shortcut>) -> Relay {
        Relay { shortcut, ..self }
    }

    /// Works until a signal asks to end; `say` gets lines for people when a signal asks for them.
    ///
    /// # Errors
    /// What waiting gives; no packet is a reason to stop.
    pub fn run(
        &mut self,
        signals: &Signals,
        netlink: &mut Netlink,
        say: impl Fn(&str),
    ) -> Result<Counts, RealServerError> {
        self.serve(signals, netlink, say).map_err(RealServerError::io("waiting for packets"))?;
        Ok(self.totals())
    }

    fn serve(&mut self, signals: &Signals, netlink: &mut Netlink, say: impl Fn(&str)) -> io::Result<()> {
        let changes = AddressChanges::follow()?;
        self.renew_addresses(netlink, &say)?;
        let mut poll = Poll::new()?;
        let registry = poll.registry();
        registry.register(&mut SourceFd(&signals.0.as_raw_fd()), SIGNALS, Interest::READABLE)?;
        registry.register(&mut SourceFd(&changes.as_fd().as_raw_fd()), ADDRESSES, Interest::READABLE)?;
        for (index, capture) in self.captures.iter().enumerate() {
            registry.register(&mut SourceFd(&capture.as_raw_fd()), Token(index), Interest::READABLE)?;
        }
        let mut events = Events::with_capacity(64);
        // Whose packets have not all been read yet; nothing will announce those again.
        let mut pending = HashSet::new();
        loop {
            let timeout = if pending.is_empty() { None } else { Some(std::time::Duration::ZERO) };
            match poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                match event.token() {
                    SIGNALS => {
                        while let Some(signal) = signals.next() {
                            if signal != Signal::SIGUSR1 {
                                return Ok(());
                            }
                            self.totals().lines().iter().for_each(|line| say(line));
                        }
                    }
                    ADDRESSES => {
                        changes.drain();
                        self.renew_addresses(netlink, &say)?;
                    }
                    Token(index) => {
                        pending.insert(index);
                    }
                }
            }
            pending.retain(|index| self.read_some(*index));
        }
    }

    /// Finds out which addresses this host has now, for both ways out of a tunnel.
    fn renew_addresses(&mut self, netlink: &mut Netlink, say: impl Fn(&str)) -> io::Result<()> {
        self.own_addresses = read_addresses(netlink)?;
        if let Some(shortcut) = &mut self.shortcut
            && let Err(error) = shortcut.renew(&self.policy, &self.own_addresses)
        {
            say(&format!("from now on tunnels end in user space: {error}"));
            self.counts.add_shortcut(shortcut.taken());
            self.shortcut = None;
        }
        Ok(())
    }

    /// Reads packets of one socket; whether there may be more.
    fn read_some(&mut self, index: usize) -> bool {
        for _ in 0..BUDGET {
            let Some(capture) = self.captures.get(index) else { return false };
            let header_length = capture.header_length;
            match capture.read(&mut self.buffer) {
                Ok(length) => match self.pass_on(length, header_length) {
                    Ok(bytes) => {
                        self.counts.packets += 1;
                        self.counts.bytes += bytes as u64;
                    }
                    Err(reason) => self.counts.drops[reason as usize] += 1,
                },
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                // A link went down, or a packet could not be described: the next one is another matter.
                Err(error) => log::debug!("{}: {error}", capture.link),
            }
        }
        true
    }

    /// Takes the frame in the buffer apart, whose IP header is behind `header_length` others, and
    /// hands the inner packet on; its length.
    fn pass_on(&mut self, length: usize, header_length: usize) -> Result<usize, DropReason> {
        let bytes = self.buffer.get_mut(..length).ok_or(DropReason::Truncated)?;
        let (header, frame) = bytes.split_first_chunk_mut::<HEADER_LENGTH>().ok_or(DropReason::Truncated)?;
        let offload = Offload::read(header).ok_or(DropReason::UnknownOffload)?;
        let packet = frame.get_mut(header_length..).ok_or(DropReason::Truncated)?;
        let offload = behind_link_header(offload, header_length as u16);
        let own = &self.own_addresses;
        let inner = decapsulate(packet, offload, &self.policy, |address| own.contains(&address))?;
        // The inner packet stays where it is; its virtio-net header goes before it, over what was
        // the outer header, which is never shorter.
        let (start, end) = (header_length + inner.range.start, HEADER_LENGTH + header_length + inner.range.end);
        bytes[start..start + HEADER_LENGTH].copy_from_slice(&inner.offload.write());
        let device = self.device.as_ref().ok_or(DropReason::Refused)?;
        device.write(&bytes[start..end]).map_err(|_| DropReason::Refused)?;
        Ok(inner.range.len())
    }

    fn totals(&mut self) -> Counts {
        self.counts.lost += self.captures.iter().map(Capture::lost).sum::<u64>();
        let mut totals = self.counts.clone();
        totals.add_shortcut(self.shortcut.as_ref().map(Shortcut::taken).unwrap_or_default());
        totals
    }
}

/// What is unfinished in a frame, counted from the IP header behind its link header.
fn behind_link_header(offload: Offload, length: u16) -> Offload {
    let checksum = match offload.checksum {
        Completion::Partial { start, offset } => Completion::Partial { start: start.saturating_sub(length), offset },
        other => other,
    };
    Offload { checksum, header_length: offload.header_length.saturating_sub(length), ..offload }
}

/// This host's addresses.
///
/// # Errors
/// The kernel's.
pub fn read_addresses(netlink: &mut Netlink) -> io::Result<BTreeSet<IpAddr>> {
    Ok(netlink.addresses()?.into_iter().map(|(_, address)| address).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_happened_is_told() {
        let mut counts = Counts { packets: 2, bytes: 120, ..Counts::default() };
        assert_eq!(counts.lines(), ["2 packets (120 bytes) taken out of tunnels"]);
        counts.lost = 1;
        counts.drops[DropReason::NotVirtual as usize] = 3;
        counts.add_shortcut([3, 180]);
        assert_eq!(
            counts.lines()[..2],
            ["5 packets (300 bytes) taken out of tunnels", "3 of them (180 bytes) by the kernel alone",]
        );
        counts.shortcut = [0; 2];
        assert_eq!(counts.lines()[1], "1 lost: they came faster than they could be read");
        assert_eq!(counts.lines()[2], "3 dropped: the inner packet is for an address that is not virtual");
    }
}
