//! Sinks that are fed from Kafka, when Kafka no longer has what they want.

use serde_json::Value;

use super::{PATIENCE, Stage, replay};
use crate::support::equal::json_equals;
use crate::support::{Kafka, Redis, Walbridge, eventually};

/// A source on Kafka with a Redis sink. `url` is Redis's.
pub(super) fn configure(stage: &mut Stage, kafka: &Kafka, redis: &Redis, log: &str) -> String {
    stage.configure(kafka, log);
    let text = std::fs::read_to_string(stage.walbridge.config_path()).unwrap();
    let text = text.split("[admin]").next().expect("all before it");
    let sink = format!(
        "[sinks.cache]\nkind = \"redis\"\nurl = \"{}\"\nfrom = \"public.t\"\nkey = \"t:{{id}}\"\n",
        redis.url()
    );
    format!("{text}\n{sink}")
}

async fn await_sink(stage: &mut Stage, state: &str, code: &str) -> Value {
    let wanted =
        |status: &Value| status["sinks"]["cache"]["state"] == state && status["sinks"]["cache"]["code"] == code;
    stage.walbridge.wait_for(PATIENCE, wanted).await["sinks"]["cache"].clone()
}

/// Scenario 107. Records that the sink had not read were removed: it was to halt and say so, not to go on at the next there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_whose_records_retention_has_removed_halts_instead_of_going_on_behind_them() {
    let (kafka, redis) = (Kafka::shared(), Redis::start(&[]));
    let mut stage = Stage::prepare(&kafka, "");
    let text = configure(&mut stage, &kafka, &redis, "");
    stage.walbridge.configure(&text);
    stage.walbridge.start_again();
    stage.caught_up().await;
    json_equals(&stage.postgres, &redis, "SELECT * FROM t", "t:{id}").await;
    let without = text.split("[sinks.cache]").next().expect("all before it").to_owned();
    assert_eq!(stage.walbridge.sigterm(), Some(0));
    stage.walbridge.configure(&without);
    stage.walbridge.start_again();
    stage.postgres.psql("UPDATE t SET n = 1 WHERE id < 5");
    stage.caught_up().await;
    kafka.delete_records(&stage.topic("t")).await;
    stage.postgres.psql("UPDATE t SET n = 2 WHERE id = 7");
    stage.caught_up().await;
    assert_eq!(stage.walbridge.sigterm(), Some(0));
    stage.walbridge.configure(&text);
    stage.walbridge.start_again();
    let sink = await_sink(&mut stage, "halted", "log.expired").await;
    assert!(sink["message"].as_str().is_some_and(|message| message.contains("no longer in the log")), "{sink}");
}

/// Of a compacted topic a new sink needs the newest record of each key. Holes were to be passed over, and the end to be the table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_sink_reads_a_compacted_topic_to_the_same_end() {
    let (kafka, redis) = (Kafka::start_with(&[("log.cleaner.backoff.ms", "100")]), Redis::start(&[]));
    let log = "topics = { partitions = 2, cleanup_policy = \"compact\", config = { \"segment.ms\" = \"100\", \
               \"min.cleanable.dirty.ratio\" = \"0.01\", \"delete.retention.ms\" = \"100\" } }";
    let mut stage = Stage::set(&kafka, log);
    stage.caught_up().await;
    for round in 0..20 {
        stage.postgres.psql(&format!("UPDATE t SET n = n + 1; INSERT INTO t VALUES ({}, 0, 'x')", 100 + round));
    }
    stage.postgres.psql("DELETE FROM t WHERE id IN (3, 4, 105, 106)");
    stage.caught_up().await;
    let topic = stage.topic("t");
    // A segment is closed by the next record after its time, and only closed ones are compacted.
    eventually(PATIENCE, || async {
        stage.postgres.psql("UPDATE t SET n = n + 1 WHERE id IN (1, 2, 5, 6, 7)");
        let left = kafka.read_settled(&topic);
        let events = left.iter().filter_map(super::offset).max().unwrap_or(0);
        let half_is_gone = u64::try_from(left.len()).is_ok_and(|left| left * 2 < events);
        if half_is_gone { Ok(()) } else { Err(format!("{} records are left of {events} events", left.len())) }
    })
    .await;
    stage.caught_up().await;
    assert_eq!(stage.walbridge.sigterm(), Some(0));
    let text = configure(&mut stage, &kafka, &redis, log);
    stage.walbridge.configure(&text);
    stage.walbridge.start_again();
    json_equals(&stage.postgres, &redis, "SELECT * FROM t", "t:{id}").await;
    stage.postgres.psql("UPDATE t SET n = n + 1");
    stage.caught_up().await;
    json_equals(&stage.postgres, &redis, "SELECT * FROM t", "t:{id}").await;
    let verified = stage.walbridge.run(&["verify", "cache"]);
    let told = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success() && told.contains("equals its source"), "{told}");
    replay::mends_from_a_compacted_topic(&kafka, &redis, &mut stage).await;
}

