//! Which changes of the configuration this machine lets us carry out.

use std::sync::Arc;

use crate::base::{Address, Family};
use crate::engine::Engine;
use crate::table::{Change, Errno, Network, ServiceKey};

/// What decides: the addresses of the host, and whether the kernel can be kept from them.
#[derive(Clone, Debug, Default)]
pub struct Permission {
    pub network: Arc<Network>,
    /// Whether the guard is in place.
    pub guarded: bool,
}

impl Permission {
    /// # Errors
    /// EPERM for a virtual address that the kernel would answer for too.
    pub fn check(&self, _model: &Engine, change: &Change) -> Result<(), Errno> {
        let Change::AddService { key: ServiceKey::Address { address, .. }, .. } = change else { return Ok(()) };
        let own = self.network.is_local(Family::of(address), Address::from(*address));
        if own && !self.guarded {
            log::error!(
                "{address} is an address of this host, and the kernel cannot be kept from answering for it: \
                 give the director CAP_NET_ADMIN, or take the address off the host"
            );
            return Err(Errno::EPERM);
        }
        Ok(())
    }
}
