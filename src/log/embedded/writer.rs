//! The writer: entries into frames, frames into groups, groups to the flusher.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use tokio::sync::watch;

use super::Options;
use super::catalog::Segment;
use super::directory::Lock;
use super::flusher::Job;
use super::format::{BEGINS_INSIDE, SPILL_NAME, segment_name};
use super::group::{Group, Mark};
use super::preamble::{Place, Preamble};
use super::relations::Relations;
use super::shared::Shared;
use crate::event::{Lsn, Offset, Op, Relation, Transaction};
use crate::log::history::History;
use crate::log::input::TooLong;
use crate::log::record::{
    put_begin, put_change, put_commit, put_copy_begun, put_copy_done, put_epoch_record, put_message, put_origin,
    put_progress, put_relation, put_resume, put_snapshot_record,
};
use crate::log::{Durable, Entry, LogError};

/// Appends to the log. There is one for each log; it holds the lock.
///
/// An error of [`Writer::append`] is final: nothing is written after it.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    options: Options,
    history: History,
    relations: Relations,
    group: Group,
    /// How many groups have been closed: tells whether a unit began in this one.
    serial: u64,
    unit: Option<OpenUnit>,
    segment: Tail,
    /// Closed groups and other work not yet handed over.
    jobs: Vec<Job>,
    /// Whether nothing has been written since the last frame that vouches for all before it.
    vouched: bool,
    queue: Option<Sender<Vec<Job>>>,
    thread: Option<JoinHandle<()>>,
    _lock: Lock,
}

/// The newest segment, closed groups counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail {
    pub(super) sequence: u64,
    /// Bytes in the file.
    pub(super) len: u64,
    /// Whether it begins inside a unit.
    pub(super) inside: bool,
    /// Whether it was begun in an older format, in which today's records may not stand.
    pub(super) older: bool,
}

/// Where the open unit begins, so that it can be taken back.
#[derive(Debug)]
struct OpenUnit {
    mark: Mark,
    serial: u64,
    /// The segment it began in, as long as it was before the group.
    segment: Tail,
    /// Log byte of that group.
    group_start: u64,
    /// Whether frames of it have been sealed.
    sealed: bool,
    relations: usize,
    /// The relations before it, once its segment has been left.
    left: Option<Relations>,
    /// Where it came from.
    origin: Option<Arc<str>>,
}

impl OpenUnit {
    fn place(&self) -> Place {
        Place { sequence: self.segment.sequence, byte: self.segment.len.saturating_add(self.mark.at as u64) }
    }
}