/// The broker dies under reader and writer. Both were to come back by themselves, and nothing to be missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_goes_on_after_the_brokers_were_away() {
    let (mut kafka, redis) = (Kafka::start(), Redis::start(&[]));
    let mut stage = Stage::prepare(&kafka, "");
    let text = configure(&mut stage, &kafka, &redis, "topics = { partitions = 3 }");
    stage.walbridge.configure(&text);
    stage.walbridge.start_again();
    stage.caught_up().await;
    kafka.kill9(0);
    stage.postgres.psql("UPDATE t SET n = n + 1; INSERT INTO t VALUES (50, 0, NULL)");
    stage.await_code("paused", "kafka.unavailable").await;
    kafka.start_again(0);
    stage.caught_up().await;
    json_equals(&stage.postgres, &redis, "SELECT * FROM t", "t:{id}").await;
}

/// One process captures, another delivers; either is killed while the other goes on. The embedded log, which belongs to one process,
/// was to refuse this.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_captures_and_another_delivers() {
    let (kafka, redis) = (Kafka::shared(), Redis::start(&[]));
    let mut stage = Stage::prepare(&kafka, "");
    let text = configure(&mut stage, &kafka, &redis, "topics = { partitions = 3 }");
    stage.walbridge.configure(&text);
    stage.walbridge.only("capture");
    let mut deliver = Walbridge::configured(&text);
    deliver.only("deliver");
    // The one that delivers may be there first.
    deliver.go_on();
    stage.walbridge.start_again();
    json_equals(&stage.postgres, &redis, "SELECT * FROM t", "t:{id}").await;
    deliver.sigkill();
    stage.postgres.psql("UPDATE t SET n = n + 1; DELETE FROM t WHERE id = 3");
    stage.caught_up().await;
    deliver.go_on();
    json_equals(&stage.postgres, &redis, "SELECT * FROM t", "t:{id}").await;
    stage.walbridge.sigkill();
    stage.postgres.psql("UPDATE t SET n = n + 1");
    stage.walbridge.start_again();
    json_equals(&stage.postgres, &redis, "SELECT * FROM t", "t:{id}").await;
    let unknown = deliver.run(&["verify", "cache"]);
    let told = String::from_utf8_lossy(&unknown.stdout).into_owned();
    assert!(unknown.status.code() == Some(3) && told.contains("does not capture"), "{told}");
    let refused = replay::refused(&stage.walbridge, "start");
    assert!(refused.contains("this process has no sinks"), "{refused}");
    let status = deliver.status().await;
    assert!(status["sources"].as_object().is_some_and(|sources| sources.is_empty()), "{status}");
    assert_eq!(
        (status["sinks"]["cache"]["state"].as_str(), status["ready"].as_bool()),
        (Some("streaming"), Some(true))
    );
    assert_eq!((deliver.sigterm(), stage.walbridge.sigterm()), (Some(0), Some(0)));
    let embedded = text.replace("kind = \"kafka\"", "kind = \"embedded\"");
    let embedded: Vec<&str> =
        embedded.lines().filter(|line| !line.starts_with("brokers") && !line.starts_with("topics")).collect();
    deliver.configure(&embedded.join("\n"));
    deliver.go_on();
    assert_eq!(deliver.exit_code(PATIENCE), Some(2), "{}", deliver.log());
    assert!(deliver.log().contains("run it without --only"), "{}", deliver.log());
}

