//! Events in files below a directory, as a raw event store: a file is written once, appears under its name when it is whole, and is never touched again.
//!
//! - **Names** begin with the Position of their first event, so the names in one directory are in the order of the events. A number behind it keeps
//!   any two apart.
//! - **Exactness.** What is not finished is appended to a spool in `.walbridge` (`spool`), which can be cut off anywhere; the manifest holds the length of each and the
//!   checkpoint, and is replaced after the spools' fsync. So the checkpoint follows what is appended, and not what is finished: Parquet, and
//!   compressed files, need neither the log again nor memory, and hold up nobody's retention.
//! - **Rotation.** A commit notes which spools are full in the same manifest. Then they are finished (`finish`), which can be done again at any time.
//!
//! Finished files may be moved away and removed by whoever likes; nothing here asks for them.

mod finish;
mod manifest;
mod parquet;
mod spool;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;

use serde::{Deserialize, Serialize};

use self::manifest::{Entry, Manifest, Root};
use self::spool::Spool;
use super::{Files, Options};
use crate::event::{Event, Position, Timestamp};
use crate::project::mutation::{Effect, Mutation};
use crate::sink::disk::{self, check_directory, failed, not_open, regressed, unusable};
use crate::sink::history;
use crate::sink::saved::Saved;
use crate::sink::{Checkpoint, Rejection, SinkError, Staged};

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A JSON object a line.
    Jsonl,
    /// Apache Parquet, its columns typed as the table's.
    Parquet,
}

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// Gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// Bytes gathered before they are written, in all files together; one longer event is written by itself.
const BUFFER_BYTES_MAX: usize = 1 << 20;
/// So many files are appended to at most behind a commit: each costs an fsync where it has grown, and stands in the manifest.
const OPEN_MAX: usize = 512;

/// See the module.
pub(super) struct Store {
    options: Options,
    files: Files,
    root: Root,
    open: Option<Open>,
}

/// The store, opened and locked.
struct Open {
    lock: File,
    next: u64,
    checkpoint: Option<Checkpoint>,
    /// The file that is appended to in each directory.
    spools: BTreeMap<String, Spool>,
    /// Files that are not any more. The next commit has them finished.
    full: Vec<Spool>,
    buffered: usize,
}

impl Store {
    pub(super) fn new(options: Options, files: Files) -> Self {
        let root = Root(options.path.clone());
        Store { options, files, root, open: None }
    }
}

impl history::Engine for Store {
    fn resume(&mut self) -> Result<Option<Checkpoint>, SinkError> {
        // The lock goes with it.
        self.open = None;
        check_directory(&self.root.0)?;
        for directory in [&self.root.0, &self.root.own(), &self.root.unfinished()] {
            finish::make_directories(directory).map_err(|error| failed(directory, "make", &error))?;
        }
        let lock = disk::lock(&self.root.lock(), &self.root.0)?;
        let manifest = self.manifest()?;
        let checkpoint = match manifest.checkpoint.as_ref().map(Saved::checkpoint) {
            Some(None) => return Err(self.foreign("its manifest names no log")),
            known => known.flatten(),
        };
        let mut open =
            Open { lock, next: manifest.next, checkpoint, spools: BTreeMap::new(), full: Vec::new(), buffered: 0 };
        self.remove_strays(&manifest)?;
        for entry in &manifest.full {
            finish::finish(&self.root, &self.options.source, entry)?;
        }
        for entry in manifest.open {
            let found = spool::length_of(&self.root.spool(entry.number))?.unwrap_or(0);
            if found < entry.length {
                return Err(finish::lost(&self.root, &entry, found));
            }
            let spool = Spool::resume(&self.root, entry)?;
            open.spools.insert(spool.entry.directory.clone(), spool);
        }
        self.open = Some(open);
        Ok(checkpoint)
    }