/// What a writer goes on from.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) history: History,
    pub(super) relations: Relations,
    pub(super) tail: Tail,
    /// Log byte after the last frame.
    pub(super) end: u64,
    /// Checksum of the last frame.
    pub(super) previous: u32,
    /// Whether the last frame vouches for all before it.
    pub(super) vouched: bool,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        options: Options,
        start: Start,
        queue: Sender<Vec<Job>>,
        thread: JoinHandle<()>,
        lock: Lock,
    ) -> Self {
        Writer {
            shared,
            options,
            history: start.history,
            relations: start.relations,
            group: Group::new(Vec::new(), start.end, start.previous),
            serial: 0,
            unit: None,
            segment: start.tail,
            jobs: Vec::new(),
            vouched: start.vouched,
            queue: Some(queue),
            thread: Some(thread),
            _lock: lock,
        }
    }

    /// Adds an entry to the buffer. Never waits; memory is bounded by flushing whenever
    /// [`Writer::pending_bytes`] has grown to a few MiB.
    ///
    /// # Errors
    /// [`LogError::Misuse`] if the entry cannot stand here; what an earlier write failed with. Either way the log takes no
    /// more.
    pub fn append(&mut self, entry: Entry<'_>) -> Result<(), LogError> {
        self.shared.check()?;
        let appended = self.put(entry);
        if let Err(detail) = appended {
            self.shared.poison(LogError::Poisoned { path: self.shared.directory.clone() });
            return Err(LogError::Misuse(format!("the log was given {detail}")));
        }
        Ok(())
    }

    /// Bytes appended and not yet handed to the flusher.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.jobs.iter().map(Job::len).sum::<usize>().saturating_add(self.group.bytes.len())
    }

    /// The offset that the next event will have, those of the open unit counted.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.history.next_offset()
    }

    /// Whether the flusher is idle, so that [`Writer::flush`] would not wait.
    #[must_use]
    pub fn can_flush(&self) -> bool {
        self.shared.idle.available_permits() > 0
    }

    /// Hands everything appended to the flusher, and waits only while it is still busy with what it was handed before.
    /// Parts of an open transaction go too. Cancel-safe: what was not handed over stays in the buffer.
    ///
    /// # Errors
    /// What an earlier write failed with.
    pub async fn flush(&mut self) -> Result<(), LogError> {
        self.shared.check()?;
        if self.pending_bytes() == 0 {
            return Ok(());
        }
        let Ok(permit) = self.shared.idle.acquire().await else { return self.failed() };
        permit.forget();
        self.close_group().map_err(too_long)?;
        self.hand_over()
    }

    /// Flushes, and waits until everything appended is durable.
    ///
    /// # Errors
    /// What the write failed with.
    pub async fn sync(&mut self) -> Result<Durable, LogError> {
        self.flush().await?;
        if self.shared.idle.acquire().await.is_err() {
            return self.failed().map(|()| Durable::default());
        }
        Ok(*self.shared.durable.borrow())
    }

    /// Whether a transaction or chunk is open.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.unit.is_some()
    }

    /// What is durable, and when it changes. Also wakes when the log fails; then the next call to the writer says how.
    #[must_use]
    pub fn durable(&self) -> watch::Receiver<Durable> {
        self.shared.durable.subscribe()
    }

    /// A directory inside the log's, for what its owner must keep beside it. Nothing here looks into it.
    #[must_use]
    pub fn beside(&self) -> PathBuf {
        self.shared.directory.join(SPILL_NAME)
    }

    fn failed(&self) -> Result<(), LogError> {
        self.shared.check()?;
        Err(LogError::Poisoned { path: self.shared.directory.clone() })
    }

    fn hand_over(&mut self) -> Result<(), LogError> {
        let jobs = std::mem::take(&mut self.jobs);
        match self.queue.as_ref().map(|queue| queue.send(jobs)) {
            Some(Ok(())) => Ok(()),
            _ => self.failed(),
        }
    }

    #[inline]
    fn put(&mut self, entry: Entry<'_>) -> Result<(), String> {
        match entry {
            Entry::Change { op, relation, body } => self.put_change(op, relation, body),
            Entry::Begin(transaction) => self.put_begin(transaction),
            Entry::Commit { end_lsn } => self.put_commit(end_lsn),
            Entry::Message { prefix, content } => {
                self.open_frame()?;
                self.history.event()?;
                put_message(&mut self.group.bytes, prefix, content).map_err(describe)?;
                self.group.count_event();
                self.seal_full_inside()
            }
            Entry::CopyBegun { relation } => self.put_copy(relation, None),
            Entry::CopyDone { relation, since } => self.put_copy(relation, Some(since)),
            Entry::Snapshot(snapshot) => {
                self.open_frame()?;
                self.history.snapshot(snapshot)?;
                put_snapshot_record(&mut self.group.bytes, snapshot).map_err(describe)
            }
            Entry::Abort => self.abort(),
            Entry::Epoch(epoch) => {
                self.open_frame()?;
                self.history.epoch(epoch)?;
                put_epoch_record(&mut self.group.bytes, epoch).map_err(describe)
            }
            Entry::Progress(lsn) => {
                // Before the history moves: a new segment's preamble must not know of it yet.
                if lsn > self.history.closed.end_lsn {
                    self.open_frame()?;
                    put_progress(&mut self.group.bytes, lsn);
                }
                self.history.progress(lsn)
            }
        }
    }

    fn put_begin(&mut self, transaction: &Transaction) -> Result<(), String> {
        self.seal_full()?;
        self.open_frame()?;
        self.history.begin(transaction)?;
        self.unit = Some(OpenUnit {
            mark: self.group.mark(),
            serial: self.serial,
            segment: self.segment,
            group_start: self.group.start,
            sealed: false,
            relations: self.relations.len(),
            left: None,
            origin: transaction.origin.clone(),
        });
        put_begin(&mut self.group.bytes, transaction);
        put_origin(&mut self.group.bytes, transaction.origin.as_deref()).map_err(describe)
    }

    #[inline]
    fn put_change(&mut self, op: Op, relation: &Arc<Relation>, body: &[u8]) -> Result<(), String> {
        if op == Op::Message {
            return Err("a message as a change".to_owned());
        }
        self.open_frame()?;
        self.history.event()?;
        let id = self.id_of(relation)?;
        put_change(&mut self.group.bytes, op, id, body).map_err(describe)?;
        self.group.count_event();
        self.seal_full_inside()
    }

    /// A table's copy begins, or is done since an offset.
    fn put_copy(&mut self, relation: &Arc<Relation>, since: Option<Offset>) -> Result<(), String> {
        self.open_frame()?;
        match since {
            None => self.history.copy_begun(relation.oid)?,
            Some(since) => self.history.copy_done(relation.oid, since)?,
        }
        let id = self.id_of(relation)?;
        match since {
            None => put_copy_begun(&mut self.group.bytes, id),
            Some(since) => put_copy_done(&mut self.group.bytes, id, since),
        }
        self.group.count_event();
        self.seal_full_inside()
    }

    #[inline]
    fn id_of(&mut self, relation: &Arc<Relation>) -> Result<u32, String> {
        self.relations.id(relation).map_or_else(|| self.define(relation), Ok)
    }

    fn define(&mut self, relation: &Arc<Relation>) -> Result<u32, String> {
        let id = self.relations.define(relation);
        put_relation(&mut self.group.bytes, id, relation).map_err(describe)?;
        self.group.mark_relation();
        Ok(id)
    }

    fn put_commit(&mut self, end_lsn: Lsn) -> Result<(), String> {
        self.open_frame()?;
        put_commit(&mut self.group.bytes, end_lsn);
        self.history.commit(end_lsn, self.group.end())?;
        if let Some(unit) = self.unit.take().filter(|unit| !unit.sealed) {
            self.group.keep(&unit.mark);
        }
        if self.group.begins_inside() { self.group.seal().map_err(describe) } else { Ok(()) }
    }

    fn abort(&mut self) -> Result<(), String> {
        self.history.abort()?;
        let Some(unit) = self.unit.take() else { return Ok(()) };
        let place = unit.place();
        match unit.left {
            Some(relations) => self.relations = relations,
            None => self.relations.truncate(unit.relations),
        }
        if unit.serial == self.serial {
            self.group.cut(&unit.mark);
            return Ok(());
        }
        self.jobs.push(Job::Cut(place));
        self.segment = Tail { len: place.byte, ..unit.segment };
        self.serial = self.serial.wrapping_add(1);
        self.vouched = false;
        self.group = Group::new(Vec::new(), unit.group_start.saturating_add(unit.mark.at as u64), unit.mark.previous);
        Ok(())
    }

    /// Makes sure that a frame is open, in a group and a segment that have room.
    #[inline]
    fn open_frame(&mut self) -> Result<(), String> {
        if self.group.has_open_frame() { Ok(()) } else { self.open_new_frame() }
    }

    fn open_new_frame(&mut self) -> Result<(), String> {
        if self.segment.len.saturating_add(self.group.bytes.len() as u64) >= self.segment_limit() {
            self.roll().map_err(describe)?;
        } else if self.group.bytes.len() >= self.options.group_bytes {
            self.close_group().map_err(describe)?;
        }
        let offset = self.history.next_offset().0;
        match (&self.history.unit, &mut self.unit) {
            (Some(unit), Some(open)) => {
                open.sealed = true;
                self.group.open_frame(offset, BEGINS_INSIDE);
                put_resume(&mut self.group.bytes, &unit.transaction, unit.next_ordinal);
                put_origin(&mut self.group.bytes, open.origin.as_deref()).map_err(describe)?;
            }
            _ => self.group.open_frame(offset, 0),
        }
        Ok(())
    }

    /// Retention can only let the log begin where a segment begins between two units. So a segment waits a while for its
    /// last unit to end, and one that begins inside a unit ends with it. One of an older format is not gone on with.
    fn segment_limit(&self) -> u64 {
        let limit = self.options.segment_bytes;
        match (self.unit.is_some(), self.segment.inside || self.segment.older) {
            (true, _) => limit.saturating_add(limit / 4),
            (false, true) => 0,
            (false, false) => limit,
        }
    }

    /// Seals the frame between units if it is full.
    fn seal_full(&mut self) -> Result<(), String> {
        if self.group.frame_len() >= self.options.frame_bytes { self.group.seal().map_err(describe) } else { Ok(()) }
    }

    /// Seals the frame inside a unit if it is full.
    #[inline]
    fn seal_full_inside(&mut self) -> Result<(), String> {
        if self.group.frame_len() >= self.options.frame_bytes { self.seal().map_err(describe) } else { Ok(()) }
    }

    /// Seals the open frame, whatever it holds.
    fn seal(&mut self) -> Result<(), TooLong> {
        match &mut self.unit {
            Some(unit) if unit.serial == self.serial && self.group.has_open_frame() => {
                unit.sealed = true;
                self.group.seal_inside(&mut unit.mark)
            }
            Some(_) => self.group.seal_continued(),
            None => self.group.seal(),
        }
    }

    /// Ends the group: what is appended from here on is written after it is durable.
    fn close_group(&mut self) -> Result<(), TooLong> {
        self.seal()?;
        if self.group.bytes.is_empty() {
            return Ok(());
        }
        let next = Group::new(self.shared.buffer(), self.group.end(), self.group.previous);
        let bytes = std::mem::replace(&mut self.group, next).bytes;
        let byte = self.segment.len;
        self.segment.len = byte.saturating_add(bytes.len() as u64);
        self.serial = self.serial.wrapping_add(1);
        self.vouched = false;
        self.jobs.push(Job::Write { bytes, byte, closed: self.history.closed });
        Ok(())
    }

    /// Goes on in a new segment.
    fn roll(&mut self) -> Result<(), TooLong> {
        self.close_group()?;
        let (start, sequence) = (self.group.start, self.segment.sequence.saturating_add(1));
        let preamble = Preamble {
            log: self.shared.id,
            sequence,
            history: self.history.clone(),
            unit_place: self.unit.as_ref().map(OpenUnit::place),
        };
        let (bytes, crc) = preamble.encode(start, self.group.previous)?;
        let name = segment_name(sequence, self.history.next_offset().0);
        let len = bytes.len() as u64;
        let path = self.shared.directory.join(name);
        let crcs = [self.group.previous, crc];
        let segment = Arc::new(Segment::new(path, sequence, start, len, crcs, &self.history));
        self.jobs.push(Job::Roll { segment, bytes });
        let relations = std::mem::take(&mut self.relations);
        if let Some(unit) = self.unit.as_mut().filter(|unit| unit.left.is_none()) {
            let mut before = relations;
            before.truncate(unit.relations);
            unit.left = Some(before);
        }
        self.segment = Tail { sequence, len, inside: self.unit.is_some(), older: false };
        self.group = Group::new(self.shared.buffer(), start.saturating_add(len), crc);
        self.serial = self.serial.wrapping_add(1);
        Ok(())
    }

    /// Leaves the log as a clean stop should: no unit open, and a last frame that vouches for all before it.
    fn finish(&mut self) -> Result<(), String> {
        if self.unit.is_some() {
            self.abort()?;
        }
        self.close_group().map_err(describe)?;
        if !self.vouched {
            self.group.open_frame(self.history.next_offset().0, 0);
            self.close_group().map_err(describe)?;
        }
        Ok(())
    }
}

/// Writes what was appended, takes back an open transaction, and waits for the disk.
impl Drop for Writer {
    fn drop(&mut self) {
        if !self.shared.is_poisoned() && self.finish().is_ok() {
            // If it fails, the log is poisoned and has said so.
            let _ = self.hand_over();
        }
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the thread itself.
            let _ = thread.join();
        }
        self.shared.writing.store(false, Ordering::Release);
    }
}

fn describe(_: TooLong) -> String {
    "a record too long to be written".to_owned()
}

fn too_long(error: TooLong) -> LogError {
    LogError::Misuse(format!("the log was given {}", describe(error)))
}
