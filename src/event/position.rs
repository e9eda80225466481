//! Where an event stands in its source's history, and where it stands in our log.

use std::fmt;

use super::Lsn;

/// The place of an event in its source's history, and the version of everything derived from it.
///
/// A record's own LSN will not do: transactions are delivered in commit order, so record LSNs go back and forth between
/// them, and all rows of one `COPY` share one. The commit's LSN with a count inside the transaction is unique and rises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Position {
    /// Counts breaks in the source's history (another system identifier, a restore, a slot made anew). Within one
    /// epoch LSNs can be compared; between two they mean nothing to each other.
    pub epoch: u32,
    /// Start of the transaction's commit record.
    pub commit_lsn: Lsn,
    /// Counts the events of the transaction from 0. Rows of a snapshot chunk continue the count of the transaction
    /// they were placed after.
    pub ordinal: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}#{}", self.epoch, self.commit_lsn, self.ordinal)
    }
}

/// A place in the embedded log: how many events stand before it. Never an LSN.
///
/// The offset of an event is the number of events before it, so `end - checkpoint` is a sink's lag in events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Offset(pub u64);

/// The events from one offset up to, and without, another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Span {
    /// The first.
    pub from: Offset,
    /// The first behind them.
    pub until: Offset,
}

impl Span {
    /// How much of it lies before an offset, 0 to 100.
    #[must_use]
    pub fn percent(self, before: Offset) -> f64 {
        let count = |until: Offset| until.0.min(self.until.0).saturating_sub(self.from.0) as f64;
        let all = count(self.until);
        if all > 0.0 { 100.0 * count(before) / all } else { 100.0 }
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
