//! Keeping the kernel away from what the director handles.

use std::io;

use crate::engine::Engine;
use crate::host::network::View;
use crate::table::Network;

use super::options::Options;

/// What the kernel is to be kept from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {}

/// The guard, where this process may have one.
#[derive(Debug)]
pub struct Keeper {}

impl Keeper {
    pub fn open(_options: &Options) -> io::Result<Keeper> {
        Ok(Keeper {})
    }

    pub fn is_guarding(&self) -> bool {
        false
    }

    pub fn takes_own_mac(&self) -> bool {
        true
    }

    pub fn wanted(&self, _model: &Engine, _network: &Network) -> Wanted {
        Wanted {}
    }

    pub fn keep(&mut self, _view: &View, _wanted: Wanted) {}

    pub fn leave(&mut self) {}

    pub fn lines(&self) -> Vec<String> {
        Vec::new()
    }
}
