//! Everything but plain inserts: epochs, snapshots, relation versions, messages; and what a slow disk does.

use std::fs::File;
use std::io;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use super::*;
use crate::log::embedded::disk::Disk;
use crate::log::embedded::format::Header;
use crate::log::{Storage, TableSnapshot};

fn progress_of(oid: u32, rows: u64) -> TableSnapshot {
    let begun = TableSnapshot::begin(oid, relation(oid).name.clone(), 2, Offset(oid.into()), "on demand".into());
    let storage = Some(Storage { fingerprint: 7, end: 100 });
    TableSnapshot { rows, bytes: 10 * rows, storage, copied: vec![0..rows, 95..96], done: rows > 90, ..begun }
}

/// A chunk that spans several segments, then a kill: its progress counts only with its commit.
#[tokio::test]
async fn snapshot_progress_counts_with_its_chunk_and_not_before() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let (mut writer, _log, _) = reopen(&path, SMALL);
    writer.append(Entry::Epoch(&epoch())).unwrap();
    append(&mut writer, 1, &[b"streamed".to_vec()]);
    let table = relation(7);
    let chunk = |first_ordinal| Transaction { xid: 0, first_ordinal, ..transaction(1) };
    let rows = |writer: &mut Writer| {
        let body = insert_body(&[b'r'; 100]);
        for _ in 0..80 {
            writer.append(Entry::Change { op: Op::Read, relation: &table, body: &body }).unwrap();
        }
    };
    writer.append(Entry::Begin(&chunk(1))).unwrap();
    writer.append(Entry::Snapshot(&progress_of(7, 80))).unwrap();
    rows(&mut writer);
    writer.append(Entry::Snapshot(&progress_of(8, 0))).unwrap();
    writer.append(Entry::Commit { end_lsn: Lsn::new(150) }).unwrap();
    writer.append(Entry::Begin(&chunk(81))).unwrap();
    writer.append(Entry::Snapshot(&progress_of(7, 160))).unwrap();
    rows(&mut writer);
    writer.sync().await.unwrap();
    let copy = directory.path().join("copy");
    schedules::copy_directory(&path, &copy);
    let (_writer, log, recovered) = reopen(&copy, SMALL);
    assert_eq!(recovered.snapshots, [progress_of(7, 80), progress_of(8, 0)]);
    assert_eq!(recovered.durable.offset, Offset(81));
    let last = log.reader(Offset(80)).unwrap().next(ALL).await.unwrap();
    assert_eq!((last.events[0].ordinal, last.events[0].change.op()), (80, Op::Read));
    assert_eq!(last.events[0].transaction.first_ordinal, 1);
}

/// A reader may begin anywhere in a unit of many frames and segments, and must know of each event where it came from.
#[tokio::test]
async fn an_origin_is_known_of_every_event_of_its_unit_and_of_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let (mut writer, log, _) = reopen(&path, SMALL);
    writer.append(Entry::Epoch(&epoch())).unwrap();
    let body = insert_body(&[b'r'; 100]);
    for (number, origin) in [(1, None), (2, Some("elsewhere")), (3, None)] {
        let origin = origin.map(Arc::from);
        writer.append(Entry::Begin(&Transaction { origin, ..transaction(number) })).unwrap();
        for _ in 0..60 {
            writer.append(Entry::Change { op: Op::Insert, relation: &relation(1), body: &body }).unwrap();
        }
        writer.append(Entry::Commit { end_lsn: transaction(number).commit_lsn }).unwrap();
    }
    writer.sync().await.unwrap();
    for from in 0..180 {
        let event = log.reader(Offset(from)).unwrap().next(ALL).await.unwrap().events.remove(0);
        let wanted = (60..120).contains(&from).then_some("elsewhere");
        assert_eq!(event.transaction.origin.as_deref(), wanted, "{from}");
    }
    drop((writer, log));
    let (_writer, log, recovered) = reopen(&path, SMALL);
    assert_eq!(recovered.durable.offset, Offset(180));
    let events = log.reader(Offset(119)).unwrap().next(ALL).await.unwrap().events;
    assert_eq!(events.iter().filter(|event| event.transaction.origin.is_some()).count(), 1);
    assert!(verify(&path, |_, _| {}).unwrap().damages.is_empty());
}

