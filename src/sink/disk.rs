//! What the targets on the local disk have in common.

use std::io;
use std::path::Path;

use super::SinkError;

/// Judges an error of the file system by its consequence.
pub(super) fn failed(path: &Path, action: &str, error: &io::Error) -> SinkError {
    let (target, detail) = (path.display().to_string(), format!("cannot {action} it: {error}"));
    let kind = error.kind();
    if matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge) {
        return SinkError::Throttled { target, detail };
    }
    if kind == io::ErrorKind::PermissionDenied {
        return unusable(path, &detail, "Let walbridge's user read and write it and the directory it is in");
    }
    SinkError::Unavailable { target, detail }
}

/// It is not what the configuration says.
pub(super) fn unusable(path: &Path, detail: &str, remedy: &str) -> SinkError {
    SinkError::Unusable { target: path.display().to_string(), detail: detail.to_owned(), remedy: remedy.to_owned() }
}

/// It is not where we left it.
pub(super) fn regressed(path: &Path, detail: impl Into<String>) -> SinkError {
    SinkError::Regressed { target: path.display().to_string(), detail: detail.into() }
}

/// Something was asked of it before it was opened, or after that failed.
pub(super) fn not_open(path: &Path) -> SinkError {
    SinkError::Unavailable { target: path.display().to_string(), detail: "it is not open".to_owned() }
}

/// `open` flags that refuse a symbolic link.
pub(super) fn no_follow() -> i32 {
    // Bit flags: the sign means nothing.
    rustix::fs::OFlags::NOFOLLOW.bits().cast_signed()
}
