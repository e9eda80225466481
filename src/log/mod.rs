//! The one durable, ordered log of a source: what `ingest` appends and every `deliver` loop reads.
//!
//! Invariants, for every implementation:
//! - an event becomes visible to readers only with its transaction's [`Entry::Commit`], and only once that is durable;
//! - [`Durable::end_lsn`] never exceeds what a crash, a power cut included, leaves behind: it is what may be confirmed to
//!   PostgreSQL;
//! - Positions rise strictly.

pub mod embedded;
mod error;
mod history;
mod input;
#[cfg(feature = "kafka")]
pub mod kafka;
mod record;
pub mod share;
pub mod single;

use std::future::Future;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

pub use error::LogError;

use crate::event::{Event, Lsn, Offset, Op, Place, Position, Relation, TableName, Timestamp, Transaction};
use crate::status::LogEnd;

/// Names a log for as long as it exists. A checkpoint of another log is never mistaken for one of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogId(pub u128);

impl std::fmt::Display for LogId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The stretch of history a source is in: which cluster, which timeline, which slot. Positions of two epochs are never
/// compared by LSN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Counts from 1.
    pub number: u32,
    /// `IDENTIFY_SYSTEM`'s `systemid`.
    pub system_identifier: u64,
    /// `IDENTIFY_SYSTEM`'s `timeline`.
    pub timeline: u32,
    /// The replication slot.
    pub slot: String,
    /// The slot's consistent point: the epoch holds every change committed after it.
    pub start_lsn: Lsn,
}

/// How far the copy of a table's existing rows has come. The log keeps it, so a restart goes on with the next chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSnapshot {
    /// `pg_class.oid`; a table dropped and made again under the same name is another table.
    pub oid: u32,
    /// Its name, for people.
    pub name: TableName,
    /// Counts the copies of the table: 1 is the first.
    pub generation: u32,
    /// From the second generation on the offset of the copy's [`Entry::CopyBegun`]; before, where the log ended when the copy
    /// began. What the copy brings stands behind it.
    pub begun: Offset,
    /// Why the table is copied again, for people; empty for a first copy.
    pub reason: String,
    /// Rows copied so far.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The storage that `copied` speaks of; `None` before it has been looked at.
    pub storage: Option<Storage>,
    /// The stretches of it that are copied: in order, apart from one another.
    pub copied: Vec<Range<u64>>,
    /// Every row has been copied.
    pub done: bool,
}

/// A table's storage as a copy reads it: rows have places, and there is nothing to copy from `end` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Another number means that the table was rewritten since: places mean nothing any more.
    pub fingerprint: u64,
    /// The first place that the table had not taken when the copy began. What came there later is in the stream.
    pub end: u64,
}

impl TableSnapshot {
    /// A copy of which nothing has been read yet.
    #[must_use]
    pub fn begin(oid: u32, name: TableName, generation: u32, begun: Offset, reason: String) -> Self {
        TableSnapshot {
            oid,
            name,
            generation,
            begun,
            reason,
            rows: 0,
            bytes: 0,
            storage: None,
            copied: Vec::new(),
            done: false,
        }
    }
}

/// What is appended, in order. Between `Begin` and `Commit` stand the changes of one transaction and nothing of another.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// A new stretch of history begins. Outside any transaction.
    Epoch(&'a Epoch),
    /// Opens a transaction or a snapshot chunk.
    Begin(&'a Transaction),
    /// One change. `body` is what follows the relation's OID in pgoutput's message: for an insert `N` and a tuple, for an
    /// update `K` or `O` and a tuple if there is one, then `N` and a tuple, for a delete `K` or `O` and a tuple; for a
    /// snapshot row as for an insert; for a truncate nothing. Already checked against the relation.
    Change {
        /// What happened; never [`Op::Message`].
        op: Op,
        /// The table's version.
        relation: &'a Arc<Relation>,
        /// See above.
        body: &'a [u8],
    },
    /// A logical message.
    Message {
        /// The caller's prefix.
        prefix: &'a str,
        /// The caller's bytes.
        content: &'a [u8],
    },
    /// The table is copied again from here on; see [`crate::event::Change::CopyBegun`]. An event, inside a unit. Until its copy
    /// is done, retention keeps the log from here on.
    CopyBegun {
        /// The table's version.
        relation: &'a Arc<Relation>,
    },
    /// The table's copy is complete; see [`crate::event::Change::CopyDone`]. An event, inside the unit of the last chunk.
    CopyDone {
        /// The table's version.
        relation: &'a Arc<Relation>,
        /// The offset of its `CopyBegun`, as [`LogWriter::next_offset`] told before that was appended.
        since: Offset,
    },
    /// How far a table's snapshot has come; inside the chunk that brought it there, and durable only with it.
    Snapshot(&'a TableSnapshot),
    /// Closes what `Begin` opened. `end_lsn` is the first byte after the commit record, and may be confirmed once durable.
    Commit {
        /// For a snapshot chunk: the LSN that was confirmable already.
        end_lsn: Lsn,
    },
    /// Drops what `Begin` opened: the connection was lost inside the transaction, and the server will send it again.
    Abort,
    /// The source has nothing for us before this LSN. Outside any transaction.
    Progress(Lsn),
}

/// What is safely on disk, published after each fsync. Every field only rises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durable {
    /// How many events: where the next one will stand.
    pub offset: Offset,
    /// How many bytes the log has had since its beginning, removed segments included.
    pub bytes: u64,
    /// The last event's Position; `None` in an empty log.
    pub position: Option<Position>,
    /// The last transaction's commit time.
    pub commit_time: Option<Timestamp>,
    /// Everything the source committed before this LSN is in the log: what may be confirmed.
    pub end_lsn: Lsn,
}

impl Durable {
    /// As the board wants it.
    #[must_use]
    pub fn log_end(&self) -> LogEnd {
        LogEnd { offset: self.offset, bytes: self.bytes, commit_time: self.commit_time }
    }
}

/// What an opened log says of its past: where to resume, and what had been going on.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The current epoch; `None` in a new log.
    pub epoch: Option<Epoch>,
    /// What is durable.
    pub durable: Durable,
    /// Snapshot progress by table OID.
    pub snapshots: Vec<TableSnapshot>,
    /// Bytes of an unfinished write that were cut off the end.
    pub truncated_bytes: u64,
}

