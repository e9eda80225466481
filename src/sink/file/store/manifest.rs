//! Which files are open and how far each is committed, with the checkpoint that they amount to: one file, replaced in one step at each commit.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Compression, Format};
use crate::sink::disk;
use crate::sink::saved::Saved;

/// What the manifest holds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// The number of the next file.
    pub(super) next: u64,
    /// What the files amount to; `null` before the first commit.
    pub(super) checkpoint: Option<Saved>,
    /// Files that are appended to.
    pub(super) open: Vec<Entry>,
    /// Files that are not, and are to be finished unless they are already.
    pub(super) full: Vec<Entry>,
}

/// A file that is not finished, or was not at the last commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Its name until then.
    pub(super) number: u64,
    /// Where it will be, relative, and without what its form adds to the name.
    pub(super) directory: String,
    /// See `directory`.
    pub(super) name: String,
    /// What it holds.
    pub(super) format: Format,
    /// How it will be compressed.
    pub(super) compression: Compression,
    /// Bytes that are committed.
    pub(super) length: u64,
    /// When its first event was written here, in microseconds since 1970.
    pub(super) begun: i64,
}

impl Entry {
    /// Where it will be, below the root.
    fn path(&self) -> PathBuf {
        let extension = match (self.format, self.compression) {
            (Format::Parquet, _) => "parquet",
            (Format::Jsonl, Compression::None) => "jsonl",
            (Format::Jsonl, Compression::Gzip) => "jsonl.gz",
            (Format::Jsonl, Compression::Zstd) => "jsonl.zst",
        };
        Path::new(&self.directory).join(format!("{}.{extension}", self.name))
    }
}

/// The store's directory. What is not finished stands in `.walbridge` below it, which readers of such directories pass over.
#[derive(Clone, Debug)]
pub(super) struct Root(pub(super) PathBuf);

impl Root {
    /// Where what is not finished stands.
    pub(super) fn own(&self) -> PathBuf {
        self.0.join(".walbridge")
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.own().join("lock")
    }

    pub(super) fn manifest(&self) -> PathBuf {
        self.own().join("manifest")
    }

    /// The directory of files that are appended to, and of those that are being finished.
    pub(super) fn unfinished(&self) -> PathBuf {
        self.own().join("unfinished")
    }

    /// Where events are appended, in a form that is cut off where it was committed.
    pub(super) fn spool(&self, number: u64) -> PathBuf {
        self.unfinished().join(number.to_string())
    }

    /// Where it gets its final form before it gets its name.
    pub(super) fn draft(&self, number: u64) -> PathBuf {
        self.unfinished().join(format!("{number}.draft"))
    }

    pub(super) fn finished(&self, entry: &Entry) -> PathBuf {
        self.0.join(entry.path())
    }

    /// The manifest, if there is one. One that is not ours is an error of kind `InvalidData`.
    pub(super) fn read(&self) -> io::Result<Option<Manifest>> {
        match fs::read(self.manifest()) {
            Ok(json) => Ok(Some(serde_json::from_slice(&json)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces it, durably.
    pub(super) fn write(&self, manifest: &Manifest) -> io::Result<()> {
        disk::replace(&self.manifest(), &serde_json::to_vec(manifest)?)
    }
}
