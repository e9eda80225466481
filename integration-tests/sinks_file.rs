//! The JSON Lines file, on a real disk.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use walbridge::event::{Scalar, Shape};
use walbridge::project::mutation::Mutation;
use walbridge::sink::file::{FileSink, Options};
use walbridge::sink::{Sink, SinkError};

use crate::sinks_rows::{after, append_delete, append_insert, delete, table, users};

fn sink(path: &Path) -> FileSink {
    FileSink::new(Options { name: "history".to_owned(), source: "shop".to_owned(), path: path.to_owned(), files: None })
}

/// A file in a directory of its own, resumed.
async fn open() -> (TempDir, PathBuf, FileSink) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("events.jsonl");
    let mut sink = sink(&path);
    assert_eq!(sink.resume().await.unwrap(), None);
    (home, path, sink)
}

/// An insert of user n as the n-th event.
fn insert(n: u64) -> Mutation {
    let id = n.to_string();
    append_insert(n, &users(), &[Some(&id), Some("Ada"), None])
}

async fn apply(sink: &mut FileSink, n: u64, mutations: &[Mutation]) {
    let staged = sink.stage(mutations).await.unwrap();
    assert!(staged.rejected.is_empty() && staged.incomplete.is_empty(), "{staged:?}");
    sink.commit(after(n)).await.unwrap();
}

/// `op` and `id` of each line; fails on a line that is not JSON.
fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "a half line");
    let line = |line: &str| {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["source"], "shop");
        format!("{} {}", event["op"].as_str().unwrap(), event["key"]["id"])
    };
    text.lines().map(line).collect()
}

fn append_raw(path: &Path, bytes: &[u8]) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

#[tokio::test]
async fn applying_twice_is_the_same_as_once() {
    let (_home, path, mut first) = open().await;
    let mutations = [insert(1), insert(2), append_delete(3, &users(), &[Some("1"), None, None])];
    apply(&mut first, 3, &mutations).await;
    apply(&mut first, 3, &mutations).await;
    assert_eq!(lines(&path), ["insert 1", "insert 2", "delete 1"]);
    drop(first);
    let mut second = sink(&path);
    assert_eq!(second.resume().await.unwrap(), Some(after(3)));
    apply(&mut second, 4, &[insert(2), insert(4)]).await;
    assert_eq!(lines(&path), ["insert 1", "insert 2", "delete 1", "insert 4"]);
}

#[tokio::test]
async fn what_was_only_staged_is_cut_off() {
    let (_home, path, mut first) = open().await;
    apply(&mut first, 1, &[insert(1)]).await;
    // Larger than the buffer, so that it reaches the file.
    let large = "x".repeat(3 << 20);
    first.stage(&[append_insert(2, &users(), &[Some("2"), Some(&large), None]), insert(3)]).await.unwrap();
    assert!(fs::metadata(&path).unwrap().len() > 3 << 20);
    assert_eq!(first.resume().await.unwrap(), Some(after(1)));
    assert_eq!(lines(&path), ["insert 1"]);
    first.stage(&[insert(2)]).await.unwrap();
    drop(first);
    let mut second = sink(&path);
    assert_eq!(second.resume().await.unwrap(), Some(after(1)));
    apply(&mut second, 3, &[insert(2), insert(3)]).await;
    assert_eq!(lines(&path), ["insert 1", "insert 2", "insert 3"]);
}

/// The data's fsync comes before the checkpoint's. A crash between leaves whole lines, a crash before it half a line, that
/// the checkpoint does not know: going on behind them would repeat or break them.
#[tokio::test]
async fn a_crash_between_the_data_and_the_checkpoint_leaves_no_duplicate_and_no_half_line() {
    let (_home, path, mut first) = open().await;
    apply(&mut first, 1, &[insert(1)]).await;
    let checkpoint = path.with_extension("jsonl.checkpoint");
    let old = fs::read(&checkpoint).unwrap();
    apply(&mut first, 2, &[insert(2)]).await;
    drop(first);
    fs::write(&checkpoint, old).unwrap();
    append_raw(&path, b"{\"source\":\"sho");
    fs::write(path.with_extension("jsonl.checkpoint.tmp"), b"{\"len").unwrap();
    let mut second = sink(&path);
    assert_eq!(second.resume().await.unwrap(), Some(after(1)));
    apply(&mut second, 2, &[insert(2)]).await;
    assert_eq!(lines(&path), ["insert 1", "insert 2"]);
}

#[tokio::test]
async fn a_crash_before_the_first_commit_begins_anew() {
    let (_home, path, first) = open().await;
    drop(first);
    append_raw(&path, b"{\"source\":\"sho");
    let mut second = sink(&path);
    assert_eq!(second.resume().await.unwrap(), None);
    apply(&mut second, 1, &[insert(1)]).await;
    assert_eq!(lines(&path), ["insert 1"]);
}

#[tokio::test]
async fn a_file_removed_while_running_is_noticed_and_written_anew() {
    let (_home, path, mut sink) = open().await;
    apply(&mut sink, 1, &[insert(1)]).await;
    sink.probe().await.unwrap();
    fs::remove_file(&path).unwrap();
    assert!(matches!(sink.probe().await, Err(SinkError::Regressed { .. })));
    sink.stage(&[insert(2)]).await.unwrap();
    let commit = sink.commit(after(2)).await;
    assert!(matches!(commit, Err(SinkError::Regressed { .. })), "{commit:?}");
    assert_eq!(sink.resume().await.unwrap(), None);
    apply(&mut sink, 2, &[insert(1), insert(2)]).await;
    assert_eq!(lines(&path), ["insert 1", "insert 2"]);
}

