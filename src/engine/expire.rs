//! What time does: connections end, the trash is emptied, incomplete datagrams are given up.

use crate::base::{ConnectionId, Tick};

use super::Engine;
use super::conn::Budget;
use super::track::End;

/// Seconds a connection that controls others stays beyond its time.
const CONTROLLER_TIMEOUT: u32 = 60;
/// Between two looks at everything that is not a connection's own timer.
const HOUSEKEEPING: u64 = 1000;
/// Places of the connection table that are looked at at once for connections of deleted
/// destinations.
const PURGE_SLICE: usize = 512;

impl Engine {
    /// Does what is due at `now`, looking at no more than `budget` connections (nor so many
    /// deleted destinations); returns whether there is more to do.
    pub fn tick(&mut self, now: Tick, budget: usize) -> bool {
        let mut left = Budget(budget);
        while let Some(id) = self.connections.pop_due(now, &mut left) {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            if connection.controls > 0 {
                connection.timeout = CONTROLLER_TIMEOUT;
                if self.sync.is_master() {
                    self.tell(now, id, self.settings.sync_threshold.0 as u32);
                }
                self.touch(now, id);
            } else {
                self.forget(id, End::Expired);
            }
        }
        if now >= self.next_housekeeping {
            self.next_housekeeping = now + HOUSEKEEPING;
            self.services.tick(now, &self.settings);
            self.give_up_fragments(now);
            self.judge_defences();
            self.begin_scan();
        }
        let mut more = self.services.sweep(&mut Budget(budget));
        more |= self.scan(now);
        if self.purge_at.is_some_and(|at| at <= now) {
            self.purge_at = None;
            self.purged = Some(0);
        }
        more |= self.purge();
        more || left.is_spent()
    }

    /// Ends the connections of destinations that are gone (`expire_nodest_conn`), except those
    /// that control others: of a slice of the table; whether there is more.
    fn purge(&mut self) -> bool {
        let Some(from) = self.purged else { return false };
        let end = (from + PURGE_SLICE).min(self.connections.places());
        for place in from..end {
            // There are fewer places than ids.
            let id = ConnectionId(place as u32);
            let Some(connection) = self.connections.get(id) else { continue };
            let destination = connection.destination.and_then(|id| self.services.destinations.get(id));
            if connection.controls == 0 && destination.is_some_and(|destination| !destination.available) {
                self.forget(id, End::Orphaned);
            }
        }
        self.purged = (end < self.connections.places()).then_some(end);
        self.purged.is_some()
    }
}
