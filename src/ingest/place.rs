//! The streaming loop's part in the copy of existing rows: gives workers their tasks, puts chunks into the log at their places,
//! begins copies.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::IngestError;
use super::copies::{Added, Copies};
use super::flow::{Flow, Report, talking};
use crate::capture::CaptureError;
use crate::capture::catalog::{self, Table};
use crate::capture::snapshot::window::Verdict;
use crate::capture::snapshot::{Chunk, Refusal, Request, Ticket, Work};
use crate::event::{Lsn, Op, Relation, Timestamp, Transaction};
use crate::log::{Entry, LogWriter, TableSnapshot};

/// How long the stream may take to pass a chunk on its own.
const PATIENCE: Duration = Duration::from_millis(500);

/// A chunk enters the log only when less than this waits for the disk: while the disk is slow, a few chunks share an fsync, and
/// the writer's buffer stays small enough to be kept.
const PLACE_BELOW_BYTES: usize = 4 << 20;

/// So many chunks a worker may wait for their places, so that the server goes on sending while the disk takes a breath.
const WAITING_PER_WORKER: usize = 2;

/// A copy that is to begin, at the next place between two transactions.
pub(super) struct Beginning {
    table: Table,
    reason: String,
    sweeps: bool,
    begun: oneshot::Sender<Result<(), CaptureError>>,
}

/// What is to be told once the log is durable up to an offset.
pub(super) struct Awaited {
    offset: u64,
    table: TableSnapshot,
    begun: Option<oneshot::Sender<Result<(), CaptureError>>>,
}

/// A chunk that waits for its place.
pub(super) struct Waiting {
    chunk: Chunk,
    since: Instant,
}

/// The beginning of a table's copy, to be put into the log between two transactions.
pub(super) struct Begin<'a> {
    pub(super) table: Table,
    /// Why it is copied again, for people.
    pub(super) reason: &'a str,
    /// The table as it is now.
    pub(super) relation: &'a Arc<Relation>,
    /// What was confirmable before.
    pub(super) confirmable: Lsn,
}

impl Begin<'_> {
    /// Appends it, from the second copy on with the event that tells of it. Nobody may act on it before it is durable; a crash
    /// before that forgets it whole. `unit` is where it is placed; returns how many events it took there.
    pub(super) fn append(
        self,
        copies: &mut Copies,
        unit: &Transaction,
        writer: &mut impl LogWriter,
    ) -> Result<u64, IngestError> {
        tracing::info!(table = %self.table.name, reason = self.reason, "the table is copied from here on");
        writer.append(Entry::Begin(unit))?;
        let record = copies.begin(self.table, self.reason, writer.next_offset());
        let mut events = 0;
        if record.generation > 1 {
            writer.append(Entry::CopyBegun { relation: self.relation })?;
            events = 1;
        }
        writer.append(Entry::Snapshot(record))?;
        writer.append(Entry::Commit { end_lsn: self.confirmable })?;
        Ok(events)
    }
}