/// Partitions are added under a running writer and a running sink. The reader took events in partitions that it had not heard of for lost, and in a
/// compacted topic it would have passed over them. It was to be said that there are more, and the sink to end with the table, although rows of a key lie
/// in two partitions from then on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_are_added_are_named_and_read() {
    let (kafka, redis) = (Kafka::shared(), Redis::start(&[]));
    let log = "properties = { \"topic.metadata.refresh.interval.ms\" = 500 }";
    let mut stage = Stage::prepare(&kafka, log);
    let text = configure(&mut stage, &kafka, &redis, log);
    stage.walbridge.configure(&text);
    stage.walbridge.start_again();
    stage.caught_up().await;
    let topic = stage.topic("t");
    kafka.add_partitions(&topic, 5).await;
    let named = "partitions were added: a key's records may lie in another partition";
    eventually(PATIENCE, || async {
        stage.postgres.psql("UPDATE t SET n = n + 1; UPDATE t SET id = id + 100 WHERE id < 5; UPDATE t SET id = id - 100 WHERE id > 100");
        let used = kafka.read_settled(&topic).iter().any(|record| record.partition > 0);
        if used && stage.walbridge.log().contains(named) { Ok(()) } else { Err(format!("used: {used}")) }
    })
    .await;
    stage.postgres.psql("UPDATE t SET n = n + 1; DELETE FROM t WHERE id = 7");
    stage.caught_up().await;
    json_equals(&stage.postgres, &redis, "SELECT * FROM t", "t:{id}").await;
}

/// Scenario 108. Rows are deleted while a sink is away for longer than the compacted topic keeps their tombstones: nothing tells it of them any
/// more. It was to notice, and to halt instead of keeping documents of rows that are gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_was_away_for_longer_than_tombstones_are_kept_halts() {
    let (kafka, redis) = (Kafka::start_with(&[("log.cleaner.backoff.ms", "100")]), Redis::start(&[]));
    let log = "topics = { partitions = 1, cleanup_policy = \"compact\", config = { \"segment.ms\" = \"100\", \
               \"min.cleanable.dirty.ratio\" = \"0.01\", \"delete.retention.ms\" = \"100\" } }";
    let mut stage = Stage::prepare(&kafka, log);
    let text = configure(&mut stage, &kafka, &redis, log);
    stage.walbridge.configure(&text);
    stage.walbridge.start_again();
    stage.caught_up().await;
    assert_eq!(stage.walbridge.sigterm(), Some(0));
    stage.configure(&kafka, log);
    stage.walbridge.start_again();
    stage.postgres.psql("DELETE FROM t WHERE id IN (3, 4)");
    let topic = stage.topic("t");
    eventually(PATIENCE, || async {
        stage.postgres.psql("UPDATE t SET n = n + 1 WHERE id IN (1, 2)");
        let told = kafka
            .read_settled(&topic)
            .iter()
            .filter(|record| record.value.is_none() || record.json()["op"] == "d")
            .count();
        if told == 0 { Ok(()) } else { Err(format!("{told} records tell of deletes")) }
    })
    .await;
    stage.caught_up().await;
    assert_eq!(stage.walbridge.sigterm(), Some(0));
    // A sink that is shared from here on takes over the same place, and so the same gap.
    for text in [text.clone(), format!("{text}share = \"partitions\"\n")] {
        stage.walbridge.configure(&text);
        stage.walbridge.start_again();
        let sink = await_sink(&mut stage, "halted", "log.expired").await;
        assert!(sink["message"].as_str().is_some_and(|message| message.contains("no longer in the log")), "{sink}");
        stage.walbridge.sigkill();
    }
}
