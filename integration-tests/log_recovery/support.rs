//! A small log to be hurt.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use walbridge::event::{
    Cell, Change, Column, Event, Lsn, Offset, Op, Relation, ReplicaIdentity, RowBuilder, Shape, TableName, Timestamp,
    Transaction,
};
use walbridge::log::embedded::{Log, Options, ReadOnly, Writer};
use walbridge::log::{Entry, Epoch, Limit};

/// No limit on a batch.
pub(crate) const ALL: Limit = Limit { events: usize::MAX, bytes: usize::MAX };
/// Segments small enough to roll in every test.
pub(crate) const SMALL: Options = Options { segment_bytes: 4096, frame_bytes: 512, group_bytes: 2048 };

/// A table of one text column.
pub(crate) fn table() -> Arc<Relation> {
    let column = Column { name: "id".to_owned(), type_oid: 25, type_modifier: -1, shape: Shape::TEXT };
    Arc::new(Relation {
        oid: 1,
        name: TableName { schema: "public".to_owned(), table: "t".to_owned() },
        identity: ReplicaIdentity::Default,
        columns: vec![column],
        key: vec![0],
    })
}

/// The first epoch.
pub(crate) fn epoch() -> Epoch {
    Epoch { number: 1, system_identifier: 7, timeline: 1, slot: "s".to_owned(), start_lsn: Lsn::new(1) }
}

/// The transaction with this number; one commits each second.
pub(crate) fn transaction(number: u64) -> Transaction {
    Transaction {
        epoch: 1,
        xid: u32::try_from(number).unwrap(),
        commit_lsn: Lsn::new(number * 100),
        commit_time: Timestamp::from_unix_micros(i64::try_from(number).unwrap() * 1_000_000),
        first_ordinal: 0,
        origin: None,
    }
}

/// Appends an insert of one value.
pub(crate) fn append_row(writer: &mut Writer, relation: &Arc<Relation>, value: &[u8]) {
    let mut row = RowBuilder::default();
    row.push(Cell::Text(value));
    let mut body = vec![b'N'];
    body.extend_from_slice(row.finish().as_bytes());
    writer.append(Entry::Change { op: Op::Insert, relation, body: &body }).unwrap();
}

/// Appends a whole transaction.
pub(crate) fn append(writer: &mut Writer, number: u64, values: &[&[u8]]) {
    let relation = table();
    writer.append(Entry::Begin(&transaction(number))).unwrap();
    values.iter().for_each(|value| append_row(writer, &relation, value));
    writer.append(Entry::Commit { end_lsn: Lsn::new(number * 100 + 50) }).unwrap();
}

/// The transaction and the value of an insert.
pub(crate) fn value(event: &Event) -> (u64, Vec<u8>) {
    let Change::Insert { new, .. } = &event.change else { panic!("not an insert: {event:?}") };
    let Some(Cell::Text(text)) = new.cell(0) else { panic!("no text: {new:?}") };
    (event.transaction.commit_lsn.get() / 100, text.to_vec())
}

/// Everything a log holds.
pub(crate) async fn read_all(log: &Log) -> Vec<(u64, Vec<u8>)> {
    let mut reader = log.reader(log.start()).unwrap();
    let mut values = Vec::new();
    while reader.offset() < log.durable().borrow().offset {
        values.extend(reader.next(ALL).await.unwrap().events.iter().map(value));
    }
    values
}

/// Everything a log holds, read without its writer.
pub(crate) fn read_only(path: &Path) -> Vec<(u64, Vec<u8>)> {
    let log = ReadOnly::open(path).unwrap();
    let mut reader = log.reader(Offset(log.start().0)).unwrap();
    let mut values = Vec::new();
    while let Some(batch) = reader.next(&log, ALL).unwrap() {
        values.extend(batch.events.iter().map(value));
    }
    values
}

/// The files of a directory: name and bytes.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;
/// A row: its transaction's number and its value.
pub(crate) type Value = (u64, Vec<u8>);

/// Every file of a directory with its bytes.
pub(crate) fn contents(path: &Path) -> Files {
    let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    files.map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())).collect()
}

/// A directory with these files, with the modes that a log has.
pub(crate) fn write_contents(path: &Path, files: &Files) {
    fs::DirBuilder::new().mode(0o700).create(path).unwrap();
    for (name, bytes) in files {
        write_file(&path.join(name), bytes);
    }
}

/// A file with the mode that a log's have.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

/// The segments of a log, oldest first.
pub(crate) fn segments(path: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "wlog")).collect();
    segments.sort();
    segments
}
