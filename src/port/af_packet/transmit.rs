//! Sending: many frames in one system call, straight from where they lie.

use std::io::{self, IoSlice};

use super::chunks::Chunks;
use super::tunnel::Tunnel;
use super::{PacketOptions, Queueing};
use crate::port::batch::{Outgoing, Slices};
use crate::port::counters::{Counters, PortDrop};
use crate::port::envelope::Cutting;
use crate::port::error::PortError;
use crate::port::event::{Failure, PortEvent, Scope};
use crate::port::sys::socket::{BATCH, PacketSocket};
use crate::wire::offload::HEADER_LENGTH;

/// The sending half of a packet port.
#[derive(Debug)]
pub(in crate::port) struct PacketOutput {
    socket: PacketSocket,
    /// Past the queueing discipline, for plain frames only: a super-frame that the device cannot cut itself
    /// would be lost there.
    bypass: PacketSocket,
    /// For frames that fit a chunk, where there is such a way.
    chunks: Option<Chunks>,
    /// For super-frames in tunnels, where they are carried.
    tunnel: Option<Tunnel>,
    /// What the sockets were opened with.
    options: PacketOptions,
    /// Times that a socket for chunks may still be asked for.
    tries: u32,
    queueing: Queueing,
    /// There are so many frames that it matters.
    busy: bool,
}

/// Times that a socket is asked for.
const TRIES: u32 = 8;

/// The way that a frame takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    /// Through the queueing discipline.
    Discipline,
    /// Past it.
    Bypass,
    /// Past it, by AF_XDP.
    Chunks,
    /// Through it, marked as a super-frame in a tunnel.
    Tunnel,
}

impl PacketOutput {
    pub fn new(socket: PacketSocket, bypass: PacketSocket, options: &PacketOptions) -> PacketOutput {
        let queueing = options.queueing;
        let options = PacketOptions { filter: None, fanout: None, ..options.clone() };
        PacketOutput { socket, bypass, chunks: None, tunnel: None, options, tries: TRIES, queueing, busy: false }
    }

    /// Sends super-frames in tunnels whole from now on.
    pub fn carry_tunnels(&mut self) -> Result<(), PortError> {
        if self.tunnel.is_none() {
            self.tunnel = Some(Tunnel::open(&self.options)?);
        }
        Ok(())
    }

    pub fn carries_tunnels(&self) -> bool {
        self.tunnel.is_some()
    }

    pub fn set_chunks(&mut self, chunks: Option<Chunks>) {
        self.chunks = chunks;
    }

    pub fn set_busy(&mut self, busy: bool) {
        if busy && !self.busy && self.chunks.is_none() {
            self.try_chunks();
        }
        self.busy = busy;
    }

    /// Has frames leave by AF_XDP while they are many, if that is asked for and can be. The kernel takes a moment to set
    /// a queue free whose socket was closed, and a link that was down, or took nothing, loses its socket; so this is tried
    /// again when there is much to send, but not for ever. Not for an AF_XDP port: its sender shares the queue with what
    /// receives there, and without it packet sockets send.
    pub fn try_chunks(&mut self) {
        let PacketOptions { name, interface, send_chunks, .. } = &self.options;
        // It takes memory that is locked, and a queue from others.
        if *send_chunks == 0 || self.tries == 0 || self.queueing != Queueing::BypassPlain {
            return;
        }
        self.tries -= 1;
        match Chunks::open(*interface, *send_chunks) {
            Ok(chunks) => self.chunks = Some(chunks),
            Err((step, error)) => log::debug!("{name}: nothing is sent by AF_XDP: {step:?}: {error}"),
        }
    }

    /// Has frames pass the queueing discipline or not. A socket that was opened is kept: who watches a link does so for
    /// a while.
    pub fn set_queueing(&mut self, queueing: Queueing) {
        let changed = std::mem::replace(&mut self.queueing, queueing) != queueing;
        if changed && self.chunks.is_none() {
            self.try_chunks();
        }
    }

