//! The log's directory: making it, its lock, and which segments it holds.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::catalog::{check_owner, no_follow, open_file, unsafe_path};
use super::format::{LOCK_NAME, UNFINISHED_SUFFIX, parse_segment_name};
use crate::log::LogError;

/// Held by the one writer. Gone with the process, however it ends.
#[derive(Debug)]
pub(in crate::log) struct Lock(#[expect(dead_code, reason = "held, not read")] File);

/// What a directory holds.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Sequence, base offset and path, oldest first.
    pub(super) segments: Vec<(u64, u64, PathBuf)>,
    /// Segments whose making was interrupted.
    pub(super) unfinished: Vec<PathBuf>,
}

/// Makes the directory, or checks the one that is there.
pub(in crate::log) fn prepare(directory: &Path) -> Result<(), LogError> {
    let metadata = match fs::symlink_metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return make(directory),
        found => found.map_err(LogError::io("open", directory))?,
    };
    if metadata.is_symlink() {
        return Err(unsafe_path(directory, "it is a symbolic link; configure the directory it points to"));
    }
    if !metadata.is_dir() {
        return Err(unsafe_path(directory, "it is not a directory; move it away"));
    }
    let open_to_others = metadata.permissions().mode() & 0o077 != 0;
    if open_to_others && is_empty(directory)? {
        return fs::set_permissions(directory, fs::Permissions::from_mode(0o700))
            .map_err(LogError::io("change the mode of", directory));
    }
    check_owner(directory, &metadata, "chmod 700")
}

fn make(directory: &Path) -> Result<(), LogError> {
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(LogError::io("create", parent))?;
    DirBuilder::new().mode(0o700).create(directory).map_err(LogError::io("create", directory))?;
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(LogError::io("fsync", parent))
}

fn is_empty(directory: &Path) -> Result<bool, LogError> {
    Ok(fs::read_dir(directory).map_err(LogError::io("list", directory))?.next().is_none())
}

/// Takes the lock, or says who is in the way.
pub(in crate::log) fn lock(directory: &Path) -> Result<Lock, LogError> {
    let path = directory.join(LOCK_NAME);
    let file = match fs::symlink_metadata(&path) {
        Ok(_) => open_file(&path, true)?,
        Err(_) => OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(no_follow())
            .open(&path)
            .map_err(LogError::io("create", &path))?,
    };
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(LogError::Locked { path }),
        Err(TryLockError::Error(error)) => Err(LogError::io("lock", path)(error)),
    }
}

/// The segments there are. A gap in their sequence is damage; files that are none of ours are left alone.
pub(super) fn list(directory: &Path) -> Result<Listing, LogError> {
    let mut listing = Listing::default();
    for entry in fs::read_dir(directory).map_err(LogError::io("list", directory))? {
        let entry = entry.map_err(LogError::io("list", directory))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if let Some((sequence, base)) = parse_segment_name(&name) {
            listing.segments.push((sequence, base, entry.path()));
        } else if name.ends_with(UNFINISHED_SUFFIX) {
            listing.unfinished.push(entry.path());
        }
    }
    listing.segments.sort();
    Ok(listing)
}

/// An error if a segment is missing between two others.
pub(super) fn check_gapless(segments: &[(u64, u64, PathBuf)]) -> Result<(), LogError> {
    for (before, after) in segments.iter().zip(segments.iter().skip(1)) {
        if after.0 != before.0.saturating_add(1) {
            let detail = format!("segment {} is followed by segment {}: files are missing", before.0, after.0);
            return Err(LogError::Corrupt { path: after.2.clone(), at: 0, detail });
        }
    }
    Ok(())
}
