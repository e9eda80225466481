//! Events become mutations of a target. Pure: no I/O, no clock, no randomness, so that a replay ends in the same bytes.

pub mod coalesce;
pub mod key;
pub mod known;
pub mod layout;
pub mod line;
pub mod mutation;
pub mod row;
pub mod shape;
pub mod sql;
#[cfg(test)]
pub(crate) mod testing;

pub use row::{Kind, ProjectError, Projection};
