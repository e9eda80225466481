//! The copy of existing rows, with the stream running beside it. One mechanism for the first copy, for added tables and for
//! tables that are copied again.
//!
//! A table is read in chunks, by several workers, each chunk in a short transaction of its own: no long transaction, no lock
//! above ACCESS SHARE, nothing written to the source's tables, no exported snapshot that a crash would lose. Each chunk:
//! 1. The ingest loop opens a [`window`] on the table and remembers from then on what the stream does to it.
//! 2. A transaction takes a snapshot, asks what it sees ([`visibility::Visibility`]) and how far the WAL has come, and reads.
//! 3. Once the stream has passed that place and stands between two transactions, the rows are appended to the log, less
//!    those that the stream has overtaken. The chunk's end is recorded in the same unit, so a restart goes on behind it.
//!
//! # Why chunks are stretches of the table's storage
//!
//! A chunk is a range of `ctid`, read by a TID range scan: it needs no key, no index, no order and no comparison in a type's own
//! collation; it reads each page once, in order, and a table falls into as many parts as there are workers. What a range of
//! keys would give for free has to be argued for:
//!
//! - **A row that moves.** An UPDATE puts the row's new version anywhere. Say a chunk's snapshot has not seen the update, and its
//!   stretch not the old version: then that transaction committed after the snapshot was taken, so its change is in the stream
//!   and in the log. A row that existed when the copy began is therefore either in the chunk that reads its place, or was changed
//!   before that by a transaction that the stream carries. Places behind the end that the table had when the copy began hold
//!   only what came later.
//! - **What that change lacks.** The stream leaves out TOAST values that an UPDATE does not touch. The keys of such rows are *owed*
//!   ([`owed`]) until the log has them whole; what is still owed when all places are read is read by key.
//! - **A table that is rewritten** (`VACUUM FULL`, `CLUSTER`, `ALTER TABLE`) puts its rows elsewhere without a word in the stream.
//!   Each chunk looks at the storage's file number under its lock, and a table whose number changed is read from the beginning.
//!   The lock is taken before the snapshot: to an older snapshot a table rewritten by `ALTER TABLE` looks empty (manual,
//!   "Caveats" of concurrency control).
//!
//! Memory: each worker's chunk, and two for each that wait for their place; each is bounded in bytes ([`chunk::BYTES_MAX`]).

pub mod chunk;
pub(super) mod look;
pub mod owed;
pub mod step;
pub mod survey;
pub mod throttle;
pub mod visibility;
pub mod window;
pub mod worker;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use self::visibility::Visibility;
use super::CaptureError;
use super::catalog::{Published, Table};
use crate::event::{Lsn, Row, Timestamp};

/// What the ingest loop gives a worker to do.
#[derive(Debug)]
pub enum Work {
    /// Look at a table before it is read.
    Survey {
        /// The table.
        table: Table,
        /// Names the task.
        ticket: Ticket,
        /// Wait for those who are writing to it: what they did may have been decoded before it was watched.
        wait_for_writers: bool,
    },
    /// Read a chunk.
    Read {
        /// The table, as surveyed.
        target: Arc<Target>,
        /// Names the task.
        ticket: Ticket,
        /// What to read.
        part: Part,
        /// How long its transaction may take; `None` for a row that cannot be had any faster.
        time_max: Option<Duration>,
        /// Where to put the rows.
        room: Room,
    },
    /// Make the server write something: a chunk has been waiting for the stream to pass it.
    Nudge,
}

/// Names a task of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The table.
    pub oid: u32,
    /// Never given twice in a process.
    pub number: u64,
}

/// A part of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The rows at these places: a block's number times 2¹⁶, and the line in it.
    Places(Range<u64>),
    /// The rows with these keys.
    Keys(Vec<Box<[u8]>>),
}

/// A table as surveyed.
#[derive(Clone, Debug)]
pub struct Target {
    /// The table.
    pub table: Table,
    /// As the stream would announce it, and the rows that the publication leaves out.
    pub published: Published,
    /// The operators of its key.
    key: Vec<chunk::KeyColumn>,
    /// What its storage is; see [`crate::capture::snapshot`].
    pub storage: u64,
    /// Its values come in binary form.
    binary: bool,
    /// What its columns and its place in the publication are.
    shape: i64,
}

