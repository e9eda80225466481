//! Retention, look-up, and readers beside a writer that never stops.

use std::fs::{File, FileTimes};
use std::path::Path;
use std::time::{Duration, SystemTime};

use walbridge::event::{Lsn, Offset, Place, Timestamp};
use walbridge::log::embedded::{Log, ReadOnly, Retention, Writer, open, verify};
use walbridge::log::{Entry, Limit, LogError, TableSnapshot};

use crate::log_recovery::support::*;

const DAY: Duration = Duration::from_secs(24 * 3600);
const WEEK: Retention = Retention { age: Some(Duration::from_secs(7 * 24 * 3600)), size_bytes: None };

/// Sixty transactions over many segments; the n-th committed at n seconds after 1970.
async fn sixty(path: &Path) -> (Writer, Log) {
    let (mut writer, log, _) = open(path, SMALL).unwrap();
    writer.append(Entry::Epoch(&epoch())).unwrap();
    for number in 1..=60 {
        append(&mut writer, number, &[&[b'v'; 300], b"second"]);
        writer.sync().await.unwrap();
    }
    assert!(segments(path).len() > 5);
    (writer, log)
}

fn keep_bytes(size_bytes: u64) -> Retention {
    Retention { age: None, size_bytes: Some(size_bytes) }
}

fn later(by: Duration) -> Timestamp {
    let micros = i64::try_from(by.as_micros()).unwrap();
    Timestamp::from_unix_micros(Timestamp::now().unix_micros() + micros)
}

fn touch(path: &Path, age: Duration) {
    let times = FileTimes::new().set_modified(SystemTime::now() - age);
    File::open(path).unwrap().set_times(times).unwrap();
}

#[tokio::test]
async fn size_removes_the_oldest_but_nothing_a_sink_still_needs() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("log");
    let (_writer, log) = sixty(&path).await;
    let all = log.size_bytes();
    let nothing = log.retain(&keep_bytes(all), Offset(120), Timestamp::now()).unwrap();
    assert_eq!((nothing.removed_segments, nothing.start, nothing.held_back_bytes), (0, Offset(0), 0));
    let held = log.retain(&keep_bytes(8192), Offset(40), Timestamp::now()).unwrap();
    assert!(held.removed_segments > 0 && held.start <= Offset(40) && held.start > Offset(20), "{held:?}");
    assert!(held.held_back_bytes > 0, "a sink at 40 costs disk, and that is said");
    let mut sink = log.reader(Offset(40)).unwrap();
    assert_eq!(value(&sink.next(ALL).await.unwrap().events[0]).0, 21);
    let free = log.retain(&keep_bytes(8192), Offset(120), Timestamp::now()).unwrap();
    assert!(free.start > Offset(40) && free.held_back_bytes == 0, "{free:?}");
    assert!(log.size_bytes() <= 8192);
    let last = log.retain(&keep_bytes(0), Offset(120), Timestamp::now()).unwrap();
    assert_eq!(segments(&path).len(), 1, "never the last: {last:?}");
    assert_eq!(verify(&path, |_, _| {}).unwrap().damages, []);
}

/// At the end of a table's copy a sink reads the log from the copy's beginning again. While one may still have to, that part of
/// the log stays.
#[tokio::test]
async fn the_log_of_an_unfinished_copy_is_kept_for_the_sinks_that_have_not_passed_its_end() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("log");
    let (mut writer, log) = sixty(&path).await;
    let relation = table();
    let mark = |writer: &mut Writer, number, since: Option<Offset>| {
        writer.append(Entry::Begin(&transaction(number))).unwrap();
        let offset = writer.next_offset();
        match since {
            None => writer.append(Entry::CopyBegun { relation: &relation }).unwrap(),
            Some(since) => writer.append(Entry::CopyDone { relation: &relation, since }).unwrap(),
        }
        writer.append(Entry::Commit { end_lsn: Lsn::new(number * 100 + 1) }).unwrap();
        offset
    };
    let since = mark(&mut writer, 61, None);
    for number in 62..=90 {
        append(&mut writer, number, &[&[b'v'; 300]]);
        writer.sync().await.unwrap();
    }
    let end = writer.next_offset();
    let open = log.retain(&keep_bytes(0), end, Timestamp::now()).unwrap();
    assert!(open.start <= since && open.start > Offset(60) && open.held_back_bytes > 0, "{open:?}");
    let done = mark(&mut writer, 91, Some(since));
    for number in 92..=99 {
        append(&mut writer, number, &[&[b'v'; 3000]]);
        writer.sync().await.unwrap();
    }
    let before = log.retain(&keep_bytes(0), done, Timestamp::now()).unwrap();
    assert!(before.start <= since, "a sink stands before its end: {before:?}");
    let passed = log.retain(&keep_bytes(0), writer.next_offset(), Timestamp::now()).unwrap();
    assert!(passed.start > done, "{passed:?}");
}

