//! Reading events in order, from any offset: the part of every reader that does no waiting.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::catalog::{Catalog, Segment};
use super::format::DEFINES_RELATIONS;
use super::frames::{Frames, Next};
use crate::decode::tuple;
use crate::event::{Change, Event, Offset, Op, Relation, Transaction};
use crate::log::input::Input;
use crate::log::record::Record;
use crate::log::{Batch, Durable, Limit, LogError};

/// A place in the log and the events read ahead of it.
#[derive(Debug)]
pub(super) struct Scan {
    frames: Frames,
    /// Those the segment has defined so far.
    relations: Vec<Arc<Relation>>,
    /// Those of the segment before, so that an unchanged relation stays the same `Arc`.
    known: Vec<Arc<Relation>>,
    /// Records of the current frame not yet read, and the log byte after them.
    records: Bytes,
    records_end: u64,
    unit: Option<Arc<Transaction>>,
    ordinal: u64,
    /// The offset of the next event to be read.
    read: Offset,
    /// The offset of the first event wanted.
    from: Offset,
    /// Events read and not yet given out.
    ahead: VecDeque<Ahead>,
    ahead_bytes: usize,
    /// How many of those make whole units, and the log byte after them.
    whole: usize,
    whole_end: u64,
    /// A table's copy ends in the unit behind them, so they are a batch.
    cut: bool,
}

#[derive(Debug)]
struct Ahead {
    event: Event,
    bytes: usize,
    /// Log byte after its record.
    end: u64,
}

enum Step {
    Event(Ahead),
    Committed,
    Other,
}

impl Scan {
    /// Stands before the event at `from`, which must be in the log, or one past its end.
    pub(super) fn open(catalog: &Catalog, from: Offset, end: Durable) -> Result<Self, LogError> {
        let expired = || LogError::Expired { wanted: from, start: catalog.start() };
        let segment = catalog.holding(from).ok_or_else(expired)?;
        let mut scan = Scan {
            frames: open(catalog, segment, from)?,
            relations: Vec::new(),
            known: Vec::new(),
            records: Bytes::new(),
            records_end: 0,
            unit: None,
            ordinal: 0,
            read: from,
            from,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            whole: 0,
            whole_end: 0,
            cut: false,
        };
        scan.read = scan.frames.segment.base;
        scan.seek(end)?;
        Ok(scan)
    }

    /// Whether [`Scan::batch`] waits for the disk; if not, see [`Frames::wait`].
    pub(super) fn wait_for_disk(&mut self, wait: bool) {
        self.frames.wait = wait;
    }

    /// The offset of the next event to be given out.
    pub(super) fn offset(&self) -> Offset {
        Offset(self.read.0.max(self.from.0).saturating_sub(self.ahead.len() as u64))
    }

    /// Log byte of the next frame to be read.
    pub(super) fn at(&self) -> u64 {
        self.frames.at()
    }

    /// Goes to the frame that holds `from`, by the headers; only those that define relations are read.
    fn seek(&mut self, end: Durable) -> Result<(), LogError> {
        while self.read < end.offset && self.read < self.from {
            let header = match self.frames.peek(end.bytes)? {
                Next::Frame(header) => header,
                // The frames from here on are in the next segment, or are looked at when they are read.
                Next::End => return Ok(()),
                Next::Misfit(why) => return Err(self.frames.corrupt(why)),
            };
            let after = header.offset.saturating_add(u64::from(header.events));
            if after > self.from.0 {
                return Ok(());
            }
            if header.has(DEFINES_RELATIONS) {
                self.next_frame(end.bytes)?;
                let records = std::mem::take(&mut self.records);
                self.learn(&records)?;
            } else {
                self.frames.skip(&header);
            }
            self.read = Offset(after);
        }
        Ok(())
    }

    /// Takes up the relations that a frame defines.
    fn learn(&mut self, records: &Bytes) -> Result<(), LogError> {
        let mut input = Input::new(records);
        while input.len() > 0 {
            let record = Record::read(&mut input).ok_or_else(|| self.frames.corrupt("a record that cannot be read"))?;
            if let Record::Relation { id, relation } = record {
                self.define(id, relation)?;
            }
        }
        Ok(())
    }

