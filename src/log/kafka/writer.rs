//! The log's writing side: numbers and encodes what is appended, and hands it to the sender.

mod transactions;

use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use tokio::sync::{oneshot, watch};

use super::Options;
use super::control::{
    EventHeaders, Rest, copy_record, epoch_record, relation_record, snapshot_record, state_record, truncate_record,
    void_record,
};
use super::group::{Group, Mark, Meta};
use super::sender::{Job, Sender, Shared};
use super::start::{Start, start};
use crate::decode::DecodeError;
use crate::event::{Lsn, Offset, Op, Relation, Transaction};
use crate::kafka::KafkaError;
use crate::kafka::format::{Format, Records, push_unsigned};
use crate::kafka::settings::Delivery;
use crate::kafka::tables::Tables;
use crate::kafka::unit::Unit;
use crate::log::embedded::directory;
use crate::log::history::History;
use crate::log::record::{put_copy_begun, put_copy_done};
use crate::log::{Durable, Entry, LogError, LogWriter, Recovered};

/// More events than a sender can have sent without committing: each has some 20 bytes at the least.
const GHOSTS_MAX: u64 = 1 << 24;
/// What counts as waiting when only the state has changed.
const STATE_BYTES: usize = 64;

/// The log's writer. Opened by the first [`LogWriter::open`].
pub struct Writer {
    options: Arc<Options>,
    open: Option<Open>,
    /// Shows what was durable while there is no sender.
    closed: watch::Sender<Durable>,
    _lock: directory::Lock,
}

/// While it is open.
struct Open {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Job>,
    durable: watch::Receiver<Durable>,
    history: History,
    writer: u64,
    tables: Tables,
    /// How many topics the sender knows of.
    topics_told: usize,
    /// And how many schemas.
    schemas_told: usize,
    group: Group,
    unit: Unit,
    format: Format,
    /// Where the group is taken back to if the open unit is.
    mark: Mark,
    /// The unit that is in the log in part, unless it is open.
    rest: Option<Rest>,
    /// Of the open unit, what the sender has.
    handed: Option<Rest>,
    /// So many of the open unit's events are in the log.
    skip: u64,
    /// That the open unit begins is told, if it is to be told.
    told_begin: bool,
    /// Records that are made only to be counted.
    scratch: Records,
    /// Something has changed since the last hand-over.
    changed: bool,
    /// Something was handed over since the last time that all was durable.
    unsynced: bool,
    bytes: u64,
}

/// Where a record goes, and what it is of.
#[derive(Clone, Copy)]
struct Destination {
    topic: u32,
    schemas: Option<u32>,
    first_partition: bool,
}

impl Writer {
    /// A log that is not open yet. Takes the directory, so that no other process of this machine has it.
    ///
    /// # Errors
    /// The directory cannot be had.
    pub fn new(options: Options) -> Result<Self, LogError> {
        directory::prepare(&options.directory)?;
        let lock = directory::lock(&options.directory)?;
        let closed = watch::Sender::new(Durable::default());
        Ok(Writer { options: Arc::new(options), open: None, closed, _lock: lock })
    }

    fn opened(&mut self) -> Result<&mut Open, LogError> {
        let open = self.open.as_mut().ok_or_else(|| LogError::Misuse("the log is not open".to_owned()))?;
        if open.shared.has_failed() { Err(open.shared.failure().into()) } else { Ok(open) }
    }
}

/// Starts the sender, which does the opening, and waits for what it found.
async fn begin(options: Arc<Options>) -> Result<Open, LogError> {
    let (queue, jobs) = mpsc::channel();
    let (tell, told) = oneshot::channel();
    let shared = Arc::new(Shared::new());
    let (theirs, settings) = (Arc::clone(&shared), Arc::clone(&options));
    let body = move || match start(&settings) {
        Ok((clients, producers, start)) => {
            let writer = start.control.state.writer;
            let durable = watch::Sender::new(start.control.state.history.closed);
            let receiver = durable.subscribe();
            match Sender::new(settings, clients, producers, theirs, durable, writer) {
                Err(error) => drop(tell.send(Err(error))),
                Ok(sender) => drop(tell.send(Ok((start, receiver))).map(|()| sender.run(&jobs))),
            }
        }
        // Whoever waited may have gone.
        Err(error) => drop(tell.send(Err(error))),
    };
    let name = format!("kafka-{}", options.source);
    let thread = std::thread::Builder::new().name(name).spawn(body);
    thread.map_err(|error| LogError::Misuse(format!("no thread for the log: {error}")))?;
    let told = told.await.map_err(|_| LogError::Misuse("the log's thread ended".to_owned()))?;
    let (start, durable) = told?;
    Ok(Open::new(&options, start, shared, queue, durable))
}

