//! Kafka as a sink of the embedded log.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::kills::{Counter, setting};
use super::transactions::prove_transactions;
use super::{PATIENCE, Stage, counted, pair};
use crate::support::Kafka;
use crate::support::kafka::Record;

pub(super) fn configuration(stage: &Stage, brokers: &str, delivery: &str) -> String {
    format!(
        "[sources.{source}]\nurl = \"{}\"\ntables = [\"public.*\"]\nslot = \"kafka_test\"\nmessages = true\n\
         [log]\nkind = \"embedded\"\npath = \"log\"\n\
         [sinks.events]\nkind = \"kafka\"\nfrom = \"public.*\"\nbrokers = \"{brokers}\"\ndelivery = \"{delivery}\"\n\
         topics = {{ partitions = 3 }}\ntransaction_metadata = true\n",
        stage.postgres.url(),
        source = stage.source,
    )
}

/// A sink's reader was promised each event once: whatever moment walbridge is killed at, no event is in the topics twice, each key's
/// events are in order, and the last ones are what the table has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_the_embedded_log_are_in_the_topics_once_and_in_order_after_sigkills() {
    let (kills, seed) = (setting("KILLS", 4), setting("SEED", u64::from(std::process::id())));
    println!("KILLS={kills} SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let kafka = Kafka::shared();
    let mut stage = Stage::prepare(&kafka, "");
    let text = configuration(&stage, &kafka.brokers(), "exactly_once");
    stage.walbridge.configure(&text);
    stage.walbridge.start_again();
    let counter = Counter::start(&stage.postgres).await;
    for _ in 0..kills {
        let applied = stage.walbridge.status().await["sinks"]["events"]["checkpoint"].as_u64().unwrap_or(0);
        let wanted = applied + random.random_range(1..400);
        stage
            .walbridge
            .wait_for(PATIENCE, |status| {
                status["sinks"]["events"]["checkpoint"].as_u64().is_some_and(|at| at >= wanted)
            })
            .await;
        stage.walbridge.sigkill();
        stage.walbridge.start_again();
    }
    counter.stop().await;
    stage.postgres.psql("SELECT pg_logical_emit_message(true, 'outbox', 'hello'); UPDATE t SET id = 12 WHERE id = 1");
    stage.caught_up().await;
    let records = kafka.read_settled(&stage.topic("t"));
    let mut seen: BTreeMap<String, BTreeSet<(bool, String)>> = BTreeMap::new();
    for record in &records {
        let position = record.header("walbridge.position").expect("a position");
        let is = (record.value.is_none(), record.json()["op"].to_string());
        assert!(seen.entry(position.clone()).or_default().insert(is), "{position} is there twice");
    }
    let rows = stage.postgres.psql("SELECT id, n FROM t ORDER BY id");
    let ours: Vec<&Record> = records.iter().collect();
    assert_eq!(counted(&ours), rows.lines().map(pair).collect::<BTreeMap<_, _>>(), "{}", stage.walbridge.log());
    prove_transactions(&stage.all(&kafka), &stage.source);
    let messages = kafka.read_settled(&format!("{}.message", stage.source));
    assert_eq!(messages.last().map(|record| record.json()["message"]["prefix"].clone()), Some("outbox".into()));
}

