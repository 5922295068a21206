//! All ports of one worker.

use std::collections::VecDeque;
use std::os::fd::RawFd;

use crate::base::LinkId;
use crate::wire::frame::ETHERNET_LENGTH;
use crate::wire::{Frame, LinkHeader, Offload};

use super::af_packet::{self, Adjustment, GroupNumbers, PacketOptions};
use super::af_xdp::{self, XdpOptions};
use super::counters::{Counters, PortDrop};
use super::envelope::{Held, packet_offload, seal};
use super::error::PortError;
use super::event::PortEvent;
use super::input::{Input, Inputs};
use super::output::{Output, Way};
use super::tun::{self, TunOptions};

/// One link's way in and out; give it to [`Ports::insert`].
///
/// To open a packet port, and to drop it, takes tens of milliseconds: the kernel waits until no processor can be at work
/// with a socket or ring any more. Another thread than a worker's does both.
#[derive(Debug)]
pub struct Port {
    pub(super) input: Input,
    pub(super) output: Way,
}

impl Port {
    /// Opens a port on an Ethernet interface. Needs CAP_NET_RAW.
    pub fn packet(options: &PacketOptions) -> Result<Port, PortError> {
        let (input, output) = af_packet::open(options)?;
        Ok(Port { input: Input::Packet(input), output: Way::Packet(Box::new(output)) })
    }

    /// Opens a port on an Ethernet interface that takes small UDP packets by AF_XDP, all else as a packet port.
    pub fn xdp(options: &XdpOptions) -> Result<Port, PortError> {
        let (input, output) = af_xdp::open(options)?;
        Ok(Port { input: Input::Xdp(input), output: Way::Packet(Box::new(output)) })
    }

    /// Opens one queue of a TUN device, creating the device if need be. Needs CAP_NET_ADMIN.
    pub fn tun(options: &TunOptions) -> Result<Port, PortError> {
        let (input, output) = tun::open(options)?;
        Ok(Port { input: Input::Tun(input), output: Way::Tun(output) })
    }

    /// Numbers of the fanout group the port is in; `None` where it is in none.
    pub fn fanout_group(&self) -> Option<GroupNumbers> {
        match &self.input {
            Input::Packet(input) => input.fanout_group(),
            Input::Xdp(_) | Input::Tun(_) | Input::Memory(_) => None,
        }
    }
}

/// The ports of one worker, by link. See the [module](super) for the order of calls.
#[derive(Debug, Default)]
pub struct Ports {
    // Apart from each other, so that an output can send from the slots of all inputs.
    inputs: Inputs,
    outputs: Vec<Option<Output>>,
    states: Vec<State>,
    /// The indexes of the links that have a port, in order. Numbers of links only grow, however many have come and gone,
    /// and what is done each turn must not take longer for that.
    open: Vec<usize>,
    events: VecDeque<(LinkId, PortEvent)>,
    busy: bool,
}

/// What is known of a link, whether or not it has a port.
#[derive(Debug, Default)]
struct State {
    counters: Counters,
    /// What was last reported and is not known to be over.
    reported: Option<PortEvent>,
}

impl State {
    /// A frame passed, so the link is up; but no frame brings back one that was deleted.
    #[inline]
    fn passed(&mut self) {
        if self.reported == Some(PortEvent::Down) {
            self.reported = None;
        }
    }

    /// Adds to `events` what befell `link`, unless it is known.
    fn report(&mut self, events: &mut VecDeque<(LinkId, PortEvent)>, link: LinkId, event: PortEvent) {
        if self.reported != Some(event) {
            self.reported = Some(event);
            events.push_back((link, event));
        }
    }
}

impl Ports {
    pub fn new() -> Ports {
        Ports::default()
    }

    /// Puts `port` in the place of `link`. An earlier port of that link is closed; its counters go on,
    /// and what it had to report does not concern the new one. What waits is sent; frames of other links that are ready
    /// stay so.
    pub fn insert(&mut self, link: LinkId, port: Port) {
        self.flush_outputs();
        self.events.retain(|(id, _)| *id != link);
        self.know(link);
        if let Err(place) = self.open.binary_search(&link.index()) {
            self.open.insert(place, link.index());
        }
        self.inputs.0[link.index()] = Some(port.input);
        let mut output = Output::new(port.output);
        output.set_busy(self.busy);
        self.outputs[link.index()] = Some(output);
        self.states[link.index()].reported = None;
    }