/// A table dropped in the middle of a further copy held the log for ever: nothing ended that copy. Its last record of progress
/// does, also for a log that is opened again.
#[tokio::test]
async fn a_copy_that_was_given_up_does_not_hold_the_log() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("log");
    let (mut writer, log) = sixty(&path).await;
    let since = writer.next_offset();
    writer.append(Entry::Begin(&transaction(61))).unwrap();
    writer.append(Entry::CopyBegun { relation: &table() }).unwrap();
    writer.append(Entry::Commit { end_lsn: Lsn::new(6101) }).unwrap();
    for number in 62..=70 {
        append(&mut writer, number, &[&[b'v'; 3000]]);
        writer.sync().await.unwrap();
    }
    let held = log.retain(&keep_bytes(0), writer.next_offset(), Timestamp::now()).unwrap();
    assert!(held.start <= since, "{held:?}");
    let mut record = TableSnapshot::begin(table().oid, table().name.clone(), 2, since, "asked for".into());
    record.done = true;
    writer.append(Entry::Begin(&transaction(71))).unwrap();
    writer.append(Entry::Snapshot(&record)).unwrap();
    writer.append(Entry::Commit { end_lsn: Lsn::new(7101) }).unwrap();
    writer.sync().await.unwrap();
    drop((writer, log));
    let (mut writer, log, _) = open(&path, SMALL).unwrap();
    for number in 72..=80 {
        append(&mut writer, number, &[&[b'v'; 3000]]);
        writer.sync().await.unwrap();
    }
    let free = log.retain(&keep_bytes(0), writer.next_offset(), Timestamp::now()).unwrap();
    assert!(free.start > since, "{free:?}");
}

#[tokio::test]
async fn after_retention_what_is_gone_is_expired_and_what_is_left_reopens() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("log");
    let (writer, log) = sixty(&path).await;
    let mut slow = log.reader(Offset(0)).unwrap();
    let few = Limit { events: 3, bytes: usize::MAX };
    slow.next(few).await.unwrap();
    let outside = ReadOnly::open(&path).unwrap();
    let start = log.retain(&keep_bytes(8192), Offset(120), Timestamp::now()).unwrap().start;
    let expired = |error: LogError| assert!(matches!(error, LogError::Expired { .. }), "{error}");
    expired(slow.next(few).await.unwrap_err());
    expired(log.reader(Offset(0)).unwrap_err());
    expired(log.bytes_at(Offset(start.0 - 1)).unwrap_err());
    assert!(outside.reader(Offset(0)).is_err(), "its file is gone");
    drop((writer, log, slow));
    let (_writer, log, recovered) = open(&path, SMALL).unwrap();
    assert_eq!((log.start(), recovered.durable.offset), (start, Offset(120)));
    assert_eq!(read_all(&log).await.len() as u64, 120 - start.0);
}

#[tokio::test]
async fn age_goes_by_the_commit_time_and_by_the_file_and_both_must_be_old() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("log");
    let (_writer, log) = sixty(&path).await;
    let young = log.retain(&WEEK, Offset(120), Timestamp::now()).unwrap();
    assert_eq!(young.removed_segments, 0, "committed in 1970 by the source's clock, but written today");
    let files = segments(&path);
    files[..3].iter().for_each(|file| touch(file, 8 * DAY));
    let old = log.retain(&WEEK, Offset(120), Timestamp::now()).unwrap();
    assert_eq!(old.removed_segments, 3);
}