    /// The next events, up to `end`; `None` if there are none yet.
    pub(super) fn batch(&mut self, catalog: &Catalog, end: Durable, limit: Limit) -> Result<Option<Batch>, LogError> {
        while !self.enough(limit) && (self.read < end.offset || self.unit.is_some()) {
            match self.step(catalog, end.bytes)? {
                Step::Event(ahead) => {
                    self.cut |= self.whole > 0 && ahead.event.ends_copy();
                    self.ahead_bytes = self.ahead_bytes.saturating_add(ahead.bytes);
                    self.ahead.push_back(ahead);
                }
                Step::Committed => {
                    self.whole = self.ahead.len();
                    self.whole_end = self.records_end.saturating_sub(self.records.len() as u64);
                }
                Step::Other => {}
            }
        }
        if self.ahead.is_empty() { Ok(None) } else { Ok(Some(self.give(limit))) }
    }

    /// Whether what has been read fills a batch, and it is known where that should end.
    fn enough(&self, limit: Limit) -> bool {
        let count = self.ahead.len();
        if self.cut {
            return true;
        }
        if self.whole == count {
            return count > 0 && (count >= limit.events || self.ahead_bytes >= limit.bytes);
        }
        count > 1 && (count > limit.events || self.ahead_bytes > limit.bytes)
    }

    /// Whole units if there are any, else as much of the one that is larger than the limit as fits.
    fn give(&mut self, limit: Limit) -> Batch {
        let (mut count, mut bytes) = (0, self.whole_end);
        if self.whole > 0 {
            count = self.whole;
        } else {
            let mut sum = 0_usize;
            for ahead in &self.ahead {
                sum = sum.saturating_add(ahead.bytes);
                if count > 0 && (count >= limit.events || sum > limit.bytes) {
                    break;
                }
                (count, bytes) = (count + 1, ahead.end);
            }
        }
        let ends_transaction = self.whole > 0;
        (self.whole, self.cut) = (0, false);
        let mut taken = 0;
        let events = self.ahead.drain(..count).map(|ahead| {
            taken += ahead.bytes;
            ahead.event
        });
        let events = events.collect();
        self.ahead_bytes = self.ahead_bytes.saturating_sub(taken);
        Batch { events, next: self.offset(), bytes, ends_transaction }
    }

    /// Reads one record.
    #[inline]
    fn step(&mut self, catalog: &Catalog, bound: u64) -> Result<Step, LogError> {
        if self.records.is_empty() {
            if !self.next_frame(bound)? {
                self.next_segment(catalog)?;
            }
            return Ok(Step::Other);
        }
        let mut input = Input::new(&self.records);
        let Some(record) = Record::read(&mut input) else {
            return Err(self.frames.corrupt("a record that cannot be read"));
        };
        let len = self.records.len() - input.len();
        let step = match record {
            Record::Change { op, relation, body } => {
                let body = self.records.slice_ref(body);
                self.event(len, |scan| scan.change(op, relation, &body))?
            }
            Record::Message { prefix, content } => {
                let (prefix, content) = (self.records.slice_ref(prefix), self.records.slice_ref(content));
                self.event(len, |scan| scan.message(&prefix, content))?
            }
            Record::CopyBegun { relation } => {
                self.event(len, |scan| Ok(Change::CopyBegun { relation: scan.relation(relation)?.clone() }))?
            }
            Record::CopyDone { relation, since } => {
                self.event(len, |scan| Ok(Change::CopyDone { relation: scan.relation(relation)?.clone(), since }))?
            }
            Record::Begin(transaction) => {
                self.ordinal = transaction.first_ordinal;
                self.unit = Some(Arc::new(transaction));
                Step::Other
            }
            Record::Resume(transaction, ordinal) => {
                if !self.unit.as_ref().is_some_and(|unit| unit.is_same_unit(&transaction)) {
                    self.unit = Some(Arc::new(transaction));
                }
                self.ordinal = ordinal;
                Step::Other
            }
            Record::Relation { id, relation } => {
                self.define(id, relation)?;
                Step::Other
            }
            Record::Origin(origin) => {
                // Behind a resume it is known already, unless the reading began there.
                if let Some(unit) = self.unit.as_mut().filter(|unit| unit.origin.as_deref() != Some(origin)) {
                    Arc::make_mut(unit).origin = Some(Arc::from(origin));
                }
                Step::Other
            }
            Record::Commit { .. } => {
                self.unit = None;
                Step::Committed
            }
            Record::Snapshot(_) | Record::Epoch(_) | Record::Progress(_) => Step::Other,
        };
        self.records.advance(len);
        Ok(step)
    }

