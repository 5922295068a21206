//! A port without a kernel: frames go to and come from queues in this process.
//!
//! For tests and simulation of the worker. [`wire`] gives the port and its [`Far`] end; what the
//! far end delivers the worker receives, what the worker sends the far end collects. Frames keep
//! their offload metadata, so that super-frames can be played through.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::LinkId;
use crate::wire::frame::{ETHERNET_LENGTH, HEADROOM};
use crate::wire::offload::HEADER_LENGTH;
use crate::wire::{Frame, Offload};

use super::batch::Outgoing;
use super::counters::{Counters, PortDrop};
use super::envelope::Layer;
use super::event::PortEvent;
use super::input::Input;
use super::output::Way;
use super::ports::Port;

/// Frames a queue holds before its link counts as full.
const QUEUE: usize = 4096;

/// A frame as it passes on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryFrame {
    /// From the Ethernet header on, or from the IP header where the wire is a bare one.
    pub bytes: Vec<u8>,
    /// Counted from the first of `bytes`.
    pub offload: Offload,
}

/// What frames of a wire start with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireKind {
    Ethernet,
    /// Bare IP packets, as with a TUN device.
    Bare,
}

/// A new wire: the port for the worker, the far end for the test.
///
/// # Errors
/// No descriptors are left.
pub fn wire(kind: WireKind) -> io::Result<(Port, Far)> {
    let (bell, ring) = UnixStream::pair()?;
    bell.set_nonblocking(true)?;
    ring.set_nonblocking(true)?;
    let shared = Arc::new(Mutex::new(Shared::default()));
    let layer = match kind {
        WireKind::Ethernet => Layer::Ethernet,
        WireKind::Bare => Layer::Bare,
    };
    let input = MemoryInput { shared: Arc::clone(&shared), bell, layer, slots: Vec::new() };
    let output = MemoryOutput { shared: Arc::clone(&shared), layer };
    Ok((Port { input: Input::Memory(input), output: Way::Memory(output) }, Far { shared, bell: ring }))
}

/// The end of a wire that a test holds.
#[derive(Debug)]
pub struct Far {
    shared: Arc<Mutex<Shared>>,
    bell: UnixStream,
}

impl Far {
    /// Puts a frame on the wire toward the worker; false where the queue is full, which the worker's
    /// port counts as a full ring.
    pub fn deliver(&self, frame: MemoryFrame) -> bool {
        let mut shared = lock(&self.shared);
        if shared.toward_worker.len() >= QUEUE {
            shared.lost += 1;
            return false;
        }
        let was_empty = shared.toward_worker.is_empty();
        shared.toward_worker.push_back(frame);
        if was_empty {
            // A full stream means that a byte is on its way already, which is all the worker needs.
            let _ = (&self.bell).write(&[1]);
        }
        true
    }

    /// The oldest frame the worker sent.
    pub fn collect(&self) -> Option<MemoryFrame> {
        lock(&self.shared).from_worker.pop_front()
    }

    /// Whether the port is still there.
    pub fn is_open(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    /// Takes the link down, up, or away.
    pub fn set_state(&self, state: WireState) {
        lock(&self.shared).state = state;
        let _ = (&self.bell).write(&[1]);
    }
}

/// Whether a wire carries frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WireState {
    #[default]
    Up,
    Down,
    Gone,
}

#[derive(Debug, Default)]
struct Shared {
    toward_worker: VecDeque<MemoryFrame>,
    from_worker: VecDeque<MemoryFrame>,
    lost: u64,
    state: WireState,
}

/// The receiving half.
#[derive(Debug)]
pub(super) struct MemoryInput {
    shared: Arc<Mutex<Shared>>,
    bell: UnixStream,
    layer: Layer,
    slots: Vec<Slot>,
}

/// A frame with headroom in front.
#[derive(Debug)]
struct Slot {
    buffer: Vec<u8>,
    offload: Offload,
}

impl MemoryInput {
    pub fn descriptor(&self) -> RawFd {
        self.bell.as_raw_fd()
    }

