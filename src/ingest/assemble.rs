//! From the pgoutput messages of committed transactions to log entries: a state machine beside the ingest loop. No I/O.
//!
//! A transaction is begun in the log with its first change that anybody wants; one without any leaves no trace but the
//! progress of the stream. Transactions that the log already has are passed over whole: after a reconnect PostgreSQL sends
//! again from where we last confirmed, and only the commit's LSN tells them apart.
//!
//! A logical message outside any transaction is a unit of its own, at its record's last byte. It is sent as soon as it is decoded, as
//! a transaction is when its commit is, so both come in the order of the WAL and one order holds for both.

use std::sync::Arc;

use super::relations::Relations;
use super::spill::Settling;
use super::versions::Versions;
use super::{IngestError, OnTruncate};
use crate::capture::CaptureError;
use crate::capture::snapshot::window::Windows;
use crate::decode::message::{Begin, Commit, LogicalMessage, Message, Origin, Relation as Announced, Truncate};
use crate::decode::{self, binary, shape};
use crate::event::{
    Column, Lsn, MessageFilter, Op, Position, Relation, ReplicaIdentity, Shape, TableFilter, TableName, Timestamp,
    Transaction,
};
use crate::log::Entry;
use crate::status::Code;

/// Where the entries go.
pub(super) trait Append {
    fn append(&mut self, entry: Entry<'_>) -> Result<(), IngestError>;
}

/// What of the stream becomes events.
#[derive(Clone)]
pub(super) struct Wanted {
    /// Tables.
    pub(super) tables: TableFilter,
    /// Logical messages, by their prefix.
    pub(super) messages: MessageFilter,
    /// Transactions that came to the source by replication.
    pub(super) foreign: bool,
    /// Truncates.
    pub(super) on_truncate: OnTruncate,
}

/// The state of one stream.
pub(super) struct Assembler {
    epoch: u32,
    /// The last event in the log, or just before the first possible one.
    last: Position,
    pub(super) versions: Versions,
    relations: Relations,
    wanted: Wanted,
    open: Option<Open>,
}

struct Open {
    begin: Begin,
    origin: Option<Arc<str>>,
    progress: Progress,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// The log has this transaction, or is not to have it.
    PassedOver,
    /// Nothing wanted in it so far.
    Empty,
    /// Begun in the log; so many changes appended.
    Written(u64),
}

/// What a message led to.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing to act on.
    Done,
    /// A transaction ended before this LSN. If it has any events in the log, this LSN is confirmable once they are durable.
    Committed { end_lsn: Lsn, events: u64 },
    /// A table was announced, perhaps because its definition changed.
    Announced,
    /// A table was announced that needs the catalog; give the completed relation to [`Assembler::learn`] before the next
    /// message, or its rows are left out.
    Describe(Relation),
    /// A transaction was prepared before this LSN. It must be durable, and [`super::transactions::Transactions::settled`] told so,
    /// before the next message.
    Settle { settling: Settling, end_lsn: Lsn },
}

impl Assembler {
    /// A stream that goes on behind `last`. Before an epoch's first event that is a Position just before its start.
    pub(super) fn new(epoch: u32, last: Position, wanted: Wanted, relations: Relations) -> Self {
        Assembler { epoch, last, versions: Versions::default(), relations, wanted, open: None }
    }

    /// Which tables are left out.
    pub(super) fn relations(&mut self) -> &mut Relations {
        &mut self.relations
    }

    /// Whether the stream stands inside a transaction.
    pub(super) fn in_transaction(&self) -> bool {
        self.open.is_some()
    }

    /// Whether the log has what was committed at this LSN.
    pub(super) fn knows(&self, commit_lsn: Lsn) -> bool {
        commit_lsn <= self.last.commit_lsn
    }

    /// The unit that a snapshot chunk's rows go into: placed behind the last event.
    pub(super) fn chunk_unit(&self, commit_time: crate::event::Timestamp) -> Transaction {
        let (commit_lsn, first_ordinal) = (self.last.commit_lsn, self.last.ordinal.saturating_add(1));
        Transaction { epoch: self.epoch, xid: 0, commit_lsn, commit_time, first_ordinal, origin: None }
    }

    /// So many events were appended in a unit from [`Assembler::chunk_unit`].
    pub(super) fn chunk_placed(&mut self, events: u64) {
        self.last.ordinal = self.last.ordinal.saturating_add(events);
    }

    /// A relation as completed from the catalog.
    pub(super) fn learn(&mut self, relation: Relation) {
        self.versions.set(relation.oid, Some(Arc::new(relation)));
    }

