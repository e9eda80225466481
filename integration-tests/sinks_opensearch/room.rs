//! Servers that have little room, answer in part, forget, or are killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::Method;
use serde_json::{Value, json};

use super::World;
use crate::shop::PATIENCE;
use crate::support::{Gate, OpenSearch, eventually};

/// Scenario 127 against a real node: one thread writes, one request of a shard waits for it, and a bulk request has something for each of 12 shards. Most
/// of its items are refused (429), others not. Only the refused are sent again, nothing is set aside, and each row ends as it is. Then the node
/// is killed and comes back, in the middle of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_that_a_real_server_has_no_room_for_are_sent_again_and_no_other() {
    let node = OpenSearch::start(&["node.processors=1", "thread_pool.write.queue_size=1"]);
    let (port, mut node) = (node.port, Arc::new(node));
    let gate = Gate::start(port, None);
    let (refused, items) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count_refused, count_items) = (refused.clone(), items.clone());
    gate.alter(move |asked, answer| {
        let found = answer["items"].as_array().filter(|_| asked.uri.contains("_bulk"));
        let statuses =
            found.into_iter().flatten().filter_map(|item| item.as_object()?.values().next()?["status"].as_u64());
        let statuses: Vec<_> = statuses.collect();
        count_items.fetch_add(statuses.len(), Ordering::Relaxed);
        count_refused.fetch_add(statuses.iter().filter(|status| **status == 429).count(), Ordering::Relaxed);
    });
    let sql = "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 400) i";
    let url = format!("\"http://127.0.0.1:{}\"", gate.port);
    let more = "settings = { number_of_shards = 12, number_of_replicas = 0 }";
    let mut world = World::at(node.clone(), &url, &OpenSearch::name(), sql, more);
    for round in 1..4 {
        world.postgres.psql(&format!("UPDATE t SET n = {round}; DELETE FROM t WHERE id % 50 = {round}"));
    }
    world.equals("SELECT * FROM t").await;
    let (refused, items) = (refused.load(Ordering::Relaxed), items.load(Ordering::Relaxed));
    assert!(refused > 0 && items < 6 * 400 + refused, "{refused} of {items} refused");
    let sink = world.wait_for("streaming", "").await;
    assert_eq!(sink["rejected"], 0);

    world.postgres.psql("UPDATE t SET n = n + 10");
    drop(std::mem::replace(&mut world.node, OpenSearch::shared()));
    let own = Arc::get_mut(&mut node).expect("nobody else has it");
    own.sigkill();
    world.postgres.psql("UPDATE t SET n = n + 10 WHERE id > 100; DELETE FROM t WHERE id < 50");
    world.wait_for("paused", "sink.unavailable").await;
    own.start_again();
    world.node = node;
    world.equals("SELECT * FROM t").await;
}

/// Scenario 127: the whole request is refused while it is larger than the server has room for. Requests become smaller until one is taken.
/// As long as none is, the sink says that it waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_become_as_small_as_the_server_has_room_for() {
    let node = OpenSearch::shared();
    let gate = Gate::start(node.port, None);
    let limit = Arc::new(AtomicUsize::new(0));
    let room = limit.clone();
    gate.tell(move |asked| {
        let over = asked.uri.contains("_bulk") && asked.body.len() > room.load(Ordering::Relaxed);
        let error = json!({ "error": { "type": "rejected_execution_exception", "reason": "no room" }, "status": 429 });
        over.then(|| (429, None, error.to_string()))
    });
    let sql = "CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t SELECT i, repeat('x', 400) FROM generate_series(1, 3000) i";
    let url = format!("\"http://127.0.0.1:{}\"", gate.port);
    let mut world = World::at(node.clone(), &url, &OpenSearch::name(), sql, "");
    let sink = world.wait_for("paused", "sink.throttled").await;
    assert!(sink["message"].as_str().is_some_and(|message| message.contains("no room")), "{sink}");
    limit.store(64 << 10, Ordering::Relaxed);
    world.equals("SELECT * FROM t").await;
    let sink = world.wait_for("streaming", "").await;
    assert_eq!(sink["rejected"], 0);
}

