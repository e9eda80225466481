//! The topic that tells how transactions begin and end.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Stage;
use crate::support::Kafka;
use crate::support::kafka::Record;

/// Of each transaction there is one beginning and one end behind it, and the end counts what is in the topics of it. Gives how many
/// there are.
pub(super) fn prove_transactions(records: &[Record], source: &str) -> usize {
    let topic = format!("{source}.transaction");
    let mut told: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for record in records.iter().filter(|record| record.topic == topic) {
        let value = record.json();
        let id = value["id"].as_str().expect("an id").to_owned();
        assert_eq!(record.key_text(), format!("{{\"id\":\"{id}\"}}"));
        told.entry(id).or_default().push(value);
    }
    let mut events: BTreeMap<String, BTreeMap<u64, (String, u64)>> = BTreeMap::new();
    let of_rows = |record: &&Record| record.topic != topic && !record.topic.ends_with(".walbridge");
    for record in records.iter().filter(of_rows).filter(|record| record.value.is_some()) {
        let value = record.json();
        let place = &value["transaction"];
        let Some(id) = place["id"].as_str() else {
            assert!(value["source"]["txId"].is_null(), "of a transaction, and does not tell so: {value}");
            continue;
        };
        let collection = match value["op"].as_str() {
            Some("m") => "message".to_owned(),
            _ => record.topic.strip_prefix(&format!("{source}.")).expect("a topic of the source").to_owned(),
        };
        let number = |name: &str| place[name].as_u64().expect("a number");
        let place = (collection, number("data_collection_order"));
        let before = events.entry(id.to_owned()).or_default().insert(number("total_order"), place);
        assert!(before.is_none(), "two events at one place: {value}");
    }
    for (id, told) in &told {
        let statuses: Vec<&Value> = told.iter().map(|value| &value["status"]).collect();
        assert_eq!(statuses, ["BEGIN", "END"], "{id}");
        let events = events.remove(id).unwrap_or_default();
        let end = &told[1];
        let expected: Vec<u64> = (1..=end["event_count"].as_u64().expect("a number")).collect();
        assert_eq!(events.keys().copied().collect::<Vec<_>>(), expected, "{end}");
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for (collection, order) in events.values() {
            let count = counts.entry(collection).or_default();
            *count += 1;
            assert_eq!(*count, *order, "{id}");
        }
        let collections = end["data_collections"].as_array().expect("a list");
        let counted = collections.iter().map(|of| (of["data_collection"].as_str(), of["event_count"].as_u64()));
        let counts: BTreeMap<_, _> = counts.into_iter().map(|(name, count)| (Some(name), Some(count))).collect();
        assert_eq!(counted.collect::<BTreeMap<_, _>>(), counts, "{id}");
    }
    assert!(events.is_empty(), "events of transactions of which nothing is told: {events:?}");
    told.len()
}

/// What is no transaction, a copied row and a message for itself, is not told of. The topic has one partition and keeps nothing for ever,
/// whatever the tables' topics are like.
#[tokio::test(flavor = "multi_thread")]
async fn transactions_are_told_of_where_that_is_asked_for() {
    let kafka = Kafka::shared();
    let asked = "transaction_metadata = true\ntopics = { partitions = 3, cleanup_policy = \"compact\" }";
    let mut stage = Stage::prepare(&kafka, asked);
    stage.postgres.psql("CREATE TABLE other (id int PRIMARY KEY)");
    let config = std::fs::read_to_string(stage.walbridge.config_path()).unwrap();
    stage.walbridge.configure(&config.replace("[log]", "messages = true\n[log]"));
    stage.walbridge.start_again();
    stage.caught_up().await;
    stage.postgres.psql(
        "SELECT pg_logical_emit_message(false, 'alone', 'hello');
         BEGIN; UPDATE t SET n = n + 1 WHERE id < 4; INSERT INTO other VALUES (1); UPDATE t SET id = 12 WHERE id = 1;
         SELECT pg_logical_emit_message(true, 'outbox', 'hello'); DELETE FROM t WHERE id = 2; COMMIT; TRUNCATE other, t;",
    );
    stage.caught_up().await;
    let records = stage.all(&kafka);
    assert_eq!(prove_transactions(&records, &stage.source), 2);
    let topic = format!("{}.transaction", stage.source);
    assert_eq!(kafka.partitions(&topic), 1);
    let ends = records.iter().filter(|record| record.topic == topic).map(Record::json);
    let ends: Vec<Value> = ends.filter(|value| value["status"] == "END").collect();
    assert_eq!(ends[0]["event_count"], 8, "a row that gets another key is two events: {}", ends[0]);
    let told = serde_json::json!([
        { "data_collection": "public.t", "event_count": 6 },
        { "data_collection": "public.other", "event_count": 1 },
        { "data_collection": "message", "event_count": 1 },
    ]);
    assert_eq!(ends[0]["data_collections"], told);
}
