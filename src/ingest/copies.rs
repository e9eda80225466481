//! Which tables are to be copied, which generation of the copy is under way, which parts are read and which come next. Pure.
//!
//! The log keeps the records; this is their living form. A part is handed out under a ticket, and counts only when its chunk
//! is in the log: whatever happens to a worker, the part is handed out again. A copy that is begun again abandons the running one:
//! tickets of before are no longer known.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::capture::catalog::Table;
use crate::capture::snapshot::chunk::BYTES_WANTED;
use crate::capture::snapshot::owed::Owed;
use crate::capture::snapshot::step::Step;
use crate::capture::snapshot::throttle::Throttle;
use crate::capture::snapshot::window::Windows;
use crate::capture::snapshot::{Part, Refusal, Room, Survey, Ticket, Work};
use crate::event::Offset;
use crate::log::{Storage, TableSnapshot};
use crate::retry::Backoff;

/// A chunk's transaction may take so long. What takes longer is cancelled and asked for in smaller parts.
pub(super) const TIME_MAX: Duration = Duration::from_secs(10);
/// So many rows are read by key at once; fewer, where they are large.
const KEYS_AT_ONCE: usize = 500;
/// More rows owed than this are read by key before all places are.
const OWED_MANY: usize = 10_000;

/// The copies of a source's tables.
#[derive(Debug)]
pub(super) struct Copies {
    /// As the log has them, or is being given them.
    records: BTreeMap<u32, TableSnapshot>,
    /// What is not done.
    running: BTreeMap<u32, Running>,
    tickets: u64,
    throttle: Throttle,
}

#[derive(Debug)]
struct Running {
    table: Table,
    survey: Option<Survey>,
    /// What workers are at.
    out: BTreeMap<u64, Task>,
    step: Step,
    /// So many of the rows that are owed are read at once.
    keys_at_once: usize,
    not_before: Option<Instant>,
    backoff: Backoff,
    started: Option<(Instant, u64)>,
}

#[derive(Debug)]
enum Task {
    Survey,
    Read(Part),
}

/// How a table's copy goes on after a chunk.
#[derive(Debug)]
pub(super) struct Placed<'a> {
    pub(super) record: &'a TableSnapshot,
    /// It was the last one.
    pub(super) finished: bool,
}

/// For those who watch.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    pub(super) percent: f64,
    pub(super) remaining: Option<Duration>,
    pub(super) rows_estimate: Option<u64>,
}

impl Copies {
    /// Goes on from what the log says.
    pub(super) fn new(recovered: &[TableSnapshot], rate: Option<u64>) -> Self {
        let records = recovered.iter().map(|snapshot| (snapshot.oid, snapshot.clone())).collect();
        Copies { records, running: BTreeMap::new(), tickets: 0, throttle: Throttle::new(rate) }
    }

    /// A new connection: whoever was at work is gone. Of these tables those that are not done are to be copied.
    pub(super) fn resume(&mut self, tables: &[Table]) {
        self.running = BTreeMap::new();
        for table in tables {
            if self.records.get(&table.oid).is_none_or(|record| !record.done) {
                self.running.insert(table.oid, Running::new(table.clone()));
            }
        }
    }

    /// The copies that a former process began and read parts of, and where in the log what they brought begins.
    pub(super) fn begun_before(&self) -> Vec<(u32, Offset)> {
        let in_part = self.records.values().filter(|record| !record.done && !record.copied.is_empty());
        in_part.map(|record| (record.oid, record.begun)).collect()
    }

    /// Has those read from their beginning.
    pub(super) fn read_anew(&mut self) {
        self.records.values_mut().filter(|record| !record.done).for_each(|record| record.copied.clear());
    }

    /// The log's word on a table.
    pub(super) fn record(&self, oid: u32) -> Option<&TableSnapshot> {
        self.records.get(&oid)
    }

    /// The tables whose copy is done.
    pub(super) fn done(&self) -> Vec<u32> {
        self.records.iter().filter(|(_, record)| record.done).map(|(oid, _)| *oid).collect()
    }

