//! What can go wrong with the log.

use std::io;
use std::path::PathBuf;

use crate::event::Offset;
use crate::kafka::KafkaError;
use crate::status::{Code, Disposition};

/// An error of the log. A log is never repaired by guessing.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk failed or refused. After a failed fsync nothing is ever written again: what the kernel dropped from its
    /// cache cannot be told from what it kept (LWN "PostgreSQL's fsync() surprise").
    #[error("cannot {action} {path}: {source}. {}", remedy(source), path = path.display())]
    Io {
        /// What was tried: `write`, `fsync`, `open`…
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// An earlier write or fsync failed; this log is read-only until it is opened anew.
    #[error("the log at {path} stopped after a failed write; restart once the disk is sound", path = path.display())]
    Poisoned {
        /// The log's directory.
        path: PathBuf,
    },
    /// Bytes that are not what was written, elsewhere than at the torn tail.
    #[error(
        "{path} is damaged at byte {at}: {detail}. Restore the directory from a backup or a copy of the disk, or move it \
         away and let the source be copied anew; `walbridge log verify` lists the damage",
        path = path.display()
    )]
    Corrupt {
        /// The segment.
        path: PathBuf,
        /// Byte in the file.
        at: u64,
        /// What is wrong.
        detail: String,
    },
    /// Another process has it.
    #[error("{path} is in use by another walbridge (lock held); stop that one first", path = path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// Written by a newer version.
    #[error("{path} has log format {found}; this walbridge reads up to {supported}. Use the newer walbridge", path = path.display())]
    Format {
        /// The segment.
        path: PathBuf,
        /// Its version.
        found: u16,
        /// Ours.
        supported: u16,
    },
    /// Something in the directory that should not be there: a symbolic link, another owner's file.
    #[error("{path} cannot be used as a log: {detail}", path = path.display())]
    Unsafe {
        /// The file.
        path: PathBuf,
        /// Why not, and what to do.
        detail: String,
    },
    /// Retention has removed what was asked for.
    #[error("offset {wanted} is no longer in the log, which begins at {start}")]
    Expired {
        /// Asked for.
        wanted: Offset,
        /// The oldest there is.
        start: Offset,
    },
    /// An offset the log has not reached: a checkpoint from another history.
    #[error("offset {wanted} is beyond the end of the log, {end}")]
    Ahead {
        /// Asked for.
        wanted: Offset,
        /// One past the newest.
        end: Offset,
    },
    /// Kafka, where the log is there.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// Something was appended out of order. A bug: the process stops rather than write it.
    #[error("internal: {0}")]
    Misuse(String),
}

/// What to do about what the system answered.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "Make room on that disk, or keep less with [log] retain; then restart walbridge. Nothing is lost: PostgreSQL keeps what is \
             not confirmed"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "Let the user that walbridge runs as write there; then restart walbridge"
        }
        _ => "Mend the disk, or [log] path; then restart walbridge",
    }
}

impl LogError {
    /// The public code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            LogError::Io { source, .. }
                if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                Code::LogFull
            }
            LogError::Io { .. } | LogError::Poisoned { .. } | LogError::Unsafe { .. } => Code::LogIo,
            LogError::Corrupt { .. } => Code::LogCorrupt,
            LogError::Locked { .. } => Code::LogLocked,
            LogError::Format { .. } => Code::LogFormat,
            LogError::Expired { .. } | LogError::Ahead { .. } => Code::LogExpired,
            LogError::Kafka(error) => error.code(),
            LogError::Misuse(_) => Code::Internal,
        }
    }

    /// A disk's failure stops; Kafka may come back.
    #[must_use]
    pub const fn disposition(&self) -> Disposition {
        match self {
            LogError::Kafka(error) => error.disposition(),
            LogError::Io { .. }
            | LogError::Poisoned { .. }
            | LogError::Corrupt { .. }
            | LogError::Locked { .. }
            | LogError::Format { .. }
            | LogError::Unsafe { .. }
            | LogError::Expired { .. }
            | LogError::Ahead { .. }
            | LogError::Misuse(_) => Disposition::Stop,
        }
    }

    /// For `map_err`: names the action and the place.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> LogError {
        let path = path.into();
        move |source| LogError::Io { action, path, source }
    }
}
