//! ovf: weighted overflow: the heaviest destination whose active connections do not exceed its weight,
//! so that one takes as many as it weighs and one more.

use std::cmp::Reverse;

use super::Pool;
use crate::base::DestinationId;

pub fn pick(pool: &Pool<'_>) -> Option<DestinationId> {
    pool.usable()
        .filter(|(_, destination)| destination.active <= destination.weight)
        .min_by_key(|(_, destination)| Reverse(destination.weight))
        .map(|(id, _)| id)
}
