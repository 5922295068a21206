//! lc: the least load, weights (other than 0) regardless.

use super::Pool;
use crate::base::DestinationId;

pub fn pick(pool: &Pool<'_>) -> Option<DestinationId> {
    pool.usable().min_by_key(|(_, destination)| destination.load()).map(|(id, _)| id)
}
