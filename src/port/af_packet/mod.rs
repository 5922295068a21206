//! AF_PACKET: the frames of an Ethernet interface, with CAP_NET_RAW alone.
//!
//! Receives over a TPACKET_V2 ring; frames that its slots do not hold come by the socket's queue, or by a ring of large
//! slots. Sends with sendmmsg(2) straight from where they lie, and carries a virtio-net header in front of each frame both ways, so that
//! unfinished checksums and 64 KiB frames pass as they are. Mirrors packet(7) and
//! `Documentation/networking/packet_mmap.rst`.
//!
//! The receiving socket sees a copy of what the interface receives, not what it sends
//! (PACKET_IGNORE_OUTGOING). The sending socket is another one, bound to no protocol, so that
//! it queues no input. The order of setting up loses and leaks nothing: a socket takes frames only
//! once ring, filter and fanout group are in place.

pub(super) mod chunks;
pub mod fanout;
pub mod filter;
#[cfg(test)]
pub mod interpreter;
mod lanes;
mod membership;
mod overflow;
pub mod program;
pub(super) mod receive;
pub(super) mod transmit;
mod tunnel;

use std::io;

use super::error::PortError;
use super::sys::geometry::{Geometry, RESERVE};
use super::sys::ring::Ring;
use super::sys::socket::{Intake, PacketSocket};
use program::{Lengths, Program, ProgramTooLong};
use receive::{Lane, PacketInput};
use transmit::PacketOutput;

/// Slots for short frames where nothing else is said: 7.5 MiB. They hold what comes while the scheduler leaves the core to
/// others for a slice, some 5 ms, at 800,000 frames a second. In a flood that is more than can be handled a frame waits for
/// all that lie before it, so there are no more of them.
pub const SHORT_SLOTS: usize = 4096;
/// Bytes of such a slot: a frame of a link of the usual MTU with all headers. An odd number of cache lines, so that the
/// slots' first lines spread over the cache.
const SHORT_SLOT_SIZE: usize = 29 * 64;
/// Slots for longer frames where nothing else is said: 9 MiB, which caches hold; with twice as many, bulk transfers are a
/// tenth slower.
pub const SLOTS: usize = 128;
/// Bytes of a slot where nothing else is said: a 64 KiB super-frame with all headers, and 15 slots
/// to a block of 1 MiB. No power of two, so that the slots' first lines spread over the cache.
pub const SLOT_SIZE: usize = 69888;
/// Queue for such frames instead, where nothing else is said: some hundred and fifty super-frames.
pub const QUEUE: usize = 16 << 20;
/// Send buffer asked for where nothing else is said: some fifty super-frames.
pub const SEND_BUFFER: usize = 4 << 20;

/// How a packet port is opened.
#[derive(Clone, Debug)]
pub struct PacketOptions {
    /// Name of the interface, for messages.
    pub name: String,
    /// The kernel's index of it.
    pub interface: u32,
    /// Slots for frames of up to `lanes::SHORT_FRAME` bytes; 0 where all frames share one ring.
    pub short_slots: usize,
    /// Where longer ones are kept.
    pub long_frames: LongFrames,
    /// Slots for longer frames, or all.
    pub slots: usize,
    pub slot_size: usize,
    pub reception: Reception,
    /// Which frames the kernel puts into the ring; all where there is none.
    pub filter: Option<Program>,
    pub fanout: Option<Fanout>,
    pub queueing: Queueing,
    pub send_buffer: usize,
    /// Chunks that frames are sent from by AF_XDP while they are many ([`Queueing::BypassPlain`]), a power of two; 0
    /// where packet sockets send everything.
    pub send_chunks: u32,
}

/// Where frames are kept that are too long for the slots of short ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LongFrames {
    /// In the socket's queue, of so many bytes with what the kernel counts beside the frames. Needs CAP_NET_ADMIN, as
    /// sockets have little room otherwise; without, as with [`LongFrames::Ring`].
    Queue(usize),
    /// In a ring of their own, of [`PacketOptions::slots`] slots.
    Ring,
}

