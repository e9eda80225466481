//! The search index, on a real directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use walbridge::event::{Relation, Scalar, Shape};
use walbridge::project::mutation::Mutation;
use walbridge::sink::tantivy::{
    MEMORY_BYTES_DEFAULT, MEMORY_BYTES_MIN, Options, SearchAnswer, SearchError, SearchHandle, SearchRequest,
    TantivySink,
};
use walbridge::sink::{Sink, SinkError};

use crate::sinks_rows::{after, append_insert, clear, delete, put, put_moved, table, users};

fn options(path: &Path, relations: &[Arc<Relation>]) -> Options {
    Options {
        name: "search".to_owned(),
        path: path.to_owned(),
        fields: None,
        relations: relations.to_vec(),
        memory_bytes: MEMORY_BYTES_DEFAULT,
    }
}

fn sink(path: &Path, relations: &[Arc<Relation>]) -> TantivySink {
    TantivySink::new(options(path, relations)).unwrap()
}

/// An index of users in a directory of its own, resumed.
async fn open() -> (TempDir, TantivySink, Arc<Relation>) {
    let home = tempfile::tempdir().unwrap();
    let users = users();
    let mut sink = sink(&home.path().join("index"), &[Arc::clone(&users)]);
    assert_eq!(sink.resume().await.unwrap(), None);
    (home, sink, users)
}

/// Stages all and commits after the n-th event; nothing may be left over.
async fn apply(sink: &mut TantivySink, n: u64, mutations: &[Mutation]) {
    let staged = sink.stage(mutations).await.unwrap();
    assert!(staged.rejected.is_empty() && staged.incomplete.is_empty(), "{staged:?}");
    sink.commit(after(n)).await.unwrap();
}

fn request(q: &str) -> SearchRequest {
    SearchRequest { q: q.to_owned(), fields: None, limit: 100, offset: 0, highlight: false }
}

fn search(handle: &SearchHandle, q: &str) -> SearchAnswer {
    handle.search(&request(q)).unwrap_or_else(|error| panic!("{q}: {error}"))
}

/// The keys found, sorted.
fn keys(sink: &TantivySink, q: &str) -> Vec<String> {
    let mut keys: Vec<String> = search(&sink.search_handle(), q).hits.into_iter().map(|hit| hit.key).collect();
    keys.sort();
    keys
}

