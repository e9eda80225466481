//! Disks that fail.

use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::log::embedded::disk::Disk;
use crate::status::Code;

/// A disk on which one kind of call can be made to fail.
#[derive(Clone, Debug, Default)]
struct Faulty {
    sync: Arc<AtomicBool>,
    full: Arc<AtomicBool>,
}

impl Disk for Faulty {
    fn write(&self, file: &File, _path: &Path, bytes: &[u8], byte: u64) -> io::Result<()> {
        let full = self.full.load(Ordering::SeqCst);
        let bytes = if full { &bytes[..bytes.len() / 2] } else { bytes };
        std::os::unix::fs::FileExt::write_all_at(file, bytes, byte)?;
        if full { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(()) }
    }

    fn sync(&self, file: &File, _path: &Path) -> io::Result<()> {
        if self.sync.swap(false, Ordering::SeqCst) {
            return Err(io::Error::other("I/O error"));
        }
        file.sync_data()
    }
}

async fn with_one_transaction(disk: &Faulty, path: &Path) -> (Writer, Log, Durable) {
    let (mut writer, log, _) = open_on(path, SMALL, Box::new(disk.clone())).unwrap();
    writer.append(Entry::Epoch(&epoch())).unwrap();
    append(&mut writer, 1, &[b"first".to_vec()]);
    let durable = writer.sync().await.unwrap();
    (writer, log, durable)
}

/// The kernel reports a failed write-back once and then forgets it: a second fsync succeeds although the data is lost.
/// PostgreSQL itself lost data so until 2019 ("fsyncgate").
#[tokio::test]
async fn after_one_failed_fsync_nothing_is_ever_durable_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let disk = Faulty::default();
    let (mut writer, log, durable) = with_one_transaction(&disk, &path).await;
    let mut watch = writer.durable();
    let mut reader = log.reader(Offset(1)).unwrap();
    disk.sync.store(true, Ordering::SeqCst);
    append(&mut writer, 2, &[b"lost".to_vec()]);
    assert!(matches!(writer.sync().await, Err(LogError::Io { action: "fsync", .. })));
    assert!(matches!(writer.append(Entry::Progress(Lsn::new(900))), Err(LogError::Poisoned { .. })));
    assert!(matches!(writer.flush().await, Err(LogError::Poisoned { .. })));
    assert!(matches!(writer.sync().await, Err(LogError::Poisoned { .. })));
    assert!(matches!(reader.next(ALL).await, Err(LogError::Poisoned { .. })), "a reader at the end is told");
    assert_eq!(*watch.borrow_and_update(), durable);
    let before: Vec<_> =
        std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).collect();
    drop(writer);
    let after: Vec<_> =
        std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).collect();
    assert_eq!(before, after, "closing writes nothing either");
    assert_eq!(*watch.borrow(), durable);
}

#[tokio::test]
async fn a_full_disk_stops_the_log_and_it_goes_on_when_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let disk = Faulty::default();
    let (mut writer, log, durable) = with_one_transaction(&disk, &path).await;
    disk.full.store(true, Ordering::SeqCst);
    append(&mut writer, 2, &[vec![b'x'; 1000]]);
    let error = writer.sync().await.unwrap_err();
    assert_eq!(error.code(), Code::LogFull);
    assert_eq!(*log.durable().borrow(), durable);
    drop((writer, log));
    let (mut writer, log, recovered) = reopen(&path, SMALL);
    assert_eq!(recovered.durable, durable);
    assert!(recovered.truncated_bytes > 0);
    append(&mut writer, 2, &[vec![b'x'; 1000]]);
    writer.sync().await.unwrap();
    assert_eq!(read_all(&log, Offset(0)).await.len(), 2);
}

#[tokio::test]
async fn a_directory_removed_replaced_or_made_read_only_stops_the_log() {
    type Blow = fn(&Path);
    let blows: [(&str, Blow); 3] = [
        ("removed", |path| std::fs::remove_dir_all(path).unwrap()),
        ("replaced", |path| {
            let aside = path.with_extension("aside");
            std::fs::rename(path, &aside).unwrap();
            schedules::copy_directory(&aside, path);
        }),
        ("made read-only", |path| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o500)).unwrap();
        }),
    ];
    for (name, blow) in blows {
        for size in [10, 5000] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("log");
            let (mut writer, log, durable) = with_one_transaction(&Faulty::default(), &path).await;
            append(&mut writer, 2, &[vec![b'x'; size]]);
            let kept = if size > 10 { writer.sync().await.unwrap() } else { durable };
            blow(&path);
            append(&mut writer, 3, &[b"nowhere".to_vec()]);
            let error = writer.sync().await.unwrap_err();
            assert_eq!(error.code(), Code::LogIo, "{name}: {error}");
            assert_eq!(*log.durable().borrow(), kept, "{name}");
            drop((writer, log));
            if path.exists() {
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn what_is_appended_out_of_order_is_refused_and_ends_the_writer() {
    let begin = transaction(5);
    let older = transaction(4);
    let other_epoch = Transaction { epoch: 2, ..transaction(6) };
    let snapshot = crate::log::TableSnapshot::begin(1, relation(1).name.clone(), 1, Offset(0), String::new());
    let (table, body, same_epoch) = (relation(1), insert_body(b"x"), epoch());
    let change = Entry::Change { op: Op::Insert, relation: &table, body: &body };
    let commit = Entry::Commit { end_lsn: Lsn::new(550) };
    let wrong: &[&[Entry<'_>]] = &[
        &[change],
        &[commit],
        &[Entry::Abort],
        &[Entry::Snapshot(&snapshot)],
        &[Entry::Epoch(&same_epoch)],
        &[Entry::Begin(&begin), Entry::Begin(&begin)],
        &[Entry::Begin(&begin), Entry::Progress(Lsn::new(900))],
        &[Entry::Begin(&begin), change, Entry::Commit { end_lsn: Lsn::new(499) }],
        &[Entry::Begin(&begin), change, commit, Entry::Begin(&begin)],
        &[Entry::Begin(&begin), change, commit, Entry::Begin(&older)],
        &[Entry::Begin(&other_epoch)],
    ];
    for entries in wrong {
        let directory = tempfile::tempdir().unwrap();
        let (mut writer, _log, _) = reopen(&directory.path().join("log"), SMALL);
        writer.append(Entry::Epoch(&epoch())).unwrap();
        let (last, before) = entries.split_last().unwrap();
        before.iter().for_each(|&entry| writer.append(entry).unwrap());
        let refused = writer.append(*last).unwrap_err();
        assert_eq!(refused.code(), Code::Internal, "{entries:?}");
        assert!(writer.append(Entry::Abort).is_err() && writer.sync().await.is_err());
    }
}
