//! What can end a verification, or keep it from a table.

use std::io;
use std::path::PathBuf;

use crate::capture::CaptureError;
use crate::decode::DecodeError;
use crate::log::LogError;
use crate::postgres::PostgresError;
use crate::project::ProjectError;

/// Why something could not be verified. Nothing of it says that the sink is wrong, or that it is right.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The source.
    #[error("reading the source: {0}")]
    Source(#[from] CaptureError),
    /// The log.
    #[error("reading the log: {0}")]
    Log(#[from] LogError),
    /// A row does not have the columns that its table has.
    #[error("reading the source: {0}. Verify again")]
    Decode(#[from] DecodeError),
    /// The sink's key does not fit one of its tables.
    #[error("{0}")]
    Project(ProjectError),
    /// Something does not get on.
    #[error("{0}")]
    Stalled(String),
    /// The sink's loop has ended.
    #[error("the sink's loop has ended; mend what its status says, and restart walbridge")]
    Ended,
    /// Another process reads the source.
    #[error(
        "this process does not capture the sink's source, so it cannot tell which tables are still being copied. Run source and sink in one process to verify the sink"
    )]
    Elsewhere,
    /// The target does not give its documents back.
    #[error("the documents of this target cannot be read back, so there is nothing to compare")]
    Unreadable,
    /// This table cannot be read.
    #[error("{0}")]
    Table(CaptureError),
    /// Somebody has been writing to it for long.
    #[error("{0}. Verify it again then")]
    Written(CaptureError),
    /// Its copy is under way, so far.
    #[error(
        "it is being copied ({0:.0} %), so its documents are still on their way. Verify it again when that is done"
    )]
    BeingCopied(f64),
    /// Its copy has begun meanwhile.
    #[error("its copy has begun again meanwhile, so its documents are on their way. Verify it again when that is done")]
    CopiedAgain,
    /// It is new.
    #[error("walbridge has not begun to capture it. Verify it again when `walbridge status` shows it")]
    NotCaptured,
    /// Its definition has changed meanwhile.
    #[error("its definition was changed meanwhile. Verify it again")]
    Redefined,
    /// It was dropped.
    #[error("it is gone")]
    Gone,
    /// What does not fit into memory cannot be kept on disk.
    #[error(
        "its keys are too many for the memory that a verification takes, and cannot be kept in {}: {error}. Make room there, or give it more memory (--memory)",
        directory.display()
    )]
    NoRoom {
        /// Where they would be kept.
        directory: PathBuf,
        /// Why they cannot.
        error: io::Error,
    },
}

impl From<PostgresError> for VerifyError {
    fn from(error: PostgresError) -> Self {
        VerifyError::Source(error.into())
    }
}

impl VerifyError {
    /// Whether it is a matter of one table, and the others may be verified all the same.
    pub(super) const fn is_of_one_table(&self) -> bool {
        match self {
            VerifyError::Table(_)
            | VerifyError::Written(_)
            | VerifyError::BeingCopied(_)
            | VerifyError::CopiedAgain
            | VerifyError::NotCaptured
            | VerifyError::Redefined
            | VerifyError::Gone
            | VerifyError::NoRoom { .. }
            | VerifyError::Project(_)
            | VerifyError::Decode(_) => true,
            VerifyError::Source(_)
            | VerifyError::Log(_)
            | VerifyError::Stalled(_)
            | VerifyError::Ended
            | VerifyError::Elsewhere
            | VerifyError::Unreadable => false,
        }
    }
}