/// Everything in the index, as `key document`, sorted.
fn contents(sink: &TantivySink) -> Vec<String> {
    let hits = search(&sink.search_handle(), "*").hits;
    let mut lines: Vec<String> = hits.into_iter().map(|hit| format!("{} {}", hit.key, hit.document)).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn applying_twice_is_the_same_as_once() {
    let (home, mut first, users) = open().await;
    let mutations = [
        put(1, &users, "user:1", &[Some("1"), Some("Ada"), Some("counts")]),
        put(2, &users, "user:2", &[Some("2"), Some("Bob"), None]),
        put(3, &users, "user:1", &[Some("1"), Some("Ada"), Some("computes")]),
        delete(4, "user:2"),
    ];
    apply(&mut first, 4, &mutations).await;
    let once = contents(&first);
    assert_eq!(once, [r#"user:1 {"id":1,"name":"Ada","bio":"computes"}"#]);
    apply(&mut first, 4, &mutations).await;
    assert_eq!(contents(&first), once);
    // And by a process started anew.
    drop(first);
    let mut second = sink(&home.path().join("index"), &[users]);
    assert_eq!(second.resume().await.unwrap(), Some(after(4)));
    apply(&mut second, 4, &mutations).await;
    assert_eq!(contents(&second), once);
}

#[tokio::test]
async fn an_older_mutation_delivered_again_changes_nothing() {
    let (_home, mut sink, users) = open().await;
    let old = put(1, &users, "user:1", &[Some("1"), Some("old"), None]);
    apply(&mut sink, 2, &[old.clone(), delete(2, "user:1")]).await;
    apply(&mut sink, 2, &[old]).await;
    assert_eq!(contents(&sink), [""; 0]);
}

#[tokio::test]
async fn nothing_is_visible_before_the_commit_and_nothing_stays_of_what_was_only_staged() {
    let (home, mut first, users) = open().await;
    apply(&mut first, 1, &[put(1, &users, "user:1", &[Some("1"), Some("Ada"), None])]).await;
    let staged = [delete(2, "user:1"), put(3, &users, "user:2", &[Some("2"), Some("Bob"), None])];
    first.stage(&staged).await.unwrap();
    assert_eq!(keys(&first, "*"), ["user:1"]);
    // The same process goes on.
    assert_eq!(first.resume().await.unwrap(), Some(after(1)));
    first.commit(after(1)).await.unwrap();
    assert_eq!(keys(&first, "*"), ["user:1"]);
    // Another process goes on.
    first.stage(&staged).await.unwrap();
    drop(first);
    let mut second = sink(&home.path().join("index"), &[users]);
    assert_eq!(second.resume().await.unwrap(), Some(after(1)));
    assert_eq!(keys(&second, "*"), ["user:1"]);
    apply(&mut second, 3, &staged).await;
    assert_eq!(keys(&second, "*"), ["user:2"]);
}

/// PostgreSQL does not send a large value that an `UPDATE` did not touch. Writing it as null would lose it, and leaving it
/// out of the new document would make it unsearchable.
#[tokio::test]
async fn unchanged_toast_values_are_taken_from_the_document() {
    let (_home, mut sink, users) = open().await;
    let (committed, staged) =
        ([Some("1"), Some("Ada"), Some("large \u{1F600} \"value\"")], [Some("2"), Some("Bob"), Some("huge")]);
    apply(&mut sink, 1, &[put(1, &users, "user:1", &committed)]).await;
    let mutations = [
        put(2, &users, "user:1", &[Some("1"), Some("Ada L."), Some("UNCHANGED")]),
        put(3, &users, "user:2", &staged),
        put(4, &users, "user:2", &[Some("2"), Some("Bobby"), Some("UNCHANGED")]),
    ];
    apply(&mut sink, 4, &mutations).await;
    let expected = [
        "user:1 {\"id\":1,\"name\":\"Ada L.\",\"bio\":\"large \u{1F600} \\\"value\\\"\"}",
        r#"user:2 {"id":2,"name":"Bobby","bio":"huge"}"#,
    ];
    assert_eq!(contents(&sink), expected);
    assert_eq!(keys(&sink, "large"), ["user:1"]);
    assert_eq!(keys(&sink, "huge"), ["user:2"]);
}

#[tokio::test]
async fn a_row_whose_missing_values_are_nowhere_is_handed_back() {
    let (_home, mut sink, users) = open().await;
    let partial = [Some("1"), Some("Ada"), Some("UNCHANGED")];
    let staged = sink.stage(&[put(1, &users, "user:1", &partial)]).await.unwrap();
    assert_eq!(staged.incomplete, [0]);
    let mutations = [
        put(2, &users, "user:2", &[Some("2"), Some("Bob"), Some("x")]),
        clear(3, &users),
        put(4, &users, "user:2", &[Some("2"), Some("Bob"), Some("UNCHANGED")]),
    ];
    assert_eq!(sink.stage(&mutations).await.unwrap().incomplete, [2], "emptied tables have no values");
    sink.commit(after(4)).await.unwrap();
    assert_eq!(contents(&sink), [""; 0]);
}

#[tokio::test]
async fn a_moved_row_takes_its_unchanged_values_along() {
    let (_home, mut sink, users) = open().await;
    apply(&mut sink, 1, &[put(1, &users, "user:1", &[Some("1"), Some("Ada"), Some("large")])]).await;
    let partial = |id| [Some(id), Some("Ada"), Some("UNCHANGED")];
    let moves = [
        delete(2, "user:1"),
        put_moved(2, &users, "user:1", "user:7", &partial("7")),
        delete(3, "user:7"),
        put_moved(3, &users, "user:7", "user:8", &partial("8")),
    ];
    apply(&mut sink, 3, &moves).await;
    assert_eq!(contents(&sink), [r#"user:8 {"id":8,"name":"Ada","bio":"large"}"#]);
}

/// What is left of a run in which row 1 became 2, another row took key 1, and row 2 changed.
#[tokio::test]
async fn a_moved_row_does_not_take_the_values_of_the_row_that_took_its_key() {
    let (_home, mut sink, users) = open().await;
    apply(&mut sink, 1, &[put(1, &users, "user:1", &[Some("1"), Some("Ada"), Some("hers")])]).await;
    let run = [
        put(2, &users, "user:1", &[Some("1"), Some("Bob"), Some("his")]),
        put_moved(3, &users, "user:1", "user:2", &[Some("2"), Some("Ada L."), Some("UNCHANGED")]),
    ];
    apply(&mut sink, 3, &run).await;
    let expected = [r#"user:1 {"id":1,"name":"Bob","bio":"his"}"#, r#"user:2 {"id":2,"name":"Ada L.","bio":"hers"}"#];
    assert_eq!(contents(&sink), expected);
}

#[tokio::test]
async fn truncate_empties_one_table_only() {
    let home = tempfile::tempdir().unwrap();
    let tables = [users(), table("users2", &[("id", Shape::Scalar(Scalar::Integer))])];
    let mut sink = sink(&home.path().join("index"), &tables);
    sink.resume().await.unwrap();
    let [users, other] = &tables;
    apply(&mut sink, 2, &[put(1, users, "a", &[Some("1"), None, None]), put(2, other, "b", &[Some("1")])]).await;
    apply(&mut sink, 4, &[clear(3, users), put(4, users, "c", &[Some("3"), None, None])]).await;
    assert_eq!(keys(&sink, "*"), ["b", "c"]);
    assert_eq!(keys(&sink, "_table:\"public.users\""), ["c"]);
}

#[tokio::test]
async fn history_is_refused() {
    let (_home, mut sink, users) = open().await;
    let staged = sink.stage(&[append_insert(1, &users, &[Some("1"), None, None])]).await.unwrap();
    assert_eq!(staged.rejected.len(), 1);
}

/// The lock file of a killed process stays in the directory. The lock does not: it is the kernel's.
#[tokio::test]
async fn a_lock_file_left_by_a_killed_process_is_no_obstacle() {
    let (home, mut first, users) = open().await;
    apply(&mut first, 1, &[put(1, &users, "user:1", &[Some("1"), None, None])]).await;
    drop(first);
    let path = home.path().join("index");
    assert!(path.join(".tantivy-writer.lock").exists());
    // What a killed indexing thread leaves: a segment that no commit names.
    fs::write(path.join("00000000000000000000000000000000.store"), b"half").unwrap();
    let mut second = sink(&path, &[users]);
    assert_eq!(second.resume().await.unwrap(), Some(after(1)));
    assert_eq!(keys(&second, "*"), ["user:1"]);
}

/// Tells the test's own child where to write.
const WRITER_DIRECTORY: &str = "WALBRIDGE_TEST_WRITER_DIRECTORY";
/// As many keys as the writer writes in turn.
const WRITER_KEYS: u64 = 7;
/// The child ends by itself if nobody kills it.
const WRITER_COMMITS: u64 = 5000;

/// A commit is several files and an fsync each, and the payload is in the last of them. Killed anywhere in between, the
/// index must hold the documents that the checkpoint speaks of: no more, no fewer, none twice.
#[tokio::test]
async fn a_process_killed_at_any_moment_leaves_documents_and_checkpoint_in_step() {
    if let Some(directory) = std::env::var_os(WRITER_DIRECTORY) {
        return write_until_killed(&PathBuf::from(directory)).await;
    }
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("index");
    let mut last = 0;
    for round in 0..6_u64 {
        let before = fs::read(path.join("meta.json")).unwrap_or_default();
        let name = "sinks_tantivy::a_process_killed_at_any_moment_leaves_documents_and_checkpoint_in_step";
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact"])
            .env(WRITER_DIRECTORY, &path)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while fs::read(path.join("meta.json")).unwrap_or_default() == before {
            assert!(Instant::now() < deadline, "the writer does not write");
            std::thread::sleep(Duration::from_millis(5));
        }
        // A different moment of its work each time.
        std::thread::sleep(Duration::from_millis(round * 31));
        child.kill().unwrap();
        child.wait().unwrap();

        let users = users();
        let mut sink = sink(&path, &[Arc::clone(&users)]);
        let checkpoint = sink.resume().await.unwrap();
        let upto = checkpoint.map_or(0, |checkpoint| checkpoint.offset.0);
        assert_eq!(checkpoint, (upto > 0).then(|| after(upto)));
        assert!(upto >= last, "a commit was lost");
        last = upto;
        let newest = |key| (1..=upto).rev().find(|n| n % WRITER_KEYS == key);
        let line = |(key, n)| format!("{key} {{\"id\":{n},\"name\":\"{n}\",\"bio\":\"kept\"}}");
        let mut expected: Vec<String> =
            (0..WRITER_KEYS).filter_map(|key| Some((key, newest(key)?))).map(line).collect();
        expected.sort();
        assert_eq!(contents(&sink), expected, "round {round}");
    }
    assert!(last > 0);
}

/// Event n puts key `n % WRITER_KEYS`, after the first time without its large value.
async fn write_until_killed(directory: &Path) {
    let users = users();
    let mut sink = sink(directory, &[Arc::clone(&users)]);
    let start = sink.resume().await.unwrap().map_or(0, |checkpoint| checkpoint.offset.0);
    for n in start + 1..=start + WRITER_COMMITS {
        let bio = if n <= WRITER_KEYS { "kept" } else { "UNCHANGED" };
        let id = n.to_string();
        let mutation = put(n, &users, &(n % WRITER_KEYS).to_string(), &[Some(&id), Some(&id), Some(bio)]);
        apply(&mut sink, n, &[mutation]).await;
    }
}

#[tokio::test]
async fn a_second_writer_is_refused_and_says_why() {
    let (home, mut first, users) = open().await;
    let mut second = sink(&home.path().join("index"), &[Arc::clone(&users)]);
    let error = second.resume().await.unwrap_err();
    assert!(matches!(error, SinkError::Fenced { .. }), "{error}");
    apply(&mut first, 1, &[put(1, &users, "user:1", &[Some("1"), None, None])]).await;
    drop(first);
    assert_eq!(second.resume().await.unwrap(), Some(after(1)));
}

#[tokio::test]
async fn a_directory_removed_while_running_is_noticed_and_built_anew() {
    let (home, mut sink, users) = open().await;
    let mutation = put(1, &users, "user:1", &[Some("1"), None, None]);
    apply(&mut sink, 1, std::slice::from_ref(&mutation)).await;
    sink.probe().await.unwrap();
    fs::remove_dir_all(home.path().join("index")).unwrap();
    assert!(matches!(sink.probe().await, Err(SinkError::Regressed { .. })));
    let commit = sink.commit(after(2)).await;
    assert!(matches!(commit, Err(SinkError::Regressed { .. })), "{commit:?}");
    assert_eq!(sink.resume().await.unwrap(), None);
    apply(&mut sink, 1, &[mutation]).await;
    assert_eq!(keys(&sink, "*"), ["user:1"]);
    sink.probe().await.unwrap();
}

#[tokio::test]
async fn files_removed_from_the_directory_while_away_mean_an_empty_target() {
    let (home, mut first, users) = open().await;
    apply(&mut first, 1, &[put(1, &users, "user:1", &[Some("1"), None, None])]).await;
    drop(first);
    let path = home.path().join("index");
    for entry in fs::read_dir(&path).unwrap().map(Result::unwrap) {
        // As `rm *` does it.
        if !entry.file_name().to_string_lossy().starts_with('.') {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    let mut second = sink(&path, &[Arc::clone(&users)]);
    assert_eq!(second.resume().await.unwrap(), None);
    apply(&mut second, 1, &[put(1, &users, "user:1", &[Some("1"), None, None])]).await;
    assert_eq!(keys(&second, "*"), ["user:1"]);
}

#[tokio::test]
async fn an_older_copy_put_in_place_while_running_is_noticed() {
    let (home, mut sink, users) = open().await;
    let path = home.path().join("index");
    apply(&mut sink, 1, &[put(1, &users, "user:1", &[Some("1"), None, None])]).await;
    let older = fs::read(path.join("meta.json")).unwrap();
    apply(&mut sink, 2, &[delete(2, "nobody")]).await;
    fs::write(path.join("meta.json"), older).unwrap();
    assert!(matches!(sink.probe().await, Err(SinkError::Regressed { .. })));
    assert_eq!(sink.resume().await.unwrap(), Some(after(1)));
}

#[tokio::test]
async fn the_directory_is_private_and_a_foreign_one_is_refused() {
    let (home, _sink, users) = open().await;
    let mode = fs::metadata(home.path().join("index")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let foreign = home.path().join("photos");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("holiday.jpg"), b"x").unwrap();
    let link = home.path().join("link");
    std::os::unix::fs::symlink(home.path().join("index"), &link).unwrap();
    for path in [foreign.clone(), link, foreign.join("holiday.jpg")] {
        let error = sink(&path, &[Arc::clone(&users)]).resume().await.unwrap_err();
        assert!(matches!(error, SinkError::Unusable { .. }), "{error}");
    }
    assert!(foreign.join("holiday.jpg").exists());
}

#[tokio::test]
async fn an_index_made_for_other_columns_is_refused_unless_it_only_lacks_some() {
    let (home, first, users) = open().await;
    let path = home.path().join("index");
    drop(first);
    let id = ("id", Shape::Scalar(Scalar::Integer));
    let other_type = table("users", &[id, ("name", Shape::Scalar(Scalar::Boolean))]);
    let error = sink(&path, &[other_type]).resume().await.unwrap_err();
    assert!(error.to_string().contains("`name`") && error.to_string().contains("Remove the directory"), "{error}");

    let wider = table("users", &[id, ("name", Shape::TEXT), ("bio", Shape::TEXT), ("city", Shape::TEXT)]);
    let mut named = options(&path, &[Arc::clone(&wider)]);
    named.fields = Some(vec!["city".to_owned()]);
    let error = TantivySink::new(named).unwrap().resume().await.unwrap_err();
    assert!(matches!(error, SinkError::Unusable { .. }), "{error}");

    let mut wide = sink(&path, &[Arc::clone(&wider)]);
    wide.resume().await.unwrap();
    apply(&mut wide, 1, &[put(1, &wider, "user:1", &[Some("1"), Some("Ada"), None, Some("London")])]).await;
    assert_eq!(contents(&wide), [r#"user:1 {"id":1,"name":"Ada","bio":null,"city":"London"}"#]);
    assert_eq!(keys(&wide, "London"), [""; 0]);
    drop(users);
}

#[test]
fn options_that_make_no_sense_are_refused_at_once() {
    let mut wrong = options(Path::new("index"), &[users()]);
    wrong.fields = Some(vec!["nmae".to_owned()]);
    assert!(TantivySink::new(wrong).is_err());
    let mut small = options(Path::new("index"), &[users()]);
    small.memory_bytes = 1 << 20;
    assert!(TantivySink::new(small).is_err());
}

/// One column of each kind, with values that an index or JSON cannot hold: each must be in the document, and none may stop
/// the sink.
#[tokio::test]
async fn values_that_fit_no_field_are_in_the_document_all_the_same() {
    let home = tempfile::tempdir().unwrap();
    let scalar = Shape::Scalar;
    let types = table(
        "types",
        &[
            ("id", scalar(Scalar::Integer)),
            ("ratio", scalar(Scalar::Float)),
            ("price", scalar(Scalar::Numeric)),
            ("active", scalar(Scalar::Boolean)),
            ("born", scalar(Scalar::Date)),
            ("seen", scalar(Scalar::TimestampTz)),
            ("data", scalar(Scalar::Json)),
            ("raw", scalar(Scalar::Bytea)),
            ("tags", Shape::Array { element: Scalar::Text, delimiter: b',' }),
            ("_source", Shape::TEXT),
            ("-odd", Shape::TEXT),
        ],
    );
    let mut sink = sink(&home.path().join("index"), &[Arc::clone(&types)]);
    sink.resume().await.unwrap();
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let long_name = format!("{{\"{}\":\"x\"}}", "k".repeat(100_000));
    let plain = ["9223372036854775807", "1.5", "12.50", "t", "2000-02-29", "2026-11-24 10:00:00.25+00"];
    let nasty = ["-1", "NaN", "Infinity", "f", "infinity", "0044-03-15 10:00:00+00 BC"];
    let mut mutations = Vec::new();
    for (n, (values, json)) in [
        (plain, r#"{"a":{"b":"needle"},"n":1e300,"d":"2026-01-01T00:00:00Z"}"#),
        (nasty, "1e999"),
        (nasty, deep.as_str()),
        (nasty, long_name.as_str()),
        (nasty, "\"scalar\""),
        (nasty, "not json"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut row: Vec<Option<&str>> = values.into_iter().map(Some).collect();
        row.extend([Some(json), Some(r"\x00ff"), Some(r#"{"red apple",NULL,"{}"}"#), Some("mine"), Some("odd")]);
        let n = u64::try_from(n).unwrap() + 1;
        mutations.push(put(n, &types, &format!("k{n}"), &row));
    }
    apply(&mut sink, 6, &mutations).await;
    assert_eq!(keys(&sink, "*").len(), 6);
    for (query, expected) in [
        ("id:9223372036854775807", vec!["k1"]),
        ("ratio:[1 TO 2]", vec!["k1"]),
        ("price:12.5", vec!["k1"]),
        ("active:true", vec!["k1"]),
        ("born:[2000-02-29T00:00:00Z TO 2000-03-01T00:00:00Z}", vec!["k1"]),
        ("seen:[2026-11-24T10:00:00.2Z TO 2026-11-24T10:00:00.3Z]", vec!["k1"]),
        ("data.a.b:needle", vec!["k1"]),
        ("tags:\"red apple\" AND id:[0 TO *}", vec!["k1"]),
    ] {
        assert_eq!(keys(&sink, query), expected, "{query}");
    }
    let hits = search(&sink.search_handle(), "active:true").hits;
    let document: serde_json::Value = serde_json::from_str(hits[0].document.get()).unwrap();
    assert_eq!(document["price"], "12.50");
    assert_eq!(document["_source"], "mine");
    assert_eq!(document["-odd"], "odd");
    assert_eq!(document["raw"], r"\x00ff");
}

#[tokio::test]
async fn tables_that_disagree_about_a_column_make_it_text() {
    let home = tempfile::tempdir().unwrap();
    let one = table("one", &[("id", Shape::Scalar(Scalar::Integer)), ("code", Shape::Scalar(Scalar::Integer))]);
    let two = table("two", &[("id", Shape::Scalar(Scalar::Integer)), ("code", Shape::Scalar(Scalar::Json))]);
    let mut sink = sink(&home.path().join("index"), &[Arc::clone(&one), Arc::clone(&two)]);
    sink.resume().await.unwrap();
    let nested = format!("{}\"x\"{}", "[".repeat(100), "]".repeat(100));
    let mutations = [
        put(1, &one, "a", &[Some("1"), Some("42")]),
        put(2, &two, "b", &[Some("1"), Some(r#"{"q":"forty two"}"#)]),
        put(3, &two, "c", &[Some("1"), Some(&nested)]),
    ];
    apply(&mut sink, 3, &mutations).await;
    assert_eq!(keys(&sink, "code:42"), ["a"]);
    assert_eq!(keys(&sink, "forty"), ["b"]);
}

/// A table without a primary key has the whole row for a key: more than an index term can be.
#[tokio::test]
async fn keys_of_any_length_and_any_bytes_stay_apart() {
    let (_home, mut sink, users) = open().await;
    let long = "k".repeat(100_000);
    let longer = format!("{long}k");
    let keys_in = ["", "\0", "\u{1}", long.as_str(), longer.as_str(), "a b\"c\\\u{7f}", "ключ"];
    for (n, key) in (1..).zip(keys_in) {
        let id = n.to_string();
        apply(&mut sink, n, &[put(n, &users, key, &[Some(&id), None, None])]).await;
    }
    assert_eq!(search(&sink.search_handle(), "*").total, keys_in.len());
    apply(&mut sink, 8, &[delete(8, &long), put(8, &users, "", &[Some("8"), None, None])]).await;
    let mut left = keys_in.to_vec();
    left.retain(|key| *key != long);
    left.sort_unstable();
    assert_eq!(keys(&sink, "*"), left);
    assert_eq!(keys(&sink, "id:8"), [""]);
}

#[tokio::test]
async fn a_value_of_five_megabytes_is_kept_searched_and_carried_over() {
    let (_home, mut sink, users) = open().await;
    let large = format!("{} lastword", "lorem ipsum ".repeat(5 << 20 >> 3));
    apply(&mut sink, 1, &[put(1, &users, "user:1", &[Some("1"), Some("Ada"), Some(&large)])]).await;
    apply(&mut sink, 2, &[put(2, &users, "user:1", &[Some("1"), Some("Eve"), Some("UNCHANGED")])]).await;
    let mut request = request("lastword ipsum");
    request.highlight = true;
    let answer = sink.search_handle().search(&request).unwrap();
    assert_eq!(answer.total, 1);
    assert_eq!(answer.hits[0].document.get(), format!(r#"{{"id":1,"name":"Eve","bio":"{large}"}}"#));
    assert!(answer.hits[0].highlights["bio"].contains("<b>ipsum</b>"));
}

/// Tantivy's queue holds ten thousand documents, however large; and what rows are completed from must have a limit too.
#[tokio::test]
async fn a_transaction_larger_than_the_memory_is_still_one_commit() {
    let home = tempfile::tempdir().unwrap();
    let users = users();
    let mut small = options(&home.path().join("index"), &[Arc::clone(&users)]);
    small.memory_bytes = MEMORY_BYTES_MIN;
    let mut sink = TantivySink::new(small).unwrap();
    sink.resume().await.unwrap();
    let filler = "x".repeat(200_000);
    for n in 1..=150 {
        let mutation = put(n, &users, &n.to_string(), &[Some("1"), Some("w"), Some(&filler)]);
        assert!(sink.stage(&[mutation]).await.unwrap().incomplete.is_empty());
    }
    assert_eq!(search(&sink.search_handle(), "*").total, 0, "written out, but not committed");
    let partial = put(151, &users, "1", &[Some("1"), Some("v"), Some("UNCHANGED")]);
    assert_eq!(sink.stage(&[partial]).await.unwrap().incomplete, [0], "no longer remembered");
    sink.commit(after(150)).await.unwrap();
    assert_eq!(search(&sink.search_handle(), "*").total, 150);
    // The same again, dropped.
    sink.stage(&[delete(151, "1")]).await.unwrap();
    sink.resume().await.unwrap();
    sink.commit(after(151)).await.unwrap();
    assert_eq!(search(&sink.search_handle(), "*").total, 150);
}

#[tokio::test]
async fn words_phrases_and_columns_are_found_and_highlighted() {
    let (_home, mut sink, users) = open().await;
    assert!(matches!(
        TantivySink::new(options(Path::new("x"), &[])).unwrap().search_handle().search(&request("a")),
        Err(SearchError::NotReady)
    ));
    let hash = "f".repeat(64);
    let mutations = [
        put(1, &users, "user:1", &[Some("1"), Some("Ada Lovelace"), Some("wrote <i>notes</i> & programs")]),
        put(2, &users, "user:2", &[Some("2"), Some("Grace Hopper"), Some("wrote a compiler")]),
        put(3, &users, "user:3", &[Some("3"), Some("Zoë"), Some(&hash)]),
    ];
    apply(&mut sink, 3, &mutations).await;
    for (query, expected) in [
        ("wrote", vec!["user:1", "user:2"]),
        ("LOVELACE compiler", vec!["user:1", "user:2"]),
        ("\"ada lovelace\"", vec!["user:1"]),
        ("\"lovelace ada\"", vec![]),
        ("name:wrote", vec![]),
        ("+wrote -compiler", vec!["user:1"]),
        ("id:[2 TO 3]", vec!["user:2", "user:3"]),
        ("zoë", vec!["user:3"]),
        (hash.as_str(), vec!["user:3"]),
    ] {
        assert_eq!(keys(&sink, query), expected, "{query}");
    }
    let handle = sink.search_handle();
    let mut asked = request("notes ada");
    asked.highlight = true;
    let answer = handle.search(&asked).unwrap();
    let json: serde_json::Value = serde_json::to_value(&answer).unwrap();
    assert_eq!(json["hits"][0]["highlights"]["name"], "<b>Ada</b> Lovelace");
    assert_eq!(json["hits"][0]["highlights"]["bio"], "wrote &lt;i&gt;<b>notes</b>&lt;/i&gt; &amp; programs");
    assert_eq!(json["hits"][0]["document"]["name"], "Ada Lovelace");
    assert!(json["took_ms"].is_u64());

    let only_name = SearchRequest { fields: Some(vec!["name".to_owned()]), ..request("wrote") };
    assert_eq!(handle.search(&only_name).unwrap().total, 0);
    let page = SearchRequest { limit: 1, offset: 1, ..request("wrote") };
    let page = handle.search(&page).unwrap();
    assert_eq!((page.total, page.hits.len()), (2, 1));
    let count = SearchRequest { limit: 0, ..request("wrote") };
    assert_eq!(handle.search(&count).unwrap().total, 2);
}

#[tokio::test]
async fn a_query_that_cannot_be_read_says_where_and_what_to_do() {
    let (_home, sink, _users) = open().await;
    let handle = sink.search_handle();
    let error = |q: &str| match handle.search(&request(q)) {
        Ok(answer) => panic!("{q} found {}", answer.total),
        Err(error) => error.to_string(),
    };
    assert!(error("nmae:ada").contains("did you mean `name`?"), "{}", error("nmae:ada"));
    assert!(error("nmae:ada").contains("bio, id, name"), "{}", error("nmae:ada"));
    assert!(error("_source:x").contains("no column `_source`"), "{}", error("_source:x"));
    assert!(error("ada AND (").contains("at character 1"), "{}", error("ada AND ("));
    assert!(error("name:").contains("its end"), "{}", error("name:"));
    assert!(error("\u{1F600} name:[a TO").contains("at character"), "{}", error("\u{1F600} name:[a TO"));
    assert!(error("id:abc").contains("value of its type"), "{}", error("id:abc"));
    assert!(error("-ada").contains("what not to find"), "{}", error("-ada"));
    assert!(error("  ").contains("empty"));
    assert!(error(&"(".repeat(1000)).contains("nested"));
    assert!(error(&"a ".repeat(10_000)).contains("bytes"));
    let nested = format!("{}ada{}", "(".repeat(16), ")".repeat(16));
    assert_eq!(search(&handle, &nested).total, 0);
    assert!(handle.search(&SearchRequest { limit: 1001, ..request("a") }).is_err());
    assert!(handle.search(&SearchRequest { offset: 10_000, ..request("a") }).is_err());
    let unknown = SearchRequest { fields: Some(vec!["nam".to_owned()]), ..request("a") };
    assert!(handle.search(&unknown).unwrap_err().to_string().contains("`name`"));
}