/// Emptied and appended to, the file could be as long again as the checkpoint says, with other lines in it.
#[tokio::test]
async fn a_file_emptied_while_running_is_not_appended_to() {
    let (_home, path, mut sink) = open().await;
    apply(&mut sink, 1, &[insert(1)]).await;
    OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
    assert!(matches!(sink.probe().await, Err(SinkError::Regressed { .. })));
    let large = "x".repeat(2 << 20);
    let staged = sink.stage(&[append_insert(2, &users(), &[Some("2"), Some(&large), None])]).await;
    assert!(matches!(staged, Err(SinkError::Regressed { .. })));
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    assert_eq!(sink.resume().await.unwrap(), None);
    apply(&mut sink, 1, &[insert(1)]).await;
    assert_eq!(lines(&path), ["insert 1"]);
}

#[tokio::test]
async fn a_file_that_shrank_or_vanished_while_away_is_written_anew() {
    for left in [None, Some(0), Some(10)] {
        let (_home, path, mut first) = open().await;
        apply(&mut first, 2, &[insert(1), insert(2)]).await;
        drop(first);
        match left {
            None => fs::remove_file(&path).unwrap(),
            Some(length) => OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap(),
        }
        let mut second = sink(&path);
        assert_eq!(second.resume().await.unwrap(), None, "{left:?}");
        // A crash now must not find the old checkpoint again.
        drop(second);
        let mut third = sink(&path);
        assert_eq!(third.resume().await.unwrap(), None, "{left:?}");
        apply(&mut third, 2, &[insert(1), insert(2)]).await;
        assert_eq!(lines(&path), ["insert 1", "insert 2"]);
    }
}

#[tokio::test]
async fn a_file_that_is_not_ours_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let diary = home.path().join("diary.txt");
    fs::write(&diary, "dear diary").unwrap();
    let error = sink(&diary).resume().await.unwrap_err();
    assert!(matches!(error, SinkError::Unusable { .. }), "{error}");
    assert_eq!(fs::read_to_string(&diary).unwrap(), "dear diary");

    let link = home.path().join("link");
    std::os::unix::fs::symlink(&diary, &link).unwrap();
    for path in [link, home.path().to_owned(), home.path().join("missing/events.jsonl")] {
        let error = sink(&path).resume().await.unwrap_err();
        assert!(matches!(error, SinkError::Unusable { .. }), "{error}");
    }
    assert!(!home.path().join("missing").exists());
}

#[tokio::test]
async fn a_file_or_checkpoint_that_something_else_wrote_is_refused() {
    let (_home, path, mut first) = open().await;
    apply(&mut first, 1, &[insert(1)]).await;
    drop(first);
    let good = fs::read(&path).unwrap();
    fs::write(&path, "y".repeat(good.len() + 100)).unwrap();
    let error = sink(&path).resume().await.unwrap_err();
    assert!(error.to_string().contains("Move it and"), "{error}");
    fs::write(&path, good).unwrap();
    assert_eq!(sink(&path).resume().await.unwrap(), Some(after(1)));
    fs::write(path.with_extension("jsonl.checkpoint"), "{").unwrap();
    let error = sink(&path).resume().await.unwrap_err();
    assert!(matches!(error, SinkError::Unusable { .. }), "{error}");
}

#[tokio::test]
async fn a_second_writer_is_refused_until_the_first_is_gone() {
    let (_home, path, mut first) = open().await;
    let mut second = sink(&path);
    let error = second.resume().await.unwrap_err();
    assert!(matches!(error, SinkError::Fenced { .. }), "{error}");
    apply(&mut first, 1, &[insert(1)]).await;
    drop(first);
    assert_eq!(second.resume().await.unwrap(), Some(after(1)));
}

#[tokio::test]
async fn the_file_and_its_checkpoint_are_private() {
    let (_home, path, mut sink) = open().await;
    apply(&mut sink, 1, &[insert(1)]).await;
    for path in [path.clone(), path.with_extension("jsonl.checkpoint")] {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
    }
}

#[tokio::test]
async fn documents_are_refused() {
    let (_home, path, mut sink) = open().await;
    let mutations = [delete(1, "user:1"), insert(2)];
    let staged = sink.stage(&mutations).await.unwrap();
    assert_eq!((staged.rejected.len(), staged.rest), (1, Some(1)));
    sink.stage(&mutations[1..]).await.unwrap();
    sink.commit(after(2)).await.unwrap();
    assert_eq!(lines(&path), ["insert 2"]);
}

#[tokio::test]
async fn nasty_and_large_values_stay_on_one_line_each() {
    let (_home, path, mut sink) = open().await;
    let nasty = table("na\"sty\n", &[("id", Shape::Scalar(Scalar::Integer)), ("a\nb", Shape::TEXT)]);
    let large = "\u{1F600}\n".repeat(1 << 20);
    let values = ["line\nbreak\r\n\u{2028}\u{0}\u{1}\"\\", "", large.as_str()];
    let mut mutations = Vec::new();
    for (n, value) in (1..).zip(values) {
        mutations.push(append_insert(n, &nasty, &[Some("1"), Some(value)]));
    }
    apply(&mut sink, 3, &mutations).await;
    assert_eq!(lines(&path).len(), 3);
    for (line, value) in fs::read_to_string(&path).unwrap().lines().zip(values) {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["after"]["a\nb"], value);
    }
}

/// Nothing to write is something to remember: the checkpoint moves on without a line.
#[tokio::test]
async fn a_commit_without_lines_moves_the_checkpoint() {
    let (_home, path, mut first) = open().await;
    first.commit(after(5)).await.unwrap();
    drop(first);
    assert_eq!(sink(&path).resume().await.unwrap(), Some(after(5)));
}