/// How much a reader may return at once. A batch ends at whichever comes first, but holds at least one event.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Events.
    pub events: usize,
    /// Bytes of rows.
    pub bytes: usize,
}

/// A run of events, in order. Holds whole transactions unless the last one is larger than the limit. A unit in which a table's copy ends
/// stands at the front: what comes before it is a batch of its own, for only the reader knows the offset at which that ends.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The events.
    pub events: Vec<Event>,
    /// The offset after them.
    pub next: Offset,
    /// [`Durable::bytes`] after them.
    pub bytes: u64,
    /// Whether the last event ends its transaction. If not, the next batch goes on with it.
    pub ends_transaction: bool,
}

/// The appending side. There is one.
pub trait LogWriter: Send {
    /// While more than this is appended and not handed over the source is not read. What is on its way to the disk is as much again.
    const PENDING_BYTES_MAX: usize = 4 << 20;

    /// Comes first, and once more after an error that may pass. Opens the log if it is not open, and then tells its past: what
    /// was appended and is not durable by then was not appended. `None` if it was open all along.
    ///
    /// # Errors
    /// The log cannot be opened.
    fn open(&mut self) -> impl Future<Output = Result<Option<Recovered>, LogError>> + Send;

    /// Whether it is open, so that [`LogWriter::open`] has nothing to do.
    fn is_open(&self) -> bool;

    /// Whether the unit that comes next was begun in the log before, and must go on where it stopped: nothing may be put in
    /// front of it.
    fn awaits_rest(&self) -> bool;

    /// Takes an entry into the buffer. Copies; never waits.
    ///
    /// # Errors
    /// Out of order (a bug), or the log has failed.
    fn append(&mut self, entry: Entry<'_>) -> Result<(), LogError>;

    /// Whether a unit has been begun and neither committed nor aborted.
    fn in_transaction(&self) -> bool;

    /// The offset that the next event will have, those of the open unit counted.
    fn next_offset(&self) -> Offset;

    /// Bytes appended and not handed to the disk yet.
    fn pending_bytes(&self) -> usize;

    /// Whether [`LogWriter::flush`] would not wait.
    fn can_flush(&self) -> bool;

    /// Hands what was appended to the disk, and waits only while the hand-over before is still being written. Cancel-safe.
    ///
    /// # Errors
    /// The disk failed, now or earlier.
    fn flush(&mut self) -> impl Future<Output = Result<(), LogError>> + Send;

    /// Waits until everything appended is durable.
    ///
    /// # Errors
    /// The disk failed, now or earlier.
    fn sync(&mut self) -> impl Future<Output = Result<Durable, LogError>> + Send;

    /// What is durable, as it changes.
    fn durable(&self) -> watch::Receiver<Durable>;

    /// A directory, not made yet, for what its owner must keep beside the log: as safe as the log, and moved with it.
    fn beside(&self) -> PathBuf;
}

/// The reading side. Each sink has its own.
pub trait LogReader: Send {
    /// The next events, waiting for some if there are none. Cancel-safe.
    ///
    /// # Errors
    /// The log is damaged, or retention has passed this reader.
    fn next(&mut self, limit: Limit) -> impl Future<Output = Result<Batch, LogError>> + Send;
}

/// An open log, as the deliver loops see it.
pub trait Log: Clone + Send + Sync + 'static {
    /// Its readers.
    type Reader: LogReader + 'static;

    /// Comes first, and once more after an error that may pass: what follows is told of an open log.
    ///
    /// # Errors
    /// The log cannot be opened.
    fn open(&self) -> impl Future<Output = Result<(), LogError>> + Send;

    /// Its name.
    fn id(&self) -> LogId;

    /// The oldest event there is.
    fn start(&self) -> Offset;

    /// What is durable, as it changes.
    fn durable(&self) -> watch::Receiver<Durable>;

    /// Where a place is: the first event there or behind it, at the beginning of its unit; the end if there is none. Retention has left
    /// everything from there on.
    ///
    /// # Errors
    /// [`LogError::Expired`] if it has not, [`LogError::Ahead`] beyond the end; or the log cannot be read.
    fn find(&self, place: Place) -> impl Future<Output = Result<Offset, LogError>> + Send;

    /// A reader that begins with the event at this offset. Where compaction has removed events it passes over them: the newest of each row
    /// comes, but for deletes so old that nothing tells of them any more.
    ///
    /// # Errors
    /// The offset is no longer, or not yet, in the log.
    fn reader(&self, from: Offset) -> Result<Self::Reader, LogError>;

    /// The same for whoever must hear of every delete since this time; `None`: of every one.
    ///
    /// # Errors
    /// As [`Log::reader`].
    fn reader_since(&self, from: Offset, time: Option<Timestamp>) -> Result<Self::Reader, LogError> {
        let _only_compaction_makes_a_difference = time;
        self.reader(from)
    }

    /// [`Durable::bytes`] as it was at this offset, so that a lag can be told in bytes.
    ///
    /// # Errors
    /// As [`Log::reader`].
    fn bytes_at(&self, offset: Offset) -> Result<u64, LogError>;
}