    /// The tables that are being copied.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = u32> {
        self.running.keys().copied()
    }

    /// Its name, for people.
    pub(super) fn name(&self, oid: u32) -> String {
        self.running.get(&oid).map_or_else(|| format!("oid {oid}"), |running| running.table.name.to_string())
    }

    /// Whether anything is left to be copied.
    pub(super) fn is_done(&self) -> bool {
        self.running.is_empty()
    }

    /// Begins a table's copy: its first, or one more. The log must be given the record, durably, before anybody acts on it;
    /// `begun` is where its event stands there.
    pub(super) fn begin(&mut self, table: Table, reason: &str, begun: Offset) -> &TableSnapshot {
        let (oid, name) = (table.oid, table.name.clone());
        let generation = self.records.get(&oid).map_or(1, |record| record.generation.saturating_add(1));
        let reason = if generation == 1 { String::new() } else { bounded(reason) };
        self.running.insert(oid, Running::new(table));
        let record = TableSnapshot::begin(oid, name, generation, begun, reason);
        self.records.entry(oid).insert_entry(record).into_mut()
    }

    /// A further copy of the table has begun already, and brought nothing yet.
    pub(super) fn is_fresh(&self, oid: u32) -> bool {
        self.records.get(&oid).is_some_and(|record| record.generation > 1 && !record.done && record.copied.is_empty())
    }

    /// The sinks have a table's rows by its name, though the log may know no copy of it: that it is another cluster's now.
    pub(super) fn assume_copied(&mut self, table: &Table) {
        let known = || TableSnapshot::begin(table.oid, table.name.clone(), 1, Offset(0), String::new());
        self.records.entry(table.oid).or_insert_with(known);
    }

    /// Something to do for a worker, if there is anything to be done now.
    pub(super) fn next(&mut self, windows: &mut Windows, now: Instant) -> Option<Work> {
        if !self.throttle.allows(now) {
            return None;
        }
        let records = &self.records;
        for (oid, running) in &mut self.running {
            if running.not_before.is_some_and(|at| now < at) {
                continue;
            }
            let number = self.tickets;
            if let Some(work) = running.next(records.get(oid), Ticket { oid: *oid, number }, windows) {
                self.tickets += 1;
                return Some(work);
            }
        }
        None
    }

    /// When [`Copies::next`] should be asked again, if nothing else happens.
    pub(super) fn wake_at(&self, now: Instant) -> Option<Instant> {
        let backoffs = self.running.values().filter_map(|running| running.not_before).filter(|at| *at > now);
        backoffs.chain(self.throttle.wake_at(now)).min()
    }

    /// A table has been looked at. `end_of_log`: where the log ends.
    pub(super) fn surveyed(&mut self, ticket: Ticket, survey: Survey, end_of_log: Offset, now: Instant) {
        let Some(running) = self.running.get_mut(&ticket.oid) else { return };
        if running.out.remove(&ticket.number).is_none() {
            return;
        }
        let name = survey.target.table.name.clone();
        let record = self
            .records
            .entry(ticket.oid)
            .or_insert_with(|| TableSnapshot::begin(ticket.oid, name.clone(), 1, end_of_log, String::new()));
        record.name = name;
        let fingerprint = survey.target.storage;
        if record.storage.is_none_or(|storage| storage.fingerprint != fingerprint) {
            (record.rows, record.bytes) = (0, 0);
            record.storage = Some(Storage { fingerprint, end: survey.end });
            record.copied.clear();
        }
        running.backoff.reset();
        running.step = Step::first(&survey, BYTES_WANTED as u64);
        running.started = Some((now, copied_places(record)));
        running.survey = Some(survey);
    }

    /// Whether somebody still waits for this task.
    pub(super) fn knows(&self, ticket: Ticket) -> bool {
        self.running.get(&ticket.oid).is_some_and(|running| running.out.contains_key(&ticket.number))
    }

    /// A chunk goes into the log, less what the stream had overtaken: what the record says now belongs into the same unit.
    pub(super) fn place(
        &mut self,
        ticket: Ticket,
        added: Added,
        windows: &mut Windows,
        now: Instant,
    ) -> Option<Placed<'_>> {
        let running = self.running.get_mut(&ticket.oid)?;
        let Task::Read(part) = running.out.remove(&ticket.number)? else { return None };
        let record = self.records.get_mut(&ticket.oid)?;
        (record.rows, record.bytes) =
            (record.rows.saturating_add(added.rows), record.bytes.saturating_add(added.bytes));
        self.throttle.spent(added.bytes, now);
        running.backoff.reset();
        match (part, windows.owed(ticket.oid)) {
            (Part::Places(places), _) => {
                running.step.learn(&places, added.bytes, added.took);
                add(&mut record.copied, places);
            }
            // Those that were not found are gone, which the stream has said or will say.
            (Part::Keys(keys), Some(owed)) => keys.iter().for_each(|key| owed.forgive(key)),
            (Part::Keys(_), None) => {}
        }
        let finished = self.finish(ticket.oid, windows);
        self.records.get(&ticket.oid).map(|record| Placed { record, finished })
    }

    /// The next table whose copy is complete without another chunk: it has no places, or the stream brought what was owed.
    pub(super) fn complete(&mut self, windows: &mut Windows) -> Option<u32> {
        let surveyed = self.running.iter().filter(|(_, running)| running.survey.is_some() && running.out.is_empty());
        let oids: Vec<u32> = surveyed.map(|(oid, _)| *oid).collect();
        oids.into_iter().find(|oid| self.finish(*oid, windows))
    }

    /// The table is no longer there: nothing is left to be copied. The record that says so, if that is new.
    pub(super) fn gone(&mut self, oid: u32) -> Option<&TableSnapshot> {
        self.running.remove(&oid);
        let record = self.records.get_mut(&oid).filter(|record| !record.done)?;
        end(record);
        Some(record)
    }

    /// Ends a table's copy if nothing is left to be read.
    fn finish(&mut self, oid: u32, windows: &mut Windows) -> bool {
        let (Some(running), Some(record)) = (self.running.get_mut(&oid), self.records.get_mut(&oid)) else {
            return false;
        };
        let Some(storage) = record.storage else { return false };
        if !running.out.is_empty() || gap(&record.copied, storage.end).is_some() {
            return false;
        }
        if let Some(owed) = windows.owed(oid) {
            if owed.is_overflown() {
                // Nothing vouches for what was owed: all is read once more.
                tracing::warn!(table = %record.name, "too many rows changed without their TOAST values; the copy begins anew");
                owed.reopen();
                record.copied.clear();
                return false;
            }
            owed.close();
            if !owed.is_empty() {
                return false;
            }
        }
        end(record);
        self.running.remove(&oid);
        windows.forget(oid);
        true
    }

    /// A task was not done. Its error, where an operator may have to know, or [`Refusal::Gone`], which is the caller's to act on.
    pub(super) fn refused(&mut self, ticket: Ticket, why: Refusal, now: Instant) -> Option<Refusal> {
        let running = self.running.get_mut(&ticket.oid)?;
        let task = running.out.remove(&ticket.number)?;
        match why {
            Refusal::Changed => {
                running.survey = None;
                running.wait(now);
            }
            Refusal::TooLarge(bytes) => running.shrink(&task, bytes),
            Refusal::TooSlow => running.shrink(&task, 2 * BYTES_WANTED),
            Refusal::Failed(_) => {
                running.wait(now);
                return Some(why);
            }
            Refusal::Gone => return Some(why),
        }
        None
    }

    /// The window could not vouch for a chunk: it is to be read again, in a while.
    pub(super) fn void(&mut self, ticket: Ticket, now: Instant) {
        if let Some(running) = self.running.get_mut(&ticket.oid) {
            running.out.remove(&ticket.number);
            running.wait(now);
        }
    }

    /// How far a table's copy has come.
    pub(super) fn progress(&self, oid: u32, now: Instant) -> Progress {
        let (Some(running), Some(record)) = (self.running.get(&oid), self.records.get(&oid)) else {
            return Progress { percent: 100.0, ..Progress::default() };
        };
        let rows_estimate = match &running.survey {
            Some(survey) => survey.rows_estimate,
            None => running.table.rows_estimate,
        };
        let (Some(storage), Some((started, before))) = (record.storage, running.started) else {
            return Progress { rows_estimate, ..Progress::default() };
        };
        let copied = copied_places(record);
        let left = storage.end.saturating_sub(copied);
        let elapsed = now.saturating_duration_since(started).as_secs_f64();
        let remaining = (copied > before).then(|| elapsed * ratio(left, copied - before));
        Progress {
            // Not before the end is in the log.
            percent: (100.0 * ratio(copied, storage.end.max(1))).min(99.9),
            remaining: remaining.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            rows_estimate,
        }
    }
}

