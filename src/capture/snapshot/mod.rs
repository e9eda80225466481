//! The copy of existing rows, with the stream running beside it. One mechanism for the first copy and for added tables.
//!
//! A table is read in chunks by its key, each in a short transaction of its own: no long transaction, no lock above
//! ACCESS SHARE, nothing written to the source's tables, no exported snapshot that a crash would lose. Each chunk:
//! 1. The ingest loop opens a [`window::Window`] on the table and remembers from then on what the stream does to it.
//! 2. A transaction takes a snapshot, asks what it sees ([`visibility::Visibility`]) and how far the WAL has come, and reads.
//! 3. Once the stream has passed that place and stands between two transactions, the rows are appended to the log, less
//!    those that the stream has overtaken. The chunk's end is recorded in the same unit, so a restart goes on behind it.
//!
//! Memory: one chunk, bounded in bytes.

pub mod chunk;
pub mod task;
pub mod visibility;
pub mod window;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use self::visibility::Visibility;
use super::CaptureError;
use crate::event::{Lsn, Relation, Row, Timestamp};

/// A run of rows in the order of the key.
#[derive(Debug)]
pub struct Chunk {
    /// The table as it was read.
    pub relation: Arc<Relation>,
    /// The rows.
    pub rows: Vec<Row>,
    /// What the reading snapshot saw.
    pub visibility: Visibility,
    /// Everything it saw was committed before this LSN.
    pub seen_upto: Lsn,
    /// The source's clock.
    pub taken_at: Timestamp,
    /// The last row's key: where the next chunk begins. `None` if there are no rows.
    pub last_key: Option<Bytes>,
    /// There are no rows behind it.
    pub last: bool,
}

/// What the snapshot task asks of the ingest loop.
#[derive(Debug)]
pub enum Request {
    /// Remember from now on what the stream does to this table.
    Open {
        /// `pg_class.oid`.
        oid: u32,
        /// Answered once it is so.
        opened: oneshot::Sender<()>,
    },
    /// Put this chunk into the log when its place has come.
    Place {
        /// The rows.
        chunk: Chunk,
        /// Answered when it is decided.
        placed: oneshot::Sender<Placed>,
    },
    /// Copy this table from here on: for the first time if the log knows nothing of it, else once more.
    Copy {
        /// The table.
        table: super::catalog::Table,
        /// Why once more, for people.
        reason: String,
        /// Answered once a crash would not forget it.
        begun: oneshot::Sender<Result<(), CaptureError>>,
    },
    /// Reading a table failed; it will be tried again.
    Trouble {
        /// The table, for people.
        table: String,
        /// Why.
        error: CaptureError,
    },
}

/// What became of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// It is in the log.
    Yes,
    /// The window could not vouch for it: read it again.
    ReadAgain,
}