/// Which frames the interface receives, beyond those to its own address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reception {
    /// None.
    Own,
    /// All that pass on the link.
    Promiscuous,
}

/// A change of what a packet port receives, made while it runs. Other ports need none of them.
#[derive(Clone, Copy, Debug)]
pub enum Adjustment<'a> {
    /// Another filter in the place of the one there is.
    Filter(&'a Program),
    /// Another program for the whole fanout group; of no effect on a port that is in none.
    FanoutProgram(&'a Program),
    /// Frames pass the queueing discipline, or not, from now on.
    Queueing(Queueing),
}

/// Whether frames pass the interface's queueing discipline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queueing {
    /// All do.
    Discipline,
    /// Plain frames go past it while there are many (PACKET_QDISC_BYPASS), which takes a sixth less time. On an
    /// interface whose discipline queues, a plain frame might overtake a super-frame of the same flow,
    /// and whoever watches the interface (tcpdump) does not see such frames leave: not for either.
    BypassPlain,
}

/// Membership in a group of sockets that share a link's frames, one socket a worker.
///
/// The kernel numbers the members in the order of joining, and after the link was down in the order in which
/// their sockets were opened: open the workers' ports in the order of the workers, and after the link was
/// deleted all of them again.
#[derive(Clone, Debug)]
pub struct Fanout {
    pub group: FanoutGroup,
    /// Picks the worker for each frame.
    pub program: Program,
}

/// Which fanout group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FanoutGroup {
    /// One that nobody uses yet; [`Port::fanout_group`](super::Port::fanout_group) tells the others which.
    New,
    Join(GroupNumbers),
}

/// The kernel's numbers of a fanout group: of each of a port's rings one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupNumbers {
    first: u16,
    long: Option<u16>,
}

impl PacketOptions {
    /// The usual options for that interface: its own frames, no filter, no fanout.
    pub fn new(name: &str, interface: u32) -> PacketOptions {
        PacketOptions {
            name: name.to_owned(),
            interface,
            short_slots: SHORT_SLOTS,
            long_frames: LongFrames::Queue(QUEUE),
            slots: SLOTS,
            slot_size: SLOT_SIZE,
            reception: Reception::Own,
            filter: None,
            fanout: None,
            queueing: Queueing::Discipline,
            send_buffer: SEND_BUFFER,
            send_chunks: chunks::CHUNKS,
        }
    }
}

/// Opens both halves of a port.
pub(super) fn open(options: &PacketOptions) -> Result<(PacketInput, PacketOutput), PortError> {
    let input = open_input(options)?;
    let socket = open_output(options)?;
    let bypass = open_output(options)?;
    let passing_by = bypass.set_number(libc::PACKET_QDISC_BYPASS, 1);
    passing_by.map_err(|source| step(options, "bypassing the queueing discipline", source))?;
    let mut output = PacketOutput::new(socket, bypass, options);
    // There may be none, and packet sockets do as well, only slower.
    output.try_chunks();
    Ok((input, output))
}

