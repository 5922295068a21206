//! wlc: the least load per weight. Also what lblc and lblcr fall back on.

use super::{Pool, is_smaller_share};
use crate::base::DestinationId;

pub fn pick(pool: &Pool<'_>) -> Option<DestinationId> {
    let mut usable = pool.usable().map(|(id, destination)| (id, destination.load(), destination.weight));
    let mut best = usable.next()?;
    for candidate in usable {
        if is_smaller_share((candidate.1, candidate.2), (best.1, best.2)) {
            best = candidate;
        }
    }
    Some(best.0)
}
