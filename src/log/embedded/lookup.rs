//! From an LSN, a commit time or an offset to a place in the log.
//!
//! The segment is found by its preamble; inside it the events are read. That takes a fraction of a second at most and is
//! done on an operator's request, so no index is kept that could be wrong.

use std::ops::ControlFlow;

use super::catalog::{Catalog, Segment};
use super::scan::Scan;
use crate::event::{Event, Offset, Place, Position, Timestamp};
use crate::log::{Durable, Limit, LogError};

const STEP: Limit = Limit { events: 4096, bytes: 1024 * 1024 };

/// See [`crate::log::Log::find`].
pub(super) fn find_place(catalog: &Catalog, end: Durable, place: Place) -> Result<Offset, LogError> {
    match place {
        Place::Start => Ok(catalog.start()),
        Place::Offset(offset) => unit_of(catalog, end, offset),
        Place::Lsn(commit_lsn) => {
            let Some(last) = end.position else { return Ok(end.offset) };
            of_position(catalog, end, Position { epoch: last.epoch, commit_lsn, ordinal: 0 })
        }
        Place::Time(time) => at_time(catalog, end, time),
    }
}

/// The first event of the unit that the event at `offset` is of, as far back as there is one.
fn unit_of(catalog: &Catalog, end: Durable, offset: Offset) -> Result<Offset, LogError> {
    let start = catalog.start();
    if offset < start {
        return Err(LogError::Expired { wanted: offset, start });
    }
    if offset > end.offset {
        return Err(LogError::Ahead { wanted: offset, end: end.offset });
    }
    let read = Scan::open(catalog, offset, end)?.batch(catalog, end, Limit { events: 1, bytes: 0 })?;
    let event = read.as_ref().and_then(|read| read.events.first());
    Ok(event.map_or(offset, |event| event.transaction.begins(event.ordinal, offset)).max(start))
}

/// The first event at or after `wanted`; the end if there is none.
fn of_position(catalog: &Catalog, end: Durable, wanted: Position) -> Result<Offset, LogError> {
    let reaches = |segment: &Segment| segment.position.is_some_and(|position| position >= wanted);
    find(catalog, end, reaches, |event| event.position() >= wanted)
}

/// The first event of the first transaction committed at or after `wanted`; the end if there is none.
fn at_time(catalog: &Catalog, end: Durable, wanted: Timestamp) -> Result<Offset, LogError> {
    let reaches = |segment: &Segment| segment.commit_time_max.is_some_and(|time| time >= wanted);
    find(catalog, end, reaches, |event| event.transaction.commit_time >= wanted)
}

/// The log byte at which the event at `offset` is, to the accuracy of a frame.
pub(super) fn bytes_at(catalog: &Catalog, end: Durable, offset: Offset) -> Result<u64, LogError> {
    if offset >= end.offset {
        return Ok(end.bytes);
    }
    Ok(Scan::open(catalog, offset, end)?.at().min(end.bytes))
}

/// The first event that `matches`. `reaches` says of a segment whether such an event stands before it.
fn find(
    catalog: &Catalog,
    end: Durable,
    reaches: impl Fn(&Segment) -> bool,
    matches: impl Fn(&Event) -> bool,
) -> Result<Offset, LogError> {
    let segments = catalog.all();
    let Some(index) = segments.partition_point(|segment| !reaches(segment)).checked_sub(1) else {
        let start = catalog.start();
        return Err(LogError::Expired { wanted: Offset(start.0.saturating_sub(1)), start });
    };
    let from = segments.get(index).map_or(end.offset, |segment| segment.base).min(end.offset);
    let mut scan = Scan::open(catalog, from, end)?;
    loop {
        let at = scan.offset();
        let Some(batch) = scan.batch(catalog, end, STEP)? else { return Ok(end.offset) };
        let found = (at.0..).zip(&batch.events).try_for_each(|(offset, event)| match matches(event) {
            true => ControlFlow::Break(Offset(offset)),
            false => ControlFlow::Continue(()),
        });
        if let ControlFlow::Break(offset) = found {
            return Ok(offset);
        }
    }
}
