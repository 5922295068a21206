//! sed: the shortest expected delay, which is the number of active connections there would be with the
//! new one, per weight. Inactive connections do not count.

use super::{Pool, compare_shares};
use crate::base::DestinationId;
use crate::engine::server::Destination;

pub fn pick(pool: &Pool<'_>) -> Option<DestinationId> {
    pool.usable().min_by(|(_, a), (_, b)| compare_shares(queue(a), a.weight, queue(b), b.weight)).map(|(id, _)| id)
}

/// The active connections there would be with one more.
fn queue(destination: &Destination) -> u64 {
    u64::from(destination.active) + 1
}
