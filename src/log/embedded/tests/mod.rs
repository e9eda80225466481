//! The embedded log as a whole, against what it promises.

mod contents;
mod faults;
mod power_cut;
mod schedules;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::event::{
    Cell, Change, Column, Event, Lsn, Op, Relation, ReplicaIdentity, RowBuilder, Shape, TableName, Transaction,
};
use crate::log::{Entry, Epoch, Limit};

pub(super) const ALL: Limit = Limit { events: usize::MAX, bytes: usize::MAX };
pub(super) const SMALL: Options = Options { segment_bytes: 4096, frame_bytes: 512, group_bytes: 2048 };

pub(super) fn relation(oid: u32) -> Arc<Relation> {
    let column = Column { name: "id".to_owned(), type_oid: 25, type_modifier: -1, shape: Shape::TEXT };
    Arc::new(Relation {
        oid,
        name: TableName { schema: "public".to_owned(), table: format!("t{oid}") },
        identity: ReplicaIdentity::Default,
        columns: vec![column],
        key: vec![0],
    })
}

pub(super) fn insert_body(value: &[u8]) -> Vec<u8> {
    let mut row = RowBuilder::default();
    row.push(Cell::Text(value));
    let mut body = vec![b'N'];
    body.extend_from_slice(row.finish().as_bytes());
    body
}

pub(super) fn epoch() -> Epoch {
    Epoch { number: 1, system_identifier: 7, timeline: 1, slot: "s".to_owned(), start_lsn: Lsn::new(1) }
}

pub(super) fn transaction(number: u64) -> Transaction {
    Transaction {
        epoch: 1,
        xid: u32::try_from(number).unwrap(),
        commit_lsn: Lsn::new(number * 100),
        commit_time: Timestamp::from_unix_micros(i64::try_from(number).unwrap() * 1_000_000),
        first_ordinal: 0,
        origin: None,
    }
}

/// Appends a whole transaction.
pub(super) fn append(writer: &mut Writer, number: u64, values: &[Vec<u8>]) {
    writer.append(Entry::Begin(&transaction(number))).unwrap();
    let relation = relation(1);
    for value in values {
        let body = insert_body(value);
        writer.append(Entry::Change { op: Op::Insert, relation: &relation, body: &body }).unwrap();
    }
    writer.append(Entry::Commit { end_lsn: Lsn::new(number * 100 + 50) }).unwrap();
}

/// The values of all events from `from` on.
pub(super) async fn read_all(log: &Log, from: Offset) -> Vec<(u64, Bytes)> {
    let mut reader = log.reader(from).unwrap();
    let mut values = Vec::new();
    while reader.offset() < log.durable().borrow().offset {
        let batch = reader.next(ALL).await.unwrap();
        values.extend(batch.events.iter().map(value));
        assert_eq!(batch.next, reader.offset());
    }
    values
}

pub(super) fn value(event: &Event) -> (u64, Bytes) {
    let Change::Insert { new, .. } = &event.change else { panic!("not an insert: {event:?}") };
    let Some(Cell::Text(text)) = new.cell(0) else { panic!("no text: {new:?}") };
    (event.transaction.commit_lsn.get() / 100, Bytes::copy_from_slice(text))
}

pub(super) fn reopen(directory: &Path, options: Options) -> (Writer, Log, Recovered) {
    open(directory, options).unwrap()
}

#[tokio::test]
async fn what_was_committed_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let (mut writer, log, recovered) = reopen(&path, Options::default());
    assert_eq!(recovered.epoch, None);
    writer.append(Entry::Epoch(&epoch())).unwrap();
    append(&mut writer, 1, &[b"a".to_vec(), b"b".to_vec()]);
    append(&mut writer, 2, &[b"c".to_vec()]);
    let durable = writer.sync().await.unwrap();
    assert_eq!((durable.offset, durable.end_lsn), (Offset(3), Lsn::new(250)));
    let values = read_all(&log, Offset(0)).await;
    drop((writer, log));
    let (_writer, log, recovered) = reopen(&path, Options::default());
    assert_eq!(recovered.durable, durable);
    assert_eq!(recovered.epoch, Some(epoch()));
    assert_eq!(read_all(&log, Offset(0)).await, values);
    assert_eq!(read_all(&log, Offset(2)).await, values[2..]);
}

#[tokio::test]
async fn a_transaction_taken_back_after_segments_of_it_were_written_leaves_no_trace() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let (mut writer, log, _) = reopen(&path, SMALL);
    writer.append(Entry::Epoch(&epoch())).unwrap();
    append(&mut writer, 1, &[b"kept".to_vec()]);
    writer.append(Entry::Begin(&transaction(2))).unwrap();
    let other = relation(2);
    for number in 0..200_u8 {
        let body = insert_body(&[number; 100]);
        writer.append(Entry::Change { op: Op::Insert, relation: &other, body: &body }).unwrap();
        if number % 40 == 0 {
            writer.flush().await.unwrap();
        }
    }
    writer.sync().await.unwrap();
    assert!(std::fs::read_dir(&path).unwrap().count() > 4);
    writer.append(Entry::Abort).unwrap();
    append(&mut writer, 2, &[b"again".to_vec()]);
    let durable = writer.sync().await.unwrap();
    assert_eq!(durable.offset, Offset(2));
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 2, "one segment and the lock");
    let want = vec![(1, Bytes::from_static(b"kept")), (2, Bytes::from_static(b"again"))];
    assert_eq!(read_all(&log, Offset(0)).await, want);
    drop((writer, log));
    let (_writer, log, recovered) = reopen(&path, SMALL);
    assert_eq!((recovered.durable, recovered.truncated_bytes), (durable, 0));
    assert_eq!(read_all(&log, Offset(0)).await, want);
}
