//! The real loop on a real log of a world's events, and a sink that fails where a test wants it to.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use walbridge::capture::readback::Readback;
use walbridge::dead_letter::DeadLetters;
use walbridge::deliver::{Deliver, Limits, OnReject, Orders};
use walbridge::event::{Change, Event, Lsn, Offset, OldRow, TableName};
use walbridge::log::embedded::{Log, Options, Writer, open};
use walbridge::log::{Entry, Epoch};
use walbridge::postgres::address::Address;
use walbridge::project::mutation::Mutation;
use walbridge::sink::{Checkpoint, KeyPage, Rejection, Sink, SinkError, Staged};
use walbridge::status::{Board, State};

use super::any::AnySink;
use super::target::Target;
use super::world::World;
use crate::support::eventually;

/// Writes events into a log, each unit whole.
pub(super) async fn record(writer: &mut Writer, events: &[Event]) {
    for unit in events.chunk_by(|one, other| one.transaction == other.transaction) {
        let transaction = &unit[0].transaction;
        writer.append(Entry::Begin(transaction)).expect("a begin");
        for event in unit {
            append(writer, &event.change);
        }
        let end_lsn = Lsn::new(transaction.commit_lsn.get() + 8);
        writer.append(Entry::Commit { end_lsn }).expect("a commit");
        writer.sync().await.expect("a disk");
    }
}

fn append(writer: &mut Writer, change: &Change) {
    let new = |row: &walbridge::event::Row| [b"N".as_slice(), row.as_bytes()].concat();
    let old = |row: &OldRow| [b"K".as_slice(), row.row().as_bytes()].concat();
    let body = match change {
        Change::CopyBegun { relation } => return writer.append(Entry::CopyBegun { relation }).expect("a copy"),
        Change::CopyDone { relation, since } => {
            return writer.append(Entry::CopyDone { relation, since: *since }).expect("a copy's end");
        }
        Change::Insert { new: row, .. } | Change::Read { row, .. } => new(row),
        Change::Update { old: before, new: row, .. } => {
            [before.as_ref().map(old).unwrap_or_default(), new(row)].concat()
        }
        Change::Delete { old: row, .. } => old(row),
        Change::Truncate { .. } => Vec::new(),
        Change::Message { .. } => panic!("the world has no messages"),
    };
    let relation = change.relation().expect("a table");
    writer.append(Entry::Change { op: change.op(), relation, body: &body }).expect("a change");
}

/// A log with these events.
pub(super) async fn log(directory: &Path, events: &[Event]) -> (Writer, Log) {
    log_of(directory, events, Options::default()).await
}

/// The same, with a log of this kind.
pub(super) async fn log_of(directory: &Path, events: &[Event], options: Options) -> (Writer, Log) {
    let (mut writer, log, _) = open(&directory.join("log"), options).expect("a log");
    let epoch = Epoch { number: 1, system_identifier: 1, timeline: 1, slot: "s".to_owned(), start_lsn: Lsn::new(1) };
    writer.append(Entry::Epoch(&epoch)).expect("an epoch");
    record(&mut writer, events).await;
    (writer, log)
}

/// A sink whose target is lost before every so many-th call, and which may be ended there: what SIGKILL leaves behind.
pub(super) struct Fragile<S> {
    pub(super) sink: S,
    pub(super) calls: Arc<AtomicUsize>,
    pub(super) fails_at: usize,
}

impl<S: Sink> Fragile<S> {
    pub(super) fn call(&self) -> Result<(), SinkError> {
        if self.calls.fetch_add(1, Ordering::SeqCst) + 1 == self.fails_at {
            return Err(SinkError::Unavailable { target: "it".to_owned(), detail: "as the test wants it".to_owned() });
        }
        Ok(())
    }
}

impl<S: Sink> Sink for Fragile<S> {
    async fn resume(&mut self) -> Result<Option<Checkpoint>, SinkError> {
        self.sink.resume().await
    }

    async fn stage(&mut self, mutations: &[Mutation]) -> Result<Staged, SinkError> {
        self.call()?;
        self.sink.stage(mutations).await
    }

    async fn keys(&mut self, table: &TableName, from: Option<u64>) -> Result<KeyPage, SinkError> {
        self.call()?;
        self.sink.keys(table, from).await
    }

    async fn flush(&mut self) -> Result<Vec<Rejection>, SinkError> {
        self.call()?;
        self.sink.flush().await
    }

    async fn commit(&mut self, upto: Checkpoint) -> Result<(), SinkError> {
        self.call()?;
        self.sink.commit(upto).await
    }

    async fn probe(&mut self) -> Result<(), SinkError> {
        self.sink.probe().await
    }
}

/// A loop on the log.
pub(super) fn deliver<S: Sink>(
    target: &Target,
    log: &Log,
    home: &Path,
    sink: S,
    rows: usize,
) -> (Deliver<Log, S>, Board) {
    let board = Board::default();
    let deliver = Deliver {
        name: "contract".to_owned(),
        log: log.clone(),
        sink,
        projection: target.projection(&Arc::default()),
        limits: Limits {
            rows,
            bytes: 1 << 20,
            linger: Duration::ZERO,
            row_bytes_max: usize::MAX,
            dead_letters_max: 100,
        },
        on_reject: OnReject::Stop,
        dead_letters: DeadLetters::open(&home.join("dead"), "contract", "world").expect("dead letters"),
        orders: Orders::none(),
        readback: Readback::new(Address::parse("postgres://nobody@127.0.0.1:1/none").expect("an address")),
        board: board.clone(),
    };
    (deliver, board)
}

/// Waits until the sink has everything.
pub(super) async fn caught_up(board: &Board, end: Offset) {
    eventually(Duration::from_secs(60), || async {
        let status = board.read();
        let sink = status.sinks.get("contract").ok_or("no status")?;
        assert!(sink.state != State::Halted, "{:?}", sink.message);
        let there = sink.checkpoint == Some(end) && sink.replay.is_none();
        if there {
            Ok(())
        } else {
            Err(format!("{:?} of {end}, replay {:?}: {:?}", sink.checkpoint, sink.replay, sink.message))
        }
    })
    .await;
}

/// Resumes a sink. Of one that was killed a moment ago the last write may be under way still, on a thread of its own, and its lock be held; a process
/// would have taken that along. Or see `Delivery::begin`.
pub(super) async fn until_unlocked(sink: &mut impl Sink) {
    while sink.resume().await.is_err_and(|error| matches!(error, SinkError::Fenced { .. })) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What is in the target is what the world has.
pub(super) async fn assert_documents(target: &Target, mut sink: AnySink, world: &World) {
    until_unlocked(&mut sink).await;
    target.assert_after(&sink, world, world.len(), "in the end").await;
}
