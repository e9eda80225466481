//! Reading a log from another process, while its writer runs or after it has stopped: `log dump` and `tail`.
//!
//! There is no lock and no word from the writer. So the end is found by reading ahead: everything up to a frame that
//! ends between two units is committed for good. What lies beyond may be cut off and written anew at any time; it is looked at
//! by its headers only, and read again from the last such place whenever it has changed. What is read may be a moment ahead of its fsync.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::catalog::{Catalog, Segment, open_file};
use super::directory::{check_gapless, list};
use super::format::ENDS_INSIDE;
use super::frames::{Frames, Next, read_preamble};
use super::lookup;
use super::recovery::read_preambles;
use super::scan::Scan;
use super::walk::Walk;
use crate::event::{Offset, Place};
use crate::log::{Batch, Durable, Limit, LogError, LogId};

/// How often something is looked at that may be changing under our eyes, and the pause in between.
const LOOKS: usize = 16;
const PAUSE: Duration = Duration::from_millis(5);

/// A log opened to be read only.
#[derive(Debug)]
pub struct ReadOnly {
    directory: PathBuf,
    id: LogId,
    catalog: Catalog,
    /// Stands where the last whole unit ends.
    walk: Walk,
}

impl ReadOnly {
    /// Opens the log in `directory` and finds its end. Reads up to a segment.
    ///
    /// # Errors
    /// As the writer's, but for the lock. An empty or missing directory is [`LogError::Io`].
    pub fn open(directory: &Path) -> Result<ReadOnly, LogError> {
        let (id, segments) = segments(directory, 0)?;
        let anchor = segments.iter().rev().find(|segment| !segment.inside).or(segments.first());
        let anchor = anchor.ok_or_else(|| nothing(directory))?;
        let walk = begin(anchor)?;
        let mut log = ReadOnly { directory: directory.to_owned(), id, catalog: Catalog::new(segments), walk };
        log.look()?;
        Ok(log)
    }

    /// Names the log.
    #[must_use]
    pub fn id(&self) -> LogId {
        self.id
    }

    /// The oldest event there was at the last look.
    #[must_use]
    pub fn start(&self) -> Offset {
        self.catalog.start()
    }

    /// The end at the last look.
    #[must_use]
    pub fn end(&self) -> Durable {
        self.walk.history.closed
    }

    /// Looks again: what has been appended, and what retention has removed.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] and [`LogError::Io`].
    pub fn refresh(&mut self) -> Result<(), LogError> {
        self.list_anew()?;
        self.look()
    }

    fn list_anew(&mut self) -> Result<(), LogError> {
        let here = self.walk.frames.segment.sequence;
        let (id, mut segments) = segments(&self.directory, here)?;
        let same = segments.iter().find(|segment| segment.sequence == here);
        if id != self.id || same.is_none_or(|same| same.crc != self.walk.frames.segment.crc) {
            let path = self.walk.frames.segment.path.clone();
            return Err(LogError::Unsafe {
                path,
                detail: "the log was replaced while it was read; begin anew".to_owned(),
            });
        }
        // What comes before has not changed, but for what retention has removed.
        let mut known = self.catalog.all();
        known.retain(|segment| segment.sequence < here && segment.path.exists());
        known.append(&mut segments);
        self.catalog = Catalog::new(known);
        Ok(())
    }

    /// A reader that begins with the event at `from`.
    ///
    /// # Errors
    /// [`LogError::Expired`] before the start, [`LogError::Ahead`] beyond the end.
    pub fn reader(&self, from: Offset) -> Result<ReadOnlyReader, LogError> {
        let (start, end) = (self.start(), self.end());
        if from < start {
            return Err(LogError::Expired { wanted: from, start });
        }
        if from > end.offset {
            return Err(LogError::Ahead { wanted: from, end: end.offset });
        }
        Ok(ReadOnlyReader { scan: Scan::open(&self.catalog, from, end)? })
    }

    /// As [`super::Log::find`].
    ///
    /// # Errors
    /// Likewise.
    pub fn find(&self, place: Place) -> Result<Offset, LogError> {
        lookup::find_place(&self.catalog, self.end(), place)
    }

