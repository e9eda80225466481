//! One change of the source, and the transaction it belongs to.

use std::sync::Arc;

use bytes::Bytes;

use super::{Lsn, Offset, Position, Relation, Row, Timestamp};

/// What happened, in the words of the `op` field of `log dump --json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// `INSERT`
    Insert,
    /// `UPDATE`
    Update,
    /// `DELETE`
    Delete,
    /// `TRUNCATE`
    Truncate,
    /// A row that a snapshot read.
    Read,
    /// `pg_logical_emit_message`
    Message,
}

impl Op {
    /// The public word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Op::Insert => "insert",
            Op::Update => "update",
            Op::Delete => "delete",
            Op::Truncate => "truncate",
            Op::Read => "read",
            Op::Message => "message",
        }
    }
}

/// The unit in which the log is written and read: a committed transaction, or, between two, one snapshot chunk or one logical
/// message that belongs to none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// See [`Position::epoch`].
    pub epoch: u32,
    /// The top-level transaction id; 0 for a chunk or a lone message. 32 bits wrap around: equal or not, never earlier or later.
    pub xid: u32,
    /// Start of the commit record. For a chunk: that of the unit it was placed after. For a lone message: of its own record.
    pub commit_lsn: Lsn,
    /// The source's clock at commit. For a chunk: when its snapshot was taken. For a lone message: when it was sent.
    pub commit_time: Timestamp,
    /// The ordinal of the unit's first event: 0 for a transaction.
    pub first_ordinal: u64,
    /// The replication origin that the source got it from (`pg_replication_origin.roname`); `None` if it was made there.
    pub origin: Option<Arc<str>>,
}

impl Transaction {
    /// The offset of its first event; the one with this ordinal has this offset.
    #[must_use]
    pub fn begins(&self, ordinal: u64, offset: Offset) -> Offset {
        Offset(offset.0.saturating_sub(ordinal.saturating_sub(self.first_ordinal)))
    }

    /// Whether both are the same unit, whatever is known of its origin.
    #[must_use]
    pub fn is_same_unit(&self, other: &Transaction) -> bool {
        let unit = |of: &Transaction| (of.epoch, of.xid, of.commit_lsn, of.commit_time, of.first_ordinal);
        unit(self) == unit(other)
    }
}

/// The old row, as far as PostgreSQL logged it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OldRow {
    /// Only the replica identity's columns hold values; every other cell says NULL and means "not sent".
    Key(Row),
    /// The whole old row ([`super::ReplicaIdentity::Full`]).
    Full(Row),
}

impl OldRow {
    /// The row, of which only the key may be trusted unless it is `Full`.
    #[must_use]
    pub fn row(&self) -> &Row {
        match self {
            OldRow::Key(row) | OldRow::Full(row) => row,
        }
    }
}

/// A change with the version of the table it was made to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new row.
    Insert {
        /// The table.
        relation: Arc<Relation>,
        /// The row.
        new: Row,
    },
    /// A changed row.
    Update {
        /// The table.
        relation: Arc<Relation>,
        /// The old row: under the default identity only there if the key changed.
        old: Option<OldRow>,
        /// The new row; unchanged TOAST columns are missing from it ([`Row::lacks_values`]).
        new: Row,
    },
    /// A removed row.
    Delete {
        /// The table.
        relation: Arc<Relation>,
        /// What was logged of it: at least its key.
        old: OldRow,
    },
    /// Emptied tables. One statement may empty several; each gets an event of its own.
    Truncate {
        /// The table.
        relation: Arc<Relation>,
    },
    /// A row as a snapshot saw it.
    Read {
        /// The table.
        relation: Arc<Relation>,
        /// The row.
        row: Row,
    },
    /// A logical message.
    Message {
        /// The caller's prefix.
        prefix: String,
        /// The caller's bytes.
        content: Bytes,
    },
    /// A table is copied again from here on: because it was rewritten, added anew, or its history was lost. Its rows follow as
    /// `Read`s, with the stream running beside them, and then [`Change::CopyDone`].
    CopyBegun {
        /// The table.
        relation: Arc<Relation>,
    },
    /// The table has been copied again: what was not put since `since` is no longer there.
    CopyDone {
        /// The table.
        relation: Arc<Relation>,
        /// Where its [`Change::CopyBegun`] stands.
        since: Offset,
    },
}

/// The prefix under which a finished copy is told to those who know only messages.
pub const COPY_PREFIX: &str = "walbridge.copy";

impl Change {
    /// What happened, to those who know only the stable words: a table copied again is emptied first, and that its copy is
    /// complete is a message.
    #[must_use]
    pub const fn op(&self) -> Op {
        match self {
            Change::Insert { .. } => Op::Insert,
            Change::Update { .. } => Op::Update,
            Change::Delete { .. } => Op::Delete,
            Change::Truncate { .. } | Change::CopyBegun { .. } => Op::Truncate,
            Change::Read { .. } => Op::Read,
            Change::Message { .. } | Change::CopyDone { .. } => Op::Message,
        }
    }

    /// The table it happened to; a message has none.
    #[must_use]
    pub const fn relation(&self) -> Option<&Arc<Relation>> {
        match self {
            Change::Insert { relation, .. }
            | Change::Update { relation, .. }
            | Change::Delete { relation, .. }
            | Change::Truncate { relation }
            | Change::Read { relation, .. }
            | Change::CopyBegun { relation }
            | Change::CopyDone { relation, .. } => Some(relation),
            Change::Message { .. } => None,
        }
    }
}

impl Change {
    /// The bytes of its new row, or else of what there is of the old one; of a message, its content's.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Change::Insert { new: row, .. } | Change::Update { new: row, .. } | Change::Read { row, .. } => {
                row.as_bytes().len()
            }
            Change::Delete { old, .. } => old.row().as_bytes().len(),
            Change::Message { content, .. } => content.len(),
            Change::Truncate { .. } | Change::CopyBegun { .. } | Change::CopyDone { .. } => 0,
        }
    }
}

/// A change at its place: what the log holds and sinks are fed with. Cloning copies no row data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The transaction or chunk it belongs to.
    pub transaction: Arc<Transaction>,
    /// Counts the events of the transaction; see [`Position::ordinal`].
    pub ordinal: u64,
    /// What happened.
    pub change: Change,
}

impl Event {
    /// Whether a table's copy ends with it.
    #[must_use]
    pub fn ends_copy(&self) -> bool {
        matches!(self.change, Change::CopyDone { .. })
    }

    /// Its place in the source's history.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { epoch: self.transaction.epoch, commit_lsn: self.transaction.commit_lsn, ordinal: self.ordinal }
    }
}