impl<W: LogWriter> Flow<'_, W> {
    pub(super) fn serve(&mut self, request: Request) {
        let now = Instant::now();
        match request {
            Request::Idle(worker) => self.idle.push_back(worker),
            Request::Surveyed { ticket, survey } => {
                self.relations.insert(ticket.oid, survey.target.published.relation.clone());
                self.copies.surveyed(ticket, survey, self.writer.next_offset(), now);
                self.report_table(ticket.oid);
            }
            Request::Place(chunk) => {
                if self.copies.knows(chunk.ticket) {
                    if self.passed < chunk.seen_upto {
                        self.feedback.ask();
                    }
                    self.waiting.push_back(Waiting { chunk, since: now });
                }
            }
            Request::Refused { ticket, why } => self.refused(ticket, why, now),
            Request::Copy { table, reason, sweeps, begun } => {
                self.beginnings.push_back(Beginning { table, reason, sweeps, begun });
            }
        }
    }

    /// Takes all that workers ask for, so that none waits while a chunk is put into the log.
    pub(super) fn serve_all(&mut self) {
        while let Ok(request) = self.requests.try_recv() {
            self.serve(request);
        }
        self.dispatch();
    }

    fn refused(&mut self, ticket: Ticket, why: Refusal, now: Instant) {
        self.window.close(ticket.oid, ticket.number);
        match self.copies.refused(ticket, why, now) {
            Some(Refusal::Failed(error)) => {
                let table = self.copies.name(ticket.oid);
                (self.report)(Report::Trouble { table: &table, error: &error });
            }
            Some(Refusal::Gone) => self.gone.push_back(ticket.oid),
            _ => {}
        }
    }

    /// Gives idle workers what there is to do, as long as not too many chunks wait for their places.
    pub(super) fn dispatch(&mut self) {
        let now = Instant::now();
        while self.waiting.len() < WAITING_PER_WORKER * self.workers
            && let Some(worker) = self.idle.pop_front()
        {
            if worker.is_closed() {
                continue;
            }
            match self.copies.next(&mut self.window, now).map(|work| self.with_room(work)) {
                // If the worker has gone, so has the connection, and the next session hands it out again.
                Some(work) => _ = worker.send(work),
                None => {
                    self.idle.push_front(worker);
                    break;
                }
            }
        }
        self.nudge(now);
    }

    fn with_room(&mut self, mut work: Work) -> Work {
        if let Work::Read { room, .. } = &mut work {
            *room = self.rooms.pop().unwrap_or_default();
        }
        work
    }

    /// Lets a worker make the server write something, when the stream does not pass a chunk by itself.
    fn nudge(&mut self, now: Instant) {
        let passed = self.passed;
        let Some(oldest) = self.waiting.iter_mut().find(|waiting| passed < waiting.chunk.seen_upto) else { return };
        if now.saturating_duration_since(oldest.since) >= PATIENCE
            && let Some(worker) = self.idle.pop_front()
        {
            oldest.since = now;
            let _ = worker.send(Work::Nudge);
        }
    }

    /// Puts waiting chunks into the log, if the stream stands between two transactions and behind all they saw.
    pub(super) fn place_chunks(&mut self) -> Result<(), IngestError> {
        if self.is_inside_unit() {
            return Ok(());
        }
        let passed = self.passed;
        // As fast as the disk takes them; the others wait, and so do the workers behind them.
        while self.writer.pending_bytes() < PLACE_BELOW_BYTES
            && let Some(at) = self.waiting.iter().position(|waiting| passed >= waiting.chunk.seen_upto)
            && let Some(Waiting { chunk, .. }) = self.waiting.remove(at)
        {
            let Ticket { oid, number } = chunk.ticket;
            if !self.copies.knows(chunk.ticket) {
                // Another copy of the table has begun since.
            } else if self.window.accept(oid, number, &chunk.visibility) {
                self.append_chunk(&chunk)?;
            } else {
                self.copies.void(chunk.ticket, Instant::now());
            }
            self.window.close(oid, number);
            self.rooms.extend(chunk.rows.into_room());
            self.rooms.truncate(WAITING_PER_WORKER * self.workers);
        }
        while let Some(oid) = self.gone.pop_front() {
            self.append_gone(oid)?;
        }
        while let Some(oid) = self.copies.complete(&mut self.window) {
            self.append_complete(oid)?;
        }
        Ok(())
    }

    fn append_chunk(&mut self, chunk: &Chunk) -> Result<(), IngestError> {
        let relation = &chunk.target.published.relation;
        self.writer.append(Entry::Begin(&self.transactions.chunk_unit(chunk.taken_at)))?;
        let mut kept = 0;
        if self.window.is_untouched(relation.oid) {
            for body in chunk.rows.bodies() {
                self.writer.append(Entry::Change { op: Op::Read, relation, body })?;
                kept += 1;
            }
        } else {
            for (body, row) in chunk.rows.rows() {
                match self.window.judge(&chunk.visibility, relation, &row) {
                    Verdict::Keep => self.writer.append(Entry::Change { op: Op::Read, relation, body })?,
                    Verdict::Drop => continue,
                    Verdict::Complete(row) => {
                        let body = [b"N", row.as_bytes().as_ref()].concat();
                        self.writer.append(Entry::Change { op: Op::Read, relation, body: &body })?;
                    }
                }
                kept += 1;
            }
        }
        let bytes = u64::try_from(chunk.rows.bytes()).unwrap_or(u64::MAX);
        let added = Added { rows: kept, bytes, took: chunk.took };
        if let Some(placed) = self.copies.place(chunk.ticket, added, &mut self.window, Instant::now()) {
            if placed.finished && placed.record.generation > 1 {
                self.writer.append(Entry::CopyDone { relation, since: placed.record.begun })?;
                kept += 1;
            }
            self.writer.append(Entry::Snapshot(placed.record))?;
        }
        self.end_unit(kept, relation.oid)
    }

    /// A copy that is complete without another chunk.
    fn append_complete(&mut self, oid: u32) -> Result<(), IngestError> {
        let Some(record) = self.copies.record(oid).cloned() else { return Ok(()) };
        self.writer.append(Entry::Begin(&self.transactions.chunk_unit(self.last_time())))?;
        let mut events = 0;
        if record.generation > 1
            && let Some(relation) = self.relations.get(&oid)
        {
            self.writer.append(Entry::CopyDone { relation, since: record.begun })?;
            events = 1;
        }
        self.writer.append(Entry::Snapshot(&record))?;
        self.end_unit(events, oid)
    }

    /// A table is gone in the middle of its copy. What becomes of its documents is the watcher's to say, who sees whether
    /// another table has its name.
    pub(super) fn append_gone(&mut self, oid: u32) -> Result<(), IngestError> {
        self.window.forget(oid);
        let Some(record) = self.copies.gone(oid).cloned() else { return Ok(()) };
        tracing::warn!(table = %record.name, "the table is gone; its copy ends");
        self.writer.append(Entry::Begin(&self.transactions.chunk_unit(self.last_time())))?;
        self.writer.append(Entry::Snapshot(&record))?;
        self.end_unit(0, oid)
    }

    /// Closes a unit that stands between two transactions, and remembers whom to tell when it is durable.
    fn end_unit(&mut self, events: u64, oid: u32) -> Result<(), IngestError> {
        self.writer.append(Entry::Commit { end_lsn: self.logged })?;
        self.count_unit(events);
        self.await_durable(oid);
        Ok(())
    }

    /// So many events were appended in a unit between two transactions.
    pub(super) fn count_unit(&mut self, events: u64) {
        self.transactions.chunk_placed(events);
        self.appended += events;
    }

    fn await_durable(&mut self, oid: u32) {
        if let Some(table) = self.copies.record(oid).cloned() {
            self.awaited.push_back(Awaited { offset: self.appended, table, begun: None });
        }
    }

    /// Begins the copies that were asked for, if the stream stands between two transactions.
    pub(super) async fn begin_copies(&mut self) -> Result<(), IngestError> {
        while !self.is_inside_unit()
            && let Some(Beginning { table, reason, sweeps, begun }) = self.beginnings.pop_front()
        {
            let asked = catalog::describe(&mut self.catalog, &table, &self.publication, &mut self.types);
            match talking(&mut self.stream, &mut self.feedback, asked).await? {
                Ok(published) => {
                    if sweeps {
                        self.copies.assume_copied(&table);
                    }
                    self.append_begun(table, &reason, published.relation)?;
                    if let Some(awaited) = self.awaited.back_mut() {
                        awaited.begun = Some(begun);
                    }
                }
                Err(error @ CaptureError::Unreachable { .. }) => return Err(error.into()),
                // Whoever asked has what is wrong, and may ask again.
                Err(error) => _ = begun.send(Err(error)),
            }
        }
        Ok(())
    }

    fn append_begun(&mut self, table: Table, reason: &str, relation: Arc<Relation>) -> Result<(), IngestError> {
        let oid = table.oid;
        let unit = self.transactions.chunk_unit(self.last_time());
        let beginning = Begin { table, reason, relation: &relation, confirmable: self.logged };
        let events = beginning.append(self.copies, &unit, self.writer)?;
        self.count_unit(events);
        self.window.begin_again(oid);
        self.hints.copying(oid);
        self.relations.insert(oid, relation);
        self.await_durable(oid);
        Ok(())
    }

    fn report_table(&mut self, oid: u32) {
        let progress = self.copies.progress(oid, Instant::now());
        if let Some(table) = self.copies.record(oid) {
            (self.report)(Report::Table(table, &progress));
        }
    }

    fn last_time(&self) -> Timestamp {
        self.durable.borrow().commit_time.unwrap_or_else(Timestamp::now)
    }

    /// Tells what has become durable.
    pub(super) fn tell_copies(&mut self, durable_offset: u64) {
        while let Some(awaited) = self.awaited.pop_front_if(|awaited| awaited.offset <= durable_offset) {
            if let Some(begun) = awaited.begun {
                let _ = begun.send(Ok(()));
            }
            if awaited.table.done {
                self.hints.copied(awaited.table.oid);
            }
            let progress = self.copies.progress(awaited.table.oid, Instant::now());
            (self.report)(Report::Table(&awaited.table, &progress));
        }
    }
}