/// What a chunk brought.
#[derive(Clone, Copy, Debug)]
pub(super) struct Added {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) took: Duration,
}

impl Running {
    fn new(table: Table) -> Self {
        Running {
            table,
            survey: None,
            out: BTreeMap::new(),
            step: Step::block(BYTES_WANTED as u64),
            keys_at_once: KEYS_AT_ONCE,
            not_before: None,
            backoff: Backoff::default(),
            started: None,
        }
    }

    fn next(&mut self, record: Option<&TableSnapshot>, ticket: Ticket, windows: &mut Windows) -> Option<Work> {
        let Some(survey) = &self.survey else {
            if !self.out.is_empty() {
                return None;
            }
            let wait_for_writers = !windows.watches(ticket.oid);
            if wait_for_writers {
                windows.watch(ticket.oid);
            }
            self.out.insert(ticket.number, Task::Survey);
            return Some(Work::Survey { table: self.table.clone(), ticket, wait_for_writers });
        };
        let target = survey.target.clone();
        let part = self.part(record?, windows.owed(ticket.oid)?)?;
        windows.open(ticket.oid, ticket.number);
        self.out.insert(ticket.number, Task::Read(part.clone()));
        let time_max = (!self.step.is_least()).then_some(TIME_MAX);
        Some(Work::Read { target, ticket, part, time_max, room: Room::default() })
    }