#[tokio::test]
async fn rows_are_read_with_the_version_of_the_table_they_were_written_with() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let (mut writer, log, _) = reopen(&path, SMALL);
    writer.append(Entry::Epoch(&epoch())).unwrap();
    let old = relation(1);
    let mut renamed = (*old).clone();
    renamed.columns[0].name = "renamed".to_owned();
    let versions = [old, Arc::new(renamed)];
    for number in 1..=200_u64 {
        writer.append(Entry::Begin(&transaction(number))).unwrap();
        let body = insert_body(number.to_string().as_bytes());
        let version = &versions[usize::from(number % 7 > 3)];
        writer.append(Entry::Change { op: Op::Insert, relation: version, body: &body }).unwrap();
        writer.append(Entry::Commit { end_lsn: Lsn::new(number * 100 + 1) }).unwrap();
        writer.flush().await.unwrap();
    }
    writer.sync().await.unwrap();
    for from in [0, 3, 100, 199] {
        let mut reader = log.reader(Offset(from)).unwrap();
        let mut same: Vec<Arc<Relation>> = Vec::new();
        while reader.offset() < Offset(200) {
            for event in reader.next(ALL).await.unwrap().events {
                let number = event.transaction.commit_lsn.get() / 100;
                let relation = event.change.relation().unwrap();
                assert_eq!(**relation, *versions[usize::from(number % 7 > 3)]);
                if !same.iter().any(|known| Arc::ptr_eq(known, relation)) {
                    same.push(Arc::clone(relation));
                }
            }
        }
        assert!(same.len() < 30, "an unchanged relation stays the same Arc from segment to segment: {}", same.len());
    }
}

#[tokio::test]
async fn a_new_epoch_begins_its_lsns_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let (mut writer, log, _) = reopen(&path, SMALL);
    writer.append(Entry::Epoch(&epoch())).unwrap();
    append(&mut writer, 900, &[b"before".to_vec()]);
    let second = Epoch { number: 2, start_lsn: Lsn::new(40), ..epoch() };
    writer.append(Entry::Epoch(&second)).unwrap();
    assert_eq!(
        writer.sync().await.unwrap().end_lsn,
        Lsn::new(40),
        "the old history's LSN may not be confirmed to the new"
    );
    writer.append(Entry::Begin(&Transaction { epoch: 2, ..transaction(3) })).unwrap();
    writer.append(Entry::Message { prefix: "app", content: b"hello" }).unwrap();
    writer.append(Entry::Commit { end_lsn: Lsn::new(350) }).unwrap();
    let durable = writer.sync().await.unwrap();
    drop(writer);
    let events = log.reader(Offset(1)).unwrap().next(ALL).await.unwrap().events;
    let message = Change::Message { prefix: "app".to_owned(), content: Bytes::from_static(b"hello") };
    assert_eq!((&events[0].change, events[0].position().epoch), (&message, 2));
    drop(log);
    let (_writer, log, recovered) = reopen(&path, SMALL);
    assert_eq!((recovered.epoch, recovered.durable), (Some(second), durable));
    assert_eq!(log.find(Place::Lsn(Lsn::new(1))).unwrap(), Offset(1), "the first of its own epoch");
}

/// Begins or ends a copy of table 1 in a unit of its own, and returns where that event stands.
fn copy(writer: &mut Writer, number: u64, since: Option<Offset>) -> Offset {
    let relation = relation(1);
    writer.append(Entry::Begin(&transaction(number))).unwrap();
    let offset = writer.next_offset();
    match since {
        None => writer.append(Entry::CopyBegun { relation: &relation }).unwrap(),
        Some(since) => writer.append(Entry::CopyDone { relation: &relation, since }).unwrap(),
    }
    writer.append(Entry::Commit { end_lsn: Lsn::new(number * 100 + 1) }).unwrap();
    offset
}

#[tokio::test]
async fn a_copy_begins_and_ends_as_events_that_know_each_other_over_segments_and_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let (mut writer, _, _) = reopen(&path, SMALL);
    writer.append(Entry::Epoch(&epoch())).unwrap();
    append(&mut writer, 1, &[b"before".to_vec()]);
    let since = copy(&mut writer, 2, None);
    for number in 3..=60 {
        append(&mut writer, number, &[vec![b'x'; 300]]);
        writer.flush().await.unwrap();
    }
    drop(writer);
    let (mut writer, log, _) = reopen(&path, SMALL);
    let done = copy(&mut writer, 61, Some(since));
    writer.sync().await.unwrap();
    let change = |offset: Offset| {
        let mut reader = log.reader(offset).unwrap();
        async move { reader.next(ALL).await.unwrap().events.remove(0).change }
    };
    assert_eq!((since, done), (Offset(1), Offset(60)));
    assert_eq!(change(since).await, Change::CopyBegun { relation: relation(1) });
    assert_eq!(change(done).await, Change::CopyDone { relation: relation(1), since });
    assert_eq!(verify(&path, |_, _| {}).unwrap().damages, []);
    writer.append(Entry::Begin(&transaction(70))).unwrap();
    let again = writer.append(Entry::CopyDone { relation: &relation(1), since }).unwrap_err();
    assert!(matches!(again, LogError::Misuse(_)), "a copy ends once: {again}");
}