impl Open {
    fn new(
        options: &Options,
        start: Start,
        shared: Arc<Shared>,
        queue: mpsc::Sender<Job>,
        durable: watch::Receiver<Durable>,
    ) -> Self {
        let Start { control, records } = start;
        let settings = &options.settings;
        let records_settings = settings.of_records(&options.source, &options.database);
        let history = control.history();
        let mut group = shared.group();
        group.versions = records;
        let is_new = control.state.writer <= 1;
        let mut open = Open {
            unit: Unit::new(&records_settings),
            format: settings.format,
            tables: Tables::new(&options.source, settings, records_settings, control.relations),
            bytes: history.closed.bytes,
            writer: control.state.writer,
            rest: control.state.rest,
            history,
            shared,
            queue,
            durable,
            topics_told: 0,
            schemas_told: 0,
            group,
            mark: Mark::default(),
            handed: None,
            skip: 0,
            told_begin: false,
            scratch: Records::default(),
            changed: true,
            unsynced: true,
        };
        if options.settings.delivery == Delivery::AtLeastOnce && !is_new {
            open.pass_over_ghosts();
        }
        open
    }

    /// Records that are in the topics and in no state, because the writer before ended between the two, have numbers that
    /// nothing else must get: what comes again need not come in the same order.
    fn pass_over_ghosts(&mut self) {
        let rest = self.rest.take().map_or(0, |rest| rest.events);
        self.void(rest.saturating_add(GHOSTS_MAX));
    }

    fn recovered(&self) -> Recovered {
        Recovered {
            epoch: self.history.epoch.clone(),
            durable: self.history.closed,
            snapshots: self.history.snapshots.values().cloned().collect(),
            truncated_bytes: 0,
        }
    }

    #[inline]
    fn put(&mut self, entry: Entry<'_>) -> Result<(), LogError> {
        self.changed = true;
        match entry {
            Entry::Change { op, relation, body } => self.put_change(op, relation, body),
            Entry::Begin(transaction) => self.put_begin(transaction),
            Entry::Commit { end_lsn } => self.put_commit(end_lsn),
            Entry::Message { prefix, content } => self.put_message(prefix, content),
            Entry::CopyBegun { relation } => self.put_copy(relation, None),
            Entry::CopyDone { relation, since } => self.put_copy(relation, Some(since)),
            Entry::Snapshot(snapshot) => {
                self.history.snapshot(snapshot).map_err(misuse)?;
                self.group.control.push(snapshot_record(snapshot).map_err(|_| too_long())?);
                Ok(())
            }
            Entry::Abort => self.abort(),
            Entry::Epoch(epoch) => {
                self.void_rest();
                self.history.epoch(epoch).map_err(misuse)?;
                self.group.control.push(epoch_record(epoch).map_err(|_| too_long())?);
                Ok(())
            }
            Entry::Progress(lsn) => self.history.progress(lsn).map_err(misuse),
        }
    }

    fn put_begin(&mut self, transaction: &Transaction) -> Result<(), LogError> {
        self.skip = 0;
        match self.rest.take() {
            Some(rest) if rest.transaction.is_same_unit(transaction) => {
                self.skip = rest.events;
                self.handed = Some(rest);
            }
            rest => {
                self.rest = rest;
                self.void_rest();
            }
        }
        self.history.begin(transaction).map_err(misuse)?;
        self.mark = self.group.mark();
        self.unit.begin(transaction);
        self.told_begin = self.skip > 0;
        Ok(())
    }

    /// What is in the topics of a unit that never comes again in full counts as never written.
    fn void_rest(&mut self) {
        if let Some(rest) = self.rest.take() {
            self.void(rest.events);
        }
    }

    /// The numbers of so many events are passed over.
    fn void(&mut self, events: u64) {
        let from = self.history.closed.offset;
        self.group.control.push(void_record(from, events));
        self.history.closed.offset = Offset(from.0.saturating_add(events));
    }

    /// Counts an event. `None`: it is in the log already.
    #[inline]
    fn event(&mut self, op: Op, oid: u32) -> Result<Option<(Offset, u64)>, LogError> {
        let offset = self.history.next_offset();
        let ordinal = self.history.event().map_err(misuse)?;
        self.unit.count(op, oid);
        if self.skip == 0 {
            return Ok(Some((offset, ordinal)));
        }
        self.skip -= 1;
        if self.skip == 0 && self.handed.as_ref().is_some_and(|rest| rest.digest != self.unit.digest()) {
            return Err(KafkaError::Control {
                topic: crate::kafka::topic::control(&self.unit.source),
                detail: "a transaction that lies in the topics in part is sent again with other changes: the source's tables or \
                         messages were chosen anew meanwhile. Choose as before, start once, then change them"
                    .to_owned(),
            }
            .into());
        }
        Ok(None)
    }