    /// Sends `frames` in their order; what cannot be sent is counted.
    pub fn send<'a>(
        &mut self,
        frames: impl Iterator<Item = Outgoing<'a>>,
        counters: &mut Counters,
    ) -> Result<(), PortEvent> {
        let mut slices: Slices<'a> = [IoSlice::new(&[]); BATCH];
        let mut count = 0;
        let mut lane = Lane::Discipline;
        let mut outcome = Ok(());
        for frame in frames {
            let wanted = self.lane_for(&frame);
            // A run of frames of one lane goes out before the next run starts, so that order is kept.
            if count == BATCH || (count > 0 && wanted != lane) {
                outcome = outcome.and(self.send_run(lane, &slices[..count], counters));
                count = 0;
            }
            lane = wanted;
            slices[count] = IoSlice::new(frame.bytes);
            count += 1;
        }
        outcome.and(self.send_run(lane, &slices[..count], counters))
    }

    #[inline]
    fn lane_for(&self, frame: &Outgoing<'_>) -> Lane {
        match frame.cutting {
            Cutting::Tunneled => Lane::Tunnel,
            Cutting::Segmented => Lane::Discipline,
            Cutting::Plain if !self.busy || self.queueing != Queueing::BypassPlain => Lane::Discipline,
            Cutting::Plain if self.chunks.as_ref().is_some_and(|chunks| chunks.can_take(frame)) => Lane::Chunks,
            Cutting::Plain => Lane::Bypass,
        }
    }

    fn send_run(&mut self, lane: Lane, frames: &[IoSlice<'_>], counters: &mut Counters) -> Result<(), PortEvent> {
        match lane {
            Lane::Discipline => send_all(frames, counters, |frames| self.socket.send(frames)),
            Lane::Bypass => send_all(frames, counters, |frames| self.bypass.send(frames)),
            Lane::Chunks => self.send_chunks(frames, counters),
            Lane::Tunnel => self.send_tunneled(frames, counters),
        }
    }

    fn send_chunks(&mut self, frames: &[IoSlice<'_>], counters: &mut Counters) -> Result<(), PortEvent> {
        let Some(chunks) = &mut self.chunks else {
            return send_all(frames, counters, |frames| self.bypass.send(frames));
        };
        let Err(failure) = chunks.send(frames, counters) else { return Ok(()) };
        // What it holds is counted and goes with it. Packet sockets do without it.
        self.chunks = None;
        failure.event().map_or(Ok(()), Err)
    }

    fn send_tunneled(&self, frames: &[IoSlice<'_>], counters: &mut Counters) -> Result<(), PortEvent> {
        let Some(tunnel) = &self.tunnel else {
            counters.drop_frames(PortDrop::Tunneled, frames.len() as u64);
            return Ok(());
        };
        let before = counters.sent;
        let outcome = send_all(frames, counters, |frames| tunnel.socket().send(frames));
        counters.tunneled += counters.sent - before;
        outcome
    }
}

/// Sends all `frames` by `send`, which sends some from the front and says how many, or what befell
/// the first. A frame that fails is counted and the next one tried.
fn send_all(
    frames: &[IoSlice<'_>],
    counters: &mut Counters,
    mut send: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
) -> Result<(), PortEvent> {
    let mut rest = frames;
    while !rest.is_empty() {
        let error = match send(rest) {
            Ok(sent) if sent > 0 => {
                let (gone, left) = rest.split_at(sent.min(rest.len()));
                for frame in gone {
                    counters.count_sent(frame.len() - HEADER_LENGTH.min(frame.len()));
                }
                rest = left;
                continue;
            }
            // Not what the system call promises; the frame is given up rather than tried for ever.
            Ok(_) => io::Error::from_raw_os_error(libc::EINVAL),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => error,
        };
        let failure = Failure::of(&error);
        let lost = match failure.scope {
            Scope::Frame => 1,
            Scope::Link => rest.len(),
        };
        counters.drop_frames(failure.reason, lost as u64);
        rest = &rest[lost..];
        if let Some(event) = failure.event() {
            return Err(event);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays the kernel: takes frames until one is listed as failing.
    fn run(count: usize, failing: &[(u8, i32)]) -> (Counters, Result<(), PortEvent>, Vec<u8>) {
        let frames: Vec<[u8; 70]> = (0..count).map(|number| [number as u8; 70]).collect();
        let slices: Vec<IoSlice<'_>> = frames.iter().map(|frame| IoSlice::new(frame)).collect();
        let mut counters = Counters::default();
        let mut taken = Vec::new();
        let outcome = send_all(&slices, &mut counters, |frames| {
            let before = taken.len();
            for frame in frames {
                match failing.iter().find(|(number, _)| *number == frame[0]) {
                    Some(&(_, error)) if taken.len() == before => return Err(io::Error::from_raw_os_error(error)),
                    Some(_) => break,
                    None => taken.push(frame[0]),
                }
            }
            Ok(taken.len() - before)
        });
        (counters, outcome, taken)
    }

    #[test]
    fn the_frame_after_a_failing_one_is_sent() {
        let (counters, outcome, taken) = run(6, &[(0, libc::EMSGSIZE), (3, libc::ENOBUFS), (5, libc::EINVAL)]);
        assert_eq!(taken, [1, 2, 4]);
        assert_eq!((counters.sent, counters.sent_bytes), (3, 180));
        assert_eq!(counters.dropped(PortDrop::TooLong), 1);
        assert_eq!(counters.dropped(PortDrop::QueueFull), 1);
        assert_eq!(counters.dropped(PortDrop::Refused), 1);
        assert_eq!(outcome, Ok(()));
    }

    #[test]
    fn what_befalls_the_link_befalls_the_rest() {
        let (counters, outcome, taken) = run(6, &[(2, libc::ENXIO)]);
        assert_eq!(taken, [0, 1]);
        assert_eq!(counters.dropped(PortDrop::LinkGone), 4);
        assert_eq!(outcome, Err(PortEvent::Gone));
        let (counters, outcome, _) = run(6, &[(2, libc::ENETDOWN)]);
        assert_eq!((counters.dropped(PortDrop::LinkDown), outcome), (4, Err(PortEvent::Down)));
        let (counters, outcome, _) = run(6, &[(2, libc::EAGAIN)]);
        assert_eq!((counters.dropped(PortDrop::QueueFull), outcome), (4, Ok(())));
    }
}
