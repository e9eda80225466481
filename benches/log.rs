//! The embedded log alone: appending with an fsync for each group, as ingest does it, and scanning it back.

use std::sync::Arc;
use std::time::Instant;

use walbridge::event::{
    Cell, Column, Lsn, Offset, Op, Relation, ReplicaIdentity, RowBuilder, Shape, TableName, Timestamp, Transaction,
};
use walbridge::log::embedded::{Log, Options, Writer, open};
use walbridge::log::{Entry, Epoch, Limit};

const ROWS: u64 = 1_000_000;
const ROWS_PER_TRANSACTION: u64 = 1000;
/// What ingest lets gather before it waits for the disk.
const PENDING_BYTES: usize = 1 << 20;

/// Prints its figures, one a line.
pub(crate) fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    runtime.block_on(async {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let (mut writer, log, _) = open(&path, Options::default()).expect("a new log");
        let started = Instant::now();
        append(&mut writer).await;
        let seconds = started.elapsed().as_secs_f64();
        let bytes = log.size_bytes();
        println!("log append {:.0} MB/s", as_f64(bytes) / 1e6 / seconds);
        println!("log append {:.2} M rows/s", as_f64(ROWS) / 1e6 / seconds);
        let started = Instant::now();
        scan(&log).await;
        let seconds = started.elapsed().as_secs_f64();
        println!("log scan {:.0} MB/s", as_f64(bytes) / 1e6 / seconds);
        println!("log scan {:.2} M rows/s", as_f64(ROWS) / 1e6 / seconds);
        drop((writer, log));
        let started = Instant::now();
        drop(open(&path, Options::default()).expect("the same log"));
        println!("log open {:.0} ms", started.elapsed().as_secs_f64() * 1e3);
    });
}

/// Rows of about 300 bytes in four columns.
async fn append(writer: &mut Writer) {
    let (relation, body) = (relation(), body());
    let epoch =
        Epoch { number: 1, system_identifier: 1, timeline: 1, slot: "bench".to_owned(), start_lsn: Lsn::new(1) };
    writer.append(Entry::Epoch(&epoch)).expect("an epoch");
    for number in 1..=ROWS / ROWS_PER_TRANSACTION {
        writer.append(Entry::Begin(&transaction(number))).expect("a begin");
        for _ in 0..ROWS_PER_TRANSACTION {
            let change = Entry::Change { op: Op::Insert, relation: &relation, body: &body };
            writer.append(change).expect("a change");
        }
        writer.append(Entry::Commit { end_lsn: Lsn::new(number * 1000 + 1) }).expect("a commit");
        if writer.can_flush() || writer.pending_bytes() >= PENDING_BYTES {
            writer.flush().await.expect("a flush");
        }
    }
    writer.sync().await.expect("a sync");
}

async fn scan(log: &Log) {
    let mut reader = log.reader(Offset(0)).expect("a reader");
    let limit = Limit { events: 10_000, bytes: 4 << 20 };
    let mut rows = 0;
    while rows < ROWS {
        rows += reader.next(limit).await.expect("a batch").events.len() as u64;
    }
    assert_eq!(rows, ROWS);
}

fn transaction(number: u64) -> Transaction {
    Transaction {
        epoch: 1,
        xid: u32::try_from(number).unwrap_or(u32::MAX),
        commit_lsn: Lsn::new(number * 1000),
        commit_time: Timestamp::from_unix_micros(1_000_000),
        first_ordinal: 0,
        origin: None,
    }
}

fn relation() -> Arc<Relation> {
    let column = |name: &str| Column { name: name.to_owned(), type_oid: 25, type_modifier: -1, shape: Shape::TEXT };
    Arc::new(Relation {
        oid: 16384,
        name: TableName { schema: "public".to_owned(), table: "items".to_owned() },
        identity: ReplicaIdentity::Default,
        columns: ["id", "a", "b", "c"].map(column).to_vec(),
        key: vec![0],
    })
}

fn body() -> Vec<u8> {
    let mut row = RowBuilder::default();
    for value in ["1234567", "4242", &"0123456789abcdef".repeat(15), "2026-11-24 10:00:00.123456+00"] {
        row.push(Cell::Text(value.as_bytes()));
    }
    let mut body = vec![b'N'];
    body.extend_from_slice(row.finish().as_bytes());
    body
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn as_f64(number: u64) -> f64 {
    number as f64
}