    /// Takes one pgoutput message; `sent_at` is the server's clock then.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        sent_at: Timestamp,
        window: &mut Windows,
        out: &mut impl Append,
    ) -> Result<Step, IngestError> {
        let message =
            decode::pgoutput::parse(bytes, decode::pgoutput::Context::default()).map_err(CaptureError::from)?;
        match message {
            Message::Insert(insert) => {
                let Some(relation) = self.relation(insert.relation_oid)? else { return Ok(Step::Done) };
                insert.check_columns(relation.columns.len()).map_err(CaptureError::from)?;
                self.change(Op::Insert, &relation, insert.body, window, out)
            }
            Message::Update(update) => {
                let Some(relation) = self.relation(update.relation_oid)? else { return Ok(Step::Done) };
                update.check_columns(relation.columns.len()).map_err(CaptureError::from)?;
                self.change(Op::Update, &relation, update.body, window, out)
            }
            Message::Delete(delete) => {
                let Some(relation) = self.relation(delete.relation_oid)? else { return Ok(Step::Done) };
                delete.check_columns(relation.columns.len()).map_err(CaptureError::from)?;
                self.change(Op::Delete, &relation, delete.body, window, out)
            }
            Message::Begin(begin) => self.begin(begin),
            Message::Commit(commit) => self.commit(commit, out),
            Message::Relation(announced) => {
                self.versions.announced(announced.oid, bytes);
                Ok(self.announce(&announced))
            }
            Message::Truncate(truncate) => self.truncate(&truncate, window, out),
            Message::Origin(origin) => self.origin(&origin),
            Message::Message(message) if message.transactional => self.message(&message, out),
            Message::Message(message) => self.lone_message(&message, sent_at, out),
            // A type's name is not needed, the catalog has more.
            Message::Type(_) => Ok(Step::Done),
            Message::StreamStart(_)
            | Message::StreamStop
            | Message::StreamCommit(_)
            | Message::StreamAbort(_)
            | Message::BeginPrepare(_)
            | Message::Prepare(_)
            | Message::CommitPrepared(_)
            | Message::RollbackPrepared(_)
            | Message::StreamPrepare(_) => Err(protocol("a message that has no place inside a transaction")),
        }
    }

    pub(super) fn begin(&mut self, begin: Begin) -> Result<Step, IngestError> {
        if self.open.is_some() {
            return Err(protocol("a transaction began inside another"));
        }
        let progress = if self.knows(begin.final_lsn) { Progress::PassedOver } else { Progress::Empty };
        self.open = Some(Open { begin, origin: None, progress });
        Ok(Step::Done)
    }

    pub(super) fn commit(&mut self, commit: Commit, out: &mut impl Append) -> Result<Step, IngestError> {
        let open = self.open.take().ok_or_else(|| protocol("a commit without a transaction"))?;
        if open.begin.final_lsn != commit.commit_lsn || commit.end_lsn <= commit.commit_lsn {
            return Err(protocol("a commit that is not the transaction's own"));
        }
        let Progress::Written(events) = open.progress else {
            return Ok(Step::Committed { end_lsn: commit.end_lsn, events: 0 });
        };
        out.append(Entry::Commit { end_lsn: commit.end_lsn })?;
        self.last = Position { epoch: self.epoch, commit_lsn: commit.commit_lsn, ordinal: events.saturating_sub(1) };
        Ok(Step::Committed { end_lsn: commit.end_lsn, events })
    }

    /// Keeps the announced version, or asks for what the message does not tell: the shape of types that are not built in,
    /// and the primary key where the identity is the whole row.
    fn announce(&mut self, announced: &Announced<'_>) -> Step {
        let name = TableName { schema: announced.schema.to_owned(), table: announced.table.to_owned() };
        if !(self.wanted.tables)(&name) {
            return Step::Done;
        }
        let mut complete = announced.identity != ReplicaIdentity::Full && self.relations.has_captured(announced.oid);
        let mut columns = Vec::with_capacity(announced.columns.len());
        for column in &announced.columns {
            let shape = shape::builtin(column.type_oid);
            complete &= shape.is_some() && binary::knows(column.type_oid);
            columns.push(Column {
                name: column.name.to_owned(),
                type_oid: column.type_oid,
                type_modifier: column.type_modifier,
                shape: shape.unwrap_or(Shape::TEXT),
            });
        }
        let key: Vec<usize> =
            (0..).zip(&announced.columns).filter(|(_, column)| column.key).map(|(index, _)| index).collect();
        complete &= !key.is_empty();
        let relation = Relation { oid: announced.oid, name, identity: announced.identity, columns, key };
        if complete {
            self.learn(relation);
            return Step::Announced;
        }
        Step::Describe(relation)
    }

    /// Whether the log has the open transaction already, or is not to have it.
    fn passes_over(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.progress == Progress::PassedOver)
    }

    fn truncate(
        &mut self,
        truncate: &Truncate,
        window: &mut Windows,
        out: &mut impl Append,
    ) -> Result<Step, IngestError> {
        for &oid in &truncate.relation_oids {
            let Some(relation) = self.relation(oid)? else { continue };
            match self.wanted.on_truncate {
                OnTruncate::Apply => _ = self.change(Op::Truncate, &relation, &[], window, out)?,
                OnTruncate::Ignore => {}
                OnTruncate::Halt if self.passes_over() => {}
                OnTruncate::Halt => return Err(truncated(&relation.name).into()),
            }
        }
        Ok(Step::Done)
    }

    /// The relation as last announced; `None` if nobody wants it.
    fn relation(&mut self, oid: u32) -> Result<Option<Arc<Relation>>, IngestError> {
        let known = self.versions.get(oid).cloned();
        if let Some(None) = known {
            self.relations.left_out(oid);
        }
        known.ok_or_else(|| protocol(&format!("a change of relation {oid}, which was never announced")))
    }

    fn change(
        &mut self,
        op: Op,
        relation: &Arc<Relation>,
        body: &[u8],
        window: &mut Windows,
        out: &mut impl Append,
    ) -> Result<Step, IngestError> {
        let Some(xid) = self.event(out)? else { return Ok(Step::Done) };
        window.change(xid, op, relation, body)?;
        out.append(Entry::Change { op, relation, body })?;
        Ok(Step::Done)
    }

    /// Counts an event that is about to be appended, and begins the transaction in the log with the first. Gives the
    /// transaction's id; `None` if it is passed over.
    #[inline]
    fn event(&mut self, out: &mut impl Append) -> Result<Option<u32>, IngestError> {
        let open = self.open.as_mut().ok_or_else(|| protocol("a change outside a transaction"))?;
        let events = match open.progress {
            Progress::PassedOver => return Ok(None),
            Progress::Written(events) => events,
            Progress::Empty => {
                let begin = open.begin;
                out.append(Entry::Begin(&Transaction {
                    epoch: self.epoch,
                    xid: begin.xid,
                    commit_lsn: begin.final_lsn,
                    commit_time: begin.commit_time,
                    first_ordinal: 0,
                    origin: open.origin.take(),
                }))?;
                0
            }
        };
        open.progress = Progress::Written(events + 1);
        Ok(Some(open.begin.xid))
    }

    /// Comes before a transaction's changes. Servers before 16 cannot leave such transactions out themselves.
    fn origin(&mut self, origin: &Origin<'_>) -> Result<Step, IngestError> {
        let open = self.open.as_mut().ok_or_else(|| protocol("an origin outside a transaction"))?;
        if !self.wanted.foreign {
            open.progress = Progress::PassedOver;
        }
        open.origin = Some(Arc::from(origin.name));
        Ok(Step::Done)
    }

    fn message(&mut self, message: &LogicalMessage<'_>, out: &mut impl Append) -> Result<Step, IngestError> {
        if (self.wanted.messages)(message.prefix) && self.event(out)?.is_some() {
            out.append(Entry::Message { prefix: message.prefix, content: message.content })?;
        }
        Ok(Step::Done)
    }

    /// Stands outside any transaction, and is there even if the transaction that wrote it was rolled back.
    pub(super) fn lone_message(
        &mut self,
        message: &LogicalMessage<'_>,
        sent_at: Timestamp,
        out: &mut impl Append,
    ) -> Result<Step, IngestError> {
        if self.open.is_some() {
            return Err(protocol("a message of no transaction inside one"));
        }
        // What is told is where its record ends, and there the next one begins: that may be the commit of the transaction which
        // wrote the message. At the same LSN that transaction would be taken for known, and be lost.
        let (end_lsn, commit_lsn) = (message.lsn, Lsn::new(message.lsn.get().saturating_sub(1)));
        if self.knows(commit_lsn) || !(self.wanted.messages)(message.prefix) {
            return Ok(Step::Committed { end_lsn, events: 0 });
        }
        let epoch = self.epoch;
        let unit = Transaction { epoch, xid: 0, commit_lsn, commit_time: sent_at, first_ordinal: 0, origin: None };
        out.append(Entry::Begin(&unit))?;
        out.append(Entry::Message { prefix: message.prefix, content: message.content })?;
        out.append(Entry::Commit { end_lsn })?;
        self.last = Position { epoch, commit_lsn, ordinal: 0 };
        Ok(Step::Committed { end_lsn, events: 1 })
    }
}

fn truncated(table: &TableName) -> CaptureError {
    CaptureError::halt(
        Code::SchemaUnsupported,
        format!("table {table} was truncated, and truncate is \"halt\""),
        "Start once with truncate = \"apply\" to empty its documents, or \"ignore\" to leave them",
    )
}

pub(super) fn protocol(detail: &str) -> IngestError {
    CaptureError::Protocol(detail.to_owned()).into()
}
