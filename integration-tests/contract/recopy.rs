//! A table that is copied again, and a history with a gap before it: every sink ends up with what the source has, and its
//! readers never see less. The loop is the real one, on a real log.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use walbridge::capture::address::Address;
use walbridge::capture::readback::Readback;
use walbridge::dead_letter::DeadLetters;
use walbridge::deliver::{Deliver, Limits, OnReject};
use walbridge::event::{Change, Event, Lsn, Offset, OldRow, TableName};
use walbridge::log::embedded::{Log, Options, Writer, open};
use walbridge::log::{Entry, Epoch};
use walbridge::project::mutation::Mutation;
use walbridge::project::{Kind, Projection};
use walbridge::sink::{Checkpoint, KeyPage, Rejection, Sink, SinkError, Staged};
use walbridge::status::{Board, State};

use super::target::Target;
use super::world::Table::{Items, Others};
use super::world::{Statement, World, rename, values};
use crate::support::eventually;

/// Where the copy of a world begins: events before it, and the rows that are there all along.
struct Recopied {
    world: World,
    before: usize,
    stays: BTreeSet<String>,
}

/// Two tables, of which one has glob characters in its name and the other a name that those would match. Rows go and change
/// while nobody watches; then one table is copied again with the stream beside it.
fn recopied() -> Recopied {
    let mut world = World::of(["it[e]ms*", "items"]);
    let insert = |table, id: i64| Statement::Insert(table, id, values(&format!("n{id}"), "1", &format!("big{id}")));
    world.commit(&(0..400).map(|id| insert(Items, id)).collect::<Vec<_>>());
    world.commit(&(0..50).map(|id| insert(Others, id)).collect::<Vec<_>>());
    let before = world.events.len();
    for id in (0..400).step_by(3) {
        world.rows.remove(&(Items, id));
    }
    for id in (1..400).step_by(9) {
        world.rows.get_mut(&(Items, id)).expect("a row")[0] = Some("changed in the gap".to_owned());
    }
    let stays = |world: &World| world.documents_after(world.len()).keys().cloned().collect::<BTreeSet<_>>();
    let since = Offset(world.events.len() as u64);
    let relation = world.relation(Items).clone();
    world.chunk([Change::CopyBegun { relation: relation.clone() }]);
    let before_stream = stays(&world);
    world.chunk(world.reads(Items, 0..100));
    // Behind the copy and before it: changed, gone, new, moved in both directions, and back from the dead.
    world.commit(&[rename(Items, 1, "behind"), rename(Items, 302, "before"), Statement::Delete(Items, 2)]);
    world.commit(&[Statement::Delete(Items, 301), insert(Items, 3), insert(Items, 303), insert(Others, 900)]);
    world.commit(&[Statement::Move(Items, 4, 600, None), Statement::Move(Items, 305, 0, None)]);
    world.chunk(world.reads(Items, 100..300));
    world.commit(&[insert(Items, 1000), Statement::Delete(Items, 1000), Statement::Delete(Others, 7)]);
    let mut last = world.reads(Items, 300..i64::MAX);
    last.push(Change::CopyDone { relation, since });
    world.chunk(last);
    let after = stays(&world);
    world.commit(&[insert(Items, 6), Statement::Delete(Items, 8)]);
    world.commit(&[rename(Items, 6, "six"), rename(Others, 1, "one")]);
    let end = stays(&world);
    let stays = before_stream.iter().filter(|key| after.contains(*key) && end.contains(*key)).cloned().collect();
    Recopied { world, before, stays }
}

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

async fn log(directory: &Path, events: &[Event]) -> (Writer, Log) {
    log_of(directory, events, Options::default()).await
}

