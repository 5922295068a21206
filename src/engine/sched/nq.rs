//! nq: never queue: the first destination that is idle, whatever it weighs, else as sed.

use super::{Pool, sed};
use crate::base::DestinationId;

pub fn pick(pool: &Pool<'_>) -> Option<DestinationId> {
    let idle = pool.usable().find(|(_, destination)| destination.active == 0).map(|(id, _)| id);
    idle.or_else(|| sed::pick(pool))
}