    /// Counts an event, and makes it unless it stands before the first one wanted.
    #[inline]
    fn event(&mut self, bytes: usize, make: impl FnOnce(&Self) -> Result<Change, LogError>) -> Result<Step, LogError> {
        let Some(transaction) = &self.unit else { return Err(self.frames.corrupt("an event outside any unit")) };
        let ordinal = self.ordinal;
        let wanted = self.read >= self.from;
        let step = if wanted {
            let end = self.records_end.saturating_sub(self.records.len() as u64).saturating_add(bytes as u64);
            let event = Event { transaction: Arc::clone(transaction), ordinal, change: make(self)? };
            Step::Event(Ahead { event, bytes, end })
        } else {
            Step::Other
        };
        self.read = Offset(self.read.0.saturating_add(1));
        self.ordinal = ordinal.saturating_add(1);
        Ok(step)
    }

    #[inline]
    fn change(&self, op: Op, relation: u32, body: &Bytes) -> Result<Change, LogError> {
        let relation = self.relation(relation)?;
        tuple::change(op, relation, body).map_err(|error| self.frames.corrupt(error.to_string()))
    }

    #[inline]
    fn relation(&self, id: u32) -> Result<&Arc<Relation>, LogError> {
        let relation = usize::try_from(id).ok().and_then(|id| self.relations.get(id));
        relation.ok_or_else(|| self.frames.corrupt("a change of a relation that is not defined"))
    }

    fn message(&self, prefix: &[u8], content: Bytes) -> Result<Change, LogError> {
        let prefix = std::str::from_utf8(prefix).map_err(|_| self.frames.corrupt("a message's prefix is not UTF-8"))?;
        Ok(Change::Message { prefix: prefix.to_owned(), content })
    }

    fn define(&mut self, id: u32, relation: Relation) -> Result<(), LogError> {
        if usize::try_from(id) != Ok(self.relations.len()) {
            return Err(self.frames.corrupt("a relation whose number is not the next"));
        }
        let known = self.known.iter().find(|known| ***known == relation);
        self.relations.push(known.map_or_else(|| Arc::new(relation), Arc::clone));
        Ok(())
    }

    /// Reads the next frame of the segment; `false` at its end.
    fn next_frame(&mut self, bound: u64) -> Result<bool, LogError> {
        match self.frames.next(bound)? {
            Next::Frame((header, records)) => {
                self.read = Offset(header.offset);
                self.records = records;
                self.records_end = self.frames.at();
                Ok(true)
            }
            Next::End => Ok(false),
            Next::Misfit(why) => Err(self.frames.corrupt(why)),
        }
    }

    fn next_segment(&mut self, catalog: &Catalog) -> Result<(), LogError> {
        let sequence = self.frames.segment.sequence.saturating_add(1);
        let Some(segment) = catalog.get(sequence) else {
            return Err(match catalog.start() {
                start if start > self.offset() => LogError::Expired { wanted: self.offset(), start },
                _ => self.frames.corrupt("the log ends here, and should go on"),
            });
        };
        if segment.previous != self.frames.previous || segment.start != self.frames.at() {
            return Err(self.frames.corrupt("the next segment does not follow on this"));
        }
        let wait = self.frames.wait;
        self.frames = open(catalog, segment, self.offset())?;
        self.frames.wait = wait;
        self.known = std::mem::take(&mut self.relations);
        Ok(())
    }
}

/// Opens a segment that retention may be about to remove.
fn open(catalog: &Catalog, segment: Arc<Segment>, wanted: Offset) -> Result<Frames, LogError> {
    let sequence = segment.sequence;
    Frames::open(segment).map_err(|error| {
        let gone = matches!(&error, LogError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound);
        match gone && catalog.get(sequence).is_none() {
            true => LogError::Expired { wanted, start: catalog.start() },
            false => error,
        }
    })
}