/// A log with these events.
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
    fn call(&self) -> Result<(), SinkError> {
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
    let kind = if target.keeps_history() { Kind::History } else { Kind::State };
    let board = Board::default();
    let deliver = Deliver {
        name: "contract".to_owned(),
        log: log.clone(),
        sink,
        projection: Projection::new(kind, Arc::new(|_| true), None),
        limits: Limits { rows, bytes: 1 << 20, linger: Duration::ZERO, row_bytes_max: usize::MAX },
        on_reject: OnReject::Stop,
        dead_letters: DeadLetters::open(&home.join("dead"), "contract", "world").expect("dead letters"),
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_copied_again_loses_what_is_gone_and_nothing_else_and_is_never_seen_emptied() {
    let Recopied { world, before, stays } = recopied();
    for target in Target::each() {
        let home = tempfile::tempdir().expect("a directory");
        let (mut writer, log) = log(home.path(), &world.events[..before]).await;
        let sink = target.open(&world);
        let reader = target.reader(&sink).await;
        let (loop_, board) = deliver(&target, &log, home.path(), sink, 256);
        let stop = CancellationToken::new();
        let ending = stop.clone();
        let work = tokio::spawn(async move { loop_.run(&ending).await });
        caught_up(&board, Offset(before as u64)).await;
        record(&mut writer, &world.events[before..]).await;
        let watch = async {
            loop {
                if let Some(seen) = target.keys_seen(&reader).await {
                    let missing: Vec<_> = stays.difference(&seen).collect();
                    assert!(missing.is_empty(), "{:?}: {missing:?} cannot be seen", target.kind);
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = watch => {}
            () = caught_up(&board, Offset(world.events.len() as u64)) => {}
        }
        stop.cancel();
        work.await.expect("no panic").expect("no halt");
        let sink = target.open(&world);
        assert_documents(&target, sink, &world).await;
    }
}

pub(super) async fn assert_documents(target: &Target, mut sink: super::target::AnySink, world: &World) {
    // Its lock may seem held for a moment: see `Delivery::begin`.
    while sink.resume().await.is_err_and(|error| matches!(error, SinkError::Fenced { .. })) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (found, wanted) = (target.documents(&sink).await, world.documents_after(world.len()));
    let differing: Vec<_> = found
        .keys()
        .chain(wanted.keys())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .filter(|key| found.get(*key) != wanted.get(*key))
        .collect();
    assert!(differing.is_empty(), "{:?} differs in {differing:?}", target.kind);
}

/// Whatever step fails, or is the last before a kill, the whole is done again and ends the same.
#[tokio::test]
async fn a_sweep_cut_short_at_any_step_is_done_again() {
    let Recopied { world, .. } = recopied();
    for target in Target::each() {
        let home = tempfile::tempdir().expect("a directory");
        let (_writer, log) = log(home.path(), &world.events).await;
        // First without a failure, to know how many calls there are; the sweep is among the last.
        let (mut fails_at, mut last) = (usize::MAX, usize::MAX);
        loop {
            target.empty_if_filled().await;
            let calls = Arc::new(AtomicUsize::new(0));
            let sink = Fragile { sink: target.open(&world), calls: calls.clone(), fails_at };
            // A loop is dropped in the middle of its work, as a killed process drops it; the next one finds the rest.
            let (loop_, board) = deliver(&target, &log, home.path(), sink, 256);
            let stop = CancellationToken::new();
            let work = tokio::spawn(async move { loop_.run(&stop).await });
            let failed = async {
                while calls.load(Ordering::SeqCst) < fails_at {
                    tokio::task::yield_now().await;
                }
            };
            let finished = tokio::select! {
                biased;
                () = failed => false,
                () = caught_up(&board, Offset(world.events.len() as u64)) => true,
            };
            work.abort();
            let _ = work.await;
            let (loop_, board) = deliver(&target, &log, home.path(), target.open(&world), 256);
            let stop = CancellationToken::new();
            let ending = stop.clone();
            let work = tokio::spawn(async move { loop_.run(&ending).await });
            caught_up(&board, Offset(world.events.len() as u64)).await;
            stop.cancel();
            work.await.expect("no panic").expect("no halt");
            assert_documents(&target, target.open(&world), &world).await;
            if finished {
                last = calls.load(Ordering::SeqCst);
                fails_at = last.saturating_sub(8);
            } else if fails_at >= last {
                break;
            }
            fails_at += 1;
        }
    }
}