/// Scenario 175: an answer has fewer items than were sent, and only some requests have such answers. What is not told is not done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_with_too_few_items_is_none() {
    let node = OpenSearch::shared();
    let gate = Gate::start(node.port, None);
    let cut = Arc::new(AtomicUsize::new(0));
    let count = cut.clone();
    gate.alter(move |asked, answer| {
        if asked.uri.contains("_bulk") && count.fetch_add(1, Ordering::Relaxed) < 3 {
            answer["items"].as_array_mut().map(Vec::pop);
        }
    });
    let sql = "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 20) i";
    let url = format!("\"http://127.0.0.1:{}\"", gate.port);
    let mut world = World::at(node.clone(), &url, &OpenSearch::name(), sql, "");
    let sink = world.wait_for("paused", "sink.unavailable").await;
    assert!(sink["message"].as_str().is_some_and(|message| message.contains("19 answers to 20 items")), "{sink}");
    world.wait_for("streaming", "").await;
    world.equals("SELECT * FROM t").await;
    assert!(cut.load(Ordering::Relaxed) > 3);
}

/// Scenario 132: the alias comes to name two indexes, then again the one. While it names two nothing is written to either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alias_of_two_indexes_stops_the_sink_and_nothing_is_written_to_either() {
    let mut world = World::open("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)", None, "");
    world.equals("SELECT * FROM t").await;
    let theirs = OpenSearch::name();
    world.node.ask(Method::PUT, &format!("/{theirs}"), None).await;
    let alias = |action: &str| json!({ "actions": [{ action: { "index": theirs, "alias": world.index } }] });
    let (status, answer) = world.node.ask(Method::POST, "/_aliases", Some(alias("add"))).await;
    assert_eq!(status, 200, "{answer}");
    let remove = alias("remove");
    world.postgres.psql("INSERT INTO t VALUES (2)");
    let sink = world.wait_for("halted", "sink.rejected").await;
    assert!(sink["message"].as_str().is_some_and(|message| message.contains("alias of several indexes")), "{sink}");
    assert!(world.node.documents(&theirs).await.is_empty());
    assert_eq!(world.node.documents(&format!("{}-1", world.index)).await.len(), 1);
    world.walbridge.sigterm();
    world.node.ask(Method::POST, "/_aliases", Some(remove)).await;
    world.walbridge.start_again();
    world.equals("SELECT * FROM t").await;
}

/// What a delete left of a document is forgotten by the server at once here, as it is after ten minutes otherwise. A process that was stopped with its
/// request under way goes on then, and would bring the document back: whoever has been fenced looks before it sends, and one that
/// had looked already meets only documents that are as new.
///
/// So does a replay from the log's beginning: rows that were deleted long ago come and go again, and at its end nothing of them is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_were_deleted_long_ago_do_not_come_back() {
    let sql = "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 50) i";
    let world = World::open(sql, None, "settings = { \"index.gc_deletes\" = \"0s\" }");
    world.equals("SELECT * FROM t").await;
    world.postgres.psql("UPDATE t SET n = 1; DELETE FROM t WHERE id <= 25");
    world.equals("SELECT * FROM t").await;
    // The tombstones go with a refresh and the next delete.
    world.node.ask(Method::POST, &format!("/{}/_flush?force=true", world.index), None).await;
    let replayed = world.walbridge.run(&["replay", "search", "--from", "start"]);
    assert!(replayed.status.success(), "{replayed:?}");
    let done = |status: &Value| status["sinks"]["search"]["replay"].is_null();
    let mut world = world;
    world.walbridge.wait_for(PATIENCE, done).await;
    world.postgres.psql("INSERT INTO t VALUES (100, 1)");
    world.equals("SELECT * FROM t").await;
    let verified = world.walbridge.run(&["verify", "search"]);
    assert!(verified.status.success(), "{verified:?}");
    eventually(PATIENCE, || async {
        let found = world.node.documents(&world.index).await;
        if found.len() == 26 { Ok(()) } else { Err(found.len()) }
    })
    .await;
}