impl Target {
    /// Whether a row can be read by its key: the key has an index.
    #[must_use]
    pub fn finds_by_key(&self) -> bool {
        !self.key.is_empty()
    }
}

#[cfg(test)]
impl Target {
    pub(crate) fn for_tests(table: Table, published: Published, storage: u64) -> Self {
        Target { table, published, key: Vec::new(), storage, binary: false, shape: 0 }
    }
}

/// What a survey found.
#[derive(Debug)]
pub struct Survey {
    /// The table.
    pub target: Arc<Target>,
    /// The first place that is not taken.
    pub end: u64,
    /// Its size, TOAST included.
    pub bytes: u64,
    /// The planner's estimate of its rows, if it has one.
    pub rows_estimate: Option<u64>,
}

/// A run of rows.
#[derive(Debug)]
pub struct Chunk {
    /// The task.
    pub ticket: Ticket,
    /// The table as it was read.
    pub target: Arc<Target>,
    /// The rows.
    pub rows: Rows,
    /// What the reading snapshot saw.
    pub visibility: Visibility,
    /// Everything it saw was committed before this LSN.
    pub seen_upto: Lsn,
    /// The source's clock.
    pub taken_at: Timestamp,
    /// How long reading took.
    pub took: Duration,
}

/// Memory in which a chunk is read: empty, and as large as the chunk before was.
#[derive(Debug, Default)]
pub struct Room {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

const ROOM_BYTES_MAX: usize = 2 * chunk::BYTES_WANTED;

/// Rows as bodies of changes (`N` and a tuple), one behind the other in one buffer.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    bytes: Bytes,
    ends: Vec<u32>,
}

impl Rows {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Its memory, for the next chunk: new pages cost the kernel more than the rows cost us. `None` if a row is still in use
    /// elsewhere, or a rare large chunk has blown it up.
    #[must_use]
    pub fn into_room(self) -> Option<Room> {
        let Rows { bytes, mut ends } = self;
        let mut bytes = bytes.is_unique().then(|| Vec::from(bytes))?;
        bytes.clear();
        ends.clear();
        (bytes.capacity() <= ROOM_BYTES_MAX).then_some(Room { bytes, ends })
    }

    /// The bodies, in order.
    pub fn bodies(&self) -> impl Iterator<Item = &[u8]> {
        self.ranges().map(|range| self.bytes.get(range).unwrap_or_default())
    }

    /// The bodies and their rows, in order.
    pub fn rows(&self) -> impl Iterator<Item = (&[u8], Row)> {
        self.ranges().map(|range| {
            let tuple = self.bytes.slice(range.start.saturating_add(1).min(range.end)..range.end);
            (self.bytes.get(range).unwrap_or_default(), Row::from_tuple_data(tuple))
        })
    }

    fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let end = usize::try_from(*end).unwrap_or(usize::MAX).min(self.bytes.len());
            std::mem::replace(&mut start, end)..end
        })
    }
}

/// What workers, and those who want a table copied, ask of the ingest loop.
#[derive(Debug)]
pub enum Request {
    /// A worker has nothing to do.
    Idle(oneshot::Sender<Work>),
    /// A table has been looked at.
    Surveyed {
        /// The task.
        ticket: Ticket,
        /// What was found.
        survey: Survey,
    },
    /// Put this chunk into the log when its place has come.
    Place(Chunk),
    /// A chunk could not be had as asked for.
    Refused {
        /// The task.
        ticket: Ticket,
        /// Why.
        why: Refusal,
    },
    /// Copy this table from here on: for the first time if the log knows nothing of it, else once more.
    Copy {
        /// The table.
        table: Table,
        /// Why once more, for people.
        reason: String,
        /// Sinks may have another table's documents under its name: what its copy does not bring is to go.
        sweeps: bool,
        /// Answered once a crash would not forget it.
        begun: oneshot::Sender<Result<(), CaptureError>>,
    },
}

/// Why a task was not done.
#[derive(Debug)]
pub enum Refusal {
    /// The table is not what was surveyed, or goes by another name: survey it again.
    Changed,
    /// It is no longer there, or no longer to be captured.
    Gone,
    /// More than a chunk may hold: so many bytes.
    TooLarge(usize),
    /// It took longer than it may.
    TooSlow,
    /// Anything else. It will be tried again.
    Failed(CaptureError),
}