/// A virtual machine resumed with its clock a year ahead, or booted with it a year behind, must neither delete everything nor
/// order events anew.
#[tokio::test]
async fn a_clock_that_jumps_a_year_removes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("log");
    let (mut writer, log) = sixty(&path).await;
    for now in [later(365 * DAY), Timestamp::from_unix_micros(0), later(Duration::ZERO)] {
        assert_eq!(log.retain(&WEEK, Offset(120), now).unwrap().removed_segments, 0);
        let number = log.durable().borrow().offset.0;
        append(&mut writer, number, &[b"goes on"]);
        writer.sync().await.unwrap();
    }
    drop((writer, log));
    let (_writer, log, _) = open(&path, SMALL).unwrap();
    let jumped = log.retain(&WEEK, Offset(120), later(365 * DAY)).unwrap();
    assert_eq!(jumped.removed_segments, 0, "nor after a restart");
}

#[tokio::test]
async fn a_place_is_found_by_lsn_time_and_offset() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("log");
    let (mut writer, log) = sixty(&path).await;
    let lsn = |number: u64| Place::Lsn(Lsn::new(number * 100));
    let second = |number: i64| Timestamp::from_unix_micros(number * 1_000_000);
    for number in 1..=60 {
        let begins = Offset(number * 2 - 2);
        assert_eq!(log.find(lsn(number)).unwrap(), begins);
        assert_eq!(log.find(Place::Lsn(Lsn::new(number * 100 - 1))).unwrap(), begins);
        assert_eq!(log.find(Place::Time(second(i64::try_from(number).unwrap()))).unwrap(), begins);
        assert_eq!(log.find(Place::Offset(begins)).unwrap(), begins);
        assert_eq!(log.find(Place::Offset(Offset(begins.0 + 1))).unwrap(), begins, "with what is of its transaction");
    }
    for behind in [lsn(99), Place::Time(second(99)), Place::Offset(Offset(120))] {
        assert_eq!(log.find(behind).unwrap(), Offset(120));
    }
    assert!(matches!(log.find(Place::Offset(Offset(121))), Err(LogError::Ahead { .. })));
    let outside = ReadOnly::open(&path).unwrap();
    assert_eq!(outside.find(lsn(30)).unwrap(), Offset(58));
    assert_eq!(outside.find(Place::Time(second(30))).unwrap(), Offset(58));

    let bytes: Vec<_> = (0..=120).map(|offset| log.bytes_at(Offset(offset)).unwrap()).collect();
    assert!(bytes.is_sorted());
    assert_eq!(bytes[120], log.durable().borrow().bytes);

    // The source's clock is set back: the first transaction at or after a time is still the first in the log.
    let back = walbridge::event::Transaction { commit_time: second(10), ..transaction(61) };
    writer.append(Entry::Begin(&back)).unwrap();
    append_row(&mut writer, &table(), b"earlier");
    writer.append(Entry::Commit { end_lsn: Lsn::new(6150) }).unwrap();
    writer.sync().await.unwrap();
    assert_eq!(log.find(Place::Time(second(10))).unwrap(), Offset(18));
    assert_eq!(log.find(Place::Time(second(61))).unwrap(), Offset(121));

    let start = log.retain(&keep_bytes(8192), Offset(120), Timestamp::now()).unwrap().start;
    for gone in [lsn(1), Place::Time(second(1)), Place::Offset(Offset(start.0 - 1))] {
        assert!(matches!(log.find(gone), Err(LogError::Expired { .. })), "{gone}");
    }
    assert_eq!(log.find(lsn(60)).unwrap(), Offset(118).max(start));
    assert_eq!(log.find(Place::Start).unwrap(), start);
}

/// A writer that commits, takes back and rolls without pause; beside it a reader in the process, one outside, and retention.
/// Each transaction's rows say how many there are, so that half of one would show.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_beside_a_busy_writer_see_whole_transactions_and_nothing_else() {
    const TRANSACTIONS: u64 = 400;
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("log");
    let (mut writer, log, _) = open(&path, SMALL).unwrap();
    writer.append(Entry::Epoch(&epoch())).unwrap();
    let total: u64 = (1..=TRANSACTIONS).map(rows_of).sum();

    let inside = tokio::spawn(follow_inside(log.clone(), total));
    let directory = path.clone();
    let outside = tokio::task::spawn_blocking(move || follow_outside(&directory, total));
    for number in 1..=TRANSACTIONS {
        if number % 4 == 0 {
            write_transaction(&mut writer, number, true).await;
            writer.append(Entry::Abort).unwrap();
        }
        write_transaction(&mut writer, number, number % 16 == 1).await;
        writer.append(Entry::Commit { end_lsn: Lsn::new(number * 100 + 50) }).unwrap();
        writer.flush().await.unwrap();
    }
    writer.sync().await.unwrap();
    inside.await.unwrap();
    outside.await.unwrap();
    assert_eq!(log.durable().borrow().offset, Offset(total));
}