    #[inline]
    fn put_change(&mut self, op: Op, relation: &Arc<Relation>, body: &[u8]) -> Result<(), LogError> {
        let Some((offset, ordinal)) = self.event(op, relation.oid)? else { return self.recount(op, relation, body) };
        self.tell_begin();
        let (version, new) = self.tables.version(relation)?;
        if new {
            self.group.versions.push(relation_record(version.id, relation).map_err(|_| too_long())?);
        }
        let before = self.group.records.len();
        let encoded = version.encoder.change(&mut self.unit.format, ordinal, op, body, &mut self.group.records);
        encoded.map_err(|error| unreadable(relation, &error))?;
        let to = Destination { topic: version.topic, schemas: version.schemas, first_partition: op == Op::Truncate };
        let id = version.id;
        if op == Op::Truncate {
            let name = self.tables.topics_from(to.topic as usize).first().map_or("", |topic| topic.name.as_str());
            self.group.control.push(truncate_record(name, offset));
        }
        self.describe(before, to, id, offset, ordinal);
        Ok(())
    }

    fn put_message(&mut self, prefix: &str, content: &[u8]) -> Result<(), LogError> {
        let Some((offset, ordinal)) = self.event(Op::Message, 0)? else {
            self.recount_message(prefix, content);
            return Ok(());
        };
        self.tell_begin();
        let (topic, schemas) = self.tables.messages();
        let before = self.group.records.len();
        self.format.message(&mut self.unit.format, ordinal, prefix, content, &mut self.group.records);
        self.describe(before, Destination { topic, schemas, first_partition: false }, 0, offset, ordinal);
        Ok(())
    }

    /// Says of the records added since what their headers and places are.
    #[inline]
    fn describe(&mut self, before: usize, to: Destination, id: u32, offset: Offset, ordinal: u64) {
        let offset = self.group.put_text(|out| push_unsigned(offset.0, out));
        let position = self.group.put_text(|out| self.unit.put_position(ordinal, out));
        let unit = self.group.put_text(|out| self.unit.put_unit(id, out));
        let meta = Meta {
            topic: to.topic,
            schemas: to.schemas,
            first_partition: to.first_partition,
            dropped: false,
            timestamp_ms: self.unit.timestamp_ms,
            offset,
            position,
            unit,
        };
        for _ in before..self.group.records.len() {
            self.group.metas.push(meta.clone());
        }
    }

    fn put_copy(&mut self, relation: &Arc<Relation>, since: Option<Offset>) -> Result<(), LogError> {
        let offset = self.history.next_offset();
        let ordinal = match since {
            None => self.history.copy_begun(relation.oid),
            Some(since) => self.history.copy_done(relation.oid, since),
        };
        ordinal.map_err(misuse)?;
        let ordinal = self.history.last_position().map_or(0, |position| position.ordinal);
        let (version, new) = self.tables.version(relation)?;
        let id = version.id;
        if new {
            self.group.versions.push(relation_record(id, relation).map_err(|_| too_long())?);
        }
        let text = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            write(&mut out);
            out
        };
        let headers = EventHeaders {
            offset: text(&|out| push_unsigned(offset.0, out)),
            position: text(&|out| self.unit.put_position(ordinal, out)),
            unit: text(&|out| self.unit.put_unit(id, out)),
        };
        let record = copy_record(offset, headers, |out| match since {
            None => put_copy_begun(out, id),
            Some(since) => put_copy_done(out, id, since),
        });
        self.group.control.push(record);
        Ok(())
    }

    fn put_commit(&mut self, end_lsn: Lsn) -> Result<(), LogError> {
        let bytes = self.bytes.saturating_add(self.group.bytes() as u64);
        self.history.commit(end_lsn, bytes).map_err(misuse)?;
        self.tell_end();
        self.handed = None;
        Ok(())
    }

    /// What the sender has of the unit stays; the unit comes again.
    fn abort(&mut self) -> Result<(), LogError> {
        self.history.abort().map_err(misuse)?;
        self.group.cut(self.mark);
        self.rest = self.handed.take();
        Ok(())
    }

    fn in_chunk(&self) -> bool {
        self.history.unit.as_ref().is_some_and(|unit| unit.transaction.xid == 0)
    }

    /// Gives what there is to the sender, who is free for it.
    fn hand_over(&mut self, urgent: bool) -> Result<(), LogError> {
        if let Some(unit) = &self.history.unit {
            let events = unit.next_ordinal.saturating_sub(unit.transaction.first_ordinal);
            if self.skip == 0 && events > 0 {
                let transaction = Transaction::clone(&unit.transaction);
                self.handed = Some(Rest { transaction, events, digest: self.unit.digest() });
            }
            self.mark = Mark::default();
        }
        let rest = self.handed.as_ref().or(self.rest.as_ref());
        let state = state_record(self.writer, &self.history, rest);
        let group = std::mem::replace(&mut self.group, self.shared.group());
        self.bytes = self.bytes.saturating_add(group.bytes() as u64);
        let topics = self.tables.topics_from(self.topics_told).to_vec();
        self.topics_told = self.topics_told.saturating_add(topics.len());
        let schemas = self.tables.schemas_from(self.schemas_told).to_vec();
        self.schemas_told = self.schemas_told.saturating_add(schemas.len());
        let inside = self.history.unit.is_some();
        let job = Job { group, topics, schemas, state, durable: self.history.closed, inside, urgent };
        (self.changed, self.unsynced) = (false, true);
        self.queue.send(job).map_err(|_| LogError::from(self.shared.failure()))
    }

    async fn await_sender(&self) -> Result<(), LogError> {
        let permit = self.shared.idle.acquire().await.map_err(|_| LogError::from(self.shared.failure()))?;
        permit.forget();
        Ok(())
    }
}

