//! What tantivy's errors mean for the sink.

use std::io;
use std::path::Path;

use tantivy::TantivyError;
use tantivy::directory::error::{LockError, OpenDirectoryError, OpenReadError, OpenWriteError};

use crate::sink::SinkError;
use crate::sink::disk::{failed, unusable};

/// What to do with an index that is no use.
pub(super) const REBUILD: &str = "Remove the directory and start again: the index is then built anew from the log, which has everything that was in it";

/// Judges an error by its consequence. Whether the directory is still there has been looked at before.
pub(super) fn classify(path: &Path, error: &TantivyError) -> SinkError {
    let target = path.display().to_string();
    if let TantivyError::LockFailure(LockError::LockBusy, _) = error {
        return SinkError::Fenced { target, detail: "its writer lock is held".to_owned() };
    }
    if let Some(error) = io_error(error) {
        return failed(path, "use", error);
    }
    let missing = matches!(error, TantivyError::OpenReadError(OpenReadError::FileDoesNotExist(_)));
    let broken = matches!(
        error,
        TantivyError::DataCorruption(_)
            | TantivyError::IncompatibleIndex(_)
            | TantivyError::SchemaError(_)
            | TantivyError::InternalError(_)
            | TantivyError::OpenReadError(OpenReadError::IncompatibleIndex(_))
    );
    if missing || broken {
        return unusable(path, &format!("the index cannot be read: {error}"), REBUILD);
    }
    SinkError::Unavailable { target, detail: error.to_string() }
}

fn io_error(error: &TantivyError) -> Option<&io::Error> {
    if let TantivyError::IoError(error)
    | TantivyError::LockFailure(LockError::IoError(error), _)
    | TantivyError::OpenDirectoryError(OpenDirectoryError::IoError { io_error: error, .. })
    | TantivyError::OpenReadError(OpenReadError::IoError { io_error: error, .. })
    | TantivyError::OpenWriteError(OpenWriteError::IoError { io_error: error, .. }) = error
    {
        return Some(error);
    }
    None
}