    fn stage(&mut self, mutations: Vec<Mutation>) -> Result<Staged, SinkError> {
        let mut staged = Staged::default();
        let open = self.open.as_mut().ok_or_else(|| not_open(&self.root.0))?;
        let written = open.checkpoint.and_then(|checkpoint| checkpoint.position);
        for (mutation, next) in mutations.into_iter().zip(1..) {
            if written.is_some_and(|written| mutation.position <= written) {
                continue;
            }
            let refused = match &mutation.effect {
                Effect::Append(event) => {
                    let at = if mutation.is_late() { written.unwrap_or_default() } else { mutation.position };
                    let spool = open.spool_for(event, at, &self.options.source, &self.files);
                    let before = spool.buffer.len();
                    let is_put = spool.push(&self.options.source, event);
                    let grown = spool.buffer.len().saturating_sub(before);
                    open.buffered = open.buffered.saturating_add(grown);
                    (!is_put).then_some("it is larger than any row that PostgreSQL sends")
                }
                Effect::Put { .. } | Effect::Delete | Effect::Clear(_) | Effect::Sweep { .. } => {
                    Some("a file keeps events, not documents")
                }
            };
            if let Some(reason) = refused {
                staged.rejected.push(Rejection { mutation, reason: reason.to_owned() });
                staged.rest = Some(next);
                break;
            }
            if open.buffered >= BUFFER_BYTES_MAX {
                open.write_out(&self.root, false)?;
            }
        }
        Ok(staged)
    }

    fn commit(&mut self, upto: Checkpoint) -> Result<(), SinkError> {
        let open = self.open.as_mut().ok_or_else(|| not_open(&self.root.0))?;
        open.check_lock(&self.root)?;
        open.write_out(&self.root, true)?;
        open.checkpoint = Some(upto);
        self.advance()
    }

    fn probe(&mut self) -> Result<(), SinkError> {
        let open = self.open.as_ref().ok_or_else(|| not_open(&self.root.0))?;
        open.check_lock(&self.root)?;
        open.spools.values().try_for_each(|spool| spool.probe(&self.root))?;
        if open.spools.values().any(|spool| is_due(spool, &self.files)) { self.advance() } else { Ok(()) }
    }
}

impl Store {
    /// Replaces the manifest, and finishes what is full.
    fn advance(&mut self) -> Result<(), SinkError> {
        let open = self.open.as_mut().ok_or_else(|| not_open(&self.root.0))?;
        open.take_due(&self.files);
        let entries = |spools: &mut dyn Iterator<Item = &Spool>| spools.map(|spool| spool.entry.clone()).collect();
        let manifest = Manifest {
            next: open.next,
            checkpoint: open.checkpoint.map(Saved::from),
            open: entries(&mut open.spools.values()),
            full: entries(&mut open.full.iter()),
        };
        self.root.write(&manifest).map_err(|error| failed(&self.root.0, "note the checkpoint of", &error))?;
        for spool in std::mem::take(&mut open.full) {
            finish::finish(&self.root, &self.options.source, &spool.entry)?;
        }
        Ok(())
    }

    /// The manifest; a new store gets one, so that from then on what stands in it is known to be ours.
    fn manifest(&self) -> Result<Manifest, SinkError> {
        let found = self.root.read().map_err(|error| {
            if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) {
                return self.foreign(&format!("its manifest cannot be read: {error}"));
            }
            failed(&self.root.0, "read the manifest of", &error)
        })?;
        if let Some(manifest) = found {
            return Ok(manifest);
        }
        let own = self.root.own();
        let entries = fs::read_dir(&self.root.0).map_err(|error| failed(&self.root.0, "read", &error))?;
        for entry in entries {
            let path = entry.map_err(|error| failed(&self.root.0, "read", &error))?.path();
            if path != own {
                return Err(self.foreign("it holds files, and no manifest that tells what they are"));
            }
        }
        let manifest = Manifest::default();
        self.root.write(&manifest).map_err(|error| failed(&self.root.0, "write the manifest of", &error))?;
        Ok(manifest)
    }

    /// Removes what no commit knows.
    fn remove_strays(&self, manifest: &Manifest) -> Result<(), SinkError> {
        let unfinished = self.root.unfinished();
        let known =
            |path| manifest.open.iter().chain(&manifest.full).any(|entry| self.root.spool(entry.number) == path);
        for entry in fs::read_dir(&unfinished).map_err(|error| failed(&unfinished, "read", &error))? {
            let path = entry.map_err(|error| failed(&unfinished, "read", &error))?.path();
            if !known(path.clone()) {
                fs::remove_file(&path).map_err(|error| failed(&path, "remove", &error))?;
            }
        }
        Ok(())
    }

    fn foreign(&self, detail: &str) -> SinkError {
        let remedy = "Move the directory away, or give another path: all of it is then written anew from the log";
        unusable(&self.root.0, detail, remedy)
    }
}

