//! Records of every size against small segments.

use std::path::Path;

use walbridge::event::{Offset, Timestamp};
use walbridge::log::embedded::{Log, Options, Retention, open, verify};
use walbridge::log::{Entry, LogError};

use super::support::*;

/// Segments of 4 KiB and records up to twice that: every way in which a record can meet the end of a segment. What has been
/// read back is left to retention, so that each reopening is quick.
#[tokio::test]
async fn records_of_every_size_survive_rolling_and_reopening() {
    // Thousands of segments, with three fsyncs each: in memory, where there is such a place.
    let memory = Path::new("/dev/shm");
    let root = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let path = root.path().join("log");
    let (mut writer, mut log, _) = open(&path, SMALL).unwrap();
    writer.append(Entry::Epoch(&epoch())).unwrap();
    let filler = vec![b'r'; 8192];
    let mut checked = Offset(0);
    for size in 1..=8192_u64 {
        append(&mut writer, size, &[&filler[..usize::try_from(size).unwrap()]]);
        writer.flush().await.unwrap();
        if size % 32 != 0 {
            continue;
        }
        writer.sync().await.unwrap();
        drop((writer, log));
        let (again, handle, recovered) = open(&path, SMALL).unwrap();
        assert_eq!((recovered.durable.offset.0, recovered.truncated_bytes), (size, 0));
        (writer, log) = (again, handle);
        checked = check(&log, checked).await;
        let small = Retention { size_bytes: Some(8192), ..Retention::default() };
        let kept = log.retain(&small, checked, Timestamp::now()).unwrap();
        assert!(segments(&path).len() < 8, "{size} {kept:?} {:?}", segments(&path));
    }
    assert_eq!(checked, Offset(8192));
    assert_eq!(verify(&path, |_, _| {}).unwrap().damages, []);
}

async fn check(log: &Log, from: Offset) -> Offset {
    let mut reader = log.reader(from).unwrap();
    while reader.offset() < log.durable().borrow().offset {
        let at = reader.offset().0;
        let batch = reader.next(ALL).await.unwrap();
        for (size, event) in (at + 1..).zip(&batch.events) {
            let (number, value) = value(event);
            assert_eq!((number, value.len() as u64), (size, size));
        }
    }
    reader.offset()
}

#[tokio::test]
async fn a_record_of_many_megabytes_is_one_among_others() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("log");
    let options = Options { segment_bytes: 1 << 20, ..Options::default() };
    let (mut writer, log, _) = open(&path, options).unwrap();
    writer.append(Entry::Epoch(&epoch())).unwrap();
    let huge = vec![b'h'; 20 << 20];
    append(&mut writer, 1, &[b"before", &huge, b"after"]);
    writer.sync().await.unwrap();
    let lengths: Vec<_> = read_all(&log).await.into_iter().map(|(_, value)| value.len()).collect();
    assert_eq!(lengths, [6, 20 << 20, 5]);
}

#[tokio::test]
async fn an_offset_the_log_has_not_reached_is_not_waited_for() {
    let root = tempfile::tempdir().unwrap();
    let (_writer, log, _) = open(&root.path().join("log"), SMALL).unwrap();
    assert!(matches!(log.reader(Offset(1)), Err(LogError::Ahead { .. })));
}