const fn rows_of(number: u64) -> u64 {
    1 + number % 13
}

async fn write_transaction(writer: &mut Writer, number: u64, flush_each: bool) {
    writer.append(Entry::Begin(&transaction(number))).unwrap();
    for row in 0..rows_of(number) {
        append_row(writer, &table(), format!("{row} {}", "x".repeat(60)).as_bytes());
        if flush_each {
            writer.flush().await.unwrap();
        }
    }
}

/// Checks rows as they come: each transaction in order, each of its rows once.
#[derive(Default)]
struct Checker {
    number: u64,
    row: u64,
    seen: u64,
}

impl Checker {
    fn check(&mut self, batch: &walbridge::log::Batch) {
        for event in &batch.events {
            let (number, value) = value(event);
            if self.row == rows_of(self.number) || self.number == 0 {
                (self.number, self.row) = (self.number + 1, 0);
            }
            assert_eq!(number, self.number, "after {} events", self.seen);
            assert!(value.starts_with(format!("{} ", self.row).as_bytes()));
            (self.row, self.seen) = (self.row + 1, self.seen + 1);
        }
        assert_eq!(batch.ends_transaction, self.row == rows_of(self.number));
        assert_eq!(batch.next, Offset(self.seen));
    }
}

async fn follow_inside(log: Log, total: u64) {
    let mut checker = Checker::default();
    let mut reader = log.reader(Offset(0)).unwrap();
    while checker.seen < total {
        // Dropped half-way again and again: nothing may be lost by it.
        let limit = Limit { events: 40, bytes: 4000 };
        let Ok(batch) = tokio::time::timeout(Duration::from_micros(300), reader.next(limit)).await else { continue };
        checker.check(&batch.unwrap());
    }
}

fn follow_outside(directory: &Path, total: u64) {
    let mut checker = Checker::default();
    let mut log = ReadOnly::open(directory).unwrap();
    let mut reader = log.reader(Offset(0)).unwrap();
    while checker.seen < total {
        log.refresh().unwrap();
        while let Some(batch) = reader.next(&log, Limit { events: 40, bytes: 4000 }).unwrap() {
            checker.check(&batch);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_retention_overtakes_is_told_so_and_given_nothing_wrong() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("log");
    let (mut writer, log, _) = open(&path, SMALL).unwrap();
    writer.append(Entry::Epoch(&epoch())).unwrap();
    let slow = tokio::spawn(overtaken(log.clone()));
    let mut number = 0;
    while !slow.is_finished() {
        number += 1;
        append(&mut writer, number, &[&[b'v'; 100]]);
        writer.flush().await.unwrap();
        if number % 50 == 0 {
            writer.sync().await.unwrap();
            let end = log.durable().borrow().offset;
            log.retain(&keep_bytes(10_000), end, Timestamp::now()).unwrap();
        }
    }
    assert!(slow.await.unwrap() > 3, "overtaken several times");
}

async fn overtaken(log: Log) -> u32 {
    let (mut times, mut reader) = (0, log.reader(log.start()).unwrap());
    for _ in 0..3000 {
        match reader.next(Limit { events: 2, bytes: usize::MAX }).await {
            Ok(batch) => {
                for (number, event) in (batch.next.0 - batch.events.len() as u64 + 1..).zip(&batch.events) {
                    assert_eq!(value(event), (number, vec![b'v'; 100]));
                }
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
            Err(LogError::Expired { .. }) => {
                times += 1;
                reader = log.reader(log.start()).or_else(|_| log.reader(log.start())).unwrap();
            }
            Err(error) => panic!("{error}"),
        }
    }
    times
}
