//! Where packets go next, remembered: the routing table is asked once per address.

use crate::base::{Address, Family};
use crate::table::{Network, NextHop};

/// A small direct-mapped cache; it forgets everything when the network changes.
#[derive(Debug)]
pub(super) struct RouteCache {
    slots: Box<[Option<Known>]>,
}

/// An address that was looked up, and what came of it.
#[derive(Clone, Copy, Debug)]
struct Known {
    family: Family,
    address: Address,
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

    /// The next hop towards `address`, from the cache or from `network`.
    #[inline]
    pub fn next_hop(&mut self, network: &Network, family: Family, address: Address) -> Option<NextHop> {
        let slot = &mut self.slots[(address.fold().wrapping_mul(0x9e37_79b1) >> 22) as usize % SLOTS];
        if let Some(known) = slot
            && known.family == family
            && known.address == address
        {
            return known.hop;
        }
        let hop = network.next_hop(family, address);
        *slot = Some(Known { family, address, hop });
        hop
    }
}
