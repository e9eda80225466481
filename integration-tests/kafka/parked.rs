//! Scenario 105 for the Kafka sink: a record that its topic does not take, and what comes later of its row.

use std::collections::BTreeMap;

use serde_json::Value;

use super::sink::configuration;
use super::{PATIENCE, Stage, counted, pair};
use crate::support::Kafka;
use crate::support::kafka::Record;

/// A sink whose topics take 100 kB.
fn narrow(stage: &Stage, kafka: &Kafka, on_reject: &str) -> String {
    configuration(stage, &kafka.brokers(), "exactly_once").replace(
        "topics = { partitions = 3 }",
        &format!(
            "on_reject = \"{on_reject}\"\ntopics = {{ partitions = 3, config = {{ \"max.message.bytes\" = 100000 }} }}"
        ),
    )
}

/// A 1 MB row, then small updates of the same key and of the others.
fn poison(stage: &Stage) {
    stage.postgres.psql(
        "UPDATE t SET n = n + 1, v = repeat('0123456789', 100000) WHERE id = 5; UPDATE t SET n = n + 1;
         UPDATE t SET n = n + 1, v = 'small' WHERE id = 5; UPDATE t SET n = n + 1",
    );
}

/// The records of one row, by the `n` that they tell.
fn of_row(records: &[Record], id: i64) -> Vec<i64> {
    let told = records.iter().map(Record::json).filter(|value| value["after"]["id"] == id);
    told.filter_map(|value| value["after"]["n"].as_i64()).collect()
}

fn list(stage: &Stage) -> Vec<Value> {
    let output = stage.walbridge.run(&["dead-letters", "list", "events", "--json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn later_changes_of_a_row_too_large_wait_for_it_and_are_told_in_order_once_it_is_taken() {
    let kafka = Kafka::shared();
    let mut stage = Stage::prepare(&kafka, "");
    let text = narrow(&stage, &kafka, "park");
    stage.walbridge.configure(&text);
    stage.walbridge.start_again();
    stage.caught_up().await;
    poison(&stage);
    stage.caught_up().await;
    let status = stage.walbridge.status().await["sinks"]["events"].clone();
    assert_eq!((&status["state"], &status["code"]), (&"degraded".into(), &"sink.rejected".into()), "{status}");
    assert_eq!((&status["dead_letters"], &status["parked_keys"]), (&4.into(), &1.into()), "{status}");
    let states = |letters: &[Value]| letters.iter().map(|letter| letter["state"].clone()).collect::<Vec<_>>();
    let kept = list(&stage);
    assert_eq!(states(&kept), ["refused", "waits", "waits", "waits"]);
    assert_eq!((&kept[0]["key"], &kept[0]["table"]), (&"public.t:5".into(), &"t".into()));
    assert!(
        kept[0]["reason"].as_str().is_some_and(|reason| reason.contains("max.message.bytes")),
        "{}",
        kept[0]["reason"]
    );
    // What is set aside is known after a crash, and whoever comes later of the row waits behind it.
    stage.walbridge.sigkill();
    assert_eq!(list(&stage), kept, "also while walbridge is down");
    stage.walbridge.start_again();
    stage.postgres.psql("UPDATE t SET n = n + 1");
    stage.caught_up().await;
    let records = kafka.read_settled(&stage.topic("t"));
    assert_eq!((of_row(&records, 5), of_row(&records, 4)), (vec![0], vec![0, 1, 2, 3]));
    let refused = stage.walbridge.run(&["dead-letters", "retry", "events", "1"]);
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(refused.status.code() == Some(3) && said.contains("refused again: 1: a record of"), "{said}");
    stage.walbridge.sigkill();
    let topic = stage.topic("t");
    let arguments =
        ["--alter", "--entity-type", "topics", "--entity-name", &topic, "--add-config", "max.message.bytes=2000000"];
    kafka.tool("kafka.admin.ConfigCommand", &arguments, "");
    stage.walbridge.configure(&text.replace("100000 }", "2000000 }"));
    stage.walbridge.start_again();
    stage.caught_up().await;
    let retried = stage.walbridge.run(&["dead-letters", "retry", "events", "--key", "public.t:5", "--json"]);
    let outcome: Value = serde_json::from_slice(&retried.stdout).unwrap_or_else(|_| panic!("{retried:?}"));
    assert_eq!((outcome["delivered"].as_array().map(Vec::len), &outcome["open"]), (Some(5), &0.into()), "{outcome}");
    stage.walbridge.sigkill();
    stage.walbridge.start_again();
    stage.postgres.psql("UPDATE t SET n = n + 1");
    stage.caught_up().await;
    let records = kafka.read_settled(&stage.topic("t"));
    assert_eq!(of_row(&records, 5), [0, 1, 2, 3, 4, 5, 6], "each once, in order");
    let rows = stage.postgres.psql("SELECT id, n FROM t ORDER BY id");
    assert_eq!(counted(&records.iter().collect::<Vec<_>>()), rows.lines().map(pair).collect::<BTreeMap<_, _>>());
    let status = stage.walbridge.wait_for(PATIENCE, |status| status["sinks"]["events"]["state"] == "streaming").await;
    assert_eq!(status["sinks"]["events"]["dead_letters"], 0, "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_too_large_halts_the_sink_or_its_letter_is_obsolete_with_the_next_change_as_configured() {
    let kafka = Kafka::shared();
    let mut stage = Stage::prepare(&kafka, "");
    let text = narrow(&stage, &kafka, "stop");
    stage.walbridge.configure(&text);
    stage.walbridge.start_again();
    stage.caught_up().await;
    poison(&stage);
    let halted = |status: &Value| status["sinks"]["events"]["state"] == "halted";
    let status = stage.walbridge.wait_for(PATIENCE, halted).await["sinks"]["events"].clone();
    let message = status["message"].as_str().unwrap_or_default().to_owned();
    for told in ["public.t:5", "table public.t", " at 1:0/", "max.message.bytes", "on_reject"] {
        assert!(message.contains(told), "{told}: {message}");
    }
    assert_eq!(of_row(&kafka.read_settled(&stage.topic("t")), 4), [0], "nothing behind it");
    let nobody = stage.walbridge.run(&["dead-letters", "retry", "events", "--all"]);
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("loop has ended"), "{nobody:?}");
    stage.walbridge.sigkill();
    stage.walbridge.configure(&text.replace("\"stop\"", "\"dead_letter\""));
    stage.walbridge.start_again();
    stage.caught_up().await;
    let records = kafka.read_settled(&stage.topic("t"));
    let small = of_row(&records, 5);
    assert!(small.ends_with(&[3, 4]) && !small.contains(&1), "{small:?}");
    assert_eq!(list(&stage), Vec::<Value>::new(), "nothing is open");
    let late = stage.walbridge.run(&["dead-letters", "retry", "events", "1"]);
    let said = String::from_utf8_lossy(&late.stdout).into_owned();
    assert!(late.status.code() == Some(3) && said.contains("superseded"), "{said} {late:?}");
    assert_eq!(of_row(&kafka.read_settled(&stage.topic("t")), 5), small);
    let discarded = stage.walbridge.run(&["dead-letters", "discard", "events", "--all"]);
    assert!(discarded.status.success(), "{discarded:?}");
    assert!(stage.walbridge.run(&["dead-letters", "list", "--all"]).stdout.starts_with(b"nothing is set aside"));
}
