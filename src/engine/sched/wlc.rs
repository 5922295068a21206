//! wlc: the least load per weight. Also what lblc and lblcr fall back on.

use super::{Pool, compare_shares};
use crate::base::DestinationId;

pub fn pick(pool: &Pool<'_>) -> Option<DestinationId> {
    pool.usable().min_by(|(_, a), (_, b)| compare_shares(a.load(), a.weight, b.load(), b.weight)).map(|(id, _)| id)
}