fn open_input(options: &PacketOptions) -> Result<PacketInput, PortError> {
    let queue = match options.long_frames {
        LongFrames::Queue(bytes) if options.short_slots > 0 => Some(bytes).filter(|&bytes| may_queue(bytes)),
        _ => None,
    };
    let all = Opening { slots: options.slots, slot_size: options.slot_size, lengths: None, queue, group: None };
    if options.short_slots == 0 || queue.is_some() {
        let group = options.fanout.as_ref().map(|fanout| match fanout.group {
            FanoutGroup::New => None,
            FanoutGroup::Join(GroupNumbers { first, .. }) => Some(first),
        });
        let short = Opening { slots: options.short_slots, slot_size: SHORT_SLOT_SIZE, group, ..all };
        let opening = if queue.is_some() { short } else { Opening { group, ..all } };
        let (lane, group) = open_lane(options, &opening)?;
        set_reception(&lane.socket, options)?;
        let groups = group.map(|first| GroupNumbers { first, long: None });
        return Ok(PacketInput::new(lane, None, options, groups));
    }
    let joined = options.fanout.as_ref().map(|fanout| match fanout.group {
        FanoutGroup::New => (None, None),
        FanoutGroup::Join(GroupNumbers { first, long }) => (Some(first), long),
    });
    let long =
        Opening { lengths: Some(Lengths::Beyond(lanes::SHORT_FRAME)), group: joined.map(|(_, long)| long), ..all };
    let short = Opening {
        slots: options.short_slots,
        slot_size: SHORT_SLOT_SIZE,
        lengths: Some(Lengths::UpTo(lanes::SHORT_FRAME)),
        queue: None,
        group: joined.map(|(first, _)| first),
    };
    // The long one first: whoever sees the short one's frames sees them all.
    let (long, long_group) = open_lane(options, &long)?;
    let (short, short_group) = open_lane(options, &short)?;
    set_reception(&short.socket, options)?;
    let groups = short_group.map(|first| GroupNumbers { first, long: long_group });
    Ok(PacketInput::new(short, Some(long), options, groups))
}

/// Whether sockets may have as much room as a queue of super-frames needs.
fn may_queue(bytes: usize) -> bool {
    PacketSocket::new().and_then(|socket| socket.set_receive_buffer(bytes)).is_ok()
}

/// How one of a port's rings is opened.
#[derive(Clone, Copy)]
struct Opening {
    slots: usize,
    slot_size: usize,
    lengths: Option<Lengths>,
    /// Bytes of the queue for what fits no slot.
    queue: Option<usize>,
    /// The fanout group to join, where there is to be one; a new one where that has no number yet.
    group: Option<Option<u16>>,
}

impl Opening {
    /// The filter of this ring: that of the port, for the lengths that the ring is for.
    fn filter(&self, filter: Option<&Program>) -> Result<Option<Program>, ProgramTooLong> {
        let filter = filter.map(|program| program.0.as_slice());
        match self.lengths {
            None => Ok(filter.map(|filter| Program(filter.to_vec()))),
            Some(lengths) => Program::for_lengths(filter.unwrap_or(&Program::EVERYTHING), lengths).map(Some),
        }
    }
}

fn open_lane(options: &PacketOptions, opening: &Opening) -> Result<(Lane, Option<u16>), PortError> {
    let at = |name| move |source| step(options, name, source);
    let link = || options.name.clone();
    let Opening { slots, slot_size, lengths, queue, group } = *opening;
    let geometry =
        Geometry::new(slots, slot_size).ok_or_else(|| PortError::RingTooLarge { link: link(), slots, slot_size })?;
    let socket = open_bound(options)?;
    socket
        .set_number(libc::PACKET_VERSION, libc::tpacket_versions::TPACKET_V2 as libc::c_int)
        .map_err(at("choosing the ring's version"))?;
    socket.set_number(libc::PACKET_RESERVE, RESERVE as libc::c_int).map_err(at("reserving headroom"))?;
    socket.set_number(libc::PACKET_IGNORE_OUTGOING, 1).map_err(at("ignoring outgoing frames"))?;
    let ring = Ring::new(&socket, geometry).map_err(|source| match source.raw_os_error() {
        Some(libc::ENOMEM) => PortError::NoMemory { link: link(), source },
        _ => step(options, "setting up the receive ring", source),
    })?;
    if let Some(bytes) = queue {
        socket.set_receive_buffer(bytes).map_err(at("enlarging the receive buffer"))?;
        socket.set_number(libc::PACKET_COPY_THRESH, 1).map_err(at("asking for frames that fit no slot"))?;
    }
    let filter = opening.filter(options.filter.as_ref());
    let filter = filter.map_err(|error| step(options, "attaching the filter", io::Error::other(error)))?;
    let lane = |socket| Lane { socket, ring, lengths, overflows: queue.is_some() };
    let (Some(fanout), Some(group)) = (&options.fanout, group) else {
        if let Some(filter) = filter {
            socket.attach_filter(&filter.0).map_err(at("attaching the filter"))?;
        }
        socket.bind(options.interface, Intake::EveryProtocol).map_err(|source| bind_error(options, source))?;
        return Ok((lane(socket), None));
    };
    // Only a socket that takes frames may join, and until it has joined they would be others' frames:
    // a filter that takes nothing stands in between.
    socket.attach_filter(&Program::NOTHING).map_err(at("attaching the filter"))?;
    socket.bind(options.interface, Intake::EveryProtocol).map_err(|source| bind_error(options, source))?;
    let group = join_fanout(&socket, group, &fanout.program);
    let group = group.map_err(|source| PortError::Fanout { link: link(), source })?;
    let filter = filter.as_ref().map_or(&Program::EVERYTHING[..], |filter| &filter.0);
    socket.attach_filter(filter).map_err(at("attaching the filter"))?;
    Ok((lane(socket), Some(group)))
}

