//! The embedded log: append-only segments on local disk.
//!
//! docs/log-format.md has the constraints, the format, the operation and the recovery. In short: frames of records, chained by
//! checksum, written and fsynced in groups by a thread of their own; a transaction that does not commit is cut off the
//! end; readers stop at the last commit that is durable.

mod catalog;
mod clock;
pub(in crate::log) mod directory;
mod disk;
mod flusher;
mod format;
mod frames;
mod group;
mod lookup;
mod preamble;
mod reader;
mod readonly;
mod recovery;
mod relations;
mod retention;
mod roles;
mod scan;
mod shared;
mod verify;
mod walk;
mod writer;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, mpsc};
use std::time::Instant;

use tokio::sync::watch;

pub use self::reader::Reader;
pub use self::readonly::{ReadOnly, ReadOnlyReader};
pub use self::retention::{Retained, Retention};
pub use self::verify::{Damage, Report, verify};
pub use self::writer::Writer;

use self::catalog::{Catalog, Segment, open_file};
use self::clock::SteadyClock;
use self::directory::Listing;
use self::disk::{Disk, RealDisk};
use self::flusher::{Flusher, make_segment};
use self::format::{SEGMENT_HEADER_LEN, SegmentHeader, parse_segment_header, segment_name};
use self::preamble::Preamble;
use self::scan::Scan;
use self::shared::Shared;
use self::writer::{Start, Tail};
use super::history::History;
use super::{Durable, LogError, LogId, Recovered};
use crate::event::{Offset, Place, Timestamp};

/// How the log divides what it writes. The defaults suit everything but tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// A segment that has so many bytes is followed by another. Retention removes whole segments.
    pub segment_bytes: u64,
    /// A frame that has so many bytes is sealed: what a reader reads and checks at once.
    pub frame_bytes: usize,
    /// A group that has so many bytes is closed: what is written and fsynced at once.
    pub group_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { segment_bytes: 128 << 20, frame_bytes: 256 << 10, group_bytes: 6 << 20 }
    }
}

/// Opens the log in `directory`, making it if there is none, and recovers it. The writer holds the directory's lock until it
/// is dropped.
///
/// # Errors
/// [`LogError::Locked`], [`LogError::Format`], [`LogError::Unsafe`] and [`LogError::Corrupt`] leave everything as it was.
pub fn open(directory: &Path, options: Options) -> Result<(Writer, Log, Recovered), LogError> {
    open_on(directory, options, Box::new(RealDisk))
}

fn open_on(directory: &Path, options: Options, disk: Box<dyn Disk>) -> Result<(Writer, Log, Recovered), LogError> {
    directory::prepare(directory)?;
    check_format(&directory::list(directory)?)?;
    let lock = directory::lock(directory)?;
    let listing = directory::list(directory)?;
    let last_used = last_used(&listing)?;
    let (id, segments, start, excess) = if listing.segments.is_empty() {
        create(directory, &listing, &*disk)?
    } else {
        let mut found = recovery::examine(&listing)?;
        recovery::repair(directory, &listing, &found, &*disk)?;
        found.segments.truncate(found.keep);
        (found.id, found.segments, found.start, found.excess)
    };
    let Some(newest) = segments.last().map(|segment| segment.path.clone()) else {
        return Err(LogError::Misuse("a log without a segment was opened".to_owned()));
    };
    let file = open_file(&newest, true)?;
    let recovered = Recovered {
        epoch: start.history.epoch.clone(),
        durable: start.history.closed,
        snapshots: start.history.snapshots.values().cloned().collect(),
        truncated_bytes: excess,
    };
    let clock = SteadyClock::new(last_used, Instant::now());
    let catalog = Catalog::new(segments);
    let shared = Arc::new(Shared::new(directory.to_owned(), id, catalog, recovered.durable, clock));
    let flusher = Flusher::new(Arc::clone(&shared), disk, file, newest);
    let (queue, jobs) = mpsc::channel();
    let thread = std::thread::Builder::new().name("walbridge-log".to_owned()).spawn(move || flusher.run(&jobs));
    let thread = thread.map_err(LogError::io("start the writing thread of", directory))?;
    let writer = Writer::new(Arc::clone(&shared), options, start, queue, thread, lock);
    Ok((writer, Log { shared }, recovered))
}

/// When the log was last written to, before opening it writes to it: the last time known to be real.
fn last_used(listing: &Listing) -> Result<Timestamp, LogError> {
    let Some((_, _, path)) = listing.segments.last() else { return Ok(Timestamp::now()) };
    let metadata = std::fs::symlink_metadata(path).map_err(LogError::io("stat", path))?;
    Ok(retention::modified(&metadata))
}

/// A newer format is refused before anything else, even the lock, is touched.
fn check_format(listing: &Listing) -> Result<(), LogError> {
    for (_, _, path) in &listing.segments {
        let mut header = [0; SEGMENT_HEADER_LEN];
        let file = open_file(path, false)?;
        let read = std::os::unix::fs::FileExt::read_exact_at(&file, &mut header, 0);
        if let (Ok(()), SegmentHeader::Newer(found)) = (read, parse_segment_header(&header)) {
            return Err(LogError::Format { path: path.clone(), found, supported: format::FORMAT });
        }
    }
    Ok(())
}

