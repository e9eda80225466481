//! What can end a delivery session.

use crate::capture::CaptureError;
use crate::event::{Offset, Position};
use crate::log::{LogError, LogId};
use crate::project::ProjectError;
use crate::sink::SinkError;
use crate::status::{Code, Disposition};

/// An error of a deliver loop.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// The target.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The source, when a row had to be read back.
    #[error("reading a row back: {0}")]
    Readback(#[from] CaptureError),
    /// The dead letters cannot be kept.
    #[error("the dead letters cannot be written: {0}. Make room or mend the disk; nothing is skipped until then")]
    DeadLetters(#[from] std::io::Error),
    /// The log no longer has what the target needs.
    #[error(
        "the sink needs the log from offset {wanted}, but retention has removed everything before {start}. \
         Start over to fill it from a new copy of the tables (docs/operating.md, \"Starting over\"), and keep more with \
         [log] retain"
    )]
    Stranded {
        /// What the target needs.
        wanted: Offset,
        /// The oldest there is.
        start: Offset,
    },
    /// A table was copied again, and the beginning of that copy is no longer in the log.
    #[error(
        "table {table} was copied again from offset {since} of the log on, and retention has removed everything before {start}: \
         which documents are stale cannot be told any more. Start over to fill the sink from a new copy of the tables \
         (docs/operating.md, \"Starting over\"), and keep more with [log] retain"
    )]
    CopyExpired {
        /// The table.
        table: String,
        /// Where its copy began.
        since: Offset,
        /// The oldest there is.
        start: Offset,
    },
    /// The sink's key or shape does not fit one of its tables.
    #[error("{0}")]
    Unfit(ProjectError),
    /// The target was filled from another log.
    #[error(
        "the target was filled from log {found}, this is log {ours}: its rows may be older or newer than ours. Empty the \
         target together with its checkpoint, or give the sink another name and place"
    )]
    OtherLog {
        /// In the target's checkpoint.
        found: LogId,
        /// Ours.
        ours: LogId,
    },
    /// A row was refused and `on_reject` says to stop.
    #[error(
        "the target refused the row with key {key}{table} at {position}: {reason}. Mend the row or the target, or set on_reject = \"park\" or \
         \"dead_letter\"; nothing behind it is delivered before"
    )]
    Refused {
        /// The row's table, in words; nothing where it is not known.
        table: String,
        /// The row's key.
        key: String,
        /// Where the change stands.
        position: Position,
        /// Why.
        reason: String,
    },
    /// More rows are set aside than may be.
    #[error(
        "{open} changes are in the dead letters, and dead_letters_max is {limit}: nothing more is delivered. Look at them (walbridge \
         dead-letters list {sink}), mend what is wrong, and retry or discard them; or raise dead_letters_max and restart walbridge"
    )]
    TooManyLetters {
        /// The sink.
        sink: String,
        /// How many there are.
        open: usize,
        /// How many there may be.
        limit: usize,
    },
}

impl DeliverError {
    /// The public code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            DeliverError::Sink(error) => error.code(),
            DeliverError::Log(error) => error.code(),
            DeliverError::Readback(error) => error.code(),
            DeliverError::DeadLetters(_) => Code::LogIo,
            DeliverError::Stranded { .. } | DeliverError::CopyExpired { .. } => Code::LogExpired,
            DeliverError::Unfit(_) => Code::ConfigInvalid,
            DeliverError::OtherLog { .. } => Code::SinkRegressed,
            DeliverError::Refused { .. } => Code::SinkRejected,
            DeliverError::TooManyLetters { .. } => Code::ResourceLimit,
        }
    }

    /// What it calls for.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            DeliverError::Sink(error) => error.disposition(),
            DeliverError::Log(error) => error.disposition(),
            DeliverError::Readback(error) => error.disposition(),
            // A full disk is made room on, and letters are retried or discarded.
            DeliverError::DeadLetters(_) | DeliverError::TooManyLetters { .. } => Disposition::Retry,
            DeliverError::Unfit(_)
            | DeliverError::Stranded { .. }
            | DeliverError::CopyExpired { .. }
            | DeliverError::OtherLog { .. }
            | DeliverError::Refused { .. } => Disposition::Stop,
        }
    }
}