    pub fn ready(&mut self, limit: usize, counters: &mut Counters) -> usize {
        // Nothing but readiness is carried by the bytes, and an error means that there are none.
        while matches!((&self.bell).read(&mut [0; 64]), Ok(count) if count > 0) {}
        let mut shared = lock(&self.shared);
        counters.drop_frames(PortDrop::RingFull, std::mem::take(&mut shared.lost));
        while self.slots.len() < limit {
            let Some(frame) = shared.toward_worker.pop_front() else { break };
            let mut buffer = vec![0; HEADROOM];
            buffer.extend_from_slice(&frame.bytes);
            self.slots.push(Slot { buffer, offload: frame.offload });
        }
        self.slots.len()
    }

    pub fn frame(&mut self, index: usize, link: LinkId) -> Result<Frame<'_>, PortDrop> {
        let layer = self.layer;
        let Slot { buffer, offload } = self.slots.get_mut(index).ok_or(PortDrop::Short)?;
        let end = buffer.len();
        match layer {
            Layer::Ethernet => Frame::ethernet(buffer, HEADROOM, end, link, *offload),
            Layer::Bare => Frame::bare(buffer, HEADROOM, end, link, *offload),
        }
        .ok_or(PortDrop::Short)
    }

    pub fn bytes(&self, index: usize) -> Option<&[u8]> {
        Some(&self.slots.get(index)?.buffer)
    }

    pub fn bytes_mut(&mut self, index: usize) -> Option<&mut [u8]> {
        Some(&mut self.slots.get_mut(index)?.buffer)
    }

    pub fn release(&mut self, _: &mut Counters) {
        self.slots.clear();
    }

    pub fn examine(&mut self, _: &mut Counters) -> Option<PortEvent> {
        event(lock(&self.shared).state)
    }
}

/// The sending half.
#[derive(Debug)]
pub(super) struct MemoryOutput {
    shared: Arc<Mutex<Shared>>,
    layer: Layer,
}

impl MemoryOutput {
    pub fn layer(&self) -> Layer {
        self.layer
    }

    pub fn send<'a>(
        &mut self,
        frames: impl Iterator<Item = Outgoing<'a>>,
        counters: &mut Counters,
    ) -> Result<(), PortEvent> {
        let mut shared = lock(&self.shared);
        let state = event(shared.state);
        for frame in frames {
            let reason = match state {
                Some(PortEvent::Down) => Some(PortDrop::LinkDown),
                Some(PortEvent::Gone) => Some(PortDrop::LinkGone),
                None if shared.from_worker.len() >= QUEUE => Some(PortDrop::QueueFull),
                None => None,
            };
            // What was sealed starts with metadata of a known kind.
            let parts = frame.bytes.split_first_chunk::<HEADER_LENGTH>();
            let parts = parts.and_then(|(metadata, bytes)| Some((Offload::read(metadata)?, bytes)));
            match (reason, parts) {
                (Some(reason), _) => counters.drop_frames(reason, 1),
                (None, None) => counters.drop_frames(PortDrop::Refused, 1),
                (None, Some((offload, bytes))) => {
                    counters.count_sent(bytes.len());
                    shared.from_worker.push_back(MemoryFrame { bytes: bytes.to_vec(), offload });
                }
            }
        }
        state.map_or(Ok(()), Err)
    }
}

fn event(state: WireState) -> Option<PortEvent> {
    match state {
        WireState::Up => None,
        WireState::Down => Some(PortEvent::Down),
        WireState::Gone => Some(PortEvent::Gone),
    }
}

/// The queues stay whole whatever panicked while it held them.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

const _: () = assert!(HEADROOM >= ETHERNET_LENGTH, "an Ethernet frame's packet has even more room");

#[cfg(test)]
mod tests {
    use super::super::envelope::Held;
    use super::super::ports::Ports;
    use super::*;
    use crate::base::Mac;
    use crate::wire::offload::{Completion, Segmentation};
    use crate::wire::{EtherType, LinkHeader};

    const A: LinkId = LinkId(0);
    const B: LinkId = LinkId(3);
    const HEADER: LinkHeader =
        LinkHeader::Ethernet { destination: Mac([2; 6]), source: Mac([4; 6]), kind: EtherType::IPV4 };

