//! Directories that are not what they should be.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use walbridge::log::embedded::{Options, ReadOnly, open};
use walbridge::log::{Entry, LogError};

use super::support::*;

async fn a_log(path: &Path) {
    let (mut writer, _log, _) = open(path, Options::default()).unwrap();
    writer.append(Entry::Epoch(&epoch())).unwrap();
    append(&mut writer, 1, &[b"a"]);
    writer.sync().await.unwrap();
}

#[tokio::test]
async fn a_second_opener_is_told_and_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("log");
    let (mut writer, log, _) = open(&path, Options::default()).unwrap();
    writer.append(Entry::Epoch(&epoch())).unwrap();
    append(&mut writer, 1, &[b"a"]);
    writer.sync().await.unwrap();
    let before = contents(&path);
    assert!(matches!(open(&path, Options::default()), Err(LogError::Locked { .. })));
    assert_eq!(contents(&path), before);
    assert_eq!(read_only(&path).len(), 1, "reading needs no lock");
    drop((writer, log));
    open(&path, Options::default()).unwrap();
}

#[tokio::test]
async fn a_newer_format_is_refused_and_left_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("log");
    a_log(&path).await;
    fs::remove_file(path.join("LOCK")).unwrap();
    let segment = segments(&path).remove(0);
    let mut bytes = fs::read(&segment).unwrap();
    bytes[8..10].copy_from_slice(&9_u16.to_le_bytes());
    bytes[10..12].copy_from_slice(&(!9_u16).to_le_bytes());
    bytes.truncate(100);
    write_file(&segment, &bytes);
    let before = contents(&path);
    let refused = |error: LogError| assert!(matches!(error, LogError::Format { found: 9, .. }), "{error}");
    refused(open(&path, Options::default()).unwrap_err());
    refused(ReadOnly::open(&path).unwrap_err());
    assert_eq!(contents(&path), before);
}

#[tokio::test]
async fn everything_is_made_for_its_owner_alone() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("deeper").join("log");
    a_log(&path).await;
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&path).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().mode() & 0o777, 0o600, "{entry:?}");
    }
}

#[tokio::test]
async fn links_strange_files_and_wide_modes_are_refused_with_what_to_do() {
    type Hurt = (&'static str, fn(&Path));
    let hurts: [Hurt; 6] = [
        ("the directory is a link", |path| {
            let aside = path.with_extension("aside");
            fs::rename(path, &aside).unwrap();
            symlink(&aside, path).unwrap();
        }),
        ("a segment is a link", |path| {
            let segment = segments(path).remove(0);
            let aside = path.with_extension("aside");
            fs::rename(&segment, &aside).unwrap();
            symlink(&aside, &segment).unwrap();
        }),
        ("the lock is a link", |path| {
            fs::remove_file(path.join("LOCK")).unwrap();
            symlink("/dev/null", path.join("LOCK")).unwrap();
        }),
        ("a segment is a directory", |path| {
            let segment = segments(path).remove(0);
            fs::remove_file(&segment).unwrap();
            fs::create_dir(&segment).unwrap();
        }),
        ("the directory is open to all", |path| {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }),
        ("a segment is open to all", |path| {
            fs::set_permissions(segments(path).remove(0), fs::Permissions::from_mode(0o644)).unwrap();
        }),
    ];
    for (name, hurt) in hurts {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("log");
        a_log(&path).await;
        hurt(&path);
        let error = open(&path, Options::default()).unwrap_err();
        assert!(matches!(error, LogError::Unsafe { .. } | LogError::Io { .. }), "{name}: {error}");
        let told = matches!(error, LogError::Unsafe { .. });
        assert!(told || name == "a segment is a directory", "{name}: {error}");
    }
}

#[tokio::test]
async fn an_empty_directory_made_by_an_operator_is_taken_and_closed_to_others() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("log");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    a_log(&path).await;
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn a_lock_file_that_is_missing_and_a_segment_half_made_are_of_no_account() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("log");
    a_log(&path).await;
    fs::remove_file(path.join("LOCK")).unwrap();
    let half = path.join("0000000001-00000000000000000001.wlog.new");
    write_file(&half, b"walbrlog");
    let (_writer, log, _) = open(&path, Options::default()).unwrap();
    assert_eq!(read_all(&log).await.len(), 1);
    assert!(!half.exists());
}
