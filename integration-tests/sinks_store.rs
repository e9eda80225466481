//! The `file` sink with a directory of files, on a real disk: what is finished, when, and what a crash leaves.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use walbridge::project::layout::Layout;
use walbridge::project::mutation::Mutation;
use walbridge::sink::file::{Compression, FileSink, Files, Format, Options};
use walbridge::sink::{Sink, SinkError};

use crate::sinks_rows::{after, append_delete, append_insert, table, users};
use crate::support::store::{finished, lines, parquet, text};

const HOUR: Duration = Duration::from_secs(3600);

/// Small enough that an event fills a file.
const ONE_EVENT: u64 = 1;
/// Large enough that no test fills one.
const MANY: u64 = 1 << 30;

#[derive(Clone, Copy)]
struct How {
    format: Format,
    compression: Compression,
    rotate_bytes: u64,
    rotate_after: Duration,
}

const PLAIN: How =
    How { format: Format::Jsonl, compression: Compression::None, rotate_bytes: MANY, rotate_after: HOUR };

fn sink(path: &Path, how: How) -> FileSink {
    let How { format, compression, rotate_bytes, rotate_after } = how;
    let layout = Layout::parse("{schema}/{table}").unwrap();
    let files = Some(Files { layout, format, compression, rotate_bytes, rotate_after });
    FileSink::new(Options { name: "history".to_owned(), source: "shop".to_owned(), path: path.to_owned(), files })
}

/// A store in a directory of its own, resumed.
async fn open(how: How) -> (TempDir, PathBuf, FileSink) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("events");
    let mut sink = sink(&path, how);
    assert_eq!(sink.resume().await.unwrap(), None);
    (home, path, sink)
}

fn insert(n: u64) -> Mutation {
    let id = n.to_string();
    append_insert(n, &users(), &[Some(&id), Some("Ada"), None])
}

async fn apply(sink: &mut FileSink, n: u64, mutations: &[Mutation]) -> Result<(), SinkError> {
    let staged = sink.stage(mutations).await?;
    assert!(staged.rejected.is_empty() && staged.incomplete.is_empty(), "{staged:?}");
    sink.commit(after(n)).await
}

/// `op` and `id` of each event of users, in the order that a reader finds them in.
fn events(path: &Path) -> Vec<String> {
    let of_users = lines(path).remove("public/users").unwrap_or_default();
    of_users.iter().map(|event| format!("{} {}", event["op"].as_str().unwrap(), event["key"]["id"])).collect()
}

fn inserts(ns: impl IntoIterator<Item = u64>) -> Vec<String> {
    ns.into_iter().map(|n| format!("insert {n}")).collect()
}