    fn two_wires(first: WireKind, second: WireKind) -> (Ports, Far, Far) {
        let mut ports = Ports::new();
        let ((a, far_a), (b, far_b)) = (wire(first).unwrap(), wire(second).unwrap());
        ports.insert(A, a);
        ports.insert(B, b);
        (ports, far_a, far_b)
    }

    fn plain(bytes: &[u8]) -> MemoryFrame {
        MemoryFrame { bytes: bytes.to_vec(), offload: Offload::NONE }
    }

    #[test]
    fn a_frame_keeps_its_metadata_from_a_bare_wire_to_ethernet() {
        let (mut ports, far_a, far_b) = two_wires(WireKind::Bare, WireKind::Ethernet);
        let offload = Offload {
            checksum: Completion::Partial { start: 20, offset: 16 },
            segmentation: Segmentation::Tcp4 { ecn: false },
            segment_size: 1000,
            header_length: 40,
        };
        far_a.deliver(MemoryFrame { bytes: vec![0x45; 3000], offload });
        assert_eq!(ports.ready(A, 10), 1);
        let frame = ports.frame(A, 0).unwrap();
        let held = Held::of(0, &frame);
        ports.send(B, &held, HEADER).unwrap();
        assert_eq!(far_b.collect(), None, "frames leave at the flush");
        ports.flush();
        let frame = far_b.collect().unwrap();
        assert_eq!(frame.bytes.len(), 3014);
        assert_eq!(frame.bytes[..14], [2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 8, 0]);
        assert_eq!(frame.offload.checksum, Completion::Partial { start: 34, offset: 16 });
        assert_eq!(frame.offload.header_length, 54);
    }

    #[test]
    fn frames_of_slots_and_copies_leave_in_the_order_they_were_sent() {
        let (mut ports, far_a, far_b) = two_wires(WireKind::Bare, WireKind::Bare);
        for number in 0..100 {
            far_a.deliver(plain(&[number; 20]));
        }
        assert_eq!(ports.ready(A, 200), 100);
        for index in 0..100 {
            let held = Held::of(index, &ports.frame(A, index).unwrap());
            ports.send(B, &held, LinkHeader::None).unwrap();
            ports.send_copy(B, &[100 + index as u8; 20], Offload::NONE, LinkHeader::None).unwrap();
        }
        ports.flush();
        let order: Vec<u8> = std::iter::from_fn(|| far_b.collect()).map(|frame| frame.bytes[0]).collect();
        assert_eq!(order, (0..100).flat_map(|number| [number, 100 + number]).collect::<Vec<u8>>());
    }

    #[test]
    fn what_cannot_leave_is_counted_where_it_can_be_seen() {
        let (mut ports, far_a, _far_b) = two_wires(WireKind::Bare, WireKind::Ethernet);
        far_a.deliver(plain(&[0x45; 20]));
        ports.ready(A, 1);
        let held = Held::of(0, &ports.frame(A, 0).unwrap());
        assert_eq!(ports.send(LinkId(77), &held, HEADER), Err(PortDrop::NoLink));
        assert_eq!(ports.counters(A).unwrap().dropped(PortDrop::NoLink), 1);
        assert_eq!(ports.send(B, &held, LinkHeader::None), Err(PortDrop::NoAddress));
        assert_eq!(ports.send_copy(B, &[0; 20], Offload::NONE, LinkHeader::None), Err(PortDrop::NoAddress));
        assert_eq!(ports.counters(B).unwrap().dropped(PortDrop::NoAddress), 2);
        let mut frame = ports.frame(A, 0).unwrap();
        frame.prepend(HEADROOM - 4).unwrap();
        let held = Held::of(0, &frame);
        assert_eq!(ports.send(B, &held, HEADER), Err(PortDrop::NoHeadroom));
        ports.flush();
        assert_eq!(ports.counters(B).unwrap().sent, 0);
        ports.remove(B);
        assert_eq!(ports.send_copy(B, &[0; 20], Offload::NONE, HEADER), Err(PortDrop::NoLink));
        assert_eq!(ports.counters(B).unwrap().dropped(PortDrop::NoLink), 1);
        // What came by no link is counted at the one it was for.
        assert_eq!(ports.send_copy(LinkId(5), &[0; 20], Offload::NONE, HEADER), Err(PortDrop::NoLink));
        assert_eq!(ports.counters(LinkId(5)).unwrap().dropped(PortDrop::NoLink), 1);
    }

