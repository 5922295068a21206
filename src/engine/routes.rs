//! Where packets go next, remembered: the routing table is asked once per address, or once per flow
//! where the host has rules that look at more.

use crate::base::{Address, Family};
use crate::table::{Flow, Network, NextHop};

/// A small direct-mapped cache; it forgets everything when the network changes.
#[derive(Debug)]
pub(super) struct RouteCache {
    slots: Box<[Option<Known>]>,
}

/// A flow that was looked up, and what came of it.
#[derive(Clone, Copy, Debug)]
struct Known {
    flow: Flow,
    hop: Option<NextHop>,
}

const SLOTS: usize = 1024;

impl Default for RouteCache {
    fn default() -> RouteCache {
        RouteCache { slots: vec![None; SLOTS].into_boxed_slice() }
    }
}

impl RouteCache {
    pub fn clear(&mut self) {
        self.slots.fill(None);
    }

    /// The next hop of what this host sends to `address`, from the cache or from `network`.
    #[inline]
    pub fn next_hop(&mut self, network: &Network, family: Family, address: Address) -> Option<NextHop> {
        self.find(network, Flow::to(family, address))
    }

    /// The next hop of `flow`, from the cache or from `network`.
    #[inline]
    pub fn next_hop_of(&mut self, network: &Network, flow: Flow) -> Option<NextHop> {
        // Without rules only the destination matters, and one entry does for all that go there.
        let flow = if network.has_policy(flow.family) { flow } else { Flow::to(flow.family, flow.destination) };
        self.find(network, flow)
    }

    /// As [`RouteCache::next_hop`], where the host has no rules: an address is all that entries differ in.
    #[inline(always)]
    pub fn next_hop_by_address(&mut self, network: &Network, family: Family, address: Address) -> Option<&NextHop> {
        debug_assert!(!network.has_policy(family));
        let place = place(address);
        let is_known = self.slots[place]
            .as_ref()
            .is_some_and(|known| known.flow.destination.is_same(address, family) && known.flow.family == family);
        if !is_known {
            self.find(network, Flow::to(family, address));
        }
        self.slots[place].as_ref()?.hop.as_ref()
    }

    fn find(&mut self, network: &Network, flow: Flow) -> Option<NextHop> {
        let slot = &mut self.slots[place(flow.destination) ^ place(flow.source)];
        if let Some(known) = slot
            && known.flow == flow
        {
            return known.hop;
        }
        let hop = network.next_hop_of(&flow);
        *slot = Some(Known { flow, hop });
        hop
    }
}

/// Where an address lies; that of zero is zero.
#[inline(always)]
fn place(address: Address) -> usize {
    (address.fold().wrapping_mul(0x9e37_79b1) >> 22) as usize % SLOTS
}