/// Every file below a directory with what it holds.
fn contents(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    finished(path).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn spools(path: &Path) -> Vec<PathBuf> {
    finished(&path.join(".walbridge/unfinished"))
}

#[tokio::test]
async fn a_full_file_is_finished_and_never_touched_again_and_a_listing_is_the_order() {
    let (_home, path, mut first) = open(How { rotate_bytes: ONE_EVENT, ..PLAIN }).await;
    let mut known = BTreeMap::new();
    for n in 1..=300 {
        apply(
            &mut first,
            n,
            &[insert(n), append_delete(n, &table("other", &[("id", walbridge::event::Shape::TEXT)]), &[Some("x")])],
        )
        .await
        .unwrap();
        if n % 50 == 0 {
            let now = contents(&path);
            assert!(known.iter().all(|(path, bytes)| now.get(path) == Some(bytes)), "a finished file changed");
            known = now;
            drop(first);
            first = sink(&path, How { rotate_bytes: ONE_EVENT, ..PLAIN });
            assert_eq!(first.resume().await.unwrap(), Some(after(n)));
        }
    }
    assert_eq!(finished(&path.join("public/users")).len(), 300);
    assert_eq!(events(&path), inserts(1..=300));
    assert_eq!(lines(&path)["public/other"].len(), 300);
}

#[tokio::test]
async fn what_is_moved_away_when_it_is_finished_is_not_missed() {
    let (_home, path, mut first) = open(How { rotate_bytes: ONE_EVENT, ..PLAIN }).await;
    apply(&mut first, 1, &[insert(1)]).await.unwrap();
    fs::remove_dir_all(path.join("public")).unwrap();
    first.probe().await.unwrap();
    apply(&mut first, 2, &[insert(2)]).await.unwrap();
    drop(first);
    assert_eq!(sink(&path, PLAIN).resume().await.unwrap(), Some(after(2)));
    assert_eq!(events(&path), inserts([2]));
}

#[tokio::test]
async fn a_file_is_finished_by_its_age_although_nothing_comes() {
    let (_home, path, mut first) = open(How { rotate_after: Duration::from_millis(1), ..PLAIN }).await;
    first.stage(&[insert(1)]).await.unwrap();
    first.commit(after(1)).await.unwrap();
    let mut probes = 0;
    while finished(&path).is_empty() {
        first.probe().await.unwrap();
        probes += 1;
        assert!(probes < 100_000, "it is not finished");
    }
    assert_eq!((events(&path), spools(&path).len()), (inserts([1]), 0));
    drop(first);
    // And one that was begun before a restart is as old as it is.
    let mut second = sink(&path, PLAIN);
    second.resume().await.unwrap();
    apply(&mut second, 2, &[insert(2)]).await.unwrap();
    assert_eq!(finished(&path).len(), 1, "an hour has not passed");
    drop(second);
    let mut third = sink(&path, How { rotate_after: Duration::from_millis(1), ..PLAIN });
    third.resume().await.unwrap();
    while finished(&path).len() == 1 {
        third.probe().await.unwrap();
        probes += 1;
        assert!(probes < 100_000, "it is not finished");
    }
    assert_eq!(events(&path), inserts([1, 2]));
}

#[tokio::test]
async fn compressed_files_hold_the_same_lines() {
    let mut of_plain = String::new();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let (_home, path, mut sink) = open(How { compression, rotate_bytes: 1000, ..PLAIN }).await;
        for n in 1..=20 {
            apply(&mut sink, n, &[insert(n)]).await.unwrap();
        }
        assert_eq!(events(&path), inserts(1..=20));
        let files = finished(&path);
        assert!((2..20).contains(&files.len()), "{files:?}");
        let text: String = files.iter().map(|path| text(path)).collect();
        if compression == Compression::None {
            of_plain = text;
        } else {
            assert_eq!(text, of_plain);
            let raw = fs::read(&files[0]).unwrap();
            assert!(raw.starts_with(if compression == Compression::Gzip { b"\x1f\x8b" } else { b"\x28\xb5" }));
        }
    }
}

/// In every form: what was staged and not committed, what a crash cut in half, and what no commit knows.
#[tokio::test]
async fn what_was_not_committed_is_cut_off() {
    for format in [Format::Jsonl, Format::Parquet] {
        let how = How { format, compression: Compression::Zstd, ..PLAIN };
        let (_home, path, mut first) = open(how).await;
        apply(&mut first, 1, &[insert(1)]).await.unwrap();
        let large = "x".repeat(3 << 20);
        first.stage(&[append_insert(2, &users(), &[Some("2"), Some(&large), None]), insert(3)]).await.unwrap();
        let [spool] = &spools(&path)[..] else { panic!("one") };
        assert!(fs::metadata(spool).unwrap().len() > 3 << 20);
        drop(first);
        fs::write(path.join(".walbridge/unfinished/99"), "half").unwrap();
        let mut second = sink(&path, how);
        assert_eq!(second.resume().await.unwrap(), Some(after(1)));
        assert_eq!(spools(&path), std::slice::from_ref(spool));
        apply(&mut second, 3, &[insert(1), insert(2), insert(3)]).await.unwrap();
        drop(second);
        let mut third = sink(&path, How { rotate_bytes: ONE_EVENT, ..how });
        assert_eq!(third.resume().await.unwrap(), Some(after(3)));
        third.probe().await.unwrap();
        assert_eq!(spools(&path), [] as [PathBuf; 0]);
        let found = if format == Format::Jsonl { events(&path) } else { read_parquet(&path) };
        assert_eq!(found, inserts([1, 2, 3]));
    }
}

