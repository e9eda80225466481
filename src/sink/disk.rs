//! What the targets on the local disk have in common.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::SinkError;

/// Judges an error of the file system by its consequence.
pub(super) fn failed(path: &Path, action: &str, error: &io::Error) -> SinkError {
    let (target, detail) = (path.display().to_string(), format!("cannot {action} it: {error}"));
    let kind = error.kind();
    if matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge) {
        return SinkError::Throttled { target, detail };
    }
    if matches!(kind, io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) {
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

/// The directory that a file is in must be there.
pub(super) fn check_directory(file: &Path) -> Result<(), SinkError> {
    let directory = directory_of(file);
    if directory.is_dir() {
        return Ok(());
    }
    let detail = format!("there is no directory {}", directory.display());
    Err(unusable(file, &detail, "Make it, or correct the path in the configuration"))
}

/// How long a lock is waited for. A loop of this process that has ended may be at its last call still, on a thread of its own, and hold it until then; and
/// so may a process that is being replaced.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// Takes a lock, and waits for one that another holds, but not for ever.
pub(super) fn patiently<T, E>(mut take: impl FnMut() -> Result<T, E>, is_held: impl Fn(&E) -> bool) -> Result<T, E> {
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match take() {
            Err(error) if is_held(&error) && Instant::now() < until => thread::sleep(LOCK_RETRY),
            outcome => return outcome,
        }
    }
}

/// The same of a file, which holds it while it is open.
pub(super) fn lock_file(file: &File) -> Result<(), TryLockError> {
    patiently(|| file.try_lock(), |error| matches!(error, TryLockError::WouldBlock))
}

/// The lock at `path`, made if it is not there and held as long as the file is open. `target`: what it guards, for messages.
pub(super) fn lock(path: &Path, target: &Path) -> Result<File, SinkError> {
    let opened =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).custom_flags(no_follow()).open(path);
    let lock = opened.map_err(|error| failed(path, "open", &error))?;
    match lock_file(&lock) {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            let detail = format!("the lock {} is held", path.display());
            Err(SinkError::Fenced { target: target.display().to_string(), detail })
        }
        Err(TryLockError::Error(error)) => Err(failed(path, "lock", &error)),
    }
}

/// Replaces a file in one step, durably.
pub(super) fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let unfinished = with_suffix(path, ".tmp");
    let mut out = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(no_follow())
        .open(&unfinished)?;
    out.write_all(contents)?;
    out.sync_all()?;
    fs::rename(&unfinished, path)?;
    sync_directory(path)
}

/// Makes names in a file's directory durable.
pub(super) fn sync_directory(file: &Path) -> io::Result<()> {
    File::open(directory_of(file))?.sync_all()
}

/// The name of a file beside this one.
pub(super) fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn directory_of(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A loop that was killed had its blocking call still under way, which took the lock just before the next loop asked for it: that one halted.
    #[test]
    fn a_lock_that_is_about_to_be_free_is_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("lock");
        let held = lock(&path, &path).expect("free");
        let next = thread::spawn({
            let path = path.clone();
            move || lock(&path, &path).map(drop)
        });
        // It has the file open, and so has asked.
        while std::fs::read_dir("/proc/self/fd")
            .expect("descriptors")
            .flatten()
            .filter(|fd| fs::read_link(fd.path()).is_ok_and(|to| to == path))
            .count()
            < 2
        {
            thread::yield_now();
        }
        drop(held);
        assert!(next.join().expect("no panic").is_ok());
        let held = lock(&path, &path).expect("free again");
        assert!(matches!(lock(&path, &path), Err(SinkError::Fenced { .. })), "two at once");
        drop(held);
    }
}
