//! What tantivy's errors mean for the sink.

use std::io;
use std::path::Path;

use tantivy::TantivyError;
use tantivy::directory::error::{LockError, OpenDirectoryError, OpenReadError, OpenWriteError};

use crate::sink::SinkError;

/// What to do with an index that is no use.
pub(super) const REBUILD: &str = "Remove the directory and start again: the index is then built anew from the log, which has everything that was in it";

/// Judges an error by its consequence. Whether the directory is still there has been looked at before.
pub(super) fn classify(path: &Path, error: &TantivyError) -> SinkError {
    let target = path.display().to_string();
    if let TantivyError::LockFailure(LockError::LockBusy, _) = error {
        return SinkError::Fenced { target, detail: "its writer lock is held".to_owned() };
    }
    if let Some(error) = io_error(error) {
        return classify_io(path, "use", error);
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
        let detail = format!("the index cannot be read: {error}");
        return SinkError::Unusable { target, detail, remedy: REBUILD.to_owned() };
    }
    SinkError::Unavailable { target, detail: error.to_string() }
}

/// Judges an error of the file system.
pub(super) fn classify_io(path: &Path, action: &str, error: &io::Error) -> SinkError {
    let (target, detail) = (path.display().to_string(), format!("cannot {action} it: {error}"));
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => SinkError::Throttled { target, detail },
        io::ErrorKind::PermissionDenied => {
            let remedy = "Let walbridge's user read and write the directory".to_owned();
            SinkError::Unusable { target, detail, remedy }
        }
        _ => SinkError::Unavailable { target, detail },
    }
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