impl Open {
    /// The file that an event goes to. One that cannot take it is full.
    fn spool_for(&mut self, event: &Event, at: Position, source: &str, files: &Files) -> &mut Spool {
        let directory = files.layout.render(source, event);
        let fits =
            |spool: &Spool| spool.takes(event) && spool.length() < files.rotate_bytes && is_as_asked(spool, files);
        if let Some(full) =
            self.spools.get(&directory).is_some_and(|spool| !fits(spool)).then(|| self.spools.remove(&directory))
        {
            self.full.extend(full);
        }
        let next = &mut self.next;
        self.spools.entry(directory).or_insert_with_key(|directory| {
            let Position { epoch, commit_lsn, ordinal } = at;
            let number = *next;
            *next = number.saturating_add(1);
            let entry = Entry {
                number,
                directory: directory.clone(),
                name: format!("{epoch:08x}-{:016x}-{ordinal:016x}-{number:08x}", commit_lsn.get()),
                format: files.format,
                compression: files.compression,
                length: 0,
                begun: Timestamp::now().unix_micros(),
            };
            Spool::begin(entry, event)
        })
    }

    fn write_out(&mut self, root: &Root, sync: bool) -> Result<(), SinkError> {
        self.full.iter_mut().chain(self.spools.values_mut()).try_for_each(|spool| spool.write_out(root, sync))?;
        self.buffered = 0;
        // One in which nothing came to stand has no file either.
        self.spools.retain(|_, spool| spool.entry.length > 0);
        if sync {
            let unfinished = root.unfinished();
            disk::sync_directory(&root.spool(0)).map_err(|error| failed(&unfinished, "fsync", &error))?;
        }
        Ok(())
    }

    /// Sets aside what is due, and the oldest where there are too many.
    fn take_due(&mut self, files: &Files) {
        let mut begun: Vec<i64> = self.spools.values().map(|spool| spool.entry.begun).collect();
        begun.sort_unstable();
        let oldest_kept = begun.len().checked_sub(OPEN_MAX).and_then(|surplus| begun.get(surplus)).copied();
        let is_surplus = |spool: &Spool| oldest_kept.is_some_and(|oldest| spool.entry.begun < oldest);
        self.full.extend(
            self.spools.extract_if(.., |_, spool| is_due(spool, files) || is_surplus(spool)).map(|(_, spool)| spool),
        );
    }

    /// Whether the directory is still the one that we locked.
    fn check_lock(&self, root: &Root) -> Result<(), SinkError> {
        let ours = self.lock.metadata().map_err(|error| failed(&root.0, "read", &error))?;
        let same = |there: fs::Metadata| (there.dev(), there.ino()) == (ours.dev(), ours.ino());
        if fs::symlink_metadata(root.lock()).is_ok_and(same) && root.manifest().exists() {
            return Ok(());
        }
        Err(regressed(&root.0, "the directory was removed or replaced"))
    }
}

/// Whether it is to be finished: it is large or old enough, or is written otherwise now.
fn is_due(spool: &Spool, files: &Files) -> bool {
    let age = Timestamp::now().unix_micros().saturating_sub(spool.entry.begun);
    let is_old = u128::try_from(age).is_ok_and(|age| age >= files.rotate_after.as_micros());
    spool.length() >= files.rotate_bytes || is_old || !is_as_asked(spool, files)
}

fn is_as_asked(spool: &Spool, files: &Files) -> bool {
    (spool.entry.format, spool.entry.compression) == (files.format, files.compression)
}
