//! Walking a segment's records from its preamble on, and checking each.

use std::sync::Arc;

use bytes::Bytes;

use super::format::{BEGINS_INSIDE, DEFINES_RELATIONS, ENDS_INSIDE, Header};
use super::frames::{Frames, Next};
use crate::event::Relation;
use crate::log::LogError;
use crate::log::history::History;
use crate::log::input::Input;
use crate::log::record::Record;

/// A place between two frames where no unit is open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    /// Byte in the file.
    pub(super) byte: u64,
    /// Checksum of the frame before.
    pub(super) previous: u32,
    /// How many relations the segment has defined up to here.
    pub(super) relations: usize,
    /// Whether the frame before is an empty one, which vouches for all before it.
    pub(super) vouched: bool,
}

/// A segment walked as far as it is good.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) frames: Frames,
    pub(super) history: History,
    pub(super) relations: Vec<Arc<Relation>>,
    /// The last place where no unit was open; `None` if the segment is all inside one.
    pub(super) spot: Option<Spot>,
    /// Events seen, and frames.
    pub(super) events: u64,
    pub(super) frame_count: u64,
}

impl Walk {
    /// Begins behind the preamble, with what it says.
    pub(super) fn new(frames: Frames, history: History) -> Self {
        let (byte, previous) = (frames.byte, frames.previous);
        let spot = history.unit.is_none().then_some(Spot { byte, previous, relations: 0, vouched: false });
        Walk { frames, history, relations: Vec::new(), spot, events: 0, frame_count: 0 }
    }

    /// Goes on in the next segment.
    pub(super) fn enter(&mut self, frames: Frames) {
        self.frames = frames;
        self.relations.clear();
        self.note_spot(false);
    }

    /// Takes the next frame.
    ///
    /// # Errors
    /// A frame that is whole and whose records make no sense: no crash leaves that.
    pub(super) fn step(&mut self) -> Result<Next<()>, LogError> {
        let before = self.frames.byte;
        let (header, records) = match self.frames.next(u64::MAX)? {
            Next::Frame(frame) => frame,
            Next::End => return Ok(Next::End),
            Next::Misfit(why) => return Ok(Next::Misfit(why)),
        };
        let end = self.frames.at();
        if let Err(detail) = self.records(&header, &records, end) {
            return Err(LogError::Corrupt { path: self.frames.segment.path.clone(), at: before, detail });
        }
        self.frame_count += 1;
        self.events = self.events.saturating_add(u64::from(header.events));
        self.note_spot(records.is_empty());
        Ok(Next::Frame(()))
    }

    fn note_spot(&mut self, vouched: bool) {
        if self.history.unit.is_none() {
            let (byte, previous) = (self.frames.byte, self.frames.previous);
            self.spot = Some(Spot { byte, previous, relations: self.relations.len(), vouched });
        }
    }

    fn records(&mut self, header: &Header, records: &Bytes, end: u64) -> Result<(), String> {
        let first = self.history.next_offset();
        if header.offset != first.0 {
            return Err(format!("a frame at offset {} where offset {first} comes next", header.offset));
        }
        if header.has(BEGINS_INSIDE) != self.history.unit.is_some() {
            return Err("a frame that does not begin where the last one ended".to_owned());
        }
        let (mut input, mut events, defined) = (Input::new(records), 0_u32, self.relations.len());
        let mut resumes = header.has(BEGINS_INSIDE);
        while input.len() > 0 {
            let record = Record::read(&mut input).ok_or("a record that cannot be read")?;
            let after = end.saturating_sub(input.len() as u64);
            if std::mem::take(&mut resumes) != matches!(record, Record::Resume(..)) {
                return Err("a frame that does not say first, and only first, which unit it goes on with".to_owned());
            }
            events = events.saturating_add(u32::from(self.record(record, after)?));
            let alone = header.has(ENDS_INSIDE) || header.has(BEGINS_INSIDE) && input.len() > 0;
            if alone && self.history.unit.is_none() {
                return Err("a frame that holds a part of a unit and something else".to_owned());
            }
        }
        if events != header.events {
            return Err(format!("{events} events in a frame that says {}", header.events));
        }
        if header.has(ENDS_INSIDE) != self.history.unit.is_some() {
            return Err("a frame that does not end where it says".to_owned());
        }
        if header.has(DEFINES_RELATIONS) != (self.relations.len() > defined) {
            return Err("a frame that does not say which relations it defines".to_owned());
        }
        Ok(())
    }

    /// Takes a record; `after` is the log byte behind it. Returns whether it is an event.
    fn record(&mut self, record: Record<'_>, after: u64) -> Result<bool, String> {
        match record {
            Record::Change { relation, .. } => {
                self.relation(relation)?;
                return self.history.event().map(|_| true);
            }
            Record::CopyBegun { relation } => {
                let oid = self.relation(relation)?.oid;
                return self.history.copy_begun(oid).map(|()| true);
            }
            Record::CopyDone { relation, since } => {
                let oid = self.relation(relation)?.oid;
                return self.history.copy_done(oid, since).map(|()| true);
            }
            Record::Message { .. } => return self.history.event().map(|_| true),
            Record::Relation { id, relation } => define(&mut self.relations, id, relation)?,
            Record::Begin(transaction) => self.history.begin(&transaction)?,
            Record::Resume(transaction, ordinal) => self.history.resume(&transaction, ordinal)?,
            Record::Snapshot(snapshot) => self.history.snapshot(&snapshot)?,
            Record::Commit { end_lsn } => self.history.commit(end_lsn, after)?,
            Record::Epoch(epoch) => self.history.epoch(&epoch)?,
            Record::Progress(lsn) => self.history.progress(lsn)?,
            Record::Origin(_) => self.history.origin()?,
        }
        Ok(false)
    }

    fn relation(&self, id: u32) -> Result<&Arc<Relation>, String> {
        let relation = usize::try_from(id).ok().and_then(|id| self.relations.get(id));
        relation.ok_or_else(|| format!("a change of relation {id}, which is not defined"))
    }
}

/// Adds a relation whose id must be the next.
pub(super) fn define(relations: &mut Vec<Arc<Relation>>, id: u32, relation: Relation) -> Result<(), String> {
    if usize::try_from(id) != Ok(relations.len()) {
        return Err(format!("relation {id} where relation {} comes next", relations.len()));
    }
    relations.push(Arc::new(relation));
    Ok(())
}
