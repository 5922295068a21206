//! rr: one after the other, weights (other than 0) regardless.
//!
//! The pointer stands on the destination chosen last, or on the list's head before the first choice.
//! Destinations added do not move it; as they are put at the head they come up after the round's end.

use super::Pool;
use crate::base::DestinationId;

#[derive(Debug, Default)]
pub struct State {
    /// One past the position of the destination chosen last; 0 while the pointer is at the head.
    next: usize,
}

impl State {
    pub fn added(&mut self) {
        if self.next > 0 {
            self.next += 1;
        }
    }

    /// When the destination pointed at goes, the pointer steps back to its predecessor.
    pub fn removed(&mut self, pool: &Pool<'_>, id: DestinationId) {
        if pool.list.position(id).is_some_and(|position| position < self.next) {
            self.next -= 1;
        }
    }

    pub fn pick(&mut self, pool: &Pool<'_>) -> Option<DestinationId> {
        let count = pool.list.len();
        let (position, id) = (self.next..count)
            .chain(0..self.next.min(count))
            .filter_map(|position| Some((position, pool.at(position)?)))
            .find_map(|(position, (id, destination))| destination.usable().then_some((position, id)))?;
        self.next = position + 1;
        Some(id)
    }
}
