//! What can go wrong in the ingest loop, and what that calls for.

use crate::capture::CaptureError;
use crate::log::LogError;
use crate::postgres::PostgresError;
use crate::status::{Code, Disposition};

/// An error of the ingest loop: the source's or the log's.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The source.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Values came in binary form, and the next could not be read. Nothing of their transaction is kept; the server sends it
    /// again, as text.
    #[error("column {column} of {table} has a type whose binary form is not known")]
    TextNeeded {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
}

impl From<PostgresError> for IngestError {
    fn from(error: PostgresError) -> Self {
        CaptureError::from(error).into()
    }
}

impl IngestError {
    /// The public code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            IngestError::Capture(error) => error.code(),
            IngestError::Log(error) => error.code(),
            IngestError::TextNeeded { .. } => Code::SourceProtocol,
        }
    }

    /// A bug of the server's: it may pass.
    #[must_use]
    pub fn is_servers_own(&self) -> bool {
        matches!(self, IngestError::Capture(CaptureError::Server { source, .. }) if source.is_internal())
    }

    /// What it calls for.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            IngestError::Capture(error) => error.disposition(),
            IngestError::Log(error) => error.disposition(),
            IngestError::TextNeeded { .. } => Disposition::Retry,
        }
    }
}

/// Why a loop ended that was not told to.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Halt {
    /// What calls for an operator.
    #[source]
    pub error: IngestError,
    /// Whether the source has ever streamed in this process.
    pub streamed: bool,
}

impl Halt {
    /// Whether the set-up was never right: then the process ends at once, as with a wrong configuration. What is wrong with
    /// the source's *history*, or turns wrong later, is shown and waits for an operator.
    #[must_use]
    pub fn is_setup(&self) -> bool {
        let about_setup = matches!(
            self.error.code(),
            Code::SourceAuth
                | Code::SourceUnreachable
                | Code::SourcePrivilege
                | Code::SourceWalLevel
                | Code::SourcePublication
                | Code::SourceIdentity
                | Code::SourceProtocol
                | Code::SecurityTls
                | Code::ConfigInvalid
                | Code::KafkaDenied
                | Code::KafkaTopic
                | Code::SecurityAuth
        );
        about_setup && !self.streamed
    }
}