fn open_output(options: &PacketOptions) -> Result<PacketSocket, PortError> {
    let socket = open_bound(options)?;
    let buffer = socket.set_send_buffer(options.send_buffer);
    buffer.map_err(|source| step(options, "enlarging the send buffer", source))?;
    Ok(socket)
}

/// A socket bound to the interface that takes no frames yet, with virtio-net headers.
fn open_bound(options: &PacketOptions) -> Result<PacketSocket, PortError> {
    let socket = PacketSocket::new().map_err(|source| match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => PortError::NotPermitted { link: options.name.clone(), source },
        _ => step(options, "opening a packet socket", source),
    })?;
    socket.bind(options.interface, Intake::Nothing).map_err(|source| bind_error(options, source))?;
    let binding = socket.binding().map_err(|source| step(options, "reading the binding", source))?;
    if ![libc::ARPHRD_ETHER, libc::ARPHRD_LOOPBACK].contains(&binding.hardware) {
        return Err(PortError::NotEthernet { link: options.name.clone(), hardware: binding.hardware });
    }
    let metadata = socket.set_number(libc::PACKET_VNET_HDR, 1);
    metadata.map_err(|source| step(options, "asking for offload metadata", source))?;
    Ok(socket)
}

/// Joins the group of that number, or a new one, and gives its number.
fn join_fanout(socket: &PacketSocket, group: Option<u16>, program: &Program) -> io::Result<u16> {
    let flag = if group.is_some() { 0 } else { libc::PACKET_FANOUT_FLAG_UNIQUEID };
    // In a group it is the group's flag that keeps our own frames out, not the socket's.
    let kind = libc::PACKET_FANOUT_CBPF | libc::PACKET_FANOUT_FLAG_IGNORE_OUTGOING | flag;
    socket.set_number(libc::PACKET_FANOUT, (u32::from(group.unwrap_or(0)) | kind << 16) as libc::c_int)?;
    socket.set_fanout_program(&program.0)?;
    socket.fanout_group()
}

fn set_reception(socket: &PacketSocket, options: &PacketOptions) -> Result<(), PortError> {
    match options.reception {
        Reception::Own => Ok(()),
        Reception::Promiscuous => {
            let joined = socket.join_promiscuous(options.interface);
            joined.map_err(|source| step(options, "joining promiscuous reception", source))
        }
    }
}

fn bind_error(options: &PacketOptions, source: io::Error) -> PortError {
    match source.raw_os_error() {
        Some(libc::ENODEV | libc::ENXIO) => PortError::NoInterface { link: options.name.clone(), source },
        _ => step(options, "binding to the interface", source),
    }
}

fn step(options: &PacketOptions, step: &'static str, source: io::Error) -> PortError {
    PortError::Step { step, link: options.name.clone(), source }
}