    /// Moves the end forward over every unit that is whole. While a transaction is taken back, and another is written in its
    /// place, files go and bytes change under our eyes; what is still wrong after several looks is damage.
    fn look(&mut self) -> Result<(), LogError> {
        let mut looks = 0;
        loop {
            looks += 1;
            match self.advance() {
                Ok(true) => return Ok(()),
                Ok(false) => return self.step_back(),
                Err(LogError::Io { .. } | LogError::Corrupt { .. }) if looks < LOOKS => {
                    std::thread::sleep(PAUSE);
                    self.step_back()?;
                    self.list_anew()?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// As far as there are whole units; `false` if a unit was entered that is not whole.
    fn advance(&mut self) -> Result<bool, LogError> {
        while self.unit_ends_ahead()? {
            if !self.take_unit()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether, to go by the headers, a frame further on ends between two units.
    fn unit_ends_ahead(&self) -> Result<bool, LogError> {
        let Walk { frames: Frames { segment, byte, previous, .. }, .. } = &self.walk;
        let mut frames = Frames::open_at(Arc::clone(segment), *byte, *previous)?;
        loop {
            match frames.peek(0)? {
                Next::Frame(header) if !header.has(ENDS_INSIDE) => return Ok(true),
                Next::Frame(header) => frames.skip(&header),
                Next::End => match self.following(&frames) {
                    Some(segment) => frames = Frames::open(segment)?,
                    None => return Ok(false),
                },
                Next::Misfit(why) => return self.judge(&frames, why).map(|()| false),
            }
        }
    }

    /// Reads on until no unit is open; `false` if what the headers promised is not there (yet).
    fn take_unit(&mut self) -> Result<bool, LogError> {
        loop {
            match self.walk.step()? {
                Next::Frame(()) if self.walk.history.unit.is_none() => return Ok(true),
                Next::Frame(()) => {}
                Next::End => match self.following(&self.walk.frames) {
                    Some(segment) => self.walk.enter(Frames::open(segment)?),
                    None => return Ok(false),
                },
                Next::Misfit(why) => return self.judge(&self.walk.frames, why).map(|()| false),
            }
        }
    }

    /// The next segment, if it follows on this one as it is now.
    fn following(&self, frames: &Frames) -> Option<Arc<Segment>> {
        let next = self.catalog.get(frames.segment.sequence.saturating_add(1))?;
        (next.previous == frames.previous && next.start == frames.at()).then_some(next)
    }

    /// A misfit is a write under way, or the rest of one, unless a later frame proves otherwise.
    fn judge(&self, frames: &Frames, why: &str) -> Result<(), LogError> {
        let newest = self.catalog.all().last().is_none_or(|last| last.sequence == frames.segment.sequence);
        if newest && frames.find_witness()?.is_none() {
            return Ok(());
        }
        Err(frames.corrupt(why))
    }

    /// Returns to the end of the last whole unit, after having read on in vain.
    fn step_back(&mut self) -> Result<(), LogError> {
        let end = self.walk.history.closed.end_lsn;
        let offset = self.walk.history.closed.offset;
        let segments = self.catalog.all();
        let anchor = segments.iter().rev().find(|segment| !segment.inside && segment.base <= offset);
        self.walk = begin(anchor.or(segments.first()).ok_or_else(|| nothing(&self.directory))?)?;
        while (self.walk.history.closed.offset, self.walk.history.closed.end_lsn) != (offset, end) {
            if !self.take_unit()? {
                return Err(self.walk.frames.corrupt("what was read a moment ago is no longer there"));
            }
        }
        Ok(())
    }
}

/// A reader of a [`ReadOnly`].
#[derive(Debug)]
pub struct ReadOnlyReader {
    scan: Scan,
}

impl ReadOnlyReader {
    /// The offset of the next event it will return.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.scan.offset()
    }

    /// The next events up to the end that `log` knows of; `None` if there are none: [`ReadOnly::refresh`] it.
    ///
    /// # Errors
    /// [`LogError::Expired`] if retention has removed what comes next; [`LogError::Corrupt`] and [`LogError::Io`].
    pub fn next(&mut self, log: &ReadOnly, limit: Limit) -> Result<Option<Batch>, LogError> {
        self.scan.batch(&log.catalog, log.end(), limit)
    }
}

fn begin(segment: &Arc<Segment>) -> Result<Walk, LogError> {
    let file = open_file(&segment.path, false)?;
    let (_, preamble) = read_preamble(&file, &segment.path, segment.sequence, segment.base.0)?;
    Ok(Walk::new(Frames::open(Arc::clone(segment))?, preamble.history))
}

/// The segments from this sequence on, as they are at one moment: taken again if one went while it was looked at.
fn segments(directory: &Path, from: u64) -> Result<(LogId, Vec<Arc<Segment>>), LogError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let found = list(directory).and_then(|mut listing| {
            listing.segments.retain(|&(sequence, ..)| sequence >= from);
            if listing.segments.is_empty() {
                return Err(nothing(directory));
            }
            check_gapless(&listing.segments)?;
            read_preambles(&listing)
        });
        match found {
            Ok((segments, last)) => return Ok((last.log, segments)),
            // Retention, or a transaction being taken back; both are over in a moment. Damage stays.
            Err(LogError::Io { .. } | LogError::Corrupt { .. }) if tries < LOOKS => {
                std::thread::sleep(PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
}

fn nothing(directory: &Path) -> LogError {
    LogError::io("find a log in", directory)(std::io::Error::from(std::io::ErrorKind::NotFound))
}