    #[test]
    fn frames_that_are_ready_stay_so_while_other_ports_come_and_go() {
        let (mut ports, far_a, far_b) = two_wires(WireKind::Bare, WireKind::Bare);
        for number in 0..3 {
            far_a.deliver(plain(&[number; 20]));
        }
        assert_eq!(ports.ready(A, 8), 3);
        let held = Held::of(0, &ports.frame(A, 0).unwrap());
        ports.send(B, &held, LinkHeader::None).unwrap();
        let (port, _far) = wire(WireKind::Bare).unwrap();
        ports.insert(LinkId(7), port);
        assert_eq!(far_b.collect().map(|frame| frame.bytes[0]), Some(0), "what waited has left");
        ports.remove(LinkId(7));
        assert_eq!(ports.ready(A, 8), 3);
        assert_eq!(ports.frame(A, 2).unwrap().packet(), [2; 20]);
    }

    #[test]
    fn full_queues_lose_the_newest() {
        let (mut ports, far_a, far_b) = two_wires(WireKind::Bare, WireKind::Bare);
        assert!((0..QUEUE).all(|_| far_a.deliver(plain(&[1]))));
        assert!(!far_a.deliver(plain(&[2])));
        assert_eq!(ports.ready(A, 1), 1);
        assert_eq!(ports.counters(A).unwrap().dropped(PortDrop::RingFull), 1);
        for _ in 0..QUEUE + 3 {
            ports.send_copy(B, &[3], Offload::NONE, LinkHeader::None).unwrap();
        }
        ports.flush();
        assert_eq!(ports.counters(B).unwrap().dropped(PortDrop::QueueFull), 3);
        assert_eq!(std::iter::from_fn(|| far_b.collect()).count(), QUEUE);
    }

    #[test]
    fn a_wire_that_goes_is_reported_once() {
        let (mut ports, _far_a, far_b) = two_wires(WireKind::Bare, WireKind::Bare);
        let send = |ports: &mut Ports| {
            ports.send_copy(B, &[3], Offload::NONE, LinkHeader::None).unwrap();
            ports.flush();
        };
        far_b.set_state(WireState::Down);
        send(&mut ports);
        send(&mut ports);
        ports.examine(B);
        assert_eq!((ports.event(), ports.event()), (Some((B, PortEvent::Down)), None));
        far_b.set_state(WireState::Up);
        send(&mut ports);
        far_b.set_state(WireState::Gone);
        ports.examine(B);
        send(&mut ports);
        assert_eq!((ports.event(), ports.event()), (Some((B, PortEvent::Gone)), None));
        let counters = ports.counters(B).unwrap();
        assert_eq!(counters.drops().collect::<Vec<_>>(), [(PortDrop::LinkDown, 2), (PortDrop::LinkGone, 1)]);
        assert_eq!(counters.sent, 1);
    }

    #[test]
    fn what_happened_to_a_port_is_not_reported_of_the_next_one() {
        let (mut ports, _far_a, far_b) = two_wires(WireKind::Bare, WireKind::Bare);
        far_b.set_state(WireState::Gone);
        ports.examine(B);
        let (port, _far) = wire(WireKind::Bare).unwrap();
        ports.insert(B, port);
        assert_eq!(ports.event(), None);
    }

    #[test]
    fn a_short_frame_is_a_drop() {
        let (mut ports, far_a, _far_b) = two_wires(WireKind::Ethernet, WireKind::Bare);
        far_a.deliver(plain(&[0; 13]));
        assert_eq!(ports.ready(A, 5), 1);
        assert_eq!(ports.frame(A, 0).err(), Some(PortDrop::Short));
        assert_eq!(ports.counters(A).unwrap().dropped(PortDrop::Short), 1);
    }
}
