//! Checking a whole log: every checksum, every record, every link from frame to frame and from segment to segment.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::catalog::{Segment, open_file};
use super::directory::list;
use super::frames::{Frames, Next, read_preamble};
use super::preamble::Preamble;
use super::walk::Walk;
use crate::event::Offset;
use crate::log::LogError;

/// What [`verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Segments read.
    pub segments: u64,
    /// Whole frames, preambles not counted.
    pub frames: u64,
    /// Events in frames that are whole.
    pub events: u64,
    /// Bytes read.
    pub bytes: u64,
    /// The offset after the last committed event.
    pub end: Offset,
    /// Bytes at the end that an interrupted write, or one under way, has left: no damage, the next start cuts them.
    pub unfinished_bytes: u64,
    /// All damage found; empty for a sound log.
    pub damages: Vec<Damage>,
}

/// One damaged place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment.
    pub path: PathBuf,
    /// Byte in the file.
    pub byte: u64,
    /// What is wrong.
    pub detail: String,
}

/// Checks the log in `directory`, changing nothing. It may be in use, though a transaction taken back meanwhile can then look like damage: a
/// stopped log gives certainty. `on_progress` is told the bytes checked and the bytes there are.
///
/// # Errors
/// What keeps it from looking at all: [`LogError::Io`], [`LogError::Format`], [`LogError::Unsafe`]. Damage is in the report.
pub fn verify(directory: &Path, mut on_progress: impl FnMut(u64, u64)) -> Result<Report, LogError> {
    let listing = list(directory)?;
    let len = |path: &PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let total = listing.segments.iter().map(|(_, _, path)| len(path)).fold(0, u64::saturating_add);
    let mut check = Check { report: Report::default(), walk: None, total, on_progress: &mut on_progress };
    let newest = listing.segments.len().saturating_sub(1);
    for (index, (sequence, base, path)) in listing.segments.iter().enumerate() {
        check.segment(*sequence, *base, path, index == newest)?;
        check.report.segments += 1;
        check.report.bytes = check.report.bytes.saturating_add(len(path));
    }
    Ok(check.report)
}

struct Check<'a> {
    report: Report,
    /// The segment before, walked to its end; `None` after damage.
    walk: Option<Walk>,
    total: u64,
    on_progress: &'a mut dyn FnMut(u64, u64),
}

impl Check<'_> {
    fn segment(&mut self, sequence: u64, base: u64, path: &Path, newest: bool) -> Result<(), LogError> {
        let file = open_file(path, false)?;
        let (segment, preamble) = match read_preamble(&file, path, sequence, base) {
            Ok(read) => read,
            Err(error) => {
                self.walk = None;
                return self.damage(error);
            }
        };
        let segment = Arc::new(segment);
        self.link(&segment, &preamble);
        let mut walk = Walk::new(Frames::open(segment)?, preamble.history);
        let sound = loop {
            match walk.step() {
                Ok(Next::Frame(())) => self.tell(&walk.frames),
                Ok(Next::End) => break true,
                Ok(Next::Misfit(why)) => {
                    if newest && walk.frames.find_witness()?.is_none() {
                        break true;
                    }
                    self.damage(walk.frames.corrupt(why))?;
                    self.rest(&mut walk.frames)?;
                    break false;
                }
                Err(error) => {
                    self.damage(error)?;
                    self.rest(&mut walk.frames)?;
                    break false;
                }
            }
        };
        if let Some(spot) = walk.spot.filter(|_| newest && sound) {
            self.report.unfinished_bytes = walk.frames.file_len()?.saturating_sub(spot.byte);
        }
        self.report.frames += walk.frame_count;
        self.report.events = self.report.events.saturating_add(walk.events);
        self.report.end = walk.history.closed.offset;
        self.walk = Some(walk).filter(|_| sound);
        Ok(())
    }

    /// A segment must go on where the one before ended, and say so.
    fn link(&mut self, segment: &Segment, preamble: &Preamble) {
        let Some(before) = &self.walk else { return };
        let was = &before.history;
        let same_unit = was.unit.as_ref().map(|unit| (&unit.transaction, unit.next_ordinal))
            == preamble.history.unit.as_ref().map(|unit| (&unit.transaction, unit.next_ordinal));
        let wrong = if segment.sequence != before.frames.segment.sequence.saturating_add(1) {
            "segments before this one are missing"
        } else if segment.start != before.frames.at() || segment.previous != before.frames.previous {
            "it does not follow on the segment before it"
        } else if was.closed != preamble.history.closed
            || was.snapshots != preamble.history.snapshots
            || was.copies != preamble.history.copies
            || !same_unit
        {
            "its preamble says otherwise than the segments before it"
        } else {
            return;
        };
        self.report.damages.push(Damage { path: segment.path.clone(), byte: 0, detail: wrong.to_owned() });
    }

    /// After damage: the frames that can be found, by their checksums alone.
    fn rest(&mut self, frames: &mut Frames) -> Result<(), LogError> {
        let mut follows = frames.resynchronise()?;
        while follows {
            match frames.next(u64::MAX)? {
                Next::Frame((header, _)) => {
                    self.report.frames += 1;
                    self.report.events = self.report.events.saturating_add(u64::from(header.events));
                    self.tell(frames);
                }
                Next::End => return Ok(()),
                Next::Misfit(why) => {
                    self.damage(frames.corrupt(why))?;
                    follows = frames.resynchronise()?;
                }
            }
        }
        Ok(())
    }

    fn tell(&mut self, frames: &Frames) {
        (self.on_progress)(self.report.bytes.saturating_add(frames.byte), self.total);
    }

    /// Notes damage; any other error ends the check.
    fn damage(&mut self, error: LogError) -> Result<(), LogError> {
        match error {
            LogError::Corrupt { path, at, detail } => {
                self.report.damages.push(Damage { path, byte: at, detail });
                Ok(())
            }
            other @ (LogError::Io { .. }
            | LogError::Poisoned { .. }
            | LogError::Locked { .. }
            | LogError::Format { .. }
            | LogError::Unsafe { .. }
            | LogError::Expired { .. }
            | LogError::Ahead { .. }
            | LogError::Kafka(_)
            | LogError::Misuse(_)) => Err(other),
        }
    }
}
