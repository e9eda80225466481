//! Events become mutations of a target. Pure: no I/O, no clock, no randomness, so that a replay ends in the same bytes.

pub mod coalesce;
pub mod key;
pub mod line;
pub mod mutation;
pub mod row;
#[cfg(test)]
mod testing;

use std::sync::Arc;

pub use row::{Kind, ProjectError, Projection};

use crate::event::TableName;

/// Which tables a projection takes.
pub type TableFilter = Arc<dyn Fn(&TableName) -> bool + Send + Sync>;