/// At least once: no event is missing, and a second walbridge with the same sink on the same cluster takes over instead of writing
/// beside the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_is_taken_over_halts_and_nothing_is_missing() {
    let kafka = Kafka::shared();
    let mut stage = Stage::prepare(&kafka, "");
    let text = configuration(&stage, &kafka.brokers(), "at_least_once");
    stage.walbridge.configure(&text);
    stage.walbridge.start_again();
    stage.caught_up().await;
    let other = text.replace("kafka_test", "other_slot").replace("tables =", "publication = \"other\"\ntables =");
    let mut second = crate::support::Walbridge::start(&other);
    let status = second.wait_for(PATIENCE, |status| status["sinks"]["events"]["state"] == "halted").await;
    assert_eq!(
        status["sinks"]["events"]["code"], "sink.regressed",
        "its checkpoint is of the first one's log: {status}"
    );
    stage.postgres.psql("UPDATE t SET n = n + 1");
    let status = stage.walbridge.wait_for(PATIENCE, |status| status["sinks"]["events"]["state"] == "halted").await;
    assert_eq!(status["sinks"]["events"]["code"], "sink.fenced", "{status}");
    assert_eq!(second.sigterm(), Some(3));
    assert_eq!(stage.walbridge.sigterm(), Some(3));
    stage.walbridge.start_again();
    stage.caught_up().await;
    let records = kafka.read_settled(&stage.topic("t"));
    let rows = stage.postgres.psql("SELECT id, n FROM t ORDER BY id");
    // What the fenced one wrote last is there twice: at least once.
    let last = records.iter().filter_map(|record| {
        let after = record.json()["after"].clone();
        Some((after["id"].as_i64()?, after["n"].as_i64()?))
    });
    assert_eq!(last.collect::<BTreeMap<_, _>>(), rows.lines().map(pair).collect::<BTreeMap<_, _>>());
}

/// A batch that is larger than its topic takes was refused whole, for ever, though each of its records would have been taken: the sink
/// went by its own topic's limit, without the batch's head, and other topics' limits did not count. And of a row that got another key and
/// was too large, the old key's delete was written before the rest was refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_are_no_larger_than_any_topic_takes_and_a_record_that_is_goes_to_the_dead_letters() {
    let kafka = Kafka::shared();
    for delivery in ["exactly_once", "at_least_once"] {
        let mut stage = Stage::prepare(&kafka, "");
        stage.postgres.psql("CREATE TABLE late (id int PRIMARY KEY, v text)");
        kafka.create_topic(&stage.topic("late"), 1, &[("max.message.bytes", "20000")]).await;
        let text = configuration(&stage, &kafka.brokers(), delivery).replace("topics =", "batch_size = \"8MiB\"\n#");
        let halting = delivery == "exactly_once";
        let setting_aside = text.replace("batch_size", "on_reject = \"dead_letter\"\nbatch_size");
        stage.walbridge.configure(if halting { &text } else { &setting_aside });
        stage.walbridge.start_again();
        stage.caught_up().await;
        // The narrow topic comes when a transaction is open.
        stage.postgres.psql(
            "BEGIN; INSERT INTO t SELECT i, 0, repeat('x', 1000) FROM generate_series(100, 3000) i;
             INSERT INTO late SELECT i, repeat('x', 1000) FROM generate_series(1, 1000) i; UPDATE t SET n = 1 WHERE id = 1; COMMIT;
             BEGIN; UPDATE late SET v = 'small' WHERE id = 1; UPDATE late SET id = 2000, v = repeat('large', 5000) WHERE id = 2; COMMIT",
        );
        if halting {
            let halted = |status: &serde_json::Value| status["sinks"]["events"]["state"] == "halted";
            let status = stage.walbridge.wait_for(PATIENCE, halted).await;
            assert_eq!(status["sinks"]["events"]["code"], "sink.rejected", "{status}");
            stage.walbridge.sigkill();
            stage.walbridge.configure(&setting_aside);
            stage.walbridge.start_again();
        }
        stage.caught_up().await;
        assert_eq!(kafka.read_settled(&stage.topic("t")).len(), 2901 + 11);
        let late = kafka.read_settled(&stage.topic("late"));
        assert_eq!(late.len(), 1001, "{}", stage.walbridge.log());
        let letters = stage.walbridge.directory().join("log/dead-letters/events.jsonl");
        let letters =
            std::fs::read_to_string(&letters).unwrap_or_else(|error| panic!("{}: {error}", letters.display()));
        assert_eq!(letters.lines().filter(|line| line.contains("\"reason\"")).count(), 1, "{letters}");
        assert!(letters.contains("max.message.bytes"), "{letters}");
        // The refused row does not count.
        assert_eq!(prove_transactions(&stage.all(&kafka), &stage.source), 2);
    }
}
