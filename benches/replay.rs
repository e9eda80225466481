//! From the log through the deliver loop into a target that does nothing: what a replay costs before any target does.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use walbridge::capture::readback::Readback;
use walbridge::config::BatchLimits;
use walbridge::dead_letter::DeadLetters;
use walbridge::decode::shape;
use walbridge::deliver::{Deliver, Limits, OnReject, Orders};
use walbridge::event::{
    Cell, Column, Lsn, Offset, Op, Relation, ReplicaIdentity, RowBuilder, TableName, Timestamp, Transaction,
};
use walbridge::log::{Entry, Epoch, Log, embedded};
use walbridge::postgres::address::Address;
use walbridge::project::mutation::Mutation;
use walbridge::project::{Kind, Projection};
use walbridge::sink::{Checkpoint, KeyPage, Rejection, Sink, SinkError, Staged};
use walbridge::status::Board;

use crate::meter::{median, setting};

const ROWS_PER_TRANSACTION: u32 = 1_000;
/// How often each log is read.
pub(crate) const ROUNDS: u32 = 3;

/// Prints its figures, one a line.
pub(crate) fn run() {
    let rows = setting("BENCH_ROWS", 1_000_000);
    let directory = tempfile::Builder::new().prefix("walbridge-replay-").tempdir().expect("a temporary directory");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let speeds = runtime.block_on(async {
        let (mut writer, log, _) = embedded::open(directory.path(), embedded::Options::default()).expect("a new log");
        let text = "0123456789abcdef".repeat(6);
        fill(&mut writer, rows, |_| text.clone()).await;
        let mut speeds = Vec::new();
        for _ in 0..ROUNDS {
            let started = Instant::now();
            replay(log.clone(), directory.path(), Offset(u64::from(rows))).await;
            speeds.push(f64::from(rows) / started.elapsed().as_secs_f64());
        }
        speeds
    });
    println!("replay null sink rows/s {:.0}", median(speeds));
}

/// A target that does nothing.
struct NullSink;

impl Sink for NullSink {
    async fn resume(&mut self) -> Result<Option<Checkpoint>, SinkError> {
        Ok(None)
    }

    async fn stage(&mut self, mutations: &[Mutation]) -> Result<Staged, SinkError> {
        black_box(mutations);
        Ok(Staged::default())
    }

    async fn keys(&mut self, _table: &TableName, _from: Option<u64>) -> Result<KeyPage, SinkError> {
        Ok(KeyPage::default())
    }

    async fn commit(&mut self, _upto: Checkpoint) -> Result<(), SinkError> {
        Ok(())
    }

    async fn probe(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Stops the loop once everything is committed.
struct Until<S> {
    sink: S,
    end: Offset,
    stop: CancellationToken,
}

impl<S: Sink> Sink for Until<S> {
    async fn resume(&mut self) -> Result<Option<Checkpoint>, SinkError> {
        self.sink.resume().await
    }

    async fn stage(&mut self, mutations: &[Mutation]) -> Result<Staged, SinkError> {
        self.sink.stage(mutations).await
    }

    async fn keys(&mut self, table: &TableName, from: Option<u64>) -> Result<KeyPage, SinkError> {
        self.sink.keys(table, from).await
    }

    async fn flush(&mut self) -> Result<Vec<Rejection>, SinkError> {
        self.sink.flush().await
    }

    async fn commit(&mut self, upto: Checkpoint) -> Result<(), SinkError> {
        self.sink.commit(upto).await?;
        if upto.offset >= self.end {
            self.stop.cancel();
        }
        Ok(())
    }

    async fn probe(&mut self) -> Result<(), SinkError> {
        self.sink.probe().await
    }
}

/// Delivers what a log holds before `end`, from its start, to a target that does nothing.
pub(crate) async fn replay(log: impl Log, directory: &Path, end: Offset) {
    deliver(log, directory, end, NullSink, BatchLimits::DEFAULT).await;
}

/// Delivers what a log holds before `end`, from its start.
pub(crate) async fn deliver(log: impl Log, directory: &Path, end: Offset, sink: impl Sink, batch: BatchLimits) {
    let stop = CancellationToken::new();
    let mut deliver = Deliver {
        name: "bench".to_owned(),
        log,
        sink: Until { sink, end, stop: stop.clone() },
        projection: Projection::new(Kind::State, Arc::new(|_| true), None),
        limits: Limits {
            rows: batch.rows,
            bytes: usize::try_from(batch.bytes).expect("a size"),
            linger: batch.linger,
            row_bytes_max: usize::MAX,
            dead_letters_max: 100,
        },
        on_reject: OnReject::Stop,
        dead_letters: DeadLetters::open(&directory.join("dead"), "bench", "bench").expect("dead letters"),
        orders: Orders::none(),
        readback: Readback::new(Address::parse("postgres://nobody@127.0.0.1/none").expect("an address")),
        board: Board::default(),
    };
    deliver.run(&stop).await.expect("nothing goes wrong");
}

/// Rows such as those of the drain: `(id bigint, k int, v text, ts timestamptz)`.
pub(crate) async fn fill(writer: &mut embedded::Writer, rows: u32, text: impl Fn(u32) -> String) {
    let relation = relation();
    let epoch =
        Epoch { number: 1, system_identifier: 1, timeline: 1, slot: "bench".to_owned(), start_lsn: Lsn::new(1) };
    writer.append(Entry::Epoch(&epoch)).expect("the log takes it");
    let mut id = 0;
    while id < rows {
        let commit_lsn = Lsn::new(u64::from(id) * 200 + 100);
        let transaction = Transaction {
            epoch: 1,
            xid: id + 3,
            commit_lsn,
            commit_time: Timestamp::from_unix_micros(1_795_514_400_000_000 + i64::from(id)),
            first_ordinal: 0,
            origin: None,
        };
        writer.append(Entry::Begin(&transaction)).expect("the log takes it");
        for _ in 0..ROWS_PER_TRANSACTION.min(rows - id) {
            id += 1;
            let mut row = RowBuilder::default();
            for value in [&id.to_string(), &(id % 1_000).to_string(), &text(id), "2026-11-24 10:00:00.123456+00"] {
                row.push(Cell::Text(value.as_bytes()));
            }
            let body = [b"N".as_slice(), row.finish().as_bytes()].concat();
            writer
                .append(Entry::Change { op: Op::Insert, relation: &relation, body: &body })
                .expect("the log takes it");
        }
        let end_lsn = Lsn::new(u64::from(id) * 200 + 99);
        writer.append(Entry::Commit { end_lsn }).expect("the log takes it");
        writer.flush().await.expect("the disk takes it");
    }
    writer.sync().await.expect("the disk takes it");
}

pub(crate) fn relation() -> Arc<Relation> {
    let column = |(name, type_oid): (&str, u32)| Column {
        name: name.to_owned(),
        type_oid,
        type_modifier: -1,
        shape: shape::builtin(type_oid).expect("a built-in type"),
    };
    Arc::new(Relation {
        oid: 16_384,
        name: TableName { schema: "public".to_owned(), table: "narrow".to_owned() },
        identity: ReplicaIdentity::Default,
        columns: [("id", 20), ("k", 23), ("v", 25), ("ts", 1184)].map(column).into(),
        key: vec![0],
    })
}