type Opened = (LogId, Vec<Arc<Segment>>, Start, u64);

/// Makes a log with one empty segment.
fn create(directory: &Path, listing: &Listing, disk: &dyn Disk) -> Result<Opened, LogError> {
    for path in &listing.unfinished {
        disk.remove(path).map_err(LogError::io("remove", path))?;
    }
    let id = LogId(rand::random());
    let preamble = Preamble { log: id, sequence: 0, history: History::default(), unit_place: None };
    let encoded = preamble.encode(0, 0);
    let (bytes, crc) = encoded.map_err(|_| LogError::Misuse("an empty preamble is too long".to_owned()))?;
    let path = directory.join(segment_name(0, 0));
    make_segment(disk, directory, &path, &bytes)?;
    let len = bytes.len() as u64;
    let segment = Segment::new(path, 0, 0, len, [0, crc], &preamble.history);
    let start = Start {
        history: preamble.history,
        relations: relations::Relations::default(),
        tail: Tail { sequence: 0, len, inside: false, older: false },
        end: len,
        previous: crc,
        vouched: true,
    };
    Ok((id, vec![Arc::new(segment)], start, 0))
}

/// The log, for everyone in the writer's process but the writer. Cloning it gives another handle.
#[derive(Clone, Debug)]
pub struct Log {
    shared: Arc<Shared>,
}

impl Log {
    /// Names the log.
    #[must_use]
    pub fn id(&self) -> LogId {
        self.shared.id
    }

    /// What is durable, and when it changes. Also wakes when the log fails.
    #[must_use]
    pub fn durable(&self) -> watch::Receiver<Durable> {
        self.shared.durable.subscribe()
    }

    /// The oldest event there is.
    #[must_use]
    pub fn start(&self) -> Offset {
        self.shared.catalog.start()
    }

    /// Bytes on disk.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        let len = |segment: &Arc<Segment>| std::fs::metadata(&segment.path).map_or(0, |metadata| metadata.len());
        self.shared.catalog.all().iter().map(len).fold(0, u64::saturating_add)
    }

    /// A reader that begins with the event at `from`. Reads a segment's headers, so it may take some milliseconds.
    ///
    /// # Errors
    /// [`LogError::Expired`] before the start, [`LogError::Ahead`] beyond the end.
    pub fn reader(&self, from: Offset) -> Result<Reader, LogError> {
        let end = self.check(from)?;
        let scan = Scan::open(&self.shared.catalog, from, end)?;
        Ok(Reader::new(Arc::clone(&self.shared), scan))
    }

    /// See [`super::Log::find`]. Later transactions may have earlier commit times, if the source's clock was set back: of a time the first
    /// in the log is found. Reads up to a segment: call it from a thread that may block.
    ///
    /// # Errors
    /// As there.
    pub fn find(&self, place: Place) -> Result<Offset, LogError> {
        lookup::find_place(&self.shared.catalog, self.end(), place)
    }

    /// Where in [`Durable::bytes`] the event at `offset` stands, to the accuracy of a frame; the lag in bytes of a checkpoint is
    /// [`Durable::bytes`] less this.
    ///
    /// # Errors
    /// [`LogError::Expired`] before the start, [`LogError::Ahead`] beyond the end.
    pub fn bytes_at(&self, offset: Offset) -> Result<u64, LogError> {
        let end = self.check(offset)?;
        lookup::bytes_at(&self.shared.catalog, end, offset)
    }

    /// Removes the oldest segments that are past the bounds, but nothing at or after `keep_from`, the first event that a live
    /// sink still needs. `now` is the wall clock's time; a clock that jumps is not believed at once.
    ///
    /// # Errors
    /// [`LogError::Io`]; [`LogError::Misuse`] once the writer, and with it the lock, is gone.
    pub fn retain(&self, retention: &Retention, keep_from: Offset, now: Timestamp) -> Result<Retained, LogError> {
        if !self.shared.writing.load(Ordering::Acquire) {
            return Err(LogError::Misuse("retention on a log whose writer is gone".to_owned()));
        }
        let mut clock = self.shared.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock.believe(now, Instant::now());
        retention::retain(&self.shared.directory, &self.shared.catalog, retention, keep_from, self.end(), now)
    }

    fn end(&self) -> Durable {
        *self.shared.durable.borrow()
    }

    fn check(&self, offset: Offset) -> Result<Durable, LogError> {
        let (end, start) = (self.end(), self.start());
        if offset > end.offset {
            return Err(LogError::Ahead { wanted: offset, end: end.offset });
        }
        if offset < start {
            return Err(LogError::Expired { wanted: offset, start });
        }
        Ok(end)
    }
}

#[cfg(test)]
mod tests;