    /// The next places that nobody has read or is reading; or, when there are none or much is owed, rows that are owed.
    fn part(&self, record: &TableSnapshot, owed: &Owed) -> Option<Part> {
        let mut taken = record.copied.clone();
        let mut reads_keys = false;
        for task in self.out.values() {
            match task {
                Task::Read(Part::Places(places)) => add(&mut taken, places.clone()),
                Task::Read(Part::Keys(_)) => reads_keys = true,
                Task::Survey => {}
            }
        }
        let gap = gap(&taken, record.storage?.end);
        let owed_now = if gap.is_none() { self.out.is_empty() && !owed.is_empty() } else { owed.len() > OWED_MANY };
        if owed_now && !reads_keys {
            return Some(Part::Keys(owed.some(self.keys_at_once)));
        }
        gap.map(|gap| Part::Places(self.step.cut(&gap)))
    }

    fn shrink(&mut self, task: &Task, bytes: usize) {
        match task {
            Task::Read(Part::Places(places)) => self.step.shrink(places, bytes as u64),
            Task::Read(Part::Keys(keys)) => self.keys_at_once = (keys.len() / 2).max(1),
            Task::Survey => {}
        }
    }

    fn wait(&mut self, now: Instant) {
        self.not_before = Some(now + self.backoff.next_delay());
    }
}

fn end(record: &mut TableSnapshot) {
    record.done = true;
    (record.storage, record.copied) = (None, Vec::new());
}

/// The first stretch below `end` that is not among these.
fn gap(taken: &[Range<u64>], end: u64) -> Option<Range<u64>> {
    let mut start = 0;
    for stretch in taken {
        if stretch.start > start {
            return Some(start..stretch.start.min(end)).filter(|gap| !gap.is_empty());
        }
        start = start.max(stretch.end);
    }
    (start < end).then_some(start..end)
}

/// Adds a stretch, joined with those it touches.
fn add(stretches: &mut Vec<Range<u64>>, new: Range<u64>) {
    let from = stretches.partition_point(|stretch| stretch.end < new.start);
    let to = stretches.partition_point(|stretch| stretch.start <= new.end);
    let touched = stretches.get(from..to).unwrap_or_default();
    let start = touched.first().map_or(new.start, |first| first.start.min(new.start));
    let end = touched.last().map_or(new.end, |last| last.end.max(new.end));
    stretches.splice(from..to, std::iter::once(start..end));
}

fn copied_places(record: &TableSnapshot) -> u64 {
    record.copied.iter().map(|stretch| stretch.end - stretch.start).sum()
}

/// Precise enough for people and for sizes.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// What the record and the status can bear.
fn bounded(reason: &str) -> String {
    reason.chars().take(200).collect()
}

#[cfg(test)]
mod tests;
