//! The search index, on a real directory.

mod analysis;
mod documented;
mod facets;
mod killed;
mod queries;
mod values;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use walbridge::event::{Relation, Scalar, Shape};
use walbridge::project::mutation::Mutation;
use walbridge::sink::tantivy::{
    Analysis, MEMORY_BYTES_DEFAULT, MEMORY_BYTES_MIN, Options, SearchAnswer, SearchHandle, SearchRequest, TantivySink,
};
use walbridge::sink::{Sink, SinkError};

use crate::sinks_rows::{after, append_insert, clear, delete, put, put_moved, table, users};

fn options(path: &Path, relations: &[Arc<Relation>]) -> Options {
    Options {
        name: "search".to_owned(),
        path: path.to_owned(),
        fields: None,
        analysis: Analysis::default(),
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
    SearchRequest { limit: 100, ..SearchRequest::new(q) }
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
    assert!(error.to_string().contains("`name`") && error.to_string().contains("walbridge rebuild search"), "{error}");

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
