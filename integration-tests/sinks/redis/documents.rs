//! Rows become values, and stay what they are.

use std::collections::HashMap;
use std::time::Duration;

use walbridge::project::key::TextTemplate;
use walbridge::sink::Sink;
use walbridge::sink::redis::{DocumentKeys, Form, Options, RedisSink, ValueKind};

use super::super::rows::{NULL, UNCHANGED, checkpoint, clear, delete, key, moved, put, text};
use super::{apply, get, keys, options, run, sink, stage, start, tell, told};
use crate::support::Redis;

async fn fields(server: &Redis, key: &str) -> HashMap<String, String> {
    run(&mut server.connection().await, "HGETALL", key).await
}

#[tokio::test]
async fn applying_twice_equals_once() {
    let (server, mut sink) = start(ValueKind::Json).await;
    let rows = [put(1, "t:1", [text("1"), text("a"), NULL]), put(1, "t:2", [text("2"), NULL, NULL]), delete(1, "t:3")];
    stage(&mut sink, &rows).await.expect("staged");
    stage(&mut sink, &rows).await.expect("staged again");
    sink.commit(checkpoint(1)).await.expect("committed");
    let once = (keys(&server).await, get(&server, "t:1").await);
    apply(&mut sink, 1, &rows).await.expect("applied again");
    assert_eq!((keys(&server).await, get(&server, "t:1").await), once);
    assert_eq!(once.1.as_deref(), Some(r#"{"id":1,"name":"a","big":null}"#));
    assert_eq!(once.0, ["t:1", "t:2", "walbridge:cache:checkpoint"]);
}

/// After a crash the log is read again from the checkpoint's offset, and a snapshot chunk may bring rows from before it.
#[tokio::test]
async fn a_mutation_older_than_the_checkpoint_changes_nothing() {
    let (server, mut first) = start(ValueKind::Json).await;
    apply(&mut first, 5, &[put(5, "t:1", [text("1"), text("new"), NULL]), delete(5, "t:2")]).await.expect("applied");
    let mut second = sink(&server, ValueKind::Json);
    assert_eq!(second.resume().await.expect("a server"), Some(checkpoint(5)));
    let old = [put(4, "t:1", [text("1"), text("old"), NULL]), put(3, "t:2", [text("2"), NULL, NULL]), clear(2)];
    apply(&mut second, 5, &old).await.expect("applied");
    assert_eq!(get(&server, "t:1").await.as_deref(), Some(r#"{"id":1,"name":"new","big":null}"#));
    assert_eq!(get(&server, "t:2").await, None);
}

#[tokio::test]
async fn a_deleted_row_has_no_document() {
    let (server, mut sink) = start(ValueKind::Json).await;
    apply(&mut sink, 1, &[put(1, "t:1", [text("1"), NULL, NULL])]).await.expect("applied");
    apply(&mut sink, 2, &[delete(2, "t:1"), delete(2, "t:never")]).await.expect("applied");
    assert_eq!(keys(&server).await, ["walbridge:cache:checkpoint"]);
}

/// A text is made of some columns. What the others are does not matter to it, not even whether their values were sent.
#[tokio::test]
async fn a_text_is_made_of_the_columns_that_stand_in_it() {
    let server = Redis::start(&[]);
    let of = |template: &str| {
        let template = TextTemplate::parse(template).expect("a template");
        let form = Form { text: Some(template), ..Form::of(ValueKind::Text) };
        RedisSink::new(Options { form, ..options(&server.url(), ValueKind::Text) }).expect("a url")
    };
    let mut sink = of("{id}: {name}");
    sink.resume().await.expect("a server");
    let rows: Vec<_> = (1..9).map(|id| put(1, format!("t:{id}"), [text(&id.to_string()), text("{a}"), NULL])).collect();
    apply(&mut sink, 1, &rows).await.expect("applied");
    let [gone, there] = moved(2, "t:2", "t:20", [text("20"), text("b"), UNCHANGED]);
    let changes = [put(2, "t:1", [text("1"), NULL, UNCHANGED]), gone, there, delete(2, "t:3")];
    apply(&mut sink, 2, &changes).await.expect("nothing that is needed is missing");
    for (key, expected) in
        [("t:1", Some("1: ")), ("t:2", None), ("t:20", Some("20: b")), ("t:3", None), ("t:4", Some("4: {a}"))]
    {
        assert_eq!(get(&server, key).await.as_deref(), expected, "{key}");
    }
    let found = sink.read(&[key("t:4")]).await.expect("an answer");
    assert_eq!(found[0].as_ref().map(|image| image.text()), Some("\"4: {a}\""));
    // What is missing is asked for, for the text does not tell what it was made of.
    let mut sink = of("{big}");
    sink.resume().await.expect("a server");
    let staged = sink.stage(&[put(3, "t:4", [text("4"), text("x"), UNCHANGED])]).await.expect("staged");
    assert_eq!(staged.incomplete, [0]);
    // A column may be dropped while rows come.
    let mut sink = of("{dropped}");
    sink.resume().await.expect("a server");
    let staged = sink.stage(&[put(3, "t:4", [text("4"), text("x"), NULL])]).await.expect("staged");
    assert!(staged.rejected[0].reason.contains("no column `dropped`"), "{staged:?}");
}

#[tokio::test]
async fn null_and_empty_text_stay_apart() {
    let (server, mut sink) = start(ValueKind::Hash).await;
    apply(&mut sink, 1, &[put(1, "t:1", [text("1"), text(""), NULL])]).await.expect("applied");
    let expected = HashMap::from([("id".to_owned(), "1".to_owned()), ("name".to_owned(), String::new())]);
    assert_eq!(fields(&server, "t:1").await, expected);
    let (server, mut sink) = start(ValueKind::Json).await;
    apply(&mut sink, 1, &[put(1, "t:1", [text("1"), text(""), NULL])]).await.expect("applied");
    assert_eq!(get(&server, "t:1").await.as_deref(), Some(r#"{"id":1,"name":"","big":null}"#));
}

#[tokio::test]
async fn a_hash_is_replaced_whole_and_over_any_type() {
    let (server, mut sink) = start(ValueKind::Hash).await;
    tell(&server, ["LPUSH", "t:1", "a list of somebody's"]).await;
    apply(&mut sink, 1, &[put(1, "t:1", [text("1"), text("a"), text("b")])]).await.expect("applied over a list");
    apply(&mut sink, 2, &[put(2, "t:1", [text("1"), NULL, text("c")])]).await.expect("applied over a hash");
    let expected = HashMap::from([("id".to_owned(), "1".to_owned()), ("big".to_owned(), "c".to_owned())]);
    assert_eq!(fields(&server, "t:1").await, expected);
    apply(&mut sink, 3, &[put(3, "t:1", [NULL, NULL, NULL])]).await.expect("applied a row of nothing");
    assert_eq!(keys(&server).await, ["walbridge:cache:checkpoint"]);
}

#[tokio::test]
async fn unchanged_toast_is_taken_from_the_stored_document() {
    let large = "x\"\\\n".repeat(5_000);
    for kind in [ValueKind::Json, ValueKind::Hash, ValueKind::Fields] {
        let (server, mut sink) = start(kind).await;
        apply(&mut sink, 1, &[put(1, "t:1", [text("1"), text("a"), text(&large)])]).await.expect("applied");
        apply(&mut sink, 2, &[put(2, "t:1", [text("1"), text("b"), UNCHANGED])]).await.expect("merged");
        apply(&mut sink, 3, &[put(3, "t:2", [text("1"), text("b"), text(&large)])]).await.expect("applied");
        if kind == ValueKind::Json {
            let whole = get(&server, "t:2").await;
            assert!(whole.as_ref().is_some_and(|whole| whole.len() > 20_000));
            assert_eq!(get(&server, "t:1").await, whole, "merged as if it had been whole");
        } else {
            assert_eq!(fields(&server, "t:1").await, fields(&server, "t:2").await);
        }
    }
}

#[tokio::test]
async fn a_moved_row_takes_its_unchanged_toast_along() {
    for kind in [ValueKind::Json, ValueKind::Hash, ValueKind::Fields] {
        let (server, mut sink) = start(kind).await;
        apply(&mut sink, 1, &[put(1, "t:1", [text("1"), text("a"), text("large")])]).await.expect("applied");
        apply(&mut sink, 2, &moved(2, "t:1", "t:2", [text("2"), text("a"), UNCHANGED])).await.expect("moved");
        // Both staged before a commit, in two runs.
        stage(&mut sink, &moved(3, "t:2", "t:3", [text("3"), text("a"), UNCHANGED])).await.expect("staged");
        apply(&mut sink, 4, &moved(4, "t:3", "t:4", [text("4"), NULL, UNCHANGED])).await.expect("moved twice");
        assert_eq!(keys(&server).await, ["t:4", "walbridge:cache:checkpoint"]);
        if kind == ValueKind::Json {
            assert_eq!(get(&server, "t:4").await.as_deref(), Some(r#"{"id":4,"name":null,"big":"large"}"#));
        } else {
            assert_eq!(fields(&server, "t:4").await.get("big").map(String::as_str), Some("large"));
        }
    }
}

/// The target still has the value of before; the one staged and not committed is newer.
#[tokio::test]
async fn a_staged_document_wins_over_the_stored_one() {
    let (server, mut sink) = start(ValueKind::Json).await;
    apply(&mut sink, 1, &[put(1, "t:1", [text("1"), text("a"), text("old")])]).await.expect("applied");
    stage(&mut sink, &[put(2, "t:1", [text("1"), text("b"), text("new")])]).await.expect("staged");
    apply(&mut sink, 3, &[put(3, "t:1", [text("1"), text("c"), UNCHANGED])]).await.expect("merged");
    assert_eq!(get(&server, "t:1").await.as_deref(), Some(r#"{"id":1,"name":"c","big":"new"}"#));
}

/// `UPDATE t SET id = id + 1` reuses keys within one run: each row's missing value stood under its key *before* the run.
#[tokio::test]
async fn rows_that_change_places_keep_their_own_values() {
    let (server, mut sink) = start(ValueKind::Json).await;
    let rows = [put(1, "t:1", [text("1"), NULL, text("one")]), put(1, "t:2", [text("2"), NULL, text("two")])];
    apply(&mut sink, 1, &rows).await.expect("applied");
    let [_, one] = moved(2, "t:1", "t:2", [text("2"), NULL, UNCHANGED]);
    let [_, two] = moved(2, "t:2", "t:1", [text("1"), NULL, UNCHANGED]);
    apply(&mut sink, 2, &[one, two]).await.expect("swapped");
    assert_eq!(get(&server, "t:2").await.as_deref(), Some(r#"{"id":2,"name":null,"big":"one"}"#));
    assert_eq!(get(&server, "t:1").await.as_deref(), Some(r#"{"id":1,"name":null,"big":"two"}"#));
}

#[tokio::test]
async fn a_row_that_cannot_be_completed_is_handed_back() {
    let (server, mut sink) = start(ValueKind::Json).await;
    tell(&server, ["LPUSH", "t:2", "not a document"]).await;
    tell(&server, ["SET", "t:3", "not JSON"]).await;
    let rows = [
        put(1, "t:0", [text("0"), NULL, NULL]),
        put(1, "t:1", [text("1"), NULL, UNCHANGED]),
        put(1, "t:2", [text("2"), NULL, UNCHANGED]),
        put(1, "t:3", [text("3"), NULL, UNCHANGED]),
    ];
    let staged = sink.stage(&rows).await.expect("staged");
    assert_eq!(staged.incomplete, [1, 2, 3]);
    stage(&mut sink, &[put(1, "t:1", [text("1"), NULL, text("read again")])]).await.expect("staged whole");
    sink.commit(checkpoint(1)).await.expect("committed");
    assert_eq!(get(&server, "t:1").await.as_deref(), Some(r#"{"id":1,"name":null,"big":"read again"}"#));
    assert_eq!(get(&server, "t:3").await.as_deref(), Some("not JSON"));
}

/// Large updates of rows with large columns: most documents are still as they were when later ones are read.
#[tokio::test]
async fn unchanged_toast_is_found_beside_an_open_transaction() {
    let (server, mut sink) = start(ValueKind::Json).await;
    let large = "x".repeat(10_000);
    let name = |n: usize| format!("t:{n}");
    let rows: Vec<_> = (0..1500).map(|n| put(1, name(n), [text("1"), NULL, text(&large)])).collect();
    apply(&mut sink, 1, &rows).await.expect("applied");
    for run in 0..15 {
        let rows: Vec<_> = (0..100).map(|n| put(2, name(run * 100 + n), [text("1"), text("b"), UNCHANGED])).collect();
        stage(&mut sink, &rows).await.expect("staged");
    }
    // Sent already, so what the target has is out of date.
    let staged = sink.stage(&[put(2, "t:0", [text("1"), text("c"), UNCHANGED])]).await.expect("staged");
    assert_eq!(staged.incomplete, [0]);
    sink.commit(checkpoint(2)).await.expect("committed");
    for n in [0, 700, 1499] {
        let expected = format!(r#"{{"id":1,"name":"b","big":"{large}"}}"#);
        assert!(get(&server, name(n)).await == Some(expected), "row {n}");
    }
}

#[tokio::test]
async fn values_and_keys_are_data_whatever_their_bytes() {
    for kind in [ValueKind::Hash, ValueKind::Fields] {
        are_data_whatever_their_bytes(kind).await;
    }
}

async fn are_data_whatever_their_bytes(kind: ValueKind) {
    let (server, mut sink) = start(kind).await;
    let five_mb = "5".repeat(5 << 20);
    let values =
        ["\r\n", "$3\r\nfoo\r\n", "*1\r\n$8\r\nFLUSHALL\r\n", "a\0b", "+OK\r\n", "-ERR\r\n", "'; EXEC", "{}", &five_mb];
    let rows: Vec<_> =
        values.iter().map(|value| put(1, format!("t:{value}"), [text("1"), text(value), NULL])).collect();
    apply(&mut sink, 1, &rows).await.expect("applied");
    let mut connection = server.connection().await;
    for value in values {
        let stored: String = run(&mut connection, "HGET", (format!("t:{value}"), "name")).await;
        assert!(stored == value, "{:.20}", value.escape_debug().to_string());
    }
    let count: usize = run(&mut connection, "DBSIZE", &[] as &[&str]).await;
    assert_eq!(count, values.len() + 1);
}

#[tokio::test]
async fn a_document_cannot_take_the_checkpoints_place() {
    let (server, mut sink) = start(ValueKind::Json).await;
    let staged = sink.stage(&[put(1, "walbridge:cache:checkpoint", [text("1"), NULL, NULL])]).await.expect("staged");
    assert_eq!(staged.rejected.len(), 1);
    sink.commit(checkpoint(1)).await.expect("committed");
    assert_eq!(told(&server).await, Some(checkpoint(1)));
}

#[tokio::test]
async fn every_write_renews_the_ttl() {
    // One by one, and so many that they are set together.
    for (kind, rows) in [(ValueKind::Json, 1), (ValueKind::Json, 9), (ValueKind::Hash, 1)] {
        let server = Redis::start(&[]);
        let rows =
            |at| -> Vec<_> { (1..=rows).map(|id| put(at, format!("t:{id}"), [text("1"), NULL, NULL])).collect() };
        let form = Form { ttl: Some(Duration::from_secs(3600)), ..Form::of(kind) };
        let mut sink = RedisSink::new(Options { form, ..options(&server.url(), kind) }).expect("a url");
        sink.resume().await.expect("a server");
        apply(&mut sink, 1, &rows(1)).await.expect("applied");
        tell(&server, ["PERSIST", "t:1"]).await;
        apply(&mut sink, 2, &rows(2)).await.expect("applied");
        let mut connection = server.connection().await;
        let left_ms: i64 = run(&mut connection, "PTTL", "t:1").await;
        assert!((3_000_000..=3_600_000).contains(&left_ms), "{left_ms}");
        let checkpoint_ms: i64 = run(&mut connection, "PTTL", "walbridge:cache:checkpoint").await;
        assert_eq!(checkpoint_ms, -1, "the checkpoint stays");
    }
}

#[tokio::test]
async fn an_invalidating_sink_only_removes() {
    let (server, mut sink) = start(ValueKind::Invalidate).await;
    for key in ["t:1", "t:2", "t:3"] {
        tell(&server, ["SET", key, "filled by the application"]).await;
    }
    let rows = [put(1, "t:1", [text("1"), text("new"), UNCHANGED]), delete(1, "t:2")];
    apply(&mut sink, 1, &rows).await.expect("applied");
    assert_eq!(keys(&server).await, ["t:3", "walbridge:cache:checkpoint"]);
}

/// The glob `t:*` finds another template's `t:1:tags` too.
#[tokio::test]
async fn truncate_removes_only_keys_of_the_table() {
    let (server, mut sink) = start(ValueKind::Json).await;
    tell(&server, ["SET", "t:1:tags", "foreign"]).await;
    let rows: Vec<_> = (0..5000).map(|n| put(1, format!("t:{n}"), [text("1"), NULL, NULL])).collect();
    apply(&mut sink, 1, &rows).await.expect("applied");
    stage(&mut sink, &[put(2, "t:6000", [text("1"), NULL, NULL])]).await.expect("staged");
    stage(&mut sink, &[clear(3), put(3, "t:1", [text("1"), text("after"), NULL])]).await.expect("staged");
    assert!(get(&server, "t:4999").await.is_some(), "not before the commit");
    sink.commit(checkpoint(3)).await.expect("committed");
    assert_eq!(keys(&server).await, ["t:1", "t:1:tags", "walbridge:cache:checkpoint"]);
    assert_eq!(get(&server, "t:1").await.as_deref(), Some(r#"{"id":1,"name":"after","big":null}"#));
}

#[tokio::test]
async fn truncate_removes_what_a_large_transaction_has_sent_already() {
    let (server, mut sink) = start(ValueKind::Json).await;
    apply(&mut sink, 1, &[put(1, "t:1", [text("1"), NULL, NULL])]).await.expect("applied");
    let large = "x".repeat(100_000);
    let rows: Vec<_> = (2..100).map(|n| put(2, format!("t:{n}"), [text("1"), NULL, text(&large)])).collect();
    stage(&mut sink, &rows).await.expect("staged");
    stage(&mut sink, &[clear(2), put(2, "t:200", [text("1"), NULL, NULL])]).await.expect("staged");
    sink.commit(checkpoint(2)).await.expect("committed");
    assert_eq!(keys(&server).await, ["t:200", "walbridge:cache:checkpoint"]);
}

/// Two tables in one sink: what was sent of the other one stays.
#[tokio::test]
async fn truncate_of_one_table_spares_what_a_large_transaction_has_sent_of_another() {
    let server = Redis::start(&[]);
    let mut options = options(&server.url(), ValueKind::Json);
    let one_table = options.keys_of;
    options.keys_of = std::sync::Arc::new(move |table| DocumentKeys { all: false, ..one_table(table) });
    let mut sink = RedisSink::new(options).expect("a url");
    sink.resume().await.expect("a server");
    apply(&mut sink, 1, &[put(1, "t:1", [text("1"), NULL, NULL]), put(1, "u:1", [text("1"), NULL, NULL])])
        .await
        .expect("applied");
    let large = "x".repeat(100_000);
    let rows = |prefix: &str| -> Vec<_> {
        (2..80).map(|n| put(2, format!("{prefix}:{n}"), [text("1"), NULL, text(&large)])).collect()
    };
    stage(&mut sink, &rows("t")).await.expect("staged");
    stage(&mut sink, &[delete(2, "u:1")]).await.expect("staged");
    stage(&mut sink, &rows("u")).await.expect("staged");
    stage(&mut sink, &[clear(2), put(2, "t:200", [text("1"), NULL, NULL])]).await.expect("staged");
    sink.commit(checkpoint(2)).await.expect("committed");
    let keys = keys(&server).await;
    assert!(!keys.contains(&"u:1".to_owned()) && keys.contains(&"u:2".to_owned()) && keys.contains(&"u:79".to_owned()));
    assert!(keys.contains(&"t:200".to_owned()));
    assert_eq!(keys.len(), 78 + 1 + 1, "{keys:?}");
}
