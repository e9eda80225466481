//! The checkpoint beside the file: `{"length":1234,"checkpoint":{…}}`, replaced in one step.
//!
//! It is there before the first line is, with length 0 and no checkpoint: a file with lines and no sidecar is somebody
//! else's, and is not touched.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::sink::disk;
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
    disk::with_suffix(file, ".checkpoint")
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
    disk::replace(&path_of(file), &serde_json::to_vec(sidecar)?)
}
