//! Removing the oldest segments by age and size, but never what a live sink still needs.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::catalog::{Catalog, Segment};
use crate::event::{Offset, Timestamp};
use crate::log::{Durable, LogError};

/// How much of the log is kept. What neither bound asks to remove stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Remove what was committed longer ago.
    pub age: Option<Duration>,
    /// Remove the oldest while the log has more bytes.
    pub size_bytes: Option<u64>,
}

/// What retention did, and what it was kept from doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// Segments removed.
    pub removed_segments: usize,
    /// Bytes removed.
    pub removed_bytes: u64,
    /// The oldest event there is now.
    pub start: Offset,
    /// Bytes past their time, kept because a sink has not got that far. Not zero means: a sink is costing disk.
    pub held_back_bytes: u64,
}

/// A segment and what its file says.
struct Candidate {
    segment: Arc<Segment>,
    bytes: u64,
    modified: Timestamp,
}

/// Removes what may go. `now` is a time that has been checked for jumps.
pub(super) fn retain(
    directory: &Path,
    catalog: &Catalog,
    retention: &Retention,
    keep_from: Offset,
    durable: Durable,
    now: Timestamp,
) -> Result<Retained, LogError> {
    let mut candidates = Vec::new();
    for segment in catalog.all() {
        match candidate(segment) {
            Ok(candidate) => candidates.push(candidate),
            // A transaction is being taken back, and this was part of it.
            Err(LogError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        }
    }
    let due = due(&candidates, retention, now);
    let may = removable(&candidates, due, copied_from(&candidates, keep_from.min(durable.offset)));
    let bytes = |from: usize, to: usize| {
        candidates.iter().take(to).skip(from).fold(0_u64, |sum, candidate| sum.saturating_add(candidate.bytes))
    };
    let unhindered = removable(&candidates, due, durable.offset);
    // Out of the catalog first: a reader that comes now is told so, and finds no missing file.
    catalog.remove_first(may);
    for candidate in candidates.iter().take(may) {
        let path = &candidate.segment.path;
        fs::remove_file(path).map_err(LogError::io("remove", path))?;
        fs::File::open(directory).and_then(|file| file.sync_all()).map_err(LogError::io("fsync", directory))?;
    }
    Ok(Retained {
        removed_segments: may,
        removed_bytes: bytes(0, may),
        start: catalog.start(),
        held_back_bytes: bytes(may, unhindered),
    })
}

fn candidate(segment: Arc<Segment>) -> Result<Candidate, LogError> {
    let metadata = fs::metadata(&segment.path).map_err(LogError::io("stat", &segment.path))?;
    Ok(Candidate { bytes: metadata.len(), modified: modified(&metadata), segment })
}

/// A file's modification time.
pub(super) fn modified(metadata: &fs::Metadata) -> Timestamp {
    use std::os::unix::fs::MetadataExt;
    let micros = metadata.mtime().saturating_mul(1_000_000).saturating_add(metadata.mtime_nsec() / 1000);
    Timestamp::from_unix_micros(micros)
}

/// How many of the oldest segments are past their time or too many.
fn due(candidates: &[Candidate], retention: &Retention, now: Timestamp) -> usize {
    let total = candidates.iter().fold(0_u64, |sum, candidate| sum.saturating_add(candidate.bytes));
    let mut left = total;
    let by_size = retention.size_bytes.map_or(0, |limit| {
        let too_many = |candidate: &&Candidate| {
            let over = left > limit;
            left = left.saturating_sub(candidate.bytes);
            over
        };
        candidates.iter().take_while(too_many).count()
    });
    let by_age = retention.age.map_or(0, |age| {
        // The last commit in a segment is the last one before the next segment.
        let committed = candidates.iter().skip(1).map(|next| next.segment.commit_time);
        let old = |time: Timestamp| time.seconds_until(now) > age.as_secs_f64();
        candidates.iter().zip(committed).take_while(|(one, time)| old(one.modified) && time.is_none_or(old)).count()
    });
    by_size.max(by_age)
}

/// A sink that stands inside a table's copy reads it again from its beginning when it comes to its end.
fn copied_from(candidates: &[Candidate], keep_from: Offset) -> Offset {
    let holding = candidates.iter().rev().find(|candidate| candidate.segment.base <= keep_from);
    let begun = holding.and_then(|candidate| candidate.segment.copies_begin);
    begun.map_or(keep_from, |begun| begun.min(keep_from))
}

/// How many of the first `due` may go: what remains begins between two units, and holds everything from `keep_from`.
fn removable(candidates: &[Candidate], due: usize, keep_from: Offset) -> usize {
    let may_begin = |index: &usize| {
        let segment = candidates.get(*index).map(|candidate| &candidate.segment);
        segment.is_some_and(|segment| !segment.inside && segment.base <= keep_from)
    };
    (1..=due).rev().find(may_begin).unwrap_or(0)
}
