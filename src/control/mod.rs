//! Control: the only writer. Typed commands, the director that carries them out, rates.

pub mod director;
pub mod estimator;
pub mod message;
pub mod socket;
