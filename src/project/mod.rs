//! Events become mutations of a target. Pure: no I/O, no clock, no randomness, so that a replay ends in the same bytes.

pub mod coalesce;
pub mod key;
pub mod known;
pub mod line;
pub mod mutation;
pub mod row;
#[cfg(test)]
pub(crate) mod testing;

pub use row::{Kind, ProjectError, Projection};
