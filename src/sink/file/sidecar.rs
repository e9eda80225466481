//! The checkpoint beside the file: `{"length":1234,"checkpoint":{…}}`, replaced in one step.
//!
//! It is there before the first line is, with length 0 and no checkpoint: a file with lines and no sidecar is somebody
//! else's, and is not touched.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::sink::disk::no_follow;
use crate::sink::saved::Saved;

/// What the sidecar holds.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sidecar {
    /// Bytes of the file that are committed.
    pub(super) length: u64,
    /// What they amount to; `null` before the first commit.
    pub(super) checkpoint: Option<Saved>,
}

/// Where it stands.
pub(super) fn path_of(file: &Path) -> PathBuf {
    with_suffix(file, ".checkpoint")
}

/// The sidecar of this file, if it has one. One that is not ours is an error of kind `InvalidData`.
pub(super) fn read(file: &Path) -> io::Result<Option<Sidecar>> {
    match fs::read(path_of(file)) {
        Ok(json) => Ok(Some(serde_json::from_slice(&json)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces the sidecar, durably.
pub(super) fn write(file: &Path, sidecar: &Sidecar) -> io::Result<()> {
    let (path, unfinished) = (path_of(file), with_suffix(file, ".checkpoint.tmp"));
    let mut out = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(no_follow())
        .open(&unfinished)?;
    out.write_all(&serde_json::to_vec(sidecar)?)?;
    out.sync_all()?;
    fs::rename(&unfinished, &path)?;
    sync_directory(file)
}

/// Makes names in the file's directory durable.
pub(super) fn sync_directory(file: &Path) -> io::Result<()> {
    File::open(directory_of(file))?.sync_all()
}

/// The directory that the file is in.
pub(super) fn directory_of(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
