//! Which worker handles a frame, where there are several: the one that its client's flows belong to.

use std::sync::Arc;

use crate::port::af_packet::fanout::Steering;
use crate::wire::{EtherType, Frame, LinkHeader};

use super::handover::Handover;

/// One worker's share of the clients.
#[derive(Debug)]
pub struct Sharing {
    pub handover: Handover,
    /// The rule; until it is known every frame is the business of whoever has it.
    steering: Option<Arc<Steering>>,
}

impl Sharing {
    pub fn new(handover: Handover) -> Sharing {
        Sharing { handover, steering: None }
    }

    pub fn set_steering(&mut self, steering: Arc<Steering>) {
        self.steering = Some(steering);
    }

    /// The other worker that a frame is to be handed over to; `None` where it is to be handled here.
    #[inline]
    pub fn elsewhere(&self, frame: &Frame<'_>) -> Option<usize> {
        match frame.link_header() {
            LinkHeader::Ethernet { kind: EtherType::IPV4 | EtherType::IPV6, .. } | LinkHeader::None => {}
            // Nobody's flow.
            _ => return None,
        }
        let owner = self.steering.as_deref()?.worker_of_packet(frame.packet());
        (owner != self.handover.number()).then_some(owner)
    }
}