/// Whoever reads must have committed what comes before, and only the reader knows at which offset and byte that ends.
#[tokio::test]
async fn the_unit_in_which_a_copy_ends_begins_a_batch() {
    let directory = tempfile::tempdir().unwrap();
    let (mut writer, log, _) = reopen(&directory.path().join("log"), Options::default());
    writer.append(Entry::Epoch(&epoch())).unwrap();
    let since = copy(&mut writer, 1, None);
    append(&mut writer, 2, &[b"a".to_vec(), b"b".to_vec()]);
    let before = writer.sync().await.unwrap();
    copy(&mut writer, 3, Some(since));
    append(&mut writer, 4, &[b"c".to_vec()]);
    let end = writer.sync().await.unwrap();
    let mut reader = log.reader(Offset(0)).unwrap();
    let first = reader.next(ALL).await.unwrap();
    assert_eq!(
        (first.events.len(), first.next, first.bytes, first.ends_transaction),
        (3, before.offset, before.bytes, true)
    );
    let second = reader.next(ALL).await.unwrap();
    assert_eq!((second.events.len(), second.next, second.bytes), (2, end.offset, end.bytes));
    assert!(second.events[0].ends_copy());
}

/// A log of format 1, whose preambles end before the copies: it is read, and gone on with in a segment of today's format.
#[tokio::test]
async fn a_log_of_the_first_format_is_read_and_gone_on_with_in_a_new_segment() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    drop(reopen(&path, Options::default()));
    let file = path.join(segment_name(0, 0));
    let new = std::fs::read(&file).unwrap();
    let mut old = new[..new.len() - 8].to_vec();
    old[8..12].copy_from_slice(&[1, 0, 0xFE, 0xFF]);
    let mut header = Header::parse(&old[SEGMENT_HEADER_LEN..]).unwrap();
    header.len -= 8;
    super::super::preamble::write_header(&mut old[SEGMENT_HEADER_LEN..], &mut header);
    std::fs::write(&file, &old).unwrap();
    let (mut writer, log, _) = reopen(&path, Options::default());
    writer.append(Entry::Epoch(&epoch())).unwrap();
    append(&mut writer, 1, &[b"x".to_vec()]);
    copy(&mut writer, 2, None);
    writer.sync().await.unwrap();
    assert_eq!(log.reader(Offset(0)).unwrap().next(ALL).await.unwrap().events.len(), 2);
    drop(writer);
    assert_eq!(std::fs::read(&file).unwrap()[8], 1, "what is there stays as it is");
    assert_eq!(std::fs::read(path.join(segment_name(1, 0))).unwrap()[8], 2);
    assert_eq!(verify(&path, |_, _| {}).unwrap().damages, []);
}

/// A disk whose fsync takes long, and that counts them.
#[derive(Clone, Debug, Default)]
struct Slow(Arc<AtomicUsize>);

impl Disk for Slow {
    fn sync(&self, file: &File, _path: &Path) -> io::Result<()> {
        std::thread::sleep(Duration::from_millis(20));
        self.0.fetch_add(1, Ordering::SeqCst);
        file.sync_data()
    }
}

#[tokio::test]
async fn transactions_that_come_during_an_fsync_share_the_next_one() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Slow::default();
    let path = directory.path().join("log");
    let (mut writer, log, _) = open_on(&path, Options::default(), Box::new(disk.clone())).unwrap();
    writer.append(Entry::Epoch(&epoch())).unwrap();
    for number in 1..=1000 {
        append(&mut writer, number, &[b"x".to_vec()]);
        if writer.can_flush() {
            writer.flush().await.unwrap();
        }
        assert!(writer.pending_bytes() < 1 << 20);
    }
    assert_eq!(writer.sync().await.unwrap().offset, Offset(1000));
    let fsyncs = disk.0.load(Ordering::SeqCst);
    assert!(fsyncs < 500, "{fsyncs} fsyncs for 1000 transactions");
    assert_eq!(read_all(&log, Offset(0)).await.len(), 1000);
}

#[tokio::test]
async fn a_dropped_flush_and_a_dropped_read_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let (mut writer, log, _) = open_on(&path, SMALL, Box::new(Slow::default())).unwrap();
    writer.append(Entry::Epoch(&epoch())).unwrap();
    let mut reader = log.reader(Offset(0)).unwrap();
    let mut values = Vec::new();
    for number in 1..=30 {
        append(&mut writer, number, &[b"x".to_vec()]);
        let instant = Duration::from_millis(3);
        let _dropped = tokio::time::timeout(instant, writer.flush()).await;
        if let Ok(batch) = tokio::time::timeout(instant, reader.next(ALL)).await {
            values.extend(batch.unwrap().events.iter().map(value));
        }
    }
    writer.sync().await.unwrap();
    while reader.offset() < Offset(30) {
        values.extend(reader.next(ALL).await.unwrap().events.iter().map(value));
    }
    let want: Vec<_> = (1..=30).map(|number| (number, Bytes::from_static(b"x"))).collect();
    assert_eq!(values, want);
}
