//! Prepared transactions, durably: once the server has been told that we have one it never sends it again, and between
//! `PREPARE TRANSACTION` and `COMMIT PREPARED` may lie weeks and restarts.
//!
//! Its file is named for the epoch, the prepare record's LSN and the transaction. When it is committed, the commit's LSN is added to
//! the name before anything of it is appended to the log; the file goes once the log has that commit durably. So whatever is
//! found at a start is either resolved and in the log, or waited for.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::kept::Whole;
use super::replay::Replay;
use super::scratch::Scratch;
use crate::event::Lsn;
use crate::log::LogError;

const SUFFIX: &str = ".prepared";
const MAGIC: u64 = u64::from_le_bytes(*b"walbprep");
/// Count, checksum and magic: a file's last bytes, behind the stretches that count.
const TAIL_BYTES: usize = 16;

/// A prepared transaction's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prepared {
    pub(super) epoch: u32,
    pub(super) prepare_lsn: Lsn,
    pub(super) xid: u32,
    /// Known once it is being committed.
    pub(super) commit_lsn: Option<Lsn>,
}

impl Prepared {
    fn name(&self) -> String {
        let Prepared { epoch, prepare_lsn, xid, commit_lsn } = self;
        let commit = commit_lsn.map_or(String::new(), |lsn| format!("-{:016x}", lsn.get()));
        format!("{epoch}-{:016x}-{xid}{commit}{SUFFIX}", prepare_lsn.get())
    }

    /// Reads a file's name.
    pub(super) fn parse(name: &str) -> Option<Prepared> {
        let mut parts = name.strip_suffix(SUFFIX)?.split('-');
        let lsn = |text: &str| u64::from_str_radix(text, 16).ok().map(Lsn::new);
        let (epoch, prepare_lsn) = (parts.next()?.parse().ok()?, lsn(parts.next()?)?);
        let xid = parts.next()?.parse().ok()?;
        let commit_lsn = parts.next().map(lsn);
        let found = Prepared { epoch, prepare_lsn, xid, commit_lsn: commit_lsn.flatten() };
        (found.name() == name).then_some(found)
    }

    pub(super) fn path(&self, directory: &Path) -> PathBuf {
        directory.join(self.name())
    }

    /// The commit has come: says so in the name, durably.
    pub(super) fn commit(&mut self, directory: &Path, commit_lsn: Lsn) -> Result<PathBuf, LogError> {
        let before = self.path(directory);
        self.commit_lsn = Some(commit_lsn);
        let path = self.path(directory);
        fs::rename(&before, &path).map_err(LogError::io("rename", before))?;
        sync_directory(directory)?;
        Ok(path)
    }

    /// Reads it back.
    pub(super) fn replay(&self, directory: &Path) -> Result<Replay, LogError> {
        let path = self.path(directory);
        let file = File::open(&path).map_err(LogError::io("open", &path))?;
        let live = read_tail(&file, &path)?;
        Ok(Replay::of_file(path, file, live))
    }
}

/// A transaction on its way to the disk. [`Settling::run`] waits for the disk: call it where that holds up nobody.
#[derive(Debug)]
pub(in crate::ingest) struct Settling {
    pub(super) prepared: Prepared,
    pub(super) scratch: Scratch,
    pub(super) file: File,
}

impl Settling {
    pub(super) fn new(prepared: Prepared, mut whole: Whole) -> Result<Self, LogError> {
        let file = match whole.file.take() {
            Some(file) => file,
            None => whole.scratch.create()?,
        };
        let mut tail = Vec::with_capacity(TAIL_BYTES);
        for (start, end) in &whole.live {
            tail.extend_from_slice(&start.to_le_bytes());
            tail.extend_from_slice(&end.to_le_bytes());
        }
        let count = u32::try_from(whole.live.len()).unwrap_or(u32::MAX);
        tail.extend_from_slice(&count.to_le_bytes());
        tail.extend_from_slice(&crc_fast::crc32_iscsi(&tail).to_le_bytes());
        tail.extend_from_slice(&MAGIC.to_le_bytes());
        let path = whole.scratch.path();
        // Without a file nothing of it was written yet.
        file.write_all_at(&whole.memory, 0).map_err(LogError::io("write", path))?;
        file.write_all_at(&tail, whole.end).map_err(LogError::io("write", path))?;
        Ok(Settling { prepared, scratch: whole.scratch, file })
    }

    /// Makes the file durable under its lasting name.
    pub(in crate::ingest) fn run(&mut self) -> Result<(), LogError> {
        let path = self.scratch.path();
        let Some(directory) = path.parent() else {
            return Err(LogError::Misuse("a file without a directory".to_owned()));
        };
        self.file.sync_all().map_err(LogError::io("fsync", path))?;
        fs::rename(path, self.prepared.path(directory)).map_err(LogError::io("rename", path))?;
        sync_directory(directory)?;
        if let Some(above) = directory.parent() {
            // The directory itself may be new.
            sync_directory(above)?;
        }
        self.scratch.renamed();
        Ok(())
    }
}

/// History goes on in a new epoch without a break: the transactions prepared in the one before will be committed there. Each gets one
/// more name, so that whichever epoch the next start finds in the log has them, and that start removes the other names.
pub(in crate::ingest) fn carry_over(directory: &Path, from: u32, upto: u32) -> Result<(), LogError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(LogError::io("list", directory))?,
    };
    for entry in entries {
        let entry = entry.map_err(LogError::io("list", directory))?;
        let Some(found) = Prepared::parse(&entry.file_name().to_string_lossy()) else { continue };
        if found.epoch == from {
            let path = Prepared { epoch: upto, ..found }.path(directory);
            match fs::hard_link(entry.path(), &path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                linked => linked.map_err(LogError::io("link", path))?,
            }
        }
    }
    sync_directory(directory)
}

pub(super) fn sync_directory(directory: &Path) -> Result<(), LogError> {
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(LogError::io("fsync", directory))
}

fn read_tail(file: &File, path: &Path) -> Result<Vec<(u64, u64)>, LogError> {
    let end = file.metadata().map_err(LogError::io("stat", path))?.len();
    let damaged =
        || LogError::Corrupt { path: path.to_owned(), at: end, detail: "its end is not as written".to_owned() };
    let read = |byte: Option<u64>, len: usize| {
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, byte.ok_or_else(damaged)?).map_err(LogError::io("read", path))?;
        Ok::<_, LogError>(bytes)
    };
    let tail = read(end.checked_sub(TAIL_BYTES as u64), TAIL_BYTES)?;
    let word = |at: usize| tail.get(at..)?.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes));
    let (Some(count), Some(crc)) = (word(0), word(4)) else { return Err(damaged()) };
    if tail.get(8..) != Some(MAGIC.to_le_bytes().as_slice()) {
        return Err(damaged());
    }
    let len = u64::from(count).saturating_mul(16);
    let start = end.checked_sub(len.saturating_add(TAIL_BYTES as u64));
    let len = usize::try_from(len).ok().filter(|_| start.is_some()).ok_or_else(damaged)?;
    let bytes = read(start, len.saturating_add(4))?;
    if crc_fast::crc32_iscsi(&bytes) != crc {
        return Err(damaged());
    }
    let number = |bytes: &[u8]| bytes.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    Ok(bytes.chunks_exact(16).map(|pair| (number(pair), number(pair.get(8..).unwrap_or_default()))).collect())
}
