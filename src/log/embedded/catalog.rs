//! Which segments there are, and opening files safely.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::format::FORMAT;
use crate::event::{Offset, Position, Timestamp};
use crate::log::LogError;
use crate::log::history::History;

/// What is known of a segment without reading its records. Never changes.
#[derive(Debug)]
pub(super) struct Segment {
    /// The format it was begun in.
    pub(super) format: u16,
    /// Rises by one from segment to segment.
    pub(super) sequence: u64,
    /// Offset of its first event.
    pub(super) base: Offset,
    /// Log byte of its first byte.
    pub(super) start: u64,
    /// Byte in the file after its preamble.
    pub(super) body: u64,
    /// Checksum of the last frame of the segment before.
    pub(super) previous: u32,
    /// Checksum of its preamble.
    pub(super) crc: u32,
    /// Whether it begins inside a unit.
    pub(super) inside: bool,
    /// The last event before it; of the open unit if it begins inside one.
    pub(super) position: Option<Position>,
    /// The last commit time before it, likewise.
    pub(super) commit_time: Option<Timestamp>,
    /// The highest commit time before it, likewise.
    pub(super) commit_time_max: Option<Timestamp>,
    /// Where the log must be read from again for copies unfinished at its beginning.
    pub(super) copies_begin: Option<Offset>,
    /// Its file.
    pub(super) path: PathBuf,
}

impl Segment {
    /// One of today's format. `crcs` are that of the last frame before the segment and that of its preamble.
    pub(super) fn new(path: PathBuf, sequence: u64, start: u64, body: u64, crcs: [u32; 2], before: &History) -> Self {
        let [previous, crc] = crcs;
        let open_time = before.unit.as_ref().map(|unit| unit.transaction.commit_time);
        Segment {
            format: FORMAT,
            sequence,
            base: before.next_offset(),
            start,
            body,
            previous,
            crc,
            inside: before.unit.is_some(),
            position: before.last_position(),
            commit_time: open_time.or(before.closed.commit_time),
            commit_time_max: before.commit_time_max.max(open_time),
            copies_begin: before.copies_begin(),
            path,
        }
    }
}

/// The segments, oldest first. Shared by the writer, its readers and retention.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    segments: RwLock<Vec<Arc<Segment>>>,
}

impl Catalog {
    pub(super) fn new(segments: Vec<Arc<Segment>>) -> Self {
        Catalog { segments: RwLock::new(segments) }
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Arc<Segment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The oldest event there is.
    pub(super) fn start(&self) -> Offset {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.first().map_or(Offset(0), |segment| segment.base)
    }

    /// The segment with this sequence.
    pub(super) fn get(&self, sequence: u64) -> Option<Arc<Segment>> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let first = segments.first()?.sequence;
        let index = usize::try_from(sequence.checked_sub(first)?).ok()?;
        segments.get(index).cloned()
    }

    /// The last segment that may hold this offset.
    pub(super) fn holding(&self, offset: Offset) -> Option<Arc<Segment>> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let after = segments.partition_point(|segment| segment.base <= offset);
        segments.get(after.checked_sub(1)?).cloned()
    }

    pub(super) fn push(&self, segment: Arc<Segment>) {
        self.segments.write().unwrap_or_else(PoisonError::into_inner).push(segment);
    }

    pub(super) fn remove_first(&self, count: usize) {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        let count = count.min(segments.len());
        segments.drain(..count);
    }

    pub(super) fn remove_last(&self) -> Option<Arc<Segment>> {
        self.segments.write().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

/// Opens an existing file of the log: a regular file of ours that nobody else can reach.
pub(super) fn open_file(path: &Path, write: bool) -> Result<File, LogError> {
    let file = OpenOptions::new()
        .read(true)
        .write(write)
        .custom_flags(no_follow())
        .open(path)
        .map_err(|error| refuse_link(path, error))?;
    let metadata = file.metadata().map_err(LogError::io("stat", path))?;
    if !metadata.is_file() {
        return Err(unsafe_path(path, "it is not a regular file; move it away"));
    }
    check_owner(path, &metadata, "chmod 600")?;
    Ok(file)
}

/// Creates a file of the log, which must not exist.
pub(super) fn create_file(path: &Path) -> Result<File, LogError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(no_follow())
        .open(path)
        .map_err(LogError::io("create", path))
}

/// Refuses what another user owns or can reach.
pub(super) fn check_owner(path: &Path, metadata: &std::fs::Metadata, remedy: &str) -> Result<(), LogError> {
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(unsafe_path(path, "it belongs to another user; run walbridge as that user, or change the owner"));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(unsafe_path(path, &format!("other users can reach it, and it holds rows; {remedy} it")));
    }
    Ok(())
}

pub(super) fn unsafe_path(path: &Path, detail: &str) -> LogError {
    LogError::Unsafe { path: path.to_owned(), detail: detail.to_owned() }
}

fn refuse_link(path: &Path, error: std::io::Error) -> LogError {
    if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
        return unsafe_path(path, "it is a symbolic link; replace it by the file itself");
    }
    LogError::io("open", path)(error)
}

pub(super) fn no_follow() -> i32 {
    // Bit flags: the sign means nothing.
    rustix::fs::OFlags::NOFOLLOW.bits().cast_signed()
}
