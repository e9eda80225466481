//! Events become mutations of a target. Pure: no I/O, no clock, no randomness, so that a replay ends in the same bytes.

pub mod line;
pub mod mutation;
