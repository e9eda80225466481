//! `walbridge replay` of a sink that is fed from Kafka.

use serde_json::Value;

use super::reading::configure;
use super::{PATIENCE, Stage};
use crate::support::equal::json_equals;
use crate::support::{Kafka, Redis, Walbridge};

/// Gives an order that is to be carried out to its end; the number of the first event.
fn replayed(walbridge: &Walbridge, from: &str) -> u64 {
    let output = walbridge.run(&["replay", "cache", "--from", from, "--wait", "--json"]);
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), walbridge.log());
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    answer["from"].as_u64().expect("a number")
}

/// The refusal of an order.
pub(super) fn refused(walbridge: &Walbridge, from: &str) -> String {
    let output = walbridge.run(&["replay", "cache", "--from", from]);
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn lose(redis: &Redis, keys: &[&str]) {
    let mut connection = redis.connection().await;
    let () = redis::cmd("DEL").arg(keys).query_async(&mut connection).await.expect("an answer");
}

async fn has(redis: &Redis, key: &str) -> bool {
    let mut connection = redis.connection().await;
    redis::cmd("EXISTS").arg(key).query_async(&mut connection).await.expect("an answer")
}

/// No partition has all events, so a place is looked for in each. What is applied again was to begin with the transaction that was asked for, wherever its
/// rows lie, and not before; and a place that retention has passed was to be refused before anything is changed, or the sink would halt in the middle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_is_found_over_all_partitions_and_refused_where_records_are_gone() {
    let (kafka, redis) = (Kafka::shared(), Redis::start(&[]));
    let mut stage = Stage::prepare(&kafka, "");
    let text = configure(&mut stage, &kafka, &redis, "topics = { partitions = 3 }");
    stage.walbridge.configure(&text);
    stage.walbridge.start_again();
    stage.caught_up().await;
    let (lsn, time) = (stage.postgres.end_of_wal().to_string(), jiff::Timestamp::now().to_string());
    stage.postgres.psql("UPDATE t SET n = n + 1 WHERE id <= 6");
    stage.postgres.psql("UPDATE t SET n = n + 1 WHERE id = 2");
    stage.caught_up().await;
    lose(&redis, &["t:1", "t:9"]).await;
    let from = replayed(&stage.walbridge, &lsn);
    assert!(has(&redis, "t:1").await && !has(&redis, "t:9").await, "just what is behind {lsn}");
    assert_eq!(replayed(&stage.walbridge, &time), from);
    assert_eq!(replayed(&stage.walbridge, &(from + 3).to_string()), from, "with its transaction");
    assert_eq!(replayed(&stage.walbridge, &(from + 6).to_string()), from + 6);
    assert_eq!(replayed(&stage.walbridge, "start"), 0);
    json_equals(&stage.postgres, &redis, "SELECT * FROM t", "t:{id}").await;

    kafka.delete_records(&stage.topic("t")).await;
    // What a partition has lost stands before its first record, and how far before is not known.
    stage.postgres.psql("UPDATE t SET n = n + 1");
    stage.postgres.psql("UPDATE t SET n = n + 1");
    stage.caught_up().await;
    let said = refused(&stage.walbridge, &from.to_string());
    assert!(said.contains("no longer in the log"), "{said}");
    lose(&redis, &["t:3"]).await;
    assert!(replayed(&stage.walbridge, "start") > from);
    json_equals(&stage.postgres, &redis, "SELECT * FROM t", "t:{id}").await;
    let status = stage.walbridge.status().await;
    assert_eq!(status["sinks"]["cache"]["state"], "streaming", "{status}");
}

/// Among the events that compaction has left, documents were to be mended all the same, and over a SIGKILL.
pub(super) async fn mends_from_a_compacted_topic(kafka: &Kafka, redis: &Redis, stage: &mut Stage) {
    let topic = stage.topic("t");
    // Longer than a replay takes.
    let keep =
        ["--alter", "--entity-type", "topics", "--entity-name", &topic, "--add-config", "delete.retention.ms=600000"];
    kafka.tool("kafka.admin.ConfigCommand", &keep, "");
    lose(redis, &["t:1", "t:9", "t:110"]).await;
    replayed(&stage.walbridge, "start");
    json_equals(&stage.postgres, redis, "SELECT * FROM t", "t:{id}").await;
    lose(redis, &["t:2", "t:8", "t:111"]).await;
    let output = stage.walbridge.run(&["replay", "cache", "--from", "start"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    stage.walbridge.sigkill();
    stage.walbridge.start_again();
    json_equals(&stage.postgres, redis, "SELECT * FROM t", "t:{id}").await;
    let through = |status: &Value| {
        let sink = &status["sinks"]["cache"];
        sink["replay"].is_null() && sink["state"] == "streaming"
    };
    stage.walbridge.wait_for(PATIENCE, through).await;
}