impl LogWriter for Writer {
    /// Two batches: one is sent while the next is encoded, and records are larger than the rows that they are made of.
    const PENDING_BYTES_MAX: usize = 2 << 20;

    async fn open(&mut self) -> Result<Option<Recovered>, LogError> {
        if self.is_open() {
            return Ok(None);
        }
        self.open = None;
        let open = begin(Arc::clone(&self.options)).await?;
        let recovered = open.recovered();
        tracing::info!(source = %self.options.source, writer = open.writer, events = %recovered.durable.offset,
            end_lsn = %recovered.durable.end_lsn, "log opened in Kafka");
        self.closed.send_replace(recovered.durable);
        self.open = Some(open);
        // That it is ours from now on is written before anything else.
        self.sync().await?;
        Ok(Some(recovered))
    }

    fn is_open(&self) -> bool {
        self.open.as_ref().is_some_and(|open| !open.shared.has_failed())
    }

    fn awaits_rest(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.rest.is_some())
    }

    #[inline]
    fn append(&mut self, entry: Entry<'_>) -> Result<(), LogError> {
        self.opened()?.put(entry)
    }

    fn in_transaction(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.history.unit.is_some())
    }

    fn next_offset(&self) -> Offset {
        self.open.as_ref().map_or(Offset(0), |open| open.history.next_offset())
    }

    #[inline]
    fn pending_bytes(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.group.bytes() + if open.changed { STATE_BYTES } else { 0 })
    }

    fn can_flush(&self) -> bool {
        // One that has failed is asked, so that it tells.
        self.open.as_ref().is_some_and(|open| open.shared.idle.available_permits() > 0 || open.shared.has_failed())
    }

    async fn flush(&mut self) -> Result<(), LogError> {
        let open = self.opened()?;
        if !open.changed || open.in_chunk() {
            return Ok(());
        }
        open.await_sender().await?;
        open.hand_over(false)
    }

    async fn sync(&mut self) -> Result<Durable, LogError> {
        let open = self.opened()?;
        if open.changed || open.unsynced {
            open.await_sender().await?;
            open.hand_over(true)?;
            open.await_sender().await?;
            open.shared.idle.add_permits(1);
            open.unsynced = false;
        }
        let durable = *open.durable.borrow();
        Ok(durable)
    }

    fn durable(&self) -> watch::Receiver<Durable> {
        self.open.as_ref().map_or_else(|| self.closed.subscribe(), |open| open.durable.clone())
    }

    fn beside(&self) -> PathBuf {
        self.options.directory.join("spill")
    }
}

fn unreadable(relation: &Relation, error: &DecodeError) -> LogError {
    LogError::Misuse(format!("a change of {} cannot be read: {error}", relation.name))
}

fn misuse(detail: String) -> LogError {
    LogError::Misuse(format!("the log was given {detail}"))
}

fn too_long() -> LogError {
    LogError::Misuse("a record too long to be written".to_owned())
}
