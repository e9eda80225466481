//! What the records are like.

use std::collections::BTreeSet;

use super::{Stage, offset};
use crate::support::Kafka;
use crate::support::kafka::Record;

/// Existing rows, changes, a changed key and a delete with its tombstone, a truncate, a message; then a clean stop and a start:
/// nothing comes twice.
#[tokio::test(flavor = "multi_thread")]
async fn changes_are_in_their_tables_topics_once_with_headers_that_order_them() {
    let kafka = Kafka::shared();
    let mut stage = Stage::prepare(&kafka, "topics = { partitions = 3 }");
    let config = std::fs::read_to_string(stage.walbridge.config_path()).unwrap();
    stage.postgres.psql("CREATE TABLE other (id int PRIMARY KEY)");
    stage.walbridge.configure(&config.replace("[log]", "messages = true\n[log]"));
    stage.walbridge.start_again();
    stage.caught_up().await;
    stage.postgres.psql(
        "BEGIN; UPDATE t SET n = n + 1 WHERE id < 4; INSERT INTO t VALUES (11, 0, NULL);
         SELECT pg_logical_emit_message(true, 'outbox', 'hello'); COMMIT; UPDATE t SET id = 12 WHERE id = 1;
         DELETE FROM t WHERE id = 2; INSERT INTO other VALUES (1); TRUNCATE other;",
    );
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    stage.postgres.psql(&format!(
        "BEGIN; INSERT INTO other VALUES (2); SELECT pg_logical_emit_message(true, 'traceparent', '{trace}'); INSERT INTO other VALUES (3);
         DELETE FROM other WHERE id = 2; COMMIT; INSERT INTO other VALUES (4);
         BEGIN; SELECT pg_logical_emit_message(true, 'traceparent', 'nonsense'); INSERT INTO other VALUES (5); COMMIT"
    ));
    stage.caught_up().await;
    assert_eq!(stage.walbridge.sigterm(), Some(0), "{}", stage.walbridge.log());
    stage.walbridge.start_again();
    stage.postgres.psql("UPDATE t SET n = n + 1 WHERE id = 3");
    stage.caught_up().await;
    let records = stage.proven(&kafka);
    let of = |topic: &str| records.iter().filter(|record| record.topic == topic).collect::<Vec<_>>();
    let t = of(&stage.topic("t"));
    assert_eq!(t.iter().map(|record| record.partition).collect::<BTreeSet<_>>().len(), 3, "the keys are spread");
    let ops = |op: &str| t.iter().filter(|record| record.json()["op"] == op).count();
    assert_eq!((ops("r"), ops("u"), ops("c"), ops("d")), (10, 4, 2, 2));
    let tombstones: Vec<&&Record> = t.iter().filter(|record| record.value.is_none()).collect();
    assert_eq!(tombstones.len(), 2, "of the delete and of the key that was changed");
    let first = t.iter().find(|record| record.json()["op"] == "u").expect("an update");
    assert!(first.header("walbridge.position").is_some_and(|position| position.starts_with("1/0/")), "{first:?}");
    let commit_ms = first.json()["source"]["ts_ms"].as_i64();
    assert_eq!(Some(first.timestamp), commit_ms, "the record's time is the commit's");
    let message = of(&format!("{}.message", stage.source));
    let outbox = message.iter().filter(|record| record.json()["message"]["prefix"] == "outbox").count();
    assert_eq!((message.len(), outbox), (3, 1));
    let mut other = of(&stage.topic("other"));
    assert_eq!(other.iter().filter(|record| record.json()["op"] == "t").count(), 1);
    // The trace of a transaction that tells it, from where it tells it: the third row, and the delete with its tombstone.
    other.retain(|record| record.header("traceparent").as_deref() == Some(trace));
    let told = other.iter().map(|record| (record.key_text(), record.value.is_some())).collect::<BTreeSet<_>>();
    let expected = [("{\"id\":3}", true), ("{\"id\":2}", true), ("{\"id\":2}", false)];
    assert_eq!(told, expected.map(|(key, value)| (key.to_owned(), value)).into_iter().collect::<BTreeSet<_>>());
    assert_eq!(records.iter().filter(|record| record.header("traceparent").is_some()).count(), 4, "and its message");
    assert!(records.iter().filter_map(offset).count() > 20);
}

/// Scenario 115. The same keys, sent by Kafka's own console producer, lie in the same partitions.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_the_partition_that_the_java_client_gives_it() {
    let kafka = Kafka::shared();
    let mut stage = Stage::set(&kafka, "topics = { partitions = 7 }");
    stage
        .postgres
        .psql("INSERT INTO t SELECT i, 0, NULL FROM generate_series(100, 160) i; INSERT INTO t VALUES (-1, 0, NULL)");
    stage.caught_up().await;
    let ours = kafka.read_settled(&stage.topic("t"));
    let theirs = format!("{}-java", stage.source);
    kafka.create_topic(&theirs, 7, &[]).await;
    let lines: Vec<String> = ours.iter().map(|record| format!("{}\tx\n", record.key_text())).collect();
    let arguments = ["--topic", &theirs, "--reader-property", "parse.key=true"];
    kafka.tool("org.apache.kafka.tools.ConsoleProducer", &arguments, &lines.concat());
    let places = |records: &[Record]| -> BTreeSet<(String, i32)> {
        records.iter().map(|record| (record.key_text(), record.partition)).collect()
    };
    let (ours, theirs) = (places(&ours), places(&kafka.read(&theirs)));
    assert_eq!(ours.len(), 72);
    assert_eq!(ours, theirs);
}
