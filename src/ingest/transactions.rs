//! The order of transactions: those that are streamed while in progress, and prepared ones, wait in the spill until they
//! are committed, and are then assembled as if PostgreSQL had sent them whole at that moment.
//!
//! What waits are the messages as they came, relation messages included: each row is read with the version of its table that
//! was announced before it, and what a rolled-back transaction announced is forgotten with it. PostgreSQL announces a table
//! anew in each streamed transaction, and again after any part of it was rolled back. In a transaction that is sent when it is
//! prepared it relies on what was announced before, and what is announced there counts for all at once ([`Versions`]).
//!
//! [`Versions`]: super::versions::Versions
//!
//! A prepared transaction's changes become events at its `COMMIT PREPARED`, at that commit's LSN. PostgreSQL sends them once, so they
//! are made durable before anything behind the prepare is confirmed ([`Step::Settle`]).

use std::collections::{HashMap, HashSet};

use super::IngestError;
use super::assemble::{Append, Assembler, Step, protocol};
use super::relations::Relations;
use super::spill::{Replay, Settling, Spill};
use crate::capture::CaptureError;
use crate::capture::snapshot::window::Windows;
use crate::decode::message::{Begin, Commit, CommitPrepared, Message, StreamAbort, StreamCommit};
use crate::decode::pgoutput::{Context, parse};
use crate::event::{Lsn, Relation, Timestamp, Transaction};
use crate::status::Code;

/// How much of a waiting transaction is assembled before the loop looks after other things.
const TURN_BYTES: usize = 1 << 20;

/// The state of one stream.
pub(super) struct Transactions {
    assembler: Assembler,
    spill: Spill,
    /// The block of messages that the stream is in.
    block: Option<Block>,
    replaying: Option<Replaying>,
    /// A prepared transaction is on its way to the disk.
    settling: bool,
    /// The tables that each streamed transaction was announced, with the announcements' numbers.
    announced: HashMap<u32, HashMap<u32, u64>>,
    /// The tables whose announcement the transaction that is being prepared has with it.
    with_it: HashSet<u32>,
}

/// Messages between two brackets, which belong to the transaction of this id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    /// `Stream Start` to `Stream Stop`.
    Stream(u32),
    /// `Begin Prepare` to `Prepare`.
    Prepare(u32),
}

/// A transaction that is being assembled from the spill.
struct Replaying {
    replay: Replay,
    commit: Commit,
    /// Its prepared file is to go when it is in the log.
    prepared: Option<u32>,
    /// What it was announced as a streamed transaction.
    announced: HashMap<u32, u64>,
}

impl Transactions {
    /// A stream whose committed transactions go through `assembler`.
    pub(super) fn new(assembler: Assembler, spill: Spill) -> Self {
        Transactions {
            assembler,
            spill,
            block: None,
            replaying: None,
            settling: false,
            announced: HashMap::new(),
            with_it: HashSet::new(),
        }
    }

    /// Whether the stream stands inside a transaction, or inside a part of one.
    pub(super) fn in_transaction(&self) -> bool {
        self.block.is_some() || self.settling || self.assembler.in_transaction()
    }

    /// Whether a transaction is being assembled from the spill: [`Transactions::replay_some`] comes before the next message.
    pub(super) fn is_replaying(&self) -> bool {
        self.replaying.is_some()
    }

    /// See [`Assembler::chunk_unit`].
    pub(super) fn chunk_unit(&self, commit_time: Timestamp) -> Transaction {
        self.assembler.chunk_unit(commit_time)
    }

    /// See [`Assembler::chunk_placed`].
    pub(super) fn chunk_placed(&mut self, events: u64) {
        self.assembler.chunk_placed(events);
    }

    /// A relation as completed from the catalog.
    pub(super) fn learn(&mut self, relation: Relation) {
        self.assembler.learn(relation);
    }

    /// See [`Assembler::relations`].
    pub(super) fn relations(&mut self) -> &mut Relations {
        self.assembler.relations()
    }

    /// The log is durable up to here.
    pub(super) fn durable(&mut self, end_lsn: Lsn) -> Result<(), IngestError> {
        Ok(self.spill.durable(end_lsn)?)
    }

    /// A prepared transaction is durable.
    pub(super) fn settled(&mut self, settled: Settling) {
        self.spill.settled(settled);
        self.settling = false;
    }

