//! An index that was built in a directory beside takes the place of the one that is searched.
//!
//! The kernel exchanges the two names in one step. What each directory is it tells by itself, so whoever is cut short knows afterwards
//! whether that has happened, and only tidies up.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::directory;
use crate::sink::disk::{failed, regressed, unusable};
use crate::sink::{Old, SinkError};

/// The directory beside this one.
pub(super) fn beside(path: &Path) -> PathBuf {
    with_end(path, ".rebuild")
}

/// See [`crate::sink::Replaceable::replace`].
pub(super) fn replace(path: &Path, by: &str, old: Old) -> Result<(), SinkError> {
    let beside = beside(path);
    let is = |path: &Path| directory::identify(path).is_some_and(|identity| identity.to_string() == by);
    if !is(path) {
        if !is(&beside) {
            return Err(regressed(&beside, "the index that was built here is gone"));
        }
        let flags = if path.exists() { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
        renameat_with(CWD, &beside, CWD, path, flags).map_err(|error| judge(path, error.into()))?;
        sync_parent(path)?;
        tracing::info!(path = %path.display(), "the index was replaced");
    }
    // Beside is the old one now.
    match old {
        Old::Kept if beside.exists() => {
            let kept = free_name(path);
            fs::rename(&beside, &kept).map_err(|error| failed(&beside, "rename", &error))?;
            tracing::info!(path = %kept.display(), "the old index is kept here");
            sync_parent(path)
        }
        Old::Kept | Old::Dropped => Ok(()),
    }
}

/// See [`crate::sink::Replaceable::remove`].
pub(super) fn remove(path: &Path) -> Result<(), SinkError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path, "remove", &error)),
        _ => Ok(()),
    }
}

fn judge(path: &Path, error: io::Error) -> SinkError {
    if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) {
        let detail = "its file system cannot exchange two directories in one step";
        let remedy = "Have `path` on another file system (ext4, XFS, Btrfs, tmpfs), or remove the directory to have it built anew in its place";
        return unusable(path, detail, remedy);
    }
    failed(path, "replace", &error)
}

/// A name for what is kept that nothing has yet.
fn free_name(path: &Path) -> PathBuf {
    let names = (1_u32..).map(|number| with_end(path, &format!(".old-{number}")));
    names.into_iter().find(|name| !name.exists()).unwrap_or_else(|| with_end(path, ".old"))
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(end);
    path.with_file_name(name)
}

fn sync_parent(path: &Path) -> Result<(), SinkError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = File::open(parent).and_then(|parent| parent.sync_all());
    synced.map_err(|error| failed(parent, "sync", &error))
}