    /// Gives back the port of `link`, if it has one: it is closed as it is dropped, which may take long. What waits is
    /// sent; frames of other links that are ready stay so.
    pub fn remove(&mut self, link: LinkId) -> Option<Port> {
        self.flush_outputs();
        self.open.retain(|&index| index != link.index());
        let input = self.inputs.0.get_mut(link.index())?.take()?;
        let output = self.outputs.get_mut(link.index())?.take()?;
        Some(Port { input, output: output.into_way() })
    }

    /// Makes room for what is known of `link`.
    fn know(&mut self, link: LinkId) {
        let needed = link.index() + 1;
        if self.states.len() < needed {
            self.inputs.0.resize_with(needed, || None);
            self.outputs.resize_with(needed, || None);
            self.states.resize_with(needed, State::default);
        }
    }

    /// The links that have a port, with the descriptors that become readable when frames arrive: a port
    /// may have several.
    ///
    /// Readiness may be taken edge-triggered: after an edge, read until [`Ports::ready`] gives less than
    /// its limit.
    pub fn descriptors(&self) -> impl Iterator<Item = (LinkId, RawFd)> + '_ {
        let links = self.open.iter().map(|&index| LinkId(index as u32));
        links.flat_map(|link| {
            let descriptors = self.inputs.of(link).map(Input::descriptors).unwrap_or_default();
            descriptors.into_iter().map(move |descriptor| (link, descriptor))
        })
    }

    /// How many frames of `link` can be read now, at most `limit`. They and their slots are the worker's
    /// until [`Ports::flush`]; frames that were ready before and not flushed yet count too.
    #[inline]
    pub fn ready(&mut self, link: LinkId, limit: usize) -> usize {
        match (self.inputs.of_mut(link), self.states.get_mut(link.index())) {
            (Some(input), Some(state)) => input.ready(limit, &mut state.counters),
            _ => 0,
        }
    }

    /// The frame at `index`, below what [`Ports::ready`] said. Read each once: reading counts.
    ///
    /// # Errors
    /// Why the frame is none; that is counted already.
    #[inline]
    pub fn frame(&mut self, link: LinkId, index: usize) -> Result<Frame<'_>, PortDrop> {
        let (Some(input), Some(state)) = (self.inputs.of_mut(link), self.states.get_mut(link.index())) else {
            return Err(PortDrop::NoLink);
        };
        match input.frame(index, link) {
            Ok(frame) => {
                state.passed();
                let header = if frame.link_header() == LinkHeader::None { 0 } else { ETHERNET_LENGTH };
                state.counters.count_received(header + frame.packet_length());
                Ok(frame)
            }
            Err(reason) => {
                state.counters.drop_frames(reason, 1);
                Err(reason)
            }
        }
    }

    /// The frame at `index` for a look ahead: nothing is counted, and [`Ports::frame`] will give it.
    /// `None` where it is none, or the port has no way to look ahead.
    #[inline]
    pub fn peek(&mut self, link: LinkId, index: usize) -> Option<Frame<'_>> {
        self.inputs.of_mut(link)?.peek(index, link)
    }

    /// The packet of a held frame as it stands, and its offload metadata counted from the packet's
    /// beginning: what must be copied to keep the packet beyond the flush.
    pub fn packet(&self, held: &Held) -> Option<(&[u8], Offload)> {
        let packet = self.inputs.bytes(held.link, held.slot)?.get(held.network..held.end)?;
        Some((packet, held.offload))
    }

    /// Sends a held frame by the link `to` at the next flush, straight from its slot. `header` is what an
    /// Ethernet link needs; a bare link ignores it.
    ///
    /// A frame can be sent once only: its headers are written into the slot.
    ///
    /// # Errors
    /// Why it cannot be sent; that is counted already.
    #[inline]
    pub fn send(&mut self, to: LinkId, held: &Held, header: LinkHeader) -> Result<(), PortDrop> {
        let outcome = match self.outputs.get_mut(to.index()) {
            Some(Some(output)) if held.offload.is_tunneled() && !output.carries_tunnels() => Err(PortDrop::Tunneled),
            Some(Some(output)) => match self.inputs.of_mut(held.link).and_then(|input| input.bytes_mut(held.slot)) {
                Some(slot) => seal(slot, held.network, held.end, held.offload, output.layer(), header)
                    .map(|sealed| output.batch.push(held.link, held.slot, sealed)),
                // The slot was given back: the caller kept `held` beyond a flush.
                None => Err(PortDrop::NoLink),
            },
            _ => Err(PortDrop::NoLink),
        };
        self.pushed(to, held.link, outcome)
    }

    /// Sends a packet that lies elsewhere (what the director originates, fragments, packets that waited) by
    /// the link `to` at the next flush. It is copied; `offload` counts from its first byte.
    ///
    /// # Errors
    /// Why it cannot be sent; that is counted already.
    pub fn send_copy(
        &mut self,
        to: LinkId,
        packet: &[u8],
        offload: Offload,
        header: LinkHeader,
    ) -> Result<(), PortDrop> {
        let outcome = match self.outputs.get_mut(to.index()) {
            Some(Some(output)) if offload.is_tunneled() && !output.carries_tunnels() => Err(PortDrop::Tunneled),
            Some(Some(output)) => output.batch.push_copy(packet, offload, output.layer(), header),
            _ => {
                // It came by no link that could count it.
                self.know(to);
                Err(PortDrop::NoLink)
            }
        };
        self.pushed(to, to, outcome)
    }

    /// Like [`Ports::send_copy`], for a frame whose buffer is not a port's.
    pub fn send_frame(&mut self, to: LinkId, frame: &Frame<'_>, header: LinkHeader) -> Result<(), PortDrop> {
        self.send_copy(to, frame.packet(), packet_offload(frame), header)
    }

    /// Sends everything that waits and gives all slots back. Frames and [`Held`] places end here.
    #[inline]
    pub fn flush(&mut self) {
        self.flush_outputs();
        for &index in &self.open {
            if let (Some(Some(input)), Some(state)) = (self.inputs.0.get_mut(index), self.states.get_mut(index))
                && let Some(event) = input.release(&mut state.counters)
            {
                state.report(&mut self.events, LinkId(index as u32), event);
            }
        }
    }

    /// Changes what the port of `link` receives, or how it sends, while it goes on. A link without a port, or with one
    /// of another kind, has nothing to change.
    pub fn adjust(&mut self, link: LinkId, adjustment: &Adjustment<'_>) -> Result<(), PortError> {
        if let Adjustment::Queueing(queueing) = adjustment {
            if let Some(Some(output)) = self.outputs.get_mut(link.index()) {
                output.set_queueing(*queueing);
            }
            return Ok(());
        }
        self.inputs.of_mut(link).map_or(Ok(()), |input| input.adjust(adjustment))
    }

    /// Has the port of `link` send super-frames whole that are in a tunnel: the kernel runs a small program on
    /// what leaves by the link, which tells it of the outer headers. Needs CAP_BPF and CAP_NET_ADMIN.
    ///
    /// # Errors
    /// Why it cannot; whoever cuts super-frames must go on doing so.
    pub fn carry_tunnels(&mut self, link: LinkId) -> Result<(), PortError> {
        match self.outputs.get_mut(link.index()) {
            Some(Some(output)) => output.carry_tunnels(),
            _ => Err(PortError::TunnelsElsewhere),
        }
    }

    /// Says whether frames are many now: only then do plain ones pass by queueing disciplines, where they
    /// may at all ([`Queueing::BypassPlain`](super::Queueing::BypassPlain)).
    pub fn set_busy(&mut self, busy: bool) {
        self.busy = busy;
        for &index in &self.open {
            if let Some(Some(output)) = self.outputs.get_mut(index) {
                output.set_busy(busy);
            }
        }
    }

    /// Asks what befell `link`, after its descriptor reported an error or a hang-up, and brings the count of
    /// what the kernel dropped up to date.
    ///
    /// The kernel gives no sign when a link that is down is deleted: ask again now and then while it is.
    pub fn examine(&mut self, link: LinkId) {
        let (Some(input), Some(state)) = (self.inputs.of_mut(link), self.states.get_mut(link.index())) else {
            return;
        };
        if let Some(event) = input.examine(&mut state.counters) {
            self.report(link, event);
        }
    }

    /// The oldest event that was not taken yet.
    pub fn event(&mut self) -> Option<(LinkId, PortEvent)> {
        self.events.pop_front()
    }

    /// What was counted for `link`; `None` for one that never had a port and that nothing was to be sent to.
    pub fn counters(&self, link: LinkId) -> Option<&Counters> {
        self.states.get(link.index()).map(|state| &state.counters)
    }

    /// Ends both ways of sending: counts what failed, and sends where a batch is full.
    #[inline]
    fn pushed(&mut self, to: LinkId, from: LinkId, outcome: Result<(), PortDrop>) -> Result<(), PortDrop> {
        if let Err(reason) = outcome {
            // A link without port may never have had counters; the frame's own link has.
            let place = if to.index() < self.states.len() { to } else { from };
            if let Some(state) = self.states.get_mut(place.index()) {
                state.counters.drop_frames(reason, 1);
            }
            return Err(reason);
        }
        if self.outputs.get(to.index()).is_some_and(|output| output.as_ref().is_some_and(|out| out.batch.is_full())) {
            self.flush_output(to.index());
        }
        Ok(())
    }

    #[inline]
    fn flush_outputs(&mut self) {
        for place in 0..self.open.len() {
            self.flush_output(self.open[place]);
        }
    }

    #[inline]
    fn flush_output(&mut self, index: usize) {
        let (Some(Some(output)), Some(state)) = (self.outputs.get_mut(index), self.states.get_mut(index)) else {
            return;
        };
        if output.batch.is_empty() {
            return;
        }
        let sent = state.counters.sent;
        let outcome = output.flush(&self.inputs, &mut state.counters);
        if state.counters.sent != sent {
            state.passed();
        }
        if let Err(event) = outcome {
            self.report(LinkId(index as u32), event);
        }
    }

    fn report(&mut self, link: LinkId, event: PortEvent) {
        if let Some(state) = self.states.get_mut(link.index()) {
            state.report(&mut self.events, link, event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::{Far, MemoryFrame, WireKind, wire};
    use super::*;

    const LAST: LinkId = LinkId(5000);

    fn insert(ports: &mut Ports, link: LinkId) -> Far {
        let (port, far) = wire(WireKind::Bare).unwrap();
        ports.insert(link, port);
        far
    }

    #[test]
    fn only_links_that_have_a_port_are_walked() {
        let mut ports = Ports::new();
        // Links come and go, each with a number that none had before.
        for number in 1..LAST.0 {
            insert(&mut ports, LinkId(number));
            ports.remove(LinkId(number));
        }
        let last = insert(&mut ports, LAST);
        let first = insert(&mut ports, LinkId(0));
        insert(&mut ports, LinkId(7));
        // Another port in the place of one, and one that is none.
        insert(&mut ports, LinkId(7));
        ports.remove(LinkId(8));
        assert_eq!(ports.open, [0, 7, LAST.index()]);
        let links: Vec<LinkId> = ports.descriptors().map(|(link, _)| link).collect();
        assert_eq!(links, [LinkId(0), LinkId(7), LAST]);

        // Each turn sends what waits for any of them, and gives the slots of each back.
        for (far, link, to) in [(&first, LinkId(0), LAST), (&last, LAST, LinkId(0))] {
            for byte in [1, 2] {
                far.deliver(MemoryFrame { bytes: vec![byte; 20], offload: Offload::NONE });
                assert_eq!(ports.ready(link, 8), 1, "the slot before was given back");
                let held = Held::of(0, &ports.frame(link, 0).unwrap());
                ports.send(to, &held, LinkHeader::None).unwrap();
                ports.flush();
            }
        }
        for far in [&first, &last] {
            let sent: Vec<u8> = std::iter::from_fn(|| far.collect()).map(|frame| frame.bytes[0]).collect();
            assert_eq!(sent, [1, 2]);
        }
        let removed = ports.remove(LAST).expect("it had one");
        assert!(ports.remove(LAST).is_none() && last.is_open());
        drop(removed);
        assert!(!last.is_open());
        assert_eq!(ports.open, [0, 7]);
        assert_eq!(ports.send_copy(LAST, &[0; 20], Offload::NONE, LinkHeader::None), Err(PortDrop::NoLink));
    }
}