/// As [`events`] of finished Parquet files.
fn read_parquet(path: &Path) -> Vec<String> {
    let told = |event: &serde_json::Value| {
        format!("{} {}", event["op"].as_str().unwrap(), event["key"]["id"].as_str().unwrap())
    };
    parquet(path).iter().map(told).collect()
}

/// The manifest says that a file is full before it is finished, so a crash may come anywhere between: before anything was done, when the
/// draft is half written, and when the finished file has its name and the spool is still there.
#[tokio::test]
async fn a_crash_while_a_file_is_finished_leaves_it_once() {
    for (format, compression) in
        [(Format::Jsonl, Compression::None), (Format::Jsonl, Compression::Gzip), (Format::Parquet, Compression::Zstd)]
    {
        let how = How { format, compression, rotate_bytes: ONE_EVENT, ..PLAIN };
        let (_home, path, mut first) = open(how).await;
        // A file where the directory should be: the commit's manifest is written, and then nothing can be finished.
        fs::write(path.join("public"), "in the way").unwrap();
        let commit = apply(&mut first, 1, &[insert(1)]).await;
        assert!(commit.is_err(), "{commit:?}");
        let [spool] = &spools(&path)[..] else { panic!("one") };
        let appended = fs::read(spool).unwrap();
        assert!(first.resume().await.is_err(), "it is still in the way");
        fs::remove_file(path.join("public")).unwrap();
        fs::write(spool.with_extension("draft"), "half").unwrap();
        assert_eq!(first.resume().await.unwrap(), Some(after(1)));
        let whole = contents(&path);
        assert_eq!((whole.len(), spools(&path).len()), (1, 0));
        if compression != Compression::None {
            fs::write(spool, &appended).unwrap();
            drop(first);
            first = sink(&path, how);
            assert_eq!(first.resume().await.unwrap(), Some(after(1)));
        }
        assert_eq!((contents(&path), spools(&path).len()), (whole, 0));
        apply(&mut first, 2, &[insert(1), insert(2)]).await.unwrap();
        let found = if format == Format::Jsonl { events(&path) } else { read_parquet(&path) };
        assert_eq!(found, inserts([1, 2]));
    }
}

/// In Parquet a file has one version of the table; in JSON Lines all may be in one.
#[tokio::test]
async fn another_version_of_the_table_begins_another_file() {
    use walbridge::event::{Scalar, Shape};
    let wider = table(
        "users",
        &[
            ("id", Shape::Scalar(Scalar::Integer)),
            ("name", Shape::TEXT),
            ("bio", Shape::TEXT),
            ("age", Shape::Scalar(Scalar::Integer)),
        ],
    );
    let (_home, path, mut sink) = open(How { format: Format::Parquet, compression: Compression::None, ..PLAIN }).await;
    let mutations = [insert(1), insert(2), append_insert(3, &wider, &[Some("3"), None, None, Some("7")]), insert(4)];
    apply(&mut sink, 4, &mutations).await.unwrap();
    assert_eq!(finished(&path).len(), 2, "two are full behind the commit, and the third is appended to");
    let events = parquet(&path);
    assert_eq!(read_parquet(&path), inserts([1, 2, 3]));
    assert_eq!((&events[1]["after"]["age"], &events[2]["after"]["age"]), (&serde_json::Value::Null, &"7".into()));
    assert!(events[1]["after"].get("age").is_none());
}

#[tokio::test]
async fn another_format_is_written_from_the_next_file_on() {
    let (_home, path, mut first) = open(PLAIN).await;
    apply(&mut first, 1, &[insert(1)]).await.unwrap();
    drop(first);
    let mut second =
        sink(&path, How { format: Format::Parquet, compression: Compression::Zstd, rotate_bytes: ONE_EVENT, ..PLAIN });
    assert_eq!(second.resume().await.unwrap(), Some(after(1)));
    apply(&mut second, 2, &[insert(2)]).await.unwrap();
    let names: Vec<_> = finished(&path).iter().map(|path| path.extension().unwrap().to_owned()).collect();
    assert_eq!(names, ["jsonl", "parquet"]);
}

