//! fo: weighted failover: the heaviest destination, as long as it may be used.

use std::cmp::Reverse;

use super::Pool;
use crate::base::DestinationId;

pub fn pick(pool: &Pool<'_>) -> Option<DestinationId> {
    pool.usable().min_by_key(|(_, destination)| Reverse(destination.weight)).map(|(id, _)| id)
}
