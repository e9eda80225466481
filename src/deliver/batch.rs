//! When to commit what has been staged. Pure: the clock is handed in.
//!
//! A commit happens only between two transactions. Below the limits it waits for more until the oldest staged mutation is
//! `linger` old; a target whose commits are cheap has no linger and shows every change at once, and under load batches grow
//! by themselves, because the log has more to give each time.

use std::time::{Duration, Instant};

use crate::log::Limit;

/// How much may be staged before a commit.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Mutations.
    pub rows: usize,
    /// Bytes of rows.
    pub bytes: usize,
    /// How long the first may wait for company.
    pub linger: Duration,
    /// A row of more bytes is refused.
    pub row_bytes_max: usize,
    /// So many rows may be set aside.
    pub dead_letters_max: usize,
}

/// What is read at once need not be all that is committed together: it is in memory twice.
const READ_ROWS_MAX: usize = 10_000;
const READ_BYTES_MAX: usize = 8 << 20;

impl Limits {
    /// How much to read at once.
    pub(super) fn of_a_read(&self) -> Limit {
        Limit { events: self.rows.min(READ_ROWS_MAX), bytes: self.bytes.min(READ_BYTES_MAX) }
    }
}

/// What is staged.
#[derive(Debug)]
pub(super) struct Batch {
    limits: Limits,
    mutations: usize,
    bytes: usize,
    since: Option<Instant>,
    at_boundary: bool,
}

/// Events that changed nothing for this sink still move its checkpoint, but no more often than this.
const IDLE_COMMIT: Duration = Duration::from_secs(1);

impl Batch {
    pub(super) fn new(limits: Limits) -> Self {
        Batch { limits, mutations: 0, bytes: 0, since: None, at_boundary: true }
    }

    /// A run of events was read and its mutations staged.
    pub(super) fn staged(&mut self, mutations: usize, bytes: usize, ends_transaction: bool, now: Instant) {
        self.mutations += mutations;
        self.bytes += bytes;
        self.at_boundary = ends_transaction;
        self.since.get_or_insert(now);
    }

    /// Everything was committed.
    pub(super) fn committed(&mut self) {
        *self = Batch::new(self.limits);
    }

    /// How many mutations are staged.
    pub(super) fn mutations(&self) -> usize {
        self.mutations
    }

    /// Nothing waits for a commit.
    pub(super) fn is_empty(&self) -> bool {
        self.since.is_none()
    }

    /// Between two transactions: a commit is possible.
    pub(super) fn at_boundary(&self) -> bool {
        self.at_boundary
    }

    /// Whether to commit before reading on.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.at_boundary && self.commit_at().is_some_and(|at| now >= at)
    }

    /// When a commit will be due without anything more being staged; `None` if there is nothing, or a transaction is open.
    pub(super) fn commit_at(&self) -> Option<Instant> {
        let since = self.since.filter(|_| self.at_boundary)?;
        if self.mutations == 0 {
            return Some(since + IDLE_COMMIT.max(self.limits.linger));
        }
        let full = self.mutations >= self.limits.rows || self.bytes >= self.limits.bytes;
        Some(if full { since } else { since + self.limits.linger })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(linger_ms: u64) -> Batch {
        Batch::new(Limits {
            rows: 10,
            bytes: 1000,
            linger: Duration::from_millis(linger_ms),
            row_bytes_max: usize::MAX,
            dead_letters_max: 100,
        })
    }

    #[test]
    fn without_linger_every_transaction_is_committed_at_once() {
        let (mut batch, now) = (batch(0), Instant::now());
        assert!(batch.is_empty() && !batch.is_due(now));
        batch.staged(1, 10, true, now);
        assert!(batch.is_due(now));
        batch.committed();
        assert!(batch.is_empty());
    }

    #[test]
    fn a_commit_never_falls_inside_a_transaction_however_large() {
        let (mut batch, now) = (batch(0), Instant::now());
        batch.staged(1_000_000, 1 << 30, false, now);
        assert!(!batch.is_due(now + Duration::from_secs(60)));
        assert_eq!(batch.commit_at(), None);
        batch.staged(1, 1, true, now);
        assert!(batch.is_due(now));
    }

    #[test]
    fn linger_ends_early_when_a_limit_is_reached() {
        let (mut batch, now) = (batch(500), Instant::now());
        batch.staged(1, 10, true, now);
        assert!(!batch.is_due(now + Duration::from_millis(499)));
        assert!(batch.is_due(now + Duration::from_millis(500)));
        batch.staged(9, 10, true, now);
        assert!(batch.is_due(now));
    }

    #[test]
    fn what_concerns_nobody_moves_the_checkpoint_now_and_then() {
        let (mut batch, now) = (batch(0), Instant::now());
        batch.staged(0, 0, true, now);
        assert!(!batch.is_due(now) && !batch.is_empty());
        assert!(batch.is_due(now + IDLE_COMMIT));
    }
}