#[tokio::test]
async fn a_directory_removed_while_running_is_noticed_and_all_is_written_anew() {
    let (_home, path, mut sink) = open(How { rotate_bytes: 300, ..PLAIN }).await;
    apply(&mut sink, 1, &[insert(1)]).await.unwrap();
    sink.probe().await.unwrap();
    fs::remove_dir_all(&path).unwrap();
    assert!(matches!(sink.probe().await, Err(SinkError::Regressed { .. })));
    let commit = apply(&mut sink, 2, &[insert(2)]).await;
    assert!(matches!(commit, Err(SinkError::Regressed { .. })), "{commit:?}");
    assert_eq!(sink.resume().await.unwrap(), None);
    apply(&mut sink, 2, &[insert(1), insert(2)]).await.unwrap();
    assert_eq!(events(&path), inserts([1, 2]));
}

#[tokio::test]
async fn an_unfinished_file_that_lost_something_is_told_and_nothing_is_made_up_for_it() {
    let (_home, path, mut first) = open(PLAIN).await;
    apply(&mut first, 1, &[insert(1)]).await.unwrap();
    let [spool] = &spools(&path)[..] else { panic!("one") };
    OpenOptions::new().write(true).open(spool).unwrap().set_len(10).unwrap();
    assert!(matches!(first.probe().await, Err(SinkError::Regressed { .. })));
    let staged = apply(&mut first, 2, &[insert(2)]).await;
    assert!(matches!(staged, Err(SinkError::Regressed { .. })), "{staged:?}");
    for left in [Some(10), None] {
        if left.is_none() {
            fs::remove_file(spool).unwrap();
        }
        let error = first.resume().await.unwrap_err();
        assert!(matches!(error, SinkError::Unusable { .. }) && error.to_string().contains("Restore it"), "{error}");
    }
}

#[tokio::test]
async fn a_directory_that_is_not_ours_is_left_alone_and_one_that_is_has_one_writer() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("diary.txt"), "dear diary").unwrap();
    let error = sink(home.path(), PLAIN).resume().await.unwrap_err();
    assert!(
        matches!(error, SinkError::Unusable { .. }) && error.to_string().contains("Move the directory away"),
        "{error}"
    );
    let missing = home.path().join("missing/events");
    let error = sink(&missing, PLAIN).resume().await.unwrap_err();
    assert!(matches!(error, SinkError::Unusable { .. }), "{error}");

    let path = home.path().join("events");
    let (mut first, mut second) = (sink(&path, PLAIN), sink(&path, PLAIN));
    assert_eq!(first.resume().await.unwrap(), None);
    assert!(matches!(second.resume().await, Err(SinkError::Fenced { .. })));
    apply(&mut first, 1, &[insert(1)]).await.unwrap();
    drop(first);
    assert_eq!(second.resume().await.unwrap(), Some(after(1)));
    fs::write(path.join(".walbridge/manifest"), "{").unwrap();
    assert!(matches!(second.resume().await, Err(SinkError::Unusable { .. })));
}

#[tokio::test]
async fn a_commit_without_events_moves_the_checkpoint_and_makes_no_file() {
    let (_home, path, mut first) = open(PLAIN).await;
    first.commit(after(5)).await.unwrap();
    drop(first);
    assert_eq!(sink(&path, PLAIN).resume().await.unwrap(), Some(after(5)));
    assert_eq!((finished(&path).len(), spools(&path).len()), (0, 0));
}

/// A change that was refused and is retried stands behind what came since, and its file's name does so, too.
#[tokio::test]
async fn a_late_event_begins_a_file_behind_those_that_are_there() {
    let (_home, path, mut sink) = open(How { rotate_bytes: ONE_EVENT, ..PLAIN }).await;
    apply(&mut sink, 2, &[insert(2)]).await.unwrap();
    apply(&mut sink, 3, &[insert(3)]).await.unwrap();
    apply(&mut sink, 3, &[insert(1).late()]).await.unwrap();
    assert_eq!(events(&path), inserts([2, 3, 1]));
}