    /// Takes one pgoutput message; `sent_at` is the server's clock then.
    #[inline]
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        sent_at: Timestamp,
        window: &mut Windows,
        out: &mut impl Append,
    ) -> Result<Step, IngestError> {
        if let Some(block) = self.block {
            return self.keep(block, bytes, sent_at, window, out);
        }
        match bytes.first() {
            Some(b'S' | b'E' | b'c' | b'A' | b'b' | b'P' | b'p' | b'K' | b'r') => self.control(bytes),
            _ => self.assembler.take(bytes, sent_at, window, out),
        }
    }

    /// Assembles some more of the transaction that waits for it.
    pub(super) fn replay_some(&mut self, window: &mut Windows, out: &mut impl Append) -> Result<Step, IngestError> {
        let Some(Replaying { replay, commit, .. }) = &mut self.replaying else { return Ok(Step::Done) };
        let mut taken = 0;
        while let Some(message) = replay.next()? {
            taken += message.len();
            // No message in a transaction needs the time it was sent at.
            match self.assembler.take(message, commit.commit_time, window, out)? {
                Step::Done if taken < TURN_BYTES => {}
                step => return Ok(step),
            }
        }
        let Some(Replaying { commit, prepared, announced, .. }) = self.replaying.take() else { return Ok(Step::Done) };
        self.assembler.versions.step_back(&announced);
        let step = self.assembler.commit(commit, out)?;
        if let Some(xid) = prepared {
            self.spill.resolve(xid, commit.end_lsn);
        }
        Ok(step)
    }

    /// A message inside a block. The id of the (sub)transaction that stands in each one of a streamed block is taken out.
    fn keep(
        &mut self,
        block: Block,
        bytes: &[u8],
        sent_at: Timestamp,
        window: &mut Windows,
        out: &mut impl Append,
    ) -> Result<Step, IngestError> {
        let Some((&letter, rest)) = bytes.split_first() else { return Err(protocol("an empty message")) };
        let (xid, in_stream) = match block {
            Block::Stream(xid) => (xid, true),
            Block::Prepare(xid) => (xid, false),
        };
        match letter {
            b'I' | b'U' | b'D' | b'T' | b'R' => {}
            // Without an id, and before the changes.
            b'O' => return self.push(xid, xid, letter, rest),
            b'M' => {
                let message = parse(bytes, Context { in_stream, parallel: false }).map_err(CaptureError::from)?;
                if let Message::Message(message) = message
                    && !message.transactional
                {
                    return self.assembler.lone_message(&message, sent_at, out);
                }
            }
            b'Y' => return Ok(Step::Done),
            b'E' | b'P' => {
                self.block = None;
                return self.end_block(block, bytes);
            }
            _ => return Err(protocol("a message that has no place inside a block of changes")),
        }
        if !in_stream {
            self.keep_versions(xid, letter, bytes)?;
            self.push(xid, xid, letter, rest)?;
            return if letter == b'R' { self.assembler.take(bytes, sent_at, window, out) } else { Ok(Step::Done) };
        }
        let Some((part, rest)) = rest.split_first_chunk::<4>() else {
            return Err(protocol("a message of a streamed block without its transaction"));
        };
        if let (b'R', Some(oid)) = (letter, first_oid(rest)) {
            let number = self.assembler.versions.count();
            self.announced.entry(xid).or_default().insert(oid, number);
        }
        self.push(xid, u32::from_be_bytes(*part), letter, rest)
    }

    /// Before a change of a transaction that is being prepared: what is known of its table is kept with it, as nobody may know it
    /// when it is committed.
    fn keep_versions(&mut self, xid: u32, letter: u8, bytes: &[u8]) -> Result<(), IngestError> {
        let rest = bytes.get(1..).unwrap_or_default();
        let oids = match (letter, first_oid(rest)) {
            (b'R', Some(oid)) => {
                self.with_it.insert(oid);
                return Ok(());
            }
            (b'I' | b'U' | b'D', Some(oid)) => vec![oid],
            (b'T', _) => match parse(bytes, Context::default()).map_err(CaptureError::from)? {
                Message::Truncate(truncate) => truncate.relation_oids,
                _ => return Ok(()),
            },
            _ => return Ok(()),
        };
        for oid in oids {
            if self.with_it.insert(oid)
                && let Some((&letter, rest)) = self.assembler.versions.message(oid).and_then(<[u8]>::split_first)
            {
                self.spill.push(xid, xid, letter, rest)?;
            }
        }
        Ok(())
    }

    fn push(&mut self, xid: u32, part: u32, letter: u8, rest: &[u8]) -> Result<Step, IngestError> {
        self.spill.push(xid, part, letter, rest)?;
        Ok(Step::Done)
    }

    fn end_block(&mut self, block: Block, bytes: &[u8]) -> Result<Step, IngestError> {
        match (block, parse(bytes, Context::default()).map_err(CaptureError::from)?) {
            (Block::Stream(_), Message::StreamStop) => Ok(Step::Done),
            (Block::Prepare(xid), Message::Prepare(prepared)) if prepared.xid == xid => {
                self.prepare(xid, prepared.prepare_lsn, prepared.end_lsn)
            }
            _ => Err(protocol("a block of changes that ends as another")),
        }
    }

    /// A message between blocks and transactions that is about a transaction as a whole.
    fn control(&mut self, bytes: &[u8]) -> Result<Step, IngestError> {
        match parse(bytes, Context::default()).map_err(CaptureError::from)? {
            Message::StreamStart(start) => {
                if start.first_segment != self.spill.begin(start.xid) {
                    return Err(protocol("a streamed transaction whose beginning is missing or comes twice"));
                }
                self.block = Some(Block::Stream(start.xid));
                Ok(Step::Done)
            }
            Message::StreamAbort(StreamAbort { xid, subtransaction_xid, .. }) => {
                if subtransaction_xid == xid {
                    self.announced.remove(&xid);
                    self.spill.drop_whole(xid);
                } else {
                    self.spill.drop_part(xid, subtransaction_xid)?;
                }
                Ok(Step::Done)
            }
            Message::StreamCommit(commit) => self.stream_commit(commit),
            Message::BeginPrepare(prepared) => {
                if !self.spill.begin(prepared.xid) {
                    return Err(protocol("a transaction that is prepared was begun already"));
                }
                self.block = Some(Block::Prepare(prepared.xid));
                self.with_it.clear();
                Ok(Step::Done)
            }
            Message::StreamPrepare(prepared) => self.prepare(prepared.xid, prepared.prepare_lsn, prepared.end_lsn),
            Message::CommitPrepared(commit) => self.commit_prepared(&commit),
            Message::RollbackPrepared(rollback) => {
                self.spill.forget_prepared(rollback.xid)?;
                Ok(Step::Committed { end_lsn: rollback.rollback_end_lsn, events: 0 })
            }
            _ => Err(protocol("the end of a block of changes that did not begin")),
        }
    }

    fn stream_commit(&mut self, commit: StreamCommit) -> Result<Step, IngestError> {
        let StreamCommit { xid, commit_lsn, end_lsn, commit_time } = commit;
        let announced = self.announced.remove(&xid).unwrap_or_default();
        // Also if the log has it already: what it announced counts for all from here on.
        let replay = self.spill.commit(xid)?;
        let replay = replay.ok_or_else(|| protocol("a commit of a streamed transaction that never began"))?;
        self.begin(
            xid,
            Replaying { replay, commit: Commit { commit_lsn, end_lsn, commit_time }, prepared: None, announced },
        )
    }

    fn prepare(&mut self, xid: u32, prepare_lsn: Lsn, end_lsn: Lsn) -> Result<Step, IngestError> {
        if !self.spill.has(xid) {
            return Err(protocol("a prepared transaction that never began"));
        }
        self.announced.remove(&xid);
        Ok(match self.spill.prepare(xid, prepare_lsn)? {
            Some(settling) => {
                self.settling = true;
                Step::Settle { settling, end_lsn }
            }
            None => Step::Committed { end_lsn, events: 0 },
        })
    }

    fn commit_prepared(&mut self, prepared: &CommitPrepared<'_>) -> Result<Step, IngestError> {
        let CommitPrepared { xid, commit_lsn, end_lsn, commit_time, gid } = *prepared;
        if self.assembler.knows(commit_lsn) {
            self.spill.forget_prepared(xid)?;
            return Ok(Step::Committed { end_lsn, events: 0 });
        }
        match self.spill.commit_prepared(xid, commit_lsn)? {
            Some(replay) => {
                let commit = Commit { commit_lsn, end_lsn, commit_time };
                self.begin(xid, Replaying { replay, commit, prepared: Some(xid), announced: HashMap::new() })
            }
            None => Err(CaptureError::halt(
                Code::SourceGap,
                format!(
                    "prepared transaction \"{gid}\" is committed at {commit_lsn}, but its changes, which the server sent \
                     once when it was prepared, are not in the log's directory"
                ),
                "Put the log's directory back as it was. If it cannot be, start over (docs/operating.md, \"Starting over\")",
            )
            .into()),
        }
    }

    fn begin(&mut self, xid: u32, replaying: Replaying) -> Result<Step, IngestError> {
        let Commit { commit_lsn, commit_time, .. } = replaying.commit;
        self.assembler.begin(Begin { final_lsn: commit_lsn, commit_time, xid })?;
        self.assembler.versions.step_apart();
        self.replaying = Some(replaying);
        Ok(Step::Done)
    }
}

/// The table's OID with which a message begins.
fn first_oid(rest: &[u8]) -> Option<u32> {
    rest.first_chunk::<4>().map(|oid| u32::from_be_bytes(*oid))
}

#[cfg(test)]
mod tests;
