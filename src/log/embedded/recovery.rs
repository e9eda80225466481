//! Opening a log: what is there, what of it is good, and what an interrupted write has left to be cut.
//!
//! First everything is examined and nothing changed; only then is the tail cut. So damage leaves the directory as it was.

use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;

use super::catalog::{Segment, open_file};
use super::directory::{Listing, check_gapless};
use super::disk::Disk;
use super::format::FORMAT;
use super::frames::{Frames, Next, read_preamble};
use super::preamble::Preamble;
use super::relations::Relations;
use super::walk::{Spot, Walk};
use super::writer::{Start, Tail};
use crate::log::{LogError, LogId};

/// What an examination found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) id: LogId,
    /// All segments, oldest first, those to be removed included.
    pub(super) segments: Vec<Arc<Segment>>,
    /// How many of them stay.
    pub(super) keep: usize,
    /// Bytes of the last one that stay.
    pub(super) len: u64,
    /// Bytes that go.
    pub(super) excess: u64,
    pub(super) start: Start,
}

/// Examines a log that has at least one segment.
pub(super) fn examine(listing: &Listing) -> Result<Found, LogError> {
    check_gapless(&listing.segments)?;
    let (segments, mut last) = read_preambles(listing)?;
    let Some(newest) = segments.last() else {
        return Err(LogError::Misuse("an empty directory was examined".to_owned()));
    };
    settle(newest)?;
    let id = last.log;
    let mut walk = Walk::new(Frames::open(Arc::clone(newest))?, last.history.clone());
    let mut excess = 0;
    let mut keep = segments.len();
    walk_to_end(&mut walk)?;
    let spot = if let Some(spot) = walk.spot {
        spot
    } else {
        // The whole segment is inside a unit that was never committed: back to where that begins.
        let place =
            last.unit_place.ok_or_else(|| walk.frames.corrupt("a preamble that says not where its unit begins"))?;
        let index = segments.iter().position(|segment| segment.sequence == place.sequence);
        let index = index.ok_or_else(|| walk.frames.corrupt("the unit it begins inside of is not there"))?;
        for segment in segments.iter().skip(index + 1) {
            excess += std::fs::metadata(&segment.path).map_err(LogError::io("stat", &segment.path))?.len();
        }
        keep = index + 1;
        let first =
            segments.get(index).ok_or_else(|| walk.frames.corrupt("the unit it begins inside of is not there"))?;
        settle(first)?;
        let file = open_file(&first.path, false)?;
        last = read_preamble(&file, &first.path, first.sequence, first.base.0)?.1;
        walk = Walk::new(Frames::open(Arc::clone(first))?, last.history.clone());
        walk_whole(&mut walk)?;
        walk.spot
            .filter(|spot| spot.byte == place.byte)
            .ok_or_else(|| walk.frames.corrupt("the open unit begins elsewhere"))?
    };
    excess += walk.frames.file_len()?.saturating_sub(spot.byte);
    let start = start(walk, spot);
    Ok(Found { id, segments, keep, len: spot.byte, excess, start })
}

/// Reads every segment's preamble. Returns the last one whole.
pub(super) fn read_preambles(listing: &Listing) -> Result<(Vec<Arc<Segment>>, Preamble), LogError> {
    let mut segments: Vec<Arc<Segment>> = Vec::with_capacity(listing.segments.len());
    let mut last: Option<Preamble> = None;
    let mut end = 0;
    for (sequence, base, path) in &listing.segments {
        let file = open_file(path, false)?;
        let (segment, preamble) = read_preamble(&file, path, *sequence, *base)?;
        let corrupt = |detail: String| LogError::Corrupt { path: path.clone(), at: 0, detail };
        if let Some(before) = &last {
            if before.log != preamble.log {
                return Err(corrupt(format!("a segment of another log, {}", preamble.log)));
            }
            if end != segment.start {
                return Err(corrupt(format!("it begins at log byte {}, the one before ends at {end}", segment.start)));
            }
        }
        end = segment.start.saturating_add(file.metadata().map_err(LogError::io("stat", path))?.len());
        last = Some(preamble);
        segments.push(Arc::new(segment));
    }
    last.map(|last| (segments, last)).ok_or_else(|| LogError::Misuse("an empty directory was examined".to_owned()))
}

/// Makes durable what is in the page cache, then drops it from there: what an earlier fsync failed to write may be in
/// the cache as if it had been, and what is judged must be what is on the disk.
fn settle(segment: &Segment) -> Result<(), LogError> {
    let file = open_file(&segment.path, true)?;
    file.sync_all().map_err(LogError::io("fsync", &segment.path))?;
    let whole_file: Option<NonZeroU64> = None;
    // Advice: a file system that does not take it loses nothing but the second look.
    let _ = rustix::fs::fadvise(&file, 0, whole_file, rustix::fs::Advice::DontNeed);
    Ok(())
}

/// Walks to the end of the last segment, or to the misfit that an interrupted write has left there.
fn walk_to_end(walk: &mut Walk) -> Result<(), LogError> {
    loop {
        match walk.step()? {
            Next::Frame(()) => {}
            Next::End => return Ok(()),
            Next::Misfit(why) => {
                return match walk.frames.find_witness()? {
                    None => Ok(()),
                    Some(byte) => Err(walk.frames.corrupt(format!(
                        "{why}, and the frame at byte {byte} proves that this was once safely written"
                    ))),
                };
            }
        }
    }
}

/// Walks a segment that must be good to its end.
fn walk_whole(walk: &mut Walk) -> Result<(), LogError> {
    loop {
        match walk.step()? {
            Next::Frame(()) => {}
            Next::End => return Ok(()),
            Next::Misfit(why) => return Err(walk.frames.corrupt(why)),
        }
    }
}

fn start(walk: Walk, spot: Spot) -> Start {
    let Walk { frames, mut history, mut relations, .. } = walk;
    history.unit = None;
    relations.truncate(spot.relations);
    Start {
        history,
        relations: Relations::new(relations),
        tail: Tail {
            sequence: frames.segment.sequence,
            len: spot.byte,
            inside: frames.segment.inside,
            older: frames.segment.format < FORMAT,
        },
        end: frames.segment.start.saturating_add(spot.byte),
        previous: spot.previous,
        vouched: spot.vouched,
    }
}

/// Cuts what an interrupted write has left. Newest segment first, each removal durable before the next.
pub(super) fn repair(directory: &Path, listing: &Listing, found: &Found, disk: &dyn Disk) -> Result<(), LogError> {
    let removed = found.segments.iter().skip(found.keep).rev().map(|segment| &segment.path);
    for path in removed.chain(&listing.unfinished) {
        disk.remove(path).map_err(LogError::io("remove", path))?;
        disk.sync_directory(directory).map_err(LogError::io("fsync", directory))?;
    }
    if found.excess > 0
        && let Some(last) = found.segments.get(found.keep.saturating_sub(1))
    {
        let file = open_file(&last.path, true)?;
        disk.cut(&file, &last.path, found.len).map_err(LogError::io("truncate", &last.path))?;
    }
    // A rename that the last process did not live to make durable is made so before anything is built on it.
    disk.sync_directory(directory).map_err(LogError::io("fsync", directory))
}
